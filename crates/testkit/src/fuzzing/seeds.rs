//! Where fuzzing begins: the committed recordings, and messages of other projects where they are at hand.
//!
//! Leaves: short byte strings, the same on every machine with the same files. Deliberately absent: altering them.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::list;

/// Longest seed: enough for every kind of record, short enough to try many alterations.
const SEED: usize = 6 << 10;

/// The root of the workspace.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn seed(path: &Path) -> io::Result<Vec<u8>> {
    let file = fs::File::open(path)?;
    let mut bytes = Vec::new();
    if path.extension().is_some_and(|ext| ext == "zst") {
        zstd::Decoder::new(file)?.take(SEED as u64).read_to_end(&mut bytes)?;
    } else {
        file.take(SEED as u64).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// The recordings of a few cases, plain and packed, and the messages of the corpora.
///
/// # Errors
/// Those of reading the files.
pub fn seeds() -> io::Result<Vec<Vec<u8>>> {
    let mut files = Vec::new();
    for case in ["corefile-tamper", "on-path", "recon"] {
        list(&root().join("cases").join(case).join("recording"), &mut files);
    }
    let beside = root().join("../shared/corpora");
    let corpora = std::env::var_os("TRUENAME_CORPORA").map_or(beside, PathBuf::from).join("wire");
    let mut wire = Vec::new();
    list(&corpora, &mut wire);
    wire.sort();
    files.extend(wire.into_iter().step_by(7).take(60));
    files.sort();
    let mut seeds: Vec<Vec<u8>> = files.iter().map(|path| seed(path)).collect::<io::Result<_>>()?;
    let packed = files.iter().filter(|path| path.extension().is_some_and(|ext| ext == "zst")).take(6);
    for path in packed {
        seeds.push(fs::read(path)?);
    }
    Ok(seeds)
}
