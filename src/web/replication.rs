//! `/api/v1/replication`: how far slaves are, and the switch that holds the log back or stops and starts a broker.
//!
//! For lessons and tests: what senders and consumers see when a slave lags, or when one of the two is away.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::{Shown, Which};
use crate::broker::Broker;
use crate::ha::valve::{Flow, LAG_MS_MAX};

/// Replication within this process.
#[derive(Serialize)]
pub(super) struct Replication {
    /// The broker of the process, unless it is a NameServer alone.
    master: Option<Seat<MasterState>>,
    /// The slave beside it, if one was asked for.
    slave: Option<Seat<SlaveState>>,
}

#[derive(Serialize)]
struct Seat<T> {
    /// Whether the broker runs; when not, nothing else is known.
    running: bool,
    #[serde(flatten)]
    state: Option<T>,
}

#[derive(Serialize)]
struct MasterState {
    role: String,
    log_ends: i64,
    /// Whether the log is held back.
    paused: bool,
    /// By how much it is sent later.
    lag_ms: u64,
    /// Slaves that a send waits for.
    wanted: usize,
    in_sync: usize,
    slaves: Vec<SlaveOfMaster>,
}

/// A slave as its master sees it.
#[derive(Serialize)]
struct SlaveOfMaster {
    address: String,
    acked: i64,
    in_sync: bool,
    lag_bytes: i64,
    lag_ms: i64,
    bytes_per_second: u64,
}

/// The slave as it sees itself.
#[derive(Serialize)]
struct SlaveState {
    log_ends: i64,
    /// The master's replication address.
    master: Option<String>,
    connected: bool,
    bytes_per_second: u64,
}

/// What is to be done; at least one thing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    /// Hold the log back, or let it go.
    paused: Option<bool>,
    /// Send the log so much later.
    lag_ms: Option<u64>,
    /// Stop a broker; it keeps its ports and data.
    stop: Option<Which>,
    /// Start a broker that was stopped.
    start: Option<Which>,
}

pub(super) async fn replication(State(shown): State<Arc<Shown>>) -> Json<Replication> {
    Json(state(&shown))
}

/// Stops, starts, then sets the flow; answers when it is so.
pub(super) async fn steer_replication(
    State(shown): State<Arc<Shown>>,
    wish: Result<Json<Wish>, JsonRejection>,
) -> Result<Json<Replication>, Problem> {
    let Json(wish) = wish.map_err(|cause| Problem::bad_request(cause.body_text()))?;
    if wish.paused.is_none() && wish.lag_ms.is_none() && wish.stop.is_none() && wish.start.is_none() {
        return Err(Problem::bad_request("nothing is asked for: say paused, lag_ms, stop or start"));
    }
    if let Some(lag_ms) = wish.lag_ms.filter(|lag_ms| *lag_ms > LAG_MS_MAX) {
        return Err(Problem::bad_request(format!("lag_ms is {lag_ms}; 0 to {LAG_MS_MAX} are possible")));
    }
    for which in [wish.stop, wish.start].into_iter().flatten() {
        if !shown.brokers.has(which) {
            return Err(Problem::not_found(format!("no {which} belongs to this process; start has --slave")));
        }
    }
    if let Some(which) = wish.stop {
        tracing::info!(%which, "stopped by order");
        shown.brokers.stop(which).await;
    }
    if let Some(which) = wish.start {
        tracing::info!(%which, "started by order");
        let started = shown.brokers.start(which).await;
        started.map_err(|cause| Problem::new(StatusCode::CONFLICT, cause))?;
    }
    if wish.paused.is_some() || wish.lag_ms.is_some() {
        let Some(master) = shown.brokers.running(Which::Master) else {
            return Err(Problem::new(StatusCode::CONFLICT, "the master does not run"));
        };
        let flow = master.ha.valve.flow();
        let flow =
            Flow { paused: wish.paused.unwrap_or(flow.paused), lag_ms: wish.lag_ms.unwrap_or(flow.lag_ms) };
        tracing::info!(flow.paused, flow.lag_ms, "replication is steered");
        master.ha.valve.set(flow);
    }
    Ok(Json(state(&shown)))
}

fn state(shown: &Shown) -> Replication {
    Replication {
        master: seat(shown, Which::Master, master_state),
        slave: seat(shown, Which::Slave, slave_state),
    }
}

fn seat<T>(shown: &Shown, which: Which, look: impl FnOnce(&Broker) -> T) -> Option<Seat<T>> {
    let state = shown.brokers.running(which).map(|broker| look(&broker));
    shown.brokers.has(which).then_some(Seat { running: state.is_some(), state })
}

fn master_state(broker: &Broker) -> MasterState {
    let slaves = broker.ha.slaves();
    let flow = broker.ha.valve.flow();
    MasterState {
        role: broker.keys().get("brokerRole").unwrap_or_default(),
        log_ends: broker.store.max_physical_offset().0,
        paused: flow.paused,
        lag_ms: flow.lag_ms,
        wanted: broker.store.slaves_wanted(),
        in_sync: slaves.iter().filter(|slave| slave.in_sync).count(),
        slaves: slaves
            .into_iter()
            .map(|slave| SlaveOfMaster {
                address: slave.address.to_string(),
                acked: slave.acked,
                in_sync: slave.in_sync,
                lag_bytes: slave.lag_bytes,
                lag_ms: slave.lag_ms,
                bytes_per_second: slave.bytes_per_second,
            })
            .collect(),
    }
}

fn slave_state(broker: &Broker) -> SlaveState {
    let view = broker.slave.as_ref().map(|slave| slave.replica.view()).unwrap_or_default();
    SlaveState {
        log_ends: broker.store.max_physical_offset().0,
        master: view.master,
        connected: view.connected,
        bytes_per_second: view.bytes_per_second,
    }
}
