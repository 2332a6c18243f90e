//! Who answers which request code: the one dispatcher of every role.
//!
//! A role builds its [`Routes`] once, a line per code; the handler's own argument type decides how the header
//! is decoded. A handler runs in the connection's task and returns at once, either an [`Answer`] or, when it
//! must wait for a message, a disk or a slave, a future that the connection polls beside its socket. A
//! [`Lane`] bounds how many requests of a kind may wait like that, as the thread pools of the reference do, and how
//! many of one connection; a request beyond is refused before its handler has done anything. Failures of answers can be
//! ordered here ([`crate::faults`]).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use bytestring::ByteString;

use super::connection::Peer;
use crate::faults::{FaultPoint, Faults};
use crate::wire::DecodeError;
use crate::wire::code::{LanguageCode, request, response};
use crate::wire::command::{Command, Reply};
use crate::wire::fields::Header;

/// What a handler returns: the reply, or why there is none.
pub type Answer = Result<Reply, Refusal>;

/// A request that is refused: the only kind of error a client ever sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Response code.
    pub code: i32,
    /// Text for people, in the wording that real clients match on.
    pub remark: String,
}

impl Refusal {
    /// Makes a refusal.
    pub fn new(code: i32, remark: impl ToString) -> Self {
        Self { code, remark: remark.to_string() }
    }
}

impl From<DecodeError> for Refusal {
    fn from(cause: DecodeError) -> Self {
        Self::new(response::SYSTEM_ERROR, cause)
    }
}

/// How a request goes on after its handler has run.
pub enum Outcome {
    /// It is answered now.
    Now(Answer),
    /// It is answered when this future is ready; dropped when the connection ends before.
    Later(Pin<Box<dyn Future<Output = Answer> + Send>>),
    /// It is never answered, as the reference does for a few codes.
    Never,
}

impl Outcome {
    /// Answers when `future` is ready.
    pub fn later(future: impl Future<Output = Answer> + Send + 'static) -> Self {
        Self::Later(Box::pin(future))
    }

    /// Answers the same, but not before `first` is over.
    pub fn after(self, first: impl Future<Output = ()> + Send + 'static) -> Self {
        match self {
            Self::Now(answer) => Self::later(async move {
                first.await;
                answer
            }),
            Self::Later(answer) => Self::later(async move {
                first.await;
                answer.await
            }),
            Self::Never => Self::Never,
        }
    }
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        Self::Now(answer)
    }
}

/// One request, its header decoded.
pub struct Call<H> {
    /// The typed header.
    pub header: H,
    /// Request code.
    pub code: i32,
    /// The body; empty when there is none.
    pub body: Bytes,
    /// Text that came with the request.
    pub remark: Option<ByteString>,
    /// Whether the sender wants no answer.
    pub oneway: bool,
    /// The connection it came on.
    pub peer: Arc<Peer>,
    /// Version of the sender, an ordinal of `MQVersion`.
    pub version: i32,
    /// Language of the sender.
    pub language: LanguageCode,
}

/// A role that serves requests.
pub trait Service: Send + Sync + 'static {
    /// Learns that a connection has ended.
    fn disconnected(&self, peer: &Arc<Peer>);
}

/// A group of request codes with one bound on how many may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Sends.
    Write,
    /// Pulls and queries.
    Read,
    /// What clients do beside sending and pulling.
    Client,
    /// Administration, and everything between servers.
    Admin,
}

impl Lane {
    const ALL: [Lane; 4] = [Lane::Write, Lane::Read, Lane::Client, Lane::Admin];

    /// Requests that may wait at once (`sendThreadPoolQueueCapacity` and its like).
    const fn waiting_max(self) -> usize {
        match self {
            Lane::Read => 100_000,
            Lane::Write | Lane::Client | Lane::Admin => 10_000,
        }
    }

    /// Requests of one connection that may wait at once, so that nobody takes everybody's places. A client has a
    /// pull of each of its queues waiting, so thousands are nothing unusual.
    const fn waiting_max_of_one(self) -> usize {
        match self {
            Lane::Read => 20_000,
            Lane::Write | Lane::Client | Lane::Admin => 8_000,
        }
    }

    /// Returns the name used in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Lane::Write => "write",
            Lane::Read => "read",
            Lane::Client => "client",
            Lane::Admin => "admin",
        }
    }
}

type Handler<S> = Box<dyn Fn(&Arc<S>, Command, &Arc<Peer>) -> Outcome + Send + Sync>;

struct Route<S> {
    lane: Lane,
    handler: Handler<S>,
    calls: AtomicU64,
}

/// The request table of one role.
pub struct Routes<S> {
    /// In the order of the codes: a search among a hundred is cheaper than hashing.
    table: Vec<(i32, Route<S>)>,
    waiting: [Arc<AtomicUsize>; 4],
    bounds: [Bound; 4],
    faults: Faults,
}

/// How many requests of a lane may wait at once.
#[derive(Clone, Copy)]
struct Bound {
    all: usize,
    of_one: usize,
}

impl<S: 'static> Default for Routes<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: 'static> Routes<S> {
    /// Makes a table that answers nothing.
    pub fn new() -> Self {
        let bounds =
            Lane::ALL.map(|lane| Bound { all: lane.waiting_max(), of_one: lane.waiting_max_of_one() });
        Self { table: Vec::new(), waiting: Default::default(), bounds, faults: Faults::default() }
    }

    /// Lets failures of answers be ordered in this table.
    #[must_use]
    pub fn failing(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Lets at most `all` requests of a lane wait at once, and `of_one` of one connection.
    #[must_use]
    pub fn waiting_at_most(mut self, lane: Lane, all: usize, of_one: usize) -> Self {
        self.bounds[lane as usize] = Bound { all, of_one };
        self
    }

    /// Routes `code` to `handler`.
    ///
    /// # Panics
    /// When the code has a route already: a table is part of the program, not input.
    #[must_use]
    pub fn on<H, F, O>(mut self, code: i32, lane: Lane, handler: F) -> Self
    where
        H: Header,
        F: Fn(&Arc<S>, Call<H>) -> O + Send + Sync + 'static,
        O: Into<Outcome>,
    {
        let handler: Handler<S> = Box::new(move |state, command, peer| {
            let header = match H::decode(&command.fields) {
                Ok(header) => header,
                Err(cause) => return Outcome::Now(Err(cause.into())),
            };
            let call = Call {
                header,
                oneway: command.is_oneway(),
                code: command.code,
                body: command.body,
                remark: command.remark,
                peer: peer.clone(),
                version: command.version,
                language: command.language,
            };
            handler(state, call).into()
        });
        let route = Route { lane, handler, calls: AtomicU64::new(0) };
        match self.table.binary_search_by_key(&code, |(known, _)| *known) {
            Ok(_) => panic!("request code {code} has two routes"),
            Err(place) => self.table.insert(place, (code, route)),
        }
        self
    }

    /// Takes codes out of the table, for a port that serves fewer.
    #[must_use]
    pub fn without(mut self, codes: &[i32]) -> Self {
        self.table.retain(|(code, _)| !codes.contains(code));
        self
    }

    /// Returns every routed code with the number of requests so far.
    pub fn calls(&self) -> impl Iterator<Item = (i32, Lane, u64)> + '_ {
        self.table.iter().map(|(code, route)| (*code, route.lane, route.calls.load(Ordering::Relaxed)))
    }

    /// Returns how many requests of each lane wait now.
    pub fn waiting(&self) -> impl Iterator<Item = (Lane, usize)> + '_ {
        Lane::ALL.into_iter().map(|lane| (lane, self.waiting[lane as usize].load(Ordering::Relaxed)))
    }

    /// Answers one request, now or later.
    pub fn serve(&self, state: &Arc<S>, command: Command, peer: &Arc<Peer>) -> Outcome {
        let code = command.code;
        let Ok(place) = self.table.binary_search_by_key(&code, |(known, _)| *known) else {
            tracing::debug!(code, name = request::name(code), peer = %peer.address(), "request code not supported");
            return Outcome::Now(Err(unsupported(code)));
        };
        let route = &self.table[place].1;
        route.calls.fetch_add(1, Ordering::Relaxed);
        // Before the handler, whose work would be done and then be called refused: a client sends such a message again.
        // The places are counted when they are taken, so requests served side by side may overshoot by a few.
        let lane = route.lane;
        let (count, bound) = (&self.waiting[lane as usize], self.bounds[lane as usize]);
        if peer.waiting[lane as usize].load(Ordering::Relaxed) >= bound.of_one {
            return Outcome::Now(Err(busy(lane, "requests of this connection", bound.of_one)));
        }
        if count.load(Ordering::Relaxed) >= bound.all {
            return Outcome::Now(Err(busy(lane, "requests", bound.all)));
        }
        match (route.handler)(state, command, peer) {
            Outcome::Later(future) => {
                let place = Waiting::take(count, lane, peer);
                Outcome::later(async move {
                    let _place = place;
                    future.await
                })
            }
            outcome => outcome,
        }
    }
}

impl<S> Routes<S> {
    /// Returns what an answer has become by ordered failures; nothing when it is not to be sent.
    #[inline]
    pub(super) fn spoiled(&self, code: i32, answer: Answer) -> Option<Answer> {
        if self.faults.none_ordered() { Some(answer) } else { self.spoil(code, answer) }
    }

    #[cold]
    fn spoil(&self, code: i32, answer: Answer) -> Option<Answer> {
        let name = request::name(code).unwrap_or_default();
        if self.faults.strikes(FaultPoint::DropAnswer(code), name) {
            return None;
        }
        if self.faults.strikes(FaultPoint::BeforeAnswer, name) {
            return Some(Err(Refusal::new(
                response::SYSTEM_ERROR,
                "a fault was ordered: the request took effect",
            )));
        }
        Some(answer)
    }
}

/// Refuses a request whose lane is full (`NettyRemotingAbstract.processRequestCommand`, whose pools are so by then).
#[cold]
fn busy(lane: Lane, whose: &str, most: usize) -> Refusal {
    let lane = lane.name();
    let remark = format!(
        "[OVERLOAD]system busy, start flow control for a while: {most} {whose} wait in the {lane} lane, no more may"
    );
    Refusal::new(response::SYSTEM_BUSY, remark)
}

/// Refuses a code that nobody serves (`NettyRemotingAbstract.processRequestCommand`).
pub fn unsupported(code: i32) -> Refusal {
    Refusal::new(response::REQUEST_CODE_NOT_SUPPORTED, format!(" request type {code} not supported"))
}

/// A place among the waiting requests of a lane and of a connection; given back when dropped.
struct Waiting {
    all: Arc<AtomicUsize>,
    lane: Lane,
    peer: Arc<Peer>,
}

impl Waiting {
    fn take(all: &Arc<AtomicUsize>, lane: Lane, peer: &Arc<Peer>) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        peer.waiting[lane as usize].fetch_add(1, Ordering::Relaxed);
        Self { all: all.clone(), lane, peer: peer.clone() }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
        self.peer.waiting[self.lane as usize].fetch_sub(1, Ordering::Relaxed);
    }
}
