//! One pulling connection: at most one pull per queue in flight, several queues side by side.
//!
//! In: a connection and its share of the queues. Out: an [`Outcome`]. Unless it is an orderly consumer it registers
//! nowhere and commits no offsets: each pull carries its own subscription, so the server's cost is the pull alone. A run
//! that looks for stamped bodies records the time from send to receipt; any other records the time of each pull.

use std::collections::VecDeque;
use std::time::Duration;

use super::connection::Connection;
use super::crowd::heartbeat;
use super::frame::{Answer, code, push_oneway, push_request, records};
use super::load::{Load, Outcome};

/// What clients ask for by default, and the most that a broker gives.
const PULL_BATCH: &str = "32";
/// `PullSysFlag`: the request carries its subscription (4), and may be held (2).
const PULL_NOW: &str = "4";
const PULL_HELD: &str = "6";
/// The group's heartbeats carried the subscription.
const PULL_SUBSCRIBED: &str = "0";
const HOLD_MS: &str = "15000";
/// How often a waiting puller looks whether the load is over.
const LOOK_UP: Duration = Duration::from_millis(50);

/// How often an orderly consumer renews its locks, as Java's does (`rocketmq.client.rebalance.lockInterval`).
const LOCK_INTERVAL_NS: u64 = 20_000_000_000;
/// The broker that the queues in a lock request are said to be of. It is a part of their identity and no more.
const BROKER_NAME: &str = "broker-a";

/// What kind of consumer pulls.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Wants everything, is registered nowhere, commits nothing.
    Free,
    /// The same by an SQL92 expression. What counts are the messages that the server has looked at.
    Sql(String),
    /// A member of its group that locks its queues, and commits behind each batch before it pulls the next.
    Orderly,
}

impl Kind {
    /// Returns the name of a load of this kind.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Free => "consumer",
            Self::Sql(_) => "filter",
            Self::Orderly => "orderly",
        }
    }
}

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
    /// What is consumed and not committed yet; only orderly consumers commit.
    consumed: Option<i64>,
}

impl Queue {
    /// Starts at `offset`.
    pub(super) fn new(topic: String, queue_id: u32, offset: i64) -> Self {
        Self { topic, queue_id, offset, seen: 0, consumed: None }
    }
}

impl Queue {
    /// Goes on at `next`; returns how many messages the server has looked at until there.
    fn looked_at(&mut self, next: i64, outcome: &mut Outcome) -> u64 {
        let count = (next - self.offset).max(0).unsigned_abs();
        outcome.messages += count;
        self.seen += count;
        self.offset = next;
        count
    }
}

#[derive(serde::Deserialize)]
struct LockedQueues {
    #[serde(default, rename = "lockOKMQSet")]
    lock_ok_mq_set: Vec<serde::de::IgnoredAny>,
}

/// A pulling connection.
#[derive(Debug)]
pub(super) struct Puller<'a> {
    connection: Connection,
    group: String,
    kind: Kind,
    queues: Vec<Queue>,
    at_end: AtEnd,
    in_flight_max: usize,
    stamp: Option<u64>,
    load: &'a Load,
    /// When an orderly consumer last asked for its locks.
    locked_ns: u64,
    ready: VecDeque<u32>,
    asked_ns: Vec<u64>,
    in_flight: usize,
    outcome: Outcome,
}

impl<'a> Puller<'a> {
    /// Prepares to pull `queues`; `stamp` is the run whose bodies are timed.
    #[expect(clippy::too_many_arguments, reason = "all of it is one puller's part of a load")]
    pub(super) fn new(
        connection: Connection,
        group: String,
        kind: Kind,
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
            locked_ns: 0,
            connection,
            group,
            kind,
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
        } else if matches!(self.kind, Kind::Orderly) {
            // The next run would find them locked for a minute: Apache keeps the locks of clients that are gone.
            let request = self.lock_request(code::UNLOCK_BATCH_MQ);
            if let Err(error) = self.connection.call(&request, |_| Ok(())) {
                self.outcome.fail(format!("the queues stay locked: {error:#}"), 1);
            }
        }
        self.outcome
    }

    fn drive(&mut self) -> anyhow::Result<()> {
        if matches!(self.kind, Kind::Orderly) {
            self.join()?;
        }
        loop {
            let now_ns = self.load.now_ns();
            let over = self.load.is_over(now_ns);
            if !over {
                if matches!(self.kind, Kind::Orderly) && now_ns - self.locked_ns > LOCK_INTERVAL_NS {
                    let request = self.lock_request(code::LOCK_BATCH_MQ);
                    self.connection.write(&request)?;
                    self.locked_ns = now_ns;
                }
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

    /// Becomes a member of the group and locks every queue.
    fn join(&mut self) -> anyhow::Result<()> {
        let mut topics: Vec<_> = self.queues.iter().map(|queue| queue.topic.as_str()).collect();
        topics.sort_unstable();
        topics.dedup();
        let client_id = self.client_id();
        heartbeat(&mut self.connection, &client_id, std::slice::from_ref(&self.group), &topics)?;
        let request = self.lock_request(code::LOCK_BATCH_MQ);
        let queues = self.queues.len();
        self.connection.call(&request, |answer| {
            let locked: LockedQueues = serde_json::from_slice(answer.body)?;
            let locked = locked.lock_ok_mq_set.len();
            anyhow::ensure!(
                locked == queues,
                "{locked} of {queues} queues were locked: {}",
                answer.refusal()
            );
            Ok(())
        })?;
        self.locked_ns = self.load.now_ns();
        Ok(())
    }

    /// Every connection is a client of its own.
    fn client_id(&self) -> String {
        let first = self.queues.first().map(|queue| format!("{}-{}", queue.topic, queue.queue_id));
        format!("bench-{}-{}", std::process::id(), first.unwrap_or_default())
    }

    /// Asks to lock or to unlock every queue. The answer has a slot that no queue has.
    fn lock_request(&self, code: u32) -> Vec<u8> {
        let queues = self.queues.iter().map(|queue| {
            let (topic, queue_id) = (&queue.topic, queue.queue_id);
            format!("{{\"brokerName\":\"{BROKER_NAME}\",\"queueId\":{queue_id},\"topic\":\"{topic}\"}}")
        });
        let (client_id, group, queues) =
            (self.client_id(), &self.group, queues.collect::<Vec<_>>().join(","));
        let body =
            format!("{{\"clientId\":\"{client_id}\",\"consumerGroup\":\"{group}\",\"mqSet\":[{queues}]}}");
        let mut request = Vec::new();
        push_request(&mut request, code, self.queues.len() as u32, &[], body.as_bytes());
        request
    }

    fn ask(&mut self, now_ns: u64) -> anyhow::Result<()> {
        let mut requests = Vec::new();
        let (kind, expression) = match &self.kind {
            Kind::Sql(expression) => ("SQL92", expression.as_str()),
            _ => ("TAG", "*"),
        };
        let sys_flag = match (&self.kind, self.at_end) {
            (Kind::Orderly, _) => PULL_SUBSCRIBED,
            (_, AtEnd::Hold) => PULL_HELD,
            _ => PULL_NOW,
        };
        while self.in_flight < self.in_flight_max {
            let Some(slot) = self.ready.pop_front() else { break };
            let queue = &mut self.queues[slot as usize];
            if let Some(consumed) = queue.consumed.take() {
                let fields = [
                    ("consumerGroup", self.group.as_str()),
                    ("topic", &queue.topic),
                    ("queueId", &queue.queue_id.to_string()),
                    ("commitOffset", &consumed.to_string()),
                ];
                push_oneway(&mut requests, code::UPDATE_CONSUMER_OFFSET, &fields);
            }
            let fields = [
                ("consumerGroup", self.group.as_str()),
                ("topic", &queue.topic),
                ("queueId", &queue.queue_id.to_string()),
                ("queueOffset", &queue.offset.to_string()),
                ("maxMsgNums", PULL_BATCH),
                ("sysFlag", sys_flag),
                ("commitOffset", "0"),
                ("suspendTimeoutMillis", HOLD_MS),
                ("subscription", expression),
                ("subVersion", "0"),
                ("expressionType", kind),
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
        let Self {
            connection, kind, queues, at_end, stamp, load, ready, asked_ns, in_flight, outcome, ..
        } = self;
        let mut received_ns = None;
        let (mut done, mut failed) = (0, 0);
        connection.read(|answer| {
            let Some((slot, queue)) = answer.slot.and_then(|it| Some((it, queues.get_mut(it as usize)?)))
            else {
                return;
            };
            *in_flight -= 1;
            let now_ns = *received_ns.get_or_insert_with(|| load.now_ns());
            match take_answer(answer, queue, kind, *at_end, *stamp, now_ns, outcome) {
                Ok((count, more)) => {
                    if count > 0 && matches!(kind, Kind::Orderly) {
                        queue.consumed = Some(queue.offset);
                    }
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
    kind: &Kind,
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
            outcome.bytes += answer.body.len() as u64;
            if matches!(kind, Kind::Sql(_)) {
                outcome.passed += count;
                return Ok((queue.looked_at(next()?, outcome), true));
            }
            outcome.messages += count;
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
        code::PULL_RETRY_IMMEDIATELY if matches!(kind, Kind::Sql(_)) => {
            Ok((queue.looked_at(next()?, outcome), true))
        }
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
