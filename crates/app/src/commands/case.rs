//! A case opened for reading: its outcome (from `derived/` if that is what the log concluded, else computed again),
//! the leaves behind its evidence, and its rows.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use truename_engine::{Passing, Settings, Study};
use truename_evidence::{Conclusion, InclusionProof, ItemId, Reader, Receipt, RecordProof, Vkey};
use truename_model::{Citation, Outcome, Sha256};
use truename_report::Row;
use truename_report::table::Leaf;

use crate::exit::{Exit, Failure};
use crate::order::Order;
use crate::rows;
use crate::terminal;

/// File of the outcome below `derived/`.
pub(crate) const OUTCOME: &str = "outcome.json";
/// Octets of a record that are shown.
const SHOWN_MAX: usize = 2_048;
/// Pieces of a record that are proven at once, of 1 MiB at most each; the proof says how many it leaves out.
const PIECES_MAX: usize = 64;

/// Maps failures of the walk to exits.
pub(crate) fn failed(error: &truename_engine::EngineError) -> Failure {
    let exit = match error {
        truename_engine::EngineError::Question(_) => Exit::Usage,
        error if error.is_integrity() => Exit::Integrity,
        _ => Exit::Internal,
    };
    Failure { exit, message: error.to_string() }
}

/// As [`failed`], for the log alone.
pub(crate) fn log_failed(error: &truename_evidence::Error) -> Failure {
    let exit = if error.is_integrity() { Exit::Integrity } else { Exit::Internal };
    Failure { exit, message: error.to_string() }
}

/// A case opened for reading.
pub(crate) struct Opened {
    dir: PathBuf,
    reader: Reader,
    items: BTreeMap<Sha256, ItemId>,
    at_size: Option<u64>,
}

impl Opened {
    pub(crate) fn read(dir: &Path) -> Result<Self, Failure> {
        Self::read_at(dir, None)
    }

    /// The case as it was when its log had `at_size` entries.
    pub(crate) fn read_at(dir: &Path, at_size: Option<u64>) -> Result<Self, Failure> {
        if !dir.join("evidence").is_dir() {
            return Err(Failure::usage(format!(
                "{} is no case folder; `truename investigate PATH…` makes one",
                dir.display()
            )));
        }
        let reader = Reader::open(dir).map_err(|error| log_failed(&error))?;
        let items = reader.items().iter().map(|item| (item.begin.sha256, item.id)).collect();
        Ok(Self { dir: dir.to_path_buf(), reader, items, at_size })
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    pub(crate) fn title(&self) -> String {
        self.dir.file_name().map_or_else(|| "case".to_owned(), |name| name.to_string_lossy().into_owned())
    }

    /// The line to note down, for what the case holds now.
    pub(crate) fn receipt(&self) -> String {
        match self.reader.vkey() {
            Some(vkey) => Receipt { checkpoint: self.reader.checkpoint().clone(), vkey }.to_string(),
            None => String::new(),
        }
    }

    /// The conclusion that is asked for: the last one, or the last over at most so many entries.
    fn conclusion(&self) -> Option<&Conclusion> {
        let within = |conclusion: &&Conclusion| self.at_size.is_none_or(|size| conclusion.prefix <= size);
        self.reader.conclusions().iter().map(|(_, conclusion)| conclusion).rfind(within)
    }

    /// The settings of the last conclusion, so that a rebuilt outcome is the same bytes.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        let note = self.conclusion().map(|conclusion| conclusion.note.clone()).unwrap_or_default();
        let settings = Settings::from_note(&note).map_err(|error| failed(&error))?;
        Ok(Settings { at_size: self.at_size, ..settings })
    }

    /// What the case concluded. Derived files are used only if they are what the log's conclusion names.
    pub(crate) fn outcome(&self) -> Result<Outcome, Failure> {
        let expected = self.conclusion().map(|conclusion| conclusion.outcome);
        let stored = fs::read(self.dir.join("derived").join(OUTCOME)).ok();
        let stored = stored.filter(|bytes| Some(truename_engine::sha256(bytes)) == expected);
        if let Some(outcome) = stored.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            return Ok(outcome);
        }
        if self.at_size.is_none() {
            terminal::tell("derived/ is absent or not what the log concluded; computing it again");
        }
        let settings = self.settings()?;
        let study = Study::new(&self.reader, &settings).map_err(|error| failed(&error))?;
        study.conclude(&mut |_| {}).map_err(|error| failed(&error))
    }

    /// Every row of the timeline, in order of time, and what was concluded from them.
    pub(crate) fn rows(&self, sink: &mut dyn FnMut(&Row) -> Result<(), Failure>) -> Result<Outcome, Failure> {
        let spool = |error: io::Error| Failure::io("write", Path::new("a temporary file"), &error);
        let (mut order, mut failed_spool) = (Order::new(), None);
        let settings = self.settings()?;
        let study = Study::new(&self.reader, &settings).map_err(|error| failed(&error))?;
        let digests = study.digests();
        let mut pass = |passing: &Passing<'_>| {
            if let Some(row) = rows::row(passing, &digests) {
                failed_spool = order.take(row).err().or(failed_spool.take());
            }
        };
        let outcome = study.conclude(&mut pass).map_err(|error| failed(&error))?;
        failed_spool.map_or(Ok(()), |error| Err(spool(error)))?;
        order.give(sink, &spool)?;
        Ok(outcome)
    }

    /// The verifier key that the case names.
    pub(crate) fn vkey(&self) -> String {
        self.reader.vkey().map(|vkey| vkey.to_string()).unwrap_or_default()
    }

    /// The complete proof of a cited record; `None`: the case does not hold it.
    pub(crate) fn record_proof(&self, citation: Citation) -> Result<Option<RecordProof>, Failure> {
        let Some(item) = self.items.get(&citation.item) else { return Ok(None) };
        self.reader.record_proof(*item, citation.record, PIECES_MAX).map_err(|error| log_failed(&error))
    }

    /// The leaf behind a citation, its proof checked.
    pub(crate) fn leaf(&self, citation: Citation) -> Option<Leaf> {
        let item = *self.items.get(&citation.item)?;
        let proof = self.reader.proof(item, citation.record).ok()??;
        let bytes = self.reader.shown_record(item, citation.record, SHOWN_MAX).ok()??;
        Some(shown(&proof, self.reader.vkey().as_ref(), &bytes))
    }
}

/// A leaf as it is shown: called proved only if its proof leads to a checkpoint that the key has signed.
fn shown(proof: &InclusionProof, vkey: Option<&Vkey>, bytes: &[u8]) -> Leaf {
    Leaf {
        place: format!("entry {} leaf {}", proof.entry_index, proof.leaf_index),
        hash: Sha256(proof.leaf_hash()).to_string(),
        proved: vkey.is_some_and(|vkey| proof.check(vkey).is_ok()),
        text: rows::record_text(bytes),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::sync::Arc;

    use truename_evidence::{Case, ItemBegin, ItemSummary, Limits, NewPiece, Options, SigningKeyFile};
    use truename_model::Nanos;

    use super::*;

    #[test]
    fn a_leaf_is_called_proved_only_if_its_proof_holds() {
        let work = tempfile::tempdir().unwrap();
        let key = Arc::new(SigningKeyFile::load_or_create(&work.path().join("key")).unwrap());
        let options = Options { now: Box::new(|| Nanos(1)), tool: String::new(), limits: Limits::default() };
        let mut case = Case::open_or_create(&work.path().join("case"), key, options).unwrap();
        let item = case.begin_item(ItemBegin::default()).unwrap();
        for ordinal in 0..3 {
            case.append(item, NewPiece { ordinal, offset: ordinal, more: false, secret: false, bytes: b"x" })
                .unwrap();
        }
        case.end_item(item, ItemSummary { offered: 3, complete: true, ..ItemSummary::default() }).unwrap();
        case.close().unwrap();
        let reader = Reader::open(&work.path().join("case")).unwrap();
        let (proof, vkey) = (reader.proof(item, 1).unwrap().unwrap(), reader.vkey());
        assert!(shown(&proof, vkey.as_ref(), b"x").proved);
        assert!(!shown(&proof, None, b"x").proved);
        let payload = InclusionProof { payload: b"y".to_vec(), ..proof.clone() };
        let path = InclusionProof { inner_path: Vec::new(), ..proof.clone() };
        let signed = InclusionProof { checkpoint: proof.checkpoint.replacen('\n', "x\n", 1), ..proof };
        for altered in [payload, path, signed] {
            assert!(!shown(&altered, vkey.as_ref(), b"x").proved, "{altered:?}");
        }
    }
}
