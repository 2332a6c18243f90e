//! Opening a store: what is there, where the log ends, what is missing from queues and index; mirrors
//! `DefaultMessageStore.load` and `recover`, `CommitLog.recoverNormally` and `recoverAbnormally`.
//!
//! Three ways, from quick to thorough:
//! 1. **By the checkpoint's hint.** After a clean stop, and after a kill of the process (the abort file names the running
//!    system start, so the page cache lost nothing), the log is followed from the last record that was known to
//!    be dispatched; what comes after is dispatched again, which changes nothing where it was done before. Queues are
//!    not read until they are asked for, so this does not depend on how many messages there are. After a clean stop
//!    their names are compared with those of that stop (see `roll`).
//! 2. **Clean, but without a good hint** (another broker wrote the store): all queues are loaded, and the log is
//!    checked from the last file that one of them reaches, and dispatched from where the longest one ends.
//! 3. **After a power cut**: nothing is believed but what the checkpoint vouches for. The log is checked from the last
//!    file that is vouched for as a whole; queues and index lose every entry of a message from there on, whatever it
//!    looks like, and get it again by dispatch. So it is done after a flush that failed, too, because the system may take
//!    for written what is not; there the log is also written over itself.
//!
//! Messages of topics that were deleted are passed over (see `deleted`). Each way ends at the first record that is not
//! whole. What stands behind it is cleared, so that no stale record can follow a new one. After a kill or a cut the keeper thread flushes the whole volume before it vouches for anything
//! again: what the former process left in memory, and what recovery changed, is not known to wait for the disk.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::checkpoint::{Checkpoint, Field};
use super::commit_log::{CommitLog, Found, inspect};
use super::deleted::DeletedTopics;
use super::disk::{FileSystem, list_dirs, list_offsets};
use super::dispatch::{Dispatcher, Targets};
use super::flush::{Flushed, Threads};
use super::index_file::Index;
use super::mapped_file::Appender;
use super::mapped_queue::MappedQueue;
use super::progress::{Progress, RecoveryListener};
use super::queues::Queues;
use super::replica::Replicas;
use super::roll;
use super::{Error, FlushDiskType, MessageStore, ReadCounters, Refusals, StoreOptions};
use crate::clock::Clock;
use crate::faults::Faults;
use crate::wire::message::MessageRecord;

/// Assumed when the system does not say how much memory it has.
const USUAL_MEMORY_BYTES: u64 = 4 << 30;

/// In the abort file: queues whose files are gone are being built again.
const REBUILDING: &str = "rebuilding";
/// In the abort file: a flush failed.
const UNFLUSHED: &str = "flush-failed";

/// How the last user of the store left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastExit {
    Clean,
    /// The process died, the system went on.
    Killed,
    /// The system may have died.
    PowerCut,
}

/// What a walk along the log found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Walked {
    /// Behind the last good record.
    end: i64,
    /// Store timestamp of the last good record, 0 when there was none.
    timestamp: i64,
}

/// Opens and recovers a store.
pub(crate) fn open(
    disk: Arc<dyn FileSystem>,
    options: StoreOptions,
    clock: Clock,
    faults: Faults,
    listener: RecoveryListener<'_>,
) -> Result<Arc<MessageStore>, Error> {
    let options = options.checked()?;
    let lock = lock(&options.root.join("lock"))?;
    let key = "mappedFileSizeCommitLog";
    let (files, mut appenders) =
        MappedQueue::load(&options.commit_log_dir, options.commit_log_file_bytes, key, Arc::clone(&disk))?;
    let queues =
        Queues::new(options.consume_queue_dir.clone(), options.consume_queue_file_bytes, Arc::clone(&disk));
    check_queue_file(&options)?;
    let (slots, entries) = (options.max_hash_slot_num, options.max_index_num);
    let index = Index::load(options.index_dir.clone(), slots, entries, Arc::clone(&disk))?;
    let checkpoint = Checkpoint::open(&options.checkpoint_file, &*disk)?;
    let last_exit = last_exit(&options.abort_file);
    let log_min = appenders.first().map_or(0, |first| first.file().offset());
    let missing = match last_exit {
        LastExit::Clean if !appenders.is_empty() => roll::missing(&options, &checkpoint),
        _ => BTreeSet::new(),
    };
    if !missing.is_empty() {
        roll::clear(&*disk, &options, &checkpoint, &missing)?;
    }
    queues.note_topics(log_min)?;

    if appenders.is_empty() {
        if !queues.topics().is_empty() {
            tracing::warn!("the commit log is gone, so its queues are deleted");
        }
        queues.delete_all()?;
        index.delete_all()?;
    }
    let mut deleted = DeletedTopics::load(&options);
    let hint = checkpoint.get(Field::Confirm);
    let by_hint = last_exit != LastExit::PowerCut && is_good_hint(&mut appenders, &queues, &deleted, hint)?;
    // Up to where queues and index have everything.
    let mut reached = log_min;
    let from = if by_hint {
        hint
    } else if last_exit == LastExit::Clean {
        queues.load_all()?;
        queues.for_each(|queue| reached = reached.max(queue.max_physical()));
        file_start(&appenders, reached)
    } else {
        let from = abnormal_start(&mut appenders, &checkpoint, options.check_crc_on_recover);
        believe_until(from, &mut appenders, &queues, &index)?;
        from
    };
    // How much of the last file is used is not known yet.
    let ends = appenders.last().map_or(from, |last| last.file().offset() + last.file().len() as i64);
    let progress = Progress::new(&clock, listener, "checking messages", from, ends);
    let look = Look { check_crc: options.check_crc_on_recover, may_be_torn: last_exit != LastExit::Clean };
    let walked = walk(&mut appenders, from, look, progress);
    if !by_hint {
        let mut truncated = Ok(());
        queues.for_each(|queue| {
            if truncated.is_ok() {
                truncated = queue.truncate(queues.space(), walked.end);
            }
        });
        truncated?;
    }
    let appender = cut(&files, appenders, walked.end, look.may_be_torn)?;
    deleted.log_ends_at(&*disk, walked.end)?;
    let dispatched = reached.clamp(from, walked.end);
    let log = CommitLog::new(files, appender, walked.end, walked.timestamp);
    if is_unflushed(&options.abort_file) {
        tracing::warn!(from, to = walked.end, "a flush failed; the log is written again");
        log.rewrite(&*disk, from, walked.end)?;
    }

    let safe = match last_exit {
        LastExit::Clean => walked.end,
        LastExit::Killed => checkpoint.safe().filter(|&safe| safe <= walked.end).unwrap_or(0).max(log_min),
        LastExit::PowerCut => from,
    };
    let flushed = match options.flush_disk_type {
        // What was checked is in the page cache; the flush thread brings it to the disk.
        FlushDiskType::Async => safe,
        FlushDiskType::Sync => {
            if safe < walked.end {
                log.flush(&*disk, safe, walked.end)?;
            }
            walked.end
        }
    };
    if !missing.is_empty() {
        let progress =
            Progress::new(&clock, listener, "building queues whose files are gone", log_min, dispatched);
        roll::rebuild(&options, &log, &queues, &missing, &deleted, dispatched, progress)?;
    }
    let what = "building consume queues and index";
    let progress = Progress::new(&clock, listener, what, dispatched, log.written());
    let mut dispatcher =
        redispatch(&options, &log, &queues, &index, &checkpoint, &deleted, dispatched, progress)?;
    tracing::info!(
        ?last_exit,
        by_hint,
        log_begins = log_min,
        checked_from = from,
        log_ends = walked.end,
        dispatched = dispatcher.dispatched,
        "store recovered"
    );
    // What recovery did is no traffic.
    (dispatcher.dispatched, dispatcher.failures) = (0, 0);
    Ok(Arc::new(MessageStore {
        replicas: Replicas::new(options.slaves_wanted),
        sync_flush: AtomicBool::new(options.flush_disk_type == FlushDiskType::Sync),
        options: ArcSwap::from_pointee(options),
        clock,
        faults,
        disk,
        log,
        queues,
        index,
        checkpoint,
        dispatched: AtomicI64::new(dispatcher.at),
        deleted: Mutex::new(deleted),
        dispatcher: Mutex::new(dispatcher),
        listener: ArcSwapOption::empty(),
        flushed: Flushed::new(flushed, last_exit != LastExit::Clean),
        threads: Threads::default(),
        refusals: Refusals::default(),
        put_failures: AtomicU64::new(0),
        reads: ReadCounters::default(),
        memory_bytes: memory_bytes(),
        _lock: lock,
    }))
}

/// Takes the directory for this process: both kinds of lock, because the reference takes the one (`fcntl`), and only
/// the other (`flock`) tells two stores of one process apart.
fn lock(path: &Path) -> Result<File, Error> {
    let open = || File::options().read(true).write(true).create(true).truncate(false).open(path);
    let mut file = open()
        .or_else(|_| {
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            open()
        })
        .map_err(Error::io("open", path))?;
    let refused = |_| Error::Locked { path: path.to_owned() };
    file.try_lock().map_err(|error| match error {
        std::fs::TryLockError::WouldBlock => Error::Locked { path: path.to_owned() },
        std::fs::TryLockError::Error(source) => Error::io("lock", path)(source),
    })?;
    rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(refused)?;
    if file.metadata().map_err(Error::io("look at", path))?.len() == 0 {
        file.write_all(b"lock").map_err(Error::io("write", path))?;
    }
    Ok(file)
}

/// Refuses a wrong consume-queue file size at the first file that shows it, although queues are loaded later.
fn check_queue_file(options: &StoreOptions) -> Result<(), Error> {
    for topic in list_dirs(&options.consume_queue_dir)? {
        let topic_dir = options.consume_queue_dir.join(topic);
        for queue in list_dirs(&topic_dir)? {
            if queue.parse::<i32>().is_err() {
                continue;
            }
            let dir = topic_dir.join(queue);
            let Some(first) = list_offsets(&dir)?.into_iter().next().filter(|file| file.bytes > 0) else {
                continue;
            };
            if first.bytes != options.consume_queue_file_bytes {
                return Err(Error::WrongSize {
                    path: dir.join(super::disk::file_name(first.offset)),
                    actual: first.bytes,
                    expected: options.consume_queue_file_bytes,
                    key: "mappedFileSizeConsumeQueue",
                });
            }
            return Ok(());
        }
    }
    Ok(())
}

/// Writes the abort file: this process, and which start of the system it belongs to; returns once it is on the disk,
/// because a start that does not find it trusts everything it finds. Readers of the reference only look whether
/// the file is there.
pub(crate) fn write_abort_file(disk: &dyn FileSystem, path: &Path) -> Result<(), Error> {
    mark(disk, path, &boot_id())
}

/// Writes the abort file so that the next start believes no more than after a power cut, although the system goes on, and
/// writes again what the system takes for written.
pub(crate) fn mark_unflushed(disk: &dyn FileSystem, path: &Path) -> Result<(), Error> {
    mark(disk, path, UNFLUSHED)
}

/// Writes the abort file so that the next start believes nothing that the checkpoint does not vouch for.
pub(crate) fn mark_rebuilding(disk: &dyn FileSystem, path: &Path) -> Result<(), Error> {
    mark(disk, path, REBUILDING)
}

fn mark(disk: &dyn FileSystem, path: &Path, what: &str) -> Result<(), Error> {
    let text = format!("{} {what}", std::process::id());
    let file = disk.create(path, text.len() as u64).map_err(Error::io("make", path))?;
    file.write_all_at(text.as_bytes(), 0).map_err(Error::io("write", path))?;
    disk.sync(&file).map_err(Error::io("flush", path))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    disk.sync_dir(dir).map_err(Error::io("flush", dir))
}

fn is_unflushed(abort_file: &Path) -> bool {
    std::fs::read_to_string(abort_file).is_ok_and(|text| text.ends_with(UNFLUSHED))
}

fn last_exit(abort_file: &Path) -> LastExit {
    let Ok(text) = std::fs::read_to_string(abort_file) else {
        return if abort_file.exists() { LastExit::PowerCut } else { LastExit::Clean };
    };
    let boot = boot_id();
    match text.split_once(' ') {
        Some((_, written)) if !boot.is_empty() && written.trim() == boot => LastExit::Killed,
        _ => LastExit::PowerCut,
    }
}

/// Returns what tells one start of the operating system from another; empty when nothing does.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib =
        line.and_then(|line| line.trim().strip_suffix("kB")).and_then(|number| number.trim().parse().ok());
    kib.map_or(USUAL_MEMORY_BYTES, |kib: u64| kib << 10)
}

/// Returns the bytes from `at` to the end of their file.
fn bytes_at(appenders: &mut [Appender], at: i64) -> Option<&[u8]> {
    let first = appenders.first()?.file();
    let number = usize::try_from(at.checked_sub(first.offset())?).ok()? / first.len();
    let appender = appenders.get_mut(number)?;
    let start = (at - appender.file().offset()) as usize;
    Some(&appender.rest()[start..])
}

/// Says whether a whole record stands at the hint and its queue points back to it, unless it was deleted.
fn is_good_hint(
    appenders: &mut [Appender],
    queues: &Queues,
    deleted: &DeletedTopics,
    hint: i64,
) -> Result<bool, Error> {
    if hint <= 0 {
        // 0 is what a checkpoint says that never had a hint.
        return Ok(false);
    }
    let Some(bytes) = bytes_at(appenders, hint) else { return Ok(false) };
    let Found::Record(record) = inspect(bytes, true) else { return Ok(false) };
    let is_known = deleted.covers(record.topic, hint) || points_back(queues, &record)?;
    Ok(record.physical_offset == hint && is_known)
}

fn points_back(queues: &Queues, record: &MessageRecord<'_>) -> Result<bool, Error> {
    let Some(queue) = queues.get(record.topic, record.queue_id)? else { return Ok(false) };
    let entry = queue.unit(queues.space(), record.queue_offset)?;
    Ok(entry.is_some_and(|entry| entry.physical_offset.0 == record.physical_offset))
}

/// Returns where the file that holds `at` begins, or the last file if that is earlier.
fn file_start(appenders: &[Appender], at: i64) -> i64 {
    let starts = appenders.iter().map(|appender| appender.file().offset());
    starts.clone().rfind(|&start| start <= at).or_else(|| starts.clone().next()).unwrap_or(0)
}

/// Takes away from queues and index what is about messages at or behind `safe`.
fn believe_until(safe: i64, appenders: &mut [Appender], queues: &Queues, index: &Index) -> Result<(), Error> {
    let log_min = appenders.first().map_or(0, |first| first.file().offset());
    queues.load_all_after_cut(safe, &mut |topic, queue_id, at, entry| {
        let physical = entry.physical_offset.0;
        physical < log_min
            || record_at(appenders, physical).is_some_and(|record| {
                (record.topic, record.queue_id, record.queue_offset, record.total_size)
                    == (topic, queue_id, at, entry.size)
            })
    })?;
    index.after_cut(safe, &mut |physical, hash| {
        record_at(appenders, physical)
            .filter(|record| super::dispatch::index_hashes_of(record).contains(&hash))
            .map(|record| record.store_timestamp)
    })
}

fn record_at(appenders: &mut [Appender], at: i64) -> Option<MessageRecord<'_>> {
    match inspect(bytes_at(appenders, at)?, false) {
        Found::Record(record) if record.physical_offset == at => Some(record),
        _ => None,
    }
}

/// Returns the beginning of the last file that the checkpoint vouches for, by the time of its first record and by where
/// it is, else of the first file.
fn abnormal_start(appenders: &mut [Appender], checkpoint: &Checkpoint, check_crc: bool) -> i64 {
    let vouched = checkpoint.min_timestamp();
    let safe = checkpoint.safe().unwrap_or(i64::MAX);
    let starts: Vec<_> = appenders.iter().map(|appender| appender.file().offset()).collect();
    let is_vouched = |&start: &i64| {
        let Some(Found::Record(record)) = bytes_at(appenders, start).map(|bytes| inspect(bytes, check_crc))
        else {
            return false;
        };
        record.store_timestamp != 0 && record.store_timestamp <= vouched && start <= safe
    };
    starts.iter().copied().rfind(is_vouched).or_else(|| starts.first().copied()).unwrap_or(0)
}

/// How closely the log is looked at.
#[derive(Clone, Copy, Debug)]
struct Look {
    check_crc: bool,
    /// Whether a process or the system died while records were written.
    may_be_torn: bool,
}

/// Says whether the topic or the properties of the record at `at` miss a part. The checksum is the body's alone. What is
/// missing is zeros, to the end of a sector or of the record; topics have none, and properties that a client filled with
/// them would have to have one exactly there.
fn is_torn(record: &MessageRecord<'_>, at: i64) -> bool {
    const SECTOR_BYTES: usize = 512;
    // Behind the body: a byte for the topic's length, the topic, two for that of the properties, the properties.
    let properties_at = at as usize + record.total_size as usize - record.properties.len();
    let topic_at = properties_at - 2 - record.topic.len();
    [(topic_at, record.topic.as_bytes()), (properties_at, record.properties)].into_iter().any(
        |(start, text)| {
            let first = SECTOR_BYTES - 1 - start % SECTOR_BYTES;
            text.last() == Some(&0) || text.iter().skip(first).step_by(SECTOR_BYTES).any(|&byte| byte == 0)
        },
    )
}

/// Follows good records from `from` on.
fn walk(appenders: &mut [Appender], from: i64, look: Look, mut progress: Progress<'_>) -> Walked {
    let mut walked = Walked { end: from, timestamp: 0 };
    while let Some(bytes) = bytes_at(appenders, walked.end) {
        progress.at(walked.end);
        match inspect(bytes, look.check_crc) {
            Found::Record(record)
                if look.may_be_torn
                    && (is_torn(&record, walked.end) || record.physical_offset != walked.end) =>
            {
                break;
            }
            Found::Record(record) => {
                walked.end += i64::from(record.total_size);
                walked.timestamp = record.store_timestamp;
            }
            Found::Blank => {
                let next = walked.end + bytes.len() as i64;
                if bytes_at(appenders, next).is_none() {
                    break;
                }
                walked.end = next;
            }
            Found::Nothing => break,
        }
    }
    walked
}

/// Makes everything before `end` readable, deletes the files behind it, clears what stands behind it in its own
/// file, and returns the appender of that file. After a cut there may be something behind a hole.
fn cut(
    files: &MappedQueue,
    appenders: Vec<Appender>,
    end: i64,
    may_be_torn: bool,
) -> Result<Option<Appender>, Error> {
    let mut open = None;
    for mut appender in appenders {
        let (start, len) = (appender.file().offset(), appender.file().len());
        if start > end {
            drop(appender);
            files.remove_from(start)?;
            break;
        }
        let used = ((end - start) as usize).min(len);
        if used < len {
            let is_begun = appender.rest()[used..].iter().take(8).any(|&byte| byte != 0);
            if is_begun {
                tracing::warn!(file = %files.path(start).display(), at = used, "an unfinished record is cut off");
            }
            if is_begun || may_be_torn {
                files.clear_from(end)?;
            }
            appender.publish(used);
            open = Some(appender);
        } else {
            appender.publish(len);
        }
    }
    Ok(open)
}

/// Dispatches the log from `from` to its end. What is in its queue already stays as it is.
#[allow(clippy::too_many_arguments)]
fn redispatch(
    options: &StoreOptions,
    log: &CommitLog,
    queues: &Queues,
    index: &Index,
    checkpoint: &Checkpoint,
    deleted: &DeletedTopics,
    from: i64,
    mut progress: Progress<'_>,
) -> Result<Dispatcher, Error> {
    let mut dispatcher = Dispatcher::starting_at(from);
    let targets = Targets {
        log,
        queues,
        index: options.message_index_enable.then_some(index),
        likely: None,
        delay_level_ms: &options.message_delay_level_ms,
        now_ms: log.last_timestamp(),
        announce: false,
        deleted: Some(deleted),
        index_filled: &|end_timestamp| checkpoint.set(Field::Index, end_timestamp),
    };
    let end = log.written();
    while dispatcher.at < end {
        dispatcher.step(&targets, end)?;
        progress.at(dispatcher.at);
    }
    Ok(dispatcher)
}
