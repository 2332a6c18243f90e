//! Holds replication back by order: for lessons, and for tests of what senders and readers see then.
//!
//! A master has one [`Valve`]. While it is paused its slaves get heartbeats and no bytes of the log; with a lag they get
//! them so much later. Nothing is kept for that: the log itself waits. Apache has nothing of the kind.

use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::store::MessageStore;

/// Longest lag, milliseconds.
pub const LAG_MS_MAX: u64 = 600_000;

/// What was ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Nothing of the log is sent.
    pub paused: bool,
    /// The log is sent this much later, milliseconds; up to twice as late where it grows meanwhile.
    pub lag_ms: u64,
}

/// Where a [`Flow`] is ordered.
#[derive(Debug, Default)]
pub struct Valve(watch::Sender<Flow>);

impl Valve {
    /// Orders another flow; slaves that wait notice at once.
    pub fn set(&self, flow: Flow) {
        self.0.send_replace(flow);
    }

    /// Returns what is in force.
    pub fn flow(&self) -> Flow {
        *self.0.borrow()
    }

    pub(super) fn gate(&self) -> Gate {
        Gate { flow: self.0.subscribe(), open_to: 0, round: None }
    }
}

/// The valve as one slave's connection passes it.
#[derive(Debug)]
pub(super) struct Gate {
    flow: watch::Receiver<Flow>,
    /// Up to where the log may go, with a lag.
    open_to: i64,
    /// What may go next, and when, milliseconds.
    round: Option<(i64, i64)>,
}

impl Gate {
    /// Resolves once bytes of the log from `at` on are there and may be sent; says up to where. Dropped and called
    /// again it goes on where it was.
    pub(super) async fn open(&mut self, store: &MessageStore, clock: &Clock, at: i64) -> i64 {
        loop {
            let flow = *self.flow.borrow_and_update();
            if flow == Flow::default() {
                if store.max_physical_offset().0 > at {
                    return i64::MAX;
                }
                tokio::select! {
                    () = store.written_past(at) => return i64::MAX,
                    _ = self.flow.changed() => {}
                }
            } else if flow.paused {
                (self.open_to, self.round) = (at, None);
                let _ = self.flow.changed().await;
            } else if at < self.open_to {
                return self.open_to;
            } else {
                let lag = Duration::from_millis(flow.lag_ms);
                let wait = async {
                    store.written_past(at).await;
                    let fresh = || (store.max_physical_offset().0, clock.now_ms() + lag.as_millis() as i64);
                    let (end, due_ms) = *self.round.get_or_insert_with(fresh);
                    clock.sleep(Duration::from_millis((due_ms - clock.now_ms()).max(0) as u64)).await;
                    end
                };
                tokio::select! {
                    end = wait => (self.open_to, self.round) = (end, None),
                    _ = self.flow.changed() => self.round = None,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Faults;
    use crate::store::{NewMessage, StoreOptions};

    fn put(store: &MessageStore) -> i64 {
        let message = NewMessage::plain("T", 0, "127.0.0.1:1".parse().unwrap(), b"x");
        store.put(&message).unwrap();
        store.max_physical_offset().0
    }

    /// Paused, nothing passes. With a lag what is there passes when its time has come, and what came meanwhile later;
    /// who asks again and again does not wait longer. Without either all passes at once.
    #[tokio::test(start_paused = true)]
    async fn held_back() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::starting_at(1_000));
        let options = StoreOptions { commit_log_file_bytes: 4096, ..StoreOptions::at(dir.path()) };
        let store = MessageStore::open(options, clock.clone(), Faults::default()).unwrap();
        let valve = Valve::default();
        let mut gate = valve.gate();
        let first = put(&store);
        assert_eq!(gate.open(&store, &clock, 0).await, i64::MAX);
        valve.set(Flow { paused: true, lag_ms: 0 });
        let hour = Duration::from_hours(1);
        assert!(tokio::time::timeout(hour, gate.open(&store, &clock, 0)).await.is_err());
        valve.set(Flow { paused: false, lag_ms: 500 });
        let from_ms = clock.now_ms();
        for _ in 0..4 {
            let soon = Duration::from_millis(100);
            assert!(tokio::time::timeout(soon, gate.open(&store, &clock, 0)).await.is_err());
        }
        let second = put(&store);
        assert_eq!(gate.open(&store, &clock, 0).await, first);
        assert_eq!(clock.now_ms() - from_ms, 500);
        assert_eq!(gate.open(&store, &clock, first / 2).await, first, "the rest of what may go");
        assert_eq!(gate.open(&store, &clock, first).await, second);
        assert_eq!(clock.now_ms() - from_ms, 1_000);
        valve.set(Flow::default());
        assert_eq!(gate.open(&store, &clock, 0).await, i64::MAX);
    }
}
