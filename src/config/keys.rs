//! RocketMQ's configuration keys: one table for the broker, one for the NameServer.
//!
//! Text goes in ([`BrokerKeys::set`], [`BrokerKeys::apply`]), typed fields and the text of GET_BROKER_CONFIG come
//! out. A table line names the Rust field, its type, Apache's default, the Java key, whether a running server
//! follows a change, whether the key has an effect here, and what it is for; everything else, the page
//! `docs/configuration.md` included, is made from those lines. Mirrors BrokerConfig, MessageStoreConfig,
//! NettyServerConfig, NettyClientConfig, AuthConfig and NamesrvConfig of 5.3.3, and `MixAll.properties2Object`
//! with one difference: a value that Apache would silently replace by its default is an error here.
//! Rules between keys and everything that is no RocketMQ key live in [`crate::config`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub(in crate::config) mod broker;
#[cfg(test)]
mod docs;
mod namesrv;
mod table;
#[cfg(test)]
mod tests;
mod value;

pub use broker::BrokerKeys;
pub use namesrv::NamesrvKeys;
pub use value::{BrokerRole, FlushDiskType, Kind, MessageRequestMode, MetricsExporterType, Value};

/// Which defaults a server starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timings {
    /// Apache's defaults except where they make a person wait or hide something (the default).
    #[default]
    Fast,
    /// Apache's defaults throughout.
    Apache,
}

/// What some defaults depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The user's home directory, when there is one.
    pub home: Option<String>,
    /// Directory below which programs keep the user's data (`$XDG_DATA_HOME`), when there is one.
    pub data_home: Option<PathBuf>,
    /// The host's name.
    pub host_name: String,
    /// Processors available to this process.
    pub cores: usize,
}

impl Machine {
    /// Looks at the environment, the host's name and the processors of this process.
    pub fn here() -> Self {
        let home = std::env::var("HOME").ok().filter(|home| !home.is_empty());
        let xdg = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let data_home = xdg.or_else(|| home.as_ref().map(|home| Path::new(home).join(".local/share")));
        let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { home, data_home, host_name, cores }
    }

    /// Returns the path of `name` in the home directory, in the root directory when there is none.
    fn under_home(&self, name: &str) -> String {
        format!("{}/{name}", self.home.as_deref().unwrap_or_default().trim_end_matches('/'))
    }
}

/// Where a value came from; its text begins every message about the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file.
    File {
        /// The file as the user named it.
        path: PathBuf,
        /// The line, counted from one.
        line: u32,
    },
    /// An environment variable of this name.
    Environment(String),
    /// A command line flag of this name, leading dashes included.
    Flag(&'static str),
    /// An administrator's request to the running server.
    Admin,
    /// The program itself: a rule between keys, or code that uses the library.
    Program,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(out, "{}:{line}", path.display()),
            Self::Environment(name) => write!(out, "environment variable {name}"),
            Self::Flag(name) => out.write_str(name),
            Self::Admin => out.write_str("configuration update"),
            Self::Program => out.write_str("settings"),
        }
    }
}

/// Whether a key does here what its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It does.
    Works,
    /// It is accepted and reported, and changes nothing for this reason.
    None(&'static str),
}

/// Which values of its type a key allows.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// Every value of the type.
    Any,
    /// A whole number from the first to the second, both included.
    Range(i64, i64),
    /// Text for which the function is true; the words say what that is.
    Rule(&'static str, fn(&str) -> bool),
}

/// One line of a table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The Java key.
    pub name: &'static str,
    /// Type of its value.
    pub kind: Kind,
    /// Values allowed beyond what the type says.
    pub limit: Limit,
    /// Says whether a running server follows a change; others count after a restart.
    pub live: bool,
    /// Says whether `--timings fast` has its own default.
    pub fast: bool,
    /// Whether it does what it says.
    pub effect: Effect,
    /// What it is for, with the unit; empty for keys that never have an effect.
    pub help: &'static str,
}

impl Key {
    /// Returns the words for what is allowed, such as "a whole number from 0 to 65535".
    pub fn allowed(&self) -> String {
        match (self.limit, self.kind) {
            (Limit::Range(from, to), _) => format!("a whole number from {from} to {to}"),
            (Limit::Rule(words, _), _) => words.to_owned(),
            (Limit::Any, kind) => kind.allowed(),
        }
    }

    /// Returns `value` as the table stores it, or `None` when it is not allowed.
    ///
    /// Blanks around it are dropped: the reference keeps those behind numbers and then ignores the number.
    fn accept(&self, value: &str) -> Option<String> {
        let text = self.kind.normalize(value.trim())?;
        let fits = match self.limit {
            Limit::Any => true,
            Limit::Range(from, to) => text.parse().is_ok_and(|number: i64| (from..=to).contains(&number)),
            Limit::Rule(_, holds) => holds(&text),
        };
        fits.then_some(text)
    }
}

/// A value that is not allowed; its text is one line naming origin, key, value and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct KeyError {
    /// Where the value came from.
    pub origin: Origin,
    /// The key as it was written.
    pub key: String,
    /// The value as it was written.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
}

impl fmt::Display for KeyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, key, value, allowed } = self;
        if key == "namesrvAddr" {
            // The sentence of BrokerStartup, which scripts look for.
            return write!(
                out,
                "{origin}: The Name Server Address[{value}] illegal, please set it as follows, {allowed}"
            );
        }
        write!(out, "{origin}: {key}={value} is not valid; allowed is {allowed}")
    }
}

/// What became of an accepted value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The table's spelling of the key; `None` for a key that no table knows.
    pub key: Option<&'static str>,
    /// Says whether the value differs from the former one.
    pub changed: bool,
    /// Says whether a running server follows the change without a restart.
    pub live: bool,
    /// One line for a person, origin included: unknown key, other spelling, or why there is no effect.
    pub note: Option<String>,
}

/// What a table's struct keeps beside its typed fields.
#[derive(Clone, Debug, Default, PartialEq)]
struct Beside {
    /// Which defaults the fields started from.
    timings: Timings,
    /// Values of the keys without a field; `None` is Java's null.
    texts: BTreeMap<&'static str, Option<String>>,
    /// Keys that the table does not know, kept because the reference reports them too.
    unknown: BTreeMap<String, String>,
    /// Where the keys that somebody set got their value.
    origins: BTreeMap<&'static str, Origin>,
}

/// Returns what stands behind the remark on an unknown key: the name that was probably meant, if one is near enough.
pub(crate) fn did_you_mean(key: &str, names: impl Iterator<Item = &'static str>) -> String {
    nearest(key, names).map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

/// Returns the known name that `key` was probably meant to be, when one is near enough to be named.
pub(crate) fn nearest(key: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let wanted = key.to_ascii_lowercase();
    let letters = wanted.chars().count();
    // A third of the letters may differ: beyond that the guess confuses more than it helps.
    let limit = (key.len() / 3).clamp(1, 6);
    // Comparing takes time in the square of the length, and `key` may be as long as a frame.
    let near = names
        .filter(|name| name.len().abs_diff(letters) <= limit)
        .map(|name| (edit_distance(&wanted, &name.to_ascii_lowercase()), name))
        .min()?;
    (near.0 <= limit).then_some(near.1)
}

/// Counts the letters to add, drop, change or swap with their neighbour.
pub(crate) fn edit_distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for i in 1..=one.len() {
        let mut row = vec![i; other.len() + 1];
        for j in 1..=other.len() {
            let differs = usize::from(one[i - 1] != other[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + differs);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[other.len()]
}
