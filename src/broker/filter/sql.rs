//! SQL92 expressions over the properties of a message.
//!
//! Flows in: the text of a subscription, once; then the properties of one message after the other, as the bytes of
//! its record. Flows out: whether the message is wanted. Nothing is built per message but a table of the few
//! properties that the expression names. Mirrors `SqlFilter`, the expression classes beside it and
//! `ExpressionMessageFilter.isMatchedByCommitLog`; bloom filters and bit maps there only save what is cheap here.

mod lex;
mod parse;
mod value;

use std::cmp::Ordering;

use memchr::memmem::Finder;
use smallvec::SmallVec;

use self::value::{Incomparable, Truth, Value};
use crate::wire::message::for_each_property;

/// Longest expression in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 65_536;
/// Most levels of parentheses, signs, NOTs and comparisons of comparisons.
pub const DEPTH_MAX: usize = 128;
/// Most different properties that one expression may name.
pub const PROPERTIES_MAX: usize = 128;

/// Why a text is not an expression, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid MessageSelector. {problem}: character {character}{near}")]
pub struct SqlError {
    problem: String,
    /// Place in the text, from one.
    character: usize,
    /// The text from there on, shortened.
    near: String,
}

impl SqlError {
    fn new(text: &str, at: usize, problem: impl Into<String>) -> Self {
        let (before, rest) = text.split_at(at);
        let near: String = rest.chars().take(20).collect();
        Self {
            problem: problem.into(),
            character: before.chars().count() + 1,
            near: if near.is_empty() { ", at the end".to_owned() } else { format!(", at '{near}'") },
        }
    }
}

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct SqlExpression {
    root: Node,
    /// Names of the properties by their number in the tree.
    names: Vec<Box<[u8]>>,
}

/// Numbers of literals have the sizes that Java gives them: they decide which texts can be compared with them.
#[derive(Clone, Debug)]
enum Constant {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(Box<[u8]>),
}

#[derive(Clone, Copy, Debug)]
enum Operator {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

#[derive(Clone, Copy, Debug)]
enum TextTest {
    Contains,
    StartsWith,
    EndsWith,
}

#[derive(Clone, Debug)]
enum Node {
    Constant(Constant),
    Property(usize),
    Negative(Box<Node>),
    /// A property as a condition: known and false, as no property is anything but a text.
    Truth(Box<Node>),
    Not(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
    Equal(Box<Node>, Box<Node>),
    Order(Operator, Box<Node>, Box<Node>),
    IsNull {
        of: Box<Node>,
        not: bool,
    },
    In {
        property: usize,
        /// In order.
        values: Vec<Box<[u8]>>,
        not: bool,
    },
    Text {
        test: TextTest,
        of: Box<Node>,
        search: Box<Finder<'static>>,
        not: bool,
    },
}

/// Values of the named properties in one message.
type Found<'a> = SmallVec<[Option<&'a [u8]>; 8]>;

impl SqlExpression {
    /// Compiles an expression; refuses one that is longer than [`EXPRESSION_BYTES_MAX`].
    pub fn compile(text: &str) -> Result<Self, SqlError> {
        if text.len() > EXPRESSION_BYTES_MAX {
            let problem = format!(
                "the expression has {} bytes, at most {EXPRESSION_BYTES_MAX} are allowed",
                text.len()
            );
            return Err(SqlError::new(text, 0, problem));
        }
        parse::parse(text)
    }

    /// Says whether a message with this properties string is wanted. One for which the expression is unknown, or
    /// whose properties cannot be compared as it asks, is not.
    pub fn matches(&self, properties: &[u8]) -> bool {
        let mut found: Found<'_> = SmallVec::from_elem(None, self.names.len());
        for_each_property(properties, |name, value| {
            for (wanted, place) in self.names.iter().zip(&mut found) {
                if **wanted == *name {
                    *place = Some(value);
                }
            }
        });
        self.root.evaluate(&found) == Ok(Value::Bool(true))
    }
}

impl Constant {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Int(number) => Value::Int(*number),
            Self::Long(number) => Value::Long(*number),
            Self::Double(number) => Value::Double(*number),
            Self::Text(text) => Value::Text(text),
        }
    }
}

impl Node {
    fn evaluate<'a>(&'a self, found: &Found<'a>) -> Result<Value<'a>, Incomparable> {
        let truth = match self {
            Node::Constant(constant) => return Ok(constant.value()),
            Node::Property(number) => return Ok(found[*number].map_or(Value::Null, Value::Text)),
            Node::Negative(of) => return Ok(negative(of.evaluate(found)?)),
            Node::Truth(of) => match of.evaluate(found)? {
                Value::Null => None,
                value => Some(value == Value::Bool(true)),
            },
            Node::Not(of) => of.truth(found)?.map(|truth| !truth),
            Node::All(parts) => junction(parts, found, false)?,
            Node::Any(parts) => junction(parts, found, true)?,
            Node::Equal(left, right) => value::equal(left.evaluate(found)?, right.evaluate(found)?)?,
            Node::Order(operator, left, right) => ordered(*operator, left, right, found)?,
            Node::IsNull { of, not } => Some((of.evaluate(found)? == Value::Null) != *not),
            Node::In { property, values, not } => found[*property]
                .map(|text| values.binary_search_by(|value| (**value).cmp(text)).is_ok() != *not),
            Node::Text { test, of, search, not } => Some(match of.evaluate(found)? {
                Value::Text(text) if !search.needle().is_empty() => test.holds(text, search) != *not,
                // Also with NOT, and also when the property is absent.
                _ => false,
            }),
        };
        Ok(truth.map_or(Value::Null, Value::Bool))
    }

    fn truth<'a>(&'a self, found: &Found<'a>) -> Truth {
        // The parser puts nothing else where a truth value is wanted.
        Ok(match self.evaluate(found)? {
            Value::Bool(truth) => Some(truth),
            _ => None,
        })
    }
}

/// Evaluates parts until one decides: `true` for OR, `false` for AND.
fn junction<'a>(parts: &'a [Node], found: &Found<'a>, decides: bool) -> Truth {
    let mut truth = Some(!decides);
    for part in parts {
        match part.truth(found)? {
            Some(part) if part == decides => return Ok(Some(decides)),
            Some(_) => {}
            None => truth = None,
        }
    }
    Ok(truth)
}

fn ordered<'a>(operator: Operator, left: &'a Node, right: &'a Node, found: &Found<'a>) -> Truth {
    let left = left.evaluate(found)?;
    if left == Value::Null {
        return Ok(None);
    }
    let right = right.evaluate(found)?;
    if right == Value::Null {
        return Ok(None);
    }
    let order = value::order(left, right)?;
    Ok(Some(match operator {
        Operator::Greater => order == Ordering::Greater,
        Operator::GreaterOrEqual => order != Ordering::Less,
        Operator::Less => order == Ordering::Less,
        Operator::LessOrEqual => order != Ordering::Greater,
    }))
}

/// Only numbers have a negative; a property is a text.
fn negative(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Int(number) => Value::Int(number.wrapping_neg()),
        Value::Long(number) => Value::Long(number.wrapping_neg()),
        Value::Double(number) => Value::Double(-number),
        _ => Value::Null,
    }
}

impl TextTest {
    fn holds(self, text: &[u8], search: &Finder<'_>) -> bool {
        match self {
            Self::Contains => search.find(text).is_some(),
            Self::StartsWith => text.starts_with(search.needle()),
            Self::EndsWith => text.ends_with(search.needle()),
        }
    }
}

#[cfg(test)]
mod tests;
