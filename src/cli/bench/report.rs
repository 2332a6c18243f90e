//! The result of a load on stdout: a few lines for people or one JSON object.
//!
//! In: an [`Outcome`] and the costs measured around it. Latencies are shown in microseconds, bytes in MiB.
//! The first line names what Apache's own benchmark tools print: messages per second, mean and largest
//! response time, failures.

use std::collections::BTreeMap;

use serde::Serialize;

use super::histogram::Histogram;
use super::load::Outcome;

/// Percentiles in microseconds.
#[derive(Clone, Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "these are the keys of the JSON, which carry their unit")]
pub(super) struct Percentiles {
    mean_us: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
}

impl From<&Histogram> for Percentiles {
    fn from(it: &Histogram) -> Self {
        Self {
            mean_us: us(it.mean_ns()),
            p50_us: us(it.quantile_ns(500)),
            p99_us: us(it.quantile_ns(990)),
            p999_us: us(it.quantile_ns(999)),
            max_us: us(it.max_ns()),
        }
    }
}

/// What a load achieved and what it cost.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    mode: &'static str,
    messages: u64,
    errors: u64,
    seconds: f64,
    per_second: f64,
    mib_per_second: f64,
    /// Producer: send to acknowledgement. Consumer, filter, orderly: one pull. Latency: send to receipt.
    #[serde(flatten)]
    latency: Percentiles,
    /// Latency only: send to acknowledgement.
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged: Option<Percentiles>,
    /// Filter only, where `messages` are those that were looked at: how many of them came.
    #[serde(skip_serializing_if = "Option::is_none")]
    passed: Option<u64>,
    /// CPU time of this process per message.
    client_cpu_us: f64,
    /// CPU time of the `--server-pid` processes per message.
    #[serde(skip_serializing_if = "Option::is_none")]
    server_cpu_us: Option<f64>,
    /// Their anonymous memory after the load.
    #[serde(skip_serializing_if = "Option::is_none")]
    server_anonymous_kib: Option<u64>,
    remarks: BTreeMap<String, u64>,
}

/// CPU time and memory measured around a load.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    /// CPU time of this process in microseconds.
    pub(super) client_cpu_us: u64,
    /// CPU time of the server, when it was asked for.
    pub(super) server_cpu_us: Option<u64>,
    /// Its anonymous memory in KiB.
    pub(super) server_anonymous_kib: Option<u64>,
}

impl Report {
    /// Puts the figures together.
    pub(super) fn new(mode: &'static str, outcome: &Outcome, cost: Cost) -> Self {
        let seconds = outcome.elapsed.as_secs_f64().max(1e-9);
        let each = |us: u64| round(us as f64 / outcome.messages.max(1) as f64);
        Self {
            mode,
            messages: outcome.messages,
            errors: outcome.failed(),
            seconds: round(seconds),
            per_second: round(outcome.messages as f64 / seconds),
            mib_per_second: round(outcome.bytes as f64 / seconds / f64::from(1 << 20)),
            latency: Percentiles::from(&outcome.latency),
            acknowledged: None,
            passed: None,
            client_cpu_us: each(cost.client_cpu_us),
            server_cpu_us: cost.server_cpu_us.map(each),
            server_anonymous_kib: cost.server_anonymous_kib,
            remarks: outcome.failures.clone(),
        }
    }

    /// Adds the time to acknowledgement.
    pub(super) fn acknowledged(mut self, latency: &Histogram) -> Self {
        self.acknowledged = Some(latency.into());
        self
    }

    /// Adds how many of the messages that were looked at came.
    pub(super) fn passed(mut self, count: u64) -> Self {
        self.passed = Some(count);
        self
    }

    /// Prints the report on stdout.
    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        let lat = &self.latency;
        println!(
            "{}: {} messages in {:.2} s: {:.0} msg/s, {:.1} MiB/s, mean {:.0} µs, max {:.0} µs, {} errors",
            self.mode,
            self.messages,
            self.seconds,
            self.per_second,
            self.mib_per_second,
            lat.mean_us,
            lat.max_us,
            self.errors
        );
        let what = match self.mode {
            "consumer" | "filter" | "orderly" => "pull → answer",
            "latency" => "send → receipt",
            _ => "send → acknowledgement",
        };
        println!("  {what}  p50 {:.0} µs  p99 {:.0} µs  p99.9 {:.0} µs", lat.p50_us, lat.p99_us, lat.p999_us);
        if let Some(passed) = self.passed {
            println!("  the filter let {passed} messages pass");
        }
        if let Some(ack) = &self.acknowledged {
            let (p50, p99, p999) = (ack.p50_us, ack.p99_us, ack.p999_us);
            println!("  send → acknowledgement  p50 {p50:.0} µs  p99 {p99:.0} µs  p99.9 {p999:.0} µs");
        }
        print!("  CPU per message: this load generator {:.2} µs", self.client_cpu_us);
        if let Some(server) = self.server_cpu_us {
            print!(", the server {server:.2} µs");
        }
        println!();
        if let Some(kib) = self.server_anonymous_kib {
            println!("  the server's anonymous memory: {:.1} MiB", kib as f64 / 1_024.0);
        }
        for (remark, count) in &self.remarks {
            println!("  {count} × {remark}");
        }
        Ok(())
    }
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1_000.0
}

fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}
