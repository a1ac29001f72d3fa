//! The files that the arguments name: walked in a fixed order, links never followed, everything passed over said.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use truename_engine::Input;

use crate::exit::Failure;

/// Deepest folder below an argument.
const DEPTH_MAX: usize = 32;

/// What the arguments hold.
#[derive(Default)]
pub(crate) struct Found {
    /// Readable files, in order of path.
    pub(crate) inputs: Vec<Input>,
    /// Octets in all, for progress.
    pub(crate) bytes: u64,
    /// What was passed over, and why.
    pub(crate) passed_over: Vec<String>,
}

/// Walks the arguments; `skip` is the case folder, which is never its own input.
pub(crate) fn find(paths: &[PathBuf], skip: &Path) -> Result<Found, Failure> {
    let mut found = Found::default();
    let skip = fs::canonicalize(skip).ok();
    for path in paths {
        if path.as_os_str() == "-" {
            found.inputs.push(standard_input()?);
            continue;
        }
        let meta = fs::metadata(path).map_err(|error| Failure::io("read", path, &error))?;
        if meta.is_dir() {
            walk(path, 0, skip.as_deref(), &mut found);
        } else {
            add(path, meta.len(), &mut found);
        }
    }
    found.inputs.sort_by(|a, b| a.label.cmp(&b.label));
    Ok(found)
}

/// Takes a file, labelled with its path as given.
fn add(path: &Path, size: u64, found: &mut Found) {
    let (path, label) = (path.to_path_buf(), label(path));
    found.bytes += size;
    let open = move || File::open(&path).map(|file| Box::new(file) as Box<dyn Read + Send>);
    found.inputs.push(Input { label, size, open: Box::new(open) });
}

/// Standard input can be read once; it is spooled to an unnamed file, so that it can be hashed first and read again.
fn standard_input() -> Result<Input, Failure> {
    let failed = |error: io::Error| Failure::io("read", Path::new("standard input"), &error);
    let mut spool = tempfile::tempfile().map_err(failed)?;
    let size = io::copy(&mut io::stdin().lock(), &mut spool).map_err(failed)?;
    let open = move || {
        let mut again = spool.try_clone()?;
        again.seek(io::SeekFrom::Start(0))?;
        Ok(Box::new(again) as Box<dyn Read + Send>)
    };
    Ok(Input { label: "-".to_owned(), size, open: Box::new(open) })
}

fn label(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn walk(dir: &Path, depth: usize, skip: Option<&Path>, found: &mut Found) {
    if depth > DEPTH_MAX {
        found.passed_over.push(format!("{}: more than {DEPTH_MAX} folders deep", label(dir)));
        return;
    }
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => return found.passed_over.push(format!("{}: {error}", label(dir))),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        match fs::symlink_metadata(&path) {
            Err(error) => found.passed_over.push(format!("{}: {error}", label(&path))),
            Ok(meta) if meta.is_symlink() => {
                found.passed_over.push(format!("{}: a link, never followed", label(&path)))
            }
            Ok(meta)
                if meta.is_dir() && fs::canonicalize(&path).ok().as_deref() == skip && skip.is_some() => {}
            Ok(meta) if meta.is_dir() => walk(&path, depth + 1, skip, found),
            Ok(meta) if meta.is_file() => add(&path, meta.len(), found),
            Ok(_) => found.passed_over.push(format!("{}: neither a file nor a folder", label(&path))),
        }
    }
}
