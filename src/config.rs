//! [`Settings`]: everything a server needs to know, resolved once from flags, environment, file and defaults.
//!
//! [`Choices`] (what somebody asked for) go in, [`Settings`] or one clear [`SettingsError`] come out. What is
//! stronger wins: `--set`, then flags and their `RMQ_LITE_…` variables, then `RMQ_LITE_<key>` variables, then the
//! `-c` file or, for a whole server without one, what administrators changed, then the defaults. Mirrors
//! `BrokerStartup.buildBrokerController` and `NamesrvStartup.parseCommandlineAndConfigFile`. It reads these files and nothing else, opens no port and
//! makes no directory. The keys themselves live in [`keys`], the text they are written in in [`properties`].

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

mod advertise;
mod derived;
mod error;
pub mod keys;
pub mod properties;
#[cfg(test)]
mod tests;

pub use advertise::Advertise;
pub use error::SettingsError;
use keys::{BrokerKeys, KeyError, Machine, NamesrvKeys, Origin, Timings};
use properties::Properties;

/// Ports, names and words used when nobody says otherwise.
pub mod defaults {
    /// Port of the NameServer.
    pub const NAMESRV_PORT: u16 = 9876;
    /// Port of the broker.
    pub const BROKER_PORT: u16 = 10911;
    /// Port of the console and the HTTP interface.
    pub const WEB_PORT: u16 = 8082;
    /// Name of a server, and of its directory below the user's data directory.
    pub const NAME: &str = "default";
    /// Which log lines are shown.
    pub const LOG: &str = "info";
}

/// Which parts run in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// NameServer and broker together (`start`, `run`, the library).
    #[default]
    Everything,
    /// A NameServer alone (`namesrv`, `mqnamesrv`).
    NameServer,
    /// A broker alone (`broker`, `mqbroker`).
    Broker,
}

/// What was asked for on the command line, in the environment or by code; `None` and empty mean "not said".
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// Address to listen on.
    pub bind: Option<IpAddr>,
    /// Port of the NameServer; 0 is any free one.
    pub namesrv_port: Option<u16>,
    /// Port of the broker; 0 is any free one.
    pub broker_port: Option<u16>,
    /// Port of the console; 0 is any free one.
    pub web_port: Option<u16>,
    /// No console and no HTTP interface.
    pub headless: bool,
    /// A slave beside the master.
    pub slave: bool,
    /// Port of the slave; 0 is any free one.
    pub slave_port: Option<u16>,
    /// Address given to clients.
    pub advertise: Option<Advertise>,
    /// Name of the server.
    pub name: Option<String>,
    /// Directory that holds `namesrv/` and `broker/`.
    pub data_dir: Option<PathBuf>,
    /// Keeps the data in a directory that is removed at exit.
    pub ephemeral: bool,
    /// File to write the bound addresses to.
    pub ports_file: Option<PathBuf>,
    /// Prints one JSON object instead of a banner.
    pub json: bool,
    /// Makes no topic just because somebody asks for its route.
    pub strict_topics: bool,
    /// Which defaults the keys start from.
    pub timings: Option<Timings>,
    /// Filter for log lines.
    pub log: Option<String>,
    /// A RocketMQ properties file.
    pub config_file: Option<PathBuf>,
    /// NameServers to register with (`-n`).
    pub namesrv_addr: Option<String>,
    /// RocketMQ keys and their values (`--set`), in the order given.
    pub set: Vec<(String, String)>,
    /// Environment variables: those that begin with `RMQ_LITE_`, and NAMESRV_ADDR. Others are ignored.
    pub environment: Vec<(String, String)>,
}

/// Everything a server needs to know. Ports may be 0: any free one.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which parts run.
    pub role: Role,
    /// Name of the server.
    pub name: String,
    /// Directory of the server's data; with [`Settings::ephemeral`] it does not exist yet and its name is unique.
    pub data_dir: PathBuf,
    /// Says whether the data directory is to be removed at exit.
    pub ephemeral: bool,
    /// Address to listen on, for every part.
    pub bind: IpAddr,
    /// Port of the NameServer.
    pub namesrv_port: u16,
    /// Port of the broker; the fast port is two below, the replication port one above.
    pub broker_port: u16,
    /// The slave beside the broker, when one was asked for.
    pub slave: Option<SlaveSettings>,
    /// Port of the console; `None` when there is none.
    pub web_port: Option<u16>,
    /// Address given to clients; `None` leaves it to `brokerIP1`, then to the connection.
    pub advertise: Option<Advertise>,
    /// File to write the bound addresses to.
    pub ports_file: Option<PathBuf>,
    /// Prints one JSON object instead of a banner.
    pub json: bool,
    /// Makes no topic just because somebody asks for its route.
    pub strict_topics: bool,
    /// Which defaults the keys started from.
    pub timings: Timings,
    /// Filter for log lines, in the form of `tracing_subscriber::EnvFilter`.
    pub log: String,
    /// The properties file, when one was given; configuration updates are written back to it.
    pub config_file: Option<PathBuf>,
    /// The broker's keys. With [`Role::Everything`] an explicit `namesrvAddr` names further NameServers.
    pub broker: BrokerKeys,
    /// The NameServer's keys.
    pub namesrv: NamesrvKeys,
    /// Lines for a person: unknown keys, keys without effect, odd places in the file.
    pub warnings: Vec<String>,
}

/// A slave in the same process as its master.
#[derive(Clone, Debug)]
pub struct SlaveSettings {
    /// Its port; the fast port is two below, the replication port one above.
    pub port: u16,
    /// Its keys: the master's, with a role, an id, ports and a directory of its own.
    pub keys: BrokerKeys,
}

impl Settings {
    /// Resolves what was asked for; reads the configuration file.
    pub fn resolve(role: Role, choices: Choices) -> Result<Self, SettingsError> {
        Self::resolve_on(&Machine::here(), role, choices)
    }

    /// Returns the settings of a throw-away server for people who use the library: free ports on 127.0.0.1, a
    /// temporary directory, console included.
    pub fn ephemeral() -> Self {
        let choices = Choices {
            namesrv_port: Some(0),
            broker_port: Some(0),
            web_port: Some(0),
            ephemeral: true,
            ..Choices::default()
        };
        Self::resolve(Role::Everything, choices).expect("settings without a file and without keys are valid")
    }

    /// Returns the settings of a throw-away server for tests: as [`Settings::ephemeral`], without the console.
    pub fn for_test() -> Self {
        Self { web_port: None, name: "test".to_owned(), ..Self::ephemeral() }
    }

    /// As [`Settings::resolve`], on a given machine.
    pub fn resolve_on(machine: &Machine, role: Role, choices: Choices) -> Result<Self, SettingsError> {
        let timings = choices.timings.unwrap_or_default();
        let fresh = || Keys {
            role,
            broker: BrokerKeys::default_on(machine, timings),
            namesrv: NamesrvKeys::default_on(machine, timings),
            warnings: Vec::new(),
        };
        let mut keys = fresh();
        keys.collect(&choices)?;
        if role == Role::Everything && choices.config_file.is_none() && !choices.ephemeral {
            place(machine, role, &choices, &mut keys.broker, &mut keys.namesrv)?;
            let changed = [updates_of(&keys.broker), PathBuf::from(&keys.namesrv.config_store_path)];
            keys = fresh();
            keys.apply_changes(&changed)?;
            keys.collect(&choices)?;
        }
        let Keys { mut broker, mut namesrv, mut warnings, .. } = keys;
        if role == Role::Broker && !broker.is_explicit("brokerName") {
            broker.broker_name.clone_from(&machine.host_name);
        }
        let bind = bind(role, &mut broker, &mut namesrv, &mut warnings)?;
        let place = place(machine, role, &choices, &mut broker, &mut namesrv)?;
        if role != Role::NameServer {
            warnings.extend(broker.settle()?);
        }
        let slave = match role {
            Role::Everything if choices.slave => Some(slave(&choices, &broker, &place, &mut warnings)?),
            _ => None,
        };
        let web_port = match role {
            Role::Everything if !choices.headless => Some(choices.web_port.unwrap_or(defaults::WEB_PORT)),
            _ => None,
        };
        let settings = Self {
            role,
            name: place.name,
            data_dir: place.data_dir,
            ephemeral: place.ephemeral,
            bind,
            namesrv_port: namesrv.listen_port as u16,
            broker_port: broker.listen_port as u16,
            slave,
            web_port,
            advertise: choices.advertise,
            ports_file: choices.ports_file,
            json: choices.json,
            strict_topics: choices.strict_topics,
            timings,
            log: choices.log.unwrap_or_else(|| defaults::LOG.to_owned()),
            config_file: choices.config_file,
            broker,
            namesrv,
            warnings,
        };
        settings.check_ports()?;
        Ok(settings)
    }

    /// Returns the file that UPDATE_BROKER_CONFIG writes: the one given with `-c`, else one in the store.
    pub fn broker_config_path(&self) -> PathBuf {
        match (&self.config_file, self.broker.origin("storePathRootDir")) {
            (Some(file), _) => file.clone(),
            // The change of a former run, which moves the store and not the file that says so.
            (None, Some(Origin::File { path, .. })) => path.clone(),
            (None, _) => updates_of(&self.broker),
        }
    }

    fn check_ports(&self) -> Result<(), SettingsError> {
        if self.role == Role::NameServer {
            return Ok(());
        }
        let slave_port = self.slave.as_ref().map_or(0, |slave| slave.port);
        for port in [self.broker_port, slave_port] {
            if matches!(port, 1 | 2 | u16::MAX) {
                return Err(SettingsError::BrokerPort(port));
            }
        }
        if self.role == Role::Broker {
            return Ok(());
        }
        let mut taken =
            vec![("--namesrv-port", self.namesrv_port), ("--web-port", self.web_port.unwrap_or(0))];
        if self.broker_port != 0 {
            taken.push(("--broker-port", self.broker_port));
            taken.push(("the fast port (two below --broker-port)", self.broker_port - 2));
        }
        if slave_port != 0 {
            taken.push(("--slave-port", slave_port));
            taken.push(("the slave's fast port (two below --slave-port)", slave_port - 2));
            taken.push(("the slave's replication port (one above --slave-port)", slave_port + 1));
            if self.broker_port != 0 {
                taken.push(("the replication port (one above --broker-port)", self.broker_port + 1));
            }
        }
        taken.retain(|(_, port)| *port != 0);
        for (at, &(other, port)) in taken.iter().enumerate() {
            if let Some(&(one, _)) = taken[..at].iter().find(|(_, former)| *former == port) {
                return Err(SettingsError::SamePort { one, other, port });
            }
        }
        Ok(())
    }
}

/// Returns the directory of the server called `name`, which `start` makes and `status`, `stop` and others look into.
///
/// `data_dir` is the value of `--data-dir`, which is the directory itself.
pub fn data_dir(name: Option<&str>, data_dir: Option<&Path>) -> Result<PathBuf, SettingsError> {
    data_dir_on(&Machine::here(), name, data_dir)
}

fn data_dir_on(
    machine: &Machine,
    name: Option<&str>,
    data_dir: Option<&Path>,
) -> Result<PathBuf, SettingsError> {
    let name = name.unwrap_or(defaults::NAME);
    let legal = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(legal) {
        return Err(SettingsError::Name(name.to_owned()));
    }
    if let Some(data_dir) = data_dir {
        return Ok(std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned()));
    }
    let data_home =
        machine.data_home.as_ref().ok_or(SettingsError::NoHome("give a directory with --data-dir"))?;
    Ok(data_home.join("rmq-lite").join(name))
}

/// Both tables while values are being collected.
struct Keys {
    role: Role,
    broker: BrokerKeys,
    namesrv: NamesrvKeys,
    warnings: Vec<String>,
}

impl Keys {
    /// Sets keys from the weakest source to the strongest.
    fn collect(&mut self, choices: &Choices) -> Result<(), SettingsError> {
        if let Some(path) = &choices.config_file {
            self.apply_file(path)?;
        }
        let variable = |name: &str| choices.environment.iter().find(|(variable, _)| variable == name);
        if let (Role::Broker, None, Some((name, list))) =
            (self.role, &self.broker.namesrv_addr, variable("NAMESRV_ADDR"))
        {
            self.set("namesrvAddr", list, Origin::Environment(name.clone()))?;
        }
        for (name, value) in &choices.environment {
            let key = name.strip_prefix("RMQ_LITE_").unwrap_or_default();
            // Flags have capital letters, so a small one at the beginning says that it is a key.
            if key.starts_with(|first: char| first.is_ascii_lowercase()) {
                self.set(key, value, Origin::Environment(name.clone()))?;
            }
        }
        if let Some(bind) = choices.bind {
            self.set("bindAddress", &bind.to_string(), Origin::Flag("--bind"))?;
        }
        if let Some(port) = choices.broker_port {
            let text = port.to_string();
            self.broker.set("listenPort", &text, Origin::Flag("--broker-port"))?;
        }
        if let Some(port) = choices.namesrv_port {
            let flag = if self.role == Role::NameServer { "--port" } else { "--namesrv-port" };
            self.namesrv.set("listenPort", &port.to_string(), Origin::Flag(flag))?;
        }
        if let Some(list) = &choices.namesrv_addr {
            self.broker.set("namesrvAddr", list, Origin::Flag("-n"))?;
        }
        for (key, value) in &choices.set {
            self.set(key, value, Origin::Flag("--set"))?;
        }
        Ok(())
    }

    /// Sets what administrators changed in former runs, of the broker and of the NameServer.
    fn apply_changes(&mut self, [broker, namesrv]: &[PathBuf; 2]) -> Result<(), SettingsError> {
        if let Some(properties) = changed_before(broker)? {
            self.warnings.extend(self.broker.apply(&properties, broker)?);
        }
        if let Some(properties) = changed_before(namesrv)? {
            self.warnings.extend(self.namesrv.apply(&properties, namesrv)?);
        }
        Ok(())
    }

    fn apply_file(&mut self, path: &Path) -> Result<(), SettingsError> {
        let properties = read(path)?;
        let remarks = properties.remarks.iter();
        self.warnings
            .extend(remarks.map(|remark| format!("{}:{}: {}", path.display(), remark.line, remark.text)));
        for entry in properties.effective() {
            let origin = Origin::File { path: path.to_owned(), line: entry.line };
            self.set(&entry.key, &entry.value, origin)?;
        }
        Ok(())
    }

    /// Sets a key in the table that it belongs to: a key that both know is the broker's where there is one.
    fn set(&mut self, key: &str, value: &str, origin: Origin) -> Result<(), KeyError> {
        let for_namesrv = match self.role {
            Role::NameServer => true,
            Role::Broker => false,
            Role::Everything => BrokerKeys::find(key).is_none() && NamesrvKeys::find(key).is_some(),
        };
        let applied = if for_namesrv {
            self.namesrv.set(key, value, origin)?
        } else {
            self.broker.set(key, value, origin)?
        };
        self.warnings.extend(applied.note);
        Ok(())
    }
}

/// Returns the file that keeps what administrators change where no file was given with `-c`.
fn updates_of(broker: &BrokerKeys) -> PathBuf {
    broker.config_dir().join("broker.properties")
}

/// Reads what administrators changed in former runs, if they did.
fn changed_before(path: &Path) -> Result<Option<Properties>, SettingsError> {
    match read(path) {
        // Where a file stands in the way of the directory there is none either; the start says so when it makes it.
        Err(SettingsError::File { source, .. })
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        read => read.map(Some),
    }
}

fn read(path: &Path) -> Result<Properties, SettingsError> {
    let bytes =
        std::fs::read(path).map_err(|source| SettingsError::File { path: path.to_owned(), source })?;
    properties::parse(&bytes).map_err(|source| SettingsError::Syntax { path: path.to_owned(), source })
}

/// Finds the address to listen on and writes it into both tables.
fn bind(
    role: Role,
    broker: &mut BrokerKeys,
    namesrv: &mut NamesrvKeys,
    warnings: &mut Vec<String>,
) -> Result<IpAddr, SettingsError> {
    let (value, origin) = match role {
        Role::NameServer => (&namesrv.bind_address, namesrv.origin("bindAddress")),
        Role::Everything | Role::Broker => (&broker.bind_address, broker.origin("bindAddress")),
    };
    let bind = match (origin, value.as_str()) {
        (None, _) if role == Role::Everything => IpAddr::V4(Ipv4Addr::LOCALHOST),
        (None, _) => {
            warnings.push(
                "listening on every address of this machine (0.0.0.0), as Apache's scripts do; --bind 127.0.0.1 \
                 keeps it to this machine"
                    .to_owned(),
            );
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        }
        (Some(_), "localhost") => IpAddr::V4(Ipv4Addr::LOCALHOST),
        (Some(origin), text) => text
            .parse()
            .map_err(|_| SettingsError::Bind { origin: origin.to_string(), value: text.to_owned() })?,
    };
    broker.bind_address = bind.to_string();
    namesrv.bind_address = bind.to_string();
    Ok(bind)
}

/// Where a server keeps what.
struct Place {
    name: String,
    data_dir: PathBuf,
    ephemeral: bool,
}

/// Finds the data directory and writes the paths in it into the tables, unless they were set.
fn place(
    machine: &Machine,
    role: Role,
    choices: &Choices,
    broker: &mut BrokerKeys,
    namesrv: &mut NamesrvKeys,
) -> Result<Place, SettingsError> {
    if role != Role::Everything {
        return place_alone(machine, role, choices, broker, namesrv);
    }
    let name = choices.name.clone().unwrap_or_else(|| defaults::NAME.to_owned());
    let temporary =
        std::env::temp_dir().join(format!("rmq-lite-{}-{:016x}", std::process::id(), fastrand::u64(..)));
    let chosen = if choices.ephemeral { Some(temporary.as_path()) } else { choices.data_dir.as_deref() };
    let data_dir = data_dir_on(machine, Some(&name), chosen)?;
    let inside = |path: &str| data_dir.join(path).to_string_lossy().into_owned();
    if !broker.is_explicit("storePathRootDir") {
        broker.store_path_root_dir = inside("broker");
    }
    if !namesrv.is_explicit("kvConfigPath") {
        namesrv.kv_config_path = inside("namesrv/kvConfig.json");
    }
    if !namesrv.is_explicit("configStorePath") {
        namesrv.config_store_path = match &choices.config_file {
            Some(file) => file.to_string_lossy().into_owned(),
            None => inside("namesrv/namesrv.properties"),
        };
    }
    Ok(Place { name, data_dir, ephemeral: choices.ephemeral })
}

/// Derives a slave's settings from its master's and from what administrators changed at the slave.
fn slave(
    choices: &Choices,
    master: &BrokerKeys,
    place: &Place,
    warnings: &mut Vec<String>,
) -> Result<SlaveSettings, SettingsError> {
    if master.broker_role == keys::BrokerRole::Slave {
        return Err(SettingsError::SlaveOfSlave);
    }
    let mut keys = master.clone();
    keys.store_path_root_dir = place.data_dir.join("slave").to_string_lossy().into_owned();
    let own = updates_of(&keys);
    if let Some(mut changed) = changed_before(&own)?.filter(|_| !choices.ephemeral) {
        let stronger =
            |key: &str| matches!(master.origin(key), Some(Origin::Flag(_) | Origin::Environment(_)));
        changed.entries.retain(|entry| !stronger(&entry.key));
        warnings.extend(keys.apply(&changed, &own)?);
    }
    keys.broker_role = keys::BrokerRole::Slave;
    keys.broker_id = 1;
    keys.store_path_root_dir = place.data_dir.join("slave").to_string_lossy().into_owned();
    for own in [
        &mut keys.store_path_commit_log,
        &mut keys.store_path_consume_queue,
        &mut keys.store_path_index,
        &mut keys.store_checkpoint,
        &mut keys.abort_file,
    ] {
        *own = None;
    }
    keys.ha_master_address = None;
    keys.ha_listen_port = 0;
    let usual = match master.listen_port as u16 {
        0 => 0,
        port => port.checked_add(SLAVE_PORT_ABOVE).unwrap_or(0),
    };
    let port = choices.slave_port.unwrap_or(usual);
    keys.listen_port = port.into();
    Ok(SlaveSettings { port, keys })
}

/// How far a slave's port is above its master's, as in Apache's examples.
const SLAVE_PORT_ABOVE: u16 = 100;

/// As [`place`], for a role alone, which keeps its files where Apache keeps them.
fn place_alone(
    machine: &Machine,
    role: Role,
    choices: &Choices,
    broker: &BrokerKeys,
    namesrv: &mut NamesrvKeys,
) -> Result<Place, SettingsError> {
    if role == Role::Broker {
        if machine.home.is_none() && !broker.is_explicit("storePathRootDir") {
            return Err(SettingsError::NoHome("set storePathRootDir in the file or with --set"));
        }
        let usual = match broker.broker_id {
            0 => broker.broker_name.clone(),
            id => format!("{}-{id}", broker.broker_name),
        };
        let name = choices.name.clone().unwrap_or(usual);
        return Ok(Place { name, data_dir: broker.store_root().to_owned(), ephemeral: false });
    }
    if machine.home.is_none() && !namesrv.is_explicit("kvConfigPath") {
        return Err(SettingsError::NoHome("set kvConfigPath in the file or with --set"));
    }
    if let Some(path) = &choices.config_file {
        namesrv.config_store_path = path.to_string_lossy().into_owned();
    }
    let kv_config = Path::new(&namesrv.kv_config_path);
    let data_dir = kv_config.parent().unwrap_or(Path::new(".")).to_owned();
    let name = choices.name.clone().unwrap_or_else(|| "namesrv".to_owned());
    Ok(Place { name, data_dir, ephemeral: false })
}
