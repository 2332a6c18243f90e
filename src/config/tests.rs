//! Tests of the resolved settings and of the rules between keys.

use std::io::Write as _;

use tempfile::NamedTempFile;

use super::keys::{BrokerRole, FlushDiskType};
use super::*;

fn machine() -> Machine {
    Machine {
        home: Some("/home/user".to_owned()),
        data_home: Some("/home/user/.local/share".into()),
        host_name: "host".to_owned(),
        cores: 4,
    }
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn with_file(role: Role, text: &str) -> Result<Settings, SettingsError> {
    let file = file(text);
    let choices = Choices { config_file: Some(file.path().to_owned()), ..Choices::default() };
    Settings::resolve_on(&machine(), role, choices)
}

fn with_set(role: Role, pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let set = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Settings::resolve_on(&machine(), role, Choices { set, ..Choices::default() })
}

/// One broker of the documents' two masters and two slaves, key for key.
fn mission_file(name: &str, id: i64, port: u16, root: &str, role: &str, flush: &str) -> String {
    format!(
        "#所属集群名字\nbrokerClusterName=rocketmq-cluster\nbrokerName={name}\nbrokerId={id}\n\
         namesrvAddr=rocketmq-nameserver1:9876;rocketmq-nameserver2:9876\ndefaultTopicQueueNums=4\n\
         autoCreateTopicEnable=true\nautoCreateSubscriptionGroup=true\nlistenPort={port}\ndeleteWhen=04\n\
         fileReservedTime=120\nmappedFileSizeCommitLog=1073741824\nmappedFileSizeConsumeQueue=300000\n\
         #destroyMappedFileIntervalForcibly=120000\n#redeleteHangedFileInterval=120000\n\
         diskMaxUsedSpaceRatio=88\nstorePathRootDir={root}\nstorePathCommitLog={root}/commitlog\n\
         storePathConsumeQueue={root}/consumequeue\nstorePathIndex={root}/index\n\
         storeCheckpoint={root}/checkpoint\nabortFile={root}/abort\nmaxMessageSize=65536\n\
         #flushCommitLogLeastPages=4\n#flushConsumeQueueLeastPages=2\n#flushCommitLogThoroughInterval=10000\n\
         #flushConsumeQueueThoroughInterval=60000\nbrokerRole={role}\nflushDiskType={flush}\n\
         #checkTransactionMessageEnable=false\n#sendMessageThreadPoolNums=128\n#pullMessageThreadPoolNums=128\n"
    )
}

/// The four files of the mission's documents resolve verbatim, without a word of complaint, as one broker alone.
#[test]
fn mission_files() {
    for (name, id, port, root, role, flush) in [
        ("broker-a", 0, 10911, "/rocketmq/store", "SYNC_MASTER", "SYNC_FLUSH"),
        ("broker-b", 0, 10911, "/rocketmq/store", "SYNC_MASTER", "SYNC_FLUSH"),
        ("broker-a", 1, 11011, "/rocketmq/store-slave", "SLAVE", "ASYNC_FLUSH"),
        ("broker-b", 1, 11011, "/rocketmq/store-slave", "SLAVE", "ASYNC_FLUSH"),
    ] {
        let text = mission_file(name, id, port, root, role, flush);
        let settings = with_file(Role::Broker, &text).unwrap();
        let keys = &settings.broker;
        assert_eq!((keys.broker_name.as_str(), keys.broker_id, settings.broker_port), (name, id, port));
        assert_eq!(keys.broker_cluster_name, "rocketmq-cluster");
        assert_eq!(keys.namesrv_addrs(), ["rocketmq-nameserver1:9876", "rocketmq-nameserver2:9876"]);
        assert_eq!(keys.broker_role == BrokerRole::Slave, id == 1);
        assert_eq!(keys.flush_disk_type == FlushDiskType::SyncFlush, id == 0);
        assert_eq!((keys.default_topic_queue_nums, keys.max_message_size), (4, 65_536));
        assert_eq!((keys.consume_queue_file_bytes(), keys.file_reserved_time), (300_000, 120));
        assert_eq!((keys.delete_hours(), keys.disk_max_used_ratio()), (vec![4], 88));
        assert_eq!(keys.ha_listen_port, i32::from(port) + 1);
        assert_eq!(keys.commit_log_dir(), Path::new(root).join("commitlog"));
        assert_eq!(keys.consume_queue_dir(), Path::new(root).join("consumequeue"));
        assert_eq!(keys.index_dir(), Path::new(root).join("index"));
        assert_eq!(keys.checkpoint_file(), Path::new(root).join("checkpoint"));
        assert_eq!(keys.abort_file_path(), Path::new(root).join("abort"));
        assert_eq!(settings.data_dir, Path::new(root));
        assert!(settings.bind.is_unspecified());
        let [only] = settings.warnings.as_slice() else { panic!("{:?}", settings.warnings) };
        assert!(only.starts_with("listening on every address"), "{only}");

        // The commented keys are understood too, and those without effect say so.
        let settings = with_file(Role::Broker, &text.replace("\n#", "\n")).unwrap();
        assert_eq!(settings.broker.get("sendMessageThreadPoolNums").as_deref(), Some("128"));
        assert_eq!(settings.broker.flush_consume_queue_thorough_interval, 60_000);
        let about_key = |key: &str| settings.warnings.iter().filter(|line| line.contains(key)).count();
        for key in [
            "destroyMappedFileIntervalForcibly",
            "redeleteHangedFileInterval",
            "checkTransactionMessageEnable",
            "sendMessageThreadPoolNums",
            "pullMessageThreadPoolNums",
        ] {
            assert_eq!(about_key(key), 1, "{key}: {:?}", settings.warnings);
        }
        assert_eq!(settings.warnings.len(), 6, "{:?}", settings.warnings);
    }
}

/// The four paths that Apache ignores move things here.
#[test]
fn paths() {
    let keys = with_file(
        Role::Broker,
        "storePathRootDir=/r\nstorePathCommitLog=/l\nstorePathConsumeQueue=/q\nstorePathIndex=/i\n\
         storeCheckpoint=/c\nabortFile=/a\n",
    )
    .unwrap()
    .broker;
    let paths = [
        keys.commit_log_dir(),
        keys.consume_queue_dir(),
        keys.index_dir(),
        keys.checkpoint_file(),
        keys.abort_file_path(),
        keys.config_dir(),
    ];
    assert_eq!(
        paths.map(|path| path.to_str().unwrap().to_owned()),
        ["/l", "/q", "/i", "/c", "/a", "/r/config"]
    );
}

/// With nothing said, `start` keeps to this machine and to the user's data directory.
#[test]
fn start_defaults() {
    let settings = Settings::resolve_on(&machine(), Role::Everything, Choices::default()).unwrap();
    assert!(settings.bind.is_loopback());
    assert_eq!((settings.namesrv_port, settings.broker_port, settings.web_port), (9876, 10911, Some(8082)));
    assert_eq!(settings.data_dir, Path::new("/home/user/.local/share/rmq-lite/default"));
    assert_eq!(settings.broker.store_root(), settings.data_dir.join("broker"));
    assert_eq!(Path::new(&settings.namesrv.kv_config_path), settings.data_dir.join("namesrv/kvConfig.json"));
    assert_eq!(settings.broker_config_path(), settings.data_dir.join("broker/config/broker.properties"));
    assert_eq!(
        (settings.broker.broker_name.as_str(), settings.broker.broker_ip1.as_ref()),
        ("broker-a", None)
    );
    assert_eq!(settings.broker.bind_address, "127.0.0.1");
    assert_eq!((settings.broker.ha_listen_port, settings.timings), (10912, Timings::Fast));
    assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
}

/// With nothing said, a role alone keeps to Apache's places and names.
#[test]
fn alone_defaults() {
    let broker = Settings::resolve_on(&machine(), Role::Broker, Choices::default()).unwrap();
    assert_eq!((broker.broker.broker_name.as_str(), broker.name.as_str()), ("host", "host"));
    assert_eq!(broker.broker.store_path_root_dir, "/home/user/store");
    assert_eq!((broker.web_port, broker.broker.namesrv_addrs().len()), (None, 0));
    let namesrv = Settings::resolve_on(&machine(), Role::NameServer, Choices::default()).unwrap();
    assert_eq!(namesrv.namesrv.kv_config_path, "/home/user/namesrv/kvConfig.json");
    assert_eq!((namesrv.namesrv_port, namesrv.bind.to_string().as_str()), (9876, "0.0.0.0"));
    let file = file("listenPort=7\nbindAddress=127.0.0.1\nbrokerName=b\n");
    let choices = Choices { config_file: Some(file.path().to_owned()), ..Choices::default() };
    let namesrv = Settings::resolve_on(&machine(), Role::NameServer, choices).unwrap();
    assert_eq!((namesrv.namesrv_port, namesrv.bind.is_loopback()), (7, true));
    assert_eq!(Path::new(&namesrv.namesrv.config_store_path), file.path());
    assert!(
        namesrv.warnings[0].ends_with(":3: brokerName is not a known key and is ignored"),
        "{:?}",
        namesrv.warnings
    );
}

/// `--set` beats flags, flags beat `RMQ_LITE_<key>`, that beats the file, and the file beats the defaults.
#[test]
fn precedence() {
    let file = file("listenPort=1000\nbindAddress=127.0.0.3\nbrokerName=file\nenablePropertyFilter=false\n");
    let mut choices = Choices { config_file: Some(file.path().to_owned()), ..Choices::default() };
    let resolve =
        |choices: &Choices| Settings::resolve_on(&machine(), Role::Everything, choices.clone()).unwrap();
    let settings = resolve(&choices);
    assert_eq!((settings.broker_port, settings.bind.to_string().as_str()), (1000, "127.0.0.3"));
    assert_eq!(
        (settings.broker.broker_name.as_str(), settings.broker.enable_property_filter),
        ("file", false)
    );
    choices.environment = vec![
        ("RMQ_LITE_listenPort".to_owned(), "2000".to_owned()),
        ("RMQ_LITE_brokerName".to_owned(), "environment".to_owned()),
        ("RMQ_LITE_BROKER".to_owned(), "127.0.0.1:10911".to_owned()),
        ("NAMESRV_ADDR".to_owned(), "n:1".to_owned()),
    ];
    let settings = resolve(&choices);
    assert_eq!((settings.broker_port, settings.broker.broker_name.as_str()), (2000, "environment"));
    assert!(settings.broker.namesrv_addr.is_none(), "a whole server has its own NameServer");
    choices.broker_port = Some(3000);
    choices.bind = Some([127, 0, 0, 4].into());
    let settings = resolve(&choices);
    assert_eq!((settings.broker_port, settings.bind.to_string().as_str()), (3000, "127.0.0.4"));
    choices.set = vec![("listenPort".to_owned(), "4000".to_owned())];
    let settings = resolve(&choices);
    assert_eq!((settings.broker_port, settings.broker.ha_listen_port), (4000, 4001));
    assert_eq!(settings.broker.origin("listenPort"), Some(&Origin::Flag("--set")));
}

/// Without a file, what administrators changed in former runs is weaker than anything said now; the roles alone keep to
/// Apache's ways and do not read it.
#[test]
fn changes_of_former_runs() {
    let data = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = data.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("broker/config/broker.properties", "brokerName=kept\nlistenPort=5000\nfileReservedTime=9\n");
    write("namesrv/namesrv.properties", "orderMessageEnable=true\nlistenPort=6000\nserverSocketBacklog=7\n");
    write("slave/config/broker.properties", "fileReservedTime=11\nbrokerName=other\nbrokerId=5\n");
    let mut choices = Choices { data_dir: Some(data.path().to_owned()), slave: true, ..Choices::default() };
    let resolve =
        |choices: &Choices| Settings::resolve_on(&machine(), Role::Everything, choices.clone()).unwrap();
    let settings = resolve(&choices);
    assert_eq!((settings.broker.broker_name.as_str(), settings.broker_port), ("kept", 5000));
    assert_eq!((settings.namesrv.order_message_enable, settings.namesrv_port), (true, 6000));
    assert_eq!((settings.namesrv.server_socket_backlog, settings.broker.server_socket_backlog), (7, 1024));
    let slave = &settings.slave.as_ref().unwrap().keys;
    assert_eq!((slave.file_reserved_time, slave.broker_id, slave.listen_port), (11, 1, 5100));
    choices.environment = vec![("RMQ_LITE_brokerName".to_owned(), "environment".to_owned())];
    choices.broker_port = Some(3000);
    choices.set = vec![("fileReservedTime".to_owned(), "8".to_owned())];
    let settings = resolve(&choices);
    assert_eq!((settings.broker.broker_name.as_str(), settings.broker_port), ("environment", 3000));
    assert_eq!(settings.broker.file_reserved_time, 8);
    let slave = &settings.slave.as_ref().unwrap().keys;
    assert_eq!((slave.file_reserved_time, slave.broker_name.as_str()), (8, "environment"));
    let kept = data.path().join("broker/config/broker.properties");
    assert_eq!(settings.broker_config_path(), kept);

    // A store that moves leaves the file where the next start looks for it.
    let moved = "storePathRootDir=/elsewhere\nconsumerFallbehindThreshold=1\n";
    write("broker/config/broker.properties", moved);
    let settings = resolve(&choices);
    assert_eq!(
        (settings.broker.store_root(), settings.broker_config_path()),
        (Path::new("/elsewhere"), kept)
    );

    write("broker/config/broker.properties", "fileReservedTime=soon\n");
    let error = Settings::resolve_on(&machine(), Role::Everything, choices.clone()).unwrap_err().to_string();
    assert!(error.contains("broker.properties:1: fileReservedTime=soon"), "{error}");
    let file = file("brokerName=file\n");
    choices = Choices {
        config_file: Some(file.path().to_owned()),
        slave: false,
        environment: Vec::new(),
        ..choices
    };
    let settings = resolve(&choices);
    assert_eq!(settings.broker.broker_name, "file");
    assert_eq!(
        Path::new(&settings.namesrv.config_store_path),
        file.path(),
        "both are written to the file of -c"
    );
    assert_eq!(settings.broker_config_path(), file.path());
    let alone = Choices {
        set: vec![("storePathRootDir".to_owned(), data.path().join("broker").display().to_string())],
        ..Choices::default()
    };
    assert!(Settings::resolve_on(&machine(), Role::Broker, alone).is_ok(), "and did not read what is wrong");
}

/// A broker alone takes its NameServers from `-n`, then the file, then the environment.
#[test]
fn name_servers_of_a_broker_alone() {
    let file = file("namesrvAddr=file:1\n");
    let mut choices = Choices {
        environment: vec![("NAMESRV_ADDR".to_owned(), "environment:1".to_owned())],
        ..Choices::default()
    };
    let resolve = |choices: &Choices| {
        Settings::resolve_on(&machine(), Role::Broker, choices.clone()).unwrap().broker.namesrv_addrs()
    };
    assert_eq!(resolve(&choices), ["environment:1"]);
    choices.config_file = Some(file.path().to_owned());
    assert_eq!(resolve(&choices), ["file:1"]);
    choices.namesrv_addr = Some("flag:1".to_owned());
    assert_eq!(resolve(&choices), ["flag:1"]);
}

/// A whole server gives each key to the part that knows it, the broker first.
#[test]
fn keys_find_their_part() {
    let settings = with_set(
        Role::Everything,
        &[
            ("orderMessageEnable", "true"),
            ("listenPort", "20911"),
            ("noSuchKey", "1"),
            ("kvConfigPath", "/k/kv.json"),
        ],
    )
    .unwrap();
    assert!(settings.namesrv.order_message_enable);
    assert_eq!((settings.namesrv_port, settings.broker_port), (9876, 20911));
    assert_eq!(settings.namesrv.kv_config_path, "/k/kv.json");
    assert_eq!(settings.warnings.len(), 1);
    assert!(with_set(Role::Everything, &[("orderMessageEnable", "maybe")]).is_err());
}

/// A slave needs an id of its own, and a master has none but 0.
#[test]
fn ids() {
    let error = with_file(Role::Broker, "brokerRole=SLAVE\nbrokerId=0\n").unwrap_err().to_string();
    assert!(error.contains(":2: Slave's brokerId must be > 0"), "{error}");
    let error = with_set(Role::Broker, &[("brokerRole", "SLAVE")]).unwrap_err().to_string();
    assert!(error.starts_with("--set: Slave's brokerId must be > 0"), "{error}");
    let settings = with_set(Role::Broker, &[("brokerRole", "SYNC_MASTER"), ("brokerId", "3")]).unwrap();
    assert_eq!(settings.broker.broker_id, 0);
    assert!(settings.warnings.iter().any(|line| line.contains("brokerId=3 is taken as 0")));
}

/// Members of a Raft group do not start as so many masters of one name.
#[test]
fn automatic_failover_is_refused() {
    let group =
        "dLegerGroup=RaftNode00\ndLegerPeers=n0-127.0.0.1:40911;n1-127.0.0.1:40912\ndLegerSelfId=n0\n";
    let error = with_file(Role::Broker, &format!("enableDLegerCommitLog=true\n{group}")).unwrap_err();
    let error = error.to_string();
    assert!(error.contains(":1: enableDLegerCommitLog=true asks for automatic failover"), "{error}");
    assert!(with_file(Role::Broker, &format!("enableDLegerCommitLog=false\n{group}")).is_ok());
}

/// Every refusal is one line that names the thing and where it was said.
#[test]
fn refusals() {
    let missing = Choices { config_file: Some("/no/such/broker.conf".into()), ..Choices::default() };
    let error = Settings::resolve_on(&machine(), Role::Broker, missing).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the configuration file /no/such/broker.conf: "), "{error}");
    let error = with_file(Role::Broker, "a=b\nbrokerName=\\u12\n").unwrap_err().to_string();
    assert!(error.contains(": line 2: \\u needs four"), "{error}");
    let error = with_file(Role::Broker, "namesrvAddr=somewhere\n").unwrap_err().to_string();
    assert!(
        error.contains(":1: The Name Server Address[somewhere] illegal, please set it as follows"),
        "{error}"
    );
    let error = with_set(Role::Broker, &[("bindAddress", "eth0")]).unwrap_err().to_string();
    assert!(error.starts_with("--set: bindAddress=eth0 is not an IP address"), "{error}");
    for name in ["", "a/b", "..", "a b", &"x".repeat(65)] {
        let choices = Choices { name: Some(name.to_owned()), ..Choices::default() };
        let error = Settings::resolve_on(&machine(), Role::Everything, choices).unwrap_err();
        assert!(matches!(error, SettingsError::Name(_)), "{error}");
    }
    for (namesrv, broker, web) in
        [(9876, 9876, 0), (9876, 9878, 0), (9876, 10911, 9876), (9876, 10911, 10909)]
    {
        let choices = Choices {
            namesrv_port: Some(namesrv),
            broker_port: Some(broker),
            web_port: Some(web),
            ..Choices::default()
        };
        let error = Settings::resolve_on(&machine(), Role::Everything, choices).unwrap_err();
        assert!(matches!(error, SettingsError::SamePort { .. }), "{error}");
    }
    assert!(matches!(with_set(Role::Broker, &[("listenPort", "2")]), Err(SettingsError::BrokerPort(2))));
}

/// Without a home directory only what needs one is refused, with the remedy.
#[test]
fn no_home() {
    let nowhere = Machine { home: None, data_home: None, ..machine() };
    for role in [Role::Everything, Role::Broker, Role::NameServer] {
        let error = Settings::resolve_on(&nowhere, role, Choices::default()).unwrap_err();
        assert!(matches!(error, SettingsError::NoHome(_)), "{role:?}: {error}");
    }
    let choices = Choices { data_dir: Some("/data".into()), ..Choices::default() };
    assert_eq!(
        Settings::resolve_on(&nowhere, Role::Everything, choices).unwrap().data_dir,
        Path::new("/data")
    );
    let choices = Choices { ephemeral: true, ..Choices::default() };
    assert!(Settings::resolve_on(&nowhere, Role::Everything, choices).is_ok());
}

/// Throw-away servers share neither ports nor directories.
#[test]
fn throw_away() {
    let (one, other) = (Settings::for_test(), Settings::ephemeral());
    assert_ne!(one.data_dir, other.data_dir);
    assert!(one.ephemeral && one.bind.is_loopback() && !one.data_dir.exists());
    assert_eq!((one.namesrv_port, one.broker_port, one.web_port, other.web_port), (0, 0, None, Some(0)));
    assert!(one.broker.store_root().starts_with(&one.data_dir));
    assert_eq!(one.broker.ha_listen_port, 0);
}

/// Addresses to give to clients: with and without port, IPv6 with and without brackets, nothing else.
#[test]
fn advertised_addresses() {
    for (text, host, port) in [
        ("host", "host", None),
        ("host:1", "host", Some(1)),
        ("10.0.0.1:65535", "10.0.0.1", Some(65_535)),
        ("::1", "::1", None),
        ("[::1]", "::1", None),
        ("[::1]:7", "::1", Some(7)),
    ] {
        assert_eq!(text.parse(), Ok(Advertise { host: host.to_owned(), port }), "{text}");
    }
    for text in ["", ":1", "host:", "host:0", "host:65536", "host:x", "[::1]7", "[]:1", "a b", "a:1:2"] {
        assert!(text.parse::<Advertise>().is_err(), "{text}");
    }
}

/// What the keys say is handed on in the form that the rooms need.
#[test]
fn derived_values() {
    let mut keys = BrokerKeys::default_on(&machine(), Timings::Apache);
    assert_eq!(keys.delay_levels_ms()[..3], [1_000, 5_000, 10_000]);
    assert_eq!((keys.delay_levels_ms().len(), keys.delay_levels_ms()[17]), (18, 7_200_000));
    keys.set("deleteWhen", "04;16", Origin::Program).unwrap();
    keys.set("diskMaxUsedSpaceRatio", "99", Origin::Program).unwrap();
    keys.set("mappedFileSizeConsumeQueue", "21", Origin::Program).unwrap();
    keys.set("registerNameServerPeriod", "1", Origin::Program).unwrap();
    assert_eq!((keys.delete_hours(), keys.disk_max_used_ratio()), (vec![4, 16], 95));
    assert_eq!((keys.consume_queue_file_bytes(), keys.registration_period_ms()), (40, 10_000));
    assert!(keys.is_black_listed("rocketmqHome") && !keys.is_black_listed("listenPort"));
    keys.set("configBlackList", "listenPort;brokerName", Origin::Program).unwrap();
    assert!(keys.is_black_listed("configBlackList") && keys.is_black_listed("listenPort"));
    let namesrv = NamesrvKeys::default_on(&machine(), Timings::Fast);
    assert!(namesrv.is_black_listed("kvConfigPath") && !namesrv.is_black_listed("orderMessageEnable"));
}
