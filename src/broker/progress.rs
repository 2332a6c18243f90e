//! How far groups have come, and setting them back: for administrators.
//!
//! Flows in: GET_CONSUME_STATS (208), GET_BROKER_CONSUME_STATS (317), QUERY_CONSUME_TIME_SPAN (303),
//! QUERY_TOPIC_CONSUME_BY_WHO (300), QUERY_TOPICS_BY_CONSUMER (343), QUERY_CORRECTION_OFFSET (308),
//! CLONE_GROUP_OFFSET (314), INVOKE_BROKER_TO_RESET_OFFSET (222). Offsets are compared with the store's queues; a
//! reset is kept until the group's next pull takes it. Mirrors these parts of `AdminBrokerProcessor` and
//! `Broker2Client.resetOffset`.

#![allow(clippy::unnecessary_wraps, reason = "every handler answers in one shape")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Broker;
use super::group::saved_as;
use super::online::VERSION_WITH_RESET;
use crate::remoting::{Answer, Call, Outcome, Refusal};
use crate::store::{Boundary, QueueOffset};
use crate::wire::body::group::GroupList;
use crate::wire::body::message_queue::MessageQueue;
use crate::wire::body::offset::{
    MessageQueueForC, QueryConsumeTimeSpanBody, QueryCorrectionOffsetBody, QueueTimeSpan, ResetOffsetBody,
    ResetOffsetBodyForC,
};
use crate::wire::body::stats::{ConsumeStats, ConsumeStatsList, OffsetWrapper};
use crate::wire::body::topic::{TopicConfig, TopicList};
use crate::wire::code::{LanguageCode, request, response};
use crate::wire::command::{Reply, Request};
use crate::wire::fastjson;
use crate::wire::fields::shorten;
use crate::wire::header::admin::GetConsumeStatsInBrokerHeader;
use crate::wire::header::group::GetConsumeStatsRequestHeader;
use crate::wire::header::offset::{
    CloneGroupOffsetRequestHeader, QueryConsumeTimeSpanRequestHeader, QueryCorrectionOffsetHeader,
    ResetOffsetRequestHeader,
};
use crate::wire::header::topic::{QueryTopicConsumeByWhoRequestHeader, QueryTopicsByConsumerRequestHeader};

/// Most topics that one request may name.
const TOPICS_MAX: usize = 10_000;

/// GET_CONSUME_STATS (208): a group's progress in the queues of its topics.
pub(super) fn get_consume_stats(broker: &Arc<Broker>, call: Call<GetConsumeStatsRequestHeader>) -> Answer {
    let GetConsumeStatsRequestHeader { consumer_group: group, topic, topic_list } = call.header;
    let named: BTreeSet<&str> = topic_list
        .as_deref()
        .unwrap_or_default()
        .split(';')
        .map(str::trim)
        .filter(|topic| !topic.is_empty())
        .take(TOPICS_MAX)
        .collect();
    let topics = if !named.is_empty() {
        named.into_iter().map(str::to_owned).collect()
    } else if let Some(topic) = topic.filter(|topic| !topic.trim().is_empty()) {
        broker.still_consumed(&group, vec![topic.to_string()])
    } else {
        broker.still_consumed(&group, broker.offsets.topics_of_group(&group))
    };
    let mut stats = ConsumeStats::default();
    for topic in topics {
        let Some(config) = broker.real_topic(&topic) else { continue };
        stats.offset_table.extend(broker.progress(&group, &config, config.read_queue_nums));
        stats.consume_tps += broker.stats.group_get_tps(&group, &topic, broker.clock.now_ms());
    }
    Ok(Reply::success().body(fastjson::to_string(&stats)))
}

/// GET_BROKER_CONSUME_STATS (317): every group's progress, or only that in ordered topics.
pub(super) fn get_broker_consume_stats(
    broker: &Arc<Broker>,
    call: Call<GetConsumeStatsInBrokerHeader>,
) -> Answer {
    let mut list =
        ConsumeStatsList { broker_addr: broker.address().registered(), ..ConsumeStatsList::default() };
    for group in broker.groups.all() {
        let group = &group.group_name;
        let mut of_group = Vec::new();
        for topic in broker.still_consumed(group, broker.offsets.topics_of_group(group)) {
            let config = broker.real_topic(&topic).filter(|config| config.order || !call.header.is_order);
            let Some(config) = config else { continue };
            let stats = ConsumeStats {
                offset_table: broker.progress(group, &config, config.write_queue_nums),
                consume_tps: broker.stats.group_get_tps(group, &topic, broker.clock.now_ms()),
            };
            for queue in stats.offset_table.values() {
                list.total_diff += queue.broker_offset - queue.consumer_offset;
                list.total_inflight_diff += queue.pull_offset - queue.consumer_offset;
            }
            of_group.push(stats);
        }
        list.consume_stats_list.push(BTreeMap::from([(group.clone(), of_group)]));
    }
    Ok(Reply::success().body(fastjson::to_string(&list)))
}

impl Broker {
    /// Leaves out topics that a group has offsets for but, being online, subscribes to no more.
    fn still_consumed(&self, group: &str, mut topics: Vec<String>) -> Vec<String> {
        if let Some(online) = self.consumers.group(group).filter(|online| !online.subscriptions.is_empty()) {
            topics.retain(|topic| online.subscriptions.contains_key(topic));
        }
        topics
    }

    fn progress(
        &self,
        group: &str,
        config: &TopicConfig,
        queues: i32,
    ) -> BTreeMap<MessageQueue, OffsetWrapper> {
        let topic: &str = &config.topic_name;
        let broker_name = self.name();
        let of_queue = |queue_id| {
            let consumed = self.offsets.query(group, topic, queue_id).unwrap_or_default();
            let pulled = self.offsets.last_pulled(group, topic, queue_id).unwrap_or_default();
            let last = QueueOffset(consumed.0 - 1);
            let last_timestamp =
                (last.0 >= 0).then(|| self.store.store_timestamp_at(topic, queue_id, last)).flatten();
            let progress = OffsetWrapper {
                broker_offset: self.store.max_offset_in_queue(topic, queue_id).0.max(0),
                consumer_offset: consumed.0,
                last_timestamp: last_timestamp.unwrap_or(0),
                pull_offset: pulled.0.max(consumed.0),
            };
            (MessageQueue::new(topic, broker_name.as_str(), queue_id), progress)
        };
        (0..queues).map(of_queue).collect()
    }
}

/// QUERY_CONSUME_TIME_SPAN (303): from when to when a topic's messages are, and where the group is in between.
pub(super) fn query_consume_time_span(
    broker: &Arc<Broker>,
    call: Call<QueryConsumeTimeSpanRequestHeader>,
) -> Answer {
    let QueryConsumeTimeSpanRequestHeader { topic, group } = call.header;
    let topic: &str = &topic;
    let config = broker.known_topic(topic)?;
    let (broker_name, now_ms) = (broker.name(), broker.clock.now_ms());
    let span = |queue_id| {
        let stored_at = |offset: i64| {
            let offset = (offset >= 0).then_some(QueueOffset(offset))?;
            broker.store.store_timestamp_at(topic, queue_id, offset)
        };
        let max = broker.store.max_offset_in_queue(topic, queue_id).0;
        let min_time_stamp = broker.store.earliest_message_time(topic, queue_id).unwrap_or(-1);
        let consumed = broker.offsets.query(&group, topic, queue_id).map_or(-1, |offset| offset.0);
        let consume_time_stamp =
            if consumed > 0 { stored_at(consumed - 1).unwrap_or(-1) } else { min_time_stamp };
        let behind = (consumed < max).then(|| stored_at(consumed.max(0))).flatten();
        QueueTimeSpan {
            consume_time_stamp,
            delay_time: behind.map_or(0, |next_ms| now_ms - next_ms),
            max_time_stamp: stored_at(max - 1).unwrap_or(-1),
            message_queue: MessageQueue::new(topic, broker_name.as_str(), queue_id),
            min_time_stamp,
        }
    };
    let body =
        QueryConsumeTimeSpanBody { consume_time_span_set: (0..config.write_queue_nums).map(span).collect() };
    Ok(Reply::success().body(fastjson::to_string(&body)))
}

/// QUERY_TOPIC_CONSUME_BY_WHO (300): groups that subscribe to a topic or have offsets in it.
pub(super) fn query_topic_consume_by_who(
    broker: &Arc<Broker>,
    call: Call<QueryTopicConsumeByWhoRequestHeader>,
) -> Answer {
    let topic = &call.header.topic;
    let online = broker.consumers.groups_of_topic(topic).into_iter();
    let body = GroupList { group_list: online.chain(broker.offsets.groups_of_topic(topic)).collect() };
    Ok(Reply::success().body(fastjson::to_string(&body)))
}

/// QUERY_TOPICS_BY_CONSUMER (343): topics in which a group has offsets.
pub(super) fn query_topics_by_consumer(
    broker: &Arc<Broker>,
    call: Call<QueryTopicsByConsumerRequestHeader>,
) -> Answer {
    let body = TopicList {
        broker_addr: Some(broker.address().registered()),
        topic_list: broker.offsets.topics_of_group(&call.header.group).into_iter().collect(),
    };
    Ok(Reply::success().body(fastjson::to_string(&body)))
}

/// QUERY_CORRECTION_OFFSET (308): per queue the least offset of any group but those named.
///
/// Where the compared group is not behind that offset, the queue's is the greatest number there is.
pub(super) fn query_correction_offset(
    broker: &Arc<Broker>,
    call: Call<QueryCorrectionOffsetHeader>,
) -> Answer {
    let QueryCorrectionOffsetHeader { filter_groups, compare_group, topic } = call.header;
    let left_out: BTreeSet<&str> = filter_groups.as_deref().unwrap_or_default().split(',').collect();
    let mut correction_offsets: BTreeMap<i32, i64> = BTreeMap::new();
    for group in broker.offsets.groups_of_topic(&topic) {
        if left_out.contains(&*group) {
            continue;
        }
        for (queue_id, offset) in broker.offsets.committed(&group, &topic) {
            if offset >= broker.store.min_offset_in_queue(&topic, queue_id).0 {
                let least = correction_offsets.entry(queue_id).or_insert(i64::MAX);
                *least = offset.min(*least);
            }
        }
    }
    for (queue_id, compared) in broker.offsets.committed(&compare_group, &topic) {
        if let Some(least) = correction_offsets.get_mut(&queue_id).filter(|least| **least > compared) {
            *least = i64::MAX;
        }
    }
    Ok(Reply::success().body(fastjson::to_string(&QueryCorrectionOffsetBody { correction_offsets })))
}

/// CLONE_GROUP_OFFSET (314): one group goes on where another is.
pub(super) fn clone_group_offset(broker: &Arc<Broker>, call: Call<CloneGroupOffsetRequestHeader>) -> Outcome {
    let CloneGroupOffsetRequestHeader { src_group, dest_group, topic, offline } = call.header;
    let allowed = broker.keys().auto_create_subscription_group;
    if broker.groups.get_or_create(&dest_group, allowed).is_none() {
        return Outcome::Now(Err(unknown_group(&dest_group)));
    }
    let mut topics = match topic.filter(|topic| !topic.trim().is_empty()) {
        Some(topic) => vec![topic.to_string()],
        None => broker.offsets.topics_of_group(&src_group),
    };
    if !offline {
        topics = broker.still_consumed(&src_group, topics);
    }
    for topic in topics.iter().filter(|topic| broker.real_topic(topic).is_some()) {
        broker.offsets.clone_group(&src_group, &dest_group, topic);
    }
    saved_as(broker, Reply::success())
}

fn unknown_group(group: &str) -> Refusal {
    Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, format!("Group {} does not exist", shorten(group)))
}

/// INVOKE_BROKER_TO_RESET_OFFSET (222): sets a group back or forward, in one queue or in all of a topic.
///
/// A held pull of the topic is woken, so that the reset takes effect at once and not when it times out.
pub(super) fn invoke_broker_to_reset_offset(
    broker: &Arc<Broker>,
    call: Call<ResetOffsetRequestHeader>,
) -> Outcome {
    let reset = if broker.keys().use_server_side_reset_offset {
        reset_here(broker, &call.header)
    } else {
        reset_at_the_clients(broker, &call.header, call.language)
    };
    match reset {
        Ok(offset_table) => {
            let body = fastjson::to_string(&ResetOffsetBody { offset_table });
            saved_as(broker, Reply::success().body(body))
        }
        Err(refusal) => Outcome::Now(Err(refusal)),
    }
}

type Offsets = BTreeMap<MessageQueue, i64>;

fn reset_here(broker: &Broker, header: &ResetOffsetRequestHeader) -> Result<Offsets, Refusal> {
    let (group, topic): (&str, &str) = (&header.group, &header.topic);
    let failed = |remark: String| Refusal::new(response::SYSTEM_ERROR, remark);
    if broker.is_slave() {
        return Err(failed("Can not reset offset in slave broker".to_owned()));
    }
    let config = broker.real_topic(topic).ok_or_else(|| {
        Refusal::new(response::TOPIC_NOT_EXIST, format!("Topic {} does not exist", shorten(topic)))
    })?;
    broker.groups.get(group).ok_or_else(|| unknown_group(group))?;
    let mut offsets = BTreeMap::new();
    if header.queue_id >= 0 {
        let queue_id = header.queue_id;
        if queue_id >= config.read_queue_nums {
            return Err(failed(format!(
                "queueId {queue_id} is illegal, the topic has {} queues",
                config.read_queue_nums
            )));
        }
        let min = broker.store.min_offset_in_queue(topic, queue_id).0;
        let max = broker.store.max_offset_in_queue(topic, queue_id).0;
        let offset = match header.offset.filter(|offset| *offset != -1) {
            Some(offset) if offset < min || offset > max => {
                let remark = format!("Target offset {offset} not in consume queue range [{min}-{max}]");
                return Err(failed(remark));
            }
            Some(offset) => offset,
            None => broker.offset_at(topic, queue_id, header.timestamp),
        };
        offsets.insert(queue_id, offset);
    } else {
        let at = |queue_id| (queue_id, broker.offset_at(topic, queue_id, header.timestamp));
        offsets.extend((0..config.read_queue_nums).map(at));
    }
    if offsets.is_empty() {
        return Err(failed("No queues to reset.".to_owned()));
    }
    tracing::info!(group, topic, ?offsets, "consumer offsets reset");
    for (queue_id, offset) in &offsets {
        broker.offsets.reset(group, topic, *queue_id, QueueOffset(*offset));
    }
    broker.hold.wake_topic(topic);
    let broker_name = broker.name();
    let named = |(queue_id, offset)| (MessageQueue::new(topic, broker_name.as_str(), queue_id), offset);
    Ok(offsets.into_iter().map(named).collect())
}

impl Broker {
    /// Returns the queue offset of the first message stored at a time or later; the end for a negative time.
    fn offset_at(&self, topic: &str, queue_id: i32, timestamp_ms: i64) -> i64 {
        let offset = if timestamp_ms < 0 {
            self.store.max_offset_in_queue(topic, queue_id)
        } else {
            self.store.offset_by_time(topic, queue_id, timestamp_ms, Boundary::Lower)
        };
        offset.0.max(0)
    }
}

/// Resets as brokers before 5.2 do: the members of the group are told, and commit the new offsets themselves.
fn reset_at_the_clients(
    broker: &Broker,
    header: &ResetOffsetRequestHeader,
    language: LanguageCode,
) -> Result<Offsets, Refusal> {
    let (group, topic): (&str, &str) = (&header.group, &header.topic);
    let failed = |remark: String| Refusal::new(response::SYSTEM_ERROR, remark);
    let config = broker.real_topic(topic).ok_or_else(|| {
        let remark =
            format!("[reset-offset] reset offset failed, no topic in this broker. topic={}", shorten(topic));
        Refusal::new(response::TOPIC_NOT_EXIST, remark)
    })?;
    let broker_name = broker.name();
    let mut offsets = Offsets::new();
    for queue_id in 0..config.write_queue_nums {
        let consumed = broker.offsets.query(group, topic, queue_id);
        let consumed =
            consumed.ok_or_else(|| failed(format!("THe consumer group <{}> not exist", shorten(group))))?;
        let wanted = broker.offset_at(topic, queue_id, header.timestamp);
        let offset = if header.is_force { wanted } else { wanted.min(consumed.0) };
        offsets.insert(MessageQueue::new(topic, broker_name.as_str(), queue_id), offset);
    }
    let online = broker.consumers.group(group).ok_or_else(|| {
        let remark = format!(
            "Consumer not online, so can not reset offset, Group: {} Topic: {} Timestamp: {}",
            shorten(group),
            shorten(topic),
            header.timestamp
        );
        Refusal::new(response::CONSUMER_NOT_ONLINE, remark)
    })?;
    if let Some(old) = online.members.values().find(|member| member.version < VERSION_WITH_RESET) {
        return Err(failed(format!("the client does not support this feature. version={}", old.version)));
    }
    let body = if language == LanguageCode::Cpp {
        let rows = offsets.iter().map(|(queue, offset)| MessageQueueForC {
            broker_name: queue.broker_name.clone(),
            offset: *offset,
            queue_id: queue.queue_id,
            topic: queue.topic.clone(),
        });
        fastjson::to_string(&ResetOffsetBodyForC { offset_table: rows.collect() })
    } else {
        fastjson::to_string(&ResetOffsetBody { offset_table: offsets.clone() })
    };
    let header = ResetOffsetRequestHeader { queue_id: -1, offset: None, ..header.clone() };
    let request = Request::new(request::RESET_CONSUMER_CLIENT_OFFSET, &header).with_body(body);
    for member in online.members.values() {
        member.peer.oneway(request.clone());
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests;
