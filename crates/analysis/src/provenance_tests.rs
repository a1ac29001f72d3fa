//! Answers and the verdicts they must get.

use super::*;
use crate::fixture::*;
use crate::join::{Joiner, Output};
use truename_model::observation::PacketFacts;
use truename_model::{Event, Origin};

const N: &str = "www.example.com";

/// Verdicts of the lookups of a run, in order.
fn verdicts(messages: &[Msg]) -> Vec<Verdict> {
    let origins = vec![Origin::default(); 8];
    let mut replicas = Replicas::new(&Small, &origins);
    let mut join = Joiner::new(&Small);
    let mut provenance = Provenance::default();
    let mut verdicts = Vec::new();
    let mut sorted: Vec<_> = messages.iter().map(|m| m.0.clone()).collect();
    sorted.sort_by_key(|o| o.at.interval().map_or(i64::MAX, |at| at.lo.0));
    let mut out = Output::default();
    let mut drain = |out: &mut Output, replicas: &mut Replicas<'_>| {
        for closed in out.exchanges.drain(..) {
            provenance.exchange(closed.replica, &closed.exchange, 0);
        }
        for lookup in out.lookups.drain(..) {
            verdicts.push(provenance.judge(&lookup, replicas, &Small));
        }
    };
    for observation in &sorted {
        let Event::Dns(dns) = &observation.event else { continue };
        join.observe(observation, dns, &mut replicas, &mut out);
        drain(&mut out, &mut replicas);
    }
    join.finish(&mut out);
    drain(&mut out, &mut replicas);
    verdicts
}

fn words(messages: &[Msg]) -> Vec<&'static str> {
    verdicts(messages).iter().map(Verdict::word).collect()
}

fn truth() -> Vec<Record> {
    vec![a(N, "198.51.100.1", 60)]
}

fn forged() -> Vec<Record> {
    vec![a(N, "203.0.113.66", 60)]
}

/// A lookup through the tap of coredns-a that goes upstream: the exchange's packets are given.
fn miss(at: f64, id: u16, data: &[Record], packets: Vec<Msg>) -> Vec<Msg> {
    let mut all = vec![
        cq(at, POD, id, N),
        fq(at + 0.1, CORE, id, N),
        fr(at + 50.0, at + 0.1, CORE, id, N, data),
        cr(at + 50.1, POD, id, N, data).asked(at),
    ];
    all.extend(packets);
    all
}

/// Packets of a fair exchange.
fn fair(at: f64, wire: u16, data: &[Record]) -> Vec<Msg> {
    vec![uq(at + 0.2, CORE, wire, N), ur(at + 49.0, CORE, wire, N, data)]
}

/// Guesses with other ids, then one that fits; the true answer may follow.
fn race(at: f64, wire: u16, late: bool) -> Vec<Msg> {
    let mut all = vec![uq(at + 0.2, CORE, wire, N)];
    for n in 0..12u16 {
        all.push(ur(at + 1.0 + f64::from(n), CORE, wire.wrapping_add(n + 1), N, &forged()));
    }
    all.push(ur(at + 49.0, CORE, wire, N, &forged()));
    if late {
        all.push(ur(at + 300.0, CORE, wire, N, &truth()));
    }
    all
}

fn hit(at: f64, id: u16, data: &[Record]) -> Vec<Msg> {
    vec![cq(at, POD, id, N), cr(at + 0.1, POD, id, N, data).asked(at)]
}

#[test]
fn an_answer_of_the_upstream_is_explained_and_so_is_its_cache() {
    let mut all = miss(0.0, 1, &truth(), fair(0.0, 700, &truth()));
    all.extend(hit(30_000.0, 2, &[a(N, "198.51.100.1", 30)]));
    let got = verdicts(&all);
    assert_eq!(got.len(), 2);
    for verdict in got {
        assert_eq!(verdict, Verdict::Explained { by: Explanation::Upstream("192.0.2.53".to_owned()) });
    }
}

/// A forger who won looks to the server's own tap like any upstream.
#[test]
fn what_only_a_tap_shows_of_the_upstream_is_no_proof() {
    for packets in [Vec::new(), vec![uq(0.2, CORE, 700, N)]] {
        let got = verdicts(&miss(0.0, 1, &truth(), packets));
        assert_eq!(got, [Verdict::unverifiable(WhyUnverifiable::OnlyTapped("192.0.2.53".to_owned()))]);
    }
}

#[test]
fn a_cached_answer_ends_with_its_ttl() {
    let mut all = miss(0.0, 1, &truth(), fair(0.0, 700, &truth()));
    all.extend(hit(70_000.0, 2, &truth()));
    assert_eq!(verdicts(&all)[1], Verdict::unverifiable(WhyUnverifiable::UpstreamNotSeen));
}

#[test]
fn a_won_race_stains_the_answer_and_its_cache_until_the_ttl_ends() {
    for late in [false, true] {
        let mut all = miss(0.0, 1, &forged(), race(0.0, 700, late));
        all.extend(hit(30_000.0, 2, &[a(N, "203.0.113.66", 30)]));
        all.extend(miss(70_000.0, 3, &truth(), fair(70_000.0, 900, &truth())));
        assert_eq!(words(&all), ["contradicted", "contradicted", "explained"], "late: {late}");
    }
}

/// Fair exchanges of other names, which show how far away the upstream's packets come from.
fn usual() -> Vec<Msg> {
    (0..4u16)
        .flat_map(|n| {
            let (at, name) = (f64::from(n) * 100.0, format!("n{n}.example"));
            [uq(at, CORE, n, &name), ur(at + 9.0, CORE, n, &name, &[a(&name, "198.51.100.9", 60)])]
        })
        .collect()
}

/// The same packet from another distance.
fn from_afar(message: Msg) -> Msg {
    message.dns(|dns| dns.packet = Some(PacketFacts { ip_ttl: 50, ..PacketFacts::default() }))
}

/// Guesses, each with other data than the rest: addresses that nobody else gives, or none at all.
fn guesses(at: f64, wire: u16, empty: bool, far: bool) -> Vec<Msg> {
    let guess = |n: u16| {
        let data = [a(N, &format!("203.0.113.{n}"), 60)];
        let message = ur(at + 1.0 + f64::from(n), CORE, wire + 1 + n, N, if empty { &[] } else { &data });
        if far { from_afar(message) } else { message }
    };
    (0..12u16).map(guess).collect()
}

/// A raced lookup at ten seconds: what the forwarder took, and how the packets arrived.
fn raced(
    known: bool,
    data: &[Record],
    empty: bool,
    (guess_far, taken_far): (bool, bool),
    late: Option<Msg>,
) -> Verdict {
    let at = 10_000.0;
    let mut packets = if known { usual() } else { Vec::new() };
    packets.push(uq(at + 0.2, CORE, 700, N));
    packets.extend(guesses(at, 700, empty, guess_far));
    let taken = ur(at + 49.0, CORE, 700, N, data);
    packets.push(if taken_far { from_afar(taken) } else { taken });
    packets.extend(late);
    verdicts(&miss(at, 1, data, packets)).remove(0)
}

#[test]
fn what_guesses_carry_says_nothing_of_who_won() {
    let unclear = Verdict::unverifiable(WhyUnverifiable::Raced("192.0.2.53".to_owned()));
    let truth_late = || Some(ur(10_300.0, CORE, 700, N, &truth()));
    for empty in [false, true] {
        // The forger sends from the upstream's distance.
        assert_eq!(raced(true, &forged(), empty, (false, false), None), unclear, "empty: {empty}");
        assert_eq!(raced(false, &forged(), empty, (true, true), None), unclear, "empty: {empty}");
        for (far, late) in [((false, true), None), ((true, true), None), ((true, true), truth_late())] {
            let got = raced(true, &forged(), empty, far, late);
            let by_sender = matches!(&got, Verdict::Contradicted { how: Contradiction::ForgedUpstream, .. });
            assert!(by_sender, "empty: {empty}, {far:?}: {got:?}");
        }
    }
}

#[test]
fn a_lost_race_leaves_the_true_answer_alone() {
    let late = || Some(from_afar(ur(10_060.0, CORE, 700, N, &forged())));
    // The last guess fits, but comes too late.
    for late in [None, late()] {
        assert_eq!(raced(true, &truth(), false, (true, false), late).word(), "explained");
    }
    // Where no sender is known, nobody can tell: neither proof nor charge.
    assert_eq!(raced(false, &truth(), false, (true, false), late()).word(), "unverifiable");
}

/// A flood of wrong ids with the true data, from another sender, would make the upstream's own reply look forged.
#[test]
fn guesses_with_the_true_data_accuse_nobody() {
    let at = 10_000.0;
    let lookup = |far: bool| {
        let mut packets = usual();
        packets.push(uq(at + 0.2, CORE, 700, N));
        let guess = |n: u16| ur(at + 1.0 + f64::from(n), CORE, 701 + n, N, &truth());
        packets.extend((0..12u16).map(guess).map(|guess| if far { from_afar(guess) } else { guess }));
        packets.push(ur(at + 49.0, CORE, 700, N, &truth()));
        verdicts(&miss(at, 1, &truth(), packets)).remove(0)
    };
    assert_eq!(lookup(true).word(), "explained");
    assert!(matches!(lookup(false), Verdict::Contradicted { how: Contradiction::ForgedUpstream, .. }));
}

#[test]
fn known_data_settle_a_race() {
    let mut all = miss(0.0, 1, &truth(), fair(0.0, 900, &truth()));
    let mut packets = vec![uq(70_000.2, CORE, 700, N)];
    packets.extend(guesses(70_000.0, 700, false, false));
    packets.push(ur(70_049.0, CORE, 700, N, &truth()));
    all.extend(miss(70_000.0, 2, &truth(), packets));
    assert_eq!(words(&all), ["explained", "explained"]);
}

/// A lookup through the tap whose answer is not what the upstream gave for it, `ms` after the upstream did.
fn unlike(name: &str, given: &[Record], ms: f64, answer: &[Record]) -> Vec<Msg> {
    vec![
        cq(0.0, POD, 1, name),
        fq(0.1, CORE, 1, name),
        fr(50.0, 0.1, CORE, 1, name, given),
        cr(50.0 + ms, POD, 1, name, answer).asked(0.0),
    ]
}

#[test]
fn an_answer_that_is_not_what_the_upstream_gave_for_it_has_no_provenance() {
    let only = |all: &[Msg]| verdicts(all).remove(0);
    let got = only(&unlike(N, &truth(), 0.1, &forged()));
    let Verdict::Contradicted { how: Contradiction::NoProvenance, expected, .. } = &got else {
        panic!("{got:?}")
    };
    assert!(expected.contains("198.51.100.1") && expected.contains("192.0.2.53"), "{expected}");
    let differs = Verdict::unverifiable(WhyUnverifiable::UpstreamDiffers("192.0.2.53".to_owned()));
    // A rule of the server may have changed it.
    let other = "rewritten.example";
    let (given, answer) = ([a(other, "198.51.100.1", 60)], [a(other, "203.0.113.66", 60)]);
    assert_eq!(only(&unlike(other, &given, 0.1, &answer)), differs);
    // A part of it is another matter.
    let both = [truth(), forged()].concat();
    assert_eq!(only(&unlike(N, &both, 0.1, &[forged(), vec![a(N, "203.0.113.67", 60)]].concat())), differs);
    // Two upstreams were asked, and what the second said is lost.
    let mut two = unlike(N, &truth(), 9.0, &forged());
    two.push(fq(50.1, "10.244.0.2:50007", 1, N));
    assert_ne!(only(&two).word(), "contradicted");
    // The answer came first: the cache had it, and was refreshed meanwhile.
    assert_eq!(only(&unlike(N, &truth(), -49.0, &forged())).word(), "unverifiable");
    // An answer that this lookup's other exchange gave.
    let mut second = unlike(N, &truth(), 9.0, &forged());
    second.push(fq(50.1, "10.244.0.2:50007", 1, N));
    second.push(fr(55.0, 50.1, "10.244.0.2:50007", 1, N, &forged()));
    assert_eq!(only(&second), Verdict::unverifiable(WhyUnverifiable::OnlyTapped("192.0.2.53".to_owned())));
}

#[test]
fn known_data_are_not_new_even_in_a_disputed_exchange() {
    let mut all = miss(0.0, 1, &truth(), fair(0.0, 700, &truth()));
    let mut packets = fair(70_000.0, 900, &truth());
    packets.push(ur(70_060.0, CORE, 900, N, &forged()));
    all.extend(miss(70_000.0, 2, &truth(), packets));
    assert_eq!(words(&all), ["explained", "explained"]);
}

#[test]
fn rotation_between_exchanges_and_ttl_zero_are_no_contradiction() {
    let mut all = Vec::new();
    for n in 0..6u16 {
        let at = f64::from(n) * 6_000.0;
        let data = [a(N, &format!("198.51.100.{n}"), 0)];
        all.extend(miss(at, n, &data, fair(at, 700 + n, &data)));
        all.extend(hit(at + 2_000.0, 100 + n, &data));
    }
    assert_eq!(words(&all), ["explained"; 12]);
}

#[test]
fn another_replica_alone_makes_a_dispute_and_packets_settle_it() {
    let b = |m: Msg| {
        m.identity("coredns-b", "CoreDNS-1.15.0").dns(|dns| {
            if dns.vantage == Vantage::ForwarderQuery || dns.vantage == Vantage::ForwarderResponse {
                dns.client = Some(end("10.244.0.3:50001"));
            }
        })
    };
    let mut all = miss(0.0, 1, &forged(), Vec::new());
    all.extend(miss(10.0, 2, &truth(), Vec::new()).into_iter().map(b));
    let got = verdicts(&all);
    assert_eq!(got[0], Verdict::unverifiable(WhyUnverifiable::Disputed("coredns-b".to_owned())));
    // With packets the exchange is known to be fair: replicas of a resolver farm may differ.
    let mut all = miss(0.0, 1, &forged(), fair(0.0, 700, &forged()));
    all.extend(miss(10.0, 2, &truth(), Vec::new()).into_iter().map(b));
    assert_eq!(verdicts(&all)[0].word(), "explained");
}

#[test]
fn cluster_names_are_judged_by_the_objects() {
    let svc = "api.shop.svc.cluster.local";
    let all = [
        cq(0.0, POD, 1, svc),
        cr(0.1, POD, 1, svc, &[a(svc, "10.96.0.1", 30)]),
        cq(1.0, POD, 2, svc),
        cr(1.1, POD, 2, svc, &[a(svc, "203.0.113.66", 30)]),
    ];
    assert_eq!(words(&all), ["verified", "contradicted"]);
}

#[test]
fn an_alias_out_of_the_cluster_is_judged_in_parts() {
    let svc = "db.shop.svc.cluster.local";
    let lookup = |data: &[Record], packets: Vec<Msg>| {
        let mut answer = vec![alias(svc, N, 30)];
        answer.extend_from_slice(data);
        let mut all = vec![
            cq(0.0, POD, 1, svc),
            cq(0.05, POD, 1, N),
            fq(0.1, CORE, 1, N),
            fr(50.0, 0.1, CORE, 1, N, data),
            cr(50.1, POD, 1, N, data).asked(0.05),
            cr(50.2, POD, 1, svc, &answer).asked(0.0),
        ];
        all.extend(packets);
        words(&all)
    };
    assert_eq!(lookup(&truth(), fair(0.0, 700, &truth())), ["verified"]);
    assert_eq!(lookup(&forged(), race(0.0, 700, false)), ["contradicted"]);
    assert_eq!(lookup(&[], Vec::new()), ["verified"]);
}

#[test]
fn a_forged_packet_to_the_client_contradicts_what_the_server_said() {
    let svc = "api.shop.svc.cluster.local";
    let all = [
        pq(0.0, POD, 1, svc),
        pr(0.05, POD, 1, svc, &[a(svc, "203.0.113.66", 30)]),
        cq(0.1, POD, 1, svc),
        cr(0.2, POD, 1, svc, &[a(svc, "10.96.0.1", 30)]),
    ];
    assert_eq!(words(&all), ["contradicted"]);
    let mut outside = miss(0.0, 1, &truth(), fair(0.0, 700, &truth()));
    outside.push(pq(0.0, POD, 1, N));
    outside.push(pr(0.05, POD, 1, N, &forged()));
    let got = verdicts(&outside);
    assert!(matches!(&got[0], Verdict::Contradicted { how: Contradiction::NoProvenance, .. }), "{got:?}");
}

#[test]
fn what_is_not_seen_is_not_judged() {
    let why = |all: &[Msg]| match &verdicts(all)[0] {
        Verdict::Unverifiable { why } => why.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(why(&[log(1.0, POD, 1, N, 0.5)]), WhyUnverifiable::AnswerNotSeen);
    assert_eq!(why(&[cq(1.0, POD, 1, N)]), WhyUnverifiable::NoResponse);
    assert_eq!(why(&hit(1.0, 1, &truth())), WhyUnverifiable::NoUpstreamLeg);
    let failed = cr(1.0, POD, 1, N, &[]).rcode(Rcode::SERVFAIL);
    assert_eq!(why(&[failed]), WhyUnverifiable::ServerFailure);
    let foreign =
        [pq(0.0, POD, 1, N).server("8.8.8.8:53"), pr(1.0, POD, 1, N, &truth()).server("8.8.8.8:53")];
    assert_eq!(why(&foreign), WhyUnverifiable::UnknownResolver);
    assert_eq!(why(&[cr(1.0, POD, 1, N, &truth()).timeless()]), WhyUnverifiable::NoTime);
}

#[test]
fn upstream_answers_are_bounded() {
    let mut provenance = Provenance::with_bound(100);
    let mut exchanges = Vec::new();
    let origins = vec![Origin::default(); 8];
    let mut replicas = Replicas::new(&Small, &origins);
    let mut join = Joiner::new(&Small);
    let mut out = Output::default();
    for n in 0..1_000u16 {
        let (at, name) = (f64::from(n) * 100.0, format!("n{n}.example"));
        for m in [uq(at, CORE, n, &name), ur(at + 1.0, CORE, n, &name, &[a(&name, "198.51.100.1", 60)])] {
            let Event::Dns(dns) = &m.0.event else { continue };
            join.observe(&m.0, dns, &mut replicas, &mut out);
        }
    }
    join.finish(&mut out);
    exchanges.append(&mut out.exchanges);
    assert_eq!(exchanges.len(), 1_000);
    for closed in &exchanges {
        provenance.exchange(closed.replica, &closed.exchange, 0);
        assert!(provenance.young.len() + provenance.old.len() <= 200);
    }
    assert!(provenance.forgotten() >= 800);
}
