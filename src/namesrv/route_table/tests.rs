//! The tables as a state machine: registrations in, routes out, time as a number.

use super::*;

const NOW: i64 = 1_000_000;

fn version(counter: i64) -> DataVersion {
    DataVersion { counter, state_version: 0, timestamp: 7 }
}

fn topic(name: &str, queues: i32) -> TopicConfig {
    TopicConfig::new(name, queues, 6)
}

/// A registration of broker-a, id 0, with two topics, on connection 1.
fn registration() -> Registration {
    Registration {
        address: BrokerAddress { cluster: "c".into(), addr: "a:1".into() },
        broker_name: "broker-a".into(),
        ha_server_addr: "a:2".into(),
        enable_acting_master: Some(false),
        data_version: version(1),
        topics: vec![topic("T", 8), topic("U", 1)],
        connection: 1,
        ..Registration::default()
    }
}

fn at(broker_name: &str, broker_id: i64, addr: &str) -> Registration {
    let mut registration = registration();
    registration.broker_name = broker_name.into();
    registration.broker_id = broker_id;
    registration.address.addr = addr.into();
    registration
}

fn register(table: &mut RouteTable, registration: Registration) -> Registered {
    table.register(registration, false, NOW).unwrap()
}

fn perm(table: &RouteTable, topic: &str) -> i32 {
    table.route(topic, false).unwrap().queue_datas[0].perm
}

fn addrs(table: &RouteTable, topic: &str) -> Vec<(i64, String)> {
    let route = table.route(topic, false).unwrap();
    route.broker_datas.into_iter().flat_map(|broker| broker.broker_addrs).collect()
}

/// A topic on two brokers has both in its route, sorted by name; the last address takes the topic with it.
#[test]
fn routes_come_and_go() {
    let mut table = RouteTable::default();
    register(&mut table, at("broker-b", 0, "b:1"));
    register(&mut table, registration());
    let route = table.route("T", false).unwrap();
    let names: Vec<_> = route.queue_datas.iter().map(|queue| queue.broker_name.as_str()).collect();
    assert_eq!(names, ["broker-a", "broker-b"]);
    assert_eq!(route.broker_datas.len(), 2);
    assert_eq!(table.topics(), ["T", "U"]);
    assert_eq!(table.topics_of_cluster("c"), ["T", "U"]);
    assert_eq!(table.topics_of_cluster("none"), [""; 0]);
    assert_eq!(table.system_topics().0, ["broker-a", "broker-b", "c"]);
    table.unregister(&[(at("", 0, "a:1").address, "broker-a".into())]);
    assert_eq!(addrs(&table, "T"), [(0, "b:1".to_owned())]);
    table.unregister(&[(at("", 0, "b:1").address, "broker-b".into())]);
    assert_eq!(table.route("T", false), None);
    assert!(table.topics().is_empty() && table.cluster_info() == ClusterInfo::default());
    assert_eq!(table.system_topics(), (vec![], None));
}

/// Only a changed data version changes what is known; a topic that was not known is added all the same.
#[test]
fn data_version_decides() {
    let mut table = RouteTable::default();
    register(&mut table, registration());
    let mut same = registration();
    same.topics = vec![topic("T", 4), topic("New", 4)];
    register(&mut table, same.clone());
    assert_eq!(table.route("T", false).unwrap().queue_datas[0].read_queue_nums, 8);
    assert_eq!(table.route("New", false).unwrap().queue_datas[0].read_queue_nums, 4);
    same.data_version = version(2);
    register(&mut table, same);
    assert_eq!(table.route("T", false).unwrap().queue_datas[0].read_queue_nums, 4);
    // What a later registration leaves out stays, unless that is asked for.
    assert_eq!(table.topics(), ["New", "T", "U"]);
    table.register(registration(), true, NOW).unwrap();
    assert_eq!(table.topics(), ["T", "U"]);
}

/// One topic is a change to a registration: refused without one, and nothing is left of it.
#[test]
fn one_topic_is_a_change() {
    let mut table = RouteTable::default();
    let mut one = registration();
    one.topics.truncate(1);
    let refused = table.register(one.clone(), false, NOW).unwrap_err();
    assert_eq!(refused.to_string(), "register broker failed");
    assert!(table.cluster_info() == ClusterInfo::default() && table.live.is_empty());
    register(&mut table, registration());
    one.topics[0].write_queue_nums = 2;
    one.data_version = version(2);
    register(&mut table, one);
    assert_eq!(table.route("T", false).unwrap().queue_datas[0].write_queue_nums, 2);
}

/// Taken write permissions survive registrations until the topics change; giving them back sets 6.
#[test]
fn write_permission() {
    let mut table = RouteTable::default();
    let mut registration = registration();
    registration.topics[0].perm = 7;
    register(&mut table, registration.clone());
    assert_eq!(table.set_writable("broker-a", false), 2);
    assert_eq!((perm(&table, "T"), perm(&table, "U")), (5, 4));
    register(&mut table, registration.clone());
    assert_eq!(perm(&table, "T"), 5);
    assert_eq!(table.set_writable("broker-a", true), 2);
    assert_eq!(perm(&table, "T"), 6);
    table.set_writable("broker-a", false);
    registration.data_version = version(2);
    register(&mut table, registration);
    assert_eq!(perm(&table, "T"), 7);
    assert_eq!(table.set_writable("nobody", false), 0);
}

/// A slave learns where its master is, says nothing about topics, and keeps the route when the master goes.
#[test]
fn slaves() {
    let mut table = RouteTable::default();
    register(&mut table, registration());
    let mut slave = at("broker-a", 1, "s:1");
    slave.topics.push(topic("Slave only", 1));
    let registered = register(&mut table, slave.clone());
    assert_eq!(registered.ha_server_addr.as_deref(), Some("a:2"));
    assert_eq!(registered.master_addr.as_deref(), Some("a:1"));
    assert_eq!(table.topics(), ["T", "U"]);
    table.disconnect(1);
    // Both registered on connection 1: they go together.
    assert_eq!(table.route("T", false), None);
    slave.connection = 2;
    register(&mut table, registration());
    register(&mut table, slave.clone());
    table.disconnect(1);
    assert_eq!(addrs(&table, "T"), [(1, "s:1".to_owned())]);
    // The same address as master: one address has one id.
    slave.broker_id = 0;
    register(&mut table, slave);
    assert_eq!(addrs(&table, "T"), [(0, "s:1".to_owned())]);
}

/// Of two that claim one id the one with the older state is ignored; with the same state the last one counts.
#[test]
fn two_claim_one_id() {
    let mut table = RouteTable::default();
    let mut newer = registration();
    newer.data_version.state_version = 2;
    register(&mut table, newer.clone());
    let mut older = at("broker-a", 0, "b:1");
    older.data_version.state_version = 1;
    assert!(!register(&mut table, older.clone()).accepted);
    assert_eq!(addrs(&table, "T"), [(0, "a:1".to_owned())]);
    assert_eq!(table.live.len(), 1);
    older.data_version.state_version = 2;
    older.connection = 2;
    assert!(register(&mut table, older).accepted);
    assert_eq!(addrs(&table, "T"), [(0, "b:1".to_owned())]);
    // The end of the first one's connection does not take the second one out.
    table.disconnect(1);
    assert_eq!(addrs(&table, "T"), [(0, "b:1".to_owned())]);
    assert_eq!(table.live.len(), 1);
}

/// One address is one broker: under a new name or in a new cluster nothing is left of the former one.
#[test]
fn renamed() {
    let mut table = RouteTable::default();
    register(&mut table, registration());
    register(&mut table, at("other", 0, "a:1"));
    assert_eq!(table.cluster_info().broker_addr_table.keys().collect::<Vec<_>>(), ["other"]);
    let mut moved = at("other", 0, "a:1");
    moved.address.cluster = "d".into();
    register(&mut table, moved);
    assert_eq!(table.cluster_info().cluster_addr_table.keys().collect::<Vec<_>>(), ["d"]);
    assert_eq!(table.route("T", false).unwrap().broker_datas[0].cluster, "d");
    assert_eq!(table.live.len(), 1);
}

/// A silent broker goes when its own limit has passed, and not before; signs of life count.
#[test]
fn silence() {
    let mut table = RouteTable::default();
    register(&mut table, registration());
    let mut hasty = at("broker-b", 0, "b:1");
    hasty.heartbeat_timeout_ms = Some(10_000);
    hasty.connection = 2;
    register(&mut table, hasty.clone());
    assert!(!table.has_silent(NOW + 10_000));
    assert_eq!(table.expire(NOW + 10_000).0, [0; 0]);
    table.touch(&hasty.address, NOW + 5_000);
    assert!(!table.has_silent(NOW + 15_000));
    assert!(table.has_silent(NOW + 15_001));
    assert_eq!(table.expire(NOW + 15_001).0, [2]);
    assert_eq!(addrs(&table, "T"), [(0, "a:1".to_owned())]);
    assert_eq!(table.expire(NOW + 120_000).0, [0; 0]);
    assert_eq!(table.expire(NOW + 120_001).0, [1]);
    assert_eq!(table.route("T", false), None);
    hasty.heartbeat_timeout_ms = Some(i64::MAX);
    register(&mut table, hasty);
    assert!(!table.has_silent(i64::MAX));
}

/// A broker that has come back on a new connection stays when the former one ends, whatever of the former one is read late.
#[test]
fn a_new_connection_counts() {
    let on = |connection| Registration { connection, ..registration() };
    let mut table = RouteTable::default();
    register(&mut table, on(1));
    register(&mut table, on(2));
    table.disconnect(1);
    assert!(table.route("T", false).is_some(), "the end of the former one comes late");
    register(&mut table, on(3));
    register(&mut table, on(2));
    table.disconnect(2);
    assert!(table.route("T", false).is_some(), "and so did its last registration");
    table.disconnect(3);
    assert_eq!(table.route("T", false), None);
    register(&mut table, on(2));
    table.disconnect(3);
    assert!(table.route("T", false).is_some(), "a connection that is no more does not count");
    table.disconnect(2);
    assert_eq!((table.route("T", false), table.live.len()), (None, 0));
}

/// When the master has gone, the least slave stands in for reading, if name server and broker allow it.
#[test]
fn acting_master() {
    let mut table = RouteTable::default();
    let mut master = registration();
    master.enable_acting_master = Some(true);
    let sync_topic = format!("{SYNC_BROKER_MEMBER_PREFIX}x");
    master.topics.push(topic(&sync_topic, 1));
    register(&mut table, master.clone());
    for id in [1, 2] {
        let mut slave = at("broker-a", id, &format!("s{id}:1"));
        slave.enable_acting_master = Some(true);
        slave.connection = 10;
        register(&mut table, slave);
    }
    let changes = table.disconnect(1);
    assert_eq!(
        changes,
        [MinBrokerChange {
            broker_name: "broker-a".into(),
            notify: vec!["s1:1".into(), "s2:1".into()],
            min_broker_id: 1,
            min_broker_addr: "s1:1".into(),
            offline_broker_addr: Some("a:1".into()),
            ha_broker_addr: None,
        }]
    );
    assert_eq!(perm(&table, "T"), 4);
    let acting = table.route("T", true).unwrap().broker_datas.remove(0).broker_addrs;
    assert_eq!(acting, [(0, "s1:1".to_owned()), (2, "s2:1".to_owned())].into());
    assert_eq!(addrs(&table, "T")[0], (1, "s1:1".to_owned()));
    assert!(!table.route(&sync_topic, true).unwrap().broker_datas[0].broker_addrs.contains_key(&0));
    // A slave alone may bring topics, without write permission.
    let mut slave = at("broker-a", 1, "s1:1");
    slave.enable_acting_master = Some(true);
    slave.data_version = version(9);
    slave.topics.push(topic("V", 1));
    register(&mut table, slave);
    assert_eq!(perm(&table, "V"), 4);
    // The master comes back: its registration counts, and the slaves are told.
    let registered = register(&mut table, master);
    assert_eq!(perm(&table, "T"), 6);
    let change = registered.min_broker.unwrap();
    assert_eq!((change.min_broker_id, change.notify.len()), (0, 2));
    assert_eq!(change.ha_broker_addr.as_deref(), Some("a:2"));
}

/// A slave that is too old to know of acting masters never says what topics there are.
#[test]
fn an_old_slave_alone() {
    let mut table = RouteTable::default();
    let mut slave = at("broker-a", 1, "s:1");
    slave.enable_acting_master = None;
    register(&mut table, slave);
    assert!(table.topics().is_empty());
    register(&mut table, at("broker-b", 1, "t:1"));
    assert_eq!(table.topics(), ["T", "U"]);
    assert_eq!(perm(&table, "T"), 6);
}

/// Single topics are entered only for brokers that are registered, and deleted in one cluster or in all.
#[test]
fn single_topics() {
    let mut table = RouteTable::default();
    register(&mut table, registration());
    let mut elsewhere = at("broker-b", 0, "b:1");
    elsewhere.address.cluster = "d".into();
    register(&mut table, elsewhere);
    let queue = |name: &str| QueueData { broker_name: name.into(), perm: 6, ..QueueData::default() };
    assert_eq!(
        table.register_topic("V", vec![queue("broker-a"), queue("nobody")]),
        Err(RegisterTopicError::Stranger("nobody".into()))
    );
    assert_eq!(table.register_topic("V", vec![]), Ok(()));
    assert_eq!(table.route("V", false), None);
    assert_eq!(table.topics(), ["T", "U"]);
    table.register_topic("V", vec![queue("broker-b"), queue("broker-a")]).unwrap();
    assert_eq!(table.route("V", false).unwrap().broker_datas.len(), 2);
    table.delete_topic("V", Some("nowhere"));
    table.delete_topic("V", Some("c"));
    assert_eq!(addrs(&table, "V"), [(0, "b:1".to_owned())]);
    table.delete_topic("V", Some("d"));
    assert_eq!(table.route("V", false), None);
    table.delete_topic("T", None);
    assert_eq!(table.route("T", false), None);
    let offered = table.offered_route("broker-a", "a:1", &topic("W", 4)).unwrap();
    assert_eq!(offered.queue_datas[0].read_queue_nums, 4);
    assert_eq!(table.offered_route("broker-a", "x:1", &topic("X", 4)), None);
    assert_eq!(table.offered_route("nobody", "a:1", &topic("X", 4)), None);
    assert_eq!(table.topics(), ["U"]);
}

/// Filter servers and mappings of static topics are in the routes; a registration that is silent about
/// filter servers leaves them.
#[test]
fn filter_servers_and_mappings() {
    let mut table = RouteTable::default();
    let mut registration = registration();
    registration.filter_servers = Some(vec!["f:1".into()]);
    let mapping = TopicQueueMappingInfo {
        topic: "T".into(),
        bname: "broker-a".into(),
        ..TopicQueueMappingInfo::default()
    };
    registration.mappings = vec![mapping.clone()];
    register(&mut table, registration.clone());
    registration.filter_servers = None;
    register(&mut table, registration.clone());
    let route = table.route("T", false).unwrap();
    assert_eq!(route.filter_server_table, [("a:1".to_owned(), vec!["f:1".to_owned()])].into());
    assert_eq!(route.topic_queue_mapping_by_broker, Some([("broker-a".to_owned(), mapping)].into()));
    assert_eq!(table.route("U", false).unwrap().topic_queue_mapping_by_broker, None);
    registration.filter_servers = Some(vec![]);
    register(&mut table, registration);
    assert!(table.route("T", false).unwrap().filter_server_table.is_empty());
}

/// A mapping is of a topic that its broker has and names that broker, and goes with either of them.
#[test]
fn mappings_come_and_go_with_their_brokers() {
    let mapping = |topic: &str, bname: &str, queues: i32| TopicQueueMappingInfo {
        topic: topic.into(),
        bname: bname.into(),
        curr_id_map: (0..queues).map(|queue| (queue, queue)).collect(),
        ..TopicQueueMappingInfo::default()
    };
    let mut table = RouteTable::default();
    let mut first = registration();
    first.mappings =
        vec![mapping("T", "broker-a", 1), mapping("T", "broker-b", 1), mapping("none", "broker-a", 1)];
    register(&mut table, first.clone());
    assert_eq!(table.mappings.keys().collect::<Vec<_>>(), ["T"]);
    assert_eq!(table.mappings["T"].keys().collect::<Vec<_>>(), ["broker-a"], "no stranger's");
    let mut second = at("broker-b", MASTER_ID, "b:1");
    second.mappings = vec![mapping("T", "broker-b", 1)];
    register(&mut table, second.clone());
    assert_eq!(table.mappings["T"].len(), 2);
    table.unregister(&[(second.address.clone(), "broker-b".to_owned())]);
    assert_eq!(table.mappings["T"].keys().collect::<Vec<_>>(), ["broker-a"]);
    second.mappings = vec![mapping("T", "broker-b", LOGICAL_QUEUES_MAX as i32)];
    let refused = table.register(second.clone(), false, NOW);
    assert_eq!(refused, Err(RegisterError::TooManyLogicalQueues));
    assert!(!table.brokers.contains_key("broker-b"), "nothing changed");
    first.mappings = vec![mapping("T", "broker-a", LOGICAL_QUEUES_MAX as i32)];
    first.data_version = version(2);
    register(&mut table, first.clone());
    assert_eq!(
        table.mappings["T"]["broker-a"].curr_id_map.len(),
        LOGICAL_QUEUES_MAX,
        "in place of the former"
    );
    first.mappings.clear();
    first.topics.retain(|topic| topic.topic_name != "T");
    first.topics.push(topic("V", 1));
    first.data_version = version(3);
    table.register(first.clone(), true, NOW).unwrap();
    assert!(table.mappings.is_empty(), "the broker no longer has the topic");
}

/// Unit flags sort topics into the three lists.
#[test]
fn units() {
    let mut table = RouteTable::default();
    let mut registration = registration();
    for (flags, name) in ["none", "unit", "sub", "both"].into_iter().enumerate() {
        registration.topics.push(TopicConfig { topic_sys_flag: flags as i32, ..topic(name, 1) });
    }
    register(&mut table, registration);
    assert_eq!(table.topics_of_unit(UnitTopics::Unit), ["both", "unit"]);
    assert_eq!(table.topics_of_unit(UnitTopics::UnitSub), ["both", "sub"]);
    assert_eq!(table.topics_of_unit(UnitTopics::UnitSubNotUnit), ["sub"]);
}

/// The table has an end: what would pass it is refused whole, what is known already is not.
#[test]
fn limits() {
    let mut table = RouteTable::default();
    register(&mut table, registration());
    for at in 2..TOPICS_MAX {
        table.topics.insert(format!("t{at}"), table.topics["T"].clone());
    }
    let mut one_more = registration();
    one_more.topics.push(topic("V", 1));
    one_more.data_version = version(2);
    assert_eq!(table.register(one_more, false, NOW), Err(RegisterError::TooManyTopics));
    assert_eq!(table.live[&registration().address].data_version, version(1));
    register(&mut table, registration());
    let queue = table.topics["T"].clone();
    assert_eq!(table.topics.len(), TOPICS_MAX);
    assert_eq!(table.register_topic("V", queue.clone()), Err(RegisterTopicError::TooManyTopics));
    table.register_topic("T", queue).unwrap();
    let mut table = RouteTable::default();
    for port in 0..BROKERS_MAX {
        let address = BrokerAddress { cluster: "c".into(), addr: format!("b:{port}") };
        table.live.insert(address, live());
    }
    assert_eq!(table.register(registration(), false, NOW), Err(RegisterError::TooManyBrokers));
    assert_eq!(table.broker("broker-a"), None);
}

fn live() -> BrokerLive {
    BrokerLive {
        broker_name: "many".into(),
        last_update_ms: NOW,
        heartbeat_timeout_ms: 1,
        data_version: version(1),
        connection: 1,
        ha_server_addr: String::new(),
        filter_servers: Vec::new(),
    }
}
