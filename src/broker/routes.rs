//! The broker's request table: one line per code, its lane and its handler.

use super::{
    Broker, client, group, metadata, offset, online, order_lock, pop, progress, pull, query, reply, retry,
    runtime, send, settings, timer, topic, transaction, upkeep,
};
use crate::remoting::Routes;
use crate::remoting::routes::Lane;
#[allow(clippy::wildcard_imports)] // the table names nearly all of them
use crate::wire::code::request::*;

/// What the fast port (`listenPort - 2`) does not serve, as on the reference.
pub const NOT_ON_THE_FAST_PORT: [i32; 5] =
    [PULL_MESSAGE, LITE_PULL_MESSAGE, POP_MESSAGE, NOTIFICATION, POLLING_INFO];

/// Builds the table.
pub fn routes() -> Routes<Broker> {
    Routes::new()
        // Sending.
        .on(SEND_MESSAGE, Lane::Write, send::send_message)
        .on(SEND_MESSAGE_V2, Lane::Write, send::send_message)
        .on(SEND_BATCH_MESSAGE, Lane::Write, send::send_batch_message)
        .on(SEND_REPLY_MESSAGE, Lane::Write, reply::send_reply_message)
        .on(SEND_REPLY_MESSAGE_V2, Lane::Write, reply::send_reply_message)
        .on(END_TRANSACTION, Lane::Write, transaction::end_transaction)
        .on(RESUME_CHECK_HALF_MESSAGE, Lane::Admin, transaction::resume_check_half_message)
        .on(RECALL_MESSAGE, Lane::Write, timer::recall::recall_message)
        // Pulling.
        .on(PULL_MESSAGE, Lane::Read, pull::pull_message)
        .on(LITE_PULL_MESSAGE, Lane::Read, pull::pull_message)
        // Popping.
        .on(POP_MESSAGE, Lane::Read, pop::pop_message)
        .on(ACK_MESSAGE, Lane::Client, pop::ack::ack_message)
        .on(BATCH_ACK_MESSAGE, Lane::Client, pop::ack::batch_ack_message)
        .on(CHANGE_MESSAGE_INVISIBLETIME, Lane::Client, pop::ack::change_message_invisible_time)
        .on(NOTIFICATION, Lane::Read, pop::look::notification)
        .on(PEEK_MESSAGE, Lane::Read, pop::look::peek_message)
        .on(POLLING_INFO, Lane::Client, pop::look::polling_info)
        .on(POP_ROLLBACK, Lane::Admin, pop::look::pop_rollback)
        .on(QUERY_ASSIGNMENT, Lane::Client, pop::assignment::query_assignment)
        .on(SET_MESSAGE_REQUEST_MODE, Lane::Admin, pop::assignment::set_message_request_mode)
        // Clients and their progress.
        .on(HEART_BEAT, Lane::Client, client::heart_beat)
        .on(UNREGISTER_CLIENT, Lane::Client, client::unregister_client)
        .on(CHECK_CLIENT_CONFIG, Lane::Client, client::check_client_config)
        .on(GET_CONSUMER_LIST_BY_GROUP, Lane::Client, client::get_consumer_list_by_group)
        .on(QUERY_CONSUMER_OFFSET, Lane::Client, offset::query_consumer_offset)
        .on(UPDATE_CONSUMER_OFFSET, Lane::Client, offset::update_consumer_offset)
        .on(LOCK_BATCH_MQ, Lane::Client, order_lock::lock_batch_mq)
        .on(UNLOCK_BATCH_MQ, Lane::Client, order_lock::unlock_batch_mq)
        .on(CONSUMER_SEND_MSG_BACK, Lane::Write, retry::consumer_send_msg_back)
        // Where a queue begins and ends.
        .on(GET_MAX_OFFSET, Lane::Read, offset::get_max_offset)
        .on(GET_MIN_OFFSET, Lane::Read, offset::get_min_offset)
        .on(SEARCH_OFFSET_BY_TIMESTAMP, Lane::Read, offset::search_offset_by_timestamp)
        .on(GET_EARLIEST_MSG_STORETIME, Lane::Read, offset::get_earliest_msg_storetime)
        // Looking for messages.
        .on(QUERY_MESSAGE, Lane::Read, query::query_message)
        .on(VIEW_MESSAGE_BY_ID, Lane::Read, query::view_message_by_id)
        .on(QUERY_CONSUME_QUEUE, Lane::Read, query::query_consume_queue)
        // Progress of groups, and setting them back.
        .on(GET_CONSUME_STATS, Lane::Admin, progress::get_consume_stats)
        .on(GET_BROKER_CONSUME_STATS, Lane::Admin, progress::get_broker_consume_stats)
        .on(QUERY_CONSUME_TIME_SPAN, Lane::Admin, progress::query_consume_time_span)
        .on(QUERY_TOPIC_CONSUME_BY_WHO, Lane::Admin, progress::query_topic_consume_by_who)
        .on(QUERY_TOPICS_BY_CONSUMER, Lane::Admin, progress::query_topics_by_consumer)
        .on(QUERY_CORRECTION_OFFSET, Lane::Admin, progress::query_correction_offset)
        .on(CLONE_GROUP_OFFSET, Lane::Admin, progress::clone_group_offset)
        .on(INVOKE_BROKER_TO_RESET_OFFSET, Lane::Admin, progress::invoke_broker_to_reset_offset)
        // Clients that are connected.
        .on(GET_CONSUMER_CONNECTION_LIST, Lane::Admin, online::get_consumer_connection_list)
        .on(GET_PRODUCER_CONNECTION_LIST, Lane::Admin, online::get_producer_connection_list)
        .on(GET_ALL_PRODUCER_INFO, Lane::Admin, online::get_all_producer_info)
        .on(QUERY_SUBSCRIPTION_BY_CONSUMER, Lane::Admin, online::query_subscription_by_consumer)
        .on(GET_CONSUMER_RUNNING_INFO, Lane::Admin, online::get_consumer_running_info)
        .on(CONSUME_MESSAGE_DIRECTLY, Lane::Admin, online::consume_message_directly)
        .on(INVOKE_BROKER_TO_GET_CONSUMER_STATUS, Lane::Admin, online::invoke_broker_to_get_consumer_status)
        // Topics.
        .on(UPDATE_AND_CREATE_TOPIC, Lane::Admin, topic::update_and_create_topic)
        .on(UPDATE_AND_CREATE_TOPIC_LIST, Lane::Admin, topic::update_and_create_topic_list)
        .on(DELETE_TOPIC_IN_BROKER, Lane::Admin, topic::delete_topic_in_broker)
        .on(GET_ALL_TOPIC_CONFIG, Lane::Admin, topic::get_all_topic_config)
        .on(GET_TOPIC_CONFIG, Lane::Admin, topic::get_topic_config)
        .on(GET_TOPIC_STATS_INFO, Lane::Admin, topic::get_topic_stats_info)
        .on(GET_SYSTEM_TOPIC_LIST_FROM_BROKER, Lane::Admin, topic::get_system_topic_list_from_broker)
        // Consumer groups.
        .on(UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, Lane::Admin, group::update_and_create_subscription_group)
        .on(
            UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST,
            Lane::Admin,
            group::update_and_create_subscription_group_list,
        )
        .on(GET_ALL_SUBSCRIPTIONGROUP_CONFIG, Lane::Admin, group::get_all_subscription_group_config)
        .on(GET_SUBSCRIPTIONGROUP_CONFIG, Lane::Admin, group::get_subscription_group_config)
        .on(DELETE_SUBSCRIPTIONGROUP, Lane::Admin, group::delete_subscription_group)
        .on(UPDATE_AND_GET_GROUP_FORBIDDEN, Lane::Admin, group::update_and_get_group_forbidden)
        // The broker as a whole.
        .on(UPDATE_BROKER_CONFIG, Lane::Admin, settings::update_broker_config)
        .on(GET_BROKER_CONFIG, Lane::Admin, settings::get_broker_config)
        .on(GET_BROKER_RUNTIME_INFO, Lane::Admin, runtime::get_broker_runtime_info)
        .on(VIEW_BROKER_STATS_DATA, Lane::Admin, runtime::view_broker_stats_data)
        .on(GET_BROKER_HA_STATUS, Lane::Admin, runtime::get_broker_ha_status)
        .on(CLEAN_EXPIRED_CONSUMEQUEUE, Lane::Admin, upkeep::clean_expired_consume_queue)
        .on(CLEAN_UNUSED_TOPIC, Lane::Admin, upkeep::clean_unused_topic)
        .on(DELETE_EXPIRED_COMMITLOG, Lane::Admin, upkeep::delete_expired_commit_log)
        // Between brokers.
        .on(GET_ALL_DELAY_OFFSET, Lane::Admin, metadata::get_all_delay_offset)
        .on(GET_ALL_MESSAGE_REQUEST_MODE, Lane::Admin, pop::assignment::get_all_message_request_mode)
        .on(GET_TIMER_CHECK_POINT, Lane::Admin, metadata::get_timer_check_point)
        .on(GET_TIMER_METRICS, Lane::Admin, metadata::get_timer_metrics)
        .on(GET_ALL_CONSUMER_OFFSET, Lane::Admin, offset::get_all_consumer_offset)
}

#[cfg(test)]
mod tests {
    use crate::broker::kit::{Kit, refusal};
    use crate::faults::{FaultPoint, Order, Trigger};
    use crate::wire::code::{request, response};

    /// An ordered failure spoils the answer of requests of that name, at once or held, and not what they did.
    #[tokio::test]
    async fn a_spoiled_answer() {
        let kit = Kit::start(&[]).await;
        let mut client = kit.client().await;
        let order = |name: &str| Order { trigger: Trigger::FirstN(1), only_for: Some(name.to_owned()) };
        kit.faults.order(FaultPoint::BeforeAnswer, order("SEND_MESSAGE_V2"));
        let max = [("topic", "T"), ("queueId", "0")];
        assert_eq!(client.call(request::GET_MAX_OFFSET, &max, "").await.code, response::SUCCESS);
        let spoiled = client.send_message("T", 0, "m", "").await;
        let remark = "a fault was ordered: the request took effect";
        assert_eq!(refusal(&spoiled), (response::SYSTEM_ERROR, remark));
        assert_eq!(kit.records("T", 0, 1).await.len(), 1);
        assert_eq!(client.send_message("T", 0, "m", "").await.code, response::SUCCESS);
    }

    /// An answer that is ordered to be lost never comes; what was asked is done, and later answers come.
    #[tokio::test]
    async fn a_lost_answer() {
        let kit = Kit::start(&[]).await;
        let mut client = kit.client().await;
        let lost = FaultPoint::DropAnswer(request::HEART_BEAT);
        kit.faults.order(lost, Order { trigger: Trigger::FirstN(1), only_for: None });
        let heartbeat =
            |group| format!(r#"{{"clientID":"c","consumerDataSet":[{{"groupName":"{group}"}}]}}"#);
        client.send(request::HEART_BEAT, &[], heartbeat("one")).await;
        let second = client.send(request::HEART_BEAT, &[], heartbeat("two")).await;
        assert_eq!(client.next_answer().await.opaque, second);
        assert!(["one", "two"].iter().all(|group| kit.broker.consumers.member(group, "c").is_some()));
    }
}
