//! What administrators change over the wire, and what is left of it after a restart of the server or of its broker.

use std::path::Path;

use rmq_lite::config::{Choices, Role, Settings};
use rmq_lite::wire::code::{request, response};

use crate::kit::{LIMIT, Rig, request as ask};
use crate::web;

fn choices(data: &Path) -> Choices {
    Choices {
        data_dir: Some(data.to_owned()),
        namesrv_port: Some(0),
        broker_port: Some(0),
        web_port: Some(0),
        ..Choices::default()
    }
}

async fn start(choices: Choices) -> Rig {
    Rig::with(Settings::resolve(Role::Everything, choices).unwrap()).await
}

async fn update_broker(rig: &Rig, text: &str) -> String {
    let answer = rig.ask(ask(request::UPDATE_BROKER_CONFIG, &[]).with_body(text.to_owned())).await;
    assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
    answer.remark.map(|remark| remark.to_string()).unwrap_or_default()
}

async fn update_namesrv(rig: &Rig, text: &str) -> i32 {
    let update = ask(request::UPDATE_NAMESRV_CONFIG, &[]).with_body(text.to_owned());
    rig.namesrv.call(update, LIMIT).await.unwrap().code
}

/// Without `-c`, a live change and one that waits for a restart both outlive the server.
#[tokio::test]
async fn changes_outlive_the_server() {
    let data = tempfile::tempdir().unwrap();
    let rig = start(choices(data.path())).await;
    let remark = update_broker(&rig, "fileReservedTime=7\nbrokerClusterName=later\n").await;
    assert_eq!(remark, "counts after a restart: brokerClusterName");
    assert_eq!(update_namesrv(&rig, "orderMessageEnable=true").await, response::SUCCESS);
    assert_eq!(rig.server.broker().unwrap().cluster(), "DefaultCluster");
    rig.server.stop().await;

    let rig = start(choices(data.path())).await;
    assert_eq!(rig.server.broker().unwrap().cluster(), "later");
    let config = rig.ask(ask(request::GET_BROKER_CONFIG, &[])).await;
    assert!(String::from_utf8_lossy(&config.body).contains("\nfileReservedTime=7\n"));
    assert!(rig.server.name_server().unwrap().keys().order_message_enable);
    rig.server.stop().await;
}

/// With `-c` the broker and the NameServer of one process change their keys in that file, and leave the rest of it alone.
#[tokio::test]
async fn both_change_the_file_that_was_given() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("mine.conf");
    std::fs::write(&file, "# mine\nenableTopicList=false\nfileReservedTime=9\n").unwrap();
    let with_file = || Choices { config_file: Some(file.clone()), ..choices(&data.path().join("data")) };
    let rig = start(Choices { set: vec![("maxMessageSize".into(), "5000".into())], ..with_file() }).await;
    assert_eq!(update_broker(&rig, "fileReservedTime=7\ntraceOn=false").await, "");
    assert_eq!(update_namesrv(&rig, "orderMessageEnable=true").await, response::SUCCESS);
    assert_eq!(
        update_namesrv(&rig, "serverSocketBacklog=9").await,
        response::SYSTEM_ERROR,
        "the broker's here"
    );
    let text = "# mine\nenableTopicList=false\nfileReservedTime=7\ntraceOn=false\norderMessageEnable=true\n";
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    rig.server.stop().await;

    let rig = start(with_file()).await;
    let namesrv = rig.server.name_server().unwrap().keys();
    assert!(namesrv.order_message_enable && !namesrv.enable_topic_list);
    rig.server.stop().await;
}

/// `brokerPermission` is in the routes as soon as the NameServer has heard of it.
#[tokio::test]
async fn the_brokers_permission_is_in_the_routes() {
    let rig = start(Choices { ephemeral: true, data_dir: None, ..choices(Path::new("")) }).await;
    assert_eq!(rig.send("T", 0, "body", "").await.code, response::SUCCESS);
    for permission in [4, 2, 6] {
        update_broker(&rig, &format!("brokerPermission={permission}")).await;
        assert!(rig.server.broker().unwrap().registration_settled(LIMIT).await);
        let route = rig.namesrv.call(ask(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", "T")]), LIMIT).await;
        let text = String::from_utf8_lossy(&route.unwrap().body).into_owned();
        assert!(text.contains(&format!("\"perm\":{permission},")), "{text}");
    }
    rig.server.stop().await;
}

/// The five paths of a store are where they were said to be, and nothing is in the usual places.
#[tokio::test]
async fn five_places() {
    let data = tempfile::tempdir().unwrap();
    let keys =
        ["storePathCommitLog", "storePathConsumeQueue", "storePathIndex", "storeCheckpoint", "abortFile"];
    let place = |key: &str| data.path().join("places").join(key).join(key);
    let set: Vec<_> = keys.iter().map(|key| ((*key).to_owned(), place(key).display().to_string())).collect();
    for sent in 1..=2 {
        let rig = start(Choices { set: set.clone(), ..choices(&data.path().join("data")) }).await;
        assert_eq!(rig.send("T", 0, "body", "KEYS\u{1}k\u{2}").await.code, response::SUCCESS);
        for key in keys {
            assert!(place(key).exists(), "{key}");
        }
        for usual in ["commitlog", "consumequeue", "index", "checkpoint", "abort"] {
            assert!(!data.path().join("data/broker").join(usual).exists(), "{usual}");
        }
        let offset = ask(request::GET_MAX_OFFSET, &[("topic", "T"), ("queueId", "0")]);
        assert_eq!(
            rig.ask(offset).await.fields.get("offset"),
            Some(&*sent.to_string()),
            "after a start, too"
        );
        rig.server.stop().await;
        assert!(!place("abortFile").exists());
    }
}

/// A master that is stopped and started in its running process takes up what waited for that.
#[tokio::test]
async fn a_seat_keeps_what_waits() {
    let data = tempfile::tempdir().unwrap();
    let rig = start(choices(data.path())).await;
    update_broker(&rig, "brokerClusterName=later\nfileReservedTime=7").await;
    for wish in [r#"{"stop":"master"}"#, r#"{"start":"master"}"#] {
        let (status, answer) = web::post(&rig.server, "/api/v1/replication", wish).await;
        assert_eq!(status, 200, "{answer}");
    }
    assert_eq!(rig.server.broker().unwrap().cluster(), "later");
    let client = rig.client().await;
    let config = client.call(ask(request::GET_BROKER_CONFIG, &[]), LIMIT).await.unwrap();
    assert!(String::from_utf8_lossy(&config.body).contains("\nfileReservedTime=7\n"));
    rig.server.stop().await;
}
