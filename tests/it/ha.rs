//! Replication between real servers over real sockets: what a slave has, what a send may promise, what happens when
//! one of the two goes away, comes back, or comes back empty; and who else may knock at the replication port. Several
//! slaves, and those that cannot keep up, are in `ha_slaves`.

use std::path::Path;
use std::time::Duration;

use rmq_lite::clock::Clock;
use rmq_lite::config::{Choices, Role, Settings};
use rmq_lite::lifecycle::Lifecycle;
use rmq_lite::remoting::client::Client;
use rmq_lite::server::Server;
use rmq_lite::wire::code::{request, response};
use rmq_lite::wire::command::{Command, Request};
use rmq_lite::wire::message::MessageRecord;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::kit::{LIMIT, Rig, pull_request, request as ask, send_request};
use crate::web;

/// Bytes of a commit-log file in these tests.
pub const FILE_BYTES: usize = 64 << 10;

pub fn settings(role: Role, port: u16, namesrv: Option<&str>, dir: &Path, keys: &[(&str, &str)]) -> Settings {
    let mut set = vec![
        ("brokerName".to_owned(), "b".to_owned()),
        ("storePathRootDir".to_owned(), dir.to_str().unwrap().to_owned()),
        ("mappedFileSizeCommitLog".to_owned(), FILE_BYTES.to_string()),
    ];
    if role == Role::NameServer {
        set = vec![("kvConfigPath".to_owned(), dir.join("kv.json").to_str().unwrap().to_owned())];
    }
    set.extend(keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    if role == Role::Broker {
        set.push(("listenPort".to_owned(), port.to_string()));
    }
    let choices = Choices {
        bind: Some("127.0.0.1".parse().unwrap()),
        namesrv_port: (role == Role::NameServer).then_some(port),
        namesrv_addr: namesrv.map(str::to_owned),
        set,
        ..Choices::default()
    };
    Settings::resolve(role, choices).unwrap()
}

/// A NameServer, and brokers that come and go.
pub struct Group {
    pub namesrv: Server,
    pub dir: tempfile::TempDir,
    pub life: Lifecycle,
    pub clock: Clock,
}

impl Group {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let namesrv = Server::start(settings(Role::NameServer, 0, None, dir.path(), &[])).await.unwrap();
        Self { namesrv, dir, life: Lifecycle::new(), clock: Clock::new() }
    }

    pub async fn broker(&self, name: &str, port: u16, keys: &[(&str, &str)]) -> Server {
        let dir = self.dir.path().join(name);
        let settings = settings(Role::Broker, port, Some(self.namesrv.namesrv()), &dir, keys);
        Server::start(settings).await.unwrap()
    }

    pub async fn master(&self, port: u16) -> Server {
        self.broker("master", port, &[("brokerRole", "SYNC_MASTER")]).await
    }

    pub async fn slave(&self) -> Server {
        self.broker("slave", 0, &[("brokerRole", "SLAVE"), ("brokerId", "1")]).await
    }

    pub async fn client(&self, server: &Server) -> Client {
        let address = server.endpoints().broker.clone().unwrap();
        Client::connect(&address, &self.clock, &self.life).await.unwrap()
    }

    /// The bytes of a broker's log, from the first to its last file.
    pub fn log(&self, name: &str) -> Vec<u8> {
        let mut files: Vec<_> = std::fs::read_dir(self.dir.path().join(name).join("commitlog"))
            .unwrap()
            .map(|f| f.unwrap().path())
            .collect();
        files.sort();
        files.iter().flat_map(|file| std::fs::read(file).unwrap()).collect()
    }
}

pub async fn call(client: &Client, request: Request) -> Command {
    client.call(request, LIMIT).await.unwrap()
}

pub async fn send(client: &Client, body: String) -> i32 {
    call(client, send_request("T", 0, "").with_body(body)).await.code
}

/// Asks until an answer is as wanted.
pub async fn until(
    what: &str,
    client: &Client,
    make: impl Fn() -> Request,
    wanted: impl Fn(&Command) -> bool,
) -> Command {
    let mut last = None;
    let asked = async {
        loop {
            let answer = call(client, make()).await;
            if wanted(&answer) {
                return answer;
            }
            last = Some((answer.code, answer.remark));
        }
    };
    let came = tokio::time::timeout(LIMIT, asked).await.ok();
    came.unwrap_or_else(|| panic!("never: {what}; the last answer was {last:?}"))
}

/// Waits until a master counts this many slaves as copies.
pub async fn until_in_sync(master: &Client, slaves: usize) {
    let wanted = format!("\"inSyncSlaveNums\":{slaves},");
    let shows = |answer: &Command| std::str::from_utf8(&answer.body).unwrap().contains(&wanted);
    until("slaves in sync", master, || ask(request::GET_BROKER_HA_STATUS, &[]), shows).await;
}

pub fn bodies(answer: &Command) -> Vec<String> {
    let records = MessageRecord::decode_all(&answer.body);
    records.map(|record| String::from_utf8(record.unwrap().body.to_vec()).unwrap()).collect()
}

/// Reads the queue to its end, at least this many messages.
pub async fn read_all(client: &Client, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    while all.len() < count {
        let offset = all.len() as i64;
        let pull = || pull_request("T", 0, offset, "*", 0);
        let found = |answer: &Command| answer.code == response::SUCCESS;
        all.extend(bodies(&until("a message on the slave", client, pull, found).await));
    }
    all
}

/// A server with a slave and a console, and a connection to the master, which counts the slave as a copy.
pub async fn pair(keys: &[(&str, &str)]) -> Rig {
    let choices = Choices {
        namesrv_port: Some(0),
        broker_port: Some(0),
        web_port: Some(0),
        ephemeral: true,
        slave: true,
        set: keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..Choices::default()
    };
    let rig = Rig::with(Settings::resolve(Role::Everything, choices).unwrap()).await;
    until_in_sync(&rig.broker, 1).await;
    rig
}

impl Rig {
    async fn slave(&self) -> Client {
        let address = self.server.endpoints().slave.clone().unwrap();
        Client::connect(&address, &self.clock, &self.life).await.unwrap()
    }
}

/// Tells the console's replication resource what is wished.
pub async fn steer(rig: &Rig, wish: &str) -> Value {
    let (status, body) = web::post(&rig.server, "/api/v1/replication", wish).await;
    assert_eq!(status, 200, "{wish}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// Held back, the slave stays connected and gets nothing: a send under SYNC_MASTER says so, and everything that shows
/// replication shows the lag. Let go, it has all again.
#[tokio::test(flavor = "multi_thread")]
async fn replication_is_held_back() {
    let rig = pair(&[("brokerRole", "SYNC_MASTER"), ("slaveTimeout", "100")]).await;
    assert_eq!(send(&rig.broker, "before".to_owned()).await, response::SUCCESS);
    let state = steer(&rig, r#"{"paused":true}"#).await;
    assert_eq!((&state["master"]["paused"], &state["slave"]["connected"]), (&true.into(), &true.into()));
    assert_eq!(send(&rig.broker, "held".to_owned()).await, response::FLUSH_SLAVE_TIMEOUT);
    let state = web::json(&rig.server, "/api/v1/replication").await;
    let behind = state["master"]["log_ends"].as_i64().unwrap() - state["slave"]["log_ends"].as_i64().unwrap();
    let slave = &state["master"]["slaves"][0];
    assert!(behind > 0 && slave["lag_bytes"] == behind && slave["in_sync"] == true, "{state}");
    let status = call(&rig.broker, ask(request::GET_BROKER_HA_STATUS, &[])).await;
    assert!(std::str::from_utf8(&status.body).unwrap().contains(&format!(r#""diff":{behind},"#)));
    let info = call(&rig.broker, ask(request::GET_BROKER_RUNTIME_INFO, &[])).await;
    let info = String::from_utf8(info.body.to_vec()).unwrap();
    for shown in
        [r#""haPaused":"true""#, r#""haInSyncSlaveNums":"1""#, &format!(r#""haSlaveBehindBytes":"{behind}""#)]
    {
        assert!(info.contains(shown), "{shown}: {info}");
    }
    let (_, metrics) = web::get(&rig.server, "/metrics").await;
    let row = metrics.lines().find(|line| line.starts_with("rocketmq_ha_slave_lag_bytes{")).unwrap();
    assert!(row.ends_with(&format!(" {behind}")), "{row}");
    assert!(metrics.contains("\nrocketmq_ha_slave_lag_milliseconds{"), "{metrics}");

    let state = steer(&rig, r#"{"paused":false,"lag_ms":20}"#).await;
    assert_eq!((&state["master"]["paused"], &state["master"]["lag_ms"]), (&false.into(), &20.into()));
    steer(&rig, r#"{"lag_ms":0}"#).await;
    assert_eq!(send(&rig.broker, "after".to_owned()).await, response::SUCCESS);
    assert_eq!(rig.server.slave().unwrap().ha_view().0, rig.server.broker().unwrap().ha_view().0);
    for (wish, detail) in [
        ("{}", "nothing is asked for"),
        (r#"{"lag_ms":600001}"#, "0 to 600000"),
        (r#"{"stop":"namesrv"}"#, "unknown variant `namesrv`"),
        (r#"{"pause":true}"#, "unknown field `pause`"),
    ] {
        let (status, problem) = web::post(&rig.server, "/api/v1/replication", wish).await;
        assert!(status == 400 && problem.contains(detail), "{wish}: {problem}");
    }
    rig.server.stop().await;
}

/// Master and slave are stopped and started in the running process, on their ports and data, while the other goes on.
#[tokio::test(flavor = "multi_thread")]
async fn either_is_stopped_and_started() {
    let rig = pair(&[("brokerRole", "SYNC_MASTER")]).await;
    let slave = rig.slave().await;
    assert_eq!(send(&rig.broker, "first".to_owned()).await, response::SUCCESS);
    let knows = |answer: &Command| answer.code != response::TOPIC_NOT_EXIST;
    until("the topic on the slave", &slave, || pull_request("T", 0, 0, "*", 0), knows).await;

    let state = steer(&rig, r#"{"stop":"master"}"#).await;
    assert_eq!((&state["master"]["running"], &state["slave"]["running"]), (&false.into(), &true.into()));
    assert!(rig.server.broker().is_none() && web::get(&rig.server, "/readyz").await.0 == 503);
    let master = rig.server.endpoints().broker.clone().unwrap();
    assert!(Client::connect(&master, &rig.clock, &rig.life).await.is_err(), "its port is closed");
    let (status, problem) = web::post(&rig.server, "/api/v1/replication", r#"{"paused":true}"#).await;
    assert!(status == 409 && problem.contains("the master does not run"), "{problem}");
    assert_eq!(read_all(&slave, 1).await, ["first"]);
    steer(&rig, r#"{"stop":"master"}"#).await; // is stopped already
    steer(&rig, r#"{"start":"master"}"#).await;
    let client = rig.client().await;
    until_in_sync(&client, 1).await;
    assert_eq!(send(&client, "second".to_owned()).await, response::SUCCESS);

    steer(&rig, r#"{"stop":"slave"}"#).await;
    until_in_sync(&client, 0).await;
    assert_eq!(send(&client, "third".to_owned()).await, response::SLAVE_NOT_AVAILABLE);
    let state = steer(&rig, r#"{"start":"slave"}"#).await;
    assert_eq!(state["slave"]["running"], true);
    until_in_sync(&client, 1).await;
    assert_eq!(send(&client, "fourth".to_owned()).await, response::SUCCESS);
    steer(&rig, r#"{"stop":"master"}"#).await;
    assert_eq!(read_all(&rig.slave().await, 4).await, ["first", "second", "third", "fourth"]);
    rig.server.stop().await;
}

/// What SYNC_MASTER acknowledged is on the slave, byte for byte, over the ends of files and whatever the frames cut;
/// the slave in the same process has ports and a directory of its own.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_is_on_both() {
    let rig = pair(&[
        ("brokerRole", "SYNC_MASTER"),
        ("mappedFileSizeCommitLog", "65536"),
        ("haTransferBatchSize", "1000"),
    ])
    .await;
    let (server, master) = (&rig.server, &rig.broker);
    let slave = rig.slave().await;
    for number in 0..200 {
        assert_eq!(
            send(master, format!("{number}-").repeat(1 + number * 7 % 400)).await,
            response::SUCCESS,
            "{number}"
        );
    }
    let ends = server.slave().unwrap().id();
    assert_eq!(ends, 1);
    let dir = &server.endpoints().data_dir;
    let mut compared = 0;
    for file in std::fs::read_dir(dir.join("broker/commitlog")).unwrap().map(|file| file.unwrap()) {
        let copy = dir.join("slave/commitlog").join(file.file_name());
        assert!(
            std::fs::read(file.path()).unwrap() == std::fs::read(copy).unwrap(),
            "{:?}",
            file.file_name()
        );
        compared += 1;
    }
    assert!(compared > 2, "{compared} files");
    // Its topics come with the next copy; a pull before that is told that there is no such topic.
    let refused = until(
        "the topic on the slave",
        &slave,
        || pull_request("T", 0, 0, "*", 0),
        |answer| answer.code != response::TOPIC_NOT_EXIST,
    );
    let refused = refused.await;
    assert_eq!(refused.code, response::SYSTEM_BUSY, "the master is there: {:?}", refused.remark);
    assert_eq!(send(&slave, "x".to_owned()).await, response::SERVICE_NOT_AVAILABLE);
    rig.server.stop().await;
}

/// Without a slave a message under SYNC_MASTER is stored, and its sender told so; one that does not wait is a success,
/// and so is every one when the key says that one copy is enough.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_slave() {
    let group = Group::start().await;
    let server = group.master(0).await;
    let client = group.client(&server).await;
    assert_eq!(send(&client, "first".to_owned()).await, response::SLAVE_NOT_AVAILABLE);
    let hasty = send_request("T", 0, "WAIT\u{1}false\u{2}").with_body("second");
    assert_eq!(call(&client, hasty).await.code, response::SUCCESS);
    assert_eq!(read_all(&client, 2).await, ["first", "second"]);
    server.stop().await;
    let relaxed = group.broker("master", 0, &[("brokerRole", "SYNC_MASTER"), ("inSyncReplicas", "1")]).await;
    let client = group.client(&relaxed).await;
    assert_eq!(send(&client, "third".to_owned()).await, response::SUCCESS);
    relaxed.stop().await;
}

/// The slave serves what its master had while that is away, goes on when it is back, and begins again when it comes
/// back empty.
#[tokio::test(flavor = "multi_thread")]
async fn the_master_goes_and_comes() {
    let group = Group::start().await;
    let master = group.master(0).await;
    let port: u16 = master.endpoints().broker.as_ref().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    let to_master = group.client(&master).await;
    for number in 0..300 {
        send(&to_master, format!("old {number} {}", "x".repeat(500))).await;
    }
    // A new, empty slave gets the whole log, older files included.
    let slave = group.slave().await;
    let to_slave = group.client(&slave).await;
    until_in_sync(&to_master, 1).await;
    assert_eq!(send(&to_master, "last".to_owned()).await, response::SUCCESS);
    until(
        "the topic on the slave",
        &to_slave,
        || pull_request("T", 0, 0, "*", 0),
        |answer| answer.code != response::TOPIC_NOT_EXIST,
    )
    .await;
    master.stop().await;
    let all = read_all(&to_slave, 301).await;
    assert!(all[0].starts_with("old 0 ") && all[300] == "last");

    let master = group.master(port).await;
    let to_master = group.client(&master).await;
    until_in_sync(&to_master, 1).await;
    assert_eq!(send(&to_master, "again".to_owned()).await, response::SUCCESS);
    assert!(group.log("master") == group.log("slave"));
    master.stop().await;
    assert_eq!(read_all(&to_slave, 302).await[301], "again");

    std::fs::remove_dir_all(group.dir.path().join("master")).unwrap();
    let master = group.master(port).await;
    let to_master = group.client(&master).await;
    until_in_sync(&to_master, 1).await;
    assert_eq!(send(&to_master, "anew".to_owned()).await, response::SUCCESS);
    assert!(group.log("master") == group.log("slave"));
    let entries = std::fs::read_dir(group.dir.path().join("slave")).unwrap();
    let aside =
        entries.filter(|e| e.as_ref().unwrap().file_name().to_str().unwrap().starts_with("commitlog-aside-"));
    assert_eq!(aside.count(), 1, "the old log is put aside, not deleted");
    master.stop().await;
    slave.stop().await;
}

/// Commits an offset of a group, which it makes.
async fn commit(client: &Client, consumers: &str, offset: &str) {
    call(client, ask(request::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", consumers)])).await;
    let fields = [("consumerGroup", consumers), ("topic", "T"), ("queueId", "0"), ("commitOffset", offset)];
    let answer = call(client, ask(request::UPDATE_CONSUMER_OFFSET, &fields)).await;
    assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
}

/// Waits until a group is at this offset.
async fn until_at(client: &Client, consumers: &str, offset: &str) {
    let fields = [("consumerGroup", consumers), ("topic", "T"), ("queueId", "0")];
    let is_there = |answer: &Command| answer.fields.get("offset") == Some(offset);
    until(offset, client, || ask(request::QUERY_CONSUMER_OFFSET, &fields), is_there).await;
}

/// What is consumed from the slave while the master is away is consumed when that is back: by a group that went on, by one
/// that is new, and though the slave was started anew meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn consumed_from_the_slave() {
    let group = Group::start().await;
    let master = group.master(0).await;
    let port: u16 = master.endpoints().broker.as_ref().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    let to_master = group.client(&master).await;
    let slave = group.slave().await;
    let to_slave = group.client(&slave).await;
    until_in_sync(&to_master, 1).await;
    for number in 0..9 {
        send(&to_master, number.to_string()).await;
    }
    commit(&to_master, "old", "1").await;
    until_at(&to_slave, "old", "1").await;
    // The slave may or may not hear of this one.
    commit(&to_master, "old", "2").await;
    master.stop().await;
    commit(&to_slave, "old", "5").await;
    commit(&to_slave, "new", "4").await;
    slave.stop().await;
    let slave = group.slave().await;
    let master = group.master(port).await;
    let to_master = group.client(&master).await;
    let to_slave = group.client(&slave).await;
    for client in [&to_master, &to_slave] {
        until_at(client, "old", "5").await;
        until_at(client, "new", "4").await;
    }
    // From here on the master's word counts again, also when it goes back.
    commit(&to_master, "old", "3").await;
    until_at(&to_slave, "old", "3").await;
    master.stop().await;
    slave.stop().await;
}

/// Who does not speak the protocol, claims what it cannot have, or does not read, is cut off; others are not disturbed.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_at_the_replication_port() {
    let group = Group::start().await;
    let keys = [("haHousekeepingInterval", "300"), ("haSendHeartbeatInterval", "50")];
    let server = group.broker("master", 0, &keys).await;
    let client = group.client(&server).await;
    // More than the buffers of two sockets hold.
    for number in 0..800 {
        assert_eq!(send(&client, format!("{number}{}", "x".repeat(20_000))).await, response::SUCCESS);
    }
    let end = server.broker().unwrap().ha_view().0;
    let address = server.endpoints().broker_ha.clone().unwrap();
    let closes = |said: Vec<u8>| {
        let address = address.clone();
        async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&said).await.unwrap();
            let mut came = Vec::new();
            // Reset or ended: either is cut off.
            let read = tokio::time::timeout(LIMIT, stream.read_to_end(&mut came)).await;
            assert!(read.is_ok(), "never cut off");
            came
        }
    };
    assert!(closes(b"GET / HTTP/1.1\r\n\r\n\xff\xff\xff".to_vec()).await.len() <= 12);
    assert!(closes((-1i64).to_be_bytes().to_vec()).await.is_empty());
    assert!(closes(vec![0; 3]).await.is_empty(), "half a report, then silence");
    let shown = closes((end + 1).to_be_bytes().to_vec()).await;
    assert_eq!(shown, [&end.to_be_bytes()[..], &[0; 4]].concat(), "where the log ends, and no more");
    // Claims the future after a good beginning.
    closes([end.to_be_bytes(), (end + 9).to_be_bytes()].concat()).await;
    // Never reads: bounded by the sockets' buffers, and cut off.
    let mut deaf = TcpStream::connect(&address).await.unwrap();
    deaf.write_all(&0i64.to_be_bytes()).await.unwrap();
    let gone = async {
        while server.broker().unwrap().ha_view().1 > 0 {
            tokio::task::yield_now().await;
        }
    };
    let mut reported = tokio::time::interval(Duration::from_millis(50));
    let served = async {
        loop {
            reported.tick().await;
            if deaf.write_all(&0i64.to_be_bytes()).await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, async { tokio::join!(served, gone) }).await.expect("a deaf slave is cut off");
    assert_eq!(send(&client, "after".to_owned()).await, response::SUCCESS);
    server.stop().await;
}
