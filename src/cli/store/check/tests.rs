//! Tests of `store check`: stores that the real store made, whole and damaged in every way.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::clock::Clock;
use crate::faults::Faults;
use crate::store::{MessageStore, NewMessage, PutError, QueueOffset, ReadLimits, Receipt};

const LOG_FILE: u64 = 16 << 10;
const QUEUE_FILE: u64 = 400;

pub(in crate::cli::store) fn options(root: &Path) -> StoreOptions {
    StoreOptions {
        commit_log_file_bytes: LOG_FILE,
        consume_queue_file_bytes: QUEUE_FILE,
        max_hash_slot_num: 47,
        max_index_num: 200,
        ..StoreOptions::at(root)
    }
}

pub(in crate::cli::store) fn open(options: &StoreOptions) -> Result<Arc<MessageStore>, Error> {
    MessageStore::open(options.clone(), Clock::starting_at(1_700_000_000_000), Faults::default())
}

pub(in crate::cli::store) fn put(store: &MessageStore, topic: &str, queue_id: i32, number: usize) {
    try_put(store, topic, queue_id, number).unwrap();
}

fn try_put(store: &MessageStore, topic: &str, queue_id: i32, number: usize) -> Result<Receipt, PutError> {
    let properties =
        format!("TAGS\u{1}tag{}\u{2}KEYS\u{1}key{number}\u{2}UNIQ_KEY\u{1}id{number}\u{2}", number % 3);
    let body = format!("body {number} {}", "x".repeat(number % 200));
    store.put(&NewMessage {
        born_timestamp: 1,
        born_host: "127.0.0.1:5000".parse().unwrap(),
        properties: &[&properties],
        ..NewMessage::plain(topic, queue_id, "127.0.0.1:10911".parse().unwrap(), body.as_bytes())
    })
}

/// A store of 300 messages in four queues, stopped in order: several files of each kind.
pub(in crate::cli::store) fn made() -> (tempfile::TempDir, StoreOptions) {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let store = open(&options).unwrap();
    for number in 0..300 {
        put(&store, if number % 2 == 0 { "Orders" } else { "Bills" }, number as i32 / 2 % 2, number);
    }
    store.stop();
    drop(store);
    (dir, options)
}

pub(in crate::cli::store) fn damages(report: &Report) -> Vec<String> {
    let damages = report.findings.iter().filter(|finding| finding.severity == Severity::Damage);
    damages
        .map(|finding| {
            let file = finding.file.strip_prefix(&report.root).unwrap().display().to_string();
            let text = [Some(&finding.what), finding.expected.as_ref(), finding.found.as_ref()];
            format!(
                "{file}@{:?}: {}",
                finding.position,
                text.map(|part| part.map_or("", |part| part)).join(" | ")
            )
        })
        .collect()
}

/// Says whether some finding names this file and these words.
#[track_caller]
fn assert_finds(report: &Report, file: &str, words: &str) {
    let all = damages(report);
    assert!(
        all.iter().any(|text| text.starts_with(file) && text.contains(words)),
        "{file} {words}: {all:#?}"
    );
    assert!(!report.clean);
}

fn file(options: &StoreOptions, name: &str) -> PathBuf {
    options.root.join(name)
}

pub(in crate::cli::store) fn write_at(path: &Path, at: u64, bytes: &[u8]) {
    File::options().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

pub(in crate::cli::store) const SECOND_LOG: &str = "commitlog/00000000000000016384";
const ORDERS: &str = "consumequeue/Orders/0/00000000000000000000";

/// Where the third message of the second log file begins, in bytes of the file, and how long it is.
pub(in crate::cli::store) fn third(options: &StoreOptions) -> (u64, u64) {
    let bytes = fs::read(file(options, SECOND_LOG)).unwrap();
    let mut records = MessageRecord::decode_all(&bytes);
    let (one, two) = (records.next().unwrap().unwrap(), records.next().unwrap().unwrap());
    let size = records.next().unwrap().unwrap().total_size;
    ((one.total_size + two.total_size) as u64, size as u64)
}

/// A store that was stopped in order has nothing wrong with it, and the figures are right.
#[test]
fn a_whole_store_is_clean() {
    let (_dir, options) = made();
    let before = crate::cli::store::tests::contents(&options.root);
    let report = check(&options).unwrap();
    assert!(report.clean && damages(&report).is_empty(), "{:#?}", report.findings);
    let figures = &report.figures;
    assert_eq!((figures.messages, figures.topics, figures.queues), (300, 2, 4));
    assert_eq!((figures.queue_entries, figures.index_entries), (300, 600));
    assert!(figures.log_files > 2 && figures.index_files > 2);
    assert_eq!(crate::cli::store::tests::contents(&options.root), before, "a check changes nothing");
}

/// A store whose process was killed has notes, no damage, and neither has it after the next start.
#[test]
fn a_killed_store_is_clean() {
    let (_dir, options) = made();
    let store = open(&options).unwrap();
    put(&store, "Orders", 0, 1_000);
    let end = store.max_physical_offset().0;
    drop(store);
    fs::write(&options.abort_file, "1 boot").unwrap();
    // The last message has no entry yet, and another one was being written.
    let queue = file(&options, "consumequeue/Orders/0/00000000000000001200");
    write_at(&queue, 15 * 20, &[0; 20]);
    let log = file(&options, &format!("commitlog/{:020}", end as u64 / LOG_FILE * LOG_FILE));
    write_at(&log, end as u64 % LOG_FILE, &[0, 0, 1, 0, 0xDA, 0xA3, 0x20, 0xA7, 1, 2, 3]);
    let report = check(&options).unwrap();
    assert!(report.clean, "{:#?}", damages(&report));
    assert!(report.findings.iter().any(|finding| finding.what.contains("unfinished message")), "{report:#?}");
    let store = open(&options).unwrap();
    store.stop();
    drop(store);
    let report = check(&options).unwrap();
    assert!(report.clean && report.figures.messages == 301, "{report:#?}");
}

/// Damage in the middle of the log is named with file and byte, and only what is damaged counts as lost.
#[test]
fn damaged_log() {
    let (_dir, options) = made();
    let path = file(&options, SECOND_LOG);
    let (at, size) = third(&options);
    let spoil = |offset: u64, bytes: &[u8]| {
        let good = fs::read(&path).unwrap();
        write_at(&path, at + offset, bytes);
        let report = check(&options).unwrap();
        fs::write(&path, good).unwrap();
        report
    };
    let physical = 16_384 + at as i64;
    let this = (physical, physical + size as i64);
    let cases: [(u64, &[u8], &str); 7] = [
        (size - 120, b"??", "checksum"),
        (4, &[0xDA, 0xA3, 0x20, 0xAF], "newer RocketMQ"),
        (4, b"????", "a message | the bytes"),
        (0, &[0x7F, 0xFF, 0xFF, 0xFF], "claims 2147483647 bytes"),
        (28, &[0, 0, 0, 0, 0, 0, 0, 9], "a message of physical offset 9"),
        (84, &[0x7F, 0, 0, 0], "contradicts itself at its body length"),
        (0, &vec![0; size as usize], "zeros, and something behind them"),
    ];
    for (offset, bytes, words) in cases {
        let report = spoil(offset, bytes);
        assert_finds(&report, &format!("{SECOND_LOG}@Some({at})"), words);
        assert_eq!(report.bad_ranges.len(), 1, "{words}");
        assert_eq!((report.bad_ranges[0].from, report.bad_ranges[0].to), this, "{words}");
        assert_eq!(report.figures.messages, 299, "{words}");
    }
}

/// Files that are cut short, missing, not of a log, or do not belong are named as such.
#[test]
fn wrong_files() {
    let spoiled = |spoil: &dyn Fn(&StoreOptions)| {
        let (dir, options) = made();
        spoil(&options);
        let report = check(&options).unwrap();
        // A start never panics: it refuses with one line, or serves what is there.
        if let Ok(store) = open(&options) {
            store.stop();
        }
        drop(dir);
        report
    };
    let report = spoiled(&|options| {
        File::options().write(true).open(file(options, SECOND_LOG)).unwrap().set_len(5_000).unwrap();
    });
    assert_finds(&report, SECOND_LOG, "cut short | 16384 bytes (mappedFileSizeCommitLog) | 5000 bytes");
    let report = spoiled(&|options| fs::remove_file(file(options, SECOND_LOG)).unwrap());
    assert_finds(&report, "commitlog/00000000000000032768", "missing | 00000000000000016384");
    let report =
        spoiled(&|options| fs::write(file(options, SECOND_LOG), vec![0; LOG_FILE as usize]).unwrap());
    assert_finds(&report, SECOND_LOG, "zeros, and something behind them");
    let report = spoiled(&|options| {
        let mut jar = b"PK\x03\x04".to_vec();
        jar.resize(LOG_FILE as usize, 7);
        fs::write(file(options, SECOND_LOG), jar).unwrap();
    });
    assert_finds(&report, SECOND_LOG, "this is no commit log file; 16384 bytes");
    assert_finds(&report, SECOND_LOG, "a zip or jar file");
    let report = spoiled(&|options| fs::write(file(options, "commitlog/notes.txt"), "x").unwrap());
    assert_finds(&report, "commitlog/notes.txt", "does not belong here");
    let report = spoiled(&|options| fs::remove_dir_all(file(options, "commitlog")).unwrap());
    assert_finds(&report, "commitlog", "there is no commit log");
}

/// Entries that are gone, wrong or foreign are named with their queue and place.
#[test]
fn damaged_queues() {
    let spoiled = |spoil: &dyn Fn(&StoreOptions)| {
        let (_dir, options) = made();
        spoil(&options);
        check(&options).unwrap()
    };
    let report = spoiled(&|options| write_at(&file(options, ORDERS), 5 * 20, &[0; 20]));
    assert_finds(&report, &format!("{ORDERS}@Some(100)"), "1 entries from 5 on are zeros");
    assert_finds(
        &report,
        "consumequeue/Orders/0",
        "1 messages of Orders queue 0 have no entry; the first is offset 5",
    );
    let report = spoiled(&|options| write_at(&file(options, ORDERS), 5 * 20 + 15, &[1]));
    assert_finds(&report, &format!("{ORDERS}@Some(100)"), "entry 5 does not say what its message says");
    let report = spoiled(&|options| write_at(&file(options, ORDERS), 5 * 20 + 7, &[1]));
    assert_finds(&report, ORDERS, "with offset 5 | no such message");
    let report = spoiled(&|options| fs::remove_dir_all(file(options, "consumequeue/Orders")).unwrap());
    assert_finds(&report, "consumequeue/Orders/1", "the queue is missing, and with it 75 messages");
    let report = spoiled(&|options| {
        File::options().write(true).open(file(options, ORDERS)).unwrap().set_len(390).unwrap();
    });
    assert_finds(&report, ORDERS, "cut short | 400 bytes (mappedFileSizeConsumeQueue) | 390 bytes");
    // The tail of a queue is gone, so the next message would get an offset that a message has.
    let report = spoiled(&|options| {
        fs::remove_file(file(options, "consumequeue/Orders/0/00000000000000001200")).unwrap();
    });
    assert_finds(&report, "consumequeue/Orders/0", "15 messages of Orders queue 0 have no entry");
}

/// Index, checkpoint and configuration are looked at, too.
#[test]
fn damaged_rest() {
    let spoiled = |spoil: &dyn Fn(&StoreOptions)| {
        let (_dir, options) = made();
        spoil(&options);
        check(&options).unwrap()
    };
    let index = |options: &StoreOptions| {
        let mut files: Vec<_> =
            fs::read_dir(&options.index_dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files[0].clone()
    };
    let report = spoiled(&|options| write_at(&index(options), 40 + 4 * 47 + 20 * 3, &[1, 2, 3, 4]));
    assert_finds(&report, "index/", "a message with a key of hash 16909060 | a message with other keys");
    let report = spoiled(&|options| write_at(&index(options), 36, &[0, 1, 0, 0]));
    assert_finds(&report, "index/", "header is damaged");
    let report = spoiled(&|options| {
        File::options().write(true).open(index(options)).unwrap().set_len(77).unwrap();
    });
    assert_finds(&report, "index/", "a length that cannot be");
    let report = spoiled(&|options| write_at(&options.checkpoint_file, 32, &[0, 0, 1]));
    assert_finds(&report, "checkpoint@Some(32)", "knows of messages that the log does not have");
    let report = spoiled(&|options| fs::write(&options.checkpoint_file, "short").unwrap());
    assert_finds(&report, "checkpoint", "cut short");
    let config = |options: &StoreOptions, name: &str, text: &str| {
        fs::create_dir_all(options.root.join("config")).unwrap();
        fs::write(options.root.join("config").join(name), text).unwrap();
    };
    let report = spoiled(&|options| config(options, "topics.json", "{\"topicConfigTable\":{"));
    assert_finds(&report, "config/topics.json", "there is no .bak that can");
    let report = spoiled(&|options| config(options, "consumerOffset.json", "\0\0\0\0"));
    assert_finds(&report, "config/consumerOffset.json", "it holds only zeros");
    let report = spoiled(&|options| {
        config(options, "consumerOffset.json", "{\"offsetTable\":{\"Orders@g\":{0:75,1:76}}}");
    });
    assert_finds(
        &report,
        "config/consumerOffset.json",
        "group g on Orders is beyond its queue | an offset within queue 1 | 76",
    );
    assert_eq!(damages(&report).len(), 1);
    let report = spoiled(&|options| config(options, "timercheck", "short"));
    assert_finds(&report, "config/timercheck", "cut short");
}

/// A topic that was deleted, and one that was deleted and made again, with messages or without, are no damage; where another
/// broker deleted them, as far as the queues tell.
#[test]
fn deleted_topics_are_no_damage() {
    let (_dir, options) = made();
    let store = open(&options).unwrap();
    store.delete_topic("Orders").unwrap();
    store.delete_topic("Bills").unwrap();
    put(&store, "Bills", 0, 7);
    store.stop();
    drop(store);
    fs::create_dir_all(options.root.join("config")).unwrap();
    fs::write(
        options.root.join("config/topics.json"),
        r#"{"topicConfigTable":{"Bills":{"topicName":"Bills"}}}"#,
    )
    .unwrap();
    let noted = |wanted: &str| {
        let report = check(&options).unwrap();
        // The other queue of Bills was not made again.
        assert_eq!(damages(&report), Vec::<String>::new());
        let notes: Vec<_> = report.findings.iter().map(|finding| finding.what.as_str()).collect();
        assert!(notes.iter().any(|what| what.contains(wanted)), "{notes:?}");
    };
    noted("messages of Orders are in the log, from before the topic was deleted");
    noted("messages of Bills are in the log, from before the topic was deleted");
    fs::remove_file(options.root.join("topics.deleted")).unwrap();
    noted("of a topic that was deleted");
    noted("from before the topic was deleted and made again");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever bytes are flipped, cut off or added anywhere, neither a check nor a start panics, and a store that
    /// starts can be read from one end to the other.
    #[test]
    fn damage_never_panics(
        spoils in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0..8_u8), 1..6),
        cut in any::<bool>(),
    ) {
        let (_dir, options) = made();
        let files: Vec<_> = crate::cli::store::tests::contents(&options.root).into_iter().collect();
        for (which, place, byte, kind) in spoils {
            let (name, bytes) = which.get(&files);
            let path = options.root.join(name);
            if bytes.is_empty() || name.ends_with("lock") {
                continue;
            }
            // Places near the beginning are where something is.
            let at = place.index(bytes.len().min(1 << (7 + kind)));
            match kind {
                0 => File::options().write(true).open(&path).unwrap().set_len(at as u64).unwrap(),
                1 => write_at(&path, at as u64, &[byte; 64]),
                _ => write_at(&path, at as u64, &[byte]),
            }
        }
        if cut {
            fs::write(&options.abort_file, "1 another").unwrap();
        }
        let _ = check(&options).unwrap();
        if let Ok(store) = open(&options) {
            for (topic, ids) in store.topics_with_queues() {
                for id in ids {
                    let mut at = store.min_offset_in_queue(&topic, id).0;
                    let end = store.max_offset_in_queue(&topic, id).0.min(at + 2_000);
                    while at < end {
                        let limits = ReadLimits::messages(32);
                        let read = store.read(&topic, id, QueueOffset(at), &limits, &|_| true, None);
                        at = read.next_begin_offset.0.max(at + 1);
                    }
                }
            }
            store.query_message("Orders", "key4", 10, 0, i64::MAX);
            // It may be refused, in words.
            let _ = try_put(&store, "Orders", 0, 5);
            store.stop();
        }
        let _ = check(&options).unwrap();
    }
}
