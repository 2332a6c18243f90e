//! The configuration keys over the wire: reading all of them, changing some.
//!
//! Flows in: GET_BROKER_CONFIG (26), UPDATE_BROKER_CONFIG (25). A change is checked as a whole, written to the
//! configuration file and then in force, or it is refused and nothing has changed. A key that counts only after a
//! restart is written and shown, while the running broker keeps its value. Mirrors these parts of
//! `AdminBrokerProcessor` and `Configuration`, where a key that is misspelt and a value that is not allowed count
//! as success.

#![allow(clippy::unnecessary_wraps, reason = "every handler answers in one shape")]

use std::sync::{Arc, MutexGuard, PoisonError};

use super::upkeep::blocking;
use super::{Broker, persist};
use crate::config::keys::{BrokerKeys, Origin, nearest};
use crate::config::properties;
use crate::remoting::{Answer, Call, Outcome, Refusal};
use crate::wire::body::data_version::DataVersion;
use crate::wire::code::response;
use crate::wire::command::Reply;
use crate::wire::fastjson;
use crate::wire::fields::{NoHeader, shorten};

/// What administrators have set, in force or not.
pub(crate) struct Configured {
    version: DataVersion,
    keys: BrokerKeys,
}

impl Configured {
    /// Begins with the keys that the broker was started with.
    pub(crate) fn new(keys: BrokerKeys, now_ms: i64) -> Self {
        Self { version: DataVersion { timestamp: now_ms, ..DataVersion::default() }, keys }
    }
}

/// GET_BROKER_CONFIG (26).
pub(super) fn get_broker_config(broker: &Arc<Broker>, _: Call<NoHeader>) -> Answer {
    let configured = broker.configured();
    let version = fastjson::to_string(&configured.version);
    Ok(Reply::success().field("version", version).body(configured.keys.to_properties_text()))
}

/// UPDATE_BROKER_CONFIG (25): takes a properties text.
pub(super) fn update_broker_config(broker: &Arc<Broker>, call: Call<NoHeader>) -> Outcome {
    let broker = broker.clone();
    blocking(move || {
        let mut configured = broker.configured();
        let Some(change) = Change::of(&configured.keys, &broker.keys(), &call.body)? else {
            return Ok(Reply::success());
        };
        persist::save_text(&broker.config_file, &change.configured.explicit_properties_text())
            .map_err(failed)?;
        tracing::info!(peer = %call.peer.address(), keys = change.names.join(","), "configuration updated");
        configured.version = configured.version.next(broker.clock.now_ms());
        configured.keys = change.configured;
        broker.set_keys(change.running);
        Ok(if change.later.is_empty() {
            Reply::success()
        } else {
            Reply::success().remark(format!("counts after a restart: {}", change.later.join(", ")))
        })
    })
}

impl Broker {
    fn configured(&self) -> MutexGuard<'_, Configured> {
        self.configured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a properties text makes of the keys.
#[derive(Debug)]
struct Change {
    configured: BrokerKeys,
    running: BrokerKeys,
    names: Vec<&'static str>,
    /// Names of the keys that count only after a restart.
    later: Vec<&'static str>,
}

impl Change {
    /// Checks a text; `None` when it changes nothing.
    fn of(configured: &BrokerKeys, running: &BrokerKeys, text: &[u8]) -> Result<Option<Self>, Refusal> {
        let properties = properties::parse(text).map_err(failed)?;
        if properties.entries.iter().any(|entry| configured.is_black_listed(&entry.key)) {
            return Err(Refusal::new(response::NO_PERMISSION, "Can not update config in black list."));
        }
        let mut change = Self {
            configured: configured.clone(),
            running: running.clone(),
            names: Vec::new(),
            later: Vec::new(),
        };
        for entry in properties.effective() {
            let Some(known) = BrokerKeys::find(&entry.key) else {
                let near = nearest(&entry.key, BrokerKeys::table().iter().map(|known| known.name));
                let guess = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                return Err(failed(format!("{} is not a known key{guess}", shorten(&entry.key))));
            };
            let applied = change.configured.set(&entry.key, &entry.value, Origin::Admin).map_err(failed)?;
            if let Some(note) = applied.note {
                tracing::warn!("{note}");
            }
            if !applied.changed {
                continue;
            }
            change.names.push(known.name);
            // A changed port is only what clients are told, as on the reference: the socket stays.
            if applied.live || known.name == "listenPort" {
                change.running.set(&entry.key, &entry.value, Origin::Admin).map_err(failed)?;
            } else {
                change.later.push(known.name);
            }
        }
        Ok((!change.names.is_empty()).then_some(change))
    }
}

fn failed(cause: impl ToString) -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, cause)
}

#[cfg(test)]
mod tests {
    use crate::broker::kit::{Kit, refusal, text};
    use crate::wire::code::{request, response};

    /// Every key is shown; a live change is in force, written and shown, another is written and shown only.
    #[tokio::test]
    async fn changes() {
        let kit = Kit::start(&[]).await;
        let mut client = kit.client().await;
        let before = client.call(request::GET_BROKER_CONFIG, &[], "").await;
        assert!(
            text(&before).contains("\nbrokerName=b\n")
                && text(&before).contains("\nautoCreateTopicEnable=true\n")
        );
        assert!(
            before
                .fields
                .get("version")
                .unwrap()
                .starts_with(r#"{"counter":0,"stateVersion":0,"timestamp":17"#)
        );
        let body = "autoCreateTopicEnable=false\nbrokerName=other\n";
        let updated = client.call(request::UPDATE_BROKER_CONFIG, &[], body).await;
        assert_eq!(refusal(&updated), (0, "counts after a restart: brokerName"));
        assert_eq!(kit.broker.name(), "b");
        assert_eq!(kit.broker.topics.create_in_send("TBW102", "T", 1), None);
        let after = client.call(request::GET_BROKER_CONFIG, &[], "").await;
        assert!(
            text(&after).contains("\nbrokerName=other\n")
                && text(&after).contains("\nautoCreateTopicEnable=false\n")
        );
        assert!(after.fields.get("version").unwrap().starts_with(r#"{"counter":1,"#));
        let file = std::fs::read_to_string(&kit.config_file).unwrap();
        assert!(
            file.contains("autoCreateTopicEnable=false\n") && file.contains("brokerName=other\n"),
            "{file}"
        );
        assert!(!file.contains("regionId"), "only what somebody set");
    }

    /// The registered address and permission follow at once, with a table version that NameServers do not know yet.
    #[tokio::test]
    async fn what_is_registered() {
        let kit = Kit::start(&[]).await;
        let mut client = kit.client().await;
        let version = kit.broker.topics.data_version();
        let body = "brokerIP1=10.9.8.7\nlistenPort=4711\nbrokerPermission=4\n";
        assert_eq!(client.call(request::UPDATE_BROKER_CONFIG, &[], body).await.code, 0);
        assert_eq!(kit.broker.address().registered(), "10.9.8.7:4711");
        assert_ne!(kit.broker.topics.data_version(), version);
        assert_eq!(client.call(request::GET_BROKER_CONFIG, &[], "").await.code, 0, "the socket stays");
    }

    /// A bad line changes nothing, whatever good lines are beside it, and is named.
    #[tokio::test]
    async fn refused_changes() {
        let kit = Kit::start(&[]).await;
        let mut client = kit.client().await;
        let before = client.call(request::GET_BROKER_CONFIG, &[], "").await;
        let black = "Can not update config in black list.";
        for (body, code, remark) in [
            ("brokerConfigPath=/etc/passwd", response::NO_PERMISSION, black),
            ("autoCreateTopicEnable=false\nconfigBlackList=", response::NO_PERMISSION, black),
            (
                "autoCreateTopicEnable=false\nautoCreateTopicEnabel=true",
                response::SYSTEM_ERROR,
                "autoCreateTopicEnabel is not a known key; did you mean autoCreateTopicEnable?",
            ),
        ] {
            let answer = client.call(request::UPDATE_BROKER_CONFIG, &[], body).await;
            assert_eq!(refusal(&answer), (code, remark));
        }
        for body in ["maxMessageSize=huge", "fileReservedTime=\\u12", "flushDiskType=NEVER"] {
            assert_eq!(
                client.call(request::UPDATE_BROKER_CONFIG, &[], body).await.code,
                response::SYSTEM_ERROR
            );
        }
        for body in ["", "# nothing\n", "autoCreateTopicEnable=true\n"] {
            assert_eq!(client.call(request::UPDATE_BROKER_CONFIG, &[], body).await.code, 0);
        }
        let after = client.call(request::GET_BROKER_CONFIG, &[], "").await;
        assert_eq!(
            (text(&after), after.fields.get("version")),
            (text(&before), before.fields.get("version"))
        );
        assert!(!kit.config_file.exists());
    }
}
