//! Held pulls: who waits for the next message of which queue.
//!
//! A pull that finds nothing registers here and awaits; an arrival that passes its tag filter wakes it, and any
//! arrival one that filters by SQL92, which then looks for itself: the sender's thread reads no record. The waiting itself, its time-out included, is the pull's own `await` (see [`super::pull`]). Mirrors
//! `PullRequestHoldService` and `ManyPullRequest`, without their five-second sweep.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::filter::Filter;
use crate::store::{Arrival, QueueOffset};

/// Held pulls by topic, then by queue.
type Table = HashMap<Arc<str>, HashMap<i32, Vec<Waiter>>>;

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

struct Waiter {
    id: u64,
    offset: QueueOffset,
    filter: Arc<Filter>,
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
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (wake, woken) = oneshot::channel();
        // Counted before it is visible, so that an arrival between the two looks at the table.
        self.held.fetch_add(1, Ordering::SeqCst);
        let mut table = self.lock();
        let topic = table.get_key_value(topic).map_or_else(|| Arc::from(topic), |(known, _)| known.clone());
        let queue = table.entry(topic.clone()).or_default().entry(queue_id).or_default();
        queue.push(Waiter { id, offset, filter, wake });
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
            let Some(queue) =
                table.get_mut(&arrival.topic).and_then(|queues| queues.get_mut(&arrival.queue_id))
            else {
                continue;
            };
            awake.extend(queue.extract_if(.., |waiter| {
                arrival.max_offset > waiter.offset && waiter.filter.matches_code(arrival.tags_code)
            }));
        }
        drop(table);
        for waiter in awake {
            // Its pull may be gone already; then nobody is left to wake.
            let _ = waiter.wake.send(());
        }
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
        queue.retain(|waiter| waiter.id != self.id);
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
