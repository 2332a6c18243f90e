//! What administrators ask about groups and their progress, good and hostile.

use std::time::Duration;

use crate::broker::kit::{Kit, refusal, text};
use crate::broker::topic::perm;
use crate::store::QueueOffset;
use crate::wire::code::{request, response};

const QUEUE_0: &str = r#"{"brokerName":"b","queueId":0,"topic":"T"}"#;

/// A topic with one queue of five messages, a second apart, of which the group g has consumed two.
async fn kit(settings: &[(&str, &str)]) -> Kit {
    let kit = Kit::start(settings).await;
    kit.broker.topics.create_in_send("TBW102", "T", 1).unwrap();
    kit.broker.groups.get_or_create("g", true).unwrap();
    for body in ["0", "1", "2", "3", "4"] {
        kit.put("T", 0, &[body], "");
        kit.clock.travel(Duration::from_secs(1));
    }
    kit.broker.offsets.commit("g", "T", 0, QueueOffset(2));
    kit
}

fn stored_ms(kit: &Kit, offset: i64) -> i64 {
    kit.broker.store.store_timestamp_at("T", 0, QueueOffset(offset)).unwrap()
}

/// Progress is what is consumed against what is there, in every topic of the group or in those named.
#[tokio::test]
async fn consume_stats() {
    let kit = kit(&[]).await;
    let mut client = kit.client().await;
    let consumed_ms = stored_ms(&kit, 1);
    for fields in [
        vec![("consumerGroup", "g")],
        vec![("consumerGroup", "g"), ("topic", "T")],
        vec![("consumerGroup", "g"), ("topicList", ";T;;unknown;T")],
    ] {
        let stats = client.call(request::GET_CONSUME_STATS, &fields, "").await;
        let progress =
            format!(r#""brokerOffset":5,"consumerOffset":2,"lastTimestamp":{consumed_ms},"pullOffset":2"#);
        assert_eq!(
            text(&stats),
            format!(r#"{{"consumeTps":0.0,"offsetTable":{{{QUEUE_0}:{{{progress}}}}}}}"#)
        );
    }
    for fields in [
        vec![("consumerGroup", "unknown")],
        vec![("consumerGroup", "g"), ("topic", "unknown")],
        vec![("consumerGroup", "../g")],
    ] {
        let stats = client.call(request::GET_CONSUME_STATS, &fields, "").await;
        assert_eq!(text(&stats), r#"{"consumeTps":0.0,"offsetTable":{}}"#);
    }
    let new_group = [("consumerGroup", "new"), ("topic", "T")];
    let stats = client.call(request::GET_CONSUME_STATS, &new_group, "").await;
    assert!(text(&stats).contains(r#""brokerOffset":5,"consumerOffset":0,"lastTimestamp":0,"pullOffset":0"#));
    client.join("c1", "g", "Other").await;
    let stats = client.call(request::GET_CONSUME_STATS, &[("consumerGroup", "g")], "").await;
    assert!(!text(&stats).contains(r#""topic":"T""#), "an online group's former topics are left out");
}

/// The broker's sums count every group once; unordered topics are left out where asked.
#[tokio::test]
async fn broker_consume_stats() {
    let kit = kit(&[]).await;
    let mut client = kit.client().await;
    kit.broker.offsets.pulled("g", "T", 0, QueueOffset(4));
    let all = client.call(request::GET_BROKER_CONSUME_STATS, &[("isOrder", "false")], "").await;
    assert!(text(&all).contains(r#""totalDiff":3,"totalInflightDiff":2}"#), "{}", text(&all));
    assert!(
        text(&all).contains(r#"{"g":[{"consumeTps":0.0"#) && text(&all).contains(r#"{"TOOLS_CONSUMER":[]}"#)
    );
    let ordered = client.call(request::GET_BROKER_CONSUME_STATS, &[("isOrder", "true")], "").await;
    assert!(text(&ordered).contains(r#"{"g":[]}"#) && text(&ordered).contains(r#""totalDiff":0"#));
    let missing = client.call(request::GET_BROKER_CONSUME_STATS, &[], "").await;
    assert_eq!(refusal(&missing), (response::SYSTEM_ERROR, "the request's field isOrder is missing"));
}

/// Who consumes what, in both directions, and how old the next message is.
#[tokio::test]
async fn who_and_when() {
    let kit = kit(&[]).await;
    let mut client = kit.client().await;
    client.join("c1", "online", "T").await;
    let who = client.call(request::QUERY_TOPIC_CONSUME_BY_WHO, &[("topic", "T")], "").await;
    assert_eq!(text(&who), r#"{"groupList":["g","online"]}"#);
    let what = client.call(request::QUERY_TOPICS_BY_CONSUMER, &[("group", "g")], "").await;
    assert!(
        text(&what).ends_with(r#","topicList":["T"]}"#) && text(&what).contains("brokerAddr"),
        "{}",
        text(&what)
    );
    let span = client.call(request::QUERY_CONSUME_TIME_SPAN, &[("topic", "T"), ("group", "g")], "").await;
    let span: serde_json::Value = serde_json::from_slice(&span.body).unwrap();
    let span = &span["consumeTimeSpanSet"][0];
    for (name, offset) in [("minTimeStamp", 0), ("consumeTimeStamp", 1), ("maxTimeStamp", 4)] {
        assert_eq!(span[name].as_i64().unwrap(), stored_ms(&kit, offset), "{name}");
    }
    assert!(span["delayTime"].as_i64().unwrap() >= 3_000);
    let unknown = client.call(request::QUERY_CONSUME_TIME_SPAN, &[("topic", "U"), ("group", "g")], "").await;
    assert_eq!(refusal(&unknown), (response::TOPIC_NOT_EXIST, "topic[U] not exist"));
}

/// The least offset of all other groups is found; a clone goes on where its model is.
#[tokio::test]
async fn corrections_and_clones() {
    let kit = kit(&[]).await;
    let mut client = kit.client().await;
    let clone = [("srcGroup", "g"), ("destGroup", "twin"), ("offline", "true")];
    assert_eq!(client.call(request::CLONE_GROUP_OFFSET, &clone, "").await.code, 0);
    assert_eq!(kit.broker.offsets.query("twin", "T", 0), Some(QueueOffset(2)));
    kit.broker.offsets.commit("twin", "T", 0, QueueOffset(4));
    let ask = |compared, without| vec![("topic", "T"), ("compareGroup", compared), ("filterGroups", without)];
    for (compared, without, offset) in
        [("twin", "", "2"), ("g", "g", "9223372036854775807"), ("none", "g", "4")]
    {
        let answer = client.call(request::QUERY_CORRECTION_OFFSET, &ask(compared, without), "").await;
        assert_eq!(text(&answer), format!(r#"{{"correctionOffsets":{{0:{offset}}}}}"#));
    }
    let hostile = [("srcGroup", "g"), ("destGroup", "../g"), ("offline", "true")];
    let refused = client.call(request::CLONE_GROUP_OFFSET, &hostile, "").await;
    assert_eq!(refusal(&refused), (response::SUBSCRIPTION_GROUP_NOT_EXIST, "Group ../g does not exist"));
}

/// A reset shows at once, ignores commits until the next pull, wakes a held pull, and is taken by it.
#[tokio::test]
async fn reset_in_the_broker() {
    let kit = kit(&[]).await;
    let (mut client, mut admin) = (kit.client().await, kit.client().await);
    client.join("c1", "g", "T").await;
    let pull = |offset: &'static str| {
        vec![
            ("consumerGroup", "g"),
            ("topic", "T"),
            ("queueId", "0"),
            ("queueOffset", offset),
            ("maxMsgNums", "32"),
            ("sysFlag", "2"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "30000"),
            ("subscription", "*"),
            ("subVersion", "1"),
        ]
    };
    let held = client.send(request::PULL_MESSAGE, &pull("5"), "").await;
    while kit.broker.held_pulls() == 0 {
        tokio::task::yield_now().await;
    }
    let at = stored_ms(&kit, 1).to_string();
    let reset = [("group", "g"), ("topic", "T"), ("timestamp", &*at), ("isForce", "true")];
    let answer = admin.call(request::INVOKE_BROKER_TO_RESET_OFFSET, &reset, "").await;
    assert_eq!(text(&answer), format!(r#"{{"offsetTable":{{{QUEUE_0}:1}}}}"#));
    assert_eq!(client.answer(held).await.code, response::PULL_NOT_FOUND, "woken at once");
    let commit = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "0"), ("commitOffset", "5")];
    let ignored = client.call(request::UPDATE_CONSUMER_OFFSET, &commit, "").await;
    assert_eq!(refusal(&ignored), (0, "Offset has been previously reset"));
    let query = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "0")];
    let asked = client.call(request::QUERY_CONSUMER_OFFSET, &query, "").await;
    assert_eq!(asked.fields.get("offset"), Some("1"));
    let moved = client.call(request::PULL_MESSAGE, &pull("5"), "").await;
    assert_eq!((moved.code, moved.fields.get("nextBeginOffset")), (response::PULL_OFFSET_MOVED, Some("1")));
    assert_eq!(client.call(request::UPDATE_CONSUMER_OFFSET, &commit, "").await.remark, None);
    let file = kit.broker.config_dir.join("consumerOffset.json");
    assert!(std::fs::read_to_string(file).unwrap().contains("\"T@g\""), "it is on the disk when answered");
}

/// A reset to an offset stays within the queue; unknown names, queues and slaves are refused.
#[tokio::test]
async fn refused_resets() {
    let kit = kit(&[]).await;
    let mut client = kit.client().await;
    let reset = |group, topic, queue_id, offset, timestamp| {
        vec![
            ("group", group),
            ("topic", topic),
            ("queueId", queue_id),
            ("offset", offset),
            ("timestamp", timestamp),
            ("isForce", "true"),
        ]
    };
    for (fields, code, remark) in [
        (reset("g", "U", "-1", "-1", "0"), 17, "Topic U does not exist"),
        (reset("h", "T", "-1", "-1", "0"), 26, "Group h does not exist"),
        (reset("g", "T", "0", "6", "0"), 1, "Target offset 6 not in consume queue range [0-5]"),
        (reset("g", "T", "0", "-7", "0"), 1, "Target offset -7 not in consume queue range [0-5]"),
        (reset("g", "T", "9", "0", "0"), 1, "queueId 9 is illegal, the topic has 1 queues"),
        (reset("g", "T", "2147483647", "0", "0"), 1, "queueId 2147483647 is illegal, the topic has 1 queues"),
    ] {
        let answer = client.call(request::INVOKE_BROKER_TO_RESET_OFFSET, &fields, "").await;
        assert_eq!(refusal(&answer), (code, remark));
    }
    assert_eq!(kit.broker.offsets.query("g", "T", 0), Some(QueueOffset(2)), "nothing has changed");
    for (offset, timestamp, expected) in [("3", "0", 3), ("-1", "-1", 5), ("-1", "0", 0), ("5", "0", 5)] {
        let fields = reset("g", "T", "0", offset, timestamp);
        assert_eq!(client.call(request::INVOKE_BROKER_TO_RESET_OFFSET, &fields, "").await.code, 0);
        assert_eq!(kit.broker.offsets.query("g", "T", 0), Some(QueueOffset(expected)));
    }
    kit.broker.topics.create_internal("Empty", 0, perm::READ, false);
    let none =
        client.call(request::INVOKE_BROKER_TO_RESET_OFFSET, &reset("g", "Empty", "-1", "-1", "0"), "").await;
    assert_eq!(refusal(&none), (1, "No queues to reset."));
}

/// In the old way the members are told; without members it is refused.
#[tokio::test]
async fn reset_at_the_clients() {
    let kit = kit(&[("useServerSideResetOffset", "false")]).await;
    let (mut client, mut admin) = (kit.client().await, kit.client().await);
    let reset = [("group", "g"), ("topic", "T"), ("timestamp", "-1"), ("isForce", "true")];
    let offline = admin.call(request::INVOKE_BROKER_TO_RESET_OFFSET, &reset, "").await;
    let remark = "Consumer not online, so can not reset offset, Group: g Topic: T Timestamp: -1";
    assert_eq!(refusal(&offline), (response::CONSUMER_NOT_ONLINE, remark));
    client.join("c1", "g", "T").await;
    let answer = admin.call(request::INVOKE_BROKER_TO_RESET_OFFSET, &reset, "").await;
    assert_eq!(text(&answer), format!(r#"{{"offsetTable":{{{QUEUE_0}:5}}}}"#));
    let told = client.asked(request::RESET_CONSUMER_CLIENT_OFFSET).await;
    assert_eq!(text(&told), text(&answer));
    assert_eq!((told.fields.get("topic"), told.is_oneway()), (Some("T"), true));
    assert_eq!(kit.broker.offsets.query("g", "T", 0), Some(QueueOffset(2)), "the client commits it");
    let gentle = [("group", "g"), ("topic", "T"), ("timestamp", "-1"), ("isForce", "false")];
    let answer = admin.call(request::INVOKE_BROKER_TO_RESET_OFFSET, &gentle, "").await;
    assert_eq!(text(&answer), format!(r#"{{"offsetTable":{{{QUEUE_0}:2}}}}"#), "only back, never forward");
    let unknown = [("group", "new"), ("topic", "T"), ("timestamp", "-1"), ("isForce", "true")];
    let unknown = admin.call(request::INVOKE_BROKER_TO_RESET_OFFSET, &unknown, "").await;
    assert_eq!(refusal(&unknown), (response::SYSTEM_ERROR, "THe consumer group <new> not exist"));
}

/// What is committed while the broker stops, as by consumers whose held pulls were just answered, is answered and kept.
/// So is the topic that a last send makes.
#[tokio::test]
async fn accepted_while_stopping_is_kept() {
    let kit = kit(&[]).await;
    let mut client = kit.client().await;
    kit.broker.stop(&crate::lifecycle::Lifecycle::new()).await;
    let fields = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "0"), ("commitOffset", "4")];
    let committed = client.call(request::UPDATE_CONSUMER_OFFSET, &fields, "").await;
    assert_eq!(committed.code, response::SUCCESS, "{:?}", committed.remark);
    assert_eq!(client.send_message("Late", 0, "body", "").await.code, response::SUCCESS);
    let kit = kit.restart(&[]).await;
    assert_eq!(kit.broker.offsets.query("g", "T", 0), Some(QueueOffset(4)));
    assert!(kit.broker.topics.get("Late").is_some());
}
