//! The decision as of a time: which policies, labels and addresses held then, out of the history.
//!
//! Enters: a finished history, parties by name or address, a window; leaves: the decision, the same by the known
//! versions alone where records may be missing, and the objects it rests on. Where an object had several versions in
//! the window every combination is judged; if they disagree the answer is unknown, with the instants of change.
//! Deliberately absent: the delay with which a plugin applies a change; the caller widens the window by it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use truename_model::RecordRef;
use truename_model::object::{ChangeSource, Object, ObjectRef};
use truename_model::time::{Interval, Nanos};

use super::decide::{Content, Decision, Policy, Ruling, decide};
use super::flow::{Flow, NodeFacts, Nodes, Party, PodFacts, Protocol};
use super::why::Why;
use crate::history::timeline::{EVER, NEVER};
use crate::history::{History, Kind, State, TimelineId};
use crate::view::{View, always, as_pod};

/// Which time is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The last known version of everything: a dump is taken for the whole of what it shows.
    Latest,
    /// Any instant of the window.
    Within(Interval),
}

impl When {
    pub(super) fn window(self) -> Interval {
        match self {
            Self::Latest => Interval::at(NEVER),
            Self::Within(window) => window,
        }
    }
}

/// The other end, by name or address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Namespace and name of the pod, if it is known to be one.
    pub pod: Option<(String, String)>,
    /// Its address; `None`: any of the pod's.
    pub ip: Option<IpAddr>,
}

/// A question about one connection.
#[derive(Clone, Debug)]
pub struct Question<'q> {
    /// Namespace and name of the pod that connects.
    pub source: (&'q str, &'q str),
    /// To whom.
    pub target: &'q Target,
    /// Address and port of the Service that is rewritten on the way.
    pub service: Option<(IpAddr, u16)>,
    /// Protocol.
    pub protocol: Protocol,
    /// Port of the target.
    pub port: u16,
    /// When.
    pub when: When,
}

/// The decision as of a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The decision.
    pub decision: Decision,
    /// The decision by the versions in the evidence, whatever may be missing from it.
    pub known: Decision,
    /// What is left open.
    pub open: Vec<Why>,
    /// The ruling of each decision that a version of the objects gives; one unless they differ.
    pub rulings: Vec<Ruling>,
    /// The objects it rests on, beside the policies that the rulings name.
    pub objects: Vec<ObjectRef>,
    /// Around the window: every window inside has the same answer. `None`: do not remember it.
    pub holds: Option<Interval>,
}

impl Answer {
    /// An answer that nothing in the evidence gives.
    #[must_use]
    pub fn unknown(why: Why) -> Self {
        let unknown = Decision::Unknown;
        let (rulings, objects) = (Vec::new(), Vec::new());
        Self { decision: unknown, known: unknown, open: vec![why], rulings, objects, holds: None }
    }
}

/// The policies of a history, read once.
#[derive(Clone, Debug)]
pub struct Policies<'h> {
    history: &'h History,
    by_namespace: BTreeMap<&'h str, Vec<TimelineId>>,
    /// By timeline too: one record may tell of many objects.
    read: HashMap<(TimelineId, RecordRef), Policy, FixedState>,
    nodes: Vec<TimelineId>,
    by_nodes: bool,
    streams: BTreeMap<&'h str, BTreeSet<(u32, ChangeSource)>>,
}

impl<'h> Policies<'h> {
    /// Reads every version of every policy of a finished history.
    #[must_use]
    pub fn new(history: &'h History) -> Self {
        let mut policies = Self {
            history,
            by_namespace: BTreeMap::new(),
            read: HashMap::default(),
            nodes: Vec::new(),
            by_nodes: false,
            streams: BTreeMap::new(),
        };
        for (id, timeline) in (0u32..).zip(history.timelines()) {
            match timeline.kind {
                Kind::Policy => {
                    policies.by_namespace.entry(&timeline.namespace).or_default().push(id);
                    timeline
                        .entries
                        .iter()
                        .filter_map(|entry| entry.state.as_ref())
                        .for_each(|state| policies.take(id, state));
                }
                Kind::Node => policies.nodes.push(id),
                _ => {}
            }
        }
        for change in history.changes() {
            if matches!(*change.object, Object::Policy(..)) {
                let told = policies.streams.entry(&change.meta.namespace).or_default();
                told.insert((change.record.item, change.source));
            }
        }
        policies
    }

    fn take(&mut self, id: TimelineId, state: &State) {
        if let Object::Policy(kind, spec) = &*state.object
            && let Some(policy) = Policy::read(kind, &state.meta, spec)
        {
            self.by_nodes |= matches!(&policy.content, Content::Admin(admin) if admin.asks_for_nodes());
            self.read.insert((id, state.record), policy);
        }
    }

    /// The history it was read from.
    #[must_use]
    pub fn history(&self) -> &'h History {
        self.history
    }

    /// Decides on one connection.
    #[must_use]
    pub fn may(&self, question: &Question<'_>) -> Answer {
        let window = question.when.window();
        let mut view = View::new(self.history, window);
        let mut rulings: BTreeMap<Decision, Ruling> = BTreeMap::new();
        let mut missing: BTreeSet<Why> = BTreeSet::new();
        let mut objects: BTreeSet<ObjectRef> = BTreeSet::new();
        let mut unlisted: BTreeSet<String> = BTreeSet::new();
        while view.next_world() {
            match self.world(&mut view, question) {
                Ok((ruling, namespace)) => {
                    unlisted.extend(self.unlisted(&ruling, question.source.0, namespace, question.when));
                    rulings.entry(ruling.decision).or_insert(ruling);
                }
                Err(why) => {
                    missing.insert(why);
                }
            }
            objects.extend(view.deciding());
        }
        let edges = edges_within(view.edges(), window);
        let mut answer = gather(rulings, missing, edges);
        answer.holds = self.stretch(&view, window);
        answer.objects = objects.into_iter().filter(|object| !is_policy(object)).collect();
        let gaps = self.gaps(&view, question.when, unlisted);
        if !gaps.is_empty() {
            answer.decision = Decision::Unknown;
            answer.open.extend(gaps);
        }
        answer.open.sort_unstable();
        answer.open.dedup();
        answer
    }

    /// The stretch around the window in which nothing changes that a view looked at, nor what the evidence covers.
    pub(super) fn stretch(&self, view: &View<'_>, window: Interval) -> Option<Interval> {
        let coverage = self.history.coverage();
        let told =
            self.streams.values().flatten().filter_map(|(item, source)| coverage.reach(*item, *source));
        let covered = [Kind::Pod, Kind::Node].into_iter().flat_map(|kind| coverage.edges(kind));
        let edges = view.edges().chain(covered).chain(told.flat_map(|span| [span.lo, span.hi]));
        let mut held = always();
        // Bounds are inclusive, so what holds up to an edge may change at it and right after it.
        for edge in edges.flat_map(|edge| [edge, edge.plus(1)]) {
            if edge <= window.lo {
                held.lo = held.lo.max(edge);
            } else if edge > window.hi {
                held.hi = held.hi.min(edge.plus(-1));
            } else {
                return None;
            }
        }
        Some(held)
    }

    /// The ruling of one world, and the namespace of the destination if it is a pod.
    fn world(&self, view: &mut View<'h>, question: &Question<'_>) -> Result<(Ruling, Option<&'h str>), Why> {
        let source = self.pod(view, question.source.0, question.source.1)?;
        let (destination, destination_ip) = self.destination(view, question)?;
        let namespace = destination.pod().map(|pod| pod.namespace);
        let policies = self.in_force(view, source.namespace, namespace);
        let nodes = self.nodes(view, [Some(&source), destination.pod()]);
        let source_ip = same_family(&source.pod.ips, destination_ip);
        let flow = Flow {
            source: Party::Pod(source),
            source_ip,
            destination,
            destination_ip,
            service: question.service,
            protocol: question.protocol,
            port: question.port,
        };
        let all = match question.when {
            When::Latest => !self.nodes.is_empty(),
            When::Within(window) => self.history.coverage().is_exhaustive(Kind::Node, window),
        };
        Ok((decide(&policies, Nodes { known: &nodes, all }, &flow), namespace))
    }

    fn pod(&self, view: &mut View<'h>, namespace: &str, name: &str) -> Result<PodFacts<'h>, Why> {
        let state = view.object(Kind::Pod, namespace.as_bytes(), name.as_bytes());
        let state = state.ok_or_else(|| Why::NoPod(format!("{namespace}/{name}")))?;
        facts(view, state).ok_or_else(|| Why::NoPod(format!("{namespace}/{name}")))
    }

    fn destination(
        &self,
        view: &mut View<'h>,
        question: &Question<'_>,
    ) -> Result<(Party<'h>, Option<IpAddr>), Why> {
        let target = question.target;
        if let Some((namespace, name)) = &target.pod {
            let pod = self.pod(view, namespace, name)?;
            return Ok((Party::Pod(pod), target.ip.or_else(|| pod.pod.ips.first().copied())));
        }
        let Some(ip) = target.ip else { return Err(Why::NoAddress("the other end".to_owned())) };
        for id in self.history.pods_at(ip) {
            if let Some(state) = view.state(*id)
                && as_pod(state)
                    .is_some_and(|pod| pod.ips.contains(&ip) && pod.finished.is_none() && !pod.host_network)
                && let Some(pod) = facts(view, state)
            {
                return Ok((Party::Pod(pod), Some(ip)));
            }
        }
        let all_pods = match question.when {
            When::Latest => false,
            When::Within(window) => self.history.coverage().is_exhaustive(Kind::Pod, window),
        };
        if !all_pods && self.history.facts().is_near(ip) && !self.is_node(view, ip) {
            return Err(Why::UnknownPod(ip.to_string()));
        }
        Ok((Party::Address, Some(ip)))
    }

    fn is_node(&self, view: &mut View<'h>, ip: IpAddr) -> bool {
        let mut states = self.nodes.iter().filter_map(|id| view.state(*id));
        states.any(|state| matches!(&*state.object, Object::Node(node) if node.addresses.contains(&ip)))
    }

    /// The policies that exist in this world and can concern either namespace.
    fn in_force(&self, view: &mut View<'h>, source: &str, destination: Option<&str>) -> Vec<&Policy> {
        let namespaces = BTreeSet::from(["", source, destination.unwrap_or_default()]);
        let ids = namespaces.iter().filter_map(|namespace| self.by_namespace.get(namespace)).flatten();
        let states = ids.filter_map(|id| Some((*id, view.state(*id)?.record))).collect::<Vec<_>>();
        states.iter().filter_map(|of| self.read.get(of)).collect()
    }

    /// The nodes that the rules may ask for: all of them, or those of the pods in question.
    fn nodes(&self, view: &mut View<'h>, pods: [Option<&PodFacts<'h>>; 2]) -> Vec<NodeFacts<'h>> {
        let named = |name: &str| self.history.find(Kind::Node, b"", name.as_bytes()).first().copied();
        let ids: Vec<TimelineId> = if self.by_nodes {
            self.nodes.clone()
        } else {
            pods.into_iter().flatten().filter_map(|pod| named(&pod.pod.node_name)).collect()
        };
        let states = ids.into_iter().filter_map(|id| view.state(id));
        states
            .filter_map(|state| match &*state.object {
                Object::Node(node) => Some(NodeFacts {
                    name: &state.meta.name,
                    labels: &state.meta.labels,
                    addresses: &node.addresses,
                }),
                _ => None,
            })
            .collect()
    }

    /// What may be missing from the evidence and would change the answer.
    fn gaps(&self, view: &View<'h>, when: When, unlisted: BTreeSet<String>) -> Vec<Why> {
        let mut gaps: Vec<Why> = unlisted.into_iter().map(Why::Unlisted).collect();
        if self.streams.is_empty() && !gaps.is_empty() {
            gaps = vec![Why::Unlisted(String::new())];
        }
        if matches!(when, When::Within(_)) && view.is_incomplete() {
            gaps.push(Why::Unseen);
        }
        gaps
    }

    /// Namespaces whose unseen policies could change a ruling: a denial stands if the policies of the namespace that
    /// denies are all known, for those of another can open nothing there.
    fn unlisted(&self, ruling: &Ruling, source: &str, destination: Option<&str>, when: When) -> Vec<String> {
        let sides = [(&ruling.egress, Some(source)), (&ruling.ingress, destination)];
        let sides = sides.into_iter().filter_map(|(side, namespace)| Some((side.decision, namespace?)));
        let sides: Vec<_> =
            sides.map(|(side, namespace)| (side, namespace, self.listed(namespace, when))).collect();
        if sides.iter().any(|(side, _, listed)| *side == Decision::Denied && *listed) {
            return Vec::new();
        }
        let missing = sides.into_iter().filter(|(.., listed)| !listed);
        missing.map(|(_, namespace, _)| namespace.to_owned()).collect()
    }

    /// Whether the evidence shows all policies of a namespace. An item that told of policies of several namespaces, and
    /// an audit log that told of any, is taken to tell of all; one that told of this namespace, of all of this one; both
    /// as far as they reach. Cluster-wide policies are taken to be there if any of them was ever recorded.
    fn listed(&self, namespace: &str, when: When) -> bool {
        let many = |item: &(u32, ChangeSource)| {
            let with =
                self.streams.iter().filter(|(namespace, told)| !namespace.is_empty() && told.contains(item));
            item.1 == ChangeSource::Audit || with.count() > 1
        };
        let coverage = self.history.coverage();
        let mut told = self.streams.iter().flat_map(|(of, items)| items.iter().map(move |item| (*of, item)));
        match when {
            When::Latest => told.any(|(of, item)| of == namespace || many(item)),
            When::Within(window) => told.any(|(of, item)| {
                (of == namespace || many(item)) && coverage.reaches(item.0, item.1, window)
            }),
        }
    }
}

fn is_policy(object: &ObjectRef) -> bool {
    object.kind.contains("NetworkPolicy")
}

/// A pod with the labels of its namespace, in this world.
fn facts<'h>(view: &mut View<'h>, state: &'h State) -> Option<PodFacts<'h>> {
    let pod = as_pod(state)?;
    let namespace = &state.meta.namespace;
    let namespace_labels = view.namespace(namespace.as_bytes()).flatten();
    Some(PodFacts { namespace, name: &state.meta.name, labels: &state.meta.labels, namespace_labels, pod })
}

fn same_family(ips: &[IpAddr], other: Option<IpAddr>) -> Option<IpAddr> {
    match other {
        Some(other) => ips.iter().find(|ip| ip.is_ipv4() == other.is_ipv4()).copied(),
        None => ips.first().copied(),
    }
}

/// Instants in the window at which an object may have changed.
pub(super) fn edges_within(edges: impl Iterator<Item = Nanos>, window: Interval) -> Vec<Nanos> {
    let bounded = |at: &Nanos| *at > EVER && *at < NEVER;
    let within: BTreeSet<Nanos> =
        edges.filter(|at| bounded(at) && *at >= window.lo && *at <= window.hi).collect();
    within.into_iter().collect()
}

fn gather(rulings: BTreeMap<Decision, Ruling>, missing: BTreeSet<Why>, edges: Vec<Nanos>) -> Answer {
    let mut open: Vec<Why> = rulings.values().flat_map(Ruling::open).cloned().collect();
    let single = rulings.len() == 1 && missing.is_empty();
    let decision = match rulings.keys().next() {
        Some(decision) if single => *decision,
        _ => Decision::Unknown,
    };
    if !single && !rulings.is_empty() {
        open.push(Why::Changed(edges));
    }
    open.extend(missing);
    let rulings = rulings.into_values().collect();
    Answer { decision, known: decision, open, rulings, objects: Vec::new(), holds: None }
}
