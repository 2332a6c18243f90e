//! Queue locks of orderly consumers: which client of a group alone may consume a queue.
//!
//! A lock lives for a minute from its last renewal and ends with the connection of its owner. Mirrors
//! `RebalanceLockManager`, with one difference: while a group has members nobody else can take its queues, except in the
//! minute after a start with data of a former run.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Broker;
use crate::remoting::{Answer, Call};
use crate::wire::body;
use crate::wire::body::lock::{LockBatchRequestBody, LockBatchResponseBody, UnlockBatchRequestBody};
use crate::wire::body::message_queue::MessageQueue;
use crate::wire::command::Reply;
use crate::wire::fastjson;
use crate::wire::fields::{NoHeader, shorten};

/// Time after a start in which members of before may not have sent their heartbeat yet: 4.x clients do so every 30 s.
const GATHERING_MS: i64 = 60_000;
/// Life of a lock after its last renewal (`rocketmq.broker.rebalance.lockMaxLiveTime`).
const LOCK_LIVE_MS: i64 = 60_000;

/// The locks of one broker.
#[derive(Default)]
pub struct QueueLocks {
    groups: Mutex<HashMap<String, HashMap<MessageQueue, Lock>>>,
    /// Until when not all members of before the start need be known.
    gathering_until_ms: i64,
}

/// One lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Its owner.
    pub client_id: String,
    /// When it was last renewed, milliseconds.
    pub last_update_ms: i64,
}

impl QueueLocks {
    /// Makes the locks of a broker that starts now on the data of a former run: clients may come back.
    pub fn of_former_members(now_ms: i64) -> Self {
        Self { gathering_until_ms: now_ms + GATHERING_MS, ..Self::default() }
    }

    fn guard(&self) -> MutexGuard<'_, HashMap<String, HashMap<MessageQueue, Lock>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks what is free, expired or the client's already; returns the queues it now holds.
    pub fn lock(
        &self,
        group: &str,
        client_id: &str,
        queues: BTreeSet<MessageQueue>,
        now_ms: i64,
    ) -> BTreeSet<MessageQueue> {
        let mut groups = self.guard();
        let locks = groups.entry(group.to_owned()).or_default();
        locks.retain(|_, lock| !lock.expired(now_ms));
        let mut held = BTreeSet::new();
        for queue in queues {
            if locks.get(&queue).is_none_or(|lock| lock.client_id == client_id) {
                let lock = Lock { client_id: client_id.to_owned(), last_update_ms: now_ms };
                locks.insert(queue.clone(), lock);
                held.insert(queue);
            }
        }
        held
    }

    /// Releases the client's own locks among `queues`.
    pub fn unlock(&self, group: &str, client_id: &str, queues: &BTreeSet<MessageQueue>) {
        let mut groups = self.guard();
        let Some(locks) = groups.get_mut(group) else { return };
        for queue in queues {
            if locks.get(queue).is_some_and(|lock| lock.client_id == client_id) {
                locks.remove(queue);
            }
        }
        if locks.is_empty() {
            groups.remove(group);
        }
    }

    /// Releases every lock of a client that is gone.
    pub fn release_client(&self, group: &str, client_id: &str) {
        let mut groups = self.guard();
        let Some(locks) = groups.get_mut(group) else { return };
        locks.retain(|_, lock| lock.client_id != client_id);
        if locks.is_empty() {
            groups.remove(group);
        }
    }

    /// Releases a client's locks on queues of other topics than these.
    pub fn release_others(&self, group: &str, client_id: &str, topics: &[String]) {
        let mut groups = self.guard();
        let Some(locks) = groups.get_mut(group) else { return };
        locks.retain(|queue, lock| lock.client_id != client_id || topics.contains(&queue.topic));
        if locks.is_empty() {
            groups.remove(group);
        }
    }

    /// Says whether some queue of the group is locked now.
    pub fn any_live(&self, group: &str, now_ms: i64) -> bool {
        self.guard().get(group).is_some_and(|locks| locks.values().any(|lock| !lock.expired(now_ms)))
    }

    /// Returns every lock with its group, for people.
    pub fn all(&self) -> Vec<(String, MessageQueue, Lock)> {
        let groups = self.guard();
        let locks = groups.iter().flat_map(|(group, locks)| {
            locks.iter().map(|(queue, lock)| (group.clone(), queue.clone(), lock.clone()))
        });
        locks.collect()
    }
}

impl Lock {
    /// Returns until when it holds unless it is renewed, milliseconds.
    pub fn expires_ms(&self) -> i64 {
        self.last_update_ms + LOCK_LIVE_MS
    }

    fn expired(&self, now_ms: i64) -> bool {
        now_ms > self.expires_ms()
    }
}

/// LOCK_BATCH_MQ (41): answers which of the asked queues the client now holds.
pub(super) fn lock_batch_mq(broker: &Arc<Broker>, call: Call<NoHeader>) -> Answer {
    let asked: LockBatchRequestBody = body::decode("a lock request", &call.body)?;
    let granted =
        |held| Reply::success().body(fastjson::to_string(&LockBatchResponseBody { lock_ok_mq_set: held }));
    if let Err(remark) = may_lock(broker, &asked) {
        return Ok(granted(BTreeSet::new()).remark(remark));
    }
    let mut queues = asked.mq_set;
    // What is no queue here would only fill the table.
    queues.retain(|queue| {
        let config = broker.topics.get(&queue.topic);
        let queues = config.map_or(0, |config| config.read_queue_nums.max(config.write_queue_nums));
        (0..queues).contains(&queue.queue_id)
    });
    let now_ms = broker.clock.now_ms();
    let wanted = queues.len();
    let held = broker.locks.lock(&asked.consumer_group, &asked.client_id, queues, now_ms);
    tracing::debug!(
        group = asked.consumer_group,
        client = asked.client_id,
        wanted,
        held = held.len(),
        "queues locked"
    );
    Ok(granted(held))
}

/// Refuses a client that has no part in the group; the reference lets it block the members for a minute.
///
/// A group without members is that of clients whose heartbeats are still to come, after a start of the broker; a while
/// after it some members are known, and others renew their locks before their heartbeat comes: refused, a 4.x client would
/// try again only 20 s later.
fn may_lock(broker: &Broker, asked: &LockBatchRequestBody) -> Result<(), String> {
    let group = &asked.consumer_group;
    if broker.groups.get(group).is_none() {
        return Err(format!("there is no group {}", shorten(group)));
    }
    let member = broker.consumers.member(group, &asked.client_id).is_some();
    let gathered = broker.clock.now_ms() >= broker.locks.gathering_until_ms;
    if !member && gathered && broker.consumers.group(group).is_some_and(|online| !online.members.is_empty()) {
        return Err(format!("{} is no member of group {group}", shorten(&asked.client_id)));
    }
    Ok(())
}

/// UNLOCK_BATCH_MQ (42): releases the client's own locks.
pub(super) fn unlock_batch_mq(broker: &Arc<Broker>, call: Call<NoHeader>) -> Answer {
    let asked: UnlockBatchRequestBody = body::decode("an unlock request", &call.body)?;
    broker.locks.unlock(&asked.consumer_group, &asked.client_id, &asked.mq_set);
    // A 4.9 client that was refused a lock tries again only at its next rebalance, 20 s later at the latest.
    broker.tell_others(&asked.consumer_group, &call.peer);
    Ok(Reply::success())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::broker::kit::{Kit, RawClient, text};
    use crate::wire::code::request;

    fn queues<const N: usize>(ids: [i32; N]) -> BTreeSet<MessageQueue> {
        ids.map(|queue_id| MessageQueue { broker_name: "b".into(), queue_id, topic: "T".into() }).into()
    }

    /// One owner at a time, until it unlocks, goes, or falls silent for a minute.
    #[test]
    fn one_owner_at_a_time() {
        let locks = QueueLocks::default();
        assert_eq!(locks.lock("g", "a", queues([0, 1]), 0), queues([0, 1]));
        assert_eq!(locks.lock("g", "b", queues([0, 2]), 1), queues([2]));
        assert_eq!(locks.lock("other", "b", queues([0]), 1), queues([0]));
        locks.unlock("g", "b", &queues([0]));
        assert!(locks.lock("g", "b", queues([0]), 60_000).is_empty());
        assert_eq!(locks.lock("g", "b", queues([0]), 60_001), queues([0]));
        locks.release_client("g", "a");
        assert_eq!(locks.lock("g", "b", queues([1]), 60_001), queues([1]));
        assert!(locks.any_live("g", 60_001) && !locks.any_live("g", 200_000) && !locks.any_live("none", 0));
        locks.release_others("g", "b", &["T".to_owned()]);
        assert!(locks.any_live("g", 60_001));
        locks.release_others("g", "b", &["U".to_owned()]);
        assert!(locks.all().iter().all(|(group, ..)| group == "other"));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Lock { client: u8, queues: Vec<i32> },
        Unlock { client: u8, queues: Vec<i32> },
        Gone { client: u8 },
        Pass { ms: i64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        let queues = || proptest::collection::vec(0..4, 0..4);
        prop_oneof![
            4 => (0..3_u8, queues()).prop_map(|(client, queues)| Step::Lock { client, queues }),
            2 => (0..3_u8, queues()).prop_map(|(client, queues)| Step::Unlock { client, queues }),
            1 => (0..3_u8).prop_map(|client| Step::Gone { client }),
            2 => (1..40_000_i64).prop_map(|ms| Step::Pass { ms }),
        ]
    }

    proptest! {
        /// Whatever clients do, each queue has the owner that a plain table of owners and times says.
        #[test]
        fn owners_are_those_of_the_model(steps in proptest::collection::vec(step(), 1..60)) {
            let (locks, mut now_ms) = (QueueLocks::default(), 0);
            let mut model: HashMap<i32, (u8, i64)> = HashMap::new();
            let of = |ids: &[i32]| -> BTreeSet<MessageQueue> { ids.iter().flat_map(|id| queues([*id])).collect() };
            for step in steps {
                match step {
                    Step::Lock { client, queues } => {
                        let mut held = Vec::new();
                        for id in &queues {
                            let free = model
                                .get(id)
                                .is_none_or(|(owner, at)| *owner == client || now_ms - at > LOCK_LIVE_MS);
                            if free {
                                model.insert(*id, (client, now_ms));
                                held.push(*id);
                            }
                        }
                        prop_assert_eq!(locks.lock("g", &client.to_string(), of(&queues), now_ms), of(&held));
                    }
                    Step::Unlock { client, queues } => {
                        model.retain(|id, (owner, _)| *owner != client || !queues.contains(id));
                        locks.unlock("g", &client.to_string(), &of(&queues));
                    }
                    Step::Gone { client } => {
                        model.retain(|_, (owner, _)| *owner != client);
                        locks.release_client("g", &client.to_string());
                    }
                    Step::Pass { ms } => now_ms += ms,
                }
                let live = model.values().any(|(_, at)| now_ms - at <= LOCK_LIVE_MS);
                prop_assert_eq!(locks.any_live("g", now_ms), live);
            }
        }
    }

    /// The body of a request to lock, and of one to unlock.
    fn asks_for(client_id: &str, group: &str, queues: &[(&str, i32)]) -> String {
        let queues: Vec<String> = queues
            .iter()
            .map(|(topic, id)| format!(r#"{{"brokerName":"b","queueId":{id},"topic":"{topic}"}}"#))
            .collect();
        format!(r#"{{"clientId":"{client_id}","consumerGroup":"{group}","mqSet":[{}]}}"#, queues.join(","))
    }

    async fn lock(
        client: &mut RawClient,
        client_id: &str,
        group: &str,
        queues: &[(&str, i32)],
    ) -> (usize, String) {
        let answer = client.call(request::LOCK_BATCH_MQ, &[], asks_for(client_id, group, queues)).await;
        assert_eq!(answer.code, 0);
        (text(&answer).matches("queueId").count(), answer.remark.unwrap_or_default().to_string())
    }

    /// After a start on data of a former run a client of before locks its queues although others were faster with their
    /// heartbeat; a minute later it must have sent one.
    #[tokio::test]
    async fn former_members_come_back() {
        let kit = Kit::start(&[]).await;
        kit.broker.topics.create_in_send("TBW102", "T", 2).unwrap();
        kit.put("T", 0, &["m"], "");
        kit.client().await.join("c1", "g", "T").await;
        let kit = kit.killed().await;
        let (mut one, mut two) = (kit.client().await, kit.client().await);
        one.join("c1", "g", "T").await;
        assert_eq!(lock(&mut two, "c2", "g", &[("T", 0)]).await, (1, String::new()));
        kit.clock.travel(std::time::Duration::from_mins(1));
        assert_eq!(
            lock(&mut two, "c2", "g", &[("T", 0)]).await,
            (0, "c2 is no member of group g".to_owned())
        );
    }

    /// Only members lock a group's queues, only queues that exist; the end of a connection hands them over at once.
    #[tokio::test]
    async fn members_lock_and_hand_over() {
        let kit = Kit::start(&[]).await;
        kit.broker.topics.create_in_send("TBW102", "T", 2).unwrap();
        let all = [("T", 0), ("T", 1)];
        let (mut one, mut two, mut stranger) = (kit.client().await, kit.client().await, kit.client().await);
        one.join("c1", "g", "T").await;
        two.join("c2", "g", "T").await;
        let no_member = "stranger is no member of group g".to_owned();
        assert_eq!(lock(&mut stranger, "stranger", "g", &all).await, (0, no_member.clone()));
        let no_group = "there is no group unknown".to_owned();
        assert_eq!(lock(&mut stranger, "stranger", "unknown", &all).await, (0, no_group));
        let strange = [("T", 0), ("T", 2), ("T", -1), ("unknown", 0), ("T", i32::MAX)];
        assert_eq!(lock(&mut one, "c1", "g", &strange).await, (1, String::new()));
        assert_eq!(lock(&mut two, "c2", "g", &all).await, (1, String::new()));
        assert_eq!(lock(&mut stranger, "stranger", "g", &all).await, (0, no_member));
        assert_eq!(kit.broker.locks.all().len(), 2);
        // A heartbeat without the topic gives its queues up, although the client never unlocks them.
        one.join("c1", "g", "U").await;
        two.asked(request::NOTIFY_CONSUMER_IDS_CHANGED).await; // that c2 joined reached only c1
        assert_eq!(lock(&mut two, "c2", "g", &all).await, (2, String::new()));
        two.call(request::UNLOCK_BATCH_MQ, &[], asks_for("c2", "g", &[("T", 0)])).await;
        one.join("c1", "g", "T").await;
        two.asked(request::NOTIFY_CONSUMER_IDS_CHANGED).await;
        assert_eq!(lock(&mut one, "c1", "g", &all).await, (1, String::new()));
        drop(one);
        two.asked(request::NOTIFY_CONSUMER_IDS_CHANGED).await;
        assert_eq!(lock(&mut two, "c2", "g", &all).await, (2, String::new()));
        drop(two);
        // Nobody is in the group now: a client is taken at its word until heartbeats come, as after a start.
        let locked = async {
            while lock(&mut stranger, "c3", "g", &all).await.0 < 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), locked).await.unwrap();
    }
}
