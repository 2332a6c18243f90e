//! Delay levels on a whole broker with a clock that a test moves.

use std::time::Duration;

use super::*;
use crate::broker::kit::{Kit, START_MS, refusal, text};
use crate::wire::code::request;
use crate::wire::message::tags_code;

fn delay(level: i32) -> String {
    format!("TAGS\u{1}a\u{2}DELAY\u{1}{level}\u{2}")
}

fn bodies(records: &[bytes::Bytes]) -> Vec<String> {
    let record = |bytes| MessageRecord::decode(bytes).unwrap();
    records.iter().map(|bytes| String::from_utf8(record(bytes).body.to_vec()).unwrap()).collect()
}

/// A message waits under the schedule topic with its place and time written down, and comes out as it was sent.
#[tokio::test]
async fn hidden_and_delivered() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    let answer = client.send_message("T", 1, "hello", &delay(3)).await;
    assert_eq!((answer.code, answer.fields.get("queueId")), (0, Some("1")), "the queue that was asked for");

    let hidden = kit.records(SCHEDULE_TOPIC, 2, 1).await;
    let hidden = MessageRecord::decode(&hidden[0]).unwrap();
    for (name, value) in [("DELAY", "3"), ("REAL_TOPIC", "T"), ("REAL_QID", "1"), ("TAGS", "a")] {
        assert_eq!(hidden.property(name), Some(value));
    }
    let entry = kit.broker.store.queue_entries(SCHEDULE_TOPIC, 2, QueueOffset(0), 1)[0];
    assert_eq!(entry.tags_code, hidden.store_timestamp + 10_000);

    kit.clock.travel(Duration::from_secs(9));
    assert_eq!(kit.broker.store.max_offset_in_queue("T", 1).0, 0);
    kit.clock.travel(Duration::from_secs(1));
    let delivered = kit.records("T", 1, 1).await;
    let record = MessageRecord::decode(&delivered[0]).unwrap();
    assert_eq!((record.topic, record.queue_id, record.body), ("T", 1, &b"hello"[..]));
    assert_eq!((record.born_timestamp, record.reconsume_times), (5, 0));
    assert_eq!(record.properties, hidden.properties, "as on the reference, the stored text does not change");
    let entry = kit.broker.store.queue_entries("T", 1, QueueOffset(0), 1)[0];
    assert_eq!(entry.tags_code, tags_code("a"));

    let offsets = client.call(request::GET_ALL_DELAY_OFFSET, &[], "").await;
    assert!(text(&offsets).contains(r#""offsetTable":{3:1}"#), "{}", text(&offsets));
}

/// Whatever order they were sent in, messages of several levels come in the order of their times when a clock
/// travels past all of them, within one level as sent.
#[tokio::test]
async fn travelled_past_in_order() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    for level in [18, 4, 1, 3, 2, 18, 1] {
        client.send_message("T", 0, &format!("level {level}"), &delay(level)).await;
    }
    kit.clock.travel(Duration::from_secs(7200));
    let delivered = bodies(&kit.records("T", 0, 7).await);
    let order = [1, 1, 2, 3, 4, 18, 18].map(|level| format!("level {level}"));
    assert_eq!(delivered, order);
}

/// A level above the highest is the highest; nought and below are no delay; what is no number is refused.
#[tokio::test]
async fn levels_out_of_range() {
    let kit = Kit::start(&[("messageDelayLevel", "1s 2s")]).await;
    let mut client = kit.client().await;
    for (body, level) in [("far", "99"), ("now", "0"), ("also now", "-1")] {
        let answer = client.send_message("T", 0, body, &format!("DELAY\u{1}{level}\u{2}")).await;
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
    }
    assert_eq!(bodies(&kit.records("T", 0, 2).await), ["now", "also now"]);
    let hidden = kit.records(SCHEDULE_TOPIC, 1, 1).await;
    assert_eq!(MessageRecord::decode(&hidden[0]).unwrap().property("DELAY"), Some("2"));
    let refused = client.send_message("T", 0, "x", "DELAY\u{1}soon\u{2}").await;
    let remark =
        "the message is illegal, property DELAY is \"soon\", and a delay level is a whole number from 1";
    assert_eq!(refusal(&refused), (response::MESSAGE_ILLEGAL, remark));
    kit.clock.travel(Duration::from_secs(2));
    assert_eq!(bodies(&kit.records("T", 0, 3).await)[2], "far");
}

/// After a restart nothing is delivered twice and nothing that waits is forgotten; a shorter ladder delivers at
/// once what was to wait longer than it now knows.
#[tokio::test]
async fn restarts() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    client.send_message("T", 0, "early", &delay(1)).await;
    client.send_message("T", 0, "late", &delay(3)).await;
    client.send_message("T", 0, "last", &delay(18)).await;
    kit.clock.travel(Duration::from_secs(1));
    kit.records("T", 0, 1).await;
    let kit = kit.restart(&[]).await;
    assert_eq!(kit.broker.schedule.snapshot().offset_table, [(1, 1)].into());
    kit.clock.travel(Duration::from_secs(9));
    assert_eq!(bodies(&kit.records("T", 0, 2).await), ["early", "late"]);
    let ladder = ["1s"; 18].join(" ");
    let kit = kit.restart(&[("messageDelayLevel", &ladder)]).await;
    assert_eq!(bodies(&kit.records("T", 0, 3).await), ["early", "late", "last"]);
    assert!(kit.clock.now_ms() < START_MS + 60_000);
}

/// A progress outside its queue is put within it, and a message whose place cannot be read stops nothing.
#[tokio::test]
async fn broken_state_stops_nothing() {
    let kit = Kit::start(&[]).await;
    kit.put(SCHEDULE_TOPIC, 0, &["lost"], "DELAY\u{1}1\u{2}REAL_TOPIC\u{1}a/b\u{2}REAL_QID\u{1}0\u{2}");
    kit.put(SCHEDULE_TOPIC, 0, &["lost"], "DELAY\u{1}1\u{2}");
    let half = format!("DELAY\u{1}1\u{2}REAL_TOPIC\u{1}{TRANS_HALF_TOPIC}\u{2}REAL_QID\u{1}0\u{2}");
    kit.put(SCHEDULE_TOPIC, 0, &["half"], &half);
    kit.put(SCHEDULE_TOPIC, 0, &["good"], "DELAY\u{1}1\u{2}REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}0\u{2}");
    kit.clock.travel(Duration::from_secs(1));
    assert_eq!(bodies(&kit.records("T", 0, 1).await), ["good"]);
    assert!(!kit.broker.store.has_queue(TRANS_HALF_TOPIC, 0));
    let wrong = DelayOffsetSerializeWrapper {
        offset_table: [(1, 99), (2, -5), (-7, 3)].into(),
        ..DelayOffsetSerializeWrapper::default()
    };
    let path = kit.broker.schedule.path.with_file_name("other.json");
    persist::save(&path, &wrong).unwrap();
    let loaded = Schedule::load(path, &[1_000, 2_000], &kit.broker.store).unwrap();
    assert_eq!(loaded.snapshot().offset_table, [(1, 4), (2, 0)].into());
}

/// Thousands that are due together come completely and in order, although they are read in batches.
#[tokio::test]
async fn many_at_once() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    let answer = client.send_message("T", 0, "first", &delay(2)).await;
    assert_eq!(answer.code, 0);
    let names: Vec<String> = (0..2_000).map(|number| number.to_string()).collect();
    let texts: Vec<&str> = names.iter().map(String::as_str).collect();
    kit.put(SCHEDULE_TOPIC, 1, &texts, "DELAY\u{1}2\u{2}REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}0\u{2}");
    kit.clock.travel(Duration::from_secs(5));
    let delivered = bodies(&kit.records("T", 0, 2_001).await);
    assert_eq!(delivered[1..], names);
}
