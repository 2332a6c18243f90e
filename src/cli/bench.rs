//! `rmq-lite bench`: puts load on a RocketMQ server and says what it achieved and what it cost.
//!
//! In: the command line ([`BenchArgs`]), turned into plain [`BenchOptions`]. Out: a result on stdout, progress
//! on stderr, exit code 1 when nothing got through. Works on any server that speaks the protocol. Stands where
//! `org.apache.rocketmq.example.benchmark.*` would, but is no client: OS threads with blocking sockets patch
//! and scan raw frames, because a client library costs more than the server it is to measure. It knows one
//! broker at a time. Only an orderly consumer and the crowd around a producer send heartbeats.

mod args;
mod connection;
mod consumer;
mod crowd;
mod frame;
mod histogram;
mod load;
mod probe;
mod process;
mod producer;
mod replication;
mod report;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};

pub use args::BenchArgs;
use args::{AmountArgs, SpreadArgs, TargetArgs};
use connection::{Connection, Target, find_broker, resolve};
use consumer::{AtEnd, Kind, Puller, Queue};
use crowd::{Crowd, CrowdPlan};
use frame::{SendFrame, code, push_request, topic_name};
use load::{Load, Outcome};
use process::{Processes, own_cpu_us};
use producer::{Plan, Producer};
use report::{Cost, Report};

use super::instance::name_servers;

/// Queues that a new topic gets from an unconfigured client.
const QUEUES: u32 = 4;
/// When neither messages nor duration limit a load.
const DURATION: Duration = Duration::from_secs(10);
/// A latency run waits this long for messages that were acknowledged and not received yet.
const RECEIVE_GRACE: Duration = Duration::from_secs(5);
/// Work that a server does after its last answer (flushing, building queues) still counts as its cost.
const SETTLE: Duration = Duration::from_millis(300);

/// A load, resolved: what the threads need to know.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// The broker.
    pub broker: SocketAddr,
    /// The topic, or the first part of the topics' names.
    pub topic: String,
    /// How many topics.
    pub topics: u32,
    /// Queues of each topic.
    pub queues: u32,
    /// Connections and threads.
    pub connections: u32,
    /// Requests in flight per connection.
    pub in_flight: u32,
    /// Bytes of a body.
    pub size: u32,
    /// Properties of each message beside its unique key.
    pub properties: Vec<(String, String)>,
    /// Messages per second over all connections.
    pub rate: Option<f64>,
    /// Stop after this many messages.
    pub messages: Option<u64>,
    /// Stop after this long.
    pub duration: Option<Duration>,
    /// The group that pulls.
    pub group: String,
    /// Start again at the end of a queue.
    pub rewind: bool,
    /// What kind of consumer pulls.
    kind: Kind,
    /// Who is there while messages are sent.
    crowd: Option<CrowdPlan>,
    /// Whose cost to measure.
    pub server_pids: Vec<u32>,
    /// Print JSON.
    pub json: bool,
    /// Show no progress.
    pub quiet: bool,
}

/// Runs one `bench` subcommand. Blocks until the load is over. Fails when the server cannot be found or
/// reached; errors of single messages are part of the result.
pub fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    match args {
        BenchArgs::Producer(args) => {
            let base = BenchOptions::resolve(&args.target, Some(&args.amount), Some(&args.spread))?;
            let (size, rate, properties) = (args.size, args.rate, args.property.clone());
            let crowd = (args.groups > 0 || args.held > 0).then(|| CrowdPlan {
                groups: args.groups,
                held: args.held,
                held_topic: args.held_topic.clone().unwrap_or_else(|| base.topic.clone()),
            });
            let options = BenchOptions { size, properties, rate, crowd, ..base };
            produce(&options.limited())
        }
        BenchArgs::Consumer(args) => {
            let base = BenchOptions::resolve(&args.target, Some(&args.amount), Some(&args.spread))?;
            let (group, rewind) = (args.group.clone(), args.rewind);
            let kind = match &args.sql {
                Some(expression) => Kind::Sql(expression.clone()),
                None if args.ordered => Kind::Orderly,
                None => Kind::Free,
            };
            let options = BenchOptions { group, rewind, kind, ..base };
            consume(&if rewind { options.limited() } else { options })
        }
        BenchArgs::Latency(args) => {
            let base = BenchOptions::resolve(&args.target, Some(&args.amount), None)?;
            let (size, rate, group) = (args.size, Some(args.rate), args.group.clone());
            latency(&BenchOptions { size, rate, group, ..base }.limited())
        }
        BenchArgs::Idle(args) => {
            let options = BenchOptions::resolve(&args.target, None, None)?;
            let server = Processes(options.server_pids);
            let (count, size) = (args.connections, args.size as usize);
            probe::idle_memory(options.broker, &options.topic, count, size, &server)?.print(options.json)?;
            Ok(ExitCode::SUCCESS)
        }
        BenchArgs::CatchUp(args) => {
            let broker = resolve(&args.broker)?;
            let master = Processes(args.server_pid.clone());
            replication::catch_up(broker, &master, args.slaves, args.limit, &args.command)?
                .print(args.json)?;
            Ok(ExitCode::SUCCESS)
        }
        BenchArgs::First(args) => {
            let took =
                probe::first_acknowledged(resolve(&args.broker)?, &args.topic, &args.command, args.limit)?;
            let ms = took.as_secs_f64() * 1_000.0;
            if args.json {
                println!("{{\"mode\":\"first\",\"first_ms\":{ms:.3}}}");
            } else {
                println!("exec → first acknowledged message: {ms:.1} ms");
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl BenchOptions {
    fn resolve(
        target: &TargetArgs,
        amount: Option<&AmountArgs>,
        spread: Option<&SpreadArgs>,
    ) -> anyhow::Result<Self> {
        let topics = spread.map_or(1, |it| it.topics);
        let queues = amount.and_then(|it| it.queues);
        let found = match &target.broker {
            Some(broker) => Target { broker: resolve(broker).context("--broker")?, queues: None },
            None => find_broker(
                &name_servers(target.namesrv.clone()),
                &topic_name(&target.topic, topics, 0),
                queues,
            )?,
        };
        Ok(Self {
            broker: found.broker,
            topic: target.topic.clone(),
            topics,
            queues: queues.or(found.queues).unwrap_or(QUEUES),
            connections: spread.map_or(1, |it| it.connections),
            in_flight: spread.map_or(32, |it| it.in_flight),
            size: 1_024,
            properties: Vec::new(),
            rate: None,
            messages: amount.and_then(|it| it.messages),
            duration: amount.and_then(|it| it.duration),
            group: "rmq-lite-bench".to_owned(),
            rewind: false,
            kind: Kind::Free,
            crowd: None,
            server_pids: target.server_pid.clone(),
            json: target.json,
            quiet: target.quiet,
        })
    }

    /// Gives a load without any limit the usual one.
    fn limited(mut self) -> Self {
        if self.messages.is_none() && self.duration.is_none() {
            self.duration = Some(DURATION);
        }
        self
    }

    fn connect(&self, count: u32) -> anyhow::Result<Vec<Connection>> {
        (0..count).map(|_| Connection::open(self.broker)).collect()
    }

    fn plan(&self, producer: u32, stamp: Option<u64>) -> Plan {
        let producers = u64::from(self.connections);
        Plan {
            frame: SendFrame::with_properties(
                &self.topic,
                self.topics,
                self.queues,
                self.queues,
                self.size as usize,
                &self.properties,
            ),
            topics: self.topics,
            queues: self.queues,
            in_flight: self.in_flight,
            interval_ns: self.rate.map(|rate| (1e9 * producers as f64 / rate).max(1.0) as u64),
            index: u64::from(producer),
            producers,
            stamp,
        }
    }
}

fn produce(options: &BenchOptions) -> anyhow::Result<ExitCode> {
    let crowd = options.crowd.as_ref().map(|plan| gather(options, plan)).transpose()?;
    let connections = options.connect(options.connections)?;
    let meter = Meter::start(options)?;
    let load = Load::start(options.messages, options.duration);
    let jobs = connections.into_iter().zip(0..).map(|(connection, index)| {
        let producer = Producer::new(connection, options.plan(index, None), &load);
        move || producer.run()
    });
    let mut outcome = load::run(&load, jobs.collect(), options.quiet);
    let cost = meter.stop()?;
    let answered = crowd.map_or(Ok(0), Crowd::leave)?;
    if answered > 0 {
        outcome.fail("a held pull was answered, which no message is for".to_owned(), answered);
    }
    finish(&Report::new("producer", &outcome, cost), &outcome, options)
}

fn gather(options: &BenchOptions, plan: &CrowdPlan) -> anyhow::Result<Crowd> {
    let mut connection = Connection::open(options.broker)?;
    let topic = plan.held_topic.clone();
    prepare_queues(&mut connection, options)?;
    // The last message before the load: the pulls begin behind it.
    let held_on = prepare_queues(&mut connection, &BenchOptions { topic, ..options.clone() })?;
    Crowd::gather(options.broker, &options.topic, &held_on, plan)
}

fn consume(options: &BenchOptions) -> anyhow::Result<ExitCode> {
    let at_end = match (options.rewind, options.duration) {
        (true, _) => AtEnd::Rewind,
        (false, Some(_)) => AtEnd::Hold,
        (false, None) => AtEnd::Stop,
    };
    let all: Vec<_> = (0..options.topics)
        .map(|index| topic_name(&options.topic, options.topics, index))
        .flat_map(|topic| (0..options.queues).map(move |queue_id| Queue::new(topic.clone(), queue_id, 0)))
        .collect();
    let count = options.connections.min(all.len() as u32);
    let connections = options.connect(count)?;
    let meter = Meter::start(options)?;
    let load = Load::start(options.messages, options.duration);
    let jobs = connections.into_iter().zip(0..).map(|(connection, index)| {
        let own = all.iter().skip(index).step_by(count as usize).cloned().collect();
        let (group, in_flight) = (options.group.clone(), options.in_flight as usize);
        let kind = options.kind.clone();
        let puller = Puller::new(connection, group, kind, own, at_end, in_flight, None, &load);
        move || puller.run()
    });
    let outcome = load::run(&load, jobs.collect(), options.quiet);
    let report = Report::new(options.kind.name(), &outcome, meter.stop()?);
    let looks = matches!(options.kind, Kind::Sql(_));
    finish(&if looks { report.passed(outcome.passed) } else { report }, &outcome, options)
}

fn latency(options: &BenchOptions) -> anyhow::Result<ExitCode> {
    let run = fastrand::u64(..);
    let mut preparing = Connection::open(options.broker)?;
    let queues = prepare_queues(&mut preparing, options)?;
    let (sending, receiving) = (Connection::open(options.broker)?, Connection::open(options.broker)?);
    let meter = Meter::start(options)?;
    let load = Load::start(options.messages, options.duration);
    let arriving = load.receiving_side();
    let producer = Producer::new(sending, options.plan(0, Some(run)), &load);
    let held = queues.len();
    let group = options.group.clone();
    let puller = Puller::new(receiving, group, Kind::Free, queues, AtEnd::Hold, held, Some(run), &arriving);
    let (mut sent, mut received) = std::thread::scope(|scope| {
        let receiving = scope.spawn(|| puller.run());
        let sent = load::run(&load, vec![|| producer.run()], options.quiet);
        arriving.end_at(sent.messages, RECEIVE_GRACE);
        (sent, receiving.join().expect("the receiving thread does not panic"))
    });
    received.elapsed = sent.elapsed;
    for (text, count) in std::mem::take(&mut sent.failures) {
        received.fail(text, count);
    }
    let missing = sent.messages.saturating_sub(received.messages);
    if missing > 0 {
        let text = format!("acknowledged and not received within {} s", RECEIVE_GRACE.as_secs());
        received.fail(text, missing);
    }
    let report = Report::new("latency", &received, meter.stop()?).acknowledged(&sent.latency);
    finish(&report, &received, options)
}

/// Makes sure that the topic is there and returns where each of its queues ends.
fn prepare_queues(connection: &mut Connection, options: &BenchOptions) -> anyhow::Result<Vec<Queue>> {
    let frame = options.plan(0, None).frame;
    connection.call(frame.bytes(), |answer| match answer.code {
        code::SUCCESS => Ok(()),
        other => bail!("the first message was refused with {other}: {}", answer.remark()),
    })?;
    let mut queues = Vec::new();
    for queue_id in 0..options.queues {
        let mut request = Vec::new();
        let fields = [("topic", options.topic.as_str()), ("queueId", &queue_id.to_string())];
        push_request(&mut request, code::GET_MAX_OFFSET, 0, &fields, &[]);
        let end = connection.call(&request, |answer| {
            answer
                .number("offset")
                .with_context(|| format!("no end of queue {queue_id}: {}", answer.remark()))
        })?;
        queues.push(Queue::new(options.topic.clone(), queue_id, end));
    }
    Ok(queues)
}

fn finish(report: &Report, outcome: &Outcome, options: &BenchOptions) -> anyhow::Result<ExitCode> {
    report.print(options.json)?;
    Ok(if outcome.messages > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads CPU time before and after a load.
struct Meter {
    server: Processes,
    client_us: u64,
    server_us: u64,
}

impl Meter {
    fn start(options: &BenchOptions) -> anyhow::Result<Self> {
        let server = Processes(options.server_pids.clone());
        Ok(Self { client_us: own_cpu_us().unwrap_or(0), server_us: server.cpu_us()?, server })
    }

    fn stop(self) -> anyhow::Result<Cost> {
        let client_cpu_us = own_cpu_us().unwrap_or(0).saturating_sub(self.client_us);
        if self.server.is_empty() {
            return Ok(Cost { client_cpu_us, ..Cost::default() });
        }
        std::thread::sleep(SETTLE);
        Ok(Cost {
            client_cpu_us,
            server_cpu_us: Some(self.server.cpu_us()?.saturating_sub(self.server_us)),
            server_anonymous_kib: Some(self.server.anonymous_kib()?),
        })
    }
}
