//! Splits an innermost layer into records by its format. Enters: a reader; leaves: pieces, totally.
//!
//! The bytes of all pieces concatenated are the input exactly, whatever the content. Deliberately absent: decoding.

use std::io::{self, Read};

use crate::dnstap::Frames;
use crate::kube::Syntax;
use crate::kube::records::{JsonRecords, Whole, YamlRecords};
use crate::lines;
use crate::pcap;
use crate::piece::cut;
use crate::recognise::Format;

pub use crate::piece::{MAX_PIECE, Piece, Sink, SplitSummary};

/// Splits `input`.
///
/// # Errors
/// Only those of `sink`; a failing reader is a loss in the summary.
pub fn split(format: &Format, input: &mut dyn Read, sink: &mut Sink<'_>) -> io::Result<SplitSummary> {
    match format {
        Format::CoreDnsLog(_) => lines::split(input, sink),
        Format::KubeObjects(Syntax::Json) | Format::KubeWatch | Format::Audit => {
            cut(&mut JsonRecords::default(), input, sink)
        }
        Format::KubeObjects(Syntax::Yaml) => cut(&mut YamlRecords::default(), input, sink),
        Format::Dnstap => cut(&mut Frames::default(), input, sink),
        Format::Pcap | Format::PcapNg => cut(&mut pcap::Records::default(), input, sink),
        Format::Corefile | Format::Unknown(_) => cut(&mut Whole, input, sink),
    }
}

#[cfg(test)]
mod tests;
