//! What consumer groups have not consumed yet, and how many messages a topic holds; for metrics and the console.
//!
//! Configuration, subscriptions, committed offsets and queue bounds go in, plain numbers come out. Each room is
//! looked at for a moment only, so the numbers of one answer may be a few messages apart. What a POP consumer has and
//! has not acknowledged is not consumed; see [`Popped`] for what is not known of that. Mirrors `ConsumerLagCalculator`,
//! but counts offline groups and retries too.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::Broker;
use super::pop::receipt::normal_topic;
pub use super::pop::revive::{Out, Popped};
use crate::store::QueueOffset;
use crate::wire::body::heartbeat::MessageModel;
use crate::wire::body::topic::TopicConfig;

/// What a group has not consumed of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The group.
    pub group: String,
    /// The topic, which may be that of the group's retries.
    pub topic: String,
    /// Messages not consumed.
    pub messages: i64,
    /// Those of them that were handed out.
    pub in_flight: i64,
    /// Those of them that were not.
    pub ready: i64,
    /// When the oldest message that is not consumed was stored, milliseconds.
    pub oldest_ms: Option<i64>,
    /// When the oldest one that was not handed out was stored, milliseconds.
    pub oldest_ready_ms: Option<i64>,
}

/// A topic that a group reads.
#[derive(Clone, Debug)]
pub struct ReadTopic {
    /// The topic.
    pub config: Arc<TopicConfig>,
    /// The filter of the group's clients; `None` while it is offline.
    pub subscription: Option<String>,
}

/// Returns the ids of a topic's queues.
pub fn queue_ids(config: &TopicConfig) -> Range<i32> {
    0..config.read_queue_nums.max(config.write_queue_nums).max(0)
}

/// How far a group is in one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueLag {
    /// Messages not consumed.
    pub messages: i64,
    /// Those of them that were handed out: pulled and not committed, or popped and not acknowledged.
    pub in_flight: i64,
    /// Those of them that were not.
    pub ready: i64,
    /// Queue offset of the first message that is not consumed.
    pub first: Option<i64>,
    /// Queue offset of the first one that was not handed out.
    pub first_ready: Option<i64>,
}

/// Returns the lag of a group in one queue whose messages are `min_offset..max_offset`. It `committed` the first offset
/// and was handed out what is before `pulled`; what it popped is `out` of the queue.
///
/// A group that never committed has none but for that, and what has expired is not waited for.
pub fn queue_lag(
    committed: Option<i64>,
    pulled: Option<i64>,
    out: Option<Out>,
    min_offset: i64,
    max_offset: i64,
) -> QueueLag {
    let popped = out.map_or(0, |out| out.messages);
    let next =
        committed.map_or(max_offset, |committed| committed.clamp(min_offset, max_offset.max(min_offset)));
    let handed_out = pulled.map_or(next, |pulled| pulled.clamp(next, max_offset.max(next)));
    let waiting = (max_offset - next).max(0);
    let ready = (max_offset - handed_out).max(0);
    QueueLag {
        messages: waiting + popped,
        in_flight: waiting - ready + popped,
        ready,
        first: out.map(|out| out.first).into_iter().chain((waiting > 0).then_some(next)).min(),
        first_ready: (ready > 0).then_some(handed_out),
    }
}

impl Broker {
    /// Returns the first message of a queue and one past its last; both 0 when it never had one.
    pub fn queue_bounds(&self, topic: &str, queue_id: i32) -> (i64, i64) {
        let max = self.store.max_offset_in_queue(topic, queue_id).0;
        if max <= 0 {
            return (0, 0);
        }
        (self.store.min_offset_in_queue(topic, queue_id).0.clamp(0, max), max)
    }

    /// Returns how many messages of a topic can be read.
    pub fn message_count(&self, config: &TopicConfig) -> i64 {
        let bounds = queue_ids(config).map(|queue_id| self.queue_bounds(&config.topic_name, queue_id));
        bounds.map(|(min, max)| max - min).sum()
    }

    /// Returns every group that is configured or online.
    pub fn group_names(&self) -> BTreeSet<String> {
        let configured = self.groups.all().into_iter().map(|config| config.group_name.clone());
        configured.chain(self.consumers.names()).collect()
    }

    /// Returns the existing topics that a group subscribes to, or consumed when it was online last; sorted.
    ///
    /// What an online group gave up to subscribe to is left out: nobody waits for it any more.
    pub fn topics_read_by(&self, group: &str) -> Vec<ReadTopic> {
        let online = self.consumers.group(group).filter(|online| !online.subscriptions.is_empty());
        let mut topics: BTreeMap<String, Option<String>> = match &online {
            Some(online) => {
                let subscriptions = online.subscriptions.iter();
                subscriptions
                    .map(|(topic, subscription)| (topic.clone(), Some(subscription.data.sub_string.clone())))
                    .collect()
            }
            None => self.offsets.topics_of_group(group).into_iter().map(|topic| (topic, None)).collect(),
        };
        if online.is_some() {
            // Nobody subscribes to the retries of what is popped, and every pop looks there.
            for retries in self.offsets.topics_of_group(group) {
                if topics.contains_key(normal_topic(&retries, group)) {
                    topics.entry(retries).or_insert_with(|| Some("*".to_owned()));
                }
            }
        }
        let known = |(topic, subscription): (String, _)| {
            Some(ReadTopic { config: self.topics.get(&topic)?, subscription })
        };
        topics.into_iter().filter_map(known).collect()
    }

    /// Says whether the members of a group share its messages; clients of the other kind keep their own offsets.
    pub fn keeps_offsets_of(&self, group: &str) -> bool {
        self.consumers.group(group).is_none_or(|online| online.message_model == MessageModel::Clustering)
    }

    /// Returns the messages that were popped and not acknowledged. Takes a few milliseconds when there are very many.
    pub fn popped(&self) -> Popped {
        self.pop.log.out()
    }

    /// Returns how far a group is in each queue of a topic.
    pub fn queue_lags(&self, popped: &Popped, group: &str, config: &TopicConfig) -> Vec<(i32, QueueLag)> {
        let topic = &config.topic_name;
        let committed = self.offsets.committed(group, topic);
        let of_queue = |queue_id| {
            let (min, max) = self.queue_bounds(topic, queue_id);
            let pulled = self.offsets.last_pulled(group, topic, queue_id).map(|offset| offset.0);
            let out = popped.of(group, topic, queue_id);
            (queue_id, queue_lag(committed.get(&queue_id).copied(), pulled, out, min, max))
        };
        queue_ids(config).map(of_queue).collect()
    }

    /// Returns how many messages of a topic a group has not consumed.
    pub fn lag(&self, popped: &Popped, group: &str, config: &TopicConfig) -> i64 {
        self.queue_lags(popped, group, config).iter().map(|(_, lag)| lag.messages).sum()
    }

    /// Returns the lag of every group whose offsets are kept here, topic by topic.
    pub fn lags(&self) -> Vec<Lag> {
        let popped = self.popped();
        let groups = self.group_names().into_iter().filter(|group| self.keeps_offsets_of(group));
        let of_group = |group: String| {
            let lag = |read: ReadTopic| self.lag_of(&popped, &group, &read.config);
            self.topics_read_by(&group).into_iter().map(lag).collect::<Vec<_>>()
        };
        groups.flat_map(of_group).collect()
    }

    fn lag_of(&self, popped: &Popped, group: &str, config: &TopicConfig) -> Lag {
        let queues = self.queue_lags(popped, group, config);
        let stored_ms = |queue_id, offset| {
            self.store.store_timestamp_at(&config.topic_name, queue_id, QueueOffset(offset))
        };
        let oldest_ms = |first: fn(&QueueLag) -> Option<i64>| {
            queues.iter().filter_map(|(queue_id, lag)| stored_ms(*queue_id, first(lag)?)).min()
        };
        let sum = |count: fn(&QueueLag) -> i64| queues.iter().map(|(_, lag)| count(lag)).sum();
        Lag {
            group: group.to_owned(),
            topic: config.topic_name.clone(),
            messages: sum(|lag| lag.messages),
            in_flight: sum(|lag| lag.in_flight),
            ready: sum(|lag| lag.ready),
            oldest_ms: oldest_ms(|lag| lag.first),
            oldest_ready_ms: oldest_ms(|lag| lag.first_ready),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lag never is negative, never counts what expired, and is nothing before the first commit.
    #[test]
    fn lag_of_a_queue() {
        let messages = |committed, min, max| queue_lag(committed, None, None, min, max).messages;
        assert_eq!(messages(None, 0, 10), 0);
        assert_eq!(messages(Some(4), 0, 10), 6);
        assert_eq!(messages(Some(4), 7, 10), 3, "three are left");
        assert_eq!(messages(Some(12), 0, 10), 0, "a topic made anew has fewer messages than were consumed");
    }

    /// What was handed out is not consumed yet: pulled and not committed, or popped and not acknowledged.
    #[test]
    fn handed_out() {
        let lag = queue_lag(Some(4), Some(7), None, 0, 10);
        let wanted = QueueLag { messages: 6, in_flight: 3, ready: 3, first: Some(4), first_ready: Some(7) };
        assert_eq!(lag, wanted);
        assert_eq!(queue_lag(Some(4), Some(2), None, 0, 10).ready, 6, "it began again further on");
        assert_eq!(queue_lag(Some(4), Some(12), None, 0, 10).ready, 0, "a topic made anew");
        let out = Some(Out { messages: 2, first: 1 });
        let lag = queue_lag(Some(10), None, out, 0, 10);
        assert_eq!(lag, QueueLag { messages: 2, in_flight: 2, ready: 0, first: Some(1), first_ready: None });
        assert_eq!(queue_lag(None, None, out, 0, 10).messages, 2);
        assert_eq!(queue_lag(None, Some(3), None, 0, 10), QueueLag::default());
    }
}
