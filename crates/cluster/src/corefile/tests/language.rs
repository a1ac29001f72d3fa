//! Blocks, imports, variables, errors with their place; totality on hostile text.

use proptest::prelude::*;

use crate::corefile::parser::parse_blocks;
use crate::corefile::{CorefileError, Env, ErrorKind, ImportedFile, Version, parse, parse_for, running_hash};

fn errors(text: &str) -> Vec<CorefileError> {
    parse(text, &Env::default()).map_or_else(|errors| errors, |corefile| corefile.invalid)
}

#[test]
fn faults_name_line_column_and_a_next_step() {
    let cases = [
        (".:53 {\n  errors\n", ErrorKind::Syntax, 2, 3),
        ("a, {\n}", ErrorKind::Syntax, 1, 4),
        (". {\n errors\n x }\n}", ErrorKind::Syntax, 3, 4),
        ("(x) {\n errors\n}\n(x) {\n}\n", ErrorKind::Syntax, 4, 5),
        ("(x) {\n import x\n}\n", ErrorKind::Import, 2, 2),
        (". {\n import a b\n}", ErrorKind::Import, 2, 11),
        (". {\n cache 0\n}", ErrorKind::Invalid, 2, 8),
        (". {\n erors\n}", ErrorKind::Invalid, 2, 2),
        ("a..b {\n errors\n}", ErrorKind::Invalid, 1, 1),
        (". {\n errors\n}\n. {\n errors\n}", ErrorKind::Invalid, 4, 1),
        (". {\n kubernetes cluster.local {\n  pods all\n }\n}", ErrorKind::Invalid, 3, 8),
    ];
    for (text, kind, line, col) in cases {
        let found = errors(text);
        let first = found.first().unwrap_or_else(|| panic!("no fault in {text:?}"));
        assert_eq!((first.kind, first.line, first.col), (kind, line, col), "{text:?}: {first}");
        assert!(!first.next_step.is_empty() && !first.message.is_empty());
    }
}

#[test]
fn variables_are_expanded_as_in_the_process_and_missing_ones_are_told() {
    let text = "{$ZONE}:{%PORT%} {\n errors {$GONE}\n import {$SNIPPET}\n}\n";
    let mut env = Env::default();
    env.variables.insert("ZONE".to_owned(), "example.org".to_owned());
    env.variables.insert("PORT".to_owned(), "1053".to_owned());
    let corefile = parse(text, &env).unwrap_err();
    assert_eq!(corefile[0].kind, ErrorKind::Import);
    let corefile = parse("{$ZONE}:{%PORT%} {\n errors {$GONE}\n}\n", &env).unwrap();
    assert_eq!(
        (corefile.servers[0].zones()[0].to_string().as_str(), corefile.servers[0].keys[0].port),
        ("example.org.", 1053)
    );
    assert_eq!(corefile.unknown_variables.iter().map(String::as_str).collect::<Vec<_>>(), ["GONE"]);
    assert!(!corefile.is_complete());
    // A value that refers to itself must not run for ever.
    env.variables.insert("LOOP".to_owned(), "{$LOOP}{$LOOP}".to_owned());
    assert!(parse("{$LOOP} {\n}", &env).is_ok());
}

#[test]
fn snippets_and_files_are_spliced_where_they_are_imported() {
    let files = |pattern: &str, from: Option<&str>| {
        assert!(from.is_none() || from == Some("/etc/coredns/custom/a.override"));
        let file = |path: &str, text: &str| ImportedFile { path: path.to_owned(), text: text.to_owned() };
        match pattern {
            "custom/*.override" => vec![file("/etc/coredns/custom/a.override", "log\nimport b\n")],
            "b" => vec![file("/etc/coredns/custom/b", "template IN A {\n rcode NXDOMAIN\n}\n")],
            _ => Vec::new(),
        }
    };
    let env = Env { files: Some(&files), ..Env::default() };
    let text = "(common) {\n errors\n cache 30\n}\n.:53 {\n import common\n import custom/*.override\n import none/*.server\n forward . 192.0.2.53\n}\n";
    let corefile = parse(text, &env).unwrap();
    let names: Vec<&str> = corefile.servers[0].directives.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["errors", "cache", "log", "template", "forward"]);
    assert!(corefile.is_complete() && corefile.would_start(), "{:?}", corefile.invalid);
    let log = &corefile.servers[0].directives[2].tokens[0];
    assert_eq!((log.file.as_deref(), log.line), (Some("/etc/coredns/custom/a.override"), 1));
    // Without a resolver the import is unresolved, and the rest is still read.
    let blind = parse(text, &Env::default()).unwrap();
    assert_eq!((blind.unresolved_imports.len(), blind.servers[0].directives.len()), (2, 3));
    assert_ne!(blind.running_hash, corefile.running_hash);
    // With one, a file that is not there is a fault.
    assert_eq!(parse(". {\n import missing\n}", &env).unwrap_err()[0].kind, ErrorKind::Import);
}

#[test]
fn cycles_and_explosions_of_imports_end_in_an_error() {
    let files = |_: &str, _: Option<&str>| {
        vec![ImportedFile { path: "/again".to_owned(), text: "import again\nimport again\n".to_owned() }]
    };
    let env = Env { files: Some(&files), ..Env::default() };
    assert_eq!(parse_blocks("import again", &env).unwrap_err().kind, ErrorKind::Import);
    // Each snippet uses the one before twice: 2^40 tokens.
    let mut text = String::from("(s0) {\n errors errors errors errors\n}\n");
    for at in 1..40 {
        text.push_str(&format!("(s{at}) {{\n import s{}\n import s{}\n}}\n", at - 1, at - 1));
    }
    text.push_str(". {\n import s39\n}\n");
    assert!(matches!(
        parse_blocks(&text, &Env::default()).unwrap_err().kind,
        ErrorKind::Import | ErrorKind::Bound
    ));
    let mutual = "(a) {\n import b\n}\n(b) {\n import a\n}\n. {\n import a\n}\n";
    assert_eq!(parse_blocks(mutual, &Env::default()).unwrap_err().kind, ErrorKind::Import);
}

#[test]
fn hostile_sizes_end_in_a_named_bound() {
    let kind = |text: &str| match parse(text, &Env::default()) {
        Err(errors) => errors[0].kind,
        Ok(corefile) => corefile.invalid.iter().map(|error| error.kind).max().unwrap_or(ErrorKind::Syntax),
    };
    assert_eq!(kind(&format!("{} {{\n whoami\n}}", "0.0.0.0/1 ".repeat(5_000))), ErrorKind::Bound);
    let many = "x.example ".repeat(4_000);
    assert_eq!(kind(&format!("{many} {{\n{}}}", " whoami\n".repeat(300))), ErrorKind::Bound);
    let pattern = "(a|b|c)";
    let matches = format!("template ANY ANY {{\n match {}\n}}\n", format!("{pattern} ").repeat(500));
    assert_eq!(kind(&format!(". {{\n{}}}", matches.repeat(10))), ErrorKind::Bound);
    assert_eq!(
        kind(&format!(". {{\n{}}}", format!("rewrite name regex {pattern} x\n").repeat(3_000))),
        ErrorKind::Bound
    );
    assert_eq!(kind(&"a".repeat(5 << 20)), ErrorKind::Bound);
    assert_eq!(kind(&format!(". {{\n whoami {}\n}}", "{\n".repeat(50_000))), ErrorKind::Syntax);
}

#[test]
fn a_version_knows_its_options_only() {
    let text = ". {\n kubernetes cluster.local {\n  zonal\n }\n forward . 192.0.2.1 {\n  max_age 30s\n }\n}";
    let faults = |version| parse_for(text, &Env::default(), version).unwrap().invalid.len();
    assert_eq!(faults(Version(1, 15, 0)), 0);
    assert_eq!(faults(Version(1, 14, 4)), 1);
    assert_eq!(faults(Version(1, 9, 4)), 2);
    let view = "a.example {\n view v {\n  expr true\n }\n whoami\n}";
    assert_eq!(parse_for(view, &Env::default(), Version(1, 9, 4)).unwrap().invalid.len(), 1);
    assert_eq!(parse_for(view, &Env::default(), Version(1, 10, 0)).unwrap().invalid.len(), 0);
}

#[test]
fn a_single_server_needs_no_braces_and_a_last_brace_may_close_twice() {
    let blocks = |text: &str| parse_blocks(text, &Env::default()).map(|blocks| blocks.blocks.len());
    assert_eq!(blocks("example.org\n errors\n cache 30"), Ok(1));
    // Upstream accepts this: the brace of the last directive is also taken for the block's.
    assert_eq!(blocks(". {\n forward . 192.0.2.1 {\n  force_tcp\n }\n"), Ok(1));
    assert_eq!(blocks(""), Ok(0));
    assert_eq!(running_hash("", &Env::default()).unwrap().len(), 128);
}

fn word() -> impl Strategy<Value = String> {
    let fixed: Vec<&'static str> = vec![
        "{",
        "}",
        "import",
        "(a)",
        "a",
        ".:53",
        "a.example",
        ",",
        "\"",
        "\\",
        "#",
        "\n",
        "\r\n",
        "{$A}",
        "{%A%}",
        "{$",
        "kubernetes",
        "hosts",
        "rewrite",
        "name",
        "regex",
        "(.*)",
        "{1}",
        "template",
        "IN",
        "ANY",
        "match",
        "answer",
        "{{ .Name }} 60 IN A 192.0.2.1",
        "forward",
        "cache",
        "success",
        "serve_stale",
        "fallthrough",
        "ttl",
        "10.0.0.0/13",
        "2001:db8::/29",
        "acl",
        "block",
        "type",
        "net",
        "*",
        "log",
        "dnstap",
        "tls://",
        "full",
        "edns0",
        "local",
        "set",
        "0xffee",
        "answer",
        "auto",
        "value",
        "(",
        "[a",
        "secondary",
        "transfer",
        "from",
        "autopath",
        "@kubernetes",
        "-1",
        "9223372036854775808",
        "30s",
        "%",
        "[::1]:53",
        "192.0.2.1%x",
        "\u{feff}",
        "ü",
        "\u{2028}",
    ];
    prop_oneof![4 => proptest::sample::select(fixed).prop_map(str::to_owned), 1 => "\\PC{0,12}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = parse(&String::from_utf8_lossy(&bytes), &Env::default());
    }

    #[test]
    fn any_words_are_read_or_refused_in_every_version(
        words in proptest::collection::vec((word(), any::<bool>()), 0..60),
        minor in 8u16..16,
    ) {
        let text: String = words.iter().map(|(word, line)| format!("{word}{}", if *line { "\n" } else { " " })).collect();
        if let Ok(corefile) = parse_for(&text, &Env::default(), Version(1, minor, 4)) {
            prop_assert_eq!(corefile.running_hash.len(), 128);
            // A text always equals itself.
            prop_assert!(crate::corefile::diff(&corefile, &corefile).is_empty());
        }
    }

    #[test]
    fn comments_at_line_ends_and_indentation_keep_hash_and_meaning(
        words in proptest::collection::vec("[a-z]{1,6}", 1..20),
        indent in 0usize..5,
    ) {
        let plain: String = words.iter().map(|word| format!("{word} x\n")).collect();
        let noisy: String = words.iter().map(|word| format!("{}{word}\t x   # {word}\n", " ".repeat(indent))).collect();
        let hash = |body: &str| running_hash(&format!(". {{\n{body}}}\n"), &Env::default()).unwrap();
        prop_assert_eq!(hash(&plain), hash(&noisy));
    }
}
