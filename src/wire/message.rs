//! The message record: one format on disk, in a slave's stream and in a pull answer.
//!
//! What goes with it has files of its own: the properties string, the batch body, message ids, Java's string hash.
//! Mirrors `MessageExtEncoder`, `MessageDecoder` and `MessageSysFlag`. Nothing here reads a clock or a file; the
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

use std::net::SocketAddr;

use thiserror::Error;

use self::bytes::{Cursor, Writer};
use self::properties::property_bytes;

pub use self::batch::{BatchEntry, batch_entries};
pub use self::hash::{java_string_hash, java_string_hash_from, tags_code};
pub use self::id::{offset_message_id, parse_offset_message_id, push_offset_message_id, upper_hex};
pub(crate) use self::properties::for_each_property;
pub use self::properties::{
    NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR, append_property, properties, property, property_name,
    remove_property,
};

mod batch;
mod bytes;
mod hash;
mod id;
mod properties;

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

#[cfg(test)]
mod tests;
