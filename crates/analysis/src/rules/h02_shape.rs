//! H02: answers for cluster names in a shape that the kubernetes plugin under this Corefile cannot give.
//!
//! Enters: lookups and the Corefiles of the cluster; leaves: drafts per answer. Deliberately absent: everything that
//! genuine CoreDNS does in some version or plugin: a Corefile with plugins that reshape answers switches it off, and
//! TTLs are compared per owner name (an ExternalName's chain keeps the TTLs of its own records).

use truename_model::{
    Contradiction, Flags, Judged, Name, Object, Rcode, Response, Rtype, RuleMeta, Severity, Transaction,
    Vantage, Verdict,
};

use super::bounded::limit;
use super::corefile_lines::{Line, lines_of};
use super::h01_answer::server;
use super::lookup;
use super::names::shown;
use crate::facts::{Context, Draft, Fact, Rule};

/// Plugins that change TTL, flags, EDNS or records of cluster names.
const RESHAPE: [&str; 12] = [
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
];

/// What the Corefiles seen so far allow at the most.
#[derive(Clone, Copy, Debug, Default)]
struct Allowed {
    known: bool,
    ttl: u32,
    reshaped: bool,
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

    fn learn(&mut self, text: &str) {
        let Ok(lines) = lines_of(text) else { return };
        if !lines.iter().any(|line| line.name == "kubernetes") {
            return;
        }
        self.allowed.known = true;
        self.allowed.reshaped |=
            lines.iter().any(|line| RESHAPE.contains(&line.name.as_str()) || line.name == "import");
        self.allowed.ttl = self.allowed.ttl.max(ttl_of(&lines));
    }

    fn check(&self, judged: &Judged, response: &Response, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let transaction = &judged.transaction;
        let odd = self.oddities(transaction, response);
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

    fn oddities(&self, transaction: &Transaction, response: &Response) -> Vec<String> {
        let (name, mut odd) = (&transaction.question.name, Vec::new());
        let own = || response.body.answers.iter().filter(|record| record.owner == *name);
        if let Some(record) = own().find(|record| record.ttl > self.allowed.ttl) {
            odd.push(format!("TTL {} s, while the Corefile allows {} s", record.ttl, self.allowed.ttl));
        }
        if own().any(|record| record.rtype == Rtype::CNAME) {
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
        odd
    }
}

/// The `ttl` of the kubernetes plugin (5 without a line), or the least that `cache` lifts answers to.
fn ttl_of(lines: &[Line]) -> u32 {
    let plugin = lines.iter().filter(|line| line.name == "kubernetes" && line.inner);
    let stated = plugin.filter_map(|line| match line.args.as_slice() {
        [word, value] if word == "ttl" => value.parse().ok(),
        _ => None,
    });
    let ttl = stated.max().unwrap_or(5);
    let lifted = lines.iter().filter(|line| line.name == "cache" && line.inner).filter_map(|line| match line
        .args
        .as_slice()
    {
        [kind, _, _, least] if kind == "success" => least.parse().ok(),
        _ => None,
    });
    ttl.max(lifted.max().unwrap_or(5))
}

/// The answer is the kubernetes plugin's, or claims to be: nothing else explains it.
fn is_plugin_answer(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Verified { .. } | Verdict::Stale { .. } => true,
        Verdict::Contradicted { how, .. } => !matches!(how, Contradiction::ForgedUpstream),
        Verdict::Explained { .. } | Verdict::Unverifiable { .. } => false,
    }
}

fn is_positive(response: &Response) -> bool {
    response.rcode == Some(Rcode::NOERROR) && response.body.sections_seen && !response.body.answers.is_empty()
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
                    map.data.values().for_each(|text| self.learn(text));
                }
            }
            Fact::Lookup(judged) if self.allowed.known && !self.allowed.reshaped => {
                let transaction = &judged.transaction;
                let of_service = matches!(transaction.question.rtype, Rtype::A | Rtype::AAAA);
                if !of_service
                    || !is_plugin_answer(&judged.verdict)
                    || !concerns(&transaction.question.name, cx)
                {
                    return;
                }
                let responses = transaction.response.iter().chain(transaction.dissent.as_deref());
                for response in responses.filter(|response| is_positive(response)) {
                    self.check(judged, response, cx, out);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &Context<'_>, _: &mut Vec<Draft>) {}
}
