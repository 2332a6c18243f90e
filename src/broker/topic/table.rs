//! The topics of one broker: `config/topics.json` in memory.
//!
//! Reading a topic is one lookup without a lock. Changes go through one lock, count the table's version up and
//! are told to whoever listens; [`TopicTable::save`] writes the file when its caller finds the time. A topic
//! that somebody only asked for is *provisional*: it can be read like any other but is in no list and no file,
//! and goes after a minute unless it is used. Mirrors `TopicConfigManager`; static topics are not kept.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use papaya::Guard;
use serde::Serialize;
use tokio::sync::watch;

use super::attributes;
use crate::broker::name;
use crate::broker::persist::{self, PersistError};
use crate::broker::stats::TopicStats;
use crate::clock::Clock;
use crate::store::QueueSlot;
use crate::wire::body::data_version::DataVersion;
use crate::wire::body::topic::{TopicConfig, TopicConfigSerializeWrapper, perm};
use crate::wire::fastjson::Printed;

/// Most topics of one broker; beyond it none is created.
pub const TOPICS_MAX: usize = 100_000;
/// Most queues of one topic.
pub const QUEUES_MAX: i32 = 16_384;
/// Most provisional topics at one time.
const PROVISIONAL_MAX: usize = 1_000;
/// How long a provisional topic waits for its first use.
const PROVISIONAL_MS: i64 = 60_000;
/// How long a deleted topic does not come back by being asked for.
const DELETED_MS: i64 = 300_000;

/// What a broker's settings say about topics.
#[derive(Clone, Debug)]
pub struct TopicOptions {
    /// The file, `config/topics.json` below the store's root.
    pub path: PathBuf,
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the broker.
    pub broker_name: String,
    /// Whether sending to an unknown topic creates it (`autoCreateTopicEnable`).
    pub auto_create: bool,
    /// Most queues of a topic created so (`defaultTopicQueueNums`).
    pub default_queue_nums: i32,
    /// Whether clients may use the topic named as the cluster (`clusterTopicEnable`).
    pub cluster_topic: bool,
    /// Whether clients may use the topic named as the broker (`brokerTopicEnable`).
    pub broker_topic: bool,
    /// The topic of message traces, if there is one (`msgTraceTopicName`).
    pub trace_topic: Option<String>,
    /// Queues of the topic from which POP revives messages (`reviveQueueNum`).
    pub revive_queue_nums: i32,
    /// Whether messages may ask for an exact time (`timerWheelEnable`).
    pub timer: bool,
}

/// What has become of a topic.
#[derive(Clone, Debug)]
pub enum Change {
    /// It was created, has changed, or was provisional and is so no more.
    Put(Arc<TopicConfig>),
    /// It was deleted.
    Deleted(String),
}

/// A topic, and what a send to it would otherwise look up by the same name in two more tables.
pub struct Topic {
    /// The configuration.
    pub config: Arc<TopicConfig>,
    /// What it took in; filled by the first send.
    pub stats: OnceLock<Arc<TopicStats>>,
    queues: OnceLock<Box<[QueueSlot]>>,
}

impl Topic {
    fn new(config: Arc<TopicConfig>) -> Self {
        Self { config, stats: OnceLock::new(), queues: OnceLock::new() }
    }

    /// Returns the place of a queue that can be sent to.
    pub fn queue(&self, queue_id: i32) -> Option<&QueueSlot> {
        let slots = self.queues.get_or_init(|| {
            let queues = self.config.write_queue_nums.max(self.config.read_queue_nums);
            (0..queues).map(|_| QueueSlot::default()).collect()
        });
        slots.get(usize::try_from(queue_id).ok()?)
    }
}

type Listener = Box<dyn Fn(&Change) + Send + Sync>;

/// The topics of one broker.
///
/// Lock order: `state` is a leaf, except that `printed` is taken before it.
pub struct TopicTable {
    options: TopicOptions,
    clock: Clock,
    topics: papaya::HashMap<Box<str>, Topic>,
    auto_create: AtomicBool,
    state: Mutex<State>,
    /// Number of provisional topics, so that [`TopicTable::confirm`] costs one load while there are none.
    provisional: AtomicUsize,
    /// Number of changes, and how many of them the file has.
    changes: AtomicU64,
    saved: watch::Sender<u64>,
    /// What the file holds, printed topic by topic; held while it is written.
    printed: Mutex<BTreeMap<String, Printed>>,
    listener: OnceLock<Listener>,
}

#[derive(Default)]
struct State {
    version: DataVersion,
    /// Since when a topic has been provisional, in milliseconds.
    provisional: HashMap<String, i64>,
    /// When a topic was deleted, in milliseconds.
    deleted: HashMap<String, i64>,
    /// Topics that have changed, come or gone since they were last printed.
    unprinted: HashSet<String>,
}

/// The file `topics.json`: [`TopicConfigSerializeWrapper`] with each topic printed before, because senders wait for the
/// file, which is written whole for each topic that they make.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TopicsFile<'a> {
    data_version: DataVersion,
    topic_config_table: &'a BTreeMap<String, Printed>,
}

/// How deep a topic stands in the file.
const PRINTED_DEPTH: usize = 2;

impl TopicTable {
    /// Reads the table; a broker's own topics are there in any case.
    pub fn load(options: TopicOptions, clock: Clock) -> Result<Self, PersistError> {
        let saved: Option<TopicConfigSerializeWrapper> = persist::load(&options.path)?;
        // A fresh broker has something to write.
        let changes = AtomicU64::new(u64::from(saved.is_none()));
        let saved = saved.unwrap_or_default();
        let topics = papaya::HashMap::new();
        for config in own_topics(&options) {
            topics.pin().insert(config.topic_name.as_str().into(), Topic::new(Arc::new(config)));
        }
        for (topic, mut config) in saved.topic_config_table {
            if let Err(problem) = name::validate_kept_topic(&topic) {
                tracing::warn!(file = %options.path.display(), "a topic is passed over: {problem}");
                continue;
            }
            config.topic_name.clone_from(&topic);
            topics.pin().insert(topic.into(), Topic::new(Arc::new(config)));
        }
        let unprinted = topics.pin().keys().map(ToString::to_string).collect();
        Ok(Self {
            auto_create: AtomicBool::new(options.auto_create),
            options,
            clock,
            topics,
            state: Mutex::new(State { version: saved.data_version, unprinted, ..State::default() }),
            provisional: AtomicUsize::new(0),
            changes,
            saved: watch::Sender::new(0),
            printed: Mutex::default(),
            listener: OnceLock::new(),
        })
    }

    /// Sets who is told of every change, by the thread that made it; it must not wait. Only the first one counts.
    pub fn on_change(&self, listener: impl Fn(&Change) + Send + Sync + 'static) {
        let _ = self.listener.set(Box::new(listener));
    }

    /// Allows or forbids that sending creates topics, from now on.
    pub fn set_auto_create(&self, allowed: bool) {
        self.auto_create.store(allowed, Ordering::Relaxed);
    }

    /// Gives the topic that new ones inherit from this many queues; makes it if it is missing and new ones may be made.
    ///
    /// On the reference it keeps the queues of the first start.
    pub fn set_default_queue_nums(&self, queue_nums: i32) {
        let state = self.lock();
        let known = self.get(name::AUTO_CREATE_TOPIC);
        let config = match known.as_deref() {
            Some(known) if (known.read_queue_nums, known.write_queue_nums) == (queue_nums, queue_nums) => {
                return;
            }
            Some(known) => TopicConfig {
                read_queue_nums: queue_nums,
                write_queue_nums: queue_nums,
                ..TopicConfig::clone(known)
            },
            None if self.auto_create.load(Ordering::Relaxed) => auto_create_topic(queue_nums),
            None => return,
        };
        self.put(state, config);
    }

    /// Returns a topic, also a provisional one.
    #[inline]
    pub fn get(&self, topic: &str) -> Option<Arc<TopicConfig>> {
        self.topics.pin().get(topic).map(|known| known.config.clone())
    }

    /// Returns what keeps topics that [`TopicTable::find`] returns in memory.
    pub fn guard(&self) -> impl Guard + '_ {
        self.topics.guard()
    }

    /// Returns a topic without a reference count, which the threads of all connections would write to for each
    /// message. Finds nothing while there are provisional topics, which go unless somebody counts.
    #[inline]
    pub fn find<'a>(&self, topic: &str, guard: &'a impl Guard) -> Option<&'a Topic> {
        if self.provisional.load(Ordering::Acquire) != 0 {
            return None;
        }
        self.topics.get(topic, guard)
    }

    /// Returns every topic in the order of names, without the provisional ones.
    pub fn all(&self) -> Vec<Arc<TopicConfig>> {
        self.all_locked(&self.lock())
    }

    fn all_locked(&self, state: &State) -> Vec<Arc<TopicConfig>> {
        let topics = self.topics.pin();
        let real = topics.iter().filter(|(topic, _)| !state.provisional.contains_key(&***topic));
        let mut all: Vec<_> = real.map(|(_, topic)| topic.config.clone()).collect();
        all.sort_unstable_by(|one, other| one.topic_name.cmp(&other.topic_name));
        all
    }

    /// Returns the version of the table, which every change counts up.
    pub fn data_version(&self) -> DataVersion {
        self.lock().version
    }

    /// Returns what goes into the file and to a slave: every topic, and the version they have together.
    pub fn snapshot(&self) -> TopicConfigSerializeWrapper {
        let state = self.lock();
        let all = self.all_locked(&state);
        let table = all.iter().map(|config| (config.topic_name.clone(), TopicConfig::clone(config)));
        TopicConfigSerializeWrapper { data_version: state.version, topic_config_table: table.collect() }
    }

    /// Counts the version up although no topic has changed: NameServers overlook a table whose version they know.
    pub fn touch(&self) {
        self.count_change(&mut self.lock());
    }

    /// Says whether the system owns this topic: it can be neither changed nor deleted.
    pub fn is_system(&self, topic: &str) -> bool {
        let own = name::own_topics(&self.options.cluster, &self.options.broker_name);
        name::is_system_topic(topic)
            || own.iter().any(|own| own == topic)
            || self.options.trace_topic.as_deref() == Some(topic)
    }

    /// Creates a topic that somebody sends to, as its default topic allows (`createTopicInSendMessageMethod`).
    ///
    /// Refuses when the default topic is unknown or passes nothing on, when the name is illegal, and beyond
    /// [`TOPICS_MAX`].
    pub fn create_in_send(
        &self,
        default_topic: &str,
        topic: &str,
        client_queue_nums: i32,
    ) -> Option<Arc<TopicConfig>> {
        let config = self.inherited(default_topic, topic, client_queue_nums)?;
        self.create_if_absent(config)
    }

    /// Creates a topic of the broker's own making (`createTopicInSendMessageBackMethod`), or changes its `order`.
    ///
    /// Refuses an illegal name and any beyond [`TOPICS_MAX`].
    pub fn create_internal(
        &self,
        topic: &str,
        queue_nums: i32,
        perm: i32,
        order: bool,
    ) -> Option<Arc<TopicConfig>> {
        if let Some(known) = self.get(topic) {
            self.confirm(topic);
            if known.order == order {
                return Some(known);
            }
            let config = TopicConfig { order, ..TopicConfig::clone(&known) };
            return Some(self.put(self.lock(), config));
        }
        self.create_if_absent(TopicConfig { order, ..TopicConfig::new(topic, queue_nums, perm) })
    }

    fn create_if_absent(&self, config: TopicConfig) -> Option<Arc<TopicConfig>> {
        if name::validate_kept_topic(&config.topic_name).is_err() {
            return None;
        }
        let state = self.lock();
        if let Some(known) = self.get(&config.topic_name) {
            drop(state);
            self.confirm(&known.topic_name);
            return Some(known);
        }
        if self.topics.len() >= TOPICS_MAX {
            tracing::warn!(topic = config.topic_name, "not created: there are {TOPICS_MAX} topics already");
            return None;
        }
        tracing::info!(topic = config.topic_name, queues = config.write_queue_nums, "topic created");
        Some(self.put(state, config))
    }

    /// Makes the configuration that a new topic inherits.
    fn inherited(&self, default_topic: &str, topic: &str, queue_nums: i32) -> Option<TopicConfig> {
        if default_topic == name::AUTO_CREATE_TOPIC && !self.auto_create.load(Ordering::Relaxed) {
            return None;
        }
        let default = self.get(default_topic).filter(|default| default.perm & perm::INHERIT != 0)?;
        let queue_nums = queue_nums.min(default.write_queue_nums).max(0);
        Some(TopicConfig {
            topic_filter_type: default.topic_filter_type,
            ..TopicConfig::new(topic, queue_nums, default.perm & !perm::INHERIT)
        })
    }

    /// Creates or changes a topic as an administrator orders; the attributes' keys carry `+` or `-`.
    ///
    /// Says whether anything is different now. Refuses, with the text for the remark, what no topic can be.
    pub fn update(&self, wanted: TopicConfig) -> Result<bool, String> {
        self.update_all(vec![wanted])
    }

    /// As [`TopicTable::update`] for several topics: all of them or none.
    pub fn update_all(&self, wanted: Vec<TopicConfig>) -> Result<bool, String> {
        let mut state = self.lock();
        let mut changed = Vec::new();
        for wanted in wanted {
            check(&wanted)?;
            let current = self.get(&wanted.topic_name);
            if current.is_none() && self.topics.len() + changed.len() >= TOPICS_MAX {
                return Err(format!("there are {TOPICS_MAX} topics already"));
            }
            let provisional = state.provisional.contains_key(&wanted.topic_name);
            let known = current.as_ref().filter(|_| !provisional);
            let attributes = attributes::alter(known.map(|known| &known.attributes), &wanted.attributes)?;
            let config = TopicConfig { attributes, ..wanted };
            if known.is_none_or(|known| **known != config) {
                changed.push(Arc::new(config));
            }
        }
        let any = !changed.is_empty();
        if any {
            self.put_locked(&mut state, &changed);
        }
        drop(state);
        for config in changed {
            self.tell(&Change::Put(config));
        }
        Ok(any)
    }

    /// Marks topics as ordered, as a NameServer says (`updateOrderTopicConfig`).
    pub fn set_ordered<'a>(&self, topics: impl IntoIterator<Item = &'a str>) {
        for topic in topics {
            let state = self.lock();
            if let Some(known) = self.get(topic).filter(|known| !known.order) {
                self.put(state, TopicConfig { order: true, ..TopicConfig::clone(&known) });
            }
        }
    }

    /// Takes over a whole table, such as a master's: topics that are not in it go.
    ///
    /// Attributes come without signs here, as they are stored.
    pub fn replace(&self, table: TopicConfigSerializeWrapper) {
        let mut state = self.lock();
        let (mut put, mut gone) = (Vec::new(), Vec::new());
        for (topic, mut config) in table.topic_config_table {
            if name::validate_kept_topic(&topic).is_ok() {
                config.topic_name = topic;
                put.push(Arc::new(config));
            }
        }
        let wanted: HashSet<&str> = put.iter().map(|config| &*config.topic_name).collect();
        for topic in self.topics.pin().keys().filter(|topic| !wanted.contains(&***topic)) {
            gone.push(topic.to_string());
        }
        put.retain(|config| self.get(&config.topic_name).is_none_or(|known| known != *config));
        for topic in &gone {
            self.topics.pin().remove(&**topic);
            state.provisional.remove(topic);
            state.unprinted.insert(topic.clone());
        }
        self.put_locked(&mut state, &put);
        state.version = table.data_version;
        drop(state);
        put.into_iter()
            .map(Change::Put)
            .chain(gone.into_iter().map(Change::Deleted))
            .for_each(|c| self.tell(&c));
    }

    /// Deletes a topic; for some minutes it does not come back by being asked for. Returns what it was.
    pub fn delete(&self, topic: &str) -> Option<Arc<TopicConfig>> {
        let mut state = self.lock();
        let gone = self.get(topic)?;
        self.topics.pin().remove(topic);
        state.deleted.insert(topic.to_owned(), self.clock.now_ms());
        if state.provisional.remove(topic).is_some() {
            self.provisional.store(state.provisional.len(), Ordering::Release);
            return Some(gone);
        }
        state.unprinted.insert(topic.to_owned());
        self.count_change(&mut state);
        drop(state);
        tracing::info!(topic, "topic deleted");
        self.tell(&Change::Deleted(topic.to_owned()));
        Some(gone)
    }

    /// Creates a topic that somebody asks for, provisionally, with as many queues as a send would give it.
    ///
    /// Returns the topic that is there now. Refuses where a send would not create it, for illegal names, the
    /// system's topics and dead letters, and for names deleted in the last minutes.
    pub fn provisional(&self, topic: &str, queue_nums: i32) -> Option<Arc<TopicConfig>> {
        if let Some(known) = self.get(topic) {
            return Some(known);
        }
        let illegal = name::validate_topic(topic).is_err();
        if illegal || self.is_system(topic) || topic.starts_with(name::DLQ_PREFIX) {
            return None;
        }
        let config = self.inherited(name::AUTO_CREATE_TOPIC, topic, queue_nums)?;
        let now_ms = self.clock.now_ms();
        let mut state = self.lock();
        if let Some(known) = self.get(topic) {
            return Some(known);
        }
        let deleted = state.deleted.get(topic).is_some_and(|deleted_ms| now_ms - deleted_ms < DELETED_MS);
        if deleted || state.provisional.len() >= PROVISIONAL_MAX || self.topics.len() >= TOPICS_MAX {
            return None;
        }
        let config = Arc::new(config);
        state.provisional.insert(topic.to_owned(), now_ms);
        self.provisional.store(state.provisional.len(), Ordering::Release);
        self.topics.pin().insert(topic.into(), Topic::new(config.clone()));
        Some(config)
    }

    /// Says whether a topic has only been asked for so far.
    pub fn is_provisional(&self, topic: &str) -> bool {
        self.provisional.load(Ordering::Acquire) != 0 && self.lock().provisional.contains_key(topic)
    }

    /// Makes a provisional topic a real one, because it is used now. Costs one load when there are none.
    #[inline]
    pub fn confirm(&self, topic: &str) {
        if self.provisional.load(Ordering::Acquire) != 0 {
            self.confirm_provisional(topic);
        }
    }

    fn confirm_provisional(&self, topic: &str) {
        let mut state = self.lock();
        if state.provisional.remove(topic).is_none() {
            return;
        }
        self.provisional.store(state.provisional.len(), Ordering::Release);
        let Some(config) = self.get(topic) else { return };
        state.deleted.remove(topic);
        state.unprinted.insert(topic.to_owned());
        self.count_change(&mut state);
        drop(state);
        tracing::info!(topic, queues = config.write_queue_nums, "topic created");
        self.tell(&Change::Put(config));
    }

    /// Removes the provisional topics that nobody used within a minute; returns their names.
    pub fn expire_provisional(&self) -> Vec<String> {
        let now_ms = self.clock.now_ms();
        let mut state = self.lock();
        state.deleted.retain(|_, deleted_ms| now_ms - *deleted_ms < DELETED_MS);
        let topics = self.topics.pin();
        let old = |topic: &str, since_ms: i64| {
            // Somebody who holds it is about to use it.
            let held = topics.get(topic).is_some_and(|topic| Arc::strong_count(&topic.config) > 1);
            now_ms - since_ms >= PROVISIONAL_MS && !held
        };
        let gone: Vec<String> = state
            .provisional
            .extract_if(|topic, since_ms| old(topic, *since_ms))
            .map(|(topic, _)| topic)
            .collect();
        for topic in &gone {
            topics.remove(&**topic);
        }
        self.provisional.store(state.provisional.len(), Ordering::Release);
        gone
    }

    /// Writes the file if it lacks a change; says whether it did. Blocks.
    pub fn save(&self) -> Result<bool, PersistError> {
        let mut printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        let (changes, data_version, unprinted) = {
            let state = &mut *self.lock();
            let changes = self.changes.load(Ordering::Acquire);
            if changes == *self.saved.borrow() {
                return Ok(false);
            }
            let now = |topic: &String| self.get(topic).filter(|_| !state.provisional.contains_key(topic));
            let unprinted: Vec<_> = state.unprinted.drain().map(|topic| (now(&topic), topic)).collect();
            (changes, state.version, unprinted)
        };
        for (config, topic) in unprinted {
            match config {
                Some(config) => printed.insert(topic, Printed::pretty(&*config, PRINTED_DEPTH)),
                None => printed.remove(&topic),
            };
        }
        persist::save(&self.options.path, &TopicsFile { data_version, topic_config_table: &printed })?;
        self.saved.send_replace(changes);
        Ok(true)
    }

    /// Returns what is ready when the file has every change up to now; nothing when it has them.
    pub fn until_saved(&self) -> Option<impl Future<Output = ()> + Send + 'static + use<>> {
        let changes = self.changes.load(Ordering::Acquire);
        if *self.saved.borrow() >= changes {
            return None;
        }
        let mut saved = self.saved.subscribe();
        Some(async move {
            let _ = saved.wait_for(|saved| *saved >= changes).await;
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, mut state: MutexGuard<'_, State>, config: TopicConfig) -> Arc<TopicConfig> {
        let config = Arc::new(config);
        self.put_locked(&mut state, std::slice::from_ref(&config));
        drop(state);
        self.tell(&Change::Put(config.clone()));
        config
    }

    fn put_locked(&self, state: &mut State, configs: &[Arc<TopicConfig>]) {
        let topics = self.topics.pin();
        for config in configs {
            state.deleted.remove(&config.topic_name);
            state.provisional.remove(&config.topic_name);
            state.unprinted.insert(config.topic_name.clone());
            topics.insert(config.topic_name.as_str().into(), Topic::new(config.clone()));
        }
        self.provisional.store(state.provisional.len(), Ordering::Release);
        self.count_change(state);
    }

    fn count_change(&self, state: &mut State) {
        state.version = state.version.next(self.clock.now_ms());
        self.changes.fetch_add(1, Ordering::Release);
    }

    fn tell(&self, change: &Change) {
        if let Some(listener) = self.listener.get() {
            listener(change);
        }
    }
}

/// Refuses what no topic can be, with the text for the remark.
fn check(config: &TopicConfig) -> Result<(), String> {
    name::validate_topic(&config.topic_name)?;
    for (what, nums) in
        [("readQueueNums", config.read_queue_nums), ("writeQueueNums", config.write_queue_nums)]
    {
        if !(0..=QUEUES_MAX).contains(&nums) {
            return Err(format!("{what} must be between 0 and {QUEUES_MAX}, not {nums}"));
        }
    }
    if config.perm & !perm::ALL != 0 {
        return Err(format!("perm must be made of 1, 2, 4 and 8, not {}", config.perm));
    }
    Ok(())
}

/// Lists the topics that every broker has (`TopicConfigManager.init`).
fn auto_create_topic(queue_nums: i32) -> TopicConfig {
    TopicConfig::new(name::AUTO_CREATE_TOPIC, queue_nums, perm::INHERIT | perm::READ | perm::WRITE)
}

fn own_topics(options: &TopicOptions) -> Vec<TopicConfig> {
    const OPEN: i32 = perm::READ | perm::WRITE;
    let usable = |usable: bool| if usable { perm::INHERIT | OPEN } else { perm::INHERIT };
    let [cluster, broker_name, reply] = name::own_topics(&options.cluster, &options.broker_name);
    let mut own = vec![
        TopicConfig::new(name::SELF_TEST_TOPIC, 1, OPEN),
        TopicConfig::new(name::BENCHMARK_TOPIC, 1024, OPEN),
        TopicConfig::new(cluster, 16, usable(options.cluster_topic)),
        TopicConfig::new(broker_name, 1, usable(options.broker_topic)),
        TopicConfig::new(name::OFFSET_MOVED_EVENT, 1, OPEN),
        // One queue per delay level.
        TopicConfig::new(name::SCHEDULE_TOPIC, 18, OPEN),
        TopicConfig::new(reply, 1, OPEN),
        TopicConfig::new(format!("rmq_sys_REVIVE_LOG_{}", options.cluster), options.revive_queue_nums, OPEN),
        TopicConfig::new(format!("rmq_sys_SYNC_BROKER_MEMBER_{}", options.broker_name), 1, perm::INHERIT),
        TopicConfig::new(name::TRANS_HALF_TOPIC, 1, OPEN),
        TopicConfig::new(name::TRANS_OP_HALF_TOPIC, 1, OPEN),
    ];
    if options.auto_create {
        own.push(auto_create_topic(options.default_queue_nums));
    }
    if options.timer {
        own.push(TopicConfig::new(name::TIMER_TOPIC, 1, OPEN));
    }
    own.extend(options.trace_topic.as_deref().map(|trace| TopicConfig::new(trace, 1, OPEN)));
    own
}
