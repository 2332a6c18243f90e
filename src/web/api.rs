//! `/api/v1`: JSON about the server, its topics and its consumer groups; the server's clock can be moved, and dead letters sent
//! again.
//!
//! Every resource is described in `openapi.json`, which is served beside them; errors are problems. Reading the
//! rooms happens on a thread that may wait, so that a server with many topics keeps answering its clients.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::figures::{
    self, Cluster, DeadLetters, Group, GroupDetail, Overview, QueueLock, ServerState, Topic, TopicDetail,
};
use super::problem::Problem;
use super::replication::{replication, steer_replication};
use super::{Shown, read};
use crate::broker::Broker;
use crate::broker::timeline::Timeline;
use crate::broker::{DelayedMessage, HalfMessage, Pending};
use crate::clock;

/// The description of everything below `/api/v1`.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

/// Which messages are asked about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TimelineQuestion {
    /// A key, the id that the producer gave the message, or its offset message id.
    key: String,
    /// The topic; without it every topic is looked through.
    topic: Option<String>,
}

/// Which dead letters are sent again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResendWish {
    /// Most letters; all that are open unless told.
    max: Option<usize>,
}

/// What became of dead letters.
#[derive(Serialize)]
struct ResendOutcome {
    group: String,
    /// Letters that were sent again.
    resent: usize,
    /// Letters that are still open.
    open: i64,
    /// Why it stopped before all that were wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// How much of a list is wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuestion {
    /// Most messages of the answer, up to [`LIST_MAX`].
    max: Option<usize>,
}

/// Most messages of one list.
const LIST_MAX: usize = 1_000;
/// Messages of a list when nobody says how many.
const LIST_USUALLY: usize = 100;

/// The server's clock.
#[derive(Serialize)]
struct ClockState {
    /// What it shows, milliseconds since 1970.
    now_ms: i64,
    /// How far it was moved, milliseconds.
    skew_ms: i64,
}

/// What is to be done with the clock.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockWish {
    /// How much time is to pass, such as `90s` or `2h 30m`.
    advance: String,
}

type Shared = State<Arc<Shown>>;
type Found<T> = Result<Json<T>, Problem>;

pub(super) fn router() -> Router<Arc<Shown>> {
    Router::new()
        .route("/overview", get(overview))
        .route("/cluster", get(cluster))
        .route("/topics", get(topics))
        .route("/topics/{topic}", get(topic))
        .route("/groups", get(groups))
        .route("/groups/{group}", get(group))
        .route("/dead-letters", get(dead_letters))
        .route("/dead-letters/{group}/resend", post(resend_dead_letters))
        .route("/timeline", get(timeline))
        .route("/transactions", get(transactions))
        .route("/delayed", get(delayed))
        .route("/locks", get(locks))
        .route("/clock", get(clock).post(move_clock))
        .route("/replication", get(replication).post(steer_replication))
        .route("/openapi.json", get(async || ([(CONTENT_TYPE, "application/json")], OPENAPI)))
        .fallback(async || {
            Problem::not_found("there is no such resource; /api/v1/openapi.json lists them").into_response()
        })
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this resource does not know that method")
                .into_response()
        })
}

async fn overview(State(shown): Shared) -> Found<Overview> {
    read(move || {
        let broker = shown.broker();
        let broker = broker.as_deref();
        Overview {
            server: server(&shown),
            broker: broker.map(figures::broker_state),
            brokers: shown.name_server.as_deref().map(figures::brokers).unwrap_or_default(),
            topics: broker.map(figures::topics).unwrap_or_default(),
            groups: broker.map(figures::groups).unwrap_or_default(),
            dead_letters: broker.map(figures::dead_letters).unwrap_or_default(),
        }
    })
    .await
    .map(Json)
}

async fn cluster(State(shown): Shared) -> Found<Cluster> {
    read(move || Cluster {
        server: server(&shown),
        broker: shown.broker().as_deref().map(figures::broker_state),
        brokers: shown.name_server.as_deref().map(figures::brokers).unwrap_or_default(),
    })
    .await
    .map(Json)
}

async fn topics(State(shown): Shared) -> Found<Vec<Topic>> {
    of_broker(shown, figures::topics).await
}

async fn topic(State(shown): Shared, name: Result<Path<String>, PathRejection>) -> Found<TopicDetail> {
    named(shown, "topic", name, figures::topic_detail).await
}

async fn groups(State(shown): Shared) -> Found<Vec<Group>> {
    of_broker(shown, figures::groups).await
}

async fn group(State(shown): Shared, name: Result<Path<String>, PathRejection>) -> Found<GroupDetail> {
    named(shown, "consumer group", name, figures::group_detail).await
}

async fn dead_letters(State(shown): Shared) -> Found<Vec<DeadLetters>> {
    of_broker(shown, figures::dead_letters).await
}

/// Sends the open dead letters of a group to where they came from, and answers when that is on the disk.
async fn resend_dead_letters(
    State(shown): Shared,
    group: Result<Path<String>, PathRejection>,
    wish: Result<Json<ResendWish>, JsonRejection>,
) -> Found<ResendOutcome> {
    let Path(group) = group.map_err(|cause| Problem::bad_request(cause.body_text()))?;
    let Json(wish) = wish.map_err(|cause| Problem::bad_request(cause.body_text()))?;
    let max = wish.max.unwrap_or(usize::MAX);
    let name = group.clone();
    let Json((resent, saved)) =
        of_broker(shown, move |broker| (broker.resend_dead_letters(&name, max), broker.saving.now())).await?;
    let resent = resent.map_err(|refusal| Problem::new(StatusCode::CONFLICT, refusal.remark))?;
    let resent =
        resent.ok_or_else(|| Problem::not_found(format!("the group {group} has no dead letters")))?;
    saved.await;
    let problem = resent.stopped.map(|refusal| refusal.remark);
    Ok(Json(ResendOutcome { group, resent: resent.count, open: resent.open, problem }))
}

/// Tells what happened to the messages with a key or an id.
async fn timeline(
    State(shown): Shared,
    question: Result<Query<TimelineQuestion>, QueryRejection>,
) -> Found<Vec<Timeline>> {
    let Query(question) = question.map_err(|cause| Problem::bad_request(cause.body_text()))?;
    of_broker(shown, move |broker| broker.timeline(question.topic.as_deref(), &question.key)).await
}

/// Lists the half messages that nobody has decided.
async fn transactions(
    State(shown): Shared,
    question: Result<Query<ListQuestion>, QueryRejection>,
) -> Found<Pending<HalfMessage>> {
    let max = list_max(question)?;
    of_broker(shown, move |broker| broker.half_messages(max)).await
}

/// Lists the messages that are delivered later.
async fn delayed(
    State(shown): Shared,
    question: Result<Query<ListQuestion>, QueryRejection>,
) -> Found<Pending<DelayedMessage>> {
    let max = list_max(question)?;
    of_broker(shown, move |broker| broker.delayed_messages(max)).await
}

fn list_max(question: Result<Query<ListQuestion>, QueryRejection>) -> Result<usize, Problem> {
    let Query(question) = question.map_err(|cause| Problem::bad_request(cause.body_text()))?;
    let max = question.max.unwrap_or(LIST_USUALLY);
    if max > LIST_MAX {
        return Err(Problem::bad_request(format!(
            "max is {max}, and at most {LIST_MAX} messages are listed"
        )));
    }
    Ok(max)
}

/// Lists the queues that orderly consumers hold.
async fn locks(State(shown): Shared) -> Found<Vec<QueueLock>> {
    of_broker(shown, figures::queue_locks).await
}

async fn clock(State(shown): Shared) -> Json<ClockState> {
    Json(clock_state(&shown))
}

/// Lets time pass, and answers when what is due by then has happened.
async fn move_clock(
    State(shown): Shared,
    wish: Result<Json<ClockWish>, JsonRejection>,
) -> Result<Json<ClockState>, Problem> {
    let Json(wish) = wish.map_err(|cause| Problem::bad_request(cause.body_text()))?;
    let span = clock::parse_span(&wish.advance).map_err(Problem::bad_request)?;
    tracing::info!(advance = wish.advance, "the clock is moved");
    shown.clock.travel_in_order(span).await;
    Ok(Json(clock_state(&shown)))
}

fn clock_state(shown: &Shown) -> ClockState {
    ClockState { now_ms: shown.clock.now_ms(), skew_ms: shown.clock.skew_ms() }
}

fn server(shown: &Shown) -> ServerState {
    ServerState {
        version: env!("CARGO_PKG_VERSION"),
        now_ms: shown.clock.now_ms(),
        namesrv: shown.name_server_address.clone(),
    }
}

/// Looks for the thing of this kind that has the name in the path.
async fn named<T: Send + 'static>(
    shown: Arc<Shown>,
    kind: &str,
    name: Result<Path<String>, PathRejection>,
    look: fn(&Broker, &str) -> Option<T>,
) -> Found<T> {
    let Path(name) = name.map_err(|cause| Problem::bad_request(cause.body_text()))?;
    let missing = format!("there is no {kind} {name}");
    let found = of_broker(shown, move |broker| look(broker, &name)).await?.0;
    found.map(Json).ok_or_else(|| Problem::not_found(missing))
}

async fn of_broker<T, F>(shown: Arc<Shown>, look: F) -> Found<T>
where
    T: Send + 'static,
    F: FnOnce(&Broker) -> T + Send + 'static,
{
    let Some(broker) = shown.broker() else {
        return Err(Problem::not_found("no broker runs in this process"));
    };
    read(move || look(&broker)).await.map(Json)
}
