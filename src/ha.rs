//! Replication of the commit log between brokers, in Apache's own protocol; mirrors `store.ha`.
//!
//! [`frame`] is the bytes on the wire, [`master`] sends the log to slaves and learns what they have, [`slave`] takes a
//! master's log, [`valve`] lets a person hold it back. All work on the store alone: who is master of whom is the
//! broker's business, and what a slave copies beside the log (topics, offsets, …) goes over the remoting port
//! (`broker/slave`). Connections are anything that reads and writes bytes, so that a simulated network will do. The
//! protocol has no version, no checksum and no identities; what can be checked is checked at the record.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::store::ReplicaError;

pub mod frame;
pub mod master;
pub mod slave;
pub mod valve;

/// How replication behaves.
#[derive(Clone, Copy, Debug)]
pub struct HaOptions {
    /// `haSendHeartbeatInterval`: silence after which a word is sent.
    pub heartbeat: Duration,
    /// `haHousekeepingInterval`: silence after which the connection is given up.
    pub housekeeping: Duration,
    /// `haTransferBatchSize`: bytes of one frame's body.
    pub batch_bytes: usize,
}

/// Why a connection between a master and a slave ends.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// It failed, or the other end ended it.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The other end does not speak the protocol.
    #[error("it does not speak the replication protocol: {0}")]
    Frame(#[from] frame::FrameError),
    /// The other end said nothing, or took nothing, for too long.
    #[error("it was silent for {} ms", .0.as_millis())]
    Silent(Duration),
    /// The slave has what was never sent.
    #[error("it reports to have the log up to {reported}, and was sent it up to {sent}")]
    Ahead {
        /// What it reported.
        reported: i64,
        /// What it was sent.
        sent: i64,
    },
    /// The slave's log is not the master's.
    #[error("it wants the log from {reported} on, which is here from {min} to {max}; it must begin again")]
    Disagrees {
        /// Where its log ends.
        reported: i64,
        /// Where the master's begins.
        min: i64,
        /// Where the master's ends.
        max: i64,
    },
    /// What the slave needs was deleted meanwhile.
    #[error("it is at {0}, which is deleted here meanwhile")]
    TooSlow(i64),
    /// The master is somewhere else in its log.
    #[error("it goes on at {master}, and {here} comes next here")]
    Elsewhere {
        /// Where the master goes on.
        master: i64,
        /// What comes next in the slave's log.
        here: i64,
    },
    /// The slave's last message is another one in the master's log.
    #[error("its log has another message at {0}")]
    Differs(i64),
    /// What the master sent cannot be appended.
    #[error("{0}")]
    Log(#[from] ReplicaError),
    /// The master says that it has less than the slave.
    #[error("its log ends at {master}, and the log here at {here}")]
    Behind {
        /// Where the master's log ends.
        master: i64,
        /// Where the slave's ends.
        here: i64,
    },
}

/// Waits for the other end, which is silent when it takes longer than `limit`.
async fn within<T>(limit: Duration, what: impl Future<Output = io::Result<T>>) -> Result<T, Trouble> {
    Ok(tokio::time::timeout(limit, what).await.map_err(|_| Trouble::Silent(limit))??)
}

/// Counts bytes by the second. Its lock is a leaf.
#[derive(Debug, Default)]
struct Meter(Mutex<Count>);

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    second: i64,
    /// Bytes of that second so far, and of the one before it.
    now: u64,
    before: u64,
}

impl Meter {
    fn add(&self, bytes: usize, now_ms: i64) {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *count = count.at(now_ms / 1000);
        count.now += bytes as u64;
    }

    /// Returns the bytes of the last second that is over.
    fn in_last_second(&self, now_ms: i64) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).at(now_ms / 1000).before
    }
}

impl Count {
    fn at(self, second: i64) -> Self {
        match second - self.second {
            0 => self,
            1 => Self { second, now: 0, before: self.now },
            _ => Self { second, now: 0, before: 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown is the whole second before this one, and nothing after a pause.
    #[test]
    fn bytes_by_the_second() {
        let meter = Meter::default();
        assert_eq!(meter.in_last_second(5_000), 0);
        meter.add(10, 7_000);
        meter.add(5, 7_999);
        assert_eq!(meter.in_last_second(7_999), 0);
        assert_eq!(meter.in_last_second(8_000), 15);
        meter.add(1, 8_500);
        assert_eq!((meter.in_last_second(8_999), meter.in_last_second(9_000)), (15, 1));
        assert_eq!(meter.in_last_second(10_000), 0);
    }
}
