//! Exact sequences of stub resolvers, each of which is one intent.

use super::*;
use crate::fixture::*;
use proptest::prelude::*;
use smallvec::smallvec;
use truename_model::{
    Attribution, AttributionBasis, Body, Flags, ObservedAt, OriginId, Question, RecordRef, Response,
    Transport, UnknownOwner, Vantage, Verdict, WhyUnverifiable,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Yes,
    Nx,
    NoData,
    Fail,
    Lost,
    /// NOERROR in a log line.
    Log,
}

/// One lookup: milliseconds, port, name, type, end.
type Step<'s> = (i64, u16, &'s str, Rtype, End);

fn judged(pod_number: u8, step: &Step<'_>) -> Arc<Judged> {
    let (ms, port, qname, rtype, end) = *step;
    let question = Question { name: name(qname), rtype, class: truename_model::Class::IN };
    let mut body = Body::question_only(question.clone());
    body.sections_seen = end != End::Log;
    if end == End::Yes {
        let ip = if rtype == Rtype::AAAA { "2001:db8::1" } else { "192.0.2.1" };
        body.answers.push(a(qname, ip, 30));
    }
    let rcode = match end {
        End::Yes | End::NoData | End::Log => Rcode::NOERROR,
        End::Nx => Rcode::NXDOMAIN,
        _ => Rcode::SERVFAIL,
    };
    let at =
        |ms: i64| ObservedAt::Known(Interval::at(Nanos(T0 + ms * MILLI)), truename_model::ClockBasis::Dnstap);
    let response = (end != End::Lost).then(|| Response {
        record: RecordRef::default(),
        vantage: Vantage::ClientResponse,
        at: at(ms + 1),
        flags: Flags(0x8400),
        rcode: Some(rcode),
        body: Arc::new(body),
        server: None,
        packet: None,
    });
    let transaction = Transaction {
        client: Some(super::super::fixture::end(&format!("10.244.1.{pod_number}:{port}"))),
        id: port ^ rtype.0,
        transport: Transport::Udp,
        question,
        query_flags: None,
        odd_query: None,
        bufsize: None,
        asked: at(ms),
        answered: if response.is_some() { at(ms + 1) } else { ObservedAt::None },
        origin: OriginId(0),
        records: smallvec![RecordRef { item: 0, ordinal: ms as u64 }],
        vantages: smallvec![Vantage::ClientResponse],
        response,
        dissent: None,
        upstream: Vec::new(),
        retransmissions: 0,
        duration_ns: None,
        response_size: None,
        hints: None,
    };
    let attribution = match pod_number {
        0 => Attribution::Unknown(UnknownOwner::NoObjects),
        n => Attribution::Exact(pod(n), AttributionBasis::History),
    };
    let verdict = Verdict::unverifiable(WhyUnverifiable::AnswerNotSeen);
    Arc::new(Judged { transaction: Arc::new(transaction), attribution, verdict })
}

fn collapse(pod_number: u8, steps: &[Step<'_>]) -> Vec<Intent> {
    let mut intents = Intents::default();
    let mut out = Vec::new();
    for step in steps {
        intents.observe(&judged(pod_number, step), &Small, &mut out);
    }
    intents.finish(&mut out);
    out.sort_by_key(|intent| intent.from);
    out
}

fn shown(intents: &[Intent]) -> Vec<(String, IntentOutcome, u32)> {
    intents.iter().map(|i| (i.base.to_string(), i.outcome, i.queries)).collect()
}

const S0: &str = "shop.svc.cluster.local";

#[test]
fn glibc_walks_the_list_with_both_types_on_one_port_each() {
    let (a, aaaa) = (Rtype::A, Rtype::AAAA);
    let steps = [
        (0, 4_001, "www.example.com.shop.svc.cluster.local", a, End::Nx),
        (0, 4_001, "www.example.com.shop.svc.cluster.local", aaaa, End::Nx),
        (2, 4_002, "www.example.com.svc.cluster.local", a, End::Nx),
        (2, 4_002, "www.example.com.svc.cluster.local", aaaa, End::Nx),
        (4, 4_003, "www.example.com.cluster.local", a, End::Nx),
        (4, 4_003, "www.example.com.cluster.local", aaaa, End::Nx),
        (6, 4_004, "www.example.com", a, End::Yes),
        (6, 4_004, "www.example.com", aaaa, End::NoData),
    ];
    let got = collapse(1, &steps);
    assert_eq!(shown(&got), [("www.example.com.".to_owned(), IntentOutcome::ResolvedAbsolute, 8)]);
    assert_eq!(got[0].rtypes.as_slice(), [a, aaaa]);
    assert_eq!(got[0].steps.len(), 8);
}

#[test]
fn the_answer_to_aaaa_may_come_after_that_to_a() {
    let steps = [
        (0, 4_001, "api.shop.svc.cluster.local", Rtype::A, End::Yes),
        (0, 4_001, "api.shop.svc.cluster.local", Rtype::AAAA, End::NoData),
        // Five seconds later the same again is another intent.
        (5_000, 4_002, "api.shop.svc.cluster.local", Rtype::A, End::Yes),
        (5_000, 4_002, "api.shop.svc.cluster.local", Rtype::AAAA, End::NoData),
    ];
    let one = ("api.".to_owned(), IntentOutcome::ResolvedSearch(0), 2);
    assert_eq!(shown(&collapse(1, &steps)), [one.clone(), one]);
}

#[test]
fn go_asks_from_two_ports_in_any_order() {
    let steps = [
        (0, 4_002, "db.shop.svc.cluster.local", Rtype::AAAA, End::Nx),
        (0, 4_001, "db.shop.svc.cluster.local", Rtype::A, End::Nx),
        (1, 4_004, "db.svc.cluster.local", Rtype::AAAA, End::Nx),
        (1, 4_003, "db.svc.cluster.local", Rtype::A, End::Nx),
        (2, 4_006, "db.cluster.local", Rtype::AAAA, End::Nx),
        (2, 4_005, "db.cluster.local", Rtype::A, End::Nx),
        (3, 4_008, "db", Rtype::AAAA, End::Nx),
        (3, 4_007, "db", Rtype::A, End::Nx),
    ];
    assert_eq!(shown(&collapse(1, &steps)), [("db.".to_owned(), IntentOutcome::NxDomain, 8)]);
}

#[test]
fn musl_stops_at_a_name_without_the_type() {
    let steps = [
        (0, 4_001, "v4only.shop.svc.cluster.local", Rtype::A, End::NoData),
        (0, 4_001, "v4only.shop.svc.cluster.local", Rtype::AAAA, End::NoData),
    ];
    assert_eq!(shown(&collapse(1, &steps)), [("v4only.".to_owned(), IntentOutcome::NoData, 2)]);
}

#[test]
fn a_name_with_enough_dots_is_asked_as_it_is_and_then_walked() {
    let steps = [
        (0, 4_001, "a.b.c.d.e.example", Rtype::A, End::Nx),
        (1, 4_002, "a.b.c.d.e.example.shop.svc.cluster.local", Rtype::A, End::Nx),
        (2, 4_003, "a.b.c.d.e.example.svc.cluster.local", Rtype::A, End::Nx),
        (3, 4_004, "a.b.c.d.e.example.cluster.local", Rtype::A, End::Nx),
    ];
    assert_eq!(shown(&collapse(1, &steps)), [("a.b.c.d.e.example.".to_owned(), IntentOutcome::NxDomain, 4)]);
    // musl does not walk.
    assert_eq!(
        shown(&collapse(1, &steps[..1])),
        [("a.b.c.d.e.example.".to_owned(), IntentOutcome::NxDomain, 1)]
    );
}

#[test]
fn a_cluster_name_in_full_walks_too_and_a_long_one_is_recognised_by_its_walk() {
    let full = "redis.shop.svc.cluster.local";
    let with = |suffix: &str| format!("{full}.{suffix}");
    let names = [with(S0), with("svc.cluster.local"), with("cluster.local"), full.to_owned()];
    let ends = [End::Nx, End::Nx, End::Nx, End::Yes];
    let steps: Vec<Step<'_>> = (0..4).map(|n| (n as i64, 4_000, &*names[n], Rtype::A, ends[n])).collect();
    assert_eq!(shown(&collapse(1, &steps)), [(format!("{full}."), IntentOutcome::ResolvedAbsolute, 4)]);
    let long = "a.redis.shop.svc.cluster.local";
    let names = [long.to_owned(), format!("{long}.{S0}"), format!("{long}.svc.cluster.local")];
    let steps: Vec<Step<'_>> = (0..3).map(|n| (n as i64, 4_000, &*names[n], Rtype::A, End::Nx)).collect();
    assert_eq!(shown(&collapse(1, &steps))[0].0, format!("{long}."));
    assert_eq!(collapse(1, &steps).len(), 1);
}

#[test]
fn a_public_name_that_the_search_list_answers_is_captured() {
    let steps = [(0, 4_001, "github.com.shop.svc.cluster.local", Rtype::A, End::Yes)];
    assert_eq!(shown(&collapse(1, &steps)), [("github.com.".to_owned(), IntentOutcome::Captured(0), 1)]);
    let steps = [
        (0, 4_001, "github.com.shop.svc.cluster.local", Rtype::A, End::Nx),
        (1, 4_001, "github.com.svc.cluster.local", Rtype::A, End::Yes),
    ];
    assert_eq!(collapse(1, &steps)[0].outcome, IntentOutcome::Captured(1));
    let steps = [(0, 4_001, "redis.cache.shop.svc.cluster.local", Rtype::A, End::Yes)];
    assert_eq!(collapse(1, &steps)[0].outcome, IntentOutcome::ResolvedSearch(0));
}

#[test]
fn a_log_line_counts_as_an_answer_unless_the_stub_goes_on() {
    let steps = [(0, 4_001, "api.shop.svc.cluster.local", Rtype::A, End::Log)];
    assert_eq!(collapse(1, &steps)[0].outcome, IntentOutcome::ResolvedSearch(0));
    let steps = [
        (0, 4_001, "api.shop.svc.cluster.local", Rtype::A, End::Log),
        (1, 4_002, "api.svc.cluster.local", Rtype::A, End::Nx),
        (2, 4_003, "api.cluster.local", Rtype::A, End::Nx),
        (3, 4_004, "api", Rtype::A, End::Nx),
    ];
    assert_eq!(shown(&collapse(1, &steps)), [("api.".to_owned(), IntentOutcome::NxDomain, 4)]);
}

#[test]
fn failures_silence_and_giving_up_are_told_apart() {
    let outcome = |ends: &[End]| {
        let names = ["x.shop.svc.cluster.local", "x.svc.cluster.local", "x.cluster.local", "x"];
        let steps: Vec<Step<'_>> =
            ends.iter().enumerate().map(|(n, end)| (n as i64, 4_000, names[n], Rtype::A, *end)).collect();
        collapse(1, &steps)[0].outcome
    };
    assert_eq!(outcome(&[End::Nx]), IntentOutcome::Abandoned);
    assert_eq!(outcome(&[End::Nx, End::Fail, End::Fail, End::Fail]), IntentOutcome::ServFail);
    assert_eq!(outcome(&[End::Lost]), IntentOutcome::Timeout);
    assert_eq!(outcome(&[End::Nx, End::Fail, End::Nx, End::Yes]), IntentOutcome::ResolvedAbsolute);
}

#[test]
fn interleaved_clients_and_names_stay_apart() {
    let mut intents = Intents::default();
    let mut out = Vec::new();
    for (n, (who, name)) in [(1, "a"), (2, "b"), (1, "c"), (2, "a")]
        .iter()
        .enumerate()
        .flat_map(|x| [x, x])
        .enumerate()
        .map(|(i, x)| (i, x.1))
    {
        let suffix = if n % 2 == 0 { S0 } else { "svc.cluster.local" };
        let step = (
            n as i64,
            4_000,
            &*format!("{name}.{suffix}"),
            Rtype::A,
            if n % 2 == 0 { End::Nx } else { End::Yes },
        );
        intents.observe(&judged(*who, &step), &Small, &mut out);
    }
    intents.finish(&mut out);
    assert_eq!(out.len(), 4);
    assert!(
        out.iter().all(|intent| intent.outcome == IntentOutcome::ResolvedSearch(1) && intent.queries == 2)
    );
}

#[test]
fn an_unknown_client_still_collapses() {
    let steps = [
        (0, 4_001, "www.example.com.default.svc.cluster.local", Rtype::A, End::Nx),
        (2, 4_002, "www.example.com.svc.cluster.local", Rtype::A, End::Nx),
        (4, 4_003, "www.example.com.cluster.local", Rtype::A, End::Nx),
        (6, 4_004, "www.example.com", Rtype::A, End::Yes),
    ];
    assert_eq!(
        shown(&collapse(0, &steps)),
        [("www.example.com.".to_owned(), IntentOutcome::ResolvedAbsolute, 4)]
    );
}

#[test]
fn the_nodes_own_suffix_is_learned_from_many_clients() {
    let mut intents = Intents::default();
    let mut out = Vec::new();
    let mut at = 0;
    for who in 1..=3u8 {
        for base in ["a", "b", "c", "d", "e"] {
            for suffix in [S0, "svc.cluster.local", "cluster.local", "corp.example"] {
                let step = (at, 4_000, &*format!("{base}.{suffix}"), Rtype::A, End::Nx);
                intents.observe(&judged(who, &step), &Small, &mut out);
                at += 1;
            }
            let step = (at, 4_000, base, Rtype::A, End::Nx);
            intents.observe(&judged(who, &step), &Small, &mut out);
            at += 20_000;
        }
    }
    assert_eq!(intents.learned, [name("corp.example")]);
    intents.finish(&mut out);
    assert_eq!(out.len(), 15);
    assert!(out.iter().all(|i| i.queries == 5 && i.outcome == IntentOutcome::NxDomain));
}

/// A name asked in a loop opens an intent each time; what a lookup may go on with stays short.
#[test]
fn a_name_asked_in_a_loop_costs_no_walk_over_all_before() {
    let mut intents = Intents::default();
    let mut out = Vec::new();
    for n in 0..5_000 {
        let step = (n, 40_000, "www.example.com", Rtype::A, End::Nx);
        intents.observe(&judged(5, &step), &Small, &mut out);
    }
    assert!(intents.open() > 4_000, "{}", intents.open());
    assert!(intents.files.filed.values().all(|filed| filed.len() <= FILED_MAX));
    intents.finish(&mut out);
    assert_eq!(out.iter().map(|intent| u64::from(intent.queries)).sum::<u64>(), 5_000);
    assert!(intents.files.filed.is_empty());
}

#[test]
fn open_intents_are_bounded() {
    let mut intents = Intents::with_bound(100);
    let mut out = Vec::new();
    for n in 0..5_000i64 {
        let step = (n, 4_000, &*format!("n{n}.shop.svc.cluster.local"), Rtype::A, End::Nx);
        intents.observe(&judged(1, &step), &Small, &mut out);
        assert!(intents.open() <= 101);
    }
    intents.finish(&mut out);
    assert_eq!(out.len(), 5_000);
    assert!(intents.evictions() > 0);
}

fn label() -> impl Strategy<Value = String> {
    prop_oneof![Just("svc".to_owned()), Just("cluster".to_owned()), Just("local".to_owned()), "[a-z]{1,5}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    /// collapse(expand(base)) = base, for any base, any stub, any end, even a base that ends in a suffix.
    #[test]
    fn an_expanded_base_collapses_to_itself(
        labels in prop::collection::vec(label(), 1..8),
        suffixed in any::<bool>(),
        stub in 0u8..3,
        answers_at in 0usize..5,
        pair in any::<bool>(),
    ) {
        let mut base = labels.join(".");
        if suffixed {
            base = format!("{base}.{S0}");
        }
        let dots = base.matches('.').count();
        let mut names: Vec<String> =
            [S0, "svc.cluster.local", "cluster.local"].iter().map(|s| format!("{base}.{s}")).collect();
        if dots >= 5 {
            names.insert(0, base.clone());
            // musl asks such a name as it is and never walks; a name that ends in the client's own suffix and is
            // asked once cannot be told from a step.
            if stub == 1 {
                names.truncate(1);
            }
        } else {
            names.push(base.clone());
        }
        let walked: Vec<&String> = names.iter().take(answers_at + 1).collect();
        prop_assume!(!(dots >= 5 && suffixed && walked.len() == 1));
        let mut steps = Vec::new();
        for (n, text) in walked.iter().enumerate() {
            let end = if n == answers_at { End::Yes } else { End::Nx };
            let port = 4_000 + n as u16;
            steps.push((n as i64 * 3, port, text.as_str(), Rtype::A, end));
            if pair {
                let port = if stub == 2 { port + 100 } else { port };
                steps.push((n as i64 * 3, port, text.as_str(), Rtype::AAAA, end));
            }
        }
        let got = collapse(1, &steps);
        prop_assert_eq!(got.len(), 1, "{:?}", shown(&got));
        prop_assert_eq!(&got[0].base, &name(&base));
        prop_assert_eq!(got[0].queries as usize, steps.len());
    }
}
