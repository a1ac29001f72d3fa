//! Whether each answer was true: what the objects imply, else what an upstream said on the same replica (answer-truth §1).
//!
//! Enters: closed upstream exchanges and joined lookups, both in order of time; leaves: verdicts. A forged exchange
//! stains every answer served from it until its TTL and the stale period end. Deliberately absent: the truth model of
//! cluster names (the `cluster` crate, asked through `Knowledge`).

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use smallvec::SmallVec;
use truename_model::time::SECOND;
use truename_model::{
    Body, Contradiction, Explanation, Flags, Interval, Nanos, ObjectRef, Question, Rcode, Record, Response,
    Transaction, UpstreamExchange, Vantage, Verdict, WhyUnverifiable,
};

use crate::attribute::SKEW;
use crate::compare::{agree, data_hash, is_failure, is_part_of, is_partial, same_addresses, served_from};
use crate::join::Joined;
use crate::knowledge::{Answer, Chase, Judgement, Knowledge};
use crate::replica::{ReplicaId, Replicas, Version};

/// Slots of the memo of verdicts.
const MEMO_SLOTS: usize = 1 << 16;
/// Questions remembered with their upstream answers: two halves of this size.
const QUESTIONS_MAX: usize = 1 << 15;
/// Upstream answers remembered per question, over all replicas.
const ANSWERS_MAX: usize = 24;
/// CoreDNS caches no positive answer longer, and none shorter (plugin defaults).
const CACHE_MAX: i64 = 3_600 * SECOND;
const CACHE_MIN: i64 = 5 * SECOND;
/// Whole-second TTLs, and the time between receiving and storing.
const SLACK: i64 = 2 * SECOND;
/// So many replies with other ids and the same data as the accepted one are no accident.
const GUESSES_MIN: u32 = 3;
/// A question that gave so many different answer sets rotates; then replicas may differ.
const ROTATES: usize = 3;

/// An upstream answer that may be in a replica's cache.
#[derive(Clone, Debug)]
struct Known {
    replica: ReplicaId,
    exchange: Arc<UpstreamExchange>,
    hash: u64,
    expires: Nanos,
    worth: Worth,
}

/// What an upstream's answer proves.
#[derive(Clone, Debug, PartialEq)]
enum Worth {
    /// The upstream gave it.
    Fair,
    /// The upstream or a guesser gave it.
    Raced,
    /// Somebody else gave it; the text says how that shows.
    Forged(Arc<str>),
}

#[derive(Clone, Debug, Default)]
struct Answers {
    known: SmallVec<[Known; 2]>,
    // Distinct answer sets seen, up to `ROTATES`.
    sets: SmallVec<[u64; 3]>,
}

struct Remembered {
    question: Question,
    rcode: Rcode,
    flags: Flags,
    version: Option<Version>,
    body: Arc<Body>,
    // The TTL decides one verdict only, "beyond the configuration", and more TTL is never less beyond.
    ttl: u32,
    stretch: Interval,
    judgement: Judgement,
}

/// When the upstream leg of a replica is known to be seen without a gap.
#[derive(Clone, Copy, Debug, Default)]
struct Leg {
    since: Option<Nanos>,
    cold: Option<Nanos>,
}

/// Verdicts with their memo and the upstream answers that caches may hold.
pub struct Provenance {
    memo: Vec<Option<Box<Remembered>>>,
    hasher: FixedState,
    young: HashMap<Question, Answers, FixedState>,
    old: HashMap<Question, Answers, FixedState>,
    legs: BTreeMap<ReplicaId, Leg>,
    senders: BTreeMap<std::net::IpAddr, (u8, u32)>,
    evictions: u64,
    forgotten: u64,
    half: usize,
}

impl Default for Provenance {
    fn default() -> Self {
        Self::with_bound(QUESTIONS_MAX)
    }
}

impl Provenance {
    /// Remembers upstream answers of about `half` to `2 × half` questions.
    #[must_use]
    pub fn with_bound(half: usize) -> Self {
        Self {
            memo: std::iter::repeat_with(|| None).take(MEMO_SLOTS).collect(),
            hasher: FixedState::with_seed(11),
            young: HashMap::with_hasher(FixedState::with_seed(12)),
            old: HashMap::with_hasher(FixedState::with_seed(12)),
            legs: BTreeMap::new(),
            senders: BTreeMap::new(),
            evictions: 0,
            forgotten: 0,
            half: half.max(1),
        }
    }

    /// Verdicts pushed out of the memo.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Questions whose upstream answers were forgotten for want of room.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The replica started at `at`: its cache is empty.
    pub fn restarted(&mut self, replica: ReplicaId, at: Nanos) {
        let leg = self.legs.entry(replica).or_default();
        leg.cold = Some(at);
    }

    /// Records of the replica were lost at `at`.
    pub fn lost(&mut self, replica: ReplicaId, at: Nanos) {
        let leg = self.legs.entry(replica).or_default();
        if leg.since.is_some() {
            leg.since = Some(at);
        }
        leg.cold = None;
    }

    /// Takes a closed exchange; must come before the lookups that it serves.
    pub fn exchange(&mut self, replica: ReplicaId, exchange: &Arc<UpstreamExchange>, stale_ns: i64) {
        if exchange.is_unasked() {
            return;
        }
        let leg = self.legs.entry(replica).or_default();
        leg.since = leg.since.or(Some(exchange.at.lo));
        let Some(response) = &exchange.response else { return };
        let Some(rcode) = response.rcode else { return };
        if exchange.wrong_question || is_failure(rcode) || !response.body.sections_seen {
            return;
        }
        let hash = claim_hash(rcode, &response.body.answers);
        let worth = self.worth(exchange, response, hash);
        if worth == Worth::Fair && exchange.second.is_none() && exchange.mismatched_count == 0 {
            self.note_sender(response);
        }
        let expires = exchange.at.hi.plus(lifetime(&response.body)).plus(stale_ns).plus(SLACK);
        let known = Known { replica, exchange: Arc::clone(exchange), hash, expires, worth };
        let answers = self.answers_mut(&exchange.question);
        if answers.sets.len() < ROTATES && !answers.sets.contains(&hash) {
            answers.sets.push(hash);
        }
        let now = exchange.at.lo;
        answers.known.retain(|old| old.expires >= now.plus(-30 * SECOND));
        if answers.known.len() >= ANSWERS_MAX {
            answers.known.remove(0);
        }
        answers.known.push(known);
    }

    fn answers(&self, question: &Question) -> Option<&Answers> {
        self.young.get(question).or_else(|| self.old.get(question))
    }

    fn answers_mut(&mut self, question: &Question) -> &mut Answers {
        if !self.young.contains_key(question) {
            if self.young.len() >= self.half {
                self.forgotten += self.old.len() as u64;
                self.old =
                    std::mem::replace(&mut self.young, HashMap::with_hasher(FixedState::with_seed(12)));
            }
            let moved = self.old.remove(question).unwrap_or_default();
            self.young.insert(question.clone(), moved);
        }
        self.young.entry(question.clone()).or_default()
    }

    /// Whose the answer was that this exchange brought, as far as the wire shows it.
    fn worth(&self, exchange: &UpstreamExchange, taken: &Response, hash: u64) -> Worth {
        let known = || self.answers(&exchange.question).into_iter().flat_map(|answers| &answers.known);
        let settled = || known().filter(|known| known.worth != Worth::Raced);
        let mut same = settled().filter(|known| known.hash == hash).peekable();
        if same.peek().is_some() {
            // Known data: not new. It is as good as it was the first time.
            return same.find(|known| known.worth != Worth::Fair).map_or(Worth::Fair, |k| k.worth.clone());
        }
        if exchange.mismatched_count >= GUESSES_MIN
            && exchange.mismatched_apart
            && self.is_usual(taken) == Some(true)
        {
            // Whatever they carried: a forger may guess with the true data, so that the upstream's reply looks like his.
            return Worth::Fair;
        }
        if exchange.mismatched_like_answer >= GUESSES_MIN {
            let like = exchange.mismatched_like_answer;
            return Worth::Forged(
                format!("{like} replies with other ids carried the same data as the one that was accepted")
                    .into(),
            );
        }
        if exchange.mismatched_count >= GUESSES_MIN {
            return self.worth_among_guesses(exchange, taken);
        }
        let Some(second) = exchange.second.as_deref() else { return Worth::Fair };
        let second_known = second.rcode.is_some_and(|rcode| {
            let hash = claim_hash(rcode, &second.body.answers);
            known().any(|known| known.hash == hash && known.worth == Worth::Fair)
        });
        if !second_known && self.is_usual(taken) == Some(true) && self.is_usual(second) == Some(false) {
            return Worth::Fair;
        }
        Worth::Forged("a second and different answer to the same query followed".into())
    }

    /// Replies with other ids and other data came too. That tells nothing, for a forger may guess with any: what tells is who
    /// sent the reply that was taken.
    fn worth_among_guesses(&self, exchange: &UpstreamExchange, taken: &Response) -> Worth {
        match self.is_usual(taken) {
            Some(false) => Worth::Forged(
                format!(
                    "{} replies with other ids came, and the one that was accepted is not of the sender of the \
                     upstream's other answers (IP TTL {})",
                    exchange.mismatched_count,
                    taken.packet.map_or(0, |packet| packet.ip_ttl)
                )
                .into(),
            ),
            _ => Worth::Raced,
        }
    }

    /// The IP TTL with which a server's packets arrive tells senders apart.
    fn note_sender(&mut self, response: &Response) {
        let (Some(server), Some(packet)) = (response.server, response.packet) else { return };
        if self.senders.len() >= 4_096 && !self.senders.contains_key(&server.ip) {
            return;
        }
        let sender = self.senders.entry(server.ip).or_insert((packet.ip_ttl, 0));
        if sender.0 == packet.ip_ttl {
            sender.1 = sender.1.saturating_add(1);
        } else if sender.1 > 1 {
            sender.1 /= 2;
        } else {
            *sender = (packet.ip_ttl, 1);
        }
    }

    fn is_usual(&self, response: &Response) -> Option<bool> {
        let (server, packet) = (response.server?, response.packet?);
        let &(ttl, count) = self.senders.get(&server.ip)?;
        (count >= 3).then_some(ttl == packet.ip_ttl)
    }

    /// The verdict on a lookup's answer.
    pub fn judge(
        &mut self,
        joined: &Joined,
        replicas: &mut Replicas<'_>,
        knowledge: &dyn Knowledge,
    ) -> Verdict {
        let transaction = &joined.transaction;
        let Some(response) = &transaction.response else {
            return Verdict::unverifiable(WhyUnverifiable::NoResponse);
        };
        let verdict = self.judge_response(joined, response, replicas, knowledge);
        let Some(dissent) = &transaction.dissent else { return verdict };
        if dissent.vantage != Vantage::PacketResponse || verdict.word() == "contradicted" {
            return verdict;
        }
        // What reached the client is another answer than the server's own.
        self.judge_dissent(joined, response, dissent, replicas, knowledge).unwrap_or(verdict)
    }

    fn judge_dissent(
        &mut self,
        joined: &Joined,
        response: &Response,
        dissent: &Response,
        replicas: &mut Replicas<'_>,
        knowledge: &dyn Knowledge,
    ) -> Option<Verdict> {
        let other = self.judge_response(joined, dissent, replicas, knowledge);
        if other.word() == "contradicted" {
            return Some(other);
        }
        let own = response.vantage == Vantage::ClientResponse && response.body.sections_seen;
        let claims = dissent.body.malformed.is_none() && !dissent.rcode.is_none_or(is_failure);
        (own && claims && other.word() != "verified").then(|| Verdict::Contradicted {
            how: Contradiction::NoProvenance,
            by: Arc::from([]),
            expected: format!(
                "the server answered {}; the client received {}",
                claim(response),
                claim(dissent)
            ),
        })
    }

    fn judge_response(
        &mut self,
        joined: &Joined,
        response: &Response,
        replicas: &mut Replicas<'_>,
        knowledge: &dyn Knowledge,
    ) -> Verdict {
        let transaction = &joined.transaction;
        let unverifiable = Verdict::unverifiable;
        let Some(rcode) = response.rcode else { return unverifiable(WhyUnverifiable::NoResponse) };
        if is_failure(rcode) {
            return unverifiable(WhyUnverifiable::ServerFailure);
        }
        if !response.body.sections_seen {
            return unverifiable(WhyUnverifiable::AnswerNotSeen);
        }
        let Some(at) = when(transaction, response) else { return unverifiable(WhyUnverifiable::NoTime) };
        if response.body.malformed.is_some() || response.packet.is_some_and(|packet| packet.cut) {
            return unverifiable(WhyUnverifiable::Damaged);
        }
        if transaction.question.rtype.0 == 0 {
            return unverifiable(WhyUnverifiable::OutOfModel("the question is not shown".to_owned()));
        }
        if response.body.question.as_ref().is_some_and(|asked| *asked != transaction.question) {
            return unverifiable(WhyUnverifiable::OutOfModel(
                "the response repeats another question".to_owned(),
            ));
        }
        if is_elsewhere(joined, response, at, replicas) {
            return unverifiable(WhyUnverifiable::UnknownResolver);
        }
        match self.judgement(joined, response, rcode, at, replicas, knowledge) {
            Judgement::Verdict(verdict) => verdict,
            Judgement::NotCluster => {
                self.upstream(joined, &transaction.question, response, at, replicas, knowledge)
            }
            Judgement::Chase(chase) => self.chased(joined, response, &chase, at, replicas),
        }
    }

    /// The truth model's word, remembered as long as nothing it depends on changes.
    fn judgement(
        &mut self,
        joined: &Joined,
        response: &Response,
        rcode: Rcode,
        at: Interval,
        replicas: &Replicas<'_>,
        knowledge: &dyn Knowledge,
    ) -> Judgement {
        let question = &joined.transaction.question;
        let version = joined.replica.and_then(|id| replicas.version(id));
        let (body, flags, at) = (&response.body, response.flags, at.widened(SKEW));
        let ttl = body.answers.iter().chain(&body.authority).map(|record| record.ttl).max().unwrap_or(0);
        let slot = self.slot(question, rcode, body);
        let memo = &mut self.memo[slot];
        if let Some(known) = memo
            && known.holds(question, (rcode, flags, version), body, ttl, at)
        {
            return known.judgement.clone();
        }
        let text = version.map(|(a, b, c)| format!("{a}.{b}.{c}"));
        let answer = Answer { question, rcode, flags, body, at, version: text.as_deref() };
        let (judgement, stretch) = knowledge.judge(&answer);
        if let Some(stretch) = stretch {
            self.evictions += u64::from(memo.as_ref().is_some_and(|known| known.question != *question));
            *memo = Some(Box::new(Remembered {
                question: question.clone(),
                rcode,
                flags,
                version,
                body: Arc::clone(body),
                ttl,
                stretch,
                judgement: judgement.clone(),
            }));
        }
        judgement
    }

    fn slot(&self, question: &Question, rcode: Rcode, body: &Body) -> usize {
        let key = (question.name.stable_hash(), question.rtype, rcode, data_hash(&body.answers));
        self.hasher.hash_one(key) as usize & (MEMO_SLOTS - 1)
    }

    /// Judges what stands behind an alias that the objects prove.
    fn chased(
        &self,
        joined: &Joined,
        response: &Response,
        chase: &Chase,
        at: Interval,
        replicas: &Replicas<'_>,
    ) -> Verdict {
        let own = || match &chase.explained {
            Some(by) => Verdict::Explained { by: by.clone() },
            None if chase.stale => Verdict::Stale { by: Arc::clone(&chase.by) },
            None => Verdict::Verified { by: Arc::clone(&chase.by) },
        };
        if chase.rest.is_empty() {
            // The alias alone is what the server gives for a target without records (measured §4, 31).
            return own();
        }
        let question = Question { name: chase.target.clone(), ..joined.transaction.question.clone() };
        let body = Body { answers: chase.rest.clone(), ..(*response.body).clone() };
        let rest = Response { body: Arc::new(body), ..response.clone() };
        match self.matching(joined, &question, &rest, at, replicas) {
            Match::Clean(known) => only_tapped(&known.exchange).unwrap_or_else(own),
            Match::Raced(server) => Verdict::unverifiable(WhyUnverifiable::Raced(server)),
            Match::Forged(why) => forged_verdict(&why, Arc::clone(&chase.by)),
            Match::None => self.unexplained(joined, at, &rest, replicas, false),
        }
    }

    /// Judges an answer that only an upstream can have given.
    fn upstream(
        &self,
        joined: &Joined,
        question: &Question,
        response: &Response,
        at: Interval,
        replicas: &Replicas<'_>,
        knowledge: &dyn Knowledge,
    ) -> Verdict {
        match self.matching(joined, question, response, at, replicas) {
            Match::Clean(known) => {
                if let Some(other) = self.disputed_by(&known, question, at) {
                    return Verdict::unverifiable(WhyUnverifiable::Disputed(replicas.name(other).to_owned()));
                }
                only_tapped(&known.exchange).unwrap_or_else(|| Verdict::Explained {
                    by: Explanation::Upstream(server_text(&known.exchange)),
                })
            }
            Match::Raced(server) => Verdict::unverifiable(WhyUnverifiable::Raced(server)),
            Match::Forged(why) => forged_verdict(&why, Arc::from([])),
            Match::None => self
                .unlike(joined, question, response, at, replicas, knowledge)
                .unwrap_or_else(|| self.unexplained(joined, at, response, replicas, true)),
        }
    }

    /// The upstream answer that this answer was made from.
    fn matching(
        &self,
        joined: &Joined,
        question: &Question,
        response: &Response,
        at: Interval,
        replicas: &Replicas<'_>,
    ) -> Match {
        // What a NodeLocal cache was told, another instance may have asked for.
        let asker = joined.replica.filter(|id| !replicas.is_cache(*id));
        let Some(answers) = self.answers(question) else { return self.attached(joined, question, response) };
        let usable = |known: &&Known| {
            asker.is_none_or(|replica| replica == known.replica)
                && known.exchange.at.lo <= at.hi.plus(SECOND / 4)
                && known.expires >= at.lo
                && known.exchange.response.as_ref().is_some_and(|given| served_from(response, given))
        };
        // The latest exchange before the answer is the one in the cache.
        match answers.known.iter().rev().find(usable) {
            Some(known) => Match::of(known.clone()),
            None => self.attached(joined, question, response),
        }
    }

    /// An exchange made for this very lookup, under whatever name the server's rules gave it.
    fn attached(&self, joined: &Joined, question: &Question, response: &Response) -> Match {
        for exchange in &joined.transaction.upstream {
            let Some(given) = &exchange.response else { continue };
            let same = if exchange.question == *question {
                served_from(response, given)
            } else {
                same_addresses(&response.body, &given.body)
            };
            let Some(rcode) = given.rcode.filter(|_| same) else { continue };
            let hash = claim_hash(rcode, &given.body.answers);
            return Match::of(Known {
                replica: joined.replica.unwrap_or(ReplicaId(u32::MAX)),
                exchange: Arc::clone(exchange),
                hash,
                expires: exchange.at.hi,
                worth: self.worth(exchange, given, hash),
            });
        }
        Match::None
    }

    /// Another replica that was told something else at the time, where no packet shows that the race was fair.
    fn disputed_by(&self, known: &Known, question: &Question, at: Interval) -> Option<ReplicaId> {
        if known.exchange.wire_id.is_some() {
            return None;
        }
        let answers = self.answers(question)?;
        let others = || answers.known.iter().filter(|other| other.replica != known.replica);
        if answers.sets.len() >= ROTATES || others().any(|other| other.hash == known.hash) {
            return None;
        }
        let current = |other: &&Known| other.exchange.at.lo <= at.hi && other.expires >= at.lo;
        let apart = |other: &&Known| {
            let (Some(a), Some(b)) = (&other.exchange.response, &known.exchange.response) else {
                return false;
            };
            let mine: SmallVec<[_; 8]> = b.body.addresses().collect();
            !mine.is_empty()
                && a.body.addresses().next().is_some()
                && !a.body.addresses().any(|ip| mine.contains(&ip))
        };
        others().filter(current).find(apart).map(|other| other.replica)
    }

    /// An answer that is none of those that upstreams gave for this very lookup before it. Where the server passes on
    /// what it is given, and its own tap shows the whole lookup, nothing can have given it: a server whose cache had it
    /// would not have asked.
    fn unlike(
        &self,
        joined: &Joined,
        question: &Question,
        response: &Response,
        at: Interval,
        replicas: &Replicas<'_>,
        knowledge: &dyn Knowledge,
    ) -> Option<Verdict> {
        let transaction = &joined.transaction;
        let gave = |exchange: &&Arc<UpstreamExchange>| {
            let given = exchange.response.as_ref().filter(|given| given.body.sections_seen);
            let claims = given.and_then(|given| given.rcode).is_some_and(|rcode| !is_failure(rcode));
            claims && exchange.question == *question && exchange.at.hi <= at.hi
        };
        let exchange = transaction.upstream.iter().rev().find(gave)?;
        let asked = transaction.asked.interval()?;
        let own = response.vantage == Vantage::ClientResponse
            && !is_partial(response)
            && joined.replica.is_some_and(|id| !replicas.is_cache(id));
        let all =
            || transaction.upstream.iter().all(|exchange| is_apart(exchange, question, response, asked, at));
        if !own || !all() || !knowledge.passes_on(&question.name, at.widened(SKEW)) {
            return Some(Verdict::unverifiable(WhyUnverifiable::UpstreamDiffers(server_text(exchange))));
        }
        let given = exchange.response.as_ref().map_or_else(String::new, claim);
        Some(Verdict::Contradicted {
            how: Contradiction::NoProvenance,
            by: Arc::from([]),
            expected: format!(
                "{given}, which {} gave for this lookup before it was answered",
                server_text(exchange)
            ),
        })
    }

    /// No upstream answer explains it: the verdict depends on what was captured.
    fn unexplained(
        &self,
        joined: &Joined,
        at: Interval,
        response: &Response,
        replicas: &Replicas<'_>,
        whole: bool,
    ) -> Verdict {
        let leg = match joined.replica {
            Some(replica) => self.legs.get(&replica).copied(),
            None => self.legs.values().next().copied(),
        };
        let Some(leg) = leg.filter(|leg| leg.since.is_some_and(|since| since <= at.hi)) else {
            let pair =
                joined.transaction.client.zip(response.server).map(|(asker, server)| (asker.ip, server.ip));
            let unplaced = pair.is_some_and(|pair| replicas.unplaced().contains_key(&pair));
            return Verdict::unverifiable(match unplaced {
                true => WhyUnverifiable::UnknownResolver,
                false => WhyUnverifiable::NoUpstreamLeg,
            });
        };
        let asks_itself = joined.replica.is_some_and(|id| !replicas.is_cache(id));
        let complete = whole && asks_itself && is_complete(leg, at, &joined.transaction);
        if complete && response.body.addresses().next().is_some() {
            return Verdict::Contradicted {
                how: Contradiction::NoProvenance,
                by: Arc::from([]),
                expected: format!(
                    "an upstream answer on {}, whose upstream leg is in the evidence without a gap",
                    joined.replica.map_or("the replica", |id| replicas.name(id))
                ),
            };
        }
        Verdict::unverifiable(WhyUnverifiable::UpstreamNotSeen)
    }
}

/// A tap says what the server took for the answer, whoever sent it.
fn only_tapped(exchange: &UpstreamExchange) -> Option<Verdict> {
    let tapped = exchange.response.as_ref().is_none_or(|response| response.packet.is_none());
    tapped.then(|| Verdict::unverifiable(WhyUnverifiable::OnlyTapped(server_text(exchange))))
}

impl Remembered {
    /// True if the judgement is that of this answer as well: same claim, same header, at a time when nothing changed.
    fn holds(
        &self,
        question: &Question,
        header: (Rcode, Flags, Option<Version>),
        body: &Arc<Body>,
        ttl: u32,
        at: Interval,
    ) -> bool {
        let beyond = matches!(
            &self.judgement,
            Judgement::Verdict(Verdict::Contradicted { how: Contradiction::TtlBeyondConfiguration, .. })
        );
        (self.rcode, self.flags, self.version) == header
            && self.question == *question
            && self.stretch.lo <= at.lo
            && at.hi <= self.stretch.hi
            && (ttl == self.ttl || (ttl > self.ttl) == beyond)
            && (Arc::ptr_eq(&self.body, body) || same_claim_in(&self.body, body))
    }
}

/// True if two bodies claim the same but for TTLs and order.
fn same_claim_in(a: &Body, b: &Body) -> bool {
    let same = |x: &[Record], y: &[Record]| x.len() == y.len() && is_part_of(x, y) && is_part_of(y, x);
    same(&a.answers, &b.answers)
        && same(&a.authority, &b.authority)
        && same(&a.additional, &b.additional)
        && a.malformed == b.malformed
}

enum Match {
    Clean(Known),
    Raced(String),
    Forged(Arc<str>),
    None,
}

impl Match {
    fn of(known: Known) -> Self {
        match &known.worth {
            Worth::Fair => Self::Clean(known),
            Worth::Raced => Self::Raced(server_text(&known.exchange)),
            Worth::Forged(why) => Self::Forged(Arc::clone(why)),
        }
    }
}

/// True if the leg was seen whole since the cache was empty, or for longer than any cache keeps an answer. Only a
/// lookup that both the log and the tap of the replica show proves that neither was broken.
fn is_complete(leg: Leg, at: Interval, transaction: &Transaction) -> bool {
    let both = [Vantage::LogLine, Vantage::ClientResponse].iter().all(|v| transaction.vantages.contains(v));
    let Some(since) = leg.since.filter(|_| both) else { return false };
    let cold = leg.cold.is_some_and(|cold| cold >= since.plus(-5 * SECOND) && cold.plus(SECOND) <= at.lo);
    cold || since.plus(2 * CACHE_MAX) <= at.lo
}

fn forged_verdict(why: &str, by: Arc<[ObjectRef]>) -> Verdict {
    Verdict::Contradicted { how: Contradiction::ForgedUpstream, by, expected: why.to_owned() }
}

/// True if the server's own tap shows that the exchange was opened after the lookup of the same question was asked,
/// and had brought addresses, none of which is among the answer's, before it was answered.
fn is_apart(
    exchange: &UpstreamExchange,
    question: &Question,
    answer: &Response,
    asked: Interval,
    at: Interval,
) -> bool {
    let Some(given) = &exchange.response else { return false };
    let mut addresses = given.body.addresses().peekable();
    exchange.question == *question
        && given.vantage == Vantage::ForwarderResponse
        && given.rcode == Some(Rcode::NOERROR)
        && answer.rcode == given.rcode
        && given.body.malformed.is_none()
        && !is_partial(given)
        && asked.lo <= exchange.at.lo
        && exchange.at.hi <= at.lo
        && answer.body.addresses().next().is_some()
        && addresses.peek().is_some()
        && !addresses.any(|ip| answer.body.addresses().any(|own| own == ip))
}

/// How long CoreDNS may keep an answer, without staleness.
fn lifetime(body: &Body) -> i64 {
    let records = if body.answers.is_empty() { &body.authority } else { &body.answers };
    let ttl = records.iter().map(|record| i64::from(record.ttl)).min().unwrap_or(0);
    (ttl * SECOND).clamp(CACHE_MIN, CACHE_MAX)
}

fn claim_hash(rcode: Rcode, answers: &[Record]) -> u64 {
    data_hash(answers).wrapping_add(u64::from(rcode.0).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// When the answer was given: by its own record, else by the lookup.
fn when(transaction: &Transaction, response: &Response) -> Option<Interval> {
    response.at.interval().or(transaction.answered.interval()).or(transaction.asked.interval())
}

/// True for an answer of a server that is known to be none of the cluster's: its word proves nothing here.
fn is_elsewhere(joined: &Joined, response: &Response, at: Interval, replicas: &mut Replicas<'_>) -> bool {
    response.vantage == Vantage::PacketResponse
        && joined.replica.is_none()
        && response.server.is_some_and(|server| replicas.is_foreign(joined.transaction.origin, server.ip, at))
}

fn server_text(exchange: &UpstreamExchange) -> String {
    exchange.upstream.map_or_else(|| "upstream".to_owned(), |server| server.ip.to_string())
}

/// What a response claims, in words.
fn claim(response: &Response) -> String {
    let data: Vec<String> =
        response.body.answers.iter().take(8).map(|record| record.rdata.to_string()).collect();
    match (response.rcode, data.is_empty()) {
        (Some(rcode), true) => rcode.to_string(),
        (_, false) => data.join(", "),
        (None, true) => "nothing".to_owned(),
    }
}

/// True if two exchanges of one question brought the same claim; for rules.
#[must_use]
pub fn same_claim(a: &UpstreamExchange, b: &UpstreamExchange) -> bool {
    match (&a.response, &b.response) {
        (Some(x), Some(y)) => agree(x, y),
        _ => false,
    }
}

#[cfg(test)]
#[path = "provenance_tests.rs"]
mod tests;
