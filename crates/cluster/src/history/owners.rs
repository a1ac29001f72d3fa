//! Who held an address: holders with possible and certain stretches, cut into segments in which the answer is constant.
//!
//! Enters: timelines of pods, nodes, services and controllers. Leaves: an [`Attribution`] for an address and an
//! interval of time, by one binary search however many pods there are.
//!
//! A pod may use its address from the moment it is bound to a node, before the API shows the address, and until the
//! object is gone (or its containers have finished): these are the *possible* bounds. It held the address *certainly*
//! from the first state that shows it, or from the time since which a state says that it has had it, until the last one.
//! An address has one holder at a time, so a certain holder excludes everybody who is not possible at that time, even
//! where not every pod is known, and from then on everybody who held it before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use truename_model::attribution::{
    Alternative, Attribution, AttributionBasis, UnknownOwner, Workload, WorkloadKind,
};
use truename_model::object::{Object, OwnerRef, Pod, StringMap};
use truename_model::time::{Interval, MILLI, Nanos, SECOND};

use super::coverage::Coverage;
use super::timeline::{EVER, Entry, Kind, NEVER, State, Timeline};

/// How long after the deletion of its object a pod's last packets may still be under way.
pub const RELEASE_NS: i64 = 250 * MILLI;
/// Times of a pod's status are cut to whole seconds, by the kubelet's clock, which may differ by as much again.
const STATUS_NS: i64 = 2 * SECOND;
/// Longest chain of owners that is followed.
const OWNER_DEPTH: usize = 8;

/// One workload that holds an address for a time.
#[derive(Clone, Debug)]
struct Holder {
    possible: Interval,
    /// `lo > hi` if it never held the address for certain.
    certain: (Nanos, Nanos),
    /// Since when a state is shown, with the workload as it was then.
    versions: Vec<(Nanos, Arc<Workload>)>,
    basis: AttributionBasis,
    /// Services and API servers yield to pods and nodes.
    weak: bool,
}

/// A NodeLocal DNSCache: it asks the cluster DNS from its own or its node's address, for any pod of the node.
#[derive(Clone, Debug)]
struct Cache {
    node: Arc<str>,
    pod: Arc<str>,
    runs: Interval,
}

/// Answers for one address: `starts[i]` begins a segment that ends before `starts[i + 1]`.
#[derive(Clone, Debug, Default)]
struct Track {
    holders: Vec<Holder>,
    starts: Vec<Nanos>,
    answers: Vec<Attribution>,
    /// NodeLocal caches that ask from this address.
    caches: Vec<Cache>,
}

/// The index from addresses to holders.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    tracks: HashMap<IpAddr, Track, FixedState>,
    known: bool,
    // Stretches in which every pod is known.
    pods: Vec<Interval>,
    caches: BTreeSet<Arc<str>>,
}

impl Owners {
    /// Builds the index.
    #[must_use]
    pub fn build(timelines: &[Timeline], coverage: &Coverage) -> Self {
        let chains = Chains::build(timelines);
        let caches = node_caches(timelines);
        let mut holders: BTreeMap<IpAddr, Vec<Holder>> = BTreeMap::new();
        for timeline in timelines {
            match timeline.kind {
                Kind::Pod => pod_holders(timeline, &chains, coverage, &mut holders),
                Kind::Node => node_holders(timeline, &mut holders),
                Kind::Service => service_holders(timeline, &mut holders),
                Kind::Slice | Kind::Endpoints => control_plane_holders(timeline, &mut holders),
                _ => {}
            }
        }
        let known = timelines.iter().any(|timeline| matches!(timeline.kind, Kind::Pod | Kind::Node));
        let mut tracks = HashMap::with_capacity_and_hasher(holders.len(), FixedState::default());
        for (ip, holders) in holders {
            tracks.insert(ip, Track::build(merge_nodes(holders), &caches, coverage));
        }
        let caches = caches.into_iter().map(|cache| cache.pod).collect();
        // An audit log or a watch without its initial list tells of changes: what it does not name may still be there.
        let exhaustive =
            coverage.spans(Kind::Pod).iter().filter(|span| coverage.is_exhaustive(Kind::Pod, **span));
        Self { tracks, known, pods: exhaustive.copied().collect(), caches }
    }

    /// Who held `ip` through the whole of `at`.
    #[must_use]
    pub fn owners(&self, ip: IpAddr, at: Interval, coverage: &Coverage) -> Attribution {
        let Some(track) = self.tracks.get(&ip) else { return Attribution::Unknown(self.nobody(at)) };
        match track.segment(at) {
            Some((_, answer)) => answer.clone(),
            None => track.judge(at, coverage),
        }
    }

    /// When nobody held `ip`, where the history would show a holder; `None` for an address that nobody ever held.
    #[must_use]
    pub fn vacancies(&self, ip: IpAddr) -> Option<Vec<Interval>> {
        let track = self.tracks.get(&ip)?;
        let ends = track.starts.iter().skip(1).map(|start| start.plus(-1)).chain([NEVER]);
        let mut vacant: Vec<Interval> = Vec::new();
        for ((&lo, hi), answer) in track.starts.iter().zip(ends).zip(&track.answers) {
            if *answer != Attribution::Unknown(UnknownOwner::NoneAtThatTime) {
                continue;
            }
            match vacant.last_mut() {
                Some(last) if last.hi.plus(1) == lo => last.hi = hi,
                _ => vacant.push(Interval { lo, hi }),
            }
        }
        Some(vacant)
    }

    /// True if a pod of this name ever was a NodeLocal cache.
    #[must_use]
    pub fn is_node_cache(&self, pod: &str) -> bool {
        self.caches.contains(pod)
    }

    /// The NodeLocal cache that may have asked from `ip`, by the name of its pod, if only one may have.
    #[must_use]
    pub fn node_cache(&self, ip: IpAddr, at: Interval) -> Option<&str> {
        let mut caches = self.tracks.get(&ip)?.caches.iter().filter(|cache| cache.runs.overlaps(at));
        let first = caches.next()?;
        caches.all(|other| other.pod == first.pod).then_some(&first.pod)
    }

    /// The answer for `at` with the stretch in which every interval has the same answer.
    #[must_use]
    pub fn epoch(&self, ip: IpAddr, at: Interval) -> Option<(Interval, Attribution)> {
        match self.tracks.get(&ip) {
            Some(track) => track.segment(at).map(|(stretch, answer)| (stretch, answer.clone())),
            None => {
                let why = self.nobody(at);
                (why == UnknownOwner::NoObjects)
                    .then_some((Interval { lo: EVER, hi: NEVER }, Attribution::Unknown(why)))
            }
        }
    }

    fn nobody(&self, at: Interval) -> UnknownOwner {
        let covered = self.pods.iter().any(|span| span.lo <= at.lo && at.hi <= span.hi);
        match (self.known, covered) {
            (false, _) => UnknownOwner::NoObjects,
            (true, true) => UnknownOwner::NoSuchAddress,
            (true, false) => UnknownOwner::OutsideHistory,
        }
    }

    /// Addresses that a pod or node ever held.
    #[must_use]
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        let strong = |track: &Track| track.holders.iter().any(|holder| !holder.weak);
        self.tracks.iter().filter(|(_, track)| strong(track)).map(|(ip, _)| *ip).collect()
    }
}

impl Track {
    fn build(mut holders: Vec<Holder>, caches: &[Cache], coverage: &Coverage) -> Self {
        succeed(&mut holders);
        let asks_here = |cache: &&Cache| holders.iter().any(|holder| holder.is_of(cache));
        let caches: Vec<Cache> = caches.iter().filter(asks_here).cloned().collect();
        holders.sort_by(|a, b| (a.possible, a.versions_key()).cmp(&(b.possible, b.versions_key())));
        let mut starts: Vec<Nanos> = vec![EVER];
        for holder in &holders {
            let (from, to) = holder.certain;
            starts.extend([holder.possible.lo, holder.possible.hi.plus(1)]);
            starts.extend([from, from.plus(RELEASE_NS), to.plus(1)]);
            starts.extend(holder.versions.iter().skip(1).map(|(since, _)| *since));
        }
        starts.extend(caches.iter().flat_map(|cache| [cache.runs.lo, cache.runs.hi.plus(1)]));
        for edge in coverage.edges(Kind::Pod) {
            // Exactness by completeness looks back by the release bound.
            starts.extend([edge, edge.plus(1), edge.plus(RELEASE_NS), edge.plus(RELEASE_NS + 1)]);
        }
        starts.sort_unstable();
        starts.dedup();
        let ends = starts.iter().skip(1).map(|start| start.plus(-1)).chain([NEVER]);
        let stretches: Vec<Interval> = starts.iter().zip(ends).map(|(&lo, hi)| Interval { lo, hi }).collect();
        let mut track = Self { holders, starts, answers: Vec::new(), caches };
        track.answers = stretches.into_iter().map(|at| track.judge(at, coverage)).collect();
        track
    }

    /// Who held the address through the whole of `at`; nobody in particular while a cache there asks for others, or where
    /// a cache that nobody recorded may have done so.
    fn judge(&self, at: Interval, coverage: &Coverage) -> Attribution {
        let held = judge(&self.holders, at, coverage);
        let Attribution::Exact(workload, _) = &held else { return held };
        let asks = |cache: &&Cache| cache.runs.overlaps(at) && stands_for(workload, cache);
        if let Some(cache) = self.caches.iter().find(asks) {
            return Attribution::Unknown(UnknownOwner::ThroughNodeLocal(cache.node.clone()));
        }
        if workload.kind == WorkloadKind::Node && !coverage.is_exhaustive(Kind::Pod, released(at)) {
            let all: Vec<&Holder> =
                self.holders.iter().filter(|holder| holder.possible.overlaps(at)).collect();
            return ambiguous(&all, at);
        }
        held
    }

    fn segment(&self, at: Interval) -> Option<(Interval, &Attribution)> {
        let index = self.starts.partition_point(|start| *start <= at.lo).checked_sub(1)?;
        let hi = self.starts.get(index + 1).map_or(NEVER, |next| next.plus(-1));
        (at.hi <= hi).then(|| (Interval { lo: self.starts[index], hi }, &self.answers[index]))
    }
}

/// True if the cache asks from the address of this workload: it is the workload, or runs on that node's network.
fn stands_for(workload: &Workload, cache: &Cache) -> bool {
    match workload.kind {
        WorkloadKind::Node => workload.name == *cache.node,
        WorkloadKind::Pod => {
            workload.name == *cache.pod && is_node_cache(&workload.namespace, &workload.labels)
        }
        _ => false,
    }
}

/// Pods of NodeLocal DNSCache carry this label, whatever their image, in a namespace that few may write to: elsewhere
/// the label would hide who asks.
fn is_node_cache(namespace: &str, labels: &StringMap) -> bool {
    namespace == "kube-system"
        && matches!(labels.get("k8s-app").map(String::as_str), Some("node-local-dns" | "nodelocaldns"))
}

/// The NodeLocal caches of all nodes, each from the moment it was bound until it was gone.
fn node_caches(timelines: &[Timeline]) -> Vec<Cache> {
    let mut caches = Vec::new();
    for timeline in timelines.iter().filter(|timeline| timeline.kind == Kind::Pod) {
        for life in lives(timeline) {
            let bound = life.iter().find_map(|entry| {
                let state = entry.state.as_ref()?;
                let pod = pod_of(state)?;
                (is_node_cache(&state.meta.namespace, &state.meta.labels) && !pod.node_name.is_empty())
                    .then_some((entry, pod))
            });
            let Some((entry, pod)) = bound else { continue };
            let hi = life.last().map_or(NEVER, |last| last.ended.hi.plus(RELEASE_NS));
            caches.push(Cache {
                node: pod.node_name.as_str().into(),
                pod: timeline.name.clone(),
                runs: Interval { lo: entry.began.lo.min(hi), hi },
            });
        }
    }
    caches
}

impl Holder {
    fn is_of(&self, cache: &Cache) -> bool {
        self.versions.iter().any(|(_, workload)| stands_for(workload, cache))
    }

    fn versions_key(&self) -> Option<(&str, &str, &str)> {
        self.versions.first().map(|(_, w)| (w.namespace.as_str(), w.name.as_str(), w.uid.as_str()))
    }

    /// The workload as it was at `at`.
    fn workload(&self, at: Nanos) -> Option<&Arc<Workload>> {
        let after = self.versions.partition_point(|(since, _)| *since <= at);
        self.versions.get(after.saturating_sub(1)).map(|(_, workload)| workload)
    }
}

fn judge(holders: &[Holder], at: Interval, coverage: &Coverage) -> Attribution {
    let mut possible: Vec<&Holder> = holders.iter().filter(|holder| holder.possible.overlaps(at)).collect();
    if possible.iter().any(|holder| !holder.weak) {
        possible.retain(|holder| !holder.weak);
    }
    let [only] = possible[..] else {
        if possible.is_empty() {
            return Attribution::Unknown(nobody_then(at, coverage));
        }
        return ambiguous(&possible, at);
    };
    let Some(workload) = only.workload(at.lo) else { return ambiguous(&possible, at) };
    let (from, to) = only.certain;
    // Somebody whom nobody recorded may have held it until then, and his last packets may still be under way.
    if from.plus(RELEASE_NS) <= at.lo && at.hi <= to {
        return Attribution::Exact(workload.clone(), only.basis);
    }
    let through = only.possible.lo <= at.lo && at.hi <= only.possible.hi;
    if through && !only.weak && coverage.is_exhaustive(Kind::Pod, released(at)) {
        let basis =
            if only.basis == AttributionBasis::NodeAddress { only.basis } else { AttributionBasis::History };
        return Attribution::Exact(workload.clone(), basis);
    }
    ambiguous(&possible, at)
}

/// `at` with the time before it from which packets may still be under way.
fn released(at: Interval) -> Interval {
    Interval { lo: at.lo.plus(-RELEASE_NS), hi: at.hi }
}

/// A pod that has the address for certain ends what the pods may have that had it before: nothing but their last packets.
fn succeed(holders: &mut [Holder]) {
    let is_pod = |holder: &Holder| !holder.weak && holder.basis != AttributionBasis::NodeAddress;
    let mut from: Vec<Nanos> =
        holders.iter().filter(|holder| is_pod(holder)).map(|one| one.certain.0).collect();
    from.sort_unstable();
    for holder in holders.iter_mut().filter(|holder| is_pod(holder)) {
        let after = from.partition_point(|start| *start <= holder.certain.0);
        let Some(next) = from.get(after).filter(|next| **next < NEVER) else { continue };
        holder.possible.hi = holder.possible.hi.min(next.plus(RELEASE_NS - 1)).max(holder.possible.lo);
        holder.certain.1 = holder.certain.1.min(holder.possible.hi);
    }
}

fn nobody_then(at: Interval, coverage: &Coverage) -> UnknownOwner {
    match coverage.is_exhaustive(Kind::Pod, at) {
        true => UnknownOwner::NoneAtThatTime,
        false => UnknownOwner::OutsideHistory,
    }
}

fn ambiguous(possible: &[&Holder], at: Interval) -> Attribution {
    let mut all: Vec<Alternative> = possible
        .iter()
        .filter_map(|holder| {
            Some(Alternative { workload: holder.workload(at.lo)?.clone(), held: holder.possible })
        })
        .collect();
    all.sort_by(|a, b| (&a.workload, a.held).cmp(&(&b.workload, b.held)));
    all.dedup();
    Attribution::Ambiguous(all.into())
}

/// Owner references of every controller, by UID.
struct Chains {
    owners: BTreeMap<String, (OwnerRef, Option<OwnerRef>)>,
}

impl Chains {
    fn build(timelines: &[Timeline]) -> Self {
        let mut owners = BTreeMap::new();
        for timeline in timelines.iter().filter(|timeline| timeline.kind == Kind::Controller) {
            for state in timeline.entries.iter().filter_map(|entry| entry.state.as_ref()) {
                let own = OwnerRef {
                    kind: state.object.kind().to_owned(),
                    name: state.meta.name.clone(),
                    uid: state.meta.uid.clone(),
                    controller: true,
                };
                owners.insert(state.meta.uid.clone(), (own, controller_of(&state.meta.owners).cloned()));
            }
        }
        Self { owners }
    }

    /// The topmost owner whose object is known, else the one that the pod itself names.
    fn top(&self, owners: &[OwnerRef]) -> Option<OwnerRef> {
        let mut top = controller_of(owners)?.clone();
        for _ in 0..OWNER_DEPTH {
            let Some((_, Some(next))) = self.owners.get(&top.uid) else { break };
            top = next.clone();
        }
        Some(top)
    }
}

fn controller_of(owners: &[OwnerRef]) -> Option<&OwnerRef> {
    owners.iter().find(|owner| owner.controller)
}

fn pod_of(state: &State) -> Option<&Pod> {
    match &*state.object {
        Object::Pod(pod) => Some(pod),
        _ => None,
    }
}

fn is_terminal(pod: &Pod) -> bool {
    matches!(pod.phase.as_str(), "Succeeded" | "Failed")
}

/// Runs of entries that belong to one UID.
fn lives(timeline: &Timeline) -> Vec<&[Entry]> {
    let uid = |entry: &Entry| entry.state.as_ref().map(|state| state.meta.uid.clone());
    timeline.entries.chunk_by(|a, b| uid(a) == uid(b)).filter(|life| life[0].state.is_some()).collect()
}

fn pod_holders(
    timeline: &Timeline,
    chains: &Chains,
    coverage: &Coverage,
    out: &mut BTreeMap<IpAddr, Vec<Holder>>,
) {
    for life in lives(timeline) {
        let mut ips = BTreeSet::new();
        let mut host_ips: BTreeMap<IpAddr, &str> = BTreeMap::new();
        for pod in life.iter().filter_map(|entry| pod_of(entry.state.as_ref()?)) {
            if pod.host_network {
                host_ips.extend(pod.ips.iter().chain(&pod.host_ip).map(|ip| (*ip, pod.node_name.as_str())));
            } else {
                ips.extend(pod.ips.iter().copied());
                host_ips.extend(pod.host_ip.map(|ip| (ip, pod.node_name.as_str())));
            }
        }
        for ip in ips {
            out.entry(ip).or_default().extend(pod_holder(life, ip, chains, coverage));
        }
        for (ip, node) in host_ips.into_iter().filter(|(_, node)| !node.is_empty()) {
            out.entry(ip).or_default().push(host_holder(life, node));
        }
    }
}

fn pod_holder(life: &[Entry], ip: IpAddr, chains: &Chains, coverage: &Coverage) -> Option<Holder> {
    let shows =
        |entry: &&Entry| entry.state.as_ref().and_then(pod_of).is_some_and(|pod| pod.ips.contains(&ip));
    let running = |entry: &&Entry| entry.state.as_ref().and_then(pod_of).is_some_and(|pod| !is_terminal(pod));
    let first = life.iter().find(shows)?;
    let last = life.iter().rfind(shows)?;
    let lead = earliest(life, first)?;
    let end = life.iter().find(|entry| shows(entry) && !running(entry));
    let last_alive = life.iter().filter(shows).rfind(running);
    let (to_lo, to_hi) = match end {
        Some(end) => release(end, last_alive),
        // After the last state the object was deleted, or nothing is known: the entry's end says which.
        None => (last.known_to, last.ended.hi.plus(RELEASE_NS)),
    };
    let addressed = life.iter().filter(shows).filter(running).filter_map(|entry| {
        let since = pod_of(entry.state.as_ref()?)?.addressed?;
        Some(since.plus(STATUS_NS).max(lead))
    });
    let from = last_alive.map_or(NEVER, |_| addressed.fold(first.began.hi, Nanos::min));
    let covered = coverage.span_at(Kind::Pod, first.began.hi).is_some();
    let mut basis = AttributionBasis::History;
    if last_alive.is_some() && life.len() == 1 && !covered {
        basis = AttributionBasis::SnapshotNear;
    }
    if basis == AttributionBasis::SnapshotNear && first.known_to > first.began.hi {
        basis = AttributionBasis::SnapshotsAround;
    }
    let possible = Interval { lo: lead.min(from), hi: to_hi.max(lead) };
    Some(Holder {
        possible,
        certain: (from, to_lo.min(to_hi)),
        versions: versions(life, chains),
        basis,
        weak: false,
    })
}

/// The earliest moment at which the pod can have had an address.
fn earliest(life: &[Entry], shows: &Entry) -> Option<Nanos> {
    let pod = |entry: &Entry| entry.state.as_ref().and_then(pod_of).cloned();
    let bound = life
        .iter()
        .find(|entry| pod(entry).is_some_and(|pod| !pod.node_name.is_empty()))
        .map_or(EVER, |entry| entry.began.lo);
    let state = shows.state.as_ref()?;
    // `startTime` is cut to whole seconds by the kubelet's clock, which the API server's need not match exactly.
    let started = pod_of(state)?.started.map_or(EVER, |started| started.plus(-SECOND));
    let created = state.meta.created.unwrap_or(EVER);
    Some(bound.max(created).max(started).min(shows.began.hi))
}

/// Bounds on when a completed pod stopped: its containers' end if told, else the change of phase.
fn release(end: &Entry, last_alive: Option<&Entry>) -> (Nanos, Nanos) {
    let known_alive = last_alive.map_or(EVER, |alive| alive.began.hi);
    let finished = end.state.as_ref().and_then(pod_of).and_then(|pod| pod.finished);
    match finished {
        // Whole seconds: the end lies in the second that begins there.
        Some(finished) => {
            let hi = finished.plus(SECOND + RELEASE_NS).min(end.began.hi.plus(RELEASE_NS).max(finished));
            (finished.max(known_alive).min(hi), hi)
        }
        None => (known_alive, end.began.hi.plus(RELEASE_NS)),
    }
}

fn versions(life: &[Entry], chains: &Chains) -> Vec<(Nanos, Arc<Workload>)> {
    let mut versions: Vec<(Nanos, Arc<Workload>)> = Vec::new();
    for entry in life {
        let Some(state) = &entry.state else { continue };
        let Some(pod) = pod_of(state) else { continue };
        let workload = Workload {
            kind: WorkloadKind::Pod,
            namespace: state.meta.namespace.clone(),
            name: state.meta.name.clone(),
            uid: state.meta.uid.clone(),
            owner: chains.top(&state.meta.owners),
            node: pod.node_name.clone(),
            labels: state.meta.labels.clone(),
            service_account: pod.service_account.clone(),
        };
        match versions.last_mut() {
            // A pod is bound once: before that it cannot ask, so the node is filled in backwards.
            Some((_, last)) if last.node.is_empty() && last.labels == workload.labels => {
                *last = Arc::new(workload);
            }
            Some((_, last)) if **last == workload => {}
            _ => versions.push((entry.began.hi, Arc::new(workload))),
        }
    }
    versions
}

fn bare(kind: WorkloadKind, namespace: &str, name: &str, uid: &str) -> Arc<Workload> {
    Arc::new(Workload {
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        owner: None,
        node: if kind == WorkloadKind::Node { name.to_owned() } else { String::new() },
        labels: Default::default(),
        service_account: String::new(),
    })
}

fn span_holder(
    life: &[Entry],
    workload: Arc<Workload>,
    basis: AttributionBasis,
    weak: bool,
) -> Option<Holder> {
    let (first, last) = (life.first()?, life.last()?);
    let created = first.state.as_ref().and_then(|state| state.meta.created);
    // Nodes, services and API servers keep their addresses for life.
    let from = created.map_or(first.began.hi, |created| created.plus(SECOND).min(first.began.hi));
    let possible = Interval { lo: first.began.lo.max(created.unwrap_or(EVER)).min(from), hi: last.ended.hi };
    Some(Holder { possible, certain: (from, last.known_to), versions: vec![(from, workload)], basis, weak })
}

fn host_holder(life: &[Entry], node: &str) -> Holder {
    let (first, last) = (&life[0], &life[life.len() - 1]);
    let from = first.began.hi;
    Holder {
        // A node outlives its pods: the address is possible at any time, certain while a pod shows it.
        possible: Interval { lo: EVER, hi: NEVER },
        certain: (from, last.known_to.max(from)),
        versions: vec![(EVER, bare(WorkloadKind::Node, "", node, ""))],
        basis: AttributionBasis::NodeAddress,
        weak: false,
    }
}

fn node_holders(timeline: &Timeline, out: &mut BTreeMap<IpAddr, Vec<Holder>>) {
    for life in lives(timeline) {
        let mut ips = BTreeSet::new();
        let mut uid = String::new();
        for state in life.iter().filter_map(|entry| entry.state.as_ref()) {
            if let Object::Node(node) = &*state.object {
                ips.extend(node.addresses.iter().copied());
                uid = state.meta.uid.clone();
            }
        }
        let workload = bare(WorkloadKind::Node, "", &timeline.name, &uid);
        for ip in ips {
            let holder = span_holder(life, workload.clone(), AttributionBasis::NodeAddress, false);
            out.entry(ip).or_default().extend(holder);
        }
    }
}

/// A node's address shown by its object and by its pods is one holder: the object's, widened by what the pods show.
fn merge_nodes(holders: Vec<Holder>) -> Vec<Holder> {
    let (nodes, mut rest): (Vec<_>, Vec<_>) =
        holders.into_iter().partition(|holder| holder.basis == AttributionBasis::NodeAddress);
    let mut by_name: BTreeMap<String, Holder> = BTreeMap::new();
    for node in nodes {
        let Some(workload) = node.workload(EVER).cloned() else { continue };
        match by_name.get_mut(&workload.name) {
            None => {
                by_name.insert(workload.name.clone(), node);
            }
            Some(known) => widen_node(known, node, workload),
        }
    }
    rest.extend(by_name.into_values());
    rest
}

fn widen_node(known: &mut Holder, other: Holder, workload: Arc<Workload>) {
    let known_uid = known.workload(EVER).is_some_and(|workload| !workload.uid.is_empty());
    if !workload.uid.is_empty() && !known_uid {
        known.versions = vec![(EVER, workload)];
        known.possible = other.possible;
    } else if known_uid == workload.uid.is_empty() {
        // Only one side is the Node object: its bounds on existence stand.
    } else {
        known.possible = Interval {
            lo: known.possible.lo.min(other.possible.lo),
            hi: known.possible.hi.max(other.possible.hi),
        };
    }
    let lo = known.certain.0.min(other.certain.0).max(known.possible.lo);
    let hi = known.certain.1.max(other.certain.1).min(known.possible.hi);
    known.certain = (lo, hi);
}

/// A Service's address is a source only through odd NAT, and an API server shares its address with its node and every
/// hostNetwork pod there: such a holder is named, never as the only possibility.
fn uncertain(holder: Holder) -> Holder {
    Holder { certain: (NEVER, EVER), ..holder }
}

fn service_holders(timeline: &Timeline, out: &mut BTreeMap<IpAddr, Vec<Holder>>) {
    for life in lives(timeline) {
        let mut ips = BTreeSet::new();
        let mut uid = "";
        for state in life.iter().filter_map(|entry| entry.state.as_ref()) {
            if let Object::Service(service) = &*state.object {
                ips.extend(service.cluster_ips.iter().filter_map(|ip| ip.parse::<IpAddr>().ok()));
                uid = &state.meta.uid;
            }
        }
        let workload = bare(WorkloadKind::Service, &timeline.namespace, &timeline.name, uid);
        for ip in ips {
            let holder = span_holder(life, workload.clone(), AttributionBasis::History, true);
            out.entry(ip).or_default().extend(holder.map(uncertain));
        }
    }
}

/// Endpoints of `default/kubernetes` are the API servers.
fn control_plane_holders(timeline: &Timeline, out: &mut BTreeMap<IpAddr, Vec<Holder>>) {
    if &*timeline.namespace != "default" {
        return;
    }
    for life in lives(timeline) {
        let mut ips = BTreeSet::new();
        for state in life.iter().filter_map(|entry| entry.state.as_ref()) {
            let Object::EndpointSlice(slice) = &*state.object else { continue };
            let label = state.meta.labels.get("kubernetes.io/service-name").map(String::as_str);
            if label.or(slice.legacy.then_some(&*timeline.name)) == Some("kubernetes") {
                let texts = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
                ips.extend(texts.filter_map(|ip| ip.parse::<IpAddr>().ok()));
            }
        }
        let workload = bare(WorkloadKind::ControlPlane, "", "kube-apiserver", "");
        for ip in ips {
            let holder = span_holder(life, workload.clone(), AttributionBasis::History, true);
            out.entry(ip).or_default().extend(holder.map(uncertain));
        }
    }
}
