//! `dlq`: the dead letters of consumer groups: list, show, send again, set aside, write out.
//!
//! Everything goes over the wire, so it works on an Apache cluster too, and no consumer need be online. A letter
//! stays in its topic until it is too old, whatever is done with it; what is *open* begins at an offset that is
//! kept at the broker like any group's progress (group `TOOLS_CONSUMER` on the dead letter topic). `resend` and
//! `purge` move it on; `purge --delete` removes the topic with all its letters instead.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use serde::Serialize;

use super::args::{DlqArgs, DlqWish, LettersArgs, PurgeArgs, ResendArgs};
use super::cluster::{Cluster, Queue};
use super::instance;
use crate::broker::dead_letter::properties_of_resent;
use crate::broker::name::DLQ_PREFIX;
use crate::wire::code::request;
use crate::wire::command::Request;
use crate::wire::header::route::DeleteTopicFromNamesrvRequestHeader;
use crate::wire::header::send::SendMessageRequestHeader;
use crate::wire::header::topic::DeleteTopicRequestHeader;
use crate::wire::message::{self, MessageRecord, property_name, sys_flag, upper_hex};

/// Largest body that is shown or written out after it was unpacked.
const BODY_BYTES_MAX: u64 = 64 << 20;
/// Characters of a body that `show` prints in a line.
const PREVIEW_CHARS: usize = 60;
/// `rmq-lite dlq …`.
pub(super) async fn dlq(args: DlqArgs) -> anyhow::Result<ExitCode> {
    let mut cluster = Cluster::behind(&instance::name_servers(args.namesrv));
    match args.wish {
        DlqWish::List { json } => list(&mut cluster, json).await?,
        DlqWish::Show(letters) => show(&mut cluster, &letters).await?,
        DlqWish::Export { letters, output } => export(&mut cluster, &letters, output.as_deref()).await?,
        DlqWish::Resend(wish) => resend(&mut cluster, &wish).await?,
        DlqWish::Purge(wish) => purge(&mut cluster, &wish).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The dead letters of a group.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    group: String,
    topic: String,
    messages: i64,
    open: i64,
}

/// One dead letter.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Letter {
    broker_name: String,
    queue_id: i32,
    queue_offset: i64,
    /// The id that the producer knows.
    msg_id: String,
    offset_msg_id: String,
    origin_topic: Option<String>,
    born_timestamp: i64,
    store_timestamp: i64,
    reconsume_times: i32,
    properties: std::collections::BTreeMap<String, String>,
    /// The body when it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// The body otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_hex: Option<String>,
}

/// A part of a group's dead letters: those of one queue.
struct Part {
    queue: Queue,
    min: i64,
    max: i64,
    /// The first letter that nobody has dealt with.
    open: i64,
}

/// Finds a group's dead letters; an error when it has none.
async fn parts(cluster: &mut Cluster, group: &str, broker: Option<&str>) -> anyhow::Result<Vec<Part>> {
    let group = group.strip_prefix(DLQ_PREFIX).unwrap_or(group);
    let topic = format!("{DLQ_PREFIX}{group}");
    // A route is only asked for where the topic is known, so that asking creates nothing.
    let queues =
        if cluster.topics().await?.contains(&topic) { cluster.queues(&topic).await? } else { Vec::new() };
    let mut parts = Vec::new();
    for queue in queues {
        if broker.is_some_and(|broker| broker != queue.broker_name) {
            continue;
        }
        let (min, max) = cluster.bounds(&queue).await?;
        let open = cluster.mark(&queue).await?.unwrap_or(min).clamp(min, max);
        parts.push(Part { queue, min, max, open });
    }
    if parts.is_empty() {
        bail!("group {group} has no dead letters: nobody knows a topic {topic}");
    }
    Ok(parts)
}

async fn list(cluster: &mut Cluster, json: bool) -> anyhow::Result<()> {
    let mut groups = Vec::new();
    for topic in cluster.topics().await? {
        let Some(group) = topic.strip_prefix(DLQ_PREFIX) else { continue };
        let parts = parts(cluster, group, None).await?;
        let messages = parts.iter().map(|part| part.max - part.min).sum();
        let open = parts.iter().map(|part| part.max - part.open).sum();
        groups.push(Group { group: group.to_owned(), topic: topic.clone(), messages, open });
    }
    if json {
        println!("{}", serde_json::to_string(&groups)?);
    } else if groups.is_empty() {
        println!("no group has dead letters");
    } else {
        println!("{:>10} {:>10}  group", "letters", "open");
        for group in groups {
            println!("{:>10} {:>10}  {}", group.messages, group.open, group.group);
        }
    }
    Ok(())
}

/// Calls `each` with every letter that is meant, in order, until it says that it has enough.
async fn for_each_letter(
    cluster: &mut Cluster,
    wish: &LettersArgs,
    mut each: impl FnMut(&Part, &MessageRecord<'_>) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    for part in parts(cluster, &wish.group, wish.broker.as_deref()).await? {
        let mut at = if wish.all { part.min } else { part.open };
        while at < part.max {
            let pulled = cluster.pull(&part.queue, at).await?;
            for record in MessageRecord::decode_all(&pulled.records) {
                if !each(&part, &record.context("a message of the broker cannot be read")?)? {
                    return Ok(());
                }
            }
            if pulled.next_offset <= at {
                break;
            }
            at = pulled.next_offset;
        }
    }
    Ok(())
}

async fn show(cluster: &mut Cluster, wish: &LettersArgs) -> anyhow::Result<()> {
    let mut letters = Vec::new();
    for_each_letter(cluster, wish, |part, record| {
        letters.push(letter(&part.queue, record));
        Ok(letters.len() < wish.max)
    })
    .await?;
    if wish.json {
        println!("{}", serde_json::to_string(&letters)?);
        return Ok(());
    }
    for letter in &letters {
        let dead = jiff::Timestamp::from_millisecond(letter.store_timestamp)?;
        let dead = dead.to_zoned(jiff::tz::TimeZone::system()).strftime("%F %T").to_string();
        println!(
            "{}/{} {}  {dead}  {} after {} tries  {}",
            letter.broker_name,
            letter.queue_id,
            letter.queue_offset,
            letter.origin_topic.as_deref().unwrap_or("(no topic)"),
            letter.reconsume_times,
            letter.msg_id
        );
        println!("    {}", preview(letter));
    }
    if letters.is_empty() {
        println!("no letter is open{}", if wish.all { "" } else { "; --all shows those dealt with, too" });
    }
    Ok(())
}

fn preview(letter: &Letter) -> String {
    let Some(body) = &letter.body else {
        return format!("({} bytes)", letter.body_hex.as_ref().map_or(0, String::len) / 2);
    };
    let mut line: String =
        body.chars().take(PREVIEW_CHARS).map(|one| if one.is_control() { ' ' } else { one }).collect();
    if line.len() < body.len() {
        line.push('…');
    }
    line
}

async fn export(
    cluster: &mut Cluster,
    wish: &LettersArgs,
    output: Option<&std::path::Path>,
) -> anyhow::Result<()> {
    let mut out: Box<dyn std::io::Write> = match output {
        Some(path) => {
            let file = std::fs::File::create(path);
            Box::new(std::io::BufWriter::new(
                file.with_context(|| format!("cannot create {}", path.display()))?,
            ))
        }
        None => Box::new(std::io::stdout().lock()),
    };
    let mut count = 0;
    for_each_letter(cluster, wish, |part, record| {
        serde_json::to_writer(&mut out, &letter(&part.queue, record))?;
        out.write_all(b"\n")?;
        count += 1;
        Ok(count < wish.max)
    })
    .await?;
    out.flush()?;
    if let Some(path) = output {
        println!("{count} letters are in {}", path.display());
    }
    Ok(())
}

fn letter(queue: &Queue, record: &MessageRecord<'_>) -> Letter {
    let properties = message::properties(record.properties_str().unwrap_or_default());
    let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let body = unpacked(record);
    let (body, body_hex) = match String::from_utf8(body) {
        Ok(text) => (Some(text), None),
        Err(bytes) => (None, Some(upper_hex(bytes.as_bytes()))),
    };
    let offset_msg_id = record.offset_message_id();
    Letter {
        broker_name: queue.broker_name.clone(),
        queue_id: record.queue_id,
        queue_offset: record.queue_offset,
        msg_id: record.property(property_name::UNIQ_KEY).unwrap_or(&offset_msg_id).to_owned(),
        offset_msg_id,
        origin_topic: record.property(property_name::RETRY_TOPIC).map(str::to_owned),
        born_timestamp: record.born_timestamp,
        store_timestamp: record.store_timestamp,
        reconsume_times: record.reconsume_times,
        properties,
        body,
        body_hex,
    }
}

/// Returns the body as the producer gave it, where it can be unpacked.
fn unpacked(record: &MessageRecord<'_>) -> Vec<u8> {
    // Without a type, or 3: zlib.
    let zlib = matches!(record.sys_flag >> 8 & 7, 0 | 3);
    if record.sys_flag & sys_flag::COMPRESSED != 0 && zlib {
        let mut body = Vec::new();
        let unpacking = flate2::read::ZlibDecoder::new(record.body).take(BODY_BYTES_MAX);
        if { unpacking }.read_to_end(&mut body).is_ok() {
            return body;
        }
    }
    record.body.to_vec()
}

/// A letter on its way back.
struct Resent {
    topic: String,
    header: SendMessageRequestHeader,
    body: Bytes,
}

fn resent(
    part: &Part,
    records: &Bytes,
    record: &MessageRecord<'_>,
    to: Option<&str>,
) -> anyhow::Result<Resent> {
    let topic = to.or_else(|| record.property(property_name::RETRY_TOPIC)).with_context(|| {
        let Queue { topic, broker_name, .. } = &part.queue;
        let offset = record.queue_offset;
        format!("letter {offset} of {topic} at {broker_name} does not say where it came from; name a topic with --to")
    })?;
    let properties = properties_of_resent(record.properties_str()?);
    let hosts = sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6;
    let header = SendMessageRequestHeader {
        producer_group: "rmq-lite-dlq".into(),
        topic: topic.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: -1,
        sys_flag: record.sys_flag & !(hosts | sys_flag::TRANSACTION_ROLLBACK),
        born_timestamp: record.born_timestamp,
        flag: record.flag,
        properties: Some(properties.into()),
        reconsume_times: Some(0),
        unit_mode: Some(false),
        max_reconsume_times: None,
        batch: Some(false),
        broker_name: Some(part.queue.broker_name.as_str().into()),
    };
    Ok(Resent { topic: topic.to_owned(), header, body: records.slice_ref(record.body) })
}

async fn resend(cluster: &mut Cluster, wish: &ResendArgs) -> anyhow::Result<()> {
    let mut parts = parts(cluster, &wish.group, wish.broker.as_deref()).await?;
    if !wish.offset.is_empty() && parts.len() > 1 {
        bail!("the letters are on {} queues; name one of them with --broker", parts.len());
    }
    let mut count = 0;
    for part in &mut parts {
        let outcome = if wish.offset.is_empty() {
            resend_part(cluster, part, wish, &mut count).await
        } else {
            resend_some(cluster, part, wish, &mut count).await
        };
        outcome.with_context(|| format!("stopped after {count} letters"))?;
    }
    if wish.json {
        println!("{}", serde_json::json!({ "group": wish.group, "resent": count }));
    } else {
        println!("{count} letters were sent again");
    }
    Ok(())
}

/// Sends the open letters of a queue again and moves the mark behind them, batch by batch.
async fn resend_part(
    cluster: &mut Cluster,
    part: &Part,
    wish: &ResendArgs,
    count: &mut usize,
) -> anyhow::Result<()> {
    let mut at = if wish.all { part.min } else { part.open };
    while at < part.max && *count < wish.max {
        let pulled = cluster.pull(&part.queue, at).await?;
        let mut outcome = Ok(());
        let mut done = pulled.next_offset;
        for record in MessageRecord::decode_all(&pulled.records) {
            let record = record.context("a message of the broker cannot be read")?;
            if *count >= wish.max || record.queue_offset >= part.max {
                done = record.queue_offset;
                break;
            }
            outcome = send(cluster, part, &pulled.records, &record, wish.to.as_deref()).await;
            if outcome.is_err() {
                done = record.queue_offset;
                break;
            }
            *count += 1;
        }
        // Never back: with --all there may be some before the mark.
        if done > part.open {
            cluster.set_mark(&part.queue, done).await?;
        }
        outcome?;
        if done <= at {
            break;
        }
        at = done;
    }
    Ok(())
}

/// Sends single letters again; the mark stays where it is.
async fn resend_some(
    cluster: &mut Cluster,
    part: &Part,
    wish: &ResendArgs,
    count: &mut usize,
) -> anyhow::Result<()> {
    for &offset in &wish.offset {
        let pulled = cluster.pull(&part.queue, offset).await?;
        let record = MessageRecord::decode_all(&pulled.records).next().transpose()?;
        let record = record.filter(|record| record.queue_offset == offset).with_context(|| {
            let (min, max) = (part.min, part.max);
            format!(
                "there is no letter {offset}; those of {} go from {min} to before {max}",
                part.queue.topic
            )
        })?;
        send(cluster, part, &pulled.records, &record, wish.to.as_deref()).await?;
        *count += 1;
    }
    Ok(())
}

async fn send(
    cluster: &mut Cluster,
    part: &Part,
    records: &Bytes,
    record: &MessageRecord<'_>,
    to: Option<&str>,
) -> anyhow::Result<()> {
    let resent = resent(part, records, record, to)?;
    let request = Request { body: resent.body, ..Request::new(request::SEND_MESSAGE_V2, &resent.header) };
    let sent = cluster.ask(&part.queue.address, request).await;
    sent.with_context(|| format!("letter {} cannot be sent to {}", record.queue_offset, resent.topic))?;
    Ok(())
}

async fn purge(cluster: &mut Cluster, wish: &PurgeArgs) -> anyhow::Result<()> {
    let parts = parts(cluster, &wish.group, None).await?;
    let count: i64 = parts.iter().map(|part| part.max - if wish.delete { part.min } else { part.open }).sum();
    if wish.delete {
        let topic = parts[0].queue.topic.clone();
        let mut addresses: Vec<_> = parts.iter().map(|part| part.queue.address.clone()).collect();
        addresses.dedup();
        for address in addresses {
            let header = DeleteTopicRequestHeader { topic: topic.as_str().into() };
            cluster.ask(&address, Request::new(request::DELETE_TOPIC_IN_BROKER, &header)).await?;
        }
        let header = DeleteTopicFromNamesrvRequestHeader { topic: topic.as_str().into(), cluster_name: None };
        cluster.tell_name_servers(request::DELETE_TOPIC_IN_NAMESRV, &header).await?;
    } else {
        for part in &parts {
            cluster.set_mark(&part.queue, part.max).await?;
        }
    }
    if wish.json {
        println!("{}", serde_json::json!({ "group": wish.group, "purged": count, "deleted": wish.delete }));
    } else if wish.delete {
        println!("{count} letters were deleted with their topic");
    } else {
        println!("{count} letters are no longer open; --all still shows them, --delete removes them");
    }
    Ok(())
}
