//! `RemotingCommand`: one frame, in both header encodings.
//!
//! | bytes | field |
//! |---|---|
//! | 4 | length of all that follows |
//! | 4 | serialization type (high byte: 0 JSON, 1 ROCKETMQ) and header length (low 3 bytes) |
//! | n | header |
//! | m | body; none at all when empty |
//!
//! Bytes in, [`Command`] out, and the reverse. A JSON header is read without building a tree: the values of
//! `extFields` are unescaped in place, in the read buffer, and stay there as ranges. Mirrors
//! `RemotingCommand`, `RocketMQSerializable` and `NettyDecoder`. It does not know what a code means.

use std::borrow::Cow;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use smallvec::SmallVec;

use super::DecodeError;
use super::code::{LanguageCode, VERSION, response};
use super::fields::{FieldList, FieldText, Fields, Header, Span, escape, is_plain};

/// Largest frame accepted, its own length included (`com.rocketmq.remoting.frameMaxLength`).
pub const FRAME_BYTES_MAX: usize = 16_777_216;

/// Room made for a header before it is written.
const HEADER_BYTES_USUAL: usize = 512;

const FLAG_RESPONSE: i32 = 1;
const FLAG_ONEWAY: i32 = 2;

/// How a header is written on the wire (`SerializeType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SerializeType {
    /// JSON text, the default of every client.
    #[default]
    Json,
    /// The fixed binary layout.
    RocketMq,
}

/// One received frame.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// Request code, or the response code of a response.
    pub code: i32,
    /// Language of the sender.
    pub language: LanguageCode,
    /// Version of the sender, an ordinal of `MQVersion`.
    pub version: i32,
    /// Number that a response repeats.
    pub opaque: i32,
    /// Bit 0: response; bit 1: oneway.
    pub flag: i32,
    /// Text for people; `None` when absent or empty.
    pub remark: Option<ByteString>,
    /// The header's fields.
    pub fields: Fields,
    /// The body; empty when there is none.
    pub body: Bytes,
    /// How the header was written.
    pub serialize_type: SerializeType,
}

/// Returns the length of the first frame in `buffer`, its own length field included, once that is known.
///
/// Refuses a frame over `limit` bytes or too short to hold a header length.
pub fn frame_length(buffer: &[u8], limit: usize) -> Result<Option<usize>, DecodeError> {
    let Some(length) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = i32::from_be_bytes(*length);
    match usize::try_from(length) {
        Ok(length) if length + 4 > limit => Err(DecodeError::Frame("the frame is longer than the limit")),
        Ok(length) if length >= 4 => Ok(Some(length + 4)),
        _ => Err(DecodeError::Frame("the frame's length is negative or too small")),
    }
}

impl Command {
    /// Decodes one whole frame, of which [`frame_length`] told the length.
    pub fn decode(mut frame: BytesMut) -> Result<Self, DecodeError> {
        if frame.len() < 8 {
            return Err(DecodeError::Frame("the frame is shorter than its fixed part"));
        }
        frame.advance(4);
        let word = frame.get_u32();
        let header_length = (word & 0x00FF_FFFF) as usize;
        if header_length > frame.len() {
            return Err(DecodeError::Frame("the header is longer than the frame"));
        }
        let header = frame.split_to(header_length);
        let mut command = Self::default();
        match word >> 24 {
            0 => json::decode(header, &mut command)?,
            1 => binary::decode(header.freeze(), &mut command)?,
            _ => return Err(DecodeError::Frame("unknown serialization type")),
        }
        command.body = frame.freeze();
        Ok(command)
    }

    /// Says whether this answers a request of ours.
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Says whether the sender wants no answer, not even an error.
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }
}

/// A frame to be sent: a request of ours.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Request code.
    pub code: i32,
    /// The header's fields.
    pub fields: FieldList,
    /// The body.
    pub body: Bytes,
}

impl Request {
    /// Makes a request with a typed header and no body.
    pub fn new(code: i32, header: &impl Header) -> Self {
        let mut fields = FieldList::default();
        header.encode(&mut fields);
        Self { code, fields, body: Bytes::new() }
    }

    /// Adds a body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, opaque: i32, oneway: bool, out: &mut BytesMut) {
        let flag = if oneway { FLAG_ONEWAY } else { 0 };
        let start = begin_frame(out);
        json::encode(out, self.code, flag, opaque, None, &self.fields);
        end_frame(out, start, self.body.len());
        out.extend_from_slice(&self.body);
    }
}

/// The body of an answer: one piece, or slices of mapped files that are written without being copied.
#[derive(Clone, Debug, Default)]
pub enum Body {
    /// No body.
    #[default]
    Empty,
    /// One piece.
    One(Bytes),
    /// Several pieces, one after the other.
    Many(Vec<Bytes>),
}

impl Body {
    /// Returns the length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(piece) => piece.len(),
            Self::Many(pieces) => pieces.iter().map(Bytes::len).sum(),
        }
    }

    /// Says whether there is no body.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a request is answered with.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// Response code.
    pub code: i32,
    /// Text for people.
    pub remark: Option<Cow<'static, str>>,
    /// The header's fields.
    pub fields: FieldList,
    /// The body.
    pub body: Body,
}

impl Reply {
    /// Makes an answer with code 0 and nothing else.
    pub fn success() -> Self {
        Self::with_code(response::SUCCESS)
    }

    /// Makes an answer with `code` and nothing else.
    pub fn with_code(code: i32) -> Self {
        Self { code, ..Self::default() }
    }

    /// Sets the text for people.
    #[must_use]
    pub fn remark(mut self, remark: impl Into<Cow<'static, str>>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// Adds a field.
    #[must_use]
    pub fn field<'a>(mut self, name: &'static str, value: impl Into<FieldText<'a>>) -> Self {
        self.fields.push(name, value.into());
        self
    }

    /// Sets the body to one piece.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Body::One(body.into());
        self
    }

    /// Appends the frame's length, header length and header to `out`; the body must follow it.
    ///
    /// Always JSON, as an Apache 5.x broker answers by default, whatever the request was written in.
    pub fn encode_head(&self, opaque: i32, out: &mut BytesMut) {
        let start = begin_frame(out);
        json::encode(out, self.code, FLAG_RESPONSE, opaque, self.remark.as_deref(), &self.fields);
        end_frame(out, start, self.body.len());
    }
}

fn begin_frame(out: &mut BytesMut) -> usize {
    let start = out.len();
    // Room for a usual header at once, instead of growing field by field.
    out.reserve(HEADER_BYTES_USUAL);
    out.put_u64(0);
    start
}

fn end_frame(out: &mut BytesMut, start: usize, body_length: usize) {
    let header_length = out.len() - start - 8;
    let total = (4 + header_length + body_length) as u32;
    out[start..start + 4].copy_from_slice(&total.to_be_bytes());
    out[start + 4..start + 8].copy_from_slice(&(header_length as u32 & 0x00FF_FFFF).to_be_bytes());
}

mod json;

mod binary {
    //! The ROCKETMQ header: 21 fixed bytes, a remark and length-prefixed pairs.
    //!
    //! | bytes | field |
    //! |---|---|
    //! | 2, 1, 2, 4, 4 | code, language, version, opaque, flag |
    //! | 4 + n | remark |
    //! | 4 | length of the pairs in bytes |
    //! | 2 + n, 4 + m | key, value; repeated |

    use super::{
        Buf, ByteString, Bytes, Command, DecodeError, Fields, LanguageCode, SerializeType, SmallVec, Span,
    };

    pub(super) fn decode(mut rest: Bytes, command: &mut Command) -> Result<(), DecodeError> {
        let short = || DecodeError::Header("the binary header ends too early".to_owned());
        command.serialize_type = SerializeType::RocketMq;
        command.code = rest.try_get_i16().map_err(|_| short())?.into();
        command.language = LanguageCode::from_ordinal(rest.try_get_u8().map_err(|_| short())?);
        command.version = rest.try_get_i16().map_err(|_| short())?.into();
        command.opaque = rest.try_get_i32().map_err(|_| short())?;
        command.flag = rest.try_get_i32().map_err(|_| short())?;
        let remark_length = rest.try_get_i32().map_err(|_| short())?;
        let remark = take(&mut rest, remark_length)?;
        if !remark.is_empty() {
            command.remark = Some(ByteString::try_from(remark).map_err(|_| not_text())?);
        }
        let fields_length = rest.try_get_i32().map_err(|_| short())?;
        let mut fields = take(&mut rest, fields_length)?;
        let mut texts = String::with_capacity(fields.len());
        let mut pairs = SmallVec::new();
        while fields.has_remaining() {
            let key_length = fields.try_get_i16().map_err(|_| short())?;
            let key = take(&mut fields, key_length.into())?;
            let value_length = fields.try_get_i32().map_err(|_| short())?;
            let value = take(&mut fields, value_length)?;
            // A zero length is how this encoding writes null.
            let is_null = key.is_empty() || value.is_empty();
            let pair = (append(&mut texts, &key)?, append(&mut texts, &value)?);
            if !is_null {
                pairs.push(pair);
            }
        }
        command.fields = Fields::new(texts.into(), pairs);
        Ok(())
    }

    fn append(texts: &mut String, text: &[u8]) -> Result<Span, DecodeError> {
        let start = texts.len() as u32;
        texts.push_str(std::str::from_utf8(text).map_err(|_| not_text())?);
        Ok(Span { start, end: texts.len() as u32 })
    }

    fn take(from: &mut Bytes, length: i32) -> Result<Bytes, DecodeError> {
        match usize::try_from(length) {
            Ok(length) if length <= from.len() => Ok(from.split_to(length)),
            _ => Err(DecodeError::Header(format!("the binary header holds a length of {length} bytes"))),
        }
    }

    fn not_text() -> DecodeError {
        DecodeError::Header("the binary header holds a text that is not UTF-8".to_owned())
    }
}

#[cfg(test)]
mod tests;
