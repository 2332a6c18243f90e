//! Looking for messages: by key, by offset, and entry by entry.
//!
//! Flows in: QUERY_MESSAGE (12), VIEW_MESSAGE_BY_ID (33), QUERY_CONSUME_QUEUE (321). Flows out: records exactly as
//! they are stored. An offset that a client names is a message only if the store finds it in its queue too.
//! Mirrors `QueryMessageProcessor` and `AdminBrokerProcessor.queryConsumeQueue`.

use std::sync::Arc;

use super::Broker;
use crate::remoting::{Answer, Call, Refusal};
use crate::store::{PhysicalOffset, QueueOffset};
use crate::wire::body::stats::{ConsumeQueueData, QueryConsumeQueueResponseBody};
use crate::wire::code::response;
use crate::wire::command::{Body, Reply};
use crate::wire::fastjson;
use crate::wire::fields::shorten;
use crate::wire::header::admin::QueryConsumeQueueRequestHeader;
use crate::wire::header::pull::{QueryMessageRequestHeader, ViewMessageRequestHeader};

/// Most entries of a consume queue in one answer.
const ENTRIES_MAX: i32 = 1_000;

/// QUERY_MESSAGE (12): messages by a key or by the id that their client gave them.
pub(super) fn query_message(broker: &Arc<Broker>, call: Call<QueryMessageRequestHeader>) -> Answer {
    let QueryMessageRequestHeader { topic, key, max_num, begin_timestamp, end_timestamp, unique_key_query } =
        call.header;
    let keys = broker.keys();
    let max =
        if unique_key_query { keys.default_query_max_num } else { max_num }.clamp(1, keys.max_msgs_num_batch);
    let found = broker.store.query_message(&topic, &key, max as usize, begin_timestamp, end_timestamp);
    if found.records.is_empty() {
        let remark = "can not find message, maybe time range not correct";
        return Err(Refusal::new(response::QUERY_NOT_FOUND, remark));
    }
    let mut reply = Reply::success()
        .field("indexLastUpdateTimestamp", found.index_last_update_timestamp)
        .field("indexLastUpdatePhyoffset", found.index_last_update_phyoffset.0);
    reply.body = Body::Many(found.records);
    Ok(reply)
}

/// VIEW_MESSAGE_BY_ID (33): the message at a physical offset.
pub(super) fn view_message_by_id(broker: &Arc<Broker>, call: Call<ViewMessageRequestHeader>) -> Answer {
    let offset = call.header.offset;
    let record = broker.store.read_record(PhysicalOffset(offset))?.ok_or_else(|| {
        Refusal::new(response::SYSTEM_ERROR, format!("can not find message by the offset, {offset}"))
    })?;
    Ok(Reply::success().body(record))
}

/// QUERY_CONSUME_QUEUE (321): entries of a queue, and whether a group's filter lets them pass.
pub(super) fn query_consume_queue(
    broker: &Arc<Broker>,
    call: Call<QueryConsumeQueueRequestHeader>,
) -> Answer {
    let QueryConsumeQueueRequestHeader { topic, queue_id, index, count, consumer_group } = call.header;
    if !broker.store.has_queue(&topic, queue_id) {
        let remark = format!("{queue_id}@{} is not exist!", shorten(&topic));
        return Err(Refusal::new(response::SYSTEM_ERROR, remark));
    }
    let min = broker.store.min_offset_in_queue(&topic, queue_id);
    let max = broker.store.max_offset_in_queue(&topic, queue_id);
    let mut body = QueryConsumeQueueResponseBody {
        min_queue_index: min.0,
        max_queue_index: max.0,
        ..QueryConsumeQueueResponseBody::default()
    };
    let mut filter = None;
    if let Some(group) = consumer_group.filter(|group| !group.is_empty()) {
        if let Ok((subscription, _)) = broker.consumers.subscription(&group, &topic) {
            filter = Some(subscription.filter);
            body.subscription_data = Some(subscription.data);
        } else {
            let offline = format!("{}@{} is not online!", shorten(&group), shorten(&topic));
            body.filter_data = Some(offline);
        }
    }
    let from = if index < 0 { max.0.saturating_add(index) } else { index };
    let mut reply = Reply::success();
    if from >= max.0 || from < min.0 {
        reply = reply.remark(format!("Index {index} of {queue_id}@{} is not exist!", shorten(&topic)));
    } else {
        let count = count.clamp(0, ENTRIES_MAX) as usize;
        let entries = broker.store.queue_entries(&topic, queue_id, QueueOffset(from), count);
        let shown = entries.into_iter().map(|entry| ConsumeQueueData {
            physic_offset: entry.physical_offset.0,
            physic_size: entry.size,
            tags_code: entry.tags_code,
            eval: filter.as_ref().is_some_and(|filter| {
                filter.as_ref().is_ok_and(|filter| filter.matches_code(entry.tags_code))
            }),
            ..ConsumeQueueData::default()
        });
        body.queue_data = shown.collect();
    }
    Ok(reply.body(fastjson::to_string(&body)))
}

#[cfg(test)]
mod tests {
    use crate::broker::kit::{Kit, START_MS, refusal, text};
    use crate::wire::code::{request, response};
    use crate::wire::message::MessageRecord;

    fn bodies(records: &[u8]) -> Vec<String> {
        let records = MessageRecord::decode_all(records).map(|record| record.unwrap().body.to_vec());
        records.map(|body| String::from_utf8(body).unwrap()).collect()
    }

    /// A message is found by its key, by its client's id, and by the offset that the first two showed.
    #[tokio::test]
    async fn found_by_key_and_offset() {
        let kit = Kit::start(&[]).await;
        let mut client = kit.client().await;
        kit.broker.topics.create_in_send("TBW102", "T", 1).unwrap();
        kit.put("T", 0, &["one", "two"], "KEYS\u{1}k1 k2\u{2}UNIQ_KEY\u{1}AC1100010000\u{2}");
        let (begin, end) = ((START_MS - 1000).to_string(), (START_MS + 600_000).to_string());
        let query = |key: &'static str, unique: &'static str, max: &'static str| {
            vec![
                ("topic", "T"),
                ("key", key),
                ("maxNum", max),
                ("beginTimestamp", &*begin),
                ("endTimestamp", &*end),
                ("_UNIQUE_KEY_QUERY", unique),
            ]
        };
        let found = client.call(request::QUERY_MESSAGE, &query("k2", "false", "10"), "").await;
        assert_eq!(bodies(&found.body), ["one", "two"]);
        assert!(
            found
                .fields
                .get("indexLastUpdateTimestamp")
                .is_some_and(|at| at.parse::<i64>().unwrap() >= START_MS)
        );
        assert!(found.fields.get("indexLastUpdatePhyoffset").is_some());
        let newest = client.call(request::QUERY_MESSAGE, &query("k1", "false", "1"), "").await;
        assert_eq!(bodies(&newest.body), ["two"]);
        let unique = client.call(request::QUERY_MESSAGE, &query("AC1100010000", "true", "1"), "").await;
        assert_eq!(bodies(&unique.body).len(), 2, "the number is not the client's to choose");
        let absent = client.call(request::QUERY_MESSAGE, &query("absent", "false", "-5"), "").await;
        let remark = "can not find message, maybe time range not correct";
        assert_eq!(refusal(&absent), (response::QUERY_NOT_FOUND, remark));
        let second = MessageRecord::decode(&newest.body).unwrap().physical_offset.to_string();
        let viewed = client.call(request::VIEW_MESSAGE_BY_ID, &[("offset", &second)], "").await;
        assert_eq!(bodies(&viewed.body), ["two"]);
    }

    /// A key's messages are found in all index files that they are spread over, in a span of time those alone, and the same
    /// after a stop and a kill.
    #[tokio::test]
    async fn found_in_many_index_files() {
        let mut kit = Kit::start(&[("maxHashSlotNum", "50"), ("maxIndexNum", "100")]).await;
        kit.broker.topics.create_in_send("TBW102", "T", 1).unwrap();
        let hour_ms = 3_600_000;
        for number in 0..500 {
            if number == 250 {
                kit.clock.travel(std::time::Duration::from_millis(hour_ms as u64));
            }
            kit.put("T", 0, &[&number.to_string()], &format!("KEYS\u{1}key-{} all\u{2}", number % 50));
        }
        for end in ["start", "stop", "kill"] {
            kit = match end {
                "stop" => kit.restart(&[]).await,
                "kill" => kit.killed().await,
                _ => kit,
            };
            let files =
                std::fs::read_dir(kit.config_file.with_file_name("store").join("index")).unwrap().count();
            assert!(files >= 10, "{files} files");
            let mut client = kit.client().await;
            let all = 0..500;
            for (begin_ms, end_ms, numbers) in [
                (START_MS, START_MS + 2 * hour_ms, all.clone()),
                (START_MS + hour_ms / 2, START_MS + 2 * hour_ms, 250..500),
                (START_MS, START_MS + hour_ms / 2, 0..250),
                (START_MS + 2 * hour_ms, START_MS + 3 * hour_ms, 0..0),
            ] {
                let fields = [
                    ("topic", "T"),
                    ("key", "key-7"),
                    ("maxNum", "32"),
                    ("beginTimestamp", &*begin_ms.to_string()),
                    ("endTimestamp", &*end_ms.to_string()),
                ];
                let found = client.call(request::QUERY_MESSAGE, &fields, "").await;
                let mut found = bodies(&found.body);
                found.sort_by_key(|body| body.parse::<i32>().unwrap());
                let wanted = all.clone().filter(|number| number % 50 == 7 && numbers.contains(number));
                assert_eq!(found, wanted.map(|number: i32| number.to_string()).collect::<Vec<_>>(), "{end}");
            }
        }
    }

    /// No offset that is not a message's own is served: not one within a body, not a negative one.
    #[tokio::test]
    async fn offsets_from_outside() {
        let kit = Kit::start(&[]).await;
        let mut client = kit.client().await;
        kit.broker.topics.create_in_send("TBW102", "T", 1).unwrap();
        kit.put("T", 0, &["a body"], "");
        for offset in ["1", "7", "99", "1048575", "-1", "9223372036854775807", "-9223372036854775808"] {
            let viewed = client.call(request::VIEW_MESSAGE_BY_ID, &[("offset", offset)], "").await;
            let remark = format!("can not find message by the offset, {offset}");
            assert_eq!(refusal(&viewed), (response::SYSTEM_ERROR, &*remark));
        }
        let missing = client.call(request::VIEW_MESSAGE_BY_ID, &[], "").await;
        assert_eq!(refusal(&missing), (response::SYSTEM_ERROR, "the request's field offset is missing"));
    }

    /// Entries are shown from an index on, or counted from the end, and never more than asked for or there are.
    #[tokio::test]
    async fn entries_of_a_queue() {
        let kit = Kit::start(&[]).await;
        let mut client = kit.client().await;
        kit.broker.topics.create_in_send("TBW102", "T", 1).unwrap();
        kit.put("T", 0, &["a", "b", "c"], "TAGS\u{1}x\u{2}");
        let query = |topic, index, count, group| {
            vec![
                ("topic", topic),
                ("queueId", "0"),
                ("index", index),
                ("count", count),
                ("consumerGroup", group),
            ]
        };
        for (index, count, shown) in
            [("0", "10", 3), ("1", "1", 1), ("-1", "9", 1), ("2", "-3", 0), ("0", "2000000", 3)]
        {
            let answer = client.call(request::QUERY_CONSUME_QUEUE, &query("T", index, count, "g"), "").await;
            assert_eq!(text(&answer).matches("physicOffset").count(), shown, "{index} {count}");
            assert!(
                text(&answer)
                    .contains(r#""filterData":"g@T is not online!","maxQueueIndex":3,"minQueueIndex":0"#)
            );
        }
        let beyond = client.call(request::QUERY_CONSUME_QUEUE, &query("T", "3", "1", ""), "").await;
        assert_eq!(refusal(&beyond), (0, "Index 3 of 0@T is not exist!"));
        client.join("c1", "g", "T").await;
        let online = client.call(request::QUERY_CONSUME_QUEUE, &query("T", "0", "1", "g"), "").await;
        assert!(text(&online).contains(r#""eval":true"#) && text(&online).contains(r#""subString":"*""#));
        let unknown = client.call(request::QUERY_CONSUME_QUEUE, &query("../T", "0", "1", "g"), "").await;
        assert_eq!(refusal(&unknown), (response::SYSTEM_ERROR, "0@../T is not exist!"));
    }
}
