//! The table of topics: created, asked for, changed, deleted, saved and read again.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::broker::name;
use crate::clock::Clock;
use crate::wire::body::topic::{TopicConfig, TopicConfigSerializeWrapper};

const NOW_MS: i64 = 1_700_000_000_000;

fn options(folder: &Path) -> TopicOptions {
    TopicOptions {
        path: folder.join("config/topics.json"),
        cluster: "C1".into(),
        broker_name: "broker-a".into(),
        auto_create: true,
        default_queue_nums: 8,
        cluster_topic: true,
        broker_topic: true,
        trace_topic: None,
        revive_queue_nums: 8,
        timer: true,
    }
}

fn table(folder: &Path) -> TopicTable {
    TopicTable::load(options(folder), Clock::starting_at(NOW_MS)).unwrap()
}

fn wanted(topic: &str, attributes: &str) -> TopicConfig {
    TopicConfig { attributes: parse_changes(attributes).unwrap(), ..TopicConfig::new(topic, 4, 6) }
}

/// A fresh broker has the topics that a fresh Apache 5.3.3 has, with their queues and permissions.
#[tokio::test]
async fn a_fresh_broker() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    let shape: Vec<_> =
        table.all().iter().map(|t| (t.topic_name.clone(), t.write_queue_nums, t.perm)).collect();
    let expected = [
        ("BenchmarkTest", 1024, 6),
        ("C1", 16, 7),
        ("C1_REPLY_TOPIC", 1, 6),
        ("OFFSET_MOVED_EVENT", 1, 6),
        ("RMQ_SYS_TRANS_HALF_TOPIC", 1, 6),
        ("RMQ_SYS_TRANS_OP_HALF_TOPIC", 1, 6),
        ("SCHEDULE_TOPIC_XXXX", 18, 6),
        ("SELF_TEST_TOPIC", 1, 6),
        ("TBW102", 8, 7),
        ("broker-a", 1, 7),
        ("rmq_sys_REVIVE_LOG_C1", 8, 6),
        ("rmq_sys_SYNC_BROKER_MEMBER_broker-a", 1, 1),
        ("rmq_sys_wheel_timer", 1, 6),
    ];
    assert_eq!(shape, expected.map(|(topic, queues, perm)| (topic.to_owned(), queues, perm)));
    assert!(expected.iter().all(|(topic, ..)| table.is_system(topic)));
    assert!(!table.is_system("T"));
}

/// A send creates what its default topic passes on: fewer queues than either side wants, no right to inherit.
#[tokio::test]
async fn created_by_sending() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    let created = table.create_in_send("TBW102", "T", 4).unwrap();
    assert_eq!((created.read_queue_nums, created.write_queue_nums, created.perm), (4, 4, 6));
    assert_eq!(table.create_in_send("TBW102", "T", 2).unwrap(), created, "it is there already");
    assert_eq!(table.create_in_send("TBW102", "Many", i32::MAX).unwrap().write_queue_nums, 8);
    assert_eq!(table.create_in_send("TBW102", "None", -5).unwrap().write_queue_nums, 0);
    assert_eq!(table.create_in_send("C1", "FromCluster", 100).unwrap().write_queue_nums, 16);
    for (default, topic) in [("unknown", "U"), ("T", "U"), ("", "U"), ("TBW102", "../U"), ("TBW102", "")] {
        assert_eq!(table.create_in_send(default, topic, 4), None, "{default} {topic}");
    }
    assert_eq!(table.create_in_send("TBW102", &"x".repeat(128), 4), None);
    table.set_auto_create(false);
    assert_eq!(table.create_in_send("TBW102", "Late", 4), None);
    assert!(table.create_in_send("C1", "StillFromCluster", 4).is_some());
}

/// The broker's own topics are made once; their order flag follows what is asked.
#[tokio::test]
async fn internal_topics() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    let first = table.create_internal("%RETRY%g", 1, 6, false).unwrap();
    let version = table.data_version();
    assert!(Arc::ptr_eq(&first, &table.create_internal("%RETRY%g", 1, 6, false).unwrap()));
    assert_eq!(table.data_version(), version);
    assert!(table.create_internal("%RETRY%g", 1, 6, true).unwrap().order);
    assert_ne!(table.data_version(), version);
    assert_eq!(table.create_internal("%RETRY%../g", 1, 6, false), None);
    table.set_ordered(["%RETRY%g", "unknown"]);
}

/// What is saved is there after a restart, in a file that an Apache broker reads; nothing is written twice.
#[tokio::test]
async fn survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = table(folder.path());
    assert!(first.save().unwrap(), "a fresh table is written");
    assert!(!first.save().unwrap());
    first.update(wanted("T", "+message.type=FIFO")).unwrap();
    assert!(first.save().unwrap());
    let text = std::fs::read_to_string(folder.path().join("config/topics.json")).unwrap();
    assert!(
        text.contains("\t\t\"T\":{\n\t\t\t\"attributes\":{\n\t\t\t\t\"message.type\":\"FIFO\"\n"),
        "{text}"
    );
    let second = table(folder.path());
    assert_eq!(second.snapshot(), first.snapshot());
    assert!(!second.save().unwrap());
}

/// Names that could leave the store's directory are passed over when a file has them.
#[tokio::test]
async fn illegal_names_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config/topics.json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let text =
        r#"{"topicConfigTable":{"../../x":{"topicName":"../../x"},"Good":{"topicName":"Other","perm":4}}}"#;
    std::fs::write(path, text).unwrap();
    let table = table(folder.path());
    assert_eq!(table.get("../../x"), None);
    assert_eq!(table.get("Good").unwrap().topic_name, "Good");
}

/// An administrator's change is checked whole, idempotent, and told once.
#[tokio::test]
async fn administered() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let listener = told.clone();
    table.on_change(move |change| {
        listener.lock().unwrap().push(match change {
            Change::Put(config) => format!("+{}", config.topic_name),
            Change::Deleted(topic) => format!("-{topic}"),
        });
    });
    assert!(table.update(wanted("T", "+message.type=FIFO")).unwrap());
    let version = table.data_version();
    assert!(!table.update(wanted("T", "+message.type=FIFO")).unwrap(), "nothing is different");
    assert_eq!(table.data_version(), version);
    assert!(table.update(wanted("T", "-message.type")).unwrap());
    assert!(table.get("T").unwrap().attributes.is_empty());
    for (config, problem) in [
        (wanted("", ""), "The specified topic is blank."),
        (TopicConfig::new("T", -1, 6), "readQueueNums must be between 0 and 16384, not -1"),
        (TopicConfig::new("T", i32::MAX, 6), "readQueueNums must be between 0 and 16384, not 2147483647"),
        (TopicConfig::new("T", 4, 64), "perm must be made of 1, 2, 4 and 8, not 64"),
        (
            wanted("New", "-message.type"),
            "only add attribute is supported while creating topic. key: message.type",
        ),
    ] {
        assert_eq!(table.update(config).unwrap_err(), problem);
    }
    let half_bad = vec![TopicConfig::new("A", 1, 6), TopicConfig::new("B", -1, 6)];
    assert!(table.update_all(half_bad).is_err());
    assert_eq!(table.get("A"), None, "all or none");
    assert_eq!(table.delete("T").unwrap().topic_name, "T");
    assert_eq!(table.delete("T"), None);
    assert_eq!(*told.lock().unwrap(), ["+T", "+T", "-T"]);
}

/// A topic that was only asked for is in no list and no file, and goes after a minute.
#[tokio::test]
async fn provisional_topics_vanish() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::starting_at(NOW_MS);
    let table = TopicTable::load(options(folder.path()), clock.clone()).unwrap();
    let version = table.data_version();
    assert_eq!(table.provisional("Typo", 4).unwrap().write_queue_nums, 4);
    assert!(table.is_provisional("Typo") && table.get("Typo").is_some());
    assert!(table.all().iter().all(|config| config.topic_name != "Typo"));
    assert!(!table.snapshot().topic_config_table.contains_key("Typo"));
    assert_eq!(table.data_version(), version);
    clock.travel(Duration::from_secs(59));
    assert!(table.expire_provisional().is_empty());
    clock.travel(Duration::from_secs(1));
    let held = table.get("Typo");
    assert!(table.expire_provisional().is_empty(), "somebody is about to use it");
    drop(held);
    assert_eq!(table.expire_provisional(), ["Typo"]);
    assert_eq!(table.get("Typo"), None);
}

/// Its first use makes it real, whichever use that is.
#[tokio::test]
async fn provisional_topics_become_real() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    for topic in ["Sent", "Ordered", "Administered", "%RETRY%g"] {
        table.provisional(topic, 1).unwrap();
    }
    table.confirm("Sent");
    table.confirm("unknown");
    assert_eq!(table.create_in_send("TBW102", "Ordered", 4).unwrap().write_queue_nums, 1);
    table.update(wanted("Administered", "+message.type=FIFO")).unwrap();
    table.create_internal("%RETRY%g", 1, 6, false).unwrap();
    let names: Vec<String> = table.snapshot().topic_config_table.into_keys().collect();
    for topic in ["Sent", "Ordered", "Administered", "%RETRY%g"] {
        assert!(!table.is_provisional(topic) && names.iter().any(|name| name == topic), "{topic}");
    }
}

/// Deleting and then looking says "not found"; so do the system's, illegal and too many names.
#[tokio::test]
async fn names_that_asking_does_not_create() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::starting_at(NOW_MS);
    let table = TopicTable::load(options(folder.path()), clock.clone()).unwrap();
    table.create_in_send("TBW102", "Gone", 4).unwrap();
    table.delete("Gone");
    for topic in ["Gone", "rmq_sys_x", "TRANS_CHECK_MAX_TIME_TOPIC", "%DLQ%g", "../x", "", " "] {
        assert_eq!(table.provisional(topic, 4), None, "{topic}");
    }
    clock.travel(Duration::from_secs(301));
    assert!(table.provisional("Gone", 4).is_some(), "minutes later it is a name like any other");
    for number in 0..2_000 {
        table.provisional(&format!("t{number}"), 4);
    }
    assert_eq!(table.provisional("one-too-many", 4), None);
    table.set_auto_create(false);
    assert_eq!(table.provisional("Strict", 4), None);
    assert!(table.provisional(name::BENCHMARK_TOPIC, 4).is_some(), "what exists is found");
}

/// A slave takes its master's table whole: attributes as they are, and what the master lacks goes.
#[tokio::test]
async fn replaced_by_a_masters() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    table.create_in_send("TBW102", "OnlyHere", 4).unwrap();
    let mut master = TopicConfigSerializeWrapper::default();
    master.data_version.counter = 77;
    let mut config = TopicConfig::new("There", 4, 6);
    config.attributes.insert("message.type".into(), "FIFO".into());
    master.topic_config_table.insert("There".into(), config.clone());
    master.topic_config_table.insert("../evil".into(), config);
    table.replace(master);
    assert_eq!(table.data_version().counter, 77);
    let names: Vec<_> = table.all().iter().map(|config| config.topic_name.clone()).collect();
    assert_eq!(names, ["There"]);
    assert_eq!(table.get("There").unwrap().attributes["message.type"], "FIFO");
}
