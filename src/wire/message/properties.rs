//! The properties string of a message: `name \u{1} value \u{2}`, one after the other, read in place and built piece by piece.
//!
//! Mirrors `MessageDecoder.string2messageProperties` and `messageProperties2String`. A property without a name or without
//! a value is none; of several with one name a reader takes the last.

/// Separates a property's name from its value.
pub const NAME_VALUE_SEPARATOR: char = '\u{1}';
/// Ends a property.
pub const PROPERTY_SEPARATOR: char = '\u{2}';

/// Names of the properties that the store itself reads.
pub mod property_name {
    /// Index keys, separated by single spaces.
    pub const KEYS: &str = "KEYS";
    /// The message's tag.
    pub const TAGS: &str = "TAGS";
    /// The client's message id; indexed too.
    pub const UNIQ_KEY: &str = "UNIQ_KEY";
    /// Delay level, from one.
    pub const DELAY: &str = "DELAY";
    /// Deliver after this many seconds.
    pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
    /// Deliver after this many milliseconds.
    pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
    /// Deliver at this time, milliseconds since 1970.
    pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
    /// On a timer message: the time before which it must not be delivered, milliseconds since 1970.
    pub const TIMER_OUT_MS: &str = "TIMER_OUT_MS";
    /// On a timer message: it is not delivered but cancels the one of this topic and key, `topic+UNIQ_KEY`.
    pub const TIMER_DEL_UNIQKEY: &str = "TIMER_DEL_UNIQKEY";
    /// How often Apache has put a far timer message again.
    pub const TIMER_ROLL_TIMES: &str = "TIMER_ROLL_TIMES";
    /// `true` for a message whose transaction is not decided yet.
    pub const TRAN_MSG: &str = "TRAN_MSG";
    /// The producer's group, on half messages.
    pub const PGROUP: &str = "PGROUP";
    /// The topic a message is meant for while it waits under another one.
    pub const REAL_TOPIC: &str = "REAL_TOPIC";
    /// The queue it is meant for.
    pub const REAL_QID: &str = "REAL_QID";
    /// On a message to be retried: the topic it first came under.
    pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
    /// On a message to be retried: the offset message id it first had.
    pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
    /// Receipt of a popped message.
    pub const POP_CK: &str = "POP_CK";
    /// When a message that was popped several times was popped first, milliseconds.
    pub const FIRST_POP_TIME: &str = "1ST_POP_TIME";
    /// `false` when the sender does not wait for disk or slave.
    pub const WAIT: &str = "WAIT";
}

/// Returns name and value of every property in order; pieces without a name, a separator or a value are
/// left out, as `MessageDecoder.string2messageProperties` does.
pub fn properties(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(PROPERTY_SEPARATOR)
        .filter_map(|piece| piece.split_once(NAME_VALUE_SEPARATOR))
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
}

/// Returns the value of a property; of several with one name the last.
pub fn property<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    property_bytes(text.as_bytes(), name).and_then(|value| std::str::from_utf8(value).ok())
}

pub(super) fn property_bytes<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut found = None;
    for_each_property(text, |candidate, value| {
        if candidate == name.as_bytes() {
            found = Some(value);
        }
    });
    found
}

/// Calls `visit` with name and value of every property in order, in one pass over the bytes: eight at a time,
/// since a message has a dozen separators and each call of a search routine costs more than the bytes between.
#[inline]
pub(crate) fn for_each_property<'a>(text: &'a [u8], mut visit: impl FnMut(&'a [u8], &'a [u8])) {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let mut start = 0;
    let mut name_end = None;
    let mut separator = |at: usize| match text[at] {
        1 if name_end.is_none() => name_end = Some(at),
        2 => {
            if let Some(name_end) = name_end.take()
                && name_end > start
                && name_end + 1 < at
            {
                visit(&text[start..name_end], &text[name_end + 1..at]);
            }
            start = at + 1;
        }
        _ => {}
    };
    let (words, rest) = text.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // The top bit of each byte below 3; a borrow may mark a byte behind a true one, which does no harm.
        let mut below_3 = word.wrapping_sub(ONES * 3) & !word & (ONES * 0x80);
        while below_3 != 0 {
            separator(number * 8 + below_3.trailing_zeros() as usize / 8);
            below_3 &= below_3 - 1;
        }
    }
    for at in text.len() - rest.len()..text.len() {
        separator(at);
    }
    if let Some(name_end) = name_end
        && name_end > start
        && name_end + 1 < text.len()
    {
        visit(&text[start..name_end], &text[name_end + 1..]);
    }
}

/// Appends one property to a properties string, ending a former one that lacks its separator.
pub fn append_property(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() && !text.ends_with(PROPERTY_SEPARATOR) {
        text.push(PROPERTY_SEPARATOR);
    }
    text.push_str(name);
    text.push(NAME_VALUE_SEPARATOR);
    text.push_str(value);
    text.push(PROPERTY_SEPARATOR);
}

/// Returns the properties string without any property of this name.
pub fn remove_property(text: &str, name: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for (candidate, value) in properties(text) {
        if candidate != name {
            append_property(&mut kept, candidate, value);
        }
    }
    kept
}
