//! A file system that fails when told to, and remembers what was asked of it.

use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use super::*;

pub(super) const EIO: i32 = 5;
pub(super) const ENOSPC: i32 = 28;
pub(super) const EROFS: i32 = 30;

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Making and opening files for writing, taking space, clearing, deleting, writing again.
    Write,
    /// Everything that waits for the disk.
    Flush,
}

/// The file system.
#[derive(Debug)]
pub(super) struct Moody {
    /// Calls that fail for paths with this in them, and how.
    orders: Mutex<Vec<(Call, &'static str, i32)>>,
    pub(super) free_bytes: AtomicU64,
    pub(super) read_only: AtomicBool,
    /// Byte of a file behind which there is no space; 0 for enough of it.
    pub(super) space_end: AtomicU64,
    /// What was written again: file, place, bytes.
    pub(super) rewritten: Mutex<Vec<(PathBuf, u64, usize)>>,
    /// Paths that were flushed, in order.
    pub(super) flushed: Mutex<Vec<PathBuf>>,
}

impl Default for Moody {
    fn default() -> Self {
        Self {
            orders: Mutex::default(),
            free_bytes: AtomicU64::new(50 << 30),
            read_only: AtomicBool::new(false),
            space_end: AtomicU64::new(0),
            rewritten: Mutex::default(),
            flushed: Mutex::default(),
        }
    }
}

fn path_of(file: &File) -> PathBuf {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap()
}

impl Moody {
    /// Lets calls of a kind fail from now on.
    pub(super) fn order(&self, call: Call, path: &'static str, errno: i32) {
        self.orders.lock().unwrap().push((call, path, errno));
    }

    /// Lets everything work again.
    pub(super) fn forgive(&self) {
        self.orders.lock().unwrap().clear();
    }

    fn check(&self, call: Call, path: &Path) -> io::Result<()> {
        let text = path.to_string_lossy();
        let orders = self.orders.lock().unwrap();
        match orders.iter().find(|(which, part, _)| *which == call && text.contains(part)) {
            Some((_, _, errno)) => Err(io::Error::from_raw_os_error(*errno)),
            None => Ok(()),
        }
    }

    fn flush(&self, path: &Path) -> io::Result<()> {
        self.check(Call::Flush, path)?;
        self.flushed.lock().unwrap().push(path.to_owned());
        Ok(())
    }
}

impl FileSystem for Moody {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<File> {
        self.check(Call::Write, path)?;
        Disk.create(path, bytes)
    }
    fn open(&self, path: &Path) -> io::Result<File> {
        self.check(Call::Write, path)?;
        Disk.open(path)
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        self.flush(&path_of(file))?;
        Disk.sync(file)
    }
    fn sync_mapped(&self, path: &Path, _: Range<u64>, flush: &dyn Fn() -> io::Result<()>) -> io::Result<()> {
        self.flush(path)?;
        flush()
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.flush(dir)?;
        Disk.sync_dir(dir)
    }
    fn sync_volume(&self, dir: &Path) -> io::Result<()> {
        self.flush(&dir.join("the volume"))?;
        Disk.sync_volume(dir)
    }
    fn allocate(&self, file: &File, at: u64, bytes: u64) -> io::Result<()> {
        self.check(Call::Write, &path_of(file))?;
        let space_end = self.space_end.load(Ordering::SeqCst);
        if space_end > 0 && at + bytes > space_end {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Disk.allocate(file, at, bytes)
    }
    fn clear(&self, file: &File, at: u64, bytes: u64) -> io::Result<()> {
        self.check(Call::Write, &path_of(file))?;
        Disk.clear(file, at, bytes)
    }
    fn rewrite(&self, file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.check(Call::Write, &path_of(file))?;
        self.rewritten.lock().unwrap().push((path_of(file), at, bytes.len()));
        Disk.rewrite(file, at, bytes)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check(Call::Write, path)?;
        Disk.remove(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.check(Call::Write, path)?;
        Disk.remove_dir(path)
    }
    fn space(&self, _: &Path) -> io::Result<DiskSpace> {
        Ok(DiskSpace {
            total_bytes: 100 << 30,
            free_bytes: self.free_bytes.load(Ordering::SeqCst),
            read_only: self.read_only.load(Ordering::SeqCst),
        })
    }
}

/// A store on such a file system.
pub(super) fn moody(
    change: impl FnOnce(&mut StoreOptions),
) -> (TempDir, Arc<Moody>, Arc<MessageStore>, Faults, Clock) {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Moody::default());
    let (faults, clock) = (Faults::default(), Clock::new());
    let mut options = options(dir.path());
    change(&mut options);
    let store = MessageStore::open_on(disk.clone(), options, clock.clone(), faults.clone()).unwrap();
    (dir, disk, store, faults, clock)
}
