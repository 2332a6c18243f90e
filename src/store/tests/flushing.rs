//! When what is written comes to the disk, and what a disk that refuses does to the store.

use std::time::Duration;

use super::moody::{Call, EIO, EROFS, Moody, moody};
use super::*;
use crate::store::checkpoint::{Checkpoint, Field};
use crate::store::flush::Pace;
use crate::store::keeper::Rounds;

async fn pass(ms: u64) {
    tokio::time::advance(Duration::from_millis(ms)).await;
}

fn refused(store: &MessageStore) -> String {
    store.put(&message("T", 0, b"", &[])).unwrap_err().to_string()
}

/// Under ASYNC_FLUSH a few bytes wait for the thorough interval, many pages only for the next interval; a flush of many
/// pages does not put off the thorough one.
#[tokio::test(start_paused = true)]
async fn little_waits_for_the_thorough_interval() {
    let (_dir, _disk, store, _faults, clock) = moody(|options| options.commit_log_file_bytes = 1 << 20);
    let mut pace = Pace::new(clock.elapsed_ns());
    let mut round = || {
        store.flush_at_interval(&mut pace);
        store.flushed_offset().0
    };
    put(&store, "T", 0, "little");
    pass(9_999).await;
    assert_eq!(round(), 0, "fewer than four pages, and not ten seconds yet");
    pass(1).await;
    assert_eq!(round(), store.max_physical_offset().0);
    let much = "x".repeat(4 * 4_096);
    put(&store, "T", 0, &much);
    pass(500).await;
    assert_eq!(round(), store.max_physical_offset().0, "four pages go at once");
    let little = put(&store, "T", 0, "little").physical_offset.0;
    pass(9_499).await;
    assert_eq!(round(), little);
    pass(1).await;
    assert_eq!(round(), store.max_physical_offset().0, "ten seconds after the last thorough one");
    // Time that a user lets pass is none for the disk.
    let little = put(&store, "T", 0, "little").physical_offset.0;
    clock.travel(Duration::from_hours(1));
    assert_eq!(round(), little);
}

/// So do the consume queues; the checkpoint is written with the thorough one, and vouches for what is flushed only.
#[tokio::test(start_paused = true)]
async fn queues_have_intervals_of_their_own() {
    let (_dir, disk, store, _faults, clock) = moody(|options| {
        options.commit_log_file_bytes = 1 << 20;
        options.consume_queue_file_bytes = 6_000_000;
    });
    let mut rounds = Rounds::new(clock.elapsed_ns());
    let mut flushes = || {
        store.keep_round(&mut rounds);
        let flushed = std::mem::take(&mut *disk.flushed.lock().unwrap());
        let of = |name: &str| {
            flushed.iter().filter(|path| path.is_file() && path.to_string_lossy().contains(name)).count()
        };
        (of("consumequeue/"), of("checkpoint"))
    };
    put(&store, "T", 0, "x");
    pass(59_999).await;
    assert_eq!(flushes(), (0, 0), "fewer than two pages, and not a minute yet");
    pass(1).await;
    assert_eq!(flushes(), (1, 1));
    assert_eq!(store.checkpoint.safe(), Some(0), "the log is not flushed");
    for _ in 0..2 * 4_096 / 20 {
        put(&store, "T", 0, "");
    }
    pass(1_000).await;
    assert_eq!(flushes(), (1, 0), "two pages go at once");
    put(&store, "T", 0, "x");
    store.flush_commit_log(0).unwrap();
    pass(58_999).await;
    assert_eq!(flushes(), (0, 0));
    pass(1).await;
    assert_eq!(flushes(), (1, 1), "a minute after the last thorough one");
    assert_eq!(store.checkpoint.safe(), Some(store.max_physical_offset().0));
    pass(60_000).await;
    assert_eq!(flushes(), (0, 0), "nothing waits");
}

/// The threads go by the options of the moment: intervals that were hours long end when they are made short.
#[tokio::test(flavor = "multi_thread")]
async fn intervals_change_while_running() {
    let hour_ms = 3_600_000;
    let (_dir, disk, store, _faults, _clock) = moody(|options| {
        options.flush_interval_commit_log_ms = hour_ms;
        options.flush_interval_consume_queue_ms = hour_ms;
        options.clean_resource_interval_ms = hour_ms;
    });
    let lifecycle = Lifecycle::new();
    store.start(&lifecycle).unwrap();
    put(&store, "T", 0, "x");
    store.set_options(StoreOptions {
        flush_interval_commit_log_ms: 1,
        flush_commit_log_thorough_interval_ms: 1,
        flush_interval_consume_queue_ms: 10,
        flush_consume_queue_thorough_interval_ms: 1,
        ..(*store.options()).clone()
    });
    let end = store.max_physical_offset().0;
    store.flushed.subscribe().wait_for(|&at| at >= end).await.unwrap();
    // The flush thread has woken the keeper, whose own interval is an hour.
    while store.checkpoint.safe() != Some(end) {
        tokio::task::yield_now().await;
    }
    assert!(disk.flushed.lock().unwrap().iter().any(|path| path.ends_with("T/0/00000000000000000000")));
    tokio::task::spawn_blocking(move || {
        store.stop();
        lifecycle.cancel();
        lifecycle.join_threads();
    })
    .await
    .unwrap();
}

/// A disk that fails when something is made or given space refuses the put with path and reason, and no more than that:
/// reads go on, and when it works again so do puts.
#[test]
fn a_write_error_refuses_until_it_is_over() {
    for (path, errno, reason) in [
        ("commitlog", EIO, "Input/output error"),
        ("commitlog", EROFS, "Read-only file system"),
        ("consumequeue", EIO, "Input/output error"),
        ("consumequeue", EROFS, "Read-only file system"),
        ("index", EROFS, "Read-only file system"),
        ("/", EROFS, "Read-only file system"),
    ] {
        let (dir, disk, store, _faults, _clock) = moody(|_| {});
        let body = "x".repeat(900);
        let put_keyed = |number: usize| {
            let key = format!("KEYS\u{1}k{number}\u{2}");
            store.put(&message("T", 0, body.as_bytes(), &[&key]))
        };
        for number in 0..50 {
            put_keyed(number).unwrap();
        }
        disk.order(Call::Write, path, errno);
        let mut stored = 50;
        let text = loop {
            match put_keyed(stored) {
                Ok(_) => stored += 1,
                Err(error) => break error.to_string(),
            }
            assert!(stored < 2_000, "{path} {errno}: never refused");
        };
        assert!(text.contains(reason) && text.contains(path), "{path} {errno}: {text}");
        assert!(text.contains(&*dir.path().to_string_lossy()), "{text}");
        // What reached its queue is read, also where no window can be mapped any more.
        store.queues.for_each(|queue| (0..2).for_each(|_| queue.unmap_if_idle()));
        let visible = store.max_offset_in_queue("T", 0).0;
        assert!(visible >= 50 && visible <= stored as i64);
        let records = queue_bodies(&store, "T", 0);
        assert_eq!(records.len() as i64, visible, "{path} {errno}");
        assert_eq!(store.query_message("T", "k3", 9, 0, i64::MAX).records.len(), 1);
        disk.forgive();
        store.keep_round(&mut Rounds::new(0));
        assert!(store.is_writeable(), "{:?}", store.refusal_reason());
        put_keyed(stored).unwrap();
        assert_eq!(queue_bodies(&store, "T", 0).len(), stored + 1);
        for number in 0..=stored {
            let found = store.query_message("T", &format!("k{number}"), 9, 0, i64::MAX).records.len();
            assert_eq!(found, 1, "{path} {errno}: k{number}");
        }
        store.keep(0).unwrap();
    }
}

/// A volume that the system has made read-only is noticed before a flush fails, named, and used again when it may be
/// written.
#[test]
fn a_read_only_volume_is_named() {
    let (_dir, disk, store, _faults, _clock) = moody(|_| {});
    put(&store, "T", 0, "before");
    disk.read_only.store(true, Ordering::SeqCst);
    store.keep_round(&mut Rounds::new(0));
    let reason = refused(&store);
    assert!(reason.contains("commitlog is read-only; messages are taken again when it is not"), "{reason}");
    assert_eq!(queue_bodies(&store, "T", 0), ["before"]);
    disk.read_only.store(false, Ordering::SeqCst);
    store.keep_round(&mut Rounds::new(0));
    put(&store, "T", 0, "after");
    assert_eq!(queue_bodies(&store, "T", 0), ["before", "after"]);
}

/// A store on a volume that really is read-only does not start, and says why. The system lets nobody make it so while
/// files of it are mapped; when it is writable again the same files serve.
#[test]
fn a_really_read_only_volume_refuses_the_start() {
    let Some(volume) = Volume::of("size=6m") else { return };
    let root = volume.0.path().join("store");
    let remount = |how: &str| {
        let mut mount = std::process::Command::new("mount");
        mount.args(["-o", how]).arg(volume.0.path()).output().unwrap().status.success()
    };
    let store = open(options(&root));
    put(&store, "T", 0, "x");
    assert!(!remount("remount,ro"), "it is in use");
    put(&store, "T", 0, "y");
    flush::stop_within(&store, u64::MAX);
    let options = (*store.options()).clone();
    drop(store);
    assert!(remount("remount,ro"));
    assert!(Disk.space(&root).unwrap().read_only);
    let refused =
        MessageStore::open(options.clone(), Clock::new(), Faults::default()).unwrap_err().to_string();
    assert!(refused.contains("/store/lock: Read-only file system"), "{refused}");
    assert!(remount("remount,rw"));
    assert_eq!(queue_bodies(&open(options), "T", 0), ["x", "y"]);
}

/// Whatever fails to be flushed, nothing more is taken, flushed or vouched for, even if the disk works again, because the
/// system forgets what it could not write; reads go on. The next start writes it again and has every message.
#[test]
fn a_failed_flush_of_anything_poisons() {
    for part in
        ["commitlog/0", "consumequeue/T/0/0", "consumequeue/T/0", "index/", "checkpoint", "the volume"]
    {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(Moody::default());
        let options = StoreOptions { commit_log_file_bytes: 1 << 20, ..options(dir.path()) };
        recover::write_abort_file(&Disk, &options.abort_file).unwrap();
        let store = open_on(disk.clone(), options.clone(), Clock::new());
        let key = ["KEYS\u{1}k\u{2}"];
        store.put(&message("T", 0, b"first", &key)).unwrap();
        disk.order(Call::Flush, part, EIO);
        let failed = store.flush_commit_log(0).err().or_else(|| store.keep(0).err());
        let failed = failed.unwrap_or_else(|| panic!("{part} was not flushed")).to_string();
        let named = if part == "the volume" { "cannot flush" } else { part };
        assert!(failed.contains(named) && failed.contains("Input/output error"), "{part}: {failed}");
        let vouched = store.checkpoint.safe();
        disk.forgive();
        let reason = refused(&store);
        assert!(reason.contains("a flush failed") && reason.contains(named), "{part}: {reason}");
        assert!(matches!(store.keep(0), Err(Error::Poisoned { .. })), "{part}");
        store.keep_round(&mut Rounds::new(0));
        assert_eq!(queue_bodies(&store, "T", 0), ["first"]);
        store.stop();
        if part != "checkpoint" {
            assert_eq!(store.checkpoint.safe(), vouched, "{part}");
            assert!(vouched.is_none_or(|vouched| vouched == 0), "{part}: {vouched:?}");
        }
        let end = store.max_physical_offset().0;
        drop(store);

        disk.order(Call::Write, "commitlog", EIO);
        let refused = MessageStore::open_on(disk.clone(), options.clone(), Clock::new(), Faults::default());
        assert!(refused.unwrap_err().to_string().contains("Input/output error"), "{part}");
        disk.forgive();
        let store = open_on(disk.clone(), options.clone(), Clock::new());
        let rewritten: Vec<_> = std::mem::take(&mut *disk.rewritten.lock().unwrap());
        assert_eq!(rewritten.len(), 1, "{part}: {rewritten:?}");
        assert_eq!((rewritten[0].1, rewritten[0].2 as i64), (0, end), "{part}");
        assert!(store.flushed_offset().0 == 0, "{part}: it waits for its first flush");
        assert_eq!(queue_bodies(&store, "T", 0), ["first"], "{part}");
        assert_eq!(store.query_message("T", "k", 9, 0, i64::MAX).records.len(), 1, "{part}");
        put(&store, "T", 0, "second");
        let store = reopen_stopped(store);
        assert_eq!(queue_bodies(&store, "T", 0), ["first", "second"], "{part}");
        assert!(disk.rewritten.lock().unwrap().is_empty(), "once is enough");
    }
}

/// The end of a file that was never flushed is flushed before the next is made: if that fails, the store is poisoned, and
/// does not try again.
#[test]
fn a_failed_flush_before_the_next_file_poisons() {
    let (_dir, disk, store, _faults, _clock) = moody(|_| {});
    put(&store, "T", 0, "x");
    disk.order(Call::Flush, "commitlog", EIO);
    let body = "x".repeat(3_000);
    let error = loop {
        if let Err(error) = store.put(&message("T", 0, body.as_bytes(), &[])) {
            break error;
        }
    };
    assert!(
        matches!(error, PutError::CreateMappedFile(_)) && error.to_string().contains("Input/output"),
        "{error}"
    );
    disk.forgive();
    assert!(refused(&store).contains("a flush failed"));
}

/// A queue that cannot be opened to be flushed is no failed flush: it waits for the next round, and until then nothing is
/// vouched for.
#[test]
fn a_queue_that_cannot_be_opened_waits() {
    const EMFILE: i32 = 24;
    let (_dir, disk, store, _faults, _clock) = moody(|_| {});
    for topic in ["A", "B", "C"] {
        put(&store, topic, 0, "x");
    }
    store.flush_commit_log(0).unwrap();
    disk.order(Call::Write, "consumequeue/B", EMFILE);
    let error = store.keep(0).unwrap_err().to_string();
    assert!(error.contains("consumequeue/B") && store.is_writeable(), "{error}");
    assert_eq!(store.checkpoint.safe(), None);
    disk.forgive();
    store.keep(0).unwrap();
    assert_eq!(store.checkpoint.safe(), Some(store.max_physical_offset().0));
    let checkpoint = Checkpoint::open(&store.options().checkpoint_file, &Disk).unwrap();
    assert_eq!(checkpoint.get(Field::Safe), store.max_physical_offset().0);
}
