//! Java `.properties` text: what `broker.conf`, UPDATE_BROKER_CONFIG and the stored configuration are written in.
//!
//! Bytes go in, [`Properties`] with line numbers come out; [`write`] is the way back, and [`merge`] the way back into a
//! text that a person wrote. Mirrors
//! `java.util.Properties.load` and `store`: continuation lines, `\uXXXX`, ISO-8859-1, and `=`, `:` or a blank
//! between key and value. Unlike Java a byte order mark is skipped instead of becoming part of the first key, a
//! lone backslash at the end of the text is no entry, and what a person probably did not mean comes back as a
//! remark. Nothing here knows which keys exist.
//!
//! | text | is |
//! | --- | --- |
//! | `#…`, `!…` as the first non-blank of a line | a comment; never continued |
//! | `key=value`, `key:value`, `key value` | an entry; blanks around the separator are dropped, those behind the value are kept |
//! | odd number of `\` at the line's end | the next line goes on here, its leading blanks are dropped |
//! | `\t` `\n` `\r` `\f` `\uXXXX` | that character; `\` before any other character is dropped |

use std::collections::HashMap;
use std::ops::Range;

/// One entry of a properties text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Line on which the entry begins, counted from one.
    pub line: u32,
    /// The key, escapes resolved.
    pub key: String,
    /// The value, escapes resolved, blanks behind it kept.
    pub value: String,
}

/// Something in a properties text that is legal but probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Line that it is about, counted from one.
    pub line: u32,
    /// What is odd about it, as one sentence without the line.
    pub text: String,
}

/// The entries of a properties text in their order, repeated keys included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Every entry in the order of the text.
    pub entries: Vec<Property>,
    /// What a person should be told about the text.
    pub remarks: Vec<Remark>,
}

impl Properties {
    /// Returns the value of `key`; the last entry wins, as in Java.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.iter().rfind(|entry| entry.key == key).map(|entry| entry.value.as_str())
    }

    /// Returns the entries that count: for a repeated key only the last one.
    pub fn effective(&self) -> impl Iterator<Item = &Property> {
        // Looked up, not searched: the text may be a peer's, with a million keys.
        let last: HashMap<&str, usize> =
            self.entries.iter().map(|entry| entry.key.as_str()).zip(0..).collect();
        let counts = move |(at, entry): &(usize, &Property)| last[entry.key.as_str()] == *at;
        self.entries.iter().enumerate().filter(counts).map(|(_, entry)| entry)
    }
}

/// A text that Java refuses to load: `\u` without four hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: \\u needs four hexadecimal digits behind it (a lone backslash is written \\\\)")]
pub struct MalformedEscape {
    /// Line on which the entry begins, counted from one.
    pub line: u32,
}

/// Reads a file or a request body; bytes are ISO-8859-1, as in Java.
pub fn parse(bytes: &[u8]) -> Result<Properties, MalformedEscape> {
    let stripped = bytes.strip_prefix(UTF8_BYTE_ORDER_MARK);
    let units: Vec<u16> = stripped.unwrap_or(bytes).iter().map(|&byte| u16::from(byte)).collect();
    let mut properties = parse_units(&units)?;
    if stripped.is_some() {
        let text =
            "begins with a byte order mark, which is skipped here; Apache takes it for part of the first key";
        properties.remarks.insert(0, Remark { line: 1, text: text.to_owned() });
    }
    Ok(properties)
}

/// Reads text that is already Unicode, such as the value of a command line flag.
pub fn parse_str(text: &str) -> Result<Properties, MalformedEscape> {
    let units: Vec<u16> = text.encode_utf16().collect();
    parse_units(&units)
}

/// Writes entries one a line in the given order, so that [`parse`] and Java read the same back.
///
/// Plain values look as `k=v`, exactly as the reference prints them: only what would not survive is escaped.
pub fn write<'a, I>(entries: I) -> String
where
    I: IntoIterator<Item = (&'a str, &'a str)>,
{
    let mut text = String::new();
    for (key, value) in entries {
        escape(key, true, &mut text);
        text.push('=');
        escape(value, false, &mut text);
        text.push('\n');
    }
    text
}

/// Sets entries in a text and leaves everything else of it as it is: comments, order, other keys.
///
/// `meant` returns what stands for a key and its other spellings; the keys of `changes` are such. The entry of a key that
/// counts, the last one, is replaced where it stands; one that is not there comes at the end. [`parse`] of the result has
/// these values in force, in the text's own encoding.
pub fn merge(
    text: &[u8],
    changes: &[(&str, impl AsRef<str>)],
    meant: impl for<'a> Fn(&'a str) -> &'a str,
) -> Result<Vec<u8>, MalformedEscape> {
    let start = if text.starts_with(UTF8_BYTE_ORDER_MARK) { UTF8_BYTE_ORDER_MARK.len() } else { 0 };
    let units: Vec<u16> = text[start..].iter().map(|&byte| u16::from(byte)).collect();
    let mut entries: Vec<(String, Range<usize>)> = Vec::new();
    for (line, place, logical) in logical_lines(&units) {
        entries.push((unescape(split(&logical).0, line)?, place));
    }
    let (mut replaced, mut added) = (Vec::new(), String::new());
    for (key, value) in changes {
        let entry = write([(*key, value.as_ref())]);
        match entries.iter().rfind(|(written, _)| meant(written) == *key) {
            Some((_, place)) => replaced.push((place.clone(), entry)),
            None => added.push_str(&entry),
        }
    }
    // From the back, so that the places before stay where they are.
    replaced.sort_by_key(|(place, _)| std::cmp::Reverse(place.start));
    let mut merged = text.to_vec();
    for (place, entry) in replaced {
        merged.splice(start + place.start..start + place.end, entry.trim_end_matches('\n').bytes());
    }
    if !added.is_empty() {
        if !merged.is_empty() && !merged.ends_with(b"\n") {
            merged.push(b'\n');
        }
        let line = merged.strip_suffix(b"\n").unwrap_or(&merged);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.ends_with(b"\\") {
            merged.push(b'\n'); // Else the first new line would go on with the last old one.
        }
        merged.extend_from_slice(added.as_bytes());
    }
    Ok(merged)
}

const UTF8_BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
const SPACE: u16 = b' ' as u16;
const TAB: u16 = b'\t' as u16;
const FORM_FEED: u16 = 0x0C;
const LINE_FEED: u16 = b'\n' as u16;
const CARRIAGE_RETURN: u16 = b'\r' as u16;
const BACKSLASH: u16 = b'\\' as u16;
const HASH: u16 = b'#' as u16;
const EXCLAMATION: u16 = b'!' as u16;
const EQUALS: u16 = b'=' as u16;
const COLON: u16 = b':' as u16;

fn is_blank(unit: u16) -> bool {
    matches!(unit, SPACE | TAB | FORM_FEED)
}

fn is_line_end(unit: u16) -> bool {
    matches!(unit, LINE_FEED | CARRIAGE_RETURN)
}

fn parse_units(units: &[u16]) -> Result<Properties, MalformedEscape> {
    let mut properties = Properties::default();
    let mut lines: HashMap<String, u32> = HashMap::new();
    for (line, _, logical) in logical_lines(units) {
        let (key, value) = split(&logical);
        let entry = Property { line, key: unescape(key, line)?, value: unescape(value, line)? };
        if value.iter().any(|&unit| unit > 0x7F) {
            let text = format!(
                "{} has characters that are not ASCII, read as ISO-8859-1 like Java does; write them as \\uXXXX",
                entry.key
            );
            properties.remarks.push(Remark { line, text });
        }
        if let Some(former) = lines.insert(entry.key.clone(), line) {
            let text = format!("{} was already given on line {former}; this line wins", entry.key);
            properties.remarks.push(Remark { line, text });
        }
        properties.entries.push(entry);
    }
    Ok(properties)
}

/// Joins continued lines and drops comments and empty lines; each result carries its first line's number and
/// where its lines stand, the last line's end left out.
fn logical_lines(units: &[u16]) -> Vec<(u32, Range<usize>, Vec<u16>)> {
    let mut lines = Vec::new();
    let mut logical: Vec<u16> = Vec::new();
    let (mut first, mut place) = (1, 0..0);
    for (number, at) in (1..).zip(natural_lines(units)) {
        let natural = &units[at.clone()];
        let blanks = natural.iter().take_while(|&&unit| is_blank(unit)).count();
        let content = &natural[blanks..];
        if logical.is_empty() {
            (first, place.start) = (number, at.start);
            if matches!(content.first(), None | Some(&(HASH | EXCLAMATION))) {
                continue;
            }
        }
        place.end = at.end;
        let backslashes = content.iter().rev().take_while(|&&unit| unit == BACKSLASH).count();
        if backslashes % 2 == 1 {
            logical.extend_from_slice(&content[..content.len() - 1]);
            continue;
        }
        logical.extend_from_slice(content);
        lines.push((first, place.clone(), std::mem::take(&mut logical)));
    }
    if !logical.is_empty() {
        lines.push((first, place, logical));
    }
    lines
}

/// Cuts at `\n`, `\r` and `\r\n`; returns where the lines are.
fn natural_lines(units: &[u16]) -> impl Iterator<Item = Range<usize>> {
    let mut start = Some(0);
    std::iter::from_fn(move || {
        let from = start?;
        let Some(length) = units[from..].iter().position(|&unit| is_line_end(unit)) else {
            start = None;
            return Some(from..units.len());
        };
        let end = from + length;
        let pair = units[end] == CARRIAGE_RETURN && units.get(end + 1) == Some(&LINE_FEED);
        start = Some(end + 1 + usize::from(pair));
        Some(from..end)
    })
}

/// Splits at the first separator that no backslash hides: one of `=` and `:`, with or without blanks, or blanks alone.
fn split(logical: &[u16]) -> (&[u16], &[u16]) {
    let mut escaped = false;
    let key_end = logical.iter().position(|&unit| {
        let ends = !escaped && (unit == EQUALS || unit == COLON || is_blank(unit));
        escaped = unit == BACKSLASH && !escaped;
        ends
    });
    let Some(key_end) = key_end else { return (logical, &[]) };
    let (key, rest) = logical.split_at(key_end);
    let rest = trim_start(rest);
    let rest = match rest.first() {
        Some(&(EQUALS | COLON)) => trim_start(&rest[1..]),
        _ => rest,
    };
    (key, rest)
}

fn trim_start(units: &[u16]) -> &[u16] {
    &units[units.iter().take_while(|&&unit| is_blank(unit)).count()..]
}

fn unescape(units: &[u16], line: u32) -> Result<String, MalformedEscape> {
    let mut plain: Vec<u16> = Vec::with_capacity(units.len());
    let mut rest = units.iter().copied();
    while let Some(unit) = rest.next() {
        if unit != BACKSLASH {
            plain.push(unit);
            continue;
        }
        // A backslash at the very end of the text is dropped, as in Java.
        let Some(escaped) = rest.next() else { break };
        let letter = u8::try_from(escaped).unwrap_or(0);
        plain.push(match letter {
            b't' => TAB,
            b'n' => LINE_FEED,
            b'r' => CARRIAGE_RETURN,
            b'f' => FORM_FEED,
            b'u' => hexadecimal(&mut rest).ok_or(MalformedEscape { line })?,
            _ => escaped,
        });
    }
    Ok(String::from_utf16_lossy(&plain))
}

fn hexadecimal(rest: &mut impl Iterator<Item = u16>) -> Option<u16> {
    let mut value = 0;
    for _ in 0..4 {
        let digit = char::from_u32(u32::from(rest.next()?))?.to_digit(16)?;
        value = value << 4 | digit as u16;
    }
    Some(value)
}

fn escape(text: &str, is_key: bool, out: &mut String) {
    for (at, letter) in text.chars().enumerate() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{0C}' => out.push_str("\\f"),
            ' ' if is_key || at == 0 => out.push_str("\\ "),
            '=' | ':' if is_key => {
                out.push('\\');
                out.push(letter);
            }
            '#' | '!' if is_key && at == 0 => {
                out.push('\\');
                out.push(letter);
            }
            ' '..='~' => out.push(letter),
            other => push_unicode_escape(other, out),
        }
    }
}

fn push_unicode_escape(letter: char, out: &mut String) {
    use std::fmt::Write as _;
    for unit in letter.encode_utf16(&mut [0; 2]) {
        write!(out, "\\u{unit:04X}").expect("writing to a String cannot fail");
    }
}

#[cfg(test)]
mod tests;
