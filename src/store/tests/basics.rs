//! Put, read, look up, stop and start again.

use std::sync::Mutex;

use super::*;
use crate::wire::message::{body_crc, sys_flag};

/// Messages of several queues come back in order, over the borders of log and queue files.
#[test]
fn what_is_put_is_read() {
    let (_dir, store) = fresh();
    for number in 0..200 {
        let receipt = put(&store, "T", number % 3, &format!("body {number}"));
        assert_eq!(receipt.queue_offset, QueueOffset(i64::from(number / 3)));
        assert!(receipt.is_durable());
    }
    assert!(store.log.files().files().len() > 1, "the log went over a file's end");
    for queue in 0..3 {
        let expected: Vec<_> = (0..200).filter(|n| n % 3 == queue).map(|n| format!("body {n}")).collect();
        assert_eq!(queue_bodies(&store, "T", queue), expected);
    }
    assert_eq!(store.counters().put_messages, 200);
    assert_eq!(store.counters().dispatched_messages, 200);
    assert_eq!(store.dispatch_behind_bytes(), 0);
}

/// The bytes on disk are Apache's: record, queue entry, index chain and header of the documented example.
#[test]
fn files_are_as_apache_writes_them() {
    let (dir, store) = fresh();
    let pieces = ["KEYS\u{1}k0 kk0\u{2}TAGS\u{1}TagA\u{2}", "UNIQ_KEY\u{1}U\u{2}"];
    let receipt = store.put(&message("TopicA", 0, b"hello0", &pieces)).unwrap();
    store.stop();
    let log = std::fs::read(dir.path().join("commitlog/00000000000000000000")).unwrap();
    assert_eq!(log.len(), 16 << 10);
    let record = MessageRecord::decode(&log).unwrap();
    assert_eq!(
        (record.total_size as usize, record.topic, record.body),
        (receipt.size, "TopicA", &b"hello0"[..])
    );
    assert_eq!(record.properties, pieces.concat().as_bytes());
    assert_eq!(record.body_crc, body_crc(b"hello0"));
    let queue = std::fs::read(dir.path().join("consumequeue/TopicA/0/00000000000000000000")).unwrap();
    assert_eq!(queue.len(), 400);
    assert_eq!(queue[..8], [0; 8]);
    assert_eq!(queue[8..12], record.total_size.to_be_bytes());
    assert_eq!(queue[12..20], [0, 0, 0, 0, 0, 0x27, 0xa8, 0x07]);
    assert!(queue[20..].iter().all(|&byte| byte == 0));
    let index = std::fs::read_dir(dir.path().join("index")).unwrap().next().unwrap().unwrap();
    assert_eq!(index.file_name().len(), 17);
    let index = std::fs::read(index.path()).unwrap();
    assert_eq!(index.len(), 40 + 4 * 47 + 20 * 200);
    assert_eq!(index[..8], record.store_timestamp.to_be_bytes());
    assert_eq!(index[36..40], [0, 0, 0, 4], "three keys, and counting begins at one");
    // TopicA#k0 hashes to -1903240650, entry 2 after the unique key.
    let slot = 40 + 4 * (1_903_240_650 % 47);
    assert_eq!(index[slot..slot + 4], [0, 0, 0, 2]);
    let entry = 40 + 4 * 47 + 20 * 2;
    assert_eq!(index[entry..entry + 4], 1_903_240_650_i32.to_be_bytes());
    assert_eq!(std::fs::metadata(dir.path().join("checkpoint")).unwrap().len(), 4096);
    assert_eq!(std::fs::read(dir.path().join("lock")).unwrap(), b"lock");
}

/// A file ends with BLANK when the next record does not fit with eight bytes to spare.
#[test]
fn a_full_file_ends_with_blank() {
    let (dir, store) = fresh();
    let body = "b".repeat(5_000);
    for _ in 0..4 {
        put(&store, "T", 0, &body);
    }
    let size = 91 + 5_000 + 1;
    assert_eq!(read(&store, "T", 0, 3, 1).records[0].len(), size);
    let log = std::fs::read(dir.path().join("commitlog/00000000000000000000")).unwrap();
    let at = 3 * size;
    assert_eq!(log[at..at + 4], ((16_384 - at) as i32).to_be_bytes());
    assert_eq!(log[at + 4..at + 8], [0xCB, 0xD4, 0x31, 0x94]);
    // As many as there are, whatever is asked for.
    let entries = store.queue_entries("T", 0, QueueOffset(0), usize::MAX);
    assert_eq!(entries.len(), 4);
    assert!(store.queue_entries("T", 0, QueueOffset(i64::MAX), usize::MAX).is_empty());
    assert_eq!(entries[3].physical_offset, PhysicalOffset(16_384));
    // A record of exactly the room left less eight bytes still fits; one byte more does not.
    let exact = "e".repeat(16_384 - size - 8 - 92);
    assert_eq!(put(&store, "T", 0, &exact).physical_offset, PhysicalOffset(16_384 + size as i64));
    assert_eq!(put(&store, "T", 0, "x").physical_offset, PhysicalOffset(2 * 16_384));
}

/// A read says what was wrong with the offset, and where to go on.
#[test]
fn offsets_outside_the_queue_are_named() {
    use GetMessageStatus as S;
    let (_dir, store) = fresh();
    let status = |offset| {
        let outcome = read(&store, "T", 0, offset, 32);
        (outcome.status, outcome.next_begin_offset.0)
    };
    assert_eq!(status(3), (S::NoMatchedLogicQueue, 0));
    put(&store, "T", 0, "a");
    put(&store, "T", 0, "b");
    assert_eq!(status(0), (S::Found, 2));
    assert_eq!(status(1), (S::Found, 2));
    assert_eq!(status(2), (S::OffsetOverflowOne, 2));
    assert_eq!(status(3), (S::OffsetOverflowBadly, 2));
    assert_eq!(status(-1), (S::OffsetTooSmall, 0));
    assert_eq!(status(i64::MAX), (S::OffsetOverflowBadly, 2));
    assert_eq!(status(i64::MIN), (S::OffsetTooSmall, 0));
    assert_eq!(read(&store, "T", -1, 0, 32).status, S::NoMatchedLogicQueue);
    assert_eq!(read(&store, "../T", 0, 0, 32).status, S::NoMatchedLogicQueue);
}

/// Limits hold, the first message comes whatever its size, neighbours come as one piece, filters are asked.
#[test]
fn reads_are_limited_and_filtered() {
    let (_dir, store) = fresh();
    for number in 0..6 {
        let tag = format!("TAGS\u{1}{}\u{2}", if number % 2 == 0 { "even" } else { "odd" });
        store.put(&message("T", 0, &[b'0' + number], &[&tag])).unwrap();
    }
    let whole = read(&store, "T", 0, 0, 32);
    assert_eq!((whole.records.len(), whole.message_count), (1, 6));
    assert_eq!(whole.message_bytes, whole.records[0].len());
    assert_eq!(read(&store, "T", 0, 0, 2).next_begin_offset, QueueOffset(2));
    let tiny = ReadLimits { max_messages: 32, max_bytes: 1 };
    let outcome = store.read("T", 0, QueueOffset(1), &tiny, &all, None);
    assert_eq!((bodies(&outcome.records), outcome.next_begin_offset), (vec!["1".to_owned()], QueueOffset(2)));
    let odd = crate::wire::message::tags_code("odd");
    let by_tag = |code: i64| code == odd;
    let outcome = store.read("T", 0, QueueOffset(0), &ReadLimits::messages(32), &by_tag, None);
    assert_eq!(
        (bodies(&outcome.records), outcome.records.len()),
        (vec!["1".into(), "3".into(), "5".into()], 3)
    );
    let last = |record: &[u8]| MessageRecord::decode(record).unwrap().body == b"5";
    let outcome = store.read("T", 0, QueueOffset(0), &ReadLimits::messages(32), &by_tag, Some(&last));
    assert_eq!((bodies(&outcome.records), outcome.next_begin_offset), (vec!["5".to_owned()], QueueOffset(6)));
    let outcome = store.read("T", 0, QueueOffset(0), &ReadLimits::messages(32), &|_| false, None);
    assert_eq!(outcome.status, GetMessageStatus::NoMatchedMessage);
    assert_eq!(outcome.next_begin_offset, QueueOffset(6));
    let scan = StoreOptions { max_filter_message_bytes: 40, ..(*store.options()).clone() };
    store.set_options(scan);
    let outcome = store.read("T", 0, QueueOffset(0), &ReadLimits::messages(1), &|_| false, None);
    assert_eq!(outcome.next_begin_offset, QueueOffset(2), "two entries were looked at");
}

/// A batch gets consecutive offsets in one file, also when that means beginning a new one.
#[test]
fn a_batch_is_stored_whole() {
    let (_dir, store) = fresh();
    let body = [b'x'; 3_000];
    let one = message("T", 1, &body, &["WAIT\u{1}true\u{2}"]);
    for expected in [0, 16_384, 32_768] {
        let receipt = store.put_batch(&[one; 4]).unwrap();
        assert_eq!(receipt.physical_offset, PhysicalOffset(expected));
        assert_eq!((receipt.msg_num, receipt.physical_offsets.len()), (4, 4));
        assert_eq!(receipt.physical_offsets[1].0, expected + receipt.size as i64 / 4);
    }
    assert_eq!(store.max_offset_in_queue("T", 1), QueueOffset(12));
    let other = message("T", 2, b"y", &[]);
    assert!(matches!(store.put_batch(&[one, other]), Err(PutError::Illegal { .. })));
    assert!(matches!(store.put_batch(&[]), Err(PutError::Illegal { .. })));
    assert!(matches!(store.put_batch(&[one; 6]), Err(PutError::TooLong { field: "message", .. })));
    assert_eq!(store.max_offset_in_queue("T", 1), QueueOffset(12));
    assert_eq!(put(&store, "T", 1, "next").queue_offset, QueueOffset(12));
}

/// What no record may hold is refused with the field's name, and nothing is written.
#[test]
fn illegal_messages_are_refused() {
    let (_dir, store) = fresh();
    let limited = StoreOptions { max_message_bytes: 100, ..(*store.options()).clone() };
    store.set_options(limited);
    let long_topic = "t".repeat(128);
    let long_group = format!("%RETRY%{}", "g".repeat(248));
    let properties = "p".repeat(32_768);
    let field = |message: &NewMessage<'_>| match store.put(message) {
        Err(PutError::TooLong { field, .. }) => field,
        Err(PutError::Illegal { .. }) => "illegal",
        other => panic!("{other:?}"),
    };
    assert_eq!(field(&message("T", 0, &[0; 101], &[])), "body");
    assert_eq!(field(&message(&long_topic, 0, b"", &[])), "topic");
    assert_eq!(field(&message(&format!("{long_group}g"), 0, b"", &[])), "topic");
    assert_eq!(field(&message("T", 0, b"", &[&properties])), "properties");
    for topic in ["", ".", "..", "a/b", "a\0b"] {
        assert_eq!(field(&message(topic, 0, b"", &[])), "illegal", "{topic:?}");
    }
    assert_eq!(field(&message("T", -1, b"", &[])), "illegal");
    assert_eq!(store.max_physical_offset(), PhysicalOffset(0));
    assert_eq!(store.counters().put_failures, 10);
    store.put(&message("T", 0, &[0; 100], &[])).unwrap();
    store.put(&message(&long_group, 0, b"v2", &[])).unwrap();
    assert_eq!(queue_bodies(&store, &long_group, 0), ["v2"]);
}

/// Hosts may be IPv6; prepared and rolled-back records take no queue offset.
#[test]
fn ipv6_hosts_and_transactions() {
    let (_dir, store) = fresh();
    let mut six = message("T", 0, b"six", &[]);
    six.born_host = "[2001:db8::1]:1".parse().unwrap();
    six.store_host = "[::1]:10911".parse().unwrap();
    store.put(&six).unwrap();
    let mut prepared = message("T", 0, b"half", &[]);
    prepared.sys_flag = sys_flag::TRANSACTION_PREPARED;
    let half = store.put(&prepared).unwrap();
    assert_eq!(half.queue_offset, QueueOffset(0));
    let mut commit = message("T", 0, b"whole", &[]);
    commit.sys_flag = sys_flag::TRANSACTION_COMMIT;
    assert_eq!(store.put(&commit).unwrap().queue_offset, QueueOffset(1));
    assert_eq!(queue_bodies(&store, "T", 0), ["six", "whole"]);
    assert_eq!(store.read_record(half.physical_offset).unwrap(), None);
    let first = &read(&store, "T", 0, 0, 1).records[0];
    let record = MessageRecord::decode(first).unwrap();
    assert_eq!((record.born_host, record.store_host), (six.born_host, six.store_host));
}

/// A delayed message's queue entry holds the time of delivery; an unknown level waits a second.
#[test]
fn delayed_messages_carry_their_time() {
    let (_dir, store) = fresh();
    for (level, delay) in [("3", 10_000), ("18", 7_200_000), ("99", 7_200_000)] {
        let property = format!("TAGS\u{1}TagA\u{2}DELAY\u{1}{level}\u{2}");
        let receipt = store.put(&message("SCHEDULE_TOPIC_XXXX", 2, b"", &[&property])).unwrap();
        let entry = store.queue_entries("SCHEDULE_TOPIC_XXXX", 2, receipt.queue_offset, 1)[0];
        assert_eq!(entry.tags_code, receipt.store_timestamp + delay, "level {level}");
    }
    let receipt = store.put(&message("T", 2, b"", &["TAGS\u{1}TagA\u{2}DELAY\u{1}3\u{2}"])).unwrap();
    assert_eq!(store.queue_entries("T", 2, receipt.queue_offset, 1)[0].tags_code, 0x0027_A807);
}

/// Only a place that a queue points to is a message: not a body's middle, not a record planted in a body.
#[test]
fn a_planted_record_is_no_message() {
    let (_dir, store) = fresh();
    let receipt = put(&store, "T", 0, "real");
    let record = store.read_record(receipt.physical_offset).unwrap().unwrap();
    assert_eq!(MessageRecord::decode(&record).unwrap().body, b"real");
    let body_at = receipt.size as i64 + 88;
    let mut planted = record.to_vec();
    planted[28..36].copy_from_slice(&body_at.to_be_bytes());
    let carrier = store.put(&message("T", 0, &planted, &[])).unwrap();
    assert!(MessageRecord::decode(&store.log.record(body_at, planted.len()).unwrap()).is_ok());
    assert_eq!(store.read_record(PhysicalOffset(body_at)).unwrap(), None);
    for at in 1..receipt.size as i64 {
        assert_eq!(store.read_record(PhysicalOffset(at)).unwrap(), None);
    }
    for at in [-1, i64::MIN, i64::MAX, carrier.physical_offset.0 + carrier.size as i64] {
        assert_eq!(store.read_record(PhysicalOffset(at)).unwrap(), None);
    }
    // A planted record of a kind that has no queue entry is none either.
    planted[39] = sys_flag::TRANSACTION_PREPARED as u8;
    let at = store.max_physical_offset().0 + 88;
    planted[28..36].copy_from_slice(&at.to_be_bytes());
    store.put(&message("T", 0, &planted, &[])).unwrap();
    assert_eq!(store.read_record(PhysicalOffset(at)).unwrap(), None);
}

/// Time finds the first message at or after, or the last at or before.
#[test]
fn messages_are_found_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::starting_at(1_000_000);
    let store = MessageStore::open(options(dir.path()), clock.clone(), Faults::default()).unwrap();
    let mut stamps = Vec::new();
    for number in 0..60 {
        if number % 3 == 0 {
            clock.travel(std::time::Duration::from_mins(1));
        }
        stamps.push(put(&store, "T", 0, "x").store_timestamp);
    }
    for probe in stamps.iter().flat_map(|stamp| [stamp - 30_000, stamp - 1, *stamp, stamp + 1]) {
        let lower = stamps.partition_point(|&stamp| stamp < probe) as i64;
        let upper = (stamps.partition_point(|&stamp| stamp <= probe) as i64 - 1).max(0);
        assert_eq!(store.offset_by_time("T", 0, probe, Boundary::Lower), QueueOffset(lower));
        assert_eq!(store.offset_by_time("T", 0, probe, Boundary::Upper), QueueOffset(upper));
    }
    assert_eq!(store.offset_by_time("T", 0, i64::MAX, Boundary::Lower), QueueOffset(60));
    assert_eq!(store.offset_by_time("T", 0, i64::MAX, Boundary::Upper), QueueOffset(59));
    assert_eq!(store.offset_by_time("T", 9, 0, Boundary::Lower), QueueOffset(0));
    assert_eq!(store.store_timestamp_at("T", 0, QueueOffset(5)), Some(stamps[5]));
    assert_eq!(store.store_timestamp_at("T", 0, QueueOffset(60)), None);
    assert_eq!(store.earliest_message_time("T", 0), Some(stamps[0]));
    assert_eq!(store.earliest_store_timestamp(), Some(stamps[0]));
    assert!(store.begins_in_memory("T", 0) && !store.begins_in_memory("T", 1));
}

/// Keys find their messages, and only theirs, though 47 slots make every chain collide; full files roll.
#[test]
fn messages_are_found_by_key() {
    let (dir, store) = fresh();
    for number in 0..150 {
        let property = format!("KEYS\u{1}k{number} all\u{2}UNIQ_KEY\u{1}u{number}\u{2}");
        store.put(&message("T", number % 4, format!("{number}").as_bytes(), &[&property])).unwrap();
    }
    assert_eq!(std::fs::read_dir(dir.path().join("index")).unwrap().count(), 3, "199 entries fit one file");
    for number in 0..150 {
        for key in [format!("k{number}"), format!("u{number}")] {
            let outcome = store.query_message("T", &key, 64, 0, i64::MAX);
            assert_eq!(bodies(&outcome.records), [number.to_string()], "{key}");
        }
    }
    let newest = store.query_message("T", "all", 3, 0, i64::MAX);
    assert_eq!(bodies(&newest.records), ["147", "148", "149"]);
    assert!(newest.index_last_update_phyoffset.0 > 0 && newest.index_last_update_timestamp > 0);
    assert!(store.query_message("T", "none", 64, 0, i64::MAX).records.is_empty());
    assert!(store.query_message("other", "k1", 64, 0, i64::MAX).records.is_empty());
    assert!(store.query_message("T", "k1", 64, 0, 1_000).records.is_empty());
    // "Aa" and "BB" have one hash.
    store.put(&message("T", 0, b"first", &["KEYS\u{1}Aa\u{2}"])).unwrap();
    store.put(&message("T", 0, b"second", &["KEYS\u{1}BB\u{2}"])).unwrap();
    assert_eq!(bodies(&store.query_message("T", "Aa", 64, 0, i64::MAX).records), ["first"]);
}

/// Arrivals are told in order, each with its queue's new end, and the message is readable by then.
#[test]
fn arrivals_are_told_in_order() {
    let (_dir, store) = fresh();
    let told = Arc::new(Mutex::new(Vec::new()));
    let (listening, weak) = (Arc::clone(&told), Arc::downgrade(&store));
    store.on_arrival(Arc::new(move |arrivals| {
        let store = weak.upgrade().unwrap();
        for arrival in arrivals {
            assert!(store.max_offset_in_queue(&arrival.topic, arrival.queue_id) >= arrival.max_offset);
            listening.lock().unwrap().push((
                arrival.topic.to_string(),
                arrival.queue_id,
                arrival.max_offset.0,
            ));
        }
    }));
    put(&store, "A", 0, "");
    store.put_batch(&[message("B", 1, b"", &[]); 3]).unwrap();
    put(&store, "A", 0, "");
    let expected = [("A", 0, 1), ("B", 1, 1), ("B", 1, 2), ("B", 1, 3), ("A", 0, 2)];
    assert_eq!(*told.lock().unwrap(), expected.map(|(topic, queue, end)| (topic.to_owned(), queue, end)));
}

/// Threads that put at once lose nothing: offsets are dense, and everything is dispatched when the last put returns.
#[test]
fn concurrent_puts_are_all_dispatched() {
    let (_dir, store) = fresh();
    let arrived = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counting = Arc::clone(&arrived);
    store.on_arrival(Arc::new(move |arrivals| {
        counting.fetch_add(arrivals.len(), Ordering::SeqCst);
    }));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..300 {
                    put(store, "T", number % 2, &format!("{thread}/{number}"));
                }
            });
        }
    });
    assert_eq!(store.dispatch_behind_bytes(), 0);
    assert_eq!(arrived.load(Ordering::SeqCst), 2_400);
    let mut found: Vec<_> = (0..2).flat_map(|queue| queue_bodies(&store, "T", queue)).collect();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 2_400);
}

/// A stop and a start keep everything, and queue files are looked at only when their topic is.
#[test]
fn a_clean_restart_keeps_everything() {
    let (_dir, store) = fresh();
    for number in 0..100 {
        put(&store, &format!("T{}", number % 5), 0, &format!("{number}"));
    }
    let store = reopen_stopped(store);
    let mut loaded = 0;
    store.queues.for_each(|_| loaded += 1);
    assert_eq!(loaded, 1, "only the last message's topic was needed to see that all is well");
    assert_eq!(put(&store, "T2", 0, "new").queue_offset, QueueOffset(20));
    for topic in 0..5 {
        let mut expected: Vec<_> = (0..100).filter(|n| n % 5 == topic).map(|n| n.to_string()).collect();
        if topic == 2 {
            expected.push("new".into());
        }
        assert_eq!(queue_bodies(&store, &format!("T{topic}"), 0), expected);
    }
    let topics: Vec<_> = store.topics_with_queues();
    assert_eq!(topics.len(), 5);
    assert_eq!((&*topics[4].0, topics[4].1.as_slice()), ("T4", &[0][..]));
}

/// A deleted topic's queues are gone and begin at 0 again; readers that hold its messages keep them.
#[test]
fn a_topic_is_deleted_and_made_again() {
    let (dir, store) = fresh();
    for number in 0..50 {
        put(&store, "T", 0, &format!("old {number}"));
        put(&store, "keep", 0, &format!("{number}"));
    }
    let held = read(&store, "T", 0, 0, 32);
    store.delete_topic("T").unwrap();
    assert!(!dir.path().join("consumequeue/T").exists());
    assert_eq!(read(&store, "T", 0, 0, 1).status, GetMessageStatus::NoMatchedLogicQueue);
    assert_eq!(bodies(&held.records)[0], "old 0");
    assert_eq!(put(&store, "T", 0, "new 0").queue_offset, QueueOffset(0));
    put(&store, "T", 0, "new 1");
    assert_eq!(queue_bodies(&store, "T", 0), ["new 0", "new 1"]);
    let store = reopen_killed(&dir, store);
    assert_eq!(queue_bodies(&store, "T", 0), ["new 0", "new 1"]);
    let store = reopen_stopped(store);
    assert_eq!(queue_bodies(&store, "T", 0), ["new 0", "new 1"]);
    // Even when the queues have to be built anew from the log, the later life of the topic is the one that counts.
    let options = (*store.options()).clone();
    store.stop();
    drop(store);
    std::fs::remove_dir_all(dir.path().join("consumequeue")).unwrap();
    std::fs::write(&options.abort_file, "1").unwrap();
    let store = open(options);
    assert_eq!(queue_bodies(&store, "T", 0), ["new 0", "new 1"]);
    assert_eq!(queue_bodies(&store, "keep", 0).len(), 50);
}

/// A deleted topic's messages stay in the log and away from every start, whatever the start believes, also when its
/// message is the log's last; what is put to the topic later is found.
#[test]
fn a_deleted_topic_stays_deleted() {
    type Restart = fn(&TempDir, Arc<MessageStore>) -> Arc<MessageStore>;
    let restarts: [(&str, Restart); 5] = [
        ("killed", reopen_killed),
        ("stopped", |_, store| reopen_stopped(store)),
        ("power cut", |_, store| {
            let options = (*store.options()).clone();
            store.flush_commit_log(0).unwrap();
            drop(store);
            std::fs::write(&options.abort_file, "1").unwrap();
            open(options)
        }),
        ("stopped by another broker", |_, store| {
            let options = (*store.options()).clone();
            store.make_sure().unwrap();
            flush::stop_within(&store, u64::MAX);
            drop(store);
            std::fs::remove_file(&options.checkpoint_file).unwrap();
            open(options)
        }),
        ("a queue is gone", |dir, store| {
            let options = (*store.options()).clone();
            store.make_sure().unwrap();
            flush::stop_within(&store, u64::MAX);
            drop(store);
            std::fs::remove_dir_all(dir.path().join("consumequeue/keep")).unwrap();
            open(options)
        }),
    ];
    for (how, restart) in restarts {
        let (dir, store) = fresh();
        for number in 0..50 {
            put(&store, "keep", 0, &format!("{number}"));
            store.put(&message("T", 0, b"old", &["KEYS\u{1}k\u{2}"])).unwrap();
        }
        store.keep(0).unwrap();
        store.delete_topic("T").unwrap();
        let store = restart(&dir, store);
        assert!(!store.has_queue("T", 0), "{how}");
        assert_eq!(queue_bodies(&store, "keep", 0).len(), 50, "{how}");
        assert_eq!(put(&store, "T", 0, "new").queue_offset, QueueOffset(0), "{how}");
        let store = restart(&dir, store);
        assert_eq!(queue_bodies(&store, "T", 0), ["new"], "{how}");
        assert_eq!(queue_bodies(&store, "keep", 0).len(), 50, "{how}");
    }
}

/// A queue file that cannot be read now is read later, and nobody goes on behind it; one that is gone is passed over.
#[test]
fn a_queue_file_that_cannot_be_read() {
    let (dir, store) = fresh();
    for number in 0..50 {
        put(&store, "T", 0, &format!("{number}"));
    }
    let file = dir.path().join("consumequeue/T/0/00000000000000000000");
    let aside = dir.path().join("aside");
    std::fs::rename(&file, &aside).unwrap();
    std::fs::create_dir(&file).unwrap();
    let outcome = read(&store, "T", 0, 3, 32);
    assert_eq!(
        (outcome.status, outcome.next_begin_offset),
        (GetMessageStatus::OffsetFoundNull, QueueOffset(3))
    );
    std::fs::remove_dir(&file).unwrap();
    let outcome = read(&store, "T", 0, 3, 32);
    assert_eq!(
        (outcome.status, outcome.next_begin_offset),
        (GetMessageStatus::OffsetFoundNull, QueueOffset(20))
    );
    std::fs::rename(&aside, &file).unwrap();
    assert_eq!(bodies(&read(&store, "T", 0, 3, 2).records), ["3", "4"]);
}

/// Deleting a topic that is not there, or whose name leads elsewhere, harms nothing.
#[test]
fn deleting_strange_topics_is_harmless() {
    let (dir, store) = fresh();
    put(&store, "T", 0, "x");
    for topic in ["", ".", "..", "../commitlog", "none", "T/0"] {
        store.delete_topic(topic).unwrap();
    }
    assert!(dir.path().join("commitlog/00000000000000000000").exists());
    assert_eq!(queue_bodies(&store, "T", 0), ["x"]);
}

/// Two stores cannot share a directory, in one process or two.
#[test]
fn a_directory_belongs_to_one_store() {
    let (dir, store) = fresh();
    let second = MessageStore::open(options(dir.path()), Clock::new(), Faults::default());
    assert!(matches!(second, Err(Error::Locked { .. })), "{second:?}");
    drop(store);
    drop(open(options(dir.path())));
}

/// A file of another size than configured stops the start with its path and both sizes; nothing is changed.
#[test]
fn wrong_sizes_refuse_the_start() {
    let (dir, store) = fresh();
    put(&store, "T", 0, "x");
    store.put(&message("T", 0, b"", &["KEYS\u{1}k\u{2}"])).unwrap();
    let good = (*store.options()).clone();
    store.stop();
    drop(store);
    let refused = |options: StoreOptions| {
        let error = MessageStore::open(options, Clock::new(), Faults::default()).unwrap_err();
        assert!(matches!(error, Error::WrongSize { .. }), "{error}");
        error.to_string()
    };
    let text = refused(StoreOptions { commit_log_file_bytes: 8_192, ..good.clone() });
    assert!(text.contains("commitlog/00000000000000000000 has 16384 bytes"), "{text}");
    assert!(text.contains("mappedFileSizeCommitLog says 8192"), "{text}");
    let text = refused(StoreOptions { consume_queue_file_bytes: 790, ..good.clone() });
    assert!(text.contains("consumequeue/T/0/") && text.contains("says 800"), "{text}");
    let text = refused(StoreOptions { max_index_num: 201, ..good.clone() });
    assert!(text.contains("/index/"), "{text}");
    std::fs::write(dir.path().join("commitlog/notes.txt"), "x").unwrap();
    let error = MessageStore::open(good.clone(), Clock::new(), Faults::default()).unwrap_err();
    assert!(error.to_string().contains("notes.txt"), "{error}");
    std::fs::remove_file(dir.path().join("commitlog/notes.txt")).unwrap();
    // An empty last file is what a crash while making it leaves.
    std::fs::write(dir.path().join("commitlog/00000000000000016384"), "").unwrap();
    let store = open(good);
    assert_eq!(queue_bodies(&store, "T", 0), ["x", ""]);
    assert!(!dir.path().join("commitlog/00000000000000016384").exists());
    for (options, key) in [
        (StoreOptions { commit_log_file_bytes: 100, ..StoreOptions::default() }, "mappedFileSizeCommitLog"),
        (StoreOptions { max_index_num: u32::MAX, ..StoreOptions::default() }, "maxIndexNum"),
        (
            StoreOptions { consume_queue_file_bytes: u64::MAX - 99, ..StoreOptions::default() },
            "mappedFileSizeConsumeQueue",
        ),
    ] {
        let error = MessageStore::open(options, Clock::new(), Faults::default()).unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
}
