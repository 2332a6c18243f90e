//! Copies of counters over time, and what they say about the last minute, hour and day.
//!
//! | window | copies | every |
//! |---|---|---|
//! | minute | 7 | 10 s |
//! | hour | 7 | 10 min |
//! | day | 25 | 1 h |
//!
//! A window's sum is the difference between now and its oldest copy. Nothing is kept for counters that are
//! zero. Mirrors `StatsItem`, with one difference: the reference's figures end at the last copy.

use std::collections::VecDeque;

/// Sum, rate and average of one counter over a window of time (`StatsSnapshot`).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Increase within the window.
    pub sum: u64,
    /// Increase per second.
    pub tps: f64,
    /// Increase per call.
    pub avgpt: f64,
}

/// The figures of one counter over the three windows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Windows {
    /// The last minute.
    pub minute: Figures,
    /// The last hour.
    pub hour: Figures,
    /// The last day.
    pub day: Figures,
}

/// Copies of the `N` counters of one thing.
#[derive(Debug, Default)]
pub(super) struct History<const N: usize> {
    windows: Option<Box<[Window<N>; 3]>>,
}

#[derive(Debug)]
struct Window<const N: usize> {
    interval_ms: i64,
    copies_max: usize,
    copies: VecDeque<(i64, [u64; N])>,
}

impl<const N: usize> Window<N> {
    fn new(interval_ms: i64, copies_max: usize) -> Self {
        Self { interval_ms, copies_max, copies: VecDeque::new() }
    }

    fn sample(&mut self, now_ms: i64, counts: [u64; N]) {
        let last = self.copies.back().map(|(last_ms, _)| *last_ms);
        if last.is_none() {
            // What was counted before the first copy was counted within one interval, it is assumed.
            self.copies.push_back((now_ms - self.interval_ms, [0; N]));
        }
        // Whoever calls may do so more often; a little early is better than one tick late.
        let due = last.is_none_or(|last_ms| now_ms - last_ms >= self.interval_ms - 1_000);
        if due {
            self.copies.push_back((now_ms, counts));
        }
        while self.copies.len() > self.copies_max {
            self.copies.pop_front();
        }
    }

    fn figures(&self, now_ms: i64, now: &[u64; N], calls: usize, value: usize) -> Figures {
        let (since_ms, since) = match self.copies.front() {
            Some((at_ms, counts)) => (*at_ms, Some(counts)),
            None => (now_ms - self.interval_ms, None),
        };
        let grown = |count: usize| {
            let before = since.and_then(|counts| counts.get(count)).copied().unwrap_or_default();
            now.get(count).map_or(0, |value| value.saturating_sub(before))
        };
        let (sum, calls) = (grown(value), grown(calls));
        Figures {
            sum,
            tps: per_second(sum, now_ms - since_ms),
            avgpt: if calls == 0 { 0.0 } else { sum as f64 / calls as f64 },
        }
    }
}

impl<const N: usize> History<N> {
    /// Keeps a copy where one is due.
    pub(super) fn sample(&mut self, now_ms: i64, counts: [u64; N]) {
        if self.windows.is_none() && counts.iter().all(|count| *count == 0) {
            return;
        }
        let windows = self.windows.get_or_insert_with(|| {
            Box::new([Window::new(10_000, 7), Window::new(600_000, 7), Window::new(3_600_000, 25)])
        });
        for window in windows.iter_mut() {
            window.sample(now_ms, counts);
        }
    }

    /// Computes the figures of the counter at `value`; `calls` is the counter that its average divides by.
    pub(super) fn windows(&self, now_ms: i64, now: &[u64; N], calls: usize, value: usize) -> Windows {
        let figures = |window: usize| match &self.windows {
            Some(windows) => windows[window].figures(now_ms, now, calls, value),
            None => {
                Window::<N>::new([10_000, 600_000, 3_600_000][window], 0).figures(now_ms, now, calls, value)
            }
        };
        Windows { minute: figures(0), hour: figures(1), day: figures(2) }
    }

    /// Computes how fast a counter grew over the last `span_ms`, or since `boot_ms` if that is shorter.
    pub(super) fn rate(&self, now_ms: i64, now: u64, count: usize, span_ms: i64, boot_ms: i64) -> f64 {
        // The minute's copies reach back 60 seconds, the hour's 600.
        let copies = self.windows.as_ref().map(|windows| &windows[usize::from(span_ms > 60_000)].copies);
        let oldest_ms = now_ms - span_ms;
        let earlier = copies.and_then(|copies| copies.iter().rev().find(|(at_ms, _)| *at_ms <= oldest_ms));
        let (since_ms, before) = match (earlier, copies.and_then(VecDeque::front)) {
            (Some((at_ms, counts)), _) => (*at_ms, counts.get(count)),
            (None, Some((_, counts))) => (oldest_ms, counts.get(count)),
            (None, None) => (oldest_ms, None),
        };
        let grown = now.saturating_sub(before.copied().unwrap_or_default());
        per_second(grown, now_ms - since_ms.max(boot_ms))
    }
}

fn per_second(sum: u64, span_ms: i64) -> f64 {
    // A clock that was moved must not divide by nothing.
    sum as f64 * 1000.0 / span_ms.max(1_000) as f64
}

/// The names of `BrokerStatsManager` and the counters behind them.
pub(super) struct Names {
    topic: &'static [(&'static str, usize)],
    group: &'static [(&'static str, usize, usize)],
    broker: &'static [(&'static str, usize)],
}

/// Positions are those of `TopicStats::counts`, `GroupCount` and `Totals::counts`.
pub(super) const NAMES: Names = Names {
    topic: &[("TOPIC_PUT_NUMS", 1), ("TOPIC_PUT_SIZE", 2)],
    group: &[
        ("GROUP_GET_NUMS", 0, 1),
        ("GROUP_GET_SIZE", 0, 2),
        ("GROUP_GET_LATENCY", 0, 4),
        ("SNDBCK_PUT_NUMS", 5, 5),
        ("DLQ_PUT_NUMS", 6, 6),
        ("GROUP_ACK_NUMS", 7, 7),
        ("GROUP_CK_NUMS", 8, 8),
    ],
    broker: &[
        ("BROKER_PUT_NUMS", 0),
        ("BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC", 1),
        ("BROKER_GET_NUMS", 2),
        ("BROKER_GET_NUMS_WITHOUT_SYSTEM_TOPIC", 3),
        ("BROKER_ACK_NUMS", 6),
        ("BROKER_CK_NUMS", 7),
    ],
};

impl Names {
    /// Counter of calls and counter of the value, for a figure kept per topic.
    pub(super) fn topic(&self, name: &str) -> Option<(usize, usize)> {
        self.topic.iter().find(|(known, _)| *known == name).map(|(_, value)| (0, *value))
    }

    /// Counter of calls and counter of the value, for a figure kept per topic and group.
    pub(super) fn group(&self, name: &str) -> Option<(usize, usize)> {
        self.group.iter().find(|(known, ..)| *known == name).map(|(_, calls, value)| (*calls, *value))
    }

    /// Counter of the value, for a figure of the whole broker.
    pub(super) fn broker(&self, name: &str) -> Option<usize> {
        self.broker.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}
