//! The keeper thread: flushes the consume queues and the index, writes the checkpoint, gives back what idle queues hold,
//! and looks for old files; mirrors `FlushConsumeQueueService`, and the timers of `DefaultMessageStore`.
//!
//! While queues wait for the disk it works at `flushIntervalConsumeQueue`, else at `cleanResourceInterval`, from which the
//! flush thread wakes it. It vouches in the checkpoint only for what was flushed without a failure: a flush that fails
//! poisons the store (see `flush`). A queue that cannot be opened was not flushed, and waits for the next round.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::checkpoint::Field;
use super::consume_queue::ConsumeQueue;
use super::flush::Pace;
use super::{Error, MessageStore, Refusal};

/// Queues above which the whole volume is flushed: flushing a file costs the disk more than writing its page.
const QUEUES_KEPT_SINGLY_MAX: usize = 1_024;
/// How long a queue must not be used for others to get its window. Making one costs more than many puts.
const IDLE_NS: u64 = 60_000_000_000;

/// When the keeper last did what it does now and then.
#[derive(Debug)]
pub(crate) struct Rounds {
    pace: Pace,
    idle_ns: u64,
    retention_ns: u64,
}

impl Rounds {
    /// Begins to count now.
    pub(crate) fn new(now_ns: u64) -> Self {
        Self { pace: Pace::new(now_ns), idle_ns: now_ns, retention_ns: now_ns }
    }
}

impl MessageStore {
    /// The keeper thread, until the store stops.
    pub(crate) fn keeper_loop(&self) {
        let mut rounds = Rounds::new(self.clock.elapsed_ns());
        // Before anything is vouched for, and so that a stop need not wait for it.
        if let Err(error) = self.make_sure() {
            self.poison(&error);
        }
        while !self.threads.is_stopping() {
            let options = self.options.load_full();
            let busy = self.has_to_keep();
            let pause_ms = if busy {
                options.flush_interval_consume_queue_ms
            } else {
                options.clean_resource_interval_ms
            };
            self.threads.keeper_idle.store(!busy, Ordering::SeqCst);
            std::thread::park_timeout(Duration::from_millis(pause_ms.max(10)));
            let woken = !busy && !self.threads.keeper_idle.swap(false, Ordering::SeqCst);
            if woken && self.has_to_keep() {
                // What there is to flush now has its own interval.
                continue;
            }
            if !self.threads.is_stopping() {
                self.keep_round(&mut rounds);
            }
        }
    }

    fn has_to_keep(&self) -> bool {
        let waiting = self.queues.is_dirty() || self.is_refused(Refusal::QueueError);
        waiting && !self.is_refused(Refusal::Poisoned)
    }

    /// What is done after each interval.
    pub(crate) fn keep_round(&self, rounds: &mut Rounds) {
        let options = self.options.load_full();
        let now_ns = self.clock.elapsed_ns();
        if self.is_refused(Refusal::QueueError) {
            self.dispatch();
        }
        let thorough_ms = options.flush_consume_queue_thorough_interval_ms;
        let usual = options.flush_consume_queue_least_pages;
        let least_pages = rounds.pace.least_pages(now_ns, thorough_ms, usual);
        if self.has_to_keep()
            && let Err(error) = self.keep(least_pages)
        {
            tracing::error!(%error, "consume queues could not be flushed");
        }
        if now_ns - rounds.idle_ns >= IDLE_NS {
            rounds.idle_ns = now_ns;
            self.queues.unmap_idle();
        }
        self.check_disk_space();
        if now_ns - rounds.retention_ns >= options.clean_resource_interval_ms.saturating_mul(1_000_000) {
            rounds.retention_ns = now_ns;
            self.retain();
        }
    }

    /// Flushes queues with at least `least_pages` pages waiting; with 0 all of them, and then the checkpoint. A failed
    /// flush poisons the store.
    pub(crate) fn keep(&self, least_pages: u32) -> Result<(), Error> {
        self.check_poison()?;
        let kept = self.keep_unpoisoned(least_pages);
        if let Err(error) = &kept
            && error.is_failed_flush()
        {
            self.poison(error);
        }
        kept
    }

    fn keep_unpoisoned(&self, least_pages: u32) -> Result<(), Error> {
        let (timestamp, dispatched) = {
            let dispatcher = self.lock_dispatcher();
            (dispatcher.timestamp, dispatcher.at)
        };
        let waiting = self.take_waiting_queues();
        self.queues.flush(waiting, least_pages, QUEUES_KEPT_SINGLY_MAX)?;
        if least_pages == 0 {
            self.index.flush()?;
            self.make_sure()?;
            self.checkpoint.set(Field::Logics, timestamp);
            self.checkpoint.set_safe(dispatched.min(self.flushed.get()));
            self.checkpoint.flush(&*self.disk)?;
        }
        Ok(())
    }

    /// Brings to the disk, once, what was written before this process and what recovery changed.
    pub(crate) fn make_sure(&self) -> Result<(), Error> {
        if self.flushed.unsure.load(Ordering::SeqCst) {
            let options = self.options.load();
            for dir in
                [&options.root, &options.commit_log_dir, &options.consume_queue_dir, &options.index_dir]
            {
                if dir.exists() {
                    self.disk.sync_volume(dir).map_err(Error::io("flush", dir))?;
                }
            }
            self.flushed.unsure.store(false, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Takes the queues that wait for a flush, and notes in the checkpoint how far dispatch is.
    pub(crate) fn take_waiting_queues(&self) -> Vec<Arc<ConsumeQueue>> {
        let dispatcher = self.lock_dispatcher();
        if dispatcher.last_record >= 0 {
            self.checkpoint.set(Field::Confirm, dispatcher.last_record);
        }
        self.queues.take_dirty()
    }
}
