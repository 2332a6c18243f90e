//! Pops: messages of any queue of a topic, each lent to a consumer for a time and not bound to a queue's owner.
//!
//! Flows in: POP_MESSAGE (200050). Flows out: records as they are stored, those of the group's retry topics under the name
//! of the topic itself and with their receipt; beside them the lists from which a client makes the receipts of the
//! rest. What was given out is noted in [`revive`], for orderly groups in [`order`], before the committed offset passes
//! it; acknowledgements are in [`ack`], modes and assignments in [`assignment`]; who only looks is answered in
//! [`look`]. A request that finds nothing is held as a pull is. Mirrors `PopMessageProcessor` and `PopLongPollingService`;
//! not mirrored are the service in RocksDB and the buffer that spares check points.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use smallvec::SmallVec;

use self::assignment::RequestModes;
use self::order::{OrderTable, Place};
use self::receipt::{ORDERLY, Receipt, add_item, retry_topics};
use self::revive::{Key, ReviveLog, check_point};
use super::filter::{Filter, is_tag};
use super::persist::PersistError;
use super::refusal::{filter_not_supported, group_not_exist, subscription_parse_failed, topic_not_exist};
use super::topic::perm;
use super::{Broker, name};
use crate::clock::NEVER_MS;
use crate::remoting::{Call, Outcome, Refusal};
use crate::store::{GetMessageStatus, QueueOffset, ReadLimits, ReadOutcome, RecordFilter};
use crate::wire::body::group::SubscriptionGroupConfig;
use crate::wire::body::pop::MessageRequestMode;
use crate::wire::body::topic::TopicConfig;
use crate::wire::code::response;
use crate::wire::command::{Body, Reply};
use crate::wire::fields::detached;
use crate::wire::header::pop::PopMessageRequestHeader;
use crate::wire::message::{MessageRecord, append_property, property_name, remove_property};

pub(super) mod ack;
pub(super) mod assignment;
pub(super) mod look;
mod order;
pub(crate) mod receipt;
pub(crate) mod revive;

#[cfg(test)]
mod tests;

/// Messages that one pop may ask for.
const BATCH_MAX: i32 = 32;
/// How much later than its time a request may come (`isTimeoutTooMuch`), milliseconds.
const LATE_MS: i64 = 500;
/// A held pop never waits longer, whatever it asks for, milliseconds.
const POLL_MS_MAX: i64 = 600_000;
/// How long a pop is held that finds nothing, by a group that was told to pull.
const PULL_MODE_WAIT: Duration = Duration::from_secs(1);
/// Start of a group without an offset at the last message (`ConsumeInitMode.MAX`).
const INIT_MAX: i32 = 1;
/// Locks that the queues share.
const LOCKS: usize = 64;

/// What a broker knows about popping.
///
/// Lock order: a queue's lock is taken before every other lock of the broker and held while the queue is read, its
/// check point stored and its offset committed; nobody waits for anything but the store meanwhile.
pub struct Pop {
    pub(super) log: ReviveLog,
    pub(super) orders: OrderTable,
    pub(super) modes: RequestModes,
    locks: [Mutex<()>; LOCKS],
    hasher: RandomState,
}

impl Pop {
    /// Reads what is kept of it.
    pub fn load(config_dir: &Path, cluster: &str, revive_queue_nums: i32) -> Result<Self, PersistError> {
        Ok(Self {
            log: ReviveLog::new(cluster, revive_queue_nums),
            orders: OrderTable::load(config_dir)?,
            modes: RequestModes::load(config_dir)?,
            locks: [const { Mutex::new(()) }; LOCKS],
            hasher: RandomState::new(),
        })
    }

    /// Keeps others from popping or acknowledging in order from a group's queue.
    fn lock(&self, place: Place<'_>) -> MutexGuard<'_, ()> {
        let hash = self.hasher.hash_one((place.topic, place.group, place.queue_id));
        self.locks[hash as usize % LOCKS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// POP_MESSAGE (200050).
pub(super) fn pop_message(broker: &Arc<Broker>, call: Call<PopMessageRequestHeader>) -> Outcome {
    let request = match check(broker, &call) {
        Ok(request) => request,
        Err(refusal) => return Outcome::Now(Err(refusal)),
    };
    let popped = request.pop(broker);
    if !popped.records.is_empty() {
        return Outcome::Now(Ok(request.found(broker, popped)));
    }
    let Some(limit) = request.poll_limit(broker) else {
        return Outcome::Now(Ok(request.nothing(popped, response::POLLING_TIMEOUT)));
    };
    if broker.hold.pops(&request.topic, &request.group, request.queue_id) >= polling_max(broker) {
        return Outcome::Now(Ok(request.nothing(popped, response::POLLING_FULL)));
    }
    let (broker, request) = (broker.clone(), request.detached());
    Outcome::later(async move {
        let mut popped = Popped::default();
        let waited = request.wait(&broker, limit, |is_over| {
            popped = request.pop(&broker);
            is_over || !popped.records.is_empty()
        });
        waited.await;
        if popped.records.is_empty() {
            return Ok(request.nothing(popped, response::POLLING_TIMEOUT));
        }
        Ok(request.found(&broker, popped))
    })
}

fn polling_max(broker: &Broker) -> usize {
    usize::try_from(broker.keys().pop_polling_size).unwrap_or_default()
}

/// A request whose checks have passed.
struct Request {
    group: ByteString,
    topic: ByteString,
    /// -1: any.
    queue_id: i32,
    queue_nums: i32,
    max: usize,
    invisible_ms: i64,
    /// When it is to be answered by the client's reckoning, by [`crate::clock::Clock::unskewed_ms`].
    poll_until_ms: i64,
    init_mode: i32,
    order: bool,
    attempt: Option<ByteString>,
    filter: Arc<Filter>,
    came_ms: i64,
    client: SocketAddr,
}

impl Request {
    /// Lets go of the buffer that it was read from, for a long wait.
    fn detached(self) -> Self {
        Self {
            group: detached(&self.group),
            topic: detached(&self.topic),
            attempt: self.attempt.as_ref().map(detached),
            ..self
        }
    }
}

/// What one pop gave out.
#[derive(Default)]
struct Popped {
    pop_time_ms: i64,
    revive_queue_id: i32,
    records: Vec<Bytes>,
    count: usize,
    bytes: usize,
    /// Messages that are left.
    rest: i64,
    start_offsets: String,
    message_offsets: String,
    order_counts: String,
}

fn check(broker: &Arc<Broker>, call: &Call<PopMessageRequestHeader>) -> Result<Request, Refusal> {
    let header = &call.header;
    let keys = broker.keys();
    let host = || broker.address().host().to_owned();
    // A client measures by its own clock, which does not travel with ours.
    let now_ms = broker.clock.unskewed_ms();
    let born_ms = if header.born_time > 0 { header.born_time } else { now_ms };
    let poll_until_ms = born_ms.saturating_add(header.poll_time);
    if now_ms.saturating_sub(poll_until_ms) > LATE_MS {
        let remark = format!("the broker[{}] pop message is timeout too much", host());
        return Err(Refusal::new(response::POLLING_TIMEOUT, remark));
    }
    if broker.slave.is_some() {
        // A check point is a message, and a slave stores none of its own.
        let remark = format!("the broker[{}] is a slave, and gives no messages by pop", host());
        return Err(Refusal::new(response::NO_PERMISSION, remark));
    }
    if keys.broker_permission & perm::READ == 0 {
        let remark = format!("the broker[{}] pop message is forbidden", host());
        return Err(Refusal::new(response::NO_PERMISSION, remark));
    }
    let invalid = |remark: String| Refusal::new(response::INVALID_PARAMETER, remark);
    if header.max_msg_nums > BATCH_MAX {
        return Err(invalid(format!("the broker[{}] pop message's num is greater than {BATCH_MAX}", host())));
    }
    if header.max_msg_nums < 1 {
        return Err(invalid(format!("maxMsgNums must be 1 to {BATCH_MAX}, not {}", header.max_msg_nums)));
    }
    check_invisible(broker, header.invisible_time)?;
    if !keys.timer_wheel_enable {
        let remark =
            format!("the broker[{}] pop message is forbidden because timerWheelEnable is false", host());
        return Err(Refusal::new(response::SYSTEM_ERROR, remark));
    }
    let (topic, _) = check_names(broker, call, &header.consumer_group, &header.topic, header.queue_id)?;
    let filter =
        match (header.exp.as_deref().unwrap_or_default(), header.exp_type.as_deref().unwrap_or_default()) {
            ("", _) => Arc::new(Filter::ALL),
            (_, kind) if !is_tag(kind) && !keys.enable_property_filter => {
                return Err(filter_not_supported(kind));
            }
            (expression, kind) => {
                broker.filter_cache.compile(kind, expression).map_err(subscription_parse_failed)?
            }
        };
    Ok(Request {
        group: header.consumer_group.clone(),
        topic: header.topic.clone(),
        queue_id: header.queue_id.max(-1),
        queue_nums: topic.read_queue_nums,
        max: header.max_msg_nums as usize,
        invisible_ms: header.invisible_time,
        poll_until_ms: if header.poll_time > 0 { poll_until_ms } else { i64::MIN },
        init_mode: header.init_mode,
        order: header.order,
        attempt: header.attempt_id.clone().filter(|attempt| !attempt.is_empty()),
        filter,
        came_ms: broker.clock.now_ms(),
        client: call.peer.address(),
    })
}

fn check_invisible(broker: &Broker, invisible_ms: i64) -> Result<(), Refusal> {
    let max_ms = i64::from(broker.keys().timer_max_delay_sec) * 1_000;
    if (0..=max_ms).contains(&invisible_ms) {
        return Ok(());
    }
    let remark = format!("invisibleTime must be 0 to {max_ms} ms, not {invisible_ms}");
    Err(Refusal::new(response::INVALID_PARAMETER, remark))
}

type Names = (Arc<TopicConfig>, Arc<SubscriptionGroupConfig>);

fn check_names<H>(
    broker: &Broker,
    call: &Call<H>,
    group: &str,
    topic: &str,
    queue_id: i32,
) -> Result<Names, Refusal> {
    let config = broker.topics.get(topic).ok_or_else(|| topic_not_exist(topic))?;
    if config.perm & perm::READ == 0 {
        let remark = format!("the topic[{topic}] peeking message is forbidden");
        return Err(Refusal::new(response::NO_PERMISSION, remark));
    }
    if queue_id >= config.read_queue_nums {
        let remark = format!(
            "queueId[{queue_id}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{}] consumer:[{}]",
            config.read_queue_nums,
            call.peer.address()
        );
        return Err(Refusal::new(response::INVALID_PARAMETER, remark));
    }
    let allowed = broker.keys().auto_create_subscription_group;
    let group_config = broker.groups.get_or_create(group, allowed).ok_or_else(|| group_not_exist(group))?;
    if !group_config.consume_enable {
        let remark = format!("subscription group no permission, {group}");
        return Err(Refusal::new(response::NO_PERMISSION, remark));
    }
    Ok((config, group_config))
}

impl Request {
    /// Returns the topics of the group's retries of this one, and how many queues each has.
    fn retries(&self, broker: &Broker) -> [(String, i32); 2] {
        retry_topics(&self.topic, &self.group).map(|topic| {
            let queues = broker.topics.get(&topic).map_or(0, |config| config.read_queue_nums);
            (topic, queues)
        })
    }

    fn place<'a>(&'a self, topic: &'a str, queue_id: i32) -> Place<'a> {
        Place { topic, group: &self.group, queue_id }
    }

    /// Returns for how long the request may be held.
    fn poll_limit(&self, broker: &Broker) -> Option<Duration> {
        let left_ms = self.poll_until_ms.saturating_sub(broker.clock.unskewed_ms());
        let held = left_ms > 0 && !broker.is_stopping() && broker.keys().long_polling_enable;
        held.then(|| Duration::from_millis(left_ms.min(POLL_MS_MAX) as u64))
    }

    /// Waits until `look`, which is told when it is the last time, says that it is over. It is asked whenever there
    /// may be something new.
    async fn wait(&self, broker: &Arc<Broker>, limit: Duration, mut look: impl FnMut(bool) -> bool) {
        let retry_topics = retry_topics(&self.topic, &self.group);
        let time_over = broker.clock.sleep(limit);
        tokio::pin!(time_over);
        let mut is_over = false;
        loop {
            if broker.pop.modes.explicit(&self.topic, &self.group) == Some(MessageRequestMode::Pull) {
                // The group was told to pull: what a held pop takes now, its client would no longer look at.
                broker.clock.sleep(limit.min(PULL_MODE_WAIT)).await;
                return;
            }
            let mut held = broker.hold.hold_pop(&self.topic, &self.group, self.queue_id, self.filter.clone());
            let [mut first, mut second] = retry_topics
                .each_ref()
                .map(|topic| broker.hold.hold_pop(topic, &self.group, -1, Arc::new(Filter::ALL)));
            // Whatever came just before has woken nobody.
            if look(is_over || broker.is_stopping()) {
                return;
            }
            let freed = broker.clock.appoint(self.free_ms(broker).unwrap_or(NEVER_MS));
            tokio::select! {
                () = held.woken() => {}
                () = first.woken(), if !self.order => {}
                () = second.woken(), if !self.order => {}
                () = freed.come() => {}
                () = &mut time_over => is_over = true,
            }
        }
    }

    /// Returns when the first of the queues that are blocked now is free, for an orderly request.
    fn free_ms(&self, broker: &Broker) -> Option<i64> {
        if !self.order {
            return None;
        }
        let now_ms = broker.clock.now_ms();
        let queues = if self.queue_id < 0 { 0..self.queue_nums } else { self.queue_id..self.queue_id + 1 };
        let until = |queue_id| {
            broker.pop.orders.blocked_until_ms(
                self.place(&self.topic, queue_id),
                self.attempt.as_deref(),
                now_ms,
            )
        };
        queues.filter_map(until).min()
    }

    /// Gives out what there is, up to the number asked for.
    fn pop(&self, broker: &Broker) -> Popped {
        let revive_queue_id = if self.order { ORDERLY } else { broker.pop.log.next_queue() };
        let mut popped = Popped { pop_time_ms: broker.clock.now_ms(), revive_queue_id, ..Popped::default() };
        let chance = fastrand::i32(0..100);
        let retry_first = chance < broker.keys().pop_from_retry_probability;
        let retries = if self.order { Default::default() } else { self.retries(broker) };
        let pop_retries = |popped: &mut Popped| {
            for (topic, queues) in &retries {
                self.pop_queues(broker, topic, *queues, chance, popped);
            }
        };
        if retry_first {
            pop_retries(&mut popped);
        }
        if self.queue_id < 0 {
            self.pop_queues(broker, &self.topic, self.queue_nums, chance, &mut popped);
        } else {
            self.pop_queue(broker, &self.topic, self.queue_id, &mut popped);
        }
        if !retry_first {
            pop_retries(&mut popped);
        }
        popped
    }

    fn pop_queues(&self, broker: &Broker, topic: &str, queue_nums: i32, from: i32, popped: &mut Popped) {
        for at in 0..queue_nums {
            self.pop_queue(broker, topic, (from + at) % queue_nums, popped);
        }
    }

    fn pop_queue(&self, broker: &Broker, topic: &str, queue_id: i32, popped: &mut Popped) {
        let place = self.place(topic, queue_id);
        let _lock = broker.pop.lock(place);
        let mut offset = broker.pop_offset(place, self.init_mode, true);
        if self.order {
            let (attempt, now_ms) = (self.attempt.as_deref(), popped.pop_time_ms);
            if broker.pop.orders.blocked_until_ms(place, attempt, now_ms).is_some() {
                return;
            }
        }
        let left = self.max - popped.count;
        if left == 0 {
            popped.rest += (broker.store.max_offset_in_queue(topic, queue_id).0 - offset.0).max(0);
            return;
        }
        let mut found = self.read(broker, place, offset, left);
        if matches!(
            found.status,
            GetMessageStatus::OffsetTooSmall
                | GetMessageStatus::OffsetOverflowBadly
                | GetMessageStatus::OffsetFoundNull
        ) {
            offset = found.next_begin_offset;
            broker.pop_committed(place, offset);
            found = self.read(broker, place, offset, left);
        }
        let next = found.next_begin_offset;
        if found.status == GetMessageStatus::Found {
            let offsets: SmallVec<[i64; 32]> =
                records(&found).map(|(_, record)| record.queue_offset).collect();
            if !self.note(broker, place, offset, &offsets, popped) {
                popped.rest += found.message_count as i64;
                return;
            }
            if !self.order {
                broker.pop_committed(place, next);
            }
            self.give(broker, place, offset, &offsets, found, popped);
        } else if found.status == GetMessageStatus::NoMatchedMessage
            || found.status == GetMessageStatus::MessageWasRemoving
        {
            broker.pop_committed(place, next);
            popped.rest += (found.max_offset.0 - next.0).max(0);
        }
    }

    fn read(&self, broker: &Broker, place: Place<'_>, offset: QueueOffset, count: usize) -> ReadOutcome {
        let by_code = |code| self.filter.matches_code(code);
        let by_record = |record: &[u8]| self.filter.matches_record(record);
        let by_record: Option<RecordFilter<'_>> = self.filter.needs_record().then_some(&by_record);
        let limits = ReadLimits::messages(count);
        broker.store.read(place.topic, place.queue_id, offset, &limits, &by_code, by_record)
    }

    /// Writes down what is about to be given out; says whether that went well.
    fn note(
        &self,
        broker: &Broker,
        place: Place<'_>,
        start: QueueOffset,
        offsets: &[i64],
        popped: &mut Popped,
    ) -> bool {
        if self.order {
            let counts = broker.pop.orders.popped(
                place,
                self.attempt.as_deref(),
                popped.pop_time_ms,
                self.invisible_ms,
                offsets,
            );
            for (offset, count) in &counts {
                let queue = format!("qo{}%{offset}", place.queue_id);
                add_item(&mut popped.order_counts, place.topic, queue, count);
            }
            // Older clients look the count up by queue.
            let least =
                counts.iter().map(|(_, count)| *count).min().filter(|_| counts.len() == offsets.len());
            add_item(&mut popped.order_counts, place.topic, place.queue_id, least.unwrap_or(0));
            broker.saving.soon();
            return true;
        }
        let key = Key {
            topic: place.topic.into(),
            group: place.group.into(),
            queue_id: place.queue_id,
            start_offset: start.0,
            pop_time_ms: popped.pop_time_ms,
        };
        if let Err(refusal) = check_point(broker, popped.revive_queue_id, &key, offsets, self.invisible_ms) {
            let (topic, group) = (place.topic, place.group);
            tracing::warn!(topic, group, cause = refusal.remark, "nothing is popped");
            return false;
        }
        broker.stats.topic(place.topic).group(place.group).check_pointed();
        true
    }

    fn give(
        &self,
        broker: &Broker,
        place: Place<'_>,
        start: QueueOffset,
        offsets: &[i64],
        found: ReadOutcome,
        popped: &mut Popped,
    ) {
        let range = (start, found.next_begin_offset);
        broker.events.delivered(
            popped.pop_time_ms,
            &self.group,
            place.topic,
            place.queue_id,
            range,
            found.message_count,
            self.client,
        );
        add_item(&mut popped.start_offsets, place.topic, place.queue_id, start.0);
        let list: Vec<String> = offsets.iter().map(ToString::to_string).collect();
        add_item(&mut popped.message_offsets, place.topic, place.queue_id, list.join(","));
        popped.count += found.message_count;
        popped.bytes += found.message_bytes;
        popped.rest += (found.max_offset.0 - found.next_begin_offset.0).max(0);
        if *place.topic == *self.topic {
            popped.records.extend(found.records);
            return;
        }
        let receipt = Receipt {
            start_offset: start.0,
            pop_time_ms: popped.pop_time_ms,
            invisible_ms: self.invisible_ms,
            revive_queue_id: popped.revive_queue_id,
        };
        let broker_name = &broker.keys().broker_name;
        let renamed = records(&found).map(|(bytes, record)| {
            let text = receipt.text(place.topic, broker_name, place.queue_id, record.queue_offset);
            renamed(&record, &self.topic, Some(&text)).unwrap_or(bytes)
        });
        popped.records.extend(renamed);
    }

    fn found(&self, broker: &Broker, popped: Popped) -> Reply {
        let waited_ms = (broker.clock.now_ms() - self.came_ms).max(0);
        broker.stats.got(&self.group, &self.topic, popped.count, popped.bytes, waited_ms as u64);
        if popped.rest > 0 {
            // One arrival wakes one consumer of the group; what it leaves is for the next.
            broker.hold.wake_pop(&self.topic, &self.group);
        }
        let mut reply = self.reply(&popped, response::SUCCESS, "FOUND");
        reply.body = Body::Many(popped.records);
        reply
    }

    fn nothing(&self, popped: Popped, code: i32) -> Reply {
        self.reply(&popped, code, "NO_MESSAGE_IN_QUEUE")
    }

    fn reply(&self, popped: &Popped, code: i32, remark: &'static str) -> Reply {
        let reply = Reply::with_code(code)
            .remark(remark)
            .field("popTime", popped.pop_time_ms)
            .field("invisibleTime", self.invisible_ms)
            .field("reviveQid", popped.revive_queue_id)
            .field("restNum", popped.rest)
            .field("startOffsetInfo", popped.start_offsets.clone())
            .field("msgOffsetInfo", popped.message_offsets.clone());
        if self.order { reply.field("orderCountInfo", popped.order_counts.clone()) } else { reply }
    }
}

/// Returns each record of a read with its bytes.
fn records(found: &ReadOutcome) -> impl Iterator<Item = (Bytes, MessageRecord<'_>)> {
    found.records.iter().flat_map(|piece| {
        let mut at = 0;
        MessageRecord::decode_all(piece).map_while(Result::ok).map(move |record| {
            let from = at;
            at += record.total_size as usize;
            (piece.slice(from..at), record)
        })
    })
}

/// Writes a record again under another topic and with a receipt, or without; `None` when it would be too long.
fn renamed(record: &MessageRecord<'_>, topic: &str, receipt: Option<&str>) -> Option<Bytes> {
    let mut properties = remove_property(record.properties_str().ok()?, property_name::POP_CK);
    if let Some(receipt) = receipt {
        append_property(&mut properties, property_name::POP_CK, receipt);
    }
    let properties = [&*properties];
    let new = record.rewritten(topic, &properties);
    let length = new.encoded_len().ok()?;
    let mut bytes = vec![0; length];
    new.encode(length, &mut bytes);
    Some(bytes.into())
}

impl Broker {
    /// Returns where a group pops on; with `init` a group without an offset gets one, and a reset is taken over.
    fn pop_offset(&self, place: Place<'_>, init_mode: i32, init: bool) -> QueueOffset {
        let Place { topic, group, queue_id } = place;
        if init && let Some(reset) = self.offsets.take_reset(group, topic, queue_id) {
            self.pop.orders.clear(place);
            self.pop_committed(place, reset);
            return reset;
        }
        if let Some(offset) = self.offsets.query(group, topic, queue_id) {
            return offset;
        }
        let min = self.store.min_offset_in_queue(topic, queue_id);
        let offset = if init_mode != INIT_MAX || topic.starts_with(name::RETRY_PREFIX) {
            min
        } else if self.keys().init_pop_offset_by_check_msg_in_mem
            && self.store.begins_in_memory(topic, queue_id)
        {
            QueueOffset(0)
        } else {
            // As on the reference a group that begins at the end gets the last message.
            QueueOffset((self.store.max_offset_in_queue(topic, queue_id).0 - 1).max(0))
        };
        if init {
            self.pop_committed(place, offset);
        }
        offset
    }

    fn pop_committed(&self, place: Place<'_>, offset: QueueOffset) {
        self.offsets.commit(place.group, place.topic, place.queue_id, offset);
        self.saving.soon();
    }
}
