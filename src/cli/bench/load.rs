//! What all threads of one load share: the stop watch, the message budget, the counters and the result.
//!
//! In: limits. Out: one merged [`Outcome`], with a line of progress on stderr each second until then. A
//! thread that fails ends with its failure in the outcome; the others go on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::histogram::Histogram;
use crate::clock::Clock;

/// Distinct remarks that are kept; more are counted together.
const REMARKS_MAX: usize = 8;

/// The common state of a load's threads.
#[derive(Debug)]
pub(super) struct Load {
    epoch: Instant,
    epoch_ms: u64,
    deadline_ns: AtomicU64,
    limit: AtomicU64,
    taken: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
}

impl Load {
    /// Starts the watch; the load ends after `messages` or `duration`, whichever comes first.
    pub(super) fn start(messages: Option<u64>, duration: Option<Duration>) -> Self {
        Self {
            epoch: Instant::now(),
            epoch_ms: Clock::new().now_ms() as u64,
            deadline_ns: AtomicU64::new(duration.map_or(u64::MAX, |limit| limit.as_nanos() as u64)),
            limit: AtomicU64::new(messages.unwrap_or(u64::MAX)),
            taken: AtomicU64::new(0),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Makes the state of the receiving side of this load: same watch, own counters, no limit until
    /// [`Self::end_at`] sets one.
    pub(super) fn receiving_side(&self) -> Self {
        Self { epoch: self.epoch, epoch_ms: self.epoch_ms, ..Self::start(None, None) }
    }

    /// Ends the load once `total` messages are done, or after `grace` from now.
    pub(super) fn end_at(&self, total: u64, grace: Duration) {
        self.deadline_ns.store(self.now_ns() + grace.as_nanos() as u64, Ordering::Relaxed);
        self.limit.store(total, Ordering::Relaxed);
    }

    /// Returns the nanoseconds since the start.
    pub(super) fn now_ns(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Turns a reading of the watch into milliseconds since 1970.
    pub(super) fn wall_ms(&self, now_ns: u64) -> u64 {
        self.epoch_ms + now_ns / 1_000_000
    }

    /// Returns when the load ends at the latest.
    pub(super) fn deadline_ns(&self) -> u64 {
        self.deadline_ns.load(Ordering::Relaxed)
    }

    /// Takes up to `wanted` messages from the budget; 0 means that nothing is left.
    pub(super) fn take(&self, wanted: u64) -> u64 {
        let taken = self.taken.fetch_add(wanted, Ordering::Relaxed);
        self.limit.load(Ordering::Relaxed).saturating_sub(taken).min(wanted)
    }

    /// Says whether nothing more is to be done: the budget is used up or the time is over.
    pub(super) fn is_over(&self, now_ns: u64) -> bool {
        now_ns >= self.deadline_ns()
            || self.taken.load(Ordering::Relaxed) >= self.limit.load(Ordering::Relaxed)
    }

    /// Adds to the counters that the progress line shows.
    pub(super) fn count(&self, done: u64, failed: u64) {
        self.done.fetch_add(done, Ordering::Relaxed);
        self.failed.fetch_add(failed, Ordering::Relaxed);
    }
}

/// What one thread, or all of them, achieved.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// Acknowledged or received messages.
    pub(super) messages: u64,
    /// Their bodies (sent) or whole records (received).
    pub(super) bytes: u64,
    /// Messages that a filter let pass, where `messages` are those that it was asked about.
    pub(super) passed: u64,
    /// How long each took.
    pub(super) latency: Histogram,
    /// What went wrong, by text.
    pub(super) failures: BTreeMap<String, u64>,
    /// How long the whole took.
    pub(super) elapsed: Duration,
}

impl Outcome {
    /// Makes an empty outcome.
    pub(super) fn new() -> Self {
        Self {
            messages: 0,
            bytes: 0,
            passed: 0,
            latency: Histogram::new(),
            failures: BTreeMap::new(),
            elapsed: Duration::ZERO,
        }
    }

    /// Counts `count` failures under their text.
    pub(super) fn fail(&mut self, text: String, count: u64) {
        let known = self.failures.contains_key(&text) || self.failures.len() < REMARKS_MAX;
        let key = if known { text } else { "other failures".to_owned() };
        *self.failures.entry(key).or_default() += count;
    }

    /// Returns the number of failures.
    pub(super) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    fn merge(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.passed += other.passed;
        self.latency.merge(&other.latency);
        for (text, count) in other.failures {
            self.fail(text, count);
        }
    }
}

/// Runs one thread per job and merges their outcomes; shows progress each second unless `quiet`.
pub(super) fn run<J>(load: &Load, jobs: Vec<J>, quiet: bool) -> Outcome
where
    J: FnOnce() -> Outcome + Send,
{
    let (sender, results) = channel();
    std::thread::scope(|scope| {
        for job in jobs {
            let sender = sender.clone();
            scope.spawn(move || sender.send(job()));
        }
        drop(sender);
        let mut total = Outcome::new();
        let (mut shown_at, mut shown) = (Duration::ZERO, 0);
        loop {
            let next = shown_at + Duration::from_secs(1);
            match results.recv_timeout(next.saturating_sub(load.epoch.elapsed())) {
                Ok(outcome) => {
                    total.merge(outcome);
                    total.elapsed = load.epoch.elapsed();
                }
                Err(RecvTimeoutError::Timeout) => {
                    let (now, done) = (load.epoch.elapsed(), load.done.load(Ordering::Relaxed));
                    let rate = (done - shown) as f64 / now.saturating_sub(shown_at).as_secs_f64();
                    if !quiet {
                        let failed = load.failed.load(Ordering::Relaxed);
                        eprintln!("{:>5.0} s  {rate:>9.0} msg/s  errors {failed}", now.as_secs_f64());
                    }
                    (shown_at, shown) = (now, done);
                }
                Err(RecvTimeoutError::Disconnected) => return total,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_given_out_once() {
        let load = Load::start(Some(10), None);
        assert_eq!((load.take(4), load.is_over(0)), (4, false));
        assert_eq!((load.take(8), load.take(1), load.is_over(0)), (6, 0, true));
    }

    #[test]
    fn a_receiving_side_ends_when_all_that_was_sent_has_arrived_or_after_its_grace() {
        let receiving = Load::start(Some(1), None).receiving_side();
        receiving.take(7);
        assert!(!receiving.is_over(u64::MAX - 1));
        receiving.end_at(9, Duration::from_secs(30));
        assert!(!receiving.is_over(0));
        assert!(receiving.is_over(receiving.deadline_ns()));
        receiving.take(2);
        assert!(receiving.is_over(0));
    }

    #[test]
    fn outcomes_of_all_threads_are_added_and_remarks_stay_few() {
        let load = Load::start(None, None);
        let job = |thread: u64| {
            move || {
                let mut outcome = Outcome::new();
                outcome.messages = thread;
                outcome.fail(format!("remark {thread}"), 2);
                outcome
            }
        };
        let total = run(&load, (0..20).map(job).collect(), true);
        assert_eq!((total.messages, total.failed()), (190, 40));
        assert_eq!(total.failures.len(), REMARKS_MAX + 1);
    }
}
