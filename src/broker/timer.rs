//! Timers: a message that names its own time of delivery, to the millisecond, waits for it.
//!
//! Flows in: messages with property `TIMER_DELAY_SEC`, `TIMER_DELAY_MS` or `TIMER_DELIVER_MS`, which [`hide`] puts
//! into the one queue of the timer topic, and whatever an Apache broker left there. Flows out: a copy under its own
//! topic and queue when the time has come, with the stored properties as they are and the times of entry and exit
//! beside them; or nothing, when a message with `TIMER_DEL_UNIQKEY` for the same slot has cancelled it.
//!
//! The order of times is in memory, sixteen bytes a timer: one task reads the topic to its end, keeps what waits in
//! a heap, and sleeps until the first is due. After a start it reads the topic again from the first message that
//! may wait; which of those are delivered the checkpoint says (see [`crate::store::timer`]). It is written soon
//! after a delivery, so that a crash delivers again what came in between, and nothing is lost. At a clean stop
//! the waiting timers are also written as Apache's wheel and log, for an Apache broker to go on from.
//!
//! Mirrors `TimerMessageStore` and `HookUtils.transformTimerMessage`. Unlike there a time is not rounded to a slot,
//! far timers are not put again every two days, and no slot is full.

pub(super) mod recall;
mod waiting;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::Notify;

use super::due::{self, Step};
use super::inner::InnerMessage;
use super::name::{TIMER_TOPIC, TRANS_HALF_TOPIC};
use super::schedule::destination;
use super::send::illegal;
use super::{Broker, schedule};
use crate::config::keys::BrokerKeys;
use crate::remoting::Refusal;
use crate::store::timer::{TimerCheckpoint, TimerFiles, WaitingTimer};
use crate::store::{Arrival, MessageStore, NewMessage, QueueOffset, ReadLimits};
use crate::wire::body::data_version::DataVersion;
use crate::wire::code::response;
use crate::wire::fastjson;
use crate::wire::message::property_name::{
    TIMER_DEL_UNIQKEY, TIMER_DELAY_MS, TIMER_DELAY_SEC, TIMER_DELIVER_MS, TIMER_OUT_MS,
};
use crate::wire::message::{MessageRecord, java_string_hash, property_name};
use waiting::{Before, Timer, Waiting};

#[cfg(test)]
mod model;
#[cfg(test)]
mod power_cut;
#[cfg(test)]
mod tests;

/// Messages that are read in one go, before others may run.
const READ_MAX: usize = 1_024;
/// Messages that are delivered in one go.
const BATCH_MAX: usize = 128;

/// Puts a message with a time of delivery where it waits; one whose time is past is stored at once.
///
/// Refuses times that are no numbers or further away than `timerMaxDelaySec`, a cancelling message that comes too
/// late, and every timer where `timerWheelEnable` is off. Where there is a delay level too, the level counts.
pub(super) fn hide(broker: &Broker, message: &mut InnerMessage) -> Result<(), Refusal> {
    let names = [TIMER_DELAY_SEC, TIMER_DELAY_MS, TIMER_DELIVER_MS];
    if schedule::has_level(message) {
        for name in names {
            message.remove_property(name);
        }
        return Ok(());
    }
    // One that comes out of the wheel, or that was put there by hand.
    if message.topic == TIMER_TOPIC || message.property(TIMER_OUT_MS).is_some() {
        return Ok(());
    }
    let wish = names.into_iter().find_map(|name| Some((name, message.property(name)?)));
    let Some((name, text)) = wish else { return Ok(()) };
    if !broker.timers.enabled {
        let remark = "accurate timer message is not enabled, timerWheelEnable is false";
        return Err(Refusal::new(response::SYSTEM_ERROR, remark));
    }
    let number: i64 = text.parse().map_err(|_| {
        let shown: String = text.chars().take(40).collect();
        illegal(&format!("property {name} is \"{shown}\", which is no whole number"))
    })?;
    let now_ms = broker.clock.now_ms();
    let deliver_ms = match name {
        TIMER_DELAY_SEC => now_ms.saturating_add(number.saturating_mul(1_000)),
        TIMER_DELAY_MS => now_ms.saturating_add(number),
        _ => number,
    };
    let max_ms = i64::from(broker.keys().timer_max_delay_sec) * 1_000;
    let late = deliver_ms <= now_ms;
    if deliver_ms.saturating_sub(now_ms) > max_ms || late && message.property(TIMER_DEL_UNIQKEY).is_some() {
        let remark = format!(
            "timer message illegal, the delay time should not be bigger than the max delay {max_ms}ms; or if set \
             del msg, the delay time should be bigger than the current time. Here: {name} is {number}, the time is \
             {now_ms}"
        );
        return Err(Refusal::new(response::MESSAGE_ILLEGAL, remark));
    }
    if !late {
        // What the reference's rounding gives for slots of a millisecond; its own slots end at the right second.
        message.set_property(TIMER_OUT_MS, &(deliver_ms - 1).to_string());
        message.hide(TIMER_TOPIC, 0);
    }
    Ok(())
}

/// The timers of one broker.
///
/// Lock order: `state` is held while a batch is put, as in [`super::schedule`].
pub struct Timers {
    enabled: bool,
    checkpoint_file: PathBuf,
    metrics_file: PathBuf,
    files: TimerFiles,
    state: Mutex<State>,
    /// Whether the task has read all there is, and so must hear of an arrival.
    read_all: AtomicBool,
    wake: Notify,
}

struct State {
    waiting: Waiting,
    version: DataVersion,
    /// Version that the file has; `None` while wheel and log of the last stop are there.
    saved: Option<DataVersion>,
}

impl Timers {
    /// Reads the checkpoint below `config_dir` and finds out from where on the topic is to be read.
    pub fn load(keys: &BrokerKeys, config_dir: &std::path::Path, store: &MessageStore) -> io::Result<Self> {
        let checkpoint_file = config_dir.join("timercheck");
        let saved = TimerCheckpoint::load(&checkpoint_file)?;
        let (min, max) =
            (store.min_offset_in_queue(TIMER_TOPIC, 0).0, store.max_offset_in_queue(TIMER_TOPIC, 0).0);
        let precision_ms = slot_ms(keys.timer_precision_ms);
        let files = TimerFiles {
            root: keys.store_root().to_owned(),
            precision_ms,
            log_file_bytes: i64::from(keys.mapped_file_size_timer_log).max(4_096),
        };
        let before = match saved {
            None => Before::Nothing,
            Some((public, Some(ours))) => {
                Before::Ours(ours, files.read(public.last_timer_log_flush_pos, public.last_read_time_ms)?)
            }
            Some((apache, None)) => Before::Apache {
                next_unread: apache.last_timer_queue_offset.min(apache.master_timer_queue_offset),
                last_read_time_ms: apache.last_read_time_ms,
            },
        };
        let version = saved.map(|(checkpoint, _)| checkpoint.data_version).unwrap_or_default();
        Ok(Self {
            enabled: keys.timer_wheel_enable,
            checkpoint_file,
            metrics_file: config_dir.join("timermetrics"),
            files,
            state: Mutex::new(State {
                waiting: Waiting::new(before, min, max.max(min), precision_ms),
                version,
                saved: None,
            }),
            read_all: AtomicBool::new(false),
            wake: Notify::new(),
        })
    }

    /// Says whether the broker has timers at all.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Hears of arrivals: a new timer may be due before all others.
    #[inline]
    pub fn arrived(&self, arrivals: &[Arrival]) {
        for arrival in arrivals {
            if *arrival.topic == *TIMER_TOPIC && self.read_all.swap(false, Ordering::SeqCst) {
                self.wake.notify_one();
            }
        }
    }

    /// Returns the number of timers that wait, and of messages that are not read yet.
    pub fn waiting(&self, store: &MessageStore) -> (usize, i64) {
        let max = store.max_offset_in_queue(TIMER_TOPIC, 0).0;
        let state = self.lock();
        (state.waiting.len(), (max - state.waiting.next_unread()).max(0))
    }

    /// Says whether everything that is due until then is delivered. True without timers.
    pub(super) fn has_delivered(&self, store: &MessageStore, until_ms: i64) -> bool {
        let max = store.max_offset_in_queue(TIMER_TOPIC, 0).0;
        let state = self.lock();
        let first_ms = state.waiting.first_ms();
        !self.enabled
            || state.waiting.next_unread() >= max && first_ms.is_none_or(|first_ms| first_ms > until_ms)
    }

    /// Returns when the first timers are due and where they are, at most `max`.
    pub(super) fn first(&self, max: usize) -> Vec<(i64, i64)> {
        let first = self.lock().waiting.first(max);
        first.into_iter().map(|timer| (timer.due_ms, timer.offset)).collect()
    }

    /// Counts the timers for these topics.
    pub(super) fn count(&self, wanted: impl Fn(&str) -> bool) -> usize {
        let state = self.lock();
        let counts = state.waiting.counts().iter().filter(|(topic, _)| wanted(topic));
        counts.map(|(_, (count, _))| usize::try_from(*count).unwrap_or(0)).sum()
    }

    /// Returns the checkpoint that a slave gets; `None` without timers.
    pub fn checkpoint(&self, now_ms: i64) -> Option<TimerCheckpoint> {
        let state = self.lock();
        let next_unread = state.waiting.next_unread();
        self.enabled.then(|| self.checkpoint_of(&state, next_unread, now_ms))
    }

    /// Returns the numbers of waiting timers by topic as JSON; `None` without timers.
    pub fn metrics(&self) -> Option<String> {
        let state = self.lock();
        self.enabled.then(|| metrics_of(&state))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checkpoint_of(&self, state: &State, queue_offset: i64, now_ms: i64) -> TimerCheckpoint {
        let first_ms = state.waiting.first_ms().map_or(now_ms, |first_ms| now_ms.min(first_ms - 1));
        TimerCheckpoint {
            last_read_time_ms: self.files.slot_ms(first_ms),
            last_timer_log_flush_pos: 0,
            last_timer_queue_offset: queue_offset,
            master_timer_queue_offset: queue_offset,
            data_version: state.version,
        }
    }

    /// Writes the checkpoint if something has changed since, when the broker `ends` also wheel and log; does nothing while
    /// what was delivered is not on the disk. Blocks.
    pub(super) fn save(&self, broker: &Broker, ends: bool) -> io::Result<()> {
        let state = self.lock();
        // Before everything of the time before the start is read, the files of that time are better.
        if !self.enabled || !state.waiting.is_restored() {
            return Ok(());
        }
        if state.saved == Some(state.version) && !ends {
            return Ok(());
        }
        // Wheel and log are for a broker whose clock nobody has moved.
        let now_ms = broker.clock.unskewed_ms();
        let progress = state.waiting.progress();
        let mut checkpoint = self.checkpoint_of(&state, progress.first_waiting, now_ms);
        let (version, metrics) = (state.version, metrics_of(&state));
        let waiting = (ends && !state.waiting.is_empty()).then(|| state.waiting.offsets());
        // The checkpoint on the disk names the wheel and log that are there.
        let named = state.saved.is_none();
        drop(state);
        let disk = broker.store.disk();
        if !broker.store.settle() {
            return Ok(());
        }
        if let Some(offsets) = waiting {
            if named {
                checkpoint.save(disk, &self.checkpoint_file, &progress).map_err(io::Error::other)?;
            }
            let timers: Vec<_> =
                offsets.into_iter().filter_map(|offset| waiting_timer(&broker.store, offset)).collect();
            let last = waiting_timer(&broker.store, progress.next_unread - 1);
            let last = last.filter(|last| timers.last() != Some(last));
            let end = self.files.write(disk, &timers, last, checkpoint.last_read_time_ms, now_ms)?;
            checkpoint.last_timer_log_flush_pos = end;
            checkpoint.last_timer_queue_offset = progress.next_unread;
            checkpoint.master_timer_queue_offset = progress.next_unread;
        }
        checkpoint.save(disk, &self.checkpoint_file, &progress).map_err(io::Error::other)?;
        std::fs::write(&self.metrics_file, metrics)?;
        let removed = self.lock().saved.replace(version).is_none();
        if removed && !ends {
            // They say what waited at the last stop; from now on the topic is read again.
            self.files.remove(disk)?;
        }
        Ok(())
    }
}

/// Snaps a precision to those of the reference.
fn slot_ms(precision_ms: i32) -> i64 {
    match precision_ms {
        1_000.. => 1_000,
        500.. => 500,
        200.. => 200,
        _ => 100,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metrics {
    data_version: DataVersion,
    timing_count: std::collections::BTreeMap<String, Metric>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metric {
    count: i64,
    time_stamp: i64,
}

fn metrics_of(state: &State) -> String {
    let metric = |(topic, (count, time_stamp)): (&String, &(i64, i64))| {
        (topic.clone(), Metric { count: *count, time_stamp: *time_stamp })
    };
    let timing_count = state.waiting.counts().iter().map(metric).collect();
    fastjson::to_string(&Metrics { data_version: state.version, timing_count })
}

/// Reads a waiting message for wheel and log.
fn waiting_timer(store: &MessageStore, offset: i64) -> Option<WaitingTimer> {
    let entry = *store.queue_entries(TIMER_TOPIC, 0, QueueOffset(offset), 1).first()?;
    let bytes = store.read_record(entry.physical_offset).ok()??;
    let record = MessageRecord::decode(&bytes).ok()?;
    Some(WaitingTimer {
        out_ms: record.property(TIMER_OUT_MS)?.parse().ok()?,
        physical_offset: entry.physical_offset.0,
        size: entry.size,
        topic_hash: java_string_hash(record.property(property_name::REAL_TOPIC)?),
        delete: record.property(TIMER_DEL_UNIQKEY).is_some(),
    })
}

/// Delivers what is due, for as long as the broker runs.
pub(super) async fn run(broker: Arc<Broker>) {
    let timers = &broker.timers;
    due::run(&broker.clock, &timers.wake, || timers.step(&broker)).await;
}

impl Timers {
    /// Reads what is new and delivers one batch of what is due.
    fn step(&self, broker: &Broker) -> Step {
        let mut state = self.lock();
        // Looked at under the lock: what is delivered now is still saved, and afterwards nothing is.
        if broker.is_stopping() {
            return Step::Over;
        }
        let now_ms = broker.clock.now_ms();
        // Before the look: an arrival after it wakes the task.
        self.read_all.store(true, Ordering::SeqCst);
        let restored = state.waiting.is_restored();
        let (read, more) = read(&mut state, &broker.store, now_ms);
        if read > 0 {
            if restored {
                broker.stats.timers(read as u64, 0);
            }
            changed(&mut state, broker, now_ms);
        }
        if more {
            // Nothing is delivered before everything is read: it might be cancelled.
            return Step::Busy;
        }
        let mut delivered = 0;
        while let Some(timer) = state.waiting.pop_due(now_ms) {
            match deliver(&mut state, broker, timer, now_ms) {
                Ok(()) => delivered += 1,
                Err(refusal) => {
                    tracing::warn!(remark = refusal.remark, "a timer cannot be delivered yet");
                    state.waiting.put_back(timer);
                    return Step::Refused;
                }
            }
            if delivered == BATCH_MAX {
                break;
            }
        }
        if delivered > 0 {
            changed(&mut state, broker, now_ms);
            return Step::Busy;
        }
        Step::Wait(state.waiting.first_ms())
    }
}

fn changed(state: &mut State, broker: &Broker, now_ms: i64) {
    state.version = state.version.next(now_ms);
    broker.saving.soon();
}

/// Reads new messages of the topic; returns how many, and whether there are more.
fn read(state: &mut State, store: &MessageStore, now_ms: i64) -> (usize, bool) {
    let mut count = 0;
    loop {
        let at = state.waiting.next_unread();
        let read = store.read(TIMER_TOPIC, 0, QueueOffset(at), &ReadLimits::messages(32), &|_| true, None);
        for record in read.records.iter().flat_map(|piece| MessageRecord::decode_all(piece)) {
            let Ok(record) = record else { break };
            state.waiting.take(&record, now_ms);
            count += 1;
        }
        // Past what is no longer in the log, too; back when the queue ends earlier.
        if read.next_begin_offset.0 <= at {
            state.waiting.read_until(at.min(read.max_offset.0));
            return (count, false);
        }
        state.waiting.read_until(read.next_begin_offset.0);
        if count >= READ_MAX {
            return (count, true);
        }
    }
}

/// Puts a timer's message under its own topic, unless it is cancelled or cannot be used.
fn deliver(state: &mut State, broker: &Broker, timer: Timer, now_ms: i64) -> Result<(), Refusal> {
    let at = QueueOffset(timer.offset);
    let read = broker.store.read(TIMER_TOPIC, 0, at, &ReadLimits::messages(1), &|_| true, None);
    let record = read.records.first().and_then(|bytes| MessageRecord::decode(bytes).ok());
    let Some(record) = record.filter(|record| record.queue_offset == timer.offset) else {
        tracing::warn!(queue_offset = timer.offset, "a timer's message is no longer there");
        return Ok(());
    };
    if state.waiting.is_wanted(&record) {
        put(broker, &record, now_ms)?;
        broker.stats.timers(0, 1);
    }
    state.waiting.done(&record, now_ms);
    Ok(())
}

fn put(broker: &Broker, record: &MessageRecord<'_>, now_ms: i64) -> Result<(), Refusal> {
    let physical_offset = record.physical_offset;
    let place = destination(record);
    let Some((topic, queue_id, properties)) =
        place.filter(|(topic, ..)| *topic != TRANS_HALF_TOPIC && *topic != TIMER_TOPIC)
    else {
        tracing::error!(physical_offset, "a timer does not say where it belongs; passed over");
        return Ok(());
    };
    let end = if properties.ends_with('\u{2}') { "" } else { "\u{2}" };
    let times = format!(
        "{end}TIMER_ENQUEUE_MS\u{1}{}\u{2}TIMER_DEQUEUE_MS\u{1}{now_ms}\u{2}",
        record.store_timestamp
    );
    let pieces = [properties, &*times];
    let message = NewMessage::copy_of(record, topic, queue_id, &pieces);
    let keys = broker.keys();
    let put = broker.put(&message, &keys).or_else(|refusal| match refusal.code {
        // Perhaps there is no room for the two times.
        response::MESSAGE_ILLEGAL => broker.put(&NewMessage { properties: &[properties], ..message }, &keys),
        _ => Err(refusal),
    });
    match put {
        Err(refusal) if refusal.code == response::MESSAGE_ILLEGAL => {
            tracing::error!(physical_offset, remark = refusal.remark, "a timer is passed over");
            Ok(())
        }
        put => put.map(drop),
    }
}
