//! The schemes of np-guard's network-config-analyzer: sets of policies and queries with the number that each must give.
//!
//! Enters: the folder `tests` of its repository; leaves: how each query fared. A query is answered where it asks which
//! connections sets of policies allow; those that ask about the policies' text are left out, each with its reason. What
//! the numbers mean is told by its documentation (docs/SchemeFileFormat.md, "Returned value for each sub-query") and the
//! names of the cases: in `permits`, `forbids` and `containment` the first set is the one that the others are held against.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use truename_cluster::policy::Policy;
use truename_sources::kube::text::yaml;

use super::golden;
use super::relation::{Grid, Relation, Specs, read, with_types};
use super::topology::{Topology, objects};
use crate::conformance::reasons::reason;
use crate::suite::SuiteResult;

/// Name of the suite.
const SUITE: &str = "network-config-analyzer";

/// Compares every query of every scheme below `dir`; a missing folder gives no cases.
#[must_use]
pub fn run(dir: &Path) -> SuiteResult {
    let mut result = SuiteResult::new(SUITE);
    let mut schemes = Vec::new();
    find(dir, &mut schemes);
    schemes.sort();
    for path in schemes {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let Ok(scheme) = yaml(text.as_bytes()) else { continue };
        let of = Scheme { dir: path.parent().unwrap_or(dir).to_path_buf(), scheme };
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let queries = of.scheme["queries"].as_array().cloned().unwrap_or_default();
        for (index, query) in queries.iter().enumerate() {
            let fields = query.as_object().into_iter().flatten();
            let asked = fields.filter(|(_, value)| value.is_array()).map(|(kind, sets)| (kind.trim(), sets));
            for (kind, sets) in asked {
                let name = query["name"].as_str().unwrap_or_default();
                let case = format!("{stem} {index} {name} {kind}");
                judge(&of, query, kind, sets, &case, &mut result);
            }
        }
    }
    result
}

fn find(dir: &Path, out: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            find(&path, out);
        } else if path.to_string_lossy().contains("-scheme")
            && path.extension().is_some_and(|end| end == "yaml")
        {
            out.push(path);
        }
    }
}

fn judge(of: &Scheme, query: &Value, kind: &str, sets: &Value, case: &str, result: &mut SuiteResult) {
    let names: Vec<&str> = sets.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match answer(of, query, kind, &names) {
        Err(why) => result.differs(case, Some(why)),
        Ok(Found::Map(true)) => result.agrees(),
        Ok(Found::Map(false)) => result.differs(case, reason(SUITE, case)),
        Ok(Found::Count(count)) => match query["expected"].as_u64() {
            None => result.differs(case, Some("the golden states no number")),
            Some(expected) if expected == count => result.agrees(),
            Some(expected) => {
                let shown = format!("{case}: golden {expected}, ours {count}");
                result.differs(&shown, reason(SUITE, case));
            }
        },
    }
}

enum Found {
    Count(u64),
    Map(bool),
}

/// The answer to a query, or why it is left out.
fn answer(of: &Scheme, query: &Value, kind: &str, names: &[&str]) -> Result<Found, &'static str> {
    let left_out = match kind {
        "emptiness" => Some("asks which selectors select no pod: a question about the text of policies"),
        "sanity" => {
            Some("counts selectors without pods beside redundancies: a question about the text of policies")
        }
        _ => None,
    };
    if let Some(why) = left_out {
        return Err(why);
    }
    let sets: Result<Vec<Set>, _> = names.iter().map(|name| of.set(name)).collect();
    let sets = sets?;
    if let Some(why) = sets.iter().find_map(|set| set.topology.foreign) {
        return Err(why);
    }
    if sets.windows(2).any(|pair| !pair[0].topology.is_like(&pair[1].topology)) {
        return Err(
            "its sets have different pods; the numbers then count categories of pods that came and went",
        );
    }
    if kind == "connectivityMap" {
        return map(of, query, &sets);
    }
    if kind == "allCaptured" {
        return Ok(Found::Count(sets.iter().map(uncaptured).sum()));
    }
    let policies: Vec<Policy> = sets.iter().flat_map(|set| read(&set.specs, true)).collect();
    let merged: Vec<Set> =
        sets.iter().map(|set| Set { topology: set.topology.merged(&policies), ..set.clone() }).collect();
    let compared = Compared::new(&merged)?;
    let count = match kind {
        "equivalence" => compared.pairs(|a, b| u64::from(a.allowed != b.allowed)),
        "semanticDiff" => compared.pairs(Compared::categories),
        "twoWayContainment" => compared.two_way(),
        "containment" => compared.against_first(|first, other| other.allowed.is_subset(&first.allowed)),
        "permits" => compared.against_first(|first, other| !other.explicit.is_subset(&first.allowed)),
        "forbids" => compared.against_first(|first, other| !other.explicit.is_disjoint(&first.allowed)),
        "interferes" => compared.against_first(|first, other| !other.explicit.is_subset(&first.explicit)),
        "pairwiseInterferes" => compared.interfering(names),
        "strongEquivalence" => compared.strong()?,
        "vacuity" => compared.vacuous()?,
        "redundancy" => compared.redundant()?,
        _ => return Err("a query that is not known"),
    };
    Ok(Found::Count(count))
}

/// A scheme file.
struct Scheme {
    dir: PathBuf,
    scheme: Value,
}

/// A set of policies over pods.
#[derive(Clone)]
struct Set {
    topology: Topology,
    specs: Specs,
}

impl Scheme {
    /// The set of a name, or one policy of it (`set/namespace/policy`, with its kind in between at times).
    fn set(&self, name: &str) -> Result<Set, &'static str> {
        let (base, policy) = name.split_once('/').map_or((name, None), |(base, rest)| (base, Some(rest)));
        let configs = self.scheme["networkConfigList"].as_array().into_iter().flatten();
        let config = configs
            .into_iter()
            .find(|config| config["name"] == base)
            .ok_or("a set that the scheme does not define")?;
        let policies = self.paths(&config["networkPolicyList"])?;
        let mut own = self.paths(&config["resourceList"])?;
        own.extend(self.paths(&config["podList"])?);
        own.extend(self.paths(&config["namespaceList"])?);
        let missing = "its inputs are not in the corpus";
        let mut read = objects(&own).ok_or(missing)?;
        let has = |read: &[Value], kind: &str| read.iter().any(|object| object["kind"] == kind);
        let global_pods =
            [self.paths(&self.scheme["podList"])?, self.paths(&self.scheme["resourceList"])?].concat();
        let no_pods = Topology::of(&read).pods.is_empty();
        if no_pods {
            read.extend(
                objects(&global_pods)
                    .ok_or(missing)?
                    .into_iter()
                    .filter(|object| object["kind"] != "Namespace"),
            );
        }
        if !has(&read, "Namespace") {
            let lists =
                [self.paths(&self.scheme["namespaceList"])?, self.paths(&self.scheme["resourceList"])?]
                    .concat();
            read.extend(
                objects(&lists).ok_or(missing)?.into_iter().filter(|object| object["kind"] == "Namespace"),
            );
        }
        if !policies.is_empty() {
            // Folders of pods may hold policies too; those that are listed are meant.
            read.retain(|object| object["kind"] != "NetworkPolicy");
        }
        read.extend(objects(&policies).ok_or(missing)?);
        let topology = Topology::of(&read);
        let mut specs = topology.policies.clone();
        if let Some(policy) = policy {
            let mut parts: Vec<&str> = policy.split('/').collect();
            if parts.len() == 3 {
                parts.remove(0);
            }
            specs.retain(|(namespace, name), _| parts == [namespace.as_str(), name.as_str()]);
        }
        Ok(Set { topology, specs })
    }

    fn paths(&self, value: &Value) -> Result<Vec<PathBuf>, &'static str> {
        let one = value
            .as_str()
            .into_iter()
            .chain(value.as_array().into_iter().flatten().filter_map(Value::as_str));
        let texts: Vec<&str> = one.filter(|text| !text.is_empty()).collect();
        if texts.iter().any(|text| text.starts_with("http") || *text == "k8s") {
            return Err("its inputs lie at a URL or in a live cluster");
        }
        Ok(texts.into_iter().map(|text| self.dir.join(text.trim_end_matches("/**"))).collect())
    }
}

/// Relations of sets over one grid.
struct Compared<'s> {
    sets: &'s [Set],
    grid: Grid,
    relations: Vec<Relation>,
}

impl<'s> Compared<'s> {
    fn new(sets: &'s [Set]) -> Result<Self, &'static str> {
        let first = sets.first().ok_or("a query without sets")?;
        let specs: Vec<&Specs> = sets.iter().map(|set| &set.specs).collect();
        let grid = Grid::of(&first.topology, &specs);
        let relations = sets.iter().map(|set| of(set, &set.specs, &grid)).collect::<Result<_, _>>()?;
        Ok(Self { sets, grid, relations })
    }

    fn pairs(&self, of: impl Fn(&Relation, &Relation) -> u64) -> u64 {
        let of = &of;
        let each = self.relations.iter().enumerate();
        each.flat_map(|(at, a)| self.relations[at + 1..].iter().map(move |b| of(a, b))).sum()
    }

    fn against_first(&self, of: impl Fn(&Relation, &Relation) -> bool) -> u64 {
        let Some((first, others)) = self.relations.split_first() else { return 0 };
        others.iter().map(|other| u64::from(of(first, other))).sum()
    }

    /// Added and removed connections, between pods and with addresses: up to four categories.
    fn categories(a: &Relation, b: &Relation) -> u64 {
        use super::relation::Place;
        let outside = |place: &Place| matches!(place, Place::Outside(_));
        let mut seen = std::collections::BTreeSet::new();
        for (from, to, ..) in a.allowed.difference(&b.allowed) {
            seen.insert((false, outside(from) || outside(to)));
        }
        for (from, to, ..) in b.allowed.difference(&a.allowed) {
            seen.insert((true, outside(from) || outside(to)));
        }
        seen.len() as u64
    }

    /// 3: equal, 2: the first within the second, 1: the other way round, 0: neither. The same policies give 0 as well.
    fn two_way(&self) -> u64 {
        let each = self.relations.iter().zip(self.sets).enumerate();
        each.flat_map(|(at, (a, one))| {
            self.relations[at + 1..].iter().zip(&self.sets[at + 1..]).map(move |(b, other)| {
                let (within, around) = (a.allowed.is_subset(&b.allowed), b.allowed.is_subset(&a.allowed));
                if one.specs == other.specs { 0 } else { u64::from(around) + 2 * u64::from(within) }
            })
        })
        .sum()
    }

    fn interfering(&self, names: &[&str]) -> u64 {
        let mut count = 0;
        for (at, a) in self.relations.iter().enumerate() {
            for (other, b) in self.relations.iter().enumerate() {
                count += u64::from(names[at] != names[other] && !a.explicit.is_subset(&b.explicit));
            }
        }
        count
    }

    /// Pairs of sets whose policies have not the same names, or not each the same meaning.
    fn strong(&self) -> Result<u64, &'static str> {
        let mut count = 0;
        for (at, a) in self.sets.iter().enumerate() {
            for b in &self.sets[at + 1..] {
                count += u64::from(!self.policy_by_policy(a, b)?);
            }
        }
        Ok(count)
    }

    fn policy_by_policy(&self, a: &Set, b: &Set) -> Result<bool, &'static str> {
        if a.specs == b.specs {
            return Ok(true);
        }
        if !a.specs.keys().eq(b.specs.keys()) {
            return Ok(false);
        }
        for (key, spec) in &a.specs {
            let alone = |spec: &Value| BTreeMap::from([(key.clone(), spec.clone())]);
            let (one, other) = (of(a, &alone(spec), &self.grid)?, of(b, &alone(&b.specs[key]), &self.grid)?);
            if one.allowed != other.allowed {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn vacuous(&self) -> Result<u64, &'static str> {
        let mut count = 0;
        for (set, relation) in self.sets.iter().zip(&self.relations) {
            count += u64::from(of(set, &Specs::new(), &self.grid)?.allowed == relation.allowed);
        }
        Ok(count)
    }

    /// Policies that can be taken away without a change, and rules of the others.
    fn redundant(&self) -> Result<u64, &'static str> {
        let mut count = 0;
        for (set, relation) in self.sets.iter().zip(&self.relations) {
            for (key, spec) in &set.specs {
                let mut less = set.specs.clone();
                less.remove(key);
                let whole = set.specs.len() > 1 && of(set, &less, &self.grid)?.allowed == relation.allowed;
                count += if whole { 1 } else { self.redundant_rules(set, relation, key, spec)? };
            }
        }
        Ok(count)
    }

    fn redundant_rules(
        &self,
        set: &Set,
        relation: &Relation,
        key: &(String, String),
        spec: &Value,
    ) -> Result<u64, &'static str> {
        let mut count = 0;
        for field in ["ingress", "egress"] {
            let rules = spec[field].as_array().cloned().unwrap_or_default();
            for rule in &rules {
                let left: Vec<Value> = rules.iter().filter(|other| *other != rule).cloned().collect();
                let twice = left.len() + 1 < rules.len();
                let mut less = with_types(spec);
                less[field] = left.into();
                let mut specs = set.specs.clone();
                specs.insert(key.clone(), less);
                count += u64::from(twice || of(set, &specs, &self.grid)?.allowed == relation.allowed);
            }
        }
        Ok(count)
    }
}

fn of(set: &Set, specs: &Specs, grid: &Grid) -> Result<Relation, &'static str> {
    let relation = Relation::of(&set.topology, specs, grid);
    if relation.unknown > 0 { Err("its policies are not valid: the answer is unknown") } else { Ok(relation) }
}

/// Workloads that no policy selects, counted by direction; without any policy the pods.
fn uncaptured(set: &Set) -> u64 {
    use truename_cluster::policy::{Nodes, Protocol, decide};

    use super::cast::{End, flow};
    if set.specs.is_empty() {
        return set.topology.pods.len() as u64;
    }
    let policies = read(&set.specs, true);
    let policies: Vec<&Policy> = policies.iter().collect();
    let outside = End::Outside(std::net::IpAddr::from([192, 0, 2, 1]));
    let mut free = std::collections::BTreeSet::new();
    for pod in &set.topology.pods {
        let inside = End::Pod(&set.topology.kinds[pod.kind], None);
        let judge =
            |from, to| decide(&policies, Nodes { known: &[], all: true }, &flow(from, to, Protocol::Tcp, 1));
        let unselected = |because: &[&str]| because.contains(&"no policy selects the pod");
        if unselected(&judge(outside, inside).ingress.because) {
            free.insert((&pod.workload, false));
        }
        if unselected(&judge(inside, outside).egress.because) {
            free.insert((&pod.workload, true));
        }
    }
    free.len() as u64
}

/// The printed map of connections, where there is one.
fn map(of_scheme: &Scheme, query: &Value, sets: &[Set]) -> Result<Found, &'static str> {
    let Some(path) = query["expectedOutput"].as_str() else {
        return Err("the golden of a connectivity map without a printed map is always 0");
    };
    let text = std::fs::read_to_string(of_scheme.dir.join(path))
        .map_err(|_| "the printed map is not in the corpus")?;
    let mut maps: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.starts_with("final ") || maps.is_empty() {
            maps.push(String::new());
        }
        if let Some(last) = maps.last_mut().filter(|_| !line.starts_with("final ")) {
            last.push_str(line);
            last.push('\n');
        }
    }
    if maps.len() != sets.len() {
        return Err("the printed map is of another form");
    }
    let compared = Compared::new(sets)?;
    let mut same = true;
    for ((set, relation), text) in sets.iter().zip(&compared.relations).zip(&maps) {
        let mut golden =
            golden::read(text, &set.topology, &compared.grid).ok_or("the printed map is of another form")?;
        let mut ours = relation.allowed.clone();
        if text.contains(" => ") {
            // Maps by workload do not list what a workload may send to itself.
            golden.retain(|(from, to, ..)| from != to);
            ours.retain(|(from, to, ..)| from != to);
        }
        same &= golden == ours;
    }
    Ok(Found::Map(same))
}
