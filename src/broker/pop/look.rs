//! What a group could pop, looked at without taking it.
//!
//! Flows in: PEEK_MESSAGE (200052), NOTIFICATION (200054), POLLING_INFO (200055), and POP_ROLLBACK (200056), which has nothing
//! to do here. Flows out: records as a pop would give them, or whether there are any, or how many wait for some. Nothing
//! is noted and no offset moves. Mirrors `PeekMessageProcessor`, `NotificationProcessor` and `PollingInfoProcessor`.

use std::sync::Arc;

use bytestring::ByteString;

use super::{BATCH_MAX, Popped, Request, check_names, polling_max, records, renamed};
use crate::broker::Broker;
use crate::broker::filter::Filter;
use crate::broker::topic::perm;
use crate::remoting::{Answer, Call, Outcome, Refusal};
use crate::store::GetMessageStatus;
use crate::wire::code::response;
use crate::wire::command::{Body, Reply};
use crate::wire::fields::NoHeader;
use crate::wire::header::pop::{
    NotificationRequestHeader, PeekMessageRequestHeader, PollingInfoRequestHeader,
};

/// NOTIFICATION (200054): says whether there is something to pop, as soon as there is.
pub(in crate::broker) fn notification(
    broker: &Arc<Broker>,
    call: Call<NotificationRequestHeader>,
) -> Outcome {
    let request = match check_notification(broker, &call) {
        Ok(request) => request,
        Err(refusal) => return Outcome::Now(Err(refusal)),
    };
    let answer = |has_message: bool, is_full: bool| -> Answer {
        Ok(Reply::success().field("hasMsg", has_message).field("pollingFull", is_full))
    };
    if request.has_message(broker) {
        return Outcome::Now(answer(true, false));
    }
    let Some(limit) = request.poll_limit(broker) else { return Outcome::Now(answer(false, false)) };
    if broker.hold.pops(&request.topic, &request.group, request.queue_id) >= polling_max(broker) {
        return Outcome::Now(answer(false, true));
    }
    let (broker, request) = (broker.clone(), request.detached());
    Outcome::later(async move {
        let mut has_message = false;
        let waited = request.wait(&broker, limit, |is_over| {
            has_message = request.has_message(&broker);
            is_over || has_message
        });
        waited.await;
        answer(has_message, false)
    })
}

fn check_notification(
    broker: &Arc<Broker>,
    call: &Call<NotificationRequestHeader>,
) -> Result<Request, Refusal> {
    let header = &call.header;
    may_look(broker)?;
    let now_ms = broker.clock.unskewed_ms();
    let born_ms = if header.born_time > 0 { header.born_time } else { now_ms };
    Ok(Request {
        poll_until_ms: if header.poll_time > 0 { born_ms.saturating_add(header.poll_time) } else { i64::MIN },
        order: header.order,
        attempt: header.attempt_id.clone().filter(|attempt| !attempt.is_empty()),
        ..to_look(broker, call, &header.consumer_group, &header.topic, header.queue_id)?
    })
}

fn may_look(broker: &Broker) -> Result<(), Refusal> {
    if broker.keys().broker_permission & perm::READ == 0 {
        let remark = format!("the broker[{}] peeking message is forbidden", broker.address().host());
        return Err(Refusal::new(response::NO_PERMISSION, remark));
    }
    Ok(())
}

/// Makes the request of somebody who wants nothing yet, once its names are checked.
fn to_look<H>(
    broker: &Arc<Broker>,
    call: &Call<H>,
    group: &ByteString,
    topic: &ByteString,
    queue_id: i32,
) -> Result<Request, Refusal> {
    let (config, _) = check_names(broker, call, group, topic, queue_id)?;
    Ok(Request {
        group: group.clone(),
        topic: topic.clone(),
        queue_id: queue_id.max(-1),
        queue_nums: config.read_queue_nums,
        max: 0,
        invisible_ms: 0,
        poll_until_ms: i64::MIN,
        init_mode: 0,
        order: false,
        attempt: None,
        filter: Arc::new(Filter::ALL),
        came_ms: broker.clock.now_ms(),
        client: call.peer.address(),
    })
}

impl Request {
    fn has_message(&self, broker: &Broker) -> bool {
        let now_ms = broker.clock.now_ms();
        let in_queue = |topic: &str, queue_id: i32| {
            let place = self.place(topic, queue_id);
            let attempt = self.attempt.as_deref();
            let blocked = self.order && broker.pop.orders.blocked_until_ms(place, attempt, now_ms).is_some();
            let next = broker.pop_offset(place, self.init_mode, false);
            !blocked && broker.store.max_offset_in_queue(topic, queue_id) > next
        };
        let mut queues =
            if self.queue_id < 0 { 0..self.queue_nums } else { self.queue_id..self.queue_id + 1 };
        queues.any(|queue_id| in_queue(&self.topic, queue_id))
            || self.retries(broker).iter().any(|(topic, queues)| (0..*queues).any(|id| in_queue(topic, id)))
    }
}

/// PEEK_MESSAGE (200052): what the group would get by its next pop. Nothing is noted and no offset moves.
pub(in crate::broker) fn peek_message(broker: &Arc<Broker>, call: Call<PeekMessageRequestHeader>) -> Answer {
    let header = &call.header;
    may_look(broker)?;
    if !(1..=BATCH_MAX).contains(&header.max_msg_nums) {
        let remark = format!("maxMsgNums must be 1 to {BATCH_MAX}, not {}", header.max_msg_nums);
        return Err(Refusal::new(response::INVALID_PARAMETER, remark));
    }
    let request = Request {
        max: header.max_msg_nums as usize,
        ..to_look(broker, &call, &header.consumer_group, &header.topic, header.queue_id)?
    };
    Ok(request.peek(broker))
}

impl Request {
    fn peek(&self, broker: &Broker) -> Reply {
        let mut queues: Vec<(&str, i32)> = Vec::new();
        let retries = self.retries(broker);
        for (topic, retry_queues) in &retries {
            queues.extend((0..*retry_queues).map(|queue_id| (&**topic, queue_id)));
        }
        let of_topic = if self.queue_id < 0 { 0..self.queue_nums } else { self.queue_id..self.queue_id + 1 };
        queues.extend(of_topic.map(|queue_id| (&*self.topic, queue_id)));
        let mut peeked = Popped { pop_time_ms: self.came_ms, ..Popped::default() };
        for (topic, queue_id) in queues {
            let place = self.place(topic, queue_id);
            let next = broker.pop_offset(place, self.init_mode, false);
            peeked.rest += (broker.store.max_offset_in_queue(topic, queue_id).0 - next.0).max(0);
            if peeked.count == self.max {
                continue;
            }
            let mut found = self.read(broker, place, next, self.max - peeked.count);
            if matches!(
                found.status,
                GetMessageStatus::OffsetTooSmall | GetMessageStatus::OffsetOverflowBadly
            ) {
                found = self.read(broker, place, found.next_begin_offset, self.max - peeked.count);
            }
            if found.status != GetMessageStatus::Found {
                continue;
            }
            peeked.count += found.message_count;
            peeked.bytes += found.message_bytes;
            if *topic == *self.topic {
                peeked.records.extend(found.records);
            } else {
                let renamed = |(bytes, record)| renamed(&record, &self.topic, None).unwrap_or(bytes);
                peeked.records.extend(records(&found).map(renamed));
            }
        }
        if peeked.records.is_empty() {
            return self.nothing(peeked, response::PULL_NOT_FOUND);
        }
        broker.stats.got(&self.group, &self.topic, peeked.count, peeked.bytes, 0);
        let mut reply = self.reply(&peeked, response::SUCCESS, "FOUND");
        reply.body = Body::Many(peeked.records);
        reply
    }
}

/// POP_ROLLBACK (200056): check points go from RocksDB into the revive log, where ours are; as with Apache's default
/// there is nothing to do.
pub(in crate::broker) fn pop_rollback(_: &Arc<Broker>, _: Call<NoHeader>) -> Answer {
    Ok(Reply::success())
}

/// POLLING_INFO (200055): how many pops of a group wait for a queue.
pub(in crate::broker) fn polling_info(broker: &Arc<Broker>, call: Call<PollingInfoRequestHeader>) -> Answer {
    let PollingInfoRequestHeader { consumer_group: group, topic, queue_id } = &call.header;
    check_names(broker, &call, group, topic, *queue_id)?;
    let waiting = broker.hold.pops(topic, group, (*queue_id).max(-1));
    Ok(Reply::success().field("pollingNum", waiting as i64))
}
