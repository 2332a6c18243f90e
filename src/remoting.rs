//! Listeners and connections of any role: bytes of a socket in, answers out.
//!
//! [`connection`] serves one peer, [`routes`] says who answers which request code, [`client`] makes calls of
//! our own. What a request means is the business of the role that owns the routes. Mirrors
//! `NettyRemotingServer`, `NettyRemotingClient` and `NettyRemotingAbstract`.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::clock::Clock;
use crate::lifecycle::Lifecycle;

pub mod client;
pub mod connection;
mod forwarded;
pub mod routes;
mod tls;

pub use connection::Peer;
pub use routes::{Answer, Call, Outcome, Refusal, Routes, Service};

/// Most connections of one listener; one more is closed at once with one log line.
pub const CONNECTIONS_MAX: usize = 50_000;

/// Silence after which a connection gives back its buffers.
const REST_AFTER_MS: i64 = 1_000;

/// How often idle connections are looked for.
const IDLE_SWEEP: Duration = Duration::from_secs(10);

/// The open connections of one listener.
pub struct Listener {
    peers: Arc<Mutex<HashMap<u64, Arc<Peer>>>>,
    address: SocketAddr,
}

impl Listener {
    /// Serves `routes` on a bound socket until `life` is cancelled; connections without a byte for `idle` are closed.
    ///
    /// On cancellation no new connection is accepted; open ones end when their requests are answered.
    pub fn serve<S: Service>(
        socket: TcpListener,
        routes: Arc<Routes<S>>,
        state: Arc<S>,
        clock: Clock,
        idle: Duration,
        life: &Lifecycle,
    ) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let peers: Arc<Mutex<HashMap<u64, Arc<Peer>>>> = Arc::default();
        let accepting =
            Accepting { peers: peers.clone(), routes, state, clock: clock.clone(), life: life.clone() };
        life.spawn_until_cancelled("accept", accepting.run(socket));
        let (open, stopping) = (peers.clone(), life.token());
        life.spawn("close connections", async move {
            stopping.cancelled().await;
            open.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(|peer| peer.close());
        });
        let open = peers.clone();
        life.spawn_until_cancelled("idle sweep", async move {
            loop {
                clock.sleep(IDLE_SWEEP).await;
                let now_ms = clock.liveness_ms();
                let limit_ms = now_ms - idle.as_millis() as i64;
                for peer in open.lock().unwrap_or_else(PoisonError::into_inner).values() {
                    if peer.last_active_ms() < limit_ms {
                        tracing::debug!(peer = %peer.address(), "closing an idle connection");
                        peer.close();
                    } else {
                        peer.rest(now_ms - REST_AFTER_MS);
                    }
                }
            }
        });
        Ok(Self { peers, address })
    }

    /// Returns the bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of open connections.
    pub fn connections(&self) -> usize {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

struct Accepting<S> {
    peers: Arc<Mutex<HashMap<u64, Arc<Peer>>>>,
    routes: Arc<Routes<S>>,
    state: Arc<S>,
    clock: Clock,
    life: Lifecycle,
}

impl<S: Service> Accepting<S> {
    async fn run(self, socket: TcpListener) {
        loop {
            match socket.accept().await {
                Ok((stream, address)) => self.admit(stream, address),
                Err(cause) => {
                    // Out of file descriptors, mostly: accepting again at once would spin.
                    tracing::warn!(%cause, "cannot accept a connection");
                    self.clock.sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, address: SocketAddr) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= CONNECTIONS_MAX {
            tracing::warn!(peer = %address, "closed: there are already {CONNECTIONS_MAX} connections");
            return;
        }
        let Ok((peer, connection)) = connection::open(
            stream,
            address,
            self.routes.clone(),
            self.state.clone(),
            self.clock.clone(),
            connection::ANSWER_BYTES_MAX,
        ) else {
            return;
        };
        peers.insert(peer.id(), peer.clone());
        drop(peers);
        if self.life.is_cancelled() {
            // It may have come too late for those that are closed together.
            peer.close();
        }
        let (peers, state) = (self.peers.clone(), self.state.clone());
        self.life.spawn("connection", async move {
            // A handler that panics ends its connection, not the server.
            let gone = Gone { peers, state, peer };
            connection.accepted().run().await;
            drop(gone);
        });
    }
}

/// Takes the peer off the list and tells the role, however its connection ends.
struct Gone<S: Service> {
    peers: Arc<Mutex<HashMap<u64, Arc<Peer>>>>,
    state: Arc<S>,
    peer: Arc<Peer>,
}

impl<S: Service> Drop for Gone<S> {
    fn drop(&mut self) {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.peer.id());
        self.peer.mark_closed();
        self.state.disconnected(&self.peer);
    }
}

#[cfg(test)]
mod tests;
