//! Plain messages over the wire: sent, pulled, held, refused, and there again after a restart.

use rmq_lite::config::{Choices, Role, Settings};
use rmq_lite::wire::code::{request, response};
use rmq_lite::wire::fields::FieldList;
use rmq_lite::wire::message::MessageRecord;

use crate::kit::{LIMIT, Rig, pull_request, request, send_request};

fn bodies(records: &[u8]) -> Vec<String> {
    let records = MessageRecord::decode_all(records);
    records.map(|record| String::from_utf8(record.unwrap().body.to_vec()).unwrap()).collect()
}

/// A message sent to an unknown topic creates it, is answered with its place, and is pulled as it was sent.
#[tokio::test]
async fn sent_and_pulled() {
    let rig = Rig::start().await;
    let answer = rig.send("T", 1, "hello", "TAGS\u{1}a\u{2}UNIQ_KEY\u{1}0123456789ABCDEF\u{2}").await;
    assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
    for (name, value) in [
        ("queueId", "1"),
        ("queueOffset", "0"),
        ("transactionId", "0123456789ABCDEF"),
        ("MSG_REGION", "DefaultRegion"),
    ] {
        assert_eq!(answer.fields.get(name), Some(value));
    }
    assert_eq!(answer.fields.get("msgId").unwrap().len(), 32);
    let pulled = rig.ask(pull_request("T", 1, 0, "*", 0)).await;
    assert_eq!((pulled.code, pulled.fields.get("nextBeginOffset")), (response::SUCCESS, Some("1")));
    let record = MessageRecord::decode(&pulled.body).unwrap();
    assert_eq!((record.topic, record.body, record.property("TAGS")), ("T", &b"hello"[..], Some("a")));
    assert_eq!(record.property("CLUSTER"), Some("DefaultCluster"));
    let other = rig.ask(pull_request("T", 1, 0, "b", 0)).await;
    assert_eq!(
        (other.code, other.fields.get("nextBeginOffset")),
        (response::PULL_RETRY_IMMEDIATELY, Some("1"))
    );
    rig.server.stop().await;
}

/// A held pull is answered by the message it waits for, not by one with another tag, and else when its time is up.
#[tokio::test]
async fn held_pulls() {
    let rig = Rig::start().await;
    rig.send("T", 0, "first", "").await;
    let (held, ()) = tokio::join!(rig.ask(pull_request("T", 0, 1, "b", 60_000)), async {
        rig.send("T", 0, "tagged a", "TAGS\u{1}a\u{2}").await;
        rig.send("T", 0, "tagged b", "TAGS\u{1}b\u{2}").await;
    });
    assert_eq!(held.code, response::SUCCESS, "{:?} {:?}", held.remark, held.fields);
    assert_eq!(bodies(&held.body), ["tagged b"]);
    let client = rig.client().await;
    let (timed_out, ()) = tokio::join!(client.call(pull_request("T", 0, 3, "*", 30_000), LIMIT), async {
        while rig.server.broker().unwrap().held_pulls() == 0 {
            tokio::task::yield_now().await;
        }
        rig.clock.travel(std::time::Duration::from_secs(30));
    });
    assert_eq!(timed_out.unwrap().code, response::PULL_NOT_FOUND);
    rig.server.stop().await;
}

/// What no message can be is refused with the field that is wrong, and nothing is stored.
#[tokio::test]
async fn refused_sends() {
    let rig = Rig::start().await;
    let long = "x".repeat(128);
    let too_big = "y".repeat(4 * 1024 * 1024 + 1);
    for (topic, queue_id, body, code) in [
        ("", 0, "m", response::INVALID_PARAMETER),
        ("a/b", 0, "m", response::INVALID_PARAMETER),
        (&long, 0, "m", response::INVALID_PARAMETER),
        ("SCHEDULE_TOPIC_XXXX", 0, "m", response::NO_PERMISSION),
        ("T", 4, "m", response::INVALID_PARAMETER),
        ("T", i32::MAX, "m", response::INVALID_PARAMETER),
        ("T", 0, "", response::MESSAGE_ILLEGAL),
        ("T", 0, &too_big, response::MESSAGE_ILLEGAL),
        ("%RETRY%nobody", 0, "m", response::SUBSCRIPTION_GROUP_NOT_EXIST),
    ] {
        let answer = rig.send(topic, queue_id, body, "").await;
        assert_eq!(answer.code, code, "{topic} {queue_id}: {:?}", answer.remark);
    }
    let long_properties = format!("k\u{1}{}\u{2}", "v".repeat(33_000));
    assert_eq!(rig.send("T", 0, "m", &long_properties).await.code, response::MESSAGE_ILLEGAL);
    let mut headless = send_request("T", 0, "");
    headless.fields = FieldList::default();
    let answer = rig.ask(headless).await;
    assert!(answer.code == response::SYSTEM_ERROR && answer.remark.unwrap().contains("field a"));
    let max = rig.ask(request(request::GET_MAX_OFFSET, &[("topic", "T"), ("queueId", "0")])).await;
    assert_eq!(max.fields.get("offset"), Some("0"));
    rig.server.stop().await;
}

/// A negative queue means any; a field of the wrong kind is named with what it must be.
#[tokio::test]
async fn fields_at_their_limits() {
    let rig = Rig::start().await;
    for queue_id in [-1, i32::MIN] {
        let answer = rig.send("T", queue_id, "m", "").await;
        assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
        let queue_id: i32 = answer.fields.get("queueId").unwrap().parse().unwrap();
        assert!((0..4).contains(&queue_id));
        let at = answer.fields.get("queueOffset").unwrap().parse().unwrap();
        assert_eq!(bodies(&rig.ask(pull_request("T", queue_id, at, "*", 0)).await.body), ["m"]);
    }
    let send =
        [("a", "p"), ("b", "T"), ("c", "TBW102"), ("d", "4"), ("e", "0"), ("f", "0"), ("g", "5"), ("h", "0")];
    let pull = [
        ("consumerGroup", "g"),
        ("topic", "T"),
        ("queueId", "0"),
        ("queueOffset", "0"),
        ("maxMsgNums", "1"),
        ("sysFlag", "4"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subVersion", "0"),
    ];
    for (code, fields, name, value) in [
        (request::SEND_MESSAGE_V2, &send[..], "d", "four"),
        (request::SEND_MESSAGE_V2, &send, "e", "0.5"),
        (request::SEND_MESSAGE_V2, &send, "f", "2147483648"),
        (request::SEND_MESSAGE_V2, &send, "g", "99999999999999999999"),
        (request::SEND_BATCH_MESSAGE, &send, "h", "{}"),
        (request::PULL_MESSAGE, &pull, "queueId", "zero"),
        (request::PULL_MESSAGE, &pull, "queueOffset", "0x10"),
        (request::PULL_MESSAGE, &pull, "maxMsgNums", "2147483648"),
        (request::PULL_MESSAGE, &pull, "suspendTimeoutMillis", "1e3"),
        (request::LITE_PULL_MESSAGE, &pull, "sysFlag", "true"),
    ] {
        let mut fields = fields.to_vec();
        fields.iter_mut().find(|field| field.0 == name).unwrap().1 = value;
        let answer = rig.ask(request(code, &fields).with_body("m")).await;
        let remark = answer.remark.unwrap();
        assert_eq!(answer.code, response::SYSTEM_ERROR, "{remark}");
        assert!(
            remark.contains(&format!("field {name}")) && remark.contains(&format!("'{value}'")),
            "{remark}"
        );
    }
    for queue_id in ["-1", "4", "2147483647"] {
        let mut fields = pull;
        fields[2].1 = queue_id;
        let answer = rig.ask(request(request::PULL_MESSAGE, &fields)).await;
        assert_eq!(answer.code, response::INVALID_PARAMETER, "{:?}", answer.remark);
    }
    rig.server.stop().await;
}

/// One message of a batch, with lengths of our choice.
fn entry(total: i32, body_length: i32, body: &str, properties_length: i16) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [total, 0, 0, 0, body_length] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.extend_from_slice(body.as_bytes());
    bytes.extend_from_slice(&properties_length.to_be_bytes());
    bytes
}

/// A batch that is empty or lies about a length is refused whole, also when what lies comes last.
#[tokio::test]
async fn broken_batches() {
    let rig = Rig::start().await;
    let batch = |body: Vec<u8>| {
        let mut request = send_request("T", 0, "").with_body(body);
        request.code = request::SEND_BATCH_MESSAGE;
        rig.ask(request)
    };
    let good = || entry(23, 1, "m", 0);
    for lie in [
        entry(22, 1, "m", 0),
        entry(24, 1, "m", 0),
        entry(0, 1, "m", 0),
        entry(-1, 1, "m", 0),
        entry(i32::MAX, 1, "m", 0),
        entry(23, 2, "m", 0),
        entry(23, -1, "m", 0),
        entry(23, i32::MAX, "m", 0),
        entry(23, 1, "m", 1),
        entry(23, 1, "m", -1),
        good()[..22].to_vec(),
        vec![0],
    ] {
        for body in [lie.clone(), [good(), lie.clone()].concat()] {
            let answer = batch(body).await;
            let remark = answer.remark.unwrap();
            assert_eq!(answer.code, response::MESSAGE_ILLEGAL, "{lie:?}: {remark}");
            assert!(remark.contains("the batch's body is broken"), "{lie:?}: {remark}");
        }
    }
    let empty = batch(Vec::new()).await;
    assert_eq!(empty.code, response::MESSAGE_ILLEGAL);
    assert!(empty.remark.unwrap().contains("the batch is empty"));
    let max = rig.ask(request(request::GET_MAX_OFFSET, &[("topic", "T"), ("queueId", "0")])).await;
    assert_eq!(max.fields.get("offset"), Some("0"), "nothing of them is stored");
    assert_eq!(batch([good(), good()].concat()).await.code, response::SUCCESS);
    rig.server.stop().await;
}

/// After a clean stop the same directory has the same messages and offsets.
#[tokio::test]
async fn there_again_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let settings = || {
        let choices = Choices {
            namesrv_port: Some(0),
            broker_port: Some(0),
            headless: true,
            data_dir: Some(directory.path().to_owned()),
            ..Choices::default()
        };
        Settings::resolve(Role::Everything, choices).unwrap()
    };
    let rig = Rig::with(settings()).await;
    for at in 0..10 {
        rig.send("T", 0, &at.to_string(), "").await;
    }
    rig.ask(pull_request("T", 0, 0, "*", 0)).await;
    let commit = [("consumerGroup", "pullers"), ("topic", "T"), ("queueId", "0"), ("commitOffset", "7")];
    assert_eq!(rig.ask(request(request::UPDATE_CONSUMER_OFFSET, &commit)).await.code, response::SUCCESS);
    rig.server.stop().await;

    let rig = Rig::with(settings()).await;
    let offset = rig.ask(request(request::QUERY_CONSUMER_OFFSET, &commit[..3])).await;
    assert_eq!(offset.fields.get("offset"), Some("7"));
    let pulled = rig.ask(pull_request("T", 0, 7, "*", 0)).await;
    assert_eq!(bodies(&pulled.body), ["7", "8", "9"]);
    rig.send("T", 0, "10", "").await;
    assert_eq!(bodies(&rig.ask(pull_request("T", 0, 10, "*", 0)).await.body), ["10"]);
    rig.server.stop().await;
}
