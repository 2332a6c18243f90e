//! The body of a batch send: several messages in one, each with what its sender says of it.
//!
//! Mirrors `MessageDecoder.decodeMessage` for batches: total size (4), magic and checksum (8, unused), flag (4), body length
//! and body, properties length (2) and properties.

use super::RecordError;
use super::bytes::Cursor;

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
