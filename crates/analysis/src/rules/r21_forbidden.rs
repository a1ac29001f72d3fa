//! R21: a workload resolved a service that the network policies in force keep from it.
//!
//! Enters: intents; leaves: one draft per workload and service. Forbidden is what every endpoint is on every port, in every
//! world of the lookup's time widened by the delay with which policies take effect; what is not settled is passed over in
//! silence. Deliberately absent: how policies are evaluated (`cluster::policy`), and workloads that only a node stands for.

use std::collections::{BTreeMap, BTreeSet};

use truename_cluster::policy::{Decision, Policies, ServiceAnswer, ServiceQuestion, When};
use truename_model::{
    Attribution, Intent, IntentOutcome, Interval, Name, Nanos, ObjectRef, ObservedAt, RuleMeta, Severity,
    Workload, WorkloadKind,
};

use super::bounded::{Table, Tally, limit, limit_ns};
use super::lookup;
use super::names::{ClusterName, shown};
use super::who::Who;
use crate::facts::{Context, Draft, Fact, Rule};

/// Forbidden services remembered per workload.
const TARGETS_MAX: usize = 256;

/// Pod and service, each by namespace and name.
type Pair = [Box<str>; 4];

/// An answer and the stretch of time in which it holds; the denial's reasons if it is one.
struct Known {
    holds: Interval,
    denial: Option<Denial>,
}

#[derive(Clone, Default)]
struct Denial {
    reasons: BTreeSet<String>,
    objects: BTreeSet<ObjectRef>,
    endpoints: usize,
}

#[derive(Default)]
struct Target {
    last: Option<Nanos>,
    severity: Option<Severity>,
    most: usize,
    denial: Denial,
    tally: Tally,
}

/// The rule.
pub(crate) struct Forbidden {
    meta: RuleMeta,
    clients: Table<Who, BTreeMap<String, Target>>,
    known: Table<Pair, Known>,
    overflow: u64,
}

impl Forbidden {
    pub(crate) fn new(meta: RuleMeta) -> Self {
        Self { meta, clients: Table::new(2_048), known: Table::new(16_384), overflow: 0 }
    }

    fn intent(&mut self, intent: &Intent, zone: &Name, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let Some(policies) = cx.knowledge.policies() else { return };
        let resolved = matches!(
            intent.outcome,
            IntentOutcome::ResolvedAbsolute | IntentOutcome::ResolvedSearch(_) | IntentOutcome::Captured(_)
        );
        let (true, Attribution::Exact(workload, _)) = (resolved, &intent.attribution) else { return };
        if workload.kind != WorkloadKind::Pod {
            return;
        }
        let Some((service, namespace)) =
            ClusterName::parse(&intent.last, zone).and_then(|name| name.service())
        else {
            return;
        };
        let (Ok(service), Ok(namespace)) = (std::str::from_utf8(service), std::str::from_utf8(namespace))
        else {
            return;
        };
        let settle = limit_ns(&self.meta, "settle_secs");
        let window = Interval { lo: intent.from.lo.plus(-settle), hi: intent.to.hi.plus(settle) };
        let Some(denial) = self.denial(policies, workload, (namespace, service), window) else { return };
        let who = Who::new(&intent.attribution, Some(intent.client));
        if !who.is_infrastructure(cx.profile) {
            self.note(who, intent, denial, out);
        }
    }

    /// Why the policies forbid it through the whole window; `None`: they do not, or it is not settled.
    fn denial(
        &mut self,
        policies: &Policies<'_>,
        workload: &Workload,
        service: (&str, &str),
        window: Interval,
    ) -> Option<Denial> {
        let source = (&*workload.namespace, &*workload.name);
        let pair: Pair = [source.0.into(), source.1.into(), service.0.into(), service.1.into()];
        if let Some(known) = self.known.get(&pair)
            && known.holds.lo <= window.lo
            && window.hi <= known.holds.hi
        {
            return known.denial.clone();
        }
        let when = When::Within(window);
        let answer =
            policies.may_reach(&ServiceQuestion { source, service, port: None, protocol: None, when });
        let denial = (answer.decision == Decision::Denied).then(|| Denial::of(&answer));
        if let Some(holds) = answer.holds {
            let known = Known { holds, denial: denial.clone() };
            *self.known.slot(pair, || Known { holds, denial: None }) = known;
        }
        denial
    }

    fn note(&mut self, who: Who, intent: &Intent, denial: Denial, out: &mut Vec<Draft>) {
        let (least, window) = (limit(&self.meta, "targets"), limit_ns(&self.meta, "window_secs"));
        let mut evicted = Vec::new();
        let targets = self.clients.entry(who, BTreeMap::new, &mut evicted);
        let (at, name) = (intent.from.lo, shown(&intent.last));
        if targets.len() < TARGETS_MAX || targets.contains_key(&name) {
            let target = targets.entry(name).or_default();
            target.last = Some(at);
            let step = intent.steps.last().map(|step| &step.transaction);
            let record = step.and_then(|step| lookup::record(step));
            let when = step.map_or(ObservedAt::None, |step| lookup::at(step));
            target.tally.add(when, record, || step.map(|step| lookup::line(step)).unwrap_or_default());
            target.denial = denial;
        } else {
            self.overflow += 1;
        }
        let recent = |target: &&mut Target| target.last.is_some_and(|last| at.since(last).abs() <= window);
        let distinct = targets.values_mut().filter(recent).count();
        let severity = if (distinct as f64) < least { Severity::Medium } else { Severity::High };
        for target in targets.values_mut().filter(recent) {
            target.severity = target.severity.max(Some(severity));
            target.most = target.most.max(distinct);
        }
        for (who, targets) in evicted {
            self.close(&who, targets, out);
        }
    }

    fn close(&self, who: &Who, targets: BTreeMap<String, Target>, out: &mut Vec<Draft>) {
        for (name, target) in targets {
            let severity = target.severity.unwrap_or(Severity::Medium);
            let title = format!("{} resolved {name}, which network policies forbid it", who.text());
            let mut draft = Draft::new(&self.meta.id, severity, title);
            let Denial { reasons, objects, endpoints } = target.denial;
            let mut tally = target.tally;
            tally.objects.extend(objects);
            tally.fill(&mut draft);
            draft.subject = who.text();
            draft.workload = who.workload();
            draft.target = name;
            let reasons: Vec<String> = reasons.into_iter().collect();
            draft.why = format!(
                "Each of {endpoints} endpoints and ports of the service was denied when it was asked for: {}.",
                reasons.join("; ")
            );
            if severity == Severity::High {
                draft.graded.push(format!("{} forbidden services within ten minutes", target.most));
            }
            out.push(draft);
        }
    }
}

impl Denial {
    fn of(answer: &ServiceAnswer) -> Self {
        let mut denial = Self { endpoints: answer.endpoints.len(), ..Self::default() };
        denial.objects.extend(answer.objects.iter().cloned());
        for reach in &answer.endpoints {
            denial.objects.extend(reach.answer.objects.iter().cloned());
            for reason in reach.answer.rulings.iter().flat_map(|ruling| ruling.reasons()) {
                denial.objects.insert(ObjectRef::clone(&reason.policy));
                denial.reasons.insert(reason.to_string());
            }
        }
        denial
    }
}

impl Rule for Forbidden {
    fn meta(&self) -> &RuleMeta {
        &self.meta
    }

    fn observe(&mut self, fact: &Fact<'_>, cx: &Context<'_>, out: &mut Vec<Draft>) {
        if let Fact::Intent(intent) = fact
            && let Some(zone) = cx.knowledge.cluster_domain()
        {
            self.intent(intent, &zone, cx, out);
        }
    }

    fn finish(&mut self, _: &Context<'_>, out: &mut Vec<Draft>) {
        for (who, targets) in self.clients.drain() {
            self.close(&who, targets, out);
        }
    }

    fn evictions(&self) -> u64 {
        self.clients.evictions() + self.overflow
    }
}
