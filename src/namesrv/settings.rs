//! The configuration keys over the wire: reading all of them, changing those that may be changed.
//!
//! A change is checked as a whole, written to the configuration file and then in force, or it is refused and
//! nothing has changed. Mirrors `updateConfig` and `getConfig` of `DefaultRequestProcessor`, where a key that
//! is misspelt and a value that is not allowed count as success.

#![allow(clippy::unnecessary_wraps, reason = "every handler answers in one shape")]

use std::path::Path;
use std::sync::{Arc, PoisonError};

use crate::config::keys::{NamesrvKeys, Origin, nearest};
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
    let keys = changed(&namesrv.keys.load(), &call.body)?;
    if let Some(keys) = keys {
        persist::save_text(Path::new(&keys.config_store_path), &keys.explicit_properties_text())
            .map_err(refused)?;
        tracing::info!(peer = %call.peer.address(), "configuration updated");
        namesrv.keys.store(Arc::new(keys));
    }
    Ok(Reply::success())
}

/// Returns the keys after the changes of a properties text; `None` when there are none.
fn changed(keys: &NamesrvKeys, text: &[u8]) -> Result<Option<NamesrvKeys>, Refusal> {
    let properties = properties::parse(text).map_err(refused)?;
    let listed =
        |key: &str| BLACK_LIST.contains(&key) || keys.config_black_list.split(';').any(|one| one == key);
    if properties.entries.iter().any(|entry| listed(&entry.key)) {
        return Err(Refusal::new(response::NO_PERMISSION, "Can not update config in black list."));
    }
    let mut new = keys.clone();
    for entry in properties.effective() {
        if NamesrvKeys::find(&entry.key).is_none() {
            let near = nearest(&entry.key, NamesrvKeys::table().iter().map(|known| known.name));
            let guess = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            return Err(refused(format!("{} is not a known key{guess}", shorten(&entry.key))));
        }
        let applied = new.set(&entry.key, &entry.value, Origin::Admin).map_err(refused)?;
        if let Some(note) = applied.note {
            tracing::warn!("{note}");
        } else if applied.changed && !applied.live {
            tracing::warn!(key = entry.key, "the new value counts after a restart");
        }
    }
    Ok((new != *keys).then_some(new))
}

fn refused(cause: impl ToString) -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::Timings;

    fn change(text: &str) -> Result<Option<NamesrvKeys>, Refusal> {
        changed(&NamesrvKeys::default_for(Timings::Fast), text.as_bytes())
    }

    /// A change is whole or not at all, and what is wrong with it is said by name.
    #[test]
    fn changes() {
        assert!(change("orderMessageEnable=true\n").unwrap().unwrap().order_message_enable);
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
}
