//! Waiting messages against a model: whatever is sent, travelled and restarted in whatever order, a message with a
//! level or a time comes exactly once, not before its time, and with everything else that is due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::broker::kit::Kit;

const RUNS: usize = 12;
const STEPS: usize = 60;
/// Delays of the levels 1 to 8 in milliseconds.
const LEVELS_MS: [i64; 8] = [1_000, 5_000, 10_000, 30_000, 60_000, 120_000, 180_000, 240_000];

/// A message that was sent: between which times it is due.
struct Sent {
    earliest_ms: i64,
    latest_ms: i64,
}

struct Run {
    seed: u64,
    kit: Kit,
    random: fastrand::Rng,
    sent: BTreeMap<String, Sent>,
}

impl Run {
    fn send(&mut self) {
        let body = self.sent.len().to_string();
        let before_ms = self.kit.broker.clock.now_ms();
        let (properties, delay_ms) = match self.random.u8(..4) {
            0 => (String::new(), 0),
            1 => {
                let level = self.random.usize(..LEVELS_MS.len());
                (format!("DELAY\u{1}{}\u{2}", level + 1), LEVELS_MS[level])
            }
            2 => {
                let delay_ms = self.random.i64(-10..300_000);
                (format!("TIMER_DELAY_MS\u{1}{delay_ms}\u{2}"), delay_ms.max(0))
            }
            _ => {
                let delay_ms = self.random.i64(-10..100) * 1_000;
                (format!("TIMER_DELIVER_MS\u{1}{}\u{2}", before_ms + delay_ms), delay_ms.max(0))
            }
        };
        let host = "127.0.0.1:5".parse().unwrap();
        let message = InnerMessage {
            topic: "T".to_owned(),
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: before_ms,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: Bytes::from(body.clone()),
            properties,
            wait_store: false,
        };
        self.kit.broker.put_inner(message).unwrap();
        let after_ms = self.kit.broker.clock.now_ms();
        self.sent
            .insert(body, Sent { earliest_ms: before_ms + delay_ms, latest_ms: after_ms + delay_ms + 1 });
    }

    /// Waits until everything that is due has come, and looks at all that has.
    async fn check(&self) {
        let now_ms = self.kit.broker.clock.now_ms();
        let due = self.sent.values().filter(|sent| sent.latest_ms <= now_ms).count();
        let records = self.kit.records("T", 0, due).await;
        let mut seen = BTreeSet::new();
        for bytes in &records {
            let record = MessageRecord::decode(bytes).unwrap();
            let body = std::str::from_utf8(record.body).unwrap();
            let sent = &self.sent[body];
            assert!(record.store_timestamp >= sent.earliest_ms, "seed {}: {body} came too early", self.seed);
            assert!(seen.insert(body.to_owned()), "seed {}: {body} came twice", self.seed);
        }
        for (body, sent) in &self.sent {
            let come = sent.latest_ms > now_ms || seen.contains(body);
            assert!(come, "seed {}: {body} is due and has not come", self.seed);
        }
    }

    async fn play(mut self) {
        for _ in 0..STEPS {
            match self.random.u8(..10) {
                0..6 => self.send(),
                6 | 7 => {
                    self.kit.clock.travel(Duration::from_millis(self.random.u64(..60_000)));
                    self.check().await;
                }
                8 => self.check().await,
                _ => self.kit = self.kit.restart(&[]).await,
            }
        }
        self.kit.clock.travel(Duration::from_secs(400));
        self.check().await;
        let come = self.kit.broker.store.max_offset_in_queue("T", 0).0;
        assert_eq!(come as usize, self.sent.len(), "seed {}", self.seed);
    }
}

/// Plays random lives; a failing one names its seed.
#[tokio::test]
async fn random_lives() {
    for _ in 0..RUNS {
        let seed = fastrand::u64(..);
        let kit = Kit::start(&[]).await;
        Run { seed, kit, random: fastrand::Rng::with_seed(seed), sent: BTreeMap::new() }.play().await;
    }
}
