//! What happened to one message: sent, stored where, due when, delivered to whom, consumed, retried, dead.
//!
//! Nearly all of it stands in the store, whose index finds every record of a message by its keys: half messages,
//! delayed ones, retries and dead letters are records of their own. What leaves no record is kept in memory as a short
//! [`Events`] list that handlers add to: one entry for a whole answered pull, a committed offset, a decided
//! transaction. Sends add nothing. A topic and a key go in, or an id; steps in order of time come out. There is no
//! counterpart at Apache.

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Serialize;

use super::name::{
    DLQ_PREFIX, RETRY_PREFIX, SCHEDULE_TOPIC, TIMER_TOPIC, TRANS_CHECK_MAX_TIME_TOPIC, TRANS_HALF_TOPIC,
};
use super::{Broker, transaction};
use crate::store::{PhysicalOffset, QueueOffset};
use crate::wire::message::{self, MessageRecord, property_name};

/// Topics under which messages for others wait.
const HIDDEN: [&str; 4] = [SCHEDULE_TOPIC, TIMER_TOPIC, TRANS_HALF_TOPIC, TRANS_CHECK_MAX_TIME_TOPIC];
/// Events that are kept; beyond it the oldest go. Each takes 40 bytes.
const EVENTS_MAX: usize = 20_000;
/// Names that are kept, of which events need at most half.
const NAMES_MAX: usize = 2 * EVENTS_MAX;
/// Names that are at hand for the next event without a search; a power of two.
const NAMES_NEAR: usize = 4_096;
/// Most messages of one answer.
const MESSAGES_MAX: usize = 64;
/// Most records that are looked at for one key in one topic.
const RECORDS_MAX: usize = 64;

/// What leaves no record in the store; it is written down for every pull, and so it is a few numbers.
#[derive(Clone, Copy, Debug)]
struct Event {
    at_ms: i64,
    /// First offset of a delivery, or the one that was committed, acknowledged or decided about.
    from: i64,
    /// Behind the last offset of a delivery.
    to: i64,
    /// Which [`Names`].
    names: u32,
    queue_id: i32,
    /// Messages of a delivery.
    messages: u32,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Delivered,
    Committed,
    Acknowledged,
    Decided { commit: bool, asked: bool },
}

/// Whom an event is about.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Names {
    group: Box<str>,
    topic: Box<str>,
    client: SocketAddr,
}

/// The client of an event that tells of none.
const NOBODY: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

/// The latest events of one broker. The lock is a leaf.
#[derive(Debug, Default)]
pub(super) struct Events {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A ring, once it is full.
    latest: Vec<Event>,
    /// Where the oldest of a full ring is.
    oldest: usize,
    /// The names that events tell by number.
    names: Vec<Arc<Names>>,
    numbers: HashMap<Arc<Names>, u32>,
    /// Numbers of names that events had lately, each at the place that [`place_of`] says.
    near: Vec<u32>,
}

impl State {
    #[inline]
    fn number(&mut self, group: &str, topic: &str, client: SocketAddr) -> u32 {
        let place = place_of(group, topic, client);
        if let Some(number) = self.near.get(place)
            && let Some(names) = self.names.get(*number as usize)
            && *names.topic == *topic
            && *names.group == *group
            && names.client == client
        {
            return *number;
        }
        self.far_number(group, topic, client, place)
    }

    /// Looks names up, or gives them a number. The texts are copied: those of a request are part of its connection's read
    /// buffer, which they would keep.
    #[cold]
    fn far_number(&mut self, group: &str, topic: &str, client: SocketAddr, place: usize) -> u32 {
        if self.names.len() >= NAMES_MAX {
            self.forget_names();
        }
        let names = Arc::new(Names { group: group.into(), topic: topic.into(), client });
        let next = self.names.len() as u32;
        let number = *self.numbers.entry(names.clone()).or_insert(next);
        if number == next {
            self.names.push(names);
        }
        self.near.resize(NAMES_NEAR, u32::MAX);
        self.near[place] = number;
        number
    }

    /// Keeps the names of the events that are there and gives them new numbers.
    fn forget_names(&mut self) {
        let former = std::mem::take(&mut self.names);
        self.numbers.clear();
        self.near.clear();
        for event in &mut self.latest {
            let names = &former[event.names as usize];
            let next = self.names.len() as u32;
            event.names = *self.numbers.entry(names.clone()).or_insert(next);
            if event.names == next {
                self.names.push(names.clone());
            }
        }
    }

    #[inline]
    fn add(&mut self, event: Event) {
        if self.latest.len() < EVENTS_MAX {
            self.latest.push(event);
            return;
        }
        self.latest[self.oldest] = event;
        self.oldest = (self.oldest + 1) % EVENTS_MAX;
    }
}

/// Says where the number of names is kept; others may belong there, too.
fn place_of(group: &str, topic: &str, client: SocketAddr) -> usize {
    // Names that are alike mostly differ at their end.
    let end = |text: &str| {
        let bytes = text.as_bytes();
        let end = bytes.last_chunk().map_or_else(
            || bytes.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)),
            |end| u64::from_le_bytes(*end),
        );
        end ^ bytes.len() as u64
    };
    let all = end(group).rotate_left(32) ^ end(topic) ^ u64::from(client.port()).rotate_left(16);
    (all.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - NAMES_NEAR.ilog2())) as usize
}

/// The events at one moment.
struct Told {
    events: Vec<Event>,
    names: Vec<Arc<Names>>,
}

impl Told {
    /// Returns the events, the oldest first, with their names.
    fn all(&self) -> impl Iterator<Item = (&Event, &Names)> {
        self.events.iter().map(|event| (event, &*self.names[event.names as usize]))
    }
}

impl Events {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> Told {
        let state = self.lock();
        let (younger, older) = state.latest.split_at(state.oldest);
        Told { events: [older, younger].concat(), names: state.names.clone() }
    }

    /// A client was given `messages` of those from `from` up to before `to`.
    #[allow(clippy::too_many_arguments, reason = "all of it is one event")]
    pub(super) fn delivered(
        &self,
        at_ms: i64,
        group: &str,
        topic: &str,
        queue_id: i32,
        range: (QueueOffset, QueueOffset),
        messages: usize,
        client: SocketAddr,
    ) {
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        let (from, to, what) = (range.0.0, range.1.0, What::Delivered);
        let mut state = self.lock();
        let names = state.number(group, topic, client);
        state.add(Event { at_ms, from, to, names, queue_id, messages, what });
    }

    /// A group has consumed everything before `offset`.
    pub(super) fn committed(&self, at_ms: i64, group: &str, topic: &str, queue_id: i32, offset: QueueOffset) {
        let mut state = self.lock();
        let names = state.number(group, topic, NOBODY);
        state.add(Event::at(at_ms, offset.0, names, queue_id, What::Committed));
    }

    /// A group is done with the one message at `offset`, which it had popped.
    pub(super) fn acknowledged(
        &self,
        at_ms: i64,
        group: &str,
        topic: &str,
        queue_id: i32,
        offset: i64,
        client: SocketAddr,
    ) {
        let mut state = self.lock();
        let names = state.number(group, topic, client);
        state.add(Event::at(at_ms, offset, names, queue_id, What::Acknowledged));
    }

    /// A producer has decided about the half message at `half`, on its own or because it was `asked`.
    pub(super) fn decided(&self, at_ms: i64, half: i64, commit: bool, asked: bool, client: SocketAddr) {
        let mut state = self.lock();
        let names = state.number("", "", client);
        state.add(Event::at(at_ms, half, names, 0, What::Decided { commit, asked }));
    }
}

impl Event {
    fn at(at_ms: i64, offset: i64, names: u32, queue_id: i32, what: What) -> Self {
        Self { at_ms, from: offset, to: offset, names, queue_id, messages: 0, what }
    }
}

/// What happened to one message.
#[derive(Debug, Serialize)]
pub struct Timeline {
    /// The id that its producer gave it; the offset message id when it has none.
    pub id: String,
    /// The topic it is meant for.
    pub topic: String,
    /// What happened, in order.
    pub steps: Vec<Step>,
}

/// One thing that happened to a message.
#[derive(Debug, Default, Serialize)]
pub struct Step {
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// What: `sent`, `half`, `checked`, `committed`, `rolled back`, `given up`, `delayed`, `stored`, `delivered`, `consumed`,
    /// `failed`, `retry` or `dead`; or `filtered`, when a group's filter let pass only some of the messages around it.
    pub what: &'static str,
    /// The topic that the step is about.
    pub topic: String,
    /// The queue.
    pub queue_id: i32,
    /// The message's index in the queue.
    pub queue_offset: i64,
    /// The group that the step is about.
    pub group: Option<String>,
    /// The client that took part, `host:port`.
    pub client: Option<String>,
    /// When the next step is due, milliseconds since 1970.
    pub due_ms: Option<i64>,
    /// How often the message was consumed in vain by then, or its producer asked.
    pub times: Option<i32>,
}

impl Broker {
    /// Returns what happened to the messages with this key or id, at most 64 of them; in every topic unless one is
    /// named. Reads the store, and may wait for it.
    pub fn timeline(&self, topic: Option<&str>, key: &str) -> Vec<Timeline> {
        let by_offset = message::parse_offset_message_id(key).ok().and_then(|(_, at)| self.record_at(at));
        let mut ids = BTreeSet::new();
        let places = self.places(topic);
        if let Some(bytes) = by_offset {
            ids.extend(MessageRecord::decode(&bytes).ok().map(|record| id_of(&record)));
        }
        for place in &places {
            for bytes in self.records(place, key) {
                let Ok(record) = MessageRecord::decode(&bytes) else { continue };
                if topic.is_none_or(|topic| meant_for(&record) == topic) {
                    ids.insert(id_of(&record));
                }
            }
        }
        ids.into_iter().take(MESSAGES_MAX).filter_map(|id| self.timeline_of(&places, id)).collect()
    }

    /// Lists the topics under which records of a topic's messages can be, waiting ones and retries included.
    fn places(&self, topic: Option<&str>) -> Vec<String> {
        let known = self.topics.all().into_iter().map(|config| config.topic_name.clone()).filter(|name| {
            let of_a_group = name.starts_with(RETRY_PREFIX) || name.starts_with(DLQ_PREFIX);
            topic.is_none_or(|topic| topic == name || of_a_group)
        });
        let places: BTreeSet<_> = known.chain(HIDDEN.map(str::to_owned)).collect();
        places.into_iter().collect()
    }

    fn records(&self, topic: &str, key: &str) -> Vec<Bytes> {
        self.store.query_message(topic, key, RECORDS_MAX, 0, i64::MAX).records
    }

    fn record_at(&self, at: i64) -> Option<Bytes> {
        self.store.read_record(PhysicalOffset(at)).ok().flatten()
    }

    fn timeline_of(&self, places: &[String], id: String) -> Option<Timeline> {
        let mut found: Vec<Bytes> = places.iter().flat_map(|place| self.records(place, &id)).collect();
        if found.is_empty() {
            // Without an id of its own a message is found where it is, and nowhere else.
            found.extend(message::parse_offset_message_id(&id).ok().and_then(|(_, at)| self.record_at(at)));
        }
        let mut records: Vec<_> =
            found.iter().filter_map(|bytes| MessageRecord::decode(bytes).ok()).collect();
        records.sort_by_key(|record| record.physical_offset);
        let first = records.first()?;
        let topic = meant_for(first).to_owned();
        let sent = Step {
            at_ms: first.born_timestamp,
            client: Some(first.born_host.to_string()),
            ..Step::of("sent", first)
        };
        let mut steps = vec![Step { topic: topic.clone(), ..sent }];
        let told = self.events.told();
        for record in &records {
            steps.push(self.stored(record));
            if record.topic == TRANS_HALF_TOPIC {
                decisions(record, &told, &mut steps);
            } else if record.topic != SCHEDULE_TOPIC && record.topic != TIMER_TOPIC {
                consumption(record, &told, &mut steps);
            }
        }
        // Sending and storing can fall into one millisecond, and clocks of clients are their own.
        steps[1..].sort_by_key(|step| step.at_ms);
        Some(Timeline { id, topic, steps })
    }

    /// Returns the group whose retry topic is named after `rest`. One that pops has a retry topic for each of its topics,
    /// `<group>_<topic>`, and either name may contain the separator.
    fn group_of_retries(&self, rest: &str) -> String {
        let of_pop = rest
            .match_indices(['_', '+'])
            .map(|(at, _)| (&rest[..at], &rest[at + 1..]))
            .find(|(group, topic)| self.groups.get(group).is_some() && self.topics.get(topic).is_some());
        let plain = self.groups.get(rest).is_some();
        of_pop.filter(|_| !plain).map_or(rest, |(group, _)| group).to_owned()
    }

    /// Says what the existence of a record means.
    fn stored(&self, record: &MessageRecord<'_>) -> Step {
        let number = |name| record.property(name).and_then(|text| text.parse().ok());
        let mut step = Step::of("stored", record);
        let retried = |topic: &str| topic.strip_prefix(RETRY_PREFIX).map(str::to_owned);
        match record.topic {
            TRANS_HALF_TOPIC => {
                step.times = number(transaction::CHECK_TIMES);
                step.what = if step.times.is_some() { "checked" } else { "half" };
            }
            TRANS_CHECK_MAX_TIME_TOPIC => step.what = "given up",
            SCHEDULE_TOPIC | TIMER_TOPIC => {
                step.group = record.property(property_name::REAL_TOPIC).and_then(retried);
                step.what = if step.group.is_some() { "failed" } else { "delayed" };
                step.times = step.group.is_some().then_some(record.reconsume_times);
                let offset = QueueOffset(record.queue_offset);
                let entry = self.store.queue_entries(record.topic, record.queue_id, offset, 1);
                step.due_ms = match record.topic {
                    TIMER_TOPIC => {
                        record.property(property_name::TIMER_OUT_MS).and_then(|text| text.parse().ok())
                    }
                    _ => entry.first().map(|entry| entry.tags_code),
                };
            }
            topic => {
                if let Some(group) = topic.strip_prefix(DLQ_PREFIX) {
                    (step.what, step.group) = ("dead", Some(group.to_owned()));
                    step.times = Some(record.reconsume_times);
                } else if let Some(group) = retried(topic) {
                    (step.what, step.group) = ("retry", Some(self.group_of_retries(&group)));
                    step.times = Some(record.reconsume_times);
                }
            }
        }
        step
    }
}

impl Step {
    fn of(what: &'static str, record: &MessageRecord<'_>) -> Self {
        Self {
            at_ms: record.store_timestamp,
            what,
            topic: record.topic.to_owned(),
            queue_id: record.queue_id,
            queue_offset: record.queue_offset,
            ..Self::default()
        }
    }
}

/// Adds who was given a message, and who has consumed it.
fn consumption(record: &MessageRecord<'_>, told: &Told, steps: &mut Vec<Step>) {
    let mut done = BTreeSet::new();
    for (event, names) in told.all() {
        let decided = matches!(event.what, What::Decided { .. });
        if decided || event.queue_id != record.queue_id || *names.topic != *record.topic {
            continue;
        }
        let offset = record.queue_offset;
        let mut add = |what, client: Option<SocketAddr>| {
            let client = client.map(|client| client.to_string());
            let group = Some(names.group.to_string());
            steps.push(Step { at_ms: event.at_ms, group, client, ..Step::of(what, record) });
        };
        match event.what {
            What::Delivered if (event.from..event.to).contains(&offset) => {
                let all = i64::from(event.messages) == event.to - event.from;
                add(if all { "delivered" } else { "filtered" }, Some(names.client));
            }
            What::Committed if event.from > offset && done.insert(&names.group) => add("consumed", None),
            What::Acknowledged if event.from == offset && done.insert(&names.group) => {
                add("consumed", Some(names.client));
            }
            _ => {}
        }
    }
}

/// Adds how the transaction of a half message was decided.
fn decisions(half: &MessageRecord<'_>, told: &Told, steps: &mut Vec<Step>) {
    for (event, names) in told.all() {
        if let What::Decided { commit, asked } = event.what
            && event.from == half.physical_offset
        {
            let what = if commit { "committed" } else { "rolled back" };
            let times =
                asked.then(|| half.property(transaction::CHECK_TIMES).and_then(|text| text.parse().ok()));
            let client = Some(names.client.to_string());
            steps.push(Step { at_ms: event.at_ms, client, times: times.flatten(), ..Step::of(what, half) });
        }
    }
}

pub(super) fn id_of(record: &MessageRecord<'_>) -> String {
    let own = record.property(property_name::UNIQ_KEY).map(str::to_owned);
    own.unwrap_or_else(|| record.offset_message_id())
}

/// Returns the topic that a record's message is meant for, where it may wait or be retried under another one.
pub(super) fn meant_for<'a>(record: &MessageRecord<'a>) -> &'a str {
    let real = HIDDEN.contains(&record.topic).then(|| record.property(property_name::REAL_TOPIC)).flatten();
    let topic = real.unwrap_or(record.topic);
    if topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX) {
        return record.property(property_name::RETRY_TOPIC).unwrap_or(topic);
    }
    topic
}

#[cfg(test)]
mod tests;
