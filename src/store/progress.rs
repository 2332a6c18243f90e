//! How far a recovery is: told to whoever opened the store at its beginning and once a second, and to the log.
//!
//! Flows in: positions in the commit log. Flows out: lines with percentage and rate. In the log a recovery of less than a
//! second says nothing. The rate is by the store's clock of elapsed time, which no user moves.

use crate::clock::Clock;

/// Time between two lines.
const PAUSE_NS: u64 = 1_000_000_000;
/// Steps between two looks at the clock.
const STEPS: u32 = 256;

/// Hears how far a recovery is, a line each time. Called by the thread that opens the store.
pub type RecoveryListener<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// A walk along the log.
pub(crate) struct Progress<'a> {
    listener: RecoveryListener<'a>,
    clock: &'a Clock,
    what: &'static str,
    from: i64,
    to: i64,
    began_ns: u64,
    told_ns: u64,
    steps: u32,
}

impl<'a> Progress<'a> {
    /// Begins a walk from one position to another, which is an estimate.
    pub(crate) fn new(
        clock: &'a Clock,
        listener: RecoveryListener<'a>,
        what: &'static str,
        from: i64,
        to: i64,
    ) -> Self {
        let now_ns = clock.elapsed_ns();
        let progress = Self { listener, clock, what, from, to, began_ns: now_ns, told_ns: now_ns, steps: 0 };
        listener(&progress.line(from, now_ns));
        progress
    }

    /// Takes note of the position after one more step.
    #[inline]
    pub(crate) fn at(&mut self, at: i64) {
        self.steps += 1;
        if self.steps >= STEPS {
            self.steps = 0;
            self.tell(at, self.clock.elapsed_ns());
        }
    }

    fn tell(&mut self, at: i64, now_ns: u64) {
        if now_ns - self.told_ns < PAUSE_NS {
            return;
        }
        self.told_ns = now_ns;
        let line = self.line(at, now_ns);
        tracing::info!("{line}");
        (self.listener)(&line);
    }

    fn line(&self, at: i64, now_ns: u64) -> String {
        let (done, all) = ((at - self.from).max(0), (self.to - self.from).max(1));
        let percent = (done as f64 * 100.0 / all as f64).min(100.0);
        let rate = done as f64 * 1_000.0 / (now_ns - self.began_ns).max(1) as f64;
        let (done_mb, all_mb) = (done / 1_000_000, all / 1_000_000);
        format!("{}: {percent:.0} %, {done_mb} of {all_mb} MB of the log at {rate:.0} MB/s", self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line names percentage, amount and rate; an end that was estimated too low is no more than the whole.
    #[test]
    fn lines() {
        let clock = Clock::starting_at(0);
        let heard = std::sync::Mutex::new(Vec::new());
        let listener = |line: &str| heard.lock().unwrap().push(line.to_owned());
        let mut progress = Progress::new(&clock, &listener, "checking", 1_000_000_000, 5_000_000_000);
        assert_eq!(*heard.lock().unwrap(), ["checking: 0 %, 0 of 4000 MB of the log at 0 MB/s"]);
        let began_ns = progress.began_ns;
        let line = progress.line(2_000_000_000, began_ns + 2_000_000_000);
        assert_eq!(line, "checking: 25 %, 1000 of 4000 MB of the log at 500 MB/s");
        assert!(progress.line(9_000_000_000, began_ns + 1).starts_with("checking: 100 %"));
        progress.tell(2, began_ns + PAUSE_NS - 1);
        assert_eq!(progress.told_ns, began_ns, "not yet");
        assert_eq!(heard.lock().unwrap().len(), 1);
        progress.tell(2, began_ns + PAUSE_NS);
        assert_eq!(progress.told_ns, began_ns + PAUSE_NS);
        assert_eq!(heard.lock().unwrap().len(), 2);
    }
}
