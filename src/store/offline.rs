//! Reading a store's files without opening the store: piece by piece, changing nothing, believing nothing.
//!
//! Flows in: the directories named by [`StoreOptions`]. Flows out: pieces of the commit log with what is wrong with
//! them, entries of consume queues, entries of index files, fields of the checkpoint. The formats themselves are read by
//! the same functions that the running store uses. What the pieces mean for a person is decided by whoever asks, the
//! command `rmq-lite store`. Mirrors nothing in the reference, which can only look at a store by starting on it.
//!
//! Files are read with system calls, not mapped, so that a file that is cut short meanwhile is an error and not a signal.
//! File sizes are taken from the files, not from the options: a store is looked at as it is.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::checkpoint::Field;
pub use super::deleted::DeletedTopics;
use super::disk::file_name;
use super::{Error, StoreOptions};

mod index;
mod log;
mod queue;

pub use index::{IndexEntry, IndexReader, IndexSizes, index_hashes_of, index_sizes, list_index};
pub use log::{Damage, LogPiece, LogReader, describe};
pub use queue::{QueueReader, QueueTable, entry_of};

/// A file whose name is the offset of its first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirFile {
    /// Where it is.
    pub path: PathBuf,
    /// The offset in its name.
    pub offset: i64,
    /// Its length in bytes.
    pub bytes: u64,
}

impl DirFile {
    /// Returns the offset behind its last byte.
    pub fn end(&self) -> i64 {
        self.offset.saturating_add_unsigned(self.bytes)
    }
}

/// The files of one directory of a log or queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Those named by their offset, in order.
    pub files: Vec<DirFile>,
    /// Everything else.
    pub strangers: Vec<PathBuf>,
}

/// Lists a directory whose files are named by their offset; one that is not there is empty.
pub fn list(dir: &Path) -> Result<Listing, Error> {
    let mut listing = Listing::default();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(listing),
        Err(error) => return Err(Error::io("list", dir)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(Error::io("list", dir))?;
        let path = entry.path();
        let meta = std::fs::metadata(&path).map_err(Error::io("look at", &path))?;
        let name = entry.file_name();
        let offset = name.to_str().and_then(|name| name.parse::<i64>().ok()).filter(|offset| *offset >= 0);
        match offset.filter(|offset| meta.is_file() && name.to_str() == Some(&file_name(*offset))) {
            Some(offset) => listing.files.push(DirFile { path, offset, bytes: meta.len() }),
            None => listing.strangers.push(path),
        }
    }
    listing.files.sort_unstable_by_key(|file| file.offset);
    listing.strangers.sort_unstable();
    Ok(listing)
}

/// Holds a store's directory against brokers for as long as it lives; several may look at the same time.
#[derive(Debug)]
pub struct Hold {
    _lock: Option<File>,
}

/// Takes a store's directory, without writing anything: for oneself alone, or beside others who look at it. Refused while a
/// broker uses it.
pub fn hold(options: &StoreOptions, alone: bool) -> Result<Hold, Error> {
    use rustix::fs::FlockOperation::{NonBlockingLockExclusive, NonBlockingLockShared};
    let path = options.root.join("lock");
    let file = match File::options().read(true).write(alone).open(&path) {
        Ok(file) => file,
        // Nobody has used it since it was copied or restored.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Hold { _lock: None }),
        Err(error) => return Err(Error::io("open", &path)(error)),
    };
    let locked = || Error::Locked { path: path.clone() };
    let taken = if alone { file.try_lock() } else { file.try_lock_shared() };
    taken.map_err(|error| match error {
        std::fs::TryLockError::WouldBlock => locked(),
        std::fs::TryLockError::Error(source) => Error::io("lock", &path)(source),
    })?;
    let kind = if alone { NonBlockingLockExclusive } else { NonBlockingLockShared };
    rustix::fs::fcntl_lock(&file, kind).map_err(|_| locked())?;
    Ok(Hold { _lock: Some(file) })
}

fn files_in(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let listed = match std::fs::read_dir(dir) {
        Ok(listed) => listed,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list", dir)(error)),
    };
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry.map_err(Error::io("list", dir))?;
        let is_dir =
            entry.file_type().is_ok_and(|kind| kind.is_dir()) && entry.file_name().to_str().is_some();
        if !is_dir {
            found.push(entry.path());
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The fields of a checkpoint file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointFields {
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Store timestamp up to which the log is on the disk, milliseconds.
    pub physic_msg_timestamp: i64,
    /// Store timestamp up to which the queues are on the disk, milliseconds.
    pub logics_msg_timestamp: i64,
    /// Store timestamp of the last message of the last full index file, milliseconds.
    pub index_msg_timestamp: i64,
    /// Where the last dispatched record begins; 0 when nobody noted it.
    pub confirm_phy_offset: i64,
}

impl CheckpointFields {
    /// Reads a checkpoint file; `None` when there is none. What a short file lacks is 0.
    pub fn load(path: &Path) -> Result<Option<Self>, Error> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", path)(error)),
        };
        let bytes = file.metadata().map_err(Error::io("look at", path))?.len();
        let mut head = Vec::new();
        file.by_ref().take(64).read_to_end(&mut head).map_err(Error::io("read", path))?;
        let field = |field: Field| {
            let at = head.get(field as usize..).and_then(|from| from.first_chunk());
            at.map_or(0, |eight| i64::from_be_bytes(*eight))
        };
        Ok(Some(Self {
            bytes,
            physic_msg_timestamp: field(Field::Physic),
            logics_msg_timestamp: field(Field::Logics),
            index_msg_timestamp: field(Field::Index),
            confirm_phy_offset: field(Field::Confirm),
        }))
    }
}
