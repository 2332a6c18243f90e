//! Bodies of POP: check points and acknowledgements in the revive log, batches of acknowledgements, who pops what.
//!
//! Mirrors `PopCheckPoint`, `AckMsg`, `BatchAckMsg`, `BatchAckMessageRequestBody`, `QueryAssignmentRequestBody`,
//! `QueryAssignmentResponseBody`, `SetMessageRequestModeRequestBody` and `ConsumerOrderInfoManager.OrderInfo`, whose
//! short names are the ones on the wire. A bit set is base64 over its bytes, least significant bit first.

#![allow(missing_docs)] // fields are just the Java names, long names beside the short ones

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::heartbeat::MessageModel;
use super::message_queue::MessageQueue;

/// What one pop gave out of one queue; body of a `ck` message in the revive log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PopCheckPoint {
    /// Bits of what is acknowledged; 0 in the log.
    #[serde(rename = "bm")]
    pub bit_map: i32,
    #[serde(rename = "bn")]
    pub broker_name: String,
    #[serde(rename = "c")]
    pub c_id: String,
    /// Queue offsets of the messages, counted from the start offset.
    #[serde(rename = "d")]
    pub queue_offset_diff: Vec<i32>,
    /// Milliseconds.
    #[serde(rename = "it")]
    pub invisible_time: i64,
    #[serde(rename = "n")]
    pub num: i8,
    #[serde(rename = "pt")]
    pub pop_time: i64,
    #[serde(rename = "q")]
    pub queue_id: i32,
    #[serde(rename = "reviveTime")]
    pub revive_time: i64,
    #[serde(rename = "ro")]
    pub revive_offset: i64,
    /// How often the check point was put again because its messages could not be.
    #[serde(rename = "rp", skip_serializing_if = "Option::is_none")]
    pub re_put_times: Option<String>,
    #[serde(rename = "so")]
    pub start_offset: i64,
    #[serde(rename = "t")]
    pub topic: String,
}

impl PopCheckPoint {
    /// Returns the queue offsets of the messages; older brokers leave the list out where there are no gaps.
    pub fn offsets(&self) -> Vec<i64> {
        if self.queue_offset_diff.is_empty() {
            return (0..i64::from(self.num.max(0))).map(|at| self.start_offset.saturating_add(at)).collect();
        }
        let diffs = self.queue_offset_diff.iter();
        diffs.map(|diff| self.start_offset.saturating_add(i64::from(*diff))).collect()
    }
}

/// What a client is done with; body of an `ack` or, with the list, a `bAck` message in the revive log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AckMsg {
    #[serde(rename = "ao", alias = "ackOffset")]
    pub ack_offset: i64,
    #[serde(rename = "aol", alias = "ackOffsetList", skip_serializing_if = "Vec::is_empty")]
    pub ack_offset_list: Vec<i64>,
    #[serde(rename = "bn", alias = "brokerName")]
    pub broker_name: String,
    #[serde(rename = "c", alias = "consumerGroup")]
    pub consumer_group: String,
    #[serde(rename = "pt", alias = "popTime")]
    pub pop_time: i64,
    #[serde(rename = "q", alias = "queueId")]
    pub queue_id: i32,
    #[serde(rename = "so", alias = "startOffset")]
    pub start_offset: i64,
    #[serde(rename = "t", alias = "topic")]
    pub topic: String,
}

/// Body of BATCH_ACK_MESSAGE (200151).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BatchAckMessageRequestBody {
    pub acks: Vec<BatchAck>,
    pub broker_name: String,
}

/// Acknowledgements of messages of one check point.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchAck {
    /// Base64 of a bit set; bit i stands for the start offset + i.
    #[serde(rename = "b", alias = "bitSet")]
    pub bit_set: String,
    #[serde(rename = "c", alias = "consumerGroup")]
    pub consumer_group: String,
    #[serde(rename = "it", alias = "invisibleTime")]
    pub invisible_time: i64,
    #[serde(rename = "pt", alias = "popTime")]
    pub pop_time: i64,
    #[serde(rename = "q", alias = "queueId")]
    pub queue_id: i32,
    /// `0` the topic itself, `1` or `2` its retry topic.
    #[serde(rename = "r", alias = "retry")]
    pub retry: String,
    #[serde(rename = "rq", alias = "reviveQueueId")]
    pub revive_queue_id: i32,
    #[serde(rename = "so", alias = "startOffset")]
    pub start_offset: i64,
    #[serde(rename = "t", alias = "topic")]
    pub topic: String,
}

impl BatchAck {
    /// Returns the numbers of the bits that are set, or nothing when the text is no base64.
    pub fn bits(&self) -> Option<Vec<i64>> {
        let bytes = base64(self.bit_set.as_bytes())?;
        let bits = bytes.iter().enumerate().flat_map(|(at, byte)| {
            (0..8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| at as i64 * 8 + bit)
        });
        Some(bits.collect())
    }
}

fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut number = 0_u32;
        for &digit in group {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            number = number << 6 | u32::from(value);
        }
        match group.len() {
            4 => bytes.extend_from_slice(&number.to_be_bytes()[1..]),
            3 => bytes.extend_from_slice(&(number >> 2).to_be_bytes()[2..]),
            2 => bytes.push((number >> 4) as u8),
            _ => return None,
        }
    }
    Some(bytes)
}

/// How the members of a group get a topic's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MessageRequestMode {
    #[default]
    Pull,
    Pop,
}

/// Body of SET_MESSAGE_REQUEST_MODE (401), and what is kept of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetMessageRequestModeRequestBody {
    pub consumer_group: String,
    pub mode: MessageRequestMode,
    /// How many other members' queues each member pops from, too; 0: all.
    pub pop_share_queue_num: i32,
    pub topic: String,
}

/// Content of `messageRequestMode.json`, and answer to GET_ALL_MESSAGE_REQUEST_MODE (402): by topic, then group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageRequestModeSerializeWrapper {
    pub message_request_mode_map: BTreeMap<String, BTreeMap<String, SetMessageRequestModeRequestBody>>,
}

/// Body of QUERY_ASSIGNMENT (400).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryAssignmentRequestBody {
    pub client_id: String,
    pub consumer_group: String,
    pub message_model: MessageModel,
    pub strategy_name: String,
    pub topic: String,
}

/// Answer to QUERY_ASSIGNMENT; no list where group, topic or strategy is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryAssignmentResponseBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_queue_assignments: Option<Vec<MessageQueueAssignment>>,
}

/// One queue of a member; queue -1: every queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageQueueAssignment {
    pub message_queue: MessageQueue,
    pub mode: MessageRequestMode,
}

/// Content of `consumerOrderInfo.json`: by `topic@group`, then queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsumerOrderInfoTable {
    pub table: BTreeMap<String, BTreeMap<i32, OrderInfo>>,
}

/// What an orderly consumer holds of one queue. Times are milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OrderInfo {
    #[serde(rename = "a", skip_serializing_if = "Option::is_none")]
    pub attempt_id: Option<String>,
    /// Bits of what is acknowledged.
    #[serde(rename = "cm")]
    pub commit_offset_bit: i64,
    #[serde(rename = "i")]
    pub invisible_time: i64,
    #[serde(rename = "l")]
    pub last_consume_timestamp: i64,
    /// The first queue offset, then the distance of each other one from it.
    #[serde(rename = "o")]
    pub offset_list: Vec<i64>,
    /// How often each was given out before.
    #[serde(rename = "oc")]
    pub offset_consumed_count: BTreeMap<i64, i32>,
    /// Own times of single messages.
    #[serde(rename = "ot")]
    pub offset_next_visible_time: BTreeMap<i64, i64>,
    #[serde(rename = "popTime")]
    pub pop_time: i64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{body, fastjson};

    /// Check points and acknowledgements are Apache's text, with long names read too.
    #[test]
    fn golden() {
        let text = r#"{"bm":0,"bn":"broker-a","c":"g","d":[0,2],"it":60000,"n":2,"pt":1700000000000,"q":1,"reviveTime":1700000060000,"ro":0,"so":7,"t":"T"}"#;
        let point: PopCheckPoint = body::decode("a check point", text.as_bytes()).unwrap();
        assert_eq!(point.offsets(), [7, 9]);
        assert_eq!(fastjson::to_string(&point), text);
        let old: PopCheckPoint = body::decode("a check point", br#"{"so":7,"n":3}"#).unwrap();
        assert_eq!(old.offsets(), [7, 8, 9]);
        let text = r#"{"ao":9,"bn":"broker-a","c":"g","pt":1700000000000,"q":1,"so":7,"t":"T"}"#;
        let ack: AckMsg = body::decode("an acknowledgement", text.as_bytes()).unwrap();
        assert_eq!(fastjson::to_string(&ack), text);
        let long = br#"{"acks":[{"consumerGroup":"g","topic":"T","retry":"1","startOffset":5,"queueId":1,"reviveQueueId":2,"popTime":3,"invisibleTime":4,"bitSet":"BQE="}],"brokerName":"b"}"#;
        let batch: BatchAckMessageRequestBody = body::decode("acknowledgements", long).unwrap();
        assert_eq!((batch.acks[0].bits(), &*batch.acks[0].retry), (Some(vec![0, 2, 8]), "1"));
    }

    /// Bit sets of any length are read; what is no base64 is not.
    #[test]
    fn bit_sets() {
        let bits = |text: &str| BatchAck { bit_set: text.to_owned(), ..BatchAck::default() }.bits();
        assert_eq!(bits(""), Some(vec![]));
        assert_eq!(bits("AQ=="), Some(vec![0]));
        assert_eq!(bits("/////w==").map(|bits| bits.len()), Some(32));
        assert_eq!(bits("AAAB"), Some(vec![16]));
        assert_eq!((bits("A"), bits("A!=="), bits("\u{e4}")), (None, None, None));
    }
}
