//! Random clusters over time against a naive model that replays the list of changes and looks at the last state.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use truename_model::name::Name;
use truename_model::object::ChangeKind::{Created, Deleted, Updated};
use truename_model::rr::{Body, Class, Flags, Question, Rcode, Rdata, Record, Rtype};
use truename_model::verdict::Verdict;

use super::options::Options;
use super::{Judgement, Truth};
use crate::fixture::{Told, at, meta, of_service, service, slice};
use crate::history::CorefileHistory;

/// What may happen: a service of one of three names appears, goes, turns headless, or gets other endpoints.
#[derive(Clone, Debug)]
enum Step {
    ClusterIp(u8, u8),
    Headless(u8),
    Gone(u8),
    Endpoints(u8, BTreeSet<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..3, 1u8..9).prop_map(|(name, ip)| Step::ClusterIp(name, ip)),
        (0u8..3).prop_map(Step::Headless),
        (0u8..3).prop_map(Step::Gone),
        (0u8..3, proptest::collection::btree_set(1u8..6, 0..4))
            .prop_map(|(name, ips)| Step::Endpoints(name, ips)),
    ]
}

/// The naive state: services by name (`None`: headless) and endpoints by service.
#[derive(Clone, Debug, Default)]
struct Naive {
    services: BTreeMap<u8, Option<u8>>,
    endpoints: BTreeMap<u8, BTreeSet<u8>>,
}

impl Naive {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::ClusterIp(name, ip) => drop(self.services.insert(*name, Some(*ip))),
            Step::Headless(name) => drop(self.services.insert(*name, None)),
            Step::Gone(name) => drop(self.services.remove(name)),
            Step::Endpoints(name, ips) => drop(self.endpoints.insert(*name, ips.clone())),
        }
    }

    /// Addresses of `sN.shop.svc`, or `None`: NXDOMAIN.
    fn answer(&self, name: u8) -> Option<BTreeSet<[u8; 4]>> {
        match self.services.get(&name)? {
            Some(ip) => Some([[10, 96, 0, *ip]].into()),
            None => {
                let ips = self.endpoints.get(&name).filter(|ips| !ips.is_empty())?;
                Some(ips.iter().map(|ip| [10, 244, name, *ip]).collect())
            }
        }
    }
}

fn tell(told: &mut Told, naive: &Naive, millis: i64, step: &Step, births: &mut BTreeMap<u8, u32>) {
    let name = match step {
        Step::ClusterIp(name, _) | Step::Headless(name) | Step::Gone(name) | Step::Endpoints(name, _) => {
            *name
        }
    };
    let known = naive.services.contains_key(&name);
    let mut of_service_meta = meta("shop", &format!("s{name}"));
    let kind = match (step, known) {
        (Step::Gone(_), false) => return,
        (Step::Gone(_), true) => Deleted,
        (_, true) => Updated,
        (_, false) => {
            *births.entry(name).or_default() += u32::from(!matches!(step, Step::Endpoints(..)));
            Created
        }
    };
    of_service_meta.uid = format!("uid-{name}-{}", births.get(&name).unwrap_or(&0));
    match step {
        Step::ClusterIp(_, ip) => {
            let ip = format!("10.96.0.{ip}");
            told.watch(millis, kind, of_service_meta, service(&[&ip], &[("http", 80)]));
        }
        Step::Headless(_) => {
            told.watch(millis, kind, of_service_meta, service(&["None"], &[("http", 80)]));
        }
        Step::Gone(_) => {
            told.watch(millis, kind, of_service_meta, service(&[], &[]));
        }
        Step::Endpoints(_, ips) => {
            let kind = if naive.endpoints.contains_key(&name) { Updated } else { Created };
            let texts: Vec<String> = ips.iter().map(|ip| format!("10.244.{name}.{ip}")).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let meta = of_service("shop", &format!("e{name}"), &format!("s{name}"));
            told.watch(millis, kind, meta, slice(&texts, &[("http", Some(80))]));
        }
    }
}

fn judge(truth: &Truth<'_>, name: u8, answer: Option<&BTreeSet<[u8; 4]>>, millis: i64) -> Judgement {
    let owner = Name::parse(&format!("s{name}.shop.svc.cluster.local")).unwrap();
    let question = Question { name: owner.clone(), rtype: Rtype::A, class: Class::IN };
    let mut body = Body::question_only(question.clone());
    body.sections_seen = true;
    body.answers = answer
        .into_iter()
        .flatten()
        .map(|ip| Record {
            owner: owner.clone(),
            rtype: Rtype::A,
            class: Class::IN,
            ttl: 5,
            rdata: Rdata::A((*ip).into()),
        })
        .collect();
    let rcode = if answer.is_some() { Rcode::NOERROR } else { Rcode::NXDOMAIN };
    truth.judge(&question, Some(rcode), Flags(0), &body, at(millis), Some("1.14.4"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn verdicts_agree_with_a_replay(
        steps in proptest::collection::vec((step(), prop_oneof![20i64..3_000, 60_000i64..90_000]), 1..24),
        probes in proptest::collection::vec((0usize..24, 0.0f64..1.0, 0u8..3), 24),
    ) {
        let mut told = Told::new();
        let (mut naive, mut clock, mut births) = (Naive::default(), 200_000i64, BTreeMap::new());
        let mut moments = vec![(clock - 100_000, naive.clone())];
        // A slice of a service that nobody asks for: where no slice was ever told of, their watch may be missing.
        tell(&mut told, &naive, clock - 100_000, &Step::Endpoints(9, BTreeSet::from([1])), &mut births);
        for (step, pause) in &steps {
            clock += pause;
            tell(&mut told, &naive, clock, step, &mut births);
            naive.apply(step);
            moments.push((clock, naive.clone()));
        }
        let end = clock + 200_000;
        let history = told.history(end);
        let corefiles = CorefileHistory::new();
        let options = Options::defaults(vec![Name::parse("cluster.local").unwrap()]);
        let truth = Truth::new(&history, &corefiles).with_options(options);
        for (index, part, name) in probes {
            let index = index % moments.len();
            let until = moments.get(index + 1).map_or(end, |(at, _)| *at - 6);
            // Not the very instant of the record: there the state before holds no more for certain, nor surely not.
            let millis = moments[index].0 + 1 + ((until - moments[index].0).max(0) as f64 * part) as i64;
            if millis >= until.max(moments[index].0 + 2) {
                continue;
            }
            let now = moments[index].1.answer(name);
            let judged = judge(&truth, name, now.as_ref(), millis);
            prop_assert!(matches!(judged, Judgement::Verdict(Verdict::Verified { .. })), "{judged:?} for {now:?} at {millis}");
            let within = |age: i64| -> Vec<_> {
                let last = |at: usize| moments.get(at + 1).map_or(i64::MAX, |(to, _)| *to);
                let states = moments.iter().enumerate();
                let of = states.filter(|(at, (from, _))| *from <= millis && last(*at) >= millis - age);
                of.map(|(_, (_, naive))| naive.answer(name)).collect()
            };
            // A denial may be as old as TTL, cache and lag; an answer with its full TTL only as the lag.
            let recent = within(44_900);
            let denials = recent.iter().filter(|answer| answer.is_none());
            for answer in within(9_900).iter().filter(|answer| answer.is_some()).chain(denials) {
                let judged = judge(&truth, name, answer.as_ref(), millis);
                let fine = matches!(judged, Judgement::Verdict(Verdict::Verified { .. } | Verdict::Stale { .. }));
                prop_assert!(fine, "{judged:?} for {answer:?} at {millis}");
            }
            // An address that no state ever had is false, whatever the rest.
            let mut forged = now.clone().unwrap_or_default();
            forged.insert([6, 6, 6, 6]);
            let judged = judge(&truth, name, Some(&forged), millis);
            prop_assert!(matches!(judged, Judgement::Verdict(Verdict::Contradicted { .. })), "{judged:?} at {millis}");
            // A denial is false if the name had a cluster IP all the time. (A headless service may have been without
            // endpoints for an instant that no record shows, between two changes that are known by their bounds.)
            let last = |at: usize| moments.get(at + 1).map_or(i64::MAX, |(to, _)| *to);
            let states = moments.iter().enumerate();
            let of = states.filter(|(at, (from, _))| *from <= millis && last(*at) >= millis - 45_100);
            if of.map(|(_, (_, naive))| naive.services.get(&name)).all(|service| matches!(service, Some(Some(_)))) {
                let judged = judge(&truth, name, None, millis);
                prop_assert!(matches!(judged, Judgement::Verdict(Verdict::Contradicted { .. })), "{judged:?} at {millis}");
            }
        }
    }
}
