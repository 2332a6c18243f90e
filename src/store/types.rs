//! The store's vocabulary: offsets, what is put, what is read, what is announced.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::wire::message::MessageRecord;

/// A byte position in the commit log, counted over all its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhysicalOffset(pub i64);

/// An index in a consume queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueOffset(pub i64);

/// A message to be stored.
#[derive(Clone, Copy, Debug)]
pub struct NewMessage<'a> {
    /// Topic to store it under.
    pub topic: &'a str,
    /// Queue within the topic, not negative.
    pub queue_id: i32,
    /// The sender's own flag.
    pub flag: i32,
    /// Bits of [`crate::wire::message::sys_flag`]; the address bits are set from the hosts.
    pub sys_flag: i32,
    /// When the sender made the message, milliseconds.
    pub born_timestamp: i64,
    /// The sender's address.
    pub born_host: SocketAddr,
    /// The broker's address.
    pub store_host: SocketAddr,
    /// How often the message was consumed in vain.
    pub reconsume_times: i32,
    /// Physical offset of the half message, else 0.
    pub prepared_transaction_offset: i64,
    /// The body as it is to be stored.
    pub body: &'a [u8],
    /// Pieces of the properties string, stored one after the other as they are; each ends with its separator.
    pub properties: &'a [&'a str],
    /// Whether the receipt waits for the disk under SYNC_FLUSH (property `WAIT`).
    pub wait_store: bool,
}

impl<'a> NewMessage<'a> {
    /// Makes an ordinary message without flags and properties, made in 1970 on the broker's own machine, whose sender
    /// waits for the disk.
    pub fn plain(topic: &'a str, queue_id: i32, host: SocketAddr, body: &'a [u8]) -> Self {
        Self {
            topic,
            queue_id,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties: &[],
            wait_store: true,
        }
    }

    /// Makes a message that says the same as a stored one, for this place and with these pieces of properties. Its sender
    /// waits for nothing, and it is part of no transaction any more.
    pub fn copy_of(
        record: &MessageRecord<'a>,
        topic: &'a str,
        queue_id: i32,
        properties: &'a [&'a str],
    ) -> Self {
        Self {
            topic,
            queue_id,
            flag: record.flag,
            sys_flag: record.sys_flag,
            born_timestamp: record.born_timestamp,
            born_host: record.born_host,
            store_host: record.store_host,
            reconsume_times: record.reconsume_times,
            prepared_transaction_offset: 0,
            body: record.body,
            properties,
            wait_store: false,
        }
    }
}

/// How waiting for disk and slaves ended. The message is stored in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutStatus {
    /// As safe as was asked for (PUT_OK).
    Ok,
    /// Not yet on the disk when the time was up (FLUSH_DISK_TIMEOUT).
    FlushDiskTimeout,
    /// Not yet on as many slaves as wanted when the time was up (FLUSH_SLAVE_TIMEOUT).
    FlushSlaveTimeout,
    /// Stored here, with too few slaves to wait for (SLAVE_NOT_AVAILABLE).
    SlaveNotAvailable,
}

/// Physical offsets of the messages of one put; one message needs no allocation.
pub type PhysicalOffsets = SmallVec<[PhysicalOffset; 2]>;

/// How much one read may return.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// Number of messages, at least one.
    pub max_messages: usize,
    /// Bytes of records; the first record is returned whatever its size.
    pub max_bytes: usize,
}

impl ReadLimits {
    /// Allows `max_messages` messages of any size, within the store's own transfer limits.
    pub const fn messages(max_messages: usize) -> Self {
        Self { max_messages, max_bytes: usize::MAX }
    }
}

/// How a read ended (`GetMessageStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetMessageStatus {
    /// At least one message is returned.
    Found,
    /// Messages were there, and the filter let none through.
    NoMatchedMessage,
    /// The messages' commit-log file is gone.
    MessageWasRemoving,
    /// The offset is within the queue, but its file cannot be read.
    OffsetFoundNull,
    /// The offset is the queue's end: nothing new.
    OffsetOverflowOne,
    /// The offset is beyond the queue's end.
    OffsetOverflowBadly,
    /// The offset is before the queue's first message.
    OffsetTooSmall,
    /// The queue never had a message.
    NoMessageInQueue,
    /// There is no such queue.
    NoMatchedLogicQueue,
}

/// What a read returns.
#[derive(Clone, Debug)]
pub struct ReadOutcome {
    /// How it ended.
    pub status: GetMessageStatus,
    /// Where to read on.
    pub next_begin_offset: QueueOffset,
    /// The queue's first message.
    pub min_offset: QueueOffset,
    /// One past the queue's last message.
    pub max_offset: QueueOffset,
    /// The records in order, uncopied; neighbours in the log come as one piece. A piece keeps its file mapped.
    pub records: Vec<Bytes>,
    /// Number of messages in `records`.
    pub message_count: usize,
    /// Bytes in `records`.
    pub message_bytes: usize,
    /// Whether the reader is so far behind that a slave should serve it.
    pub suggest_pulling_from_slave: bool,
}

/// Which of several messages a search by time means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Boundary {
    /// The first message stored at or after the time; the queue's end when there is none.
    #[default]
    Lower,
    /// The last message stored at or before the time; the queue's beginning when there is none.
    Upper,
}

/// What a query by key returns.
#[derive(Clone, Debug, Default)]
pub struct QueryOutcome {
    /// The newest matching records in log order.
    pub records: Vec<Bytes>,
    /// Store timestamp of the last indexed message, milliseconds.
    pub index_last_update_timestamp: i64,
    /// Physical offset of the last indexed message.
    pub index_last_update_phyoffset: PhysicalOffset,
}

/// One entry of a consume queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueEntry {
    /// Where the record is.
    pub physical_offset: PhysicalOffset,
    /// Its length in bytes.
    pub size: i32,
    /// Hash of its tag; for the schedule topic the time of delivery.
    pub tags_code: i64,
}

/// A message has become visible in its queue.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The topic.
    pub topic: Arc<str>,
    /// The queue.
    pub queue_id: i32,
    /// The queue's new end: the message's queue offset plus one.
    pub max_offset: QueueOffset,
    /// Where the record is.
    pub physical_offset: PhysicalOffset,
    /// Hash of its tag; for the schedule topic the time of delivery.
    pub tags_code: i64,
    /// When it was stored, milliseconds.
    pub store_timestamp: i64,
}

/// Is told of arrivals, in log order, by the thread that put the message. It must not wait for anything.
pub type ArrivalListener = Arc<dyn Fn(&[Arrival]) + Send + Sync>;

/// Sums since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounters {
    /// Messages stored.
    pub put_messages: u64,
    /// Bytes of records stored.
    pub put_bytes: u64,
    /// Puts refused or failed.
    pub put_failures: u64,
    /// Messages made visible in their queues.
    pub dispatched_messages: u64,
    /// Records that dispatch could not use.
    pub dispatch_failures: u64,
    /// Reads that returned messages.
    pub reads_found: u64,
    /// Reads that returned none.
    pub reads_missed: u64,
    /// Messages returned by reads.
    pub read_messages: u64,
    /// Flushes of the commit log.
    pub flushes: u64,
}

/// Room on the volume of a directory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskSpace {
    /// Size of the volume.
    pub total_bytes: u64,
    /// What this process may still use.
    pub free_bytes: u64,
    /// Whether it is mounted to be read only.
    pub read_only: bool,
}

impl DiskSpace {
    /// Returns the used part of the volume, 0 to 1; 0 when unknown.
    pub fn used_ratio(&self) -> f64 {
        if self.total_bytes == 0 {
            return 0.0;
        }
        1.0 - self.free_bytes as f64 / self.total_bytes as f64
    }
}
