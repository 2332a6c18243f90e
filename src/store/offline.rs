//! Reading a store's files without opening the store: piece by piece, changing nothing, believing nothing.
//!
//! Flows in: the directories named by [`StoreOptions`]. Flows out: pieces of the commit log with what is wrong with
//! them, entries of consume queues, entries of index files, fields of the checkpoint. The formats themselves are read by
//! the same functions that the running store uses. What the pieces mean for a person is decided by whoever asks, the
//! command `rmq-lite store`. Mirrors nothing in the reference, which can only look at a store by starting on it.
//!
//! Files are read with system calls, not mapped, so that a file that is cut short meanwhile is an error and not a signal.
//! File sizes are taken from the files, not from the options: a store is looked at as it is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::checkpoint::Field;
use super::consume_queue::{UNIT_BYTES, decode_unit, is_blank};
use super::disk::{file_name, list_dirs};
use super::index_file::{ENTRY_BYTES, HEADER_BYTES, Header, NAME_DIGITS, file_bytes};
use super::{Error, MessageStore, PhysicalOffset, QueueEntry, QueueOffset, StoreOptions, dispatch};
use crate::wire::message::{MAGIC_BLANK, MAGIC_V1, MAGIC_V2, MessageRecord, RecordError};

/// Bytes read at a time when a file is read from its beginning to its end.
const AHEAD_BYTES: usize = 1 << 20;
/// Bytes read at a time when single records are looked at.
const SINGLE_BYTES: usize = 4_096;
/// Bytes of a consume queue read at a time; a multiple of the entry.
const QUEUE_PIECE_BYTES: usize = 200 * UNIT_BYTES;
/// Longest record that is believed; no broker takes messages of this size.
const RECORD_BYTES_MAX: usize = 128 << 20;
/// Bytes of a record up to the end of its physical offset.
const PHYSICAL_OFFSET_END: usize = 36;
/// First three bytes of every version's magic number.
const MAGIC_FAMILY: [u8; 3] = [0xDA, 0xA3, 0x20];

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

/// What is wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What should be there.
    pub expected: String,
    /// What is there instead.
    pub found: String,
}

/// What stands at a place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogPiece<'a> {
    /// A message at its own place, whose body matches its checksum.
    Message(MessageRecord<'a>),
    /// The end of a file.
    Blank {
        /// Where the next file begins.
        end: i64,
    },
    /// Bytes that were never written.
    Zeros {
        /// Where they end: at a message, or where the file ends.
        end: i64,
    },
    /// Something else.
    Damaged {
        /// Where the next message, BLANK, or the end of the file is.
        end: i64,
        /// What it is.
        damage: Damage,
    },
}

enum Kind {
    Message(usize),
    Blank,
    Zeros,
    Damaged(Damage, Option<usize>),
}

/// Reads a commit log.
#[derive(Debug)]
pub struct LogReader {
    files: Vec<DirFile>,
    open: Option<(usize, File)>,
    ahead_bytes: usize,
    buffer: Vec<u8>,
    buffer_at: i64,
}

impl LogReader {
    /// Makes a reader of these files. `sequential` says that it is to read from one end to the other.
    pub fn new(files: Vec<DirFile>, sequential: bool) -> Self {
        let ahead_bytes = if sequential { AHEAD_BYTES } else { SINGLE_BYTES };
        Self { files, open: None, ahead_bytes, buffer: Vec::new(), buffer_at: 0 }
    }

    /// Returns the files in order.
    pub fn files(&self) -> &[DirFile] {
        &self.files
    }

    /// Returns the file that holds the byte at `at`.
    pub fn file_of(&self, at: i64) -> Option<&DirFile> {
        self.number_of(at).map(|number| &self.files[number])
    }

    fn number_of(&self, at: i64) -> Option<usize> {
        let number = self.files.partition_point(|file| file.offset <= at).checked_sub(1)?;
        (at < self.files[number].end()).then_some(number)
    }

    /// Says what stands at `at`; `None` when no file has this byte.
    pub fn piece(&mut self, at: i64) -> Result<Option<LogPiece<'_>>, Error> {
        let Some(number) = self.number_of(at) else { return Ok(None) };
        let file_end = self.files[number].end();
        let piece = match self.kind(at, file_end)? {
            Kind::Message(size) => {
                let path = self.files[number].path.clone();
                LogPiece::Message(MessageRecord::decode(self.fill(at, size)?).map_err(|_| changed(path))?)
            }
            Kind::Blank => LogPiece::Blank { end: file_end },
            Kind::Zeros => match self.next_data(number, at)? {
                None => LogPiece::Zeros { end: file_end },
                // A record begins with its size, so up to three of the zeros are its own.
                Some(data) => match self.next_good((data - 3).max(at + 1), file_end)? {
                    Some(end) => LogPiece::Zeros { end },
                    None => LogPiece::Damaged {
                        end: file_end,
                        damage: Damage {
                            expected: "a message or nothing".to_owned(),
                            found: format!(
                                "zeros, and at byte {} something that is no message",
                                data - self.files[number].offset
                            ),
                        },
                    },
                },
            },
            Kind::Damaged(damage, size) => {
                let behind = at + size.unwrap_or(1) as i64;
                let end = if size.is_some() && self.is_good(behind, file_end)? {
                    Some(behind)
                } else {
                    self.next_good(at + 1, file_end)?
                };
                LogPiece::Damaged { end: end.unwrap_or(file_end), damage }
            }
        };
        Ok(Some(piece))
    }

    /// Returns the message of `size` bytes at `at`, if a good one stands there.
    pub fn message(&mut self, at: i64, size: usize) -> Result<Option<MessageRecord<'_>>, Error> {
        let Some(number) = self.number_of(at) else { return Ok(None) };
        if (self.files[number].end() - at) < size as i64 || size > RECORD_BYTES_MAX {
            return Ok(None);
        }
        let record = MessageRecord::decode(self.fill(at, size)?).ok();
        Ok(record.filter(|record| record.total_size as usize == size && record.physical_offset == at))
    }

    /// Says whether any byte from `at` on, in this and later files, is not zero.
    pub fn has_data_behind(&mut self, at: i64) -> Result<bool, Error> {
        for number in 0..self.files.len() {
            let from = at.max(self.files[number].offset);
            if from < self.files[number].end() && self.next_data(number, from)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn kind(&mut self, at: i64, file_end: i64) -> Result<Kind, Error> {
        let left = (file_end - at) as usize;
        let bytes = self.fill(at, 8.min(left))?;
        let head = bytes.get(..8.min(left)).unwrap_or_default();
        if head.iter().all(|&byte| byte == 0) {
            return Ok(Kind::Zeros);
        }
        let damaged = |expected: &str, found: String| {
            Ok(Kind::Damaged(Damage { expected: expected.to_owned(), found }, None))
        };
        let Some((size, magic)) = head.split_first_chunk::<4>() else {
            return damaged("the end of the file", format!("{left} bytes, too few for anything"));
        };
        let size = i32::from_be_bytes(*size);
        let Some(magic) = magic.first_chunk::<4>().map(|magic| i32::from_be_bytes(*magic)) else {
            return damaged("the end of the file", format!("{left} bytes, too few for anything"));
        };
        match magic {
            MAGIC_BLANK if i64::from(size) == left as i64 => return Ok(Kind::Blank),
            MAGIC_BLANK => {
                let found = format!("an end of file of {size} bytes");
                return damaged(&format!("an end of file of {left} bytes"), found);
            }
            MAGIC_V1 | MAGIC_V2 => {}
            _ if magic.to_be_bytes()[..3] == MAGIC_FAMILY => {
                let found = format!(
                    "a message of a version that is not known here (magic number {magic:#010x}), as of a newer RocketMQ"
                );
                return damaged("a message of version 1 or 2", found);
            }
            _ => return damaged("a message", describe(head)),
        }
        let total = size as usize;
        if size < PHYSICAL_OFFSET_END as i32 || total > left || total > RECORD_BYTES_MAX {
            let expected = format!("a message of at most {left} bytes");
            return damaged(&expected, format!("a message that claims {size} bytes"));
        }
        let record = match MessageRecord::decode(self.fill(at, total)?) {
            Ok(record) => record,
            Err(error) => return damaged("a message whose lengths agree", error.to_string()),
        };
        let damage = if record.physical_offset != at {
            Damage {
                expected: format!("physical offset {at}"),
                found: format!("a message of physical offset {}", record.physical_offset),
            }
        } else if let Err(RecordError::BodyCrc { stored, computed }) = record.check_body() {
            Damage {
                expected: format!("a body with the checksum {stored:#010x}"),
                found: format!(
                    "checksum {computed:#010x}, in a message of {} queue {} offset {}",
                    record.topic, record.queue_id, record.queue_offset
                ),
            }
        } else {
            return Ok(Kind::Message(total));
        };
        Ok(Kind::Damaged(damage, Some(total)))
    }

    fn is_good(&mut self, at: i64, file_end: i64) -> Result<bool, Error> {
        if at >= file_end {
            return Ok(at == file_end);
        }
        Ok(!matches!(self.kind(at, file_end)?, Kind::Damaged(..)))
    }

    /// Finds the next message or end of file at or behind `at`.
    fn next_good(&mut self, at: i64, file_end: i64) -> Result<Option<i64>, Error> {
        // A magic number stands four bytes behind the beginning.
        let mut from = at + 4;
        while from < file_end {
            let Some(number) = self.number_of(from) else { return Ok(None) };
            let Some(data) = self.next_data(number, from)? else { return Ok(None) };
            from = data;
            let bytes = self.fill(from, 4)?;
            let Some(hit) = memchr::memchr2(MAGIC_FAMILY[0], MAGIC_BLANK.to_be_bytes()[0], bytes) else {
                from += bytes.len() as i64;
                continue;
            };
            let start = from + hit as i64 - 4;
            if start >= at && matches!(self.kind(start, file_end)?, Kind::Message(_) | Kind::Blank) {
                return Ok(Some(start));
            }
            from += hit as i64 + 1;
        }
        Ok(None)
    }

    /// Finds the next byte of a file that is not zero; holes are passed over without being read.
    fn next_data(&mut self, number: usize, at: i64) -> Result<Option<i64>, Error> {
        let (start, end) = (self.files[number].offset, self.files[number].end());
        let mut at = at;
        while at < end {
            let covered = at >= self.buffer_at && at < self.buffer_at + self.buffer.len() as i64;
            if !covered {
                let file = self.file(number)?;
                // A file system without holes answers with the same place.
                match rustix::fs::seek(file, rustix::fs::SeekFrom::Data((at - start) as u64)) {
                    Ok(data) => at = at.max(start.saturating_add_unsigned(data)),
                    Err(rustix::io::Errno::NXIO) => return Ok(None),
                    Err(_) => {}
                }
                if at >= end {
                    return Ok(None);
                }
            }
            let bytes = self.fill(at, 1)?;
            if bytes.is_empty() {
                return Ok(None);
            }
            if let Some(found) = bytes.iter().position(|&byte| byte != 0) {
                return Ok(Some(at + found as i64));
            }
            at += bytes.len() as i64;
        }
        Ok(None)
    }

    fn file(&mut self, number: usize) -> Result<&File, Error> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != number) {
            let path = &self.files[number].path;
            let file = File::open(path).map_err(Error::io("open", path))?;
            self.open = Some((number, file));
        }
        Ok(&self.open.as_ref().expect("opened above").1)
    }

    /// Returns the bytes from `at` on, at least `wanted` of them if the file has as many.
    fn fill(&mut self, at: i64, wanted: usize) -> Result<&[u8], Error> {
        let skip = usize::try_from(at - self.buffer_at).unwrap_or(usize::MAX);
        if skip >= self.buffer.len() || self.buffer.len() - skip < wanted {
            let Some(number) = self.number_of(at) else { return Ok(&[]) };
            let (start, end) = (self.files[number].offset, self.files[number].end());
            let len = wanted.max(self.ahead_bytes).min((end - at) as usize);
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.resize(len, 0);
            let path = self.files[number].path.clone();
            let read = self.file(number)?.read_exact_at(&mut buffer, (at - start) as u64);
            read.map_err(Error::io("read", &path))?;
            self.buffer = buffer;
            self.buffer_at = at;
            return Ok(&self.buffer);
        }
        Ok(&self.buffer[skip..])
    }
}

/// A message was whole a moment ago and is not any more.
fn changed(path: PathBuf) -> Error {
    Error::Corrupt { path, position: 0, what: "somebody writes to it while it is read".to_owned() }
}

/// Says what bytes look like that are no message.
pub fn describe(head: &[u8]) -> String {
    const KNOWN: [(&[u8], &str); 6] = [
        (&[0x1F, 0x8B], "a gzip file"),
        (b"PK\x03\x04", "a zip or jar file"),
        (&[0x28, 0xB5, 0x2F, 0xFD], "a zstd file"),
        (b"SQLite", "an SQLite file"),
        (b"\x7FELF", "a program"),
        (&[0xCA, 0xFE, 0xBA, 0xBE], "a Java class"),
    ];
    if let Some((_, name)) = KNOWN.iter().find(|(magic, _)| head.starts_with(magic)) {
        return (*name).to_owned();
    }
    let shown = &head[..head.len().min(8)];
    if !shown.is_empty() && shown.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        return format!("text ({:?})", String::from_utf8_lossy(shown));
    }
    let hex: Vec<_> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("the bytes {}", hex.join(" "))
}

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

/// Returns the hashes under which a message is found by key.
pub fn index_hashes_of(record: &MessageRecord<'_>) -> Vec<i32> {
    dispatch::index_hashes_of(record).to_vec()
}

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

impl MessageStore {
    /// Lets a queue that never had a message begin at this offset; says whether it does. For whoever fills a new store with
    /// another one's messages.
    pub fn begin_queue_at(&self, topic: &str, queue_id: i32, first: QueueOffset) -> Result<bool, Error> {
        let _tail = self.log.lock().ok();
        let Some(queue) = self.queues.get_or_new(topic, queue_id)? else { return Ok(false) };
        let next = &queue.next;
        let unused = queue.max() == 0 && next.load(std::sync::atomic::Ordering::Relaxed) == 0;
        if unused {
            next.store(first.0, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(unused)
    }
}
