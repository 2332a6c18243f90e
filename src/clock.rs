//! One source of wall time and of sleeping for everything a server decides by time.
//!
//! Wall time is the machine's plus a skew that a person may move; it follows the machine's clock when that is set or the
//! machine has slept. In a test it is a given time plus what tokio's clock has measured since, plus the skew, so that
//! paused tokio time and a user who lets two hours pass are one mechanism. Intervals ([`Clock::sleep`]) are measured by
//! the monotonic clock plus the skew: setting the machine's clock shortens and prolongs none. Elapsed time for
//! latency figures ([`Clock::elapsed_ns`]) is monotonic and knows no skew, nor does the time by which the silence of
//! peers is measured ([`Clock::liveness_ms`]). Nothing else in the house asks the operating system what time it is.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
    /// Whether wall time is the machine's, not that of the start plus what has passed since.
    follows_machine: bool,
    skew_ms: AtomicI64,
    /// Sleepers watch this and look at their deadline again whenever the skew moves.
    moved: watch::Sender<i64>,
    /// What is due when, with a number that tells equal times apart.
    appointments: Mutex<BTreeSet<(i64, u64)>>,
    next_appointment: AtomicU64,
}

/// Appointments that one journey keeps in order; what is due after them happens together at its end.
const APPOINTMENTS_PER_JOURNEY_MAX: usize = 2_000;
/// Longest time after which a sleeper that has an appointment looks whether somebody has set the machine's clock. Nothing
/// says so by itself, and a machine that slept is noticed no other way.
const NAP_MAX: Duration = Duration::from_secs(1);
/// How often a journey looks whether an appointment is over, and the time it leaves for what follows from one.
const LOOK_AROUND: Duration = Duration::from_millis(1);
/// How often it looks before it goes on without: who keeps an appointment may have to wait for the disk.
const LOOKS_MAX: usize = 1_000;

/// A time that never comes, for [`Clock::appoint`].
pub const NEVER_MS: i64 = i64::MAX;
/// Longest journey.
const JOURNEY_DAYS_MAX: i64 = 365;

/// Reads a span of time as a person types it, such as `90s`, `2h 30m` or `3d`; the error says what is allowed.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let days_are_24_hours = jiff::SpanRelativeTo::days_are_24_hours();
    let span = text.parse::<jiff::Span>().and_then(|span| span.to_duration(days_are_24_hours));
    let span = span.ok().and_then(|span| Duration::try_from(span).ok());
    let limit = Duration::from_hours(JOURNEY_DAYS_MAX as u64 * 24);
    span.filter(|span| *span >= Duration::from_millis(1) && *span <= limit).ok_or_else(|| {
        format!("\"{text}\" is no span of time: allowed is 1ms to {JOURNEY_DAYS_MAX}d, such as 500ms, 90s, 2h 30m or 3d")
    })
}

/// A time at which somebody has something to do. Held until that is done, and until the next appointment is made if there
/// is one: a journey waits for it.
#[derive(Debug)]
#[must_use = "dropped, it is over"]
pub struct Appointment {
    clock: Clock,
    key: (i64, u64),
}

impl Appointment {
    /// Sleeps until its time has come; returns at once when it already has.
    pub async fn come(&self) {
        if self.key.0 == NEVER_MS {
            return std::future::pending().await;
        }
        self.clock.wait_until(self.key.0, Clock::now_ms, NAP_MAX).await;
    }
}

impl Drop for Appointment {
    fn drop(&mut self) {
        self.clock.inner.appointments().remove(&self.key);
    }
}

impl Inner {
    fn appointments(&self) -> std::sync::MutexGuard<'_, BTreeSet<(i64, u64)>> {
        self.appointments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    /// Makes a clock that shows the machine's wall time, now and whenever it is asked.
    pub fn new() -> Self {
        Self::made(machine_ms(), true)
    }

    /// Makes a clock that shows `now_ms` (milliseconds since 1970) at this moment and from then on follows tokio's
    /// clock; for tests.
    pub fn starting_at(now_ms: i64) -> Self {
        Self::made(now_ms, false)
    }

    fn made(now_ms: i64, follows_machine: bool) -> Self {
        Self {
            inner: Arc::new(Inner {
                started: Instant::now(),
                started_ms: now_ms,
                follows_machine,
                skew_ms: AtomicI64::new(0),
                moved: watch::Sender::new(0),
                appointments: Mutex::default(),
                next_appointment: AtomicU64::new(0),
            }),
        }
    }

    /// Returns the wall time in milliseconds since 1970, skew included.
    pub fn now_ms(&self) -> i64 {
        self.unskewed_ms() + self.skew_ms()
    }

    /// Returns the wall time without the skew, in milliseconds since 1970: what others' clocks show.
    pub fn unskewed_ms(&self) -> i64 {
        if self.inner.follows_machine { machine_ms() } else { self.liveness_ms() }
    }

    /// Returns nanoseconds since this clock was made: monotonic, without the skew, for measuring.
    pub fn elapsed_ns(&self) -> u64 {
        self.inner.started.elapsed().as_nanos() as u64
    }

    /// Returns the time by which the silence of peers is measured, in milliseconds: the wall time of the start plus
    /// what the monotonic clock has measured since. Neither travel nor setting the machine's clock makes anybody silent.
    pub fn liveness_ms(&self) -> i64 {
        self.inner.started_ms + self.inner.started.elapsed().as_millis() as i64
    }

    /// Returns the wall time without the skew at which [`Clock::liveness_ms`] was `at_ms`, for showing it to a person.
    pub fn unskewed_ms_of_liveness(&self, at_ms: i64) -> i64 {
        self.unskewed_ms() - (self.liveness_ms() - at_ms)
    }

    /// Lets `span` pass at once: every sleeper whose deadline it reaches wakes now, in no particular order.
    pub fn travel(&self, span: Duration) {
        let skew = self.inner.skew_ms.fetch_add(span.as_millis() as i64, Ordering::Relaxed);
        self.inner.moved.send_replace(skew + span.as_millis() as i64);
    }

    /// Lets `span` pass at once, but stops at each [`Appointment`] on the way until it is over, so that what is due
    /// earlier also happens earlier, and what it brings about in turn happens, too.
    pub async fn travel_in_order(&self, span: Duration) {
        let end_ms = self.skew_ms() + span.as_millis() as i64;
        let mut overdue = BTreeSet::new();
        for _ in 0..APPOINTMENTS_PER_JOURNEY_MAX {
            let next = self.inner.appointments().iter().copied().find(|key| !overdue.contains(key));
            let Some(next) = next else { break };
            let step_ms = (next.0 - self.now_ms()).max(0);
            if self.skew_ms().saturating_add(step_ms) > end_ms {
                break;
            }
            self.travel(Duration::from_millis(step_ms as u64));
            overdue.insert(next);
            for _ in 0..LOOKS_MAX {
                tokio::time::sleep(LOOK_AROUND).await;
                if !self.inner.appointments().contains(&next) {
                    overdue.remove(&next);
                    break;
                }
            }
        }
        self.travel(Duration::from_millis((end_ms - self.skew_ms()).max(0) as u64));
    }

    /// Returns how far [`Clock::travel`] has moved this clock so far, in milliseconds.
    pub fn skew_ms(&self) -> i64 {
        self.inner.skew_ms.load(Ordering::Relaxed)
    }

    /// Makes an appointment for when the clock shows `at_ms` or later. For what is due at a time of its own.
    pub fn appoint(&self, at_ms: i64) -> Appointment {
        let key = (at_ms, self.inner.next_appointment.fetch_add(1, Ordering::Relaxed));
        self.inner.appointments().insert(key);
        Appointment { clock: self.clone(), key }
    }

    /// Sleeps for `span` of this clock's time, so that [`Clock::travel`] shortens it. For intervals and time-outs: a
    /// journey does not stop there.
    pub async fn sleep(&self, span: Duration) {
        let passed_ms = |clock: &Self| clock.liveness_ms() + clock.skew_ms();
        self.wait_until(passed_ms(self).saturating_add(span.as_millis() as i64), passed_ms, Duration::MAX)
            .await;
    }

    async fn wait_until(&self, at_ms: i64, now_ms: impl Fn(&Self) -> i64, nap_max: Duration) {
        let nap_max = if self.inner.follows_machine { nap_max } else { Duration::MAX };
        let mut moved = self.inner.moved.subscribe();
        loop {
            let left_ms = at_ms.saturating_sub(now_ms(self));
            if left_ms <= 0 {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(left_ms as u64).min(nap_max)) => {}
                _ = moved.changed() => {}
            }
        }
    }
}

fn machine_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
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

    /// On a journey things happen in the order in which they are due, also those that others bring about, and a mere
    /// interval is passed once.
    #[tokio::test]
    async fn a_journey_keeps_appointments_in_order() {
        let (clock, happened) = (Clock::starting_at(0), Arc::new(Mutex::new(Vec::new())));
        let mut tasks = Vec::new();
        for first_ms in [3_600_000, 1_000_000, 2_000_000] {
            let (clock, happened) = (clock.clone(), happened.clone());
            tasks.push(tokio::spawn(async move {
                let mut appointment = clock.appoint(first_ms);
                appointment.come().await;
                happened.lock().unwrap().push(first_ms);
                // It takes a while until it is known what comes next.
                tokio::time::sleep(LOOK_AROUND * 5).await;
                appointment = clock.appoint(first_ms + 500_000);
                appointment.come().await;
                happened.lock().unwrap().push(first_ms + 500_000);
            }));
        }
        let interval = clock.clone();
        tasks.push(tokio::spawn(async move { interval.sleep(Duration::from_secs(1)).await }));
        while clock.inner.appointments().len() < 3 {
            tokio::task::yield_now().await;
        }
        clock.travel_in_order(Duration::from_secs(7200)).await;
        for task in tasks {
            task.await.unwrap();
        }
        let due = [1_000_000, 1_500_000, 2_000_000, 2_500_000, 3_600_000, 4_100_000];
        assert_eq!(*happened.lock().unwrap(), due);
        assert_eq!(clock.skew_ms(), 7_200_000);
    }

    /// Spans are read as people write them; nothing, the past and more than a year are not spans.
    #[test]
    fn spans() {
        for (text, seconds) in
            [("90s", 90), ("2h 30m", 9_000), ("2h30m", 9_000), ("3d", 259_200), ("365d", 31_536_000)]
        {
            assert_eq!(parse_span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse_span("500ms"), Ok(Duration::from_millis(500)));
        for text in ["", "2", "h", "-1h", "0s", "366d", "1y", "999999999999999999999h", "2 h and a bit"] {
            assert!(parse_span(text).unwrap_err().contains("allowed is 1ms to 365d"), "{text}");
        }
    }

    /// A server's clock shows what the machine's shows, however much tokio's clock is ahead of it; intervals and silence
    /// go by tokio's.
    #[tokio::test(start_paused = true)]
    async fn follows_the_machine() {
        let clock = Clock::new();
        let (wall_ms, liveness_ms) = (machine_ms(), clock.liveness_ms());
        clock.sleep(Duration::from_secs(86_400)).await;
        assert_eq!(clock.liveness_ms() - liveness_ms, 86_400_000);
        assert!(
            (wall_ms..wall_ms + 3_600_000).contains(&clock.now_ms()),
            "{} after {wall_ms}",
            clock.now_ms()
        );
        clock.travel(Duration::from_secs(7_200));
        assert!((wall_ms..wall_ms + 3_600_000).contains(&clock.unskewed_ms()));
        assert!(clock.now_ms() >= wall_ms + 7_200_000);
        let shown_ms = clock.unskewed_ms_of_liveness(clock.liveness_ms() - 86_400_000);
        assert!(
            (wall_ms - 86_400_000..wall_ms - 82_800_000).contains(&shown_ms),
            "{shown_ms} after {wall_ms}"
        );
    }

    /// Paused tokio time moves the wall time too, so simulated tests see one clock.
    #[tokio::test(start_paused = true)]
    async fn follows_tokio_time() {
        let clock = Clock::starting_at(5);
        tokio::time::advance(Duration::from_millis(37)).await;
        assert_eq!(clock.now_ms(), 42);
    }
}
