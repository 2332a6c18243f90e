//! `store export`: messages, topics, groups and progress of a store as one portable file.
//!
//! The file is UTF-8, one JSON object a line, each with its `kind`:
//!
//! | kind | members |
//! |---|---|
//! | `rmq-lite-export` | first line: `version` (1), `exportedMs`, `root` |
//! | `topic` | `config`: a TopicConfig as in topics.json |
//! | `group` | `config`: a SubscriptionGroupConfig as in subscriptionGroup.json |
//! | `offset` | `topic`, `group`, `queueId`, `offset`: the next message that the group wants |
//! | `message` | `topic`, `queueId`, `queueOffset`, `flag`, `sysFlag`, `bornTimestamp`, `bornHost`, `storeTimestamp`, `reconsumeTimes`, `properties` (pairs of name and value in order), `body` (base64, as stored) |
//! | `end` | last line: `messages`, `topics`, `groups`, `offsets`: how many there were |
//!
//! Messages come in log order, and only those that a consumer would see: not of deleted topics, not halves of
//! transactions. The system's own topics, where messages wait for a time or an outcome, are left out and counted.

use std::collections::BTreeSet;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde::{Deserialize, Serialize};

use super::{StorePlace, hold};
use crate::broker::name::is_system_topic;
use crate::broker::persist;
use crate::clock::Clock;
use crate::store::StoreOptions;
use crate::store::offline::{DeletedTopics, LogPiece, LogReader, QueueTable, entry_of, list};
use crate::wire::body::group::{SubscriptionGroupConfig, SubscriptionGroupWrapper};
use crate::wire::body::offset::ConsumerOffsetSerializeWrapper;
use crate::wire::body::topic::{TopicConfig, TopicConfigSerializeWrapper};
use crate::wire::message;

/// The version of the file that is written, and the newest that is read.
pub(super) const VERSION: u32 = 1;

/// Flags of `store export`.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "Examples:
  rmq-lite store export -o all.jsonl                        the default server's store, while it is stopped
  rmq-lite store export /var/lib/rocketmq/store --topic orders --topic %DLQ%billing -o orders.jsonl")]
pub struct ExportArgs {
    /// Which store.
    #[command(flatten)]
    pub place: StorePlace,
    /// Only this topic; may be repeated
    #[arg(long, value_name = "TOPIC")]
    pub topic: Vec<String>,
    /// File to write; it appears when it is complete
    #[arg(long, short = 'o', value_name = "FILE")]
    pub output: PathBuf,
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(super) enum Line {
    #[serde(rename = "rmq-lite-export")]
    Begin {
        version: u32,
        exported_ms: i64,
        root: String,
    },
    Topic {
        config: TopicConfig,
    },
    Group {
        config: SubscriptionGroupConfig,
    },
    Offset {
        topic: String,
        group: String,
        queue_id: i32,
        offset: i64,
    },
    Message(MessageLine),
    End {
        messages: u64,
        topics: u64,
        groups: u64,
        offsets: u64,
    },
}

/// A message in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MessageLine {
    pub(super) topic: String,
    pub(super) queue_id: i32,
    pub(super) queue_offset: i64,
    pub(super) flag: i32,
    pub(super) sys_flag: i32,
    pub(super) born_timestamp: i64,
    pub(super) born_host: String,
    pub(super) store_timestamp: i64,
    pub(super) reconsume_times: i32,
    pub(super) properties: Vec<(String, String)>,
    pub(super) body: String,
}

/// What was written, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Exported {
    pub(super) messages: u64,
    pub(super) topics: u64,
    pub(super) groups: u64,
    pub(super) offsets: u64,
    /// Messages in topics of the system.
    pub(super) system: u64,
    /// Messages of deleted topics, or with properties that are not text.
    pub(super) passed_over: u64,
    /// Bytes of the log that are no messages.
    pub(super) bad_bytes: i64,
}

/// Runs `rmq-lite store export`.
pub(super) fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let stores = args.place.stores()?;
    // A slave has the same messages as its master.
    let options = stores.first().context("there is no store")?;
    let _held = hold(options, false)?;
    let folder =
        args.output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".rmq-lite-export")
        .tempfile_in(folder)
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    let mut out = BufWriter::new(&mut file);
    let done = export(options, &args.topic, &mut out, Clock::new().now_ms())?;
    out.flush()?;
    drop(out);
    file.as_file().sync_all()?;
    file.persist(&args.output).with_context(|| format!("cannot write {}", args.output.display()))?;
    println!(
        "{}: {} messages, {} topics, {} groups, {} offsets",
        args.output.display(),
        done.messages,
        done.topics,
        done.groups,
        done.offsets
    );
    if done.system > 0 {
        println!(
            "left out: {} messages in the system's own topics (delays, timers, transactions, traces)",
            done.system
        );
    }
    if done.passed_over > 0 {
        println!("left out: {} messages of deleted topics or with unreadable properties", done.passed_over);
    }
    if done.bad_bytes > 0 {
        eprintln!(
            "rmq-lite: {} bytes of the log are no message; `rmq-lite store check` says where",
            done.bad_bytes
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a store's content as lines.
pub(super) fn export(
    options: &StoreOptions,
    only: &[String],
    out: &mut impl Write,
    now_ms: i64,
) -> anyhow::Result<Exported> {
    let is_wanted = |topic: &str| {
        if only.is_empty() { !is_system_topic(topic) } else { only.iter().any(|wanted| wanted == topic) }
    };
    let config = options.root.join("config");
    let mut done = Exported::default();
    let root = options.root.display().to_string();
    put_line(out, &Line::Begin { version: VERSION, exported_ms: now_ms, root })?;
    let topics: TopicConfigSerializeWrapper = persist::load(&config.join("topics.json"))?.unwrap_or_default();
    let known: BTreeSet<_> = topics.topic_config_table.keys().cloned().collect();
    for (name, config) in topics.topic_config_table {
        if is_wanted(&name) {
            put_line(out, &Line::Topic { config })?;
            done.topics += 1;
        }
    }
    if only.is_empty() {
        let groups: SubscriptionGroupWrapper =
            persist::load(&config.join("subscriptionGroup.json"))?.unwrap_or_default();
        for config in groups.subscription_group_table.into_values() {
            put_line(out, &Line::Group { config })?;
            done.groups += 1;
        }
    }
    let offsets: ConsumerOffsetSerializeWrapper =
        persist::load(&config.join("consumerOffset.json"))?.unwrap_or_default();
    for (key, queues) in offsets.offset_table {
        let Some((topic, group)) = key.split_once('@') else { continue };
        for (queue_id, offset) in queues {
            if is_wanted(topic) {
                let (topic, group) = (topic.to_owned(), group.to_owned());
                put_line(out, &Line::Offset { topic, group, queue_id, offset })?;
                done.offsets += 1;
            }
        }
    }
    messages(options, &known, &is_wanted, out, &mut done)?;
    let Exported { messages, topics, groups, offsets, .. } = done;
    put_line(out, &Line::End { messages, topics, groups, offsets })?;
    Ok(done)
}

fn messages(
    options: &StoreOptions,
    known: &BTreeSet<String>,
    is_wanted: &dyn Fn(&str) -> bool,
    out: &mut impl Write,
    done: &mut Exported,
) -> anyhow::Result<()> {
    let mut queues = QueueTable::load(&options.consume_queue_dir)?.queues;
    let deleted = DeletedTopics::load(options);
    let mut reader = LogReader::new(list(&options.commit_log_dir)?.files, true);
    let Some(mut at) = reader.files().first().map(|file| file.offset) else { return Ok(()) };
    let mut zeros = 0;
    loop {
        match reader.piece(at)? {
            Some(LogPiece::Message(record)) => {
                // Zeros before a message are a hole; those at the end of the log are none.
                done.bad_bytes += std::mem::take(&mut zeros);
                at += i64::from(record.total_size);
                let Some(entry) = entry_of(&record, &options.message_delay_level_ms) else { continue };
                if !is_wanted(record.topic) {
                    done.system += u64::from(is_system_topic(record.topic));
                    continue;
                }
                let visible = match queues.get_mut(&(record.topic.to_owned(), record.queue_id)) {
                    Some(queue) => queue
                        .entry(record.queue_offset)?
                        // An entry that is not there yet is made by the next start.
                        .is_none_or(|there| {
                            there.is_unused() || there.physical_offset == entry.physical_offset
                        }),
                    None => known.contains(record.topic),
                };
                let visible = visible && !deleted.covers(record.topic, record.physical_offset);
                let Some(properties) = record.properties_str().ok().filter(|_| visible) else {
                    done.passed_over += 1;
                    continue;
                };
                let pairs = message::properties(properties);
                let line = MessageLine {
                    topic: record.topic.to_owned(),
                    queue_id: record.queue_id,
                    queue_offset: record.queue_offset,
                    flag: record.flag,
                    sys_flag: record.sys_flag,
                    born_timestamp: record.born_timestamp,
                    born_host: record.born_host.to_string(),
                    store_timestamp: record.store_timestamp,
                    reconsume_times: record.reconsume_times,
                    properties: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
                    body: STANDARD.encode(record.body),
                };
                put_line(out, &Line::Message(line))?;
                done.messages += 1;
            }
            Some(LogPiece::Blank { end }) => at = end,
            Some(LogPiece::Zeros { end }) => {
                zeros += end - at;
                at = end;
            }
            Some(LogPiece::Damaged { end, .. }) => {
                done.bad_bytes += end - at;
                at = end;
            }
            None => {
                let next = reader.files().iter().map(|file| file.offset).find(|&offset| offset > at);
                let Some(next) = next else { return Ok(()) };
                at = next;
            }
        }
    }
}

fn put_line(out: &mut impl Write, line: &Line) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    Ok(out.write_all(b"\n")?)
}
