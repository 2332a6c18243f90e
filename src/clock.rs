//! One source of wall time and of sleeping for everything a server decides by time.
//!
//! Wall time is the wall time at which the clock was made, plus what tokio's clock has measured since, plus
//! a skew that a person or a test may move. A test with paused tokio time and a user who lets two hours pass
//! therefore use one mechanism. Elapsed time for latency figures ([`Clock::elapsed_ns`]) is monotonic and
//! knows no skew. Nothing else in the house asks the operating system what time it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::Instant;

/// Tells the time and sleeps; clones share one skew.
#[derive(Clone, Debug)]
pub struct Clock {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    started: Instant,
    started_ms: i64,
    skew_ms: AtomicI64,
    /// Sleepers watch this and look at their deadline again whenever the skew moves.
    moved: watch::Sender<i64>,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    /// Makes a clock that shows the machine's wall time.
    pub fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::starting_at(since_epoch.as_millis() as i64)
    }

    /// Makes a clock that shows `now_ms` (milliseconds since 1970) at this moment; for tests.
    pub fn starting_at(now_ms: i64) -> Self {
        Self {
            inner: Arc::new(Inner {
                started: Instant::now(),
                started_ms: now_ms,
                skew_ms: AtomicI64::new(0),
                moved: watch::Sender::new(0),
            }),
        }
    }

    /// Returns the wall time in milliseconds since 1970, skew included.
    pub fn now_ms(&self) -> i64 {
        let elapsed = self.inner.started.elapsed().as_millis() as i64;
        self.inner.started_ms + elapsed + self.inner.skew_ms.load(Ordering::Relaxed)
    }

    /// Returns nanoseconds since this clock was made: monotonic, without the skew, for measuring.
    pub fn elapsed_ns(&self) -> u64 {
        self.inner.started.elapsed().as_nanos() as u64
    }

    /// Lets `span` pass at once: every sleeper whose deadline it reaches wakes now.
    pub fn travel(&self, span: Duration) {
        let skew = self.inner.skew_ms.fetch_add(span.as_millis() as i64, Ordering::Relaxed);
        self.inner.moved.send_replace(skew + span.as_millis() as i64);
    }

    /// Returns how far [`Clock::travel`] has moved this clock so far, in milliseconds.
    pub fn skew_ms(&self) -> i64 {
        self.inner.skew_ms.load(Ordering::Relaxed)
    }

    /// Sleeps until the clock shows `at_ms` or later; returns at once when it already does.
    pub async fn sleep_until(&self, at_ms: i64) {
        let mut moved = self.inner.moved.subscribe();
        loop {
            let left_ms = at_ms.saturating_sub(self.now_ms());
            if left_ms <= 0 {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(left_ms as u64)) => {}
                _ = moved.changed() => {}
            }
        }
    }

    /// Sleeps for `span` of this clock's time, so that [`Clock::travel`] shortens it.
    pub async fn sleep(&self, span: Duration) {
        self.sleep_until(self.now_ms().saturating_add(span.as_millis() as i64)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two hours pass without waiting: the sleeper wakes because the skew moved, not because time did.
    #[tokio::test(start_paused = true)]
    async fn travel_wakes_sleepers() {
        let clock = Clock::starting_at(1_000);
        let sleeper = clock.clone();
        let slept = tokio::spawn(async move { sleeper.sleep(Duration::from_secs(7200)).await });
        tokio::task::yield_now().await;
        clock.travel(Duration::from_secs(7200));
        slept.await.unwrap();
        assert_eq!(clock.now_ms(), 7_201_000);
    }

    /// Paused tokio time moves the wall time too, so simulated tests see one clock.
    #[tokio::test(start_paused = true)]
    async fn follows_tokio_time() {
        let clock = Clock::starting_at(5);
        tokio::time::advance(Duration::from_millis(37)).await;
        assert_eq!(clock.now_ms(), 42);
    }
}
