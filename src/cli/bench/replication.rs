//! How fast a slave gets what its master has.
//!
//! In: a master, and perhaps a command that starts a slave. Out: the megabytes a second from the first acknowledgement
//! of the slave that the master tells of to the one of its whole log, and the time from the start. The master is asked
//! every millisecond (GET_BROKER_HA_STATUS), which costs it little beside what it sends. The slave's own store is not
//! looked at: what it reports it has appended.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::connection::Connection;
use super::frame::{code, push_request};
use super::probe::{spawn, stop};
use super::process::Processes;

/// Pause between two questions.
const ASK_PAUSE: Duration = Duration::from_millis(1);

/// A slave's way to the end of its master's log.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(super) struct CatchUp {
    /// Bytes that came after the first acknowledgement that was seen.
    bytes: i64,
    /// How long they took.
    seconds: f64,
    /// 10⁶ bytes a second; 0 when the slave was at the end when it was first seen.
    mb_per_second: f64,
    /// CPU time of the slave per megabyte, from its start; only for a command that is the slave.
    #[serde(skip_serializing_if = "Option::is_none")]
    slave_cpu_us_per_mb: Option<f64>,
    /// CPU time of the master per megabyte, from the slave's start.
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
    let master_before_us = master.cpu_us()?;
    let mut child = if command.is_empty() { None } else { Some(spawn(command)?) };
    let mut result = watch(&mut connection, slaves as usize, limit);
    if let Some(child) = &mut child {
        if let Ok(it) = &mut result
            && let Ok(None) = child.try_wait()
        {
            let slave = Processes(vec![child.id()]);
            it.slave_cpu_us_per_mb = Some(slave.cpu_us()? as f64 / it.megabytes());
        }
        stop(child)?;
    }
    if let Ok(it) = &mut result
        && !master.is_empty()
    {
        it.master_cpu_us_per_mb = Some((master.cpu_us()? - master_before_us) as f64 / it.megabytes());
    }
    result
}

fn watch(connection: &mut Connection, slaves: usize, limit: Duration) -> anyhow::Result<CatchUp> {
    let started = Instant::now();
    let mut first: Option<(Instant, i64)> = None;
    loop {
        let (end, acks) = ask(connection)?;
        let now = Instant::now();
        // The slowest of the slaves that count. One that has acknowledged nothing of a log may still be starting.
        let acked = acks.get(slaves - 1).copied().filter(|acked| *acked > 0 || end == 0);
        if let Some(acked) = acked {
            let (first_at, first_acked) = *first.get_or_insert((now, acked));
            if acked >= end {
                let (bytes, seconds) = (acked - first_acked, (now - first_at).as_secs_f64());
                let mb_per_second = if bytes > 0 { bytes as f64 / 1e6 / seconds } else { 0.0 };
                let caught_up_ms = (now - started).as_secs_f64() * 1e3;
                return Ok(CatchUp {
                    bytes,
                    seconds,
                    mb_per_second,
                    slave_cpu_us_per_mb: None,
                    master_cpu_us_per_mb: None,
                    caught_up_ms,
                });
            }
        }
        if started.elapsed() > limit {
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
    fn megabytes(&self) -> f64 {
        (self.bytes as f64 / 1e6).max(1e-6)
    }

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
