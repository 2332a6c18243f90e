//! What consumer groups have not consumed yet, and how many messages a topic holds; for metrics and the console.
//!
//! Configuration, subscriptions, committed offsets and queue bounds go in, plain numbers come out. Each room is
//! looked at for a moment only, so the numbers of one answer may be a few messages apart. Mirrors
//! `ConsumerLagCalculator`, but counts offline groups and retries too. It knows nothing of POP.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::Broker;
use crate::wire::body::heartbeat::MessageModel;
use crate::wire::body::topic::TopicConfig;

/// What a group has not consumed of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The group.
    pub group: String,
    /// The topic, which may be that of the group's retries.
    pub topic: String,
    /// Messages.
    pub messages: i64,
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

/// Returns the lag of a group in one queue whose messages are `min_offset..max_offset`.
///
/// A group that never committed has none, and what has expired is not waited for.
pub fn queue_lag(committed: Option<i64>, min_offset: i64, max_offset: i64) -> i64 {
    committed.map_or(0, |committed| (max_offset - committed.max(min_offset)).max(0))
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
        let topics: BTreeMap<String, Option<String>> = match online {
            Some(online) => {
                let subscriptions = online.subscriptions.into_iter();
                subscriptions
                    .map(|(topic, subscription)| (topic, Some(subscription.data.sub_string)))
                    .collect()
            }
            None => self.offsets.topics_of_group(group).into_iter().map(|topic| (topic, None)).collect(),
        };
        let known = |(topic, subscription): (String, _)| {
            Some(ReadTopic { config: self.topics.get(&topic)?, subscription })
        };
        topics.into_iter().filter_map(known).collect()
    }

    /// Says whether the members of a group share its messages; clients of the other kind keep their own offsets.
    pub fn keeps_offsets_of(&self, group: &str) -> bool {
        self.consumers.group(group).is_none_or(|online| online.message_model == MessageModel::Clustering)
    }

    /// Returns what a group has not consumed of a topic.
    pub fn lag(&self, group: &str, config: &TopicConfig) -> i64 {
        let committed = self.offsets.committed(group, &config.topic_name);
        let of_queue = |queue_id| {
            let (min, max) = self.queue_bounds(&config.topic_name, queue_id);
            queue_lag(committed.get(&queue_id).copied(), min, max)
        };
        queue_ids(config).map(of_queue).sum()
    }

    /// Returns the lag of every group whose offsets are kept here, topic by topic.
    pub fn lags(&self) -> Vec<Lag> {
        let groups = self.group_names().into_iter().filter(|group| self.keeps_offsets_of(group));
        let of_group = |group: String| {
            let lag = |read: ReadTopic| Lag {
                messages: self.lag(&group, &read.config),
                group: group.clone(),
                topic: read.config.topic_name.clone(),
            };
            self.topics_read_by(&group).into_iter().map(lag).collect::<Vec<_>>()
        };
        groups.flat_map(of_group).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lag never is negative, never counts what expired, and is nothing before the first commit.
    #[test]
    fn lag_of_a_queue() {
        assert_eq!(queue_lag(None, 0, 10), 0);
        assert_eq!(queue_lag(Some(4), 0, 10), 6);
        assert_eq!(queue_lag(Some(4), 7, 10), 3, "three are left");
        assert_eq!(queue_lag(Some(12), 0, 10), 0, "a topic made anew has fewer messages than were consumed");
    }
}
