//! An answer against what one world implies: equal, a legal part, the beginning of a chase, or not.
//!
//! Enters: return code, flags and sections as seen; an [`Outcome`]. Leaves: a [`Match`], and over all worlds in which
//! way the answer is wrong ([`Tally`]). Order never matters, repeats do not either.

use std::collections::BTreeSet;

use truename_model::name::Name;
use truename_model::rr::{Body, Flags, Rcode, Rdata, Record, Rtype};
use truename_model::verdict::Contradiction;

use super::model::{Datum, Outcome, Records, soa_data};
use super::options::Options;

/// How an answer relates to one world.
#[derive(Clone, Debug, PartialEq)]
pub enum Match {
    /// It is what this world implies.
    Yes,
    /// It begins with this world's aliases and goes on with what the name outside the zone gave.
    Chase(Name, Vec<Record>),
    /// A strict part of what is implied, though nothing was cut.
    Part,
    /// It is something else.
    No,
}

/// The answer as seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Return code.
    pub rcode: Rcode,
    /// Header bits.
    pub flags: Flags,
    /// Sections.
    pub body: &'a Body,
}

impl Seen<'_> {
    fn is_negative(&self) -> bool {
        self.body.answers.is_empty()
    }

    fn cut(&self) -> bool {
        self.flags.has(Flags::TC)
    }

    /// Compares with what one world implies.
    #[must_use]
    pub fn against(&self, outcome: &Outcome) -> Match {
        match outcome {
            Outcome::NxDomain => yes(self.rcode == Rcode::NXDOMAIN && self.is_negative()),
            Outcome::NoData => yes(self.rcode == Rcode::NOERROR && self.is_negative() && !self.cut()),
            Outcome::Unanswerable | Outcome::OutOfModel(_) => Match::No,
            // No address of this family is known of any server: having none is what this world implies.
            Outcome::AnyOf(data) if data.is_empty() => {
                yes(self.rcode == Rcode::NOERROR && self.is_negative() && !self.cut())
            }
            Outcome::AnyOf(data) => {
                let known = |record: &Record| {
                    // The root as owner stands for any: glue and address answers of the DNS service.
                    data.iter().any(|(owner, of)| {
                        same_data(of, &record.rdata) && (owner.is_root() || *owner == record.owner)
                    })
                };
                yes(self.rcode == Rcode::NOERROR
                    && !self.is_negative()
                    && self.body.answers.iter().all(known))
            }
            Outcome::Records(records) => self.against_records(records),
        }
    }

    fn against_records(&self, records: &Records) -> Match {
        if self.rcode != Rcode::NOERROR {
            return Match::No;
        }
        let answers = &self.body.answers;
        let has =
            |(owner, data): &Datum| answers.iter().any(|r| r.owner == *owner && same_data(data, &r.rdata));
        let implied = |r: &Record| {
            records.answers.iter().any(|(owner, data)| r.owner == *owner && same_data(data, &r.rdata))
        };
        let all_there = records.answers.iter().all(has);
        if let Some(target) = &records.chase {
            if !all_there {
                return Match::No;
            }
            let rest: Vec<Record> = answers.iter().filter(|r| !implied(r)).cloned().collect();
            return if rest.is_empty() { Match::Yes } else { Match::Chase(target.clone(), rest) };
        }
        if !answers.iter().all(implied) {
            return Match::No;
        }
        match all_there || self.cut() {
            true => Match::Yes,
            false if answers.is_empty() => Match::No,
            false => Match::Part,
        }
    }
}

/// What is wrong outside the answer section of a message whose answer section fits.
#[derive(Clone, Debug, PartialEq)]
pub enum Beside {
    /// Records that the cluster does not give and cannot deny either.
    Strange,
    /// An address of a name of the cluster that its plugin does not give there.
    False(Contradiction, String),
}

impl Seen<'_> {
    /// What is wrong in the authority and additional sections, of which caches, `minimal` and truncation may have
    /// dropped anything: a denial bears the SOA record of `zone`, SRV and NS answers the addresses of their targets.
    #[must_use]
    pub fn beside(&self, outcome: &Outcome, options: &Options, zone: &Name) -> Option<Beside> {
        let Body { authority, additional, .. } = self.body;
        if authority.is_empty() && additional.is_empty() {
            return None;
        }
        let glue = match outcome {
            Outcome::Records(records) => records.additional.as_slice(),
            Outcome::AnyOf(data) => data,
            _ => &[],
        };
        let owns = |owner: &Name, record: &Record| owner.is_root() || *owner == record.owner;
        let given = |record: &Record| glue.iter().any(|(o, of)| owns(o, record) && *of == record.rdata);
        // Signatures of the message itself say nothing of names.
        let signs = |record: &Record| matches!(record.rtype.0, SIG | TSIG);
        let mut odd = additional.iter().filter(|record| !given(record) && !signs(record)).peekable();
        let deniable = |record: &&Record| {
            let address = matches!(record.rdata, Rdata::A(_) | Rdata::Aaaa(_));
            address && options.zone_of(&record.owner).is_some() && !matches!(outcome, Outcome::AnyOf(_))
        };
        let strange = odd.peek().is_some();
        if let Some(record) = odd.find(deniable) {
            let own: Vec<Datum> = glue.iter().filter(|(owner, _)| *owner == record.owner).cloned().collect();
            let (how, there) = match own.is_empty() {
                true => (Contradiction::ExtraAddress, "no address".to_owned()),
                false => (Contradiction::WrongAddress, listed(&own)),
            };
            let text = format!("{there} of {} beside the answer, not {}", record.owner, record.rdata);
            return Some(Beside::False(how, text));
        }
        let soa = soa_data(zone, options.ttl);
        let own = |record: &Record| {
            record.owner == *zone && soa.as_ref().is_some_and(|soa| same_data(soa, &record.rdata))
        };
        (strange || !authority.iter().all(own)).then_some(Beside::Strange)
    }
}

/// Types of records that sign a message (RFC 2931, RFC 8945).
const SIG: u16 = 24;
const TSIG: u16 = 250;

fn yes(holds: bool) -> Match {
    if holds { Match::Yes } else { Match::No }
}

/// Equal data; of an SOA only the names, its numbers are the server's own.
fn same_data(a: &Rdata, b: &Rdata) -> bool {
    match (a, b) {
        (Rdata::Soa { mname, rname, .. }, Rdata::Soa { mname: m, rname: r, .. }) => mname == m && rname == r,
        (a, b) => a == b,
    }
}

/// What all worlds together allow, to say how an answer is wrong.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    data: BTreeSet<Rdata>,
    positive: bool,
    nodata: bool,
    nxdomain: bool,
    silent: bool,
}

impl Tally {
    /// Adds a world.
    pub fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Records(records) => {
                self.positive = true;
                for (_, data) in &records.answers {
                    if !self.data.contains(data) {
                        self.data.insert(data.clone());
                    }
                }
            }
            Outcome::AnyOf(_) | Outcome::OutOfModel(_) => self.positive = true,
            Outcome::NoData => self.nodata = true,
            Outcome::NxDomain => self.nxdomain = true,
            Outcome::Unanswerable => self.silent = true,
        }
    }

    /// In which way `seen` is wrong, given that no world implies it; `None`: not certain enough to say so.
    #[must_use]
    pub fn how(&self, seen: &Seen<'_>, qtype: Rtype) -> Option<Contradiction> {
        let answers = &seen.body.answers;
        if answers.is_empty() {
            let addresses = matches!(qtype, Rtype::A | Rtype::AAAA);
            return match (self.positive, self.nodata, self.nxdomain) {
                (true, false, false) => Some(Contradiction::ShouldExist),
                (false, true, false) if addresses && seen.rcode == Rcode::NXDOMAIN => {
                    Some(Contradiction::ShouldExist)
                }
                (false, false, true) if addresses && seen.rcode == Rcode::NOERROR => {
                    Some(Contradiction::ShouldNotExist)
                }
                // A mixture over time, or a denial of a kind that releases differ in.
                _ => None,
            };
        }
        if !self.positive {
            return Some(Contradiction::ShouldNotExist);
        }
        let alias = |data: &Rdata| matches!(data, Rdata::Cname(_));
        let known_alias = self.data.iter().any(alias);
        let odd_alias = answers.iter().any(|r| alias(&r.rdata) && !self.data.contains(&r.rdata));
        if odd_alias || (known_alias && !answers.iter().any(|r| alias(&r.rdata))) {
            return Some(Contradiction::WrongAlias);
        }
        let right = answers.iter().filter(|r| self.data.iter().any(|data| same_data(data, &r.rdata))).count();
        Some(if right == 0 { Contradiction::WrongAddress } else { Contradiction::ExtraAddress })
    }
}

/// What a world implies, for people.
#[must_use]
pub fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::NoData => "no data of this type".to_owned(),
        Outcome::NxDomain => "no such name".to_owned(),
        Outcome::Unanswerable => "no answer at all".to_owned(),
        Outcome::OutOfModel(why) => format!("not modelled: {why}"),
        Outcome::AnyOf(data) => format!("some of {}", listed(data)),
        Outcome::Records(records) => match &records.chase {
            None => listed(&records.answers),
            Some(target) => format!("{} and what {target} gives", listed(&records.answers)),
        },
    }
}

/// At most this many records are spelled out.
const SPELLED: usize = 16;

fn listed(data: &[Datum]) -> String {
    let mut texts: Vec<String> = data.iter().map(|(_, data)| spelled(data)).collect();
    texts.sort_unstable();
    texts.dedup();
    let more = texts.len().saturating_sub(SPELLED);
    texts.truncate(SPELLED);
    let text = texts.join(", ");
    if more > 0 { format!("{text} and {more} more") } else { text }
}

fn spelled(data: &Rdata) -> String {
    let kind = match data {
        Rdata::A(_) | Rdata::Aaaa(_) => "",
        Rdata::Cname(_) => "CNAME ",
        Rdata::Ns(_) => "NS ",
        Rdata::Ptr(_) => "PTR ",
        Rdata::Mx(..) => "MX ",
        Rdata::Srv { .. } => "SRV ",
        Rdata::Soa { .. } => "SOA ",
        Rdata::Txt(_) => "TXT ",
        Rdata::Other(_) => "",
    };
    format!("{kind}{data}")
}
