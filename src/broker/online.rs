//! What administrators ask about clients that are connected, and ask those clients themselves.
//!
//! Flows in: GET_CONSUMER_CONNECTION_LIST (203), GET_PRODUCER_CONNECTION_LIST (204), GET_ALL_PRODUCER_INFO (328),
//! QUERY_SUBSCRIPTION_BY_CONSUMER (345), and GET_CONSUMER_RUNNING_INFO (307), CONSUME_MESSAGE_DIRECTLY (309) and
//! INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223), which go on to the client over its own connection; its answer comes
//! back as it is. Mirrors these parts of `AdminBrokerProcessor` and `Broker2Client`.

#![allow(clippy::unnecessary_wraps, reason = "every handler answers in one shape")]

use std::sync::Arc;
use std::time::Duration;

use super::Broker;
use super::client::Member;
use crate::remoting::connection::CallError;
use crate::remoting::{Answer, Call, Outcome, Refusal};
use crate::store::PhysicalOffset;
use crate::wire::body::connection::{
    Connection, ConsumerConnection, ProducerConnection, ProducerInfo, ProducerTableInfo,
};
use crate::wire::body::group::QuerySubscriptionResponseBody;
use crate::wire::body::offset::GetConsumerStatusBody;
use crate::wire::code::{request, response};
use crate::wire::command::{Reply, Request};
use crate::wire::fastjson;
use crate::wire::fields::{NoHeader, shorten};
use crate::wire::header::client::{
    ConsumeMessageDirectlyResultRequestHeader, GetConsumerConnectionListRequestHeader,
    GetConsumerRunningInfoRequestHeader, GetProducerConnectionListRequestHeader,
};
use crate::wire::header::group::QuerySubscriptionByConsumerRequestHeader;
use crate::wire::header::offset::GetConsumerStatusRequestHeader;
use crate::wire::message::parse_offset_message_id;

/// How long a client may take for what an administrator asks of it.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// How long a client may take to tell its offsets.
const STATUS_LIMIT: Duration = Duration::from_secs(5);
/// First version that tells its offsets and takes resets (`V3_0_7_SNAPSHOT`).
pub(super) const VERSION_WITH_RESET: i32 = 28;
/// First version that describes itself and consumes on demand (`V3_1_8_SNAPSHOT`).
const VERSION_WITH_RUNNING_INFO: i32 = 62;

/// GET_CONSUMER_CONNECTION_LIST (203).
pub(super) fn get_consumer_connection_list(
    broker: &Arc<Broker>,
    call: Call<GetConsumerConnectionListRequestHeader>,
) -> Answer {
    let name = &call.header.consumer_group;
    let group = broker.consumers.group(name).ok_or_else(|| {
        let remark = format!("the consumer group[{}] not online", shorten(name));
        Refusal::new(response::CONSUMER_NOT_ONLINE, remark)
    })?;
    let body = ConsumerConnection {
        connection_set: group.members.values().map(connection).collect(),
        consume_from_where: group.consume_from_where,
        consume_type: group.consume_type,
        message_model: group.message_model,
        subscription_table: group
            .subscriptions
            .into_iter()
            .map(|(topic, found)| (topic, found.data))
            .collect(),
    };
    Ok(Reply::success().body(fastjson::to_string(&body)))
}

fn connection(member: &Member) -> Connection {
    Connection {
        client_addr: member.peer.address().to_string(),
        client_id: member.client_id.clone(),
        language: member.language.name().to_owned(),
        version: member.version,
    }
}

/// GET_PRODUCER_CONNECTION_LIST (204).
pub(super) fn get_producer_connection_list(
    broker: &Arc<Broker>,
    call: Call<GetProducerConnectionListRequestHeader>,
) -> Answer {
    let group = &call.header.producer_group;
    let members = broker.producers.members(group);
    if members.is_empty() {
        let remark = format!("the producer group[{}] not exist", shorten(group));
        return Err(Refusal::new(response::SYSTEM_ERROR, remark));
    }
    let body = ProducerConnection { connection_set: members.iter().map(connection).collect() };
    Ok(Reply::success().body(fastjson::to_string(&body)))
}

/// GET_ALL_PRODUCER_INFO (328).
pub(super) fn get_all_producer_info(broker: &Arc<Broker>, _: Call<NoHeader>) -> Answer {
    let info = |member: Member| ProducerInfo {
        client_id: member.client_id,
        language: member.language.name().to_owned(),
        last_update_timestamp: broker.clock.unskewed_ms_of_liveness(member.last_update_ms),
        remote_ip: member.peer.address().to_string(),
        version: member.version,
    };
    let groups = broker.producers.all().into_iter();
    let data = groups.map(|(group, members)| (group, members.into_iter().map(info).collect())).collect();
    Ok(Reply::success().body(fastjson::to_string(&ProducerTableInfo { data })))
}

/// QUERY_SUBSCRIPTION_BY_CONSUMER (345).
pub(super) fn query_subscription_by_consumer(
    broker: &Arc<Broker>,
    call: Call<QuerySubscriptionByConsumerRequestHeader>,
) -> Answer {
    let QuerySubscriptionByConsumerRequestHeader { group, topic } = call.header;
    let topic = topic.unwrap_or_default();
    let found = broker.consumers.subscription(&group, &topic).ok();
    let body = QuerySubscriptionResponseBody {
        group: group.to_string(),
        subscription_data: found.map(|(subscription, _)| subscription.data),
        topic: topic.to_string(),
    };
    Ok(Reply::success().body(fastjson::to_string(&body)))
}

/// GET_CONSUMER_RUNNING_INFO (307): asks the client.
pub(super) fn get_consumer_running_info(
    broker: &Arc<Broker>,
    call: Call<GetConsumerRunningInfoRequestHeader>,
) -> Outcome {
    let request = Request::new(request::GET_CONSUMER_RUNNING_INFO, &call.header);
    ask_consumer(broker, &call.header.consumer_group, &call.header.client_id, request)
}

/// CONSUME_MESSAGE_DIRECTLY (309): has the client consume one stored message now.
pub(super) fn consume_message_directly(
    broker: &Arc<Broker>,
    call: Call<ConsumeMessageDirectlyResultRequestHeader>,
) -> Outcome {
    let mut header = call.header;
    let record = match stored_message(broker, header.msg_id.as_deref().unwrap_or_default()) {
        Ok(record) => record,
        Err(refusal) => return Outcome::Now(Err(refusal)),
    };
    header.broker_name = Some(broker.name().into());
    if let Some(config) = header.topic.as_deref().and_then(|topic| broker.topics.get(topic)) {
        header.topic_sys_flag = Some(config.topic_sys_flag);
    }
    if let Some(config) = broker.groups.get(&header.consumer_group) {
        header.group_sys_flag = Some(config.group_sys_flag);
    }
    let request = Request::new(request::CONSUME_MESSAGE_DIRECTLY, &header).with_body(record);
    ask_consumer(broker, &header.consumer_group, header.client_id.as_deref().unwrap_or_default(), request)
}

fn stored_message(broker: &Broker, id: &str) -> Result<bytes::Bytes, Refusal> {
    let refuse = |problem: &str| {
        Refusal::new(
            response::SYSTEM_ERROR,
            format!("can not find message by the id {}{problem}", shorten(id)),
        )
    };
    let (_, offset) = parse_offset_message_id(id).map_err(|_| refuse(", which is no offset message id"))?;
    broker.store.read_record(PhysicalOffset(offset))?.ok_or_else(|| refuse(""))
}

/// Passes a request on to one member of a group and its answer back (`AdminBrokerProcessor.callConsumer`).
fn ask_consumer(broker: &Broker, group: &str, client_id: &str, request: Request) -> Outcome {
    let refuse = |code, remark| Outcome::Now(Err(Refusal::new(code, remark)));
    let (group, client_id) = (shorten(group).to_owned(), client_id.to_owned());
    let Some(member) = broker.consumers.member(&group, &client_id) else {
        let remark = format!("The Consumer <{group}> <{}> not online", shorten(&client_id));
        return refuse(response::SYSTEM_ERROR, remark);
    };
    if member.version < VERSION_WITH_RUNNING_INFO {
        let remark = format!(
            "The Consumer <{client_id}> Version <{}> too low to finish, please upgrade it to V3_1_8_SNAPSHOT",
            member.version
        );
        return refuse(response::SYSTEM_ERROR, remark);
    }
    Outcome::later(async move {
        match member.peer.call(request, CALL_LIMIT).await {
            Ok(answer) => {
                let mut reply = Reply::with_code(answer.code).body(answer.body);
                reply.remark = answer.remark.map(|remark| remark.to_string().into());
                Ok(reply)
            }
            Err(CallError::TimedOut) => {
                let seconds = CALL_LIMIT.as_secs();
                let remark =
                    format!("consumer <{group}> <{client_id}> Timeout: no answer within {seconds} seconds");
                Err(Refusal::new(response::CONSUME_MSG_TIMEOUT, remark))
            }
            Err(cause) => {
                let remark = format!("invoke consumer <{group}> <{client_id}> Exception: {cause}");
                Err(Refusal::new(response::SYSTEM_ERROR, remark))
            }
        }
    })
}

/// INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223): what the members of a group say about their own offsets.
///
/// A member that does not answer is left out.
pub(super) fn invoke_broker_to_get_consumer_status(
    broker: &Arc<Broker>,
    call: Call<GetConsumerStatusRequestHeader>,
) -> Outcome {
    let GetConsumerStatusRequestHeader { topic, group, client_addr } = call.header;
    let refuse = |remark: String| Outcome::Now(Err(Refusal::new(response::SYSTEM_ERROR, remark)));
    let Some(found) = broker.consumers.group(&group) else {
        return refuse(format!("No Any Consumer online in the consumer group: [{}]", shorten(&group)));
    };
    if let Some(old) = found.members.values().find(|member| member.version < VERSION_WITH_RESET) {
        return refuse(format!("the client does not support this feature. version={}", old.version));
    }
    let wanted = client_addr.filter(|id| !id.trim().is_empty());
    let members = found.members.into_values();
    let members = members.filter(|member| wanted.as_ref().is_none_or(|id| **id == member.client_id));
    let header = GetConsumerStatusRequestHeader { topic, group, client_addr: None };
    let request = Request::new(request::GET_CONSUMER_STATUS_FROM_CLIENT, &header);
    let asked: Vec<_> = members
        .map(|member| {
            let request = request.clone();
            async move {
                let answer = member.peer.call(request, STATUS_LIMIT).await.ok()?;
                let status: GetConsumerStatusBody = fastjson::from_slice(&answer.body).ok()?;
                Some((member.client_id, status.message_queue_table))
            }
        })
        .collect();
    Outcome::later(async move {
        let told = futures_util::future::join_all(asked).await;
        let body = GetConsumerStatusBody {
            consumer_table: told.into_iter().flatten().collect(),
            ..GetConsumerStatusBody::default()
        };
        Ok(Reply::success().body(fastjson::to_string(&body)))
    })
}

#[cfg(test)]
mod tests {
    use crate::broker::kit::{Kit, START_MS, refusal, text};
    use crate::wire::code::{request, response};
    use crate::wire::command::Reply;
    use crate::wire::message::MessageRecord;

    /// Who is connected is shown with address, language and version, until they go.
    #[tokio::test]
    async fn who_is_connected() {
        let kit = Kit::start(&[]).await;
        let (mut client, mut admin) = (kit.client().await, kit.client().await);
        let consumers = [("consumerGroup", "g")];
        let offline = admin.call(request::GET_CONSUMER_CONNECTION_LIST, &consumers, "").await;
        assert_eq!(refusal(&offline), (response::CONSUMER_NOT_ONLINE, "the consumer group[g] not online"));
        let producers = [("producerGroup", "g_p")];
        let offline = admin.call(request::GET_PRODUCER_CONNECTION_LIST, &producers, "").await;
        assert_eq!(refusal(&offline), (response::SYSTEM_ERROR, "the producer group[g_p] not exist"));
        client.join("c1", "g", "T").await;
        let online = admin.call(request::GET_CONSUMER_CONNECTION_LIST, &consumers, "").await;
        let body = text(&online);
        assert!(body.starts_with(r#"{"connectionSet":[{"clientAddr":"127.0.0.1:"#), "{body}");
        assert!(body.contains(r#""clientId":"c1","language":"JAVA","version":479}],"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","subscriptionTable":{"T":{"#), "{body}");
        let online = admin.call(request::GET_PRODUCER_CONNECTION_LIST, &producers, "").await;
        assert!(text(&online).contains(r#""clientId":"c1""#));
        let all = admin.call(request::GET_ALL_PRODUCER_INFO, &[], "").await;
        assert!(
            text(&all).starts_with(
                r#"{"data":{"g_p":[{"clientId":"c1","language":"JAVA","lastUpdateTimestamp":17"#
            ),
            "{}",
            text(&all)
        );
        let asked =
            admin.call(request::QUERY_SUBSCRIPTION_BY_CONSUMER, &[("group", "g"), ("topic", "T")], "").await;
        assert!(text(&asked).contains(r#""subString":"*""#), "{}", text(&asked));
        let asked = admin.call(request::QUERY_SUBSCRIPTION_BY_CONSUMER, &[("group", "g")], "").await;
        assert_eq!(text(&asked), r#"{"group":"g","topic":""}"#);
    }

    /// A client's own answer, body and code, comes back untouched.
    #[tokio::test]
    async fn a_client_answers_for_itself() {
        let kit = Kit::start(&[]).await;
        let (mut client, mut admin) = (kit.client().await, kit.client().await);
        client.join("c1", "g", "T").await;
        let ask = [("consumerGroup", "g"), ("clientId", "c1"), ("jstackEnable", "true")];
        let opaque = admin.send(request::GET_CONSUMER_RUNNING_INFO, &ask, "").await;
        let asked = client.asked(request::GET_CONSUMER_RUNNING_INFO).await;
        assert_eq!(asked.fields.get("clientId"), Some("c1"));
        assert_eq!(asked.fields.get("jstackEnable"), Some("true"));
        let raw = r#"{"mqTable":{{"brokerName":"b","queueId":0,"topic":"T"}:{"droped":false}}}"#;
        client.reply(asked.opaque, Reply::with_code(7).remark("hm").body(raw)).await;
        let answer = admin.answer(opaque).await;
        assert_eq!((refusal(&answer), text(&answer)), ((7, "hm"), raw));
        let ask = [("consumerGroup", "g"), ("clientId", "other")];
        let absent = admin.call(request::GET_CONSUMER_RUNNING_INFO, &ask, "").await;
        assert_eq!(refusal(&absent), (response::SYSTEM_ERROR, "The Consumer <g> <other> not online"));
    }

    /// A client is handed the stored record; what is no message is not handed to anybody.
    #[tokio::test]
    async fn consuming_on_demand() {
        let kit = Kit::start(&[]).await;
        let (mut client, mut admin) = (kit.client().await, kit.client().await);
        client.join("c1", "g", "T").await;
        kit.broker.topics.create_in_send("TBW102", "T", 1).unwrap();
        kit.put("T", 0, &["first", "again"], "");
        let found = kit.broker.store.read_record(crate::store::PhysicalOffset(0)).unwrap().unwrap();
        let id = MessageRecord::decode(&found).unwrap().offset_message_id();
        let ask = |id| [("consumerGroup", "g"), ("clientId", "c1"), ("msgId", id), ("topic", "T")];
        let opaque = admin.send(request::CONSUME_MESSAGE_DIRECTLY, &ask(&id), "").await;
        let asked = client.asked(request::CONSUME_MESSAGE_DIRECTLY).await;
        assert_eq!(asked.body, found);
        assert_eq!(
            (asked.fields.get("brokerName"), asked.fields.get("topicSysFlag")),
            (Some("b"), Some("0"))
        );
        client.reply(asked.opaque, Reply::success().body(r#"{"consumeResult":"CR_SUCCESS"}"#)).await;
        assert_eq!(text(&admin.answer(opaque).await), r#"{"consumeResult":"CR_SUCCESS"}"#);
        for id in ["", "nonsense", "7F00000100002A9F0000000000000003", &"F".repeat(32), &"A".repeat(9999)] {
            let refused = admin.call(request::CONSUME_MESSAGE_DIRECTLY, &ask(id), "").await;
            let (code, remark) = refusal(&refused);
            assert!(
                code == response::SYSTEM_ERROR && remark.starts_with("can not find message by the id "),
                "{remark}"
            );
            assert!(remark.len() < 200);
        }
    }

    /// The members' own offsets are collected; one that talks nonsense is left out.
    #[tokio::test]
    async fn members_tell_their_offsets() {
        let kit = Kit::start(&[]).await;
        let (mut one, mut two, mut admin) = (kit.client().await, kit.client().await, kit.client().await);
        let ask = [("topic", "T"), ("group", "g")];
        let nobody = admin.call(request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, &ask, "").await;
        let remark = "No Any Consumer online in the consumer group: [g]";
        assert_eq!(refusal(&nobody), (response::SYSTEM_ERROR, remark));
        one.join("c1", "g", "T").await;
        two.join("c2", "g", "T").await;
        let opaque = admin.send(request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, &ask, "").await;
        let asked = one.asked(request::GET_CONSUMER_STATUS_FROM_CLIENT).await;
        let status = r#"{"messageQueueTable":{{"brokerName":"b","queueId":0,"topic":"T"}:5}}"#;
        one.reply(asked.opaque, Reply::success().body(status)).await;
        let asked = two.asked(request::GET_CONSUMER_STATUS_FROM_CLIENT).await;
        two.reply(asked.opaque, Reply::success().body("{{{{")).await;
        let told = admin.answer(opaque).await;
        assert_eq!(
            text(&told),
            r#"{"consumerTable":{"c1":{{"brokerName":"b","queueId":0,"topic":"T"}:5}},"messageQueueTable":{}}"#
        );
        assert!(kit.clock.now_ms() >= START_MS);
    }
}
