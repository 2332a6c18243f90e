//! Which groups filter which topics by SQL92: `config/consumerFilter.json`.
//!
//! Heartbeats come in; the file is what an Apache broker reads when it takes over, and what it left when we do. Nothing
//! here filters: a subscription is compiled where it is kept (`super::super::client`). The reference also keeps a bloom
//! filter per entry; without it an Apache broker drops what it has read and registers again at the first heartbeat.
//! Mirrors `ConsumerFilterManager` and `ConsumerFilterData`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::is_tag;
use crate::broker::persist::{self, PersistError};
use crate::wire::body::heartbeat::SubscriptionData;

/// How long an entry outlives its group's last member (`filterDataCleanTimeSpan`).
const KEPT_MS: i64 = 24 * 3600 * 1000;

/// The subscriptions by SQL92 of one broker.
///
/// Lock order: the table's lock is a leaf.
pub struct ConsumerFilters {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    table: Table,
    changes: u64,
    saved: u64,
}

/// Content of the file. Times are milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Table {
    filter_data_by_topic: BTreeMap<String, OfTopic>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OfTopic {
    group_filter_data: BTreeMap<String, Entry>,
    topic: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Entry {
    /// When the group first asked for this expression.
    born_time: i64,
    /// The subscription's `subVersion`.
    client_version: i64,
    consumer_group: String,
    /// When the last member left; 0 while there is one.
    dead_time: i64,
    expression: String,
    expression_type: String,
    topic: String,
}

impl ConsumerFilters {
    /// Reads the file; its groups have no members yet.
    pub fn load(config_dir: &Path, now_ms: i64) -> Result<Self, PersistError> {
        let path = config_dir.join("consumerFilter.json");
        let mut table: Table = persist::load(&path)?.unwrap_or_default();
        for entry in table.entries().filter(|entry| entry.dead_time == 0) {
            entry.dead_time = now_ms.max(entry.born_time);
        }
        Ok(Self { path, state: Mutex::new(State { table, changes: 0, saved: 0 }) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over a group's subscriptions of one heartbeat; says whether the file lacks something now.
    pub fn heartbeat(&self, group: &str, subscriptions: &[SubscriptionData], now_ms: i64) -> bool {
        let mut state = self.lock();
        let by_sql = |data: &&SubscriptionData| !is_tag(&data.expression_type) && !data.sub_string.is_empty();
        // Nearly every group filters by tags, and most brokers serve only such groups.
        if state.table.filter_data_by_topic.is_empty() && !subscriptions.iter().any(|data| by_sql(&data)) {
            return false;
        }
        let before = state.changes;
        for data in subscriptions.iter().filter(by_sql) {
            let of_topic = state.table.filter_data_by_topic.entry(data.topic.clone()).or_default();
            of_topic.topic.clone_from(&data.topic);
            let entry = of_topic.group_filter_data.entry(group.to_owned()).or_default();
            let same = entry.expression == data.sub_string && entry.expression_type == data.expression_type;
            if same && entry.client_version >= data.sub_version && entry.dead_time == 0 {
                continue;
            }
            *entry = Entry {
                born_time: if same { entry.born_time } else { now_ms },
                client_version: entry.client_version.max(data.sub_version),
                consumer_group: group.to_owned(),
                dead_time: 0,
                expression: data.sub_string.clone(),
                expression_type: data.expression_type.clone(),
                topic: data.topic.clone(),
            };
            state.changes += 1;
        }
        let still = |topic: &str| subscriptions.iter().filter(by_sql).any(|data| data.topic == topic);
        state.end(group, now_ms, |topic| !still(topic));
        state.changes != before
    }

    /// Notes that a group has no members any more; says whether the file lacks something now.
    pub fn group_gone(&self, group: &str, now_ms: i64) -> bool {
        let mut state = self.lock();
        let before = state.changes;
        state.end(group, now_ms, |_| true);
        state.changes != before
    }

    /// Forgets what has been without members for a day.
    pub fn expire(&self, now_ms: i64) {
        let mut state = self.lock();
        let mut gone = 0;
        state.table.filter_data_by_topic.retain(|_, of_topic| {
            of_topic.group_filter_data.retain(|_, entry| {
                let kept = entry.dead_time == 0 || now_ms - entry.dead_time < KEPT_MS;
                gone += u64::from(!kept);
                kept
            });
            !of_topic.group_filter_data.is_empty()
        });
        state.changes += gone;
    }

    /// Writes the file if it lacks a change; says whether it did. Blocks.
    pub fn save(&self) -> Result<bool, PersistError> {
        let state = self.lock();
        let (table, changes) = (state.table.clone(), state.changes);
        if changes == state.saved {
            return Ok(false);
        }
        drop(state);
        persist::save(&self.path, &table)?;
        self.lock().saved = changes;
        Ok(true)
    }
}

impl Table {
    fn entries(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.filter_data_by_topic.values_mut().flat_map(|of_topic| of_topic.group_filter_data.values_mut())
    }
}

impl State {
    fn end(&mut self, group: &str, now_ms: i64, ends: impl Fn(&str) -> bool) {
        let of_group = self.table.filter_data_by_topic.values_mut();
        let of_group = of_group.filter_map(|of_topic| of_topic.group_filter_data.get_mut(group));
        for entry in of_group.filter(|entry| entry.dead_time == 0 && ends(&entry.topic)) {
            entry.dead_time = now_ms.max(entry.born_time);
            self.changes += 1;
        }
    }
}
