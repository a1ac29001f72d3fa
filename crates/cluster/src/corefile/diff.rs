//! What changed between two Corefiles, as far as it changes answers or evidence.
//!
//! Enters: two parsed Corefiles; leaves: [`CorefileChange`]s with the names that each one hits. Layout, comments,
//! order of directives and split or merged blocks give no change. Deliberately absent: whether a change is allowed.

use std::collections::BTreeMap;

use truename_model::Name;

use super::evidence::{DnstapTap, LogClass, LogRule};
use super::forward::Target;
use super::lexer::Token;
use super::registry::Plugin;
use super::rewrite::{Action, NameMatch};
use super::server::{Corefile, ServerBlock};
use super::value::Pattern;

/// What a changed line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// A zone that is served on a port.
    Zone,
    /// A target of `forward`, or the options of the stanza.
    Forward,
    /// An entry or a file of `hosts`.
    Hosts,
    /// A `template`.
    Template,
    /// A rule of `rewrite`.
    Rewrite,
    /// Names from elsewhere: `file`, `auto`, `secondary`, `etcd`, `dynupdate` …, and a zone of `k8s_external`.
    ZoneData,
    /// Options of `kubernetes` or `k8s_external`.
    Cluster,
    /// `log`, `errors` or `dnstap`.
    Evidence,
    /// An import of a file that is not at hand.
    Import,
    /// Any other directive.
    Other,
}

/// How the line changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Turn {
    /// Only the new Corefile has it.
    Added,
    /// Only the old Corefile has it.
    Removed,
}

/// Names that a line is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hit {
    /// This name.
    Name(Name),
    /// Every name at or below it.
    Below(Name),
    /// Names that a rewrite's text or pattern describes, within a zone.
    Match(NameMatch, Name),
    /// Names that a pattern matches, within a zone.
    Pattern(Pattern, Name),
}

impl Hit {
    /// Whether a name is hit; `None` if that cannot be told.
    #[must_use]
    pub fn matches(&self, name: &Name) -> Option<bool> {
        match self {
            Self::Name(one) => Some(one == name),
            Self::Below(zone) => Some(name.is_at_or_below(zone)),
            Self::Match(_, zone) | Self::Pattern(_, zone) if !name.is_at_or_below(zone) => Some(false),
            Self::Match(text, _) => text.matches(&name.to_string()),
            Self::Pattern(pattern, _) => pattern.matches(&name.to_string()),
        }
    }

    /// Whether some name at or below `zone` may be hit. Patterns count as hitting whatever their zone allows unless
    /// they are bound to another ending.
    #[must_use]
    pub fn touches(&self, zone: &Name) -> bool {
        let meets = |other: &Name| zone.is_at_or_below(other) || other.is_at_or_below(zone);
        match self {
            Self::Name(name) => name.is_at_or_below(zone),
            Self::Below(other) => meets(other),
            Self::Pattern(_, within) => meets(within),
            Self::Match(text, within) => meets(within) && text_touches(text, zone),
        }
    }
}

/// Whether a name at or below `zone` may fit a rewrite's text.
fn text_touches(text: &NameMatch, zone: &Name) -> bool {
    let ending = zone.to_string();
    match text {
        NameMatch::Exact(name) => Name::parse(name).is_ok_and(|name| name.is_at_or_below(zone)),
        NameMatch::Suffix(suffix) => {
            ending == "." || suffix.ends_with(&ending) || ending.ends_with(suffix.as_str())
        }
        NameMatch::Prefix(_) | NameMatch::Substring(_) | NameMatch::Regex(_) => true,
    }
}

/// A change of meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorefileChange {
    /// What the line is about.
    pub topic: Topic,
    /// How it changed.
    pub turn: Turn,
    /// The plugin, or `zone` for a server key.
    pub plugin: String,
    /// Line in the Corefile that has it: the new one for `Added`, the old one for `Removed`.
    pub line: u32,
    /// The line in one form: single spaces, secrets left out.
    pub text: String,
    /// Names it is about.
    pub hits: Vec<Hit>,
}

impl CorefileChange {
    /// Whether the line is about a name; `None` if that cannot be told.
    #[must_use]
    pub fn hits_name(&self, name: &Name) -> Option<bool> {
        let mut unsure = false;
        for hit in &self.hits {
            match hit.matches(name) {
                Some(true) => return Some(true),
                Some(false) => {}
                None => unsure = true,
            }
        }
        if unsure { None } else { Some(false) }
    }

    /// Whether the line may be about a name at or below a zone.
    #[must_use]
    pub fn touches(&self, zone: &Name) -> bool {
        self.hits.iter().any(|hit| hit.touches(zone))
    }

    /// True if less is recorded afterwards: a `log`, `errors` or `dnstap` rule went away and nothing that records as
    /// much came in its place (see [`diff`]).
    #[must_use]
    pub fn removes_evidence(&self) -> bool {
        self.topic == Topic::Evidence && self.turn == Turn::Removed
    }
}

/// Identity of a line: scope, topic, canonical text.
type Key = (String, Topic, String);

#[derive(Clone, Debug)]
struct Fact {
    plugin: String,
    line: u32,
    count: usize,
    hits: Vec<Hit>,
}

/// Compares two Corefiles. Changes come in order of topic, turn, line.
#[must_use]
pub fn diff(old: &Corefile, new: &Corefile) -> Vec<CorefileChange> {
    let (before, after) = (facts(old), facts(new));
    let mut changes = Vec::new();
    let mut collect = |from: &BTreeMap<Key, Fact>, other: &BTreeMap<Key, Fact>, turn: Turn| {
        for ((scope, topic, text), fact) in from {
            let same = other.get(&(scope.clone(), *topic, text.clone())).map_or(0, |fact| fact.count);
            // Directives that come or go with their zone say nothing beyond the zone itself.
            let zone_moved = !scope.is_empty() && !has_zone(other, scope);
            let with_zone = matches!(topic, Topic::Evidence | Topic::Other | Topic::Cluster) && zone_moved;
            if fact.count > same && !with_zone {
                push(&mut changes, *topic, turn, fact, text);
            }
        }
    };
    collect(&after, &before, Turn::Added);
    collect(&before, &after, Turn::Removed);
    // A rule that records at least as much took the place of the old one.
    let added: Vec<CorefileChange> = changes.iter().filter(|one| one.turn == Turn::Added).cloned().collect();
    changes.retain(|change| {
        let replaced = |other: &CorefileChange| {
            other.plugin == change.plugin
                && records_as_much(new, other.line, old, change.line, &change.plugin)
        };
        !(change.removes_evidence() && added.iter().any(replaced))
    });
    changes.sort_by(|a, b| (a.topic, a.turn, a.line, &a.text).cmp(&(b.topic, b.turn, b.line, &b.text)));
    changes
}

/// Adds a change, or its hits to the same line seen in another zone.
fn push(changes: &mut Vec<CorefileChange>, topic: Topic, turn: Turn, fact: &Fact, text: &str) {
    let same = |change: &&mut CorefileChange| {
        change.topic == topic && change.turn == turn && change.line == fact.line && change.text == text
    };
    match changes.iter_mut().find(same) {
        Some(change) => {
            for hit in &fact.hits {
                if !change.hits.contains(hit) {
                    change.hits.push(hit.clone());
                }
            }
        }
        None => changes.push(CorefileChange {
            topic,
            turn,
            plugin: fact.plugin.clone(),
            line: fact.line,
            text: text.to_owned(),
            hits: fact.hits.clone(),
        }),
    }
}

fn has_zone(facts: &BTreeMap<Key, Fact>, scope: &str) -> bool {
    facts.contains_key(&(String::new(), Topic::Zone, scope.to_owned()))
}

/// Whether the evidence rule at `line` of `new` records whatever the one at `old_line` of `old` did.
fn records_as_much(new: &Corefile, line: u32, old: &Corefile, old_line: u32, plugin: &str) -> bool {
    let find = |corefile: &Corefile, line: u32| {
        let all = corefile.servers.iter().flat_map(|server| &server.plugins);
        all.clone().find(|one| one.line() == line && one.name() == plugin).cloned()
    };
    match (find(new, line), find(old, old_line)) {
        (Some(Plugin::Log(new)), Some(Plugin::Log(old))) => log_covers(&new, &old),
        (Some(Plugin::Dnstap(new)), Some(Plugin::Dnstap(old))) => tap_covers(&new, &old),
        (Some(Plugin::Errors(new)), Some(Plugin::Errors(old))) => {
            new.consolidate.len() <= old.consolidate.len()
        }
        _ => false,
    }
}

fn log_covers(new: &LogRule, old: &LogRule) -> bool {
    let classes =
        new.classes == [LogClass::All] || old.classes.iter().all(|class| new.classes.contains(class));
    let names = old.names.iter().all(|name| new.covers(name));
    // A format of its own may leave fields out; only the same or the full one is as good.
    classes && names && (new.format == old.format || !new.custom)
}

fn tap_covers(new: &DnstapTap, old: &DnstapTap) -> bool {
    new.endpoint == old.endpoint
        && new.transport == old.transport
        && new.listen == old.listen
        && (new.full || !old.full)
}

fn facts(corefile: &Corefile) -> BTreeMap<Key, Fact> {
    let mut out = BTreeMap::new();
    for server in &corefile.servers {
        for key in &server.keys {
            for zone in &key.zones {
                let scope = format!("{zone}:{} {:?}", key.port, key.transport);
                add(
                    &mut out,
                    "",
                    Topic::Zone,
                    scope.clone(),
                    "zone",
                    key.token.line,
                    vec![Hit::Below(zone.clone())],
                );
                for plugin in &server.plugins {
                    plugin_facts(&mut out, &scope, zone, plugin);
                }
                raw_facts(&mut out, &scope, zone, server);
            }
        }
    }
    for token in &corefile.unresolved_imports {
        let hits = vec![Hit::Below(Name::root())];
        add(&mut out, "", Topic::Import, format!("import {}", token.text), "import", token.line, hits);
    }
    out
}

fn add(
    out: &mut BTreeMap<Key, Fact>,
    scope: &str,
    topic: Topic,
    text: String,
    plugin: &str,
    line: u32,
    hits: Vec<Hit>,
) {
    let fact = Fact { plugin: plugin.to_owned(), line, count: 0, hits };
    out.entry((scope.to_owned(), topic, text)).or_insert(fact).count += 1;
}

/// The part of `zone` below `other`, or the other way round; `None` if they do not meet.
fn meet(zone: &Name, other: &Name) -> Option<Name> {
    if zone.is_at_or_below(other) {
        Some(zone.clone())
    } else {
        other.is_at_or_below(zone).then(|| other.clone())
    }
}

fn plugin_facts(out: &mut BTreeMap<Key, Fact>, scope: &str, zone: &Name, plugin: &Plugin) {
    let mut fact = |topic: Topic, text: String, line: u32, hits: Vec<Hit>| {
        add(out, scope, topic, text, plugin.name(), line, hits);
    };
    let below = |zones: &[Name]| -> Vec<Hit> {
        zones.iter().filter_map(|one| meet(zone, one)).map(Hit::Below).collect()
    };
    match plugin {
        Plugin::Forward(forward) => {
            let hits = below(std::slice::from_ref(&forward.from));
            for target in &forward.targets {
                let text = format!("forward {} {}", forward.from, target_text(target));
                fact(Topic::Forward, text, forward.line, hits.clone());
            }
            if !forward.except.is_empty() {
                let mut except: Vec<String> = forward.except.iter().map(Name::to_string).collect();
                except.sort();
                let text = format!("forward {} {{ except {} }}", forward.from, except.join(" "));
                fact(Topic::Forward, text, forward.line, below(&forward.except));
            }
            let text = format!(
                "forward {} {{ policy {}; force_tcp {}; tls_servername {} }}",
                forward.from,
                forward.policy,
                forward.force_tcp,
                forward.tls_servername.as_deref().unwrap_or("-")
            );
            fact(Topic::Other, text, forward.line, hits);
        }
        Plugin::Hosts(hosts) => {
            for entry in &hosts.entries {
                for name in &entry.names {
                    let text = format!("{} {name}", entry.address);
                    fact(Topic::Hosts, text, entry.line, vec![host_hit(name)]);
                }
            }
            let text = format!("hosts {}", hosts.path);
            let hits = if hosts.names_file { below(&hosts.zones) } else { Vec::new() };
            fact(Topic::Hosts, text, hosts.line, hits);
        }
        Plugin::Template(template) => {
            let zones: Vec<Name> = template.zones.iter().filter_map(|one| meet(zone, one)).collect();
            let pairs =
                template.patterns.iter().flat_map(|pattern| zones.iter().map(move |zone| (pattern, zone)));
            let hits = pairs.map(|(pattern, zone)| Hit::Pattern(pattern.clone(), zone.clone())).collect();
            fact(Topic::Template, template.text.clone(), template.line, hits);
        }
        Plugin::Rewrite(rule) => {
            let hits = match &rule.action {
                Action::Name { from, .. } => vec![Hit::Match(from.clone(), zone.clone())],
                Action::Ttl { names, .. } | Action::Rcode { names, .. } => {
                    vec![Hit::Match(names.clone(), zone.clone())]
                }
                // The target of an alias lies anywhere, whatever zone the question was in.
                Action::Cname { from, .. } => vec![Hit::Match(from.clone(), Name::root())],
                _ => vec![Hit::Below(zone.clone())],
            };
            fact(Topic::Rewrite, rule.text.clone(), rule.line, hits);
        }
        Plugin::K8sExternal(external) => {
            for one in &external.zones {
                let text = format!("k8s_external {one}");
                fact(Topic::ZoneData, text, external.line, below(std::slice::from_ref(one)));
            }
        }
        Plugin::ZoneData(data) => fact(Topic::ZoneData, data.text.clone(), data.line, below(&data.zones)),
        _ => {}
    }
}

fn host_hit(name: &Name) -> Hit {
    match name.parent() {
        Some(parent) if name.labels().next() == Some(b"*") => Hit::Below(parent),
        _ => Hit::Name(name.clone()),
    }
}

fn target_text(target: &Target) -> String {
    let server_name = target.server_name.as_deref().map(|name| format!("%{name}")).unwrap_or_default();
    format!("{:?} {:?}:{}{server_name}", target.transport, target.upstream, target.port)
}

/// Directives that are compared as written, words in order.
fn raw_facts(out: &mut BTreeMap<Key, Fact>, scope: &str, zone: &Name, server: &ServerBlock) {
    for directive in &server.directives {
        let topic = match directive.name.as_str() {
            "log" | "errors" | "dnstap" => Topic::Evidence,
            "kubernetes" | "k8s_external" => Topic::Cluster,
            "forward" | "hosts" | "template" | "rewrite" => continue,
            _ if super::zonedata::SCHEMAS.iter().any(|schema| schema.name == directive.name) => continue,
            _ => Topic::Other,
        };
        let text = canonical(&directive.tokens);
        add(out, scope, topic, text, &directive.name, directive.line, vec![Hit::Below(zone.clone())]);
    }
}

/// Tokens with single spaces; line breaks inside a block become `;`, so that layout does not count but lines do.
fn canonical(tokens: &[Token]) -> String {
    let mut out = String::new();
    for (at, token) in tokens.iter().enumerate() {
        let previous = at.checked_sub(1).and_then(|at| tokens.get(at));
        let breaks = previous.is_some_and(|previous| super::lexer::starts_line(previous, token));
        let around = [previous.map(|token| &*token.text), Some(&*token.text)];
        let brace = around.iter().flatten().any(|text| matches!(*text, "{" | "}"));
        match at {
            0 => {}
            _ if breaks && !brace => out.push_str("; "),
            _ => out.push(' '),
        }
        out.push_str(&token.text);
    }
    out
}
