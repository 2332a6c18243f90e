//! The broker's keys: one line per key of BrokerConfig, MessageStoreConfig, NettyServerConfig, NettyClientConfig
//! and AuthConfig of 5.3.3, with the left-overs of older and the additions of newer versions.
//!
//! A line under `fields` reads: Rust field, type, default of 5.3.3, default under fast timings, limit, Java key,
//! whether a running broker follows a change, effect, help. Under `texts` stand the keys that never have an
//! effect here: Java key, type, default, reason. They are checked, kept and reported like the others.

use super::table::key_table;
use super::value::{BrokerRole, FlushDiskType, MessageRequestMode, MetricsExporterType};
use super::{Effect, Limit};

const WORKS: Effect = Effect::Works;

/// The mark of a key that is accepted and reported only.
const fn idle(reason: &'static str) -> Effect {
    Effect::None(reason)
}

// Features that other versions of this program bring: their keys already have fields.
const KINDS: &str = "delayed messages of every kind are not available yet";
const RETRY_FILTER: &str = "a message is retried by the group that took it: it is not filtered again; Apache's filter lets everything pass there too, \
     as clients read their retry topics by tag";
const POP: &str = "check points are in memory and in the revive log, and are revived when they are due";
const REPLICATION: &str = "inSyncReplicas alone says how many copies a send waits for";
const PROXY: &str = "the gRPC endpoint is not available yet";
const ACCESS: &str = "access control is not available yet: every client may do everything";

// What works differently here, so that there is nothing to set.
const RETRY_V1: &str =
    "retries of popped messages are read in both forms of their topic, whichever is written";
const DELAYS: &str = "what was delivered is written down within half a second";
const TIMERS: &str = "timers wait in memory in the order of their times, not in slots";
const NO_SLOTS: &str = "there are no slots that could be congested: timers of one time wait in memory, and are delivered in order";
const DISK_GUARD: &str = "the disk guard goes by free bytes: writes are refused only below 256 MiB";
const UNLINK: &str =
    "a file that is still being read is deleted at once and stays readable until the reader is done";
const NOTHING_HANGS: &str = "no file hangs: its name goes at once, its bytes when the last reader lets go, at the latest when a connection that takes nothing is closed (serverChannelMaxIdleTimeSeconds)";
pub(super) const THREADS: &str = "requests share one pool of threads that follows the machine's processors";
pub(super) const QUEUES: &str = "requests do not wait in queues of their own kind";
pub(super) const NETTY: &str = "it tunes Netty, which is not used here";
const MAPPING: &str = "what is mapped, warmed and swapped is left to the operating system";
const LOCKS: &str = "it chooses between locks of the Java store";
const STATS: &str = "statistics and logs have one form here";
const METRICS: &str = "metrics are always served at /metrics of the web port";
const BITMAP: &str = "consume queues need no bit maps or extensions here";
const COLD: &str = "there is no control of cold reads";
const ROCKSDB: &str = "there is no RocksDB here: queues and configuration are files";
const ENDED: &str = "the end of a transaction is recorded at once";
const OWN_BROKER: &str = "it tunes a detail of Apache's broker that does not exist here";
const OWN_STORE: &str = "it tunes a detail of Apache's store that does not exist here";

// What this program does not set out to do.
const CONTROLLER: &str = "there is no controller mode: this is a broker for one machine";
const RAFT: &str = "automatic failover is not available, and `enableDLegerCommitLog=true` stops the start";
const ACTING: &str = "a slave never acts as master here";
const COMPACTION: &str = "compacted topics are not available";
const LMQ: &str = "light message queues (MQTT) are not available";
const CRC: &str = "properties carry no checksum of their own";
const CONTAINER: &str = "there is no broker container";
const DISCOVERY: &str = "NameServers are taken from namesrvAddr only";
const REGISTER: &str = "every registration carries all topics";
pub(super) const PLACES: &str = "there is no installation directory";
const NEWER: &str = "it is newer than RocketMQ 5.3.3";
const OLDER: &str = "RocketMQ dropped it before 5.3";

const PORT: Limit = Limit::Range(0, 65_535);
const POSITIVE: Limit = Limit::Range(1, i32::MAX as i64);
const POSITIVE_LONG: Limit = Limit::Range(1, i64::MAX);
const NATURAL: Limit = Limit::Range(0, i32::MAX as i64);
const RATIO: Limit = Limit::Range(0, 100);
const NOT_EMPTY: Limit = Limit::Rule("any text but an empty one", |text| !text.is_empty());
const HOURS: Limit = Limit::Rule("hours from 00 to 23 separated by `;`", are_hours);
const DELAY_LEVELS: Limit = Limit::Rule("times such as `5s 10m 2h 1d` separated by blanks", are_delay_levels);
const NAME_SERVERS: Limit = Limit::Rule("\"127.0.0.1:9876;192.168.0.1:9876\"", |text| {
    text.is_empty() || name_servers(text).is_some()
});

/// Splits a list of NameServers; `None` when one of them is not `host:port`.
///
/// Mirrors the check in `BrokerStartup.buildBrokerController`; blanks around an address are dropped, and
/// commas are refused, because they are meant as separators.
pub(in crate::config) fn name_servers(list: &str) -> Option<Vec<String>> {
    let addresses = list.trim_end_matches(';').split(';').map(str::trim);
    let checked = addresses.map(|address| {
        let (host, port) = address.rsplit_once(':')?;
        let is_host = !host.is_empty() && !host.contains([',', ' ', '\t']);
        let legal = is_host && port.parse::<u16>().is_ok_and(|port| port > 0);
        legal.then(|| address.to_owned())
    });
    checked.collect()
}

fn are_hours(text: &str) -> bool {
    text.split(';').all(|hour| hour.trim().parse::<u8>().is_ok_and(|hour| hour < 24))
}

fn are_delay_levels(text: &str) -> bool {
    delay_levels_ms(text).is_some()
}

/// Reads the delays of a `messageDelayLevel` text in milliseconds; `None` when one is not a time.
///
/// Mirrors `ScheduleMessageService.parseDelayLevel`.
pub(in crate::config) fn delay_levels_ms(text: &str) -> Option<Vec<u64>> {
    let levels = text.split(' ').map(|level| {
        let unit = level.chars().last()?;
        let unit_ms = match unit {
            's' => 1_000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => 86_400_000,
            _ => return None,
        };
        let number: u32 = level.strip_suffix(unit)?.parse().ok()?;
        (number > 0).then(|| u64::from(number) * unit_ms)
    });
    levels.collect()
}

key_table! {
    /// Every configuration key of a broker with its value.
    ///
    /// Fields are what the rooms read; names are those of the Java keys in Rust's spelling, so times are in
    /// milliseconds and sizes in bytes unless the field says otherwise.
    pub struct BrokerKeys |machine| {
        fields {
            // Who the broker is and where it listens.
            broker_cluster_name: String = "DefaultCluster".into(), limit NOT_EMPTY, "brokerClusterName", restart, WORKS, "cluster that routes and cluster lists show; with clusterTopicEnable also a topic";
            broker_name: String = "broker-a".into(), limit NOT_EMPTY, "brokerName", restart, WORKS, "name that a master and its slaves share; a broker started alone takes the host's name, as Apache's";
            broker_id: i64 = 0, limit Limit::Range(-1, i64::MAX), "brokerId", restart, WORKS, "0 is the master, which a master role forces; a slave needs more than 0";
            broker_role: BrokerRole = BrokerRole::AsyncMaster, "brokerRole", restart, WORKS, "what the broker is in its group; SYNC_MASTER answers a send when a slave has the message too, see inSyncReplicas";
            listen_port: i32 = 10911, limit PORT, "listenPort", restart, WORKS, "port for clients; the fast port is two below it; 0 is any free port";
            bind_address: String = "0.0.0.0".into(), limit NOT_EMPTY, "bindAddress", restart, WORKS, "address to listen on; `rmq-lite start` listens on 127.0.0.1 unless told otherwise";
            broker_ip1: Option<String> = None, limit NOT_EMPTY, "brokerIP1", live, WORKS, "address given to clients; unset, each client is given the address by which it reached the NameServer";
            broker_ip2: Option<String> = None, limit NOT_EMPTY, "brokerIP2", restart, WORKS, "address that slaves dial";
            broker_permission: i32 = 6, limit Limit::Range(0, 7), "brokerPermission", live, WORKS, "2 may be written, 4 may be read, 6 both; limits the permission of every topic in routes";
            namesrv_addr: Option<String> = None, limit NAME_SERVERS, "namesrvAddr", restart, WORKS, "NameServers to register with, `host:port` separated by `;`; a broker started alone falls back on the environment's NAMESRV_ADDR, then on none";
            region_id: String = "DefaultRegion".into(), "regionId", live, WORKS, "region that send answers name, for message traces";

            // Registration.
            register_name_server_period: i32 = 30_000, limit Limit::Range(1, i32::MAX as i64), "registerNameServerPeriod", restart, WORKS, "milliseconds between registrations when nothing changes, taken into 10000 to 60000 as by Apache";
            register_broker_timeout_mills: i32 = 24_000, limit POSITIVE, "registerBrokerTimeoutMills", restart, WORKS, "milliseconds to wait for a NameServer's answer";
            force_register: bool = true, "forceRegister", restart, idle("a registration is sent each period in any case"), "registers each period even when no NameServer's copy is stale";
            compressed_register: bool = false, "compressedRegister", restart, WORKS, "compresses the topics in a registration";

            // Topics and groups.
            default_topic_queue_nums: i32 = 8, limit Limit::Range(1, 65_535), "defaultTopicQueueNums", live, WORKS, "upper limit for the queues of a topic that is created by sending to it: the queues of TBW102, which keep their number while nobody sets the key";
            auto_create_topic_enable: bool = true, "autoCreateTopicEnable", live, WORKS, "creates a topic when somebody sends to it";
            cluster_topic_enable: bool = true, "clusterTopicEnable", restart, WORKS, "makes a topic with the cluster's name";
            broker_topic_enable: bool = true, "brokerTopicEnable", restart, WORKS, "makes a topic with the broker's name";
            auto_create_subscription_group: bool = true, "autoCreateSubscriptionGroup", live, WORKS, "creates a consumer group when it is first used";
            enable_create_sys_group: bool = true, "enableCreateSysGroup", restart, idle("the groups of RocketMQ's own tools may always be made"), "makes the groups of RocketMQ's own tools at the start";
            validate_system_topic_when_update_topic: bool = true, "validateSystemTopicWhenUpdateTopic", live, WORKS, "refuses to create or change system topics by request";
            enable_mixed_message_type: bool = false, "enableMixedMessageType", live, WORKS, "lets topics be of type MIXED, which take messages of every type";
            trace_topic_enable: bool = false, fast true, "traceTopicEnable", restart, WORKS, "makes the topic for message traces";
            msg_trace_topic_name: String = "RMQ_SYS_TRACE_TOPIC".into(), limit NOT_EMPTY, "msgTraceTopicName", restart, WORKS, "name of the topic for message traces";
            trace_on: bool = true, "traceOn", live, WORKS, "send answers ask producers to trace";
            clear_retry_topic_when_delete_topic: bool = true, "clearRetryTopicWhenDeleteTopic", live, WORKS, "deletes with a topic the topics that hold what POP retries of it";

            // Sending.
            max_message_size: i32 = 4_194_304, limit POSITIVE, "maxMessageSize", live, WORKS, "largest message body in bytes";
            reject_transaction_message: bool = false, "rejectTransactionMessage", live, WORKS, "refuses transactional messages";
            start_accept_send_request_time_stamp: i64 = 0, "startAcceptSendRequestTimeStamp", live, WORKS, "refuses sends before this time, in milliseconds since 1970";
            message_delay_level: String = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h".into(), limit DELAY_LEVELS, "messageDelayLevel", restart, WORKS, "the delays that levels 1, 2, … stand for";
            timer_wheel_enable: bool = true, "timerWheelEnable", restart, WORKS, "delivers messages at the time that they name";
            timer_max_delay_sec: i32 = 259_200, limit POSITIVE, "timerMaxDelaySec", live, WORKS, "seconds that such a time may be away";
            timer_precision_ms: i32 = 1_000, limit POSITIVE, "timerPrecisionMs", restart, WORKS, "milliseconds of a slot in the files for an Apache broker, and within which a timer is cancelled; delivery is exact";
            mapped_file_size_timer_log: i32 = 104_857_600, limit POSITIVE, "mappedFileSizeTimerLog", restart, WORKS, "bytes per file of the timer log";
            recall_message_enable: bool = false, "recallMessageEnable", live, WORKS, "lets producers take a delayed message back";
            transaction_time_out: i64 = 6_000, fast 2_000, limit POSITIVE_LONG, "transactionTimeOut", live, WORKS, "milliseconds before a half message is first checked";
            transaction_check_max: i32 = 15, limit POSITIVE, "transactionCheckMax", live, WORKS, "checks before a half message is given up";
            transaction_check_interval: i64 = 30_000, limit POSITIVE_LONG, "transactionCheckInterval", live, WORKS, "milliseconds between checks; under fast timings, unless set, the upper end of a doubling wait";
            transaction_op_msg_max_size: i32 = 4_096, limit POSITIVE, "transactionOpMsgMaxSize", live, idle(ENDED), "bytes of one record of finished half messages";
            transaction_op_batch_interval: i32 = 3_000, limit POSITIVE, "transactionOpBatchInterval", live, idle(ENDED), "milliseconds that finished half messages are gathered before they are recorded";

            // Pulling.
            lite_pull_message_enable: bool = true, "litePullMessageEnable", live, WORKS, "answers requests of code 361, with which lite pull consumers may pull";
            long_polling_enable: bool = true, "longPollingEnable", live, WORKS, "holds a pull that finds nothing until a message comes or its time is over";
            short_polling_time_mills: i64 = 1_000, limit POSITIVE_LONG, "shortPollingTimeMills", live, WORKS, "milliseconds to hold a pull when longPollingEnable is off";
            pull_batch_max_message_count: i32 = 160, limit POSITIVE, "pullBatchMaxMessageCount", live, idle("Apache reads it nowhere either; a pull gets at most 1024 messages"), "messages that one pull may ask for";
            max_transfer_bytes_on_message_in_memory: i32 = 262_144, limit POSITIVE, "maxTransferBytesOnMessageInMemory", live, WORKS, "bytes in one pull answer";
            max_transfer_count_on_message_in_memory: i32 = 32, limit POSITIVE, "maxTransferCountOnMessageInMemory", live, WORKS, "messages in one pull answer";
            max_transfer_bytes_on_message_in_disk: i32 = 65_536, limit POSITIVE, "maxTransferBytesOnMessageInDisk", live, WORKS, "bytes in one pull answer from old data";
            max_transfer_count_on_message_in_disk: i32 = 8, limit POSITIVE, "maxTransferCountOnMessageInDisk", live, WORKS, "messages in one pull answer from old data";
            access_message_in_memory_max_ratio: i32 = 40, limit RATIO, "accessMessageInMemoryMaxRatio", live, WORKS, "per cent of memory within which data counts as new";
            max_filter_message_size: i32 = 16_000, limit POSITIVE, "maxFilterMessageSize", live, WORKS, "bytes of consume queue that one filtered pull may look through";
            travel_cq_file_num_when_get_message: i32 = 1, limit POSITIVE, "travelCqFileNumWhenGetMessage", live, idle("a pull looks into as many files as it needs"), "consume-queue files that one pull may look into";
            reject_pull_consumer_enable: bool = false, "rejectPullConsumerEnable", live, WORKS, "refuses consumers of the old pull kind";
            enable_property_filter: bool = false, fast true, "enablePropertyFilter", live, WORKS, "lets consumers filter with SQL92 expressions";
            filter_support_retry: bool = false, "filterSupportRetry", live, idle(RETRY_FILTER), "applies SQL92 expressions to retried messages too";
            use_server_side_reset_offset: bool = true, "useServerSideResetOffset", live, WORKS, "resets offsets in the broker, so that consumers need not be online";
            enable_broadcast_offset_store: bool = true, "enableBroadcastOffsetStore", live, idle(PROXY), "remembers the progress of broadcast consumers behind a proxy";
            flush_consumer_offset_interval: i32 = 5_000, limit POSITIVE, "flushConsumerOffsetInterval", restart, idle("what was committed is written down within half a second"), "milliseconds between writings of consumer offsets";

            // Clients.
            notify_consumer_ids_changed_enable: bool = true, "notifyConsumerIdsChangedEnable", live, WORKS, "tells consumers when their group changes";
            channel_expired_timeout: i64 = 120_000, limit POSITIVE_LONG, "channelExpiredTimeout", live, WORKS, "milliseconds without a heartbeat after which a consumer is forgotten";
            subscription_expired_timeout: i64 = 600_000, limit POSITIVE_LONG, "subscriptionExpiredTimeout", live, idle("a subscription is known as long as a member repeats it"), "milliseconds after which a subscription that no heartbeat repeats is forgotten";
            enable_register_producer: bool = true, "enableRegisterProducer", live, WORKS, "remembers producers from their heartbeats; they are forgotten only if rejectTransactionMessage is on, too";
            server_channel_max_idle_time_seconds: i32 = 120, limit POSITIVE, "serverChannelMaxIdleTimeSeconds", restart, WORKS, "seconds without a byte after which a connection is closed";
            server_socket_backlog: i32 = 1_024, limit POSITIVE, "serverSocketBacklog", restart, WORKS, "connections waiting to be accepted";
            server_load_balancer_enable: bool = true, "serverLoadBalancerEnable", live, WORKS, "answers queue assignments";
            default_message_request_mode: MessageRequestMode = MessageRequestMode::Pull, "defaultMessageRequestMode", live, WORKS, "how consumers of a group ask for messages unless told otherwise";
            default_pop_share_queue_num: i32 = -1, "defaultPopShareQueueNum", live, WORKS, "other members whose queues a popping consumer shares; below 1 all";
            revive_queue_num: i32 = 8, limit POSITIVE, "reviveQueueNum", restart, WORKS, "queues of the log from which popped messages are revived";
            pop_polling_size: i32 = 1_024, limit NATURAL, "popPollingSize", live, WORKS, "pops of one group that may be held for one queue, or for any";
            pop_from_retry_probability: i32 = 20, limit NATURAL, "popFromRetryProbability", live, WORKS, "per cent of pops that look at the retry topic first";
            enable_retry_topic_v2: bool = false, "enableRetryTopicV2", live, WORKS, "puts retries of popped messages into %RETRY%<group>+<topic> instead of %RETRY%<group>_<topic>; both are read";
            init_pop_offset_by_check_msg_in_mem: bool = true, "initPopOffsetByCheckMsgInMem", live, WORKS, "lets a new group on a young topic pop from its beginning";
            store_reply_message_enable: bool = true, "storeReplyMessageEnable", live, WORKS, "stores reply messages besides passing them on";
            metrics_exporter_type: MetricsExporterType = MetricsExporterType::Disable, fast MetricsExporterType::Prom, "metricsExporterType", restart, idle(METRICS), "where Apache's broker sends its metrics";
            auto_delete_unused_stats: bool = true, "autoDeleteUnusedStats", live, WORKS, "drops the statistics of deleted topics and groups";
            config_black_list: String = "configBlackList;brokerConfigPath".into(), "configBlackList", restart, WORKS, "keys that UPDATE_BROKER_CONFIG refuses, separated by `;`";

            // Store: places and sizes.
            store_path_root_dir: String = machine.under_home("store"), limit NOT_EMPTY, "storePathRootDir", restart, WORKS, "directory of the store; `rmq-lite start` keeps it in its data directory unless told otherwise";
            store_path_commit_log: Option<String> = None, limit NOT_EMPTY, "storePathCommitLog", restart, WORKS, "directory of the commit log; unset, `commitlog` in the root";
            store_path_consume_queue: Option<String> = None, limit NOT_EMPTY, "storePathConsumeQueue", restart, WORKS, "directory of the consume queues; unset, `consumequeue` in the root; Apache ignores the key";
            store_path_index: Option<String> = None, limit NOT_EMPTY, "storePathIndex", restart, WORKS, "directory of the index; unset, `index` in the root; Apache ignores the key";
            store_checkpoint: Option<String> = None, limit NOT_EMPTY, "storeCheckpoint", restart, WORKS, "the checkpoint file; unset, `checkpoint` in the root; Apache ignores the key";
            abort_file: Option<String> = None, limit NOT_EMPTY, "abortFile", restart, WORKS, "the file that exists while the broker runs; unset, `abort` in the root; Apache ignores the key";
            mapped_file_size_commit_log: i32 = 1_073_741_824, limit Limit::Range(1_024, i32::MAX as i64), "mappedFileSizeCommitLog", restart, WORKS, "bytes of one commit-log file";
            mapped_file_size_consume_queue: i32 = 6_000_000, limit Limit::Range(20, i32::MAX as i64), "mappedFileSizeConsumeQueue", restart, WORKS, "bytes of one consume-queue file, rounded up to entries of 20 bytes";
            message_index_enable: bool = true, "messageIndexEnable", restart, WORKS, "indexes messages by key";
            max_hash_slot_num: i32 = 5_000_000, limit POSITIVE, "maxHashSlotNum", restart, WORKS, "hash slots of one index file";
            max_index_num: i32 = 20_000_000, limit POSITIVE, "maxIndexNum", restart, WORKS, "entries of one index file";
            max_msgs_num_batch: i32 = 64, limit POSITIVE, "maxMsgsNumBatch", live, WORKS, "messages that one query may return at most";
            default_query_max_num: i32 = 32, limit POSITIVE, "defaultQueryMaxNum", live, WORKS, "messages that a query returns unless it says how many";
            message_index_safe: bool = false, "messageIndexSafe", restart, idle("the index never limits what recovery trusts"), "lets the index limit what recovery trusts";

            // Store: durability.
            flush_disk_type: FlushDiskType = FlushDiskType::AsyncFlush, "flushDiskType", live, WORKS, "when a send is acknowledged: once it is on the disk, or at once";
            sync_flush_timeout: i32 = 5_000, limit POSITIVE, "syncFlushTimeout", live, WORKS, "milliseconds to wait for the disk before a send is answered FLUSH_DISK_TIMEOUT";
            flush_interval_commit_log: i32 = 500, limit POSITIVE, "flushIntervalCommitLog", live, WORKS, "milliseconds between flushes of the commit log with ASYNC_FLUSH";
            flush_commit_log_timed: bool = true, "flushCommitLogTimed", restart, idle("the commit log is flushed each interval in any case"), "flushes the commit log each interval, even when messages come in between";
            flush_commit_log_least_pages: i32 = 4, limit NATURAL, "flushCommitLogLeastPages", live, WORKS, "pages of 4 KiB that make a flush of the commit log worth while";
            flush_commit_log_thorough_interval: i32 = 10_000, limit NATURAL, "flushCommitLogThoroughInterval", live, WORKS, "milliseconds after which the commit log is flushed however little there is";
            flush_interval_consume_queue: i32 = 1_000, limit POSITIVE, "flushIntervalConsumeQueue", live, WORKS, "milliseconds between flushes of the consume queues";
            flush_consume_queue_least_pages: i32 = 2, limit NATURAL, "flushConsumeQueueLeastPages", live, WORKS, "pages of 4 KiB that make a flush of a consume queue worth while";
            flush_consume_queue_thorough_interval: i32 = 60_000, limit NATURAL, "flushConsumeQueueThoroughInterval", live, WORKS, "milliseconds after which consume queues are flushed however little there is";
            check_crc_on_recover: bool = true, "checkCRCOnRecover", restart, WORKS, "checks the bodies of recovered messages";
            duplication_enable: bool = false, "duplicationEnable", restart, idle(REPLICATION), "leaves dispatching to an outside replicator";
            flush_delay_offset_interval: i64 = 10_000, limit POSITIVE_LONG, "flushDelayOffsetInterval", restart, idle(DELAYS), "milliseconds between writings of the delay levels' progress";

            // Store: deletion.
            delete_when: String = "04".into(), limit HOURS, "deleteWhen", live, WORKS, "hours of the day at which expired files are deleted, `00` to `23`, separated by `;`";
            file_reserved_time: i32 = 72, limit NATURAL, "fileReservedTime", live, WORKS, "hours after its last message that a commit-log file is kept";
            disk_max_used_space_ratio: i32 = 75, limit RATIO, "diskMaxUsedSpaceRatio", live, WORKS, "per cent of the disk in use from which expired files are deleted at any hour; taken into 10 to 95 as by Apache";
            disk_space_clean_forcibly_ratio: i32 = 85, limit RATIO, "diskSpaceCleanForciblyRatio", live, idle(DISK_GUARD), "per cent of the disk in use from which files are deleted before they expire";
            disk_space_warning_level_ratio: i32 = 90, limit RATIO, "diskSpaceWarningLevelRatio", live, idle(DISK_GUARD), "per cent of the disk in use from which Apache refuses writes";
            clean_file_forcibly_enable: bool = true, "cleanFileForciblyEnable", live, WORKS, "allows deleting files before they expire when the disk is nearly full";
            delete_file_batch_max: i32 = 10, limit POSITIVE, "deleteFileBatchMax", live, WORKS, "commit-log files that one round deletes";
            clean_resource_interval: i32 = 10_000, limit POSITIVE, "cleanResourceInterval", live, WORKS, "milliseconds between rounds of deletion";
            delete_commit_log_files_interval: i32 = 100, limit NATURAL, "deleteCommitLogFilesInterval", live, idle(UNLINK), "milliseconds between two deletions of commit-log files";
            delete_consume_queue_files_interval: i32 = 100, limit NATURAL, "deleteConsumeQueueFilesInterval", live, idle(UNLINK), "milliseconds between two deletions of consume-queue files";
            destroy_maped_file_interval_forcibly: i32 = 120_000, limit NATURAL, "destroyMapedFileIntervalForcibly", live, idle(NOTHING_HANGS), "milliseconds after which a deleted file that is still being read is taken away";
            redelete_hanged_file_interval: i32 = 120_000, limit NATURAL, "redeleteHangedFileInterval", live, idle(NOTHING_HANGS), "milliseconds between attempts to delete a file that is still being read";

            // Replication.
            slave_read_enable: bool = false, "slaveReadEnable", live, WORKS, "lets consumers read from a slave when the master is busy; a slave whose master is away serves them in any case";
            ha_listen_port: i32 = 0, limit Limit::Range(i32::MIN as i64, 65_535), "haListenPort", restart, WORKS, "port for slaves; 0 or less is the one above listenPort";
            ha_master_address: Option<String> = None, "haMasterAddress", restart, WORKS, "master's replication address, `host:port`, for a slave that should not ask the NameServer";
            ha_send_heartbeat_interval: i32 = 5_000, limit POSITIVE, "haSendHeartbeatInterval", restart, WORKS, "milliseconds between heartbeats of replication";
            ha_housekeeping_interval: i32 = 20_000, limit POSITIVE, "haHousekeepingInterval", restart, WORKS, "milliseconds without a word after which replication reconnects";
            ha_transfer_batch_size: i32 = 32_768, limit POSITIVE, "haTransferBatchSize", restart, WORKS, "bytes of one replication frame";
            ha_max_gap_not_in_sync: i32 = 268_435_456, limit POSITIVE, "haMaxGapNotInSync", live, WORKS, "bytes that a slave may lag and still count as in sync";
            slave_timeout: i32 = 3_000, limit POSITIVE, "slaveTimeout", live, WORKS, "milliseconds to wait for slaves before a send is answered FLUSH_SLAVE_TIMEOUT";
            put_message_timeout: i32 = 8_000, limit POSITIVE, "putMessageTimeout", live, idle(REPLICATION), "milliseconds after which a send that waits for disk and slaves is given up";
            in_sync_replicas: i32 = 1, limit POSITIVE, "inSyncReplicas", live, WORKS, "copies, the master's included, that SYNC_MASTER waits for; while it is not set, 2 (Apache: 1, so that it waits for nobody)";
            min_in_sync_replicas: i32 = 1, limit POSITIVE, "minInSyncReplicas", live, idle(REPLICATION), "copies that must be in sync for a send to be accepted";
            total_replicas: i32 = 1, limit POSITIVE, "totalReplicas", restart, idle(REPLICATION), "copies in the group";
        }
        texts {
            "brokerConfigPath": Option<String> = None, PLACES;
            "rocketmqHome": Option<String> = None, PLACES;
            "recoverConcurrently": bool = false, ACTING;
            "sendHeartbeatTimeoutMillis": i32 = 1000, ACTING;
            "brokerHeartbeatInterval": i32 = 1000, ACTING;
            "brokerNotActiveTimeoutMillis": i64 = 10_000, ACTING;
            "syncBrokerMemberGroupPeriod": i32 = 1000, ACTING;
            "cleanOfflineBrokerInterval": i32 = 30_000, ACTING;
            "forwardTimeout": i64 = 3000, ACTING;
            "enableSlaveActingMaster": bool = false, ACTING;
            "enableRemoteEscape": bool = false, ACTING;
            "skipPreOnline": bool = false, ACTING;
            "asyncSendEnable": bool = true, ACTING;
            "lockInStrictMode": bool = false, ACTING;
            "compatibleWithOldNameSrv": bool = true, ACTING;
            "messageStorePlugIn": String = String::new(), OWN_STORE;
            "readOnlyCommitLogStorePaths": Option<String> = None, OWN_STORE;
            "mapperFileSizeBatchConsumeQueue": i32 = 13_800_000, OWN_STORE;
            "maxRecoveryCommitlogFiles": i32 = 30, OWN_STORE;
            "putMsgIndexHightWater": i32 = 600_000, OWN_STORE;
            "maxBatchDeleteFilesNum": i32 = 50, OWN_STORE;
            "maxTopicLength": i32 = 127, OWN_STORE;
            "autoMessageVersionOnTopicLen": bool = true, OWN_STORE;
            "correctLogicMinOffsetSleepInterval": i32 = 1, OWN_STORE;
            "correctLogicMinOffsetForceInterval": i32 = 300_000, OWN_STORE;
            "searchBcqByCacheEnable": bool = true, OWN_STORE;
            "logicalDiskSpaceCleanForciblyThreshold": f64 = 0.8, OWN_STORE;
            "maxConsumeQueueScan": i32 = 20_000, OWN_STORE;
            "sampleCountThreshold": i32 = 5000, OWN_STORE;
            "readUnCommitted": bool = false, OWN_STORE;
            "sendMessageThreadPoolNums": i32 = machine.cores.min(4) as i32, THREADS;
            "putMessageFutureThreadPoolNums": i32 = machine.cores.min(4) as i32, THREADS;
            "pullMessageThreadPoolNums": i32 = 16 + 2 * machine.cores as i32, THREADS;
            "litePullMessageThreadPoolNums": i32 = 16 + 2 * machine.cores as i32, THREADS;
            "ackMessageThreadPoolNums": i32 = 16, THREADS;
            "processReplyMessageThreadPoolNums": i32 = 16 + 2 * machine.cores as i32, THREADS;
            "queryMessageThreadPoolNums": i32 = 8 + machine.cores as i32, THREADS;
            "adminBrokerThreadPoolNums": i32 = 16, THREADS;
            "clientManageThreadPoolNums": i32 = 32, THREADS;
            "consumerManageThreadPoolNums": i32 = 32, THREADS;
            "loadBalanceProcessorThreadPoolNums": i32 = 32, THREADS;
            "heartbeatThreadPoolNums": i32 = machine.cores.min(32) as i32, THREADS;
            "recoverThreadPoolNums": i32 = 32, THREADS;
            "endTransactionThreadPoolNums": i32 = 8 + 2 * machine.cores as i32, THREADS;
            "serverWorkerThreads": i32 = 8, THREADS;
            "serverCallbackExecutorThreads": i32 = 0, THREADS;
            "serverSelectorThreads": i32 = 3, THREADS;
            "clientWorkerThreads": i32 = 4, THREADS;
            "clientCallbackExecutorThreads": i32 = machine.cores as i32, THREADS;
            "dispatchCqThreads": i32 = 10, THREADS;
            "dispatchCqCacheNum": i32 = 4096, THREADS;
            "enableAsyncReput": bool = true, THREADS;
            "recheckReputOffsetFromCq": bool = false, THREADS;
            "dispatchFromSenderThread": bool = false, THREADS;
            "enableBuildConsumeQueueConcurrently": bool = false, THREADS;
            "batchDispatchRequestThreadPoolNums": i32 = 16, THREADS;
            "flushConsumerOffsetHistoryInterval": i32 = 60_000, OWN_BROKER;
            "disableConsumeIfConsumerReadSlowly": bool = false, OWN_BROKER;
            "consumerFallbehindThreshold": i64 = 17_179_869_184, OWN_BROKER;
            "broadcastOffsetExpireSecond": i64 = 120, OWN_BROKER;
            "broadcastOffsetExpireMaxSecond": i64 = 300, OWN_BROKER;
            "realTimeNotifyConsumerChange": bool = true, OWN_BROKER;
            "consumerOffsetUpdateVersionStep": i64 = 500, OWN_BROKER;
            "useStaticSubscription": bool = false, OWN_BROKER;
            "enableCleanExpiredOffset": bool = false, OWN_BROKER;
            "fetchNameSrvAddrByDnsLookup": bool = false, DISCOVERY;
            "fetchNamesrvAddrByAddressServer": bool = false, DISCOVERY;
            "updateNameServerAddrPeriod": i32 = 120_000, DISCOVERY;
            "fetchNamesrvAddrInterval": i64 = 10_000, DISCOVERY;
            "rmqAddressServerDomain": Option<String> = None, DISCOVERY;
            "rmqAddressServerSubGroup": Option<String> = None, DISCOVERY;
            "sendThreadPoolQueueCapacity": i32 = 10_000, QUEUES;
            "putThreadPoolQueueCapacity": i32 = 10_000, QUEUES;
            "pullThreadPoolQueueCapacity": i32 = 100_000, QUEUES;
            "litePullThreadPoolQueueCapacity": i32 = 100_000, QUEUES;
            "ackThreadPoolQueueCapacity": i32 = 100_000, QUEUES;
            "replyThreadPoolQueueCapacity": i32 = 10_000, QUEUES;
            "queryThreadPoolQueueCapacity": i32 = 20_000, QUEUES;
            "clientManagerThreadPoolQueueCapacity": i32 = 1_000_000, QUEUES;
            "consumerManagerThreadPoolQueueCapacity": i32 = 1_000_000, QUEUES;
            "heartbeatThreadPoolQueueCapacity": i32 = 50_000, QUEUES;
            "endTransactionPoolQueueCapacity": i32 = 100_000, QUEUES;
            "adminBrokerThreadPoolQueueCapacity": i32 = 10_000, QUEUES;
            "loadBalanceThreadPoolQueueCapacity": i32 = 100_000, QUEUES;
            "brokerFastFailureEnable": bool = true, QUEUES;
            "waitTimeMillsInSendQueue": i64 = 200, QUEUES;
            "waitTimeMillsInPullQueue": i64 = 5000, QUEUES;
            "waitTimeMillsInLitePullQueue": i64 = 5000, QUEUES;
            "waitTimeMillsInHeartbeatQueue": i64 = 31_000, QUEUES;
            "waitTimeMillsInTransactionQueue": i64 = 3000, QUEUES;
            "waitTimeMillsInAckQueue": i64 = 3000, QUEUES;
            "waitTimeMillsInAdminBrokerQueue": i64 = 5000, QUEUES;
            "serverOnewaySemaphoreValue": i32 = 256, QUEUES;
            "serverAsyncSemaphoreValue": i32 = 64, QUEUES;
            "clientOnewaySemaphoreValue": i32 = 65_535, QUEUES;
            "clientAsyncSemaphoreValue": i32 = 65_535, QUEUES;
            "osPageCacheBusyTimeOutMills": i64 = 1000, QUEUES;
            "maxAsyncPutMessageRequests": i32 = 5000, QUEUES;
            "highSpeedMode": bool = false, STATS;
            "commercialBaseCount": i32 = 1, STATS;
            "commercialSizePerMsg": i32 = 4096, STATS;
            "accountStatsEnable": bool = true, STATS;
            "accountStatsPrintZeroValues": bool = true, STATS;
            "maxStatsIdleTimeInMinutes": i32 = -1, STATS;
            "enableDetailStat": bool = true, STATS;
            "isolateLogEnable": bool = false, STATS;
            "estimateAccumulation": bool = true, STATS;
            "printChannelGroups": bool = false, STATS;
            "printChannelGroupsMinNum": i32 = 5, STATS;
            "enableLmqStats": bool = false, STATS;
            "debugLockEnable": bool = false, STATS;
            "diskFallRecorded": bool = true, STATS;
            "transferMsgByHeap": bool = true, MAPPING;
            "commitIntervalCommitLog": i32 = 200, MAPPING;
            "commitCommitLogLeastPages": i32 = 4, MAPPING;
            "flushLeastPagesWhenWarmMapedFile": i32 = 4096, MAPPING;
            "commitCommitLogThoroughInterval": i32 = 200, MAPPING;
            "warmMapedFileEnable": bool = false, MAPPING;
            "transientStorePoolEnable": bool = false, MAPPING;
            "transientStorePoolSize": i32 = 5, MAPPING;
            "fastFailIfNoBufferInStorePool": bool = false, MAPPING;
            "mappedFileSwapEnable": bool = true, MAPPING;
            "commitLogForceSwapMapInterval": i64 = 43_200_000, MAPPING;
            "commitLogSwapMapInterval": i64 = 3_600_000, MAPPING;
            "commitLogSwapMapReserveFileNum": i32 = 100, MAPPING;
            "logicQueueForceSwapMapInterval": i64 = 43_200_000, MAPPING;
            "logicQueueSwapMapInterval": i64 = 3_600_000, MAPPING;
            "cleanSwapedMapInterval": i64 = 300_000, MAPPING;
            "logicQueueSwapMapReserveFileNum": i32 = 20, MAPPING;
            "wakeCommitWhenPutMessage": bool = true, MAPPING;
            "wakeFlushWhenPutMessage": bool = false, MAPPING;
            "putConsumeQueueDataByFileChannel": bool = true, MAPPING;
            "enableCalcFilterBitMap": bool = false, BITMAP;
            "expectConsumerNumUseFilter": i32 = 32, BITMAP;
            "maxErrorRateOfBloomFilter": i32 = 20, BITMAP;
            "filterDataCleanTimeSpan": i64 = 86_400_000, BITMAP;
            "enableConsumeQueueExt": bool = false, BITMAP;
            "mappedFileSizeConsumeQueueExt": i32 = 50_331_648, BITMAP;
            "bitMapLengthConsumeQueueExt": i32 = 64, BITMAP;
            "enableNetWorkFlowControl": bool = false, NETTY;
            "enableFastChannelEventProcess": bool = false, NETTY;
            "serverSocketSndBufSize": i32 = 0, NETTY;
            "serverSocketRcvBufSize": i32 = 0, NETTY;
            "writeBufferHighWaterMark": i32 = 0, NETTY;
            "writeBufferLowWaterMark": i32 = 0, NETTY;
            "serverNettyWorkerGroupEnable": bool = true, NETTY;
            "serverPooledByteBufAllocatorEnable": bool = true, NETTY;
            "enableShutdownGracefully": bool = false, NETTY;
            "shutdownWaitTimeSeconds": i32 = 30, NETTY;
            "useEpollNativeSelector": bool = false, NETTY;
            "connectTimeoutMillis": i32 = 3000, NETTY;
            "channelNotActiveInterval": i64 = 60_000, NETTY;
            "isScanAvailableNameSrv": bool = true, NETTY;
            "clientChannelMaxIdleTimeSeconds": i32 = 120, NETTY;
            "clientSocketSndBufSize": i32 = 0, NETTY;
            "clientSocketRcvBufSize": i32 = 0, NETTY;
            "clientPooledByteBufAllocatorEnable": bool = false, NETTY;
            "clientCloseSocketIfTimeout": bool = true, NETTY;
            "useTLS": bool = false, NETTY;
            "socksProxyConfig": String = "{}".into(), NETTY;
            "disableCallbackExecutor": bool = false, NETTY;
            "disableNettyWorkerGroup": bool = false, NETTY;
            "maxReconnectIntervalTimeSeconds": i64 = 60, NETTY;
            "enableReconnectForGoAway": bool = true, NETTY;
            "popPollingMapSize": i32 = 100_000, POP;
            "maxPopPollingSize": i64 = 100_000, POP;
            "reviveInterval": i64 = 1000, POP;
            "reviveMaxSlow": i64 = 3, POP;
            "reviveScanTime": i64 = 10_000, POP;
            "enableSkipLongAwaitingAck": bool = false, POP;
            "reviveAckWaitMs": i64 = 180_000, POP;
            "enablePopLog": bool = false, POP;
            "enablePopBufferMerge": bool = false, POP;
            "popCkStayBufferTime": i32 = 10_000, POP;
            "popCkStayBufferTimeOut": i32 = 3000, POP;
            "popCkMaxBufferSize": i32 = 200_000, POP;
            "popCkOffsetMaxQueueSize": i32 = 20_000, POP;
            "enablePopBatchAck": bool = false, POP;
            "popLongPollingForceNotifyInterval": i64 = 800, POP;
            "enableNotifyBeforePopCalculateLag": bool = true, POP;
            "enableNotifyAfterPopOrderLockRelease": bool = true, POP;
            "retrieveMessageFromPopRetryTopicV1": bool = true, RETRY_V1;
            "popConsumerFSServiceInit": bool = true, POP;
            "popConsumerKVServiceLog": bool = false, POP;
            "popConsumerKVServiceInit": bool = false, POP;
            "popConsumerKVServiceEnable": bool = false, POP;
            "popReviveMaxReturnSizePerRead": i32 = 16_384, POP;
            "popReviveMaxAttemptTimes": i32 = 16, POP;
            "loadBalancePollNameServerInterval": i64 = 30_000, POP;
            "popResponseReturnActualRetryTopic": bool = false, POP;
            "popInflightMessageThreshold": i64 = 10_000, POP;
            "enablePopMessageThreshold": bool = false, POP;
            "skipWhenCKRePutReachMaxTimes": bool = false, POP;
            "appendAckAsync": bool = false, POP;
            "appendCkAsync": bool = false, POP;
            "transactionMetricFlushInterval": i64 = 3000, STATS;
            "delayOffsetUpdateVersionStep": i64 = 200, KINDS;
            "allowRecallWhenBrokerNotWriteable": bool = true, KINDS;
            "timerRollWindowSlot": i32 = 172_800, TIMERS;
            "timerFlushIntervalMs": i32 = 1000, TIMERS;
            "timerGetMessageThreadNum": i32 = 3, TIMERS;
            "timerPutMessageThreadNum": i32 = 3, TIMERS;
            "timerEnableDisruptor": bool = false, TIMERS;
            "timerEnableCheckMetrics": bool = true, TIMERS;
            "timerInterceptDelayLevel": bool = false, TIMERS;
            "disappearTimeAfterStart": i32 = -1, KINDS;
            "timerStopEnqueue": bool = false, TIMERS;
            "timerCheckMetricsWhen": String = "05".into(), TIMERS;
            "timerSkipUnknownError": bool = false, TIMERS;
            "timerWarmEnable": bool = false, TIMERS;
            "timerStopDequeue": bool = false, TIMERS;
            "timerEnableRetryUntilSuccess": bool = false, TIMERS;
            "timerCongestNumEachSlot": i32 = i32::MAX, NO_SLOTS;
            "timerMetricSmallThreshold": i32 = 1_000_000, TIMERS;
            "timerProgressLogIntervalMs": i32 = 10_000, TIMERS;
            "enableScheduleMessageStats": bool = true, KINDS;
            "enableScheduleAsyncDeliver": bool = false, OWN_BROKER;
            "scheduleAsyncDeliverMaxPendingLimit": i32 = 2000, OWN_BROKER;
            "scheduleAsyncDeliverMaxResendNum2Blocked": i32 = 3, OWN_BROKER;
            "timerColdDataCheckIntervalMs": i32 = 60_000, TIMERS;
            "aclEnable": bool = false, ACCESS;
            "configName": Option<String> = None, ACCESS;
            "clusterName": Option<String> = None, ACCESS;
            "authConfigPath": Option<String> = None, ACCESS;
            "authenticationEnabled": Option<bool> = None, ACCESS;
            "authenticationProvider": Option<String> = None, ACCESS;
            "authenticationMetadataProvider": Option<String> = None, ACCESS;
            "authenticationStrategy": Option<String> = None, ACCESS;
            "authenticationWhitelist": Option<String> = None, ACCESS;
            "initAuthenticationUser": Option<String> = None, ACCESS;
            "innerClientAuthenticationCredentials": Option<String> = None, ACCESS;
            "authorizationEnabled": Option<bool> = None, ACCESS;
            "authorizationProvider": Option<String> = None, ACCESS;
            "authorizationMetadataProvider": Option<String> = None, ACCESS;
            "authorizationStrategy": Option<String> = None, ACCESS;
            "authorizationWhitelist": Option<String> = None, ACCESS;
            "migrateAuthFromV1Enabled": Option<bool> = None, ACCESS;
            "userCacheMaxNum": Option<i32> = None, ACCESS;
            "userCacheExpiredSecond": Option<i32> = None, ACCESS;
            "userCacheRefreshSecond": Option<i32> = None, ACCESS;
            "aclCacheMaxNum": Option<i32> = None, ACCESS;
            "aclCacheExpiredSecond": Option<i32> = None, ACCESS;
            "aclCacheRefreshSecond": Option<i32> = None, ACCESS;
            "statefulAuthenticationCacheMaxNum": Option<i32> = None, ACCESS;
            "statefulAuthenticationCacheExpiredSecond": Option<i32> = None, ACCESS;
            "statefulAuthorizationCacheMaxNum": Option<i32> = None, ACCESS;
            "statefulAuthorizationCacheExpiredSecond": Option<i32> = None, ACCESS;
            "enableControllerMode": bool = false, CONTROLLER;
            "controllerAddr": String = String::new(), CONTROLLER;
            "fetchControllerAddrByDnsLookup": bool = false, CONTROLLER;
            "syncBrokerMetadataPeriod": i64 = 5000, CONTROLLER;
            "checkSyncStateSetPeriod": i64 = 5000, CONTROLLER;
            "syncControllerMetadataPeriod": i64 = 10_000, CONTROLLER;
            "controllerHeartBeatTimeoutMills": i64 = 10_000, CONTROLLER;
            "brokerElectionPriority": i32 = i32::MAX, CONTROLLER;
            "storePathEpochFile": Option<String> = None, CONTROLLER;
            "storePathBrokerIdentity": Option<String> = None, CONTROLLER;
            "allAckInSyncStateSet": bool = false, CONTROLLER;
            "enableAutoInSyncReplicas": bool = false, CONTROLLER;
            "syncFromLastFile": bool = false, CONTROLLER;
            "asyncLearner": bool = false, CONTROLLER;
            "metricsOtelCardinalityLimit": i32 = 50_000, METRICS;
            "metricsGrpcExporterTarget": String = String::new(), METRICS;
            "metricsGrpcExporterHeader": String = String::new(), METRICS;
            "metricGrpcExporterTimeOutInMills": i64 = 3000, METRICS;
            "metricGrpcExporterIntervalInMills": i64 = 60_000, METRICS;
            "metricLoggingExporterIntervalInMills": i64 = 10_000, METRICS;
            "metricsPromExporterPort": i32 = 5557, METRICS;
            "metricsPromExporterHost": String = String::new(), METRICS;
            "metricsLabel": String = String::new(), METRICS;
            "metricsInDelta": bool = false, METRICS;
            "coldCtrStrategyEnable": bool = false, COLD;
            "usePIDColdCtrStrategy": bool = true, COLD;
            "cgColdReadThreshold": i64 = 3_145_728, COLD;
            "globalColdReadThreshold": i64 = 104_857_600, COLD;
            "coldDataFlowControlEnable": bool = false, COLD;
            "coldDataScanEnable": bool = false, COLD;
            "dataReadAheadEnable": bool = true, COLD;
            "sampleSteps": i32 = 32, COLD;
            "accessMessageInMemoryHotRatio": i32 = 26, COLD;
            "enableSingleTopicRegister": bool = false, REGISTER;
            "enableSplitRegistration": bool = false, REGISTER;
            "splitRegistrationSize": i32 = 800, REGISTER;
            "configManagerVersion": String = "v1".into(), ROCKSDB;
            "storeType": String = "default".into(), ROCKSDB;
            "cleanRocksDBDirtyCQIntervalMin": i64 = 60, ROCKSDB;
            "statRocksDBCQIntervalSec": i64 = 10, ROCKSDB;
            "memTableFlushIntervalMs": i64 = 3_600_000, ROCKSDB;
            "realTimePersistRocksDBConfig": bool = true, ROCKSDB;
            "enableRocksDBLog": bool = false, ROCKSDB;
            "rocksdbCQDoubleWriteEnable": bool = false, ROCKSDB;
            "bottomMostCompressionTypeForConsumeQueueStore": String = "zstd".into(), ROCKSDB;
            "rocksdbCompressionType": String = "lz4".into(), ROCKSDB;
            "rocksdbFlushWalFrequency": i32 = 1024, ROCKSDB;
            "rocksdbWalFileRollingThreshold": i64 = 1_073_741_824, ROCKSDB;
            "isBrokerContainer": bool = false, CONTAINER;
            "isInBrokerContainer": bool = false, CONTAINER;
            "storePathDLedgerCommitLog": Option<String> = None, RAFT;
            "enableDLegerCommitLog": bool = false, RAFT;
            "dLegerGroup": Option<String> = None, RAFT;
            "dLegerPeers": Option<String> = None, RAFT;
            "dLegerSelfId": Option<String> = None, RAFT;
            "preferredLeaderId": Option<String> = None, RAFT;
            "enableBatchPush": bool = false, RAFT;
            "compactionMappedFileSize": i32 = 104_857_600, COMPACTION;
            "compactionCqMappedFileSize": i32 = 10_485_760, COMPACTION;
            "compactionScheduleInternal": i32 = 900_000, COMPACTION;
            "maxOffsetMapSize": i32 = 104_857_600, COMPACTION;
            "compactionThreadNum": i32 = 6, COMPACTION;
            "enableCompaction": bool = true, COMPACTION;
            "useReentrantLockWhenPutMessage": bool = true, LOCKS;
            "topicQueueLockNum": i32 = 32, LOCKS;
            "spinLockCollisionRetreatOptimalDegree": i32 = 1000, LOCKS;
            "useABSLock": bool = false, LOCKS;
            "offsetCheckInSlave": bool = false, REPLICATION;
            "haFlowControlEnable": bool = false, REPLICATION;
            "maxHaTransferByteInSecond": i64 = 104_857_600, REPLICATION;
            "haMaxTimeSlaveNotCatchup": i64 = 15_000, REPLICATION;
            "syncMasterFlushOffsetWhenStartup": bool = false, REPLICATION;
            "maxChecksumRange": i64 = 1_073_741_824, REPLICATION;
            "replicasPerDiskPartition": i32 = 1, REPLICATION;
            "maxSlaveResendLength": i64 = 268_435_456, REPLICATION;
            "enableLmq": bool = false, LMQ;
            "enableMultiDispatch": bool = false, LMQ;
            "maxLmqConsumeQueueNum": i32 = 20_000, LMQ;
            "enabledAppendPropCRC": bool = false, CRC;
            "forceVerifyPropCRC": bool = false, CRC;
            "combineAssignOffsetCQType": Option<String> = None, NEWER;
            "combineCQEnableCheckSelf": Option<bool> = None, NEWER;
            "combineCQLoadingCQTypes": Option<String> = None, NEWER;
            "combineCQMaxExtraSearchCommitLogFiles": Option<i32> = None, NEWER;
            "combineCQPreferCQType": Option<String> = None, NEWER;
            "enableAcceleratedRecovery": Option<bool> = None, NEWER;
            "enableConnectionMetrics": Option<bool> = None, NEWER;
            "enableLagAndDlqMetrics": Option<bool> = None, NEWER;
            "enableLogConsumeQueueRepeatedlyBuildWhenRecover": Option<bool> = None, NEWER;
            "enableMessageStoreMetrics": Option<bool> = None, NEWER;
            "enablePopMetrics": Option<bool> = None, NEWER;
            "enableRemotingMetrics": Option<bool> = None, NEWER;
            "enableRequestMetrics": Option<bool> = None, NEWER;
            "enableRunningFlagsInFlush": Option<bool> = None, NEWER;
            "enableSplitMetadata": Option<bool> = None, NEWER;
            "enableStatsMetrics": Option<bool> = None, NEWER;
            "enableTransactionMetrics": Option<bool> = None, NEWER;
            "popPollingMapExpireTimeSeconds": Option<i32> = None, NEWER;
            "splitMetadataSize": Option<i32> = None, NEWER;
            "writeWithoutMmap": Option<bool> = None, NEWER;
            "commercialBigCount": Option<i32> = None, OLDER;
            "commercialEnable": Option<bool> = None, OLDER;
            "commercialTimerCount": Option<i32> = None, OLDER;
            "commercialTransCount": Option<i32> = None, OLDER;
            // Reported all the same: mqadmin 4.9 exportConfigs fails without it.
            "filterServerNums": Option<i32> = Some(0), OLDER;
            "maxDelayTime": Option<i32> = None, OLDER;
            "isEnableBatchPush": Option<bool> = None, OLDER;
            "memTableFlushInterval": Option<i64> = None, OLDER;
            "checkTransactionMessageEnable": Option<bool> = None, OLDER;
        }
        aliases {
            "destroyMappedFileIntervalForcibly" => "destroyMapedFileIntervalForcibly", "Apache's key is misspelt";
            "mapedFileSizeCommitLog" => "mappedFileSizeCommitLog", "its name in 4.4 and before";
            "mapedFileSizeConsumeQueue" => "mappedFileSizeConsumeQueue", "its name in 4.4 and before";
            "haSlaveFallbehindMax" => "haMaxGapNotInSync", "its name before 5.0";
        }
        important {
            "namesrvAddr"
            "listenPort"
            "brokerIP1"
            "recoverConcurrently"
            "autoCreateTopicEnable"
            "autoCreateSubscriptionGroup"
            "msgTraceTopicName"
            "traceTopicEnable"
            "rejectTransactionMessage"
            "fetchNameSrvAddrByDnsLookup"
            "fetchNamesrvAddrByAddressServer"
            "transactionTimeOut"
            "transactionCheckMax"
            "transactionCheckInterval"
            "aclEnable"
            "brokerName"
            "brokerClusterName"
            "brokerId"
            "storePathRootDir"
            "storePathCommitLog"
            "storePathDLedgerCommitLog"
            "storePathEpochFile"
            "storePathBrokerIdentity"
            "disappearTimeAfterStart"
            "storeType"
            "flushIntervalCommitLog"
            "commitIntervalCommitLog"
            "flushCommitLogTimed"
            "deleteWhen"
            "fileReservedTime"
            "deleteFileBatchMax"
            "maxTransferBytesOnMessageInMemory"
            "maxTransferCountOnMessageInMemory"
            "maxTransferBytesOnMessageInDisk"
            "maxTransferCountOnMessageInDisk"
            "accessMessageInMemoryMaxRatio"
            "messageIndexEnable"
            "messageIndexSafe"
            "haMasterAddress"
            "brokerRole"
            "flushDiskType"
            "cleanFileForciblyEnable"
            "transientStorePoolEnable"
            "dispatchFromSenderThread"
            "wakeCommitWhenPutMessage"
            "wakeFlushWhenPutMessage"
            "enableCleanExpiredOffset"
            "totalReplicas"
            "inSyncReplicas"
            "minInSyncReplicas"
            "allAckInSyncStateSet"
            "enableAutoInSyncReplicas"
            "haFlowControlEnable"
        }
    }
}
