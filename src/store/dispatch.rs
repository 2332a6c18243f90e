//! Follows the commit log, builds consume queues and index, and announces arrivals; mirrors `ReputMessageService`
//! and the `CommitLogDispatcher`s.
//!
//! There is no thread for it: whoever moved the end of the log (a put, or the flush under SYNC_FLUSH) tries to take
//! the dispatcher's lock and follows the log to its confirmed end. Who does not get the lock goes away, because the
//! holder looks at the end once more after it let go: the put stores the end and then tries the lock, the
//! holder frees the lock and then reads the end, with a full fence between the two on either side, so that one
//! of them sees the other. Recovery runs the same [`Dispatcher::step`].
//!
//! One record that cannot be used is counted and passed over. Only when a queue's file cannot be written does
//! dispatch stay where it is; the store then refuses puts, and the keeper thread tries again.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, MutexGuard, PoisonError, TryLockError};

use smallvec::SmallVec;

use super::commit_log::{CommitLog, Found, inspect};
use super::consume_queue::{Appended, ConsumeQueue};
use super::deleted::DeletedTopics;
use super::index_file::{Index, TopicHash};
use super::queues::Queues;
use super::{Arrival, Error, FlushDiskType, MessageStore, PhysicalOffset, QueueEntry, QueueOffset, Refusal};
use crate::wire::message::{MessageRecord, for_each_property, sys_flag, tags_code};

/// Topic of messages that wait for a delay level; their tag code is the time of delivery.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Delay of a level that the table does not have, milliseconds.
const UNKNOWN_LEVEL_DELAY_MS: i64 = 1_000;
/// Arrivals that are announced together.
const ARRIVALS_MAX: usize = 64;
/// Bytes of log that one thread may be left to dispatch alone while others go on appending.
const BEHIND_BYTES_MAX: i64 = 256 * 1024;

/// Where dispatch is in the log.
#[derive(Debug, Default)]
pub(crate) struct Dispatcher {
    /// The next byte to look at.
    pub(crate) at: i64,
    /// Where the last record that reached a queue begins; -1 when there was none.
    pub(crate) last_record: i64,
    /// Store timestamp of the last record looked at.
    pub(crate) timestamp: i64,
    /// Records that reached their queue.
    pub(crate) dispatched: u64,
    /// Records that could not be used.
    pub(crate) failures: u64,
    arrivals: Vec<Arrival>,
}

/// What dispatch reads and writes.
#[derive(Clone, Copy)]
pub(crate) struct Targets<'a> {
    pub(crate) log: &'a CommitLog,
    pub(crate) queues: &'a Queues,
    pub(crate) index: Option<&'a Index>,
    /// A queue that likely comes up, which saves looking it up.
    pub(crate) likely: Option<&'a Arc<ConsumeQueue>>,
    pub(crate) delay_level_ms: &'a [u64],
    pub(crate) now_ms: i64,
    /// Whether somebody wants to hear of arrivals.
    pub(crate) announce: bool,
    /// Topics whose messages are passed over; nobody deletes while the log is followed, so only a start has some.
    pub(crate) deleted: Option<&'a DeletedTopics>,
    /// Set to an index file's end timestamp when it became full.
    pub(crate) index_filled: &'a dyn Fn(i64),
}

/// What dispatch needs to know of a record's properties.
#[derive(Default)]
struct Wanted<'a> {
    tags: &'a [u8],
    keys: &'a [u8],
    unique_key: &'a [u8],
    delay: &'a [u8],
}

impl<'a> Wanted<'a> {
    #[inline]
    fn of(record: &MessageRecord<'a>) -> Self {
        let mut wanted = Self::default();
        for_each_property(record.properties, |name, value| match name {
            b"TAGS" => wanted.tags = value,
            b"KEYS" => wanted.keys = value,
            b"UNIQ_KEY" => wanted.unique_key = value,
            b"DELAY" => wanted.delay = value,
            _ => {}
        });
        wanted
    }
}

/// Returns the entry that a record gets in its queue; none for halves of transactions and what was rolled back.
pub(crate) fn entry_of(record: &MessageRecord<'_>, delay_level_ms: &[u64]) -> Option<QueueEntry> {
    sys_flag::is_queued(record.sys_flag).then(|| QueueEntry {
        physical_offset: PhysicalOffset(record.physical_offset),
        size: record.total_size,
        tags_code: entry_tags_code(record, &Wanted::of(record), delay_level_ms),
    })
}

/// Returns the hashes under which a record is entered in the index.
pub(crate) fn index_hashes_of(record: &MessageRecord<'_>) -> SmallVec<[i32; 8]> {
    if sys_flag::transaction_type(record.sys_flag) == sys_flag::TRANSACTION_ROLLBACK {
        return SmallVec::new();
    }
    index_hashes(record.topic, &Wanted::of(record))
}

impl Dispatcher {
    /// Makes a dispatcher that begins at `at`.
    pub(crate) fn starting_at(at: i64) -> Self {
        Self { at, last_record: -1, ..Self::default() }
    }

    /// Deals with the record at `at`, or with the end of the file there, and moves on; `until` is where the
    /// confirmed log ends. An error leaves it where it was.
    pub(crate) fn step(&mut self, targets: &Targets<'_>, until: i64) -> Result<(), Error> {
        let at = self.at;
        let outcome = targets.log.at(at, |bytes| match inspect(bytes, false) {
            Found::Record(record) => {
                self.record(targets, &record).map(|()| at + i64::from(record.total_size))
            }
            Found::Blank => Ok(targets.log.next_file(at)),
            Found::Nothing => {
                self.failures += 1;
                let next = skip_from(bytes, at, until).unwrap_or_else(|| targets.log.next_file(at));
                tracing::error!(physical_offset = at, next, "what stands here is no message; passed over");
                Ok(next)
            }
        });
        // The file is gone: go on where the log begins now.
        self.at = outcome.unwrap_or_else(|| Ok(targets.log.min().max(at + 1)))?.min(until.max(at));
        Ok(())
    }

    fn record(&mut self, targets: &Targets<'_>, record: &MessageRecord<'_>) -> Result<(), Error> {
        if targets.deleted.is_some_and(|deleted| deleted.covers(record.topic, self.at)) {
            self.timestamp = record.store_timestamp;
            return Ok(());
        }
        let wanted = Wanted::of(record);
        if sys_flag::is_queued(record.sys_flag) {
            self.queue(targets, record, &wanted)?;
        }
        self.timestamp = record.store_timestamp;
        if let Some(index) = targets.index
            && sys_flag::transaction_type(record.sys_flag) != sys_flag::TRANSACTION_ROLLBACK
        {
            index_record(targets, index, record, &wanted, self.at)?;
        }
        Ok(())
    }

    fn queue(
        &mut self,
        targets: &Targets<'_>,
        record: &MessageRecord<'_>,
        wanted: &Wanted<'_>,
    ) -> Result<(), Error> {
        let looked_up;
        let likely = targets.likely.filter(|queue| {
            queue.queue_id == record.queue_id && *queue.topic == *record.topic && !queue.is_dead()
        });
        let queue = if likely.is_some() {
            likely
        } else {
            looked_up = targets.queues.get_or_new(record.topic, record.queue_id)?;
            looked_up.as_ref()
        };
        let Some(queue) = queue else {
            self.failures += 1;
            tracing::error!(physical_offset = self.at, topic = ?record.topic, queue_id = record.queue_id, "no queue can have this name; message passed over");
            return Ok(());
        };
        let entry = QueueEntry {
            physical_offset: PhysicalOffset(self.at),
            size: record.total_size,
            tags_code: entry_tags_code(record, wanted, targets.delay_level_ms),
        };
        match targets.queues.append(queue, record.queue_offset, entry)? {
            Appended::Yes => {
                self.dispatched += 1;
                self.last_record = self.at;
                if targets.announce {
                    self.arrivals.push(Arrival {
                        topic: Arc::clone(&queue.topic),
                        queue_id: record.queue_id,
                        max_offset: QueueOffset(record.queue_offset + 1),
                        physical_offset: entry.physical_offset,
                        tags_code: entry.tags_code,
                        store_timestamp: record.store_timestamp,
                    });
                }
            }
            Appended::Already => self.last_record = self.at,
            Appended::Impossible => {
                self.failures += 1;
                tracing::error!(
                    physical_offset = self.at,
                    topic = record.topic,
                    queue_id = record.queue_id,
                    queue_offset = record.queue_offset,
                    "the message's queue offset cannot be; passed over"
                );
            }
        }
        Ok(())
    }
}

/// Where to go on behind bytes that are no record: by their size field if it leads to another place in the file.
fn skip_from(bytes: &[u8], at: i64, until: i64) -> Option<i64> {
    let size = i32::from_be_bytes(*bytes.first_chunk()?);
    let next = at + i64::from(size);
    let follows = bytes.get(usize::try_from(size).ok()?..)?;
    let good = size > 0 && next <= until && !matches!(inspect(follows, false), Found::Nothing);
    good.then_some(next)
}

fn entry_tags_code(record: &MessageRecord<'_>, wanted: &Wanted<'_>, delay_level_ms: &[u64]) -> i64 {
    if record.topic == SCHEDULE_TOPIC
        && let Some(level) = std::str::from_utf8(wanted.delay).ok().and_then(|text| text.parse::<i64>().ok())
        && level > 0
    {
        let level = level.min(delay_level_ms.len() as i64);
        let delay_ms = delay_level_ms.get((level - 1) as usize);
        return record.store_timestamp + delay_ms.map_or(UNKNOWN_LEVEL_DELAY_MS, |&delay_ms| delay_ms as i64);
    }
    std::str::from_utf8(wanted.tags).map_or(0, tags_code)
}

fn index_record(
    targets: &Targets<'_>,
    index: &Index,
    record: &MessageRecord<'_>,
    wanted: &Wanted<'_>,
    physical: i64,
) -> Result<(), Error> {
    static LOGGED: AtomicBool = AtomicBool::new(false);
    if wanted.unique_key.is_empty() && wanted.keys.is_empty() {
        return Ok(());
    }
    let hashes = index_hashes(record.topic, wanted);
    match index.put(&hashes, physical, record.store_timestamp, targets.now_ms) {
        Ok(Some(end_timestamp)) => (targets.index_filled)(end_timestamp),
        // There will be space again: dispatch waits for it, and enters the message then.
        Err(error) if error.is_passing() || error.is_failed_flush() => return Err(error),
        // The message itself is stored and in its queue: only finding it by key fails.
        Err(error) if !LOGGED.swap(true, Ordering::Relaxed) => {
            tracing::error!(%error, "messages cannot be indexed");
        }
        Ok(None) | Err(_) => {}
    }
    Ok(())
}

#[inline]
fn index_hashes(topic: &str, wanted: &Wanted<'_>) -> SmallVec<[i32; 8]> {
    let topic = TopicHash::new(topic);
    let mut hashes = SmallVec::new();
    let mut enter = |key: &[u8]| {
        if let Ok(key) = std::str::from_utf8(key)
            && !key.is_empty()
        {
            hashes.push(topic.key(key));
        }
    };
    enter(wanted.unique_key);
    wanted.keys.split(|&byte| byte == b' ').for_each(enter);
    hashes
}

impl MessageStore {
    /// Returns the end of what consumers may see: the written log, under SYNC_FLUSH the flushed one.
    #[inline]
    pub(crate) fn confirmed(&self) -> i64 {
        match self.flush_disk_type() {
            FlushDiskType::Async => self.log.written(),
            FlushDiskType::Sync => self.flushed.get().min(self.log.written()),
        }
    }

    /// Follows the log to its confirmed end, unless another thread is doing so; then that one will.
    pub(crate) fn dispatch(&self) {
        self.dispatch_put(None);
    }

    /// Does the same after a put to a queue.
    #[inline]
    pub(crate) fn dispatch_put(&self, likely: Option<&Arc<ConsumeQueue>>) {
        loop {
            fence(Ordering::SeqCst);
            let dispatcher = match self.dispatcher.try_lock() {
                Ok(dispatcher) => dispatcher,
                // Whoever dispatches does it for everybody, but not for ever: past a bound the others wait, or the
                // one who began would never come to answer its own client.
                Err(TryLockError::WouldBlock) if self.behind() <= BEHIND_BYTES_MAX => return,
                Err(TryLockError::WouldBlock) => self.lock_dispatcher(),
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            };
            let stuck = self.dispatch_with(dispatcher, likely);
            fence(Ordering::SeqCst);
            if stuck || self.dispatched.load(Ordering::Relaxed) >= self.confirmed() {
                return;
            }
        }
    }

    fn behind(&self) -> i64 {
        self.confirmed() - self.dispatched.load(Ordering::Relaxed)
    }

    /// Waits for the dispatcher's lock and follows the log to its confirmed end.
    pub(crate) fn dispatch_and_wait(&self) {
        self.dispatch_with(self.lock_dispatcher(), None);
        self.dispatch();
    }

    pub(crate) fn lock_dispatcher(&self) -> MutexGuard<'_, Dispatcher> {
        // A step that panicked left `at` at its record; the next one begins there again.
        self.dispatcher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the log and lets the lock go; says whether it could not reach the end.
    fn dispatch_with(
        &self,
        mut dispatcher: MutexGuard<'_, Dispatcher>,
        likely: Option<&Arc<ConsumeQueue>>,
    ) -> bool {
        let options = self.options.load();
        let listener = self.listener.load();
        let index_filled =
            |end_timestamp| self.checkpoint.set(super::checkpoint::Field::Index, end_timestamp);
        let targets = Targets {
            log: &self.log,
            queues: &self.queues,
            index: options.message_index_enable.then_some(&self.index),
            likely,
            delay_level_ms: &options.message_delay_level_ms,
            now_ms: self.log.last_timestamp(),
            announce: listener.is_some(),
            deleted: None,
            index_filled: &index_filled,
        };
        let mut stuck = false;
        loop {
            let until = self.confirmed();
            if dispatcher.at >= until {
                break;
            }
            while dispatcher.at < until && dispatcher.arrivals.len() < ARRIVALS_MAX && !stuck {
                if let Err(error) = dispatcher.step(&targets, until) {
                    if error.is_failed_flush() {
                        self.poison(&error);
                    }
                    self.refuse(Refusal::QueueError, || {
                        format!("a consume queue cannot be written, or the index: {error}")
                    });
                    stuck = true;
                }
            }
            if let Some(listener) = &*listener
                && !dispatcher.arrivals.is_empty()
            {
                listener(&dispatcher.arrivals);
            }
            dispatcher.arrivals.clear();
            self.dispatched.store(dispatcher.at, Ordering::Relaxed);
            if stuck {
                return true;
            }
        }
        self.accept(Refusal::QueueError);
        false
    }
}
