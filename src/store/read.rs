//! Reading: messages of a queue, single records, searches by time and by key.
//!
//! Nothing is copied: a record is a slice of its mapped file and keeps it mapped. Mirrors `getMessage`,
//! `getOffsetInQueueByTime`, `queryMessage` and `selectOneMessageByOffset` of `DefaultMessageStore`. Unlike the
//! reference, a place named by a client is a message only if the queue it claims to be in says so too, and a query
//! returns no messages that merely share a hash.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::commit_log::begins_record;
use super::consume_queue::{ConsumeQueue, UNIT_BYTES, is_blank};
use super::index_file::TopicHash;
use super::mapped_file::MappedFile;
use super::mapped_queue::MappedQueue;
use super::{
    Boundary, Error, GetMessageStatus, MessageStore, PhysicalOffset, QueryOutcome, QueueEntry, QueueOffset,
    QueueSlot, ReadLimits, ReadOutcome,
};
use crate::wire::message::{MessageRecord, property_name, sys_flag};

/// Records that clients ask for at a time by default.
const BATCH_USUAL: usize = 32;

/// Says whether a whole record is wanted.
pub type RecordFilter<'a> = &'a dyn Fn(&[u8]) -> bool;

/// Gathers records as few pieces: neighbours in the log become one.
struct Gathered<'a> {
    files: &'a [Arc<MappedFile>],
    /// The file read last and its readable bytes.
    view: Option<(i64, Bytes)>,
    /// Start and end of the piece that is growing, as positions in `view`.
    piece: std::ops::Range<usize>,
    records: Vec<Bytes>,
    count: usize,
    bytes: usize,
    /// Where the last record ends in the log.
    end: i64,
}

impl<'a> Gathered<'a> {
    fn new(files: &'a [Arc<MappedFile>], records_max: usize) -> Self {
        let records = Vec::with_capacity(records_max.min(BATCH_USUAL));
        Self { files, view: None, piece: 0..0, records, count: 0, bytes: 0, end: 0 }
    }

    /// Adds the record of `entry` if it is there and wanted; `None` when it is not there.
    #[inline]
    fn add(&mut self, entry: &QueueEntry, filter: Option<RecordFilter<'_>>) -> Option<bool> {
        let at = entry.physical_offset.0;
        let size = usize::try_from(entry.size).ok()?;
        // Neighbours in a queue are in the same file nearly always.
        let known = |(offset, view): &(i64, Bytes)| at >= *offset && at - offset < view.len() as i64;
        if !self.view.as_ref().is_some_and(known) {
            let file = MappedQueue::find(self.files, at)?;
            self.finish_piece();
            self.view = Some((file.offset(), file.view()));
        }
        let (offset, view) = self.view.as_ref()?;
        let start = (at - offset) as usize;
        let bytes = view.get(start..start.checked_add(size)?)?;
        if !begins_record(bytes, size) {
            return None;
        }
        if filter.is_some_and(|filter| !filter(bytes)) {
            return Some(false);
        }
        if self.piece.end != start || self.piece.is_empty() {
            self.finish_piece();
            self.piece = start..start;
        }
        self.piece.end += size;
        self.count += 1;
        self.bytes += size;
        self.end = at + size as i64;
        Some(true)
    }

    fn finish_piece(&mut self) {
        if let Some((_, view)) = &self.view
            && !self.piece.is_empty()
        {
            self.records.push(view.slice(self.piece.clone()));
        }
        self.piece = 0..0;
    }
}

impl MessageStore {
    /// Reads messages of a queue from `offset` on. `filter` sees each entry's tag code; `record_filter` then sees the
    /// whole record. Never waits for messages; may wait for the disk when they are old.
    pub fn read(
        &self,
        topic: &str,
        queue_id: i32,
        offset: QueueOffset,
        limits: &ReadLimits,
        filter: &dyn Fn(i64) -> bool,
        record_filter: Option<RecordFilter<'_>>,
    ) -> ReadOutcome {
        let queue = match self.queues.get(topic, queue_id) {
            Ok(Some(queue)) => queue,
            Ok(None) => {
                self.reads.missed.fetch_add(1, Ordering::Relaxed);
                return nothing(GetMessageStatus::NoMatchedLogicQueue, 0, 0, 0);
            }
            Err(error) => {
                tracing::error!(%error, topic, queue_id, "queue cannot be read");
                return nothing(GetMessageStatus::OffsetFoundNull, offset.0, 0, 0);
            }
        };
        self.read_queue(&queue, offset, limits, filter, record_filter)
    }

    /// Does the same where `slot` is always that of this topic and queue id.
    #[allow(clippy::too_many_arguments, reason = "those of `read` and the slot")]
    pub fn read_in(
        &self,
        slot: &QueueSlot,
        topic: &str,
        queue_id: i32,
        offset: QueueOffset,
        limits: &ReadLimits,
        filter: &dyn Fn(i64) -> bool,
        record_filter: Option<RecordFilter<'_>>,
    ) -> ReadOutcome {
        match slot.get() {
            Some(queue) => self.read_queue(queue, offset, limits, filter, record_filter),
            None => self.read(topic, queue_id, offset, limits, filter, record_filter),
        }
    }

    #[inline]
    fn read_queue(
        &self,
        queue: &ConsumeQueue,
        offset: QueueOffset,
        limits: &ReadLimits,
        filter: &dyn Fn(i64) -> bool,
        record_filter: Option<RecordFilter<'_>>,
    ) -> ReadOutcome {
        let (min, max) = (queue.min(), queue.max());
        let status_next = match offset.0 {
            _ if max == 0 => Some((GetMessageStatus::NoMessageInQueue, 0)),
            at if at < min => Some((GetMessageStatus::OffsetTooSmall, min)),
            at if at == max => Some((GetMessageStatus::OffsetOverflowOne, at)),
            at if at > max => Some((GetMessageStatus::OffsetOverflowBadly, max)),
            _ => None,
        };
        if let Some((status, next)) = status_next {
            self.reads.missed.fetch_add(1, Ordering::Relaxed);
            return nothing(status, next, min, max);
        }
        let files = self.log.files().files();
        let mut gathered = Gathered::new(&files, limits.max_messages);
        let (status, next) = self.gather(queue, offset.0, max, limits, filter, record_filter, &mut gathered);
        gathered.finish_piece();
        let found = status == GetMessageStatus::Found;
        let counter = if found { &self.reads.found } else { &self.reads.missed };
        counter.fetch_add(1, Ordering::Relaxed);
        if found {
            self.reads.messages.fetch_add(gathered.count as u64, Ordering::Relaxed);
        }
        let behind = if found { self.log.written() - gathered.end } else { 0 };
        ReadOutcome {
            status,
            next_begin_offset: QueueOffset(next),
            min_offset: QueueOffset(min),
            max_offset: QueueOffset(max),
            message_count: gathered.count,
            message_bytes: gathered.bytes,
            records: gathered.records,
            suggest_pulling_from_slave: behind > self.memory_for_messages(),
        }
    }

    #[allow(clippy::too_many_arguments)]
    #[inline]
    fn gather(
        &self,
        queue: &ConsumeQueue,
        from: i64,
        max: i64,
        limits: &ReadLimits,
        filter: &dyn Fn(i64) -> bool,
        record_filter: Option<RecordFilter<'_>>,
        gathered: &mut Gathered<'_>,
    ) -> (GetMessageStatus, i64) {
        let options = self.options.load();
        let scan = (options.max_filter_message_bytes / UNIT_BYTES).max(limits.max_messages);
        let scan_end = max.min(from.saturating_add(i64::try_from(scan).unwrap_or(i64::MAX)));
        let (log_min, log_max) = (self.log.min(), self.log.written());
        let memory = self.memory_for_messages();
        let mut status = GetMessageStatus::NoMatchedMessage;
        let mut next = from;
        while next < scan_end {
            let units = match queue.units(self.queues.space(), next, (scan_end - next) as usize, true) {
                Ok(Some(units)) => units,
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(%error, topic = %queue.topic, queue_id = queue.queue_id, "queue cannot be read");
                    if gathered.count > 0 {
                        break;
                    }
                    if error.is_missing_file() {
                        let per_file = (self.queues.space().file_bytes / UNIT_BYTES as u64) as i64;
                        next = (next / per_file + 1) * per_file;
                    }
                    // A client goes on where it is told: past a file only if that is gone, because what cannot be read now,
                    // for want of descriptors or memory, can be in a moment.
                    return (GetMessageStatus::OffsetFoundNull, next);
                }
            };
            for entry in units.iter() {
                let at = entry.physical_offset.0;
                if at < log_min || is_blank(&entry) {
                    status = GetMessageStatus::MessageWasRemoving;
                } else if filter(entry.tags_code) {
                    let (bytes, count) = if log_max - at <= memory {
                        (options.max_transfer_bytes_in_memory, options.max_transfer_count_in_memory)
                    } else {
                        (options.max_transfer_bytes_in_disk, options.max_transfer_count_in_disk)
                    };
                    let is_full = gathered.count >= limits.max_messages.min(count)
                        || gathered.bytes + entry.size as usize > limits.max_bytes.min(bytes);
                    if gathered.count > 0 && is_full {
                        return (GetMessageStatus::Found, next);
                    }
                    if gathered.add(&entry, record_filter).is_none() {
                        status = GetMessageStatus::MessageWasRemoving;
                    }
                }
                next += 1;
            }
        }
        if gathered.count > 0 {
            status = GetMessageStatus::Found;
        }
        (status, next)
    }

    /// Returns how far from the log's end a message still counts as being in memory, bytes.
    fn memory_for_messages(&self) -> i64 {
        let ratio = self.options.load().access_message_in_memory_max_ratio.min(100);
        (self.memory_bytes / 100 * u64::from(ratio)) as i64
    }

    /// Returns the record at a physical offset, if a whole record is there and the entry of the queue that it names
    /// points back to it. A record planted in a message's body therefore is none, nor is one of a transaction kind
    /// that no queue holds (5.x brokers write none).
    pub fn read_record(&self, offset: PhysicalOffset) -> Result<Option<Bytes>, Error> {
        let found = self.find_record(offset.0)?;
        if found.is_some() || offset.0 < self.dispatched.load(Ordering::Relaxed) {
            return Ok(found);
        }
        // It may have been put this moment by a thread that has not dispatched it yet.
        self.dispatch_and_wait();
        self.find_record(offset.0)
    }

    fn find_record(&self, at: i64) -> Result<Option<Bytes>, Error> {
        let size = self.log.at(at, |bytes| -> Result<Option<usize>, Error> {
            let Ok(record) = MessageRecord::decode(bytes) else { return Ok(None) };
            if record.physical_offset != at || !sys_flag::is_queued(record.sys_flag) {
                return Ok(None);
            }
            let Some(queue) = self.queues.get(record.topic, record.queue_id)? else { return Ok(None) };
            if record.queue_offset < queue.min() {
                return Ok(None);
            }
            let entry = queue.unit(self.queues.space(), record.queue_offset)?;
            let same =
                entry.is_some_and(|entry| entry.physical_offset.0 == at && entry.size == record.total_size);
            Ok(same.then_some(record.total_size as usize))
        });
        Ok(size.transpose()?.flatten().and_then(|size| self.log.record(at, size)))
    }

    /// Returns a queue; one that cannot be read is reported in the log and treated as absent.
    fn queue(&self, topic: &str, queue_id: i32) -> Option<Arc<ConsumeQueue>> {
        self.queues.get(topic, queue_id).unwrap_or_else(|error| {
            tracing::error!(%error, topic, queue_id, "queue cannot be read");
            None
        })
    }

    fn entry(&self, queue: &ConsumeQueue, index: i64) -> Option<QueueEntry> {
        queue.unit(self.queues.space(), index).ok().flatten().filter(|entry| !is_blank(entry))
    }

    /// Says whether the queue ever had a message.
    pub fn has_queue(&self, topic: &str, queue_id: i32) -> bool {
        self.queue(topic, queue_id).is_some_and(|queue| queue.max() > 0)
    }

    /// Returns one past the last message of a queue; 0 when there is no such queue.
    pub fn max_offset_in_queue(&self, topic: &str, queue_id: i32) -> QueueOffset {
        QueueOffset(self.queue(topic, queue_id).map_or(0, |queue| queue.max()))
    }

    /// Returns the first message of a queue that is still there; 0 when there is no such queue.
    pub fn min_offset_in_queue(&self, topic: &str, queue_id: i32) -> QueueOffset {
        QueueOffset(self.queue(topic, queue_id).map_or(0, |queue| queue.min()))
    }

    /// Finds a message by the time it was stored; within the queue's bounds, 0 when there is no such queue.
    pub fn offset_by_time(
        &self,
        topic: &str,
        queue_id: i32,
        timestamp_ms: i64,
        boundary: Boundary,
    ) -> QueueOffset {
        let Some(queue) = self.queue(topic, queue_id) else { return QueueOffset(0) };
        let (min, max) = (queue.min(), queue.max());
        let first_from = |timestamp_ms: i64| {
            let found = queue.partition(self.queues.space(), (min, max), |entry| {
                self.log.store_timestamp(entry.physical_offset.0).is_some_and(|stored| stored >= timestamp_ms)
            });
            found.unwrap_or(min)
        };
        QueueOffset(match boundary {
            Boundary::Lower => first_from(timestamp_ms),
            Boundary::Upper => (first_from(timestamp_ms.saturating_add(1)) - 1).max(min),
        })
    }

    /// Returns when a message was stored, milliseconds.
    pub fn store_timestamp_at(&self, topic: &str, queue_id: i32, offset: QueueOffset) -> Option<i64> {
        let queue = self.queue(topic, queue_id)?;
        let entry = self.entry(&queue, offset.0)?;
        self.log.store_timestamp(entry.physical_offset.0)
    }

    /// Returns when the first message of a queue that is still there was stored, milliseconds.
    pub fn earliest_message_time(&self, topic: &str, queue_id: i32) -> Option<i64> {
        let queue = self.queue(topic, queue_id)?;
        let entry = self.entry(&queue, queue.min())?;
        self.log.store_timestamp(entry.physical_offset.0)
    }

    /// Says whether the queue still begins at 0 with a message recent enough to be in memory; then a new group begins
    /// there whatever it asked for (QUERY_CONSUMER_OFFSET).
    pub fn begins_in_memory(&self, topic: &str, queue_id: i32) -> bool {
        let entry = self
            .queue(topic, queue_id)
            .filter(|queue| queue.min() <= 0)
            .and_then(|queue| self.entry(&queue, 0));
        entry.is_some_and(|entry| {
            let at = entry.physical_offset.0;
            at >= self.log.min() && self.log.written() - at <= self.memory_for_messages()
        })
    }

    /// Returns entries of a queue from `from` on, at most `count`.
    pub fn queue_entries(
        &self,
        topic: &str,
        queue_id: i32,
        from: QueueOffset,
        count: usize,
    ) -> Vec<QueueEntry> {
        let mut entries = Vec::new();
        let Some(queue) = self.queue(topic, queue_id) else { return entries };
        let from = from.0.max(queue.min());
        while entries.len() < count {
            let at = from + entries.len() as i64;
            let Ok(Some(units)) = queue.units(self.queues.space(), at, count - entries.len(), false) else {
                break;
            };
            entries.extend(units.iter());
        }
        entries
    }

    /// Finds messages by a key of their topic: the newest `max` of those stored in `begin_ms..=end_ms`, in log order.
    pub fn query_message(
        &self,
        topic: &str,
        key: &str,
        max: usize,
        begin_ms: i64,
        end_ms: i64,
    ) -> QueryOutcome {
        let (timestamp, physical) = self.index.last_update();
        let mut outcome = QueryOutcome {
            index_last_update_timestamp: timestamp,
            index_last_update_phyoffset: physical,
            ..QueryOutcome::default()
        };
        let hash = TopicHash::new(topic).key(key);
        // Twice as many, because some may only share the hash.
        for at in self.index.query(hash, max.saturating_mul(2), begin_ms, end_ms) {
            let wanted = self.log.at(at, |bytes| {
                let record = MessageRecord::decode(bytes).ok()?;
                let matches = record.topic == topic
                    && (begin_ms..=end_ms).contains(&record.store_timestamp)
                    && has_key(&record, key);
                matches.then_some(record.total_size as usize)
            });
            if let Some(record) = wanted.flatten().and_then(|size| self.log.record(at, size)) {
                outcome.records.push(record);
            }
            if outcome.records.len() >= max {
                break;
            }
        }
        outcome.records.reverse();
        outcome
    }
}

fn has_key(record: &MessageRecord<'_>, key: &str) -> bool {
    record.property(property_name::UNIQ_KEY) == Some(key)
        || record.property(property_name::KEYS).is_some_and(|keys| keys.split(' ').any(|one| one == key))
}

fn nothing(status: GetMessageStatus, next: i64, min: i64, max: i64) -> ReadOutcome {
    ReadOutcome {
        status,
        next_begin_offset: QueueOffset(next),
        min_offset: QueueOffset(min),
        max_offset: QueueOffset(max),
        records: Vec::new(),
        message_count: 0,
        message_bytes: 0,
        suggest_pulling_from_slave: false,
    }
}
