//! Answers for those who look: the route of a topic, the cluster, lists of topics.
//!
//! Mirrors `ClientRequestProcessor`, `ZoneRouteRPCHook` and the reading half of `DefaultRequestProcessor`.

#![allow(clippy::unnecessary_wraps, reason = "every handler answers in one shape")]

use std::collections::HashSet;
use std::sync::Arc;

use crate::remoting::{Answer, Call, Peer, Refusal};
use crate::wire::body::route::{BrokerData, TopicRouteData};
use crate::wire::body::topic::TopicList;
use crate::wire::code::response;
use crate::wire::command::Reply;
use crate::wire::fastjson;
use crate::wire::fields::NoHeader;
use crate::wire::header::route::{GetRouteInfoRequestHeader, GetTopicsByClusterRequestHeader};

use super::route_table::{MASTER_ID, RouteTable, UnitTopics};
use super::{NameServer, kv};

/// Where Apache's remark sends its reader.
const FAQ: &str = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// GET_ROUTEINFO_BY_TOPIC (105).
pub(super) fn get_routeinfo_by_topic(
    namesrv: &Arc<NameServer>,
    call: Call<GetRouteInfoRequestHeader>,
) -> Answer {
    let keys = namesrv.keys.load();
    let age_ms = namesrv.clock.now_ms() - namesrv.started_ms;
    if keys.need_wait_for_service && age_ms < i64::from(keys.wait_seconds_for_service) * 1000 {
        return Err(Refusal::new(response::SYSTEM_ERROR, "name server not ready"));
    }
    let topic = &*call.header.topic;
    let Some(mut route) = namesrv.topic_route(topic).or_else(|| namesrv.first_sight(topic, &call.peer))
    else {
        let topic = super::register::shown(topic);
        let remark = format!("No topic route info in name server for the topic: {topic}{FAQ}");
        return Err(Refusal::new(response::TOPIC_NOT_EXIST, remark));
    };
    if keys.order_message_enable {
        route.order_topic_conf = namesrv.kv.get(kv::NAMESPACE_ORDER_TOPIC_CONFIG, topic);
    }
    if let (Some(true), Some(zone)) = (call.header.zone_mode, &call.header.zone_name)
        && !zone.trim().is_empty()
    {
        keep_zone(&mut route, zone);
    }
    if namesrv.neighbour.is_some() {
        for broker in &mut route.broker_datas {
            namesrv.make_reachable(broker, &call.peer);
        }
        route.filter_server_table = std::mem::take(&mut route.filter_server_table)
            .into_iter()
            .map(|(addr, servers)| (namesrv.reachable(&addr, &call.peer).unwrap_or(addr), servers))
            .collect();
    }
    // Strict JSON for everybody: old Java clients and Go read it as well as fastjson's own dialect, which
    // Apache sends to clients before 4.9.4.
    Ok(Reply::success().body(fastjson::to_string_standard(&route)))
}

/// Leaves the brokers of one zone, and those of other zones that have no master.
fn keep_zone(route: &mut TopicRouteData, zone: &str) {
    let elsewhere = |broker: &BrokerData| {
        broker.broker_addrs.contains_key(&MASTER_ID)
            && !broker.zone_name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(zone))
    };
    let (away, kept) = std::mem::take(&mut route.broker_datas).into_iter().partition::<Vec<_>, _>(elsewhere);
    route.broker_datas = kept;
    let names: HashSet<&str> = away.iter().map(|broker| broker.broker_name.as_str()).collect();
    route.queue_datas.retain(|queue| !names.contains(queue.broker_name.as_str()));
    for addr in away.iter().flat_map(|broker| broker.broker_addrs.values()) {
        route.filter_server_table.remove(addr);
    }
}

impl NameServer {
    /// Asks the neighbour for a topic that nobody has registered; what it offers enters no table here.
    fn first_sight(&self, topic: &str, peer: &Peer) -> Option<TopicRouteData> {
        let offer = self.neighbour.as_ref()?.first_sight(topic, peer)?;
        self.read(|table| table.offered_route(&offer.broker_name, &offer.broker_addr, &offer.config))
    }

    fn reachable(&self, broker_addr: &str, peer: &Peer) -> Option<String> {
        self.neighbour.as_ref()?.reachable_address(broker_addr, peer)
    }

    fn make_reachable(&self, broker: &mut BrokerData, peer: &Peer) {
        for addr in broker.broker_addrs.values_mut() {
            if let Some(reachable) = self.reachable(addr, peer) {
                *addr = reachable;
            }
        }
    }
}

/// GET_BROKER_CLUSTER_INFO (106).
pub(super) fn get_broker_cluster_info(namesrv: &Arc<NameServer>, call: Call<NoHeader>) -> Answer {
    let mut info = namesrv.read(RouteTable::cluster_info);
    for broker in info.broker_addr_table.values_mut() {
        namesrv.make_reachable(broker, &call.peer);
    }
    Ok(Reply::success().body(fastjson::to_string(&info)))
}

fn topic_list(topics: Vec<String>, broker_addr: Option<String>) -> Answer {
    let list = TopicList { topic_list: topics.into_iter().collect(), broker_addr };
    Ok(Reply::success().body(fastjson::to_string(&list)))
}

fn disabled() -> Answer {
    Err(Refusal::new(response::SYSTEM_ERROR, "disable"))
}

/// GET_ALL_TOPIC_LIST_FROM_NAMESERVER (206).
pub(super) fn get_all_topic_list_from_nameserver(namesrv: &Arc<NameServer>, _: Call<NoHeader>) -> Answer {
    if !namesrv.keys.load().enable_all_topic_list {
        return disabled();
    }
    topic_list(namesrv.topics(), None)
}

/// GET_TOPICS_BY_CLUSTER (224); empty for a cluster that is not known.
pub(super) fn get_topics_by_cluster(
    namesrv: &Arc<NameServer>,
    call: Call<GetTopicsByClusterRequestHeader>,
) -> Answer {
    if !namesrv.keys.load().enable_topic_list {
        return disabled();
    }
    topic_list(namesrv.read(|table| table.topics_of_cluster(&call.header.cluster)), None)
}

/// GET_SYSTEM_TOPIC_LIST_FROM_NS (304); the asker goes on to the broker that is named.
pub(super) fn get_system_topic_list_from_ns(namesrv: &Arc<NameServer>, call: Call<NoHeader>) -> Answer {
    let (topics, addr) = namesrv.read(RouteTable::system_topics);
    let addr = addr.map(|addr| namesrv.reachable(&addr, &call.peer).unwrap_or(addr));
    topic_list(topics, addr)
}

/// GET_UNIT_TOPIC_LIST (311).
pub(super) fn get_unit_topic_list(namesrv: &Arc<NameServer>, _: Call<NoHeader>) -> Answer {
    unit_topics(namesrv, UnitTopics::Unit)
}

/// GET_HAS_UNIT_SUB_TOPIC_LIST (312).
pub(super) fn get_has_unit_sub_topic_list(namesrv: &Arc<NameServer>, _: Call<NoHeader>) -> Answer {
    unit_topics(namesrv, UnitTopics::UnitSub)
}

/// GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST (313).
pub(super) fn get_has_unit_sub_ununit_topic_list(namesrv: &Arc<NameServer>, _: Call<NoHeader>) -> Answer {
    unit_topics(namesrv, UnitTopics::UnitSubNotUnit)
}

fn unit_topics(namesrv: &NameServer, which: UnitTopics) -> Answer {
    if !namesrv.keys.load().enable_topic_list {
        return disabled();
    }
    topic_list(namesrv.read(|table| table.topics_of_unit(which)), None)
}
