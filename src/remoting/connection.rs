//! One peer: reads its frames, runs its calls, writes the answers, and calls it back.
//!
//! The connection is one task. Frames that one read brought are decoded, executed and answered together, with
//! one vectored write for all their answers; a reply's body that is a slice of a mapped file goes out without
//! being copied. A connection may begin with a load balancer's header ([`super::forwarded`]) and may speak TLS
//! ([`super::tls`]). Once a few MiB of answers wait for a peer nothing more of it is served and no request
//! of ours is added, so what a peer that does not read can pile up is bounded. A connection that rests holds no
//! buffers. Mirrors the pipeline that `NettyRemotingServer` builds per channel.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream::FuturesUnordered;
use futures_util::task::AtomicWaker;
use futures_util::{FutureExt, StreamExt};
use smallvec::SmallVec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::forwarded::{self, Beginning};
use super::routes::{Answer, Outcome, Routes, Service};
use super::tls::{self, Tls};
use crate::clock::Clock;
use crate::wire::command::{Body, Command, FRAME_BYTES_MAX, Reply, Request, frame_length};

/// Size of the first read; a peer that fills it gets a larger buffer.
const READ_BYTES_MIN: usize = 4 * 1024;
/// Size of a read from a busy peer.
const READ_BYTES: usize = 128 * 1024;
/// Bodies up to this size are copied behind their header; larger ones are written from where they are.
const COPY_BYTES_MAX: usize = 1024;
/// Requests of ours to one peer that may wait to be written; more are refused.
const OUTBOX_MAX: usize = 1024;
/// Bodies of these may be this many times as large as the answers that wait; more are refused.
const OUTBOX_SHARE: usize = 4;
/// Answers to one peer that may wait to be written; past it nothing more of this peer is served.
pub(super) const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A longer remark is cut: with a text of the peer in it, the header could be longer than its length field can say.
const REMARK_BYTES_MAX: usize = 32 * 1024;
/// Room for encoded answers that a connection keeps between writes.
const TAIL_BYTES_KEPT: usize = 64 * 1024;
/// Pieces handed to one vectored write (the kernel's `UIO_MAXIOV`).
const WRITE_PIECES_MAX: usize = 1024;
/// Time that a peer gets to take its last answers when the server stops.
const GOODBYE: Duration = Duration::from_secs(3);

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// The other end of a connection, as handlers see it.
pub struct Peer {
    id: u64,
    address: SocketAddr,
    /// Whose connection a load balancer passes on.
    forwarded_for: OnceLock<SocketAddr>,
    local: SocketAddr,
    outbox: mpsc::Sender<Outgoing>,
    /// Bytes of the bodies in the outbox, and how many of them make it refuse more.
    outbox_bytes: AtomicUsize,
    outbox_bytes_max: usize,
    /// Requests of the peer that wait, by lane.
    pub(super) waiting: [AtomicUsize; 4],
    /// Requests of ours that wait for an answer, by opaque.
    pending: Mutex<HashMap<i32, oneshot::Sender<Command>>>,
    next_opaque: AtomicI32,
    last_active_ms: AtomicI64,
    closed: AtomicBool,
    /// Whether the connection holds buffers worth giving back when it rests.
    buffered: AtomicBool,
    closing: AtomicBool,
    resting: AtomicBool,
    /// Wakes the connection to close or to rest. Not a future of its own: each of those costs every request a lock.
    task: AtomicWaker,
}

struct Outgoing {
    request: Request,
    opaque: i32,
    oneway: bool,
}

/// Why a request of ours to a peer has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The connection has ended, or its outbox is full.
    #[error("the peer cannot be reached")]
    Unreachable,
    /// No answer came in time.
    #[error("the peer did not answer in time")]
    TimedOut,
}

impl fmt::Debug for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Peer({}, {})", self.id, self.address)
    }
}

impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Peer {
    /// Returns a number that no other connection of this process has or had.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns the other end's address: the one that a load balancer in front names, if it speaks the PROXY protocol.
    #[inline]
    pub fn address(&self) -> SocketAddr {
        self.forwarded_for.get().copied().unwrap_or(self.address)
    }

    /// Returns the address of ours that the other end reached.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Returns when something was last read or written, in milliseconds since 1970.
    pub fn last_active_ms(&self) -> i64 {
        self.last_active_ms.load(Ordering::Relaxed)
    }

    /// Says whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Ends the connection; answers already made are still written.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.task.wake();
    }

    /// Makes a connection that has been quiet since `quiet_ms` give back its buffers.
    pub(super) fn rest(&self, quiet_ms: i64) {
        if self.last_active_ms() < quiet_ms && self.buffered.swap(false, Ordering::Relaxed) {
            self.resting.store(true, Ordering::Release);
            self.task.wake();
        }
    }

    pub(super) fn mark_closed(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Sends a request that has no answer; says whether the connection took it.
    pub fn oneway(&self, request: Request) -> bool {
        let opaque = self.next_opaque.fetch_add(1, Ordering::Relaxed);
        self.post(Outgoing { request, opaque, oneway: true })
    }

    /// Leaves a request for the connection to write; says whether there was room.
    fn post(&self, outgoing: Outgoing) -> bool {
        let bytes = outgoing.request.body.len();
        if self.outbox_bytes.fetch_add(bytes, Ordering::Relaxed) < self.outbox_bytes_max
            && self.outbox.try_send(outgoing).is_ok()
        {
            return true;
        }
        self.outbox_bytes.fetch_sub(bytes, Ordering::Relaxed);
        false
    }

    /// Sends a request and waits for the answer, at most `limit`.
    pub async fn call(&self, request: Request, limit: Duration) -> Result<Command, CallError> {
        let opaque = self.next_opaque.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).insert(opaque, sender);
        let result = if self.post(Outgoing { request, opaque, oneway: false }) {
            match tokio::time::timeout(limit, answer).await {
                Ok(answer) => answer.map_err(|_| CallError::Unreachable),
                Err(_) => Err(CallError::TimedOut),
            }
        } else {
            Err(CallError::Unreachable)
        };
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&opaque);
        result
    }

    fn answered(&self, command: Command) {
        let waiting = self.pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&command.opaque);
        match waiting {
            Some(waiting) => drop(waiting.send(command)),
            None => {
                tracing::debug!(peer = %self.address, opaque = command.opaque, "an answer nobody waits for");
            }
        }
    }
}

/// The task of one connection.
pub struct Connection<S> {
    stream: TcpStream,
    peer: Arc<Peer>,
    routes: Arc<Routes<S>>,
    state: Arc<S>,
    clock: Clock,
    outbox: mpsc::Receiver<Outgoing>,
    waiting: FuturesUnordered<Waiting>,
    read: BytesMut,
    read_bytes: usize,
    write: WriteQueue,
    /// Whether nothing has come yet, so that what comes may be a load balancer's header or TLS.
    fresh: bool,
    tls: Option<Box<Tls>>,
}

type Waiting = Pin<Box<dyn Future<Output = (Asked, Answer)> + Send>>;

/// What an answer has to know of its request.
#[derive(Clone, Copy)]
struct Asked {
    code: i32,
    opaque: i32,
    oneway: bool,
}

/// Makes the two sides of a connection: the peer that handlers hold and the task that serves it.
///
/// While `answer_bytes_max` bytes or more wait to be written nothing is read, and requests of ours stay in the outbox,
/// which refuses more once it is full. A connection of our own has no
/// such limit: what it writes is what we asked for, and it must go on reading the answers.
pub fn open<S: Service>(
    stream: TcpStream,
    address: SocketAddr,
    routes: Arc<Routes<S>>,
    state: Arc<S>,
    clock: Clock,
    answer_bytes_max: usize,
) -> io::Result<(Arc<Peer>, Connection<S>)> {
    stream.set_nodelay(true)?;
    let (sender, outbox) = mpsc::channel(OUTBOX_MAX);
    let peer = Arc::new(Peer {
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        address,
        local: stream.local_addr()?,
        outbox: sender,
        outbox_bytes: AtomicUsize::new(0),
        waiting: Default::default(),
        outbox_bytes_max: answer_bytes_max.saturating_mul(OUTBOX_SHARE),
        pending: Mutex::default(),
        next_opaque: AtomicI32::new(1),
        last_active_ms: AtomicI64::new(clock.liveness_ms()),
        closed: AtomicBool::new(false),
        buffered: AtomicBool::new(false),
        closing: AtomicBool::new(false),
        forwarded_for: OnceLock::new(),
        resting: AtomicBool::new(false),
        task: AtomicWaker::new(),
    });
    let connection = Connection {
        stream,
        peer: peer.clone(),
        routes,
        state,
        clock,
        outbox,
        waiting: FuturesUnordered::new(),
        read: BytesMut::new(),
        read_bytes: READ_BYTES_MIN,
        write: WriteQueue::new(answer_bytes_max),
        fresh: false,
        tls: None,
    };
    Ok((peer, connection))
}

/// What woke a connection.
enum Event {
    /// So many bytes came; none when the peer is gone.
    Read(usize),
    Writable,
    Answered(Asked, Answer),
    Outgoing(Outgoing),
    Rest,
    Stop,
}

impl<S: Service> Connection<S> {
    /// Lets an accepted connection begin with the PROXY protocol, TLS, or both.
    #[must_use]
    pub fn accepted(mut self) -> Self {
        self.fresh = true;
        self
    }

    /// Serves the peer until it goes, breaks the protocol, or is closed.
    pub async fn run(mut self) {
        let end = self.serve().await;
        if let Err(cause) = end {
            if cause.kind() == io::ErrorKind::InvalidData {
                tracing::warn!(peer = %self.peer.address, "closed: {cause}");
            } else {
                tracing::debug!(peer = %self.peer.address, "closed: {cause}");
            }
        }
    }

    async fn serve(&mut self) -> io::Result<()> {
        // Set once the peer hears nothing more. What it said before it went still counts: consumers commit their
        // last offsets one way and close at once.
        let mut deaf = None;
        loop {
            let event = poll_fn(|context| self.poll_next(context)).await?;
            if !matches!(event, Event::Rest | Event::Stop) {
                self.peer.last_active_ms.store(self.clock.liveness_ms(), Ordering::Relaxed);
            }
            match event {
                Event::Read(0) if self.read.is_empty() => return deaf.map_or(Ok(()), Err),
                Event::Read(0) => return Err(invalid("the peer went in the middle of a frame")),
                Event::Read(_) | Event::Writable => {}
                Event::Answered(asked, answer) => self.answer(asked, answer),
                Event::Outgoing(outgoing) => self.send(&outgoing),
                Event::Rest => self.rest(),
                Event::Stop => return self.say_goodbye().await,
            }
            if self.fresh && !self.read.is_empty() && !self.begin()? {
                continue;
            }
            loop {
                self.serve_frames()?;
                // A peer that never stops sending must not keep these two waiting.
                while !self.waiting.is_empty()
                    && let Some(Some((asked, answer))) = self.waiting.next().now_or_never()
                {
                    self.answer(asked, answer);
                }
                // What finds no room stays in the outbox, so that a peer that does not read fills it.
                while !self.write.is_full()
                    && let Ok(outgoing) = self.outbox.try_recv()
                {
                    self.send(&outgoing);
                }
                if self.wants_write()
                    && deaf.is_none()
                    && let Err(cause) = self.write_now()
                {
                    deaf = Some(cause);
                }
                if deaf.is_some() {
                    self.write.clear();
                }
                // Frames may have been left for want of room; no further byte of the peer will remind us of them.
                if self.write.is_full() || !self.has_frame()? {
                    break;
                }
            }
        }
    }

    /// Says whether something waits for the socket.
    fn wants_write(&self) -> bool {
        !self.write.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Writes what the socket takes now.
    fn write_now(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.flush(&self.stream)?;
        }
        self.write.write_to(&self.stream, self.tls.as_deref_mut())
    }

    /// Looks at the first bytes: takes off a load balancer's header and turns to TLS if the peer does. False while more
    /// bytes must come to tell.
    fn begin(&mut self) -> io::Result<bool> {
        match forwarded::beginning(&self.read) {
            Beginning::Incomplete => return Ok(false),
            Beginning::Broken => return Err(invalid("a broken header of the PROXY protocol")),
            Beginning::Header(length, source) => {
                self.read.advance(length);
                if let Some(source) = source {
                    tracing::debug!(peer = %self.peer.address, %source, "passed on by a load balancer");
                    let _ = self.peer.forwarded_for.set(source);
                }
            }
            Beginning::Plain => {}
        }
        match self.read.first() {
            None => return Ok(false),
            Some(&tls::HANDSHAKE) => {
                let mut session = Box::new(Tls::accept(&self.read.split())?);
                session.flush(&self.stream)?;
                self.tls = Some(session);
            }
            Some(_) => {}
        }
        self.fresh = false;
        Ok(true)
    }

    /// Says whether a whole frame waits to be served.
    fn has_frame(&self) -> io::Result<bool> {
        let length = frame_length(&self.read, FRAME_BYTES_MAX).map_err(invalid)?;
        Ok(length.is_some_and(|length| self.read.len() >= length))
    }

    /// Waits for whatever comes first.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Event>> {
        // Before the flags are looked at, so that one set just now is seen or wakes us.
        self.peer.task.register(context.waker());
        if !self.write.is_full()
            && let Poll::Ready(read) = self.poll_read(context)
        {
            return Poll::Ready(read.map(Event::Read));
        }
        if self.wants_write()
            && let Poll::Ready(writable) = self.stream.poll_write_ready(context)
        {
            return Poll::Ready(writable.map(|()| Event::Writable));
        }
        if !self.waiting.is_empty()
            && let Poll::Ready(Some((asked, answer))) = self.waiting.poll_next_unpin(context)
        {
            return Poll::Ready(Ok(Event::Answered(asked, answer)));
        }
        if !self.write.is_full()
            && let Poll::Ready(Some(outgoing)) = self.outbox.poll_recv(context)
        {
            return Poll::Ready(Ok(Event::Outgoing(outgoing)));
        }
        // Last, so that what a peer has sent is served before its connection ends.
        if self.peer.closing.load(Ordering::Acquire) {
            return Poll::Ready(Ok(Event::Stop));
        }
        if self.peer.resting.swap(false, Ordering::Acquire) {
            return Poll::Ready(Ok(Event::Rest));
        }
        Poll::Pending
    }

    /// Reads once and returns how many bytes came; no buffer is held while there is nothing to read.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(tls) = &mut self.tls {
            return tls.poll_read(&self.stream, context, &mut self.read);
        }
        std::task::ready!(self.stream.poll_read_ready(context))?;
        if self.read.capacity() - self.read.len() < READ_BYTES_MIN {
            self.read.reserve(self.read_bytes);
        }
        let room = self.read.capacity() - self.read.len();
        let got = std::task::ready!(pin!(self.stream.read_buf(&mut self.read)).poll(context))?;
        if got == room {
            self.read_bytes = READ_BYTES;
        }
        Poll::Ready(Ok(got))
    }

    /// Serves the whole frames that have been read, as long as their answers find room.
    fn serve_frames(&mut self) -> io::Result<()> {
        while !self.write.is_full() {
            let Some(length) = frame_length(&self.read, FRAME_BYTES_MAX).map_err(invalid)? else { break };
            if self.read.len() < length {
                // A large frame gets room for its rest, which is no more than the limit of a frame.
                self.read.reserve(length - self.read.len());
                break;
            }
            let frame = self.read.split_to(length);
            self.serve_frame(Command::decode(frame).map_err(invalid)?);
        }
        if self.read.is_empty() {
            if self.read_bytes == READ_BYTES_MIN {
                self.read = BytesMut::new();
            } else {
                // Allocating this much anew for every read would cost more than the requests in it.
                self.peer.buffered.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn serve_frame(&mut self, command: Command) {
        if command.is_response() {
            return self.peer.answered(command);
        }
        let asked = Asked { code: command.code, opaque: command.opaque, oneway: command.is_oneway() };
        match self.routes.serve(&self.state, command, &self.peer) {
            Outcome::Now(answer) => self.answer(asked, answer),
            Outcome::Later(future) => {
                self.waiting.push(Box::pin(async move { (asked, future.await) }));
            }
            Outcome::Never => {}
        }
    }

    fn answer(&mut self, asked: Asked, answer: Answer) {
        if asked.oneway {
            if let Err(refusal) = answer {
                tracing::debug!(peer = %self.peer.address, code = refusal.code, "oneway refused: {}", refusal.remark);
            }
            return;
        }
        let Some(answer) = self.routes.spoiled(asked.code, answer) else { return };
        let mut reply =
            answer.unwrap_or_else(|refusal| Reply::with_code(refusal.code).remark(refusal.remark));
        if let Some(remark) = &mut reply.remark
            && remark.len() > REMARK_BYTES_MAX
        {
            let end = remark.floor_char_boundary(REMARK_BYTES_MAX);
            *remark = format!("{}… ({} bytes)", &remark[..end], remark.len()).into();
        }
        self.write.reply(asked.opaque, reply);
    }

    fn send(&mut self, outgoing: &Outgoing) {
        self.peer.outbox_bytes.fetch_sub(outgoing.request.body.len(), Ordering::Relaxed);
        outgoing.request.encode(outgoing.opaque, outgoing.oneway, &mut self.write.tail);
    }

    /// Gives back the buffers of a busier time.
    fn rest(&mut self) {
        if self.read.is_empty() {
            self.read = BytesMut::new();
            self.read_bytes = READ_BYTES_MIN;
        }
        if self.write.is_empty() {
            self.write.tail = BytesMut::new();
        }
    }

    /// Answers what still waits, as far as it becomes ready soon, and closes.
    async fn say_goodbye(&mut self) -> io::Result<()> {
        let last = async {
            while let Some((asked, answer)) = self.waiting.next().await {
                self.answer(asked, answer);
            }
            while self.wants_write() {
                self.stream.writable().await?;
                self.write_now()?;
            }
            if let Some(tls) = &mut self.tls {
                tls.close(&self.stream)?;
            }
            self.stream.shutdown().await
        };
        tokio::time::timeout(GOODBYE, last).await.unwrap_or(Ok(()))
    }
}

fn invalid(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause)
}

/// Answers that wait to be written: finished pieces, then the bytes being encoded.
struct WriteQueue {
    pieces: VecDeque<Bytes>,
    pieces_bytes: usize,
    tail: BytesMut,
    bytes_max: usize,
}

impl WriteQueue {
    fn new(bytes_max: usize) -> Self {
        Self { pieces: VecDeque::new(), pieces_bytes: 0, tail: BytesMut::new(), bytes_max }
    }

    fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.tail.is_empty()
    }

    /// Says whether no further request of this peer may be served for now.
    fn is_full(&self) -> bool {
        self.pieces_bytes + self.tail.len() >= self.bytes_max
    }

    fn clear(&mut self) {
        self.pieces.clear();
        self.pieces_bytes = 0;
        self.tail.clear();
    }

    fn reply(&mut self, opaque: i32, reply: Reply) {
        reply.encode_head(opaque, &mut self.tail);
        match reply.body {
            Body::Empty => {}
            Body::One(piece) => self.body(piece),
            Body::Many(pieces) => pieces.into_iter().for_each(|piece| self.body(piece)),
        }
    }

    fn body(&mut self, piece: Bytes) {
        if piece.len() <= COPY_BYTES_MAX {
            self.tail.extend_from_slice(&piece);
        } else {
            if !self.tail.is_empty() {
                let head = self.tail.split().freeze();
                self.pieces_bytes += head.len();
                self.pieces.push_back(head);
            }
            self.pieces_bytes += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// Writes what the socket takes now, and comes back when it takes no more.
    fn write_to(&mut self, stream: &TcpStream, mut tls: Option<&mut Tls>) -> io::Result<()> {
        while !self.is_empty() {
            let wrote = if let Some(tls) = &mut tls {
                tls.try_write(stream, self.pieces.front().map_or(&self.tail[..], |piece| &piece[..]))
            } else if self.pieces.is_empty() {
                stream.try_write(&self.tail)
            } else {
                let pieces = self.pieces.iter().map(|piece| &piece[..]).chain([&self.tail[..]]);
                let slices: SmallVec<[_; 64]> = pieces.take(WRITE_PIECES_MAX).map(IoSlice::new).collect();
                stream.try_write_vectored(&slices)
            };
            match wrote {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written),
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(cause) => return Err(cause),
            }
        }
        if self.tail.capacity() <= TAIL_BYTES_KEPT {
            self.tail.clear();
        } else {
            self.tail = BytesMut::new();
        }
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            let step = written.min(piece.len());
            piece.advance(step);
            self.pieces_bytes -= step;
            written -= step;
            if !piece.is_empty() {
                return;
            }
            self.pieces.pop_front();
        }
        self.tail.advance(written);
    }
}
