//! Answers for those who change the tables: brokers that register, admin tools that delete and close.
//!
//! What a peer sends is checked here, before it reaches [`route_table`](super::route_table). Mirrors the
//! writing half of `DefaultRequestProcessor`; unregistering is not put off as there, but done at once.

#![allow(clippy::unnecessary_wraps, reason = "every handler answers in one shape")]

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use crate::remoting::{Answer, Call, Refusal};
use crate::wire::body::data_version::DataVersion;
use crate::wire::body::register::RegisterBrokerBody;
use crate::wire::body::route::{BrokerMemberGroup, GetBrokerMemberGroupResponseBody, TopicRouteData};
use crate::wire::body::topic::{TopicConfig, TopicConfigSerializeWrapper};
use crate::wire::code::response;
use crate::wire::command::Reply;
use crate::wire::fastjson;
use crate::wire::header::route::{
    AddWritePermOfBrokerRequestHeader, BrokerHeartbeatRequestHeader, DeleteTopicFromNamesrvRequestHeader,
    GetBrokerMemberGroupRequestHeader, QueryDataVersionRequestHeader, RegisterBrokerRequestHeader,
    RegisterTopicRequestHeader, UnRegisterBrokerRequestHeader, WipeWritePermOfBrokerRequestHeader,
};
use crate::wire::{DecodeError, body};

use super::route_table::{BrokerAddress, Registration};
use super::{NameServer, kv};

/// Longest name of a cluster, broker or topic in bytes; the longest that Apache allows has 255 characters,
/// of up to three bytes, behind `%RETRY%`.
const NAME_BYTES_MAX: usize = 1024;

/// First version that registers more than a table of topics (`V3_0_11`).
const VERSION_WITH_BODY: i32 = 37;

/// What every zlib stream and no JSON begins with.
const ZLIB: u8 = 0x78;

/// REGISTER_BROKER (103).
pub(super) fn register_broker(namesrv: &Arc<NameServer>, call: Call<RegisterBrokerRequestHeader>) -> Answer {
    let header = &call.header;
    if header.body_crc32 != 0 && header.body_crc32 != (crc32fast::hash(&call.body) & 0x7FFF_FFFF) as i32 {
        tracing::warn!(peer = %call.peer.address(), "a registration whose body does not fit its crc32");
        return Err(Refusal::new(response::SYSTEM_ERROR, "crc32 not match"));
    }
    check_name("clusterName", &header.cluster_name)?;
    check_name("brokerName", &header.broker_name)?;
    check_address("brokerAddr", &header.broker_addr)?;
    if header.broker_id < 0 {
        return Err(bad_field("brokerId", "must not be negative"));
    }
    if header.heartbeat_timeout_millis.is_some_and(|timeout| timeout <= 0) {
        return Err(bad_field("heartbeatTimeoutMillis", "must be positive"));
    }
    let (body, filter_servers) = registration_body(&call.body, header.compressed, call.version)?;
    let table = body.topic_config_serialize_wrapper;
    let registration = Registration {
        address: address(&header.cluster_name, &header.broker_addr),
        broker_name: header.broker_name.to_string(),
        broker_id: header.broker_id,
        ha_server_addr: header.ha_server_addr.to_string(),
        zone_name: header.zone_name.as_ref().map(ToString::to_string),
        heartbeat_timeout_ms: header.heartbeat_timeout_millis,
        enable_acting_master: header.enable_acting_master,
        data_version: table.data_version,
        topics: topics(&header.broker_name, table.topic_config_table),
        mappings: table
            .topic_queue_mapping_info_map
            .into_values()
            .filter(|mapping| name_problem(&mapping.scope).is_none())
            .collect(),
        filter_servers,
        connection: call.peer.id(),
    };
    tracing::debug!(
        broker_name = %header.broker_name,
        addr = %header.broker_addr,
        topics = registration.topics.len(),
        "a broker registers"
    );
    let keys = namesrv.keys.load();
    let now_ms = namesrv.clock.liveness_ms();
    let registered = namesrv
        .write(|table| table.register(registration, keys.delete_topic_with_broker_registration, now_ms))
        .map_err(|cause| Refusal::new(response::SYSTEM_ERROR, cause))?;
    if registered.accepted {
        let mut registrants = namesrv.registrants.lock().unwrap_or_else(PoisonError::into_inner);
        registrants.insert(call.peer.id(), call.peer.clone());
    }
    namesrv.notify(registered.min_broker.into_iter().collect());
    let mut reply = Reply::success();
    if let Some(addr) = registered.ha_server_addr {
        reply = reply.field("haServerAddr", addr);
    }
    if let Some(addr) = registered.master_addr {
        reply = reply.field("masterAddr", addr);
    }
    if keys.return_order_topic_config_to_broker
        && let Some(table) = namesrv.kv.namespace_json(kv::NAMESPACE_ORDER_TOPIC_CONFIG)
    {
        reply = reply.body(table);
    }
    Ok(reply)
}

/// Reads what a broker registers, and its filter servers if it is new enough to know of them.
pub(super) fn registration_body(
    bytes: &[u8],
    compressed: bool,
    version: i32,
) -> Result<(RegisterBrokerBody, Option<Vec<String>>), DecodeError> {
    let mut body = RegisterBrokerBody::default();
    if version < VERSION_WITH_BODY {
        if !bytes.is_empty() {
            let table: TopicConfigSerializeWrapper = body::decode("a table of topics", bytes)?;
            body.topic_config_serialize_wrapper.data_version = table.data_version;
            body.topic_config_serialize_wrapper.topic_config_table = table.topic_config_table;
        }
        return Ok((body, None));
    }
    if let Some(first) = bytes.first() {
        // Apache 5.x brokers with compressedRegister=true compress the body and say that they do not.
        body = RegisterBrokerBody::decode(bytes, compressed || *first == ZLIB, version)?;
    }
    let filter_servers = std::mem::take(&mut body.filter_server_list);
    Ok((body, Some(filter_servers)))
}

/// Returns the topics of a table, without those that cannot be named: they are no reason to lose the broker.
fn topics(broker_name: &str, table: BTreeMap<String, TopicConfig>) -> Vec<TopicConfig> {
    let named = table.len();
    let topics: Vec<TopicConfig> = table
        .into_iter()
        .map(
            |(name, topic)| {
                if topic.topic_name.is_empty() { TopicConfig { topic_name: name, ..topic } } else { topic }
            },
        )
        .filter(|topic| name_problem(&topic.topic_name).is_none())
        .collect();
    if topics.len() < named {
        let count = named - topics.len();
        tracing::warn!(broker_name, count, "left out topics whose names cannot be names");
    }
    topics
}

/// UNREGISTER_BROKER (104).
pub(super) fn unregister_broker(
    namesrv: &Arc<NameServer>,
    call: Call<UnRegisterBrokerRequestHeader>,
) -> Answer {
    let header = &call.header;
    let gone = (address(&header.cluster_name, &header.broker_addr), header.broker_name.to_string());
    let changes = namesrv.write(|table| table.unregister(&[gone]));
    namesrv.notify(changes);
    Ok(Reply::success())
}

/// BROKER_HEARTBEAT (904).
pub(super) fn broker_heartbeat(
    namesrv: &Arc<NameServer>,
    call: Call<BrokerHeartbeatRequestHeader>,
) -> Answer {
    let address = address(&call.header.cluster_name, &call.header.broker_addr);
    let now_ms = namesrv.clock.liveness_ms();
    namesrv.write(|table| table.touch(&address, now_ms));
    Ok(Reply::success())
}

/// QUERY_DATA_VERSION (322): whether the broker must register; counts as a sign of life.
pub(super) fn query_data_version(
    namesrv: &Arc<NameServer>,
    call: Call<QueryDataVersionRequestHeader>,
) -> Answer {
    let asked: DataVersion = body::decode("a DataVersion", &call.body)?;
    let address = address(&call.header.cluster_name, &call.header.broker_addr);
    let now_ms = namesrv.clock.liveness_ms();
    let known = namesrv.write(|table| {
        table.touch(&address, now_ms);
        table.live(&address).map(|live| live.data_version)
    });
    let reply = Reply::success().field("changed", known.as_ref() != Some(&asked));
    Ok(match known {
        Some(known) => reply.body(fastjson::to_string(&known)),
        None => reply,
    })
}

/// GET_BROKER_MEMBER_GROUP (901).
pub(super) fn get_broker_member_group(
    namesrv: &Arc<NameServer>,
    call: Call<GetBrokerMemberGroupRequestHeader>,
) -> Answer {
    let broker_addrs = namesrv.read(|table| {
        table.broker(&call.header.broker_name).map(|broker| broker.broker_addrs.clone()).unwrap_or_default()
    });
    let group = BrokerMemberGroup {
        broker_addrs,
        broker_name: call.header.broker_name.to_string(),
        cluster: call.header.cluster_name.to_string(),
    };
    let body = GetBrokerMemberGroupResponseBody { broker_member_group: Some(group) };
    Ok(Reply::success().body(fastjson::to_string(&body)))
}

/// WIPE_WRITE_PERM_OF_BROKER (205).
pub(super) fn wipe_write_perm_of_broker(
    namesrv: &Arc<NameServer>,
    call: Call<WipeWritePermOfBrokerRequestHeader>,
) -> Answer {
    let count = namesrv.write(|table| table.set_writable(&call.header.broker_name, false));
    tracing::info!(broker_name = %call.header.broker_name, count, peer = %call.peer.address(), "write permission taken");
    Ok(Reply::success().field("wipeTopicCount", count as i64))
}

/// ADD_WRITE_PERM_OF_BROKER (327).
pub(super) fn add_write_perm_of_broker(
    namesrv: &Arc<NameServer>,
    call: Call<AddWritePermOfBrokerRequestHeader>,
) -> Answer {
    let count = namesrv.write(|table| table.set_writable(&call.header.broker_name, true));
    tracing::info!(broker_name = %call.header.broker_name, count, peer = %call.peer.address(), "write permission given");
    Ok(Reply::success().field("addTopicCount", count as i64))
}

/// REGISTER_TOPIC_IN_NAMESRV (217).
pub(super) fn register_topic_in_namesrv(
    namesrv: &Arc<NameServer>,
    call: Call<RegisterTopicRequestHeader>,
) -> Answer {
    check_name("topic", &call.header.topic)?;
    if call.body.is_empty() {
        return Ok(Reply::success());
    }
    let route: TopicRouteData = body::decode("a TopicRouteData", &call.body)?;
    namesrv
        .write(|table| table.register_topic(&call.header.topic, route.queue_datas))
        .map_err(|cause| Refusal::new(response::SYSTEM_ERROR, cause))?;
    Ok(Reply::success())
}

/// DELETE_TOPIC_IN_NAMESRV (216).
pub(super) fn delete_topic_in_namesrv(
    namesrv: &Arc<NameServer>,
    call: Call<DeleteTopicFromNamesrvRequestHeader>,
) -> Answer {
    let topic = &*call.header.topic;
    let cluster = call.header.cluster_name.as_deref().filter(|cluster| !cluster.is_empty());
    namesrv.write(|table| table.delete_topic(topic, cluster));
    tracing::info!(topic = shown(topic), cluster, peer = %call.peer.address(), "topic deleted");
    Ok(Reply::success())
}

fn address(cluster: &str, addr: &str) -> BrokerAddress {
    BrokerAddress { cluster: cluster.to_owned(), addr: addr.to_owned() }
}

fn bad_field(field: &'static str, problem: &str) -> Refusal {
    DecodeError::Field { field, problem: problem.to_owned() }.into()
}

fn check_name(field: &'static str, name: &str) -> Result<(), Refusal> {
    name_problem(name).map_or(Ok(()), |problem| Err(bad_field(field, problem)))
}

/// Says what keeps a text from being the name of anything.
fn name_problem(name: &str) -> Option<&'static str> {
    if name.trim().is_empty() {
        Some("is empty")
    } else if name.len() > NAME_BYTES_MAX {
        Some("is longer than 1024 bytes")
    } else if name.chars().any(char::is_control) {
        Some("has a control character in it")
    } else {
        None
    }
}

fn check_address(field: &'static str, addr: &str) -> Result<(), Refusal> {
    check_name(field, addr)?;
    let port = addr.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    match port.and_then(|port| port.parse::<u16>().ok()) {
        Some(1..) => Ok(()),
        _ => Err(bad_field(field, "must be host:port")),
    }
}

/// Shortens a name for a remark or a log line, if no name is that long.
pub(super) fn shown(name: &str) -> &str {
    if name.len() <= NAME_BYTES_MAX { name } else { crate::wire::fields::shorten(name) }
}
