//! `ready`, `status`, `stop` and `env`: questions to a server that runs on this machine, and how others find it.
//!
//! The server is found by the file that it keeps while it runs ([`super::whereabouts`]), and asked over the wire, so
//! the answer is what a client would get.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Signal, kill_process};

use super::args::{Instance, InstanceArgs, ReadyArgs, StopArgs};
use super::whereabouts::{self, find};
use crate::broker::REFUSAL_KEY;
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
        let asked =
            if args.any { ask_all(&clock).await } else { ask(&directory, &clock).await.map(|it| vec![it]) };
        let takes =
            |servers: Vec<Asked>| servers.iter().try_for_each(Asked::takes_messages).map(|()| servers);
        match asked.and_then(takes) {
            Ok(servers) => {
                for Asked { endpoints, .. } in servers {
                    match (&endpoints.namesrv, &endpoints.broker) {
                        _ if args.json => println!("{}", serde_json::to_string(&endpoints)?),
                        (Some(address), _) => println!("ready: NameServer {address}"),
                        (None, address) => println!("ready: broker {}", address.as_deref().unwrap_or("-")),
                    }
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
    let asked = ask(&directory, &Clock::new()).await;
    let ready = asked
        .as_ref()
        .map_err(|cause| format!("{cause:#}"))
        .and_then(|asked| asked.takes_messages().map_err(|cause| format!("{cause:#}")));
    let Asked { endpoints, runtime } = match asked {
        Ok(asked) => asked,
        // Its process is there: a broker may have been stopped by order.
        Err(_) => Asked { endpoints: find(&directory)?.endpoints, runtime: KVTable::default() },
    };
    if let Err(cause) = &ready {
        eprintln!("rmq-lite: not ready: {cause}");
    }
    let code = if ready.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
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
    let number = |key: &str| figure(key).parse::<f64>().ok();
    let known = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    // As clusterList reckons it.
    let today =
        number("msgPutTotalTodayNow").zip(number("msgPutTotalTodayMorning")).map(|(now, then)| now - then);
    let used = number("commitLogDiskRatio").map(|ratio| format!("{:.0} %", ratio * 100.0));
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
                known(today.map(|today| today.to_string()))
            ),
        ),
        ("log", format!("from {} to {}", figure("commitLogMinOffset"), figure("commitLogMaxOffset"))),
        ("slaves", slaves),
        ("disk used", known(used)),
    ];
    lines.map(|(name, value)| format!("{name:<11}{value}\n")).concat()
}

/// `rmq-lite env`: lines for a shell's `eval`.
pub(super) async fn env(args: InstanceArgs) -> anyhow::Result<ExitCode> {
    let Asked { endpoints, .. } = ask(&args.instance.dir()?, &Clock::new()).await?;
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
    let server = find(&directory)?;
    let pid = server.endpoints.pid;
    let process = whereabouts::process(pid).context("the server's file holds no process id")?;
    kill_process(process, Signal::TERM).with_context(|| format!("cannot signal process {pid}"))?;
    let until_ms = clock.now_ms() + STOP_LIMIT.as_millis() as i64;
    while server.is_running() {
        if clock.now_ms() >= until_ms {
            bail!("process {pid} has not ended after {} s", STOP_LIMIT.as_secs());
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
    find(&instance.dir()?)?.endpoints.web.context("that server runs without its HTTP interface (--headless)")
}

/// Returns the NameServers that an administrator means: those named, else that of the server that runs with this user's
/// data directory, else Apache's default on this machine.
pub(super) fn name_servers(named: Option<String>) -> String {
    let told = |name| std::env::var(name).ok();
    let (name, data_dir) = (told("RMQ_LITE_NAME"), told("RMQ_LITE_DATA_DIR").map(Into::into));
    let running = || find(&Instance { name, data_dir }.dir().ok()?).ok()?.endpoints.namesrv;
    named.or_else(running).unwrap_or_else(|| "127.0.0.1:9876".to_owned())
}

/// A server that answers, and the figures of its broker.
struct Asked {
    endpoints: Endpoints,
    runtime: KVTable,
}

impl Asked {
    /// Fails with the reason when its broker refuses messages.
    fn takes_messages(&self) -> anyhow::Result<()> {
        match self.runtime.table.get(REFUSAL_KEY) {
            Some(reason) => bail!("the broker takes no messages: {reason}"),
            None => Ok(()),
        }
    }
}

/// Asks every server that runs under a name; fails when one is not ready, and when there is none.
async fn ask_all(clock: &Clock) -> anyhow::Result<Vec<Asked>> {
    let mut asked = Vec::new();
    for directory in whereabouts::all() {
        asked.push(ask(&directory, clock).await?);
    }
    if asked.is_empty() {
        bail!("no server runs here");
    }
    Ok(asked)
}

/// Asks the NameServer for a route and the broker for its figures, as a client would.
async fn ask(directory: &Path, clock: &Clock) -> anyhow::Result<Asked> {
    let (endpoints, life) = (find(directory)?.endpoints, Lifecycle::new());
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
    Ok(Asked { endpoints, runtime })
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ("msgPutTotalTodayMorning", "27"),
            ("msgPutTotalTodayNow", "42"),
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
        let told = text(&endpoints, &KVTable::default());
        for line in ["put        - today; -/s in 10 s, -/s in 1 min, -/s in 10 min", "disk used  -"] {
            assert!(told.lines().any(|told| told == line), "of a broker that is stopped: {line}\n{told}");
        }
    }
}
