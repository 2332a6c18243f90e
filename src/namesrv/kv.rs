//! The key-value configuration: namespaces of texts, kept in a file.
//!
//! Admin tools write it, brokers and routes read the namespace with the order of topics. The file is Apache's
//! `kvConfig.json`, with the former one beside it as `.bak`; a change counts once the new one is on the disk. Mirrors
//! `KVConfigManager`, with two differences: what cannot be kept is refused, and where the file is missing, empty or
//! broken the former one is read at the start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::remoting::{Answer, Call, Refusal};
use crate::store::persist;
use crate::wire::code::response;
use crate::wire::command::Reply;
use crate::wire::fastjson;
use crate::wire::header::route::{
    DeleteKVConfigRequestHeader, GetKVConfigRequestHeader, GetKVListByNamespaceRequestHeader,
    PutKVConfigRequestHeader,
};

use super::register::shown;
use super::{Error, NameServer};

/// Namespace whose keys are topics and whose values are queues per broker, `broker-a:8;broker-b:8`
/// (`NamesrvUtil.NAMESPACE_ORDER_TOPIC_CONFIG`).
pub const NAMESPACE_ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Longest text of the whole configuration: a namespace must fit a frame, and each change writes all of it.
pub const KV_BYTES_MAX: usize = 8 * 1024 * 1024;

type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// The file (`KVConfigSerializeWrapper`).
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    config_table: Namespaces,
}

/// One namespace as it is answered (`KVTable`).
#[derive(Serialize)]
struct KVTable<'a> {
    table: &'a BTreeMap<String, String>,
}

/// The configuration and its file.
pub struct KvConfig {
    path: PathBuf,
    namespaces: RwLock<Namespaces>,
    /// Held while the file is replaced, so that readers need not wait for the disk.
    change: Mutex<()>,
}

impl KvConfig {
    /// Reads the configuration; it is empty when there is no file yet.
    pub fn load(path: PathBuf) -> Result<Self, Error> {
        let namespaces = persist::load::<File>(&path)?.unwrap_or_default().config_table;
        Ok(Self { path, namespaces: RwLock::new(namespaces), change: Mutex::new(()) })
    }

    /// Returns a value.
    pub fn get(&self, namespace: &str, key: &str) -> Option<String> {
        self.read(|namespaces| namespaces.get(namespace)?.get(key).cloned())
    }

    /// Returns a namespace as the body of an answer.
    pub(super) fn namespace_json(&self, namespace: &str) -> Option<String> {
        self.read(|namespaces| namespaces.get(namespace).map(|table| fastjson::to_string(&KVTable { table })))
    }

    /// Sets a value and writes the file.
    pub fn put(&self, namespace: &str, key: &str, value: &str) -> Result<(), Error> {
        self.change(|namespaces| {
            namespaces.entry(namespace.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        })
    }

    /// Removes a value, if it is there, and writes the file.
    pub fn delete(&self, namespace: &str, key: &str) -> Result<(), Error> {
        if self.get(namespace, key).is_none() {
            return Ok(());
        }
        self.change(|namespaces| {
            if let Some(table) = namespaces.get_mut(namespace) {
                table.remove(key);
            }
        })
    }

    fn read<T>(&self, operation: impl FnOnce(&Namespaces) -> T) -> T {
        operation(&self.namespaces.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Namespaces)) -> Result<(), Error> {
        let _guard = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = File { config_table: self.read(Namespaces::clone) };
        change(&mut file.config_table);
        let text = fastjson::to_string(&file);
        if text.len() > KV_BYTES_MAX {
            return Err(Error::Full);
        }
        persist::save_text(&self.path, &text)?;
        *self.namespaces.write().unwrap_or_else(PoisonError::into_inner) = file.config_table;
        Ok(())
    }
}

/// PUT_KV_CONFIG (100).
pub(super) fn put_kv_config(namesrv: &Arc<NameServer>, call: Call<PutKVConfigRequestHeader>) -> Answer {
    let header = &call.header;
    namesrv.kv.put(&header.namespace, &header.key, &header.value).map_err(refused)?;
    Ok(Reply::success())
}

/// GET_KV_CONFIG (101).
pub(super) fn get_kv_config(namesrv: &Arc<NameServer>, call: Call<GetKVConfigRequestHeader>) -> Answer {
    let GetKVConfigRequestHeader { namespace, key } = &call.header;
    match namesrv.kv.get(namespace, key) {
        Some(value) => Ok(Reply::success().field("value", value)),
        None => {
            Err(not_found(format!("No config item, Namespace: {} Key: {}", shown(namespace), shown(key))))
        }
    }
}

/// DELETE_KV_CONFIG (102).
pub(super) fn delete_kv_config(namesrv: &Arc<NameServer>, call: Call<DeleteKVConfigRequestHeader>) -> Answer {
    namesrv.kv.delete(&call.header.namespace, &call.header.key).map_err(refused)?;
    Ok(Reply::success())
}

/// GET_KVLIST_BY_NAMESPACE (219).
pub(super) fn get_kvlist_by_namespace(
    namesrv: &Arc<NameServer>,
    call: Call<GetKVListByNamespaceRequestHeader>,
) -> Answer {
    let namespace = &call.header.namespace;
    match namesrv.kv.namespace_json(namespace) {
        Some(table) => Ok(Reply::success().body(table)),
        None => Err(not_found(format!("No config item, Namespace: {}", shown(namespace)))),
    }
}

fn refused(cause: Error) -> Refusal {
    tracing::warn!("{cause}");
    Refusal::new(response::SYSTEM_ERROR, cause)
}

fn not_found(remark: String) -> Refusal {
    Refusal::new(response::QUERY_NOT_FOUND, remark)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was put is there after a restart, in Apache's text; what was deleted is not.
    #[test]
    fn survives_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("namesrv").join("kvConfig.json");
        let kv = KvConfig::load(path.clone()).unwrap();
        kv.put("ORDER_TOPIC_CONFIG", "T", "broker-a:8").unwrap();
        kv.put("n", "k", "v").unwrap();
        kv.put("n", "gone", "v").unwrap();
        kv.delete("n", "gone").unwrap();
        kv.delete("absent", "gone").unwrap();
        let text = r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"T":"broker-a:8"},"n":{"k":"v"}}}"#;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        let kv = KvConfig::load(path).unwrap();
        assert_eq!(kv.get("n", "k").as_deref(), Some("v"));
        assert_eq!(kv.get("n", "gone"), None);
        assert_eq!(kv.namespace_json("n").as_deref(), Some(r#"{"table":{"k":"v"}}"#));
        assert_eq!(kv.namespace_json("absent"), None);
    }

    /// A file that was cut short, emptied or lost costs at most the last change; without a former one the start says what
    /// to do about a broken file, and an empty one is as good as none.
    #[test]
    fn a_torn_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kvConfig.json");
        let kv = KvConfig::load(path.clone()).unwrap();
        kv.put("n", "one", "1").unwrap();
        kv.put("n", "two", "2").unwrap();
        for torn in [Some("{\"configTable\":{\"n\":"), Some(""), None] {
            match torn {
                Some(torn) => std::fs::write(&path, torn).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            let kv = KvConfig::load(path.clone()).unwrap();
            assert_eq!((kv.get("n", "one").as_deref(), kv.get("n", "two")), (Some("1"), None), "{torn:?}");
        }
        std::fs::remove_file(directory.path().join("kvConfig.json.bak")).unwrap();
        std::fs::write(&path, "").unwrap();
        assert_eq!(KvConfig::load(path.clone()).unwrap().get("n", "one"), None);
        std::fs::write(&path, "{").unwrap();
        let problem = KvConfig::load(path).err().unwrap().to_string();
        assert!(problem.contains("kvConfig.json") && problem.contains("repair one of them"), "{problem}");
    }

    /// What cannot be kept does not count: a file that cannot be written, a table that would be too long.
    #[test]
    fn refused_changes() {
        let directory = tempfile::tempdir().unwrap();
        let kv = KvConfig::load(directory.path().join("kvConfig.json")).unwrap();
        kv.put("n", "k", "v").unwrap();
        assert!(matches!(kv.put("n", "long", &"x".repeat(KV_BYTES_MAX)), Err(Error::Full)));
        std::fs::create_dir(directory.path().join("kvConfig.json.tmp")).unwrap();
        assert!(kv.put("n", "k", "w").unwrap_err().to_string().starts_with("cannot create"));
        assert_eq!((kv.get("n", "k").as_deref(), kv.get("n", "long")), (Some("v"), None));
    }
}
