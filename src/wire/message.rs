//! The message record: one format on disk, in a slave's stream and in a pull answer.
//!
//! Also what goes with it: the batch body, the properties string, message ids and the tag hash. Mirrors
//! `MessageExtEncoder`, `MessageDecoder` and `MessageSysFlag`. Nothing here reads a clock or a file; the
//! store fills in the offsets and the store timestamp while it encodes.
//!
//! | field | bytes | | field | bytes |
//! |---|---|---|---|---|
//! | total size | 4 | | store timestamp | 8 |
//! | magic | 4 | | store host | 8 or 20 |
//! | body CRC | 4 | | reconsume times | 4 |
//! | queue id | 4 | | prepared transaction offset | 8 |
//! | flag | 4 | | body length, body | 4 + n |
//! | queue offset | 8 | | topic length, topic | 1 + n (V1) or 2 + n (V2) |
//! | physical offset | 8 | | properties length, properties | 2 + n |
//! | system flag | 4 | | | |
//! | born timestamp | 8 | | | |
//! | born host | 8 or 20 | | | |
//!
//! All integers are big-endian and signed. A host is its address bytes and the port as four bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

/// Magic number of a record whose topic length is one byte.
pub const MAGIC_V1: i32 = 0xDAA3_20A7_u32 as i32;
/// Magic number of a record whose topic length is two bytes.
pub const MAGIC_V2: i32 = 0xDAA3_20AB_u32 as i32;
/// Magic number of the filler at the end of a commit-log file.
pub const MAGIC_BLANK: i32 = 0xCBD4_3194_u32 as i32;
/// Longest properties string in bytes: its length field is a signed 16-bit number.
pub const PROPERTIES_BYTES_MAX: usize = i16::MAX as usize;
/// Longest topic in bytes that a record can hold.
pub const TOPIC_BYTES_MAX: usize = 255;
/// Separates a property's name from its value.
pub const NAME_VALUE_SEPARATOR: char = '\u{1}';
/// Ends a property.
pub const PROPERTY_SEPARATOR: char = '\u{2}';

/// Bits of a message's system flag (`MessageSysFlag`).
pub mod sys_flag {
    /// The body is compressed.
    pub const COMPRESSED: i32 = 0x1;
    /// The message has several tags.
    pub const MULTI_TAGS: i32 = 0x2;
    /// Half message of a transaction.
    pub const TRANSACTION_PREPARED: i32 = 0x4;
    /// Committed message of a transaction.
    pub const TRANSACTION_COMMIT: i32 = 0x8;
    /// Rolled back; also the mask of the transaction type.
    pub const TRANSACTION_ROLLBACK: i32 = 0xC;
    /// The born host is an IPv6 address.
    pub const BORN_HOST_V6: i32 = 0x10;
    /// The store host is an IPv6 address.
    pub const STORE_HOST_V6: i32 = 0x20;
    /// The client must unwrap a batch from the body.
    pub const NEED_UNWRAP: i32 = 0x40;
    /// The record is a batch kept as one record.
    pub const INNER_BATCH: i32 = 0x80;

    /// Returns the transaction bits: 0 for an ordinary message, else one of the `TRANSACTION_*` values.
    pub const fn transaction_type(sys_flag: i32) -> i32 {
        sys_flag & TRANSACTION_ROLLBACK
    }

    /// Says whether such a record gets a queue offset and a consume-queue entry: ordinary and committed
    /// messages do, prepared and rolled-back ones do not.
    pub const fn is_queued(sys_flag: i32) -> bool {
        matches!(transaction_type(sys_flag), 0 | TRANSACTION_COMMIT)
    }
}

/// Names of the properties that the store itself reads.
pub mod property_name {
    /// Index keys, separated by single spaces.
    pub const KEYS: &str = "KEYS";
    /// The message's tag.
    pub const TAGS: &str = "TAGS";
    /// The client's message id; indexed too.
    pub const UNIQ_KEY: &str = "UNIQ_KEY";
    /// Delay level, from one.
    pub const DELAY: &str = "DELAY";
    /// Deliver after this many seconds.
    pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
    /// Deliver after this many milliseconds.
    pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
    /// Deliver at this time, milliseconds since 1970.
    pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
    /// On a timer message: the time before which it must not be delivered, milliseconds since 1970.
    pub const TIMER_OUT_MS: &str = "TIMER_OUT_MS";
    /// On a timer message: it is not delivered but cancels the one of this topic and key, `topic+UNIQ_KEY`.
    pub const TIMER_DEL_UNIQKEY: &str = "TIMER_DEL_UNIQKEY";
    /// How often Apache has put a far timer message again.
    pub const TIMER_ROLL_TIMES: &str = "TIMER_ROLL_TIMES";
    /// `true` for a message whose transaction is not decided yet.
    pub const TRAN_MSG: &str = "TRAN_MSG";
    /// The producer's group, on half messages.
    pub const PGROUP: &str = "PGROUP";
    /// The topic a message is meant for while it waits under another one.
    pub const REAL_TOPIC: &str = "REAL_TOPIC";
    /// The queue it is meant for.
    pub const REAL_QID: &str = "REAL_QID";
    /// On a message to be retried: the topic it first came under.
    pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
    /// On a message to be retried: the offset message id it first had.
    pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
    /// Receipt of a popped message.
    pub const POP_CK: &str = "POP_CK";
    /// When a message that was popped several times was popped first, milliseconds.
    pub const FIRST_POP_TIME: &str = "1ST_POP_TIME";
    /// `false` when the sender does not wait for disk or slave.
    pub const WAIT: &str = "WAIT";
}

/// Why bytes are not a message record, a batch or a message id.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The bytes end before the record does.
    #[error("message record cut short: {needed} bytes needed, {available} there")]
    Truncated {
        /// Bytes that the record needs.
        needed: usize,
        /// Bytes that are there.
        available: usize,
    },
    /// The magic number is none of a message record.
    #[error("not a message record: magic number {0:#010x}")]
    Magic(i32),
    /// A length field contradicts the total size.
    #[error("message record of {total} bytes contradicts itself at its {field}")]
    Length {
        /// The record's own total size.
        total: i32,
        /// Field whose length does not fit.
        field: &'static str,
    },
    /// The body does not match its checksum.
    #[error("message body does not match its CRC: stored {stored:#010x}, computed {computed:#010x}")]
    BodyCrc {
        /// Checksum in the record.
        stored: i32,
        /// Checksum of the body as it is.
        computed: i32,
    },
    /// A text field is not UTF-8.
    #[error("message {0} is not UTF-8")]
    NotUtf8(&'static str),
    /// A field is longer than its length field can say.
    #[error("message {field} of {bytes} bytes is over the limit of {limit}")]
    TooLong {
        /// The field.
        field: &'static str,
        /// Its length.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A message id is not 32 or 56 hexadecimal digits.
    #[error("not an offset message id: {0:?}")]
    MessageId(String),
}

/// A message record as read: fixed fields by value, the rest borrowed from the record's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRecord<'a> {
    /// Length of the whole record in bytes.
    pub total_size: i32,
    /// [`MAGIC_V1`] or [`MAGIC_V2`].
    pub magic: i32,
    /// CRC-32 of the stored body without its top bit.
    pub body_crc: i32,
    /// Queue within the topic.
    pub queue_id: i32,
    /// The sender's own flag.
    pub flag: i32,
    /// Index in the consume queue.
    pub queue_offset: i64,
    /// Byte position in the commit log.
    pub physical_offset: i64,
    /// Bits of [`sys_flag`].
    pub sys_flag: i32,
    /// When the sender made the message, milliseconds.
    pub born_timestamp: i64,
    /// The sender's address.
    pub born_host: SocketAddr,
    /// When the broker stored the message, milliseconds.
    pub store_timestamp: i64,
    /// The broker's address.
    pub store_host: SocketAddr,
    /// How often the message was consumed in vain.
    pub reconsume_times: i32,
    /// Physical offset of the half message, else 0.
    pub prepared_transaction_offset: i64,
    /// The body as stored, compressed if the flag says so.
    pub body: &'a [u8],
    /// The topic it is stored under.
    pub topic: &'a str,
    /// The properties string; UTF-8 unless a foreign writer erred, see [`property`].
    pub properties: &'a [u8],
}

/// Bytes of a record before its store timestamp, with both hosts IPv4 and V1.
const BORN_HOST_AT: usize = 48;

impl<'a> MessageRecord<'a> {
    /// Reads the record at the start of `bytes`, which may go on behind it; checks every length, not the body's
    /// checksum.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut cursor = Cursor { bytes, at: 0 };
        let total_size = cursor.i32()?;
        let magic = cursor.i32()?;
        if magic != MAGIC_V1 && magic != MAGIC_V2 {
            return Err(RecordError::Magic(magic));
        }
        let total = usize::try_from(total_size)
            .ok()
            .filter(|&total| total >= cursor.at)
            .ok_or(RecordError::Length { total: total_size, field: "total size" })?;
        if bytes.len() < total {
            return Err(RecordError::Truncated { needed: total, available: bytes.len() });
        }
        cursor.bytes = &bytes[..total];
        let wrong = |field| RecordError::Length { total: total_size, field };
        let body_crc = cursor.i32()?;
        let queue_id = cursor.i32()?;
        let flag = cursor.i32()?;
        let queue_offset = cursor.i64()?;
        let physical_offset = cursor.i64()?;
        let flags = cursor.i32()?;
        let born_timestamp = cursor.i64()?;
        let born_host = cursor.host(flags & sys_flag::BORN_HOST_V6 != 0)?;
        let store_timestamp = cursor.i64()?;
        let store_host = cursor.host(flags & sys_flag::STORE_HOST_V6 != 0)?;
        let reconsume_times = cursor.i32()?;
        let prepared_transaction_offset = cursor.i64()?;
        let body_len = usize::try_from(cursor.i32()?).map_err(|_| wrong("body length"))?;
        let body = cursor.take(body_len).map_err(|_| wrong("body length"))?;
        let topic_len = if magic == MAGIC_V1 {
            // The reference reads this byte as signed.
            usize::try_from(cursor.take(1)?[0] as i8).map_err(|_| wrong("topic length"))?
        } else {
            usize::try_from(cursor.i16()?).map_err(|_| wrong("topic length"))?
        };
        let topic = cursor.take(topic_len).map_err(|_| wrong("topic length"))?;
        let topic = std::str::from_utf8(topic).map_err(|_| RecordError::NotUtf8("topic"))?;
        let properties_len = cursor.i16().map_err(|_| wrong("topic length"))?;
        let properties_len = usize::try_from(properties_len).map_err(|_| wrong("properties length"))?;
        let properties = cursor.take(properties_len).map_err(|_| wrong("properties length"))?;
        if cursor.at != total {
            return Err(wrong("properties length"));
        }
        Ok(Self {
            total_size,
            magic,
            body_crc,
            queue_id,
            flag,
            queue_offset,
            physical_offset,
            sys_flag: flags,
            born_timestamp,
            born_host,
            store_timestamp,
            store_host,
            reconsume_times,
            prepared_transaction_offset,
            body,
            topic,
            properties,
        })
    }

    /// Reads every record in `bytes` one after the other; ends at the first error.
    pub fn decode_all(bytes: &'a [u8]) -> impl Iterator<Item = Result<Self, RecordError>> {
        let mut rest = bytes;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let decoded = Self::decode(rest);
            rest = decoded.as_ref().map_or(&[], |record| &rest[record.total_size as usize..]);
            Some(decoded)
        })
    }

    /// Checks the body against its checksum.
    pub fn check_body(&self) -> Result<(), RecordError> {
        let computed = body_crc(self.body);
        if computed == self.body_crc {
            Ok(())
        } else {
            Err(RecordError::BodyCrc { stored: self.body_crc, computed })
        }
    }

    /// Returns the value of a property; of several with one name the last.
    pub fn property(&self, name: &str) -> Option<&'a str> {
        property_bytes(self.properties, name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Returns the properties string, or an error when a foreign writer stored something else than UTF-8.
    pub fn properties_str(&self) -> Result<&'a str, RecordError> {
        std::str::from_utf8(self.properties).map_err(|_| RecordError::NotUtf8("properties"))
    }

    /// Makes a record that says the same, under another topic and with these pieces of properties.
    pub fn rewritten<'b>(&self, topic: &'b str, properties: &'b [&'b str]) -> NewRecord<'b>
    where
        'a: 'b,
    {
        NewRecord {
            body_crc: self.body_crc,
            queue_id: self.queue_id,
            flag: self.flag,
            queue_offset: self.queue_offset,
            physical_offset: self.physical_offset,
            sys_flag: self.sys_flag,
            born_timestamp: self.born_timestamp,
            born_host: self.born_host,
            store_timestamp: self.store_timestamp,
            store_host: self.store_host,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: self.prepared_transaction_offset,
            body: self.body,
            topic,
            properties,
        }
    }

    /// Returns the broker's own message id for this record, 32 or 56 hexadecimal digits.
    pub fn offset_message_id(&self) -> String {
        offset_message_id(self.store_host, self.physical_offset)
    }
}

/// Where the store timestamp stands in a record with this system flag.
pub const fn store_timestamp_position(flags: i32) -> usize {
    BORN_HOST_AT + host_len(flags & sys_flag::BORN_HOST_V6 != 0)
}

/// A message record about to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// CRC-32 of the body without its top bit, see [`body_crc`].
    pub body_crc: i32,
    /// Queue within the topic.
    pub queue_id: i32,
    /// The sender's own flag.
    pub flag: i32,
    /// Index in the consume queue.
    pub queue_offset: i64,
    /// Byte position in the commit log.
    pub physical_offset: i64,
    /// Bits of [`sys_flag`]; the two address bits are set from the hosts.
    pub sys_flag: i32,
    /// When the sender made the message, milliseconds.
    pub born_timestamp: i64,
    /// The sender's address.
    pub born_host: SocketAddr,
    /// When the broker stored the message, milliseconds.
    pub store_timestamp: i64,
    /// The broker's address.
    pub store_host: SocketAddr,
    /// How often the message was consumed in vain.
    pub reconsume_times: i32,
    /// Physical offset of the half message, else 0.
    pub prepared_transaction_offset: i64,
    /// The body as it is to be stored.
    pub body: &'a [u8],
    /// The topic to store it under.
    pub topic: &'a str,
    /// Pieces of the properties string, written one after the other as they are.
    pub properties: &'a [&'a str],
}

impl NewRecord<'_> {
    /// Returns the length of the encoded record in bytes, or which field is too long.
    pub fn encoded_len(&self) -> Result<usize, RecordError> {
        let properties_len = self.properties_len();
        let topic_len = self.topic.len();
        if topic_len > TOPIC_BYTES_MAX {
            return Err(RecordError::TooLong { field: "topic", bytes: topic_len, limit: TOPIC_BYTES_MAX });
        }
        if properties_len > PROPERTIES_BYTES_MAX {
            let limit = PROPERTIES_BYTES_MAX;
            return Err(RecordError::TooLong { field: "properties", bytes: properties_len, limit });
        }
        let fixed = BORN_HOST_AT + 8 + 4 + 8 + 4 + 2;
        let hosts = host_len(self.born_host.is_ipv6()) + host_len(self.store_host.is_ipv6());
        let topic = if is_v2(self.topic) { 2 } else { 1 } + topic_len;
        let total = fixed + hosts + self.body.len() + topic + properties_len;
        if total > i32::MAX as usize {
            let limit = i32::MAX as usize;
            return Err(RecordError::TooLong { field: "body", bytes: self.body.len(), limit });
        }
        Ok(total)
    }

    /// Writes the record to the start of `out` and returns its length.
    ///
    /// # Panics
    /// When `out` is shorter than [`NewRecord::encoded_len`].
    #[inline]
    pub fn encode(&self, total: usize, out: &mut [u8]) {
        let v2 = is_v2(self.topic);
        let mut flags = self.sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6);
        if self.born_host.is_ipv6() {
            flags |= sys_flag::BORN_HOST_V6;
        }
        if self.store_host.is_ipv6() {
            flags |= sys_flag::STORE_HOST_V6;
        }
        let mut writer = Writer { out: &mut out[..total], at: 0 };
        writer.put(&(total as i32).to_be_bytes());
        writer.put(&if v2 { MAGIC_V2 } else { MAGIC_V1 }.to_be_bytes());
        writer.put(&self.body_crc.to_be_bytes());
        writer.put(&self.queue_id.to_be_bytes());
        writer.put(&self.flag.to_be_bytes());
        writer.put(&self.queue_offset.to_be_bytes());
        writer.put(&self.physical_offset.to_be_bytes());
        writer.put(&flags.to_be_bytes());
        writer.put(&self.born_timestamp.to_be_bytes());
        writer.host(self.born_host);
        writer.put(&self.store_timestamp.to_be_bytes());
        writer.host(self.store_host);
        writer.put(&self.reconsume_times.to_be_bytes());
        writer.put(&self.prepared_transaction_offset.to_be_bytes());
        writer.put(&(self.body.len() as i32).to_be_bytes());
        writer.put(self.body);
        if v2 {
            writer.put(&(self.topic.len() as i16).to_be_bytes());
        } else {
            writer.put(&[self.topic.len() as u8]);
        }
        writer.put(self.topic.as_bytes());
        writer.put(&(self.properties_len() as i16).to_be_bytes());
        for piece in self.properties {
            writer.put(piece.as_bytes());
        }
        debug_assert_eq!(writer.at, total);
    }

    fn properties_len(&self) -> usize {
        self.properties.iter().map(|piece| piece.len()).sum()
    }
}

/// A record is V2 when its topic has over 127 characters (`autoMessageVersionOnTopicLen`) or bytes: the
/// reference counts characters only, but a V1 reader takes the length byte as signed.
fn is_v2(topic: &str) -> bool {
    topic.len() > i8::MAX as usize
}

const fn host_len(is_v6: bool) -> usize {
    if is_v6 { 20 } else { 8 }
}

/// Returns the checksum that is stored for a body: CRC-32 (IEEE) without the top bit.
pub fn body_crc(body: &[u8]) -> i32 {
    (crc32fast::hash(body) & 0x7FFF_FFFF) as i32
}

/// One message of a batch body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchEntry<'a> {
    /// The sender's own flag.
    pub flag: i32,
    /// The message body.
    pub body: &'a [u8],
    /// Its own properties string.
    pub properties: &'a str,
}

/// Reads the body of a batch send one message after the other; ends after the first error.
pub fn batch_entries(body: &[u8]) -> impl Iterator<Item = Result<BatchEntry<'_>, RecordError>> {
    let mut rest = body;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let decoded = batch_entry(rest);
        rest = decoded.as_ref().map_or(&[], |&(_, len)| &rest[len..]);
        Some(decoded.map(|(entry, _)| entry))
    })
}

fn batch_entry(bytes: &[u8]) -> Result<(BatchEntry<'_>, usize), RecordError> {
    let mut cursor = Cursor { bytes, at: 0 };
    let total_size = cursor.i32()?;
    let wrong = |field| RecordError::Length { total: total_size, field };
    let total = usize::try_from(total_size)
        .ok()
        .filter(|&total| total >= cursor.at)
        .ok_or_else(|| wrong("total size"))?;
    if bytes.len() < total {
        return Err(RecordError::Truncated { needed: total, available: bytes.len() });
    }
    cursor.bytes = &bytes[..total];
    // Magic and checksum are zeros: the store computes its own.
    cursor.take(8)?;
    let flag = cursor.i32()?;
    let body_len = usize::try_from(cursor.i32()?).map_err(|_| wrong("body length"))?;
    let body = cursor.take(body_len).map_err(|_| wrong("body length"))?;
    let properties_len = cursor.i16().map_err(|_| wrong("body length"))?;
    let properties_len = usize::try_from(properties_len).map_err(|_| wrong("properties length"))?;
    let properties = cursor.take(properties_len).map_err(|_| wrong("properties length"))?;
    if cursor.at != total {
        return Err(wrong("properties length"));
    }
    let properties = std::str::from_utf8(properties).map_err(|_| RecordError::NotUtf8("properties"))?;
    Ok((BatchEntry { flag, body, properties }, total))
}

/// Returns name and value of every property in order; pieces without a name, a separator or a value are
/// left out, as `MessageDecoder.string2messageProperties` does.
pub fn properties(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(PROPERTY_SEPARATOR)
        .filter_map(|piece| piece.split_once(NAME_VALUE_SEPARATOR))
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
}

/// Returns the value of a property; of several with one name the last.
pub fn property<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    property_bytes(text.as_bytes(), name).and_then(|value| std::str::from_utf8(value).ok())
}

fn property_bytes<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut found = None;
    for_each_property(text, |candidate, value| {
        if candidate == name.as_bytes() {
            found = Some(value);
        }
    });
    found
}

/// Calls `visit` with name and value of every property in order, in one pass over the bytes: eight at a time,
/// since a message has a dozen separators and each call of a search routine costs more than the bytes between.
#[inline]
pub(crate) fn for_each_property<'a>(text: &'a [u8], mut visit: impl FnMut(&'a [u8], &'a [u8])) {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let mut start = 0;
    let mut name_end = None;
    let mut separator = |at: usize| match text[at] {
        1 if name_end.is_none() => name_end = Some(at),
        2 => {
            if let Some(name_end) = name_end.take()
                && name_end > start
                && name_end + 1 < at
            {
                visit(&text[start..name_end], &text[name_end + 1..at]);
            }
            start = at + 1;
        }
        _ => {}
    };
    let (words, rest) = text.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // The top bit of each byte below 3; a borrow may mark a byte behind a true one, which does no harm.
        let mut below_3 = word.wrapping_sub(ONES * 3) & !word & (ONES * 0x80);
        while below_3 != 0 {
            separator(number * 8 + below_3.trailing_zeros() as usize / 8);
            below_3 &= below_3 - 1;
        }
    }
    for at in text.len() - rest.len()..text.len() {
        separator(at);
    }
    if let Some(name_end) = name_end
        && name_end > start
        && name_end + 1 < text.len()
    {
        visit(&text[start..name_end], &text[name_end + 1..]);
    }
}

/// Appends one property to a properties string, ending a former one that lacks its separator.
pub fn append_property(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() && !text.ends_with(PROPERTY_SEPARATOR) {
        text.push(PROPERTY_SEPARATOR);
    }
    text.push_str(name);
    text.push(NAME_VALUE_SEPARATOR);
    text.push_str(value);
    text.push(PROPERTY_SEPARATOR);
}

/// Returns the properties string without any property of this name.
pub fn remove_property(text: &str, name: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for (candidate, value) in properties(text) {
        if candidate != name {
            append_property(&mut kept, candidate, value);
        }
    }
    kept
}

/// Returns Java's `String.hashCode`: over UTF-16 units, wrapping.
pub fn java_string_hash(text: &str) -> i32 {
    java_string_hash_from(0, text)
}

/// Continues a Java string hash over more text, as if both were one string.
#[inline]
pub fn java_string_hash_from(hash: i32, text: &str) -> i32 {
    const POWERS: [i32; 9] = powers_of_31();
    if !text.is_ascii() {
        return text
            .encode_utf16()
            .fold(hash, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    }
    // Eight characters at a time break the chain of dependent multiplications.
    let mut hash = hash;
    let (chunks, rest) = text.as_bytes().as_chunks::<8>();
    for chunk in chunks {
        let mut sum = hash.wrapping_mul(POWERS[8]);
        for (at, &byte) in chunk.iter().enumerate() {
            sum = sum.wrapping_add(i32::from(byte).wrapping_mul(POWERS[7 - at]));
        }
        hash = sum;
    }
    rest.iter().fold(hash, |hash, &byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)))
}

const fn powers_of_31() -> [i32; 9] {
    let mut powers = [1_i32; 9];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1].wrapping_mul(31);
        at += 1;
    }
    powers
}

/// Returns the number a consume queue keeps for a tag: its Java hash, 0 for none.
pub fn tags_code(tags: &str) -> i64 {
    i64::from(java_string_hash(tags))
}

/// Returns the broker's own message id: address, port and physical offset in upper-case hexadecimal.
pub fn offset_message_id(store_host: SocketAddr, physical_offset: i64) -> String {
    let mut id = String::with_capacity(56);
    push_offset_message_id(&mut id, store_host, physical_offset);
    id
}

/// Appends what [`offset_message_id`] returns.
pub fn push_offset_message_id(out: &mut String, store_host: SocketAddr, physical_offset: i64) {
    let mut bytes = [0_u8; 28];
    let mut writer = Writer { out: &mut bytes, at: 0 };
    writer.host(store_host);
    writer.put(&physical_offset.to_be_bytes());
    let len = writer.at;
    push_upper_hex(out, &bytes[..len]);
}

/// Reads a message id made by [`offset_message_id`]; digits may be of either case.
pub fn parse_offset_message_id(id: &str) -> Result<(SocketAddr, i64), RecordError> {
    let refused = || RecordError::MessageId(id.chars().take(64).collect());
    if id.len() != 32 && id.len() != 56 {
        return Err(refused());
    }
    let mut bytes = [0_u8; 28];
    for (byte, pair) in bytes.iter_mut().zip(id.as_bytes().chunks(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or_else(refused);
        *byte = (digit(0)? * 16 + digit(1)?) as u8;
    }
    let mut cursor = Cursor { bytes: &bytes[..id.len() / 2], at: 0 };
    let host = cursor.host(id.len() == 56)?;
    Ok((host, cursor.i64()?))
}

/// Returns bytes as upper-case hexadecimal digits.
pub fn upper_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    push_upper_hex(&mut text, bytes);
    text
}

fn push_upper_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.reserve(bytes.len() * 2);
    // An id at a time, not a digit at a time.
    for part in bytes.chunks(28) {
        let mut digits = [b'0'; 56];
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(part) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xF)]];
        }
        out.push_str(std::str::from_utf8(&digits[..part.len() * 2]).expect("digits are ASCII"));
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..len).ok_or(RecordError::Truncated {
            needed: self.at.saturating_add(len),
            available: self.bytes.len(),
        })?;
        self.at += len;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        Ok(self.take(N)?.try_into().expect("take returns as many bytes as asked"))
    }

    #[inline]
    fn i16(&mut self) -> Result<i16, RecordError> {
        self.array().map(i16::from_be_bytes)
    }

    #[inline]
    fn i32(&mut self) -> Result<i32, RecordError> {
        self.array().map(i32::from_be_bytes)
    }

    #[inline]
    fn i64(&mut self) -> Result<i64, RecordError> {
        self.array().map(i64::from_be_bytes)
    }

    #[inline]
    fn host(&mut self, is_v6: bool) -> Result<SocketAddr, RecordError> {
        let ip = if is_v6 {
            IpAddr::V6(Ipv6Addr::from(self.array::<16>()?))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.array::<4>()?))
        };
        // The port's upper half is never used by a writer; a reader of ours ignores it.
        Ok(SocketAddr::new(ip, self.i32()? as u16))
    }
}

struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    #[inline]
    fn host(&mut self, host: SocketAddr) {
        match host.ip() {
            IpAddr::V4(ip) => self.put(&ip.octets()),
            IpAddr::V6(ip) => self.put(&ip.octets()),
        }
        self.put(&i32::from(host.port()).to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
