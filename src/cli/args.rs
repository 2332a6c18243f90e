//! What a person types: the subcommands and flags of `rmq-lite`, and those of Apache's scripts by whose names it
//! may be called.
//!
//! Only the words live here; [`StartArgs::settings`] and its neighbours turn them into [`Settings`] once, and
//! nobody below `cli` sees clap. Mirrors the options of BrokerStartup, NamesrvStartup and ServerUtil. A wrong flag
//! gets clap's message and exit code 2. What the commands do is in the files beside this one.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::bench::BenchArgs;
use super::store::StoreArgs;
use crate::config::keys::Timings;
use crate::config::{self, Advertise, Choices, Role, Settings, SettingsError};

/// The program's version, as `--version` prints it.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (speaks RocketMQ 5.3.3)");

/// The command line of `rmq-lite`.
#[derive(Debug, Parser)]
#[command(
    name = "rmq-lite",
    version = VERSION,
    about = "A whole Apache RocketMQ for one machine, in one executable",
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:
  rmq-lite start                                    a NameServer and a broker on 127.0.0.1
  rmq-lite start --ephemeral --namesrv-port 0       a throw-away server on a free port
  rmq-lite run -- mvn test                          a throw-away server around one command
  rmq-lite broker -c broker.conf -n ns1:9876        one broker of a larger cluster"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a NameServer, a broker and the console in one process
    Start(Box<StartArgs>),
    /// Start a NameServer alone
    Namesrv(NamesrvArgs),
    /// Start a broker alone, for joining a cluster
    Broker(BrokerArgs),
    /// Exit with 0 when the server is ready, with 1 when it is not
    Ready(ReadyArgs),
    /// Show what a running server is and where it listens
    Status(InstanceArgs),
    /// Stop a running server and wait until it has ended
    Stop(StopArgs),
    /// Print the environment that points clients at a running server
    Env(InstanceArgs),
    /// Start a throw-away server, run a command against it, stop, and exit as the command did
    Run(Box<RunArgs>),
    /// Show the server's clock, or let time pass: delays, retries and expiries happen now
    Clock(ClockArgs),
    /// Show how far slaves are, hold replication back, stop and start master or slave
    Replication(ReplicationArgs),
    /// Look at the dead letters of consumer groups, send them again, or be done with them
    Dlq(DlqArgs),
    /// Put load on a server and measure it
    #[command(subcommand)]
    Bench(BenchArgs),
    /// Look into a store's directory without a server
    #[command(subcommand)]
    Store(StoreArgs),
}

/// Flags of `start`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "Every flag can be given as a variable too, such as RMQ_LITE_BROKER_PORT=0, and every RocketMQ \
key as RMQ_LITE_<key>, such as RMQ_LITE_flushDiskType=SYNC_FLUSH.
What is stronger wins: --set, flags, their variables, RMQ_LITE_<key>, the -c file, defaults.

Examples:
  rmq-lite start --bind 0.0.0.0 --advertise dev.example.com
  rmq-lite start --name lesson --set flushDiskType=SYNC_FLUSH
  rmq-lite start --ephemeral --namesrv-port 0 --broker-port 0 --web-port 0 --ports-file ports.json"
)]
pub struct StartArgs {
    /// Address to listen on [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS", env = "RMQ_LITE_BIND")]
    pub bind: Option<IpAddr>,
    /// Port of the NameServer; 0 is any free one [default: 9876]
    #[arg(long, value_name = "PORT", env = "RMQ_LITE_NAMESRV_PORT")]
    pub namesrv_port: Option<u16>,
    /// Port of the broker, with the fast port two below and the replication port one above; 0 is any free one
    /// [default: 10911]
    #[arg(long, value_name = "PORT", env = "RMQ_LITE_BROKER_PORT")]
    pub broker_port: Option<u16>,
    /// Port of the console and the HTTP interface; 0 is any free one [default: 8082]
    #[arg(long, value_name = "PORT", env = "RMQ_LITE_WEB_PORT")]
    pub web_port: Option<u16>,
    /// No console and no HTTP interface
    #[arg(long, env = "RMQ_LITE_HEADLESS")]
    pub headless: bool,
    /// Address of the broker to give to clients [default: the one by which the client reached the NameServer]
    #[arg(long, value_name = "HOST[:PORT]", env = "RMQ_LITE_ADVERTISE")]
    pub advertise: Option<Advertise>,
    /// RocketMQ properties file, such as a broker.conf
    #[arg(
        short = 'c',
        long = "config",
        visible_alias = "configFile",
        value_name = "FILE",
        env = "RMQ_LITE_CONFIG"
    )]
    pub config: Option<PathBuf>,
    /// Any RocketMQ key; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
    /// Directory for the data [default: <user's data directory>/rmq-lite/<name>]
    #[arg(long, value_name = "DIR", env = "RMQ_LITE_DATA_DIR", conflicts_with = "ephemeral")]
    pub data_dir: Option<PathBuf>,
    /// Name of this server, by which `status`, `stop` and others find it [default: default]
    #[arg(long, value_name = "NAME", env = "RMQ_LITE_NAME")]
    pub name: Option<String>,
    /// Keep the data in a temporary directory that is removed at exit
    #[arg(long, env = "RMQ_LITE_EPHEMERAL")]
    pub ephemeral: bool,
    /// Write the addresses to this file (JSON) once the server is ready
    #[arg(long, value_name = "FILE", env = "RMQ_LITE_PORTS_FILE")]
    pub ports_file: Option<PathBuf>,
    /// Print one JSON object on standard output instead of the banner
    #[arg(long, env = "RMQ_LITE_JSON")]
    pub json: bool,
    /// Make no topic just because somebody asks for its route, and log near misses
    #[arg(long, env = "RMQ_LITE_STRICT_TOPICS")]
    pub strict_topics: bool,
    /// Defaults that do not make a person wait, or those of Apache [default: fast]
    #[arg(long, value_name = "WHICH", value_enum, env = "RMQ_LITE_TIMINGS")]
    pub timings: Option<TimingsArg>,
    /// Log lines to show on standard error: a level (error, warn, info, debug, trace) or a filter such as
    /// rmq_lite::store=debug [default: info]
    #[arg(long, value_name = "LEVEL", env = "RMQ_LITE_LOG")]
    pub log: Option<String>,
    /// Start a slave beside the master, in the same process, that copies everything
    #[arg(long, env = "RMQ_LITE_SLAVE")]
    pub slave: bool,
    /// Port of the slave, and start one; 0 is any free one [default: 100 above the broker's]
    #[arg(long, value_name = "PORT", env = "RMQ_LITE_SLAVE_PORT")]
    pub slave_port: Option<u16>,
}

/// The word behind `--timings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TimingsArg {
    /// Do not make a person wait
    Fast,
    /// Every default as in Apache RocketMQ
    Apache,
}

impl From<TimingsArg> for Timings {
    fn from(word: TimingsArg) -> Self {
        match word {
            TimingsArg::Fast => Self::Fast,
            TimingsArg::Apache => Self::Apache,
        }
    }
}

impl StartArgs {
    /// Resolves these flags, the environment, the file and the defaults.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        Settings::resolve(Role::Everything, self.choices())
    }

    fn choices(&self) -> Choices {
        let flags = self.clone();
        Choices {
            bind: flags.bind,
            namesrv_port: flags.namesrv_port,
            broker_port: flags.broker_port,
            web_port: flags.web_port,
            headless: flags.headless,
            slave: flags.slave || flags.slave_port.is_some(),
            slave_port: flags.slave_port,
            advertise: flags.advertise,
            name: flags.name,
            data_dir: flags.data_dir,
            ephemeral: flags.ephemeral,
            ports_file: flags.ports_file,
            json: flags.json,
            strict_topics: flags.strict_topics,
            timings: flags.timings.map(Timings::from),
            log: flags.log,
            config_file: flags.config,
            namesrv_addr: None,
            set: flags.set,
            environment: environment(),
        }
    }
}

/// Flags of `namesrv`, and of the program when it is called `mqnamesrv`.
#[derive(Clone, Debug, Default, Parser)]
#[command(
    name = "mqnamesrv",
    version = VERSION,
    about = "Start a NameServer alone",
    after_help = "Example:
  rmq-lite namesrv --bind 0.0.0.0 --port 9876"
)]
pub struct NamesrvArgs {
    /// Address to listen on [default: 0.0.0.0, as Apache's script]
    #[arg(long, value_name = "ADDRESS", env = "RMQ_LITE_BIND")]
    pub bind: Option<IpAddr>,
    /// Port to listen on; 0 is any free one [default: 9876]
    #[arg(long, value_name = "PORT", env = "RMQ_LITE_NAMESRV_PORT")]
    pub port: Option<u16>,
    /// RocketMQ properties file
    #[arg(short = 'c', long = "configFile", visible_alias = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Any key of a NameServer; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
    /// Print every key with its value, and exit
    #[arg(short = 'p', long = "printConfigItem")]
    pub print_config_item: bool,
    /// Name of this server, by which `status`, `stop` and others find it [default: namesrv]
    #[arg(long, value_name = "NAME", env = "RMQ_LITE_NAME")]
    pub name: Option<String>,
    /// Accepted as by Apache's script; has no effect
    #[arg(short = 'n', long = "namesrvAddr", value_name = "LIST")]
    pub namesrv_addr: Option<String>,
    /// Print one JSON object on standard output instead of the banner
    #[arg(long, env = "RMQ_LITE_JSON")]
    pub json: bool,
    /// Write the addresses to this file (JSON) once the server is ready
    #[arg(long, value_name = "FILE", env = "RMQ_LITE_PORTS_FILE")]
    pub ports_file: Option<PathBuf>,
    /// Log lines to show on standard error: a level or a filter [default: info]
    #[arg(long, value_name = "LEVEL", env = "RMQ_LITE_LOG")]
    pub log: Option<String>,
}

impl NamesrvArgs {
    /// Resolves these flags, the environment, the file and the defaults.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        let flags = self.clone();
        let choices = Choices {
            bind: flags.bind,
            namesrv_port: flags.port,
            config_file: flags.config,
            name: flags.name,
            set: flags.set,
            json: flags.json,
            ports_file: flags.ports_file,
            log: flags.log,
            environment: environment(),
            ..Choices::default()
        };
        Settings::resolve(Role::NameServer, choices)
    }
}

/// Flags of `broker`, and of the program when it is called `mqbroker`.
#[derive(Clone, Debug, Default, Parser)]
#[command(
    name = "mqbroker",
    version = VERSION,
    about = "Start a broker alone, for joining a cluster",
    after_help = "Examples:
  rmq-lite broker -c conf/2m-2s-sync/broker-a.properties
  rmq-lite broker -n ns1:9876;ns2:9876 --set brokerName=broker-c --set brokerIP1=192.168.0.7"
)]
pub struct BrokerArgs {
    /// RocketMQ properties file, such as a broker.conf [default: none, and Apache's defaults]
    #[arg(short = 'c', long = "configFile", visible_alias = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// NameServers to register with, `host:port` separated by `;` [default: the file's namesrvAddr, then
    /// $NAMESRV_ADDR, then none]
    #[arg(short = 'n', long = "namesrvAddr", value_name = "LIST")]
    pub namesrv_addr: Option<String>,
    /// Address to listen on [default: 0.0.0.0, as Apache's script]
    #[arg(long, value_name = "ADDRESS", env = "RMQ_LITE_BIND")]
    pub bind: Option<IpAddr>,
    /// Address to give to clients [default: brokerIP1, then this machine's first address]
    #[arg(long, value_name = "HOST[:PORT]", env = "RMQ_LITE_ADVERTISE")]
    pub advertise: Option<Advertise>,
    /// Any key of a broker; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
    /// Defaults that do not make a person wait, or those of Apache [default: fast]
    #[arg(long, value_name = "WHICH", value_enum, env = "RMQ_LITE_TIMINGS")]
    pub timings: Option<TimingsArg>,
    /// Print every key with its value, and exit
    #[arg(short = 'p', long = "printConfigItem")]
    pub print_config_item: bool,
    /// Name of this server, by which `status`, `stop` and others find it [default: brokerName, of a slave
    /// brokerName-brokerId]
    #[arg(long, value_name = "NAME", env = "RMQ_LITE_NAME")]
    pub name: Option<String>,
    /// Print the keys that Apache calls important with their values, and exit
    #[arg(short = 'm', long = "printImportantConfig")]
    pub print_important_config: bool,
    /// Print one JSON object on standard output instead of the banner
    #[arg(long, env = "RMQ_LITE_JSON")]
    pub json: bool,
    /// Write the addresses to this file (JSON) once the server is ready
    #[arg(long, value_name = "FILE", env = "RMQ_LITE_PORTS_FILE")]
    pub ports_file: Option<PathBuf>,
    /// Log lines to show on standard error: a level or a filter [default: info]
    #[arg(long, value_name = "LEVEL", env = "RMQ_LITE_LOG")]
    pub log: Option<String>,
}

impl BrokerArgs {
    /// Resolves these flags, the environment, the file and the defaults.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        let flags = self.clone();
        let choices = Choices {
            bind: flags.bind,
            advertise: flags.advertise,
            config_file: flags.config,
            namesrv_addr: flags.namesrv_addr,
            name: flags.name,
            set: flags.set,
            timings: flags.timings.map(Timings::from),
            json: flags.json,
            ports_file: flags.ports_file,
            log: flags.log,
            environment: environment(),
            ..Choices::default()
        };
        Settings::resolve(Role::Broker, choices)
    }
}

/// Which running server is meant.
#[derive(Clone, Debug, Default, Args)]
pub struct Instance {
    /// Name of the server [default: default]
    #[arg(long, value_name = "NAME", env = "RMQ_LITE_NAME")]
    pub name: Option<String>,
    /// Data directory of the server [default: <user's data directory>/rmq-lite/<name>]
    #[arg(long, value_name = "DIR", env = "RMQ_LITE_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
}

impl Instance {
    /// Returns the data directory of the server that is meant.
    pub fn dir(&self) -> Result<PathBuf, SettingsError> {
        config::data_dir(self.name.as_deref(), self.data_dir.as_deref())
    }
}

/// Flags of `status` and `env`.
#[derive(Clone, Debug, Default, Args)]
pub struct InstanceArgs {
    /// Which server.
    #[command(flatten)]
    pub instance: Instance,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Flags of `ready`.
#[derive(Clone, Debug, Default, Args)]
pub struct ReadyArgs {
    /// Which server.
    #[command(flatten)]
    pub instance: Instance,
    /// Whichever server runs here, whatever it is called; of several, all
    #[arg(long)]
    pub any: bool,
    /// Wait up to this many seconds for it to become ready
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub wait: u64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Flags of `stop`.
#[derive(Clone, Debug, Default, Args)]
pub struct StopArgs {
    /// Which server.
    #[command(flatten)]
    pub instance: Instance,
}

/// Flags of `clock`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  rmq-lite clock                     what it shows
  rmq-lite clock advance 2h          two hours pass now
  rmq-lite clock advance '1h 30m'")]
pub struct ClockArgs {
    /// Which server; without these the one of $RMQ_LITE_WEB, if set.
    #[command(flatten)]
    pub instance: Instance,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// What to do; without it the clock is shown.
    #[command(subcommand)]
    pub wish: Option<ClockWish>,
}

/// What can be done with a server's clock.
#[derive(Clone, Debug, Subcommand)]
pub enum ClockWish {
    /// Let time pass: what is due by then happens now, in order
    Advance {
        /// How much, such as 500ms, 90s, 2h or 3d; at most 365d
        span: String,
    },
}

/// Flags of `replication`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples, with a server that runs as start --slave:
  rmq-lite replication               how far the slaves are
  rmq-lite replication pause         slaves get nothing more; sends under SYNC_MASTER time out
  rmq-lite replication lag 500       slaves get everything half a second later
  rmq-lite replication resume
  rmq-lite replication stop master   consumers read on from the slave
  rmq-lite replication start master")]
pub struct ReplicationArgs {
    /// Which server; without these the one of $RMQ_LITE_WEB, if set.
    #[command(flatten)]
    pub instance: Instance,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// What to do; without it the state is shown.
    #[command(subcommand)]
    pub wish: Option<ReplicationWish>,
}

/// What can be done with replication.
#[derive(Clone, Debug, Subcommand)]
pub enum ReplicationWish {
    /// Show how far the slaves are
    Status,
    /// Send slaves nothing more of the log; they stay connected
    Pause,
    /// Send at once again, without lag
    Resume,
    /// Send slaves the log so much later
    Lag {
        /// Milliseconds, at most 600000
        ms: u64,
    },
    /// Stop the master or the slave; its ports and data stay for it
    Stop {
        /// Which of the two
        #[arg(value_parser = ["master", "slave"])]
        which: String,
    },
    /// Start the master or the slave again
    Start {
        /// Which of the two
        #[arg(value_parser = ["master", "slave"])]
        which: String,
    },
}

/// Flags of `dlq`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  rmq-lite dlq list
  rmq-lite dlq show orders-group --all
  rmq-lite dlq resend orders-group                   every open letter, to the topic it came from
  rmq-lite dlq resend orders-group --offset 3 --to orders-by-hand
  rmq-lite dlq export orders-group --output letters.jsonl
  rmq-lite dlq purge orders-group --delete           of an Apache cluster: -n ns1:9876")]
pub struct DlqArgs {
    /// NameServers, `host:port` separated by `;` [default: that of the server that runs here, else 127.0.0.1:9876]
    #[arg(long, short = 'n', value_name = "LIST", env = "NAMESRV_ADDR", global = true)]
    pub namesrv: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub wish: DlqWish,
}

/// What can be done with dead letters.
#[derive(Clone, Debug, Subcommand)]
pub enum DlqWish {
    /// Every group with dead letters, how many it has and how many are open
    List {
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },
    /// The open letters of a group
    Show(LettersArgs),
    /// Send letters to the topic that they came from; no consumer need be online. A letter keeps its id and
    /// begins with no tries; those sent are no longer open
    Resend(ResendArgs),
    /// Set the open letters aside, or delete all
    Purge(PurgeArgs),
    /// Write letters out, one JSON object a line
    Export {
        /// Which letters.
        #[command(flatten)]
        letters: LettersArgs,
        /// File to write to [default: standard output]
        #[arg(long, short = 'o', value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// Which letters are meant.
#[derive(Clone, Debug, Args)]
pub struct LettersArgs {
    /// The consumer group
    pub group: String,
    /// Also those that were sent again or set aside
    #[arg(long)]
    pub all: bool,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000)]
    pub max: usize,
    /// Only those of this broker
    #[arg(long, value_name = "NAME")]
    pub broker: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Flags of `dlq resend`.
#[derive(Clone, Debug, Args)]
pub struct ResendArgs {
    /// The consumer group
    pub group: String,
    /// Only the letter with this offset; may be repeated
    #[arg(long, value_name = "OFFSET", conflicts_with_all = ["all", "max"])]
    pub offset: Vec<i64>,
    /// Also those that were sent again or set aside
    #[arg(long)]
    pub all: bool,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = usize::MAX, hide_default_value = true)]
    pub max: usize,
    /// Send to this topic
    #[arg(long, value_name = "TOPIC")]
    pub to: Option<String>,
    /// Only those of this broker
    #[arg(long, value_name = "NAME")]
    pub broker: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Flags of `dlq purge`.
#[derive(Clone, Debug, Args)]
pub struct PurgeArgs {
    /// The consumer group
    pub group: String,
    /// Delete the topic with all its letters, open or not; it is made again when it is needed
    #[arg(long)]
    pub delete: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Flags of `run`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "The command finds the server through NAMESRV_ADDR, ROCKETMQ_NAMESRV_ADDR, ROCKETMQ_NAME_SERVER,
RMQ_LITE_BROKER and RMQ_LITE_WEB. Every port is a free one unless it is given.

Examples:
  rmq-lite run -- mvn test
  rmq-lite run --timings apache -- ./integration-tests.sh --fast"
)]
pub struct RunArgs {
    /// Flags of the server.
    #[command(flatten)]
    pub start: StartArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, num_args = 1.., value_name = "CMD")]
    pub command: Vec<std::ffi::OsString>,
}

impl RunArgs {
    /// Resolves the flags of a server that is thrown away: free ports and a temporary directory unless said
    /// otherwise.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        let mut choices = self.start.choices();
        choices.ephemeral |= choices.data_dir.is_none();
        for port in [&mut choices.namesrv_port, &mut choices.broker_port, &mut choices.web_port] {
            port.get_or_insert(0);
        }
        Settings::resolve(Role::Everything, choices)
    }
}

/// The command line of the program under the name by which it was called.
#[derive(Debug)]
pub enum Invocation {
    /// `rmq-lite` or any other name.
    Own(Cli),
    /// `mqnamesrv`.
    Mqnamesrv(NamesrvArgs),
    /// `mqbroker`.
    Mqbroker(BrokerArgs),
}

impl Invocation {
    /// Reads a command line whose first word is the name of the program; the error prints itself and knows its
    /// exit code.
    pub fn parse_from<I>(words: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = std::ffi::OsString>,
    {
        let words: Vec<_> = words.into_iter().collect();
        let name = words.first().map(PathBuf::from).and_then(|path| path.file_stem().map(ToOwned::to_owned));
        match name.as_deref().and_then(std::ffi::OsStr::to_str) {
            Some("mqnamesrv") => NamesrvArgs::try_parse_from(words).map(Self::Mqnamesrv),
            Some("mqbroker") => BrokerArgs::try_parse_from(words).map(Self::Mqbroker),
            _ => Cli::try_parse_from(words).map(Self::Own),
        }
    }
}

/// Reads `KEY=VALUE`.
pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("allowed is KEY=VALUE, such as flushDiskType=SYNC_FLUSH".to_owned()),
    }
}

/// Collects the variables that [`Choices::environment`] is about.
fn environment() -> Vec<(String, String)> {
    let ours = |name: &str| name.starts_with("RMQ_LITE_") || name == "NAMESRV_ADDR";
    let texts = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    texts.filter(|(name, _)| ours(name)).collect()
}

#[cfg(test)]
mod tests;
