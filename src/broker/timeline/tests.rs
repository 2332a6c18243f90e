//! Lives of messages, as they are told afterwards.

use std::time::Duration;

use super::*;
use crate::broker::kit::{Kit, RawClient};
use crate::wire::code::{request, response};
use crate::wire::command::Command;

async fn pull(client: &mut RawClient, topic: &str, offset: &str) -> Command {
    let fields = [
        ("consumerGroup", "g"),
        ("topic", topic),
        ("queueId", "0"),
        ("queueOffset", offset),
        ("maxMsgNums", "32"),
        ("sysFlag", "4"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subscription", "*"),
        ("subVersion", "0"),
    ];
    let answer = client.call(request::PULL_MESSAGE, &fields, "").await;
    assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
    answer
}

async fn commit(client: &mut RawClient, topic: &str, offset: &str) {
    let fields = [("consumerGroup", "g"), ("topic", topic), ("queueId", "0"), ("commitOffset", offset)];
    assert_eq!(client.call(request::UPDATE_CONSUMER_OFFSET, &fields, "").await.code, response::SUCCESS);
}

async fn send_back(client: &mut RawClient, answer: &Command, level: &str) {
    let offset = MessageRecord::decode(&answer.body).unwrap().physical_offset.to_string();
    let fields = [("offset", offset.as_str()), ("group", "g"), ("delayLevel", level)];
    assert_eq!(client.call(request::CONSUMER_SEND_MSG_BACK, &fields, "").await.code, response::SUCCESS);
}

fn told(timeline: &Timeline) -> Vec<&'static str> {
    timeline.steps.iter().map(|step| step.what).collect()
}

/// From the sender to the dead letters, found by every key and id, in every topic or in its own.
#[tokio::test]
async fn from_sent_to_dead() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    client.join("c", "g", "T").await;
    client.send_message("T", 0, "hello", "KEYS\u{1}order-1\u{2}UNIQ_KEY\u{1}K1\u{2}").await;
    client.send_message("T", 0, "other", "KEYS\u{1}order-2\u{2}UNIQ_KEY\u{1}K2\u{2}").await;
    let first = pull(&mut client, "T", "0").await;
    send_back(&mut client, &first, "0").await;
    commit(&mut client, "T", "2").await;
    kit.clock.travel(Duration::from_secs(10));
    kit.records("%RETRY%g", 0, 1).await;
    let again = pull(&mut client, "%RETRY%g", "0").await;
    kit.clock.travel(Duration::from_secs(1));
    send_back(&mut client, &again, "-1").await;
    commit(&mut client, "%RETRY%g", "1").await;

    let offset_id = MessageRecord::decode(&first.body).unwrap().offset_message_id();
    for (topic, key) in
        [(Some("T"), "order-1"), (None, "order-1"), (Some("T"), "K1"), (None, "K1"), (None, &*offset_id)]
    {
        let found = kit.broker.timeline(topic, key);
        assert_eq!(found.len(), 1, "{topic:?} {key}");
        let timeline = &found[0];
        assert_eq!((&*timeline.id, &*timeline.topic), ("K1", "T"));
        assert_eq!(told(timeline)[..3], ["sent", "stored", "delivered"]);
        let retry = timeline.steps.iter().position(|step| step.what == "retry").unwrap();
        let failed = timeline.steps.iter().find(|step| step.what == "failed").unwrap();
        assert_eq!(failed.group.as_deref(), Some("g"));
        assert_eq!(failed.due_ms.unwrap() - failed.at_ms, 10_000);
        let step = &timeline.steps[retry];
        assert_eq!((&*step.topic, step.times), ("%RETRY%g", Some(1)));
        assert_eq!(
            timeline.steps[retry..].iter().map(|step| step.what).collect::<Vec<_>>()[..2],
            ["retry", "delivered"]
        );
        let consumed: Vec<_> = timeline.steps.iter().filter(|step| step.what == "consumed").collect();
        assert_eq!(consumed.iter().map(|step| &*step.topic).collect::<Vec<_>>(), ["T", "%RETRY%g"]);
        let dead = timeline.steps.iter().find(|step| step.what == "dead").unwrap();
        assert_eq!((dead.group.as_deref(), dead.times), (Some("g"), Some(2)));
    }
    assert_eq!(told(&kit.broker.timeline(None, "order-2")[0]), ["sent", "stored", "delivered", "consumed"]);
}

/// A message that waits is told of under the topic it is meant for, with the time it is due.
#[tokio::test]
async fn delayed() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    client.join("c", "g", "T").await;
    client.send_message("T", 0, "later", "DELAY\u{1}2\u{2}UNIQ_KEY\u{1}K1\u{2}").await;
    let waiting = kit.broker.timeline(Some("T"), "K1");
    assert_eq!(told(&waiting[0]), ["sent", "delayed"]);
    assert_eq!(waiting[0].steps[1].due_ms.unwrap() - waiting[0].steps[1].at_ms, 5_000);
    kit.clock.travel(Duration::from_secs(5));
    kit.records("T", 0, 1).await;
    assert_eq!(told(&kit.broker.timeline(Some("T"), "K1")[0]), ["sent", "delayed", "stored"]);
}

/// Both ends of a transaction, and who decided.
#[tokio::test]
async fn transactions() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    for (key, decision) in [("K1", "8"), ("K2", "12")] {
        let properties = format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}p\u{2}UNIQ_KEY\u{1}{key}\u{2}");
        let sent = client.send_message("T", 0, "half", &properties).await;
        assert_eq!(told(&kit.broker.timeline(Some("T"), key)[0]), ["sent", "half"]);
        let (_, at) = message::parse_offset_message_id(sent.fields.get("msgId").unwrap()).unwrap();
        let fields = [
            ("producerGroup", "p"),
            ("tranStateTableOffset", sent.fields.get("queueOffset").unwrap()),
            ("commitLogOffset", &at.to_string()),
            ("commitOrRollback", decision),
            ("fromTransactionCheck", "false"),
            ("msgId", key),
        ];
        let answer = client.call(request::END_TRANSACTION, &fields, "").await;
        assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
    }
    let mut committed = told(&kit.broker.timeline(Some("T"), "K1")[0]);
    committed[2..].sort_unstable();
    assert_eq!(committed, ["sent", "half", "committed", "stored"]);
    let rolled_back = kit.broker.timeline(Some("T"), "K2");
    assert_eq!(told(&rolled_back[0]), ["sent", "half", "rolled back"]);
    assert!(rolled_back[0].steps[2].client.as_deref().unwrap().starts_with("127.0.0.1:"));
}

/// Unknown keys tell nothing, hostile ones too; the list of events stays bounded.
#[tokio::test]
async fn nothing_to_tell() {
    let kit = Kit::start(&[]).await;
    let hostile = "F".repeat(32);
    for key in ["", "nobody", hostile.as_str(), "\u{1}\u{2}", &"x".repeat(70_000)] {
        assert!(kit.broker.timeline(None, key).is_empty(), "{}", key.len());
        assert!(kit.broker.timeline(Some("T"), key).is_empty(), "{}", key.len());
    }
    let events = Events::default();
    for half in 0..EVENTS_MAX as i64 + 10 {
        events.decided(half, half, true, false, "127.0.0.1:1".parse().unwrap());
    }
    let told = events.told();
    assert_eq!((told.events.len(), told.events[0].at_ms), (EVENTS_MAX, 10));
    assert!(told.events.is_sorted_by_key(|event| event.at_ms));
}

/// Events keep their own names, however many there are and though only some are at hand; none of it grows without end.
#[test]
fn names_of_events() {
    assert!(size_of::<Event>() <= 40);
    let events = Events::default();
    let client = |at: usize| SocketAddr::from(([127, 0, 0, 1], at as u16));
    let mut wanted = std::collections::VecDeque::new();
    for at in 0..3 * NAMES_MAX {
        let (group, topic) = (format!("group-{}", at % 50_000), format!("topic-{}", at % 7));
        events.delivered(at as i64, &group, &topic, 1, (QueueOffset(2), QueueOffset(3)), 1, client(at));
        events.committed(at as i64, "", &topic, 1, QueueOffset(2));
        wanted.push_back((group, topic.clone(), client(at)));
        wanted.push_back((String::new(), topic, NOBODY));
    }
    wanted.drain(..wanted.len() - EVENTS_MAX);
    let state = events.lock();
    assert!(state.names.len() <= NAMES_MAX && state.numbers.len() == state.names.len());
    drop(state);
    let told = events.told();
    for ((event, names), (group, topic, client)) in told.all().zip(&wanted) {
        assert_eq!((&*names.group, &*names.topic, names.client), (&**group, &**topic, *client), "{event:?}");
    }
}
