//! Values of an SQL92 expression, and how Apache compares them.
//!
//! Every property of a message is a text; it becomes a number or a truth value when it is compared with one. What
//! cannot be converted ends the evaluation: the message does not match, whatever else the expression says. Mirrors
//! `ComparisonExpression`, `Integer.valueOf`, `Long.valueOf` and `Double.valueOf` (not its hexadecimal form).

use std::cmp::Ordering;

/// What a part of an expression is for one message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(&'a [u8]),
}

/// The evaluation ended because two values cannot be compared (an exception of the reference).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Incomparable;

/// `None` is unknown, the third truth value.
pub(super) type Truth = Result<Option<bool>, Incomparable>;

/// Compares with `=`. Its two sides differ: an absent left one gives unknown, an absent right one false, and two
/// absent ones are equal.
pub(super) fn equal(left: Value<'_>, right: Value<'_>) -> Truth {
    match (left, right) {
        (Value::Null, Value::Null) => Ok(Some(true)),
        (Value::Null, _) => Ok(None),
        (_, Value::Null) => Ok(Some(false)),
        (Value::Text(left), Value::Text(right)) => Ok(Some(left == right)),
        _ => Ok(Some(compare(left, right)? == Ordering::Equal)),
    }
}

/// Compares with `<`, `<=`, `>` or `>=`; both sides are there. Two texts are compared as numbers.
pub(super) fn order(left: Value<'_>, right: Value<'_>) -> Result<Ordering, Incomparable> {
    if let (Value::Text(left), Value::Text(right)) = (left, right) {
        return Ok(double_order(double(left)?, double(right)?));
    }
    compare(left, right)
}

fn compare(left: Value<'_>, right: Value<'_>) -> Result<Ordering, Incomparable> {
    use Value::{Bool, Double, Int, Long, Text};
    Ok(match (left, right) {
        (Bool(left), Bool(right)) => left.cmp(&right),
        (Text(left), Bool(right)) => left.eq_ignore_ascii_case(b"true").cmp(&right),
        // The reference fails here by a wrong cast.
        (Bool(_), Text(_)) => return Err(Incomparable),
        (Int(left), Int(right)) => left.cmp(&right),
        (Long(left), Long(right)) => left.cmp(&right),
        (Int(left), Long(right)) => i64::from(left).cmp(&right),
        (Long(left), Int(right)) => left.cmp(&i64::from(right)),
        (Double(left), Double(right)) => double_order(left, right),
        (Double(left), Int(right)) => double_order(left, f64::from(right)),
        (Double(left), Long(right)) => double_order(left, right as f64),
        (Int(left), Double(right)) => double_order(f64::from(left), right),
        (Long(left), Double(right)) => double_order(left as f64, right),
        (Text(left), Int(right)) => whole::<i32>(left)?.cmp(&right),
        (Text(left), Long(right)) => whole::<i64>(left)?.cmp(&right),
        (Text(left), Double(right)) => double_order(double(left)?, right),
        (Int(left), Text(right)) => left.cmp(&whole(right)?),
        (Long(left), Text(right)) => left.cmp(&whole(right)?),
        (Double(left), Text(right)) => double_order(left, double(right)?),
        (Text(left), Text(right)) => left.cmp(right),
        _ => Ordering::Less,
    })
}

fn whole<T: std::str::FromStr>(text: &[u8]) -> Result<T, Incomparable> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Incomparable)
}

/// `Double.compareTo`: NaN is the greatest number and equals itself, -0.0 is below 0.0.
fn double_order(left: f64, right: f64) -> Ordering {
    left.total_cmp(&right)
}

fn double(text: &[u8]) -> Result<f64, Incomparable> {
    let text = std::str::from_utf8(text).map_err(|_| Incomparable)?;
    let text = text.trim_matches(|c: char| c <= ' ');
    let (negative, size) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let size = match size {
        "NaN" => return Ok(f64::NAN),
        "Infinity" => f64::INFINITY,
        _ => {
            let digits = size.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(size);
            // Rust reads words such as "inf" and a second sign, too.
            if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
                return Err(Incomparable);
            }
            digits.parse().map_err(|_| Incomparable)?
        }
    };
    Ok(if negative { -size } else { size })
}
