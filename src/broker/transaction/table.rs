//! The half messages that nobody has decided yet, and how far both queues are done with: a state machine without
//! clock, store or network.
//!
//! A half message is asked about by storing a copy of it with one more check counted, so it has several places in
//! its queue, one after the other; `origin`, the first of them, names it for good. Progress is what a restart
//! begins from: before it there is no undecided half message, and no record of a decision that is still needed.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// One undecided half message: its latest copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Half {
    /// Queue offset of the first copy.
    pub(super) origin: i64,
    /// Where the latest copy is in the commit log.
    pub(in crate::broker) physical_offset: i64,
    /// How often its producers were asked.
    pub(in crate::broker) check_times: i32,
    /// When the latest copy was stored, milliseconds.
    pub(super) stored_ms: i64,
    /// When something is to be done about it, milliseconds.
    pub(in crate::broker) due_ms: i64,
    /// A check is counted, but no producer took the question.
    pub(super) unsent: bool,
    /// The group of which it waits for a producer.
    pub(in crate::broker) parked: Option<String>,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct HalfTable {
    /// By queue offset of the latest copy.
    halves: BTreeMap<i64, Half>,
    /// Where the latest copy is, for those that have several; by origin.
    moved: HashMap<i64, i64>,
    due: BTreeSet<(i64, i64)>,
    /// Those that wait for a producer of their group.
    parked: HashMap<String, BTreeSet<i64>>,
    /// One past the last half message.
    half_end: i64,
    /// Records of decisions that a restart may need: queue offset, and the last half message they name.
    ops: VecDeque<(i64, i64)>,
    /// One past the last record of decisions.
    op_end: i64,
}

impl HalfTable {
    /// Makes a table of queues in which everything before these offsets is done with.
    pub(super) fn starting_at(half_offset: i64, op_offset: i64) -> Self {
        Self { half_end: half_offset, op_end: op_offset, ..Self::default() }
    }

    /// Takes in a half message, in place of an earlier copy of it, whose queue offset is returned.
    pub(super) fn add(&mut self, queue_offset: i64, half: Half) -> Option<i64> {
        self.passed(queue_offset);
        let former = self.latest(half.origin);
        if let Some(former) = former {
            self.remove(former);
        }
        if half.origin != queue_offset {
            self.moved.insert(half.origin, queue_offset);
        }
        self.due.insert((half.due_ms, queue_offset));
        self.halves.insert(queue_offset, half);
        former
    }

    /// Counts a half message that is decided already.
    pub(super) fn passed(&mut self, queue_offset: i64) {
        self.half_end = self.half_end.max(queue_offset + 1);
    }

    /// Finds where the latest copy of an undecided half message is.
    pub(super) fn latest(&self, origin: i64) -> Option<i64> {
        let queue_offset = self.moved.get(&origin).copied().unwrap_or(origin);
        self.halves.get(&queue_offset).is_some_and(|half| half.origin == origin).then_some(queue_offset)
    }

    /// Returns an undecided half message by the queue offset of its latest copy.
    pub(super) fn get(&self, queue_offset: i64) -> Option<&Half> {
        self.halves.get(&queue_offset)
    }

    /// Takes a half message out, decided or given up.
    pub(super) fn remove(&mut self, queue_offset: i64) -> Option<Half> {
        let half = self.halves.remove(&queue_offset)?;
        self.due.remove(&(half.due_ms, queue_offset));
        self.moved.remove(&half.origin);
        if let Some(group) = &half.parked
            && let Some(waiting) = self.parked.get_mut(group)
        {
            waiting.remove(&queue_offset);
            if waiting.is_empty() {
                self.parked.remove(group);
            }
        }
        Some(half)
    }

    /// Sets when to look at a half message again, and whether its question is still to be sent.
    pub(super) fn put_off(&mut self, queue_offset: i64, due_ms: i64, unsent: bool) {
        if let Some(half) = self.halves.get_mut(&queue_offset) {
            self.due.remove(&(half.due_ms, queue_offset));
            half.due_ms = due_ms;
            half.unsent = unsent;
            self.due.insert((due_ms, queue_offset));
        }
    }

    /// Lets a half message wait for a producer of `group`, at most until `limit_ms`.
    pub(super) fn park(&mut self, queue_offset: i64, group: &str, limit_ms: i64) {
        if let Some(half) = self.halves.get_mut(&queue_offset) {
            half.parked = Some(group.to_owned());
            let unsent = half.unsent;
            self.put_off(queue_offset, limit_ms, unsent);
            self.parked.entry(group.to_owned()).or_default().insert(queue_offset);
        }
    }

    /// Makes everything due that waits for a producer of `group`; says whether there was something.
    pub(super) fn unpark(&mut self, group: &str, now_ms: i64) -> bool {
        let Some(waiting) = self.parked.remove(group) else { return false };
        for queue_offset in waiting {
            if let Some(half) = self.halves.get_mut(&queue_offset) {
                half.parked = None;
                let unsent = half.unsent;
                self.put_off(queue_offset, now_ms, unsent);
            }
        }
        true
    }

    /// Returns the half message to look at next and when.
    pub(super) fn next_due(&self) -> Option<(i64, i64)> {
        self.due.first().copied()
    }

    /// Returns the half messages to look at first, in order, at most `max`.
    pub(super) fn first_due(&self, max: usize) -> impl Iterator<Item = &Half> {
        self.due.iter().take(max).filter_map(|(_, queue_offset)| self.halves.get(queue_offset))
    }

    /// Takes note of a record of decisions; `last_half` is the last half message that it names.
    pub(super) fn op_written(&mut self, op_offset: i64, last_half: i64) {
        self.op_end = self.op_end.max(op_offset + 1);
        self.ops.push_back((op_offset, last_half));
    }

    /// Returns where a restart may begin in the half queue and in the queue of decisions.
    pub(super) fn progress(&mut self) -> (i64, i64) {
        let half_offset = self.halves.first_key_value().map_or(self.half_end, |(first, _)| *first);
        while self.ops.front().is_some_and(|(_, last_half)| *last_half < half_offset) {
            self.ops.pop_front();
        }
        (half_offset, self.ops.front().map_or(self.op_end, |(op_offset, _)| *op_offset))
    }

    /// Returns the first half message when more than `ops_max` records of decisions are kept on its account.
    pub(super) fn in_the_way(&mut self, ops_max: usize) -> Option<i64> {
        self.progress();
        let (first, _) = self.halves.first_key_value()?;
        (self.ops.len() > ops_max).then_some(*first)
    }

    /// Returns every undecided half message with the queue offset of its latest copy.
    pub(super) fn all(&self) -> impl Iterator<Item = (i64, &Half)> {
        self.halves.iter().map(|(queue_offset, half)| (*queue_offset, half))
    }

    /// Returns the number of undecided half messages.
    pub(super) fn len(&self) -> usize {
        self.halves.len()
    }
}
