//! Segment files: header, blocks with commit frames, footer with block index, item runs and subtree roots.
//!
//! Enters: bytes of a file (hostile) or blocks to lay out; leaves: checked blocks, footers, the state to go on from.
//! One scan serves sealing, recovery and verification. Deliberately absent: the outer log, threads, naming policy.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use sha2::{Digest, Sha256};

use crate::codec::{Bytes, put_u32, put_u64};
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::frame::{self, Frame, Frames, MAX_PIECE, Salts};
use crate::merkle::{Batch, CompactRange, Hash};
use crate::problem::Problem;

/// Raw bytes at which a block is cut.
pub(crate) const BLOCK_RAW: usize = 256 << 10;
/// Largest raw block: one piece of the largest size on top of an almost full block.
const MAX_BLOCK_RAW: usize = BLOCK_RAW + MAX_PIECE + 64;
/// Largest compressed block (`ZSTD_compressBound` is below raw + raw/128 + 512).
const MAX_BLOCK_LEN: usize = MAX_BLOCK_RAW + MAX_BLOCK_RAW / 128 + 1024;
/// Leaves at which a segment is sealed.
pub(crate) const SEGMENT_LEAVES: u64 = 1 << 18;
/// Leaves that are hashed in one go, at most.
const LOT: usize = 256;
/// Octets that are hashed in one go, unless one message is longer.
const LOT_OCTETS: usize = 64 << 10;
/// Raw bytes at which a segment is sealed.
pub(crate) const SEGMENT_RAW: u64 = 64 << 20;
/// Largest file that is accepted as a segment.
const MAX_FILE: u64 = 256 << 20;
/// Largest footer payload that is accepted.
const MAX_FOOTER: usize = 64 << 20;

const MAGIC: &[u8; 8] = b"TNSEG\0\0\x01";
/// Bytes of the header of a segment file.
pub(crate) const HEADER: usize = 124;
const FRAME_HEAD: usize = 36;
const COMMIT: usize = 52;
const TRAILER: usize = 16;
const BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"TNB1");
const COMMIT_MAGIC: u32 = u32::from_le_bytes(*b"TNC1");
const END_MAGIC: u32 = u32::from_le_bytes(*b"TNE1");
const TYPE_BLOCK: u8 = 1;
const TYPE_FOOTER: u8 = 2;

/// Name of a sealed segment inside `evidence/`.
pub(crate) fn sealed_name(number: u64) -> String {
    format!("segments/{number:08}.seg")
}

/// Name of a segment being written.
pub(crate) fn open_name(number: u64) -> String {
    format!("segments/{number:08}.open")
}

/// First bytes of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) number: u64,
    pub(crate) first_leaf: u64,
    pub(crate) seed: [u8; 32],
    /// SHA-256 of the log's origin line: a segment of another case does not fit.
    pub(crate) origin: Hash,
    /// Root of the segment before; zeros in the first one.
    pub(crate) previous: Hash,
}

impl Header {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put_u64(&mut out, self.number);
        put_u64(&mut out, self.first_leaf);
        out.extend_from_slice(&self.seed);
        out.extend_from_slice(&self.origin);
        out.extend_from_slice(&self.previous);
        let crc = crc32c::crc32c(&out);
        put_u32(&mut out, crc);
        out
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut input = Bytes::new(bytes.get(..HEADER)?);
        let crc = crc32c::crc32c(&bytes[..HEADER - 4]);
        if input.take(8)? != MAGIC {
            return None;
        }
        let (number, first_leaf) = (input.u64()?, input.u64()?);
        let (seed, origin, previous) = (input.hash()?, input.hash()?, input.hash()?);
        (input.u32()? == crc).then_some(Self { number, first_leaf, seed, origin, previous })
    }
}

/// SHA-256 of an origin line, as segment headers hold it.
pub(crate) fn origin_hash(origin: &str) -> Hash {
    Sha256::digest(origin.as_bytes()).into()
}

/// Head of a block or footer frame.
#[derive(Clone, Copy, Debug)]
struct Head {
    kind: u8,
    len: u32,
    raw: u32,
    first: u64,
    count: u32,
    number: u32,
    crc: u32,
}

impl Head {
    /// Bytes without the checksum.
    fn partial(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FRAME_HEAD);
        put_u32(&mut out, BLOCK_MAGIC);
        out.extend_from_slice(&[1, self.kind, 0, 0]);
        put_u32(&mut out, self.len);
        put_u32(&mut out, self.raw);
        put_u64(&mut out, self.first);
        put_u32(&mut out, self.count);
        put_u32(&mut out, self.number);
        out
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut input = Bytes::new(bytes);
        if input.u32()? != BLOCK_MAGIC {
            return None;
        }
        let &[1, kind, 0, 0] = input.take(4)? else { return None };
        let (len, raw, first) = (input.u32()?, input.u32()?, input.u64()?);
        let head =
            Self { kind, len, raw, first, count: input.u32()?, number: input.u32()?, crc: input.u32()? };
        let fits = match kind {
            TYPE_BLOCK => len as usize <= MAX_BLOCK_LEN && raw as usize <= MAX_BLOCK_RAW,
            TYPE_FOOTER => len as usize <= MAX_FOOTER,
            _ => false,
        };
        fits.then_some(head)
    }

    /// Appends head, checksum and payload.
    fn put(&self, out: &mut Vec<u8>, payload: &[u8]) {
        let head = self.partial();
        let crc = crc32c::crc32c_append(crc32c::crc32c(&head), payload);
        out.extend_from_slice(&head);
        put_u32(out, crc);
        out.extend_from_slice(payload);
    }
}

/// Index entry of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockEntry {
    pub(crate) offset: u64,
    /// Length of the whole frame: head, payload, commit.
    pub(crate) len: u32,
    pub(crate) raw: u32,
    pub(crate) first_leaf: u32,
    pub(crate) leaves: u32,
    /// SHA-256 of the whole frame: a reader checks each block against the signed manifest.
    pub(crate) sha256: Hash,
}

/// Consecutive frames of one item in one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) item: u32,
    pub(crate) block: u32,
    /// Number of the first frame in the block.
    pub(crate) frame: u32,
    pub(crate) frames: u32,
    /// Records that end in this run.
    pub(crate) records: u32,
    pub(crate) first_ordinal: u64,
    pub(crate) last_ordinal: u64,
    /// Bytes of evidence in this run.
    pub(crate) bytes: u64,
}

/// The tree side of a segment: leaves, subtree roots, item runs. Fed frame by frame.
pub(crate) struct Tree {
    salts: Salts,
    // Leaves that are not hashed yet; none between two blocks.
    batch: Batch,
    hashed: Vec<Hash>,
    range: CompactRange,
    pub(crate) subtrees: Vec<Hash>,
    pub(crate) runs: Vec<Run>,
    pub(crate) raw_bytes: u64,
    block: u32,
    in_block: u32,
}

impl Tree {
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        Self {
            salts: Salts::new(seed, 0),
            batch: Batch::default(),
            hashed: Vec::new(),
            range: CompactRange::default(),
            subtrees: Vec::new(),
            runs: Vec::new(),
            raw_bytes: 0,
            block: 0,
            in_block: 0,
        }
    }

    pub(crate) fn push(&mut self, frame: &Frame<'_>) {
        let salt = self.salts.next();
        frame::add_leaf(&mut self.batch, &salt, frame);
        if self.batch.len() >= LOT || self.batch.octets() >= LOT_OCTETS {
            self.hash();
        }
        self.raw_bytes += frame.bytes.len() as u64;
        let ends = u32::from(!frame.more);
        let bytes = frame.bytes.len() as u64;
        match self.runs.last_mut() {
            Some(run) if run.item == frame.item && run.block == self.block => {
                run.frames += 1;
                run.records += ends;
                run.last_ordinal = frame.ordinal;
                run.bytes += bytes;
            }
            _ => self.runs.push(Run {
                item: frame.item,
                block: self.block,
                frame: self.in_block,
                frames: 1,
                records: ends,
                first_ordinal: frame.ordinal,
                last_ordinal: frame.ordinal,
                bytes,
            }),
        }
        self.in_block += 1;
    }

    /// Hashes the leaves that wait.
    fn hash(&mut self) {
        self.batch.digest(&mut self.hashed);
        self.range.extend(&mut self.hashed, &mut self.subtrees);
    }

    pub(crate) fn leaves(&self) -> u64 {
        self.range.size() + self.batch.len() as u64
    }

    /// Root of the tree up to the last cut.
    pub(crate) fn root(&self) -> Hash {
        debug_assert_eq!(self.batch.len(), 0);
        self.range.root()
    }

    /// Frames since the last cut.
    pub(crate) fn in_block(&self) -> u32 {
        self.in_block
    }

    /// Ends a block. Returns what its commit frame is bound to.
    pub(crate) fn cut(&mut self) -> CutBlock {
        self.hash();
        let leaves = self.in_block;
        self.in_block = 0;
        self.block += 1;
        CutBlock { leaves, end: self.range.size(), nodes: self.range.nodes().to_vec() }
    }
}

/// What the tree side knows about a block that ends.
pub(crate) struct CutBlock {
    pub(crate) leaves: u32,
    /// Leaves of the segment up to the end of this block.
    end: u64,
    /// Right edge of the tree at the end of this block.
    nodes: Vec<Hash>,
}

/// The file side of a segment: where blocks lie, the chain of commits, the hash of the file.
#[derive(Clone)]
pub(crate) struct Layout {
    pub(crate) offset: u64,
    chain: Hash,
    pub(crate) blocks: Vec<BlockEntry>,
    pub(crate) file_hash: Sha256,
}

impl Layout {
    pub(crate) fn new(header: &[u8]) -> Self {
        let chain = Sha256::digest(header).into();
        let mut file_hash = Sha256::new();
        file_hash.update(header);
        Self { offset: header.len() as u64, chain, blocks: Vec::new(), file_hash }
    }

    /// Builds the frame of a block, with its commit frame, into `out`.
    pub(crate) fn block(&self, cut: &CutBlock, raw: usize, compressed: &[u8], out: &mut Vec<u8>) {
        out.clear();
        let head = Head {
            kind: TYPE_BLOCK,
            len: compressed.len() as u32,
            raw: raw as u32,
            first: cut.end - u64::from(cut.leaves),
            count: cut.leaves,
            number: self.blocks.len() as u32,
            crc: 0,
        };
        head.put(out, compressed);
        let chain = self.next_chain(&out[..FRAME_HEAD], cut);
        let start = out.len();
        put_u32(out, COMMIT_MAGIC);
        put_u32(out, head.number);
        put_u64(out, cut.end);
        out.extend_from_slice(&chain);
        let crc = crc32c::crc32c(&out[start..]);
        put_u32(out, crc);
    }

    fn next_chain(&self, head: &[u8], cut: &CutBlock) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update(self.chain);
        hasher.update(head);
        hasher.update(cut.end.to_le_bytes());
        for node in &cut.nodes {
            hasher.update(node);
        }
        hasher.finalize().into()
    }

    /// Notes that a frame built by [`Layout::block`] was written (or read).
    pub(crate) fn add(&mut self, frame: &[u8], raw: usize, cut: &CutBlock) {
        self.chain = self.next_chain(&frame[..FRAME_HEAD], cut);
        self.file_hash.update(frame);
        self.blocks.push(BlockEntry {
            offset: self.offset,
            len: frame.len() as u32,
            raw: raw as u32,
            first_leaf: (cut.end - u64::from(cut.leaves)) as u32,
            leaves: cut.leaves,
            sha256: Sha256::digest(frame).into(),
        });
        self.offset += frame.len() as u64;
    }
}

/// Footer of a sealed segment.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Footer {
    pub(crate) blocks: Vec<BlockEntry>,
    pub(crate) runs: Vec<Run>,
    pub(crate) subtrees: Vec<Hash>,
    pub(crate) root: Hash,
    pub(crate) leaves: u64,
    pub(crate) raw_bytes: u64,
}

impl Footer {
    fn payload(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_u64(&mut out, self.leaves);
        put_u64(&mut out, self.raw_bytes);
        out.extend_from_slice(&self.root);
        for len in [self.blocks.len(), self.runs.len(), self.subtrees.len()] {
            put_u32(&mut out, len as u32);
        }
        for block in &self.blocks {
            put_u64(&mut out, block.offset);
            for value in [block.len, block.raw, block.first_leaf, block.leaves] {
                put_u32(&mut out, value);
            }
            out.extend_from_slice(&block.sha256);
        }
        for run in &self.runs {
            for value in [run.item, run.block, run.frame, run.frames, run.records] {
                put_u32(&mut out, value);
            }
            for value in [run.first_ordinal, run.last_ordinal, run.bytes] {
                put_u64(&mut out, value);
            }
        }
        self.subtrees.iter().for_each(|hash| out.extend_from_slice(hash));
        out
    }

    /// The footer frame and the trailer that points to it at `offset`.
    pub(crate) fn to_bytes(&self, offset: u64) -> Vec<u8> {
        let payload = self.payload();
        let mut out = Vec::with_capacity(payload.len() + FRAME_HEAD + TRAILER);
        let head = Head {
            kind: TYPE_FOOTER,
            len: payload.len() as u32,
            raw: payload.len() as u32,
            first: self.leaves,
            count: self.blocks.len() as u32,
            number: 0,
            crc: 0,
        };
        head.put(&mut out, &payload);
        let start = out.len();
        put_u32(&mut out, END_MAGIC);
        put_u64(&mut out, offset);
        let crc = crc32c::crc32c(&out[start..]);
        put_u32(&mut out, crc);
        out
    }

    /// Parses footer frame and trailer (everything from the footer's offset to the end of the file).
    pub(crate) fn parse(bytes: &[u8], offset: u64) -> Option<Self> {
        let head = Head::parse(bytes.get(..FRAME_HEAD)?)?;
        let payload = bytes.get(FRAME_HEAD..bytes.len().checked_sub(TRAILER)?)?;
        let mut input = Bytes::new(payload);
        let mut footer = Self { leaves: input.u64()?, raw_bytes: input.u64()?, ..Self::default() };
        footer.root = input.hash()?;
        let (blocks, runs, subtrees) = (input.u32()?, input.u32()?, input.u32()?);
        for _ in 0..blocks {
            footer.blocks.push(BlockEntry {
                offset: input.u64()?,
                len: input.u32()?,
                raw: input.u32()?,
                first_leaf: input.u32()?,
                leaves: input.u32()?,
                sha256: input.hash()?,
            });
        }
        for _ in 0..runs {
            footer.runs.push(Run {
                item: input.u32()?,
                block: input.u32()?,
                frame: input.u32()?,
                frames: input.u32()?,
                records: input.u32()?,
                first_ordinal: input.u64()?,
                last_ordinal: input.u64()?,
                bytes: input.u64()?,
            });
        }
        for _ in 0..subtrees {
            footer.subtrees.push(input.hash()?);
        }
        // Any other spelling of these values, checksum, length or trailer is refused here.
        (head.kind == TYPE_FOOTER && footer.to_bytes(offset) == bytes).then_some(footer)
    }
}

/// Reads blocks of one file into reused buffers.
pub(crate) struct BlockReader {
    decompressor: zstd::bulk::Decompressor<'static>,
    frame: Vec<u8>,
    raw: Vec<u8>,
    // What a scanned frame should be.
    expected: Vec<u8>,
}

impl BlockReader {
    pub(crate) fn new() -> Result<Self> {
        let decompressor = zstd::bulk::Decompressor::new()
            .map_err(Error::io("start decompression of", std::path::Path::new("a segment")))?;
        Ok(Self { decompressor, frame: Vec::new(), raw: Vec::new(), expected: Vec::new() })
    }

    pub(crate) fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Reads an indexed block and compares it with its hash; `false` if it is not that block.
    pub(crate) fn load(&mut self, file: &File, entry: &BlockEntry) -> std::io::Result<bool> {
        let len = entry.len as usize;
        if !(FRAME_HEAD + COMMIT..=MAX_BLOCK_LEN + FRAME_HEAD + COMMIT).contains(&len) {
            return Ok(false);
        }
        self.frame.resize(len, 0);
        match file.read_exact_at(&mut self.frame, entry.offset) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(e) => return Err(e),
        }
        let digest: Hash = Sha256::digest(&self.frame).into();
        if digest != entry.sha256 {
            return Ok(false);
        }
        let Some(head) = Head::parse(&self.frame[..FRAME_HEAD]) else { return Ok(false) };
        Ok(head.len as usize + FRAME_HEAD + COMMIT == len && self.unpack(head.raw as usize))
    }

    /// Decompresses the payload of `self.frame`; false if it is not `raw` bytes of zstd.
    fn unpack(&mut self, raw: usize) -> bool {
        let payload = &self.frame[FRAME_HEAD..self.frame.len() - COMMIT];
        self.raw.clear();
        self.raw.reserve(raw);
        // `decompress_to_buffer` writes at most the capacity; a longer result is an error.
        self.decompressor.decompress_to_buffer(payload, &mut self.raw).is_ok_and(|len| len == raw)
    }

    /// Reads the frame at `offset` of a file of `size` bytes without an index.
    fn next(&mut self, file: &File, offset: u64, size: u64) -> std::io::Result<Found> {
        let rest = size - offset;
        if rest == 0 {
            return Ok(Found::End);
        }
        if rest < FRAME_HEAD as u64 {
            return Ok(Found::Bad);
        }
        self.frame.resize(FRAME_HEAD, 0);
        file.read_exact_at(&mut self.frame, offset)?;
        let Some(head) = Head::parse(&self.frame) else { return Ok(Found::Bad) };
        if head.kind == TYPE_FOOTER {
            return Ok(Found::Footer);
        }
        let len = FRAME_HEAD + head.len as usize + COMMIT;
        if len as u64 > rest {
            return Ok(Found::Bad);
        }
        self.frame.resize(len, 0);
        file.read_exact_at(&mut self.frame[FRAME_HEAD..], offset + FRAME_HEAD as u64)?;
        let covered = crc32c::crc32c(&self.frame[..FRAME_HEAD - 4]);
        let crc = crc32c::crc32c_append(covered, &self.frame[FRAME_HEAD..len - COMMIT]);
        if crc != head.crc || !self.unpack(head.raw as usize) {
            return Ok(Found::Bad);
        }
        Ok(Found::Block(head.raw as usize))
    }
}

enum Found {
    Block(usize),
    Footer,
    End,
    Bad,
}

/// How a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScanEnd {
    /// At a footer.
    Footer,
    /// At the end of the file, after a whole block.
    Clean,
    /// At bytes that are no valid block with a valid commit frame.
    Bad,
    /// The header itself is not valid.
    NoHeader,
}

/// A scanned segment file: everything up to the first byte that is no valid block.
pub(crate) struct Scan {
    pub(crate) header: Option<Header>,
    pub(crate) tree: Tree,
    pub(crate) layout: Layout,
    pub(crate) end: ScanEnd,
    pub(crate) size: u64,
}

/// Receives each frame of a scan, if anybody wants them.
pub(crate) type FrameSink<'a> = Option<&'a mut dyn FnMut(&Frame<'_>) -> Result<()>>;

/// Reads a segment file from its start, rehashing every leaf, until something is no valid block.
pub(crate) fn scan(
    folder: &Folder,
    name: &str,
    reader: &mut BlockReader,
    mut sink: FrameSink<'_>,
) -> Result<Scan> {
    let path = folder.path_of(name);
    let io = || Error::io("read", &path);
    let file = folder.file(name)?;
    // What the kernel still holds in memory proves nothing about the disk.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    let size = file.metadata().map_err(io())?.len();
    if size > MAX_FILE {
        let expected = format!("at most {MAX_FILE} bytes");
        return Err(Error::integrity(Problem::file(name, expected, format!("{size} bytes"))));
    }
    let mut head = [0u8; HEADER];
    let header = match file.read_exact_at(&mut head, 0) {
        Ok(()) => Header::parse(&head),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => None,
        Err(e) => return Err(io()(e)),
    };
    let seed = header.map_or([0; 32], |h| h.seed);
    let mut scan =
        Scan { header, tree: Tree::new(&seed), layout: Layout::new(&head), end: ScanEnd::NoHeader, size };
    if header.is_none() {
        return Ok(scan);
    }
    scan.end = loop {
        match reader.next(&file, scan.layout.offset, size).map_err(io())? {
            Found::End => break ScanEnd::Clean,
            Found::Footer => break ScanEnd::Footer,
            Found::Bad => break ScanEnd::Bad,
            Found::Block(raw) => {
                if !absorb(&mut scan, reader, raw, &mut sink)? {
                    break ScanEnd::Bad;
                }
            }
        }
    };
    Ok(scan)
}

/// Adds a block to the scan if its frames and its commit frame are those of this place; else leaves the scan as it was.
fn absorb(scan: &mut Scan, reader: &mut BlockReader, raw: usize, sink: &mut FrameSink<'_>) -> Result<bool> {
    let mut frames = Frames::new(&reader.raw);
    let mark = scan.tree.mark();
    let whole = loop {
        match frames.next() {
            Ok(Some(frame)) => scan.tree.push(&frame),
            Ok(None) => break true,
            Err(()) => break false,
        }
    };
    let cut = scan.tree.cut();
    let payload = &reader.frame[FRAME_HEAD..reader.frame.len() - COMMIT];
    scan.layout.block(&cut, raw, payload, &mut reader.expected);
    let same = whole && reader.expected == reader.frame;
    if !same || cut.leaves == 0 || cut.end > u64::from(u32::MAX) {
        scan.tree.back_to(mark);
        return Ok(false);
    }
    if let Some(sink) = sink {
        let mut frames = Frames::new(&reader.raw);
        while let Ok(Some(frame)) = frames.next() {
            sink(&frame)?;
        }
    }
    scan.layout.add(&reader.frame, raw, &cut);
    Ok(true)
}

/// State of a tree before a block, to forget a block that turns out not to be one.
struct Mark {
    range: CompactRange,
    subtrees: usize,
    runs: Vec<Run>,
    raw_bytes: u64,
    block: u32,
}

impl Tree {
    fn mark(&self) -> Mark {
        // Runs of one block never change once the block is cut; only their number matters.
        Mark {
            range: self.range.clone(),
            subtrees: self.subtrees.len(),
            runs: self.runs.last().copied().into_iter().collect(),
            raw_bytes: self.raw_bytes,
            block: self.block,
        }
    }

    fn back_to(&mut self, mark: Mark) {
        self.range = mark.range;
        self.subtrees.truncate(mark.subtrees);
        self.runs.retain(|run| run.block < mark.block);
        debug_assert_eq!(self.runs.last().copied(), mark.runs.first().copied());
        self.raw_bytes = mark.raw_bytes;
        self.block = mark.block;
        self.in_block = 0;
    }
}

/// Moves the salts to the end of what a scan accepted (after [`Tree::back_to`] they are ahead).
pub(crate) fn reposition(tree: &mut Tree, seed: &[u8; 32]) {
    tree.salts = Salts::new(seed, tree.range.size() as u32);
}

/// True if a whole, valid commit frame stands anywhere in the file from `offset` on: then this is no torn tail.
pub(crate) fn commit_follows(folder: &Folder, name: &str, offset: u64) -> Result<Option<u64>> {
    let bytes = folder.read(name, MAX_FILE)?;
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let magic = COMMIT_MAGIC.to_le_bytes();
    let found = bytes[from..].windows(COMMIT).position(|window| {
        window.starts_with(&magic) && {
            let (head, crc) = window.split_at(COMMIT - 4);
            crc32c::crc32c(head).to_le_bytes() == crc
        }
    });
    Ok(found.map(|at| (from + at) as u64))
}

/// A sealed segment that was read again and found right in itself.
pub(crate) struct Checked {
    pub(crate) header: Header,
    pub(crate) footer: Footer,
    pub(crate) footer_offset: u64,
    pub(crate) footer_sha256: Hash,
    pub(crate) size: u64,
    pub(crate) sha256: Hash,
}

/// Reads a sealed segment from disk, recomputes leaves, tree, index and hashes, and compares them with its footer.
pub(crate) fn check(
    folder: &Folder,
    name: &str,
    reader: &mut BlockReader,
    sink: FrameSink<'_>,
) -> Result<Checked> {
    let scan = scan(folder, name, reader, sink)?;
    let Some(header) = scan.header else {
        return Err(Error::integrity(Problem::at(name, 0, "the header of a segment", "something else")));
    };
    let offset = scan.layout.offset;
    if scan.end != ScanEnd::Footer {
        let block = scan.layout.blocks.len();
        let expected = format!("block {block} with its commit frame, or the footer");
        return Err(Error::integrity(Problem::at(name, offset, expected, "something else")));
    }
    let tail = read_tail(folder, name, offset)?;
    let footer = Footer {
        root: scan.tree.root(),
        leaves: scan.tree.leaves(),
        raw_bytes: scan.tree.raw_bytes,
        blocks: scan.layout.blocks,
        runs: scan.tree.runs,
        subtrees: scan.tree.subtrees,
    };
    let expected = footer.to_bytes(offset);
    if expected != tail {
        let mut problem = Problem::difference(name, &expected, &tail);
        problem.offset = problem.offset.map(|at| at + offset);
        return Err(Error::integrity(problem));
    }
    let mut hasher = scan.layout.file_hash;
    hasher.update(&tail);
    Ok(Checked {
        header,
        footer,
        footer_offset: offset,
        footer_sha256: Sha256::digest(&tail).into(),
        size: offset + tail.len() as u64,
        sha256: hasher.finalize().into(),
    })
}

/// Reads from `offset` to the end of a segment file: footer frame and trailer.
pub(crate) fn read_tail(folder: &Folder, name: &str, offset: u64) -> Result<Vec<u8>> {
    let path = folder.path_of(name);
    let file = folder.file(name)?;
    let size = file.metadata().map_err(Error::io("read", &path))?.len();
    let len = size.saturating_sub(offset);
    if len > (MAX_FOOTER + FRAME_HEAD + TRAILER) as u64 {
        return Err(Error::integrity(Problem::at(name, offset, "a footer", format!("{len} bytes"))));
    }
    let mut tail = vec![0u8; usize::try_from(len).unwrap_or(0)];
    match file.read_exact_at(&mut tail, offset) {
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(Error::integrity(Problem::at(name, offset, "a footer", "the end of the file")))
        }
        other => other.map(|()| tail).map_err(Error::io("read", &path)),
    }
}
