//! Request and reply: an answer to a message is pushed to the client that waits for it.
//!
//! Flows in: SEND_REPLY_MESSAGE (324) and SEND_REPLY_MESSAGE_V2 (325), whose properties name the waiting client. Flows
//! out: PUSH_REPLY_MESSAGE_TO_CLIENT (326) to that client, found among the producers, and, where
//! `storeReplyMessageEnable` is on, the reply in its topic. The request itself is a send like any other. Mirrors
//! `ReplyMessageProcessor`.

use std::sync::Arc;
use std::time::Duration;

use super::Broker;
use super::inner::InnerMessage;
use super::send::{queue_of_send, topic_of_send};
use crate::remoting::{Call, Outcome, Peer, Refusal};
use crate::store::NewMessage;
use crate::wire::code::{request, response};
use crate::wire::command::{Reply, Request};
use crate::wire::fields::shorten;
use crate::wire::header::send::{ReplyMessageRequestHeader, SendMessageRequestHeader};
use crate::wire::message::{append_property, offset_message_id, property};

/// Names the client that waits for the reply.
const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
/// When the broker passed the reply on, milliseconds.
const PUSH_REPLY_TIME: &str = "PUSH_REPLY_TIME";
/// How long a client may take to say that it has the reply (`Broker2Client.callClient`).
const PUSH_LIMIT: Duration = Duration::from_secs(10);

/// SEND_REPLY_MESSAGE (324) and SEND_REPLY_MESSAGE_V2 (325).
pub(super) fn send_reply_message(broker: &Arc<Broker>, call: Call<SendMessageRequestHeader>) -> Outcome {
    match checked(broker, &call) {
        Ok(queue_id) => {
            let broker = broker.clone();
            Outcome::later(async move { Ok(pass_on(&broker, &call, queue_id).await) })
        }
        Err(refusal) => Outcome::Now(Err(refusal)),
    }
}

fn checked(broker: &Arc<Broker>, call: &Call<SendMessageRequestHeader>) -> Result<i32, Refusal> {
    let config = topic_of_send(broker, call, &broker.keys())?;
    queue_of_send(call, &config)
}

async fn pass_on(broker: &Broker, call: &Call<SendMessageRequestHeader>, queue_id: i32) -> Reply {
    let pushed = push(broker, call).await;
    let reply = match pushed {
        Ok(()) => Reply::success(),
        Err(remark) => Reply::with_code(response::SYSTEM_ERROR).remark(remark),
    };
    let reply = Reply { fields: broker.keys().answer_fields.beginning(), ..reply };
    if broker.keys().store_reply_message_enable {
        match store(broker, call, queue_id) {
            Ok((id, queue_offset)) => {
                return reply
                    .field("msgId", id)
                    .field("queueId", queue_id)
                    .field("queueOffset", queue_offset);
            }
            // The reply has arrived or not: keeping it is an extra.
            Err(refusal) => tracing::warn!(remark = refusal.remark, "a reply is not stored"),
        }
    }
    // Clients read these fields whatever the code.
    reply.field("msgId", "0").field("queueId", queue_id).field("queueOffset", 0)
}

/// Gives the reply to the client that waits; the error is the remark.
async fn push(broker: &Broker, call: &Call<SendMessageRequestHeader>) -> Result<(), String> {
    let properties = call.header.properties.as_deref().unwrap_or_default();
    let Some(client_id) = property(properties, REPLY_TO_CLIENT) else {
        return Err(format!("reply message properties[{REPLY_TO_CLIENT}] is null"));
    };
    let Some(peer) = broker.producers.peer_of_client(client_id) else {
        return Err(format!("push reply message fail, channel of <{}> not found.", shorten(client_id)));
    };
    let failed = |cause: String| {
        tracing::warn!(client_id, cause, "a reply does not reach the client that waits for it");
        format!("push reply message to {}fail.", shorten(client_id))
    };
    match peer.call(push_request(broker, call, properties, &call.peer), PUSH_LIMIT).await {
        Ok(answer) if answer.code == response::SUCCESS => Ok(()),
        Ok(answer) => Err(failed(answer.remark.unwrap_or_default().to_string())),
        Err(cause) => Err(failed(cause.to_string())),
    }
}

fn push_request(
    broker: &Broker,
    call: &Call<SendMessageRequestHeader>,
    properties: &str,
    replier: &Peer,
) -> Request {
    let header = &call.header;
    let now_ms = broker.clock.now_ms();
    let mut properties = properties.to_owned();
    append_property(&mut properties, PUSH_REPLY_TIME, &now_ms.to_string());
    let header = ReplyMessageRequestHeader {
        producer_group: header.producer_group.clone(),
        topic: header.topic.clone(),
        default_topic: header.default_topic.clone(),
        default_topic_queue_nums: header.default_topic_queue_nums,
        queue_id: header.queue_id,
        sys_flag: header.sys_flag,
        born_timestamp: header.born_timestamp,
        flag: header.flag,
        properties: Some(properties.into()),
        reconsume_times: header.reconsume_times,
        unit_mode: header.unit_mode.unwrap_or(false),
        born_host: replier.address().to_string().into(),
        store_host: broker.address().store_host(replier).to_string().into(),
        store_timestamp: now_ms,
    };
    Request::new(request::PUSH_REPLY_MESSAGE_TO_CLIENT, &header).with_body(call.body.clone())
}

/// Stores the reply in its topic; returns its offset message id and its place in the queue.
fn store(
    broker: &Broker,
    call: &Call<SendMessageRequestHeader>,
    queue_id: i32,
) -> Result<(String, i64), Refusal> {
    let header = &call.header;
    let message = NewMessage {
        topic: &header.topic,
        queue_id,
        flag: header.flag,
        sys_flag: header.sys_flag,
        born_timestamp: header.born_timestamp,
        born_host: call.peer.address(),
        store_host: broker.address().store_host(&call.peer),
        reconsume_times: header.reconsume_times.unwrap_or(0),
        prepared_transaction_offset: 0,
        body: &call.body,
        properties: &[header.properties.as_deref().unwrap_or_default()],
        wait_store: false,
    };
    let receipt = broker.put_inner(InnerMessage::of(&message, call.body.clone()))?;
    let id = offset_message_id(message.store_host, receipt.physical_offset.0);
    Ok((id, receipt.queue_offset.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::kit::{Kit, RawClient, refusal};

    const WAITS: &str = "REPLY_TO_CLIENT\u{1}waiting\u{2}CORRELATION_ID\u{1}7\u{2}";

    async fn reply(client: &mut RawClient, topic: &str, queue_id: &str, properties: &str) -> i32 {
        let fields = [
            ("a", "p"),
            ("b", topic),
            ("c", "TBW102"),
            ("d", "1"),
            ("e", queue_id),
            ("f", "0"),
            ("g", "5"),
            ("h", "3"),
            ("i", properties),
        ];
        client.send(request::SEND_REPLY_MESSAGE_V2, &fields, "pong").await
    }

    /// The reply reaches the client that waits, and is answered with the place where it is kept, if it is.
    #[tokio::test]
    async fn a_reply_is_passed_on() {
        for (kept, stored) in [("true", 1), ("false", 0)] {
            let kit = Kit::start(&[("storeReplyMessageEnable", kept)]).await;
            let (mut waiting, mut replier) = (kit.client().await, kit.client().await);
            waiting.join("waiting", "g", "T").await;
            let opaque = reply(&mut replier, "C_REPLY_TOPIC", "0", WAITS).await;
            let pushed = waiting.asked(request::PUSH_REPLY_MESSAGE_TO_CLIENT).await;
            assert_eq!(&*pushed.body, b"pong");
            for (name, value) in
                [("topic", "C_REPLY_TOPIC"), ("bornTimestamp", "5"), ("flag", "3"), ("queueId", "0")]
            {
                assert_eq!(pushed.fields.get(name), Some(value), "{name}");
            }
            let properties = pushed.fields.get("properties").unwrap();
            assert_eq!(property(properties, "CORRELATION_ID"), Some("7"));
            assert!(property(properties, PUSH_REPLY_TIME).is_some());
            waiting.reply(pushed.opaque, Reply::success()).await;
            let answer = replier.answer(opaque).await;
            assert_eq!((answer.code, answer.fields.get("queueOffset")), (0, Some("0")));
            assert_eq!(answer.fields.get("msgId").unwrap() == "0", stored == 0);
            assert_eq!(kit.broker.store.max_offset_in_queue("C_REPLY_TOPIC", 0).0, stored);
        }
    }

    /// A reply that nobody waits for, or that is no good, is told apart.
    #[tokio::test]
    async fn replies_that_reach_nobody() {
        let kit = Kit::start(&[]).await;
        let (mut waiting, mut replier) = (kit.client().await, kit.client().await);
        waiting.join("waiting", "g", "T").await;
        let opaque = reply(&mut replier, "C_REPLY_TOPIC", "0", WAITS).await;
        let pushed = waiting.asked(request::PUSH_REPLY_MESSAGE_TO_CLIENT).await;
        waiting.reply(pushed.opaque, Reply::with_code(1).remark("no")).await;
        let answer = replier.answer(opaque).await;
        assert_eq!(refusal(&answer), (response::SYSTEM_ERROR, "push reply message to waitingfail."));
        for (topic, queue_id, properties, code, remark) in [
            (
                "C_REPLY_TOPIC",
                "0",
                "REPLY_TO_CLIENT\u{1}else\u{2}",
                1,
                "push reply message fail, channel of <else> not found.",
            ),
            ("C_REPLY_TOPIC", "0", "", 1, "reply message properties[REPLY_TO_CLIENT] is null"),
            ("C_REPLY_TOPIC", "9", WAITS, response::INVALID_PARAMETER, "request queueId[9] is illegal"),
            ("no/topic", "0", WAITS, response::INVALID_PARAMETER, "illegal characters"),
        ] {
            let opaque = reply(&mut replier, topic, queue_id, properties).await;
            let answer = replier.answer(opaque).await;
            assert!(answer.code == code && refusal(&answer).1.contains(remark), "{:?}", answer.remark);
        }
        drop(waiting);
        let gone = async {
            while kit.broker.producers.peer_of_client("waiting").is_some() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
    }
}
