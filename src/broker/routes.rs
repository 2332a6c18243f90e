//! The broker's request table: one line per code, its lane and its handler.

use super::{Broker, client, offset, order_lock, pull, send};
use crate::remoting::Routes;
use crate::remoting::routes::Lane;
use crate::wire::code::request::*;

/// What the fast port (`listenPort - 2`) does not serve, as on the reference.
pub const NOT_ON_THE_FAST_PORT: [i32; 2] = [PULL_MESSAGE, LITE_PULL_MESSAGE];

/// Builds the table.
pub fn routes() -> Routes<Broker> {
    Routes::new()
        // Sending.
        .on(SEND_MESSAGE, Lane::Write, send::send_message)
        .on(SEND_MESSAGE_V2, Lane::Write, send::send_message)
        .on(SEND_BATCH_MESSAGE, Lane::Write, send::send_batch_message)
        // Pulling.
        .on(PULL_MESSAGE, Lane::Read, pull::pull_message)
        .on(LITE_PULL_MESSAGE, Lane::Read, pull::pull_message)
        // Clients and their progress.
        .on(HEART_BEAT, Lane::Client, client::heart_beat)
        .on(UNREGISTER_CLIENT, Lane::Client, client::unregister_client)
        .on(CHECK_CLIENT_CONFIG, Lane::Client, client::check_client_config)
        .on(GET_CONSUMER_LIST_BY_GROUP, Lane::Client, client::get_consumer_list_by_group)
        .on(QUERY_CONSUMER_OFFSET, Lane::Client, offset::query_consumer_offset)
        .on(UPDATE_CONSUMER_OFFSET, Lane::Client, offset::update_consumer_offset)
        .on(LOCK_BATCH_MQ, Lane::Client, order_lock::lock_batch_mq)
        .on(UNLOCK_BATCH_MQ, Lane::Client, order_lock::unlock_batch_mq)
        // Where a queue begins and ends.
        .on(GET_MAX_OFFSET, Lane::Read, offset::get_max_offset)
        .on(GET_MIN_OFFSET, Lane::Read, offset::get_min_offset)
        .on(SEARCH_OFFSET_BY_TIMESTAMP, Lane::Read, offset::search_offset_by_timestamp)
        .on(GET_EARLIEST_MSG_STORETIME, Lane::Read, offset::get_earliest_msg_storetime)
        // Between brokers.
        .on(GET_ALL_CONSUMER_OFFSET, Lane::Admin, offset::get_all_consumer_offset)
}
