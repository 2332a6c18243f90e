//! Metrics as Prometheus reads them, under the names that Apache's exporter has.
//!
//! The rooms' own counters are read when somebody scrapes; no room calls this one, and nothing lives between two
//! scrapes, so that servers in one process share nothing. Mirrors `BrokerMetricsManager`, `ConsumerLagCalculator`
//! and `DefaultStoreMetricsManager` as the exporter of Apache 5.3.3 prints them (units are part of the names).
//! Differences: no label `message_type` or `protocol_type`, as nobody counts by them here; the processors are our
//! four lanes; `rocketmq_storage_size_bytes` is the volume's used space, as there. Histograms are not kept.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::broker::Broker;
use crate::broker::name;
use crate::broker::pop::receipt::normal_topic;
use crate::ha::master::SlaveView;
use crate::remoting::Routes;
use crate::wire::body::heartbeat::ConsumeType;
use crate::wire::code;

/// Media type of what [`scrape`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;

/// Prints every metric of a broker; `routes` are its request tables. May take milliseconds with many topics.
pub fn scrape(broker: &Broker, routes: &[Arc<Routes<Broker>>]) -> String {
    let mut registry = Registry::with_labels(
        [("cluster", broker.cluster()), ("node_type", "broker".to_owned()), ("node_id", broker.name())]
            .into_iter()
            .map(|(name, value)| (Cow::Borrowed(name), Cow::Owned(value))),
    );
    let mut sheet = Sheet { registry: &mut registry };
    broker_gauges(&mut sheet, broker, routes);
    traffic(&mut sheet, broker);
    connections(&mut sheet, broker);
    lag(&mut sheet, broker);
    transactions(&mut sheet, broker);
    storage(&mut sheet, broker);
    replication(&mut sheet, broker);
    let mut text = String::new();
    encode(&mut text, &registry).expect("a string takes any text");
    text
}

fn broker_gauges(sheet: &mut Sheet<'_>, broker: &Broker, routes: &[Arc<Routes<Broker>>]) {
    let mut waiting: BTreeMap<&'static str, i64> = BTreeMap::new();
    for (lane, requests) in routes.iter().flat_map(|table| table.waiting()) {
        *waiting.entry(lane.name()).or_default() += requests as i64;
    }
    let processors =
        waiting.into_iter().map(|(lane, requests)| (vec![("processor", lane.to_owned())], requests));
    sheet.gauge("rocketmq_processor_watermark", "Requests that wait, by lane", None, processors);
    let permission = i64::from(broker.keys().broker_permission);
    sheet.gauge("rocketmq_broker_permission", "Broker permission: 4 read, 2 write", None, one(permission));
    sheet.gauge("rocketmq_topic_number", "Topics", None, one(broker.topics.all().len() as i64));
    sheet.gauge(
        "rocketmq_consumer_group_number",
        "Consumer groups",
        None,
        one(broker.groups.all().len() as i64),
    );
}

fn traffic(sheet: &mut Sheet<'_>, broker: &Broker) {
    let (mut messages_in, mut bytes_in, mut messages_out, mut bytes_out) = (vec![], vec![], vec![], vec![]);
    let mut dead = vec![];
    for (topic, stats) in broker.stats.topics() {
        let system = broker.topics.is_system(&topic);
        let (messages, bytes) = stats.stored();
        if messages > 0 {
            let labels = vec![("topic", topic.to_string()), ("is_system", system.to_string())];
            messages_in.push((labels.clone(), messages));
            bytes_in.push((labels, bytes));
        }
        for (group, stats) in stats.groups() {
            let system = system || name::is_system_group(&group);
            let labels = || {
                vec![
                    ("topic", topic.to_string()),
                    ("consumer_group", group.to_string()),
                    ("is_system", system.to_string()),
                ]
            };
            let (messages, bytes) = stats.handed_out();
            if messages > 0 {
                messages_out.push((labels(), messages));
                bytes_out.push((labels(), bytes));
            }
            if stats.dead_letters() > 0 {
                dead.push((labels(), stats.dead_letters()));
            }
        }
    }
    sheet.counter("rocketmq_messages_in", "Messages stored", messages_in);
    sheet.counter("rocketmq_messages_out", "Messages handed to consumers", messages_out);
    sheet.counter("rocketmq_throughput_in", "Bytes of messages stored", bytes_in);
    sheet.counter("rocketmq_throughput_out", "Bytes of messages handed to consumers", bytes_out);
    sheet.counter("rocketmq_send_to_dlq_messages", "Messages that became dead letters", dead);
}

fn connections(sheet: &mut Sheet<'_>, broker: &Broker) {
    let mut producers: BTreeMap<Labels, i64> = BTreeMap::new();
    for member in broker.producers.all().iter().flat_map(|(_, members)| members) {
        *producers.entry(client(member.language, member.version)).or_default() += 1;
    }
    let mut consumers: BTreeMap<Labels, i64> = BTreeMap::new();
    for group in broker.consumers.names() {
        let Some(online) = broker.consumers.group(&group) else { continue };
        let mode = match online.consume_type {
            ConsumeType::ConsumeActively => "pull",
            ConsumeType::ConsumePassively => "push",
            ConsumeType::ConsumePop => "pop",
        };
        for member in online.members.values() {
            let mut labels = client(member.language, member.version);
            labels.push(("consumer_group", group.clone()));
            labels.push(("consume_mode", mode.to_owned()));
            labels.push(("is_system", name::is_system_group(&group).to_string()));
            *consumers.entry(labels).or_default() += 1;
        }
    }
    sheet.gauge("rocketmq_producer_connections", "Connections of producers, by client", None, producers);
    sheet.gauge("rocketmq_consumer_connections", "Connections of consumers, by client", None, consumers);
}

fn client(language: code::LanguageCode, version: i32) -> Labels {
    vec![
        ("language", language.name().to_lowercase()),
        ("version", code::version_name(version).to_lowercase()),
        ("protocol_type", "remoting".to_owned()),
    ]
}

fn lag(sheet: &mut Sheet<'_>, broker: &Broker) {
    let now_ms = broker.clock.now_ms();
    // Messages not consumed, in flight and ready; ages of the oldest one not consumed, and not handed out.
    let mut rows: BTreeMap<Labels, [i64; 5]> = BTreeMap::new();
    for lag in broker.lags() {
        let system = broker.topics.is_system(&lag.topic) || name::is_system_group(&lag.group);
        // As on the reference retries of popped messages count for their topic, marked as retries; those of a group that
        // pulls, which the reference leaves out, for the topic in which they are.
        let topic = normal_topic(&lag.topic, &lag.group).to_owned();
        let labels = vec![
            ("is_retry", lag.topic.starts_with(name::RETRY_PREFIX).to_string()),
            ("is_system", system.to_string()),
            ("topic", topic),
            ("consumer_group", lag.group),
        ];
        let age_ms = |oldest_ms: Option<i64>| oldest_ms.map_or(0, |oldest_ms| (now_ms - oldest_ms).max(0));
        let row = rows.entry(labels).or_default();
        for (sum, more) in row.iter_mut().zip([lag.messages, lag.in_flight, lag.ready]) {
            *sum += more;
        }
        row[3] = row[3].max(age_ms(lag.oldest_ms));
        row[4] = row[4].max(age_ms(lag.oldest_ready_ms));
    }
    let milliseconds = || Some(Unit::Other("milliseconds".to_owned()));
    for (at, name, help, unit) in [
        (0, "rocketmq_consumer_lag_messages", "Messages not consumed yet", None),
        (1, "rocketmq_consumer_inflight_messages", "Messages handed out and not consumed yet", None),
        (2, "rocketmq_consumer_ready_messages", "Messages not handed out yet", None),
        (3, "rocketmq_consumer_lag_latency", "Age of the oldest message not consumed", milliseconds()),
        (4, "rocketmq_consumer_queueing_latency", "Age of the oldest message not handed out", milliseconds()),
    ] {
        sheet.gauge(name, help, unit, rows.iter().map(|(labels, row)| (labels.clone(), row[at])));
    }
}

fn transactions(sheet: &mut Sheet<'_>, broker: &Broker) {
    let (mut undecided, mut committed, mut rolled_back) = (vec![], vec![], vec![]);
    for (topic, counts) in broker.transaction_counts() {
        let labels = vec![("topic", topic)];
        undecided.push((labels.clone(), counts.undecided));
        committed.push((labels.clone(), counts.committed));
        rolled_back.push((labels, counts.rolled_back));
    }
    sheet.gauge("rocketmq_half_messages", "Half messages that wait for a decision", None, undecided);
    sheet.counter("rocketmq_commit_messages", "Half messages committed", committed);
    sheet.counter("rocketmq_rollback_messages", "Half messages rolled back", rolled_back);
}

fn storage(sheet: &mut Sheet<'_>, broker: &Broker) {
    let store = &broker.store;
    let (space, _) = store.disk_space();
    let local = || vec![("storage_type", "local".to_owned()), ("storage_medium", "disk".to_owned())];
    let used = space.total_bytes.saturating_sub(space.free_bytes) as i64;
    sheet.gauge(
        "rocketmq_storage_size",
        "Used space of the store's volume",
        Some(Unit::Bytes),
        [(local(), used)],
    );
    let behind = (store.max_physical_offset().0 - store.flushed_offset().0).max(0);
    sheet.gauge("rocketmq_storage_flush_behind", "Not flushed yet", Some(Unit::Bytes), [(local(), behind)]);
    let behind = store.dispatch_behind_bytes();
    sheet.gauge(
        "rocketmq_storage_dispatch_behind",
        "Not dispatched yet",
        Some(Unit::Bytes),
        [(local(), behind)],
    );
    if let Some(oldest_ms) = store.earliest_store_timestamp() {
        let age_ms = (broker.clock.now_ms() - oldest_ms).max(0);
        let unit = Some(Unit::Other("milliseconds".to_owned()));
        sheet.gauge(
            "rocketmq_storage_message_reserve_time",
            "Age of the oldest message",
            unit,
            [(local(), age_ms)],
        );
    }
}

/// Replication, for which Apache has no metrics.
fn replication(sheet: &mut Sheet<'_>, broker: &Broker) {
    let slaves = broker.ha.slaves();
    let of = |look: fn(&SlaveView) -> i64| {
        let row = |slave: &SlaveView| {
            let labels = [("slave", slave.address.to_string()), ("in_sync", slave.in_sync.to_string())];
            (labels.to_vec(), look(slave))
        };
        slaves.iter().map(row).collect::<Vec<_>>()
    };
    let in_sync = slaves.iter().filter(|slave| slave.in_sync).count() as i64;
    sheet.gauge("rocketmq_ha_slaves_in_sync", "Slaves that count as copies", None, one(in_sync));
    let help = "Log that a slave has not acknowledged";
    sheet.gauge("rocketmq_ha_slave_lag", help, Some(Unit::Bytes), of(|slave| slave.lag_bytes));
    let unit = Some(Unit::Other("milliseconds".to_owned()));
    let help = "Age of the first message that a slave has not acknowledged";
    sheet.gauge("rocketmq_ha_slave_lag", help, unit, of(|slave| slave.lag_ms));
    let sent = slaves.iter().map(|slave| slave.bytes_per_second as i64).sum();
    let help = "Log sent to slaves in the last second";
    sheet.gauge("rocketmq_ha_sent_per_second", help, Some(Unit::Bytes), one(sent));
    let paused = i64::from(broker.ha.valve.flow().paused);
    sheet.gauge("rocketmq_ha_paused", "Whether replication is held back by order", None, one(paused));
    if let Some(slave) = &broker.slave {
        let connected = i64::from(slave.replica.is_connected());
        sheet.gauge(
            "rocketmq_ha_master_connected",
            "Whether this slave hears its master",
            None,
            one(connected),
        );
    }
}

fn one(value: i64) -> [(Labels, i64); 1] {
    [(Labels::new(), value)]
}

/// A registry that is filled once and printed once.
struct Sheet<'a> {
    registry: &'a mut Registry,
}

impl Sheet<'_> {
    fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        unit: Option<Unit>,
        rows: impl IntoIterator<Item = (Labels, i64)>,
    ) {
        let family = Family::<Labels, Gauge>::default();
        for (labels, value) in rows {
            family.get_or_create(&labels).set(value);
        }
        match unit {
            Some(unit) => self.registry.register_with_unit(name, help, unit, family),
            None => self.registry.register(name, help, family),
        }
    }

    /// The printed name ends in `_total`.
    fn counter(&mut self, name: &'static str, help: &'static str, rows: Vec<(Labels, u64)>) {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in rows {
            family.get_or_create(&labels).inc_by(value);
        }
        self.registry.register(name, help, family);
    }
}
