//! Delay levels: a message that asks for one waits in the queue of its level and is then delivered.
//!
//! Flows in: every message with property `DELAY`, which [`hide`] puts under the schedule topic (queue = level − 1;
//! the dispatcher writes its time of delivery into the consume queue as tag code). Flows out: a copy under its own
//! topic and queue, with the stored properties as they are: `DELAY`, `REAL_TOPIC` and `REAL_QID` stay visible, as
//! they do on the reference. A queue is in the order of its times of delivery, so only its head is waited for.
//!
//! One task serves all levels and always delivers what is due first, so that a clock that travels past several
//! times delivers in their order. It sleeps until the earliest head is due and wakes when a message comes into a
//! level that was empty. Progress is `config/delayOffset.json`: the next queue offset by level. It is written soon
//! after a delivery, not with it: a crash delivers again what came in between, and nothing is lost.
//!
//! Mirrors `ScheduleMessageService` and `HookUtils.transformDelayLevelMessage`. Not mirrored: a task per level
//! that looks ten times a second, and asynchronous delivery.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::due::{self, Step};
use super::inner::InnerMessage;
use super::name::{SCHEDULE_TOPIC, TRANS_HALF_TOPIC};
use super::persist::{self, PersistError};
use super::send::illegal;
use super::{Broker, name};
use crate::remoting::Refusal;
use crate::store::{Arrival, MessageStore, NewMessage, QueueOffset, ReadLimits};
use crate::wire::body::data_version::DataVersion;
use crate::wire::body::offset::DelayOffsetSerializeWrapper;
use crate::wire::code::response;
use crate::wire::message::{MessageRecord, property_name};

#[cfg(test)]
mod tests;

/// Messages that are delivered in one go, before others may run.
const BATCH_MAX: usize = 128;

/// Puts a message with a delay level where it waits; a level above the highest counts as the highest.
///
/// Refuses a level that is no number. Level 0 and below mean no delay.
pub(super) fn hide(broker: &Broker, message: &mut InnerMessage) -> Result<(), Refusal> {
    let Some(text) = message.property(property_name::DELAY) else { return Ok(()) };
    let asked = level(text)?;
    if asked <= 0 {
        return Ok(());
    }
    let level = asked.min(broker.schedule.level_max());
    if level < asked {
        message.set_property(property_name::DELAY, &level.to_string());
    }
    message.hide(SCHEDULE_TOPIC, level - 1);
    Ok(())
}

/// Says whether a message waits by its level, so that timer properties do not count.
pub(super) fn has_level(message: &InnerMessage) -> bool {
    message.property(property_name::DELAY).and_then(|text| level(text).ok()).is_some_and(|level| level > 0)
}

fn level(text: &str) -> Result<i32, Refusal> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(40).collect();
        illegal(&format!("property DELAY is \"{shown}\", and a delay level is a whole number from 1"))
    })
}

/// The delay levels of one broker and how far each is delivered.
///
/// Lock order: `progress` is held while a batch is put, so that a saved progress never lacks a delivery of the
/// broker's own last moments; whatever the store calls meanwhile (arrivals) takes no lock of this type.
pub struct Schedule {
    path: PathBuf,
    /// Delay of each level in milliseconds; level 1 is the first.
    delays_ms: Vec<i64>,
    progress: Mutex<Progress>,
    /// By level: whether the task found its queue empty, and so must hear of an arrival.
    empty: Vec<AtomicBool>,
    wake: Notify,
}

#[derive(Default)]
struct Progress {
    /// Next queue offset by level, from 1; only levels that were used.
    offsets: BTreeMap<i32, i64>,
    version: DataVersion,
    /// Version that the file has.
    saved: DataVersion,
}

impl Schedule {
    /// Reads the progress from this file, `config/delayOffset.json`, and puts it within the store's queues.
    pub fn load(path: PathBuf, delays_ms: &[u64], store: &MessageStore) -> Result<Self, PersistError> {
        let saved: DelayOffsetSerializeWrapper = persist::load(&path)?.unwrap_or_default();
        let mut offsets = saved.offset_table;
        offsets.retain(|&level, _| level > 0);
        for (level, offset) in &mut offsets {
            let min = store.min_offset_in_queue(SCHEDULE_TOPIC, level - 1).0;
            let max = store.max_offset_in_queue(SCHEDULE_TOPIC, level - 1).0.max(min);
            if !(min..=max).contains(offset) {
                let within = (*offset).clamp(min, max);
                tracing::warn!(level, offset, within, "progress of a delay level was outside its queue");
                *offset = within;
            }
        }
        Ok(Self {
            path,
            empty: delays_ms.iter().map(|_| AtomicBool::new(false)).collect(),
            delays_ms: delays_ms.iter().map(|&delay| i64::try_from(delay).unwrap_or(i64::MAX)).collect(),
            progress: Mutex::new(Progress {
                offsets,
                version: saved.data_version,
                saved: saved.data_version,
            }),
            wake: Notify::new(),
        })
    }

    /// Returns the highest level; 0 when there is none.
    pub fn level_max(&self) -> i32 {
        self.delays_ms.len() as i32
    }

    /// Hears of arrivals: a message in a level that was empty changes what is waited for.
    #[inline]
    pub fn arrived(&self, arrivals: &[Arrival]) {
        for arrival in arrivals {
            if *arrival.topic == *SCHEDULE_TOPIC
                && let Some(empty) = self.empty.get(arrival.queue_id as usize)
                && empty.swap(false, Ordering::SeqCst)
            {
                self.wake.notify_one();
            }
        }
    }

    /// Returns of each level in which messages wait the level, the first of them and the end of its queue.
    pub(super) fn waiting(&self, store: &MessageStore) -> Vec<(i32, i64, i64)> {
        let offsets = self.lock().offsets.clone();
        let waiting = (1..=self.level_max()).map(|level| {
            let min = store.min_offset_in_queue(SCHEDULE_TOPIC, level - 1).0;
            let end = store.max_offset_in_queue(SCHEDULE_TOPIC, level - 1).0;
            (level, offsets.get(&level).copied().unwrap_or(0).max(min), end)
        });
        waiting.filter(|(_, from, end)| from < end).collect()
    }

    /// Returns what goes into the file and to a slave.
    pub fn snapshot(&self) -> DelayOffsetSerializeWrapper {
        let progress = self.lock();
        DelayOffsetSerializeWrapper { data_version: progress.version, offset_table: progress.offsets.clone() }
    }

    /// Takes a master's progress, which the file has already: a slave delivers nothing itself.
    pub(super) fn take_over(&self, table: DelayOffsetSerializeWrapper) {
        let DelayOffsetSerializeWrapper { data_version, offset_table } = table;
        *self.lock() = Progress { offsets: offset_table, version: data_version, saved: data_version };
    }

    /// Writes the file if something was delivered since, and that is on the disk; says whether it did. Blocks.
    pub fn save(&self, store: &MessageStore) -> Result<bool, PersistError> {
        let snapshot = self.snapshot();
        if self.lock().saved == snapshot.data_version || !store.settle() {
            return Ok(false);
        }
        persist::save(&self.path, &snapshot)?;
        self.lock().saved = snapshot.data_version;
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Delivers what is due, for as long as the broker runs.
pub(super) async fn run(broker: Arc<Broker>) {
    let schedule = &broker.schedule;
    let mut heads = vec![None; schedule.delays_ms.len()];
    due::run(&broker.clock, &schedule.wake, || schedule.step(&broker, &mut heads)).await;
}

impl Schedule {
    /// Delivers one batch of the level whose head is due first. `heads` has each level's head, where known.
    fn step(&self, broker: &Broker, heads: &mut [Option<i64>]) -> Step {
        let mut progress = self.lock();
        // Looked at under the lock: what is delivered now is still saved, and afterwards nothing is.
        if broker.is_stopping() {
            return Step::Over;
        }
        let now_ms = broker.clock.now_ms();
        for (index, head) in heads.iter_mut().enumerate() {
            if head.is_none() && !self.empty[index].load(Ordering::SeqCst) {
                *head = self.head(broker, &mut progress, index, now_ms);
            }
        }
        let by_time = |heads: &[Option<i64>]| {
            let known = heads.iter().enumerate().filter_map(|(index, head)| Some(((*head)?, index)));
            known.min()
        };
        let Some((due_ms, index)) = by_time(heads) else { return Step::Wait(None) };
        if due_ms > now_ms {
            return Step::Wait(Some(due_ms));
        }
        heads[index] = None;
        // Up to where this level is first.
        let until_ms = by_time(heads).map_or(now_ms, |(next_ms, _)| next_ms.clamp(due_ms, now_ms));
        let version = progress.version;
        let level = index as i32 + 1;
        let offset = progress.offsets.entry(level).or_default();
        let before = *offset;
        let delivered = self.deliver(broker, index, offset, now_ms, until_ms);
        if *offset != before {
            progress.version = version.next(now_ms);
            broker.saving.soon();
        }
        if delivered { Step::Busy } else { Step::Refused }
    }

    /// Finds the head of a level: when it is due. Puts a progress that left the queue back into it.
    fn head(&self, broker: &Broker, progress: &mut Progress, index: usize, now_ms: i64) -> Option<i64> {
        let (level, queue_id) = (index as i32 + 1, index as i32);
        // Before the look: an arrival after it wakes the task.
        self.empty[index].store(true, Ordering::SeqCst);
        let offset = progress.offsets.get(&level).copied().unwrap_or(0);
        let max = broker.store.max_offset_in_queue(SCHEDULE_TOPIC, queue_id).0;
        if offset > max {
            tracing::warn!(level, offset, max, "progress of a delay level was behind the end of its queue");
            progress.offsets.insert(level, max);
        }
        let entry = broker.store.queue_entries(SCHEDULE_TOPIC, queue_id, QueueOffset(offset.min(max)), 1);
        let entry = entry.first()?;
        self.empty[index].store(false, Ordering::SeqCst);
        Some(self.due(index, entry.tags_code, now_ms))
    }

    /// Returns when an entry is due. Later than the level's delay from now can only be one stored when the level
    /// stood for more (`correctDeliverTimestamp`); it is due now.
    fn due(&self, index: usize, tags_code: i64, now_ms: i64) -> i64 {
        if tags_code > now_ms.saturating_add(self.delays_ms[index]) { now_ms } else { tags_code }
    }

    /// Delivers a batch of one level, what is due until `until_ms`, and moves its offset on; says whether the store
    /// took everything.
    fn deliver(&self, broker: &Broker, index: usize, offset: &mut i64, now_ms: i64, until_ms: i64) -> bool {
        let queue_id = index as i32;
        let from = (*offset).max(broker.store.min_offset_in_queue(SCHEDULE_TOPIC, queue_id).0);
        let entries = broker.store.queue_entries(SCHEDULE_TOPIC, queue_id, QueueOffset(from), BATCH_MAX);
        let due =
            entries.iter().take_while(|entry| self.due(index, entry.tags_code, now_ms) <= until_ms).count();
        if due == 0 {
            return true;
        }
        let until = from + due as i64;
        while *offset < until {
            let at = (*offset).max(from);
            let limits = ReadLimits::messages((until - at) as usize);
            let read = broker.store.read(SCHEDULE_TOPIC, queue_id, QueueOffset(at), &limits, &|_| true, None);
            for record in read.records.iter().flat_map(|piece| MessageRecord::decode_all(piece)) {
                let Ok(record) = record else {
                    tracing::error!(level = index + 1, "a delayed message cannot be read; passed over");
                    break;
                };
                match deliver_one(broker, &record) {
                    Ok(()) => {}
                    Err(refusal) if refusal.code == response::MESSAGE_ILLEGAL => {
                        let physical_offset = record.physical_offset;
                        let remark = refusal.remark;
                        tracing::error!(physical_offset, remark, "a delayed message is passed over");
                    }
                    Err(refusal) => {
                        tracing::warn!(remark = refusal.remark, "a delayed message cannot be delivered yet");
                        *offset = record.queue_offset;
                        return false;
                    }
                }
            }
            // Past what is no longer in the log, too.
            if read.next_begin_offset.0 <= *offset {
                return false;
            }
            *offset = read.next_begin_offset.0;
        }
        true
    }
}

/// Puts a message whose time has come under its own topic. One that has none is reported and passed over.
fn deliver_one(broker: &Broker, record: &MessageRecord<'_>) -> Result<(), Refusal> {
    let Some((topic, queue_id, properties)) = destination(record) else {
        tracing::error!(
            physical_offset = record.physical_offset,
            "a delayed message does not say where it belongs; passed over"
        );
        return Ok(());
    };
    if topic == TRANS_HALF_TOPIC {
        tracing::error!(physical_offset = record.physical_offset, "a half message was delayed; passed over");
        return Ok(());
    }
    let properties = [properties];
    let message = NewMessage::copy_of(record, topic, queue_id, &properties);
    broker.put(&message, &broker.keys()).map(drop)
}

/// Returns the topic and queue that a hidden message is meant for, and its properties.
pub(super) fn destination<'a>(record: &MessageRecord<'a>) -> Option<(&'a str, i32, &'a str)> {
    let topic = record.property(property_name::REAL_TOPIC)?;
    name::validate_topic(topic).ok()?;
    let queue_id = record.property(property_name::REAL_QID)?.parse().ok()?;
    (queue_id >= 0).then_some((topic, queue_id, record.properties_str().ok()?))
}
