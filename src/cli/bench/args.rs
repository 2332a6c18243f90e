//! What a person types behind `rmq-lite bench`.
//!
//! Only words and their limits live here; [`super::BenchOptions`] is what the threads get to see. A wrong flag gets
//! clap's message and exit code 2.

use std::time::Duration;

use clap::{Args, Subcommand};

/// What `rmq-lite bench` can do.
#[derive(Clone, Debug, Subcommand)]
pub enum BenchArgs {
    /// Send messages as fast as they are acknowledged, or at a given rate
    Producer(ProducerArgs),
    /// Pull what topics hold
    Consumer(ConsumerArgs),
    /// Send at a given rate and measure the time until a held pull receives each message
    Latency(LatencyArgs),
    /// Measure the memory that idle connections cost a server
    Idle(IdleArgs),
    /// Wait until a master's slaves have its whole log, and measure how fast they get there
    CatchUp(CatchUpArgs),
    /// Start a server and measure the time from exec to its first acknowledged message
    First(FirstArgs),
}

/// Whom to load and how to tell the result.
#[derive(Args, Clone, Debug)]
pub struct TargetArgs {
    /// NameServers to ask for the broker, `host:port` separated by `;` [default: that of the server that runs here,
    /// else 127.0.0.1:9876]
    #[arg(long, short = 'n', value_name = "LIST", env = "NAMESRV_ADDR")]
    pub(super) namesrv: Option<String>,
    /// Broker to connect to, without asking a NameServer
    #[arg(long, short = 'b', value_name = "HOST:PORT")]
    pub(super) broker: Option<String>,
    /// Topic; created by the first send
    #[arg(long, short = 't', default_value = "rmq-lite-bench")]
    pub(super) topic: String,
    /// Measure CPU time and memory of these processes, too (the server, on this machine)
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub(super) server_pid: Vec<u32>,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(super) json: bool,
    /// Show no progress
    #[arg(long, short)]
    pub(super) quiet: bool,
}

/// How much to load.
#[derive(Args, Clone, Debug)]
pub struct AmountArgs {
    /// Stop after this many messages
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) messages: Option<u64>,
    /// Stop after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) duration: Option<Duration>,
    /// Queues of each topic; what the route says when the topic exists, else 4
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) queues: Option<u32>,
}

/// Over what the load is spread.
#[derive(Args, Clone, Debug)]
pub struct SpreadArgs {
    /// Topics, named TOPIC-00000 and so on where there is more than one
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=99_999))]
    pub(super) topics: u32,
    /// Connections, each with its own thread; consumers share the queues out among them
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) connections: u32,
    /// Requests in flight per connection; of pulls at most one per queue
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) in_flight: u32,
}

/// `bench producer`
#[derive(Args, Clone, Debug)]
pub struct ProducerArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    #[command(flatten)]
    pub(super) amount: AmountArgs,
    #[command(flatten)]
    pub(super) spread: SpreadArgs,
    /// Bytes of a message's body
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    pub(super) size: u32,
    /// Messages per second over all connections; without it as fast as possible
    #[arg(long, value_parser = rate)]
    pub(super) rate: Option<f64>,
    /// A property of each message, such as DELAY=3 or TRAN_MSG=true; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = property)]
    pub(super) property: Vec<(String, String)>,
    /// Consumer groups of the topic that are online meanwhile, each with one member
    #[arg(long, default_value_t = 0, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(..=100_000))]
    pub(super) groups: u32,
    /// Pulls that the server holds meanwhile, each for a tag that no message has
    #[arg(long, default_value_t = 0, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(..=100_000))]
    pub(super) held: u32,
    /// Hold them on this topic, not on the one that is sent to
    #[arg(long, value_name = "TOPIC", requires = "held")]
    pub(super) held_topic: Option<String>,
}

/// `bench consumer`
#[derive(Args, Clone, Debug)]
pub struct ConsumerArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    #[command(flatten)]
    pub(super) amount: AmountArgs,
    #[command(flatten)]
    pub(super) spread: SpreadArgs,
    /// Consumer group named in the pulls
    #[arg(long, default_value = "rmq-lite-bench")]
    pub(super) group: String,
    /// At the end of a queue start again, until --messages or --duration is reached
    #[arg(long)]
    pub(super) rewind: bool,
    /// Pull by an SQL92 expression, and count the messages that the server looks at
    #[arg(long, value_name = "EXPRESSION", value_parser = in_header)]
    pub(super) sql: Option<String>,
    /// Consume in order: join the group, lock the queues, commit behind every batch
    #[arg(long, conflicts_with = "sql")]
    pub(super) ordered: bool,
}

/// `bench latency`
#[derive(Args, Clone, Debug)]
pub struct LatencyArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    #[command(flatten)]
    pub(super) amount: AmountArgs,
    /// Messages per second
    #[arg(long, default_value = "1000", value_parser = rate)]
    pub(super) rate: f64,
    /// Bytes of a message's body
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(16..=16_000_000))]
    pub(super) size: u32,
    /// Consumer group named in the pulls
    #[arg(long, default_value = "rmq-lite-bench")]
    pub(super) group: String,
}

/// `bench idle`
#[derive(Args, Clone, Debug)]
pub struct IdleArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// Connections to open
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(super) connections: u32,
    /// Bytes of the one message that each connection sends
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    pub(super) size: u32,
}

/// `bench first`
#[derive(Args, Clone, Debug)]
pub struct FirstArgs {
    /// Where the broker will listen
    #[arg(long, short = 'b', value_name = "HOST:PORT")]
    pub(super) broker: String,
    /// Topic; created by the send
    #[arg(long, short = 't', default_value = "rmq-lite-bench")]
    pub(super) topic: String,
    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = seconds)]
    pub(super) limit: Duration,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(super) json: bool,
    /// The command that starts the server
    #[arg(last = true, required = true)]
    pub(super) command: Vec<String>,
}

/// `bench catch-up`
#[derive(Args, Clone, Debug)]
pub struct CatchUpArgs {
    /// The master
    #[arg(long, short = 'b', value_name = "HOST:PORT")]
    pub(super) broker: String,
    /// Measure CPU time of these processes, too (the master, on this machine)
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub(super) server_pid: Vec<u32>,
    /// Slaves to wait for
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(super) slaves: u32,
    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = seconds)]
    pub(super) limit: Duration,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(super) json: bool,
    /// A command that starts a slave; it is stopped afterwards. Without one a slave is there already
    #[arg(last = true)]
    pub(super) command: Vec<String>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let value = text.trim_end_matches('s').parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(value)
        .ok()
        .filter(|it| !it.is_zero())
        .ok_or_else(|| "must be more than 0".to_owned())
}

fn property(text: &str) -> Result<(String, String), String> {
    let plain =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_graphic() && c != '"' && c != '\\');
    let (name, value) = text.split_once('=').ok_or("allowed is NAME=VALUE")?;
    if plain(name) && plain(value) {
        return Ok((name.to_owned(), value.to_owned()));
    }
    Err("allowed are visible ASCII characters without quotes and backslashes".to_owned())
}

fn in_header(text: &str) -> Result<String, String> {
    let plain = |c: char| matches!(c, ' '..='~') && c != '"' && c != '\\';
    if !text.is_empty() && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Err("allowed are ASCII characters without double quotes and backslashes".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if value > 0.0 && value <= 1e9 { Ok(value) } else { Err("must be more than 0".to_owned()) }
}
