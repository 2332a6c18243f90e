//! Which messages a consumer wants, decided on the broker.
//!
//! A subscription's expression comes in as text and kind, is compiled once and then asked about one message after the
//! other: first with the tag code of its queue entry, then, for SQL92, with its record. Mirrors `FilterAPI`,
//! `FilterFactory` and `ExpressionMessageFilter`. The subscriptions by SQL92 that are worth a file are in [`data`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use self::sql::{SqlError, SqlExpression};
use self::tag::TagFilter;
use crate::wire::message::MessageRecord;

pub mod data;
pub mod sql;
pub mod tag;

/// Compiled expressions that are kept for requests that bring their own.
const CACHED_MAX: usize = 100;

/// A compiled subscription.
#[derive(Debug)]
pub enum Filter {
    /// By the hash of the tag.
    Tag(TagFilter),
    /// By an SQL92 expression over the properties.
    Sql(SqlExpression),
}

/// Why a subscription cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The text is no expression of its kind.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// No kind of expression has this name.
    #[error("{0} is neither TAG nor SQL92")]
    Kind(String),
}

/// Says whether an `expressionType` means tags.
pub fn is_tag(kind: &str) -> bool {
    matches!(kind, "" | "TAG")
}

impl Filter {
    /// A filter that lets everything through.
    pub const ALL: Self = Self::Tag(TagFilter::All);

    /// Compiles an expression; `kind` is `TAG`, `SQL92`, or empty for `TAG`.
    pub fn compile(kind: &str, expression: &str) -> Result<Self, FilterError> {
        match kind {
            _ if is_tag(kind) => Ok(Self::Tag(TagFilter::parse(expression))),
            "SQL92" => Ok(Self::Sql(SqlExpression::compile(expression)?)),
            _ => Err(FilterError::Kind(kind.chars().take(64).collect())),
        }
    }

    /// Says whether a message with this tag code may be wanted.
    #[inline]
    pub fn matches_code(&self, tags_code: i64) -> bool {
        match self {
            Self::Tag(filter) => filter.matches(tags_code),
            Self::Sql(_) => true,
        }
    }

    /// Returns the tag codes that alone can match; `None` when any may.
    pub fn codes(&self) -> Option<&[i64]> {
        match self {
            Self::Tag(TagFilter::AnyOf(codes)) => Some(codes),
            Self::Tag(TagFilter::All) | Self::Sql(_) => None,
        }
    }

    /// Says whether the record itself has to be looked at.
    #[inline]
    pub fn needs_record(&self) -> bool {
        matches!(self, Self::Sql(_))
    }

    /// Says whether the message of this record, whose tag code matches, is wanted.
    pub fn matches_record(&self, record: &[u8]) -> bool {
        match self {
            Self::Tag(_) => true,
            Self::Sql(expression) => {
                MessageRecord::decode(record).is_ok_and(|record| expression.matches(record.properties))
            }
        }
    }
}

/// Compiled SQL92 expressions by their text, so that a request that brings its own costs no compilation.
#[derive(Default)]
pub struct FilterCache {
    known: Mutex<HashMap<Box<str>, Arc<Filter>>>,
}

impl FilterCache {
    /// Compiles an expression, or finds it compiled.
    pub fn compile(&self, kind: &str, expression: &str) -> Result<Arc<Filter>, FilterError> {
        if is_tag(kind) {
            return Ok(Arc::new(Filter::compile(kind, expression)?));
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if kind == "SQL92"
            && let Some(filter) = known.get(expression)
        {
            return Ok(filter.clone());
        }
        drop(known);
        let filter = Arc::new(Filter::compile(kind, expression)?);
        known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CACHED_MAX {
            known.clear();
        }
        known.insert(expression.into(), filter.clone());
        Ok(filter)
    }
}
