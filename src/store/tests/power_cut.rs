//! Power cuts: a recorded workload, thousands of images that a cut could leave of it, and what must hold after the
//! recovery of each. What was promised (flushed) is there, once and as it was put; nothing else than what was put is;
//! queues and index say what the log says; another start changes nothing; and puts go on with the right offsets.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fragile::{Drawn, Fragile, Random, scratch, write_image};
use super::*;
use crate::wire::message::{sys_flag, tags_code};

/// Later than any real file was written, so that every file is old.
const BEGIN_MS: i64 = 4_000_000_000_000;
const TOPICS: [&str; 3] = ["A", "Bee", "TopicWithALongerName"];
const QUEUES: usize = 2;
/// What the mark of a store in use says after the system went down.
const OTHER_START: &str = "1 another-start-of-the-system";

/// One message that was put.
#[derive(Clone, Debug)]
struct Was {
    topic: &'static str,
    queue_id: i32,
    /// `None` for a half message, which is in no queue.
    queue_offset: Option<i64>,
    key: String,
    tag: String,
    record: Vec<u8>,
}

/// Everything that was put, by physical offset.
type History = BTreeMap<i64, Was>;

/// Half of the seeds have queue files of one sector, which roll, the others some that can tear.
fn small(root: &Path, seed: u64, flush_disk_type: FlushDiskType) -> StoreOptions {
    StoreOptions {
        commit_log_file_bytes: 4 << 10,
        consume_queue_file_bytes: if seed.is_multiple_of(2) { 200 } else { 1_100 },
        max_hash_slot_num: 13,
        max_index_num: 24,
        flush_disk_type,
        file_reserved_time_hours: 1,
        ..StoreOptions::at(root)
    }
}

/// A store that works on a fragile disk, and what it was told.
struct Workload {
    random: Random,
    disk: Arc<Fragile>,
    clock: Clock,
    store: Arc<MessageStore>,
    history: History,
}

impl Workload {
    fn begin(root: &Path, seed: u64, percent: usize) -> Self {
        let mut random = Random(seed);
        let disk = Arc::new(Fragile::new(root, random.next(), percent));
        let clock = Clock::starting_at(BEGIN_MS);
        let kind = if random.percent(70) { FlushDiskType::Sync } else { FlushDiskType::Async };
        let options = small(root, seed, kind);
        let store = open_on(disk.clone(), options, clock.clone());
        let workload = Self { random, disk, clock, store, history: History::new() };
        workload.mark();
        workload
    }

    /// What [`MessageStore::start`] does before it starts threads.
    fn mark(&self) {
        recover::write_abort_file(&*self.disk, &self.store.options().abort_file).unwrap();
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..=54 => self.put(),
            55..=74 => {
                self.store.flush_commit_log(0).unwrap();
                self.store.dispatch();
            }
            75..=81 => self.store.keep(2).unwrap(),
            82..=89 => self.store.keep(0).unwrap(),
            90..=95 => self.clock.travel(Duration::from_millis(self.random.below(5_000) as u64)),
            96 => {
                let last = self.store.log.files().files().last().map_or(0, |file| file.offset());
                self.disk.promise(0, last);
                self.store.delete_expired_files_now().unwrap();
            }
            97 => self.reopen(true),
            _ => self.reopen(false),
        }
        self.disk.promise(self.store.flushed_offset().0, 0);
        self.disk.look("a step");
    }

    fn put(&mut self) {
        let random = &mut self.random;
        let topic = TOPICS[random.below(TOPICS.len())];
        let queue_id = random.below(QUEUES) as i32;
        let count = if random.percent(20) { 1 + random.below(4) } else { 1 };
        let half = count == 1 && random.percent(8);
        let texts: Vec<_> = (0..count)
            .map(|_| {
                let number = random.next();
                let body_bytes = if random.percent(30) { random.below(900) } else { random.below(60) };
                let (key, tag) = (format!("k{number:x}"), format!("t{}", number % 3));
                let filler = "p".repeat(if random.percent(20) { random.below(700) } else { 0 });
                let properties = format!("KEYS\u{1}{key}\u{2}TAGS\u{1}{tag}\u{2}f\u{1}{filler}\u{2}");
                (format!("{number}").repeat(body_bytes / 15 + 1), properties, key, tag)
            })
            .collect();
        let properties: Vec<_> = texts.iter().map(|text| [text.1.as_str()]).collect();
        let messages: Vec<_> = texts
            .iter()
            .zip(&properties)
            .map(|(text, properties)| NewMessage {
                sys_flag: if half { sys_flag::TRANSACTION_PREPARED } else { 0 },
                ..message(topic, queue_id, text.0.as_bytes(), properties)
            })
            .collect();
        let receipt = match self.store.put_batch(&messages) {
            Ok(receipt) => receipt,
            // Four long ones do not fit in one file.
            Err(PutError::TooLong { .. }) => return,
            Err(error) => panic!("{error}"),
        };
        for (number, (at, text)) in receipt.physical_offsets.iter().zip(&texts).enumerate() {
            let record = self.store.log.at(at.0, |bytes| {
                let size = i32::from_be_bytes(*bytes.first_chunk().unwrap());
                bytes[..size as usize].to_vec()
            });
            self.history.insert(
                at.0,
                Was {
                    topic,
                    queue_id,
                    queue_offset: (!half).then_some(receipt.queue_offset.0 + number as i64),
                    key: text.2.clone(),
                    tag: text.3.clone(),
                    record: record.unwrap(),
                },
            );
        }
    }

    /// Stops in order, or as a kill would, and starts again.
    fn reopen(&mut self, in_order: bool) {
        let mut options = (*self.store.options()).clone();
        if in_order {
            self.store.stop();
            self.disk.promise(self.store.flushed_offset().0, 0);
        }
        if self.random.percent(20) {
            options.flush_disk_type = FlushDiskType::Sync;
        }
        // The old one goes first: it holds the lock.
        let elsewhere = scratch();
        self.store = open(small(elsewhere.path(), 0, FlushDiskType::Async));
        self.store = open_on(self.disk.clone(), options, self.clock.clone());
        self.mark();
    }
}

/// What a store says of itself.
type Said = (i64, i64, Vec<(i64, i64, Vec<QueueEntry>)>, Vec<Vec<Bytes>>);

fn said(store: &MessageStore, history: &History) -> Said {
    let mut queues = Vec::new();
    for topic in TOPICS {
        for queue_id in 0..QUEUES as i32 {
            let (min, max) =
                (store.min_offset_in_queue(topic, queue_id).0, store.max_offset_in_queue(topic, queue_id).0);
            queues.push((
                min,
                max,
                store.queue_entries(topic, queue_id, QueueOffset(min), (max - min) as usize),
            ));
        }
    }
    let found = history.values().map(|was| store.query_message(was.topic, &was.key, 64, 0, i64::MAX).records);
    (store.min_physical_offset().0, store.max_physical_offset().0, queues, found.collect())
}

/// Checks a store against what was put.
fn judge(store: &MessageStore, history: &History, acked: i64, floor: i64) -> Said {
    let all = said(store, history);
    let (min, end, ref queues, ref found) = all;
    assert!(end >= acked, "the log ends at {end}, and {acked} was acknowledged");
    assert!(min <= floor, "the log begins at {min}; nothing from {floor} on was deleted");
    assert!(min == end || min % (4 << 10) == 0);
    // The log is what was put, without a gap.
    let mut at = min;
    while at < end {
        let expected = history.get(&at).map(|was| was.record.clone());
        let next = store.log.at(at, |bytes| match commit_log::inspect(bytes, true) {
            commit_log::Found::Record(record) => {
                let bytes = &bytes[..record.total_size as usize];
                assert_eq!(Some(bytes), expected.as_deref(), "the record at {at} is not what was put");
                at + i64::from(record.total_size)
            }
            commit_log::Found::Blank => store.log.next_file(at),
            commit_log::Found::Nothing => panic!("nothing stands at {at} of {min}..{end}"),
        });
        at = next.unwrap_or_else(|| panic!("nothing can be read at {at} of {min}..{end}"));
    }
    assert_eq!(at, end);
    // Queues say what the log says, and go on behind the last message they ever had.
    for (number, (first, max, entries)) in queues.iter().enumerate() {
        let (topic, queue_id) = (TOPICS[number / QUEUES], (number % QUEUES) as i32);
        let ours = || {
            let queued = history.iter().filter(|(_, was)| was.topic == topic && was.queue_id == queue_id);
            queued.filter_map(|(at, was)| was.queue_offset.map(|offset| (*at, offset, was)))
        };
        let next = ours().take_while(|(at, ..)| *at < end).last().map_or(0, |(_, offset, _)| offset + 1);
        assert_eq!(*max, next, "the end of {topic}/{queue_id}");
        let expected: Vec<_> = ours().filter(|(at, ..)| (min..end).contains(at)).collect();
        assert_eq!(
            *first,
            expected.first().map_or(next, |(_, offset, _)| *offset),
            "the beginning of {topic}/{queue_id}"
        );
        assert_eq!(entries.len(), expected.len(), "{topic}/{queue_id}");
        for (entry, (at, offset, was)) in entries.iter().zip(expected) {
            let wanted = QueueEntry {
                physical_offset: PhysicalOffset(at),
                size: was.record.len() as i32,
                tags_code: tags_code(&was.tag),
            };
            assert_eq!(*entry, wanted, "entry {offset} of {topic}/{queue_id}");
        }
    }
    // Every message is found by its key once, and no other is.
    for ((at, was), found) in history.iter().zip(found) {
        if (min..end).contains(at) {
            assert_eq!(found.len(), 1, "the key of the message at {at} of {min}..{end}");
            assert_eq!(&found[0][..], &was.record[..], "what the key of the message at {at} finds");
        } else {
            assert!(found.is_empty(), "the message at {at} of {min}..{end} is found by its key");
        }
    }
    all
}

fn reopen_after_cut(store: Arc<MessageStore>) -> Arc<MessageStore> {
    let options = (*store.options()).clone();
    drop(store);
    std::fs::write(&options.abort_file, OTHER_START).unwrap();
    open_on(Arc::new(Disk), options, Clock::starting_at(BEGIN_MS + 1_000_000))
}

/// Recovers an image and checks it; says of a part of them what a cut during the recovery would leave.
fn survive(seed: u64, drawn: &Drawn, history: &History, random: &mut Random, deeper: bool) {
    let dir = scratch();
    write_image(&drawn.image, dir.path());
    let options =
        small(dir.path(), seed, if random.percent(50) { FlushDiskType::Sync } else { FlushDiskType::Async });
    if options.abort_file.exists() {
        std::fs::write(&options.abort_file, OTHER_START).unwrap();
    }
    let clock = Clock::starting_at(BEGIN_MS + 1_000_000);
    if deeper {
        let disk = Arc::new(Fragile::new(dir.path(), random.next(), 10));
        disk.promise(drawn.acked, drawn.floor);
        let is_sync = options.flush_disk_type == FlushDiskType::Sync;
        let store = open_on(disk.clone(), options, clock);
        judge(&store, history, drawn.acked, drawn.floor);
        recover::write_abort_file(&*disk, &store.options().abort_file).unwrap();
        if is_sync {
            // Whoever has read it now must not see it vanish.
            disk.promise(store.max_physical_offset().0, 0);
        }
        store.keep(0).unwrap();
        for again in disk.take() {
            survive(seed, &again, history, random, false);
        }
        return;
    }
    let store = open_on(Arc::new(Disk), options, clock);
    let first = judge(&store, history, drawn.acked, drawn.floor);
    if random.percent(50) {
        let store = reopen_after_cut(store);
        assert!(first == said(&store, history), "another recovery changed something");
        return;
    }
    // Puts go on where the queues end.
    for (number, (_, max, _)) in first.2.iter().enumerate() {
        let (topic, queue_id) = (TOPICS[number / QUEUES], (number % QUEUES) as i32);
        assert_eq!(put(&store, topic, queue_id, "after").queue_offset.0, *max);
    }
    store.flush_commit_log(0).unwrap();
    store.dispatch();
    let store = reopen_after_cut(store);
    for (number, (_, max, _)) in first.2.iter().enumerate() {
        let (topic, queue_id) = (TOPICS[number / QUEUES], (number % QUEUES) as i32);
        assert_eq!(bodies(&read(&store, topic, queue_id, *max, 9).records), ["after"]);
    }
}

/// Records one workload and lets the store survive every image of it; returns how many there were.
fn cut(seed: u64) -> usize {
    let dir = scratch();
    let mut workload = Workload::begin(dir.path(), seed, 14);
    for _ in 0..70 {
        workload.step();
    }
    let all = workload.disk.take();
    let mut random = workload.random.clone();
    for (number, drawn) in all.iter().enumerate() {
        let deeper = random.percent(6);
        let survived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            survive(seed, drawn, &workload.history, &mut random, deeper);
        }));
        if let Err(panic) = survived {
            if let Ok(dir) = std::env::var("POWER_CUT_KEEP") {
                write_image(&drawn.image, Path::new(&dir));
                for (at, was) in &workload.history {
                    eprintln!(
                        "{at} {}/{} {:?} {}",
                        was.topic,
                        was.queue_id,
                        was.queue_offset,
                        was.record.len()
                    );
                }
            }
            eprintln!(
                "seed {seed}, image {number} of {}, drawn after {}, deeper: {deeper}, {} acknowledged, floor {}",
                all.len(),
                drawn.after,
                drawn.acked,
                drawn.floor
            );
            std::panic::resume_unwind(panic);
        }
    }
    all.len()
}

/// Cuts workloads from `seed` on until so many images survived. `POWER_CUT_SEED` tries one workload,
/// `POWER_CUT_IMAGES` another number of images.
fn cut_many(mut seed: u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("POWER_CUT_SEED") {
        cut(seed);
        return;
    }
    let wanted = number("POWER_CUT_IMAGES").unwrap_or(10_400) as usize / 4;
    let mut images = 0;
    let first = seed;
    while images < wanted {
        images += cut(seed);
        seed += 1;
    }
    println!("{images} images of the workloads {first}..{seed} survived");
}

/// Four times a quarter of the images, so that the tests run beside each other.
#[test]
fn images_of_the_first_quarter_survive() {
    cut_many(1);
}
#[test]
fn images_of_the_second_quarter_survive() {
    cut_many(1_000_001);
}
#[test]
fn images_of_the_third_quarter_survive() {
    cut_many(2_000_001);
}
#[test]
fn images_of_the_fourth_quarter_survive() {
    cut_many(3_000_001);
}
