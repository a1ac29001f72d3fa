//! The plugin `cache`: what is stored, under which key, and what a hit looks like, by version.
//!
//! Enters: a query, what the caches hold. Leaves: what it serves. Deliberately absent: prefetching and eviction; where
//! it cannot be told whether an entry still lives, both are tried.

use truename_model::{Class, Name, Rcode};

use super::memory::{Entry, Key};
use super::message::{Ask, Reply, ReplyKind, Served, Stop};
use super::run::Run;
use super::site::Block;
use super::wrappers::looked_into;
use crate::corefile::Version;
use crate::corefile::forward::Cache;

const SECOND: i64 = 1_000_000_000;
/// TTL of answers without records, seconds (`MinimalDefaultTTL`).
const SHORT: u32 = 5;
/// Longest TTL that is looked for before 1.14 (`MaximumDefaultTTL`).
const LONG: u32 = 3_600;
/// How far the caller's clock may be off, milliseconds.
const SLACK_MS: i64 = 1_500;

const KEYS_WITH_DO: Version = Version(1, 10, 0);
const V115: Version = Version(1, 15, 0);

impl<'s> Run<'s, '_, '_> {
    pub(super) fn cache(
        &mut self,
        cache: &'s Cache,
        block: &'s Block<'s>,
        at: usize,
        ask: &mut Ask,
    ) -> Result<Served, Stop> {
        if !cache.holds(&ask.question.name) {
            // Even then the plugins behind work on a copy of the query.
            return self.next(block, at + 1, &mut ask.clone());
        }
        self.uses("cache", cache.line);
        let key = self.key(block, ask);
        self.memory.touched.insert(key.clone());
        if let Some(reply) = self.hit(cache, &key, ask) {
            return Ok(Served::wrote(reply));
        }
        let mut inner = ask.clone();
        if self.site.version < KEYS_WITH_DO {
            // The query is sent on with DO, whatever the client said.
            inner.edns = true;
        }
        let served = self.next(block, at + 1, &mut inner).map_err(looked_into)?;
        let Some(mut reply) = served.reply else {
            if served.failed
                && served.rcode == Rcode::SERVFAIL
                && self.site.version >= V115
                && cache.servfail > 0
            {
                let failure = Reply::code(&inner, Rcode::SERVFAIL);
                self.store(
                    cache,
                    key,
                    failure,
                    ReplyKind::ServerError,
                    (seconds(cache.servfail), seconds(cache.servfail)),
                    &ask.question.name,
                    &inner,
                );
            }
            return Ok(served);
        };
        let kind = self.kind(&reply);
        let (most, least) = self.lifetime(cache, kind, &reply);
        reply.set_ttl(most, least);
        reply.opt = false;
        if self.is_kept(kind, &reply) && most > 0 {
            self.store(cache, key, reply.clone(), kind, (most, least), &ask.question.name, &inner);
        }
        Ok(Served { reply: Some(reply), ..served })
    }

    fn key(&self, block: &Block<'_>, ask: &Ask) -> Key {
        let (name, version) = (ask.question.name.clone(), self.site.version);
        let class = if version >= V115 { ask.question.class } else { Class::IN };
        let apart = version >= KEYS_WITH_DO;
        (block.number, name, ask.question.rtype, class, apart && ask.dnssec, apart && ask.cd)
    }

    /// What the cache answers; `None`: a miss.
    fn hit(&mut self, cache: &Cache, key: &Key, ask: &Ask) -> Option<Reply> {
        let lent = self.memory.lent.get(key).cloned().unwrap_or_default();
        // One of the queries on their way at the same time may have been faster.
        let pick = self.view.choose(1 + lent.len());
        if let Some(entry) = pick.checked_sub(1).and_then(|at| lent.get(at)) {
            return self.alive(cache, entry, ask);
        }
        for denial in [true, false] {
            let stored = if denial { &self.memory.denials } else { &self.memory.successes };
            let Some(entry) = stored.get(key).cloned() else { continue };
            if let Some(reply) = self.alive(cache, &entry, ask) {
                return Some(reply);
            }
        }
        None
    }

    fn alive(&mut self, cache: &Cache, entry: &Entry, ask: &Ask) -> Option<Reply> {
        let age = match (self.now, entry.stored) {
            (Some(now), Some(stored)) => Some(now - stored),
            _ => None,
        };
        let (low, high) = match age {
            Some(ms) => ((ms - SLACK_MS).max(0) / 1_000, (ms + SLACK_MS).max(0) / 1_000),
            None => (0, i64::from(entry.ttl)),
        };
        let ttl = i64::from(entry.ttl);
        let lives = low < ttl;
        let least = i64::from(entry.least);
        let surely = high < least && !entry.unsure && age.is_some();
        let stale = cache.stale.is_some_and(|stale| low < ttl + stale.up_to / SECOND);
        if !lives && !stale {
            return None;
        }
        let first = entry.unsure || !surely;
        if first && self.view.choose(2) == 0 {
            return None;
        }
        let mut reply = entry.reply.clone();
        // The reply takes the question of this query, and AA as the version will have it.
        reply.question = ask.question.clone();
        (reply.rd, reply.cd) = (ask.rd, ask.cd);
        reply.aa |= self.site.version < V115;
        if !cache.keepttl {
            let most = u32::try_from(ttl - low).unwrap_or(0);
            let least = if high >= least { 0 } else { u32::try_from(least - high).unwrap_or(0) };
            reply.set_ttl(most, least);
        }
        Some(reply)
    }

    fn kind(&self, reply: &Reply) -> ReplyKind {
        let newer = self.site.version >= V115;
        let kind = reply.kind(newer);
        if newer
            && kind == ReplyKind::NoError
            && has_soa(reply)
            && !reply.answer.is_empty()
            && !reply.answers_question()
        {
            return ReplyKind::NoData;
        }
        kind
    }

    /// Whether the reply is kept (`key`).
    fn is_kept(&self, kind: ReplyKind, reply: &Reply) -> bool {
        if matches!(kind, ReplyKind::OtherError | ReplyKind::Meta) {
            return false;
        }
        if self.site.version < V115 {
            return true;
        }
        let empty_denial = kind == ReplyKind::NameError && !has_soa(reply);
        let no_answer = kind == ReplyKind::NoError
            && !has_soa(reply)
            && !reply.answer.is_empty()
            && !reply.answers_question();
        !empty_denial && !no_answer
    }

    /// Seconds that a reply lives, most and least.
    fn lifetime(&self, cache: &Cache, kind: ReplyKind, reply: &Reply) -> (u32, u32) {
        let (most, least) = match kind {
            ReplyKind::NameError | ReplyKind::NoData => cache.denial,
            ReplyKind::ServerError => {
                let ttl = if self.site.version < Version(1, 9, 0) { SHORT } else { seconds(cache.servfail) };
                return (ttl, ttl);
            }
            _ => cache.success,
        };
        let (most, least) = (seconds(most), seconds(least));
        let cap = if self.site.version >= Version(1, 14, 0) { most } else { LONG };
        let of = |ttl: &dyn Fn(&super::message::Rr) -> u32| {
            let known = matches!(kind, ReplyKind::NoError | ReplyKind::NameError | ReplyKind::NoData);
            match known.then(|| reply.records().map(ttl).min()).flatten() {
                Some(lowest) => lowest.min(cap),
                None => SHORT,
            }
        };
        let clamp = |ttl: u32| ttl.max(least).min(most);
        (clamp(of(&|rr| rr.ttl)), clamp(of(&|rr| rr.least)))
    }

    #[allow(clippy::too_many_arguments, reason = "what one entry is made of")]
    fn store(
        &mut self,
        cache: &Cache,
        mut key: Key,
        reply: Reply,
        kind: ReplyKind,
        (ttl, least): (u32, u32),
        name: &Name,
        ask: &Ask,
    ) {
        // Only an answer to the question that was asked is kept; a type that was rewritten on the way gives the key.
        if reply.question.name != *name || reply.question.rtype != ask.question.rtype {
            return;
        }
        key.2 = reply.question.rtype;
        let within = |zones: &[Name]| zones.iter().any(|zone| name.is_at_or_below(zone));
        let entry = Entry { reply, ttl, least, stored: self.now, unsure: false };
        match kind {
            ReplyKind::NoError | ReplyKind::Delegation if !within(&cache.no_success) => {
                self.memory.successes.insert(key, entry);
            }
            ReplyKind::NameError | ReplyKind::NoData | ReplyKind::ServerError
                if !within(&cache.no_denial) =>
            {
                self.memory.denials.insert(key, entry);
            }
            _ => {}
        }
    }
}

fn has_soa(reply: &Reply) -> bool {
    reply.authority.iter().any(|rr| rr.rtype == truename_model::Rtype::SOA)
}

fn seconds(ns: i64) -> u32 {
    u32::try_from(ns / SECOND).unwrap_or(u32::MAX)
}
