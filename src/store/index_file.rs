//! The index: finds messages by topic and key; mirrors `IndexFile`, `IndexHeader` and `IndexService`.
//!
//! | bytes | part of a file |
//! |---|---|
//! | 40 | header: begin and end timestamp, begin and end physical offset (8 each), slots used, entry count (4 each) |
//! | 4 · slots | number of the newest entry of each chain, 0 for none |
//! | 20 · entries | key hash 4, physical offset 8, seconds since the begin timestamp 4, number of the next older entry 4 |
//!
//! The entry count begins at 1: entry 0 is never used. A key is hashed as `topic#key`. Equal hashes share a
//! chain; who reads a record checks its key.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use memmap2::MmapMut;

use super::disk::FileSystem;
use super::mapped_file::map_owned;
use super::{Error, PhysicalOffset};
use crate::wire::message::{java_string_hash, java_string_hash_from};

pub(crate) const HEADER_BYTES: usize = 40;
pub(crate) const ENTRY_BYTES: usize = 20;
const PAGE_BYTES: usize = 4_096;
/// Bytes of the volume taken at a time, behind the first page of entries.
const SPACE_BYTES: usize = 16_384;
/// Digits of a file's name: local time to the millisecond.
pub(crate) const NAME_DIGITS: usize = 17;

/// Returns the length of an index file.
pub(crate) const fn file_bytes(slots: u32, entries: u32) -> u64 {
    HEADER_BYTES as u64 + 4 * slots as u64 + ENTRY_BYTES as u64 * entries as u64
}

/// The hash under which a topic's keys are found, to be continued by each key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TopicHash(i32);

impl TopicHash {
    /// Begins the hash of `topic#`.
    pub(crate) fn new(topic: &str) -> Self {
        Self(java_string_hash_from(java_string_hash(topic), "#"))
    }

    /// Returns the hash of `topic#key`, never negative.
    pub(crate) fn key(self, key: &str) -> i32 {
        // i32::MIN has no absolute value; the reference uses 0.
        java_string_hash_from(self.0, key).checked_abs().unwrap_or(0)
    }
}

/// All index files of a store.
#[derive(Debug)]
pub(crate) struct Index {
    dir: PathBuf,
    slots: u32,
    entries: u32,
    disk: Arc<dyn FileSystem>,
    files: RwLock<Vec<Arc<IndexFile>>>,
}

#[derive(Debug)]
struct IndexFile {
    name: u64,
    path: PathBuf,
    slots: u32,
    entries: u32,
    map: RwLock<MmapMut>,
    /// Whether its name is on the disk.
    named: AtomicBool,
    file: File,
    room: Room,
}

/// For what the volume has space already: a write elsewhere could find it full, which kills the process. What a former
/// process took is taken once more, which changes nothing.
#[derive(Debug)]
struct Room {
    /// A bit for each group of pages of slots.
    slots: Vec<AtomicU64>,
    /// Up to which byte of the file entries have space.
    entries_to: AtomicUsize,
}

/// The header's fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) begin_timestamp: i64,
    pub(crate) end_timestamp: i64,
    pub(crate) begin_physical: i64,
    pub(crate) end_physical: i64,
    pub(crate) slots_used: i32,
    /// Number of the next entry; at least 1.
    pub(crate) count: i32,
}

impl Index {
    /// Opens every index file of `dir`, oldest first. A file whose header cannot be is deleted: the index can be
    /// built again, the messages cannot.
    pub(crate) fn load(
        dir: PathBuf,
        slots: u32,
        entries: u32,
        disk: Arc<dyn FileSystem>,
    ) -> Result<Self, Error> {
        let index = Self { dir, slots, entries, disk, files: RwLock::default() };
        let mut names = Vec::new();
        match std::fs::read_dir(&index.dir) {
            Ok(listed) => {
                for entry in listed {
                    let entry = entry.map_err(Error::io("list", &index.dir))?;
                    let name = entry.file_name();
                    let digits = name.to_str().filter(|name| name.len() == NAME_DIGITS);
                    if let Some(name) = digits.and_then(|name| name.parse::<u64>().ok()) {
                        names.push((
                            name,
                            entry.metadata().map_err(Error::io("look at", &entry.path()))?.len(),
                        ));
                    }
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("list", &index.dir)(error)),
        }
        names.sort_unstable();
        for (name, bytes) in names {
            let expected = file_bytes(slots, entries);
            if bytes != expected && bytes != 0 {
                let path = index.path(name);
                let key = "maxHashSlotNum and maxIndexNum";
                return Err(Error::WrongSize { path, actual: bytes, expected, key });
            }
            let file = index.open(name)?;
            let header = file.header();
            if header.count > entries as i32
                || header.slots_used < 0
                || header.end_physical < header.begin_physical
            {
                tracing::warn!(path = %file.path.display(), "index file is damaged, deleted");
                index.disk.remove(&file.path).map_err(Error::io("delete", &file.path))?;
            } else {
                index.files_mut().push(Arc::new(file));
            }
        }
        Ok(index)
    }

    fn path(&self, name: u64) -> PathBuf {
        self.dir.join(format!("{name:017}"))
    }

    fn open(&self, name: u64) -> Result<IndexFile, Error> {
        let path = self.path(name);
        let bytes = file_bytes(self.slots, self.entries);
        let file = self.disk.create(&path, bytes).map_err(Error::io("make", &path))?;
        let map = map_owned(&file, bytes as usize).map_err(Error::io("map", &path))?;
        let groups = (HEADER_BYTES + 4 * self.slots as usize) / SPACE_BYTES + 1;
        Ok(IndexFile {
            name,
            path,
            slots: self.slots,
            entries: self.entries,
            map: RwLock::new(map),
            named: AtomicBool::new(false),
            file,
            room: Room {
                slots: (0..groups.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
                entries_to: AtomicUsize::new(0),
            },
        })
    }

    fn files(&self) -> RwLockReadGuard<'_, Vec<Arc<IndexFile>>> {
        self.files.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn files_mut(&self) -> RwLockWriteGuard<'_, Vec<Arc<IndexFile>>> {
        self.files.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a record under each of `hashes`, unless it is there already. Returns the end timestamp of a file that
    /// this filled. `now_ms` names a new file.
    pub(crate) fn put(
        &self,
        hashes: &[i32],
        physical: i64,
        store_timestamp: i64,
        now_ms: i64,
    ) -> Result<Option<i64>, Error> {
        let mut filled = None;
        let mut at = 0;
        while at < hashes.len() {
            if let Some((last, older)) = self.files().split_last() {
                at += last.put(&*self.disk, older, &hashes[at..], physical, store_timestamp)?;
            }
            if at < hashes.len() {
                filled = self.flush_last()?.or(filled);
                self.add(now_ms)?;
            }
        }
        Ok(filled)
    }

    fn add(&self, now_ms: i64) -> Result<(), Error> {
        let newest = self.files().last().map_or(0, |file| file.name);
        let file = Arc::new(self.open(local_name(now_ms).max(newest + 1))?);
        self.files_mut().push(file);
        Ok(())
    }

    /// Returns the physical offsets entered under `hash`, newest first, at most `max`, of messages stored in
    /// `begin_ms..=end_ms` give or take a second.
    pub(crate) fn query(&self, hash: i32, max: usize, begin_ms: i64, end_ms: i64) -> Vec<i64> {
        let mut found = Vec::new();
        for file in self.files().iter().rev() {
            let header = file.header();
            if header.begin_timestamp <= end_ms && header.end_timestamp >= begin_ms {
                file.query(hash, max, begin_ms, end_ms, &mut found);
            }
            if found.len() >= max || header.begin_timestamp < begin_ms {
                break;
            }
        }
        found
    }

    /// Returns timestamp and physical offset of the last entered message.
    pub(crate) fn last_update(&self) -> (i64, PhysicalOffset) {
        self.files().last().map_or((0, PhysicalOffset(0)), |file| {
            let header = file.header();
            (header.end_timestamp, PhysicalOffset(header.end_physical))
        })
    }

    /// Deletes files that only know messages before `log_min`; the last file stays. Returns how many.
    pub(crate) fn delete_before(&self, log_min: i64) -> Result<usize, Error> {
        let mut deleted = 0;
        loop {
            let mut files = self.files_mut();
            if files.len() < 2 || files[0].header().end_physical >= log_min {
                return Ok(deleted);
            }
            let file = files.remove(0);
            self.disk.remove(&file.path).map_err(Error::io("delete", &file.path))?;
            deleted += 1;
        }
    }

    /// Deletes every file.
    pub(crate) fn delete_all(&self) -> Result<(), Error> {
        for file in self.files_mut().drain(..) {
            self.disk.remove(&file.path).map_err(Error::io("delete", &file.path))?;
        }
        Ok(())
    }

    /// Puts right what a power cut left. Entries of messages before `safe` are on the disk, everything else may be torn:
    /// so the chains are built again from those entries, and the others go, to be entered again by dispatch.
    /// `stored` returns when the message at a physical offset that has a key of this hash was stored, `None` when
    /// there is no such message.
    pub(crate) fn after_cut(
        &self,
        safe: i64,
        stored: &mut dyn FnMut(i64, i32) -> Option<i64>,
    ) -> Result<(), Error> {
        let mut files = self.files_mut();
        let mut kept = Vec::with_capacity(files.len());
        for (number, file) in files.iter().enumerate() {
            let header = file.header();
            // It was flushed before the next one was made.
            let is_done = number + 1 < files.len() && header.count > 1 && header.end_physical < safe;
            if is_done || file.cut(&*self.disk, safe, stored)? {
                kept.push(Arc::clone(file));
            } else {
                self.disk.remove(&file.path).map_err(Error::io("delete", &file.path))?;
            }
        }
        *files = kept;
        Ok(())
    }

    /// Returns once the newest file is on the disk.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        self.flush_last().map(drop)
    }

    /// Flushes the newest file, if there is one, and returns its end timestamp.
    fn flush_last(&self) -> Result<Option<i64>, Error> {
        let Some(last) = self.files().last().cloned() else { return Ok(None) };
        last.flush(&*self.disk)?;
        Ok(Some(last.header().end_timestamp))
    }
}

impl IndexFile {
    fn map(&self) -> RwLockReadGuard<'_, MmapMut> {
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn header(&self) -> Header {
        Header::read(&self.map())
    }

    fn flush(&self, disk: &dyn FileSystem) -> Result<(), Error> {
        let bytes = file_bytes(self.slots, self.entries);
        disk.sync_mapped(&self.path, 0..bytes, &|| self.map().flush())
            .map_err(Error::io("flush", &self.path))?;
        if !self.named.load(Ordering::Acquire) {
            for dir in self.path.ancestors().skip(1).take(2) {
                disk.sync_dir(dir).map_err(Error::io("flush", dir))?;
            }
            self.named.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn slot_at(&self, hash: i32) -> usize {
        HEADER_BYTES + 4 * (hash as u32 % self.slots) as usize
    }

    fn entry_at(&self, number: i32) -> usize {
        HEADER_BYTES + 4 * self.slots as usize + ENTRY_BYTES * number as usize
    }

    /// Takes space on the volume for the slot of `hash` and for entry `number`.
    #[inline]
    fn make_room(&self, disk: &dyn FileSystem, hash: i32, number: i32) -> Result<(), Error> {
        let group = self.slot_at(hash) / SPACE_BYTES;
        let (word, bit) = (&self.room.slots[group / 64], 1 << (group % 64));
        if word.load(Ordering::Relaxed) & bit == 0 {
            self.allocate(disk, group * SPACE_BYTES, (group + 1) * SPACE_BYTES)?;
            // The header is in the first page; a slot, four bytes at a multiple of four, is in one group.
            self.allocate(disk, 0, PAGE_BYTES)?;
            word.fetch_or(bit, Ordering::Relaxed);
        }
        let (at, end) = (self.entry_at(number), self.entry_at(number) + ENTRY_BYTES);
        if end > self.room.entries_to.load(Ordering::Relaxed) {
            let from = at - at % PAGE_BYTES;
            let step = if number <= 1 { PAGE_BYTES } else { SPACE_BYTES };
            let to = end.next_multiple_of(PAGE_BYTES).max(from + step);
            self.allocate(disk, from, to)?;
            self.room.entries_to.store(to, Ordering::Relaxed);
        }
        Ok(())
    }

    fn allocate(&self, disk: &dyn FileSystem, from: usize, to: usize) -> Result<(), Error> {
        let to = to.min(file_bytes(self.slots, self.entries) as usize);
        let allocated = disk.allocate(&self.file, from as u64, (to - from) as u64);
        allocated.map_err(|error| Error::io("make room in", &self.path)(error))
    }

    /// Enters as many of `hashes` as there is room for, unless they stand here or in one of the `older` files, and returns
    /// how many were dealt with. Refused when the volume is full; what was entered until then stays.
    fn put(
        &self,
        disk: &dyn FileSystem,
        older: &[Arc<IndexFile>],
        hashes: &[i32],
        physical: i64,
        store_timestamp: i64,
    ) -> Result<usize, Error> {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let mut header = Header::read(&map);
        // Dispatched again after a kill: it may have been entered before this file was begun.
        let was_older = |hash| {
            let older = older.iter().rev().map(|file| (file, file.header()));
            older
                .take_while(|(_, header)| header.end_physical >= physical)
                .any(|(file, header)| file.contains(&file.map(), &header, hash, physical))
        };
        let is_late = header.count > 1 && physical <= header.end_physical;
        let mut done = 0;
        for &hash in hashes {
            if header.count >= self.entries as i32 {
                break;
            }
            done += 1;
            let again = header.count > 1 && physical <= header.end_physical;
            if again && self.contains(&map, &header, hash, physical) || is_late && was_older(hash) {
                continue;
            }
            if let Err(error) = self.make_room(disk, hash, header.count) {
                if done > 1 {
                    header.write(&mut map);
                }
                return Err(error);
            }
            let slot_at = self.slot_at(hash);
            let newest = self.checked(&header, read_i32(&map, slot_at));
            if header.count <= 1 {
                header.begin_timestamp = store_timestamp;
                header.begin_physical = physical;
            }
            let mut seconds = (store_timestamp - header.begin_timestamp) / 1_000;
            if header.begin_timestamp <= 0 {
                seconds = 0;
            }
            let at = self.entry_at(header.count);
            let entry = &mut map[at..at + ENTRY_BYTES];
            entry[..4].copy_from_slice(&hash.to_be_bytes());
            entry[4..12].copy_from_slice(&physical.to_be_bytes());
            entry[12..16].copy_from_slice(&(seconds.clamp(0, i64::from(i32::MAX)) as i32).to_be_bytes());
            entry[16..].copy_from_slice(&newest.to_be_bytes());
            map[slot_at..slot_at + 4].copy_from_slice(&header.count.to_be_bytes());
            header.slots_used += i32::from(newest == 0);
            header.count += 1;
            header.end_timestamp = header.end_timestamp.max(store_timestamp);
            header.end_physical = header.end_physical.max(physical);
        }
        // Nothing is written to a file that is full: its header may have no space yet.
        if done > 0 {
            header.write(&mut map);
        }
        Ok(done)
    }

    /// Returns an entry's number if there is such an entry, else 0.
    fn checked(&self, header: &Header, number: i32) -> i32 {
        let count = header.count.min(self.entries as i32);
        if (1..=count).contains(&number) { number } else { 0 }
    }

    /// Walks the chain of `hash` from its newest entry; `visit` gets physical offset, seconds and whether the hash
    /// is the same, and says whether to go on.
    fn walk(&self, map: &[u8], header: &Header, hash: i32, mut visit: impl FnMut(i64, i32, bool) -> bool) {
        let mut number = self.checked(header, read_i32(map, self.slot_at(hash)));
        while number > 0 && number < self.entries as i32 {
            let at = self.entry_at(number);
            if !visit(read_i64(map, at + 4), read_i32(map, at + 12), read_i32(map, at) == hash) {
                return;
            }
            let older = read_i32(map, at + 16);
            // Chains lead to smaller numbers; anything else is damage and would go round for ever.
            number = if older < number { older } else { 0 };
        }
    }

    /// Keeps the entries of messages before `safe`; says whether there are any. See [`Index::after_cut`].
    fn cut(
        &self,
        disk: &dyn FileSystem,
        safe: i64,
        stored: &mut dyn FnMut(i64, i32) -> Option<i64>,
    ) -> Result<bool, Error> {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let mut header = Header::read(&map);
        let (mut count, mut previous) = (1, 0);
        while count < self.entries as i32 {
            let at = self.entry_at(count);
            let physical = read_i64(&map, at + 4);
            let is_unused = map[at..at + ENTRY_BYTES].iter().all(|&byte| byte == 0);
            if is_unused || physical < previous || physical >= safe {
                break;
            }
            previous = physical;
            count += 1;
        }
        if count > 1 {
            // One that a cut tore can look like an earlier one; what follows it does not.
            let last = self.entry_at(count - 1);
            let (hash, physical) = (read_i32(&map, last), read_i64(&map, last + 4));
            match stored(physical, hash) {
                Some(stored) => header.end_timestamp = stored,
                None => count -= 1,
            }
        }
        let slots_end = self.entry_at(0);
        map[HEADER_BYTES..slots_end].fill(0);
        header.slots_used = 0;
        for number in 1..count {
            let slot_at = self.slot_at(read_i32(&map, self.entry_at(number)));
            header.slots_used += i32::from(read_i32(&map, slot_at) == 0);
            map[slot_at..slot_at + 4].copy_from_slice(&number.to_be_bytes());
        }
        header.count = count;
        header.end_physical = if count > 1 { read_i64(&map, self.entry_at(count - 1) + 4) } else { 0 };
        header.write(&mut map);
        let (from, end) = (self.entry_at(count) as u64, file_bytes(self.slots, self.entries));
        let file = disk.open(&self.path).map_err(Error::io("open", &self.path))?;
        disk.clear(&file, from, end - from).map_err(Error::io("clear the end of", &self.path))?;
        Ok(count > 1)
    }

    fn contains(&self, map: &[u8], header: &Header, hash: i32, physical: i64) -> bool {
        let mut found = false;
        self.walk(map, header, hash, |at, _, same| {
            found = same && at == physical;
            !found
        });
        found
    }

    fn query(&self, hash: i32, max: usize, begin_ms: i64, end_ms: i64, found: &mut Vec<i64>) {
        let map = self.map();
        let header = Header::read(&map);
        self.walk(&map, &header, hash, |physical, seconds, same| {
            // Seconds are rounded down, so an entry looks up to a second older than its message.
            let stored = header.begin_timestamp + i64::from(seconds) * 1_000;
            // After a kill the same entry may stand in two files.
            if same
                && stored >= begin_ms.saturating_sub(999)
                && stored <= end_ms
                && !found.contains(&physical)
            {
                found.push(physical);
            }
            found.len() < max && stored >= begin_ms.saturating_sub(999)
        });
    }
}

impl Header {
    pub(crate) fn read(map: &[u8]) -> Self {
        Self {
            begin_timestamp: read_i64(map, 0),
            end_timestamp: read_i64(map, 8),
            begin_physical: read_i64(map, 16),
            end_physical: read_i64(map, 24),
            slots_used: read_i32(map, 32),
            count: read_i32(map, 36).max(1),
        }
    }

    fn write(&self, map: &mut [u8]) {
        map[..8].copy_from_slice(&self.begin_timestamp.to_be_bytes());
        map[8..16].copy_from_slice(&self.end_timestamp.to_be_bytes());
        map[16..24].copy_from_slice(&self.begin_physical.to_be_bytes());
        map[24..32].copy_from_slice(&self.end_physical.to_be_bytes());
        map[32..36].copy_from_slice(&self.slots_used.to_be_bytes());
        map[36..40].copy_from_slice(&self.count.to_be_bytes());
    }
}

fn read_i32(map: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(map[at..at + 4].try_into().expect("four bytes"))
}

fn read_i64(map: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(map[at..at + 8].try_into().expect("eight bytes"))
}

/// Returns local time as `yyyyMMddHHmmssSSS` in one number.
fn local_name(now_ms: i64) -> u64 {
    let Ok(stamp) = jiff::Timestamp::from_millisecond(now_ms) else { return 0 };
    let local = stamp.to_zoned(jiff::tz::TimeZone::system());
    let parts = [
        (10_000, i64::from(local.year())),
        (100, i64::from(local.month())),
        (100, i64::from(local.day())),
        (100, i64::from(local.hour())),
        (100, i64::from(local.minute())),
        (100, i64::from(local.second())),
        (1_000, i64::from(local.millisecond())),
    ];
    parts.into_iter().fold(0, |name, (scale, part)| name * scale + part as u64)
}
