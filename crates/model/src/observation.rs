//! One decoded record: a DNS message or log line seen from a vantage, a diagnostic, or bytes that could not be read.
//!
//! Enters: what the decoders of `sources` produce. Deliberately absent: joining (see `transaction`).

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::object::ClusterChange;
use crate::origin::{OriginId, RecordRef};
use crate::rr::{Body, Flags, Rcode};
use crate::time::{Nanos, ObservedAt};

/// Where a DNS message was seen. The dnstap names are those of `dnstap.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vantage {
    /// A line of CoreDNS's `log` plugin: question, return code and sizes, no answer.
    LogLine,
    /// dnstap CLIENT_QUERY.
    ClientQuery,
    /// dnstap CLIENT_RESPONSE.
    ClientResponse,
    /// dnstap FORWARDER_QUERY.
    ForwarderQuery,
    /// dnstap FORWARDER_RESPONSE.
    ForwarderResponse,
    /// Another dnstap message type that is a query (AUTH, RESOLVER, STUB, TOOL, UPDATE).
    OtherQuery,
    /// Another dnstap message type that is a response.
    OtherResponse,
    /// A query in a packet.
    PacketQuery,
    /// A response in a packet.
    PacketResponse,
}

impl Vantage {
    /// True for the response side.
    #[must_use]
    pub fn is_response(self) -> bool {
        matches!(
            self,
            Self::LogLine
                | Self::ClientResponse
                | Self::ForwarderResponse
                | Self::OtherResponse
                | Self::PacketResponse
        )
    }
}

/// Transport of a message, as far as the source tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP; the CoreDNS log says `tcp` for DoT, DoH and gRPC too.
    Tcp,
    /// DNS over TLS.
    Dot,
    /// DNS over HTTPS.
    Doh,
    /// DNS over QUIC.
    Doq,
    /// Not told.
    Unknown,
}

/// An address with its port; port 0 where the source gives none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// Address; IPv4-mapped IPv6 is unmapped by the decoders.
    pub ip: IpAddr,
    /// Port.
    pub port: u16,
}

/// Facts of the link and network layer that help to tell a forger from the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PacketFacts {
    /// IPv4 TTL or IPv6 hop limit.
    pub ip_ttl: u8,
    /// IPv4 identification.
    pub ip_id: u16,
    /// Source MAC address, if the link layer has one.
    pub mac: Option<[u8; 6]>,
    /// True if the capture cut the packet short.
    pub cut: bool,
}

/// What the server's own metadata says (hints to be checked, never truth): see `evidence-sources` on attribution traps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hints {
    /// dnstap `identity`, or the pod that a line's wrapping names (`kubectl logs --prefix`, stern, a log collector).
    pub identity: Option<String>,
    /// dnstap `version` (`CoreDNS-1.15.0`).
    pub version: Option<String>,
    /// `{/forward/upstream}`; `-` means answered without an upstream.
    pub upstream: Option<String>,
    /// `{local}`: the listener's address.
    pub local: Option<String>,
    /// `{/kubernetes/client-namespace}`.
    pub client_namespace: Option<String>,
    /// `{/kubernetes/client-pod-name}`.
    pub client_pod: Option<String>,
    /// `{/log/type}`.
    pub log_type: Option<String>,
    /// dnstap `extra` as given.
    pub extra: Option<String>,
}

/// A DNS query or response (or a log line, which is both) seen from one vantage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DnsEvent {
    /// Vantage.
    pub vantage: Vantage,
    /// The asking side: pod on client legs; CoreDNS (or, before 1.14.5, the pod) on forwarder legs.
    pub client: Option<Endpoint>,
    /// The answering side, where the source shows it.
    pub server: Option<Endpoint>,
    /// Transport.
    pub transport: Transport,
    /// Message id. On dnstap forwarder legs it is the client's id, not the one sent upstream.
    pub id: u16,
    /// Header bits; a log line has those of the response.
    pub flags: Flags,
    /// Extended return code; `None`: a query, or no response was written (log `-`).
    pub rcode: Option<Rcode>,
    /// Question and sections.
    pub body: Arc<Body>,
    /// Server-side duration, nanoseconds (log `{duration}`, or dnstap response time − query time).
    pub duration_ns: Option<i64>,
    /// Query time by the source's clock, where the source tells it apart from the record's own time.
    pub query_time: Option<Nanos>,
    /// Size of the message, octets (log: of the query; packets and dnstap: of this message).
    pub size: u32,
    /// Size of the response, octets (log `{rsize}`).
    pub response_size: Option<u32>,
    /// UDP buffer size the client offered, where the source shows it (512 = no EDNS in the CoreDNS log).
    pub bufsize: Option<u16>,
    /// Link and network facts, packets only.
    pub packet: Option<PacketFacts>,
    /// The server's metadata.
    pub hints: Option<Arc<Hints>>,
}

/// A line of the server that is not a query: what it says of the server itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Diagnostic {
    /// `CoreDNS-1.15.0` banner: a start of the server.
    Version(String),
    /// `Running configuration SHA512 = …` (or MD5).
    RunningConfiguration {
        /// `SHA512` or `MD5`.
        algorithm: String,
        /// Hexadecimal digest.
        digest: String,
    },
    /// Reload began or ended.
    Reload {
        /// False: it failed, and the old configuration stays.
        succeeded: bool,
    },
    /// `Dropped dnstap messages: N`: a true loss of evidence.
    DnstapDropped(u64),
    /// `No connection to dnstap endpoint`: messages are lost until it is back.
    DnstapNoConnection,
    /// The server answers before it has seen the objects.
    UnsyncedApi,
    /// plugin/errors: rcode, name, type, message; no client.
    QueryError {
        /// Return code number.
        rcode: u16,
        /// Lower-case name as printed.
        name: String,
        /// Type as printed.
        rtype: String,
        /// The rest of the line.
        message: String,
    },
    /// `Outgoing transfer of N records of zone Z`.
    OutgoingTransfer {
        /// Records sent.
        records: u64,
        /// Zone as printed.
        zone: String,
    },
    /// Any other line of the server, recognised as such (level, plugin); kept for the timeline.
    Other(String),
}

/// A stretch of evidence known to be missing or cut, read in the evidence or found while reading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Stable cause word: `truncated-file`, `capture-cut`, `tcp-hole`, `fragment-missing`, `dnstap-dropped` ….
    pub cause: &'static str,
    /// How many records were lost, if known.
    pub count: Option<u64>,
    /// A sentence for people.
    pub text: String,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Event {
    /// A DNS message or log line.
    Dns(DnsEvent),
    /// A line about the server.
    Diagnostic(Diagnostic),
    /// Known loss.
    Loss(Loss),
    /// Bytes that no decoder could read; they stay in the log as evidence.
    Undecodable {
        /// Stable reason.
        reason: &'static str,
        /// Octet offset inside the record where reading stopped.
        offset: u64,
    },
    /// A record that is whole but holds nothing for us (a blank line, a control frame, a packet that is not DNS).
    Ignored(&'static str),
}

/// One decoded record. A record may give several observations (one packet with several TCP messages).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Observation {
    /// The record.
    #[serde(skip)]
    pub record: RecordRef,
    /// When it was observed, by its origin's clock before any offset is applied.
    pub at: ObservedAt,
    /// Its origin in this run's table.
    #[serde(skip)]
    pub origin: OriginId,
    /// What it says.
    pub event: Event,
}

/// What decoding a record gives.
#[derive(Clone, Debug)]
pub enum Decoded {
    /// Something seen.
    Observation(Observation),
    /// A change of the cluster, or an object as of a time.
    Change(Box<ClusterChange>),
}
