//! The broker's figures: what each topic took in, what each group took out, and how fast.
//!
//! Counting a message is one lookup without a lock and a few relaxed additions; nothing is formatted for it. The
//! broker's housekeeping has the counters copied ([`Stats::sample`]); rates and sums are computed when somebody asks, up
//! to this moment. Totals of the broker are sums over the topics, so no counter is shared by all connections. Mirrors
//! `BrokerStatsManager`, `StatsItem`, `BrokerStats` and `StoreStatsService` by the names that 315 and 28 know. It keeps
//! no figures per queue, per owner or of commercial editions.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

pub use self::history::{Figures, Windows};
use self::history::{History, NAMES};
use super::name;

mod history;
#[cfg(test)]
mod tests;

/// The figures of one broker.
pub struct Stats {
    topics: papaya::HashMap<Arc<str>, Arc<TopicStats>>,
    /// Key of the figures that belong to no topic.
    cluster: String,
    /// Topics that the system owns on this broker only.
    own_topics: Vec<String>,
    boot_ms: i64,
    /// Timers that began to wait, and that were delivered.
    timers: [AtomicU64; 2],
    /// Lock order: a leaf; held while samples are taken or read, never on the path of a message.
    broker: Mutex<BrokerFigures>,
}

/// What a topic took in.
pub struct TopicStats {
    system: bool,
    put_calls: AtomicU64,
    put_messages: AtomicU64,
    put_bytes: AtomicU64,
    /// Looked at once a pull, so a lock will do; a table without locks would take 20 KiB for each topic.
    groups: RwLock<BTreeMap<Arc<str>, Arc<GroupStats>>>,
    history: Mutex<History<3>>,
}

/// What a group took out of one topic.
#[derive(Default)]
pub struct GroupStats {
    counts: [AtomicU64; GroupCount::ALL.len()],
    history: Mutex<History<{ GroupCount::ALL.len() }>>,
}

/// A counter of [`GroupStats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
enum GroupCount {
    GetCalls,
    GetMessages,
    GetBytes,
    GetMisses,
    GetLatencyMs,
    SendBacks,
    DeadLetters,
    Acks,
    CheckPoints,
}

impl GroupCount {
    const ALL: [Self; 9] = [
        Self::GetCalls,
        Self::GetMessages,
        Self::GetBytes,
        Self::GetMisses,
        Self::GetLatencyMs,
        Self::SendBacks,
        Self::DeadLetters,
        Self::Acks,
        Self::CheckPoints,
    ];
}

#[derive(Default)]
struct BrokerFigures {
    history: History<8>,
    timers: History<2>,
    /// Counts of topics that are no more.
    retired: Totals,
    morning: Mornings,
}

/// What the whole broker took in and gave out since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages stored.
    pub put_messages: u64,
    /// Messages stored in topics that are not the system's.
    pub put_messages_of_users: u64,
    /// Bytes stored, as records.
    pub put_bytes: u64,
    /// Messages handed to consumers.
    pub get_messages: u64,
    /// Messages handed to consumers from topics that are not the system's.
    pub get_messages_of_users: u64,
    /// Pulls that found messages.
    pub get_found: u64,
    /// Pulls that found none.
    pub get_missed: u64,
    /// Messages acknowledged by POP consumers.
    pub acks: u64,
    /// Check points written for POP consumers.
    pub check_points: u64,
}

/// Totals at the last two midnights, local time (`BrokerStats`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mornings {
    /// Messages put until yesterday's midnight.
    pub put_yesterday: u64,
    /// Messages put until today's midnight.
    pub put_today: u64,
    /// Messages handed out until yesterday's midnight.
    pub get_yesterday: u64,
    /// Messages handed out until today's midnight.
    pub get_today: u64,
    next_ms: i64,
}

/// Messages or calls per second over the last 10, 60 and 600 seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Messages stored.
    pub put: [f64; 3],
    /// Pulls that found messages.
    pub found: [f64; 3],
    /// Pulls that found none.
    pub missed: [f64; 3],
    /// Messages handed out.
    pub transferred: [f64; 3],
}

impl TopicStats {
    fn new(system: bool) -> Self {
        Self {
            system,
            put_calls: AtomicU64::new(0),
            put_messages: AtomicU64::new(0),
            put_bytes: AtomicU64::new(0),
            groups: RwLock::default(),
            history: Mutex::default(),
        }
    }

    /// Counts one call that stored `messages` messages in records of `bytes` bytes together.
    #[inline]
    pub fn put(&self, messages: u64, bytes: u64) {
        self.put_calls.fetch_add(1, Ordering::Relaxed);
        self.put_messages.fetch_add(messages, Ordering::Relaxed);
        self.put_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts one pull of a group that handed out `messages` messages in `bytes` bytes, `latency_ms` after it came. The
    /// caller has checked that the group exists, here and in the next one.
    #[inline]
    pub fn got(&self, group: &str, messages: usize, bytes: usize, latency_ms: u64) {
        self.with_group(group, |stats| stats.got(messages as u64, bytes as u64, latency_ms));
    }

    #[inline]
    fn with_group(&self, group: &str, count: impl FnOnce(&GroupStats)) {
        if let Some(group) = self.read_groups().get(group) {
            return count(group);
        }
        count(&self.group(group));
    }

    /// Returns the figures of a group on this topic, made when it is first seen.
    ///
    /// The caller has checked that it exists, so that names from outside do not pile up here.
    pub fn group(&self, group: &str) -> Arc<GroupStats> {
        if let Some(known) = self.find_group(group) {
            return known;
        }
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        groups.entry(Arc::from(group)).or_default().clone()
    }

    fn find_group(&self, group: &str) -> Option<Arc<GroupStats>> {
        self.read_groups().get(group).cloned()
    }

    fn read_groups(&self) -> RwLockReadGuard<'_, BTreeMap<Arc<str>, Arc<GroupStats>>> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns messages and bytes stored since the broker started.
    pub fn stored(&self) -> (u64, u64) {
        (self.put_messages.load(Ordering::Relaxed), self.put_bytes.load(Ordering::Relaxed))
    }

    /// Returns the figures of every group that took something out; for metrics and the console.
    pub fn groups(&self) -> BTreeMap<Arc<str>, Arc<GroupStats>> {
        self.read_groups().clone()
    }

    fn counts(&self) -> [u64; 3] {
        [&self.put_calls, &self.put_messages, &self.put_bytes].map(|count| count.load(Ordering::Relaxed))
    }

    fn add_to(&self, totals: &mut Totals) {
        let messages = self.put_messages.load(Ordering::Relaxed);
        totals.put_messages += messages;
        totals.put_bytes += self.put_bytes.load(Ordering::Relaxed);
        if !self.system {
            totals.put_messages_of_users += messages;
        }
        for group in self.read_groups().values() {
            group.add_to(totals, self.system);
        }
    }
}

impl GroupStats {
    /// Returns messages and bytes handed out since the broker started.
    pub fn handed_out(&self) -> (u64, u64) {
        (self.load(GroupCount::GetMessages), self.load(GroupCount::GetBytes))
    }

    #[inline]
    fn got(&self, messages: u64, bytes: u64, latency_ms: u64) {
        self.add(GroupCount::GetCalls, 1);
        self.add(GroupCount::GetMessages, messages);
        self.add(GroupCount::GetBytes, bytes);
        self.add(GroupCount::GetLatencyMs, latency_ms);
    }

    fn missed(&self) {
        self.add(GroupCount::GetMisses, 1);
    }

    /// Counts a message that a consumer sent back; `dead` when it became a dead letter.
    pub fn sent_back(&self, dead: bool) {
        self.add(GroupCount::SendBacks, 1);
        self.add(GroupCount::DeadLetters, u64::from(dead));
    }

    /// Counts a popped message that became a dead letter, which nobody sent back.
    pub fn gave_up(&self) {
        self.add(GroupCount::DeadLetters, 1);
    }

    /// Returns how many messages became dead letters since the broker started.
    pub fn dead_letters(&self) -> u64 {
        self.load(GroupCount::DeadLetters)
    }

    /// Counts messages that a POP consumer acknowledged.
    pub fn acked(&self, messages: u64) {
        self.add(GroupCount::Acks, messages);
    }

    /// Counts a check point written for a POP consumer.
    pub fn check_pointed(&self) {
        self.add(GroupCount::CheckPoints, 1);
    }

    fn add(&self, count: GroupCount, by: u64) {
        if by != 0 {
            self.counts[count as usize].fetch_add(by, Ordering::Relaxed);
        }
    }

    fn load(&self, count: GroupCount) -> u64 {
        self.counts[count as usize].load(Ordering::Relaxed)
    }

    fn add_to(&self, totals: &mut Totals, system: bool) {
        let messages = self.load(GroupCount::GetMessages);
        totals.get_messages += messages;
        if !system {
            totals.get_messages_of_users += messages;
        }
        totals.get_found += self.load(GroupCount::GetCalls);
        totals.get_missed += self.load(GroupCount::GetMisses);
        totals.acks += self.load(GroupCount::Acks);
        totals.check_points += self.load(GroupCount::CheckPoints);
    }

    fn counts(&self) -> [u64; GroupCount::ALL.len()] {
        GroupCount::ALL.map(|count| self.load(count))
    }
}

impl Totals {
    fn counts(&self) -> [u64; 8] {
        [
            self.put_messages,
            self.put_messages_of_users,
            self.get_messages,
            self.get_messages_of_users,
            self.get_found,
            self.get_missed,
            self.acks,
            self.check_points,
        ]
    }
}

impl Stats {
    /// Makes the figures of a broker that starts at `boot_ms`.
    pub fn new(cluster: &str, broker_name: &str, boot_ms: i64) -> Self {
        let morning = Mornings { next_ms: next_midnight_ms(boot_ms), ..Mornings::default() };
        Self {
            topics: papaya::HashMap::new(),
            cluster: cluster.to_owned(),
            own_topics: name::own_topics(cluster, broker_name).into(),
            boot_ms,
            timers: Default::default(),
            broker: Mutex::new(BrokerFigures { morning, ..BrokerFigures::default() }),
        }
    }

    /// Returns when the broker started, in milliseconds since 1970.
    pub fn boot_ms(&self) -> i64 {
        self.boot_ms
    }

    /// Counts one call that stored `messages` messages in records of `bytes` bytes together.
    ///
    /// The caller has checked that the topic exists, here and in the next two.
    #[inline]
    pub fn put(&self, topic: &str, messages: usize, bytes: usize) {
        match self.topics.pin().get(topic) {
            Some(stats) => stats.put(messages as u64, bytes as u64),
            None => self.topic(topic).put(messages as u64, bytes as u64),
        }
    }

    /// Counts one pull that handed out `messages` messages in `bytes` bytes, `latency_ms` after it came.
    #[inline]
    pub fn got(&self, group: &str, topic: &str, messages: usize, bytes: usize, latency_ms: u64) {
        self.with_group(group, topic, |stats| stats.got(messages as u64, bytes as u64, latency_ms));
    }

    /// Counts one pull that found nothing.
    pub fn missed(&self, group: &str, topic: &str) {
        self.with_group(group, topic, GroupStats::missed);
    }

    #[inline]
    fn with_group(&self, group: &str, topic: &str, count: impl FnOnce(&GroupStats)) {
        let topics = self.topics.pin();
        let known = topics.get(topic);
        let made;
        let stats = if let Some(known) = known {
            known
        } else {
            made = self.topic(topic);
            &made
        };
        stats.with_group(group, count);
    }

    /// Returns the figures of a topic, made when it is first seen.
    pub fn topic(&self, topic: &str) -> Arc<TopicStats> {
        let topics = self.topics.pin();
        if let Some(known) = topics.get(topic) {
            return known.clone();
        }
        let system = name::is_system_topic(topic) || self.own_topics.iter().any(|own| own == topic);
        topics.get_or_insert_with(Arc::from(topic), || Arc::new(TopicStats::new(system))).clone()
    }

    /// Returns the figures of a topic that was seen before.
    pub fn find_topic(&self, topic: &str) -> Option<Arc<TopicStats>> {
        self.topics.pin().get(topic).cloned()
    }

    /// Returns the figures of a group on a topic, if it was given something there; for names from outside.
    pub fn known_group(&self, group: &str, topic: &str) -> Option<Arc<GroupStats>> {
        self.find_topic(topic)?.find_group(group)
    }

    /// Forgets a deleted topic; what it counted stays in the totals.
    pub fn forget_topic(&self, topic: &str) {
        // Under the lock, so that nobody sums up between the two steps.
        let mut broker = self.lock();
        if let Some(gone) = self.topics.pin().remove(topic) {
            gone.add_to(&mut broker.retired);
        }
    }

    /// Forgets a deleted group on every topic; what it took out stays in the totals.
    pub fn forget_group(&self, group: &str) {
        let mut broker = self.lock();
        for topic in self.topics.pin().values() {
            let gone = topic.groups.write().unwrap_or_else(PoisonError::into_inner).remove(group);
            if let Some(gone) = gone {
                gone.add_to(&mut broker.retired, topic.system);
            }
        }
    }

    /// Returns the totals since the broker started.
    pub fn totals(&self) -> Totals {
        self.totals_with(&self.lock())
    }

    fn totals_with(&self, broker: &BrokerFigures) -> Totals {
        let mut totals = broker.retired;
        for topic in self.topics.pin().values() {
            topic.add_to(&mut totals);
        }
        totals
    }

    /// Returns the totals at the last two midnights.
    pub fn mornings(&self) -> Mornings {
        self.lock().morning
    }

    /// Returns the broker's rates up to now.
    pub fn rates(&self, now_ms: i64) -> Rates {
        let broker = self.lock();
        let now = self.totals_with(&broker).counts();
        let rate = |count: usize| {
            [10, 60, 600]
                .map(|seconds| broker.history.rate(now_ms, now[count], count, seconds * 1000, self.boot_ms))
        };
        Rates { put: rate(0), found: rate(4), missed: rate(5), transferred: rate(2) }
    }

    /// Counts timers that began to wait, and that were delivered.
    pub fn timers(&self, enqueued: u64, dequeued: u64) {
        self.timers[0].fetch_add(enqueued, Ordering::Relaxed);
        self.timers[1].fetch_add(dequeued, Ordering::Relaxed);
    }

    /// Returns how many timers a second began to wait and were delivered over the last ten seconds.
    pub fn timer_rates(&self, now_ms: i64) -> [f64; 2] {
        let now = self.timer_counts();
        let broker = self.lock();
        [0, 1].map(|count| broker.timers.rate(now_ms, now[count], count, 10_000, self.boot_ms))
    }

    fn timer_counts(&self) -> [u64; 2] {
        self.timers.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Returns messages stored per second in this topic over the last minute (`tpsTopicPutNums`).
    pub fn topic_put_tps(&self, topic: &str, now_ms: i64) -> f64 {
        self.view("TOPIC_PUT_NUMS", topic, now_ms).map_or(0.0, |windows| windows.minute.tps)
    }

    /// Returns messages handed out per second over the last minute (`tpsGroupGetNums`).
    pub fn group_get_tps(&self, group: &str, topic: &str, now_ms: i64) -> f64 {
        let Some(group) = self.known_group(group, topic) else { return 0.0 };
        let (calls, value) = (GroupCount::GetCalls as usize, GroupCount::GetMessages as usize);
        lock(&group.history).windows(now_ms, &group.counts(), calls, value).minute.tps
    }

    /// Returns the figures that VIEW_BROKER_STATS_DATA (315) names; `None` when there are none.
    ///
    /// Keys are a topic, `topic@group` or, for latency, also `queueId@topic@group`; the broker's own figures
    /// have the cluster's name as their key.
    pub fn view(&self, name: &str, key: &str, now_ms: i64) -> Option<Windows> {
        if let Some((calls, value)) = NAMES.topic(name) {
            let stats = self.find_topic(key)?;
            let counts = stats.counts();
            return (counts[0] != 0).then(|| lock(&stats.history).windows(now_ms, &counts, calls, value));
        }
        if let Some((calls, value)) = NAMES.group(name) {
            let key = match name {
                "GROUP_GET_LATENCY" => {
                    key.split_once('@').filter(|(_, rest)| rest.contains('@')).map_or(key, |(_, rest)| rest)
                }
                _ => key,
            };
            let (topic, group) = key.split_once('@')?;
            let group = self.find_topic(topic)?.find_group(group)?;
            let counts = group.counts();
            return (counts[calls] != 0).then(|| lock(&group.history).windows(now_ms, &counts, calls, value));
        }
        let value = NAMES.broker(name).filter(|_| key == self.cluster)?;
        let broker = self.lock();
        let counts = self.totals_with(&broker).counts();
        // The reference counts no calls here, and so has no average.
        (counts[value] != 0).then(|| broker.history.windows(now_ms, &counts, usize::MAX, value))
    }

    /// Returns the figures of every topic; for metrics and the console.
    pub fn topics(&self) -> BTreeMap<Arc<str>, Arc<TopicStats>> {
        self.topics.pin().iter().map(|(topic, stats)| (topic.clone(), stats.clone())).collect()
    }

    /// Copies the counters whose last copy is old enough; to be called every ten seconds or more often.
    pub fn sample(&self, now_ms: i64) {
        for topic in self.topics.pin().values() {
            lock(&topic.history).sample(now_ms, topic.counts());
            for group in topic.read_groups().values() {
                lock(&group.history).sample(now_ms, group.counts());
            }
        }
        let mut broker = self.lock();
        let totals = self.totals_with(&broker);
        broker.history.sample(now_ms, totals.counts());
        broker.timers.sample(now_ms, self.timer_counts());
        if now_ms >= broker.morning.next_ms {
            broker.morning = Mornings {
                put_yesterday: broker.morning.put_today,
                put_today: totals.put_messages_of_users,
                get_yesterday: broker.morning.get_today,
                get_today: totals.get_messages_of_users,
                next_ms: next_midnight_ms(now_ms),
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, BrokerFigures> {
        lock(&self.broker)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the next local midnight after `now_ms`; 24 hours later when the calendar cannot tell.
fn next_midnight_ms(now_ms: i64) -> i64 {
    let next = || {
        let today = Timestamp::from_millisecond(now_ms).ok()?.to_zoned(TimeZone::system());
        let tomorrow = today.start_of_day().ok()?.checked_add(1.day()).ok()?;
        Some(tomorrow.timestamp().as_millisecond())
    };
    next().unwrap_or_else(|| now_ms.saturating_add(24 * 60 * 60 * 1000))
}
