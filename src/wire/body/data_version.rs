//! `DataVersion`: which state of a table somebody has seen.
//!
//! Mirrors `remoting.protocol.DataVersion`. Two versions are the same if all three fields are; which one is newer
//! is nobody's question on the wire.

use serde::{Deserialize, Serialize};

/// Version of a table (topics, groups, offsets).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVersion {
    /// Number of changes.
    pub counter: i64,
    /// Epoch of the master in controller mode; else 0.
    pub state_version: i64,
    /// Time of the last change in milliseconds.
    pub timestamp: i64,
}

impl DataVersion {
    /// Returns the version after one more change, made at `now_ms`.
    #[must_use]
    pub fn next(self, now_ms: i64) -> Self {
        Self { counter: self.counter.wrapping_add(1), timestamp: now_ms, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::fastjson;

    /// Every change makes a different version, and the text is Apache's.
    #[test]
    fn changes() {
        let first = DataVersion::default().next(5);
        assert_eq!(fastjson::to_string(&first), r#"{"counter":1,"stateVersion":0,"timestamp":5}"#);
        assert_ne!(first, first.next(5));
        assert_eq!(fastjson::from_slice::<DataVersion>(br#"{"counter":1,"timestamp":5}"#).unwrap(), first);
    }
}
