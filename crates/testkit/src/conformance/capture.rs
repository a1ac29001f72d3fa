//! Reads a capture or a tap through the product's layers, splitter and decoder, as the engine does.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use truename_model::observation::DnsEvent;
use truename_model::{Decoded, Event, Nanos, Observation, OriginId};
use truename_sources::layer::{LayerPath, Limits, Visitor, open};
use truename_sources::piece::{Boundary, cut};
use truename_sources::recognise::Format;
use truename_sources::{DecodeContext, Decoder};

/// A DNS message with its time.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) at: Option<Nanos>,
    pub(super) dns: DnsEvent,
}

/// A context with these DNS ports.
pub(super) fn context(ports: &[u16]) -> DecodeContext {
    DecodeContext { dns_ports: ports.to_vec(), ..DecodeContext::new(0, OriginId(0)) }
}

struct Peel<'a> {
    leaf: &'a mut dyn FnMut(&mut dyn Read) -> io::Result<()>,
}

impl Visitor for Peel<'_> {
    fn leaf(&mut self, _: &LayerPath, _: &Format, _: &[u8], reader: &mut dyn Read) -> io::Result<()> {
        (self.leaf)(reader)
    }
}

/// Every observation of a file, decoded record by record.
///
/// # Errors
/// What the file system says.
pub(super) fn observations<B: Boundary + Default>(
    path: &Path,
    decoder: &mut dyn Decoder,
) -> io::Result<Vec<Observation>> {
    let mut out = Vec::new();
    let mut leaf = |reader: &mut dyn Read| {
        let mut held = Vec::new();
        let cutting = cut(&mut B::default(), reader, &mut |piece| {
            held.extend_from_slice(piece.bytes);
            if !piece.more {
                decoder.decode(piece.ordinal, &held, &mut out);
                held.clear();
            }
            Ok(())
        });
        cutting.map(|_| ())
    };
    let mut file = File::open(path)?;
    open(&mut file, &Limits::default(), &mut Peel { leaf: &mut leaf })?;
    decoder.finish(&mut out);
    let observation = |decoded| match decoded {
        Decoded::Observation(observation) => Some(observation),
        Decoded::Change(_) => None,
    };
    Ok(out.into_iter().filter_map(observation).collect())
}

/// The DNS messages among them.
pub(super) fn messages(observations: &[Observation]) -> Vec<Message> {
    let message = |observation: &Observation| match &observation.event {
        Event::Dns(dns) => {
            Some(Message { at: observation.at.interval().map(|interval| interval.lo), dns: dns.clone() })
        }
        _ => None,
    };
    observations.iter().filter_map(message).collect()
}

/// The DNS messages of a capture.
///
/// # Errors
/// What the file system says.
pub(super) fn capture(path: &Path, ports: &[u16]) -> io::Result<Vec<Message>> {
    let mut decoder = truename_sources::pcap::PcapDecoder::new(context(ports));
    observations::<truename_sources::pcap::Records>(path, &mut decoder).map(|all| messages(&all))
}

/// `2016-10-20 15:23:01.075993`.
pub(super) fn stamp(at: Option<Nanos>) -> String {
    at.map_or("-".to_owned(), |at| at.to_string()[..26].replace('T', " "))
}
