//! The JSON header. Reading accepts what fastjson would coerce (numbers in quotes, bare numbers and
//! booleans as field values) and ignores keys it does not know.

use bytes::BytesMut;

use super::{ByteString, Command, DecodeError, FieldList, LanguageCode, Span, VERSION, escape, is_plain};

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
        out.extend_from_slice(b",\"remark\":\"");
        if is_plain(remark) {
            out.extend_from_slice(remark.as_bytes());
        } else {
            let mut escaped = String::with_capacity(remark.len());
            escape(&mut escaped, remark);
            out.extend_from_slice(escaped.as_bytes());
        }
        out.extend_from_slice(b"\"");
    }
    out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    out.extend_from_slice(numbers.format(VERSION).as_bytes());
    out.extend_from_slice(b"}");
}

/// Reads a header into `command`, which is a fresh one.
pub(super) fn decode(mut header: BytesMut, command: &mut Command) -> Result<(), DecodeError> {
    let mut remark = None;
    let mut cursor = Cursor::new(&mut header);
    if read(&mut cursor, command, &mut remark).is_err() {
        let (at, what) = cursor.broken;
        return Err(broken(at, what));
    }
    let header = ByteString::try_from(header.freeze()).map_err(|_| broken(0, "is not UTF-8"))?;
    command.remark = remark.filter(|span| span.start < span.end).map(|span| {
        let text = header.get(span.start as usize..span.end as usize).unwrap_or_default();
        header.slice_ref(text)
    });
    command.fields.set_header(header);
    Ok(())
}

fn read(cursor: &mut Cursor<'_>, command: &mut Command, remark: &mut Option<Span>) -> Result<(), Broken> {
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
            b"remark" => *remark = cursor.scalar()?,
            b"extFields" => {
                if !cursor.null()? {
                    cursor.object(|cursor, key| {
                        if let Some(value) = cursor.scalar()? {
                            command.fields.push(key, value);
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
        return cursor.fail(cursor.at, "goes on after its end");
    }
    Ok(())
}

#[cold]
fn broken(at: usize, what: &str) -> DecodeError {
    DecodeError::Header(format!("the JSON {what} (at byte {at})"))
}

/// Reading stopped; where and why is in the cursor. An error with a text in it would make every step return its result
/// by way of memory, which took a third of the time.
struct Broken;

/// Reads JSON from its own buffer and leaves unescaped strings in it.
struct Cursor<'a> {
    text: &'a mut [u8],
    at: usize,
    broken: (usize, &'static str),
}

impl<'a> Cursor<'a> {
    fn new(text: &'a mut [u8]) -> Self {
        Self { text, at: 0, broken: (0, "") }
    }

    #[cold]
    fn fail<T>(&mut self, at: usize, what: &'static str) -> Result<T, Broken> {
        self.broken = (at, what);
        Err(Broken)
    }

    /// Returns where the next '"' or '\\' is, from the cursor on. Eight bytes are looked at together; a search routine
    /// costs more to call than most texts of a header are long.
    #[inline]
    fn next_mark(&self) -> Option<usize> {
        const ONES: u64 = u64::from_le_bytes([1; 8]);
        // The top bit of each byte equal to `byte`; a borrow may mark one behind a true one as well, never the first.
        let equal = |word: u64, byte: u8| {
            let zeros = word ^ (ONES * u64::from(byte));
            zeros.wrapping_sub(ONES) & !zeros & (ONES * 0x80)
        };
        let mut rest = self.text.get(self.at..)?;
        let mut at = self.at;
        while let Some((word, behind)) = rest.split_first_chunk() {
            let word = u64::from_le_bytes(*word);
            let marks = equal(word, b'"') | equal(word, b'\\');
            if marks != 0 {
                return Some(at + marks.trailing_zeros() as usize / 8);
            }
            at += 8;
            rest = behind;
        }
        rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).map(|place| at + place)
    }

    #[inline]
    fn space(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    #[inline]
    fn peek(&mut self) -> Result<u8, Broken> {
        // A byte above the blank ends the search at once; real headers have no blanks.
        if self.text.get(self.at).is_none_or(|&byte| byte <= b' ') {
            self.space();
        }
        match self.text.get(self.at) {
            Some(&byte) => Ok(byte),
            None => self.fail(self.at, "ends too early"),
        }
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), Broken> {
        if self.peek()? != byte {
            return self.fail(
                self.at,
                match byte {
                    b'{' => "has no '{' where one must be",
                    b'}' => "has no '}' where one must be",
                    b']' => "has no ']' where one must be",
                    b':' => "has no ':' where one must be",
                    _ => "has no '\"' where one must be",
                },
            );
        }
        self.at += 1;
        Ok(())
    }

    fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Span) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
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
    fn null(&mut self) -> Result<bool, Broken> {
        self.peek()?;
        let found = self.text[self.at..].starts_with(b"null");
        self.at += if found { 4 } else { 0 };
        Ok(found)
    }

    /// Reads a string, number or boolean as text; `None` for null.
    #[inline]
    fn scalar(&mut self) -> Result<Option<Span>, Broken> {
        match self.peek()? {
            b'"' => {
                self.at += 1;
                self.string().map(Some)
            }
            b'{' | b'[' => self.fail(self.at, "has a list or an object where a text must be"),
            _ => {
                let start = self.at;
                while self.text.get(self.at).is_some_and(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b))
                {
                    self.at += 1;
                }
                match &self.text[start..self.at] {
                    b"" => self.fail(start, "has no value where one must be"),
                    b"null" => Ok(None),
                    _ => Ok(Some(span(start, self.at))),
                }
            }
        }
    }

    #[inline]
    fn number(&mut self) -> Result<i32, Broken> {
        let start = self.at;
        // Nearly every number is a few digits and no more; whatever else it may be is read as a text.
        let rest = self.text.get(start..).unwrap_or_default();
        let digits = rest.iter().take(10).take_while(|byte| byte.is_ascii_digit()).count();
        if (1..=9).contains(&digits) && matches!(rest.get(digits), Some(b',' | b'}')) {
            self.at += digits;
            return Ok(rest[..digits].iter().fold(0, |number, digit| number * 10 + i32::from(digit - b'0')));
        }
        let Some(span) = self.scalar()? else { return Ok(0) };
        match std::str::from_utf8(span.of(self.text)).ok().and_then(|text| text.parse().ok()) {
            Some(number) => Ok(number),
            None => self.fail(start, "has a text where a 32-bit number must be"),
        }
    }

    fn skip(&mut self, depth: usize) -> Result<(), Broken> {
        if depth == 0 {
            return self.fail(self.at, "is nested too deeply");
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

    /// Reads the rest of a string whose opening quote is behind the cursor; unescapes it in place.
    #[inline]
    fn string(&mut self) -> Result<Span, Broken> {
        let start = self.at;
        let Some(end) = self.next_mark() else { return self.fail(start, "has a string without an end") };
        self.at = end + 1;
        if self.text[end] == b'"' { Ok(span(start, end)) } else { self.unescape(start, end) }
    }

    /// Does so from the first backslash on, behind which the cursor is. What the escapes took more becomes spaces, so
    /// that the header as a whole stays as much UTF-8 as it was.
    fn unescape(&mut self, start: usize, mut write: usize) -> Result<Span, Broken> {
        loop {
            // What stands between properties, as Java's JSON writes it, is most of what is ever escaped.
            if let Some([b'u', b'0', b'0', b'0', digit @ (b'1' | b'2')]) =
                self.text.get(self.at..).and_then(<[u8]>::first_chunk)
            {
                self.text[write] = digit - b'0';
                write += 1;
                self.at += 5;
            } else {
                let mut utf8 = [0; 4];
                let unescaped = self.escape()?.encode_utf8(&mut utf8);
                self.text[write..write + unescaped.len()].copy_from_slice(unescaped.as_bytes());
                write += unescaped.len();
            }
            let Some(end) = self.next_mark() else { return self.fail(start, "has a string without an end") };
            self.text.copy_within(self.at..end, write);
            write += end - self.at;
            self.at = end + 1;
            if self.text[end] == b'"' {
                self.text[write..end].fill(b' ');
                return Ok(span(start, write));
            }
        }
    }

    /// Reads what follows a backslash. The result is never longer in UTF-8 than the escape was.
    fn escape(&mut self) -> Result<char, Broken> {
        let Some(&byte) = self.text.get(self.at) else { return self.fail(self.at, "ends too early") };
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
            _ => return self.fail(self.at - 1, "has an unknown escape"),
        })
    }

    fn unit(&mut self) -> Result<u32, Broken> {
        let digits = self.text.get(self.at..self.at + 4).unwrap_or_default();
        let unit =
            digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?));
        let Some(unit) = unit.filter(|_| !digits.is_empty()) else {
            return self.fail(self.at, "has a broken \\u escape");
        };
        self.at += 4;
        Ok(unit)
    }
}

fn span(start: usize, end: usize) -> Span {
    Span { start: start as u32, end: end as u32 }
}
