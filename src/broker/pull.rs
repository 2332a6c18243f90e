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
mod tests {
    use super::*;
    use crate::broker::kit::{Kit, RawClient, refusal};
    use crate::wire::command::Command;
    use crate::wire::message::MessageRecord;

    fn heartbeat(expression: &str, version: i64) -> String {
        format!(
            r#"{{"clientID":"c","consumerDataSet":[{{"groupName":"g","subscriptionDataSet":[{{"topic":"T","subString":"{expression}","expressionType":"SQL92","subVersion":{version}}}]}}]}}"#
        )
    }

    async fn start() -> (Kit, RawClient) {
        let kit = Kit::start(&[("enablePropertyFilter", "true")]).await;
        kit.broker.topics.create_in_send("TBW102", "T", 1).unwrap();
        let client = kit.client().await;
        (kit, client)
    }

    async fn pull(client: &mut RawClient, offset: &str, flags: &str, more: &[(&'static str, &str)]) -> i32 {
        let fields = [
            ("consumerGroup", "g"),
            ("topic", "T"),
            ("queueId", "0"),
            ("queueOffset", offset),
            ("maxMsgNums", "32"),
            ("sysFlag", flags),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "30000"),
            ("subVersion", "1"),
            ("expressionType", "SQL92"),
        ];
        client.send(request::PULL_MESSAGE, &[&fields[..], more].concat(), "").await
    }

    fn bodies(answer: &Command) -> Vec<&str> {
        let records = MessageRecord::decode_all(&answer.body).map(|record| record.unwrap().body);
        records.map(|body| std::str::from_utf8(body).unwrap()).collect()
    }

    /// Code 361 is refused when `litePullMessageEnable` says so, and plain pulls are not.
    #[tokio::test]
    async fn lite_pulls_may_be_refused() {
        let (kit, mut client) = start().await;
        kit.put("T", 0, &["one"], "");
        let fields = [
            ("consumerGroup", "g"),
            ("topic", "T"),
            ("queueId", "0"),
            ("queueOffset", "0"),
            ("maxMsgNums", "32"),
            ("sysFlag", "4"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subVersion", "1"),
            ("subscription", "*"),
        ];
        let answer = client.call(request::LITE_PULL_MESSAGE, &fields, "").await;
        assert_eq!(bodies(&answer), ["one"]);
        let off = "litePullMessageEnable=false";
        assert_eq!(refusal(&client.call(request::UPDATE_BROKER_CONFIG, &[], off).await), (0, ""));
        let answer = client.call(request::LITE_PULL_MESSAGE, &fields, "").await;
        let remark = "the broker[127.0.0.1] for lite pull consumer is forbidden";
        assert_eq!(refusal(&answer), (response::NO_PERMISSION, remark));
        assert_eq!(bodies(&client.call(request::PULL_MESSAGE, &fields, "").await), ["one"]);
    }

    /// A pull gets what its group's expression, or its own, lets through, and goes on behind the rest.
    #[tokio::test]
    async fn filters_by_sql() {
        let (kit, mut client) = start().await;
        for (body, number) in [("one", "1"), ("two", "2"), ("three", "3")] {
            kit.put("T", 0, &[body], &format!("n\u{1}{number}\u{2}"));
        }
        kit.put("T", 0, &["none"], "");
        client.call(request::HEART_BEAT, &[], heartbeat("n BETWEEN 2 AND 9", 1)).await;
        let opaque = pull(&mut client, "0", "0", &[]).await;
        let answer = client.answer(opaque).await;
        assert_eq!(bodies(&answer), ["two", "three"]);
        assert_eq!(answer.fields.get("nextBeginOffset"), Some("4"));
        let opaque = pull(&mut client, "0", "4", &[("subscription", "n = 1 OR n IS NULL")]).await;
        assert_eq!(bodies(&client.answer(opaque).await), ["one", "none"]);
        let opaque = pull(&mut client, "2", "4", &[("subscription", "n = 1")]).await;
        let answer = client.answer(opaque).await;
        assert_eq!(answer.code, response::PULL_RETRY_IMMEDIATELY);
        assert_eq!(answer.fields.get("nextBeginOffset"), Some("4"));
    }

    /// A held pull sleeps through messages for others and answers with the first of its own.
    #[tokio::test]
    async fn is_held_until_a_message_matches() {
        let (kit, mut client) = start().await;
        client.call(request::HEART_BEAT, &[], heartbeat("n = 7", 1)).await;
        let opaque = pull(&mut client, "0", "2", &[]).await;
        for _ in 0..3 {
            client.call(request::GET_MAX_OFFSET, &[("topic", "T"), ("queueId", "0")], "").await;
            kit.put("T", 0, &["other"], "n\u{1}6\u{2}");
        }
        kit.put("T", 0, &["mine"], "n\u{1}7\u{2}");
        let answer = client.answer(opaque).await;
        assert_eq!((answer.code, bodies(&answer)), (response::SUCCESS, vec!["mine"]));
        assert_eq!(answer.fields.get("nextBeginOffset"), Some("4"));
    }

    /// A held pull that only saw messages of others ends behind them when its time is over.
    #[tokio::test]
    async fn ends_behind_what_it_passed() {
        let (kit, mut client) = start().await;
        client.call(request::HEART_BEAT, &[], heartbeat("n = 7", 1)).await;
        let opaque = pull(&mut client, "0", "2", &[]).await;
        client.call(request::GET_MAX_OFFSET, &[("topic", "T"), ("queueId", "0")], "").await;
        kit.put("T", 0, &["other", "other"], "n\u{1}6\u{2}");
        kit.clock.travel(std::time::Duration::from_secs(31));
        let answer = client.answer(opaque).await;
        assert!(bodies(&answer).is_empty());
        assert_eq!(answer.fields.get("nextBeginOffset"), Some("2"));
    }

    /// An expression that cannot be read is refused with its place, wherever it comes from; nobody gets everything.
    #[tokio::test]
    async fn refuses_bad_expressions() {
        let (kit, mut client) = start().await;
        kit.put("T", 0, &["m"], "");
        client.call(request::HEART_BEAT, &[], heartbeat("n >", 1)).await;
        let opaque = pull(&mut client, "0", "0", &[]).await;
        let place =
            "Invalid MessageSelector. a value, a property or '(' is expected: character 4, at the end";
        let remark =
            format!("The broker's consumer filter data is not exist!Your expression may be wrong! {place}");
        assert_eq!(refusal(&client.answer(opaque).await), (response::FILTER_DATA_NOT_EXIST, remark.as_str()));
        let opaque = pull(&mut client, "0", "4", &[("subscription", "n >")]).await;
        assert_eq!(refusal(&client.answer(opaque).await), (response::SUBSCRIPTION_PARSE_FAILED, place));
        let check = |kind: &str, text: &str| {
            format!(
                r#"{{"clientId":"c","group":"g","subscriptionData":{{"topic":"T","subString":"{text}","expressionType":"{kind}"}}}}"#
            )
        };
        for (kind, text, code, remark) in [
            ("SQL92", "n >", response::SUBSCRIPTION_PARSE_FAILED, place),
            ("SQL92", "n > 1", response::SUCCESS, ""),
            ("XPATH", "//a", response::SUBSCRIPTION_PARSE_FAILED, "XPATH is neither TAG nor SQL92"),
            ("TAG", "a || b", response::SUCCESS, ""),
        ] {
            let answer = client.call(request::CHECK_CLIENT_CONFIG, &[], check(kind, text)).await;
            assert_eq!(refusal(&answer), (code, remark), "{kind} {text}");
        }
        let off = Kit::start(&[]).await;
        let mut client = off.client().await;
        let answer = client.call(request::CHECK_CLIENT_CONFIG, &[], check("SQL92", "n > 1")).await;
        let remark = "The broker does not support consumer to filter message by SQL92";
        assert_eq!(refusal(&answer), (response::SYSTEM_ERROR, remark));
    }

    /// A pull that is newer than the last heartbeat waits for the next one: it must not be served by the old expression.
    #[tokio::test]
    async fn waits_for_the_heartbeat_with_its_expression() {
        let (kit, mut client) = start().await;
        let mut other = kit.client().await;
        kit.put("T", 0, &["six"], "n\u{1}6\u{2}");
        kit.put("T", 0, &["seven"], "n\u{1}7\u{2}");
        client.call(request::HEART_BEAT, &[], heartbeat("n = 6", 0)).await;
        let opaque = pull(&mut client, "0", "0", &[]).await;
        other.call(request::HEART_BEAT, &[], heartbeat("n = 7", 1)).await;
        assert_eq!(bodies(&client.answer(opaque).await), ["seven"]);
        let opaque = pull(&mut client, "0", "0", &[("subVersion", "2")]).await;
        client.call(request::GET_MAX_OFFSET, &[("topic", "T"), ("queueId", "0")], "").await;
        kit.clock.travel(std::time::Duration::from_secs(1));
        assert_eq!(bodies(&client.answer(opaque).await), ["seven"], "the known expression serves in the end");
    }

    /// A new expression holds from now on, also for a pull that waits, which then looks again at what it has passed.
    #[tokio::test]
    async fn a_held_pull_follows_its_group() {
        let (kit, mut client) = start().await;
        let mut other = kit.client().await;
        client.call(request::HEART_BEAT, &[], heartbeat("n = 6", 1)).await;
        let opaque = pull(&mut client, "0", "2", &[]).await;
        client.call(request::GET_MAX_OFFSET, &[("topic", "T"), ("queueId", "0")], "").await;
        kit.put("T", 0, &["seven"], "n\u{1}7\u{2}");
        other.call(request::HEART_BEAT, &[], heartbeat("n = 7", 2)).await;
        assert_eq!(bodies(&client.answer(opaque).await), ["seven"]);
    }

    /// A pull that waits, for a message or for a heartbeat, does not keep the buffer that its request was read into.
    #[tokio::test]
    async fn lets_go_of_its_request() {
        let (kit, mut client) = start().await;
        client.call(request::HEART_BEAT, &[], heartbeat("n = 7", 1)).await;
        let member = kit.broker.consumers.member("g", "c").unwrap();
        for (sub_version, held) in [(1, 1), (2, 0)] {
            let read = Bytes::from(b"g T SQL92 and whatever else was read".to_vec());
            let text = |from, to| ByteString::try_from(read.slice(from..to)).unwrap();
            let header = PullMessageRequestHeader {
                consumer_group: text(0, 1),
                topic: text(2, 3),
                queue_id: 0,
                queue_offset: 0,
                max_msg_nums: 32,
                sys_flag: sys_flag::SUSPEND,
                commit_offset: 0,
                suspend_timeout_millis: 30_000,
                subscription: Some(text(10, 12)),
                sub_version,
                expression_type: Some(text(4, 9)),
                max_msg_bytes: None,
                request_source: None,
                proxy_froward_client_id: Some(text(10, 12)),
            };
            let call = Call {
                header,
                code: request::PULL_MESSAGE,
                body: read.slice(9..),
                remark: Some(text(10, 12)),
                oneway: false,
                peer: member.peer.clone(),
                version: member.version,
                language: member.language,
            };
            let Outcome::Later(waiting) = pull_message(&kit.broker, call) else { panic!("it does not wait") };
            assert_eq!(kit.broker.hold.len(), held);
            assert!(read.is_unique(), "version {sub_version}");
            drop(waiting);
        }
    }

    /// The file says who filters what, and since when nobody of the group is there any more.
    #[tokio::test]
    async fn writes_consumer_filter_json() {
        let (kit, mut client) = start().await;
        client.call(request::HEART_BEAT, &[], heartbeat("n = 6", 5)).await;
        kit.broker.consumer_filters.save().unwrap();
        let file = kit.config_file.with_file_name("store").join("config/consumerFilter.json");
        let text: String = std::fs::read_to_string(&file).unwrap().split_whitespace().collect();
        assert!(
            text.starts_with(r#"{"filterDataByTopic":{"T":{"groupFilterData":{"g":{"bornTime":17"#),
            "{text}"
        );
        assert!(text.ends_with(r#""clientVersion":5,"consumerGroup":"g","deadTime":0,"expression":"n=6","expressionType":"SQL92","topic":"T"}},"topic":"T"}}}"#), "{text}");
        client.call(request::UNREGISTER_CLIENT, &[("clientID", "c"), ("consumerGroup", "g")], "").await;
        assert!(kit.broker.consumer_filters.save().unwrap());
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(r#""deadTime":0"#), "{text}");
        kit.broker.consumer_filters.expire(kit.clock.now_ms() + 24 * 3600 * 1000);
        assert!(kit.broker.consumer_filters.save().unwrap());
        assert!(!std::fs::read_to_string(&file).unwrap().contains("expression"));
    }
}
