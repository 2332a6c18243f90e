//! [`Scalar`]: which scalar of a text may stand for which type.
//!
//! Numbers may be texts and the other way round, an enum may be its name or its ordinal, and a text may hold the JSON of the
//! object that is asked for, all as fastjson takes it.

use std::borrow::Cow;

use serde::de::{self, Deserializer, Unexpected, Visitor};

use super::Reader;
use crate::wire::fastjson::Error;

/// A value without members, before it is known what it shall be.
pub(super) enum Scalar<'t> {
    Null,
    Bool(bool),
    /// A number as it was written, without its type mark.
    Number(&'t str),
    Text(Cow<'t, str>),
}

impl Scalar<'_> {
    fn unexpected(&self) -> Unexpected<'_> {
        match self {
            Self::Null => Unexpected::Unit,
            Self::Bool(value) => Unexpected::Bool(*value),
            Self::Number(text) => Unexpected::Other(text),
            Self::Text(text) => Unexpected::Str(text),
        }
    }

    /// Reads a whole number, from a number or a text; an empty text is 0 and `1.0` is 1, as in fastjson.
    fn integer<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = match &self {
            Self::Null => return visitor.visit_unit(),
            Self::Bool(value) => return visitor.visit_i64(i64::from(*value)),
            Self::Number(text) => text,
            Self::Text(text) => text.trim(),
        };
        if text.is_empty() {
            return visitor.visit_i64(0);
        }
        if let Ok(number) = text.parse() {
            return visitor.visit_i64(number);
        }
        if let Ok(number) = text.parse() {
            return visitor.visit_u64(number);
        }
        match text.parse::<f64>() {
            // Below 2^53 a double that is whole is exactly the number that was written.
            Ok(number) if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 => {
                visitor.visit_i64(number as i64)
            }
            _ => Err(de::Error::invalid_value(self.unexpected(), &visitor)),
        }
    }

    fn double<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = match &self {
            Self::Null | Self::Bool(_) => return Err(de::Error::invalid_type(self.unexpected(), &visitor)),
            Self::Number(text) => text,
            Self::Text(text) => text.trim(),
        };
        match if text.is_empty() { Ok(0.0) } else { text.parse::<f64>() } {
            Ok(number) if number.is_finite() => visitor.visit_f64(number),
            _ => Err(de::Error::invalid_value(self.unexpected(), &visitor)),
        }
    }
}

macro_rules! all_as {
    ($read:ident: $($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.$read(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Scalar<'_> {
    type Error = Error;

    all_as!(integer:
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    );
    all_as!(double: deserialize_f32 deserialize_f64);
    all_as!(deserialize_str: deserialize_char deserialize_string deserialize_identifier);
    all_as!(deserialize_any:
        deserialize_bytes deserialize_byte_buf deserialize_unit deserialize_ignored_any
    );
    all_as!(deserialize_map: deserialize_seq);

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Bool(value) => visitor.visit_bool(value),
            Self::Number(text) if text.contains(['.', 'e', 'E']) => self.double(visitor),
            Self::Number(text) => match (text.parse(), text.parse()) {
                (Ok(number), _) => visitor.visit_i64(number),
                (_, Ok(number)) => visitor.visit_u64(number),
                _ => self.double(visitor),
            },
            Self::Text(text) => visitor.visit_str(&text),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = match &self {
            Self::Bool(value) => return visitor.visit_bool(*value),
            Self::Null => return visitor.visit_unit(),
            Self::Number(text) => text,
            Self::Text(text) => text.trim(),
        };
        if text == "1" || text.eq_ignore_ascii_case("true") {
            visitor.visit_bool(true)
        } else if text == "0" || text.is_empty() || text.eq_ignore_ascii_case("false") {
            visitor.visit_bool(false)
        } else {
            Err(de::Error::invalid_value(self.unexpected(), &visitor))
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Bool(value) => visitor.visit_str(if value { "true" } else { "false" }),
            Self::Number(text) => visitor.visit_str(text),
            Self::Text(text) => match text {
                Cow::Borrowed(text) => visitor.visit_str(text),
                Cow::Owned(text) => visitor.visit_string(text),
            },
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Null => visitor.visit_none(),
            some => visitor.visit_some(some),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    /// Reads the JSON inside a text: what [`super::to_string_standard`] makes of an object that is a map key.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if let Self::Text(text) = &self {
            let mut reader = Reader::new(text);
            if matches!(reader.peek(), Some(b'{' | b'[')) {
                let value = (&mut reader).deserialize_any(visitor)?;
                return reader.end().map(|()| value);
            }
        }
        Err(de::Error::invalid_type(self.unexpected(), &visitor))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    /// Reads an enum by its name or its ordinal.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self)
    }
}

impl<'de> de::EnumAccess<'de> for Scalar<'_> {
    type Error = Error;
    type Variant = OnlyTheName;

    fn variant_seed<V: de::DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, OnlyTheName), Error> {
        let variant = match self {
            Self::Number(text) => {
                let ordinal = text.parse().map_err(|_| Error::new("an enum's ordinal is no whole number"))?;
                seed.deserialize(de::value::U64Deserializer::new(ordinal))?
            }
            name => seed.deserialize(name)?,
        };
        Ok((variant, OnlyTheName))
    }
}

/// The fields of an enum variant: none.
pub(super) struct OnlyTheName;

impl<'de> de::VariantAccess<'de> for OnlyTheName {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: de::DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Error> {
        Err(Error::new("an enum variant with fields cannot be read"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(Error::new("an enum variant with fields cannot be read"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Error> {
        Err(Error::new("an enum variant with fields cannot be read"))
    }
}
