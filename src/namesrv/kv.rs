//! The key-value configuration: namespaces of texts, kept in a file.
//!
//! Admin tools write it, brokers and routes read the namespace with the order of topics. The file is Apache's
//! `kvConfig.json`, with the former one beside it as `.bak`; a change counts once the file is replaced. Mirrors
//! `KVConfigManager`, with two differences: what cannot be kept is refused, and a file that was cut short is
//! replaced by the former one at the start.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::remoting::{Answer, Call, Refusal};
use crate::wire::code::response;
use crate::wire::command::Reply;
use crate::wire::fastjson;
use crate::wire::header::route::{
    DeleteKVConfigRequestHeader, GetKVConfigRequestHeader, GetKVListByNamespaceRequestHeader,
    PutKVConfigRequestHeader,
};

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
        let namespaces = match read(&path) {
            Ok(found) => found.unwrap_or_default(),
            Err(Error::Malformed { path, problem }) => match read(&backup(&path)) {
                Ok(Some(former)) => {
                    tracing::warn!(path = %path.display(), problem, "read the former key-value configuration instead");
                    former
                }
                _ => return Err(Error::Malformed { path, problem }),
            },
            Err(cause) => return Err(cause),
        };
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
        replace_file(&self.path, &text)?;
        *self.namespaces.write().unwrap_or_else(PoisonError::into_inner) = file.config_table;
        Ok(())
    }
}

fn read(path: &Path) -> Result<Option<Namespaces>, Error> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(Error::File { action: "read", path: path.to_owned(), cause }),
    };
    match fastjson::from_slice::<File>(&text) {
        Ok(file) => Ok(Some(file.config_table)),
        Err(problem) => Err(Error::Malformed { path: path.to_owned(), problem: problem.to_string() }),
    }
}

fn backup(path: &Path) -> PathBuf {
    with_suffix(path, ".bak")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Replaces a file as a whole, keeps the former one as `.bak` and makes the directory if need be.
pub(super) fn replace_file(path: &Path, text: &str) -> Result<(), Error> {
    let write = || {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        match std::fs::copy(path, backup(path)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            _ => {}
        }
        let new = with_suffix(path, ".tmp");
        std::fs::write(&new, text)?;
        std::fs::rename(&new, path)
    };
    write().map_err(|cause| Error::File { action: "write", path: path.to_owned(), cause })
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
        None => Err(not_found(format!("No config item, Namespace: {namespace} Key: {key}"))),
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
        None => Err(not_found(format!("No config item, Namespace: {namespace}"))),
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

    /// A file that was cut short costs at most the last change; without a former one the start says what to do.
    #[test]
    fn a_torn_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kvConfig.json");
        let kv = KvConfig::load(path.clone()).unwrap();
        kv.put("n", "one", "1").unwrap();
        kv.put("n", "two", "2").unwrap();
        std::fs::write(&path, "{\"configTable\":{\"n\":").unwrap();
        let kv = KvConfig::load(path.clone()).unwrap();
        assert_eq!((kv.get("n", "one").as_deref(), kv.get("n", "two")), (Some("1"), None));
        std::fs::remove_file(backup(&path)).unwrap();
        let problem = KvConfig::load(path).err().unwrap().to_string();
        assert!(problem.contains("kvConfig.json") && problem.contains("mend it or remove it"), "{problem}");
    }

    /// What cannot be kept does not count: a file that cannot be written, a table that would be too long.
    #[test]
    fn refused_changes() {
        let directory = tempfile::tempdir().unwrap();
        let kv = KvConfig::load(directory.path().join("kvConfig.json")).unwrap();
        kv.put("n", "k", "v").unwrap();
        assert!(matches!(kv.put("n", "long", &"x".repeat(KV_BYTES_MAX)), Err(Error::Full)));
        std::fs::create_dir(directory.path().join("kvConfig.json.tmp")).unwrap();
        assert!(kv.put("n", "k", "w").unwrap_err().to_string().starts_with("cannot write"));
        assert_eq!((kv.get("n", "k").as_deref(), kv.get("n", "long")), (Some("v"), None));
    }
}
