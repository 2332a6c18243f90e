//! Transactions: a half message waits under a topic of the system until its producer decides, or is asked to.
//!
//! Flows in: sends with TRAN_MSG, END_TRANSACTION (37), RESUME_CHECK_HALF_MESSAGE (323). Flows out: the half message
//! under `RMQ_SYS_TRANS_HALF_TOPIC`, once committed the message itself, and for each decided half message a record
//! under `RMQ_SYS_TRANS_OP_HALF_TOPIC` that names its queue offset. [`check`] asks producers that stay silent;
//! [`load`] finds at a start what is undecided. Mirrors `EndTransactionProcessor`, `TransactionalMessageBridge` and
//! `TransactionalMessageServiceImpl`, with these differences: a decision is recorded at once, and a second decision
//! about the same half message is refused, so that nothing is delivered twice.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::Notify;

use super::Broker;
use super::inner::InnerMessage;
use super::name::{GROUP_BYTES_MAX, TRANS_CHECK_MAX_TIME_TOPIC, TRANS_HALF_TOPIC, TRANS_OP_HALF_TOPIC};
use crate::remoting::{Answer, Call, Outcome, Peer, Refusal};
use crate::store::{PhysicalOffset, Receipt};
use crate::wire::code::response;
use crate::wire::command::Reply;
use crate::wire::fields::shorten;
use crate::wire::header::transaction::{EndTransactionRequestHeader, ResumeCheckHalfMessageRequestHeader};
use crate::wire::message::property_name::{PGROUP, REAL_QID, REAL_TOPIC, TRAN_MSG, UNIQ_KEY};
use crate::wire::message::{MessageRecord, parse_offset_message_id, sys_flag};

pub(super) mod check;
mod load;
mod table;
#[cfg(test)]
mod tests;

pub(super) use table::Half;
use table::HalfTable;

/// The consumer group under which the progress of both queues is kept (`CID_SYS_RMQ_TRANS`).
const GROUP: &str = "CID_RMQ_SYS_TRANS";
/// The queue of half messages and that of decisions: all are queue 0.
const QUEUE_ID: i32 = 0;
/// Undecided half messages at once; each is remembered with some 200 bytes.
const HALVES_MAX: usize = 1_000_000;
/// Groups whose last sender is remembered.
const SENDERS_MAX: usize = 10_000;
/// How often the producers of a half message were asked.
pub(super) const CHECK_TIMES: &str = "TRANSACTION_CHECK_TIMES";
/// Queue offset of a half message's first copy.
const PREPARED_QUEUE_OFFSET: &str = "TRAN_PREPARED_QUEUE_OFFSET";
/// Seconds before a half message is first checked.
const CHECK_IMMUNITY: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";
/// The unique key once more, under the name that consumers of a transaction look for.
const TRANSACTION_ID: &str = "__transactionId__";

/// What a broker knows of its transactions.
///
/// The lock is held while a decision, a check or a half message is put into the store, so that a half message has
/// one fate and a record of a decision follows what was decided. It is the one lock that is not a leaf: the store's
/// and those of the tables are taken under it, never the other way round.
#[derive(Default)]
pub(super) struct Transactions {
    state: Mutex<State>,
    /// Wakes the task that checks.
    wake: Notify,
}

#[derive(Default)]
struct State {
    table: HalfTable,
    /// Whether progress was made that is not kept yet.
    progressed: bool,
    /// Until when the task that checks sleeps.
    asleep_until_ms: i64,
    /// When the broker started; rounds of checks count from there.
    started_ms: i64,
    /// By the topic that messages are meant for.
    counts: HashMap<String, Counts>,
    /// Who sent a half message last, by its group: a client's heartbeat can come half a minute later.
    senders: HashMap<Box<str>, Weak<Peer>>,
}

/// What became of the half messages of one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Undecided now.
    pub(crate) undecided: i64,
    /// Committed since the broker started.
    pub(crate) committed: u64,
    /// Rolled back since the broker started.
    pub(crate) rolled_back: u64,
}

impl State {
    fn count(&mut self, topic: Option<&str>, change: impl FnOnce(&mut Counts)) {
        let topic = topic.unwrap_or_default();
        // All but the first time without a copy of the name.
        if let Some(counts) = self.counts.get_mut(topic) {
            return change(counts);
        }
        change(self.counts.entry(topic.to_owned()).or_default());
    }
}

impl State {
    /// Notes who sent a half message of a group; says whether that is news.
    fn sent(&mut self, group: &str, sender: &Arc<Peer>) -> bool {
        if self.senders.get(group).is_some_and(|known| known.as_ptr() == Arc::as_ptr(sender)) {
            return false;
        }
        if self.senders.len() >= SENDERS_MAX {
            self.senders.retain(|_, sender| sender.strong_count() > 0);
        }
        if self.senders.len() < SENDERS_MAX && group.len() <= GROUP_BYTES_MAX {
            self.senders.insert(group.into(), Arc::downgrade(sender));
        }
        true
    }
}

impl Transactions {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the task that checks look again when something is due before it would wake by itself.
    fn wake_before(&self, state: &mut State, due_ms: i64) {
        if due_ms < state.asleep_until_ms {
            state.asleep_until_ms = due_ms;
            self.wake.notify_one();
        }
    }

    fn progressed(&self, state: &mut State, now_ms: i64) {
        if !state.progressed {
            state.progressed = true;
            self.wake_before(state, now_ms + check::KEEP_PROGRESS_MS);
        }
    }
}

/// A half message read from the store.
struct Stored<'a> {
    record: MessageRecord<'a>,
    /// Queue offset of its first copy.
    origin: i64,
    check_times: i32,
}

impl<'a> Stored<'a> {
    fn of(record: MessageRecord<'a>) -> Self {
        let number = |name| record.property(name).and_then(|text| text.parse::<i64>().ok());
        let origin = number(PREPARED_QUEUE_OFFSET).filter(|origin| *origin >= 0);
        Self {
            record,
            origin: origin.unwrap_or(record.queue_offset),
            check_times: i32::try_from(number(CHECK_TIMES).unwrap_or(0)).unwrap_or(i32::MAX),
        }
    }

    fn half(&self, due_ms: i64) -> Half {
        Half {
            origin: self.origin,
            physical_offset: self.record.physical_offset,
            check_times: self.check_times,
            stored_ms: self.record.store_timestamp,
            due_ms,
            unsent: false,
            parked: None,
        }
    }
}

/// Returns the number of undecided half messages, and those that are looked at first, at most `max`.
pub(super) fn first_due(broker: &Broker, max: usize) -> (usize, Vec<Half>) {
    let state = broker.transactions.lock();
    (state.table.len(), state.table.first_due(max).cloned().collect())
}

/// Stores a half message of this sender where it waits for its decision (`asyncPrepareMessage`).
pub(super) fn put_half(
    broker: &Broker,
    mut message: InnerMessage,
    sender: &Arc<Peer>,
) -> Result<Receipt, Refusal> {
    let keys = broker.keys();
    if keys.reject_transaction_message {
        let remark =
            format!("the broker[{}] sending transaction message is forbidden", broker.address().host());
        return Err(Refusal::new(response::NO_PERMISSION, remark));
    }
    // Only the broker's own copies have these; a client's would stand for another transaction.
    message.remove_property(PREPARED_QUEUE_OFFSET);
    message.remove_property(CHECK_TIMES);
    if let Some(key) = message.property(UNIQ_KEY).map(str::to_owned) {
        message.set_property(TRANSACTION_ID, &key);
    }
    message.sys_flag &= !sys_flag::TRANSACTION_ROLLBACK;
    message.hide(TRANS_HALF_TOPIC, QUEUE_ID);
    let immunity = message.property(CHECK_IMMUNITY).map(str::to_owned);
    let mut state = broker.transactions.lock();
    if state.table.len() >= HALVES_MAX {
        let remark = format!("[TOO_MANY]there are {HALVES_MAX} undecided transactions, no more are taken");
        return Err(Refusal::new(response::SYSTEM_BUSY, remark));
    }
    let receipt = broker.put_as_it_is(&message)?;
    let due_ms = check::due_ms(&keys, state.started_ms, 0, receipt.store_timestamp, immunity.as_deref());
    let half = Half {
        origin: receipt.queue_offset.0,
        physical_offset: receipt.physical_offset.0,
        check_times: 0,
        stored_ms: receipt.store_timestamp,
        due_ms,
        unsent: false,
        parked: None,
    };
    state.table.add(receipt.queue_offset.0, half);
    state.count(message.property(REAL_TOPIC), |counts| counts.undecided += 1);
    let group = message.property(PGROUP).unwrap_or_default();
    let now_ms = broker.clock.now_ms();
    if state.sent(group, sender) && state.table.unpark(group, now_ms) {
        broker.transactions.wake_before(&mut state, now_ms);
    }
    broker.transactions.wake_before(&mut state, due_ms);
    Ok(receipt)
}

/// END_TRANSACTION (37): the producer's decision. "Not known yet" is never answered, as on the reference.
pub(super) fn end_transaction(broker: &Arc<Broker>, call: Call<EndTransactionRequestHeader>) -> Outcome {
    let header = &call.header;
    if broker.is_slave() {
        let remark = "a slave cannot end a transaction";
        return Outcome::Now(Err(Refusal::new(response::SLAVE_NOT_AVAILABLE, remark)));
    }
    let commit = match header.commit_or_rollback {
        sys_flag::TRANSACTION_COMMIT => true,
        sys_flag::TRANSACTION_ROLLBACK => false,
        _ => return Outcome::Never,
    };
    let ended = end(broker, header, commit, call.peer.address());
    if let Err(refusal) = &ended {
        // Clients send this one-way: without a line here nobody would hear of it.
        tracing::info!(peer = %call.peer.address(), commit, remark = refusal.remark, "transaction not ended");
    }
    Outcome::Now(ended)
}

fn end(broker: &Broker, header: &EndTransactionRequestHeader, commit: bool, client: SocketAddr) -> Answer {
    let at = header.commit_log_offset;
    let mut state = broker.transactions.lock();
    let bytes = read(broker, at)?.ok_or_else(|| not_found(at, "there is no message"))?;
    let record = MessageRecord::decode(&bytes).map_err(|cause| not_found(at, cause))?;
    if record.topic != TRANS_HALF_TOPIC {
        return Err(not_found(at, "the message there is no half message"));
    }
    let stored = Stored::of(record);
    if !header.from_transaction_check {
        refuse_late(broker, &record)?;
    }
    let group = record.property(PGROUP).unwrap_or_default();
    if group != &*header.producer_group {
        let asked = shorten(&header.producer_group);
        return Err(failed(format!("The producer group wrong: the half message is of {group}, not {asked}")));
    }
    if record.queue_offset != header.tran_state_table_offset {
        return Err(failed(format!(
            "The transaction state table offset wrong: the half message has {}, not {}",
            record.queue_offset, header.tran_state_table_offset
        )));
    }
    let Some(queue_offset) = state.table.latest(stored.origin) else {
        let cause =
            format!("queue offset {} was committed, rolled back or given up before", record.queue_offset);
        return Err(not_found(at, cause));
    };
    let now_ms = broker.clock.now_ms();
    if commit {
        broker.put_inner(final_message(&bytes, &record)?)?;
        // The message is out: whatever happens now, it must not be committed again.
        state.table.remove(queue_offset);
        if let Err(refusal) = write_op(broker, &mut state, queue_offset, record.store_host) {
            tracing::error!(queue_offset, remark = refusal.remark, "a commit is not recorded");
        }
    } else {
        write_op(broker, &mut state, queue_offset, record.store_host)?;
        state.table.remove(queue_offset);
    }
    state.count(record.property(REAL_TOPIC), |counts| {
        counts.undecided -= 1;
        if commit {
            counts.committed += 1;
        } else {
            counts.rolled_back += 1;
        }
    });
    tracing::debug!(group, queue_offset, commit, "a transaction is decided");
    broker.transactions.progressed(&mut state, now_ms);
    broker.events.decided(now_ms, record.physical_offset, commit, header.from_transaction_check, client);
    Ok(Reply::success())
}

/// Refuses a decision that comes after the time in which the producer wanted not to be asked
/// (`rejectCommitOrRollback`): the answer to a check decides.
fn refuse_late(broker: &Broker, record: &MessageRecord<'_>) -> Result<(), Refusal> {
    let Some(immunity) = record.property(CHECK_IMMUNITY) else { return Ok(()) };
    let limit_ms = check::immunity_ms(immunity, broker.keys().transaction_time_out);
    let age_ms = broker.clock.now_ms() - record.store_timestamp;
    if age_ms > limit_ms {
        let remark = format!(
            "the half message is {age_ms} ms old and {CHECK_IMMUNITY} allows {limit_ms} ms; a check will ask"
        );
        return Err(Refusal::new(response::ILLEGAL_OPERATION, remark));
    }
    Ok(())
}

/// Makes the message that consumers get (`endMessageTransaction`).
fn final_message(bytes: &Bytes, record: &MessageRecord<'_>) -> Result<InnerMessage, Refusal> {
    let mut message = InnerMessage::of_record(bytes, record).map_err(failed)?;
    let topic = message.property(REAL_TOPIC).map(str::to_owned);
    let queue_id = message.property(REAL_QID).and_then(|text| text.parse().ok()).filter(|id| *id >= 0);
    let (Some(topic), Some(queue_id)) = (topic, queue_id) else {
        let cause = "it does not say where the message belongs";
        return Err(not_found(record.physical_offset, cause));
    };
    message.topic = topic;
    message.queue_id = queue_id;
    message.sys_flag = message.sys_flag & !sys_flag::TRANSACTION_ROLLBACK | sys_flag::TRANSACTION_COMMIT;
    message.prepared_transaction_offset = record.physical_offset;
    message.remove_property(PREPARED_QUEUE_OFFSET);
    // TRAN_MSG and what the broker added stay in the text, as on the reference, which clears them too late:
    // Java consumers tell a transaction's message by TRAN_MSG.
    Ok(message)
}

/// Records that the half message at a queue offset is done with.
fn write_op(
    broker: &Broker,
    state: &mut State,
    queue_offset: i64,
    store_host: SocketAddr,
) -> Result<(), Refusal> {
    let op = InnerMessage {
        topic: TRANS_OP_HALF_TOPIC.to_owned(),
        queue_id: QUEUE_ID,
        flag: 0,
        sys_flag: 0,
        born_timestamp: broker.clock.now_ms(),
        born_host: store_host,
        store_host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: format!("{queue_offset},").into(),
        properties: "WAIT\u{1}true\u{2}TAGS\u{1}d\u{2}".to_owned(),
        wait_store: false,
    };
    let receipt = broker.put_as_it_is(&op)?;
    state.table.op_written(receipt.queue_offset.0, queue_offset);
    Ok(())
}

/// RESUME_CHECK_HALF_MESSAGE (323): checks of a half message that was given up, or asked about in vain, begin anew.
pub(super) fn resume_check_half_message(
    broker: &Arc<Broker>,
    call: Call<ResumeCheckHalfMessageRequestHeader>,
) -> Answer {
    let id = &call.header.msg_id;
    let (_, at) = parse_offset_message_id(id).map_err(failed)?;
    let mut state = broker.transactions.lock();
    let bytes = read(broker, at)?.ok_or_else(|| not_found(at, "there is no message"))?;
    let record = MessageRecord::decode(&bytes).map_err(failed)?;
    let origin = match record.topic {
        TRANS_HALF_TOPIC => Stored::of(record).origin,
        TRANS_CHECK_MAX_TIME_TOPIC => given_up_origin(&record)?,
        topic => return Err(not_found(at, format!("the message there is one of topic {}", shorten(topic)))),
    };
    let latest = state.table.latest(origin);
    if latest.is_none() && record.topic == TRANS_HALF_TOPIC {
        return Err(not_found(at, format!("queue offset {} is decided or given up", record.queue_offset)));
    }
    if latest.is_none() && load::is_committed(broker, &record, origin) {
        return Err(not_found(at, "the message was resumed and committed before"));
    }
    let mut copy = InnerMessage::of_record(&bytes, &record).map_err(failed)?;
    TRANS_HALF_TOPIC.clone_into(&mut copy.topic);
    copy.queue_id = QUEUE_ID;
    check::put_again(broker, &mut state, copy, origin, 0, latest)?;
    if latest.is_none() {
        state.count(record.property(REAL_TOPIC), |counts| counts.undecided += 1);
    }
    Ok(Reply::success())
}

fn given_up_origin(record: &MessageRecord<'_>) -> Result<i64, Refusal> {
    // What Apache gave up does not say which half message it was; its place in the log is no queue offset then.
    let origin = record.property(PREPARED_QUEUE_OFFSET).and_then(|text| text.parse().ok());
    if record.property(TRAN_MSG).is_none() || record.property(REAL_TOPIC).is_none() {
        return Err(not_found(record.physical_offset, "the message there was no half message"));
    }
    Ok(origin.unwrap_or(i64::MAX - record.queue_offset))
}

fn read(broker: &Broker, at: i64) -> Result<Option<Bytes>, Refusal> {
    if at < 0 {
        return Ok(None);
    }
    Ok(broker.store.read_record(PhysicalOffset(at))?)
}

fn failed(remark: impl ToString) -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, remark)
}

fn not_found(at: i64, cause: impl std::fmt::Display) -> Refusal {
    failed(format!("Find prepared transaction message failed: at commit log offset {at} {cause}"))
}

impl Broker {
    /// Stores a message at once, whatever it asks for.
    fn put_as_it_is(&self, message: &InnerMessage) -> Result<Receipt, Refusal> {
        self.put(&message.new_message(&[&message.properties]), &self.keys())
    }

    /// Returns what became of half messages, by the topic that they are meant for.
    pub(crate) fn transaction_counts(&self) -> Vec<(String, Counts)> {
        let state = self.transactions.lock();
        state.counts.iter().map(|(topic, counts)| (topic.clone(), *counts)).collect()
    }

    /// Forgets who sent half messages of a group last: a producer that says farewell is not asked any more.
    pub(super) fn producer_left(&self, group: &str, peer: &Arc<Peer>) {
        let mut state = self.transactions.lock();
        if state.senders.get(group).is_some_and(|sender| sender.as_ptr() == Arc::as_ptr(peer)) {
            state.senders.remove(group);
        }
    }

    /// Asks producers about what waits for one of this group.
    pub(super) fn producer_joined(&self, group: &str) {
        let mut state = self.transactions.lock();
        let now_ms = self.clock.now_ms();
        if state.table.unpark(group, now_ms) {
            self.transactions.wake_before(&mut state, now_ms);
        }
    }
}
