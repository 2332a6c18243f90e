//! The console's port of a real server: figures, metrics, and peers that behave badly.

use std::collections::BTreeSet;

use rmq_lite::config::Settings;
use rmq_lite::server::Server;
use rmq_lite::wire::code::{request, response};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::kit::{Rig, request};

/// A throw-away server with a console.
async fn rig() -> Rig {
    Rig::with(Settings { web_port: Some(0), ..Settings::for_test() }).await
}

async fn connect(server: &Server) -> TcpStream {
    let address = server.endpoints().web.as_ref().unwrap().strip_prefix("http://").unwrap();
    TcpStream::connect(address).await.unwrap()
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset says no more than an end here.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).unwrap()
}

/// Asks with raw bytes and returns the status and the body.
pub async fn get(server: &Server, path: &str) -> (u16, String) {
    let mut stream = connect(server).await;
    let ask = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

pub async fn json(server: &Server, path: &str) -> Value {
    let (status, body) = get(server, path).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

async fn commit(rig: &Rig, group: &str, topic: &str, queue_id: i32, offset: i64) {
    let (queue_id, offset) = (queue_id.to_string(), offset.to_string());
    let fields =
        [("consumerGroup", group), ("topic", topic), ("queueId", &*queue_id), ("commitOffset", &*offset)];
    let answer = rig.ask(request(request::UPDATE_CONSUMER_OFFSET, &fields)).await;
    assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
}

/// Makes a group known by the heartbeat of a client that stays connected.
async fn join(rig: &Rig, group: &str, topic: &str) {
    let body = format!(
        r#"{{"clientID":"c@1","consumerDataSet":[{{"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","consumeType":"CONSUME_PASSIVELY",
        "groupName":"{group}","messageModel":"CLUSTERING","subscriptionDataSet":[{{"topic":"{topic}","subString":"a || b",
        "subVersion":1,"expressionType":"TAG","tagsSet":["a","b"],"codeSet":[97,98],"classFilterMode":false}}],"unitMode":false}}],
        "producerDataSet":[]}}"#
    );
    let answer = rig.ask(request(request::HEART_BEAT, &[]).with_body(body)).await;
    assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
}

fn named<'a>(rows: &'a Value, key: &str, name: &str) -> &'a Value {
    rows.as_array()
        .unwrap()
        .iter()
        .find(|row| row[key] == name)
        .unwrap_or_else(|| panic!("no {name} in {rows}"))
}

/// What was sent and committed is what the API shows, at once.
#[tokio::test]
async fn figures_follow_the_messages() {
    let rig = rig().await;
    for body in ["one", "two", "three"] {
        rig.send("orders", 1, body, "").await;
    }
    join(&rig, "billing", "orders").await;
    commit(&rig, "billing", "orders", 1, 1).await;
    rig.send("%DLQ%billing", 0, "hopeless", "").await;

    let overview = json(&rig.server, "/api/v1/overview").await;
    let topic = named(&overview["topics"], "name", "orders");
    assert_eq!(
        (&topic["messages"], &topic["messages_in"], &topic["kind"]),
        (&3.into(), &3.into(), &"normal".into())
    );
    assert_eq!(overview["broker"]["messages_in"], 4);
    assert_eq!(overview["server"]["namesrv"], rig.server.namesrv());
    assert_eq!(overview["brokers"][0]["id"], 0);
    let group = named(&overview["groups"], "name", "billing");
    assert_eq!((&group["online"], &group["members"], &group["lag"]), (&true.into(), &1.into(), &2.into()));
    assert_eq!(group["dead_letters"], 1);
    let dead = named(&overview["dead_letters"], "group", "billing");
    assert_eq!(dead["messages"], 1);
    assert!(dead["last_stored_ms"].is_i64());

    let topic = json(&rig.server, "/api/v1/topics/orders").await;
    let queue = &topic["queues"][1];
    assert_eq!((&queue["min_offset"], &queue["max_offset"]), (&0.into(), &3.into()));
    assert_eq!(named(&topic["groups"], "group", "billing")["lag"], 2);
    let group = json(&rig.server, "/api/v1/groups/billing").await;
    assert_eq!(group["clients"][0]["client_id"], "c@1");
    assert_eq!(named(&group["topics"], "topic", "orders")["subscription"], "a || b");
    let queues: Vec<_> =
        group["queues"].as_array().unwrap().iter().filter(|queue| queue["topic"] == "orders").collect();
    assert_eq!((&queues[1]["committed"], &queues[1]["lag"]), (&1.into(), &2.into()));
    assert_eq!((&queues[0]["committed"], &queues[0]["lag"]), (&Value::Null, &0.into()));
    let names = json(&rig.server, "/api/v1/topics/%25DLQ%25billing").await;
    assert_eq!(names["kind"], "dead_letter");
    assert_eq!(get(&rig.server, "/api/v1/topics/nothing").await.0, 404);
    assert_eq!(get(&rig.server, "/readyz").await.0, 200);
    rig.server.stop().await;
}

pub async fn post(server: &Server, path: &str, body: &str) -> (u16, String) {
    let mut stream = connect(server).await;
    let ask = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(ask.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Time passes when somebody says so, clients stay connected, and what is no span of time moves nothing.
#[tokio::test]
async fn the_clock_is_moved() {
    let rig = rig().await;
    join(&rig, "G", "T").await;
    let before = json(&rig.server, "/api/v1/clock").await;
    assert_eq!(before["skew_ms"], 0);
    let (status, after) = post(&rig.server, "/api/v1/clock", r#"{"advance":"2h 30m"}"#).await;
    let after: Value = serde_json::from_str(&after).unwrap();
    assert_eq!((status, &after["skew_ms"]), (200, &9_000_000.into()));
    assert!(after["now_ms"].as_i64().unwrap() - before["now_ms"].as_i64().unwrap() >= 9_000_000);
    assert_eq!(json(&rig.server, "/api/v1/groups/G").await["clients"].as_array().unwrap().len(), 1);
    for (wish, detail) in [
        (r#"{"advance":"-2h"}"#, "allowed is 1ms to 365d"),
        (r#"{"advance":"soon"}"#, "allowed is 1ms to 365d"),
        (r#"{"advance":7}"#, "expected a string"),
        (r#"{"freeze":true}"#, "unknown field `freeze`"),
        (r#"{"advance":"#, "EOF"),
    ] {
        let (status, problem) = post(&rig.server, "/api/v1/clock", wish).await;
        assert_eq!(status, 400, "{wish}: {problem}");
        assert!(problem.contains(detail), "{wish}: {problem}");
    }
    assert_eq!(json(&rig.server, "/api/v1/clock").await["skew_ms"], 9_000_000);
    rig.server.stop().await;
}

/// Every resource answers exactly what the OpenAPI document says, and every figure the page reads is in it.
#[tokio::test]
async fn answers_match_the_openapi_document() {
    let rig = crate::ha::pair(&[]).await;
    rig.send("T", 0, "body", "KEYS\u{1}K\u{2}").await;
    rig.send("%DLQ%G", 0, "body", "").await;
    join(&rig, "G", "T").await;
    commit(&rig, "G", "T", 0, 0).await;
    rig.send("T", 0, "later", "DELAY\u{1}18\u{2}KEYS\u{1}K\u{2}").await;
    rig.send("T", 0, "half", "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}p\u{2}").await;
    let lock = r#"{"clientId":"c@1","consumerGroup":"G","mqSet":[{"brokerName":"broker-a","queueId":0,"topic":"T"}]}"#;
    let locked = rig.ask(request(request::LOCK_BATCH_MQ, &[]).with_body(lock)).await;
    assert_eq!(locked.code, response::SUCCESS, "{:?}", locked.remark);
    let document = json(&rig.server, "/api/v1/openapi.json").await;
    let mut lists = Lists::default();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path =
            path.replace("{topic}", "T").replace("{group}", "G").replace("/timeline", "/timeline?key=K");
        let content = &operations["get"]["responses"]["200"]["content"];
        let Some(content) = content.get("application/json") else { continue };
        let answer = json(&rig.server, &path).await;
        conforms(&document, &content["schema"], &answer, &path, &mut lists);
    }
    let (status, problem) = get(&rig.server, "/api/v1/groups/nobody").await;
    assert_eq!(status, 404);
    let schema = &document["components"]["schemas"]["Problem"];
    conforms(&document, schema, &serde_json::from_str(&problem).unwrap(), "problem", &mut lists);
    let unseen: Vec<_> = lists.empty.difference(&lists.filled).collect();
    assert!(unseen.is_empty(), "no example of {unseen:?}");
    rig.server.stop().await;
}

/// Places of lists that had no row, and of those that had some.
#[derive(Default)]
struct Lists {
    empty: BTreeSet<String>,
    filled: BTreeSet<String>,
}

/// Checks a value against the part of JSON Schema that our document uses.
fn conforms(document: &Value, schema: &Value, value: &Value, place: &str, lists: &mut Lists) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document
            .pointer(reference.trim_start_matches('#'))
            .unwrap_or_else(|| panic!("{reference} is missing"));
        return conforms(document, target, value, place, lists);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let choice = choices.iter().find(|choice| (choice["type"] == "null") == value.is_null()).unwrap();
        return conforms(document, choice, value, place, lists);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed =
        schema["type"] == kind || schema["type"].as_array().is_some_and(|kinds| kinds.contains(&kind.into()));
    assert!(allowed, "{place} is {value}, the document says {}", schema["type"]);
    if let Some(choices) = schema["enum"].as_array() {
        assert!(choices.contains(value), "{place} is {value}");
    }
    if let Some(rows) = value.as_array() {
        let list = if rows.is_empty() { &mut lists.empty } else { &mut lists.filled };
        list.insert(place.to_owned());
        for row in rows {
            conforms(document, &schema["items"], row, &format!("{place}[]"), lists);
        }
    }
    if let (Some(members), Some(properties)) = (value.as_object(), schema["properties"].as_object()) {
        for (name, member) in members {
            let property =
                properties.get(name).unwrap_or_else(|| panic!("{place}.{name} is not in the document"));
            conforms(document, property, member, &format!("{place}.{name}"), lists);
        }
        for name in schema["required"].as_array().unwrap() {
            assert!(members.contains_key(name.as_str().unwrap()), "{place} lacks {name}");
        }
    }
}

/// Metrics have Apache's names and labels; two servers in one process do not see each other's messages.
#[tokio::test]
async fn metrics_are_each_servers_own() {
    let (one, other) = tokio::join!(rig(), rig());
    one.send("T", 0, "body", "").await;
    one.send("T", 0, "body", "").await;
    other.send("T", 0, "body", "").await;
    join(&one, "G", "T").await;
    commit(&one, "G", "T", 0, 1).await;
    let (_, text) = get(&one.server, "/metrics").await;
    let node = r#"cluster="DefaultCluster",node_type="broker",node_id="#;
    for (name, labels, value) in [
        ("rocketmq_messages_in_total", r#"topic="T",is_system="false""#, "2"),
        ("rocketmq_broker_permission", "", "6"),
        ("rocketmq_consumer_connections", r#"language="java","#, "1"),
        (
            "rocketmq_consumer_lag_messages",
            r#"is_retry="false",is_system="false",topic="T",consumer_group="G""#,
            "1",
        ),
        (
            "rocketmq_consumer_inflight_messages",
            r#"is_retry="false",is_system="false",topic="T",consumer_group="G""#,
            "0",
        ),
        ("rocketmq_consumer_ready_messages", r#"topic="T",consumer_group="G""#, "1"),
        ("rocketmq_storage_dispatch_behind_bytes", r#"storage_type="local",storage_medium="disk""#, "0"),
    ] {
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")) && line.contains(labels));
        let line = line.unwrap_or_else(|| panic!("no {name} with {labels} in\n{text}"));
        assert!(line.contains(node) && line.ends_with(&format!("}} {value}")), "{line}");
    }
    for name in [
        "rocketmq_consumer_lag_latency_milliseconds{",
        "rocketmq_consumer_queueing_latency_milliseconds{",
        "rocketmq_throughput_in_total{",
        "rocketmq_processor_watermark{",
        "rocketmq_topic_number{",
        "rocketmq_consumer_group_number{",
        "rocketmq_storage_size_bytes{",
        "rocketmq_storage_flush_behind_bytes{",
        "rocketmq_storage_message_reserve_time_milliseconds{",
    ] {
        assert!(text.contains(&format!("\n{name}")), "no {name} in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    let (_, text) = get(&other.server, "/metrics").await;
    assert!(
        text.lines().any(|line| line.starts_with("rocketmq_messages_in_total{") && line.ends_with(" 1")),
        "{text}"
    );
    one.server.stop().await;
    other.server.stop().await;
}

/// Frames, nonsense and endless heads get a refusal or an end, and nobody else notices.
#[tokio::test]
async fn bytes_that_are_no_http_end_the_connection() {
    let rig = rig().await;
    for bytes in [
        &b"\x00\x00\x01\x02\x00\x00\x00\x10{\"code\":34}"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\r\n garbage\r\n\r\n",
        &vec![b'a'; 40_000],
        &[b"GET / HTTP/1.1\r\nHost: localhost\r\n".as_slice(), &b"X: y\r\n".repeat(5_000)].concat(),
    ] {
        let mut stream = connect(&rig.server).await;
        let _ = stream.write_all(bytes).await;
        let answer = read_to_end(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(get(&rig.server, "/healthz").await.0, 200);
    rig.server.stop().await;
}

/// Connections beyond the limit are closed; those that say nothing hold up neither the others nor the stop.
#[tokio::test]
async fn silent_clients_hold_up_nothing() {
    let rig = rig().await;
    let mut silent = Vec::new();
    for _ in 0..255 {
        silent.push(connect(&rig.server).await);
    }
    let mut half = connect(&rig.server).await;
    half.write_all(b"GET /api/v1/overview HTTP/1.1\r\nHost: loc").await.unwrap();
    let mut beyond = connect(&rig.server).await;
    assert_eq!(read_to_end(&mut beyond).await, "", "the 257th is closed unanswered");
    drop(silent.pop());
    // The place comes free when the server notices; until then further ones are closed too.
    while get_if_open(&rig.server).await.is_none() {}
    rig.server.stop().await;
    for mut stream in silent {
        assert_eq!(read_to_end(&mut stream).await, "");
    }
    assert_eq!(read_to_end(&mut half).await, "");
}

async fn get_if_open(server: &Server) -> Option<String> {
    let mut stream = connect(server).await;
    let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    let answer = read_to_end(&mut stream).await;
    answer.starts_with("HTTP/1.1 200").then_some(answer)
}
