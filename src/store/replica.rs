//! What replication needs of the store: slices of the log to send on, the wait for more, the master's bytes
//! appended as they are, and what slaves have acknowledged; mirrors `appendToCommitLog` and `GroupTransferService`.
//!
//! It knows no sockets: [`crate::ha`] moves the bytes and reports what slaves have. A put under SYNC_MASTER waits here
//! for their word, as it waits in `flush` for the disk. A slave's log only ever ends behind a whole record, so that
//! its queues and its next start need no other rules than a master's.

use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering, fence};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use super::checkpoint::Field;
use super::commit_log::{BLANK_BYTES, Found, inspect};
use super::mapped_queue::MappedQueue;
use super::{Error, MessageStore, NewMessage, PutError, PutStatus, Refusal};
use crate::wire::message::MAGIC_BLANK;

/// Longest record that a slave waits for; a master that sends more of one sends no messages.
const RECORD_BYTES_MAX: i64 = 128 << 20;

/// What slaves have, and who waits for it.
#[derive(Debug)]
pub(crate) struct Replicas {
    /// Slaves that a put waits for; 0 is none.
    wanted: AtomicUsize,
    /// As many slaves as are wanted are connected and near the end of a log that ends before here.
    near: AtomicI64,
    /// Up to where as many slaves as are wanted have the log.
    acked: watch::Sender<i64>,
    /// Whether somebody waits for more of the log.
    waiting: AtomicBool,
    written: Notify,
}

/// Why bytes of a master cannot be appended.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// They do not follow what is there.
    #[error("the master's bytes begin at {at}, and the log here ends at {end}")]
    Gap {
        /// Where the bytes begin.
        at: i64,
        /// Where the log ends.
        end: i64,
    },
    /// They are no message of this place in the log.
    #[error("the master's log has no message at {at}")]
    NoMessage {
        /// Where the message should be.
        at: i64,
    },
    /// The store takes nothing.
    #[error("{0}")]
    Refused(#[from] PutError),
}

/// What a put waits for beside the disk.
#[derive(Debug)]
pub(crate) enum SlaveWait {
    None,
    /// There are too few slaves to wait for.
    Missing,
    Acked {
        acked: watch::Receiver<i64>,
        until: i64,
        timeout: Duration,
    },
}

impl SlaveWait {
    /// Says whether enough slaves have the message already.
    pub(crate) fn is_safe(&self) -> bool {
        match self {
            Self::None => true,
            Self::Missing => false,
            Self::Acked { acked, until, .. } => *acked.borrow() >= *until,
        }
    }

    /// Waits until enough slaves have the message.
    pub(crate) async fn over(self) -> PutStatus {
        match self {
            Self::None => PutStatus::Ok,
            Self::Missing => PutStatus::SlaveNotAvailable,
            Self::Acked { mut acked, until, timeout } => {
                let reached = acked.wait_for(|&at| at >= until);
                match tokio::time::timeout(timeout, reached).await {
                    Ok(Ok(_)) => PutStatus::Ok,
                    _ => PutStatus::FlushSlaveTimeout,
                }
            }
        }
    }
}

impl Replicas {
    pub(crate) fn new(wanted: usize) -> Self {
        Self {
            wanted: AtomicUsize::new(wanted),
            near: AtomicI64::new(i64::MIN),
            acked: watch::Sender::new(i64::MIN),
            waiting: AtomicBool::new(false),
            written: Notify::new(),
        }
    }

    pub(crate) fn set_wanted(&self, wanted: usize) {
        self.wanted.store(wanted, Ordering::SeqCst);
    }

    /// Wakes who waits for more of the log. The caller has passed a full fence since it wrote.
    #[inline]
    pub(crate) fn wake(&self) {
        if self.waiting.load(Ordering::Relaxed) && self.waiting.swap(false, Ordering::SeqCst) {
            self.written.notify_waiters();
        }
    }
}

impl MessageStore {
    /// Returns bytes of the log from `at` on, uncopied: at most `bytes_max`, and none beyond the end of a file.
    /// `None` when the log has none there.
    pub fn log_slice(&self, at: i64, bytes_max: usize) -> Option<Bytes> {
        let files = self.log.files().files();
        let file = MappedQueue::find(&files, at)?;
        let start = usize::try_from(at - file.offset()).ok()?;
        let end = file.published().min(start.saturating_add(bytes_max));
        (start < end).then(|| file.view().slice(start..end))
    }

    /// Returns where the last message of the log begins, and the log from there on, uncopied; `None` when the log's
    /// last file has no message.
    pub fn last_message(&self) -> Option<(i64, Bytes)> {
        let end = self.log.written();
        let file_start =
            (end - 1).div_euclid(self.log.files().file_bytes() as i64) * self.log.files().file_bytes() as i64;
        // Behind the last message that reached a queue there is hardly another one.
        let mut at = self.lock_dispatcher().last_record.max(file_start);
        let mut last = None;
        while at < end {
            match self.log.at(at, |bytes| match inspect(bytes, false) {
                Found::Record(record) => Some(i64::from(record.total_size)),
                _ => None,
            })? {
                Some(size) => (last, at) = (Some(at), at + size),
                None => break,
            }
        }
        Some((last?, self.log_slice(last?, usize::MAX)?))
    }

    /// Returns when the message at `at`, or the first one of the next file when the file ends there, was stored,
    /// milliseconds; `None` when the log ends there, or nothing begins there.
    pub fn next_message_stored_at(&self, at: i64) -> Option<i64> {
        let at = at.max(self.log.min());
        match self.log.at(at, |bytes| inspect(bytes, false) == Found::Blank) {
            Some(true) => self.log.store_timestamp(self.log.next_file(at)),
            _ => self.log.store_timestamp(at),
        }
    }

    /// Resolves once the log is longer than `at`.
    pub async fn written_past(&self, at: i64) {
        loop {
            let written = self.replicas.written.notified();
            tokio::pin!(written);
            // From here on no wake-up is missed; and a put that does not see `waiting` is seen below.
            written.as_mut().enable();
            self.replicas.waiting.store(true, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            if self.log.written() > at {
                return;
            }
            written.await;
        }
    }

    /// Returns how many slaves a put waits for.
    pub fn slaves_wanted(&self) -> usize {
        self.replicas.wanted.load(Ordering::Relaxed)
    }

    /// Takes note of up to where as many slaves as are wanted have the log, and of where it may end (before `near`) for
    /// as many to count as copies; `i64::MIN` where there are fewer.
    pub fn slaves_have(&self, acked: i64, near: i64) {
        self.replicas.near.store(near, Ordering::SeqCst);
        self.replicas.acked.send_if_modified(|known| {
            let grew = acked > *known;
            *known = (*known).max(acked);
            grew
        });
    }

    /// Says what a put that ends at `until` waits for.
    #[inline]
    pub(crate) fn slave_wait(&self, first: &NewMessage<'_>, until: i64) -> SlaveWait {
        let wanted = self.replicas.wanted.load(Ordering::Relaxed);
        if wanted == 0 || !first.wait_store {
            return SlaveWait::None;
        }
        if until >= self.replicas.near.load(Ordering::Relaxed) {
            return SlaveWait::Missing;
        }
        let timeout = Duration::from_millis(self.options.load().slave_timeout_ms);
        SlaveWait::Acked { acked: self.replicas.acked.subscribe(), until, timeout }
    }

    /// Appends what a master has at `at`, as far as `bytes` hold whole messages, and dispatches it. Returns how many
    /// bytes were taken; the caller brings the others again, with more behind them. A log without files begins
    /// wherever its first bytes do, which is at the start of a file.
    pub fn append_replica(&self, at: i64, bytes: &[u8]) -> Result<usize, ReplicaError> {
        let file_bytes = self.log.files().file_bytes() as i64;
        let mut tail = self.log.lock()?;
        // Under the lock, behind which a stop looks for the log's end.
        for refusal in [Refusal::Stopped, Refusal::Poisoned] {
            if self.is_refused(refusal) {
                let reason = self.refusal_reason().unwrap_or_default();
                return Err(PutError::NotWriteable { reason }.into());
            }
        }
        if self.log.files().files().is_empty() && at >= 0 && at % file_bytes == 0 {
            tail.begin_at(&self.log, at);
        }
        let end = self.log.written();
        if at != end {
            return Err(ReplicaError::Gap { at, end });
        }
        let mut taken = 0;
        while taken < bytes.len() {
            let run = whole_records(&bytes[taken..], at + taken as i64, file_bytes)?;
            if run.bytes == 0 {
                break;
            }
            tail.append_raw(&self.log, &bytes[taken..taken + run.bytes], run.messages, run.timestamp)?;
            taken += run.bytes;
        }
        drop(tail);
        if taken > 0 {
            self.dispatch();
            self.replicas.wake();
            self.threads.wake_if_asleep();
            if self.log.wants_room() {
                self.threads.make_room();
            }
        }
        Ok(taken)
    }

    /// Puts the commit log aside and begins anew, without messages; for a slave whose log is not its master's. Returns
    /// the directory in which the old log is now. Whoever reads the old messages reads on.
    pub fn begin_again(&self) -> Result<PathBuf, Error> {
        let mut dispatcher = self.lock_dispatcher();
        let _no_flush = self.flushed.hold();
        // A panicked put assigned nothing that is kept.
        let mut tail = match self.log.lock() {
            Ok(tail) => tail,
            Err(error) => return Err(Error::Poisoned { reason: error.to_string() }),
        };
        let log_dir = self.options.load().commit_log_dir.clone();
        let name = log_dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let aside = log_dir.with_file_name(format!("{name}-aside-{}", self.clock.now_ms()));
        self.log.files().move_to(&aside)?;
        tail.begin_at(&self.log, 0);
        self.log.forget_room();
        self.queues.delete_all()?;
        self.index.delete_all()?;
        self.flushed.begin_at(0);
        // What vouched for the old log does not for this one.
        self.checkpoint.set(Field::Confirm, 0);
        self.checkpoint.set(Field::Logics, 0);
        self.checkpoint.set_safe(0);
        self.checkpoint.flush(&*self.disk)?;
        self.deleted.lock().unwrap_or_else(PoisonError::into_inner).log_ends_at(&*self.disk, 0)?;
        (dispatcher.at, dispatcher.last_record) = (0, -1);
        self.dispatched.store(0, Ordering::Relaxed);
        Ok(aside)
    }
}

/// Messages that follow each other in one file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Run {
    bytes: usize,
    messages: usize,
    /// Store timestamp of the last message; 0 when there is none.
    timestamp: i64,
}

/// Returns how much of `bytes`, which stand at `at`, is whole messages or the end of the file of `at`.
fn whole_records(bytes: &[u8], at: i64, file_bytes: i64) -> Result<Run, ReplicaError> {
    let mut run = Run::default();
    let in_file = file_bytes - at.rem_euclid(file_bytes);
    loop {
        let here = &bytes[run.bytes..];
        let (place, left) = (at + run.bytes as i64, in_file - run.bytes as i64);
        if left == 0 || here.len() < BLANK_BYTES {
            return Ok(run);
        }
        let word =
            |from: usize| i32::from_be_bytes([here[from], here[from + 1], here[from + 2], here[from + 3]]);
        let (size, is_blank) = (i64::from(word(0)), word(4) == MAGIC_BLANK);
        let is_possible =
            if is_blank { size == left } else { (1..=left - BLANK_BYTES as i64).contains(&size) };
        if !is_possible || size > RECORD_BYTES_MAX {
            return Err(ReplicaError::NoMessage { at: place });
        }
        let Some(record) = here.get(..size as usize) else {
            // Its magic number is looked at now, so that nobody waits for the rest of nonsense.
            return if is_blank || super::commit_log::begins_record(here, size as usize) {
                Ok(run)
            } else {
                Err(ReplicaError::NoMessage { at: place })
            };
        };
        match inspect(record, false) {
            Found::Blank => {}
            Found::Record(record) if record.physical_offset == place => {
                run.messages += 1;
                run.timestamp = record.store_timestamp;
            }
            _ => return Err(ReplicaError::NoMessage { at: place }),
        }
        run.bytes += record.len();
    }
}
