//! The console and the HTTP interface: one port for people, probes, Prometheus and scripts.
//!
//! A bound socket and the rooms to look into go in. Served are `/healthz` (the process answers), `/readyz` (it
//! takes messages), `/metrics`, [JSON](api) below `/api/v1/`, and the files of the console. [`guard`] keeps pages
//! of other origins away, [`connection`] bounds what a peer can hold. Nothing here changes the server.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
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
#[cfg(test)]
mod tests;

use guard::Names;
use problem::Problem;

/// What the console shows.
pub struct Shown {
    /// The NameServer, if one runs here.
    pub name_server: Option<Arc<NameServer>>,
    /// The broker, if one runs here.
    pub broker: Option<Arc<Broker>>,
    /// The broker's request tables, for the numbers of requests that wait.
    pub broker_routes: Vec<Arc<Routes<Broker>>>,
    /// The NameServer's address for clients on this machine, `host:port`.
    pub name_server_address: Option<String>,
    /// Host given with `--advertise`: the console answers under this name too.
    pub advertised_host: Option<String>,
    /// The server's clock.
    pub clock: Clock,
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
        .route("/healthz", get(async || Json(json!({"status": "alive"}))))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .nest("/api/v1", api::router())
        .fallback(assets::file)
        .with_state(Arc::new(shown))
        .layer(middleware::from_fn_with_state(names, guard::guard))
}

/// Says whether messages are taken; the port is only served once clients can use the server.
async fn readyz(State(shown): State<Arc<Shown>>) -> Response {
    if let Some(broker) = &shown.broker {
        let refusal = match broker.store.refusal_reason() {
            _ if broker.is_stopping() => Some("the server is stopping".to_owned()),
            Some(reason) => Some(reason),
            None if !broker.store.is_writeable() => Some("the store takes no messages now".to_owned()),
            None => None,
        };
        if let Some(refusal) = refusal {
            return Problem::new(StatusCode::SERVICE_UNAVAILABLE, refusal).into_response();
        }
    }
    Json(json!({"status": "ready"})).into_response()
}

async fn scrape(State(shown): State<Arc<Shown>>) -> Result<Response, Problem> {
    let Some(broker) = shown.broker.clone() else {
        return Err(Problem::not_found("no broker runs in this process, and only brokers have metrics"));
    };
    let text = read(move || metrics::scrape(&broker, &shown.broker_routes)).await?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

/// Looks into the rooms on a thread that may wait.
async fn read<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(look).await.map_err(|cause| {
        tracing::error!("reading for the console failed: {cause}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "reading failed; the server's log says more")
    })
}
