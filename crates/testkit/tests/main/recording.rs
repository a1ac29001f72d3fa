//! A recording held in memory, with records taken out of it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Cursor, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use truename_engine::Input;
use truename_model::{Decoded, Event, OriginId};
use truename_sources::DecodeContext;
use truename_sources::decode::decoder;
use truename_sources::recognise::{Format, Recognised, recognise};
use truename_sources::split::split;
use truename_testkit::score::{Investigated, files, investigate, settings};
use truename_testkit::truth_file::{CaseDir, read_case};

/// One record about to be kept or dropped.
pub(crate) struct Shown<'a> {
    /// File, relative to the recording, without `.zst`.
    pub(crate) file: &'a str,
    /// The record's bytes.
    pub(crate) bytes: &'a [u8],
    /// What it says.
    pub(crate) events: Vec<&'a Event>,
}

/// A recording: files by name, decompressed.
pub(crate) struct Recording {
    case: CaseDir,
    files: Vec<(String, Vec<u8>)>,
}

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases")
}

impl Recording {
    pub(crate) fn of(case: &str) -> Self {
        let case = read_case(&cases().join(case)).unwrap();
        let files = files(&case)
            .unwrap()
            .into_iter()
            .map(|(label, path)| {
                let mut bytes = Vec::new();
                let file = File::open(&path).unwrap();
                match label.strip_suffix(".zst") {
                    Some(plain) => {
                        zstd::Decoder::new(file).unwrap().read_to_end(&mut bytes).unwrap();
                        (plain.to_owned(), bytes)
                    }
                    None => {
                        Box::new(file).read_to_end(&mut bytes).unwrap();
                        (label, bytes)
                    }
                }
            })
            .collect();
        Self { case, files }
    }

    /// Client, port and id of every lookup that was answered with a lie.
    pub(crate) fn lies(&self) -> BTreeSet<(IpAddr, u16, u16)> {
        let lies = self.case.truth.iter().filter(|line| !line.is_true);
        lies.map(|line| (line.client, line.port, line.id)).collect()
    }

    /// Adds a file.
    pub(crate) fn with_file(mut self, name: &str, bytes: Vec<u8>) -> Self {
        self.files.push((name.to_owned(), bytes));
        self
    }

    /// A file's bytes.
    pub(crate) fn file(&self, name: &str) -> &[u8] {
        self.files.iter().find(|(known, _)| known == name).map(|(_, bytes)| bytes.as_slice()).unwrap()
    }

    /// Address of a client that asked for `name`, and a time at which it did, Unix nanoseconds.
    pub(crate) fn asker(&self, name: &str) -> (IpAddr, i64) {
        let lines: Vec<_> = self.case.truth.iter().filter(|line| line.name == name).collect();
        let middle = lines[lines.len() / 2];
        (middle.client, middle.t_ns)
    }

    /// Takes out the files that `drops` names.
    pub(crate) fn without_files(mut self, drops: &dyn Fn(&str) -> bool) -> Self {
        self.files.retain(|(name, _)| !drops(name));
        self
    }

    /// Takes out every record that `drops`; returns how many.
    pub(crate) fn without(&mut self, drops: &dyn Fn(&Shown<'_>) -> bool) -> usize {
        self.files.iter_mut().map(|(name, bytes)| filter(name, bytes, drops)).sum()
    }

    pub(crate) fn investigate(&self) -> Investigated {
        let inputs: Vec<Input> = self
            .files
            .iter()
            .map(|(name, bytes)| {
                let bytes: Arc<[u8]> = bytes.clone().into();
                let size = bytes.len() as u64;
                let open = move || Ok(Box::new(Cursor::new(Arc::clone(&bytes))) as Box<dyn Read + Send>);
                Input { label: name.clone(), size, open: Box::new(open) }
            })
            .collect();
        let work = tempfile::tempdir().unwrap();
        investigate(&inputs, &settings(&self.case, 2), work.path()).unwrap()
    }
}

fn filter(name: &str, bytes: &mut Vec<u8>, drops: &dyn Fn(&Shown<'_>) -> bool) -> usize {
    let head = &bytes[..bytes.len().min(64 << 10)];
    let Recognised::Format(format) = recognise(head) else { return 0 };
    // A list is one syntax over many records; taking an item out would tear it.
    if matches!(format, Format::KubeObjects(_) | Format::Corefile | Format::Unknown(_)) {
        return 0;
    }
    let mut decoder = decoder(&format, DecodeContext::new(0, OriginId(0)));
    let (mut kept, mut dropped, mut out) = (Vec::with_capacity(bytes.len()), 0, Vec::new());
    split(&format, &mut &bytes[..], &mut |piece| {
        assert!(!piece.more, "records of the recordings are short");
        decoder.decode(piece.ordinal, piece.bytes, &mut out);
        let events = out.iter().filter_map(|decoded| match decoded {
            Decoded::Observation(observation) => Some(&observation.event),
            Decoded::Change(_) => None,
        });
        if drops(&Shown { file: name, bytes: piece.bytes, events: events.collect() }) {
            dropped += 1;
        } else {
            kept.extend_from_slice(piece.bytes);
        }
        out.clear();
        Ok(())
    })
    .unwrap();
    *bytes = kept;
    dropped
}
