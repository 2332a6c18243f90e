//! When the configuration files are written: soon after a change, at once when somebody waits for it.
//!
//! One thread for each [`Saving`] writes; changes that come while it writes are written together next. Nothing here
//! knows what the files hold.

use std::future::Future;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// Longest time that a change nobody waits for stays unwritten.
const SOON: Duration = Duration::from_millis(500);

/// The clerk of some of a broker's configuration files.
#[derive(Clone)]
pub struct Saving {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    saved: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    soon: bool,
    /// Number of the latest request that somebody waits for.
    asked: u64,
    stopped: bool,
}

impl Default for Saving {
    fn default() -> Self {
        let shared = Shared { state: Mutex::default(), wake: Condvar::new(), saved: watch::Sender::new(0) };
        Self { shared: Arc::new(shared) }
    }
}

impl Saving {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a write within half a second.
    pub fn soon(&self) {
        let mut state = self.lock();
        if !state.soon {
            state.soon = true;
            self.shared.wake.notify_one();
        }
    }

    /// Asks for a write at once; the returned future is ready when it is done.
    pub fn now(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let mut state = self.lock();
        state.asked += 1;
        let asked = state.asked;
        self.shared.wake.notify_one();
        let mut saved = self.shared.saved.subscribe();
        async move {
            let _ = saved.wait_for(|saved| *saved >= asked).await;
        }
    }

    /// Lets [`Saving::run`] return after a last write.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.shared.wake.notify_one();
    }

    /// Calls `save` whenever something asks for it, until stopped; tells it when it is the last time. Blocks; for a thread
    /// of its own.
    pub fn run(&self, save: impl Fn(bool)) {
        let mut done = 0;
        loop {
            let mut state = self.lock();
            while !state.soon && state.asked == done && !state.stopped {
                state = self.shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.asked == done && !state.stopped {
                let urgent = |state: &mut State| state.asked == done && !state.stopped;
                let waited = self.shared.wake.wait_timeout_while(state, SOON, urgent);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            let (asked, stopped) = (state.asked, state.stopped);
            state.soon = false;
            drop(state);
            save(stopped);
            done = asked;
            self.shared.saved.send_replace(asked);
            if stopped {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Whoever waits is served at once, and the last change is written even when stopped right after it.
    #[tokio::test]
    async fn writes_when_asked_and_at_the_end() {
        let (saving, writes) = (Saving::default(), Arc::new(AtomicUsize::new(0)));
        let (thread_saving, thread_writes) = (saving.clone(), writes.clone());
        let thread = std::thread::spawn(move || {
            thread_saving.run(|_| {
                thread_writes.fetch_add(1, Ordering::SeqCst);
            });
        });
        saving.now().await;
        assert!(writes.load(Ordering::SeqCst) >= 1);
        let before = writes.load(Ordering::SeqCst);
        saving.soon();
        saving.stop();
        thread.join().unwrap();
        assert!(writes.load(Ordering::SeqCst) > before);
    }
}
