//! Room for the end of the commit log: disk space and memory, made ready before a put needs them; mirrors
//! `AllocateMappedFileService` and `MappedFile.warmMappedFile`.
//!
//! A page of a new file costs the kernel far more than filling it does: space on the volume, memory, zeros. So a
//! thread keeps some pages behind the end of the log ready to be written to; a put makes its own room only when
//! that thread is late, or is not there. Space comes first: then a full volume is an error here, which refuses
//! the put, and not a signal that kills the process. What is taken ahead grows with what is written, so that a
//! store with few messages stays small; what is left over is given back at a clean stop.
//!
//! It works on the last file only. Lock order: the put lock, then `making`.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Error;
use super::mapped_file::MappedFile;
use super::mapped_queue::MappedQueue;

/// Bytes of memory made ready ahead, at first and at most.
const AHEAD_BYTES: (usize, usize) = (32 << 10, 4 << 20);
/// Bytes made ready at a time, which is what a put that catches up may have to wait for. Small, because the kernel then
/// takes pieces of memory that were in use lately; with 256 KiB it takes ones that a hypervisor has to bring back first.
const PIECE_BYTES: usize = 32 << 10;
/// Bytes of the volume taken at a time, at first and at most.
const SPACE_BYTES: (usize, usize) = (128 << 10, 64 << 20);
const PAGE_BYTES: usize = 4_096;

/// What is ready behind the end of the log. Positions are those of the log.
#[derive(Debug)]
pub(crate) struct Room {
    /// Up to where pages are ready.
    ready: AtomicI64,
    /// More is wanted once the log is longer than this.
    low: AtomicI64,
    making: Mutex<Making>,
}

/// The file that room is made in.
#[derive(Debug, Default)]
struct Making {
    mapped: Option<Arc<MappedFile>>,
    /// The same file for taking space; opened when first needed.
    file: Option<File>,
    /// Bytes from the file's start that are ready.
    ready: usize,
    /// Bytes from the file's start that have space on the volume.
    space: usize,
    ahead_step: usize,
    space_step: usize,
}

impl Room {
    /// Begins behind the published bytes of `mapped`, if there is a file.
    pub(crate) fn new(mapped: Option<&Arc<MappedFile>>) -> Self {
        let making = Making { ahead_step: AHEAD_BYTES.0, space_step: SPACE_BYTES.0, ..Making::default() };
        let room =
            Self { ready: AtomicI64::new(0), low: AtomicI64::new(i64::MAX), making: Mutex::new(making) };
        if let Some(mapped) = mapped {
            room.begin(mapped);
        }
        room
    }

    fn making(&self) -> MutexGuard<'_, Making> {
        // Every change of `Making` is complete before anything can panic.
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on behind the published bytes of this file.
    pub(crate) fn begin(&self, mapped: &Arc<MappedFile>) {
        let mut making = self.making();
        making.ready = mapped.published() & !(PAGE_BYTES - 1);
        making.space = making.ready;
        making.file = None;
        making.mapped = Some(Arc::clone(mapped));
        self.publish(&making);
    }

    /// Ends the work on the present file, which is not part of the log any more.
    pub(crate) fn forget(&self) {
        let mut making = self.making();
        (making.mapped, making.file, making.ready, making.space) = (None, None, 0, 0);
        self.low.store(i64::MAX, Ordering::Relaxed);
        self.ready.store(0, Ordering::Release);
    }

    fn publish(&self, making: &Making) {
        let Some(mapped) = &making.mapped else { return };
        let low = if making.ready < mapped.len() {
            mapped.offset() + making.ready.saturating_sub(making.ahead_step / 2) as i64
        } else {
            i64::MAX
        };
        self.low.store(low, Ordering::Relaxed);
        self.ready.store(mapped.offset() + making.ready as i64, Ordering::Release);
    }

    /// Says whether pages are ready up to `end`.
    #[inline]
    pub(crate) fn is_ready(&self, end: i64) -> bool {
        self.ready.load(Ordering::Acquire) >= end
    }

    /// Says whether more should be made ready while the log ends at `end`.
    #[inline]
    pub(crate) fn is_low(&self, end: i64) -> bool {
        end > self.low.load(Ordering::Relaxed)
    }

    /// Makes pages ready up to `end`, which lies in the last file.
    pub(crate) fn make(&self, files: &MappedQueue, end: i64) -> Result<(), Error> {
        let mut making = self.making();
        while !self.is_ready(end) {
            making.piece(files, end)?;
            self.publish(&making);
        }
        Ok(())
    }

    /// Makes as much room ahead of `end` as recent puts make worth it. The writer is held up by no more than one piece.
    pub(crate) fn make_ahead(&self, files: &MappedQueue, end: i64) -> Result<(), Error> {
        let mut until = 0;
        while self.is_low(end) || !self.is_ready(until) {
            let mut making = self.making();
            let Some(mapped) = &making.mapped else { return Ok(()) };
            let file_end = mapped.offset() + mapped.len() as i64;
            if !(mapped.offset()..file_end).contains(&end) {
                // The log has gone on to another file meanwhile.
                return Ok(());
            }
            if until == 0 {
                making.ahead_step = (making.ahead_step * 2).min(AHEAD_BYTES.1);
                until = (end + making.ahead_step as i64).min(file_end);
            }
            making.piece(files, until)?;
            self.publish(&making);
        }
        Ok(())
    }

    /// Gives back the space that was taken ahead of `end`. Nobody writes any more.
    pub(crate) fn give_back(&self, files: &MappedQueue, end: i64) -> Result<(), Error> {
        let mut making = self.making();
        let Some(mapped) = making.mapped.take() else { return Ok(()) };
        let from = ((end - mapped.offset()) as usize).next_multiple_of(PAGE_BYTES);
        let bytes = making.space.max(making.ready).saturating_sub(from);
        if bytes == 0 {
            return Ok(());
        }
        files.clear(mapped.offset(), from as u64, bytes as u64)
    }
}

impl Making {
    /// Makes the next piece ready, not further than the page of `end`.
    fn piece(&mut self, files: &MappedQueue, end: i64) -> Result<(), Error> {
        let Some(mapped) = &self.mapped else { return Ok(()) };
        let wanted = ((end - mapped.offset()) as usize).next_multiple_of(PAGE_BYTES).min(mapped.len());
        let to = wanted.min(self.ready + PIECE_BYTES);
        if to <= self.ready {
            // A put made more room than the thread had in mind when it began.
            return Ok(());
        }
        let failed = |source| Error::io("make room in", &files.path(mapped.offset()))(source);
        if to > self.space {
            if self.file.is_none() {
                self.file = Some(files.open(mapped.offset())?);
            }
            let Some(file) = &self.file else { unreachable!("opened above") };
            let space = to.max(self.space + self.space_step).min(mapped.len());
            let take = |space: usize| files.allocate(file, self.space as u64, (space - self.space) as u64);
            self.space = match take(space) {
                Ok(()) => space,
                // The last of the volume goes in small pieces.
                Err(error) if error.kind() == io::ErrorKind::StorageFull && space > to => {
                    take(to).map_err(failed)?;
                    to
                }
                Err(error) => return Err(failed(error)),
            };
            self.space_step = (self.space_step * 2).min(SPACE_BYTES.1);
        }
        mapped.populate(self.ready, to).map_err(failed)?;
        self.ready = to;
        Ok(())
    }
}
