//! Named tasks and threads with one owner, one signal to stop and one place to wait for them.
//!
//! Every task of a server is spawned here (the tidy test bans bare `tokio::spawn`), so that stopping is:
//! cancel, then wait until all of them have returned. Threads are for work that blocks, such as flushing.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Owns the tasks and threads of one server or one of its parts; clones share them.
#[derive(Clone, Default)]
pub struct Lifecycle {
    token: CancellationToken,
    tasks: TaskTracker,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Lifecycle {
    /// Makes a lifecycle that nobody has cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a part that stops with this whole but can also be stopped alone.
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token(), ..Self::default() }
    }

    /// Runs `task` until it returns; it must end soon after [`Lifecycle::cancelled`] resolves.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(async move {
            tracing::trace!(task = name, "task starts");
            task.await;
            tracing::trace!(task = name, "task ends");
        });
    }

    /// Runs `task` until it returns or this lifecycle is cancelled, whichever comes first.
    pub fn spawn_until_cancelled<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let token = self.token.clone();
        self.spawn(name, async move {
            let _ = token.run_until_cancelled(task).await;
        });
    }

    /// Runs `body` on an operating system thread of this name (at most 15 bytes are visible to tools).
    pub fn thread<F>(&self, name: &str, body: F) -> io::Result<()>
    where
        F: FnOnce() + Send + 'static,
    {
        let handle = std::thread::Builder::new().name(name.to_owned()).spawn(body)?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
        Ok(())
    }

    /// Says whether [`Lifecycle::cancel`] was called on this or on a parent.
    pub fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves once this lifecycle or a parent is cancelled.
    pub async fn cancelled(&self) {
        self.token.cancelled().await;
    }

    /// Returns the signal itself, for code that must hold it without holding the tasks.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Tells every task and thread to end; does not wait.
    pub fn cancel(&self) {
        self.token.cancel();
    }

    /// Cancels and waits until every task has returned, at most `limit`; says whether all did.
    pub async fn stop(&self, limit: Duration) -> bool {
        self.token.cancel();
        self.tasks.close();
        tokio::time::timeout(limit, self.tasks.wait()).await.is_ok()
    }

    /// Joins the threads; they must already have been told to end. Blocks.
    pub fn join_threads(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread ended by panic");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part ends with its whole, and stop returns once its tasks have returned.
    #[tokio::test]
    async fn a_child_stops_with_its_parent() {
        let whole = Lifecycle::new();
        let part = whole.child();
        let signal = part.token();
        part.spawn("waiter", async move { signal.cancelled().await });
        whole.cancel();
        assert!(part.stop(Duration::from_secs(5)).await);
    }
}
