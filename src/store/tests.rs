//! The store as a whole, on real files in a temporary directory. Threads run only where a test starts them, so
//! that what is left undone stays undone.

mod basics;
mod crash;
mod flushing;
pub(crate) mod fragile;
mod moody;
mod power_cut;
mod roll_call;
mod safety;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::wire::message::MessageRecord;

/// Small files, so that tests cross their borders.
fn options(root: &Path) -> StoreOptions {
    StoreOptions {
        commit_log_file_bytes: 16 << 10,
        consume_queue_file_bytes: 400,
        max_hash_slot_num: 47,
        max_index_num: 200,
        ..StoreOptions::at(root)
    }
}

fn open(options: StoreOptions) -> Arc<MessageStore> {
    open_on(Arc::new(Disk), options, Clock::starting_at(1_700_000_000_000))
}

/// Opens a store whose directory no other one uses. A process that another test begins has every open file for a moment,
/// and so the lock of a store that was closed just now.
fn open_on(disk: Arc<dyn FileSystem>, options: StoreOptions, clock: Clock) -> Arc<MessageStore> {
    loop {
        match MessageStore::open_on(disk.clone(), options.clone(), clock.clone(), Faults::default()) {
            Err(Error::Locked { .. }) => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

/// A store in its own directory, which goes with it.
fn fresh() -> (TempDir, Arc<MessageStore>) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    (dir, store)
}

/// Opens a store again as after kill -9 of its process: nothing was stopped, memory was written by the system.
fn reopen_killed(dir: &TempDir, store: Arc<MessageStore>) -> Arc<MessageStore> {
    let options = (*store.options()).clone();
    recover::write_abort_file(&Disk, &options.abort_file).unwrap();
    drop(store);
    let _ = dir;
    open(options)
}

/// Opens a store again as after a stop in order.
fn reopen_stopped(store: Arc<MessageStore>) -> Arc<MessageStore> {
    let options = (*store.options()).clone();
    // The keeper thread's first act.
    store.make_sure().unwrap();
    flush::stop_within(&store, u64::MAX);
    assert!(!options.abort_file.exists());
    drop(store);
    open(options)
}

fn message<'a>(topic: &'a str, queue_id: i32, body: &'a [u8], properties: &'a [&'a str]) -> NewMessage<'a> {
    NewMessage {
        flag: 7,
        born_timestamp: 1,
        born_host: "127.0.0.1:5000".parse().unwrap(),
        properties,
        ..NewMessage::plain(topic, queue_id, "127.0.0.1:10911".parse().unwrap(), body)
    }
}

fn put(store: &MessageStore, topic: &str, queue_id: i32, body: &str) -> Receipt {
    store.put(&message(topic, queue_id, body.as_bytes(), &[])).unwrap()
}

fn all(_: i64) -> bool {
    true
}

fn read(store: &MessageStore, topic: &str, queue_id: i32, offset: i64, max: usize) -> ReadOutcome {
    store.read(topic, queue_id, QueueOffset(offset), &ReadLimits::messages(max), &all, None)
}

/// Bodies of the records that a read returned.
fn bodies(records: &[Bytes]) -> Vec<String> {
    let records = records.iter().flat_map(|piece| MessageRecord::decode_all(piece));
    records.map(|record| String::from_utf8(record.unwrap().body.to_vec()).unwrap()).collect()
}

/// Bodies of a whole queue from its first message to its end.
fn queue_bodies(store: &MessageStore, topic: &str, queue_id: i32) -> Vec<String> {
    let mut found = Vec::new();
    let mut offset = store.min_offset_in_queue(topic, queue_id);
    while offset < store.max_offset_in_queue(topic, queue_id) {
        let outcome = read(store, topic, queue_id, offset.0, 7);
        assert!(outcome.next_begin_offset > offset, "{outcome:?}");
        found.extend(bodies(&outcome.records));
        offset = outcome.next_begin_offset;
    }
    found
}

/// A volume of its own, in memory, which goes with it.
struct Volume(TempDir);

impl Volume {
    /// Mounts one; `None` for who may not.
    fn of(options: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir.path());
        if mount.output().is_ok_and(|done| done.status.success()) {
            return Some(Self(dir));
        }
        let is_strict = std::env::var_os("STRICT").is_some_and(|strict| strict == "1");
        assert!(!is_strict, "only root can mount a volume");
        // Past the capture of what passing tests print.
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        let text = format!("skipped: {test}, because only root can mount a volume\n");
        std::io::stderr().write_all(text.as_bytes()).unwrap();
        None
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).status();
    }
}
