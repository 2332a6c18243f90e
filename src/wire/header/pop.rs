//! Headers of POP: POP_MESSAGE, ACK_MESSAGE, PEEK_MESSAGE, CHANGE_MESSAGE_INVISIBLETIME, NOTIFICATION, POLLING_INFO.
//!
//! Mirrors `PopMessageRequestHeader` and its neighbours. Answers are written field by field where they are made.

use super::super::fields::ByteString;
use crate::header;

header! {
    /// POP_MESSAGE (200050).
    PopMessageRequestHeader {
        "consumerGroup" => consumer_group: ByteString,
        "topic" => topic: ByteString,
        /// -1: any queue.
        "queueId" => queue_id: i32,
        "maxMsgNums" => max_msg_nums: i32,
        /// Milliseconds until a message that was not acknowledged is offered again.
        "invisibleTime" => invisible_time: i64,
        /// Milliseconds that the request may be held.
        "pollTime" => poll_time: i64,
        /// The client's clock when it asked; 0: not told.
        "bornTime" => born_time: i64 = 0,
        /// Where a group without an offset begins: 0 first message, 1 last one.
        "initMode" => init_mode: i32 = 0,
        "expType" => exp_type: Option<ByteString>,
        "exp" => exp: Option<ByteString>,
        "order" => order: bool = false,
        /// Names one attempt, so that an orderly consumer that lost the answer gets it again.
        "attemptId" => attempt_id: Option<ByteString>,
    }
}

header! {
    /// ACK_MESSAGE (200051).
    AckMessageRequestHeader {
        "consumerGroup" => consumer_group: ByteString,
        "topic" => topic: ByteString,
        "queueId" => queue_id: i32,
        "extraInfo" => extra_info: ByteString,
        "offset" => offset: i64,
    }
}

header! {
    /// CHANGE_MESSAGE_INVISIBLETIME (200053).
    ChangeInvisibleTimeRequestHeader {
        "consumerGroup" => consumer_group: ByteString,
        "topic" => topic: ByteString,
        "queueId" => queue_id: i32,
        "extraInfo" => extra_info: ByteString,
        "offset" => offset: i64,
        /// Milliseconds from now.
        "invisibleTime" => invisible_time: i64,
    }
}

header! {
    /// NOTIFICATION (200054).
    NotificationRequestHeader {
        "consumerGroup" => consumer_group: ByteString,
        "topic" => topic: ByteString,
        /// -1: any queue.
        "queueId" => queue_id: i32,
        /// Milliseconds that the request may be held.
        "pollTime" => poll_time: i64,
        "bornTime" => born_time: i64 = 0,
        "order" => order: bool = false,
        "attemptId" => attempt_id: Option<ByteString>,
    }
}

header! {
    /// PEEK_MESSAGE (200052).
    PeekMessageRequestHeader {
        "consumerGroup" => consumer_group: ByteString,
        "topic" => topic: ByteString,
        /// -1: any queue.
        "queueId" => queue_id: i32,
        "maxMsgNums" => max_msg_nums: i32,
    }
}

header! {
    /// POLLING_INFO (200055).
    PollingInfoRequestHeader {
        "consumerGroup" => consumer_group: ByteString,
        "topic" => topic: ByteString,
        "queueId" => queue_id: i32,
    }
}
