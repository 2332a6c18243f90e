//! A server as a value: builds all rooms, joins them, and takes them down again in order.
//!
//! [`Server::start`] is what the command line, the tests and other people's Rust tests call. It binds every
//! port and locks the store before anything is written, so that a failed start leaves nothing behind, and
//! returns once clients can use the server. Mirrors `BrokerStartup` and `NamesrvStartup`.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;

use crate::broker::{self, Broker};
use crate::clock::Clock;
use crate::config::keys::BrokerKeys;
use crate::config::{Role, Settings};
use crate::faults::Faults;
use crate::lifecycle::Lifecycle;
use crate::namesrv::{self, NameServer, Neighbour};
use crate::remoting::{Listener, Routes};
use crate::store;
use crate::web::{self, Which};

mod seat;

use seat::{House, Running, Seat};

/// Time that calls get to end when the server stops.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);
/// Time that the first registration may take before the server counts as ready without it.
const REGISTER_LIMIT: Duration = Duration::from_secs(3);

/// Where "any free port" is looked for first: below the ports that systems take for outgoing connections, so that
/// a server that is started again on its port finds it free.
const FREE_PORTS: std::ops::Range<u16> = 15_000..32_000;
/// Connections to the console that may wait to be accepted.
const WEB_BACKLOG: i32 = 128;
/// How the replication port is chosen.
const HA_PORT_FLAG: &str = "--set haListenPort=PORT";
/// Attempts before the system chooses.
const FREE_PORT_TRIES: usize = 32;

/// Why a server did not start; the text is one line naming the thing and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port cannot be bound.
    #[error("cannot listen on {address} for the {role}: {source}; {remedy}")]
    Bind {
        /// What the port was for.
        role: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
        /// What to do about it.
        remedy: String,
    },
    /// A directory cannot be made or used.
    #[error("cannot use the directory {}: {source}; choose another one with --data-dir", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A file of the broker's configuration cannot be read.
    #[error(transparent)]
    BrokerFile(#[from] broker::persist::PersistError),
    /// The NameServer's files cannot be read.
    #[error(transparent)]
    NameServer(#[from] namesrv::Error),
    /// The operating system refused a thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// Where a running server listens; what `--ports-file` and `--json` hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Endpoints {
    /// Process id.
    pub pid: u32,
    /// Name of the server.
    pub name: String,
    /// NameServer, `host:port`.
    pub namesrv: Option<String>,
    /// Broker, `host:port`.
    pub broker: Option<String>,
    /// The broker's second port (`listenPort - 2`).
    pub broker_fast: Option<String>,
    /// The broker's port for slaves (`haListenPort`).
    pub broker_ha: Option<String>,
    /// Slave broker, `host:port`.
    pub slave: Option<String>,
    /// gRPC endpoint; none yet.
    pub grpc: Option<String>,
    /// Console, as a URL.
    pub web: Option<String>,
    /// Directory of the data.
    pub data_dir: PathBuf,
    /// Whether the directory goes with the server.
    pub ephemeral: bool,
    /// Milliseconds from the beginning of the start to being ready.
    pub startup_ms: u64,
    /// What clients and tests want in their environment.
    pub env: BTreeMap<String, String>,
}

/// A running server.
pub struct Server {
    endpoints: Endpoints,
    name_server: Option<Arc<NameServer>>,
    seats: Arc<Seats>,
    clock: Clock,
    faults: Faults,
    /// Listeners and connections of NameServer and console: ended first, so that nothing new comes in.
    front: Lifecycle,
    /// What must outlive the last call.
    back: Lifecycle,
    /// Removes the directory of an ephemeral server when dropped.
    _directory: Option<Temporary>,
}

/// The directory of an ephemeral server, which goes with it.
struct Temporary(tempfile::TempDir);

/// Threads that remove a temporary directory.
const REMOVERS: usize = 16;

impl Drop for Temporary {
    /// Removes the directories of topics by several threads: each file of a queue may mean a wait for the disk, and there
    /// are as many files as queues. What they leave the directory itself removes when it is dropped.
    fn drop(&mut self) {
        let inside = |dir: &PathBuf| {
            std::fs::read_dir(dir)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .collect::<Vec<_>>()
        };
        let mut paths = vec![self.0.path().to_owned()];
        // <directory>/broker/consumequeue/<topic>, and whatever else lies as deep.
        for _ in 0..3 {
            paths = paths.iter().flat_map(inside).collect();
        }
        let next = AtomicUsize::new(0);
        let remove = || {
            while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                // A file is no directory and stays for later.
                let _ = std::fs::remove_dir_all(path);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..REMOVERS.min(paths.len() / 64) {
                // Without a thread there is nothing lost but time.
                let _ = std::thread::Builder::new().spawn_scoped(scope, remove);
            }
        });
    }
}

/// What a start is at.
struct Doing {
    text: ArcSwap<String>,
    listener: Box<dyn Fn(&str) + Send + Sync>,
}

impl Doing {
    fn tell(&self, text: &str) {
        self.text.store(Arc::new(text.to_owned()));
        (self.listener)(text);
    }
}

/// Where the brokers of the process sit.
struct Seats {
    /// The broker, whatever its role.
    broker: Option<Arc<Seat>>,
    /// The slave beside it.
    slave: Option<Arc<Seat>>,
    /// Runs what must come to its end although the one who asked for it is gone.
    life: Lifecycle,
}

/// The ports that a server has bound before anything else.
struct Sockets {
    name_server: Option<TcpListener>,
    broker: Option<BrokerSockets>,
    slave: Option<BrokerSockets>,
    web: Option<TcpListener>,
}

struct BrokerSockets {
    main: TcpListener,
    fast: TcpListener,
    ha: TcpListener,
}

impl Server {
    /// Starts what `settings` ask for and returns when clients can use it.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        Self::start_telling(settings, |_| {}).await
    }

    /// Does so and tells what it is at while a store recovers, which may take long: once a second, from a thread that may
    /// block. `/readyz` says the same until then.
    pub async fn start_telling(
        settings: Settings,
        listener: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let doing = Arc::new(Doing { text: ArcSwap::default(), listener: Box::new(listener) });
        let clock = Clock::new();
        let faults = Faults::default();
        let (front, back) = (Lifecycle::new(), Lifecycle::new());
        let bind = settings.bind;
        let name_server_socket = if settings.role == Role::Broker {
            None
        } else {
            let backlog = settings.namesrv.server_socket_backlog;
            Some(listen("NameServer", bind, settings.namesrv_port, "--namesrv-port", backlog)?)
        };
        let broker_sockets = match settings.role {
            Role::NameServer => None,
            _ => Some(BrokerSockets::bind(bind, settings.broker_port, &settings.broker, "--broker-port")?),
        };
        let slave_sockets = match &settings.slave {
            Some(slave) => Some(BrokerSockets::bind(bind, slave.port, &slave.keys, "--slave-port")?),
            None => None,
        };
        let web_socket = match settings.web_port {
            Some(port) => Some(listen("console", bind, port, "--web-port", WEB_BACKLOG)?),
            None => None,
        };
        let directory = make_directories(&settings)?;

        let opening = front.child();
        let _ends_with_this = opening.token().drop_guard();
        if let Some(socket) = &web_socket {
            let (told, host) =
                (doing.clone(), settings.advertise.as_ref().map(|advertise| advertise.host.clone()));
            let told = move || told.text.load().to_string();
            web::serve_opening(second(socket).map_err(StartError::Thread)?, told, host, &opening);
        }
        let own_name_server = name_server_socket.as_ref().map(local).transpose()?;
        let house =
            House { settings: settings.clone(), name_server: own_name_server, clock: clock.clone(), doing };
        let broker = match &broker_sockets {
            Some(sockets) => {
                let port = settings.advertise.as_ref().and_then(|advertise| advertise.port);
                let (keys, config_file) = (settings.broker.clone(), settings.broker_config_path());
                Some(Seat::new(house.clone(), keys, config_file, port, faults.clone(), sockets).await?)
            }
            None => None,
        };
        let slave = match settings.slave.as_ref().zip(slave_sockets.as_ref()) {
            Some((slave, sockets)) => {
                let config_file = slave.keys.config_dir().join("broker.properties");
                // Failures are ordered for the master.
                let faults = Faults::default();
                Some(Seat::new(house, slave.keys.clone(), config_file, None, faults, sockets).await?)
            }
            None => None,
        };
        let seats = Arc::new(Seats { broker, slave, life: back.clone() });
        let name_server = match &name_server_socket {
            Some(socket) => {
                let neighbour = seats.broker.clone().map(|seat| seat as Arc<dyn Neighbour>);
                let mut keys = settings.namesrv.clone();
                keys.listen_port = local(socket)?.port().into();
                Some(NameServer::new(keys, clock.clone(), neighbour)?)
            }
            None => None,
        };

        let endpoints = Endpoints {
            pid: std::process::id(),
            name: settings.name.clone(),
            namesrv: None,
            broker: None,
            broker_fast: None,
            broker_ha: None,
            slave: None,
            grpc: None,
            web: None,
            data_dir: settings.data_dir.clone(),
            ephemeral: settings.ephemeral,
            startup_ms: 0,
            env: BTreeMap::new(),
        };
        let mut server =
            Self { endpoints, name_server, seats, clock, faults, front, back, _directory: directory };
        let sockets = Sockets {
            name_server: name_server_socket,
            broker: broker_sockets,
            slave: slave_sockets,
            web: web_socket,
        };
        if let Err(cause) = server.serve(&settings, sockets, &opening).await {
            // The brokers that were served hold their stores until they are ended.
            server.stop().await;
            return Err(cause);
        }
        server.endpoints.env = environment(&server.endpoints);
        server.endpoints.startup_ms = server.clock.elapsed_ns() / 1_000_000;
        Ok(server)
    }

    /// Starts what was built and opens its ports, the console's last: `opening` has it until then.
    async fn serve(
        &mut self,
        settings: &Settings,
        sockets: Sockets,
        opening: &Lifecycle,
    ) -> Result<(), StartError> {
        let endpoints = &mut self.endpoints;
        if let (Some(server), Some(socket)) = (&self.name_server, sockets.name_server) {
            endpoints.namesrv = Some(dialable(local(&socket)?));
            server.start(&self.back);
            let routes = Arc::new(namesrv::routes::routes());
            let idle = seconds(settings.namesrv.server_channel_max_idle_time_seconds);
            serve(socket, routes, server.clone(), &self.clock, idle, &self.front)?;
        }
        if let (Some(seat), Some(sockets)) = (&self.seats.broker, sockets.broker) {
            let addresses = seat.addresses().map(Some);
            [endpoints.broker, endpoints.broker_fast, endpoints.broker_ha] = addresses;
            seat.serve(sockets)?;
            if !seat.settled().await {
                tracing::warn!(
                    "no NameServer has taken the registration yet; clients will not find this broker"
                );
            }
        }
        if let (Some(seat), Some(sockets)) = (&self.seats.slave, sockets.slave) {
            [endpoints.slave, ..] = seat.addresses().map(Some);
            seat.serve(sockets)?;
            seat.settled().await;
        }
        if let Some(socket) = sockets.web {
            endpoints.web = Some(format!("http://{}", dialable(local(&socket)?)));
            opening.stop(DRAIN_LIMIT).await;
            let shown = web::Shown {
                name_server: self.name_server.clone(),
                brokers: self.seats.clone(),
                name_server_address: endpoints.namesrv.clone(),
                advertised_host: settings.advertise.as_ref().map(|advertise| advertise.host.clone()),
                clock: self.clock.clone(),
            };
            web::serve(socket, shown, &self.front);
        }
        Ok(())
    }

    /// Returns where the server listens.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Returns the NameServer's address, `host:port`; empty when there is none.
    pub fn namesrv(&self) -> &str {
        self.endpoints.namesrv.as_deref().unwrap_or_default()
    }

    /// Returns the broker, if one runs.
    pub fn broker(&self) -> Option<Arc<Broker>> {
        self.seats.broker_of(Which::Master)
    }

    /// Returns the slave beside the broker, if one runs.
    pub fn slave(&self) -> Option<Arc<Broker>> {
        self.seats.broker_of(Which::Slave)
    }

    /// Returns the NameServer, if one runs.
    pub fn name_server(&self) -> Option<&Arc<NameServer>> {
        self.name_server.as_ref()
    }

    /// Returns the clock that the server decides by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns the table in which failures can be ordered.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Stops in order: farewell to NameServers, held pulls answered, calls drained, then the stores.
    pub async fn stop(self) {
        let _still = futures_util::future::join_all(self.seats.all().map(|seat| seat.hold())).await;
        let running = self.seats.all().filter_map(|seat| seat.running());
        let running: Vec<Arc<Running>> = running.filter(|broker| broker.has_begun()).collect();
        for broker in &running {
            broker.farewell().await;
        }
        let drained = futures_util::future::join_all(running.iter().map(|broker| broker.drain()));
        let (front, _) = tokio::join!(self.front.stop(DRAIN_LIMIT), drained);
        if !front {
            tracing::warn!("some connections did not end in time");
        }
        // The slave before its master: it must not find its master gone.
        for broker in running.iter().rev() {
            broker.end().await;
        }
        self.back.stop(DRAIN_LIMIT).await;
    }
}

impl Seats {
    fn of(&self, which: Which) -> Option<&Arc<Seat>> {
        match which {
            Which::Master => self.broker.as_ref(),
            Which::Slave => self.slave.as_ref(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Seat>> {
        self.broker.iter().chain(&self.slave)
    }

    fn broker_of(&self, which: Which) -> Option<Arc<Broker>> {
        Some(self.of(which)?.running()?.broker.clone())
    }
}

impl web::Brokers for Seats {
    fn has(&self, which: Which) -> bool {
        self.of(which).is_some()
    }

    fn running(&self, which: Which) -> Option<Arc<Broker>> {
        self.broker_of(which)
    }

    fn routes(&self) -> Vec<Arc<Routes<Broker>>> {
        let running = self.of(Which::Master).and_then(|seat| seat.running());
        running.map(|running| running.routes.to_vec()).unwrap_or_default()
    }

    fn stop(&self, which: Which) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let Some(seat) = self.of(which).cloned() else { return };
            let (done, over) = oneshot::channel();
            self.life.spawn("stop a broker", async move {
                seat.stop().await;
                let _ = done.send(());
            });
            let _ = over.await;
        })
    }

    fn start(&self, which: Which) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let Some(seat) = self.of(which).cloned() else {
                return Err(format!("this server has no {which}"));
            };
            let (done, over) = oneshot::channel();
            self.life.spawn("start a broker", async move {
                let _ = done.send(seat.start().await.map_err(|cause| cause.to_string()));
            });
            over.await.unwrap_or_else(|_| Err("the start ended by panic; the log says more".to_owned()))
        })
    }
}

fn listen(
    role: &'static str,
    ip: IpAddr,
    port: u16,
    flag: &str,
    backlog: i32,
) -> Result<TcpListener, StartError> {
    let bind = |address: SocketAddr| {
        let socket = if ip.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A server that is started again may have its port at once, whatever the last one's connections do.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(backlog.unsigned_abs())
    };
    if port == 0 {
        for _ in 0..FREE_PORT_TRIES {
            if let Ok(socket) = bind((ip, fastrand::u16(FREE_PORTS)).into()) {
                return Ok(socket);
            }
        }
    }
    let address = SocketAddr::new(ip, port);
    bind(address).map_err(|source| {
        let remedy = match source.kind() {
            io::ErrorKind::AddrInUse => {
                format!("stop what listens there, or choose another port with {flag} (0 is any)")
            }
            io::ErrorKind::AddrNotAvailable => "choose an address of this machine with --bind".to_owned(),
            _ => format!("choose another port with {flag} (0 is any)"),
        };
        StartError::Bind { role, address, source, remedy }
    })
}

impl BrokerSockets {
    /// Binds the broker's port, the fast port two below it and the replication port one above, unless that is set.
    ///
    /// When any port will do, three that lie so are looked for, and else the other two are any free ones.
    fn bind(ip: IpAddr, port: u16, keys: &BrokerKeys, flag: &str) -> Result<Self, StartError> {
        let backlog = keys.server_socket_backlog;
        let (fast_role, ha_role) = ("broker's fast port", "broker's replication port");
        let ha_port = u16::try_from(keys.ha_listen_port).ok().filter(|port| *port != 0);
        let mut tries = if port == 0 { FREE_PORT_TRIES } else { 1 };
        loop {
            let main = listen("broker", ip, port, flag, backlog)?;
            let own = local(&main)?.port();
            let fast = listen(fast_role, ip, own.wrapping_sub(2), flag, backlog);
            let ha = listen(ha_role, ip, ha_port.unwrap_or(own.wrapping_add(1)), HA_PORT_FLAG, backlog);
            match (fast, ha) {
                (Ok(fast), Ok(ha)) => return Ok(Self { main, fast, ha }),
                (Err(cause), _) | (_, Err(cause)) if port != 0 => return Err(cause),
                _ if tries == 0 => {
                    let fast = listen(fast_role, ip, 0, flag, backlog)?;
                    let ha = listen(ha_role, ip, ha_port.unwrap_or(0), HA_PORT_FLAG, backlog)?;
                    return Ok(Self { main, fast, ha });
                }
                _ => tries -= 1,
            }
        }
    }

    /// Binds the ports that a broker had.
    fn bind_again(bound: [SocketAddr; 3], backlog: i32) -> Result<Self, StartError> {
        let again =
            |role, address: SocketAddr, flag| listen(role, address.ip(), address.port(), flag, backlog);
        Ok(Self {
            main: again("broker", bound[0], "--broker-port")?,
            fast: again("broker's fast port", bound[1], "--broker-port")?,
            ha: again("broker's replication port", bound[2], HA_PORT_FLAG)?,
        })
    }
}

fn seconds(number: i32) -> Duration {
    Duration::from_secs(number.unsigned_abs().into())
}

fn local(socket: &TcpListener) -> Result<SocketAddr, StartError> {
    socket.local_addr().map_err(StartError::Thread)
}

/// Returns an address that a client on this machine can dial.
fn dialable(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            IpAddr::from([127, 0, 0, 1])
        } else {
            IpAddr::from([0u16, 0, 0, 0, 0, 0, 0, 1])
        });
    }
    address.to_string()
}

/// Returns a second handle of a socket that listens.
fn second(socket: &TcpListener) -> io::Result<TcpListener> {
    use std::os::fd::AsFd as _;
    TcpListener::from_std(socket.as_fd().try_clone_to_owned()?.into())
}

fn make_directories(settings: &Settings) -> Result<Option<Temporary>, StartError> {
    let path = settings.data_dir.clone();
    let failed = |source| StartError::Directory { path: path.clone(), source };
    if !settings.ephemeral {
        std::fs::create_dir_all(&path).map_err(failed)?;
        return Ok(None);
    }
    let parent = path.parent().map_or_else(std::env::temp_dir, PathBuf::from);
    let name = path.file_name().unwrap_or_default();
    let made = tempfile::Builder::new().prefix(name).rand_bytes(0).tempdir_in(parent).map_err(failed)?;
    Ok(Some(Temporary(made)))
}

fn serve<S: crate::remoting::Service>(
    socket: TcpListener,
    routes: Arc<Routes<S>>,
    state: Arc<S>,
    clock: &Clock,
    idle: Duration,
    life: &Lifecycle,
) -> Result<(), StartError> {
    Listener::serve(socket, routes, state, clock.clone(), idle, life).map(drop).map_err(StartError::Thread)
}

/// Returns what clients, Spring and tests look for in their environment.
fn environment(endpoints: &Endpoints) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let mut put = |name: &str, value: &Option<String>| {
        if let Some(value) = value {
            env.insert(name.to_owned(), value.clone());
        }
    };
    put("NAMESRV_ADDR", &endpoints.namesrv);
    put("ROCKETMQ_NAMESRV_ADDR", &endpoints.namesrv);
    put("ROCKETMQ_NAME_SERVER", &endpoints.namesrv);
    put("ROCKETMQ_ENDPOINTS", &endpoints.grpc);
    put("RMQ_LITE_WEB", &endpoints.web);
    put("RMQ_LITE_BROKER", &endpoints.broker);
    env
}
