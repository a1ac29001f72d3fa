//! Conformance of the Corefile language with the tables and files of coredns/caddy, CoreDNS and OpenShift.
//!
//! Enters: the folder of corpora; leaves: one result per suite. Inputs that need files, network or interfaces of the
//! machine are explained, never counted as agreeing. Deliberately absent: our own tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use truename_cluster::corefile::dispenser::Dispenser;
use truename_cluster::corefile::forward::Upstream;
use truename_cluster::corefile::lexer::lex;
use truename_cluster::corefile::parser::parse_blocks;
use truename_cluster::corefile::{Env, ImportedFile, Plugin, ServerBlock, parse};

use crate::suite::SuiteResult;

/// Runs every suite over `dir`, the folder of corpora.
#[must_use]
pub fn run(dir: &Path) -> Vec<SuiteResult> {
    let root = dir.join("corefiles");
    let table = rows(&root.join("extracted/caddyfile_lexer_parser_json.jsonl"));
    vec![
        lexer(&table),
        parser(&table, &root.join("coredns+caddy/caddyfile")),
        json_form(&table),
        remaining_args(&table),
        plugin_setup(&root),
        readme(&root),
        integration(&root),
        openshift(&root),
        stock(&root),
    ]
}

fn rows(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn cases<'a>(table: &'a [Value], test: &'a str, name: &'a str) -> impl Iterator<Item = &'a Value> + 'a {
    table
        .iter()
        .filter(move |row| row["test"] == test && (name.is_empty() || row["name"] == name))
        .flat_map(|row| row["cases"].as_array().into_iter().flatten())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|one| text(one).to_owned()).collect()
}

fn judge(result: &mut SuiteResult, case: &str, agrees: bool, reason: Option<&str>) {
    if agrees { result.agrees() } else { result.differs(case, reason) }
}

fn lexer(table: &[Value]) -> SuiteResult {
    let mut result = SuiteResult::new("corefile-lexer");
    for (at, case) in cases(table, "TestLexer", "").enumerate() {
        let wanted: Vec<(u64, String)> = case["expected"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|token| (token["Line"].as_u64().unwrap_or(0), text(&token["Text"]).to_owned()))
            .collect();
        let found: Vec<(u64, String)> =
            lex(text(&case["input"]), None).iter().map(|t| (u64::from(t.line), t.text.to_string())).collect();
        judge(&mut result, &format!("TestLexer/{at}"), found == wanted, None);
    }
    for (at, case) in cases(table, "TestAllTokens", "").enumerate() {
        let found: Vec<String> =
            lex(text(&case["input"]), None).iter().map(|token| token.text.to_string()).collect();
        judge(&mut result, &format!("TestAllTokens/{at}"), found == strings(&case["expected"]), None);
    }
    result
}

/// Gives files below `base`, as the original resolves them: one `*` in the last part.
fn resolver(base: PathBuf) -> impl Fn(&str, Option<&str>) -> Vec<ImportedFile> {
    move |pattern: &str, from: Option<&str>| {
        let folder =
            from.and_then(|path| Path::new(path).parent().map(Path::to_path_buf)).unwrap_or(base.clone());
        let path =
            if Path::new(pattern).is_absolute() { PathBuf::from(pattern) } else { folder.join(pattern) };
        let mut paths = Vec::new();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        match name.split_once('*') {
            None => paths.push(path),
            Some((head, tail)) => {
                let entries = path.parent().and_then(|folder| std::fs::read_dir(folder).ok());
                paths.extend(entries.into_iter().flatten().flatten().map(|entry| entry.path()).filter(
                    |path| {
                        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                        name.is_some_and(|name| name.starts_with(head) && name.ends_with(tail))
                    },
                ));
                paths.sort();
            }
        }
        let read = |path: PathBuf| {
            let text = std::fs::read_to_string(&path).ok()?;
            Some(ImportedFile { path: path.to_string_lossy().into_owned(), text })
        };
        paths.into_iter().filter_map(read).collect()
    }
}

fn parser(table: &[Value], base: &Path) -> SuiteResult {
    let mut result = SuiteResult::new("corefile-parser");
    let files = resolver(base.to_path_buf());
    let env = Env { variables: BTreeMap::new(), files: Some(&files) };
    for (at, case) in cases(table, "TestParseOneAndImport", "").enumerate() {
        let parsed = parse_blocks(text(&case["input"]), &env);
        let agrees = match (&parsed, case["shouldErr"].as_bool().unwrap_or(false)) {
            (Err(_), wanted) => wanted,
            (Ok(_), true) => false,
            (Ok(blocks), false) => {
                let first = blocks.blocks.first();
                let keys: Vec<String> =
                    first.into_iter().flat_map(|b| b.keys.iter().map(|key| key.text.to_string())).collect();
                let counts: BTreeMap<&str, u64> = first
                    .into_iter()
                    .flat_map(|block| block.tokens.iter())
                    .map(|(name, tokens)| (name.as_str(), tokens.len() as u64))
                    .collect();
                let wanted: BTreeMap<&str, u64> = case["tokens"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter_map(|(name, count)| Some((name.as_str(), count.as_u64()?)))
                    .collect();
                keys == strings(&case["keys"]) && counts == wanted
            }
        };
        judge(&mut result, &format!("TestParseOneAndImport/{at}"), agrees, None);
    }
    for (at, case) in cases(table, "TestParseAll", "").enumerate() {
        let parsed = parse_blocks(text(&case["input"]), &env);
        let agrees = match (&parsed, case["shouldErr"].as_bool().unwrap_or(false)) {
            (Err(_), wanted) => wanted,
            (Ok(_), true) => false,
            (Ok(blocks), false) => {
                let found: Vec<Vec<String>> = blocks
                    .blocks
                    .iter()
                    .map(|block| block.keys.iter().map(|key| key.text.to_string()).collect())
                    .collect();
                let wanted: Vec<Vec<String>> =
                    case["keys"].as_array().into_iter().flatten().map(strings).collect();
                found == wanted
            }
        };
        judge(&mut result, &format!("TestParseAll/{at}"), agrees, None);
    }
    for (at, case) in cases(table, "TestSnippetImportCycle", "").enumerate() {
        let failed = parse_blocks(text(&case["input"]), &env).is_err();
        judge(&mut result, &format!("TestSnippetImportCycle/{at}"), failed, None);
    }
    result
}

fn json_form(table: &[Value]) -> SuiteResult {
    let mut result = SuiteResult::new("corefile-json");
    for (at, case) in cases(table, "package", "tests").enumerate() {
        let wanted: Value = serde_json::from_str(text(&case["json"])).unwrap_or(Value::Null);
        let found = parse_blocks(text(&case["caddyfile"]), &Env::default()).map(|blocks| {
            let block = |block: &truename_cluster::corefile::parser::Block| {
                let keys: Vec<&str> = block.keys.iter().map(|key| &*key.text).collect();
                let mut body = Vec::new();
                for tokens in block.tokens.values() {
                    let mut dispenser = Dispenser::new(tokens, true);
                    while dispenser.advance().is_some() {
                        body.push(json_line(&mut dispenser));
                    }
                }
                serde_json::json!({ "keys": keys, "body": body })
            };
            Value::Array(blocks.blocks.iter().map(block).collect())
        });
        judge(&mut result, &format!("json/{at}"), found.is_ok_and(|found| found == wanted), None);
    }
    result
}

/// A line with its blocks, as the original writes it to JSON; the input's depth is that of the goldens.
fn json_line(dispenser: &mut Dispenser<'_>) -> Value {
    let mut words: Vec<Value> =
        dispenser.current().map(|token| Value::from(&*token.text)).into_iter().collect();
    while let Some(token) = dispenser.next_arg() {
        if &*token.text != "{" {
            words.push(Value::from(&*token.text));
            continue;
        }
        let mut block = Vec::new();
        while dispenser.advance().is_some_and(|token| &*token.text != "}") {
            block.push(json_line(dispenser));
        }
        words.push(Value::Array(block));
    }
    Value::Array(words)
}

fn remaining_args(table: &[Value]) -> SuiteResult {
    let mut result = SuiteResult::new("corefile-remaining-args");
    for row in table.iter().filter(|row| row["test"] == "TestDispenser_RemainingArgs") {
        let wanted = strings(&row["cases"]);
        let input = format!("dir {} {{\n more\n}}\nnext", wanted.join(" "));
        let tokens = lex(&input, None);
        let mut dispenser = Dispenser::new(&tokens, true);
        dispenser.advance();
        let found: Vec<String> =
            dispenser.remaining_args().iter().map(|token| token.text.to_string()).collect();
        for (at, word) in wanted.iter().enumerate() {
            judge(&mut result, word, found.get(at) == Some(word) && found.len() == wanted.len(), None);
        }
    }
    result
}

fn faults(corefile: &str) -> Result<Vec<String>, String> {
    let join = |errors: Vec<_>| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
    match parse(corefile, &Env::default()) {
        Ok(parsed) => Ok(join(parsed.invalid)),
        Err(errors) => Err(join(errors).join(", ")),
    }
}

/// Cases whose outcome upstream depends on more than the text.
fn outside(id: &str, input: &str) -> Option<&'static str> {
    const FILES: &str = "upstream reads a file that the text only names";
    let reason = match id.split('/').next().unwrap_or("") {
        "bind" => "upstream looks for network interfaces of the machine",
        "geoip" | "dnssec" | "sign" | "root" => FILES,
        "tls" | "etcd" | "grpc" | "forward" if input.contains(".pem") || input.contains("tls ") => FILES,
        "forward" if input.contains("resolv") || input.contains("file") => FILES,
        "autopath" | "hosts" | "file" | "auto" | "tsig" | "dynupdate" => FILES,
        "view" | "template" if input.contains("expr") || input.contains("var") => {
            "upstream compiles an expression (expr-lang), which is not read here"
        }
        "forward" => "upstream resolves a host name",
        "azure" | "route53" | "clouddns" | "nomad" => "upstream asks a service",
        _ => return None,
    };
    Some(reason)
}

fn plugin_setup(root: &Path) -> SuiteResult {
    let mut result = SuiteResult::new("corefile-plugin-setup");
    for case in rows(&root.join("extracted/coredns_plugin_setup_cases.jsonl")) {
        let (id, input) = (text(&case["id"]), text(&case["input"]));
        let expect = &case["expect"];
        let wanted = case["should_err"]
            .as_bool()
            .or(expect["failing"].as_bool())
            .or(expect["hasError"].as_bool())
            .or(expect["wantError"].as_str().map(|_| true))
            .or(expect["want"].as_str().map(|_| true))
            .or(expect["wantOK"].as_bool().map(|ok| !ok));
        let plugin = text(&case["plugin"]);
        let stanza = match text(&case["test"]) {
            "TestParseTTL" => format!("etcd {{\nmin-lease-ttl {input}\n}}"),
            // These tables of the cache hold lines of its block.
            "TestServeStale"
            | "TestServeStaleFailureRecheck"
            | "TestServeStalePolicy"
            | "TestServfail"
            | "TestDisable"
            | "TestKeepttl"
                if plugin == "cache" =>
            {
                format!("cache {{\n{input}\n}}")
            }
            "TestParseAsHostEntry" => format!("forward . {input}"),
            "TestSplitZone" => format!("forward . {input}"),
            _ => input.to_owned(),
        };
        let found = faults(&format!(".:53 {{\n{stanza}\n}}"));
        let failed = !matches!(&found, Ok(faults) if faults.is_empty());
        let agrees = match text(&case["test"]) {
            // A bare address is no host name, and a good target all the same.
            "TestParseAsHostEntry" if input == "::1" => !failed,
            _ => wanted.is_none_or(|wanted| wanted == failed) && (wanted.is_some() || !failed),
        };
        let detail = format!("{id} {input:?} wanted error {wanted:?}, found {found:?}");
        judge(&mut result, &detail, agrees, outside(id, input));
    }
    result
}

fn readme(root: &Path) -> SuiteResult {
    let mut result = SuiteResult::new("corefile-readme");
    let all = rows(&root.join("extracted/readme_blocks.jsonl"));
    for (at, row) in all.iter().enumerate().filter(|(_, row)| row["kind"] == "corefile") {
        let found = faults(text(&row["text"]));
        let agrees = matches!(&found, Ok(faults) if faults.is_empty());
        let case = format!("{}/{at} {:?} {found:?}", text(&row["plugin"]), text(&row["text"]));
        judge(&mut result, &case, agrees, None);
    }
    result
}

fn integration(root: &Path) -> SuiteResult {
    let mut result = SuiteResult::new("corefile-integration");
    for (at, row) in rows(&root.join("extracted/coredns_integration_corefiles.jsonl")).iter().enumerate() {
        let corefile = text(&row["corefile"]);
        let found = faults(corefile);
        let agrees = matches!(&found, Ok(faults) if faults.is_empty());
        judge(&mut result, &format!("{}/{at} {corefile:?} {found:?}", text(&row["test"])), agrees, None);
    }
    result
}

fn openshift(root: &Path) -> SuiteResult {
    let mut result = SuiteResult::new("corefile-openshift");
    let folder = root.join("openshift+cluster-dns-operator/pkg/operator/controller/testdata");
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    names.sort();
    for path in names {
        let parsed = parse(&std::fs::read_to_string(&path).unwrap_or_default(), &Env::default());
        let clean = parsed.is_ok_and(|corefile| {
            // OpenShift builds one plugin of its own in.
            corefile.invalid.iter().all(|error| error.message.contains("ocp_dnsnameresolver"))
        });
        judge(&mut result, &path.to_string_lossy(), clean, None);
    }
    for row in rows(&root.join("extracted/openshift_dns_cr_to_corefile.jsonl")) {
        for case in row["value"].as_array().into_iter().flatten() {
            let Some(file) = case["expectedCoreFile"]["args"][1].as_str() else { continue };
            let corefile = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
            let found = custom_resource_facts(case, &corefile);
            judge(&mut result, &format!("{file} {found:?}"), found.is_ok(), None);
        }
    }
    result
}

/// Upstreams, policy, TLS name and zones of the custom resource must be those of the typed view.
fn custom_resource_facts(case: &Value, corefile: &str) -> Result<(), String> {
    let parsed = parse(corefile, &Env::default()).map_err(|errors| format!("{errors:?}"))?;
    for server in case["dns"]["Spec"]["Servers"].as_array().into_iter().flatten() {
        let zone = text(&server["Zones"][0]);
        let block = parsed.servers.iter().find(|block| {
            block.keys.iter().any(|key| key.zones.iter().any(|one| one.to_string() == format!("{zone}.")))
        });
        let block = block.ok_or(format!("no block for {zone}"))?;
        let wanted_keys = server["Zones"].as_array().map_or(0, Vec::len);
        if block.keys.len() != wanted_keys {
            return Err(format!("{zone}: {} keys", block.keys.len()));
        }
        forward_facts(block, &server["ForwardPlugin"])?;
    }
    log_class(&parsed.servers, &case["dns"]["Spec"]["LogLevel"]["$sel"])
}

fn forward_facts(block: &ServerBlock, plugin: &Value) -> Result<(), String> {
    let forward = block.plugins.iter().find_map(|plugin| match plugin {
        Plugin::Forward(forward) => Some(forward),
        _ => None,
    });
    let forward = forward.ok_or("no forward")?;
    let found: Vec<String> = forward
        .targets
        .iter()
        .map(|target| match &target.upstream {
            Upstream::Address(ip) if ip.is_ipv6() => format!("[{ip}]:{}", target.port),
            Upstream::Address(ip) => format!("{ip}:{}", target.port),
            other => format!("{other:?}"),
        })
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    let port =
        if forward.targets.first().is_some_and(|t| t.transport.default_port() == 853) { 853 } else { 53 };
    let wanted: Vec<String> = strings(&plugin["Upstreams"])
        .into_iter()
        .map(|word| if word.contains(':') { word } else { format!("{word}:{port}") })
        .filter(|word| seen.insert(word.clone()))
        .collect();
    if found != wanted {
        return Err(format!("targets {found:?}, wanted {wanted:?}"));
    }
    let policy = match text(&plugin["Policy"]["$sel"]) {
        "operatorv1.RoundRobinForwardingPolicy" => "round_robin",
        "operatorv1.SequentialForwardingPolicy" => "sequential",
        _ => "random",
    };
    if forward.policy != policy {
        return Err(format!("policy {}, wanted {policy}", forward.policy));
    }
    let tcp = plugin["ProtocolStrategy"]["$sel"] == "operatorv1.ProtocolStrategyTCP";
    let tls = plugin["TransportConfig"]["Transport"]["$sel"] == "operatorv1.TLSTransport";
    let server_name = plugin["TransportConfig"]["TLS"]["ServerName"].as_str().filter(|_| tls);
    if forward.force_tcp != tcp || forward.tls_servername.as_deref() != server_name {
        return Err(format!("force_tcp {} or TLS name {:?}", forward.force_tcp, forward.tls_servername));
    }
    Ok(())
}

fn log_class(servers: &[ServerBlock], level: &Value) -> Result<(), String> {
    let wanted = match text(level) {
        "operatorv1.DNSLogLevelDebug" => "[Denial, Error]",
        "operatorv1.DNSLogLevelTrace" => "[All]",
        _ => "[Error]",
    };
    for server in servers {
        for plugin in &server.plugins {
            if let Plugin::Log(rule) = plugin
                && format!("{:?}", rule.classes) != wanted
            {
                return Err(format!("log classes {:?}, wanted {wanted}", rule.classes));
            }
        }
    }
    Ok(())
}

/// Corefiles of distributions. Files with templates of other languages inside must end in a result, not in a panic.
fn stock(root: &Path) -> SuiteResult {
    let mut result = SuiteResult::new("corefile-stock");
    let mut files = Vec::new();
    for part in [
        "cilium+cilium-cli",
        "coredns+deployment",
        "coredns+helm",
        "deliveryhero+helm-charts",
        "k8s_upstream",
        "kubernetes+dns",
        "kubernetes+kops",
        "kubernetes-sigs+kubespray",
    ] {
        collect(&root.join(part), 12, &mut files);
    }
    files.sort();
    for path in files {
        let content = std::fs::read_to_string(&path).unwrap_or_default();
        let name = path.to_string_lossy().into_owned();
        if name.ends_with("Corefile") {
            let found = parse(&content, &Env::default()).map(|_| ());
            judge(&mut result, &format!("{name} {found:?}"), found.is_ok(), None);
            continue;
        }
        for corefile in embedded(&content) {
            // sed replaces words such as STUBDOMAINS; unreplaced they stand where CoreDNS allows none.
            let reason =
                name.ends_with(".sed").then_some("a placeholder of sed stands behind a closing brace");
            let foreign = corefile.contains("{{") || corefile.contains("{%");
            let found = parse(&corefile, &Env::default()).map(|_| ());
            judge(&mut result, &format!("{name} {found:?}"), found.is_ok() || foreign, reason);
        }
    }
    result
}

fn collect(folder: &Path, depth: usize, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && depth > 0 {
            collect(&path, depth - 1, out);
        } else if path.is_file() {
            out.push(path);
        }
    }
}

/// Block scalars under a key `Corefile`, by indentation.
fn embedded(yaml: &str) -> Vec<String> {
    let mut out = Vec::new();
    let lines: Vec<&str> = yaml.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        if !(trimmed.starts_with("Corefile: |") || trimmed.starts_with("Corefile: >")) {
            continue;
        }
        let indent = line.len() - trimmed.len();
        let body: Vec<&str> = lines[at + 1..]
            .iter()
            .take_while(|line| line.trim().is_empty() || line.len() - line.trim_start().len() > indent)
            .copied()
            .collect();
        out.push(body.join("\n"));
    }
    out
}

#[cfg(test)]
mod tests;
