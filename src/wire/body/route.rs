//! What a NameServer tells: routes, the cluster, the members of a broker.
//!
//! Mirrors `TopicRouteData`, `QueueData`, `BrokerData`, `ClusterInfo` and `BrokerMemberGroup`. The keys of
//! `brokerAddrs` stand bare in compact text; route answers to clients >= 4.9.4 take the standard text.

#![allow(missing_docs)] // fields are just the Java names

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::mapping::TopicQueueMappingInfo;

/// Answer to GET_ROUTEINFO_BY_TOPIC (105); body of REGISTER_TOPIC_IN_NAMESRV (217).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicRouteData {
    pub broker_datas: Vec<BrokerData>,
    pub filter_server_table: BTreeMap<String, Vec<String>>,
    /// `broker-a:8;broker-b:8`.
    pub order_topic_conf: Option<String>,
    pub queue_datas: Vec<QueueData>,
    pub topic_queue_mapping_by_broker: Option<BTreeMap<String, TopicQueueMappingInfo>>,
}

/// One topic's queues on one broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueData {
    pub broker_name: String,
    /// Bits: 1 inherit, 2 write, 4 read, 8 priority.
    pub perm: i32,
    pub read_queue_nums: i32,
    /// `topicSynFlag` in old releases and in Go.
    #[serde(alias = "topicSynFlag")]
    pub topic_sys_flag: i32,
    pub write_queue_nums: i32,
}

/// A master and its slaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerData {
    /// Broker id (0: master) to `ip:port`.
    pub broker_addrs: BTreeMap<i64, String>,
    pub broker_name: String,
    pub cluster: String,
    pub enable_acting_master: bool,
    pub zone_name: Option<String>,
}

/// Answer to GET_BROKER_CLUSTER_INFO (106).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterInfo {
    pub broker_addr_table: BTreeMap<String, BrokerData>,
    /// Cluster to its broker names.
    pub cluster_addr_table: BTreeMap<String, BTreeSet<String>>,
}

/// A broker name with all its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerMemberGroup {
    pub broker_addrs: BTreeMap<i64, String>,
    pub broker_name: String,
    pub cluster: String,
}

/// Answer to GET_BROKER_MEMBER_GROUP (901).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GetBrokerMemberGroupResponseBody {
    pub broker_member_group: Option<BrokerMemberGroup>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::fastjson;

    fn broker() -> BrokerData {
        BrokerData {
            broker_addrs: [(0, "10.0.0.1:10911".into()), (1, "10.0.0.2:10911".into())].into(),
            broker_name: "broker-a".into(),
            cluster: "DefaultCluster".into(),
            ..BrokerData::default()
        }
    }

    /// A route is the text of Apache in both forms, and either is read back.
    #[test]
    fn route() {
        let queue = QueueData {
            broker_name: "broker-a".into(),
            perm: 6,
            read_queue_nums: 8,
            topic_sys_flag: 0,
            write_queue_nums: 8,
        };
        let route = TopicRouteData {
            broker_datas: vec![broker()],
            queue_datas: vec![queue],
            ..TopicRouteData::default()
        };
        let standard = r#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911","1":"10.0.0.2:10911"},"brokerName":"broker-a","cluster":"DefaultCluster","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":8,"topicSysFlag":0,"writeQueueNums":8}]}"#;
        assert_eq!(fastjson::to_string_standard(&route), standard);
        let compact = standard.replace("\"0\"", "0").replace("\"1\"", "1");
        assert_eq!(fastjson::to_string(&route), compact);
        for text in [standard, &compact, &standard.replace("topicSysFlag", "topicSynFlag")] {
            assert_eq!(fastjson::from_slice::<TopicRouteData>(text.as_bytes()).unwrap(), route);
        }
    }

    /// The cluster is always printed with bare keys.
    #[test]
    fn cluster() {
        let info = ClusterInfo {
            broker_addr_table: [("broker-a".into(), broker())].into(),
            cluster_addr_table: [("DefaultCluster".into(), ["broker-a".into()].into())].into(),
        };
        let text = r#"{"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:"10.0.0.1:10911",1:"10.0.0.2:10911"},"brokerName":"broker-a","cluster":"DefaultCluster","enableActingMaster":false}},"clusterAddrTable":{"DefaultCluster":["broker-a"]}}"#;
        assert_eq!(fastjson::to_string(&info), text);
        assert_eq!(fastjson::from_slice::<ClusterInfo>(text.as_bytes()).unwrap(), info);
    }
}
