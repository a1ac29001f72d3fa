//! The walk over versions of the ConfigMaps of DNS: what each is compared with, and what is only known to have been written.
//!
//! Enters: ConfigMap steps and writes without a state; leaves: H08 drafts with the versions and lines that they are about.
//! Deliberately absent: the weights of changed lines (see `corefile`) and of lines that stood there (see `standing`).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use truename_cluster::history::Kind;
use truename_model::object::ConfigMap;
use truename_model::{ChangeKind, Interval, Nanos, Object};

use super::corefile::{Targets, Version};
use super::log::{Key, Step};
use super::{Walk, corefile, log, standing};
use crate::facts::Draft;
use crate::rules::bounded::EVIDENCE_MAX;

/// Patches that are put into the state before them; each costs a reading of the whole text, however short it is. Those
/// beyond are told as writes whose content is not known.
const PATCHES_MAX: u32 = 1_000;
/// A watch shows a version within this time of the request that made it, nanoseconds.
const SAME_WRITE: i64 = 5_000_000_000;

impl Walk<'_> {
    pub(super) fn config(&mut self, step: &Step) {
        let Object::ConfigMap(map) = &*step.object else { return };
        if step.kind == ChangeKind::Deleted {
            return;
        }
        let mut step = step.clone();
        // A watch shows what was written, the audit log by whom.
        if let Some([one]) = self.unseen.get(&step.key()).map(Vec::as_slice)
            && step.actor.is_none()
            && step.kind == ChangeKind::Updated
            && step.at.zip(one.at).is_some_and(|(shown, asked)| shown.since(asked).abs() <= SAME_WRITE)
        {
            step.actor = one.actor.clone();
            step.records.extend(one.records.iter().copied());
            self.unseen.remove(&step.key());
        }
        self.maps.insert(step.key(), map.clone());
        let version = Version::new(&step, map);
        self.version(&version);
        if step.kind != ChangeKind::Updated {
            self.firsts.entry(step.key()).or_insert_with(|| version.clone());
        }
        self.versions.push(version);
    }

    /// Compares a version with the approved one, which it may become.
    fn version(&mut self, version: &Version) {
        let key = version.step.key();
        let targets = Targets::new(self.zone.as_ref(), self.ever.services.keys(), self.cx.profile);
        let found = match self.approved.get(&key) {
            Some(approved) => corefile::tampered(&self.metas.h08, approved, version, &targets),
            None => corefile::tampered_unseen(&self.metas.h08, version, &targets),
        };
        let name = version.step.meta.resource_version.clone();
        // The request and the version that it made are one change.
        let again = self.told.get(&key).filter(|(told, _)| told.is_same(version));
        match (found, again) {
            (Some(_), Some((told, at))) if version.step.actor.is_none() && told.step.actor.is_some() => {
                self.tampered
                    .get_mut(*at)
                    .into_iter()
                    .for_each(|(_, versions, _)| versions.push(name.clone()));
            }
            (Some((draft, lines)), _) => {
                self.told.insert(key, (version.clone(), self.tampered.len()));
                self.tampered.push((draft, vec![name], lines));
            }
            (None, _) => drop(self.approved.insert(key, version.clone())),
        }
    }

    /// A write of which no state is shown: what its request says goes into the state before.
    pub(super) fn written(&mut self, step: &Step, body: &serde_json::Value) {
        let key = step.key();
        let sent = body.get("data").and_then(serde_json::Value::as_object);
        let Some(sent) = sent.filter(|_| self.patches < PATCHES_MAX) else {
            self.unseen.entry(key).or_default().push(step.clone());
            return;
        };
        self.patches += 1;
        let mut map = self.maps.get(&key).cloned().unwrap_or(ConfigMap { data: Default::default() });
        for (item, text) in sent {
            match text.as_str() {
                Some(text) => drop(map.data.insert(item.clone(), text.to_owned())),
                None => drop(map.data.remove(item)),
            }
        }
        let version = Version::new(step, &map);
        if let Some(known) = self.maps.get_mut(&key) {
            *known = map;
            self.version(&version);
            return;
        }
        // The rest of the map is not known: it can be no measure for the next version.
        let targets = Targets::new(self.zone.as_ref(), self.ever.services.keys(), self.cx.profile);
        if let Some((draft, lines)) = corefile::tampered_unseen(&self.metas.h08, &version, &targets) {
            self.tampered.push((draft, vec![step.meta.resource_version.clone()], lines));
        }
    }

    /// What stood in a map from the start, and writes that nobody saw, once all Services are known.
    pub(super) fn standing(&mut self) {
        let targets = Targets::new(self.zone.as_ref(), self.ever.services.keys(), self.cx.profile);
        let services = self.zone.as_ref().map(|zone| standing::known(zone, &self.ever)).unwrap_or_default();
        for first in self.firsts.values() {
            if let Some((draft, lines)) = standing::standing(&self.metas.h08, first, &services, &targets) {
                self.tampered.push((draft, vec![first.step.meta.resource_version.clone()], lines));
            }
        }
        let drafts = self.unseen_writes();
        self.tampered.extend(drafts.into_iter().map(|draft| (draft, Vec::new(), BTreeSet::new())));
    }

    /// Writes of one author to one map are one draft, however many.
    fn unseen_writes(&self) -> Vec<Draft> {
        let mut by_author: BTreeMap<(&Key, &str), Draft> = BTreeMap::new();
        for (key, step) in
            self.unseen.iter().flat_map(|(key, steps)| steps.iter().map(move |step| (key, step)))
        {
            let approved = log::is_approved(step.actor.as_ref(), &self.cx.profile.approved_requesters);
            if approved || self.would_be_seen(step.at) {
                continue;
            }
            let author = step.actor.as_ref().map_or("", |actor| actor.user.as_str());
            let one = standing::unseen(&self.metas.h08, step);
            match by_author.entry((key, author)) {
                Entry::Vacant(free) => drop(free.insert(one)),
                Entry::Occupied(mut told) => add(told.get_mut(), one),
            }
        }
        by_author.into_values().collect()
    }

    /// True if a new version of a ConfigMap at that time would be in the evidence.
    fn would_be_seen(&self, at: Option<Nanos>) -> bool {
        let (Some(history), Some(at)) = (self.cx.knowledge.history(), at) else { return false };
        let after = Interval { lo: at, hi: at.plus(30_000_000_000) };
        history.coverage().is_exhaustive(Kind::ConfigMap, after)
    }
}

/// Adds a further write to the draft of those before it.
fn add(told: &mut Draft, one: Draft) {
    told.count += one.count;
    told.seen = match (told.seen, one.seen) {
        (Some(a), Some(b)) => Some(Interval { lo: a.lo.min(b.lo), hi: a.hi.max(b.hi) }),
        (a, b) => a.or(b),
    };
    if told.evidence.len() < EVIDENCE_MAX {
        told.evidence.extend(one.evidence);
    }
}
