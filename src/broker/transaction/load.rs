//! Finding at a start which half messages are undecided: from the offsets kept, through both queues to their ends.
//!
//! Flows in: the half messages and the records of decisions in the store, written by us or by an Apache broker of
//! any version. Flows out: the table. What was committed but not recorded, because the process was killed between
//! the two, is found by its unique key and recorded now (this needs the index).

use std::collections::{HashMap, HashSet};

use super::super::Broker;
use super::super::name::{SCHEDULE_TOPIC, TIMER_TOPIC, TRANS_HALF_TOPIC, TRANS_OP_HALF_TOPIC};
use super::{GROUP, HalfTable, QUEUE_ID, Stored};
use crate::store::{GetMessageStatus, QueueOffset, ReadLimits};
use crate::wire::message::property_name::{REAL_TOPIC, UNIQ_KEY};
use crate::wire::message::{MessageRecord, sys_flag};

/// Messages that are read from a queue at once.
const READ_MAX: usize = 256;
/// Messages with one unique key that are looked at.
const SAME_KEY_MAX: usize = 64;

impl Broker {
    /// Fills the table from the store.
    pub(in super::super) fn load_transactions(&self) {
        let mut state = self.transactions.lock();
        state.started_ms = self.clock.now_ms();
        state.asleep_until_ms = i64::MAX;
        if self.is_slave() {
            return;
        }
        let (half_from, op_from) =
            (self.kept_offset(TRANS_HALF_TOPIC), self.kept_offset(TRANS_OP_HALF_TOPIC));
        let mut table = HalfTable::starting_at(half_from, op_from);
        let mut done = HashSet::new();
        self.each_of_queue(TRANS_OP_HALF_TOPIC, op_from, |op| {
            let named: Vec<i64> = named_offsets(op.body).filter(|offset| *offset >= half_from).collect();
            table.op_written(op.queue_offset, named.iter().copied().max().unwrap_or(-1));
            done.extend(named);
        });
        let mut unrecorded = Vec::new();
        let mut by_key: HashMap<(String, i64), i64> = HashMap::new();
        let keys = self.keys();
        self.each_of_queue(TRANS_HALF_TOPIC, half_from, |record| {
            let stored = Stored::of(record);
            // A copy that Apache made says how often it was checked, and not of what it is a copy.
            let key = (record.property(UNIQ_KEY).unwrap_or_default().to_owned(), record.born_timestamp);
            if stored.check_times > 0
                && stored.origin == record.queue_offset
                && let Some(former) = by_key.remove(&key)
            {
                table.remove(former);
            }
            if done.contains(&record.queue_offset) {
                table.passed(record.queue_offset);
            } else if is_committed(self, &record, stored.origin) {
                table.passed(record.queue_offset);
                unrecorded.push((record.queue_offset, record.store_host));
            } else {
                table.add(record.queue_offset, stored.half(stored.due_ms(&keys, state.started_ms)));
                by_key.insert(key, record.queue_offset);
            }
        });
        for (_, half) in table.all() {
            // A start has few of them, if any.
            let bytes = super::read(self, half.physical_offset).ok().flatten();
            let record = bytes.as_ref().and_then(|bytes| MessageRecord::decode(bytes).ok());
            let topic = record.as_ref().and_then(|record| record.property(REAL_TOPIC));
            state.count(topic, |counts| counts.undecided += 1);
        }
        state.table = table;
        for (queue_offset, store_host) in unrecorded {
            tracing::info!(queue_offset, "a half message was committed just before a crash");
            if let Err(refusal) = super::write_op(self, &mut state, queue_offset, store_host) {
                tracing::warn!(queue_offset, remark = refusal.remark, "a commit is not recorded");
            }
        }
        if state.table.len() > 0 {
            tracing::info!(undecided = state.table.len(), "half messages wait for their decision");
        }
    }

    /// Returns where a queue is to be read from, within its bounds.
    fn kept_offset(&self, topic: &str) -> i64 {
        let min = self.store.min_offset_in_queue(topic, QUEUE_ID);
        let max = self.store.max_offset_in_queue(topic, QUEUE_ID);
        match self.offsets.query(GROUP, topic, QUEUE_ID) {
            // The offsets can outlive messages that never reached the disk.
            Some(kept) if kept > max => {
                self.offsets.commit(GROUP, topic, QUEUE_ID, max);
                self.saving.soon();
                max.0
            }
            Some(kept) => kept.max(min).0,
            None => min.0,
        }
    }

    fn each_of_queue(&self, topic: &str, from: i64, mut visit: impl FnMut(MessageRecord<'_>)) {
        let mut next = QueueOffset(from);
        loop {
            let limits = ReadLimits::messages(READ_MAX);
            let outcome = self.store.read(topic, QUEUE_ID, next, &limits, &|_| true, None);
            for bytes in &outcome.records {
                for record in MessageRecord::decode_all(bytes).map_while(Result::ok) {
                    visit(record);
                }
            }
            let goes_on = matches!(
                outcome.status,
                GetMessageStatus::Found
                    | GetMessageStatus::MessageWasRemoving
                    | GetMessageStatus::OffsetTooSmall
            );
            if !goes_on || outcome.next_begin_offset <= next {
                return;
            }
            next = outcome.next_begin_offset;
        }
    }
}

/// Reads the queue offsets in a record of decisions: one number (4.x) or several, each with a comma behind it.
fn named_offsets(body: &[u8]) -> impl Iterator<Item = i64> + '_ {
    let numbers = body.split(|byte| *byte == b',');
    numbers.filter_map(|text| std::str::from_utf8(text).ok()?.parse().ok())
}

/// Says whether the message of this half message, whatever its copy, is in the store: delivered, or on its way.
pub(super) fn is_committed(broker: &Broker, half: &MessageRecord<'_>, origin: i64) -> bool {
    let (Some(topic), Some(key)) = (half.property(REAL_TOPIC), half.property(UNIQ_KEY)) else { return false };
    [topic, SCHEDULE_TOPIC, TIMER_TOPIC].into_iter().any(|topic| {
        let found = broker.store.query_message(topic, key, SAME_KEY_MAX, 0, i64::MAX);
        found.records.iter().any(|bytes| {
            MessageRecord::decode(bytes).is_ok_and(|message| {
                sys_flag::transaction_type(message.sys_flag) == sys_flag::TRANSACTION_COMMIT
                    && origin_of(broker, message.prepared_transaction_offset) == Some(origin)
            })
        })
    })
}

fn origin_of(broker: &Broker, at: i64) -> Option<i64> {
    let bytes = super::read(broker, at).ok().flatten()?;
    let record = MessageRecord::decode(&bytes).ok().filter(|record| record.topic == TRANS_HALF_TOPIC)?;
    Some(Stored::of(record).origin)
}
