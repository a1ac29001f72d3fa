//! The files that the arguments name: walked in a fixed order, links never followed, everything passed over said.

use std::fs::{self, File};
use std::io::{self, Read};
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
            walk(path, path, 0, skip.as_deref(), &mut found);
        } else {
            let label =
                path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
            add(path, label.into_owned(), meta.len(), &mut found);
        }
    }
    found.inputs.sort_by(|a, b| a.label.cmp(&b.label));
    Ok(found)
}

fn add(path: &Path, label: String, size: u64, found: &mut Found) {
    let path = path.to_path_buf();
    found.bytes += size;
    let open = move || File::open(&path).map(|file| Box::new(file) as Box<dyn Read + Send>);
    found.inputs.push(Input { label, size, open: Box::new(open) });
}

/// Standard input can be read once; it is spooled so that it can be hashed first and read again.
fn standard_input() -> Result<Input, Failure> {
    let mut bytes = Vec::new();
    let limit = 4 << 30;
    let failed = |error: io::Error| Failure::io("read", Path::new("standard input"), &error);
    io::stdin().lock().take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(Failure::usage("standard input is longer than 4 GiB; give it as a file"));
    }
    let shared: std::sync::Arc<[u8]> = bytes.into();
    let size = shared.len() as u64;
    let open = move || Ok(Box::new(io::Cursor::new(shared.clone())) as Box<dyn Read + Send>);
    Ok(Input { label: "-".to_owned(), size, open: Box::new(open) })
}

fn walk(root: &Path, dir: &Path, depth: usize, skip: Option<&Path>, found: &mut Found) {
    let label = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
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
            Ok(meta) if meta.is_dir() => walk(root, &path, depth + 1, skip, found),
            Ok(meta) if meta.is_file() => add(&path, label(&path), meta.len(), found),
            Ok(_) => found.passed_over.push(format!("{}: neither a file nor a folder", label(&path))),
        }
    }
}
