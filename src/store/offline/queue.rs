//! Reading consume queues: which there are, and the entries of each.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::{DirFile, Listing, files_in, list};
use crate::store::consume_queue::{UNIT_BYTES, decode_unit, is_blank};
use crate::store::disk::list_dirs;
use crate::store::{Error, QueueEntry, dispatch};
use crate::wire::message::MessageRecord;

/// Bytes of a consume queue read at a time; a multiple of the entry.
const QUEUE_PIECE_BYTES: usize = 200 * UNIT_BYTES;

/// Reads one consume queue.
#[derive(Debug)]
pub struct QueueReader {
    /// The topic.
    pub topic: String,
    /// The queue's number.
    pub queue_id: i32,
    /// Its files and what lies beside them.
    pub listing: Listing,
    buffer: Vec<u8>,
    /// The byte of the queue at which the buffer begins.
    buffer_at: i64,
}

/// What is below the directory of the consume queues.
#[derive(Debug, Default)]
pub struct QueueTable {
    /// The queues by topic and number.
    pub queues: BTreeMap<(String, i32), QueueReader>,
    /// Files and directories that are no queues.
    pub strangers: Vec<PathBuf>,
}

impl QueueTable {
    /// Lists every queue.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let mut table = Self { queues: BTreeMap::new(), strangers: files_in(dir)? };
        for topic in list_dirs(dir)? {
            let topic_dir = dir.join(&topic);
            table.strangers.extend(files_in(&topic_dir)?);
            for name in list_dirs(&topic_dir)? {
                let path = topic_dir.join(&name);
                let Some(queue_id) = name.parse::<i32>().ok().filter(|id| id.to_string() == name) else {
                    table.strangers.push(path);
                    continue;
                };
                let queue = QueueReader {
                    topic: topic.clone(),
                    queue_id,
                    listing: list(&path)?,
                    buffer: Vec::new(),
                    buffer_at: 0,
                };
                table.queues.insert((topic.clone(), queue_id), queue);
            }
        }
        Ok(table)
    }
}

impl QueueEntry {
    /// Says whether it only fills a place whose message is not there.
    pub fn is_blank(&self) -> bool {
        is_blank(self)
    }

    /// Says whether it is a place that was never written to.
    pub fn is_unused(&self) -> bool {
        self.size == 0 && self.physical_offset.0 == 0 && self.tags_code == 0
    }
}

impl QueueReader {
    /// Returns the index of the first place that its files have.
    pub fn first(&self) -> i64 {
        self.listing.files.first().map_or(0, |file| file.offset / UNIT_BYTES as i64)
    }

    /// Returns the index behind the last place that its files have.
    pub fn end(&self) -> i64 {
        self.listing.files.last().map_or(0, |file| file.end() / UNIT_BYTES as i64)
    }

    /// Returns the file that holds an entry, and the entry's byte in it.
    pub fn place(&self, index: i64) -> Option<(&DirFile, u64)> {
        let byte = index.checked_mul(UNIT_BYTES as i64)?;
        let number = self.listing.files.partition_point(|file| file.offset <= byte).checked_sub(1)?;
        let file = &self.listing.files[number];
        (byte + UNIT_BYTES as i64 <= file.end()).then(|| (file, (byte - file.offset) as u64))
    }

    /// Returns the entry at `index`, used or not; `None` where its files have no such place.
    pub fn entry(&mut self, index: i64) -> Result<Option<QueueEntry>, Error> {
        let Some(byte) = index.checked_mul(UNIT_BYTES as i64) else { return Ok(None) };
        let skip = usize::try_from(byte - self.buffer_at).unwrap_or(usize::MAX);
        if skip.saturating_add(UNIT_BYTES) > self.buffer.len() {
            let Some((file, at)) = self.place(index) else { return Ok(None) };
            let from = at - at % QUEUE_PIECE_BYTES as u64;
            let whole = file.bytes - file.bytes % UNIT_BYTES as u64;
            let len = (QUEUE_PIECE_BYTES as u64).min(whole - from);
            let mut buffer = vec![0; len as usize];
            let opened = File::open(&file.path).map_err(Error::io("open", &file.path))?;
            opened.read_exact_at(&mut buffer, from).map_err(Error::io("read", &file.path))?;
            self.buffer_at = file.offset.saturating_add_unsigned(from);
            self.buffer = buffer;
            return self.entry_in_buffer(byte);
        }
        self.entry_in_buffer(byte)
    }

    fn entry_in_buffer(&self, byte: i64) -> Result<Option<QueueEntry>, Error> {
        let unit = usize::try_from(byte - self.buffer_at).ok().and_then(|skip| self.buffer.get(skip..));
        Ok(unit.and_then(|unit| unit.first_chunk()).map(decode_unit))
    }

    /// Returns the first index from `from` on whose place is in use; holes of the files are passed over.
    pub fn next_used(&mut self, from: i64) -> Result<Option<i64>, Error> {
        let mut index = from;
        while index < self.end() {
            let Some((file, at)) = self.place(index) else {
                index += 1;
                continue;
            };
            let (offset, bytes) = (file.offset, file.bytes);
            let opened = File::open(&file.path).map_err(Error::io("open", &file.path))?;
            let data = match rustix::fs::seek(&opened, rustix::fs::SeekFrom::Data(at)) {
                Ok(data) => data - data % UNIT_BYTES as u64,
                Err(rustix::io::Errno::NXIO) => bytes,
                Err(_) => at,
            };
            index = offset.saturating_add_unsigned(data.max(at)) / UNIT_BYTES as i64;
            // One read's worth of places, then the next data is asked for.
            for _ in 0..QUEUE_PIECE_BYTES / UNIT_BYTES {
                match self.entry(index)? {
                    Some(entry) if !entry.is_unused() => return Ok(Some(index)),
                    Some(_) => index += 1,
                    None => break,
                }
            }
        }
        Ok(None)
    }

    /// Returns the first entry from `from` on that is in use, with its index.
    pub fn next_entry(&mut self, from: i64) -> Result<Option<(i64, QueueEntry)>, Error> {
        if let Some(entry) = self.entry(from)?
            && !entry.is_unused()
        {
            return Ok(Some((from, entry)));
        }
        let Some(index) = self.next_used(from)? else { return Ok(None) };
        Ok(self.entry(index)?.map(|entry| (index, entry)))
    }

    /// Forgets what was read, which gives memory back.
    pub fn forget(&mut self) {
        self.buffer = Vec::new();
    }
}

/// Returns the entry that a message should have in its queue; none for halves of transactions. Where a tag code is a time of
/// delivery it follows these delay levels.
pub fn entry_of(record: &MessageRecord<'_>, delay_level_ms: &[u64]) -> Option<QueueEntry> {
    dispatch::entry_of(record, delay_level_ms)
}
