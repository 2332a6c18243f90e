//! What the kernel says about processes: CPU time used and anonymous memory, from `/proc`.
//!
//! In: process ids. Out: microseconds and KiB. Both cover all threads of a process; CPU time comes in ticks
//! of 10 ms, so a measured phase should use a second of it. Not available on systems without `/proc`.

use std::fs;

use anyhow::Context as _;

/// `USER_HZ`, the unit of `/proc/PID/stat`: 100 on every architecture this runs on.
const TICK_US: u64 = 10_000;

/// Processes whose cost is measured together, such as the two JVMs of one Apache server.
#[derive(Clone, Debug, Default)]
pub(super) struct Processes(pub(super) Vec<u32>);

impl Processes {
    /// Returns the user and system time used so far, in microseconds.
    pub(super) fn cpu_us(&self) -> anyhow::Result<u64> {
        self.0.iter().map(|pid| cpu_us(&pid.to_string())).sum()
    }

    /// Returns the anonymous memory in KiB (`RssAnon`: heap and stacks, not mapped files).
    pub(super) fn anonymous_kib(&self) -> anyhow::Result<u64> {
        self.0.iter().map(|pid| anonymous_kib(*pid)).sum()
    }

    /// Says whether there is nothing to measure.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Returns the CPU time of this process, in microseconds.
pub(super) fn own_cpu_us() -> anyhow::Result<u64> {
    cpu_us("self")
}

fn cpu_us(pid: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse_cpu_us(&stat).with_context(|| format!("{path} is not in the kernel's format"))
}

fn parse_cpu_us(stat: &str) -> Option<u64> {
    // The second field is the name in parentheses and may hold spaces; utime and stime are fields 14 and 15.
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) * TICK_US)
}

fn anonymous_kib(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse_anonymous_kib(&status).with_context(|| format!("{path} has no RssAnon"))
}

fn parse_anonymous_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_process_name() {
        let stat = "7 (a ) b) R 1 7 7 0 -1 4194304 91 0 0 0 12 34 0 0 20 0 1 0 59 0 0";
        assert_eq!(parse_cpu_us(stat), Some(460_000));
        assert_eq!(parse_cpu_us("7 (a"), None);
        assert_eq!(parse_cpu_us("7 (a) R 1"), None);
    }

    #[test]
    fn anonymous_memory_is_read_from_its_line() {
        assert_eq!(parse_anonymous_kib("VmRSS:\t 9 kB\nRssAnon:\t  8123 kB\n"), Some(8_123));
        assert_eq!(parse_anonymous_kib("Name:\tkthreadd\n"), None);
    }
}
