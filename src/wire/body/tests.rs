//! Every body as Apache's own classes print it.
//!
//! The texts were printed by the jars of release 5.3.3 from objects in which every field was set, so a field that
//! is missing here, misspelt or out of order does not survive the round trip. By hand, the times that
//! `QueueTimeSpan` prints as text too were taken out, and the `forbiddenTable` of later releases was added.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    admin::*, auth::*, connection::*, data_version::*, group::*, heartbeat::*, kv::*, lock::*, mapping::*,
    offset::*, register::*, route::*, running::*, stats::*, topic::*,
};
use crate::wire::fastjson;

#[track_caller]
fn round_trip<T: Serialize + DeserializeOwned + Debug + PartialEq>(text: &str) {
    let value: T = super::decode("a body", text.as_bytes()).unwrap();
    assert_eq!(fastjson::to_string(&value), text);
    let standard = fastjson::to_string_standard(&value);
    assert_eq!(super::decode::<T>("a body", standard.as_bytes()).unwrap(), value);
    serde_json::from_str::<serde_json::Value>(&standard).unwrap();
    assert_eq!(super::decode::<T>("a body", fastjson::to_string_pretty(&value).as_bytes()).unwrap(), value);
    // Absent fields have defaults, whatever the type.
    super::decode::<T>("a body", b"{}").unwrap();
}

/// Every field of every body comes and goes under its name, in its place.
#[test]
#[rustfmt::skip]
fn apache_texts() {
    round_trip::<DataVersion>(r#"{"counter":3,"stateVersion":2,"timestamp":2}"#);
    round_trip::<TopicRouteData>(r#"{"brokerDatas":[{"brokerAddrs":{2:"s"},"brokerName":"s","cluster":"s","enableActingMaster":true,"zoneName":"s"}],"filterServerTable":{"s":["s"]},"orderTopicConf":"s","queueDatas":[{"brokerName":"s","perm":1,"readQueueNums":1,"topicSysFlag":1,"writeQueueNums":1}],"topicQueueMappingByBroker":{"s":{"bname":"s","currIdMap":{1:1},"dirty":true,"epoch":2,"scope":"s","topic":"s","totalQueues":1}}}"#);
    round_trip::<ClusterInfo>(r#"{"brokerAddrTable":{"s":{"brokerAddrs":{2:"s"},"brokerName":"s","cluster":"s","enableActingMaster":true,"zoneName":"s"}},"clusterAddrTable":{"s":["s"]}}"#);
    round_trip::<GetBrokerMemberGroupResponseBody>(r#"{"brokerMemberGroup":{"brokerAddrs":{2:"s"},"brokerName":"s","cluster":"s"}}"#);
    round_trip::<TopicQueueMappingDetail>(r#"{"bname":"s","currIdMap":{1:1},"dirty":true,"epoch":2,"hostedQueues":{1:[{"bname":"s","endOffset":2,"gen":1,"logicOffset":2,"queueId":1,"startOffset":2,"timeOfEnd":2,"timeOfStart":2}]},"scope":"s","topic":"s","totalQueues":1}"#);
    round_trip::<TopicConfigAndQueueMapping>(r#"{"attributes":{"s":"s"},"mappingDetail":{"bname":"s","currIdMap":{1:1},"dirty":true,"epoch":2,"hostedQueues":{1:[{"bname":"s","endOffset":2,"gen":1,"logicOffset":2,"queueId":1,"startOffset":2,"timeOfEnd":2,"timeOfStart":2}]},"scope":"s","topic":"s","totalQueues":1},"order":true,"perm":1,"readQueueNums":1,"topicFilterType":"MULTI_TAG","topicName":"s","topicSysFlag":1,"writeQueueNums":1}"#);
    round_trip::<TopicQueueMappingSerializeWrapper>(r#"{"dataVersion":{"counter":3,"stateVersion":2,"timestamp":2},"topicQueueMappingInfoMap":{"s":{"bname":"s","currIdMap":{1:1},"dirty":true,"epoch":2,"hostedQueues":{1:[{"bname":"s","endOffset":2,"gen":1,"logicOffset":2,"queueId":1,"startOffset":2,"timeOfEnd":2,"timeOfStart":2}]},"scope":"s","topic":"s","totalQueues":1}}}"#);
    round_trip::<TopicConfigSerializeWrapper>(r#"{"dataVersion":{"counter":3,"stateVersion":2,"timestamp":2},"topicConfigTable":{"s":{"attributes":{"s":"s"},"order":true,"perm":1,"readQueueNums":1,"topicFilterType":"MULTI_TAG","topicName":"s","topicSysFlag":1,"writeQueueNums":1}}}"#);
    round_trip::<TopicConfigAndMappingSerializeWrapper>(r#"{"dataVersion":{"counter":3,"stateVersion":2,"timestamp":2},"mappingDataVersion":{"counter":3,"stateVersion":2,"timestamp":2},"topicConfigTable":{"s":{"attributes":{"s":"s"},"order":true,"perm":1,"readQueueNums":1,"topicFilterType":"MULTI_TAG","topicName":"s","topicSysFlag":1,"writeQueueNums":1}},"topicQueueMappingDetailMap":{"s":{"bname":"s","currIdMap":{1:1},"dirty":true,"epoch":2,"hostedQueues":{1:[{"bname":"s","endOffset":2,"gen":1,"logicOffset":2,"queueId":1,"startOffset":2,"timeOfEnd":2,"timeOfStart":2}]},"scope":"s","topic":"s","totalQueues":1}},"topicQueueMappingInfoMap":{"s":{"bname":"s","currIdMap":{1:1},"dirty":true,"epoch":2,"scope":"s","topic":"s","totalQueues":1}}}"#);
    round_trip::<RegisterBrokerBody>(r#"{"filterServerList":["s"],"topicConfigSerializeWrapper":{"dataVersion":{"counter":3,"stateVersion":2,"timestamp":2},"mappingDataVersion":{"counter":3,"stateVersion":2,"timestamp":2},"topicConfigTable":{"s":{"attributes":{"s":"s"},"order":true,"perm":1,"readQueueNums":1,"topicFilterType":"MULTI_TAG","topicName":"s","topicSysFlag":1,"writeQueueNums":1}},"topicQueueMappingDetailMap":{"s":{"bname":"s","currIdMap":{1:1},"dirty":true,"epoch":2,"hostedQueues":{1:[{"bname":"s","endOffset":2,"gen":1,"logicOffset":2,"queueId":1,"startOffset":2,"timeOfEnd":2,"timeOfStart":2}]},"scope":"s","topic":"s","totalQueues":1}},"topicQueueMappingInfoMap":{"s":{"bname":"s","currIdMap":{1:1},"dirty":true,"epoch":2,"scope":"s","topic":"s","totalQueues":1}}}}"#);
    round_trip::<CreateTopicListRequestBody>(r#"{"topicConfigList":[{"attributes":{"s":"s"},"order":true,"perm":1,"readQueueNums":1,"topicFilterType":"MULTI_TAG","topicName":"s","topicSysFlag":1,"writeQueueNums":1}]}"#);
    round_trip::<TopicList>(r#"{"brokerAddr":"s","topicList":["s"]}"#);
    round_trip::<HeartbeatData>(r#"{"clientID":"s","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST","consumeType":"CONSUME_PASSIVELY","groupName":"s","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":true,"codeSet":[1],"expressionType":"s","subString":"s","subVersion":2,"tagsSet":["s"],"topic":"s"}],"unitMode":true}],"heartbeatFingerprint":1,"producerDataSet":[{"groupName":"s"}],"withoutSub":true}"#);
    round_trip::<CheckClientRequestBody>(r#"{"clientId":"s","group":"s","namespace":"s","subscriptionData":{"classFilterMode":true,"codeSet":[1],"expressionType":"s","subString":"s","subVersion":2,"tagsSet":["s"],"topic":"s"}}"#);
    round_trip::<GetConsumerListByGroupResponseBody>(r#"{"consumerIdList":["s"]}"#);
    round_trip::<SubscriptionGroupConfig>(r#"{"attributes":{"s":"s"},"brokerId":2,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"consumeMessageOrderly":true,"consumeTimeoutMinute":1,"groupName":"s","groupRetryPolicy":{"customizedRetryPolicy":{"next":[1,2]},"exponentialRetryPolicy":{"initial":2,"max":2,"multiplier":2},"type":"CUSTOMIZED"},"groupSysFlag":1,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":1,"retryQueueNums":1,"subscriptionDataSet":[{"expression":"s","expressionType":"s","topic":"s","version":2}],"whichBrokerWhenConsumeSlowly":2}"#);
    round_trip::<SubscriptionGroupWrapper>(r#"{"dataVersion":{"counter":3,"stateVersion":2,"timestamp":2},"forbiddenTable":{"s":{"s":1}},"subscriptionGroupTable":{"s":{"attributes":{"s":"s"},"brokerId":2,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"consumeMessageOrderly":true,"consumeTimeoutMinute":1,"groupName":"s","groupRetryPolicy":{"customizedRetryPolicy":{"next":[1,2]},"exponentialRetryPolicy":{"initial":2,"max":2,"multiplier":2},"type":"CUSTOMIZED"},"groupSysFlag":1,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":1,"retryQueueNums":1,"subscriptionDataSet":[{"expression":"s","expressionType":"s","topic":"s","version":2}],"whichBrokerWhenConsumeSlowly":2}}}"#);
    round_trip::<SubscriptionGroupList>(r#"{"groupConfigList":[{"attributes":{"s":"s"},"brokerId":2,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"consumeMessageOrderly":true,"consumeTimeoutMinute":1,"groupName":"s","groupRetryPolicy":{"customizedRetryPolicy":{"next":[1,2]},"exponentialRetryPolicy":{"initial":2,"max":2,"multiplier":2},"type":"CUSTOMIZED"},"groupSysFlag":1,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":1,"retryQueueNums":1,"subscriptionDataSet":[{"expression":"s","expressionType":"s","topic":"s","version":2}],"whichBrokerWhenConsumeSlowly":2}]}"#);
    round_trip::<GroupForbidden>(r#"{"group":"s","readable":true,"topic":"s"}"#);
    round_trip::<GroupList>(r#"{"groupList":["s"]}"#);
    round_trip::<QuerySubscriptionResponseBody>(r#"{"group":"s","subscriptionData":{"classFilterMode":true,"codeSet":[1],"expressionType":"s","subString":"s","subVersion":2,"tagsSet":["s"],"topic":"s"},"topic":"s"}"#);
    round_trip::<ConsumerOffsetSerializeWrapper>(r#"{"dataVersion":{"counter":3,"stateVersion":2,"timestamp":2},"offsetTable":{"s":{1:2}}}"#);
    round_trip::<DelayOffsetSerializeWrapper>(r#"{"dataVersion":{"counter":3,"stateVersion":2,"timestamp":2},"offsetTable":{1:2}}"#);
    round_trip::<ResetOffsetBody>(r#"{"offsetTable":{{"brokerName":"s","queueId":1,"topic":"s"}:2}}"#);
    round_trip::<ResetOffsetBodyForC>(r#"{"offsetTable":[{"brokerName":"s","offset":2,"queueId":1,"topic":"s"}]}"#);
    round_trip::<GetConsumerStatusBody>(r#"{"consumerTable":{"s":{{"brokerName":"s","queueId":1,"topic":"s"}:2}},"messageQueueTable":{{"brokerName":"s","queueId":1,"topic":"s"}:2}}"#);
    round_trip::<QueryCorrectionOffsetBody>(r#"{"correctionOffsets":{1:2}}"#);
    round_trip::<QueryConsumeTimeSpanBody>(r#"{"consumeTimeSpanSet":[{"consumeTimeStamp":2,"delayTime":2,"maxTimeStamp":2,"messageQueue":{"brokerName":"s","queueId":1,"topic":"s"},"minTimeStamp":2}]}"#);
    round_trip::<TopicStatsTable>(r#"{"offsetTable":{{"brokerName":"s","queueId":1,"topic":"s"}:{"lastUpdateTimestamp":2,"maxOffset":2,"minOffset":2}},"topicPutTps":0.5}"#);
    round_trip::<ConsumeStats>(r#"{"consumeTps":0.5,"offsetTable":{{"brokerName":"s","queueId":1,"topic":"s"}:{"brokerOffset":2,"consumerOffset":2,"lastTimestamp":2,"pullOffset":2}}}"#);
    round_trip::<ConsumeStatsList>(r#"{"brokerAddr":"s","consumeStatsList":[{"s":[{"consumeTps":0.5,"offsetTable":{{"brokerName":"s","queueId":1,"topic":"s"}:{"brokerOffset":2,"consumerOffset":2,"lastTimestamp":2,"pullOffset":2}}}]}],"totalDiff":2,"totalInflightDiff":2}"#);
    round_trip::<BrokerStatsData>(r#"{"statsDay":{"avgpt":0.5,"sum":2,"tps":0.5},"statsHour":{"avgpt":0.5,"sum":2,"tps":0.5},"statsMinute":{"avgpt":0.5,"sum":2,"tps":0.5}}"#);
    round_trip::<QueryConsumeQueueResponseBody>(r#"{"filterData":"s","maxQueueIndex":2,"minQueueIndex":2,"queueData":[{"bitMap":"s","eval":true,"extendDataJson":"s","msg":"s","physicOffset":2,"physicSize":1,"tagsCode":2}],"subscriptionData":{"classFilterMode":true,"codeSet":[1],"expressionType":"s","subString":"s","subVersion":2,"tagsSet":["s"],"topic":"s"}}"#);
    round_trip::<LockBatchRequestBody>(r#"{"clientId":"s","consumerGroup":"s","mqSet":[{"brokerName":"s","queueId":1,"topic":"s"}],"onlyThisBroker":true}"#);
    round_trip::<LockBatchResponseBody>(r#"{"lockOKMQSet":[{"brokerName":"s","queueId":1,"topic":"s"}]}"#);
    round_trip::<UnlockBatchRequestBody>(r#"{"clientId":"s","consumerGroup":"s","mqSet":[{"brokerName":"s","queueId":1,"topic":"s"}],"onlyThisBroker":true}"#);
    round_trip::<KVTable>(r#"{"table":{"s":"s"}}"#);
    round_trip::<KVConfigSerializeWrapper>(r#"{"configTable":{"s":{"s":"s"}}}"#);
    round_trip::<ConsumerConnection>(r#"{"connectionSet":[{"clientAddr":"s","clientId":"s","language":"CPP","version":1}],"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","subscriptionTable":{"s":{"classFilterMode":true,"codeSet":[1],"expressionType":"s","subString":"s","subVersion":2,"tagsSet":["s"],"topic":"s"}}}"#);
    round_trip::<ProducerConnection>(r#"{"connectionSet":[{"clientAddr":"s","clientId":"s","language":"CPP","version":1}]}"#);
    round_trip::<ProducerTableInfo>(r#"{"data":{"s":[{"clientId":"s","language":"CPP","lastUpdateTimestamp":2,"remoteIP":"s","version":1}]}}"#);
    round_trip::<ConsumerRunningInfo>(r#"{"jstack":"s","mqPopTable":{{"brokerName":"s","queueId":1,"topic":"s"}:{"droped":true,"lastPopTimestamp":2,"waitAckCount":1}},"mqTable":{{"brokerName":"s","queueId":1,"topic":"s"}:{"cachedMsgCount":1,"cachedMsgMaxOffset":2,"cachedMsgMinOffset":2,"cachedMsgSizeInMiB":1,"commitOffset":2,"droped":true,"lastConsumeTimestamp":2,"lastLockTimestamp":2,"lastPullTimestamp":2,"locked":true,"transactionMsgCount":1,"transactionMsgMaxOffset":2,"transactionMsgMinOffset":2,"tryUnlockTimes":2}},"properties":{"k":"v"},"statusTable":{"s":{"consumeFailedMsgs":2,"consumeFailedTPS":0.5,"consumeOKTPS":0.5,"consumeRT":0.5,"pullRT":0.5,"pullTPS":0.5}},"subscriptionSet":[{"classFilterMode":true,"codeSet":[1],"expressionType":"s","subString":"s","subVersion":2,"tagsSet":["s"],"topic":"s"}],"userConsumerInfo":{"s":"s"}}"#);
    round_trip::<ConsumeMessageDirectlyResult>(r#"{"autoCommit":true,"consumeResult":"CR_LATER","order":true,"remark":"s","spentTimeMills":2}"#);
    round_trip::<HARuntimeInfo>(r#"{"haClientRuntimeInfo":{"lastReadTimestamp":2,"lastWriteTimestamp":2,"masterAddr":"s","masterFlushOffset":2,"maxOffset":2,"transferredByteInSecond":2},"haConnectionInfo":[{"addr":"s","diff":2,"inSync":true,"slaveAckOffset":2,"transferFromWhere":2,"transferredByteInSecond":2}],"inSyncSlaveNums":1,"master":true,"masterCommitLogMaxOffset":2}"#);
    round_trip::<UserInfo>(r#"{"password":"s","userStatus":"s","userType":"s","username":"s"}"#);
    round_trip::<AclInfo>(r#"{"policies":[{"entries":[{"actions":["s"],"decision":"s","resource":"s","sourceIps":["s"]}],"policyType":"s"}],"subject":"s"}"#);
}
