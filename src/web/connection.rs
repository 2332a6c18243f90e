//! One HTTP/1.1 connection after another: accepts, bounds and ends them.
//!
//! A router goes in; nothing comes out. What a peer can hold on to is bounded: the number of connections, the
//! time and the bytes of a request's head, and the time that an answer may wait for a peer that does not read.
//! When the server stops, answers on their way get a short moment, silent connections none. No TLS, no HTTP/2.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Sleep;

use crate::lifecycle::Lifecycle;

/// Connections at a time; more are closed at once.
pub(super) const CONNECTIONS_MAX: usize = 256;
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Header lines of a request.
const HEADERS_MAX: usize = 64;
/// Time for a request's head to arrive, counted from the end of the answer before it.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// Time that an answer waits for a peer that does not read.
const STALL_LIMIT: Duration = Duration::from_secs(10);
/// Time that answers on their way get when the server stops.
const GOODBYE_LIMIT: Duration = Duration::from_millis(150);
/// Pause after the operating system refused to accept, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `app` on every connection to `socket` until `life` is cancelled.
pub(super) fn serve(socket: TcpListener, app: Router, life: &Lifecycle) {
    let connections = life.clone();
    life.spawn_until_cancelled("console", async move {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut crowded = false;
        loop {
            let stream = match socket.accept().await {
                Ok((stream, _)) => stream,
                Err(cause) => {
                    tracing::warn!("the console cannot accept a connection: {cause}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = permits.clone().try_acquire_owned() else {
                if !crowded {
                    tracing::warn!("the console has {CONNECTIONS_MAX} connections; closing further ones");
                }
                crowded = true;
                continue;
            };
            crowded = false;
            let _ = stream.set_nodelay(true);
            let (app, token) = (app.clone(), connections.token());
            connections.spawn("console connection", async move {
                let _permit = permit;
                converse(stream, app, token.cancelled()).await;
            });
        }
    });
}

/// Answers the requests of one connection until it ends, stalls, or `cancelled` resolves.
async fn converse(stream: TcpStream, app: Router, cancelled: impl Future<Output = ()>) {
    let io = TokioIo::new(Patient { stream, stall: None });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_LIMIT)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(io, TowerToHyperService::new(app))
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = cancelled => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(GOODBYE_LIMIT, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(cause) = ended {
        tracing::debug!("a console connection ended: {cause}");
    }
}

/// A stream whose writes fail when the peer takes nothing for [`STALL_LIMIT`].
struct Patient {
    stream: TcpStream,
    stall: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL_LIMIT)));
        match stall.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Bytes of an answer that no socket buffer takes as a whole.
    const LARGE: usize = 64 << 20;

    async fn served() -> (TcpStream, Lifecycle) {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let life = Lifecycle::new();
        let app =
            Router::new().route("/", get(async || "answer")).route("/large", get(async || vec![b'x'; LARGE]));
        serve(socket, app, &life);
        (TcpStream::connect(address).await.unwrap(), life)
    }

    async fn rest(stream: &mut TcpStream) -> usize {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        bytes.len()
    }

    /// A peer that never finishes its request, or asks nothing after an answer, is let go when its time is up.
    /// The clock is paused, so it jumps there as soon as everybody waits.
    #[tokio::test(start_paused = true)]
    async fn requests_have_a_time_limit() {
        for beginning in ["", "GET / HTTP/1.1\r\nHost: x"] {
            let (mut stream, _life) = served().await;
            stream.write_all(beginning.as_bytes()).await.unwrap();
            assert_eq!(rest(&mut stream).await, 0, "{beginning}");
        }
        let (mut stream, _life) = served().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let length = rest(&mut stream).await;
        assert!((10..1_000).contains(&length), "one answer, then the end: {length}");
    }

    /// A peer that does not take its answer is let go, and the answer with it.
    #[tokio::test(start_paused = true)]
    async fn answers_wait_only_so_long() {
        let (mut stream, _life) = served().await;
        stream.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        // Nobody reads for two limits of the paused clock.
        tokio::time::sleep(2 * STALL_LIMIT).await;
        assert!(rest(&mut stream).await < LARGE);
    }

    /// Peers that say nothing or read nothing do not hold up a stop.
    #[tokio::test]
    async fn a_stop_waits_for_nobody() {
        let (mut stream, life) = served().await;
        stream.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        stream.readable().await.unwrap();
        assert!(life.stop(20 * GOODBYE_LIMIT).await);
        assert!(rest(&mut stream).await < LARGE);
    }
}
