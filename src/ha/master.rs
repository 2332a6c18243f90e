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

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::frame::{self, BODY_BYTES_MAX, Header, REPORT_BYTES};
use super::valve::Valve;
use super::{HaOptions, Meter, Trouble, within};
use crate::clock::Clock;
use crate::faults::{FaultPoint, Faults};
use crate::lifecycle::Lifecycle;
use crate::store::MessageStore;

/// Slaves that are served at a time; more are turned away.
const SLAVES_MAX: usize = 64;
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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

/// How far one slave is; what is decided about it.
#[derive(Debug)]
pub struct Transfer {
    /// Where the first frame began.
    began: i64,
    /// Where the next frame begins.
    sent: AtomicI64,
    /// Up to where the slave says it has the log.
    acked: AtomicI64,
}

impl Transfer {
    /// Begins at an offset; what lies before it the slave has, unless its log is `empty`.
    pub fn starting_at(at: i64, empty: bool) -> Self {
        Self { began: at, sent: AtomicI64::new(at), acked: AtomicI64::new(if empty { 0 } else { at }) }
    }

    /// Returns where the next frame begins.
    pub fn sent(&self) -> i64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Returns up to where the slave has the log.
    pub fn acked(&self) -> i64 {
        self.acked.load(Ordering::Acquire)
    }

    /// Returns up to where the slave has *this* log, as far as that is known: one that has taken nothing of this
    /// connection yet may have the end of a log that the master lost.
    pub fn proved(&self) -> i64 {
        let acked = self.acked();
        if acked > self.began { acked } else { 0 }
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
    /// Bytes of the log that it has not acknowledged.
    pub lag_bytes: i64,
    /// Age of the first message that it has not acknowledged, milliseconds; 0 when there is none.
    pub lag_ms: i64,
    /// Bytes sent in the last whole second.
    pub bytes_per_second: u64,
}

/// One slave that is connected.
#[derive(Debug)]
struct Slave {
    address: SocketAddr,
    transfer: Transfer,
    meter: Meter,
}

/// Serves slaves.
pub struct Master {
    store: Arc<MessageStore>,
    clock: Clock,
    faults: Faults,
    options: HaOptions,
    /// Holds the log back when somebody orders it.
    pub valve: Valve,
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
            valve: Valve::default(),
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
        let (end, now_ms) = (self.store.max_physical_offset().0, self.clock.now_ms());
        let view = |slave: &Arc<Slave>| {
            let acked = slave.transfer.acked();
            let since_ms = self.store.next_message_stored_at(acked);
            SlaveView {
                address: slave.address,
                acked,
                sent: slave.transfer.sent(),
                in_sync: self.is_in_sync(slave, end),
                lag_bytes: (end - acked).max(0),
                lag_ms: since_ms.map_or(0, |since_ms| (now_ms - since_ms).max(0)),
                bytes_per_second: slave.meter.in_last_second(now_ms),
            }
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
                        let _ = stream.set_nodelay(true);
                        let (read, write) = stream.into_split();
                        tasks.spawn_until_cancelled("slave", async move {
                            master.attend(read, write, address).await;
                        });
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
        let (slaves, wanted) = (self.guard(), self.store.slaves_wanted());
        let of = |acked: fn(&Transfer) -> i64| {
            acked_by(slaves.iter().map(|slave| acked(&slave.transfer)).collect(), wanted)
        };
        let near =
            of(Transfer::acked).map_or(i64::MIN, |acked| acked + self.gap_bytes.load(Ordering::Relaxed));
        self.store.slaves_have(of(Transfer::proved).unwrap_or(i64::MIN), near);
    }

    /// Serves one slave over a connection until that ends.
    pub async fn attend(
        &self,
        mut read: impl AsyncRead + Unpin,
        mut write: impl AsyncWrite + Unpin,
        address: SocketAddr,
    ) {
        let Ok(_place) = self.places.try_acquire() else {
            tracing::warn!(%address, "a slave is turned away: {SLAVES_MAX} are served already");
            return;
        };
        let (trouble, served) = match self.first_report(&mut read, &mut write).await {
            Ok(transfer) => {
                tracing::info!(%address, from = transfer.sent(), acked = transfer.acked(), "a slave is served");
                let listed = Listed::new(self, Slave { address, transfer, meter: Meter::default() });
                let ended = tokio::select! {
                    ended = self.hear(&listed.slave, &mut read) => ended,
                    ended = self.send(&listed.slave, &mut write) => ended,
                };
                match ended {
                    Err(trouble) => (trouble, true),
                    Ok(never) => match never {},
                }
            }
            Err(trouble) => (trouble, false),
        };
        match trouble {
            Trouble::Io(cause) if served => tracing::info!(%address, "a slave is gone: {cause}"),
            // Somebody looked whether the port is open.
            Trouble::Io(cause) => tracing::debug!(%address, "a connection ended: {cause}"),
            trouble => tracing::warn!(%address, "a slave is cut off: {trouble}"),
        }
    }

    /// Waits for the report with which a slave begins, and decides where it does.
    async fn first_report(
        &self,
        read: &mut (impl AsyncRead + Unpin),
        write: &mut (impl AsyncWrite + Unpin),
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

    async fn report(&self, read: &mut (impl AsyncRead + Unpin)) -> Result<i64, Trouble> {
        let mut bytes = [0; REPORT_BYTES];
        within(self.options.housekeeping, read.read_exact(&mut bytes)).await?;
        Ok(frame::decode_report(bytes)?)
    }

    async fn hear(&self, slave: &Slave, read: &mut (impl AsyncRead + Unpin)) -> Result<Infallible, Trouble> {
        loop {
            let reported = self.report(read).await?;
            if self.faults.strikes(FaultPoint::SlaveAck, "") {
                continue;
            }
            if slave.transfer.report(reported)? {
                self.count();
            }
        }
    }

    async fn send(
        &self,
        slave: &Slave,
        write: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Infallible, Trouble> {
        let mut gate = self.valve.gate();
        // A slave without anything to catch up with knows by a first word that it is served.
        self.write(write, slave.transfer.sent(), Bytes::new()).await?;
        loop {
            let at = slave.transfer.sent();
            if at < self.store.min_physical_offset().0 {
                return Err(Trouble::TooSlow(at));
            }
            let open = tokio::time::timeout(self.options.heartbeat, gate.open(&self.store, &self.clock, at));
            let bytes = match open.await {
                Ok(until) => self.options.batch_bytes.min(usize::try_from(until - at).unwrap_or(0)),
                Err(_) => 0,
            };
            let body = self.store.log_slice(at, bytes).unwrap_or_default();
            // Before the bytes go: the answer to them may come before the write returns.
            slave.transfer.send(body.len());
            slave.meter.add(body.len(), self.clock.now_ms());
            self.write(write, at, body).await?;
        }
    }

    async fn write(
        &self,
        write: &mut (impl AsyncWrite + Unpin),
        at: i64,
        body: Bytes,
    ) -> Result<(), Trouble> {
        let header = Header { physical_offset: at, body_bytes: body.len() }.encode();
        let mut frame = Buf::chain(&header[..], body);
        within(self.options.housekeeping, write.write_all_buf(&mut frame)).await
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
        assert_eq!((transfer.acked(), transfer.proved()), (100, 0), "its word, and nothing that it took");
        transfer.send(50);
        assert!(!transfer.report(100).unwrap());
        assert!(transfer.report(150).unwrap());
        assert!(!transfer.report(120).unwrap());
        assert_eq!((transfer.acked(), transfer.proved()), (150, 150));
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
