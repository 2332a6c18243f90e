//! Sends: one message or a batch, checked in the reference's order, stored, answered.
//!
//! Flows in: SEND_MESSAGE (10), SEND_MESSAGE_V2 (310), SEND_BATCH_MESSAGE (320). Flows out: the offset message
//! id, queue and queue offset. A message's bytes go from the read buffer to the mapped file in one copy; the
//! broker's own properties are appended as one more piece, not by building a string. Mirrors
//! `SendMessageProcessor` and `AbstractSendMessageProcessor`.

use std::sync::Arc;

use super::Broker;
use super::inner::InnerMessage;
use super::name::{self, RETRY_PREFIX};
use super::refusal::{put_refused, topic_not_exist};
use super::settings::InForce;
use super::topic::{Topic, perm};
use super::{retry, timer, transaction};
use crate::config::keys::{BrokerKeys, BrokerRole};
use crate::remoting::{Call, Outcome, Refusal};
use crate::store::{NewMessage, PutStatus, Receipt};
use crate::wire::body::topic::TopicConfig;
use crate::wire::code::response;
use crate::wire::command::Reply;
use crate::wire::fields::shown;
use crate::wire::header::send::SendMessageRequestHeader;
use crate::wire::message::{self, property_name, push_offset_message_id, upper_hex};

/// What a message's properties ask of the broker.
#[derive(Default)]
struct Wishes<'a> {
    unique_key: Option<&'a str>,
    wait_store: bool,
    /// Name of a property that asks for a later delivery.
    later: Option<&'static str>,
    half: bool,
}

impl<'a> Wishes<'a> {
    fn of(properties: &'a str) -> Self {
        let mut wishes = Self { wait_store: true, ..Self::default() };
        message::for_each_property(properties.as_bytes(), |name, value| match name {
            b"UNIQ_KEY" => wishes.unique_key = std::str::from_utf8(value).ok(),
            b"WAIT" => wishes.wait_store = !value.eq_ignore_ascii_case(b"false"),
            b"DELAY" if value != b"0" => wishes.later = Some(property_name::DELAY),
            b"TIMER_DELAY_SEC" => wishes.later = Some(property_name::TIMER_DELAY_SEC),
            b"TIMER_DELAY_MS" => wishes.later = Some(property_name::TIMER_DELAY_MS),
            b"TIMER_DELIVER_MS" => wishes.later = Some(property_name::TIMER_DELIVER_MS),
            b"TRAN_MSG" => wishes.half = value.eq_ignore_ascii_case(b"true"),
            _ => {}
        });
        wishes
    }
}

/// SEND_MESSAGE (10) and SEND_MESSAGE_V2 (310).
pub(super) fn send_message(broker: &Arc<Broker>, call: Call<SendMessageRequestHeader>) -> Outcome {
    if call.header.batch == Some(true) {
        return send_batch_message(broker, call);
    }
    put_one(broker, &call).unwrap_or_else(|refusal| Outcome::Now(Err(refusal)))
}

fn put_one(broker: &Arc<Broker>, call: &Call<SendMessageRequestHeader>) -> Result<Outcome, Refusal> {
    let header = &call.header;
    let keys = broker.keys();
    let guard = broker.topics.guard();
    let known = broker.topics.find(&header.topic, &guard);
    let made;
    let config: &TopicConfig = if let Some(known) = known {
        may_send(broker, &keys)?;
        may_send_to(broker, &known.config, &keys)?;
        &known.config
    } else {
        made = topic_of_send(broker, call, &keys)?;
        &made
    };
    let queue_id = queue_of_send(call, config)?;
    if call.body.is_empty() {
        return Err(illegal("the message's body is empty"));
    }
    let properties = header.properties.as_deref().unwrap_or_default();
    let wishes = Wishes::of(properties);
    let dlq = retry::dead_letters_of_send(broker, call)?;
    let made_key;
    let (unique_key, made_property) = if let Some(key) = wishes.unique_key {
        (key, "")
    } else {
        made_key = broker.next_unique_key();
        (made_key.1.as_str(), made_key.0.as_str())
    };
    let message = NewMessage {
        topic: &config.topic_name,
        queue_id,
        flag: header.flag,
        sys_flag: header.sys_flag,
        born_timestamp: header.born_timestamp,
        born_host: call.peer.address(),
        store_host: broker.address().store_host(&call.peer),
        reconsume_times: header.reconsume_times.unwrap_or(0),
        prepared_transaction_offset: 0,
        body: &call.body,
        properties: &[properties, separator(properties), made_property, &keys.own_properties],
        wait_store: wishes.wait_store,
    };
    let mut recall_handle = None;
    let waits = wishes.half || wishes.later.is_some() || dlq.is_some();
    let receipt = if waits {
        let mut inner = InnerMessage::of(&message, call.body.clone());
        if let Some(dlq) = &dlq {
            retry::bury(&mut inner, dlq);
        }
        // A 4.5 client's retry of a transaction's message: it was committed once.
        let retry = message.reconsume_times > 0 && (wishes.later.is_some() || dlq.is_some());
        if wishes.half && !retry {
            transaction::put_half(broker, inner, &call.peer)?
        } else {
            timer::hide(broker, &mut inner)?;
            recall_handle = timer::recall::handle(broker, &inner, &config.topic_name, unique_key);
            broker.put_inner(inner)?
        }
    } else if let Some(known) = known {
        broker.put_known(&message, known, &keys)?
    } else {
        broker.put(&message, &keys)?
    };
    let mut reply = stored_reply(&keys, &message, &receipt, queue_id).field("transactionId", unique_key);
    if let Some(handle) = recall_handle {
        reply = reply.field("recallHandle", handle);
    }
    let answer = answer_when_durable(receipt, reply);
    // What waits elsewhere is meant for a topic that an earlier request may have made.
    Ok(if waits || known.is_none() { broker.answer_when_topics_are_saved(answer) } else { answer })
}

/// SEND_BATCH_MESSAGE (320): all messages of the body, or none, with consecutive queue offsets.
pub(super) fn send_batch_message(broker: &Arc<Broker>, call: Call<SendMessageRequestHeader>) -> Outcome {
    put_batch(broker, &call).unwrap_or_else(|refusal| Outcome::Now(Err(refusal)))
}

fn put_batch(broker: &Arc<Broker>, call: &Call<SendMessageRequestHeader>) -> Result<Outcome, Refusal> {
    let header = &call.header;
    let keys = broker.keys();
    if header.topic.starts_with(RETRY_PREFIX) {
        let remark = format!("batch request does not support retry group {}", shown(&header.topic));
        return Err(Refusal::new(response::MESSAGE_ILLEGAL, remark));
    }
    let config = topic_of_send(broker, call, &keys)?;
    let queue_id = queue_of_send(call, &config)?;
    let max_message_bytes = broker.store.options().max_message_bytes;
    if call.body.len() > max_message_bytes {
        return Err(illegal(&format!(
            "message body size exceeded: the batch has {} bytes, maxMessageSize is {max_message_bytes}",
            call.body.len()
        )));
    }
    let common = header.properties.as_deref().unwrap_or_default();
    let wishes = Wishes::of(common);
    if let Some(name) = wishes.later.or(wishes.half.then_some(property_name::TRAN_MSG)) {
        return Err(illegal(&format!(
            "a batch cannot be delayed or transactional, and it has property {name}"
        )));
    }
    let entries: Vec<_> = message::batch_entries(&call.body)
        .collect::<Result<_, _>>()
        .map_err(|cause| illegal(&format!("the batch's body is broken: {cause}")))?;
    if entries.is_empty() {
        return Err(illegal("the batch is empty"));
    }
    let pieces: Vec<[&str; 5]> = entries
        .iter()
        .map(|entry| {
            let own = entry.properties;
            [own, separator(own), common, separator(common), keys.own_properties.as_str()]
        })
        .collect();
    let store_host = broker.address().store_host(&call.peer);
    let messages: Vec<NewMessage<'_>> = entries
        .iter()
        .zip(&pieces)
        .map(|(entry, properties)| NewMessage {
            topic: &config.topic_name,
            queue_id,
            flag: entry.flag,
            sys_flag: header.sys_flag,
            born_timestamp: header.born_timestamp,
            born_host: call.peer.address(),
            store_host,
            reconsume_times: header.reconsume_times.unwrap_or(0),
            prepared_transaction_offset: 0,
            body: entry.body,
            properties,
            wait_store: wishes.wait_store,
        })
        .collect();
    let receipt = broker.put_batch(&messages, &keys)?;
    let mut reply = stored_reply(&keys, &messages[0], &receipt, queue_id);
    if let Some(key) = wishes.unique_key {
        reply = reply.field("transactionId", key);
    }
    Ok(broker.answer_when_topics_are_saved(answer_when_durable(receipt, reply)))
}

/// Finds the topic, checked and if need be created, as the reference does before a send.
pub(super) fn topic_of_send(
    broker: &Arc<Broker>,
    call: &Call<SendMessageRequestHeader>,
    keys: &BrokerKeys,
) -> Result<Arc<TopicConfig>, Refusal> {
    may_send(broker, keys)?;
    let header = &call.header;
    let topic: &str = &header.topic;
    if let Some(config) = broker.topics.get(topic) {
        may_send_to(broker, &config, keys)?;
        broker.topics.confirm(topic);
        return Ok(config);
    }
    name::validate_topic(topic).map_err(|problem| Refusal::new(response::INVALID_PARAMETER, problem))?;
    if name::is_sending_forbidden(topic) {
        return Err(forbidden_topic(topic));
    }
    if let Some(group) = topic.strip_prefix(RETRY_PREFIX) {
        let Some(group_config) = broker.groups.get(group) else {
            let remark = format!("subscription group not exist, {} ", shown(group));
            return Err(Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
        };
        if let Some(config) = broker.retry_topic(group, group_config.retry_queue_nums) {
            return Ok(config);
        }
    }
    broker
        .topics
        .create_in_send(&header.default_topic, topic, header.default_topic_queue_nums)
        .ok_or_else(|| topic_not_exist(topic))
}

/// Refuses whatever is sent while this broker takes no messages.
fn may_send(broker: &Broker, keys: &BrokerKeys) -> Result<(), Refusal> {
    if keys.broker_role == BrokerRole::Slave {
        // Before a topic is made for it.
        let remark = "this broker is a slave, and takes no messages; send to its master";
        return Err(Refusal::new(response::SERVICE_NOT_AVAILABLE, remark));
    }
    // The time is asked for only where this is set, which is nearly nowhere.
    if keys.start_accept_send_request_time_stamp > 0
        && broker.clock.now_ms() < keys.start_accept_send_request_time_stamp
    {
        let remark = format!("broker unable to service, until {}", keys.start_accept_send_request_time_stamp);
        return Err(Refusal::new(response::SYSTEM_ERROR, remark));
    }
    Ok(())
}

/// Refuses what is sent to a topic that exists and takes none.
fn may_send_to(broker: &Broker, config: &TopicConfig, keys: &BrokerKeys) -> Result<(), Refusal> {
    if name::is_sending_forbidden(&config.topic_name) {
        return Err(forbidden_topic(&config.topic_name));
    }
    if config.order && keys.broker_permission & perm::WRITE == 0 {
        let remark = format!("the broker[{}] sending message is forbidden", broker.address().host());
        return Err(Refusal::new(response::NO_PERMISSION, remark));
    }
    Ok(())
}

fn forbidden_topic(topic: &str) -> Refusal {
    Refusal::new(response::NO_PERMISSION, format!("Sending message to topic[{topic}] is forbidden."))
}

pub(super) fn queue_of_send(
    call: &Call<SendMessageRequestHeader>,
    config: &TopicConfig,
) -> Result<i32, Refusal> {
    let queue_id = call.header.queue_id;
    if queue_id >= config.write_queue_nums.max(config.read_queue_nums) {
        let remark = format!(
            "request queueId[{queue_id}] is illegal, topic[{}] has {} write and {} read queues, Producer: {}",
            config.topic_name,
            config.write_queue_nums,
            config.read_queue_nums,
            call.peer.address()
        );
        return Err(Refusal::new(response::INVALID_PARAMETER, remark));
    }
    Ok(if queue_id < 0 { fastrand::i32(0..config.write_queue_nums.max(1)) } else { queue_id })
}

/// Refuses a message for what is in it.
pub(super) fn illegal(problem: &str) -> Refusal {
    Refusal::new(response::MESSAGE_ILLEGAL, format!("the message is illegal, {problem}"))
}

/// Returns what must stand between a property string and the next one.
fn separator(properties: &str) -> &'static str {
    if properties.is_empty() || properties.ends_with('\u{2}') { "" } else { "\u{2}" }
}

fn stored_reply(keys: &InForce, first: &NewMessage<'_>, receipt: &Receipt, queue_id: i32) -> Reply {
    let mut reply = Reply { fields: keys.answer_fields.beginning(), ..Reply::success() };
    reply.fields.push_plain("msgId", |id| {
        for (at, offset) in receipt.physical_offsets.iter().enumerate() {
            if at > 0 {
                id.push(',');
            }
            push_offset_message_id(id, first.store_host, offset.0);
        }
    });
    reply.field("queueId", queue_id).field("queueOffset", receipt.queue_offset.0)
}

fn answer_when_durable(receipt: Receipt, reply: Reply) -> Outcome {
    if receipt.is_durable() {
        return Outcome::Now(Ok(reply));
    }
    Outcome::later(async move {
        // The message is stored in either case, so the full header goes with either code.
        let code = match receipt.durable().await {
            PutStatus::Ok => response::SUCCESS,
            PutStatus::FlushDiskTimeout => response::FLUSH_DISK_TIMEOUT,
            PutStatus::FlushSlaveTimeout => response::FLUSH_SLAVE_TIMEOUT,
            PutStatus::SlaveNotAvailable => response::SLAVE_NOT_AVAILABLE,
        };
        Ok(Reply { code, ..reply })
    })
}

impl Broker {
    /// Lets an answer wait until a new topic is in its file, as `TopicConfigManager.createTopicInSendMessageMethod`
    /// does. After a crash this broker knows a topic again by its messages, the reference does not; and a message
    /// that is meant for it and waits elsewhere would be delivered where nobody may read.
    pub(super) fn answer_when_topics_are_saved(&self, answer: Outcome) -> Outcome {
        let Some(saved) = self.topics.until_saved() else { return answer };
        let tried = self.topics_saving.now();
        answer.after(async {
            tokio::select! {
                () = saved => {}
                // The file could not be written: the next try will come, and the message is stored.
                () = tried => {}
            }
        })
    }

    /// Stores a message and counts it.
    pub(crate) fn put(&self, message: &NewMessage<'_>, keys: &BrokerKeys) -> Result<Receipt, Refusal> {
        let receipt =
            self.store.put(message).map_err(|cause| put_refused(&cause, keys.max_message_size as usize))?;
        self.stats.put(message.topic, 1, receipt.size);
        Ok(receipt)
    }

    /// Does the same where the topic was looked up already.
    fn put_known(
        &self,
        message: &NewMessage<'_>,
        topic: &Topic,
        keys: &BrokerKeys,
    ) -> Result<Receipt, Refusal> {
        let put = match topic.queue(message.queue_id) {
            Some(slot) => self.store.put_in(slot, message),
            None => self.store.put(message),
        };
        let receipt = put.map_err(|cause| put_refused(&cause, keys.max_message_size as usize))?;
        let stats = topic.stats.get_or_init(|| self.stats.topic(message.topic));
        stats.put(1, receipt.size as u64);
        Ok(receipt)
    }

    fn put_batch(&self, messages: &[NewMessage<'_>], keys: &BrokerKeys) -> Result<Receipt, Refusal> {
        let put = self.store.put_batch(messages);
        let receipt = put.map_err(|cause| put_refused(&cause, keys.max_message_size as usize))?;
        self.stats.put(messages[0].topic, receipt.msg_num, receipt.size);
        Ok(receipt)
    }

    /// Makes a UNIQ_KEY for a message that came without one, as a property and alone.
    fn next_unique_key(&self) -> (String, String) {
        let mut bytes = self.unique_key_prefix.to_vec();
        bytes.extend_from_slice(&(self.clock.now_ms() as i32).to_be_bytes());
        let number = self.unique_key_counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        bytes.extend_from_slice(&number.to_be_bytes());
        let key = upper_hex(&bytes);
        (format!("UNIQ_KEY\u{1}{key}\u{2}"), key)
    }
}
