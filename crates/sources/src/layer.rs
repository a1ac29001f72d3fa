//! Looks inside gz, zst, xz and tar, in each other, streaming. Enters: a reader; leaves: the innermost layers with
//! their formats, one after the other.
//!
//! Bounds: four containers deep; in all 1 TiB expanded per input; beyond 4 GiB expanded at most 1,100 times what was
//! read of the input (deflate's own limit is 1,032); 128 MiB of window for zst, 256 MiB for xz; 100,000 files out of all
//! tars of one input; names of members 4 KiB.
//! What a bound cuts off is a loss, never silent. Links and devices in a tar are losses, too; names are labels and never
//! paths. Deliberately absent: files, and splitting the innermost layer.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufReader, Cursor, Read};
use std::rc::Rc;

use truename_model::observation::Loss;

use crate::piece::read_loss;
use crate::recognise::{Container, Format, HEAD, Recognised, recognise};

mod tar;

/// Bounds of the expansion of one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Containers inside each other.
    pub depth: usize,
    /// Octets expanded in all, over every layer.
    pub expanded: u64,
    /// Octets expanded before the ratio counts.
    pub ratio_from: u64,
    /// Octets expanded for each octet read of the input.
    pub ratio: u64,
    /// Files given out of all tars of the input.
    pub members: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 4, expanded: 1 << 40, ratio_from: 4 << 30, ratio: 1_100, members: 100_000 }
    }
}

/// One step from a layer to the one inside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Out of gzip.
    Gzip,
    /// Out of zstd.
    Zstd,
    /// Out of xz.
    Xz,
    /// A member of a tar: its index among all headers, and its name, escaped, as a label.
    Member(u64, String),
}

/// Where a layer lies in its input; empty for the input itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LayerPath(pub Vec<Step>);

impl LayerPath {
    fn inner(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

/// `gz > tar:name`; empty for the input itself.
impl fmt::Display for LayerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { " > " })?;
            match step {
                Step::Gzip => f.write_str("gz")?,
                Step::Zstd => f.write_str("zst")?,
                Step::Xz => f.write_str("xz")?,
                Step::Member(_, label) => write!(f, "tar:{label}")?,
            }
        }
        Ok(())
    }
}

/// What is done with the layers.
pub trait Visitor {
    /// Stands between each layer's reader and whoever reads it: the place to hash. Called once per layer, the input
    /// itself first; every layer is read to its end or to its loss.
    fn wrap<'r>(&mut self, layer: &LayerPath, reader: Box<dyn Read + 'r>) -> Box<dyn Read + 'r> {
        let _ = layer;
        reader
    }

    /// An innermost layer: `head` is what recognition saw, `reader` gives the layer from its beginning. What is left
    /// unread is read and dropped afterwards.
    ///
    /// # Errors
    /// An error ends the whole walk.
    fn leaf(
        &mut self,
        layer: &LayerPath,
        format: &Format,
        head: &[u8],
        reader: &mut dyn Read,
    ) -> io::Result<()>;
}

/// Losses of one input that are told in words; the rest is counted.
pub const LOSSES_TOLD: usize = 1_000;

/// What was met besides the innermost layers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerSummary {
    /// Innermost layers given out.
    pub leaves: u64,
    /// What could not be read, with where; the first [`LOSSES_TOLD`].
    pub losses: Vec<(LayerPath, Loss)>,
    /// Further losses.
    pub losses_untold: u64,
}

/// Peels `input` and gives every innermost layer to `visitor`.
///
/// # Errors
/// Only those of the visitor; what cannot be read is a loss.
pub fn open(input: &mut dyn Read, limits: &Limits, visitor: &mut dyn Visitor) -> io::Result<LayerSummary> {
    let counts = Rc::new(Counts { limits: *limits, read: Cell::new(0), expanded: Cell::new(0) });
    let input = Counted { inner: input, counts: Rc::clone(&counts), expands: false };
    let mut walk = Walk { counts, visitor, summary: LayerSummary::default(), members: 0 };
    walk.layer(LayerPath::default(), Box::new(input))?;
    Ok(walk.summary)
}

struct Counts {
    limits: Limits,
    read: Cell<u64>,
    expanded: Cell<u64>,
}

impl Counts {
    fn exceeded(&self) -> bool {
        let (read, expanded) = (self.read.get(), self.expanded.get());
        expanded > self.limits.expanded
            || (expanded > self.limits.ratio_from && expanded / self.limits.ratio.max(1) > read)
    }
}

/// Counts what passes; ends with an error over the limits.
struct Counted<R> {
    inner: R,
    counts: Rc<Counts>,
    expands: bool,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.expands && self.counts.exceeded() {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        let len = self.inner.read(buf)?;
        let count = if self.expands { &self.counts.expanded } else { &self.counts.read };
        count.set(count.get().saturating_add(len as u64));
        Ok(len)
    }
}

struct Walk<'v> {
    counts: Rc<Counts>,
    visitor: &'v mut dyn Visitor,
    summary: LayerSummary,
    // Files of tars given out so far.
    members: u64,
}

impl Walk<'_> {
    fn layer(&mut self, path: LayerPath, reader: Box<dyn Read + '_>) -> io::Result<()> {
        let mut reader = self.visitor.wrap(&path, reader);
        let mut head = Vec::new();
        let early = read_head(&mut *reader, &mut head).err();
        let mut whole = Once {
            inner: Cursor::new(head.as_slice()).chain(Tail { inner: &mut *reader, early }),
            ended: false,
        };
        match recognise(&head) {
            Recognised::Container(container) if path.0.len() < self.counts.limits.depth => {
                self.container(&path, container, &mut whole)?;
            }
            Recognised::Container(_) => {
                let text = format!("containers are nested more than {} deep", self.counts.limits.depth);
                self.lose(&path, Loss { cause: "nested-too-deep", count: None, text });
                let format = Format::Unknown("a container nested too deep");
                self.leaf(&path, &format, &head, &mut whole)?;
            }
            Recognised::Format(format) => self.leaf(&path, &format, &head, &mut whole)?,
        }
        self.drain(&path, &mut whole);
        Ok(())
    }

    fn leaf(
        &mut self,
        path: &LayerPath,
        format: &Format,
        head: &[u8],
        reader: &mut dyn Read,
    ) -> io::Result<()> {
        self.summary.leaves += 1;
        self.visitor.leaf(path, format, head, reader)
    }

    fn lose(&mut self, path: &LayerPath, loss: Loss) {
        if self.summary.losses.len() < LOSSES_TOLD {
            self.summary.losses.push((path.clone(), loss));
        } else {
            self.summary.losses_untold += 1;
        }
    }

    fn container(&mut self, path: &LayerPath, container: Container, reader: &mut dyn Read) -> io::Result<()> {
        let counted = |inner| Counted { inner, counts: Rc::clone(&self.counts), expands: true };
        match container {
            Container::Gzip => {
                let inner: Box<dyn Read> =
                    Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::new(reader)));
                let inner = counted(inner);
                self.layer(path.inner(Step::Gzip), Box::new(inner))
            }
            Container::Zstd => match zstd_reader(reader) {
                Ok(inner) => {
                    let inner = counted(inner);
                    self.layer(path.inner(Step::Zstd), Box::new(inner))
                }
                Err(error) => {
                    self.lose(path, read_loss(0, &error));
                    Ok(())
                }
            },
            Container::Xz => {
                let inner: Box<dyn Read> = Box::new(lzma_rust2::XzReader::new_mem_limit(
                    BufReader::new(reader),
                    true,
                    XZ_MEMORY_KIB,
                ));
                let inner = counted(inner);
                self.layer(path.inner(Step::Xz), Box::new(inner))
            }
            Container::Tar => self.tar(path, reader),
        }
    }

    fn tar(&mut self, path: &LayerPath, reader: &mut dyn Read) -> io::Result<()> {
        let mut archive = tar::Archive::new(reader);
        let mut beyond = 0u64;
        loop {
            match archive.next() {
                Ok(Some(tar::Entry::File { .. })) if self.members >= self.counts.limits.members => {
                    beyond += 1
                }
                Ok(Some(tar::Entry::File { index, label })) => {
                    self.members += 1;
                    self.layer(path.inner(Step::Member(index, label)), Box::new(archive.content()))?;
                }
                Ok(Some(tar::Entry::Sparse { label })) => {
                    let text = format!("the sparse member {label} of a tar is not read");
                    self.lose(path, Loss { cause: "tar-sparse", count: Some(1), text });
                }
                Ok(Some(tar::Entry::Other { label, what })) => {
                    let text = format!("the member {label} of a tar is {what}; only regular files are read");
                    self.lose(path, Loss { cause: "tar-no-file", count: Some(1), text });
                }
                Ok(None) => break,
                Err(tar::Damage::Header(at)) => {
                    let text = format!("a damaged header ends the tar after {at} octets");
                    self.lose(path, Loss { cause: "tar-damaged", count: None, text });
                    break;
                }
                Err(tar::Damage::Read(at, error)) => {
                    self.lose(path, read_loss(at, &error));
                    break;
                }
            }
        }
        if beyond > 0 {
            let most = self.counts.limits.members;
            let text = format!(
                "{beyond} files of this tar are not read: an archive gives at most {most}; unpack it and give the folder"
            );
            self.lose(path, Loss { cause: "tar-members", count: Some(beyond), text });
        }
        Ok(())
    }

    /// Reads what the layer still holds, so that its digest covers all of it; an error not met before is a loss.
    fn drain(&mut self, path: &LayerPath, reader: &mut dyn Read) {
        // Small: there may be very many layers with nothing left.
        let mut buffer = [0u8; 8 << 10];
        let mut at = 0u64;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return,
                Ok(len) => at += len as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.lose(path, read_loss(at, &error)),
            }
        }
    }
}

/// Memory that an xz stream may ask for, KiB.
const XZ_MEMORY_KIB: u32 = 256 << 10;
/// log2 of the largest window that a zstd frame may ask for.
const ZSTD_WINDOW_LOG: u32 = 27;

fn zstd_reader<'r>(reader: &'r mut dyn Read) -> io::Result<Box<dyn Read + 'r>> {
    let mut decoder = zstd::stream::read::Decoder::new(reader)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
    Ok(Box::new(decoder))
}

fn read_head(reader: &mut dyn Read, head: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = [0u8; 8 << 10];
    while head.len() < HEAD {
        let room = chunk.len().min(HEAD - head.len());
        match reader.read(&mut chunk[..room]) {
            Ok(0) => break,
            Ok(len) => head.extend_from_slice(&chunk[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What follows the head: gives the error that ended the head first, if there was one.
struct Tail<'r> {
    inner: &'r mut dyn Read,
    early: Option<io::Error>,
}

impl Read for Tail<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.early.take() {
            Some(error) => Err(error),
            None => self.inner.read(buf),
        }
    }
}

/// Ends after its first error, so that one loss is not met twice.
struct Once<R> {
    inner: R,
    ended: bool,
}

impl<R: Read> Read for Once<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let read = self.inner.read(buf);
        self.ended = read.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted);
        read
    }
}

#[cfg(test)]
mod tests;
