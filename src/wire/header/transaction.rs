//! Headers of transactional messages: the producer's decision, the broker's question, and asking again.
//!
//! Mirrors `EndTransactionRequestHeader`, `CheckTransactionStateRequestHeader` and
//! `ResumeCheckHalfMessageRequestHeader`. A half message itself is sent like any other.

use super::super::fields::ByteString;
use crate::header;

header! {
    /// END_TRANSACTION (37).
    EndTransactionRequestHeader {
        "producerGroup" => producer_group: ByteString,
        /// Queue offset of the half message.
        "tranStateTableOffset" => tran_state_table_offset: i64,
        /// Physical offset of the half message.
        "commitLogOffset" => commit_log_offset: i64,
        /// `TRANSACTION_COMMIT`, `TRANSACTION_ROLLBACK`, or 0 for "not known yet".
        "commitOrRollback" => commit_or_rollback: i32,
        /// Whether it answers a CHECK_TRANSACTION_STATE.
        "fromTransactionCheck" => from_transaction_check: bool = false,
        /// The message's unique key.
        "msgId" => msg_id: Option<ByteString>,
        "transactionId" => transaction_id: Option<ByteString>,
    }
}

header! {
    /// CHECK_TRANSACTION_STATE (39), to a producer.
    CheckTransactionStateRequestHeader {
        /// The half topic.
        "topic" => topic: Option<ByteString>,
        "tranStateTableOffset" => tran_state_table_offset: i64,
        "commitLogOffset" => commit_log_offset: i64,
        /// The message's unique key.
        "msgId" => msg_id: Option<ByteString>,
        "transactionId" => transaction_id: Option<ByteString>,
        /// The half message's offset message id.
        "offsetMsgId" => offset_msg_id: Option<ByteString>,
        "bname" => broker_name: Option<ByteString>,
    }
}

header! {
    /// RESUME_CHECK_HALF_MESSAGE (323).
    ResumeCheckHalfMessageRequestHeader {
        /// Offset message id of the half message, or of its copy among those given up.
        "msgId" => msg_id: ByteString,
    }
}
