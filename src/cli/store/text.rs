//! What the `store` commands print for people.

use std::fmt::Write as _;

use super::check::{Finding, Report, Severity};

/// Prints what a check found: the findings, then what was looked at and the verdict.
pub(super) fn print_report(report: &Report) {
    println!("store {}", report.root.display());
    for finding in &report.findings {
        println!("{}", finding_text(finding, &report.root));
    }
    if report.more_findings > 0 {
        println!("  … and {} more", report.more_findings);
    }
    let figures = &report.figures;
    println!(
        "  {} messages in {} topics, physical offsets {} to {} in {} files",
        figures.messages, figures.topics, figures.log_begins, figures.log_ends, figures.log_files
    );
    if let (Some(oldest), Some(newest)) = (figures.oldest_ms, figures.newest_ms) {
        println!("  stored from {} to {}", time(oldest), time(newest));
    }
    println!(
        "  {} consume queues with {} entries; {} index files with {} entries",
        figures.queues, figures.queue_entries, figures.index_files, figures.index_entries
    );
    println!("{}", verdict(report));
}

fn verdict(report: &Report) -> String {
    if report.clean {
        return "clean: everything fits together".to_owned();
    }
    let lost: i64 = report.bad_ranges.iter().map(|range| range.to - range.from).sum();
    let mut text = format!("{} things are wrong", report.damages);
    if lost > 0 {
        let _ = write!(text, "; {lost} bytes of the commit log hold no readable message");
    } else {
        text.push_str("; every message of the commit log can be read");
    }
    text
}

fn finding_text(finding: &Finding, root: &std::path::Path) -> String {
    let mark = match finding.severity {
        Severity::Damage => "DAMAGE",
        Severity::Note => "note  ",
    };
    let file = finding.file.strip_prefix(root).unwrap_or(&finding.file);
    let mut text = format!("  {mark} {}", file.display());
    if let Some(position) = finding.position {
        let _ = write!(text, " at byte {position}");
    }
    let _ = write!(text, ": {}", finding.what);
    if let (Some(expected), Some(found)) = (&finding.expected, &finding.found) {
        let _ = write!(text, "\n         expected {expected}\n         found    {found}");
    }
    text
}

/// Returns a time as the machine's user reads it.
pub(super) fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(
        |_| format!("{ms} ms"),
        |stamp| stamp.to_zoned(jiff::tz::TimeZone::system()).strftime("%F %T%.3f").to_string(),
    )
}
