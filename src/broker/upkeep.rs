//! Cleaning up when an administrator says so, and what blocks.
//!
//! Flows in: CLEAN_EXPIRED_CONSUMEQUEUE (306), CLEAN_UNUSED_TOPIC (316), DELETE_EXPIRED_COMMITLOG (329). The work is
//! done on a thread that may block and answered when it is done. Mirrors these parts of `AdminBrokerProcessor`.

use std::sync::Arc;

use super::Broker;
use crate::remoting::{Answer, Call, Outcome, Refusal};
use crate::wire::code::response;
use crate::wire::command::Reply;
use crate::wire::fields::NoHeader;

/// Answers with what `work` returns, which may block.
pub(super) fn blocking(work: impl FnOnce() -> Answer + Send + 'static) -> Outcome {
    Outcome::later(async move {
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|cause| Err(Refusal::new(response::SYSTEM_ERROR, cause)))
    })
}

/// CLEAN_EXPIRED_CONSUMEQUEUE (306): removes queues whose messages are all gone.
pub(super) fn clean_expired_consume_queue(broker: &Arc<Broker>, _: Call<NoHeader>) -> Outcome {
    let broker = broker.clone();
    blocking(move || {
        let removed = broker.store.clean_expired_consume_queues(&|topic| broker.topics.is_system(topic))?;
        tracing::info!(removed, "consume queues without messages removed");
        Ok(Reply::success())
    })
}

/// CLEAN_UNUSED_TOPIC (316): removes the queues of topics that do not exist.
pub(super) fn clean_unused_topic(broker: &Arc<Broker>, _: Call<NoHeader>) -> Outcome {
    let broker = broker.clone();
    blocking(move || {
        for (topic, _) in broker.store.topics_with_queues() {
            if broker.topics.get(&topic).is_none() && !broker.topics.is_system(&topic) {
                tracing::info!(%topic, "queues of a topic that does not exist removed");
                broker.store.delete_topic(&topic)?;
            }
        }
        Ok(Reply::success())
    })
}

/// DELETE_EXPIRED_COMMITLOG (329): deletes files whose time is over, at any hour.
pub(super) fn delete_expired_commit_log(broker: &Arc<Broker>, _: Call<NoHeader>) -> Outcome {
    let broker = broker.clone();
    blocking(move || {
        let deleted = broker.store.delete_expired_files_now()?;
        tracing::info!(deleted, "expired commit log files deleted");
        Ok(Reply::success())
    })
}

#[cfg(test)]
mod tests {
    use crate::broker::kit::Kit;
    use crate::wire::code::request;

    /// Cleaning takes what belongs to nobody and leaves what is in use.
    #[tokio::test]
    async fn cleaning() {
        let kit = Kit::start(&[]).await;
        let mut client = kit.client().await;
        for topic in ["Kept", "Orphan"] {
            kit.broker.topics.create_in_send("TBW102", topic, 1).unwrap();
            kit.put(topic, 0, &["a"], "");
        }
        kit.put("SCHEDULE_TOPIC_XXXX", 0, &["a"], "");
        kit.broker.topics.delete("Orphan").unwrap();
        for code in [
            request::CLEAN_UNUSED_TOPIC,
            request::CLEAN_EXPIRED_CONSUMEQUEUE,
            request::DELETE_EXPIRED_COMMITLOG,
        ] {
            assert_eq!(client.call(code, &[], "").await.code, 0, "{code}");
        }
        let topics = kit.broker.store.topics_with_queues();
        let mut topics: Vec<&str> = topics.iter().map(|(topic, _)| &**topic).collect();
        topics.sort_unstable();
        assert_eq!(topics, ["Kept", "SCHEDULE_TOPIC_XXXX"]);
    }
}
