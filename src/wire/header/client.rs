//! Headers of requests about connected clients, and of those that a broker sends to them.
//!
//! Mirrors `UnregisterClientRequestHeader`, `GetConsumerListByGroupRequestHeader` and their neighbours. A
//! heartbeat itself has no fields.

use super::super::fields::ByteString;
use crate::header;

header! {
    /// Answer to HEART_BEAT (34); 4.x brokers send none of it.
    HeartbeatResponseHeader {
        "IS_SUPPORT_HEART_BEAT_V2" => is_support_heart_beat_v2: Option<bool>,
        "IS_SUB_CHANGE" => is_sub_change: Option<bool>,
    }
}

header! {
    /// UNREGISTER_CLIENT (35).
    UnregisterClientRequestHeader {
        "clientID" => client_id: ByteString,
        "producerGroup" => producer_group: Option<ByteString>,
        "consumerGroup" => consumer_group: Option<ByteString>,
    }
}

header! {
    /// GET_CONSUMER_LIST_BY_GROUP (38).
    GetConsumerListByGroupRequestHeader {
        "consumerGroup" => consumer_group: ByteString,
    }
}

header! {
    /// NOTIFY_CONSUMER_IDS_CHANGED (40), to a client.
    NotifyConsumerIdsChangedRequestHeader {
        "consumerGroup" => consumer_group: ByteString,
    }
}

header! {
    /// GET_CONSUMER_CONNECTION_LIST (203).
    GetConsumerConnectionListRequestHeader {
        "consumerGroup" => consumer_group: ByteString,
    }
}

header! {
    /// GET_PRODUCER_CONNECTION_LIST (204).
    GetProducerConnectionListRequestHeader {
        "producerGroup" => producer_group: ByteString,
    }
}

header! {
    /// GET_CONSUMER_RUNNING_INFO (307), from an admin tool and on to the client.
    GetConsumerRunningInfoRequestHeader {
        "consumerGroup" => consumer_group: ByteString,
        "clientId" => client_id: ByteString,
        "jstackEnable" => jstack_enable: bool = false,
    }
}

header! {
    /// CONSUME_MESSAGE_DIRECTLY (309), from an admin tool and on to the client.
    ConsumeMessageDirectlyResultRequestHeader {
        "consumerGroup" => consumer_group: ByteString,
        "clientId" => client_id: Option<ByteString>,
        /// Offset message id.
        "msgId" => msg_id: Option<ByteString>,
        "brokerName" => broker_name: Option<ByteString>,
        "topic" => topic: Option<ByteString>,
        "topicSysFlag" => topic_sys_flag: Option<i32>,
        "groupSysFlag" => group_sys_flag: Option<i32>,
    }
}
