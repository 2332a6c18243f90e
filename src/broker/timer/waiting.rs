//! What waits for its time: the order of timers, what is cancelled, and what was delivered before the start.
//!
//! Flows in: the records of the timer topic in their order. Flows out: the queue offsets of those that are due, in
//! the order of their times. Knows neither clock nor store. Mirrors what `TimerMessageStore` reads from its slots.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

use crate::store::timer::TimerProgress;
use crate::wire::message::MessageRecord;
use crate::wire::message::property_name::{
    REAL_TOPIC, TIMER_DEL_UNIQKEY, TIMER_DELAY_MS, TIMER_DELAY_SEC, TIMER_DELIVER_MS, TIMER_OUT_MS,
    TIMER_ROLL_TIMES, UNIQ_KEY,
};

/// Apache's slots begin at multiples of this, whatever its precision.
const APACHE_STEP_MS: i64 = 100;
/// Longest slot of an Apache broker.
const APACHE_SLOT_MS: i64 = 1_000;
/// Timers further away than this may have been put again by Apache, which by default does so after two days.
const FAR_MS: i64 = 3_600_000;

/// A timer: when it is due, and its place in the timer topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timer {
    pub(super) due_ms: i64,
    pub(super) offset: i64,
}

/// What is known of the time before the start.
#[derive(Debug)]
pub(super) enum Before {
    /// Nothing: all that is in the topic waits.
    Nothing,
    /// What we have written, after a clean stop with where the messages are that waited. The order of times alone
    /// tells that too, unless the clock was moved.
    Ours(TimerProgress, Option<HashSet<i64>>),
    /// What an Apache broker has written: before this message those with earlier times are delivered.
    Apache { next_unread: i64, last_read_time_ms: i64 },
}

/// The timers that wait.
#[derive(Debug)]
pub(super) struct Waiting {
    heap: BinaryHeap<Reverse<Timer>>,
    next_unread: i64,
    before: Before,
    /// Messages before this one were read before the start.
    restored_until: i64,
    slot_ms: i64,
    /// Keys of cancelling messages that wait, and their slots.
    cancelled: HashMap<String, i64>,
    /// While restoring: where a far timer is, by key and time, in case it was put again.
    far: HashMap<String, i64>,
    /// Timers of which there is a later copy.
    put_again: HashSet<i64>,
    /// Timers by topic: how many, and when this changed.
    counts: BTreeMap<String, (i64, i64)>,
}

impl Waiting {
    /// Begins to read a topic that goes from `min` to `max`, for slots of `slot_ms`.
    pub(super) fn new(before: Before, min: i64, max: i64, slot_ms: i64) -> Self {
        let (next_unread, restored_until) = match &before {
            Before::Nothing => (min, min),
            Before::Ours(progress, _) => {
                (progress.first_waiting.clamp(min, max), progress.next_unread.clamp(min, max))
            }
            Before::Apache { next_unread, .. } => (min, (*next_unread).clamp(min, max)),
        };
        Self {
            heap: BinaryHeap::new(),
            next_unread,
            before,
            restored_until,
            slot_ms,
            cancelled: HashMap::new(),
            far: HashMap::new(),
            put_again: HashSet::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Returns the next message to read.
    pub(super) fn next_unread(&self) -> i64 {
        self.next_unread
    }

    /// Notes that everything before `offset` is read.
    pub(super) fn read_until(&mut self, offset: i64) {
        self.next_unread = offset;
        if self.is_restored() && !matches!(self.before, Before::Nothing) {
            self.far = HashMap::new();
            self.before = Before::Nothing;
        }
    }

    /// Says whether everything of the time before the start is read.
    pub(super) fn is_restored(&self) -> bool {
        self.next_unread >= self.restored_until
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Returns when the first timer is due.
    pub(super) fn first_ms(&self) -> Option<i64> {
        self.heap.peek().map(|first| first.0.due_ms)
    }

    /// Returns the queue offsets of all that waits, in order.
    pub(super) fn offsets(&self) -> Vec<i64> {
        let mut offsets: Vec<_> = self.heap.iter().map(|timer| timer.0.offset).collect();
        offsets.retain(|offset| !self.put_again.contains(offset));
        offsets.sort_unstable();
        offsets
    }

    /// Returns the timers that are due first, in order.
    pub(super) fn first(&self, max: usize) -> Vec<Timer> {
        let mut timers: Vec<_> = self.heap.iter().map(|timer| timer.0).collect();
        timers.retain(|timer| !self.put_again.contains(&timer.offset));
        if max < timers.len() {
            timers.select_nth_unstable(max);
            timers.truncate(max);
        }
        timers.sort_unstable();
        timers
    }

    /// Returns the timers by topic: how many, and when this changed.
    pub(super) fn counts(&self) -> &BTreeMap<String, (i64, i64)> {
        &self.counts
    }

    /// Returns what must be known after a restart.
    pub(super) fn progress(&self) -> TimerProgress {
        let first = self.heap.peek().map(|first| (first.0.due_ms, first.0.offset));
        TimerProgress {
            next_unread: self.next_unread,
            first_waiting: self.heap.iter().map(|timer| timer.0.offset).min().unwrap_or(self.next_unread),
            delivered: first.unwrap_or_default(),
        }
    }

    /// Takes a message of the topic, unless it was delivered before the start.
    pub(super) fn take(&mut self, record: &MessageRecord<'_>, now_ms: i64) {
        let Some(out_ms) = out_ms(record) else {
            let physical_offset = record.physical_offset;
            tracing::error!(physical_offset, "a timer does not say when it is due; passed over");
            return;
        };
        let offset = record.queue_offset;
        let cancels = record.property(TIMER_DEL_UNIQKEY);
        let due_ms = match cancels {
            // After all that it may cancel.
            Some(_) => self.slot(out_ms).saturating_add(self.slot_ms),
            None => due_ms(record, out_ms),
        };
        let restoring = offset < self.restored_until;
        if restoring && self.is_delivered(record, due_ms, out_ms) {
            return;
        }
        if let Some(key) = cancels {
            self.cancelled.insert(key.to_owned(), self.slot(out_ms));
        } else {
            self.count(record, 1, now_ms);
        }
        if restoring
            && out_ms.saturating_sub(record.born_timestamp) >= FAR_MS
            && let Some(key) = record.property(UNIQ_KEY)
        {
            let former = self.far.insert(format!("{out_ms} {key}"), offset);
            if let Some(former) = former.filter(|_| record.property(TIMER_ROLL_TIMES).is_some()) {
                self.put_again.insert(former);
            }
        }
        self.heap.push(Reverse(Timer { due_ms, offset }));
    }

    fn is_delivered(&self, record: &MessageRecord<'_>, due_ms: i64, out_ms: i64) -> bool {
        let offset = record.queue_offset;
        match &self.before {
            Before::Nothing => false,
            Before::Ours(progress, waiting) => {
                offset < progress.next_unread
                    && match waiting {
                        Some(waiting) => !waiting.contains(&record.physical_offset),
                        None => (due_ms, offset) < progress.delivered,
                    }
            }
            Before::Apache { next_unread, last_read_time_ms } => {
                offset < *next_unread && out_ms < *last_read_time_ms
            }
        }
    }

    /// Takes the first timer away if it is due.
    pub(super) fn pop_due(&mut self, now_ms: i64) -> Option<Timer> {
        self.first_ms().filter(|first_ms| *first_ms <= now_ms)?;
        self.heap.pop().map(|first| first.0)
    }

    /// Lets a timer wait on that was taken away.
    pub(super) fn put_back(&mut self, timer: Timer) {
        self.heap.push(Reverse(timer));
    }

    /// Says whether the message of a due timer is to be delivered: it neither cancels, nor is it cancelled, nor is
    /// there a later copy.
    pub(super) fn is_wanted(&self, record: &MessageRecord<'_>) -> bool {
        if record.property(TIMER_DEL_UNIQKEY).is_some() || self.put_again.contains(&record.queue_offset) {
            return false;
        }
        let (Some(key), false) = (record.property(UNIQ_KEY), self.cancelled.is_empty()) else { return true };
        let topic = record.property(REAL_TOPIC).unwrap_or_default();
        // Before 5.3 the key stood alone.
        let cancelled = self.cancelled.get(&format!("{topic}+{key}")).or_else(|| self.cancelled.get(key));
        cancelled.is_none_or(|slot| out_ms(record).is_none_or(|out_ms| self.slot(out_ms) != *slot))
    }

    /// Notes that a timer was dealt with.
    pub(super) fn done(&mut self, record: &MessageRecord<'_>, now_ms: i64) {
        if let Some(key) = record.property(TIMER_DEL_UNIQKEY) {
            self.cancelled.remove(key);
        } else {
            self.count(record, -1, now_ms);
        }
        self.put_again.remove(&record.queue_offset);
    }

    fn slot(&self, out_ms: i64) -> i64 {
        out_ms.div_euclid(self.slot_ms).saturating_mul(self.slot_ms)
    }

    fn count(&mut self, record: &MessageRecord<'_>, change: i64, now_ms: i64) {
        let Some(topic) = record.property(REAL_TOPIC) else { return };
        if let Some(known) = self.counts.get_mut(topic) {
            *known = (known.0 + change, now_ms);
            if known.0 <= 0 {
                self.counts.remove(topic);
            }
        } else if change > 0 {
            self.counts.insert(topic.to_owned(), (change, now_ms));
        }
    }
}

fn out_ms(record: &MessageRecord<'_>) -> Option<i64> {
    record.property(TIMER_OUT_MS)?.parse().ok()
}

/// Returns when a message is due. Ours says so in `TIMER_OUT_MS`; where Apache has rounded that to its slots, the
/// sender's wish counts, as far as it lies in the slot.
fn due_ms(record: &MessageRecord<'_>, out_ms: i64) -> i64 {
    let exact = out_ms.saturating_add(1);
    if out_ms % APACHE_STEP_MS != 0 {
        return exact;
    }
    let wish = |name| record.property(name).and_then(|text| text.parse::<i64>().ok());
    let asked = if let Some(seconds) = wish(TIMER_DELAY_SEC) {
        record.store_timestamp.saturating_add(seconds.saturating_mul(1_000))
    } else if let Some(span_ms) = wish(TIMER_DELAY_MS) {
        record.store_timestamp.saturating_add(span_ms)
    } else {
        wish(TIMER_DELIVER_MS).unwrap_or(exact)
    };
    asked.clamp(exact, exact.saturating_add(APACHE_SLOT_MS - 1))
}
