//! Reading: a serde `Deserializer` for [`fastjson`](super) text and strict JSON alike.
//!
//! Text in, values out; nothing is built in between. [`Reader`] knows brackets, commas and depth, [`Scalar`]
//! knows which scalar may stand for which type. A `Reader` copies every text it hands out, so that a text inside
//! a text (an object key that was quoted) can be read with the same code.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, Visitor};

use self::scalar::Scalar;
use super::{DEPTH_MAX, Error};

mod scalar;

/// A position in a text.
pub(super) struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: u32,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// Returns how many bytes were read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Refuses anything but blanks from here on.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(Error::new("more text follows the value")),
        }
    }

    /// Returns the next byte that is no blank.
    fn peek(&mut self) -> Option<u8> {
        let blanks =
            self.rest().bytes().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0xc));
        self.at += blanks.count();
        self.rest().bytes().next()
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn expect(&mut self, byte: u8) -> Result<(), Error> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.unexpected(format_args!("'{}'", char::from(byte))))
    }

    fn unexpected(&self, wanted: impl std::fmt::Display) -> Error {
        match self.rest().chars().next() {
            Some(char) => Error::new(format_args!("{wanted} is missing before {char:?}")),
            None => Error::new(format_args!("{wanted} is missing at the end")),
        }
    }

    fn scalar(&mut self) -> Result<Scalar<'t>, Error> {
        if let Some(quote @ (b'"' | b'\'')) = self.peek() {
            return self.quoted(quote).map(Scalar::Text);
        }
        match self.bare()? {
            "true" => Ok(Scalar::Bool(true)),
            "false" => Ok(Scalar::Bool(false)),
            "null" | "undefined" | "NaN" => Ok(Scalar::Null),
            number if number.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) => {
                Ok(Scalar::Number(without_mark(number)))
            }
            word => Err(Error::new(format_args!("the word {word} is no value"))),
        }
    }

    /// Reads a map key that is no object; a bare one is a name or a number.
    fn key(&mut self) -> Result<Scalar<'t>, Error> {
        if let Some(quote @ (b'"' | b'\'')) = self.peek() {
            return self.quoted(quote).map(Scalar::Text);
        }
        let bare = self.bare()?;
        let number = bare.starts_with(|first: char| first.is_ascii_digit() || first == '-');
        Ok(Scalar::Text(Cow::Borrowed(if number { without_mark(bare) } else { bare })))
    }

    fn bare(&mut self) -> Result<&'t str, Error> {
        self.peek();
        let rest = self.rest();
        let inside = |char: char| char.is_alphanumeric() || "+-._$".contains(char);
        let bare = &rest[..rest.find(|char| !inside(char)).unwrap_or(rest.len())];
        if bare.is_empty() {
            return Err(self.unexpected("a value"));
        }
        self.at += bare.len();
        Ok(bare)
    }

    fn quoted(&mut self, quote: u8) -> Result<Cow<'t, str>, Error> {
        self.at += 1;
        let mut text = Cow::Borrowed("");
        loop {
            let rest = self.rest();
            let Some(end) = memchr::memchr2(quote, b'\\', rest.as_bytes()) else {
                return Err(Error::new("a text has no closing quote"));
            };
            let plain = &rest[..end];
            if text.is_empty() {
                text = Cow::Borrowed(plain);
            } else {
                text.to_mut().push_str(plain);
            }
            self.at += end + 1;
            if rest.as_bytes()[end] == quote {
                return Ok(text);
            }
            text.to_mut().push(self.escape()?);
        }
    }

    /// Reads what follows a backslash; half a surrogate pair becomes U+FFFD.
    fn escape(&mut self) -> Result<char, Error> {
        let letter = self.rest().chars().next().ok_or_else(|| Error::new("a text ends in an escape"))?;
        self.at += letter.len_utf8();
        Ok(match letter {
            'b' => '\u{8}',
            'f' | 'F' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '0'..='7' => char::from(letter as u8 - b'0'),
            'x' => char::from(self.hex(2)? as u8),
            'u' => {
                let first = self.hex(4)?;
                let mut units = [first, 0];
                let mut used = 1;
                if (0xD800..0xDC00).contains(&first) && self.rest().starts_with("\\u") {
                    self.at += 2;
                    units[1] = self.hex(4)?;
                    used = 2;
                }
                let mut chars = char::decode_utf16(units[..used].iter().copied());
                let char = chars.next().and_then(Result::ok).unwrap_or(char::REPLACEMENT_CHARACTER);
                if used == 2 && char == char::REPLACEMENT_CHARACTER {
                    self.at -= 6; // the second unit stands for itself
                }
                char
            }
            '"' | '\'' | '\\' | '/' => letter,
            _ => return Err(Error::new(format_args!("\\{} is no escape", letter.escape_default()))),
        })
    }

    fn hex(&mut self, digits: usize) -> Result<u16, Error> {
        let text = self.rest().get(..digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let unit = text.and_then(|text| u16::from_str_radix(text, 16).ok());
        self.at += digits * usize::from(unit.is_some());
        unit.ok_or_else(|| Error::new(format_args!("an escape lacks its {digits} hex digits")))
    }

    /// Reads what stands between two brackets.
    fn inside<T>(
        &mut self,
        close: u8,
        read: impl FnOnce(&mut Members<'_, 't>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.depth == DEPTH_MAX {
            return Err(Error::new(format_args!("more than {DEPTH_MAX} levels")));
        }
        self.at += 1;
        self.depth += 1;
        let mut members = Members { reader: self, close, begun: false, ended: false };
        let value = read(&mut members)?;
        if !members.ended && members.more()? {
            return Err(Error::new("more elements than expected"));
        }
        self.depth -= 1;
        Ok(value)
    }
}

/// Removes the type mark that fastjson may put behind a number.
fn without_mark(number: &str) -> &str {
    number.strip_suffix(['L', 'S', 'B', 'F', 'D']).unwrap_or(number)
}

/// An object or array that is being read.
struct Members<'r, 't> {
    reader: &'r mut Reader<'t>,
    close: u8,
    begun: bool,
    ended: bool,
}

impl Members<'_, '_> {
    /// Steps over commas and says whether a member follows; steps over the closing bracket if none does.
    fn more(&mut self) -> Result<bool, Error> {
        let mut separated = !self.begun;
        while self.reader.peek() == Some(b',') {
            // fastjson allows commas anywhere between members (`Feature.AllowArbitraryCommas`).
            self.reader.at += 1;
            separated = true;
        }
        if self.reader.peek() == Some(self.close) {
            self.reader.at += 1;
            self.ended = true;
            return Ok(false);
        }
        if !separated {
            return Err(self.reader.unexpected(format_args!("',' or '{}'", char::from(self.close))));
        }
        self.begun = true;
        Ok(true)
    }

    /// Steps over a value that is null.
    fn null(&mut self) -> bool {
        self.reader.peek();
        let start = self.reader.at;
        if self.reader.rest().starts_with('n') && matches!(self.reader.scalar(), Ok(Scalar::Null)) {
            return true;
        }
        self.reader.at = start;
        false
    }
}

impl<'de> de::MapAccess<'de> for Members<'_, '_> {
    type Error = Error;

    /// Returns the next key whose value is not null, and steps over its colon.
    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        while self.more()? {
            let start = self.reader.at;
            let scalar = if self.reader.peek() == Some(b'{') {
                IgnoredAny::deserialize(&mut *self.reader)?;
                None
            } else {
                Some(self.reader.key()?)
            };
            self.reader.expect(b':')?;
            if self.null() {
                continue;
            }
            let value = self.reader.at;
            if let Some(scalar) = scalar {
                return seed.deserialize(scalar).map(Some);
            }
            self.reader.at = start;
            let key = seed.deserialize(&mut *self.reader)?;
            self.reader.at = value;
            return Ok(Some(key));
        }
        Ok(None)
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(&mut *self.reader)
    }
}

impl<'de> de::SeqAccess<'de> for Members<'_, '_> {
    type Error = Error;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if self.more()? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }
}

macro_rules! scalars {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.peek() {
                Some(b'{' | b'[') => self.deserialize_any(visitor),
                _ => self.scalar()?.$method(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Reader<'_> {
    type Error = Error;

    scalars!(
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32
        deserialize_f64 deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_unit deserialize_identifier
    );

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.peek() {
            Some(b'{') => self.inside(b'}', |members| visitor.visit_map(members)),
            Some(b'[') => self.inside(b']', |members| visitor.visit_seq(members)),
            _ => self.scalar()?.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.peek();
        let start = self.at;
        if self.rest().starts_with(['n', 'u', 'N']) && matches!(self.scalar(), Ok(Scalar::Null)) {
            return visitor.visit_none();
        }
        self.at = start;
        visitor.visit_some(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.peek() {
            Some(b'{') => Err(self.unexpected("an array")),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.peek() {
            Some(b'{') => self.deserialize_any(visitor),
            Some(b'[') => Err(self.unexpected("an object")),
            _ => self.scalar()?.deserialize_map(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.scalar()?.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }
}
