//! Asking producers what became of their half messages, and giving up on those that nobody knows.
//!
//! One task sleeps until the next half message is due. A question goes to any producer of the group that is
//! connected, or to the last sender while no producer has sent a heartbeat, which clients do every half minute; while
//! there is none the half message waits, without losing checks, until one comes. Mirrors
//! `TransactionalMessageServiceImpl.check`, `AbstractTransactionalMessageCheckListener` and
//! `DefaultTransactionalMessageCheckListener`, which look at the whole queue in rounds and count checks that nobody
//! was asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use bytes::BytesMut;

use super::super::Broker;
use super::super::inner::InnerMessage;
use super::super::name::{TRANS_CHECK_MAX_TIME_TOPIC, TRANS_HALF_TOPIC, TRANS_OP_HALF_TOPIC};
use super::super::topic::perm;
use super::{CHECK_IMMUNITY, CHECK_TIMES, GROUP, Half, PREPARED_QUEUE_OFFSET, QUEUE_ID, State, Stored};
use crate::clock::NEVER_MS;
use crate::config::keys::{BrokerKeys, Timings};
use crate::remoting::{Peer, Refusal};
use crate::store::{PhysicalOffset, QueueOffset, Receipt};
use crate::wire::code::request;
use crate::wire::command::Request;
use crate::wire::header::transaction::CheckTransactionStateRequestHeader;
use crate::wire::message::property_name::{PGROUP, REAL_QID, REAL_TOPIC, UNIQ_KEY};
use crate::wire::message::{MessageRecord, NewRecord, body_crc, offset_message_id};

/// Longest time that progress is known to nobody but this process, milliseconds.
pub(super) const KEEP_PROGRESS_MS: i64 = 1_000;
/// When a question that no connection took is sent again, milliseconds.
const SEND_AGAIN_MS: i64 = 1_000;
/// Half messages that are looked at before other tasks get their turn.
const CHECKS_AT_ONCE: usize = 64;
/// Records of decisions that may wait for one undecided half message before them; then it is stored again behind them.
pub(super) const OPS_BEHIND_MAX: usize = 100_000;

/// Progress that may be kept once the log is on the disk as far as this.
struct Progress {
    log_end: PhysicalOffset,
    half: i64,
    op: i64,
}

/// Checks what is due and keeps progress, until the broker stops.
pub(in super::super) async fn run(broker: Arc<Broker>) {
    let mut candidate: Option<Progress> = None;
    // The appointment that is kept now is over when the next is made.
    let mut appointment;
    loop {
        let mut looked_at = 0;
        while look_at_next(&broker) || move_on(&broker) {
            looked_at += 1;
            if looked_at % CHECKS_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
        }
        if let Some(progress) =
            candidate.take_if(|progress| broker.store.flushed_offset() >= progress.log_end)
        {
            broker.keep_progress(&progress);
        }
        let asleep_until_ms = {
            let mut state = broker.transactions.lock();
            if candidate.is_none() && std::mem::take(&mut state.progressed) {
                let (half, op) = state.table.progress();
                candidate = Some(Progress { log_end: broker.store.max_physical_offset(), half, op });
            }
            let keep_ms = candidate.as_ref().map(|_| broker.clock.now_ms() + KEEP_PROGRESS_MS);
            let due_ms = state.table.next_due().map(|(due_ms, _)| due_ms);
            state.asleep_until_ms = keep_ms.into_iter().chain(due_ms).min().unwrap_or(NEVER_MS);
            state.asleep_until_ms
        };
        appointment = broker.clock.appoint(asleep_until_ms);
        tokio::select! {
            () = appointment.come() => {}
            () = broker.transactions.wake.notified() => {}
        }
    }
}

/// Stores the first half message again if too much waits for it, so that what a start must read stays bounded; says
/// whether it did.
fn move_on(broker: &Broker) -> bool {
    let mut state = broker.transactions.lock();
    let Some(queue_offset) = state.table.in_the_way(OPS_BEHIND_MAX) else { return false };
    let Some(half) = state.table.get(queue_offset).cloned() else { return false };
    let bytes = super::read(broker, half.physical_offset).ok().flatten();
    let message = bytes.as_ref().and_then(|bytes| {
        MessageRecord::decode(bytes).and_then(|record| InnerMessage::of_record(bytes, &record)).ok()
    });
    let Some(message) = message else { return state.table.remove(queue_offset).is_some() };
    // Where it waited for a producer it is due at once and goes on waiting; no check is counted.
    let moved = put_again(broker, &mut state, message, half.origin, half.check_times, Some(queue_offset));
    moved.is_ok()
}

/// Looks at the half message that is due first; says whether one was.
fn look_at_next(broker: &Broker) -> bool {
    let mut state = broker.transactions.lock();
    let now_ms = broker.clock.now_ms();
    let Some((_, queue_offset)) = state.table.next_due().filter(|(due_ms, _)| *due_ms <= now_ms) else {
        return false;
    };
    if let Err(refusal) = look_at(broker, &mut state, queue_offset, now_ms) {
        tracing::warn!(queue_offset, remark = refusal.remark, "a half message cannot be checked now");
        state.table.put_off(queue_offset, now_ms + SEND_AGAIN_MS, false);
    }
    true
}

fn look_at(broker: &Broker, state: &mut State, queue_offset: i64, now_ms: i64) -> Result<(), Refusal> {
    let Some(half) = state.table.get(queue_offset).cloned() else { return Ok(()) };
    let bytes = super::read(broker, half.physical_offset)?;
    let record = bytes.as_ref().and_then(|bytes| MessageRecord::decode(bytes).ok());
    let (Some(bytes), Some(record)) = (&bytes, record) else {
        tracing::warn!(queue_offset, "a half message has left the store before it was decided");
        state.table.remove(queue_offset); // its topic is not known, and so stays counted
        return Ok(());
    };
    let message = InnerMessage::of_record(bytes, &record).map_err(super::failed)?;
    let keys = broker.keys();
    let kept_ms = i64::from(keys.file_reserved_time) * 3_600_000;
    let worn_out = half.check_times >= keys.transaction_check_max && !half.unsent;
    if worn_out || now_ms - half.stored_ms > kept_ms {
        return give_up(broker, state, queue_offset, &half, &record, message);
    }
    let group = message.property(PGROUP).unwrap_or_default().to_owned();
    let producers = live_producers(broker, state, &group);
    if producers.is_empty() {
        let limit_ms = (half.stored_ms + kept_ms).max(now_ms) + 1;
        state.table.park(queue_offset, &group, limit_ms);
        return Ok(());
    }
    let (queue_offset, question) = if half.unsent {
        (queue_offset, question(broker, &message, queue_offset, half.physical_offset, half.stored_ms))
    } else {
        let times = half.check_times.saturating_add(1);
        let receipt = put_again(broker, state, message.clone(), half.origin, times, Some(queue_offset))?;
        let mut message = message;
        message.set_property(CHECK_TIMES, &times.to_string());
        let at = (receipt.queue_offset.0, receipt.physical_offset.0);
        (at.0, question(broker, &message, at.0, at.1, receipt.store_timestamp))
    };
    let taken = question.is_none_or(|question| ask(&producers, &question));
    tracing::debug!(group, queue_offset, taken, "a producer is asked about a half message");
    if taken {
        if half.unsent {
            let due_ms = due_ms(&keys, state.started_ms, half.check_times, now_ms, None);
            state.table.put_off(queue_offset, due_ms, false);
        }
    } else {
        state.table.put_off(queue_offset, now_ms + SEND_AGAIN_MS, true);
    }
    Ok(())
}

/// Stores a copy of a half message with this number of checks, in place of its `former` copy.
pub(super) fn put_again(
    broker: &Broker,
    state: &mut State,
    mut message: InnerMessage,
    origin: i64,
    check_times: i32,
    former: Option<i64>,
) -> Result<Receipt, Refusal> {
    message.set_property(CHECK_TIMES, &check_times.to_string());
    message.set_property(PREPARED_QUEUE_OFFSET, &origin.to_string());
    let receipt = broker.put_as_it_is(&message)?;
    let keys = broker.keys();
    let due_ms = due_ms(&keys, state.started_ms, check_times, receipt.store_timestamp, None);
    let half = Half {
        origin,
        physical_offset: receipt.physical_offset.0,
        check_times,
        stored_ms: receipt.store_timestamp,
        due_ms,
        unsent: false,
        parked: None,
    };
    state.table.add(receipt.queue_offset.0, half);
    if let Some(former) = former {
        // Without this record both copies are found at a start, where the later one counts.
        if let Err(refusal) = super::write_op(broker, state, former, message.store_host) {
            tracing::warn!(
                former,
                remark = refusal.remark,
                "a former copy of a half message stays on record"
            );
        }
    }
    broker.transactions.wake_before(state, due_ms);
    broker.transactions.progressed(state, broker.clock.now_ms());
    Ok(receipt)
}

/// Moves a half message that nobody decides to where people can find it (`resolveDiscardMsg`).
fn give_up(
    broker: &Broker,
    state: &mut State,
    queue_offset: i64,
    half: &Half,
    record: &MessageRecord<'_>,
    mut message: InnerMessage,
) -> Result<(), Refusal> {
    broker.topics.create_internal(TRANS_CHECK_MAX_TIME_TOPIC, 1, perm::READ | perm::WRITE, false);
    TRANS_CHECK_MAX_TIME_TOPIC.clone_into(&mut message.topic);
    message.queue_id = 0;
    message.set_property(PREPARED_QUEUE_OFFSET, &half.origin.to_string());
    broker.put_as_it_is(&message)?;
    tracing::warn!(
        topic = message.property(REAL_TOPIC),
        key = message.property(UNIQ_KEY),
        checks = half.check_times,
        "no producer decides this half message: it is now in {TRANS_CHECK_MAX_TIME_TOPIC}"
    );
    state.table.remove(queue_offset);
    state.count(message.property(REAL_TOPIC), |counts| counts.undecided -= 1);
    super::write_op(broker, state, queue_offset, record.store_host)?;
    broker.transactions.progressed(state, broker.clock.now_ms());
    Ok(())
}

/// Makes the CHECK_TRANSACTION_STATE (39) about a copy; its body is the message as the producer sent it.
fn question(
    broker: &Broker,
    message: &InnerMessage,
    queue_offset: i64,
    physical_offset: i64,
    stored_ms: i64,
) -> Option<Request> {
    let topic = message.property(REAL_TOPIC)?;
    let queue_id = message.property(REAL_QID)?.parse().ok()?;
    let record = NewRecord {
        body_crc: body_crc(&message.body),
        queue_id,
        flag: message.flag,
        queue_offset,
        physical_offset,
        sys_flag: message.sys_flag,
        born_timestamp: message.born_timestamp,
        born_host: message.born_host,
        store_timestamp: stored_ms,
        store_host: message.store_host,
        reconsume_times: message.reconsume_times,
        prepared_transaction_offset: message.prepared_transaction_offset,
        body: &message.body,
        topic,
        properties: &[&message.properties],
    };
    let length = record.encoded_len().ok()?;
    let mut body = BytesMut::zeroed(length);
    record.encode(length, &mut body);
    let unique_key = message.property(UNIQ_KEY).map(Into::into);
    let header = CheckTransactionStateRequestHeader {
        topic: Some(TRANS_HALF_TOPIC.into()),
        tran_state_table_offset: queue_offset,
        commit_log_offset: physical_offset,
        msg_id: unique_key.clone(),
        transaction_id: unique_key,
        offset_msg_id: Some(offset_message_id(message.store_host, physical_offset).into()),
        broker_name: Some(broker.name().into()),
    };
    Some(Request::new(request::CHECK_TRANSACTION_STATE, &header).with_body(body.freeze()))
}

/// Returns the producers of a group that are connected; before the first heartbeat of any, the last sender.
fn live_producers(broker: &Broker, state: &State, group: &str) -> Vec<Arc<Peer>> {
    let members = broker.producers.members(group).into_iter();
    let live: Vec<_> = members.map(|member| member.peer).filter(|peer| !peer.is_closed()).collect();
    if !live.is_empty() {
        return live;
    }
    let sender = state.senders.get(group).and_then(Weak::upgrade);
    sender.filter(|sender| !sender.is_closed()).into_iter().collect()
}

/// Asks one of the producers, another one each time; says whether a connection took the question.
fn ask(producers: &[Arc<Peer>], question: &Request) -> bool {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let first = TURN.fetch_add(1, Ordering::Relaxed);
    let mut in_turn = (0..producers.len()).map(|next| &producers[(first + next) % producers.len()]);
    in_turn.any(|peer| peer.oneway(question.clone()))
}

/// Returns the time of immunity that a property asks for, milliseconds (`getImmunityTime`).
pub(super) fn immunity_ms(text: &str, transaction_time_out_ms: i64) -> i64 {
    match text.parse::<i64>() {
        Ok(seconds) if seconds != -1 => seconds.max(0).saturating_mul(1_000),
        _ => transaction_time_out_ms,
    }
}

/// Returns when a half message that was stored at `stored_ms` after so many checks is to be checked next.
///
/// Under fast timings, unless the interval was set: after `transactionTimeOut`, then after twice as long each time,
/// at most after `transactionCheckInterval`. Else in the first of the broker's rounds, one each interval, in which it
/// is old enough.
pub(super) fn due_ms(
    keys: &BrokerKeys,
    started_ms: i64,
    check_times: i32,
    stored_ms: i64,
    immunity: Option<&str>,
) -> i64 {
    let first_ms = immunity.map(|text| immunity_ms(text, keys.transaction_time_out));
    let interval_ms = keys.transaction_check_interval;
    if keys.timings() == Timings::Fast && !keys.is_explicit("transactionCheckInterval") {
        let doubled_ms = keys.transaction_time_out.saturating_mul(1 << check_times.clamp(0, 30));
        let wait_ms = if check_times == 0 { keys.transaction_time_out } else { doubled_ms.min(interval_ms) };
        return stored_ms.saturating_add(first_ms.unwrap_or(wait_ms));
    }
    let old_enough_ms = match (first_ms, check_times) {
        (Some(first_ms), _) => stored_ms.saturating_add(first_ms),
        (None, 0) => stored_ms.saturating_add(keys.transaction_time_out),
        // A copy is as old as the half message, but it is not checked in the round that made it.
        (None, _) => stored_ms + 1,
    };
    let rounds =
        (old_enough_ms.saturating_sub(started_ms)).max(1).saturating_add(interval_ms - 1) / interval_ms;
    started_ms.saturating_add(rounds.saturating_mul(interval_ms))
}

impl Stored<'_> {
    /// Returns when to check a half message that was found in the store.
    pub(super) fn due_ms(&self, keys: &BrokerKeys, started_ms: i64) -> i64 {
        let immunity = (self.check_times == 0).then(|| self.record.property(CHECK_IMMUNITY)).flatten();
        due_ms(keys, started_ms, self.check_times, self.record.store_timestamp, immunity)
    }
}

impl Broker {
    fn keep_progress(&self, progress: &Progress) {
        self.offsets.commit(GROUP, TRANS_HALF_TOPIC, QUEUE_ID, QueueOffset(progress.half));
        self.offsets.commit(GROUP, TRANS_OP_HALF_TOPIC, QUEUE_ID, QueueOffset(progress.op));
        self.saving.soon();
    }
}
