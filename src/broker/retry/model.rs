//! Retries against a model: whatever is sent, failed, given up, driven again, travelled, restarted and killed in
//! whatever order, each group gets each message again exactly as often as it failed, not before its delay is over,
//! and once it has failed too often it is a dead letter and comes no more.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::broker::kit::{Kit, RawClient};
use crate::store::QueueOffset;
use crate::wire::code::request;
use crate::wire::message;

const RUNS: usize = 12;
const STEPS: usize = 50;
/// Delays of the levels 1 to 18 in milliseconds.
const LEVELS_MS: [i64; 18] = [
    1_000, 5_000, 10_000, 30_000, 60_000, 120_000, 180_000, 240_000, 300_000, 360_000, 420_000, 480_000,
    540_000, 600_000, 1_200_000, 1_800_000, 3_600_000, 7_200_000,
];
const GROUPS: [&str; 2] = ["g", "h"];
/// Copies of one message in one group that are followed at most.
const COPIES_MAX: usize = 4;

/// Where one group has got with one message.
#[derive(Clone, Debug, PartialEq)]
enum Place {
    /// It can be consumed: the records of it, more than one when it was sent back more than once.
    Here(Vec<Bytes>),
    /// It waits for its next try, and comes between these times, this often.
    Waiting {
        earliest_ms: i64,
        latest_ms: i64,
        copies: usize,
    },
    Dead,
}

/// One message on its way through one group.
#[derive(Debug)]
struct Way {
    group: usize,
    /// The record that the group got first; the message is known by its id from then on.
    origin: Bytes,
    tries: i32,
    place: Place,
}

struct Run {
    seed: u64,
    kit: Kit,
    client: RawClient,
    random: fastrand::Rng,
    sent: usize,
    ways: Vec<Way>,
    /// By group: its limit of retries.
    limits: [i32; 2],
    /// By group: the dead letters there must be, each with its tries, as often as it died.
    letters: [BTreeMap<(String, i32), usize>; 2],
}

fn record(bytes: &Bytes) -> MessageRecord<'_> {
    MessageRecord::decode(bytes).unwrap()
}

/// Returns what is the same in all records of a message in a group, and with how many tries this one is.
fn known_by(bytes: &Bytes) -> (String, i32) {
    let record = record(bytes);
    (record.property("ORIGIN_MESSAGE_ID").expect("an origin").to_owned(), record.reconsume_times)
}

impl Run {
    async fn start(seed: u64) -> Self {
        let kit = Kit::start(&[]).await;
        let client = kit.client().await;
        let mut random = fastrand::Rng::with_seed(seed);
        let limits = [random.i32(0..4), 16];
        let run = Self {
            seed,
            kit,
            client,
            random,
            sent: 0,
            ways: Vec::new(),
            limits,
            letters: Default::default(),
        };
        run.configure(0);
        run.configure(1);
        run
    }

    /// Tells the broker a group's limit. The second group has its retries on three queues.
    fn configure(&self, group: usize) {
        let config = SubscriptionGroupConfig {
            retry_max_times: self.limits[group],
            retry_queue_nums: if group == 0 { 1 } else { 3 },
            ..SubscriptionGroupConfig::new(GROUPS[group])
        };
        self.kit.broker.groups.update(config).unwrap();
    }

    /// Sends a message, which begins its way through both groups.
    async fn send(&mut self, body: &str, properties: &str) {
        let answer = self.client.send_message("T", 0, body, properties).await;
        assert_eq!(answer.code, 0, "seed {}: {:?}", self.seed, answer.remark);
        self.sent += 1;
        let origin = self.kit.records("T", 0, self.sent).await.pop().unwrap();
        for group in 0..GROUPS.len() {
            let place = Place::Here(vec![origin.clone()]);
            self.ways.push(Way { group, origin: origin.clone(), tries: 0, place });
        }
    }

    /// Picks a way in a place of the wanted kind.
    fn pick(&mut self, wanted: fn(&Place) -> bool) -> Option<usize> {
        let fitting: Vec<_> =
            self.ways.iter().enumerate().filter(|(_, way)| wanted(&way.place)).map(|(at, _)| at).collect();
        self.random.choice(&fitting).copied()
    }

    /// Lets a group fail: each copy it has is sent back by broker or client, the first perhaps twice.
    async fn fail(&mut self) {
        let Some(at) = self.pick(|place| matches!(place, Place::Here(_))) else { return };
        let Way { group, tries, place: Place::Here(copies), .. } = &self.ways[at] else { unreachable!() };
        let (group, tries, mut copies) = (*group, *tries, copies.clone());
        if copies.len() < COPIES_MAX && self.random.u8(..4) == 0 {
            copies.push(copies[0].clone());
        }
        let level = match self.random.u8(..8) {
            0 => self.random.i32(1..=25),
            1 => -1,
            _ => 0,
        };
        let limit = if self.random.bool() { Some(self.random.i32(-1..6)) } else { None };
        let retries_max = limit.unwrap_or(self.limits[group]);
        let by_client = level == 0 && self.random.u8(..4) == 0;
        let before_ms = self.kit.clock.now_ms();
        for copy in &copies {
            if by_client {
                self.send_again(group, copy, limit).await;
            } else {
                self.send_back(group, copy, level, limit).await;
            }
        }
        let after_ms = self.kit.clock.now_ms();
        // A client that sends itself counts the new try before it sends.
        let dead = level < 0 || if by_client { tries + 1 > retries_max } else { tries >= retries_max };
        let way = &mut self.ways[at];
        way.tries += 1;
        if dead {
            way.place = Place::Dead;
            let letter = (record(&way.origin).offset_message_id(), way.tries);
            *self.letters[group].entry(letter).or_default() += copies.len();
        } else {
            let level = if level == 0 { tries + 3 } else { level };
            let delay_ms = LEVELS_MS[(level as usize).min(18) - 1];
            way.place = Place::Waiting {
                earliest_ms: before_ms + delay_ms,
                latest_ms: after_ms + delay_ms + 1,
                copies: copies.len(),
            };
        }
    }

    /// As a client does that asks its broker.
    async fn send_back(&mut self, group: usize, copy: &Bytes, level: i32, limit: Option<i32>) {
        let (offset, level) = (record(copy).physical_offset.to_string(), level.to_string());
        let limit = limit.map(|limit| limit.to_string());
        let mut fields =
            vec![("offset", offset.as_str()), ("group", GROUPS[group]), ("delayLevel", level.as_str())];
        fields.extend(limit.as_deref().map(|limit| ("maxReconsumeTimes", limit)));
        let answer = self.client.call(request::CONSUMER_SEND_MSG_BACK, &fields, "").await;
        assert_eq!(answer.code, 0, "seed {}: {:?}", self.seed, answer.remark);
    }

    /// As a client does whose broker did not answer it: it sends the next try itself.
    async fn send_again(&mut self, group: usize, copy: &Bytes, limit: Option<i32>) {
        let record = record(copy);
        let origin = record.property("ORIGIN_MESSAGE_ID").map(str::to_owned);
        let origin = origin.unwrap_or_else(|| record.offset_message_id());
        let mut properties = record.properties_str().unwrap().to_owned();
        for (name, value) in [
            ("RETRY_TOPIC", "T"),
            ("ORIGIN_MESSAGE_ID", &origin),
            ("DELAY", &(record.reconsume_times + 3).to_string()),
        ] {
            properties = message::remove_property(&properties, name);
            message::append_property(&mut properties, name, value);
        }
        let topic = name::retry_topic(GROUPS[group]);
        let (tries, limit) =
            ((record.reconsume_times + 1).to_string(), limit.unwrap_or(self.limits[group]).to_string());
        let fields = [
            ("a", "CLIENT_INNER_PRODUCER"),
            ("b", topic.as_str()),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", "0"),
            ("f", "0"),
            ("g", "5"),
            ("h", "0"),
            ("i", properties.as_str()),
            ("j", tries.as_str()),
            ("l", limit.as_str()),
        ];
        // Without the topic the client's send would be refused; it subscribes to it by heartbeat.
        self.kit.broker.retry_topic(GROUPS[group], 1).unwrap();
        let answer =
            self.client.call(request::SEND_MESSAGE_V2, &fields, Bytes::copy_from_slice(record.body)).await;
        assert_eq!(answer.code, 0, "seed {}: {:?}", self.seed, answer.remark);
    }

    /// Sends a dead letter to where it came from, as `rmq-lite dlq resend` does: a new life, in both groups.
    async fn drive_again(&mut self) {
        let Some(at) = self.pick(|place| *place == Place::Dead) else { return };
        let dead = record(&self.ways[at].origin);
        let body = std::str::from_utf8(dead.body).unwrap().to_owned();
        let properties = format!("UNIQ_KEY\u{1}{}\u{2}", dead.property("UNIQ_KEY").unwrap());
        self.send(&body, &properties).await;
    }

    /// Waits until everything that is due has come, and looks at all that has.
    async fn check(&mut self) {
        let (seed, now_ms) = (self.seed, self.kit.clock.now_ms());
        for (group, name) in GROUPS.iter().enumerate() {
            let all_due = async {
                loop {
                    let come = self.retries(name);
                    let missing = self.ways.iter().find(|way| {
                        way.group == group && way.is_due(now_ms) && way.found(&come).len() < way.copies()
                    });
                    if missing.is_none() {
                        return come;
                    }
                    tokio::task::yield_now().await;
                }
            };
            let come = tokio::time::timeout(Duration::from_secs(30), all_due).await;
            let come =
                come.unwrap_or_else(|_| panic!("seed {seed}: a retry of {name} is due and has not come"));
            let mut latest = BTreeMap::new();
            for way in self.ways.iter_mut().filter(|way| way.group == group) {
                let found = way.found(&come);
                way.look_at(found, seed);
                latest.insert(way.id(), way.tries);
            }
            for (id, tries) in come.keys() {
                let known = latest.get(id).is_some_and(|latest| tries <= latest);
                assert!(known, "seed {seed}: {name} got try {tries} of {id}, which nobody asked for");
            }
            let count = self.letters[group].values().sum();
            let mut letters = BTreeMap::new();
            for bytes in self.kit.records(&name::dlq_topic(name), 0, count).await {
                *letters.entry(known_by(&bytes)).or_default() += 1;
            }
            assert_eq!(letters, self.letters[group], "seed {seed}: dead letters of {name}");
        }
    }

    /// Returns every retry of a group that has come so far.
    fn retries(&self, group: &str) -> BTreeMap<(String, i32), Vec<Bytes>> {
        let (topic, mut come) = (name::retry_topic(group), BTreeMap::<_, Vec<_>>::new());
        let store = &self.kit.broker.store;
        for queue_id in 0..3 {
            for entry in store.queue_entries(&topic, queue_id, QueueOffset(0), 1 << 20) {
                let bytes = store.read_record(entry.physical_offset).unwrap().unwrap();
                come.entry(known_by(&bytes)).or_default().push(bytes);
            }
        }
        come
    }

    async fn play(mut self) {
        for step in 0..STEPS {
            match self.random.u8(..20) {
                0..4 => self.send(&step.to_string(), &format!("UNIQ_KEY\u{1}K{step}\u{2}")).await,
                4..12 => self.fail().await,
                12 => self.drive_again().await,
                13 => {
                    self.limits[0] = self.random.i32(0..6);
                    self.configure(0);
                }
                14..18 => {
                    let seconds_max = [60, 600, 8_000][self.random.usize(..3)];
                    let seconds = self.random.u64(..seconds_max);
                    self.kit.clock.travel(Duration::from_secs(seconds));
                    self.check().await;
                }
                18 => self.restart(false).await,
                _ => self.restart(true).await,
            }
        }
        // Everything fails until it is dead; no way is longer than its limit.
        while self.ways.iter().any(|way| way.place != Place::Dead) {
            self.kit.clock.travel(Duration::from_secs(7_300));
            self.check().await;
            for _ in 0..self.ways.len() {
                self.fail().await;
            }
        }
        self.check().await;
    }

    async fn restart(&mut self, kill: bool) {
        let kit = std::mem::replace(&mut self.kit, Kit::start(&[]).await);
        self.kit = if kill { kit.killed().await } else { kit.restart(&[]).await };
        self.client = self.kit.client().await;
        self.check().await;
    }
}

impl Way {
    /// The id of the record that the group got first.
    fn id(&self) -> String {
        record(&self.origin).offset_message_id()
    }

    fn is_due(&self, now_ms: i64) -> bool {
        matches!(self.place, Place::Waiting { latest_ms, .. } if latest_ms <= now_ms)
    }

    fn copies(&self) -> usize {
        if let Place::Waiting { copies, .. } = self.place { copies } else { 0 }
    }

    /// Returns the records of the try that is waited for.
    fn found(&self, come: &BTreeMap<(String, i32), Vec<Bytes>>) -> Vec<Bytes> {
        come.get(&(self.id(), self.tries)).cloned().unwrap_or_default()
    }

    /// Compares what has come with what is waited for, and takes it in once it is all there.
    fn look_at(&mut self, found: Vec<Bytes>, seed: u64) {
        let (id, tries) = (self.id(), self.tries);
        let (earliest_ms, copies) = match &self.place {
            Place::Waiting { earliest_ms, copies, .. } => (*earliest_ms, *copies),
            Place::Here(known) if tries > 0 => (i64::MIN, known.len()),
            Place::Here(_) | Place::Dead => (i64::MIN, 0),
        };
        assert!(found.len() <= copies, "seed {seed}: try {tries} of {id} came {} times", found.len());
        let origin = record(&self.origin);
        for bytes in &found {
            let retried = record(bytes);
            assert!(
                retried.store_timestamp >= earliest_ms,
                "seed {seed}: try {tries} of {id} came too early"
            );
            assert_eq!(retried.body, origin.body, "seed {seed}");
            assert_eq!(retried.property("RETRY_TOPIC"), Some("T"), "seed {seed}");
            assert_eq!(retried.property("UNIQ_KEY"), origin.property("UNIQ_KEY"), "seed {seed}");
        }
        if matches!(self.place, Place::Waiting { .. }) && found.len() == copies {
            self.place = Place::Here(found);
        }
    }
}

/// Plays random lives; a failing one names its seed.
#[tokio::test]
async fn random_lives() {
    for _ in 0..RUNS {
        Run::start(fastrand::u64(..)).await.play().await;
    }
}
