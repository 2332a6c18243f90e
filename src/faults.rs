//! The table of places where a failure can be ordered, by tests and by programs that run a [`crate::server::Server`].
//!
//! Code at such a place asks [`Faults::strikes`]; with nothing ordered that is one relaxed load. Disk faults
//! are not here but behind `store/disk.rs`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A place where a failure can be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultPoint {
    /// Before a message is appended: the put is refused.
    BeforeAppend,
    /// After the append, before the flush: the put is reported as not flushed.
    AfterAppendBeforeFlush,
    /// At the flush of the commit log: the flush fails.
    Flush,
    /// Before a request is answered: the answer is SYSTEM_ERROR although the request took effect. The subject is the name
    /// of its code, as in `SEND_MESSAGE_V2`.
    BeforeAnswer,
    /// The answer to a request with this code is never sent, although the request took effect.
    DropAnswer(i32),
    /// The slave's acknowledgement is lost.
    SlaveAck,
    /// Registration at a NameServer fails.
    NameServerRegister,
}

/// When an ordered fault strikes.
#[derive(Clone, Debug)]
pub enum Trigger {
    /// Every n-th time, counted from one.
    EveryNth(u64),
    /// The first n times, then never again.
    FirstN(u64),
    /// Each time with this probability (0 to 1), from a generator with this seed.
    Probability {
        /// Chance of striking, 0 to 1.
        chance: f64,
        /// Seed of the generator, so that a run repeats.
        seed: u64,
    },
}

/// One ordered fault.
#[derive(Clone, Debug)]
pub struct Order {
    /// When it strikes.
    pub trigger: Trigger,
    /// Only for this topic, group or other subject of the place; `None` is any.
    pub only_for: Option<String>,
}

/// The orders in force; clones share them.
#[derive(Clone, Default)]
pub struct Faults {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Number of orders, so that asking costs one relaxed load while it is zero.
    orders: AtomicU64,
    table: Mutex<HashMap<FaultPoint, Armed>>,
}

struct Armed {
    order: Order,
    times: u64,
    random: fastrand::Rng,
}

impl Faults {
    /// Orders a fault; a former order for the same place is replaced.
    pub fn order(&self, point: FaultPoint, order: Order) {
        let seed = match order.trigger {
            Trigger::Probability { seed, .. } => seed,
            Trigger::EveryNth(_) | Trigger::FirstN(_) => 0,
        };
        let armed = Armed { order, times: 0, random: fastrand::Rng::with_seed(seed) };
        let mut table = self.inner.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.insert(point, armed);
        self.inner.orders.store(table.len() as u64, Ordering::Relaxed);
    }

    /// Removes every order.
    pub fn clear(&self) {
        let mut table = self.inner.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.clear();
        self.inner.orders.store(0, Ordering::Relaxed);
    }

    /// Says whether no failure is ordered anywhere.
    #[inline]
    pub fn none_ordered(&self) -> bool {
        self.inner.orders.load(Ordering::Relaxed) == 0
    }

    /// Says whether the failure at `point` happens now; `subject` is the topic or group concerned.
    #[inline]
    pub fn strikes(&self, point: FaultPoint, subject: &str) -> bool {
        !self.none_ordered() && self.decide(point, subject)
    }

    fn decide(&self, point: FaultPoint, subject: &str) -> bool {
        let mut table = self.inner.table.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(armed) = table.get_mut(&point) else { return false };
        if armed.order.only_for.as_deref().is_some_and(|only| only != subject) {
            return false;
        }
        armed.times += 1;
        match armed.order.trigger {
            Trigger::EveryNth(n) => n != 0 && armed.times.is_multiple_of(n),
            Trigger::FirstN(n) => armed.times <= n,
            Trigger::Probability { chance, .. } => armed.random.f64() < chance,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An order strikes only where, when and for whom it was made, and never after it is cleared.
    #[test]
    fn strikes_as_ordered() {
        let faults = Faults::default();
        assert!(!faults.strikes(FaultPoint::Flush, ""));
        faults.order(
            FaultPoint::BeforeAppend,
            Order { trigger: Trigger::FirstN(1), only_for: Some("T".into()) },
        );
        assert!(!faults.strikes(FaultPoint::BeforeAppend, "other"));
        assert!(faults.strikes(FaultPoint::BeforeAppend, "T"));
        assert!(!faults.strikes(FaultPoint::BeforeAppend, "T"));
        faults.order(FaultPoint::Flush, Order { trigger: Trigger::EveryNth(2), only_for: None });
        assert_eq!([1, 2, 3, 4].map(|_| faults.strikes(FaultPoint::Flush, "")), [false, true, false, true]);
        faults.clear();
        assert!(!faults.strikes(FaultPoint::Flush, ""));
    }
}
