//! `store import`: puts what [`super::export`] wrote into a store, with no server running.
//!
//! The whole file is read and checked before anything is written; a line that cannot be is refused with its number and
//! the reason. A new store is made in a directory beside its place and takes its name when it is complete.
//!
//! A message keeps its body, born time and host, properties (and so keys and tags), flags and number of tries; it gets a
//! new store time, physical offset and store host, this machine's. In a new store it keeps its queue offset, too, if the
//! file has the queue without a gap; else offsets are given anew, and the progress of groups moves with the messages. In a
//! store with messages the file's come behind them; a topic, group or progress that is there already stays as it is,
//! except that a topic gets as many queues as the file's.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;

use super::StorePlace;
use super::export::{Line, MessageLine, VERSION};
use crate::broker::name::{is_system_topic, retry_topic, validate_topic};
use crate::broker::persist;
use crate::clock::Clock;
use crate::faults::Faults;
use crate::store::{Error, MessageStore, NewMessage, QueueOffset, StoreOptions};
use crate::wire::body::group::{SubscriptionGroupConfig, SubscriptionGroupWrapper};
use crate::wire::body::offset::ConsumerOffsetSerializeWrapper;
use crate::wire::body::topic::{TopicConfig, TopicConfigSerializeWrapper};
use crate::wire::message::{
    NAME_VALUE_SEPARATOR, PROPERTIES_BYTES_MAX, PROPERTY_SEPARATOR, append_property, sys_flag,
};

/// Queues that a topic may have; more are no topic but an attack on the disk.
const QUEUES_MAX: i32 = 65_536;
/// Topics, groups or offsets that a file may have.
const ENTRIES_MAX: usize = 1_000_000;
/// Characters of a line beside the body.
const LINE_OVERHEAD: usize = 256 << 10;
/// Bits of the system flag that are kept: what the body is, and that its transaction was committed. Those of the addresses follow
/// from the addresses.
const SYS_FLAGS: i32 = sys_flag::COMPRESSED
    | sys_flag::MULTI_TAGS
    | sys_flag::TRANSACTION_COMMIT
    | sys_flag::NEED_UNWRAP
    | COMPRESSION_TYPE;
/// Which way of compression (`MessageSysFlag.COMPRESSION_TYPE_COMPARATOR`).
const COMPRESSION_TYPE: i32 = 0x700;
const ADDRESS_FLAGS: i32 = sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6;

/// Flags of `store import`.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "Examples:
  rmq-lite store import all.jsonl /srv/fresh/broker          then: rmq-lite start --data-dir /srv/fresh
  rmq-lite store import orders.jsonl --name lesson           adds to that server's store, while it is stopped")]
pub struct ImportArgs {
    /// A file that `store export` wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Which store; a directory that is not there or is empty becomes a new storePathRootDir.
    #[command(flatten)]
    pub place: StorePlace,
}

/// What a file holds of one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct QueuePart {
    /// Runs of neighbouring offsets: the first, and how many.
    runs: Vec<(i64, i64)>,
}

impl QueuePart {
    fn last(&self) -> Option<i64> {
        self.runs.last().map(|(first, count)| first + count - 1)
    }

    fn push(&mut self, offset: i64) {
        match self.runs.last_mut() {
            Some((first, count)) if *first + *count == offset => *count += 1,
            _ => self.runs.push((offset, 1)),
        }
    }

    /// Returns how many messages stand before an offset.
    fn before(&self, offset: i64) -> i64 {
        self.runs.iter().map(|(first, count)| (offset - first).clamp(0, *count)).sum()
    }
}

/// A file that was read from its first line to its last.
#[derive(Debug, Default)]
pub(super) struct Plan {
    topics: BTreeMap<String, TopicConfig>,
    groups: BTreeMap<String, SubscriptionGroupConfig>,
    offsets: BTreeMap<(String, String, i32), i64>,
    queues: BTreeMap<(String, i32), QueuePart>,
    messages: u64,
    /// Bytes of log that the messages will take, roughly.
    bytes: u64,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Imported {
    pub(super) messages: u64,
    pub(super) topics: usize,
    pub(super) groups: usize,
    pub(super) offsets: usize,
    /// Queues whose messages have other offsets now.
    pub(super) renumbered: usize,
}

/// Runs `rmq-lite store import`.
pub(super) fn run(args: &ImportArgs) -> anyhow::Result<()> {
    let options = args.place.new_store()?;
    let mut file = File::open(&args.file).with_context(|| format!("cannot open {}", args.file.display()))?;
    let done = import(&mut file, &options).with_context(|| format!("{}", args.file.display()))?;
    println!(
        "{}: {} messages, and new: {} topics, {} groups, {} offsets",
        options.root.display(),
        done.messages,
        done.topics,
        done.groups,
        done.offsets
    );
    if done.renumbered > 0 {
        println!(
            "the messages of {} queues have new offsets; the progress of groups moved with them",
            done.renumbered
        );
    }
    Ok(())
}

/// Reads the file twice: to check it, and to put what it holds into the store under `options`.
pub(super) fn import(file: &mut File, options: &StoreOptions) -> anyhow::Result<Imported> {
    let body_max = options.max_message_bytes;
    let mut plan = Plan::default();
    for_each_line(file, body_max, |line| plan.add(line, body_max))?;
    let existing = std::fs::read_dir(&options.root).is_ok_and(|mut listed| listed.next().is_some());
    if existing {
        return fill(file, &plan, options);
    }
    // A new store takes its place when it is complete.
    let parent = options.root.parent().context("the store needs a directory of its own")?;
    std::fs::create_dir_all(parent)?;
    let building = tempfile::Builder::new().prefix(".rmq-lite-import").tempdir_in(parent)?;
    let done = fill(file, &plan, &moved(options, building.path()))?;
    if options.root.exists() {
        std::fs::remove_dir(&options.root)?;
    }
    std::fs::rename(building.keep(), &options.root)?;
    Ok(done)
}

/// Returns the options of a store in another directory; one whose parts lie elsewhere stays where they are.
fn moved(options: &StoreOptions, root: &Path) -> StoreOptions {
    let fresh = StoreOptions::at(root);
    StoreOptions {
        root: fresh.root,
        commit_log_dir: fresh.commit_log_dir,
        consume_queue_dir: fresh.consume_queue_dir,
        index_dir: fresh.index_dir,
        checkpoint_file: fresh.checkpoint_file,
        abort_file: fresh.abort_file,
        ..options.clone()
    }
}

/// Gives `each` every line with its number, after the form of the file is checked: begin, content, end.
fn for_each_line(
    file: &mut File,
    body_max: usize,
    mut each: impl FnMut(&Line) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let line_max = (body_max / 3 + 1) * 4 + LINE_OVERHEAD;
    let mut reader = BufReader::new(file);
    let (mut bytes, mut number, mut ended) = (Vec::new(), 0, false);
    loop {
        bytes.clear();
        number += 1;
        let read = reader.by_ref().take(line_max as u64 + 1).read_until(b'\n', &mut bytes)?;
        if read == 0 {
            break;
        }
        ensure!(read <= line_max, "line {number} is longer than {line_max} bytes");
        ensure!(!ended, "line {number} stands behind the end line");
        ensure!(bytes.last() == Some(&b'\n'), "line {number} is cut short: the file is not complete");
        let line: Line = serde_json::from_slice(&bytes).map_err(|cause| match newer_version(&bytes) {
            Some(version) => {
                anyhow::anyhow!("the file has version {version}, and this rmq-lite reads {VERSION}")
            }
            None => anyhow::anyhow!("line {number} cannot be read: {cause}"),
        })?;
        match (&line, number) {
            (Line::Begin { version, .. }, 1) => {
                ensure!(
                    *version == VERSION,
                    "the file has version {version}, and this rmq-lite reads {VERSION}"
                );
            }
            (_, 1) => bail!("line 1 is not the first line of an export"),
            (Line::Begin { .. }, _) => bail!("line {number} begins another export"),
            _ => {}
        }
        ended = matches!(line, Line::End { .. });
        each(&line).with_context(|| format!("line {number}"))?;
    }
    ensure!(ended, "the file ends before its end line: it is not complete");
    Ok(())
}

/// A first line of a later version may have members that nobody knows here.
fn newer_version(line: &[u8]) -> Option<u64> {
    let value: serde_json::Value = serde_json::from_slice(line).ok()?;
    let version = value.get("version")?.as_u64()?;
    (value.get("kind")? == "rmq-lite-export" && version > u64::from(VERSION)).then_some(version)
}

/// A message as it is put.
struct Ready {
    body: Vec<u8>,
    properties: String,
    born_host: SocketAddr,
    sys_flag: i32,
}

impl Plan {
    fn add(&mut self, line: &Line, body_max: usize) -> anyhow::Result<()> {
        let entries = self.topics.len() + self.groups.len() + self.offsets.len() + self.queues.len();
        ensure!(
            entries < ENTRIES_MAX,
            "there are more than {ENTRIES_MAX} topics, groups, offsets and queues"
        );
        match line {
            Line::Begin { .. } => {}
            Line::Topic { config } => {
                let name = &config.topic_name;
                legal_topic(name)?;
                for queues in [config.read_queue_nums, config.write_queue_nums] {
                    ensure!(
                        (0..=QUEUES_MAX).contains(&queues),
                        "topic {name} has {queues} queues; 0 to {QUEUES_MAX} are allowed"
                    );
                }
                ensure!(
                    (0..16).contains(&config.perm),
                    "topic {name} has the permission {}; 0 to 15 are allowed",
                    config.perm
                );
                ensure!(
                    self.topics.insert(name.clone(), config.clone()).is_none(),
                    "topic {name} comes twice"
                );
            }
            Line::Group { config } => {
                let name = &config.group_name;
                legal_group(name)?;
                ensure!(
                    self.groups.insert(name.clone(), config.clone()).is_none(),
                    "group {name} comes twice"
                );
            }
            Line::Offset { topic, group, queue_id, offset } => {
                legal_topic(topic)?;
                legal_group(group)?;
                legal_queue(*queue_id)?;
                ensure!(*offset >= 0, "the offset {offset} is negative");
                let key = (topic.clone(), group.clone(), *queue_id);
                ensure!(
                    self.offsets.insert(key, *offset).is_none(),
                    "the offset of {group} on {topic} queue {queue_id} comes twice"
                );
            }
            Line::Message(message) => self.add_message(message, body_max)?,
            Line::End { messages, topics, groups, offsets } => {
                let said = (*messages, *topics, *groups, *offsets);
                let had = (
                    self.messages,
                    self.topics.len() as u64,
                    self.groups.len() as u64,
                    self.offsets.len() as u64,
                );
                ensure!(
                    said == had,
                    "the file should have (messages, topics, groups, offsets) {said:?} and has {had:?}"
                );
            }
        }
        Ok(())
    }

    fn add_message(&mut self, message: &MessageLine, body_max: usize) -> anyhow::Result<()> {
        legal_topic(&message.topic)?;
        legal_queue(message.queue_id)?;
        ensure!(
            (0..=i64::MAX / 64).contains(&message.queue_offset),
            "the queue offset {} cannot be",
            message.queue_offset
        );
        let ready = ready(message, body_max)?;
        let part = self.queues.entry((message.topic.clone(), message.queue_id)).or_default();
        if let Some(last) = part.last() {
            ensure!(
                message.queue_offset > last,
                "offset {} of {} queue {} stands behind offset {last}",
                message.queue_offset,
                message.topic,
                message.queue_id
            );
        }
        part.push(message.queue_offset);
        self.messages += 1;
        self.bytes += (ready.body.len() + ready.properties.len() + 512) as u64;
        Ok(())
    }
}

fn legal_topic(topic: &str) -> anyhow::Result<()> {
    validate_topic(topic).map_err(anyhow::Error::msg)?;
    ensure!(!is_system_topic(topic), "the topic {topic} belongs to the broker itself");
    Ok(())
}

/// Groups may be as long as their retry topic allows: a store can have longer ones than a client may make today.
fn legal_group(group: &str) -> anyhow::Result<()> {
    validate_topic(&retry_topic(group)).map_err(|problem| anyhow::anyhow!("group {group:?}: {problem}"))
}

fn legal_queue(queue_id: i32) -> anyhow::Result<()> {
    ensure!(
        (0..QUEUES_MAX).contains(&queue_id),
        "the queue {queue_id} cannot be; 0 to {} are allowed",
        QUEUES_MAX - 1
    );
    Ok(())
}

fn ready(message: &MessageLine, body_max: usize) -> anyhow::Result<Ready> {
    let body =
        STANDARD.decode(&message.body).map_err(|cause| anyhow::anyhow!("the body is not base64: {cause}"))?;
    ensure!(body.len() <= body_max, "the body has {} bytes; maxMessageSize allows {body_max}", body.len());
    let mut properties = String::new();
    for (name, value) in &message.properties {
        ensure!(!name.is_empty() && !value.is_empty(), "a property has no name or no value");
        let marks = [NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR];
        ensure!(
            !name.contains(marks) && !value.contains(PROPERTY_SEPARATOR),
            "the property {name:?} holds a separator"
        );
        append_property(&mut properties, name, value);
        ensure!(
            properties.len() <= PROPERTIES_BYTES_MAX,
            "the properties have more than {PROPERTIES_BYTES_MAX} bytes"
        );
    }
    let born_host = message
        .born_host
        .parse()
        .map_err(|_| anyhow::anyhow!("the born host {:?} is no address with a port", message.born_host))?;
    let flags = message.sys_flag & !ADDRESS_FLAGS;
    ensure!(
        flags & !SYS_FLAGS == 0 && sys_flag::is_queued(flags),
        "the system flag {:#x} cannot be imported",
        message.sys_flag
    );
    Ok(Ready { body, properties, born_host, sys_flag: flags })
}

/// Puts the file's content into the store under `options`.
fn fill(file: &mut File, plan: &Plan, options: &StoreOptions) -> anyhow::Result<Imported> {
    let clock = Clock::new();
    let store = match MessageStore::open(options.clone(), clock.clone(), Faults::default()) {
        Err(Error::Locked { .. }) => {
            bail!("a server uses {}; stop it first (rmq-lite stop)", options.root.display())
        }
        store => store?,
    };
    let free = store.disk_space().0.free_bytes;
    ensure!(
        free == 0 || free > plan.bytes + options.disk_full_free_bytes,
        "the messages take {} MB, and the disk has {} MB free",
        plan.bytes >> 20,
        free >> 20
    );
    let was_empty = store.max_physical_offset().0 == store.min_physical_offset().0;
    let mut done = Imported::default();
    // Where each queue's first message goes.
    let mut firsts = BTreeMap::new();
    for ((topic, queue_id), part) in &plan.queues {
        let first = part.runs.first().map_or(0, |run| run.0);
        let keeps = was_empty
            && part.runs.len() == 1
            && store.begin_queue_at(topic, *queue_id, QueueOffset(first))?;
        let begins = if keeps { first } else { store.max_offset_in_queue(topic, *queue_id).0 };
        done.renumbered += usize::from(begins != first || part.runs.len() > 1);
        firsts.insert((topic.clone(), *queue_id), begins);
    }
    let put = for_each_line(file, options.max_message_bytes, |line| {
        let Line::Message(message) = line else { return Ok(()) };
        let ready = ready(message, options.max_message_bytes)?;
        store.put(&NewMessage {
            topic: &message.topic,
            queue_id: message.queue_id,
            flag: message.flag,
            sys_flag: ready.sys_flag,
            born_timestamp: message.born_timestamp,
            born_host: ready.born_host,
            store_host: options.store_host,
            reconsume_times: message.reconsume_times,
            prepared_transaction_offset: 0,
            body: &ready.body,
            properties: &[&ready.properties],
            wait_store: false,
        })?;
        done.messages += 1;
        Ok(())
    });
    store.stop();
    drop(store);
    put.with_context(|| format!("stopped after {} messages", done.messages))?;
    configure(plan, options, &firsts, clock.now_ms(), &mut done)?;
    Ok(done)
}

/// Adds topics, groups and offsets to the files in `config/`.
fn configure(
    plan: &Plan,
    options: &StoreOptions,
    firsts: &BTreeMap<(String, i32), i64>,
    now_ms: i64,
    done: &mut Imported,
) -> anyhow::Result<()> {
    let config = options.root.join("config");
    let path = config.join("topics.json");
    let mut topics: TopicConfigSerializeWrapper = persist::load(&path)?.unwrap_or_default();
    let mut wanted = plan.topics.clone();
    for (topic, queue_id) in plan.queues.keys() {
        // A message without its topic's configuration, and one in a queue that the topic no longer had.
        let config = wanted.entry(topic.clone()).or_insert_with(|| TopicConfig::new(topic.clone(), 1, 6));
        config.read_queue_nums = config.read_queue_nums.max(queue_id + 1);
        config.write_queue_nums = config.write_queue_nums.max(queue_id + 1);
    }
    for (name, config) in wanted {
        if let Some(there) = topics.topic_config_table.get_mut(&name) {
            there.read_queue_nums = there.read_queue_nums.max(config.read_queue_nums);
            there.write_queue_nums = there.write_queue_nums.max(config.write_queue_nums);
        } else {
            topics.topic_config_table.insert(name, config);
            done.topics += 1;
        }
    }
    topics.data_version = topics.data_version.next(now_ms);
    persist::save(&path, &topics)?;

    let path = config.join("subscriptionGroup.json");
    let mut groups: SubscriptionGroupWrapper = persist::load(&path)?.unwrap_or_default();
    for (name, config) in &plan.groups {
        if !groups.subscription_group_table.contains_key(name) {
            groups.subscription_group_table.insert(name.clone(), config.clone());
            done.groups += 1;
        }
    }
    groups.data_version = groups.data_version.next(now_ms);
    persist::save(&path, &groups)?;

    let path = config.join("consumerOffset.json");
    let mut offsets: ConsumerOffsetSerializeWrapper = persist::load(&path)?.unwrap_or_default();
    for ((topic, group, queue_id), offset) in &plan.offsets {
        let key = (topic.clone(), *queue_id);
        let moved = match (plan.queues.get(&key), firsts.get(&key)) {
            (Some(part), Some(first)) => first + part.before(*offset),
            // None of its messages are in the file: there is nothing to have read yet.
            _ => 0,
        };
        let queues = offsets.offset_table.entry(format!("{topic}@{group}")).or_default();
        if !queues.contains_key(queue_id) {
            queues.insert(*queue_id, moved);
            done.offsets += 1;
        }
    }
    offsets.data_version = offsets.data_version.next(now_ms);
    Ok(persist::save(&path, &offsets)?)
}

#[cfg(test)]
mod tests;
