//! `docs/compatibility.md`: made from the request tables, so that it cannot promise what nobody serves.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use rmq_lite::wire::code::request;
use rmq_lite::{broker, namesrv};

const PREFACE: &str = "\
# What is served

rmq-lite answers as Apache RocketMQ 5.3.3 does. This page is made from its request tables
(`UPDATE_DOCS=1 cargo test --test it compatibility`); a code without a place is answered with
`REQUEST_CODE_NOT_SUPPORTED` (3), as Apache answers codes it does not know.

## Not served yet
";

/// Where the section begins that a run of the clients makes (`tests/clients/table.sh`).
const PROVED: &str = "## Proved by unmodified clients\n";

/// What a user may look for and will not find, with what happens instead.
const NOT_YET: &[(&str, &str)] = &[
    (
        "TLS with a certificate of one's own, client certificates, TLS enforced",
        "every port takes plain and TLS connections, with a certificate that is signed by itself, as Apache's test mode",
    ),
    (
        "Access control (ACL)",
        "`authenticationEnabled` and `aclEnable` have no effect, with one line saying so",
    ),
    (
        "gRPC (5.x proxy), DLedger, controller, static topics, compaction, LMQ, batch consume queues",
        "not supported",
    ),
    (
        "Metrics: histograms (`rocketmq_message_size`, `rocketmq_rpc_latency`, `rocketmq_finish_message_latency`, \
         `rocketmq_delay_message_latency`, `rocketmq_topic_create_execution_time`, \
         `rocketmq_consumer_group_create_execution_time`), `rocketmq_timer_*`, `rocketmq_timing_messages`, `rocketmq_pop_*`, \
         `rocketmq_rocksdb_*`",
        "all other metrics of Apache's exporter are at `/metrics`; timers that wait are in `brokerStatus` and on the console",
    ),
];

/// What is served otherwise than by Apache.
const OTHERWISE: &[(&str, &str)] = &[
    (
        "Timer messages",
        "delivered at their millisecond, not at the end of a slot; never put again on the way, so no `TIMER_ROLL_TIMES`; \
         no slot is full (`timerCongestNumEachSlot` has no effect)",
    ),
    (
        "Timers handed to Apache",
        "`timerwheel` and `timerlog` are written at a clean stop; after a kill Apache finds the timers in their topic, and may \
         deliver again what was delivered behind the first that still waited",
    ),
    (
        "Slaves",
        "SYNC_MASTER waits for one slave unless `inSyncReplicas` is set (Apache 5 waits for none); a new slave gets the whole log; \
         one whose log is not its master's puts it aside and begins again; it copies tables at once and every 3 s (Apache after a \
         minute, then every minute), and tells a master that comes back what was consumed meanwhile (Apache forgets it); a slave \
         gives nothing by POP, answers deletions of topics and groups with success and leaves them to its master, refuses \
         other changes of these as 4.x does, and never becomes master",
    ),
    (
        "Deleted topics",
        "they do not come back: what the log still has of them is passed over by every start of rmq-lite (Apache may make \
         their queues anew after a kill, and shows their messages once the topic is made again)",
    ),
    (
        "Send-back",
        "an offset that no queue points to holds no message, even where bytes of a message stand; retries go to a queue that \
         the retry topic has, also when the group's `retryQueueNums` is larger",
    ),
];

/// The commands of mqadmin 4.9.8 and 5.3.3 that are refused, and why; all others are proved in `MqadminTest` and its
/// neighbours, which check that none is missing here.
const MQADMIN_REFUSED: &[(&[&str], &str)] = &[
    (
        &[
            "createUser",
            "updateUser",
            "deleteUser",
            "getUser",
            "listUser",
            "copyUser",
            "createAcl",
            "updateAcl",
            "deleteAcl",
            "getAcl",
            "listAcl",
            "copyAcl",
            "updateAclConfig",
            "deleteAclConfig",
            "updateGlobalWhiteAddr",
            "clusterAclConfigVersion",
        ],
        "there is no access control yet: a permission that nobody checks would only look like one",
    ),
    (&["resetMasterFlushOffset"], "a slave follows what its master has written, and keeps no other mark"),
    (
        &[
            "getControllerConfig",
            "updateControllerConfig",
            "getControllerMetaData",
            "getSyncStateSet",
            "getBrokerEpoch",
            "electMaster",
            "cleanBrokerMetadata",
        ],
        "there is no controller: this is a broker for one machine",
    ),
    (&["addBroker", "removeBroker"], "there is no broker container"),
    (&["updateStaticTopic", "remappingStaticTopic"], "static topics spread over brokers, and there is one"),
    (
        &["checkRocksdbCqWriteProgress", "exportMetadataInRocksDB", "rocksDBConfigToJson"],
        "there is no RocksDB: queues and configuration are files",
    ),
    (&["dumpCompactionLog"], "there are no compacted topics"),
    (
        &["getColdDataFlowCtrInfo", "updateColdDataFlowCtrGroupConfig", "removeColdDataFlowCtrGroupConfig"],
        "there is no control of cold reads",
    ),
    (&["setCommitLogReadAheadMode"], "what is read ahead is left to the operating system"),
];

fn page() -> String {
    let mut page = PREFACE.to_owned();
    page.push_str("| feature | instead |\n|---|---|\n");
    for (feature, instead) in NOT_YET {
        writeln!(page, "| {feature} | {instead} |").unwrap();
    }
    page.push_str("\n## Served otherwise than by Apache\n| feature | how |\n|---|---|\n");
    for (feature, how) in OTHERWISE {
        writeln!(page, "| {feature} | {how} |").unwrap();
    }
    page.push_str("\n## mqadmin commands that are refused\n| command | reason |\n|---|---|\n");
    for (commands, reason) in MQADMIN_REFUSED {
        let commands: Vec<String> = commands.iter().map(|command| format!("`{command}`")).collect();
        writeln!(page, "| {} | {reason} |", commands.join(", ")).unwrap();
    }
    let broker: BTreeSet<i32> = broker::routes::routes().calls().map(|(code, ..)| code).collect();
    let name_server: BTreeSet<i32> = namesrv::routes::routes().calls().map(|(code, ..)| code).collect();
    page.push_str("\n## Request codes\n\n| code | name | NameServer | broker |\n|---|---|---|---|\n");
    let mut codes = request::ALL.to_vec();
    codes.sort_by_key(|(_, code)| *code);
    for (name, code) in codes {
        let mark = |table: &BTreeSet<i32>| if table.contains(&code) { "yes" } else { "" };
        writeln!(page, "| {code} | {name} | {} | {} |", mark(&name_server), mark(&broker)).unwrap();
    }
    page
}

/// The page in the repository is the page that the tables make.
#[test]
fn the_page_is_up_to_date() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/compatibility.md");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let (kept, proved) = text.split_at(text.find(PROVED).unwrap_or(text.len()));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(file, page() + "\n" + proved).unwrap();
        return;
    }
    assert!(
        kept.trim_end() == page().trim_end(),
        "docs/compatibility.md is stale: UPDATE_DOCS=1 cargo test --test it compatibility"
    );
}

/// Every routed code has a name in the table of codes.
#[test]
fn every_route_has_a_name() {
    for (code, ..) in broker::routes::routes().calls().chain(namesrv::routes::routes().calls()) {
        assert!(request::name(code).is_some(), "{code}");
    }
}
