//! Walks files as the engine does and counts what they gave.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use truename_model::{ClusterChange, Decoded, Event, OriginId};
use truename_sources::decode::{DecodeContext, decoder, secret_ranges};
use truename_sources::layer::{LayerPath, Limits, Visitor, open};
use truename_sources::recognise::Format;
use truename_sources::split::split;

/// What one innermost layer gave.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub(crate) layer: String,
    pub(crate) format: Format,
    pub(crate) records: u64,
    pub(crate) losses: Vec<&'static str>,
    /// Changes of objects, in order.
    pub(crate) changes: Vec<ClusterChange>,
    /// Decoded values by what they are: `change`, `dns`, `ignored: …`, `undecodable: …` and so on.
    pub(crate) counts: BTreeMap<String, u64>,
}

impl Leaf {
    pub(crate) fn count(&self, prefix: &str) -> u64 {
        self.counts.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(_, count)| count).sum()
    }
}

#[derive(Default)]
struct Count(Vec<Leaf>);

impl Visitor for Count {
    fn leaf(
        &mut self,
        layer: &LayerPath,
        format: &Format,
        _: &[u8],
        reader: &mut dyn Read,
    ) -> io::Result<()> {
        let mut decoder = decoder(format, DecodeContext::new(0, OriginId(0)));
        let mut counts = BTreeMap::new();
        let mut changes = Vec::new();
        let mut out = Vec::new();
        let mut record = Vec::new();
        let mut tally = |out: &mut Vec<Decoded>| {
            for one in out.drain(..) {
                *counts.entry(what(&one)).or_default() += 1;
                if let Decoded::Change(change) = one {
                    changes.push(*change);
                }
            }
        };
        let summary = split(format, reader, &mut |piece| {
            record.extend_from_slice(piece.bytes);
            if !piece.more {
                decoder.decode(piece.ordinal, &record, &mut out);
                assert!(!out.is_empty(), "a record without an answer");
                let ranges = secret_ranges(format, &record);
                assert!(ranges.iter().all(|range| range.end <= record.len()));
                tally(&mut out);
                record.clear();
            }
            Ok(())
        })?;
        decoder.finish(&mut out);
        tally(&mut out);
        let losses = summary.losses.iter().map(|loss| loss.cause).collect();
        let layer = layer.to_string();
        self.0.push(Leaf {
            layer,
            format: format.clone(),
            records: summary.records,
            losses,
            changes,
            counts,
        });
        Ok(())
    }
}

fn what(one: &Decoded) -> String {
    match one {
        Decoded::Change(change) => format!("change {:?} {}", change.kind, change.object.kind()),
        Decoded::Observation(seen) => match &seen.event {
            Event::Dns(_) => "dns".to_owned(),
            Event::Diagnostic(_) => "diagnostic".to_owned(),
            Event::Loss(loss) => format!("loss: {}", loss.cause),
            Event::Undecodable { reason, .. } => format!("undecodable: {reason}"),
            Event::Ignored(why) => format!("ignored: {why}"),
        },
    }
}

pub(crate) fn leaves(path: &Path) -> Vec<Leaf> {
    let mut file = std::fs::File::open(path).unwrap();
    let mut count = Count::default();
    let summary = open(&mut file, &Limits::default(), &mut count).unwrap();
    for (layer, loss) in summary.losses {
        println!("{}: {layer}: {}", path.display(), loss.text);
    }
    count.0
}

/// Files below a folder, sorted.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                out.push(path);
            }
        }
    }
    out.sort();
    out
}

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
