//! Progress of consumer groups, and the positions they ask a queue for.
//!
//! Committed offsets live here and in `config/consumerOffset.json`; the bounds of a queue are the store's.
//! Mirrors `ConsumerOffsetManager`, the offset calls of `ConsumerManageProcessor` and those of
//! `AdminBrokerProcessor`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Broker;
use super::persist::{self, PersistError};
use crate::remoting::{Answer, Call, Outcome, Refusal};
use crate::store::{Boundary, MessageStore, QueueOffset};
use crate::wire::body::offset::ConsumerOffsetSerializeWrapper;
use crate::wire::code::response;
use crate::wire::command::Reply;
use crate::wire::fastjson;
use crate::wire::fields::{NoHeader, shown};
use crate::wire::header::offset::{
    GetEarliestMsgStoretimeRequestHeader, GetMaxOffsetRequestHeader, GetMinOffsetRequestHeader,
    QueryConsumerOffsetRequestHeader, SearchOffsetRequestHeader, UpdateConsumerOffsetRequestHeader,
};

/// A group's progress in one topic, by queue.
#[derive(Clone, Debug, Default)]
struct Progress {
    committed: BTreeMap<i32, i64>,
    /// Where the group's last pull ended; for people.
    pulled: BTreeMap<i32, i64>,
    /// Resets that the next pull takes over.
    resets: BTreeMap<i32, i64>,
}

/// The consumer offsets of one broker.
#[derive(Default)]
pub struct ConsumerOffsets {
    /// Group, then topic.
    groups: Mutex<HashMap<String, HashMap<String, Progress>>>,
    version: AtomicU64,
    /// The version that the file has.
    saved: AtomicU64,
}

impl ConsumerOffsets {
    fn guard(&self) -> MutexGuard<'_, HashMap<String, HashMap<String, Progress>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    fn with<R>(&self, group: &str, topic: &str, change: impl FnOnce(&mut Progress) -> R) -> R {
        let mut groups = self.guard();
        // Both names are known in all but the first call, so the copies are made only then.
        if let Some(progress) = groups.get_mut(group).and_then(|topics| topics.get_mut(topic)) {
            return change(progress);
        }
        change(groups.entry(group.to_owned()).or_default().entry(topic.to_owned()).or_default())
    }

    fn look<R>(&self, group: &str, topic: &str, at: impl FnOnce(&Progress) -> Option<R>) -> Option<R> {
        self.guard().get(group)?.get(topic).and_then(at)
    }

    /// Returns a number that grows with every change worth saving.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Sets the offset of the next message to consume; it may go back. Ignored, with false, while a reset waits.
    pub fn commit(&self, group: &str, topic: &str, queue_id: i32, offset: QueueOffset) -> bool {
        let taken = self.with(group, topic, |progress| {
            if progress.resets.contains_key(&queue_id) {
                return None;
            }
            Some(progress.committed.insert(queue_id, offset.0) != Some(offset.0))
        });
        if taken == Some(true) {
            self.changed();
        }
        taken.is_some()
    }

    /// Returns where the group consumes on: a reset that waits, else the committed offset.
    pub fn query(&self, group: &str, topic: &str, queue_id: i32) -> Option<QueueOffset> {
        self.look(group, topic, |progress| {
            progress.resets.get(&queue_id).or_else(|| progress.committed.get(&queue_id)).copied()
        })
        .map(QueueOffset)
    }

    /// Returns every committed offset of a group in a topic.
    pub fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        self.look(group, topic, |progress| Some(progress.committed.clone())).unwrap_or_default()
    }

    /// Remembers where a pull ended.
    pub fn pulled(&self, group: &str, topic: &str, queue_id: i32, next: QueueOffset) {
        self.with(group, topic, |progress| progress.pulled.insert(queue_id, next.0));
    }

    /// Returns where the group's last pull of a queue ended.
    pub fn last_pulled(&self, group: &str, topic: &str, queue_id: i32) -> Option<QueueOffset> {
        self.look(group, topic, |progress| progress.pulled.get(&queue_id).copied()).map(QueueOffset)
    }

    /// Orders the group to go on from `offset`: at once in the committed offset, and at its next pull.
    pub fn reset(&self, group: &str, topic: &str, queue_id: i32, offset: QueueOffset) {
        self.with(group, topic, |progress| {
            progress.resets.insert(queue_id, offset.0);
            progress.committed.insert(queue_id, offset.0);
        });
        self.changed();
    }

    /// Takes a reset that waits for this pull.
    pub fn take_reset(&self, group: &str, topic: &str, queue_id: i32) -> Option<QueueOffset> {
        let mut groups = self.guard();
        let progress = groups.get_mut(group)?.get_mut(topic)?;
        progress.resets.remove(&queue_id).map(QueueOffset)
    }

    /// Does all that a pull from `from` asks for at once: takes a reset that waits for it and returns it if it leads
    /// elsewhere; else keeps the offset that the pull commits and, once it is known, where it ends.
    pub fn pull(
        &self,
        group: &str,
        topic: &str,
        queue_id: i32,
        from: QueueOffset,
        commit: Option<QueueOffset>,
        next: Option<QueueOffset>,
    ) -> Option<QueueOffset> {
        let (reset, changed) = self.with(group, topic, |progress| {
            // Nearly always there are none at all.
            let reset = if progress.resets.is_empty() { None } else { progress.resets.remove(&queue_id) };
            if let Some(reset) = reset.filter(|reset| *reset != from.0) {
                return (Some(QueueOffset(reset)), false);
            }
            if let Some(next) = next {
                progress.pulled.insert(queue_id, next.0);
            }
            (None, commit.is_some_and(|at| progress.committed.insert(queue_id, at.0) != Some(at.0)))
        });
        if changed {
            self.changed();
        }
        reset
    }

    /// Returns the topics in which a group has committed offsets.
    pub fn topics_of_group(&self, group: &str) -> Vec<String> {
        let groups = self.guard();
        let topics = groups.get(group).into_iter().flatten();
        topics
            .filter(|(_, progress)| !progress.committed.is_empty())
            .map(|(topic, _)| topic.clone())
            .collect()
    }

    /// Returns the groups that have committed offsets in a topic.
    pub fn groups_of_topic(&self, topic: &str) -> Vec<String> {
        let groups = self.guard();
        let has =
            |topics: &HashMap<String, Progress>| topics.get(topic).is_some_and(|p| !p.committed.is_empty());
        groups.iter().filter(|(_, topics)| has(topics)).map(|(group, _)| group.clone()).collect()
    }

    /// Forgets a group.
    pub fn remove_group(&self, group: &str) {
        self.guard().remove(group);
        self.changed();
    }

    /// Forgets what every group consumed of a topic.
    pub fn remove_topic(&self, topic: &str) {
        self.guard().retain(|_, topics| {
            topics.remove(topic);
            !topics.is_empty()
        });
        self.changed();
    }

    /// Gives one group the committed offsets of another in a topic.
    pub fn clone_group(&self, source: &str, target: &str, topic: &str) {
        let offsets = self.committed(source, topic);
        self.with(target, topic, |progress| progress.committed = offsets);
        self.changed();
    }

    /// Returns what goes into `consumerOffset.json`.
    pub fn snapshot(&self) -> ConsumerOffsetSerializeWrapper {
        let groups = self.guard();
        let rows = groups.iter().flat_map(|(group, topics)| {
            let topics = topics.iter().filter(|(_, progress)| !progress.committed.is_empty());
            topics.map(move |(topic, progress)| (format!("{topic}@{group}"), progress.committed.clone()))
        });
        ConsumerOffsetSerializeWrapper { offset_table: rows.collect(), ..Default::default() }
    }

    /// Writes the file if it lacks a change, and what was consumed is on the disk: other messages would come in its place
    /// after a power cut, and be passed over. Says whether it did. Blocks.
    pub fn save(&self, file: &Path, store: &MessageStore) -> Result<bool, PersistError> {
        let version = self.version();
        if self.saved.load(Ordering::Relaxed) == version {
            return Ok(false);
        }
        let snapshot = self.snapshot();
        if !store.settle() {
            return Ok(false);
        }
        persist::save(file, &snapshot)?;
        self.saved.store(version, Ordering::Relaxed);
        Ok(true)
    }

    /// Takes over what `consumerOffset.json` held.
    pub fn restore(&self, saved: ConsumerOffsetSerializeWrapper) {
        let mut groups = self.guard();
        for (key, committed) in saved.offset_table {
            if let Some((topic, group)) = key.split_once('@') {
                let topics = groups.entry(group.to_owned()).or_default();
                topics.entry(topic.to_owned()).or_default().committed = committed;
            }
        }
    }
}

impl ConsumerOffsets {
    /// Takes over a master's offsets, queue by queue; what they do not name stays.
    pub(super) fn take_over(&self, offsets: BTreeMap<String, BTreeMap<i32, i64>>) {
        let mut changed = false;
        for (key, committed) in offsets {
            let Some((topic, group)) = key.split_once('@') else { continue };
            self.with(group, topic, |progress| {
                for (queue_id, offset) in committed {
                    changed |= progress.committed.insert(queue_id, offset) != Some(offset);
                }
            });
        }
        if changed {
            self.changed();
        }
    }
}

/// QUERY_CONSUMER_OFFSET (14): where the group goes on, or whether it begins at 0.
pub(super) fn query_consumer_offset(
    broker: &Arc<Broker>,
    call: Call<QueryConsumerOffsetRequestHeader>,
) -> Answer {
    let QueryConsumerOffsetRequestHeader { consumer_group, topic, queue_id, set_zero_if_not_found, .. } =
        call.header;
    broker.topics.confirm(&topic);
    if let Some(offset) = broker.offsets.query(&consumer_group, &topic, queue_id) {
        return Ok(Reply::success().field("offset", offset.0));
    }
    if set_zero_if_not_found == Some(false) {
        let remark = "Not found, do not set to zero, maybe this group boot first";
        return Err(Refusal::new(response::QUERY_NOT_FOUND, remark));
    }
    // A queue that begins at 0 is consumed from there, empty or not, as 4.9 has it: Apache 5.3 says "not found"
    // for an empty one, and a message that arrives before the client's next question is lost to it.
    let min = broker.store.min_offset_in_queue(&topic, queue_id);
    let empty = broker.store.max_offset_in_queue(&topic, queue_id) == QueueOffset(0);
    if min <= QueueOffset(0) && (empty || broker.store.begins_in_memory(&topic, queue_id)) {
        return Ok(Reply::success().field("offset", 0));
    }
    let remark = "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first";
    Err(Refusal::new(response::QUERY_NOT_FOUND, remark))
}

/// UPDATE_CONSUMER_OFFSET (15): a group's progress; answered once it survives a crash.
pub(super) fn update_consumer_offset(
    broker: &Arc<Broker>,
    call: Call<UpdateConsumerOffsetRequestHeader>,
) -> Outcome {
    let UpdateConsumerOffsetRequestHeader { consumer_group, topic, queue_id, commit_offset, .. } =
        call.header;
    let refuse = |code, remark: String| Outcome::Now(Err(Refusal::new(code, remark)));
    if broker.groups.get(&consumer_group).is_none() {
        let remark = format!("Group {} not exist!", shown(&consumer_group));
        return refuse(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark);
    }
    let Some(config) = broker.topics.get(&topic) else {
        return refuse(response::TOPIC_NOT_EXIST, format!("Topic {} not exist!", shown(&topic)));
    };
    let queues = config.read_queue_nums.max(config.write_queue_nums);
    if !(0..queues).contains(&queue_id) || commit_offset < 0 {
        let remark =
            format!("queueId {queue_id} or offset {commit_offset} is illegal, the topic has {queues} queues");
        return refuse(response::INVALID_PARAMETER, remark);
    }
    broker.topics.confirm(&topic);
    if !broker.offsets.commit(&consumer_group, &topic, queue_id, QueueOffset(commit_offset)) {
        return Outcome::Now(Ok(Reply::success().remark("Offset has been previously reset")));
    }
    let offset = QueueOffset(commit_offset);
    broker.events.committed(broker.clock.now_ms(), &consumer_group, &topic, queue_id, offset);
    if call.oneway {
        broker.saving.soon();
        return Outcome::Now(Ok(Reply::success()));
    }
    let saved = broker.saving.now();
    Outcome::later(async move {
        saved.await;
        Ok(Reply::success())
    })
}

/// GET_ALL_CONSUMER_OFFSET (43): what a slave copies.
pub(super) fn get_all_consumer_offset(broker: &Arc<Broker>, _: Call<NoHeader>) -> Answer {
    Ok(Reply::success().body(fastjson::to_string(&broker.offsets.snapshot())))
}

/// GET_MAX_OFFSET (30): one past the queue's last message; 0 for an unknown queue.
pub(super) fn get_max_offset(broker: &Arc<Broker>, call: Call<GetMaxOffsetRequestHeader>) -> Answer {
    let offset = broker.store.max_offset_in_queue(&call.header.topic, call.header.queue_id);
    Ok(Reply::success().field("offset", offset.0))
}

/// GET_MIN_OFFSET (31): the queue's first message; 0 for an unknown queue.
pub(super) fn get_min_offset(broker: &Arc<Broker>, call: Call<GetMinOffsetRequestHeader>) -> Answer {
    let offset = broker.store.min_offset_in_queue(&call.header.topic, call.header.queue_id);
    Ok(Reply::success().field("offset", offset.0).remark(""))
}

/// SEARCH_OFFSET_BY_TIMESTAMP (29): the first message stored at or after a time, or the last before it.
pub(super) fn search_offset_by_timestamp(
    broker: &Arc<Broker>,
    call: Call<SearchOffsetRequestHeader>,
) -> Answer {
    let SearchOffsetRequestHeader { topic, queue_id, timestamp, boundary_type, .. } = call.header;
    let upper = boundary_type.is_some_and(|kind| kind.eq_ignore_ascii_case("upper"));
    let boundary = if upper { Boundary::Upper } else { Boundary::Lower };
    let offset = broker.store.offset_by_time(&topic, queue_id, timestamp, boundary);
    Ok(Reply::success().field("offset", offset.0))
}

/// GET_EARLIEST_MSG_STORETIME (32): when the queue's first message was stored; -1 when it has none.
pub(super) fn get_earliest_msg_storetime(
    broker: &Arc<Broker>,
    call: Call<GetEarliestMsgStoretimeRequestHeader>,
) -> Answer {
    let time_ms = broker.store.earliest_message_time(&call.header.topic, call.header.queue_id).unwrap_or(-1);
    Ok(Reply::success().field("timestamp", time_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reset is what a group is told until its next pull takes it; commits in between do not count.
    #[test]
    fn a_reset_waits_for_the_next_pull() {
        let offsets = ConsumerOffsets::default();
        assert!(offsets.commit("g", "T", 0, QueueOffset(9)));
        offsets.reset("g", "T", 0, QueueOffset(3));
        assert!(!offsets.commit("g", "T", 0, QueueOffset(10)));
        assert_eq!(offsets.query("g", "T", 0), Some(QueueOffset(3)));
        assert_eq!(offsets.take_reset("g", "T", 0), Some(QueueOffset(3)));
        assert_eq!(offsets.take_reset("g", "T", 0), None);
        assert!(offsets.commit("g", "T", 0, QueueOffset(4)));
        assert_eq!(offsets.query("g", "T", 0), Some(QueueOffset(4)));
    }

    /// A pull that a reset sends elsewhere commits nothing and got nowhere; one that is there already goes on.
    #[test]
    fn a_pull_obeys_a_reset() {
        let offsets = ConsumerOffsets::default();
        let pull = |from, commit: i64, next: Option<i64>| {
            offsets.pull("g", "T", 0, QueueOffset(from), Some(QueueOffset(commit)), next.map(QueueOffset))
        };
        assert_eq!(pull(9, 9, Some(12)), None);
        assert_eq!(offsets.last_pulled("g", "T", 0), Some(QueueOffset(12)));
        offsets.reset("g", "T", 0, QueueOffset(3));
        assert_eq!(pull(12, 12, Some(15)), Some(QueueOffset(3)));
        assert_eq!(offsets.query("g", "T", 0), Some(QueueOffset(3)));
        assert_eq!(offsets.last_pulled("g", "T", 0), Some(QueueOffset(12)));
        offsets.reset("g", "T", 0, QueueOffset(4));
        assert_eq!(pull(4, 4, None), None, "it is held");
        assert_eq!(offsets.last_pulled("g", "T", 0), Some(QueueOffset(12)));
        let version = offsets.version();
        assert_eq!(pull(4, 4, Some(5)), None);
        assert_eq!((offsets.last_pulled("g", "T", 0), offsets.version()), (Some(QueueOffset(5)), version));
        assert_eq!(pull(5, 5, Some(6)), None);
        assert_eq!(offsets.query("g", "T", 0), Some(QueueOffset(5)));
        assert_eq!(offsets.version(), version + 1);
    }

    /// What is saved is what is restored, and a pull alone is nothing to save.
    #[test]
    fn saved_and_restored() {
        let offsets = ConsumerOffsets::default();
        offsets.pulled("watcher", "T", 0, QueueOffset(5));
        assert_eq!(offsets.version(), 0);
        offsets.commit("g", "T", 1, QueueOffset(7));
        offsets.commit("g", "%RETRY%g", 0, QueueOffset(1));
        let version = offsets.version();
        offsets.commit("g", "T", 1, QueueOffset(7));
        assert_eq!(offsets.version(), version);
        let other = ConsumerOffsets::default();
        other.restore(offsets.snapshot());
        assert_eq!(other.query("g", "T", 1), Some(QueueOffset(7)));
        assert_eq!(other.groups_of_topic("T"), ["g"]);
        other.remove_topic("T");
        assert_eq!(other.topics_of_group("g"), ["%RETRY%g"]);
    }
}
