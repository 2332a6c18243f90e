//! Headers of requests that read messages: PULL_MESSAGE, LITE_PULL_MESSAGE, QUERY_MESSAGE, VIEW_MESSAGE_BY_ID.
//!
//! Mirrors `PullMessageRequestHeader`, `QueryMessageRequestHeader` and their neighbours.

use super::super::fields::ByteString;
use crate::header;

header! {
    /// PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361).
    PullMessageRequestHeader {
        "consumerGroup" => consumer_group: ByteString,
        "topic" => topic: ByteString,
        "queueId" => queue_id: i32,
        "queueOffset" => queue_offset: i64,
        "maxMsgNums" => max_msg_nums: i32,
        /// Bits: 1 commit the offset, 2 may be held, 4 carries its own subscription, 8 class filter, 16 lite pull.
        "sysFlag" => sys_flag: i32,
        "commitOffset" => commit_offset: i64,
        /// Milliseconds that the request may be held.
        "suspendTimeoutMillis" => suspend_timeout_millis: i64,
        "subscription" => subscription: Option<ByteString>,
        "subVersion" => sub_version: i64,
        /// `TAG`, `SQL92`, or empty or absent for `TAG`.
        "expressionType" => expression_type: Option<ByteString>,
        "maxMsgBytes" => max_msg_bytes: Option<i32>,
        "requestSource" => request_source: Option<i32>,
        /// Java's spelling.
        "proxyFrowardClientId" => proxy_froward_client_id: Option<ByteString>,
    }
}

header! {
    /// Answer to a pull. The first four are written with codes 0, 19, 20 and 21: Java unboxes them unseen.
    PullMessageResponseHeader {
        "suggestWhichBrokerId" => suggest_which_broker_id: i64,
        "nextBeginOffset" => next_begin_offset: i64,
        "minOffset" => min_offset: i64,
        "maxOffset" => max_offset: i64,
        "offsetDelta" => offset_delta: Option<i64>,
        "topicSysFlag" => topic_sys_flag: Option<i32>,
        "groupSysFlag" => group_sys_flag: Option<i32>,
        /// With code 16: 1 broker, 2 group, 3 topic, 4 broadcasting disabled, 5 subscription.
        "forbiddenType" => forbidden_type: Option<i32>,
    }
}

header! {
    /// QUERY_MESSAGE (12).
    QueryMessageRequestHeader {
        "topic" => topic: ByteString,
        "key" => key: ByteString,
        "maxNum" => max_num: i32,
        /// Milliseconds.
        "beginTimestamp" => begin_timestamp: i64,
        /// Milliseconds.
        "endTimestamp" => end_timestamp: i64,
        /// The key is a client's message id (`MixAll.UNIQUE_MSG_QUERY_FLAG`).
        "_UNIQUE_KEY_QUERY" => unique_key_query: bool = false,
    }
}

header! {
    /// Answer to QUERY_MESSAGE.
    QueryMessageResponseHeader {
        "indexLastUpdateTimestamp" => index_last_update_timestamp: i64,
        "indexLastUpdatePhyoffset" => index_last_update_phyoffset: i64,
    }
}

header! {
    /// VIEW_MESSAGE_BY_ID (33).
    ViewMessageRequestHeader {
        "topic" => topic: Option<ByteString>,
        /// Physical offset, taken by the client from the message id.
        "offset" => offset: i64,
    }
}
