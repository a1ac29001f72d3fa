//! Members of a tar stream (POSIX.1-2001 ustar and pax, GNU long names). Enters: a reader; leaves: regular files.
//!
//! Own because it must stream, must not trust sizes, and must never touch a path. Deliberately absent: sparse files.

use std::io::{self, Read};

const BLOCK: usize = 512;
/// Longest extension header (long name, pax records) that is read, octets; a longer one is skipped.
const EXTENSION_MAX: u64 = 1 << 20;
/// Longest label, octets.
const LABEL_MAX: usize = 4096;

/// A member.
pub(super) enum Entry {
    /// A regular file; its content is read next.
    File {
        /// Index among all members.
        index: u64,
        /// Its name, escaped.
        label: String,
    },
    /// A sparse file: its content is not laid out in order.
    Sparse {
        /// Its name, escaped.
        label: String,
    },
    /// A link, a device, or of a kind that is not known.
    Other {
        /// Its name, escaped.
        label: String,
        /// What it is, in words; the target of a link is escaped.
        what: String,
    },
}

/// Why the walk ends early, after how many octets.
pub(super) enum Damage {
    /// A header without a right checksum.
    Header(u64),
    /// The reader failed or ended.
    Read(u64, io::Error),
}

/// A tar being read.
pub(super) struct Archive<'r> {
    reader: &'r mut dyn Read,
    at: u64,
    /// Octets of the current member's content, and of its padding, still unread.
    content: u64,
    padding: u64,
    index: u64,
    long_name: Option<Vec<u8>>,
    pax: Pax,
}

#[derive(Default)]
struct Pax {
    path: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

impl<'r> Archive<'r> {
    pub(super) fn new(reader: &'r mut dyn Read) -> Self {
        Self { reader, at: 0, content: 0, padding: 0, index: 0, long_name: None, pax: Pax::default() }
    }

    /// The next member; `None` at the end of the archive.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Damage> {
        loop {
            self.skip_rest()?;
            let mut block = [0u8; BLOCK];
            if !self.block(&mut block)? || block.iter().all(|b| *b == 0) {
                return Ok(None);
            }
            if !checksum_fits(&block) {
                return Err(Damage::Header(self.at - BLOCK as u64));
            }
            let kind = block[156];
            let size = number(&block[124..136]).ok_or(Damage::Header(self.at - BLOCK as u64))?;
            let size =
                if matches!(kind, b'x' | b'g' | b'L' | b'K') { size } else { self.pax.size.unwrap_or(size) };
            self.content = size;
            self.padding = size.wrapping_neg() % BLOCK as u64;
            if kind == b'5' {
                // A directory holds nothing of its own; GNU's dump directories have content, which is passed over.
                self.forget_extensions();
            } else if !self.extension(kind)? {
                return self.member(kind, &block).map(Some);
            }
        }
    }

    /// Reads a header that only tells about the next one; false if it is a member.
    fn extension(&mut self, kind: u8) -> Result<bool, Damage> {
        match kind {
            b'L' => self.long_name = self.small_content()?,
            b'x' => self.pax = self.small_content()?.map_or_else(Pax::default, |records| pax(&records)),
            b'K' | b'g' => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn forget_extensions(&mut self) {
        self.pax = Pax::default();
        self.long_name = None;
    }

    fn member(&mut self, kind: u8, block: &[u8; BLOCK]) -> Result<Entry, Damage> {
        let pax = std::mem::take(&mut self.pax);
        let name = pax.path.or(self.long_name.take()).unwrap_or_else(|| short_name(block));
        self.long_name = None;
        let index = self.index;
        self.index += 1;
        let label = label(&name);
        Ok(match kind {
            b'0' | 0 | b'7' if pax.sparse => Entry::Sparse { label },
            b'0' | 0 | b'7' => Entry::File { index, label },
            b'S' => {
                self.skip_sparse_maps(block)?;
                Entry::Sparse { label }
            }
            // Links and devices have no content, whatever their size field says.
            b'1'..=b'4' | b'6' => {
                (self.content, self.padding) = (0, 0);
                Entry::Other { label, what: kind_in_words(kind, block) }
            }
            _ => Entry::Other { label, what: kind_in_words(kind, block) },
        })
    }

    /// GNU sparse headers may be followed by blocks of maps before the content.
    fn skip_sparse_maps(&mut self, block: &[u8; BLOCK]) -> Result<(), Damage> {
        let mut extended = block[482] != 0;
        while extended {
            let mut map = [0u8; BLOCK];
            if !self.block(&mut map)? {
                return Err(Damage::Read(self.at, io::Error::from(io::ErrorKind::UnexpectedEof)));
            }
            extended = map[504] != 0;
        }
        Ok(())
    }

    /// The current member's content.
    pub(super) fn content<'a>(&'a mut self) -> Content<'a, 'r> {
        Content { archive: self }
    }

    fn small_content(&mut self) -> Result<Option<Vec<u8>>, Damage> {
        if self.content > EXTENSION_MAX {
            return Ok(None);
        }
        let mut out = Vec::new();
        let at = self.at;
        self.content().read_to_end(&mut out).map_err(|error| Damage::Read(at, error))?;
        Ok(Some(out))
    }

    fn skip_rest(&mut self) -> Result<(), Damage> {
        self.content = self.content.saturating_add(std::mem::take(&mut self.padding));
        let mut buffer = [0u8; 8 << 10];
        while self.content > 0 {
            let at = self.at;
            if self.content().read(&mut buffer).map_err(|error| Damage::Read(at, error))? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Fills a block; false at a clean end.
    fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, Damage> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(Damage::Read(self.at, io::Error::from(io::ErrorKind::UnexpectedEof))),
                Ok(len) => {
                    filled += len;
                    self.at += len as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Damage::Read(self.at, error)),
            }
        }
        Ok(true)
    }
}

/// Reads the content of one member, never beyond it.
pub(super) struct Content<'a, 'r> {
    archive: &'a mut Archive<'r>,
}

/// What a member is that is no file. A link's target in an extension header is left out.
fn kind_in_words(kind: u8, block: &[u8; BLOCK]) -> String {
    let target = |what: &str| {
        let target: Vec<u8> = block[157..257].iter().copied().take_while(|b| *b != 0).collect();
        if target.is_empty() { what.to_owned() } else { format!("{what} to {}", label(&target)) }
    };
    match kind {
        b'1' => target("a hard link"),
        b'2' => target("a link"),
        b'3' | b'4' => "a device".to_owned(),
        b'6' => "a pipe".to_owned(),
        _ => "of a kind that is not known".to_owned(),
    }
}

impl Read for Content<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.archive.content).unwrap_or(usize::MAX).min(buf.len());
        if room == 0 {
            return Ok(0);
        }
        let len = self.archive.reader.read(&mut buf[..room])?;
        if len == 0 {
            // The archive ends inside the member.
            self.archive.content = 0;
            self.archive.padding = 0;
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        self.archive.content -= len as u64;
        self.archive.at += len as u64;
        Ok(len)
    }
}

/// Octal text, or base 256 where the high bit is set (GNU).
fn number(field: &[u8]) -> Option<u64> {
    match field {
        [first, rest @ ..] if first & 0x80 != 0 => {
            let start = u64::from(first & 0x7f);
            rest.iter().try_fold(start, |acc, b| acc.checked_mul(256)?.checked_add(u64::from(*b)))
        }
        _ => {
            let digits = field.iter().skip_while(|b| **b == b' ').take_while(|b| !matches!(b, 0 | b' '));
            digits.copied().try_fold(0u64, |acc, b| {
                let digit = (b as char).to_digit(8)?;
                acc.checked_mul(8)?.checked_add(u64::from(digit))
            })
        }
    }
}

/// The sum of all octets with the checksum field as spaces; historic writers summed signed octets.
fn checksum_fits(block: &[u8; BLOCK]) -> bool {
    let Some(wanted) = number(&block[148..156]) else { return false };
    let octets = || block.iter().enumerate().map(|(at, b)| if (148..156).contains(&at) { b' ' } else { *b });
    let unsigned: u64 = octets().map(u64::from).sum();
    let signed: i64 = octets().map(|b| i64::from(b.cast_signed())).sum();
    wanted == unsigned || i64::try_from(wanted) == Ok(signed)
}

/// `prefix/name` of a ustar header.
fn short_name(block: &[u8; BLOCK]) -> Vec<u8> {
    let until_nul = |field: &[u8]| field.split(|b| *b == 0).next().unwrap_or_default().to_vec();
    let name = until_nul(&block[..100]);
    // GNU's own header ("ustar  ") uses the prefix's place for other things.
    let prefix = if block[257..263] == *b"ustar\0" { until_nul(&block[345..500]) } else { Vec::new() };
    if prefix.is_empty() { name } else { [&prefix[..], b"/", &name[..]].concat() }
}

/// Records `LEN KEY=VALUE\n` (POSIX pax).
fn pax(mut records: &[u8]) -> Pax {
    let mut out = Pax::default();
    while let Some(space) = memchr::memchr(b' ', records) {
        let digits = std::str::from_utf8(&records[..space]).ok();
        let Some(len) = digits.and_then(|text| text.parse::<usize>().ok()) else { break };
        if len <= space + 1 || len > records.len() {
            break;
        }
        let record = &records[space + 1..len];
        let record = record.strip_suffix(b"\n").unwrap_or(record);
        records = &records[len..];
        let Some(equals) = memchr::memchr(b'=', record) else { continue };
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        match key {
            b"path" => out.path = Some(value.to_vec()),
            b"size" => out.size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()),
            _ if key.starts_with(b"GNU.sparse.") => out.sparse = true,
            _ => {}
        }
    }
    out
}

/// A name as a label: bounded, without control characters.
fn label(name: &[u8]) -> String {
    let name = name.split(|b| *b == 0).next().unwrap_or_default();
    let cut = &name[..name.len().min(LABEL_MAX)];
    let text = String::from_utf8_lossy(cut);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || c == '\\' {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}
