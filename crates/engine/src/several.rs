//! Recordings that mix the records of several servers, as one collector for all replicas writes them.
//!
//! Enters: the names that the records of each item bear; leaves: an origin of its own for each, so that nothing is
//! ascribed to a neighbour. A name that comes later than the head of an item that was looked at keeps an origin without
//! a name. Deliberately absent: statements of the operator; who names the server of an item means all its records.

use std::collections::{BTreeMap, BTreeSet};

use truename_model::{Event, Known, Observation, Origin, OriginId};

/// Servers told apart in one item.
const NAMES_MAX: usize = 64;
/// Servers named in a note.
const NAMED_MAX: usize = 4;

/// The names that the records of items bear.
#[derive(Debug, Default)]
pub struct Names(BTreeMap<usize, BTreeSet<String>>);

impl Names {
    /// Looks at one record of an item.
    pub fn observe(&mut self, item: usize, observation: &Observation) {
        let Some(name) = name(observation) else { return };
        let names = self.0.entry(item).or_default();
        if names.len() < NAMES_MAX && !names.contains(name) {
            names.insert(name.to_owned());
        }
    }
}

/// The server that a record names.
fn name(observation: &Observation) -> Option<&str> {
    let Event::Dns(dns) = &observation.event else { return None };
    dns.hints.as_deref()?.identity.as_deref().filter(|name| !name.is_empty())
}

/// Which origin the records of mixed items get.
#[derive(Debug, Default)]
pub struct Several {
    by_item: BTreeMap<u32, BTreeMap<String, OriginId>>,
    // Items of the origins that were added, in order.
    items: Vec<u32>,
    first: u32,
}

impl Several {
    /// Adds an origin for each name of an item that has several; `notes` tell of them by `path`.
    pub fn split<'p>(
        names: Names,
        origins: &mut Vec<Origin>,
        path: &dyn Fn(usize) -> &'p str,
        notes: &mut Vec<String>,
    ) -> Self {
        let mut out = Self { first: origins.len() as u32, ..Self::default() };
        for (item, names) in names.0.into_iter().filter(|(_, names)| names.len() > 1) {
            let Known::Found(_, how) = &origins[item].replica else { continue };
            let how = how.clone();
            origins[item].replica = Known::Unknown;
            let shown: Vec<&str> = names.iter().take(NAMED_MAX).map(String::as_str).collect();
            let more = if names.len() > shown.len() { " …" } else { "" };
            notes.push(format!(
                "{}: holds the records of {} servers ({}{more}); each is read as its own. --origin GLOB:replica=NAME states \
                 that all are one's",
                path(item),
                names.len(),
                shown.join(", ")
            ));
            for name in names {
                let replica = Known::Found(name.clone(), how.clone());
                let id = OriginId(origins.len() as u32);
                origins.push(Origin { replica, ..origins[item].clone() });
                out.items.push(item as u32);
                out.by_item.entry(item as u32).or_default().insert(name, id);
            }
        }
        out
    }

    /// Gives the records of mixed items the origin of the server that each names.
    pub fn apply(&self, batch: &mut [Observation]) {
        if self.by_item.is_empty() {
            return;
        }
        for observation in batch {
            let origins = self.by_item.get(&observation.origin.0);
            if let Some(id) = origins.zip(name(observation)).and_then(|(origins, name)| origins.get(name)) {
                observation.origin = *id;
            }
        }
    }

    /// The item of an origin.
    #[must_use]
    pub fn item(&self, origin: OriginId) -> u32 {
        let added = origin.0.checked_sub(self.first).and_then(|at| self.items.get(at as usize));
        added.copied().unwrap_or(origin.0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use truename_model::{Body, Class, DnsEvent, Flags, Hints, Interval, Nanos, ObservedAt, Question, Rtype};
    use truename_model::{ClockBasis, Name, RecordRef, Transport, Vantage};

    use super::*;

    fn record(item: u32, identity: &str) -> Observation {
        let question = Question { name: Name::root(), rtype: Rtype::A, class: Class::IN };
        let hints = Hints { identity: Some(identity.to_owned()), ..Hints::default() };
        let dns = DnsEvent {
            vantage: Vantage::ClientQuery,
            client: None,
            server: None,
            transport: Transport::Udp,
            id: 1,
            flags: Flags(0),
            rcode: None,
            body: Arc::new(Body::question_only(question)),
            duration_ns: None,
            query_time: None,
            size: 0,
            response_size: None,
            bufsize: None,
            packet: None,
            hints: Some(Arc::new(hints)),
        };
        Observation {
            at: ObservedAt::Known(Interval::at(Nanos(1)), ClockBasis::Dnstap),
            origin: OriginId(item),
            record: RecordRef { item, ordinal: 0 },
            event: Event::Dns(dns),
        }
    }

    #[test]
    fn records_of_a_mixed_item_get_the_origin_of_their_own_server() {
        let found = |name: &str| Known::Found(name.to_owned(), "dnstap identity".to_owned());
        let mut origins = vec![Origin { replica: found("a"), ..Origin::default() }; 3];
        origins[2].replica = Known::Given("stated".to_owned());
        let mut names = Names::default();
        for (item, name) in [(0, "a"), (0, "b"), (1, "a"), (1, ""), (2, "a"), (2, "b")] {
            names.observe(item, &record(item as u32, name));
        }
        let mut notes = Vec::new();
        let several = Several::split(names, &mut origins, &|_| "taps.fstrm", &mut notes);
        let all = [(0, "a"), (0, "b"), (0, "late"), (1, "a"), (1, "b"), (2, "b")];
        let mut batch = all.map(|(item, name)| record(item, name));
        several.apply(&mut batch);
        let name = |at: usize| origins[batch[at].origin.0 as usize].replica.value().map(String::as_str);
        let expected = [Some("a"), Some("b"), None, Some("a"), Some("a"), Some("stated")];
        assert_eq!([0, 1, 2, 3, 4, 5].map(name), expected);
        assert_eq!(batch.each_ref().map(|one| several.item(one.origin)), [0, 0, 0, 1, 1, 2]);
        assert!(
            notes.len() == 1 && notes[0].starts_with("taps.fstrm: holds the records of 2 servers (a, b)")
        );
    }
}
