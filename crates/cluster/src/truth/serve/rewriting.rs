//! The plugin `rewrite`: questions changed on the way in, answers changed back on the way out.
//!
//! Enters: a query. Leaves: what it serves. Deliberately absent: EDNS options, which change no answer here.

use truename_model::{Name, Question, Rcode, Rdata, Rtype};

use super::message::{Ask, Reply, Rr, Served, Stop, has_capitals};
use super::run::Run;
use super::site::Block;
use super::wrappers::looked_into;
use crate::corefile::Version;
use crate::corefile::rewrite::{Action, Applied, Mode, NameMatch, ResponseChange, RewriteRule};

/// What is done to the answer, in the order of the rules.
enum Change<'s> {
    Plain(ResponseChange),
    Alias(&'s RewriteRule),
}

/// Codes of answers without any record are rewritten since then.
const BARE_CODES: Version = Version(1, 14, 7);

impl<'s> Run<'s, '_, '_> {
    pub(super) fn rewrite(
        &mut self,
        rules: &[&'s RewriteRule],
        block: &'s Block<'s>,
        at: usize,
        ask: &mut Ask,
    ) -> Result<Served, Stop> {
        let original = (ask.question.clone(), ask.written.clone());
        let mut changes: Vec<Change<'s>> = Vec::new();
        let mut stopped = false;
        for rule in rules {
            let before = ask.question.clone();
            let after = match self.applied(rule, ask) {
                Applied::No => continue,
                Applied::Maybe => return Err(Stop::Unmodelled(format!("whether '{}' applies", rule.text))),
                Applied::BadName(_) => {
                    (ask.question, ask.written) = original;
                    return Ok(Served::error(Rcode::SERVFAIL));
                }
                Applied::Yes(after) => after,
            };
            self.uses("rewrite", rule.line);
            if after.name != before.name {
                ask.written = None;
            }
            match &rule.action {
                Action::Cname { .. } => changes.push(Change::Alias(rule)),
                Action::Edns0(_) => {}
                _ => changes.extend(rule.response(&before, &after).into_iter().map(Change::Plain)),
            }
            ask.question = after;
            if rule.mode == Mode::Stop {
                stopped = true;
                break;
            }
        }
        if !stopped && changes.is_empty() {
            return self.next(block, at + 1, ask);
        }
        self.reverted(&original.0, changes, stopped, block, at, ask)
    }

    fn applied(&self, rule: &RewriteRule, ask: &Ask) -> Applied {
        match &rule.action {
            // Done whenever there is something to set; it leads to no change of the answer.
            Action::Edns0(_) => Applied::Yes(ask.question.clone()),
            _ => rule.apply(&ask.question),
        }
    }

    /// `ResponseReverter`: the next plugins' answer, changed back.
    fn reverted(
        &mut self,
        original: &Question,
        changes: Vec<Change<'s>>,
        stopped: bool,
        block: &'s Block<'s>,
        at: usize,
        ask: &mut Ask,
    ) -> Result<Served, Stop> {
        let served = self.next(block, at + 1, ask).map_err(looked_into)?;
        let (mut reply, rcode) = match served.reply {
            Some(reply) => (reply, served.rcode),
            None if served.is_written() => return Ok(Served { reply: None, ..served }),
            // Up to 1.14 only a rule that stops writes the answer that nobody wrote.
            None if !stopped && self.site.version < BARE_CODES => {
                return Ok(Served { reply: None, ..served });
            }
            None => {
                let mut reply = Reply::code(ask, served.rcode);
                reply.opt = ask.edns;
                (reply, Rcode::NOERROR)
            }
        };
        reply.question = original.clone();
        let bare = reply.records().next().is_none() && !reply.opt;
        let sections = [
            std::mem::take(&mut reply.authority),
            std::mem::take(&mut reply.answer),
            std::mem::take(&mut reply.additional),
        ];
        let mut done = Vec::new();
        for section in sections {
            let mut changed = Vec::new();
            for rr in section {
                changed.push(change_record(&changes, rr, &mut reply.rcode)?);
            }
            done.push(changed);
        }
        reply.additional = done.pop().unwrap_or_default();
        reply.answer = done.pop().unwrap_or_default();
        reply.authority = done.pop().unwrap_or_default();
        if (bare && self.site.version >= BARE_CODES) || reply.opt {
            codes(&changes, &mut reply.rcode);
        }
        for change in changes.iter().rev() {
            if let Change::Alias(rule) = change {
                self.alias(rule, &mut reply, ask)?;
            }
        }
        Ok(Served { reply: Some(reply), rcode, failed: served.failed })
    }

    /// `rewrite cname`: the first alias that fits gets another target, which is looked up anew.
    fn alias(&mut self, rule: &RewriteRule, reply: &mut Reply, ask: &mut Ask) -> Result<(), Stop> {
        let Action::Cname { from, to } = &rule.action else { return Ok(()) };
        let original: Vec<Rr> = reply.answer.clone();
        let spelled = reply.spelled.clone();
        for rr in original {
            let Rdata::Cname(target) = &rr.rdata else { continue };
            // An upstream repeats the letter case of the question in names that end like it; rules compare as written.
            if written_in_capitals(spelled.as_deref(), target) {
                continue;
            }
            let Some(new) = new_target(from, to, &target.to_string()) else { continue };
            let new =
                Name::parse(&new).map_err(|_| Stop::Unmodelled("a target that is no name".to_owned()))?;
            // The query itself takes the new name, and keeps it.
            ask.question.name = new.clone();
            ask.written = None;
            let Some(found) = self.lookup(ask, new.clone(), ask.question.rtype)? else { continue };
            let mut answer = Vec::new();
            for mut known in std::mem::take(&mut reply.answer) {
                if !matches!(known.rdata, Rdata::Cname(_)) {
                    continue;
                }
                let hit = matches!(&known.rdata, Rdata::Cname(of) if of == target);
                if hit {
                    known.rdata = Rdata::Cname(new.clone());
                }
                answer.push(known);
                if hit {
                    break;
                }
            }
            answer.extend(found.answer);
            reply.answer = answer;
        }
        Ok(())
    }
}

/// True if the part that `target` shares with the name that the upstream was asked for has upper case.
fn written_in_capitals(spelled: Option<&[u8]>, target: &Name) -> bool {
    let Some(asked) = spelled.and_then(|wire| Name::from_wire(wire).ok()) else { return false };
    let mut shared = target.clone();
    while !asked.is_at_or_below(&shared) {
        let Some(parent) = shared.parent() else { return false };
        shared = parent;
    }
    has_capitals(spelled, &shared)
}

/// `getFromAndToTarget`.
fn new_target(from: &NameMatch, to: &str, target: &str) -> Option<String> {
    match from {
        NameMatch::Exact(text) => (text == target).then(|| to.to_owned()),
        NameMatch::Prefix(text) => target.strip_prefix(text.as_str()).map(|rest| format!("{to}{rest}")),
        NameMatch::Suffix(text) => target.strip_suffix(text.as_str()).map(|rest| format!("{rest}{to}")),
        NameMatch::Substring(text) => {
            target.contains(text.as_str()).then(|| target.replace(text.as_str(), to))
        }
        NameMatch::Regex(pattern) => pattern.substitute(target, to),
    }
}

fn codes(changes: &[Change<'_>], rcode: &mut Rcode) {
    for change in changes.iter().rev() {
        if let Change::Plain(ResponseChange::Code(old, new)) = change
            && old == rcode
        {
            *rcode = *new;
        }
    }
}

fn change_record(changes: &[Change<'_>], mut rr: Rr, rcode: &mut Rcode) -> Result<Rr, Stop> {
    let strange = || Stop::Unmodelled("a rewritten name that is none".to_owned());
    for change in changes.iter().rev() {
        let Change::Plain(change) = change else { continue };
        match change {
            ResponseChange::Owner(change) => rr.owner = change.apply(&rr.owner).ok_or_else(strange)?,
            ResponseChange::Value(change) => {
                let name = match &mut rr.rdata {
                    Rdata::Cname(name) | Rdata::Ns(name) | Rdata::Ptr(name) | Rdata::Mx(_, name) => name,
                    Rdata::Srv { target, .. } => target,
                    Rdata::Soa { mname, .. } => mname,
                    Rdata::A(_) | Rdata::Aaaa(_) | Rdata::Txt(_) | Rdata::Other(_) => continue,
                };
                *name = change.apply(name).ok_or_else(strange)?;
            }
            ResponseChange::Ttl(min, max) => {
                rr.ttl = rr.ttl.clamp(*min, *max);
                rr.least = rr.least.clamp(*min, *max);
            }
            ResponseChange::Code(old, new) if old == rcode => *rcode = *new,
            ResponseChange::Code(..) => {}
            ResponseChange::Unknown => return Err(Stop::Unmodelled("a change of the answer".to_owned())),
        }
    }
    debug_assert!(rr.rtype != Rtype::OPT, "OPT records are no records here");
    Ok(rr)
}
