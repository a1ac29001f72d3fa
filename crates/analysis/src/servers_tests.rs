//! Small captures, taps and logs, and the addresses they tell.

use super::*;
use crate::fixture::*;
use truename_model::{Known, Transport};

const SVC: &str = "db.shop.svc.cluster.local";

fn learn(messages: &[Msg]) -> Learned {
    let named = |name: &str| Origin { replica: Known::Given(name.to_owned()), ..Origin::default() };
    // Items of the fixture: 0 is a log, 1 a tap, 2 and 3 captures; 4 is another log.
    let mut origins = vec![Origin::default(); 8];
    (origins[0], origins[1], origins[4]) = (named("coredns-a"), named("coredns-a"), named("coredns-b"));
    let mut servers = Servers::default();
    messages.iter().for_each(|message| servers.observe(&message.0, None, false));
    servers.finish(&origins)
}

fn names(learned: &Learned) -> Vec<(String, String)> {
    learned.names.iter().map(|(ip, name)| (ip.to_string(), name.clone())).collect()
}

fn named(ip: &str, name: &str) -> Vec<(String, String)> {
    vec![(ip.to_owned(), name.to_owned())]
}

fn other(n: u32) -> String {
    format!("host-{n}.example.com")
}

#[test]
fn questions_upstream_meet_the_lines_of_the_instance_that_asked_them() {
    let mut messages = Vec::new();
    for n in 0..4u32 {
        let ms = f64::from(n) * 1_000.0;
        messages.push(uq(ms, &format!("10.244.0.2:{}", 50_000 + n), 7, &other(n)));
        messages.push(log(ms + 20.0, POD, 7, &other(n), 21.0));
    }
    assert_eq!(names(&learn(&messages)), named("10.244.0.2", "coredns-a"));
    // Two instances dealt with the questions at the time: the leg is known, the name is not.
    let both = |m: &Msg| {
        let mut m = m.clone();
        (m.0.origin, m.0.record.item) = (truename_model::OriginId(4), 4);
        m
    };
    let lines: Vec<Msg> = messages.iter().skip(1).step_by(2).map(both).collect();
    let learned = learn(&[messages.clone(), lines].concat());
    assert_eq!(names(&learned), named("10.244.0.2", "server 10.244.0.2"));
    // Other questions, or the same ones minutes later: nothing is told.
    for shift in [60_000.0, 600_000.0] {
        let late: Vec<Msg> =
            (0..4).map(|n| log(f64::from(n) * 1_000.0 + shift, POD, 7, &other(n), 21.0)).collect();
        let asked: Vec<Msg> = messages.iter().step_by(2).cloned().collect();
        assert_eq!(names(&learn(&[asked, late].concat())), []);
    }
}

#[test]
fn a_client_of_an_instance_is_no_server() {
    let mut messages = Vec::new();
    for n in 0..4u32 {
        let ms = f64::from(n) * 1_000.0;
        messages.push(pq(ms, POD, 7, &other(n)));
        messages.push(log(ms + 20.0, "10.244.1.6:40000", 7, &other(n), 21.0));
        messages.push(log(ms + 500.0, POD, 8, SVC, 1.0));
    }
    assert!(!learn(&messages).names.contains_key(&end(POD).ip));
    // A client of another instance, whose log is missing: it asks for the cluster's names too.
    let mut messages: Vec<Msg> = messages.into_iter().filter(|m| m.0.record.item == 2).collect();
    for n in 0..4u32 {
        messages.push(log(f64::from(n) * 1_000.0 + 20.0, "10.244.1.6:40000", 7, &other(n), 21.0));
    }
    messages.push(pq(4_000.0, POD, 9, SVC));
    messages.push(pr(4_001.0, POD, 9, SVC, &[a(SVC, "10.96.0.1", 30)]));
    let learned = learn(&messages);
    assert_eq!((names(&learned), learned.services.len()), (vec![], 1));
}

#[test]
fn a_tap_shows_the_servers_own_socket() {
    let learned = learn(&[
        fq(0.0, CORE, 7, N),
        fq(1.0, CORE, 8, &other(1)),
        fq(2.0, CORE, 9, &other(2)),
        uq(90_000.0, CORE, 7, N),
    ]);
    assert_eq!(names(&learned), named("10.244.0.2", "coredns-a"));
}

#[test]
fn packets_alone_show_a_forwarder_by_its_sockets() {
    let asked: Vec<Msg> = (0..3).map(|n| uq(f64::from(n) * 300.0, CORE, n as u16, &other(n))).collect();
    let learned = learn(&asked);
    assert_eq!(names(&learned), named("10.244.0.2", "server 10.244.0.2"));
    assert_eq!(learned.pooled.keys().next(), Some(&end(CORE).ip));
    // A stub takes a new port for each name; a client with one socket asks for the cluster's names as well.
    let ports = (0..3).map(|n| uq(f64::from(n), &format!("10.244.0.2:{}", 50_000 + n), 1, &other(n)));
    assert_eq!(names(&learn(&ports.collect::<Vec<_>>())), []);
    let cluster = uq(2_000.0, CORE, 77, SVC).dns(|dns| dns.transport = Transport::Udp);
    assert_eq!(names(&learn(&[asked, vec![cluster]].concat())), []);
}

#[test]
fn who_answers_and_asks_is_a_server() {
    let learned = learn(&[
        pq(0.0, POD, 7, N).server("10.244.0.2:53"),
        pr(9.0, POD, 7, N, &[a(N, "198.51.100.1", 60)]).server("10.244.0.2:53"),
        uq(1.0, CORE, 500, N),
    ]);
    assert_eq!((names(&learned), learned.pooled.len()), (named("10.244.0.2", "server 10.244.0.2"), 0));
}

const N: &str = "www.example.com";
