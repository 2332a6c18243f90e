//! Attributes of topics: how `+name=value,-name` changes them, and which there are.
//!
//! Mirrors `AttributeParser`, `AttributeUtil` and `TopicAttributes`, texts included; but what this broker does not do is
//! refused, and not taken with the topic then behaving as any other. A slave takes attributes as they are, without signs,
//! and so does not come through here, nor does a file of Apache's.

use std::collections::BTreeMap;

/// Attributes by name.
pub type Attributes = BTreeMap<String, String>;

/// Longest list of changes in bytes; the known attributes need less than a tenth.
const CHANGES_BYTES_MAX: usize = 2048;

struct Attribute {
    name: &'static str,
    changeable: bool,
    values: Values,
}

enum Values {
    OneOf(&'static [&'static str]),
    NumberFrom(i64),
}

const KNOWN: [Attribute; 4] = [
    Attribute { name: "queue.type", changeable: false, values: Values::OneOf(&["BatchCQ", "SimpleCQ"]) },
    Attribute { name: "cleanup.policy", changeable: false, values: Values::OneOf(&["DELETE", "COMPACTION"]) },
    Attribute {
        name: "message.type",
        changeable: true,
        values: Values::OneOf(&["UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION", "MIXED"]),
    },
    Attribute { name: "reserve.time", changeable: true, values: Values::NumberFrom(-1) },
];

/// Values of Apache's that would promise what is not done here, and why.
const UNSERVED: [(&str, &str, &str); 2] = [
    ("cleanup.policy", "COMPACTION", "compacted topics are not available, allowed is DELETE"),
    ("queue.type", "BatchCQ", "batch consume queues are not available, allowed is SimpleCQ"),
];

/// Reads `+name=value,-name` into changes whose keys keep their sign.
pub fn parse_changes(text: &str) -> Result<Attributes, String> {
    if text.len() > CHANGES_BYTES_MAX {
        return Err(format!("the attributes are longer than {CHANGES_BYTES_MAX} bytes"));
    }
    let mut changes = Attributes::new();
    for change in text.split(',').filter(|change| !change.is_empty()) {
        let (key, value) = match change.split_once('=') {
            Some((key, _)) if !key.contains('+') => {
                return Err(format!("add/alter attribute format is wrong: {key}"));
            }
            Some((key, value)) => (key, value),
            None if !change.contains('-') => {
                return Err(format!("delete attribute format is wrong: {change}"));
            }
            None => (change, ""),
        };
        if changes.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(format!("key duplication: {key}"));
        }
    }
    Ok(changes)
}

/// Applies changes, whose keys have a sign, to the attributes of a topic; `None` for a topic to be created.
pub fn alter(current: Option<&Attributes>, changes: &Attributes) -> Result<Attributes, String> {
    let mut result = current.cloned().unwrap_or_default();
    let mut seen = Vec::new();
    for (key, value) in changes {
        let (sign, name) = key.split_at_checked(1).ok_or("kv string format wrong.")?;
        if name.is_empty() || name.contains(['+', '-']) {
            return Err("kv string format wrong.".to_owned());
        }
        if seen.contains(&name) {
            return Err(format!("alter duplication key. key: {name}"));
        }
        seen.push(name);
        let known = KNOWN.iter().find(|known| known.name == name);
        match (current, sign) {
            (None, "+") => {}
            (None, _) => {
                return Err(format!("only add attribute is supported while creating topic. key: {name}"));
            }
            (Some(current), "-") if !current.contains_key(name) => {
                return Err(format!("attempt to delete a nonexistent key: {name}"));
            }
            (Some(_), "+" | "-") if known.is_some_and(|known| !known.changeable) => {
                return Err(format!("attempt to update an unchangeable attribute. key: {name}"));
            }
            (Some(_), "+" | "-") => {}
            (Some(_), _) => return Err(format!("wrong format key: {name}")),
        }
        let known = known.ok_or_else(|| format!("unsupported key: {name}"))?;
        if sign == "-" {
            result.remove(name);
        } else {
            verify(known, value)?;
            result.insert(name.to_owned(), value.clone());
        }
    }
    Ok(result)
}

fn verify(attribute: &Attribute, value: &str) -> Result<(), String> {
    for (name, unserved, why) in UNSERVED {
        if attribute.name == name && value == unserved {
            return Err(format!("{name}={value} is not supported: {why}"));
        }
    }
    match attribute.values {
        Values::OneOf(values) if values.contains(&value) => Ok(()),
        Values::OneOf(values) => Err(format!("value is not in set: [{}]", values.join(", "))),
        Values::NumberFrom(min) if value.parse::<i64>().is_ok_and(|number| number >= min) => Ok(()),
        Values::NumberFrom(min) => Err(format!("value is not in range({min}, {})", i64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> Attributes {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// Changes are read with their signs, and what is no change is refused by name.
    #[test]
    fn changes() {
        assert_eq!(parse_changes("").unwrap(), Attributes::new());
        assert_eq!(
            parse_changes("+message.type=FIFO,-reserve.time").unwrap(),
            attributes(&[("+message.type", "FIFO"), ("-reserve.time", "")])
        );
        for (text, problem) in [
            ("message.type=FIFO", "add/alter attribute format is wrong: message.type"),
            ("message.type", "delete attribute format is wrong: message.type"),
            ("-a,-a", "key duplication: -a"),
        ] {
            assert_eq!(parse_changes(text).unwrap_err(), problem);
        }
        assert!(parse_changes(&"+a=b,".repeat(10_000)).is_err());
    }

    /// A new topic only adds, an old one adds, replaces and deletes; the texts are those that tools show.
    #[test]
    fn alterations() {
        let fifo = attributes(&[("message.type", "FIFO")]);
        assert_eq!(alter(None, &attributes(&[("+message.type", "FIFO")])).unwrap(), fifo);
        assert_eq!(
            alter(Some(&fifo), &attributes(&[("+message.type", "DELAY")])).unwrap(),
            attributes(&[("message.type", "DELAY")])
        );
        assert_eq!(alter(Some(&fifo), &attributes(&[("-message.type", "")])).unwrap(), Attributes::new());
        for (current, key, value, problem) in [
            (
                None,
                "-message.type",
                "",
                "only add attribute is supported while creating topic. key: message.type",
            ),
            (
                None,
                "message.type",
                "FIFO",
                "only add attribute is supported while creating topic. key: essage.type",
            ),
            (None, "+x", "1", "unsupported key: x"),
            (None, "+", "1", "kv string format wrong."),
            (None, "", "1", "kv string format wrong."),
            (None, "é", "1", "kv string format wrong."),
            (None, "+a+b", "1", "kv string format wrong."),
            (None, "+reserve.time", "-2", "value is not in range(-1, 9223372036854775807)"),
            (
                None,
                "+message.type",
                "fifo",
                "value is not in set: [UNSPECIFIED, NORMAL, FIFO, DELAY, TRANSACTION, MIXED]",
            ),
            (
                None,
                "+cleanup.policy",
                "COMPACTION",
                "cleanup.policy=COMPACTION is not supported: compacted topics are not available, allowed is DELETE",
            ),
            (
                None,
                "+queue.type",
                "BatchCQ",
                "queue.type=BatchCQ is not supported: batch consume queues are not available, allowed is SimpleCQ",
            ),
            (Some(&fifo), "-x", "", "attempt to delete a nonexistent key: x"),
            (Some(&fifo), "xmessage.type", "", "wrong format key: message.type"),
            (
                Some(&fifo),
                "+queue.type",
                "BatchCQ",
                "attempt to update an unchangeable attribute. key: queue.type",
            ),
        ] {
            assert_eq!(alter(current, &attributes(&[(key, value)])).unwrap_err(), problem);
        }
        let both = attributes(&[("+message.type", "FIFO"), ("-message.type", "")]);
        assert_eq!(alter(Some(&fifo), &both).unwrap_err(), "alter duplication key. key: message.type");
    }
}
