//! Every mapping from our errors, and every refusal that several handlers share, to ResponseCode and remark.
//!
//! The wording is what real clients and tools match on; where Apache's text helps nobody, ours follows it with
//! what a person can do.

use super::filter::FilterError;
use crate::remoting::Refusal;
use crate::store;
use crate::wire::code::response;
use crate::wire::fields::shown;

/// The tail of several of Apache's remarks (`FAQUrl`).
const FAQ_TAIL: &str = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

impl From<store::Error> for Refusal {
    fn from(cause: store::Error) -> Self {
        match cause {
            store::Error::Poisoned { .. } => Self::new(response::SERVICE_NOT_AVAILABLE, cause),
            _ => Self::new(response::SYSTEM_ERROR, cause),
        }
    }
}

/// Maps a refused put; `max_message_bytes` is named in the texts about sizes.
pub(crate) fn put_refused(cause: &store::PutError, max_message_bytes: usize) -> Refusal {
    use store::PutError::{CreateMappedFile, Illegal, NotWriteable, TooLong};
    match cause {
        NotWriteable { reason } => Refusal::new(
            response::SERVICE_NOT_AVAILABLE,
            format!(
                "service not available now. It may be caused by one of the following reasons: the broker's disk \
                 is full, the broker is slave, or it is shutting down. Here: {reason}"
            ),
        ),
        TooLong { .. } | Illegal { .. } => Refusal::new(
            response::MESSAGE_ILLEGAL,
            format!(
                "the message is illegal, maybe msg body or properties length not matched. msg body length limit \
                 {max_message_bytes}B, msg properties length limit 32KB. Here: {cause}"
            ),
        ),
        CreateMappedFile(_) => Refusal::new(response::SYSTEM_ERROR, cause),
    }
}

/// Refuses a topic that nobody has created and that may not be created now.
pub(crate) fn topic_not_exist(topic: &str) -> Refusal {
    Refusal::new(
        response::TOPIC_NOT_EXIST,
        format!("topic[{}] not exist, apply first please!{FAQ_TAIL}", shown(topic)),
    )
}

/// Refuses a pull for a group that may not be created.
pub(crate) fn group_not_exist(group: &str) -> Refusal {
    Refusal::new(
        response::SUBSCRIPTION_GROUP_NOT_EXIST,
        format!("subscription group [{}] does not exist, {FAQ_TAIL}", shown(group)),
    )
}

/// Refuses a pull of a group whose members the broker has not heard of.
pub(crate) fn group_without_members() -> Refusal {
    Refusal::new(response::SUBSCRIPTION_NOT_EXIST, format!("the consumer's group info not exist{FAQ_TAIL}"))
}

/// Refuses a pull by a connection that is no member of the group, where `rejectPullConsumerEnable` asks for one.
pub(crate) fn pull_consumer_rejected() -> Refusal {
    let remark = "the consumer's group info not exist, or the pull consumer is rejected by server.";
    Refusal::new(response::SUBSCRIPTION_NOT_EXIST, format!("{remark}{FAQ_TAIL}"))
}

/// Refuses a kind of expression that is switched off or unknown.
pub(crate) fn filter_not_supported(kind: &str) -> Refusal {
    let kind: String = kind.chars().take(64).collect();
    let remark = format!("The broker does not support consumer to filter message by {kind}");
    Refusal::new(response::SYSTEM_ERROR, remark)
}

/// Refuses an expression that cannot be compiled; the text says where it is wrong.
pub(crate) fn subscription_parse_failed(cause: FilterError) -> Refusal {
    Refusal::new(response::SUBSCRIPTION_PARSE_FAILED, cause)
}

/// Refuses a pull of a topic that the group's members do not subscribe to.
pub(crate) fn subscription_not_exist() -> Refusal {
    Refusal::new(response::SUBSCRIPTION_NOT_EXIST, format!("the consumer's subscription not exist{FAQ_TAIL}"))
}

#[cfg(test)]
mod tests {
    use crate::broker::kit::{Kit, refusal};
    use crate::wire::code::{request, response};

    /// A name without end, of characters that JSON escapes sixfold, is refused in a few words.
    #[tokio::test]
    async fn names_beyond_measure() {
        let kit =
            Kit::start(&[("autoCreateTopicEnable", "false"), ("autoCreateSubscriptionGroup", "false")]).await;
        let mut client = kit.client().await;
        let long = "\u{1}".repeat(1 << 17);
        let pull = [
            ("queueId", "0"),
            ("queueOffset", "0"),
            ("maxMsgNums", "1"),
            ("sysFlag", "0"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subVersion", "0"),
        ];
        let commit = [("queueId", "0"), ("commitOffset", "0")];
        for (code, group, fields, refused) in [
            (request::PULL_MESSAGE, &*long, &pull[..], response::SUBSCRIPTION_GROUP_NOT_EXIST),
            (request::PULL_MESSAGE, "TOOLS_CONSUMER", &pull, response::TOPIC_NOT_EXIST),
            (request::UPDATE_CONSUMER_OFFSET, &long, &commit, response::SUBSCRIPTION_GROUP_NOT_EXIST),
            (request::UPDATE_CONSUMER_OFFSET, "TOOLS_CONSUMER", &commit, response::TOPIC_NOT_EXIST),
            (request::GET_CONSUMER_LIST_BY_GROUP, &long, &[], response::SYSTEM_ERROR),
        ] {
            let fields = [fields, &[("consumerGroup", group), ("topic", &long)]].concat();
            let answer = client.call(code, &fields, "").await;
            let (code, remark) = refusal(&answer);
            assert_eq!(code, refused, "{remark}");
            assert!((16..400).contains(&remark.len()), "{} bytes", remark.len());
        }
    }
}
