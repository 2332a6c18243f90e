//! `store dump`: messages, entries of consume queues and of index files as a person reads them.
//!
//! Flows in: the readers of [`crate::store::offline`]. Flows out: text or JSON lines on standard output. Nothing that a
//! message holds reaches the terminal as it is: control characters are escaped, and a body that is no text is shown in
//! hexadecimal digits.

use std::collections::BTreeMap;
use std::io::{self, Write};

use clap::Args;
use serde::Serialize;

use super::text::time;
use super::{StorePlace, hold};
use crate::store::offline::{IndexReader, LogPiece, LogReader, QueueTable, index_sizes, list, list_index};
use crate::store::{Error, StoreOptions};
use crate::wire::message::{self, MessageRecord, property_name, sys_flag, upper_hex};

/// Characters of a body that are shown without `--body`.
const PREVIEW_CHARS: usize = 80;

/// Flags of `store dump`.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "Examples:
  rmq-lite store dump --topic orders --queue 0 --from 100 --count 5 --body
  rmq-lite store dump /var/lib/rocketmq/store --topic %DLQ%billing --json
  rmq-lite store dump --queues --topic orders
  rmq-lite store dump --index")]
pub struct DumpArgs {
    /// Which store.
    #[command(flatten)]
    pub place: StorePlace,
    /// Only this topic
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Only this queue
    #[arg(long, value_name = "NUMBER")]
    pub queue: Option<i32>,
    /// Only from this queue offset on
    #[arg(long, value_name = "OFFSET", default_value_t = 0, hide_default_value = true)]
    pub from: i64,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub count: u64,
    /// Show whole bodies
    #[arg(long)]
    pub body: bool,
    /// Show entries of consume queues instead of messages
    #[arg(long, conflicts_with_all = ["index", "body"])]
    pub queues: bool,
    /// Show entries of index files instead of messages
    #[arg(long, conflicts_with_all = ["body", "topic", "queue", "from"])]
    pub index: bool,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// A message as it is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    topic: &'a str,
    queue_id: i32,
    queue_offset: i64,
    physical_offset: i64,
    size: i32,
    msg_id: Option<&'a str>,
    offset_msg_id: String,
    born_timestamp: i64,
    born_host: String,
    store_timestamp: i64,
    store_host: String,
    flag: i32,
    sys_flag: i32,
    reconsume_times: i32,
    prepared_transaction_offset: i64,
    properties: BTreeMap<&'a str, &'a str>,
    body_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_hex: Option<String>,
}

/// Runs `rmq-lite store dump`.
pub(super) fn run(args: &DumpArgs) -> anyhow::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for options in args.place.stores()? {
        let held = hold(&options, false);
        if let Err(cause) = &held {
            eprintln!("rmq-lite: {cause:#}; what follows may change meanwhile");
        }
        let dumped = match (args.queues, args.index) {
            (true, _) => queues(&options, args, &mut out),
            (_, true) => index(&options, args, &mut out),
            _ => messages(&options, args, &mut out),
        };
        match dumped.and_then(|()| Ok(out.flush()?)) {
            // Whoever read has seen enough, as `head` does.
            Err(cause) if is_closed(&cause) => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}

fn is_closed(cause: &anyhow::Error) -> bool {
    cause.downcast_ref::<io::Error>().is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

pub(super) fn messages(options: &StoreOptions, args: &DumpArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let mut reader = LogReader::new(list(&options.commit_log_dir)?.files, true);
    let Some(mut at) = reader.files().first().map(|file| file.offset) else { return Ok(()) };
    let (mut left, mut bad) = (args.count, 0);
    while left > 0 {
        match reader.piece(at)? {
            Some(LogPiece::Message(record)) => {
                at += i64::from(record.total_size);
                let wanted = args.topic.as_deref().is_none_or(|topic| topic == record.topic)
                    && args.queue.is_none_or(|queue| queue == record.queue_id)
                    && record.queue_offset >= args.from;
                if wanted {
                    print_message(&record, args, out)?;
                    left -= 1;
                }
            }
            Some(LogPiece::Blank { end } | LogPiece::Zeros { end }) => at = end,
            Some(LogPiece::Damaged { end, .. }) => {
                bad += end - at;
                at = end;
            }
            None => {
                let next = reader.files().iter().map(|file| file.offset).find(|&offset| offset > at);
                let Some(next) = next else { break };
                at = next;
            }
        }
    }
    if bad > 0 {
        eprintln!(
            "rmq-lite: {bad} bytes are no message and were passed over; `rmq-lite store check` says where"
        );
    }
    Ok(())
}

fn print_message(record: &MessageRecord<'_>, args: &DumpArgs, out: &mut impl Write) -> io::Result<()> {
    let properties = record.properties_str().unwrap_or_default();
    let compressed = record.sys_flag & sys_flag::COMPRESSED != 0;
    let body = std::str::from_utf8(record.body).ok().filter(|_| !compressed);
    if args.json {
        let shown = Shown {
            topic: record.topic,
            queue_id: record.queue_id,
            queue_offset: record.queue_offset,
            physical_offset: record.physical_offset,
            size: record.total_size,
            msg_id: record.property(property_name::UNIQ_KEY),
            offset_msg_id: record.offset_message_id(),
            born_timestamp: record.born_timestamp,
            born_host: record.born_host.to_string(),
            store_timestamp: record.store_timestamp,
            store_host: record.store_host.to_string(),
            flag: record.flag,
            sys_flag: record.sys_flag,
            reconsume_times: record.reconsume_times,
            prepared_transaction_offset: record.prepared_transaction_offset,
            properties: message::properties(properties).collect(),
            body_bytes: record.body.len(),
            body: body.filter(|_| args.body).map(str::to_owned),
            body_hex: (args.body && body.is_none()).then(|| upper_hex(record.body)),
        };
        return writeln!(out, "{}", serde_json::to_string(&shown)?);
    }
    writeln!(
        out,
        "{}/{} {}  at {}  {} bytes  stored {}  from {}  {}",
        escaped(record.topic),
        record.queue_id,
        record.queue_offset,
        record.physical_offset,
        record.total_size,
        time(record.store_timestamp),
        record.born_host,
        escaped(record.property(property_name::UNIQ_KEY).unwrap_or("(no id)")),
    )?;
    let listed: Vec<_> = message::properties(properties)
        .filter(|(name, _)| *name != property_name::UNIQ_KEY)
        .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)))
        .collect();
    if !listed.is_empty() {
        writeln!(out, "    {}", listed.join("  "))?;
    }
    let kind = match sys_flag::transaction_type(record.sys_flag) {
        sys_flag::TRANSACTION_PREPARED => "  half message",
        sys_flag::TRANSACTION_COMMIT => "  committed",
        sys_flag::TRANSACTION_ROLLBACK => "  rolled back",
        _ => "",
    };
    let packed = if compressed { " compressed" } else { "" };
    writeln!(out, "    {} bytes of body{packed}, {} tries{kind}", record.body.len(), record.reconsume_times)?;
    match body {
        Some(text) if args.body => {
            for line in text.lines() {
                writeln!(out, "    | {}", escaped(line))?;
            }
        }
        Some(text) => {
            let line: String = text.chars().take(PREVIEW_CHARS).collect();
            let more = if line.len() < text.len() { "…" } else { "" };
            writeln!(out, "    | {}{more}", escaped(&line))?;
        }
        None if args.body => {
            for line in record.body.chunks(32) {
                writeln!(out, "    | {}", upper_hex(line))?;
            }
        }
        None => {}
    }
    Ok(())
}

/// Returns text that moves no cursor and rings no bell.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for one in text.chars() {
        // Marks of direction can make a line read as something else.
        let hidden = matches!(one, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}');
        if (one.is_control() && one != '\t') || hidden {
            safe.extend(one.escape_unicode());
        } else {
            safe.push(one);
        }
    }
    safe
}

fn queues(options: &StoreOptions, args: &DumpArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let mut left = args.count;
    for ((topic, queue_id), mut queue) in QueueTable::load(&options.consume_queue_dir)?.queues {
        let wanted = args.topic.as_ref().is_none_or(|wanted| *wanted == topic)
            && args.queue.is_none_or(|wanted| wanted == queue_id);
        let mut index = queue.first().max(args.from);
        while wanted && left > 0 && index < queue.end() {
            let Some(entry) = queue.entry(index)?.filter(|entry| !entry.is_unused()) else { break };
            if args.json {
                let line = serde_json::json!({
                    "topic": topic, "queueId": queue_id, "queueOffset": index,
                    "physicalOffset": entry.physical_offset.0, "size": entry.size, "tagsCode": entry.tags_code,
                });
                writeln!(out, "{line}")?;
            } else if entry.is_blank() {
                writeln!(out, "{}/{queue_id} {index}  blank", escaped(&topic))?;
            } else {
                let (physical, size, tags) = (entry.physical_offset.0, entry.size, entry.tags_code);
                writeln!(
                    out,
                    "{}/{queue_id} {index}  at {physical}  {size} bytes  tag code {tags}",
                    escaped(&topic)
                )?;
            }
            (left, index) = (left - 1, index + 1);
        }
    }
    Ok(())
}

fn index(options: &StoreOptions, args: &DumpArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let mut left = args.count;
    for path in list_index(&options.index_dir)?.0 {
        let Some(sizes) = index_sizes(options, std::fs::metadata(&path)?.len()) else { continue };
        let Some(file) = IndexReader::open(&path, sizes)? else { continue };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut problem = None;
        file.for_each(|entry| {
            if left == 0 || problem.is_some() {
                return Ok::<_, Error>(());
            }
            left -= 1;
            let written = if args.json {
                let line = serde_json::json!({
                    "file": name, "entry": entry.number, "keyHash": entry.key_hash,
                    "physicalOffset": entry.physical_offset.0, "seconds": entry.seconds, "older": entry.older,
                });
                writeln!(out, "{line}")
            } else {
                let stored = file.timestamps.0 + i64::from(entry.seconds) * 1_000;
                writeln!(
                    out,
                    "{name} {}  hash {}  at {}  stored about {}  older {}",
                    entry.number,
                    entry.key_hash,
                    entry.physical_offset.0,
                    time(stored),
                    entry.older
                )
            };
            problem = written.err();
            Ok(())
        })?;
        if let Some(problem) = problem {
            return Err(problem.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
