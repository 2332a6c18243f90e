//! A growing list of mapped files of one size, named by the offset of their first byte; mirrors `MappedFileQueue`.
//!
//! The list is a snapshot that is swapped when a file is added at the end or taken away at the front, so that
//! finding a file takes no lock.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::{ArcSwap, Guard};

use super::Error;
use super::disk::{FileSystem, file_name, list_offsets};
use super::mapped_file::{Appender, MappedFile};

/// The files of a log.
#[derive(Debug)]
pub(crate) struct MappedQueue {
    dir: PathBuf,
    file_bytes: u64,
    disk: Arc<dyn FileSystem>,
    files: ArcSwap<Vec<Arc<MappedFile>>>,
    /// Files that begin below it have their names and lengths on the disk.
    named: AtomicI64,
}

impl MappedQueue {
    /// Maps every file of `dir`. The appenders come in order, nothing published yet: the caller finds out what
    /// each file holds. An empty last file, left by a crash while it was made, is deleted, unless it is the only one.
    pub(crate) fn load(
        dir: &Path,
        file_bytes: u64,
        key: &'static str,
        disk: Arc<dyn FileSystem>,
    ) -> Result<(Self, Vec<Appender>), Error> {
        let mut named = list_offsets(dir)?;
        match named.as_mut_slice() {
            // Those before it were deleted because they were old: it says where the log goes on.
            [only] if only.bytes == 0 && only.offset > 0 => {
                let path = dir.join(file_name(only.offset));
                disk.create(&path, file_bytes).map_err(Error::io("make", &path))?;
                only.bytes = file_bytes;
            }
            [.., last] if last.bytes == 0 => {
                let path = dir.join(file_name(last.offset));
                disk.remove(&path).map_err(Error::io("delete", &path))?;
                named.pop();
            }
            _ => {}
        }
        let mut appenders: Vec<Appender> = Vec::with_capacity(named.len());
        for file in &named {
            let path = dir.join(file_name(file.offset));
            if file.bytes != file_bytes {
                return Err(Error::WrongSize { path, actual: file.bytes, expected: file_bytes, key });
            }
            let expected =
                appenders.last().map_or(file.offset, |last| last.file().offset() + file_bytes as i64);
            if file.offset != expected || !(file.offset as u64).is_multiple_of(file_bytes) {
                let what =
                    format!("the file before it should be {}", file_name(file.offset - file_bytes as i64));
                return Err(Error::Corrupt { path, position: 0, what });
            }
            let opened = disk.open(&path).map_err(Error::io("open", &path))?;
            let mapped = MappedFile::map(&opened, 0, file_bytes as usize, file.offset, 0);
            appenders.push(mapped.map_err(Error::io("map", &path))?);
        }
        let files = appenders.iter().map(|appender| Arc::clone(appender.file())).collect();
        let files = ArcSwap::from_pointee(files);
        // After a kill nobody knows, so the first flush makes sure.
        let named = AtomicI64::new(i64::MIN);
        let queue = Self { dir: dir.to_owned(), file_bytes, disk, files, named };
        Ok((queue, appenders))
    }

    /// Returns the length of every file in bytes.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Returns the path of the file that begins at `offset`.
    pub(crate) fn path(&self, offset: i64) -> PathBuf {
        self.dir.join(file_name(offset))
    }

    /// Returns the files in order, as they are now.
    #[inline]
    pub(crate) fn files(&self) -> Guard<Arc<Vec<Arc<MappedFile>>>> {
        self.files.load()
    }

    /// Returns the file that holds the byte at `offset`.
    #[inline]
    pub(crate) fn find(files: &[Arc<MappedFile>], offset: i64) -> Option<&Arc<MappedFile>> {
        let first = files.first()?;
        let at = usize::try_from(offset.checked_sub(first.offset())?).ok()? / first.len();
        files.get(at)
    }

    /// Makes the file that begins at `offset` and adds it at the end. If the file before it was never flushed, that is
    /// done first: after a power cut at most the last file is missing or empty.
    pub(crate) fn create(&self, offset: i64) -> Result<Appender, Error> {
        let path = self.path(offset);
        self.settle()?;
        let file = self.disk.create(&path, self.file_bytes).map_err(Error::io("make", &path))?;
        let appender = MappedFile::map(&file, 0, self.file_bytes as usize, offset, 0)
            .map_err(Error::io("map", &path))?;
        self.add(&appender);
        Ok(appender)
    }

    /// Returns once the last file is on the disk with its length and its name, if it was never flushed.
    fn settle(&self) -> Result<(), Error> {
        if let Some(last) = self.files.load().last().map(|last| last.offset())
            && last >= self.named.load(Ordering::Acquire)
        {
            let file = self.open(last)?;
            self.disk.sync(&file).map_err(Error::io("flush", &self.path(last)))?;
            self.sync_names(i64::MAX)?;
        }
        Ok(())
    }

    /// Returns once the names of all files that begin below `until` are on the disk. Those were flushed.
    pub(crate) fn sync_names(&self, until: i64) -> Result<(), Error> {
        let Some(last) = self.files.load().last().map(|last| last.offset()) else { return Ok(()) };
        let last = last.min(until - 1);
        if last < self.named.load(Ordering::Acquire) {
            return Ok(());
        }
        for dir in [Some(self.dir.as_path()), self.dir.parent()].into_iter().flatten() {
            self.disk.sync_dir(dir).map_err(Error::io("flush", dir))?;
        }
        self.named.fetch_max(last + 1, Ordering::Release);
        Ok(())
    }

    fn sync_dir(&self) -> Result<(), Error> {
        self.disk.sync_dir(&self.dir).map_err(Error::io("flush", &self.dir))
    }

    fn add(&self, appender: &Appender) {
        self.files.rcu(|files| {
            let mut files = Vec::clone(files);
            files.push(Arc::clone(appender.file()));
            files
        });
    }

    /// Takes the first file off the list and deletes it for good; readers that hold it read on. The last file stays.
    pub(crate) fn remove_first(&self) -> Result<bool, Error> {
        let files = self.files.load();
        let Some(first) = files.first().filter(|_| files.len() > 1) else { return Ok(false) };
        // The last file says where the log goes on, so it must be there without this one.
        self.settle()?;
        let path = self.path(first.offset());
        self.disk.remove(&path).map_err(Error::io("delete", &path))?;
        self.files.rcu(|files| files[1..].to_vec());
        // One after the other, so that a power cut leaves no gap.
        self.sync_dir()?;
        Ok(true)
    }

    /// Takes every file off the list and moves it, oldest first, to another directory of the same volume.
    pub(crate) fn move_to(&self, dir: &Path) -> Result<(), Error> {
        std::fs::create_dir_all(dir).map_err(Error::io("make", dir))?;
        self.named.store(i64::MIN, Ordering::Release);
        for file in self.files.load().iter() {
            let path = self.path(file.offset());
            std::fs::rename(&path, dir.join(file_name(file.offset()))).map_err(Error::io("move", &path))?;
            self.files.rcu(|files| files[1..].to_vec());
        }
        Ok(())
    }

    /// Takes every file from `offset` on off the list and deletes it.
    pub(crate) fn remove_from(&self, offset: i64) -> Result<(), Error> {
        for file in self.files.load().iter().rev().filter(|file| file.offset() >= offset) {
            let path = self.path(file.offset());
            self.disk.remove(&path).map_err(Error::io("delete", &path))?;
            self.sync_dir()?;
        }
        self.named.fetch_min(offset, Ordering::AcqRel);
        self.files
            .rcu(|files| files.iter().filter(|file| file.offset() < offset).cloned().collect::<Vec<_>>());
        Ok(())
    }

    /// Opens the file that begins at `offset` once more.
    pub(crate) fn open(&self, offset: i64) -> Result<File, Error> {
        let path = self.path(offset);
        self.disk.open(&path).map_err(Error::io("open", &path))
    }

    /// Takes space on the volume for a range of a file.
    pub(crate) fn allocate(&self, file: &File, at: u64, bytes: u64) -> io::Result<()> {
        self.disk.allocate(file, at, bytes)
    }

    /// Makes a range of the file that begins at `offset` read as zeros and take no space.
    pub(crate) fn clear(&self, offset: i64, at: u64, bytes: u64) -> Result<(), Error> {
        let path = self.path(offset);
        let file = self.open(offset)?;
        self.disk.clear(&file, at, bytes).map_err(Error::io("clear the end of", &path))
    }

    /// Makes everything from `offset` to the end of its file read as zeros, for good.
    pub(crate) fn clear_from(&self, offset: i64) -> Result<(), Error> {
        let within = offset as u64 % self.file_bytes;
        let begin = offset - within as i64;
        self.clear(begin, within, self.file_bytes - within)?;
        self.disk.sync(&self.open(begin)?).map_err(Error::io("flush", &self.path(begin)))
    }
}
