//! Pulls by frames to a whole broker: what they are answered, held and refused.

use super::*;
use crate::broker::kit::{Kit, RawClient, refusal};
use crate::wire::command::Command;
use crate::wire::message::MessageRecord;

fn heartbeat(expression: &str, version: i64) -> String {
    format!(
        r#"{{"clientID":"c","consumerDataSet":[{{"groupName":"g","subscriptionDataSet":[{{"topic":"T","subString":"{expression}","expressionType":"SQL92","subVersion":{version}}}]}}]}}"#
    )
}

async fn start() -> (Kit, RawClient) {
    let kit = Kit::start(&[("enablePropertyFilter", "true")]).await;
    kit.broker.topics.create_in_send("TBW102", "T", 1).unwrap();
    let client = kit.client().await;
    (kit, client)
}

async fn pull(client: &mut RawClient, offset: &str, flags: &str, more: &[(&'static str, &str)]) -> i32 {
    let fields = [
        ("consumerGroup", "g"),
        ("topic", "T"),
        ("queueId", "0"),
        ("queueOffset", offset),
        ("maxMsgNums", "32"),
        ("sysFlag", flags),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "30000"),
        ("subVersion", "1"),
        ("expressionType", "SQL92"),
    ];
    client.send(request::PULL_MESSAGE, &[&fields[..], more].concat(), "").await
}

fn bodies(answer: &Command) -> Vec<&str> {
    let records = MessageRecord::decode_all(&answer.body).map(|record| record.unwrap().body);
    records.map(|body| std::str::from_utf8(body).unwrap()).collect()
}

/// Code 361 is refused when `litePullMessageEnable` says so, and plain pulls are not.
#[tokio::test]
async fn lite_pulls_may_be_refused() {
    let (kit, mut client) = start().await;
    kit.put("T", 0, &["one"], "");
    let fields = [
        ("consumerGroup", "g"),
        ("topic", "T"),
        ("queueId", "0"),
        ("queueOffset", "0"),
        ("maxMsgNums", "32"),
        ("sysFlag", "4"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subVersion", "1"),
        ("subscription", "*"),
    ];
    let answer = client.call(request::LITE_PULL_MESSAGE, &fields, "").await;
    assert_eq!(bodies(&answer), ["one"]);
    let off = "litePullMessageEnable=false";
    assert_eq!(refusal(&client.call(request::UPDATE_BROKER_CONFIG, &[], off).await), (0, ""));
    let answer = client.call(request::LITE_PULL_MESSAGE, &fields, "").await;
    let remark = "the broker[127.0.0.1] for lite pull consumer is forbidden";
    assert_eq!(refusal(&answer), (response::NO_PERMISSION, remark));
    assert_eq!(bodies(&client.call(request::PULL_MESSAGE, &fields, "").await), ["one"]);
}

/// A pull gets what its group's expression, or its own, lets through, and goes on behind the rest.
#[tokio::test]
async fn filters_by_sql() {
    let (kit, mut client) = start().await;
    for (body, number) in [("one", "1"), ("two", "2"), ("three", "3")] {
        kit.put("T", 0, &[body], &format!("n\u{1}{number}\u{2}"));
    }
    kit.put("T", 0, &["none"], "");
    client.call(request::HEART_BEAT, &[], heartbeat("n BETWEEN 2 AND 9", 1)).await;
    let opaque = pull(&mut client, "0", "0", &[]).await;
    let answer = client.answer(opaque).await;
    assert_eq!(bodies(&answer), ["two", "three"]);
    assert_eq!(answer.fields.get("nextBeginOffset"), Some("4"));
    let opaque = pull(&mut client, "0", "4", &[("subscription", "n = 1 OR n IS NULL")]).await;
    assert_eq!(bodies(&client.answer(opaque).await), ["one", "none"]);
    let opaque = pull(&mut client, "2", "4", &[("subscription", "n = 1")]).await;
    let answer = client.answer(opaque).await;
    assert_eq!(answer.code, response::PULL_RETRY_IMMEDIATELY);
    assert_eq!(answer.fields.get("nextBeginOffset"), Some("4"));
}

/// A held pull sleeps through messages for others and answers with the first of its own.
#[tokio::test]
async fn is_held_until_a_message_matches() {
    let (kit, mut client) = start().await;
    client.call(request::HEART_BEAT, &[], heartbeat("n = 7", 1)).await;
    let opaque = pull(&mut client, "0", "2", &[]).await;
    for _ in 0..3 {
        client.call(request::GET_MAX_OFFSET, &[("topic", "T"), ("queueId", "0")], "").await;
        kit.put("T", 0, &["other"], "n\u{1}6\u{2}");
    }
    kit.put("T", 0, &["mine"], "n\u{1}7\u{2}");
    let answer = client.answer(opaque).await;
    assert_eq!((answer.code, bodies(&answer)), (response::SUCCESS, vec!["mine"]));
    assert_eq!(answer.fields.get("nextBeginOffset"), Some("4"));
}

/// A held pull that only saw messages of others ends behind them when its time is over.
#[tokio::test]
async fn ends_behind_what_it_passed() {
    let (kit, mut client) = start().await;
    client.call(request::HEART_BEAT, &[], heartbeat("n = 7", 1)).await;
    let opaque = pull(&mut client, "0", "2", &[]).await;
    client.call(request::GET_MAX_OFFSET, &[("topic", "T"), ("queueId", "0")], "").await;
    kit.put("T", 0, &["other", "other"], "n\u{1}6\u{2}");
    kit.clock.travel(std::time::Duration::from_secs(31));
    let answer = client.answer(opaque).await;
    assert!(bodies(&answer).is_empty());
    assert_eq!(answer.fields.get("nextBeginOffset"), Some("2"));
}

/// An expression that cannot be read is refused with its place, wherever it comes from; nobody gets everything.
#[tokio::test]
async fn refuses_bad_expressions() {
    let (kit, mut client) = start().await;
    kit.put("T", 0, &["m"], "");
    client.call(request::HEART_BEAT, &[], heartbeat("n >", 1)).await;
    let opaque = pull(&mut client, "0", "0", &[]).await;
    let place = "Invalid MessageSelector. a value, a property or '(' is expected: character 4, at the end";
    let remark =
        format!("The broker's consumer filter data is not exist!Your expression may be wrong! {place}");
    assert_eq!(refusal(&client.answer(opaque).await), (response::FILTER_DATA_NOT_EXIST, remark.as_str()));
    let opaque = pull(&mut client, "0", "4", &[("subscription", "n >")]).await;
    assert_eq!(refusal(&client.answer(opaque).await), (response::SUBSCRIPTION_PARSE_FAILED, place));
    let check = |kind: &str, text: &str| {
        format!(
            r#"{{"clientId":"c","group":"g","subscriptionData":{{"topic":"T","subString":"{text}","expressionType":"{kind}"}}}}"#
        )
    };
    for (kind, text, code, remark) in [
        ("SQL92", "n >", response::SUBSCRIPTION_PARSE_FAILED, place),
        ("SQL92", "n > 1", response::SUCCESS, ""),
        ("XPATH", "//a", response::SUBSCRIPTION_PARSE_FAILED, "XPATH is neither TAG nor SQL92"),
        ("TAG", "a || b", response::SUCCESS, ""),
    ] {
        let answer = client.call(request::CHECK_CLIENT_CONFIG, &[], check(kind, text)).await;
        assert_eq!(refusal(&answer), (code, remark), "{kind} {text}");
    }
    let off = Kit::start(&[]).await;
    let mut client = off.client().await;
    let answer = client.call(request::CHECK_CLIENT_CONFIG, &[], check("SQL92", "n > 1")).await;
    let remark = "The broker does not support consumer to filter message by SQL92";
    assert_eq!(refusal(&answer), (response::SYSTEM_ERROR, remark));
}

/// A pull that is newer than the last heartbeat waits for the next one: it must not be served by the old expression.
#[tokio::test]
async fn waits_for_the_heartbeat_with_its_expression() {
    let (kit, mut client) = start().await;
    let mut other = kit.client().await;
    kit.put("T", 0, &["six"], "n\u{1}6\u{2}");
    kit.put("T", 0, &["seven"], "n\u{1}7\u{2}");
    client.call(request::HEART_BEAT, &[], heartbeat("n = 6", 0)).await;
    let opaque = pull(&mut client, "0", "0", &[]).await;
    other.call(request::HEART_BEAT, &[], heartbeat("n = 7", 1)).await;
    assert_eq!(bodies(&client.answer(opaque).await), ["seven"]);
    let opaque = pull(&mut client, "0", "0", &[("subVersion", "2")]).await;
    client.call(request::GET_MAX_OFFSET, &[("topic", "T"), ("queueId", "0")], "").await;
    kit.clock.travel(std::time::Duration::from_secs(1));
    assert_eq!(bodies(&client.answer(opaque).await), ["seven"], "the known expression serves in the end");
}

/// A new expression holds from now on, also for a pull that waits, which then looks again at what it has passed.
#[tokio::test]
async fn a_held_pull_follows_its_group() {
    let (kit, mut client) = start().await;
    let mut other = kit.client().await;
    client.call(request::HEART_BEAT, &[], heartbeat("n = 6", 1)).await;
    let opaque = pull(&mut client, "0", "2", &[]).await;
    client.call(request::GET_MAX_OFFSET, &[("topic", "T"), ("queueId", "0")], "").await;
    kit.put("T", 0, &["seven"], "n\u{1}7\u{2}");
    other.call(request::HEART_BEAT, &[], heartbeat("n = 7", 2)).await;
    assert_eq!(bodies(&client.answer(opaque).await), ["seven"]);
}

/// A pull that waits, for a message or for a heartbeat, does not keep the buffer that its request was read into.
#[tokio::test]
async fn lets_go_of_its_request() {
    let (kit, mut client) = start().await;
    client.call(request::HEART_BEAT, &[], heartbeat("n = 7", 1)).await;
    let member = kit.broker.consumers.member("g", "c").unwrap();
    for (sub_version, held) in [(1, 1), (2, 0)] {
        let read = Bytes::from(b"g T SQL92 and whatever else was read".to_vec());
        let text = |from, to| ByteString::try_from(read.slice(from..to)).unwrap();
        let header = PullMessageRequestHeader {
            consumer_group: text(0, 1),
            topic: text(2, 3),
            queue_id: 0,
            queue_offset: 0,
            max_msg_nums: 32,
            sys_flag: sys_flag::SUSPEND,
            commit_offset: 0,
            suspend_timeout_millis: 30_000,
            subscription: Some(text(10, 12)),
            sub_version,
            expression_type: Some(text(4, 9)),
            max_msg_bytes: None,
            request_source: None,
            proxy_froward_client_id: Some(text(10, 12)),
        };
        let call = Call {
            header,
            code: request::PULL_MESSAGE,
            body: read.slice(9..),
            remark: Some(text(10, 12)),
            oneway: false,
            peer: member.peer.clone(),
            version: member.version,
            language: member.language,
        };
        let Outcome::Later(waiting) = pull_message(&kit.broker, call) else { panic!("it does not wait") };
        assert_eq!(kit.broker.hold.len(), held);
        assert!(read.is_unique(), "version {sub_version}");
        drop(waiting);
    }
}

/// The file says who filters what, and since when nobody of the group is there any more.
#[tokio::test]
async fn writes_consumer_filter_json() {
    let (kit, mut client) = start().await;
    client.call(request::HEART_BEAT, &[], heartbeat("n = 6", 5)).await;
    kit.broker.consumer_filters.save().unwrap();
    let file = kit.config_file.with_file_name("store").join("config/consumerFilter.json");
    let text: String = std::fs::read_to_string(&file).unwrap().split_whitespace().collect();
    assert!(
        text.starts_with(r#"{"filterDataByTopic":{"T":{"groupFilterData":{"g":{"bornTime":17"#),
        "{text}"
    );
    assert!(text.ends_with(r#""clientVersion":5,"consumerGroup":"g","deadTime":0,"expression":"n=6","expressionType":"SQL92","topic":"T"}},"topic":"T"}}}"#), "{text}");
    client.call(request::UNREGISTER_CLIENT, &[("clientID", "c"), ("consumerGroup", "g")], "").await;
    assert!(kit.broker.consumer_filters.save().unwrap());
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(r#""deadTime":0"#), "{text}");
    kit.broker.consumer_filters.expire(kit.clock.now_ms() + 24 * 3600 * 1000);
    assert!(kit.broker.consumer_filters.save().unwrap());
    assert!(!std::fs::read_to_string(&file).unwrap().contains("expression"));
}
