//! Headers of requests about topics at a broker.
//!
//! Mirrors `CreateTopicRequestHeader`, `DeleteTopicRequestHeader` and their neighbours.

use super::super::fields::ByteString;
use crate::header;

header! {
    /// UPDATE_AND_CREATE_TOPIC (17).
    CreateTopicRequestHeader {
        "topic" => topic: ByteString,
        "defaultTopic" => default_topic: ByteString,
        "readQueueNums" => read_queue_nums: i32,
        "writeQueueNums" => write_queue_nums: i32,
        /// Bits: 1 inherit, 2 write, 4 read, 8 priority.
        "perm" => perm: i32,
        /// `SINGLE_TAG` or `MULTI_TAG`.
        "topicFilterType" => topic_filter_type: ByteString,
        "topicSysFlag" => topic_sys_flag: Option<i32>,
        "order" => order: bool = false,
        /// `+message.type=FIFO,-other`.
        "attributes" => attributes: Option<ByteString>,
        "force" => force: bool = false,
    }
}

header! {
    /// DELETE_TOPIC_IN_BROKER (215).
    DeleteTopicRequestHeader {
        "topic" => topic: ByteString,
    }
}

header! {
    /// GET_TOPIC_CONFIG (351).
    GetTopicConfigRequestHeader {
        "topic" => topic: ByteString,
    }
}

header! {
    /// GET_ALL_TOPIC_CONFIG (21); only releases after 5.3.3 send fields, to read the table in pieces.
    GetAllTopicConfigRequestHeader {
        "topicSeq" => topic_seq: Option<i32>,
        /// JSON of a DataVersion.
        "dataVersion" => data_version: Option<ByteString>,
        "maxTopicNum" => max_topic_num: Option<i32>,
    }
}

header! {
    /// Answer to GET_ALL_TOPIC_CONFIG.
    GetAllTopicConfigResponseHeader {
        "totalTopicNum" => total_topic_num: Option<i32>,
    }
}

header! {
    /// GET_TOPIC_STATS_INFO (202).
    GetTopicStatsInfoRequestHeader {
        "topic" => topic: ByteString,
    }
}

header! {
    /// QUERY_TOPIC_CONSUME_BY_WHO (300).
    QueryTopicConsumeByWhoRequestHeader {
        "topic" => topic: ByteString,
    }
}

header! {
    /// QUERY_TOPICS_BY_CONSUMER (343).
    QueryTopicsByConsumerRequestHeader {
        "group" => group: ByteString,
    }
}
