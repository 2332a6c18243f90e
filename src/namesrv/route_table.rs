//! Who serves what: the tables of the NameServer, and when an entry expires.
//!
//! Registrations of brokers go in; routes, lists and the connections of silent brokers come out. There is no
//! socket, clock or lock here: a connection is a number, the time is an argument. Mirrors `RouteInfoManager`,
//! whose filter server table is part of [`BrokerLive`] here. Names and limits of what comes from a peer are
//! checked by the handlers before it gets here.
//!
//! | table | says |
//! |---|---|
//! | `topics` | which queues a topic has on each broker name |
//! | `brokers` | which addresses a broker name has, by broker id (0 is the master) |
//! | `clusters` | which broker names a cluster has |
//! | `live` | when an address was last heard of, on which connection |
//! | `mappings` | where the logical queues of a static topic are, by broker name; goes with topic and broker |

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::wire::body::data_version::DataVersion;
use crate::wire::body::mapping::TopicQueueMappingInfo;
use crate::wire::body::route::{BrokerData, ClusterInfo, QueueData, TopicRouteData};
use crate::wire::body::topic::{TopicConfig, perm};

/// Broker id of a master (`MixAll.MASTER_ID`).
pub const MASTER_ID: i64 = 0;

/// Silence after which a broker is dropped unless it named its own limit
/// (`DEFAULT_BROKER_CHANNEL_EXPIRED_TIME`).
pub const BROKER_CHANNEL_EXPIRED_MS: i64 = 120_000;

/// Topics that the table holds; a registration that would bring more is refused.
pub const TOPICS_MAX: usize = 200_000;

/// Broker addresses that the table holds; a registration of one more is refused.
pub const BROKERS_MAX: usize = 10_000;

/// Logical queues of static topics that the table holds; a registration that would bring more is refused.
pub const LOGICAL_QUEUES_MAX: usize = 1_000_000;

/// Topics between brokers of one group that no acting master may serve (`SYNC_BROKER_MEMBER_GROUP_PREFIX`).
const SYNC_BROKER_MEMBER_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";

const FLAG_UNIT: i32 = 1;
const FLAG_UNIT_SUB: i32 = 2;

/// One process of a broker: its cluster and the address it registered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BrokerAddress {
    /// Name of the cluster.
    pub cluster: String,
    /// `host:port` for clients.
    pub addr: String,
}

/// What is known of a registered address.
#[derive(Clone, Debug)]
pub struct BrokerLive {
    /// Name that the address is registered under.
    pub broker_name: String,
    /// When it was last heard of, in the caller's milliseconds.
    pub last_update_ms: i64,
    /// Silence after which it is dropped.
    pub heartbeat_timeout_ms: i64,
    /// Version of the topic configuration that it registered last.
    pub data_version: DataVersion,
    /// Connection that it registered on, the latest of several: it goes when this one ends.
    pub connection: u64,
    /// Address for replication.
    pub ha_server_addr: String,
    /// Its filter servers, mostly none.
    pub filter_servers: Vec<String>,
}

/// What one REGISTER_BROKER says.
#[derive(Clone, Debug, Default)]
pub struct Registration {
    /// Cluster and address.
    pub address: BrokerAddress,
    /// Broker name.
    pub broker_name: String,
    /// 0 is the master.
    pub broker_id: i64,
    /// Address for replication.
    pub ha_server_addr: String,
    /// Zone of the broker.
    pub zone_name: Option<String>,
    /// Silence after which it is dropped; `None` for the default.
    pub heartbeat_timeout_ms: Option<i64>,
    /// Says whether the least slave may act as master; `None` is a broker too old to know of that.
    pub enable_acting_master: Option<bool>,
    /// Version of the topic configuration.
    pub data_version: DataVersion,
    /// The topic configuration: all of it, or what has changed.
    pub topics: Vec<TopicConfig>,
    /// Where the logical queues of static topics are.
    pub mappings: Vec<TopicQueueMappingInfo>,
    /// Filter servers; `None` leaves the former ones.
    pub filter_servers: Option<Vec<String>>,
    /// Connection that it came on; a later connection has a larger number.
    pub connection: u64,
}

/// What a registration is answered with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    /// For a slave: where the master replicates from.
    pub ha_server_addr: Option<String>,
    /// For a slave: the master's address.
    pub master_addr: Option<String>,
    /// Brokers of the group to be told of a new least id.
    pub min_broker: Option<MinBrokerChange>,
    /// Says whether the registration counts; false for the older of two that claim one id.
    pub accepted: bool,
}

/// A group's least broker id is another one now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinBrokerChange {
    /// Broker name of the group.
    pub broker_name: String,
    /// Addresses to be told.
    pub notify: Vec<String>,
    /// The least id now.
    pub min_broker_id: i64,
    /// Its address.
    pub min_broker_addr: String,
    /// The address that has gone, if that is why.
    pub offline_broker_addr: Option<String>,
    /// Replication address of a broker that has come, if that is why.
    pub ha_broker_addr: Option<String>,
}

/// Why a registration is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// One topic is a change to a registration, and there is none to change.
    #[error("register broker failed")]
    ChangeWithoutRegistration,
    /// The table is full of brokers.
    #[error("there are already {BROKERS_MAX} brokers")]
    TooManyBrokers,
    /// The table is full of topics.
    #[error("there would be more than {TOPICS_MAX} topics")]
    TooManyTopics,
    /// The table is full of logical queues.
    #[error("static topics would have more than {LOGICAL_QUEUES_MAX} logical queues")]
    TooManyLogicalQueues,
}

/// Why one topic is not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterTopicError {
    /// This broker is to have queues of it, and is not registered.
    #[error("broker {} is not registered", super::register::shown(.0))]
    Stranger(String),
    /// The table is full of topics.
    #[error("there would be more than {TOPICS_MAX} topics")]
    TooManyTopics,
}

/// A list of topics by the unit flags of `topicSysFlag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitTopics {
    /// Topics of a unit (311).
    Unit,
    /// Topics subscribed to by a unit (312).
    UnitSub,
    /// Topics subscribed to by a unit that are of none (313).
    UnitSubNotUnit,
}

/// The tables.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// Per topic one entry per broker name, sorted by broker name, never empty.
    topics: HashMap<String, Vec<QueueData>>,
    brokers: BTreeMap<String, BrokerData>,
    clusters: BTreeMap<String, BTreeSet<String>>,
    live: HashMap<BrokerAddress, BrokerLive>,
    mappings: HashMap<String, BTreeMap<String, TopicQueueMappingInfo>>,
}

impl RouteTable {
    /// Takes a registration in, or refuses it and changes nothing.
    ///
    /// Only a master, or a new broker's slave while there is no master, says what topics there are. With
    /// `delete_missing` the topics that it does not name are forgotten.
    pub fn register(
        &mut self,
        registration: Registration,
        delete_missing: bool,
        now_ms: i64,
    ) -> Result<Registered, RegisterError> {
        let Registration { address, broker_name, broker_id, data_version, .. } = &registration;
        let broker_id = *broker_id;
        let known = self.brokers.get(broker_name);
        let former = known.and_then(|broker| broker.broker_addrs.get(&broker_id)).cloned();
        if let Some(former) = former.as_ref().filter(|former| **former != address.addr)
            && let Some(live) = self.live.get(&address.with_addr(former))
            && live.data_version.state_version > data_version.state_version
        {
            tracing::warn!(
                broker_name,
                broker_id,
                registered = former,
                ignored = address.addr,
                "two brokers claim one id; the one with the older state is ignored"
            );
            // Whatever else it was registered as, it no longer claims to be.
            let address = address.clone();
            let broker_name = registration.broker_name;
            if let Some(broker) = self.brokers.get_mut(&broker_name) {
                broker.broker_addrs.retain(|_, addr| *addr != address.addr);
            }
            self.live.remove(&address);
            return Ok(Registered::default());
        }
        if former.is_none() && registration.topics.len() == 1 {
            return Err(RegisterError::ChangeWithoutRegistration);
        }
        if !self.live.contains_key(address) && self.live.len() >= BROKERS_MAX {
            return Err(RegisterError::TooManyBrokers);
        }
        if self.topics.len() + registration.topics.len() > TOPICS_MAX {
            let new = registration.topics.iter().filter(|topic| !self.topics.contains_key(&topic.topic_name));
            if self.topics.len() + new.count() > TOPICS_MAX {
                return Err(RegisterError::TooManyTopics);
            }
        }
        if !registration.mappings.is_empty() {
            let held = self.mappings.values().flat_map(BTreeMap::values);
            let queues = held.chain(&registration.mappings).map(|mapping| mapping.curr_id_map.len());
            let replaced =
                registration.mappings.iter().filter_map(|new| self.mappings.get(&new.topic)?.get(&new.bname));
            let replaced: usize = replaced.map(|mapping| mapping.curr_id_map.len()).sum();
            if queues.sum::<usize>().saturating_sub(replaced) > LOGICAL_QUEUES_MAX {
                return Err(RegisterError::TooManyLogicalQueues);
            }
        }
        Ok(self.accept(registration, former, delete_missing, now_ms))
    }

    fn accept(
        &mut self,
        registration: Registration,
        former: Option<String>,
        delete_missing: bool,
        now_ms: i64,
    ) -> Registered {
        let Registration { address, broker_name, broker_id, .. } = registration;
        let renamed = self.addresses(|known, live| {
            known.addr == address.addr
                && (known.cluster != address.cluster || live.broker_name != broker_name)
        });
        self.unregister(&renamed);
        self.clusters.entry(address.cluster.clone()).or_default().insert(broker_name.clone());
        let broker = self.brokers.entry(broker_name.clone()).or_insert_with(|| BrokerData {
            broker_name: broker_name.clone(),
            cluster: address.cluster.clone(),
            ..BrokerData::default()
        });
        broker.enable_acting_master = registration.enable_acting_master.unwrap_or(false);
        broker.zone_name = registration.zone_name;
        let former_min = broker.broker_addrs.keys().next().copied().unwrap_or(MASTER_ID);
        // A slave that has become master: one address has one id.
        broker.broker_addrs.retain(|id, addr| *addr != address.addr || *id == broker_id);
        broker.broker_addrs.insert(broker_id, address.addr.clone());
        let min_id = broker.broker_addrs.keys().next().copied().unwrap_or(broker_id);
        let master_addr = broker.broker_addrs.get(&MASTER_ID).cloned();
        let min_broker = (broker_id < former_min).then(|| MinBrokerChange {
            broker_name: broker_name.clone(),
            notify: broker
                .broker_addrs
                .iter()
                .filter(|(id, _)| **id != min_id || broker.broker_addrs.len() == 1)
                .map(|(_, addr)| addr.clone())
                .collect(),
            min_broker_id: min_id,
            min_broker_addr: address.addr.clone(),
            offline_broker_addr: None,
            ha_broker_addr: Some(registration.ha_server_addr.clone()),
        });
        let prime_slave =
            registration.enable_acting_master.is_some() && broker_id != MASTER_ID && broker_id == min_id;
        let read_only = prime_slave && broker.enable_acting_master;
        if let Some(former) = former.as_ref().filter(|former| **former != address.addr) {
            self.live.remove(&address.with_addr(former));
        }
        let changed = former.is_none()
            || self.live.get(&address).is_none_or(|live| live.data_version != registration.data_version);
        if broker_id == MASTER_ID || prime_slave {
            if delete_missing && registration.mappings.is_empty() {
                let named: HashSet<&str> =
                    registration.topics.iter().map(|topic| topic.topic_name.as_str()).collect();
                self.topics.retain(|topic, queues| {
                    if !named.contains(topic.as_str()) {
                        queues.retain(|queue| queue.broker_name != broker_name);
                    }
                    !queues.is_empty()
                });
                self.mappings.retain(|topic, brokers| {
                    if !named.contains(topic.as_str()) {
                        brokers.remove(&broker_name);
                    }
                    !brokers.is_empty()
                });
            }
            for topic in registration.topics {
                self.put_topic(&broker_name, topic, changed, read_only);
            }
            if changed {
                // A broker tells of its own queues, of topics that it has: nothing else would ever be taken out again.
                let own = |mapping: &TopicQueueMappingInfo| {
                    mapping.bname == broker_name && self.topics.contains_key(&mapping.topic)
                };
                for mapping in registration.mappings.into_iter().filter(own) {
                    let brokers = self.mappings.entry(mapping.topic.clone()).or_default();
                    brokers.insert(mapping.bname.clone(), mapping);
                }
            }
        }
        let former_live = self.live.remove(&address);
        if former_live.is_none() {
            tracing::info!(broker_name, broker_id, addr = address.addr, "a broker has registered");
        }
        // What a broker sent on its former connection can be read after it has registered on a new one. It must not tie
        // the broker to the connection that is about to end.
        let connection = former_live.as_ref().map_or(0, |live| live.connection).max(registration.connection);
        let filter_servers = registration
            .filter_servers
            .or_else(|| former_live.map(|live| live.filter_servers))
            .unwrap_or_default();
        let master =
            master_addr.filter(|_| broker_id != MASTER_ID).map(|addr| (address.with_addr(&addr), addr));
        self.live.insert(
            address,
            BrokerLive {
                broker_name,
                last_update_ms: now_ms,
                heartbeat_timeout_ms: registration.heartbeat_timeout_ms.unwrap_or(BROKER_CHANNEL_EXPIRED_MS),
                data_version: registration.data_version,
                connection,
                ha_server_addr: registration.ha_server_addr,
                filter_servers,
            },
        );
        let mut registered = Registered { min_broker, accepted: true, ..Registered::default() };
        if let Some((master, addr)) = master
            && let Some(live) = self.live.get(&master)
        {
            registered.ha_server_addr = Some(live.ha_server_addr.clone());
            registered.master_addr = Some(addr);
        }
        registered
    }

    /// Sets the queues of a topic on a broker; unless `changed`, only when the broker has none yet.
    fn put_topic(&mut self, broker_name: &str, topic: TopicConfig, changed: bool, read_only: bool) {
        let perm = if read_only { topic.perm & !perm::WRITE } else { topic.perm };
        let data = QueueData {
            broker_name: broker_name.to_owned(),
            read_queue_nums: topic.read_queue_nums,
            write_queue_nums: topic.write_queue_nums,
            perm,
            topic_sys_flag: topic.topic_sys_flag,
        };
        let queues = self.topics.entry(topic.topic_name).or_default();
        match find(queues, broker_name) {
            Ok(at) if changed => queues[at] = data,
            Ok(_) => {}
            Err(at) => queues.insert(at, data),
        }
    }

    /// Returns the route of a topic that a broker offers without having registered it; enters it nowhere.
    ///
    /// `None` unless the broker is registered under that address.
    pub fn offered_route(
        &self,
        broker_name: &str,
        addr: &str,
        topic: &TopicConfig,
    ) -> Option<TopicRouteData> {
        let broker = self.brokers.get(broker_name)?;
        broker.broker_addrs.values().any(|known| known == addr).then(|| TopicRouteData {
            broker_datas: vec![broker.clone()],
            queue_datas: vec![QueueData {
                broker_name: broker_name.to_owned(),
                read_queue_nums: topic.read_queue_nums,
                write_queue_nums: topic.write_queue_nums,
                perm: topic.perm,
                topic_sys_flag: topic.topic_sys_flag,
            }],
            ..TopicRouteData::default()
        })
    }

    /// Sets the queues of one topic (217), or does nothing: when it names a broker that is not registered, and beyond
    /// [`TOPICS_MAX`].
    pub fn register_topic(&mut self, topic: &str, data: Vec<QueueData>) -> Result<(), RegisterTopicError> {
        if let Some(stranger) = data.iter().find(|queue| !self.brokers.contains_key(&queue.broker_name)) {
            return Err(RegisterTopicError::Stranger(stranger.broker_name.clone()));
        }
        if data.is_empty() {
            return Ok(());
        }
        if self.topics.len() >= TOPICS_MAX && !self.topics.contains_key(topic) {
            return Err(RegisterTopicError::TooManyTopics);
        }
        let queues = self.topics.entry(topic.to_owned()).or_default();
        for data in data {
            match find(queues, &data.broker_name) {
                Ok(at) => queues[at] = data,
                Err(at) => queues.insert(at, data),
            }
        }
        Ok(())
    }

    /// Forgets a topic, in one cluster or everywhere.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(cluster) = cluster else {
            self.topics.remove(topic);
            self.mappings.remove(topic);
            return;
        };
        let Some(names) = self.clusters.get(cluster) else { return };
        if let Some(queues) = self.topics.get_mut(topic) {
            queues.retain(|queue| !names.contains(&queue.broker_name));
            if queues.is_empty() {
                self.topics.remove(topic);
            }
        }
        if let Some(brokers) = self.mappings.get_mut(topic) {
            brokers.retain(|broker_name, _| !names.contains(broker_name));
            if brokers.is_empty() {
                self.mappings.remove(topic);
            }
        }
    }

    /// Takes addresses out, and with the last address of a broker name its queues; returns whom to tell.
    pub fn unregister(&mut self, gone: &[(BrokerAddress, String)]) -> Vec<MinBrokerChange> {
        let mut removed = HashSet::new();
        let mut reduced = HashSet::new();
        let mut changes = Vec::new();
        for (address, broker_name) in gone {
            self.live.remove(address);
            let Some(broker) = self.brokers.get_mut(broker_name) else { continue };
            let former_min = broker.broker_addrs.first_key_value().map(|(id, addr)| (*id, addr.clone()));
            broker.broker_addrs.retain(|_, addr| *addr != address.addr);
            tracing::info!(broker_name, addr = address.addr, "a broker has gone");
            let Some((min_id, min_addr)) = broker.broker_addrs.first_key_value() else {
                self.brokers.remove(broker_name);
                self.clusters.retain(|_, names| {
                    names.remove(broker_name);
                    !names.is_empty()
                });
                reduced.remove(broker_name.as_str());
                removed.insert(broker_name.as_str());
                continue;
            };
            if broker.enable_acting_master && *min_id != MASTER_ID {
                reduced.insert(broker_name.as_str());
            }
            if broker.enable_acting_master && former_min.is_some_and(|(id, _)| id != *min_id) {
                changes.push(MinBrokerChange {
                    broker_name: broker_name.clone(),
                    notify: broker.broker_addrs.values().cloned().collect(),
                    min_broker_id: *min_id,
                    min_broker_addr: min_addr.clone(),
                    offline_broker_addr: Some(address.addr.clone()),
                    ha_broker_addr: None,
                });
            }
        }
        if !removed.is_empty() || !reduced.is_empty() {
            self.topics.retain(|_, queues| {
                queues.retain(|queue| !removed.contains(queue.broker_name.as_str()));
                for queue in queues.iter_mut().filter(|queue| reduced.contains(queue.broker_name.as_str())) {
                    queue.perm &= !perm::WRITE;
                }
                !queues.is_empty()
            });
        }
        if !removed.is_empty() {
            self.mappings.retain(|_, brokers| {
                brokers.retain(|broker_name, _| !removed.contains(broker_name.as_str()));
                !brokers.is_empty()
            });
        }
        changes
    }

    /// Takes out every broker that registered on a connection.
    pub fn disconnect(&mut self, connection: u64) -> Vec<MinBrokerChange> {
        let gone = self.addresses(|_, live| live.connection == connection);
        self.unregister(&gone)
    }

    /// Says whether a broker has been silent for too long.
    pub fn has_silent(&self, now_ms: i64) -> bool {
        self.live.values().any(|live| live.is_silent(now_ms))
    }

    /// Takes out every broker that has been silent for too long; returns their connections too.
    pub fn expire(&mut self, now_ms: i64) -> (Vec<u64>, Vec<MinBrokerChange>) {
        let silent = self.live.values().filter(|live| live.is_silent(now_ms));
        let connections = silent.map(|live| live.connection).collect();
        let gone = self.addresses(|_, live| live.is_silent(now_ms));
        for (address, broker_name) in &gone {
            tracing::warn!(broker_name, addr = address.addr, "a broker has been silent for too long");
        }
        (connections, self.unregister(&gone))
    }

    fn addresses(
        &self,
        wanted: impl Fn(&BrokerAddress, &BrokerLive) -> bool,
    ) -> Vec<(BrokerAddress, String)> {
        self.live
            .iter()
            .filter(|(address, live)| wanted(address, live))
            .map(|(address, live)| (address.clone(), live.broker_name.clone()))
            .collect()
    }

    /// Notes that an address was heard of.
    pub fn touch(&mut self, address: &BrokerAddress, now_ms: i64) {
        if let Some(live) = self.live.get_mut(address) {
            live.last_update_ms = now_ms;
        }
    }

    /// Returns what is known of a registered address.
    pub fn live(&self, address: &BrokerAddress) -> Option<&BrokerLive> {
        self.live.get(address)
    }

    /// Returns every registered address.
    pub fn live_brokers(&self) -> impl Iterator<Item = (&BrokerAddress, &BrokerLive)> {
        self.live.iter()
    }

    /// Takes the write permission from every topic of a broker, or gives it back; returns how many topics.
    ///
    /// Holds until the broker registers those topics with another data version.
    pub fn set_writable(&mut self, broker_name: &str, writable: bool) -> usize {
        let mut count = 0;
        for queues in self.topics.values_mut() {
            if let Ok(at) = find(queues, broker_name) {
                let perm = &mut queues[at].perm;
                // As on Apache, giving it back also gives read and takes inherit.
                *perm = if writable { perm::READ | perm::WRITE } else { *perm & !perm::WRITE };
                count += 1;
            }
        }
        count
    }

    /// Returns where a topic is; with `acting_master` a slave may stand in for a missing master.
    pub fn route(&self, topic: &str, acting_master: bool) -> Option<TopicRouteData> {
        let queues = self.topics.get(topic)?;
        let mut route = TopicRouteData { queue_datas: queues.clone(), ..TopicRouteData::default() };
        for queue in queues {
            let Some(broker) = self.brokers.get(&queue.broker_name) else { continue };
            for addr in broker.broker_addrs.values() {
                let address = BrokerAddress { cluster: broker.cluster.clone(), addr: addr.clone() };
                if let Some(live) = self.live.get(&address).filter(|live| !live.filter_servers.is_empty()) {
                    route.filter_server_table.insert(addr.clone(), live.filter_servers.clone());
                }
            }
            let mut broker = broker.clone();
            let stands_in = acting_master
                && broker.enable_acting_master
                && queue.perm & perm::WRITE == 0
                && !broker.broker_addrs.contains_key(&MASTER_ID)
                && !topic.starts_with(SYNC_BROKER_MEMBER_PREFIX);
            if stands_in && let Some((_, addr)) = broker.broker_addrs.pop_first() {
                broker.broker_addrs.insert(MASTER_ID, addr);
            }
            route.broker_datas.push(broker);
        }
        if route.broker_datas.is_empty() {
            return None;
        }
        route.topic_queue_mapping_by_broker = self.mappings.get(topic).cloned();
        Some(route)
    }

    /// Returns every broker name with its addresses, and every cluster with its broker names.
    pub fn cluster_info(&self) -> ClusterInfo {
        ClusterInfo { broker_addr_table: self.brokers.clone(), cluster_addr_table: self.clusters.clone() }
    }

    /// Returns the addresses of one broker name.
    pub fn broker(&self, broker_name: &str) -> Option<&BrokerData> {
        self.brokers.get(broker_name)
    }

    /// Returns every topic, sorted.
    pub fn topics(&self) -> Vec<String> {
        self.topics_where(|_| true)
    }

    /// Returns the topics of a cluster, sorted.
    pub fn topics_of_cluster(&self, cluster: &str) -> Vec<String> {
        let Some(names) = self.clusters.get(cluster) else { return Vec::new() };
        self.topics_where(|queues| queues.iter().any(|queue| names.contains(&queue.broker_name)))
    }

    /// Returns the topics with these unit flags, sorted.
    pub fn topics_of_unit(&self, which: UnitTopics) -> Vec<String> {
        self.topics_where(|queues| {
            let flags = queues.first().map_or(0, |queue| queue.topic_sys_flag);
            let (unit, sub) = (flags & FLAG_UNIT != 0, flags & FLAG_UNIT_SUB != 0);
            match which {
                UnitTopics::Unit => unit,
                UnitTopics::UnitSub => sub,
                UnitTopics::UnitSubNotUnit => sub && !unit,
            }
        })
    }

    fn topics_where(&self, wanted: impl Fn(&[QueueData]) -> bool) -> Vec<String> {
        let mut topics: Vec<String> =
            self.topics.iter().filter(|(_, queues)| wanted(queues)).map(|(topic, _)| topic.clone()).collect();
        topics.sort_unstable();
        topics
    }

    /// Returns the names of clusters and brokers, which are topics too, and the address of one broker.
    pub fn system_topics(&self) -> (Vec<String>, Option<String>) {
        let names: BTreeSet<&String> = self
            .clusters
            .iter()
            .flat_map(|(cluster, brokers)| std::iter::once(cluster).chain(brokers))
            .collect();
        let addr = self.brokers.values().find_map(|broker| broker.broker_addrs.values().next()).cloned();
        (names.into_iter().cloned().collect(), addr)
    }
}

impl BrokerLive {
    fn is_silent(&self, now_ms: i64) -> bool {
        self.last_update_ms.saturating_add(self.heartbeat_timeout_ms) < now_ms
    }
}

impl BrokerAddress {
    fn with_addr(&self, addr: &str) -> Self {
        Self { cluster: self.cluster.clone(), addr: addr.to_owned() }
    }
}

fn find(queues: &[QueueData], broker_name: &str) -> Result<usize, usize> {
    queues.binary_search_by(|queue| queue.broker_name.as_str().cmp(broker_name))
}

#[cfg(test)]
mod tests;
