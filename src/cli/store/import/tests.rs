//! Tests of export and import: what goes out comes back, and a hostile file changes nothing.

use std::io::Write as _;

use super::*;
use crate::cli::store::check::{check, tests as kit};
use crate::cli::store::export::export;
use crate::store::ReadLimits;
use crate::wire::message::MessageRecord;

/// Every message of a queue: offset, body, properties, born time.
fn served(options: &StoreOptions, topic: &str, queue_id: i32) -> Vec<(i64, Vec<u8>, Vec<u8>, i64)> {
    let store = kit::open(options).unwrap();
    let mut found = Vec::new();
    let mut at = store.min_offset_in_queue(topic, queue_id).0;
    while at < store.max_offset_in_queue(topic, queue_id).0 {
        let limits = ReadLimits::messages(8);
        let read = store.read(topic, queue_id, QueueOffset(at), &limits, &|_| true, None);
        for piece in &read.records {
            for record in MessageRecord::decode_all(piece) {
                let record = record.unwrap();
                found.push((
                    record.queue_offset,
                    record.body.to_vec(),
                    record.properties.to_vec(),
                    record.born_timestamp,
                ));
            }
        }
        at = read.next_begin_offset.0.max(at + 1);
    }
    store.stop();
    found
}

fn with_config(options: &StoreOptions) {
    let config = options.root.join("config");
    std::fs::create_dir_all(&config).unwrap();
    for (name, text) in [
        (
            "topics.json",
            r#"{"topicConfigTable":{"Orders":{"topicName":"Orders","readQueueNums":2,"writeQueueNums":2},"Bills":{"topicName":"Bills"}}}"#,
        ),
        ("subscriptionGroup.json", r#"{"subscriptionGroupTable":{"g":{"groupName":"g","retryMaxTimes":3}}}"#),
        ("consumerOffset.json", r#"{"offsetTable":{"Orders@g":{0:70,1:5}}}"#),
    ] {
        std::fs::write(config.join(name), text).unwrap();
    }
}

fn exported(options: &StoreOptions) -> (File, String) {
    let mut bytes = Vec::new();
    export(options, &[], &mut bytes, 7).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    (file(&text), text)
}

fn file(text: &str) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// A new store has the same messages with the same offsets, topics, groups and progress, and is clean.
#[test]
fn a_new_store_is_the_same() {
    let (_from, options) = kit::made();
    with_config(&options);
    let (mut file, text) = exported(&options);
    assert_eq!(text.lines().count(), 1 + 2 + 1 + 2 + 300 + 1);
    let to = tempfile::tempdir().unwrap();
    let fresh = kit::options(&to.path().join("store/broker"));
    let done = import(&mut file, &fresh).unwrap();
    assert_eq!(done, Imported { messages: 300, topics: 2, groups: 1, offsets: 2, renumbered: 0 });
    for (topic, queue_id) in [("Orders", 0), ("Orders", 1), ("Bills", 0), ("Bills", 1)] {
        let (old, new) = (served(&options, topic, queue_id), served(&fresh, topic, queue_id));
        assert_eq!((old.len(), &old), (75, &new), "{topic} {queue_id}");
    }
    let report = check(&fresh).unwrap();
    assert!(report.clean, "{:#?}", kit::damages(&report));
    let offsets: ConsumerOffsetSerializeWrapper =
        persist::load(&fresh.root.join("config/consumerOffset.json")).unwrap().unwrap();
    assert_eq!(offsets.offset_table["Orders@g"], BTreeMap::from([(0, 70), (1, 5)]));
    // Nothing of the building remains.
    assert_eq!(std::fs::read_dir(to.path().join("store")).unwrap().count(), 1);
    // A second export says the same, but for times and places.
    let (_, again) = exported(&fresh);
    assert_eq!(again.lines().count(), text.lines().count());
}

/// Behind the messages of an existing store come the file's, with new offsets; what a group has read moves with them.
#[test]
fn an_existing_store_gets_more() {
    let (_from, options) = kit::made();
    with_config(&options);
    let (mut file, _) = exported(&options);
    let (_to, other) = kit::made();
    let done = import(&mut file, &other).unwrap();
    assert_eq!((done.messages, done.renumbered), (300, 4));
    let all = served(&other, "Orders", 0);
    let offsets: Vec<_> = all.iter().map(|message| message.0).collect();
    assert_eq!(offsets, (0..150).collect::<Vec<_>>());
    assert_eq!(all[80].1, all[5].1);
    let offsets: ConsumerOffsetSerializeWrapper =
        persist::load(&other.root.join("config/consumerOffset.json")).unwrap().unwrap();
    assert_eq!(offsets.offset_table["Orders@g"], BTreeMap::from([(0, 145), (1, 80)]));
    assert!(check(&other).unwrap().clean);
}

/// A queue whose first messages are gone keeps its offsets; one with a gap gets new ones.
#[test]
fn offsets_are_kept_where_they_can_be() {
    let (_from, options) = kit::made();
    with_config(&options);
    let (_, text) = exported(&options);
    let without = |text: &str, gone: &dyn Fn(&MessageLine) -> bool| {
        let mut count = 0;
        let mut kept: Vec<String> = Vec::new();
        for line in text.lines() {
            match serde_json::from_str(line).unwrap() {
                Line::Message(message) if gone(&message) => {}
                Line::End { topics, groups, offsets, .. } => {
                    kept.push(
                        serde_json::to_string(&Line::End { messages: count, topics, groups, offsets })
                            .unwrap(),
                    );
                }
                line_read => {
                    count += u64::from(matches!(line_read, Line::Message(_)));
                    kept.push(line.to_owned());
                }
            }
        }
        kept.join("\n") + "\n"
    };
    let text = without(&text, &|message| {
        message.topic == "Orders" && (message.queue_id == 0 && message.queue_offset < 60)
            || (message.topic == "Orders" && message.queue_id == 1 && message.queue_offset == 3)
    });
    let to = tempfile::tempdir().unwrap();
    let fresh = kit::options(&to.path().join("store"));
    let done = import(&mut file(&text), &fresh).unwrap();
    assert_eq!(done.renumbered, 1);
    let first: Vec<_> = served(&fresh, "Orders", 0).iter().map(|message| message.0).collect();
    assert_eq!(first, (60..75).collect::<Vec<_>>());
    let second: Vec<_> = served(&fresh, "Orders", 1).iter().map(|message| message.0).collect();
    assert_eq!(second, (0..74).collect::<Vec<_>>());
    let offsets: ConsumerOffsetSerializeWrapper =
        persist::load(&fresh.root.join("config/consumerOffset.json")).unwrap().unwrap();
    assert_eq!(offsets.offset_table["Orders@g"], BTreeMap::from([(0, 70), (1, 4)]));
}

/// A file that is not whole or not honest is refused with line and reason, and nothing is written.
#[test]
fn hostile_files_change_nothing() {
    let (_from, options) = kit::made();
    with_config(&options);
    let (_, text) = exported(&options);
    let lines: Vec<&str> = text.lines().collect();
    let swap = |number: usize, line: &str| {
        let mut lines = lines.clone();
        lines[number - 1] = line;
        lines.join("\n") + "\n"
    };
    let message = |from: &str, to: &str| {
        assert!(lines[9].contains(from), "{}", lines[9]);
        swap(10, &lines[9].replacen(from, to, 1))
    };
    let huge = format!("{{\"kind\":\"topic\",\"config\":\"{}\"}}", "x".repeat(7 << 20));
    let cases: Vec<(String, &str)> = vec![
        (String::new(), "ends before its end line"),
        ("PK\u{3}\u{4}\n".to_owned(), "line 1 cannot be read"),
        (lines[1..].join("\n") + "\n", "line 1 is not the first line"),
        (lines[..lines.len() - 1].join("\n") + "\n", "ends before its end line"),
        (text.trim_end().to_owned(), "cut short"),
        (format!("{text}{}\n", lines[9]), "stands behind the end line"),
        (swap(1, r#"{"kind":"rmq-lite-export","version":2,"later":true}"#), "the file has version 2"),
        (swap(10, "{}"), "line 10 cannot be read"),
        (swap(10, r#"{"kind":"evil"}"#), "line 10 cannot be read"),
        (swap(10, &huge), "line 10 is longer than"),
        (swap(10, lines[10]), "line 11"),
        (message("\"topic\":\"", "\"topic\":\"../../etc/"), "line 10: The specified topic contains illegal"),
        (message("\"topic\":\"Bills\"", "\"topic\":\"SCHEDULE_TOPIC_XXXX\""), "belongs to the broker itself"),
        (message("\"queueId\":", "\"queueId\":-"), "line 10"),
        (message("\"queueId\":", "\"queueId\":99999"), "line 10: the queue 99999"),
        (message("\"queueOffset\":", "\"queueOffset\":-1"), "line 10: the queue offset -1"),
        (message("\"body\":\"", "\"body\":\"*"), "line 10: the body is not base64"),
        (message("\"bornHost\":\"", "\"bornHost\":\"x"), "line 10: the born host"),
        (message("\"sysFlag\":0", "\"sysFlag\":4"), "line 10: the system flag 0x4"),
        (message("\"properties\":[[\"", "\"properties\":[[\"\\u0002"), "line 10: the property"),
        (message("\"flag\":0", "\"flag\":0,\"extra\":1"), "line 10 cannot be read: unknown field"),
    ];
    for (text, words) in cases {
        let to = tempfile::tempdir().unwrap();
        let fresh = kit::options(&to.path().join("store"));
        let refused = format!("{:#}", import(&mut file(&text), &fresh).unwrap_err());
        assert!(refused.contains(words), "{words}: {refused}");
        assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 0, "{words}");
    }
}
