//! The files in which a broker notes its timers: `config/timercheck`, `timerwheel` and `timerlog/`.
//!
//! Flows in: the progress of the broker's timers, and at a clean stop every timer that still waits. Flows out: the
//! files that an Apache broker goes on from, and the progress after a start. Messages themselves are in the commit
//! log; [`crate::broker`] orders them by time. Mirrors `TimerCheckpoint`, `TimerWheel`, `Slot` and `TimerLog`.
//!
//! Unlike there, wheel and log are not kept while the broker runs: they are written whole at a stop and removed
//! after the next start. Until then the checkpoint names the first message that is not delivered, so that either
//! broker finds every timer in the topic again. All numbers are big-endian.
//!
//! `timercheck`, 4096 bytes, of which Apache uses the first 56:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `lastReadTimeMs`: slots before this time are delivered |
//! | 8 | 8 | `lastTimerLogFlushPos` |
//! | 16 | 8 | `lastTimerQueueOffset`: the next message to read |
//! | 24 | 8 | `masterTimerQueueOffset` |
//! | 32 | 24 | data version: state version, timestamp, counter |
//! | 64 | 8 | mark of the next part |
//! | 72 | 56 | copy of the first 56 bytes; different when another broker has written since |
//! | 128 | 32 | [`Progress`] |
//!
//! A slot of the wheel (32 bytes): time / precision, first and last position in the log (8 each), number of timers,
//! 0 (4 each). A unit of the log (52 bytes): 52 (4), position of the slot's previous unit or -1 (8), kind (4),
//! time of writing (8), milliseconds from then to the timer's time (4), physical offset (8) and size (4) of the
//! message, hash of its real topic (4), 0 (8).

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::Error;
use super::disk::{FileSystem, replace};
use crate::wire::body::data_version::DataVersion;
use crate::wire::message::MAGIC_BLANK;

/// Bytes of the checkpoint that are sent to slaves.
pub const CHECKPOINT_BYTES: usize = 56;
const CHECKPOINT_FILE_BYTES: usize = 4_096;
const MARK: &[u8; 8] = b"rmq-lite";
/// Slots of the wheel: two rounds of seven days at a second each.
const SLOTS: i64 = 2 * 7 * 86_400;
const SLOT_BYTES: i64 = 32;
const UNIT_BYTES: i64 = 52;
/// What must remain in a log file behind a unit.
const BLANK_BYTES: i64 = 16;
const MAGIC_DEFAULT: i32 = 1;
const MAGIC_DELETE: i32 = 4;

/// What Apache knows of a broker's timers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimerCheckpoint {
    /// Slots before this time are delivered, milliseconds.
    pub last_read_time_ms: i64,
    /// Up to where the timer log is on the disk.
    pub last_timer_log_flush_pos: i64,
    /// The next message of the timer topic to read.
    pub last_timer_queue_offset: i64,
    /// The same on the master.
    pub master_timer_queue_offset: i64,
    /// Counts changes.
    pub data_version: DataVersion,
}

/// What we know beyond that: every message before `next_unread` is read, and those of them that come before
/// `delivered`, ordered by time and offset, are delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimerProgress {
    /// The next message of the timer topic to read.
    pub next_unread: i64,
    /// The first message that may wait.
    pub first_waiting: i64,
    /// Time, in milliseconds, and queue offset before which all is delivered.
    pub delivered: (i64, i64),
}

/// A timer that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingTimer {
    /// `TIMER_OUT_MS`, milliseconds.
    pub out_ms: i64,
    /// Where its message is.
    pub physical_offset: i64,
    /// Bytes of its message.
    pub size: i32,
    /// Java's hash of the topic it is meant for.
    pub topic_hash: i32,
    /// Whether it only cancels another one.
    pub delete: bool,
}

/// Form of the wheel and its log.
#[derive(Clone, Debug)]
pub struct TimerFiles {
    /// `storePathRootDir`.
    pub root: PathBuf,
    /// `timerPrecisionMs`: milliseconds of a slot.
    pub precision_ms: i64,
    /// `mappedFileSizeTimerLog`.
    pub log_file_bytes: i64,
}

impl TimerCheckpoint {
    /// Returns the bytes that slaves get and the file begins with.
    pub fn encode(&self) -> [u8; CHECKPOINT_BYTES] {
        let version = self.data_version;
        let numbers = [
            self.last_read_time_ms,
            self.last_timer_log_flush_pos,
            self.last_timer_queue_offset,
            self.master_timer_queue_offset,
            version.state_version,
            version.timestamp,
            version.counter,
        ];
        let mut bytes = [0; CHECKPOINT_BYTES];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut numbers = bytes.get(..CHECKPOINT_BYTES)?.chunks_exact(8).filter_map(number);
        Some(Self {
            last_read_time_ms: numbers.next()?,
            last_timer_log_flush_pos: numbers.next()?,
            last_timer_queue_offset: numbers.next()?,
            master_timer_queue_offset: numbers.next()?,
            data_version: DataVersion {
                state_version: numbers.next()?,
                timestamp: numbers.next()?,
                counter: numbers.next()?,
            },
        })
    }

    /// Reads a checkpoint file, and our own progress unless another broker has written since; `None` when there is
    /// no file, or one too short.
    pub fn load(path: &Path) -> io::Result<Option<(Self, Option<TimerProgress>)>> {
        let bytes = match fs::read(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        let Some(checkpoint) = Self::decode(&bytes) else { return Ok(None) };
        let ours = bytes.get(64..72) == Some(MARK.as_slice()) && bytes.get(72..128) == bytes.get(..56);
        let progress = || {
            let mut numbers = bytes.get(128..160)?.chunks_exact(8).filter_map(number);
            Some(TimerProgress {
                next_unread: numbers.next()?,
                first_waiting: numbers.next()?,
                delivered: (numbers.next()?, numbers.next()?),
            })
        };
        Ok(Some((checkpoint, ours.then(progress).flatten())))
    }

    /// Replaces a checkpoint file; returns once it is on the disk. Blocks.
    pub fn save(&self, disk: &dyn FileSystem, path: &Path, progress: &TimerProgress) -> Result<(), Error> {
        let mut bytes = vec![0; CHECKPOINT_FILE_BYTES];
        let public = self.encode();
        bytes[..56].copy_from_slice(&public);
        bytes[64..72].copy_from_slice(MARK);
        bytes[72..128].copy_from_slice(&public);
        let (due_ms, offset) = progress.delivered;
        let numbers = [progress.next_unread, progress.first_waiting, due_ms, offset];
        for (place, number) in bytes[128..160].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        replace(disk, path, &bytes, None)
    }
}

fn number(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(*bytes.first_chunk()?))
}

/// What a slot of the wheel holds while it is filled.
struct Slot {
    time: i64,
    first: i64,
    last: i64,
    count: i32,
}

impl TimerFiles {
    fn wheel(&self) -> PathBuf {
        self.root.join("timerwheel")
    }

    fn log(&self) -> PathBuf {
        self.root.join("timerlog")
    }

    /// Rounds a time down to its slot.
    pub fn slot_ms(&self, time_ms: i64) -> i64 {
        time_ms.div_euclid(self.precision_ms) * self.precision_ms
    }

    /// Writes wheel and log anew, with these timers in the order of their queue offsets; returns the log's end.
    ///
    /// `last_read` is the last message that was read from the topic, if it does not wait any more: the log names it
    /// last, because Apache reads on behind the last message of the log. Its unit is in the slot before
    /// `last_read_time_ms`, where nobody looks. Returns once all is on the disk: then a checkpoint may name it. Until then
    /// none may name what was there before. Blocks.
    pub fn write(
        &self,
        disk: &dyn FileSystem,
        waiting: &[WaitingTimer],
        last_read: Option<WaitingTimer>,
        last_read_time_ms: i64,
        now_ms: i64,
    ) -> io::Result<i64> {
        self.remove(disk)?;
        let mut slots: HashMap<i64, Slot> = HashMap::new();
        let mut log = LogWriter { files: self, disk, file: None, end: 0, units: Vec::new(), units_at: 0 };
        let past =
            WaitingTimer { out_ms: last_read_time_ms - self.precision_ms, ..last_read.unwrap_or(NO_TIMER) };
        for timer in waiting.iter().chain(last_read.is_some().then_some(&past)) {
            let time = timer.out_ms.div_euclid(self.precision_ms);
            let slot =
                slots.entry(time.rem_euclid(SLOTS)).or_insert(Slot { time, first: -1, last: -1, count: 0 });
            let previous = if slot.time == time { slot.last } else { -1 };
            let at = log.append(previous, timer, now_ms)?;
            if slot.time != time || slot.first < 0 {
                *slot = Slot { time, first: at, last: at, count: 0 };
            }
            slot.last = at;
            slot.count += if timer.delete { -1 } else { 1 };
        }
        let end = log.finish()?;
        let wheel = disk.create(&self.wheel(), (SLOTS * SLOT_BYTES) as u64)?;
        for (index, slot) in slots {
            let mut bytes = Vec::with_capacity(SLOT_BYTES as usize);
            bytes.extend_from_slice(&slot.time.to_be_bytes());
            bytes.extend_from_slice(&slot.first.to_be_bytes());
            bytes.extend_from_slice(&slot.last.to_be_bytes());
            bytes.extend_from_slice(&slot.count.to_be_bytes());
            bytes.extend_from_slice(&0_i32.to_be_bytes());
            wheel.write_all_at(&bytes, (index * SLOT_BYTES) as u64)?;
        }
        disk.sync(&wheel)?;
        disk.sync_dir(&self.log())?;
        disk.sync_dir(&self.root)?;
        Ok(end)
    }

    /// Reads the log that [`Self::write`] has left, up to its end: where the messages are that waited. Those of slots
    /// before `last_read_time_ms` are none of them. `None` when there is no such log. Blocks.
    pub fn read(&self, end: i64, last_read_time_ms: i64) -> io::Result<Option<HashSet<i64>>> {
        let mut waiting = HashSet::new();
        let mut at = 0;
        while at < end {
            let bytes = match fs::read(self.log().join(format!("{at:020}"))) {
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
                bytes => bytes?,
            };
            let units = bytes.get(..(end - at).min(self.log_file_bytes) as usize);
            for unit in units.unwrap_or_default().chunks_exact(UNIT_BYTES as usize) {
                let int = |at: usize| unit[at..].first_chunk().map_or(0, |bytes| i32::from_be_bytes(*bytes));
                if i64::from(int(0)) != UNIT_BYTES {
                    break; // the blank end
                }
                let long = |at: usize| number(&unit[at..]).unwrap_or_default();
                if long(16).saturating_add(i64::from(int(24))) >= last_read_time_ms {
                    waiting.insert(long(28));
                }
            }
            at += self.log_file_bytes;
        }
        Ok((end > 0).then_some(waiting))
    }

    /// Removes wheel and log, if they are there. Blocks.
    pub fn remove(&self, disk: &dyn FileSystem) -> io::Result<()> {
        // The log first: a wheel without its log is empty, a log without its wheel is read again.
        disk.remove_dir(&self.log())?;
        disk.remove(&self.wheel())
    }
}

const NO_TIMER: WaitingTimer =
    WaitingTimer { out_ms: 0, physical_offset: 0, size: 0, topic_hash: 0, delete: false };

/// Appends units to the files of the log.
struct LogWriter<'a> {
    files: &'a TimerFiles,
    disk: &'a dyn FileSystem,
    file: Option<File>,
    end: i64,
    /// Units that are not written yet, and where they begin.
    units: Vec<u8>,
    units_at: i64,
}

impl LogWriter<'_> {
    fn append(&mut self, previous: i64, timer: &WaitingTimer, now_ms: i64) -> io::Result<i64> {
        let size = self.files.log_file_bytes;
        if self.file.is_some() && UNIT_BYTES + BLANK_BYTES > size - self.end % size {
            let rest = size - self.end % size;
            self.units.extend_from_slice(&(rest as i32).to_be_bytes());
            self.units.extend_from_slice(&0_i64.to_be_bytes());
            self.units.extend_from_slice(&MAGIC_BLANK.to_be_bytes());
            self.flush()?;
            self.file = None;
            self.end += rest;
        }
        if self.file.is_none() {
            let path = self.files.log().join(format!("{:020}", self.end));
            self.file = Some(self.disk.create(&path, size as u64)?);
            self.units_at = self.end;
        }
        let at = self.end;
        let kind = if timer.delete { MAGIC_DEFAULT | MAGIC_DELETE } else { MAGIC_DEFAULT };
        self.units.extend_from_slice(&(UNIT_BYTES as i32).to_be_bytes());
        self.units.extend_from_slice(&previous.to_be_bytes());
        self.units.extend_from_slice(&kind.to_be_bytes());
        self.units.extend_from_slice(&now_ms.to_be_bytes());
        self.units.extend_from_slice(&(timer.out_ms.saturating_sub(now_ms) as i32).to_be_bytes());
        self.units.extend_from_slice(&timer.physical_offset.to_be_bytes());
        self.units.extend_from_slice(&timer.size.to_be_bytes());
        self.units.extend_from_slice(&timer.topic_hash.to_be_bytes());
        self.units.extend_from_slice(&0_i64.to_be_bytes());
        self.end += UNIT_BYTES;
        if self.units.len() > 1 << 20 {
            self.flush()?;
        }
        Ok(at)
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.write_all_at(&self.units, (self.units_at % self.files.log_file_bytes) as u64)?;
            self.disk.sync(file)?;
        }
        self.units.clear();
        self.units_at = self.end;
        Ok(())
    }

    fn finish(mut self) -> io::Result<i64> {
        self.flush()?;
        Ok(self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Disk;

    fn files(root: &Path, log_file_bytes: i64) -> TimerFiles {
        TimerFiles { root: root.to_owned(), precision_ms: 1_000, log_file_bytes }
    }

    fn timer(out_ms: i64, physical_offset: i64) -> WaitingTimer {
        WaitingTimer { out_ms, physical_offset, size: 100, topic_hash: 7, delete: false }
    }

    /// What is saved is loaded; after another broker's write our own part does not count.
    #[test]
    fn checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config/timercheck");
        assert_eq!(TimerCheckpoint::load(&path).unwrap(), None);
        let version = DataVersion { counter: 7, state_version: 5, timestamp: 6 };
        let checkpoint = TimerCheckpoint {
            last_read_time_ms: 1,
            last_timer_log_flush_pos: 2,
            last_timer_queue_offset: 3,
            master_timer_queue_offset: 4,
            data_version: version,
        };
        let progress = TimerProgress { next_unread: 9, first_waiting: 3, delivered: (11, 12) };
        checkpoint.save(&Disk, &path, &progress).unwrap();
        assert_eq!(TimerCheckpoint::load(&path).unwrap(), Some((checkpoint, Some(progress))));
        let mut bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 4096);
        let numbers: Vec<i64> = bytes[..56].chunks(8).filter_map(number).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7]);
        bytes[7] = 100;
        fs::write(&path, &bytes).unwrap();
        let changed = TimerCheckpoint { last_read_time_ms: 100, ..checkpoint };
        assert_eq!(TimerCheckpoint::load(&path).unwrap(), Some((changed, None)));
        fs::write(&path, [0; 20]).unwrap();
        assert_eq!(TimerCheckpoint::load(&path).unwrap(), None);
    }

    /// Slots link their units backwards through the log, over the ends of its files; the last message read stands
    /// last, in a slot before all others.
    #[test]
    fn wheel_and_log() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path(), 200);
        let second = 1_700_000_000;
        let now_ms = second * 1000;
        let waiting =
            [timer(now_ms + 5_100, 1_000), timer(now_ms + 9_000, 2_000), timer(now_ms + 5_900, 3_000)];
        let end = files.write(&Disk, &waiting, Some(timer(now_ms - 50_000, 4_000)), now_ms, now_ms).unwrap();
        // Three units and a blank end in a file of 200 bytes.
        assert_eq!(end, 252);
        let file = |at: i64| fs::read(folder.path().join(format!("timerlog/{at:020}"))).unwrap();
        let (first, last) = (file(0), file(200));
        assert_eq!((first.len(), last.len()), (200, 200));
        let int = |bytes: &[u8], at: usize| i32::from_be_bytes(*bytes[at..].first_chunk().unwrap());
        let long = |bytes: &[u8], at: usize| i64::from_be_bytes(*bytes[at..].first_chunk().unwrap());
        assert_eq!((int(&first, 0), long(&first, 4), int(&first, 12)), (52, -1, 1));
        assert_eq!((long(&first, 16), int(&first, 24), long(&first, 28)), (now_ms, 5_100, 1_000));
        assert_eq!((int(&first, 36), int(&first, 40), long(&first, 44)), (100, 7, 0));
        assert_eq!((long(&first, 108), long(&first, 132)), (0, 3_000), "linked to the first");
        assert_eq!((int(&first, 156), long(&first, 160), int(&first, 168)), (44, 0, MAGIC_BLANK));
        assert_eq!((int(&last, 24), long(&last, 28)), (-1_000, 4_000));

        let read = files.read(end, now_ms).unwrap().unwrap();
        assert_eq!(read, HashSet::from([1_000, 2_000, 3_000]), "the last one does not wait");
        assert_eq!(files.read(0, now_ms).unwrap(), None);
        let wheel = fs::read(folder.path().join("timerwheel")).unwrap();
        assert_eq!(wheel.len(), 38_707_200);
        let slot = |time: i64| {
            let at = (time % SLOTS * SLOT_BYTES) as usize;
            (long(&wheel, at), long(&wheel, at + 8), long(&wheel, at + 16), int(&wheel, at + 24))
        };
        assert_eq!(slot(second + 5), (second + 5, 0, 104, 2));
        assert_eq!(slot(second + 9), (second + 9, 52, 52, 1));
        files.remove(&Disk).unwrap();
        files.remove(&Disk).unwrap();
        assert!(!folder.path().join("timerwheel").exists() && !folder.path().join("timerlog").exists());
    }
}
