//! H02: answers for cluster names in a shape that the kubernetes plugin under this Corefile cannot give.
//!
//! Enters: lookups and the Corefiles of the cluster; leaves: drafts per answer. Deliberately absent: everything that
//! genuine CoreDNS does in some version or plugin: a Corefile with plugins that reshape answers switches it off, TTLs
//! are compared per owner name (an ExternalName's chain keeps the TTLs of its own records), and denials are not looked
//! at where the plugin passes them on.

use truename_cluster::corefile::{Corefile, Env, Plugin, ServerBlock, parse};
use truename_cluster::history::CorefileHistory;
use truename_model::{
    Contradiction, Flags, Judged, Name, Object, Rcode, Rdata, Response, Rtype, RuleMeta, Severity,
    Transaction, Vantage, Verdict,
};

use super::bounded::limit;
use super::h01_answer::server;
use super::lookup;
use super::names::shown;
use crate::facts::{Context, Draft, Fact, Rule};

/// Plugins that change TTL, flags, EDNS or records of cluster names.
const RESHAPE: [&str; 15] = [
    "rewrite",
    "template",
    "dns64",
    "siit",
    "autopath",
    "header",
    "any",
    "hosts",
    "file",
    "minimal",
    "k8s_external",
    "view",
    "dnssec",
    "tsig",
    "dynupdate",
];
const SECOND: i64 = truename_model::time::SECOND;
/// Longest TTL of the SOA record of a denial, seconds (`answer-truth-measured` 16).
const SOA_TTL_MAX: u32 = 300;

/// What the Corefiles seen so far allow at the most.
#[derive(Clone, Debug, Default)]
struct Allowed {
    zones: Vec<Name>,
    ttl: u32,
    // TTL of the SOA record of a denial; what is passed on has the upstream's.
    denial_ttl: u32,
    passes_denials: bool,
    reshaped: bool,
}

impl Allowed {
    fn learn(&mut self, corefile: &Corefile) {
        self.reshaped |= !corefile.unresolved_imports.is_empty();
        for server in &corefile.servers {
            self.learn_block(server);
        }
    }

    fn learn_block(&mut self, server: &ServerBlock) {
        let Some(plugin) = server.kubernetes() else { return };
        if self.zones.len() < 64 && !self.zones.contains(&plugin.primary_zone) {
            self.zones.push(plugin.primary_zone.clone());
        }
        self.reshaped |= server.directives.iter().any(|one| RESHAPE.contains(&one.name.as_str()));
        let zone = &plugin.primary_zone;
        let meets = |other: &Name| zone.is_at_or_below(other) || other.is_at_or_below(zone);
        self.passes_denials |= plugin.fallthrough.0.iter().any(meets);
        // A cache lifts TTLs to its least.
        let caches = server.plugins.iter().filter_map(|one| match one {
            Plugin::Cache(cache) => Some((cache.success.1, cache.denial.1)),
            _ => None,
        });
        let secs = |ns: i64| u32::try_from(ns / SECOND).unwrap_or(0);
        let (lifted, denied) =
            caches.fold((0, 0), |(success, denial), (s, d)| (secs(s).max(success), secs(d).max(denial)));
        self.ttl = self.ttl.max(plugin.ttl).max(lifted);
        self.denial_ttl = self.denial_ttl.max(plugin.ttl.min(SOA_TTL_MAX)).max(denied);
    }

    fn zone_of(&self, name: &Name) -> Option<&Name> {
        self.zones.iter().filter(|zone| name.is_at_or_below(zone)).max_by_key(|zone| zone.label_count())
    }
}

/// The rule.
pub(crate) struct Shape {
    meta: RuleMeta,
    allowed: Allowed,
}

impl Shape {
    pub(crate) fn new(meta: RuleMeta) -> Self {
        Self { meta, allowed: Allowed::default() }
    }

    fn check(&self, judged: &Judged, response: &Response, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let transaction = &judged.transaction;
        let odd = oddities(&self.allowed, transaction, response);
        if odd.is_empty() {
            return;
        }
        let several = odd.len() as f64 >= limit(&self.meta, "several");
        let severity = if several { Severity::Critical } else { Severity::Medium };
        let name = shown(&transaction.question.name);
        let title = format!("An answer for {name} has a shape that CoreDNS does not give");
        let mut draft = Draft::new(&self.meta.id, severity, title);
        let who = lookup::who(judged);
        match server(transaction, response, cx) {
            Some(replica) => draft.subject = replica,
            None => {
                draft.subject = who.text();
                draft.workload = who.workload();
            }
        }
        let at = response.at.interval().or_else(|| lookup::at(transaction).interval());
        draft.target = name;
        draft.seen = at;
        draft.why = format!("{}.", odd.join("; "));
        let line = lookup::line_of(&transaction.question, Some(response));
        draft.evidence.push((at.map(|at| at.lo), response.record, line));
        draft.victims.push(who.text());
        out.push(draft);
    }
}

fn oddities(allowed: &Allowed, transaction: &Transaction, response: &Response) -> Vec<String> {
    let mut odd = Vec::new();
    if response.body.answers.is_empty() {
        denial_oddities(allowed, transaction, response, &mut odd);
    } else if positive_oddities(allowed, transaction, response, &mut odd) {
        // The chain of an ExternalName comes from elsewhere, with flags of its own.
        return odd;
    }
    if !response.flags.has(Flags::AA) {
        odd.push("the server is not authoritative for it (AA missing)".to_owned());
    }
    if response.flags.has(Flags::RA) {
        odd.push("recursion is offered (RA), as no answer of the kubernetes plugin does".to_owned());
    }
    if response.vantage == Vantage::PacketResponse
        && transaction.bufsize.is_some_and(|size| size > 512)
        && response.body.edns.is_none()
    {
        odd.push("the question had EDNS and the answer has none".to_owned());
    }
    let asked = transaction.odd_query.as_ref().and_then(|query| query.qname_case.as_deref());
    if asked.is_some_and(|asked| response.body.qname_case.as_deref() != Some(asked)) {
        odd.push("the question comes back in another case than it was asked in".to_owned());
    }
    odd
}

/// TTL and records of an answer; true if it is an alias.
fn positive_oddities(
    allowed: &Allowed,
    transaction: &Transaction,
    response: &Response,
    odd: &mut Vec<String>,
) -> bool {
    let (name, body) = (&transaction.question.name, &response.body);
    let own = || body.answers.iter().filter(|record| record.owner == *name);
    if let Some(record) = own().find(|record| record.ttl > allowed.ttl) {
        odd.push(format!("TTL {} s, while the Corefile allows {} s", record.ttl, allowed.ttl));
    }
    if own().any(|record| record.rtype == Rtype::CNAME) {
        return true;
    }
    if own().count() < body.answers.len() {
        odd.push("records of another name are among the answers".to_owned());
    }
    if !(body.authority.is_empty() && body.additional.is_empty()) {
        odd.push(
            "it has authority or additional records, which the kubernetes plugin does not add".to_owned(),
        );
    }
    false
}

/// The SOA record that every denial of the plugin bears.
fn denial_oddities(allowed: &Allowed, transaction: &Transaction, response: &Response, odd: &mut Vec<String>) {
    let Some(zone) = allowed.zone_of(&transaction.question.name) else { return };
    let [record] = response.body.authority.as_slice() else {
        odd.push("a denial without the zone's SOA record, or with more than that".to_owned());
        return;
    };
    let primary = Name::parse(&format!("ns.dns.{zone}")).ok();
    let is_own = matches!(&record.rdata, Rdata::Soa { mname, .. } if Some(mname) == primary.as_ref());
    if record.owner != *zone || !is_own {
        odd.push("the SOA record of the denial is not the kubernetes plugin's".to_owned());
    } else if record.ttl > allowed.denial_ttl {
        odd.push(format!(
            "the denial's TTL is {} s, while the Corefile allows {} s",
            record.ttl, allowed.denial_ttl
        ));
    }
}

/// The answer is the kubernetes plugin's, or claims to be: nothing else explains it.
fn is_plugin_answer(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Verified { .. } | Verdict::Stale { .. } => true,
        Verdict::Contradicted { how, .. } => !matches!(how, Contradiction::ForgedUpstream),
        Verdict::Explained { .. } | Verdict::Unverifiable { .. } => false,
    }
}

fn is_seen(response: &Response, passes_denials: bool) -> bool {
    let denies = response.body.answers.is_empty();
    let rcode_fits = match response.rcode {
        Some(Rcode::NOERROR) => true,
        Some(Rcode::NXDOMAIN) => denies,
        _ => false,
    };
    rcode_fits && response.body.sections_seen && !(denies && passes_denials)
}

fn concerns(name: &Name, cx: &Context<'_>) -> bool {
    cx.knowledge.cluster_domain().is_some_and(|zone| name.is_at_or_below(&zone))
}

impl Rule for Shape {
    fn meta(&self) -> &RuleMeta {
        &self.meta
    }

    fn observe(&mut self, fact: &Fact<'_>, cx: &Context<'_>, out: &mut Vec<Draft>) {
        match fact {
            Fact::Change(change) => {
                if let Object::ConfigMap(map) = &*change.object {
                    let texts = map.data.values().filter_map(|text| parse(text, &Env::default()).ok());
                    texts.for_each(|corefile| self.allowed.learn(&corefile));
                }
            }
            Fact::Lookup(judged) if !self.allowed.zones.is_empty() && !self.allowed.reshaped => {
                let transaction = &judged.transaction;
                let of_service = matches!(transaction.question.rtype, Rtype::A | Rtype::AAAA);
                let at = lookup::at(transaction).interval();
                // A Corefile that nobody kept may have had a plugin that gives the answer this shape.
                let hidden = |files: &CorefileHistory| at.is_none_or(|at| !files.is_known(at));
                if !of_service
                    || cx.knowledge.corefiles().is_some_and(hidden)
                    || !is_plugin_answer(&judged.verdict)
                    || !concerns(&transaction.question.name, cx)
                {
                    return;
                }
                let responses = transaction.response.iter().chain(transaction.dissent.as_deref());
                for response in responses.filter(|one| is_seen(one, self.allowed.passes_denials)) {
                    self.check(judged, response, cx, out);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &Context<'_>, _: &mut Vec<Draft>) {}
}
