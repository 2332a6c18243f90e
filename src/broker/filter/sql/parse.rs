//! From words to a tree, by precedence: OR, AND, equality, comparison, then signs and NOT, which bind tightest.
//!
//! Mirrors the grammar of `SelectorParser.jj` and the checks that `ComparisonExpression` and `ConstantExpression`
//! make while they build their tree. Differs in one thing: an expression must end where the text ends, while the
//! reference passes over the rest (`a LIKE 'x%'` is `a` there, and matches nothing).

use std::cmp::Ordering;

use memchr::memmem::Finder;

use super::lex::{Placed, Token, tokens};
use super::{Constant, DEPTH_MAX, Node, Operator, PROPERTIES_MAX, SqlError, SqlExpression, TextTest};

const OR: u8 = 1;
const AND: u8 = 2;
const EQUALITY: u8 = 3;
const COMPARISON: u8 = 4;

/// A part of the expression, and what the checks want to know of it.
struct Term {
    node: Node,
    kind: Kind,
    /// Levels of the tree below and with this one.
    depth: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Property,
    Number,
    Text,
    /// TRUE or FALSE.
    Truth,
    Null,
    /// What can only be true, false or unknown, and is not a literal.
    Predicate,
    /// A number with a sign before it.
    Signed,
}

impl Kind {
    fn is_boolean(self) -> bool {
        matches!(self, Kind::Truth | Kind::Null | Kind::Predicate)
    }

    fn is_literal(self) -> bool {
        matches!(self, Kind::Number | Kind::Text | Kind::Truth | Kind::Null)
    }
}

/// Reads an expression.
pub(super) fn parse(text: &str) -> Result<SqlExpression, SqlError> {
    let mut parser = Parser { text, tokens: tokens(text)?, next: 0, names: Vec::new(), depth: 0 };
    let term = parser.expression(OR)?;
    let end = parser.peek();
    if end.token != Token::End {
        return Err(parser.error(end.at, "the expression has ended here, but the text goes on"));
    }
    let root = parser.boolean(term, 0)?.node;
    Ok(SqlExpression { root, names: parser.names })
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Placed<'a>>,
    next: usize,
    names: Vec<Box<[u8]>>,
    /// Parentheses, signs and NOTs around the current place.
    depth: usize,
}

impl<'a> Parser<'a> {
    fn error(&self, at: usize, problem: impl Into<String>) -> SqlError {
        SqlError::new(self.text, at, problem)
    }

    fn peek(&self) -> Placed<'a> {
        self.tokens[self.next]
    }

    fn take(&mut self) -> Placed<'a> {
        let placed = self.peek();
        if placed.token != Token::End {
            self.next += 1;
        }
        placed
    }

    fn expect(&mut self, token: Token<'_>, missing: &str) -> Result<(), SqlError> {
        let placed = self.take();
        if placed.token == token { Ok(()) } else { Err(self.error(placed.at, missing)) }
    }

    /// Reads operators down to the precedence `least`.
    fn expression(&mut self, least: u8) -> Result<Term, SqlError> {
        let start = self.peek().at;
        let mut left = self.unary()?;
        // A finished equality is no operand of a comparison, nor a finished conjunction one of an equality.
        let mut most = COMPARISON;
        loop {
            let operator = self.peek();
            let level = self.level();
            if level < least || level > most {
                return Ok(left);
            }
            most = level;
            self.next += 1;
            left = match operator.token {
                Token::Or | Token::And => {
                    let left = self.boolean(left, start)?;
                    let right_at = self.peek().at;
                    let right = self.expression(level + 1)?;
                    let right = self.boolean(right, right_at)?;
                    self.junction(operator, left, right)?
                }
                Token::Equal | Token::NotEqual => {
                    let right = self.expression(level + 1)?;
                    let equal = self.equal(operator.at, left, right)?;
                    if operator.token == Token::Equal { equal } else { self.negation(operator.at, equal)? }
                }
                Token::Is => {
                    let not = self.peek().token == Token::Not;
                    self.next += usize::from(not);
                    self.expect(Token::Null, "after IS comes NULL or NOT NULL")?;
                    let depth = self.deeper(operator.at, left.depth)?;
                    let node = Node::IsNull { of: Box::new(left.node), not };
                    Term { node, kind: Kind::Predicate, depth }
                }
                Token::Not => {
                    let operator = self.take();
                    self.comparison(operator, left, true)?
                }
                _ => self.comparison(operator, left, false)?,
            };
        }
    }

    /// Returns the precedence of the next word as an operator; 0 when it is none.
    fn level(&self) -> u8 {
        use Token::{Between, Contains, EndsWith, In, StartsWith};
        match self.peek().token {
            Token::Or => OR,
            Token::And => AND,
            Token::Equal | Token::NotEqual | Token::Is => EQUALITY,
            Token::Greater
            | Token::GreaterOrEqual
            | Token::Less
            | Token::LessOrEqual
            | Between
            | In
            | Contains
            | StartsWith
            | EndsWith => COMPARISON,
            Token::Not => match self.tokens[self.next + 1].token {
                Between | In | Contains | StartsWith | EndsWith => COMPARISON,
                _ => 0,
            },
            _ => 0,
        }
    }

    fn comparison(&mut self, operator: Placed<'a>, left: Term, not: bool) -> Result<Term, SqlError> {
        let at = operator.at;
        match operator.token {
            Token::Between => {
                let low_at = self.peek().at;
                let low = self.unary()?;
                self.expect(Token::And, "BETWEEN wants AND between its two values")?;
                let high = self.unary()?;
                self.between(at, low_at, left, low, high, not)
            }
            Token::In => self.among(at, &left, not),
            Token::Contains => self.text_test(at, TextTest::Contains, left, not),
            Token::StartsWith => self.text_test(at, TextTest::StartsWith, left, not),
            Token::EndsWith => self.text_test(at, TextTest::EndsWith, left, not),
            _ => {
                let operator = match operator.token {
                    Token::Greater => Operator::Greater,
                    Token::GreaterOrEqual => Operator::GreaterOrEqual,
                    Token::Less => Operator::Less,
                    _ => Operator::LessOrEqual,
                };
                let right = self.unary()?;
                self.order(at, operator, left, right)
            }
        }
    }

    fn unary(&mut self) -> Result<Term, SqlError> {
        let placed = self.take();
        let at = placed.at;
        let (node, kind) = match placed.token {
            Token::Plus => return self.nested(at, Self::unary),
            Token::Minus => {
                let of = self.nested(at, Self::unary)?;
                let depth = self.deeper(at, of.depth)?;
                return Ok(Term { node: Node::Negative(Box::new(of.node)), kind: Kind::Signed, depth });
            }
            Token::Not => {
                let of_at = self.peek().at;
                let of = self.nested(at, Self::unary)?;
                let of = self.boolean(of, of_at)?;
                return self.negation(at, of);
            }
            Token::Open => {
                let inner = self.nested(at, |parser| parser.expression(OR))?;
                self.expect(Token::Close, "a parenthesis is not closed")?;
                return Ok(inner);
            }
            Token::Name(name) => (Node::Property(self.property(at, name)?), Kind::Property),
            Token::Text(raw) => (Node::Constant(Constant::Text(unquoted(raw))), Kind::Text),
            Token::Whole(digits) => (Node::Constant(self.whole(at, digits)?), Kind::Number),
            Token::Fraction(digits) => (Node::Constant(self.fraction(at, digits)?), Kind::Number),
            Token::True => (Node::Constant(Constant::Bool(true)), Kind::Truth),
            Token::False => (Node::Constant(Constant::Bool(false)), Kind::Truth),
            Token::Null => (Node::Constant(Constant::Null), Kind::Null),
            _ => return Err(self.error(at, "a value, a property or '(' is expected")),
        };
        Ok(Term { node, kind, depth: 1 })
    }

    fn nested(
        &mut self,
        at: usize,
        read: impl FnOnce(&mut Self) -> Result<Term, SqlError>,
    ) -> Result<Term, SqlError> {
        self.depth = self.deeper(at, self.depth)?;
        let term = read(self)?;
        self.depth -= 1;
        Ok(term)
    }

    fn deeper(&self, at: usize, depth: usize) -> Result<usize, SqlError> {
        if depth >= DEPTH_MAX {
            return Err(self.error(at, format!("the expression is nested more than {DEPTH_MAX} times")));
        }
        Ok(depth + 1)
    }

    fn property(&mut self, at: usize, name: &str) -> Result<usize, SqlError> {
        if let Some(known) = self.names.iter().position(|known| **known == *name.as_bytes()) {
            return Ok(known);
        }
        if self.names.len() == PROPERTIES_MAX {
            return Err(self.error(at, format!("more than {PROPERTIES_MAX} properties are named")));
        }
        self.names.push(name.as_bytes().into());
        Ok(self.names.len() - 1)
    }

    fn whole(&self, at: usize, digits: &str) -> Result<Constant, SqlError> {
        let long: i64 =
            digits.parse().map_err(|_| self.error(at, format!("a whole number is at most {}", i64::MAX)))?;
        // A number that fits is an `Integer` also with an L behind it, and a property must fit one to be compared.
        Ok(i32::try_from(long).map_or(Constant::Long(long), Constant::Int))
    }

    fn fraction(&self, at: usize, digits: &str) -> Result<Constant, SqlError> {
        let double: f64 = digits.parse().map_err(|_| self.error(at, "not a number"))?;
        if double.is_infinite() {
            return Err(self.error(at, format!("the number is greater than {:E}", f64::MAX)));
        }
        if double == 0.0 {
            return Err(self.error(at, "the number is less than 4.9E-324; zero is written 0"));
        }
        Ok(Constant::Double(double))
    }

    fn text(&mut self) -> Result<Box<[u8]>, SqlError> {
        let placed = self.take();
        match placed.token {
            Token::Text(raw) => Ok(unquoted(raw)),
            _ => Err(self.error(placed.at, "a text in single quotes is expected")),
        }
    }

    /// Makes a part into one that is true, false or unknown (`asBooleanExpression`).
    fn boolean(&self, term: Term, at: usize) -> Result<Term, SqlError> {
        match term.kind {
            Kind::Property => {
                let depth = self.deeper(at, term.depth)?;
                Ok(Term { node: Node::Truth(Box::new(term.node)), kind: Kind::Predicate, depth })
            }
            kind if kind.is_boolean() => Ok(term),
            _ => Err(self.error(at, "a value stands where something true or false is expected")),
        }
    }

    fn negation(&self, at: usize, of: Term) -> Result<Term, SqlError> {
        let depth = self.deeper(at, of.depth)?;
        Ok(Term { node: Node::Not(Box::new(of.node)), kind: Kind::Predicate, depth })
    }

    /// Joins two parts; a chain of the same word becomes one node, so that it may be long.
    fn junction(&self, operator: Placed<'_>, left: Term, right: Term) -> Result<Term, SqlError> {
        let depth = left.depth.max(self.deeper(operator.at, right.depth)?);
        let node = match (operator.token, left.node) {
            (Token::Or, Node::Any(mut parts)) => {
                parts.push(right.node);
                Node::Any(parts)
            }
            (Token::Or, left) => Node::Any(vec![left, right.node]),
            (_, Node::All(mut parts)) => {
                parts.push(right.node);
                Node::All(parts)
            }
            (_, left) => Node::All(vec![left, right.node]),
        };
        // A new node stands above its left part, too; counting it once more than needed in a chain would end it.
        let depth = match &node {
            Node::Any(parts) | Node::All(parts) if parts.len() == 2 => {
                depth.max(self.deeper(operator.at, left.depth)?)
            }
            _ => depth,
        };
        Ok(Term { node, kind: Kind::Predicate, depth })
    }

    fn equal(&self, at: usize, left: Term, right: Term) -> Result<Term, SqlError> {
        if left.kind == Kind::Null || right.kind == Kind::Null {
            return Err(self.error(at, "NULL cannot be compared; use IS NULL or IS NOT NULL"));
        }
        if left.kind == Kind::Truth && right.kind.is_literal() && right.kind != Kind::Truth {
            return Err(self.error(at, "TRUE or FALSE cannot be compared with another value"));
        }
        let depth = self.deeper(at, left.depth.max(right.depth))?;
        let node = Node::Equal(Box::new(left.node), Box::new(right.node));
        Ok(Term { node, kind: Kind::Predicate, depth })
    }

    fn order(&self, at: usize, operator: Operator, left: Term, right: Term) -> Result<Term, SqlError> {
        for side in [&left, &right] {
            if side.kind == Kind::Text || side.kind.is_boolean() {
                return Err(self.error(at, "only numbers and properties can be compared by size"));
            }
        }
        let depth = self.deeper(at, left.depth.max(right.depth))?;
        let node = Node::Order(operator, Box::new(left.node), Box::new(right.node));
        Ok(Term { node, kind: Kind::Predicate, depth })
    }

    fn between(
        &self,
        at: usize,
        low_at: usize,
        value: Term,
        low: Term,
        high: Term,
        not: bool,
    ) -> Result<Term, SqlError> {
        if low.kind == Kind::Null || high.kind == Kind::Null {
            return Err(self.error(low_at, "the values of BETWEEN cannot be NULL"));
        }
        if let (Node::Constant(least), Node::Constant(greatest)) = (&low.node, &high.node)
            && (low.kind, high.kind, not) == (Kind::Number, Kind::Number, false)
            && super::value::order(greatest.value(), least.value()).is_ok_and(Ordering::is_lt)
        {
            return Err(self.error(low_at, "the left value of BETWEEN is greater than the right one"));
        }
        let again = Term { node: value.node.clone(), ..value };
        let (first, second) = if not {
            (Operator::Less, Operator::Greater)
        } else {
            (Operator::GreaterOrEqual, Operator::LessOrEqual)
        };
        let first = self.order(at, first, value, low)?;
        let second = self.order(at, second, again, high)?;
        let depth = self.deeper(at, first.depth.max(second.depth))?;
        let parts = vec![first.node, second.node];
        let node = if not { Node::Any(parts) } else { Node::All(parts) };
        Ok(Term { node, kind: Kind::Predicate, depth })
    }

    fn among(&mut self, at: usize, left: &Term, not: bool) -> Result<Term, SqlError> {
        let Node::Property(property) = left.node else {
            return Err(self.error(at, "before IN stands a property"));
        };
        self.expect(Token::Open, "after IN comes '('")?;
        let mut values = vec![self.text()?];
        while self.peek().token == Token::Comma {
            self.next += 1;
            values.push(self.text()?);
        }
        self.expect(Token::Close, "the texts of IN are separated by ',' and ended by ')'")?;
        values.sort_unstable();
        values.dedup();
        let depth = self.deeper(at, left.depth)?;
        Ok(Term { node: Node::In { property, values, not }, kind: Kind::Predicate, depth })
    }

    fn text_test(&mut self, at: usize, test: TextTest, left: Term, not: bool) -> Result<Term, SqlError> {
        let search = Finder::new(&self.text()?).into_owned();
        let depth = self.deeper(at, left.depth)?;
        let node = Node::Text { test, of: Box::new(left.node), search: Box::new(search), not };
        Ok(Term { node, kind: Kind::Predicate, depth })
    }
}

fn unquoted(raw: &str) -> Box<[u8]> {
    raw.replace("''", "'").into_bytes().into()
}
