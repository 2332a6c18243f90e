//! Taking a timer message back: the handle that its sender gets, and the request that brings it.
//!
//! Flows in: RECALL_MESSAGE (370), served where `recallMessageEnable` is on. Flows out: a cancelling message for
//! the same time, which the timers keep (see [`super`]). A handle is `v1 topic broker time key`, in base64 as
//! URLs have it. Mirrors `RecallMessageProcessor` and `RecallMessageHandle`.

use std::sync::Arc;

use bytes::Bytes;

use crate::broker::Broker;
use crate::broker::inner::InnerMessage;
use crate::broker::name::RETRY_PREFIX;
use crate::broker::topic::perm;
use crate::remoting::{Answer, Call, Refusal};
use crate::wire::code::response;
use crate::wire::command::Reply;
use crate::wire::header::send::RecallMessageRequestHeader;
use crate::wire::message::property_name::{
    TAGS, TIMER_DEL_UNIQKEY, TIMER_DELIVER_MS, TIMER_OUT_MS, UNIQ_KEY,
};

const VERSION: &str = "v1";
/// Tag of a cancelling message.
const RECALL_TAG: &str = "_RECALL_TAG_";
/// Longest handle: of the longest topic, broker name and key that make sense.
const HANDLE_BYTES_MAX: usize = 4_096;
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Returns the handle of a message that waits as a timer, for the topic it is meant for; none for a retry.
pub(in crate::broker) fn handle(
    broker: &Broker,
    hidden: &InnerMessage,
    topic: &str,
    unique_key: &str,
) -> Option<String> {
    let out_ms: i64 = hidden.property(TIMER_OUT_MS)?.parse().ok()?;
    if topic.starts_with(RETRY_PREFIX) {
        return None;
    }
    let (broker_name, deliver_ms) = (&broker.keys().broker_name, out_ms.saturating_add(1));
    Some(encode(format!("{VERSION} {topic} {broker_name} {deliver_ms} {unique_key}").as_bytes()))
}

/// RECALL_MESSAGE (370).
pub(in crate::broker) fn recall_message(
    broker: &Arc<Broker>,
    call: Call<RecallMessageRequestHeader>,
) -> Answer {
    let keys = broker.keys();
    let topic: &str = &call.header.topic;
    if !keys.recall_message_enable {
        return Err(Refusal::new(response::NO_PERMISSION, "recall failed, operation is forbidden"));
    }
    let now_ms = broker.clock.now_ms();
    if now_ms < keys.start_accept_send_request_time_stamp || keys.broker_permission & perm::WRITE == 0 {
        let remark = "recall failed, broker service not available";
        return Err(Refusal::new(response::SERVICE_NOT_AVAILABLE, remark));
    }
    if broker.topics.get(topic).is_none() {
        let shown: String = topic.chars().take(255).collect();
        let remark = format!("recall failed, the topic[{shown}] not exist");
        return Err(Refusal::new(response::TOPIC_NOT_EXIST, remark));
    }
    let illegal = |remark: String| Refusal::new(response::ILLEGAL_OPERATION, remark);
    let decoded = decode(&call.header.recall_handle).and_then(|bytes| String::from_utf8(bytes).ok());
    let items: Vec<&str> = decoded.as_deref().unwrap_or_default().split(' ').collect();
    let [VERSION, of_topic, of_broker, time, key, ..] = items[..] else {
        return Err(illegal("recall handle is invalid".to_owned()));
    };
    if of_topic != topic {
        return Err(illegal("recall failed, topic not match".to_owned()));
    }
    if of_broker != keys.broker_name {
        return Err(illegal("recall failed, broker service not available".to_owned()));
    }
    let deliver_ms = time.parse().unwrap_or(-1_i64);
    let left_ms = deliver_ms.saturating_sub(now_ms);
    let max_ms = i64::from(keys.timer_max_delay_sec) * 1_000;
    // A key is written between separators.
    if left_ms <= 0 || left_ms >= max_ms || key.is_empty() || key.contains(['\u{1}', '\u{2}']) {
        return Err(illegal(format!(
            "recall failed, timestamp invalid: {deliver_ms} is {left_ms} ms away, and up to {max_ms} is possible"
        )));
    }
    let mut message = InnerMessage {
        topic: topic.to_owned(),
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: now_ms,
        born_host: call.peer.address(),
        store_host: broker.address().store_host(&call.peer),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: Bytes::from_static(b"0"),
        properties: String::new(),
        wait_store: false,
    };
    message.set_property(TAGS, RECALL_TAG);
    message.set_property(TIMER_DEL_UNIQKEY, &format!("{topic}+{key}"));
    message.set_property(UNIQ_KEY, key);
    message.set_property(TIMER_DELIVER_MS, &deliver_ms.to_string());
    broker.put_inner(message)?;
    Ok(Reply::success().field("MSG_REGION", keys.region_id.clone()).field("msgId", key.to_owned()))
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits =
            three.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - three.len()));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize] as char;
            text.push(if at <= three.len() { digit } else { '=' });
        }
    }
    text
}

fn decode(text: &str) -> Option<Vec<u8>> {
    if text.len() > HANDLE_BYTES_MAX {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for four in text.trim_end_matches('=').as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for digit in four {
            bits = bits << 6 | DIGITS.iter().position(|known| known == digit)? as u32;
        }
        bits <<= 6 * (4 - four.len());
        let count = four.len() - 1;
        if count == 0 {
            return None;
        }
        bytes.extend_from_slice(&bits.to_be_bytes()[1..=count]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::broker::kit::{Kit, refusal};
    use crate::broker::name::TIMER_TOPIC;
    use crate::wire::code::request;

    /// The text of a handle is Java's, and whatever else comes is no handle.
    #[test]
    fn base64() {
        for (bytes, text) in [("", ""), ("v", "dg=="), ("v1", "djE="), ("v1 ", "djEg"), ("?>~", "Pz5-")] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
            assert_eq!(decode(text.trim_end_matches('=')).unwrap(), bytes.as_bytes());
        }
        for text in ["a", "ab!=", "ab/+", "\u{fc}", &"A".repeat(5_000)] {
            assert_eq!(decode(text), None, "{}", text.len());
        }
    }

    /// A sender takes back with its handle what it has sent; the message beside it comes.
    #[tokio::test]
    async fn taken_back() {
        let kit = Kit::start(&[("recallMessageEnable", "true")]).await;
        let mut client = kit.client().await;
        let sent =
            client.send_message("T", 0, "gone", "TIMER_DELAY_SEC\u{1}60\u{2}UNIQ_KEY\u{1}K1\u{2}").await;
        let handle = sent.fields.get("recallHandle").expect("a handle").to_owned();
        let decoded = String::from_utf8(decode(&handle).unwrap()).unwrap();
        assert!(decoded.starts_with("v1 T b 17") && decoded.ends_with(" K1"), "{decoded}");
        client.send_message("T", 0, "stays", "TIMER_DELAY_SEC\u{1}60\u{2}").await;
        let plain = client.send_message("T", 0, "plain", "").await;
        assert_eq!(plain.fields.get("recallHandle"), None);
        let fields = [("topic", "T"), ("recallHandle", handle.as_str()), ("producerGroup", "p")];
        let answer = client.call(request::RECALL_MESSAGE, &fields, "").await;
        assert_eq!((answer.code, answer.fields.get("msgId")), (0, Some("K1")), "{:?}", answer.remark);
        kit.records(TIMER_TOPIC, 0, 3).await;
        kit.clock.travel(Duration::from_secs(62));
        let all = kit.records("T", 0, 2).await;
        assert!(all.iter().all(|bytes| !bytes.windows(4).any(|part| part == b"gone")));
        assert_eq!(kit.broker.store.max_offset_in_queue("T", 0).0, 2);
    }

    /// A handle that is forged, of another topic or broker, too late or too early is refused; so is every one
    /// unless recalling is allowed.
    #[tokio::test]
    async fn refusals() {
        let kit = Kit::start(&[("recallMessageEnable", "true")]).await;
        let mut client = kit.client().await;
        client.send_message("T", 0, "m", "").await;
        let end = kit.broker.store.max_physical_offset();
        let now_ms = kit.clock.now_ms();
        let soon = now_ms + 60_000;
        for (text, remark) in [
            ("v1 T b".to_owned(), "recall handle is invalid"),
            (format!("v2 T b {soon} K"), "recall handle is invalid"),
            (format!("v1 U b {soon} K"), "recall failed, topic not match"),
            (format!("v1 T c {soon} K"), "recall failed, broker service not available"),
            (format!("v1 T b {} K", now_ms - 1), "recall failed, timestamp invalid"),
            (format!("v1 T b {} K", i64::MAX), "recall failed, timestamp invalid"),
            (format!("v1 T b {soon} K\u{2}DELAY\u{1}1"), "recall failed, timestamp invalid"),
            ("v1 T b soon K".to_owned(), "recall failed, timestamp invalid: -1"),
        ] {
            let fields = [("topic", "T"), ("recallHandle", &encode(text.as_bytes()))];
            let answer = client.call(request::RECALL_MESSAGE, &fields, "").await;
            let (code, said) = refusal(&answer);
            assert!(code == response::ILLEGAL_OPERATION && said.starts_with(remark), "{text}: {code} {said}");
        }
        let fields = [("topic", "Nowhere"), ("recallHandle", "x")];
        let answer = client.call(request::RECALL_MESSAGE, &fields, "").await;
        assert_eq!(answer.code, response::TOPIC_NOT_EXIST);
        assert_eq!(kit.broker.store.max_physical_offset(), end, "nothing was stored");
        let kit = Kit::start(&[]).await;
        let answer = kit.client().await.call(request::RECALL_MESSAGE, &fields, "").await;
        assert_eq!(refusal(&answer), (response::NO_PERMISSION, "recall failed, operation is forbidden"));
    }
}
