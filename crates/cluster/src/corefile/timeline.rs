//! Which Corefile text a replica ran, and when: versions with their lag, bound by running hashes.
//!
//! Enters: versions of the text (from a ConfigMap's history or a file) and running hashes that replicas printed.
//! Leaves: the texts admissible in an interval, and replicas that run something else. Deliberately absent: objects
//! and their history, which the caller turns into plain versions.

use std::collections::BTreeMap;
use std::sync::Arc;

use truename_model::time::SECOND;
use truename_model::{Actor, Interval, Nanos, ObjectRef, OriginId};

use super::order::Version;
use super::parser::Env;
use super::server::{Corefile, parse_for};

/// Longest time from a ConfigMap's change to its effect: kubelet sync, then `reload` with its jitter.
pub const LAG: i64 = 180 * SECOND;

/// A version of the text.
#[derive(Clone, Debug)]
pub struct TextVersion {
    /// When the text began to hold in its object; `lo` is the earliest possible instant.
    pub began: Interval,
    /// The text.
    pub text: Arc<str>,
    /// The object version that holds it.
    pub config: ObjectRef,
    /// Who wrote it, if the audit log tells.
    pub actor: Option<Arc<Actor>>,
    /// The parsed text; `None` if it is no Corefile.
    pub corefile: Option<Arc<Corefile>>,
}

impl TextVersion {
    /// True if CoreDNS would load it: a text that it refuses leaves the old configuration running.
    #[must_use]
    pub fn would_load(&self) -> bool {
        self.corefile.as_ref().is_some_and(|corefile| corefile.would_start())
    }

    /// True if a process that runs it notices a new text (`reload` in some block).
    #[must_use]
    pub fn reloads(&self) -> bool {
        self.corefile
            .as_ref()
            .is_some_and(|corefile| corefile.servers.iter().any(|server| server.has("reload")))
    }
}

/// Texts that a replica may have run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Indices of versions, oldest first.
    pub versions: Vec<usize>,
    /// True if a running hash binds the replica to exactly these.
    pub bound: bool,
    /// Running hashes that fit no version: the replica ran a text that nobody gave.
    pub unknown: Vec<String>,
}

/// A replica that runs something else than the ConfigMap says for longer than the lag explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// The replica.
    pub origin: OriginId,
    /// From when on it cannot be explained.
    pub since: Nanos,
    /// The hash it printed.
    pub digest: String,
    /// Index of the version it runs; `None` if the hash fits none.
    pub runs: Option<usize>,
    /// Index of the version that it should run.
    pub wanted: usize,
}

/// Versions of a cluster's Corefile and what its replicas printed.
#[derive(Clone, Debug, Default)]
pub struct CorefileTimeline {
    versions: Vec<TextVersion>,
    // Per replica: when it printed a hash, and the hash in lower case; sorted by `finish`.
    bound: BTreeMap<OriginId, Vec<(Interval, String)>>,
}

impl CorefileTimeline {
    /// Takes a version; call [`CorefileTimeline::finish`] after the last.
    pub fn push(
        &mut self,
        began: Interval,
        text: Arc<str>,
        config: ObjectRef,
        actor: Option<Arc<Actor>>,
        server: Version,
    ) {
        let corefile = parse_for(&text, &Env::default(), server).ok().map(Arc::new);
        self.versions.push(TextVersion { began, text, config, actor, corefile });
    }

    /// Takes a running hash (`Running configuration SHA512 = …`) that a replica printed: it runs that text from then
    /// on, until it prints another. MD5 digests (before 1.9.1) are not compared.
    pub fn bind(&mut self, origin: OriginId, at: Interval, digest: &str) {
        if digest.len() == 128 {
            self.bound.entry(origin).or_default().push((at, digest.to_ascii_lowercase()));
        }
    }

    /// Sorts what was taken.
    pub fn finish(&mut self) {
        self.versions.sort_by(|a, b| (a.began, &a.config).cmp(&(b.began, &b.config)));
        for bound in self.bound.values_mut() {
            bound.sort();
        }
    }

    /// All versions, oldest first.
    #[must_use]
    pub fn versions(&self) -> &[TextVersion] {
        &self.versions
    }

    /// Versions that may be in force on some replica at some instant of `at`, oldest first. A version gives way at
    /// most [`LAG`] after its successor began, but holds on if CoreDNS refuses the successor or never reloads.
    #[must_use]
    pub fn in_force(&self, at: Interval) -> Vec<usize> {
        let mut out = Vec::new();
        for (index, version) in self.versions.iter().enumerate() {
            if version.began.lo > at.hi {
                break;
            }
            let next = self.versions[index + 1..].iter().find(|next| next.would_load());
            let gone = next.is_some_and(|next| version.reloads() && next.began.hi.plus(LAG) < at.lo);
            // A text that CoreDNS refuses is in force nowhere, unless there is nothing else to show.
            if !gone && (version.would_load() || self.versions.len() == 1) {
                out.push(index);
            }
        }
        out
    }

    /// Versions that one replica may have run at some instant of `at`.
    #[must_use]
    pub fn on_replica(&self, origin: OriginId, at: Interval) -> Running {
        let printed = self.bound.get(&origin).map_or(&[][..], Vec::as_slice);
        // The last line certainly before `at`, and every line that may lie inside it.
        let first = printed.iter().rposition(|(when, _)| when.hi <= at.lo);
        let Some(first) = first else {
            return Running { versions: self.in_force(at), bound: false, unknown: Vec::new() };
        };
        let mut running = Running { versions: Vec::new(), bound: true, unknown: Vec::new() };
        for (_, digest) in printed[first..].iter().take_while(|(when, _)| when.lo <= at.hi) {
            match self.version_of(digest) {
                Some(index) if !running.versions.contains(&index) => running.versions.push(index),
                Some(_) => {}
                None if running.unknown.contains(digest) => {}
                None => running.unknown.push(digest.clone()),
            }
        }
        running.versions.sort_unstable();
        running
    }

    /// The latest version with a running hash.
    #[must_use]
    pub fn version_of(&self, digest: &str) -> Option<usize> {
        self.versions.iter().rposition(|version| {
            version.corefile.as_ref().is_some_and(|corefile| corefile.running_hash == digest)
        })
    }

    /// Replicas that run another text than the ConfigMap's for longer than [`LAG`] explains, up to `until`. A version
    /// whose hash cannot be computed (variables, imports) accuses nobody.
    #[must_use]
    pub fn drifts(&self, until: Nanos) -> Vec<Drift> {
        let mut out = Vec::new();
        for (origin, printed) in &self.bound {
            for (at, (when, digest)) in printed.iter().enumerate() {
                let end = printed.get(at + 1).map_or(until, |(next, _)| next.lo.min(until));
                let runs = self.version_of(digest);
                for (wanted, version) in self.versions.iter().enumerate() {
                    let exact = version.corefile.as_ref().is_some_and(|corefile| corefile.is_complete());
                    let same = version.corefile.as_ref().is_some_and(|c| c.running_hash == *digest);
                    let since = when.hi.max(version.began.hi).plus(LAG);
                    let next = self.versions.get(wanted + 1).map_or(end, |next| next.began.lo.min(end));
                    if exact && version.would_load() && !same && since < next {
                        out.push(Drift { origin: *origin, since, digest: digest.clone(), runs, wanted });
                    }
                }
            }
        }
        out.sort_by_key(|drift| (drift.since, drift.origin, drift.wanted));
        out
    }
}
