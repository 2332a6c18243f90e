//! What `store check` tells: findings, each with file, position, what was expected and what is there, and what was looked at.

use std::path::{Path, PathBuf};

use serde::Serialize;

/// Findings that are kept; more are counted.
const FINDINGS_MAX: usize = 1_000;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli::store) enum Severity {
    /// Something is lost or wrong.
    Damage,
    /// Worth knowing; the next start deals with it.
    Note,
}

/// One thing that was found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli::store) struct Finding {
    pub(in crate::cli::store) severity: Severity,
    pub(in crate::cli::store) file: PathBuf,
    /// Byte in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::store) position: Option<u64>,
    pub(in crate::cli::store) what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::store) expected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::store) found: Option<String>,
}

/// Bytes of the log that are no messages and stand where messages should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(in crate::cli::store) struct BadRange {
    /// Physical offset of the first byte.
    pub(in crate::cli::store) from: i64,
    /// Physical offset behind the last byte.
    pub(in crate::cli::store) to: i64,
    /// Store timestamp of the last message before them, milliseconds; 0 when there is none.
    #[serde(rename = "beforeMs")]
    pub(in crate::cli::store) before_ms: i64,
}

/// What was looked at.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli::store) struct Figures {
    pub(in crate::cli::store) log_files: usize,
    pub(in crate::cli::store) log_begins: i64,
    pub(in crate::cli::store) log_ends: i64,
    pub(in crate::cli::store) messages: u64,
    pub(in crate::cli::store) topics: usize,
    pub(in crate::cli::store) queues: usize,
    pub(in crate::cli::store) queue_entries: u64,
    pub(in crate::cli::store) index_files: usize,
    pub(in crate::cli::store) index_entries: u64,
    /// Store timestamps of the oldest and newest message, milliseconds.
    pub(in crate::cli::store) oldest_ms: Option<i64>,
    pub(in crate::cli::store) newest_ms: Option<i64>,
}

/// What a check found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli::store) struct Report {
    pub(in crate::cli::store) root: PathBuf,
    pub(in crate::cli::store) clean: bool,
    pub(in crate::cli::store) damages: u64,
    pub(in crate::cli::store) findings: Vec<Finding>,
    /// Findings that are counted but not listed.
    pub(in crate::cli::store) more_findings: u64,
    pub(in crate::cli::store) figures: Figures,
    /// Bytes that every file of the log should have.
    pub(in crate::cli::store) log_file_bytes: u64,
    /// What `--repair` would cover or cut.
    pub(in crate::cli::store) bad_ranges: Vec<BadRange>,
}

impl Report {
    pub(super) fn add(
        &mut self,
        severity: Severity,
        file: &Path,
        position: Option<u64>,
        what: String,
        difference: Option<(String, String)>,
    ) {
        if severity == Severity::Damage {
            self.damages += 1;
            self.clean = false;
        }
        if self.findings.len() >= FINDINGS_MAX {
            self.more_findings += 1;
            return;
        }
        let (expected, found) = difference.unzip();
        self.findings.push(Finding { severity, file: file.to_owned(), position, what, expected, found });
    }

    pub(super) fn damage(&mut self, file: &Path, position: Option<u64>, what: impl Into<String>) {
        self.add(Severity::Damage, file, position, what.into(), None);
    }

    pub(super) fn note(&mut self, file: &Path, what: impl Into<String>) {
        self.add(Severity::Note, file, None, what.into(), None);
    }

    pub(super) fn differs(
        &mut self,
        file: &Path,
        position: Option<u64>,
        what: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        self.add(Severity::Damage, file, position, what.to_owned(), Some((expected.into(), found.into())));
    }
}
