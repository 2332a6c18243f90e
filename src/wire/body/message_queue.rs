//! `MessageQueue`: one queue of one topic on one broker, as bodies name it, very often as a map key.
//!
//! Mirrors `common.message.MessageQueue`, in its order too: topic, broker, queue.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// Name of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageQueue {
    /// Broker that holds it.
    pub broker_name: String,
    /// Its number in the topic.
    pub queue_id: i32,
    /// Its topic.
    pub topic: String,
}

impl MessageQueue {
    /// Names queue `queue_id` of `topic` on `broker_name`.
    pub fn new(topic: impl Into<String>, broker_name: impl Into<String>, queue_id: i32) -> Self {
        Self { broker_name: broker_name.into(), queue_id, topic: topic.into() }
    }
}

impl Ord for MessageQueue {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.topic, &self.broker_name, self.queue_id).cmp(&(
            &other.topic,
            &other.broker_name,
            other.queue_id,
        ))
    }
}

impl PartialOrd for MessageQueue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The topic counts before the broker, the broker before the number.
    #[test]
    fn order() {
        let queues = [("a", "z", 9), ("b", "a", 1), ("b", "a", 10), ("b", "b", 0)]
            .map(|(topic, broker, id)| MessageQueue::new(topic, broker, id));
        assert!(queues.is_sorted());
    }
}
