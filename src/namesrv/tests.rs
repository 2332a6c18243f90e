//! The NameServer behind a real listener, asked by a real connection.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::net::TcpListener;

use super::*;
use crate::config::keys::Timings;
use crate::remoting::Listener;
use crate::remoting::client::Client;
use crate::wire::body::data_version::DataVersion;
use crate::wire::body::register::RegisterBrokerBody;
use crate::wire::body::route::ClusterInfo;
use crate::wire::body::topic::TopicList;
use crate::wire::code::request as code;
use crate::wire::command::{Command, Request};
use crate::wire::fastjson;
use crate::wire::fields::{FieldList, FieldText};

const LIMIT: Duration = Duration::from_secs(10);

struct Rig {
    namesrv: Arc<NameServer>,
    listener: Listener,
    clock: Clock,
    life: Lifecycle,
    clients: Lifecycle,
    directory: tempfile::TempDir,
}

impl Rig {
    async fn start(neighbour: Option<Arc<dyn Neighbour>>, change: impl FnOnce(&mut NamesrvKeys)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut keys = NamesrvKeys::default_for(Timings::Fast);
        keys.kv_config_path = directory.path().join("kvConfig.json").display().to_string();
        keys.config_store_path = directory.path().join("namesrv.properties").display().to_string();
        change(&mut keys);
        let (clock, life) = (Clock::new(), Lifecycle::new());
        let namesrv = NameServer::new(keys, clock.clone(), neighbour).unwrap();
        namesrv.start(&life);
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let routes = Arc::new(routes::routes());
        let listener =
            Listener::serve(socket, routes, namesrv.clone(), clock.clone(), Duration::from_secs(120), &life)
                .unwrap();
        Self { namesrv, listener, clock, life, clients: Lifecycle::new(), directory }
    }

    async fn client(&self) -> Client {
        Client::connect(self.listener.address(), &self.clock, &self.clients).await.unwrap()
    }
}

async fn plain() -> Rig {
    Rig::start(None, |_| {}).await
}

fn request(code: i32, fields: &[(&'static str, &str)], body: impl Into<Bytes>) -> Request {
    let mut list = FieldList::default();
    for (name, value) in fields {
        list.push(name, FieldText::from((*value).to_owned()));
    }
    Request { code, fields: list, body: body.into() }
}

async fn ask(client: &Client, code: i32, fields: &[(&'static str, &str)], body: impl Into<Bytes>) -> Command {
    client.call(request(code, fields, body), LIMIT).await.unwrap()
}

const BROKER: [(&str, &str); 5] = [
    ("brokerName", "broker-a"),
    ("brokerAddr", "10.0.0.1:10911"),
    ("clusterName", "DefaultCluster"),
    ("haServerAddr", "10.0.0.1:10912"),
    ("brokerId", "0"),
];

fn body(topics: &[&str]) -> RegisterBrokerBody {
    let mut body = RegisterBrokerBody::default();
    let table = &mut body.topic_config_serialize_wrapper;
    table.data_version = DataVersion { counter: 1, state_version: 0, timestamp: 1 };
    for topic in topics {
        table.topic_config_table.insert((*topic).to_owned(), TopicConfig::new(*topic, 8, 6));
    }
    body
}

async fn register(client: &Client, topics: &[&str]) -> Command {
    ask(client, code::REGISTER_BROKER, &BROKER, body(topics).encode(false)).await
}

async fn route(client: &Client, topic: &str) -> Command {
    ask(client, code::GET_ROUTEINFO_BY_TOPIC, &[("topic", topic)], "").await
}

fn remark(answer: &Command) -> &str {
    answer.remark.as_deref().unwrap_or_default()
}

/// Waits until the brokers' table is empty; the end of a connection is seen by its own task.
async fn until_gone(namesrv: &NameServer) {
    while !namesrv.brokers().is_empty() {
        tokio::task::yield_now().await;
    }
}

/// A broker registers, its topics are found in Apache's text, and gone once its connection is.
#[tokio::test]
async fn register_look_and_leave() {
    let rig = plain().await;
    let (broker, client) = (rig.client().await, rig.client().await);
    assert_eq!(register(&broker, &["T", "U", "Ü"]).await.code, 0);
    let answer = route(&client, "T").await;
    let text = r#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911"},"brokerName":"broker-a","cluster":"DefaultCluster","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":8,"topicSysFlag":0,"writeQueueNums":8}]}"#;
    assert_eq!((answer.code, &answer.body[..]), (0, text.as_bytes()));
    let cluster = ask(&client, code::GET_BROKER_CLUSTER_INFO, &[], "").await;
    let text = r#"{"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:"10.0.0.1:10911"},"brokerName":"broker-a","cluster":"DefaultCluster","enableActingMaster":false}},"clusterAddrTable":{"DefaultCluster":["broker-a"]}}"#;
    assert_eq!(&cluster.body[..], text.as_bytes());
    for (code, fields, expected) in [
        (code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, vec![], vec!["T", "U", "Ü"]),
        (code::GET_TOPICS_BY_CLUSTER, vec![("cluster", "DefaultCluster")], vec!["T", "U", "Ü"]),
        (code::GET_TOPICS_BY_CLUSTER, vec![("cluster", "none")], vec![]),
        (code::GET_SYSTEM_TOPIC_LIST_FROM_NS, vec![], vec!["DefaultCluster", "broker-a"]),
        (code::GET_UNIT_TOPIC_LIST, vec![], vec![]),
        (code::GET_HAS_UNIT_SUB_TOPIC_LIST, vec![], vec![]),
        (code::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST, vec![], vec![]),
    ] {
        let answer = ask(&client, code, &fields, "").await;
        let list: TopicList = fastjson::from_slice(&answer.body).unwrap();
        assert_eq!(list.topic_list.iter().collect::<Vec<_>>(), expected, "{code}");
    }
    broker.close();
    until_gone(&rig.namesrv).await;
    let answer = route(&client, "T").await;
    assert_eq!(answer.code, 17);
    assert!(remark(&answer).starts_with("No topic route info in name server for the topic: T\nSee "));
    assert_eq!(ask(&client, 11, &[], "").await.code, 3);
    assert!(rig.life.stop(LIMIT).await);
}

/// A registered broker that says nothing more is there for two minutes and a scan, by tokio's clock.
#[tokio::test(start_paused = true)]
async fn two_minutes() {
    let directory = tempfile::tempdir().unwrap();
    let mut keys = NamesrvKeys::default_for(Timings::Fast);
    keys.kv_config_path = directory.path().join("kvConfig.json").display().to_string();
    let (clock, life) = (Clock::starting_at(1_000_000), Lifecycle::new());
    let namesrv = NameServer::new(keys, clock.clone(), None).unwrap();
    namesrv.start(&life);
    let registration = route_table::Registration {
        address: BrokerAddress { cluster: "c".into(), addr: "a:1".into() },
        broker_name: "a".into(),
        topics: vec![TopicConfig::new("T", 1, 6), TopicConfig::new("U", 1, 6)],
        ..route_table::Registration::default()
    };
    let now_ms = namesrv.clock.liveness_ms();
    namesrv.write(|table| table.register(registration, false, now_ms)).unwrap();
    clock.travel(Duration::from_secs(7200));
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(namesrv.brokers()[0].silent_ms, 120_000);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(namesrv.brokers().is_empty() && namesrv.topics().is_empty());
    assert!(life.stop(LIMIT).await);
}

/// A broker that keeps its connection but says nothing is dropped, its connection closed; another one whose
/// heartbeats arrive is not, and travelling through time makes nobody silent.
#[tokio::test]
async fn a_silent_broker() {
    let rig = Rig::start(None, |keys| keys.scan_not_active_broker_interval = 10).await;
    let (silent, alive) = (rig.client().await, rig.client().await);
    assert_eq!(register(&alive, &["T", "U"]).await.code, 0);
    let mut hasty: BTreeMap<_, _> = BROKER.into();
    hasty.extend([
        ("brokerName", "b"),
        ("brokerAddr", "b:1"),
        ("clusterName", "c"),
        ("heartbeatTimeoutMillis", "1"),
    ]);
    let fields: Vec<_> = hasty.into_iter().collect();
    rig.clock.travel(Duration::from_secs(100));
    let answer = ask(&silent, code::REGISTER_BROKER, &fields, body(&["T", "V"]).encode(true)).await;
    assert_eq!((answer.code, remark(&answer)), (0, ""));
    while !silent.is_closed() {
        tokio::task::yield_now().await;
    }
    let brokers = rig.namesrv.brokers();
    assert_eq!((brokers.len(), &*brokers[0].broker_name, brokers[0].broker_id), (1, "broker-a", Some(0)));
    assert!(brokers[0].silent_ms < 100_000, "{brokers:?}");
    assert_eq!(rig.namesrv.topics(), ["T", "U"]);
}

/// A broker comes back while its former connection ends, and that one still brings a registration: it is there as long as
/// its new connection is, and no longer. By real threads, as often as makes every order likely.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coming_back_while_the_former_connection_ends() {
    let rig = plain().await;
    let fields = |name| {
        let mut fields: BTreeMap<_, _> = BROKER.into();
        fields.extend([("brokerName", name), ("brokerAddr", name)]);
        fields.into_iter().collect::<Vec<_>>()
    };
    let known = |name: &str| rig.namesrv.brokers().iter().any(|broker| broker.broker_name == name);
    for round in 0..200 {
        let former = rig.client().await;
        assert_eq!(register(&former, &["T", "U"]).await.code, 0);
        // Goes with the former connection: by this one sees that its end was noticed.
        let beside = body(&["V", "W"]).encode(false);
        assert_eq!(ask(&former, code::REGISTER_BROKER, &fields("beside:1"), beside).await.code, 0);
        let new = rig.client().await;
        let late =
            former.call(request(code::REGISTER_BROKER, &BROKER, body(&["T", "U"]).encode(true)), LIMIT);
        let (back, _, ()) = tokio::join!(register(&new, &["T", "U"]), late, async {
            for _ in 0..round % 8 {
                tokio::task::yield_now().await;
            }
            former.close();
        });
        assert_eq!(back.code, 0);
        while known("beside:1") {
            tokio::task::yield_now().await;
        }
        assert!(known("broker-a"), "round {round}");
        assert_eq!(route(&new, "T").await.code, 0, "round {round}");
        new.close();
        until_gone(&rig.namesrv).await;
    }
}

/// A broker registers again and again at the edge of its silence: when it is dropped its connection ends, so that it knows,
/// and nothing stays of a registration that came too late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registering_while_it_expires() {
    let rig = Rig::start(None, |keys| keys.scan_not_active_broker_interval = 1).await;
    let mut hasty: BTreeMap<_, _> = BROKER.into();
    hasty.insert("heartbeatTimeoutMillis", "1");
    let fields: Vec<_> = hasty.into_iter().collect();
    let mut dropped = 0;
    while dropped < 20 {
        let broker = rig.client().await;
        while !broker.is_closed() {
            let registration = request(code::REGISTER_BROKER, &fields, body(&["T", "U"]).encode(false));
            match broker.call(registration, LIMIT).await {
                Ok(answer) => assert_eq!(answer.code, 0, "{}", remark(&answer)),
                Err(_) => assert!(broker.is_closed()),
            }
            // The edge: it is dropped once it has been silent for longer than a millisecond.
            let silent_ms = || rig.namesrv.brokers().first().map(|broker| broker.silent_ms);
            while silent_ms().is_some_and(|silent_ms| silent_ms < 1 + dropped % 2) {
                tokio::task::yield_now().await;
            }
        }
        dropped += 1;
    }
    until_gone(&rig.namesrv).await;
    assert_eq!(rig.namesrv.topics(), [""; 0]);
}

/// What is wrong with a registration is said, and nothing of it is kept.
#[tokio::test]
async fn refused_registrations() {
    let rig = plain().await;
    let broker = rig.client().await;
    let good = body(&["T", "U"]).encode(false);
    let crc = (crc32fast::hash(&good) & 0x7FFF_FFFF).to_string();
    let bomb = {
        use std::io::Write;
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![b' '; 65 << 20]).unwrap();
        encoder.finish().unwrap()
    };
    let long = "n".repeat(1025);
    for (field, value, body, problem) in [
        ("bodyCrc32", "1", good.clone(), "crc32 not match"),
        ("bodyCrc32", "x", good.clone(), "bodyCrc32 must be a 32-bit number"),
        ("brokerId", "", good.clone(), "brokerId is missing"),
        ("brokerId", "-1", good.clone(), "brokerId must not be negative"),
        ("heartbeatTimeoutMillis", "0", good.clone(), "heartbeatTimeoutMillis must be positive"),
        ("brokerName", " ", good.clone(), "brokerName is empty"),
        ("brokerName", &long, good.clone(), "brokerName is longer than 1024 bytes"),
        ("clusterName", "a\nb", good.clone(), "clusterName has a control character"),
        ("brokerAddr", "10.0.0.1", good.clone(), "brokerAddr must be host:port"),
        ("brokerAddr", ":10911", good.clone(), "brokerAddr must be host:port"),
        ("brokerAddr", "h:0", good.clone(), "brokerAddr must be host:port"),
        ("x", "", b"garbage".to_vec(), "the request's body is not a broker's registration"),
        ("compressed", "true", good.clone(), "the request's body is not a broker's registration"),
        ("x", "", bomb, "too long"),
        ("x", "", body(&["T"]).encode(false), "register broker failed"),
    ] {
        let mut fields: BTreeMap<_, _> = BROKER.into();
        fields.insert(field, value);
        let fields: Vec<_> = fields.into_iter().collect();
        let answer = ask(&broker, code::REGISTER_BROKER, &fields, body).await;
        assert_eq!(answer.code, 1, "{problem}");
        assert!(remark(&answer).contains(problem), "{problem}: {}", remark(&answer));
        assert!(rig.namesrv.brokers().is_empty() && rig.namesrv.topics().is_empty());
    }
    let mut fields = BROKER.to_vec();
    fields.push(("bodyCrc32", &crc));
    assert_eq!(ask(&broker, code::REGISTER_BROKER, &fields, good).await.code, 0);
    // A topic that cannot be named is left out, the broker is not.
    assert_eq!(register(&broker, &["", "a\0b", "fine"]).await.code, 0);
    assert_eq!(rig.namesrv.topics(), ["T", "U", "fine"]);
    // No body at all is a registration without topics, as Apache takes it.
    assert_eq!(ask(&broker, code::REGISTER_BROKER, &BROKER, "").await.code, 0);
}

/// A key or topic that nobody has, with a name without end, is refused in a few words.
#[tokio::test]
async fn names_beyond_measure() {
    let rig = plain().await;
    let client = rig.client().await;
    let long = "\u{1}".repeat(1 << 17);
    for (code, refused) in
        [(code::GET_KV_CONFIG, 22), (code::GET_KVLIST_BY_NAMESPACE, 22), (code::GET_ROUTEINFO_BY_TOPIC, 17)]
    {
        let fields = [("namespace", &*long), ("key", &long), ("topic", &long)];
        let answer = ask(&client, code, &fields, "").await;
        assert_eq!(answer.code, refused);
        assert!((16..400).contains(&remark(&answer).len()), "{} bytes", remark(&answer).len());
    }
}

/// A body that is compressed although the header denies it, and the body of a broker before 3.0.11.
#[tokio::test]
async fn other_bodies() {
    let rig = plain().await;
    let broker = rig.client().await;
    let compressed = body(&["T", "U"]).encode(true);
    assert_eq!(ask(&broker, code::REGISTER_BROKER, &BROKER, compressed).await.code, 0);
    assert_eq!(rig.namesrv.topics(), ["T", "U"]);
    let old = fastjson::to_string(&body(&["V"]).topic_config_serialize_wrapper);
    let (table, filter_servers) = register::registration_body(old.as_bytes(), false, 36).unwrap();
    assert_eq!(table.topic_config_serialize_wrapper.topic_config_table.len(), 1);
    assert_eq!(filter_servers, None);
    assert!(register::registration_body(b"{", false, 36).is_err());
}

/// Ten thousand topics in one body are no work worth noticing.
#[tokio::test]
async fn ten_thousand_topics() {
    let rig = plain().await;
    let broker = rig.client().await;
    let names: Vec<String> = (0..10_000).map(|at| format!("topic-{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for _ in 0..2 {
        assert_eq!(register(&broker, &names).await.code, 0);
    }
    assert_eq!(rig.namesrv.topics().len(), 10_000);
    assert_eq!(route(&broker, "topic-9999").await.code, 0);
}

/// A broker asks whether it must register, tells that it is alive, learns who is in its group, and leaves.
#[tokio::test]
async fn what_brokers_ask() {
    let rig = plain().await;
    let broker = rig.client().await;
    let same = r#"{"counter":1,"stateVersion":0,"timestamp":1}"#;
    let query = async |body: &'static str| {
        let answer = ask(&broker, code::QUERY_DATA_VERSION, &BROKER, body).await;
        assert_eq!(answer.code, 0);
        (answer.fields.get("changed").unwrap().to_owned(), answer.body)
    };
    assert_eq!(query(same).await, ("true".to_owned(), Bytes::new()));
    register(&broker, &["T", "U"]).await;
    assert_eq!(query(same).await, ("false".to_owned(), Bytes::from_static(same.as_bytes())));
    assert_eq!(query("{}").await.0, "true");
    assert_eq!(ask(&broker, code::QUERY_DATA_VERSION, &BROKER, "[").await.code, 1);
    assert_eq!(ask(&broker, code::BROKER_HEARTBEAT, &BROKER, "").await.code, 0);
    let answer = ask(&broker, code::GET_BROKER_MEMBER_GROUP, &BROKER, "").await;
    let text = r#"{"brokerMemberGroup":{"brokerAddrs":{0:"10.0.0.1:10911"},"brokerName":"broker-a","cluster":"DefaultCluster"}}"#;
    assert_eq!(&answer.body[..], text.as_bytes());
    let answer = ask(&broker, code::WIPE_WRITE_PERM_OF_BROKER, &BROKER, "").await;
    assert_eq!(answer.fields.get("wipeTopicCount"), Some("2"));
    assert_eq!(rig.namesrv.topic_route("T").unwrap().queue_datas[0].perm, 4);
    let answer = ask(&broker, code::ADD_WRITE_PERM_OF_BROKER, &BROKER, "").await;
    assert_eq!(answer.fields.get("addTopicCount"), Some("2"));
    let single =
        r#"{"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":1,"writeQueueNums":1}]}"#;
    let answer = ask(&broker, code::REGISTER_TOPIC_IN_NAMESRV, &[("topic", "V")], single).await;
    assert_eq!((answer.code, rig.namesrv.topics().len()), (0, 3));
    let stranger = single.replace("broker-a", "nobody");
    let answer = ask(&broker, code::REGISTER_TOPIC_IN_NAMESRV, &[("topic", "W")], stranger).await;
    assert_eq!((answer.code, remark(&answer)), (1, "broker nobody is not registered"));
    assert_eq!(ask(&broker, code::DELETE_TOPIC_IN_NAMESRV, &[("topic", "V")], "").await.code, 0);
    assert_eq!(rig.namesrv.topics(), ["T", "U"]);
    assert_eq!(ask(&broker, code::UNREGISTER_BROKER, &BROKER, "").await.code, 0);
    assert!(rig.namesrv.brokers().is_empty() && rig.namesrv.topics().is_empty());
}

/// Key-value configuration over the wire; the order of topics goes into routes when that is switched on, and
/// to the broker that registers.
#[tokio::test]
async fn order_of_topics() {
    let rig = plain().await;
    let client = rig.client().await;
    assert_eq!(register(&client, &["T", "U"]).await.body.len(), 0);
    let item = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "T"), ("value", "broker-a:8")];
    assert_eq!(ask(&client, code::GET_KVLIST_BY_NAMESPACE, &item, "").await.code, 22);
    assert_eq!(ask(&client, code::PUT_KV_CONFIG, &item, "").await.code, 0);
    assert_eq!(ask(&client, code::PUT_KV_CONFIG, &item[..2], "").await.code, 1);
    let answer = ask(&client, code::GET_KV_CONFIG, &item, "").await;
    assert_eq!(answer.fields.get("value"), Some("broker-a:8"));
    let list = ask(&client, code::GET_KVLIST_BY_NAMESPACE, &item, "").await.body;
    assert_eq!(&list[..], br#"{"table":{"T":"broker-a:8"}}"#);
    assert_eq!(register(&client, &["T", "U"]).await.body, list);
    assert_eq!(rig.namesrv.topic_route("T").unwrap().order_topic_conf, None);
    assert!(!String::from_utf8_lossy(&route(&client, "T").await.body).contains("orderTopicConf"));
    let answer = ask(&client, code::UPDATE_NAMESRV_CONFIG, &[], "orderMessageEnable=true").await;
    assert_eq!(answer.code, 0);
    let file = std::fs::read_to_string(rig.directory.path().join("namesrv.properties")).unwrap();
    assert!(file.contains("orderMessageEnable=true\n"), "{file}");
    let text = ask(&client, code::GET_NAMESRV_CONFIG, &[], "").await.body;
    assert!(String::from_utf8_lossy(&text).contains("orderMessageEnable=true\n"));
    assert!(
        String::from_utf8_lossy(&route(&client, "T").await.body)
            .contains("\"orderTopicConf\":\"broker-a:8\"")
    );
    assert!(!String::from_utf8_lossy(&route(&client, "U").await.body).contains("orderTopicConf"));
    assert_eq!(ask(&client, code::UPDATE_NAMESRV_CONFIG, &[], "kvConfigPath=/x").await.code, 16);
    assert_eq!(ask(&client, code::DELETE_KV_CONFIG, &item, "").await.code, 0);
    let answer = ask(&client, code::GET_KV_CONFIG, &item, "").await;
    assert_eq!(answer.code, 22);
    assert_eq!(remark(&answer), "No config item, Namespace: ORDER_TOPIC_CONFIG Key: T");
}

/// Lists can be switched off, and a young NameServer can be told to say nothing yet.
#[tokio::test]
async fn switches() {
    let rig = Rig::start(None, |keys| {
        (keys.enable_all_topic_list, keys.enable_topic_list, keys.need_wait_for_service) =
            (false, false, true);
    })
    .await;
    let client = rig.client().await;
    register(&client, &["T", "U"]).await;
    for code in
        [code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, code::GET_TOPICS_BY_CLUSTER, code::GET_UNIT_TOPIC_LIST]
    {
        let answer = ask(&client, code, &[("cluster", "DefaultCluster")], "").await;
        assert_eq!((answer.code, remark(&answer)), (1, "disable"));
    }
    let answer = route(&client, "T").await;
    assert_eq!((answer.code, remark(&answer)), (1, "name server not ready"));
    rig.clock.travel(Duration::from_secs(45));
    assert_eq!(route(&client, "T").await.code, 0);
}

/// A client that names its zone is shown the brokers there, and those of other zones that lost their master.
#[tokio::test]
async fn zones() {
    let rig = plain().await;
    let client = rig.client().await;
    for (name, id, zone) in [("a", "0", "Z1"), ("b", "0", "z2"), ("c", "1", "z2")] {
        let addr = format!("{name}:1");
        let mut fields: BTreeMap<_, _> = BROKER.into();
        fields.extend([
            ("brokerName", name),
            ("brokerId", id),
            ("brokerAddr", &addr),
            ("__ZONE_NAME", zone),
            ("enableActingMaster", "false"),
        ]);
        let fields: Vec<_> = fields.into_iter().collect();
        assert_eq!(
            ask(&client, code::REGISTER_BROKER, &fields, body(&["T", "U"]).encode(false)).await.code,
            0
        );
    }
    let brokers = async |mode, zone| {
        let fields = [("topic", "T"), ("__ZONE_MODE", mode), ("__ZONE_NAME", zone)];
        let answer = ask(&client, code::GET_ROUTEINFO_BY_TOPIC, &fields, "").await;
        let route: TopicRouteData = fastjson::from_slice(&answer.body).unwrap();
        let names: String = route.broker_datas.iter().map(|broker| &*broker.broker_name).collect();
        assert_eq!(names, route.queue_datas.iter().map(|queue| &*queue.broker_name).collect::<String>());
        names
    };
    assert_eq!(brokers("true", "z1").await, "ac");
    assert_eq!(brokers("true", "z2").await, "bc");
    assert_eq!(brokers("true", "").await, "abc");
    assert_eq!(brokers("false", "z1").await, "abc");
}

/// A broker in the same process: offers one topic, sees clients from elsewhere at another address.
struct Host;

impl Neighbour for Host {
    fn first_sight(&self, topic: &str, _: &Peer) -> Option<FirstSight> {
        (topic == "Fresh").then(|| FirstSight {
            cluster_name: "DefaultCluster".into(),
            broker_name: "broker-a".into(),
            broker_addr: "10.0.0.1:10911".into(),
            config: TopicConfig::new(topic, 4, 6),
        })
    }

    fn reachable_address(&self, broker_addr: &str, peer: &Peer) -> Option<String> {
        (broker_addr == "10.0.0.1:10911").then(|| format!("{}:10911", peer.local_address().ip()))
    }
}

/// A topic that nobody has registered is offered by the neighbour and listed nowhere; every address that a
/// client is shown is one that it can reach.
#[tokio::test]
async fn neighbour() {
    let rig = Rig::start(Some(Arc::new(Host)), |_| {}).await;
    let client = rig.client().await;
    assert_eq!(route(&client, "Fresh").await.code, 17);
    assert!(rig.namesrv.topics().is_empty());
    register(&client, &["T", "U"]).await;
    assert_eq!(route(&client, "Stale").await.code, 17);
    let found: TopicRouteData = fastjson::from_slice(&route(&client, "Fresh").await.body).unwrap();
    assert_eq!(found.queue_datas[0].read_queue_nums, 4);
    assert_eq!(found.broker_datas[0].broker_addrs[&0], "127.0.0.1:10911");
    assert_eq!(rig.namesrv.topics(), ["T", "U"]);
    assert_eq!(rig.namesrv.topic_route("T").unwrap().broker_datas[0].broker_addrs[&0], "10.0.0.1:10911");
    let answer = ask(&client, code::GET_BROKER_CLUSTER_INFO, &[], "").await;
    let info: ClusterInfo = fastjson::from_slice(&answer.body).unwrap();
    assert_eq!(info.broker_addr_table["broker-a"].broker_addrs[&0], "127.0.0.1:10911");
    let answer = ask(&client, code::GET_SYSTEM_TOPIC_LIST_FROM_NS, &[], "").await;
    let list: TopicList = fastjson::from_slice(&answer.body).unwrap();
    assert_eq!(list.broker_addr.as_deref(), Some("127.0.0.1:10911"));
}

/// The members of a group are told at their own ports that the least id has changed.
#[tokio::test]
async fn least_broker_id() {
    let rig = Rig::start(None, |keys| keys.notify_min_broker_id_changed = true).await;
    let (master, slave) = (rig.client().await, rig.client().await);
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = port.local_addr().unwrap().to_string();
    for (client, id, addr) in [(&master, "0", "10.0.0.1:10911"), (&slave, "1", &*addr)] {
        let mut fields: BTreeMap<_, _> = BROKER.into();
        fields.extend([("brokerId", id), ("brokerAddr", addr), ("enableActingMaster", "true")]);
        let fields: Vec<_> = fields.into_iter().collect();
        assert_eq!(
            ask(client, code::REGISTER_BROKER, &fields, body(&["T", "U"]).encode(false)).await.code,
            0
        );
    }
    master.close();
    let (mut told, _) = port.accept().await.unwrap();
    let mut frame = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut told, &mut frame).await.unwrap();
    let text = String::from_utf8_lossy(&frame);
    assert!(text.contains("\"code\":905") && text.contains("\"minBrokerId\":\"1\""), "{text}");
    assert!(text.contains("\"offlineBrokerAddr\":\"10.0.0.1:10911\""), "{text}");
}
