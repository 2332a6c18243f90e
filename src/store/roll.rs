//! The roll of the queues: which files each consume queue has when the store is stopped in order, so that a start notices
//! that some were taken away meanwhile, and builds those queues again from the log.
//!
//! The reference has nothing like it: there a queue whose files are gone is empty for ever, or begins again at an offset
//! that it had before. `queues.roll` lies beside the checkpoint. Its first line names the checkpoint it belongs to, so
//! that it says nothing once another broker has used the store; each other line is a queue: topic, queue id, byte at
//! which its first file begins, byte at which its last one ends, with tabs between.
//!
//! Calling the roll asks for two names a queue and reads no queue. What is missing within a queue's files, or in their
//! content, is found when the queue is loaded, or by `store check`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::checkpoint::{Checkpoint, Field};
use super::commit_log::{CommitLog, Found, inspect};
use super::deleted::DeletedTopics;
use super::disk::{FileSystem, file_name, list_dirs, list_offsets, replace};
use super::dispatch::entry_of;
use super::progress::Progress;
use super::queues::Queues;
use super::{Error, MessageStore, StoreOptions};

const FORMAT: &str = "rmq-lite queues 1";

/// A topic and a queue id.
pub(crate) type QueueName = (String, i32);

/// Queues with the byte at which their first file begins and the one at which their last file ends.
type Roll = BTreeMap<QueueName, (i64, i64)>;

fn path(options: &StoreOptions) -> PathBuf {
    options.root.join("queues.roll")
}

fn stamp(checkpoint: &Checkpoint) -> String {
    let [confirm, physic, logics] =
        [Field::Confirm, Field::Physic, Field::Logics].map(|at| checkpoint.get(at));
    format!("{FORMAT} {confirm} {physic} {logics}")
}

/// Reads a roll with its first line; empty when there is none, or none that can be understood.
fn read(path: &Path) -> (String, Roll) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut lines = text.lines();
    let stamp = lines.next().unwrap_or_default().to_owned();
    let row = |line: &str| {
        let mut parts = line.split('\t');
        let mut next = || parts.next();
        let name = (next()?.to_owned(), next()?.parse().ok()?);
        Some((name, (next()?.parse().ok()?, next()?.parse().ok()?)))
    };
    let roll: Option<Roll> = lines.map(row).collect();
    (stamp, roll.unwrap_or_default())
}

/// Writes the roll of a store that is stopped, whose checkpoint is written. Queues that were never asked for stay as the
/// roll of the last stop has them.
pub(crate) fn write(store: &MessageStore) -> Result<(), Error> {
    let options = store.options.load();
    let (_, old) = read(&path(&options));
    let mut roll = Roll::new();
    for topic in store.queues.unloaded_topics() {
        let mut known = old.range((topic.to_string(), i32::MIN)..=(topic.to_string(), i32::MAX)).peekable();
        if known.peek().is_some() {
            roll.extend(known.map(|(name, files)| (name.clone(), *files)));
        } else {
            list(&options, &topic, &mut roll)?;
        }
    }
    store.queues.for_each(|queue| {
        if let Some(files) = queue.files_range() {
            roll.insert((queue.topic.to_string(), queue.queue_id), files);
        }
    });
    let mut text = stamp(&store.checkpoint) + "\n";
    for ((topic, queue_id), (first, end)) in roll {
        if !topic.contains(['\t', '\n']) {
            let _ = writeln!(text, "{topic}\t{queue_id}\t{first}\t{end}");
        }
    }
    replace(&*store.disk, &path(&options), text.as_bytes(), None)
}

fn list(options: &StoreOptions, topic: &str, roll: &mut Roll) -> Result<(), Error> {
    let dir = options.consume_queue_dir.join(topic);
    for name in list_dirs(&dir)? {
        let Some(queue_id) = name.parse().ok().filter(|id: &i32| id.to_string() == name) else { continue };
        let files = list_offsets(&dir.join(name))?;
        if let (Some(first), Some(last)) = (files.first(), files.last()) {
            let end = last.offset + options.consume_queue_file_bytes as i64;
            roll.insert((topic.to_owned(), queue_id), (first.offset, end));
        }
    }
    Ok(())
}

/// Returns the queues of which the first or the last file is gone since the store was stopped in order. The roll must be
/// that of this checkpoint.
pub(crate) fn missing(options: &StoreOptions, checkpoint: &Checkpoint) -> BTreeSet<QueueName> {
    let (written, roll) = read(&path(options));
    if written != stamp(checkpoint) {
        return BTreeSet::new();
    }
    let is_gone = |(topic, queue_id): &QueueName, (first, end): (i64, i64)| {
        let dir = options.consume_queue_dir.join(topic).join(queue_id.to_string());
        let last = end - options.consume_queue_file_bytes as i64;
        !dir.join(file_name(first)).exists() || last != first && !dir.join(file_name(last)).exists()
    };
    let gone = roll.into_iter().filter(|(name, files)| is_gone(name, *files));
    gone.map(|(name, _)| name).collect()
}

/// Takes away what is left of queues that are to be built again, before they are loaded. From here until the checkpoint
/// is written anew a start builds everything again.
pub(crate) fn clear(
    disk: &dyn FileSystem,
    options: &StoreOptions,
    checkpoint: &Checkpoint,
    missing: &BTreeSet<QueueName>,
) -> Result<(), Error> {
    checkpoint.set(Field::Logics, 0);
    checkpoint.set_safe(0);
    checkpoint.flush(disk)?;
    super::recover::mark_rebuilding(disk, &options.abort_file)?;
    for (topic, queue_id) in missing {
        tracing::warn!(%topic, queue_id, "files of this queue are gone; it is built again from the log");
        let dir = options.consume_queue_dir.join(topic).join(queue_id.to_string());
        disk.remove_dir(&dir).map_err(Error::io("delete", &dir))?;
    }
    Ok(())
}

/// Enters the messages of these queues that stand in the log before `until`.
pub(crate) fn rebuild(
    options: &StoreOptions,
    log: &CommitLog,
    queues: &Queues,
    missing: &BTreeSet<QueueName>,
    deleted: &DeletedTopics,
    until: i64,
    mut progress: Progress<'_>,
) -> Result<(), Error> {
    let mut at = log.min();
    while at < until {
        progress.at(at);
        let next = log.at(at, |bytes| match inspect(bytes, false) {
            Found::Record(record) => {
                if missing.contains(&(record.topic.to_owned(), record.queue_id))
                    && !deleted.covers(record.topic, at)
                    && let Some(entry) = entry_of(&record, &options.message_delay_level_ms)
                    && let Some(queue) = queues.get_or_new(record.topic, record.queue_id)?
                {
                    queues.append(&queue, record.queue_offset, entry)?;
                }
                Ok(at + i64::from(record.total_size))
            }
            Found::Blank | Found::Nothing => Ok(log.next_file(at)),
        });
        at = next.unwrap_or_else(|| Ok(log.next_file(at)))?;
    }
    Ok(())
}
