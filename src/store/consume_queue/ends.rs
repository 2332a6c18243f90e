//! Where a consume queue begins and ends: found when it is loaded, moved when the log turns out to be shorter or its oldest
//! messages are gone. Nothing is appended here. Mirrors `ConsumeQueue.recover`, `truncateDirtyLogicFiles` and
//! `correctMinOffset`.

use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use super::{ConsumeQueue, QueueSpace, UNIT_BYTES, decode_unit, is_blank, is_valid};
use crate::store::{Error, QueueEntry};

impl ConsumeQueue {
    /// Finds the end by halves: entries in use come before unused ones.
    pub(super) fn search_end(&self, space: &QueueSpace, from: i64, end: i64) -> Result<i64, Error> {
        let path = self.path(space, from);
        let file = self.open_to_read(space, from)?;
        let (mut low, mut high) = (from / UNIT_BYTES as i64, end / UNIT_BYTES as i64);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut unit = [0; UNIT_BYTES];
            let at = (middle * UNIT_BYTES as i64 - from) as u64;
            file.read_exact_at(&mut unit, at).map_err(Error::io("read", &path))?;
            if is_valid(&decode_unit(&unit)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Takes `max` as the queue's end.
    pub(super) fn set_end(&self, space: &QueueSpace, max: i64) -> Result<(), Error> {
        self.max.store(max, Ordering::Release);
        self.next.store(max, Ordering::Relaxed);
        let last = self.unit(space, max - 1)?.filter(|entry| !is_blank(entry));
        self.files().max_physical = last.map_or(0, |entry| entry.physical_offset.0 + i64::from(entry.size));
        Ok(())
    }

    /// Drops entries of records at or behind `log_end`, and clears their bytes so that they do not come back.
    pub(crate) fn truncate(&self, space: &QueueSpace, log_end: i64) -> Result<(), Error> {
        let old = self.max();
        if self.max_physical() <= log_end {
            return Ok(());
        }
        let first = self.files().first.unwrap_or(0) / UNIT_BYTES as i64;
        let max = self.partition(space, (first, old), |entry| {
            !is_blank(entry) && entry.physical_offset.0 + i64::from(entry.size) > log_end
        })?;
        tracing::warn!(topic = %self.topic, queue_id = self.queue_id, from = max, to = old, "entries without a message are dropped");
        {
            let mut files = self.files();
            (files.window, files.reading, files.kept) = (None, None, None);
        }
        let mut byte = max * UNIT_BYTES as i64;
        while byte < old * UNIT_BYTES as i64 {
            let in_file = byte as u64 % space.file_bytes;
            let left = space.file_bytes - in_file;
            let path = self.path(space, byte);
            let file = self.open(space, byte)?;
            space.disk.clear(&file, in_file, left).map_err(Error::io("clear the end of", &path))?;
            byte += left as i64;
        }
        self.remove_files_after(space, max)?;
        self.flushed.fetch_min(max, Ordering::Relaxed);
        self.min.fetch_min(max, Ordering::Relaxed);
        self.set_end(space, max)
    }

    /// Deletes the files behind the one in which the entry at `max` would stand: an unused file may only follow a
    /// full one.
    pub(super) fn remove_files_after(&self, space: &QueueSpace, max: i64) -> Result<(), Error> {
        let mut files = self.files();
        let file_bytes = space.file_bytes as i64;
        let keep_to = (max * UNIT_BYTES as i64 / file_bytes + 1) * file_bytes;
        while files.end > keep_to {
            let path = self.path(space, files.end - file_bytes);
            space.disk.remove(&path).map_err(Error::io("delete", &path))?;
            files.end -= file_bytes;
        }
        Ok(())
    }

    /// Sets the first entry to the first whose record is at or behind `log_min`.
    pub(crate) fn correct_min(&self, space: &QueueSpace, log_min: i64) -> Result<(), Error> {
        let max = self.max();
        let Some(first) = self.files().first else { return Ok(()) };
        let from = self.min().max(first / UNIT_BYTES as i64);
        let is_left = |entry: &QueueEntry| is_blank(entry) || entry.physical_offset.0 < log_min;
        let min = match self.unit(space, from)? {
            Some(entry) if is_left(&entry) => self.partition(space, (from, max), |entry| !is_left(entry))?,
            _ => from,
        };
        self.min.store(min.min(max), Ordering::Release);
        Ok(())
    }

    /// Deletes files all of whose messages are gone from the log; the last file stays. Returns how many.
    pub(crate) fn delete_old_files(&self, space: &QueueSpace) -> Result<usize, Error> {
        let min_byte = self.min() * UNIT_BYTES as i64;
        let mut deleted = 0;
        loop {
            let mut files = self.files();
            let Some(first) = files.first else { return Ok(deleted) };
            let next = first + space.file_bytes as i64;
            if next > min_byte || next >= files.end {
                return Ok(deleted);
            }
            files.first = Some(next);
            files.reading = None;
            drop(files);
            let path = self.path(space, first);
            space.disk.remove(&path).map_err(Error::io("delete", &path))?;
            deleted += 1;
        }
    }
}
