//! The decision on one flow: tiers, policies and rules in the order that their API comments state.
//!
//! Enters: policies as they stood, the nodes, a flow; leaves: allowed, denied or unknown, with the rules that decide.
//! Both directions must allow. Admin policies come first, NetworkPolicy next, the baseline last, and what nothing
//! decides is allowed. Where the text leaves room, every reading is followed and the answer is the set of results.
//! Deliberately absent: time, and whether a plugin enforces anything at all.

use std::net::IpAddr;
use std::sync::Arc;

use truename_model::object::{Meta, ObjectRef};
pub use truename_model::reach::Decision;

use serde_json::Value;

use super::admin::{AdminPeer, AdminPolicy, AdminRule, Api, Tier};
use super::cidr::Cidr;
use super::flow::{Direction, Flow, Nodes, Party, PodFacts, reference};
use super::network::{NetworkPolicy, Peer, Rule, selects_party};
use super::ports;
use super::why::{Effect, Match, Reason, Why};

/// A policy as the evaluator holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Kind, namespace, name and version.
    pub object: Arc<ObjectRef>,
    /// What it says.
    pub content: Content,
}

/// What a policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// `networking.k8s.io` NetworkPolicy.
    Network(NetworkPolicy),
    /// A cluster-wide policy.
    Admin(AdminPolicy),
    /// A network plugin's own kind.
    Foreign,
    /// Not valid, and why.
    Malformed(String),
}

/// Kinds of network plugins that are no policies themselves, or enforce nothing.
const INERT: [&str; 2] = ["GlobalNetworkSet", "NetworkSet"];

impl Policy {
    /// Reads a policy object; `None` for kinds that decide nothing.
    #[must_use]
    pub fn read(kind: &str, meta: &Meta, spec: &Value) -> Option<Self> {
        if INERT.contains(&kind) {
            return None;
        }
        let content = match kind {
            "NetworkPolicy" => NetworkPolicy::read(spec).map(Content::Network),
            kind => match AdminPolicy::read(kind, spec) {
                Some(read) => read.map(Content::Admin),
                None => Ok(Content::Foreign),
            },
        };
        let object = ObjectRef {
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            ..reference(kind, &meta.namespace, &meta.name)
        };
        let object = Arc::new(object);
        Some(Self { object, content: content.unwrap_or_else(Content::Malformed) })
    }

    /// True if it can concern pods of this namespace.
    #[must_use]
    pub fn concerns(&self, namespace: &str) -> bool {
        self.object.namespace.is_empty() || self.object.namespace == namespace
    }
}

/// What may come of a flow or of a tier: a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outcomes(u8);

const NOTHING: Outcomes = Outcomes(0);
const ALLOW: Outcomes = Outcomes(1);
const DENY: Outcomes = Outcomes(2);
const PASS: Outcomes = Outcomes(4);
const NONE: Outcomes = Outcomes(8);

impl Outcomes {
    fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn of(effect: Effect) -> Self {
        match effect {
            Effect::Allow => ALLOW,
            Effect::Deny | Effect::Isolate => DENY,
            Effect::Pass => PASS,
        }
    }
}

fn decision(outcomes: Outcomes) -> Decision {
    match (outcomes.has(ALLOW), outcomes.has(DENY)) {
        (true, false) => Decision::Allowed,
        (false, true) => Decision::Denied,
        _ => Decision::Unknown,
    }
}

/// One direction of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// The decision of this direction alone.
    pub decision: Decision,
    /// Rules and policies that decide or may decide, in the order in which they were found.
    pub reasons: Vec<Reason>,
    /// What decides where no rule does.
    pub because: Vec<&'static str>,
    /// What is left open.
    pub open: Vec<Why>,
}

/// The decision on a flow and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// The decision.
    pub decision: Decision,
    /// Seen from the source.
    pub egress: Side,
    /// Seen from the destination.
    pub ingress: Side,
}

impl Ruling {
    /// Rules and policies that bear the decision: of a denial, those of the directions that deny.
    #[must_use]
    pub fn reasons(&self) -> Vec<&Reason> {
        let sides = [&self.egress, &self.ingress];
        let bears = |side: &&&Side| self.decision != Decision::Denied || side.decision == Decision::Denied;
        sides.iter().filter(bears).flat_map(|side| &side.reasons).collect()
    }

    /// What is left open, in both directions.
    #[must_use]
    pub fn open(&self) -> Vec<&Why> {
        let mut open: Vec<&Why> = self.egress.open.iter().chain(&self.ingress.open).collect();
        open.sort_unstable();
        open.dedup();
        open
    }
}

/// Decides on a flow.
#[must_use]
pub fn decide(policies: &[&Policy], nodes: Nodes<'_>, flow: &Flow<'_>) -> Ruling {
    let egress = both_readings(policies, nodes, flow, Direction::Egress);
    let ingress = both_readings(policies, nodes, flow, Direction::Ingress);
    let decision = match (egress.decision, ingress.decision) {
        (Decision::Denied, _) | (_, Decision::Denied) => Decision::Denied,
        (Decision::Allowed, Decision::Allowed) => Decision::Allowed,
        _ => Decision::Unknown,
    };
    Ruling { decision, egress, ingress }
}

/// "NetworkPolicy behaviour for hostNetwork pods is undefined, but it should be limited to 2 possibilities": the plugin
/// can tell their traffic from the node's, or it cannot. Both are followed.
fn both_readings(policies: &[&Policy], nodes: Nodes<'_>, flow: &Flow<'_>, direction: Direction) -> Side {
    let mut eye = Eye::new(policies, nodes, flow, direction);
    let mut may = eye.side();
    if let Some(pod) = [flow.source, flow.destination]
        .iter()
        .find_map(|party| party.pod().filter(|pod| pod.pod.host_network))
    {
        eye.tells_host_pods = false;
        let other = eye.side();
        if other != may {
            eye.open.push(Why::HostNetwork(pod.key()));
        }
        may = may.with(other);
    }
    let decision = self::decision(may);
    let open = if decision == Decision::Unknown { eye.open } else { Vec::new() };
    let mut side = Side { decision, reasons: eye.reasons, because: eye.because, open };
    side.reasons.dedup();
    side.because.dedup();
    side.open.sort_unstable();
    side.open.dedup();
    side
}

/// One direction of one flow under evaluation.
struct Eye<'a> {
    policies: &'a [&'a Policy],
    nodes: Nodes<'a>,
    flow: &'a Flow<'a>,
    direction: Direction,
    /// The plugin sees pods on the host network as pods.
    tells_host_pods: bool,
    reasons: Vec<Reason>,
    because: Vec<&'static str>,
    open: Vec<Why>,
}

impl<'a> Eye<'a> {
    fn new(policies: &'a [&'a Policy], nodes: Nodes<'a>, flow: &'a Flow<'a>, direction: Direction) -> Self {
        let (reasons, because, open) = (Vec::new(), Vec::new(), Vec::new());
        Self { policies, nodes, flow, direction, tells_host_pods: true, reasons, because, open }
    }

    fn subject(&self) -> &'a Party<'a> {
        match self.direction {
            Direction::Ingress => &self.flow.destination,
            Direction::Egress => &self.flow.source,
        }
    }

    /// The other end, as NetworkPolicy sees it.
    fn peer(&self) -> Party<'a> {
        let peer = match self.direction {
            Direction::Ingress => self.flow.source,
            Direction::Egress => self.flow.destination,
        };
        if peer.on_host() && !self.tells_host_pods { Party::Address } else { peer }
    }

    fn peer_ip(&self) -> Option<IpAddr> {
        match self.direction {
            Direction::Ingress => self.flow.source_ip,
            Direction::Egress => self.flow.destination_ip,
        }
    }

    /// What may come of this direction: [`ALLOW`], [`DENY`] or both.
    fn side(&mut self) -> Outcomes {
        let Some(pod) = self.subject().pod() else {
            self.because.push("no policy governs what is no pod");
            return ALLOW;
        };
        if pod.pod.host_network && !self.tells_host_pods {
            self.because.push("its traffic is that of its node");
            return ALLOW;
        }
        let mut may = self.through_tiers(pod);
        for policy in self.policies.iter().filter(|policy| policy.concerns(pod.namespace)) {
            let why = match &policy.content {
                Content::Foreign => Why::Foreign(Arc::clone(&policy.object)),
                Content::Malformed(what) => Why::Malformed(Arc::clone(&policy.object), what.clone()),
                Content::Network(_) | Content::Admin(_) => continue,
            };
            let malformed = matches!(policy.content, Content::Malformed(_));
            let adds_only =
                malformed && policy.object.kind == "NetworkPolicy" && may == ALLOW && self.allowed_by_rule();
            if !adds_only {
                may = ALLOW.with(DENY);
                self.open.push(why);
            }
        }
        may
    }

    /// NetworkPolicies are additive: what a rule of one allows, no other of them can forbid.
    fn allowed_by_rule(&self) -> bool {
        let allows =
            |reason: &Reason| reason.policy.kind == "NetworkPolicy" && reason.effect == Effect::Allow;
        self.reasons.iter().any(allows)
    }

    fn through_tiers(&mut self, pod: &PodFacts<'_>) -> Outcomes {
        let admin = self.admin(Tier::Admin, pod);
        let mut may = admin.without(PASS.with(NONE));
        if admin.has(PASS.with(NONE)) {
            let network = self.network(pod);
            may = may.with(network.without(NONE));
            if network.has(NONE) {
                let baseline = self.admin(Tier::Baseline, pod);
                may = may.with(baseline.without(PASS.with(NONE)));
                if baseline.has(PASS.with(NONE)) {
                    self.because.push("no policy selects the pod");
                    may = may.with(ALLOW);
                }
            }
        }
        may
    }

    fn is_itself(&self) -> bool {
        match (&self.flow.source, &self.flow.destination) {
            (Party::Pod(source), Party::Pod(destination)) => source.is(destination),
            _ => false,
        }
    }

    /// One cluster-wide tier, written in one API or both.
    fn admin(&mut self, tier: Tier, pod: &PodFacts<'_>) -> Outcomes {
        if pod.pod.host_network {
            return NONE;
        }
        let mut first = self.ordered(tier, Api::Alpha1, pod);
        if first.has(DENY) && self.is_itself() {
            // Of AdminNetworkPolicy nothing is said.
            self.open.push(Why::OwnPod(pod.key()));
            first = first.with(ALLOW);
        }
        // "A Pod connecting to its own Pod IP is not subject to CNP", through a Service it is.
        let exempt = self.is_itself() && self.flow.service.is_none();
        let second = if exempt { NONE } else { self.ordered(tier, Api::Alpha2, pod) };
        let then = |a: Outcomes, b: Outcomes| if a.has(NONE) { a.without(NONE).with(b) } else { a };
        let (one, other) = (then(first, second), then(second, first));
        if one != other {
            self.open.push(Why::TwoApis);
        }
        one.with(other)
    }

    /// The policies of a tier in order of priority: the first rule that matches decides.
    fn ordered(&mut self, tier: Tier, api: Api, pod: &PodFacts<'_>) -> Outcomes {
        let mut policies: Vec<(&'a Arc<ObjectRef>, &'a AdminPolicy)> = self
            .policies
            .iter()
            .filter_map(|policy| match &policy.content {
                Content::Admin(admin) if admin.tier == tier && admin.api == api => {
                    Some((&policy.object, admin))
                }
                _ => None,
            })
            .collect();
        policies.sort_by_key(|(object, admin)| (admin.priority, *object));
        let mut may = NOTHING;
        for group in policies.chunk_by(|(_, a), (_, b)| a.priority == b.priority) {
            let mut of_group = NOTHING;
            let mut missed = true;
            for (object, admin) in group {
                let one = self.first_rule(object, admin, pod);
                of_group = of_group.with(one.without(NONE));
                missed &= one.has(NONE);
            }
            // "the implementation can apply any of the matching policies"
            if of_group.0.count_ones() > 1 && group.len() > 1 {
                self.open.push(Why::SamePriority(group[0].1.priority));
            }
            may = may.with(of_group);
            if !missed {
                return may;
            }
        }
        may.with(NONE)
    }

    fn first_rule(&mut self, object: &Arc<ObjectRef>, policy: &AdminPolicy, pod: &PodFacts<'_>) -> Outcomes {
        let mut may = NOTHING;
        match policy.subject.select(pod) {
            Match::No => return NONE,
            Match::Yes => {}
            Match::Open(why) => {
                self.open.push(why);
                may = NONE;
            }
        }
        for (index, rule) in policy.rules(self.direction).iter().enumerate() {
            let (matched, action) = self.admin_rule(object, index, rule);
            if matched != Match::No {
                may = may.with(Outcomes::of(action));
                self.note(object, Some(index), action);
            }
            match matched {
                Match::Yes => return may,
                Match::No => {}
                Match::Open(why) => self.open.push(why),
            }
        }
        may.with(NONE)
    }

    /// Whether a rule matches, and what it does. A peer without a field: "For Allow rules: treat the rule as matching
    /// no traffic. For Deny and Pass rules: treat the rule as a Deny all rule."
    fn admin_rule(&self, object: &Arc<ObjectRef>, index: usize, rule: &AdminRule) -> (Match, Effect) {
        if rule.peers.contains(&AdminPeer::Nothing) {
            return match rule.action {
                Effect::Allow => (Match::No, Effect::Allow),
                _ => (Match::Yes, Effect::Deny),
            };
        }
        let port = self.port(&rule.ports);
        let peers = rule.peers.iter().map(|peer| self.admin_peer(object, index, peer, &port, rule));
        (Match::any(peers), rule.action)
    }

    fn admin_peer(
        &self,
        object: &Arc<ObjectRef>,
        index: usize,
        peer: &AdminPeer,
        port: &Match,
        rule: &AdminRule,
    ) -> Match {
        let party = match self.direction {
            Direction::Ingress => &self.flow.source,
            Direction::Egress => &self.flow.destination,
        };
        match peer {
            AdminPeer::Pods(pods) => {
                port.clone().and(|| party.pod().map_or(Match::No, |pod| pods.select(pod)))
            }
            AdminPeer::Nodes(nodes) => port.clone().and(|| self.among_nodes(nodes, party)),
            AdminPeer::Networks(blocks) => self.addressed(
                object,
                index,
                &|ip| blocks.iter().any(|block| block.contains(ip)),
                &rule.ports,
            ),
            AdminPeer::DomainNames => {
                port.clone().and(|| Match::Open(Why::DomainNames(Arc::clone(object), index)))
            }
            AdminPeer::Nothing => Match::No,
            AdminPeer::Unknown(field) => {
                Match::Open(Why::UnknownField(Arc::clone(object), index, field.clone()))
            }
        }
    }

    fn among_nodes(&self, selector: &super::selector::Selector, party: &Party<'_>) -> Match {
        let Some(ip) = self.peer_ip() else { return Match::Open(Why::NoAddress(describe(party))) };
        let hit = self.nodes.known.iter().find(|node| node.addresses.contains(&ip));
        match hit {
            Some(node) => selector.matches(node.labels).into(),
            None if self.nodes.all || (party.pod().is_some() && !party.on_host()) => Match::No,
            None => Match::Open(Why::Nodes),
        }
    }

    /// The NetworkPolicies that select the pod.
    fn network(&mut self, pod: &PodFacts<'_>) -> Outcomes {
        let mut selecting: Vec<(&'a Arc<ObjectRef>, &'a [Rule])> = Vec::new();
        for policy in self.policies {
            if let Content::Network(network) = &policy.content
                && policy.object.namespace == pod.namespace
                && network.pods.matches(pod.labels)
                && let Some(rules) = network.rules(self.direction)
            {
                selecting.push((&policy.object, rules));
            }
        }
        if selecting.is_empty() {
            return NONE;
        }
        if self.is_itself() {
            self.because.push("a pod cannot block access to itself");
            return ALLOW;
        }
        let from_node = self.is_own_node(pod);
        if from_node && self.direction == Direction::Ingress && self.peer().pod().is_none() {
            self.because.push("the source is the pod's own node");
            return ALLOW;
        }
        let may = self.union(&selecting);
        if may == DENY && from_node {
            self.open.push(Why::OwnNode(pod.key()));
            return ALLOW.with(DENY);
        }
        may
    }

    /// Whether the other end is the node that the pod runs on.
    fn is_own_node(&self, pod: &PodFacts<'_>) -> bool {
        let Some(ip) = self.peer_ip() else { return false };
        let node = self.nodes.known.iter().find(|node| node.name == pod.pod.node_name);
        pod.pod.host_ip == Some(ip) || node.is_some_and(|node| node.addresses.contains(&ip))
    }

    /// Rules of all selecting policies are one union.
    fn union(&mut self, selecting: &[(&'a Arc<ObjectRef>, &'a [Rule])]) -> Outcomes {
        let before = self.reasons.len();
        let (mut allowed, mut open) = (false, false);
        for (object, rules) in selecting {
            for (index, rule) in rules.iter().enumerate() {
                match self.rule(object, index, rule) {
                    Match::No => continue,
                    Match::Yes => allowed = true,
                    Match::Open(why) => {
                        open = true;
                        self.open.push(why);
                    }
                }
                self.note(object, Some(index), Effect::Allow);
            }
        }
        if allowed {
            return ALLOW;
        }
        if !open {
            self.reasons.truncate(before);
        }
        selecting.iter().for_each(|(object, _)| self.note(object, None, Effect::Isolate));
        if open { ALLOW.with(DENY) } else { DENY }
    }

    /// "The traffic must match both ports and from"; items of each list are ORed, an empty list restricts nothing.
    fn rule(&self, object: &Arc<ObjectRef>, index: usize, rule: &Rule) -> Match {
        let port = self.port(&rule.ports);
        if rule.peers.is_empty() {
            return port;
        }
        let party = self.peer();
        Match::any(rule.peers.iter().map(|peer| match peer {
            Peer::Pods { .. } => port.clone().and(|| selects_party(peer, &object.namespace, &party)),
            Peer::Block { cidr, except } => {
                self.addressed(object, index, &|ip| in_block(cidr, except, ip), &rule.ports)
            }
        }))
    }

    fn port(&self, list: &[ports::Ports]) -> Match {
        ports::any(list, &self.destination(), self.flow.protocol, self.flow.port)
    }

    fn destination(&self) -> Party<'a> {
        let destination = self.flow.destination;
        if destination.on_host() && !self.tells_host_pods { Party::Address } else { destination }
    }

    /// A block of addresses. Where the address of a Service is rewritten on the way, the API leaves open whether the
    /// policy sees it before or after: only what both give is certain.
    fn addressed(
        &self,
        object: &Arc<ObjectRef>,
        index: usize,
        within: &dyn Fn(IpAddr) -> bool,
        list: &[ports::Ports],
    ) -> Match {
        let port = self.port(list);
        let after = match self.peer_ip() {
            Some(ip) => port.and(|| within(ip).into()),
            None => port.and(|| Match::Open(Why::NoAddress(describe(&self.peer())))),
        };
        let (Direction::Egress, Some((address, service_port))) = (self.direction, self.flow.service) else {
            return after;
        };
        let before = ports::any(list, &Party::Address, self.flow.protocol, service_port);
        let before = before.and(|| within(address).into());
        if before == after { after } else { Match::Open(Why::Rewritten(Arc::clone(object), index)) }
    }

    fn note(&mut self, object: &Arc<ObjectRef>, rule: Option<usize>, effect: Effect) {
        self.reasons.push(Reason { policy: Arc::clone(object), direction: self.direction, rule, effect });
    }
}

fn in_block(cidr: &Cidr, except: &[Cidr], ip: IpAddr) -> bool {
    cidr.contains(ip) && !except.iter().any(|inner| inner.contains(ip))
}

fn describe(party: &Party<'_>) -> String {
    party.pod().map_or_else(|| "the other end".to_owned(), PodFacts::key)
}
