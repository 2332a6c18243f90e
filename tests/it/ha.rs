//! Replication between real servers over real sockets: what a slave has, what a send may promise, what happens when
//! one of the two goes away, comes back, or comes back empty; and who else may knock at the replication port.

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
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::kit::{LIMIT, pull_request, request as ask, send_request};

/// Bytes of a commit-log file in these tests.
const FILE_BYTES: usize = 64 << 10;

fn settings(role: Role, port: u16, namesrv: Option<&str>, dir: &Path, keys: &[(&str, &str)]) -> Settings {
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
struct Group {
    namesrv: Server,
    dir: tempfile::TempDir,
    life: Lifecycle,
    clock: Clock,
}

impl Group {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let namesrv = Server::start(settings(Role::NameServer, 0, None, dir.path(), &[])).await.unwrap();
        Self { namesrv, dir, life: Lifecycle::new(), clock: Clock::new() }
    }

    async fn broker(&self, name: &str, port: u16, keys: &[(&str, &str)]) -> Server {
        let dir = self.dir.path().join(name);
        let settings = settings(Role::Broker, port, Some(self.namesrv.namesrv()), &dir, keys);
        Server::start(settings).await.unwrap()
    }

    async fn master(&self, port: u16) -> Server {
        self.broker("master", port, &[("brokerRole", "SYNC_MASTER")]).await
    }

    async fn slave(&self) -> Server {
        self.broker("slave", 0, &[("brokerRole", "SLAVE"), ("brokerId", "1")]).await
    }

    async fn client(&self, server: &Server) -> Client {
        let address = server.endpoints().broker.clone().unwrap();
        Client::connect(&address, &self.clock, &self.life).await.unwrap()
    }

    /// The bytes of a broker's log, from the first to its last file.
    fn log(&self, name: &str) -> Vec<u8> {
        let mut files: Vec<_> = std::fs::read_dir(self.dir.path().join(name).join("commitlog"))
            .unwrap()
            .map(|f| f.unwrap().path())
            .collect();
        files.sort();
        files.iter().flat_map(|file| std::fs::read(file).unwrap()).collect()
    }
}

async fn call(client: &Client, request: Request) -> Command {
    client.call(request, LIMIT).await.unwrap()
}

async fn send(client: &Client, body: String) -> i32 {
    call(client, send_request("T", 0, "").with_body(body)).await.code
}

/// Asks until an answer is as wanted.
async fn until(
    what: &str,
    client: &Client,
    make: impl Fn() -> Request,
    wanted: impl Fn(&Command) -> bool,
) -> Command {
    let asked = async {
        loop {
            let answer = call(client, make()).await;
            if wanted(&answer) {
                return answer;
            }
        }
    };
    tokio::time::timeout(LIMIT, asked).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// Waits until a master counts this many slaves as copies.
async fn until_in_sync(master: &Client, slaves: usize) {
    let wanted = format!("\"inSyncSlaveNums\":{slaves},");
    let shows = |answer: &Command| std::str::from_utf8(&answer.body).unwrap().contains(&wanted);
    until("slaves in sync", master, || ask(request::GET_BROKER_HA_STATUS, &[]), shows).await;
}

fn bodies(answer: &Command) -> Vec<String> {
    let records = MessageRecord::decode_all(&answer.body);
    records.map(|record| String::from_utf8(record.unwrap().body.to_vec()).unwrap()).collect()
}

/// Reads the queue to its end, at least this many messages.
async fn read_all(client: &Client, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    while all.len() < count {
        let offset = all.len() as i64;
        let pull = || pull_request("T", 0, offset, "*", 0);
        let found = |answer: &Command| answer.code == response::SUCCESS;
        all.extend(bodies(&until("a message on the slave", client, pull, found).await));
    }
    all
}

/// What SYNC_MASTER acknowledged is on the slave, byte for byte, over the ends of files and whatever the frames cut;
/// the slave in the same process has ports and a directory of its own.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_is_on_both() {
    let keys = [
        ("brokerRole", "SYNC_MASTER"),
        ("mappedFileSizeCommitLog", "65536"),
        ("haTransferBatchSize", "1000"),
    ];
    let choices = Choices {
        namesrv_port: Some(0),
        broker_port: Some(0),
        headless: true,
        ephemeral: true,
        slave: true,
        set: keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..Choices::default()
    };
    let server = Server::start(Settings::resolve(Role::Everything, choices).unwrap()).await.unwrap();
    let (life, clock) = (Lifecycle::new(), Clock::new());
    let connect = |address: Option<String>| Client::connect(address.unwrap(), &clock, &life);
    let master = connect(server.endpoints().broker.clone()).await.unwrap();
    let slave = connect(server.endpoints().slave.clone()).await.unwrap();
    until_in_sync(&master, 1).await;
    for number in 0..200 {
        assert_eq!(
            send(&master, format!("{number}-").repeat(1 + number * 7 % 400)).await,
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
    server.stop().await;
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
