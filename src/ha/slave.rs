//! A slave's side: takes the master's log and appends it, byte for byte, where it belongs.
//!
//! Flows in: where the master is (from the NameServer, by way of the broker, or from `haMasterAddress`), and its
//! frames. Flows out: whole records into the store, and a report of where the log ends after everything that came. The
//! first report names where the last message begins: it comes again, and must be the same, or else the master lost its
//! end and grew anew, which nothing else in the protocol would show.
//! [`Intake`] decides, without sockets or files; [`Replica::run`] connects, reads, reports, and connects again.
//! Mirrors `DefaultHAClient`.
//!
//! A slave whose log is not its master's (the master lost its end, or was put up anew) would be refused for ever by
//! Apache's protocol. Here it puts its log aside, where a person finds it, says so in one line, and begins again.

use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::frame::{HEADER_BYTES, Header};
use super::{HaOptions, Meter, Trouble, within};
use crate::clock::Clock;
use crate::store::{MessageStore, ReplicaError};

/// Time that a connection attempt may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Pause after a connection failed or ended.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Bytes that are read at a time.
const READ_BYTES: usize = 256 << 10;

/// What a slave appends to.
pub trait Log {
    /// Returns where the log ends; 0 when there is none.
    fn end(&self) -> i64;
    /// Returns where the last message begins, and the log from there on; `None` when there is none.
    fn last(&self) -> Option<(i64, Bytes)>;
    /// Appends as much of `bytes`, which belong at `at`, as is whole; returns how many bytes that was.
    fn append(&self, at: i64, bytes: &[u8]) -> Result<usize, ReplicaError>;
}

impl Log for MessageStore {
    fn end(&self) -> i64 {
        self.max_physical_offset().0
    }

    fn last(&self) -> Option<(i64, Bytes)> {
        self.last_message()
    }

    fn append(&self, at: i64, bytes: &[u8]) -> Result<usize, ReplicaError> {
        self.append_replica(at, bytes)
    }
}

/// What comes from a master over one connection.
#[derive(Debug)]
pub struct Intake {
    /// Where the next frame begins; `None` while the log is empty, which may begin anywhere.
    next: Option<i64>,
    /// What the master has yet to send as it is here already.
    known: Bytes,
    /// What came and is no whole frame yet.
    came: BytesMut,
    /// The beginning of a record whose end is not there yet. It belongs at the end of the log.
    begun: BytesMut,
    /// Whether nothing of this connection was appended yet.
    is_fresh: bool,
}

impl Intake {
    /// Begins a connection with a log as it is.
    pub fn new(log: &(impl Log + ?Sized)) -> Self {
        let end = log.end();
        let (next, known) = match log.last() {
            Some((at, known)) => (Some(at), known),
            None => ((end != 0).then_some(end), Bytes::new()),
        };
        Self { next, known, came: BytesMut::new(), begun: BytesMut::new(), is_fresh: true }
    }

    /// Returns where bytes from the master go to.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.came
    }

    /// Returns what the master is told: up to where the log here is its own.
    pub fn reached(&self, log: &(impl Log + ?Sized)) -> i64 {
        self.next.filter(|_| !self.known.is_empty()).unwrap_or_else(|| log.end())
    }

    /// Takes in the frames that are whole; returns how many there were.
    pub fn take(&mut self, log: &(impl Log + ?Sized)) -> Result<usize, Trouble> {
        let mut frames = 0;
        while let Some(header) = self.came.first_chunk::<HEADER_BYTES>() {
            let header = Header::decode(*header)?;
            if let Some(here) = self.next.filter(|next| *next != header.physical_offset) {
                return Err(Trouble::Elsewhere { master: header.physical_offset, here });
            }
            let frame_bytes = HEADER_BYTES + header.body_bytes;
            if self.came.len() < frame_bytes {
                self.came.reserve(frame_bytes - self.came.len());
                break;
            }
            frames += 1;
            self.came.advance(HEADER_BYTES);
            if header.body_bytes > 0 {
                let mut body = self.came.split_to(header.body_bytes);
                let again = self.known.len().min(body.len());
                if body[..again] != self.known[..again] {
                    return Err(Trouble::Differs(header.physical_offset));
                }
                self.known.advance(again);
                body.advance(again);
                self.next = Some(header.physical_offset + header.body_bytes as i64);
                if !body.is_empty() {
                    self.body(log, header.physical_offset + again as i64, body)?;
                }
            }
        }
        Ok(frames)
    }

    fn body(&mut self, log: &(impl Log + ?Sized), at: i64, mut body: BytesMut) -> Result<(), Trouble> {
        if self.begun.is_empty() {
            let taken = log.append(at, &body)?;
            body.advance(taken);
            self.is_fresh &= taken == 0;
            self.begun.extend_from_slice(&body);
            return Ok(());
        }
        let begun_at = at - self.begun.len() as i64;
        self.begun.extend_from_slice(&body);
        let taken = log.append(begun_at, &self.begun)?;
        self.begun.advance(taken);
        self.is_fresh &= taken == 0;
        Ok(())
    }

    /// Says whether this trouble shows that the two logs are different ones. What goes wrong in the middle of a
    /// connection does not: the next one begins where this one ended, and then shows it if it is so.
    pub fn disagrees(&self, trouble: &Trouble) -> bool {
        match trouble {
            Trouble::Differs(_) => true,
            Trouble::Elsewhere { .. } | Trouble::Log(ReplicaError::NoMessage { .. }) => self.is_fresh,
            _ => false,
        }
    }
}

/// What people see of a slave.
#[derive(Clone, Debug, Default)]
pub struct ReplicaView {
    /// The master's replication address, when it is known.
    pub master: Option<String>,
    /// Whether the connection to it stands.
    pub connected: bool,
    /// When something came last, milliseconds.
    pub last_read_ms: i64,
    /// When something was reported last, milliseconds.
    pub last_write_ms: i64,
    /// Bytes that came in the last whole second.
    pub bytes_per_second: u64,
}

/// Follows a master.
pub struct Replica {
    store: Arc<MessageStore>,
    clock: Clock,
    options: HaOptions,
    master: watch::Sender<Option<String>>,
    connected: AtomicBool,
    last_read_ms: AtomicI64,
    last_write_ms: AtomicI64,
    meter: Meter,
    /// Where the master's log ends, when that is before our own end.
    behind: Mutex<Option<i64>>,
    is_behind: tokio::sync::Notify,
}

impl Replica {
    /// Makes a follower of the master at `master`, or of one that is learnt later.
    pub fn new(store: Arc<MessageStore>, clock: Clock, options: HaOptions, master: Option<String>) -> Self {
        Self {
            store,
            clock,
            options,
            master: watch::Sender::new(master),
            connected: AtomicBool::new(false),
            last_read_ms: AtomicI64::new(0),
            last_write_ms: AtomicI64::new(0),
            meter: Meter::default(),
            behind: Mutex::default(),
            is_behind: tokio::sync::Notify::new(),
        }
    }

    /// Says where the master is now; a connection to another one ends.
    pub fn follow(&self, master: &str) {
        self.master.send_if_modified(|known| {
            let is_news = known.as_deref() != Some(master);
            if is_news {
                *known = Some(master.to_owned());
            }
            is_news
        });
    }

    /// Takes the master's own word for where its log ends; a log that went beyond that is not the master's.
    pub fn master_ends_at(&self, end: i64, here: i64) {
        if end < here {
            *self.behind.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
            self.is_behind.notify_one();
        }
    }

    /// Says whether the connection to the master stands.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Returns what people see.
    pub fn view(&self) -> ReplicaView {
        ReplicaView {
            master: self.master.borrow().clone(),
            connected: self.is_connected(),
            last_read_ms: self.last_read_ms.load(Ordering::Relaxed),
            last_write_ms: self.last_write_ms.load(Ordering::Relaxed),
            bytes_per_second: self.meter.in_last_second(self.clock.now_ms()),
        }
    }

    /// Follows the master until the task is ended, over connections that `connect` makes to the address it is given.
    pub async fn run<S, C>(self: Arc<Self>, connect: impl Fn(String) -> C)
    where
        S: AsyncRead + AsyncWrite + Unpin,
        C: Future<Output = io::Result<S>>,
    {
        let mut known = self.master.subscribe();
        let mut told = None;
        loop {
            let Ok(master) = known.wait_for(Option::is_some).await.map(|master| master.clone()) else {
                return;
            };
            let master = master.unwrap_or_default();
            known.mark_unchanged();
            let mut intake = Intake::new(&*self.store);
            let ended = tokio::select! {
                ended = self.connection(&connect, &master, &mut intake) => ended,
                _ = known.changed() => continue,
            };
            let was_connected = self.connected.swap(false, Ordering::Relaxed);
            let trouble = match ended {
                Err(trouble) => trouble,
                Ok(never) => match never {},
            };
            if intake.disagrees(&trouble) || matches!(trouble, Trouble::Behind { .. }) {
                self.begin_again(&master, &trouble);
            } else if was_connected || told != Some((master.clone(), std::mem::discriminant(&trouble))) {
                tracing::warn!(%master, "not following the master, will keep trying: {trouble}");
            }
            told = Some((master, std::mem::discriminant(&trouble)));
            self.clock.sleep(RETRY_PAUSE).await;
        }
    }

    fn begin_again(&self, master: &str, trouble: &Trouble) {
        match self.store.begin_again() {
            Ok(aside) => tracing::warn!(
                master,
                "the log here is not the master's ({trouble}): it is put aside as {}, and everything is copied again",
                aside.display()
            ),
            Err(cause) => tracing::error!(
                master,
                "the log here is not the master's ({trouble}), and it cannot be put aside: {cause}"
            ),
        }
    }

    async fn connection<S, C>(
        &self,
        connect: &impl Fn(String) -> C,
        master: &str,
        intake: &mut Intake,
    ) -> Result<Infallible, Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        C: Future<Output = io::Result<S>>,
    {
        let mut stream = within(CONNECT_LIMIT, connect(master.to_owned())).await?;
        self.report(&mut stream, intake).await?;
        let mut silence = Duration::ZERO;
        loop {
            intake.buffer().reserve(READ_BYTES);
            tokio::select! {
                read = tokio::time::timeout(self.options.heartbeat, stream.read_buf(intake.buffer())) => {
                    if let Ok(read) = read {
                        silence = Duration::ZERO;
                        if !self.took(read?, master, intake)? {
                            continue;
                        }
                    } else {
                        silence += self.options.heartbeat;
                        if silence >= self.options.housekeeping {
                            return Err(Trouble::Silent(silence));
                        }
                    }
                    self.report(&mut stream, intake).await?;
                }
                () = self.is_behind.notified() => {
                    let behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if let Some(master) = behind.filter(|end| *end < self.store.end()) {
                        return Err(Trouble::Behind { master, here: self.store.end() });
                    }
                }
            }
        }
    }

    /// Takes in what a read brought; says whether it was a frame or more.
    fn took(&self, bytes: usize, master: &str, intake: &mut Intake) -> Result<bool, Trouble> {
        if bytes == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let now_ms = self.clock.now_ms();
        self.meter.add(bytes, now_ms);
        self.last_read_ms.store(now_ms, Ordering::Relaxed);
        let frames = intake.take(&*self.store)?;
        if frames > 0 && !self.connected.swap(true, Ordering::Relaxed) {
            tracing::info!(%master, from = self.store.end(), "following the master");
        }
        Ok(frames > 0)
    }

    /// Tells the master up to where its log is here.
    async fn report(&self, stream: &mut (impl AsyncWrite + Unpin), intake: &Intake) -> Result<(), Trouble> {
        let report = intake.reached(&*self.store).to_be_bytes();
        within(self.options.housekeeping, stream.write_all(&report)).await?;
        self.last_write_ms.store(self.clock.now_ms(), Ordering::Relaxed);
        Ok(())
    }
}

/// Connects to a master's replication port.
pub async fn dial(master: String) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(master).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of "records" of five bytes that begin with 1; anything else is no message.
    #[derive(Default)]
    struct Fives(Mutex<Vec<u8>>);

    impl Log for Fives {
        fn end(&self) -> i64 {
            self.0.lock().unwrap().len() as i64
        }

        fn last(&self) -> Option<(i64, Bytes)> {
            let log = self.0.lock().unwrap();
            let at = log.len().checked_sub(5)?;
            Some((at as i64, Bytes::copy_from_slice(&log[at..])))
        }

        fn append(&self, at: i64, bytes: &[u8]) -> Result<usize, ReplicaError> {
            let mut log = self.0.lock().unwrap();
            assert_eq!(at, log.len() as i64, "only ever at the end");
            let mut taken = 0;
            for record in bytes.chunks(5) {
                if record[0] != 1 {
                    return Err(ReplicaError::NoMessage { at: at + taken as i64 });
                }
                if record.len() == 5 {
                    log.extend_from_slice(record);
                    taken += 5;
                }
            }
            Ok(taken)
        }
    }

    fn frame(at: i64, body: &[u8]) -> Vec<u8> {
        [&Header { physical_offset: at, body_bytes: body.len() }.encode()[..], body].concat()
    }

    /// However the bytes are cut into frames, and the frames into reads, the log is the master's.
    #[test]
    fn any_cut_gives_the_same_log() {
        let master: Vec<u8> = (0..200).flat_map(|number| [1, number, 0, 0, number]).collect();
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut sent = Vec::new();
            let mut at = 0;
            while at < master.len() {
                let to = (at + random.usize(0..40)).min(master.len());
                sent.extend(frame(at as i64, &master[at..to]));
                at = to;
            }
            let log = Fives::default();
            let mut intake = Intake::new(&log);
            let mut rest = &sent[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(random.usize(1..=rest.len().min(60)));
                intake.buffer().extend_from_slice(now);
                intake.take(&log).unwrap();
                rest = later;
            }
            assert!(*log.0.lock().unwrap() == master, "seed {seed}");
        }
    }

    /// Another place, another last message, or something else than messages, at the beginning of a connection shows
    /// another log; later it ends the connection. Nothing but whole messages is ever appended.
    #[test]
    fn disagreement() {
        let (good, other) = ([1, 2, 3, 4, 5], [1, 2, 3, 4, 6]);
        let fresh = || {
            let log = Fives::default();
            log.append(0, &[good, good].concat()).unwrap();
            let intake = Intake::new(&log);
            (log, intake)
        };
        let feed = |bytes: &[u8]| {
            let (log, mut intake) = fresh();
            intake.buffer().extend_from_slice(bytes);
            let trouble = intake.take(&log).unwrap_err();
            (intake.disagrees(&trouble), log.end(), trouble)
        };
        let (disagrees, end, trouble) = feed(&frame(0, &[]));
        assert!(disagrees && end == 10 && matches!(trouble, Trouble::Elsewhere { master: 0, here: 5 }));
        let (disagrees, end, trouble) = feed(&frame(5, &other));
        assert!(disagrees && end == 10 && matches!(trouble, Trouble::Differs(5)), "{trouble}");
        let (disagrees, end, trouble) = feed(&[frame(5, &good[..4]), frame(9, &other[4..])].concat());
        assert!(disagrees && end == 10 && matches!(trouble, Trouble::Differs(9)), "{trouble}");
        let (disagrees, end, _) = feed(&[frame(5, &good), frame(10, &[7; 5])].concat());
        assert!(disagrees && end == 10);
        let (disagrees, end, _) = feed(&[frame(5, &good), frame(10, &good), frame(15, &[7; 5])].concat());
        assert!(!disagrees && end == 15);
        let (disagrees, _, trouble) = feed(&[0xff; 12]);
        assert!(!disagrees && matches!(trouble, Trouble::Frame(_)));
    }

    /// The last message is asked for again, is not appended twice, and counts for the master only when it came.
    #[test]
    fn the_last_message_again() {
        let (log, good) = (Fives::default(), [1, 2, 3, 4, 5]);
        assert_eq!(Intake::new(&log).reached(&log), 0);
        log.append(0, &[good, good].concat()).unwrap();
        let mut intake = Intake::new(&log);
        assert_eq!(intake.reached(&log), 5);
        for (sent, reached) in [
            (frame(5, &[]), 5),
            (frame(5, &good[..2]), 7),
            (frame(7, &[&good[2..], &good[..1]].concat()), 10),
            (frame(11, &good[1..]), 15),
        ] {
            intake.buffer().extend_from_slice(&sent);
            assert_eq!(intake.take(&log).unwrap(), 1);
            assert_eq!(intake.reached(&log), reached);
        }
        assert_eq!(log.end(), 15);
    }
}
