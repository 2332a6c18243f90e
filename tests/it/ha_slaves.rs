//! Several slaves of one master, what each of them copies, and slaves that cannot keep up: one that lags too far, that was
//! away while the master deleted what it lacks, or whose disk is full.

use rmq_lite::clock::Clock;
use rmq_lite::config::Role;
use rmq_lite::remoting::client::Client;
use rmq_lite::server::Server;
use rmq_lite::wire::code::{request, response};
use rmq_lite::wire::command::Command;

use crate::ha::{Group, bodies, call, pair, read_all, send, settings, steer, until, until_in_sync};
use crate::kit::{LIMIT, left_out, pull_request, request as ask, send_request};

/// Two slaves: a master that wants three copies waits for both, and each slave has the master's tables long before
/// Apache's first minute is over. One that may be read while the master is there answers, and sends the client back to the
/// master, which itself suggests a slave for what it would have to fetch from the disk.
#[tokio::test(flavor = "multi_thread")]
async fn two_slaves_and_their_tables() {
    let group = Group::start().await;
    let keys = [
        ("brokerRole", "SYNC_MASTER"),
        ("inSyncReplicas", "3"),
        ("slaveReadEnable", "true"),
        ("accessMessageInMemoryMaxRatio", "0"),
    ];
    let master = group.broker("master", 0, &keys).await;
    let to_master = group.client(&master).await;
    let slave = |name: &'static str, id: &'static str| {
        let keys = [("brokerRole", "SLAVE"), ("brokerId", id), ("slaveReadEnable", "true")];
        let group = &group;
        async move { group.broker(name, 0, &keys).await }
    };
    let first = slave("slave", "1").await;
    until_in_sync(&to_master, 1).await;
    assert_eq!(send(&to_master, "one copy too few".to_owned()).await, response::SLAVE_NOT_AVAILABLE);
    let second = slave("another", "2").await;
    until_in_sync(&to_master, 2).await;
    assert_eq!(send(&to_master, "everywhere".to_owned()).await, response::SUCCESS);
    assert!(group.log("master") == group.log("slave") && group.log("master") == group.log("another"));

    let made = |code, fields: &[(&'static str, &str)], body: &'static str| {
        let request = ask(code, fields).with_body(body);
        let client = &to_master;
        async move { assert_eq!(call(client, request).await.code, response::SUCCESS, "{code}") }
    };
    let topic = [
        ("topic", "Made"),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "3"),
        ("writeQueueNums", "5"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("order", "false"),
    ];
    made(request::UPDATE_AND_CREATE_TOPIC, &topic, "").await;
    let settings = r#"{"groupName":"g","retryMaxTimes":7}"#;
    made(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], settings).await;
    let offset = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "0"), ("commitOffset", "1")];
    made(request::UPDATE_CONSUMER_OFFSET, &offset, "").await;
    let mode = r#"{"topic":"T","consumerGroup":"g","mode":"POP","popShareQueueNum":2}"#;
    made(request::SET_MESSAGE_REQUEST_MODE, &[], mode).await;
    let delayed = send_request("T", 0, "DELAY\u{1}1\u{2}").with_body("delayed");
    assert_eq!(call(&to_master, delayed).await.code, response::SUCCESS);
    let _ = read_all(&to_master, 3).await;
    for (server, dir) in [(&first, "slave"), (&second, "another")] {
        let slave = group.client(server).await;
        for (code, row) in [
            (request::GET_ALL_TOPIC_CONFIG, r#""topicName":"Made","#),
            (request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, r#""retryMaxTimes":7,"#),
            (request::GET_ALL_CONSUMER_OFFSET, r#""T@g":{0:1}"#),
            (request::GET_ALL_DELAY_OFFSET, r#""offsetTable":{1:1}"#),
            (request::GET_ALL_MESSAGE_REQUEST_MODE, r#""mode":"POP","#),
        ] {
            let has = |answer: &Command| std::str::from_utf8(&answer.body).unwrap().contains(row);
            until(row, &slave, || ask(code, &[]), has).await;
        }
        let checkpoint = group.dir.path().join(dir).join("config/timercheck");
        let copied = |_: &Command| std::fs::read(&checkpoint).is_ok_and(|bytes| bytes.len() == 56);
        until("the timers' checkpoint", &slave, || ask(request::GET_ALL_DELAY_OFFSET, &[]), copied).await;
        assert_eq!(read_all(&slave, 3).await[..2], ["one copy too few", "everywhere"]);
        let answer = call(&slave, pull_request("T", 0, 0, "*", 0)).await;
        assert_eq!(answer.fields.get("suggestWhichBrokerId"), Some("0"), "back to the master");
        let nothing = call(&slave, pull_request("T", 0, 3, "*", 1_000)).await;
        assert_eq!(nothing.code, response::PULL_RETRY_IMMEDIATELY, "not held here");
    }
    // What is deleted is deleted there, too.
    made(request::DELETE_TOPIC_IN_BROKER, &[("topic", "Made")], "").await;
    made(request::DELETE_SUBSCRIPTIONGROUP, &[("groupName", "g")], "").await;
    for server in [&first, &second] {
        let slave = group.client(server).await;
        for (code, row) in [
            (request::GET_ALL_TOPIC_CONFIG, r#""topicName":"Made","#),
            (request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, r#""groupName":"g","#),
        ] {
            let lacks = |answer: &Command| !std::str::from_utf8(&answer.body).unwrap().contains(row);
            until(row, &slave, || ask(code, &[]), lacks).await;
        }
    }
    let newer = send_request("T", 1, "").with_body("newer than what is pulled");
    assert_eq!(call(&to_master, newer).await.code, response::SUCCESS);
    let answer = call(&to_master, pull_request("T", 0, 0, "*", 0)).await;
    assert_eq!(answer.fields.get("suggestWhichBrokerId"), Some("1"), "to the slave");
    for server in [second, first, master] {
        server.stop().await;
    }
}

/// Changes the configuration of a broker that runs.
async fn configure(client: &Client, properties: &'static str) {
    let answer = call(client, ask(request::UPDATE_BROKER_CONFIG, &[]).with_body(properties)).await;
    assert_eq!(answer.code, response::SUCCESS, "{properties}: {:?}", answer.remark);
}

/// A slave that lags more than `haMaxGapNotInSync` is no copy: nobody waits for it. The message is stored all the same, and
/// under ASYNC_MASTER nobody waits in any case.
#[tokio::test(flavor = "multi_thread")]
async fn a_slave_that_is_too_far_behind() {
    let keys = [("brokerRole", "SYNC_MASTER"), ("slaveTimeout", "100"), ("haMaxGapNotInSync", "20000")];
    let rig = pair(&keys).await;
    let body = |name: &str| name.repeat(15_000 / name.len());
    assert_eq!(send(&rig.broker, body("first")).await, response::SUCCESS);
    steer(&rig, r#"{"paused":true}"#).await;
    assert_eq!(send(&rig.broker, body("near")).await, response::FLUSH_SLAVE_TIMEOUT);
    assert_eq!(send(&rig.broker, body("far")).await, response::SLAVE_NOT_AVAILABLE);
    until_in_sync(&rig.broker, 0).await;
    configure(&rig.broker, "haMaxGapNotInSync=1000000").await;
    until_in_sync(&rig.broker, 1).await;
    assert_eq!(send(&rig.broker, body("near again")).await, response::FLUSH_SLAVE_TIMEOUT);
    assert_eq!(read_all(&rig.broker, 4).await[2], body("far"));
    steer(&rig, r#"{"paused":false}"#).await;
    assert_eq!(send(&rig.broker, body("last")).await, response::SUCCESS);
    rig.server.stop().await;

    let rig = pair(&[("brokerRole", "ASYNC_MASTER")]).await;
    steer(&rig, r#"{"paused":true}"#).await;
    assert_eq!(send(&rig.broker, body("alone")).await, response::SUCCESS);
    let behind = || rig.server.broker().unwrap().ha_view().0 - rig.server.slave().unwrap().ha_view().0;
    assert!(behind() > 0, "the slave has what was never sent to it");
    steer(&rig, r#"{"paused":false}"#).await;
    let equal = |_: &Command| behind() == 0;
    until("the slave's end", &rig.broker, || ask(request::GET_BROKER_HA_STATUS, &[]), equal).await;
    rig.server.stop().await;
}

/// Of two slaves one goes: the other is copy enough, unless three are wanted. The master goes: the NameServer knows the
/// slaves, and either has everything. A third slave finds its master without any NameServer.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_slaves_goes() {
    let group = Group::start().await;
    let master = group.master(0).await;
    let to_master = group.client(&master).await;
    let slave = |name: &'static str, id: &'static str| {
        let group = &group;
        async move { group.broker(name, 0, &[("brokerRole", "SLAVE"), ("brokerId", id)]).await }
    };
    let (first, second) = (slave("slave", "1").await, slave("another", "2").await);
    until_in_sync(&to_master, 2).await;
    assert_eq!(send(&to_master, "both".to_owned()).await, response::SUCCESS);
    first.stop().await;
    until_in_sync(&to_master, 1).await;
    assert_eq!(send(&to_master, "one".to_owned()).await, response::SUCCESS);
    assert!(group.log("master") == group.log("another"));
    configure(&to_master, "inSyncReplicas=3").await;
    assert_eq!(send(&to_master, "one too few".to_owned()).await, response::SLAVE_NOT_AVAILABLE);
    let first = slave("slave", "1").await;
    until_in_sync(&to_master, 2).await;
    assert_eq!(send(&to_master, "both again".to_owned()).await, response::SUCCESS);
    assert!(group.log("master") == group.log("another") && group.log("master") == group.log("slave"));

    let address = master.endpoints().broker_ha.clone().unwrap();
    let keys = [("brokerRole", "SLAVE"), ("brokerId", "3"), ("haMasterAddress", &*address)];
    let third = Server::start(settings(Role::Broker, 0, None, &group.dir.path().join("third"), &keys)).await;
    until_in_sync(&to_master, 3).await;
    third.unwrap().stop().await;
    assert!(group.log("master") == group.log("third"));

    for (server, name) in [(&first, "T of the first"), (&second, "T of the second")] {
        let client = group.client(server).await;
        let knows = |answer: &Command| answer.code != response::TOPIC_NOT_EXIST;
        until(name, &client, || pull_request("T", 0, 0, "*", 0), knows).await;
    }
    master.stop().await;
    let namesrv = Client::connect(group.namesrv.namesrv(), &group.clock, &group.life).await.unwrap();
    let route = || ask(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", "T")]);
    let slaves_only = |answer: &Command| {
        let body = std::str::from_utf8(&answer.body).unwrap();
        body.contains(r#""1":"127"#) && body.contains(r#""2":"127"#) && !body.contains(r#""0":"127"#)
    };
    until("a route with the slaves alone", &namesrv, route, slaves_only).await;
    for server in [first, second] {
        let client = group.client(&server).await;
        assert_eq!(read_all(&client, 4).await, ["both", "one", "one too few", "both again"]);
        server.stop().await;
    }
}

/// The master has deleted its oldest files: a new slave begins where the master does, and one that was away for too long
/// puts its log aside and does the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_master_has_deleted_files() {
    let group = Group::start().await;
    let keys = [("brokerRole", "SYNC_MASTER"), ("fileReservedTime", "0")];
    let master = group.broker("master", 0, &keys).await;
    let to_master = group.client(&master).await;
    let fill = async || {
        for number in 0..300 {
            send(&to_master, format!("{number} {}", "x".repeat(1_000))).await;
        }
    };
    let files = |name: &str| {
        let files = std::fs::read_dir(group.dir.path().join(name).join("commitlog")).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let min_offset = async |client: &Client| {
        let fields = [("topic", "T"), ("queueId", "0")];
        let answer = call(client, ask(request::GET_MIN_OFFSET, &fields)).await;
        answer.fields.get("offset").unwrap().parse::<i64>().unwrap()
    };
    let delete = async || {
        let before = files("master");
        call(&to_master, ask(request::DELETE_EXPIRED_COMMITLOG, &[])).await;
        assert!(files("master")[0] > before[0], "nothing was deleted of {before:?}");
    };
    fill().await;
    delete().await;
    let slave = group.slave().await;
    let to_slave = group.client(&slave).await;
    until_in_sync(&to_master, 1).await;
    assert_eq!(send(&to_master, "copied".to_owned()).await, response::SUCCESS);
    assert!(files("master") == files("slave") && group.log("master") == group.log("slave"));
    let knows = |answer: &Command| answer.code != response::TOPIC_NOT_EXIST;
    until("the topic on the slave", &to_slave, || pull_request("T", 0, 0, "*", 0), knows).await;
    let min = min_offset(&to_master).await;
    assert!(min > 0 && min_offset(&to_slave).await == min);
    slave.stop().await;

    fill().await;
    delete().await;
    let slave = group.slave().await;
    let to_slave = group.client(&slave).await;
    let again = async { while send(&to_master, "copied again".to_owned()).await != response::SUCCESS {} };
    tokio::time::timeout(LIMIT, again).await.expect("the slave never began again");
    assert!(files("master") == files("slave") && group.log("master") == group.log("slave"));
    assert!(min < min_offset(&to_master).await);
    let min = min_offset(&to_master).await;
    master.stop().await;
    let from_min = || pull_request("T", 0, min, "*", 0);
    let served = until("a message", &to_slave, from_min, |answer| answer.code == response::SUCCESS).await;
    assert_eq!(served.fields.get("minOffset"), Some(&*min.to_string()));
    slave.stop().await;
}

/// A slave's volume is full: it stays a whole copy of what it has and serves it, and sends hear that there is no other
/// copy of theirs. With space it goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn the_slaves_disk_is_full() {
    struct Mounted(std::path::PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }
    let group = Group::start().await;
    let volume = Mounted(group.dir.path().join("slave"));
    std::fs::create_dir(&volume.0).unwrap();
    let mut mount = std::process::Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&volume.0);
    if !mount.output().is_ok_and(|done| done.status.success()) {
        left_out("the slave's disk is full, because only root can mount a volume");
        return;
    }
    let master = group.broker("master", 0, &[("brokerRole", "SYNC_MASTER"), ("slaveTimeout", "300")]).await;
    let to_master = group.client(&master).await;
    let keys = [
        ("brokerRole", "SLAVE"),
        ("brokerId", "1"),
        ("slaveReadEnable", "true"),
        ("cleanFileForciblyEnable", "false"),
    ];
    let slave = group.broker("slave", 0, &keys).await;
    let to_slave = group.client(&slave).await;
    until_in_sync(&to_master, 1).await;
    assert_eq!(send(&to_master, "first".to_owned()).await, response::SUCCESS);
    let knows = |answer: &Command| answer.code != response::TOPIC_NOT_EXIST;
    until("the topic on the slave", &to_slave, || pull_request("T", 0, 0, "*", 0), knows).await;
    let (mut sent, mut refused) = (1, 0);
    while refused < 3 {
        let code = send(&to_master, "x".repeat(20_000)).await;
        sent += 1;
        refused += i32::from(code != response::SUCCESS);
        assert!(
            [response::SUCCESS, response::FLUSH_SLAVE_TIMEOUT, response::SLAVE_NOT_AVAILABLE].contains(&code),
            "{code}"
        );
        assert!(sent < 400, "4 MiB hold more than 8 MB");
    }
    let copied = slave.broker().unwrap().ha_view().0;
    assert!(copied < master.broker().unwrap().ha_view().0);
    assert_eq!(bodies(&call(&to_slave, pull_request("T", 0, 0, "*", 0)).await)[0], "first");
    let mut remount = std::process::Command::new("mount");
    assert!(remount.args(["-o", "remount,size=64m"]).arg(&volume.0).status().unwrap().success());
    let again = async { while send(&to_master, "again".to_owned()).await != response::SUCCESS {} };
    tokio::time::timeout(LIMIT, again).await.expect("the slave never went on");
    assert!(group.log("master") == group.log("slave"));
    let entries = std::fs::read_dir(&volume.0).unwrap();
    let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.contains("aside")), "{names:?}");
    master.stop().await;
    slave.stop().await;
}

/// The commands for a person: `replication` holds the log back and stops and starts the slave, and it and `status` tell of
/// it. They find the server that runs here by its data directory.
#[test]
fn steered_by_commands() {
    let dir = tempfile::tempdir().unwrap();
    let program = |words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rmq-lite"));
        command.env("RMQ_LITE_DATA_DIR", dir.path()).env_remove("RMQ_LITE_WEB").args(words);
        command
    };
    let run = |words: &[&str]| {
        let output = program(words).output().unwrap();
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success(), "{words:?}: {out}{err}");
        out
    };
    let ports = ["--namesrv-port", "0", "--broker-port", "0", "--slave-port", "0", "--web-port", "0"];
    let start = [&["start", "--slave", "--json"][..], &ports].concat();
    let mut server = program(&start)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(server.stdout.as_mut().unwrap()), &mut ready)
        .unwrap();
    let shown = |wanted: &str, words: &[&str]| {
        let began = Clock::new();
        let from_ms = began.now_ms();
        loop {
            let text = run(words);
            if text.lines().any(|line| line.contains(wanted)) {
                return;
            }
            assert!(began.now_ms() - from_ms < LIMIT.as_millis() as i64, "never {wanted:?}: {text}");
        }
    };
    shown("in sync, 0 bytes and 0 ms behind", &["replication"]);
    shown("slaves     1 of 1 in sync, 0 bytes and 0 ms behind", &["status"]);
    run(&["replication", "pause"]);
    shown("1 of 1 in sync, 0 bytes and 0 ms behind, paused", &["status"]);
    run(&["replication", "lag", "50"]);
    run(&["replication", "resume"]);
    shown("log ends at 0", &["replication", "status"]);
    run(&["replication", "stop", "slave"]);
    shown("slave    stopped", &["replication"]);
    shown("slaves     none", &["status"]);
    run(&["replication", "start", "slave"]);
    shown("slaves     1 of 1 in sync, 0 bytes and 0 ms behind", &["status"]);
    let state: serde_json::Value = serde_json::from_str(&run(&["replication", "--json"])).unwrap();
    assert_eq!(
        (&state["master"]["paused"], &state["master"]["slaves"][0]["in_sync"]),
        (&false.into(), &true.into())
    );
    let refused = program(&["replication", "stop", "namesrv"]).output().unwrap();
    assert!(!refused.status.success());
    run(&["stop"]);
    assert!(server.wait().unwrap().success(), "{ready}");
}
