//! A master's side: sends the log to every slave that connects, and learns how much of it each has.
//!
//! Flows in: reports of slaves, and the news that the log has grown. Flows out: slices of the mapped files, and to the
//! store up to where enough slaves have it, which is what sends wait for under SYNC_MASTER. [`Transfer`] decides, without
//! sockets; a task per slave moves the bytes. Nothing is queued for a slave: one that does not read holds one
//! slice, and is cut off when its time is up. Mirrors `DefaultHAService`, `DefaultHAConnection` and
//! `GroupTransferService`.
//!
//! An empty slave gets the log from its beginning (Apache sends the last file only). A slave whose log ends where ours
//! has nothing is shown where ours begins or ends, by an empty frame that it cannot follow, and cut off: a slave of
//! ours takes that as the order to begin again.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::frame::{self, BODY_BYTES_MAX, FrameError, Header, REPORT_BYTES};
use crate::clock::Clock;
use crate::faults::{FaultPoint, Faults};
use crate::lifecycle::Lifecycle;
use crate::store::MessageStore;

/// Slaves that are served at a time; more are turned away.
const SLAVES_MAX: usize = 64;
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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

/// Where the log can be sent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// From here.
    From(i64),
    /// Nowhere: the slave's log ends where the master has nothing. This is the nearest place where it has.
    Disagree(i64),
}

/// Says from where a slave whose log ends at `reported` gets a log that is there from `min` to `max`.
pub fn start(reported: i64, min: i64, max: i64) -> Start {
    if reported == 0 {
        Start::From(min)
    } else if (min..=max).contains(&reported) {
        Start::From(reported)
    } else {
        Start::Disagree(reported.clamp(min, max))
    }
}

/// Why a slave is cut off.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The connection failed or ended.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It does not speak the protocol.
    #[error("it does not speak the replication protocol: {0}")]
    Frame(#[from] FrameError),
    /// It has what was never sent.
    #[error("it reports to have the log up to {reported}, and was sent it up to {sent}")]
    Ahead {
        /// What it reported.
        reported: i64,
        /// What it was sent.
        sent: i64,
    },
    /// Its log is not ours.
    #[error("its log ends at {reported}, and the log here is there from {min} to {max}; it must begin again")]
    Disagrees {
        /// Where its log ends.
        reported: i64,
        /// Where ours begins.
        min: i64,
        /// Where ours ends.
        max: i64,
    },
    /// What it needs was deleted meanwhile.
    #[error("it is at {0}, which is deleted here meanwhile")]
    TooSlow(i64),
    /// It said nothing, or took nothing, for too long.
    #[error("it was silent for {} ms", .0.as_millis())]
    Silent(Duration),
}

/// How far one slave is; what is decided about it.
#[derive(Debug)]
pub struct Transfer {
    /// Where the next frame begins.
    sent: AtomicI64,
    /// Up to where the slave says it has the log.
    acked: AtomicI64,
}

impl Transfer {
    /// Begins at an offset; what lies before it the slave has, unless its log is `empty`.
    pub fn starting_at(at: i64, empty: bool) -> Self {
        Self { sent: AtomicI64::new(at), acked: AtomicI64::new(if empty { 0 } else { at }) }
    }

    /// Returns where the next frame begins.
    pub fn sent(&self) -> i64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Returns up to where the slave has the log.
    pub fn acked(&self) -> i64 {
        self.acked.load(Ordering::Acquire)
    }

    /// Takes note that so many bytes are about to be sent.
    pub fn send(&self, bytes: usize) {
        self.sent.fetch_add(bytes as i64, Ordering::AcqRel);
    }

    /// Takes a report; says whether it is news.
    pub fn report(&self, reported: i64) -> Result<bool, Trouble> {
        let sent = self.sent();
        if reported > sent {
            return Err(Trouble::Ahead { reported, sent });
        }
        Ok(self.acked.fetch_max(reported, Ordering::AcqRel) < reported)
    }
}

/// Returns up to where at least `wanted` slaves have the log; `None` when there are fewer.
pub fn acked_by(mut acks: Vec<i64>, wanted: usize) -> Option<i64> {
    acks.sort_unstable_by(|a, b| b.cmp(a));
    acks.get(wanted.checked_sub(1)?).copied()
}

/// What people see of one slave.
#[derive(Clone, Debug)]
pub struct SlaveView {
    /// The slave's end of the connection.
    pub address: SocketAddr,
    /// Up to where it has the log.
    pub acked: i64,
    /// Where the next frame begins.
    pub sent: i64,
    /// Whether it counts as a copy.
    pub in_sync: bool,
}

/// One slave that is connected.
#[derive(Debug)]
struct Slave {
    address: SocketAddr,
    transfer: Transfer,
}

/// Serves slaves.
pub struct Master {
    store: Arc<MessageStore>,
    clock: Clock,
    faults: Faults,
    options: HaOptions,
    /// `haMaxGapNotInSync`: bytes that a slave may lag and still count as a copy.
    gap_bytes: AtomicI64,
    slaves: Mutex<Vec<Arc<Slave>>>,
    /// Connections that may still come.
    places: tokio::sync::Semaphore,
}

impl Master {
    /// Makes a master on a store; nobody is served yet.
    pub fn new(
        store: Arc<MessageStore>,
        clock: Clock,
        faults: Faults,
        options: HaOptions,
        gap_bytes: i64,
    ) -> Self {
        let batch_bytes = options.batch_bytes.clamp(1, BODY_BYTES_MAX);
        Self {
            store,
            clock,
            faults,
            options: HaOptions { batch_bytes, ..options },
            gap_bytes: AtomicI64::new(gap_bytes),
            slaves: Mutex::default(),
            places: tokio::sync::Semaphore::new(SLAVES_MAX),
        }
    }

    /// Changes how far a slave may lag and still count as a copy.
    pub fn set_gap_bytes(&self, gap_bytes: i64) {
        self.gap_bytes.store(gap_bytes, Ordering::Relaxed);
        self.count();
    }

    /// Returns every slave that is connected.
    pub fn slaves(&self) -> Vec<SlaveView> {
        let end = self.store.max_physical_offset().0;
        let view = |slave: &Arc<Slave>| SlaveView {
            address: slave.address,
            acked: slave.transfer.acked(),
            sent: slave.transfer.sent(),
            in_sync: self.is_in_sync(slave, end),
        };
        self.guard().iter().map(view).collect()
    }

    /// Accepts slaves until the server stops.
    pub fn serve(self: &Arc<Self>, listener: TcpListener, life: &Lifecycle) {
        let (master, tasks) = (Arc::clone(self), life.clone());
        life.spawn_until_cancelled("replication", async move {
            loop {
                match listener.accept().await {
                    Ok((stream, address)) => {
                        let master = Arc::clone(&master);
                        tasks.spawn_until_cancelled(
                            "slave",
                            async move { master.attend(stream, address).await },
                        );
                    }
                    Err(cause) => {
                        tracing::warn!("cannot accept a slave: {cause}");
                        master.clock.sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        });
    }

    fn guard(&self) -> MutexGuard<'_, Vec<Arc<Slave>>> {
        // A list of slaves is whole at every step.
        self.slaves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_in_sync(&self, slave: &Slave, end: i64) -> bool {
        end - slave.transfer.acked() < self.gap_bytes.load(Ordering::Relaxed)
    }

    /// Tells the store what its slaves have.
    fn count(&self) {
        let slaves = self.guard();
        let end = self.store.max_physical_offset().0;
        let in_sync = slaves.iter().filter(|slave| self.is_in_sync(slave, end)).count();
        let acks = slaves.iter().map(|slave| slave.transfer.acked()).collect();
        let acked = acked_by(acks, self.store.slaves_wanted()).unwrap_or(i64::MIN);
        self.store.slaves_have(in_sync, acked);
    }

    async fn attend(&self, stream: TcpStream, address: SocketAddr) {
        let Ok(_place) = self.places.try_acquire() else {
            tracing::warn!(%address, "a slave is turned away: {SLAVES_MAX} are served already");
            return;
        };
        let _ = stream.set_nodelay(true);
        let (mut read, mut write) = stream.into_split();
        let begun = self.first_report(&mut read, &mut write).await;
        let (ended, served) = match begun {
            Ok(transfer) => {
                tracing::info!(%address, from = transfer.sent(), acked = transfer.acked(), "a slave is served");
                let slave = Listed::new(self, Slave { address, transfer });
                let ended = tokio::select! {
                    ended = self.hear(&slave.slave.transfer, &mut read) => ended,
                    ended = self.send(&slave.slave.transfer, &mut write) => ended,
                };
                (ended.map(|never| match never {}), true)
            }
            Err(trouble) => (Err::<(), _>(trouble), false),
        };
        match ended {
            Err(Trouble::Io(cause)) if served => tracing::info!(%address, "a slave is gone: {cause}"),
            // Somebody looked whether the port is open.
            Err(Trouble::Io(cause)) => tracing::debug!(%address, "a connection ended: {cause}"),
            Err(trouble) => tracing::warn!(%address, "a slave is cut off: {trouble}"),
            Ok(()) => {}
        }
    }

    /// Waits for the report with which a slave begins, and decides where it does.
    async fn first_report(
        &self,
        read: &mut OwnedReadHalf,
        write: &mut OwnedWriteHalf,
    ) -> Result<Transfer, Trouble> {
        let reported = self.report(read).await?;
        let (min, max) = (self.store.min_physical_offset().0, self.store.max_physical_offset().0);
        match start(reported, min, max) {
            Start::From(at) => Ok(Transfer::starting_at(at, reported == 0)),
            Start::Disagree(at) => {
                self.write(write, at, Bytes::new()).await?;
                Err(Trouble::Disagrees { reported, min, max })
            }
        }
    }

    async fn report(&self, read: &mut OwnedReadHalf) -> Result<i64, Trouble> {
        let mut bytes = [0; REPORT_BYTES];
        let limit = self.options.housekeeping;
        let came = tokio::time::timeout(limit, read.read_exact(&mut bytes)).await;
        came.map_err(|_| Trouble::Silent(limit))??;
        Ok(frame::decode_report(bytes)?)
    }

    async fn hear(
        &self,
        transfer: &Transfer,
        read: &mut OwnedReadHalf,
    ) -> Result<std::convert::Infallible, Trouble> {
        loop {
            let reported = self.report(read).await?;
            if self.faults.strikes(FaultPoint::SlaveAck, "") {
                continue;
            }
            if transfer.report(reported)? {
                self.count();
            }
        }
    }

    async fn send(
        &self,
        transfer: &Transfer,
        write: &mut OwnedWriteHalf,
    ) -> Result<std::convert::Infallible, Trouble> {
        loop {
            let at = transfer.sent();
            let body = self.store.log_slice(at, self.options.batch_bytes).unwrap_or_default();
            if body.is_empty() {
                if at < self.store.min_physical_offset().0 {
                    return Err(Trouble::TooSlow(at));
                }
                let more = self.store.written_past(at);
                if tokio::time::timeout(self.options.heartbeat, more).await.is_ok() {
                    continue;
                }
            }
            // Before the bytes go: the answer to them may come before the write returns.
            transfer.send(body.len());
            self.write(write, at, body).await?;
        }
    }

    async fn write(&self, write: &mut OwnedWriteHalf, at: i64, body: Bytes) -> Result<(), Trouble> {
        let header = Header { physical_offset: at, body_bytes: body.len() }.encode();
        let mut frame = Buf::chain(&header[..], body);
        let limit = self.options.housekeeping;
        let written = tokio::time::timeout(limit, write.write_all_buf(&mut frame)).await;
        Ok(written.map_err(|_| Trouble::Silent(limit))??)
    }
}

/// A slave's place in the list, for as long as it is served.
struct Listed<'a> {
    master: &'a Master,
    slave: Arc<Slave>,
}

impl<'a> Listed<'a> {
    fn new(master: &'a Master, slave: Slave) -> Self {
        let slave = Arc::new(slave);
        master.guard().push(Arc::clone(&slave));
        master.count();
        Self { master, slave }
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.master.guard().retain(|slave| !Arc::ptr_eq(slave, &self.slave));
        self.master.count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty slave gets everything; one that is elsewhere is shown the nearest place.
    #[test]
    fn where_a_slave_begins() {
        assert_eq!(start(0, 4096, 9000), Start::From(4096));
        assert_eq!(start(4096, 4096, 9000), Start::From(4096));
        assert_eq!(start(5000, 4096, 9000), Start::From(5000));
        assert_eq!(start(9000, 4096, 9000), Start::From(9000));
        assert_eq!(start(9001, 4096, 9000), Start::Disagree(9000));
        assert_eq!(start(4095, 4096, 9000), Start::Disagree(4096));
        assert_eq!(start(0, 0, 0), Start::From(0));
        assert_eq!(start(7, 0, 0), Start::Disagree(0));
    }

    /// A report counts once, never goes back, and never beyond what was sent.
    #[test]
    fn reports() {
        let transfer = Transfer::starting_at(100, false);
        assert_eq!(transfer.acked(), 100);
        transfer.send(50);
        assert!(!transfer.report(100).unwrap());
        assert!(transfer.report(150).unwrap());
        assert!(!transfer.report(120).unwrap());
        assert_eq!(transfer.acked(), 150);
        assert!(matches!(transfer.report(151), Err(Trouble::Ahead { reported: 151, sent: 150 })));
        assert_eq!(Transfer::starting_at(100, true).acked(), 0);
    }

    /// What enough slaves have is what the slowest of the best ones has.
    #[test]
    fn enough_slaves() {
        assert_eq!(acked_by(vec![5, 9, 7], 1), Some(9));
        assert_eq!(acked_by(vec![5, 9, 7], 2), Some(7));
        assert_eq!(acked_by(vec![5, 9, 7], 4), None);
        assert_eq!(acked_by(vec![5], 0), None);
    }
}
