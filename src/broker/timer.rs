//! Timers: a message that names its own time of delivery waits for it. Mirrors `TimerMessageStore`.

use super::inner::InnerMessage;
use super::send::illegal;
use super::{Broker, schedule};
use crate::remoting::Refusal;
use crate::wire::message::property_name::{TIMER_DELAY_MS, TIMER_DELAY_SEC, TIMER_DELIVER_MS};

/// Puts a message with a time of delivery where it waits.
pub(super) fn hide(_: &Broker, message: &mut InnerMessage) -> Result<(), Refusal> {
    let has_level = schedule::has_level(message);
    for name in [TIMER_DELAY_SEC, TIMER_DELAY_MS, TIMER_DELIVER_MS] {
        if has_level {
            message.remove_property(name);
        } else if message.property(name).is_some() {
            return Err(illegal(&format!("property {name} asks for timed delivery, which is not served")));
        }
    }
    Ok(())
}
