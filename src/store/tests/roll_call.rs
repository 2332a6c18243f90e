//! Files of queues that somebody takes away while the store is stopped.

use std::collections::BTreeSet;

use super::*;
use crate::store::checkpoint::{Checkpoint, Field};

/// Queues that have several files, and all their messages in order.
fn full() -> (TempDir, StoreOptions) {
    let (dir, store) = fresh();
    for number in 0..300 {
        put(&store, &format!("T{}", number % 3), number % 2, &number.to_string());
    }
    let options = (*store.options()).clone();
    drop(reopen_stopped(store));
    (dir, options)
}

fn said(store: &MessageStore) -> Vec<Vec<String>> {
    let queues = (0..3).flat_map(|topic| [0, 1].map(|queue_id| (format!("T{topic}"), queue_id)));
    queues.map(|(topic, queue_id)| queue_bodies(store, &topic, queue_id)).collect()
}

fn missing(options: &StoreOptions) -> BTreeSet<(String, i32)> {
    roll::missing(options, &Checkpoint::open(&options.checkpoint_file, &Disk).unwrap())
}

/// A queue's directory, a topic's, a queue's first or last file: the next start builds these queues again and no others, and
/// puts go on behind their last messages.
#[test]
fn what_was_taken_away_is_built_again() {
    let file = |number: u64| format!("{:020}", number * 400);
    let gone = |names: &[(&str, i32)]| names.iter().map(|(topic, id)| ((*topic).to_owned(), *id)).collect();
    let cases: [(String, BTreeSet<(String, i32)>); 4] = [
        ("T1/0".to_owned(), gone(&[("T1", 0)])),
        ("T1".to_owned(), gone(&[("T1", 0), ("T1", 1)])),
        (format!("T2/1/{}", file(0)), gone(&[("T2", 1)])),
        (format!("T2/1/{}", file(2)), gone(&[("T2", 1)])),
    ];
    for (taken, wanted) in cases {
        let (dir, options) = full();
        assert!(missing(&options).is_empty(), "nothing is missing yet");
        let before = said(&open(options.clone()));
        assert!(before.iter().all(|bodies| bodies.len() == 50));
        let path = dir.path().join("consumequeue").join(&taken);
        if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) }.unwrap();
        assert_eq!(missing(&options), wanted, "{taken}");
        let store = open(options.clone());
        assert_eq!(said(&store), before, "{taken}");
        assert_eq!(put(&store, "T1", 0, "more").queue_offset, QueueOffset(50), "{taken}");
        assert_eq!(put(&store, "T2", 1, "more").queue_offset, QueueOffset(50), "{taken}");
        let store = reopen_stopped(store);
        assert!(missing(&options).is_empty(), "{taken}");
        assert_eq!(queue_bodies(&store, "T1", 0).len(), 51);
    }
}

/// A start that is killed while it builds a queue again leaves a store whose next start builds it whole.
#[test]
fn a_kill_while_a_queue_is_built_again() {
    let (dir, options) = full();
    let before = said(&open(options.clone()));
    let queue = dir.path().join("consumequeue/T1/0");
    std::fs::remove_dir_all(&queue).unwrap();
    let checkpoint = Checkpoint::open(&options.checkpoint_file, &Disk).unwrap();
    roll::clear(&Disk, &options, &checkpoint, &missing(&options)).unwrap();
    drop(checkpoint);
    // Its first file is there, and nothing in it.
    std::fs::create_dir(&queue).unwrap();
    std::fs::write(queue.join(format!("{:020}", 0)), [0; 400]).unwrap();
    assert_eq!(said(&open(options)), before);
}

/// The roll is not called when it is not that of the last stop or cannot be read; a topic that was deleted on purpose is not
/// missing.
#[test]
fn an_old_roll_says_nothing() {
    let (dir, options) = full();
    let checkpoint = Checkpoint::open(&options.checkpoint_file, &Disk).unwrap();
    checkpoint.set(Field::Physic, 1_800_000_000_000);
    drop(checkpoint);
    std::fs::remove_dir_all(dir.path().join("consumequeue/T1")).unwrap();
    assert!(missing(&options).is_empty(), "another broker was here");

    let (dir, options) = full();
    let roll = std::fs::read_to_string(dir.path().join("queues.roll")).unwrap();
    let stamp = roll.lines().next().unwrap();
    for text in [
        "",
        "rmq-lite queues 1 x",
        "\t\t\t",
        "\0",
        &format!("{stamp}\nT1\t0\t0"),
        &format!("{stamp}\nT1\tx\t0\t400"),
    ] {
        std::fs::write(dir.path().join("queues.roll"), text).unwrap();
        assert!(missing(&options).is_empty(), "{text:?}");
    }

    let (_dir, options) = full();
    let store = open(options.clone());
    store.delete_topic("T1").unwrap();
    let store = reopen_stopped(store);
    assert!(missing(&options).is_empty());
    assert!(!store.has_queue("T1", 0) && store.has_queue("T0", 0));
}
