//! The request table of a NameServer.
//!
//! Mirrors `DefaultRequestProcessor` and `ClientRequestProcessor`; every other code is answered as not
//! supported by the dispatcher.

use crate::remoting::Routes;
use crate::remoting::routes::Lane::{Admin, Client};
use crate::wire::code::request as code;

use super::{NameServer, kv, register, route, settings};

/// Says who answers which request code.
pub fn routes() -> Routes<NameServer> {
    Routes::new()
        .on(code::PUT_KV_CONFIG, Admin, kv::put_kv_config)
        .on(code::GET_KV_CONFIG, Admin, kv::get_kv_config)
        .on(code::DELETE_KV_CONFIG, Admin, kv::delete_kv_config)
        .on(code::GET_KVLIST_BY_NAMESPACE, Admin, kv::get_kvlist_by_namespace)
        .on(code::REGISTER_BROKER, Admin, register::register_broker)
        .on(code::UNREGISTER_BROKER, Admin, register::unregister_broker)
        .on(code::BROKER_HEARTBEAT, Admin, register::broker_heartbeat)
        .on(code::QUERY_DATA_VERSION, Admin, register::query_data_version)
        .on(code::GET_BROKER_MEMBER_GROUP, Admin, register::get_broker_member_group)
        .on(code::WIPE_WRITE_PERM_OF_BROKER, Admin, register::wipe_write_perm_of_broker)
        .on(code::ADD_WRITE_PERM_OF_BROKER, Admin, register::add_write_perm_of_broker)
        .on(code::REGISTER_TOPIC_IN_NAMESRV, Admin, register::register_topic_in_namesrv)
        .on(code::DELETE_TOPIC_IN_NAMESRV, Admin, register::delete_topic_in_namesrv)
        .on(code::GET_ROUTEINFO_BY_TOPIC, Client, route::get_routeinfo_by_topic)
        .on(code::GET_BROKER_CLUSTER_INFO, Admin, route::get_broker_cluster_info)
        .on(code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, Admin, route::get_all_topic_list_from_nameserver)
        .on(code::GET_TOPICS_BY_CLUSTER, Admin, route::get_topics_by_cluster)
        .on(code::GET_SYSTEM_TOPIC_LIST_FROM_NS, Admin, route::get_system_topic_list_from_ns)
        .on(code::GET_UNIT_TOPIC_LIST, Admin, route::get_unit_topic_list)
        .on(code::GET_HAS_UNIT_SUB_TOPIC_LIST, Admin, route::get_has_unit_sub_topic_list)
        .on(code::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST, Admin, route::get_has_unit_sub_ununit_topic_list)
        .on(code::UPDATE_NAMESRV_CONFIG, Admin, settings::update_namesrv_config)
        .on(code::GET_NAMESRV_CONFIG, Admin, settings::get_namesrv_config)
}
