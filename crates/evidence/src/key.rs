//! The operator's Ed25519 key: a file outside the case folder, in the signer-key form of signed notes.
//!
//! Enters: a path; leaves: signatures. A key file is created once, atomically, mode 0600, and never overwritten.
//! Deliberately absent: default paths (the program decides), rotation, hardware keys.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;

use crate::error::{Error, Result};
use crate::note::{self, Vkey, base64, hex, unbase64};

/// Name of the operator's key when it is not bound to one case.
pub const OPERATOR: &str = "truename";
/// Longest key file read, in bytes.
const MAX_KEY_FILE: u64 = 4096;

/// The operator's signing key.
pub struct SigningKeyFile {
    key: SigningKey,
    path: PathBuf,
}

impl std::fmt::Debug for SigningKeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The secret half is never shown.
        f.debug_struct("SigningKeyFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SigningKeyFile {
    /// Loads a key, or makes it if there is no such file (mode 0600, never overwriting). Missing folders are made 0700.
    ///
    /// # Errors
    /// [`Error::Key`] for a damaged file or one that others can read; [`Error::Io`].
    pub fn load_or_create(path: &Path) -> Result<Self> {
        match Self::load(path) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                create(path)?;
                Self::load(path)
            }
            other => other,
        }
    }

    /// Loads an existing key.
    ///
    /// # Errors
    /// As [`SigningKeyFile::load_or_create`].
    pub fn load(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open key", path))?;
        let meta = file.metadata().map_err(Error::io("read key", path))?;
        if !meta.is_file() {
            return Err(Error::Key(format!("{} is not a file", path.display())));
        }
        if meta.mode() & 0o077 != 0 {
            let mode = meta.mode() & 0o777;
            let path = path.display();
            return Err(Error::Key(format!(
                "{path} can be used by others (mode {mode:o}); chmod 600 {path}"
            )));
        }
        let mut text = String::new();
        file.take(MAX_KEY_FILE).read_to_string(&mut text).map_err(Error::io("read key", path))?;
        let key = parse(&text).ok_or_else(|| {
            let path = path.display();
            Error::Key(format!("{path} does not hold a key of the form PRIVATE+KEY+name+id+base64"))
        })?;
        Ok(Self { key, path: path.to_path_buf() })
    }

    /// Where the key lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The operator's verifier key, not bound to a case (name `truename`).
    #[must_use]
    pub fn vkey(&self) -> Vkey {
        self.vkey_as(OPERATOR)
    }

    pub(crate) fn vkey_as(&self, name: &str) -> Vkey {
        let key = self.key.verifying_key();
        // Names come from this crate (`truename`, `truename/<hex>`), which are always valid.
        Vkey::new(name, key).or_else(|| Vkey::new(OPERATOR, key)).unwrap_or_else(|| unreachable!())
    }

    pub(crate) fn sign(&self, text: &str, name: &str) -> String {
        note::sign(text, name, &self.key)
    }
}

/// Fills with random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).map_err(|e| Error::Key(format!("no randomness from the system: {e}")))?;
    Ok(bytes)
}

fn create(path: &Path) -> Result<()> {
    let key = SigningKey::from_bytes(&random::<32>()?);
    let vkey = Vkey::new(OPERATOR, key.verifying_key()).map(|v| v.to_string()).unwrap_or_default();
    let id = vkey.split('+').nth(1).unwrap_or_default().to_owned();
    let mut data = vec![1u8];
    data.extend_from_slice(key.as_bytes());
    let text = format!("PRIVATE+KEY+{OPERATOR}+{id}+{}\n", base64(&data));
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(parent).map_err(Error::io("make folder", parent))?;
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", hex(&random::<8>()?)));
    let temporary = PathBuf::from(temporary);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(Error::io("make key", &temporary))?;
    file.write_all(text.as_bytes()).map_err(Error::io("write key", &temporary))?;
    file.sync_all().map_err(Error::io("sync key", &temporary))?;
    // A hard link never replaces: of two first runs at once, one makes the key and both load that one.
    let linked = std::fs::hard_link(&temporary, path);
    std::fs::remove_file(&temporary).map_err(Error::io("remove", &temporary))?;
    match linked {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(Error::io("make key", path)(e)),
        _ => Ok(()),
    }
}

fn parse(text: &str) -> Option<SigningKey> {
    let rest = text.trim_end_matches('\n').strip_prefix("PRIVATE+KEY+")?;
    let mut parts = rest.splitn(3, '+');
    let (name, id, data) = (parts.next()?, parts.next()?, parts.next()?);
    let data = unbase64(data)?;
    let (&1, seed) = data.split_first()? else { return None };
    let key = SigningKey::from_bytes(seed.try_into().ok()?);
    let vkey = Vkey::new(name, key.verifying_key())?.to_string();
    (vkey.split('+').nth(1) == Some(id)).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// The example key of golang.org/x/mod/sumdb/note.
    #[test]
    fn a_key_of_the_go_implementation_is_read() {
        let key = parse("PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz\n")
            .unwrap();
        let vkey = Vkey::new("PeterNeumann", key.verifying_key()).unwrap();
        assert_eq!(vkey.to_string(), "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
        let text = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n";
        let signed = note::sign(text, "PeterNeumann", &key);
        assert!(signed.contains(
            "PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
        ));
    }

    #[test]
    fn a_key_is_made_once_private_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config/truename/key");
        let first = SigningKeyFile::load_or_create(&path).unwrap().vkey();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(SigningKeyFile::load_or_create(&path).unwrap().vkey(), first);
        create(&path).unwrap();
        assert_eq!(SigningKeyFile::load(&path).unwrap().vkey(), first);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(SigningKeyFile::load(&path), Err(Error::Key(_))));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "PRIVATE+KEY+x").unwrap();
        assert!(matches!(SigningKeyFile::load_or_create(&path), Err(Error::Key(_))));
    }
}
