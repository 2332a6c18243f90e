//! The configuration keys over the wire: reading all of them, changing those that may be changed.
//!
//! A change is checked as a whole, written to the configuration file and then in force, or it is refused and
//! nothing has changed. Mirrors `updateConfig` and `getConfig` of `DefaultRequestProcessor`, where a key that
//! is misspelt and a value that is not allowed count as success.

#![allow(clippy::unnecessary_wraps, reason = "every handler answers in one shape")]

use std::path::Path;
use std::sync::{Arc, PoisonError};

use crate::config::keys::{BrokerKeys, Effect, NamesrvKeys, Origin, did_you_mean};
use crate::config::properties;
use crate::remoting::{Answer, Call, Refusal};
use crate::store::persist;
use crate::wire::code::response;
use crate::wire::command::Reply;
use crate::wire::fields::{NoHeader, shorten};

use super::NameServer;

/// Keys that are refused whatever `configBlackList` says (`DefaultRequestProcessor.initConfigBlackList`).
const BLACK_LIST: [&str; 4] = ["configBlackList", "configStorePath", "kvConfigPath", "rocketmqHome"];

/// GET_NAMESRV_CONFIG (319).
pub(super) fn get_namesrv_config(namesrv: &Arc<NameServer>, _: Call<NoHeader>) -> Answer {
    Ok(Reply::success().body(namesrv.keys.load().to_properties_text()))
}

/// UPDATE_NAMESRV_CONFIG (318).
pub(super) fn update_namesrv_config(namesrv: &Arc<NameServer>, call: Call<NoHeader>) -> Answer {
    let _guard = namesrv.keys_change.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(change) = Change::of(&namesrv.keys.load(), &call.body, namesrv.neighbour.is_some())? else {
        return Ok(Reply::success());
    };
    let value = |name| (name, change.keys.get(name).unwrap_or_default());
    let values: Vec<_> = change.names.iter().copied().map(value).collect();
    // Other spellings there are none of.
    persist::merge_properties(Path::new(&change.keys.config_store_path), &values, |written| written)
        .map_err(refused)?;
    tracing::info!(peer = %call.peer.address(), keys = change.names.join(","), "configuration updated");
    namesrv.keys.store(Arc::new(change.keys));
    Ok(if change.notes.is_empty() {
        Reply::success()
    } else {
        Reply::success().remark(change.notes.join("; "))
    })
}

/// What a properties text makes of the keys.
#[derive(Debug, PartialEq)]
struct Change {
    keys: NamesrvKeys,
    names: Vec<&'static str>,
    /// What an administrator should be told of keys that are not in force.
    notes: Vec<String>,
}

impl Change {
    /// Checks a text; `None` when it changes nothing. A NameServer that is not alone in its process leaves the keys that a
    /// broker knows as well to that broker: in a file for both they are the broker's.
    fn of(keys: &NamesrvKeys, text: &[u8], with_broker: bool) -> Result<Option<Self>, Refusal> {
        let properties = properties::parse(text).map_err(refused)?;
        let listed =
            |key: &str| BLACK_LIST.contains(&key) || keys.config_black_list.split(';').any(|one| one == key);
        if properties.entries.iter().any(|entry| listed(&entry.key)) {
            return Err(Refusal::new(response::NO_PERMISSION, "Can not update config in black list."));
        }
        let mut change = Self { keys: keys.clone(), names: Vec::new(), notes: Vec::new() };
        for entry in properties.effective() {
            let Some(known) = NamesrvKeys::find(&entry.key) else {
                let guess = did_you_mean(&entry.key, NamesrvKeys::table().iter().map(|known| known.name));
                return Err(refused(format!("{} is not a known key{guess}", shorten(&entry.key))));
            };
            let applied = change.keys.set(&entry.key, &entry.value, Origin::Admin).map_err(refused)?;
            if !applied.changed {
                continue;
            }
            let name = known.name;
            if with_broker && BrokerKeys::find(name).is_some() {
                return Err(refused(format!(
                    "{name} is a key of the broker beside this NameServer, too: it is changed there, \
                     or given to a NameServer that is started alone"
                )));
            }
            change.names.push(name);
            match known.effect {
                Effect::None(reason) => change.notes.push(format!("{name} has no effect here: {reason}")),
                Effect::Works if !applied.live => {
                    change.notes.push(format!("counts after a restart: {name}"));
                }
                Effect::Works => {}
            }
        }
        Ok((!change.names.is_empty()).then_some(change))
    }
}

fn refused(cause: impl ToString) -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::Timings;

    fn change(text: &str) -> Result<Option<Change>, Refusal> {
        Change::of(&NamesrvKeys::default_for(Timings::Fast), text.as_bytes(), false)
    }

    /// A change is whole or not at all, and what is wrong with it is said by name.
    #[test]
    fn changes() {
        assert!(change("orderMessageEnable=true\n").unwrap().unwrap().keys.order_message_enable);
        assert_eq!(change("").unwrap(), None);
        for black in ["configStorePath=/tmp/x", "rocketmqHome=/", "orderMessageEnable=true\nkvConfigPath=x"] {
            let refusal = change(black).unwrap_err();
            assert_eq!((refusal.code, &*refusal.remark), (16, "Can not update config in black list."));
        }
        for (text, problem) in [
            (
                "orderMesageEnable=true",
                "orderMesageEnable is not a known key; did you mean orderMessageEnable?",
            ),
            ("waitSecondsForService=soon", "waitSecondsForService=soon is not valid"),
            ("orderMessageEnable=\\u12", "hexadecimal"),
        ] {
            let refusal = change(text).unwrap_err();
            assert_eq!(refusal.code, 1);
            assert!(refusal.remark.contains(problem), "{}", refusal.remark);
        }
    }

    /// What is not in force is said; what the broker in the same process would take for its own is refused.
    #[test]
    fn what_is_said_of_a_change() {
        let notes =
            change("serverSocketBacklog=5\nclusterTest=true\nenableTopicList=false").unwrap().unwrap().notes;
        assert_eq!(
            notes,
            [
                "counts after a restart: serverSocketBacklog",
                "clusterTest has no effect here: nothing reads this label"
            ]
        );
        let keys = NamesrvKeys::default_for(Timings::Fast);
        let refusal = Change::of(&keys, b"enableTopicList=false\nserverSocketBacklog=5", true).unwrap_err();
        assert!(refusal.remark.contains("serverSocketBacklog is a key of the broker"), "{}", refusal.remark);
        assert!(
            Change::of(&keys, b"enableTopicList=false\nserverSocketBacklog=1024", true).unwrap().is_some()
        );
    }
}
