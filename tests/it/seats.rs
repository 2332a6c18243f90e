//! Starts of brokers that fail or take long, in a process that has more to do.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

use rmq_lite::config::{Choices, Role, Settings};
use rmq_lite::server::Server;

use crate::kit::LIMIT;
use crate::web;

/// A master and a slave whose data lie in this directory.
fn settings(dir: &Path) -> Settings {
    let choices = Choices {
        namesrv_port: Some(0),
        broker_port: Some(0),
        slave_port: Some(0),
        web_port: Some(0),
        data_dir: Some(dir.to_owned()),
        slave: true,
        ..Choices::default()
    };
    Settings::resolve(Role::Everything, choices).unwrap()
}

/// A slave that cannot be served takes the master with it, which is served already: its ports are closed, its files are
/// written, and its store is free for the next start.
#[tokio::test]
async fn a_failed_start_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    // The mark of a store in use cannot be written; that is the first thing a broker does when it is served.
    let mark = dir.path().join("slave").join("abort");
    std::fs::create_dir_all(&mark).unwrap();
    let started = tokio::time::timeout(LIMIT, Server::start(settings(dir.path()))).await.expect("an end");
    let cause = started.err().expect("the slave's failure").to_string();
    assert!(cause.contains("abort"), "{cause}");
    assert!(dir.path().join("broker/config/topics.json").exists());

    std::fs::remove_dir(&mark).unwrap();
    let server = Server::start(settings(dir.path())).await.unwrap();
    assert!(server.broker().is_some() && server.slave().is_some());
    server.stop().await;
}

/// While a broker is built anew everything else of the process goes on, on however few threads.
#[tokio::test]
async fn others_go_on_while_a_broker_is_built() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(settings(dir.path())).await.unwrap();
    let steer = |wish: &'static str| web::post(&server, "/api/v1/replication", wish);
    assert_eq!(steer(r#"{"stop":"master"}"#).await.0, 200);
    // A file that nobody can read before somebody writes it.
    let file = dir.path().join("broker/config/delayOffset.json");
    let _ = std::fs::remove_file(&file);
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let (answered, wait) = channel::<()>();
    let in_vain = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let in_vain = in_vain.clone();
        move || {
            in_vain.store(wait.recv_timeout(LIMIT).is_err(), Ordering::SeqCst);
            std::fs::write(file, r#"{"offsetTable":{}}"#).unwrap();
        }
    });
    let others = async {
        for _ in 0..3 {
            assert_eq!(web::get(&server, "/api/v1/replication").await.0, 200);
        }
        let _ = answered.send(());
    };
    let ((status, body), ()) = tokio::join!(steer(r#"{"start":"master"}"#), others);
    assert_eq!(status, 200, "{body}");
    assert!(!in_vain.load(Ordering::SeqCst), "nothing was answered while the broker was built");
    writer.join().unwrap();
    server.stop().await;
}
