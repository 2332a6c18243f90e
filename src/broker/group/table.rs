//! The consumer groups of one broker: `config/subscriptionGroup.json` in memory.
//!
//! Reading a group is one lookup without a lock. Every name is checked before it becomes a key: a group's name
//! is part of its retry topic and so of paths. Changes go through one lock and count the table's version up;
//! [`SubscriptionGroupTable::save`] writes the file when its caller finds the time. Mirrors
//! `SubscriptionGroupManager`, which lets an administrator create a group of any name.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::broker::name;
use crate::broker::persist::{self, PersistError};
use crate::broker::topic::QUEUES_MAX;
use crate::clock::Clock;
use crate::wire::body::data_version::DataVersion;
use crate::wire::body::group::{SubscriptionGroupConfig, SubscriptionGroupWrapper};

/// Most groups of one broker; beyond it none is created.
pub const GROUPS_MAX: usize = 100_000;
/// Most topics forbidden to one group.
const FORBIDDEN_MAX: usize = 10_000;
/// Bit of the forbidden table that stands for reading (`PermName.INDEX_PERM_READ`).
const FORBIDDEN_READ: i32 = 1 << 2;

/// The consumer groups of one broker.
///
/// Lock order: `state` is a leaf, except that `saving` is taken before it.
pub struct SubscriptionGroupTable {
    path: PathBuf,
    clock: Clock,
    groups: papaya::HashMap<Box<str>, Arc<SubscriptionGroupConfig>>,
    state: Mutex<State>,
    /// Whether anything is forbidden at all, so that a pull usually asks no further.
    forbids: AtomicBool,
    /// Number of changes, and how many of them the file has.
    changes: AtomicU64,
    saving: Mutex<u64>,
    listener: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Default)]
struct State {
    version: DataVersion,
    /// Group to topic to bits.
    forbidden: BTreeMap<String, BTreeMap<String, i32>>,
}

impl SubscriptionGroupTable {
    /// Reads the table from this file, `config/subscriptionGroup.json`; the predefined groups are there in any case.
    pub fn load(path: PathBuf, clock: Clock) -> Result<Self, PersistError> {
        let saved: Option<SubscriptionGroupWrapper> = persist::load(&path)?;
        // A fresh broker has something to write.
        let changes = AtomicU64::new(u64::from(saved.is_none()));
        let saved = saved.unwrap_or_default();
        let table = Self {
            path,
            clock,
            groups: papaya::HashMap::new(),
            state: Mutex::default(),
            forbids: AtomicBool::new(false),
            changes,
            saving: Mutex::new(0),
            listener: OnceLock::new(),
        };
        for group in name::PREDEFINED_GROUPS {
            table.groups.pin().insert(group.into(), Arc::new(SubscriptionGroupConfig::new(group)));
        }
        table.take(saved.subscription_group_table);
        let mut state = table.lock();
        state.version = saved.data_version;
        state.forbidden = saved.forbidden_table;
        table.forbids.store(!state.forbidden.is_empty(), Ordering::Relaxed);
        drop(state);
        Ok(table)
    }

    /// Sets who is told that something has changed, under the table's lock; it must neither wait nor come back
    /// here. Only the first one counts.
    pub fn on_change(&self, listener: impl Fn() + Send + Sync + 'static) {
        let _ = self.listener.set(Box::new(listener));
    }

    /// Puts groups into the table, except those whose names are illegal.
    fn take(&self, configs: BTreeMap<String, SubscriptionGroupConfig>) {
        let groups = self.groups.pin();
        for (group, mut config) in configs {
            if let Err(problem) = name::validate_group(&group) {
                tracing::warn!(file = %self.path.display(), "a group is passed over: {problem}");
                continue;
            }
            config.group_name.clone_from(&group);
            groups.insert(group.into(), Arc::new(config));
        }
    }

    /// Returns a group.
    #[inline]
    pub fn get(&self, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        self.groups.pin().get(group).cloned()
    }

    /// Looks at a group without a reference count, which the threads of all connections would write to for each pull.
    #[inline]
    pub fn with<R>(&self, group: &str, look: impl FnOnce(&SubscriptionGroupConfig) -> R) -> Option<R> {
        self.groups.pin().get(group).map(|known| look(known))
    }

    /// Returns a group, created with the defaults if `allowed` (`findSubscriptionGroupConfig`).
    ///
    /// Refuses an illegal name and any beyond [`GROUPS_MAX`]. The system's own groups are always created.
    pub fn get_or_create(&self, group: &str, allowed: bool) -> Option<Arc<SubscriptionGroupConfig>> {
        if let Some(known) = self.get(group) {
            return Some(known);
        }
        if !(allowed || name::is_system_group(group)) || name::validate_group(group).is_err() {
            return None;
        }
        let mut state = self.lock();
        if let Some(known) = self.get(group) {
            return Some(known);
        }
        if self.groups.len() >= GROUPS_MAX {
            tracing::warn!(group, "not created: there are {GROUPS_MAX} groups already");
            return None;
        }
        let config = Arc::new(SubscriptionGroupConfig::new(group));
        self.groups.pin().insert(group.into(), config.clone());
        self.count_change(&mut state);
        tracing::info!(group, "subscription group created");
        Some(config)
    }

    /// Returns every group in the order of names.
    pub fn all(&self) -> Vec<Arc<SubscriptionGroupConfig>> {
        let mut all: Vec<_> = self.groups.pin().values().cloned().collect();
        all.sort_unstable_by(|one, other| one.group_name.cmp(&other.group_name));
        all
    }

    /// Returns the version of the table, which every change counts up.
    pub fn data_version(&self) -> DataVersion {
        self.lock().version
    }

    /// Returns what goes into the file and to a slave.
    pub fn snapshot(&self) -> SubscriptionGroupWrapper {
        let state = self.lock();
        let groups = self.groups.pin();
        let table =
            groups.iter().map(|(group, config)| (group.to_string(), SubscriptionGroupConfig::clone(config)));
        SubscriptionGroupWrapper {
            data_version: state.version,
            forbidden_table: state.forbidden.clone(),
            subscription_group_table: table.collect(),
        }
    }

    /// Creates or changes a group as an administrator orders.
    ///
    /// Refuses, with the text for the remark, what no group can be.
    pub fn update(&self, wanted: SubscriptionGroupConfig) -> Result<(), String> {
        self.update_all(vec![wanted])
    }

    /// As [`SubscriptionGroupTable::update`] for several groups: all of them or none.
    pub fn update_all(&self, wanted: Vec<SubscriptionGroupConfig>) -> Result<(), String> {
        for wanted in &wanted {
            check(wanted)?;
        }
        let mut state = self.lock();
        let groups = self.groups.pin();
        let fresh: HashSet<_> = wanted.iter().map(|wanted| &*wanted.group_name).collect();
        let fresh = fresh.into_iter().filter(|group| !groups.contains_key(*group)).count();
        if fresh != 0 && groups.len() + fresh > GROUPS_MAX {
            return Err(format!("there are {GROUPS_MAX} groups already"));
        }
        let mut changed = false;
        for mut config in wanted {
            let known = groups.get(&*config.group_name);
            if let Some(known) = known {
                config.attributes.clone_from(&known.attributes);
            }
            if known.is_none_or(|known| **known != config) {
                tracing::info!(group = config.group_name, "subscription group created or changed");
                groups.insert(config.group_name.as_str().into(), Arc::new(config));
                changed = true;
            }
        }
        if changed {
            self.count_change(&mut state);
        }
        Ok(())
    }

    /// Deletes a group and what was forbidden to it; returns what it was.
    pub fn delete(&self, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        let mut state = self.lock();
        let gone = self.get(group)?;
        self.groups.pin().remove(group);
        state.forbidden.remove(group);
        self.forbids.store(!state.forbidden.is_empty(), Ordering::Relaxed);
        self.count_change(&mut state);
        tracing::info!(group, "subscription group deleted");
        Some(gone)
    }

    /// Takes over a whole table, such as a master's: groups that are not in it go.
    pub fn replace(&self, table: SubscriptionGroupWrapper) {
        let mut state = self.lock();
        self.groups.pin().retain(|group, _| table.subscription_group_table.contains_key(&**group));
        self.take(table.subscription_group_table);
        self.count_change(&mut state);
        state.version = table.data_version;
        state.forbidden = table.forbidden_table;
        self.forbids.store(!state.forbidden.is_empty(), Ordering::Relaxed);
    }

    /// Says whether a group may not read a topic.
    #[inline]
    pub fn is_forbidden(&self, group: &str, topic: &str) -> bool {
        self.forbids.load(Ordering::Relaxed) && self.lock().forbids(group, topic) & FORBIDDEN_READ != 0
    }

    /// Forbids a group to read a topic, or allows it again; says whether there was room to remember it.
    pub fn set_forbidden(&self, group: &str, topic: &str, forbidden: bool) -> bool {
        let mut state = self.lock();
        let before = state.forbids(group, topic);
        let after = if forbidden { before | FORBIDDEN_READ } else { before & !FORBIDDEN_READ };
        if after == before {
            return true;
        }
        let topics = state.forbidden.entry(group.to_owned()).or_default();
        if after == 0 {
            topics.remove(topic);
        } else if topics.len() >= FORBIDDEN_MAX {
            return false;
        } else {
            topics.insert(topic.to_owned(), after);
        }
        state.forbidden.retain(|_, topics| !topics.is_empty());
        self.forbids.store(!state.forbidden.is_empty(), Ordering::Relaxed);
        self.count_change(&mut state);
        true
    }

    /// Writes the file if it lacks a change; says whether it did. Blocks.
    pub fn save(&self) -> Result<bool, PersistError> {
        let mut saved = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = self.changes.load(Ordering::Acquire);
        if changes == *saved {
            return Ok(false);
        }
        persist::save(&self.path, &self.snapshot())?;
        *saved = changes;
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_change(&self, state: &mut State) {
        state.version = state.version.next(self.clock.now_ms());
        self.changes.fetch_add(1, Ordering::Release);
        if let Some(listener) = self.listener.get() {
            listener();
        }
    }
}

impl State {
    fn forbids(&self, group: &str, topic: &str) -> i32 {
        self.forbidden.get(group).and_then(|topics| topics.get(topic)).copied().unwrap_or_default()
    }
}

/// Refuses what no group can be, with the text for the remark.
fn check(config: &SubscriptionGroupConfig) -> Result<(), String> {
    name::validate_group(&config.group_name)?;
    if let Some(key) = config.attributes.keys().next() {
        // The reference knows no attribute of groups yet.
        return Err(format!("unsupported key: {}", key.trim_start_matches(['+', '-'])));
    }
    if !(0..=QUEUES_MAX).contains(&config.retry_queue_nums) {
        return Err(format!(
            "retryQueueNums must be between 0 and {QUEUES_MAX}, not {}",
            config.retry_queue_nums
        ));
    }
    Ok(())
}
