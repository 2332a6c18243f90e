//! A broker's seat in a server: its configuration, directory and ports, which stay while the broker itself is stopped and
//! started again, as a lesson on failover wants it.
//!
//! A seat with sockets goes in, and a broker that runs comes out; while it is stopped its ports are closed and its data
//! lie there. The order of stopping is that of a whole server, in three steps, so that a server can take each of them
//! for all its brokers before the next.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;

use super::{BrokerSockets, DRAIN_LIMIT, Doing, REGISTER_LIMIT, StartError, dialable, local, seconds, serve};
use crate::broker::address::Address;
use crate::broker::{self, Broker, BrokerOptions};
use crate::clock::Clock;
use crate::config::Settings;
use crate::config::keys::BrokerKeys;
use crate::faults::Faults;
use crate::lifecycle::Lifecycle;
use crate::namesrv::{FirstSight, Neighbour};
use crate::remoting::{Peer, Routes};
use crate::store::MessageStore;

/// What the brokers of a server share.
#[derive(Clone)]
pub(super) struct House {
    pub(super) settings: Settings,
    /// The NameServer of the same process.
    pub(super) name_server: Option<SocketAddr>,
    pub(super) clock: Clock,
    /// Hears how far a store's recovery is.
    pub(super) doing: Arc<Doing>,
}

/// A place for one broker.
pub(super) struct Seat {
    house: House,
    /// What the broker is started with; at a stop it becomes what administrators have set.
    keys: Mutex<BrokerKeys>,
    config_file: PathBuf,
    advertised_port: Option<u16>,
    faults: Faults,
    /// The ports: of clients, the fast one, of slaves.
    bound: [SocketAddr; 3],
    running: ArcSwapOption<Running>,
    /// One start or stop at a time.
    turn: tokio::sync::Mutex<()>,
}

/// A broker that runs.
pub(super) struct Running {
    pub(super) broker: Arc<Broker>,
    /// Whether its tasks were started, so that it must be ended.
    begun: AtomicBool,
    /// The request tables of its two ports for clients.
    pub(super) routes: [Arc<Routes<Broker>>; 2],
    /// Listeners and connections: ended first, so that nothing new comes in.
    front: Lifecycle,
    /// Everything that must outlive the last call.
    back: Lifecycle,
}

impl Seat {
    /// Makes a seat with a broker in it that is built and not yet started; others may run meanwhile.
    pub(super) async fn new(
        house: House,
        keys: BrokerKeys,
        config_file: PathBuf,
        advertised_port: Option<u16>,
        faults: Faults,
        sockets: &BrokerSockets,
    ) -> Result<Arc<Self>, StartError> {
        let bound = [local(&sockets.main)?, local(&sockets.fast)?, local(&sockets.ha)?];
        let seat = Self {
            house,
            keys: Mutex::new(keys),
            config_file,
            advertised_port,
            faults,
            bound,
            running: ArcSwapOption::empty(),
            turn: tokio::sync::Mutex::default(),
        };
        let seat = Arc::new(seat);
        seat.build().await?;
        Ok(seat)
    }

    /// Returns where the broker listens when it runs: for clients, the fast port, for slaves.
    pub(super) fn addresses(&self) -> [String; 3] {
        self.bound.map(dialable)
    }

    /// Returns the broker, if it runs.
    pub(super) fn running(&self) -> Option<Arc<Running>> {
        self.running.load_full()
    }

    /// Starts the broker that is stopped, on its ports and its data; does nothing when it runs.
    pub(super) async fn start(self: &Arc<Self>) -> Result<(), StartError> {
        let _turn = self.turn.lock().await;
        if self.running().is_some() {
            return Ok(());
        }
        let backlog = self.keys().server_socket_backlog;
        let sockets = BrokerSockets::bind_again(self.bound, backlog)?;
        let running = self.build().await?;
        if let Err(cause) = self.serve(sockets) {
            running.farewell().await;
            running.drain().await;
            running.end().await;
            self.running.store(None);
            return Err(cause);
        }
        self.settled().await;
        Ok(())
    }

    /// Waits for a start or stop that is under way, and keeps others away while the guard lives.
    pub(super) async fn hold(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Stops the broker in order, as a server stops; does nothing when it does not run.
    pub(super) async fn stop(&self) {
        let _turn = self.turn.lock().await;
        if let Some(running) = self.running() {
            running.farewell().await;
            running.drain().await;
            running.end().await;
            self.keep(running.broker.configured_keys());
            self.running.store(None);
        }
    }

    /// Waits until a NameServer knows the broker; says whether one does in time.
    pub(super) async fn settled(&self) -> bool {
        match self.running() {
            Some(running) => running.broker.registration_settled(REGISTER_LIMIT).await,
            None => false,
        }
    }

    fn keys(&self) -> BrokerKeys {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes what administrators have set for the next start, also what waits for it, if a broker can be started so.
    fn keep(&self, mut keys: BrokerKeys) {
        match keys.settle() {
            Ok(_) => *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = keys,
            Err(problem) => tracing::warn!("started again as before: {problem}"),
        }
    }

    /// Puts a broker into the seat. Other tasks go on while its store recovers.
    async fn build(self: &Arc<Self>) -> Result<Arc<Running>, StartError> {
        let seat = Arc::clone(self);
        let built = tokio::task::spawn_blocking(move || seat.build_blocking()).await;
        let built = built.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))?;
        let built = Arc::new(built);
        self.running.store(Some(Arc::clone(&built)));
        Ok(built)
    }

    fn build_blocking(&self) -> Result<Running, StartError> {
        let (House { settings, name_server, clock, doing }, mut keys) = (&self.house, self.keys());
        let bound = self.bound[0];
        keys.listen_port = bound.port().into();
        let advertised = settings.advertise.as_ref();
        let host = advertised.map(|advertise| advertise.host.clone()).or_else(|| keys.broker_ip1.clone());
        let port = self.advertised_port.unwrap_or(bound.port());
        let mut name_servers: Vec<String> = name_server.iter().copied().map(dialable).collect();
        name_servers.extend(keys.namesrv_addrs());
        let options = broker::store_options(&keys, bound);
        let listener = |line: &str| doing.tell(line);
        let store = MessageStore::open_telling(options, clock.clone(), self.faults.clone(), &listener)?;
        let options = BrokerOptions {
            config_dir: keys.config_dir(),
            config_file: self.config_file.clone(),
            name_servers,
            ha_port: self.bound[2].port(),
            address: Address::new(host, bound, port),
            strict_topics: settings.strict_topics,
            keys,
        };
        Ok(Running {
            broker: Broker::new(options, store, clock.clone(), self.faults.clone())?,
            routes: [&[][..], &broker::routes::NOT_ON_THE_FAST_PORT].map(|without| {
                Arc::new(broker::routes::routes().without(without).failing(self.faults.clone()))
            }),
            begun: AtomicBool::new(false),
            front: Lifecycle::new(),
            back: Lifecycle::new(),
        })
    }

    /// Starts the tasks of the broker that was built, and serves its ports. A failure leaves what was started to be ended.
    pub(super) fn serve(&self, sockets: BrokerSockets) -> Result<(), StartError> {
        let Some(running) = self.running() else { return Ok(()) };
        let Running { broker, begun, routes: [main, fast], front, back } = &*running;
        begun.store(true, Ordering::SeqCst);
        broker.store.start(back)?;
        broker.start(back).map_err(StartError::Thread)?;
        // A send that is being drained may still wait for a slave's word.
        broker.serve_slaves(sockets.ha, back);
        let idle = seconds(self.keys().server_channel_max_idle_time_seconds);
        let clock = &self.house.clock;
        serve(sockets.main, main.clone(), broker.clone(), clock, idle, front)?;
        serve(sockets.fast, fast.clone(), broker.clone(), clock, idle, front)
    }
}

impl Running {
    /// Says whether tasks of the broker were started.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::SeqCst)
    }

    /// Lets waiting pulls answer, and tells the NameServers.
    pub(super) async fn farewell(&self) {
        self.broker.stop(&self.back).await;
    }

    /// Takes no more calls, and lets those that run end, at most for a while.
    pub(super) async fn drain(&self) {
        if !self.front.stop(DRAIN_LIMIT).await {
            tracing::warn!("some connections did not end in time");
        }
    }

    /// Ends everything else, writes the configuration files a last time, and closes the store.
    pub(super) async fn end(&self) {
        if !self.back.stop(DRAIN_LIMIT).await {
            tracing::warn!("some of the broker's tasks did not end in time");
        }
        let (broker, back) = (self.broker.clone(), self.back.clone());
        let stopped = tokio::task::spawn_blocking(move || {
            // Now that nothing more is accepted: what a client was told to be kept is in this last write.
            broker.stop_saving();
            broker.store.stop();
            back.join_threads();
        });
        if stopped.await.is_err() {
            tracing::error!("stopping the store failed; its next start will recover it");
        }
    }
}

/// The broker in the seat, while there is one.
impl Neighbour for Seat {
    fn first_sight(&self, topic: &str, peer: &Peer) -> Option<FirstSight> {
        self.running()?.broker.first_sight(topic, peer)
    }

    fn reachable_address(&self, broker_addr: &str, peer: &Peer) -> Option<String> {
        self.running()?.broker.reachable_address(broker_addr, peer)
    }
}
