//! One mapped stretch of a file: written at its end by one appender, read below that by anybody.
//!
//! The only unsafe code of the house. Mirrors `DefaultMappedFile`, without its reference counting by hand: a
//! reader holds an [`Arc`], so the mapping lives until the last reader is done, even when the file is deleted.
//!
//! The rule that makes it sound: bytes below `published` are never written again through any mapping while
//! it can be read, and bytes at or above it are touched only through the one [`Appender`]. What another
//! process does to the file is outside of that; the lock file keeps other brokers away.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use memmap2::{MmapMut, MmapOptions, MmapRaw};

/// Mappings of consume-queue windows in this process, over all its stores: the kernel's limit is per process.
static WINDOWS: AtomicUsize = AtomicUsize::new(0);

/// A mapped stretch of a file.
#[derive(Debug)]
pub(crate) struct MappedFile {
    map: MmapRaw,
    /// Position of its first byte in the endless log or queue.
    offset: i64,
    /// Bytes from the start that may be read.
    published: AtomicUsize,
    /// Whether it counts as a window.
    window: bool,
}

impl MappedFile {
    /// Maps `len` bytes of `file` from `file_at` (a multiple of the page size) on. The first `published` of them
    /// hold valid content already.
    pub(crate) fn map(
        file: &File,
        file_at: u64,
        len: usize,
        offset: i64,
        published: usize,
    ) -> io::Result<Appender> {
        Self::map_as(file, file_at, len, offset, published, false)
    }

    /// Does the same for a window of a consume queue, if fewer than `limit` windows are mapped.
    pub(crate) fn map_window(
        file: &File,
        file_at: u64,
        len: usize,
        offset: i64,
        published: usize,
        limit: usize,
    ) -> io::Result<Option<Appender>> {
        if WINDOWS.fetch_add(1, Ordering::Relaxed) >= limit {
            WINDOWS.fetch_sub(1, Ordering::Relaxed);
            return Ok(None);
        }
        let mapped = Self::map_as(file, file_at, len, offset, published, true);
        if mapped.is_err() {
            WINDOWS.fetch_sub(1, Ordering::Relaxed);
        }
        mapped.map(Some)
    }

    fn map_as(
        file: &File,
        file_at: u64,
        len: usize,
        offset: i64,
        published: usize,
        window: bool,
    ) -> io::Result<Appender> {
        assert!(published <= len, "published bytes lie within the mapping");
        let map = MmapOptions::new().offset(file_at).len(len).map_raw(file)?;
        if window {
            scattered(map.advise(memmap2::Advice::Random));
        }
        let published = AtomicUsize::new(published);
        Ok(Appender { file: Arc::new(Self { map, offset, published, window }) })
    }

    /// Returns the position of the first byte in the endless log or queue.
    pub(crate) fn offset(&self) -> i64 {
        self.offset
    }

    /// Returns the length of the mapping in bytes.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// Returns how many bytes may be read.
    #[inline]
    pub(crate) fn published(&self) -> usize {
        self.published.load(Ordering::Acquire)
    }

    /// Returns the bytes that may be read.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        let len = self.published();
        // SAFETY: the mapping has at least `published` bytes (asserted when it is raised), lives as long as
        // `self`, and its bytes below `published` are never written again: the appender writes above only.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr(), len) }
    }

    /// Returns the bytes that may be read as a buffer that keeps the mapping alive; one allocation, and none
    /// for slices of it.
    pub(crate) fn view(self: &Arc<Self>) -> Bytes {
        struct View(Arc<MappedFile>);
        impl AsRef<[u8]> for View {
            fn as_ref(&self) -> &[u8] {
                self.0.bytes()
            }
        }
        Bytes::from_owner(View(Arc::clone(self)))
    }

    /// Returns once bytes `from..to` of the mapping are on the disk. Blocks.
    pub(crate) fn flush(&self, from: usize, to: usize) -> io::Result<()> {
        self.map.flush_range(from, to.saturating_sub(from))
    }

    /// Gives the pages of `from..to` of the mapping memory, so that writing to them does not fault one by one. Their
    /// content does not change.
    pub(crate) fn populate(&self, from: usize, to: usize) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        {
            let populated = self.map.advise_range(memmap2::Advice::PopulateWrite, from, to - from);
            match populated {
                // A kernel before 5.14 does not know the advice; then pages fault in one by one.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
                other => other,
            }
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (from, to);
            Ok(())
        }
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        if self.window {
            WINDOWS.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The one writer of a mapped stretch.
#[derive(Debug)]
pub(crate) struct Appender {
    file: Arc<MappedFile>,
}

impl Appender {
    /// Returns the stretch for reading.
    pub(crate) fn file(&self) -> &Arc<MappedFile> {
        &self.file
    }

    /// Returns the bytes behind the published ones, for writing.
    #[inline]
    pub(crate) fn rest(&mut self) -> &mut [u8] {
        let at = self.file.published.load(Ordering::Relaxed);
        // SAFETY: `at` is at most the mapping's length. Nobody else reads or writes from `at` on: readers stop at
        // `published`, there is one appender per mapping, and `&mut self` makes this the only slice of it.
        unsafe { std::slice::from_raw_parts_mut(self.file.map.as_mut_ptr().add(at), self.file.len() - at) }
    }

    /// Makes the next `len` bytes readable; what was written to them is visible to whoever sees the new length.
    #[inline]
    pub(crate) fn publish(&mut self, len: usize) {
        let published = self.file.published.load(Ordering::Relaxed) + len;
        assert!(published <= self.file.len(), "no more is published than is mapped");
        self.file.published.store(published, Ordering::Release);
    }
}

/// Maps a whole file for one owner who reads and writes anywhere in it.
pub(crate) fn map_owned(file: &File, len: usize) -> io::Result<MmapMut> {
    // SAFETY: the only mapping of this file in this process, owned by the caller, so that the borrow checker
    // orders all access; other brokers are kept away by the lock file.
    let map = unsafe { MmapOptions::new().len(len).map_mut(file) }?;
    scattered(map.advise(memmap2::Advice::Random));
    Ok(map)
}

/// Takes note that the kernel was told not to read around a fault: in a sparse file that makes a hundred pages of
/// zeros for one entry. That it does not listen is no reason to refuse the file.
fn scattered(advised: io::Result<()>) {
    if let Err(error) = advised {
        tracing::debug!(%error, "the kernel takes no advice about a mapping");
    }
}
