//! C2SP signed-note and tlog-checkpoint: verifier keys, signing, opening, checkpoint bodies.
//!
//! Enters: note text (hostile) and keys; leaves: text that a known key has signed. Deliberately absent: files,
//! cosignatures, other algorithms than Ed25519 (signatures by unknown keys are ignored, as the spec demands).
//! Sources: c2sp.org/signed-note, c2sp.org/tlog-checkpoint.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::merkle::Hash;

/// Signature type of plain Ed25519.
const ED25519: u8 = 1;
/// Longest note accepted, in bytes.
pub const MAX_NOTE: usize = 64 * 1024;
/// Most signature lines accepted (the spec asks for at least 16).
const MAX_SIGNATURES: usize = 100;

/// A verifier key: name and Ed25519 public key, in the text form `name+keyid+base64(01 ‖ key)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vkey {
    name: String,
    key: VerifyingKey,
}

/// Why a note was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The text does not follow the format.
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    /// No signature by the given key.
    #[error("no signature by the key {0}")]
    Unsigned(String),
    /// A signature that names the given key is wrong.
    #[error("the signature by {0} does not match the text")]
    BadSignature(String),
}

fn name_is_valid(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 256
        && !name.contains('+')
        && !name.chars().any(|c| c.is_whitespace() || c.is_control())
}

fn key_id(name: &str, key: &VerifyingKey) -> [u8; 4] {
    let mut hasher = Sha256::new();
    hasher.update(name.as_bytes());
    hasher.update([b'\n', ED25519]);
    hasher.update(key.as_bytes());
    let digest: Hash = hasher.finalize().into();
    [digest[0], digest[1], digest[2], digest[3]]
}

impl Vkey {
    /// Names a public key.
    pub(crate) fn new(name: &str, key: VerifyingKey) -> Option<Self> {
        name_is_valid(name).then(|| Self { name: name.to_owned(), key })
    }

    /// Parses `name+keyid+base64`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().splitn(3, '+');
        let (name, id, data) = (parts.next()?, parts.next()?, parts.next()?);
        let data = STANDARD.decode(data).ok()?;
        let (&ED25519, key) = data.split_first()? else { return None };
        let key = VerifyingKey::from_bytes(key.try_into().ok()?).ok()?;
        let vkey = Self::new(name, key)?;
        (id.len() == 8 && id == hex(&key_id(name, &key))).then_some(vkey)
    }

    /// Name of the key; for a case it is the origin of its log.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The 32 bytes of the public key.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// The same public key under another name.
    #[must_use]
    pub fn renamed(&self, name: &str) -> Option<Self> {
        Self::new(name, self.key)
    }
}

impl std::fmt::Display for Vkey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut data = vec![ED25519];
        data.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, hex(&key_id(&self.name, &self.key)), STANDARD.encode(data))
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Signs `text` (which ends with a newline) under `name`. Returns the whole note.
pub(crate) fn sign(text: &str, name: &str, key: &SigningKey) -> String {
    let mut data = key_id(name, &key.verifying_key()).to_vec();
    data.extend_from_slice(&key.sign(text.as_bytes()).to_bytes());
    format!("{text}\n\u{2014} {name} {}\n", STANDARD.encode(data))
}

/// A note split into its text and its signatures (name, key id, signature), nothing verified.
struct Parts<'a> {
    text: &'a str,
    signatures: Vec<(&'a str, [u8; 4], Vec<u8>)>,
}

fn split(note: &[u8]) -> Result<Parts<'_>, NoteError> {
    if note.len() > MAX_NOTE {
        return Err(NoteError::Malformed("too long"));
    }
    let note = std::str::from_utf8(note).map_err(|_| NoteError::Malformed("not UTF-8"))?;
    if note.chars().any(|c| c < ' ' && c != '\n') {
        return Err(NoteError::Malformed("control characters"));
    }
    let cut = note.rfind("\n\n").ok_or(NoteError::Malformed("no blank line before the signatures"))?;
    let (text, rest) = (&note[..=cut], &note[cut + 2..]);
    let lines = rest.strip_suffix('\n').ok_or(NoteError::Malformed("no newline at the end"))?;
    let mut signatures = Vec::new();
    for line in lines.split('\n').take(MAX_SIGNATURES) {
        let line = line.strip_prefix("\u{2014} ").ok_or(NoteError::Malformed("a signature line"))?;
        let (name, data) = line.split_once(' ').ok_or(NoteError::Malformed("a signature line"))?;
        let data = STANDARD.decode(data).map_err(|_| NoteError::Malformed("base64 of a signature"))?;
        let (id, signature) =
            data.split_first_chunk::<4>().ok_or(NoteError::Malformed("a short signature"))?;
        if !name_is_valid(name) {
            return Err(NoteError::Malformed("name of a signer"));
        }
        signatures.push((name, *id, signature.to_vec()));
    }
    Ok(Parts { text, signatures })
}

/// Returns the text of a note if `vkey` has signed it. Signatures by other keys are ignored.
///
/// # Errors
/// Malformed notes, notes without a signature by the key, and wrong signatures by it.
pub fn open<'a>(note: &'a [u8], vkey: &Vkey) -> Result<&'a str, NoteError> {
    let parts = split(note)?;
    let id = key_id(&vkey.name, &vkey.key);
    let mut signed = false;
    for (name, found, signature) in &parts.signatures {
        if *name != vkey.name || *found != id {
            continue;
        }
        let signature: Option<[u8; 64]> = signature.as_slice().try_into().ok();
        let valid = signature.is_some_and(|bytes| {
            vkey.key.verify_strict(parts.text.as_bytes(), &Signature::from_bytes(&bytes)).is_ok()
        });
        if !valid {
            return Err(NoteError::BadSignature(vkey.name.clone()));
        }
        signed = true;
    }
    if signed { Ok(parts.text) } else { Err(NoteError::Unsigned(vkey.to_string())) }
}

/// A checkpoint: origin, number of entries and root of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Origin line, `truename/<case id>`.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root of the tree of these entries.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed: three lines, no extension lines.
    #[must_use]
    pub fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// Parses a body; only the canonical form that [`Checkpoint::body`] gives is accepted.
    #[must_use]
    pub fn parse(body: &str) -> Option<Self> {
        let mut lines = body.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let root: Hash = STANDARD.decode(root).ok()?.try_into().ok()?;
        let checkpoint = Self { origin: origin.to_owned(), size: size.parse().ok()?, root };
        (name_is_valid(origin) && checkpoint.body() == body).then_some(checkpoint)
    }
}

/// Text of a note before its signatures are checked; only for saying what is wrong with it.
pub(crate) fn unverified_text(note: &[u8]) -> Option<&str> {
    split(note).ok().map(|parts| parts.text)
}

/// Base64 with padding, as notes use it.
pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Strict base64.
pub(crate) fn unbase64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    /// The vector of c2sp.org/signed-note.
    #[test]
    fn the_note_of_the_specification_opens() {
        let vkey = Vkey::parse(VKEY).unwrap();
        assert_eq!(vkey.to_string(), VKEY);
        assert_eq!(open(NOTE.as_bytes(), &vkey), Ok("This is an example message.\n"));
    }

    #[test]
    fn every_altered_byte_of_a_note_is_noticed() {
        let vkey = Vkey::parse(VKEY).unwrap();
        for at in 0..NOTE.len() {
            for bit in 0..8 {
                let mut bytes = NOTE.as_bytes().to_vec();
                bytes[at] ^= 1 << bit;
                assert!(open(&bytes, &vkey).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn unknown_signers_are_ignored_and_a_wrong_one_of_ours_is_not() {
        let vkey = Vkey::parse(VKEY).unwrap();
        let other = sign("This is an example message.\n", "other", &SigningKey::from_bytes(&[7; 32]));
        let line = other.split("\n\n").nth(1).unwrap();
        assert!(open(format!("{NOTE}{line}").as_bytes(), &vkey).is_ok());
        assert!(matches!(open(other.as_bytes(), &vkey), Err(NoteError::Unsigned(_))));
        let ours = NOTE.split("\n\n").nth(1).unwrap();
        let forged = format!("This is another message.\n\n{ours}");
        assert!(matches!(open(forged.as_bytes(), &vkey), Err(NoteError::BadSignature(_))));
    }

    /// The checkpoint of c2sp.org/tlog-checkpoint.
    #[test]
    fn a_checkpoint_has_one_form() {
        let body = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let checkpoint = Checkpoint::parse(body).unwrap();
        assert_eq!(checkpoint.size, 20_852_163);
        assert_eq!(checkpoint.body(), body);
        for bad in [body.replace('2', "02"), body.replacen("2085", "+2085", 1), format!("{body}ext\n")] {
            assert_eq!(Checkpoint::parse(&bad), None);
        }
    }
}
