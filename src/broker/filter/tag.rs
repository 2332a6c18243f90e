//! Tag expressions: `*`, or tags between `||`, compared by hash.
//!
//! The consume queue holds only the hash of a tag; two tags may share one, so the client compares the text
//! again. Mirrors `FilterAPI.buildSubscriptionData` and `DefaultMessageFilter`.

use smallvec::SmallVec;

use crate::wire::message::tags_code;

/// Tags that one expression is filtered by; one with more is sent everything, and the client filters alone. A held pull
/// stands under each of its tags.
const TAGS_MAX: usize = 1000;

/// A compiled tag expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagFilter {
    /// Every message, tagged or not.
    All,
    /// Messages whose tag has one of these hashes, which are in order and each there once.
    AnyOf(SmallVec<[i64; 4]>),
}

impl TagFilter {
    /// Compiles an expression; empty text, `*` and more than a thousand different tags mean every message.
    pub fn parse(expression: &str) -> Self {
        if expression.trim().is_empty() || expression.trim() == "*" {
            return Self::All;
        }
        let tags = expression.split("||").map(str::trim).filter(|tag| !tag.is_empty());
        let mut codes: SmallVec<[i64; 4]> = tags.map(tags_code).collect();
        codes.sort_unstable();
        codes.dedup();
        codes.shrink_to_fit();
        if codes.len() > TAGS_MAX { Self::All } else { Self::AnyOf(codes) }
    }

    /// Says whether a message with this tag code may be wanted.
    #[inline]
    pub fn matches(&self, code: i64) -> bool {
        match self {
            Self::All => true,
            Self::AnyOf(codes) => codes.binary_search(&code).is_ok(),
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

    /// A tag named again and again counts once; more different tags than one filter may have mean every message.
    #[test]
    fn many_tags() {
        assert_eq!(TagFilter::parse(&"b||a||".repeat(100_000)), TagFilter::parse("a||b"));
        let tags = |count: usize| (0..count).map(|at| at.to_string()).collect::<Vec<_>>().join("||");
        let most = TagFilter::parse(&tags(TAGS_MAX));
        assert!((0..TAGS_MAX).all(|at| most.matches(tags_code(&at.to_string()))));
        assert!(!most.matches(tags_code("x")));
        assert_eq!(TagFilter::parse(&tags(TAGS_MAX + 1)), TagFilter::All);
    }
}
