//! Two measurements that are no load: the time from exec to the first acknowledged message, and the memory
//! that idle connections cost.
//!
//! In: a command to run, or a broker to connect to. Out: one figure each. The command is stopped again with
//! SIGTERM, and with SIGKILL when it does not end; processes that it left behind are its own business.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::connection::Connection;
use super::frame::{SendFrame, code};
use super::process::Processes;

/// Pause between two attempts to connect; small beside the milliseconds that are measured.
const RETRY_PAUSE: Duration = Duration::from_micros(200);
const STOP_WAIT: Duration = Duration::from_secs(10);
/// After the last connection is open, and again before reading memory, the server gets this long to settle.
const SETTLE: Duration = Duration::from_secs(1);

/// Starts `command` and sends one message again and again until it is acknowledged. Returns how long that
/// took from just before exec; refuses when the command ends first or `limit` passes.
pub(super) fn first_acknowledged(
    broker: SocketAddr,
    topic: &str,
    command: &[String],
    limit: Duration,
) -> anyhow::Result<Duration> {
    if TcpStream::connect(broker).is_ok() {
        bail!("something already listens on {broker}");
    }
    let frame = SendFrame::new(topic, 1, 1, 4, 1_024);
    let started = Instant::now();
    let mut child = spawn(command)?;
    let result = loop {
        if send_one(broker, &frame).is_ok() {
            break Ok(started.elapsed());
        }
        if started.elapsed() > limit {
            break Err(anyhow::anyhow!("no message was acknowledged within {} s", limit.as_secs()));
        }
        if let Some(status) = child.try_wait()? {
            bail!("{} ended with {status} before it acknowledged a message", command[0]);
        }
        std::thread::sleep(RETRY_PAUSE);
    };
    stop(&mut child)?;
    result
}

/// Starts a server in the background; what it prints on stdout is lost.
pub(super) fn spawn(command: &[String]) -> anyhow::Result<Child> {
    let (program, arguments) = command.split_first().context("a command to start is missing")?;
    let mut process = Command::new(program);
    process.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    process.spawn().with_context(|| format!("cannot start {program}"))
}

fn send_one(broker: SocketAddr, frame: &SendFrame) -> anyhow::Result<()> {
    let stream = TcpStream::connect(broker)?;
    Connection::over(stream)?.call(frame.bytes(), |answer| match answer.code {
        code::SUCCESS => Ok(()),
        other => bail!("code {other}: {}", answer.remark()),
    })
}

/// Ends a server that [`spawn`] started.
pub(super) fn stop(child: &mut Child) -> anyhow::Result<()> {
    let pid = Pid::from_child(child);
    if child.try_wait()?.is_none() {
        kill_process(pid, Signal::TERM)?;
    }
    let asked = Instant::now();
    while child.try_wait()?.is_none() {
        if asked.elapsed() > STOP_WAIT {
            child.kill()?;
            child.wait()?;
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The memory of a server with and without idle connections, in KiB.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(super) struct IdleMemory {
    connections: u32,
    /// Before the first of them.
    before_kib: u64,
    /// With connections that have sent nothing.
    silent_kib: u64,
    /// After each of them has sent one message and got its answer.
    used_kib: u64,
    silent_kib_each: f64,
    used_kib_each: f64,
}

/// Opens `count` connections, reads the server's anonymous memory, sends one message over each, reads again.
pub(super) fn idle_memory(
    broker: SocketAddr,
    topic: &str,
    count: u32,
    size: usize,
    server: &Processes,
) -> anyhow::Result<IdleMemory> {
    if server.is_empty() {
        bail!("--server-pid is missing: whose memory is to be read?");
    }
    let frame = SendFrame::new(topic, 1, 1, 4, size);
    send_one(broker, &frame)?;
    std::thread::sleep(SETTLE);
    let before_kib = server.anonymous_kib()?;
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(Connection::open(broker)?);
    }
    std::thread::sleep(SETTLE);
    let silent_kib = server.anonymous_kib()?;
    for connection in &mut connections {
        connection.call(frame.bytes(), |answer| match answer.code {
            code::SUCCESS => Ok(()),
            other => bail!("code {other}: {}", answer.remark()),
        })?;
    }
    std::thread::sleep(SETTLE);
    let used_kib = server.anonymous_kib()?;
    let each = |now: u64| (now as f64 - before_kib as f64) / f64::from(count);
    Ok(IdleMemory {
        connections: count,
        before_kib,
        silent_kib,
        used_kib,
        silent_kib_each: each(silent_kib),
        used_kib_each: each(used_kib),
    })
}

impl IdleMemory {
    /// Prints the figures on stdout.
    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
        } else {
            println!("{} idle connections: {:.1} KiB each before", self.connections, self.silent_kib_each);
            println!("  and {:.1} KiB each after one message over each of them", self.used_kib_each);
            println!("  the server's anonymous memory without them: {} KiB", self.before_kib);
        }
        Ok(())
    }
}
