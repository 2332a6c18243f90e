//! The console.

use std::sync::Arc;

use tokio::net::TcpListener;

use crate::broker::Broker;
use crate::lifecycle::Lifecycle;
use crate::namesrv::NameServer;

/// What the console shows.
pub struct Shown {
    /// The NameServer, if one runs here.
    pub name_server: Option<Arc<NameServer>>,
    /// The broker, if one runs here.
    pub broker: Option<Arc<Broker>>,
}

/// Serves the console until `life` is cancelled.
pub fn serve(socket: TcpListener, _: Shown, life: &Lifecycle) {
    let token = life.token();
    life.spawn("console", async move {
        token.cancelled().await;
        drop(socket);
    });
}
