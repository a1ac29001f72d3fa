//! The pass over one message: enters octets after a whole header, leaves its body and the first fault met.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use truename_model::{Body, Class, Edns, Name, NameInterner, Question, Rdata, Record, Rtype};

use super::HEADER;
use super::cache::Parsed;
use super::fault::Fault;
use super::name::{self, NameBuf};

/// The fewest octets of a record: root owner, type, class, TTL, length.
const SHORTEST_RECORD: usize = 11;

/// A body that shows nothing but its fault.
pub(super) fn empty(fault: Fault) -> Body {
    Body {
        question: None,
        qname_case: None,
        answers: Vec::new(),
        authority: Vec::new(),
        additional: Vec::new(),
        edns: None,
        sections_seen: true,
        malformed: Some(fault.phrase()),
    }
}

/// Parses a message of at least [`HEADER`] octets.
pub(super) fn parse(bytes: &[u8], names: &mut NameInterner, cut: bool) -> Parsed {
    let mut pass = Pass { bytes, at: HEADER, buf: NameBuf::new(), names, fault: None, extended_rcode: 0 };
    let mut body = Body { malformed: None, ..empty(Fault::ShortHeader) };
    if let Err(fault) = pass.sections(&mut body) {
        pass.note(fault);
    } else if pass.at < bytes.len() {
        pass.note(Fault::TrailingBytes);
    }
    body.malformed = match pass.fault {
        Some(Fault::Truncated) if cut => Some(Fault::CutByCapture.phrase()),
        fault => fault.map(Fault::phrase),
    };
    Parsed { extended_rcode: pass.extended_rcode, body: Arc::new(body) }
}

struct Pass<'a> {
    bytes: &'a [u8],
    at: usize,
    buf: NameBuf,
    names: &'a mut NameInterner,
    // The first fault: later ones are mostly its consequences.
    fault: Option<Fault>,
    extended_rcode: u8,
}

impl Pass<'_> {
    fn note(&mut self, fault: Fault) {
        self.fault = self.fault.or(Some(fault));
    }

    fn sections(&mut self, body: &mut Body) -> Result<(), Fault> {
        let [questions, answers, authority, additional] =
            [4, 6, 8, 10].map(|at| read_u16(self.bytes, at).unwrap_or(0));
        self.questions(questions, body)?;
        self.records(answers, &mut body.answers, None)?;
        self.records(authority, &mut body.authority, None)?;
        self.records(additional, &mut body.additional, Some(&mut body.edns))
    }

    fn questions(&mut self, count: u16, body: &mut Body) -> Result<(), Fault> {
        for index in 0..count {
            let start = self.at;
            let name = self.name()?;
            let had_upper = self.buf.had_upper;
            let rtype = Rtype(self.u16()?);
            let class = Class(self.u16()?);
            if index > 0 {
                self.note(Fault::SeveralQuestions);
                continue;
            }
            body.question = Some(Question { name, rtype, class });
            if had_upper {
                let mut cased = NameBuf::new();
                name::read_cased(self.bytes, start, &mut cased, false)?;
                body.qname_case = Some(name::presentation(cased.wire()).into_boxed_str());
            }
        }
        Ok(())
    }

    fn records(
        &mut self,
        count: u16,
        out: &mut Vec<Record>,
        mut edns: Option<&mut Option<Edns>>,
    ) -> Result<(), Fault> {
        let left = self.bytes.len().saturating_sub(self.at) / SHORTEST_RECORD;
        if count > 0 {
            // An OPT record is not kept here, and most additional sections hold nothing else.
            let kept = if edns.is_some() { usize::from(count) - 1 } else { usize::from(count) };
            out.reserve_exact(kept.min(left));
        }
        for _ in 0..count {
            let owner = self.name()?;
            let rtype = Rtype(self.u16()?);
            let class = self.u16()?;
            let ttl = self.u32()?;
            let len = usize::from(self.u16()?);
            let start = self.at;
            let end = start + len;
            let data = self.bytes.get(start..end).ok_or(Fault::Truncated)?;
            if rtype == Rtype::OPT {
                match edns.as_deref_mut() {
                    Some(slot) => self.opt(&owner, class, ttl, data, slot),
                    None => self.note(Fault::MisplacedOpt),
                }
            } else {
                let rdata = self.rdata(rtype, Class(class), start, data);
                out.push(Record { owner, rtype, class: Class(class), ttl, rdata });
            }
            self.at = end;
        }
        Ok(())
    }

    /// OPT (RFC 6891 §6.1): class is the payload size, TTL holds extended rcode, version and DO.
    fn opt(&mut self, owner: &Name, class: u16, ttl: u32, data: &[u8], slot: &mut Option<Edns>) {
        if slot.is_some() {
            return self.note(Fault::SecondOpt);
        }
        if !owner.is_root() {
            self.note(Fault::MisplacedOpt);
        }
        let [extended, version, flags, _] = ttl.to_be_bytes();
        self.extended_rcode = extended;
        let options = self.options(data);
        *slot = Some(Edns { udp_size: class, version, dnssec_ok: flags & 0x80 != 0, options });
    }

    fn options(&mut self, data: &[u8]) -> Vec<(u16, Box<[u8]>)> {
        let mut options = Vec::new();
        let mut rest = data;
        while !rest.is_empty() {
            let parsed = rest.split_at_checked(4).and_then(|(head, tail)| {
                let len = usize::from(read_u16(head, 2)?);
                let (value, next) = tail.split_at_checked(len)?;
                Some((read_u16(head, 0)?, value, next))
            });
            let Some((code, value, next)) = parsed else {
                self.note(Fault::BadOption);
                break;
            };
            options.push((code, Box::from(value)));
            rest = next;
        }
        options
    }

    /// Typed data where Truename reads it, the raw octets otherwise or when they do not fit their type.
    fn rdata(&mut self, rtype: Rtype, class: Class, start: usize, data: &[u8]) -> Rdata {
        // UPDATE (RFC 2136 §2.4, §2.5) uses empty data with the classes NONE and ANY.
        if data.is_empty() && matches!(class, Class::ANY | Class::NONE) {
            return Rdata::Other(Box::from(data));
        }
        match self.typed(rtype, class, start, data) {
            Ok(Some(rdata)) => rdata,
            Ok(None) => Rdata::Other(Box::from(data)),
            Err(fault) => {
                // The record's length says where the next one begins, so reading goes on behind it.
                self.note(if fault == Fault::Truncated { Fault::BadRdata } else { fault });
                Rdata::Other(Box::from(data))
            }
        }
    }

    fn typed(
        &mut self,
        rtype: Rtype,
        class: Class,
        start: usize,
        data: &[u8],
    ) -> Result<Option<Rdata>, Fault> {
        let end = start + data.len();
        let in_class = class == Class::IN;
        let rdata = match rtype {
            Rtype::A if in_class => {
                Rdata::A(Ipv4Addr::from(<[u8; 4]>::try_from(data).map_err(|_| Fault::BadRdata)?))
            }
            Rtype::AAAA if in_class => {
                Rdata::Aaaa(Ipv6Addr::from(<[u8; 16]>::try_from(data).map_err(|_| Fault::BadRdata)?))
            }
            Rtype::CNAME | Rtype::DNAME => Rdata::Cname(self.last_name(start, end)?),
            Rtype::NS => Rdata::Ns(self.last_name(start, end)?),
            Rtype::PTR => Rdata::Ptr(self.last_name(start, end)?),
            Rtype::MX => {
                let preference = read_u16(data, 0).ok_or(Fault::BadRdata)?;
                Rdata::Mx(preference, self.last_name(start + 2, end)?)
            }
            Rtype::SRV if in_class => {
                let [priority, weight, port] = [0, 2, 4].map(|at| read_u16(data, at));
                let (Some(priority), Some(weight), Some(port)) = (priority, weight, port) else {
                    return Err(Fault::BadRdata);
                };
                Rdata::Srv { priority, weight, port, target: self.last_name(start + 6, end)? }
            }
            Rtype::SOA => self.soa(start, end)?,
            Rtype::TXT => Rdata::Txt(checked_strings(data)?),
            _ => return Ok(None),
        };
        Ok(Some(rdata))
    }

    fn soa(&mut self, start: usize, end: usize) -> Result<Rdata, Fault> {
        let (mname, at) = self.name_at(start)?;
        let (rname, at) = self.name_at(at)?;
        if at + 20 != end {
            return Err(Fault::BadRdata);
        }
        let numbers = [0, 4, 8, 12, 16].map(|offset| read_u32(self.bytes, at + offset).unwrap_or(0));
        Ok(Rdata::Soa { mname, rname, numbers })
    }

    /// A name that must end where its record ends.
    fn last_name(&mut self, at: usize, end: usize) -> Result<Name, Fault> {
        let (name, after) = self.name_at(at)?;
        if after == end { Ok(name) } else { Err(Fault::BadRdata) }
    }

    fn name_at(&mut self, at: usize) -> Result<(Name, usize), Fault> {
        let after = name::read(self.bytes, at, &mut self.buf)?;
        // The reader checked every rule that the interner checks; a refusal would be a fault of this program.
        let name = self.names.intern(self.buf.wire()).map_err(|_| Fault::NameTooLong)?;
        Ok((name, after))
    }

    fn name(&mut self) -> Result<Name, Fault> {
        let (name, after) = self.name_at(self.at)?;
        self.at = after;
        Ok(name)
    }

    fn u16(&mut self) -> Result<u16, Fault> {
        let value = read_u16(self.bytes, self.at).ok_or(Fault::Truncated)?;
        self.at += 2;
        Ok(value)
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        let value = read_u32(self.bytes, self.at).ok_or(Fault::Truncated)?;
        self.at += 4;
        Ok(value)
    }
}

/// Character strings (RFC 1035 §3.3.14) must fill the data exactly, and there is at least one.
fn checked_strings(data: &[u8]) -> Result<Box<[u8]>, Fault> {
    let mut rest = data;
    while let Some((&len, tail)) = rest.split_first() {
        rest = tail.get(usize::from(len)..).ok_or(Fault::BadRdata)?;
    }
    if data.is_empty() { Err(Fault::BadRdata) } else { Ok(Box::from(data)) }
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_be_bytes)
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_be_bytes)
}
