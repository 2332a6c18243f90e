//! A broker that is a slave: learns who its master is, follows its log, and copies what the log does not hold.
//!
//! Flows in: the addresses that a NameServer answers a slave's registration with, and over the master's remoting
//! port its topics (21), consumer offsets (43), delay offsets (45), groups (201), request modes (402) and timer
//! checkpoint (60). Flows out:
//! those tables, as if they had been changed here. The log itself is [`crate::ha::slave`]'s. Mirrors `SlaveSynchronize`;
//! its first copy comes as soon as the master is known, not after a minute.
//!
//! What groups consumed from the slave while the master was away is told to the master when it is back, unless the
//! group has gone on there: Apache forgets it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::{Broker, persist};
use crate::ha::slave::{Replica, dial};
use crate::lifecycle::Lifecycle;
use crate::remoting::client::Client;
use crate::wire::body;
use crate::wire::body::admin::HARuntimeInfo;
use crate::wire::body::data_version::DataVersion;
use crate::wire::body::group::SubscriptionGroupWrapper;
use crate::wire::body::offset::{ConsumerOffsetSerializeWrapper, DelayOffsetSerializeWrapper};
use crate::wire::body::pop::MessageRequestModeSerializeWrapper;
use crate::wire::body::topic::TopicConfigSerializeWrapper;
use crate::wire::code::{request, response};
use crate::wire::command::{Command, Request};
use crate::wire::fields::NoHeader;
use crate::wire::header::group::GetSubscriptionGroupConfigRequestHeader;
use crate::wire::header::offset::UpdateConsumerOffsetRequestHeader;

/// Pause between two copies.
const PERIOD: Duration = Duration::from_secs(3);
/// Limit of one call to the master.
const CALL_LIMIT: Duration = Duration::from_secs(3);
/// Pause after the master could not be reached.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The master's offsets as they were copied last: what differs from them was consumed here.
const MASTERS_OFFSETS_FILE: &str = "masterOffset.json";
/// Bytes of a timer checkpoint as Apache writes it.
const TIMER_CHECKPOINT_BYTES: usize = 56;

/// Committed offsets by `topic@group` and queue.
type Offsets = BTreeMap<String, BTreeMap<i32, i64>>;

/// What a master is told that was consumed here: topic, group, queue, offset.
type Told = (String, String, i32, i64);

/// What a slave knows of its master.
pub(crate) struct Slave {
    /// Follows the log.
    pub(crate) replica: Arc<Replica>,
    /// `haMasterAddress` was set, so no NameServer decides.
    fixed: bool,
    /// The master's remoting address.
    master: watch::Sender<Option<String>>,
    /// Whether the last call to the master was answered.
    hears_master: AtomicBool,
    copied: Mutex<Copied>,
}

/// What was copied last.
#[derive(Default)]
struct Copied {
    topics: Option<DataVersion>,
    groups: Option<DataVersion>,
    delays: Option<DelayOffsetSerializeWrapper>,
    timers: Vec<u8>,
    offsets: Offsets,
    told: Vec<Told>,
}

impl Slave {
    /// Makes a slave that waits to learn its master, unless the replication address is given.
    pub(crate) fn new(replica: Arc<Replica>, fixed: bool) -> Self {
        Self {
            replica,
            fixed,
            master: watch::Sender::new(None),
            hears_master: AtomicBool::new(false),
            copied: Mutex::default(),
        }
    }

    /// Takes what a NameServer answers: where the master is, if it is there.
    pub(crate) fn learn(&self, ha_server_addr: Option<&str>, master_addr: Option<&str>) {
        if let Some(address) = ha_server_addr.filter(|address| !address.is_empty() && !self.fixed) {
            self.replica.follow(address);
        }
        if let Some(address) = master_addr.filter(|address| !address.is_empty()) {
            self.master.send_if_modified(|known| {
                let is_news = known.as_deref() != Some(address);
                *known = Some(address.to_owned());
                is_news
            });
        }
    }

    /// Says whether the master can be reached.
    pub(crate) fn hears_master(&self) -> bool {
        self.hears_master.load(Ordering::Relaxed)
    }

    /// Says whether it is known where the master is.
    pub(crate) fn knows_master(&self) -> bool {
        self.master.borrow().is_some()
    }

    /// Starts following the log and copying the tables.
    pub(super) fn start(self: &Arc<Self>, broker: &Arc<Broker>, life: &Lifecycle) {
        life.spawn_until_cancelled("follow the master", self.replica.clone().run(dial));
        life.spawn_until_cancelled("copy from the master", run(broker.clone(), self.clone(), life.clone()));
    }
}

async fn run(broker: Arc<Broker>, slave: Arc<Slave>, life: Lifecycle) {
    let mut known = slave.master.subscribe();
    let mut warned = false;
    loop {
        let Ok(master) = known.wait_for(Option::is_some).await.map(|master| master.clone()) else { return };
        let master = master.unwrap_or_default();
        known.mark_unchanged();
        let why = match Client::connect(&master, &broker.clock, &life).await {
            Ok(client) => {
                let mut first = true;
                loop {
                    if let Err(why) = copy(&broker, &slave, &client, first).await {
                        break why;
                    }
                    if first {
                        tracing::info!(%master, "copied the master's topics, groups and offsets");
                    }
                    (first, warned) = (false, false);
                    slave.hears_master.store(true, Ordering::Relaxed);
                    tokio::select! {
                        () = broker.clock.sleep(PERIOD) => {}
                        () = client.closed() => break "the connection ended".to_owned(),
                        _ = known.changed() => break "it is elsewhere now".to_owned(),
                    }
                }
            }
            Err(cause) => cause.to_string(),
        };
        slave.hears_master.store(false, Ordering::Relaxed);
        if broker.is_stopping() {
            return;
        }
        // Messages of a topic may have come with the log since the last copy; they can be read all the same.
        broker.adopt_topics_of_the_store();
        if !warned {
            tracing::warn!(%master, "cannot copy from the master, will keep trying: {why}");
            warned = true;
        }
        broker.clock.sleep(RETRY_PAUSE).await;
    }
}

/// Copies every table once. A table that the master does not give, or gives in a form that cannot be read, stays as
/// it is; only a lost connection ends the round.
async fn copy(broker: &Broker, slave: &Slave, client: &Client, first: bool) -> Result<(), String> {
    let here = broker.store.max_physical_offset().0;
    // With `haMasterAddress` the log may come from another broker than the one that is asked here.
    if !slave.fixed
        && let Some(status) = ask::<HARuntimeInfo>(client, request::GET_BROKER_HA_STATUS).await?
    {
        slave.replica.master_ends_at(status.master_commit_log_max_offset, here);
    }
    if let Some(table) = ask::<TopicConfigSerializeWrapper>(client, request::GET_ALL_TOPIC_CONFIG).await? {
        let version = table.data_version;
        if slave.copied().topics.replace(version) != Some(version) {
            broker.topics.replace(table);
        }
    }
    if let Some(table) =
        ask::<ConsumerOffsetSerializeWrapper>(client, request::GET_ALL_CONSUMER_OFFSET).await?
    {
        take_offsets(broker, slave, client, table.offset_table, first).await?;
    }
    if let Some(table) = ask::<DelayOffsetSerializeWrapper>(client, request::GET_ALL_DELAY_OFFSET).await? {
        let is_news = slave.copied().delays.as_ref() != Some(&table);
        if is_news {
            match persist::save(&broker.config_dir.join(super::DELAYS_FILE), &table) {
                Ok(()) => {
                    slave.copied().delays = Some(table.clone());
                    broker.schedule.take_over(table);
                }
                Err(cause) => tracing::error!("cannot save the master's delay offsets: {cause}"),
            }
        }
    }
    if let Some(table) =
        ask::<SubscriptionGroupWrapper>(client, request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG).await?
    {
        let version = table.data_version;
        if slave.copied().groups.replace(version) != Some(version) {
            broker.groups.replace(table);
            broker.saving.soon();
        }
    }
    if let Some(table) =
        ask::<MessageRequestModeSerializeWrapper>(client, request::GET_ALL_MESSAGE_REQUEST_MODE).await?
    {
        broker.pop.modes.take_over(table);
    }
    if let Some(answer) = call(client, Request::new(request::GET_TIMER_CHECK_POINT, &NoHeader)).await?
        && answer.body.len() == TIMER_CHECKPOINT_BYTES
        && slave.copied().timers != answer.body
    {
        match std::fs::write(broker.config_dir.join("timercheck"), &answer.body) {
            Ok(()) => slave.copied().timers = answer.body.to_vec(),
            Err(cause) => tracing::error!("cannot save the master's timer checkpoint: {cause}"),
        }
    }
    Ok(())
}

impl Slave {
    fn copied(&self) -> std::sync::MutexGuard<'_, Copied> {
        // Each table of it is whole at every step.
        self.copied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes over what the master has. Where a group went on here while the master was away, and not further there, the
/// master is told, and makes the group where it does not know it and may.
async fn take_offsets(
    broker: &Broker,
    slave: &Slave,
    client: &Client,
    mut masters: Offsets,
    first: bool,
) -> Result<(), String> {
    let mut before = std::mem::replace(&mut slave.copied().offsets, masters.clone());
    let file = broker.config_dir.join(MASTERS_OFFSETS_FILE);
    if first && before.is_empty() {
        // This process is new, its directory may not be.
        match persist::load::<ConsumerOffsetSerializeWrapper>(&file) {
            Ok(found) => before = found.map(|found| found.offset_table).unwrap_or_default(),
            Err(cause) => tracing::warn!("what groups consumed here meanwhile stays unknown: {cause}"),
        }
    }
    if before != masters {
        // Before the offsets themselves: whatever is then further here than in this file was consumed here.
        keep(&file, masters.clone());
    }
    let here = broker.offsets.snapshot().offset_table;
    let (taken, mut told) = split(&before, masters.clone(), &here);
    broker.offsets.take_over(taken);
    broker.saving.soon();
    // A master that refuses is not told again before it is another one.
    let last_told = std::mem::replace(&mut slave.copied().told, told.clone());
    if !first {
        told.retain(|offset| !last_told.contains(offset));
    }
    if told.is_empty() {
        return Ok(());
    }
    let groups: BTreeSet<&str> = told.iter().map(|(_, group, ..)| group.as_str()).collect();
    for group in groups {
        let header = GetSubscriptionGroupConfigRequestHeader { group: group.into() };
        call(client, Request::new(request::GET_SUBSCRIPTIONGROUP_CONFIG, &header)).await?;
    }
    for (topic, group, queue_id, offset) in told {
        let header = UpdateConsumerOffsetRequestHeader {
            consumer_group: group.as_str().into(),
            topic: topic.as_str().into(),
            queue_id,
            commit_offset: offset,
        };
        if call(client, Request::new(request::UPDATE_CONSUMER_OFFSET, &header)).await?.is_some() {
            masters.entry(format!("{topic}@{group}")).or_default().insert(queue_id, offset);
            slave.copied().offsets.clone_from(&masters);
        }
    }
    keep(&file, masters);
    Ok(())
}

/// Writes down what the master has.
fn keep(file: &std::path::Path, offset_table: Offsets) {
    let table = ConsumerOffsetSerializeWrapper { offset_table, ..Default::default() };
    if let Err(cause) = persist::save(file, &table) {
        tracing::error!("cannot save the master's offsets: {cause}");
    }
}

/// What is taken from the master, and what it is told: `before` is what it had the last time, `here` what the slave
/// has. Nothing is told by a slave that never copied.
fn split(before: &Offsets, mut masters: Offsets, here: &Offsets) -> (Offsets, Vec<Told>) {
    let at = |table: &Offsets, key: &str, queue_id: i32| table.get(key)?.get(&queue_id).copied();
    let mut told = Vec::new();
    for (key, queues) in here {
        let Some((topic, group)) = key.split_once('@') else { continue };
        for (&queue_id, &offset) in queues {
            let (known, now) = (at(before, key, queue_id), at(&masters, key, queue_id));
            let went_on_here = known.map_or(now.is_none() || !before.is_empty(), |known| offset > known);
            // The master may have gone on after the last copy, or after its start; where it went back, or has
            // forgotten, somebody wanted it so.
            let is_ahead = now.is_none_or(|now| offset > now);
            if went_on_here && is_ahead && known <= now {
                if let Some(queues) = masters.get_mut(key) {
                    queues.remove(&queue_id);
                }
                if !before.is_empty() {
                    told.push((topic.to_owned(), group.to_owned(), queue_id, offset));
                }
            }
        }
    }
    (masters, told)
}

/// Asks the master for a table; `None` when it refuses or answers something else.
async fn ask<T: serde::de::DeserializeOwned>(client: &Client, code: i32) -> Result<Option<T>, String> {
    let Some(answer) = call(client, Request::new(code, &NoHeader)).await? else { return Ok(None) };
    match body::decode("a table of the master", &answer.body) {
        Ok(table) => Ok(Some(table)),
        Err(cause) => {
            tracing::warn!(code, "the master's answer cannot be read, so the copy stays as it is: {cause}");
            Ok(None)
        }
    }
}

async fn call(client: &Client, request: Request) -> Result<Option<Command>, String> {
    let code = request.code;
    let answer = client.call(request, CALL_LIMIT).await.map_err(|cause| cause.to_string())?;
    if answer.code != response::SUCCESS {
        let remark = answer.remark.as_deref().unwrap_or_default();
        tracing::debug!(code, answer = answer.code, remark, "the master refused");
        return Ok(None);
    }
    Ok(Some(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(rows: &[(&str, i32, i64)]) -> Offsets {
        let mut table = Offsets::new();
        for (key, queue_id, offset) in rows {
            table.entry((*key).to_owned()).or_default().insert(*queue_id, *offset);
        }
        table
    }

    /// What was consumed here meanwhile is kept and told, also when the master went on after the last copy; the master's
    /// word counts where it is further, where it went back, and for a slave that never copied.
    #[test]
    fn offsets_of_both() {
        let before = offsets(&[("T@g", 0, 5), ("T@g", 1, 5), ("T@g", 2, 5), ("T@g", 3, 5), ("T@gone", 0, 5)]);
        let masters = offsets(&[("T@g", 0, 5), ("T@g", 1, 2), ("T@g", 2, 9), ("T@g", 3, 6), ("T@new", 0, 1)]);
        let here = offsets(&[
            ("T@g", 0, 8),
            ("T@g", 1, 8),
            ("T@g", 2, 8),
            ("T@g", 3, 8),
            ("T@gone", 0, 8),
            ("T@h", 0, 3),
            ("T@new", 0, 2),
        ]);
        let (taken, told) = split(&before, masters.clone(), &here);
        let mut wanted = offsets(&[("T@g", 1, 2), ("T@g", 2, 9)]);
        wanted.insert("T@new".to_owned(), BTreeMap::new());
        assert_eq!(taken, wanted);
        let named =
            |topic: &str, group: &str, queue, offset| (topic.to_owned(), group.to_owned(), queue, offset);
        let wanted =
            [named("T", "g", 0, 8), named("T", "g", 3, 8), named("T", "h", 0, 3), named("T", "new", 0, 2)];
        assert_eq!(told, wanted);
        let unmoved = split(&before, masters.clone(), &before);
        assert_eq!(unmoved, (masters.clone(), Vec::new()));
        let (taken, told) = split(&Offsets::new(), masters.clone(), &here);
        assert_eq!((taken, told), (masters, Vec::new()));
    }
}
