//! Held pulls: who waits for the next message of which queue.
//!
//! A pull that finds nothing registers here and awaits; an arrival that passes its tag filter wakes it, and any arrival
//! one that filters by SQL92, which then looks for itself: the sender's thread reads no record. Pulls for tags are found
//! by the tag, so that those for other tags cost an arrival nothing, however many they are. Pops wait here too, for any
//! queue of their topic; an arrival wakes one of each group. The waiting itself, its time-out included, is the request's
//! own `await` (see [`super::pull`] and [`super::pop`]). Mirrors `PullRequestHoldService`, `ManyPullRequest` and
//! `PopLongPollingService`, without their sweeps.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::filter::Filter;
use crate::store::{Arrival, QueueOffset};

/// Held pulls by topic, then by queue.
type Table = HashMap<Arc<str>, HashMap<i32, Waiters>>;

/// The held pulls of one broker.
///
/// Lock order: the table's lock is a leaf; nothing is called while it is held.
#[derive(Default)]
pub struct PullHold {
    table: Mutex<Table>,
    /// Number of held pulls, so that an arrival costs one load while nobody waits.
    held: AtomicUsize,
    next_id: AtomicU64,
}

/// Where the pops of a topic wait: they are not bound to one queue.
const POPS: i32 = -1;

/// Whose pop waits, and for which queue; -1 for any.
struct Pop {
    group: Box<str>,
    queue_id: i32,
}

/// Who waits for one queue.
#[derive(Default)]
struct Waiters {
    /// For whatever comes: pulls without a tag, and all pops, the longest waiting first.
    any: Vec<Waiter>,
    /// Pulls for tags, by their id …
    tagged: HashMap<u64, Waiter>,
    /// … which stands under the code of each of their tags.
    by_code: HashMap<i64, SmallVec<[u64; 2]>>,
}

struct Waiter {
    id: u64,
    offset: QueueOffset,
    filter: Arc<Filter>,
    pop: Option<Pop>,
    wake: oneshot::Sender<()>,
}

/// One held pull; dropping it takes it off the table.
pub struct Held {
    hold: Arc<PullHold>,
    topic: Arc<str>,
    queue_id: i32,
    id: u64,
    woken: oneshot::Receiver<()>,
}

impl PullHold {
    /// Holds a pull that wants messages from `offset` on.
    ///
    /// The caller must look at the queue once more afterwards: a message may have arrived just before.
    pub fn hold(
        self: &Arc<Self>,
        topic: &str,
        queue_id: i32,
        offset: QueueOffset,
        filter: Arc<Filter>,
    ) -> Held {
        self.add(topic, queue_id, offset, filter, None)
    }

    /// Holds a pop of a group, for one queue or, with -1, for any. The caller must look once more afterwards.
    pub fn hold_pop(self: &Arc<Self>, topic: &str, group: &str, queue_id: i32, filter: Arc<Filter>) -> Held {
        self.add(topic, POPS, QueueOffset(-1), filter, Some(Pop { group: group.into(), queue_id }))
    }

    fn add(
        self: &Arc<Self>,
        topic: &str,
        queue_id: i32,
        offset: QueueOffset,
        filter: Arc<Filter>,
        pop: Option<Pop>,
    ) -> Held {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (wake, woken) = oneshot::channel();
        // Counted before it is visible, so that an arrival between the two looks at the table.
        self.held.fetch_add(1, Ordering::SeqCst);
        let mut table = self.lock();
        let topic = table.get_key_value(topic).map_or_else(|| Arc::from(topic), |(known, _)| known.clone());
        let queue = table.entry(topic.clone()).or_default().entry(queue_id).or_default();
        queue.add(Waiter { id, offset, filter, pop, wake });
        drop(table);
        Held { hold: self.clone(), topic, queue_id, id, woken }
    }

    /// Wakes the pulls that these messages are for.
    pub fn arrived(&self, arrivals: &[Arrival]) {
        if self.held.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut awake = Vec::new();
        let mut table = self.lock();
        for arrival in arrivals {
            let Some(queues) = table.get_mut(&arrival.topic) else { continue };
            if let Some(queue) = queues.get_mut(&arrival.queue_id) {
                queue.take_due(arrival, &mut awake);
            }
            if let Some(pops) = queues.get_mut(&POPS).map(|pops| &mut pops.any) {
                let from = awake.len();
                let mut at = 0;
                while let Some(waiter) = pops.get(at) {
                    if wants(waiter, arrival) && !awake[from..].iter().any(|other| same_group(other, waiter))
                    {
                        awake.push(pops.remove(at));
                    } else {
                        at += 1;
                    }
                }
            }
        }
        drop(table);
        for waiter in awake {
            // Its pull may be gone already; then nobody is left to wake.
            let _ = waiter.wake.send(());
        }
    }

    /// Wakes the longest waiting pop of a group in a topic, because there may be something for it after all.
    pub fn wake_pop(&self, topic: &str, group: &str) {
        if self.held.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut table = self.lock();
        let pops = table.get_mut(topic).and_then(|queues| queues.get_mut(&POPS));
        let Some(pops) = pops.map(|pops| &mut pops.any) else { return };
        let of_group = |waiter: &Waiter| waiter.pop.as_ref().is_some_and(|pop| *pop.group == *group);
        let Some(at) = pops.iter().position(of_group) else { return };
        let waiter = pops.remove(at);
        drop(table);
        let _ = waiter.wake.send(());
    }

    /// Returns the number of held pops of a group that wait for this queue, or with -1 for any.
    pub fn pops(&self, topic: &str, group: &str, queue_id: i32) -> usize {
        let table = self.lock();
        let pops = table.get(topic).and_then(|queues| queues.get(&POPS));
        let same = |pop: &Pop| *pop.group == *group && pop.queue_id == queue_id;
        pops.map_or(0, |pops| pops.any.iter().filter(|it| it.pop.as_ref().is_some_and(same)).count())
    }

    /// Wakes every held pull, so that each answers with what there is.
    pub fn wake_all(&self) {
        let table = std::mem::take(&mut *self.lock());
        drop(table);
    }

    /// Wakes the held pulls of one topic, because something other than a message changed for them.
    pub fn wake_topic(&self, topic: &str) {
        let queues = self.lock().remove(topic);
        drop(queues);
    }

    /// Returns the number of held pulls.
    pub fn len(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Says whether no pull is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiters {
    fn add(&mut self, waiter: Waiter) {
        match waiter.filter.codes() {
            Some(codes) if waiter.pop.is_none() => {
                for code in codes {
                    self.by_code.entry(*code).or_default().push(waiter.id);
                }
                self.tagged.insert(waiter.id, waiter);
            }
            _ => self.any.push(waiter),
        }
    }

    /// Takes the pulls that a message is for.
    fn take_due(&mut self, arrival: &Arrival, due: &mut Vec<Waiter>) {
        due.extend(self.any.extract_if(.., |waiter| arrival.max_offset > waiter.offset));
        let Some(ids) = self.by_code.get(&arrival.tags_code) else { return };
        let is_due = |id: &&u64| self.tagged.get(*id).is_some_and(|it| arrival.max_offset > it.offset);
        let ids: SmallVec<[u64; 8]> = ids.iter().filter(is_due).copied().collect();
        due.extend(ids.into_iter().filter_map(|id| self.take(id)));
    }

    /// Takes a pull for tags off.
    fn take(&mut self, id: u64) -> Option<Waiter> {
        let waiter = self.tagged.remove(&id)?;
        for code in waiter.filter.codes().unwrap_or_default() {
            if let Some(ids) = self.by_code.get_mut(code) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.by_code.remove(code);
                }
            }
        }
        Some(waiter)
    }

    fn is_empty(&self) -> bool {
        self.any.is_empty() && self.tagged.is_empty()
    }
}

fn wants(waiter: &Waiter, arrival: &Arrival) -> bool {
    let queue_id = waiter.pop.as_ref().map_or(POPS, |pop| pop.queue_id);
    (queue_id < 0 || queue_id == arrival.queue_id) && waiter.filter.matches_code(arrival.tags_code)
}

fn same_group(one: &Waiter, other: &Waiter) -> bool {
    matches!((&one.pop, &other.pop), (Some(one), Some(other)) if one.group == other.group)
}

impl Held {
    /// Returns once a message has arrived or [`PullHold::wake_all`] was called.
    pub async fn woken(&mut self) {
        let _ = (&mut self.woken).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.hold.held.fetch_sub(1, Ordering::SeqCst);
        let mut table = self.hold.lock();
        let Some(queues) = table.get_mut(&self.topic) else { return };
        let Some(queue) = queues.get_mut(&self.queue_id) else { return };
        if queue.take(self.id).is_none() {
            queue.any.retain(|waiter| waiter.id != self.id);
        }
        if queue.is_empty() {
            queues.remove(&self.queue_id);
            if queues.is_empty() {
                table.remove(&self.topic);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::PhysicalOffset;

    fn arrival(queue_id: i32, max_offset: i64, tags_code: i64) -> Arrival {
        Arrival {
            topic: "T".into(),
            queue_id,
            max_offset: QueueOffset(max_offset),
            physical_offset: PhysicalOffset(0),
            tags_code,
            store_timestamp: 0,
        }
    }

    /// Only an arrival in the same queue, beyond the offset and through the filter wakes; nothing is left behind.
    #[tokio::test]
    async fn wakes_for_the_right_message() {
        let hold = Arc::new(PullHold::default());
        let mut held = hold.hold("T", 1, QueueOffset(5), Arc::new(Filter::compile("TAG", "a || b").unwrap()));
        hold.arrived(&[arrival(0, 9, 97), arrival(1, 5, 97), arrival(1, 6, 99)]);
        assert!(futures_util::FutureExt::now_or_never(held.woken()).is_none());
        hold.arrived(&[arrival(1, 7, 98)]);
        held.woken().await;
        drop(held);
        assert!(hold.is_empty() && hold.lock().is_empty());
    }

    /// Pulls for tags are found by any of their tags, twice named or not, and leave nothing under the others; those for
    /// no tag at all sleep on.
    #[tokio::test]
    async fn wakes_by_tag() {
        let hold = Arc::new(PullHold::default());
        let pull =
            |tags: &str| hold.hold("T", 1, QueueOffset(0), Arc::new(Filter::compile("TAG", tags).unwrap()));
        let mut pulls = [pull("a || b || a"), pull("b"), pull("c"), pull("||"), pull("*")];
        hold.arrived(&[arrival(1, 1, 98)]);
        let woken = pulls.each_mut().map(|it| futures_util::FutureExt::now_or_never(it.woken()).is_some());
        assert_eq!(woken, [true, true, false, false, true]);
        let left: Vec<i64> = hold.lock()["T"][&1].by_code.keys().copied().collect();
        assert_eq!(left, [99]);
        drop(pulls);
        assert!(hold.is_empty() && hold.lock().is_empty());
    }

    /// One pop of each group is woken, the longest waiting first, and only for its queue.
    #[tokio::test]
    async fn wakes_one_pop_of_a_group() {
        let hold = Arc::new(PullHold::default());
        let pop = |group, queue_id| hold.hold_pop("T", group, queue_id, Arc::new(Filter::ALL));
        let mut pops = [pop("g", 3), pop("g", -1), pop("g", -1), pop("h", -1)];
        hold.arrived(&[arrival(1, 1, 0)]);
        let woken = pops.each_mut().map(|it| futures_util::FutureExt::now_or_never(it.woken()).is_some());
        assert_eq!(woken, [false, true, false, true]);
        assert_eq!((hold.pops("T", "g", 3), hold.pops("T", "g", -1), hold.pops("T", "h", -1)), (1, 1, 0));
        hold.wake_pop("T", "g");
        pops[0].woken().await;
        drop(pops);
        assert!(hold.is_empty() && hold.lock().is_empty());
    }

    /// Dropping a held pull, as a lost connection does, takes it off; waking all ends every wait.
    #[tokio::test]
    async fn leaves_nothing_behind() {
        let hold = Arc::new(PullHold::default());
        drop(hold.hold("T", 1, QueueOffset(0), Arc::new(Filter::ALL)));
        assert!(hold.lock().is_empty());
        let mut held = hold.hold("T", 1, QueueOffset(0), Arc::new(Filter::ALL));
        hold.wake_all();
        held.woken().await;
        drop(held);
        assert!(hold.is_empty());
    }
}
