//! Asks a running server over its HTTP interface: one request, one JSON answer.

use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::http::header::{CONTENT_TYPE, HOST};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::lifecycle::Lifecycle;

/// Limit of one question; a long journey through time is answered when it is over.
const LIMIT: Duration = Duration::from_secs(60);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Sends `body` (POST) or asks (GET) at `path` of the console `web`, a URL such as `http://127.0.0.1:8082`. A refusal is
/// an error that says what the server says.
pub(super) async fn ask(web: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
    let asked = tokio::time::timeout(LIMIT, ask_now(web, path, body)).await;
    asked.with_context(|| format!("{web} has not answered within {} s", LIMIT.as_secs()))?
}

async fn ask_now(web: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
    let address = web.strip_prefix("http://").unwrap_or(web).trim_end_matches('/');
    let stream = TcpStream::connect(address).await.with_context(|| format!("no console answers at {web}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let life = Lifecycle::new();
    life.spawn_until_cancelled("http", async move {
        // The request's own error says what went wrong.
        let _ = connection.await;
    });
    let method = if body.is_some() { "POST" } else { "GET" };
    let content = body.map(Value::to_string).unwrap_or_default();
    let request = Request::builder().method(method).uri(path).header(HOST, address);
    let request = request.header(CONTENT_TYPE, "application/json").body(Body::from(content))?;
    let (parts, answer) = sender.send_request(request).await?.into_parts();
    let answer = to_bytes(Body::new(answer), ANSWER_BYTES_MAX).await?;
    let answer: Value =
        serde_json::from_slice(&answer).with_context(|| format!("{web} does not speak JSON"))?;
    if !parts.status.is_success() {
        bail!("{}", answer["detail"].as_str().unwrap_or("the server refuses"));
    }
    Ok(answer)
}
