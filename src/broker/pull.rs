//! Pulls: a range of a queue, filtered, and the wait for the next message.
//!
//! Flows in: PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361). Flows out: records exactly as they are stored, as
//! slices of the mapped file. A pull that finds nothing new is held: it awaits an arrival, its own time-out or
//! the end of the server, then reads once more. Mirrors `PullMessageProcessor` and
//! `DefaultPullMessageResultHandler`.

use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;

use super::Broker;
use super::filter::tag::TagFilter;
use super::name;
use super::refusal::group_not_exist;
use crate::remoting::{Call, Outcome, Refusal};
use crate::store::{GetMessageStatus, QueueOffset, ReadLimits, ReadOutcome};
use crate::wire::body::heartbeat::MessageModel;
use crate::wire::code::response;
use crate::wire::command::{Body, Reply};
use crate::wire::fields::FieldText;
use crate::wire::header::pull::PullMessageRequestHeader;

/// Bits of a pull's `sysFlag` (`PullSysFlag`).
mod sys_flag {
    pub(super) const COMMIT_OFFSET: i32 = 1;
    pub(super) const SUSPEND: i32 = 1 << 1;
    pub(super) const SUBSCRIPTION: i32 = 1 << 2;
}

const PERM_READ: i32 = 4;
/// Messages that one pull may ask for; more is cut.
const BATCH_MAX: i32 = 1024;
/// A held pull never waits longer, whatever it asks for.
const SUSPEND_MS_MAX: i64 = 600_000;

/// PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361).
pub(super) fn pull_message(broker: &Arc<Broker>, call: Call<PullMessageRequestHeader>) -> Outcome {
    start(broker, call).unwrap_or_else(|refusal| Outcome::Now(Err(refusal)))
}

/// A pull whose checks have passed.
struct Pull {
    group: ByteString,
    topic: ByteString,
    queue_id: i32,
    offset: QueueOffset,
    limits: ReadLimits,
    filter: Arc<TagFilter>,
    topic_sys_flag: i32,
    group_sys_flag: i32,
    came_ms: i64,
}

fn start(broker: &Arc<Broker>, call: Call<PullMessageRequestHeader>) -> Result<Outcome, Refusal> {
    let pull = check(broker, &call)?;
    let header = &call.header;
    // A client that already goes on from there is not told to: 4.x clients rest for ten seconds when they are.
    let reset = broker.offsets.take_reset(&pull.group, &pull.topic, pull.queue_id);
    if let Some(reset) = reset.filter(|reset| *reset != pull.offset) {
        return Ok(Outcome::Now(Ok(pull.reset_reply(broker, reset))));
    }
    if header.sys_flag & sys_flag::COMMIT_OFFSET != 0 && header.commit_offset >= 0 {
        let offset = QueueOffset(header.commit_offset);
        broker.offsets.commit(&pull.group, &pull.topic, pull.queue_id, offset);
        broker.saving.soon();
    }
    let found = pull.read(broker);
    let may_wait = header.sys_flag & sys_flag::SUSPEND != 0 && header.suspend_timeout_millis > 0;
    if !(may_wait && waits_for_more(found.status, pull.offset)) {
        return Ok(Outcome::Now(Ok(pull.reply(broker, found))));
    }
    let keys = broker.keys();
    let limit_ms = if keys.long_polling_enable {
        header.suspend_timeout_millis.min(SUSPEND_MS_MAX)
    } else {
        keys.short_polling_time_mills
    };
    Ok(hold(broker, pull, Duration::from_millis(limit_ms.unsigned_abs())))
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

fn hold(broker: &Arc<Broker>, pull: Pull, limit: Duration) -> Outcome {
    let broker = broker.clone();
    let mut held = broker.hold.hold(&pull.topic, pull.queue_id, pull.offset, pull.filter.clone());
    // A message that arrived between the read and the hold woke nobody.
    let arrived = broker.store.max_offset_in_queue(&pull.topic, pull.queue_id) > pull.offset;
    Outcome::later(async move {
        if !arrived && !broker.is_stopping() {
            tokio::select! {
                () = held.woken() => {}
                () = broker.clock.sleep(limit) => {}
            }
        }
        drop(held);
        let found = pull.read(&broker);
        Ok(pull.reply(&broker, found))
    })
}

fn check(broker: &Arc<Broker>, call: &Call<PullMessageRequestHeader>) -> Result<Pull, Refusal> {
    let header = &call.header;
    let keys = broker.keys();
    let no_permission = |remark: String| Refusal::new(response::NO_PERMISSION, remark);
    if keys.broker_permission & PERM_READ == 0 {
        return Err(no_permission(format!(
            "the broker[{}] pulling message is forbidden",
            broker.address().host()
        )));
    }
    let (group, topic) = (&header.consumer_group, &header.topic);
    let group_config = broker
        .groups
        .get_or_create(group, keys.auto_create_subscription_group)
        .ok_or_else(|| group_not_exist(group))?;
    if !group_config.consume_enable {
        return Err(no_permission(format!("subscription group no permission, {group}")));
    }
    let topic_config = broker.topics.get(topic).ok_or_else(|| super::refusal::topic_not_exist(topic))?;
    if topic_config.perm & PERM_READ == 0 {
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
    Ok(Pull {
        filter: filter_of(broker, call, group_config.consume_broadcast_enable)?,
        group: group.clone(),
        topic: topic.clone(),
        queue_id: header.queue_id,
        offset: QueueOffset(header.queue_offset),
        limits: ReadLimits::messages(header.max_msg_nums.clamp(1, BATCH_MAX) as usize),
        topic_sys_flag: topic_config.topic_sys_flag,
        group_sys_flag: group_config.group_sys_flag,
        came_ms: broker.clock.now_ms(),
    })
}

/// Finds the filter: in the request itself, or in what the group's heartbeats said.
fn filter_of(
    broker: &Broker,
    call: &Call<PullMessageRequestHeader>,
    broadcast_allowed: bool,
) -> Result<Arc<TagFilter>, Refusal> {
    let header = &call.header;
    let carried = header.subscription.as_deref().unwrap_or_default();
    if header.sys_flag & sys_flag::SUBSCRIPTION != 0 {
        refuse_other_than_tags(header.expression_type.as_deref().unwrap_or_default())?;
        return Ok(Arc::new(TagFilter::parse(carried)));
    }
    let (subscription, message_model) =
        broker.consumers.subscription(&header.consumer_group, &header.topic)?;
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
    refuse_other_than_tags(&subscription.data.expression_type)?;
    if subscription.data.sub_version < header.sub_version {
        // The client has a newer expression than its last heartbeat said. Apache refuses such pulls until the
        // next heartbeat, up to 30 s; sending everything instead loses nothing, as the client filters again.
        return Ok(Arc::new(TagFilter::All));
    }
    Ok(subscription.filter)
}

fn refuse_other_than_tags(expression_type: &str) -> Result<(), Refusal> {
    match expression_type {
        "" | "TAG" => Ok(()),
        other => {
            let remark = format!("The broker does not support consumer to filter message by {other}");
            Err(Refusal::new(response::SYSTEM_ERROR, remark))
        }
    }
}

impl Pull {
    fn read(&self, broker: &Broker) -> ReadOutcome {
        let filter = |code| self.filter.matches(code);
        broker.store.read(&self.topic, self.queue_id, self.offset, &self.limits, &filter, None)
    }

    /// Answers with what a read found; the code says what the client should do next.
    fn reply(&self, broker: &Broker, found: ReadOutcome) -> Reply {
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
        broker.offsets.pulled(&self.group, &self.topic, self.queue_id, found.next_begin_offset);
        let mut reply = self.head(code, name, found.next_begin_offset, found.min_offset, found.max_offset);
        if found.status == Found {
            let waited_ms = broker.clock.now_ms() - self.came_ms;
            broker.stats.got(
                &self.group,
                &self.topic,
                found.message_count,
                found.message_bytes,
                waited_ms as u64,
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
        self.head(response::PULL_OFFSET_MOVED, "OFFSET_RESET", offset, min, max)
    }

    fn head(
        &self,
        code: i32,
        name: &'static str,
        next: QueueOffset,
        min: QueueOffset,
        max: QueueOffset,
    ) -> Reply {
        let mut reply = Reply::with_code(code).remark(name);
        for (name, value) in [
            ("suggestWhichBrokerId", 0),
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
