//! Tables of texts.
//!
//! Mirrors `KVTable` and the NameServer's `KVConfigSerializeWrapper`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Answer to GET_KVLIST_BY_NAMESPACE (219), GET_BROKER_RUNTIME_INFO (28) and REGISTER_BROKER (103).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KVTable {
    /// Key to value.
    pub table: BTreeMap<String, String>,
}

/// The file `kvConfig.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KVConfigSerializeWrapper {
    /// Namespace to key to value.
    pub config_table: BTreeMap<String, BTreeMap<String, String>>,
}
