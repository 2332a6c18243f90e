//! The commit log: every message of the broker in one endless sequence; mirrors `CommitLog`.
//!
//! A record lies whole in one file. When it does not fit with eight bytes to spare, the file ends with a
//! BLANK (int32 bytes left, int32 magic) and the record begins the next file. [`Tail`] is the put lock's
//! content: who holds it writes at the end. Everybody else reads below the published length without a lock.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;

use super::Error;
use super::disk::FileSystem;
use super::error::PutError;
use super::mapped_file::Appender;
use super::mapped_queue::MappedQueue;
use super::room::Room;
use crate::wire::message::{
    MAGIC_BLANK, MAGIC_V1, MAGIC_V2, MessageRecord, RecordError, store_timestamp_position,
};

/// Bytes that a BLANK takes and that every record leaves free behind it in its file.
pub(crate) const BLANK_BYTES: usize = 8;

/// The files of the commit log and how far they are written.
#[derive(Debug)]
pub(crate) struct CommitLog {
    files: MappedQueue,
    /// Where the log ends.
    written: AtomicI64,
    /// Store timestamp of the last record; never later than what `written` covers.
    last_timestamp: AtomicI64,
    room: Room,
    tail: Mutex<Tail>,
}

/// The end of the log, for whoever may write.
#[derive(Debug)]
pub(crate) struct Tail {
    appender: Option<Appender>,
    at: i64,
    messages: u64,
    bytes: u64,
}

/// What stands at a place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A record and its bytes.
    Record(MessageRecord<'a>),
    /// The end of a file.
    Blank,
    /// Nothing that the store wrote.
    Nothing,
}

/// Says what stands at the start of `bytes`; checks lengths and, if asked, the body's checksum.
pub(crate) fn inspect(bytes: &[u8], check_crc: bool) -> Found<'_> {
    match MessageRecord::decode(bytes) {
        Ok(record) if !check_crc || record.check_body().is_ok() => Found::Record(record),
        Err(RecordError::Magic(MAGIC_BLANK)) => Found::Blank,
        _ => Found::Nothing,
    }
}

impl CommitLog {
    /// Takes over loaded files; `end` is where the log ends, in the file of `appender`.
    pub(crate) fn new(files: MappedQueue, appender: Option<Appender>, end: i64, last_timestamp: i64) -> Self {
        let room = Room::new(appender.as_ref().map(Appender::file));
        Self {
            files,
            written: AtomicI64::new(end),
            last_timestamp: AtomicI64::new(last_timestamp),
            room,
            tail: Mutex::new(Tail { appender, at: end, messages: 0, bytes: 0 }),
        }
    }

    /// Returns the files.
    pub(crate) fn files(&self) -> &MappedQueue {
        &self.files
    }

    /// Returns where the log begins.
    pub(crate) fn min(&self) -> i64 {
        self.files.files().first().map_or_else(|| self.written(), |first| first.offset())
    }

    /// Returns where the log ends.
    #[inline]
    pub(crate) fn written(&self) -> i64 {
        self.written.load(Ordering::Acquire)
    }

    /// Returns the store timestamp of the last record or of one shortly before it; 0 when there is none.
    pub(crate) fn last_timestamp(&self) -> i64 {
        self.last_timestamp.load(Ordering::Acquire)
    }

    /// Takes the put lock; refused after a put panicked while it held it.
    pub(crate) fn lock(&self) -> Result<std::sync::MutexGuard<'_, Tail>, PutError> {
        self.tail.lock().map_err(|_| PutError::NotWriteable {
            reason: "a put panicked half way; restart the broker, which checks the log".to_owned(),
        })
    }

    /// Says whether [`CommitLog::make_room`] has something to do.
    #[inline]
    pub(crate) fn wants_room(&self) -> bool {
        self.room.is_low(self.written())
    }

    /// Makes room for coming records, so that puts need not.
    pub(crate) fn make_room(&self) -> Result<(), Error> {
        self.room.make_ahead(&self.files, self.written())
    }

    /// Gives back the room that was made ahead. Nothing is put any more.
    pub(crate) fn give_back_room(&self) -> Result<(), Error> {
        self.room.give_back(&self.files, self.written())
    }

    /// Forgets the room that was made ahead, with the file it is in.
    pub(crate) fn forget_room(&self) {
        self.room.forget();
    }

    /// Gives `look` the readable bytes from `at` to the end of its file.
    #[inline]
    pub(crate) fn at<R>(&self, at: i64, look: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let files = self.files.files();
        let file = MappedQueue::find(&files, at)?;
        file.bytes().get((at - file.offset()) as usize..).map(look)
    }

    /// Returns the record of `size` bytes at `at`, uncopied, if its first eight bytes say so.
    pub(crate) fn record(&self, at: i64, size: usize) -> Option<Bytes> {
        let files = self.files.files();
        let file = MappedQueue::find(&files, at)?;
        let start = (at - file.offset()) as usize;
        let bytes = file.bytes().get(start..start.checked_add(size)?)?;
        begins_record(bytes, size).then(|| file.view().slice(start..start + size))
    }

    /// Returns the store timestamp of the record at `at`, if there is one.
    pub(crate) fn store_timestamp(&self, at: i64) -> Option<i64> {
        self.at(at, |bytes| {
            let magic = i32::from_be_bytes(bytes.get(4..8)?.try_into().ok()?);
            let flags = i32::from_be_bytes(bytes.get(36..40)?.try_into().ok()?);
            let from = store_timestamp_position(flags);
            let stamp = i64::from_be_bytes(bytes.get(from..from + 8)?.try_into().ok()?);
            (magic == MAGIC_V1 || magic == MAGIC_V2).then_some(stamp)
        })
        .flatten()
    }

    /// Returns where the file after the one that holds `at` begins.
    pub(crate) fn next_file(&self, at: i64) -> i64 {
        let file_bytes = self.files.file_bytes() as i64;
        at - at.rem_euclid(file_bytes) + file_bytes
    }

    /// Returns once `from..to` is on the disk, with the names of its files, as far as they are still there.
    pub(crate) fn flush(&self, disk: &dyn FileSystem, from: i64, to: i64) -> Result<(), Error> {
        for file in self.files.files().iter() {
            let start = from.max(file.offset());
            let end = to.min(file.offset() + file.len() as i64);
            if start < end {
                let (start, end) = ((start - file.offset()) as usize, (end - file.offset()) as usize);
                let path = self.files.path(file.offset());
                disk.sync_mapped(&path, start as u64..end as u64, &|| file.flush(start, end))
                    .map_err(Error::io("flush", &path))?;
            }
        }
        self.files.sync_names(to)
    }
}

/// Bytes that are written over themselves at a time.
const REWRITE_BYTES: usize = 1 << 20;

impl CommitLog {
    /// Writes `from..to` over itself, so that the next flush brings it to the disk although the system takes it for
    /// written. Nobody writes meanwhile.
    pub(crate) fn rewrite(&self, disk: &dyn FileSystem, from: i64, to: i64) -> Result<(), Error> {
        let (mut at, mut copy) = (from, Vec::with_capacity(REWRITE_BYTES));
        while at < to {
            copy.clear();
            let until = (at + REWRITE_BYTES as i64).min(to).min(self.next_file(at));
            self.at(at, |bytes| copy.extend_from_slice(&bytes[..(until - at) as usize]));
            let begin = at - at.rem_euclid(self.files.file_bytes() as i64);
            let path = self.files.path(begin);
            disk.rewrite(&self.files.open(begin)?, (at - begin) as u64, &copy)
                .map_err(Error::io("write", &path))?;
            at = until;
        }
        Ok(())
    }
}

/// Says whether `bytes` begin with the size and a magic number of a record of `size` bytes.
#[inline]
pub(crate) fn begins_record(bytes: &[u8], size: usize) -> bool {
    let (Some(total), Some(magic)) = (bytes.first_chunk::<4>(), bytes.get(4..8)) else { return false };
    i64::from(i32::from_be_bytes(*total)) == size as i64
        && (magic == MAGIC_V1.to_be_bytes() || magic == MAGIC_V2.to_be_bytes())
}

impl Tail {
    /// Makes sure that `total` bytes can be written in one file, ending the present one when they cannot, and
    /// returns where they will stand and the place to write them to.
    #[inline]
    pub(crate) fn reserve(&mut self, log: &CommitLog, total: usize) -> Result<(i64, &mut [u8]), PutError> {
        let file_bytes = log.files.file_bytes() as usize;
        if total + BLANK_BYTES > file_bytes {
            let limit = file_bytes - BLANK_BYTES;
            return Err(PutError::TooLong { field: "message", bytes: total, limit });
        }
        if self
            .appender
            .as_ref()
            .is_some_and(|appender| appender.file().published() + total + BLANK_BYTES > file_bytes)
        {
            self.end_file(log);
        }
        if self.appender.is_none() {
            let appender = log.files.create(self.at).map_err(PutError::CreateMappedFile)?;
            log.room.begin(appender.file());
            self.appender = Some(appender);
        }
        let Some(appender) = &mut self.appender else { unreachable!("made above") };
        // A BLANK may have to follow, so its eight bytes are wanted too.
        let wanted = self.at + (total + BLANK_BYTES) as i64;
        if !log.room.is_ready(wanted) {
            log.room.make(&log.files, wanted).map_err(|error| PutError::NotWriteable {
                reason: format!("there is no room for more messages: {error}"),
            })?;
        }
        Ok((self.at, &mut appender.rest()[..total]))
    }

    /// Returns messages and bytes committed so far.
    pub(crate) fn sums(&self) -> (u64, u64) {
        (self.messages, self.bytes)
    }

    /// Makes the bytes that were reserved and written, so many messages, part of the log.
    #[inline]
    pub(crate) fn commit(&mut self, log: &CommitLog, total: usize, messages: usize, store_timestamp: i64) {
        self.messages += messages as u64;
        self.bytes += total as u64;
        self.appender.as_mut().expect("reserve made it").publish(total);
        self.at += total as i64;
        log.written.store(self.at, Ordering::Release);
        // After `written`, so that a flush that reads the stamp first covers the record.
        log.last_timestamp.store(store_timestamp, Ordering::Release);
    }

    /// Makes the log begin, and end, at `at`. It has no files.
    pub(crate) fn begin_at(&mut self, log: &CommitLog, at: i64) {
        self.appender = None;
        self.at = at;
        log.written.store(at, Ordering::Release);
    }

    /// Appends bytes of another log of the same layout, which all belong in one file: whole records, or the end of
    /// the file.
    pub(crate) fn append_raw(
        &mut self,
        log: &CommitLog,
        bytes: &[u8],
        messages: usize,
        store_timestamp: i64,
    ) -> Result<(), PutError> {
        if self.appender.is_none() {
            let appender = log.files.create(self.at).map_err(PutError::CreateMappedFile)?;
            log.room.begin(appender.file());
            self.appender = Some(appender);
        }
        let Some(appender) = &mut self.appender else { unreachable!("made above") };
        let wanted = self.at + bytes.len() as i64;
        if !log.room.is_ready(wanted) {
            log.room.make(&log.files, wanted).map_err(|error| PutError::NotWriteable {
                reason: format!("there is no room for more messages: {error}"),
            })?;
        }
        appender.rest()[..bytes.len()].copy_from_slice(bytes);
        let is_full = appender.file().published() + bytes.len() == appender.file().len();
        let timestamp = if messages > 0 { store_timestamp } else { log.last_timestamp() };
        self.commit(log, bytes.len(), messages, timestamp);
        if is_full {
            self.appender = None;
        }
        Ok(())
    }

    fn end_file(&mut self, log: &CommitLog) {
        let Some(mut appender) = self.appender.take() else { return };
        let rest = appender.rest();
        let left = rest.len();
        rest[..4].copy_from_slice(&(left as i32).to_be_bytes());
        rest[4..BLANK_BYTES].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
        appender.publish(left);
        self.at += left as i64;
        log.written.store(self.at, Ordering::Release);
    }
}
