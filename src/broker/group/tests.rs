//! The table of groups: created, refused, forbidden, deleted, saved and read again.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::broker::kit::{Kit, refusal, text};
use crate::clock::Clock;
use crate::wire::body::group::{SubscriptionGroupConfig, SubscriptionGroupWrapper};
use crate::wire::code::{request, response};

fn table(folder: &Path) -> SubscriptionGroupTable {
    let path = folder.join("config/subscriptionGroup.json");
    SubscriptionGroupTable::load(path, Clock::starting_at(1_700_000_000_000)).unwrap()
}

fn names(table: &SubscriptionGroupTable) -> Vec<String> {
    table.all().iter().map(|config| config.group_name.clone()).collect()
}

/// A fresh broker has the groups that a fresh Apache 5.3.3 has.
#[tokio::test]
async fn a_fresh_broker() {
    let folder = tempfile::tempdir().unwrap();
    let expected = [
        "CID_ONS-HTTP-PROXY",
        "CID_ONSAPI_OWNER",
        "CID_ONSAPI_PERMISSION",
        "CID_ONSAPI_PULL",
        "CID_RMQ_SYS_TRANS",
        "FILTERSRV_CONSUMER",
        "SELF_TEST_C_GROUP",
        "TOOLS_CONSUMER",
    ];
    assert_eq!(names(&table(folder.path())), expected);
}

/// A group is created when it is first seen, if that is allowed and its name cannot do harm.
#[tokio::test]
async fn created_when_first_seen() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    assert_eq!(table.get_or_create("g", false), None);
    let version = table.data_version();
    let created = table.get_or_create("g", true).unwrap();
    assert_eq!((created.retry_max_times, created.retry_queue_nums), (16, 1));
    assert_ne!(table.data_version(), version);
    assert!(Arc::ptr_eq(&created, &table.get_or_create("g", false).unwrap()));
    assert!(table.get_or_create("CID_RMQ_SYS_X", false).is_some(), "the system's own");
    let long = "g".repeat(64 * 1024);
    for group in ["", " ", "../g", "a/b", "g\0", "<b>g</b>", "gruppe ä", &long, &"g".repeat(121)] {
        assert_eq!(table.get_or_create(group, true), None, "{}", &group[..group.len().min(20)]);
    }
}

/// An administrator's names are checked at the door, of which Apache takes every one.
#[tokio::test]
async fn administered() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    table
        .update(SubscriptionGroupConfig { retry_max_times: 3, ..SubscriptionGroupConfig::new("g") })
        .unwrap();
    assert_eq!(table.get("g").unwrap().retry_max_times, 3);
    let version = table.data_version();
    table
        .update(SubscriptionGroupConfig { retry_max_times: 3, ..SubscriptionGroupConfig::new("g") })
        .unwrap();
    assert_eq!(table.data_version(), version, "nothing is different");
    let illegal = "The specified group contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$";
    let mut with_attribute = SubscriptionGroupConfig::new("g");
    with_attribute.attributes.insert("+x".into(), "1".into());
    for (config, problem) in [
        (SubscriptionGroupConfig::new("../g"), illegal),
        (SubscriptionGroupConfig::new("g\0"), illegal),
        (SubscriptionGroupConfig::new(""), "The specified group is blank."),
        (
            SubscriptionGroupConfig::new("g".repeat(1 << 16)),
            "The specified group is longer than group max length.",
        ),
        (with_attribute, "unsupported key: x"),
        (
            SubscriptionGroupConfig { retry_queue_nums: -1, ..SubscriptionGroupConfig::new("g") },
            "retryQueueNums must be between 0 and 16384, not -1",
        ),
    ] {
        assert_eq!(table.update(config).unwrap_err(), problem);
    }
    let half_bad = vec![SubscriptionGroupConfig::new("good"), SubscriptionGroupConfig::new("b/d")];
    assert!(table.update_all(half_bad).is_err());
    assert_eq!(table.get("good"), None, "all or none");
    assert!(table.delete("g").is_some() && table.delete("g").is_none());
}

/// Reading can be forbidden per topic; allowing one topic again leaves the others forbidden.
#[tokio::test]
async fn forbidden() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    assert!(!table.is_forbidden("g", "T"));
    assert!(table.set_forbidden("g", "T", true) && table.set_forbidden("g", "U", true));
    assert!(table.is_forbidden("g", "T") && !table.is_forbidden("h", "T"));
    table.set_forbidden("g", "T", false);
    assert!(!table.is_forbidden("g", "T") && table.is_forbidden("g", "U"));
    assert_eq!(table.snapshot().forbidden_table["g"]["U"], 4);
    table.get_or_create("g", true);
    table.delete("g");
    assert!(!table.is_forbidden("g", "U"));
}

/// What is saved is there after a restart, forbidden topics too; illegal names in a file are passed over.
#[tokio::test]
async fn survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = table(folder.path());
    first.get_or_create("g", true);
    first.set_forbidden("g", "T", true);
    assert!(first.save().unwrap() && !first.save().unwrap());
    let second = table(folder.path());
    assert_eq!(second.snapshot(), first.snapshot());
    assert!(second.is_forbidden("g", "T") && !second.save().unwrap());
    let path = folder.path().join("config/subscriptionGroup.json");
    std::fs::write(path, r#"{"subscriptionGroupTable":{"../x":{"groupName":"../x"},"h":{}}}"#).unwrap();
    let third = table(folder.path());
    assert_eq!(third.get("../x"), None);
    assert_eq!(third.get("h").unwrap().group_name, "h");
}

/// A slave takes its master's table whole.
#[tokio::test]
async fn replaced_by_a_masters() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    let mut master = SubscriptionGroupWrapper::default();
    master.data_version.counter = 9;
    for group in ["there", "a/b"] {
        master.subscription_group_table.insert(group.into(), SubscriptionGroupConfig::new(group));
    }
    master.forbidden_table.entry("there".into()).or_default().insert("T".into(), 4);
    table.replace(master);
    assert_eq!(names(&table), ["there"]);
    assert_eq!(table.data_version().counter, 9);
    assert!(table.is_forbidden("there", "T"));
}

/// A group is created, shown, forbidden, deleted; every change is on the disk when it is answered.
#[tokio::test]
async fn by_request() {
    let kit = Kit::start(&[]).await;
    let mut client = kit.client().await;
    let body = r#"{"groupName":"g","retryMaxTimes":3,"consumeBroadcastEnable":false}"#;
    assert_eq!(client.call(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], body).await.code, 0);
    let file = kit.broker.config_dir.join("subscriptionGroup.json");
    assert!(std::fs::read_to_string(&file).unwrap().contains("\"retryMaxTimes\":3"));
    let shown = client.call(request::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", "g")], "").await;
    assert!(text(&shown).contains(r#""groupName":"g""#) && text(&shown).contains(r#""retryMaxTimes":3"#));
    let list = r#"{"groupConfigList":[{"groupName":"h"},{"groupName":"i"}]}"#;
    assert_eq!(client.call(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST, &[], list).await.code, 0);
    let all = client.call(request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, &[], "").await;
    assert_eq!(all.fields.get("totalGroupNum"), Some("11"));
    assert!(
        text(&all).contains(r#""subscriptionGroupTable":{"#) && text(&all).contains(r#""groupName":"i""#)
    );
    let forbid = [("group", "g"), ("topic", "T"), ("readable", "false")];
    let forbidden = client.call(request::UPDATE_AND_GET_GROUP_FORBIDDEN, &forbid, "").await;
    assert_eq!(text(&forbidden), r#"{"group":"g","readable":false,"topic":"T"}"#);
    let ask = [("group", "g"), ("topic", "U")];
    let asked = client.call(request::UPDATE_AND_GET_GROUP_FORBIDDEN, &ask, "").await;
    assert_eq!(text(&asked), r#"{"group":"g","readable":true,"topic":"U"}"#);
    let commit = [("consumerGroup", "g"), ("topic", "TBW102"), ("queueId", "0"), ("commitOffset", "0")];
    client.call(request::UPDATE_CONSUMER_OFFSET, &commit, "").await;
    // The spelling of 4.x tools.
    let delete = [("groupName", "g"), ("removeOffset", "true")];
    assert_eq!(client.call(request::DELETE_SUBSCRIPTIONGROUP, &delete, "").await.code, 0);
    assert!(kit.broker.groups.get("g").is_none() && kit.broker.offsets.topics_of_group("g").is_empty());
    assert!(!std::fs::read_to_string(&file).unwrap().contains("\"g\""));
    assert_eq!(client.call(request::DELETE_SUBSCRIPTIONGROUP, &delete, "").await.code, 0);
}

/// Names and bodies from outside cannot get in; a group is not created where that is switched off.
#[tokio::test]
async fn hostile_requests() {
    let kit = Kit::start(&[("autoCreateSubscriptionGroup", "false")]).await;
    let mut client = kit.client().await;
    let before = kit.broker.groups.snapshot();
    let illegal = "The specified group contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$";
    let long = format!(r#"{{"groupName":"{}"}}"#, "g".repeat(64 * 1024));
    for (body, code, remark) in [
        (r#"{"groupName":"../g"}"#, response::INVALID_PARAMETER, illegal),
        (r#"{"groupName":"g\u0000"}"#, response::INVALID_PARAMETER, illegal),
        (r#"{"groupName":"<script>"}"#, response::INVALID_PARAMETER, illegal),
        (&long, response::INVALID_PARAMETER, "The specified group is longer than group max length."),
        ("{}", response::INVALID_PARAMETER, "The specified group is blank."),
        ("", response::SYSTEM_ERROR, "the request's body is not a subscription group: it is missing"),
    ] {
        let answer = client.call(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], body.to_owned()).await;
        assert_eq!(refusal(&answer), (code, remark));
    }
    let shown = client.call(request::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", "new")], "").await;
    assert_eq!(refusal(&shown), (response::SUBSCRIPTION_GROUP_NOT_EXIST, "No group in this broker"));
    for (group, topic) in [("unknown", "T"), ("TOOLS_CONSUMER", "../T")] {
        let forbid = [("group", group), ("topic", topic), ("readable", "false")];
        assert_ne!(client.call(request::UPDATE_AND_GET_GROUP_FORBIDDEN, &forbid, "").await.code, 0);
    }
    assert_eq!(kit.broker.groups.snapshot(), before);
}
