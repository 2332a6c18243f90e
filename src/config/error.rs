//! [`SettingsError`]: why settings cannot be used, each in one line that names the thing and the remedy.

use std::io;
use std::path::PathBuf;

use super::keys::KeyError;
use super::properties::MalformedEscape;

/// Why settings cannot be used; the text is one line naming the thing and the remedy. Exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A key's value is not allowed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {source}; check the path given with -c", path.display())]
    File {
        /// The file as it was named.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is no properties file.
    #[error("{}: {source}", path.display())]
    Syntax {
        /// The file as it was named.
        path: PathBuf,
        /// What is wrong with it, with the line.
        source: MalformedEscape,
    },
    /// A slave has the id of a master.
    #[error(
        "{origin}: Slave's brokerId must be > 0, and it is {id}; set brokerId=1 or use a master's brokerRole"
    )]
    SlaveId {
        /// Where the id or the role came from.
        origin: String,
        /// The id.
        id: i64,
    },
    /// Automatic failover was asked for.
    #[error(
        "{origin}: enableDLegerCommitLog=true asks for automatic failover, which is not available; leave it out, and \
make one broker of the name SYNC_MASTER and the others SLAVE with brokerId=1, 2, ..."
    )]
    Raft {
        /// Where the key was set.
        origin: String,
    },
    /// A slave was to have a slave beside it.
    #[error("--slave starts a slave beside a master, and brokerRole is SLAVE; leave one of them out")]
    SlaveOfSlave,
    /// The name cannot be a directory's name.
    #[error(
        "--name {0:?} is not possible: use 1 to 64 of the characters A-Z a-z 0-9 . _ - and do not begin with ."
    )]
    Name(String),
    /// There is no place to keep data.
    #[error("there is no home directory to keep data in (HOME is not set); {0}")]
    NoHome(&'static str),
    /// `bindAddress` is no address.
    #[error(
        "{origin}: bindAddress={value} is not an IP address; allowed is an address of this machine, 127.0.0.1 or 0.0.0.0"
    )]
    Bind {
        /// Where the value came from.
        origin: String,
        /// The value.
        value: String,
    },
    /// Two listeners want one port.
    #[error(
        "{one} and {other} both need port {port}; choose another port for one of them (0 is any free one)"
    )]
    SamePort {
        /// The first listener and how its port is set.
        one: &'static str,
        /// The second one.
        other: &'static str,
        /// The port.
        port: u16,
    },
    /// The broker's derived ports do not exist.
    #[error(
        "broker port {0} is not possible: it needs the ports two below and one above as well; use 3 to 65534, or 0 for any"
    )]
    BrokerPort(u16),
}
