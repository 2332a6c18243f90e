//! Figures counted, sampled and viewed.

#![allow(clippy::float_cmp)] // the sums here are exact

use super::*;

const START_MS: i64 = 1_700_000_000_000;

fn stats() -> Stats {
    Stats::new("C", "b", START_MS)
}

/// What was counted a moment ago shows at once; windows forget what has left them.
#[test]
fn windows_of_a_topic() {
    let stats = stats();
    assert_eq!(stats.view("TOPIC_PUT_NUMS", "T", START_MS), None);
    let topic = stats.topic("T");
    assert_eq!(stats.view("TOPIC_PUT_NUMS", "T", START_MS), None, "nothing was put yet");
    topic.put(1, 100);
    topic.put(3, 500);
    let now = stats.view("TOPIC_PUT_NUMS", "T", START_MS + 1).unwrap();
    assert_eq!(now.minute, Figures { sum: 4, tps: 0.4, avgpt: 2.0 });
    assert_eq!(stats.view("TOPIC_PUT_SIZE", "T", START_MS + 1).unwrap().day.sum, 600);
    for tick in 1..=60 {
        stats.sample(START_MS + tick * 5_000);
    }
    let later = stats.view("TOPIC_PUT_NUMS", "T", START_MS + 300_000).unwrap();
    assert_eq!((later.minute.sum, later.minute.tps), (0, 0.0));
    assert_eq!((later.hour.sum, later.day.sum), (4, 4));
    for hour in 1..=30 {
        stats.sample(START_MS + hour * 3_600_000);
    }
    assert_eq!(stats.view("TOPIC_PUT_NUMS", "T", START_MS + 30 * 3_600_000).unwrap(), Windows::default());
}

/// A group's figures stand under topic@group; latency is also found under the reference's key with a queue.
#[test]
fn figures_of_a_group() {
    let stats = stats();
    stats.got("g", "T", 10, 1_000, 4);
    stats.got("g", "T", 2, 200, 2);
    stats.missed("g", "T");
    let group = stats.topic("T").group("g");
    group.sent_back(true);
    let view = |name: &str, key: &str| stats.view(name, key, START_MS + 10).map(|windows| windows.minute);
    assert_eq!(view("GROUP_GET_NUMS", "T@g").unwrap(), Figures { sum: 12, tps: 1.2, avgpt: 6.0 });
    assert_eq!(view("GROUP_GET_SIZE", "T@g").unwrap().sum, 1_200);
    assert_eq!(view("GROUP_GET_LATENCY", "3@T@g").unwrap().avgpt, 3.0);
    assert_eq!(view("GROUP_GET_LATENCY", "T@g").unwrap().sum, 6);
    assert_eq!(view("SNDBCK_PUT_NUMS", "T@g").unwrap().sum, 1);
    assert_eq!(view("DLQ_PUT_NUMS", "T@g").unwrap().sum, 1);
    for (name, key) in [
        ("GROUP_ACK_NUMS", "T@g"),
        ("GROUP_GET_NUMS", "T"),
        ("GROUP_GET_NUMS", "T@other"),
        ("GROUP_GET_NUMS", "@"),
        ("GROUP_GET_LATENCY", "@@"),
        ("NO_SUCH_NAME", "T"),
        ("", ""),
    ] {
        assert_eq!(view(name, key), None, "{name} {key}");
    }
    assert_eq!(stats.group_get_tps("g", "T", START_MS + 10), 1.2);
    assert_eq!(stats.group_get_tps("h", "T", START_MS + 10), 0.0);
}

/// The broker's totals leave the system's topics out where they must and keep what deleted topics counted.
#[test]
fn totals_of_the_broker() {
    let stats = stats();
    stats.put("T", 5, 50);
    stats.got("g", "T", 4, 40, 0);
    stats.put("b", 1, 10);
    stats.put("SCHEDULE_TOPIC_XXXX", 1, 10);
    let totals = stats.totals();
    assert_eq!((totals.put_messages, totals.put_messages_of_users, totals.put_bytes), (7, 5, 70));
    assert_eq!((totals.get_messages_of_users, totals.get_found), (4, 1));
    stats.forget_group("g");
    stats.forget_topic("T");
    stats.forget_topic("T");
    assert_eq!(stats.totals(), totals);
    assert_eq!(stats.view("BROKER_PUT_NUMS", "C", START_MS + 1).unwrap().minute.sum, 7);
    assert_eq!(stats.view("BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC", "C", START_MS + 1).unwrap().minute.sum, 5);
    assert_eq!(stats.view("BROKER_PUT_NUMS", "other", START_MS + 1), None);
}

/// Rates reach back 10, 60 and 600 seconds, or to the start, and never divide by a moment.
#[test]
fn rates_of_the_broker() {
    let stats = stats();
    let topic = stats.topic("T");
    assert_eq!(stats.rates(START_MS), Rates::default());
    topic.put(100, 0);
    assert_eq!(stats.rates(START_MS).put, [100.0; 3]);
    assert_eq!(stats.rates(START_MS + 5_000).put, [20.0; 3]);
    for tick in 1..=60 {
        topic.put(100, 0);
        stats.sample(START_MS + tick * 10_000);
    }
    let rates = stats.rates(START_MS + 600_000).put;
    assert_eq!((rates[0], rates[1]), (10.0, 10.0));
    assert!((rates[2] - 10.0).abs() < 0.5, "{rates:?}");
}

/// At midnight today's totals become yesterday's.
#[test]
fn days_change() {
    let stats = stats();
    stats.topic("T").put(5, 0);
    stats.sample(START_MS + 10_000);
    assert_eq!((stats.mornings().put_yesterday, stats.mornings().put_today), (0, 0));
    stats.sample(START_MS + 25 * 3_600_000);
    assert_eq!((stats.mornings().put_yesterday, stats.mornings().put_today), (0, 5));
    stats.topic("T").put(1, 0);
    stats.sample(START_MS + 50 * 3_600_000);
    assert_eq!((stats.mornings().put_yesterday, stats.mornings().put_today), (5, 6));
}
