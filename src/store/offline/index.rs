//! Reading index files: which there are, their sizes, and their entries in the order in which they were made.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::files_in;
use crate::store::disk::list_dirs;
use crate::store::index_file::{ENTRY_BYTES, HEADER_BYTES, Header, NAME_DIGITS, file_bytes};
use crate::store::{Error, PhysicalOffset, StoreOptions, dispatch};
use crate::wire::message::MessageRecord;

/// An entry of an index file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Its number in the file, from 1.
    pub number: i32,
    /// Byte of the file at which it stands.
    pub position: u64,
    /// Hash of topic and key.
    pub key_hash: i32,
    /// Where the message is.
    pub physical_offset: PhysicalOffset,
    /// Seconds from the file's begin timestamp to the message's store timestamp.
    pub seconds: i32,
    /// Number of the next older entry of its chain, 0 for none.
    pub older: i32,
}

/// One index file, read whole where it is used.
#[derive(Debug)]
pub struct IndexReader {
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// Store timestamps of its first and last message, milliseconds.
    pub timestamps: (i64, i64),
    /// Physical offsets of its first and last message.
    pub physical: (i64, i64),
    /// Slots in use.
    pub slots_used: i32,
    /// One more than it has entries.
    pub count: i32,
    entries_at: u64,
    file: File,
}

/// The sizes of index files: slots and entries, `maxHashSlotNum` and `maxIndexNum`.
pub type IndexSizes = (u32, u32);

/// Finds out the sizes of a file of this length: those of `options` where they fit, else the same relation of one to
/// four that the defaults have.
pub fn index_sizes(options: &StoreOptions, bytes: u64) -> Option<IndexSizes> {
    let configured = (options.max_hash_slot_num, options.max_index_num);
    if file_bytes(configured.0, configured.1) == bytes {
        return Some(configured);
    }
    let slots = u32::try_from(bytes.checked_sub(HEADER_BYTES as u64)? / (4 + 4 * ENTRY_BYTES as u64)).ok()?;
    (slots > 0 && file_bytes(slots, slots.checked_mul(4)?) == bytes).then_some((slots, slots * 4))
}

/// Lists the index files, oldest first, and what lies beside them.
pub fn list_index(dir: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Error> {
    let is_index = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.len() == NAME_DIGITS && name.bytes().all(|byte| byte.is_ascii_digit())
    };
    let (files, mut strangers): (Vec<_>, Vec<_>) = files_in(dir)?.into_iter().partition(is_index);
    strangers.extend(list_dirs(dir)?.into_iter().map(|name| dir.join(name)));
    Ok((files, strangers))
}

impl IndexReader {
    /// Opens an index file with these sizes; `None` when it is too short for a header.
    pub fn open(path: &Path, (slots, _): IndexSizes) -> Result<Option<Self>, Error> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let bytes = file.metadata().map_err(Error::io("look at", path))?.len();
        let mut head = [0; HEADER_BYTES];
        if bytes < HEADER_BYTES as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut head, 0).map_err(Error::io("read", path))?;
        let header = Header::read(&head);
        Ok(Some(Self {
            path: path.to_owned(),
            bytes,
            timestamps: (header.begin_timestamp, header.end_timestamp),
            physical: (header.begin_physical, header.end_physical),
            slots_used: header.slots_used,
            count: header.count,
            entries_at: HEADER_BYTES as u64 + 4 * u64::from(slots),
            file,
        }))
    }

    /// Calls `visit` with every entry in the order in which they were made.
    pub fn for_each(&self, mut visit: impl FnMut(IndexEntry) -> Result<(), Error>) -> Result<(), Error> {
        let mut piece = vec![0; 4_096 * ENTRY_BYTES];
        let mut number = 1_i64;
        while number < i64::from(self.count) {
            let position = self.entries_at + number as u64 * ENTRY_BYTES as u64;
            let room = self.bytes.saturating_sub(position) / ENTRY_BYTES as u64;
            let wanted = (i64::from(self.count) - number).min(4_096).min(room as i64) as usize;
            if wanted == 0 {
                break;
            }
            let bytes = &mut piece[..wanted * ENTRY_BYTES];
            self.file.read_exact_at(bytes, position).map_err(Error::io("read", &self.path))?;
            for (at, entry) in bytes.as_chunks::<ENTRY_BYTES>().0.iter().enumerate() {
                let int = |at: usize| entry[at..].first_chunk().map_or(0, |four| i32::from_be_bytes(*four));
                let physical = entry[4..].first_chunk().map_or(0, |eight| i64::from_be_bytes(*eight));
                visit(IndexEntry {
                    number: (number + at as i64) as i32,
                    position: position + (at * ENTRY_BYTES) as u64,
                    key_hash: int(0),
                    physical_offset: PhysicalOffset(physical),
                    seconds: int(12),
                    older: int(16),
                })?;
            }
            number += wanted as i64;
        }
        Ok(())
    }
}

/// Returns the hashes under which a message is found by key.
pub fn index_hashes_of(record: &MessageRecord<'_>) -> Vec<i32> {
    dispatch::index_hashes_of(record).to_vec()
}
