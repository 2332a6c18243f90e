//! Messages that the broker stores on its own account: delayed, half, retried, delivered at last.
//!
//! Flows in: a message as a client sent it, or a record from the store, and what is to be changed about it. Flows
//! out: a put, by way of the places where a message may have to wait first. Plain sends do not come here: their
//! bytes are not copied. Mirrors `MessageExtBrokerInner` and the put hooks of `HookUtils`.

use std::net::SocketAddr;

use bytes::Bytes;

use super::{Broker, schedule, timer};
use crate::remoting::Refusal;
use crate::store::{NewMessage, Receipt};
use crate::wire::message::{self, MessageRecord, RecordError, property_name, sys_flag};

/// A message that owns its parts, so that they can be changed before it is stored.
#[derive(Clone, Debug)]
pub(super) struct InnerMessage {
    pub(super) topic: String,
    pub(super) queue_id: i32,
    pub(super) flag: i32,
    pub(super) sys_flag: i32,
    pub(super) born_timestamp: i64,
    pub(super) born_host: SocketAddr,
    pub(super) store_host: SocketAddr,
    pub(super) reconsume_times: i32,
    pub(super) prepared_transaction_offset: i64,
    pub(super) body: Bytes,
    /// The properties string.
    pub(super) properties: String,
    pub(super) wait_store: bool,
}

impl InnerMessage {
    /// Takes over a message that a client sent; `body` is the same body, owned.
    pub(super) fn of(message: &NewMessage<'_>, body: Bytes) -> Self {
        Self {
            topic: message.topic.to_owned(),
            queue_id: message.queue_id,
            flag: message.flag,
            sys_flag: message.sys_flag,
            born_timestamp: message.born_timestamp,
            born_host: message.born_host,
            store_host: message.store_host,
            reconsume_times: message.reconsume_times,
            prepared_transaction_offset: message.prepared_transaction_offset,
            body,
            properties: message.properties.concat(),
            wait_store: message.wait_store,
        }
    }

    /// Copies a stored message; `record` is decoded from the start of `bytes`, whose body is shared.
    pub(super) fn of_record(bytes: &Bytes, record: &MessageRecord<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            topic: record.topic.to_owned(),
            queue_id: record.queue_id,
            flag: record.flag,
            sys_flag: record.sys_flag,
            born_timestamp: record.born_timestamp,
            born_host: record.born_host,
            store_host: record.store_host,
            reconsume_times: record.reconsume_times,
            prepared_transaction_offset: record.prepared_transaction_offset,
            body: bytes.slice_ref(record.body),
            properties: record.properties_str()?.to_owned(),
            wait_store: false,
        })
    }

    /// Returns the value of a property.
    pub(super) fn property(&self, name: &str) -> Option<&str> {
        message::property(&self.properties, name)
    }

    /// Sets a property, instead of one of the same name.
    pub(super) fn set_property(&mut self, name: &str, value: &str) {
        self.remove_property(name);
        message::append_property(&mut self.properties, name, value);
    }

    /// Removes a property.
    pub(super) fn remove_property(&mut self, name: &str) {
        if self.property(name).is_some() {
            self.properties = message::remove_property(&self.properties, name);
        }
    }

    /// Puts the message under another topic and queue, and writes down where it belongs.
    pub(super) fn hide(&mut self, topic: &str, queue_id: i32) {
        let (real_topic, real_queue_id) = (std::mem::take(&mut self.topic), self.queue_id.to_string());
        self.set_property(property_name::REAL_TOPIC, &real_topic);
        self.set_property(property_name::REAL_QID, &real_queue_id);
        topic.clone_into(&mut self.topic);
        self.queue_id = queue_id;
    }

    /// Returns it as the store takes it; `properties` is its properties string.
    pub(super) fn new_message<'a>(&'a self, properties: &'a [&'a str]) -> NewMessage<'a> {
        NewMessage {
            topic: &self.topic,
            queue_id: self.queue_id,
            flag: self.flag,
            sys_flag: self.sys_flag,
            born_timestamp: self.born_timestamp,
            born_host: self.born_host,
            store_host: self.store_host,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: self.prepared_transaction_offset,
            body: &self.body,
            properties,
            wait_store: self.wait_store,
        }
    }
}

impl Broker {
    /// Stores a message, or hides it first when it is due later. Half messages, which keep their wish until they are
    /// committed, do not come here.
    pub(super) fn put_inner(&self, mut message: InnerMessage) -> Result<Receipt, Refusal> {
        let transaction = sys_flag::transaction_type(message.sys_flag);
        if transaction == 0 || transaction == sys_flag::TRANSACTION_COMMIT {
            timer::hide(self, &mut message)?;
            schedule::hide(self, &mut message)?;
        }
        self.put(&message.new_message(&[&message.properties]), &self.keys())
    }
}
