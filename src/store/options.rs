//! What can be set about the store; mirrors `MessageStoreConfig` and `StorePathConfigHelper`.
//!
//! Paths and file sizes are read once, at open; everything else is looked at anew each time it matters, so
//! [`super::MessageStore::set_options`] changes it while running.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::Error;
use super::consume_queue::UNIT_BYTES;

/// When a send is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlushDiskType {
    /// Once the message is in the page cache (ASYNC_FLUSH).
    #[default]
    Async,
    /// Once it is on the disk (SYNC_FLUSH).
    Sync,
}

/// Settings of one store. The defaults are those of Apache 5.3.3.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreOptions {
    /// `storePathRootDir`.
    pub root: PathBuf,
    /// `storePathCommitLog`.
    pub commit_log_dir: PathBuf,
    /// Directory of the consume queues.
    pub consume_queue_dir: PathBuf,
    /// Directory of the index files.
    pub index_dir: PathBuf,
    /// The checkpoint file.
    pub checkpoint_file: PathBuf,
    /// The file that marks a store in use.
    pub abort_file: PathBuf,
    /// `mappedFileSizeCommitLog`: bytes per commit-log file.
    pub commit_log_file_bytes: u64,
    /// `mappedFileSizeConsumeQueue`: bytes per consume-queue file; rounded up to a multiple of 20.
    pub consume_queue_file_bytes: u64,
    /// `maxHashSlotNum`: hash slots per index file.
    pub max_hash_slot_num: u32,
    /// `maxIndexNum`: entries per index file.
    pub max_index_num: u32,
    /// `messageIndexEnable`: whether messages can be found by key.
    pub message_index_enable: bool,
    /// `flushDiskType`.
    pub flush_disk_type: FlushDiskType,
    /// `flushIntervalCommitLog`.
    pub flush_interval_commit_log_ms: u64,
    /// `flushCommitLogLeastPages`: dirty pages of 4096 bytes below which a flush waits for the thorough one.
    pub flush_commit_log_least_pages: u32,
    /// `flushCommitLogThoroughInterval`.
    pub flush_commit_log_thorough_interval_ms: u64,
    /// `flushIntervalConsumeQueue`.
    pub flush_interval_consume_queue_ms: u64,
    /// `flushConsumeQueueLeastPages`.
    pub flush_consume_queue_least_pages: u32,
    /// `flushConsumeQueueThoroughInterval`.
    pub flush_consume_queue_thorough_interval_ms: u64,
    /// `syncFlushTimeout`: how long a send waits for the disk.
    pub sync_flush_timeout_ms: u64,
    /// Slaves that a send waits for; 0 unless SYNC_MASTER.
    pub slaves_wanted: usize,
    /// `slaveTimeout`: how long a send waits for slaves.
    pub slave_timeout_ms: u64,
    /// `maxMessageSize`: longest body in bytes; a whole record may have 64 KiB more.
    pub max_message_bytes: usize,
    /// `deleteWhen`: local hours at which old files are deleted, separated by `;`.
    pub delete_when: String,
    /// `fileReservedTime`: hours since its last write after which a file is old.
    pub file_reserved_time_hours: u64,
    /// `deleteFileBatchMax`: commit-log files that go in one round.
    pub delete_file_batch_max: usize,
    /// `diskMaxUsedSpaceRatio`: percent of the disk above which old files are deleted at any hour.
    pub disk_max_used_space_ratio: u32,
    /// `cleanFileForciblyEnable`: whether files are deleted before their time when the disk is nearly full.
    pub clean_file_forcibly_enable: bool,
    /// `cleanResourceInterval`: time between looks for old files.
    pub clean_resource_interval_ms: u64,
    /// `destroyMapedFileIntervalForcibly`; without effect here: a deleted file lives on for its readers, and is not taken
    /// from them.
    pub destroy_mapped_file_interval_forcibly_ms: u64,
    /// `redeleteHangedFileInterval`; without effect here: nothing is left of a file when its last reader lets go.
    pub redelete_hanged_file_interval_ms: u64,
    /// Free bytes on the volume below which messages are refused.
    pub disk_full_free_bytes: u64,
    /// `maxTransferBytesOnMessageInMemory`: bytes one read returns of recent messages.
    pub max_transfer_bytes_in_memory: usize,
    /// `maxTransferCountOnMessageInMemory`.
    pub max_transfer_count_in_memory: usize,
    /// `maxTransferBytesOnMessageInDisk`: bytes one read returns of old messages.
    pub max_transfer_bytes_in_disk: usize,
    /// `maxTransferCountOnMessageInDisk`.
    pub max_transfer_count_in_disk: usize,
    /// `accessMessageInMemoryMaxRatio`: percent of memory that counts as holding recent messages.
    pub access_message_in_memory_max_ratio: u32,
    /// `maxFilterMessageSize`: bytes of consume-queue entries looked at in one read.
    pub max_filter_message_bytes: usize,
    /// `checkCRCOnRecover`.
    pub check_crc_on_recover: bool,
    /// The broker's own address, for messages that come without one.
    pub store_host: SocketAddr,
    /// `messageDelayLevel` in milliseconds; level 1 is the first.
    pub message_delay_level_ms: Vec<u64>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self::at(Path::new("store"))
    }
}

impl StoreOptions {
    /// Returns the defaults with every path below `root`.
    pub fn at(root: &Path) -> Self {
        const MINUTE: u64 = 60_000;
        Self {
            root: root.to_owned(),
            commit_log_dir: root.join("commitlog"),
            consume_queue_dir: root.join("consumequeue"),
            index_dir: root.join("index"),
            checkpoint_file: root.join("checkpoint"),
            abort_file: root.join("abort"),
            commit_log_file_bytes: 1 << 30,
            consume_queue_file_bytes: 6_000_000,
            max_hash_slot_num: 5_000_000,
            max_index_num: 20_000_000,
            message_index_enable: true,
            flush_disk_type: FlushDiskType::Async,
            flush_interval_commit_log_ms: 500,
            flush_commit_log_least_pages: 4,
            flush_commit_log_thorough_interval_ms: 10_000,
            flush_interval_consume_queue_ms: 1_000,
            flush_consume_queue_least_pages: 2,
            flush_consume_queue_thorough_interval_ms: 60_000,
            sync_flush_timeout_ms: 5_000,
            slaves_wanted: 0,
            slave_timeout_ms: 3_000,
            max_message_bytes: 4 << 20,
            delete_when: "04".to_owned(),
            file_reserved_time_hours: 72,
            delete_file_batch_max: 10,
            disk_max_used_space_ratio: 75,
            clean_file_forcibly_enable: true,
            clean_resource_interval_ms: 10_000,
            destroy_mapped_file_interval_forcibly_ms: 120_000,
            redelete_hanged_file_interval_ms: 120_000,
            disk_full_free_bytes: 256 << 20,
            max_transfer_bytes_in_memory: 256 << 10,
            max_transfer_count_in_memory: 32,
            max_transfer_bytes_in_disk: 64 << 10,
            max_transfer_count_in_disk: 8,
            access_message_in_memory_max_ratio: 40,
            max_filter_message_bytes: 16_000,
            check_crc_on_recover: true,
            store_host: SocketAddr::from((Ipv4Addr::LOCALHOST, 10_911)),
            message_delay_level_ms: [
                [1_000, 5_000, 10_000, 30_000].as_slice(),
                &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 60, 120].map(|minutes| minutes * MINUTE),
            ]
            .concat(),
        }
    }

    /// Refuses sizes with which no store can work, and rounds the consume-queue file size.
    pub(crate) fn checked(mut self) -> Result<Self, Error> {
        let refuse = |key, value: u64, why| Err(Error::Option { key, value: value.to_string(), why });
        if !(4_096..=i32::MAX as u64).contains(&self.commit_log_file_bytes) {
            let why = "a commit-log file has 4096 to 2147483647 bytes";
            return refuse("mappedFileSizeCommitLog", self.commit_log_file_bytes, why);
        }
        self.consume_queue_file_bytes =
            self.consume_queue_file_bytes.max(1).next_multiple_of(UNIT_BYTES as u64);
        if self.consume_queue_file_bytes > i32::MAX as u64 {
            let why = "a consume-queue file has at most 2147483647 bytes";
            return refuse("mappedFileSizeConsumeQueue", self.consume_queue_file_bytes, why);
        }
        let index_bytes = super::index_file::file_bytes(self.max_hash_slot_num, self.max_index_num);
        if self.max_hash_slot_num == 0 || self.max_index_num < 2 || index_bytes > i32::MAX as u64 {
            let why = "an index file needs a slot and two entries, and has at most 2147483647 bytes";
            return refuse("maxIndexNum", u64::from(self.max_index_num), why);
        }
        Ok(self)
    }
}
