//! `ready`, `status`, `stop` and `env`: questions to a server that runs on this machine, and how others find it.
//!
//! The server is found by the file it keeps in its data directory while it runs, and asked over the wire, so
//! the answer is what a client would get.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::args::{Instance, InstanceArgs, ReadyArgs, StopArgs};
use super::start::{SERVER_FILE, STARTING_FILE, Starting};
use crate::clock::Clock;
use crate::lifecycle::Lifecycle;
use crate::remoting::client::Client;
use crate::server::Endpoints;
use crate::wire::body::kv::KVTable;
use crate::wire::code::{request, response};
use crate::wire::command::Request;
use crate::wire::fastjson;
use crate::wire::fields::NoHeader;
use crate::wire::header::route::GetRouteInfoRequestHeader;

/// Limit of one question.
const ASK_LIMIT: Duration = Duration::from_secs(2);
/// How often a server that is not ready yet is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// Time that a server gets to stop.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// `rmq-lite ready`: 0 when clients can use the server, 1 when not.
pub(super) async fn ready(args: ReadyArgs) -> anyhow::Result<ExitCode> {
    let (directory, clock) = (args.instance.dir()?, Clock::new());
    let until_ms = clock.now_ms() + args.wait as i64 * 1000;
    loop {
        match ask(&directory, &clock).await {
            Ok((endpoints, _)) => {
                if args.json {
                    println!("{}", serde_json::to_string(&endpoints)?);
                } else {
                    println!("ready: NameServer {}", endpoints.namesrv.as_deref().unwrap_or("-"));
                }
                return Ok(ExitCode::SUCCESS);
            }
            Err(cause) if clock.now_ms() >= until_ms => {
                eprintln!("rmq-lite: not ready: {cause:#}");
                return Ok(ExitCode::FAILURE);
            }
            Err(_) => clock.sleep(ASK_AGAIN).await,
        }
    }
}

/// `rmq-lite status`: where a running server listens and how it is.
pub(super) async fn status(args: InstanceArgs) -> anyhow::Result<ExitCode> {
    let directory = args.instance.dir()?;
    let (endpoints, runtime, code) = match ask(&directory, &Clock::new()).await {
        Ok((endpoints, runtime)) => (endpoints, runtime, ExitCode::SUCCESS),
        // Its process is there: a broker may have been stopped by order.
        Err(cause) => {
            let endpoints = find(&directory)?;
            eprintln!("rmq-lite: not ready: {cause:#}");
            (endpoints, KVTable::default(), ExitCode::FAILURE)
        }
    };
    if args.json {
        let mut object = serde_json::to_value(&endpoints)?;
        object["runtime"] = serde_json::to_value(&runtime.table)?;
        println!("{object}");
    } else {
        print!("{}", text(&endpoints, &runtime));
    }
    Ok(code)
}

/// What `status` tells a person.
fn text(endpoints: &Endpoints, runtime: &KVTable) -> String {
    let figure = |key: &str| runtime.table.get(key).map_or("-", String::as_str);
    let number = |key: &str| figure(key).parse::<f64>().unwrap_or(0.0);
    // "[ 0 days, 0 hours, 7 minutes, 48 seconds ]": what is nothing yet is left out.
    let parts = figure("runtime").trim_matches(['[', ']', ' ']).split(", ");
    let running: Vec<_> =
        parts.skip_while(|part| part.starts_with("0 ") && !part.ends_with("seconds")).collect();
    let rates: Vec<_> = figure("putTps").split(' ').collect();
    let [ten_seconds, minute, ten_minutes] = rates[..].try_into().unwrap_or(["-"; 3]);
    let slaves = match figure("haSlaveNums") {
        "0" | "-" => "none".to_owned(),
        slaves => format!(
            "{} of {slaves} in sync, {} bytes and {} ms behind{}",
            figure("haInSyncSlaveNums"),
            figure("haSlaveBehindBytes"),
            figure("haSlaveBehindMs"),
            if figure("haPaused") == "true" { ", paused" } else { "" }
        ),
    };
    let lines = [
        ("name", endpoints.name.clone()),
        ("NameServer", endpoints.namesrv.clone().unwrap_or("-".to_owned())),
        ("broker", endpoints.broker.clone().unwrap_or("-".to_owned())),
        ("slave", endpoints.slave.clone().unwrap_or("-".to_owned())),
        ("console", endpoints.web.clone().unwrap_or("-".to_owned())),
        ("data", endpoints.data_dir.display().to_string()),
        ("process", endpoints.pid.to_string()),
        ("running", running.join(", ")),
        (
            "put",
            format!(
                "{} today; {ten_seconds}/s in 10 s, {minute}/s in 1 min, {ten_minutes}/s in 10 min",
                number("msgPutTotalTodayNow")
            ),
        ),
        ("log", format!("from {} to {}", figure("commitLogMinOffset"), figure("commitLogMaxOffset"))),
        ("slaves", slaves),
        ("disk used", format!("{:.0} %", number("commitLogDiskRatio") * 100.0)),
    ];
    lines.map(|(name, value)| format!("{name:<11}{value}\n")).concat()
}

/// `rmq-lite env`: lines for a shell's `eval`.
pub(super) async fn env(args: InstanceArgs) -> anyhow::Result<ExitCode> {
    let (endpoints, _) = ask(&args.instance.dir()?, &Clock::new()).await?;
    if args.json {
        println!("{}", serde_json::to_string(&endpoints.env)?);
    } else {
        for (name, value) in &endpoints.env {
            println!("export {name}={value}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `rmq-lite stop`: asks a server to end and waits until it has.
pub(super) async fn stop(args: StopArgs) -> anyhow::Result<ExitCode> {
    let (directory, clock) = (args.instance.dir()?, Clock::new());
    let endpoints = find(&directory)?;
    let pid = Pid::from_raw(endpoints.pid as i32).context("the server's file holds no process id")?;
    kill_process(pid, Signal::TERM).with_context(|| format!("cannot signal process {}", endpoints.pid))?;
    let until_ms = clock.now_ms() + STOP_LIMIT.as_millis() as i64;
    while !has_ended(pid) {
        if clock.now_ms() >= until_ms {
            bail!("process {} has not ended after {} s", endpoints.pid, STOP_LIMIT.as_secs());
        }
        clock.sleep(ASK_AGAIN).await;
    }
    println!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Finds the HTTP interface of a server, as a URL: the one of $RMQ_LITE_WEB unless a server is named.
pub(super) fn web(instance: &Instance) -> anyhow::Result<String> {
    if instance.name.is_none()
        && instance.data_dir.is_none()
        && let Ok(web) = std::env::var("RMQ_LITE_WEB")
    {
        return Ok(web);
    }
    find(&instance.dir()?)?.web.context("that server runs without its HTTP interface (--headless)")
}

/// Returns the NameServers that an administrator means: those named, else that of the server that runs with this user's
/// data directory, else Apache's default on this machine.
pub(super) fn name_servers(named: Option<String>) -> String {
    let told = |name| std::env::var(name).ok();
    let (name, data_dir) = (told("RMQ_LITE_NAME"), told("RMQ_LITE_DATA_DIR").map(Into::into));
    let running = || find(&Instance { name, data_dir }.dir().ok()?).ok()?.namesrv;
    named.or_else(running).unwrap_or_else(|| "127.0.0.1:9876".to_owned())
}

/// Finds the server of a data directory; one that is only starting is an error that says what it is at.
fn find(directory: &Path) -> anyhow::Result<Endpoints> {
    find_ready(directory).or_else(|cause| match find_starting(directory) {
        Some(Starting { pid, doing }) => {
            bail!("the server of {} (process {pid}) is starting: {doing}", directory.display())
        }
        None => Err(cause),
    })
}

fn find_starting(directory: &Path) -> Option<Starting> {
    let text = std::fs::read_to_string(directory.join(STARTING_FILE)).ok()?;
    let starting: Starting = serde_json::from_str(&text).ok()?;
    Pid::from_raw(starting.pid as i32).is_some_and(|pid| !has_ended(pid)).then_some(starting)
}

fn find_ready(directory: &Path) -> anyhow::Result<Endpoints> {
    let file = directory.join(SERVER_FILE);
    let text = std::fs::read_to_string(&file).with_context(|| {
        format!(
            "no server runs with the data directory {} (start one, or name it with --name)",
            directory.display()
        )
    })?;
    let endpoints: Endpoints =
        serde_json::from_str(&text).with_context(|| format!("cannot read {}", file.display()))?;
    if Pid::from_raw(endpoints.pid as i32).is_none_or(has_ended) {
        bail!("the server with the data directory {} was killed; start it again", directory.display());
    }
    Ok(endpoints)
}

/// Says whether a process has ended; one whose parent has not looked yet keeps its number, and is a zombie ("Z").
fn has_ended(pid: Pid) -> bool {
    let stat = || std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok();
    test_kill_process(pid).is_err() || stat().is_some_and(|stat| stat.contains(") Z "))
}

/// Asks the NameServer for a route and the broker for its figures, as a client would.
async fn ask(directory: &Path, clock: &Clock) -> anyhow::Result<(Endpoints, KVTable)> {
    let (endpoints, life) = (find(directory)?, Lifecycle::new());
    if let Some(address) = &endpoints.namesrv {
        let client =
            Client::connect(address, clock, &life).await.context("the NameServer does not listen")?;
        // The template of new topics is in the route as soon as a broker has registered.
        let header = GetRouteInfoRequestHeader {
            topic: "TBW102".into(),
            accept_standard_json_only: Some(true),
            zone_mode: None,
            zone_name: None,
        };
        let answer = client.call(Request::new(request::GET_ROUTEINFO_BY_TOPIC, &header), ASK_LIMIT).await?;
        if answer.code == response::SYSTEM_ERROR {
            bail!("the NameServer answers: {}", answer.remark.as_deref().unwrap_or_default());
        }
    }
    let mut runtime = KVTable::default();
    if let Some(address) = &endpoints.broker {
        let client = Client::connect(address, clock, &life).await.context("the broker does not listen")?;
        let answer =
            client.call(Request::new(request::GET_BROKER_RUNTIME_INFO, &NoHeader), ASK_LIMIT).await?;
        if answer.code != response::SUCCESS {
            bail!("the broker answers: {}", answer.remark.as_deref().unwrap_or_default());
        }
        runtime = fastjson::from_slice(&answer.body)?;
    }
    Ok((endpoints, runtime))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// While a server starts it is not found, and whoever asks hears what it is at; also where one was killed before. One
    /// whose start was killed says nothing.
    #[test]
    fn a_server_that_starts() {
        let dir = tempfile::tempdir().unwrap();
        let tell = |pid: u32| {
            let starting = Starting { pid, doing: "checking messages: 37 %".to_owned() };
            std::fs::write(dir.path().join(STARTING_FILE), serde_json::to_string(&starting).unwrap())
                .unwrap();
            format!("{:#}", find(dir.path()).unwrap_err())
        };
        let told = tell(std::process::id());
        assert!(
            told.ends_with(&format!("(process {}) is starting: checking messages: 37 %", std::process::id())),
            "{told}"
        );
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let told = tell(ended.id());
        assert!(told.contains("no server runs"), "{told}");
        std::fs::write(dir.path().join(SERVER_FILE), "{}").unwrap();
        assert!(tell(std::process::id()).contains("is starting"));
    }

    /// A person reads figures with their units, and nothing that is not there.
    #[test]
    fn status_for_a_person() {
        let endpoints = serde_json::json!({
            "pid": 7, "name": "default", "namesrv": "127.0.0.1:9876", "broker": "127.0.0.1:10911", "broker_fast": null,
            "broker_ha": null, "slave": null, "grpc": null, "web": null, "data_dir": "/data", "ephemeral": false,
            "startup_ms": 9, "env": {},
        });
        let endpoints: Endpoints = serde_json::from_value(endpoints).unwrap();
        let mut runtime = KVTable::default();
        for (key, value) in [
            ("runtime", "[ 0 days, 0 hours, 7 minutes, 48 seconds ]"),
            ("putTps", "1.5 0.3 0.0"),
            ("msgPutTotalTodayNow", "15"),
            ("commitLogMinOffset", "0"),
            ("commitLogMaxOffset", "4096"),
            ("commitLogDiskRatio", "0.868905269298735"),
            ("haSlaveNums", "0"),
        ] {
            runtime.table.insert(key.to_owned(), value.to_owned());
        }
        let told = text(&endpoints, &runtime);
        for line in [
            "running    7 minutes, 48 seconds",
            "put        15 today; 1.5/s in 10 s, 0.3/s in 1 min, 0.0/s in 10 min",
            "log        from 0 to 4096",
            "slaves     none",
            "disk used  87 %",
            "console    -",
        ] {
            assert!(told.lines().any(|told| told == line), "{line}\n{told}");
        }
    }
}
