//! What the API tells about a server, and how it is read from the broker's rooms.
//!
//! A broker and a NameServer go in, plain structures for JSON come out; `openapi.json` describes them. Nothing is
//! kept between two questions, and the figures of one answer may be a few messages apart.

#![allow(clippy::struct_field_names)] // fields are the names in JSON

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::broker::client::Member;
use crate::broker::lag::{Popped, ReadTopic, queue_ids};
use crate::broker::topic::perm;
use crate::broker::{Broker, name};
use crate::namesrv::NameServer;
use crate::store::QueueOffset;
use crate::wire::body::heartbeat::{ConsumeType, MessageModel};
use crate::wire::body::topic::TopicConfig;
use crate::wire::code;

/// Everything that the first page shows, in one answer.
#[derive(Debug, Serialize)]
pub(super) struct Overview {
    pub(super) server: ServerState,
    pub(super) broker: Option<BrokerState>,
    /// Every broker that the NameServer knows, in this process or not.
    pub(super) brokers: Vec<RegisteredBroker>,
    pub(super) topics: Vec<Topic>,
    pub(super) groups: Vec<Group>,
    pub(super) dead_letters: Vec<DeadLetters>,
}

/// The process.
#[derive(Debug, Serialize)]
pub(super) struct ServerState {
    pub(super) version: &'static str,
    /// The server's clock, which may have been moved.
    pub(super) now_ms: i64,
    /// NameServer, `host:port`.
    pub(super) namesrv: Option<String>,
}

/// The servers without their topics and groups.
#[derive(Debug, Serialize)]
pub(super) struct Cluster {
    pub(super) server: ServerState,
    pub(super) broker: Option<BrokerState>,
    pub(super) brokers: Vec<RegisteredBroker>,
}

/// The broker in this process.
#[derive(Debug, Serialize)]
pub(super) struct BrokerState {
    cluster: String,
    name: String,
    id: i64,
    /// As registered at NameServers.
    address: String,
    started_ms: i64,
    accepts_messages: bool,
    /// Why it does not.
    refusal: Option<String>,
    /// Connected clients that produce, each counted once.
    producers: usize,
    /// Connected clients that consume, each counted once.
    consumers: usize,
    held_pulls: usize,
    /// Since the start, system topics left out.
    messages_in: u64,
    messages_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    store: StoreState,
}

#[derive(Debug, Serialize)]
struct StoreState {
    path: String,
    log_bytes: i64,
    flush_behind_bytes: i64,
    dispatch_behind_bytes: i64,
    disk_total_bytes: u64,
    disk_free_bytes: u64,
    oldest_message_ms: Option<i64>,
}

/// A broker at the NameServer in this process.
#[derive(Debug, Serialize)]
pub(super) struct RegisteredBroker {
    cluster: String,
    name: String,
    /// 0 is the master.
    id: Option<i64>,
    address: String,
    silent_ms: i64,
}

/// What a topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum TopicKind {
    Normal,
    Retry,
    DeadLetter,
    System,
}

#[derive(Debug, Serialize)]
pub(super) struct Topic {
    name: String,
    kind: TopicKind,
    /// `NORMAL`, `FIFO`, `DELAY`, `TRANSACTION`, `MIXED`.
    message_type: String,
    order: bool,
    readable: bool,
    writable: bool,
    read_queues: i32,
    write_queues: i32,
    /// Messages that can be read.
    messages: i64,
    /// Messages stored since the broker started.
    messages_in: u64,
}

/// A topic with its queues and readers.
#[derive(Debug, Serialize)]
pub(super) struct TopicDetail {
    #[serde(flatten)]
    topic: Topic,
    /// Made because a client asked for it; gone unless used. No list has such topics.
    provisional: bool,
    queues: Vec<Queue>,
    groups: Vec<Reader>,
}

#[derive(Debug, Serialize)]
struct Queue {
    queue_id: i32,
    min_offset: i64,
    /// One past the last message.
    max_offset: i64,
    messages: i64,
    last_stored_ms: Option<i64>,
}

/// A group that reads a topic.
#[derive(Debug, Serialize)]
struct Reader {
    group: String,
    online: bool,
    lag: Option<i64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Group {
    name: String,
    system: bool,
    online: bool,
    members: usize,
    consume_type: Option<ConsumeType>,
    message_model: Option<MessageModel>,
    /// Messages that wait for the group, retries included; null when its clients keep the offsets.
    lag: Option<i64>,
    /// Those that were neither sent again nor set aside.
    dead_letters: i64,
    topics: Vec<GroupTopic>,
}

#[derive(Debug, Serialize)]
struct GroupTopic {
    topic: String,
    kind: TopicKind,
    /// The filter of the group's clients; null when it is offline.
    subscription: Option<String>,
    lag: Option<i64>,
}

/// A group with its clients and its progress by queue.
#[derive(Debug, Serialize)]
pub(super) struct GroupDetail {
    #[serde(flatten)]
    group: Group,
    clients: Vec<Client>,
    queues: Vec<GroupQueue>,
}

#[derive(Debug, Serialize)]
struct Client {
    client_id: String,
    address: String,
    language: &'static str,
    version: String,
    last_heard_ms: i64,
}

#[derive(Debug, Serialize)]
struct GroupQueue {
    topic: String,
    queue_id: i32,
    min_offset: i64,
    max_offset: i64,
    /// The next message to consume; null before the first commit.
    committed: Option<i64>,
    lag: Option<i64>,
}

/// Messages that a group gave up on.
#[derive(Debug, Serialize)]
pub(super) struct DeadLetters {
    topic: String,
    group: String,
    messages: i64,
    /// Those that were neither sent again nor set aside.
    open: i64,
    last_stored_ms: Option<i64>,
}

/// A queue that one client of an orderly group consumes, and nobody else.
#[derive(Debug, Serialize)]
pub(super) struct QueueLock {
    group: String,
    topic: String,
    queue_id: i32,
    client_id: String,
    renewed_ms: i64,
    expires_ms: i64,
}

/// Reads every queue lock that has not expired, sorted by group, topic and queue.
pub(super) fn queue_locks(broker: &Broker) -> Vec<QueueLock> {
    let now_ms = broker.clock.now_ms();
    let mut locks: Vec<QueueLock> = broker
        .locks
        .all()
        .into_iter()
        .map(|(group, queue, lock)| QueueLock {
            group,
            topic: queue.topic,
            queue_id: queue.queue_id,
            renewed_ms: lock.last_update_ms,
            expires_ms: lock.expires_ms(),
            client_id: lock.client_id,
        })
        .filter(|lock| lock.expires_ms >= now_ms)
        .collect();
    locks.sort_unstable_by(|one, other| {
        let key = |lock: &QueueLock| (lock.group.clone(), lock.topic.clone(), lock.queue_id);
        key(one).cmp(&key(other))
    });
    locks
}

/// Reads the brokers that a NameServer knows.
pub(super) fn brokers(name_server: &NameServer) -> Vec<RegisteredBroker> {
    let registered = name_server.brokers().into_iter();
    registered
        .map(|broker| RegisteredBroker {
            cluster: broker.cluster_name,
            name: broker.broker_name,
            id: broker.broker_id,
            address: broker.broker_addr,
            silent_ms: broker.silent_ms,
        })
        .collect()
}

/// Reads the state of the broker as a whole.
pub(super) fn broker_state(broker: &Broker) -> BrokerState {
    let store = &broker.store;
    let (log_space, _) = store.disk_space();
    let topics = broker.stats.topics();
    let mut counted = [0u64; 4];
    for (topic, stats) in &topics {
        // Copies that the broker makes for itself, traces and half messages are no traffic of the users'.
        if broker.topics.is_system(topic) && **topic != *name::BENCHMARK_TOPIC {
            continue;
        }
        let (messages_in, bytes_in) = stats.stored();
        let mut figures = [messages_in, bytes_in, 0, 0];
        for group in stats.groups().values() {
            let (messages_out, bytes_out) = group.handed_out();
            figures[2] += messages_out;
            figures[3] += bytes_out;
        }
        counted.iter_mut().zip(figures).for_each(|(sum, figure)| *sum += figure);
    }
    let refusal = store.refusal_reason();
    BrokerState {
        cluster: broker.cluster(),
        name: broker.name(),
        id: broker.id(),
        address: broker.address().registered(),
        started_ms: broker.stats.boot_ms(),
        accepts_messages: store.is_writeable() && !broker.is_stopping(),
        refusal,
        producers: distinct(
            broker.producers.all().iter().flat_map(|(_, members)| members).map(|m| m.peer.id()),
        ),
        consumers: distinct(
            broker
                .consumers
                .names()
                .iter()
                .filter_map(|group| broker.consumers.group(group))
                .flat_map(|group| group.members.into_keys()),
        ),
        held_pulls: broker.held_pulls(),
        messages_in: counted[0],
        bytes_in: counted[1],
        messages_out: counted[2],
        bytes_out: counted[3],
        store: StoreState {
            path: store.options().root.display().to_string(),
            log_bytes: store.max_physical_offset().0 - store.min_physical_offset().0,
            flush_behind_bytes: (store.max_physical_offset().0 - store.flushed_offset().0).max(0),
            dispatch_behind_bytes: store.dispatch_behind_bytes(),
            disk_total_bytes: log_space.total_bytes,
            disk_free_bytes: log_space.free_bytes,
            oldest_message_ms: store.earliest_store_timestamp(),
        },
    }
}

fn distinct(peers: impl Iterator<Item = u64>) -> usize {
    peers.collect::<BTreeSet<_>>().len()
}

/// Reads every topic, sorted by name.
pub(super) fn topics(broker: &Broker) -> Vec<Topic> {
    let figures = broker.stats.topics();
    let stored = |topic: &str| figures.get(topic).map_or(0, |stats| stats.stored().0);
    let mut topics: Vec<Topic> =
        broker.topics.all().iter().map(|config| topic(broker, config, stored(&config.topic_name))).collect();
    topics.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    topics
}

fn topic(broker: &Broker, config: &TopicConfig, messages_in: u64) -> Topic {
    let name = &config.topic_name;
    Topic {
        kind: kind(broker, name),
        message_type: config.attributes.get("message.type").map_or("NORMAL", String::as_str).to_owned(),
        order: config.order,
        readable: config.perm & perm::READ != 0,
        writable: config.perm & perm::WRITE != 0,
        read_queues: config.read_queue_nums,
        write_queues: config.write_queue_nums,
        messages: broker.message_count(config),
        messages_in,
        name: name.clone(),
    }
}

/// Reads one topic with its queues and readers; `None` when there is no such topic.
pub(super) fn topic_detail(broker: &Broker, name: &str) -> Option<TopicDetail> {
    let config = broker.topics.get(name)?;
    let stored = broker.stats.find_topic(name).map_or(0, |stats| stats.stored().0);
    let queue = |queue_id| {
        let (min_offset, max_offset) = broker.queue_bounds(name, queue_id);
        let last_stored_ms = last_stored_ms(broker, name, queue_id, max_offset);
        Queue { queue_id, min_offset, max_offset, messages: max_offset - min_offset, last_stored_ms }
    };
    let mut groups: BTreeSet<String> = broker.offsets.groups_of_topic(name).into_iter().collect();
    groups.extend(broker.consumers.groups_of_topic(name));
    let popped = broker.popped();
    let reader = |group: String| {
        let online = broker.consumers.group(&group);
        let lag = broker.keeps_offsets_of(&group).then(|| broker.lag(&popped, &group, &config));
        Reader { online: online.is_some(), lag, group }
    };
    Some(TopicDetail {
        topic: topic(broker, &config, stored),
        provisional: broker.topics.is_provisional(name),
        queues: queue_ids(&config).map(queue).collect(),
        groups: groups.into_iter().map(reader).collect(),
    })
}

/// Reads every group that is configured or online, sorted by name.
pub(super) fn groups(broker: &Broker) -> Vec<Group> {
    let popped = broker.popped();
    broker.group_names().iter().map(|name| group(broker, &popped, name)).collect()
}

fn group(broker: &Broker, popped: &Popped, name: &str) -> Group {
    let online = broker.consumers.group(name);
    let shared = broker.keeps_offsets_of(name);
    let read = broker.topics_read_by(name).into_iter();
    let topics: Vec<GroupTopic> = read
        .map(|ReadTopic { config, subscription }| GroupTopic {
            kind: kind(broker, &config.topic_name),
            subscription,
            lag: shared.then(|| broker.lag(popped, name, &config)),
            topic: config.topic_name.clone(),
        })
        .collect();
    let letters = broker.topics.get(&name::dlq_topic(name));
    let dead_letters = letters.map_or(0, |config| {
        let marks = queue_ids(&config).map(|queue_id| broker.dead_letter_marks(&config.topic_name, queue_id));
        marks.map(|(_, open, end)| end - open).sum()
    });
    Group {
        system: name::is_system_group(name),
        online: online.is_some(),
        members: online.as_ref().map_or(0, |online| online.members.len()),
        consume_type: online.as_ref().map(|online| online.consume_type),
        message_model: online.as_ref().map(|online| online.message_model),
        lag: shared.then(|| topics.iter().filter_map(|topic| topic.lag).sum()),
        dead_letters,
        topics,
        name: name.to_owned(),
    }
}

/// Reads one group with its clients and progress; `None` when nobody knows it.
pub(super) fn group_detail(broker: &Broker, name: &str) -> Option<GroupDetail> {
    let online = broker.consumers.group(name);
    if online.is_none() && broker.groups.get(name).is_none() {
        return None;
    }
    let client = |member: Member| Client {
        client_id: member.client_id,
        address: member.peer.address().to_string(),
        language: member.language.name(),
        version: code::version_name(member.version),
        last_heard_ms: broker.clock.unskewed_ms_of_liveness(member.last_update_ms) + broker.clock.skew_ms(),
    };
    let shared = broker.keeps_offsets_of(name);
    let popped = broker.popped();
    let mut queues = Vec::new();
    for ReadTopic { config, .. } in broker.topics_read_by(name) {
        let committed = broker.offsets.committed(name, &config.topic_name);
        let lags = broker.queue_lags(&popped, name, &config);
        queues.extend(lags.into_iter().map(|(queue_id, lag)| {
            let (min_offset, max_offset) = broker.queue_bounds(&config.topic_name, queue_id);
            let committed = committed.get(&queue_id).copied();
            let lag = shared.then_some(lag.messages);
            GroupQueue { topic: config.topic_name.clone(), queue_id, min_offset, max_offset, committed, lag }
        }));
    }
    let clients = online.into_iter().flat_map(|online| online.members.into_values()).map(client).collect();
    Some(GroupDetail { group: group(broker, &popped, name), clients, queues })
}

/// Reads every topic of dead letters, sorted by group.
pub(super) fn dead_letters(broker: &Broker) -> Vec<DeadLetters> {
    let mut queues: Vec<DeadLetters> = Vec::new();
    for config in broker.topics.all() {
        let Some(group) = config.topic_name.strip_prefix(name::DLQ_PREFIX) else { continue };
        let topic = &config.topic_name;
        let marks: BTreeMap<i32, (i64, i64, i64)> =
            queue_ids(&config).map(|id| (id, broker.dead_letter_marks(topic, id))).collect();
        queues.push(DeadLetters {
            group: group.to_owned(),
            messages: marks.values().map(|(begin, _, end)| end - begin).sum(),
            open: marks.values().map(|(_, open, end)| end - open).sum(),
            last_stored_ms: marks
                .iter()
                .filter_map(|(id, (_, _, end))| last_stored_ms(broker, topic, *id, *end))
                .max(),
            topic: topic.clone(),
        });
    }
    queues.sort_unstable_by(|one, other| one.group.cmp(&other.group));
    queues
}

fn last_stored_ms(broker: &Broker, topic: &str, queue_id: i32, max_offset: i64) -> Option<i64> {
    let last = QueueOffset(max_offset - 1);
    (max_offset > 0).then(|| broker.store.store_timestamp_at(topic, queue_id, last)).flatten()
}

fn kind(broker: &Broker, topic: &str) -> TopicKind {
    if topic.starts_with(name::RETRY_PREFIX) {
        TopicKind::Retry
    } else if topic.starts_with(name::DLQ_PREFIX) {
        TopicKind::DeadLetter
    } else if broker.topics.is_system(topic) {
        TopicKind::System
    } else {
        TopicKind::Normal
    }
}
