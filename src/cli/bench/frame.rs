//! Just enough of the remoting protocol to load a server: requests are patched templates, answers are
//! scanned for the few values that a load generator looks at.
//!
//! In: topic, queue, body size. Out: whole request frames, and [`Answer`]s that borrow from the read buffer.
//! It deliberately shares nothing with `wire`: a load generator that parsed headers into maps would cost more
//! than the server under test, and one that used the server's own codec would not notice a mistake in it.
//! Only JSON headers (`type` byte 0) are understood, because every server answers JSON with JSON.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | bytes that follow |
//! | 4 | 4 | header type (high byte, 0 = JSON) and header length |
//! | 8 | n | header |
//! | 8 + n | m | body |

use std::io::Write as _;
use std::ops::Range;

use memchr::memmem;

use crate::clock::Clock;

/// Apache's default limit of a frame (`com.rocketmq.remoting.frameMaxLength`).
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Every opaque starts here and stays below 2^31, so it always has ten digits and can be patched in place.
const OPAQUE_BASE: u32 = 1_000_000_000;
/// The version we claim to be: V5_3_3.
const VERSION: u32 = 479;
/// The flag of a request that wants no answer (`RPC_ONEWAY`).
const ONEWAY: u32 = 2;

/// RocketMQ's codes for what the load generator asks.
pub(super) mod code {
    /// `SEND_MESSAGE_V2`, the one that Java producers use.
    pub(crate) const SEND_MESSAGE_V2: u32 = 310;
    /// `PULL_MESSAGE`.
    pub(crate) const PULL_MESSAGE: u32 = 11;
    /// `UPDATE_CONSUMER_OFFSET`.
    pub(crate) const UPDATE_CONSUMER_OFFSET: u32 = 15;
    /// `HEART_BEAT`.
    pub(crate) const HEART_BEAT: u32 = 34;
    /// `LOCK_BATCH_MQ`.
    pub(crate) const LOCK_BATCH_MQ: u32 = 41;
    /// `UNLOCK_BATCH_MQ`.
    pub(crate) const UNLOCK_BATCH_MQ: u32 = 42;
    /// `GET_BROKER_HA_STATUS`.
    pub(crate) const GET_BROKER_HA_STATUS: u32 = 907;
    /// `GET_MAX_OFFSET`.
    pub(crate) const GET_MAX_OFFSET: u32 = 30;
    /// `GET_ROUTEINFO_BY_TOPIC`.
    pub(crate) const GET_ROUTEINFO_BY_TOPIC: u32 = 105;
    /// Answer `SUCCESS`.
    pub(crate) const SUCCESS: i64 = 0;
    /// Answer `TOPIC_NOT_EXIST`.
    pub(crate) const TOPIC_NOT_EXIST: i64 = 17;
    /// Answer `PULL_NOT_FOUND`: nothing behind this offset yet.
    pub(crate) const PULL_NOT_FOUND: i64 = 19;
    /// Answer `PULL_RETRY_IMMEDIATELY`: ask again from the offset given.
    pub(crate) const PULL_RETRY_IMMEDIATELY: i64 = 20;
    /// Answer `PULL_OFFSET_MOVED`: the offset asked for is outside the queue.
    pub(crate) const PULL_OFFSET_MOVED: i64 = 21;
}

/// Appends a request frame; `fields` are the header's extFields and must need no JSON escaping beyond what
/// they already carry. `slot` comes back in [`Answer::slot`].
pub(super) fn push_request(out: &mut Vec<u8>, code: u32, slot: u32, fields: &[(&str, &str)], body: &[u8]) {
    push_frame(out, code, 0, slot, fields, body);
}

/// Appends a request that is not answered.
pub(super) fn push_oneway(out: &mut Vec<u8>, code: u32, fields: &[(&str, &str)]) {
    push_frame(out, code, ONEWAY, 0, fields, &[]);
}

fn push_frame(out: &mut Vec<u8>, code: u32, flag: u32, slot: u32, fields: &[(&str, &str)], body: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    let _ = write!(out, "{{\"code\":{code},\"extFields\":{{");
    for (index, (name, value)) in fields.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(out, "{comma}\"{name}\":\"{value}\"");
    }
    let _ = write!(
        out,
        "}},\"flag\":{flag},\"language\":\"RUST\",\"opaque\":{},\"serializeTypeCurrentRPC\":\"JSON\",\
         \"version\":{VERSION}}}",
        OPAQUE_BASE + slot
    );
    let header_bytes = out.len() - start - 8;
    out.extend_from_slice(body);
    let total = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&total.to_be_bytes());
    out[start + 4..start + 8].copy_from_slice(&(header_bytes as u32).to_be_bytes());
}

/// What varies between two messages of one producer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Varying {
    /// Returned in [`Answer::slot`].
    pub(super) slot: u32,
    /// Which of the topics, counted from 0.
    pub(super) topic: u32,
    /// Which queue of it.
    pub(super) queue_id: u32,
    /// Milliseconds since 1970.
    pub(super) born_ms: u64,
    /// Makes the message's `UNIQ_KEY` unique.
    pub(super) sequence: u64,
}

/// A whole SEND_MESSAGE_V2 frame in which every varying value has a fixed place and width.
#[derive(Clone, Debug)]
pub(super) struct SendFrame {
    bytes: Vec<u8>,
    opaque: Range<usize>,
    topic: Range<usize>,
    queue_id: Range<usize>,
    born: Range<usize>,
    key: Range<usize>,
    body: Range<usize>,
}

impl SendFrame {
    /// Lays out the frame; `topics` and `queues` fix the width of the digits. A message carries a `UNIQ_KEY`
    /// and `WAIT`, as every real client's does, so that the server has an index entry to make.
    pub(super) fn new(topic: &str, topics: u32, queues: u32, wish: u32, size: usize) -> Self {
        Self::with_properties(topic, topics, queues, wish, size, &[])
    }

    /// Lays out a frame whose messages have more properties than that.
    pub(super) fn with_properties(
        topic: &str,
        topics: u32,
        queues: u32,
        wish: u32,
        size: usize,
        more: &[(String, String)],
    ) -> Self {
        let topic_digits = if topics > 1 { TOPIC_DIGITS } else { 0 };
        let queue_digits = queues.saturating_sub(1).checked_ilog10().unwrap_or(0) as usize + 1;
        let topic_zero = topic_name(topic, topics, 0);
        let queue_zero = "0".repeat(queue_digits);
        let key = "0".repeat(KEY_DIGITS);
        let mut properties = format!("UNIQ_KEY\\u0001{key}\\u0002WAIT\\u0001true\\u0002");
        for (name, value) in more {
            properties.extend([name, "\\u0001", value, "\\u0002"]);
        }
        let born = Clock::new().now_ms().to_string();
        let fields = [
            ("a", "rmq-lite-bench"),
            ("b", &topic_zero),
            ("c", "TBW102"),
            ("d", &wish.to_string()),
            ("e", &queue_zero),
            ("f", "0"),
            ("g", &born),
            ("h", "0"),
            ("i", &properties),
            ("j", "0"),
            ("k", "false"),
            ("m", "false"),
        ];
        let mut bytes = Vec::new();
        push_request(&mut bytes, code::SEND_MESSAGE_V2, 0, &fields, &[]);
        let after = |pattern: &str| {
            memmem::find(&bytes, pattern.as_bytes()).expect("the pattern was just written") + pattern.len()
        };
        let topic_end = after("\"b\":\"") + topic_zero.len();
        let (queue_id, born_at) = (after("\"e\":\""), after("\"g\":\""));
        let (key_at, opaque) = (after("UNIQ_KEY\\u0001"), after("\"opaque\":"));
        let header_end = bytes.len();
        let mut frame = Self {
            opaque: opaque..opaque + 10,
            topic: topic_end - topic_digits..topic_end,
            queue_id: queue_id..queue_id + queue_digits,
            born: born_at..born_at + born.len(),
            key: key_at..key_at + KEY_DIGITS,
            body: header_end..header_end + size,
            bytes,
        };
        frame.bytes.extend((0..size).map(|index| b'a' + (index % 26) as u8));
        let total = (frame.bytes.len() - 4) as u32;
        frame.bytes[..4].copy_from_slice(&total.to_be_bytes());
        frame
    }

    /// Returns the frame's bytes as laid out; each slot of a producer holds a copy of them.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns where the body is inside the frame.
    pub(super) fn body(&self) -> Range<usize> {
        self.body.clone()
    }

    /// Writes the varying values into `copy`, which holds a copy of [`Self::bytes`].
    pub(super) fn patch(&self, copy: &mut [u8], to: Varying) {
        put_digits(&mut copy[self.opaque.clone()], u64::from(OPAQUE_BASE + to.slot));
        put_digits(&mut copy[self.topic.clone()], u64::from(to.topic));
        put_digits(&mut copy[self.queue_id.clone()], u64::from(to.queue_id));
        put_digits(&mut copy[self.born.clone()], to.born_ms);
        put_digits(&mut copy[self.key.clone()], to.sequence);
    }
}

const TOPIC_DIGITS: usize = 5;
/// Clients make 32 hexadecimal digits; ours are decimal, which are such digits too.
const KEY_DIGITS: usize = 32;

/// Returns the name of one of `topics` topics: the bare name when there is only one.
pub(super) fn topic_name(topic: &str, topics: u32, index: u32) -> String {
    if topics > 1 { format!("{topic}-{index:0TOPIC_DIGITS$}") } else { topic.to_owned() }
}

fn put_digits(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// One frame that came from the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer<'a> {
    /// RocketMQ's response code; 0 is success.
    pub(super) code: i64,
    /// The slot of the request that it answers; `None` when it answers nothing of ours, such as a request
    /// from the server.
    pub(super) slot: Option<u32>,
    header: &'a [u8],
    /// The bytes behind the header.
    pub(super) body: &'a [u8],
}

impl Answer<'_> {
    /// Reads an integer extField, written as a JSON string.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        let at = memmem::find(self.header, format!("\"{name}\":\"").as_bytes())? + name.len() + 4;
        integer(&self.header[at..])
    }

    /// Returns code and remark as one text to count failures by: numbers in the remark become `#`, because a
    /// thousand refusals that differ in a queue's length are one kind.
    pub(super) fn refusal(&self) -> String {
        let mut text = format!("code {}: ", self.code);
        for letter in self.remark().chars() {
            match letter {
                '0'..='9' if text.ends_with('#') => {}
                '0'..='9' => text.push('#'),
                other => text.push(other),
            }
        }
        text
    }

    /// Returns the server's remark, or an empty text.
    pub(super) fn remark(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Remark {
            #[serde(default)]
            remark: Option<String>,
        }
        serde_json::from_slice::<Remark>(self.header).ok().and_then(|it| it.remark).unwrap_or_default()
    }
}

/// Why a byte stream cannot be read any further.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    /// A length that no server may send.
    #[error("the server sent a frame of {0} bytes, which cannot be")]
    Length(usize),
    /// A header in the binary encoding, or one without code and opaque.
    #[error("the server sent a header without a JSON code and opaque")]
    Header,
}

/// Takes the first frame off `input`: the answer and how many bytes it took, or `None` while it is incomplete.
pub(super) fn next_answer(input: &[u8]) -> Result<Option<(Answer<'_>, usize)>, FrameError> {
    let Some(prefix) = input.first_chunk::<8>() else { return Ok(None) };
    let total = u32::from_be_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]) as usize;
    let header_bytes = u32::from_be_bytes([0, prefix[5], prefix[6], prefix[7]]) as usize;
    if total > FRAME_BYTES_MAX || total < 4 + header_bytes {
        return Err(FrameError::Length(total));
    }
    if prefix[4] != 0 {
        return Err(FrameError::Header);
    }
    let Some(frame) = input.get(8..4 + total) else { return Ok(None) };
    let (header, body) = frame.split_at(header_bytes);
    let code = scan(header, b"\"code\":").ok_or(FrameError::Header)?;
    let opaque = scan(header, b"\"opaque\":").ok_or(FrameError::Header)?;
    let slot = u32::try_from(opaque - i64::from(OPAQUE_BASE)).ok();
    Ok(Some((Answer { code, slot, header, body }, 4 + total)))
}

fn scan(header: &[u8], name: &[u8]) -> Option<i64> {
    let at = memmem::find(header, name)? + name.len();
    integer(&header[at..])
}

fn integer(text: &[u8]) -> Option<i64> {
    let text = text.trim_ascii_start();
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 || length > 18 {
        return None;
    }
    let value = digits[..length].iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    Some(if negative { -value } else { value })
}

/// Walks over the message records of a pull answer and yields each record's body; a record that does not fit
/// ends the walk with an error.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | bytes of this record |
/// | 4 | 4 | magic |
/// | 36 | 4 | sysFlag: 0x10 and 0x20 mark 20-byte (IPv6) host fields instead of 8 |
/// | 84 | 4 | body length (with two 8-byte hosts) |
pub(super) fn records(mut input: &[u8]) -> impl Iterator<Item = Result<&[u8], TornRecord>> {
    std::iter::from_fn(move || {
        if input.is_empty() {
            return None;
        }
        let record = first_record(input);
        input = match record {
            Some((_, size)) => &input[size..],
            None => &[],
        };
        Some(record.map(|(body, _)| body).ok_or(TornRecord))
    })
}

/// A pull answer whose records do not add up.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pull answer held a message record that does not fit")]
pub(super) struct TornRecord;

fn first_record(input: &[u8]) -> Option<(&[u8], usize)> {
    let size = be_u32(input, 0)? as usize;
    let record = input.get(..size)?;
    if !matches!(be_u32(record, 4)?, 0xDAA3_20A7 | 0xDAA3_20AB) {
        return None;
    }
    let sys_flag = be_u32(record, 36)?;
    let hosts = [0x10, 0x20].iter().map(|mask| if sys_flag & mask == 0 { 8 } else { 20 }).sum::<usize>();
    let body_bytes = be_u32(record, 68 + hosts)? as usize;
    Some((record.get(72 + hosts..72 + hosts + body_bytes)?, size))
}

fn be_u32(input: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*input.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests;
