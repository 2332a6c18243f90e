//! Files and frames that Apache 5.3.3 and unmodified clients wrote (`tests/golden`), read by our code and compared
//! with what Apache's own classes read from them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rmq_lite::clock::Clock;
use rmq_lite::config::{Choices, Role, Settings};
use rmq_lite::faults::Faults;
use rmq_lite::store::{MessageStore, PhysicalOffset, QueueOffset, ReadLimits, StoreOptions};
use rmq_lite::wire::body::group::SubscriptionGroupWrapper;
use rmq_lite::wire::body::heartbeat::HeartbeatData;
use rmq_lite::wire::body::offset::{ConsumerOffsetSerializeWrapper, DelayOffsetSerializeWrapper};
use rmq_lite::wire::body::register::RegisterBrokerBody;
use rmq_lite::wire::body::route::{ClusterInfo, TopicRouteData};
use rmq_lite::wire::body::topic::TopicConfigSerializeWrapper;
use rmq_lite::wire::code::{request, response};
use rmq_lite::wire::command::{Command, FRAME_BYTES_MAX, SerializeType, frame_length};
use rmq_lite::wire::fastjson;
use rmq_lite::wire::fields::Header;
use rmq_lite::wire::header::send::SendMessageRequestHeader;
use rmq_lite::wire::message::{MAGIC_V2, MessageRecord, NewRecord, batch_entries, properties};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::kit::{Rig, pull_request, request};

const LABELS: [&str; 5] = ["java-5.3.3", "java-5.3.3-binary", "java-4.9.8", "go-2.1.2", "broker"];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// A decoded frame and the line that Apache printed about it.
struct Recorded {
    frame: Command,
    line: Vec<String>,
}

fn recorded(label: &str) -> Vec<Recorded> {
    let bytes = fs::read(golden().join(format!("frames/{label}.bin"))).unwrap();
    let text = fs::read_to_string(golden().join(format!("frames/{label}.tsv"))).unwrap();
    let mut rest = &bytes[..];
    let mut found = Vec::new();
    for line in text.lines() {
        let length = frame_length(rest, FRAME_BYTES_MAX).unwrap().unwrap();
        let frame = Command::decode(BytesMut::from(&rest[..length])).unwrap();
        rest = &rest[length..];
        found.push(Recorded { frame, line: line.split('\t').map(str::to_owned).collect() });
    }
    assert!(rest.is_empty() && !found.is_empty());
    found
}

/// Reads the pairs that `Expected.java` wrote.
fn pairs(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('\u{3}').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap()).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

/// Every recorded frame has for us the code, flags, number, remark, fields and body length that it has for Apache.
#[test]
fn frames_are_read_as_apache_reads_them() {
    for label in LABELS {
        for Recorded { frame, line } in recorded(label) {
            let kind = match frame.serialize_type {
                SerializeType::Json => "JSON",
                SerializeType::RocketMq => "ROCKETMQ",
            };
            // An empty remark is none for us.
            let remark = frame.remark.as_deref().unwrap_or_default().replace('\n', "\\n");
            let ours = [
                frame.code.to_string(),
                (frame.language as u8).to_string(),
                frame.version.to_string(),
                frame.opaque.to_string(),
                frame.flag.to_string(),
                kind.to_owned(),
                frame.body.len().to_string(),
                remark,
            ];
            assert_eq!(ours[..7], line[..7], "{label}");
            assert_eq!(ours[7], line[7].replace("null", ""), "{label}");
            let fields: BTreeMap<_, _> = frame
                .fields
                .iter()
                .map(|(key, value)| (key.to_owned(), value.replace('\n', "\\n")))
                .collect();
            assert_eq!(fields, pairs(&line[8]), "{label} code {}", frame.code);
        }
    }
}

/// Reads a body, prints it, and finds all of it again: nothing is lost on the way. Old clients leave members out.
fn same_body<T: DeserializeOwned + Serialize>(body: &[u8]) -> T {
    let read: T = fastjson::from_slice(body).unwrap();
    let theirs: Value = fastjson::from_slice(body).unwrap();
    let ours: Value = fastjson::from_slice(fastjson::to_string(&read).as_bytes()).unwrap();
    assert!(covers(&ours, &theirs), "{ours}\n{theirs}");
    read
}

/// Says whether all of `theirs` is in `ours`; the order of arrays does not count, since most are sets in Java.
fn covers(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && theirs.iter().all(|item| ours.iter().any(|own| covers(own, item)))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            theirs.iter().all(|(name, value)| ours.get(name).is_some_and(|own| covers(own, value)))
        }
        _ => ours == theirs,
    }
}

/// Headers and bodies of the recorded requests, and bodies of their answers, say what the clients meant.
#[test]
fn bodies_of_frames() {
    let mut seen = BTreeMap::new();
    for label in LABELS {
        let mut asked = 0;
        for Recorded { frame, .. } in recorded(label) {
            let code = if frame.is_response() { -asked } else { frame.code };
            asked = frame.code;
            let body = &frame.body[..];
            match code {
                request::HEART_BEAT => {
                    let beat: HeartbeatData = fastjson::from_slice(body).unwrap();
                    assert!(!beat.client_id.is_empty());
                    if label != "go-2.1.2" {
                        same_body::<HeartbeatData>(body);
                    }
                }
                request::SEND_MESSAGE | request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE => {
                    let header = SendMessageRequestHeader::decode(&frame.fields).unwrap();
                    assert!(!header.topic.is_empty() && header.born_timestamp > 0, "{header:?}");
                    let text = header.properties.as_deref().unwrap_or_default();
                    assert!(properties(text).count() > 0 || header.batch == Some(true), "{header:?}");
                    if code == request::SEND_BATCH_MESSAGE {
                        assert_eq!(header.batch, Some(true));
                        let entries: Vec<_> = batch_entries(body).map(Result::unwrap).collect();
                        assert!(entries.len() > 1);
                        for entry in entries {
                            let names: Vec<_> = properties(entry.properties).map(|(name, _)| name).collect();
                            assert!(names.contains(&"KEYS"), "{names:?}");
                        }
                    }
                }
                request::REGISTER_BROKER => {
                    let read: RegisterBrokerBody = same_body(body);
                    let table = &read.topic_config_serialize_wrapper.topic_config_table;
                    assert!(table.contains_key("TBW102"), "{table:?}");
                    let decoded = RegisterBrokerBody::decode(body, false, frame.version).unwrap();
                    let packed = decoded.encode(true);
                    let unpacked = RegisterBrokerBody::decode(&packed, true, frame.version).unwrap();
                    assert_eq!(unpacked.topic_config_serialize_wrapper.topic_config_table, *table);
                    let crc: i32 = frame.fields.get("bodyCrc32").unwrap().parse().unwrap();
                    assert_eq!(rmq_lite::wire::message::body_crc(body), crc);
                }
                _ if code == -request::GET_ROUTEINFO_BY_TOPIC && !body.is_empty() => {
                    let route: TopicRouteData = same_body(body);
                    assert_eq!(route.broker_datas[0].broker_addrs[&0], "127.0.0.2:17911");
                }
                _ if code == -request::GET_BROKER_CLUSTER_INFO => {
                    let info: ClusterInfo = same_body(body);
                    assert!(info.cluster_addr_table["DefaultCluster"].contains("broker-a"));
                }
                _ if code == -request::PULL_MESSAGE => {
                    for record in MessageRecord::decode_all(body) {
                        let record = record.unwrap();
                        record.check_body().unwrap();
                        assert!(record.topic == "Plain" || record.topic == "Brief", "{record:?}");
                    }
                }
                _ => continue,
            }
            *seen.entry(code).or_insert(0) += 1;
        }
    }
    for code in [
        request::HEART_BEAT,
        request::SEND_MESSAGE,
        request::SEND_MESSAGE_V2,
        request::SEND_BATCH_MESSAGE,
        request::REGISTER_BROKER,
        -request::GET_ROUTEINFO_BY_TOPIC,
        -request::GET_BROKER_CLUSTER_INFO,
        -request::PULL_MESSAGE,
    ] {
        assert!(seen.contains_key(&code), "no {code} among {seen:?}");
    }
}

/// Copies the store that Apache wrote, without the files below `except`.
pub fn unpack(to: &Path, except: &[&str]) {
    let from = golden().join("store");
    let mut folders = vec![from.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let below = path.strip_prefix(&from).unwrap();
            if except.iter().any(|name| below.starts_with(name)) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mut bytes = fs::read(&path).unwrap();
            let mut target = to.join(below);
            if path.extension().is_some_and(|extension| extension == "gz") {
                let mut unpacked = Vec::new();
                flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut unpacked).unwrap();
                bytes = unpacked;
                target.set_extension("");
            }
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::write(target, bytes).unwrap();
        }
    }
}

/// Files below a folder with their contents, by path.
fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Returns each record's line of `store.tsv`, in log order.
fn expected() -> Vec<Vec<String>> {
    let text = fs::read_to_string(golden().join("store.tsv")).unwrap();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// The sizes that the golden broker was started with (`make.sh`).
pub const SIZES: [(&str, &str); 4] = [
    ("mappedFileSizeCommitLog", "1048576"),
    ("mappedFileSizeConsumeQueue", "2000"),
    ("maxHashSlotNum", "100"),
    ("maxIndexNum", "200"),
];

fn open(root: &Path) -> Arc<MessageStore> {
    let options = StoreOptions {
        commit_log_file_bytes: 1_048_576,
        consume_queue_file_bytes: 2_000,
        max_hash_slot_num: 100,
        max_index_num: 200,
        max_message_bytes: 4 << 20,
        ..StoreOptions::at(root)
    };
    MessageStore::open(options, Clock::new(), Faults::default()).unwrap()
}

/// The same fields that `Expected.java` prints, as we read them.
fn line(record: &MessageRecord<'_>) -> Vec<String> {
    let own: BTreeMap<_, _> = properties(record.properties_str().unwrap()).collect();
    let own: Vec<_> = own.iter().map(|(name, value)| format!("{name}={value}\u{3}")).collect();
    vec![
        record.physical_offset.to_string(),
        record.total_size.to_string(),
        record.topic.to_owned(),
        record.queue_id.to_string(),
        record.queue_offset.to_string(),
        record.flag.to_string(),
        record.sys_flag.to_string(),
        record.born_timestamp.to_string(),
        format!("/{}", record.born_host),
        record.store_timestamp.to_string(),
        format!("/{}", record.store_host),
        record.reconsume_times.to_string(),
        record.prepared_transaction_offset.to_string(),
        record.body_crc.to_string(),
        rmq_lite::wire::message::body_crc(record.body).to_string(),
        record.body.len().to_string(),
        record.offset_message_id(),
        own.concat(),
    ]
}

/// A store opened on Apache's files serves every message by place, by queue, and by each of its keys, and leaves
/// Apache's files as they are.
#[test]
fn an_apache_store_is_served() {
    let dir = tempfile::tempdir().unwrap();
    unpack(dir.path(), &["config"]);
    let before = contents(dir.path());
    let store = open(dir.path());
    let expected = expected();
    let mut next: BTreeMap<(String, i32), i64> = BTreeMap::new();
    for wanted in &expected {
        let at: i64 = wanted[0].parse().unwrap();
        let bytes = store.read_record(PhysicalOffset(at)).unwrap().expect(&wanted[0]);
        let record = MessageRecord::decode(&bytes).unwrap();
        record.check_body().unwrap();
        assert_eq!(&line(&record), wanted);

        let queue = (record.topic.to_owned(), record.queue_id);
        let limits = ReadLimits::messages(1);
        let offset = QueueOffset(record.queue_offset);
        let read = store.read(record.topic, record.queue_id, offset, &limits, &|_| true, None);
        assert_eq!(read.records, std::slice::from_ref(&bytes), "{wanted:?}");
        let index = next.entry(queue).or_default();
        assert_eq!(record.queue_offset, *index, "no gap");
        *index += 1;

        let keys = record.property("KEYS").unwrap_or_default().split(' ').filter(|key| !key.is_empty());
        for key in keys.chain(record.property("UNIQ_KEY")) {
            let answer = store.query_message(record.topic, key, 64, 0, i64::MAX);
            assert!(answer.records.contains(&bytes), "{key} of {wanted:?}");
        }
    }
    let last = expected.last().unwrap();
    let end: i64 = last[0].parse::<i64>().unwrap() + last[1].parse::<i64>().unwrap();
    assert_eq!(
        (store.min_physical_offset(), store.max_physical_offset()),
        (PhysicalOffset(0), PhysicalOffset(end))
    );
    for ((topic, queue_id), max) in next {
        assert_eq!(store.max_offset_in_queue(&topic, queue_id), QueueOffset(max), "{topic} {queue_id}");
        assert_eq!(store.min_offset_in_queue(&topic, queue_id), QueueOffset(0));
    }
    drop(store);
    let after = contents(dir.path());
    for (path, bytes) in before {
        assert!(after[&path] == bytes, "{} was changed", path.display());
    }
}

/// Consume queues and index made anew from Apache's commit log are Apache's, byte by byte; only the names of index
/// files are times of their making.
#[test]
fn queues_and_index_are_rebuilt_byte_by_byte() {
    let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    unpack(theirs.path(), &[]);
    unpack(ours.path(), &["config", "consumequeue", "index", "checkpoint"]);
    let store = open(ours.path());
    store.stop();
    let queues = |root: &Path| contents(&root.join("consumequeue"));
    assert_eq!(
        queues(ours.path()).keys().collect::<Vec<_>>(),
        queues(theirs.path()).keys().collect::<Vec<_>>()
    );
    for (path, bytes) in queues(theirs.path()) {
        let own = &queues(ours.path())[&path];
        assert!(*own == bytes, "{} differs at {:?}", path.display(), first_difference(own, &bytes));
    }
    let index = |root: &Path| contents(&root.join("index")).into_values().collect::<Vec<_>>();
    let (own, apache) = (index(ours.path()), index(theirs.path()));
    assert_eq!(own.len(), apache.len());
    for (number, (own, apache)) in own.iter().zip(&apache).enumerate() {
        assert!(own == apache, "index file {number} differs at {:?}", first_difference(own, apache));
    }
}

fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    (0..one.len().max(other.len())).find(|&at| one.get(at) != other.get(at))
}

/// Each record of Apache's log, read and written again by us, has the same bytes; both kinds of topic length, both
/// compressed and plain bodies, retries and transactions are among them.
#[test]
fn records_are_written_as_apache_writes_them() {
    let dir = tempfile::tempdir().unwrap();
    unpack(dir.path(), &["config", "consumequeue", "index"]);
    let mut kinds = BTreeMap::new();
    let mut count = 0;
    for bytes in contents(&dir.path().join("commitlog")).into_values() {
        for record in MessageRecord::decode_all(&bytes) {
            // The blank end, or what is not written yet.
            let Ok(record) = record else { break };
            let text = record.properties_str().unwrap();
            let properties = [text];
            let again = NewRecord {
                body_crc: rmq_lite::wire::message::body_crc(record.body),
                ..record.rewritten(record.topic, &properties)
            };
            let mut out = vec![0; again.encoded_len().unwrap()];
            again.encode(out.len(), &mut out);
            let start = record.physical_offset as usize % bytes.len();
            assert!(out == bytes[start..start + out.len()], "{record:?}");
            count += 1;
            for (kind, is) in [
                ("v2", record.magic == MAGIC_V2),
                ("compressed", record.sys_flag & 1 != 0),
                ("retried", record.reconsume_times > 0),
                ("committed", record.sys_flag & 8 != 0 && record.prepared_transaction_offset > 0),
                ("delayed", record.topic == "SCHEDULE_TOPIC_XXXX"),
            ] {
                *kinds.entry(kind).or_insert(0) += i32::from(is);
            }
        }
    }
    assert_eq!(count, expected().len());
    assert!(kinds.values().all(|&count| count > 0), "{kinds:?}");
}

/// The broker's configuration files are read without losing anything.
#[test]
fn config_files_are_read_whole() {
    let file = |name: &str| fs::read(golden().join("store/config").join(name)).unwrap();
    let topics: TopicConfigSerializeWrapper = same_body(&file("topics.json"));
    assert_eq!(topics.topic_config_table["Plain"].write_queue_nums, 4);
    let groups: SubscriptionGroupWrapper = same_body(&file("subscriptionGroup.json"));
    assert!(groups.subscription_group_table.contains_key("golden_group"));
    let delays: DelayOffsetSerializeWrapper = same_body(&file("delayOffset.json"));
    assert_eq!(delays.offset_table[&1], 2);
    // `groupTopicMap` follows from the table, so it is not kept.
    let offsets: ConsumerOffsetSerializeWrapper = fastjson::from_slice(&file("consumerOffset.json")).unwrap();
    assert_eq!(offsets.offset_table.len(), 7);
    assert_eq!(offsets.offset_table["Plain@golden_group"][&2], 6);
}

/// A server started on Apache's directory knows its topics, groups and offsets, hands out every message over the
/// wire, and delivers what Apache had delayed for two hours.
#[tokio::test]
async fn a_server_goes_on_where_apache_stopped() {
    let dir = tempfile::tempdir().unwrap();
    unpack(&dir.path().join("broker"), &[]);
    let choices = Choices {
        namesrv_port: Some(0),
        broker_port: Some(0),
        headless: true,
        data_dir: Some(dir.path().to_owned()),
        set: SIZES.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
        ..Choices::default()
    };
    let rig = Rig::with(Settings::resolve(Role::Everything, choices).unwrap()).await;
    let saved = fs::read(golden().join("store/config/consumerOffset.json")).unwrap();
    let saved: Value = fastjson::from_slice(&saved).unwrap();
    let mut known = Vec::new();
    for (topic_group, offsets) in saved["offsetTable"].as_object().unwrap() {
        let (topic, group) = topic_group.split_once('@').unwrap();
        for (queue_id, offset) in offsets.as_object().unwrap() {
            let fields = [("consumerGroup", group), ("topic", topic), ("queueId", queue_id)];
            let answer = rig.ask(request(request::QUERY_CONSUMER_OFFSET, &fields)).await;
            assert_eq!(answer.fields.get("offset"), Some(&*offset.to_string()), "{topic_group}");
            known.push((topic, group));
        }
    }
    let long = "group".repeat(25);
    assert!(
        known.contains(&("Plain", "golden_group")) && known.contains(&(&format!("%RETRY%{long}"), &long))
    );
    let mut queues: BTreeMap<(String, i32), Vec<String>> = BTreeMap::new();
    for line in expected() {
        let queue = (line[2].clone(), line[3].parse().unwrap());
        queues.entry(queue).or_default().push(line[0].clone());
    }
    for ((topic, queue_id), wanted) in queues {
        if topic.starts_with("SCHEDULE") || topic.starts_with("RMQ_SYS") || topic.starts_with("TRANS") {
            continue;
        }
        let mut served = Vec::new();
        while served.len() < wanted.len() {
            let answer = rig.ask(pull_request(&topic, queue_id, served.len() as i64, "*", 0)).await;
            assert_eq!(answer.code, response::SUCCESS, "{topic} {queue_id}: {:?}", answer.remark);
            let records: Vec<_> = MessageRecord::decode_all(&answer.body).map(Result::unwrap).collect();
            served.extend(records.iter().map(|record| record.physical_offset.to_string()));
        }
        // Behind Apache's messages may stand what it had delayed and this server has delivered.
        assert_eq!(served[..wanted.len()], wanted, "{topic} {queue_id}");
    }
    let late = rig.ask(pull_request("Delayed", 0, 1, "*", 15_000)).await;
    let late = MessageRecord::decode(&late.body).unwrap();
    assert_eq!((late.property("KEYS"), late.property("REAL_TOPIC")), (Some("late"), Some("Delayed")));
    let sent = rig.send("Plain", 0, "ours", "KEYS\u{1}ours\u{2}").await;
    assert_eq!(
        (sent.code, sent.fields.get("queueOffset")),
        (response::SUCCESS, Some("6")),
        "{:?}",
        sent.remark
    );
    let fields = [
        ("topic", "Plain"),
        ("key", "ours"),
        ("maxNum", "8"),
        ("beginTimestamp", "0"),
        ("endTimestamp", "9223372036854775807"),
    ];
    let found = rig.ask(request(request::QUERY_MESSAGE, &fields)).await;
    assert_eq!(found.code, response::SUCCESS, "{:?}", found.remark);
    let body: Bytes = found.body;
    assert_eq!(MessageRecord::decode(&body).unwrap().body, b"ours");
    rig.server.stop().await;
}
