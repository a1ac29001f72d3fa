//! Writing and sealing segments on two further threads: one compresses and writes, one makes sealed files durable and
//! reads them back.
//!
//! Enters: blocks in order; leaves: sealed segments whose file was re-read and compared, or the first error, which
//! ends the run. Deliberately absent: the outer log, items, retries (a failed write or sync is never repeated).

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use sha2::{Digest as _, Sha256};
use truename_model::Sha256 as Digest;

use crate::entry::{FileRef, SegmentManifest};
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::merkle::Hash;
use crate::problem::Problem;
use crate::segment::{self, BLOCK_RAW, BlockReader, CutBlock, Footer, Header, Layout};

/// Blocks in flight between the caller and the writing thread.
const DEPTH: usize = 4;

/// A sealed, re-read segment.
pub(crate) struct Sealed {
    /// Index in the outer log that was reserved for its manifest.
    pub(crate) index: u64,
    pub(crate) manifest: SegmentManifest,
    pub(crate) footer: Footer,
}

/// What the tree side gives at a seal; the file side adds the block index.
pub(crate) struct SealRequest {
    pub(crate) index: u64,
    pub(crate) footer: Footer,
}

enum Job {
    Open(Box<Header>),
    Block { raw: Vec<u8>, cut: CutBlock },
    Sync(Sender<()>),
    Seal(Box<SealRequest>),
}

struct CheckJob {
    index: u64,
    number: u64,
    file: File,
    root: Hash,
    size: u64,
    sha256: Hash,
}

/// The segment file being written.
pub(crate) struct OpenFile {
    pub(crate) number: u64,
    pub(crate) file: File,
    pub(crate) layout: Layout,
}

/// The caller's end of the threads.
pub(crate) struct Pipeline {
    jobs: Option<SyncSender<Job>>,
    free: Receiver<Vec<u8>>,
    done: Receiver<Result<Sealed>>,
    sealing: usize,
    threads: Vec<JoinHandle<()>>,
}

impl Pipeline {
    /// Starts the threads, going on with an open segment if there is one.
    pub(crate) fn start(folder: Arc<Folder>, open: Option<OpenFile>) -> Result<Self> {
        let (jobs, job_queue) = sync_channel(DEPTH);
        let (free_sender, free) = channel();
        let (done_sender, done) = channel();
        let (checks, check_queue) = sync_channel(1);
        let mut writer = Writer {
            folder: Arc::clone(&folder),
            current: open,
            compressor: zstd::bulk::Compressor::new(1)
                .map_err(Error::io("start compression of", Path::new("segments")))?,
            compressed: Vec::new(),
            frame: Vec::new(),
            free: free_sender,
            checks,
        };
        let writer_done = done_sender.clone();
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(body)
                .map_err(Error::io("start thread", Path::new("evidence")))
        };
        let write = Box::new(move || {
            if let Err(error) = writer.run(&job_queue) {
                // The receiver is gone only if the caller gave up.
                let _ = writer_done.send(Err(error));
            }
        });
        let mut reader = BlockReader::new()?;
        let check = Box::new(move || {
            while let Ok(job) = check_queue.recv() {
                let result = publish(&folder, &job).and_then(|()| reread(&folder, &job, &mut reader));
                let failed = result.is_err();
                if done_sender.send(result).is_err() || failed {
                    return;
                }
            }
        });
        let threads = vec![spawn("evidence-write", write)?, spawn("evidence-check", check)?];
        Ok(Self { jobs: Some(jobs), free, done, sealing: 0, threads })
    }

    fn send(&self, job: Job) -> Result<()> {
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if sent { Ok(()) } else { Err(self.failure()) }
    }

    /// The error that stopped a thread.
    fn failure(&self) -> Error {
        // Both threads send before they end, so this does not wait for long.
        while let Ok(message) = self.done.recv() {
            if let Err(error) = message {
                return error;
            }
        }
        Error::Stopped("the writing thread ended".to_owned())
    }

    pub(crate) fn open(&self, header: Header) -> Result<()> {
        self.send(Job::Open(Box::new(header)))
    }

    /// Hands a block over. Returns an empty buffer for the next one.
    pub(crate) fn block(&self, raw: Vec<u8>, cut: CutBlock) -> Result<Vec<u8>> {
        self.send(Job::Block { raw, cut })?;
        Ok(self.free.try_recv().unwrap_or_else(|_| Vec::with_capacity(BLOCK_RAW + BLOCK_RAW / 8)))
    }

    /// Waits until everything handed over is on the disk.
    pub(crate) fn sync(&self) -> Result<()> {
        let (reply, replied) = channel();
        self.send(Job::Sync(reply))?;
        replied.recv().map_err(|_| self.failure())
    }

    pub(crate) fn seal(&mut self, request: SealRequest) -> Result<()> {
        self.send(Job::Seal(Box::new(request)))?;
        self.sealing += 1;
        Ok(())
    }

    /// A segment that became sealed meanwhile; with `wait`, waits for the next one if there is one under way.
    pub(crate) fn sealed(&mut self, wait: bool) -> Result<Option<Sealed>> {
        if self.sealing == 0 {
            return Ok(None);
        }
        let message = if wait {
            self.done.recv().map_err(|_| Error::Stopped("the checking thread ended".to_owned()))?
        } else {
            match self.done.try_recv() {
                Ok(message) => message,
                Err(_) => return Ok(None),
            }
        };
        self.sealing -= 1;
        message.map(Some)
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A panic in a thread has already been reported as an ended channel.
            let _ = thread.join();
        }
    }
}

struct Writer {
    folder: Arc<Folder>,
    current: Option<OpenFile>,
    compressor: zstd::bulk::Compressor<'static>,
    compressed: Vec<u8>,
    frame: Vec<u8>,
    free: Sender<Vec<u8>>,
    checks: SyncSender<CheckJob>,
}

fn out_of_order() -> Error {
    Error::Stopped("a block came outside a segment".to_owned())
}

impl Writer {
    fn run(&mut self, jobs: &Receiver<Job>) -> Result<()> {
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Open(header) => self.open(*header)?,
                Job::Block { raw, cut } => self.block(raw, &cut)?,
                Job::Sync(reply) => {
                    self.sync()?;
                    let _ = reply.send(());
                }
                Job::Seal(request) => self.seal(*request)?,
            }
        }
        Ok(())
    }

    fn open(&mut self, header: Header) -> Result<()> {
        let name = segment::open_name(header.number);
        let bytes = header.to_bytes();
        let mut file = self.folder.create(&name)?;
        self.folder.write(&mut file, &name, &bytes)?;
        self.current = Some(OpenFile { number: header.number, file, layout: Layout::new(&bytes) });
        Ok(())
    }

    fn block(&mut self, raw: Vec<u8>, cut: &CutBlock) -> Result<()> {
        let current = self.current.as_mut().ok_or_else(out_of_order)?;
        let name = segment::open_name(current.number);
        let path = self.folder.path_of(&name);
        self.compressed.clear();
        self.compressed.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        self.compressor
            .compress_to_buffer(&raw, &mut self.compressed)
            .map_err(Error::io("compress", &path))?;
        current.layout.block(cut, raw.len(), &self.compressed, &mut self.frame);
        self.folder.write(&mut current.file, &name, &self.frame)?;
        current.layout.add(&self.frame, raw.len(), cut);
        let _ = self.free.send(raw);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        let Some(current) = &self.current else { return Ok(()) };
        self.folder.sync(&current.file, &segment::open_name(current.number))
    }

    fn seal(&mut self, request: SealRequest) -> Result<()> {
        let mut current = self.current.take().ok_or_else(out_of_order)?;
        let name = segment::open_name(current.number);
        let mut footer = request.footer;
        footer.blocks = std::mem::take(&mut current.layout.blocks);
        let tail = footer.to_bytes(current.layout.offset);
        self.folder.write(&mut current.file, &name, &tail)?;
        let mut hasher: Sha256 = current.layout.file_hash;
        hasher.update(&tail);
        let job = CheckJob {
            index: request.index,
            number: current.number,
            file: current.file,
            root: footer.root,
            size: current.layout.offset + tail.len() as u64,
            sha256: hasher.finalize().into(),
        };
        self.checks.send(job).map_err(|_| Error::Stopped("the checking thread ended".to_owned()))
    }
}

/// Positions a file at its end for appending.
pub(crate) fn at_end(mut file: File, offset: u64, path: &Path) -> Result<File> {
    file.seek(SeekFrom::Start(offset)).map_err(Error::io("seek", path))?;
    Ok(file)
}

/// Makes a whole segment file durable under its final name. Until then a crash leaves `.open` files, perhaps several.
fn publish(folder: &Folder, job: &CheckJob) -> Result<()> {
    let name = segment::open_name(job.number);
    folder.sync(&job.file, &name)?;
    folder.rename(&name, &segment::sealed_name(job.number))
}

fn reread(folder: &Folder, job: &CheckJob, reader: &mut BlockReader) -> Result<Sealed> {
    let name = segment::sealed_name(job.number);
    let sealed = manifest_of(folder, job.number, job.index, reader)?;
    let manifest = &sealed.manifest;
    let same =
        manifest.root.0 == job.root && manifest.file.sha256.0 == job.sha256 && manifest.file.size == job.size;
    if same {
        return Ok(sealed);
    }
    let expected = format!("{} bytes with SHA-256 {} as written", job.size, Digest(job.sha256));
    let found = format!("{} bytes with SHA-256 {}", manifest.file.size, manifest.file.sha256);
    Err(Error::integrity(Problem::file(&name, expected, found)))
}

/// Reads a sealed segment from disk and describes it.
pub(crate) fn manifest_of(
    folder: &Folder,
    number: u64,
    index: u64,
    reader: &mut BlockReader,
) -> Result<Sealed> {
    let name = segment::sealed_name(number);
    let checked = segment::check(folder, &name, reader, None)?;
    let manifest = SegmentManifest {
        segment: number,
        file: FileRef { file: name, size: checked.size, sha256: Digest(checked.sha256) },
        leaves: checked.footer.leaves,
        first_leaf: checked.header.first_leaf,
        root: Digest(checked.footer.root),
        footer_offset: checked.footer_offset,
        footer_sha256: Digest(checked.footer_sha256),
        raw_bytes: checked.footer.raw_bytes,
    };
    Ok(Sealed { index, manifest, footer: checked.footer })
}
