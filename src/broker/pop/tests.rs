//! Pops over the wire, with a clock that moves.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::broker::kit::{Kit, RawClient, refusal};
use crate::wire::code::{request, response};
use crate::wire::command::Command;
use crate::wire::message::{MessageRecord, property_name};

const RETRY: &str = "%RETRY%g_T";

async fn start(queues: i32) -> (Kit, RawClient) {
    let kit = Kit::start(&[("enablePropertyFilter", "true")]).await;
    kit.broker.topics.create_in_send("TBW102", "T", queues).unwrap();
    let client = kit.client().await;
    (kit, client)
}

/// One popped message as its client sees it.
#[derive(Clone, Debug)]
struct Got {
    body: String,
    topic: String,
    queue_id: String,
    offset: String,
    receipt: String,
    times: i32,
}

/// Makes the messages of an answer and their receipts as `MQClientAPIImpl.processPopResponse` does.
fn got(answer: &Command) -> Vec<Got> {
    let field = |name: &str| answer.fields.get(name).unwrap_or_default().to_owned();
    let starts: BTreeMap<String, String> = field("startOffsetInfo")
        .split(';')
        .filter_map(|item| item.rsplit_once(' ').map(|(key, start)| (key.to_owned(), start.to_owned())))
        .collect();
    let records = MessageRecord::decode_all(&answer.body).map(|record| {
        let record = record.unwrap();
        let own = record.property(property_name::POP_CK).map(str::to_owned);
        let receipt = own.unwrap_or_else(|| {
            let start = &starts[&format!("0 {}", record.queue_id)];
            let (time, invisible, revive) = (field("popTime"), field("invisibleTime"), field("reviveQid"));
            format!("{start} {time} {invisible} {revive} 0 b {} {}", record.queue_id, record.queue_offset)
        });
        let kind = receipt.split(' ').nth(4).unwrap();
        Got {
            body: String::from_utf8(record.body.to_vec()).unwrap(),
            topic: super::receipt::real_topic(record.topic, "g", kind).unwrap(),
            queue_id: record.queue_id.to_string(),
            offset: record.queue_offset.to_string(),
            receipt,
            times: record.reconsume_times,
        }
    });
    records.collect()
}

fn bodies(got: &[Got]) -> Vec<&str> {
    let mut bodies: Vec<&str> = got.iter().map(|got| &*got.body).collect();
    bodies.sort_unstable();
    bodies
}

async fn send_pop(client: &mut RawClient, poll: &str, more: &[(&'static str, &str)]) -> i32 {
    let fields = [
        ("consumerGroup", "g"),
        ("topic", "T"),
        ("queueId", "-1"),
        ("maxMsgNums", "32"),
        ("invisibleTime", "60000"),
        ("pollTime", poll),
        ("bornTime", "0"),
        ("initMode", "0"),
    ];
    client.send(request::POP_MESSAGE, &[&fields[..], more].concat(), "").await
}

async fn pop(client: &mut RawClient, more: &[(&'static str, &str)]) -> Vec<Got> {
    let opaque = send_pop(client, "0", more).await;
    got(&client.answer(opaque).await)
}

/// Pops until something comes; what was revived comes by way of a task.
async fn pop_some(client: &mut RawClient) -> Vec<Got> {
    let opaque = send_pop(client, "30000", &[]).await;
    got(&client.answer(opaque).await)
}

async fn ack(client: &mut RawClient, got: &Got) -> Command {
    let fields = [
        ("consumerGroup", "g"),
        ("topic", &*got.topic),
        ("queueId", &got.queue_id),
        ("extraInfo", &got.receipt),
        ("offset", &got.offset),
    ];
    client.call(request::ACK_MESSAGE, &fields, "").await
}

async fn change(client: &mut RawClient, got: &Got, invisible: &str) -> Command {
    let fields = [
        ("consumerGroup", "g"),
        ("topic", &*got.topic),
        ("queueId", &got.queue_id),
        ("extraInfo", &got.receipt),
        ("offset", &got.offset),
        ("invisibleTime", invisible),
    ];
    client.call(request::CHANGE_MESSAGE_INVISIBLETIME, &fields, "").await
}

/// What was popped and is not acknowledged is not consumed; when its time is over it waits as a retry.
#[tokio::test]
async fn what_is_out_counts_as_lag() {
    let (kit, mut client) = start(2).await;
    client.join("c", "g", "T").await;
    kit.put("T", 0, &["a", "b"], "");
    kit.put("T", 1, &["c"], "");
    let stored_ms = kit.broker.store.store_timestamp_at("T", 0, crate::store::QueueOffset(0));
    let got = pop(&mut client, &[("maxMsgNums", "3")]).await;
    kit.put("T", 1, &["d"], "");
    let lags = |of: &Kit| {
        let lags =
            of.broker.lags().into_iter().map(|lag| (lag.topic, lag.messages, lag.in_flight, lag.ready));
        lags.filter(|lag| lag.1 > 0).collect::<Vec<_>>()
    };
    assert_eq!(lags(&kit), [("T".to_owned(), 4, 3, 1)]);
    assert_eq!(kit.broker.lags()[0].oldest_ms, stored_ms);
    let late: Vec<&Got> = got.iter().filter(|got| got.body != "b").collect();
    assert_eq!(ack(&mut client, got.iter().find(|got| got.body == "b").unwrap()).await.code, 0);
    assert_eq!(lags(&kit), [("T".to_owned(), 3, 2, 1)]);
    kit.clock.travel(Duration::from_mins(1));
    kit.records(RETRY, 0, late.len()).await;
    assert_eq!(lags(&kit), [(RETRY.to_owned(), 2, 0, 2), ("T".to_owned(), 1, 0, 1)]);
}

/// Check points and acknowledgements are in the broker's figures; those of a group that was given nothing are not.
#[tokio::test]
async fn pops_and_acknowledgements_are_counted() {
    let (kit, mut client) = start(1).await;
    kit.put("T", 0, &["a", "b", "c"], "k\u{1}v\u{2}");
    let first = pop(&mut client, &[]).await;
    assert_eq!(ack(&mut client, &first[0]).await.code, response::SUCCESS);
    assert_eq!(change(&mut client, &first[1], "30000").await.code, response::SUCCESS);
    let totals = kit.broker.stats.totals();
    assert_eq!((totals.check_points, totals.acks), (2, 2), "the change is both");
    let of_another = [
        ("consumerGroup", "h"),
        ("topic", "T"),
        ("queueId", "0"),
        ("extraInfo", &first[2].receipt),
        ("offset", "2"),
    ];
    client.call(request::ACK_MESSAGE, &of_another, "").await;
    assert!(kit.broker.stats.known_group("h", "T").is_none());
}

/// Messages of all queues are given out once; what is acknowledged never comes again, the rest does when its time is
/// over, counted, under its own topic's name.
#[tokio::test]
async fn what_is_not_acknowledged_comes_again() {
    let (kit, mut client) = start(4).await;
    for queue_id in 0..4 {
        kit.put("T", queue_id, &["a", "b"], "k\u{1}v\u{2}");
    }
    let first = pop(&mut client, &[]).await;
    assert_eq!(bodies(&first), ["a", "a", "a", "a", "b", "b", "b", "b"]);
    assert!(pop(&mut client, &[]).await.is_empty());
    for got in &first[2..] {
        assert_eq!(ack(&mut client, got).await.code, response::SUCCESS);
    }
    kit.clock.travel(Duration::from_secs(60));
    let mut again = pop_some(&mut client).await;
    while again.len() < 2 {
        again.extend(pop_some(&mut client).await);
    }
    assert_eq!(bodies(&again), bodies(&first[..2]));
    for got in &again {
        assert_eq!((&*got.topic, got.times), (RETRY, 1));
        assert_eq!(ack(&mut client, got).await.code, response::SUCCESS);
    }
    kit.clock.travel(Duration::from_secs(3600));
    assert!(pop(&mut client, &[]).await.is_empty());
    let retried = kit.records(RETRY, 0, 2).await;
    let record = MessageRecord::decode(&retried[0]).unwrap();
    assert_eq!(record.property("k"), Some("v"));
    assert!(record.property(property_name::FIRST_POP_TIME).is_some() && record.property("POP_CK").is_none());
}

/// A message that was never acknowledged is offered as often as the group's retries allow, then is a dead letter.
#[tokio::test]
async fn the_last_retry_is_followed_by_the_dead_letters() {
    let (kit, mut client) = start(1).await;
    kit.put("T", 0, &["m"], "");
    for times in 0..=16 {
        let got = pop_some(&mut client).await;
        assert_eq!((got.len(), got[0].times), (1, times));
        kit.clock.travel(Duration::from_secs(60));
    }
    let dead = kit.records("%DLQ%g", 0, 1).await;
    let dead = MessageRecord::decode(&dead[0]).unwrap();
    assert_eq!((dead.body, dead.property("RETRY_TOPIC")), (&b"m"[..], Some("T")));
    let counted = kit.broker.stats.known_group("g", "T").map(|stats| stats.dead_letters());
    assert_eq!(counted, Some(1));
    let metrics = crate::metrics::scrape(&kit.broker, &[]);
    let counted = r#"topic="T",consumer_group="g",is_system="false"} 1"#;
    let is_it =
        |line: &str| line.starts_with("rocketmq_send_to_dlq_messages_total{") && line.ends_with(counted);
    assert!(metrics.lines().any(is_it), "{metrics}");
    assert!(pop(&mut client, &[]).await.is_empty());
}

/// A held pop answers when a message of its own comes, in whatever queue, and one message wakes one consumer.
#[tokio::test]
async fn a_pop_is_held() {
    let (kit, mut one) = start(4).await;
    let (mut two, mut other) = (kit.client().await, kit.client().await);
    let first = send_pop(&mut one, "30000", &[]).await;
    one.call(request::GET_MAX_OFFSET, &[("topic", "T"), ("queueId", "0")], "").await;
    let second = send_pop(&mut two, "30000", &[]).await;
    two.call(request::GET_MAX_OFFSET, &[("topic", "T"), ("queueId", "0")], "").await;
    let info = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "-1")];
    assert_eq!(other.call(request::POLLING_INFO, &info, "").await.fields.get("pollingNum"), Some("2"));
    kit.put("T", 3, &["x"], "");
    assert_eq!(bodies(&got(&one.answer(first).await)), ["x"]);
    kit.clock.travel(Duration::from_secs(31));
    let empty = two.answer(second).await;
    assert_eq!(refusal(&empty), (response::POLLING_TIMEOUT, "NO_MESSAGE_IN_QUEUE"));
    assert_eq!(empty.fields.get("restNum"), Some("0"));
}

/// Tags and SQL92 are for pops, too; what is for others is passed over.
#[tokio::test]
async fn pops_are_filtered() {
    let (kit, mut client) = start(1).await;
    kit.put("T", 0, &["a"], "TAGS\u{1}A\u{2}n\u{1}1\u{2}");
    kit.put("T", 0, &["b"], "TAGS\u{1}B\u{2}n\u{1}2\u{2}");
    kit.put("T", 0, &["c"], "TAGS\u{1}A\u{2}n\u{1}3\u{2}");
    let popped = pop(&mut client, &[("expType", "SQL92"), ("exp", "n > 1 AND TAGS = 'A'")]).await;
    assert_eq!(bodies(&popped), ["c"]);
    assert!(popped[0].receipt.starts_with("0 "));
    assert_eq!(ack(&mut client, &popped[0]).await.code, response::SUCCESS);
    kit.put("T", 0, &["d"], "TAGS\u{1}B\u{2}");
    assert!(pop(&mut client, &[("expType", "TAG"), ("exp", "A")]).await.is_empty());
    let opaque = send_pop(&mut client, "0", &[("expType", "SQL92"), ("exp", "n >")]).await;
    let (code, place) = (response::SUBSCRIPTION_PARSE_FAILED, "character 4");
    let answer = client.answer(opaque).await;
    assert!(answer.code == code && refusal(&answer).1.contains(place), "{:?}", refusal(&answer));
}

/// A message whose time was changed comes at that time and not before; the old receipt is worth nothing then.
#[tokio::test]
async fn the_invisible_time_is_changed() {
    let (kit, mut client) = start(1).await;
    kit.put("T", 0, &["m"], "");
    let popped = pop(&mut client, &[]).await.remove(0);
    let answer = change(&mut client, &popped, "120000").await;
    assert_eq!(answer.code, response::SUCCESS, "{:?}", refusal(&answer));
    let field = |name: &str| answer.fields.get(name).unwrap().to_owned();
    let receipt = format!("0 {} {} {} 0 b 0 0", field("popTime"), field("invisibleTime"), field("reviveQid"));
    let renewed = Got { receipt, ..popped.clone() };
    // The old receipt is done with: to acknowledge by it changes nothing, and to change by it is refused.
    assert_eq!(ack(&mut client, &popped).await.code, response::SUCCESS);
    let (code, remark) = (response::NO_MESSAGE, "the receipt is no longer valid, key:T@0, offset:0: ");
    let stale = change(&mut client, &popped, "1").await;
    assert!(stale.code == code && refusal(&stale).1.starts_with(remark), "{:?}", refusal(&stale));
    kit.clock.travel(Duration::from_secs(100));
    assert!(pop(&mut client, &[]).await.is_empty());
    let renewed = {
        let answer = change(&mut client, &renewed, "30000").await;
        let field = |name: &str| answer.fields.get(name).unwrap().to_owned();
        let receipt =
            format!("0 {} {} {} 0 b 0 0", field("popTime"), field("invisibleTime"), field("reviveQid"));
        Got { receipt, ..renewed }
    };
    kit.clock.travel(Duration::from_secs(30));
    let again = pop_some(&mut client).await;
    assert_eq!(bodies(&again), ["m"]);
    // Too late: it was offered again already, and is not lost by it.
    assert_eq!(ack(&mut client, &renewed).await.code, response::SUCCESS);
    assert_eq!(change(&mut client, &renewed, "1").await.code, response::NO_MESSAGE);
    assert_eq!(ack(&mut client, &again[0]).await.code, response::SUCCESS);
    kit.clock.travel(Duration::from_secs(3600));
    assert!(pop(&mut client, &[]).await.is_empty());
}

/// A batch acknowledges by bits; what lies outside the queue is passed over.
#[tokio::test]
async fn batches_of_acknowledgements() {
    let (kit, mut client) = start(1).await;
    kit.put("T", 0, &["a", "b", "c"], "");
    let popped = pop(&mut client, &[]).await;
    let items: Vec<&str> = popped[0].receipt.split(' ').collect();
    let batch = |kind: &str, revive: &str, bits: &str| {
        let (so, pt, it) = (items[0], items[1], items[2]);
        format!(
            r#"{{"brokerName":"b","acks":[{{"c":"g","t":"T","r":"{kind}","so":{so},"q":0,"rq":{revive},"pt":{pt},"it":{it},"b":"{bits}"}}]}}"#
        )
    };
    // Bits 0 and 2, and 15, which is beyond the end.
    let answer = client.call(request::BATCH_ACK_MESSAGE, &[], batch("0", items[3], "BYA=")).await;
    assert_eq!(answer.code, response::SUCCESS, "{:?}", refusal(&answer));
    for (body, code, remark) in [
        (String::new(), response::NO_MESSAGE, "there is nothing to acknowledge"),
        (r#"{"acks":[]}"#.to_owned(), response::NO_MESSAGE, "there is nothing to acknowledge"),
        (batch("7", "0", "AQ=="), response::MESSAGE_ILLEGAL, "the batch's kind of topic is illegal: 7"),
        (batch("0", "0", "???"), response::MESSAGE_ILLEGAL, "the batch's bit set is illegal: ???"),
        (
            batch("0", "8", "AQ=="),
            response::MESSAGE_ILLEGAL,
            "the receipt's revive queue, of which there are 8, is illegal: 8",
        ),
    ] {
        let answer = client.call(request::BATCH_ACK_MESSAGE, &[], body).await;
        assert_eq!(refusal(&answer), (code, remark));
    }
    kit.clock.travel(Duration::from_secs(60));
    let again = pop_some(&mut client).await;
    assert_eq!(bodies(&again), ["b"]);
}

/// What no client of ours would send is refused with the value, and changes nothing.
#[tokio::test]
async fn hostile_requests() {
    let (kit, mut client) = start(1).await;
    kit.put("T", 0, &["m"], "");
    for (field, value, code, remark) in [
        (
            "maxMsgNums",
            "33",
            response::INVALID_PARAMETER,
            "the broker[127.0.0.1] pop message's num is greater than 32",
        ),
        ("maxMsgNums", "0", response::INVALID_PARAMETER, "maxMsgNums must be 1 to 32, not 0"),
        (
            "invisibleTime",
            "-1",
            response::INVALID_PARAMETER,
            "invisibleTime must be 0 to 259200000 ms, not -1",
        ),
        (
            "invisibleTime",
            "9223372036854775807",
            response::INVALID_PARAMETER,
            "invisibleTime must be 0 to 259200000 ms, not 9223372036854775807",
        ),
        ("bornTime", "1", response::POLLING_TIMEOUT, "the broker[127.0.0.1] pop message is timeout too much"),
    ] {
        let opaque = send_pop(&mut client, "0", &[(field, value)]).await;
        assert_eq!(refusal(&client.answer(opaque).await), (code, remark), "{field} {value}");
    }
    let popped = pop(&mut client, &[("queueId", "0")]).await.remove(0);
    let forged = |receipt: &str| Got { receipt: receipt.to_owned(), ..popped.clone() };
    for receipt in ["", "1 2 3", "0 1 60000 8 0 b 0 0", "0 x 60000 0 0 b 0 0", "0 1 60000 0 0 other 0 0"] {
        let answer = ack(&mut client, &forged(receipt)).await;
        assert_eq!(answer.code, response::MESSAGE_ILLEGAL, "{receipt}: {:?}", refusal(&answer));
    }
    let outside = Got { offset: "7".to_owned(), ..popped.clone() };
    let remark = "offset is illegal, key:T@0, commit:7, store:0~1";
    assert_eq!(refusal(&ack(&mut client, &outside).await), (response::NO_MESSAGE, remark));
    let nowhere = Got { queue_id: "9".to_owned(), ..popped.clone() };
    assert_eq!(ack(&mut client, &nowhere).await.code, response::MESSAGE_ILLEGAL);
    let unknown = Got { topic: "None".to_owned(), ..popped.clone() };
    assert_eq!(ack(&mut client, &unknown).await.code, response::TOPIC_NOT_EXIST);
    // A receipt of a pop that never was succeeds, as a late one does, and acknowledges nothing.
    assert_eq!(ack(&mut client, &forged("0 1 60000 0 0 b 0 0")).await.code, response::SUCCESS);
    assert_eq!(change(&mut client, &forged("0 1 60000 0 0 b 0 0"), "1").await.code, response::NO_MESSAGE);
    kit.clock.travel(Duration::from_secs(60));
    assert_eq!(bodies(&pop_some(&mut client).await), ["m"]);
}

/// An orderly group gets the next messages of a queue only when it is done with those before, or their time is over.
#[tokio::test]
async fn orderly_pops() {
    let (kit, mut client) = start(1).await;
    let mut other = kit.client().await;
    kit.put("T", 0, &["a", "b", "c"], "");
    let order = [("order", "true"), ("maxMsgNums", "2"), ("attemptId", "x")];
    let opaque = send_pop(&mut client, "0", &order).await;
    let answer = client.answer(opaque).await;
    assert_eq!(answer.fields.get("reviveQid"), Some("999"));
    assert_eq!(answer.fields.get("orderCountInfo"), Some("0 0 0"));
    let first = got(&answer);
    assert_eq!(bodies(&first), ["a", "b"]);
    let mine = [("order", "true"), ("maxMsgNums", "2")];
    assert!(pop(&mut other, &mine).await.is_empty());
    assert_eq!(bodies(&pop(&mut client, &order).await), ["a", "b"]);
    let again = pop(&mut client, &order).await;
    let held = send_pop(&mut other, "30000", &mine).await;
    other.call(request::GET_MAX_OFFSET, &[("topic", "T"), ("queueId", "0")], "").await;
    // Only the first is done with: the second comes again when its time is over, with what follows it.
    assert_eq!(ack(&mut client, &again[0]).await.code, response::SUCCESS);
    let changed = change(&mut client, &again[1], "20000").await;
    assert_eq!(changed.fields.get("reviveQid"), Some("999"));
    kit.clock.travel(Duration::from_secs(20));
    let answer = other.answer(held).await;
    let second = got(&answer);
    assert_eq!(bodies(&second), ["b", "c"]);
    assert_eq!(answer.fields.get("orderCountInfo"), Some("0 qo0%1 1;0 0 0"));
    for got in &second {
        assert_eq!(ack(&mut other, got).await.code, response::SUCCESS);
    }
    assert!(pop(&mut client, &mine).await.is_empty());
    assert_eq!(kit.broker.offsets.query("g", "T", 0), Some(crate::store::QueueOffset(3)));
    let illegal = Got { offset: "2".to_owned(), ..second[1].clone() };
    assert_eq!(ack(&mut other, &illegal).await.code, response::SUCCESS);
}

/// NOTIFICATION answers as soon as there is something, and takes nothing.
#[tokio::test]
async fn notifications() {
    let (kit, mut client) = start(2).await;
    let fields = |poll| {
        [("consumerGroup", "g"), ("topic", "T"), ("queueId", "-1"), ("pollTime", poll), ("bornTime", "0")]
    };
    let answer = client.call(request::NOTIFICATION, &fields("0"), "").await;
    assert_eq!(
        (answer.fields.get("hasMsg"), answer.fields.get("pollingFull")),
        (Some("false"), Some("false"))
    );
    let opaque = client.send(request::NOTIFICATION, &fields("30000"), "").await;
    client.call(request::GET_MAX_OFFSET, &[("topic", "T"), ("queueId", "0")], "").await;
    kit.put("T", 1, &["m"], "");
    assert_eq!(client.answer(opaque).await.fields.get("hasMsg"), Some("true"));
    assert_eq!(bodies(&pop(&mut client, &[]).await), ["m"]);
}

/// After kill -9 what was out and not acknowledged comes again, and what was acknowledged does not.
#[tokio::test]
async fn check_points_survive_a_crash() {
    survive(true).await;
}

/// As after kill -9, so after a stop.
#[tokio::test]
async fn check_points_survive_a_stop() {
    survive(false).await;
}

async fn survive(killed: bool) {
    let (kit, mut client) = start(1).await;
    kit.put("T", 0, &["a", "b"], "");
    let popped = pop(&mut client, &[]).await;
    assert_eq!(ack(&mut client, &popped[0]).await.code, response::SUCCESS);
    let kit = if killed { kit.killed().await } else { kit.restart(&[]).await };
    let mut client = kit.client().await;
    assert!(pop(&mut client, &[]).await.is_empty());
    // The log has the acknowledgement only at the end of the invisible time, and is given two seconds.
    kit.clock.travel(Duration::from_secs(60));
    let opaque = send_pop(&mut client, "60000", &[]).await;
    let again = got(&client.answer(opaque).await);
    assert_eq!(bodies(&again), ["b"]);
    assert_eq!((&*again[0].topic, again[0].times), (RETRY, 1));
}

/// The life of a popped message can be told: lent, lent again, done with.
#[tokio::test]
async fn a_popped_message_has_a_timeline() {
    let (kit, mut client) = start(1).await;
    kit.put("T", 0, &["m"], "UNIQ_KEY\u{1}K1\u{2}");
    assert_eq!(pop_some(&mut client).await.len(), 1);
    kit.clock.travel(Duration::from_secs(60));
    let again = pop_some(&mut client).await;
    assert_eq!(ack(&mut client, &again[0]).await.code, response::SUCCESS);
    let told = kit.broker.timeline(Some("T"), "K1");
    let steps: Vec<_> =
        told[0].steps.iter().map(|step| (step.what, &*step.topic, step.group.as_deref())).collect();
    assert_eq!(
        steps,
        [
            ("sent", "T", None),
            ("stored", "T", None),
            ("delivered", "T", Some("g")),
            ("retry", RETRY, Some("g")),
            ("delivered", RETRY, Some("g")),
            ("consumed", RETRY, Some("g")),
        ]
    );
}

/// A group that is told to pull while its pop is held gets nothing by it any more, and what was out comes by its own
/// retry topic.
#[tokio::test]
async fn switched_to_pulling() {
    let (kit, mut client) = start(1).await;
    let mut other = kit.client().await;
    kit.put("T", 0, &["out"], "");
    assert_eq!(bodies(&pop(&mut client, &[]).await), ["out"]);
    let held = send_pop(&mut client, "30000", &[]).await;
    client.call(request::GET_MAX_OFFSET, &[("topic", "T"), ("queueId", "0")], "").await;
    let mode = r#"{"consumerGroup":"g","mode":"PULL","popShareQueueNum":0,"topic":"T"}"#;
    assert_eq!(other.call(request::SET_MESSAGE_REQUEST_MODE, &[], mode).await.code, response::SUCCESS);
    kit.put("T", 0, &["later"], "");
    kit.clock.travel(Duration::from_secs(1));
    assert_eq!(client.answer(held).await.code, response::POLLING_TIMEOUT);
    kit.clock.travel(Duration::from_secs(60));
    let retried = kit.records("%RETRY%g", 0, 1).await;
    let retried = MessageRecord::decode(&retried[0]).unwrap();
    assert_eq!((retried.body, retried.property("RETRY_TOPIC")), (&b"out"[..], Some("T")));
}

/// A key says in which form of their topic retries are put; both are read, and each acknowledgement finds its own, also
/// after a restart.
#[tokio::test]
async fn both_forms_of_retry_topics() {
    let (kit, mut client) = start(1).await;
    let second_form = "%RETRY%g+T";
    kit.put("T", 0, &["first"], "");
    pop(&mut client, &[]).await;
    kit.clock.travel(Duration::from_secs(60));
    let first = pop_some(&mut client).await.remove(0);
    let body = "enableRetryTopicV2=true\n";
    assert_eq!(client.call(request::UPDATE_BROKER_CONFIG, &[], body).await.code, response::SUCCESS);
    kit.put("T", 0, &["second"], "");
    assert_eq!(bodies(&pop(&mut client, &[]).await), ["second"]);
    kit.clock.travel(Duration::from_secs(60));
    // What is in the first form stays there, time after time.
    let mut again = pop_some(&mut client).await;
    while again.len() < 2 {
        again.extend(pop_some(&mut client).await);
    }
    again.sort_unstable_by(|one, other| one.body.cmp(&other.body));
    assert_eq!(bodies(&again), ["first", "second"]);
    assert_eq!((&*again[0].topic, again[0].times), (RETRY, 2));
    assert_eq!((&*again[1].topic, again[1].times), (second_form, 1));
    assert_ne!(again[0].receipt, first.receipt);
    assert_eq!(ack(&mut client, &again[0]).await.code, response::SUCCESS);
    let kit = kit.restart(&[]).await;
    assert!(kit.broker.topics.get(second_form).is_some(), "kept, with a name that no client may use");
    let mut client = kit.client().await;
    let refused = client.send_message(second_form, 0, "m", "").await;
    assert_eq!(refused.code, response::SUBSCRIPTION_GROUP_NOT_EXIST);
    kit.clock.travel(Duration::from_secs(120));
    let last = pop_some(&mut client).await.remove(0);
    assert_eq!((&*last.body, &*last.topic, last.times), ("second", second_form, 2));
    assert_eq!(ack(&mut client, &last).await.code, response::SUCCESS);
    kit.clock.travel(Duration::from_secs(3600));
    assert!(pop(&mut client, &[]).await.is_empty());
}

/// Looking at what would come next takes nothing: not in the topic, not in its retries; and it has the limits of a pop.
#[tokio::test]
async fn a_peek_takes_nothing() {
    let (kit, mut client) = start(2).await;
    let fields = |queue: &'static str, max: &'static str| {
        [("consumerGroup", "g"), ("topic", "T"), ("queueId", queue), ("maxMsgNums", max)]
    };
    let answer = client.call(request::PEEK_MESSAGE, &fields("-1", "32"), "").await;
    assert_eq!((answer.code, answer.fields.get("restNum")), (response::PULL_NOT_FOUND, Some("0")));
    kit.put("T", 0, &["a", "b"], "");
    kit.put("T", 1, &["c"], "");
    pop(&mut client, &[("queueId", "1")]).await;
    kit.clock.travel(Duration::from_secs(60));
    while kit.broker.topics.get(RETRY).is_none_or(|_| kit.broker.store.max_offset_in_queue(RETRY, 0).0 == 0) {
        tokio::task::yield_now().await;
    }
    for (queue, max, wanted, rest) in [
        ("-1", "32", vec!["a", "b", "c"], "3"),
        ("0", "32", vec!["a", "b", "c"], "3"),
        ("1", "1", vec!["c"], "1"),
    ] {
        for _ in 0..2 {
            let answer = client.call(request::PEEK_MESSAGE, &fields(queue, max), "").await;
            let mut bodies: Vec<_> = MessageRecord::decode_all(&answer.body)
                .map(|record| record.unwrap())
                .inspect(|record| assert_eq!(record.topic, "T"))
                .map(|record| String::from_utf8(record.body.to_vec()).unwrap())
                .collect();
            bodies.sort_unstable();
            assert_eq!(
                (answer.code, bodies),
                (response::SUCCESS, wanted.iter().map(ToString::to_string).collect())
            );
            assert_eq!(answer.fields.get("restNum"), Some(rest));
        }
    }
    assert_eq!(bodies(&pop(&mut client, &[]).await), ["a", "b", "c"]);
    let answer = client.call(request::PEEK_MESSAGE, &fields("-1", "32"), "").await;
    assert_eq!(answer.code, response::PULL_NOT_FOUND);
    for (queue, max, remark) in [
        ("-1", "0", "maxMsgNums must be 1 to 32, not 0"),
        ("-1", "33", "maxMsgNums must be 1 to 32, not 33"),
        ("2", "1", "queueId[2] is illegal, topic:[T] topicConfig.readQueueNums:[2]"),
    ] {
        let answer = client.call(request::PEEK_MESSAGE, &fields(queue, max), "").await;
        assert!(
            answer.code == response::INVALID_PARAMETER && refusal(&answer).1.starts_with(remark),
            "{remark}"
        );
    }
    let rolled_back = client.call(request::POP_ROLLBACK, &[], "").await;
    assert_eq!(rolled_back.code, response::SUCCESS, "there is nothing in a RocksDB");
}
