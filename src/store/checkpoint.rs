//! The checkpoint file: how far queues and log are known to be on the disk; mirrors `StoreCheckpoint`.
//!
//! | byte | field |
//! |---|---|
//! | 0 | store timestamp up to which the log is flushed |
//! | 8 | store timestamp up to which the consume queues are flushed |
//! | 16 | end timestamp of the last full index file |
//! | 24 | offset up to which the master is flushed (slaves) |
//! | 32 | physical offset of the last dispatched record |
//! | 64 | `RMQLSAFE`, if the next field is there; the reference leaves both alone |
//! | 72 | physical offset below which log, queues and index are on the disk |
//!
//! Byte 32 lets a start find the end of the log without reading it from the beginning; the reference
//! writes it too, at recovery, and ignores it otherwise. Byte 72 says what the time stamps say, also when the clock
//! was set back.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use memmap2::MmapMut;

use super::Error;
use super::disk::FileSystem;
use super::mapped_file::map_owned;

/// Length of the file in bytes.
const CHECKPOINT_BYTES: usize = 4_096;
/// Says that the field behind it is there.
const MARK: [u8; 8] = *b"RMQLSAFE";
const MARK_AT: usize = 64;
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
    Safe = 72,
}

impl Checkpoint {
    /// Opens the file, or makes one of zeros.
    pub(crate) fn open(path: &Path, disk: &dyn FileSystem) -> Result<Self, Error> {
        let file = disk.create(path, CHECKPOINT_BYTES as u64).map_err(Error::io("open", path))?;
        // A page that the volume has no room for when it is first written to would kill the process.
        disk.allocate(&file, 0, CHECKPOINT_BYTES as u64).map_err(Error::io("make room in", path))?;
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

    /// Returns below which offset log, queues and index are on the disk; `None` when nobody noted it.
    pub(crate) fn safe(&self) -> Option<i64> {
        let is_there = self.map()[MARK_AT..MARK_AT + MARK.len()] == MARK;
        is_there.then(|| self.get(Field::Safe))
    }

    /// Notes below which offset log, queues and index are on the disk.
    pub(crate) fn set_safe(&self, offset: i64) {
        self.set(Field::Safe, offset);
        self.map()[MARK_AT..MARK_AT + MARK.len()].copy_from_slice(&MARK);
    }

    /// Returns once the file is on the disk.
    pub(crate) fn flush(&self, disk: &dyn FileSystem) -> Result<(), Error> {
        let map = self.map();
        let bytes = 0..CHECKPOINT_BYTES as u64;
        disk.sync_mapped(&self.path, bytes, &|| map.flush()).map_err(Error::io("flush", &self.path))
    }
}
