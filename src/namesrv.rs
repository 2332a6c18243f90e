//! The NameServer: who serves which topic, and a small key-value store.
//!
//! Brokers register over the wire, clients and admin tools ask; [`routes`] lists the requests. What is known
//! lives in [`route_table`] (in memory only, filled again by the brokers after a restart), [`kv`] and the
//! configuration keys (both in files). The only way in beside the wire is a [`Neighbour`]: the broker in the
//! same process, when there is one. Mirrors `NamesrvController`. NameServers know nothing of each other.
//!
//! Locks: each is held for one operation on its own data, never over an await. Three are held while another is taken,
//! always in this order: `table`, then `registrants` (when brokers expire); a change of the key-value configuration, then
//! its namespaces; `keys_change`, then the one writer of properties files in the process. The last two are held while a
//! file is written; readers do not wait for that.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::clock::Clock;
use crate::config::keys::NamesrvKeys;
use crate::lifecycle::Lifecycle;
use crate::remoting::{Peer, Service};
use crate::wire::body::route::TopicRouteData;
use crate::wire::body::topic::TopicConfig;

pub mod kv;
mod notify;
mod register;
mod route;
pub mod route_table;
pub mod routes;
mod settings;

use kv::KvConfig;
use route_table::{BrokerAddress, MinBrokerChange, RouteTable};

/// Why a NameServer cannot start or keep what it was told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read, written or understood.
    #[error(transparent)]
    File(#[from] crate::store::persist::PersistError),
    /// The key-value configuration would grow beyond its limit.
    #[error("the key-value configuration would be longer than {} bytes", kv::KV_BYTES_MAX)]
    Full,
}

/// The broker in the same process, for the two things that the wire has no request for.
///
/// Both are called on the connection of the client that asks, without a lock held; they must not block.
pub trait Neighbour: Send + Sync {
    /// Offers a topic that nobody has registered, when a client asks for its route.
    ///
    /// Which names are offered, and when a topic that nobody uses vanishes again, is the broker's business.
    fn first_sight(&self, topic: &str, peer: &Peer) -> Option<FirstSight>;

    /// Returns the address by which this client reaches the broker registered as `broker_addr`, if that is
    /// another one.
    fn reachable_address(&self, broker_addr: &str, peer: &Peer) -> Option<String>;
}

/// A topic offered by a [`Neighbour`].
#[derive(Clone, Debug)]
pub struct FirstSight {
    /// Cluster of the broker.
    pub cluster_name: String,
    /// Name of the broker.
    pub broker_name: String,
    /// Address that the broker registered.
    pub broker_addr: String,
    /// The topic.
    pub config: TopicConfig,
}

/// A registered broker, for the console and `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredBroker {
    /// Cluster.
    pub cluster_name: String,
    /// Broker name.
    pub broker_name: String,
    /// 0 is the master; `None` when another address has taken the id over.
    pub broker_id: Option<i64>,
    /// Address for clients, as registered.
    pub broker_addr: String,
    /// Address for replication.
    pub ha_server_addr: String,
    /// Milliseconds since it was last heard of.
    pub silent_ms: i64,
    /// Silence after which it is dropped, in milliseconds.
    pub heartbeat_timeout_ms: i64,
}

/// A NameServer without its sockets: those belong to a [`crate::remoting::Listener`].
pub struct NameServer {
    keys: ArcSwap<NamesrvKeys>,
    /// Held while the keys change, so that no change is lost.
    keys_change: Mutex<()>,
    table: RwLock<RouteTable>,
    /// Connections that brokers registered on, to be closed when a broker falls silent.
    registrants: Mutex<HashMap<u64, Arc<Peer>>>,
    kv: KvConfig,
    clock: Clock,
    started_ms: i64,
    neighbour: Option<Arc<dyn Neighbour>>,
    life: OnceLock<Lifecycle>,
}

impl NameServer {
    /// Makes a NameServer and reads its key-value configuration.
    pub fn new(
        keys: NamesrvKeys,
        clock: Clock,
        neighbour: Option<Arc<dyn Neighbour>>,
    ) -> Result<Arc<Self>, Error> {
        let kv = KvConfig::load(PathBuf::from(&keys.kv_config_path))?;
        Ok(Arc::new(Self {
            keys: ArcSwap::from_pointee(keys),
            keys_change: Mutex::new(()),
            table: RwLock::default(),
            registrants: Mutex::default(),
            kv,
            started_ms: clock.now_ms(),
            clock,
            neighbour,
            life: OnceLock::new(),
        }))
    }

    /// Starts to look for brokers that have fallen silent, until `life` is cancelled.
    pub fn start(self: &Arc<Self>, life: &Lifecycle) {
        let _ = self.life.set(life.clone());
        let namesrv = self.clone();
        life.spawn_until_cancelled("broker scan", async move {
            loop {
                let interval_ms = namesrv.keys().scan_not_active_broker_interval;
                namesrv.clock.sleep(Duration::from_millis(interval_ms.unsigned_abs())).await;
                namesrv.expire();
            }
        });
    }

    /// Returns the configuration in force.
    pub fn keys(&self) -> Arc<NamesrvKeys> {
        self.keys.load_full()
    }

    /// Returns every topic, sorted.
    pub fn topics(&self) -> Vec<String> {
        self.read(RouteTable::topics)
    }

    /// Returns where a topic is, with the addresses as registered.
    pub fn topic_route(&self, topic: &str) -> Option<TopicRouteData> {
        let acting_master = self.keys.load().support_acting_master;
        self.read(|table| table.route(topic, acting_master))
    }

    /// Returns every registered broker, sorted by cluster, name and id.
    pub fn brokers(&self) -> Vec<RegisteredBroker> {
        let now_ms = self.clock.liveness_ms();
        let mut brokers: Vec<_> = self.read(|table| {
            let registered = |(address, live): (&BrokerAddress, &route_table::BrokerLive)| RegisteredBroker {
                cluster_name: address.cluster.clone(),
                broker_name: live.broker_name.clone(),
                broker_id: table.broker(&live.broker_name).and_then(|broker| {
                    broker.broker_addrs.iter().find(|(_, addr)| **addr == address.addr).map(|(id, _)| *id)
                }),
                broker_addr: address.addr.clone(),
                ha_server_addr: live.ha_server_addr.clone(),
                silent_ms: now_ms - live.last_update_ms,
                heartbeat_timeout_ms: live.heartbeat_timeout_ms,
            };
            table.live_brokers().map(registered).collect()
        });
        brokers.sort_unstable_by(|one, other| {
            (&one.cluster_name, &one.broker_name, one.broker_id).cmp(&(
                &other.cluster_name,
                &other.broker_name,
                other.broker_id,
            ))
        });
        brokers
    }

    /// Drops the brokers that have been silent for too long and closes their connections.
    fn expire(&self) {
        let now_ms = self.clock.liveness_ms();
        if !self.read(|table| table.has_silent(now_ms)) {
            return;
        }
        let changes = self.write(|table| {
            let (connections, changes) = table.expire(now_ms);
            let registrants = self.registrants.lock().unwrap_or_else(PoisonError::into_inner);
            // With the table still locked: a registration comes before this, and then its broker is not silent, or finds
            // its connection closed, and is taken out with it.
            for connection in connections {
                if let Some(peer) = registrants.get(&connection) {
                    peer.close();
                }
            }
            changes
        });
        self.notify(changes);
    }

    fn read<T>(&self, operation: impl FnOnce(&RouteTable) -> T) -> T {
        operation(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, operation: impl FnOnce(&mut RouteTable) -> T) -> T {
        operation(&mut self.table.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn notify(&self, changes: Vec<MinBrokerChange>) {
        if changes.is_empty() || !self.keys.load().notify_min_broker_id_changed {
            return;
        }
        if let Some(life) = self.life.get() {
            for change in changes {
                notify::min_broker_id_changed(change, &self.clock, life);
            }
        }
    }
}

impl Service for NameServer {
    /// Takes out what was registered on the connection, at once.
    fn disconnected(&self, peer: &Arc<Peer>) {
        let registrant = self.registrants.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer.id());
        if registrant.is_some() {
            let changes = self.write(|table| table.disconnect(peer.id()));
            self.notify(changes);
        }
    }
}

#[cfg(test)]
mod tests;
