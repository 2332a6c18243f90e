//! The language by example, its refusals, its limits, and a model that does the obvious.

use proptest::prelude::*;

use super::*;

fn properties(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        crate::wire::message::append_property(&mut text, name, value);
    }
    text
}

fn matches(expression: &str, pairs: &[(&str, &str)]) -> bool {
    SqlExpression::compile(expression).unwrap().matches(properties(pairs).as_bytes())
}

fn problem(expression: &str) -> String {
    SqlExpression::compile(expression).map(|_| ()).unwrap_err().to_string()
}

/// The forms of the language, as the reference evaluates them.
#[test]
fn expressions() {
    let order = [("a", "5"), ("price", "3.5"), ("region", "Hangzhou"), ("vip", "true"), ("quote", "it's")];
    for (expression, expected) in [
        ("a = 5", true),
        ("a <> 5", false),
        ("a > 4 and a < 6", true),
        ("a >= 5 AND a <= 5", true),
        ("5 = a", true),
        ("a = 5L", true),
        ("a = 5.0 And price = 3.5", true),
        ("price > .5 AND price < 1e1 AND price <= 5.", true),
        ("a BETWEEN 0 AND 5", true),
        ("a NOT BETWEEN 0 AND 4", true),
        ("a between 6 and 7", false),
        ("region IN ('Hangzhou', 'Shanghai')", true),
        ("region NOT IN ('Shanghai')", true),
        ("region IN ('a','b','c','d','e','f')", false),
        ("region = 'Hangzhou'", true),
        ("region = 'hangzhou'", false),
        ("quote = 'it''s'", true),
        ("region CONTAINS 'ang' AND region STARTSWITH 'Hang' AND region ENDSWITH 'zhou'", true),
        ("region NOT CONTAINS 'x' AND region NOT STARTSWITH 'x' AND region NOT ENDSWITH 'x'", true),
        ("'abc' CONTAINS 'b'", true),
        ("vip = TRUE", true),
        ("vip = false", false),
        ("TRUE", true),
        ("NOT FALSE", true),
        ("TRUE = TRUE", true),
        ("-a IS NULL", true),
        ("a > -5 AND a < +6 AND a > - - 4", true),
        ("a > --4", true),
        ("(a = 5 OR missing = 1) AND NOT (price > 4.5)", true),
        ("a = 4 OR a = 5 AND price = 3.5", true),
        ("(a = 4 OR a = 5) AND price = 1", false),
        ("a -- comment\n = /* another ** one */ 5", true),
        ("a\t=\r\n5\u{c}", true),
        ("a = price", false),
        ("a > price", true),
        ("A = 5", false),
        ("a = 5 = TRUE", true),
    ] {
        assert_eq!(matches(expression, &order), expected, "{expression}");
    }
}

/// NULL is unknown, except where the reference says otherwise.
#[test]
fn absent_properties() {
    let pairs = [("a", "5")];
    for (expression, expected) in [
        ("b IS NULL", true),
        ("a IS NULL", false),
        ("a IS NOT NULL", true),
        ("b = 1", false),
        ("NOT (b = 1)", false),
        ("b <> 1", false),
        ("1 = b", false),
        // An absent right side is not unknown but different.
        ("1 <> b", true),
        ("b = c", true),
        ("b > 1 OR a = 5", true),
        ("NOT (b > 1 AND a = 4)", true),
        ("b BETWEEN 1 AND 2", false),
        ("NOT (b BETWEEN 1 AND 2)", false),
        ("b IN ('1')", false),
        ("b NOT IN ('1')", false),
        // A text test is false, not unknown.
        ("b CONTAINS '1'", false),
        ("b NOT CONTAINS '1'", false),
        ("NOT (b CONTAINS '1')", true),
        ("a CONTAINS ''", false),
        ("a NOT CONTAINS ''", false),
        ("b", false),
        ("NOT b", false),
        ("a", false),
        ("NOT a", true),
        ("NULL", false),
        ("NULL IS NULL", true),
    ] {
        assert_eq!(matches(expression, &pairs), expected, "{expression}");
    }
    assert!(SqlExpression::compile("b IS NULL").unwrap().matches(b""));
}

/// What cannot be compared ends the evaluation, also when another part alone would decide.
#[test]
fn texts_that_are_no_numbers() {
    let pairs = [
        ("text", "abc"),
        ("half", "5.5"),
        ("padded", " 7 "),
        ("long", "3000000000"),
        ("nan", "NaN"),
        ("java", "2d"),
    ];
    for (expression, expected) in [
        ("text > 1", false),
        ("NOT (text > 1)", false),
        ("text > 1 OR half = 5.5", false),
        ("half = 5.5 OR text > 1", true),
        ("text = 1", false),
        ("text <> 1", false),
        ("text > half", false),
        // A whole literal wants a whole property, of the literal's own size.
        ("half > 5", false),
        ("half > 5.0", true),
        ("long > 5", false),
        ("long > 5.0", true),
        ("long > 2999999999", true),
        ("padded = 7", false),
        ("padded = 7.0", true),
        ("nan > 1.7976931348623157E308", true),
        ("java = 2.0", true),
        ("TRUE = text", false),
        ("TRUE <> text", false),
    ] {
        assert_eq!(matches(expression, &pairs), expected, "{expression}");
    }
    for word in ["inf", "infinity", "nan", "", "+-1", "--1", "0x10", "1_0", "."] {
        let pairs = [("p", word)];
        assert!(!matches("p > -1.5 OR TRUE", &pairs) || word.is_empty(), "{word}");
    }
    assert!(matches("p < 1.5", &[("p", "-Infinity")]));
}

/// The last of several properties of one name counts, and a value is not searched for names.
#[test]
fn properties_as_bytes() {
    assert!(matches("a = 2", &[("a", "1"), ("b", "a"), ("a", "2")]));
    let expression = SqlExpression::compile("a = 'x' AND TAGS = 'T'").unwrap();
    assert!(expression.matches(b"a\x01x\x02TAGS\x01T"));
    assert!(!expression.matches(b"ba\x01x\x02TAGS\x01T\x02"));
    assert!(!expression.matches(b"\xff\xfe\x01\x02\x02\x01"));
}

/// A refusal says what is wrong and where.
#[test]
fn refusals() {
    for (expression, expected) in [
        ("", "a value, a property or '(' is expected: character 1, at the end"),
        ("a >", "a value, a property or '(' is expected: character 4, at the end"),
        ("a >< 5", "a value, a property or '(' is expected: character 4, at '< 5'"),
        ("a = 5 b", "the expression has ended here, but the text goes on: character 7, at 'b'"),
        ("a LIKE 'x%'", "the expression has ended here, but the text goes on: character 3, at 'LIKE 'x%''"),
        ("(a = 5", "a parenthesis is not closed: character 7, at the end"),
        ("a = 5)", "the expression has ended here, but the text goes on: character 6, at ')'"),
        ("a = 'x", "a text is not ended by a quote: character 5, at ''x'"),
        ("a = \"x\"", "a character is not part of the language: character 5, at '\"x\"'"),
        ("ä = 1", "a character is not part of the language: character 1, at 'ä = 1'"),
        ("a = 'ä' AND ?", "a character is not part of the language: character 13, at '?'"),
        ("a /* b", "a comment is not ended: character 3, at '/* b'"),
        ("a = NULL", "NULL cannot be compared; use IS NULL or IS NOT NULL: character 3, at '= NULL'"),
        ("TRUE = 1", "TRUE or FALSE cannot be compared with another value: character 6, at '= 1'"),
        ("a IS 5", "after IS comes NULL or NOT NULL: character 6, at '5'"),
        ("a > 'b'", "only numbers and properties can be compared by size: character 3, at '> 'b''"),
        ("a > TRUE", "only numbers and properties can be compared by size: character 3, at '> TRUE'"),
        (
            "a BETWEEN 5 AND 1",
            "the left value of BETWEEN is greater than the right one: character 11, at '5 AND 1'",
        ),
        ("a BETWEEN 5 OR 1", "BETWEEN wants AND between its two values: character 13, at 'OR 1'"),
        ("a BETWEEN NULL AND 1", "the values of BETWEEN cannot be NULL: character 11, at 'NULL AND 1'"),
        ("'a' IN ('a')", "before IN stands a property: character 5, at 'IN ('a')'"),
        ("a IN (1)", "a text in single quotes is expected: character 7, at '1)'"),
        ("a IN ()", "a text in single quotes is expected: character 7, at ')'"),
        ("a IN 'x'", "after IN comes '(': character 6, at ''x''"),
        ("a CONTAINS b", "a text in single quotes is expected: character 12, at 'b'"),
        ("5", "a value stands where something true or false is expected: character 1, at '5'"),
        (
            "'x' AND a = 1",
            "a value stands where something true or false is expected: character 1, at ''x' AND a = 1'",
        ),
        ("NOT 5", "a value stands where something true or false is expected: character 5, at '5'"),
        (
            "a = 9223372036854775808",
            "a whole number is at most 9223372036854775807: character 5, at '9223372036854775808'",
        ),
        ("a = 007", "the expression has ended here, but the text goes on: character 6, at '07'"),
        ("a = 0.0", "the number is less than 4.9E-324; zero is written 0: character 5, at '0.0'"),
        ("a = 1e999", "the number is greater than 1.7976931348623157E308: character 5, at '1e999'"),
        ("a = .", "a point is not a number: character 5, at '.'"),
        (
            "a IS NULL CONTAINS 'x'",
            "the expression has ended here, but the text goes on: character 11, at 'CONTAINS 'x''",
        ),
    ] {
        assert_eq!(problem(expression), format!("Invalid MessageSelector. {expected}"), "{expression}");
    }
}

/// Depth, length and the number of properties have limits; a long chain is not deep.
#[test]
fn limits() {
    let nested = |depth: usize| format!("{}a = 1{}", "(".repeat(depth), ")".repeat(depth));
    assert!(SqlExpression::compile(&nested(DEPTH_MAX)).is_ok());
    for deep in
        [nested(DEPTH_MAX + 1), nested(10_000), "NOT ".repeat(10_000), "-".repeat(10_000), "+".repeat(10_000)]
    {
        assert!(problem(&deep).contains("nested more than 128 times"), "{}", problem(&deep));
    }
    for chain in [format!("a = 1{}", " = TRUE".repeat(200)), format!("a{}", " CONTAINS 'x'".repeat(200))] {
        assert!(problem(&chain).contains("nested more than 128 times"), "{}", problem(&chain));
    }
    for word in ["AND", "OR"] {
        let long = format!("a = 1{}", format!(" {word} a = 1").repeat(4_000));
        assert!(matches(&long, &[("a", "1")]));
    }
    let huge = format!("a = '{}'", "x".repeat(1 << 20));
    assert!(problem(&huge).contains("has 1048582 bytes, at most 65536 are allowed"), "{}", problem(&huge));
    let names: Vec<_> = (0..=PROPERTIES_MAX).map(|number| format!("p{number} = 1")).collect();
    assert!(SqlExpression::compile(&names[..PROPERTIES_MAX].join(" OR ")).is_ok());
    assert!(problem(&names.join(" OR ")).contains("more than 128 properties are named"));
}

/// An expression of the model: what may be true, false or unknown.
#[derive(Clone, Debug)]
enum Model {
    And(Box<Model>, Box<Model>),
    Or(Box<Model>, Box<Model>),
    Not(Box<Model>),
    /// Property, sign, number.
    Compare(usize, usize, i32),
    Between(usize, bool, i32, i32),
    Absent(usize, bool),
    Among(usize, bool, Vec<i32>),
    Starts(usize, bool, i32),
}

const SIGNS: [&str; 6] = ["=", "<>", ">", ">=", "<", "<="];

impl Model {
    /// Writes it with parentheses only where they are needed, in mixed case.
    fn text(&self, level: u8) -> String {
        let not = |not: &bool| if *not { " NOT" } else { "" };
        let (own, text) = match self {
            Model::Or(left, right) => (1, format!("{} or {}", left.text(1), right.text(2))),
            Model::And(left, right) => (2, format!("{} AND {}", left.text(2), right.text(3))),
            Model::Not(of) => (5, format!("nOT {}", of.text(5))),
            Model::Compare(p, sign, number) => (3, format!("p{p} {} {number}", SIGNS[*sign])),
            Model::Between(p, n, low, high) => (4, format!("p{p}{} between {low} and {high}", not(n))),
            Model::Absent(p, n) => (3, format!("p{p} is{} null", not(n))),
            Model::Among(p, n, numbers) => {
                let texts: Vec<_> = numbers.iter().map(|number| format!("'{number}'")).collect();
                (4, format!("p{p}{} in ({})", not(n), texts.join(",")))
            }
            Model::Starts(p, n, number) => (4, format!("p{p}{} startswith '{number}'", not(n))),
        };
        if own < level { format!("({text})") } else { text }
    }

    fn evaluate(&self, values: &[Option<i32>]) -> Option<bool> {
        let negated = |truth: bool, not: bool| truth != not;
        match self {
            Model::And(left, right) => match (left.evaluate(values), right.evaluate(values)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Model::Or(left, right) => match (left.evaluate(values), right.evaluate(values)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Model::Not(of) => of.evaluate(values).map(|truth| !truth),
            Model::Compare(p, sign, number) => values[*p].map(|value| match SIGNS[*sign] {
                "=" => value == *number,
                "<>" => value != *number,
                ">" => value > *number,
                ">=" => value >= *number,
                "<" => value < *number,
                _ => value <= *number,
            }),
            Model::Between(p, not, low, high) => {
                values[*p].map(|value| negated(value >= *low && value <= *high, *not))
            }
            Model::Absent(p, not) => Some(negated(values[*p].is_none(), *not)),
            Model::Among(p, not, numbers) => values[*p].map(|value| negated(numbers.contains(&value), *not)),
            Model::Starts(p, not, number) => Some(
                values[*p]
                    .is_some_and(|value| negated(value.to_string().starts_with(&number.to_string()), *not)),
            ),
        }
    }
}

fn model() -> impl Strategy<Value = Model> {
    let property = 0..3_usize;
    let number = -3..13_i32;
    let leaf = prop_oneof![
        (property.clone(), 0..6_usize, number.clone()).prop_map(|(p, sign, n)| Model::Compare(p, sign, n)),
        (property.clone(), any::<bool>(), 0..6_i32, 6..13_i32)
            .prop_map(|(p, not, low, high)| Model::Between(p, not, low, high)),
        (property.clone(), any::<bool>()).prop_map(|(p, not)| Model::Absent(p, not)),
        (property.clone(), any::<bool>(), prop::collection::vec(number.clone(), 1..8))
            .prop_map(|(p, not, numbers)| Model::Among(p, not, numbers)),
        (property, any::<bool>(), number).prop_map(|(p, not, n)| Model::Starts(p, not, n)),
    ];
    leaf.prop_recursive(6, 40, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(l, r)| Model::And(Box::new(l), Box::new(r))),
            (inner.clone(), inner.clone()).prop_map(|(l, r)| Model::Or(Box::new(l), Box::new(r))),
            inner.prop_map(|of| Model::Not(Box::new(of))),
        ]
    })
}

proptest! {
    /// Reading and evaluating agree with a model that does the obvious.
    #[test]
    fn agrees_with_the_model(model in model(), values in prop::array::uniform3(prop::option::of(-3..13_i32))) {
        let text = model.text(0);
        let properties: String = values
            .iter()
            .enumerate()
            .filter_map(|(p, value)| value.map(|value| format!("p{p}\u{1}{value}\u{2}")))
            .collect();
        let expression = SqlExpression::compile(&text).map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?;
        prop_assert_eq!(expression.matches(properties.as_bytes()), model.evaluate(&values) == Some(true), "{}", text);
    }

    /// Any text is compiled or refused, and any bytes are matched or not.
    #[test]
    fn never_panics(text in "[a-c0-9 ()'=<>+./*eELl,-]{0,40}|(NOT |AND |OR |IN|IS |NULL |BETWEEN |a |1 |'x' |\\(|\\)|,|=|>){0,20}", bytes in prop::collection::vec(0..4_u8, 0..40)) {
        if let Ok(expression) = SqlExpression::compile(&text) {
            expression.matches(&bytes);
        }
    }
}
