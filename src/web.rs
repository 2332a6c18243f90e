//! The console and the HTTP interface: one port for people, probes, Prometheus and scripts.
//!
//! A bound socket and the rooms to look into go in. Served are `/healthz` (the process answers), `/readyz` (it
//! takes messages; while a store recovers: how far that is), `/metrics`, [JSON](api) below `/api/v1/`, and the files of the console. [`guard`] keeps pages
//! of other origins away, [`connection`] bounds what a peer can hold.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;

use crate::broker::Broker;
use crate::clock::Clock;
use crate::lifecycle::Lifecycle;
use crate::metrics;
use crate::namesrv::NameServer;
use crate::remoting::Routes;

mod api;
mod assets;
mod connection;
pub(crate) mod figures;
mod guard;
mod problem;
mod replication;
#[cfg(test)]
mod tests;

use guard::Names;
use problem::Problem;

/// A broker of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// The broker, which is a master unless its configuration says otherwise.
    Master,
    /// The slave beside it.
    Slave,
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Self::Master { "master" } else { "slave" })
    }
}

/// The brokers of the process, which may be stopped and started.
pub trait Brokers: Send + Sync {
    /// Says whether there is such a broker at all, running or not.
    fn has(&self, which: Which) -> bool;
    /// Returns the broker, if it runs.
    fn running(&self, which: Which) -> Option<Arc<Broker>>;
    /// Returns the request tables of the one called master, for the numbers of requests that wait.
    fn routes(&self) -> Vec<Arc<Routes<Broker>>>;
    /// Stops a broker in order; resolves when it has ended.
    fn stop(&self, which: Which) -> BoxFuture<'_, ()>;
    /// Starts a broker that was stopped, on its ports and data; the error is one line for a person.
    fn start(&self, which: Which) -> BoxFuture<'_, Result<(), String>>;
}

/// What the console shows.
pub struct Shown {
    /// The NameServer, if one runs here.
    pub name_server: Option<Arc<NameServer>>,
    /// The brokers that run here, or may.
    pub brokers: Arc<dyn Brokers>,
    /// The NameServer's address for clients on this machine, `host:port`.
    pub name_server_address: Option<String>,
    /// Host given with `--advertise`: the console answers under this name too.
    pub advertised_host: Option<String>,
    /// The server's clock.
    pub clock: Clock,
}

impl Shown {
    /// Returns the broker, if one runs.
    fn broker(&self) -> Option<Arc<Broker>> {
        self.brokers.running(Which::Master)
    }
}

/// Serves `/healthz` and `/readyz` on `socket` while the server is not there yet, until `life` is cancelled; `doing` says
/// what it is at. Everything else is refused with the same words.
pub fn serve_opening(
    socket: TcpListener,
    doing: impl Fn() -> String + Clone + Send + Sync + 'static,
    advertised: Option<String>,
    life: &Lifecycle,
) {
    if let Ok(address) = socket.local_addr() {
        connection::serve(socket, opening_router(doing, Names { bound: address.ip(), advertised }), life);
    }
}

fn opening_router(doing: impl Fn() -> String + Clone + Send + Sync + 'static, names: Names) -> Router {
    let refuse = async move || {
        let text = format!("the server is starting; {}", doing());
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, text.trim_end_matches("; "))
    };
    Router::new()
        .route("/healthz", get(alive))
        .fallback(refuse)
        .layer(middleware::from_fn_with_state(names, guard::guard))
}

async fn alive() -> Response {
    Json(json!({"status": "alive"})).into_response()
}

/// Serves the console on `socket` until `life` is cancelled; connections end within 150 ms of that.
pub fn serve(socket: TcpListener, shown: Shown, life: &Lifecycle) {
    let bound = match socket.local_addr() {
        Ok(address) => address.ip(),
        Err(cause) => {
            tracing::error!("the console has no address and is not served: {cause}");
            return;
        }
    };
    let names = Names { bound, advertised: shown.advertised_host.clone() };
    connection::serve(socket, router(shown, names), life);
}

fn router(shown: Shown, names: Names) -> Router {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .nest("/api/v1", api::router())
        .fallback(assets::file)
        .with_state(Arc::new(shown))
        .layer(middleware::from_fn_with_state(names, guard::guard))
}

/// Says whether messages are taken; while the server starts [`serve_opening`] answers instead.
async fn readyz(State(shown): State<Arc<Shown>>) -> Response {
    let broker = shown.broker();
    if broker.is_none() && shown.brokers.has(Which::Master) {
        let refusal = "the broker is stopped";
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, refusal).into_response();
    }
    if let Some(refusal) = broker.and_then(|broker| broker.unready_reason()) {
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, refusal).into_response();
    }
    Json(json!({"status": "ready"})).into_response()
}

async fn scrape(State(shown): State<Arc<Shown>>) -> Result<Response, Problem> {
    let Some(broker) = shown.broker() else {
        return Err(Problem::not_found("no broker runs in this process, and only brokers have metrics"));
    };
    let text = read(move || metrics::scrape(&broker, &shown.brokers.routes())).await?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

/// Looks into the rooms on a thread that may wait.
async fn read<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(look).await.map_err(|cause| {
        tracing::error!("reading for the console failed: {cause}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "reading failed; the server's log says more")
    })
}
