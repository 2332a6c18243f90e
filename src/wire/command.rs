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
use super::fields::{FieldList, FieldText, Fields, Header, Span, escape};

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
        let mut command = match word >> 24 {
            0 => json::decode(header)?,
            1 => binary::decode(header.freeze())?,
            _ => return Err(DecodeError::Frame("unknown serialization type")),
        };
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

mod json {
    //! The JSON header. Reading accepts what fastjson would coerce (numbers in quotes, bare numbers and
    //! booleans as field values) and ignores keys it does not know.

    use super::{
        ByteString, BytesMut, Command, DecodeError, FieldList, Fields, LanguageCode, SerializeType, SmallVec,
        Span, VERSION, escape,
    };

    /// Nesting of unknown values that is skipped; deeper is refused.
    const DEPTH_MAX: usize = 32;

    pub(super) fn encode(
        out: &mut BytesMut,
        code: i32,
        flag: i32,
        opaque: i32,
        remark: Option<&str>,
        fields: &FieldList,
    ) {
        let mut numbers = itoa::Buffer::new();
        out.extend_from_slice(b"{\"code\":");
        out.extend_from_slice(numbers.format(code).as_bytes());
        // Java's send path reads extFields without a null check, so it is always there.
        out.extend_from_slice(b",\"extFields\":{");
        out.extend_from_slice(fields.as_json().as_bytes());
        out.extend_from_slice(b"},\"flag\":");
        out.extend_from_slice(numbers.format(flag).as_bytes());
        out.extend_from_slice(b",\"language\":\"JAVA\",\"opaque\":");
        out.extend_from_slice(numbers.format(opaque).as_bytes());
        if let Some(remark) = remark {
            let mut escaped = String::with_capacity(remark.len());
            escape(&mut escaped, remark);
            out.extend_from_slice(b",\"remark\":\"");
            out.extend_from_slice(escaped.as_bytes());
            out.extend_from_slice(b"\"");
        }
        out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
        out.extend_from_slice(numbers.format(VERSION).as_bytes());
        out.extend_from_slice(b"}");
    }

    pub(super) fn decode(mut header: BytesMut) -> Result<Command, DecodeError> {
        let mut command = Command { serialize_type: SerializeType::Json, ..Command::default() };
        let mut pairs = SmallVec::new();
        let mut remark = None;
        let mut cursor = Cursor { text: &mut header, at: 0 };
        cursor.object(|cursor, key| {
            match key.of(cursor.text) {
                b"code" => command.code = cursor.number()?,
                b"version" => command.version = cursor.number()?,
                b"opaque" => command.opaque = cursor.number()?,
                b"flag" => command.flag = cursor.number()?,
                b"language" => {
                    if let Some(span) = cursor.scalar()? {
                        let name = std::str::from_utf8(span.of(cursor.text)).unwrap_or_default();
                        command.language = name
                            .parse()
                            .map_or_else(|_| LanguageCode::from_name(name), LanguageCode::from_ordinal);
                    }
                }
                b"remark" => remark = cursor.scalar()?,
                b"extFields" => {
                    if !cursor.null()? {
                        cursor.object(|cursor, key| {
                            if let Some(value) = cursor.scalar()? {
                                pairs.push((key, value));
                            }
                            Ok(())
                        })?;
                    }
                }
                _ => cursor.skip(DEPTH_MAX)?,
            }
            Ok(())
        })?;
        cursor.space();
        if cursor.at != cursor.text.len() {
            return Err(broken(cursor.at, "goes on after its end"));
        }
        let header = ByteString::try_from(header.freeze()).map_err(|_| broken(0, "is not UTF-8"))?;
        command.remark = remark.filter(|span| span.start < span.end).map(|span| {
            let text = header.get(span.start as usize..span.end as usize).unwrap_or_default();
            header.slice_ref(text)
        });
        command.fields = Fields::new(header, pairs);
        Ok(command)
    }

    #[cold]
    fn broken(at: usize, what: &str) -> DecodeError {
        DecodeError::Header(format!("the JSON {what} (at byte {at})"))
    }

    /// Reads JSON from its own buffer and leaves unescaped strings in it.
    struct Cursor<'a> {
        text: &'a mut [u8],
        at: usize,
    }

    impl Cursor<'_> {
        #[inline]
        fn space(&mut self) {
            while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
                self.at += 1;
            }
        }

        #[inline]
        fn peek(&mut self) -> Result<u8, DecodeError> {
            // A byte above the blank ends the search at once; real headers have no blanks.
            if self.text.get(self.at).is_none_or(|&byte| byte <= b' ') {
                self.space();
            }
            self.text.get(self.at).copied().ok_or_else(|| broken(self.at, "ends too early"))
        }

        #[inline]
        fn expect(&mut self, byte: u8) -> Result<(), DecodeError> {
            if self.peek()? != byte {
                return Err(broken(self.at, &format!("has no '{}' where one must be", byte as char)));
            }
            self.at += 1;
            Ok(())
        }

        fn object(
            &mut self,
            mut member: impl FnMut(&mut Self, Span) -> Result<(), DecodeError>,
        ) -> Result<(), DecodeError> {
            self.expect(b'{')?;
            if self.peek()? == b'}' {
                self.at += 1;
                return Ok(());
            }
            loop {
                self.expect(b'"')?;
                let key = self.string()?;
                self.expect(b':')?;
                member(self, key)?;
                match self.peek()? {
                    b',' => self.at += 1,
                    _ => return self.expect(b'}'),
                }
            }
        }

        /// Reads `null`, if that is next.
        fn null(&mut self) -> Result<bool, DecodeError> {
            self.peek()?;
            let found = self.text[self.at..].starts_with(b"null");
            self.at += if found { 4 } else { 0 };
            Ok(found)
        }

        /// Reads a string, number or boolean as text; `None` for null.
        fn scalar(&mut self) -> Result<Option<Span>, DecodeError> {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    self.string().map(Some)
                }
                b'{' | b'[' => Err(broken(self.at, "has a list or an object where a text must be")),
                _ => {
                    let start = self.at;
                    while self
                        .text
                        .get(self.at)
                        .is_some_and(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b))
                    {
                        self.at += 1;
                    }
                    match &self.text[start..self.at] {
                        b"" => Err(broken(start, "has no value where one must be")),
                        b"null" => Ok(None),
                        _ => Ok(Some(span(start, self.at))),
                    }
                }
            }
        }

        #[inline]
        fn number(&mut self) -> Result<i32, DecodeError> {
            let start = self.at;
            let Some(span) = self.scalar()? else { return Ok(0) };
            std::str::from_utf8(span.of(self.text))
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| broken(start, "has a text where a 32-bit number must be"))
        }

        fn skip(&mut self, depth: usize) -> Result<(), DecodeError> {
            if depth == 0 {
                return Err(broken(self.at, "is nested too deeply"));
            }
            match self.peek()? {
                b'{' => self.object(|cursor, _| cursor.skip(depth - 1)),
                b'[' => {
                    self.at += 1;
                    if self.peek()? == b']' {
                        self.at += 1;
                        return Ok(());
                    }
                    loop {
                        self.skip(depth - 1)?;
                        match self.peek()? {
                            b',' => self.at += 1,
                            _ => return self.expect(b']'),
                        }
                    }
                }
                _ => self.scalar().map(|_| ()),
            }
        }

        /// Reads the rest of a string whose opening quote is behind the cursor; unescapes it in place. What the
        /// escapes took more becomes spaces, so that the header as a whole stays as much UTF-8 as it was.
        fn string(&mut self) -> Result<Span, DecodeError> {
            let start = self.at;
            let mut write = start;
            loop {
                let plain = plain_bytes(&self.text[self.at..])
                    .ok_or_else(|| broken(start, "has a string without an end"))?;
                if write != self.at {
                    self.text.copy_within(self.at..self.at + plain, write);
                }
                write += plain;
                self.at += plain + 1;
                if self.text[self.at - 1] == b'"' {
                    if write < self.at - 1 {
                        self.text[write..self.at - 1].fill(b' ');
                    }
                    return Ok(span(start, write));
                }
                let mut utf8 = [0; 4];
                let unescaped = self.escape()?.encode_utf8(&mut utf8);
                self.text[write..write + unescaped.len()].copy_from_slice(unescaped.as_bytes());
                write += unescaped.len();
            }
        }

        /// Reads what follows a backslash. The result is never longer in UTF-8 than the escape was.
        fn escape(&mut self) -> Result<char, DecodeError> {
            let byte = *self.text.get(self.at).ok_or_else(|| broken(self.at, "ends too early"))?;
            self.at += 1;
            Ok(match byte {
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'"' | b'\\' | b'/' | b'\'' => byte as char,
                b'u' => {
                    let first = self.unit()?;
                    match first {
                        0xD800..=0xDBFF if self.text[self.at..].starts_with(b"\\u") => {
                            let back = self.at;
                            self.at += 2;
                            let second = self.unit()?;
                            if (0xDC00..=0xDFFF).contains(&second) {
                                let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                                char::from_u32(code).unwrap_or('?')
                            } else {
                                self.at = back;
                                '?'
                            }
                        }
                        // Half a surrogate pair: Java writes '?' for it when it encodes UTF-8.
                        _ => char::from_u32(first).unwrap_or('?'),
                    }
                }
                _ => return Err(broken(self.at - 1, "has an unknown escape")),
            })
        }

        fn unit(&mut self) -> Result<u32, DecodeError> {
            let digits = self.text.get(self.at..self.at + 4).unwrap_or_default();
            let unit = digits
                .iter()
                .try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
                .filter(|_| !digits.is_empty())
                .ok_or_else(|| broken(self.at, "has a broken \\u escape"))?;
            self.at += 4;
            Ok(unit)
        }
    }

    /// Returns how many bytes come before the next '"' or '\\'. Eight at a time: most texts here are shorter than what
    /// a call of a search routine is worth.
    #[inline]
    fn plain_bytes(text: &[u8]) -> Option<usize> {
        const ONES: u64 = u64::from_le_bytes([1; 8]);
        // The top bit of the first byte equal to `byte` is set, and perhaps those of later ones.
        let marks = |word: u64, byte: u8| {
            let zeros = word ^ (ONES * u64::from(byte));
            zeros.wrapping_sub(ONES) & !zeros & (ONES * 0x80)
        };
        let (words, rest) = text.as_chunks::<8>();
        for (number, word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            let found = marks(word, b'"') | marks(word, b'\\');
            if found != 0 {
                return Some(number * 8 + found.trailing_zeros() as usize / 8);
            }
        }
        let at = rest.iter().position(|&byte| byte == b'"' || byte == b'\\')?;
        Some(text.len() - rest.len() + at)
    }

    fn span(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32 }
    }
}

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

    pub(super) fn decode(mut rest: Bytes) -> Result<Command, DecodeError> {
        let short = || DecodeError::Header("the binary header ends too early".to_owned());
        let mut command = Command {
            serialize_type: SerializeType::RocketMq,
            code: rest.try_get_i16().map_err(|_| short())?.into(),
            ..Command::default()
        };
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
        Ok(command)
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
