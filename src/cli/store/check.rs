//! `store check`: everything below a store's directory, looked at piece by piece, without changing anything.
//!
//! Flows in: the readers of [`crate::store::offline`]. Flows out: a [`Report`] with what was found wrong, each with
//! file, position, what was expected and what is there. Damage is what a start would not mend by itself, or mend only by
//! dropping something; a note is what a person may want to know. One walk along the log compares every message with its
//! entry in its queue; then every queue and index file is read, and what no message accounts for is looked up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::broker::name::SCHEDULE_TOPIC;
use crate::store::offline::{
    CheckpointFields, DeletedTopics, DirFile, IndexReader, Listing, LogPiece, LogReader, QueueReader,
    QueueTable, entry_of, index_hashes_of, index_sizes, list, list_index,
};
use crate::store::{Error, QueueEntry, StoreOptions};
use crate::wire::message::MessageRecord;

mod config;
mod report;

pub(super) use report::{BadRange, Figures, Finding, Report, Severity};

/// Findings of one kind in one queue or index file that are told one by one.
const DETAILS_MAX: u64 = 3;
/// How much earlier than the checkpoint's time a recovery begins, milliseconds.
const CHECKPOINT_MARGIN_MS: i64 = 3_000;

/// What the messages of one queue have to do with its entries.
#[derive(Debug, Default)]
struct Tally {
    messages: u64,
    /// Entries that say the same as their message.
    matched: u64,
    /// Messages whose queue is not there at all.
    absent: u64,
    /// Messages without an entry.
    missing: u64,
    /// The physical offset of the first of them, and its index.
    first_missing: Option<(i64, i64)>,
    /// Messages in whose place a later message stands: the topic was deleted and made again.
    superseded: u64,
    /// Messages whose entry says something else.
    wrong: u64,
    /// Queue offset and physical offset of the last message.
    last: Option<(i64, i64)>,
    /// Where the log begins the queue anew, because its topic was deleted and made again.
    restarted_at: Option<i64>,
}

struct Check<'a> {
    options: &'a StoreOptions,
    report: Report,
    queues: QueueTable,
    tallies: BTreeMap<(String, i32), Tally>,
    /// Topics whose older messages are passed over, and how many there are of each.
    deleted: DeletedTopics,
    of_deleted: BTreeMap<String, u64>,
    /// What topics.json knows; `None` when there is no such file.
    topics: Option<BTreeSet<String>>,
    checkpoint: Option<CheckpointFields>,
    unclean: bool,
    log: Vec<DirFile>,
    last_keyed: Option<i64>,
    log_min: i64,
    log_end: i64,
}

/// Looks at a whole store. Fails only when the operating system does.
pub(super) fn check(options: &StoreOptions) -> Result<Report, Error> {
    let report = Report {
        root: options.root.clone(),
        clean: true,
        damages: 0,
        findings: Vec::new(),
        more_findings: 0,
        figures: Figures::default(),
        log_file_bytes: options.commit_log_file_bytes,
        bad_ranges: Vec::new(),
    };
    let mut check = Check {
        options,
        report,
        queues: QueueTable::load(&options.consume_queue_dir)?,
        tallies: BTreeMap::new(),
        deleted: DeletedTopics::load(options),
        of_deleted: BTreeMap::new(),
        topics: None,
        checkpoint: CheckpointFields::load(&options.checkpoint_file)?,
        unclean: options.abort_file.exists(),
        log: Vec::new(),
        last_keyed: None,
        log_min: 0,
        log_end: 0,
    };
    if check.unclean {
        let what = "the last server did not stop in order; the next start recovers the store";
        check.report.note(&options.abort_file, what);
    }
    check.config()?;
    check.log()?;
    check.checkpoint_file();
    check.queues()?;
    check.index()?;
    check.offsets()?;
    check.timers()?;
    let figures = &mut check.report.figures;
    figures.topics = check.tallies.keys().map(|(topic, _)| topic).collect::<BTreeSet<_>>().len();
    Ok(check.report)
}

impl Check<'_> {
    fn log(&mut self) -> Result<(), Error> {
        let dir = &self.options.commit_log_dir;
        let listing = list(dir)?;
        let key = "mappedFileSizeCommitLog";
        self.report.log_file_bytes = self.files(&listing, self.options.commit_log_file_bytes, key);
        self.report.figures.log_files = listing.files.len();
        self.log.clone_from(&listing.files);
        let Some(first) = listing.files.first() else {
            if !self.queues.queues.is_empty() {
                self.report.damage(
                    dir,
                    None,
                    "there is no commit log, but there are consume queues; a start deletes them",
                );
            }
            return Ok(());
        };
        self.log_min = first.offset;
        self.report.figures.log_begins = first.offset;
        let mut reader = LogReader::new(listing.files.clone(), true);
        let mut looking = LogReader::new(listing.files, false);
        let mut at = self.log_min;
        let mut end = at;
        let mut before_ms = 0;
        // What was passed over since the last message: the end of the log, unless another message follows.
        let mut pending: Vec<(BadRange, String, String, String)> = Vec::new();
        loop {
            let file = reader.file_of(at).cloned();
            let Some(file) = file else {
                let next = reader.files().iter().map(|file| file.offset).find(|&offset| offset > at);
                let Some(next) = next else { break };
                at = next;
                continue;
            };
            match reader.piece(at)? {
                None => break,
                Some(LogPiece::Message(record)) => {
                    let size = i64::from(record.total_size);
                    before_ms = record.store_timestamp;
                    for (range, what, expected, found) in pending.drain(..) {
                        bad_range(&mut self.report, &looking, range, &what, expected, found);
                    }
                    self.message(&record, &file)?;
                    at += size;
                    end = at;
                }
                Some(LogPiece::Blank { end: next }) => {
                    at = next;
                    end = end.max(at);
                }
                Some(LogPiece::Zeros { end: next }) => {
                    if !looking.has_data_behind(next)? {
                        break;
                    }
                    let range = BadRange { from: at, to: next, before_ms };
                    let found = format!("{} bytes of zeros, and something behind them", next - at);
                    pending.push((range, "a hole".to_owned(), "a message".to_owned(), found));
                    at = next;
                }
                Some(LogPiece::Damaged { end: next, damage }) => {
                    let whole = at == file.offset && next == file.end();
                    let what = if whole { "this is no commit log file" } else { "this is no whole message" };
                    pending.push((
                        BadRange { from: at, to: next, before_ms },
                        what.to_owned(),
                        damage.expected,
                        damage.found,
                    ));
                    at = next;
                }
            }
        }
        self.log_end = end;
        self.report.figures.log_ends = end;
        for (range, what, expected, found) in pending {
            if self.unclean && range.from == end {
                let file = looking.file_of(range.from).map_or(dir.clone(), |file| file.path.clone());
                let what =
                    format!("an unfinished message at physical offset {end}, which the next start cuts off");
                self.report.note(&file, what);
            } else {
                bad_range(&mut self.report, &looking, range, &what, expected, found);
            }
        }
        Ok(())
    }

    /// Compares names and lengths of the files of a log or queue; returns the length that they should have.
    fn files(&mut self, listing: &Listing, configured: u64, key: &str) -> u64 {
        for stranger in &listing.strangers {
            if !stranger.is_dir() {
                let what = "this file does not belong here: only files named by their offset in 20 digits do; a start refuses it";
                self.report.damage(stranger, None, what);
            }
        }
        let files = &listing.files;
        let named = files.windows(2).map(|two| two[1].offset.abs_diff(two[0].offset)).min();
        let expected = match named {
            // With one file missing of three the names are no proof; the lengths are.
            Some(named) if files.iter().any(|file| file.bytes == named) => named,
            _ if files.iter().filter(|file| file.bytes == configured).count() * 2 >= files.len() => {
                configured
            }
            Some(named) => named,
            None => configured,
        };
        if expected != configured && files.len() > 1 {
            self.report.note(
                &files[0].path,
                format!("made with {key}={expected}, not {configured}; start the broker with that value"),
            );
        }
        for (number, file) in files.iter().enumerate() {
            if file.bytes == 0 && number + 1 == files.len() {
                self.report
                    .note(&file.path, "it is empty, left by a crash while it was made; a start deletes it");
            } else if file.bytes != expected {
                let what =
                    if file.bytes < expected { "the file is cut short" } else { "the file is too long" };
                let found = format!("{} bytes", file.bytes);
                self.report.differs(&file.path, None, what, format!("{expected} bytes ({key})"), found);
            }
            let should = files[0].offset.saturating_add_unsigned(number as u64 * expected);
            let before =
                number.checked_sub(1).map(|before| files[before].offset.saturating_add_unsigned(expected));
            if before.is_some_and(|before| before != file.offset) {
                let expected = format!("{:020}", before.unwrap_or(should));
                let found = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                self.report.differs(&file.path, None, "a file before this one is missing", expected, found);
            }
        }
        expected
    }

    fn message(&mut self, record: &MessageRecord<'_>, file: &DirFile) -> Result<(), Error> {
        let at = record.physical_offset;
        let position = Some((at - file.offset) as u64);
        let figures = &mut self.report.figures;
        figures.messages += 1;
        let stamp = record.store_timestamp;
        figures.oldest_ms = Some(figures.oldest_ms.map_or(stamp, |oldest| oldest.min(stamp)));
        figures.newest_ms = Some(figures.newest_ms.map_or(stamp, |newest| newest.max(stamp)));
        if record.properties_str().is_err() {
            self.report.damage(&file.path, position, "the message's properties are not UTF-8");
        }
        if self.deleted.covers(record.topic, at) {
            *self.of_deleted.entry(record.topic.to_owned()).or_default() += 1;
            return Ok(());
        }
        if !index_hashes_of(record).is_empty() {
            self.last_keyed = Some(at);
        }
        let Some(wanted) = entry_of(record, &self.options.message_delay_level_ms) else { return Ok(()) };
        if record.queue_id < 0
            || record.queue_offset < 0
            || record.topic.is_empty()
            || record.topic.contains('/')
        {
            let found = format!(
                "topic {:?}, queue {}, offset {}",
                record.topic, record.queue_id, record.queue_offset
            );
            self.report.differs(&file.path, position, "no queue can hold this message", "a queue", found);
            return Ok(());
        }
        let key = (record.topic.to_owned(), record.queue_id);
        let tally = self.tallies.entry(key.clone()).or_default();
        tally.messages += 1;
        let index = record.queue_offset;
        if tally.last.is_some_and(|(last, _)| index <= last) {
            // What came before is not wanted any more.
            tally.superseded += tally.missing + tally.absent;
            (tally.missing, tally.absent, tally.first_missing) = (0, 0, None);
            tally.restarted_at = Some(at);
        }
        tally.last = Some((index, at));
        let Some(queue) = self.queues.queues.get_mut(&key) else {
            tally.absent += 1;
            return Ok(());
        };
        let entry = queue.entry(index)?;
        let Some(entry) = entry.filter(|entry| !entry.is_unused() && !entry.is_blank()) else {
            tally.missing += 1;
            tally.first_missing.get_or_insert((at, index));
            return Ok(());
        };
        if entry == wanted || is_delayed(record, &entry, &wanted) {
            tally.matched += 1;
        } else if entry.physical_offset > wanted.physical_offset {
            tally.superseded += 1;
        } else {
            tally.wrong += 1;
            if tally.wrong <= DETAILS_MAX {
                let (path, position) = place(queue, index);
                let what = format!("entry {index} does not say what its message says");
                self.report.differs(&path, Some(position), &what, tell(&wanted), tell(&entry));
            }
        }
        Ok(())
    }

    fn checkpoint_file(&mut self) {
        let path = &self.options.checkpoint_file;
        let Some(checkpoint) = self.checkpoint else {
            if self.report.figures.messages > 0 {
                self.report.note(path, "there is none; the next start looks at the whole store");
            }
            return;
        };
        if checkpoint.bytes < 40 {
            let found = format!("{} bytes", checkpoint.bytes);
            self.report.differs(path, None, "the checkpoint is cut short", "4096 bytes", found);
        }
        let confirmed = checkpoint.confirm_phy_offset;
        if confirmed < 0 || (confirmed > 0 && confirmed >= self.log_end) {
            let expected = format!("an offset before the log's end at {}", self.log_end);
            let what = "the checkpoint knows of messages that the log does not have";
            self.report.differs(path, Some(32), what, expected, confirmed.to_string());
        }
        if [checkpoint.physic_msg_timestamp, checkpoint.logics_msg_timestamp, checkpoint.index_msg_timestamp]
            .iter()
            .any(|&stamp| stamp < 0)
        {
            self.report.damage(path, Some(0), "a time stamp is negative");
        }
    }

    fn queues(&mut self) -> Result<(), Error> {
        let mut table = std::mem::take(&mut self.queues);
        for stranger in &table.strangers {
            self.report.note(stranger, "this is no consume queue and is not looked at");
        }
        self.report.figures.queues = table.queues.len();
        let mut looking = LogReader::new(self.log.clone(), false);
        for (key, queue) in &mut table.queues {
            let listing = std::mem::take(&mut queue.listing);
            self.files(&listing, self.options.consume_queue_file_bytes, "mappedFileSizeConsumeQueue");
            queue.listing = listing;
            let matched = self.tallies.get(key).map_or(0, |tally| tally.matched);
            let (entries, live) = self.entries(queue)?;
            self.report.figures.queue_entries += entries;
            if live != matched {
                self.lost_entries(queue, &mut looking)?;
            }
            queue.forget();
        }
        for (topic, count) in &self.of_deleted {
            let dir = self.options.consume_queue_dir.join(topic);
            let text =
                format!("{count} messages of {topic} are in the log, from before the topic was deleted");
            self.report.note(&dir, text);
        }
        let mut restarted: BTreeMap<&str, i64> = BTreeMap::new();
        for ((topic, _), tally) in &self.tallies {
            if let Some(at) = tally.restarted_at {
                let first = restarted.entry(topic).or_insert(at);
                *first = at.min(*first);
            }
        }
        for ((topic, queue_id), tally) in &self.tallies {
            let name = format!("{topic} queue {queue_id}");
            let dir = self.options.consume_queue_dir.join(topic).join(queue_id.to_string());
            if tally.absent > 0 {
                let text = format!("{} messages of {name}", tally.absent);
                match &self.topics {
                    Some(topics) if !topics.contains(topic) => {
                        self.report.note(&dir, format!("{text} are in the log, of a topic that was deleted"));
                    }
                    _ if tally.last.is_some_and(|(_, at)| {
                        restarted.get(topic.as_str()).is_some_and(|&new| at < new)
                    }) =>
                    {
                        self.report.note(
                            &dir,
                            format!("{text} are from before the topic was deleted and made again"),
                        );
                    }
                    _ => self.report.damage(&dir, None, format!("the queue is missing, and with it {text}")),
                }
            }
            if tally.superseded > 0 {
                let text = format!("{} messages of {name}", tally.superseded);
                self.report
                    .note(&dir, format!("{text} are from before the topic was deleted and made again"));
            }
            if let Some((physical, index)) = tally.first_missing {
                let text = format!(
                    "{} messages of {name} have no entry; the first is offset {index} at physical offset {physical}",
                    tally.missing
                );
                if self.unclean && self.is_dispatched_again(physical) {
                    self.report.note(&dir, format!("{text}; the next start makes them"));
                } else {
                    self.report.damage(&dir, None, text);
                }
            }
            if tally.wrong > DETAILS_MAX {
                let text = format!("{} entries of {name} do not say what their messages say", tally.wrong);
                self.report.damage(&dir, None, text);
            }
        }
        self.queues = table;
        Ok(())
    }

    /// Says whether the start after a crash would look at a message again.
    fn is_dispatched_again(&self, physical: i64) -> bool {
        let Some(checkpoint) = self.checkpoint else { return true };
        if checkpoint.confirm_phy_offset > 0 && physical > checkpoint.confirm_phy_offset {
            return true;
        }
        let stamp = checkpoint.physic_msg_timestamp.min(checkpoint.logics_msg_timestamp);
        let mut reader = LogReader::new(self.log.clone(), false);
        matches!(reader.piece(physical), Ok(Some(LogPiece::Message(record)))
            if record.store_timestamp >= stamp - CHECKPOINT_MARGIN_MS)
    }

    /// Reads a queue from its first place to its last entry; returns how many entries it has, and how many of them are
    /// of messages that should be in the log.
    fn entries(&mut self, queue: &mut QueueReader) -> Result<(u64, u64), Error> {
        let (mut entries, mut live, mut last) = (0, 0, i64::MIN);
        let mut index = queue.first();
        let mut disorder = 0;
        while index < queue.end() {
            // A place that a missing file should have is told by `files`.
            let Some(entry) = queue.entry(index)? else {
                index += 1;
                continue;
            };
            if entry.is_unused() {
                let Some(next) = queue.next_used(index)? else { break };
                let (path, position) = place(queue, index);
                let what = format!("{} entries from {index} on are zeros", next - index);
                self.report.damage(&path, Some(position), what);
                index = next;
                continue;
            }
            entries += 1;
            if !entry.is_blank() {
                let physical = entry.physical_offset.0;
                if physical <= last || entry.size <= 0 {
                    disorder += 1;
                    if disorder <= DETAILS_MAX {
                        let (path, position) = place(queue, index);
                        let expected = format!("a physical offset behind {last} and a size");
                        let what = format!("entry {index} is out of order");
                        self.report.differs(&path, Some(position), &what, expected, tell(&entry));
                    }
                }
                last = last.max(physical);
                live += u64::from(physical >= self.log_min);
            }
            index += 1;
        }
        Ok((entries, live))
    }

    /// Names the entries of a queue that no message accounts for.
    fn lost_entries(&mut self, queue: &mut QueueReader, looking: &mut LogReader) -> Result<(), Error> {
        let (mut lost, mut beyond, mut from) = (0, 0, queue.first());
        while let Some((index, entry)) = queue.next_entry(from)? {
            from = index + 1;
            let physical = entry.physical_offset.0;
            if !entry.is_blank() && physical >= self.log_min {
                let message = looking.message(physical, usize::try_from(entry.size).unwrap_or(usize::MAX))?;
                let fits = message.is_some_and(|message| {
                    message.topic == queue.topic
                        && message.queue_id == queue.queue_id
                        && message.queue_offset == index
                });
                if !fits && self.unclean && physical >= self.log_end {
                    beyond += 1;
                } else if !fits {
                    lost += 1;
                    if lost <= DETAILS_MAX {
                        let found = message.map_or_else(
                            || "no such message".to_owned(),
                            |message| {
                                let (topic, queue_id) = (message.topic, message.queue_id);
                                format!(
                                    "a message of {topic} queue {queue_id} offset {}",
                                    message.queue_offset
                                )
                            },
                        );
                        let expected = format!("a message of this queue with offset {index}");
                        let what = format!("entry {index} points to {physical} with {} bytes", entry.size);
                        let (path, position) = place(queue, index);
                        self.report.differs(&path, Some(position), &what, expected, found);
                    }
                }
            }
        }
        let dir = self.options.consume_queue_dir.join(&queue.topic).join(queue.queue_id.to_string());
        if lost > DETAILS_MAX {
            self.report.damage(&dir, None, format!("{lost} entries point to no message of theirs"));
        }
        if beyond > 0 {
            let what = format!("{beyond} entries point behind the log's end; the next start drops them");
            self.report.note(&dir, what);
        }
        Ok(())
    }

    fn index(&mut self) -> Result<(), Error> {
        let (paths, strangers) = list_index(&self.options.index_dir)?;
        for stranger in strangers {
            self.report.note(&stranger, "this is no index file and is not looked at");
        }
        self.report.figures.index_files = paths.len();
        let mut newest = None;
        let mut looking = LogReader::new(self.log.clone(), true);
        for path in paths {
            let bytes = std::fs::metadata(&path).map_or(0, |meta| meta.len());
            if bytes == 0 {
                self.report.note(&path, "it is empty, left by a crash while it was made");
                continue;
            }
            let Some(sizes) = index_sizes(self.options, bytes) else {
                let found = format!("{bytes} bytes");
                let expected = "40 + 4 × maxHashSlotNum + 20 × maxIndexNum bytes; if those keys are not the defaults, give them with --set";
                self.report.differs(
                    &path,
                    None,
                    "the index file has a length that cannot be",
                    expected,
                    found,
                );
                continue;
            };
            let Some(index) = IndexReader::open(&path, sizes)? else { continue };
            let entries_max = i64::from(sizes.1);
            if i64::from(index.count) > entries_max
                || index.slots_used < 0
                || index.physical.1 < index.physical.0
            {
                let found = format!(
                    "{} entries in {} slots, from {} to {}",
                    index.count, index.slots_used, index.physical.0, index.physical.1
                );
                let expected = format!("at most {entries_max} entries in order");
                self.report.differs(
                    &path,
                    Some(0),
                    "the index file's header is damaged; a start deletes the file",
                    expected,
                    found,
                );
                continue;
            }
            newest = newest.max((index.count > 1).then_some(index.physical.1));
            self.index_entries(&index, &mut looking)?;
        }
        if let (Some(newest), Some(last)) = (newest, self.last_keyed)
            && last > newest
        {
            let what = format!(
                "messages with keys from physical offset {newest} to {last} are not in the index: they are not found by key"
            );
            if self.unclean {
                self.report.note(&self.options.index_dir, format!("{what} until the next start"));
            } else {
                self.report.damage(&self.options.index_dir, None, what);
            }
        } else if newest.is_none() && self.last_keyed.is_some() && self.log_min == 0 {
            let what =
                "there is no index: messages are not found by key (right only with messageIndexEnable=false)";
            self.report.note(&self.options.index_dir, what);
        }
        Ok(())
    }

    fn index_entries(&mut self, index: &IndexReader, looking: &mut LogReader) -> Result<(), Error> {
        let (log_min, log_end) = (self.log_min, self.log_end);
        let (mut entries, mut wrong, mut beyond) = (0, 0, 0);
        let mut last: (i64, Vec<i32>) = (-1, Vec::new());
        let (report, unclean) = (&mut self.report, self.unclean);
        index.for_each(|entry| {
            entries += 1;
            let physical = entry.physical_offset.0;
            let mut tell = |what: &str, expected: String, found: String| {
                wrong += 1;
                if wrong <= DETAILS_MAX {
                    let what = format!("entry {}: {what}", entry.number);
                    report.differs(&index.path, Some(entry.position), &what, expected, found);
                }
            };
            if entry.older >= entry.number || entry.older < 0 {
                let expected = format!("an entry before {}", entry.number);
                tell("its chain goes wrong", expected, entry.older.to_string());
                return Ok(());
            }
            if physical < log_min {
                return Ok(());
            }
            if physical >= log_end {
                if unclean {
                    beyond += 1;
                } else {
                    let expected = format!("an offset before the log's end at {log_end}");
                    tell("it points behind the log", expected, physical.to_string());
                }
                return Ok(());
            }
            if last.0 != physical {
                let hashes = match looking.piece(physical)? {
                    Some(LogPiece::Message(record)) => index_hashes_of(&record),
                    _ => Vec::new(),
                };
                last = (physical, hashes);
            }
            if !last.1.contains(&entry.key_hash) {
                let found =
                    if last.1.is_empty() { "no message with keys" } else { "a message with other keys" };
                let expected = format!("a message with a key of hash {}", entry.key_hash);
                tell(&format!("it points to {physical}"), expected, found.to_owned());
            }
            Ok(())
        })?;
        report.figures.index_entries += entries;
        if wrong > DETAILS_MAX {
            report.damage(&index.path, None, format!("{wrong} of {entries} entries are wrong"));
        }
        if beyond > 0 {
            report.note(
                &index.path,
                format!("{beyond} entries point behind the log's end, which harms nobody"),
            );
        }
        Ok(())
    }
}

fn bad_range(
    report: &mut Report,
    log: &LogReader,
    range: BadRange,
    what: &str,
    expected: String,
    found: String,
) {
    if let Some(file) = log.file_of(range.from) {
        let position = (range.from - file.offset) as u64;
        let what = format!(
            "{what}; {} bytes from physical offset {} on cannot be used",
            range.to - range.from,
            range.from
        );
        report.differs(&file.path, Some(position), &what, expected, found);
    }
    report.bad_ranges.push(range);
}

/// Entries of delayed messages carry a time of delivery that follows the broker's own levels, which nobody knows here.
fn is_delayed(record: &MessageRecord<'_>, entry: &QueueEntry, wanted: &QueueEntry) -> bool {
    record.topic == SCHEDULE_TOPIC
        && entry.physical_offset == wanted.physical_offset
        && entry.size == wanted.size
        && entry.tags_code >= record.store_timestamp
}

fn tell(entry: &QueueEntry) -> String {
    format!("physical offset {}, {} bytes, tag code {}", entry.physical_offset.0, entry.size, entry.tags_code)
}

fn place(queue: &QueueReader, index: i64) -> (PathBuf, u64) {
    queue.place(index).map_or_else(Default::default, |(file, at)| (file.path.clone(), at))
}

#[cfg(test)]
pub(super) mod tests;
