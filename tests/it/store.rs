//! `rmq-lite store` on stores that Apache wrote, and beside a server that runs.

use std::path::Path;
use std::process::{Command, Output};

use crate::golden::{SIZES, unpack};

fn store(words: &[&str], dir: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rmq-lite"));
    command.arg("store").args(words).arg(dir).args(more);
    for (key, value) in SIZES {
        command.arg("--set").arg(format!("{key}={value}"));
    }
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Nothing is wrong with a store that Apache made and stopped in order, and every message of it is counted.
#[test]
fn apaches_store_is_clean() {
    let dir = tempfile::tempdir().unwrap();
    unpack(dir.path(), &[]);
    let done = store(&["check"], dir.path(), &["--json"]);
    let reports: serde_json::Value = serde_json::from_slice(&done.stdout)
        .unwrap_or_else(|cause| panic!("{cause}: {}", text(&done.stderr)));
    assert_eq!(done.status.code(), Some(0), "{reports:#}");
    assert_eq!(reports[0]["clean"], true, "{reports:#}");
    let messages = include_str!("../golden/store.tsv").lines().count();
    assert_eq!(reports[0]["figures"]["messages"], messages);
    let done = store(&["check"], dir.path(), &[]);
    assert!(text(&done.stdout).contains("clean: everything fits together"), "{}", text(&done.stdout));
}

/// What Apache wrote goes out and into a new store of ours.
#[test]
fn apaches_messages_move() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    unpack(dir.path(), &[]);
    let file = to.path().join("all.jsonl");
    let done = store(&["export"], dir.path(), &["-o", file.to_str().unwrap()]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let fresh = to.path().join("broker");
    let done = store(&["import", file.to_str().unwrap()], &fresh, &[]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let done = store(&["check"], &fresh, &[]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stdout));
    let done = store(&["dump"], &fresh, &["--topic", "Plain", "--queue", "3", "--count", "1"]);
    assert!(text(&done.stdout).starts_with("Plain/3 0  at "), "{}", text(&done.stdout));
}

/// What is no store is refused with exit code 2 and a reason.
#[test]
fn other_directories_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let done = store(&["check"], dir.path(), &[]);
    assert_eq!(done.status.code(), Some(2));
    assert!(text(&done.stderr).contains("is no store"), "{}", text(&done.stderr));
    let done = store(&["check"], &dir.path().join("nowhere"), &[]);
    assert!(done.status.code() == Some(2) && text(&done.stderr).contains("there is no directory"));
}

/// A store that a server uses is looked at by `dump` only.
#[test]
fn a_store_in_use_is_left_alone() {
    use rmq_lite::clock::Clock;
    use rmq_lite::faults::Faults;
    use rmq_lite::store::{MessageStore, StoreOptions};
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        commit_log_file_bytes: 1 << 20,
        consume_queue_file_bytes: 2_000,
        max_hash_slot_num: 100,
        max_index_num: 200,
        ..StoreOptions::at(dir.path())
    };
    let _store = MessageStore::open(options, Clock::new(), Faults::default()).unwrap();
    let done = store(&["check"], dir.path(), &[]);
    assert_eq!(done.status.code(), Some(2));
    assert!(text(&done.stderr).contains("a server uses"), "{}", text(&done.stderr));
    let done = store(&["dump"], dir.path(), &[]);
    assert_eq!(done.status.code(), Some(0));
    assert!(text(&done.stderr).contains("may change meanwhile"));
}
