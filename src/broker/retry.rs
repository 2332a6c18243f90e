//! Retries and dead letters: messages that a group could not consume, sent back by the broker or by the client.
//!
//! Flows in: CONSUMER_SEND_MSG_BACK (36), which names a stored message, and sends to `%RETRY%<group>`, with which
//! a client helps itself. Flows out: a copy in `%RETRY%<group>`, by way of its delay level, or, after the last
//! retry, in `%DLQ%<group>`, which is made when it is first needed, with one queue that can be read. Either copy
//! says where the message first came from: `RETRY_TOPIC` and `ORIGIN_MESSAGE_ID`.
//!
//! Mirrors `AbstractSendMessageProcessor.consumerSendMsgBack` and `SendMessageProcessor.handleRetryAndDLQ`. Unlike
//! there an offset is a message only if its queue says so too, a group whose retry topic has fewer queues than its
//! configuration gets its retries where it reads them, and the origin's topic need not be named.

use std::sync::Arc;

use super::Broker;
use super::inner::InnerMessage;
use super::name::{self, RETRY_PREFIX, SCHEDULE_TOPIC, TIMER_TOPIC, TRANS_HALF_TOPIC, TRANS_OP_HALF_TOPIC};
use super::topic::perm;
use crate::remoting::{Answer, Call, Outcome, Refusal};
use crate::store::PhysicalOffset;
use crate::wire::body::group::SubscriptionGroupConfig;
use crate::wire::body::topic::TopicConfig;
use crate::wire::code::response;
use crate::wire::command::Reply;
use crate::wire::fields::shown;
use crate::wire::header::send::{ConsumerSendMsgBackRequestHeader, SendMessageRequestHeader};
use crate::wire::message::{MessageRecord, property_name};

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

/// First client version whose own limit of retries counts (`MQVersion.V3_4_9`).
const VERSION_3_4_9: i32 = 121;
/// Delay level of the first retry, 10 s with the reference's ladder.
const FIRST_LEVEL: i32 = 3;
/// Queues of a group's dead letters (`DLQ_NUMS_PER_GROUP`).
const DLQ_QUEUE_NUMS: i32 = 1;

/// Topics in which messages wait; nobody consumes them there, least of all before they are decided.
const NOT_CONSUMED: [&str; 4] = [SCHEDULE_TOPIC, TIMER_TOPIC, TRANS_HALF_TOPIC, TRANS_OP_HALF_TOPIC];

/// CONSUMER_SEND_MSG_BACK (36): stores a copy of the message to be consumed again later, or never.
pub(super) fn consumer_send_msg_back(
    broker: &Arc<Broker>,
    call: Call<ConsumerSendMsgBackRequestHeader>,
) -> Outcome {
    broker.answer_when_topics_are_saved(Outcome::Now(send_back(broker, &call)))
}

fn send_back(broker: &Arc<Broker>, call: &Call<ConsumerSendMsgBackRequestHeader>) -> Answer {
    let header = &call.header;
    let group: &str = &header.group;
    let config = group_of(broker, group)?;
    let keys = broker.keys();
    if keys.broker_permission & perm::WRITE == 0 {
        let remark = format!("the broker[{}] sending message is forbidden", broker.address().host());
        return Err(Refusal::new(response::NO_PERMISSION, remark));
    }
    if config.retry_queue_nums <= 0 {
        return Ok(Reply::success());
    }
    let retry_topic = name::retry_topic(group);
    let retry =
        broker.retry_topic(group, config.retry_queue_nums).ok_or_else(|| topic_missing(&retry_topic))?;
    if retry.perm & perm::WRITE == 0 {
        let remark = format!("the topic[{retry_topic}] sending message is forbidden");
        return Err(Refusal::new(response::NO_PERMISSION, remark));
    }
    let bytes = broker.store.read_record(PhysicalOffset(header.offset))?;
    let bytes = bytes.ok_or_else(|| no_message_at(broker, header.offset))?;
    let record = MessageRecord::decode(&bytes).map_err(|_| no_message_at(broker, header.offset))?;
    if NOT_CONSUMED.contains(&record.topic) {
        return Err(no_message_at(broker, header.offset));
    }
    let unreadable = |cause| Refusal::new(response::SYSTEM_ERROR, cause);
    let mut message = InnerMessage::of_record(&bytes, &record).map_err(unreadable)?;

    if message.property(property_name::RETRY_TOPIC).is_none() {
        message.set_property(property_name::RETRY_TOPIC, record.topic);
    }
    message.set_property(property_name::WAIT, "false");
    let retries_max = retries_max(&config, call.version, header.max_reconsume_times);
    let dead = record.reconsume_times >= retries_max || header.delay_level < 0;
    if dead {
        message.topic.clone_from(&dlq_topic(broker, group)?.topic_name);
        message.queue_id = 0;
        message.set_property(property_name::DELAY, "0");
    } else {
        let queues = retry.write_queue_nums.min(retry.read_queue_nums).min(config.retry_queue_nums);
        message.topic = retry_topic;
        message.queue_id = fastrand::i32(0..queues.max(1));
        let level = match header.delay_level {
            0 => FIRST_LEVEL.saturating_add(record.reconsume_times),
            asked => asked,
        };
        message.set_property(property_name::DELAY, &level.to_string());
    }
    if message.property(property_name::ORIGIN_MESSAGE_ID).is_none_or(|id| id.trim().is_empty()) {
        message.set_property(property_name::ORIGIN_MESSAGE_ID, &record.offset_message_id());
    }
    message.store_host = broker.address().store_host(&call.peer);
    message.reconsume_times = record.reconsume_times.saturating_add(1);
    message.prepared_transaction_offset = 0;
    let origin = message.property(property_name::RETRY_TOPIC).unwrap_or(record.topic).to_owned();
    broker.put_inner(message)?;
    if dead {
        tracing::info!(group, origin, physical_offset = header.offset, "a message became a dead letter");
    }
    count(broker, group, &origin, dead);
    Ok(Reply::success())
}

/// Says where a send to a retry topic goes instead: to the dead letters after the last retry, and at once when
/// members of the group hold queue locks, because an orderly consumer sends only what it has given up.
pub(super) fn dead_letters_of_send(
    broker: &Arc<Broker>,
    call: &Call<SendMessageRequestHeader>,
) -> Result<Option<Arc<TopicConfig>>, Refusal> {
    let header = &call.header;
    let Some(group) = header.topic.strip_prefix(RETRY_PREFIX) else { return Ok(None) };
    let config = group_of(broker, group)?;
    let retries_max = retries_max(&config, call.version, header.max_reconsume_times);
    let over = header.reconsume_times.unwrap_or(0) > retries_max;
    if !over && !broker.locks.any_live(group, broker.clock.now_ms()) {
        return Ok(None);
    }
    let origin = header.properties.as_deref().unwrap_or_default();
    let origin = crate::wire::message::property(origin, property_name::RETRY_TOPIC).unwrap_or_default();
    tracing::info!(group, origin, "a message became a dead letter");
    count(broker, group, origin, true);
    dlq_topic(broker, group).map(Some)
}

/// Turns a message on its way to a retry topic into a dead letter.
pub(super) fn bury(message: &mut InnerMessage, dlq: &TopicConfig) {
    message.topic.clone_from(&dlq.topic_name);
    message.queue_id = 0;
    message.set_property(property_name::DELAY, "-1");
}

fn group_of(broker: &Broker, group: &str) -> Result<Arc<SubscriptionGroupConfig>, Refusal> {
    let allowed = broker.keys().auto_create_subscription_group;
    broker.groups.get_or_create(group, allowed).ok_or_else(|| {
        let shown: String = group.chars().take(name::GROUP_BYTES_MAX).collect();
        let remark = format!("subscription group not exist, {shown} ");
        Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark)
    })
}

fn retries_max(config: &SubscriptionGroupConfig, version: i32, asked: Option<i32>) -> i32 {
    asked.filter(|_| version >= VERSION_3_4_9).unwrap_or(config.retry_max_times)
}

/// Finds or makes the topic of a group's dead letters.
pub(super) fn dlq_topic(broker: &Broker, group: &str) -> Result<Arc<TopicConfig>, Refusal> {
    let topic = name::dlq_topic(group);
    let made = broker.topics.create_internal(&topic, DLQ_QUEUE_NUMS, perm::READ | perm::WRITE, false);
    made.ok_or_else(|| topic_missing(&topic))
}

fn topic_missing(topic: &str) -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, format!("topic[{}] not exist", shown(topic)))
}

fn no_message_at(broker: &Broker, offset: i64) -> Refusal {
    let (begin, end) = (broker.store.min_physical_offset().0, broker.store.max_physical_offset().0);
    let remark = format!(
        "look message by offset failed, {offset}: no message begins there; the commit log goes from {begin} to {end}"
    );
    Refusal::new(response::SYSTEM_ERROR, remark)
}

/// Counts a message sent back, under the topic it first came from if there is one of that name.
fn count(broker: &Broker, group: &str, origin: &str, dead: bool) {
    if broker.topics.get(origin).is_some() && origin != SCHEDULE_TOPIC {
        broker.stats.topic(origin).group(group).sent_back(dead);
    }
}
