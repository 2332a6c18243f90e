//! Making safe what is written: the store's threads and the last things at a stop; mirrors
//! `FlushRealTimeService` and `GroupCommitService`.
//!
//! The flush thread flushes the commit log: at intervals under ASYNC_FLUSH, as soon as there is something under
//! SYNC_FLUSH, where one flush serves every send that came before it. It sleeps while nothing is written; a put wakes it,
//! and it the keeper thread (see `keeper`). A put finds it asleep, or it finds the put: the put writes the log's end
//! and then reads `asleep`, the thread sets `asleep` and then reads the end, with full fences between.
//!
//! The room thread makes room ahead of the log's end (see `room`). A wake-up that it misses costs nothing but the
//! time of the next put, which wakes it again.
//!
//! After a flush has failed nobody knows what the disk holds: the system may take the pages for written, and a second
//! flush would succeed without writing them. So the store is poisoned: it refuses puts, flushes and vouches for nothing
//! any more, and serves reads; its mark of a store in use tells the next start to write everything again that was not
//! vouched for. An ordered fault ([`FaultPoint::Flush`]) fails one flush without that.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use tokio::sync::watch;

use super::checkpoint::Field;
use super::{Error, FlushDiskType, MessageStore, Refusal};
use crate::faults::FaultPoint;
use crate::lifecycle::Lifecycle;

/// What [`Flushed`] announces when nothing will ever be flushed again.
pub(crate) const FAILED: i64 = i64::MIN;
/// Pause after a flush that failed by order.
const FAULT_PAUSE: Duration = Duration::from_millis(10);
/// How long a stop flushes queues, each of which is a wait for the disk; the rest is left to the operating system.
const STOP_FLUSH_NS: u64 = 80_000_000;
const PAGE_BYTES: i64 = 4_096;

/// Up to where the commit log is on the disk, for reading and for waiting.
#[derive(Debug)]
pub(crate) struct Flushed {
    at: AtomicI64,
    count: AtomicU64,
    changed: watch::Sender<i64>,
    /// One flush at a time.
    lock: Mutex<()>,
    /// Whether something may wait for the disk that this process did not write: what a killed one left in memory, or
    /// a recovery changed.
    pub(crate) unsure: AtomicBool,
}

impl Flushed {
    /// Begins at `at`; `unsure` says that more than the log behind it may wait for the disk.
    pub(crate) fn new(at: i64, unsure: bool) -> Self {
        let changed = watch::Sender::new(at);
        Self {
            at: AtomicI64::new(at),
            count: AtomicU64::new(0),
            changed,
            lock: Mutex::new(()),
            unsure: AtomicBool::new(unsure),
        }
    }

    #[inline]
    pub(crate) fn get(&self) -> i64 {
        self.at.load(Ordering::Acquire)
    }

    /// Returns how many flushes there were.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns what tells of later flushes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<i64> {
        self.changed.subscribe()
    }

    fn advance(&self, at: i64) {
        self.at.store(at, Ordering::Release);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.changed.send_replace(at);
    }

    /// Keeps flushes away for as long as the guard lives.
    pub(crate) fn hold(&self) -> std::sync::MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins again where a log begins. The caller holds off flushes.
    pub(crate) fn begin_at(&self, at: i64) {
        self.at.store(at, Ordering::Release);
        self.changed.send_replace(at);
    }

    fn fail(&self) {
        self.changed.send_replace(FAILED);
    }
}

/// How often everything is flushed, however little it is.
#[derive(Debug)]
pub(crate) struct Pace {
    thorough_ns: u64,
}

impl Pace {
    /// Begins to count now.
    pub(crate) fn new(now_ns: u64) -> Self {
        Self { thorough_ns: now_ns }
    }

    /// Returns how many pages must wait for a flush to be worth it now: `usual`, but 0 once in `thorough_interval_ms`.
    pub(crate) fn least_pages(&mut self, now_ns: u64, thorough_interval_ms: u64, usual: u32) -> u32 {
        if now_ns - self.thorough_ns < thorough_interval_ms.saturating_mul(1_000_000) {
            return usual;
        }
        self.thorough_ns = now_ns;
        0
    }
}

/// The store's threads, for waking them.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    flush: OnceLock<Thread>,
    keeper: OnceLock<Thread>,
    room: OnceLock<Thread>,
    /// Whether the room thread was woken and has not looked yet.
    room_called: AtomicBool,
    asleep: AtomicBool,
    /// Whether the keeper waits for its next look for old files, because no queue waits for the disk.
    pub(crate) keeper_idle: AtomicBool,
    stopping: AtomicBool,
}

impl Threads {
    /// Wakes the flush thread if it sleeps because there was nothing to do.
    #[inline]
    pub(crate) fn wake_if_asleep(&self) {
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Wakes the room thread, unless somebody did already.
    pub(crate) fn make_room(&self) {
        if !self.room_called.swap(true, Ordering::AcqRel)
            && let Some(thread) = self.room.get()
        {
            thread.unpark();
        }
    }

    /// Tells the keeper, if it has nothing to do, that there is something.
    fn wake_idle_keeper(&self) {
        if self.keeper_idle.load(Ordering::Relaxed)
            && self.keeper_idle.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.keeper.get()
        {
            thread.unpark();
        }
    }

    fn wake_flush(&self) {
        if let Some(thread) = self.flush.get() {
            thread.unpark();
        }
    }

    /// Wakes every thread.
    pub(crate) fn wake(&self) {
        for thread in [&self.flush, &self.keeper, &self.room] {
            if let Some(thread) = thread.get() {
                thread.unpark();
            }
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

/// Starts the flush, the room and the keeper thread.
pub(crate) fn start_threads(store: &Arc<MessageStore>, lifecycle: &Lifecycle) -> Result<(), Error> {
    // The keeper looks when there is something to keep; who asks whether messages are taken must hear it before the first.
    store.check_disk_space();
    let no_thread = |name: &str| Error::io("start a thread for", std::path::Path::new(name));
    let flushing = Arc::clone(store);
    let body = move || {
        let _ = flushing.threads.flush.set(std::thread::current());
        flushing.flush_loop();
    };
    lifecycle.thread("store-flush", body).map_err(no_thread("the commit log"))?;
    let making = Arc::clone(store);
    let body = move || {
        let _ = making.threads.room.set(std::thread::current());
        making.room_loop();
    };
    lifecycle.thread("store-room", body).map_err(no_thread("room in the commit log"))?;
    let keeping = Arc::clone(store);
    let body = move || {
        let _ = keeping.threads.keeper.set(std::thread::current());
        keeping.keeper_loop();
    };
    lifecycle.thread("store-keeper", body).map_err(no_thread("the consume queues"))
}

/// Ends the store's work. See [`MessageStore::stop`].
pub(crate) fn stop(store: &MessageStore) {
    stop_within(store, STOP_FLUSH_NS);
}

/// Does so with another limit for flushing queues.
pub(crate) fn stop_within(store: &MessageStore, flush_ns: u64) {
    if store.threads.stopping.swap(true, Ordering::SeqCst) {
        return;
    }
    store.refuse(Refusal::Stopped, || "the broker is stopping".to_owned());
    // Whoever holds the put lock now is the last: puts look once more when they have it.
    drop(store.log.lock());
    store.threads.wake();
    if let Err(error) = store.log.give_back_room() {
        tracing::warn!(%error, "space that was taken ahead stays taken");
    }
    let finished = finish(store, flush_ns);
    if let Err(error) = &finished {
        tracing::error!(%error, "the store could not be closed in order; the next start will check it");
    }
    let abort_file = store.options.load().abort_file.clone();
    let behind = store.dispatch_behind_bytes();
    match finished {
        Ok(0) if behind == 0 && !store.is_refused(Refusal::Poisoned) => {
            if let Err(error) = super::roll::write(store) {
                tracing::warn!(%error, "the next start will not notice queues that are taken away");
            }
            if let Err(error) = store.disk.remove(&abort_file) {
                tracing::error!(%error, path = %abort_file.display(), "the mark of a store in use could not be removed");
            }
        }
        Ok(left) if behind == 0 && !store.is_refused(Refusal::Poisoned) => {
            tracing::info!(
                queues = left,
                "the system will write these queues; a start after the system went down checks them"
            );
        }
        _ => {
            tracing::warn!(
                behind,
                "the store keeps its mark of a store in use; the next start will check it"
            );
        }
    }
}

/// Flushes the log, and the queues as far as time allows; returns how many were left to the operating system. They are
/// in the page cache, and the mark of a store in use names this run of the system: the next start goes on at once in
/// the same run, and checks them in another one.
fn finish(store: &MessageStore, flush_ns: u64) -> Result<usize, Error> {
    store.check_poison()?;
    store.flush_commit_log(0)?;
    store.dispatch_and_wait();
    if store.flushed.unsure.load(Ordering::SeqCst) {
        // Only a flush of the whole volume would help, which takes its time.
        return Ok(1);
    }
    let waiting = store.take_waiting_queues();
    let timestamp = store.log.last_timestamp();
    let began_ns = store.clock.elapsed_ns();
    for (done, queue) in waiting.iter().enumerate() {
        if store.clock.elapsed_ns() - began_ns >= flush_ns {
            return Ok(waiting.len() - done);
        }
        queue.flush(store.queues.space(), 0)?;
    }
    store.queues.sync_names(&waiting)?;
    store.index.flush()?;
    store.checkpoint.set(Field::Logics, timestamp);
    store.checkpoint.set_safe(store.flushed.get());
    store.checkpoint.flush(&*store.disk)?;
    Ok(0)
}

impl MessageStore {
    /// Flushes the commit log if at least `least_pages` pages wait; says whether it did.
    pub(crate) fn flush_commit_log(&self, least_pages: u32) -> Result<bool, Error> {
        let _one = self.flushed.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // The time stamp first: it must not be that of a record written after `end` was read.
        let timestamp = self.log.last_timestamp();
        let (from, end) = (self.flushed.get(), self.log.written());
        if from >= end || end / PAGE_BYTES - from / PAGE_BYTES < i64::from(least_pages) {
            return Ok(false);
        }
        self.check_poison()?;
        if self.faults.strikes(FaultPoint::Flush, "") {
            return Ok(false);
        }
        if let Err(error) = self.log.flush(&*self.disk, from, end) {
            self.poison(&error);
            return Err(error);
        }
        self.flushed.advance(end);
        self.checkpoint.set(Field::Physic, timestamp);
        Ok(true)
    }

    /// Returns once everything that was put before is on the disk; says whether it is. If not, nothing may be written down
    /// that follows from it: after a power cut it would be known, and the messages gone. Blocks.
    ///
    /// Whoever calls it may hold a lock that a hearer of arrivals wants, so the flush thread makes visible what is now
    /// flushed under SYNC_FLUSH.
    pub fn settle(&self) -> bool {
        let end = self.log.written();
        if self.flushed.get() < end {
            match self.flush_commit_log(0) {
                Ok(true) => self.threads.wake_flush(),
                Ok(false) => {}
                Err(error) => tracing::error!(%error, "flush failed"),
            }
        }
        self.flushed.get() >= end
    }

    /// Fails once a flush has failed.
    pub(crate) fn check_poison(&self) -> Result<(), Error> {
        if self.is_refused(Refusal::Poisoned) {
            let reason = self.refusal_reason().unwrap_or_default();
            return Err(Error::Poisoned { reason });
        }
        Ok(())
    }

    /// Ends all flushing and vouching, because a flush failed.
    pub(crate) fn poison(&self, error: &Error) {
        if self.is_refused(Refusal::Poisoned) {
            return;
        }
        self.refuse(Refusal::Poisoned, || {
            format!("a flush failed, so what the disk holds is unknown; restart the broker: {error}")
        });
        self.flushed.fail();
        if let Err(error) = super::recover::mark_unflushed(&*self.disk, &self.options.load().abort_file) {
            tracing::error!(%error, "the next start will not know that a flush failed");
        }
    }

    fn flush_loop(&self) {
        let mut pace = Pace::new(self.clock.elapsed_ns());
        while !self.threads.is_stopping() {
            if self.flush_disk_type() == FlushDiskType::Sync
                && self.dispatched.load(Ordering::Relaxed) < self.confirmed()
            {
                // Another thread flushed, in `settle`, or before this mode was chosen.
                self.dispatch();
            }
            let poisoned = self.is_refused(Refusal::Poisoned);
            if poisoned || self.flushed.get() >= self.log.written() {
                self.sleep_until_written(poisoned);
                continue;
            }
            if self.flush_disk_type() == FlushDiskType::Sync {
                match self.flush_commit_log(0) {
                    Ok(true) => self.dispatch(),
                    Ok(false) => std::thread::park_timeout(FAULT_PAUSE),
                    Err(error) => tracing::error!(%error, "flush failed"),
                }
            } else {
                let pause_ms = self.options.load().flush_interval_commit_log_ms.max(1);
                std::thread::park_timeout(Duration::from_millis(pause_ms));
                self.flush_at_interval(&mut pace);
            }
            self.threads.wake_idle_keeper();
        }
    }

    /// What is done after each `flushIntervalCommitLog` under ASYNC_FLUSH.
    pub(crate) fn flush_at_interval(&self, pace: &mut Pace) {
        let options = self.options.load();
        let thorough_ms = options.flush_commit_log_thorough_interval_ms;
        let usual = options.flush_commit_log_least_pages;
        let least_pages = pace.least_pages(self.clock.elapsed_ns(), thorough_ms, usual);
        if let Err(error) = self.flush_commit_log(least_pages) {
            tracing::error!(%error, "flush failed");
        }
    }

    /// Sleeps until a put wakes the thread, unless there was one just now.
    fn sleep_until_written(&self, poisoned: bool) {
        self.threads.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let written = !poisoned && self.flushed.get() < self.log.written();
        if !written && !self.threads.is_stopping() {
            std::thread::park();
        }
        self.threads.asleep.store(false, Ordering::SeqCst);
    }

    fn room_loop(&self) {
        while !self.threads.is_stopping() {
            self.threads.room_called.store(false, Ordering::Release);
            if self.log.wants_room()
                && let Err(error) = self.log.make_room()
            {
                // The put that needs the room tries again and tells its client.
                tracing::debug!(%error, "no room ahead");
                std::thread::park_timeout(FAULT_PAUSE);
            }
            if !self.log.wants_room() {
                std::thread::park();
            }
        }
    }
}
