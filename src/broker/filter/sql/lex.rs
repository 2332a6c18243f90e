//! Words of an SQL92 expression.
//!
//! Text in, tokens with their positions out. Mirrors the token rules of `SelectorParser.jj`: words in any case, no
//! hexadecimal or octal numbers, `--` comments that end with their line and `/* */` comments.

use super::SqlError;

/// What one word is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'a> {
    Not,
    And,
    Or,
    Between,
    In,
    True,
    False,
    Null,
    Is,
    Contains,
    StartsWith,
    EndsWith,
    /// Name of a property.
    Name(&'a str),
    /// Whole number without its `L`.
    Whole(&'a str),
    /// Number with a point or an exponent.
    Fraction(&'a str),
    /// Text between quotes; quotes inside are still doubled.
    Text(&'a str),
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Open,
    Close,
    Comma,
    Plus,
    Minus,
    End,
}

/// A token and the byte at which it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed<'a> {
    pub(super) token: Token<'a>,
    pub(super) at: usize,
}

const WORDS: [(&str, Token<'static>); 12] = [
    ("NOT", Token::Not),
    ("AND", Token::And),
    ("OR", Token::Or),
    ("BETWEEN", Token::Between),
    ("IN", Token::In),
    ("TRUE", Token::True),
    ("FALSE", Token::False),
    ("NULL", Token::Null),
    ("IS", Token::Is),
    ("CONTAINS", Token::Contains),
    ("STARTSWITH", Token::StartsWith),
    ("ENDSWITH", Token::EndsWith),
];

/// Splits an expression into words; the last one is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Placed<'_>>, SqlError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some(blank) = blank(rest) {
            at += blank;
            continue;
        }
        let (token, length) = token(rest).map_err(|problem| SqlError::new(text, at, problem))?;
        tokens.push(Placed { token, at });
        at += length;
    }
    tokens.push(Placed { token: Token::End, at });
    Ok(tokens)
}

/// Returns the length of the blank or comment at the start.
fn blank(text: &str) -> Option<usize> {
    if text.starts_with([' ', '\t', '\n', '\r', '\u{c}']) {
        return Some(1);
    }
    if text.starts_with("--") {
        // Without the end of its line it is no comment but two signs, which makes `a > --5` a number.
        return text.find(['\n', '\r']).map(|end| end + 1);
    }
    text.strip_prefix("/*")?.find("*/").map(|end| end + 4)
}

fn token(text: &str) -> Result<(Token<'_>, usize), &'static str> {
    for (sign, token) in [
        ("<>", Token::NotEqual),
        (">=", Token::GreaterOrEqual),
        ("<=", Token::LessOrEqual),
        ("=", Token::Equal),
        (">", Token::Greater),
        ("<", Token::Less),
        ("(", Token::Open),
        (")", Token::Close),
        (",", Token::Comma),
        ("+", Token::Plus),
        ("-", Token::Minus),
    ] {
        if text.starts_with(sign) {
            return Ok((token, sign.len()));
        }
    }
    match text.as_bytes()[0] {
        b'\'' => quoted(text),
        b'0'..=b'9' | b'.' => number(text),
        first if is_name(first) => {
            let end = text.bytes().position(|byte| !is_name(byte) && !byte.is_ascii_digit());
            let word = &text[..end.unwrap_or(text.len())];
            let known = WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
            Ok((known.map_or(Token::Name(word), |(_, token)| *token), word.len()))
        }
        b'/' if text.starts_with("/*") => Err("a comment is not ended"),
        _ => Err("a character is not part of the language"),
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte == b'$'
}

fn quoted(text: &str) -> Result<(Token<'_>, usize), &'static str> {
    let mut from = 1;
    while let Some(quote) = text[from..].find('\'') {
        let end = from + quote;
        if text[end + 1..].starts_with('\'') {
            from = end + 2;
        } else {
            return Ok((Token::Text(&text[1..end]), end + 1));
        }
    }
    Err("a text is not ended by a quote")
}

fn number(text: &str) -> Result<(Token<'_>, usize), &'static str> {
    let digits = |from: usize| text[from..].bytes().take_while(u8::is_ascii_digit).count();
    let before = digits(0);
    let mut end = before;
    let mut is_fraction = false;
    if text[end..].starts_with('.') {
        let after = digits(end + 1);
        if before + after == 0 {
            return Err("a point is not a number");
        }
        end += 1 + after;
        is_fraction = true;
    }
    if text[end..].starts_with(['e', 'E']) {
        let sign = usize::from(text[end + 1..].starts_with(['+', '-']));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
            is_fraction = true;
        }
    }
    if is_fraction {
        return Ok((Token::Fraction(&text[..end]), end));
    }
    if text.starts_with('0') {
        // A number that begins with 0 ends there: `007` is three numbers, which no rule allows.
        return Ok((Token::Whole("0"), 1));
    }
    let long = usize::from(text[end..].starts_with(['l', 'L']));
    Ok((Token::Whole(&text[..end]), end + long))
}
