//! Sequences of observations and the lookups they must become.

use super::*;
use crate::fixture::*;
use crate::knowledge::NoKnowledge;
use proptest::prelude::*;
use truename_model::{Event, Origin, Rcode, Side};

/// Runs messages in order of time through a join.
fn run(messages: &[Msg]) -> (Vec<Joined>, Vec<Closed>, JoinStats) {
    run_with(messages, &Small)
}

fn run_with(
    messages: &[Msg],
    knowledge: &dyn crate::knowledge::Knowledge,
) -> (Vec<Joined>, Vec<Closed>, JoinStats) {
    let origins = vec![Origin::default(); 8];
    let mut replicas = Replicas::new(knowledge, &origins);
    let mut join = Joiner::new(knowledge);
    let mut out = Output::default();
    let mut sorted: Vec<_> = messages.iter().map(|m| m.0.clone()).collect();
    sorted.sort_by_key(|o| o.at.interval().map_or(i64::MAX, |at| at.lo.0));
    for observation in &sorted {
        let Event::Dns(dns) = &observation.event else { continue };
        join.observe(observation, dns, &mut replicas, &mut out);
    }
    join.finish(&mut out);
    (out.lookups, out.exchanges, join.stats())
}

const N: &str = "www.example.com";

fn truth() -> Vec<Record> {
    vec![a(N, "198.51.100.1", 60)]
}

use truename_model::Record;

#[test]
fn every_vantage_of_a_lookup_becomes_one_transaction() {
    let (lookups, exchanges, _) = run(&[
        pq(0.0, POD, 7, N),
        cq(0.2, POD, 7, N),
        fq(0.3, CORE, 7, N),
        uq(0.4, CORE, 9_999, N),
        ur(5.0, CORE, 9_999, N, &truth()),
        fr(5.1, 0.3, CORE, 7, N, &truth()),
        cr(5.2, POD, 7, N, &truth()).asked(0.2),
        pr(5.4, POD, 7, N, &truth()),
        log(6.0, POD, 7, N, 5.0),
    ]);
    assert_eq!(lookups.len(), 1);
    let tx = &lookups[0].transaction;
    assert_eq!(tx.vantages.len(), 5, "{:?}", tx.vantages);
    assert_eq!(tx.records.len(), 5);
    assert_eq!(tx.asked.interval(), Some(Interval::at(Nanos(T0))));
    assert_eq!(tx.response.as_ref().map(|r| r.vantage), Some(Vantage::ClientResponse));
    assert_eq!((tx.dissent.is_none(), tx.retransmissions), (true, 0));
    assert_eq!(exchanges.len(), 1);
    let exchange = &exchanges[0].exchange;
    assert_eq!(tx.upstream, vec![Arc::clone(exchange)]);
    assert_eq!(exchange.wire_id, Some(9_999));
    assert_eq!(exchange.response.as_ref().map(|r| r.vantage), Some(Vantage::ForwarderResponse));
    assert!(exchange.response.as_ref().is_some_and(|r| r.packet.is_some()));
    assert!(exchange.second.is_none());
}

#[test]
fn a_second_try_is_the_same_lookup_and_a_copy_of_a_packet_is_no_second_try() {
    let (lookups, ..) = run(&[
        pq(0.0, POD, 7, N),
        pq(0.1, POD, 7, N).server("10.244.0.2:53").ordinal(1),
        pq(5_000.0, POD, 7, N),
        pq(5_000.1, POD, 7, N).server("10.244.0.2:53").ordinal(5_000_001),
        pr(5_010.0, POD, 7, N, &truth()),
    ]);
    assert_eq!(lookups.len(), 1);
    assert_eq!(lookups[0].transaction.retransmissions, 1);
}

#[test]
fn a_log_line_after_a_slow_answer_joins_the_query_packet() {
    let (lookups, ..) = run(&[pq(0.0, POD, 7, N), log(6_100.0, POD, 7, N, 6_000.0).rcode(Rcode::SERVFAIL)]);
    assert_eq!(lookups.len(), 1);
    assert_eq!(lookups[0].transaction.rcode(), Some(Rcode::SERVFAIL));
}

#[test]
fn the_servers_own_question_for_an_alias_target_is_part_of_the_lookup() {
    let outer = "db.shop.svc.cluster.local";
    let answer = [alias(outer, N, 30), a(N, "198.51.100.1", 30)];
    let (lookups, _, stats) = run(&[
        pq(0.0, POD, 7, outer),
        cq(0.2, POD, 7, outer),
        cq(0.3, POD, 7, N),
        log(4.0, POD, 7, N, 3.6),
        cr(3.9, POD, 7, N, &truth()).asked(0.3),
        cr(4.1, POD, 7, outer, &answer).asked(0.2),
        log(4.2, POD, 7, outer, 3.9),
    ]);
    assert_eq!((lookups.len(), stats.inner), (1, 1));
    assert_eq!(lookups[0].transaction.question.name, name(outer));
    assert_eq!(lookups[0].transaction.records.len(), 7);
}

#[test]
fn the_servers_own_question_is_known_by_a_lagging_log_too() {
    let outer = "db.shop.svc.cluster.local";
    let answer = [alias(outer, N, 30)];
    let (lookups, ..) = run(&[
        pq(0.0, POD, 7, outer),
        pr(0.3, POD, 7, outer, &answer),
        log(2.1, POD, 7, N, 0.03),
        log(2.2, POD, 7, outer, 0.2),
    ]);
    assert_eq!(lookups.len(), 1);
    assert_eq!(lookups[0].transaction.question.name, name(outer));
}

#[test]
fn with_logs_alone_the_inner_line_is_known_by_its_time_inside_the_outer_one() {
    let outer = "db.shop.svc.cluster.local";
    let (lookups, ..) = run(&[log(4.0, POD, 7, N, 3.6), log(4.2, POD, 7, outer, 3.9)]);
    assert_eq!(lookups.len(), 1);
    assert_eq!(lookups[0].transaction.question.name, name(outer));
    // The outer line's time lags more: by it the inner lookup began first.
    let (lookups, ..) = run(&[log(4.0, POD, 7, N, 3.6), log(4.6, POD, 7, outer, 3.9)]);
    assert_eq!(lookups.len(), 1);
    assert_eq!(lookups[0].transaction.question.name, name(outer));
    // One after the other is two lookups, whatever the id.
    let (lookups, ..) = run(&[log(4.0, POD, 7, N, 3.6), log(9.0, POD, 7, outer, 3.9)]);
    assert_eq!(lookups.len(), 2);
}

#[test]
fn without_times_the_inner_line_stands_before_the_outer_one() {
    let outer = "db.shop.svc.cluster.local";
    let lines = |id: u16| [log(1.0, POD, id, N, 3.6).timeless(), log(2.0, POD, 7, outer, 3.9).timeless()];
    let (lookups, ..) = run(&lines(7));
    assert_eq!(lookups.len(), 1);
    assert_eq!(lookups[0].transaction.question.name, name(outer));
    assert_eq!(lookups[0].transaction.asked, ObservedAt::OrderOnly);
    assert_eq!(run(&lines(8)).0.len(), 2);
}

/// Port and id are the client's choice: a sweep with one pair of them is still a sweep.
#[test]
fn lookups_with_one_port_and_id_are_one_only_where_an_alias_is_shown() {
    let name_of = |n: u32| format!("s{n}.shop.svc.cluster.local");
    let names: Vec<String> = (0..40).map(name_of).collect();
    let lines: Vec<_> = names.iter().map(|name| log(5.0, POD, 7, name, 5.0)).collect();
    let (lookups, _, stats) = run(&lines);
    assert_eq!((lookups.len(), stats.inner, stats.crowded), (40, 0, 0));
    let timeless: Vec<_> = names.iter().map(|name| log(5.0, POD, 7, name, 5.0).timeless()).collect();
    assert_eq!(run(&timeless).0.len(), 40);
}

/// However many: they neither vanish nor cost a walk over all of them each.
#[test]
fn a_crowd_of_lookups_with_one_port_and_id_stays_whole_and_is_told() {
    let names: Vec<String> = (0..5_000).map(|n| format!("s{n}.example.com")).collect();
    let lines: Vec<_> = names.iter().map(|name| log(5.0, POD, 7, name, 5.0)).collect();
    let (lookups, _, stats) = run(&lines);
    assert_eq!(lookups.len(), 5_000);
    assert_eq!(stats.crowded, 5_000 - 64);
}

#[test]
fn a_name_asked_on_the_wire_is_never_an_inner_lookup() {
    let outer = "db.shop.svc.cluster.local";
    let answer = [alias(outer, N, 30)];
    let (lookups, ..) = run(&[
        pq(0.0, POD, 7, outer),
        pq(0.1, POD, 7, N),
        pr(3.0, POD, 7, N, &truth()),
        pr(4.0, POD, 7, outer, &answer),
    ]);
    assert_eq!(lookups.len(), 2);
}

#[test]
fn the_wire_against_the_server_is_kept_as_dissent() {
    let forged = [a(N, "203.0.113.66", 60)];
    let (lookups, ..) = run(&[
        cq(0.2, POD, 7, N),
        pq(0.0, POD, 7, N),
        pr(1.0, POD, 7, N, &forged),
        cr(5.2, POD, 7, N, &truth()).asked(0.2),
        pr(5.4, POD, 7, N, &truth()),
    ]);
    let tx = &lookups[0].transaction;
    assert_eq!(tx.response.as_ref().map(|r| r.body.answers.clone()), Some(truth()));
    assert_eq!(tx.dissent.as_ref().map(|r| r.body.answers.clone()), Some(forged.to_vec()));
}

#[test]
fn two_answers_to_two_tries_are_no_dissent() {
    let other = [a(N, "198.51.100.2", 60)];
    let (lookups, ..) = run(&[
        pq(0.0, POD, 7, N),
        pq(2_500.0, POD, 7, N),
        pr(2_600.0, POD, 7, N, &truth()),
        pr(2_601.0, POD, 7, N, &other),
    ]);
    assert_eq!(lookups[0].transaction.retransmissions, 1);
    assert!(lookups[0].transaction.dissent.is_none());
}

#[test]
fn a_truncated_packet_is_a_part_and_no_dissent() {
    let whole = [a(N, "198.51.100.1", 60), a(N, "198.51.100.2", 60)];
    let (lookups, ..) = run(&[
        cq(0.2, POD, 7, N),
        cr(5.2, POD, 7, N, &whole),
        pr(5.4, POD, 7, N, &whole[..1]).dns(|dns| dns.flags = Flags(0x8600)),
    ]);
    assert!(lookups[0].transaction.dissent.is_none());
}

use truename_model::Flags;

#[test]
fn before_1_14_5_forwarder_taps_are_joined_by_the_client() {
    let old = |m: Msg| m.identity("coredns-a", "CoreDNS-1.14.4");
    let (lookups, exchanges, _) = run(&[
        old(cq(0.2, POD, 7, N)),
        old(fq(0.3, POD, 7, N)),
        uq(0.4, CORE, 9_999, N),
        ur(5.0, CORE, 9_999, N, &truth()),
        old(fr(5.1, 0.3, POD, 7, N, &truth())),
        old(cr(5.2, POD, 7, N, &truth())),
        // Another client with the same id at the same time on the same replica.
        old(cq(0.25, "10.244.1.6:40001", 7, N)),
        old(cr(0.26, "10.244.1.6:40001", 7, N, &truth())),
    ]);
    assert_eq!(exchanges.len(), 1);
    assert_eq!(exchanges[0].exchange.local, Some(end(CORE)));
    assert_eq!(lookups.iter().map(|l| l.transaction.upstream.len()).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn wrong_ids_are_counted_and_those_with_the_accepted_data_apart() {
    let forged = [a(N, "203.0.113.66", 600)];
    let mut messages = vec![uq(0.0, CORE, 500, N)];
    for n in 0..12 {
        messages.push(ur(1.0 + f64::from(n) / 10.0, CORE, 1_000 + n as u16, N, &forged));
    }
    messages.push(ur(3.0, CORE, 500, N, &forged));
    messages.push(ur(9.0, CORE, 500, N, &truth()));
    let (_, exchanges, _) = run(&messages);
    let exchange = &exchanges[0].exchange;
    assert_eq!((exchange.mismatched_count, exchange.mismatched_like_answer), (12, 12));
    assert_eq!(exchange.second.as_ref().map(|r| r.body.answers.clone()), Some(truth()));
    assert_eq!(exchange.response.as_ref().map(|r| r.body.answers.clone()), Some(forged.to_vec()));
}

#[test]
fn a_late_answer_to_an_earlier_query_of_the_socket_is_no_wrong_id() {
    let m = "other.example.com";
    let (_, exchanges, _) = run(&[
        uq(0.0, CORE, 500, N),
        uq(2_000.0, CORE, 501, m),
        ur(2_100.0, CORE, 500, N, &truth()),
        ur(2_200.0, CORE, 501, m, &[a(m, "198.51.100.9", 60)]),
    ]);
    assert_eq!(exchanges.iter().map(|c| c.exchange.mismatched_count).sum::<u32>(), 0);
    assert!(exchanges.iter().all(|c| c.exchange.response.is_some() && c.exchange.second.is_none()));
}

#[test]
fn a_query_sent_twice_upstream_may_be_answered_twice() {
    let other = [a(N, "198.51.100.2", 60)];
    let (_, exchanges, _) = run(&[
        uq(0.0, CORE, 500, N),
        uq(1_000.0, CORE, 500, N),
        ur(1_100.0, CORE, 500, N, &truth()),
        ur(1_101.0, CORE, 500, N, &other),
    ]);
    assert_eq!(exchanges.len(), 1);
    assert!(exchanges[0].exchange.second.is_none());
}

#[test]
fn one_query_packet_may_be_seen_twice_but_not_sent_twice() {
    let forged = [a(N, "203.0.113.66", 600)];
    let second = |ms: f64, change: &dyn Fn(&mut DnsEvent)| {
        let (_, exchanges, _) = run(&[
            uq(0.0, CORE, 500, N),
            uq(ms, CORE, 500, N).dns(|dns| change(dns)).ordinal(77),
            ur(10.0, CORE, 500, N, &forged),
            ur(400.0, CORE, 500, N, &truth()),
        ]);
        exchanges[0].exchange.second.is_some()
    };
    let hop = |dns: &mut DnsEvent| dns.packet.as_mut().unwrap().ip_ttl -= 1;
    assert!(second(0.4, &|_| ()), "the two ports of a bridge");
    assert!(second(5.0, &hop), "behind a router");
    assert!(!second(5.0, &|_| ()), "sent again soon");
    assert!(!second(0.4, &|dns| dns.packet.as_mut().unwrap().ip_id += 1), "sent again at once");
}

/// Answers to no open question, of exchanges as (port, count).
fn unasked(exchanges: &[Closed]) -> Vec<(u16, u32)> {
    let shown = exchanges.iter().filter(|closed| closed.exchange.is_unasked());
    shown.map(|closed| (closed.exchange.local.unwrap().port, closed.exchange.mismatched_count)).collect()
}

fn core(port: u16) -> String {
    format!("10.244.0.2:{port}")
}

#[test]
fn answers_to_closed_ports_are_gathered_per_question_and_port() {
    let forged = [a(N, "203.0.113.66", 600)];
    let mut messages = vec![uq(0.0, CORE, 500, N), ur(5.0, CORE, 500, N, &truth())];
    for n in 0..30u16 {
        messages.push(ur(1_000.0 + f64::from(n), &core(41_000), 1_000 + n, N, &forged));
        messages.push(ur(1_000.5 + f64::from(n), &core(42_000 + n), 1_000 + n, N, &forged));
        // A packet seen on a second interface.
        messages.push(ur(1_000.7 + f64::from(n), &core(42_000 + n), 1_000 + n, N, &forged));
    }
    let (_, exchanges, stats) = run(&messages);
    assert_eq!(unasked(&exchanges), [(41_000, 30), (0, 30)]);
    assert_eq!(stats.stray_replies, 90);
    let sprayed = &exchanges.iter().find(|closed| closed.exchange.is_unasked()).unwrap().exchange;
    assert_eq!((sprayed.question.name.clone(), sprayed.mismatched.len()), (name(N), 16));
    // The query may be missing from the capture altogether.
    let (_, exchanges, _) = run(&messages[2..]);
    assert_eq!(unasked(&exchanges), [(41_000, 30), (0, 30)]);
}

#[test]
fn an_answered_port_is_closed_once_its_query_is_given_up() {
    let forged = [a(N, "203.0.113.66", 600)];
    let mut messages = vec![uq(0.0, CORE, 500, N), ur(5.0, CORE, 500, N, &truth())];
    messages.extend((0..12).map(|n| ur(15_000.0 + f64::from(n), CORE, 1_000 + n as u16, N, &forged)));
    assert_eq!(unasked(&run(&messages).1), [(50_000, 12)]);
}

#[test]
fn late_answers_and_halves_of_a_conversation_are_no_guesses() {
    // Each question once: the capture began late, or holds one direction only.
    let other = |n: u16| format!("host-{n}.example.com");
    let halves: Vec<_> = (0..300u16)
        .map(|n| ur(f64::from(n), &core(41_000 + n % 7), n, &other(n), &[a(&other(n), "198.51.100.1", 60)]))
        .collect();
    let (_, exchanges, stats) = run(&halves);
    assert_eq!((unasked(&exchanges), stats.stray_replies), (vec![], 300));
    // Answers after CoreDNS gave up, some of them twice, within 30 s.
    let mut late = Vec::new();
    for n in 0..30u16 {
        late.push(uq(f64::from(n) * 100.0, CORE, n, N));
        late.push(ur(25_000.0 + f64::from(n), CORE, n, N, &truth()));
        late.push(ur(26_000.0 + f64::from(n), CORE, n, N, &truth()));
    }
    assert_eq!(unasked(&run(&late).1), []);
}

/// Runs messages through a join that knows nothing but what the operator says of item 3.
fn run_stated(messages: &[Msg], stated: Origin) -> (Vec<Joined>, Vec<Closed>) {
    let mut origins = vec![Origin::default(); 8];
    origins[3] = stated;
    let mut replicas = Replicas::new(&NoKnowledge, &origins);
    let (mut join, mut out) = (Joiner::new(&Small), Output::default());
    for observation in messages.iter().map(|m| &m.0) {
        let Event::Dns(dns) = &observation.event else { continue };
        join.observe(observation, dns, &mut replicas, &mut out);
    }
    join.finish(&mut out);
    (out.lookups, out.exchanges)
}

#[test]
fn where_nothing_tells_the_leg_packets_are_lookups_and_races_are_still_seen() {
    let forged = [a(N, "203.0.113.66", 600)];
    let mut messages = vec![uq(0.0, CORE, 500, N)];
    messages.extend((0..12).map(|n| ur(1.0 + f64::from(n) / 10.0, CORE, 1_000 + n as u16, N, &forged)));
    messages.push(ur(3.0, CORE, 500, N, &truth()));
    let (lookups, exchanges) = run_stated(&messages, Origin::default());
    assert_eq!((lookups.len(), exchanges.len()), (13, 1));
    assert!(exchanges[0].exchange.unplaced && exchanges[0].exchange.mismatched_count == 12);
    // Without a race such an exchange proves nothing and is not shown.
    let fair = [messages[0].clone(), messages[13].clone()];
    let (lookups, exchanges) = run_stated(&fair, Origin::default());
    assert_eq!((lookups.len(), exchanges.len()), (1, 0));
}

#[test]
fn the_operator_may_state_the_leg_or_the_servers_address() {
    let messages = [uq(0.0, CORE, 500, N), ur(3.0, CORE, 500, N, &truth())];
    let leg = |side| Origin { leg: truename_model::Known::Given(side), ..Origin::default() };
    let address = Origin { addresses: vec![end(CORE).ip], ..Origin::default() };
    for (stated, shown) in [(leg(Side::Upstream), (0, 1)), (address, (0, 1)), (leg(Side::Client), (1, 0))] {
        let (lookups, exchanges) = run_stated(&messages, stated);
        assert_eq!((lookups.len(), exchanges.len()), shown);
        assert!(exchanges.iter().all(|closed| !closed.exchange.unplaced));
    }
}

#[test]
fn a_reply_to_another_question_is_marked() {
    let (_, exchanges, _) = run(&[
        uq(0.0, CORE, 500, N),
        ur(1.0, CORE, 500, "evil.example.com", &[a("evil.example.com", "203.0.113.66", 60)]),
    ]);
    assert!(exchanges[0].exchange.wrong_question);
}

#[test]
fn connections_reuse_an_id_for_new_lookups() {
    let tcp = |m: Msg| m.dns(|dns| dns.transport = Transport::Tcp);
    let mut messages = Vec::new();
    for n in 0..3 {
        let at = f64::from(n) * 100.0;
        messages.push(tcp(pq(at, POD, 0, N)));
        messages.push(tcp(pr(at + 1.0, POD, 0, N, &truth())));
    }
    assert_eq!(run(&messages).0.len(), 3);
}

#[test]
fn clusters_are_never_joined() {
    let mut origins = vec![Origin::default(); 8];
    for (origin, cluster) in origins.iter_mut().zip(["x", "x", "y", "y"]) {
        origin.cluster = truename_model::Known::Given(cluster.to_owned());
    }
    let mut replicas = Replicas::new(&NoKnowledge, &origins);
    let mut join = Joiner::new(&Small);
    let mut out = Output::default();
    for m in [cq(0.0, POD, 7, N), pq(0.1, POD, 7, N)] {
        let Event::Dns(dns) = &m.0.event else { continue };
        join.observe(&m.0, dns, &mut replicas, &mut out);
    }
    join.finish(&mut out);
    assert_eq!(out.lookups.len(), 2);
}

#[test]
fn without_objects_the_upstream_leg_shows_itself() {
    let (lookups, exchanges, _) = run_with(
        &[
            pq(0.0, POD, 7, N).server("10.244.0.2:53"),
            pr(0.5, POD, 7, N, &truth()).server("10.244.0.2:53"),
            pq(1.0, POD, 8, "b.example").server("10.244.0.2:53"),
            uq(1.1, CORE, 77, "b.example"),
            ur(2.0, CORE, 77, "b.example", &[a("b.example", "198.51.100.7", 60)]),
        ],
        &NoKnowledge,
    );
    assert_eq!((lookups.len(), exchanges.len()), (2, 1));
}

#[test]
fn a_flood_stays_within_the_bound_and_is_counted() {
    let origins = vec![Origin::default(); 8];
    let mut replicas = Replicas::new(&NoKnowledge, &origins);
    let mut join = Joiner::with_bound(&Small, 1_000);
    let mut out = Output::default();
    let mut left = 0;
    for n in 0..20_000u32 {
        let m =
            cq(f64::from(n) / 10.0, &format!("10.244.1.5:{}", 1_024 + n % 60_000), n as u16, "flood.example");
        let Event::Dns(dns) = &m.0.event else { continue };
        join.observe(&m.0, dns, &mut replicas, &mut out);
        left += out.lookups.len();
        out.lookups.clear();
        // One bucket (67 ms) of arrivals beyond the bound at most.
        assert!(join.open() <= 1_000 + 700, "{}", join.open());
    }
    join.finish(&mut out);
    assert_eq!(left + out.lookups.len(), 20_000);
    assert!(join.stats().evictions > 10_000);
}

/// A handful of lookups on several vantages, with many equal times.
fn busy() -> impl Strategy<Value = Vec<Msg>> {
    prop::collection::vec((0u8..4, 0u16..3, 0u8..40, 0u8..6), 1..40).prop_map(|parts| {
        let mut out = Vec::new();
        for (n, (pod, id, at, vantage)) in parts.into_iter().enumerate() {
            let client = format!("10.244.1.{pod}:4000{id}");
            let ms = f64::from(at) * 20.0;
            let m = match vantage {
                0 => cq(ms, &client, id, N),
                1 => cr(ms, &client, id, N, &truth()),
                2 => pq(ms, &client, id, N),
                3 => pr(ms, &client, id, N, &truth()),
                4 => log(ms, &client, id, N, 10.0),
                _ => pq(ms, &client, id, "z.example"),
            };
            out.push(m.ordinal(n as u64));
        }
        out
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Which of two items with equal times is read first must not matter.
    #[test]
    fn equal_times_may_be_read_in_any_order(messages in busy(), seed in any::<u64>()) {
        let (first, ..) = run(&messages);
        let mut turned = messages.clone();
        // Items in another order; the stable sort by time then differs in equal times of different items only.
        turned.sort_by_key(|m| (u64::from(m.0.record.item) ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (second, ..) = run(&turned);
        let show = |lookups: &[Joined]| -> Vec<String> {
            lookups.iter().map(|l| format!("{:?}", l.transaction)).collect()
        };
        prop_assert_eq!(show(&first), show(&second));
    }

    /// Lookups leave in order of asking.
    #[test]
    fn lookups_leave_in_order(messages in busy()) {
        let (lookups, ..) = run(&messages);
        let times: Vec<_> = lookups.iter().map(|l| l.transaction.asked.interval().map(|at| at.lo)).collect();
        prop_assert!(times.is_sorted());
        prop_assert_eq!(
            lookups.iter().map(|l| l.transaction.records.len()).sum::<usize>(),
            messages.len()
        );
    }
}
