//! Retries and dead letters over the wire, on a whole broker with a clock that a test moves.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::broker::kit::{Kit, RawClient, refusal};
use crate::broker::name::TRANS_HALF_TOPIC;
use crate::wire::code::request;

/// Delays of the sixteen retries, levels 3 to 18, in seconds.
const LADDER_SECONDS: [u64; 16] =
    [10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];

fn decode(bytes: &Bytes) -> MessageRecord<'_> {
    MessageRecord::decode(bytes).unwrap()
}

async fn send_back(
    client: &mut RawClient,
    group: &str,
    offset: i64,
    level: &str,
    more: &[(&'static str, &str)],
) -> crate::wire::command::Command {
    let offset = offset.to_string();
    let mut fields = vec![("offset", offset.as_str()), ("group", group), ("delayLevel", level)];
    fields.extend_from_slice(more);
    client.call(request::CONSUMER_SEND_MSG_BACK, &fields, "").await
}

/// Up the whole ladder into the dead letters, each copy with one try more, the same key and the first id.
#[tokio::test]
async fn sixteen_retries_and_a_dead_letter() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    client.join("c", "g", "T").await;
    client.send_message("T", 0, "hello", "UNIQ_KEY\u{1}K1\u{2}TAGS\u{1}a\u{2}").await;
    let mut last = kit.records("T", 0, 1).await.remove(0);
    let first_id = decode(&last).offset_message_id();
    for (tries, delay) in LADDER_SECONDS.into_iter().enumerate() {
        let answer = send_back(&mut client, "g", decode(&last).physical_offset, "0", &[]).await;
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
        kit.clock.travel(Duration::from_secs(delay));
        last = kit.records("%RETRY%g", 0, tries + 1).await.pop().unwrap();
        let record = decode(&last);
        assert_eq!(record.reconsume_times as usize, tries + 1);
        let level = (tries + 3).to_string();
        for (name, value) in [
            ("RETRY_TOPIC", "T"),
            ("ORIGIN_MESSAGE_ID", first_id.as_str()),
            ("UNIQ_KEY", "K1"),
            ("TAGS", "a"),
            ("DELAY", &level),
            ("WAIT", "false"),
        ] {
            assert_eq!(record.property(name), Some(value), "{name}");
        }
    }
    let answer = send_back(&mut client, "g", decode(&last).physical_offset, "0", &[]).await;
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    let dead = kit.records("%DLQ%g", 0, 1).await.remove(0);
    let record = decode(&dead);
    assert_eq!((record.reconsume_times, record.body), (17, &b"hello"[..]));
    for (name, value) in
        [("RETRY_TOPIC", "T"), ("ORIGIN_MESSAGE_ID", &first_id), ("UNIQ_KEY", "K1"), ("DELAY", "0")]
    {
        assert_eq!(record.property(name), Some(value), "{name}");
    }
    let topic = kit.broker.topics.get("%DLQ%g").unwrap();
    assert_eq!((topic.read_queue_nums, topic.perm), (1, perm::READ | perm::WRITE));
}

/// Who decides that it is enough: the level −1, the client's limit, the group's limit, in this order.
#[tokio::test]
async fn limits() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    client.join("c", "g", "T").await;
    let config = SubscriptionGroupConfig { retry_max_times: 0, ..SubscriptionGroupConfig::new("g") };
    kit.broker.groups.update(config).unwrap();
    client.send_message("T", 0, "m", "").await;
    let first = kit.records("T", 0, 1).await.remove(0);
    let offset = decode(&first).physical_offset;
    for (level, more, dead) in [
        ("-1", &[("maxReconsumeTimes", "16")][..], 1),
        ("2", &[], 2),
        ("2", &[("maxReconsumeTimes", "1")], 2),
        ("99", &[("maxReconsumeTimes", "1")], 2),
        ("5", &[("maxReconsumeTimes", "-5")], 3),
    ] {
        let answer = send_back(&mut client, "g", offset, level, more).await;
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
        assert_eq!(kit.broker.store.max_offset_in_queue("%DLQ%g", 0).0, dead, "{level} {more:?}");
    }
    assert_eq!(kit.records(SCHEDULE_TOPIC, 1, 1).await.len(), 1);
    assert_eq!(kit.records(SCHEDULE_TOPIC, 17, 1).await.len(), 1, "above the highest is the highest");
}

/// What cannot be sent back is refused with the reference's code and the value, and nothing is stored.
#[tokio::test]
async fn refusals() {
    let kit = Kit::start(&[("autoCreateSubscriptionGroup", "false")]).await;
    let mut client = kit.client().await;
    kit.broker.groups.update(SubscriptionGroupConfig::new("g")).unwrap();
    client.send_message("T", 0, "m", "").await;
    let end = kit.broker.store.max_physical_offset().0;
    let first = decode(&kit.records("T", 0, 1).await[0]).physical_offset;
    for offset in [i64::MIN, -1, 1, end, i64::MAX] {
        let answer = send_back(&mut client, "g", offset, "0", &[]).await;
        let remark = format!(
            "look message by offset failed, {offset}: no message begins there; the commit log goes from 0 to {end}"
        );
        assert_eq!(refusal(&answer), (response::SYSTEM_ERROR, remark.as_str()));
    }
    for group in ["other", "../g", "", &"g".repeat(300)] {
        let answer = send_back(&mut client, group, first, "0", &[]).await;
        assert_eq!(answer.code, response::SUBSCRIPTION_GROUP_NOT_EXIST);
        assert!(answer.remark.unwrap().len() < 200);
    }
    kit.put(TRANS_HALF_TOPIC, 0, &["undecided"], "");
    let half = decode(&kit.records(TRANS_HALF_TOPIC, 0, 1).await[0]).physical_offset;
    assert_eq!(send_back(&mut client, "g", half, "0", &[]).await.code, response::SYSTEM_ERROR);
    let end = kit.broker.store.max_physical_offset().0;
    let config = SubscriptionGroupConfig { retry_queue_nums: 0, ..SubscriptionGroupConfig::new("none") };
    kit.broker.groups.update(config).unwrap();
    assert_eq!(send_back(&mut client, "none", first, "0", &[]).await.code, 0, "dropped, as told");
    let retry = kit.broker.topics.get("%RETRY%g").unwrap();
    let read_only = TopicConfig { perm: perm::READ, ..TopicConfig::clone(&retry) };
    kit.broker.topics.update(read_only).unwrap();
    let answer = send_back(&mut client, "g", first, "0", &[]).await;
    assert_eq!(
        refusal(&answer),
        (response::NO_PERMISSION, "the topic[%RETRY%g] sending message is forbidden")
    );
    assert_eq!(kit.broker.store.max_physical_offset().0, end, "nothing was stored");
}

/// A client that sends to the retry topic itself gets its delay, and the dead letters once over its limit or when
/// it holds a queue lock.
#[tokio::test]
async fn sent_by_the_client() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    client.join("c", "g", "T").await;
    let send = async |client: &mut RawClient, tries: &'static str| {
        let fields = [
            ("a", "CLIENT_INNER_PRODUCER"),
            ("b", "%RETRY%g"),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", "0"),
            ("f", "0"),
            ("g", "5"),
            ("h", "0"),
            ("i", "RETRY_TOPIC\u{1}T\u{2}DELAY\u{1}3\u{2}"),
            ("j", tries),
            ("l", "2"),
        ];
        let answer = client.call(request::SEND_MESSAGE_V2, &fields, "m").await;
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
    };
    send(&mut client, "2").await;
    kit.clock.travel(Duration::from_secs(10));
    let retried = kit.records("%RETRY%g", 0, 1).await;
    assert_eq!(decode(&retried[0]).reconsume_times, 2);
    send(&mut client, "3").await;
    let dead = kit.records("%DLQ%g", 0, 1).await;
    assert_eq!(decode(&dead[0]).property("DELAY"), Some("-1"));
    let queue = crate::wire::body::message_queue::MessageQueue {
        topic: "T".into(),
        broker_name: "b".into(),
        queue_id: 0,
    };
    kit.broker.locks.lock("g", "c", [queue].into(), kit.clock.now_ms());
    send(&mut client, "1").await;
    assert_eq!(kit.records("%DLQ%g", 0, 2).await.len(), 2);
    kit.clock.travel(Duration::from_secs(61));
    send(&mut client, "1").await;
    assert_eq!(kit.broker.store.max_offset_in_queue("%DLQ%g", 0).0, 2, "an expired lock is none");
}
