//! Queue locks of orderly consumers.
//!
//! Mirrors `LockBatchRequestBody`, `LockBatchResponseBody` and `UnlockBatchRequestBody`. The broker's name in a
//! queue is part of the lock's identity.

#![allow(missing_docs)] // fields are just the Java names

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::message_queue::MessageQueue;

/// Body of LOCK_BATCH_MQ (41).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockBatchRequestBody {
    pub client_id: String,
    pub consumer_group: String,
    pub mq_set: BTreeSet<MessageQueue>,
    pub only_this_broker: bool,
}

/// Answer to LOCK_BATCH_MQ: the queues that were granted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LockBatchResponseBody {
    #[serde(rename = "lockOKMQSet")]
    pub lock_ok_mq_set: BTreeSet<MessageQueue>,
}

/// Body of UNLOCK_BATCH_MQ (42).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UnlockBatchRequestBody {
    pub client_id: String,
    pub consumer_group: String,
    pub mq_set: BTreeSet<MessageQueue>,
    pub only_this_broker: bool,
}
