//! Check points of popped messages: what is out, what came back, and what is offered again.
//!
//! A pop leaves a check point here and, as a timer message, in the revive log (`rmq_sys_REVIVE_LOG_<cluster>`); an
//! acknowledgement marks it here and goes to the log, too. When the invisible time is over, what was not acknowledged
//! goes to the group's retry topic for the topic, or to its dead letters after the last retry. The table in memory
//! decides; the log is for the next start and for an Apache broker, which reads nothing else: timers bring the check
//! point a second before its time and the acknowledgements at it, and one task per queue of the log reads along.
//! A check point that only the log knows is from before the start; it is given [`LOG_SLACK_MS`] for its
//! acknowledgements to arrive, and longer while the timers are behind with them. Progress in the log is the offset of
//! group `CID_RMQ_SYS_REVIVE_GROUP`: what was revived a moment before a crash may be revived again, and nothing is lost.
//! Mirrors `PopReviveService` and `PopBufferMergeService`; unlike there nothing is revived late, and consumers that were
//! switched to pulling get their retries where they read them.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;
use tokio::sync::Notify;

use super::receipt::{normal_topic, retry_topics};
use crate::broker::inner::InnerMessage;
use crate::broker::topic::perm;
use crate::broker::{Broker, name, retry};
use crate::clock::NEVER_MS;
use crate::remoting::Refusal;
use crate::store::{Arrival, QueueOffset, ReadLimits};
use crate::wire::body::pop::{AckMsg, MessageRequestMode, PopCheckPoint};
use crate::wire::fastjson;
use crate::wire::message::{MessageRecord, property_name};

/// Group whose offsets are the progress in the revive log.
const REVIVE_GROUP: &str = "CID_RMQ_SYS_REVIVE_GROUP";
/// How much earlier than its acknowledgements a check point comes out of the timer (`ackTimeInterval`).
const CHECK_POINT_AHEAD_MS: i64 = 1_000;
/// How long a check point from before the start waits for acknowledgements from before the start.
const LOG_SLACK_MS: i64 = 2_000;
/// Pause while the timers have not brought everything that is due.
const TIMERS_BEHIND_MS: i64 = 10;
/// Pause after a message that could not be put into the retry topic.
const AGAIN_MS: i64 = 10_000;
/// Records of the log, or due check points, that are handled before others may run.
const BATCH_MAX: usize = 512;

/// Identity of a check point.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) topic: Arc<str>,
    pub(super) group: Arc<str>,
    pub(super) queue_id: i32,
    pub(super) start_offset: i64,
    pub(super) pop_time_ms: i64,
}

/// One check point.
#[derive(Clone, Debug)]
struct Point {
    /// Queue offsets of the messages.
    offsets: SmallVec<[i64; 8]>,
    /// Bit by place in `offsets`.
    acked: u64,
    /// When what is left is revived; `None` once that is done or nothing is left.
    due_ms: Option<i64>,
    /// Where the log has it, once it does.
    logged: Option<i64>,
    /// Whether it is from before the start, so that acknowledgements may still be on their way.
    restored: bool,
}

impl Point {
    fn all(&self) -> u64 {
        u64::MAX >> (64 - self.offsets.len().clamp(1, 64))
    }

    fn unacked(&self) -> Vec<i64> {
        let open = self.offsets.iter().enumerate().filter(|(at, _)| self.acked >> at & 1 == 0);
        open.map(|(_, offset)| *offset).collect()
    }
}

/// What an acknowledgement met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// A message that was out.
    Open,
    /// A message that was acknowledged already, was revived, or was never part of its check point.
    Settled,
    /// No check point that this process knows.
    Unknown,
}

/// The check points of one queue of the log; pure, so that it can be compared with a model.
#[derive(Default)]
pub(super) struct Points {
    points: HashMap<Key, Point>,
    due: BTreeSet<(i64, Key)>,
    /// Places in the log of check points that are not settled.
    logged: BTreeSet<i64>,
}

impl Points {
    /// Adds the check point of a pop.
    pub(super) fn add(&mut self, key: Key, offsets: &[i64], due_ms: i64) {
        self.remove(&key);
        self.due.insert((due_ms, key.clone()));
        let point =
            Point { offsets: offsets.into(), acked: 0, due_ms: Some(due_ms), logged: None, restored: false };
        self.points.insert(key, point);
    }

    /// Forgets a check point that the log did not take.
    pub(super) fn remove(&mut self, key: &Key) {
        if let Some(point) = self.points.remove(key) {
            self.forget(key, &point);
        }
    }

    fn forget(&mut self, key: &Key, point: &Point) {
        if let Some(due_ms) = point.due_ms {
            self.due.remove(&(due_ms, key.clone()));
        }
        if let Some(offset) = point.logged {
            self.logged.remove(&offset);
        }
    }

    /// Adds a check point that has come into the log; one from before the start waits until `due_ms`.
    pub(super) fn log(&mut self, key: Key, offsets: &[i64], due_ms: i64, offset: i64) {
        match self.points.get_mut(&key) {
            Some(point) if point.due_ms.is_none() => self.remove(&key),
            Some(point) => {
                point.logged = Some(offset);
                self.logged.insert(offset);
            }
            None => {
                self.add(key.clone(), offsets, due_ms);
                self.logged.insert(offset);
                if let Some(point) = self.points.get_mut(&key) {
                    point.logged = Some(offset);
                    point.restored = true;
                }
            }
        }
    }

    /// Says what an acknowledgement would meet.
    pub(super) fn meets(&self, key: &Key, offset: i64) -> Met {
        let Some(point) = self.points.get(key) else { return Met::Unknown };
        let Some(at) = point.offsets.iter().position(|known| *known == offset) else { return Met::Settled };
        if point.due_ms.is_none() || point.acked >> at & 1 == 1 { Met::Settled } else { Met::Open }
    }

    /// Marks a message as acknowledged.
    pub(super) fn ack(&mut self, key: &Key, offset: i64) {
        let Some(point) = self.points.get_mut(key) else { return };
        let Some(at) = point.offsets.iter().position(|known| *known == offset) else { return };
        point.acked |= 1 << at;
        if point.acked & point.all() == point.all() {
            self.settle(key);
        }
    }

    /// Nothing is left to be done for a check point; it stays known until the log has brought it.
    fn settle(&mut self, key: &Key) {
        let Some(point) = self.points.get_mut(key) else { return };
        if let Some(due_ms) = point.due_ms.take() {
            self.due.remove(&(due_ms, key.clone()));
        }
        if point.logged.is_some() {
            self.remove(key);
        }
    }

    /// Takes a check point whose time has come, with the queue offsets of what is to be revived; one from before the
    /// start only when `all_read` says that the log has been read up to now.
    pub(super) fn take_due(&mut self, now_ms: i64, all_read: bool) -> Option<(Key, Vec<i64>)> {
        if !all_read && self.waits_for_log(now_ms) {
            return None;
        }
        let (due_ms, key) = self.due.first().filter(|(due_ms, _)| *due_ms <= now_ms)?.clone();
        let offsets = self.points.get(&key).map(Point::unacked).unwrap_or_default();
        self.due.remove(&(due_ms, key.clone()));
        Some((key, offsets))
    }

    /// Says whether the first check point is due and from before the start.
    fn waits_for_log(&self, now_ms: i64) -> bool {
        let first = self.due.first().filter(|(due_ms, _)| *due_ms <= now_ms);
        first.and_then(|(_, key)| self.points.get(key)).is_some_and(|point| point.restored)
    }

    /// Returns when to look again: when the next check point is due, or while the timers are behind, soon.
    fn next_look_ms(&self, now_ms: i64, all_brought: bool) -> Option<i64> {
        let behind = !all_brought && self.waits_for_log(now_ms);
        if behind { Some(now_ms + TIMERS_BEHIND_MS) } else { self.next_due_ms() }
    }

    /// Notes that what was taken has been revived, or with a time, that the rest is to be tried again then.
    pub(super) fn revived(&mut self, key: &Key, rest: &[i64], again_ms: i64) {
        if rest.is_empty() {
            if let Some(point) = self.points.get_mut(key) {
                point.due_ms = None;
            }
            self.settle(key);
        } else if let Some(point) = self.points.get_mut(key) {
            for (at, offset) in point.offsets.iter().enumerate() {
                if !rest.contains(offset) {
                    point.acked |= 1 << at;
                }
            }
            point.due_ms = Some(again_ms);
            self.due.insert((again_ms, key.clone()));
        }
    }

    /// Returns when the next check point is due.
    pub(super) fn next_due_ms(&self) -> Option<i64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// Calls `each` with every check point that holds messages which are out, how many, and the first of them.
    fn for_each_out(&self, mut each: impl FnMut(&Key, i64, i64)) {
        for (key, point) in self.points.iter().filter(|(_, point)| point.due_ms.is_some()) {
            let open = point.offsets.iter().enumerate().filter(|(at, _)| point.acked >> at & 1 == 0);
            let (count, first) =
                open.fold((0, i64::MAX), |(count, first), (_, offset)| (count + 1, first.min(*offset)));
            if count > 0 {
                each(key, count, first);
            }
        }
    }

    /// Returns the place in the log before which all is settled, when everything before `read` has been read.
    pub(super) fn settled_before(&self, read: i64) -> i64 {
        self.logged.first().copied().unwrap_or(read)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }
}

/// The messages of one queue that a group has popped and not acknowledged, whose time is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Out {
    /// How many.
    pub messages: i64,
    /// Queue offset of the first.
    pub first: i64,
}

/// What is out of every queue at a moment. It lacks what orderly groups hold, which they have not committed, and for a
/// while after a start what was popped before it.
#[derive(Debug, Default)]
pub struct Popped {
    /// By group, topic and queue.
    groups: HashMap<Arc<str>, HashMap<Arc<str>, OutOfQueues>>,
}

/// By queue.
type OutOfQueues = HashMap<i32, Out>;

impl Popped {
    /// Returns what a group has of one queue.
    pub fn of(&self, group: &str, topic: &str, queue_id: i32) -> Option<Out> {
        self.groups.get(group)?.get(topic)?.get(&queue_id).copied()
    }
}

/// The revive log of one broker and what is out of each of its queues.
///
/// Lock order: the lock of `points` is a leaf.
pub struct ReviveLog {
    topic: String,
    queues: Vec<Queue>,
    /// Queue of the next pop.
    next: AtomicI32,
}

#[derive(Default)]
struct Queue {
    points: Mutex<Points>,
    /// Something came into the log, or is due earlier than all else.
    wake: Notify,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Points> {
        self.points.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReviveLog {
    /// Makes the tables of a cluster's log with this many queues.
    pub fn new(cluster: &str, queue_nums: i32) -> Self {
        let queues = (0..queue_nums.max(1)).map(|_| Queue::default()).collect();
        Self { topic: format!("rmq_sys_REVIVE_LOG_{cluster}"), queues, next: AtomicI32::new(0) }
    }

    /// Returns the number of queues.
    pub(super) fn queue_nums(&self) -> i32 {
        self.queues.len() as i32
    }

    /// Returns the queue for the next pop.
    pub(super) fn next_queue(&self) -> i32 {
        self.next.fetch_add(1, Ordering::Relaxed).rem_euclid(self.queue_nums())
    }

    /// Learns what has come into the log.
    pub fn arrived(&self, arrivals: &[Arrival]) {
        for arrival in arrivals.iter().filter(|arrival| *arrival.topic == *self.topic) {
            if let Some(queue) = self.queues.get(arrival.queue_id as usize) {
                queue.wake.notify_one();
            }
        }
    }

    /// Returns what is out now, in time that grows with it.
    pub(in crate::broker) fn out(&self) -> Popped {
        let mut groups = HashMap::<Arc<str>, HashMap<Arc<str>, OutOfQueues>>::new();
        for queue in &self.queues {
            queue.lock().for_each_out(|key, count, first| {
                let topics = groups.entry(key.group.clone()).or_default();
                let queues = topics.entry(key.topic.clone()).or_default();
                let out = queues.entry(key.queue_id).or_insert(Out { messages: 0, first });
                *out = Out { messages: out.messages + count, first: out.first.min(first) };
            });
        }
        Popped { groups }
    }

    fn queue(&self, queue_id: i32) -> Option<&Queue> {
        self.queues.get(usize::try_from(queue_id).ok()?)
    }

    /// Says what an acknowledgement would meet.
    pub(super) fn meets(&self, queue_id: i32, key: &Key, offset: i64) -> Met {
        self.queue(queue_id).map_or(Met::Unknown, |queue| queue.lock().meets(key, offset))
    }
}

/// Leaves a check point: in memory, and in the log for the next start. Refuses what the timer refuses.
pub(super) fn check_point(
    broker: &Broker,
    revive_queue_id: i32,
    key: &Key,
    offsets: &[i64],
    invisible_ms: i64,
) -> Result<(), Refusal> {
    let revive_time_ms = key.pop_time_ms.saturating_add(invisible_ms);
    let diff = |offset: &i64| (offset - key.start_offset) as i32;
    let point = PopCheckPoint {
        broker_name: broker.keys().broker_name.clone(),
        c_id: key.group.to_string(),
        queue_offset_diff: offsets.iter().map(diff).collect(),
        invisible_time: invisible_ms,
        num: offsets.len() as i8,
        pop_time: key.pop_time_ms,
        queue_id: key.queue_id,
        revive_time: revive_time_ms,
        start_offset: key.start_offset,
        topic: key.topic.to_string(),
        ..PopCheckPoint::default()
    };
    let log = &broker.pop.log;
    let Some(queue) = log.queue(revive_queue_id) else { return Ok(()) };
    // Known before the log can bring it: a time that is over brings it at once.
    let mut points = queue.lock();
    points.add(key.clone(), offsets, revive_time_ms);
    let is_first = points.next_due_ms() == Some(revive_time_ms);
    drop(points);
    let unique_key = unique_key(key, key.start_offset, &point.broker_name, "ck");
    let body = fastjson::to_string(&point);
    let put = put(broker, revive_queue_id, "ck", body, &unique_key, revive_time_ms - CHECK_POINT_AHEAD_MS);
    if put.is_err() {
        queue.lock().remove(key);
    }
    if is_first {
        queue.wake.notify_one();
    }
    put
}

/// Acknowledges messages of a check point, in the log and in memory.
pub(super) fn acknowledge(
    broker: &Broker,
    revive_queue_id: i32,
    key: &Key,
    offsets: &[i64],
    revive_time_ms: i64,
) -> Result<(), Refusal> {
    let Some(queue) = broker.pop.log.queue(revive_queue_id) else { return Ok(()) };
    let points = queue.lock();
    let open = |offset: &i64| match points.meets(key, *offset) {
        Met::Open => true,
        Met::Settled => false,
        // From before the start, if it is anything; once its time is over, it is too late.
        Met::Unknown => revive_time_ms > broker.clock.now_ms(),
    };
    let open: Vec<i64> = offsets.iter().copied().filter(open).collect();
    drop(points);
    if open.is_empty() {
        return Ok(());
    }
    let (tag, ack_offset, ack_offset_list) = match open[..] {
        [offset] => ("ack", offset, Vec::new()),
        _ => ("bAck", -1, open.clone()),
    };
    let ack = AckMsg {
        ack_offset,
        ack_offset_list,
        broker_name: broker.keys().broker_name.clone(),
        consumer_group: key.group.to_string(),
        pop_time: key.pop_time_ms,
        queue_id: key.queue_id,
        start_offset: key.start_offset,
        topic: key.topic.to_string(),
    };
    let unique_key = unique_key(key, ack_offset, &ack.broker_name, "ack");
    put(broker, revive_queue_id, tag, fastjson::to_string(&ack), &unique_key, revive_time_ms)?;
    let mut points = queue.lock();
    for offset in open {
        points.ack(key, offset);
    }
    Ok(())
}

fn unique_key(key: &Key, offset: i64, broker_name: &str, tag: &str) -> String {
    let Key { topic, group, queue_id, pop_time_ms, .. } = key;
    format!("{topic}@{queue_id}@{offset}@{group}@{pop_time_ms}@{broker_name}@{tag}")
}

fn put(
    broker: &Broker,
    queue_id: i32,
    tag: &str,
    body: String,
    unique_key: &str,
    deliver_ms: i64,
) -> Result<(), Refusal> {
    let host = broker.store.options().store_host;
    let mut message = InnerMessage {
        topic: broker.pop.log.topic.clone(),
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: broker.clock.now_ms(),
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: body.into(),
        properties: String::new(),
        wait_store: false,
    };
    message.set_property(property_name::TAGS, tag);
    message.set_property(property_name::UNIQ_KEY, unique_key);
    message.set_property(property_name::TIMER_DELIVER_MS, &deliver_ms.to_string());
    broker.put_inner(message).map(|_| ())
}

/// Follows one queue of the log and revives what is due; ends with the broker.
pub(in crate::broker) async fn run(broker: Arc<Broker>, queue_id: i32) {
    let log = &broker.pop.log;
    let Some(queue) = log.queue(queue_id) else { return };
    let committed = broker.offsets.query(REVIVE_GROUP, &log.topic, queue_id).map_or(-1, |offset| offset.0);
    let min = broker.store.min_offset_in_queue(&log.topic, queue_id).0;
    let mut read = min.max(committed + 1);
    let mut written = committed;
    // The appointment that is kept now is over when the next is made.
    let mut appointment;
    loop {
        let now_ms = broker.clock.now_ms();
        // Before the log is read: what the timers had to bring is in it by then.
        let all_brought = broker.timers.has_delivered(&broker.store, now_ms);
        let came = follow(&broker, queue, queue_id, &mut read);
        let revived = revive_due(&broker, queue, now_ms, all_brought && !came);
        let settled = queue.lock().settled_before(read) - 1;
        if settled > written {
            written = settled;
            broker.offsets.commit(REVIVE_GROUP, &log.topic, queue_id, QueueOffset(settled));
            broker.saving.soon();
        }
        if came || revived {
            tokio::task::yield_now().await;
            continue;
        }
        let next_look_ms = queue.lock().next_look_ms(now_ms, all_brought);
        appointment = broker.clock.appoint(next_look_ms.unwrap_or(NEVER_MS));
        tokio::select! {
            () = queue.wake.notified() => {}
            () = appointment.come() => {}
        }
    }
}

/// Reads on in the log; says whether there may be more.
fn follow(broker: &Broker, queue: &Queue, queue_id: i32, read: &mut i64) -> bool {
    let topic = &broker.pop.log.topic;
    if broker.store.max_offset_in_queue(topic, queue_id).0 <= *read {
        return false;
    }
    let limits = ReadLimits::messages(BATCH_MAX);
    let found = broker.store.read(topic, queue_id, QueueOffset(*read), &limits, &|_| true, None);
    let now_ms = broker.clock.now_ms();
    let mut points = queue.lock();
    for bytes in &found.records {
        for record in MessageRecord::decode_all(bytes).map_while(Result::ok) {
            let taken = match record.property(property_name::TAGS) {
                Some("ck") => log_check_point(&mut points, &record, now_ms),
                Some("ack" | "bAck") => log_ack(&mut points, &record),
                _ => None,
            };
            if taken.is_none() {
                tracing::warn!(
                    queue_id,
                    offset = record.queue_offset,
                    "the revive log has a record that is no check point"
                );
            }
        }
    }
    let before = *read;
    *read = found.next_begin_offset.0.max(*read);
    *read > before
}

fn log_check_point(points: &mut Points, record: &MessageRecord<'_>, now_ms: i64) -> Option<()> {
    let point: PopCheckPoint = fastjson::from_slice(record.body).ok()?;
    let offsets = point.offsets();
    let key = Key {
        topic: point.topic.as_str().into(),
        group: point.c_id.as_str().into(),
        queue_id: point.queue_id,
        start_offset: point.start_offset,
        pop_time_ms: point.pop_time,
    };
    let over_ms = point.pop_time.saturating_add(point.invisible_time).max(now_ms);
    if !offsets.is_empty() && offsets.len() <= 64 {
        points.log(key, &offsets, over_ms.saturating_add(LOG_SLACK_MS), record.queue_offset);
    }
    Some(())
}

fn log_ack(points: &mut Points, record: &MessageRecord<'_>) -> Option<()> {
    let ack: AckMsg = fastjson::from_slice(record.body).ok()?;
    let key = Key {
        topic: ack.topic.into(),
        group: ack.consumer_group.into(),
        queue_id: ack.queue_id,
        start_offset: ack.start_offset,
        pop_time_ms: ack.pop_time,
    };
    for offset in ack.ack_offset_list.into_iter().chain([ack.ack_offset]) {
        points.ack(&key, offset);
    }
    Some(())
}

/// Revives what is due now; says whether there may be more.
fn revive_due(broker: &Broker, queue: &Queue, now_ms: i64, all_read: bool) -> bool {
    for _ in 0..BATCH_MAX {
        let Some((key, mut offsets)) = queue.lock().take_due(now_ms, all_read) else { return false };
        offsets.retain(|offset| match revive(broker, &key, *offset) {
            Ok(()) => false,
            Err(refusal) => {
                let Key { topic, group, queue_id, .. } = &key;
                tracing::warn!(%topic, %group, queue_id, offset, cause = refusal.remark, "a popped message cannot be revived yet");
                true
            }
        });
        queue.lock().revived(&key, &offsets, now_ms + AGAIN_MS);
    }
    true
}

/// Offers one message again; nothing is left to do when message, topic or group are gone.
fn revive(broker: &Broker, key: &Key, offset: i64) -> Result<(), Refusal> {
    let topic = normal_topic(&key.topic, &key.group);
    let Some(group) = broker.groups.get(&key.group) else { return Ok(()) };
    if broker.topics.get(topic).is_none() {
        return Ok(());
    }
    let limits = ReadLimits::messages(1);
    let found = broker.store.read(&key.topic, key.queue_id, QueueOffset(offset), &limits, &|_| true, None);
    let Some(bytes) = found.records.first() else { return Ok(()) };
    let Ok(record) = MessageRecord::decode(bytes) else { return Ok(()) };
    if record.queue_offset != offset {
        return Ok(());
    }
    let Ok(mut message) = InnerMessage::of_record(bytes, &record) else { return Ok(()) };
    let mut queue_nums = 1;
    message.queue_id = 0;
    let dead = record.reconsume_times >= group.retry_max_times;
    message.topic = if dead {
        note_origin(&mut message, topic, &record);
        retry::dlq_topic(broker, &key.group)?.topic_name.clone()
    } else if broker.pop.modes.explicit(topic, &key.group) == Some(MessageRequestMode::Pull) {
        // The group does not pop this topic any more; its own retry topic is what it reads.
        note_origin(&mut message, topic, &record);
        queue_nums = group.retry_queue_nums;
        name::retry_topic(&key.group)
    } else if *key.topic == *topic {
        let [first_form, second_form] = retry_topics(topic, &key.group);
        if broker.keys().enable_retry_topic_v2 { second_form } else { first_form }
    } else {
        key.topic.to_string()
    };
    let host = broker.store.options().store_host;
    (message.born_host, message.store_host) = (host, host);
    message.reconsume_times = record.reconsume_times.saturating_add(1);
    if record.reconsume_times == 0 || message.property(property_name::FIRST_POP_TIME).is_none() {
        message.set_property(property_name::FIRST_POP_TIME, &key.pop_time_ms.to_string());
    }
    if broker.topics.get(&message.topic).is_none() {
        let rights = perm::READ | perm::WRITE;
        broker.topics.create_internal(&message.topic, queue_nums.max(1), rights, false);
    }
    if message.topic.starts_with(name::RETRY_PREFIX)
        && broker.offsets.query(&key.group, &message.topic, 0).is_none()
    {
        broker.offsets.commit(&key.group, &message.topic, 0, QueueOffset(0));
    }
    // Not by way of delay levels and timers: a delayed message that has come once does not wait again.
    broker.put(&message.new_message(&[&message.properties]), &broker.keys())?;
    if dead {
        broker.stats.topic(topic).group(&key.group).gave_up();
    }
    Ok(())
}

fn note_origin(message: &mut InnerMessage, topic: &str, record: &MessageRecord<'_>) {
    message.set_property(property_name::RETRY_TOPIC, topic);
    if message.property(property_name::ORIGIN_MESSAGE_ID).is_none() {
        message.set_property(property_name::ORIGIN_MESSAGE_ID, &record.offset_message_id());
    }
}

/// Starts the tasks.
pub(in crate::broker) fn start(broker: &Arc<Broker>, life: &crate::lifecycle::Lifecycle) {
    for queue_id in 0..broker.pop.log.queue_nums() {
        life.spawn_until_cancelled("revive popped messages", run(broker.clone(), queue_id));
    }
}

#[cfg(test)]
mod tests;
