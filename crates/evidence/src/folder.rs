//! A folder whose files are reached without ever following a link, and written so that a crash leaves old or new.
//!
//! Enters: relative `/`-separated names (hostile on disk); leaves: regular files only. Paths are walked component
//! by component with `O_NOFOLLOW`. Deliberately absent: anything outside the folder, deletion of a folder that holds anything.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::error::{Error, Result};
use crate::problem::{Problem, shown};

/// Deepest folder that a listing enters.
const MAX_DEPTH: usize = 8;
/// Most files that a listing returns.
pub(crate) const MAX_FILES: usize = 4_000_000;

/// Evidence holds values of secrets: nobody but its owner reads it.
const FOLDER_MODE: Mode = Mode::RWXU;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) size: u64,
    /// False for links, devices, pipes, sockets and names that are not UTF-8.
    pub(crate) regular: bool,
}

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
    /// Operations that still succeed before everything fails, as if the process were killed there.
    #[cfg(test)]
    pub(crate) left: std::sync::atomic::AtomicI64,
}

fn dir_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW
}

/// A name is relative, has no empty or dotted component and no NUL.
fn components(name: &str) -> Option<(Vec<&str>, &str)> {
    let mut parts: Vec<&str> = name.split('/').collect();
    let bad = |part: &&str| part.is_empty() || *part == "." || *part == ".." || part.contains('\0');
    if parts.len() > MAX_DEPTH || parts.iter().any(bad) {
        return None;
    }
    let last = parts.pop()?;
    Some((parts, last))
}

impl Folder {
    /// Opens a folder named by the user (links in its own path are the user's).
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| Error::io("open folder", path)(e.into()))?;
        Ok(Self::new(fd, path.to_path_buf()))
    }

    fn new(fd: OwnedFd, path: PathBuf) -> Self {
        Self {
            fd,
            path,
            #[cfg(test)]
            left: std::sync::atomic::AtomicI64::new(i64::MAX),
        }
    }

    /// One operation that changes the disk is about to happen.
    #[cfg(test)]
    fn change(&self, name: &str) -> Result<()> {
        let left = self.left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
        if left > 0 {
            return Ok(());
        }
        Err(Error::io("(injected fault)", &self.path_of(name))(std::io::Error::other("injected")))
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps)]
    fn change(&self, _name: &str) -> Result<()> {
        Ok(())
    }

    /// Writes to a file of this folder.
    pub(crate) fn write(&self, file: &mut File, name: &str, bytes: &[u8]) -> Result<()> {
        if let Err(error) = self.change(name) {
            // A kill can come in the middle of a write.
            let _ = file.write_all(&bytes[..bytes.len() / 2]);
            return Err(error);
        }
        file.write_all(bytes).map_err(Error::io("write", &self.path_of(name)))
    }

    /// Makes a file durable. A failure is final: the kernel may have dropped the pages (never retried).
    pub(crate) fn sync(&self, file: &File, name: &str) -> Result<()> {
        self.change(name)?;
        file.sync_all().map_err(Error::io("sync", &self.path_of(name)))
    }

    /// Cuts a file off, durably.
    pub(crate) fn truncate(&self, file: &File, name: &str, len: u64) -> Result<()> {
        self.change(name)?;
        file.set_len(len).map_err(Error::io("truncate", &self.path_of(name)))?;
        self.sync(file, name)
    }

    /// Opens a folder inside this one, not through a link.
    pub(crate) fn child(&self, name: &str) -> Result<Self> {
        let path = self.path_of(name);
        let fd = rustix::fs::openat(&self.fd, name, dir_flags(), Mode::empty())
            .map_err(|e| Error::io("open folder", &path)(e.into()))?;
        Ok(Self::new(fd, path))
    }

    /// Path of a file for messages.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn parent(&self, name: &str, create: bool) -> Result<(OwnedFd, String)> {
        let refuse = || Error::Refused(format!("not a name inside a case folder: {}", shown(name)));
        let (folders, last) = components(name).ok_or_else(refuse)?;
        let io = |e: rustix::io::Errno| Error::io("open folder of", &self.path_of(name))(e.into());
        let mut fd = self.fd.as_fd().try_clone_to_owned().map_err(Error::io("open", &self.path))?;
        for folder in folders {
            if create {
                match rustix::fs::mkdirat(&fd, folder, FOLDER_MODE) {
                    Ok(()) => rustix::fs::fsync(&fd).map_err(io)?,
                    Err(rustix::io::Errno::EXIST) => {}
                    Err(e) => return Err(io(e)),
                }
            }
            fd = rustix::fs::openat(&fd, folder, dir_flags(), Mode::empty()).map_err(io)?;
        }
        Ok((fd, last.to_owned()))
    }

    fn open_with(&self, name: &str, flags: OFlags, create: bool) -> Result<File> {
        let (dir, last) = self.parent(name, create)?;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let io = |e: rustix::io::Errno| Error::io("open", &self.path_of(name))(e.into());
        let fd = rustix::fs::openat(&dir, last.as_str(), flags, FILE_MODE).map_err(io)?;
        let stat = rustix::fs::fstat(&fd).map_err(io)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::integrity(Problem::file(name, "a regular file", "something else")));
        }
        Ok(File::from(fd))
    }

    /// Opens a regular file for reading.
    pub(crate) fn file(&self, name: &str) -> Result<File> {
        self.open_with(name, OFlags::RDONLY, false)
    }

    /// Creates a file that must not exist, for reading and writing.
    pub(crate) fn create(&self, name: &str) -> Result<File> {
        self.change(name)?;
        self.open_with(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, true)
    }

    /// Opens an existing file for reading and writing.
    pub(crate) fn file_rw(&self, name: &str) -> Result<File> {
        self.open_with(name, OFlags::RDWR, false)
    }

    /// Reads a whole file of at most `max` bytes.
    pub(crate) fn read(&self, name: &str, max: u64) -> Result<Vec<u8>> {
        let file = self.file(name)?;
        let mut out = Vec::new();
        file.take(max + 1).read_to_end(&mut out).map_err(Error::io("read", &self.path_of(name)))?;
        if out.len() as u64 > max {
            let expected = format!("at most {max} bytes");
            return Err(Error::integrity(Problem::file(name, expected, "a longer file")));
        }
        Ok(out)
    }

    /// Reads a file if there is one.
    pub(crate) fn read_if_any(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>> {
        match self.read(name, max) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a file durably: temporary file, sync, rename, sync of the folder. A crash leaves the old or the new file.
    pub(crate) fn write_atomic(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let temporary = format!("{name}.tmp");
        self.remove_if_any(&temporary)?;
        let mut file = self.create(&temporary)?;
        self.write(&mut file, &temporary, bytes)?;
        self.sync(&file, &temporary)?;
        drop(file);
        self.rename(&temporary, name)
    }

    /// Renames inside one folder and makes it durable.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (dir, old) = self.parent(from, false)?;
        let (_, new) = self.parent(to, false)?;
        self.change(to)?;
        let io = |e: rustix::io::Errno| Error::io("rename to", &self.path_of(to))(e.into());
        rustix::fs::renameat(&dir, old.as_str(), &dir, new.as_str()).map_err(io)?;
        self.change(to)?;
        rustix::fs::fsync(&dir).map_err(io)
    }

    /// Moves a file to another folder inside this one and makes it durable.
    pub(crate) fn move_to(&self, from: &str, to: &str) -> Result<()> {
        let (old_dir, old) = self.parent(from, false)?;
        let (new_dir, new) = self.parent(to, true)?;
        self.change(to)?;
        let io = |e: rustix::io::Errno| Error::io("move to", &self.path_of(to))(e.into());
        rustix::fs::renameat(&old_dir, old.as_str(), &new_dir, new.as_str()).map_err(io)?;
        rustix::fs::fsync(&new_dir).map_err(io)?;
        rustix::fs::fsync(&old_dir).map_err(io)
    }

    /// Removes a file (never a folder) if it exists.
    pub(crate) fn remove_if_any(&self, name: &str) -> Result<()> {
        let (dir, last) = match self.parent(name, false) {
            Ok(found) => found,
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        self.change(name)?;
        match rustix::fs::unlinkat(&dir, last.as_str(), AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(e) => Err(Error::io("remove", &self.path_of(name))(e.into())),
        }
    }

    /// Removes a folder directly in this one if nothing is in it.
    pub(crate) fn remove_empty(&self, name: &str) -> Result<()> {
        use rustix::io::Errno;
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(e) => Err(Error::io("remove", &self.path_of(name))(e.into())),
        }
    }

    /// Lists every file below, sorted by name; folders are entered, links are not.
    pub(crate) fn list(&self) -> Result<Vec<Listed>> {
        self.list_all().map(|(files, _)| files)
    }

    /// As [`Self::list`], and the folders in which nothing is.
    pub(crate) fn list_all(&self) -> Result<(Vec<Listed>, Vec<String>)> {
        let (mut out, mut empty) = (Vec::new(), Vec::new());
        self.list_into(&self.fd, "", 0, &mut out, &mut empty)?;
        out.sort_by(|a, b| a.name.cmp(&b.name));
        empty.sort();
        Ok((out, empty))
    }

    fn list_into(
        &self,
        dir: &OwnedFd,
        prefix: &str,
        depth: usize,
        out: &mut Vec<Listed>,
        empty: &mut Vec<String>,
    ) -> Result<()> {
        let io = |e: rustix::io::Errno| Error::io("list", &self.path_of(prefix))(e.into());
        for entry in rustix::fs::Dir::read_from(dir).map_err(io)? {
            let entry = entry.map_err(io)?;
            let raw = entry.file_name();
            if raw.to_bytes() == b"." || raw.to_bytes() == b".." {
                continue;
            }
            if out.len() + empty.len() >= MAX_FILES {
                return Err(Error::Refused(format!("more than {MAX_FILES} files in the case folder")));
            }
            let utf8 = raw.to_str();
            let text = utf8.map_or_else(|_| raw.to_string_lossy().into_owned(), str::to_owned);
            let name = if prefix.is_empty() { text } else { format!("{prefix}/{text}") };
            let stat = rustix::fs::statat(dir, raw, AtFlags::SYMLINK_NOFOLLOW).map_err(io)?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind == FileType::Directory && utf8.is_ok() && depth < MAX_DEPTH {
                let inner = rustix::fs::openat(dir, raw, dir_flags(), Mode::empty()).map_err(io)?;
                let before = out.len() + empty.len();
                self.list_into(&inner, &name, depth + 1, out, empty)?;
                if out.len() + empty.len() == before {
                    empty.push(name);
                }
            } else {
                let regular = kind == FileType::RegularFile && utf8.is_ok();
                out.push(Listed { name, size: u64::try_from(stat.st_size).unwrap_or(0), regular });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_neither_read_nor_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        std::fs::create_dir_all(dir.path().join("case/sub")).unwrap();
        std::fs::write(&outside, "secret").unwrap();
        std::os::unix::fs::symlink(&outside, dir.path().join("case/link")).unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("case/out")).unwrap();
        let folder = Folder::open(&dir.path().join("case")).unwrap();
        assert!(folder.read("link", 100).is_err());
        assert!(folder.file_rw("link").is_err());
        assert!(folder.read("out/outside", 100).is_err());
        assert!(folder.read("../outside", 100).is_err());
        assert!(folder.read("sub/../../outside", 100).is_err());
        let listed = folder.list().unwrap();
        assert_eq!(
            listed.iter().map(|l| (l.name.as_str(), l.regular)).collect::<Vec<_>>(),
            [("link", false), ("out", false)]
        );
    }

    #[test]
    fn a_pipe_is_refused_without_waiting_for_a_writer() {
        let dir = tempfile::tempdir().unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("pipe"),
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        assert!(folder.read("pipe", 10).is_err());
    }
}
