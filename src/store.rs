//! MessageStore: put, read, query, offsets in queue.

#![allow(unused_variables, clippy::needless_pass_by_value, clippy::unused_self)]

mod error;
mod options;
mod types;

/// Placeholder of the consume-queue format.
pub(crate) mod consume_queue {
    /// Bytes of one entry.
    pub(crate) const UNIT_BYTES: usize = 20;
}
/// Placeholder of the index format.
pub(crate) mod index_file {
    /// Bytes of one index file.
    pub(crate) fn file_bytes(slots: u32, entries: u32) -> u64 {
        40 + 4 * u64::from(slots) + 20 * u64::from(entries)
    }
}

use std::sync::Arc;

use bytes::Bytes;

pub use error::{Error, NotAtEnd, PutError};
pub use options::{FlushDiskType, StoreOptions};
pub use types::*;

use crate::clock::Clock;
use crate::faults::Faults;
use crate::lifecycle::Lifecycle;

/// The messages of one broker on disk.
pub struct MessageStore {
    _private: (),
}

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
}

impl Receipt {
    /// Says whether nothing is left to wait for.
    pub fn is_durable(&self) -> bool {
        unimplemented!("lands next")
    }

    /// Waits until the message is as safe as was asked for, at most the flush time-out.
    #[allow(clippy::unused_async)]
    pub async fn durable(self) -> PutStatus {
        unimplemented!("lands next")
    }
}

impl MessageStore {
    /// Opens the store, recovers it, and changes nothing if that is impossible.
    pub fn open(options: StoreOptions, clock: Clock, faults: Faults) -> Result<Arc<Self>, Error> {
        unimplemented!("lands next")
    }
    /// Marks the store as in use and starts its threads.
    pub fn start(self: &Arc<Self>, lifecycle: &Lifecycle) -> Result<(), Error> {
        unimplemented!("lands next")
    }
    /// Dispatches and flushes everything, writes the checkpoint, and removes the mark. Blocks.
    pub fn stop(&self) {
        unimplemented!("lands next")
    }
    /// Returns the options in force.
    pub fn options(&self) -> Arc<StoreOptions> {
        unimplemented!("lands next")
    }
    /// Changes what may change while running: everything but paths and file sizes.
    pub fn set_options(&self, options: StoreOptions) {
        unimplemented!("lands next")
    }
    /// Appends a message.
    pub fn put(&self, message: &NewMessage<'_>) -> Result<Receipt, PutError> {
        unimplemented!("lands next")
    }
    /// Appends messages of one topic and queue: all or none, with consecutive queue offsets.
    pub fn put_batch(&self, messages: &[NewMessage<'_>]) -> Result<Receipt, PutError> {
        unimplemented!("lands next")
    }
    /// Reads messages of a queue from `offset` on. `filter` sees the tag code, `record_filter` the whole record.
    pub fn read(
        &self,
        topic: &str,
        queue_id: i32,
        offset: QueueOffset,
        limits: &ReadLimits,
        filter: &dyn Fn(i64) -> bool,
        record_filter: Option<&dyn Fn(&[u8]) -> bool>,
    ) -> ReadOutcome {
        unimplemented!("lands next")
    }
    /// Returns the record at a physical offset, if a message really starts there and is in its queue.
    pub fn read_record(&self, offset: PhysicalOffset) -> Result<Option<Bytes>, Error> {
        unimplemented!("lands next")
    }
    /// Returns one past the last message of a queue; 0 when there is no such queue.
    pub fn max_offset_in_queue(&self, topic: &str, queue_id: i32) -> QueueOffset {
        unimplemented!("lands next")
    }
    /// Returns the first message of a queue; 0 when there is no such queue (`None` tells the two apart in [`MessageStore::has_queue`]).
    pub fn min_offset_in_queue(&self, topic: &str, queue_id: i32) -> QueueOffset {
        unimplemented!("lands next")
    }
    /// Says whether the queue ever had a message.
    pub fn has_queue(&self, topic: &str, queue_id: i32) -> bool {
        unimplemented!("lands next")
    }
    /// Finds a message by the time it was stored.
    pub fn offset_by_time(
        &self,
        topic: &str,
        queue_id: i32,
        timestamp_ms: i64,
        boundary: Boundary,
    ) -> QueueOffset {
        unimplemented!("lands next")
    }
    /// Returns when a message was stored, milliseconds.
    pub fn store_timestamp_at(&self, topic: &str, queue_id: i32, offset: QueueOffset) -> Option<i64> {
        unimplemented!("lands next")
    }
    /// Returns when the first message of a queue was stored, milliseconds.
    pub fn earliest_message_time(&self, topic: &str, queue_id: i32) -> Option<i64> {
        unimplemented!("lands next")
    }
    /// Says whether entry 0 of the queue is still there and its message recent enough to be in memory: then a
    /// new group begins at 0 (QUERY_CONSUMER_OFFSET).
    pub fn begins_in_memory(&self, topic: &str, queue_id: i32) -> bool {
        unimplemented!("lands next")
    }
    /// Returns entries of a queue, at most `count`, from `from` on.
    pub fn queue_entries(
        &self,
        topic: &str,
        queue_id: i32,
        from: QueueOffset,
        count: usize,
    ) -> Vec<QueueEntry> {
        unimplemented!("lands next")
    }
    /// Returns where the commit log begins.
    pub fn min_physical_offset(&self) -> PhysicalOffset {
        unimplemented!("lands next")
    }
    /// Returns where the commit log ends.
    pub fn max_physical_offset(&self) -> PhysicalOffset {
        unimplemented!("lands next")
    }
    /// Returns up to where the commit log is on the disk.
    pub fn flushed_offset(&self) -> PhysicalOffset {
        unimplemented!("lands next")
    }
    /// Returns how many bytes of the commit log wait for dispatch.
    pub fn dispatch_behind_bytes(&self) -> i64 {
        unimplemented!("lands next")
    }
    /// Returns when the first record of the commit log was stored, milliseconds.
    pub fn earliest_store_timestamp(&self) -> Option<i64> {
        unimplemented!("lands next")
    }
    /// Returns room on the volumes of the commit log and of the consume queues.
    pub fn disk_space(&self) -> (DiskSpace, DiskSpace) {
        unimplemented!("lands next")
    }
    /// Finds messages by a key of their topic, newest first, stored in `begin_ms..=end_ms`.
    pub fn query_message(
        &self,
        topic: &str,
        key: &str,
        max: usize,
        begin_ms: i64,
        end_ms: i64,
    ) -> QueryOutcome {
        unimplemented!("lands next")
    }
    /// Sets who is told of arrivals.
    pub fn on_arrival(&self, listener: ArrivalListener) {
        unimplemented!("lands next")
    }
    /// Removes every queue of a topic; its offsets begin at 0 again. Its records stay in the log until they are old.
    pub fn delete_topic(&self, topic: &str) -> Result<(), Error> {
        unimplemented!("lands next")
    }
    /// Returns every topic that has queues on disk, with their ids in order.
    pub fn topics_with_queues(&self) -> Vec<(Arc<str>, Vec<i32>)> {
        unimplemented!("lands next")
    }
    /// Removes queues whose messages are all gone from the log, except those for which `keep` says yes; returns how many.
    pub fn clean_expired_consume_queues(&self, keep: &dyn Fn(&str) -> bool) -> Result<usize, Error> {
        unimplemented!("lands next")
    }
    /// Deletes commit-log files whose time is over, at any hour; returns how many.
    pub fn delete_expired_files_now(&self) -> Result<usize, Error> {
        unimplemented!("lands next")
    }
    /// Says whether messages are taken.
    pub fn is_writeable(&self) -> bool {
        unimplemented!("lands next")
    }
    /// Returns why messages are refused, in words for a person.
    pub fn refusal_reason(&self) -> Option<String> {
        unimplemented!("lands next")
    }
    /// Returns sums since the store was opened.
    pub fn counters(&self) -> StoreCounters {
        unimplemented!("lands next")
    }
}
