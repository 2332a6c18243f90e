//! Delay levels: a message that asks for one waits under the schedule topic. Mirrors `ScheduleMessageService`.

use super::Broker;
use super::inner::InnerMessage;
use super::send::illegal;
use crate::remoting::Refusal;
use crate::wire::message::property_name;

/// Puts a message with a delay level where it waits.
pub(super) fn hide(_: &Broker, message: &mut InnerMessage) -> Result<(), Refusal> {
    match message.property(property_name::DELAY) {
        Some(level) if level != "0" => {
            Err(illegal("property DELAY asks for delayed delivery, which is not served"))
        }
        _ => Ok(()),
    }
}
