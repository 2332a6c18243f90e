//! Calls of our own to a NameServer or broker, over the same wire.
//!
//! One connection, any number of calls in flight, matched by opaque. A lost connection fails the calls that
//! wait on it; the owner connects again. Mirrors the parts of `NettyRemotingClient` that a server needs.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, ToSocketAddrs};

use super::connection::{self, CallError, Peer};
use super::routes::{Routes, Service};
use crate::clock::Clock;
use crate::lifecycle::Lifecycle;
use crate::wire::command::{Command, Request};

/// Time that a connection attempt may take (`connectTimeoutMillis`).
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// A connection that we opened.
pub struct Client {
    peer: Arc<Peer>,
    life: Lifecycle,
}

/// The role of a client that serves nothing itself.
pub struct Nothing;

impl Service for Nothing {
    fn disconnected(&self, _: &Arc<Peer>) {}
}

impl Client {
    /// Connects to `address`; what the other end asks of us is refused as not supported.
    pub async fn connect(address: impl ToSocketAddrs, clock: &Clock, life: &Lifecycle) -> io::Result<Self> {
        Self::connect_serving(address, Arc::new(Routes::new()), Arc::new(Nothing), clock, life).await
    }

    /// Connects to `address` and answers the other end's own requests from `routes`.
    pub async fn connect_serving<S: Service>(
        address: impl ToSocketAddrs,
        routes: Arc<Routes<S>>,
        state: Arc<S>,
        clock: &Clock,
        life: &Lifecycle,
    ) -> io::Result<Self> {
        let stream = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(address))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let remote = stream.peer_addr()?;
        let life = life.child();
        let (peer, connection) =
            connection::open(stream, remote, routes, state.clone(), clock.clone(), usize::MAX)?;
        let (ended, signal) = (peer.clone(), life.token());
        let (closed, closing) = (peer.clone(), life.token());
        life.spawn("client close", async move {
            closing.cancelled().await;
            closed.close();
        });
        life.spawn("client connection", async move {
            connection.run().await;
            ended.mark_closed();
            state.disconnected(&ended);
            signal.cancel();
        });
        Ok(Self { peer, life })
    }

    /// Sends a request and waits for its answer, at most `limit`.
    pub async fn call(&self, request: Request, limit: Duration) -> Result<Command, CallError> {
        self.peer.call(request, limit).await
    }

    /// Sends a request that has no answer; says whether the connection took it.
    pub fn oneway(&self, request: Request) -> bool {
        self.peer.oneway(request)
    }

    /// Returns the address of the other end.
    pub fn address(&self) -> SocketAddr {
        self.peer.address()
    }

    /// Returns our own address on this connection.
    pub fn local_address(&self) -> SocketAddr {
        self.peer.local_address()
    }

    /// Says whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.peer.is_closed()
    }

    /// Resolves once the connection has ended.
    pub async fn closed(&self) {
        self.life.cancelled().await;
    }

    /// Ends the connection without waiting.
    pub fn close(&self) {
        self.life.cancel();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.life.cancel();
    }
}
