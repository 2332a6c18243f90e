//! `extFields`: the string map of a header, and its translation to and from typed headers.
//!
//! Incoming fields are ranges into the header's own bytes, so that a request costs no allocation per field;
//! the [`header!`](crate::header) macro writes the loop that fills a typed header from them. Mirrors
//! `RemotingCommand.decodeCommandCustomHeader` and `makeCustomHeaderToNet`, with two differences on purpose:
//! a missing required field and a number that does not parse are refused with the field's name, where Apache
//! lets a null run on until some exception's text is answered.

use std::fmt::Write;

pub use bytestring::ByteString;
use smallvec::SmallVec;

use super::DecodeError;

/// Room made for outgoing fields before the first one.
const FIELDS_BYTES_USUAL: usize = 256;

/// A range of the header's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }
}

/// The fields of one received header, in wire order; of equal keys the last one counts.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    /// What the ranges point into, known to be UTF-8.
    header: ByteString,
    pairs: SmallVec<[(Span, Span); 16]>,
}

impl Fields {
    /// Takes ranges of `header`; every range lies inside it and on UTF-8 boundaries.
    pub(crate) fn new(header: ByteString, pairs: SmallVec<[(Span, Span); 16]>) -> Self {
        Self { header, pairs }
    }

    /// Adds ranges of a header that [`Fields::set_header`] will bring; until then they read as empty.
    #[inline]
    pub(crate) fn push(&mut self, key: Span, value: Span) {
        self.pairs.push((key, value));
    }

    /// Sets what the ranges are of.
    pub(crate) fn set_header(&mut self, header: ByteString) {
        self.header = header;
    }

    /// Builds fields from pairs; for tests and for clients that pass a request on.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut header = String::new();
        let mut spans = SmallVec::new();
        let mut push = |text: &str| {
            let start = header.len() as u32;
            header.push_str(text);
            Span { start, end: header.len() as u32 }
        };
        for (key, value) in pairs {
            spans.push((push(key), push(value)));
        }
        Self { header: header.into(), pairs: spans }
    }

    /// Returns every pair in wire order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> + '_ {
        self.pairs.iter().map(|(key, value)| (self.str(*key), self.str(*value)))
    }

    /// Returns the value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().rev().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// Says whether there are no fields at all.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    #[inline]
    fn str(&self, span: Span) -> &str {
        // Ranges were checked when the header was decoded; a broken one reads as empty rather than panics.
        self.header.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// Shares `value`, a slice that [`Fields::iter`] or [`Fields::get`] returned, without copying it.
    pub fn share(&self, value: &str) -> ByteString {
        if value.is_empty() {
            return ByteString::new();
        }
        self.header.slice_ref(value)
    }
}

/// A type that a header field can have.
pub trait FieldValue: Sized {
    /// Reads the text of a field; `Ok(None)` when the text counts as absent.
    fn parse(text: &str, fields: &Fields) -> Result<Option<Self>, String>;

    /// The value of a field that is absent and has no default; `None` refuses the request.
    fn absent() -> Option<Self> {
        None
    }

    /// Writes the value; nothing is written for an absent one.
    fn write(&self, name: &'static str, out: &mut FieldList);
}

macro_rules! number_field {
    ($($number:ty: $what:literal),*) => {$(
        impl FieldValue for $number {
            fn parse(text: &str, _: &Fields) -> Result<Option<Self>, String> {
                if text.is_empty() {
                    return Ok(None);
                }
                if let Some(number) = plain_number(text).and_then(|number| number.try_into().ok()) {
                    return Ok(Some(number));
                }
                let number = text.parse().or_else(|_| text.trim().parse());
                number.map(Some).map_err(|_| format!("must be {}, not '{}'", $what, shorten(text)))
            }

            fn write(&self, name: &'static str, out: &mut FieldList) {
                out.push(name, FieldText::Int(i64::from(*self)));
            }
        }
    )*};
}
number_field!(i32: "a 32-bit number", i64: "a 64-bit number");

/// Reads digits and nothing else, as nearly every number is written; parsing in general costs three times as much.
#[inline]
fn plain_number(text: &str) -> Option<i64> {
    const DIGITS_MAX: usize = 18;
    let digits = text.as_bytes();
    let plain = (1..=DIGITS_MAX).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}

impl FieldValue for bool {
    fn parse(text: &str, _: &Fields) -> Result<Option<Self>, String> {
        // Java's Boolean.parseBoolean: whatever is not "true" is false.
        Ok(if text.is_empty() { None } else { Some(text.eq_ignore_ascii_case("true")) })
    }

    fn write(&self, name: &'static str, out: &mut FieldList) {
        out.push(name, FieldText::from(*self));
    }
}

impl FieldValue for ByteString {
    fn parse(text: &str, fields: &Fields) -> Result<Option<Self>, String> {
        Ok(Some(fields.share(text)))
    }

    fn write(&self, name: &'static str, out: &mut FieldList) {
        out.push(name, FieldText::Text(self));
    }
}

impl<T: FieldValue> FieldValue for Option<T> {
    fn parse(text: &str, fields: &Fields) -> Result<Option<Self>, String> {
        Ok(T::parse(text, fields)?.map(Some))
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn write(&self, name: &'static str, out: &mut FieldList) {
        if let Some(value) = self {
            value.write(name, out);
        }
    }
}

/// Returns a topic's or group's name for a remark, whole unless none can be that long.
pub fn shown(name: &str) -> &str {
    if name.len() <= 255 { name } else { shorten(name) }
}

/// Copies a text, so that it no longer keeps alive the buffer that it was read from.
pub fn detached(text: &ByteString) -> ByteString {
    ByteString::from(&**text)
}

/// Shortens a peer's text for a remark or a log line.
pub fn shorten(text: &str) -> &str {
    let mut end = text.len().min(64);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The value of one outgoing field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldText<'a> {
    /// A number.
    Int(i64),
    /// A text that is somebody else's.
    Text(&'a str),
    /// A text made for this field.
    Owned(String),
    /// A text shared with the request or with a table.
    Shared(ByteString),
}

/// The fields of one outgoing header, written as JSON members as they are added, each with a comma behind it: a list of
/// them would cost more than the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldList(String);

impl FieldList {
    /// Adds a field.
    pub fn push(&mut self, name: &'static str, value: FieldText<'_>) {
        match value {
            FieldText::Int(number) => {
                self.push_plain(name, |out| out.push_str(itoa::Buffer::new().format(number)));
            }
            FieldText::Text(text) => self.push_plain(name, |out| escape(out, text)),
            FieldText::Owned(text) => self.push_plain(name, |out| escape(out, &text)),
            FieldText::Shared(text) => self.push_plain(name, |out| escape(out, &text)),
        }
    }

    /// Adds a field whose value `write` appends; the value holds nothing that JSON would escape.
    #[inline]
    pub(crate) fn push_plain(&mut self, name: &'static str, write: impl FnOnce(&mut String)) {
        if self.0.capacity() == 0 {
            // Room for a usual header at once, instead of growing field by field.
            self.0.reserve(FIELDS_BYTES_USUAL);
        }
        self.0.push('"');
        self.0.push_str(name);
        self.0.push_str("\":\"");
        write(&mut self.0);
        self.0.push_str("\",");
    }

    /// Returns a copy with room for the rest of a usual header.
    pub(crate) fn beginning(&self) -> Self {
        let mut text = String::with_capacity(FIELDS_BYTES_USUAL + self.0.len());
        text.push_str(&self.0);
        Self(text)
    }

    /// Returns the fields as the members of a JSON object, comma separated.
    pub fn as_json(&self) -> &str {
        self.0.strip_suffix(',').unwrap_or_default()
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Says whether a text stands in a JSON string as it is.
pub(crate) fn is_plain(text: &str) -> bool {
    // Without an early end this runs many bytes at a time, and nearly every text is plain.
    !text.bytes().fold(false, |special, byte| special | is_special(byte))
}

/// Appends a text as it stands in a JSON string.
pub(crate) fn escape(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
        return;
    }
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate().filter(|(_, byte)| is_special(*byte)) {
        out.push_str(&text[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => write!(out, "\\u{byte:04x}").expect("a growing text takes every text"),
        }
    }
    out.push_str(&text[plain..]);
}

impl From<i64> for FieldText<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<i32> for FieldText<'_> {
    fn from(value: i32) -> Self {
        Self::Int(value.into())
    }
}

impl From<bool> for FieldText<'_> {
    fn from(value: bool) -> Self {
        Self::Text(if value { "true" } else { "false" })
    }
}

impl<'a> From<&'a str> for FieldText<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl From<String> for FieldText<'_> {
    fn from(value: String) -> Self {
        Self::Owned(value)
    }
}

impl From<ByteString> for FieldText<'_> {
    fn from(value: ByteString) -> Self {
        Self::Shared(value)
    }
}

/// A typed header: what a request code carries in its fields.
pub trait Header: Sized {
    /// Fills the header; unknown fields are ignored.
    fn decode(fields: &Fields) -> Result<Self, DecodeError>;

    /// Writes the header's fields.
    fn encode(&self, out: &mut FieldList);
}

/// The header of a request that has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHeader;

impl Header for NoHeader {
    fn decode(_: &Fields) -> Result<Self, DecodeError> {
        Ok(Self)
    }

    fn encode(&self, _: &mut FieldList) {}
}

/// Defines a typed header: per line the wire name(s), the field, its type and, if any, its default.
///
/// A field without a default is required unless its type is an `Option`. Of several names the first one is
/// written and all are read.
#[macro_export]
macro_rules! header {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$field_doc:meta])* $first:literal $(| $other:literal)* => $field:ident: $type:ty $(= $default:expr)?,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs)] // fields carry the Java name; the header's own text says what matters
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $crate::wire::fields::Header for $name {
            fn decode(
                fields: &$crate::wire::fields::Fields,
            ) -> Result<Self, $crate::wire::DecodeError> {
                $(let mut $field: Option<$type> = None;)*
                for (key, value) in fields.iter() {
                    match key {
                        $($first $(| $other)* => {
                            $field = <$type as $crate::wire::fields::FieldValue>::parse(value, fields)
                                .map_err(|problem| $crate::wire::DecodeError::Field { field: $first, problem })?;
                        })*
                        _ => {}
                    }
                }
                Ok(Self {
                    $($field: match $field {
                        Some(value) => value,
                        None => $crate::header!(@absent $first, $type $(, $default)?),
                    },)*
                })
            }

            fn encode(&self, out: &mut $crate::wire::fields::FieldList) {
                $($crate::wire::fields::FieldValue::write(&self.$field, $first, out);)*
            }
        }
    };
    (@absent $first:literal, $type:ty, $default:expr) => { $default };
    (@absent $first:literal, $type:ty) => {
        <$type as $crate::wire::fields::FieldValue>::absent().ok_or_else(|| {
            $crate::wire::DecodeError::Field { field: $first, problem: "is missing".to_owned() }
        })?
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    header! {
        /// Header of the tests below.
        Sample {
            "a" | "group" => group: ByteString,
            "queueId" => queue_id: i32,
            "order" => order: bool = false,
            "extra" => extra: Option<i64>,
        }
    }

    /// Either name is read, the last of equal keys wins, unknown keys and absent optional ones are fine.
    #[test]
    fn typed_headers() {
        let fields = Fields::from_pairs([("group", "g"), ("queueId", "1"), ("x", ""), ("queueId", "7")]);
        let sample = Sample::decode(&fields).unwrap();
        assert_eq!(sample, Sample { group: "g".into(), queue_id: 7, order: false, extra: None });
        let mut out = FieldList::default();
        sample.encode(&mut out);
        assert_eq!(out.as_json(), r#""a":"g","queueId":"7","order":"false""#);
    }

    /// A refused field is named, with what was sent cut to a readable length.
    #[test]
    fn refusals_name_the_field() {
        let long = "9".repeat(500);
        for (pairs, text) in [
            (vec![("queueId", "1")], "the request's field a is missing"),
            (vec![("a", "g")], "the request's field queueId is missing"),
            (
                vec![("a", "g"), ("queueId", "x")],
                "the request's field queueId must be a 32-bit number, not 'x'",
            ),
            (vec![("a", "g"), ("queueId", "")], "the request's field queueId is missing"),
        ] {
            assert_eq!(Sample::decode(&Fields::from_pairs(pairs)).unwrap_err().to_string(), text);
        }
        let fields = Fields::from_pairs([("a", "g"), ("queueId", &*long)]);
        assert!(Sample::decode(&fields).unwrap_err().to_string().len() < 200);
    }
}
