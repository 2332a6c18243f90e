//! What a slave copies beside topics, groups and offsets.
//!
//! Flows in: GET_ALL_DELAY_OFFSET (45), GET_TIMER_CHECK_POINT (60), GET_TIMER_METRICS (61). The modes of POP are beside
//! those who use them, in [`super::pop::assignment`]. Mirrors these parts of `AdminBrokerProcessor`.

#![allow(clippy::unnecessary_wraps, reason = "every handler answers in one shape")]

use std::sync::Arc;

use super::Broker;
use crate::remoting::{Answer, Call, Refusal};
use crate::wire::code::response;
use crate::wire::command::Reply;
use crate::wire::fastjson;
use crate::wire::fields::NoHeader;

/// GET_ALL_DELAY_OFFSET (45).
pub(super) fn get_all_delay_offset(broker: &Arc<Broker>, _: Call<NoHeader>) -> Answer {
    Ok(Reply::success().body(fastjson::to_string(&broker.schedule.snapshot())))
}

/// GET_TIMER_CHECK_POINT (60): 56 bytes as in `config/timercheck`.
pub(super) fn get_timer_check_point(broker: &Arc<Broker>, _: Call<NoHeader>) -> Answer {
    let checkpoint = broker.timers.checkpoint(broker.clock.now_ms());
    let checkpoint =
        checkpoint.ok_or_else(|| Refusal::new(response::SYSTEM_ERROR, "The checkpoint is null"))?;
    Ok(Reply::success().body(checkpoint.encode().to_vec()))
}

/// GET_TIMER_METRICS (61).
pub(super) fn get_timer_metrics(broker: &Arc<Broker>, _: Call<NoHeader>) -> Answer {
    let metrics = broker.timers.metrics();
    let metrics =
        metrics.ok_or_else(|| Refusal::new(response::SYSTEM_ERROR, "The timer message store is null"))?;
    Ok(Reply::success().body(metrics))
}

#[cfg(test)]
mod tests {
    use crate::broker::kit::{Kit, refusal, text};
    use crate::wire::code::{request, response};

    /// A slave gets tables it can read, or is told that there are none.
    #[tokio::test]
    async fn tables() {
        let kit = Kit::start(&[("timerWheelEnable", "false")]).await;
        let mut client = kit.client().await;
        let delays = client.call(request::GET_ALL_DELAY_OFFSET, &[], "").await;
        assert_eq!(
            text(&delays),
            r#"{"dataVersion":{"counter":0,"stateVersion":0,"timestamp":0},"offsetTable":{}}"#
        );
        let timer = client.call(request::GET_TIMER_CHECK_POINT, &[], "").await;
        assert_eq!(refusal(&timer), (response::SYSTEM_ERROR, "The checkpoint is null"));
        let timer = client.call(request::GET_TIMER_METRICS, &[], "").await;
        assert_eq!(refusal(&timer), (response::SYSTEM_ERROR, "The timer message store is null"));
    }
}
