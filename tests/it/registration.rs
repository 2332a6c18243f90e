//! How brokers keep NameServers up to date: several at once, each on its own, again after a while, and after it was away.

use std::path::Path;
use std::time::Duration;

use rmq_lite::clock::Clock;
use rmq_lite::config::{Choices, Role, Settings};
use rmq_lite::faults::{FaultPoint, Order, Trigger};
use rmq_lite::lifecycle::Lifecycle;
use rmq_lite::remoting::client::Client;
use rmq_lite::server::Server;
use rmq_lite::wire::body::route::{ClusterInfo, TopicRouteData};
use rmq_lite::wire::body::topic::TopicConfig;
use rmq_lite::wire::code::{request, response};
use rmq_lite::wire::command::Command;
use rmq_lite::wire::fastjson;
use rmq_lite::wire::message::parse_offset_message_id;

use crate::kit::{LIMIT, Rig, request, send_request};

async fn ask(address: &str, code: i32, fields: &[(&'static str, &str)]) -> Command {
    let life = Lifecycle::new();
    let client = Client::connect(address, &Clock::new(), &life).await.unwrap();
    client.call(request(code, fields), LIMIT).await.unwrap()
}

/// Waits until a NameServer knows a topic, or does not.
async fn until(namesrv: &str, topic: &str, known: bool) {
    let life = Lifecycle::new();
    let client = Client::connect(namesrv, &Clock::new(), &life).await.unwrap();
    let told = async {
        let ask = || request(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", topic)]);
        while (client.call(ask(), LIMIT).await.unwrap().code == response::SUCCESS) != known {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, told).await.unwrap_or_else(|_| panic!("{topic} at {namesrv}: not {known}"));
}

/// An address of this test alone: while its NameServer is away, nobody else takes its port.
const HOST: &str = "127.83.12.9";

async fn name_server(dir: &Path, name: &str, port: u16) -> Server {
    let kept = dir.join(name).to_str().unwrap().to_owned();
    let choices = Choices {
        bind: Some(HOST.parse().unwrap()),
        namesrv_port: Some(port),
        set: vec![("kvConfigPath".to_owned(), kept)],
        ..Choices::default()
    };
    Server::start(Settings::resolve(Role::NameServer, choices).unwrap()).await.unwrap()
}

async fn broker(dir: &Path, name: &str, namesrv: &str) -> Server {
    let set = [
        ("brokerName", name.to_owned()),
        ("storePathRootDir", dir.join(name).to_str().unwrap().to_owned()),
        ("listenPort", "0".to_owned()),
        ("brokerIP1", HOST.to_owned()),
    ];
    let choices = Choices {
        bind: Some(HOST.parse().unwrap()),
        namesrv_addr: Some(namesrv.to_owned()),
        set: set.map(|(key, value)| (key.to_owned(), value)).into(),
        ..Choices::default()
    };
    Server::start(Settings::resolve(Role::Broker, choices).unwrap()).await.unwrap()
}

/// A registration that fails is tried again until it succeeds, with what changed meanwhile; until then the broker is not
/// there for the NameServer.
#[tokio::test]
async fn a_registration_that_fails() {
    let dir = tempfile::tempdir().unwrap();
    let namesrv = name_server(dir.path(), "one", 0).await;
    let address = namesrv.namesrv().to_owned();
    let broker = broker(dir.path(), "a", &address).await;
    until(&address, "a", true).await;
    let order = Order { trigger: Trigger::EveryNth(1), only_for: Some(address.clone()) };
    broker.faults().order(FaultPoint::NameServerRegister, order);
    let life = Lifecycle::new();
    let client =
        Client::connect(broker.endpoints().broker.as_ref().unwrap(), broker.clock(), &life).await.unwrap();
    let sent = client.call(send_request("T", 0, "").with_body("m"), LIMIT);
    let (sent, ()) = tokio::join!(sent, async {
        until(&address, "a", false).await;
        broker.faults().clear();
        broker.clock().travel(Duration::from_secs(1));
        until(&address, "a", true).await;
        until(&address, "T", true).await;
    });
    assert_eq!(sent.unwrap().code, response::SUCCESS);
    broker.stop().await;
    namesrv.stop().await;
}

/// Two brokers at two NameServers that know nothing of each other: both know everything. While one is away the other goes on,
/// and what happened meanwhile is told to it when it is back. A broker that leaves is forgotten by both at once.
#[tokio::test]
async fn several_name_servers() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (name_server(dir.path(), "one", 0).await, name_server(dir.path(), "other", 0).await);
    let addresses = [one.namesrv().to_owned(), other.namesrv().to_owned()];
    let both = addresses.join(";");
    let (a, b) = (broker(dir.path(), "a", &both).await, broker(dir.path(), "b", &both).await);
    let address = a.endpoints().broker.clone().unwrap();
    for namesrv in &addresses {
        until(namesrv, "a", true).await;
        until(namesrv, "b", true).await;
        let cluster = ask(namesrv, request::GET_BROKER_CLUSTER_INFO, &[]).await;
        let cluster: ClusterInfo = fastjson::from_slice(&cluster.body).unwrap();
        assert_eq!(cluster.broker_addr_table.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(cluster.broker_addr_table["a"].broker_addrs[&0], address);
    }
    let life = Lifecycle::new();
    let client = Client::connect(&address, &Clock::new(), &life).await.unwrap();
    let create = |topic: &str| client.call(send_request(topic, 0, "").with_body("m"), LIMIT);
    assert_eq!(create("Before").await.unwrap().code, response::SUCCESS);
    for namesrv in &addresses {
        until(namesrv, "Before", true).await;
    }

    // What a NameServer says about order comes back with the next registration.
    let item = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "Before"), ("value", "a:4")];
    assert_eq!(ask(&addresses[0], request::PUT_KV_CONFIG, &item).await.code, response::SUCCESS);
    assert_eq!(create("Next").await.unwrap().code, response::SUCCESS);
    let marked = async {
        loop {
            let answer = ask(&address, request::GET_TOPIC_CONFIG, &[("topic", "Before")]).await;
            let config: TopicConfig = fastjson::from_slice(&answer.body).unwrap();
            if config.order {
                return config;
            }
        }
    };
    let config = tokio::time::timeout(LIMIT, marked).await.expect("the topic is ordered");
    assert_eq!(config.topic_name, "Before");

    other.stop().await;
    assert_eq!(create("Meanwhile").await.unwrap().code, response::SUCCESS);
    until(&addresses[0], "Meanwhile", true).await;
    let port = addresses[1].rsplit_once(':').unwrap().1.parse().unwrap();
    let other = name_server(dir.path(), "other", port).await;
    for topic in ["Before", "Meanwhile", "b"] {
        until(&addresses[1], topic, true).await;
    }
    b.stop().await;
    for namesrv in &addresses {
        until(namesrv, "b", false).await;
        until(namesrv, "Before", true).await;
    }
    a.stop().await;
    one.stop().await;
    other.stop().await;
}

/// A NameServer that has forgotten a broker, by an administrator's order, say, knows it again after half a minute.
#[tokio::test]
async fn again_every_half_minute() {
    let rig = Rig::start().await;
    let broker = rig.server.endpoints().broker.clone().unwrap();
    let fields = [
        ("brokerName", "broker-a"),
        ("brokerAddr", broker.as_str()),
        ("clusterName", "DefaultCluster"),
        ("brokerId", "0"),
    ];
    let namesrv = rig.server.namesrv().to_owned();
    for _ in 0..2 {
        assert_eq!(ask(&namesrv, request::UNREGISTER_BROKER, &fields).await.code, response::SUCCESS);
        until(&namesrv, "TBW102", false).await;
        rig.clock.travel(Duration::from_secs(31));
        until(&namesrv, "TBW102", true).await;
    }
    rig.server.stop().await;
}

/// A server that listens everywhere tells each client the address that it came by, in routes and in message ids.
#[tokio::test]
async fn each_client_is_told_the_address_it_came_by() {
    let settings = Settings { bind: "0.0.0.0".parse().unwrap(), ..Settings::for_test() };
    let server = Server::start(settings).await.unwrap();
    let port = |address: &str| address.rsplit_once(':').unwrap().1.to_owned();
    let (namesrv, broker) = (port(server.namesrv()), port(server.endpoints().broker.as_ref().unwrap()));
    for host in ["127.0.0.5", "127.0.0.6"] {
        let life = Lifecycle::new();
        let client = Client::connect(&format!("{host}:{broker}"), &Clock::new(), &life).await.unwrap();
        let sent = client.call(send_request("T", 0, "").with_body("m"), LIMIT).await.unwrap();
        let (store_host, _) = parse_offset_message_id(sent.fields.get("msgId").unwrap()).unwrap();
        assert_eq!(store_host.to_string(), format!("{host}:{broker}"));
        until(&format!("{host}:{namesrv}"), "T", true).await;
        let route =
            ask(&format!("{host}:{namesrv}"), request::GET_ROUTEINFO_BY_TOPIC, &[("topic", "T")]).await;
        let route: TopicRouteData = fastjson::from_slice(&route.body).unwrap();
        assert_eq!(route.broker_datas[0].broker_addrs[&0], format!("{host}:{broker}"));
    }
    server.stop().await;
}
