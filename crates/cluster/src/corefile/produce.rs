//! What a server block does with a question before (or instead of) the `kubernetes` plugin.
//!
//! Enters: a server block, a question, a version; leaves: a [`Trace`]: the lines that change or answer it, in the
//! order in which a query passes the plugins. Deliberately absent: objects, caches, upstream servers. Where a line
//! may or may not apply, the trace says so instead of guessing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use truename_model::{Class, Question, Rcode, Rdata, Record, Rtype};

use super::hosts::{HostEntry, Hosts, HostsAnswer};
use super::order::{self, Version};
use super::policy::{Acl, AclAction};
use super::registry::Plugin;
use super::rewrite::{Action, Applied, Mode, ResponseChange, RewriteRule};
use super::schema::Stanza;
use super::server::ServerBlock;
use super::template::{Template, TemplateAnswer};

/// What a line does to a question or its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It answers. `None` stands for a record that a Corefile alone does not show.
    Answers {
        /// Response code.
        rcode: Rcode,
        /// Answer section.
        records: Vec<Option<Record>>,
        /// More records may come from a file that the line names.
        open: bool,
    },
    /// No response is sent.
    Drops,
    /// The question becomes another; `restored` if owner names of the answer become the old name again.
    Renames {
        /// The new question.
        to: Question,
        /// Owner names and names in records are changed back.
        restored: bool,
    },
    /// TTLs of the answer are kept in a range of seconds.
    Ttl {
        /// Least.
        min: u32,
        /// Most.
        max: u32,
    },
    /// A response code becomes another.
    Code {
        /// Replaced.
        old: Rcode,
        /// Sent.
        new: Rcode,
    },
    /// Names in the answer may become others, or options of the query are changed.
    Answer,
    /// A rule of CoreDNS itself answers: `any`, `chaos`, `local`, `whoami`.
    Builtin,
    /// Data outside the Corefile may answer; what it does not know ends there or, with fallthrough, goes on.
    Elsewhere,
    /// Whether the line applies depends on more than the question.
    Maybe,
}

/// A line that takes part in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Line in the Corefile.
    pub line: u32,
    /// The line's text, single spaces; without secrets.
    pub text: String,
    /// The plugin.
    pub plugin: String,
    /// What it does.
    pub effect: Effect,
}

/// Who has the last word on a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The last step: it answers, drops, or holds the data.
    Step,
    /// The `kubernetes` plugin at this line.
    Kubernetes(u32),
    /// The `k8s_external` plugin at this line.
    K8sExternal(u32),
    /// The `forward` plugin at this line.
    Forward(u32),
    /// No plugin: SERVFAIL (REFUSED where the block has no plugins).
    Nobody,
}

/// What a server block does with a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Question as the client asked it.
    pub asked: Question,
    /// Question as it reaches the end.
    pub question: Question,
    /// Lines that take part, in order.
    pub steps: Vec<Producer>,
    /// What rewrites do to the answer; applied last first.
    pub response: Vec<ResponseChange>,
    /// The version by whose rules the question was followed.
    pub version: Version,
    /// Who has the last word, if no uncertain step decides before.
    pub end: End,
}

impl Trace {
    /// True if no step's effect is uncertain.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        let unsure = |step: &Producer| match &step.effect {
            Effect::Maybe | Effect::Elsewhere | Effect::Answer => true,
            Effect::Answers { records, open, .. } => *open || records.iter().any(Option::is_none),
            _ => false,
        };
        !self.steps.iter().any(unsure)
    }

    /// The line that answers instead of a later plugin, if the last step does.
    #[must_use]
    pub fn answering(&self) -> Option<&Producer> {
        self.steps.last().filter(|_| self.end == End::Step)
    }

    /// Response code and answer records as the client sees them, if the Corefile alone determines both.
    #[must_use]
    pub fn answer(&self) -> Option<(Rcode, Vec<Record>)> {
        let Effect::Answers { rcode, records, open: false } = &self.answering()?.effect else { return None };
        let unsure = |step: &Producer| matches!(step.effect, Effect::Maybe | Effect::Elsewhere);
        if self.steps.iter().any(unsure) {
            return None;
        }
        let mut records = records.iter().cloned().collect::<Option<Vec<Record>>>()?;
        let mut rcode = *rcode;
        for record in &mut records {
            for change in self.response.iter().rev() {
                respond(change, record, &mut rcode)?;
            }
        }
        for change in self.response.iter().rev().filter(|_| records.is_empty()) {
            match change {
                // Without records an older CoreDNS changes the code only if the query had EDNS.
                ResponseChange::Code(old, _) if *old == rcode && self.version < BARE_CODES => return None,
                ResponseChange::Code(old, new) if *old == rcode => rcode = *new,
                ResponseChange::Unknown => return None,
                _ => {}
            }
        }
        Some((rcode, records))
    }

    /// TTL range that rewrites impose on the answer of the end, seconds.
    #[must_use]
    pub fn ttl_range(&self) -> (u32, u32) {
        self.steps.iter().rev().fold((0, u32::MAX), |(low, high), step| match &step.effect {
            Effect::Ttl { min, max } => (low.clamp(*min, *max), high.clamp(*min, *max)),
            _ => (low, high),
        })
    }
}

/// Rewrites of response codes reach responses without any record.
const BARE_CODES: Version = Version(1, 14, 7);

fn respond(change: &ResponseChange, record: &mut Record, rcode: &mut Rcode) -> Option<()> {
    match change {
        ResponseChange::Owner(change) => record.owner = change.apply(&record.owner)?,
        ResponseChange::Value(change) => match &mut record.rdata {
            Rdata::Cname(name) | Rdata::Ns(name) | Rdata::Ptr(name) | Rdata::Mx(_, name) => {
                *name = change.apply(name)?;
            }
            Rdata::Srv { target, .. } => *target = change.apply(target)?,
            Rdata::Soa { mname, .. } => *mname = change.apply(mname)?,
            Rdata::A(_) | Rdata::Aaaa(_) | Rdata::Txt(_) | Rdata::Other(_) => {}
        },
        ResponseChange::Ttl(min, max) => record.ttl = record.ttl.clamp(*min, *max),
        ResponseChange::Code(old, new) if old == rcode => *rcode = *new,
        ResponseChange::Code(..) => {}
        ResponseChange::Unknown => return None,
    }
    Some(())
}

/// What is known of a query besides its question.
#[derive(Clone, Copy, Debug)]
pub struct Query {
    /// CoreDNS version, for the order of plugins.
    pub version: Version,
    /// Client address, for `acl`; `None` makes rules bound to networks uncertain.
    pub client: Option<IpAddr>,
    /// Go on behind the `kubernetes` plugin (for names that it passes on).
    pub behind_kubernetes: bool,
}

impl Default for Query {
    fn default() -> Self {
        Self { version: Version::NEWEST, client: None, behind_kubernetes: false }
    }
}

/// The line that answers, drops or renames a question before the `kubernetes` plugin sees it: the first such step.
/// Lines that may or may not apply count; `None` means that nothing stands before `kubernetes`.
#[must_use]
pub fn answers_before_kubernetes(
    server: &ServerBlock,
    question: &Question,
    query: Query,
) -> Option<Producer> {
    let passive = |effect: &Effect| matches!(effect, Effect::Ttl { .. } | Effect::Code { .. });
    trace(server, question, query).steps.into_iter().find(|step| !passive(&step.effect))
}

/// Follows a question through a server block.
#[must_use]
pub fn trace(server: &ServerBlock, question: &Question, query: Query) -> Trace {
    let mut trace = Trace {
        asked: question.clone(),
        question: question.clone(),
        steps: Vec::new(),
        response: Vec::new(),
        version: query.version,
        end: End::Nobody,
    };
    let mut plugins: Vec<(usize, &Plugin)> = server
        .plugins
        .iter()
        .filter_map(|plugin| Some((order::position(plugin.name(), query.version)?, plugin)))
        .collect();
    // Stable: uses of one plugin stay in file order.
    plugins.sort_by_key(|(position, _)| *position);
    let mut at = 0;
    while let Some((position, plugin)) = plugins.get(at) {
        // Rules of rewrite are one plugin: `stop` ends them all.
        let group = plugins[at..].iter().take_while(|(other, _)| other == position).count();
        if let Plugin::Rewrite(_) = plugin {
            let rules = plugins[at..at + group].iter().filter_map(|(_, plugin)| match plugin {
                Plugin::Rewrite(rule) => Some(rule),
                _ => None,
            });
            if rewrite(&mut trace, rules) {
                return trace;
            }
            at += group;
            continue;
        }
        if pass(&mut trace, plugin, query) {
            return trace;
        }
        at += 1;
    }
    trace
}

/// Applies rewrite rules; true if the question ends here.
fn rewrite<'a>(trace: &mut Trace, rules: impl Iterator<Item = &'a RewriteRule>) -> bool {
    for rule in rules {
        let step = |effect| Producer {
            line: rule.line,
            text: rule.text.clone(),
            plugin: "rewrite".to_owned(),
            effect,
        };
        match rule.apply(&trace.question) {
            Applied::No => continue,
            Applied::Maybe => {
                trace.steps.push(step(Effect::Maybe));
                continue;
            }
            Applied::BadName(_) => {
                let effect = Effect::Answers { rcode: Rcode::SERVFAIL, records: Vec::new(), open: false };
                return decide(trace, step(effect));
            }
            Applied::Yes(to) => {
                let effect = match &rule.action {
                    Action::Name { answer, .. } => Effect::Renames { to: to.clone(), restored: answer.auto },
                    Action::Type(..) | Action::Class(..) => {
                        Effect::Renames { to: to.clone(), restored: true }
                    }
                    Action::Ttl { min, max, .. } => Effect::Ttl { min: *min, max: *max },
                    Action::Rcode { old, new, .. } => Effect::Code { old: *old, new: *new },
                    Action::Cname { .. } | Action::Edns0(_) => Effect::Answer,
                };
                trace.response.extend(rule.response(&trace.question, &to));
                trace.question = to;
                trace.steps.push(step(effect));
            }
        }
        if rule.mode == Mode::Stop {
            break;
        }
    }
    false
}

fn decide(trace: &mut Trace, step: Producer) -> bool {
    trace.steps.push(step);
    trace.end = End::Step;
    true
}

/// Passes the question to one plugin; true if it ends there.
fn pass(trace: &mut Trace, plugin: &Plugin, query: Query) -> bool {
    let question = trace.question.clone();
    let step =
        |line: u32, text: String, effect| Producer { line, text, plugin: plugin.name().to_owned(), effect };
    match plugin {
        Plugin::Acl(acl) => pass_acl(trace, acl, &question, query),
        Plugin::Autopath(autopath)
            if autopath.zones.iter().any(|zone| question.name.is_at_or_below(zone)) =>
        {
            trace.steps.push(step(autopath.line, format!("autopath {}", autopath.source), Effect::Maybe));
            false
        }
        Plugin::Dns64(dns64) if question.rtype == Rtype::AAAA => {
            trace.steps.push(step(dns64.line, "dns64".to_owned(), Effect::Maybe));
            false
        }
        Plugin::Hosts(hosts) => pass_hosts(trace, hosts, &question),
        Plugin::Template(template) => pass_template(trace, template, &question),
        Plugin::ZoneData(data) if data.plugin == "whoami" => {
            decide(trace, step(data.line, data.text.clone(), Effect::Builtin))
        }
        Plugin::ZoneData(data) if data.may_answer(&question.name) => {
            let step = step(data.line, data.text.clone(), Effect::Elsewhere);
            if data.fallthrough.passes(&question.name) {
                trace.steps.push(step);
                return false;
            }
            decide(trace, step)
        }
        Plugin::Kubernetes(options)
            if !query.behind_kubernetes && options.zone_of(&question.name).is_some() =>
        {
            trace.end = End::Kubernetes(options.line);
            true
        }
        Plugin::K8sExternal(options)
            if options.zones.iter().any(|zone| question.name.is_at_or_below(zone)) =>
        {
            trace.end = End::K8sExternal(options.line);
            true
        }
        Plugin::Forward(forward) if forward.takes(&question.name) => {
            trace.end = End::Forward(forward.line);
            true
        }
        Plugin::Transfer(transfer) if matches!(question.rtype, Rtype::AXFR | Rtype::IXFR) => decide(
            trace,
            step(transfer.line, format!("transfer to {}", transfer.to.join(" ")), Effect::Elsewhere),
        ),
        Plugin::Plain(stanza) => match builtin(stanza, &question) {
            None => false,
            Some(effect) => decide(trace, step(stanza.name.line, stanza.text(), effect)),
        },
        _ => false,
    }
}

/// A response without records.
fn codes(rcode: Rcode) -> Effect {
    Effect::Answers { rcode, records: Vec::new(), open: false }
}

fn pass_acl(trace: &mut Trace, acl: &Acl, question: &Question, query: Query) -> bool {
    let (policy, sure) = match acl.decide(&question.name, question.rtype, query.client) {
        Ok(None) => return false,
        Ok(Some(policy)) => (policy, true),
        Err(policy) => (policy, false),
    };
    let effect = match policy.action {
        AclAction::Allow => return false,
        _ if !sure => Effect::Maybe,
        AclAction::Block => codes(Rcode::REFUSED),
        AclAction::Filter => codes(Rcode::NOERROR),
        AclAction::Drop => Effect::Drops,
    };
    let text = format!("acl {:?}", policy.action).to_lowercase();
    let step = Producer { line: policy.line, text, plugin: "acl".to_owned(), effect };
    if sure {
        return decide(trace, step);
    }
    trace.steps.push(step);
    false
}

fn pass_template(trace: &mut Trace, template: &Template, question: &Question) -> bool {
    let step = |effect| Producer {
        line: template.line,
        text: template.text.clone(),
        plugin: "template".to_owned(),
        effect,
    };
    match template.answer(question) {
        TemplateAnswer::Passes => false,
        TemplateAnswer::Maybe => {
            trace.steps.push(step(Effect::Maybe));
            false
        }
        TemplateAnswer::ServFail => decide(trace, step(codes(Rcode::SERVFAIL))),
        TemplateAnswer::Answers(rcode, records) => {
            decide(trace, step(Effect::Answers { rcode, records, open: false }))
        }
    }
}

fn pass_hosts(trace: &mut Trace, hosts: &Hosts, question: &Question) -> bool {
    let whole = |effect| Producer {
        line: hosts.line,
        text: format!("hosts {}", hosts.path),
        plugin: "hosts".to_owned(),
        effect,
    };
    let one = |entry: &HostEntry, effect| Producer {
        line: entry.line,
        text: entry.text.clone(),
        plugin: "hosts".to_owned(),
        effect,
    };
    let inside = hosts.zones.iter().any(|zone| question.name.is_at_or_below(zone));
    let open = hosts.names_file && (inside || question.rtype == Rtype::PTR);
    let answer = |records| Effect::Answers { rcode: Rcode::NOERROR, records, open };
    let made = match hosts.answer(&question.name, question.rtype) {
        HostsAnswer::Passes | HostsAnswer::ServFail if open => whole(Effect::Elsewhere),
        HostsAnswer::Passes => return false,
        HostsAnswer::ServFail => {
            whole(Effect::Answers { rcode: Rcode::SERVFAIL, records: Vec::new(), open: false })
        }
        HostsAnswer::NoData(entry) => one(entry, answer(Vec::new())),
        HostsAnswer::Addresses(entries) => {
            let records =
                entries.iter().map(|entry| Some(address_record(question, entry.address, hosts.ttl)));
            let records = records.collect();
            match entries.first() {
                Some(first) => one(first, answer(records)),
                None => return false,
            }
        }
        HostsAnswer::Names(entries) => {
            let names = entries.iter().flat_map(|entry| entry.names.iter());
            let records =
                names.map(|name| Some(record(question, Rtype::PTR, hosts.ttl, Rdata::Ptr(name.clone()))));
            let records = records.collect();
            match entries.first() {
                Some(first) => one(first, answer(records)),
                None => return false,
            }
        }
    };
    // A file may answer, and what it does not know goes on only with fallthrough (PTR always does).
    if made.effect == Effect::Elsewhere {
        let goes_on = question.rtype == Rtype::PTR || hosts.fallthrough.passes(&question.name);
        if goes_on {
            trace.steps.push(made);
            return false;
        }
    }
    decide(trace, made)
}

fn record(question: &Question, rtype: Rtype, ttl: u32, rdata: Rdata) -> Record {
    Record { owner: question.name.clone(), rtype, class: Class::IN, ttl, rdata }
}

fn address_record(question: &Question, address: IpAddr, ttl: u32) -> Record {
    match address {
        IpAddr::V4(ip) => record(question, Rtype::A, ttl, Rdata::A(ip)),
        IpAddr::V6(ip) => record(question, Rtype::AAAA, ttl, Rdata::Aaaa(ip)),
    }
}

/// TTL of the `local` plugin, seconds.
const LOCAL_TTL: u32 = 604_800;

fn builtin(stanza: &Stanza, question: &Question) -> Option<Effect> {
    match &*stanza.name.text {
        "any" => (question.rtype == Rtype::ANY).then_some(Effect::Builtin),
        "chaos" => {
            let names = ["authors.bind.", "version.bind.", "version.server.", "hostname.bind.", "id.server."];
            let known = names.contains(&question.name.to_string().as_str());
            (question.class == Class::CH && question.rtype == Rtype::TXT && known).then_some(Effect::Builtin)
        }
        "local" => {
            local(question, stanza.last("localhost_prefix").is_none_or(|entry| entry.word(0) != "off"))
        }
        _ => None,
    }
}

/// `localhost`, names below it, and names that begin with it unless that is switched off.
fn local(question: &Question, prefix: bool) -> Option<Effect> {
    let labels: Vec<&[u8]> = question.name.labels().collect();
    let is_localhost = |label: Option<&&[u8]>| label == Some(&&b"localhost"[..]);
    let host = is_localhost(labels.last()) || (prefix && is_localhost(labels.first()));
    let reverse = matches!(labels.as_slice(), [.., b"0" | b"127" | b"255", b"in-addr", b"arpa"]);
    if host && matches!(question.rtype, Rtype::A | Rtype::AAAA) {
        let loopback: IpAddr =
            if question.rtype == Rtype::A { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        let records = vec![Some(address_record(question, loopback, LOCAL_TTL))];
        return Some(Effect::Answers { rcode: Rcode::NOERROR, records, open: false });
    }
    (host || reverse).then_some(Effect::Builtin)
}
