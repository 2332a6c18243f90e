//! Headers of requests to a NameServer, from clients, admin tools and brokers.
//!
//! Mirrors the package `remoting.protocol.header.namesrv`.

use super::super::fields::ByteString;
use crate::header;

header! {
    /// GET_ROUTEINFO_BY_TOPIC (105).
    GetRouteInfoRequestHeader {
        "topic" => topic: ByteString,
        "acceptStandardJsonOnly" => accept_standard_json_only: Option<bool>,
        "__ZONE_MODE" => zone_mode: Option<bool>,
        "__ZONE_NAME" => zone_name: Option<ByteString>,
    }
}

header! {
    /// REGISTER_BROKER (103).
    RegisterBrokerRequestHeader {
        "brokerName" => broker_name: ByteString,
        /// `ip:port`.
        "brokerAddr" => broker_addr: ByteString,
        "clusterName" => cluster_name: ByteString,
        /// `ip:port`.
        "haServerAddr" => ha_server_addr: ByteString,
        /// 0: master.
        "brokerId" => broker_id: i64,
        /// Absent: 120 000.
        "heartbeatTimeoutMillis" => heartbeat_timeout_millis: Option<i64>,
        /// Absent: a 4.x broker.
        "enableActingMaster" => enable_acting_master: Option<bool>,
        "compressed" => compressed: bool = false,
        /// CRC32 of the body without its top bit; 0: not checked.
        "bodyCrc32" => body_crc32: i32 = 0,
        "__ZONE_NAME" => zone_name: Option<ByteString>,
    }
}

header! {
    /// Answer to REGISTER_BROKER.
    RegisterBrokerResponseHeader {
        "haServerAddr" => ha_server_addr: Option<ByteString>,
        "masterAddr" => master_addr: Option<ByteString>,
    }
}

header! {
    /// UNREGISTER_BROKER (104).
    UnRegisterBrokerRequestHeader {
        "brokerName" => broker_name: ByteString,
        "brokerAddr" => broker_addr: ByteString,
        "clusterName" => cluster_name: ByteString,
        "brokerId" => broker_id: i64,
    }
}

header! {
    /// QUERY_DATA_VERSION (322).
    QueryDataVersionRequestHeader {
        "brokerName" => broker_name: ByteString,
        "brokerAddr" => broker_addr: ByteString,
        "clusterName" => cluster_name: ByteString,
        "brokerId" => broker_id: i64,
    }
}

header! {
    /// Answer to QUERY_DATA_VERSION.
    QueryDataVersionResponseHeader {
        "changed" => changed: bool,
    }
}

header! {
    /// BROKER_HEARTBEAT (904).
    BrokerHeartbeatRequestHeader {
        "clusterName" => cluster_name: ByteString,
        "brokerAddr" => broker_addr: ByteString,
        "brokerName" => broker_name: ByteString,
        "brokerId" => broker_id: Option<i64>,
        "epoch" => epoch: Option<i32>,
        "maxOffset" => max_offset: Option<i64>,
        "confirmOffset" => confirm_offset: Option<i64>,
        /// Java's spelling, unlike that of REGISTER_BROKER.
        "heartbeatTimeoutMills" => heartbeat_timeout_mills: Option<i64>,
        "electionPriority" => election_priority: Option<i32>,
    }
}

header! {
    /// GET_BROKER_MEMBER_GROUP (901).
    GetBrokerMemberGroupRequestHeader {
        "clusterName" => cluster_name: ByteString,
        "brokerName" => broker_name: ByteString,
    }
}

header! {
    /// PUT_KV_CONFIG (100).
    PutKVConfigRequestHeader {
        "namespace" => namespace: ByteString,
        "key" => key: ByteString,
        "value" => value: ByteString,
    }
}

header! {
    /// GET_KV_CONFIG (101).
    GetKVConfigRequestHeader {
        "namespace" => namespace: ByteString,
        "key" => key: ByteString,
    }
}

header! {
    /// Answer to GET_KV_CONFIG.
    GetKVConfigResponseHeader {
        "value" => value: Option<ByteString>,
    }
}

header! {
    /// DELETE_KV_CONFIG (102).
    DeleteKVConfigRequestHeader {
        "namespace" => namespace: ByteString,
        "key" => key: ByteString,
    }
}

header! {
    /// GET_KVLIST_BY_NAMESPACE (219).
    GetKVListByNamespaceRequestHeader {
        "namespace" => namespace: ByteString,
    }
}

header! {
    /// WIPE_WRITE_PERM_OF_BROKER (205).
    WipeWritePermOfBrokerRequestHeader {
        "brokerName" => broker_name: ByteString,
    }
}

header! {
    /// Answer to WIPE_WRITE_PERM_OF_BROKER.
    WipeWritePermOfBrokerResponseHeader {
        "wipeTopicCount" => wipe_topic_count: i32,
    }
}

header! {
    /// ADD_WRITE_PERM_OF_BROKER (327).
    AddWritePermOfBrokerRequestHeader {
        "brokerName" => broker_name: ByteString,
    }
}

header! {
    /// Answer to ADD_WRITE_PERM_OF_BROKER.
    AddWritePermOfBrokerResponseHeader {
        "addTopicCount" => add_topic_count: i32,
    }
}

header! {
    /// DELETE_TOPIC_IN_NAMESRV (216).
    DeleteTopicFromNamesrvRequestHeader {
        "topic" => topic: ByteString,
        /// Empty or absent: in every cluster.
        "clusterName" => cluster_name: Option<ByteString>,
    }
}

header! {
    /// REGISTER_TOPIC_IN_NAMESRV (217).
    RegisterTopicRequestHeader {
        "topic" => topic: ByteString,
    }
}

header! {
    /// GET_TOPICS_BY_CLUSTER (224).
    GetTopicsByClusterRequestHeader {
        "cluster" => cluster: ByteString,
    }
}
