//! Topics that are only asked for: there at once, in no list, gone after a minute, real when used.

use std::time::Duration;

use rmq_lite::config::Settings;
use rmq_lite::remoting::client::Client;
use rmq_lite::wire::body::heartbeat::{ConsumerData, HeartbeatData, SubscriptionData};
use rmq_lite::wire::body::route::TopicRouteData;
use rmq_lite::wire::body::topic::TopicList;
use rmq_lite::wire::code::{request, response};
use rmq_lite::wire::command::Command;
use rmq_lite::wire::fastjson;

use crate::kit::{LIMIT, Rig, pull_request, request};

async fn route(client: &Client, topic: &str) -> Command {
    client.call(request(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", topic)]), LIMIT).await.unwrap()
}

async fn listed(rig: &Rig) -> Vec<String> {
    let all = request(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &[]);
    let answer = rig.namesrv.call(all, LIMIT).await.unwrap();
    let list: TopicList = fastjson::from_slice(&answer.body).unwrap();
    list.topic_list.into_iter().collect()
}

async fn known_to_the_broker(rig: &Rig, topic: &str) -> bool {
    rig.ask(pull_request(topic, 0, 0, "*", 0)).await.code != response::TOPIC_NOT_EXIST
}

/// A consumer may come first: it gets a route with as many queues as a send would make, and nothing is listed.
#[tokio::test]
async fn a_consumer_may_come_first() {
    let rig = Rig::start().await;
    let answer = route(&rig.namesrv, "Later").await;
    let found: TopicRouteData = fastjson::from_slice(&answer.body).unwrap();
    assert_eq!((found.queue_datas[0].read_queue_nums, found.queue_datas[0].perm), (4, 6));
    assert_eq!(Some(&found.broker_datas[0].broker_addrs[&0]), rig.server.endpoints().broker.as_ref());
    assert!(!listed(&rig).await.contains(&"Later".to_owned()));

    let heartbeat = HeartbeatData {
        client_id: "c".into(),
        consumer_data_set: vec![ConsumerData {
            group_name: "g".into(),
            subscription_data_set: vec![SubscriptionData {
                topic: "Later".into(),
                sub_string: "*".into(),
                ..SubscriptionData::default()
            }],
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    };
    let beat = request(request::HEART_BEAT, &[]).with_body(fastjson::to_string(&heartbeat));
    assert_eq!(rig.ask(beat).await.code, response::SUCCESS);
    assert!(rig.server.broker().unwrap().registration_settled(LIMIT).await);
    let listed = listed(&rig).await;
    assert!(listed.contains(&"Later".to_owned()) && listed.contains(&"%RETRY%g".to_owned()));
    rig.server.stop().await;
}

/// A typo leaves nothing behind after a minute; what was deleted, belongs to the system or is illegal never comes.
#[tokio::test]
async fn a_typo_leaves_nothing_behind() {
    let rig = Rig::start().await;
    assert_eq!(route(&rig.namesrv, "Tpyo").await.code, response::SUCCESS);
    assert!(known_to_the_broker(&rig, "Tpyo").await);
    rig.clock.travel(Duration::from_secs(70));
    let gone = async {
        while known_to_the_broker(&rig, "Tpyo").await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, gone).await.expect("the topic stays");

    rig.send("Short", 0, "m", "").await;
    assert_eq!(rig.ask(request(request::DELETE_TOPIC_IN_BROKER, &[("topic", "Short")])).await.code, 0);
    let delete = request(request::DELETE_TOPIC_IN_NAMESRV, &[("topic", "Short")]);
    assert_eq!(rig.namesrv.call(delete, LIMIT).await.unwrap().code, 0);
    for topic in ["Short", "%DLQ%g", "a b", "../x", "", "rmq_sys_other"] {
        assert_eq!(route(&rig.namesrv, topic).await.code, response::TOPIC_NOT_EXIST, "{topic}");
    }
    rig.server.stop().await;
}

/// With strict topics nobody makes one by asking, and a send still does.
#[tokio::test]
async fn strict_topics() {
    let rig = Rig::with(Settings { strict_topics: true, ..Settings::for_test() }).await;
    assert_eq!(route(&rig.namesrv, "Later").await.code, response::TOPIC_NOT_EXIST);
    assert_eq!(rig.send("Later", 0, "m", "").await.code, response::SUCCESS);
    assert!(rig.server.broker().unwrap().registration_settled(LIMIT).await);
    assert_eq!(route(&rig.namesrv, "Later").await.code, response::SUCCESS);
    rig.server.stop().await;
}
