//! Pulls: a range of a queue, filtered, and the wait for the next message.
//!
//! Flows in: PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361). Flows out: records exactly as they are stored, as
//! slices of the mapped file. A pull that finds nothing new is held: it awaits an arrival, its own time-out or
//! the end of the server, then reads once more, by the expression that its group has then; one that filters by SQL92
//! waits on while what comes is for others. Mirrors `PullMessageProcessor` and `DefaultPullMessageResultHandler`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;

use super::Broker;
use super::client::Subscription;
use super::filter::{Filter, is_tag};
use super::name;
use super::refusal::{filter_not_supported, group_not_exist, subscription_parse_failed};
use super::topic::{Topic, perm};
use crate::remoting::{Call, Outcome, Refusal};
use crate::store::{GetMessageStatus, QueueOffset, QueueSlot, ReadLimits, ReadOutcome, RecordFilter};
use crate::wire::body::group::SubscriptionGroupConfig;
use crate::wire::body::heartbeat::MessageModel;
use crate::wire::body::topic::TopicConfig;
use crate::wire::code::{request, response};
use crate::wire::command::{Body, Reply};
use crate::wire::fields::{FieldText, detached};
use crate::wire::header::pull::PullMessageRequestHeader;

/// Bits of a pull's `sysFlag` (`PullSysFlag`).
mod sys_flag {
    pub(super) const COMMIT_OFFSET: i32 = 1;
    pub(super) const SUSPEND: i32 = 1 << 1;
    pub(super) const SUBSCRIPTION: i32 = 1 << 2;
}

/// Messages that one pull may ask for; more is cut.
const BATCH_MAX: i32 = 1024;
/// A held pull never waits longer, whatever it asks for.
const SUSPEND_MS_MAX: i64 = 600_000;
/// How long a pull waits for the heartbeat that brings its expression. After it the known one serves: the version is new
/// after each change of queues, the expression hardly ever, and a heartbeat that lost a race comes 30 s later.
const HEARTBEAT_WAIT: Duration = Duration::from_millis(500);

/// PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361).
pub(super) fn pull_message(broker: &Arc<Broker>, call: Call<PullMessageRequestHeader>) -> Outcome {
    if awaits_heartbeat(broker, &call.header) {
        return pull_after_heartbeat(broker, call);
    }
    start(broker, call).unwrap_or_else(|refusal| Outcome::Now(Err(refusal)))
}

/// Says whether the client has another SQL92 expression than its last heartbeat may have said.
///
/// A new version follows every change of the client's queues, and its pulls often come before the heartbeat with it.
/// The reference refuses them until the next one, which may take 30 s.
fn awaits_heartbeat(broker: &Broker, header: &PullMessageRequestHeader) -> bool {
    header.sys_flag & sys_flag::SUBSCRIPTION == 0
        && header.expression_type.as_deref().is_some_and(|kind| !is_tag(kind))
        && broker
            .consumers
            .with_subscription(&header.consumer_group, &header.topic, |known, _| {
                !is_tag(&known.data.expression_type) && known.data.sub_version < header.sub_version
            })
            .unwrap_or(false)
}

fn pull_after_heartbeat(broker: &Arc<Broker>, mut call: Call<PullMessageRequestHeader>) -> Outcome {
    let broker = broker.clone();
    // As in `hold`. Its filter comes from the heartbeat, so its own expression is not asked for.
    let header = &mut call.header;
    (header.consumer_group, header.topic) = (detached(&header.consumer_group), detached(&header.topic));
    (header.subscription, header.proxy_froward_client_id) = (None, None);
    header.expression_type = header.expression_type.as_ref().map(detached);
    (call.body, call.remark) = (Bytes::new(), None);
    Outcome::later(async move {
        let time_over = broker.clock.sleep(HEARTBEAT_WAIT);
        tokio::pin!(time_over);
        loop {
            let heard = broker.consumers.heard();
            tokio::pin!(heard);
            // From here on no heartbeat is missed.
            heard.as_mut().enable();
            if !awaits_heartbeat(&broker, &call.header) {
                break;
            }
            tokio::select! {
                () = heard => {}
                () = &mut time_over => {
                    let (group, topic) = (&call.header.consumer_group, &call.header.topic);
                    tracing::debug!(%group, %topic, "a pull is served by an older expression than its own");
                    break;
                }
            }
        }
        match start(&broker, call)? {
            Outcome::Now(answer) => answer,
            Outcome::Later(answer) => answer.await,
            Outcome::Never => unreachable!("a pull is always answered"),
        }
    })
}

/// A pull whose checks have passed.
struct Pull {
    /// Whether the filter is what the group's last heartbeat said, so that the next one changes it.
    follows_group: bool,
    group: ByteString,
    topic: ByteString,
    queue_id: i32,
    offset: QueueOffset,
    limits: ReadLimits,
    filter: Arc<Filter>,
    topic_sys_flag: i32,
    group_sys_flag: i32,
    /// The broker that the group pulls from, and the one when it is far behind.
    broker_ids: (i64, i64),
    came_ms: i64,
    client: SocketAddr,
}

fn start(broker: &Arc<Broker>, call: Call<PullMessageRequestHeader>) -> Result<Outcome, Refusal> {
    let guard = broker.topics.guard();
    let known = broker.topics.find(&call.header.topic, &guard);
    let pull = check(broker, &call, known)?;
    let header = &call.header;
    let slot = known.and_then(|topic| topic.queue(pull.queue_id));
    let found = pull.read(broker, slot);
    let may_wait = header.sys_flag & sys_flag::SUSPEND != 0 && header.suspend_timeout_millis > 0;
    let answers =
        !(may_wait && waits_for_more(found.status, pull.offset)) || belongs_to_master(broker, &found);
    let commits = header.sys_flag & sys_flag::COMMIT_OFFSET != 0 && header.commit_offset >= 0;
    let commit = commits.then_some(QueueOffset(header.commit_offset));
    let next = answers.then_some(found.next_begin_offset);
    // A client that already goes on from there is not told to: 4.x clients rest for ten seconds when they are.
    let reset = broker.offsets.pull(&pull.group, &pull.topic, pull.queue_id, pull.offset, commit, next);
    if let Some(reset) = reset {
        return Ok(Outcome::Now(Ok(pull.reset_reply(broker, reset))));
    }
    if let Some(offset) = commit {
        broker.events.committed(pull.came_ms, &pull.group, &pull.topic, pull.queue_id, offset);
        broker.saving.soon();
    }
    if answers {
        return Ok(Outcome::Now(Ok(pull.reply(broker, found, known))));
    }
    let keys = broker.keys();
    let limit_ms = if keys.long_polling_enable {
        header.suspend_timeout_millis.min(SUSPEND_MS_MAX)
    } else {
        keys.short_polling_time_mills
    };
    Ok(hold(broker, pull, Duration::from_millis(limit_ms.unsigned_abs())))
}

/// Says whether a slave sends the client of this read back to the master, which is there.
fn belongs_to_master(broker: &Broker, found: &ReadOutcome) -> bool {
    !found.suggest_pulling_from_slave && broker.slave.as_ref().is_some_and(|slave| slave.hears_master())
}

/// Says whether a read found nothing only because nothing has come yet (PULL_NOT_FOUND).
fn waits_for_more(status: GetMessageStatus, offset: QueueOffset) -> bool {
    match status {
        GetMessageStatus::OffsetOverflowOne | GetMessageStatus::OffsetFoundNull => true,
        GetMessageStatus::NoMessageInQueue | GetMessageStatus::NoMatchedLogicQueue => {
            offset == QueueOffset(0)
        }
        _ => false,
    }
}

fn hold(broker: &Arc<Broker>, mut pull: Pull, limit: Duration) -> Outcome {
    let broker = broker.clone();
    // The names are slices of what was read from the client, up to a whole read buffer.
    (pull.group, pull.topic) = (detached(&pull.group), detached(&pull.topic));
    let from = pull.offset;
    let mut held = broker.hold.hold(&pull.topic, pull.queue_id, pull.offset, pull.filter.clone());
    // A message that arrived between the read and the hold woke nobody.
    let mut arrived = broker.store.max_offset_in_queue(&pull.topic, pull.queue_id) > pull.offset;
    Outcome::later(async move {
        let time_over = broker.clock.sleep(limit);
        tokio::pin!(time_over);
        loop {
            let mut is_over = broker.is_stopping();
            if !arrived && !is_over {
                tokio::select! {
                    () = held.woken() => {}
                    () = &mut time_over => is_over = true,
                }
            }
            drop(held);
            if pull.take_newer_filter(&broker) {
                pull.offset = from;
            }
            let found = pull.read(&broker, None);
            let in_vain = found.status == GetMessageStatus::NoMatchedMessage && pull.filter.needs_record();
            if is_over || broker.is_stopping() || !in_vain {
                broker.offsets.pulled(&pull.group, &pull.topic, pull.queue_id, found.next_begin_offset);
                return Ok(pull.reply(&broker, found, None));
            }
            // Whatever came is for others: it is behind this pull now, which waits on.
            pull.offset = found.next_begin_offset;
            held = broker.hold.hold(&pull.topic, pull.queue_id, pull.offset, pull.filter.clone());
            arrived = broker.store.max_offset_in_queue(&pull.topic, pull.queue_id) > pull.offset;
        }
    })
}

/// What a pull has to know of a group's configuration.
#[derive(Clone, Copy)]
struct GroupFacts {
    consume_enable: bool,
    consume_broadcast_enable: bool,
    sys_flag: i32,
    broker_ids: (i64, i64),
}

impl GroupFacts {
    fn of(config: &SubscriptionGroupConfig) -> Self {
        Self {
            consume_enable: config.consume_enable,
            consume_broadcast_enable: config.consume_broadcast_enable,
            sys_flag: config.group_sys_flag,
            broker_ids: (config.broker_id, config.which_broker_when_consume_slowly),
        }
    }
}

/// Checks a pull of a topic that was looked up without a reference count, if it could be.
fn check(
    broker: &Arc<Broker>,
    call: &Call<PullMessageRequestHeader>,
    known: Option<&Topic>,
) -> Result<Pull, Refusal> {
    let header = &call.header;
    let keys = broker.keys();
    let no_permission = |remark: String| Refusal::new(response::NO_PERMISSION, remark);
    if keys.broker_permission & perm::READ == 0 {
        return Err(no_permission(format!(
            "the broker[{}] pulling message is forbidden",
            broker.address().host()
        )));
    }
    if call.code == request::LITE_PULL_MESSAGE && !keys.lite_pull_message_enable {
        return Err(no_permission(format!(
            "the broker[{}] for lite pull consumer is forbidden",
            broker.address().host()
        )));
    }
    if broker.slave.as_ref().is_some_and(|slave| slave.hears_master()) && !keys.slave_read_enable {
        return Err(Refusal::new(
            response::SYSTEM_BUSY,
            "[REJECTREQUEST]system busy, start flow control for a while: this broker is a slave, its master is there, \
             and slaveReadEnable is not set",
        ));
    }
    let (group, topic) = (&header.consumer_group, &header.topic);
    let group_config = match broker.groups.with(group, GroupFacts::of) {
        Some(known) => known,
        None => broker
            .groups
            .get_or_create(group, keys.auto_create_subscription_group)
            .map(|made| GroupFacts::of(&made))
            .ok_or_else(|| group_not_exist(group))?,
    };
    if !group_config.consume_enable {
        return Err(no_permission(format!("subscription group no permission, {group}")));
    }
    let counted;
    let topic_config: &TopicConfig = if let Some(known) = known {
        &known.config
    } else {
        counted = broker.topics.get(topic).ok_or_else(|| super::refusal::topic_not_exist(topic))?;
        &counted
    };
    if topic_config.perm & perm::READ == 0 {
        return Err(no_permission(format!("the topic[{topic}] pulling message is forbidden")));
    }
    if !(0..topic_config.read_queue_nums).contains(&header.queue_id) {
        let remark = format!(
            "queueId[{}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{}] consumer:[{}]",
            header.queue_id,
            topic_config.read_queue_nums,
            call.peer.address()
        );
        return Err(Refusal::new(response::INVALID_PARAMETER, remark));
    }
    if keys.reject_pull_consumer_enable && !name::is_system_group(group) {
        let member = broker.consumers.group(group).is_some_and(|it| it.members.contains_key(&call.peer.id()));
        if !member {
            return Err(super::refusal::pull_consumer_rejected());
        }
    }
    let (filter, follows_group) = filter_of(broker, call, group_config.consume_broadcast_enable)?;
    Ok(Pull {
        follows_group,
        filter,
        group: group.clone(),
        topic: topic.clone(),
        queue_id: header.queue_id,
        offset: QueueOffset(header.queue_offset),
        limits: ReadLimits::messages(header.max_msg_nums.clamp(1, BATCH_MAX) as usize),
        topic_sys_flag: topic_config.topic_sys_flag,
        group_sys_flag: group_config.sys_flag,
        broker_ids: group_config.broker_ids,
        came_ms: broker.clock.now_ms(),
        client: call.peer.address(),
    })
}

/// Finds the filter: in the request itself, or in what the group's heartbeats said; says whether it is theirs.
fn filter_of(
    broker: &Broker,
    call: &Call<PullMessageRequestHeader>,
    broadcast_allowed: bool,
) -> Result<(Arc<Filter>, bool), Refusal> {
    let header = &call.header;
    let carried = header.subscription.as_deref().unwrap_or_default();
    if header.sys_flag & sys_flag::SUBSCRIPTION != 0 {
        let kind = header.expression_type.as_deref().unwrap_or_default();
        refuse_unserved(broker, kind)?;
        let filter = broker.filter_cache.compile(kind, carried).map_err(subscription_parse_failed)?;
        return Ok((filter, false));
    }
    // Nearly every kind is that of tags, whose name need not be copied.
    let look = |known: &Subscription, message_model| {
        let of_tags = is_tag(&known.data.expression_type);
        let kind = if of_tags { String::new() } else { known.data.expression_type.clone() };
        (kind, known.data.sub_version, known.filter.clone(), message_model)
    };
    let (kind, sub_version, filter, message_model) =
        broker.consumers.with_subscription(&header.consumer_group, &header.topic, look)?;
    if message_model == MessageModel::Broadcasting && !broadcast_allowed {
        let remark =
            format!("the consumer group[{}] can not consume by broadcast way", header.consumer_group);
        return Err(Refusal::new(response::NO_PERMISSION, remark));
    }
    if broker.groups.is_forbidden(&header.consumer_group, &header.topic) {
        let remark =
            format!("the consumer group[{}] is forbidden for topic[{}]", header.consumer_group, header.topic);
        return Err(Refusal::new(response::NO_PERMISSION, remark));
    }
    refuse_unserved(broker, &kind)?;
    if sub_version < header.sub_version && is_tag(&kind) {
        // The client has a newer expression than its last heartbeat said. Apache refuses such pulls until the
        // next heartbeat, up to 30 s; sending everything instead loses nothing, as the client filters again.
        return Ok((Arc::new(Filter::ALL), false));
    }
    let filter = filter.map_err(|cause| {
        let remark =
            format!("The broker's consumer filter data is not exist!Your expression may be wrong! {cause}");
        Refusal::new(response::FILTER_DATA_NOT_EXIST, remark)
    })?;
    Ok((filter, true))
}

fn refuse_unserved(broker: &Broker, kind: &str) -> Result<(), Refusal> {
    if is_tag(kind) || broker.keys().enable_property_filter {
        return Ok(());
    }
    Err(filter_not_supported(kind))
}

impl Pull {
    /// Filters by what the group's members want by now; says whether that is something else than before.
    fn take_newer_filter(&mut self, broker: &Broker) -> bool {
        let newer = self.follows_group.then(|| broker.consumers.filter(&self.group, &self.topic)).flatten();
        let newer = newer.filter(|newer| !Arc::ptr_eq(newer, &self.filter));
        newer.map(|newer| self.filter = newer).is_some()
    }

    /// Reads; `slot` is the queue's, where the topic was looked up already.
    fn read(&self, broker: &Broker, slot: Option<&QueueSlot>) -> ReadOutcome {
        let by_code = |code| self.filter.matches_code(code);
        let by_record = |record: &[u8]| self.filter.matches_record(record);
        let by_record: Option<RecordFilter<'_>> = self.filter.needs_record().then_some(&by_record);
        let (topic, queue_id, limits) = (&self.topic, self.queue_id, &self.limits);
        match slot {
            Some(slot) => {
                broker.store.read_in(slot, topic, queue_id, self.offset, limits, &by_code, by_record)
            }
            None => broker.store.read(topic, queue_id, self.offset, limits, &by_code, by_record),
        }
    }

    /// Answers with what a read found; the code says what the client should do next.
    fn reply(&self, broker: &Broker, found: ReadOutcome, known: Option<&Topic>) -> Reply {
        use GetMessageStatus::{
            Found, MessageWasRemoving, NoMatchedLogicQueue, NoMatchedMessage, NoMessageInQueue,
            OffsetFoundNull, OffsetOverflowBadly, OffsetOverflowOne, OffsetTooSmall,
        };
        let (code, name) = match found.status {
            Found => (response::SUCCESS, "FOUND"),
            NoMatchedMessage => (response::PULL_RETRY_IMMEDIATELY, "NO_MATCHED_MESSAGE"),
            MessageWasRemoving => (response::PULL_RETRY_IMMEDIATELY, "MESSAGE_WAS_REMOVING"),
            OffsetFoundNull => (response::PULL_NOT_FOUND, "OFFSET_FOUND_NULL"),
            OffsetOverflowOne => (response::PULL_NOT_FOUND, "OFFSET_OVERFLOW_ONE"),
            OffsetOverflowBadly => (response::PULL_OFFSET_MOVED, "OFFSET_OVERFLOW_BADLY"),
            OffsetTooSmall => (response::PULL_OFFSET_MOVED, "OFFSET_TOO_SMALL"),
            NoMessageInQueue if self.offset == QueueOffset(0) => {
                (response::PULL_NOT_FOUND, "NO_MESSAGE_IN_QUEUE")
            }
            NoMessageInQueue => (response::PULL_OFFSET_MOVED, "NO_MESSAGE_IN_QUEUE"),
            NoMatchedLogicQueue if self.offset == QueueOffset(0) => {
                (response::PULL_NOT_FOUND, "NO_MATCHED_LOGIC_QUEUE")
            }
            NoMatchedLogicQueue => (response::PULL_OFFSET_MOVED, "NO_MATCHED_LOGIC_QUEUE"),
        };
        let code = if found.status != Found && belongs_to_master(broker, &found) {
            response::PULL_RETRY_IMMEDIATELY
        } else {
            code
        };
        let suggested = self.suggested_broker(broker, &found);
        let mut reply =
            self.head(suggested, code, name, found.next_begin_offset, found.min_offset, found.max_offset);
        if found.status == Found {
            let waited_ms = broker.clock.now_ms() - self.came_ms;
            let (messages, bytes, waiting_ms) = (found.message_count, found.message_bytes, waited_ms as u64);
            match known {
                Some(known) => {
                    let stats = known.stats.get_or_init(|| broker.stats.topic(&self.topic));
                    stats.got(&self.group, messages, bytes, waiting_ms);
                }
                None => broker.stats.got(&self.group, &self.topic, messages, bytes, waiting_ms),
            }
            broker.events.delivered(
                self.came_ms + waited_ms,
                &self.group,
                &self.topic,
                self.queue_id,
                (self.offset, found.next_begin_offset),
                found.message_count,
                self.client,
            );
            reply.body = Body::Many(found.records);
        } else {
            broker.stats.missed(&self.group, &self.topic);
        }
        reply
    }

    /// Tells the client to go on elsewhere, as an administrator ordered.
    fn reset_reply(&self, broker: &Broker, offset: QueueOffset) -> Reply {
        let min = broker.store.min_offset_in_queue(&self.topic, self.queue_id);
        let max = broker.store.max_offset_in_queue(&self.topic, self.queue_id);
        self.head(0, response::PULL_OFFSET_MOVED, "OFFSET_RESET", offset, min, max)
    }

    /// Returns the id of the broker that the client should pull from next.
    fn suggested_broker(&self, broker: &Broker, found: &ReadOutcome) -> i64 {
        if !broker.keys().slave_read_enable || belongs_to_master(broker, found) {
            return 0;
        }
        let (usual, when_slow) = self.broker_ids;
        if found.suggest_pulling_from_slave { when_slow } else { usual }
    }

    fn head(
        &self,
        suggested: i64,
        code: i32,
        name: &'static str,
        next: QueueOffset,
        min: QueueOffset,
        max: QueueOffset,
    ) -> Reply {
        let mut reply = Reply::with_code(code).remark(name);
        for (name, value) in [
            ("suggestWhichBrokerId", suggested),
            ("nextBeginOffset", next.0),
            ("minOffset", min.0),
            ("maxOffset", max.0),
            ("topicSysFlag", self.topic_sys_flag.into()),
            ("groupSysFlag", self.group_sys_flag.into()),
        ] {
            reply.fields.push(name, FieldText::Int(value));
        }
        reply
    }
}

#[cfg(test)]
mod tests;
