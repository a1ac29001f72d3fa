//! Which decoder a format gets. Enters: a format and its context; leaves: the decoder, and what it must not show.

use std::ops::Range;

use truename_model::object::{ChangeSource, ConfigMap, StringMap};
use truename_model::{Decoded, Meta, Object};

use crate::audit::Audit;
use crate::corednslog::LogDecoder;
use crate::dnstap::TapDecoder;
use crate::kube::decoder::listed;
use crate::kube::{Objects, Syntax, secrets};
use crate::pcap::PcapDecoder;
use crate::recognise::Format;
use crate::watch::Watch;

pub use crate::decoder::{CacheStats, CacheUse, DecodeContext, Decoder};
pub use crate::kube::secrets::stand_in;

/// The decoder of a format. Records are given to it whole and in order.
#[must_use]
pub fn decoder(format: &Format, context: DecodeContext) -> Box<dyn Decoder> {
    match format {
        Format::CoreDnsLog(_) => Box::new(LogDecoder::new(context)),
        Format::KubeObjects(syntax) => Box::new(Objects::new(*syntax, context)),
        Format::KubeWatch => Box::new(Watch::new(context)),
        Format::Audit => Box::new(Audit::new(context)),
        Format::Corefile => Box::new(CorefileText { context }),
        Format::Dnstap => Box::new(TapDecoder::new(context)),
        Format::Pcap | Format::PcapNg => Box::new(PcapDecoder::new(context)),
        Format::Unknown(_) => Box::new(Unread { context }),
    }
}

/// Octet ranges of a whole record that hold secret values, sorted and apart.
#[must_use]
pub fn secret_ranges(format: &Format, bytes: &[u8]) -> Vec<Range<usize>> {
    match format {
        Format::KubeObjects(Syntax::Yaml) => secrets::yaml_ranges(bytes),
        Format::KubeObjects(Syntax::Json) | Format::KubeWatch | Format::Audit => secrets::json_ranges(bytes),
        _ => Vec::new(),
    }
}

/// Name of the stand-in ConfigMap that carries a Corefile found as a file.
pub const COREFILE_NAME: &str = "Corefile";

/// Longest Corefile, octets; a ConfigMap holds at most 1 MiB.
const COREFILE_MAX: usize = 4 << 20;

/// A Corefile as a file: a `ConfigMap` without namespace, named [`COREFILE_NAME`], listed at no known time.
struct CorefileText {
    context: DecodeContext,
}

impl Decoder for CorefileText {
    fn decode(&mut self, ordinal: u64, bytes: &[u8], out: &mut Vec<Decoded>) {
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if text.len() > COREFILE_MAX {
            out.push(self.context.undecodable(ordinal, "a Corefile of more than 4 MiB", COREFILE_MAX));
            return;
        }
        let text = match std::str::from_utf8(text) {
            Ok(text) => text.to_owned(),
            Err(error) => {
                out.push(self.context.undecodable(
                    ordinal,
                    "a Corefile that is not UTF-8",
                    error.valid_up_to(),
                ));
                return;
            }
        };
        let data = StringMap::from([("Corefile".to_owned(), text)]);
        let meta = Meta { name: COREFILE_NAME.to_owned(), ..Meta::default() };
        let known = (meta, Object::ConfigMap(ConfigMap { data }));
        let change = listed(&self.context, ordinal, ChangeSource::Snapshot, known, None, None);
        out.push(Decoded::Change(Box::new(change)));
    }

    fn finish(&mut self, _out: &mut Vec<Decoded>) {}
}

/// Formats that nothing is read from.
struct Unread {
    context: DecodeContext,
}

impl Decoder for Unread {
    fn decode(&mut self, ordinal: u64, _bytes: &[u8], out: &mut Vec<Decoded>) {
        out.push(self.context.ignored(ordinal, "an unknown format"));
    }

    fn finish(&mut self, _out: &mut Vec<Decoded>) {}
}

#[cfg(test)]
mod tests;
