//! `clock`: shows the clock of a running server, or lets time pass there.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;

use super::args::{ClockArgs, ClockWish};
use super::{http, instance};

/// `rmq-lite clock [advance SPAN]`.
pub(super) async fn clock(args: ClockArgs) -> anyhow::Result<ExitCode> {
    let web = instance::web(&args.instance)?;
    let wish = args.wish.map(|ClockWish::Advance { span }| json!({ "advance": span }));
    let clock = http::ask(&web, "/api/v1/clock", wish.as_ref()).await?;
    if args.json {
        println!("{clock}");
        return Ok(ExitCode::SUCCESS);
    }
    let now_ms = clock["now_ms"].as_i64().context("the answer has no now_ms")?;
    let skew_ms = clock["skew_ms"].as_i64().unwrap_or_default();
    let now = jiff::Timestamp::from_millisecond(now_ms)?.to_zoned(jiff::tz::TimeZone::system());
    let moved = jiff::SignedDuration::from_millis(skew_ms);
    println!(
        "{}{}",
        now.strftime("%F %T%.3f %Z"),
        if skew_ms == 0 { String::new() } else { format!(", moved by {moved:#}") }
    );
    Ok(ExitCode::SUCCESS)
}
