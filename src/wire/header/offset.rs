//! Headers of requests about offsets: a group's progress, a queue's bounds, search by time, resets.
//!
//! Mirrors `QueryConsumerOffsetRequestHeader`, `GetMaxOffsetRequestHeader`, `ResetOffsetRequestHeader` and their
//! neighbours.

use super::super::fields::ByteString;
use crate::header;

header! {
    /// QUERY_CONSUMER_OFFSET (14).
    QueryConsumerOffsetRequestHeader {
        "consumerGroup" => consumer_group: ByteString,
        "topic" => topic: ByteString,
        "queueId" => queue_id: i32,
        "setZeroIfNotFound" => set_zero_if_not_found: Option<bool>,
    }
}

header! {
    /// Answer to QUERY_CONSUMER_OFFSET.
    QueryConsumerOffsetResponseHeader {
        "offset" => offset: i64,
    }
}

header! {
    /// UPDATE_CONSUMER_OFFSET (15).
    UpdateConsumerOffsetRequestHeader {
        "consumerGroup" => consumer_group: ByteString,
        "topic" => topic: ByteString,
        "queueId" => queue_id: i32,
        "commitOffset" => commit_offset: i64,
    }
}

header! {
    /// GET_MAX_OFFSET (30).
    GetMaxOffsetRequestHeader {
        "topic" => topic: ByteString,
        "queueId" => queue_id: i32,
        "committed" => committed: bool = true,
    }
}

header! {
    /// Answer to GET_MAX_OFFSET.
    GetMaxOffsetResponseHeader {
        "offset" => offset: i64,
    }
}

header! {
    /// GET_MIN_OFFSET (31).
    GetMinOffsetRequestHeader {
        "topic" => topic: ByteString,
        "queueId" => queue_id: i32,
    }
}

header! {
    /// Answer to GET_MIN_OFFSET.
    GetMinOffsetResponseHeader {
        "offset" => offset: i64,
    }
}

header! {
    /// SEARCH_OFFSET_BY_TIMESTAMP (29).
    SearchOffsetRequestHeader {
        "topic" => topic: ByteString,
        "queueId" => queue_id: i32,
        /// Milliseconds.
        "timestamp" => timestamp: i64,
        /// `UPPER` in any case; whatever else means `LOWER`.
        "boundaryType" => boundary_type: Option<ByteString>,
    }
}

header! {
    /// Answer to SEARCH_OFFSET_BY_TIMESTAMP.
    SearchOffsetResponseHeader {
        "offset" => offset: i64,
    }
}

header! {
    /// GET_EARLIEST_MSG_STORETIME (32).
    GetEarliestMsgStoretimeRequestHeader {
        "topic" => topic: ByteString,
        "queueId" => queue_id: i32,
    }
}

header! {
    /// Answer to GET_EARLIEST_MSG_STORETIME.
    GetEarliestMsgStoretimeResponseHeader {
        /// Milliseconds; -1 if there is no message.
        "timestamp" => timestamp: i64,
    }
}

header! {
    /// INVOKE_BROKER_TO_RESET_OFFSET (222), and RESET_CONSUMER_CLIENT_OFFSET (220) to a client.
    ResetOffsetRequestHeader {
        "group" => group: ByteString,
        "topic" => topic: ByteString,
        /// -1: every queue.
        "queueId" => queue_id: i32 = -1,
        "offset" => offset: Option<i64>,
        /// Milliseconds; -1: the newest message.
        "timestamp" => timestamp: i64,
        "isForce" => is_force: bool,
    }
}

header! {
    /// INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223), and GET_CONSUMER_STATUS_FROM_CLIENT (221) to a client.
    GetConsumerStatusRequestHeader {
        "topic" => topic: ByteString,
        "group" => group: ByteString,
        "clientAddr" => client_addr: Option<ByteString>,
    }
}

header! {
    /// CLONE_GROUP_OFFSET (314).
    CloneGroupOffsetRequestHeader {
        "srcGroup" => src_group: ByteString,
        "destGroup" => dest_group: ByteString,
        "topic" => topic: Option<ByteString>,
        "offline" => offline: bool = false,
    }
}

header! {
    /// QUERY_CORRECTION_OFFSET (308).
    QueryCorrectionOffsetHeader {
        "filterGroups" => filter_groups: Option<ByteString>,
        "compareGroup" => compare_group: ByteString,
        "topic" => topic: ByteString,
    }
}

header! {
    /// QUERY_CONSUME_TIME_SPAN (303).
    QueryConsumeTimeSpanRequestHeader {
        "topic" => topic: ByteString,
        "group" => group: ByteString,
    }
}
