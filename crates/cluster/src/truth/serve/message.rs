//! Questions and answers inside a server, and how CoreDNS classifies them (`plugin/pkg/response`, `pkg/dnsutil`).
//!
//! Enters: nothing; leaves: [`Ask`], [`Reply`] and what may stand instead of one. Deliberately absent: EDNS options,
//! sizes and truncation: a client that is told to come back over TCP gets the answer that is foretold here.

use std::net::IpAddr;

use truename_model::{Class, Name, Question, Rcode, Rdata, Rtype};

/// A record with the bounds of its TTL: both are equal unless a cache may have counted it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rr {
    /// Owner.
    pub owner: Name,
    /// Type.
    pub rtype: Rtype,
    /// Class.
    pub class: Class,
    /// Most seconds.
    pub ttl: u32,
    /// Least seconds.
    pub least: u32,
    /// Data.
    pub rdata: Rdata,
}

impl Rr {
    /// A record of class IN whose TTL is known.
    #[must_use]
    pub fn new(owner: Name, ttl: u32, rdata: Rdata) -> Self {
        Self { owner, rtype: type_of(&rdata), class: Class::IN, ttl, least: ttl, rdata }
    }

    fn with_ttl(mut self, most: u32, least: u32) -> Self {
        (self.ttl, self.least) = (most, least);
        self
    }
}

/// The type that data of a known form belong to; `Other` has no type of its own.
#[must_use]
pub fn type_of(rdata: &Rdata) -> Rtype {
    match rdata {
        Rdata::A(_) => Rtype::A,
        Rdata::Aaaa(_) => Rtype::AAAA,
        Rdata::Cname(_) => Rtype::CNAME,
        Rdata::Ns(_) => Rtype::NS,
        Rdata::Ptr(_) => Rtype::PTR,
        Rdata::Mx(..) => Rtype::MX,
        Rdata::Srv { .. } => Rtype::SRV,
        Rdata::Soa { .. } => Rtype::SOA,
        Rdata::Txt(_) => Rtype::TXT,
        Rdata::Other(_) => Rtype::NULL,
    }
}

/// A query as it passes the plugins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The question.
    pub question: Question,
    /// The name in wire form as written, if it has upper case.
    pub written: Option<Box<[u8]>>,
    /// RD.
    pub rd: bool,
    /// AD.
    pub ad: bool,
    /// CD.
    pub cd: bool,
    /// It has an OPT record.
    pub edns: bool,
    /// DO.
    pub dnssec: bool,
    /// It came over TCP.
    pub tcp: bool,
    /// Client.
    pub client: IpAddr,
}

impl Ask {
    /// A plain query over UDP.
    #[must_use]
    pub fn new(question: Question, client: IpAddr) -> Self {
        Self {
            question,
            written: None,
            rd: true,
            ad: false,
            cd: false,
            edns: false,
            dnssec: false,
            tcp: false,
            client,
        }
    }

    /// The same query with another question (`NewWithQuestion`).
    #[must_use]
    pub fn about(&self, name: Name, rtype: Rtype) -> Self {
        let question = Question { name, rtype, class: Class::IN };
        Self { question, written: None, ..self.clone() }
    }

    /// True if the part of the name that is `zone` is written with upper case.
    #[must_use]
    pub fn spells_zone(&self, zone: &Name) -> bool {
        has_capitals(self.written.as_deref(), zone)
    }
}

/// True if the end of a name in wire form that is `zone` has upper case.
#[must_use]
pub fn has_capitals(written: Option<&[u8]>, zone: &Name) -> bool {
    let Some(written) = written else { return false };
    let start = written.len().saturating_sub(zone.wire().len());
    written[start..].iter().any(u8::is_ascii_uppercase)
}

/// A message in answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Question section.
    pub question: Question,
    /// Return code.
    pub rcode: Rcode,
    /// AA.
    pub aa: bool,
    /// RD.
    pub rd: bool,
    /// RA.
    pub ra: bool,
    /// CD.
    pub cd: bool,
    /// An OPT record is in it already.
    pub opt: bool,
    /// Answer section.
    pub answer: Vec<Rr>,
    /// Authority section.
    pub authority: Vec<Rr>,
    /// Additional section without OPT.
    pub additional: Vec<Rr>,
    /// It cannot be packed: nothing is sent.
    pub unpackable: bool,
    /// Its question section is damaged (row 6).
    pub mangled: bool,
    /// The question's name in wire form as an upstream repeated it, if it had upper case.
    pub spelled: Option<Box<[u8]>>,
}

impl Reply {
    /// An empty answer (`SetReply`).
    #[must_use]
    pub fn to(ask: &Ask) -> Self {
        Self {
            question: ask.question.clone(),
            rcode: Rcode::NOERROR,
            aa: false,
            rd: ask.rd,
            ra: false,
            cd: ask.cd,
            opt: false,
            answer: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
            unpackable: false,
            mangled: false,
            spelled: None,
        }
    }

    /// An empty answer with a return code (`SetRcode`).
    #[must_use]
    pub fn code(ask: &Ask, rcode: Rcode) -> Self {
        Self { rcode, ..Self::to(ask) }
    }

    /// All records.
    pub fn records(&self) -> impl Iterator<Item = &Rr> {
        self.answer.iter().chain(&self.authority).chain(&self.additional)
    }

    /// Gives every record the same TTL.
    pub fn set_ttl(&mut self, most: u32, least: u32) {
        for section in [&mut self.answer, &mut self.authority, &mut self.additional] {
            *section = std::mem::take(section).into_iter().map(|rr| rr.with_ttl(most, least)).collect();
        }
    }

    /// `Typify`; `modern`: as 1.15.0 does it.
    #[must_use]
    pub fn kind(&self, modern: bool) -> ReplyKind {
        if matches!(self.question.rtype, Rtype::AXFR | Rtype::IXFR) {
            return ReplyKind::Meta;
        }
        match (self.answer.is_empty(), self.rcode) {
            (false, Rcode::NOERROR) => return ReplyKind::NoError,
            (false, Rcode::NXDOMAIN) if modern => return ReplyKind::OtherError,
            _ => {}
        }
        let has = |rtype: Rtype| self.authority.iter().any(|rr| rr.rtype == rtype);
        match self.rcode {
            Rcode::NOERROR if has(Rtype::SOA) => ReplyKind::NoData,
            // Older versions wanted an SOA record.
            Rcode::NXDOMAIN if modern || has(Rtype::SOA) => ReplyKind::NameError,
            Rcode::SERVFAIL | Rcode::NOTIMP => ReplyKind::ServerError,
            Rcode::NOERROR if has(Rtype::NS) => ReplyKind::Delegation,
            Rcode::NOERROR => ReplyKind::NoError,
            _ => ReplyKind::OtherError,
        }
    }

    /// `answersQuestion` (1.15.0): the chain of aliases in the answer ends in a record of the type and class asked for.
    #[must_use]
    pub fn answers_question(&self) -> bool {
        let Question { name, rtype, .. } = &self.question;
        if self.rcode != Rcode::NOERROR || self.answer.is_empty() {
            return false;
        }
        if *rtype == Rtype::ANY {
            return self.of_class().any(|rr| rr.owner == *name);
        }
        if *rtype == Rtype::CNAME {
            return matches!(self.alias_of(name), Ok(Some(_)));
        }
        let mut at = name.clone();
        for _ in 0..=self.answer.len() {
            match self.alias_of(&at) {
                Err(()) => return false,
                Ok(None) => return self.of_class().any(|rr| rr.rtype == *rtype && rr.owner == at),
                Ok(Some(target)) => at = target.clone(),
            }
        }
        false
    }

    /// Records of the answer section whose class is the question's (`classMatches`).
    fn of_class(&self) -> impl Iterator<Item = &Rr> {
        let class = self.question.class;
        self.answer.iter().filter(move |rr| class == Class::ANY || rr.class == class)
    }

    /// The one alias of `owner`; an error if there are different ones.
    fn alias_of(&self, owner: &Name) -> Result<Option<&Name>, ()> {
        let mut found = None;
        for rr in self.of_class().filter(|rr| rr.owner == *owner && rr.rtype == Rtype::CNAME) {
            let Rdata::Cname(target) = &rr.rdata else { continue };
            if found.is_some_and(|known| known != target) {
                return Err(());
            }
            found = Some(target);
        }
        Ok(found)
    }
}

/// What kind of answer a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    /// Positive.
    NoError,
    /// NXDOMAIN.
    NameError,
    /// SERVFAIL or NOTIMP.
    ServerError,
    /// NOERROR with an SOA record and nothing else.
    NoData,
    /// A referral.
    Delegation,
    /// A transfer.
    Meta,
    /// Anything else.
    OtherError,
}

/// What a plugin did with a query: what it wrote, and what it returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The message that it wrote.
    pub reply: Option<Reply>,
    /// The code that it returned.
    pub rcode: Rcode,
    /// It returned an error beside the code.
    pub failed: bool,
}

impl Served {
    /// A message was written.
    #[must_use]
    pub fn wrote(reply: Reply) -> Self {
        Self { reply: Some(reply), rcode: Rcode::NOERROR, failed: false }
    }

    /// Nothing was written.
    #[must_use]
    pub fn code(rcode: Rcode) -> Self {
        Self { reply: None, rcode, failed: false }
    }

    /// Nothing was written because of an error.
    #[must_use]
    pub fn error(rcode: Rcode) -> Self {
        Self { reply: None, rcode, failed: true }
    }

    /// `ClientWrite`: nobody else has to write.
    #[must_use]
    pub fn is_written(&self) -> bool {
        !matches!(self.rcode, Rcode::SERVFAIL | Rcode::REFUSED | Rcode::FORMERR | Rcode::NOTIMP)
    }
}

/// Why no answer is foretold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The data of this plugin lie outside the Corefile.
    Elsewhere(String),
    /// Something is not modelled.
    Unmodelled(String),
    /// A handler panics; the server answers SERVFAIL.
    Panic,
    /// A handler writes a message that is none, of which the first writer panics that looks into it.
    Blank,
    /// The process dies, or answers before it dies.
    Dies(Box<Option<Reply>>),
    /// The query is never answered.
    Hangs,
}
