//! Putting messages: checks before the put lock, offsets and copying under it, dispatch after it.

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::watch;

use super::consume_queue::ConsumeQueue;
use super::replica::SlaveWait;
use super::{
    FlushDiskType, MessageStore, NewMessage, PhysicalOffset, PhysicalOffsets, PutError, PutStatus,
    QueueOffset,
};
use crate::faults::FaultPoint;
use crate::wire::message::{NewRecord, RecordError, body_crc, sys_flag};

/// Bytes that a record may have beyond the longest body.
const RECORD_OVERHEAD_BYTES_MAX: usize = 64 << 10;
/// How much later than a put's own reading of the clock that of a put before it can be, milliseconds.
const RACE_MS_MAX: i64 = 1_000;
/// Longest topic, in bytes, that is not a group's own.
const TOPIC_BYTES_MAX: usize = 127;

/// Proof that a put took place, and the means to wait for the disk.
#[derive(Debug)]
pub struct Receipt {
    /// Where the (first) record is.
    pub physical_offset: PhysicalOffset,
    /// Where every record of the put is, in order.
    pub physical_offsets: PhysicalOffsets,
    /// Bytes of all records.
    pub size: usize,
    /// Queue offset of the (first) message.
    pub queue_offset: QueueOffset,
    /// When it was stored, milliseconds.
    pub store_timestamp: i64,
    /// Number of messages.
    pub msg_num: usize,
    wait: Wait,
    slaves: SlaveWait,
}

#[derive(Debug)]
enum Wait {
    None,
    /// An ordered fault: reported as not flushed.
    Failed,
    Flush {
        flushed: watch::Receiver<i64>,
        until: i64,
        timeout: Duration,
    },
}

impl Receipt {
    /// Says whether the message is as safe as was asked for already: then [`Receipt::durable`] answers at once.
    pub fn is_durable(&self) -> bool {
        let flushed = match &self.wait {
            Wait::None => true,
            Wait::Failed => false,
            Wait::Flush { flushed, until, .. } => *flushed.borrow() >= *until,
        };
        flushed && self.slaves.is_safe()
    }

    /// Waits until the message is as safe as was asked for: on the disk, at most the flush time-out, and on as many
    /// slaves as are wanted, at most theirs. Ready at once for messages that do not wait. Trouble with the disk is
    /// told before trouble with slaves.
    pub async fn durable(self) -> PutStatus {
        let (flushed, copied) = tokio::join!(self.wait.over(), self.slaves.over());
        if flushed == PutStatus::Ok { copied } else { flushed }
    }
}

impl Wait {
    async fn over(self) -> PutStatus {
        match self {
            Wait::None => PutStatus::Ok,
            Wait::Failed => PutStatus::FlushDiskTimeout,
            Wait::Flush { mut flushed, until, timeout } => {
                let reached = flushed.wait_for(|&at| at >= until || at == super::flush::FAILED);
                match tokio::time::timeout(timeout, reached).await {
                    Ok(Ok(at)) if *at >= until => PutStatus::Ok,
                    _ => PutStatus::FlushDiskTimeout,
                }
            }
        }
    }
}

/// A queue that somebody puts to or reads again and again, so that it need not be looked up by name each time.
#[derive(Debug, Default)]
pub struct QueueSlot(OnceLock<Arc<ConsumeQueue>>);

impl QueueSlot {
    /// Returns the queue, if somebody has put to it and it was not deleted since.
    #[inline]
    pub(crate) fn get(&self) -> Option<&Arc<ConsumeQueue>> {
        self.0.get().filter(|queue| !queue.is_dead())
    }
}

/// What is worked out about a message before the put lock.
struct Checked {
    body_crc: i32,
    total: usize,
}

impl MessageStore {
    /// Appends a message and makes it visible. Blocks only for the put lock and when a new file is due.
    pub fn put(&self, message: &NewMessage<'_>) -> Result<Receipt, PutError> {
        self.append(std::slice::from_ref(message), None)
    }

    /// Does the same for a message whose topic and queue id are always those of `slot`.
    pub fn put_in(&self, slot: &QueueSlot, message: &NewMessage<'_>) -> Result<Receipt, PutError> {
        self.append(std::slice::from_ref(message), Some(slot))
    }

    /// Appends messages of one topic and queue: all or none, in one file, with consecutive queue offsets.
    pub fn put_batch(&self, messages: &[NewMessage<'_>]) -> Result<Receipt, PutError> {
        self.append(messages, None)
    }

    fn append(&self, messages: &[NewMessage<'_>], slot: Option<&QueueSlot>) -> Result<Receipt, PutError> {
        let appended = self.check(messages).and_then(|checked| self.append_checked(messages, &checked, slot));
        match &appended {
            Ok((_, queue)) => {
                self.dispatch_put(Some(queue));
                self.replicas.wake();
                self.threads.wake_if_asleep();
                if self.log.wants_room() {
                    self.threads.make_room();
                }
            }
            Err(error) => {
                // The end of the last file, before a new one is made.
                if let PutError::CreateMappedFile(error) = error
                    && error.is_failed_flush()
                {
                    self.poison(error);
                }
                self.put_failures.fetch_add(1, Ordering::Relaxed);
            }
        }
        appended.map(|(receipt, _)| receipt)
    }

    fn check_writeable(&self) -> Result<(), PutError> {
        if self.is_writeable() {
            return Ok(());
        }
        Err(PutError::NotWriteable { reason: self.refusal_reason().unwrap_or_default() })
    }

    fn check(&self, messages: &[NewMessage<'_>]) -> Result<SmallVec<[Checked; 2]>, PutError> {
        self.check_writeable()?;
        let Some(first) = messages.first() else { return Err(PutError::Illegal { what: "an empty batch" }) };
        if self.faults.strikes(FaultPoint::BeforeAppend, first.topic) {
            return Err(PutError::NotWriteable { reason: "a fault was ordered: BeforeAppend".to_owned() });
        }
        if first.topic.len() > TOPIC_BYTES_MAX && !first.topic.starts_with(['%']) {
            let (bytes, limit) = (first.topic.len(), TOPIC_BYTES_MAX);
            return Err(PutError::TooLong { field: "topic", bytes, limit });
        }
        if first.queue_id < 0 {
            return Err(PutError::Illegal { what: "a negative queue id" });
        }
        let body_max = self.options.load().max_message_bytes;
        let records_max = body_max + RECORD_OVERHEAD_BYTES_MAX;
        let (mut bodies, mut records) = (0, 0);
        let mut checked = SmallVec::with_capacity(messages.len());
        for message in messages {
            if message.topic != first.topic || message.queue_id != first.queue_id {
                return Err(PutError::Illegal { what: "a batch over several queues" });
            }
            bodies += message.body.len();
            if bodies > body_max {
                return Err(PutError::TooLong { field: "body", bytes: bodies, limit: body_max });
            }
            let body_crc = body_crc(message.body);
            let total = record(message, body_crc).encoded_len().map_err(|error| match error {
                RecordError::TooLong { field, bytes, limit } => PutError::TooLong { field, bytes, limit },
                _ => PutError::Illegal { what: "a field that no record can hold" },
            })?;
            // Together, because properties of a batch count once in its request and once in each record.
            records += total;
            if records > records_max {
                return Err(PutError::TooLong { field: "message", bytes: records, limit: records_max });
            }
            checked.push(Checked { body_crc, total });
        }
        Ok(checked)
    }

    fn append_checked<'a>(
        &self,
        messages: &[NewMessage<'_>],
        checked: &[Checked],
        slot: Option<&'a QueueSlot>,
    ) -> Result<(Receipt, Cow<'a, Arc<ConsumeQueue>>), PutError> {
        let first = &messages[0];
        let size = checked.iter().map(|message| message.total).sum();
        let queue_of = || {
            let queue =
                self.queues.get_or_new(first.topic, first.queue_id).map_err(PutError::CreateMappedFile)?;
            queue.ok_or(PutError::Illegal { what: "the topic cannot be a directory's name" })
        };
        let queued = sys_flag::is_queued(first.sys_flag);
        let mut queue = match slot.map(|slot| (slot, slot.0.get())) {
            Some((_, Some(queue))) => Cow::Borrowed(queue),
            Some((slot, None)) => {
                let queue = queue_of()?;
                Cow::Borrowed(slot.0.get_or_init(|| queue))
            }
            None => Cow::Owned(queue_of()?),
        };
        // Read before the lock, which is held for little longer than this would take.
        let now_ms = self.clock.now_ms();
        let mut tail = self.log.lock()?;
        // A stop may have come since the check; what is written behind it would be given back.
        self.check_writeable()?;
        while queue.is_dead() {
            // It was deleted since it was looked up.
            queue = Cow::Owned(queue_of()?);
        }
        let (physical, out) = tail.reserve(&self.log, size)?;
        // Another put may have been faster between the two; but a clock that was set back is believed.
        let last_ms = self.log.last_timestamp();
        let store_timestamp = if last_ms - now_ms < RACE_MS_MAX { now_ms.max(last_ms) } else { now_ms };
        let queue_offset = if queued { queue.next.load(Ordering::Relaxed) } else { 0 };
        let mut physical_offsets = PhysicalOffsets::new();
        let (mut at, mut index) = (0, queue_offset);
        for (message, checked) in messages.iter().zip(checked) {
            let mut record = record(message, checked.body_crc);
            record.queue_offset = index;
            record.physical_offset = physical + at as i64;
            record.store_timestamp = store_timestamp;
            record.encode(checked.total, &mut out[at..]);
            physical_offsets.push(PhysicalOffset(record.physical_offset));
            at += checked.total;
            index += i64::from(queued);
        }
        if queued {
            queue.next.store(index, Ordering::Relaxed);
        }
        tail.commit(&self.log, size, messages.len(), store_timestamp);
        drop(tail);
        let receipt = Receipt {
            physical_offset: PhysicalOffset(physical),
            physical_offsets,
            size,
            queue_offset: QueueOffset(queue_offset),
            store_timestamp,
            msg_num: messages.len(),
            wait: self.wait_for(first, physical + size as i64),
            slaves: self.slave_wait(first, physical + size as i64),
        };
        Ok((receipt, queue))
    }

    fn wait_for(&self, first: &NewMessage<'_>, until: i64) -> Wait {
        if self.faults.strikes(FaultPoint::AfterAppendBeforeFlush, first.topic) {
            return Wait::Failed;
        }
        if self.flush_disk_type() == FlushDiskType::Async || !first.wait_store {
            return Wait::None;
        }
        let timeout = Duration::from_millis(self.options.load().sync_flush_timeout_ms);
        Wait::Flush { flushed: self.flushed.subscribe(), until, timeout }
    }
}

#[inline]
fn record<'a>(message: &NewMessage<'a>, body_crc: i32) -> NewRecord<'a> {
    NewRecord {
        body_crc,
        queue_id: message.queue_id,
        flag: message.flag,
        queue_offset: 0,
        physical_offset: 0,
        sys_flag: message.sys_flag,
        born_timestamp: message.born_timestamp,
        born_host: message.born_host,
        store_timestamp: 0,
        store_host: message.store_host,
        reconsume_times: message.reconsume_times,
        prepared_transaction_offset: message.prepared_transaction_offset,
        body: message.body,
        topic: message.topic,
        properties: message.properties,
    }
}
