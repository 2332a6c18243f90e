//! Headers of requests about the broker as a whole: configuration, statistics, replication.
//!
//! Mirrors `ViewBrokerStatsDataRequestHeader`, `QueryConsumeQueueRequestHeader` and their neighbours.

use super::super::fields::ByteString;
use crate::header;

header! {
    /// Answer to GET_BROKER_CONFIG (26).
    GetBrokerConfigResponseHeader {
        /// JSON of a DataVersion.
        "version" => version: ByteString,
    }
}

header! {
    /// GET_BROKER_CONSUME_STATS (317).
    GetConsumeStatsInBrokerHeader {
        "isOrder" => is_order: bool,
    }
}

header! {
    /// VIEW_BROKER_STATS_DATA (315).
    ViewBrokerStatsDataRequestHeader {
        "statsName" => stats_name: ByteString,
        "statsKey" => stats_key: ByteString,
    }
}

header! {
    /// QUERY_CONSUME_QUEUE (321).
    QueryConsumeQueueRequestHeader {
        "topic" => topic: ByteString,
        "queueId" => queue_id: i32,
        /// First index in the queue.
        "index" => index: i64,
        "count" => count: i32,
        "consumerGroup" => consumer_group: Option<ByteString>,
    }
}

header! {
    /// RESUME_CHECK_HALF_MESSAGE (323).
    ResumeCheckHalfMessageRequestHeader {
        "topic" => topic: Option<ByteString>,
        /// Offset message id.
        "msgId" => msg_id: Option<ByteString>,
    }
}

header! {
    /// EXCHANGE_BROKER_HA_INFO (906), both ways.
    ExchangeHAInfoRequestHeader {
        /// `ip:port` for slaves.
        "masterHaAddress" => master_ha_address: Option<ByteString>,
        /// Physical offset.
        "masterFlushOffset" => master_flush_offset: Option<i64>,
        /// `ip:port` for clients.
        "masterAddress" => master_address: Option<ByteString>,
    }
}

header! {
    /// RESET_MASTER_FLUSH_OFFSET (908).
    ResetMasterFlushOffsetHeader {
        /// Physical offset.
        "masterFlushOffset" => master_flush_offset: i64,
    }
}
