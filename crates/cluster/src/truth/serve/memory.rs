//! What the caches of a server hold.
//!
//! Enters: replies that were stored. Leaves: the same by key. Deliberately absent: eviction.

use std::collections::{BTreeMap, BTreeSet};

use truename_model::{Class, Name, Rtype};

use super::message::Reply;

/// Key of an entry: block, name, type, and as far as the version keeps them apart class, DO and CD.
pub type Key = (usize, Name, Rtype, Class, bool, bool);

/// A stored reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The reply.
    pub reply: Reply,
    /// Seconds that it lives, at most.
    pub ttl: u32,
    /// Seconds that it lives, at least.
    pub least: u32,
    /// When it was stored, milliseconds on the caller's clock; `None`: not known.
    pub stored: Option<i64>,
    /// It may not have been there yet, or not any more.
    pub unsure: bool,
}

/// What the caches of one server hold: denials and successes apart.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub(super) denials: BTreeMap<Key, Entry>,
    pub(super) successes: BTreeMap<Key, Entry>,
    /// What other queries on their way at the same time may have stored.
    pub(super) lent: BTreeMap<Key, Vec<Entry>>,
    /// Keys that were looked for since [`Memory::begin`].
    pub(super) touched: BTreeSet<Key>,
}

impl Memory {
    /// Starts to note which keys are looked for.
    pub fn begin(&mut self) {
        self.touched.clear();
    }

    /// Keys that were looked for.
    #[must_use]
    pub fn touched(&self) -> &BTreeSet<Key> {
        &self.touched
    }

    /// What is stored under a key.
    #[must_use]
    pub fn entries(&self, key: &Key) -> Vec<Entry> {
        [self.denials.get(key), self.successes.get(key)].into_iter().flatten().cloned().collect()
    }

    /// Adds an entry that may or may not be there instead of what is.
    pub fn lend(&mut self, key: &Key, entry: &Entry) {
        let lent = self.lent.entry(key.clone()).or_default();
        let entry = Entry { unsure: true, ..entry.clone() };
        if !lent.contains(&entry) && lent.len() < 8 {
            lent.push(entry);
        }
    }

    /// Takes back what was lent.
    pub fn settle(&mut self) {
        self.lent.clear();
    }
}
