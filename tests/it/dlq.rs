//! `rmq-lite dlq` against a running server: letters are listed, shown, sent again without a consumer, set aside.

use std::io::BufRead as _;

use rmq_lite::config::Settings;
use rmq_lite::wire::code::request as code;
use rmq_lite::wire::message::MessageRecord;
use serde_json::Value;

use crate::kit::{Rig, pull_request, request};
use crate::web;

/// Runs the program and returns whether it succeeded and what it printed.
async fn run(rig: &Rig, words: &[&str]) -> (bool, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rmq-lite"));
    command.arg("dlq").args(words).args(["-n", rig.server.namesrv()]);
    // The server runs on this thread; it must not wait for the program.
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8(text).unwrap())
}

async fn json(rig: &Rig, words: &[&str]) -> Value {
    let (well, text) = run(rig, words).await;
    assert!(well, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Sends messages and lets a group give them up at once.
async fn make_letters(rig: &Rig, topic: &str, group: &str, bodies: &[&str]) {
    for body in bodies {
        let properties =
            format!("TAGS\u{1}a\u{2}KEYS\u{1}k\u{2}UNIQ_KEY\u{1}ID{body}\u{2}colour\u{1}blue\u{2}");
        let sent = rig.send(topic, 0, body, &properties).await;
        assert_eq!(sent.code, 0, "{:?}", sent.remark);
        let offset = i64::from_str_radix(&sent.fields.get("msgId").unwrap()[16..], 16).unwrap().to_string();
        let back = [("offset", offset.as_str()), ("group", group), ("delayLevel", "-1")];
        let answer = rig.ask(request(code::CONSUMER_SEND_MSG_BACK, &back)).await;
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
    }
}

async fn bodies(rig: &Rig, topic: &str) -> Vec<String> {
    let mut all = Vec::new();
    for queue_id in 0..4 {
        let pulled = rig.ask(pull_request(topic, queue_id, 0, "*", 0)).await;
        let records = MessageRecord::decode_all(&pulled.body);
        all.extend(records.map(|record| String::from_utf8(record.unwrap().body.to_vec()).unwrap()));
    }
    all.sort();
    all
}

/// The way of letters: open, sent again once with their id and properties, not open any more, and shown with --all.
#[tokio::test]
async fn sent_again() {
    let rig = Rig::start().await;
    assert_eq!(json(&rig, &["list", "--json"]).await, serde_json::json!([]));
    make_letters(&rig, "Orders", "g", &["one", "two", "three"]).await;
    let listed = json(&rig, &["list", "--json"]).await;
    let wanted = serde_json::json!([{"group": "g", "topic": "%DLQ%g", "messages": 3, "open": 3}]);
    assert_eq!(listed, wanted);
    let shown = json(&rig, &["show", "g", "--json"]).await;
    assert_eq!(shown.as_array().unwrap().len(), 3);
    for (name, value) in [("body", "one"), ("msgId", "IDone"), ("originTopic", "Orders")] {
        assert_eq!(shown[0][name], value, "{shown}");
    }
    assert_eq!((&shown[0]["reconsumeTimes"], &shown[0]["properties"]["colour"]), (&1.into(), &"blue".into()));

    let sent = json(&rig, &["resend", "g", "--max", "2", "--json"]).await;
    assert_eq!(sent["resent"], 2);
    assert_eq!(json(&rig, &["list", "--json"]).await[0]["open"], 1);
    let (_, text) = run(&rig, &["resend", "g"]).await;
    assert_eq!(text, "1 letters were sent again\n");
    assert_eq!(json(&rig, &["resend", "g", "--json"]).await["resent"], 0);
    assert_eq!(bodies(&rig, "Orders").await, ["one", "one", "three", "three", "two", "two"]);
    let pulled = rig.ask(pull_request("Orders", 0, 0, "*", 0)).await;
    let records: Vec<_> = MessageRecord::decode_all(&pulled.body).map(Result::unwrap).collect();
    for record in records {
        assert_eq!((record.reconsume_times, record.property("TAGS")), (0, Some("a")));
        assert!(record.property("UNIQ_KEY").unwrap().starts_with("ID"));
        assert_eq!((record.property("RETRY_TOPIC"), record.property("DELAY")), (None, None));
    }

    let (_, text) = run(&rig, &["show", "g"]).await;
    assert_eq!(text, "no letter is open; --all shows those dealt with, too\n");
    assert_eq!(json(&rig, &["show", "g", "--all", "--json"]).await.as_array().unwrap().len(), 3);
    assert_eq!(json(&rig, &["resend", "g", "--offset", "1", "--to", "ByHand", "--json"]).await["resent"], 1);
    assert_eq!(bodies(&rig, "ByHand").await, ["two"]);
    rig.server.stop().await;
}

/// Set aside letters are still there, deleted ones are not; what is written out is one object a line.
#[tokio::test]
async fn exported_and_purged() {
    let rig = Rig::start().await;
    make_letters(&rig, "Orders", "g", &["one", "two"]).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let (well, text) = run(&rig, &["export", "g", "--output", path]).await;
    assert!(well && text.starts_with("2 letters are in "), "{text}");
    let lines = std::fs::read_to_string(path).unwrap();
    let bodies: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["body"].take()).collect();
    assert_eq!(bodies, ["one", "two"]);
    assert_eq!(json(&rig, &["purge", "g", "--json"]).await["purged"], 2);
    let listed = json(&rig, &["list", "--json"]).await;
    assert_eq!((&listed[0]["messages"], &listed[0]["open"]), (&2.into(), &0.into()));
    make_letters(&rig, "Orders", "g", &["three"]).await;
    assert_eq!(json(&rig, &["list", "--json"]).await[0]["open"], 1);
    assert_eq!(json(&rig, &["purge", "g", "--delete", "--json"]).await["purged"], 3);
    assert_eq!(json(&rig, &["list", "--json"]).await, serde_json::json!([]));
    make_letters(&rig, "Orders", "g", &["four"]).await;
    assert_eq!(json(&rig, &["show", "g", "--json"]).await[0]["body"], "four");
    rig.server.stop().await;
}

/// Over HTTP letters are sent again, too, and the command knows of it; what cannot be sent again is said and stays open.
#[tokio::test]
async fn sent_again_over_http() {
    let rig = Rig::with(Settings { web_port: Some(0), ..Settings::for_test() }).await;
    let resend = async |group: &str, wish: &str| {
        let (status, text) =
            web::post(&rig.server, &format!("/api/v1/dead-letters/{group}/resend"), wish).await;
        (status, serde_json::from_str::<Value>(&text).unwrap())
    };
    make_letters(&rig, "Orders", "g", &["one", "two", "three"]).await;
    let open = async || web::json(&rig.server, "/api/v1/groups/g").await["dead_letters"].as_i64();
    assert_eq!(open().await, Some(3));
    let wanted = serde_json::json!({"group": "g", "resent": 2, "open": 1});
    assert_eq!(resend("g", r#"{"max":2}"#).await, (200, wanted));
    assert_eq!(open().await, Some(1), "the others were sent again");
    assert_eq!(json(&rig, &["list", "--json"]).await[0]["open"], 1);
    assert_eq!(json(&rig, &["resend", "g", "--json"]).await["resent"], 1);
    assert_eq!(resend("g", "{}").await.1, serde_json::json!({"group": "g", "resent": 0, "open": 0}));
    assert_eq!(bodies(&rig, "Orders").await, ["one", "one", "three", "three", "two", "two"]);
    for queue_id in 0..4 {
        let pulled = rig.ask(pull_request("Orders", queue_id, 0, "*", 0)).await;
        for record in MessageRecord::decode_all(&pulled.body).map(Result::unwrap) {
            assert_eq!((record.reconsume_times, record.property("TAGS")), (0, Some("a")));
            assert!(record.property("UNIQ_KEY").unwrap().starts_with("ID"));
            assert_eq!((record.property("RETRY_TOPIC"), record.property("DELAY")), (None, None));
            assert_eq!(record.property("MSG_REGION"), Some("DefaultRegion"));
        }
    }

    // A letter that somebody put there by hand tells no topic.
    assert_eq!(rig.send("%DLQ%g", 0, "stray", "").await.code, 0);
    let (status, stuck) = resend("g", "{}").await;
    assert_eq!((status, &stuck["resent"], &stuck["open"]), (200, &0.into(), &1.into()));
    assert!(
        stuck["problem"].as_str().unwrap().contains("letter 3 of %DLQ%g does not say where it came from")
    );
    for (group, wish, status) in
        [("nobody", "{}", 404), ("g", r#"{"max":-1}"#, 400), ("g", r#"{"all":1}"#, 400)]
    {
        assert_eq!(resend(group, wish).await.0, status, "{group} {wish}");
    }
    rig.server.stop().await;
}

/// What cannot be done is one line that says why, and nothing has changed.
#[tokio::test]
async fn refusals() {
    let rig = Rig::start().await;
    make_letters(&rig, "Orders", "g", &["one"]).await;
    for (words, said) in [
        (&["show", "nobody"][..], "group nobody has no dead letters: nobody knows a topic %DLQ%nobody"),
        (&["resend", "g", "--offset", "7"], "there is no letter 7; those of %DLQ%g go from 0 to before 1"),
        (&["resend", "g", "--to", "SCHEDULE_TOPIC_XXXX"], "Sending message to topic[SCHEDULE_TOPIC_XXXX]"),
        (&["resend", "g", "--broker", "other"], "group g has no dead letters"),
    ] {
        let (well, text) = run(&rig, words).await;
        assert!(!well && text.contains(said), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    assert_eq!(json(&rig, &["list", "--json"]).await[0]["open"], 1);
    rig.server.stop().await;
}

/// Nobody need be told the ports of the server that runs here: an administrator's command finds it by its data directory.
#[test]
fn finds_the_server_that_runs_here() {
    let dir = tempfile::tempdir().unwrap();
    let program = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rmq-lite"));
        command.env("RMQ_LITE_DATA_DIR", dir.path()).env_remove("NAMESRV_ADDR");
        command
    };
    let start = ["start", "--json", "--headless", "--namesrv-port", "0", "--broker-port", "0"];
    let mut server = program().args(start).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut ready = String::new();
    std::io::BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut ready).unwrap();
    let listed = program().args(["dlq", "list", "--json"]).output().unwrap();
    let stopped = program().arg("stop").output().unwrap();
    assert!(server.wait().unwrap().success(), "{ready}");
    assert_eq!(
        String::from_utf8_lossy(&listed.stdout),
        "[]\n",
        "{}",
        String::from_utf8_lossy(&listed.stderr)
    );
    assert!(stopped.status.success());
}
