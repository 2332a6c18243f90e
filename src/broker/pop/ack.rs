//! What a consumer says about messages that it popped: done with, or to be offered again at another time.
//!
//! Flows in: ACK_MESSAGE (200051), BATCH_ACK_MESSAGE (200151), CHANGE_MESSAGE_INVISIBLETIME (200053), each with the
//! receipt of the pop. An acknowledgement that comes twice or too late succeeds and changes nothing, as on the
//! reference; a change of the time that comes too late is refused, where the reference offers the message twice. Mirrors
//! `AckMessageProcessor` and `ChangeInvisibleTimeProcessor`.

use std::net::SocketAddr;
use std::sync::Arc;

use super::check_invisible;
use super::order::{Next, Place};
use super::receipt::{ORDERLY, Receipt, real_topic};
use super::revive::{Key, Met, acknowledge, check_point};
use crate::broker::Broker;
use crate::broker::refusal::topic_not_exist;
use crate::remoting::{Answer, Call, Refusal};
use crate::store::QueueOffset;
use crate::wire::body;
use crate::wire::body::pop::{BatchAck, BatchAckMessageRequestBody};
use crate::wire::code::response;
use crate::wire::command::Reply;
use crate::wire::fields::{NoHeader, shorten};
use crate::wire::header::pop::{AckMessageRequestHeader, ChangeInvisibleTimeRequestHeader};

/// Check points in one batch.
const ACKS_MAX: usize = 10_000;

/// ACK_MESSAGE (200051).
pub(in crate::broker) fn ack_message(broker: &Arc<Broker>, call: Call<AckMessageRequestHeader>) -> Answer {
    let header = &call.header;
    let place = Place { topic: &header.topic, group: &header.consumer_group, queue_id: header.queue_id };
    check_place(broker, place, header.offset, &call.peer.address().to_string())?;
    let receipt = receipt(broker, &header.extra_info)?;
    ack(broker, place, &receipt, &[header.offset])?;
    let client = call.peer.address();
    let now_ms = broker.clock.now_ms();
    broker.events.acknowledged(now_ms, place.group, place.topic, place.queue_id, header.offset, client);
    Ok(Reply::success())
}

/// BATCH_ACK_MESSAGE (200151).
pub(in crate::broker) fn batch_ack_message(broker: &Arc<Broker>, call: Call<NoHeader>) -> Answer {
    let nothing = || Refusal::new(response::NO_MESSAGE, "there is nothing to acknowledge");
    if call.body.is_empty() {
        return Err(nothing());
    }
    let batch: BatchAckMessageRequestBody = body::decode("acknowledgements", &call.body)?;
    if batch.acks.is_empty() {
        return Err(nothing());
    }
    if batch.acks.len() > ACKS_MAX {
        let remark =
            format!("{} check points in one batch, at most {ACKS_MAX} are allowed", batch.acks.len());
        return Err(Refusal::new(response::INVALID_PARAMETER, remark));
    }
    for one in &batch.acks {
        batch_ack(broker, one, call.peer.address())?;
    }
    Ok(Reply::success())
}

fn batch_ack(broker: &Broker, one: &BatchAck, client: SocketAddr) -> Result<(), Refusal> {
    let illegal = |item: &str, value: &str| {
        Refusal::new(response::MESSAGE_ILLEGAL, format!("the batch's {item} is illegal: {}", shorten(value)))
    };
    let topic = real_topic(&one.topic, &one.consumer_group, &one.retry)
        .ok_or_else(|| illegal("kind of topic", &one.retry))?;
    let bits = one.bits().ok_or_else(|| illegal("bit set", &one.bit_set))?;
    let receipt = Receipt {
        start_offset: one.start_offset,
        pop_time_ms: one.pop_time,
        invisible_ms: one.invisible_time,
        revive_queue_id: one.revive_queue_id,
    };
    let receipt = receipt.check(broker.pop.log.queue_nums())?;
    if broker.topics.get(&topic).is_none() {
        return Err(topic_not_exist(&topic));
    }
    let min = broker.store.min_offset_in_queue(&topic, one.queue_id).0;
    let max = broker.store.max_offset_in_queue(&topic, one.queue_id).0;
    let offsets = bits.into_iter().map(|bit| one.start_offset.saturating_add(bit));
    let offsets: Vec<i64> = offsets.filter(|offset| (min..max).contains(offset)).collect();
    let place = Place { topic: &topic, group: &one.consumer_group, queue_id: one.queue_id };
    ack(broker, place, &receipt, &offsets)?;
    let now_ms = broker.clock.now_ms();
    for offset in offsets {
        broker.events.acknowledged(now_ms, place.group, place.topic, place.queue_id, offset, client);
    }
    Ok(())
}

fn check_place(broker: &Broker, place: Place<'_>, offset: i64, peer: &str) -> Result<(), Refusal> {
    let Place { topic, queue_id, .. } = place;
    let config = broker.topics.get(topic).ok_or_else(|| topic_not_exist(topic))?;
    if !(0..config.read_queue_nums).contains(&queue_id) {
        let remark = format!(
            "queueId[{queue_id}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{}] consumer:[{peer}]",
            config.read_queue_nums
        );
        return Err(Refusal::new(response::MESSAGE_ILLEGAL, remark));
    }
    let min = broker.store.min_offset_in_queue(topic, queue_id).0;
    let max = broker.store.max_offset_in_queue(topic, queue_id).0;
    if !(min..max).contains(&offset) {
        let remark = format!("offset is illegal, key:{topic}@{queue_id}, commit:{offset}, store:{min}~{max}");
        return Err(Refusal::new(response::NO_MESSAGE, remark));
    }
    Ok(())
}

fn receipt(broker: &Broker, text: &str) -> Result<Receipt, Refusal> {
    Receipt::parse(text, &broker.keys().broker_name, broker.pop.log.queue_nums())
}

fn key(place: Place<'_>, receipt: &Receipt) -> Key {
    Key {
        topic: place.topic.into(),
        group: place.group.into(),
        queue_id: place.queue_id,
        start_offset: receipt.start_offset,
        pop_time_ms: receipt.pop_time_ms,
    }
}

fn ack(broker: &Broker, place: Place<'_>, receipt: &Receipt, offsets: &[i64]) -> Result<(), Refusal> {
    if receipt.revive_queue_id == ORDERLY {
        offsets.iter().try_for_each(|offset| ack_in_order(broker, place, receipt, *offset))?;
    } else {
        let key = key(place, receipt);
        acknowledge(broker, receipt.revive_queue_id, &key, offsets, receipt.revive_time_ms())?;
    }
    if let Some(stats) = broker.stats.known_group(place.group, place.topic) {
        stats.acked(offsets.len() as u64);
    }
    Ok(())
}

fn ack_in_order(broker: &Broker, place: Place<'_>, receipt: &Receipt, offset: i64) -> Result<(), Refusal> {
    let Place { topic, group, queue_id } = place;
    let lock = broker.pop.lock(place);
    let old = broker.offsets.query(group, topic, queue_id).map_or(-1, |offset| offset.0);
    if offset < old {
        return Ok(());
    }
    match broker.pop.orders.acked(place, offset, receipt.pop_time_ms) {
        Next::Commit(next) => broker.pop_committed(place, QueueOffset(next)),
        Next::Stale => return Ok(()),
        Next::Illegal => {
            let remark = format!(
                "offset is illegal, key:{topic}@{group}@{queue_id}, old:{old}, commit:{offset}, next:-1: \
                 the pop of {} did not give it out",
                receipt.pop_time_ms
            );
            return Err(Refusal::new(response::MESSAGE_ILLEGAL, remark));
        }
    }
    drop(lock);
    if broker.pop.orders.blocked_until_ms(place, None, broker.clock.now_ms()).is_none() {
        broker.hold.wake_pop(topic, group);
    }
    Ok(())
}

/// CHANGE_MESSAGE_INVISIBLETIME (200053): offers a message again at another time; the old receipt is done with.
pub(in crate::broker) fn change_message_invisible_time(
    broker: &Arc<Broker>,
    call: Call<ChangeInvisibleTimeRequestHeader>,
) -> Answer {
    let header = &call.header;
    let place = Place { topic: &header.topic, group: &header.consumer_group, queue_id: header.queue_id };
    check_place(broker, place, header.offset, &call.peer.address().to_string())?;
    check_invisible(broker, header.invisible_time)?;
    let receipt = receipt(broker, &header.extra_info)?;
    let now_ms = broker.clock.now_ms();
    let changed = if receipt.revive_queue_id == ORDERLY {
        change_in_order(broker, place, &receipt, header.offset, now_ms.saturating_add(header.invisible_time))
    } else {
        let met = broker.pop.log.meets(receipt.revive_queue_id, &key(place, &receipt), header.offset);
        let over_ms = receipt.revive_time_ms();
        if met == Met::Settled || met == Met::Unknown && over_ms <= now_ms {
            let remark = format!(
                "the receipt is no longer valid, key:{}@{}, offset:{}: acknowledged, or offered again at {over_ms}",
                place.topic, place.queue_id, header.offset
            );
            return Err(Refusal::new(response::NO_MESSAGE, remark));
        }
        // Another time than before, or the two check points would be one.
        let pop_time_ms = now_ms.max(receipt.pop_time_ms.saturating_add(1));
        let renewed = Receipt {
            start_offset: header.offset,
            pop_time_ms,
            invisible_ms: header.invisible_time,
            revive_queue_id: receipt.revive_queue_id,
        };
        let key_now = key(place, &renewed);
        check_point(broker, renewed.revive_queue_id, &key_now, &[header.offset], renewed.invisible_ms)?;
        if let Some(stats) = broker.stats.known_group(place.group, place.topic) {
            stats.check_pointed();
        }
        ack(broker, place, &receipt, &[header.offset])?;
        renewed
    };
    Ok(Reply::success()
        .field("popTime", changed.pop_time_ms)
        .field("invisibleTime", changed.invisible_ms)
        .field("reviveQid", changed.revive_queue_id))
}

fn change_in_order(
    broker: &Broker,
    place: Place<'_>,
    receipt: &Receipt,
    offset: i64,
    visible_ms: i64,
) -> Receipt {
    let lock = broker.pop.lock(place);
    let old = broker.offsets.query(place.group, place.topic, place.queue_id).map_or(-1, |offset| offset.0);
    let held = offset >= old && broker.pop.orders.set_visible(place, offset, receipt.pop_time_ms, visible_ms);
    drop(lock);
    if !held {
        return *receipt;
    }
    broker.saving.soon();
    // Whoever waits for the queue must wait for another time now.
    broker.hold.wake_pop(place.topic, place.group);
    Receipt { invisible_ms: visible_ms - receipt.pop_time_ms, ..*receipt }
}
