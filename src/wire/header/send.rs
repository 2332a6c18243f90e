//! Headers of requests that store a message: SEND_MESSAGE and its variants, send-back, recall and reply.
//!
//! Mirrors `SendMessageRequestHeader`, `SendMessageRequestHeaderV2` and their neighbours. END_TRANSACTION is not
//! among them.

use super::super::fields::ByteString;
use crate::header;

header! {
    /// SEND_MESSAGE (10) with long names, SEND_MESSAGE_V2 (310) and SEND_BATCH_MESSAGE (320) with short ones,
    /// SEND_REPLY_MESSAGE (324, 325) with either.
    ///
    /// Both spellings are read for every code; the short one is written, so write no SEND_MESSAGE (10) with it.
    SendMessageRequestHeader {
        "a" | "producerGroup" => producer_group: ByteString,
        "b" | "topic" => topic: ByteString,
        /// Template for a topic that does not exist yet, normally `TBW102`.
        "c" | "defaultTopic" => default_topic: ByteString,
        "d" | "defaultTopicQueueNums" => default_topic_queue_nums: i32,
        /// Negative: the broker picks one.
        "e" | "queueId" => queue_id: i32,
        "f" | "sysFlag" => sys_flag: i32,
        /// Milliseconds, by the client's clock.
        "g" | "bornTimestamp" => born_timestamp: i64,
        /// The user's own flag, stored as it is.
        "h" | "flag" => flag: i32,
        "i" | "properties" => properties: Option<ByteString>,
        "j" | "reconsumeTimes" => reconsume_times: Option<i32>,
        "k" | "unitMode" => unit_mode: Option<bool>,
        "l" | "maxReconsumeTimes" => max_reconsume_times: Option<i32>,
        "m" | "batch" => batch: Option<bool>,
        "n" | "bname" => broker_name: Option<ByteString>,
    }
}

header! {
    /// Answer to every kind of send that stored its message.
    SendMessageResponseHeader {
        /// Offset message id; of a batch all of them, comma separated.
        "msgId" => msg_id: ByteString,
        "queueId" => queue_id: i32,
        /// Index in the consume queue; of a batch that of the first message.
        "queueOffset" => queue_offset: i64,
        /// The message's `UNIQ_KEY`.
        "transactionId" => transaction_id: Option<ByteString>,
        "batchUniqId" => batch_uniq_id: Option<ByteString>,
        "recallHandle" => recall_handle: Option<ByteString>,
        "MSG_REGION" => msg_region: Option<ByteString>,
        "TRACE_ON" => trace_on: Option<bool>,
    }
}

header! {
    /// CONSUMER_SEND_MSG_BACK (36).
    ConsumerSendMsgBackRequestHeader {
        /// Physical offset of the message on this broker.
        "offset" => offset: i64,
        "group" => group: ByteString,
        /// 0: the broker decides; negative: to the dead letters.
        "delayLevel" => delay_level: i32,
        "originMsgId" => origin_msg_id: Option<ByteString>,
        "originTopic" => origin_topic: Option<ByteString>,
        "unitMode" => unit_mode: bool = false,
        "maxReconsumeTimes" => max_reconsume_times: Option<i32>,
    }
}

header! {
    /// RECALL_MESSAGE (370).
    RecallMessageRequestHeader {
        "producerGroup" => producer_group: Option<ByteString>,
        "topic" => topic: ByteString,
        "recallHandle" => recall_handle: ByteString,
    }
}

header! {
    /// Answer to RECALL_MESSAGE.
    RecallMessageResponseHeader {
        "msgId" => msg_id: ByteString,
    }
}

header! {
    /// PUSH_REPLY_MESSAGE_TO_CLIENT (326), which the broker sends to a requester.
    ReplyMessageRequestHeader {
        "producerGroup" => producer_group: ByteString,
        "topic" => topic: ByteString,
        "defaultTopic" => default_topic: ByteString,
        "defaultTopicQueueNums" => default_topic_queue_nums: i32,
        "queueId" => queue_id: i32,
        "sysFlag" => sys_flag: i32,
        "bornTimestamp" => born_timestamp: i64,
        "flag" => flag: i32,
        "properties" => properties: Option<ByteString>,
        "reconsumeTimes" => reconsume_times: Option<i32>,
        "unitMode" => unit_mode: bool = false,
        /// `ip:port`.
        "bornHost" => born_host: ByteString,
        /// `ip:port`.
        "storeHost" => store_host: ByteString,
        "storeTimestamp" => store_timestamp: i64,
    }
}
