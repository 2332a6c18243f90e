//! What is fuzzed: pure functions over hostile bytes, each checked against a second way to the same answer.
//!
//! Used twice: by the targets in `fuzz_targets/` and, for the inputs kept in `corpus-seed/`, by
//! `tests/it/fuzz_corpus.rs`. A function panics when something is wrong, and returns whatever the bytes are.
#![allow(dead_code)] // a target uses one of them
#![allow(clippy::missing_panics_doc, missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use rmq_lite::broker::filter::sql::SqlExpression;
use rmq_lite::config::properties;
use rmq_lite::wire::body::group::SubscriptionGroupWrapper;
use rmq_lite::wire::body::heartbeat::HeartbeatData;
use rmq_lite::wire::body::offset::ConsumerOffsetSerializeWrapper;
use rmq_lite::wire::body::register::RegisterBrokerBody;
use rmq_lite::wire::body::route::TopicRouteData;
use rmq_lite::wire::body::topic::TopicConfigSerializeWrapper;
use rmq_lite::wire::command::{Command, Reply, SerializeType, frame_length};
use rmq_lite::wire::fastjson as dialect;
use rmq_lite::wire::fields::Header;
use rmq_lite::wire::header::pull::PullMessageRequestHeader;
use rmq_lite::wire::header::send::SendMessageRequestHeader;
use rmq_lite::wire::message::{self, MessageRecord};
use serde_json::Value;

/// Longest frame that is taken here.
const FRAME_LIMIT: usize = 64 << 10;

/// A stream of frames: cut into frames as a connection does, each decoded, each answered.
pub fn frame(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some(length)) = frame_length(rest, FRAME_LIMIT) {
        assert!((8..=FRAME_LIMIT).contains(&length));
        let Some(frame) = rest.get(..length) else { return };
        if let Ok(command) = Command::decode(BytesMut::from(frame)) {
            assert!(command.body.len() <= length - 8);
            answer(&command);
        }
        rest = &rest[length..];
    }
}

/// The header of a JSON frame; where a strict parser reads it too, both read the same fields.
pub fn header_json(data: &[u8]) {
    let Ok(command) = Command::decode(framed(0, data)) else { return };
    assert_eq!(command.serialize_type, SerializeType::Json);
    answer(&command);
    let Ok(Value::Object(header)) = serde_json::from_slice(data) else { return };
    if let Some(Value::Object(fields)) = header.get("extFields")
        && fields.values().all(Value::is_string)
        && data.windows(9).filter(|window| window == b"extFields").count() == 1
    {
        let ours: BTreeMap<_, _> = command.fields.iter().collect();
        let theirs: BTreeMap<_, _> =
            fields.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap())).collect();
        assert_eq!(ours, theirs);
    }
}

/// The header of a binary frame; written again by the layout in the documents, it is read as the same.
pub fn header_binary(data: &[u8]) {
    let Ok(command) = Command::decode(framed(1, data)) else { return };
    assert_eq!(command.serialize_type, SerializeType::RocketMq);
    answer(&command);
    let mut fields = BytesMut::new();
    for (key, value) in command.fields.iter() {
        fields.put_i16(key.len() as i16);
        fields.put_slice(key.as_bytes());
        fields.put_i32(value.len() as i32);
        fields.put_slice(value.as_bytes());
    }
    let remark = command.remark.clone().unwrap_or_default();
    let mut header = BytesMut::new();
    header.put_i16(command.code as i16);
    header.put_u8(command.language as u8);
    header.put_i16(command.version as i16);
    header.put_i32(command.opaque);
    header.put_i32(command.flag);
    header.put_i32(remark.len() as i32);
    header.put_slice(remark.as_bytes());
    header.put_i32(fields.len() as i32);
    header.put_slice(&fields);
    let again = Command::decode(framed(1, &header)).unwrap();
    assert_eq!(
        (again.code, again.language, again.version, again.opaque, again.flag, &again.remark),
        (command.code, command.language, command.version, command.opaque, command.flag, &command.remark)
    );
    assert!(again.fields.iter().eq(command.fields.iter()));
}

fn framed(kind: u8, header: &[u8]) -> BytesMut {
    let mut frame = BytesMut::new();
    frame.put_u32(4 + header.len() as u32);
    frame.put_u32(u32::from(kind) << 24 | (header.len() as u32 & 0x00FF_FFFF));
    frame.put_slice(header);
    frame
}

/// Reads typed headers, and sends texts of the peer back: what was answered must be read as it was meant.
fn answer(command: &Command) {
    for (key, value) in command.fields.iter() {
        assert_eq!(&*command.fields.share(value), value);
        assert!(command.fields.get(key).is_some());
    }
    let _ = SendMessageRequestHeader::decode(&command.fields);
    let _ = PullMessageRequestHeader::decode(&command.fields);
    let value = command.fields.iter().next().map(|(_, value)| value.to_owned()).unwrap_or_default();
    let remark = command.remark.as_deref().unwrap_or_default().to_owned();
    let reply = Reply::with_code(command.code)
        .remark(remark.clone())
        .field("value", bytestring_of(&value))
        .body(Bytes::from_static(b"body"));
    let mut head = BytesMut::new();
    reply.encode_head(command.opaque, &mut head);
    head.put_slice(b"body");
    assert_eq!(frame_length(&head, usize::MAX), Ok(Some(head.len())));
    let read = Command::decode(head).unwrap();
    assert!(read.is_response());
    assert_eq!((read.code, read.opaque), (command.code, command.opaque));
    assert_eq!(read.remark.as_deref().unwrap_or_default(), remark);
    assert_eq!(read.fields.get("value").unwrap_or_default(), value);
    assert_eq!(&read.body[..], b"body");
}

fn bytestring_of(text: &str) -> rmq_lite::wire::fields::FieldText<'_> {
    rmq_lite::wire::fields::FieldText::Shared(text.into())
}

/// An SQL92 expression, and behind the first line feed the properties string of a message. What is compiled decides
/// the same way again, and its opposite is never true at the same time.
pub fn sql(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (text, properties) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let Ok(text) = std::str::from_utf8(text) else { return };
    match SqlExpression::compile(text) {
        Ok(expression) => {
            let matches = expression.matches(properties);
            assert_eq!(expression.matches(properties), matches);
            // One level more may be too deep.
            if let Ok(opposite) = SqlExpression::compile(&format!("NOT ({text})")) {
                assert!(!(matches && opposite.matches(properties)), "{text}");
            }
        }
        Err(refused) => assert!(refused.to_string().len() < 400),
    }
}

/// Message records one behind the other; each is written again and read as the same.
pub fn record(data: &[u8]) {
    for record in MessageRecord::decode_all(data) {
        let Ok(record) = record else { return };
        let _ = record.check_body();
        let id = record.offset_message_id();
        assert_eq!(message::parse_offset_message_id(&id), Ok((record.store_host, record.physical_offset)));
        let Ok(text) = record.properties_str() else { continue };
        message_properties(text.as_bytes());
        let properties = [text];
        let new = record.rewritten(record.topic, &properties);
        // A V2 record may have a longer topic than any that we write.
        let Ok(length) = new.encoded_len() else { continue };
        let mut bytes = vec![0; length];
        new.encode(length, &mut bytes);
        let at = message::store_timestamp_position(record.sys_flag);
        assert_eq!(bytes[at..at + 8], record.store_timestamp.to_be_bytes());
        let again = MessageRecord::decode(&bytes).unwrap();
        let (total_size, magic) = (again.total_size, again.magic);
        assert_eq!(again, MessageRecord { total_size, magic, ..record });
    }
}

/// The body of a batch; what is read is written again by the layout in the documents, and read as the same.
pub fn batch(data: &[u8]) {
    let mut written = BytesMut::new();
    let mut entries = Vec::new();
    for entry in message::batch_entries(data) {
        let Ok(entry) = entry else { break };
        let start = written.len();
        written.put_slice(&[0; 12]);
        written.put_i32(entry.flag);
        written.put_i32(entry.body.len() as i32);
        written.put_slice(entry.body);
        written.put_i16(entry.properties.len() as i16);
        written.put_slice(entry.properties.as_bytes());
        let length = (written.len() - start) as i32;
        written[start..start + 4].copy_from_slice(&length.to_be_bytes());
        entries.push(entry);
    }
    let again: Vec<_> = message::batch_entries(&written).map(Result::unwrap).collect();
    assert_eq!(again, entries);
}

/// A properties string; the quick search and the plain one agree, and a removed property is gone.
pub fn message_properties(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut last = BTreeMap::new();
    for (name, value) in message::properties(text) {
        assert!(!name.is_empty() && !value.is_empty());
        last.insert(name, value);
    }
    for (&name, &value) in last.iter().take(20) {
        assert_eq!(message::property(text, name), Some(value));
        let without = message::remove_property(text, name);
        assert_eq!(message::property(&without, name), None);
        assert_eq!(
            message::properties(&without).count(),
            message::properties(text).filter(|&(own, _)| own != name).count()
        );
    }
    for absent in ["KEYS", "TAGS", "", "a"] {
        assert_eq!(message::property(text, absent), last.get(absent).copied());
    }
    let mut longer = text.to_owned();
    message::append_property(&mut longer, "appended", "value");
    assert_eq!(message::property(&longer, "appended"), Some("value"));
}

/// A `.properties` file; what it says is written, and read as the same.
pub fn properties_file(data: &[u8]) {
    let Ok(read) = properties::parse(data) else { return };
    let entries: Vec<_> = read.effective().map(|entry| (entry.key.clone(), entry.value.clone())).collect();
    for (key, value) in &entries {
        assert_eq!(read.get(key), Some(value.as_str()));
    }
    let text = properties::write(entries.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    assert!(text.is_ascii());
    let again = properties::parse(text.as_bytes()).unwrap();
    let found: Vec<_> = again.effective().map(|entry| (entry.key.clone(), entry.value.clone())).collect();
    assert_eq!(found, entries);
}

/// A text in fastjson's dialect; each of our ways to print it is read as the same, and no typed body panics.
pub fn fastjson(data: &[u8]) {
    let _ = dialect::from_slice::<HeartbeatData>(data);
    let _ = dialect::from_slice::<TopicRouteData>(data);
    let _ = dialect::from_slice::<SubscriptionGroupWrapper>(data);
    let _ = dialect::from_slice::<ConsumerOffsetSerializeWrapper>(data);
    let _ = dialect::from_slice::<TopicConfigSerializeWrapper>(data);
    let _ = RegisterBrokerBody::decode(data, true, 479);
    if let Ok(read) = dialect::from_slice::<RegisterBrokerBody>(data) {
        let again = RegisterBrokerBody::decode(&read.encode(false), false, 479).unwrap();
        assert_eq!(again, read);
    }
    let read = dialect::from_slice::<Value>(data);
    if let Ok(strict) = serde_json::from_slice::<Value>(data)
        && let Ok(own) = &read
        && no_numbers(&strict)
    {
        assert_eq!(*own, strict);
    }
    let Ok(value) = read else { return };
    for text in
        [dialect::to_string(&value), dialect::to_string_standard(&value), dialect::to_string_pretty(&value)]
    {
        let again = dialect::from_slice::<Value>(text.as_bytes());
        assert_eq!(again.unwrap_or_else(|error| panic!("{error} in {text}")), value, "{text}");
    }
}

/// Numbers are read with other precision, which is no mistake.
fn no_numbers(value: &Value) -> bool {
    match value {
        Value::Number(_) => false,
        Value::Array(items) => items.iter().all(no_numbers),
        Value::Object(members) => members.values().all(no_numbers),
        _ => true,
    }
}
