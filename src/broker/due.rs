//! The loop around work that is due at times: delay levels and timers.
//!
//! A step of the work goes in, and says when it wants the next. Nothing is looked at before its time: the loop sleeps
//! until something is due, or until it is woken because something came that may be due earlier.

use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::{Clock, NEVER_MS};

/// Pause after a message that the store refused (`DELAY_FOR_A_WHILE`).
const PAUSE: Duration = Duration::from_millis(100);

/// How one step ended.
pub(super) enum Step {
    /// Something was done; there may be more.
    Busy,
    /// Nothing is due before this time, milliseconds, or nothing waits at all.
    Wait(Option<i64>),
    /// The store did not take a message.
    Refused,
    /// The broker is stopping.
    Over,
}

/// Takes one step after the other, each at its time, until one says that it was the last.
pub(super) async fn run(clock: &Clock, wake: &Notify, mut step: impl FnMut() -> Step) {
    // The appointment that is kept now is over when the next is made.
    let mut appointment;
    loop {
        match step() {
            Step::Busy => tokio::task::yield_now().await,
            Step::Wait(due_ms) => {
                appointment = clock.appoint(due_ms.unwrap_or(NEVER_MS));
                tokio::select! {
                    () = appointment.come() => {}
                    () = wake.notified() => {}
                }
            }
            Step::Refused => clock.sleep(PAUSE).await,
            Step::Over => return,
        }
    }
}
