//! Kills, power cuts and damage: what was there before the cut is there once, nothing torn is.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

/// Opens a store again as after a power cut: the mark it left names another start of the system.
fn reopen_cut(store: Arc<MessageStore>) -> Arc<MessageStore> {
    let options = (*store.options()).clone();
    drop(store);
    std::fs::write(&options.abort_file, "4711").unwrap();
    open(options)
}

fn log_file(store: &MessageStore, at: i64) -> (PathBuf, u64) {
    let bytes = store.options().commit_log_file_bytes;
    let within = at as u64 % bytes;
    (store.options().commit_log_dir.join(format!("{:020}", at as u64 - within)), within)
}

/// Overwrites bytes of the log behind the store's back.
fn damage(store: &MessageStore, at: i64, bytes: &[u8]) {
    let (path, within) = log_file(store, at);
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, within).unwrap();
}

/// After kill -9 everything is there, though nothing was flushed, stopped or written to the checkpoint.
#[test]
fn a_killed_store_keeps_everything() {
    let (dir, store) = fresh();
    for number in 0..100 {
        put(&store, "T", number % 3, &format!("{number}"));
        if number == 60 {
            // What the keeper thread does every second: the next start then only looks at what came later.
            store.keep(2).unwrap();
        }
    }
    let store = reopen_killed(&dir, store);
    for queue in 0..3 {
        let expected: Vec<_> = (0..100).filter(|n| n % 3 == queue).map(|n| n.to_string()).collect();
        assert_eq!(queue_bodies(&store, "T", queue), expected);
    }
    assert_eq!(put(&store, "T", 0, "after").queue_offset, QueueOffset(34));
}

/// A record that was half written when the process died is not there, and its place is used again.
#[test]
fn a_torn_record_is_cut_off() {
    let (dir, store) = fresh();
    put(&store, "T", 0, "whole");
    let torn = put(&store, "T", 0, "torn, and rather long, so that something is left behind it");
    let (queues, at) = (store.options().consume_queue_dir.clone(), torn.physical_offset);
    damage(&store, at.0 + 88, b"xxxx");
    // Its entry was not written either.
    let queue = File::options().write(true).open(queues.join("T/0/00000000000000000000")).unwrap();
    queue.write_all_at(&[0; 20], 20).unwrap();
    let store = reopen_killed(&dir, store);
    assert_eq!(queue_bodies(&store, "T", 0), ["whole"]);
    let again = put(&store, "T", 0, "again");
    assert_eq!((again.physical_offset, again.queue_offset), (at, QueueOffset(1)));
    let store = reopen_cut(store);
    assert_eq!(queue_bodies(&store, "T", 0), ["whole", "again"]);
}

/// A stale record right behind the cut does not come back when the next record ends where it begins.
#[test]
fn stale_records_do_not_come_back() {
    let (_dir, store) = fresh();
    let receipts: Vec<_> = (0..5).map(|number| put(&store, "T", 0, &format!("body {number}"))).collect();
    damage(&store, receipts[2].physical_offset.0 + 88, b"XXXX");
    let store = reopen_cut(store);
    assert_eq!(queue_bodies(&store, "T", 0), ["body 0", "body 1"]);
    put(&store, "T", 0, "new  2");
    let store = reopen_cut(store);
    assert_eq!(queue_bodies(&store, "T", 0), ["body 0", "body 1", "new  2"]);
    assert_eq!(store.max_physical_offset(), receipts[3].physical_offset);
}

/// A power cut that took queues and index, but not the log, costs nothing but time.
#[test]
fn queues_and_index_are_built_again() {
    let (dir, store) = fresh();
    for number in 0..120 {
        let property = format!("KEYS\u{1}k{number}\u{2}");
        store.put(&message("T", number % 2, format!("{number}").as_bytes(), &[&property])).unwrap();
    }
    let check = |store: &MessageStore| {
        for queue in 0..2 {
            let expected: Vec<_> = (0..120).filter(|n| n % 2 == queue).map(|n| n.to_string()).collect();
            assert_eq!(queue_bodies(store, "T", queue), expected);
        }
        for number in 0..120 {
            let found = store.query_message("T", &format!("k{number}"), 64, 0, i64::MAX);
            assert_eq!(bodies(&found.records), [number.to_string()]);
        }
    };
    check(&store);
    // Again and again: what is there already must not come twice.
    let store = reopen_cut(store);
    check(&store);
    let store = reopen_cut(store);
    check(&store);
    let options = (*store.options()).clone();
    store.stop();
    drop(store);
    // A clean stop and then lost queues: what Apache 5.3.2 and later repair, is repaired.
    std::fs::remove_dir_all(dir.path().join("consumequeue")).unwrap();
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    std::fs::remove_file(dir.path().join("checkpoint")).unwrap();
    let store = open(options);
    check(&store);
}

/// Entries that reached the disk while their messages did not are dropped, and do not come back either.
#[test]
fn entries_without_a_message_are_dropped() {
    let (_dir, store) = fresh();
    let receipts: Vec<_> = (0..70).map(|number| put(&store, "T", 0, &format!("{number}"))).collect();
    damage(&store, receipts[30].physical_offset.0, &[0; 8]);
    let store = reopen_cut(store);
    assert_eq!(store.max_offset_in_queue("T", 0), QueueOffset(30));
    assert_eq!(put(&store, "T", 0, "new").queue_offset, QueueOffset(30));
    let store = reopen_cut(store);
    assert_eq!(store.max_offset_in_queue("T", 0), QueueOffset(31));
    let store = reopen_stopped(store);
    assert_eq!(queue_bodies(&store, "T", 0).len(), 31);
}

/// A lost commit log takes its queues with it: their offsets would point into nothing.
#[test]
fn a_lost_log_takes_its_queues_along() {
    let (dir, store) = fresh();
    put(&store, "T", 0, "x");
    let options = (*store.options()).clone();
    store.stop();
    drop(store);
    std::fs::remove_dir_all(dir.path().join("commitlog")).unwrap();
    let store = open(options);
    assert!(store.topics_with_queues().is_empty());
    assert_eq!(put(&store, "T", 0, "y").queue_offset, QueueOffset(0));
}

/// A record of the log that no queue can take is passed over; those behind it are dispatched.
#[test]
fn one_bad_record_does_not_stop_dispatch() {
    let (_dir, store) = fresh();
    put(&store, "T", 0, "before");
    let topics = ["a/b", "..", "", "x\0y"];
    let records: Vec<_> = topics
        .iter()
        .map(|topic| store.put(&message(&"m".repeat(topic.len().max(1)), 0, b"", &[])).unwrap())
        .collect();
    put(&store, "T", 0, "after");
    let queues = store.options().consume_queue_dir.clone();
    for (topic, receipt) in topics.iter().zip(&records) {
        if !topic.is_empty() {
            damage(&store, receipt.physical_offset.0 + 89, topic.as_bytes());
        }
    }
    damage(&store, records[2].physical_offset.0 + 12, &(-5_i32).to_be_bytes());
    let options = (*store.options()).clone();
    drop(store);
    std::fs::remove_dir_all(queues).unwrap();
    std::fs::write(&options.abort_file, "1").unwrap();
    let store = open(options);
    assert_eq!(queue_bodies(&store, "T", 0), ["before", "after"]);
    assert_eq!(store.topics_with_queues().len(), 1);
    assert_eq!(store.dispatch_behind_bytes(), 0);
}

/// A queue whose first messages are gone from the log begins where the log does, not at 0.
#[test]
fn a_rebuilt_queue_keeps_its_offsets() {
    let dir = tempfile::tempdir().unwrap();
    // The real time, because files have real times.
    let clock = Clock::new();
    let store = MessageStore::open(options(dir.path()), clock.clone(), Faults::default()).unwrap();
    let body = "b".repeat(1_000);
    for _ in 0..60 {
        put(&store, "T", 0, &body);
    }
    let options = StoreOptions { file_reserved_time_hours: 0, ..(*store.options()).clone() };
    store.set_options(options.clone());
    // Our milliseconds are cut off, the file system's are not: a file written just now can be a moment younger than now.
    clock.travel(std::time::Duration::from_secs(1));
    assert!(store.delete_expired_files_now().unwrap() > 2);
    let min = store.min_offset_in_queue("T", 0);
    assert!(min.0 > 20);
    store.stop();
    drop(store);
    std::fs::remove_dir_all(dir.path().join("consumequeue")).unwrap();
    let store = open(options);
    assert_eq!(store.min_offset_in_queue("T", 0), min);
    assert_eq!(store.max_offset_in_queue("T", 0), QueueOffset(60));
    assert_eq!(queue_bodies(&store, "T", 0).len(), 60 - min.0 as usize);
    // The entries before the first are blank as the reference writes them, and survive a start.
    let store = reopen_stopped(store);
    assert_eq!(store.min_offset_in_queue("T", 0), min);
    assert_eq!(read(&store, "T", 0, 0, 1).status, GetMessageStatus::OffsetTooSmall);
    let first = min.0 * 20 / 400 * 400;
    let bytes = std::fs::read(dir.path().join(format!("consumequeue/T/0/{first:020}"))).unwrap();
    if min.0 * 20 > first {
        assert_eq!(bytes[..20], [0, 0, 0, 0, 0, 0, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}

#[derive(Clone, Debug)]
enum Act {
    Put { topic: u8, queue: u8, len: u16 },
    Batch { topic: u8, len: u8, count: u8 },
    Keep,
    Kill,
    Stop,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        12 => (0..3_u8, 0..3_u8, 0..3_000_u16).prop_map(|(topic, queue, len)| Act::Put { topic, queue, len }),
        3 => (0..3_u8, any::<u8>(), 1..6_u8).prop_map(|(topic, len, count)| Act::Batch { topic, len, count }),
        1 => Just(Act::Keep),
        1 => Just(Act::Kill),
        1 => Just(Act::Stop),
    ];
    proptest::collection::vec(act, 1..60)
}

/// What was put: topic, queue, body, end of its record.
type Put = (String, i32, String, i64);

fn expected(puts: &[Put], topic: &str, queue: i32) -> Vec<String> {
    puts.iter().filter(|put| put.0 == topic && put.1 == queue).map(|put| put.2.clone()).collect()
}

fn check(store: &MessageStore, puts: &[Put]) {
    for topic in ["T0", "T1", "T2"] {
        for queue in 0..3 {
            let short = |bodies: Vec<String>| -> Vec<_> {
                bodies.iter().map(|body| format!("{} {}", &body[..body.len().min(4)], body.len())).collect()
            };
            let (found, expected) = (queue_bodies(store, topic, queue), expected(puts, topic, queue));
            assert!(found == expected, "{topic}/{queue}: {:?}, expected {:?}", short(found), short(expected));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever was put, wherever the power was cut and whatever bytes the cut left: what stood wholly before the
    /// cut is there once, in order, and nothing else is; and the store goes on from there.
    #[test]
    fn nothing_before_a_cut_is_lost(
        acts in acts(),
        cut in any::<proptest::sample::Index>(),
        garbage in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let (dir, mut store) = fresh();
        let mut puts: Vec<Put> = Vec::new();
        for (number, act) in acts.into_iter().enumerate() {
            match act {
                Act::Put { topic, queue, len } => {
                    let (topic, body) = (format!("T{topic}"), format!("{number}:{}", "x".repeat(len.into())));
                    let receipt = put(&store, &topic, queue.into(), &body);
                    puts.push((topic, queue.into(), body, receipt.physical_offset.0 + receipt.size as i64));
                }
                Act::Batch { topic, len, count } => {
                    let (topic, body) = (format!("T{topic}"), format!("{number}:{}", "y".repeat(len.into())));
                    let one = message(&topic, 0, body.as_bytes(), &[]);
                    let receipt = store.put_batch(&vec![one; count.into()]).unwrap();
                    let size = receipt.size as i64 / i64::from(count);
                    for offset in &receipt.physical_offsets {
                        puts.push((topic.clone(), 0, body.clone(), offset.0 + size));
                    }
                }
                Act::Keep => store.keep(0).unwrap(),
                Act::Kill => store = reopen_killed(&dir, store),
                Act::Stop => store = reopen_stopped(store),
            }
        }
        check(&store, &puts);
        let end = store.max_physical_offset().0;
        if end > 0 {
            let cut = cut.index(end as usize) as i64;
            // A checkpoint from before, as a cut would leave it: it vouches for nothing here.
            store.checkpoint.set(checkpoint::Field::Physic, 0);
            let room = store.options().commit_log_file_bytes - cut as u64 % store.options().commit_log_file_bytes;
            let mut bytes = garbage;
            bytes.resize(room as usize, 0);
            damage(&store, cut, &bytes);
            // Files that were made after the cut never reached the disk.
            for file in store.log.files().files().iter().filter(|file| file.offset() > cut) {
                std::fs::remove_file(log_file(&store, file.offset()).0).unwrap();
            }
            let survivors = puts.iter().filter(|put| put.3 <= cut).cloned().collect::<Vec<_>>();
            store = reopen_cut(store);
            check(&store, &survivors);
            let receipt = put(&store, "T0", 0, "after");
            prop_assert_eq!(receipt.queue_offset.0 as usize, expected(&survivors, "T0", 0).len());
            store = reopen_killed(&dir, store);
            prop_assert_eq!(bodies(&read(&store, "T0", 0, receipt.queue_offset.0, 1).records), ["after"]);
        }
    }
}
