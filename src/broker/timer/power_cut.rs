//! Power cuts under timers: what a cut leaves of log, queues and checkpoint is drawn at every call, and a broker that starts
//! on it delivers each timer that was acknowledged, and none again whose delivery was written down.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::broker::kit::{Kit, START_MS};
use crate::clock::Clock;
use crate::lifecycle::Lifecycle;
use crate::store::Disk;
use crate::store::tests::fragile::{Fragile, Random, scratch, write_image};

/// Milliseconds between two timers.
const STEP_MS: i64 = 1_000;
/// Images of one workload that a broker is started on.
const IMAGES_MAX: usize = 12;

fn settings(flush: &str) -> Vec<(String, String)> {
    let keys = [
        ("flushDiskType", flush),
        // A fragile disk looks at every byte again and again, which takes its time.
        ("syncFlushTimeout", "120000"),
        ("mappedFileSizeCommitLog", "65536"),
        ("mappedFileSizeConsumeQueue", "4000"),
        ("maxHashSlotNum", "50"),
        ("maxIndexNum", "100"),
        ("mappedFileSizeTimerLog", "4096"),
    ];
    keys.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
}

/// Waits until every timer that is due is delivered.
async fn quiet(kit: &Kit) {
    while !kit.broker.timers.has_delivered(&kit.broker.store, kit.clock.now_ms()) {
        tokio::task::yield_now().await;
    }
}

/// A broker on a fragile disk.
struct Fallible {
    kit: Kit,
    disk: Arc<Fragile>,
    /// The store's threads.
    life: Lifecycle,
    flush: &'static str,
}

impl Fallible {
    async fn start(
        disk: Arc<Fragile>,
        folder: Arc<tempfile::TempDir>,
        flush: &'static str,
        clock: Clock,
    ) -> Self {
        let kit = Kit::start_on(disk.clone(), folder, settings(flush), clock).await;
        let life = Lifecycle::new();
        kit.broker.store.start(&life).unwrap();
        Self { kit, disk, life, flush }
    }

    async fn stop(self) -> Arc<tempfile::TempDir> {
        let folder = self.kit.stopped().await;
        self.life.cancel();
        self.life.join_threads();
        folder
    }

    async fn restart(self) -> Self {
        let (disk, flush, clock) = (self.disk.clone(), self.flush, self.kit.clock.clone());
        Self::start(disk, self.stop().await, flush, clock).await
    }
}

/// Puts timers, lets them become due, has their progress written down and stops now and then; returns the broker and how
/// many timers there were.
async fn work(mut at: Fallible, random: &mut Random) -> (Fallible, i64) {
    let (mut sent, mut due) = (0, 0);
    for _ in 0..14 {
        match random.below(10) {
            0..=4 => {
                let mut client = at.kit.client().await;
                for _ in 0..=random.below(4) {
                    let due_ms = START_MS + (sent + 1) * STEP_MS;
                    let wish = format!("TIMER_DELIVER_MS\u{1}{due_ms}\u{2}");
                    let answer = client.send_message("T", 0, &sent.to_string(), &wish).await;
                    assert_eq!(answer.code, 0, "{:?}", answer.remark);
                    sent += 1;
                }
                if at.flush == "SYNC_FLUSH" || random.percent(50) && at.kit.broker.store.settle() {
                    at.disk.promise(sent, 0);
                }
            }
            5..=7 if due < sent => {
                due += 1 + random.below((sent - due) as usize) as i64;
                let left_ms = START_MS + due * STEP_MS + STEP_MS / 2 - at.kit.clock.now_ms();
                at.kit.clock.travel(Duration::from_millis(left_ms.max(0) as u64));
                quiet(&at.kit).await;
            }
            8 => {
                at.kit.broker.saving.now().await;
                at.disk.promise(sent, due);
            }
            9 => {
                let disk = at.disk.clone();
                at = at.restart().await;
                disk.promise(sent, due);
                quiet(&at.kit).await;
                if random.percent(60) {
                    // Before the checkpoint is written anew: it names the wheel and log that this stop replaces.
                    at = at.restart().await;
                    quiet(&at.kit).await;
                }
            }
            _ => {}
        }
        at.disk.look("a step");
    }
    (at, sent)
}

/// How often each timer's message came, by its number.
async fn delivered(kit: &Kit) -> BTreeMap<i64, usize> {
    let count = kit.broker.store.max_offset_in_queue("T", 0).0;
    let mut times = BTreeMap::new();
    for record in kit.records("T", 0, count as usize).await {
        let body = MessageRecord::decode(&record).unwrap().body.to_vec();
        *times.entry(String::from_utf8(body).unwrap().parse().unwrap()).or_default() += 1;
    }
    times
}

/// Whatever a cut leaves, nothing acknowledged is lost, and nothing that was written down as delivered comes again.
#[tokio::test]
async fn timers_survive_a_power_cut() {
    let mut images = 0;
    for seed in 1..=14 {
        let mut random = Random(seed);
        let folder = Arc::new(scratch());
        let disk = Arc::new(Fragile::new(folder.path(), random.next(), 20));
        let flush = if seed % 2 == 0 { "SYNC_FLUSH" } else { "ASYNC_FLUSH" };
        let begun = Fallible::start(disk.clone(), folder, flush, Clock::starting_at(START_MS)).await;
        let (worked, sent) = work(begun, &mut random).await;
        let mut drawn = disk.take();
        worked.stop().await;
        while drawn.len() > IMAGES_MAX {
            drawn.swap_remove(random.below(drawn.len()));
        }
        for drawn in drawn {
            images += 1;
            let folder = Arc::new(scratch());
            write_image(&drawn.image, folder.path());
            let abort = folder.path().join("store/abort");
            if abort.exists() {
                std::fs::write(abort, "1 another-start-of-the-system").unwrap();
            }
            let clock = Clock::starting_at(START_MS + (sent + 10) * STEP_MS);
            let kit = Kit::start_on(Arc::new(Disk), folder, settings("ASYNC_FLUSH"), clock).await;
            quiet(&kit).await;
            let times = delivered(&kit).await;
            for number in 0..drawn.acked {
                let found = times.get(&number).copied().unwrap_or(0);
                let at = format!(
                    "seed {seed}, after {}: timer {number} of {}, {} delivered and noted",
                    drawn.after, drawn.acked, drawn.floor
                );
                assert!(found >= 1, "{at}, is lost");
                assert!(found == 1 || number >= drawn.floor, "{at}, came {found} times");
            }
        }
    }
    assert!(images > 100, "{images}");
}
