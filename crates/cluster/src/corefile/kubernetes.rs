//! The `kubernetes` and `k8s_external` plugins.
//!
//! Enters: a stanza; leaves: the options that decide which names exist and what they answer.
//! Deliberately absent: objects.

use std::collections::{BTreeMap, BTreeSet};

use truename_model::Name;

use super::diagnostic::CorefileError;
use super::order::Version;
use super::schema::Take::{Lenient, Nothing, Rest};
use super::schema::{Body, MANY, Schema, Stanza, invalid, option, option_since};
use super::value::Kind;
use super::zone::{is_reverse, normalize_exact};

/// How `kubernetes` is written.
pub const KUBERNETES: Schema = Schema::new(
    "kubernetes",
    (0, MANY),
    &[],
    Body::Options(&[
        option("endpoint_pod_names", Rest(0, 0), &[]),
        option("pods", Rest(1, 1), &[Kind::OneOf(&["disabled", "insecure", "verified"])]),
        option("namespaces", Rest(1, MANY), &[]),
        option("endpoint", Rest(1, MANY), &[]),
        option("tls", Rest(3, 3), &[]),
        option("labels", Rest(1, MANY), &[]),
        option("namespace_labels", Rest(1, MANY), &[]),
        option("fallthrough", Rest(0, MANY), &[]),
        option("ttl", Lenient(1), &[Kind::Int(0, 3600), Kind::Any]),
        option("noendpoints", Rest(0, 0), &[]),
        option_since(Version(1, 14, 7), "zonal", Rest(0, 0), &[]),
        option("ignore", Lenient(0), &[Kind::OneOf(&["empty_service"]), Kind::Any]),
        option("kubeconfig", Rest(1, 2), &[]),
        option_since(Version(1, 12, 2), "multicluster", Rest(0, MANY), &[]),
        option_since(
            Version(1, 12, 3),
            "startup_timeout",
            Lenient(1),
            &[Kind::Duration(i64::MIN, i64::MAX), Kind::Any],
        ),
        option_since(Version(1, 14, 0), "apiserver_qps", Rest(1, 1), &[Kind::Float(0.0)]),
        option_since(Version(1, 14, 0), "apiserver_burst", Rest(1, 1), &[Kind::Int(0, i64::MAX)]),
        option_since(Version(1, 14, 0), "apiserver_max_inflight", Rest(1, 1), &[Kind::Int(0, i64::MAX)]),
    ]),
)
.once();

/// How `k8s_external` is written.
pub const K8S_EXTERNAL: Schema = Schema::new(
    "k8s_external",
    (0, MANY),
    &[],
    Body::Options(&[
        option("ttl", Lenient(1), &[Kind::Int(0, 3600), Kind::Any]),
        option("apex", Lenient(1), &[]),
        option_since(Version(1, 9, 4), "headless", Nothing, &[]),
        option_since(Version(1, 11, 0), "fallthrough", Rest(0, MANY), &[]),
    ]),
);

/// Zones for which a plugin passes on names that it does not know (`plugin/pkg/fall`). Empty: none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fallthrough(pub Vec<Name>);

impl Fallthrough {
    /// Reads the last `fallthrough` option of a stanza; without words it holds for every name.
    #[must_use]
    pub fn read(stanza: &Stanza) -> Self {
        match stanza.last("fallthrough") {
            None => Self::default(),
            Some(entry) if entry.args.is_empty() => Self(vec![Name::root()]),
            Some(entry) => Self(entry.words().flat_map(normalize_exact).collect()),
        }
    }

    /// True if a name that the plugin does not know goes to the next plugin.
    #[must_use]
    pub fn passes(&self, name: &Name) -> bool {
        self.0.iter().any(|zone| name.is_at_or_below(zone))
    }
}

/// Zones of a stanza: its words, or the zones of the server block if it has none.
#[must_use]
pub fn origins<'a>(words: impl Iterator<Item = &'a str>, server: &[Name]) -> Vec<Name> {
    let mut words = words.peekable();
    if words.peek().is_none() { server.to_vec() } else { words.flat_map(normalize_exact).collect() }
}

/// How `pods` names are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PodMode {
    /// No pod names (the default).
    #[default]
    Disabled,
    /// Any `a-b-c-d.ns.pod` answers with its own address.
    Insecure,
    /// Only addresses of pods that exist in the namespace.
    Verified,
}

/// Options of a `kubernetes` stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesOptions {
    /// Line of the directive.
    pub line: u32,
    /// Zones, reverse zones included.
    pub zones: Vec<Name>,
    /// The zone that names of PTR answers end in: the first that is not a reverse zone.
    pub primary_zone: Name,
    /// `pods`.
    pub pods: PodMode,
    /// Endpoint names from pod names.
    pub endpoint_pod_names: bool,
    /// Exposed namespaces; empty: all.
    pub namespaces: BTreeSet<String>,
    /// Selector of services (and of endpoint slices).
    pub labels: Option<LabelSelector>,
    /// Selector of namespaces.
    pub namespace_labels: Option<LabelSelector>,
    /// TTL of answers, seconds; 5 unless set.
    pub ttl: u32,
    /// False with `noendpoints`: headless services have no addresses, and reverse answers know services only.
    pub endpoints: bool,
    /// `ignore empty_service`: NXDOMAIN for a service without ready endpoints.
    pub ignore_empty_service: bool,
    /// Zone-scoped names (1.14.7 and later).
    pub zonal: bool,
    /// Which unknown names go on.
    pub fallthrough: Fallthrough,
    /// Zones of the multi-cluster API.
    pub multicluster: Vec<Name>,
}

impl KubernetesOptions {
    /// Reads a stanza whose block serves `server` zones.
    ///
    /// # Errors
    /// The fault at which CoreDNS refuses to start.
    pub fn read(stanza: &Stanza, server: &[Name]) -> Result<Self, CorefileError> {
        let zones = origins(stanza.words(), server);
        let Some(primary_zone) = zones.iter().find(|zone| !is_reverse(zone)).cloned() else {
            let message = "kubernetes needs a zone that is not a reverse zone";
            return Err(invalid(&stanza.name, message, "add the cluster domain"));
        };
        let options = Self {
            line: stanza.name.line,
            primary_zone,
            pods: match stanza.last("pods").map(|entry| entry.word(0)) {
                Some("insecure") => PodMode::Insecure,
                Some("verified") => PodMode::Verified,
                _ => PodMode::Disabled,
            },
            endpoint_pod_names: stanza.has("endpoint_pod_names"),
            namespaces: stanza.all("namespaces").flat_map(|entry| entry.words().map(str::to_owned)).collect(),
            labels: selector(stanza, "labels")?,
            namespace_labels: selector(stanza, "namespace_labels")?,
            ttl: stanza.last("ttl").and_then(|entry| entry.word(0).parse().ok()).unwrap_or(5),
            endpoints: !stanza.has("noendpoints"),
            ignore_empty_service: stanza.all("ignore").any(|entry| entry.word(0) == "empty_service"),
            zonal: stanza.has("zonal"),
            fallthrough: Fallthrough::read(stanza),
            multicluster: stanza
                .last("multicluster")
                .map(|entry| entry.words().flat_map(normalize_exact).collect())
                .unwrap_or_default(),
            zones,
        };
        options.check(stanza)?;
        Ok(options)
    }

    fn check(&self, stanza: &Stanza) -> Result<(), CorefileError> {
        if !self.namespaces.is_empty() && self.namespace_labels.is_some() {
            let message = "namespaces and namespace_labels exclude each other";
            return Err(invalid(&stanza.name, message, "remove one"));
        }
        if let Some(zone) = self.multicluster.iter().find(|zone| !self.zones.contains(zone)) {
            let message = format!("the multicluster zone {zone} is not among the plugin's zones");
            return Err(invalid(&stanza.name, message, "add it to the directive's line"));
        }
        if self.zonal && !self.endpoints {
            let message = "zonal needs endpoints, noendpoints takes them away";
            return Err(invalid(&stanza.name, message, "remove one"));
        }
        Ok(())
    }

    /// The zone of the plugin that holds the name: the longest that matches.
    #[must_use]
    pub fn zone_of(&self, name: &Name) -> Option<&Name> {
        longest_zone(&self.zones, name)
    }
}

/// The longest of `zones` that `name` is at or below (the first of equals, as `plugin.Zones.Matches`).
#[must_use]
pub fn longest_zone<'a>(zones: &'a [Name], name: &Name) -> Option<&'a Name> {
    let mut best: Option<&Name> = None;
    for zone in zones.iter().filter(|zone| name.is_at_or_below(zone)) {
        if best.is_none_or(|best| zone.wire().len() > best.wire().len()) {
            best = Some(zone);
        }
    }
    best
}

/// A Kubernetes label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSelector {
    /// As written.
    pub text: String,
    /// All must hold: key, true if the values are wanted or false if they are excluded, and the values; no values
    /// means that the key must exist (or must not).
    pub requirements: Vec<(String, bool, Vec<String>)>,
}

impl LabelSelector {
    /// Reads `a=b,c!=d,e in (x, y),f notin (z),g,!h` (`metav1.ParseToLabelSelector`).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut requirements = Vec::new();
        for part in split_outside_parentheses(text) {
            requirements.push(requirement(part.trim())?);
        }
        Some(Self { text: text.to_owned(), requirements })
    }

    /// True if the labels satisfy every requirement.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|(key, wanted, values)| {
            let found = labels.get(key);
            if values.is_empty() {
                return found.is_some() == *wanted;
            }
            found.is_some_and(|value| values.contains(value)) == *wanted
        })
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0usize, 0usize);
    for (at, ch) in text.char_indices() {
        match ch {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn requirement(part: &str) -> Option<(String, bool, Vec<String>)> {
    if let Some(key) = part.strip_prefix('!') {
        return Some((label_key(key)?, false, Vec::new()));
    }
    if let Some((head, list)) = part.strip_suffix(')').and_then(|rest| rest.split_once('(')) {
        let mut words = head.split_whitespace();
        let (key, operator) = (words.next()?, words.next()?);
        let wanted = match operator {
            "in" => true,
            "notin" => false,
            _ => return None,
        };
        let values = list.split(',').map(|value| label_value(value.trim())).collect::<Option<Vec<_>>>()?;
        return words.next().is_none().then_some((label_key(key)?, wanted, values));
    }
    let (key, wanted, value) = if let Some((key, value)) = part.split_once("!=") {
        (key, false, value)
    } else if let Some((key, value)) = part.split_once('=') {
        (key, true, value.strip_prefix('=').unwrap_or(value))
    } else {
        return Some((label_key(part)?, true, Vec::new()));
    };
    Some((label_key(key.trim())?, wanted, vec![label_value(value.trim())?]))
}

fn label_key(key: &str) -> Option<String> {
    let key = key.trim();
    let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
    (!name.is_empty() && name.len() <= 63 && label_text(name) && key.len() <= 317).then(|| key.to_owned())
}

fn label_value(value: &str) -> Option<String> {
    (value.len() <= 63 && (value.is_empty() || label_text(value))).then(|| value.to_owned())
}

fn label_text(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

fn selector(stanza: &Stanza, option: &str) -> Result<Option<LabelSelector>, CorefileError> {
    let Some(entry) = stanza.last(option) else { return Ok(None) };
    let text = entry.words().collect::<Vec<_>>().join(" ");
    LabelSelector::parse(&text).map(Some).ok_or_else(|| {
        invalid(
            &entry.name,
            format!("'{text}' is no label selector"),
            "write key=value, key in (a, b) or !key",
        )
    })
}

/// Options of a `k8s_external` stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct K8sExternal {
    /// Line of the directive.
    pub line: u32,
    /// Zones.
    pub zones: Vec<Name>,
    /// TTL of answers, seconds; 5 unless set.
    pub ttl: u32,
    /// Label of the apex records; `dns` unless set.
    pub apex: String,
    /// Headless services are served too.
    pub headless: bool,
    /// Which unknown names go on.
    pub fallthrough: Fallthrough,
}

impl K8sExternal {
    /// Reads a stanza whose block serves `server` zones.
    #[must_use]
    pub fn read(stanza: &Stanza, server: &[Name]) -> Self {
        Self {
            line: stanza.name.line,
            zones: origins(stanza.words(), server),
            ttl: stanza.last("ttl").and_then(|entry| entry.word(0).parse().ok()).unwrap_or(5),
            apex: stanza.last("apex").map_or("dns", |entry| entry.word(0)).to_owned(),
            headless: stanza.has("headless"),
            fallthrough: Fallthrough::read(stanza),
        }
    }
}
