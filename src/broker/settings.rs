//! The configuration keys over the wire: reading all of them, changing some.
//!
//! Flows in: GET_BROKER_CONFIG (26), UPDATE_BROKER_CONFIG (25). A change is checked as a whole, written to the
//! configuration file and then in force, or it is refused and nothing has changed. A key that counts only after a
//! restart is written and shown, while the running broker keeps its value; one that never has an effect is told so. In
//! the file only the changed keys are set: the rest may be a person's, or a NameServer's. Mirrors these parts of
//! `AdminBrokerProcessor` and `Configuration`, where a key that is misspelt and a value that is not allowed count
//! as success.

#![allow(clippy::unnecessary_wraps, reason = "every handler answers in one shape")]

use std::sync::{Arc, MutexGuard, PoisonError};

use super::upkeep::blocking;
use super::{Broker, persist};
use crate::config::keys::{BrokerKeys, Effect, Origin, did_you_mean};
use crate::config::properties;
use crate::remoting::{Answer, Call, Outcome, Refusal};
use crate::wire::body::data_version::DataVersion;
use crate::wire::code::response;
use crate::wire::command::Reply;
use crate::wire::fastjson;
use crate::wire::fields::{FieldList, NoHeader, shorten};

/// The keys in force, with what is made of them for each message.
#[derive(Debug)]
pub(crate) struct InForce {
    keys: BrokerKeys,
    /// Properties that every stored message gets: region, trace switch, cluster.
    pub(super) own_properties: String,
    /// Fields that the answer to every send begins with: region and trace switch.
    pub(super) answer_fields: FieldList,
}

impl InForce {
    pub(super) fn new(keys: BrokerKeys) -> Self {
        Self {
            own_properties: format!(
                "MSG_REGION\u{1}{}\u{2}TRACE_ON\u{1}{}\u{2}CLUSTER\u{1}{}\u{2}",
                keys.region_id, keys.trace_on, keys.broker_cluster_name
            ),
            answer_fields: Reply::success()
                .field("MSG_REGION", &*keys.region_id)
                .field("TRACE_ON", keys.trace_on)
                .fields,
            keys,
        }
    }
}

impl std::ops::Deref for InForce {
    type Target = BrokerKeys;

    fn deref(&self) -> &BrokerKeys {
        &self.keys
    }
}

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
        let value = |name| (name, change.configured.get(name).unwrap_or_default());
        let values: Vec<_> = change.names.iter().copied().map(value).collect();
        persist::merge_properties(&broker.config_file, &values, meant).map_err(failed)?;
        tracing::info!(peer = %call.peer.address(), keys = change.names.join(","), "configuration updated");
        let remark = change.remark();
        configured.version = configured.version.next(broker.clock.now_ms());
        configured.keys = change.configured;
        broker.set_keys(change.running);
        Ok(if remark.is_empty() { Reply::success() } else { Reply::success().remark(remark) })
    })
}

impl Broker {
    /// Returns what administrators have set, which counts at the next start.
    pub(crate) fn configured_keys(&self) -> BrokerKeys {
        self.configured().keys.clone()
    }

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
    /// Lines on the keys that have no effect at all.
    idle: Vec<String>,
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
            idle: Vec::new(),
        };
        for entry in properties.effective() {
            let Some(known) = BrokerKeys::find(&entry.key) else {
                let guess = did_you_mean(&entry.key, BrokerKeys::table().iter().map(|known| known.name));
                return Err(failed(format!("{} is not a known key{guess}", shorten(&entry.key))));
            };
            let applied = change.configured.set(&entry.key, &entry.value, Origin::Admin).map_err(failed)?;
            if let Some(note) = applied.note {
                tracing::warn!("{note}");
            }
            if !applied.changed {
                continue;
            }
            if !change.names.contains(&known.name) {
                change.names.push(known.name);
            }
            if let Effect::None(reason) = known.effect {
                change.idle.push(format!("{} has no effect here: {reason}", known.name));
            }
            // A changed port is only what clients are told, as on the reference: the socket stays.
            if applied.live || known.name == "listenPort" {
                change.running.set(&entry.key, &entry.value, Origin::Admin).map_err(failed)?;
            } else if known.effect == Effect::Works {
                change.later.push(known.name);
            }
        }
        Ok((!change.names.is_empty()).then_some(change))
    }

    /// Returns what an administrator should be told of keys that are not in force; empty when all are.
    fn remark(&self) -> String {
        let later = match self.later.as_slice() {
            [] => None,
            names => Some(format!("counts after a restart: {}", names.join(", "))),
        };
        let lines: Vec<_> = later.into_iter().chain(self.idle.iter().cloned()).collect();
        lines.join("; ")
    }
}

/// Returns the table's name of a key that may be spelt in another way.
fn meant(written: &str) -> &str {
    BrokerKeys::find(written).map_or(written, |known| known.name)
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

    /// In a person's file only the changed keys change: comments, a NameServer's keys and what flags said stay as they are.
    #[tokio::test]
    async fn the_file_of_a_person() {
        let kit = Kit::start(&[("fileReservedTime", "5")]).await;
        let mut client = kit.client().await;
        let own = "# \u{5c5e}\norderMessageEnable=true\nhaSlaveFallbehindMax=1\nbrokerName=b\n";
        std::fs::write(&kit.config_file, own).unwrap();
        let body = "haMaxGapNotInSync=2\ntraceOn=false\nfileReservedTime=5\n";
        assert_eq!(client.call(request::UPDATE_BROKER_CONFIG, &[], body).await.code, 0);
        let merged =
            "# \u{5c5e}\norderMessageEnable=true\nhaMaxGapNotInSync=2\nbrokerName=b\ntraceOn=false\n";
        assert_eq!(std::fs::read_to_string(&kit.config_file).unwrap(), merged);
        let backup = kit.config_file.with_file_name("broker.conf.bak");
        assert_eq!(std::fs::read_to_string(backup).unwrap(), own);
        std::fs::write(&kit.config_file, "brokerName\\u=1\n").unwrap();
        let refused = client.call(request::UPDATE_BROKER_CONFIG, &[], "traceOn=true").await;
        assert_eq!(refused.code, response::SYSTEM_ERROR);
        assert!(refusal(&refused).1.contains("broker.conf: line 1"), "{}", refusal(&refused).1);
        assert!(!kit.broker.keys().trace_on, "what cannot be written does not count");
    }

    /// A key that never has an effect is not promised for the next start.
    #[tokio::test]
    async fn keys_without_effect() {
        let kit = Kit::start(&[]).await;
        let mut client = kit.client().await;
        let body = "aclEnable=true\nbrokerName=other\n";
        let updated = client.call(request::UPDATE_BROKER_CONFIG, &[], body).await;
        let (code, remark) = refusal(&updated);
        assert_eq!(code, 0);
        assert!(
            remark.starts_with("counts after a restart: brokerName; aclEnable has no effect here: "),
            "{remark}"
        );
    }

    /// Region and trace switch are those of now, in answers and in what is stored.
    #[tokio::test]
    async fn region_and_trace_switch_follow() {
        let kit = Kit::start(&[]).await;
        let mut client = kit.client().await;
        let first = client.send_message("T", 0, "one", "").await;
        assert_eq!(
            (first.fields.get("MSG_REGION"), first.fields.get("TRACE_ON")),
            (Some("DefaultRegion"), Some("true"))
        );
        let body = "regionId=north\ntraceOn=false\n";
        assert_eq!(refusal(&client.call(request::UPDATE_BROKER_CONFIG, &[], body).await), (0, ""));
        let second = client.send_message("T", 0, "two", "").await;
        assert_eq!(
            (second.fields.get("MSG_REGION"), second.fields.get("TRACE_ON")),
            (Some("north"), Some("false"))
        );
        let pulled = String::from_utf8_lossy(&kit.records("T", 0, 2).await[1]).into_owned();
        assert!(
            pulled.contains("MSG_REGION\u{1}north\u{2}TRACE_ON\u{1}false\u{2}CLUSTER\u{1}C\u{2}"),
            "{pulled}"
        );
    }

    /// Log, queues, index and checkpoint may each have a place of their own: a broker that was killed finds them there, and
    /// nothing is in the usual places.
    #[tokio::test]
    async fn places_of_their_own() {
        let places = tempfile::tempdir().unwrap();
        let place = |name: &str| places.path().join(name).display().to_string();
        let settings = [
            ("storePathCommitLog", place("a/log")),
            ("storePathConsumeQueue", place("b/queues")),
            ("storePathIndex", place("c/index")),
            ("storeCheckpoint", place("d/checkpoint")),
            ("abortFile", place("abort")),
        ];
        let settings = settings.each_ref().map(|(key, value)| (*key, value.as_str()));
        let mut kit = Kit::start(&settings).await;
        for count in 1..=3 {
            let mut client = kit.client().await;
            assert_eq!(client.send_message("T", 0, "body", "KEYS\u{1}k\u{2}").await.code, 0);
            assert_eq!(kit.records("T", 0, count).await.len(), count);
            // The kit makes the abort file only when it kills.
            for (_, path) in &settings[..4] {
                assert!(std::path::Path::new(path).exists(), "{path}");
            }
            let root = kit.config_file.with_file_name("store");
            for usual in ["commitlog", "consumequeue", "index", "checkpoint", "abort"] {
                assert!(!root.join(usual).exists(), "{usual}");
            }
            kit = kit.killed().await;
            let kept = kit.broker.store.query_message("T", "k", 32, 0, i64::MAX).records.len();
            assert_eq!(kept, count, "found by key after the start");
        }
    }

    /// The topic that new ones inherit from follows the two keys that say whether it is there and what it gives.
    #[tokio::test]
    async fn the_default_topic_follows() {
        let kit = Kit::start(&[("autoCreateTopicEnable", "false")]).await;
        let mut client = kit.client().await;
        let queues = |kit: &Kit| kit.broker.topics.get("TBW102").map(|topic| topic.write_queue_nums);
        for (body, number) in [
            ("defaultTopicQueueNums=3", None),
            ("autoCreateTopicEnable=true", Some(3)),
            ("defaultTopicQueueNums=2", Some(2)),
        ] {
            assert_eq!(client.call(request::UPDATE_BROKER_CONFIG, &[], body).await.code, 0);
            assert_eq!(queues(&kit), number, "{body}");
        }
        assert_eq!(client.send_message("T", 0, "body", "").await.code, 0);
        assert_eq!(kit.broker.topics.get("T").unwrap().write_queue_nums, 2);
        let kit = kit.restart(&[]).await;
        assert_eq!(queues(&kit), Some(2), "as it was saved");
        let kit = kit.restart(&[("defaultTopicQueueNums", "5")]).await;
        assert_eq!(queues(&kit), Some(5), "as it was said");
    }

    /// What `--advertise` said stays until an administrator says something else of the same thing.
    #[tokio::test]
    async fn a_changed_port_keeps_the_host() {
        let kit = Kit::start(&[]).await;
        let mut client = kit.client().await;
        kit.broker.address.rcu(|address| address.changed(Some("shown.example".to_owned()), Some(7000)));
        for (body, registered) in [
            ("brokerPermission=4", "shown.example:7000"),
            ("listenPort=4711", "shown.example:4711"),
            ("brokerIP1=10.9.8.7", "10.9.8.7:4711"),
        ] {
            assert_eq!(client.call(request::UPDATE_BROKER_CONFIG, &[], body).await.code, 0);
            assert_eq!(kit.broker.address().registered(), registered);
        }
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
