//! One blocking socket to a broker, and how to find that broker.
//!
//! In: an address and frames. Out: answers, taken from one read buffer without copying. There is no thread
//! and no request table here: the load loops know what they have in flight. Stands where a client library's
//! `MQClientInstance` would, with only the first master of a topic's route ever used.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::frame::{Answer, code, next_answer, push_request};

/// A server that has not answered anything for this long is given up.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Holds a pull answer of 32 large messages; grows for larger frames.
const READ_BUFFER_BYTES: usize = 512 * 1024;
/// Linux writes at most this many pieces at once (`UIO_MAXIOV`).
const PIECES_MAX: usize = 1_024;

/// A connection with its read buffer.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Connection {
    /// Connects with Nagle's algorithm off.
    pub(super) fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_WAIT)
            .with_context(|| format!("cannot connect to {address}"))?;
        Self::over(stream).with_context(|| format!("cannot prepare the connection to {address}"))
    }

    /// Wraps a connected socket.
    pub(super) fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        stream.set_write_timeout(Some(ANSWER_WAIT))?;
        Ok(Self { stream, buffer: Vec::new(), start: 0, end: 0 })
    }

    /// Writes all of `bytes`.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Writes all pieces with as few system calls as the socket allows.
    pub(super) fn write_pieces(&mut self, pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut rest = pieces;
        while !rest.is_empty() {
            let count = rest.len().min(PIECES_MAX);
            match self.stream.write_vectored(&rest[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut rest, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits at most `limit` for something to read; says whether there is.
    pub(super) fn readable_within(&self, limit: Duration) -> io::Result<bool> {
        if self.start < self.end && matches!(next_answer(&self.buffer[self.start..self.end]), Ok(Some(_))) {
            return Ok(true);
        }
        let timeout = Timespec {
            tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&self.stream, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Blocks for one read and gives every whole answer now in the buffer to `each`; there may be none yet.
    pub(super) fn read(&mut self, mut each: impl FnMut(Answer<'_>)) -> anyhow::Result<()> {
        self.make_room();
        let count = match self.stream.read(&mut self.buffer[self.end..]) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                bail!("no answer within {} s", ANSWER_WAIT.as_secs())
            }
            Err(error) => return Err(error.into()),
        };
        self.end += count;
        while let Some((answer, used)) = next_answer(&self.buffer[self.start..self.end])? {
            each(answer);
            self.start += used;
        }
        Ok(())
    }

    /// Sends one request and waits for its answer; for the few calls outside of the load.
    pub(super) fn call<T>(
        &mut self,
        request: &[u8],
        mut answer: impl FnMut(Answer<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        self.write(request)?;
        let mut result = None;
        while result.is_none() {
            self.read(|it| {
                if it.slot.is_some() {
                    result = Some(answer(it));
                }
            })?;
        }
        result.expect("the loop ends with a result")
    }

    /// Keeps at least half of the buffer free for the next read; moves bytes only when it must.
    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.buffer.is_empty() {
            // Fresh zero pages, so that a thousand idle connections do not touch theirs.
            self.buffer = vec![0; READ_BUFFER_BYTES];
        }
        if self.end * 2 > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end * 2 > self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
    }
}

/// Where to send, and how many queues are there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    /// The broker's address.
    pub(super) broker: SocketAddr,
    /// The topic's queues when the NameServer knew the topic.
    pub(super) queues: Option<u32>,
}

/// Asks the NameServer for the first master that serves `topic`, or, for a new topic, the one on which it
/// may be created (`TBW102`). For a topic that is to get `queues` of its own the latter comes first, because being asked
/// for may give a topic its number of queues.
pub(super) fn find_broker(namesrv: &str, topic: &str, queues: Option<u32>) -> anyhow::Result<Target> {
    let open = |address: &str| {
        let address = resolve(address).context("--namesrv")?;
        Connection::open(address).context("the NameServer does not answer")
    };
    let mut opened = namesrv.split(';').map(str::trim).filter(|address| !address.is_empty()).map(open);
    let first = opened.next().context("--namesrv is empty")?;
    let mut connection = first.or_else(|cause| opened.find_map(Result::ok).ok_or(cause))?;
    let mut candidates = [(topic, true), ("TBW102", false)];
    if queues.is_some() {
        candidates.reverse();
    }
    for (asked, known) in candidates {
        if let Some(target) = route(&mut connection, asked)? {
            return Ok(Target { queues: target.queues.filter(|_| known), ..target });
        }
    }
    bail!("the NameServer {namesrv} knows no broker that serves {topic} or creates topics")
}

/// Turns `host:port` into an address.
pub(super) fn resolve(text: &str) -> anyhow::Result<SocketAddr> {
    let mut found = text.to_socket_addrs().with_context(|| format!("{text} is not host:port"))?;
    found.next().with_context(|| format!("{text} has no address"))
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct RouteBody {
    #[serde(default)]
    broker_datas: Vec<BrokerData>,
    #[serde(default)]
    queue_datas: Vec<QueueData>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct BrokerData {
    broker_name: String,
    broker_addrs: BTreeMap<String, String>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueueData {
    broker_name: String,
    write_queue_nums: u32,
}

fn route(connection: &mut Connection, topic: &str) -> anyhow::Result<Option<Target>> {
    let mut request = Vec::new();
    let fields = [("topic", topic), ("acceptStandardJsonOnly", "true")];
    push_request(&mut request, code::GET_ROUTEINFO_BY_TOPIC, 0, &fields, &[]);
    connection.call(&request, |answer| match answer.code {
        code::SUCCESS => {
            let body: RouteBody =
                serde_json::from_slice(answer.body).context("the NameServer's route is not JSON")?;
            let masters = body.broker_datas.iter().filter_map(|it| Some((it, it.broker_addrs.get("0")?)));
            let Some((broker, address)) = masters.min_by_key(|(it, _)| it.broker_name.clone()) else {
                return Ok(None);
            };
            let queues = body.queue_datas.iter().find(|it| it.broker_name == broker.broker_name);
            let queues = queues.map(|it| it.write_queue_nums).filter(|count| *count > 0);
            Ok(Some(Target { broker: resolve(address)?, queues }))
        }
        code::TOPIC_NOT_EXIST => Ok(None),
        other => bail!("the NameServer answered {other}: {}", answer.remark()),
    })
}
