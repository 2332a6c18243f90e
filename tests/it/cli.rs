//! The program as a person types it: its commands and flags, one by one, with a real process behind each.
//!
//! What the words mean is tested beside `src/cli/args.rs`; here they must also do it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use rmq_lite::clock::Clock;
use rmq_lite::lifecycle::Lifecycle;
use rmq_lite::remoting::client::Client;
use rmq_lite::wire::body::route::TopicRouteData;
use rmq_lite::wire::code::{request, response};
use rmq_lite::wire::command;
use rmq_lite::wire::fastjson;
use serde_json::Value;

use crate::kit::{LIMIT, left_out, request};

/// The environment that every server gives to those who use it.
const ENVIRONMENT: [&str; 5] =
    ["NAMESRV_ADDR", "ROCKETMQ_NAMESRV_ADDR", "ROCKETMQ_NAME_SERVER", "RMQ_LITE_BROKER", "RMQ_LITE_WEB"];

const FREE_PORTS: [&str; 6] = ["--namesrv-port", "0", "--broker-port", "0", "--web-port", "0"];

/// The program in a home directory of its own, without the variables of whoever runs the tests.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn program(&self, words: &[&str]) -> Command {
        self.called(Path::new(env!("CARGO_BIN_EXE_rmq-lite")), words)
    }

    /// The program under another name, by a link such as `mqbroker`.
    fn called(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(words).current_dir(self.0.path()).env_clear();
        command.env("HOME", self.0.path()).env("TMPDIR", self.0.path()).env("PATH", "/usr/bin:/bin");
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.program(words).output().unwrap()
    }

    /// Starts a server with `start`, free ports and these flags, and waits until it says that it is ready.
    fn start(&self, flags: &[&str]) -> Started {
        Started::of(self.program(&[&["start", "--json"], &FREE_PORTS[..], flags].concat()))
    }
}

/// A server that printed its JSON object.
struct Started {
    child: Child,
    stdout: BufReader<ChildStdout>,
    said: Value,
}

impl Started {
    fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "it did not start: {}", rest(child.stderr.take().unwrap()));
        let said = serde_json::from_str(&line).unwrap();
        Self { child, stdout, said }
    }

    fn text(&self, name: &str) -> &str {
        self.said[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.said))
    }

    /// Ends it by SIGTERM; returns its exit code and what it wrote to standard output behind its first line and to
    /// standard error.
    fn terminate(mut self) -> (Option<i32>, String, String) {
        signal(self.child.id(), "TERM");
        let code = self.child.wait().unwrap().code();
        let (mut out, err) = (String::new(), rest(self.child.stderr.take().unwrap()));
        self.stdout.read_to_string(&mut out).unwrap();
        (code, out, err)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn rest(mut from: impl std::io::Read) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).unwrap();
    text
}

fn signal(process: u32, name: &str) {
    assert!(
        Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status().unwrap().success()
    );
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asks a server as a client does.
async fn ask(address: &str, code: i32, fields: &[(&'static str, &str)]) -> command::Command {
    let life = Lifecycle::new();
    let client = Client::connect(address, &Clock::new(), &life).await.unwrap();
    client.call(request(code, fields), LIMIT).await.unwrap()
}

async fn route(namesrv: &str, topic: &str) -> TopicRouteData {
    let answer = ask(namesrv, request::GET_ROUTEINFO_BY_TOPIC, &[("topic", topic)]).await;
    fastjson::from_slice(&answer.body).unwrap()
}

/// Waits until a NameServer answers a question for the route of every broker's own topic so.
async fn until(namesrv: &str, code: i32) {
    let life = Lifecycle::new();
    let client = Client::connect(namesrv, &Clock::new(), &life).await.unwrap();
    let answered = async {
        let ask = || request(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", "TBW102")]);
        while client.call(ask(), LIMIT).await.unwrap().code != code {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, answered).await.unwrap_or_else(|_| panic!("code {code} from {namesrv}"));
}

/// The keys of a running broker.
async fn broker_config(broker: &str) -> BTreeMap<String, String> {
    let answer = ask(broker, request::GET_BROKER_CONFIG, &[]).await;
    properties(std::str::from_utf8(&answer.body).unwrap())
}

fn properties(text: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    text.lines().filter_map(pair).collect()
}

/// `start --json --ports-file --data-dir`: one object, the same in both places, and only while the server is there; the
/// commands about a running server find it by its directory.
#[tokio::test]
async fn a_server_is_found_while_it_runs() {
    let home = Home::new();
    let dir = ["--data-dir", "data"];
    let absent = home.run(&["ready", "--data-dir", "data"]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(err(&absent).contains("no server runs with the data directory"), "{}", err(&absent));

    let server = home.start(&["--data-dir", "data", "--ports-file", "ports.json"]);
    let file: Value =
        serde_json::from_str(&std::fs::read_to_string(home.path("ports.json")).unwrap()).unwrap();
    assert_eq!(file, server.said);
    assert_eq!(
        (&file["slave"], &file["grpc"], &file["ephemeral"]),
        (&Value::Null, &Value::Null, &Value::Bool(false))
    );
    assert_eq!(file["pid"], server.child.id());
    assert!(file["startup_ms"].as_u64().is_some());
    for name in ENVIRONMENT {
        assert!(file["env"][name].is_string(), "{name} in {file}");
    }
    assert_eq!(
        route(server.text("namesrv"), "TBW102").await.broker_datas[0].broker_addrs[&0],
        server.text("broker")
    );

    let ready = home.run(&[&["ready", "--wait", "5"], &dir[..]].concat());
    assert_eq!(
        (ready.status.code(), out(&ready)),
        (Some(0), format!("ready: NameServer {}\n", server.text("namesrv")))
    );
    let ready = home.run(&[&["ready", "--json"], &dir[..]].concat());
    assert_eq!(serde_json::from_str::<Value>(&out(&ready)).unwrap(), file);
    let status = home.run(&[&["status", "--json"], &dir[..]].concat());
    let status: Value = serde_json::from_str(&out(&status)).unwrap();
    assert_eq!((&status["broker"], status["runtime"]["putTps"].is_string()), (&file["broker"], true));
    let status = out(&home.run(&[&["status"], &dir[..]].concat()));
    assert!(status.contains(server.text("broker")) && status.contains("disk used"), "{status}");

    // What `env` prints is for a shell.
    let shell = format!(
        "{} && echo $NAMESRV_ADDR $RMQ_LITE_BROKER",
        out(&home.run(&[&["env"], &dir[..]].concat())).trim().replace('\n', " && ")
    );
    let told = Command::new("sh").args(["-ec", &shell]).env_clear().output().unwrap();
    assert_eq!(out(&told), format!("{} {}\n", server.text("namesrv"), server.text("broker")));
    let told: Value =
        serde_json::from_str(&out(&home.run(&[&["env", "--json"], &dir[..]].concat()))).unwrap();
    assert_eq!(told, file["env"]);

    // It was found by its directory; a second one there would spoil the first one's data.
    let second = home.run(&[&["start"], &FREE_PORTS[..], &dir[..]].concat());
    assert_eq!(second.status.code(), Some(2));
    assert!(err(&second).lines().count() == 1 && err(&second).contains("data"), "{}", err(&second));

    let stopped = home.run(&[&["stop"], &dir[..]].concat());
    assert_eq!((stopped.status.code(), out(&stopped)), (Some(0), "stopped\n".to_owned()));
    assert!(!home.path("ports.json").exists() && home.path("data/broker").exists());
    assert_eq!(home.run(&[&["status"], &dir[..]].concat()).status.code(), Some(1));
    assert_eq!(home.run(&[&["stop"], &dir[..]].concat()).status.code(), Some(1));
    let mut server = server;
    assert!(server.child.wait().unwrap().success());
}

/// A server that was killed leaves its file, and its process id may be somebody else's by then, who is not stopped.
#[test]
fn a_stranger_is_not_stopped() {
    let home = Home::new();
    let mut server = home.start(&["--data-dir", "data"]);
    server.child.kill().unwrap();
    let file = home.path("data/server.json");
    let mut left: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    for words in [["stop", "--data-dir", "data"], ["status", "--data-dir", "data"]] {
        let told = home.run(&words);
        assert!(err(&told).contains("was killed; start it again"), "{words:?}: {}", err(&told));
    }
    let mut stranger = Command::new("sleep").arg("1000").spawn().unwrap();
    left["pid"] = stranger.id().into();
    std::fs::write(&file, left.to_string()).unwrap();
    let told = home.run(&["stop", "--data-dir", "data"]);
    let lives = stranger.try_wait().unwrap().is_none();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert_eq!((told.status.code(), lives), (Some(1), true), "{}", err(&told));
    assert!(err(&told).contains("was killed"), "{}", err(&told));
    assert!(home.start(&["--data-dir", "data"]).terminate().0 == Some(0) && !file.exists());
}

/// Whatever a server keeps where, its name finds it; the name is that of the first that has it, and nothing stays behind.
#[test]
fn a_server_is_found_by_its_name() {
    let home = Home::new();
    let found = |words: &[&str]| {
        let told = home.run(&[words, &["--json"]].concat());
        assert!(told.status.success(), "{words:?}: {}", err(&told));
        let lines = out(&told);
        let one = |line| serde_json::from_str::<Value>(line).unwrap()["pid"].as_u64().unwrap();
        lines.lines().map(one).collect::<Vec<_>>()
    };
    assert_eq!(home.run(&["ready", "--any"]).status.code(), Some(1));
    let ci = home.start(&["--ephemeral", "--name", "ci"]);
    let pid = u64::from(ci.child.id());
    assert_eq!(
        (found(&["ready", "--name", "ci"]), found(&["status", "--name", "ci"])),
        (vec![pid], vec![pid])
    );
    assert_eq!(found(&["status", "--data-dir", ci.text("data_dir")]), [pid]);
    assert!(out(&home.run(&["env", "--name", "ci"])).contains(ci.text("namesrv")));
    let unnamed = home.run(&["status"]);
    assert!(err(&unnamed).contains("--name; there are: ci)"), "{}", err(&unnamed));
    let second = home.start(&["--ephemeral", "--name", "ci"]);
    assert_eq!((found(&["ready", "--name", "ci"]), found(&["ready", "--any"])), (vec![pid], vec![pid]));
    let (_, _, log) = second.terminate();
    assert!(log.contains("runs as ci, too"), "{log}");
    assert_eq!(found(&["ready", "--name", "ci"]), [pid], "the second one took only its own sign along");

    let kept = home.start(&["--data-dir", "elsewhere", "--name", "kept"]);
    assert_eq!(found(&["ready", "--name", "kept"]), [u64::from(kept.child.id())]);
    let alone = ["--json", "--bind", "127.0.0.1", "--set", "listenPort=0"];
    let namesrv = Started::of(home.program(&[&["namesrv"], &alone[..]].concat()));
    assert_eq!(found(&["status", "--name", "namesrv"]), [u64::from(namesrv.child.id())]);
    std::fs::write(home.path("b.conf"), "brokerName=b\nbrokerId=1\nstorePathRootDir=b\n").unwrap();
    let broker = [&["broker", "-c", "b.conf", "-n", namesrv.text("namesrv")], &alone[..]].concat();
    let broker = Started::of(home.program(&broker));
    assert_eq!(found(&["ready", "--name", "b-1"]), [u64::from(broker.child.id())]);
    let told = home.run(&["ready", "--name", "b-1"]);
    assert_eq!(out(&told), format!("ready: broker {}\n", broker.text("broker")));
    assert_eq!(found(&["ready", "--any"]).len(), 4);
    let stopped =
        ["b-1", "namesrv", "kept", "ci"].map(|name| home.run(&["stop", "--name", name]).status.code());
    assert_eq!(stopped, [Some(0); 4]);
    assert!(!home.path(".local").exists());
}

/// `ready` and `status` say what `/readyz` says: a broker whose volume is full answers everybody and takes no messages.
#[test]
fn a_full_volume_is_not_ready() {
    struct Mounted(PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(&self.0).output();
        }
    }
    let home = Home::new();
    let volume = Mounted(home.path("small"));
    std::fs::create_dir(&volume.0).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(&volume.0);
    if !mount.output().is_ok_and(|done| done.status.success()) {
        left_out("a full volume is not ready, because only root can mount a volume");
        return;
    }
    let server = home.start(&["--data-dir", "small", "--headless"]);
    let ready = home.run(&["ready", "--data-dir", "small"]);
    assert_eq!(ready.status.code(), Some(1), "{}", out(&ready));
    let reason = err(&ready);
    assert!(
        reason.contains("the broker takes no messages: the volume of ") && reason.contains("MiB left"),
        "{reason}"
    );
    let status = home.run(&["status", "--data-dir", "small"]);
    assert_eq!((status.status.code(), err(&status)), (Some(1), reason));
    assert!(out(&status).contains(server.text("broker")), "{}", out(&status));
    assert!(home.run(&["env", "--data-dir", "small"]).status.success());
    server.terminate();
}

/// `bench` finds the server that runs here, or the one of NAMESRV_ADDR; each load gets through and says how long it took.
#[test]
fn bench_measures() {
    let home = Home::new();
    let here = home.start(&[]);
    let elsewhere = home.start(&["--ephemeral", "--name", "elsewhere"]);
    let both = format!("127.0.0.1:1;{}", elsewhere.text("namesrv"));
    let bench = |words: &[&str], namesrv: Option<&str>| {
        let mut command = home.program(&[&["bench"], words, &["--messages", "1000", "--json"]].concat());
        let done = command.envs(namesrv.map(|list| ("NAMESRV_ADDR", list))).output().unwrap();
        assert!(done.status.success(), "{words:?}: {}", err(&done));
        let told: Value = serde_json::from_str(&out(&done)).unwrap();
        assert_eq!((&told["messages"], &told["errors"]), (&1000.into(), &0.into()), "{words:?}: {told}");
        let of =
            |part: &Value| ["p50_us", "p99_us", "p999_us", "max_us"].map(|key| part[key].as_f64().unwrap());
        let times = of(&told);
        assert!(times[0] > 0.0 && times.is_sorted(), "{words:?}: {told}");
        if words[0] == "latency" {
            let times = of(&told["acknowledged"]);
            assert!(times[0] > 0.0 && times.is_sorted(), "{words:?}: {told}");
        }
        err(&done)
    };
    for namesrv in [None, Some(both.as_str())] {
        bench(&["producer"], namesrv);
        bench(&["consumer"], namesrv);
    }
    // It takes more than a second, and says each second how it is.
    let latency = ["latency", "--rate", "800", "-t", "other"];
    let progress = bench(&latency, None);
    assert!(
        progress.lines().count() > 0 && progress.lines().all(|line| line.contains(" msg/s  errors 0")),
        "{progress}"
    );
    assert_eq!(bench(&[&latency[..], &["--quiet"]].concat(), Some(&both)), "");
    elsewhere.terminate();
    here.terminate();
}

/// `start` alone keeps its data below the user's, under `--name`, and says in a banner where everything is, with the lines
/// that scripts look for in Apache's.
#[tokio::test]
async fn a_banner_says_where_everything_is() {
    let home = Home::new();
    let mut command = home.program(&[&["start", "--name", "lesson"], &FREE_PORTS[..]].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let waited = home.run(&["ready", "--wait", "20", "--name", "lesson", "--json"]);
    let said: Value = serde_json::from_str(&out(&waited)).unwrap();
    let (namesrv, broker) = (said["namesrv"].as_str().unwrap(), said["broker"].as_str().unwrap());
    let dir = home.path(".local/share/rmq-lite/lesson");
    assert_eq!((said["name"].as_str(), said["data_dir"].as_str()), (Some("lesson"), dir.to_str()));
    assert_eq!(home.run(&["status"]).status.code(), Some(1), "that would be the one called default");
    assert!(home.run(&["stop", "--name", "lesson"]).status.success());
    let banner = rest(child.stdout.take().unwrap());
    assert!(child.wait().unwrap().success());
    for line in [
        format!("  NameServer {namesrv}"),
        format!("  broker     {broker}   ("),
        format!("  console    {}", said["web"].as_str().unwrap()),
        format!("  store      {}/broker   (kept)", dir.display()),
        format!("  process    {}", said["pid"]),
        format!("  export NAMESRV_ADDR={namesrv}"),
        format!("The Name Server boot success. serializeType=JSON, address {namesrv}"),
        "The broker[".to_owned(),
        format!(", {broker}] boot success. serializeType=JSON and name server is {namesrv}"),
    ] {
        assert!(banner.contains(&line), "no {line:?} in\n{banner}");
    }
}

/// `--ephemeral` leaves nothing behind, `--headless` has no console, `--bind` and `--advertise` say who can reach the broker
/// and by which name.
#[tokio::test]
async fn where_it_listens() {
    let home = Home::new();
    let server =
        home.start(&["--ephemeral", "--headless", "--bind", "127.0.0.3", "--advertise", "broker.example:77"]);
    assert_eq!((&server.said["web"], &server.said["ephemeral"]), (&Value::Null, &Value::Bool(true)));
    assert!(server.said["env"]["RMQ_LITE_WEB"].is_null());
    let (namesrv, dir) = (server.text("namesrv").to_owned(), PathBuf::from(server.text("data_dir")));
    assert!(namesrv.starts_with("127.0.0.3:") && dir.starts_with(home.0.path()) && dir.exists());
    assert_eq!(route(&namesrv, "TBW102").await.broker_datas[0].broker_addrs[&0], "broker.example:77");
    let elsewhere = namesrv.replace("127.0.0.3", "127.0.0.4"); // on which no other test listens
    assert!(Client::connect(&elsewhere, &Clock::new(), &Lifecycle::new()).await.is_err());
    let (code, more, _) = server.terminate();
    assert_eq!((code, more.as_str()), (Some(0), ""), "one line is all");
    assert!(!dir.exists(), "{}", dir.display());
}

/// `-c`, `RMQ_LITE_<key>`, a flag's variable, the flag and `--set`: the stronger one wins; `--timings` moves the defaults alone.
#[tokio::test]
async fn configuration_from_everywhere() {
    let home = Home::new();
    let file =
        "brokerName=from-file\nbrokerClusterName=file-cluster\nfileReservedTime=11\ntransactionCheckMax=3\n";
    std::fs::write(home.path("broker.conf"), file).unwrap();
    let mut command = home.program(
        &[
            &[
                "start",
                "--json",
                "-c",
                "broker.conf",
                "--set",
                "fileReservedTime=33",
                "--timings",
                "apache",
                "--ephemeral",
            ],
            &FREE_PORTS[..],
        ]
        .concat(),
    );
    command.env("RMQ_LITE_fileReservedTime", "22").env("RMQ_LITE_brokerClusterName", "of-the-environment");
    command.env("RMQ_LITE_NAME", "named").env("RMQ_LITE_HEADLESS", "true");
    let server = Started::of(command);
    assert_eq!((server.text("name"), &server.said["web"]), ("named", &Value::Null));
    let keys = broker_config(server.text("broker")).await;
    for (key, value) in [
        ("brokerName", "from-file"),
        ("brokerClusterName", "of-the-environment"),
        ("fileReservedTime", "33"),
        ("transactionCheckMax", "3"),
        ("transactionTimeOut", "6000"),
        ("traceTopicEnable", "false"),
    ] {
        assert_eq!(keys.get(key).map(String::as_str), Some(value), "{key}");
    }
    server.terminate();
    let fast = home.start(&["--ephemeral"]);
    let keys = broker_config(fast.text("broker")).await;
    assert_eq!((&*keys["transactionTimeOut"], &*keys["traceTopicEnable"]), ("2000", "true"));
}

/// `--strict-topics` makes no topic by asking for it, and the log names the one that was meant.
#[tokio::test]
async fn strict_topics() {
    let home = Home::new();
    let server = home.start(&["--ephemeral", "--strict-topics"]);
    let create = [
        ("topic", "Orders"),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "1"),
        ("writeQueueNums", "1"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("order", "false"),
    ];
    assert_eq!(ask(server.text("broker"), request::UPDATE_AND_CREATE_TOPIC, &create).await.code, 0);
    let answer = ask(server.text("namesrv"), request::GET_ROUTEINFO_BY_TOPIC, &[("topic", "Oders")]).await;
    assert_eq!(answer.code, response::TOPIC_NOT_EXIST);
    let (_, _, log) = server.terminate();
    assert!(log.contains("did you mean Orders?"), "{log}");
}

/// `--log` and its variable choose what standard error tells; what is no filter is said, and info it is.
#[tokio::test]
async fn the_log_has_levels() {
    let home = Home::new();
    let told = |flags: &[&str], variable: Option<&str>| {
        let mut command =
            home.program(&[&["start", "--json", "--ephemeral"], &FREE_PORTS[..], flags].concat());
        command.envs(variable.map(|level| ("RMQ_LITE_LOG", level)));
        Started::of(command).terminate().2
    };
    let (info, error) = (told(&[], None), told(&["--log", "error"], None));
    assert!(info.contains(" INFO ") && !info.contains("DEBUG"), "{info}");
    assert_eq!(error, "");
    for debug in [told(&["--log", "debug"], None), told(&[], Some("rmq_lite=debug"))] {
        assert!(debug.contains("DEBUG") && debug.contains(" INFO "), "{debug}");
    }
    let wrong = told(&["--log", "rmq_lite=loud"], None);
    assert!(
        wrong.contains("the log filter 'rmq_lite=loud' is not understood") && wrong.contains(" INFO "),
        "{wrong}"
    );
}

/// What a person can mend before trying again is one line and exit code 2, and nothing is left behind.
#[test]
fn refused_starts() {
    let home = Home::new();
    let server = home.start(&["--ephemeral"]);
    let port_of = |name| server.text(name).rsplit_once(':').unwrap().1.to_owned();
    let (namesrv, broker, web) = (port_of("namesrv"), port_of("broker"), port_of("web"));
    std::fs::write(home.path("plain-file"), "").unwrap();
    std::fs::write(home.path("bad.conf"), "brokerName=b\n\nlistenPort=ten\n").unwrap();
    std::fs::create_dir(home.path("directory")).unwrap();
    let cases: [(&[&str], &[&str]); 9] = [
        (&["--namesrv-port", &namesrv], &[&namesrv, "--namesrv-port"]),
        (&["--namesrv-port", "0", "--broker-port", &broker], &[&broker, "--broker-port"]),
        (&["--namesrv-port", "0", "--broker-port", "0", "--web-port", &web], &[&web, "--web-port"]),
        (&["--data-dir", "plain-file/data"], &["plain-file/data", "--data-dir"]),
        (&["-c", "absent.conf"], &["absent.conf"]),
        (&["-c", "bad.conf"], &["bad.conf:3", "listenPort=ten"]),
        (&["--set", "flushDiskType=SOMETIMES"], &["flushDiskType=SOMETIMES", "SYNC_FLUSH"]),
        (&["--ports-file", "no/such/dir/ports.json"], &["no/such/dir/ports.json"]),
        (&["--ports-file", "directory"], &["cannot write directory"]),
    ];
    for (flags, named) in cases {
        let free = if flags.contains(&"--namesrv-port") { &[][..] } else { &FREE_PORTS[..] };
        let data = if flags.contains(&"--data-dir") { &[][..] } else { &["--data-dir", "fresh"][..] };
        let refused = home.run(&[&["start"], flags, free, data].concat());
        let told = err(&refused);
        assert_eq!((refused.status.code(), out(&refused).as_str()), (Some(2), ""), "{flags:?}: {told}");
        let complaint: Vec<&str> = told.lines().filter(|line| line.starts_with("rmq-lite: ")).collect();
        assert_eq!(complaint.len(), 1, "{flags:?}: {told}");
        assert!(named.iter().all(|word| complaint[0].contains(word)), "{named:?}: {told}");
        assert!(!home.path("fresh").exists(), "{flags:?} leaves something behind");
    }
    // What is only strange is said, and does not keep anybody from starting.
    let strange = home.start(&["--ephemeral", "--set", "brokerNmae=x"]);
    let (code, _, told) = strange.terminate();
    assert_eq!(code, Some(0));
    assert!(
        told.contains("brokerNmae is not a known key and is ignored; did you mean brokerName?"),
        "{told}"
    );
}

/// `run`: a server of its own around a command, which finds it in its environment and says how it all ends.
#[test]
fn run_around_a_command() {
    let home = Home::new();
    let script = format!("for name in {}; do eval echo $name=\\$$name; done; exit 7", ENVIRONMENT.join(" "));
    let ran = home.run(&["run", "--", "sh", "-ec", &script]);
    assert_eq!(ran.status.code(), Some(7), "{}", err(&ran));
    let told = properties(&out(&ran));
    let addresses: Vec<&str> = ENVIRONMENT.iter().map(|name| told[*name].as_str()).collect();
    assert!(addresses.iter().all(|address| address.contains("127.0.0.1:")), "{told:?}");
    assert_eq!((addresses[0], addresses[0]), (addresses[1], addresses[2]));
    let left: Vec<_> = std::fs::read_dir(home.0.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");

    // Inside it the server is there, and a second one does not get in its way.
    let program = env!("CARGO_BIN_EXE_rmq-lite");
    let nested =
        format!("{program} run -- sh -ec 'echo $NAMESRV_ADDR'; echo $NAMESRV_ADDR; {program} dlq list");
    let ran = home.run(&["run", "--timings", "apache", "--", "sh", "-ec", &nested]);
    assert_eq!(ran.status.code(), Some(0), "{}", err(&ran));
    let lines = out(&ran);
    let mut lines = lines.lines();
    assert_ne!(lines.next().unwrap(), lines.next().unwrap());

    let killed = home.run(&["run", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(killed.status.code(), Some(137), "as a shell says it");
    let absent = home.run(&["run", "--", "no-such-program"]);
    assert_eq!(absent.status.code(), Some(2));
    assert!(err(&absent).contains("cannot run no-such-program"), "{}", err(&absent));
}

/// A supervisor's SIGTERM goes on to the command of `run`, which may still use the server for its farewell.
#[test]
fn run_passes_the_signal_on() {
    let home = Home::new();
    let script = format!(
        "trap '{} dlq list && echo bye && exit 5' TERM; echo up; while :; do sleep 0.02; done",
        env!("CARGO_BIN_EXE_rmq-lite")
    );
    let mut command = home.program(&["run", "--", "sh", "-c", &script]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    signal(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(5), "{}", rest(child.stderr.take().unwrap()));
    assert!(rest(stdout).ends_with("bye\n"));
}

/// The roles alone, by their commands and by the names of Apache's scripts: two NameServers of which each knows the broker,
/// Apache's ready lines, and the lists of keys.
#[tokio::test]
async fn roles_by_the_names_of_scripts() {
    let home = Home::new();
    for name in ["mqnamesrv", "mqbroker"] {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rmq-lite"), home.path(name)).unwrap();
    }
    let script = |name: &str, words: &[&str]| home.called(&home.path(name), words);
    std::fs::write(home.path("ns.conf"), "kvConfigPath=kv/one.json\norderMessageEnable=true\nlistenPort=0\n")
        .unwrap();
    let one = Started::of(script(
        "mqnamesrv",
        &["-c", "ns.conf", "--json", "--bind", "127.0.0.1", "-n", "without:1"],
    ));
    let other = Started::of(home.program(&[
        "namesrv",
        "--port",
        "0",
        "--json",
        "--bind",
        "127.0.0.1",
        "--set",
        "kvConfigPath=kv/other.json",
    ]));
    assert!(one.said["broker"].is_null() && one.said["web"].is_null());
    let config = ask(one.text("namesrv"), request::GET_NAMESRV_CONFIG, &[]).await;
    let config = properties(std::str::from_utf8(&config.body).unwrap());
    assert_eq!((&*config["orderMessageEnable"], &*config["kvConfigPath"]), ("true", "kv/one.json"));

    let both = format!("{};{}", one.text("namesrv"), other.text("namesrv"));
    std::fs::write(
        home.path("broker.conf"),
        "brokerName=b\nlistenPort=0\nstorePathRootDir=store\nbrokerIP1=127.0.0.1\n",
    )
    .unwrap();
    let mut broker = script("mqbroker", &["-c", "broker.conf", "--bind", "127.0.0.1", "-n", &both])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(broker.stdout.take().unwrap()).lines().map(Result::unwrap);
    let boot = lines.find(|line| line.contains("boot success")).expect("the line that scripts wait for");
    assert!(boot.starts_with("The broker[b, 127.0.0.1:"), "{boot}");
    assert!(
        boot.ends_with(&format!("] boot success. serializeType=JSON and name server is {both}")),
        "{boot}"
    );
    // It is ready when the first of the two knows it.
    for namesrv in [&one, &other] {
        until(namesrv.text("namesrv"), response::SUCCESS).await;
        assert_eq!(route(namesrv.text("namesrv"), "TBW102").await.queue_datas[0].broker_name, "b");
    }
    signal(broker.id(), "TERM");
    assert!(broker.wait().unwrap().success());
    for namesrv in [&one, &other] {
        until(namesrv.text("namesrv"), response::TOPIC_NOT_EXIST).await;
    }

    let cores = std::thread::available_parallelism().unwrap().get();
    let all = properties(&out(&script("mqbroker", &["-c", "broker.conf", "-p"]).output().unwrap()));
    let important = properties(&out(&script("mqbroker", &["-c", "broker.conf", "-m"]).output().unwrap()));
    assert_eq!(
        (&*all["brokerName"], &*all["pullMessageThreadPoolNums"], &*all["fileReservedTime"]),
        ("b", &*(16 + 2 * cores).to_string(), "72")
    );
    assert_eq!((&*important["fileReservedTime"], important.get("pullMessageThreadPoolNums")), ("72", None));
    let keys = properties(&out(&script("mqnamesrv", &["-c", "ns.conf", "-p"]).output().unwrap()));
    assert_eq!(
        (&*keys["orderMessageEnable"], &*keys["deleteTopicWithBrokerRegistration"]),
        ("true", "false")
    );
    let refused = script("mqbroker", &["-c", "absent.conf"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(err(&refused).starts_with("rmq-lite: cannot read the configuration file"), "{}", err(&refused));
}
