//! Everything offered goes into the log first: surveyed, taken into custody, split, appended.
//!
//! Enters: inputs as readers; leaves: sealed items. Each input is read twice: once to learn its digests and what is
//! inside (an item whose digest the case knows is not taken again), once to append it. What changed in between is a
//! gap. After a kill the same inputs go on where the log ends. Deliberately absent: decoding.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{self, Read};
use std::ops::Range;
use std::rc::Rc;

use sha2::Digest as _;
use truename_evidence::{
    Case, GapCause, GapEntry, ItemBegin, ItemId, ItemSummary, LayerDigest, Loss, NewPiece,
};
use truename_model::Sha256;
use truename_sources::decode::secret_ranges;
use truename_sources::layer::{self, LayerPath, Limits, Visitor};
use truename_sources::pcap::Sieve;
use truename_sources::piece::{MAX_PIECE, Piece};
use truename_sources::recognise::Format;
use truename_sources::split::split;

use crate::error::EngineError;
use crate::settings::{Input, Now, Settings};

/// Longest record that is searched for secrets; a longer one is kept as secret as a whole.
const SECRET_RECORD_MAX: usize = 64 << 20;
/// Byte ranges of dropped packets that one custody entry lists.
const RANGES_MAX: usize = 1_000;
/// Longest item of no known format that is kept, octets: a later version may know it. Of a longer one the digest is kept.
const UNKNOWN_MAX: u64 = 64 << 20;

/// What was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ingested {
    /// Items taken now.
    pub taken: u64,
    /// Items that the case had already.
    pub known: u64,
    /// What was offered and could not be read, in words: each is a gap in the log.
    pub failed: Vec<String>,
}

/// Size and digest of every layer of an input.
type Digests = HashMap<LayerPath, (u64, Sha256)>;

/// A reader that hashes and counts what passes; its result is stored when it is dropped.
struct Hashing<'r> {
    inner: Box<dyn Read + 'r>,
    state: sha2::Sha256,
    size: u64,
    layer: LayerPath,
    out: Rc<RefCell<Digests>>,
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.state.update(&buffer[..len]);
        self.size += len as u64;
        Ok(len)
    }
}

impl Drop for Hashing<'_> {
    fn drop(&mut self) {
        let digest = std::mem::take(&mut self.state).finalize();
        let sha256 = Sha256(digest.into());
        self.out.borrow_mut().insert(std::mem::take(&mut self.layer), (self.size, sha256));
    }
}

/// A reader that hashes what passes, in the lots in which it is read.
struct Digesting<'r> {
    inner: &'r mut dyn Read,
    state: sha2::Sha256,
    size: u64,
}

impl Read for Digesting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.state.update(&buffer[..len]);
        self.size += len as u64;
        Ok(len)
    }
}

/// First reading: what is inside.
struct Survey {
    digests: Rc<RefCell<Digests>>,
    leaves: Vec<(LayerPath, Format)>,
}

impl Visitor for Survey {
    fn wrap<'r>(&mut self, layer: &LayerPath, reader: Box<dyn Read + 'r>) -> Box<dyn Read + 'r> {
        let (state, out) = (sha2::Sha256::new(), Rc::clone(&self.digests));
        Box::new(Hashing { inner: reader, state, size: 0, layer: layer.clone(), out })
    }

    fn leaf(&mut self, layer: &LayerPath, format: &Format, _: &[u8], _: &mut dyn Read) -> io::Result<()> {
        self.leaves.push((layer.clone(), format.clone()));
        Ok(())
    }
}

/// An innermost layer to be taken.
struct Leaf {
    format: Format,
    begin: ItemBegin,
}

/// Second reading: takes the leaves that are new.
struct Take<'a> {
    case: &'a mut Case,
    settings: &'a Settings,
    now: Now<'a>,
    // What every layer's custody entry is made of when its turn comes: an archive may have very many.
    label: &'a str,
    digests: Digests,
    original_kept: bool,
    unfinished: &'a [(String, Sha256)],
    leaves: HashMap<LayerPath, Format>,
    taken: Vec<Sha256>,
    progress: &'a mut dyn FnMut(u64),
    failure: Option<EngineError>,
    changed: bool,
}

/// The case being filled, and what it has.
struct Intake<'a> {
    case: &'a mut Case,
    settings: &'a Settings,
    now: Now<'a>,
    progress: &'a mut dyn FnMut(u64),
    known: BTreeSet<Sha256>,
    // Path and digest of what an interrupted run began.
    unfinished: Vec<(String, Sha256)>,
    // A gap that the log names already is not named again by the same command on the same inputs.
    gaps: BTreeSet<(GapCause, String)>,
    result: Ingested,
}

/// Takes `inputs` into the case and seals it. `progress` is told of octets appended.
///
/// # Errors
/// Those of the log; an input that fails is named in the result and does not stop the others.
pub fn ingest(
    case: &mut Case,
    inputs: &[Input],
    settings: &Settings,
    now: Now<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Ingested, EngineError> {
    let ended = case.items().iter().filter(|item| item.end.is_some());
    let known = ended.map(|item| item.begin.sha256).collect();
    let gaps = case.gaps().iter().map(|(_, gap)| (gap.cause, gap.detail.clone())).collect();
    let open = case.items().iter().filter(|item| item.end.is_none());
    let unfinished = open.map(|item| (item.begin.path.clone(), item.begin.sha256)).collect();
    let result = Ingested::default();
    let mut intake = Intake { case, settings, now, progress, known, unfinished, gaps, result };
    for input in inputs {
        match intake.take(input) {
            Err(EngineError::Input { path, error }) => {
                intake.miss(GapCause::ReadError, format!("{path}: {error}"))?;
            }
            other => other?,
        }
    }
    intake.case.seal()?;
    Ok(intake.result)
}

impl Intake<'_> {
    /// Something offered is missing from the log: a gap.
    fn miss(&mut self, cause: GapCause, detail: String) -> Result<(), EngineError> {
        if self.gaps.insert((cause, detail.clone())) {
            let (item, records, quarantine, time) = (None, 0, None, (self.now)());
            self.case.gap(GapEntry { cause, item, records, detail: detail.clone(), quarantine, time })?;
        }
        self.result.failed.push(detail);
        Ok(())
    }

    fn take(&mut self, input: &Input) -> Result<(), EngineError> {
        let failed = |error| EngineError::Input { path: input.label.clone(), error };
        let mut survey = Survey { digests: Rc::default(), leaves: Vec::new() };
        let summary = layer::open(&mut *(input.open)().map_err(failed)?, &Limits::default(), &mut survey)
            .map_err(failed)?;
        let read = survey.leaves.iter().filter(|(_, format)| !matches!(format, Format::Unknown(_)));
        let items: HashSet<&LayerPath> = read.map(|(layer, _)| layer).collect();
        for (layer, loss) in &summary.losses {
            // An item tells its own losses when it ends; the rest has no place but a gap.
            if items.contains(layer) {
                self.result.failed.push(format!("{} {layer}: {}", input.label, loss.text));
                continue;
            }
            let layer = if layer.0.is_empty() { String::new() } else { format!("!{layer}") };
            self.miss(GapCause::ReadError, format!("{}{layer}: {}", input.label, loss.text))?;
        }
        if summary.losses_untold > 0 {
            let detail = format!("{}: … and {} more losses", input.label, summary.losses_untold);
            self.miss(GapCause::ReadError, detail)?;
        }
        self.miss_changed(input, &survey)?;
        let digests = survey.digests.take();
        let leaves = self.new_leaves(&digests, survey.leaves);
        if leaves.is_empty() {
            return Ok(());
        }
        let original_kept = self.settings.copy_originals;
        if original_kept {
            self.case.keep_original(&mut *(input.open)().map_err(failed)?)?;
        }
        let mut take = Take {
            case: &mut *self.case,
            settings: self.settings,
            now: self.now,
            label: &input.label,
            digests,
            original_kept,
            unfinished: &self.unfinished,
            leaves,
            taken: Vec::new(),
            progress: &mut *self.progress,
            failure: None,
            changed: false,
        };
        let walked = layer::open(&mut *(input.open)().map_err(failed)?, &Limits::default(), &mut take);
        if let Some(failure) = take.failure {
            return Err(failure);
        }
        walked.map_err(failed)?;
        self.result.taken += take.taken.len() as u64;
        let changed = take.changed || !take.leaves.is_empty();
        self.known.extend(take.taken);
        if changed {
            let detail = format!("{}: its content changed while it was read", input.label);
            self.miss(GapCause::InputChanged, detail)?;
        }
        Ok(())
    }

    /// An item that an interrupted run began under this path and that is not there any more.
    fn miss_changed(&mut self, input: &Input, survey: &Survey) -> Result<(), EngineError> {
        let digests = survey.digests.borrow();
        let there: BTreeSet<Sha256> = digests.values().map(|(_, sha256)| *sha256).collect();
        drop(digests);
        let gone: Vec<Sha256> = self
            .unfinished
            .iter()
            .filter(|(path, sha256)| *path == input.label && !there.contains(sha256))
            .map(|(_, sha256)| *sha256)
            .collect();
        for sha256 in gone {
            let detail = format!(
                "{}: its content changed after an interrupted run had begun to take it as {sha256}",
                input.label
            );
            self.miss(GapCause::InputChanged, detail)?;
        }
        Ok(())
    }

    /// The innermost layers that the case does not know.
    fn new_leaves(
        &mut self,
        digests: &Digests,
        found: Vec<(LayerPath, Format)>,
    ) -> HashMap<LayerPath, Format> {
        let mut leaves = HashMap::new();
        let mut seen = BTreeSet::new();
        for (layer, format) in found {
            let Some(&(_, sha256)) = digests.get(&layer) else { continue };
            if self.known.contains(&sha256) || !seen.insert(sha256) {
                self.result.known += 1;
            } else {
                leaves.insert(layer, format);
            }
        }
        leaves
    }
}

/// Digests of the layers on the way to `layer`, outermost first.
fn layers_of(layer: &LayerPath, digests: &Digests) -> Vec<LayerDigest> {
    let on_the_way = (0..=layer.0.len()).map(|len| LayerPath(layer.0[..len].to_vec()));
    on_the_way
        .filter_map(|path| {
            let &(size, sha256) = digests.get(&path)?;
            Some(LayerDigest { layer: path.to_string(), size, sha256 })
        })
        .collect()
}

impl Visitor for Take<'_> {
    fn leaf(
        &mut self,
        layer: &LayerPath,
        format: &Format,
        _: &[u8],
        reader: &mut dyn Read,
    ) -> io::Result<()> {
        if self.leaves.get(layer).is_none_or(|surveyed| surveyed != format) {
            return Ok(());
        }
        let Some(leaf) = self.leaves.remove(layer).and_then(|format| self.custody(layer, format)) else {
            return Ok(());
        };
        match self.append(&leaf, reader) {
            Ok(unchanged) => {
                self.taken.push(leaf.begin.sha256);
                self.changed |= !unchanged;
                Ok(())
            }
            Err(error) => {
                self.failure = Some(error);
                Err(io::Error::other("the case cannot be written"))
            }
        }
    }
}

impl Take<'_> {
    fn custody(&self, layer: &LayerPath, format: Format) -> Option<Leaf> {
        let &(size, sha256) = self.digests.get(layer)?;
        let begin = ItemBegin {
            path: self.label.to_owned(),
            layer: layer.to_string(),
            size,
            sha256,
            layers: layers_of(layer, &self.digests),
            format: format.to_string(),
            time: (self.now)(),
            operator: self.settings.operator.clone(),
            tool: self.settings.tool.clone(),
            original_kept: self.original_kept,
            note: String::new(),
        };
        Some(Leaf { format, begin })
    }

    fn sieve(&self, format: &Format) -> Option<Sieve> {
        let capture = matches!(format, Format::Pcap | Format::PcapNg);
        (capture && !self.settings.keep_all).then(|| Sieve::new(self.settings.dns_ports.clone()))
    }

    /// Appends one leaf; false if its bytes are not those that were surveyed.
    fn append(&mut self, leaf: &Leaf, reader: &mut dyn Read) -> Result<bool, EngineError> {
        let begun = self.unfinished.iter().any(|(_, sha256)| *sha256 == leaf.begin.sha256);
        let resumed = if begun { self.case.resume_point(&leaf.begin.sha256) } else { None };
        let item = match &resumed {
            Some(point) => point.item,
            None => self.case.begin_item(leaf.begin.clone())?,
        };
        let filter = self.sieve(&leaf.format);
        let mut writer = Writer {
            case: self.case,
            item,
            skip: resumed.map_or(0, |point| point.pieces),
            format: &leaf.format,
            filter,
            whole: Vec::new(),
            whole_offset: 0,
            overlong: None,
            dropped: Loss { cause: "not-dns".to_owned(), ..Loss::default() },
            failure: None,
            progress: self.progress,
        };
        // What is split is all that is read.
        let mut reader = Digesting { inner: reader, state: sha2::Sha256::new(), size: 0 };
        let mut summary = ItemSummary { complete: true, ..ItemSummary::default() };
        if let Format::Unknown(what) = leaf.format
            && leaf.begin.size > UNKNOWN_MAX
        {
            let size = digest_rest(&mut reader);
            let detail = format!(
                "not recognised: it looks like {what}; of its {size} octets nothing was kept but the digest, since it is \
                 longer than {UNKNOWN_MAX}"
            );
            let cause = "not-recognised".to_owned();
            summary.offered = 1;
            summary.losses.push(Loss { cause, records: 1, bytes: size, detail, ..Loss::default() });
        } else {
            let done = split(&leaf.format, &mut reader, &mut |piece| writer.piece(piece));
            if let Some(error) = writer.failure {
                return Err(error);
            }
            let done = done.map_err(|error| EngineError::Input { path: leaf.begin.path.clone(), error })?;
            summary.offered = done.records;
            summary.complete = done.losses.is_empty();
            summary.losses.extend(done.losses.iter().map(|loss| Loss {
                cause: loss.cause.to_owned(),
                detail: loss.text.clone(),
                ..Loss::default()
            }));
        }
        if writer.dropped.records > 0 {
            writer.dropped.detail = format!(
                "{} packets that are not DNS, by port or content, were not kept",
                writer.dropped.records
            );
            summary.losses.push(writer.dropped.clone());
        }
        let unchanged = Sha256(reader.state.finalize().into()) == leaf.begin.sha256;
        summary.time = (self.now)();
        self.case.end_item(item, summary)?;
        Ok(unchanged)
    }
}

/// Reads to the end for the digest alone; returns the octets read.
fn digest_rest(reader: &mut Digesting<'_>) -> u64 {
    let mut buffer = vec![0u8; 64 << 10];
    while reader.read(&mut buffer).is_ok_and(|len| len > 0) {}
    reader.size
}

/// Appends the pieces of one item.
struct Writer<'a> {
    case: &'a mut Case,
    item: ItemId,
    // Pieces that an earlier run made durable.
    skip: u64,
    format: &'a Format,
    // Tells packets that may be DNS; absent: everything is kept.
    filter: Option<Sieve>,
    // A record that must be whole to be searched for secrets.
    whole: Vec<u8>,
    whole_offset: u64,
    // A record too long for that.
    overlong: Option<u64>,
    dropped: Loss,
    failure: Option<EngineError>,
    progress: &'a mut dyn FnMut(u64),
}

impl Writer<'_> {
    fn piece(&mut self, piece: Piece<'_>) -> io::Result<()> {
        (self.progress)(piece.bytes.len() as u64);
        // A packet is one piece: captures hold at most 256 KiB of each.
        let passes = |sieve: &mut Sieve| piece.more || sieve.keeps(piece.bytes);
        let stored = if self.filter.as_mut().is_some_and(|sieve| !passes(sieve)) {
            self.drop_packet(&piece);
            Ok(())
        } else if matches!(self.format, Format::KubeObjects(_) | Format::KubeWatch | Format::Audit) {
            self.searched(piece)
        } else {
            self.store(piece.ordinal, piece.offset, piece.more, false, piece.bytes)
        };
        stored.map_err(|error| {
            self.failure = Some(error);
            io::Error::other("the case cannot be written")
        })
    }

    fn drop_packet(&mut self, piece: &Piece<'_>) {
        let range = (piece.offset, piece.offset + piece.bytes.len() as u64);
        self.dropped.records += u64::from(!piece.more);
        self.dropped.bytes += piece.bytes.len() as u64;
        let listed = self.dropped.ranges.len();
        match self.dropped.ranges.last_mut() {
            Some(last) if last.1 == range.0 => last.1 = range.1,
            _ if listed < RANGES_MAX => self.dropped.ranges.push(range),
            _ => self.dropped.ranges_omitted += 1,
        }
    }

    /// Stores a record of an object format: values of secrets become leaves of their own.
    fn searched(&mut self, piece: Piece<'_>) -> Result<(), EngineError> {
        if self.overlong == Some(piece.ordinal) {
            return self.store(piece.ordinal, piece.offset, piece.more, true, piece.bytes);
        }
        if self.whole.is_empty() {
            self.whole_offset = piece.offset;
            if !piece.more {
                let ranges = secret_ranges(self.format, piece.bytes);
                return self.store_cut(piece.ordinal, piece.offset, piece.bytes, &ranges);
            }
        }
        if self.whole.len() + piece.bytes.len() > SECRET_RECORD_MAX {
            // Too long to be searched: all of it is kept as secret, which loses nothing but its display.
            self.overlong = Some(piece.ordinal);
            let held = std::mem::take(&mut self.whole);
            for (at, part) in held.chunks(MAX_PIECE).enumerate() {
                self.store(piece.ordinal, self.whole_offset + (at * MAX_PIECE) as u64, true, true, part)?;
            }
            return self.store(piece.ordinal, piece.offset, piece.more, true, piece.bytes);
        }
        self.whole.extend_from_slice(piece.bytes);
        if piece.more {
            return Ok(());
        }
        let whole = std::mem::take(&mut self.whole);
        let ranges = secret_ranges(self.format, &whole);
        self.store_cut(piece.ordinal, self.whole_offset, &whole, &ranges)
    }

    fn store_cut(
        &mut self,
        ordinal: u64,
        offset: u64,
        bytes: &[u8],
        secret: &[Range<usize>],
    ) -> Result<(), EngineError> {
        let mut parts: Vec<(Range<usize>, bool)> = Vec::with_capacity(secret.len() * 2 + 1);
        let mut at = 0;
        for range in secret.iter().filter(|range| !range.is_empty() && range.end <= bytes.len()) {
            if range.start > at {
                parts.push((at..range.start, false));
            }
            parts.push((range.start.max(at)..range.end, true));
            at = range.end;
        }
        if at < bytes.len() {
            parts.push((at..bytes.len(), false));
        }
        let last = parts.len().saturating_sub(1);
        for (index, (range, secret)) in parts.into_iter().enumerate() {
            let mut rest = &bytes[range.clone()];
            let mut from = range.start;
            while rest.len() > MAX_PIECE {
                self.store(ordinal, offset + from as u64, true, secret, &rest[..MAX_PIECE])?;
                rest = &rest[MAX_PIECE..];
                from += MAX_PIECE;
            }
            self.store(ordinal, offset + from as u64, index != last, secret, rest)?;
        }
        Ok(())
    }

    fn store(
        &mut self,
        ordinal: u64,
        offset: u64,
        more: bool,
        secret: bool,
        bytes: &[u8],
    ) -> Result<(), EngineError> {
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(());
        }
        Ok(self.case.append(self.item, NewPiece { ordinal, offset, more, secret, bytes })?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use truename_evidence::{Limits as LogLimits, Options, SigningKeyFile};
    use truename_model::Nanos;

    use super::*;

    /// Takes an input that gives `contents[n]` when it is opened for the n-th time; the gaps of the log.
    fn gaps(contents: &'static [&'static [u8]]) -> Vec<(GapCause, String)> {
        let work = tempfile::tempdir().unwrap();
        let key = Arc::new(SigningKeyFile::load_or_create(&work.path().join("key")).unwrap());
        let options =
            Options { now: Box::new(|| Nanos(1)), tool: String::new(), limits: LogLimits::default() };
        let mut case = Case::open_or_create(&work.path().join("case"), key, options).unwrap();
        let opened = AtomicUsize::new(0);
        let open = Box::new(move || {
            let n = opened.fetch_add(1, Ordering::Relaxed);
            Ok(Box::new(contents[n.min(contents.len() - 1)]) as Box<dyn Read + Send>)
        });
        let input = Input { label: "a.log".to_owned(), size: 0, open };
        let taken = ingest(&mut case, &[input], &Settings::default(), &|| Nanos(1), &mut |_| {}).unwrap();
        let gaps: Vec<_> = case.gaps().iter().map(|(_, gap)| (gap.cause, gap.detail.clone())).collect();
        assert_eq!(taken.failed.len(), gaps.len());
        gaps
    }

    #[test]
    fn an_input_that_changes_between_its_two_readings_is_a_gap() {
        const ONE: &[u8] =
            b"[INFO] 10.0.0.9:4000 - 7 \"A IN a.example. udp 40 false 512\" NOERROR qr 60 0.0001s\n";
        const TWO: &[u8] =
            b"[INFO] 10.0.0.9:4000 - 7 \"A IN b.example. udp 40 false 512\" NOERROR qr 60 0.0001s\n";
        let told = [(GapCause::InputChanged, "a.log: its content changed while it was read".to_owned())];
        assert_eq!(gaps(&[ONE, ONE]), []);
        assert_eq!(gaps(&[ONE, TWO]), told, "another content");
        assert_eq!(gaps(&[ONE, b"\x00\x01"]), told, "another format");
    }
}
