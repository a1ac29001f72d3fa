//! The files that the arguments name: walked in a fixed order, links never followed. What cannot be read is an input
//! that fails, so that the log has a gap for it.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use truename_engine::Input;

use crate::exit::Failure;

/// Why a socket or a device is not opened.
const NO_FILE: &str = "neither a file nor a folder";
/// Deepest folder below an argument.
const DEPTH_MAX: usize = 32;

/// What the arguments hold.
#[derive(Default)]
pub(crate) struct Found {
    /// Files and what is none, in order of path.
    pub(crate) inputs: Vec<Input>,
    /// Octets in all, for progress.
    pub(crate) bytes: u64,
}

impl Found {
    /// Takes something that is not read.
    fn refuse(&mut self, path: &Path, why: impl ToString) {
        let why = why.to_string();
        let open = move || Err(io::Error::other(why.clone()));
        self.inputs.push(Input { label: label(path), size: 0, open: Box::new(open) });
    }
}

/// Walks the arguments; `skip` is the case folder, if it may exist: it is never its own input.
pub(crate) fn find(paths: &[PathBuf], skip: Option<&Path>) -> Result<Found, Failure> {
    let mut found = Found::default();
    let skip = skip.and_then(|dir| fs::canonicalize(dir).ok());
    for path in paths {
        if path.as_os_str() == "-" {
            found.inputs.push(spooled(path, &mut io::stdin().lock())?);
            continue;
        }
        let failed = |error: io::Error| Failure::io("read", path, &error);
        let meta = fs::metadata(path).map_err(failed)?;
        if meta.is_dir() {
            walk(path, 0, skip.as_deref(), &mut found);
        } else if meta.is_file() {
            add(path, meta.len(), &mut found);
        } else if meta.file_type().is_fifo() {
            found.inputs.push(spooled(path, &mut File::open(path).map_err(failed)?)?);
        } else {
            found.refuse(path, NO_FILE);
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

/// A pipe can be read once; it is spooled to an unnamed file, so that it can be hashed first and read again.
fn spooled(path: &Path, pipe: &mut dyn Read) -> Result<Input, Failure> {
    let failed = |error: io::Error| Failure::io("read", path, &error);
    let mut spool = tempfile::tempfile().map_err(failed)?;
    let size = io::copy(pipe, &mut spool).map_err(failed)?;
    let open = move || {
        let mut again = spool.try_clone()?;
        again.seek(io::SeekFrom::Start(0))?;
        Ok(Box::new(again) as Box<dyn Read + Send>)
    };
    Ok(Input { label: label(path), size, open: Box::new(open) })
}

fn label(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn walk(dir: &Path, depth: usize, skip: Option<&Path>, found: &mut Found) {
    if depth > DEPTH_MAX {
        return found.refuse(dir, format!("more than {DEPTH_MAX} folders deep"));
    }
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => return found.refuse(dir, error),
    };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) => paths.push(entry.path()),
            Err(error) => found.refuse(dir, format!("the list of its files is cut short: {error}")),
        }
    }
    paths.sort();
    for path in paths {
        match fs::symlink_metadata(&path) {
            Err(error) => found.refuse(&path, error),
            Ok(meta) if meta.is_symlink() => found.refuse(&path, link(&path)),
            Ok(meta)
                if meta.is_dir() && fs::canonicalize(&path).ok().as_deref() == skip && skip.is_some() => {}
            Ok(meta) if meta.is_dir() => walk(&path, depth + 1, skip, found),
            Ok(meta) if meta.is_file() => add(&path, meta.len(), found),
            Ok(_) => found.refuse(&path, NO_FILE),
        }
    }
}

fn link(path: &Path) -> String {
    let target = fs::read_link(path).map(|target| format!(" to {}", label(&target)));
    format!("a link{}, never followed; name what it stands for", target.unwrap_or_default())
}
