//! The table of all consume queues; mirrors `ConsumeQueueStore`.
//!
//! A queue is found by one look-up of (topic, queue id) without a lock. After a clean stop nothing is read but
//! the names of the topic directories: the queues of a topic are loaded when the topic is first asked for, so that
//! starting does not take longer with 80,000 queues on disk.

use std::collections::{BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use papaya::{Equivalent, HashMap};

use super::Error;
use super::QueueEntry;
use super::consume_queue::{Appended, ConsumeQueue, QueueSpace};
use super::disk::{FileSystem, list_dirs};

/// Longest topic, in bytes, that can be a directory's name.
const TOPIC_DIR_BYTES_MAX: usize = 255;

/// All consume queues of a store.
#[derive(Debug)]
pub(crate) struct Queues {
    space: QueueSpace,
    table: HashMap<Key, Arc<ConsumeQueue>>,
    /// Topics on disk whose queues are not in the table yet.
    unloaded: Mutex<HashSet<Arc<str>>>,
    unloaded_len: AtomicUsize,
    /// Queues with entries that are not on the disk.
    dirty: Mutex<Vec<Arc<ConsumeQueue>>>,
    /// Where the commit log begins, for queues that are loaded later.
    log_min: AtomicI64,
}

#[derive(Debug)]
struct Key {
    topic: Arc<str>,
    queue_id: i32,
}

struct KeyRef<'a> {
    topic: &'a str,
    queue_id: i32,
}

impl Key {
    fn as_ref(&self) -> KeyRef<'_> {
        KeyRef { topic: &self.topic, queue_id: self.queue_id }
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.topic.hash(state);
        self.queue_id.hash(state);
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_ref().hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.queue_id == other.queue_id && self.topic == other.topic
    }
}

impl Eq for Key {}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.queue_id == key.queue_id && *self.topic == *key.topic
    }
}

/// Says whether a topic's queues can be kept: its name must be a directory's name.
fn is_storable(topic: &str) -> bool {
    !topic.is_empty()
        && topic.len() <= TOPIC_DIR_BYTES_MAX
        && topic != "."
        && topic != ".."
        && !topic.bytes().any(|byte| byte == b'/' || byte == 0)
}

impl Queues {
    /// Makes an empty table over a directory.
    pub(crate) fn new(dir: PathBuf, file_bytes: u64, disk: Arc<dyn FileSystem>) -> Self {
        Self {
            space: QueueSpace {
                dir,
                file_bytes,
                disk,
                window_limit: window_limit(),
                file_limit: file_limit(),
                windows_wanted: AtomicBool::new(false),
            },
            table: HashMap::new(),
            unloaded: Mutex::default(),
            unloaded_len: AtomicUsize::new(0),
            dirty: Mutex::default(),
            log_min: AtomicI64::new(0),
        }
    }

    /// Returns what the queues have in common.
    pub(crate) fn space(&self) -> &QueueSpace {
        &self.space
    }

    fn unloaded(&self) -> MutexGuard<'_, HashSet<Arc<str>>> {
        self.unloaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the topics whose queues nobody has asked for.
    pub(crate) fn unloaded_topics(&self) -> Vec<Arc<str>> {
        self.unloaded().iter().cloned().collect()
    }

    /// Takes note of the topics on disk without looking into them.
    pub(crate) fn note_topics(&self, log_min: i64) -> Result<(), Error> {
        self.log_min.store(log_min, Ordering::Relaxed);
        let mut unloaded = self.unloaded();
        unloaded.extend(list_dirs(&self.space.dir)?.into_iter().map(Arc::from));
        self.unloaded_len.store(unloaded.len(), Ordering::Release);
        Ok(())
    }

    /// Loads every queue on disk.
    pub(crate) fn load_all(&self) -> Result<(), Error> {
        let topics: Vec<_> = self.unloaded().iter().cloned().collect();
        topics.iter().try_for_each(|topic| self.load_topic(topic))
    }

    /// Loads what a power cut left of every queue. See [`ConsumeQueue::load_after_cut`].
    pub(crate) fn load_all_after_cut(
        &self,
        safe: i64,
        verify: &mut dyn FnMut(&str, i32, i64, &QueueEntry) -> bool,
    ) -> Result<(), Error> {
        let topics: Vec<_> = self.unloaded().iter().cloned().collect();
        let log_min = self.log_min.load(Ordering::Relaxed);
        topics.iter().try_for_each(|topic| {
            self.load_topic_with(topic, &mut |topic, queue_id| {
                let name = Arc::clone(&topic);
                let mut verify = |index, entry: &QueueEntry| verify(&name, queue_id, index, entry);
                ConsumeQueue::load_after_cut(&self.space, topic, queue_id, log_min, safe, &mut verify)
            })
        })
    }

    fn load_topic(&self, topic: &str) -> Result<(), Error> {
        let log_min = self.log_min.load(Ordering::Relaxed);
        self.load_topic_with(topic, &mut |topic, queue_id| {
            ConsumeQueue::load(&self.space, topic, queue_id, log_min)
        })
    }

    fn load_topic_with(
        &self,
        topic: &str,
        load: &mut dyn FnMut(Arc<str>, i32) -> Result<ConsumeQueue, Error>,
    ) -> Result<(), Error> {
        let mut unloaded = self.unloaded();
        let Some(topic) = unloaded.get(topic).cloned() else { return Ok(()) };
        let ids = list_dirs(&self.space.dir.join(&*topic))?;
        // A directory that is not a number, or written in another way than we would, is not a queue.
        for name in ids {
            let Some(queue_id) = name.parse::<i32>().ok().filter(|id| id.to_string() == name) else {
                continue;
            };
            let queue = load(Arc::clone(&topic), queue_id)?;
            self.table.pin().get_or_insert(Key { topic: Arc::clone(&topic), queue_id }, Arc::new(queue));
        }
        // Taken off the list last, so that whoever finds it gone finds the queues in the table.
        unloaded.remove(&*topic);
        self.unloaded_len.store(unloaded.len(), Ordering::Release);
        Ok(())
    }

    /// Returns a queue, if it ever had a message or one is about to come.
    #[inline]
    pub(crate) fn get(&self, topic: &str, queue_id: i32) -> Result<Option<Arc<ConsumeQueue>>, Error> {
        let key = KeyRef { topic, queue_id };
        if let Some(queue) = self.table.pin().get(&key) {
            return Ok(Some(Arc::clone(queue)));
        }
        if self.unloaded_len.load(Ordering::Acquire) == 0 {
            return Ok(None);
        }
        self.load_topic(topic)?;
        Ok(self.table.pin().get(&key).cloned())
    }

    /// Returns a queue, making its handle when there is none; no file is made. `None` when the topic's name could
    /// not be a directory's, or the id is negative.
    #[inline]
    pub(crate) fn get_or_new(&self, topic: &str, queue_id: i32) -> Result<Option<Arc<ConsumeQueue>>, Error> {
        if let Some(queue) = self.get(topic, queue_id)? {
            return Ok(Some(queue));
        }
        if queue_id < 0 || !is_storable(topic) {
            return Ok(None);
        }
        let topic: Arc<str> = Arc::from(topic);
        let table = self.table.pin();
        let queue = Arc::new(ConsumeQueue::new(Arc::clone(&topic), queue_id));
        Ok(Some(Arc::clone(table.get_or_insert(Key { topic, queue_id }, queue))))
    }

    /// Appends an entry to a queue and remembers that it waits for the disk.
    #[inline]
    pub(crate) fn append(
        &self,
        queue: &Arc<ConsumeQueue>,
        index: i64,
        entry: QueueEntry,
    ) -> Result<Appended, Error> {
        let appended = queue.append(&self.space, index, entry)?;
        if appended == Appended::Yes && !queue.dirty.load(Ordering::Relaxed) {
            queue.dirty.store(true, Ordering::Relaxed);
            self.dirty.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(queue));
        }
        Ok(appended)
    }

    /// Calls `visit` with every queue in the table.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&Arc<ConsumeQueue>)) {
        for queue in self.table.pin().values() {
            visit(queue);
        }
    }

    /// Returns every topic that has queues with their ids, in order; looks at the disk only for names.
    pub(crate) fn topics(&self) -> Vec<(Arc<str>, Vec<i32>)> {
        let mut topics = std::collections::BTreeMap::<Arc<str>, Vec<i32>>::new();
        for topic in self.unloaded().iter() {
            let names = list_dirs(&self.space.dir.join(&**topic)).unwrap_or_default();
            let ids = names.iter().filter_map(|name| name.parse().ok()).collect();
            topics.insert(Arc::clone(topic), ids);
        }
        self.for_each(|queue| {
            if queue.max() > 0 {
                let ids = topics.entry(Arc::clone(&queue.topic)).or_default();
                ids.push(queue.queue_id);
            }
        });
        for ids in topics.values_mut() {
            ids.sort_unstable();
            ids.dedup();
        }
        topics.into_iter().filter(|(_, ids)| !ids.is_empty()).collect()
    }

    /// Says whether a topic has queues, in the table or on the disk.
    pub(crate) fn has_topic(&self, topic: &str) -> bool {
        self.unloaded().contains(topic) || self.table.pin().values().any(|queue| *queue.topic == *topic)
    }

    /// Takes every queue of a topic out of the table and deletes its files. See [`ConsumeQueue::destroy`].
    pub(crate) fn delete_topic(&self, topic: &str) -> Result<(), Error> {
        let mut unloaded = self.unloaded();
        let table = self.table.pin();
        let queues: Vec<_> = table.values().filter(|queue| *queue.topic == *topic).cloned().collect();
        for queue in &queues {
            table.remove(&KeyRef { topic, queue_id: queue.queue_id });
            queue.destroy(&self.space)?;
        }
        if is_storable(topic) {
            let dir = self.space.dir.join(topic);
            self.space.disk.remove_dir(&dir).map_err(Error::io("delete", &dir))?;
            self.sync_dir(&self.space.dir)?;
        }
        unloaded.remove(topic);
        self.unloaded_len.store(unloaded.len(), Ordering::Release);
        Ok(())
    }

    /// Takes one queue out of the table and deletes its files.
    pub(crate) fn delete_queue(&self, queue: &ConsumeQueue) -> Result<(), Error> {
        self.table.pin().remove(&KeyRef { topic: &queue.topic, queue_id: queue.queue_id });
        queue.destroy(&self.space)?;
        self.sync_dir(&self.space.dir.join(&*queue.topic))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), Error> {
        self.space.disk.sync_dir(dir).map_err(Error::io("flush", dir))
    }

    /// Deletes every queue, in the table or not.
    pub(crate) fn delete_all(&self) -> Result<(), Error> {
        for (topic, _) in self.topics() {
            self.delete_topic(&topic)?;
        }
        Ok(())
    }

    /// Adapts every loaded queue to the log's new beginning; those loaded later find it by themselves.
    pub(crate) fn log_begins_at(&self, log_min: i64) -> Result<usize, Error> {
        self.log_min.store(log_min, Ordering::Relaxed);
        self.load_all()?;
        let queues: Vec<_> = self.table.pin().values().cloned().collect();
        let mut deleted = 0;
        for queue in queues {
            queue.correct_min(&self.space, log_min)?;
            deleted += queue.delete_old_files(&self.space)?;
        }
        Ok(deleted)
    }

    /// Says whether entries wait for the disk.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Takes the list of waiting queues. The caller holds the dispatcher's lock, so that an entry is either in a
    /// queue on the list or puts its queue on the next one.
    pub(crate) fn take_dirty(&self) -> Vec<Arc<ConsumeQueue>> {
        let waiting = std::mem::take(&mut *self.dirty.lock().unwrap_or_else(PoisonError::into_inner));
        for queue in &waiting {
            queue.dirty.store(false, Ordering::Relaxed);
        }
        waiting
    }

    /// Flushes those of `waiting` that have at least `least_pages` pages waiting, with the names of new files; the others
    /// wait on. Above `volume_at` queues flushes the whole volume instead, which costs one wait, not thousands.
    pub(crate) fn flush(
        &self,
        waiting: Vec<Arc<ConsumeQueue>>,
        least_pages: u32,
        volume_at: usize,
    ) -> Result<(), Error> {
        if least_pages == 0 && waiting.len() > volume_at {
            let ends: Vec<_> = waiting.iter().map(|queue| queue.ends()).collect();
            self.space.disk.sync_volume(&self.space.dir).map_err(Error::io("flush", &self.space.dir))?;
            waiting.iter().zip(ends).for_each(|(queue, end)| queue.set_flushed(end));
            return Ok(());
        }
        let mut flushed = Vec::with_capacity(waiting.len());
        let mut outcome = Ok(());
        for queue in waiting {
            let is_done = if outcome.is_ok() { queue.flush(&self.space, least_pages) } else { Ok(false) };
            match is_done {
                Ok(true) => flushed.push(queue),
                Ok(false) => self.wait_on(queue),
                Err(error) => {
                    outcome = Err(error);
                    self.wait_on(queue);
                }
            }
        }
        self.sync_names(&flushed)?;
        outcome
    }

    /// Puts a queue back on the list of those that wait for the disk.
    fn wait_on(&self, queue: Arc<ConsumeQueue>) {
        if !queue.dirty.swap(true, Ordering::Relaxed) {
            self.dirty.lock().unwrap_or_else(PoisonError::into_inner).push(queue);
        }
    }

    /// Brings the names of these queues' new files to the disk.
    pub(crate) fn sync_names(&self, queues: &[Arc<ConsumeQueue>]) -> Result<(), Error> {
        let (mut dirs, mut unnamed) = (BTreeSet::new(), Vec::new());
        for queue in queues {
            if let Some((dir, files_end)) = queue.unnamed(&self.space) {
                // Its own directory may be new as well, and its topic's.
                dirs.extend(dir.ancestors().take(4).map(Path::to_owned));
                unnamed.push((queue, files_end));
            }
        }
        dirs.iter().try_for_each(|dir| self.sync_dir(dir))?;
        for (queue, files_end) in unnamed {
            queue.set_named(files_end);
        }
        Ok(())
    }

    /// Gives idle queues' windows back when some queue had to do without.
    pub(crate) fn unmap_idle(&self) {
        if self.space.windows_wanted.swap(false, Ordering::Relaxed) {
            self.for_each(|queue| queue.unmap_if_idle());
        }
    }
}

/// Returns how many windows of queues may be mapped: what the kernel allows a process, less what everything else needs.
fn window_limit() -> usize {
    const USUAL_MAP_COUNT: usize = 65_530;
    const OTHERS: usize = 4_096;
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
    let limit: usize = text.trim().parse().unwrap_or(USUAL_MAP_COUNT);
    limit.min(1 << 20).saturating_sub(OTHERS)
}

/// Returns how many files of queues may be kept open: three quarters of what the process may open, after it has asked for
/// as much as it can get. Connections need the rest.
fn file_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const USUAL: u64 = 1_024;
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = if setrlimit(Resource::Nofile, most).is_ok() { limit.maximum } else { limit.current };
    (current.unwrap_or(USUAL) / 4 * 3).min(1 << 20) as usize
}
