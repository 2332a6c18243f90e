//! One broker: what it owns, the order in which its parts start and stop, and its side of "first sight".
//!
//! Requests come in through [`routes`], a handler per code in the file of its family; messages go out to the
//! store. The broker speaks to NameServers over the wire ([`register`]), also to one in its own process; the
//! one exception is [`crate::namesrv::Neighbour`], by which a NameServer in the same process may ask for a
//! topic that nobody has created yet. Mirrors `BrokerController`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use crate::clock::Clock;
use crate::config::keys::{self, BrokerKeys, BrokerRole, edit_distance};
use crate::faults::Faults;
use crate::ha::HaOptions;
use crate::ha::master::Master;
use crate::ha::slave::Replica;
use crate::lifecycle::Lifecycle;
use crate::namesrv::{FirstSight, Neighbour};
use crate::remoting::{Peer, Service};
pub use crate::store::persist;
use crate::store::{self, MessageStore, StoreOptions};
use crate::wire::body::topic::TopicConfig;

pub mod address;
pub mod client;
pub(crate) mod dead_letter;
mod due;
pub mod filter;
pub mod group;
pub mod hold;
mod inner;
#[cfg(test)]
mod kit;
pub mod lag;
mod metadata;
pub mod name;
pub mod offset;
mod online;
pub mod order_lock;
mod pending;
pub(crate) mod pop;
mod progress;
mod pull;
mod query;
mod refusal;
pub mod register;
mod reply;
mod retry;
pub mod routes;
mod runtime;
pub mod saving;
mod schedule;
mod send;
mod settings;
mod slave;
pub mod stats;
pub mod timeline;
mod timer;
pub mod topic;
mod transaction;
mod upkeep;

use address::Address;
use client::{Consumers, Producers};
use filter::FilterCache;
use filter::data::ConsumerFilters;
use group::SubscriptionGroupTable;
use hold::PullHold;
use name::RETRY_PREFIX;
use offset::ConsumerOffsets;
use order_lock::QueueLocks;
pub use pending::{DelayedMessage, HalfMessage, Pending};
use pop::Pop;
use register::Registration;
pub use runtime::REFUSAL_KEY;
use saving::Saving;
use schedule::Schedule;
use settings::InForce;
use slave::Slave;
use stats::Stats;
use timer::Timers;
use topic::{Change, TopicOptions, TopicTable, perm};
use transaction::Transactions;

/// Housekeeping period: silent clients, topics that stayed provisional.
const HOUSEKEEPING: Duration = Duration::from_secs(5);
/// Queues of a topic that first sight creates: as many as a default producer's auto-create would give.
const FIRST_SIGHT_QUEUES: i32 = 4;

/// Name of the file with consumer offsets.
const OFFSETS_FILE: &str = "consumerOffset.json";
/// Name of the file with the progress of the delay levels.
const DELAYS_FILE: &str = "delayOffset.json";

/// What a broker is built from, beside its store.
pub struct BrokerOptions {
    /// Its configuration.
    pub keys: BrokerKeys,
    /// Where its JSON configuration files are (`<storePathRootDir>/config`).
    pub config_dir: PathBuf,
    /// The file that UPDATE_BROKER_CONFIG rewrites.
    pub config_file: PathBuf,
    /// NameServers to register at, `host:port`.
    pub name_servers: Vec<String>,
    /// What it calls itself.
    pub address: Address,
    /// Port of its replication service, for registration.
    pub ha_port: u16,
    /// Whether topics are created only by administrators and sends, not by being asked for.
    pub strict_topics: bool,
}

/// A running broker.
///
/// Locks of its parts are leaves: no part calls another while it holds its own. The one exception is said at
/// [`Transactions`].
pub struct Broker {
    pub(crate) clock: Clock,
    pub(crate) faults: Faults,
    pub(crate) store: Arc<MessageStore>,
    pub(crate) topics: TopicTable,
    pub(crate) groups: SubscriptionGroupTable,
    pub(crate) offsets: ConsumerOffsets,
    pub(crate) consumers: Consumers,
    pub(crate) consumer_filters: ConsumerFilters,
    pub(crate) filter_cache: FilterCache,
    pub(crate) producers: Producers,
    pub(crate) hold: Arc<PullHold>,
    pub(crate) locks: QueueLocks,
    pub(crate) pop: Arc<Pop>,
    pub(crate) schedule: Arc<Schedule>,
    pub(crate) timers: Arc<Timers>,
    transactions: Transactions,
    pub(crate) stats: Stats,
    events: timeline::Events,
    pub(crate) registration: Arc<Registration>,
    /// Writes `topics.json`, for which senders wait, and nothing else.
    pub(crate) topics_saving: Saving,
    /// Writes all other configuration files.
    pub(crate) saving: Saving,
    /// Held while dead letters are sent again, so that none is sent twice.
    resending: Mutex<()>,
    /// Sends the log to slaves, also to those of a slave.
    pub(crate) ha: Arc<Master>,
    /// What the broker knows of its master, if it is a slave.
    pub(crate) slave: Option<Arc<Slave>>,
    pub(crate) config_file: PathBuf,
    /// What administrators have set; [`Broker::keys`] is what is in force.
    configured: Mutex<settings::Configured>,
    keys: ArcSwap<InForce>,
    address: ArcSwap<Address>,
    config_dir: PathBuf,
    ha_port: u16,
    strict_topics: bool,
    stopping: AtomicBool,
    unique_key_prefix: [u8; 10],
    unique_key_counter: AtomicU16,
}

impl Broker {
    /// Builds a broker on an opened store and loads its configuration files.
    pub fn new(
        options: BrokerOptions,
        store: Arc<MessageStore>,
        clock: Clock,
        faults: Faults,
    ) -> Result<Arc<Self>, persist::PersistError> {
        let keys = options.keys;
        let mut unique_key_prefix = [127, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        unique_key_prefix[4..6].copy_from_slice(&(std::process::id() as u16).to_be_bytes());
        unique_key_prefix[6..].copy_from_slice(&fastrand::u32(..).to_be_bytes());
        let ha_options = ha_options(&keys);
        let gap_bytes = i64::from(keys.ha_max_gap_not_in_sync);
        let slave = (keys.broker_role == keys::BrokerRole::Slave).then(|| {
            let master = keys.ha_master_address.clone();
            let fixed = master.is_some();
            let replica = Replica::new(store.clone(), clock.clone(), ha_options, master);
            Arc::new(Slave::new(Arc::new(replica), fixed))
        });
        if slave.is_some() {
            store.forbid_puts(Some("this broker is a slave"));
        }
        let broker = Self {
            ha: Arc::new(Master::new(store.clone(), clock.clone(), faults.clone(), ha_options, gap_bytes)),
            slave,
            topics: TopicTable::load(topic_options(&keys, &options.config_dir), clock.clone())?,
            groups: SubscriptionGroupTable::load(
                options.config_dir.join("subscriptionGroup.json"),
                clock.clone(),
            )?,
            offsets: ConsumerOffsets::default(),
            consumers: Consumers::default(),
            consumer_filters: ConsumerFilters::load(&options.config_dir, clock.now_ms())?,
            filter_cache: FilterCache::default(),
            producers: Producers::default(),
            hold: Arc::default(),
            locks: if store.max_physical_offset().0 > 0 {
                QueueLocks::of_former_members(clock.now_ms())
            } else {
                QueueLocks::default()
            },
            timers: Arc::new(Timers::load(&keys, &options.config_dir, &store).map_err(|cause| {
                let path = options.config_dir.join("timercheck");
                persist::PersistError::Io { action: "read", path, cause }
            })?),
            pop: Arc::new(Pop::load(&options.config_dir, &keys.broker_cluster_name, keys.revive_queue_num)?),
            schedule: Arc::new(Schedule::load(
                options.config_dir.join(DELAYS_FILE),
                &keys.delay_levels_ms(),
                &store,
            )?),
            transactions: Transactions::default(),
            stats: Stats::new(&keys.broker_cluster_name, &keys.broker_name, clock.now_ms()),
            events: timeline::Events::default(),
            registration: Arc::new(Registration::new(options.name_servers)),
            topics_saving: Saving::default(),
            saving: Saving::default(),
            resending: Mutex::default(),
            address: ArcSwap::from_pointee(options.address),
            config_file: options.config_file,
            configured: Mutex::new(settings::Configured::new(keys.clone(), clock.now_ms())),
            keys: ArcSwap::from_pointee(InForce::new(keys)),
            config_dir: options.config_dir,
            ha_port: options.ha_port,
            strict_topics: options.strict_topics,
            stopping: AtomicBool::new(false),
            unique_key_prefix,
            unique_key_counter: AtomicU16::new(0),
            clock,
            faults,
            store,
        };
        if broker.slave.is_none() && broker.keys().is_explicit("defaultTopicQueueNums") {
            // The file has the queues of a former start.
            broker.topics.set_default_queue_nums(broker.keys().default_topic_queue_nums);
        }
        if let Some(saved) = persist::load(&broker.config_dir.join(OFFSETS_FILE))? {
            broker.offsets.restore(saved);
        }
        broker.adopt_topics_of_the_store();
        Ok(Arc::new(broker))
    }

    /// Makes known again what a crash kept from being written: topics whose messages are in the store.
    fn adopt_topics_of_the_store(&self) {
        for (topic, queues) in self.store.topics_with_queues() {
            if self.topics.get(&topic).is_none() && name::validate_topic(&topic).is_ok() {
                let queue_nums = queues.last().map_or(1, |last| last + 1).max(1);
                tracing::warn!(%topic, queue_nums, "adopting a topic that has messages but no configuration");
                self.topics.create_internal(&topic, queue_nums, perm::READ | perm::WRITE, false);
            }
        }
    }

    /// Starts the broker's tasks: arrivals, registration, saving, housekeeping.
    pub fn start(self: &Arc<Self>, life: &Lifecycle) -> std::io::Result<()> {
        let (registration, saving) = (self.registration.clone(), self.topics_saving.clone());
        self.topics.on_change(move |change| {
            if let Change::Put(config) = change {
                registration.topic_changed(&config.topic_name);
            }
            saving.soon();
        });
        let (saving, broker) = (self.topics_saving.clone(), self.clone());
        life.thread("save topics", move || saving.run(|_| report(broker.topics.save())))?;
        let saving = self.saving.clone();
        self.groups.on_change(move || saving.soon());
        let (hold, schedule, timers) = (self.hold.clone(), self.schedule.clone(), self.timers.clone());
        let pop = self.pop.clone();
        self.store.on_arrival(Arc::new(move |arrivals| {
            hold.arrived(arrivals);
            schedule.arrived(arrivals);
            timers.arrived(arrivals);
            pop.log.arrived(arrivals);
        }));
        if let Some(slave) = &self.slave {
            slave.start(self, life);
        } else {
            // What is due is delivered by the master, and comes with its log.
            pop::revive::start(self, life);
            life.spawn_until_cancelled("delay levels", schedule::run(self.clone()));
            if self.timers.is_enabled() {
                life.spawn_until_cancelled("timers", timer::run(self.clone()));
            }
        }
        let (saving, broker) = (self.saving.clone(), self.clone());
        life.thread("save config", move || saving.run(|last| broker.save_changed(last)))?;
        Registration::start(self, life);
        self.load_transactions();
        if self.slave.is_none() {
            life.spawn_until_cancelled("check transactions", transaction::check::run(self.clone()));
        }
        let broker = self.clone();
        life.spawn_until_cancelled("housekeeping", async move {
            loop {
                broker.clock.sleep(HOUSEKEEPING).await;
                broker.close_silent_clients();
                broker.consumer_filters.expire(broker.clock.now_ms());
                broker.stats.sample(broker.clock.now_ms());
                for topic in broker.topics.expire_provisional() {
                    tracing::debug!(topic, "nobody used a topic that was only asked for");
                }
            }
        });
        Ok(())
    }

    /// Serves slaves that connect to this socket.
    pub fn serve_slaves(&self, listener: tokio::net::TcpListener, life: &Lifecycle) {
        self.ha.serve(listener, life);
    }

    /// Returns where the log ends, and how many slaves are connected.
    pub fn ha_view(&self) -> (i64, usize) {
        (self.store.max_physical_offset().0, self.ha.slaves().len())
    }

    /// Lets waiting pulls answer and tells the NameServers; nothing is delivered any more. Calls are still answered.
    pub async fn stop(&self, life: &Lifecycle) {
        self.stopping.store(true, Ordering::SeqCst);
        Registration::farewell(self, life).await;
        self.hold.wake_all();
    }

    /// Lets the threads that write configuration files end after a last write. For when the last call is answered: who
    /// waits for a write after that waits for ever.
    pub fn stop_saving(&self) {
        self.topics_saving.stop();
        self.saving.stop();
    }

    /// Says whether [`Broker::stop`] was called.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Says why messages are not taken now, in words for a person; `None` when they are. A slave, which takes them from its
    /// master alone, is asked only whether it stops.
    pub(crate) fn unready_reason(&self) -> Option<String> {
        if self.is_stopping() {
            return Some("the server is stopping".to_owned());
        }
        if self.slave.is_some() || self.store.is_writeable() {
            return None;
        }
        Some(self.store.refusal_reason().unwrap_or_else(|| "the store takes no messages now".to_owned()))
    }

    /// Says whether messages, topics and groups are the master's, copied.
    pub(crate) fn is_slave(&self) -> bool {
        self.keys().broker_role == BrokerRole::Slave
    }

    /// Returns the configuration in force.
    pub(crate) fn keys(&self) -> Guard<Arc<InForce>> {
        self.keys.load()
    }

    /// Puts a changed configuration in force: in the store, in what clients are told, at the NameServers.
    ///
    /// As on the reference a changed `brokerIP1` or `listenPort` changes only what is registered; the port that
    /// is listened on stays.
    pub(crate) fn set_keys(&self, keys: BrokerKeys) {
        let before = self.keys.load_full();
        if keys.broker_ip1 != before.broker_ip1 || keys.listen_port != before.listen_port {
            // Only what was changed: --advertise may have said the other one.
            let host = keys.broker_ip1.as_ref().filter(|_| keys.broker_ip1 != before.broker_ip1);
            let port = (keys.listen_port != before.listen_port)
                .then(|| u16::try_from(keys.listen_port).unwrap_or_default());
            self.address.rcu(|address| address.changed(host.cloned(), port));
        }
        self.topics.set_auto_create(keys.auto_create_topic_enable);
        let allowed_now = keys.auto_create_topic_enable && !before.auto_create_topic_enable;
        let another_number = keys.default_topic_queue_nums != before.default_topic_queue_nums;
        // A slave has its master's topics.
        if self.slave.is_none()
            && (another_number || allowed_now && self.topics.get(name::AUTO_CREATE_TOPIC).is_none())
        {
            self.topics.set_default_queue_nums(keys.default_topic_queue_nums);
        }
        if keys.broker_permission != before.broker_permission {
            self.topics.touch();
        }
        self.store.set_options(store_options(&keys, self.store.options().store_host));
        // Counts the slaves again, of which another number may be wanted now.
        self.ha.set_gap_bytes(keys.ha_max_gap_not_in_sync.into());
        self.keys.store(Arc::new(InForce::new(keys)));
        self.registration.all_changed();
    }

    /// Returns what the broker calls itself.
    pub(crate) fn address(&self) -> Guard<Arc<Address>> {
        self.address.load()
    }

    /// Waits until a NameServer has heard of every change so far, at most `limit`; says whether one has.
    pub async fn registration_settled(&self, limit: Duration) -> bool {
        self.registration.settled(limit).await
    }

    /// Returns the number of held pulls.
    pub fn held_pulls(&self) -> usize {
        self.hold.len()
    }

    /// Returns the broker's name.
    pub fn name(&self) -> String {
        self.keys().broker_name.clone()
    }

    /// Returns the cluster's name.
    pub fn cluster(&self) -> String {
        self.keys().broker_cluster_name.clone()
    }

    /// Returns the broker's id; 0 is the master.
    pub fn id(&self) -> i64 {
        self.keys().broker_id
    }

    /// Returns the address that slaves dial.
    pub(crate) fn ha_address(&self) -> String {
        let keys = self.keys();
        let address = self.address();
        // A master behind one address with slaves behind another says so by brokerIP2.
        let host = keys.broker_ip2.as_deref().unwrap_or(address.host());
        format!("{host}:{}", self.ha_port)
    }

    /// Says which topic was perhaps meant, where topics are not made by asking for them.
    fn log_near_miss(&self, topic: &str, peer: &Peer) {
        if name::validate_topic(topic).is_err() {
            return; // also: comparing takes time in the square of its length
        }
        let near = self
            .topics
            .all()
            .into_iter()
            .map(|known| (edit_distance(&known.topic_name.to_lowercase(), &topic.to_lowercase()), known));
        match near.min_by_key(|(distance, _)| *distance) {
            Some((distance, known)) if distance <= 2.max(topic.len() / 4) => {
                let known = &known.topic_name;
                tracing::warn!(topic, peer = %peer.address(), "asked for a topic that does not exist; did you mean {known}?");
            }
            _ => tracing::info!(topic, peer = %peer.address(), "asked for a topic that does not exist"),
        }
    }

    /// Finds or makes the topic of a group's retries; `None` when the name would be too long.
    pub(crate) fn retry_topic(&self, group: &str, queue_nums: i32) -> Option<Arc<TopicConfig>> {
        let topic = name::retry_topic(group);
        if let Some(config) = self.topics.get(&topic) {
            self.topics.confirm(&topic);
            return Some(config);
        }
        name::validate_topic(&topic).ok()?;
        self.topics.create_internal(&topic, queue_nums.max(1), perm::READ | perm::WRITE, false)
    }
}

impl Broker {
    /// Writes the configuration files whose tables have changed, except that of the topics. `last` says that nothing is
    /// written after this.
    fn save_changed(&self, last: bool) {
        let saved = [
            self.groups.save(),
            self.offsets.save(&self.config_dir.join(OFFSETS_FILE), &self.store),
            // A slave keeps its master's progress of what is due, and has none of its own.
            if self.slave.is_none() { self.schedule.save(&self.store) } else { Ok(false) },
            self.consumer_filters.save(),
            self.pop.modes.save(),
            self.pop.orders.save(self.clock.now_ms()),
        ];
        saved.into_iter().for_each(report);
        if self.slave.is_none()
            && let Err(cause) = self.timers.save(self, last && self.is_stopping())
        {
            tracing::error!("cannot save the progress of the timers: {cause}");
        }
    }
}

fn report(saved: Result<bool, persist::PersistError>) {
    if let Err(cause) = saved {
        tracing::error!("cannot save the broker's configuration: {cause}");
    }
}

impl Service for Broker {
    fn disconnected(&self, peer: &Arc<Peer>) {
        self.client_gone(peer);
    }
}

impl Neighbour for Broker {
    fn first_sight(&self, topic: &str, peer: &Peer) -> Option<FirstSight> {
        let keys = self.keys();
        if !keys.auto_create_topic_enable || self.is_stopping() {
            return None;
        }
        if self.strict_topics {
            self.log_near_miss(topic, peer);
            return None;
        }
        let queue_nums = match topic.strip_prefix(RETRY_PREFIX) {
            Some(group) => self.groups.get(group).map_or(1, |config| config.retry_queue_nums.max(1)),
            None => FIRST_SIGHT_QUEUES.min(keys.default_topic_queue_nums),
        };
        let config = self.topics.provisional(topic, queue_nums)?;
        Some(FirstSight {
            cluster_name: keys.broker_cluster_name.clone(),
            broker_name: keys.broker_name.clone(),
            broker_addr: self.address().registered(),
            config: TopicConfig::clone(&config),
        })
    }

    fn reachable_address(&self, broker_addr: &str, peer: &Peer) -> Option<String> {
        (broker_addr == self.address().registered()).then(|| self.address().for_peer(peer))
    }
}

fn ha_options(keys: &BrokerKeys) -> HaOptions {
    let ms = |number: i32| Duration::from_millis(number.unsigned_abs().into());
    HaOptions {
        heartbeat: ms(keys.ha_send_heartbeat_interval),
        housekeeping: ms(keys.ha_housekeeping_interval),
        batch_bytes: keys.ha_transfer_batch_size as usize,
    }
}

fn topic_options(keys: &BrokerKeys, config_dir: &Path) -> TopicOptions {
    TopicOptions {
        path: config_dir.join("topics.json"),
        cluster: keys.broker_cluster_name.clone(),
        broker_name: keys.broker_name.clone(),
        auto_create: keys.auto_create_topic_enable,
        default_queue_nums: keys.default_topic_queue_nums,
        cluster_topic: keys.cluster_topic_enable,
        broker_topic: keys.broker_topic_enable,
        trace_topic: keys.trace_topic_enable.then(|| keys.msg_trace_topic_name.clone()),
        revive_queue_nums: keys.revive_queue_num,
        timer: keys.timer_wheel_enable,
    }
}

/// Translates a broker's keys into the store's own options.
pub fn store_options(keys: &BrokerKeys, store_host: SocketAddr) -> StoreOptions {
    StoreOptions {
        root: keys.store_root().to_owned(),
        commit_log_dir: keys.commit_log_dir(),
        consume_queue_dir: keys.consume_queue_dir(),
        index_dir: keys.index_dir(),
        checkpoint_file: keys.checkpoint_file(),
        abort_file: keys.abort_file_path(),
        commit_log_file_bytes: keys.mapped_file_size_commit_log as u64,
        consume_queue_file_bytes: keys.consume_queue_file_bytes(),
        max_hash_slot_num: keys.max_hash_slot_num as u32,
        max_index_num: keys.max_index_num as u32,
        message_index_enable: keys.message_index_enable,
        flush_disk_type: match keys.flush_disk_type {
            keys::FlushDiskType::AsyncFlush => store::FlushDiskType::Async,
            keys::FlushDiskType::SyncFlush => store::FlushDiskType::Sync,
        },
        flush_interval_commit_log_ms: keys.flush_interval_commit_log as u64,
        flush_commit_log_least_pages: keys.flush_commit_log_least_pages as u32,
        flush_commit_log_thorough_interval_ms: keys.flush_commit_log_thorough_interval as u64,
        flush_interval_consume_queue_ms: keys.flush_interval_consume_queue as u64,
        flush_consume_queue_least_pages: keys.flush_consume_queue_least_pages as u32,
        flush_consume_queue_thorough_interval_ms: keys.flush_consume_queue_thorough_interval as u64,
        sync_flush_timeout_ms: keys.sync_flush_timeout as u64,
        slaves_wanted: keys.slaves_wanted(),
        slave_timeout_ms: keys.slave_timeout as u64,
        max_message_bytes: keys.max_message_size as usize,
        delete_when: keys.delete_when.clone(),
        file_reserved_time_hours: keys.file_reserved_time as u64,
        delete_file_batch_max: keys.delete_file_batch_max as usize,
        disk_max_used_space_ratio: keys.disk_max_used_ratio(),
        clean_file_forcibly_enable: keys.clean_file_forcibly_enable,
        clean_resource_interval_ms: keys.clean_resource_interval as u64,
        max_transfer_bytes_in_memory: keys.max_transfer_bytes_on_message_in_memory as usize,
        max_transfer_count_in_memory: keys.max_transfer_count_on_message_in_memory as usize,
        max_transfer_bytes_in_disk: keys.max_transfer_bytes_on_message_in_disk as usize,
        max_transfer_count_in_disk: keys.max_transfer_count_on_message_in_disk as usize,
        access_message_in_memory_max_ratio: keys.access_message_in_memory_max_ratio as u32,
        max_filter_message_bytes: keys.max_filter_message_size as usize,
        check_crc_on_recover: keys.check_crc_on_recover,
        store_host,
        message_delay_level_ms: keys.delay_levels_ms(),
        ..StoreOptions::default()
    }
}
