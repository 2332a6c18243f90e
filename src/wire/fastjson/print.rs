//! Printing: a serde `Serializer` for the three texts of [`fastjson`](super).
//!
//! Values in, text out. Which characters are escaped, how doubles look and where the pretty form breaks a line
//! were read off the library itself (`SerializeWriter`, `MapSerializer`).

use std::fmt::Write;

use serde::{Serialize, ser};

use super::{Error, Printed};

/// Which of the three texts to print.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Compact,
    Standard,
    Pretty,
}

/// The text printed so far.
pub(super) struct Printer {
    out: String,
    style: Style,
    indent: usize,
    /// Whether the next text is a value that was printed before.
    verbatim: bool,
}

impl Printer {
    pub(super) fn new(style: Style, indent: usize) -> Self {
        Self { out: String::with_capacity(128), style, indent, verbatim: false }
    }

    pub(super) fn into_text(self) -> String {
        self.out
    }

    fn integer(&mut self, number: impl itoa::Integer) {
        self.out.push_str(itoa::Buffer::new().format(number));
    }

    /// Prints a double as `Double.toString` does.
    fn double(&mut self, number: f64) {
        let size = number.abs();
        if !number.is_finite() {
            self.out.push_str("null");
        } else if size == 0.0 || (1e-3..1e7).contains(&size) {
            self.write(format_args!("{number:?}"));
        } else {
            let text = format!("{number:E}");
            let (digits, exponent) = text.split_once('E').unwrap_or((&text, "0"));
            let fraction = if digits.contains('.') { "" } else { ".0" };
            self.write(format_args!("{digits}{fraction}E{exponent}"));
        }
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.out.write_fmt(text).expect("a string takes any text");
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        // Nearly every text goes out as it is, which is seen many bytes at a time.
        let plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\' | b'/');
        if text.bytes().fold(true, |all, byte| all & plain(byte)) {
            self.out.push_str(text);
            self.out.push('"');
            return;
        }
        let mut plain = 0;
        for (at, char) in text.char_indices() {
            let short = match char {
                '"' => "\\\"",
                '\\' => "\\\\",
                '\u{8}' => "\\b",
                '\u{c}' => "\\f",
                '\n' => "\\n",
                '\r' => "\\r",
                '\t' => "\\t",
                '/' if self.style == Style::Standard => "\\/",
                '\0'..'\u{20}' | '\u{7f}'..'\u{a0}' | '\u{2028}' | '\u{2029}' => "",
                '\u{7f}'.. if self.style == Style::Standard => "",
                _ => continue,
            };
            self.out.push_str(&text[plain..at]);
            plain = at + char.len_utf8();
            if short.is_empty() {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    self.write(format_args!("\\u{unit:04X}"));
                }
            } else {
                self.out.push_str(short);
            }
        }
        self.out.push_str(&text[plain..]);
        self.out.push('"');
    }

    fn line_break(&mut self) {
        if self.style == Style::Pretty {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n('\t', self.indent));
        }
    }

    fn open(&mut self, bracket: char) -> Members<'_> {
        self.out.push(bracket);
        self.indent += 1;
        Members { empty: true, mark: 0, value: 0, printer: self }
    }
}

/// An object or array that is being printed.
pub(super) struct Members<'a> {
    printer: &'a mut Printer,
    empty: bool,
    /// Where the member being printed begins, its comma included.
    mark: usize,
    /// Where its value begins.
    value: usize,
}

impl Members<'_> {
    fn separate(&mut self) {
        self.mark = self.printer.out.len();
        if !self.empty {
            self.printer.out.push(',');
        }
    }

    fn colon(&mut self) {
        self.printer.out.push(':');
        self.value = self.printer.out.len();
    }

    fn name(&mut self, name: &str) {
        self.separate();
        self.printer.line_break();
        self.printer.string(name);
        self.colon();
    }

    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.separate();
        let start = self.printer.out.len();
        self.printer.line_break();
        let key_start = self.printer.out.len();
        key.serialize(&mut *self.printer)?;
        if !self.printer.out[key_start..].starts_with('"') {
            // Only text keys begin a new line.
            let bare = self.printer.out.split_off(key_start);
            self.printer.out.truncate(start);
            if self.printer.style == Style::Standard {
                self.printer.string(&bare);
            } else {
                self.printer.out.push_str(&bare);
            }
        }
        self.colon();
        Ok(())
    }

    /// Takes the member back when its value turned out to be null.
    fn keep_unless_null(&mut self) {
        if &self.printer.out[self.value..] == "null" {
            self.printer.out.truncate(self.mark);
        } else {
            self.empty = false;
        }
    }

    fn element<T: Serialize + ?Sized>(&mut self, element: &T) -> Result<(), Error> {
        self.separate();
        self.empty = false;
        self.printer.line_break();
        element.serialize(&mut *self.printer)
    }

    fn close(self, bracket: char) {
        self.printer.indent -= 1;
        if !self.empty {
            self.printer.line_break();
        }
        self.printer.out.push(bracket);
    }
}

macro_rules! integers {
    ($($method:ident: $type:ty),*) => {$(
        fn $method(self, number: $type) -> Result<(), Error> {
            self.integer(number);
            Ok(())
        }
    )*};
}

impl<'a> ser::Serializer for &'a mut Printer {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Members<'a>;
    type SerializeTuple = Members<'a>;
    type SerializeTupleStruct = Members<'a>;
    type SerializeTupleVariant = ser::Impossible<(), Error>;
    type SerializeMap = Members<'a>;
    type SerializeStruct = Members<'a>;
    type SerializeStructVariant = ser::Impossible<(), Error>;

    integers!(
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128
    );

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.out.push_str(if value { "true" } else { "false" });
        Ok(())
    }

    fn serialize_f32(self, number: f32) -> Result<(), Error> {
        // By way of its own shortest text, so that 0.1 does not become 0.10000000149011612.
        self.double(number.to_string().parse().unwrap_or(f64::from(number)));
        Ok(())
    }

    fn serialize_f64(self, number: f64) -> Result<(), Error> {
        self.double(number);
        Ok(())
    }

    fn serialize_char(self, char: char) -> Result<(), Error> {
        self.string(char.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        if self.verbatim {
            self.out.push_str(text);
        } else {
            self.string(text);
        }
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Error> {
        bytes.serialize(self)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.out.push_str("null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.verbatim = name == Printed::NAME;
        value.serialize(&mut *self)?;
        self.verbatim = false;
        Ok(())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        Err(variant_with_fields(variant))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Members<'a>, Error> {
        Ok(self.open('['))
    }

    fn serialize_tuple(self, _: usize) -> Result<Members<'a>, Error> {
        Ok(self.open('['))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Members<'a>, Error> {
        Ok(self.open('['))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        Err(variant_with_fields(variant))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Members<'a>, Error> {
        Ok(self.open('{'))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Members<'a>, Error> {
        Ok(self.open('{'))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        Err(variant_with_fields(variant))
    }
}

fn variant_with_fields(variant: &str) -> Error {
    Error::new(format_args!("the enum variant {variant} has fields, which no Java enum has in JSON"))
}

impl ser::SerializeMap for Members<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut *self.printer)?;
        self.keep_unless_null();
        Ok(())
    }

    fn end(self) -> Result<(), Error> {
        self.close('}');
        Ok(())
    }
}

impl ser::SerializeStruct for Members<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        self.name(name);
        value.serialize(&mut *self.printer)?;
        self.keep_unless_null();
        Ok(())
    }

    fn end(self) -> Result<(), Error> {
        self.close('}');
        Ok(())
    }
}

macro_rules! elements {
    ($($interface:ident: $method:ident),*) => {$(
        impl ser::$interface for Members<'_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, element: &T) -> Result<(), Error> {
                self.element(element)
            }

            fn end(self) -> Result<(), Error> {
                self.close(']');
                Ok(())
            }
        }
    )*};
}
elements!(SerializeSeq: serialize_element, SerializeTuple: serialize_element, SerializeTupleStruct: serialize_field);
