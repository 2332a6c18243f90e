//! Tag expressions: `*`, or tags between `||`, compared by hash.
//!
//! The consume queue holds only the hash of a tag; two tags may share one, so the client compares the text
//! again. Mirrors `FilterAPI.buildSubscriptionData` and `DefaultMessageFilter`.

use smallvec::SmallVec;

use crate::wire::message::tags_code;

/// A compiled tag expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagFilter {
    /// Every message, tagged or not.
    All,
    /// Messages whose tag has one of these hashes.
    AnyOf(SmallVec<[i64; 4]>),
}

impl TagFilter {
    /// Compiles an expression; empty text and `*` mean every message.
    pub fn parse(expression: &str) -> Self {
        if expression.trim().is_empty() || expression.trim() == "*" {
            return Self::All;
        }
        let tags = expression.split("||").map(str::trim).filter(|tag| !tag.is_empty());
        Self::AnyOf(tags.map(tags_code).collect())
    }

    /// Says whether a message with this tag code may be wanted.
    #[inline]
    pub fn matches(&self, code: i64) -> bool {
        match self {
            Self::All => true,
            Self::AnyOf(codes) => codes.contains(&code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blanks around tags do not count, an empty tag is none, and no tag at all matches only `*`.
    #[test]
    fn expressions() {
        let filter = TagFilter::parse(" TagA ||TagB|| ");
        assert!(filter.matches(0x0027_A807) && filter.matches(tags_code("TagB")));
        assert!(!filter.matches(0) && !filter.matches(tags_code("TagC")));
        for all in ["", "*", " * "] {
            assert_eq!(TagFilter::parse(all), TagFilter::All);
        }
        assert!(!TagFilter::parse("||").matches(0));
    }
}
