//! One pulling connection: at most one pull per queue in flight, several queues side by side.
//!
//! In: a connection and its share of the queues. Out: an [`Outcome`]. It registers no consumer and commits no
//! offsets: each pull carries its own subscription, so the server's cost is the pull alone. A run that looks
//! for stamped bodies records the time from send to receipt; any other records the time of each pull.

use std::collections::VecDeque;
use std::time::Duration;

use super::connection::Connection;
use super::frame::{Answer, code, push_request, records};
use super::load::{Load, Outcome};

/// What clients ask for by default, and the most that a broker gives.
const PULL_BATCH: &str = "32";
/// `PullSysFlag`: the request carries its subscription (4), and may be held (2).
const PULL_NOW: &str = "4";
const PULL_HELD: &str = "6";
const HOLD_MS: &str = "15000";
/// How often a waiting puller looks whether the load is over.
const LOOK_UP: Duration = Duration::from_millis(50);

/// What happens at the end of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtEnd {
    /// The queue is done.
    Stop,
    /// It is read again from where it began, which measures a backlog larger than the one there is.
    Rewind,
    /// The pull is held by the server until a message comes.
    Hold,
}

/// One queue's progress.
#[derive(Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "queue_id is RocketMQ's noun")]
pub(super) struct Queue {
    /// The topic.
    pub(super) topic: String,
    /// The queue.
    pub(super) queue_id: u32,
    /// The next offset to ask for.
    pub(super) offset: i64,
    seen: u64,
}

impl Queue {
    /// Starts at `offset`.
    pub(super) fn new(topic: String, queue_id: u32, offset: i64) -> Self {
        Self { topic, queue_id, offset, seen: 0 }
    }
}

/// A pulling connection.
#[derive(Debug)]
pub(super) struct Puller<'a> {
    connection: Connection,
    group: String,
    queues: Vec<Queue>,
    at_end: AtEnd,
    in_flight_max: usize,
    stamp: Option<u64>,
    load: &'a Load,
    ready: VecDeque<u32>,
    asked_ns: Vec<u64>,
    in_flight: usize,
    outcome: Outcome,
}

impl<'a> Puller<'a> {
    /// Prepares to pull `queues`; `stamp` is the run whose bodies are timed.
    pub(super) fn new(
        connection: Connection,
        group: String,
        queues: Vec<Queue>,
        at_end: AtEnd,
        in_flight_max: usize,
        stamp: Option<u64>,
        load: &'a Load,
    ) -> Self {
        Self {
            ready: (0..queues.len() as u32).collect(),
            asked_ns: vec![0; queues.len()],
            in_flight: 0,
            outcome: Outcome::new(),
            connection,
            group,
            queues,
            at_end,
            in_flight_max,
            stamp,
            load,
        }
    }

    /// Pulls until the load is over or every queue is done.
    pub(super) fn run(mut self) -> Outcome {
        if let Err(error) = self.drive() {
            self.load.count(0, 1);
            self.outcome.fail(format!("connection lost: {error:#}"), 1);
        }
        self.outcome
    }

    fn drive(&mut self) -> anyhow::Result<()> {
        loop {
            let now_ns = self.load.now_ns();
            let over = self.load.is_over(now_ns);
            if !over {
                self.ask(now_ns)?;
            }
            // Held pulls may be answered long after the end; nothing is lost by not waiting for them.
            if self.in_flight == 0 || (over && self.at_end == AtEnd::Hold) {
                return Ok(());
            }
            if self.at_end != AtEnd::Hold || self.connection.readable_within(LOOK_UP)? {
                self.receive()?;
            }
        }
    }

    fn ask(&mut self, now_ns: u64) -> anyhow::Result<()> {
        let mut requests = Vec::new();
        let sys_flag = if self.at_end == AtEnd::Hold { PULL_HELD } else { PULL_NOW };
        while self.in_flight < self.in_flight_max {
            let Some(slot) = self.ready.pop_front() else { break };
            let queue = &self.queues[slot as usize];
            let fields = [
                ("consumerGroup", self.group.as_str()),
                ("topic", &queue.topic),
                ("queueId", &queue.queue_id.to_string()),
                ("queueOffset", &queue.offset.to_string()),
                ("maxMsgNums", PULL_BATCH),
                ("sysFlag", sys_flag),
                ("commitOffset", "0"),
                ("suspendTimeoutMillis", HOLD_MS),
                ("subscription", "*"),
                ("subVersion", "0"),
                ("expressionType", "TAG"),
            ];
            push_request(&mut requests, code::PULL_MESSAGE, slot, &fields, &[]);
            self.asked_ns[slot as usize] = now_ns;
            self.in_flight += 1;
        }
        if !requests.is_empty() {
            self.connection.write(&requests)?;
        }
        Ok(())
    }

    fn receive(&mut self) -> anyhow::Result<()> {
        let Self { connection, queues, at_end, stamp, load, ready, asked_ns, in_flight, outcome, .. } = self;
        let mut received_ns = None;
        let (mut done, mut failed) = (0, 0);
        connection.read(|answer| {
            let Some((slot, queue)) = answer.slot.and_then(|it| Some((it, queues.get_mut(it as usize)?)))
            else {
                return;
            };
            *in_flight -= 1;
            let now_ns = *received_ns.get_or_insert_with(|| load.now_ns());
            match take_answer(answer, queue, *at_end, *stamp, now_ns, outcome) {
                Ok((count, more)) => {
                    if count > 0 && *at_end != AtEnd::Hold {
                        outcome.latency.record(now_ns.saturating_sub(asked_ns[slot as usize]));
                    }
                    done += count;
                    if more {
                        ready.push_back(slot);
                    }
                }
                Err(error) => {
                    outcome.fail(error.to_string(), 1);
                    failed += 1;
                }
            }
        })?;
        load.take(done);
        load.count(done, failed);
        Ok(())
    }
}

/// Counts an answer's messages into `outcome` and moves the queue on. Returns how many there were and whether
/// the queue is to be asked again; a queue that was refused is not.
fn take_answer(
    answer: Answer<'_>,
    queue: &mut Queue,
    at_end: AtEnd,
    stamp: Option<u64>,
    now_ns: u64,
    outcome: &mut Outcome,
) -> anyhow::Result<(u64, bool)> {
    let next = answer.number("nextBeginOffset");
    let next = || next.ok_or_else(|| anyhow::anyhow!("a pull answer has no nextBeginOffset"));
    match answer.code {
        code::SUCCESS => {
            let mut count = 0;
            for body in records(answer.body) {
                let body = body?;
                let sent_ns = stamp.and_then(|run| sent_ns(body, run));
                if let Some(sent_ns) = sent_ns {
                    outcome.latency.record(now_ns.saturating_sub(sent_ns));
                }
                count += u64::from(stamp.is_none() || sent_ns.is_some());
            }
            outcome.messages += count;
            outcome.bytes += answer.body.len() as u64;
            queue.seen += count;
            queue.offset = next()?;
            Ok((count, true))
        }
        code::PULL_NOT_FOUND => match at_end {
            AtEnd::Stop => Ok((0, false)),
            AtEnd::Rewind => {
                // An empty queue has nothing to come back to.
                let more = std::mem::take(&mut queue.seen) > 0;
                queue.offset = 0;
                Ok((0, more))
            }
            AtEnd::Hold => {
                queue.offset = next()?;
                Ok((0, true))
            }
        },
        code::PULL_RETRY_IMMEDIATELY | code::PULL_OFFSET_MOVED => {
            queue.offset = next()?;
            Ok((0, true))
        }
        _ => anyhow::bail!("{}", answer.refusal()),
    }
}

/// Returns when a body of this run was sent, `None` for anybody else's.
fn sent_ns(body: &[u8], run: u64) -> Option<u64> {
    let (id, rest) = body.split_first_chunk::<8>()?;
    let sent = rest.first_chunk::<8>()?;
    (u64::from_be_bytes(*id) == run).then(|| u64::from_be_bytes(*sent))
}
