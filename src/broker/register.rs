//! Registration: keeps every NameServer's picture of this broker up to date, over the wire.
//!
//! One task per NameServer: the whole topic table when it connects and every 30 s, changed topics at once,
//! and a farewell at the end. Of what the NameServer answers the order topics are marked, and a slave uses the master's
//! addresses. Mirrors `BrokerOuterAPI` and the registration of `BrokerController`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::Broker;
use crate::faults::FaultPoint;
use crate::lifecycle::Lifecycle;
use crate::remoting::client::Client;
use crate::wire::body::data_version::DataVersion;
use crate::wire::body::kv::KVTable;
use crate::wire::body::register::RegisterBrokerBody;
use crate::wire::body::route::{QueueData, TopicRouteData};
use crate::wire::body::topic::{TopicConfig, TopicConfigAndMappingSerializeWrapper, perm};
use crate::wire::code::{request, response};
use crate::wire::command::Request;
use crate::wire::fastjson;
use crate::wire::fields::Header as _;
use crate::wire::header::route::{
    GetRouteInfoRequestHeader, RegisterBrokerRequestHeader, RegisterBrokerResponseHeader,
    UnRegisterBrokerRequestHeader,
};

/// Limit of the farewell.
const FAREWELL_LIMIT: Duration = Duration::from_millis(100);
/// Pause after a NameServer could not be reached.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Limit of a question for a topic's route.
const ROUTE_LIMIT: Duration = Duration::from_secs(3);
/// Milliseconds between registrations of a slave that does not know its master.
const MASTER_PAUSE_MS: i64 = 1_000;
/// Changed topics that go as an increment; with more the whole table goes.
const INCREMENT_MAX: usize = 1000;

/// What a NameServer has not heard of yet.
#[derive(Default)]
struct Changed {
    /// Whether it must hear of the whole broker.
    all: bool,
    topics: Vec<String>,
}

/// The registrations of one broker at its NameServers.
pub struct Registration {
    /// Number of the latest change that NameServers must hear of.
    wanted: watch::Sender<u64>,
    servers: Vec<Server>,
}

struct Server {
    address: String,
    /// Number of the latest change that this NameServer has heard of; 0 before the first registration.
    done: watch::Sender<u64>,
    changed: Mutex<Changed>,
    /// The connection on which the broker registers, while there is one.
    client: Mutex<Weak<Client>>,
}

impl Registration {
    /// Makes registrations at these NameServers (`host:port`); nothing is sent yet.
    pub fn new(servers: impl IntoIterator<Item = String>) -> Self {
        let servers = servers.into_iter().map(|address| Server {
            address,
            done: watch::Sender::new(0),
            changed: Mutex::default(),
            client: Mutex::default(),
        });
        Self { wanted: watch::Sender::new(1), servers: servers.collect() }
    }

    /// Returns the NameServers' addresses.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        self.servers.iter().map(|server| server.address.as_str())
    }

    /// Makes every NameServer hear of a new or changed topic at once.
    pub fn topic_changed(&self, topic: &str) {
        for server in &self.servers {
            server.lock().topics.push(topic.to_owned());
        }
        self.wanted.send_modify(|number| *number += 1);
    }

    /// Makes every NameServer hear of the whole broker at once.
    pub fn all_changed(&self) {
        for server in &self.servers {
            *server.lock() = Changed { all: true, topics: Vec::new() };
        }
        self.wanted.send_modify(|number| *number += 1);
    }

    /// Waits until some NameServer has heard of every change so far, at most `limit`; says whether one has.
    ///
    /// True at once for a broker without NameServers.
    pub async fn settled(&self, limit: Duration) -> bool {
        let wanted = *self.wanted.borrow();
        if self.servers.is_empty() {
            return true;
        }
        let any = self.servers.iter().map(|server| {
            let mut done = server.done.subscribe();
            Box::pin(async move { done.wait_for(|done| *done >= wanted).await.is_ok() })
        });
        tokio::time::timeout(limit, futures_util::future::select_all(any)).await.is_ok()
    }

    /// Asks the NameServers, until one answers, which brokers have a topic; nothing when none does.
    pub async fn queues_of(&self, topic: &str) -> Vec<QueueData> {
        let header = GetRouteInfoRequestHeader {
            topic: topic.into(),
            accept_standard_json_only: Some(true),
            zone_mode: None,
            zone_name: None,
        };
        for server in &self.servers {
            let Some(client) = server.client() else { continue };
            let request = Request::new(request::GET_ROUTEINFO_BY_TOPIC, &header);
            let Ok(answer) = client.call(request, ROUTE_LIMIT).await else { continue };
            let route = Some(answer).filter(|answer| answer.code == response::SUCCESS);
            let route = route.and_then(|answer| fastjson::from_slice::<TopicRouteData>(&answer.body).ok());
            return route.unwrap_or_default().queue_datas;
        }
        Vec::new()
    }

    /// Starts one task per NameServer.
    pub fn start(broker: &Arc<Broker>, life: &Lifecycle) {
        for at in 0..broker.registration.servers.len() {
            let (broker, connections) = (broker.clone(), life.clone());
            life.spawn_until_cancelled("registration", async move {
                let server = &broker.registration.servers[at];
                let mut warned = false;
                loop {
                    let why = match Client::connect(&server.address, &broker.clock, &connections).await {
                        Ok(client) => {
                            let client = Arc::new(client);
                            server.set_client(&client);
                            follow(&broker, server, &client, &mut warned).await
                        }
                        Err(cause) => cause.to_string(),
                    };
                    if broker.is_stopping() {
                        return;
                    }
                    if !warned {
                        tracing::warn!(namesrv = %server.address, "not registered, will keep trying: {why}");
                        warned = true;
                    }
                    broker.clock.sleep(RETRY_PAUSE).await;
                }
            });
        }
    }

    /// Tells every NameServer that this broker goes; bounded by a short limit.
    pub async fn farewell(broker: &Broker, life: &Lifecycle) {
        let header = UnRegisterBrokerRequestHeader {
            broker_name: broker.name().into(),
            broker_addr: broker.address().registered().into(),
            cluster_name: broker.cluster().into(),
            broker_id: broker.id(),
        };
        let each =
            broker.registration.servers.iter().filter(|server| *server.done.borrow() > 0).map(|server| {
                let request = Request::new(request::UNREGISTER_BROKER, &header);
                async {
                    if let Ok(client) = Client::connect(&server.address, &broker.clock, life).await {
                        let _ = client.call(request, FAREWELL_LIMIT).await;
                    }
                }
            });
        let _ = tokio::time::timeout(FAREWELL_LIMIT, futures_util::future::join_all(each)).await;
    }
}

impl Server {
    fn client(&self) -> Option<Arc<Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    fn set_client(&self, client: &Arc<Client>) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(client);
    }

    fn lock(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Registers over one connection for as long as it lasts; returns why it does not any more.
async fn follow(broker: &Broker, server: &Server, client: &Client, warned: &mut bool) -> String {
    let mut wanted = broker.registration.wanted.subscribe();
    let mut next_full_ms = 0;
    loop {
        let number = *wanted.borrow_and_update();
        let changed = std::mem::take(&mut *server.lock());
        let now_ms = broker.clock.now_ms();
        // A table of one topic from a broker that is not registered yet would be refused as incomplete, so the
        // first registration is always the whole one.
        let full = now_ms >= next_full_ms || changed.all || changed.topics.len() > INCREMENT_MAX;
        // The version first: a NameServer passes over what comes with a version that it knows, so a table must never
        // carry one that is newer than itself.
        let version = broker.topics.data_version();
        let topics = if full {
            broker.topics.all()
        } else {
            changed.topics.iter().filter_map(|topic| broker.topics.get(topic)).collect()
        };
        // A topic may have gone with the change before its own.
        if (full || !topics.is_empty())
            && let Err(why) = register(broker, client, version, topics).await
        {
            return why;
        }
        if full {
            next_full_ms =
                now_ms + i64::from(broker.keys().register_name_server_period.clamp(10_000, 60_000));
        }
        *warned = false;
        server.done.send_replace(number);
        if broker.slave.as_ref().is_some_and(|slave| !slave.knows_master()) {
            // The answer to the next one may say where the master is by then.
            next_full_ms = next_full_ms.min(now_ms + MASTER_PAUSE_MS);
        }
        let until_full = Duration::from_millis((next_full_ms - broker.clock.now_ms()).max(0) as u64);
        tokio::select! {
            _ = wanted.changed() => {}
            () = broker.clock.sleep(until_full) => {}
            () = client.closed() => return "the connection ended".to_owned(),
        }
    }
}

/// Registers the broker with these topics, which are at least as new as the version.
async fn register(
    broker: &Broker,
    client: &Client,
    data_version: DataVersion,
    topics: Vec<Arc<TopicConfig>>,
) -> Result<(), String> {
    if broker.faults.strikes(FaultPoint::NameServerRegister, client.address().to_string().as_str()) {
        return Err("a fault was ordered".to_owned());
    }
    let keys = broker.keys().clone();
    let permission = keys.broker_permission;
    let (table, topics) = (topics.iter(), topics.len());
    let table = table.map(|topic| {
        let mut config = TopicConfig::clone(topic);
        if permission != perm::READ | perm::WRITE {
            config.perm &= permission;
        }
        (config.topic_name.clone(), config)
    });
    let body = RegisterBrokerBody {
        topic_config_serialize_wrapper: TopicConfigAndMappingSerializeWrapper {
            data_version,
            topic_config_table: table.collect(),
            ..Default::default()
        },
        ..Default::default()
    };
    let body: Bytes = body.encode(keys.compressed_register).into();
    let header = RegisterBrokerRequestHeader {
        broker_name: broker.name().into(),
        broker_addr: broker.address().registered().into(),
        cluster_name: broker.cluster().into(),
        ha_server_addr: broker.ha_address().into(),
        broker_id: broker.id(),
        heartbeat_timeout_millis: None,
        enable_acting_master: Some(false),
        compressed: keys.compressed_register,
        zone_name: None,
        body_crc32: (crc32fast::hash(&body) & 0x7FFF_FFFF) as i32,
    };
    tracing::debug!(namesrv = %client.address(), topics, bytes = body.len(), "registering");
    let request = Request::new(request::REGISTER_BROKER, &header).with_body(body);
    let limit = Duration::from_millis(keys.register_broker_timeout_mills.unsigned_abs().into());
    let answer = client.call(request, limit).await.map_err(|cause| cause.to_string())?;
    if answer.code == response::SUCCESS {
        if let Ok(ordered) = fastjson::from_slice::<KVTable>(&answer.body) {
            broker.topics.set_ordered(ordered.table.keys().map(String::as_str));
        }
        if let Some(slave) = &broker.slave
            && let Ok(told) = RegisterBrokerResponseHeader::decode(&answer.fields)
        {
            slave.learn(told.ha_server_addr.as_deref(), told.master_addr.as_deref());
        }
        return Ok(());
    }
    Err(format!("code {}, {}", answer.code, answer.remark.as_deref().unwrap_or("no remark")))
}
