//! Headers of requests about consumer groups at a broker.
//!
//! Mirrors `DeleteSubscriptionGroupRequestHeader`, `GetConsumeStatsRequestHeader` and their neighbours.

use super::super::fields::ByteString;
use crate::header;

header! {
    /// DELETE_SUBSCRIPTIONGROUP (207).
    DeleteSubscriptionGroupRequestHeader {
        "groupName" => group_name: ByteString,
        /// 4.x admin tools say `removeOffset`, which Apache 5.x overlooks.
        "cleanOffset" | "removeOffset" => clean_offset: bool = false,
    }
}

header! {
    /// GET_SUBSCRIPTIONGROUP_CONFIG (352).
    GetSubscriptionGroupConfigRequestHeader {
        "group" => group: ByteString,
    }
}

header! {
    /// GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201); only releases after 5.3.3 send fields, to read the table in pieces.
    GetAllSubscriptionGroupRequestHeader {
        "groupSeq" => group_seq: Option<i32>,
        /// JSON of a DataVersion.
        "dataVersion" => data_version: Option<ByteString>,
        "maxGroupNum" => max_group_num: Option<i32>,
    }
}

header! {
    /// Answer to GET_ALL_SUBSCRIPTIONGROUP_CONFIG.
    GetAllSubscriptionGroupResponseHeader {
        "totalGroupNum" => total_group_num: Option<i32>,
    }
}

header! {
    /// UPDATE_AND_GET_GROUP_FORBIDDEN (353).
    UpdateGroupForbiddenRequestHeader {
        "group" => group: ByteString,
        "topic" => topic: ByteString,
        /// Absent: only read.
        "readable" => readable: Option<bool>,
    }
}

header! {
    /// GET_CONSUME_STATS (208).
    GetConsumeStatsRequestHeader {
        "consumerGroup" => consumer_group: ByteString,
        /// Empty or absent: every topic of the group.
        "topic" => topic: Option<ByteString>,
        /// Several topics, separated by `;`.
        "topicList" => topic_list: Option<ByteString>,
    }
}

header! {
    /// QUERY_SUBSCRIPTION_BY_CONSUMER (345).
    QuerySubscriptionByConsumerRequestHeader {
        "group" => group: ByteString,
        "topic" => topic: Option<ByteString>,
    }
}
