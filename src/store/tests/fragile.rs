//! A file system that remembers everything a power cut could leave of what was written through it, and draws such
//! images at random.
//!
//! Each sector of 512 bytes is what it was at the last sync of its file, or any content that was seen since, whatever
//! its neighbours are; a length and a name (of a file or directory that was made or deleted) likewise. The
//! store writes through mappings, which no seam sees: so every file is looked at before and after each call and each
//! step of a test.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use super::*;

const SECTOR_BYTES: usize = 512;
/// A file longer than this is not looked at, and is in no image.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A directory in memory if there is one: an image is gone in milliseconds.
pub(crate) fn scratch() -> TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap()
}

/// A small random number generator (splitmix64), so that a seed always means the same.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// Says yes `percent` times of a hundred.
    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// What a name may stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Absent,
    Dir,
    /// A file, by the number of its inode.
    File(u64),
}

/// A file's possible contents; the first of each list is what the last sync left, the last is what is there now.
#[derive(Debug)]
struct Content {
    /// Keeps the inode from being used again.
    file: File,
    lengths: Vec<usize>,
    sectors: Vec<Vec<Box<[u8]>>>,
}

impl Content {
    /// Takes note of what the file holds now.
    fn observe(&mut self) {
        let len = self.file.metadata().unwrap().len() as usize;
        if self.lengths.last() != Some(&len) {
            self.lengths.push(len);
        }
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, 0).unwrap();
        for (number, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
            if number == self.sectors.len() {
                self.sectors.push(vec![vec![0; sector.len()].into_boxed_slice()]);
            }
            let versions = &mut self.sectors[number];
            if versions.last().is_none_or(|last| **last != *sector) {
                versions.push(sector.into());
            }
        }
    }

    /// Forgets what a sync of these bytes overwrites.
    fn sync(&mut self, bytes: &Range<u64>) {
        self.observe();
        only_last(&mut self.lengths);
        // The system writes whole pages.
        let (from, to) = (bytes.start / 4_096 * 8, bytes.end.div_ceil(4_096).saturating_mul(8));
        for (number, versions) in self.sectors.iter_mut().enumerate() {
            if (from..to).contains(&(number as u64)) {
                only_last(versions);
            }
        }
    }
}

fn only_last<T>(versions: &mut Vec<T>) {
    versions.drain(..versions.len() - 1);
}

/// The files of an image by their path below the root.
pub(crate) type Image = Vec<(PathBuf, Vec<u8>)>;

/// Writes an image under a root.
pub(crate) fn write_image(image: &Image, root: &Path) {
    for (path, bytes) in image {
        let path = root.join(path);
        if let Err(error) = std::fs::write(&path, bytes) {
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
        }
    }
}

/// An image that was drawn while the store worked.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    pub(crate) image: Image,
    /// Up to where the log was acknowledged at that moment.
    pub(crate) acked: i64,
    /// Below it the log may have been deleted.
    pub(crate) floor: i64,
    /// The call after which it was drawn.
    pub(crate) after: &'static str,
}

#[derive(Debug)]
struct State {
    /// What each name stood for, and the number of the change that made it so. One change may be to two names.
    names: BTreeMap<PathBuf, Vec<(Entry, u64)>>,
    changes: u64,
    files: HashMap<u64, Content>,
    random: Random,
    drawn: Vec<Drawn>,
    /// How likely an image is drawn after a call, percent.
    percent: usize,
    acked: i64,
    floor: i64,
}

/// The file system.
#[derive(Debug)]
pub(crate) struct Fragile {
    root: PathBuf,
    state: Mutex<State>,
}

impl Fragile {
    /// Begins with what is under `root`, all of it safe. After a call an image is drawn `percent` times of a hundred.
    pub(crate) fn new(root: &Path, seed: u64, percent: usize) -> Self {
        let mut state = State {
            names: BTreeMap::new(),
            changes: 0,
            files: HashMap::new(),
            random: Random(seed),
            drawn: Vec::new(),
            percent,
            acked: 0,
            floor: 0,
        };
        let mut dirs = vec![root.to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    state.names.insert(path.clone(), vec![(Entry::Dir, 0)]);
                    dirs.push(path);
                } else {
                    let file = File::open(&path).unwrap();
                    let inode = state.add(file);
                    state.files.get_mut(&inode).unwrap().sync(&(0..u64::MAX));
                    state.names.insert(path, vec![(Entry::File(inode), 0)]);
                }
            }
        }
        Self { root: root.to_owned(), state: Mutex::new(state) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Looks at every file, and perhaps draws an image.
    pub(crate) fn look(&self, after: &'static str) {
        self.state().event(&self.root, after);
    }

    /// Promises that the log is safe up to here, and that below `floor` it may be deleted.
    pub(crate) fn promise(&self, acked: i64, floor: i64) {
        let mut state = self.state();
        state.acked = state.acked.max(acked);
        state.floor = state.floor.max(floor);
    }

    /// Returns the images drawn so far, and one more of now.
    pub(crate) fn take(&self) -> Vec<Drawn> {
        let mut state = self.state();
        state.observe();
        let last = state.draw(&self.root, "the end");
        state.drawn.push(last);
        std::mem::take(&mut state.drawn)
    }

    fn change<R>(
        &self,
        after: &'static str,
        change: impl FnOnce(&mut State) -> io::Result<R>,
    ) -> io::Result<R> {
        let mut state = self.state();
        state.observe();
        let result = change(&mut state);
        state.event(&self.root, after);
        result
    }
}

impl State {
    fn add(&mut self, file: File) -> u64 {
        let inode = file.metadata().unwrap().ino();
        self.files.entry(inode).or_insert_with(|| Content { file, lengths: vec![0], sectors: Vec::new() });
        inode
    }

    fn now(&self, path: &Path) -> Entry {
        self.names.get(path).and_then(|entries| entries.last()).map_or(Entry::Absent, |last| last.0)
    }

    /// Takes note of one change to these names.
    fn name(&mut self, names: &[(&Path, Entry)]) {
        self.changes += 1;
        for (path, entry) in names {
            if self.now(path) != *entry {
                let entries =
                    self.names.entry((*path).to_owned()).or_insert_with(|| vec![(Entry::Absent, 0)]);
                entries.push((*entry, self.changes));
            }
        }
    }

    fn observe(&mut self) {
        for entries in self.names.values() {
            if let Some((Entry::File(inode), _)) = entries.last()
                && let Some(content) = self.files.get_mut(inode)
            {
                content.observe();
            }
        }
    }

    fn event(&mut self, root: &Path, after: &'static str) {
        self.observe();
        if self.random.percent(self.percent) {
            let drawn = self.draw(root, after);
            self.drawn.push(drawn);
        }
    }

    /// Draws an image of a power cut at this moment.
    fn draw(&mut self, root: &Path, after: &'static str) -> Drawn {
        let random = &mut self.random;
        // How often the oldest is taken, and how often a name: from nothing to everything that was not synced.
        let ages = [0, 5, 30, 50, 80, 97, 100];
        let (age, names_age) = (ages[random.below(ages.len())], ages[random.below(ages.len())]);
        let mut dirs = vec![root.to_owned()];
        let mut image = Vec::new();
        let mut lost = HashMap::new();
        // In order, so that a directory comes before what is in it.
        for (path, entries) in &self.names {
            if !path.parent().is_some_and(|parent| dirs.iter().any(|dir| dir == parent)) {
                continue;
            }
            let mut is_there =
                |change: u64| !*lost.entry(change).or_insert_with(|| random.percent(names_age));
            let later = entries[1..].iter().rfind(|(_, change)| is_there(*change));
            match later.unwrap_or(&entries[0]).0 {
                Entry::Absent => {}
                Entry::Dir => dirs.push(path.clone()),
                Entry::File(inode) => {
                    let content = &self.files[&inode];
                    let len = *pick(random, &content.lengths, names_age);
                    // Now and then one file is quite another way than the rest.
                    let age = if random.percent(15) { ages[random.below(ages.len())] } else { age };
                    let mut bytes: Vec<u8> = content
                        .sectors
                        .iter()
                        .flat_map(|versions| pick(random, versions, age).iter().copied())
                        .collect();
                    bytes.resize(len, 0);
                    image.push((path.strip_prefix(root).unwrap().to_owned(), bytes));
                }
            }
        }
        Drawn { image, acked: self.acked, floor: self.floor, after }
    }
}

fn pick<'a, T>(random: &mut Random, versions: &'a [T], age: usize) -> &'a T {
    if versions.len() == 1 {
        return &versions[0];
    }
    let newest = versions.len() - 1;
    let at = if random.percent(age) {
        0
    } else if random.percent(70) {
        newest
    } else {
        random.below(versions.len())
    };
    &versions[at]
}

impl FileSystem for Fragile {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<File> {
        self.change("create", |state| {
            if bytes > FILE_BYTES_MAX {
                return Disk.create(path, bytes);
            }
            for dir in path.ancestors().skip(1).take_while(|dir| *dir != self.root) {
                if dir.exists() && state.now(dir) == Entry::Absent {
                    // Somebody else has made it, and has seen to it.
                    state.names.insert(dir.to_owned(), vec![(Entry::Dir, 0)]);
                }
                state.name(&[(dir, Entry::Dir)]);
            }
            let file = Disk.create(path, bytes)?;
            let inode = state.add(file.try_clone()?);
            state.name(&[(path, Entry::File(inode))]);
            Ok(file)
        })
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        Disk.open(path)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.change("sync", |state| {
            match state.files.get_mut(&file.metadata()?.ino()) {
                Some(content) => content.sync(&(0..u64::MAX)),
                None => assert!(file.metadata()?.len() > FILE_BYTES_MAX, "a file made here"),
            }
            Ok(())
        })
    }

    fn sync_mapped(&self, path: &Path, bytes: Range<u64>, _: &dyn Fn() -> io::Result<()>) -> io::Result<()> {
        self.change("sync of a mapping", |state| {
            let Entry::File(inode) = state.now(path) else { panic!("{} was never made", path.display()) };
            state.files.get_mut(&inode).expect("a file made here").sync(&bytes);
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change("sync of a directory", |state| {
            for (path, entries) in &mut state.names {
                if path.parent() == Some(dir) {
                    only_last(entries);
                }
            }
            Ok(())
        })
    }

    fn sync_volume(&self, _: &Path) -> io::Result<()> {
        self.change("sync of the volume", |state| {
            state.names.values_mut().for_each(only_last);
            state.files.values_mut().for_each(|content| content.sync(&(0..u64::MAX)));
            Ok(())
        })
    }

    fn clear(&self, file: &File, at: u64, bytes: u64) -> io::Result<()> {
        self.change("clear", |_| Disk.clear(file, at, bytes))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change("remove", |state| {
            Disk.remove(path)?;
            state.name(&[(path, Entry::Absent)]);
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change("rename", |state| {
            Disk.rename(from, to)?;
            let file = state.now(from);
            state.name(&[(to, file), (from, Entry::Absent)]);
            Ok(())
        })
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.change("remove of a directory", |state| {
            Disk.remove_dir(path)?;
            let below: Vec<_> = state.names.keys().filter(|name| name.starts_with(path)).cloned().collect();
            for name in &below {
                state.name(&[(name, Entry::Absent)]);
            }
            Ok(())
        })
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        Disk.space(path)
    }
}
