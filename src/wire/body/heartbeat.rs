//! Heartbeats: what a client says about its producers, consumers and subscriptions.
//!
//! Mirrors the package `remoting.protocol.heartbeat`. Enums come by name or ordinal; Go sends the members of
//! `codeSet` as texts.

#![allow(missing_docs)] // fields are just the Java names

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Body of HEART_BEAT (34).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeartbeatData {
    #[serde(rename = "clientID")]
    pub client_id: String,
    pub consumer_data_set: Vec<ConsumerData>,
    /// 0: the client does not use heartbeats v2.
    pub heartbeat_fingerprint: i32,
    pub producer_data_set: Vec<ProducerData>,
    /// The subscriptions were left out because they did not change.
    pub without_sub: bool,
}

/// A producer group of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerData {
    pub group_name: String,
}

/// A consumer group of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerData {
    pub consume_from_where: ConsumeFromWhere,
    pub consume_type: ConsumeType,
    pub group_name: String,
    pub message_model: MessageModel,
    pub subscription_data_set: Vec<SubscriptionData>,
    pub unit_mode: bool,
}

/// How a consumer gets its messages. Java has no default; ours is what nearly every client sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConsumeType {
    ConsumeActively,
    #[default]
    ConsumePassively,
    ConsumePop,
}

/// Whether the members of a group share the messages or get all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MessageModel {
    Broadcasting,
    #[default]
    Clustering,
}

/// Where a group without an offset begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConsumeFromWhere {
    #[default]
    ConsumeFromLastOffset,
    ConsumeFromLastOffsetAndFromMinWhenBootFirst,
    ConsumeFromMinOffset,
    ConsumeFromMaxOffset,
    ConsumeFromFirstOffset,
    ConsumeFromTimestamp,
}

/// What a group wants of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionData {
    pub class_filter_mode: bool,
    /// Java hash codes of the tags.
    pub code_set: BTreeSet<i32>,
    /// `TAG` or `SQL92`; Go sends an empty text for `TAG`.
    pub expression_type: String,
    pub sub_string: String,
    /// The client's clock when it subscribed, in milliseconds.
    pub sub_version: i64,
    pub tags_set: BTreeSet<String>,
    pub topic: String,
}

impl Default for SubscriptionData {
    fn default() -> Self {
        Self {
            class_filter_mode: false,
            code_set: BTreeSet::new(),
            expression_type: "TAG".to_owned(),
            sub_string: String::new(),
            sub_version: 0,
            tags_set: BTreeSet::new(),
            topic: String::new(),
        }
    }
}

/// Body of CHECK_CLIENT_CONFIG (46).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckClientRequestBody {
    pub client_id: String,
    pub group: String,
    pub namespace: Option<String>,
    pub subscription_data: SubscriptionData,
}

/// Answer to GET_CONSUMER_LIST_BY_GROUP (38).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GetConsumerListByGroupResponseBody {
    pub consumer_id_list: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::body;
    use crate::wire::fastjson;

    /// A heartbeat is Apache's text.
    #[test]
    fn golden() {
        let text = r#"{"clientID":"c","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"g","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*","subVersion":5,"tagsSet":[],"topic":"T"}],"unitMode":false}],"heartbeatFingerprint":0,"producerDataSet":[],"withoutSub":false}"#;
        let heartbeat: HeartbeatData = body::decode("a heartbeat", text.as_bytes()).unwrap();
        assert_eq!(heartbeat.client_id, "c");
        assert_eq!(heartbeat.consumer_data_set[0].subscription_data_set[0].sub_version, 5);
        assert_eq!(fastjson::to_string(&heartbeat), text);
    }

    /// What Go sends, and what fastjson lets pass: texts for numbers, ordinals for enums, nulls, no fields.
    #[test]
    fn tolerant() {
        let go = r#"{"clientID":"c","producerDataSet":[{"groupName":"CLIENT_INNER_PRODUCER"}],"consumerDataSet":[{"groupName":"g","consumeType":"CONSUME_ACTIVELY","messageModel":"BROADCASTING","consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","subscriptionDataSet":[{"classFilterMode":false,"topic":"T","subString":"a||b","tagsSet":["a","b"],"codeSet":["97","98"],"subVersion":1700000000000000000,"expressionType":""}],"unitMode":false}]}"#;
        let heartbeat: HeartbeatData = body::decode("a heartbeat", go.as_bytes()).unwrap();
        let consumer = &heartbeat.consumer_data_set[0];
        assert_eq!(consumer.consume_type, ConsumeType::ConsumeActively);
        assert_eq!(consumer.message_model, MessageModel::Broadcasting);
        assert_eq!(consumer.consume_from_where, ConsumeFromWhere::ConsumeFromFirstOffset);
        assert_eq!(consumer.subscription_data_set[0].code_set, [97, 98].into());
        assert_eq!(consumer.subscription_data_set[0].expression_type, "");
        let odd = r#"{clientID:'c',"producerDataSet":null,"consumerDataSet":[{"groupName":"g","consumeType":2,"messageModel":0,"consumeFromWhere":5,"unitMode":"true","subscriptionDataSet":[{"topic":5,"subVersion":"77","expressionType":null,"new":{}}]}]}"#;
        let heartbeat: HeartbeatData = body::decode("a heartbeat", odd.as_bytes()).unwrap();
        let consumer = &heartbeat.consumer_data_set[0];
        assert_eq!(consumer.consume_type, ConsumeType::ConsumePop);
        assert_eq!(consumer.consume_from_where, ConsumeFromWhere::ConsumeFromTimestamp);
        assert!(consumer.unit_mode);
        let subscription =
            SubscriptionData { topic: "5".into(), sub_version: 77, ..SubscriptionData::default() };
        assert_eq!(consumer.subscription_data_set, [subscription]);
    }

    /// A broken heartbeat is refused with a text that says what was expected, and where it went wrong.
    #[test]
    fn refused() {
        for (text, refusal) in [
            ("", "the request's body is not a heartbeat: it is missing"),
            ("[]", "the request's body is not a heartbeat: an object is missing before '[' at byte 0"),
            ("{", "the request's body is not a heartbeat: a value is missing at the end at byte 1"),
        ] {
            assert_eq!(
                body::decode::<HeartbeatData>("a heartbeat", text.as_bytes()).unwrap_err().to_string(),
                refusal
            );
        }
    }
}
