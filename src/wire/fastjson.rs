//! The JSON of fastjson 1.2.83, in which bodies and configuration files are written.
//!
//! Any serde type goes out as one of three texts and comes back from all of them, and from strict JSON:
//!
//! | text | used for | what is not JSON about it |
//! |---|---|---|
//! | compact | bodies | a map key that is no string stands bare: `{0:"a"}`, `{{"queueId":0}:5}` |
//! | standard | route answers to clients >= 4.9.4 | nothing: such keys are quoted, non-ASCII is escaped |
//! | pretty | configuration files | as compact; tabs, no blank after the colon |
//!
//! Going out, null members are left out and members keep the order of the Rust struct, which declares them
//! alphabetically as fastjson sorts them. Coming in, members that are null or unknown are passed over;
//! numbers, truth values and texts stand for each other where the wanted type allows it; enums come by name
//! or ordinal. Mirrors `JSON.toJSONString` and `JSON.parseObject` as `RemotingSerializable` calls them. It
//! does not follow `{"$ref":…}`, does not know `@type`, and takes no comments.

mod print;
mod read;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use print::{Printer, Style};
use read::Reader;

/// Deepest nesting of objects and arrays that is read, far more than any body of the protocol has.
pub const DEPTH_MAX: u32 = 64;

/// Longest text of an [`Error`] in bytes, so that a peer's text cannot fill a remark or the log.
const PROBLEM_BYTES_MAX: usize = 200;

/// Why a text could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {at}")]
pub struct Error {
    problem: String,
    at: usize,
}

impl Error {
    fn new(problem: impl fmt::Display) -> Self {
        let mut problem = problem.to_string();
        if problem.len() > PROBLEM_BYTES_MAX {
            let end = (0..=PROBLEM_BYTES_MAX).rev().find(|end| problem.is_char_boundary(*end));
            problem.truncate(end.unwrap_or_default());
            problem.push('…');
        }
        Self { problem, at: 0 }
    }
}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self::new(problem)
    }
}

impl serde::ser::Error for Error {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self::new(problem)
    }
}

/// Prints compact text, for bodies.
///
/// Panics if the type's own `Serialize` fails or an enum variant has fields; no type of the protocol does.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> String {
    print(value, Style::Compact)
}

/// Prints strict JSON in ASCII (`SerializerFeature.BrowserCompatible`), for clients that cannot read the dialect.
///
/// An object that is a map key becomes a string with its JSON text, which fastjson reads back too.
/// Panics as [`to_string`] does.
pub fn to_string_standard<T: Serialize + ?Sized>(value: &T) -> String {
    print(value, Style::Standard)
}

/// Prints text for a configuration file (`SerializerFeature.PrettyFormat`). Panics as [`to_string`] does.
pub fn to_string_pretty<T: Serialize + ?Sized>(value: &T) -> String {
    print(value, Style::Pretty)
}

/// A value that is printed once, so that the file it is in can be printed often. It goes out as it is, into a pretty
/// text at the depth that it was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed(Box<str>);

impl Printed {
    const NAME: &'static str = "$fastjson::Printed";

    /// Prints a value for a place inside so many objects and arrays. Panics as [`to_string`] does.
    pub fn pretty<T: Serialize + ?Sized>(value: &T, depth: usize) -> Self {
        Self(print_at(value, Style::Pretty, depth).into())
    }
}

impl Serialize for Printed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(Self::NAME, &self.0)
    }
}

fn print<T: Serialize + ?Sized>(value: &T, style: Style) -> String {
    print_at(value, style, 0)
}

fn print_at<T: Serialize + ?Sized>(value: &T, style: Style, depth: usize) -> String {
    let mut printer = Printer::new(style, depth);
    value.serialize(&mut printer).expect("the types of the protocol have a JSON form");
    printer.into_text()
}

/// Reads a text, which must be UTF-8 and nothing but one value.
///
/// Memory is bounded by the text's length, depth by [`DEPTH_MAX`].
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    let text = std::str::from_utf8(text)
        .map_err(|cause| Error { problem: "is not UTF-8".to_owned(), at: cause.valid_up_to() })?;
    let mut reader = Reader::new(text);
    let value = T::deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| Error { at: reader.at(), ..error })
}
