//! Flushing, failing disks, full disks, deletion of old files, and the threads that see to it.

use super::moody::{Call, EIO, ENOSPC, moody};
use super::*;
use crate::faults::{FaultPoint, Order, Trigger};

fn sync(options: &mut StoreOptions) {
    options.flush_disk_type = FlushDiskType::Sync;
}

/// Under SYNC_FLUSH a message is safe, and visible, only after a flush; one flush serves all that came before it.
#[tokio::test]
async fn one_flush_serves_many_sends() {
    let (_dir, _disk, store, _faults, _clock) = moody(sync);
    let receipts: Vec<_> = (0..5).map(|_| put(&store, "T", 0, "x")).collect();
    assert!(receipts.iter().all(|receipt| !receipt.is_durable()));
    assert_eq!(read(&store, "T", 0, 0, 1).status, GetMessageStatus::NoMessageInQueue);
    assert!(store.flush_commit_log(0).unwrap());
    store.dispatch();
    assert_eq!(store.counters().flushes, 1);
    for receipt in receipts {
        assert!(receipt.is_durable());
        assert_eq!(receipt.durable().await, PutStatus::Ok);
    }
    assert_eq!(read(&store, "T", 0, 0, 9).message_count, 5);
    let mut impatient = message("T", 0, b"", &[]);
    impatient.wait_store = false;
    assert!(store.put(&impatient).unwrap().is_durable());
    assert!(!store.flush_commit_log(1_000).unwrap(), "not that many pages wait");
}

/// With its threads running the store flushes sync sends by itself, and a stop leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn the_flush_thread_answers() {
    let (dir, _disk, store, _faults, _clock) = moody(sync);
    let lifecycle = Lifecycle::new();
    store.start(&lifecycle).unwrap();
    assert!(dir.path().join("abort").exists());
    for _ in 0..50 {
        let receipt = put(&store, "T", 0, "x");
        assert_eq!(receipt.durable().await, PutStatus::Ok);
    }
    tokio::task::spawn_blocking(move || {
        store.stop();
        lifecycle.cancel();
        lifecycle.join_threads();
        assert!(matches!(store.put(&message("T", 0, b"", &[])), Err(PutError::NotWriteable { .. })));
        assert_eq!(queue_bodies(&store, "T", 0).len(), 50);
    })
    .await
    .unwrap();
    assert!(!dir.path().join("abort").exists());
}

/// Without a flush the receipt says so when its time is up; the message is stored all the same.
#[tokio::test(start_paused = true)]
async fn a_flush_that_does_not_come_times_out() {
    let (_dir, _disk, store, _faults, _clock) = moody(sync);
    assert_eq!(put(&store, "T", 0, "x").durable().await, PutStatus::FlushDiskTimeout);
}

/// A stop that has no time for the queues keeps the mark of a store in use; the next start has every message, goes on, and
/// its own stop is a clean one.
#[test]
fn queues_left_at_a_stop_are_there_at_the_next_start() {
    let (dir, _disk, store, _faults, _clock) = moody(|_| {});
    let abort_file = dir.path().join("abort");
    recover::write_abort_file(&Disk, &abort_file).unwrap();
    for number in 0..100 {
        put(&store, &format!("T{}", number % 10), 0, &number.to_string());
    }
    flush::stop_within(&store, 0);
    assert!(abort_file.exists());
    let options = (*store.options()).clone();
    drop(store);
    let store = open(options);
    for topic in 0..10 {
        let wanted: Vec<_> = (0..10).map(|index| (index * 10 + topic).to_string()).collect();
        assert_eq!(queue_bodies(&store, &format!("T{topic}"), 0), wanted);
    }
    assert_eq!(put(&store, "T3", 0, "more").queue_offset, QueueOffset(10));
    let store = reopen_stopped(store);
    assert_eq!(queue_bodies(&store, "T3", 0).len(), 11);
}

/// A volume without space refuses a put in words and takes no harm; its last bytes are used, and new space is, too.
#[test]
fn no_space_refuses_a_put() {
    let (_dir, disk, store, _faults, _clock) = moody(|options| options.commit_log_file_bytes = 1 << 20);
    disk.space_end.store(40_000, Ordering::SeqCst);
    let body = "x".repeat(1_000);
    let mut stored = 0;
    let refused = loop {
        match store.put(&message("T", 0, body.as_bytes(), &[])) {
            Ok(_) => stored += 1,
            Err(refused) => break refused,
        }
    };
    assert!((30..40).contains(&stored), "{stored} of 40 KB");
    assert!(refused.to_string().contains("no room for more messages"), "{refused}");
    assert_eq!(queue_bodies(&store, "T", 0).len(), stored);
    disk.space_end.store(0, Ordering::SeqCst);
    put(&store, "T", 0, &body);
    assert_eq!(queue_bodies(&store, "T", 0).len(), stored + 1);
}

/// Space on the volume is taken ahead in proportion to what is stored, by the store's own thread, and a stop gives back
/// what was not used.
#[test]
fn space_ahead_is_given_back() {
    use std::os::unix::fs::MetadataExt;
    let (dir, _disk, store, _faults, _clock) = moody(|options| options.commit_log_file_bytes = 64 << 20);
    let taken = || {
        let file = dir.path().join("commitlog/00000000000000000000");
        std::fs::metadata(file).unwrap().blocks() * 512
    };
    put(&store, "T", 0, "first");
    assert!(taken() < 512 << 10, "{} bytes for one message", taken());
    let lifecycle = Lifecycle::new();
    store.start(&lifecycle).unwrap();
    let body = "x".repeat(60_000);
    for _ in 0..100 {
        put(&store, "T", 0, &body);
    }
    let written = store.max_physical_offset().0 as u64;
    assert!((written..written * 3).contains(&taken()), "{} bytes for {written}", taken());
    store.stop();
    lifecycle.cancel();
    lifecycle.join_threads();
    assert!(taken() < written + (64 << 10), "{} bytes for {written}", taken());
    let store = reopen_stopped(store);
    assert_eq!(queue_bodies(&store, "T", 0).len(), 101);
    put(&store, "T", 0, &body);
}

/// After a failed flush nothing is taken any more, reads go on, waiters are told, and the mark stays.
#[tokio::test]
async fn a_failed_flush_poisons() {
    let (dir, disk, store, _faults, _clock) = moody(sync);
    put(&store, "T", 0, "safe");
    store.flush_commit_log(0).unwrap();
    store.dispatch();
    recover::write_abort_file(&Disk, &store.options().abort_file).unwrap();
    let unsafe_one = put(&store, "T", 0, "unsafe");
    disk.order(Call::Flush, "commitlog", EIO);
    assert!(store.flush_commit_log(0).is_err());
    assert_eq!(unsafe_one.durable().await, PutStatus::FlushDiskTimeout);
    disk.forgive();
    let refused = store.put(&message("T", 0, b"", &[])).unwrap_err().to_string();
    assert!(refused.contains("Input/output error"), "{refused}");
    assert!(matches!(store.flush_commit_log(0), Err(Error::Poisoned { .. })));
    assert_eq!(queue_bodies(&store, "T", 0), ["safe"]);
    assert!(!store.is_writeable());
    store.stop();
    assert!(dir.path().join("abort").exists());
}

/// A queue whose file cannot be made holds dispatch where it is; nothing is lost or put out of order by it.
#[test]
fn dispatch_waits_for_a_queue_file() {
    let (_dir, disk, store, _faults, _clock) = moody(|_| {});
    put(&store, "T", 0, "first");
    disk.order(Call::Write, "consumequeue", ENOSPC);
    let stuck = put(&store, "U", 0, "second");
    assert_eq!(store.dispatch_behind_bytes(), stuck.size as i64);
    let refused = store.put(&message("T", 0, b"", &[])).unwrap_err().to_string();
    assert!(refused.contains("consume queue cannot be written"), "{refused}");
    disk.forgive();
    store.dispatch();
    assert!(store.is_writeable());
    put(&store, "U", 0, "third");
    assert_eq!(queue_bodies(&store, "U", 0), ["second", "third"]);
}

/// A nearly full volume refuses puts with path and numbers, until there is room again.
#[test]
fn a_full_disk_is_named() {
    let (_dir, disk, store, _faults, _clock) = moody(|_| {});
    put(&store, "T", 0, "x");
    disk.free_bytes.store(100 << 20, Ordering::SeqCst);
    store.check_disk_space();
    let refused = store.put(&message("T", 0, b"", &[])).unwrap_err().to_string();
    assert!(refused.contains("commitlog has 100 MiB left of 102400 MiB"), "{refused}");
    disk.free_bytes.store(1 << 30, Ordering::SeqCst);
    store.check_disk_space();
    put(&store, "T", 0, "y");
    assert!((store.disk_space().0.used_ratio() - 0.99).abs() < 1e-9);
}

/// Ordered faults refuse a put before it is written, or report it as not flushed after.
#[tokio::test]
async fn ordered_faults_strike() {
    let (_dir, _disk, store, faults, _clock) = moody(sync);
    let order = |topic: &str| Order { trigger: Trigger::FirstN(1), only_for: Some(topic.to_owned()) };
    faults.order(FaultPoint::BeforeAppend, order("T"));
    assert!(matches!(store.put(&message("T", 0, b"", &[])), Err(PutError::NotWriteable { .. })));
    assert_eq!(store.max_physical_offset(), PhysicalOffset(0));
    faults.order(FaultPoint::AfterAppendBeforeFlush, order("T"));
    let receipt = put(&store, "T", 0, "x");
    assert_eq!(receipt.durable().await, PutStatus::FlushDiskTimeout);
    faults.order(FaultPoint::Flush, Order { trigger: Trigger::FirstN(1), only_for: None });
    assert!(!store.flush_commit_log(0).unwrap());
    assert!(store.flush_commit_log(0).unwrap(), "an ordered failure does not poison");
}

/// A batch is as long as all its records, each of which repeats what its request has once.
#[test]
fn a_batch_that_grows_is_refused() {
    let (_dir, _disk, store, _faults, _clock) = moody(|options| options.max_message_bytes = 4_096);
    let properties = "p".repeat(8 << 10);
    let properties = [properties.as_str()];
    let messages = vec![message("T", 0, b"x", &properties); 100];
    let refused = store.put_batch(&messages).unwrap_err();
    assert!(matches!(refused, PutError::TooLong { field: "message", .. }), "{refused}");
    assert_eq!(store.max_physical_offset(), PhysicalOffset(0));
    store.put_batch(&messages[..1]).unwrap();
}

/// Under SYNC_FLUSH a message becomes visible whoever flushed it, and nothing else need be put for that.
#[test]
fn what_another_thread_flushed_becomes_visible() {
    let (_dir, _disk, store, _faults, _clock) = moody(sync);
    let (told, arrived) = std::sync::mpsc::channel();
    store.on_arrival(Arc::new(move |arrivals| told.send(arrivals.len()).unwrap()));
    let receipt = put(&store, "T", 0, "x");
    assert!(store.settle() && receipt.is_durable());
    let life = Lifecycle::new();
    store.start(&life).unwrap();
    assert_eq!(arrived.recv_timeout(std::time::Duration::from_secs(30)), Ok(1));
    store.stop();
    life.join_threads();
}

/// Old files go with the queue and index files that only know them; a slow reader keeps what it holds.
#[test]
fn old_files_are_deleted_under_a_reader() {
    let (dir, _disk, store, _faults, clock) = moody(|options| options.delete_when = "never".into());
    for number in 0..200 {
        let property = format!("KEYS\u{1}k{number}\u{2}");
        store.put(&message("T", 0, format!("{number:>1000}").as_bytes(), &[&property])).unwrap();
    }
    let held = read(&store, "T", 0, 0, 8);
    let held_bodies = bodies(&held.records);
    store.retain();
    assert_eq!(store.delete_expired_files_now().unwrap(), 0, "no file is old");
    clock.travel(std::time::Duration::from_hours(73));
    store.retain();
    assert_eq!(store.min_physical_offset(), PhysicalOffset(0), "it is not the hour");
    let mut deleted = 0;
    while store.delete_expired_files_now().unwrap() > 0 {
        deleted += 1;
    }
    assert!(deleted > 1, "at most ten files go at once");
    let files = std::fs::read_dir(dir.path().join("commitlog")).unwrap().count();
    assert_eq!(files, 1, "the last file stays");
    assert!(std::fs::read_dir(dir.path().join("consumequeue/T/0")).unwrap().count() <= 2);
    assert!(held_bodies[0].ends_with(" 0"));
    assert_eq!(bodies(&held.records), held_bodies, "the deleted file is still mapped");
    let min = store.min_offset_in_queue("T", 0);
    assert!(min.0 > 180 && min.0 < 200);
    let outcome = read(&store, "T", 0, 0, 1);
    assert_eq!((outcome.status, outcome.next_begin_offset), (GetMessageStatus::OffsetTooSmall, min));
    assert_eq!(queue_bodies(&store, "T", 0).len(), 200 - min.0 as usize);
    assert!(store.query_message("T", "k0", 1, 0, i64::MAX).records.is_empty());
    assert_eq!(store.query_message("T", "k199", 1, 0, i64::MAX).records.len(), 1);
    assert_eq!(store.clean_expired_consume_queues(&|_| false).unwrap(), 0);
    let store = reopen_stopped(store);
    assert_eq!(store.min_offset_in_queue("T", 0), min);
    assert_eq!(store.max_offset_in_queue("T", 0), QueueOffset(200));
}

/// The keeper deletes what is old at the hours of `deleteWhen`, and at any hour when more of the disk is used than
/// `diskMaxUsedSpaceRatio` says; no more files in one round than `deleteFileBatchMax` says.
#[test]
fn the_keeper_deletes_at_its_hour_or_for_room() {
    let (_dir, disk, store, _faults, clock) = moody(|options| {
        options.delete_when = "never".into();
        options.delete_file_batch_max = 2;
    });
    for _ in 0..100 {
        put(&store, "T", 0, &"b".repeat(1_000));
    }
    clock.travel(std::time::Duration::from_hours(73));
    let begins = || store.min_physical_offset().0;
    let change = |change: &dyn Fn(&mut StoreOptions)| {
        let mut options = StoreOptions::clone(&store.options());
        change(&mut options);
        store.set_options(options);
    };
    let file_bytes = store.options().commit_log_file_bytes as i64;
    store.retain();
    assert_eq!(begins(), 0, "it is not the hour");
    let now =
        jiff::Timestamp::from_millisecond(clock.now_ms()).unwrap().to_zoned(jiff::tz::TimeZone::system());
    // The hour may end meanwhile.
    change(&|options| options.delete_when = format!("{:02};{}", now.hour(), (now.hour() + 1) % 24));
    store.retain();
    assert_eq!(begins(), 2 * file_bytes, "two files a round");
    change(&|options| options.delete_when = format!("{}", (now.hour() + 12) % 24));
    store.retain();
    assert_eq!(begins(), 2 * file_bytes, "it is not the hour any more");
    disk.free_bytes.store(20 << 30, Ordering::SeqCst); // 80 % used
    change(&|options| options.disk_max_used_space_ratio = 85);
    store.retain();
    assert_eq!(begins(), 2 * file_bytes);
    change(&|options| options.disk_max_used_space_ratio = 75);
    store.retain();
    assert_eq!(begins(), 4 * file_bytes);
}

/// A queue all of whose messages are gone keeps its offsets, until somebody asks for such queues to be removed.
#[test]
fn an_expired_queue_is_removed_on_request() {
    let (_dir, _disk, store, _faults, clock) = moody(|_| {});
    put(&store, "old", 0, "x");
    put(&store, "system", 0, "x");
    for _ in 0..40 {
        put(&store, "T", 0, &"b".repeat(1_000));
    }
    clock.travel(std::time::Duration::from_hours(100));
    store.delete_expired_files_now().unwrap();
    let outcome = read(&store, "old", 0, 0, 1);
    assert_eq!(
        (outcome.status, outcome.next_begin_offset),
        (GetMessageStatus::OffsetTooSmall, QueueOffset(1))
    );
    assert_eq!(store.min_offset_in_queue("old", 0), store.max_offset_in_queue("old", 0));
    assert_eq!(store.clean_expired_consume_queues(&|topic| topic == "system").unwrap(), 1);
    assert!(!store.has_queue("old", 0) && store.has_queue("system", 0) && store.has_queue("T", 0));
    assert_eq!(put(&store, "system", 0, "y").queue_offset, QueueOffset(1));
}

/// Files before their time go only when the disk is about to be full, the oldest first.
#[test]
fn a_filling_disk_deletes_the_oldest() {
    let (_dir, disk, store, _faults, _clock) = moody(|options| options.delete_when = "never".into());
    for _ in 0..60 {
        put(&store, "T", 0, &"b".repeat(1_000));
    }
    disk.free_bytes.store(20 << 30, Ordering::SeqCst);
    store.retain();
    assert_eq!(store.min_physical_offset(), PhysicalOffset(0), "80 % used: only expired files may go");
    disk.free_bytes.store(300 << 20, Ordering::SeqCst);
    store.retain();
    assert!(store.min_physical_offset() > PhysicalOffset(0));
}

/// A volume that really is full, of 6 MiB: puts are refused in words, with log, queues and index in the middle of a page;
/// reads go on, the process lives, and with space the same store goes on, everything in its queue and found by its key.
#[test]
fn a_full_volume_refuses_and_recovers() {
    let Some(dir) = Volume::of("size=6m") else { return };
    let root = dir.0.path().join("store");
    let store = open(StoreOptions {
        commit_log_file_bytes: 1 << 20,
        consume_queue_file_bytes: 6_000_000,
        max_hash_slot_num: 500_000,
        max_index_num: 2_000_000,
        disk_full_free_bytes: 0,
        ..StoreOptions::at(&root)
    });
    // The whole volume is taken, then given back bit by bit, so that each kind of file meets the end.
    let filler = dir.0.path().join("filler");
    let fill = |spare: u64| {
        let _ = std::fs::remove_file(&filler);
        let free = Disk.space(&root).unwrap().free_bytes;
        let file = File::create(&filler).unwrap();
        Disk.allocate(&file, 0, free.saturating_sub(spare).max(4_096)).unwrap();
    };
    let (mut stored, mut refused) = (Vec::new(), 0);
    for round in 0..40_u64 {
        fill(round % 8 * 4_096);
        for number in 0..60 {
            let (topic, key) = (format!("T{}", number % 7), format!("r{round}n{number}"));
            let property = format!("KEYS\u{1}{key}\u{2}");
            let body = vec![b'x'; 300 * (round as usize % 5)];
            match store.put(&message(&topic, 0, &body, &[&property])) {
                Ok(receipt) => stored.push((topic, key, receipt)),
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains("No space left") && text.contains("/store/"), "{text}");
                    refused += 1;
                    break;
                }
            }
        }
        assert!(read(&store, "T0", 0, 0, 1).message_count <= 1);
        // Space returns; the keeper thread tries again.
        std::fs::remove_file(&filler).unwrap();
        store.dispatch();
        assert!(store.is_writeable(), "{:?}", store.refusal_reason());
        assert_eq!(store.dispatch_behind_bytes(), 0);
    }
    assert!(refused > 10 && stored.len() > 100, "{refused} refused, {} stored", stored.len());
    for (topic, key, receipt) in &stored {
        let entry = store.queue_entries(topic, 0, receipt.queue_offset, 1)[0];
        assert_eq!(entry.physical_offset, receipt.physical_offset);
        assert_eq!(store.query_message(topic, key, 9, 0, i64::MAX).records.len(), 1, "{topic} {key}");
    }
}
