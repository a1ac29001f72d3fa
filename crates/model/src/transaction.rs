//! One lookup as all vantages saw it, and the application's intent behind a run of lookups.
//!
//! Enters: joined observations. Deliberately absent: how they are joined (the `analysis` crate).

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use smallvec::SmallVec;

use crate::attribution::Attribution;
use crate::name::Name;
use crate::observation::{Endpoint, Hints, PacketFacts, Transport, Vantage};
use crate::origin::{OriginId, RecordRef};
use crate::rr::{Body, Flags, Question, Rcode, Rtype};
use crate::time::{Interval, ObservedAt};
use crate::verdict::Verdict;

/// A response as one vantage saw it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Response {
    /// The record.
    #[serde(skip)]
    pub record: RecordRef,
    /// Vantage.
    pub vantage: Vantage,
    /// When it was observed, reference clock.
    pub at: ObservedAt,
    /// Header bits.
    pub flags: Flags,
    /// Return code; `None`: nothing was written.
    pub rcode: Option<Rcode>,
    /// Question and sections.
    pub body: Arc<Body>,
    /// Answering server, where seen.
    pub server: Option<Endpoint>,
    /// Link and network facts, packets only.
    pub packet: Option<PacketFacts>,
}

/// One exchange between a replica and an upstream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UpstreamExchange {
    /// Origin (replica) that made it.
    #[serde(skip)]
    pub origin: OriginId,
    /// The question sent.
    pub question: Question,
    /// Upstream address, where seen.
    pub upstream: Option<Endpoint>,
    /// Source socket of the replica, where seen.
    pub local: Option<Endpoint>,
    /// Id on the wire; `None` from dnstap, which shows the client's id instead.
    pub wire_id: Option<u16>,
    /// When the query left and the answer came, reference clock.
    pub at: Interval,
    /// The record of the query.
    #[serde(skip)]
    pub query: Option<RecordRef>,
    /// The answer that the replica took, if any.
    pub response: Option<Response>,
    /// Packets from the upstream's address to this socket that did not match (wrong id), up to a bound.
    #[serde(skip)]
    pub mismatched: SmallVec<[RecordRef; 4]>,
    /// How many did not match in all.
    pub mismatched_count: u32,
    /// How many of these came while the query was open: before the first reply that matched.
    pub mismatched_open: u32,
    /// How many of these carried the very data of the answer that was taken: one sender guessing ids until one fits.
    pub mismatched_like_answer: u32,
    /// Each of these differs in IP TTL or MAC address from the answer that was taken, as far as packets show: another
    /// sender.
    pub mismatched_apart: bool,
    /// A second answer to the same id and question with other data.
    pub second: Option<Box<Response>>,
    /// The answer's question was another one than asked.
    pub wrong_question: bool,
    /// The evidence does not tell whether the asker is a server of cluster DNS: it may be any client.
    #[serde(skip)]
    pub unplaced: bool,
}

impl UpstreamExchange {
    /// True for replies that no open question explains: there is no query, and nothing that was taken.
    #[must_use]
    pub fn is_unasked(&self) -> bool {
        self.query.is_none() && self.response.is_none()
    }
}

/// One lookup of a client: a query, its retransmissions and the answer, as all vantages saw it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Transaction {
    /// The asking address and port.
    pub client: Option<Endpoint>,
    /// Message id on the client leg.
    pub id: u16,
    /// Transport.
    pub transport: Transport,
    /// The question.
    pub question: Question,
    /// Header bits of the query, if the query was seen.
    pub query_flags: Option<Flags>,
    /// UDP buffer size offered (512 = no EDNS), if seen.
    pub bufsize: Option<u16>,
    /// The query as it was sent, kept only where its name has upper case or it carries EDNS options: what a response
    /// must repeat (0x20), and what only fingerprints ask for (NSID).
    #[serde(skip)]
    pub odd_query: Option<Arc<Body>>,
    /// When it was asked, reference clock.
    pub asked: ObservedAt,
    /// When it was answered, reference clock.
    pub answered: ObservedAt,
    /// The DNS server instance that answered: its origin.
    #[serde(skip)]
    pub origin: OriginId,
    /// Every record of this lookup, in (item, ordinal) order.
    #[serde(skip)]
    pub records: SmallVec<[RecordRef; 4]>,
    /// Vantages that saw it, sorted, without repeats.
    pub vantages: SmallVec<[Vantage; 4]>,
    /// The richest response seen (with sections rather than without; the server's rather than the wire's).
    pub response: Option<Response>,
    /// A response of another vantage that differs in return code or data: kept, never merged.
    pub dissent: Option<Box<Response>>,
    /// Upstream exchanges made for it.
    pub upstream: Vec<Arc<UpstreamExchange>>,
    /// How often the client sent the same query again.
    pub retransmissions: u16,
    /// Server-side duration, nanoseconds.
    pub duration_ns: Option<i64>,
    /// Size of the response, octets.
    pub response_size: Option<u32>,
    /// The server's metadata.
    pub hints: Option<Arc<Hints>>,
}

impl Transaction {
    /// Client address.
    #[must_use]
    pub fn client_ip(&self) -> Option<IpAddr> {
        self.client.map(|endpoint| endpoint.ip)
    }

    /// Return code of the response, if one was written and seen.
    #[must_use]
    pub fn rcode(&self) -> Option<Rcode> {
        self.response.as_ref().and_then(|response| response.rcode)
    }
}

/// A lookup with its conclusions: what detectors read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// The lookup.
    pub transaction: Arc<Transaction>,
    /// Who asked.
    pub attribution: Attribution,
    /// Whether the answer was true.
    pub verdict: Verdict,
}

/// How an application's lookup ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IntentOutcome {
    /// The name as given was answered.
    ResolvedAbsolute,
    /// Search-list entry `i` answered, and the base is no public name.
    ResolvedSearch(u8),
    /// Search-list entry `i` answered a base that looks like a public name.
    Captured(u8),
    /// Every step ended in NXDOMAIN.
    NxDomain,
    /// The name exists without the type asked.
    NoData,
    /// The server failed.
    ServFail,
    /// No answer.
    Timeout,
    /// The client stopped before the list was walked.
    Abandoned,
}

/// One lookup by an application: the base name and every step of the search list that was tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Intent {
    /// The client address.
    pub client: IpAddr,
    /// Who asked.
    pub attribution: Attribution,
    /// The name that the application asked for.
    pub base: Name,
    /// The name that answered, or the last one tried.
    pub last: Name,
    /// First step, reference clock.
    pub from: Interval,
    /// Last step, reference clock.
    pub to: Interval,
    /// Types asked, sorted.
    pub rtypes: SmallVec<[Rtype; 2]>,
    /// How it ended.
    pub outcome: IntentOutcome,
    /// Number of queries spent.
    pub queries: u32,
    /// The lookups, in order, up to a bound of 32.
    pub steps: Vec<Arc<Judged>>,
}
