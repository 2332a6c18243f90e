//! Transactions: a half message waits until its producer decides. Mirrors `TransactionalMessageBridge`.

use super::Broker;
use super::inner::InnerMessage;
use super::send::illegal;
use crate::remoting::Refusal;

/// Puts a half message where it waits for its decision.
pub(super) fn hide(_: &Broker, _: &mut InnerMessage) -> Result<(), Refusal> {
    Err(illegal("property TRAN_MSG asks for transactional delivery, which is not served"))
}
