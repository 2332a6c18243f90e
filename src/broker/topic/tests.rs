//! The table of topics: created, asked for, changed, deleted, saved and read again.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::broker::kit::{Kit, refusal, text};
use crate::broker::name;
use crate::clock::Clock;
use crate::store::QueueOffset;
use crate::wire::body::topic::{TopicConfig, TopicConfigSerializeWrapper};
use crate::wire::code::{request, response};

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

/// However topics come, change and go between two saves, the file is the table, printed as a whole.
#[tokio::test]
async fn the_file_is_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    let saved = || {
        table.save().unwrap();
        let text = std::fs::read_to_string(folder.path().join("config/topics.json")).unwrap();
        assert_eq!(text, crate::wire::fastjson::to_string_pretty(&table.snapshot()));
        text
    };
    saved();
    table.update(wanted("A", "+message.type=FIFO")).unwrap();
    table.create_in_send("TBW102", "B", 4).unwrap();
    table.provisional("C", 4).unwrap();
    assert!(!saved().contains("\"C\""), "nobody has used it");
    table.confirm("C");
    table.update(wanted("A", "-message.type")).unwrap();
    table.delete("B").unwrap();
    let text = saved();
    assert!(text.contains("\"C\"") && !text.contains("\"B\"") && !text.contains("FIFO"), "{text}");
    table.create_in_send("TBW102", "D", 4).unwrap();
    table.delete("D").unwrap();
    assert!(!saved().contains("\"D\""));
    let mut masters = table.snapshot();
    masters.topic_config_table.remove("A");
    masters.topic_config_table.insert("E".to_owned(), TopicConfig::new("E", 1, 6));
    table.replace(masters);
    let text = saved();
    assert!(text.contains("\"E\"") && !text.contains("\"A\""), "{text}");
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

const NEW: [(&str, &str); 6] = [
    ("topic", "T"),
    ("defaultTopic", "TBW102"),
    ("readQueueNums", "2"),
    ("writeQueueNums", "2"),
    ("perm", "6"),
    ("topicFilterType", "SINGLE_TAG"),
];

fn with(field: (&'static str, &'static str)) -> Vec<(&'static str, &'static str)> {
    let mut fields = NEW.to_vec();
    fields.retain(|(name, _)| *name != field.0);
    fields.push(field);
    fields
}

/// The first message of a topic is acknowledged when the topic's file names it, also when asking for the route came first.
#[tokio::test]
async fn saved_before_the_first_message_is_acknowledged() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    let is_saved = |topic: &str| {
        let text = std::fs::read_to_string(kit.broker.config_dir.join("topics.json")).unwrap();
        text.contains(&format!("\"{topic}\":{{"))
    };
    assert_eq!(client.send_message("Single", 0, "a", "").await.code, 0);
    assert!(is_saved("Single"));

    kit.broker.topics.provisional("Seen", 4).unwrap();
    assert_eq!(client.send_message("Seen", 0, "a", "").await.code, 0);
    assert!(is_saved("Seen"));

    let mut batch = Vec::new();
    for number in [23, 0, 0, 0, 1_i32] {
        batch.extend_from_slice(&number.to_be_bytes());
    }
    batch.extend_from_slice(b"a\0\0");
    let fields = [
        ("a", "pg"),
        ("b", "Batch"),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "0"),
        ("f", "0"),
        ("g", "5"),
        ("h", "0"),
        ("m", "true"),
    ];
    let answer = client.call(request::SEND_BATCH_MESSAGE, &fields, batch).await;
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    assert!(is_saved("Batch"));
}

/// A created topic is there at once, with all its queues, in every form in which one can look for it.
#[tokio::test]
async fn created_by_request() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    assert_eq!(client.call(request::UPDATE_AND_CREATE_TOPIC, &NEW, "").await.code, 0);
    let stats = client.call(request::GET_TOPIC_STATS_INFO, &[("topic", "T")], "").await;
    assert_eq!(
        text(&stats),
        r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"T"}:{"lastUpdateTimestamp":0,"maxOffset":0,"minOffset":0},{"brokerName":"b","queueId":1,"topic":"T"}:{"lastUpdateTimestamp":0,"maxOffset":0,"minOffset":0}},"topicPutTps":0.0}"#
    );
    kit.put("T", 1, &["a", "b"], "");
    let stats = client.call(request::GET_TOPIC_STATS_INFO, &[("topic", "T")], "").await;
    let last_ms = kit.broker.store.store_timestamp_at("T", 1, QueueOffset(1)).unwrap();
    assert!(
        text(&stats).contains(&format!(
            r#""lastUpdateTimestamp":{last_ms},"maxOffset":2,"minOffset":0}}}},"topicPutTps":0."#
        )),
        "{}",
        text(&stats)
    );
    let config = client.call(request::GET_TOPIC_CONFIG, &[("topic", "T")], "").await;
    assert_eq!(
        text(&config),
        r#"{"attributes":{},"order":false,"perm":6,"readQueueNums":2,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":2}"#
    );
    let all = client.call(request::GET_ALL_TOPIC_CONFIG, &[], "").await;
    assert_eq!(all.fields.get("totalTopicNum"), Some("14"));
    assert!(text(&all).contains(r#""topicName":"T""#) && text(&all).contains(r#""mappingDataVersion""#));
    let file = kit.broker.config_dir.join("topics.json");
    assert!(std::fs::read_to_string(file).unwrap().contains("\"T\":{"), "it is on the disk when answered");
}

/// What no topic can be is refused with the words that tools show, and leaves nothing behind.
#[tokio::test]
async fn refused_by_request() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    let version = kit.broker.topics.data_version();
    let illegal = "The specified topic contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$";
    for (field, code, remark) in [
        (("topic", ""), 1, "the request's field topic is missing"),
        (("topic", " "), 29, "The specified topic is blank."),
        (("topic", "../T"), 29, illegal),
        (("topic", "TBW102"), 29, "The topic[TBW102] is conflict with system topic."),
        (("topic", "C"), 29, "The topic[C] is conflict with system topic."),
        (("topic", "rmq_sys_x"), 29, "The topic[rmq_sys_x] is conflict with system topic."),
        (("readQueueNums", "99999999"), 1, "readQueueNums must be between 0 and 16384, not 99999999"),
        (
            ("readQueueNums", "many"),
            1,
            "the request's field readQueueNums must be a 32-bit number, not 'many'",
        ),
        (("perm", "-1"), 1, "perm must be made of 1, 2, 4 and 8, not -1"),
        (("topicFilterType", "NO_TAG"), 29, "topicFilterType NO_TAG is unknown"),
        (("attributes", "+message.type=MIXED"), 29, "MIXED message type is not supported."),
        (("attributes", "+x=1"), 1, "unsupported key: x"),
        (("attributes", "nonsense"), 1, "delete attribute format is wrong: nonsense"),
    ] {
        let answer = client.call(request::UPDATE_AND_CREATE_TOPIC, &with(field), "").await;
        if field == ("topic", "") {
            assert_ne!(answer.code, 0);
        } else {
            assert_eq!(refusal(&answer), (code, remark));
        }
    }
    for body in ["", "[]", "{", r#"{"topicConfigList":[{"topicName":"A"},{"topicName":"a/b"}]}"#] {
        assert_ne!(client.call(request::UPDATE_AND_CREATE_TOPIC_LIST, &[], body).await.code, 0, "{body}");
    }
    assert_eq!(kit.broker.topics.data_version(), version);
    let list =
        r#"{"topicConfigList":[{"topicName":"A","readQueueNums":1,"writeQueueNums":1},{"topicName":"B"}]}"#;
    assert_eq!(client.call(request::UPDATE_AND_CREATE_TOPIC_LIST, &[], list).await.code, 0);
    assert_eq!(kit.broker.topics.get("B").unwrap().write_queue_nums, 16);
}

/// A deleted topic is gone with its messages and offsets; made again it begins at 0. The system's stay.
#[tokio::test]
async fn deleted_by_request() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    client.call(request::UPDATE_AND_CREATE_TOPIC, &NEW, "").await;
    kit.put("T", 0, &["a", "b", "c"], "");
    kit.broker.groups.get_or_create("g", true);
    let commit = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "0"), ("commitOffset", "2")];
    assert_eq!(client.call(request::UPDATE_CONSUMER_OFFSET, &commit, "").await.code, 0);
    kit.broker.topics.create_internal("%RETRY%g_T", 1, 6, false);
    assert_eq!(client.call(request::DELETE_TOPIC_IN_BROKER, &[("topic", "T")], "").await.code, 0);
    let gone = client.call(request::GET_TOPIC_STATS_INFO, &[("topic", "T")], "").await;
    assert_eq!(refusal(&gone), (response::TOPIC_NOT_EXIST, "topic[T] not exist"));
    let gone = client.call(request::GET_TOPIC_CONFIG, &[("topic", "T")], "").await;
    assert_eq!(refusal(&gone), (response::TOPIC_NOT_EXIST, "No topic in this broker. topic: T"));
    assert!(kit.broker.topics.get("%RETRY%g_T").is_none(), "what POP retried of it goes too");
    assert!(kit.broker.offsets.topics_of_group("g").is_empty());
    client.call(request::UPDATE_AND_CREATE_TOPIC, &NEW, "").await;
    assert_eq!(kit.broker.store.max_offset_in_queue("T", 0).0, 0);
    for (topic, remark) in [
        (" ", "The specified topic is blank."),
        ("SCHEDULE_TOPIC_XXXX", "The topic[SCHEDULE_TOPIC_XXXX] is conflict with system topic."),
        ("b", "The topic[b] is conflict with system topic."),
    ] {
        let answer = client.call(request::DELETE_TOPIC_IN_BROKER, &[("topic", topic)], "").await;
        assert_eq!(refusal(&answer), (response::INVALID_PARAMETER, remark));
    }
    let unknown = client.call(request::DELETE_TOPIC_IN_BROKER, &[("topic", "../../etc")], "").await;
    assert_eq!(unknown.code, 0, "deleting what is not there succeeds");
}

/// Topics of type MIXED are made where `enableMixedMessageType` allows them.
#[tokio::test]
async fn mixed_topics_may_be_allowed() {
    let kit = Kit::start(&[("enableMixedMessageType", "true")]).await;
    let mut client = kit.client().await;
    let fields = [&NEW[..], &[("attributes", "+message.type=MIXED")]].concat();
    assert_eq!(client.call(request::UPDATE_AND_CREATE_TOPIC, &fields, "").await.code, 0);
    assert_eq!(kit.broker.topics.get("T").unwrap().attributes["message.type"], "MIXED");
}

/// What POP retries of a topic stays when `clearRetryTopicWhenDeleteTopic` says so.
#[tokio::test]
async fn deleted_without_its_retries() {
    let kit = Kit::start(&[("clearRetryTopicWhenDeleteTopic", "false")]).await;
    let mut client = kit.client().await;
    client.call(request::UPDATE_AND_CREATE_TOPIC, &NEW, "").await;
    kit.broker.groups.get_or_create("g", true);
    let commit = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "0"), ("commitOffset", "0")];
    assert_eq!(client.call(request::UPDATE_CONSUMER_OFFSET, &commit, "").await.code, 0);
    kit.broker.topics.create_internal("%RETRY%g_T", 1, 6, false);
    assert_eq!(client.call(request::DELETE_TOPIC_IN_BROKER, &[("topic", "T")], "").await.code, 0);
    assert!(kit.broker.topics.get("T").is_none() && kit.broker.topics.get("%RETRY%g_T").is_some());
}

/// A deleted topic does not come back with a start, after a stop or a kill, though its messages are the log's last.
#[tokio::test]
async fn deleted_for_good() {
    let mut kit = Kit::start(&[]).await;
    for killed in [true, false] {
        let mut client = kit.client().await;
        client.call(request::UPDATE_AND_CREATE_TOPIC, &NEW, "").await;
        kit.put("T", 0, &["a", "b", "c"], "");
        assert_eq!(client.call(request::DELETE_TOPIC_IN_BROKER, &[("topic", "T")], "").await.code, 0);
        kit = if killed { kit.killed().await } else { kit.restart(&[]).await };
        assert!(kit.broker.topics.get("T").is_none(), "killed: {killed}");
    }
}

/// A topic that somebody only asked for does not exist for those who look.
#[tokio::test]
async fn provisional_topics_are_not_shown() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    kit.broker.topics.provisional("Typo", 4).unwrap();
    for code in [request::GET_TOPIC_STATS_INFO, request::GET_TOPIC_CONFIG] {
        assert_eq!(client.call(code, &[("topic", "Typo")], "").await.code, response::TOPIC_NOT_EXIST);
    }
    assert!(!text(&client.call(request::GET_ALL_TOPIC_CONFIG, &[], "").await).contains("Typo"));
}

/// The system's topics are listed by their own request; a slave changes nothing, and leaves deletions to its master.
#[tokio::test]
async fn system_topics_and_slaves() {
    let kit = Kit::start(&[("brokerRole", "SLAVE"), ("brokerId", "1")]).await;
    let mut client = kit.client().await;
    let list = client.call(request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER, &[], "").await;
    for topic in ["TBW102", "RMQ_SYS_TRACE_TOPIC", "C_REPLY_TOPIC", "rmq_sys_wheel_timer"] {
        assert!(text(&list).contains(&format!("\"{topic}\"")), "{topic} {}", text(&list));
    }
    let remark =
        "Can't modify topic or subscription group from slave broker, please execute it from master broker.";
    kit.broker.topics.create_internal("T", 1, 6, false);
    kit.broker.groups.get_or_create("g", true);
    for answer in [
        client.call(request::DELETE_TOPIC_IN_BROKER, &[("topic", "T")], "").await,
        client.call(request::DELETE_SUBSCRIPTIONGROUP, &[("groupName", "g")], "").await,
    ] {
        assert_eq!(answer.code, response::SUCCESS, "a tool that asks all brokers goes on");
    }
    assert!(kit.broker.topics.get("T").is_some() && kit.broker.groups.get("g").is_some());
    for answer in [
        client.call(request::UPDATE_AND_CREATE_TOPIC, &NEW, "").await,
        client.call(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], r#"{"groupName":"g"}"#).await,
    ] {
        assert_eq!(refusal(&answer), (response::SYSTEM_ERROR, remark));
    }
}
