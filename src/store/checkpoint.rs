//! The checkpoint file: how far queues and log are known to be on the disk; mirrors `StoreCheckpoint`.
//!
//! | byte | field |
//! |---|---|
//! | 0 | store timestamp up to which the log is flushed |
//! | 8 | store timestamp up to which the consume queues are flushed |
//! | 16 | end timestamp of the last full index file |
//! | 24 | offset up to which the master is flushed (slaves) |
//! | 32 | physical offset of the last dispatched record |
//!
//! The last field lets a start find the end of the log without reading it from the beginning; the reference
//! writes it too, at recovery, and ignores it otherwise.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use memmap2::MmapMut;

use super::Error;
use super::disk::FileSystem;
use super::mapped_file::map_owned;

/// Length of the file in bytes.
const CHECKPOINT_BYTES: usize = 4_096;
/// How much earlier than its time stamps recovery begins, milliseconds.
const SAFETY_MS: i64 = 3_000;

/// The mapped checkpoint file.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    path: PathBuf,
    map: Mutex<MmapMut>,
}

/// A field of the checkpoint; the number is its position.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field {
    Physic = 0,
    Logics = 8,
    Index = 16,
    Confirm = 32,
}

impl Checkpoint {
    /// Opens the file, or makes one of zeros.
    pub(crate) fn open(path: &Path, disk: &dyn FileSystem) -> Result<Self, Error> {
        let file = disk.create(path, CHECKPOINT_BYTES as u64).map_err(Error::io("open", path))?;
        let map = map_owned(&file, CHECKPOINT_BYTES).map_err(Error::io("map", path))?;
        Ok(Self { path: path.to_owned(), map: Mutex::new(map) })
    }

    fn map(&self) -> MutexGuard<'_, MmapMut> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a field.
    pub(crate) fn get(&self, field: Field) -> i64 {
        let at = field as usize;
        i64::from_be_bytes(self.map()[at..at + 8].try_into().expect("eight bytes"))
    }

    /// Sets a field in the page cache.
    pub(crate) fn set(&self, field: Field, value: i64) {
        let at = field as usize;
        self.map()[at..at + 8].copy_from_slice(&value.to_be_bytes());
    }

    /// Returns the store timestamp before which everything is on the disk, with a margin.
    pub(crate) fn min_timestamp(&self) -> i64 {
        (self.get(Field::Physic).min(self.get(Field::Logics)) - SAFETY_MS).max(0)
    }

    /// Returns once the file is on the disk.
    pub(crate) fn flush(&self, disk: &dyn FileSystem) -> Result<(), Error> {
        let map = self.map();
        disk.sync_mapped(&|| map.flush()).map_err(Error::io("flush", &self.path))
    }
}
