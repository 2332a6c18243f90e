//! Topics: the table of them, and the requests that create, change, delete, list and describe them.
//!
//! Flows in: UPDATE_AND_CREATE_TOPIC (17) and its list (18), DELETE_TOPIC_IN_BROKER (215), GET_ALL_TOPIC_CONFIG
//! (21), GET_TOPIC_CONFIG (351), GET_TOPIC_STATS_INFO (202), GET_SYSTEM_TOPIC_LIST_FROM_BROKER (305). A change is
//! answered when it is on the disk and a NameServer has heard of it, so that whoever looks next finds it. A topic
//! that somebody only asked for does not exist here. Mirrors these parts of `AdminBrokerProcessor`.

#![allow(clippy::unnecessary_wraps, reason = "every handler answers in one shape")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Broker, name};
use crate::remoting::{Answer, Call, Outcome, Refusal};
use crate::store::QueueOffset;
use crate::wire::body::mapping::TopicConfigAndQueueMapping;
use crate::wire::body::message_queue::MessageQueue;
use crate::wire::body::stats::{TopicOffset, TopicStatsTable};
use crate::wire::body::topic::{
    CreateTopicListRequestBody, TopicConfig, TopicConfigAndMappingSerializeWrapper, TopicFilterType,
    TopicList,
};
use crate::wire::code::response;
use crate::wire::command::Reply;
use crate::wire::fields::{NoHeader, shorten};
use crate::wire::header::topic::{
    CreateTopicRequestHeader, DeleteTopicRequestHeader, GetAllTopicConfigRequestHeader,
    GetTopicConfigRequestHeader, GetTopicStatsInfoRequestHeader,
};
use crate::wire::{body, fastjson};

mod attributes;
mod table;
#[cfg(test)]
mod tests;

pub use super::name::{is_sending_forbidden, validate_topic};
pub use crate::wire::body::topic::perm;
pub use attributes::{Attributes, parse_changes};
pub use table::{Change, QUEUES_MAX, TOPICS_MAX, Topic, TopicOptions, TopicTable};

/// Longest wait for a NameServer to hear of a change before the change is answered all the same.
const REGISTRATION_WAIT: Duration = Duration::from_secs(2);

/// UPDATE_AND_CREATE_TOPIC (17).
pub(super) fn update_and_create_topic(broker: &Arc<Broker>, call: Call<CreateTopicRequestHeader>) -> Outcome {
    let CreateTopicRequestHeader {
        topic,
        read_queue_nums,
        write_queue_nums,
        perm,
        topic_filter_type,
        topic_sys_flag,
        order,
        attributes,
        ..
    } = call.header;
    let wanted = || {
        may_change(broker, &topic)?;
        let topic_filter_type = TopicFilterType::from_name(&topic_filter_type)
            .ok_or_else(|| illegal(format!("topicFilterType {} is unknown", shorten(&topic_filter_type))))?;
        Ok(TopicConfig {
            topic_name: topic.to_string(),
            read_queue_nums,
            write_queue_nums,
            perm,
            topic_filter_type,
            topic_sys_flag: topic_sys_flag.unwrap_or(0),
            order,
            attributes: parse_changes(attributes.as_deref().unwrap_or_default()).map_err(failed)?,
        })
    };
    change(broker, wanted().map(|wanted| vec![wanted]))
}

/// UPDATE_AND_CREATE_TOPIC_LIST (18): all of them or none.
///
/// The reference stops at the first topic that is already as it should be.
pub(super) fn update_and_create_topic_list(broker: &Arc<Broker>, call: Call<NoHeader>) -> Outcome {
    let wanted = || {
        let list: CreateTopicListRequestBody = body::decode("a list of topics", &call.body)?;
        for wanted in &list.topic_config_list {
            may_change(broker, &wanted.topic_name)?;
        }
        Ok(list.topic_config_list)
    };
    change(broker, wanted())
}

fn change(broker: &Arc<Broker>, wanted: Result<Vec<TopicConfig>, Refusal>) -> Outcome {
    let mixed = |wanted: &Vec<TopicConfig>| {
        let mixed =
            |topic: &TopicConfig| topic.attributes.get("+message.type").is_some_and(|kind| kind == "MIXED");
        !broker.keys().enable_mixed_message_type && wanted.iter().any(mixed)
    };
    let changed = match wanted {
        Ok(wanted) if mixed(&wanted) => Err(illegal("MIXED message type is not supported.".to_owned())),
        Ok(wanted) => broker.topics.update_all(wanted).map_err(failed),
        Err(refusal) => Err(refusal),
    };
    match changed {
        Ok(true) => settled(broker),
        Ok(false) => Outcome::Now(Ok(Reply::success())),
        Err(refusal) => Outcome::Now(Err(refusal)),
    }
}

/// Refuses to touch the system's topics and names that no topic can have, and everything on a slave.
fn may_change(broker: &Broker, topic: &str) -> Result<(), Refusal> {
    refuse_on_slave(broker)?;
    validate_topic(topic).map_err(illegal)?;
    refuse_system_topic(broker, topic)
}

fn refuse_system_topic(broker: &Broker, topic: &str) -> Result<(), Refusal> {
    if broker.keys().validate_system_topic_when_update_topic && broker.topics.is_system(topic) {
        return Err(illegal(format!("The topic[{topic}] is conflict with system topic.")));
    }
    Ok(())
}

/// Refuses a change that the next copy from the master would undo (`AdminBrokerProcessor.validateSlave`, which 4.x calls).
pub(super) fn refuse_on_slave(broker: &Broker) -> Result<(), Refusal> {
    if broker.is_slave() {
        let remark = "Can't modify topic or subscription group from slave broker, please execute it from master broker.";
        return Err(Refusal::new(response::SYSTEM_ERROR, remark));
    }
    Ok(())
}

fn illegal(remark: String) -> Refusal {
    Refusal::new(response::INVALID_PARAMETER, remark)
}

fn failed(remark: String) -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, remark)
}

/// Answers once the change is on the disk and a NameServer has heard of it.
fn settled(broker: &Arc<Broker>) -> Outcome {
    // A deleted topic takes offsets with it.
    let (broker, saved) = (broker.clone(), [broker.topics_saving.now(), broker.saving.now()]);
    Outcome::later(async move {
        futures_util::future::join_all(saved).await;
        broker.registration.settled(REGISTRATION_WAIT).await;
        Ok(Reply::success())
    })
}

/// DELETE_TOPIC_IN_BROKER (215): with its queues, offsets and figures, and what POP retries of it. A slave says yes and
/// leaves it to its master: administration tools ask all brokers of a cluster, and stop at the first refusal.
pub(super) fn delete_topic_in_broker(broker: &Arc<Broker>, call: Call<DeleteTopicRequestHeader>) -> Outcome {
    let topic: &str = &call.header.topic;
    if broker.is_slave() {
        return Outcome::Now(Ok(Reply::success()));
    }
    match delete(broker, topic) {
        Ok(()) => settled(broker),
        Err(refusal) => Outcome::Now(Err(refusal)),
    }
}

fn delete(broker: &Arc<Broker>, topic: &str) -> Result<(), Refusal> {
    if topic.trim().is_empty() {
        return Err(illegal("The specified topic is blank.".to_owned()));
    }
    refuse_system_topic(broker, topic)?;
    let mut topics = vec![topic.to_owned()];
    let groups = if broker.keys().clear_retry_topic_when_delete_topic {
        broker.offsets.groups_of_topic(topic)
    } else {
        Vec::new()
    };
    for group in groups {
        let retries = [
            format!("{}{group}_{topic}", name::RETRY_PREFIX),
            format!("{}{group}+{topic}", name::RETRY_PREFIX),
        ];
        topics.extend(retries.into_iter().filter(|retry| broker.topics.get(retry).is_some()));
    }
    for topic in topics {
        if broker.topics.delete(&topic).is_some() {
            broker.offsets.remove_topic(&topic);
            if broker.keys().auto_delete_unused_stats {
                broker.stats.forget_topic(&topic);
            }
            broker.store.delete_topic(&topic)?;
            broker.hold.wake_topic(&topic);
        }
    }
    Ok(())
}

/// GET_ALL_TOPIC_CONFIG (21): the whole table, also for those who would take it in pieces.
pub(super) fn get_all_topic_config(broker: &Arc<Broker>, _: Call<GetAllTopicConfigRequestHeader>) -> Answer {
    let table = broker.topics.snapshot();
    let total = table.topic_config_table.len() as i32;
    let body = TopicConfigAndMappingSerializeWrapper {
        data_version: table.data_version,
        topic_config_table: table.topic_config_table,
        ..Default::default()
    };
    Ok(Reply::success().field("totalTopicNum", total).body(fastjson::to_string(&body)))
}

/// GET_TOPIC_CONFIG (351).
pub(super) fn get_topic_config(broker: &Arc<Broker>, call: Call<GetTopicConfigRequestHeader>) -> Answer {
    let topic = &call.header.topic;
    let known = broker.real_topic(topic).ok_or_else(|| {
        Refusal::new(response::TOPIC_NOT_EXIST, format!("No topic in this broker. topic: {}", shorten(topic)))
    })?;
    let TopicConfig {
        attributes,
        order,
        perm,
        read_queue_nums,
        topic_filter_type,
        topic_name,
        topic_sys_flag,
        write_queue_nums,
    } = TopicConfig::clone(&known);
    let body = TopicConfigAndQueueMapping {
        attributes,
        mapping_detail: None,
        order,
        perm,
        read_queue_nums,
        topic_filter_type,
        topic_name,
        topic_sys_flag,
        write_queue_nums,
    };
    Ok(Reply::success().body(fastjson::to_string(&body)))
}

/// GET_TOPIC_STATS_INFO (202): the bounds of every queue, empty ones too.
pub(super) fn get_topic_stats_info(
    broker: &Arc<Broker>,
    call: Call<GetTopicStatsInfoRequestHeader>,
) -> Answer {
    let topic: &str = &call.header.topic;
    let config = broker.known_topic(topic)?;
    let broker_name = broker.name();
    let queues = 0..config.read_queue_nums.max(config.write_queue_nums);
    let offset_table: BTreeMap<_, _> = queues
        .map(|queue_id| {
            let max = broker.store.max_offset_in_queue(topic, queue_id);
            let last = QueueOffset(max.0 - 1);
            let last_update =
                (max.0 > 0).then(|| broker.store.store_timestamp_at(topic, queue_id, last)).flatten();
            let offset = TopicOffset {
                last_update_timestamp: last_update.unwrap_or(0),
                max_offset: max.0.max(0),
                min_offset: broker.store.min_offset_in_queue(topic, queue_id).0.max(0),
            };
            (MessageQueue::new(topic, broker_name.as_str(), queue_id), offset)
        })
        .collect();
    let topic_put_tps = broker.stats.topic_put_tps(topic, broker.clock.now_ms());
    Ok(Reply::success().body(fastjson::to_string(&TopicStatsTable { offset_table, topic_put_tps })))
}

/// GET_SYSTEM_TOPIC_LIST_FROM_BROKER (305).
pub(super) fn get_system_topic_list_from_broker(broker: &Arc<Broker>, _: Call<NoHeader>) -> Answer {
    let own = broker.topics.all().into_iter().map(|config| config.topic_name.clone());
    let own = own.filter(|topic| broker.topics.is_system(topic));
    let everywhere = name::SYSTEM_TOPICS.map(str::to_owned);
    let body = TopicList { broker_addr: None, topic_list: own.chain(everywhere).collect() };
    Ok(Reply::success().body(fastjson::to_string(&body)))
}

impl Broker {
    /// Returns a topic that exists: not one that somebody only asked for.
    pub(super) fn real_topic(&self, topic: &str) -> Option<Arc<TopicConfig>> {
        self.topics.get(topic).filter(|_| !self.topics.is_provisional(topic))
    }

    /// As [`Broker::real_topic`], refused in the words of most queries.
    pub(super) fn known_topic(&self, topic: &str) -> Result<Arc<TopicConfig>, Refusal> {
        self.real_topic(topic).ok_or_else(|| {
            Refusal::new(response::TOPIC_NOT_EXIST, format!("topic[{}] not exist", shorten(topic)))
        })
    }
}
