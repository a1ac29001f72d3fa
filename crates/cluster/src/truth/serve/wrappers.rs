//! Plugins that let others answer and change it, or forbid it: `minimal`, `header`, `dns64`, `acl`.
//!
//! Enters: a query. Leaves: what they serve. Deliberately absent: `rewrite` and `cache`, which have files of their own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use truename_model::{Class, Rcode, Rdata, Rtype};

use super::message::{Ask, Reply, ReplyKind, Rr, Served, Stop};
use super::run::Run;
use super::site::Block;
use crate::corefile::Version;
use crate::corefile::policy::{Acl, AclAction, Dns64, Header};

impl<'s> Run<'s, '_, '_> {
    pub(super) fn minimal(
        &mut self,
        line: u32,
        block: &'s Block<'s>,
        at: usize,
        ask: &mut Ask,
    ) -> Result<Served, Stop> {
        let served = self.next(block, at + 1, ask)?;
        self.uses("minimal", line);
        if served.failed {
            return Ok(Served { reply: None, ..served });
        }
        let Some(mut reply) = served.reply else {
            // Older versions classify the message that is not there, and write it (row 48).
            if self.site.version < Version(1, 15, 0) {
                return Err(Stop::Blank);
            }
            return Ok(Served::code(served.rcode));
        };
        if reply.kind(self.site.version >= Version(1, 15, 0)) == ReplyKind::NoError {
            reply.authority.clear();
            reply.additional.clear();
            reply.opt = false;
        }
        Ok(Served::wrote(reply))
    }

    pub(super) fn header(
        &mut self,
        header: &Header,
        block: &'s Block<'s>,
        at: usize,
        ask: &mut Ask,
    ) -> Result<Served, Stop> {
        self.uses("header", header.line);
        for (flag, set) in &header.query {
            if flag == "rd" {
                ask.rd = *set;
            }
        }
        let served = self.next(block, at + 1, ask);
        let mut served = if header.response.is_empty() { served? } else { served.map_err(looked_into)? };
        if let Some(reply) = &mut served.reply {
            for (flag, set) in &header.response {
                match flag.as_str() {
                    "aa" => reply.aa = *set,
                    "ra" => reply.ra = *set,
                    "rd" => reply.rd = *set,
                    _ => {}
                }
            }
        }
        Ok(served)
    }

    pub(super) fn acl(
        &mut self,
        list: &[&Acl],
        block: &'s Block<'s>,
        at: usize,
        ask: &mut Ask,
    ) -> Result<Served, Stop> {
        for acl in list {
            let decided = acl.decide(&ask.question.name, ask.question.rtype, Some(ask.client));
            let Ok(Some(policy)) = decided else { continue };
            self.uses("acl", policy.line);
            let rcode = match policy.action {
                AclAction::Allow => break,
                AclAction::Drop => return Ok(Served::code(Rcode::NOERROR)),
                AclAction::Block => Rcode::REFUSED,
                AclAction::Filter => Rcode::NOERROR,
            };
            let mut reply = Reply::code(ask, rcode);
            reply.opt = true;
            return Ok(Served::wrote(reply));
        }
        self.next(block, at + 1, ask)
    }

    pub(super) fn dns64(
        &mut self,
        dns64: &Dns64,
        block: &'s Block<'s>,
        at: usize,
        ask: &mut Ask,
    ) -> Result<Served, Stop> {
        let asks = ask.question.rtype == Rtype::AAAA && ask.question.class == Class::IN;
        if !asks || (!dns64.allow_ipv4 && ask.client.is_ipv4()) {
            return self.next(block, at + 1, ask);
        }
        let served = match self.next(block, at + 1, ask) {
            // It keeps what is written without a look, and writes nothing if that is nothing.
            Err(Stop::Blank) if !block.balanced => return Ok(Served::code(Rcode::NOERROR)),
            Err(Stop::Blank) => return Err(Stop::Panic),
            served => served?,
        };
        let Some(reply) = &served.reply else { return Ok(served) };
        let native = reply.answer.iter().any(|rr| rr.rtype == Rtype::AAAA);
        if reply.kind(self.site.version >= Version(1, 15, 0)) == ReplyKind::NameError
            || (native && !dns64.translate_all)
        {
            return Ok(served);
        }
        self.uses("dns64", dns64.line);
        let limit = reply
            .authority
            .iter()
            .find(|rr| rr.rtype == Rtype::SOA)
            .map_or((600, 600), |rr| (rr.ttl, rr.least));
        let newer = self.site.version >= Version(1, 15, 0);
        let Some(found) = self.lookup(ask, ask.question.name.clone(), Rtype::A)? else {
            return if newer { Ok(Served::error(Rcode::SERVFAIL)) } else { Err(Stop::Panic) };
        };
        let mut out = Reply::to(ask);
        // Up to 1.14 the return code of the lookup was lost.
        out.rcode = if newer { found.rcode } else { Rcode::NOERROR };
        out.additional = found.additional;
        out.authority = found.authority;
        out.opt = found.opt;
        out.answer = found.answer.into_iter().map(|rr| synthesised(dns64, rr, limit)).collect();
        Ok(Served::wrote(out))
    }
}

/// What becomes of an error on its way through a writer that looks into messages.
pub(super) fn looked_into(stop: Stop) -> Stop {
    if stop == Stop::Blank { Stop::Panic } else { stop }
}

fn synthesised(dns64: &Dns64, rr: Rr, (most, least): (u32, u32)) -> Rr {
    let (Rdata::A(ip), (IpAddr::V6(prefix), bits)) = (&rr.rdata, dns64.prefix) else { return rr };
    let rdata = Rdata::Aaaa(embed(prefix, bits, *ip));
    Rr { rdata, rtype: Rtype::AAAA, ttl: rr.ttl.min(most), least: rr.least.min(least), ..rr }
}

/// An IPv4 address in an IPv6 prefix (RFC 6052 §2.2): octet 8 stays zero.
#[must_use]
pub(super) fn embed(prefix: Ipv6Addr, bits: u8, ip: Ipv4Addr) -> Ipv6Addr {
    let mut octets = prefix.octets();
    let mut at = usize::from(bits / 8);
    for octet in ip.octets() {
        if at == 8 {
            at += 1;
        }
        if let Some(slot) = octets.get_mut(at) {
            *slot = octet;
        }
        at += 1;
    }
    Ipv6Addr::from(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_embedded_as_the_rfc_shows() {
        let ip = Ipv4Addr::new(192, 0, 2, 33);
        for (prefix, bits, wanted) in [
            ("2001:db8::", 32, "2001:db8:c000:221::"),
            ("2001:db8:122::", 48, "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:344::", 64, "2001:db8:122:344:c0:2:2100:0"),
            ("64:ff9b::", 96, "64:ff9b::192.0.2.33"),
        ] {
            assert_eq!(embed(prefix.parse().unwrap(), bits, ip), wanted.parse::<Ipv6Addr>().unwrap());
        }
    }
}
