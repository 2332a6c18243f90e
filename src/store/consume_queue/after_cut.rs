//! A consume queue after a power cut: any of its sectors, lengths and names may be missing or torn, but for the entries
//! of messages before a place that the checkpoint vouches for. Those are kept, everything behind them is taken
//! away, and dispatch builds it again from the log.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{ConsumeQueue, QueueSpace, UNIT_BYTES, WINDOW_BYTES, decode_unit, is_blank, is_valid};
use crate::store::disk::{NamedFile, list_offsets};
use crate::store::{Error, QueueEntry};

/// Says whether an entry, by its index, is that of the message it points to; true when that message is gone.
pub(crate) type Verify<'a> = &'a mut dyn FnMut(i64, &QueueEntry) -> bool;

impl ConsumeQueue {
    /// Takes over what is left of a queue. Entries of messages before `safe` are on the disk, whole.
    pub(crate) fn load_after_cut(
        space: &QueueSpace,
        topic: Arc<str>,
        queue_id: i32,
        log_min: i64,
        safe: i64,
        verify: Verify<'_>,
    ) -> Result<Self, Error> {
        let queue = Self::new(topic, queue_id);
        let named = list_offsets(&queue.dir(space))?;
        let file_bytes = space.file_bytes as i64;
        for file in named.iter().filter(|file| file.bytes > 0) {
            queue.check_file(space, file)?;
        }
        // The last file that begins with an entry to be believed, and those right before it.
        let mut kept = 0..0;
        for (number, file) in named.iter().enumerate().rev().filter(|(_, file)| file.bytes > 0) {
            if kept.is_empty() {
                let first = queue.read_unit(space, file.offset)?;
                if is_valid(&first) && (is_blank(&first) || first.physical_offset.0 < safe) {
                    kept = number..number + 1;
                }
            } else if file.offset + file_bytes == named[kept.start].offset && number + 1 == kept.start {
                kept.start = number;
            }
        }
        for (number, file) in named.iter().enumerate() {
            if !kept.contains(&number) {
                let path = queue.path(space, file.offset);
                space.disk.remove(&path).map_err(Error::io("delete", &path))?;
            }
        }
        let Some((first, last)) = named[kept.clone()].first().zip(named[kept].last()) else {
            return Ok(queue);
        };
        let end = last.offset + file_bytes;
        {
            let mut files = queue.files();
            (files.first, files.end, files.named) = (Some(first.offset), end, end);
        }
        let max = queue.scan_safe(space, last.offset, end, safe, verify)?;
        let in_file = (max * UNIT_BYTES as i64 - last.offset) as u64;
        if in_file < space.file_bytes {
            let path = queue.path(space, last.offset);
            let file = queue.open(space, last.offset)?;
            let cleared = space.disk.clear(&file, in_file, space.file_bytes - in_file);
            cleared.map_err(Error::io("clear the end of", &path))?;
        }
        queue.set_end(space, max)?;
        queue.flushed.store(max, Ordering::Relaxed);
        queue.correct_min(space, log_min)?;
        Ok(queue)
    }

    fn check_file(&self, space: &QueueSpace, file: &NamedFile) -> Result<(), Error> {
        let path = self.dir(space).join(crate::store::disk::file_name(file.offset));
        if file.bytes != space.file_bytes {
            let (actual, expected) = (file.bytes, space.file_bytes);
            return Err(Error::WrongSize { path, actual, expected, key: "mappedFileSizeConsumeQueue" });
        }
        if !(file.offset as u64).is_multiple_of(space.file_bytes) {
            let what = format!("its name should be a multiple of {}", space.file_bytes);
            return Err(Error::Corrupt { path, position: 0, what });
        }
        Ok(())
    }

    fn read_unit(&self, space: &QueueSpace, byte: i64) -> Result<QueueEntry, Error> {
        let mut unit = [0; UNIT_BYTES];
        let file = self.open(space, byte)?;
        file.read_exact_at(&mut unit, byte as u64 % space.file_bytes)
            .map_err(Error::io("read", &self.path(space, byte)))?;
        Ok(decode_unit(&unit))
    }

    /// Returns one past the last entry to be believed of the file at `from`. One that a cut tore can look like an earlier
    /// one; but what follows it does not, so that only the last one has to be verified.
    fn scan_safe(
        &self,
        space: &QueueSpace,
        from: i64,
        end: i64,
        safe: i64,
        verify: Verify<'_>,
    ) -> Result<i64, Error> {
        let path = self.path(space, from);
        let file = self.open(space, from)?;
        let mut buffer = vec![0; WINDOW_BYTES.min(space.file_bytes) as usize];
        let (mut at, mut previous, mut last) = (from, -1, None);
        'files: while at < end {
            let piece = buffer.len().min((end - at) as usize);
            file.read_exact_at(&mut buffer[..piece], (at - from) as u64).map_err(Error::io("read", &path))?;
            for unit in buffer[..piece].as_chunks().0 {
                let entry = decode_unit(unit);
                let physical = entry.physical_offset.0;
                if !is_valid(&entry) || !is_blank(&entry) && (physical <= previous || physical >= safe) {
                    break 'files;
                }
                if !is_blank(&entry) {
                    (previous, last) = (physical, Some((at / UNIT_BYTES as i64, entry)));
                }
                at += UNIT_BYTES as i64;
            }
        }
        Ok(match last {
            Some((index, entry)) if !verify(index, &entry) => index,
            _ => at / UNIT_BYTES as i64,
        })
    }
}
