//! H11: public names answered with addresses of the inside, and names that flip between inside and outside.
//!
//! Enters: lookups with their answers and the cluster's ranges; leaves: one draft per name. Deliberately absent:
//! answers that a Corefile line or an object explains, and the profile's internal zones.

use std::collections::BTreeMap;
use std::net::IpAddr;

use truename_model::{Explanation, Judged, Name, Nanos, Rcode, Rtype, RuleMeta, Severity, Verdict};

use super::bounded::{Table, Tally, limit, limit_ns};
use super::lookup;
use super::names::{is_public, registrable, registrable_name, shown};
use super::ranges::{Place, Ranges, is_local_only, is_metadata, is_private};
use crate::facts::{Context, Draft, Fact, Rule};

/// Services whose purpose is to answer with the address in the name, or with the asker's own host.
const BY_DESIGN: [&str; 6] = ["nip.io", "sslip.io", "plex.direct", "traefik.me", "localtest.me", "lvh.me"];
/// Providers whose zones hold private endpoints, below a label of that name: whoever may choose a label has no name
/// below these.
const PROVIDERS: [&str; 16] = [
    "amazonaws.com",
    "azconfig.io",
    "azmk8s.io",
    "azure-api.net",
    "azure-automation.net",
    "azure.com",
    "azure.net",
    "azurecr.io",
    "azuredatabricks.net",
    "azurehdinsight.net",
    "azurestaticapps.net",
    "azurewebsites.net",
    "confluent.cloud",
    "mongodb.net",
    "snowflakecomputing.com",
    "windows.net",
];
/// Labels of private endpoints.
const PRIVATE_ENDPOINTS: [&[u8]; 2] = [b"privatelink", b"vpce"];

#[derive(Debug, Default)]
struct Answers {
    public: Option<(Nanos, u32)>,
    inside: BTreeMap<IpAddr, (Nanos, u32)>,
    flipped: bool,
    tally: Tally,
}

/// The rule.
pub(crate) struct Rebinding {
    meta: RuleMeta,
    ranges: Ranges,
    names: Table<Name, Answers>,
}

impl Rebinding {
    pub(crate) fn new(meta: RuleMeta) -> Self {
        Self { meta, ranges: Ranges::default(), names: Table::new(16_384) }
    }

    fn lookup(&mut self, judged: &Judged, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let transaction = &judged.transaction;
        let Some(response) = transaction.response.as_ref().filter(|response| response.body.sections_seen)
        else {
            return;
        };
        if response.rcode != Some(Rcode::NOERROR) || is_explained(&judged.verdict) {
            return;
        }
        let name = &transaction.question.name;
        let (mut inside, mut outside) = (Vec::new(), false);
        for ip in response.body.addresses() {
            let is_inside = (is_private(ip) || !matches!(self.ranges.place(ip), Place::Outside))
                && !self.is_by_design(name, ip, cx);
            // 0.0.0.0 is how block lists answer; it leads nowhere.
            if is_inside && !ip.is_unspecified() { inside.push(ip) } else { outside = true }
        }
        // Most public names never have an inside answer: remember only those that may flip.
        let known = self.names.get(name).is_some_and(|answers| !answers.inside.is_empty());
        let ttl = response.body.answers.iter().map(|record| record.ttl).min().unwrap_or(0);
        let short = f64::from(ttl) <= limit(&self.meta, "flip_ttl");
        if (inside.is_empty() && !known && !short) || !self.concerns(name, cx) {
            return;
        }
        let Some(at) = lookup::instant(transaction) else { return };
        let (window, flip_ttl, mut evicted) =
            (limit_ns(&self.meta, "flip_window_secs"), limit(&self.meta, "flip_ttl"), Vec::new());
        let answers = self.names.entry(name.clone(), Answers::default, &mut evicted);
        note(answers, at, ttl, outside, &inside, (window, flip_ttl));
        if !inside.is_empty() {
            answers
                .tally
                .add(lookup::at(transaction), lookup::record(transaction), || lookup::line(transaction));
            answers.tally.victim(lookup::who(judged).text());
        }
        for (name, answers) in evicted {
            self.close(&name, answers, cx, out);
        }
    }

    fn concerns(&self, name: &Name, cx: &Context<'_>) -> bool {
        is_public(name, cx.knowledge.cluster_domain().as_ref(), cx.profile)
    }

    /// True if the name's zone is there to give such answers; never for the metadata service and the cluster itself.
    fn is_by_design(&self, name: &Name, ip: IpAddr, cx: &Context<'_>) -> bool {
        let below = |zones: &[&str]| {
            zones.iter().any(|zone| Name::parse(zone).is_ok_and(|zone| name.is_at_or_below(&zone)))
        };
        let own_host = ip.is_loopback() && below(&BY_DESIGN);
        let endpoint = || {
            below(&PROVIDERS)
                && name.labels().any(|label| PRIVATE_ENDPOINTS.iter().any(|own| label.starts_with(own)))
        };
        own_host || (!self.is_dangerous(ip, cx) && (below(&BY_DESIGN) || endpoint()))
    }

    fn close(&self, name: &Name, answers: Answers, cx: &Context<'_>, out: &mut Vec<Draft>) {
        if answers.inside.is_empty() {
            return;
        }
        let dangerous: Vec<IpAddr> =
            answers.inside.keys().copied().filter(|ip| self.is_dangerous(*ip, cx)).collect();
        let known_suffix = registrable(name).is_some_and(|(_, known)| known);
        let severity = match (answers.flipped, dangerous.is_empty()) {
            (true, _) => Severity::Critical,
            (false, false) => Severity::High,
            // A private answer below a suffix that the Internet does not have is split horizon, not news.
            (false, true) if known_suffix => Severity::Low,
            (false, true) => return,
        };
        let target = shown(name);
        let ips: Vec<String> = answers.inside.keys().take(8).map(ToString::to_string).collect();
        let title = format!("The public name {target} was answered with {}", ips.join(", "));
        let mut draft = Draft::new(&self.meta.id, severity, title);
        answers.tally.fill(&mut draft);
        draft.subject = format!("zone {}", shown(&registrable_name(name)));
        draft.target = target;
        draft.why = if answers.flipped {
            "Public and inside addresses follow each other within minutes at a short TTL: rebinding."
                .to_owned()
        } else {
            "A name that outsiders control leads clients to an address of the inside.".to_owned()
        };
        out.push(draft);
    }

    fn is_dangerous(&self, ip: IpAddr, cx: &Context<'_>) -> bool {
        let mut ranges = self.ranges.clone();
        ranges.read_profile(cx.profile);
        is_local_only(ip) || is_metadata(ip) || !matches!(ranges.place(ip), Place::Outside)
    }
}

fn note(
    answers: &mut Answers,
    at: Nanos,
    ttl: u32,
    outside: bool,
    inside: &[IpAddr],
    (window, flip_ttl): (i64, f64),
) {
    let near = |then: Nanos, then_ttl: u32| {
        at.since(then).abs() <= window && f64::from(ttl) <= flip_ttl && f64::from(then_ttl) <= flip_ttl
    };
    if !inside.is_empty() {
        answers.flipped |= answers.public.is_some_and(|(then, then_ttl)| near(then, then_ttl));
        for ip in inside.iter().take(16) {
            if answers.inside.len() < 64 || answers.inside.contains_key(ip) {
                answers.inside.insert(*ip, (at, ttl));
            }
        }
    }
    if outside {
        answers.flipped |= answers.inside.values().any(|(then, then_ttl)| near(*then, *then_ttl));
        answers.public = Some((at, ttl));
    }
}

/// Configuration or an object stands behind it: not the zone's owner.
fn is_explained(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Explained { by } => !matches!(by, Explanation::Upstream(_)),
        Verdict::Verified { .. } | Verdict::Stale { .. } => true,
        Verdict::Unverifiable { .. } | Verdict::Contradicted { .. } => false,
    }
}

impl Rule for Rebinding {
    fn meta(&self) -> &RuleMeta {
        &self.meta
    }

    fn observe(&mut self, fact: &Fact<'_>, cx: &Context<'_>, out: &mut Vec<Draft>) {
        match fact {
            Fact::Change(change) => self.ranges.learn(change),
            Fact::Lookup(judged) if matches!(judged.transaction.question.rtype, Rtype::A | Rtype::AAAA) => {
                self.lookup(judged, cx, out);
            }
            _ => {}
        }
    }

    fn finish(&mut self, cx: &Context<'_>, out: &mut Vec<Draft>) {
        for (name, answers) in self.names.drain() {
            self.close(&name, answers, cx, out);
        }
    }

    fn evictions(&self) -> u64 {
        self.names.evictions()
    }
}
