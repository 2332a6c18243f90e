//! Replication over a simulated network: delays, partitions of one way or both, lost connections, half-open ones, a
//! slave that does not read, a full disk, either end killed, a master that lost its end or everything.
//!
//! The product's master and slave run on real stores and files; turmoil is the network and the time. At every look
//! the slave's log must be a beginning of a log that the master had, what SYNC_MASTER acknowledged must be on both,
//! nobody may hold much, and the slave may put its log aside only after the master lost something. At the end all is
//! healed, and the two logs must soon be equal. `RMQ_LITE_SIM_SEED=7` runs one seed again.

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
use std::time::Duration;

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
const LOOK: u64 = 10;
/// Bytes of a commit-log file, and of a frame's body.
const FILE_BYTES: u64 = 16 << 10;
const BATCH_BYTES: usize = 1_500;
/// Segments that a socket holds; a frame is two of them.
const TCP_SEGMENTS: usize = 32;
const PORT: u16 = 10_912;
const START_MS: i64 = 1_700_000_000_000;

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

/// What both hosts and the one who looks at them share.
struct World {
    dir: tempfile::TempDir,
    disk: Arc<Small>,
    ears: Arc<Ears>,
    random: Mutex<fastrand::Rng>,
    writes: AtomicBool,
    elapsed_ms: AtomicI64,
    master: Mutex<Weak<Master>>,
    stores: [Mutex<Weak<MessageStore>>; 2],
    /// Sizes of messages: equal ones let two logs differ without a different length.
    equal_sizes: bool,
    loses_reports: bool,
    acked: Mutex<Vec<Acked>>,
    wrong: Mutex<Vec<String>>,
}

/// What was acknowledged as safe on both: where, and the bytes.
struct Acked {
    at: i64,
    bytes: Vec<u8>,
}

const MASTER: usize = 0;
const SLAVE: usize = 1;
const NAMES: [&str; 2] = ["master", "slave"];

fn options() -> HaOptions {
    let (heartbeat, housekeeping) = (Duration::from_millis(200), Duration::from_millis(1_000));
    HaOptions { heartbeat, housekeeping, batch_bytes: BATCH_BYTES }
}

impl World {
    fn path(&self, which: usize) -> PathBuf {
        self.dir.path().join(NAMES[which])
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
            slaves_wanted: usize::from(which == MASTER),
            slave_timeout_ms: 500,
            ..StoreOptions::at(&self.path(which))
        };
        let disk: Arc<dyn FileSystem> =
            if which == SLAVE { self.disk.clone() } else { Arc::new(Small::default()) };
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

    /// Where a log ends, if its broker runs.
    fn end(&self, which: usize) -> Option<i64> {
        self.stores[which].lock().unwrap().upgrade().map(|store| store.max_physical_offset().0)
    }

    /// The bytes of a log as they are in its files.
    fn log(&self, which: usize, from: i64, to: i64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut at = from;
        while at < to {
            let start = at - at % FILE_BYTES as i64;
            let file = self.path(which).join(format!("commitlog/{start:020}"));
            let Ok(file) = std::fs::read(file) else { break };
            let until = (to - start).min(file.len() as i64);
            bytes.extend_from_slice(&file[(at - start) as usize..until as usize]);
            at = start + until;
        }
        bytes
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

/// Puts messages now and then; whatever is acknowledged must be with the slave at that moment.
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
        let host = "127.0.0.1:1".parse().unwrap();
        let message = NewMessage {
            topic: "T",
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &body,
            properties: &[],
            wait_store: true,
        };
        let receipt = store.put(&message).unwrap();
        let (world, at, end) =
            (world.clone(), receipt.physical_offset.0, receipt.physical_offset.0 + receipt.size as i64);
        tokio::spawn(async move {
            if receipt.durable().await == PutStatus::Ok {
                let bytes = world.log(MASTER, at, end);
                if world.log(SLAVE, at, end) != bytes {
                    world.blame(format!("acknowledged, and not on the slave: {at}"));
                }
                world.acked.lock().unwrap().push(Acked { at, bytes });
            }
        });
    }
}

async fn slave(world: Arc<World>) -> turmoil::Result {
    let clock = world.clock();
    let store = loop {
        match world.open(SLAVE, &clock) {
            Ok(store) => break store,
            Err(_) if world.disk.is_full.load(Ordering::Relaxed) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(cause) => return Err(cause.into()),
        }
    };
    store.forbid_puts(Some("a slave"));
    let replica = Arc::new(Replica::new(store, clock, options(), Some("master".to_owned())));
    let ears = world.ears.clone();
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
    /// What happened, for who reads of a failure.
    story: VecDeque<String>,
    /// What is undone, and at which tick.
    due: Vec<(u64, Undo)>,
    ticks: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Undo {
    Link,
    Hold,
    Ears,
    Disk,
    Start(usize),
    Valve,
}

impl Run<'_> {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let world = Arc::new(World {
            dir: tempfile::tempdir().unwrap(),
            disk: Arc::default(),
            ears: Arc::default(),
            random: Mutex::new(fastrand::Rng::with_seed(!seed)),
            writes: AtomicBool::new(true),
            elapsed_ms: AtomicI64::new(0),
            master: Mutex::default(),
            stores: Default::default(),
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
        let (for_master, for_slave) = (world.clone(), world.clone());
        sim.host("master", move || master(for_master.clone()));
        sim.host("slave", move || slave(for_slave.clone()));
        let (histories, story) = (vec![Vec::new()], VecDeque::new());
        Self { world, sim, random, histories, story, due: Vec::new(), ticks: 0 }
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
            Undo::Link => self.sim.repair("master", "slave"),
            Undo::Hold => self.sim.release("master", "slave"),
            Undo::Ears => self.world.ears.shut(false),
            Undo::Disk => self.world.disk.is_full.store(false, Ordering::Relaxed),
            Undo::Start(which) => self.sim.bounce(NAMES[which]),
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
        let what = self.random.u8(..12);
        self.tell(format!("trouble {what}"));
        match what {
            0 => {
                self.sim.partition("master", "slave");
                self.later(Undo::Link);
            }
            1 => {
                self.sim.partition_oneway("master", "slave");
                self.later(Undo::Link);
            }
            2 => {
                self.sim.partition_oneway("slave", "master");
                self.later(Undo::Link);
            }
            3 => {
                self.sim.hold("master", "slave");
                self.later(Undo::Hold);
            }
            4 | 5 => {
                self.world.ears.shut(true);
                self.later(Undo::Ears);
            }
            6 => {
                self.world.disk.is_full.store(true, Ordering::Relaxed);
                self.later(Undo::Disk);
            }
            7 | 8 => {
                self.kill(if what == 7 { SLAVE } else { MASTER });
            }
            9 | 10 => {
                if self.kill(MASTER) {
                    let lost = if self.random.u8(..5) == 0 { usize::MAX } else { self.random.usize(1..6) };
                    self.lose(lost);
                }
            }
            _ => {
                let flow = Flow { paused: self.random.bool(), lag_ms: self.random.u64(..2_000) };
                self.flow(flow);
                self.later(Undo::Valve);
            }
        }
    }

    fn kill(&mut self, which: usize) -> bool {
        let runs = self.sim.is_host_running(NAMES[which]) && self.world.end(which).is_some();
        if runs {
            self.look();
            self.sim.crash(NAMES[which]);
            self.later(Undo::Start(which));
        }
        runs
    }

    /// The dead master's disk loses the last messages of its log, or all of it.
    fn lose(&mut self, messages: usize) {
        let history = self.histories.last().unwrap().clone();
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
        self.tell(format!("the master loses what follows {cut}"));
        let dir = self.world.path(MASTER).join("commitlog");
        for file in std::fs::read_dir(&dir).into_iter().flatten().map(|file| file.unwrap()) {
            let start: usize = file.file_name().to_str().unwrap().parse().unwrap();
            if start >= cut {
                std::fs::remove_file(file.path()).unwrap();
            } else if cut - start < FILE_BYTES as usize {
                let mut bytes = std::fs::read(file.path()).unwrap();
                bytes[cut - start..].fill(0);
                std::fs::write(file.path(), bytes).unwrap();
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
        if let Some(end) = world.end(MASTER) {
            let history = self.histories.last_mut().unwrap();
            let known = history.len() as i64;
            if end < known {
                wrong.push(format!("the master's log ended at {known}, and ends at {end}"));
            }
            history.extend(world.log(MASTER, known, end));
        }
        let log = world.end(SLAVE).map(|end| world.log(SLAVE, 0, end));
        if let Some(log) = &log {
            if !self.histories.iter().any(|history| history.starts_with(log)) {
                let same = |history: &Vec<u8>| history.iter().zip(log).take_while(|(a, b)| a == b).count();
                let same: Vec<_> = self.histories.iter().map(same).collect();
                wrong.push(format!(
                    "the slave's log of {} bytes is no log of the master; it is up to {same:?}",
                    log.len()
                ));
            }
            // A slave that begins again gets everything again.
            let acked = world.acked.lock().unwrap();
            let history = self.histories.last().unwrap();
            let copies = history.starts_with(log) && self.histories.len() > 1;
            if let Some(lost) = acked.iter().find(|acked| {
                let at = acked.at as usize;
                log.get(at..at + acked.bytes.len()) != Some(&acked.bytes) && !copies
            }) {
                wrong.push(format!("acknowledged, and not on the slave any more: {}", lost.at));
            }
        }
        if let Some(master) = world.master.lock().unwrap().upgrade() {
            for slave in master.slaves() {
                let held = slave.sent - slave.acked;
                let limit = (TCP_SEGMENTS * BATCH_BYTES * 2 + FILE_BYTES as usize * 2) as i64;
                if held > limit && !world.loses_reports {
                    wrong.push(format!("{held} bytes are under way to one slave"));
                }
            }
        }
        let asides = std::fs::read_dir(world.path(SLAVE)).into_iter().flatten();
        let asides = asides
            .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().contains("aside"))
            .count();
        if asides >= self.histories.len() {
            wrong.push(format!("{asides} logs are put aside for {} losses", self.histories.len() - 1));
        }
        assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), self.told());
    }

    fn told(&mut self) -> String {
        self.story.make_contiguous().join("\n")
    }

    fn heal(&mut self) {
        self.tell("all is healed".to_owned());
        self.sim.release("master", "slave");
        self.sim.repair("master", "slave");
        self.due.clear();
        for which in [MASTER, SLAVE] {
            if !self.sim.is_host_running(NAMES[which]) {
                self.sim.bounce(NAMES[which]);
            }
        }
        self.undo(Undo::Ears);
        self.undo(Undo::Disk);
        self.undo(Undo::Valve);
    }

    fn is_equal(&self) -> bool {
        let ends = [MASTER, SLAVE].map(|which| self.world.end(which));
        let [Some(master), Some(slave)] = ends else { return false };
        master == slave && self.world.log(MASTER, 0, master) == self.world.log(SLAVE, 0, slave)
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
            "the logs end at {:?}, acknowledged again: {wrote}\n{}",
            [MASTER, SLAVE].map(|which| run.world.end(which)),
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
