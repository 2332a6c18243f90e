//! The messages of one broker on disk: put, read, query, offsets in queues; mirrors `DefaultMessageStore`.
//!
//! A message is appended to the commit log (`put`, `commit_log`), becomes visible in its consume queue and in the
//! index (`dispatch`), and is made safe (`flush`). `recover` finds out after a start what is there, `retention`
//! deletes what is old. Formats are exactly Apache's, so that either broker starts on the other's store.
//!
//! The store is synchronous and never sleeps; waiting for the disk is [`Receipt::durable`]. It does not know
//! brokers or clients: whoever wants to hear of arrivals subscribes.
//!
//! Locks, in the order in which they may be taken: the dispatcher, the flush (`flushed.lock`), the put lock (the log's
//! tail), `making` of the room ahead of it, the topics that were deleted, the table of topics not loaded yet, the files of
//! one queue. No lock but that of the flush is held while waiting for the disk, except that a new file is made, and a
//! topic deleted, under those that need it.

mod checkpoint;
mod commit_log;
mod consume_queue;
mod deleted;
mod disk;
mod dispatch;
mod error;
mod flush;
mod index_file;
mod keeper;
mod mapped_file;
mod mapped_queue;
pub mod offline;
mod options;
pub mod persist;
mod progress;
mod put;
mod queues;
mod read;
mod recover;
mod replica;
mod retention;
mod roll;
mod room;
pub mod timer;
mod types;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};

pub use disk::{Disk, FileSystem, replace};
pub use dispatch::SCHEDULE_TOPIC;
pub use error::{Error, PutError};
pub use options::{FlushDiskType, StoreOptions};
pub use progress::RecoveryListener;
pub use put::{QueueSlot, Receipt};
pub use read::RecordFilter;
pub use replica::ReplicaError;
pub use types::*;

use crate::clock::Clock;
use crate::faults::Faults;
use crate::lifecycle::Lifecycle;

/// The messages of one broker on disk.
pub struct MessageStore {
    options: ArcSwap<StoreOptions>,
    clock: Clock,
    faults: Faults,
    disk: Arc<dyn FileSystem>,
    log: commit_log::CommitLog,
    queues: queues::Queues,
    index: index_file::Index,
    checkpoint: checkpoint::Checkpoint,
    dispatcher: Mutex<dispatch::Dispatcher>,
    deleted: Mutex<deleted::DeletedTopics>,
    /// Up to where the log is dispatched.
    dispatched: AtomicI64,
    listener: ArcSwapOption<ArrivalListener>,
    flushed: flush::Flushed,
    threads: flush::Threads,
    replicas: replica::Replicas,
    /// `flush_disk_type` of the options, for the hot path.
    sync_flush: AtomicBool,
    refusals: Refusals,
    put_failures: AtomicU64,
    reads: ReadCounters,
    memory_bytes: u64,
    /// Holds the lock on the directory.
    _lock: File,
}

impl std::fmt::Debug for MessageStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessageStore")
            .field("log_begins", &self.log.min())
            .field("log_ends", &self.log.written())
            .finish_non_exhaustive()
    }
}

/// Why puts are refused; the number is a bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Refusal {
    Stopped = 1,
    Poisoned = 2,
    QueueError = 4,
    DiskFull = 8,
    Forbidden = 16,
}

#[derive(Debug, Default)]
struct Refusals {
    bits: AtomicU32,
    reasons: Mutex<BTreeMap<Refusal, String>>,
}

#[derive(Debug, Default)]
struct ReadCounters {
    found: AtomicU64,
    missed: AtomicU64,
    messages: AtomicU64,
}

impl MessageStore {
    /// Opens the store under the options' paths and recovers it; blocks. Makes the root directory and the lock file,
    /// and changes nothing else when the directory is in use or a file has a wrong length.
    pub fn open(options: StoreOptions, clock: Clock, faults: Faults) -> Result<Arc<Self>, Error> {
        Self::open_on(Arc::new(Disk), options, clock, faults)
    }

    /// Opens the store and tells how far its recovery is.
    pub fn open_telling(
        options: StoreOptions,
        clock: Clock,
        faults: Faults,
        listener: RecoveryListener<'_>,
    ) -> Result<Arc<Self>, Error> {
        recover::open(Arc::new(Disk), options, clock, faults, listener)
    }

    /// Opens the store on another file system than the operating system's.
    pub fn open_on(
        disk: Arc<dyn FileSystem>,
        options: StoreOptions,
        clock: Clock,
        faults: Faults,
    ) -> Result<Arc<Self>, Error> {
        recover::open(disk, options, clock, faults, &|_| {})
    }

    /// Marks the store as in use and starts its three threads.
    pub fn start(self: &Arc<Self>, lifecycle: &Lifecycle) -> Result<(), Error> {
        recover::write_abort_file(&*self.disk, &self.options.load().abort_file)?;
        flush::start_threads(self, lifecycle)
    }

    /// Refuses puts from now on, dispatches and flushes what is there, writes the checkpoint and removes the mark,
    /// unless something is left behind. Blocks. Reads go on. A second call does nothing.
    pub fn stop(&self) {
        flush::stop(self);
    }

    /// Returns the options in force.
    pub fn options(&self) -> Arc<StoreOptions> {
        self.options.load_full()
    }

    /// Changes what may change while running: everything but paths and file sizes, which stay as they are.
    pub fn set_options(&self, options: StoreOptions) {
        let old = self.options.load_full();
        let new = StoreOptions {
            root: old.root.clone(),
            commit_log_dir: old.commit_log_dir.clone(),
            consume_queue_dir: old.consume_queue_dir.clone(),
            index_dir: old.index_dir.clone(),
            checkpoint_file: old.checkpoint_file.clone(),
            abort_file: old.abort_file.clone(),
            commit_log_file_bytes: old.commit_log_file_bytes,
            consume_queue_file_bytes: old.consume_queue_file_bytes,
            max_hash_slot_num: old.max_hash_slot_num,
            max_index_num: old.max_index_num,
            ..options
        };
        self.replicas.set_wanted(new.slaves_wanted);
        self.sync_flush.store(new.flush_disk_type == FlushDiskType::Sync, Ordering::SeqCst);
        self.options.store(Arc::new(new));
        self.threads.wake();
        self.dispatch();
    }

    #[inline]
    fn flush_disk_type(&self) -> FlushDiskType {
        if self.sync_flush.load(Ordering::Relaxed) { FlushDiskType::Sync } else { FlushDiskType::Async }
    }

    /// Sets who is told of arrivals; replaces a former listener.
    pub fn on_arrival(&self, listener: ArrivalListener) {
        self.listener.store(Some(Arc::new(listener)));
    }

    /// Returns the file system that the store works on, for files that belong to it.
    pub fn disk(&self) -> &dyn FileSystem {
        &*self.disk
    }

    /// Returns where the commit log begins.
    pub fn min_physical_offset(&self) -> PhysicalOffset {
        PhysicalOffset(self.log.min())
    }

    /// Returns where the commit log ends.
    pub fn max_physical_offset(&self) -> PhysicalOffset {
        PhysicalOffset(self.log.written())
    }

    /// Returns up to where the commit log is on the disk.
    pub fn flushed_offset(&self) -> PhysicalOffset {
        PhysicalOffset(self.flushed.get())
    }

    /// Returns how many bytes of the commit log wait for dispatch.
    pub fn dispatch_behind_bytes(&self) -> i64 {
        (self.log.written() - self.dispatched.load(Ordering::Relaxed)).max(0)
    }

    /// Returns when the first record of the commit log was stored, milliseconds.
    pub fn earliest_store_timestamp(&self) -> Option<i64> {
        self.log.store_timestamp(self.log.min())
    }

    /// Returns the room on the volumes of the commit log and of the consume queues; zeros when unknown.
    pub fn disk_space(&self) -> (DiskSpace, DiskSpace) {
        let options = self.options.load();
        let space = |path| self.disk.space(path).unwrap_or_default();
        (space(&options.commit_log_dir), space(&options.consume_queue_dir))
    }

    /// Returns every topic that has queues with messages, and their ids in order. May list directories.
    pub fn topics_with_queues(&self) -> Vec<(Arc<str>, Vec<i32>)> {
        self.queues.topics()
    }

    /// Removes every queue of a topic; its offsets begin at 0 again. Its records stay in the log until they are old, and no
    /// start enters them again.
    pub fn delete_topic(&self, topic: &str) -> Result<(), Error> {
        self.dispatch_and_wait();
        let _dispatcher = self.lock_dispatcher();
        // Nobody may assign offsets of a queue that goes away; a panicked put assigns none.
        let _tail = self.log.lock().ok();
        if self.queues.has_topic(topic) {
            let mut deleted = self.deleted.lock().unwrap_or_else(PoisonError::into_inner);
            deleted.add(&*self.disk, topic, self.log.min(), self.log.written())?;
        }
        self.queues.delete_topic(topic)
    }

    /// Lets a queue that never had a message begin at this offset; says whether it does. For whoever fills a new store with
    /// another one's messages.
    pub fn begin_queue_at(&self, topic: &str, queue_id: i32, first: QueueOffset) -> Result<bool, Error> {
        let _tail = self.log.lock().ok();
        let Some(queue) = self.queues.get_or_new(topic, queue_id)? else { return Ok(false) };
        let next = &queue.next;
        let unused = queue.max() == 0 && next.load(Ordering::Relaxed) == 0;
        if unused {
            next.store(first.0, Ordering::Relaxed);
        }
        Ok(unused)
    }

    /// Removes queues whose messages are all gone from the log, unless `keep` says yes to their topic; returns how
    /// many went. The reference keeps system topics.
    pub fn clean_expired_consume_queues(&self, keep: &dyn Fn(&str) -> bool) -> Result<usize, Error> {
        self.queues.load_all()?;
        let log_min = self.log.min();
        let mut expired = Vec::new();
        self.queues.for_each(|queue| {
            if queue.max() > 0 && queue.max_physical() <= log_min && !keep(&queue.topic) {
                expired.push(Arc::clone(queue));
            }
        });
        let _dispatcher = self.lock_dispatcher();
        let _tail = self.log.lock().ok();
        let mut removed = 0;
        for queue in expired {
            if queue.max_physical() <= log_min && queue.max() == queue.next.load(Ordering::Relaxed) {
                self.queues.delete_queue(&queue)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Says whether messages are taken.
    pub fn is_writeable(&self) -> bool {
        self.refusals.bits.load(Ordering::Relaxed) == 0
    }

    /// Returns why messages are refused, in words for a person.
    pub fn refusal_reason(&self) -> Option<String> {
        let reasons = self.refusals.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        reasons.values().next().cloned()
    }

    /// Refuses puts because of the broker's own state, such as being a slave, or takes them again with `None`.
    pub fn forbid_puts(&self, reason: Option<&str>) {
        match reason {
            Some(reason) => self.refuse(Refusal::Forbidden, || reason.to_owned()),
            None => self.accept(Refusal::Forbidden),
        }
    }

    fn refuse(&self, refusal: Refusal, reason: impl FnOnce() -> String) {
        let mut reasons = self.refusals.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let bits = self.refusals.bits.fetch_or(refusal as u32, Ordering::SeqCst);
        let reason = reason();
        if bits & refusal as u32 == 0 && !matches!(refusal, Refusal::Stopped | Refusal::Forbidden) {
            tracing::error!(%reason, "the store takes no more messages");
        }
        reasons.insert(refusal, reason);
    }

    #[inline]
    fn accept(&self, refusal: Refusal) {
        if self.is_refused(refusal) {
            let mut reasons = self.refusals.reasons.lock().unwrap_or_else(PoisonError::into_inner);
            self.refusals.bits.fetch_and(!(refusal as u32), Ordering::SeqCst);
            reasons.remove(&refusal);
        }
    }

    #[inline]
    fn is_refused(&self, refusal: Refusal) -> bool {
        self.refusals.bits.load(Ordering::Relaxed) & refusal as u32 != 0
    }

    /// Returns sums since the store was opened. Takes the put lock for a moment.
    pub fn counters(&self) -> StoreCounters {
        let mut counters = StoreCounters {
            put_failures: self.put_failures.load(Ordering::Relaxed),
            reads_found: self.reads.found.load(Ordering::Relaxed),
            reads_missed: self.reads.missed.load(Ordering::Relaxed),
            read_messages: self.reads.messages.load(Ordering::Relaxed),
            flushes: self.flushed.count(),
            ..StoreCounters::default()
        };
        if let Ok(tail) = self.log.lock() {
            (counters.put_messages, counters.put_bytes) = tail.sums();
        }
        let dispatcher = self.lock_dispatcher();
        counters.dispatched_messages = dispatcher.dispatched;
        counters.dispatch_failures = dispatcher.failures;
        counters
    }
}
