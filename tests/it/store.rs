//! `rmq-lite store` on stores that Apache wrote, and beside a server that runs; old files under a client that reads them
//! slowly.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use bytes::BytesMut;
use rmq_lite::config::Settings;
use rmq_lite::wire::code::{request, response};
use rmq_lite::wire::command::{self, FRAME_BYTES_MAX, frame_length};
use rmq_lite::wire::message::MessageRecord;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::golden::{SIZES, unpack};
use crate::kit::{LIMIT, Rig, pull_request, request as request_of};

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

/// While a store recovers the console's port says how far that is, and then that the server is ready.
#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_is_seen_from_outside() {
    use rmq_lite::server::Server;
    use std::io::{Read, Write};
    fn readyz(port: u16) -> String {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = Settings { web_port: Some(port), ..Settings::for_test() };
    let (told, answers) = std::sync::mpsc::channel();
    let server = Server::start_telling(settings, move |line| {
        let _ = told.send((line.to_owned(), readyz(port)));
    });
    let server = server.await.unwrap();
    let answers: Vec<_> = answers.try_iter().collect();
    assert_eq!(answers.len(), 2, "{answers:?}");
    for ((line, answer), what) in
        answers.iter().zip(["checking messages", "building consume queues and index"])
    {
        assert_eq!(line, &format!("{what}: 0 %, 0 of 0 MB of the log at 0 MB/s"));
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains(line.as_str()), "{answer}");
    }
    let ready = tokio::task::spawn_blocking(move || readyz(port)).await.unwrap();
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    server.stop().await;
}

/// Messages whose pulls no socket's buffers can take: each pull brings eight or nine.
const BIG_MESSAGES: usize = 800;

/// A client that takes little at a time, and has asked for every message.
async fn slow_client(rig: &Rig) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let address = rig.server.endpoints().broker.clone().unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    let mut pulls = BytesMut::new();
    for first in (0..BIG_MESSAGES).step_by(8) {
        let pull = pull_request("T", 0, first as i64, "*", 0);
        pull.encode(first as i32, false, &mut pulls);
    }
    stream.write_all(&pulls).await.unwrap();
    stream
}

/// Mappings of this process of deleted files of this server's log.
fn hanging(rig: &Rig) -> usize {
    let log = rig.server.endpoints().data_dir.join("broker/commitlog");
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains(log.to_str().unwrap()) && line.ends_with("(deleted)")).count()
}

/// Sends the messages, lets a client begin to read them, and lets all files but the last become old and be deleted.
async fn expired_under_a_reader() -> (Rig, TcpStream) {
    let mut settings = Settings::for_test();
    settings.broker.mapped_file_size_commit_log = 1 << 20;
    // At no hour, so that the keeper stays out of it.
    "99".clone_into(&mut settings.broker.delete_when);
    let rig = Rig::with(settings).await;
    for number in 0..BIG_MESSAGES {
        let sent = rig.send("T", 0, &format!("{number:>30000}"), "").await;
        assert_eq!(sent.code, response::SUCCESS, "{:?}", sent.remark);
    }
    let stream = slow_client(&rig).await;
    // It has begun.
    assert_eq!(stream.peek(&mut [0]).await.unwrap(), 1);
    rig.clock.travel(Duration::from_hours(80));
    let files =
        || std::fs::read_dir(rig.server.endpoints().data_dir.join("broker/commitlog")).unwrap().count();
    assert!(files() > 20);
    while files() > 1 {
        let answer = rig.ask(request_of(request::DELETE_EXPIRED_COMMITLOG, &[])).await;
        assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
    }
    (rig, stream)
}

/// A file that a slow client is being sent stays readable after its deletion: what the client was promised comes whole.
/// The offsets it asks for later are behind the queue's new beginning, which it is told, and reads on from there. Then the
/// bytes are free.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_keeps_the_file_it_reads() {
    let (rig, mut stream) = Box::pin(expired_under_a_reader()).await;
    assert!(hanging(&rig) > 0, "the client's answers are slices of the deleted files");
    let (mut read, mut moved, mut next) = (BytesMut::new(), 0, 0);
    for _ in 0..BIG_MESSAGES / 8 {
        let length = loop {
            match frame_length(&read, FRAME_BYTES_MAX).unwrap() {
                Some(length) if read.len() >= length => break length,
                _ => assert!(stream.read_buf(&mut read).await.unwrap() > 0, "the server has hung up"),
            }
        };
        let answer = command::Command::decode(read.split_to(length)).unwrap();
        if answer.code == response::PULL_OFFSET_MOVED {
            moved += 1;
            next = answer.fields.get("nextBeginOffset").unwrap().parse().unwrap();
            assert_eq!(answer.fields.get("minOffset"), answer.fields.get("nextBeginOffset"));
            continue;
        }
        assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
        for (index, record) in MessageRecord::decode_all(&answer.body).enumerate() {
            let record = record.unwrap();
            let number = answer.opaque as usize + index;
            assert_eq!(
                (record.queue_offset, record.body),
                (number as i64, format!("{number:>30000}").as_bytes())
            );
            record.check_body().unwrap();
        }
    }
    assert!(moved > 0, "some pulls were served after the deletion");
    let again = rig.ask(pull_request("T", 0, next, "*", 0)).await;
    assert_eq!((again.code, next > 700), (response::SUCCESS, true), "from {next} on it goes on");
    let limit = rig.clock.elapsed_ns() + LIMIT.as_nanos() as u64;
    while hanging(&rig) > 0 {
        assert!(rig.clock.elapsed_ns() < limit, "{} files hang", hanging(&rig));
        tokio::task::yield_now().await;
    }
    rig.server.stop().await;
}

/// A client that reads nothing any more holds a deleted file until its connection ends, not longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_frees_the_file() {
    let (rig, stream) = Box::pin(expired_under_a_reader()).await;
    assert!(hanging(&rig) > 0);
    drop(stream);
    let limit = rig.clock.elapsed_ns() + LIMIT.as_nanos() as u64;
    while hanging(&rig) > 0 {
        assert!(rig.clock.elapsed_ns() < limit, "{} files hang", hanging(&rig));
        tokio::task::yield_now().await;
    }
    rig.server.stop().await;
}
