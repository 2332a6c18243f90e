//! Headers as real clients send them.

use super::{group::*, offset::*, pull::*, route::*, send::*};
use crate::wire::command::Request;
use crate::wire::fields::{FieldList, Fields, Header};

fn written(header: &impl Header) -> Vec<(String, String)> {
    let mut out = FieldList::default();
    header.encode(&mut out);
    let members: serde_json::Map<_, _> = serde_json::from_str(&format!("{{{}}}", out.as_json())).unwrap();
    members.into_iter().map(|(name, value)| (name, value.as_str().unwrap().to_owned())).collect()
}

fn read_back<H: Header>(header: &H) -> H {
    let pairs = written(header);
    H::decode(&Fields::from_pairs(pairs.iter().map(|(name, value)| (&**name, &**value)))).unwrap()
}

/// A send reads the same under its long names (Go) and its short ones (Java), and is written with the short ones.
#[test]
fn send() {
    let go = [
        ("producerGroup", "p"),
        ("topic", "T"),
        ("queueId", "0"),
        ("sysFlag", "0"),
        ("bornTimestamp", "5"),
        ("flag", "0"),
        ("reconsumeTimes", "0"),
        ("unitMode", "false"),
        ("maxReconsumeTimes", "0"),
        ("defaultTopic", "TBW102"),
        ("defaultTopicQueueNums", "4"),
        ("batch", "false"),
        ("properties", "K\u{1}V\u{2}"),
    ];
    let java = [
        ("a", "p"),
        ("b", "T"),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "0"),
        ("f", "0"),
        ("g", "5"),
        ("h", "0"),
        ("i", "K\u{1}V\u{2}"),
        ("j", "0"),
        ("k", "false"),
        ("l", "0"),
        ("m", "false"),
        ("n", "broker-a"),
    ];
    let long = SendMessageRequestHeader::decode(&Fields::from_pairs(go)).unwrap();
    let short = SendMessageRequestHeader::decode(&Fields::from_pairs(java)).unwrap();
    assert_eq!(short.broker_name.as_deref(), Some("broker-a"));
    assert_eq!(long, SendMessageRequestHeader { broker_name: None, ..short.clone() });
    assert_eq!(written(&short), java.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for missing in 0..8 {
        let pairs = java.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, pair)| *pair);
        let refusal = SendMessageRequestHeader::decode(&Fields::from_pairs(pairs)).unwrap_err();
        assert_eq!(refusal.to_string(), format!("the request's field {} is missing", java[missing].0));
    }
}

/// A pull as Go sends it, with empty texts and without the fields of 5.x.
#[test]
fn pull() {
    let go = [
        ("consumerGroup", "g"),
        ("topic", "T"),
        ("queueId", "1"),
        ("queueOffset", "7"),
        ("maxMsgNums", "32"),
        ("sysFlag", "6"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "20000"),
        ("subscription", "*"),
        ("subVersion", "1700000000000000000"),
        ("expressionType", ""),
    ];
    let header = PullMessageRequestHeader::decode(&Fields::from_pairs(go)).unwrap();
    assert_eq!(header.expression_type.as_deref(), Some(""));
    assert_eq!(header.max_msg_bytes, None);
    assert_eq!(read_back(&header), header);
    let wrong =
        go.map(|(name, value)| (name, if name == "queueOffset" { "99999999999999999999" } else { value }));
    assert_eq!(
        PullMessageRequestHeader::decode(&Fields::from_pairs(wrong)).unwrap_err().to_string(),
        "the request's field queueOffset must be a 64-bit number, not '99999999999999999999'"
    );
}

/// What older tools leave out has Java's default, and their spelling of a field is read.
#[test]
fn defaults() {
    let reset = [("group", "g"), ("topic", "T"), ("timestamp", "-1"), ("isForce", "true")];
    let reset = ResetOffsetRequestHeader::decode(&Fields::from_pairs(reset)).unwrap();
    assert_eq!((reset.queue_id, reset.offset), (-1, None));
    let max =
        GetMaxOffsetRequestHeader::decode(&Fields::from_pairs([("topic", "T"), ("queueId", "0")])).unwrap();
    assert!(max.committed);
    for name in ["cleanOffset", "removeOffset"] {
        let pairs = [("groupName", "g"), (name, "true")];
        assert!(
            DeleteSubscriptionGroupRequestHeader::decode(&Fields::from_pairs(pairs)).unwrap().clean_offset
        );
    }
    let register = [
        ("brokerName", "b"),
        ("brokerAddr", "127.0.0.1:10911"),
        ("clusterName", "c"),
        ("haServerAddr", "127.0.0.1:10912"),
        ("brokerId", "0"),
    ];
    let register = RegisterBrokerRequestHeader::decode(&Fields::from_pairs(register)).unwrap();
    assert_eq!((register.compressed, register.body_crc32, register.enable_acting_master), (false, 0, None));
}

/// A header that nobody filled in writes nothing but what is required.
#[test]
fn absent_fields_are_not_written() {
    let header = GetRouteInfoRequestHeader {
        topic: "T".into(),
        accept_standard_json_only: None,
        zone_mode: None,
        zone_name: None,
    };
    assert_eq!(written(&header), [("topic".to_owned(), "T".to_owned())]);
    assert_eq!(Request::new(105, &header).fields.as_json(), r#""topic":"T""#);
}
