//! What waits in a broker before it is delivered, for people: half messages and delayed messages.
//!
//! Nothing is kept here. The rooms say which messages wait and when something happens to them ([`super::schedule`],
//! [`super::timer`], [`super::transaction`]); the store says what they are. The broker's own timers, with which pops are
//! taken back, are left out. There is no counterpart at Apache.

use serde::Serialize;

use super::name::{self, SCHEDULE_TOPIC, TIMER_TOPIC};
use super::timeline::{id_of, meant_for};
use super::{Broker, transaction};
use crate::store::{PhysicalOffset, QueueOffset};
use crate::wire::message::{MessageRecord, property_name};

/// Most timers that are looked at for one answer; more than that of the broker's own can stand before a user's.
const TIMERS_LOOKED_AT_MAX: usize = 10_000;

/// Some of what waits, and how much there is in all.
#[derive(Debug, Serialize)]
pub struct Pending<T> {
    /// All that wait.
    pub total: usize,
    /// Those for which something happens first, in this order.
    pub messages: Vec<T>,
}

/// A message that nobody may consume yet, and what it is.
#[derive(Debug, Serialize)]
pub struct PendingMessage {
    /// The id that its producer gave it; the offset message id when it has none.
    pub id: String,
    /// The topic it is meant for, and where it came from first if it is a retry.
    pub topic: String,
    /// Its keys, between blanks.
    pub keys: Option<String>,
    /// When it was stored, milliseconds since 1970.
    pub stored_ms: i64,
    /// When something happens to it, milliseconds since 1970: it is delivered, or its producer is asked.
    pub due_ms: i64,
}

/// A half message that nobody has decided.
#[derive(Debug, Serialize)]
pub struct HalfMessage {
    /// What it is; `due_ms` is when its producer is asked, or when it is given up.
    #[serde(flatten)]
    pub message: PendingMessage,
    /// The group whose producers are asked.
    pub group: String,
    /// How often they were asked.
    pub checks: i32,
    /// Whether none of them is connected, so that one that comes is asked at once.
    pub parked: bool,
}

/// A message that is delivered later.
#[derive(Debug, Serialize)]
pub struct DelayedMessage {
    /// What it is; `due_ms` is when it is delivered.
    #[serde(flatten)]
    pub message: PendingMessage,
    /// Its delay level; null when it named its own time.
    pub level: Option<i32>,
    /// The group that gets it again, if it is a retry.
    pub group: Option<String>,
    /// How often that group has failed.
    pub times: i32,
}

impl PendingMessage {
    fn of(record: &MessageRecord<'_>, due_ms: i64) -> Self {
        Self {
            id: id_of(record),
            topic: meant_for(record).to_owned(),
            keys: record.property(property_name::KEYS).map(str::to_owned),
            stored_ms: record.store_timestamp,
            due_ms,
        }
    }
}

impl Broker {
    /// Returns the half messages that are looked at next, at most `max`. Reads the store, and may wait for it.
    pub fn half_messages(&self, max: usize) -> Pending<HalfMessage> {
        let (total, first) = transaction::first_due(self, max);
        let messages = first.into_iter().filter_map(|half| {
            let bytes = self.store.read_record(PhysicalOffset(half.physical_offset)).ok()??;
            let record = MessageRecord::decode(&bytes).ok()?;
            Some(HalfMessage {
                message: PendingMessage::of(&record, half.due_ms),
                group: record.property(property_name::PGROUP).unwrap_or_default().to_owned(),
                checks: half.check_times,
                parked: half.parked.is_some(),
            })
        });
        Pending { total, messages: messages.collect() }
    }

    /// Returns the delayed messages that are delivered next, at most `max`, retries among them. Reads the store, and
    /// may wait for it.
    pub fn delayed_messages(&self, max: usize) -> Pending<DelayedMessage> {
        let (mut total, mut messages) = (0, Vec::new());
        for (level, from, end) in self.schedule.waiting(&self.store) {
            total += (end - from) as usize;
            let queue_id = level - 1;
            for entry in self.store.queue_entries(SCHEDULE_TOPIC, queue_id, QueueOffset(from), max) {
                messages.extend(self.delayed(entry.physical_offset, Some(level), entry.tags_code));
            }
        }
        let (timers, mut found) = (self.timers.first(TIMERS_LOOKED_AT_MAX), 0);
        total += self.timers.count(|topic| !name::is_system_topic(topic));
        for (due_ms, offset) in timers {
            if found == max {
                break;
            }
            let entries = self.store.queue_entries(TIMER_TOPIC, 0, QueueOffset(offset), 1);
            let Some(entry) = entries.first() else { continue };
            let message = self.delayed(entry.physical_offset, None, due_ms);
            let message = message.filter(|it| !name::is_system_topic(&it.message.topic));
            found += usize::from(message.is_some());
            messages.extend(message);
        }
        messages.sort_by_key(|delayed| delayed.message.due_ms);
        messages.truncate(max);
        Pending { total, messages }
    }

    fn delayed(&self, at: PhysicalOffset, level: Option<i32>, due_ms: i64) -> Option<DelayedMessage> {
        let bytes = self.store.read_record(at).ok()??;
        let record = MessageRecord::decode(&bytes).ok()?;
        let real_topic = record.property(property_name::REAL_TOPIC).unwrap_or_default();
        let group = real_topic.strip_prefix(name::RETRY_PREFIX).map(str::to_owned);
        let times = record.reconsume_times;
        Some(DelayedMessage { message: PendingMessage::of(&record, due_ms), level, group, times })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::broker::kit::Kit;
    use crate::wire::code::request;

    /// What is due first comes first, whatever it waits in; a delivered one waits no more, and a limit cuts the list only.
    #[tokio::test]
    async fn delayed() {
        let kit = Kit::start(&[]).await;
        let mut client = kit.client().await;
        client.join("c", "g", "T").await;
        client.send_message("T", 0, "now", "UNIQ_KEY\u{1}K0\u{2}").await;
        for (key, property) in
            [("K1", "DELAY\u{1}4"), ("K2", "TIMER_DELAY_MS\u{1}7000"), ("K3", "DELAY\u{1}2")]
        {
            let properties = format!("{property}\u{2}UNIQ_KEY\u{1}{key}\u{2}KEYS\u{1}order\u{2}");
            assert_eq!(client.send_message("T", 0, "later", &properties).await.code, 0);
        }
        let bytes = kit.records("T", 0, 1).await.remove(0);
        let offset = MessageRecord::decode(&bytes).unwrap().physical_offset.to_string();
        let back = [("offset", &*offset), ("group", "g"), ("delayLevel", "0")];
        assert_eq!(client.call(request::CONSUMER_SEND_MSG_BACK, &back, "").await.code, 0);
        kit.records(TIMER_TOPIC, 0, 1).await;
        while kit.broker.timers.count(|_| true) == 0 {
            tokio::task::yield_now().await;
        }
        let waiting = kit.broker.delayed_messages(10);
        let told: Vec<_> = waiting
            .messages
            .iter()
            .map(|it| (&*it.message.id, &*it.message.topic, it.level, it.group.as_deref(), it.times))
            .collect();
        let wanted = [
            ("K3", "T", Some(2), None, 0),
            ("K2", "T", None, None, 0),
            ("K0", "T", Some(3), Some("g"), 1),
            ("K1", "T", Some(4), None, 0),
        ];
        assert_eq!((waiting.total, &told[..]), (4, &wanted[..]));
        assert_eq!(waiting.messages[0].message.keys.as_deref(), Some("order"));
        assert_eq!(
            (kit.broker.delayed_messages(1).total, kit.broker.delayed_messages(1).messages.len()),
            (4, 1)
        );
        kit.clock.travel(Duration::from_secs(8));
        kit.records("T", 0, 3).await;
        let waiting = kit.broker.delayed_messages(10);
        assert_eq!((waiting.total, &*waiting.messages[0].message.id), (2, "K0"));
    }

    /// A half message waits until it is decided, and says who will be asked, when, and how often that was done.
    #[tokio::test]
    async fn halves() {
        let kit = Kit::start(&[]).await;
        let mut client = kit.client().await;
        let properties = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}p\u{2}UNIQ_KEY\u{1}K1\u{2}";
        let sent = client.send_message("T", 0, "half", properties).await;
        assert_eq!(sent.code, 0, "{:?}", sent.remark);
        let waiting = kit.broker.half_messages(10);
        let half = &waiting.messages[0];
        assert_eq!((waiting.total, &*half.message.id, &*half.message.topic), (1, "K1", "T"));
        assert_eq!((&*half.group, half.checks), ("p", 0));
        assert!(half.message.due_ms > half.message.stored_ms);
        assert!(kit.broker.half_messages(0).messages.is_empty());
        let at = i64::from_str_radix(&sent.fields.get("msgId").unwrap()[16..], 16).unwrap().to_string();
        let end = [
            ("producerGroup", "p"),
            ("tranStateTableOffset", sent.fields.get("queueOffset").unwrap()),
            ("commitLogOffset", &*at),
            ("commitOrRollback", "12"),
        ];
        assert_eq!(client.call(request::END_TRANSACTION, &end, "").await.code, 0);
        assert_eq!(kit.broker.half_messages(10).total, 0);
    }
}
