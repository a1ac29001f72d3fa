//! What a server would have answered to a query in a window of time: every Corefile that may have been in force, every
//! possible world.
//!
//! Enters: an [`Ask`], a window, the servers that may be asked. Leaves: [`Prediction`]s, each with the objects and the
//! lines that it rests on. Deliberately absent: what caches still hold (a query is taken as the first of its kind), and
//! what upstreams answer.

use std::net::{IpAddr, Ipv4Addr};

use truename_model::object::ObjectRef;
use truename_model::time::{Interval, SECOND};
use truename_model::verdict::Explanation;
use truename_model::{Name, Rdata, Rtype};

use super::Truth;
use super::config::Setup;
use super::serve::{Ask, Memory, Reply, Resolv, Run, Site, Stop, Surroundings, Upstream};
use crate::corefile::{Env, Version, parse_for};
use crate::view::View;

/// Most worlds tried for one server and Corefile.
const MAX_WORLDS: usize = 64;
/// Begin of what is said of an answer that another server gives.
const OUTSIDE: &str = "what ";

/// A server that may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Version.
    pub version: Version,
    /// Its own addresses, if they are known.
    pub own: Option<Vec<IpAddr>>,
}

/// What one server answers in one world.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// The reply; `None`: nothing is sent.
    pub result: Result<Option<Reply>, Stop>,
    /// The lookup of this name, by another server, gives what follows.
    pub rest: Option<Name>,
    /// Objects that it rests on.
    pub by: Vec<ObjectRef>,
    /// Lines of the Corefile that take part.
    pub lines: Vec<Explanation>,
    /// Nothing but known states was needed.
    pub grounded: bool,
    /// No object that is not in the evidence could change it.
    pub complete: bool,
}

/// Servers elsewhere: nobody knows what they answer.
struct Elsewhere {
    /// They answer that there is nothing, to see what stands before.
    blank: bool,
}

impl Upstream for Elsewhere {
    fn exchange(&self, (ip, _): (IpAddr, u16), ask: &Ask) -> Result<Option<Reply>, String> {
        if self.blank {
            return Ok(Some(Reply::to(ask)));
        }
        let Ask { question, .. } = ask;
        let who = if ip.is_unspecified() {
            "the servers of CoreDNS's own /etc/resolv.conf answer".to_owned()
        } else {
            format!("{ip} answers")
        };
        Err(format!("{OUTSIDE}{who} to {} {}", question.name, question.rtype))
    }
}

impl Truth<'_> {
    /// The longest time that a server or a cache in it keeps an answer of the cluster zone, nanoseconds.
    #[must_use]
    pub fn longest_ttl_ns(&self, name: &Name) -> i64 {
        let blocks = self.configs.iter().filter_map(|config| config.block(name));
        let setups = blocks.filter_map(|block| block.setup.as_ref());
        let kept = |setup: &Setup| {
            i64::from(setup.options.ttl.max(setup.cache_floor))
                .saturating_mul(SECOND)
                .saturating_add(setup.stale_ns)
        };
        setups.map(kept).max().unwrap_or(0)
    }

    /// What `server` may answer to `ask` in `window` with each Corefile that may be in force then; `false` beside it:
    /// another Corefile than those in the evidence may be in force.
    #[must_use]
    pub fn foretell(&self, ask: &Ask, window: Interval, server: &Server) -> (Vec<Prediction>, bool) {
        let (range, known) = self.in_force(window);
        let mut out = Vec::new();
        for config in &self.configs[range] {
            let Ok(corefile) = parse_for(config.text(), &Env::default(), server.version) else {
                continue;
            };
            let around = Surroundings {
                own: server.own.clone(),
                resolv: Resolv { servers: vec![Ipv4Addr::UNSPECIFIED.into()], search: Vec::new() },
                knows_search: false,
                synced: Some(true),
                ..Surroundings::default()
            };
            let port = config.port();
            let site =
                Site::new(&corefile, server.version, port, around.clone(), &Elsewhere { blank: false });
            let blank = Site::new(&corefile, server.version, port, around, &Elsewhere { blank: true });
            let mut view = View::new(self.history, window);
            let from = out.len();
            while out.len() - from < MAX_WORLDS && view.next_world() {
                let mut run = Run::new(&site, &mut view, Memory::default(), None);
                let result = run.answer(ask);
                let lines = run.lines.iter().map(|line| config.line(*line)).collect();
                let of_alias = !run.used.contains("autopath") && !run.used.contains("dns64");
                let (by, grounded) = (view.deciding(), view.is_grounded());
                let mut made =
                    Prediction { result, rest: None, by, lines, grounded, complete: !view.is_incomplete() };
                if of_alias && matches!(&made.result, Err(Stop::Unmodelled(why)) if why.starts_with(OUTSIDE))
                {
                    let mut again = view.again();
                    made.alias(Run::new(&blank, &mut again, Memory::default(), None).answer(ask), ask);
                }
                out.push(made);
            }
        }
        (out, known && self.corefiles.is_known(window))
    }
}

impl Prediction {
    /// An alias of the cluster whose target lies elsewhere: the alias at least is known.
    fn alias(&mut self, found: Result<Option<Reply>, Stop>, ask: &Ask) {
        let Ok(Some(mut reply)) = found else { return };
        let last = reply.answer.iter().rev().find_map(|rr| match &rr.rdata {
            Rdata::Cname(target) => Some(target.clone()),
            _ => None,
        });
        if let (Some(target), true) = (last, ask.question.rtype != Rtype::CNAME) {
            reply.authority.clear();
            reply.additional.clear();
            (self.result, self.rest) = (Ok(Some(reply)), Some(target));
        }
    }
}
