//! Owners of addresses: exact only where nobody else is possible, over reuse, completion, leads and snapshots.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;
use truename_model::attribution::{Attribution, AttributionBasis, UnknownOwner, WorkloadKind};
use truename_model::object::ChangeKind::{Created, Deleted, Updated};
use truename_model::object::{ChangeKind, Controller, Node, Object, ObjectRef, Pod};
use truename_model::time::{Interval, Nanos, SECOND};

use super::History;
use super::timeline::{EVER, NEVER};
use crate::fixture::{Told, address, at, endpoint, meta, ms, of_service, owned, pod, slice_of, versioned};

const IP: &str = "10.244.1.5";

fn word(answer: &Attribution) -> String {
    match answer {
        Attribution::Exact(workload, basis) => format!("{workload} by {basis:?}"),
        Attribution::Ambiguous(all) => {
            all.iter().map(|one| one.workload.name.clone()).collect::<Vec<_>>().join(" or ")
        }
        Attribution::Unknown(why) => format!("{why:?}"),
    }
}

fn owner(history: &History, millis: i64) -> String {
    let asked = at(millis);
    let answer = history.owners(address(IP), asked);
    if let Some((stretch, cached)) = history.owner_epoch(address(IP), asked) {
        assert_eq!(cached, answer);
        assert!(stretch.lo <= asked.lo && asked.hi <= stretch.hi);
        for edge in [stretch.lo, stretch.hi] {
            assert_eq!(history.owners(address(IP), Interval::at(edge)), answer, "at {edge} as at {millis}");
        }
    }
    word(&answer)
}

/// A pod's life as the API shows it: created, bound, addressed, deleted.
fn life(told: &mut Told, namespace: &str, name: &str, times: [i64; 4]) {
    told.watch(times[0], Created, meta(namespace, name), pod("", "Pending", &[]));
    told.watch(times[1], Updated, meta(namespace, name), pod("n1", "Pending", &[]));
    told.watch(times[2], Updated, meta(namespace, name), pod("n1", "Running", &[IP]));
    if times[3] > 0 {
        told.watch(times[3], Deleted, meta(namespace, name), pod("n1", "Running", &[IP]));
    }
}

#[test]
fn an_address_reused_within_a_second_has_one_owner_at_a_time() {
    let mut told = Told::new();
    life(&mut told, "shop", "first", [10_000, 10_100, 10_600, 50_000]);
    life(&mut told, "default", "second", [50_300, 50_400, 50_900, 0]);
    let history = told.history(200_000);
    for (millis, expected) in [
        (9_000, "NoneAtThatTime"),
        // It asks before the API knows its address: nobody else can.
        (10_300, "pod shop/first by History"),
        (11_000, "pod shop/first by History"),
        (49_990, "pod shop/first by History"),
        // Last packets under way.
        (50_100, "pod shop/first by History"),
        (50_280, "NoneAtThatTime"),
        (50_500, "pod default/second by History"),
        (60_000, "pod default/second by History"),
        (330_000, "second"),
    ] {
        assert_eq!(owner(&history, millis), expected, "at {millis}");
    }
}

#[test]
fn overlapping_bounds_give_both_owners_and_never_the_first_match() {
    let mut told = Told::new();
    life(&mut told, "shop", "first", [10_000, 10_100, 10_600, 50_000]);
    // Bound while the first still terminates.
    life(&mut told, "default", "second", [48_000, 48_100, 50_900, 0]);
    let history = told.history(200_000);
    assert_eq!(owner(&history, 47_000), "pod shop/first by History");
    assert_eq!(owner(&history, 49_000), "second or first");
    assert_eq!(owner(&history, 50_100), "second or first");
    assert_eq!(owner(&history, 50_600), "pod default/second by History");
    // An interval over both lives belongs to both.
    let both = Interval { lo: ms(40_000), hi: ms(60_000) };
    assert_eq!(word(&history.owners(address(IP), both)), "second or first");
}

#[test]
fn a_completed_pod_lists_its_address_but_holds_it_no_longer() {
    let mut told = Told::new();
    let done = |finished: Option<i64>| {
        let Object::Pod(pod) = pod("n1", "Succeeded", &[IP]) else { unreachable!() };
        Object::Pod(Pod { finished: finished.map(|secs| Nanos(secs * SECOND)), ..pod })
    };
    life(&mut told, "shop", "job", [10_000, 10_100, 10_600, 0]);
    told.watch(31_900, Updated, meta("shop", "job"), done(Some(30)));
    life(&mut told, "shop", "next", [33_000, 33_100, 33_500, 0]);
    let history = told.history(200_000);
    assert_eq!(owner(&history, 29_000), "pod shop/job by History");
    assert_eq!(owner(&history, 32_500), "NoneAtThatTime");
    assert_eq!(owner(&history, 34_000), "pod shop/next by History");
    // Two completed pods may show the same address.
    told.watch(60_000, Updated, meta("shop", "next"), done(None));
    assert_eq!(owner(&told.history(200_000), 61_000), "NoneAtThatTime");
    assert_eq!(owner(&told.history(200_000), 59_000), "pod shop/next by History");
}

#[test]
fn host_network_pods_and_nodes_give_the_node() {
    let mut told = Told::new();
    let Object::Pod(host) = pod("n7", "Running", &[IP]) else { unreachable!() };
    told.watch(10_000, Created, meta("shop", "agent"), Object::Pod(Pod { host_network: true, ..host }));
    assert_eq!(owner(&told.history(200_000), 20_000), "node n7 by NodeAddress");
    let node = Object::Node(Node { addresses: vec![address(IP)], pod_cidrs: Vec::new() });
    told.watch(5_000, Created, meta("", "n7"), node);
    assert_eq!(owner(&told.history(200_000), 20_000), "node n7 by NodeAddress");
    let answer = told.history(200_000).owners(address(IP), at(20_000));
    assert_eq!(answer.exact().map(|w| (w.kind, w.uid.as_str())), Some((WorkloadKind::Node, "uid--n7")));
}

#[test]
fn the_label_of_a_node_local_cache_hides_nobody_outside_of_its_namespace() {
    let mut told = Told::new();
    let labelled = || {
        let mut meta = meta("guest", "notebook");
        meta.labels = [("k8s-app".to_owned(), "node-local-dns".to_owned())].into_iter().collect();
        meta
    };
    told.watch(20_000, Created, labelled(), pod("n7", "Running", &[IP]));
    assert_eq!(owner(&told.history(200_000), 30_000), "pod guest/notebook by History");
}

#[test]
fn an_address_from_which_a_node_local_cache_asks_names_nobody() {
    let mut told = Told::new();
    let cache = || {
        let Object::Pod(host) = pod("n7", "Running", &[IP]) else { unreachable!() };
        Object::Pod(Pod { host_network: true, ..host })
    };
    let labelled = || {
        let mut meta = meta("kube-system", "node-local-dns-x");
        meta.labels = [("k8s-app".to_owned(), "node-local-dns".to_owned())].into_iter().collect();
        meta
    };
    let node = Object::Node(Node { addresses: vec![address(IP)], pod_cidrs: Vec::new() });
    told.watch(5_000, Created, meta("", "n7"), node);
    told.watch(20_000, Created, labelled(), cache());
    told.watch(40_000, Deleted, labelled(), cache());
    let history = told.history(200_000);
    let through = "ThroughNodeLocal(\"n7\")";
    for (millis, expected) in [
        (10_000, "node n7 by NodeAddress"),
        (30_000, through),
        (40_100, through),
        (41_000, "node n7 by NodeAddress"),
    ] {
        assert_eq!(owner(&history, millis), expected, "at {millis}");
    }
    // It may have asked in a part of the time: nobody is named for the whole.
    let both = Interval { lo: ms(10_000), hi: ms(30_000) };
    assert_eq!(word(&history.owners(address(IP), both)), through);
    assert_eq!(history.node_cache(address(IP), at(30_000)), Some("node-local-dns-x"));
    assert_eq!(history.node_cache(address(IP), at(10_000)), None);
}

#[test]
fn snapshots_alone_prove_only_what_lies_between_or_before_them() {
    let running = |since: Option<i64>| {
        let Object::Pod(pod) = pod("n1", "Running", &[IP]) else { unreachable!() };
        Object::Pod(Pod {
            addressed: since.map(|since| Nanos(since * SECOND)),
            started: Some(Nanos(100 * SECOND)),
            ..pod
        })
    };
    let mut told = Told::default();
    told.snapshot(300_000, versioned("shop", "web", "u1", 7, 99), running(Some(105)));
    let history = told.bare_history();
    assert_eq!(owner(&history, 90_000), "OutsideHistory");
    assert_eq!(owner(&history, 106_900), "web");
    // Whoever had it before may have packets under way.
    assert_eq!(owner(&history, 107_200), "web");
    assert_eq!(owner(&history, 107_300), "pod shop/web by SnapshotNear");
    assert_eq!(owner(&history, 310_000), "web");
    told.snapshot(400_000, versioned("shop", "web", "u1", 7, 99), running(Some(105)));
    assert_eq!(owner(&told.bare_history(), 350_000), "pod shop/web by SnapshotsAround");
    // Another holder later: in between nobody can be named.
    told.snapshot(500_000, versioned("shop", "other", "u2", 9, 450), running(None));
    assert_eq!(owner(&told.bare_history(), 420_000), "web");
    assert_eq!(owner(&told.bare_history(), 460_000), "other or web");
}

#[test]
fn a_start_time_alone_does_not_say_that_the_pod_had_its_address() {
    let Object::Pod(waiting) = pod("n1", "Running", &[IP]) else { unreachable!() };
    let mut told = Told::default();
    let shown = Object::Pod(Pod { started: Some(Nanos(100 * SECOND)), ..waiting });
    told.snapshot(300_000, versioned("shop", "web", "u1", 7, 99), shown);
    // Its sandbox may have waited for a volume until just now, and somebody else had the address.
    assert_eq!(owner(&told.bare_history(), 200_000), "web");
    assert_eq!(owner(&told.bare_history(), 299_000), "web");
}

#[test]
fn an_older_list_makes_no_claim_of_a_newer_one_weaker() {
    let running = |since: i64| {
        let Object::Pod(pod) = pod("n1", "Running", &[IP]) else { unreachable!() };
        Object::Pod(Pod { addressed: Some(Nanos(since * SECOND)), ..pod })
    };
    let later = || versioned("default", "second", "u2", 20, 200);
    let mut newer = Told::default();
    newer.snapshot(500_000, later(), running(210));
    let mut both = Told::default();
    both.snapshot(100_000, versioned("shop", "first", "u1", 7, 50), running(60));
    both.snapshot(500_000, later(), running(210));
    let (newer, both) = (newer.bare_history(), both.bare_history());
    // Who had it first is not known to be gone, but had to give it up.
    assert_eq!(owner(&both, 150_000), "first");
    assert_eq!(owner(&both, 205_000), "second or first");
    for millis in (50_000..520_000).step_by(50) {
        let (fewer, more) = (owner(&newer, millis), owner(&both, millis));
        assert!(!fewer.starts_with("pod ") || fewer == more, "at {millis}: {fewer}, with more {more}");
    }
    assert_eq!(owner(&both, 300_000), "pod default/second by SnapshotNear");
    // The same pod in another version in each list.
    let mut twice = Told::default();
    twice.snapshot(300_000, versioned("default", "second", "u2", 19, 200), pod("n1", "Running", &[IP]));
    twice.snapshot(500_000, later(), running(210));
    assert_eq!(owner(&newer, 250_000), "pod default/second by SnapshotNear");
    assert!(owner(&twice.bare_history(), 250_000).starts_with("pod default/second"));
}

#[test]
fn a_node_is_named_for_certain_only_where_no_cache_can_have_asked_from_it() {
    let mut told = Told::default();
    let Object::Pod(host) = pod("n7", "Running", &[IP]) else { unreachable!() };
    let agent = || Object::Pod(Pod { host_network: true, ..host.clone() });
    told.audit(10_000, Created, versioned("shop", "agent", "u1", 7, 10), agent());
    told.audit(90_000, Updated, versioned("shop", "agent", "u1", 8, 10), agent());
    // An audit log begins with what changed: a NodeLocal cache that was there before is not in it.
    assert_eq!(owner(&told.bare_history(), 50_000), "n7");
}

#[test]
fn a_stream_that_was_never_silent_for_long_is_cut_where_it_falls_silent() {
    let mut told = Told::new();
    life(&mut told, "shop", "web", [10_000, 10_100, 10_600, 0]);
    let owner_at = |rhythm: Option<i64>, millis: i64| {
        let mut history = History::new();
        told.changes.iter().for_each(|change| history.fold(change.clone()));
        history.note_span(0, truename_model::object::ChangeSource::Watch, at(30_000));
        rhythm.into_iter().for_each(|gap| history.note_rhythm(0, gap));
        history.finish();
        owner(&history, millis)
    };
    assert_eq!(owner_at(None, 100_000), "pod shop/web by History");
    assert_eq!(owner_at(Some(2 * SECOND), 33_000), "pod shop/web by History");
    assert_eq!(owner_at(Some(2 * SECOND), 100_000), "web");
}

#[test]
fn the_topmost_known_controller_owns_the_pod() {
    let mut told = Told::new();
    let replica_set = owned(meta("shop", "web-5d"), "Deployment", "web", "uid-d");
    let by = owned(meta("shop", "web-5d-1"), "ReplicaSet", "web-5d", "uid-shop-web-5d");
    told.watch(10_000, Created, by.clone(), pod("n1", "Running", &[IP]));
    let top = |told: &Told| {
        let answer = told.history(100_000).owners(address(IP), at(20_000));
        answer.exact().and_then(|w| w.owner.clone()).map(|owner| format!("{} {}", owner.kind, owner.name))
    };
    // The Deployment's name is in the ReplicaSet's object only, never guessed from its hash.
    assert_eq!(top(&told).as_deref(), Some("ReplicaSet web-5d"));
    told.watch(
        9_000,
        Created,
        replica_set,
        Object::Controller("ReplicaSet".to_owned(), Controller::default()),
    );
    assert_eq!(top(&told).as_deref(), Some("Deployment web"));
}

#[test]
fn audit_and_watch_of_one_version_are_one_state_with_the_tighter_bound() {
    let mut told = Told::new();
    let version = |rv| versioned("shop", "a", "u1", rv, 10);
    told.watch(10_100, Created, version(100), pod("n1", "Pending", &[]));
    told.watch(15_000, Updated, version(101), pod("n1", "Running", &[IP]));
    told.audit(14_998, Updated, version(101), pod("n1", "Running", &[IP]));
    let history = told.history(100_000);
    let timeline = history.timeline(history.pods_at(address(IP))[0]);
    assert_eq!(timeline.entries.len(), 3);
    assert_eq!(timeline.entries[2].began, at(14_998));
}

#[test]
fn without_objects_and_without_the_address_the_reason_differs() {
    let history = History::new();
    assert_eq!(history.owners(address(IP), at(0)), Attribution::Unknown(UnknownOwner::NoObjects));
    let told = Told::new();
    assert_eq!(owner(&told.history(10_000), 5_000), "NoSuchAddress");
    assert_eq!(owner(&told.history(10_000), 150_000), "OutsideHistory");
}

#[test]
fn two_clusters_are_told_apart_by_the_uid_of_kube_system() {
    let mut told = Told::new();
    told.snapshot(1_000, versioned("", "kube-system", "other", 1, 0), Object::Namespace);
    let clusters = told.bare_history().clusters();
    assert_eq!(clusters.keys().map(String::as_str).collect::<Vec<_>>(), ["other", "uid--kube-system"]);
}

/// One random life: namespace, lead times, and what ends it.
#[derive(Clone, Debug)]
struct RandomLife {
    pause: i64,
    bind: i64,
    attach: i64,
    show: i64,
    alive: i64,
    linger: i64,
    completes: bool,
}

fn lives() -> impl Strategy<Value = Vec<RandomLife>> {
    let life = (0i64..3_000, 1i64..500, 1i64..800, 1i64..900, 1_000i64..20_000, 0i64..2_000, any::<bool>());
    let life = life.prop_map(|(pause, bind, attach, show, alive, linger, completes)| RandomLife {
        pause,
        bind,
        attach,
        show,
        alive,
        linger,
        completes,
    });
    proptest::collection::vec(life, 1..8)
}

/// The truth: (name, first millisecond with the address, last one), and the changes that tell of it.
fn play(lives: &[RandomLife]) -> (Told, BTreeMap<String, (i64, i64)>, i64) {
    let mut told = Told::new();
    let mut truth = BTreeMap::new();
    // The next pod may be created and bound while the last one still has the address, but gets it only afterwards.
    let mut free_at = 5_000;
    for (index, life) in lives.iter().enumerate() {
        let name = format!("p{index}");
        let created = (free_at - 1_500 + life.pause).max(5_000);
        let bound = created + life.bind;
        let attached = (bound + life.attach).max(free_at + 1);
        let shown = attached + life.show;
        let stopped = shown + life.alive;
        truth.insert(name.clone(), (attached, stopped));
        told.watch(created, Created, meta("shop", &name), pod("", "Pending", &[]));
        told.watch(bound, Updated, meta("shop", &name), pod("n1", "Pending", &[]));
        told.watch(shown, Updated, meta("shop", &name), pod("n1", "Running", &[IP]));
        let gone = stopped + life.linger;
        if life.completes {
            told.watch(gone, Updated, meta("shop", &name), pod("n1", "Succeeded", &[IP]));
        } else {
            told.watch(gone, Deleted, meta("shop", &name), pod("n1", "Running", &[IP]));
        }
        free_at = stopped;
    }
    (told, truth, free_at + 5_000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// I4: whoever sends is among the possible owners, and an exact one is the sender.
    #[test]
    fn no_exact_owner_is_ever_wrong(lives in lives(), probes in proptest::collection::vec(0.0f64..1.0, 40)) {
        let (told, truth, end) = play(&lives);
        let history = told.history(end);
        let ip: IpAddr = address(IP);
        for (name, (from, to)) in &truth {
            for probe in &probes {
                let millis = from + ((to - from) as f64 * probe) as i64;
                let answer = history.owners(ip, at(millis));
                if let Some((_, cached)) = history.owner_epoch(ip, at(millis)) {
                    prop_assert_eq!(&cached, &answer);
                }
                match &answer {
                    Attribution::Exact(workload, basis) => {
                        prop_assert_eq!(&workload.name, name, "at {} by {:?}", millis, basis);
                        prop_assert_eq!(*basis, AttributionBasis::History);
                    }
                    Attribution::Ambiguous(all) => {
                        prop_assert!(all.iter().any(|one| one.workload.name == *name), "at {}", millis);
                    }
                    Attribution::Unknown(why) => prop_assert!(false, "{:?} at {}", why, millis),
                }
            }
        }
    }

    /// The order in which changes are folded, and records told twice, change nothing.
    #[test]
    fn folding_is_independent_of_order_and_repeats(lives in lives(), seed in any::<u64>()) {
        let (told, _, end) = play(&lives);
        let straight = told.history(end);
        let mut shuffled = Told::new();
        shuffled.changes = told.changes.clone();
        let len = shuffled.changes.len();
        for index in 0..len {
            shuffled.changes.swap(index, (seed as usize).wrapping_mul(index + 7) % len);
        }
        let again = shuffled.changes.clone();
        shuffled.changes.extend(again);
        let history = shuffled.history(end);
        for millis in (0..end).step_by(97) {
            prop_assert_eq!(history.owners(address(IP), at(millis)), straight.owners(address(IP), at(millis)));
        }
    }
}

/// A naive model: replay the list and keep the last state.
fn replay(changes: &[(i64, ChangeKind, u8)], millis: i64) -> Option<u8> {
    let mut state = None;
    for (at, kind, content) in changes.iter().filter(|(at, ..)| *at <= millis) {
        debug_assert!(*at >= 0);
        state = if *kind == Deleted { None } else { Some(*content) };
    }
    state
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// At every instant the state that a replay gives is among the possible ones, and away from changes the only one.
    #[test]
    fn timelines_agree_with_a_replay(steps in proptest::collection::vec((20i64..4_000, 0u8..6), 1..25)) {
        let mut told = Told::new();
        let mut clock = 10_000;
        let mut changes = Vec::new();
        let mut exists = false;
        for (pause, content) in steps {
            clock += pause;
            let kind = match (exists, content) {
                (false, _) => Created,
                (true, 0) => Deleted,
                (true, _) => Updated,
            };
            exists = kind != Deleted;
            changes.push((clock, kind, content));
            let uid = format!("u{}", changes.iter().filter(|(_, kind, _)| *kind == Deleted).count() + usize::from(exists));
            let mut meta = meta("shop", "x");
            meta.uid = uid;
            let object = crate::fixture::service(&[&format!("10.96.2.{content}")], &[]);
            told.watch(clock, kind, meta, object);
        }
        let history = told.history(clock + 10_000);
        let [id] = *history.find(super::Kind::Service, b"shop", b"x") else { panic!() };
        let timeline = history.timeline(id);
        for millis in (9_000..clock + 9_000).step_by(53) {
            let expected = replay(&changes, millis).map(|content| format!("10.96.2.{content}"));
            let shown: Vec<Option<String>> = timeline
                .within(at(millis))
                .map(|entry| entry.state.as_ref().and_then(|state| match &*state.object {
                    Object::Service(service) => service.cluster_ips.first().cloned(),
                    _ => None,
                }))
                .collect();
            prop_assert!(shown.contains(&expected), "{shown:?} lacks {expected:?} at {millis}");
            let near = changes.iter().any(|(at, ..)| (at - 5..=*at).contains(&millis));
            prop_assert!(near || shown.len() == 1, "{shown:?} at {millis}");
            prop_assert!(!timeline.may_hide(at(millis)));
        }
    }
}

#[test]
fn intervals_without_end_do_not_overflow() {
    let mut told = Told::new();
    life(&mut told, "shop", "a", [10_000, 10_100, 10_600, 0]);
    let history = told.bare_history();
    let all = Interval { lo: EVER, hi: NEVER };
    assert_eq!(word(&history.owners(address(IP), all)), "a");
}

/// A watch without its middle: the old holder seems to hold its address still, and a slice names the pod that got it.
#[test]
fn a_slice_that_names_a_pod_unknown_to_the_watch_shows_its_hole() {
    let told = |managed_by: &str| {
        let mut told = Told::new();
        life(&mut told, "shop", "old", [10_000, 10_100, 10_600, 0]);
        told.watch(30_000, Created, meta("shop", "aside"), pod("n1", "Pending", &[]));
        let mut named = endpoint(IP, Some(true));
        let (kind, namespace) = ("Pod".to_owned(), "shop".to_owned());
        named.target = Some(ObjectRef {
            kind,
            namespace,
            name: "new".into(),
            uid: "uid-shop-new".into(),
            ..ObjectRef::default()
        });
        let mut slice = of_service("shop", "web-x", "web");
        slice.labels.insert("endpointslice.kubernetes.io/managed-by".to_owned(), managed_by.to_owned());
        told.watch(60_000, Created, slice, slice_of(vec![named], &[]));
        life(&mut told, "shop", "later", [90_000, 90_100, 0, 0]);
        told.history(200_000)
    };
    let history = told("endpointslice-controller.k8s.io");
    assert_eq!(history.holes().len(), 1);
    assert_eq!(
        (history.holes()[0].pod.as_str(), history.holes()[0].slice.as_str()),
        ("shop/new", "shop/web-x")
    );
    assert_eq!(owner(&history, 20_000), "pod shop/old by History");
    for inside in [40_000, 70_000, 100_000] {
        assert!(!owner(&history, inside).starts_with("pod "), "{}", owner(&history, inside));
    }
    // Whoever writes slices by hand may name any pod.
    let history = told("me");
    assert_eq!(history.holes(), []);
    assert_eq!(owner(&history, 70_000), "pod shop/old by History");
}
