//! One consume queue: where the messages of one queue of a topic are in the commit log; mirrors `ConsumeQueue`.
//!
//! | bytes | entry |
//! |---|---|
//! | 0–7 | physical offset |
//! | 8–11 | record size |
//! | 12–19 | tag code |
//!
//! Entry i stands at byte 20·i of an endless sequence of files. Where the first entry of a queue is not the
//! first of its file, the bytes before it are filled with blank entries (0, 2147483647, 0).
//!
//! There may be more queues than a process may have mappings, so a queue maps only a window of [`WINDOW_BYTES`]
//! around its end, none before its first message, and none when the process has too many: then it writes
//! and reads through the file, which it keeps open as long as the process has descriptors to spare. Windows of many
//! queues also share page tables, which whole files would not.
//!
//! Lock order: the dispatcher's lock, then a queue's `files`. Only the dispatcher appends.

pub(crate) mod after_cut;
mod ends;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{FileSystem, file_name, list_offsets};
use super::mapped_file::{Appender, MappedFile};
use super::{Error, PhysicalOffset, QueueEntry};

/// Bytes of one entry.
pub(crate) const UNIT_BYTES: usize = 20;
/// Bytes of a mapped window: a multiple of the page and of the entry.
const WINDOW_BYTES: u64 = 4 * 20_480;
const PAGE_BYTES: u64 = 4_096;
/// Bytes of the volume taken ahead of a queue's end, behind its first page.
const SPACE_BYTES: u64 = 16_384;
/// Size field of a blank entry.
const BLANK_SIZE: i32 = i32::MAX;
/// Longest hole that is filled with blank entries when messages of a queue are missing from the log.
const GAP_UNITS_MAX: i64 = 300_000;
/// Largest queue offset that is believed.
const QUEUE_OFFSET_MAX: i64 = i64::MAX / UNIT_BYTES as i64 - GAP_UNITS_MAX;

/// Files kept open in this process, over all its stores: the kernel's limit is per process.
static KEPT_FILES: AtomicUsize = AtomicUsize::new(0);

/// What all queues of a store have in common.
#[derive(Debug)]
pub(crate) struct QueueSpace {
    /// Directory of all queues.
    pub(crate) dir: PathBuf,
    /// Bytes of one file, a multiple of [`UNIT_BYTES`].
    pub(crate) file_bytes: u64,
    /// The file system.
    pub(crate) disk: Arc<dyn FileSystem>,
    /// How many windows this process may map.
    pub(crate) window_limit: usize,
    /// How many files of queues this process may keep open.
    pub(crate) file_limit: usize,
    /// Set when a queue wanted a window and there was none left.
    pub(crate) windows_wanted: AtomicBool,
}

/// One consume queue.
#[derive(Debug)]
pub(crate) struct ConsumeQueue {
    /// The topic.
    pub(crate) topic: Arc<str>,
    /// The queue's number.
    pub(crate) queue_id: i32,
    /// The next queue offset to assign; changed under the put lock, or by the dispatcher when it is behind.
    pub(crate) next: AtomicI64,
    /// One past the last entry that may be read.
    max: AtomicI64,
    /// The first entry whose message is still in the log.
    min: AtomicI64,
    /// One past the last entry that is on the disk.
    flushed: AtomicI64,
    /// Waiting for a flush.
    pub(crate) dirty: AtomicBool,
    /// Used since the last look for idle windows.
    touched: AtomicBool,
    /// Deleted: whoever holds it must look the queue up again.
    dead: AtomicBool,
    files: Mutex<Files>,
}

#[derive(Debug, Default)]
struct Files {
    /// Byte at which the first file begins; `None` before the first message.
    first: Option<i64>,
    /// One past the last file.
    end: i64,
    /// Files before it have their names on the disk.
    named: i64,
    /// Physical end of the last entry's record.
    max_physical: i64,
    /// Where the dispatcher writes.
    window: Option<Appender>,
    /// Up to where the volume has space for the window: behind it a write could find it full, which kills the process.
    space: i64,
    /// Where a reader who is behind reads.
    reading: Option<Arc<MappedFile>>,
    /// The last file, while there is no window to write to.
    kept: Option<KeptFile>,
}

/// A file that stays open; one of a limited number.
#[derive(Debug)]
struct KeptFile {
    /// The byte of the queue at which it begins.
    start: i64,
    file: File,
}

impl KeptFile {
    fn new(start: i64, file: File, limit: usize) -> Option<Self> {
        if KEPT_FILES.fetch_add(1, Ordering::Relaxed) >= limit {
            KEPT_FILES.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Self { start, file })
    }
}

impl Drop for KeptFile {
    fn drop(&mut self) {
        KEPT_FILES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What became of an entry that was to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// It is visible.
    Yes,
    /// It, or a later one in its place, was there already.
    Already,
    /// Its queue offset cannot be.
    Impossible,
}

/// A run of entries, for reading.
pub(crate) enum Units {
    /// Bytes of a mapping.
    Mapped(Arc<MappedFile>, std::ops::Range<usize>),
    /// Bytes read from the file.
    Copied(Vec<u8>),
}

impl Units {
    /// Returns the entries in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = QueueEntry> {
        let bytes = match self {
            Self::Mapped(file, range) => &file.bytes()[range.clone()],
            Self::Copied(bytes) => bytes.as_slice(),
        };
        bytes.as_chunks::<UNIT_BYTES>().0.iter().map(decode_unit)
    }
}

/// Reads one entry.
pub(crate) fn decode_unit(unit: &[u8; UNIT_BYTES]) -> QueueEntry {
    let (physical, rest) = unit.split_first_chunk::<8>().expect("20 bytes");
    let (size, tags) = rest.split_first_chunk::<4>().expect("12 bytes");
    QueueEntry {
        physical_offset: PhysicalOffset(i64::from_be_bytes(*physical)),
        size: i32::from_be_bytes(*size),
        tags_code: i64::from_be_bytes(*tags.first_chunk().expect("8 bytes")),
    }
}

/// Writes one entry.
pub(crate) fn encode_unit(entry: QueueEntry) -> [u8; UNIT_BYTES] {
    let mut unit = [0; UNIT_BYTES];
    unit[..8].copy_from_slice(&entry.physical_offset.0.to_be_bytes());
    unit[8..12].copy_from_slice(&entry.size.to_be_bytes());
    unit[12..].copy_from_slice(&entry.tags_code.to_be_bytes());
    unit
}

/// Says whether an entry only fills the space before a queue's first message.
pub(crate) fn is_blank(entry: &QueueEntry) -> bool {
    entry.size == BLANK_SIZE && entry.physical_offset.0 == 0
}

fn is_valid(entry: &QueueEntry) -> bool {
    entry.physical_offset.0 >= 0 && entry.size > 0
}

impl ConsumeQueue {
    /// Makes the handle of a queue that has no files.
    pub(crate) fn new(topic: Arc<str>, queue_id: i32) -> Self {
        Self {
            topic,
            queue_id,
            next: AtomicI64::new(0),
            max: AtomicI64::new(0),
            min: AtomicI64::new(0),
            flushed: AtomicI64::new(0),
            dirty: AtomicBool::new(false),
            touched: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            files: Mutex::default(),
        }
    }

    /// Reads the queue's length from its files; the end is searched by halves.
    pub(crate) fn load(
        space: &QueueSpace,
        topic: Arc<str>,
        queue_id: i32,
        log_min: i64,
    ) -> Result<Self, Error> {
        let queue = Self::new(topic, queue_id);
        let dir = queue.dir(space);
        let mut named = list_offsets(&dir)?;
        if let Some(last) = named.last().filter(|file| file.bytes == 0) {
            let path = dir.join(file_name(last.offset));
            space.disk.remove(&path).map_err(Error::io("delete", &path))?;
            named.pop();
        }
        let mut expected = named.first().map_or(0, |file| file.offset);
        for file in &named {
            let path = dir.join(file_name(file.offset));
            if file.bytes != space.file_bytes {
                let (actual, expected) = (file.bytes, space.file_bytes);
                let key = "mappedFileSizeConsumeQueue";
                return Err(Error::WrongSize { path, actual, expected, key });
            }
            if file.offset != expected || !(file.offset as u64).is_multiple_of(space.file_bytes) {
                let what = format!("its name should be {}", file_name(expected));
                return Err(Error::Corrupt { path, position: 0, what });
            }
            expected += space.file_bytes as i64;
        }
        let (Some(first), Some(last)) = (named.first(), named.last()) else { return Ok(queue) };
        {
            let mut files = queue.files();
            (files.first, files.end, files.named) = (Some(first.offset), expected, expected);
        }
        let max = queue.search_end(space, last.offset, expected)?;
        queue.set_end(space, max)?;
        queue.flushed.store(max, Ordering::Relaxed);
        queue.correct_min(space, log_min)?;
        Ok(queue)
    }

    /// Returns one past the last entry.
    #[inline]
    pub(crate) fn max(&self) -> i64 {
        self.max.load(Ordering::Acquire)
    }

    /// Returns the first entry whose message is still in the log.
    #[inline]
    pub(crate) fn min(&self) -> i64 {
        self.min.load(Ordering::Acquire)
    }

    /// Says whether the queue was deleted.
    #[inline]
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Returns the physical end of the last entry's record; 0 when there is none.
    pub(crate) fn max_physical(&self) -> i64 {
        self.files().max_physical
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        // Every change of `Files` is complete before anything can panic.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dir(&self, space: &QueueSpace) -> PathBuf {
        let mut dir = space.dir.join(&*self.topic);
        dir.push(self.queue_id.to_string());
        dir
    }

    fn path(&self, space: &QueueSpace, byte: i64) -> PathBuf {
        let mut path = self.dir(space);
        path.push(file_name(byte - byte.rem_euclid(space.file_bytes as i64)));
        path
    }

    fn open(&self, space: &QueueSpace, byte: i64) -> Result<File, Error> {
        let path = self.path(space, byte);
        space.disk.open(&path).map_err(Error::io("open", &path))
    }

    fn open_to_read(&self, space: &QueueSpace, byte: i64) -> Result<File, Error> {
        let path = self.path(space, byte);
        File::open(&path).map_err(Error::io("open", &path))
    }

    /// Appends the entry of a message whose record claims `index`. Blocks only when a new file or window is due.
    pub(crate) fn append(
        &self,
        space: &QueueSpace,
        index: i64,
        entry: QueueEntry,
    ) -> Result<Appended, Error> {
        let max = self.max.load(Ordering::Relaxed);
        let mut files = self.files();
        if index != max || entry.physical_offset.0 < files.max_physical {
            match self.place(space, &mut files, index, max, entry)? {
                Place::Here => {}
                Place::Nowhere(appended) => return Ok(appended),
            }
        }
        self.write(space, &mut files, index, &encode_unit(entry))?;
        files.max_physical = entry.physical_offset.0 + i64::from(entry.size);
        drop(files);
        self.max.store(index + 1, Ordering::Release);
        if self.next.load(Ordering::Relaxed) <= index {
            self.next.fetch_max(index + 1, Ordering::Relaxed);
        }
        if !self.touched.load(Ordering::Relaxed) {
            self.touched.store(true, Ordering::Relaxed);
        }
        Ok(Appended::Yes)
    }

    /// Decides what to do with an entry that does not simply follow the last one. This happens when records are
    /// dispatched again after a crash, when a queue begins after its first messages are gone from the log, and
    /// when a topic was deleted and made again: then one log holds the same queue offset twice, and the later
    /// record is the one that counts.
    fn place(
        &self,
        space: &QueueSpace,
        files: &mut Files,
        index: i64,
        max: i64,
        entry: QueueEntry,
    ) -> Result<Place, Error> {
        let physical = entry.physical_offset.0;
        if !(0..=QUEUE_OFFSET_MAX).contains(&index) {
            return Ok(Place::Nowhere(Appended::Impossible));
        }
        if files.first.is_some() && physical < files.max_physical {
            return Ok(Place::Nowhere(Appended::Already));
        }
        if index < max {
            // The topic was deleted after the entries that are there, and begins anew.
            self.remove_files(space, files)?;
            self.next.store(0, Ordering::Relaxed);
        }
        let max = self.max.load(Ordering::Relaxed);
        if files.first.is_none() {
            let byte = index * UNIT_BYTES as i64;
            let start = byte - byte.rem_euclid(space.file_bytes as i64);
            self.fill(space, files, start / UNIT_BYTES as i64, index)?;
            self.min.store(index, Ordering::Release);
        } else if index > max {
            if index - max > GAP_UNITS_MAX {
                return Ok(Place::Nowhere(Appended::Impossible));
            }
            tracing::warn!(topic = %self.topic, queue_id = self.queue_id, from = max, to = index, "messages are missing from the log; their places stay empty");
            self.fill(space, files, max, index)?;
        }
        Ok(Place::Here)
    }

    /// Fills entries `from..to` with blanks.
    fn fill(&self, space: &QueueSpace, files: &mut Files, from: i64, to: i64) -> Result<(), Error> {
        let blank = QueueEntry { physical_offset: PhysicalOffset(0), size: BLANK_SIZE, tags_code: 0 };
        let piece = encode_unit(blank).repeat(4_096);
        let mut at = from;
        while at < to {
            let byte = at * UNIT_BYTES as i64;
            let in_file =
                (space.file_bytes as i64 - byte.rem_euclid(space.file_bytes as i64)) / UNIT_BYTES as i64;
            let count = in_file.min(to - at).min(4_096);
            let file = self.file_for_writing(space, files, byte)?;
            file.write_all_at(&piece[..count as usize * UNIT_BYTES], byte as u64 % space.file_bytes)
                .map_err(Error::io("write", &self.path(space, byte)))?;
            at += count;
        }
        files.window = None;
        files.kept = None;
        self.max.store(to, Ordering::Release);
        Ok(())
    }

    #[inline]
    fn write(
        &self,
        space: &QueueSpace,
        files: &mut Files,
        index: i64,
        unit: &[u8; UNIT_BYTES],
    ) -> Result<(), Error> {
        let byte = index * UNIT_BYTES as i64;
        let in_file = byte as u64 % space.file_bytes;
        if let Some(kept) = files.kept.as_ref().filter(|kept| kept.start == byte - in_file as i64) {
            let written = kept.file.write_all_at(unit, in_file);
            return written.map_err(|error| Error::io("write", &self.path(space, byte))(error));
        }
        if files.window.is_none() {
            self.map_end(space, files, byte)?;
        }
        if byte + UNIT_BYTES as i64 > files.space && files.window.is_some() {
            let file = self.open(space, byte)?;
            files.space = self.take_space(space, &file, byte)?;
        }
        let Some(window) = &mut files.window else {
            let file = self.file_for_writing(space, files, byte)?;
            file.write_all_at(unit, in_file).map_err(Error::io("write", &self.path(space, byte)))?;
            files.kept = KeptFile::new(byte - in_file as i64, file, space.file_limit);
            return Ok(());
        };
        debug_assert_eq!(window.file().offset() + window.file().published() as i64, byte);
        let rest = window.rest();
        rest[..UNIT_BYTES].copy_from_slice(unit);
        let full = rest.len() == UNIT_BYTES;
        window.publish(UNIT_BYTES);
        if full {
            files.window = None;
        }
        Ok(())
    }

    /// Maps the window that ends with the entry at `byte`, if there may be one more.
    fn map_end(&self, space: &QueueSpace, files: &mut Files, byte: i64) -> Result<(), Error> {
        let file = self.file_for_writing(space, files, byte)?;
        let space_end = self.take_space(space, &file, byte)?;
        files.window = self.map(space, &file, byte, byte)?;
        files.space = space_end;
        if files.window.is_none() {
            space.windows_wanted.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes space on the volume for the entry at `byte` and some more; returns up to where. One page for the first
    /// entries of a queue, which is no more than they take anyway.
    fn take_space(&self, space: &QueueSpace, file: &File, byte: i64) -> Result<i64, Error> {
        let in_file = byte as u64 % space.file_bytes;
        let from = in_file - in_file % PAGE_BYTES;
        let ahead = if in_file < PAGE_BYTES { 0 } else { SPACE_BYTES - PAGE_BYTES };
        let to = (in_file + UNIT_BYTES as u64).next_multiple_of(PAGE_BYTES) + ahead;
        let take = |to: u64| space.disk.allocate(file, from, to.min(space.file_bytes) - from);
        let taken = match take(to) {
            // The last of the volume goes in small pieces.
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull && ahead > 0 => {
                take(to - ahead).map(|()| to - ahead)
            }
            taken => taken.map(|()| to),
        };
        let to = taken.map_err(Error::io("make room in", &self.path(space, byte)))?;
        Ok(byte - in_file as i64 + to as i64)
    }

    /// Maps the window that holds `byte`, readable below `end`.
    fn map(&self, space: &QueueSpace, file: &File, byte: i64, end: i64) -> Result<Option<Appender>, Error> {
        let in_file = byte as u64 % space.file_bytes;
        let window_at = in_file - in_file % WINDOW_BYTES;
        let len = WINDOW_BYTES.min(space.file_bytes - window_at);
        let offset = byte - (in_file - window_at) as i64;
        let published = (end - offset).min(len as i64) as usize;
        MappedFile::map_window(file, window_at, len as usize, offset, published, space.window_limit)
            .map_err(Error::io("map", &self.path(space, byte)))
    }

    fn file_for_writing(&self, space: &QueueSpace, files: &mut Files, byte: i64) -> Result<File, Error> {
        if files.first.is_some() && byte < files.end {
            return self.open(space, byte);
        }
        let path = self.path(space, byte);
        let file = space.disk.create(&path, space.file_bytes).map_err(Error::io("make", &path))?;
        let start = byte - byte.rem_euclid(space.file_bytes as i64);
        files.first.get_or_insert(start);
        files.end = start + space.file_bytes as i64;
        Ok(file)
    }

    /// Returns entries from `from` on, as many as lie together, at most `count`; none when the queue has none there.
    /// `sequential` says that the caller will go on behind them, so that a window is worth it.
    pub(crate) fn units(
        &self,
        space: &QueueSpace,
        from: i64,
        count: usize,
        sequential: bool,
    ) -> Result<Option<Units>, Error> {
        let max = self.max();
        let count = max.saturating_sub(from).min(i64::try_from(count).unwrap_or(i64::MAX));
        if from < 0 || count <= 0 {
            return Ok(None);
        }
        let byte = from * UNIT_BYTES as i64;
        let mut files = self.files();
        if files.first.is_none_or(|first| byte < first) {
            return Ok(None);
        }
        let bytes = count as usize * UNIT_BYTES;
        let within = |file: &Arc<MappedFile>| {
            let at = usize::try_from(byte - file.offset()).ok()?;
            let end = file.published().min(at + bytes);
            (at < end).then(|| Units::Mapped(Arc::clone(file), at..end))
        };
        let mapped = files.window.as_ref().and_then(|window| within(window.file()));
        if let Some(units) = mapped.or_else(|| files.reading.as_ref().and_then(within)) {
            return Ok(Some(units));
        }
        let in_file = byte as u64 % space.file_bytes;
        let copy = |file: &File| {
            let mut copied = vec![0; bytes.min((space.file_bytes - in_file) as usize)];
            file.read_exact_at(&mut copied, in_file).map_err(Error::io("read", &self.path(space, byte)))?;
            Ok(Some(Units::Copied(copied)))
        };
        if !sequential
            && let Some(kept) = files.kept.as_ref().filter(|kept| kept.start == byte - in_file as i64)
        {
            return copy(&kept.file);
        }
        let Ok(file) = self.open(space, byte) else {
            // It may be that the volume can only be read; a window would be for writing.
            drop(files);
            return copy(&self.open_to_read(space, byte)?);
        };
        if sequential {
            files.reading = self
                .map(space, &file, byte, max * UNIT_BYTES as i64)?
                .map(|window| Arc::clone(window.file()));
            if let Some(units) = files.reading.as_ref().and_then(within) {
                return Ok(Some(units));
            }
        }
        drop(files);
        copy(&file)
    }

    /// Returns the entry at `index`, if the queue has it.
    pub(crate) fn unit(&self, space: &QueueSpace, index: i64) -> Result<Option<QueueEntry>, Error> {
        if index < 0 {
            return Ok(None);
        }
        Ok(self.units(space, index, 1, false)?.and_then(|units| units.iter().next()))
    }

    /// Returns the first index in `low..high` whose entry is `true` for `is_right`; `high` when none is. The entries
    /// must be ordered so.
    pub(crate) fn partition(
        &self,
        space: &QueueSpace,
        (mut low, mut high): (i64, i64),
        is_right: impl Fn(&QueueEntry) -> bool,
    ) -> Result<i64, Error> {
        while low < high {
            let middle = low + (high - low) / 2;
            if self.unit(space, middle)?.is_some_and(|entry| is_right(&entry)) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }

    /// Returns once the entries that are there now are on the disk, if at least `least_pages` pages of them wait.
    pub(crate) fn flush(&self, space: &QueueSpace, least_pages: u32) -> Result<bool, Error> {
        let max = self.max();
        let flushed = self.flushed.load(Ordering::Relaxed);
        let page = |index: i64| index * UNIT_BYTES as i64 / 4_096;
        if max <= flushed || self.is_dead() || page(max) - page(flushed) < i64::from(least_pages) {
            return Ok(max <= flushed || self.is_dead());
        }
        let mut byte = flushed * UNIT_BYTES as i64;
        while byte < max * UNIT_BYTES as i64 {
            let path = self.path(space, byte);
            match space.disk.open(&path) {
                Ok(file) => space.disk.sync(&file).map_err(Error::io("flush", &path))?,
                // Deleted meanwhile, with its topic or because it is old.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("open", &path)(error)),
            }
            byte += space.file_bytes as i64 - byte.rem_euclid(space.file_bytes as i64);
        }
        self.flushed.fetch_max(max, Ordering::Relaxed);
        Ok(true)
    }

    /// Takes note that everything before `end` was flushed by other means, and its files' names.
    pub(crate) fn set_flushed(&self, (end, files_end): (i64, i64)) {
        self.flushed.fetch_max(end, Ordering::Relaxed);
        self.set_named(files_end);
    }

    /// Returns how far the queue goes: one past its last entry, and one past its last file.
    pub(crate) fn ends(&self) -> (i64, i64) {
        (self.max(), self.files().end)
    }

    /// Returns the bytes at which the queue's first file begins and its last one ends, if it has files.
    pub(crate) fn files_range(&self) -> Option<(i64, i64)> {
        let files = self.files();
        files.first.map(|first| (first, files.end))
    }

    /// Returns the queue's directory and one past its last file, if the disk may not have the names of all its files.
    pub(crate) fn unnamed(&self, space: &QueueSpace) -> Option<(PathBuf, i64)> {
        let files = self.files();
        (files.end > files.named).then(|| (self.dir(space), files.end))
    }

    /// Takes note that the disk has the names of all files before `files_end`.
    pub(crate) fn set_named(&self, files_end: i64) {
        let mut files = self.files();
        files.named = files.named.max(files_end.min(files.end));
    }

    /// Gives back the windows of a queue that nobody used since the last call.
    pub(crate) fn unmap_if_idle(&self) {
        if !self.touched.swap(false, Ordering::Relaxed) {
            let mut files = self.files();
            (files.window, files.reading, files.kept) = (None, None, None);
        }
    }

    /// Deletes the queue's files and marks the handle as dead. The caller holds the dispatcher's lock and, when
    /// puts are running, the put lock.
    pub(crate) fn destroy(&self, space: &QueueSpace) -> Result<(), Error> {
        self.dead.store(true, Ordering::Release);
        self.remove_files(space, &mut self.files())
    }

    fn remove_files(&self, space: &QueueSpace, files: &mut Files) -> Result<(), Error> {
        let dir = self.dir(space);
        *files = Files::default();
        self.max.store(0, Ordering::Release);
        self.min.store(0, Ordering::Release);
        self.flushed.store(0, Ordering::Relaxed);
        space.disk.remove_dir(&dir).map_err(Error::io("delete", &dir))
    }
}

enum Place {
    Here,
    Nowhere(Appended),
}
