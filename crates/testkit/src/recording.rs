//! A recording held in memory, with records or whole sources taken out of it.
//!
//! Enters: a recorded case; leaves: an investigation of what was left of it. Deliberately absent: judging what it found.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::net::IpAddr;
use std::sync::Arc;

use truename_engine::Input;
use truename_model::{Decoded, Event, Interval, Nanos, OriginId};
use truename_sources::DecodeContext;
use truename_sources::decode::decoder;
use truename_sources::recognise::{Format, Recognised, recognise};
use truename_sources::split::split;

use crate::score::{Investigated, files, investigate, settings};
use crate::truth_file::CaseDir;

/// One record about to be kept or dropped.
pub struct Shown<'a> {
    /// File, relative to the recording, without `.zst`.
    pub file: &'a str,
    /// The record's bytes.
    pub bytes: &'a [u8],
    /// What it says.
    pub events: Vec<&'a Event>,
    /// When it was observed, if it says so (a change: when it was received or made).
    pub at: Option<Nanos>,
}

/// A recording: files by name, decompressed.
#[derive(Clone)]
pub struct Recording {
    /// The case it belongs to.
    pub case: Arc<CaseDir>,
    files: Vec<(String, Arc<[u8]>)>,
}

/// The source word (docs/formats/case.md) of a file of a recording.
#[must_use]
pub fn source_of(file: &str) -> &'static str {
    let kinds = [
        ("logs/", "log"),
        ("dnstap/", "dnstap"),
        ("pcap/client-", "pcap-client"),
        ("pcap/upstream-", "pcap-upstream"),
        ("pcap/pod-", "pcap-pod"),
        ("audit", "audit"),
        ("watch/", "watch"),
        ("corefile/", "corefile"),
        ("objects/", "objects"),
    ];
    kinds.iter().find(|(prefix, _)| file.starts_with(prefix)).map_or("", |(_, word)| word)
}

impl Recording {
    /// Reads the files of a case's recording.
    ///
    /// # Errors
    /// Those of reading files.
    pub fn of(case: CaseDir) -> io::Result<Self> {
        let mut read = Vec::new();
        for (label, path) in files(&case)? {
            let (mut bytes, file) = (Vec::new(), File::open(&path)?);
            let name = match label.strip_suffix(".zst") {
                Some(plain) => {
                    zstd::Decoder::new(file)?.read_to_end(&mut bytes)?;
                    plain.to_owned()
                }
                None => {
                    Box::new(file).read_to_end(&mut bytes)?;
                    label
                }
            };
            read.push((name, bytes.into()));
        }
        Ok(Self { case: Arc::new(case), files: read })
    }

    /// Names of the files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(name, _)| name.as_str())
    }

    /// Client, port and id of every lookup that was answered with a lie.
    #[must_use]
    pub fn lies(&self) -> BTreeSet<(IpAddr, u16, u16)> {
        let lies = self.case.truth.iter().filter(|line| !line.is_true);
        lies.map(|line| (line.client, line.port, line.id)).collect()
    }

    /// Adds a file.
    #[must_use]
    pub fn with_file(mut self, name: &str, bytes: Vec<u8>) -> Self {
        self.files.push((name.to_owned(), bytes.into()));
        self
    }

    /// A file's bytes.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.iter().find(|(known, _)| known == name).map(|(_, bytes)| &**bytes)
    }

    /// Address of a client that asked for `name`, and a time at which it did, Unix nanoseconds.
    #[must_use]
    pub fn asker(&self, name: &str) -> Option<(IpAddr, i64)> {
        let lines: Vec<_> = self.case.truth.iter().filter(|line| line.name == name).collect();
        lines.get(lines.len() / 2).map(|middle| (middle.client, middle.t_ns))
    }

    /// Takes out the files that `drops` names.
    #[must_use]
    pub fn without_files(mut self, drops: &dyn Fn(&str) -> bool) -> Self {
        self.files.retain(|(name, _)| !drops(name));
        self
    }

    /// Takes out every record that `drops`; returns how many.
    ///
    /// # Errors
    /// Those of splitting, which memory does not have.
    pub fn without(&mut self, drops: &dyn Fn(&Shown<'_>) -> bool) -> io::Result<usize> {
        let mut dropped = 0;
        for (name, bytes) in &mut self.files {
            dropped += filter(name, bytes, drops)?;
        }
        Ok(dropped)
    }

    /// First and last time that a file's records tell.
    ///
    /// # Errors
    /// As [`Self::without`].
    pub fn span(&self, file: &str) -> io::Result<Option<Interval>> {
        let span = std::cell::Cell::new(None::<Interval>);
        let mut copy = self.clone().without_files(&|name| name != file);
        copy.without(&|shown| {
            if let Some(at) = shown.at {
                let before = span.get().unwrap_or(Interval::at(at));
                span.set(Some(Interval { lo: before.lo.min(at), hi: before.hi.max(at) }));
            }
            false
        })?;
        Ok(span.get())
    }

    /// Investigates what is left, as the case's own profile has it.
    ///
    /// # Errors
    /// Whatever stopped the investigation.
    pub fn investigate(&self) -> io::Result<Investigated> {
        let inputs: Vec<Input> = self
            .files
            .iter()
            .map(|(name, bytes)| {
                let bytes = Arc::clone(bytes);
                let size = bytes.len() as u64;
                let open = move || Ok(Box::new(Cursor::new(Arc::clone(&bytes))) as Box<dyn Read + Send>);
                Input { label: name.clone(), size, open: Box::new(open) }
            })
            .collect();
        let work = tempfile::tempdir()?;
        investigate(&inputs, &settings(&self.case, 1), work.path())
    }
}

/// When a record was observed.
fn time_of(decoded: &Decoded) -> Option<Nanos> {
    match decoded {
        Decoded::Observation(observation) => observation.at.interval().map(|at| at.lo),
        Decoded::Change(change) => change.seen_at.or(change.at.interval()).map(|at| at.lo),
    }
}

fn filter(name: &str, bytes: &mut Arc<[u8]>, drops: &dyn Fn(&Shown<'_>) -> bool) -> io::Result<usize> {
    let head = bytes.get(..bytes.len().min(64 << 10)).unwrap_or_default();
    let Recognised::Format(format) = recognise(head) else { return Ok(0) };
    // A list is one syntax over many records; taking an item out would tear it.
    if matches!(format, Format::KubeObjects(_) | Format::Corefile | Format::Unknown(_)) {
        return Ok(0);
    }
    let mut decoder = decoder(&format, DecodeContext::new(0, OriginId(0)));
    let (mut kept, mut dropped, mut out) = (Vec::with_capacity(bytes.len()), 0, Vec::new());
    split(&format, &mut &bytes[..], &mut |piece| {
        decoder.decode(piece.ordinal, piece.bytes, &mut out);
        let events = out.iter().filter_map(|decoded| match decoded {
            Decoded::Observation(observation) => Some(&observation.event),
            Decoded::Change(_) => None,
        });
        let at = out.iter().find_map(time_of);
        // Records of the recordings are short; one in several pieces stays whole.
        if !piece.more && drops(&Shown { file: name, bytes: piece.bytes, events: events.collect(), at }) {
            dropped += 1;
        } else {
            kept.extend_from_slice(piece.bytes);
        }
        out.clear();
        Ok(())
    })?;
    if dropped > 0 {
        *bytes = kept.into();
    }
    Ok(dropped)
}
