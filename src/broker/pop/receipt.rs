//! The receipt of a popped message (`POP_CK`, `extraInfo`), and the lists from which clients build it.
//!
//! Eight items between blanks: start offset of the check point, time of the pop, invisible time, revive queue, kind of
//! topic, broker, queue, queue offset of the message. Clients bring it back to acknowledge. Mirrors `ExtraInfoUtil`;
//! what is no receipt of ours is refused with the item's name and value, where Apache answers an exception's text.

use std::fmt::Write as _;

use crate::broker::name::RETRY_PREFIX;
use crate::remoting::Refusal;
use crate::wire::code::response;
use crate::wire::fields::shorten;

/// Revive queue that marks the receipts of orderly consumers (`KeyBuilder.POP_ORDER_REVIVE_QUEUE`).
pub(super) const ORDERLY: i32 = 999;

/// What a client brings back, as far as the broker reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Receipt {
    /// Queue offset at which the check point begins.
    pub(super) start_offset: i64,
    /// When the message was popped, milliseconds.
    pub(super) pop_time_ms: i64,
    /// For how long it is invisible, milliseconds.
    pub(super) invisible_ms: i64,
    /// Queue of the revive log, or [`ORDERLY`].
    pub(super) revive_queue_id: i32,
}

impl Receipt {
    /// Reads a receipt; refuses one that is broken or of another broker.
    pub(super) fn parse(text: &str, broker_name: &str, revive_queue_nums: i32) -> Result<Self, Refusal> {
        let items: Vec<&str> = text.split(' ').collect();
        if !(6..=8).contains(&items.len()) {
            let remark = format!("the receipt has {} items, not 8: {}", items.len(), shorten(text));
            return Err(Refusal::new(response::MESSAGE_ILLEGAL, remark));
        }
        let number = |at: usize, name: &str| {
            items[at]
                .parse::<i64>()
                .ok()
                .filter(|number| *number >= 0)
                .ok_or_else(|| illegal(name, items[at]))
        };
        let receipt = Self {
            start_offset: number(0, "start offset")?,
            pop_time_ms: number(1, "pop time")?,
            invisible_ms: number(2, "invisible time")?,
            revive_queue_id: number(3, "revive queue")?
                .try_into()
                .map_err(|_| illegal("revive queue", items[3]))?,
        };
        if items[5] != broker_name {
            return Err(illegal(&format!("broker, which must be {broker_name},"), items[5]));
        }
        receipt.check(revive_queue_nums)
    }

    /// Refuses what no receipt of this broker says.
    pub(super) fn check(self, revive_queue_nums: i32) -> Result<Self, Refusal> {
        if self.revive_queue_id != ORDERLY && !(0..revive_queue_nums).contains(&self.revive_queue_id) {
            let what = format!("revive queue, of which there are {revive_queue_nums},");
            return Err(illegal(&what, &self.revive_queue_id.to_string()));
        }
        if self.start_offset < 0 || self.pop_time_ms < 0 || self.invisible_ms < 0 {
            return Err(illegal("start offset or time", "negative"));
        }
        if self.pop_time_ms.checked_add(self.invisible_ms).is_none() {
            return Err(illegal("invisible time", &self.invisible_ms.to_string()));
        }
        Ok(self)
    }

    /// Returns when the message is offered again, milliseconds.
    pub(super) fn revive_time_ms(&self) -> i64 {
        self.pop_time_ms.saturating_add(self.invisible_ms)
    }

    /// Writes the receipt of one message.
    pub(super) fn text(&self, topic: &str, broker_name: &str, queue_id: i32, queue_offset: i64) -> String {
        let Self { start_offset, pop_time_ms, invisible_ms, revive_queue_id } = self;
        let kind = kind(topic);
        format!(
            "{start_offset} {pop_time_ms} {invisible_ms} {revive_queue_id} {kind} {broker_name} {queue_id} {queue_offset}"
        )
    }
}

fn illegal(item: &str, value: &str) -> Refusal {
    let remark = format!("the receipt's {item} is illegal: {}", shorten(value));
    Refusal::new(response::MESSAGE_ILLEGAL, remark)
}

/// Returns `0` for a topic, `1` for the topic of its retries, `2` for the second form of that.
pub(super) fn kind(topic: &str) -> char {
    match topic.strip_prefix(RETRY_PREFIX) {
        Some(rest) if rest.contains('+') => '2',
        Some(_) => '1',
        None => '0',
    }
}

/// Returns the topic that a kind of a topic stands for.
pub(super) fn real_topic(topic: &str, group: &str, kind: &str) -> Option<String> {
    match kind {
        "0" => Some(topic.to_owned()),
        "1" => Some(format!("{RETRY_PREFIX}{group}_{topic}")),
        "2" => Some(format!("{RETRY_PREFIX}{group}+{topic}")),
        _ => None,
    }
}

/// Returns the topics in which retries of a group's popped messages can be. Apache writes the second form under
/// `enableRetryTopicV2`.
pub(super) fn retry_topics(topic: &str, group: &str) -> [String; 2] {
    [format!("{RETRY_PREFIX}{group}_{topic}"), format!("{RETRY_PREFIX}{group}+{topic}")]
}

/// Returns the topic itself, also for the topic of a group's retries of it.
pub(crate) fn normal_topic<'a>(topic: &'a str, group: &str) -> &'a str {
    let rest = topic.strip_prefix(RETRY_PREFIX).and_then(|rest| rest.strip_prefix(group));
    rest.and_then(|rest| rest.strip_prefix(['_', '+'])).unwrap_or(topic)
}

/// Adds `kind queue value` to a list.
pub(super) fn add_item(
    list: &mut String,
    topic: &str,
    queue: impl std::fmt::Display,
    value: impl std::fmt::Display,
) {
    let separator = if list.is_empty() { "" } else { ";" };
    write!(list, "{separator}{} {queue} {value}", kind(topic)).expect("a string takes every text");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written is read; the queue offset and the queue may be missing, as with older clients.
    #[test]
    fn receipts() {
        let receipt = Receipt { start_offset: 5, pop_time_ms: 1_700, invisible_ms: 60, revive_queue_id: 7 };
        let text = receipt.text("%RETRY%g_T", "b", 3, 6);
        assert_eq!(text, "5 1700 60 7 1 b 3 6");
        for text in [&*text, "5 1700 60 7 1 b", "5 1700 60 7 1 b 3"] {
            assert_eq!(Receipt::parse(text, "b", 8), Ok(receipt));
        }
        assert_eq!(Receipt::parse("5 1700 60 999 0 b 3 6", "b", 8).unwrap().revive_queue_id, ORDERLY);
        for (text, remark) in [
            ("", "the receipt has 1 items, not 8: "),
            ("5 1700 60 7 1", "the receipt has 5 items, not 8: 5 1700 60 7 1"),
            ("x 1700 60 7 1 b 3 6", "the receipt's start offset is illegal: x"),
            ("5 -1 60 7 1 b 3 6", "the receipt's pop time is illegal: -1"),
            (
                "5 1 99999999999999999999 7 1 b 3 6",
                "the receipt's invisible time is illegal: 99999999999999999999",
            ),
            (
                "5 1 9223372036854775807 7 1 b 3 6",
                "the receipt's invisible time is illegal: 9223372036854775807",
            ),
            ("5 1 60 8 1 b 3 6", "the receipt's revive queue, of which there are 8, is illegal: 8"),
            ("5 1 60 4294967296 1 b 3 6", "the receipt's revive queue is illegal: 4294967296"),
            ("5 1 60 7 1 c 3 6", "the receipt's broker, which must be b, is illegal: c"),
        ] {
            let refused = Receipt::parse(text, "b", 8).unwrap_err();
            assert_eq!((refused.code, &*refused.remark), (response::MESSAGE_ILLEGAL, remark));
        }
    }

    /// Names of retry topics go both ways, with underscores in group and topic.
    #[test]
    fn topics() {
        assert_eq!(real_topic("a_b", "g_h", "1").unwrap(), "%RETRY%g_h_a_b");
        assert_eq!(normal_topic("%RETRY%g_h_a_b", "g_h"), "a_b");
        assert_eq!(normal_topic("%RETRY%g_h+a_b", "g_h"), "a_b");
        assert_eq!(normal_topic("a_b", "g_h"), "a_b");
        assert_eq!(normal_topic("%RETRY%g_h", "g_h"), "%RETRY%g_h");
        assert_eq!((kind("T"), kind("%RETRY%g_T"), kind("%RETRY%g+T")), ('0', '1', '2'));
        assert_eq!(real_topic("T", "g", "x"), None);
    }
}
