//! Deleting what is old and watching the room on the disk; mirrors `CleanCommitLogService` and
//! `CleanConsumeQueueService`.
//!
//! A commit-log file goes when its last change is longer ago than the reserved time, at the configured hours, or at
//! any hour when the disk is filling up or a person asks; a round takes at most `deleteFileBatchMax`. The last file never goes. Unlike the reference, files
//! before their time are deleted only when messages would otherwise soon be refused; and a file that is being
//! read is deleted at once, since its readers keep their mapping. There it stays until they are done, or is taken from
//! them after `destroyMapedFileIntervalForcibly` (`MappedFileQueue.retryDeleteFirstFile`); here its bytes are freed
//! with the last reader, the slowest of which is a connection, and one that takes nothing is closed.

use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;

use super::{Error, MessageStore, Refusal, StoreOptions};

const HOUR_MS: i64 = 3_600_000;

/// How much a round may delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Files whose time is over.
    Expired,
    /// The oldest files, whatever their age.
    Oldest,
}

impl MessageStore {
    /// Deletes commit-log files whose time is over, at any hour, with the queue and index files that go with them;
    /// returns how many commit-log files went.
    pub fn delete_expired_files_now(&self) -> Result<usize, Error> {
        self.delete_files(Scope::Expired)
    }

    /// One round of the keeper.
    pub(crate) fn retain(&self) {
        if self.check_poison().is_err() {
            // Nothing is taken any more, so nothing needs room; and what the disk holds is unknown.
            return;
        }
        let options = self.options.load_full();
        let deleted = match self.due(&options) {
            Some(scope) => self.delete_files(scope),
            None => Ok(0),
        };
        match deleted {
            Ok(0) => {}
            Ok(files) => {
                tracing::info!(files, log_begins = self.log.min(), "old commit-log files deleted");
                self.check_disk_space();
            }
            Err(error) => tracing::error!(%error, "old files could not be deleted"),
        }
    }

    fn due(&self, options: &StoreOptions) -> Option<Scope> {
        let (space, _) = self.disk_space();
        let nearly_full =
            space.total_bytes > 0 && space.free_bytes < options.disk_full_free_bytes.saturating_mul(2);
        if nearly_full && options.clean_file_forcibly_enable {
            return Some(Scope::Oldest);
        }
        let max_used = f64::from(options.disk_max_used_space_ratio.clamp(10, 95)) / 100.0;
        (space.used_ratio() > max_used || is_hour(&options.delete_when, self.clock.now_ms()))
            .then_some(Scope::Expired)
    }

    fn delete_files(&self, scope: Scope) -> Result<usize, Error> {
        let options = self.options.load_full();
        let reserved_ms =
            i64::try_from(options.file_reserved_time_hours).unwrap_or(i64::MAX / HOUR_MS) * HOUR_MS;
        let now_ms = self.clock.now_ms();
        let files = self.log.files();
        let mut deleted = 0;
        let is_due = |scope| {
            let path = files.path(self.log.min());
            // Nothing goes that its queue does not know.
            let second = files.files().get(1).map(|file| file.offset());
            second.is_some_and(|second| second <= self.dispatched.load(Ordering::Relaxed))
                && (scope == Scope::Oldest || now_ms - modified_ms(&path) >= reserved_ms)
        };
        if is_due(scope) {
            self.dispatch_and_wait();
            // What a queue knows only from messages that go away now could not be built again.
            match self.keep(0) {
                Err(error) if scope == Scope::Oldest => {
                    tracing::warn!(%error, "files are deleted before their queues are on the disk");
                }
                kept => kept?,
            }
        }
        while deleted < options.delete_file_batch_max {
            if !is_due(scope) || !files.remove_first()? {
                break;
            }
            deleted += 1;
        }
        if deleted > 0 {
            let log_min = self.log.min();
            self.queues.log_begins_at(log_min)?;
            self.index.delete_before(log_min)?;
        }
        Ok(deleted)
    }

    /// Refuses puts while a volume has too little room, naming place and numbers, or may only be read.
    pub(crate) fn check_disk_space(&self) {
        let options = self.options.load();
        let (log, queues) = self.disk_space();
        let volumes = [(log, &options.commit_log_dir), (queues, &options.consume_queue_dir)];
        if let Some((_, dir)) = volumes.iter().find(|(space, _)| space.read_only) {
            return self.refuse(Refusal::DiskFull, || {
                format!(
                    "the volume of {} is read-only; messages are taken again when it is not",
                    dir.display()
                )
            });
        }
        let full = volumes
            .into_iter()
            .find(|(space, _)| space.total_bytes > 0 && space.free_bytes < options.disk_full_free_bytes);
        match full {
            Some((space, dir)) => self.refuse(Refusal::DiskFull, || {
                format!(
                    "the volume of {} has {} MiB left of {} MiB; messages are taken again from {} MiB on",
                    dir.display(),
                    space.free_bytes >> 20,
                    space.total_bytes >> 20,
                    options.disk_full_free_bytes >> 20
                )
            }),
            None => self.accept(Refusal::DiskFull),
        }
    }
}

/// Returns when a file was last changed, milliseconds; now when nobody knows, so that it is not deleted.
fn modified_ms(path: &std::path::Path) -> i64 {
    std::fs::metadata(path)
        .and_then(|meta| meta.modified())
        .ok()
        .and_then(|modified| modified.duration_since(UNIX_EPOCH).ok())
        .map_or(i64::MAX / 2, |since| since.as_millis() as i64)
}

/// Says whether the local hour of `now_ms` is one of `hours`, numbers separated by `;`.
fn is_hour(hours: &str, now_ms: i64) -> bool {
    let Ok(stamp) = jiff::Timestamp::from_millisecond(now_ms) else { return false };
    let hour = stamp.to_zoned(jiff::tz::TimeZone::system()).hour();
    hours.split(';').any(|text| text.trim().parse() == Ok(hour))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hours of `deleteWhen` may be written as Apache's users write them.
    #[test]
    fn hours_are_read_as_numbers() {
        let noon = jiff::civil::date(2026, 3, 4).at(12, 30, 0, 0).to_zoned(jiff::tz::TimeZone::system());
        let noon_ms = noon.expect("a time that exists").timestamp().as_millisecond();
        assert!(is_hour("12", noon_ms) && is_hour("04; 12", noon_ms) && is_hour("00;012", noon_ms));
        assert!(!is_hour("04", noon_ms) && !is_hour("", noon_ms) && !is_hour("noon", noon_ms));
    }
}
