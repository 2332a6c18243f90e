//! Tests of the key tables.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::config::properties;

fn machine() -> Machine {
    Machine {
        home: Some("/home/user/".to_owned()),
        data_home: Some("/home/user/.local/share".into()),
        host_name: "host".to_owned(),
        cores: 4,
    }
}

fn apache() -> BrokerKeys {
    BrokerKeys::default_on(&machine(), Timings::Apache)
}

fn flag() -> Origin {
    Origin::Flag("--set")
}

/// Every line of both tables takes its own default back and prints it unchanged.
#[test]
fn every_default_parses() {
    for timings in [Timings::Fast, Timings::Apache] {
        let defaults = BrokerKeys::default_on(&machine(), timings);
        for key in BrokerKeys::table() {
            let Some(text) = defaults.get(key.name) else { continue };
            let mut keys = defaults.clone();
            let applied = keys.set(key.name, &text, flag()).unwrap();
            assert_eq!((applied.key, applied.changed), (Some(key.name), false), "{}", key.name);
            assert_eq!(keys.get(key.name), Some(text), "{}", key.name);
        }
        let defaults = NamesrvKeys::default_on(&machine(), timings);
        for key in NamesrvKeys::table() {
            let Some(text) = defaults.get(key.name) else { continue };
            let mut keys = defaults.clone();
            assert!(!keys.set(key.name, &text, flag()).unwrap().changed, "{}", key.name);
            assert_eq!(keys.get(key.name), Some(text), "{}", key.name);
        }
    }
}

/// No key stands twice, aliases lead to keys and hide none, and works have help while idle keys have a reason.
#[test]
fn tables_are_sound() {
    let names: BTreeSet<_> = BrokerKeys::table().iter().map(|key| key.name).collect();
    assert_eq!(names.len(), BrokerKeys::table().len());
    for (alias, meant, _) in BrokerKeys::ALIASES {
        assert!(names.contains(meant) && !names.contains(alias), "{alias}");
    }
    for name in BrokerKeys::IMPORTANT {
        assert!(names.contains(name), "{name}");
    }
    let names: BTreeSet<_> = NamesrvKeys::table().iter().map(|key| key.name).collect();
    assert_eq!(names.len(), NamesrvKeys::table().len());
    for key in BrokerKeys::table().iter().chain(NamesrvKeys::table()) {
        match key.effect {
            Effect::Works => assert!(!key.help.is_empty(), "{}", key.name),
            Effect::None(reason) => assert!(!reason.is_empty(), "{}", key.name),
        }
    }
}

/// The text of GET_BROKER_CONFIG is sorted, has every value of Apache's own answer, and reads back the same.
#[test]
fn prints_as_apache() {
    let keys = apache();
    let text = keys.to_properties_text();
    let lines: Vec<_> = text.lines().collect();
    let names: Vec<_> = lines.iter().map(|line| line.split_once('=').unwrap().0).collect();
    assert!(names.is_sorted());
    for line in [
        "abortFile=",
        "accessMessageInMemoryMaxRatio=40",
        "brokerRole=ASYNC_MASTER",
        "logicalDiskSpaceCleanForciblyThreshold=0.8",
        "messageStorePlugIn=",
        "metricsExporterType=DISABLE",
        "pullMessageThreadPoolNums=24",
        "socksProxyConfig={}",
        "storePathRootDir=/home/user/store",
        "transactionTimeOut=6000",
        "enablePropertyFilter=false",
    ] {
        assert_eq!(lines.contains(&line), line != "abortFile=", "{line}");
    }
    let mut again = apache();
    assert_eq!(
        again.apply(&properties::parse(text.as_bytes()).unwrap(), Path::new("f")).unwrap().len(),
        BrokerKeys::table()
            .iter()
            .filter(|key| key.effect != Effect::Works && keys.get(key.name).is_some())
            .count()
    );
    assert_eq!(again.to_properties_text(), text);
}

/// Fast timings change what hurts and nothing else.
#[test]
fn fast_defaults() {
    let (fast, apache) = (BrokerKeys::default_on(&machine(), Timings::Fast), apache());
    let differing: Vec<_> = BrokerKeys::table()
        .iter()
        .filter(|key| fast.get(key.name) != apache.get(key.name))
        .map(|key| (key.name, fast.get(key.name).unwrap(), key.fast))
        .collect();
    let expected = [
        ("traceTopicEnable", "true"),
        ("transactionTimeOut", "2000"),
        ("enablePropertyFilter", "true"),
        ("metricsExporterType", "PROM"),
    ];
    assert_eq!(differing, expected.map(|(name, value)| (name, value.to_owned(), true)));
}

/// Blanks around a number or truth value do no harm, unlike in Apache, which then drops the value.
#[test]
fn blanks_are_dropped() {
    let mut keys = apache();
    keys.set("brokerId", "1 ", flag()).unwrap();
    keys.set("autoCreateTopicEnable", " FALSE\t", flag()).unwrap();
    keys.set("brokerRole", "SLAVE ", flag()).unwrap();
    keys.set("brokerName", " b ", flag()).unwrap();
    assert_eq!((keys.broker_id, keys.auto_create_topic_enable), (1, false));
    assert_eq!((keys.broker_role, keys.broker_name.as_str()), (BrokerRole::Slave, "b"));
}

/// A value that Apache would swallow is refused with origin, key, value and what is allowed; nothing changes.
#[test]
fn bad_values() {
    let before = apache();
    for (key, value, allowed) in [
        ("brokerId", "abc", "a whole number from -1 to 9223372036854775807"),
        ("brokerId", "", "a whole number from -1 to 9223372036854775807"),
        ("fileReservedTime", "3.5", "a whole number from 0 to 2147483647"),
        ("listenPort", "70000", "a whole number from 0 to 65535"),
        ("mappedFileSizeCommitLog", "1073741824L", "a whole number from 1024 to 2147483647"),
        ("mappedFileSizeCommitLog", "4294967296", "a whole number from 1024 to 2147483647"),
        ("autoCreateTopicEnable", "yes", "true or false"),
        ("autoCreateTopicEnable", "1", "true or false"),
        ("autoCreateTopicEnable", "", "true or false"),
        ("brokerRole", "MASTER", "ASYNC_MASTER, SYNC_MASTER, SLAVE"),
        ("flushDiskType", "sync_flush", "SYNC_FLUSH, ASYNC_FLUSH"),
        ("deleteWhen", "4am", "hours from 00 to 23 separated by `;`"),
        ("deleteWhen", "24", "hours from 00 to 23 separated by `;`"),
        ("messageDelayLevel", "1s  5s", "times such as `5s 10m 2h 1d` separated by blanks"),
        ("messageDelayLevel", "", "times such as `5s 10m 2h 1d` separated by blanks"),
        ("brokerName", "  ", "any text but an empty one"),
        ("ackMessageThreadPoolNums", "many", "a whole number from -2147483648 to 2147483647"),
        ("logicalDiskSpaceCleanForciblyThreshold", "NaN", "a number"),
    ] {
        let mut keys = before.clone();
        let error = keys.set(key, value, flag()).unwrap_err();
        assert_eq!(error.to_string(), format!("--set: {key}={value} is not valid; allowed is {allowed}"));
        assert_eq!(keys, before, "{key}");
    }
}

/// The list of NameServers is checked as by Apache, with its sentence; none at all is allowed.
#[test]
fn name_server_lists() {
    for list in ["127.0.0.1:9876", "a:1;b:65535", "a:1;", " a:1 ; b:2 ", "::1:9876", "[::1]:9876", ""] {
        apache().set("namesrvAddr", list, flag()).unwrap();
    }
    for list in ["127.0.0.1", "a:1;;b:2", "a:0", "a:65536", ":9876", "a:x", "a:1,b:2", ";a:1"] {
        assert_eq!(
            apache().set("namesrvAddr", list, flag()).unwrap_err().to_string(),
            format!(
                "--set: The Name Server Address[{list}] illegal, please set it as follows, \
                 \"127.0.0.1:9876;192.168.0.1:9876\""
            )
        );
    }
}

/// A message about a file names the file and the line of the value that counts.
#[test]
fn file_and_line() {
    let text = b"# broker\nbrokerId=1\nfileReservedTime=\\\n  soon\n";
    let error =
        apache().apply(&properties::parse(text).unwrap(), Path::new("conf/b.properties")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "conf/b.properties:3: fileReservedTime=soon is not valid; allowed is a whole number from 0 to 2147483647"
    );
}

/// Unknown keys are named with the nearest known one, kept, and reported as Apache does; they never fail.
#[test]
fn unknown_keys() {
    let mut keys = apache();
    let note = |keys: &mut BrokerKeys, key: &str| keys.set(key, "7", flag()).unwrap().note.unwrap();
    assert_eq!(
        note(&mut keys, "defualtTopicQueueNum"),
        "--set: defualtTopicQueueNum is not a known key and is ignored; did you mean defaultTopicQueueNums?"
    );
    assert_eq!(
        note(&mut keys, "BrokerName"),
        "--set: BrokerName is not a known key and is ignored; did you mean brokerName?"
    );
    assert_eq!(note(&mut keys, "qwertz"), "--set: qwertz is not a known key and is ignored");
    assert_eq!(note(&mut keys, ""), "--set:  is not a known key and is ignored");
    assert_eq!(keys.get("qwertz").as_deref(), Some("7"));
    assert!(keys.to_properties_text().contains("\nqwertz=7\n"));
}

/// Other spellings are understood and mentioned; keys without effect say why.
#[test]
fn aliases_and_idle_keys() {
    let mut keys = apache();
    let applied = keys.set("mapedFileSizeCommitLog", "65536", flag()).unwrap();
    assert_eq!(applied.key, Some("mappedFileSizeCommitLog"));
    assert_eq!(
        applied.note.unwrap(),
        "--set: mapedFileSizeCommitLog is read as mappedFileSizeCommitLog (its name in 4.4 and before)"
    );
    assert_eq!(keys.mapped_file_size_commit_log, 65_536);
    let applied = keys.set("destroyMappedFileIntervalForcibly", "5", flag()).unwrap();
    assert_eq!(applied.key, Some("destroyMapedFileIntervalForcibly"));
    assert_eq!(keys.destroy_maped_file_interval_forcibly, 5);
    let note = keys.set("checkTransactionMessageEnable", "false", flag()).unwrap().note.unwrap();
    assert_eq!(
        note,
        "--set: checkTransactionMessageEnable has no effect here: RocketMQ dropped it before 5.3"
    );
    assert_eq!(keys.get("checkTransactionMessageEnable").as_deref(), Some("false"));
}

/// Only what somebody set is explicit, under the table's spelling.
#[test]
fn origins() {
    let mut keys = apache();
    assert!(!keys.is_explicit("listenPort"));
    keys.set("listenPort", "10911", flag()).unwrap();
    keys.set("destroyMappedFileIntervalForcibly", "5", Origin::Admin).unwrap();
    keys.set("own", "x", Origin::Admin).unwrap();
    assert_eq!(keys.origin("listenPort"), Some(&flag()));
    assert_eq!(
        keys.explicit_properties_text(),
        "destroyMapedFileIntervalForcibly=5\nlistenPort=10911\nown=x\n"
    );
    assert!(keys.important_properties_text().starts_with("accessMessageInMemoryMaxRatio=40\naclEnable="));
    assert!(BrokerKeys::is_live("autoCreateTopicEnable") && !BrokerKeys::is_live("listenPort"));
    assert!(!BrokerKeys::is_live("nobody"));
}

/// The distance counts single edits, and swapped neighbours once.
#[test]
fn distances() {
    for (one, other, distance) in
        [("", "", 0), ("a", "", 1), ("abc", "abc", 0), ("abc", "acb", 1), ("kitten", "sitting", 3)]
    {
        assert_eq!((edit_distance(one, other), edit_distance(other, one)), (distance, distance));
    }
}

/// The nearest name is found where one is near, and a key as long as a frame costs nothing.
#[test]
fn nearest_name() {
    let nearest = |key: &str| super::nearest(key, ["listenPort", "brokerName", "brokerId"].into_iter());
    assert_eq!(nearest("lisenPort"), Some("listenPort"));
    assert_eq!(nearest("BROKERNAMES"), Some("brokerName"));
    assert_eq!(nearest("flush"), None);
    assert_eq!(nearest(&"x".repeat(16 << 20)), None);
}
