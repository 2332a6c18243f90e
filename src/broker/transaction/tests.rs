//! Transactions through the whole broker: every decision, good and hostile, checks, restarts, and a long random life
//! compared with a small model.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::check::due_ms;
use super::{CHECK_TIMES, PREPARED_QUEUE_OFFSET, TRANS_CHECK_MAX_TIME_TOPIC, TRANS_HALF_TOPIC};
use super::{GROUP, TRANS_OP_HALF_TOPIC};
use crate::broker::inner::InnerMessage;
use crate::broker::kit::{Kit, RawClient, refusal};
use crate::config::keys::{BrokerKeys, Machine, Origin, Timings};
use crate::faults::{FaultPoint, Order, Trigger};
use crate::store::QueueOffset;
use crate::wire::code::{request, response};
use crate::wire::command::Command;
use crate::wire::message::{MessageRecord, offset_message_id, parse_offset_message_id, sys_flag};

const COMMIT: &str = "8";
const ROLLBACK: &str = "12";

/// A half message as its producer knows it.
#[derive(Clone, Debug)]
struct Sent {
    physical: i64,
    queue_offset: i64,
}

async fn send_half(client: &mut RawClient, body: &str, more: &str) -> Command {
    let properties = format!(
        "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}tx_p\u{2}UNIQ_KEY\u{1}key-{body}\u{2}TAGS\u{1}red\u{2}{more}"
    );
    let fields = [
        ("a", "tx_p"),
        ("b", "T"),
        ("c", "TBW102"),
        ("d", "1"),
        ("e", "0"),
        ("f", "4"),
        ("g", "1"),
        ("h", "7"),
        ("i", properties.as_str()),
    ];
    client.call(request::SEND_MESSAGE_V2, &fields, body.to_owned()).await
}

async fn half(client: &mut RawClient, body: &str, more: &str) -> Sent {
    let answer = send_half(client, body, more).await;
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    Sent {
        physical: parse_offset_message_id(answer.fields.get("msgId").unwrap()).unwrap().1,
        queue_offset: answer.fields.get("queueOffset").unwrap().parse().unwrap(),
    }
}

async fn end(client: &mut RawClient, sent: &Sent, decision: &str, from_check: bool) -> Command {
    end_as(client, "tx_p", sent, decision, from_check).await
}

async fn end_as(
    client: &mut RawClient,
    group: &str,
    sent: &Sent,
    decision: &str,
    from_check: bool,
) -> Command {
    let (table, log) = (sent.queue_offset.to_string(), sent.physical.to_string());
    let fields = [
        ("producerGroup", group),
        ("tranStateTableOffset", table.as_str()),
        ("commitLogOffset", log.as_str()),
        ("commitOrRollback", decision),
        ("fromTransactionCheck", if from_check { "true" } else { "false" }),
        ("msgId", "any"),
    ];
    client.call(request::END_TRANSACTION, &fields, "").await
}

/// The copy that a CHECK_TRANSACTION_STATE asks about.
fn asked_about(question: &Command) -> Sent {
    let number = |name| question.fields.get(name).unwrap().parse().unwrap();
    Sent { physical: number("commitLogOffset"), queue_offset: number("tranStateTableOffset") }
}

/// Every record of a topic's queue 0.
fn records(kit: &Kit, topic: &str) -> Vec<Bytes> {
    let entries = kit.broker.store.queue_entries(topic, 0, QueueOffset(0), 1 << 20);
    let records = entries.iter().map(|entry| kit.broker.store.read_record(entry.physical_offset));
    records.map(|record| record.unwrap().unwrap()).collect()
}

fn bodies(kit: &Kit, topic: &str) -> Vec<String> {
    let text =
        |bytes: &Bytes| String::from_utf8(MessageRecord::decode(bytes).unwrap().body.to_vec()).unwrap();
    records(kit, topic).iter().map(text).collect()
}

fn undecided(kit: &Kit) -> usize {
    kit.broker.transactions.lock().table.len()
}

async fn travel(kit: &Kit, seconds: u64) {
    kit.clock.travel_in_order(Duration::from_secs(seconds)).await;
}

/// Waits until everything that is due now was looked at.
async fn settled(kit: &Kit) {
    loop {
        let now_ms = kit.clock.now_ms();
        let due = kit.broker.transactions.lock().table.next_due();
        if due.is_none_or(|(due_ms, _)| due_ms > now_ms) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// A committed message is the one that was sent; a rolled back one is nowhere; each leaves a record that an Apache
/// broker reads.
#[tokio::test]
async fn commit_and_roll_back() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    let (yes, no) = (half(&mut client, "yes", "").await, half(&mut client, "no", "").await);
    assert_eq!((yes.queue_offset, no.queue_offset), (0, 1));
    let halves = records(&kit, TRANS_HALF_TOPIC);
    let record = MessageRecord::decode(&halves[0]).unwrap();
    assert_eq!((record.sys_flag, record.queue_id, record.flag), (0, 0, 7));
    for (name, value) in [
        ("REAL_TOPIC", "T"),
        ("REAL_QID", "0"),
        ("PGROUP", "tx_p"),
        ("TRAN_MSG", "true"),
        ("UNIQ_KEY", "key-yes"),
        ("__transactionId__", "key-yes"),
    ] {
        assert_eq!(record.property(name), Some(value), "{name}");
    }
    assert!(bodies(&kit, "T").is_empty());
    assert_eq!(end(&mut client, &yes, COMMIT, false).await.code, 0);
    assert_eq!(end(&mut client, &no, ROLLBACK, false).await.code, 0);
    assert_eq!(bodies(&kit, "T"), ["yes"]);
    let delivered = records(&kit, "T");
    let record = MessageRecord::decode(&delivered[0]).unwrap();
    assert_eq!(sys_flag::transaction_type(record.sys_flag), sys_flag::TRANSACTION_COMMIT);
    assert_eq!((record.prepared_transaction_offset, record.flag), (yes.physical, 7));
    for (name, value) in [("TAGS", "red"), ("UNIQ_KEY", "key-yes"), ("TRAN_MSG", "true")] {
        assert_eq!(record.property(name), Some(value), "{name}");
    }
    assert_eq!(bodies(&kit, TRANS_OP_HALF_TOPIC), ["0,", "1,"]);
    let ops = records(&kit, TRANS_OP_HALF_TOPIC);
    assert_eq!(MessageRecord::decode(&ops[0]).unwrap().property("TAGS"), Some("d"));
    assert_eq!(undecided(&kit), 0);
    half(&mut client, "open", "").await;
    let counts = super::Counts { undecided: 1, committed: 1, rolled_back: 1 };
    assert_eq!(kit.broker.transaction_counts(), [("T".to_owned(), counts)]);
    let kit = kit.killed().await;
    let counts = super::Counts { undecided: 1, ..super::Counts::default() };
    assert_eq!(kit.broker.transaction_counts(), [("T".to_owned(), counts)]);
}

/// A decision that fits no undecided half message changes nothing and says what is wrong.
#[tokio::test]
async fn decisions_that_fit_nothing() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    let sent = half(&mut client, "half", "TRAN_PREPARED_QUEUE_OFFSET\u{1}3\u{2}").await;
    let other = half(&mut client, "other", "").await;
    kit.broker.topics.create_in_send("TBW102", "T", 1).unwrap();
    kit.put("T", 0, &["plain"], "PGROUP\u{1}tx_p\u{2}REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}0\u{2}");
    let plain = MessageRecord::decode(&records(&kit, "T")[0]).unwrap().physical_offset;
    let at = |physical, queue_offset| Sent { physical, queue_offset };
    for (wrong, remark) in [
        (at(-1, 0), "at commit log offset -1 there is no message"),
        (at(i64::MAX, 0), "there is no message"),
        (at(i64::MIN, 0), "there is no message"),
        (at(sent.physical + 1, 0), "there is no message"),
        (at(plain, 0), "the message there is no half message"),
        (at(sent.physical, 1), "The transaction state table offset wrong: the half message has 0, not 1"),
    ] {
        for decision in [COMMIT, ROLLBACK] {
            let answer = end(&mut client, &wrong, decision, false).await;
            assert_eq!(answer.code, response::SYSTEM_ERROR);
            assert!(refusal(&answer).1.contains(remark), "{wrong:?}: {:?}", answer.remark);
        }
    }
    let answer = end_as(&mut client, "stranger", &sent, COMMIT, false).await;
    let remark = "The producer group wrong: the half message is of tx_p, not stranger";
    assert_eq!(refusal(&answer), (response::SYSTEM_ERROR, remark));
    assert_eq!((undecided(&kit), bodies(&kit, "T").len()), (2, 1));
    // "Not known yet", and what is no decision at all, is never answered and changes nothing.
    let fields = [
        ("producerGroup", "tx_p"),
        ("tranStateTableOffset", "0"),
        ("commitLogOffset", "0"),
        ("commitOrRollback", "0"),
    ];
    client.send(request::END_TRANSACTION, &fields, "").await;
    assert_eq!(end(&mut client, &sent, COMMIT, false).await.code, 0, "the next answer is that of this call");
    for decision in [COMMIT, ROLLBACK] {
        let twice = end(&mut client, &sent, decision, false).await;
        assert_eq!(twice.code, response::SYSTEM_ERROR);
        assert!(refusal(&twice).1.contains("queue offset 0 was committed"), "{:?}", twice.remark);
    }
    assert_eq!(end(&mut client, &other, ROLLBACK, false).await.code, 0);
    assert_eq!(end(&mut client, &other, COMMIT, false).await.code, response::SYSTEM_ERROR);
    assert_eq!(bodies(&kit, "T"), ["plain", "half"]);
}

/// Where transactional messages are refused they are refused with Apache's words.
#[tokio::test]
async fn refused_where_not_wanted() {
    let kit = Kit::start(&[("rejectTransactionMessage", "true")]).await;
    let answer = send_half(&mut kit.client().await, "half", "").await;
    let remark = "the broker[127.0.0.1] sending transaction message is forbidden";
    assert_eq!(refusal(&answer), (response::NO_PERMISSION, remark));
    assert_eq!(undecided(&kit), 0);
}

/// A commit that the store refuses leaves the half message undecided, and so does a rollback.
#[tokio::test]
async fn a_refused_put_decides_nothing() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    let sent = half(&mut client, "half", "").await;
    let fail_once = |topic: &str| {
        let order = Order { trigger: Trigger::FirstN(1), only_for: Some(topic.to_owned()) };
        kit.faults.order(FaultPoint::BeforeAppend, order);
    };
    fail_once("T");
    assert_eq!(end(&mut client, &sent, COMMIT, false).await.code, response::SERVICE_NOT_AVAILABLE);
    fail_once(TRANS_OP_HALF_TOPIC);
    assert_eq!(end(&mut client, &sent, ROLLBACK, false).await.code, response::SERVICE_NOT_AVAILABLE);
    assert_eq!(undecided(&kit), 1);
    assert_eq!(end(&mut client, &sent, COMMIT, false).await.code, 0);
    assert_eq!(bodies(&kit, "T"), ["half"]);
}

/// The producer is asked with the message as it sent it; the answer to any copy decides, once.
#[tokio::test]
async fn checks_until_decided() {
    let kit = Kit::start(&[("transactionCheckInterval", "10000")]).await;
    let mut client = kit.client().await;
    client.join("p1", "tx", "T").await;
    let sent = half(&mut client, "half", "").await;
    travel(&kit, 10).await;
    let first = client.asked(request::CHECK_TRANSACTION_STATE).await;
    for (name, value) in
        [("topic", TRANS_HALF_TOPIC), ("msgId", "key-half"), ("transactionId", "key-half"), ("bname", "b")]
    {
        assert_eq!(first.fields.get(name), Some(value), "{name}");
    }
    let record = MessageRecord::decode(&first.body).unwrap();
    record.check_body().unwrap();
    assert_eq!((record.topic, record.queue_id, record.body), ("T", 0, &b"half"[..]));
    assert_eq!(record.property(CHECK_TIMES), Some("1"));
    let copy = asked_about(&first);
    assert_eq!(copy.queue_offset, 1);
    assert_eq!(first.fields.get("offsetMsgId").unwrap(), offset_message_id(record.store_host, copy.physical));
    travel(&kit, 10).await;
    let second = client.asked(request::CHECK_TRANSACTION_STATE).await;
    assert_eq!(MessageRecord::decode(&second.body).unwrap().property(CHECK_TIMES), Some("2"));
    assert_eq!(bodies(&kit, TRANS_OP_HALF_TOPIC), ["0,", "1,"], "former copies are done with");
    // The producer answers about the first copy at last.
    assert_eq!(end(&mut client, &sent, COMMIT, false).await.code, 0);
    assert_eq!(end(&mut client, &copy, COMMIT, true).await.code, response::SYSTEM_ERROR);
    assert_eq!(end(&mut client, &asked_about(&second), COMMIT, true).await.code, response::SYSTEM_ERROR);
    assert_eq!(bodies(&kit, "T"), ["half"]);
    let delivered = records(&kit, "T");
    assert_eq!(MessageRecord::decode(&delivered[0]).unwrap().property(PREPARED_QUEUE_OFFSET), None);
    assert_eq!(bodies(&kit, TRANS_OP_HALF_TOPIC), ["0,", "1,", "2,"]);
    travel(&kit, 100).await;
    assert_eq!(bodies(&kit, TRANS_HALF_TOPIC).len(), 3, "nothing is asked any more");
}

/// Before its first heartbeat the sender is asked; when it comes back after a restart, the next half message tells of it.
#[tokio::test]
async fn a_sender_without_a_heartbeat_is_asked() {
    let kit = Kit::start(&[]).await;
    let (mut stranger, mut client) = (kit.client().await, kit.client().await);
    half(&mut stranger, "other", "").await;
    let sent = half(&mut client, "half", "").await;
    travel(&kit, 60).await;
    // Both are of one group: who sent last answers for all.
    let mut asked = [
        client.asked(request::CHECK_TRANSACTION_STATE).await,
        client.asked(request::CHECK_TRANSACTION_STATE).await,
    ];
    asked.sort_by_key(|asked| asked.body.to_vec());
    assert_ne!(asked_about(&asked[0]).queue_offset, asked_about(&asked[1]).queue_offset);
    assert_eq!(end(&mut client, &sent, COMMIT, true).await.code, response::SUCCESS);
    drop(client);
    let kit = kit.restart(&[]).await;
    travel(&kit, 3_600).await;
    let mut client = kit.client().await;
    half(&mut client, "after", "").await;
    client.asked(request::CHECK_TRANSACTION_STATE).await;
    assert_eq!(bodies(&kit, "T"), ["half"]);
}

/// Without a producer no check is lost; the next one of the group is asked at once. After the last check the message
/// is given up, and can be taken up again.
#[tokio::test]
async fn given_up_and_resumed() {
    let kit = Kit::start(&[("transactionCheckInterval", "10000"), ("transactionCheckMax", "2")]).await;
    let mut client = kit.client().await;
    half(&mut client, "half", "").await;
    // Who sent it says farewell: nobody is left to be asked.
    client.call(request::UNREGISTER_CLIENT, &[("clientID", "p1"), ("producerGroup", "tx_p")], "").await;
    travel(&kit, 3_600).await;
    assert_eq!(bodies(&kit, TRANS_HALF_TOPIC), ["half"]);
    client.join("p1", "tx", "T").await;
    client.asked(request::CHECK_TRANSACTION_STATE).await;
    travel(&kit, 10).await;
    let last = client.asked(request::CHECK_TRANSACTION_STATE).await;
    assert!(kit.broker.topics.get(TRANS_CHECK_MAX_TIME_TOPIC).is_none());
    travel(&kit, 10).await;
    settled(&kit).await;
    assert_eq!((undecided(&kit), bodies(&kit, TRANS_CHECK_MAX_TIME_TOPIC).len()), (0, 1));
    assert_eq!(kit.broker.topics.get(TRANS_CHECK_MAX_TIME_TOPIC).unwrap().read_queue_nums, 1);
    assert_eq!(end(&mut client, &asked_about(&last), COMMIT, true).await.code, response::SYSTEM_ERROR);

    let lost = records(&kit, TRANS_CHECK_MAX_TIME_TOPIC);
    let lost = MessageRecord::decode(&lost[0]).unwrap();
    assert_eq!((lost.property(CHECK_TIMES), lost.property("REAL_TOPIC")), (Some("2"), Some("T")));
    let id = lost.offset_message_id();
    let resume = [("msgId", id.as_str())];
    assert_eq!(client.call(request::RESUME_CHECK_HALF_MESSAGE, &resume, "").await.code, 0);
    assert_eq!(client.call(request::RESUME_CHECK_HALF_MESSAGE, &resume, "").await.code, 0);
    assert_eq!(undecided(&kit), 1, "resumed twice it is still one");
    travel(&kit, 10).await;
    let again = client.asked(request::CHECK_TRANSACTION_STATE).await;
    assert_eq!(MessageRecord::decode(&again.body).unwrap().property(CHECK_TIMES), Some("1"));
    assert_eq!(end(&mut client, &asked_about(&again), COMMIT, true).await.code, 0);
    assert_eq!(bodies(&kit, "T"), ["half"]);
    let host = lost.store_host;
    let plain = MessageRecord::decode(&records(&kit, "T")[0]).unwrap().offset_message_id();
    let decided = offset_message_id(host, asked_about(&again).physical);
    let nothing = offset_message_id(host, 1);
    for (id, remark) in [
        (id.as_str(), "was resumed and committed before"),
        (&plain, "the message there is one of topic T"),
        (&decided, "is decided or given up"),
        (&nothing, "at commit log offset 1 there is no message"),
        ("no id", "not an offset message id"),
    ] {
        let answer = client.call(request::RESUME_CHECK_HALF_MESSAGE, &[("msgId", id)], "").await;
        assert_eq!(answer.code, response::SYSTEM_ERROR);
        assert!(refusal(&answer).1.contains(remark), "{id}: {:?}", answer.remark);
    }
    assert_eq!(undecided(&kit), 0);
}

/// A half message that nobody can be asked about is kept as long as messages are.
#[tokio::test]
async fn nobody_comes_for_three_days() {
    let kit = Kit::start(&[]).await;
    half(&mut kit.client().await, "half", "").await;
    travel(&kit, 71 * 3_600).await;
    assert_eq!(undecided(&kit), 1);
    travel(&kit, 2 * 3_600).await;
    settled(&kit).await;
    assert_eq!((undecided(&kit), bodies(&kit, TRANS_CHECK_MAX_TIME_TOPIC).len()), (0, 1));
}

/// The time of immunity delays the first check, and a producer's own decision after it does not count.
#[tokio::test]
async fn immunity() {
    let kit = Kit::start(&[("transactionCheckInterval", "10000")]).await;
    let mut client = kit.client().await;
    client.join("p1", "tx", "T").await;
    let immune = "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}60\u{2}";
    let (late, early) = (half(&mut client, "late", immune).await, half(&mut client, "early", immune).await);
    travel(&kit, 50).await;
    assert_eq!(bodies(&kit, TRANS_HALF_TOPIC).len(), 2);
    assert_eq!(end(&mut client, &early, COMMIT, false).await.code, 0);
    travel(&kit, 20).await;
    let asked = client.asked(request::CHECK_TRANSACTION_STATE).await;
    let refused = end(&mut client, &late, COMMIT, false).await;
    assert_eq!(refused.code, response::ILLEGAL_OPERATION);
    assert!(refusal(&refused).1.contains("allows 60000 ms"), "{:?}", refused.remark);
    assert_eq!(end(&mut client, &asked_about(&asked), COMMIT, true).await.code, 0);
    assert_eq!(bodies(&kit, "T"), ["early", "late"]);
}

/// Under fast timings the wait doubles; under Apache's there are rounds; a value that was set counts in both.
#[test]
fn when_checks_are_due() {
    let machine = Machine { home: None, data_home: None, host_name: "m".to_owned(), cores: 1 };
    let mut fast = BrokerKeys::default_on(&machine, Timings::Fast);
    let waits = |keys: &BrokerKeys, stored_ms, immunity| {
        (0..7).map(|times| due_ms(keys, 100, times, stored_ms, immunity) - stored_ms).collect::<Vec<_>>()
    };
    assert_eq!(waits(&fast, 5, None), [2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    assert_eq!(due_ms(&fast, 0, i32::MAX, 5, None), 30_005);
    for (immunity, wait_ms) in [("7", 7_000), ("-1", 2_000), ("x", 2_000), ("0", 0)] {
        assert_eq!(due_ms(&fast, 0, 0, 5, Some(immunity)), 5 + wait_ms, "{immunity}");
    }
    assert_eq!(due_ms(&fast, 0, 0, 5, Some("9223372036854775807")), i64::MAX);
    let apache = BrokerKeys::default_on(&machine, Timings::Apache);
    for (stored_ms, times, due) in [
        (100, 0, 30_100),
        (24_100, 0, 30_100),
        (24_101, 0, 60_100),
        (30_100, 1, 60_100),
        (30_099, 1, 30_100),
        (1, 3, 30_100),
    ] {
        assert_eq!(due_ms(&apache, 100, times, stored_ms, None), due, "{stored_ms} {times}");
    }
    fast.set("transactionCheckInterval", "5000", Origin::Program).unwrap();
    assert_eq!(due_ms(&fast, 0, 3, 1, None), 5_000);
}

/// Kill -9 between the commit and its record: the message is there once, and nobody is asked about it.
#[tokio::test]
async fn killed_between_commit_and_record() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    let (yes, _open) = (half(&mut client, "yes", "").await, half(&mut client, "open", "").await);
    let order = Order { trigger: Trigger::FirstN(1), only_for: Some(TRANS_OP_HALF_TOPIC.to_owned()) };
    kit.faults.order(FaultPoint::BeforeAppend, order);
    assert_eq!(end(&mut client, &yes, COMMIT, false).await.code, 0);
    assert!(bodies(&kit, TRANS_OP_HALF_TOPIC).is_empty());
    let kit = kit.killed().await;
    assert_eq!(undecided(&kit), 1);
    assert_eq!(bodies(&kit, TRANS_OP_HALF_TOPIC), ["0,"]);
    let mut client = kit.client().await;
    assert_eq!(end(&mut client, &yes, COMMIT, true).await.code, response::SYSTEM_ERROR);
    assert_eq!(bodies(&kit, "T"), ["yes"]);
}

/// What Apache leaves behind is understood: decisions one by one or many in a record, and offsets of its group.
#[tokio::test]
async fn after_an_apache_broker() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    for number in 0..8 {
        half(&mut client, &number.to_string(), "").await;
    }
    // 0 and 1 are behind its offset, 3 by a 4.x record, 4 and 6 by a 5.x one; the rest is nonsense.
    kit.put(
        TRANS_OP_HALF_TOPIC,
        0,
        &["1", "3", "4,6,", "", ",,", "x", "-5", "99999999999999999999"],
        "TAGS\u{1}d\u{2}",
    );
    kit.broker.offsets.commit(GROUP, TRANS_HALF_TOPIC, 0, QueueOffset(2));
    kit.broker.offsets.commit(GROUP, TRANS_OP_HALF_TOPIC, 0, QueueOffset(1));
    kit.broker.saving.now().await;
    let kit = kit.killed().await;
    let state = kit.broker.transactions.lock();
    let left: Vec<i64> = (0..9).filter(|offset| state.table.get(*offset).is_some()).collect();
    assert_eq!(left, [2, 5, 7]);
}

/// Of a half message that Apache checked just before it was killed the latest copy counts, whatever became of it.
#[tokio::test]
async fn copies_that_apache_made() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    half(&mut client, "open", "").await;
    half(&mut client, "committed", "").await;
    let copy = |body: &str| {
        let halves = records(&kit, TRANS_HALF_TOPIC);
        let decoded = halves.iter().map(|bytes| MessageRecord::decode(bytes).unwrap());
        let half = decoded.into_iter().find(|record| record.body == body.as_bytes()).unwrap();
        let mut copy = InnerMessage::of_record(&halves[half.queue_offset as usize], &half).unwrap();
        copy.set_property(CHECK_TIMES, "1");
        kit.broker.put_as_it_is(&copy).unwrap()
    };
    let (open, committed) = (copy("open"), copy("committed"));
    let bytes = kit.broker.store.read_record(committed.physical_offset).unwrap().unwrap();
    let message = super::final_message(&bytes, &MessageRecord::decode(&bytes).unwrap()).unwrap();
    kit.broker.put_inner(message).unwrap();
    let kit = kit.killed().await;
    assert_eq!(undecided(&kit), 1);
    let latest = Sent { physical: open.physical_offset.0, queue_offset: open.queue_offset.0 };
    assert_eq!(end(&mut kit.client().await, &latest, COMMIT, true).await.code, 0);
    assert_eq!(bodies(&kit, "T"), ["committed", "open"]);
}

/// A half message that nobody decides does not make a start read everything that was decided since.
#[test]
fn what_waits_for_one_is_bounded() {
    let mut table = super::HalfTable::starting_at(0, 0);
    let half = |origin| super::Half {
        origin,
        physical_offset: 0,
        check_times: 0,
        stored_ms: 0,
        due_ms: 0,
        unsent: false,
        parked: None,
    };
    table.add(0, half(0));
    for offset in 1..=5 {
        table.add(offset, half(offset));
        table.remove(offset);
        table.op_written(offset - 1, offset);
    }
    assert_eq!((table.in_the_way(5), table.in_the_way(4)), (None, Some(0)));
    table.add(6, half(0));
    table.op_written(5, 0);
    assert_eq!((table.in_the_way(0), table.progress()), (None, (6, 6)));
}

/// Offsets that outlived the messages they speak of do not hide the next ones.
#[tokio::test]
async fn offsets_beyond_the_end() {
    let kit = Kit::start(&[]).await;
    half(&mut kit.client().await, "half", "").await;
    kit.broker.offsets.commit(GROUP, TRANS_HALF_TOPIC, 0, QueueOffset(5));
    kit.broker.saving.now().await;
    let kit = kit.killed().await;
    half(&mut kit.client().await, "next", "").await;
    kit.broker.saving.now().await;
    let kit = kit.killed().await;
    assert_eq!(undecided(&kit), 1);
}

/// Progress is kept once the log is on the disk, and is what both queues may begin from.
#[test]
fn progress() {
    let mut table = super::HalfTable::starting_at(10, 5);
    let half = |origin| super::Half {
        origin,
        physical_offset: 0,
        check_times: 0,
        stored_ms: 0,
        due_ms: origin,
        unsent: false,
        parked: None,
    };
    assert_eq!(table.progress(), (10, 5));
    for offset in 10..13 {
        table.add(offset, half(offset));
    }
    assert_eq!(table.progress(), (10, 5));
    table.remove(11);
    table.op_written(5, 11);
    assert_eq!(table.progress(), (10, 5));
    table.remove(10);
    table.op_written(6, 10);
    assert_eq!(table.progress(), (12, 7));
    assert_eq!(table.add(13, half(12)), Some(12));
    assert_eq!((table.latest(12), table.latest(13)), (Some(13), None));
    table.op_written(7, 12);
    assert_eq!(table.progress(), (13, 8));
    table.park(13, "g", 99);
    assert_eq!(table.next_due(), Some((99, 13)));
    assert!(table.unpark("g", 3) && !table.unpark("g", 3));
    assert_eq!(table.next_due(), Some((3, 13)));
    table.remove(13);
    assert_eq!((table.progress(), table.len(), table.next_due()), ((14, 8), 0, None));
}

/// What the model knows of one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Committed,
    RolledBack,
    GivenUp,
}

/// A long random life: sends, decisions about any copy, checks answered or not, producers that come and go, time that
/// passes, kills. A message is delivered exactly when it was committed, and then once.
#[tokio::test]
async fn delivered_exactly_when_committed() {
    let seed = std::env::var("RMQ_LITE_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("RMQ_LITE_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut kit = Kit::start(&[("transactionCheckInterval", "10000"), ("transactionCheckMax", "3")]).await;
    let mut client = kit.client().await;
    let mut joined = false;
    let mut copies: BTreeMap<usize, Vec<Sent>> = BTreeMap::new();
    let mut fates: BTreeMap<usize, Fate> = BTreeMap::new();
    for _ in 0..300 {
        match random.u32(..100) {
            0..30 => {
                let number = fates.len();
                let sent = half(&mut client, &number.to_string(), "").await;
                copies.insert(number, vec![sent]);
                fates.insert(number, Fate::Open);
            }
            30..70 if !fates.is_empty() => {
                let number = random.usize(..fates.len());
                let copy = random.choice(&copies[&number]).unwrap().clone();
                let commit = random.bool();
                let answer = end(&mut client, &copy, if commit { COMMIT } else { ROLLBACK }, true).await;
                let open = fates[&number] == Fate::Open;
                assert_eq!(answer.code == 0, open, "{number} {copy:?} {:?}", answer.remark);
                if open {
                    fates.insert(number, if commit { Fate::Committed } else { Fate::RolledBack });
                }
            }
            70..80 if !joined => {
                client.join("p1", "tx", "T").await;
                joined = true;
            }
            80..85 => {
                client = kit.client().await;
                joined = false;
            }
            85..96 => travel(&kit, random.u64(..15)).await,
            96.. => {
                kit = kit.killed().await;
                client = kit.client().await;
                joined = false;
            }
            _ => {}
        }
        settled(&kit).await;
        // New copies, and those that were given up.
        for bytes in records(&kit, TRANS_HALF_TOPIC) {
            let record = MessageRecord::decode(&bytes).unwrap();
            let number: usize = std::str::from_utf8(record.body).unwrap().parse().unwrap();
            let copies = copies.get_mut(&number).unwrap();
            if copies.iter().all(|copy| copy.queue_offset != record.queue_offset) {
                copies.push(Sent { physical: record.physical_offset, queue_offset: record.queue_offset });
                assert!(copies.len() <= 4, "more than three checks of {number}");
            }
        }
        for body in bodies(&kit, TRANS_CHECK_MAX_TIME_TOPIC) {
            let number: usize = body.parse().unwrap();
            if fates[&number] == Fate::Open {
                assert_eq!(copies[&number].len(), 4, "{number} was given up early");
                fates.insert(number, Fate::GivenUp);
            }
        }
        let of =
            |fate| fates.iter().filter(move |(_, own)| **own == fate).map(|(number, _)| number.to_string());
        let delivered = bodies(&kit, "T");
        assert_eq!(delivered.len(), of(Fate::Committed).count(), "{delivered:?}");
        assert_eq!(delivered.into_iter().collect::<BTreeSet<_>>(), of(Fate::Committed).collect());
        assert_eq!(undecided(&kit), of(Fate::Open).count());
        let given_up = bodies(&kit, TRANS_CHECK_MAX_TIME_TOPIC);
        assert_eq!(given_up.len(), of(Fate::GivenUp).count(), "{given_up:?}");
    }
}
