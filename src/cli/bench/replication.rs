//! How fast a slave gets what its master has.
//!
//! In: a master, and perhaps a command that starts a slave. Out: the megabytes a second from the first acknowledgement
//! of the slave that the master tells of to the one of its whole log, and the time from the start. The master is asked
//! every five milliseconds (GET_BROKER_HA_STATUS), which costs it little beside what it sends. The slave's own store is not
//! looked at: what it reports it has appended.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::connection::Connection;
use super::frame::{code, push_request};
use super::probe::{spawn, stop};
use super::process::Processes;

/// Pause between two questions.
const ASK_PAUSE: Duration = Duration::from_millis(5);

/// A slave's way to the end of its master's log.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(super) struct CatchUp {
    /// Bytes that came after the first acknowledgement that was seen.
    bytes: i64,
    /// How long they took.
    seconds: f64,
    /// 10⁶ bytes a second; 0 when the slave was at the end when it was first seen.
    mb_per_second: f64,
    /// CPU time of the slave per megabyte of these; only for a command, which then has to be the slave itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    slave_cpu_us_per_mb: Option<f64>,
    /// CPU time of the master per megabyte of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    master_cpu_us_per_mb: Option<f64>,
    /// From the start of the command, or of this one, to the slave's having everything.
    caught_up_ms: f64,
}

/// Waits until `slaves` slaves have the whole log of a master. With a command, starts it first and stops it in the
/// end. Refuses when `limit` passes.
pub(super) fn catch_up(
    broker: SocketAddr,
    master: &Processes,
    slaves: u32,
    limit: Duration,
    command: &[String],
) -> anyhow::Result<CatchUp> {
    let mut connection = Connection::open(broker)?;
    let started = Instant::now();
    let mut child = if command.is_empty() { None } else { Some(spawn(command)?) };
    let slave = Processes(child.iter().map(std::process::Child::id).collect());
    let result = watch(&mut connection, (master, &slave), slaves as usize, (started, limit));
    if let Some(child) = &mut child {
        stop(child)?;
    }
    result
}

fn watch(
    connection: &mut Connection,
    (master, slave): (&Processes, &Processes),
    slaves: usize,
    (started, limit): (Instant, Duration),
) -> anyhow::Result<CatchUp> {
    let mut first = None;
    loop {
        let (end, acks) = ask(connection)?;
        let now = Instant::now();
        // The slowest of the slaves that count. One that has acknowledged nothing of a log may still be starting.
        let acked = acks.get(slaves - 1).copied().filter(|acked| *acked > 0 || end == 0);
        if let Some(acked) = acked {
            if first.is_none() {
                first = Some((now, acked, master.cpu_us()?, slave.cpu_us()?));
            }
            if let Some((first_at, first_acked, master_us, slave_us)) = first
                && acked >= end
            {
                let (bytes, seconds) = (acked - first_acked, (now - first_at).as_secs_f64());
                let megabytes = bytes as f64 / 1e6;
                let cost = |of: &Processes, before_us: u64| -> anyhow::Result<_> {
                    let measurable = bytes > 0 && !of.is_empty();
                    Ok(measurable.then_some((of.cpu_us()? - before_us) as f64 / megabytes))
                };
                return Ok(CatchUp {
                    bytes,
                    seconds,
                    mb_per_second: if bytes > 0 { megabytes / seconds } else { 0.0 },
                    slave_cpu_us_per_mb: cost(slave, slave_us)?,
                    master_cpu_us_per_mb: cost(master, master_us)?,
                    caught_up_ms: (now - started).as_secs_f64() * 1e3,
                });
            }
        }
        if now - started > limit {
            let there = acks.len();
            bail!("{there} slaves have {acks:?} of {end} bytes after {} s", limit.as_secs());
        }
        std::thread::sleep(ASK_PAUSE);
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct HaStatus {
    master_commit_log_max_offset: i64,
    #[serde(default)]
    ha_connection_info: Vec<Slave>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Slave {
    slave_ack_offset: i64,
}

/// Returns where the master's log ends, and what its slaves have, the most first.
fn ask(connection: &mut Connection) -> anyhow::Result<(i64, Vec<i64>)> {
    let mut request = Vec::new();
    push_request(&mut request, code::GET_BROKER_HA_STATUS, 0, &[], &[]);
    let status: HaStatus = connection.call(&request, |answer| match answer.code {
        code::SUCCESS => serde_json::from_slice(answer.body).context("the state of replication is not JSON"),
        _ => bail!("the master does not tell of its slaves: {}", answer.refusal()),
    })?;
    let mut acks: Vec<_> = status.ha_connection_info.iter().map(|slave| slave.slave_ack_offset).collect();
    acks.sort_unstable_by(|a, b| b.cmp(a));
    Ok((status.master_commit_log_max_offset, acks))
}

impl CatchUp {
    /// Prints the figures on stdout.
    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
        } else {
            println!("the slaves have everything after {:.0} ms", self.caught_up_ms);
            println!("  {:.0} MB/s for the last {} bytes", self.mb_per_second, self.bytes);
            for (who, cost) in [("master", self.master_cpu_us_per_mb), ("slave", self.slave_cpu_us_per_mb)] {
                if let Some(cost) = cost {
                    println!("  CPU of the {who}: {cost:.0} µs/MB");
                }
            }
        }
        Ok(())
    }
}
