//! Offsets of groups: the files they are kept in, resets, and what clients report.
//!
//! Mirrors `ConsumerOffsetSerializeWrapper`, `DelayOffsetSerializeWrapper`, `ResetOffsetBody`, `GetConsumerStatusBody`
//! and their neighbours. Keys that are queues are raw objects in compact text, the only form Go understands.

#![allow(missing_docs)] // fields are just the Java names

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::data_version::DataVersion;
use super::message_queue::MessageQueue;

/// The file `consumerOffset.json`; answer to GET_ALL_CONSUMER_OFFSET (43).
///
/// Apache writes `groupTopicMap` too, which follows from the table and is ignored when read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerOffsetSerializeWrapper {
    pub data_version: DataVersion,
    /// `topic@group` to queue to offset.
    pub offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
}

/// The file `delayOffset.json`; answer to GET_ALL_DELAY_OFFSET (45).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DelayOffsetSerializeWrapper {
    pub data_version: DataVersion,
    /// Delay level, from 1, to the next index in its queue.
    pub offset_table: BTreeMap<i32, i64>,
}

/// Answer to INVOKE_BROKER_TO_RESET_OFFSET (222), body of RESET_CONSUMER_CLIENT_OFFSET (220).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResetOffsetBody {
    pub offset_table: BTreeMap<MessageQueue, i64>,
}

/// As [`ResetOffsetBody`], for clients in C++.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResetOffsetBodyForC {
    pub offset_table: Vec<MessageQueueForC>,
}

/// A queue and its offset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageQueueForC {
    pub broker_name: String,
    pub offset: i64,
    pub queue_id: i32,
    pub topic: String,
}

/// Answer to GET_CONSUMER_STATUS_FROM_CLIENT (221) and INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GetConsumerStatusBody {
    /// 223: client id to its offsets.
    pub consumer_table: BTreeMap<String, BTreeMap<MessageQueue, i64>>,
    /// 221: the client's offsets.
    pub message_queue_table: BTreeMap<MessageQueue, i64>,
}

/// Answer to QUERY_CORRECTION_OFFSET (308).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryCorrectionOffsetBody {
    /// Queue to offset.
    pub correction_offsets: BTreeMap<i32, i64>,
}

/// Answer to QUERY_CONSUME_TIME_SPAN (303).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryConsumeTimeSpanBody {
    pub consume_time_span_set: Vec<QueueTimeSpan>,
}

/// Times of a queue. Java also prints each as a text, which nobody reads back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueTimeSpan {
    pub consume_time_stamp: i64,
    /// Milliseconds that the group is behind.
    pub delay_time: i64,
    pub max_time_stamp: i64,
    pub message_queue: MessageQueue,
    pub min_time_stamp: i64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::fastjson;

    /// The file that Apache writes is read, its by-product passed over, and written in the same form.
    #[test]
    fn consumer_offset_file() {
        let apache = "{\n\t\"dataVersion\":{\n\t\t\"counter\":1,\n\t\t\"stateVersion\":0,\n\t\t\"timestamp\":5\n\t},\n\t\"groupTopicMap\":{\n\t\t\"g\":[\"T\"]\n\t},\n\t\"offsetTable\":{\n\t\t\"T@g\":{0:2,1:2\n\t\t}\n\t}\n}";
        let file: ConsumerOffsetSerializeWrapper = fastjson::from_slice(apache.as_bytes()).unwrap();
        assert_eq!(file.offset_table["T@g"], [(0, 2), (1, 2)].into());
        let ours = apache.replace("\n\t\"groupTopicMap\":{\n\t\t\"g\":[\"T\"]\n\t},", "");
        assert_eq!(fastjson::to_string_pretty(&file), ours);
        let quoted = ours.replace("{0:2,1:2", "{\"0\":2,\"1\":2");
        assert_eq!(fastjson::from_slice::<ConsumerOffsetSerializeWrapper>(quoted.as_bytes()).unwrap(), file);
        assert_eq!(
            fastjson::from_slice::<DelayOffsetSerializeWrapper>(b"{offsetTable:{1:5,3:1}}")
                .unwrap()
                .offset_table,
            [(1, 5), (3, 1)].into()
        );
    }
}
