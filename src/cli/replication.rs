//! `replication`: shows how far the slaves of a running server are, holds the log back, stops and starts a broker there.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::args::{ReplicationArgs, ReplicationWish};
use super::{http, instance};

/// `rmq-lite replication [status|pause|resume|lag MS|stop WHICH|start WHICH]`.
pub(super) async fn replication(args: ReplicationArgs) -> anyhow::Result<ExitCode> {
    let web = instance::web(&args.instance)?;
    let wish = match args.wish {
        None | Some(ReplicationWish::Status) => None,
        Some(ReplicationWish::Pause) => Some(json!({ "paused": true })),
        Some(ReplicationWish::Resume) => Some(json!({ "paused": false, "lag_ms": 0 })),
        Some(ReplicationWish::Lag { ms }) => Some(json!({ "lag_ms": ms })),
        Some(ReplicationWish::Stop { which }) => Some(json!({ "stop": which })),
        Some(ReplicationWish::Start { which }) => Some(json!({ "start": which })),
    };
    let state = http::ask(&web, "/api/v1/replication", wish.as_ref()).await?;
    if args.json {
        println!("{state}");
    } else {
        print!("{}", text(&state));
    }
    Ok(ExitCode::SUCCESS)
}

fn text(state: &Value) -> String {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String| lines.push(format!("{name:<9}{value}\n"));
    let (master, slave) = (&state["master"], &state["slave"]);
    if master["running"] == true {
        let held = match (master["paused"] == true, master["lag_ms"].as_u64().unwrap_or(0)) {
            (true, _) => ", paused".to_owned(),
            (false, 0) => String::new(),
            (false, ms) => format!(", {ms} ms later"),
        };
        let role = master["role"].as_str().unwrap_or_default();
        line("master", format!("{role}, log ends at {}{held}", master["log_ends"]));
        for slave in master["slaves"].as_array().into_iter().flatten() {
            let (address, sync) = (slave["address"].as_str().unwrap_or_default(), slave["in_sync"] == true);
            let sync = if sync { "in sync" } else { "not in sync" };
            let (bytes, ms) = (&slave["lag_bytes"], &slave["lag_ms"]);
            line("", format!("{address} {sync}, {bytes} bytes and {ms} ms behind"));
        }
    } else if !master.is_null() {
        line("master", "stopped".to_owned());
    }
    if slave["running"] == true {
        let following = match (slave["connected"] == true, slave["master"].as_str()) {
            (true, Some(master)) => format!("follows {master}"),
            (false, Some(master)) => format!("does not hear {master}"),
            (_, None) => "does not know its master yet".to_owned(),
        };
        line("slave", format!("log ends at {}, {following}", slave["log_ends"]));
    } else if !slave.is_null() {
        line("slave", "stopped".to_owned());
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line for each broker, one for each slave of the master.
    #[test]
    fn texts() {
        let state = json!({
            "master": {"running": true, "role": "SYNC_MASTER", "log_ends": 90, "paused": true, "lag_ms": 5, "slaves": [
                {"address": "127.0.0.1:5", "in_sync": true, "lag_bytes": 7, "lag_ms": 3}]},
            "slave": {"running": true, "log_ends": 83, "master": "127.0.0.1:10912", "connected": true},
        });
        assert_eq!(
            text(&state),
            "master   SYNC_MASTER, log ends at 90, paused\n         127.0.0.1:5 in sync, 7 bytes and 3 ms behind\n\
             slave    log ends at 83, follows 127.0.0.1:10912\n"
        );
        let state = json!({"master": {"running": false}, "slave": null});
        assert_eq!(text(&state), "master   stopped\n");
    }
}
