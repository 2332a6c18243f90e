//! Dead letters on their way back: from `%DLQ%group` to the topic they came from, whether a consumer is online or not.
//!
//! A letter stays in its topic until it is too old. What is *open* begins at an offset that is kept like any group's
//! progress (group `TOOLS_CONSUMER` on the topic of dead letters), so that the console's API and `rmq-lite dlq`, which does
//! the same over the wire, know of each other. Apache has no such request; its dashboard sends letter by letter.

use super::Broker;
use super::inner::InnerMessage;
use super::name::{self, TOOLS_CONSUMER_GROUP};
use super::refusal::topic_not_exist;
use crate::remoting::Refusal;
use crate::store::{QueueOffset, ReadLimits};
use crate::wire::code::response;
use crate::wire::message::{self, MessageRecord, property_name, sys_flag};

/// What a message had on its way to the dead letters, or gets anew from the broker; not sent again.
const OF_THE_WAY: [&str; 17] = [
    property_name::DELAY,
    property_name::RETRY_TOPIC,
    property_name::ORIGIN_MESSAGE_ID,
    property_name::REAL_TOPIC,
    property_name::REAL_QID,
    property_name::WAIT,
    property_name::TIMER_DELAY_SEC,
    property_name::TIMER_DELAY_MS,
    property_name::TIMER_DELIVER_MS,
    property_name::TIMER_OUT_MS,
    "TIMER_ENQUEUE_MS",
    "TIMER_DEQUEUE_MS",
    property_name::TRAN_MSG,
    "MSG_REGION",
    "TRACE_ON",
    "CLUSTER",
    "MAX_RECONSUME_TIMES",
];
/// Letters that are read at a time.
const BATCH_MAX: usize = 32;

/// Returns the properties with which a dead letter is sent again.
pub(crate) fn properties_of_resent(properties: &str) -> String {
    let mut kept = String::with_capacity(properties.len());
    for (name, value) in message::properties(properties) {
        if !OF_THE_WAY.contains(&name) {
            message::append_property(&mut kept, name, value);
        }
    }
    kept
}

/// How a request to send letters again ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resent {
    /// Letters that were sent again.
    pub(crate) count: usize,
    /// Letters that are still open.
    pub(crate) open: i64,
    /// Why it stopped before it had as many as were wanted.
    pub(crate) stopped: Option<Refusal>,
}

impl Broker {
    /// Returns where the dead letters of a queue begin, where the open ones do, and where they end.
    pub(crate) fn dead_letter_marks(&self, topic: &str, queue_id: i32) -> (i64, i64, i64) {
        let (begin, end) = self.queue_bounds(topic, queue_id);
        let mark = self.offsets.query(TOOLS_CONSUMER_GROUP, topic, queue_id).map_or(begin, |mark| mark.0);
        (begin, mark.clamp(begin, end), end)
    }

    /// Sends up to `max` open dead letters of a group again, the oldest of each queue first; nothing when the group has no
    /// dead letters. What was sent is on the disk when this returns, and the mark behind it soon after. Blocks.
    pub(crate) fn resend_dead_letters(&self, group: &str, max: usize) -> Result<Option<Resent>, Refusal> {
        if self.is_slave() {
            let remark = "this broker is a slave, and takes no messages; ask its master";
            return Err(Refusal::new(response::SERVICE_NOT_AVAILABLE, remark));
        }
        let topic = name::dlq_topic(group);
        let Some(config) = self.topics.get(&topic) else { return Ok(None) };
        let _alone = self.resending.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut resent = Resent { count: 0, open: 0, stopped: None };
        for queue_id in 0..config.read_queue_nums.max(config.write_queue_nums) {
            let (_, mark, end) = self.dead_letter_marks(&topic, queue_id);
            let mut at = mark;
            while at < end && resent.count < max && resent.stopped.is_none() {
                let before = at;
                resent.stopped =
                    self.resend_batch(&topic, queue_id, &mut at, end, max, &mut resent.count).err();
                if at == before {
                    break;
                }
            }
            if at > mark {
                // Only then: after a power cut the mark would stand behind messages that are gone.
                if self.store.settle() {
                    self.offsets.commit(TOOLS_CONSUMER_GROUP, &topic, queue_id, QueueOffset(at));
                } else {
                    let remark = "the letters were sent again, but are not on the disk, and stay open";
                    resent.stopped = Some(Refusal::new(response::SYSTEM_ERROR, remark));
                    at = mark;
                }
            }
            resent.open += end - at;
        }
        tracing::info!(group, count = resent.count, open = resent.open, "dead letters were sent again");
        self.saving.soon();
        Ok(Some(resent))
    }

    /// Sends what one read finds; `at` is then behind the last letter that was sent.
    fn resend_batch(
        &self,
        topic: &str,
        queue_id: i32,
        at: &mut i64,
        end: i64,
        max: usize,
        count: &mut usize,
    ) -> Result<(), Refusal> {
        let limits = ReadLimits::messages(BATCH_MAX.min(max - *count));
        let found = self.store.read(topic, queue_id, QueueOffset(*at), &limits, &|_| true, None);
        for bytes in &found.records {
            for record in MessageRecord::decode_all(bytes).map_while(Result::ok) {
                if record.queue_offset >= end || *count == max {
                    return Ok(());
                }
                let message = InnerMessage::of_record(bytes, &record)
                    .map_err(|cause| Refusal::new(response::SYSTEM_ERROR, cause.to_string()))?;
                self.resend(message, record.queue_offset)?;
                *at = record.queue_offset + 1;
                *count += 1;
            }
        }
        Ok(())
    }

    fn resend(&self, mut message: InnerMessage, queue_offset: i64) -> Result<(), Refusal> {
        let Some(origin) = message.property(property_name::RETRY_TOPIC).map(str::to_owned) else {
            let dlq = &message.topic;
            let remark = format!(
                "letter {queue_offset} of {dlq} does not say where it came from; rmq-lite dlq resend --to names a topic"
            );
            return Err(Refusal::new(response::MESSAGE_ILLEGAL, remark));
        };
        if name::is_sending_forbidden(&origin) {
            let remark = format!("letter {queue_offset} came from topic[{origin}], to which nobody may send");
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        let known = self.topics.get(&origin).or_else(|| self.topics.create_in_send("TBW102", &origin, 4));
        let config = known.ok_or_else(|| topic_not_exist(&origin))?;
        self.topics.confirm(&origin);
        message.properties = properties_of_resent(&message.properties) + &self.keys().own_properties;
        message.topic = origin;
        message.queue_id = fastrand::i32(0..config.write_queue_nums.max(1));
        message.sys_flag &= !sys_flag::TRANSACTION_ROLLBACK;
        message.reconsume_times = 0;
        message.prepared_transaction_offset = 0;
        self.put_inner(message).map(|_| ())
    }
}
