//! The seam to the file system: every change the store makes to it goes through here.
//!
//! [`Disk`] is the real thing. A test hands the store another [`FileSystem`] whose flush fails, whose volume is
//! full, or which notes what a power cut could leave. Reading, and writing through a mapping, are not here: they
//! cannot be refused politely.
//!
//! What the store assumes of a disk: a sector of 512 bytes is written whole or not at all; what was not synced may be
//! there or not, each sector for itself, in any order; a name that was made or taken away is only sure after
//! [`FileSystem::sync_dir`], and a length after a sync of its file.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::Path;

use super::DiskSpace;

/// What the store asks of a file system.
pub trait FileSystem: Debug + Send + Sync {
    /// Opens a file for reading and writing; makes it, and its directory, when it is not there, and gives it
    /// this length (sparse).
    fn create(&self, path: &Path, bytes: u64) -> io::Result<File>;

    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<File>;

    /// Returns once the file's contents are on the disk.
    fn sync(&self, file: &File) -> io::Result<()>;

    /// Runs a flush of mapped pages, which hold these bytes of the file at `path`; an own file system may fail instead.
    fn sync_mapped(
        &self,
        path: &Path,
        bytes: Range<u64>,
        flush: &dyn Fn() -> io::Result<()>,
    ) -> io::Result<()> {
        let _ = (path, bytes);
        flush()
    }

    /// Returns once the names in a directory are on the disk: files made there stay, those deleted stay away. A directory
    /// that is not there is no error.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Returns once everything on the volume of this directory is on the disk.
    fn sync_volume(&self, dir: &Path) -> io::Result<()>;

    /// Takes space on the volume for a range of a file, whose content stays; refused when the volume is full. Where a
    /// file system cannot do so it does nothing.
    fn allocate(&self, file: &File, at: u64, bytes: u64) -> io::Result<()> {
        use rustix::fs::FallocateFlags;
        match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, at, bytes) {
            Err(error) if error == rustix::io::Errno::OPNOTSUPP || error == rustix::io::Errno::NOSYS => {
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// Makes a range of a file read as zeros again.
    fn clear(&self, file: &File, at: u64, bytes: u64) -> io::Result<()>;

    /// Writes bytes that are there already, so that the next sync brings them to the disk, whatever became of the last.
    fn rewrite(&self, file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
    }

    /// Gives a file another name of the same volume, in one step, in place of the file that may have it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// Deletes a file; one that is not there is no error.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Deletes a directory with all it holds; one that is not there is no error.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Returns the room on the volume that holds `path` or its nearest existing parent.
    fn space(&self, path: &Path) -> io::Result<DiskSpace>;
}

/// The file system of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl FileSystem for Disk {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<File> {
        let open = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = open().or_else(|error| match path.parent() {
            Some(dir) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(dir)?;
                open()
            }
            _ => Err(error),
        })?;
        if file.metadata()?.len() != bytes {
            file.set_len(bytes)?;
        }
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(path)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        absent_is_fine(File::open(dir).and_then(|dir| dir.sync_all()))
    }

    fn sync_volume(&self, dir: &Path) -> io::Result<()> {
        rustix::fs::syncfs(File::open(dir)?)?;
        Ok(())
    }

    fn clear(&self, file: &File, at: u64, bytes: u64) -> io::Result<()> {
        use rustix::fs::FallocateFlags;
        if bytes == 0 {
            return Ok(());
        }
        let punched =
            rustix::fs::fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, bytes);
        if punched.is_ok() {
            return Ok(());
        }
        // A file system without holes: write the zeros.
        let zeros = [0_u8; 4_096];
        let mut left = bytes;
        while left > 0 {
            let piece = left.min(zeros.len() as u64);
            std::os::unix::fs::FileExt::write_all_at(file, &zeros[..piece as usize], at + bytes - left)?;
            left -= piece;
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        absent_is_fine(fs::remove_file(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        absent_is_fine(fs::remove_dir_all(path))
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        let mut at = path;
        loop {
            match rustix::fs::statvfs(at) {
                Ok(stat) => {
                    return Ok(DiskSpace {
                        total_bytes: stat.f_blocks * stat.f_frsize,
                        free_bytes: stat.f_bavail * stat.f_frsize,
                        read_only: stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
                    });
                }
                Err(error) => match at.parent() {
                    Some(parent) if !parent.as_os_str().is_empty() => at = parent,
                    _ => return Err(error.into()),
                },
            }
        }
    }
}

/// Replaces a file: a power cut leaves the old one or the new one, whole. Returns once the new one is on the disk. With
/// `backup` the old one gets that name, and for a moment has only that. Blocks.
pub fn replace(
    disk: &dyn FileSystem,
    path: &Path,
    bytes: &[u8],
    backup: Option<&Path>,
) -> Result<(), super::Error> {
    use super::Error;
    let dir = path.parent().unwrap_or(Path::new("."));
    // Whose names are sure only when the directories that hold them are flushed.
    let made: Vec<_> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".tmp");
    let fresh = Path::new(&fresh);
    let file = disk.create(fresh, bytes.len() as u64).map_err(Error::io("create", fresh))?;
    std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0).map_err(Error::io("write", fresh))?;
    disk.sync(&file).map_err(Error::io("flush", fresh))?;
    drop(file);
    if let Some(backup) = backup {
        absent_is_fine(disk.rename(path, backup)).map_err(Error::io("rename", path))?;
    }
    disk.rename(fresh, path).map_err(Error::io("rename", fresh))?;
    disk.sync_dir(dir).map_err(Error::io("flush", dir))?;
    for parent in made.iter().filter_map(|dir| dir.parent()) {
        disk.sync_dir(parent).map_err(Error::io("flush", parent))?;
    }
    Ok(())
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// One file of a directory whose file names are offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NamedFile {
    /// The offset in its name.
    pub(crate) offset: i64,
    /// Its length in bytes.
    pub(crate) bytes: u64,
}

/// Returns the name of the file that begins at `offset`.
pub(crate) fn file_name(offset: i64) -> String {
    format!("{offset:020}")
}

/// Lists the files of a directory whose names are decimal offsets, in order; sub-directories are skipped.
/// A directory that is not there is empty. Any other name is an error, as in the reference.
pub(crate) fn list_offsets(dir: &Path) -> Result<Vec<NamedFile>, super::Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(super::Error::io("list", dir)(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(super::Error::io("list", dir))?;
        let meta = entry.metadata().map_err(super::Error::io("look at", &entry.path()))?;
        if meta.is_dir() {
            continue;
        }
        let offset = entry.file_name().to_str().and_then(|name| name.parse::<i64>().ok());
        match offset {
            Some(offset) if offset >= 0 => files.push(NamedFile { offset, bytes: meta.len() }),
            _ => {
                return Err(super::Error::Corrupt {
                    path: entry.path(),
                    position: 0,
                    what: "only files named by their offset belong here; move it away".to_owned(),
                });
            }
        }
    }
    files.sort_unstable_by_key(|file| file.offset);
    Ok(files)
}

/// Lists the sub-directories of a directory by name; one that is not there is empty.
pub(crate) fn list_dirs(dir: &Path) -> Result<Vec<String>, super::Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(super::Error::io("list", dir)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(super::Error::io("list", dir))?;
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_dir && let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}
