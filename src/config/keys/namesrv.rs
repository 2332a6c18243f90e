//! The NameServer's keys: one line per key of NamesrvConfig and NettyServerConfig of 5.3.3. The form of the lines
//! is explained in `broker.rs`.

use super::broker::{NETTY, PLACES, QUEUES, THREADS};
use super::table::key_table;
use super::{Effect, Limit};

const WORKS: Effect = Effect::Works;
const CONTROLLER: &str = "there is no controller mode";
const LABEL: &str = "nothing reads this label";

const POSITIVE: Limit = Limit::Range(1, i32::MAX as i64);
const NOT_EMPTY: Limit = Limit::Rule("any text but an empty one", |text| !text.is_empty());

key_table! {
    /// Every configuration key of a NameServer with its value.
    pub struct NamesrvKeys |machine| {
        fields {
            listen_port: i32 = 9_876, limit Limit::Range(0, 65_535), "listenPort", restart, WORKS, "port for brokers and clients; 0 is any free port";
            bind_address: String = "0.0.0.0".into(), limit NOT_EMPTY, "bindAddress", restart, WORKS, "address to listen on; `rmq-lite start` listens on 127.0.0.1 unless told otherwise";
            kv_config_path: String = machine.under_home("namesrv/kvConfig.json"), limit NOT_EMPTY, "kvConfigPath", restart, WORKS, "file of the key-value configuration; `rmq-lite start` keeps it in its data directory unless told otherwise";
            config_store_path: String = machine.under_home("namesrv/namesrv.properties"), limit NOT_EMPTY, "configStorePath", restart, WORKS, "file that configuration updates are written to; the file given by -c when there is one";
            config_black_list: String = "configBlackList;configStorePath;kvConfigPath".into(), "configBlackList", restart, WORKS, "keys that UPDATE_NAMESRV_CONFIG refuses, separated by `;`";
            order_message_enable: bool = false, "orderMessageEnable", live, WORKS, "adds the order configuration of a topic to its routes";
            return_order_topic_config_to_broker: bool = true, "returnOrderTopicConfigToBroker", live, WORKS, "answers registrations with the order configuration of all topics";
            scan_not_active_broker_interval: i64 = 5_000, limit Limit::Range(1, i64::MAX), "scanNotActiveBrokerInterval", restart, WORKS, "milliseconds between searches for brokers that have fallen silent";
            enable_all_topic_list: bool = true, "enableAllTopicList", live, WORKS, "answers requests for the list of all topics";
            enable_topic_list: bool = true, "enableTopicList", live, WORKS, "answers requests for the topics of one cluster or kind";
            need_wait_for_service: bool = false, "needWaitForService", live, WORKS, "refuses routes for a while after the start";
            wait_seconds_for_service: i32 = 45, limit Limit::Range(0, i32::MAX as i64), "waitSecondsForService", live, WORKS, "seconds after the start during which routes are refused";
            delete_topic_with_broker_registration: bool = false, "deleteTopicWithBrokerRegistration", live, WORKS, "forgets the topics that a broker's registration no longer names";
            support_acting_master: bool = false, "supportActingMaster", live, WORKS, "shows a slave as master in routes while the master is gone";
            notify_min_broker_id_changed: bool = false, "notifyMinBrokerIdChanged", live, WORKS, "tells brokers when the least id of their group changes";
            server_channel_max_idle_time_seconds: i32 = 120, limit POSITIVE, "serverChannelMaxIdleTimeSeconds", restart, WORKS, "seconds without a byte after which a connection is closed";
            server_socket_backlog: i32 = 1_024, limit POSITIVE, "serverSocketBacklog", restart, WORKS, "connections waiting to be accepted";
        }
        texts {
            "serverWorkerThreads": i32 = 8, THREADS;
            "serverCallbackExecutorThreads": i32 = 0, THREADS;
            "serverSelectorThreads": i32 = 3, THREADS;
            "serverOnewaySemaphoreValue": i32 = 256, QUEUES;
            "serverAsyncSemaphoreValue": i32 = 64, QUEUES;
            "serverSocketSndBufSize": i32 = 0, NETTY;
            "serverSocketRcvBufSize": i32 = 0, NETTY;
            "writeBufferHighWaterMark": i32 = 0, NETTY;
            "writeBufferLowWaterMark": i32 = 0, NETTY;
            "serverNettyWorkerGroupEnable": bool = true, NETTY;
            "serverPooledByteBufAllocatorEnable": bool = true, NETTY;
            "enableShutdownGracefully": bool = false, NETTY;
            "shutdownWaitTimeSeconds": i32 = 30, NETTY;
            "useEpollNativeSelector": bool = false, NETTY;
            "rocketmqHome": Option<String> = None, PLACES;
            "productEnvName": String = "center".into(), LABEL;
            "clusterTest": bool = false, LABEL;
            "clientRequestThreadPoolNums": i32 = 8, THREADS;
            "defaultThreadPoolNums": i32 = 16, THREADS;
            "clientRequestThreadPoolQueueCapacity": i32 = 50_000, QUEUES;
            "defaultThreadPoolQueueCapacity": i32 = 10_000, QUEUES;
            "unRegisterBrokerQueueCapacity": i32 = 3000, QUEUES;
            "enableControllerInNamesrv": bool = false, CONTROLLER;
        }
        aliases {}
        important {}
    }
}
