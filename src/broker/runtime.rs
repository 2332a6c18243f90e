//! How the broker is doing: the figures that `clusterList`, `brokerStatus`, `statsAll` and `haStatus` show.
//!
//! Flows in: GET_BROKER_RUNTIME_INFO (28), VIEW_BROKER_STATS_DATA (315), GET_BROKER_HA_STATUS (907). Everything is
//! read from the rooms that count it, up to this moment. Requests do not queue here, so the queues of the
//! reference are always empty. Mirrors `AdminBrokerProcessor.prepareRuntimeInfo`, `StoreStatsService` and
//! `DefaultHAService.getRuntimeInfo`.

#![allow(clippy::unnecessary_wraps, reason = "every handler answers in one shape")]

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Broker;
use super::name::SCHEDULE_TOPIC;
use super::stats::Figures;
use crate::remoting::{Answer, Call, Refusal};
use crate::wire::body::admin::{HAClientRuntimeInfo, HAConnectionRuntimeInfo, HARuntimeInfo};
use crate::wire::body::kv::KVTable;
use crate::wire::body::stats::{BrokerStatsData, BrokerStatsItem};
use crate::wire::code::{VERSION, VERSION_NAME, response};
use crate::wire::command::Reply;
use crate::wire::fastjson;
use crate::wire::fields::{NoHeader, shorten};
use crate::wire::header::admin::ViewBrokerStatsDataRequestHeader;

/// GET_BROKER_RUNTIME_INFO (28).
pub(super) fn get_broker_runtime_info(broker: &Arc<Broker>, _: Call<NoHeader>) -> Answer {
    let mut table = BTreeMap::new();
    broker.add_traffic(&mut table);
    broker.add_store(&mut table);
    broker.add_queues(&mut table);
    broker.add_replication(&mut table);
    Ok(Reply::success().body(fastjson::to_string(&KVTable { table })))
}

/// The entry that is there while the broker takes no messages, and says why.
pub const REFUSAL_KEY: &str = "refusalReason";

type Table = BTreeMap<String, String>;

fn put(table: &mut Table, key: &str, value: impl ToString) {
    table.insert(key.to_owned(), value.to_string());
}

impl Broker {
    /// Adds who this is, and what goes in and out.
    fn add_traffic(&self, table: &mut Table) {
        let now_ms = self.clock.now_ms();
        put(table, "brokerActive", !self.is_stopping());
        if let Some(reason) = self.unready_reason() {
            // Ours: what `rmq-lite ready` and `status` go by, and /readyz as well.
            put(table, REFUSAL_KEY, reason);
        }
        put(table, "brokerVersionDesc", VERSION_NAME);
        put(table, "brokerVersion", VERSION);
        put(table, "bootTimestamp", self.stats.boot_ms());
        put(table, "runtime", run_time(now_ms - self.stats.boot_ms()));
        put(table, "startAcceptSendRequestTimeStamp", self.keys().start_accept_send_request_time_stamp);
        let rates = self.stats.rates(now_ms);
        let total = [0, 1, 2].map(|window| rates.found[window] + rates.missed[window]);
        for (key, rate) in [
            ("putTps", rates.put),
            ("getFoundTps", rates.found),
            ("getMissTps", rates.missed),
            ("getTotalTps", total),
            ("getTransferredTps", rates.transferred),
            // What 4.x tools read; without it their clusterList ends with an exception.
            ("getTransferedTps", rates.transferred),
        ] {
            put(table, key, format!("{:?} {:?} {:?}", rate[0], rate[1], rate[2]));
        }
        let (totals, mornings) = (self.stats.totals(), self.stats.mornings());
        for (key, total) in [
            ("msgPutTotalYesterdayMorning", mornings.put_yesterday),
            ("msgPutTotalTodayMorning", mornings.put_today),
            ("msgPutTotalTodayNow", totals.put_messages_of_users),
            ("msgGetTotalYesterdayMorning", mornings.get_yesterday),
            ("msgGetTotalTodayMorning", mornings.get_today),
            ("msgGetTotalTodayNow", totals.get_messages_of_users),
        ] {
            put(table, key, total);
        }
    }

    /// Adds what the store holds and how it keeps up.
    fn add_store(&self, table: &mut Table) {
        let counters = self.store.counters();
        put(table, "putMessageTimesTotal", counters.put_messages);
        put(table, "putMessageSizeTotal", counters.put_bytes);
        let average = counters.put_bytes as f64 / counters.put_messages.max(1) as f64;
        put(table, "putMessageAverageSize", format!("{average:?}"));
        put(table, "putMessageFailedTimes", counters.put_failures);
        let (log_end, flushed) = (self.store.max_physical_offset(), self.store.flushed_offset());
        put(table, "commitLogMinOffset", self.store.min_physical_offset().0);
        put(table, "commitLogMaxOffset", log_end.0);
        put(table, "dispatchBehindBytes", self.store.dispatch_behind_bytes());
        put(table, "remainHowManyDataToFlush", human_bytes((log_end.0 - flushed.0).max(0) as u64));
        // Tools show how long ago that was; for an empty store the reference's -1 becomes half a million hours.
        let earliest_ms = self.store.earliest_store_timestamp().unwrap_or_else(|| self.clock.now_ms());
        put(table, "earliestMessageTimeStamp", earliest_ms);
        let (log, queues) = self.store.disk_space();
        put(table, "commitLogDiskRatio", format!("{:?}", log.used_ratio()));
        let log_dir = self.keys().commit_log_dir();
        put(table, &format!("commitLogDiskRatio_{}", log_dir.display()), format!("{:?}", log.used_ratio()));
        put(table, "consumeQueueDiskRatio", format!("{:?}", queues.used_ratio()));
        let (total, free) = (human_bytes(log.total_bytes), human_bytes(log.free_bytes));
        put(table, "commitLogDirCapacity", format!("Total : {total}, Free : {free}."));
        put(table, "pageCacheLockTimeMills", 0);
        put(table, "remainTransientStoreBufferNumbs", 0);
        let (waiting, unread) = self.timers.waiting(&self.store);
        put(table, "timerReadBehind", 0);
        put(table, "timerOffsetBehind", unread);
        put(table, "timerCongestNum", waiting);
        for (level, offset) in self.schedule.snapshot().offset_table {
            let max = self.store.max_offset_in_queue(SCHEDULE_TOPIC, level - 1).0;
            put(table, &format!("scheduleMessageOffset_{level}"), format!("{offset},{max}"));
        }
        let [enqueued, dequeued] = self.stats.timer_rates(self.clock.now_ms());
        put(table, "timerEnqueueTps", format!("{enqueued:?}"));
        put(table, "timerDequeueTps", format!("{dequeued:?}"));
    }

    /// Adds how far slaves are, or what a slave follows; the reference tells so only as `haStatus`.
    fn add_replication(&self, table: &mut Table) {
        if let Some(slave) = &self.slave {
            let view = slave.replica.view();
            put(table, "haMasterAddress", view.master.unwrap_or_default());
            put(table, "haMasterConnected", view.connected);
        }
        let (slaves, flow) = (self.ha.slaves(), self.ha.valve.flow());
        put(table, "haSlaveNums", slaves.len());
        put(table, "haInSyncSlaveNums", slaves.iter().filter(|slave| slave.in_sync).count());
        put(table, "haSlaveBehindBytes", slaves.iter().map(|slave| slave.lag_bytes).max().unwrap_or(0));
        put(table, "haSlaveBehindMs", slaves.iter().map(|slave| slave.lag_ms).max().unwrap_or(0));
        put(table, "haPaused", flow.paused);
        put(table, "haLagMs", flow.lag_ms);
    }

    /// Adds the queues of the reference's thread pools, which tools expect.
    fn add_queues(&self, table: &mut Table) {
        for pool in ["send", "pull", "litePull", "query", "ack"] {
            put(table, &format!("{pool}ThreadPoolQueueSize"), 0);
            put(table, &format!("{pool}ThreadPoolQueueHeadWaitTimeMills"), 0);
            let capacity = format!("{pool}ThreadPoolQueueCapacity");
            let configured = self.keys().get(&capacity).unwrap_or_default();
            put(table, &capacity, configured);
        }
        put(table, "EndTransactionQueueSize", 0);
        let configured = self.keys().get("endTransactionPoolQueueCapacity").unwrap_or_default();
        put(table, "EndTransactionThreadPoolQueueCapacity", configured);
    }
}

/// Prints a span of time as `StoreStatsService` does.
fn run_time(span_ms: i64) -> String {
    let seconds = span_ms.max(0) / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    format!("[ {days} days, {hours} hours, {minutes} minutes, {} seconds ]", seconds % 60)
}

/// Prints a number of bytes as `MixAll.humanReadableByteCount` does with binary units.
fn human_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// VIEW_BROKER_STATS_DATA (315): one counter over the last minute, hour and day.
pub(super) fn view_broker_stats_data(
    broker: &Arc<Broker>,
    call: Call<ViewBrokerStatsDataRequestHeader>,
) -> Answer {
    let ViewBrokerStatsDataRequestHeader { stats_name, stats_key } = call.header;
    let windows = broker.stats.view(&stats_name, &stats_key, broker.clock.now_ms()).ok_or_else(|| {
        let remark = format!("The stats <{}> <{}> not exist", shorten(&stats_name), shorten(&stats_key));
        Refusal::new(response::SYSTEM_ERROR, remark)
    })?;
    let item = |figures: Figures| BrokerStatsItem {
        avgpt: figures.avgpt,
        sum: figures.sum as i64,
        tps: figures.tps,
    };
    let body = BrokerStatsData {
        stats_day: item(windows.day),
        stats_hour: item(windows.hour),
        stats_minute: item(windows.minute),
    };
    Ok(Reply::success().body(fastjson::to_string(&body)))
}

/// GET_BROKER_HA_STATUS (907): a master's slaves and how far each is; a slave's link to its master.
pub(super) fn get_broker_ha_status(broker: &Arc<Broker>, _: Call<NoHeader>) -> Answer {
    let max = broker.store.max_physical_offset().0;
    let slaves = broker.ha.slaves();
    let mut body = HARuntimeInfo {
        master: broker.slave.is_none(),
        master_commit_log_max_offset: max,
        in_sync_slave_nums: slaves.iter().filter(|slave| slave.in_sync).count() as i32,
        ..HARuntimeInfo::default()
    };
    for slave in slaves {
        body.ha_connection_info.push(HAConnectionRuntimeInfo {
            addr: slave.address.to_string(),
            diff: slave.lag_bytes,
            in_sync: slave.in_sync,
            slave_ack_offset: slave.acked,
            transfer_from_where: slave.sent,
            transferred_byte_in_second: slave.bytes_per_second as i64,
        });
    }
    if let Some(slave) = &broker.slave {
        let view = slave.replica.view();
        body.ha_client_runtime_info = HAClientRuntimeInfo {
            last_read_timestamp: view.last_read_ms,
            last_write_timestamp: view.last_write_ms,
            master_addr: view.master,
            max_offset: max,
            transferred_byte_in_second: view.bytes_per_second as i64,
            ..HAClientRuntimeInfo::default()
        };
    }
    Ok(Reply::success().body(fastjson::to_string(&body)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::broker::kit::{Kit, refusal, text};
    use crate::wire::code::request;

    /// Why messages are refused is told while they are, and only then; the probe over HTTP says the same.
    #[tokio::test]
    async fn refusals_are_told() {
        let kit = Kit::start(&[]).await;
        let mut client = kit.client().await;
        for refusal in [None, Some("the volume is full"), None] {
            kit.broker.store.forbid_puts(refusal);
            let info = client.call(request::GET_BROKER_RUNTIME_INFO, &[], "").await;
            let table: KVTable = fastjson::from_slice(&info.body).unwrap();
            assert_eq!(table.table.get(REFUSAL_KEY).map(String::as_str), refusal);
            assert_eq!(kit.broker.unready_reason().as_deref(), refusal);
        }
    }

    /// Every key that clusterList and brokerStatus read is there, in the form in which they read it.
    #[tokio::test]
    async fn runtime_info() {
        let kit = Kit::start(&[]).await;
        let mut client = kit.client().await;
        kit.broker.topics.create_in_send("TBW102", "T", 1).unwrap();
        kit.put("T", 0, &["a", "b"], "");
        kit.clock.travel(Duration::from_secs(100));
        let info = client.call(request::GET_BROKER_RUNTIME_INFO, &[], "").await;
        let table: KVTable = fastjson::from_slice(&info.body).unwrap();
        for (key, value) in [
            ("brokerActive", "true"),
            ("brokerVersionDesc", "V5_3_3"),
            ("msgPutTotalTodayMorning", "0"),
            ("msgPutTotalTodayNow", "2"),
            ("putMessageTimesTotal", "2"),
            ("runtime", "[ 0 days, 0 hours, 1 minutes, 40 seconds ]"),
            ("sendThreadPoolQueueSize", "0"),
            ("sendThreadPoolQueueCapacity", "10000"),
            ("timerEnqueueTps", "0.0"),
            ("commitLogMinOffset", "0"),
            ("haSlaveNums", "0"),
            ("haInSyncSlaveNums", "0"),
            ("haPaused", "false"),
        ] {
            assert_eq!(table.table.get(key).map(String::as_str), Some(value), "{key}");
        }
        for key in
            ["putTps", "getTransferredTps", "getTransferedTps", "getFoundTps", "getMissTps", "getTotalTps"]
        {
            let numbers: Vec<f64> =
                table.table[key].split(' ').map(|number| number.parse().unwrap()).collect();
            assert_eq!(numbers.len(), 3, "{key}");
        }
        for key in ["earliestMessageTimeStamp", "commitLogMaxOffset", "bootTimestamp", "dispatchBehindBytes"]
        {
            assert!(table.table[key].parse::<i64>().unwrap() >= 0, "{key}");
        }
        let ratio: f64 = table.table["commitLogDiskRatio"].parse().unwrap();
        assert!((0.0..=1.0).contains(&ratio));
        assert!(table.table["commitLogDirCapacity"].starts_with("Total : "));
    }

    /// A counter is shown over three windows; one that never counted is refused by name.
    #[tokio::test]
    async fn broker_stats_data() {
        let kit = Kit::start(&[]).await;
        let mut client = kit.client().await;
        kit.broker.topics.create_in_send("TBW102", "T", 1).unwrap();
        kit.put("T", 0, &["a", "b"], "");
        let ask = [("statsName", "TOPIC_PUT_NUMS"), ("statsKey", "T")];
        let shown = client.call(request::VIEW_BROKER_STATS_DATA, &ask, "").await;
        assert!(text(&shown).starts_with(r#"{"statsDay":{"avgpt":1.0,"sum":2,"tps":"#), "{}", text(&shown));
        assert!(text(&shown).contains(r#""statsMinute":{"avgpt":1.0,"sum":2,"tps":0."#), "{}", text(&shown));
        let ask = [("statsName", "GROUP_GET_NUMS"), ("statsKey", "T@g")];
        let refused = client.call(request::VIEW_BROKER_STATS_DATA, &ask, "").await;
        assert_eq!(refusal(&refused), (response::SYSTEM_ERROR, "The stats <GROUP_GET_NUMS> <T@g> not exist"));
        let ha = client.call(request::GET_BROKER_HA_STATUS, &[], "").await;
        assert!(text(&ha).contains(
            r#""haConnectionInfo":[],"inSyncSlaveNums":0,"master":true,"masterCommitLogMaxOffset":"#
        ));
    }

    /// Spans and sizes are printed as the reference prints them.
    #[test]
    fn texts() {
        assert_eq!(run_time(90_061_500), "[ 1 days, 1 hours, 1 minutes, 1 seconds ]");
        assert_eq!(run_time(-5), "[ 0 days, 0 hours, 0 minutes, 0 seconds ]");
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_572_864, "1.5 MiB"), (u64::MAX, "16.0 EiB")]
        {
            assert_eq!(human_bytes(bytes), text);
        }
    }
}
