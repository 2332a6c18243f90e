//! Replication over a simulated network, to two slaves: delays, partitions of one way or both, lost connections,
//! half-open ones, a slave that does not read, a full disk, any end killed, a master that lost its end or everything, and
//! one that deletes its oldest files, whoever still wants them.
//!
//! The product's master and slaves run on real stores and files; turmoil is the network and the time. At every look
//! a slave's log must be part of a log that the master had, what SYNC_MASTER acknowledged must be on as many slaves as
//! are wanted (one or both, by the seed), nobody may hold much, and a slave may put its log aside only after the
//! master lost or deleted something. At the end all is healed, and the three logs must soon be equal.
//! `RMQ_LITE_SIM_SEED=7` runs one seed again.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, UNIX_EPOCH};

use rmq_lite::clock::Clock;
use rmq_lite::faults::{FaultPoint, Faults, Order, Trigger};
use rmq_lite::ha::HaOptions;
use rmq_lite::ha::master::Master;
use rmq_lite::ha::slave::Replica;
use rmq_lite::ha::valve::Flow;
use rmq_lite::store::{self, Disk, DiskSpace, FileSystem, MessageStore, NewMessage, PutStatus, StoreOptions};
use rmq_lite::wire::message::MAGIC_BLANK;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

/// Seeds of one run.
const SEEDS: u64 = 200;
/// Simulated time of trouble, and in which all must be well after it: the slave waits 5 s for a connection.
const TROUBLE: Duration = Duration::from_secs(20);
const HEALING: Duration = Duration::from_secs(15);
const TICK: Duration = Duration::from_millis(10);
/// Looks at the logs, in ticks.
const LOOK: u64 = 15;
/// Bytes of a commit-log file, and of a frame's body.
const FILE_BYTES: u64 = 16 << 10;
const BATCH_BYTES: usize = 1_500;
/// Segments that a socket holds; a frame is two of them.
const TCP_SEGMENTS: usize = 32;
const PORT: u16 = 10_912;
/// Later than any file is written, so that all of them are old enough to be deleted.
const START_MS: i64 = 4_102_444_800_000;

/// A disk that can be full.
#[derive(Debug, Default)]
struct Small {
    is_full: AtomicBool,
}

impl Small {
    fn room(&self) -> io::Result<()> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl FileSystem for Small {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<File> {
        self.room()?;
        Disk.create(path, bytes)
    }
    fn open(&self, path: &Path) -> io::Result<File> {
        Disk.open(path)
    }
    fn sync(&self, _: &File) -> io::Result<()> {
        Ok(())
    }
    fn sync_mapped(&self, _: &Path, _: Range<u64>, _: &dyn Fn() -> io::Result<()>) -> io::Result<()> {
        Ok(())
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn sync_volume(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn allocate(&self, _: &File, _: u64, _: u64) -> io::Result<()> {
        self.room()
    }
    fn clear(&self, file: &File, at: u64, bytes: u64) -> io::Result<()> {
        Disk.clear(file, at, bytes)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        Disk.remove_dir(path)
    }
    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        Disk.space(path)
    }
}

/// Whether the slave reads from its socket.
#[derive(Default)]
struct Ears {
    are_shut: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Ears {
    fn shut(&self, shut: bool) {
        self.are_shut.store(shut, Ordering::Relaxed);
        if let Some(waker) = self.waker.lock().unwrap().take() {
            waker.wake();
        }
    }
}

/// A connection of the slave.
struct Hearing(TcpStream, Arc<Ears>);

impl AsyncRead for Hearing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.1.are_shut.load(Ordering::Relaxed) {
            *self.1.waker.lock().unwrap() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Hearing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// What the hosts and the one who looks at them share. Of what slaves have there is one for each.
struct World {
    dir: tempfile::TempDir,
    disks: [Arc<Small>; SLAVES],
    ears: [Arc<Ears>; SLAVES],
    random: Mutex<fastrand::Rng>,
    writes: AtomicBool,
    elapsed_ms: AtomicI64,
    master: Mutex<Weak<Master>>,
    stores: [Mutex<Weak<MessageStore>>; 1 + SLAVES],
    /// Slaves that a put waits for.
    wanted: usize,
    /// Sizes of messages: equal ones let two logs differ without a different length.
    equal_sizes: bool,
    loses_reports: bool,
    acked: Mutex<Vec<Acked>>,
    wrong: Mutex<Vec<String>>,
}

/// What was acknowledged as safe: where, and the bytes.
struct Acked {
    at: i64,
    bytes: Vec<u8>,
}

const MASTER: usize = 0;
const SLAVES: usize = 2;

/// What a host and its directory are called.
fn name(which: usize) -> &'static str {
    ["master", "slave", "another"][which]
}

fn options() -> HaOptions {
    let (heartbeat, housekeeping) = (Duration::from_millis(200), Duration::from_millis(1_000));
    HaOptions { heartbeat, housekeeping, batch_bytes: BATCH_BYTES }
}

impl World {
    fn path(&self, which: usize) -> PathBuf {
        self.dir.path().join(name(which))
    }

    fn clock(&self) -> Clock {
        Clock::starting_at(START_MS + self.elapsed_ms.load(Ordering::Relaxed))
    }

    fn open(&self, which: usize, clock: &Clock) -> Result<Arc<MessageStore>, store::Error> {
        let options = StoreOptions {
            commit_log_file_bytes: FILE_BYTES,
            consume_queue_file_bytes: 20_000,
            message_index_enable: false,
            max_hash_slot_num: 7,
            max_index_num: 9,
            slaves_wanted: if which == MASTER { self.wanted } else { 0 },
            slave_timeout_ms: 500,
            ..StoreOptions::at(&self.path(which))
        };
        let disk: Arc<dyn FileSystem> = match which.checked_sub(1) {
            Some(slave) => self.disks[slave].clone(),
            None => Arc::new(Small::default()),
        };
        let store = loop {
            match MessageStore::open_on(disk.clone(), options.clone(), clock.clone(), Faults::default()) {
                // A program that another test is starting has this process's files open until it runs.
                Err(store::Error::Locked { .. }) => std::thread::yield_now(),
                other => break other?,
            }
        };
        *self.stores[which].lock().unwrap() = Arc::downgrade(&store);
        Ok(store)
    }

    /// Where a log begins and ends, if its broker runs.
    fn range(&self, which: usize) -> Option<(i64, i64)> {
        let store = self.stores[which].lock().unwrap().upgrade()?;
        Some((store.min_physical_offset().0, store.max_physical_offset().0))
    }

    /// How many slaves have these bytes in their files.
    fn holders(&self, at: i64, bytes: &[u8]) -> usize {
        (1..=SLAVES).filter(|slave| self.log(*slave, at, at + bytes.len() as i64) == bytes).count()
    }

    /// How many logs a slave has put aside.
    fn asides(&self, slave: usize) -> usize {
        let entries = std::fs::read_dir(self.path(slave)).into_iter().flatten();
        entries
            .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().contains("aside"))
            .count()
    }

    /// The bytes of a log as they are in its files.
    fn log(&self, which: usize, from: i64, to: i64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut at = from;
        while at < to {
            let start = at - at % FILE_BYTES as i64;
            let Ok(file) = self.file(which, start) else { break };
            let until = (to - start).min(file.len() as i64);
            bytes.extend_from_slice(&file[(at - start) as usize..until as usize]);
            at = start + until;
        }
        bytes
    }

    fn file(&self, which: usize, start: i64) -> io::Result<Vec<u8>> {
        std::fs::read(self.path(which).join(format!("commitlog/{start:020}")))
    }

    fn blame(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }
}

async fn master(world: Arc<World>) -> turmoil::Result {
    let (clock, faults) = (world.clock(), Faults::default());
    if world.loses_reports {
        let trigger = Trigger::Probability { chance: 0.2, seed: world.random.lock().unwrap().u64(..) };
        faults.order(FaultPoint::SlaveAck, Order { trigger, only_for: None });
    }
    let store = world.open(MASTER, &clock)?;
    let master = Arc::new(Master::new(store.clone(), clock.clone(), faults, options(), 256 << 20));
    *world.master.lock().unwrap() = Arc::downgrade(&master);
    let listener = TcpListener::bind((IpAddr::from(Ipv4Addr::UNSPECIFIED), PORT)).await?;
    tokio::spawn(write(world.clone(), store));
    loop {
        let (stream, address) = listener.accept().await?;
        let master = master.clone();
        tokio::spawn(async move {
            let (read, write) = stream.into_split();
            master.attend(read, write, address).await;
        });
    }
}

/// Puts messages now and then; whatever is acknowledged must be with enough slaves at that moment.
async fn write(world: Arc<World>, store: Arc<MessageStore>) {
    loop {
        let (pause_ms, size) = {
            let mut random = world.random.lock().unwrap();
            let size = if world.equal_sizes { 700 } else { random.usize(0..5_000) };
            (random.u64(1..400), size)
        };
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        if !world.writes.load(Ordering::Relaxed) {
            continue;
        }
        let body: Vec<u8> = {
            let mut random = world.random.lock().unwrap();
            (0..size).map(|_| random.u8(..)).collect()
        };
        let message = NewMessage::plain("T", 0, "127.0.0.1:1".parse().unwrap(), &body);
        let receipt = store.put(&message).unwrap();
        let (world, at, end) =
            (world.clone(), receipt.physical_offset.0, receipt.physical_offset.0 + receipt.size as i64);
        tokio::spawn(async move {
            if receipt.durable().await == PutStatus::Ok {
                let bytes = world.log(MASTER, at, end);
                let holders = world.holders(at, &bytes);
                if holders < world.wanted {
                    world.blame(format!("acknowledged, and only {holders} slaves have it: {at}"));
                }
                world.acked.lock().unwrap().push(Acked { at, bytes });
            }
        });
    }
}

async fn slave(world: Arc<World>, which: usize) -> turmoil::Result {
    let clock = world.clock();
    let store = loop {
        match world.open(which, &clock) {
            Ok(store) => break store,
            Err(_) if world.disks[which - 1].is_full.load(Ordering::Relaxed) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(cause) => return Err(cause.into()),
        }
    };
    store.forbid_puts(Some("a slave"));
    let replica = Arc::new(Replica::new(store, clock, options(), Some("master".to_owned())));
    let ears = world.ears[which - 1].clone();
    replica
        .run(|master| {
            let ears = ears.clone();
            async move { Ok(Hearing(TcpStream::connect((master, PORT)).await?, ears)) }
        })
        .await;
    Ok(())
}

/// One run: the network, and what is known of the logs.
struct Run<'a> {
    world: Arc<World>,
    sim: turmoil::Sim<'a>,
    random: fastrand::Rng,
    /// The logs that the master had, the present one last.
    histories: Vec<Vec<u8>>,
    /// How often the master deleted files.
    deletions: usize,
    /// What happened, for who reads of a failure.
    story: VecDeque<String>,
    /// What is undone, and at which tick.
    due: Vec<(u64, Undo)>,
    ticks: u64,
}

/// Of a slave, where there is a number.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Undo {
    Link(usize),
    Hold(usize),
    Ears(usize),
    Disk(usize),
    Start(usize),
    Valve,
}

impl Run<'_> {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let world = Arc::new(World {
            dir: tempfile::tempdir().unwrap(),
            disks: Default::default(),
            ears: Default::default(),
            random: Mutex::new(fastrand::Rng::with_seed(!seed)),
            writes: AtomicBool::new(true),
            elapsed_ms: AtomicI64::new(0),
            master: Mutex::default(),
            stores: Default::default(),
            wanted: random.usize(1..=SLAVES),
            equal_sizes: random.bool(),
            loses_reports: random.u8(..4) == 0,
            acked: Mutex::default(),
            wrong: Mutex::default(),
        });
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(3_600))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(random.u64(2..300)))
            .tcp_capacity(TCP_SEGMENTS)
            .enable_random_order()
            .build();
        let for_master = world.clone();
        sim.host(name(MASTER), move || master(for_master.clone()));
        for which in 1..=SLAVES {
            let world = world.clone();
            sim.host(name(which), move || slave(world.clone(), which));
        }
        let (histories, story) = (vec![Vec::new()], VecDeque::new());
        Self { world, sim, random, histories, deletions: 0, story, due: Vec::new(), ticks: 0 }
    }

    fn tell(&mut self, what: String) {
        self.story.push_back(format!("{:>6} ms {what}", self.ticks * TICK.as_millis() as u64));
        if self.story.len() > 40 {
            self.story.pop_front();
        }
    }

    fn step(&mut self) {
        self.sim.step().unwrap();
        self.ticks += 1;
        self.world.elapsed_ms.store((self.ticks * TICK.as_millis() as u64) as i64, Ordering::Relaxed);
        if self.ticks.is_multiple_of(LOOK) {
            self.look();
        }
        let now = self.ticks;
        for (_, undo) in self.due.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>() {
            self.undo(undo);
        }
    }

    fn later(&mut self, undo: Undo) {
        let ticks = self.random.u64(1..300);
        self.due.push((self.ticks + ticks, undo));
    }

    fn undo(&mut self, undo: Undo) {
        self.tell(format!("over: {undo:?}"));
        match undo {
            Undo::Link(slave) => self.sim.repair(name(MASTER), name(slave)),
            Undo::Hold(slave) => self.sim.release(name(MASTER), name(slave)),
            Undo::Ears(slave) => self.world.ears[slave - 1].shut(false),
            Undo::Disk(slave) => self.world.disks[slave - 1].is_full.store(false, Ordering::Relaxed),
            Undo::Start(which) => self.sim.bounce(name(which)),
            Undo::Valve => self.flow(Flow::default()),
        }
    }

    fn flow(&self, flow: Flow) {
        if let Some(master) = self.world.master.lock().unwrap().upgrade() {
            master.valve.set(flow);
        }
    }

    /// Something goes wrong.
    fn trouble(&mut self) {
        let (what, slave) = (self.random.u8(..14), self.random.usize(1..=SLAVES));
        self.tell(format!("trouble {what} of {}", name(slave)));
        match what {
            0 => {
                self.sim.partition(name(MASTER), name(slave));
                self.later(Undo::Link(slave));
            }
            1 => {
                self.sim.partition_oneway(name(MASTER), name(slave));
                self.later(Undo::Link(slave));
            }
            2 => {
                self.sim.partition_oneway(name(slave), name(MASTER));
                self.later(Undo::Link(slave));
            }
            3 => {
                self.sim.hold(name(MASTER), name(slave));
                self.later(Undo::Hold(slave));
            }
            4 | 5 => {
                self.world.ears[slave - 1].shut(true);
                self.later(Undo::Ears(slave));
            }
            6 => {
                self.world.disks[slave - 1].is_full.store(true, Ordering::Relaxed);
                self.later(Undo::Disk(slave));
            }
            7 | 8 => {
                self.kill(if what == 7 { slave } else { MASTER });
            }
            9 | 10 => {
                if self.kill(MASTER) {
                    let lost = if self.random.u8(..5) == 0 { usize::MAX } else { self.random.usize(1..6) };
                    self.lose(lost);
                }
            }
            11 | 12 => self.delete(),
            _ => {
                let flow = Flow { paused: self.random.bool(), lag_ms: self.random.u64(..2_000) };
                self.flow(flow);
                self.later(Undo::Valve);
            }
        }
    }

    /// The master deletes some of its files, the oldest first, whoever still needs them.
    fn delete(&mut self) {
        let Some(store) = self.world.stores[MASTER].lock().unwrap().upgrade() else { return };
        self.look();
        let dir = self.world.path(MASTER).join("commitlog");
        let files = std::fs::read_dir(dir).into_iter().flatten();
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        // The first one that stays is too young.
        let stays =
            files.get(self.random.usize(1..4)).map(|path| File::options().write(true).open(path).unwrap());
        let touch = |when| stays.as_ref().map(|file| file.set_modified(when).unwrap());
        touch(UNIX_EPOCH + Duration::from_millis(2 * START_MS as u64));
        let deleted = store.delete_expired_files_now().unwrap();
        touch(UNIX_EPOCH);
        self.tell(format!("the master deletes {deleted} files"));
        self.deletions += usize::from(deleted > 0);
    }

    fn kill(&mut self, which: usize) -> bool {
        let runs = self.sim.is_host_running(name(which)) && self.world.range(which).is_some();
        if runs {
            self.look();
            self.sim.crash(name(which));
            self.later(Undo::Start(which));
        }
        runs
    }

    /// The dead master's disk loses the last messages of its log, or all of it.
    fn lose(&mut self, messages: usize) {
        let history = self.histories.last().unwrap().clone();
        let dir = self.world.path(MASTER).join("commitlog");
        let files = std::fs::read_dir(&dir).into_iter().flatten().map(|file| file.unwrap());
        let files: Vec<(usize, PathBuf)> =
            files.map(|file| (file.file_name().to_str().unwrap().parse().unwrap(), file.path())).collect();
        let min = files.iter().map(|(start, _)| *start).min().unwrap_or(0);
        // What ends a file goes with the message behind it.
        let (mut starts, mut blanks) = (Vec::new(), HashMap::new());
        let mut at = 0;
        while at < history.len() {
            let word = |from: usize| i32::from_be_bytes(history[from..from + 4].try_into().unwrap());
            let next = at + word(at) as usize;
            if word(at + 4) == MAGIC_BLANK {
                blanks.insert(next, at);
            } else {
                starts.push(at);
            }
            at = next;
        }
        let mut cut =
            starts.len().checked_sub(messages).map_or(0, |kept| starts.get(kept).copied().unwrap_or(at));
        if let Some(blank) = blanks.get(&cut) {
            cut = *blank;
        }
        if cut <= min {
            // Nothing is left: such a log begins anew.
            cut = 0;
        }
        self.tell(format!("the master loses what follows {cut}"));
        for (start, file) in files {
            if start >= cut {
                std::fs::remove_file(file).unwrap();
            } else if cut - start < FILE_BYTES as usize {
                let mut bytes = std::fs::read(&file).unwrap();
                bytes[cut - start..].fill(0);
                std::fs::write(file, bytes).unwrap();
            }
        }
        // As after a power cut: queues are checked against the log.
        std::fs::write(self.world.path(MASTER).join("abort"), "").unwrap();
        self.histories.push(history[..cut].to_vec());
        self.world.acked.lock().unwrap().retain(|acked| (acked.at as usize) < cut);
    }

    /// Whether everything that must hold does.
    fn look(&mut self) {
        let world = self.world.clone();
        let mut wrong = std::mem::take(&mut *world.wrong.lock().unwrap());
        if let Some((_, end)) = world.range(MASTER) {
            let history = self.histories.last_mut().unwrap();
            let known = history.len() as i64;
            if end < known {
                wrong.push(format!("the master's log ended at {known}, and ends at {end}"));
            }
            history.extend(world.log(MASTER, known, end));
        }
        let mut begun_again = 0;
        for slave in 1..=SLAVES {
            let asides = world.asides(slave);
            begun_again += usize::from(asides > 0);
            let Some((min, end)) = world.range(slave) else { continue };
            let log = world.log(slave, min, end);
            let of = |history: &Vec<u8>| history.get(min as usize..end as usize) == Some(&log);
            if !self.histories.iter().any(of) {
                let same = |history: &Vec<u8>| {
                    let there = history.get(min as usize..).unwrap_or_default();
                    there.iter().zip(&log).take_while(|(a, b)| a == b).count()
                };
                let same: Vec<_> = self.histories.iter().map(same).collect();
                wrong.push(format!(
                    "the log of {} from {min} to {end} is no log of the master; it is for {same:?} bytes",
                    name(slave)
                ));
            }
            if asides >= self.histories.len() + self.deletions {
                let (losses, deletions) = (self.histories.len() - 1, self.deletions);
                wrong.push(format!("{asides} logs put aside for {losses} losses and {deletions} deletions"));
            }
        }
        // A slave that begins again gets everything again, and may have nothing meanwhile.
        // Messages lie in one file each, most of them in one that was read for the message before.
        let mut files: [(i64, Vec<u8>); SLAVES] = Default::default();
        for acked in &*world.acked.lock().unwrap() {
            let start = acked.at - acked.at % FILE_BYTES as i64;
            let (from, mut holders) = ((acked.at - start) as usize, 0);
            for (file, slave) in files.iter_mut().zip(1..) {
                if file.0 != start || file.1.is_empty() {
                    *file = (start, world.file(slave, start).unwrap_or_default());
                }
                holders += usize::from(file.1.get(from..from + acked.bytes.len()) == Some(&acked.bytes));
            }
            if holders + begun_again < world.wanted {
                wrong.push(format!("acknowledged, and only {holders} slaves still have it: {}", acked.at));
            }
        }
        if let Some(master) = world.master.lock().unwrap().upgrade() {
            let min = world.range(MASTER).map_or(0, |(min, _)| min);
            for slave in master.slaves() {
                // An empty one begins where the log does.
                let held = slave.sent - slave.acked.max(min);
                let limit = (TCP_SEGMENTS * BATCH_BYTES * 2 + FILE_BYTES as usize * 2) as i64;
                if held > limit && !world.loses_reports {
                    wrong.push(format!("{held} bytes are under way to one slave"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), self.told());
    }

    fn told(&mut self) -> String {
        self.story.make_contiguous().join("\n")
    }

    fn heal(&mut self) {
        self.tell("all is healed".to_owned());
        self.due.clear();
        for which in 0..=SLAVES {
            if !self.sim.is_host_running(name(which)) {
                self.sim.bounce(name(which));
            }
        }
        for slave in 1..=SLAVES {
            for undo in [Undo::Hold(slave), Undo::Link(slave), Undo::Ears(slave), Undo::Disk(slave)] {
                self.undo(undo);
            }
        }
        self.undo(Undo::Valve);
    }

    fn is_equal(&self) -> bool {
        let Some((min, end)) = self.world.range(MASTER) else { return false };
        let log = self.world.log(MASTER, min, end);
        (1..=SLAVES).all(|slave| {
            let range = self.world.range(slave);
            range.is_some_and(|(from, to)| from <= min && to == end) && self.world.log(slave, min, end) == log
        })
    }
}

fn ticks(time: Duration) -> u64 {
    (time.as_millis() / TICK.as_millis()) as u64
}

fn run(seed: u64) {
    let mut run = Run::new(seed);
    while run.ticks < ticks(TROUBLE) {
        run.step();
        if run.random.u16(..150) == 0 {
            run.trouble();
        }
    }
    run.heal();
    // What is put after the healing must be acknowledged again, too.
    let until = run.ticks + ticks(HEALING);
    let (acked, mut wrote) = (run.world.acked.lock().unwrap().len(), false);
    loop {
        run.step();
        wrote |= run.world.acked.lock().unwrap().len() > acked;
        if wrote {
            run.world.writes.store(false, Ordering::Relaxed);
        }
        if wrote && run.is_equal() {
            break;
        }
        assert!(
            run.ticks < until,
            "the logs are {:?}, acknowledged again: {wrote}\n{}",
            [0, 1, 2].map(|which| run.world.range(which)),
            run.told()
        );
    }
    run.look();
}

/// Whatever the network, the disks and the processes do: what is said to be safe is, and all heals.
#[test]
fn replication_in_trouble() {
    let seeds = match std::env::var("RMQ_LITE_SIM_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("RMQ_LITE_SIM_SEED is a number");
            let _ = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).try_init();
            seed..seed + 1
        }
        Err(_) => 0..SEEDS,
    };
    for seed in seeds {
        let ran = std::panic::catch_unwind(|| run(seed));
        assert!(ran.is_ok(), "seed {seed}: run it again with RMQ_LITE_SIM_SEED={seed}");
    }
}
