//! Names of topics and groups: which are legal, which belong to the system.
//!
//! Every name that comes from outside passes here before it becomes a key of a table or a part of a path.
//! Mirrors `TopicValidator` and the prefixes of `MixAll`; the texts are those of the released 5.3.3.

/// Prefix of the topic that holds a group's retries.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of the topic that holds a group's dead letters.
pub const DLQ_PREFIX: &str = "%DLQ%";
/// The topic whose configuration new topics inherit.
pub const AUTO_CREATE_TOPIC: &str = "TBW102";
/// Where messages with a delay level wait.
pub use crate::store::SCHEDULE_TOPIC;
/// Where transactional messages wait for their outcome.
pub const TRANS_HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Where outcomes of transactional messages are noted.
pub const TRANS_OP_HALF_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Where transactional messages end that were checked too often.
pub const TRANS_CHECK_MAX_TIME_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Where clients send traces of their messages.
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";
/// Where messages for an exact time wait.
pub const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";
/// Topic of the reference's self test.
pub const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
/// Topic of the reference's benchmark.
pub const BENCHMARK_TOPIC: &str = "BenchmarkTest";
/// Topic to which the reference once reported offsets that left the queue.
pub const OFFSET_MOVED_EVENT: &str = "OFFSET_MOVED_EVENT";
/// Prefix of further topics of the system.
pub const SYSTEM_TOPIC_PREFIX: &str = "rmq_sys_";
/// Prefix of the system's own groups.
pub const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";
/// Group of mqadmin's readers.
pub const TOOLS_CONSUMER_GROUP: &str = "TOOLS_CONSUMER";

/// Longest topic name in bytes.
pub const TOPIC_BYTES_MAX: usize = 127;
/// Longest name of a retry or dead letter topic in bytes.
pub const RETRY_TOPIC_BYTES_MAX: usize = 255;
/// Longest group name in bytes, so that `%RETRY%<group>_<topic>` is still a legal topic.
pub const GROUP_BYTES_MAX: usize = 120;

/// Topics that the system owns on every broker.
pub const SYSTEM_TOPICS: [&str; 10] = [
    AUTO_CREATE_TOPIC,
    SCHEDULE_TOPIC,
    BENCHMARK_TOPIC,
    TRANS_HALF_TOPIC,
    TRACE_TOPIC,
    TRANS_OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_EVENT,
    "CHECKPOINT_TOPIC",
];

const NOT_FOR_CLIENTS: [&str; 6] = [
    SCHEDULE_TOPIC,
    TRANS_HALF_TOPIC,
    TRANS_OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_EVENT,
];

/// Groups that every broker has (`SubscriptionGroupManager.init`).
pub const PREDEFINED_GROUPS: [&str; 8] = [
    TOOLS_CONSUMER_GROUP,
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
];

/// Returns the topic of a group's retries.
pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

/// Returns the topic of a group's dead letters.
pub fn dlq_topic(group: &str) -> String {
    format!("{DLQ_PREFIX}{group}")
}

/// Says whether the system owns this topic on every broker; a broker adds a few by its own names.
pub fn is_system_topic(topic: &str) -> bool {
    topic.starts_with(SYSTEM_TOPIC_PREFIX) || SYSTEM_TOPICS.contains(&topic)
}

/// Returns the topics that a broker has by its own names: cluster, broker, and where replies go.
pub fn own_topics(cluster: &str, broker_name: &str) -> [String; 3] {
    [cluster.to_owned(), broker_name.to_owned(), format!("{cluster}_REPLY_TOPIC")]
}

/// Says whether clients may not send to this topic (`TopicValidator.isNotAllowedSendTopic`).
pub fn is_sending_forbidden(topic: &str) -> bool {
    NOT_FOR_CLIENTS.contains(&topic)
}

/// Says whether the system owns this group (`MixAll.isSysConsumerGroup` and the predefined ones).
pub fn is_system_group(group: &str) -> bool {
    group.starts_with(SYSTEM_GROUP_PREFIX) || PREDEFINED_GROUPS.contains(&group)
}

/// Refuses a topic name that is blank, has an illegal character or is too long; the text is the remark.
pub fn validate_topic(topic: &str) -> Result<(), String> {
    let long = topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX);
    validate("topic", topic, if long { RETRY_TOPIC_BYTES_MAX } else { TOPIC_BYTES_MAX })
}

/// As [`validate_topic`] for a topic that a client did not name: one of the broker's own, or of a file. The second form of
/// the retries of popped messages, `%RETRY%<group>+<topic>`, has a character that is illegal elsewhere.
pub fn validate_kept_topic(topic: &str) -> Result<(), String> {
    let second_form = topic.strip_prefix(RETRY_PREFIX).and_then(|rest| rest.split_once('+'));
    let Some((group, of)) = second_form else { return validate_topic(topic) };
    validate_group(group)?;
    validate("topic", of, TOPIC_BYTES_MAX)
}

/// Refuses a group name that is blank, has an illegal character or is too long; the text is the remark.
pub fn validate_group(group: &str) -> Result<(), String> {
    validate("group", group, GROUP_BYTES_MAX)
}

fn validate(what: &str, name: &str, bytes_max: usize) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err(format!("The specified {what} is blank."));
    }
    if !name.bytes().all(is_legal) {
        return Err(format!(
            "The specified {what} contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"
        ));
    }
    if name.len() > bytes_max {
        return Err(format!("The specified {what} is longer than {what} max length."));
    }
    Ok(())
}

fn is_legal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"%|_-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hostile names are refused with the released wording, and the wording never repeats the name.
    #[test]
    fn names_from_outside() {
        let long = "x".repeat(64 * 1024);
        for (topic, remark) in [
            ("", "The specified topic is blank."),
            ("  ", "The specified topic is blank."),
            (
                "../../etc",
                "The specified topic contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$",
            ),
            ("a\0b", "The specified topic contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"),
            ("主题", "The specified topic contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"),
            (&long, "The specified topic is longer than topic max length."),
        ] {
            assert_eq!(validate_topic(topic).unwrap_err(), remark);
        }
        for group in ["", "../g", "a/b", "g\0", "<b>", &long, &"g".repeat(121)] {
            assert!(validate_group(group).is_err(), "{}", &group[..group.len().min(20)]);
        }
    }

    /// The longest legal group still has a legal retry topic, also with the longest topic behind it.
    #[test]
    fn limits_fit_together() {
        let (group, topic) = ("g".repeat(GROUP_BYTES_MAX), "t".repeat(TOPIC_BYTES_MAX));
        validate_group(&group).unwrap();
        validate_topic(&topic).unwrap();
        validate_topic(&format!("{}_{topic}", retry_topic(&group))).unwrap();
        validate_topic(&dlq_topic(&group)).unwrap();
        for legal in
            [topic.as_str(), "%RETRY%g", "%RETRY%g_t", "%RETRY%g+t", &format!("%RETRY%{group}+{topic}")]
        {
            validate_kept_topic(legal).unwrap();
        }
        for illegal in
            ["g+t", "%DLQ%g+t", "%RETRY%+t", "%RETRY%g+", "%RETRY%g+t+t", "%RETRY%../g+t", "%RETRY%g+a/b"]
        {
            assert!(validate_kept_topic(illegal).is_err(), "{illegal}");
        }
        assert!(validate_topic(&"t".repeat(TOPIC_BYTES_MAX + 1)).is_err());
    }

    /// The system's topics are known by name and by prefix.
    #[test]
    fn system_names() {
        assert!(is_system_topic("TBW102") && is_system_topic("rmq_sys_anything"));
        assert!(!is_system_topic("Orders") && !is_system_topic("%RETRY%g"));
        assert!(is_sending_forbidden(SCHEDULE_TOPIC) && !is_sending_forbidden(AUTO_CREATE_TOPIC));
        assert!(
            is_system_group("CID_RMQ_SYS_X") && is_system_group("TOOLS_CONSUMER") && !is_system_group("g")
        );
    }
}
