//! The directory tree of a local site: blocking calls, each one complete.
//!
//! **Invariant.** [`Tree::seal`] is the only way to a name: bytes synced, linked without
//! overwriting, the directory synced, in that order. After a power cut a name has all its bytes,
//! and an acknowledged name is there.
//!
//! **Deliberately absent.** One sync less (link first, then sync the file alone, which happens to
//! be enough on ext4 and is twice as fast): a cut would leave torn files under final names, and a
//! repair could not tell them from another content.
//!
//! **Crash.** See the parent module.

use super::{handles::Handles, listing::Scan};
use crate::{
    Operation, SiteError, SiteErrorKind,
    site::{MARKER_BYTES_MAX, MARKER_NAME},
};
use bytes::{Bytes, BytesMut};
use havre_model::{BlobName, SiteId};
use parking_lot::Mutex;
use rustix::{
    fs::{self as unix, Advice, AtFlags, FlockOperation, Mode, OFlags},
    io::{Errno, ReadWriteFlags},
};
use std::{
    collections::HashSet,
    fs::{DirBuilder, File},
    io::{self, IoSliceMut, Read as _, Write as _},
    num::NonZeroU64,
    os::{
        fd::AsRawFd as _,
        unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

/// Directories whose entry in their parent is known to be on the disk; past this they are synced
/// once more.
const DURABLE_DIRECTORIES_MAX: usize = 4096;

/// Bytes of a stream after which the kernel is told to begin writing them to the disk.
const WRITEBACK_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes of two files that are compared at a time.
const COMPARE_BYTES: usize = 128 * 1024;

/// Where temporary files go that need a name, below the root.
const TEMP_DIRECTORY: &str = "t";

/// Files and directories are the owner's alone.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const DIRECTORY_MODE: u32 = 0o700;

pub(super) struct Tree {
    pub(super) id: SiteId,
    pub(super) name: String,
    pub(super) root: PathBuf,
    pub(super) scan: Mutex<Scan>,
    handles: Handles,
    durable: Mutex<HashSet<String>>,
    fsyncs: AtomicU64,
    temps: AtomicU64,
    /// The file system has unlinked temporary files, and /proc to link them with.
    has_unlinked: AtomicBool,
    /// The file system can say that a read would have to wait.
    has_nowait: AtomicBool,
    /// A marker was seen: the directory is the right one for as long as the marker is there.
    marked: AtomicBool,
}

/// A file on its way to a name. Dropped, it is gone.
pub(super) struct Temp {
    file: File,
    /// Its name, where the file system has no unlinked files.
    path: Option<PathBuf>,
    written: u64,
    pushed: u64,
}

impl Drop for Temp {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // What cannot be removed now is swept later: its lock goes with this process.
            drop(std::fs::remove_file(path));
        }
    }
}

impl Temp {
    /// Adds bytes, and now and then tells the kernel to begin writing them back.
    pub(super) fn append(&mut self, block: &[Bytes]) -> io::Result<()> {
        for bytes in block {
            self.file.write_all(bytes)?;
            self.written += bytes.len() as u64;
        }
        if let Some(fresh) = NonZeroU64::new(self.written - self.pushed)
            && fresh.get() >= WRITEBACK_BYTES
        {
            // "Do not need" begins the writing of dirty pages and drops only clean ones. It is a
            // hint: an error changes nothing.
            unix::fadvise(&self.file, self.pushed, Some(fresh), Advice::DontNeed).ok();
            self.pushed = self.written;
        }
        Ok(())
    }

    /// Gives the file its name in `directory`, unless the name is taken.
    fn link(&self, directory: &File, file_name: &str) -> io::Result<()> {
        let Some(path) = &self.path else {
            let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            let flags = AtFlags::SYMLINK_FOLLOW;
            return Ok(unix::linkat(unix::CWD, path, directory, file_name, flags)?);
        };
        match unix::linkat(unix::CWD, path, directory, file_name, AtFlags::empty()) {
            // A file system without hard links.
            Err(Errno::PERM | Errno::OPNOTSUPP) => {
                let flags = unix::RenameFlags::NOREPLACE;
                Ok(unix::renameat_with(unix::CWD, path, directory, file_name, flags)?)
            }
            result => Ok(result?),
        }
    }
}

impl Tree {
    pub(super) fn open(id: SiteId, name: &str, root: &Path) -> Result<Self, SiteError> {
        let tree = Self {
            id,
            name: name.to_owned(),
            root: root.to_owned(),
            scan: Mutex::default(),
            handles: Handles::default(),
            durable: Mutex::default(),
            fsyncs: AtomicU64::new(0),
            temps: AtomicU64::new(0),
            has_unlinked: AtomicBool::new(Path::new("/proc/self/fd").is_dir()),
            has_nowait: AtomicBool::new(true),
            marked: AtomicBool::new(false),
        };
        if root.exists() && !root.is_dir() {
            let detail = "the configured path is no directory";
            return Err(tree.error(SiteErrorKind::Refused, Operation::Marker, detail));
        }
        if let Err(error) = tree.make_root() {
            tracing::warn!(site = name, %error, "the site's directory cannot be made yet");
        }
        Ok(tree)
    }

    pub(super) fn error(
        &self,
        kind: SiteErrorKind,
        operation: Operation,
        detail: &str,
    ) -> SiteError {
        SiteError::new(kind, self.id, operation, detail)
    }

    /// The error of a system call. "No such file" is about the shard only while the root is there,
    /// and only for a reader.
    pub(super) fn io_error(&self, operation: Operation, error: io::Error) -> SiteError {
        let mut error = SiteError::from_io(self.id, operation, error);
        if error.kind == SiteErrorKind::Missing && (operation.is_write() || !self.root.is_dir()) {
            error.kind = SiteErrorKind::Unreachable;
            error.detail = "the site's directory is not there".to_owned();
        }
        error
    }

    pub(super) fn fsyncs(&self) -> u64 {
        self.fsyncs.load(Ordering::Relaxed)
    }

    /// From now on a new directory is made only while the marker is there.
    pub(super) fn note_marker(&self) {
        self.marked.store(true, Ordering::Relaxed);
    }

    /// Behaves as on a file system that has no unlinked temporary files.
    #[cfg(test)]
    pub(super) fn without_unlinked_files(&self) {
        self.has_unlinked.store(false, Ordering::Relaxed);
    }

    // Writing.

    pub(super) fn put(&self, name: &BlobName, shard: &Bytes) -> Result<(), SiteError> {
        let mut temp = self.begin(name, Operation::Put)?;
        temp.file.write_all(shard).map_err(|error| self.io_error(Operation::Put, error))?;
        self.seal(temp, name, Operation::Put)
    }

    /// A file without a name, on the file system that `name` will be on.
    pub(super) fn begin(&self, name: &BlobName, op: Operation) -> Result<Temp, SiteError> {
        let text = name.to_string();
        let (directory, _) = split(&text);
        self.temp_in(directory).map_err(|error| self.io_error(op, error))
    }

    /// Makes the file durable, gives it its name, and makes the name durable.
    pub(super) fn seal(
        &self,
        temp: Temp,
        name: &BlobName,
        operation: Operation,
    ) -> Result<(), SiteError> {
        let text = name.to_string();
        self.publish(&temp, &text).map_err(|error| self.io_error(operation, error))
    }

    fn publish(&self, temp: &Temp, text: &str) -> io::Result<()> {
        self.sync_file(&temp.file)?;
        let (directory, file_name) = split(text);
        let directory = self.open_directory(directory)?;
        match temp.link(&directory, file_name) {
            Ok(()) => self.sync_directory(&directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // The attempt before this one got further than its caller learned, or it is another
                // content.
                let there = open_regular(&self.root.join(text))?;
                if !same_content(&temp.file, &there)? {
                    return Err(error);
                }
                self.sync_file(&there)?;
                self.sync_directory(&directory)
            }
            Err(error) => Err(error),
        }
    }

    fn temp_in(&self, directory: &str) -> io::Result<Temp> {
        let parent = self.open_directory(directory)?;
        if self.has_unlinked.load(Ordering::Relaxed) {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            match unix::openat(&parent, ".", flags, FILE_MODE) {
                Ok(file) => {
                    return Ok(Temp { file: file.into(), path: None, written: 0, pushed: 0 });
                }
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {
                    self.has_unlinked.store(false, Ordering::Relaxed);
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.named_temp()
    }

    fn named_temp(&self) -> io::Result<Temp> {
        self.open_directory(TEMP_DIRECTORY)?;
        loop {
            let number = self.temps.fetch_add(1, Ordering::Relaxed);
            let name = format!("{}-{number}", std::process::id());
            let path = self.root.join(TEMP_DIRECTORY).join(name);
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
            let file: File = match unix::open(&path, flags, FILE_MODE) {
                Ok(file) => file.into(),
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(error.into()),
            };
            let temp = Temp { file, path: Some(path), written: 0, pushed: 0 };
            // The lock tells a sweeper that the file's writer lives; one that came before it has
            // unlinked the file, which is then no use.
            unix::flock(&temp.file, FlockOperation::NonBlockingLockExclusive).ok();
            if temp.file.metadata()?.nlink() > 0 {
                return Ok(temp);
            }
        }
    }

    /// Removes temporary files whose writers are dead.
    pub(super) fn sweep(&self) -> Result<u64, SiteError> {
        self.sweep_temps().map_err(|error| self.io_error(Operation::Sweep, error))
    }

    fn sweep_temps(&self) -> io::Result<u64> {
        let entries = match std::fs::read_dir(self.root.join(TEMP_DIRECTORY)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.root.is_dir() => {
                return Ok(0);
            }
            Err(error) => return Err(error),
        };
        let mut swept = 0;
        for entry in entries {
            let path = entry?.path();
            let Ok(file) = open_regular(&path) else { continue };
            if unix::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                match std::fs::remove_file(&path) {
                    Ok(()) => swept += 1,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(swept)
    }

    pub(super) fn delete(&self, name: &BlobName) -> Result<(), SiteError> {
        let removed = std::fs::remove_file(self.root.join(name.to_string()));
        // After the unlinking, so that no reader keeps a file open that it opened before.
        self.handles.forget(name);
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.root.is_dir() => Ok(()),
            result => result.map_err(|error| self.io_error(Operation::Delete, error)),
        }
    }

    // Directories.

    fn make_root(&self) -> io::Result<()> {
        let missing = self.root.ancestors().take_while(|path| !path.exists());
        let mut missing: Vec<_> = missing.map(Path::to_owned).collect();
        while let Some(path) = missing.pop() {
            make_directory(&path)?;
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            self.sync_directory(&File::open(parent.unwrap_or(Path::new(".")))?)?;
        }
        Ok(())
    }

    /// Opens a directory below the root ("" is the root); one that is not there is made, durably.
    fn open_directory(&self, directory: &str) -> io::Result<File> {
        if directory.is_empty() {
            return File::open(&self.root);
        }
        if self.durable.lock().contains(directory) {
            match open_directory(&self.root.join(directory)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Somebody emptied the site: what was synced once is so no longer.
                    self.durable.lock().clear();
                }
                result => return result,
            }
        }
        self.make_durable(directory)?;
        open_directory(&self.root.join(directory))
    }

    fn make_durable(&self, directory: &str) -> io::Result<()> {
        let ends = directory.match_indices('/').map(|(end, _)| end).chain([directory.len()]);
        for end in ends {
            let step = &directory[..end];
            if self.durable.lock().contains(step) {
                continue;
            }
            let parent = split(step).0;
            if parent.is_empty() {
                self.check_marker()?;
            }
            match make_directory(&self.root.join(step)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                // Made by a process that may have died before it synced the parent.
                _ => self.sync_directory(&open_directory(&self.root.join(parent))?)?,
            }
            let mut durable = self.durable.lock();
            if durable.len() >= DURABLE_DIRECTORIES_MAX {
                durable.clear();
            }
            durable.insert(step.to_owned());
        }
        Ok(())
    }

    /// Refuses to begin a new tree in a directory that lost its marker: below an unmounted disk
    /// shards would fill the wrong one and be acknowledged.
    fn check_marker(&self) -> io::Result<()> {
        if self.marked.load(Ordering::Relaxed) && !self.root.join(MARKER_NAME).exists() {
            return Err(io::Error::other("the site's marker is gone; is its disk mounted?"));
        }
        Ok(())
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        self.fsyncs.fetch_add(1, Ordering::Relaxed);
        file.sync_data()
    }

    fn sync_directory(&self, directory: &File) -> io::Result<()> {
        self.fsyncs.fetch_add(1, Ordering::Relaxed);
        directory.sync_all()
    }

    // Reading.

    /// Fills `buffer` without waiting, if the file is open and the page cache has all of it.
    pub(super) fn read_cached(&self, name: &BlobName, start: u64, buffer: &mut [u8]) -> bool {
        if !self.has_nowait.load(Ordering::Relaxed) {
            return false;
        }
        let Some(file) = self.handles.find(name) else { return false };
        let len = buffer.len();
        let mut slices = [IoSliceMut::new(buffer)];
        match rustix::io::preadv2(&file, &mut slices, start, ReadWriteFlags::NOWAIT) {
            Ok(read) => read == len && is_linked(&file),
            Err(Errno::OPNOTSUPP | Errno::INVAL) => {
                self.has_nowait.store(false, Ordering::Relaxed);
                false
            }
            Err(_) => false,
        }
    }

    pub(super) fn read(
        &self,
        name: &BlobName,
        start: u64,
        buffer: &mut [u8],
    ) -> Result<(), SiteError> {
        let read = self.open_shard(name).and_then(|file| file.read_exact_at(buffer, start));
        read.map_err(|error| self.io_error(Operation::Read, error))
    }

    pub(super) fn read_all(&self, name: &BlobName, bytes_max: u64) -> Result<BytesMut, SiteError> {
        let fail = |error| self.io_error(Operation::ReadAll, error);
        let file = self.open_shard(name).map_err(fail)?;
        let bytes = file.metadata().map_err(fail)?.len();
        let len = usize::try_from(bytes).ok().filter(|_| bytes <= bytes_max).ok_or_else(|| {
            let detail = "the shard is longer than it may be";
            self.error(SiteErrorKind::Invalid, Operation::ReadAll, detail)
        })?;
        let mut buffer = BytesMut::zeroed(len);
        file.read_exact_at(&mut buffer, 0).map_err(fail)?;
        Ok(buffer)
    }

    fn open_shard(&self, name: &BlobName) -> io::Result<std::sync::Arc<File>> {
        if let Some(file) = self.handles.find(name) {
            if is_linked(&file) {
                return Ok(file);
            }
            self.handles.forget(name);
        }
        let deletions = self.handles.deletions();
        let file = std::sync::Arc::new(open_regular(&self.root.join(name.to_string()))?);
        self.handles.keep(name, &file, deletions);
        Ok(file)
    }

    // The marker.

    pub(super) fn read_marker(&self) -> Result<Option<Vec<u8>>, SiteError> {
        let read = || {
            let mut text = Vec::new();
            open_regular(&self.root.join(MARKER_NAME))?
                .take(MARKER_BYTES_MAX as u64 + 1)
                .read_to_end(&mut text)?;
            Ok(text)
        };
        match read() {
            Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => {
                if self.root.is_dir() {
                    return Ok(None);
                }
                Err(self.io_error(Operation::Marker, error))
            }
            result => result.map(Some).map_err(|error| self.io_error(Operation::Marker, error)),
        }
    }

    pub(super) fn write_marker(&self, text: &[u8]) -> Result<(), SiteError> {
        let write = || {
            let mut temp = self.temp_in("")?;
            temp.file.write_all(text)?;
            self.publish(&temp, MARKER_NAME)
        };
        write().map_err(|error| self.io_error(Operation::SetMarker, error))
    }
}

/// Directory and file name of a path below the root.
fn split(text: &str) -> (&str, &str) {
    text.rsplit_once('/').unwrap_or(("", text))
}

fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(DIRECTORY_MODE).create(path)
}

fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(unix::open(path, flags, Mode::empty())?.into())
}

/// Opens a file that is a file: a link, a pipe or a directory in its place is refused without
/// waiting.
fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(unix::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Whether the file still has a name: an open handle outlives a shard that somebody removed.
fn is_linked(file: &File) -> bool {
    file.metadata().is_ok_and(|meta| meta.nlink() > 0)
}

fn same_content(ours: &File, there: &File) -> io::Result<bool> {
    let bytes = ours.metadata()?.len();
    if there.metadata()?.len() != bytes {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; COMPARE_BYTES], vec![0; COMPARE_BYTES]);
    let mut at = 0;
    while at < bytes {
        let len = usize::try_from(bytes - at).unwrap_or(COMPARE_BYTES).min(COMPARE_BYTES);
        ours.read_exact_at(&mut left[..len], at)?;
        there.read_exact_at(&mut right[..len], at)?;
        if left[..len] != right[..len] {
            return Ok(false);
        }
        at += len as u64;
    }
    Ok(true)
}
