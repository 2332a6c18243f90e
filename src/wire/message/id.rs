//! The broker's own message id: where a message is stored, as hexadecimal digits.
//!
//! Mirrors `MessageDecoder.createMessageId` and `decodeMessageId`: address (4 or 16 bytes), port (4), physical offset (8).

use std::net::SocketAddr;

use super::RecordError;
use super::bytes::{Cursor, Writer};

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
