//! Timers on a whole broker with a clock that a test moves.

use std::time::Duration;

use super::*;
use crate::broker::kit::{Kit, START_MS, refusal, text};
use crate::wire::code::request;

fn bodies(records: &[bytes::Bytes]) -> Vec<String> {
    let record = |bytes| MessageRecord::decode(bytes).unwrap();
    records.iter().map(|bytes| String::from_utf8(record(bytes).body.to_vec()).unwrap()).collect()
}

/// Moves the kit's clock to a time, in milliseconds after its start; the test itself takes a few.
fn travel_to(kit: &Kit, after_ms: i64) {
    let left_ms = START_MS + after_ms - kit.clock.now_ms();
    kit.clock.travel(Duration::from_millis(u64::try_from(left_ms).expect("not past yet")));
}

/// Waits until the task has read all timers there are.
async fn read_all(kit: &Kit) {
    while kit.broker.timers.waiting(&kit.broker.store).1 > 0 {
        tokio::task::yield_now().await;
    }
}

/// A message waits in the timer topic with its place and time written down and comes out at its millisecond.
#[tokio::test(start_paused = true)]
async fn hidden_and_delivered() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    // A send that makes its topic waits for the file, and while it does a paused clock runs on.
    kit.broker.topics.create_in_send("TBW102", "T", 4).unwrap();
    kit.broker.topics.save().unwrap();
    let due_ms = START_MS + 12_345;
    let answer = client.send_message("T", 1, "hello", &format!("TIMER_DELIVER_MS\u{1}{due_ms}\u{2}")).await;
    assert_eq!((answer.code, answer.fields.get("queueId")), (0, Some("1")), "the queue that was asked for");
    let hidden = kit.records(TIMER_TOPIC, 0, 1).await;
    let record = MessageRecord::decode(&hidden[0]).unwrap();
    let out = (due_ms - 1).to_string();
    for (name, value) in [("TIMER_OUT_MS", out.as_str()), ("REAL_TOPIC", "T"), ("REAL_QID", "1")] {
        assert_eq!(record.property(name), Some(value));
    }
    read_all(&kit).await;
    let metrics = client.call(request::GET_TIMER_METRICS, &[], "").await;
    assert!(text(&metrics).contains(r#""timingCount":{"T":{"count":1,"#), "{}", text(&metrics));
    travel_to(&kit, 12_344);
    tokio::task::yield_now().await;
    assert_eq!(kit.broker.store.max_offset_in_queue("T", 1).0, 0);
    let delivered = kit.records("T", 1, 1).await;
    let record = MessageRecord::decode(&delivered[0]).unwrap();
    assert_eq!((record.body, record.store_timestamp), (&b"hello"[..], due_ms), "to the millisecond");
    for (name, value) in [
        ("TIMER_OUT_MS", out.as_str()),
        ("REAL_TOPIC", "T"),
        ("TIMER_ENQUEUE_MS", &START_MS.to_string()),
        ("TIMER_DEQUEUE_MS", &due_ms.to_string()),
    ] {
        assert_eq!(record.property(name), Some(value), "{name}");
    }
    let info = client.call(request::GET_BROKER_RUNTIME_INFO, &[], "").await;
    let info: serde_json::Value = serde_json::from_slice(&info.body).unwrap();
    for key in ["timerEnqueueTps", "timerDequeueTps"] {
        let rate: f64 = info["table"][key].as_str().unwrap().parse().unwrap();
        assert!(rate > 0.0, "{key}: one in the last ten seconds");
    }
    let metrics = client.call(request::GET_TIMER_METRICS, &[], "").await;
    assert!(text(&metrics).contains(r#""timingCount":{}"#), "{}", text(&metrics));
    let checkpoint = client.call(request::GET_TIMER_CHECK_POINT, &[], "").await;
    assert_eq!(checkpoint.body.len(), 56);
    let queue_offset = i64::from_be_bytes(*checkpoint.body[24..].first_chunk().unwrap());
    assert_eq!(queue_offset, 1);
}

/// The three properties by their rank, past times at once, and the order of times whatever was sent first.
#[tokio::test]
async fn wishes() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    let late = format!("TIMER_DELIVER_MS\u{1}{START_MS}\u{2}");
    for (body, properties) in [
        ("4 days", "TIMER_DELAY_SEC\u{1}259200\u{2}TIMER_DELAY_MS\u{1}5\u{2}"),
        ("minute", "TIMER_DELAY_MS\u{1}60000\u{2}"),
        ("second", "TIMER_DELAY_SEC\u{1}1\u{2}"),
        ("level", "DELAY\u{1}2\u{2}TIMER_DELAY_SEC\u{1}90\u{2}"),
        ("past", &late),
        ("negative", "TIMER_DELAY_MS\u{1}-7\u{2}"),
        ("none", "TIMER_DELAY_SEC\u{1}0\u{2}"),
    ] {
        let answer = client.send_message("T", 0, body, properties).await;
        assert_eq!(answer.code, 0, "{body}: {:?}", answer.remark);
    }
    assert_eq!(bodies(&kit.records("T", 0, 3).await), ["past", "negative", "none"]);
    read_all(&kit).await;
    kit.clock.travel(Duration::from_secs(1));
    kit.records("T", 0, 4).await;
    kit.clock.travel(Duration::from_secs(4));
    kit.records("T", 0, 5).await;
    kit.clock.travel(Duration::from_hours(4 * 24));
    let all = kit.records("T", 0, 7).await;
    assert_eq!(bodies(&all)[3..], ["second", "level", "minute", "4 days"]);
    assert_eq!(MessageRecord::decode(&all[4]).unwrap().property("TIMER_DELAY_SEC"), None);
}

/// What is no time, too far away, or not allowed at all is refused with the reference's code, and nothing is stored.
#[tokio::test]
async fn refusals() {
    let kit = Kit::start(&[("timerMaxDelaySec", "100")]).await;
    let mut client = kit.client().await;
    client.send_message("T", 0, "m", "").await;
    let end = kit.broker.store.max_physical_offset();
    let too_far = "timer message illegal, the delay time should not be bigger than the max delay 100000ms";
    for (properties, remark) in [
        ("TIMER_DELAY_SEC\u{1}101\u{2}", too_far),
        ("TIMER_DELAY_SEC\u{1}9223372036854775807\u{2}", too_far),
        ("TIMER_DELAY_MS\u{1}9223372036854775807\u{2}", too_far),
        ("TIMER_DELIVER_MS\u{1}9223372036854775807\u{2}", too_far),
        ("TIMER_DELAY_SEC\u{1}-1\u{2}TIMER_DEL_UNIQKEY\u{1}T+K\u{2}", too_far),
        ("TIMER_DELAY_SEC\u{1}1.5\u{2}", "property TIMER_DELAY_SEC is \"1.5\", which is no whole number"),
        ("TIMER_DELIVER_MS\u{1}tomorrow\u{2}", "property TIMER_DELIVER_MS is \"tomorrow\""),
    ] {
        let answer = client.send_message("T", 0, "m", properties).await;
        let (code, said) = refusal(&answer);
        assert_eq!(code, response::MESSAGE_ILLEGAL, "{properties}");
        assert!(said.contains(remark), "{said}");
    }
    assert_eq!(kit.broker.store.max_physical_offset(), end, "nothing was stored");
    let kit = Kit::start(&[("timerWheelEnable", "false")]).await;
    let mut client = kit.client().await;
    let answer = client.send_message("T", 0, "m", "TIMER_DELAY_SEC\u{1}1\u{2}").await;
    let remark = "accurate timer message is not enabled, timerWheelEnable is false";
    assert_eq!(refusal(&answer), (response::SYSTEM_ERROR, remark));
}

/// A cancelling message takes back the timer of its key, topic and slot, also when it was sent first, and no other.
#[tokio::test]
async fn cancelled() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    let at = |offset_ms: i64| format!("TIMER_DELIVER_MS\u{1}{}\u{2}", START_MS + offset_ms);
    for (body, wish, key) in [
        ("gone", at(10_100), "UNIQ_KEY\u{1}K1\u{2}"),
        ("other key", at(10_200), "UNIQ_KEY\u{1}K2\u{2}"),
        ("del", at(10_900), "TIMER_DEL_UNIQKEY\u{1}T+K1\u{2}"),
        ("other slot", at(11_500), "UNIQ_KEY\u{1}K1\u{2}"),
        ("del first", at(20_100), "TIMER_DEL_UNIQKEY\u{1}K3\u{2}"),
        ("gone too", at(20_900), "UNIQ_KEY\u{1}K3\u{2}"),
        ("last", at(30_000), "UNIQ_KEY\u{1}K3\u{2}"),
    ] {
        let answer = client.send_message("T", 0, body, &format!("{wish}{key}")).await;
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
    }
    let kit = kit.restart(&[]).await;
    kit.clock.travel(Duration::from_secs(60));
    assert_eq!(bodies(&kit.records("T", 0, 3).await), ["other key", "other slot", "last"]);
    assert_eq!(kit.broker.timers.waiting(&kit.broker.store), (0, 0));
    assert_eq!(kit.broker.store.max_offset_in_queue("T", 0).0, 3);
}

/// After a restart nothing is delivered twice and nothing that waits is forgotten, whatever the order of offsets.
#[tokio::test]
async fn restarts() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    for seconds in [500, 1, 400, 2, 1] {
        let wish = format!("TIMER_DELAY_SEC\u{1}{seconds}\u{2}");
        client.send_message("T", 0, &seconds.to_string(), &wish).await;
    }
    read_all(&kit).await;
    kit.clock.travel(Duration::from_secs(3));
    assert_eq!(bodies(&kit.records("T", 0, 3).await), ["1", "1", "2"]);
    let folder = kit.broker.timers.files.root.clone();
    let kit = kit.restart(&[]).await;
    read_all(&kit).await;
    kit.broker.saving.now().await;
    assert!(!folder.join("timerwheel").exists(), "from the start on the topic is what counts");
    let mut client = kit.client().await;
    client.send_message("T", 0, "450", "TIMER_DELAY_SEC\u{1}450\u{2}").await;
    let kit = kit.restart(&[]).await;
    kit.clock.travel(Duration::from_secs(500));
    let all = kit.records("T", 0, 6).await;
    assert_eq!(bodies(&all)[3..], ["400", "450", "500"]);
    let kit = kit.restart(&[]).await;
    read_all(&kit).await;
    assert_eq!(kit.broker.store.max_offset_in_queue("T", 0).0, 6, "none twice");
    assert_eq!(kit.broker.timers.waiting(&kit.broker.store), (0, 0));
}

/// A clock that was moved and is back after a restart, as that of a new process, makes nothing come twice.
#[tokio::test]
async fn restarts_with_the_clock_of_the_machine() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    for minutes in [120, 60] {
        let wish = format!("TIMER_DELAY_SEC\u{1}{}\u{2}", minutes * 60);
        client.send_message("T", 0, &minutes.to_string(), &wish).await;
    }
    read_all(&kit).await;
    kit.clock.travel(Duration::from_mins(90));
    kit.records("T", 0, 1).await;
    let kit = kit.restart_at(START_MS + 1_000).await;
    let mut client = kit.client().await;
    client.send_message("T", 0, "30", "TIMER_DELAY_SEC\u{1}1800\u{2}").await;
    let kit = kit.restart_at(START_MS + 2_000).await;
    kit.clock.travel(Duration::from_hours(3));
    assert_eq!(bodies(&kit.records("T", 0, 3).await), ["60", "30", "120"]);
    assert_eq!(kit.broker.timers.waiting(&kit.broker.store), (0, 0));
    assert_eq!(kit.broker.store.max_offset_in_queue("T", 0).0, 3);
}

/// Where an Apache broker was before, its checkpoint says what it has delivered; its rounded times are taken as
/// they were wished, and of a timer that it has put again only the copy counts.
#[tokio::test]
async fn taken_over_from_apache() {
    let kit = Kit::start(&[]).await;
    let far = START_MS + 3 * 86_400_000;
    let hidden = |out_ms: i64, more: &str| {
        format!("TIMER_OUT_MS\u{1}{out_ms}\u{2}REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}0\u{2}{more}")
    };
    let old = START_MS - 60_000;
    // Without a checkpoint that these come before they would wait for ever.
    let kit = {
        std::fs::create_dir_all(kit.broker.timers.checkpoint_file.parent().unwrap()).unwrap();
        let file = kit.broker.timers.checkpoint_file.clone();
        kit.broker.timers.lock().waiting.read_until(100); // the task of this start shall not see them
        kit.put(TIMER_TOPIC, 0, &["delivered"], &hidden(old, ""));
        let wish = format!("TIMER_DELIVER_MS\u{1}{}\u{2}", START_MS + 5_345);
        kit.put(TIMER_TOPIC, 0, &["rounded"], &hidden(START_MS + 5_000, &wish));
        kit.put(TIMER_TOPIC, 0, &["original"], &hidden(far, "UNIQ_KEY\u{1}F\u{2}"));
        let again = "UNIQ_KEY\u{1}F\u{2}TIMER_ROLL_TIMES\u{1}1\u{2}";
        kit.put(TIMER_TOPIC, 0, &["copy"], &hidden(far, again));
        kit.put(TIMER_TOPIC, 0, &["unread"], &hidden(old, ""));
        let kit = kit.restart(&[("timerWheelEnable", "false")]).await;
        let apache = TimerCheckpoint {
            last_read_time_ms: START_MS,
            last_timer_queue_offset: 4,
            master_timer_queue_offset: 4,
            ..TimerCheckpoint::default()
        };
        std::fs::write(file, [&apache.encode()[..], &[0; 4_040]].concat()).unwrap();
        kit.restart(&[("timerWheelEnable", "true")]).await
    };
    assert_eq!(bodies(&kit.records("T", 0, 1).await), ["unread"]);
    kit.clock.travel(Duration::from_millis(5_900));
    let all = kit.records("T", 0, 2).await;
    let rounded = MessageRecord::decode(&all[1]).unwrap();
    assert_eq!(rounded.body, b"rounded");
    assert!(rounded.store_timestamp >= START_MS + 5_345);
    kit.clock.travel(Duration::from_hours(80));
    assert_eq!(bodies(&kit.records("T", 0, 3).await)[2], "copy");
    assert_eq!(kit.broker.timers.waiting(&kit.broker.store), (0, 0));
}

/// Records that no sender of ours has made stop nothing.
#[tokio::test]
async fn broken_records_stop_nothing() {
    let kit = Kit::start(&[]).await;
    for properties in [
        "",
        "TIMER_OUT_MS\u{1}x\u{2}",
        "TIMER_OUT_MS\u{1}5\u{2}",
        "TIMER_OUT_MS\u{1}-9223372036854775808\u{2}REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}-1\u{2}",
        "TIMER_OUT_MS\u{1}9223372036854775807\u{2}REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}0\u{2}TIMER_DEL_UNIQKEY\u{1}K\u{2}",
        "TIMER_OUT_MS\u{1}5\u{2}REAL_TOPIC\u{1}a/../b\u{2}REAL_QID\u{1}0\u{2}",
        "TIMER_OUT_MS\u{1}5\u{2}REAL_TOPIC\u{1}rmq_sys_wheel_timer\u{2}REAL_QID\u{1}0\u{2}",
        "TIMER_OUT_MS\u{1}5\u{2}REAL_TOPIC\u{1}RMQ_SYS_TRANS_HALF_TOPIC\u{2}REAL_QID\u{1}0\u{2}",
        "TIMER_OUT_MS\u{1}6\u{2}REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}0\u{2}",
    ] {
        kit.put(TIMER_TOPIC, 0, &["m"], properties);
    }
    assert_eq!(kit.records("T", 0, 1).await.len(), 1);
    assert_eq!(kit.broker.store.max_offset_in_queue(TIMER_TOPIC, 0).0, 9);
    assert!(!kit.broker.store.has_queue(TRANS_HALF_TOPIC, 0));
}
