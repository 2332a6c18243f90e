//! A small role on a real socket: requests in every order, broken bytes, calls back.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use super::client::Client;
use super::*;
use crate::wire::command::{Command, Reply, Request};
use crate::wire::fields::NoHeader;

/// Echoes (1), waits for a release (2), releases (3), calls its caller back (4), gives a MiB (5), counts (6), counts and
/// waits (7), refuses with what it was told (8).
#[derive(Default)]
struct Toy {
    release: Notify,
    gone: AtomicUsize,
    counted: AtomicUsize,
    someone_left: Notify,
}

impl Service for Toy {
    fn disconnected(&self, _: &Arc<Peer>) {
        self.gone.fetch_add(1, Ordering::Relaxed);
        self.someone_left.notify_one();
    }
}

fn routes() -> Routes<Toy> {
    use routes::Lane::{Client as C, Read, Write};
    Routes::new()
        .on(1, C, |_: &Arc<Toy>, call: Call<NoHeader>| -> Answer { Ok(Reply::success().body(call.body)) })
        .on(2, Read, |toy: &Arc<Toy>, _: Call<NoHeader>| {
            let toy = toy.clone();
            Outcome::later(async move {
                toy.release.notified().await;
                Ok(Reply::success().remark("released"))
            })
        })
        .on(3, C, |toy: &Arc<Toy>, _: Call<NoHeader>| -> Answer {
            toy.release.notify_one();
            Ok(Reply::success())
        })
        .on(5, C, |_: &Arc<Toy>, _: Call<NoHeader>| -> Answer { Ok(Reply::success().body(vec![5; 1 << 20])) })
        .on(4, C, |_: &Arc<Toy>, call: Call<NoHeader>| {
            Outcome::later(async move {
                let request = Request { code: 1, body: Bytes::from_static(b"you?"), ..Request::default() };
                match call.peer.call(request, Duration::from_secs(5)).await {
                    Ok(answer) => Ok(Reply::success().body(answer.body)),
                    Err(cause) => Err(Refusal::new(1, cause)),
                }
            })
        })
        .on(6, C, |toy: &Arc<Toy>, _: Call<NoHeader>| -> Answer {
            toy.counted.fetch_add(1, Ordering::Relaxed);
            Ok(Reply::success())
        })
        .on(8, C, |_: &Arc<Toy>, call: Call<NoHeader>| -> Answer {
            Err(Refusal::new(1, String::from_utf8_lossy(&call.body)))
        })
        .on(7, Write, |toy: &Arc<Toy>, _: Call<NoHeader>| {
            toy.counted.fetch_add(1, Ordering::Relaxed);
            let toy = toy.clone();
            Outcome::later(async move {
                toy.release.notified().await;
                Ok(Reply::success())
            })
        })
}

struct Rig {
    toy: Arc<Toy>,
    life: Lifecycle,
    clients: Lifecycle,
    clock: Clock,
    listener: Listener,
    routes: Arc<Routes<Toy>>,
}

impl Rig {
    async fn start() -> Self {
        Self::serving(routes()).await
    }

    async fn serving(routes: Routes<Toy>) -> Self {
        let (toy, life, clock) = (Arc::new(Toy::default()), Lifecycle::new(), Clock::new());
        let (socket, routes) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Arc::new(routes));
        let listener =
            Listener::serve(socket, routes.clone(), toy.clone(), clock.clone(), IDLE, &life).unwrap();
        Self { toy, life, clients: Lifecycle::new(), clock, listener, routes }
    }

    /// Returns how many requests of this code were served.
    fn served(&self, code: i32) -> u64 {
        self.routes.calls().find(|(known, ..)| *known == code).unwrap().2
    }

    async fn client(&self) -> Client {
        Client::connect_serving(
            self.listener.address(),
            Arc::new(routes()),
            self.toy.clone(),
            &self.clock,
            &self.clients,
        )
        .await
        .unwrap()
    }
}

fn request(code: i32) -> Request {
    Request::new(code, &NoHeader)
}

const IDLE: Duration = Duration::from_secs(120);
const LIMIT: Duration = Duration::from_secs(10);

/// A waiting request does not hold up later ones, and a caller can itself be called on its connection.
#[tokio::test]
async fn answers_overtake_each_other() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let waiting = client.call(request(2), LIMIT);
    let others = async {
        let echo = client.call(request(1).with_body("hello"), LIMIT).await.unwrap();
        assert_eq!(&echo.body[..], b"hello");
        assert_eq!(&client.call(request(4), LIMIT).await.unwrap().body[..], b"you?");
        client.call(request(3), LIMIT).await.unwrap();
    };
    let (released, ()) = tokio::join!(waiting, others);
    assert_eq!(released.unwrap().remark.as_deref(), Some("released"));
    assert_eq!(client.call(request(99), LIMIT).await.unwrap().code, 3);
    assert!(rig.life.stop(LIMIT).await);
}

/// Thousands of frames in one write come back in order, bodies of every size intact.
#[tokio::test]
async fn many_in_flight() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let body: Bytes = (0..300_000).map(|at| at as u8).collect::<Vec<_>>().into();
    let calls = (0..900).map(|at| client.call(request(1).with_body(body.slice(0..at * 333)), LIMIT));
    for (at, answer) in futures_util::future::join_all(calls).await.into_iter().enumerate() {
        assert_eq!(answer.unwrap().body, body.slice(0..at * 333));
    }
}

/// Small requests with large answers, all sent before the first answer is read, are all answered.
#[tokio::test]
async fn answers_beyond_the_bound_are_not_forgotten() {
    let rig = Rig::start().await;
    let mut stream = TcpStream::connect(rig.listener.address()).await.unwrap();
    let mut frames = BytesMut::new();
    (0..64).for_each(|opaque| request(5).encode(opaque, false, &mut frames));
    stream.write_all(&frames).await.unwrap();
    let mut answered = 0;
    while answered < 64 {
        let length =
            tokio::time::timeout(LIMIT, stream.read_u32()).await.expect("an answer is missing").unwrap();
        let mut answer = vec![0; length as usize];
        stream.read_exact(&mut answer).await.unwrap();
        answered += 1;
    }
}

/// Log lines of this thread, from a test's tasks too, as long as the guard lives.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn record(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone()).finish();
        tracing::subscriber::set_default(lines)
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A frame with this as its JSON header.
fn frame_of(header: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.put_u32(4 + header.len() as u32);
    frame.put_u32(header.len() as u32);
    frame.put(header);
    frame
}

/// Broken frames close their connection, and only theirs, with one line in the log that names the peer; a frame in
/// single bytes is served.
#[tokio::test]
async fn broken_bytes() {
    let log = Log::default();
    let _recording = log.record();
    let rig = Rig::start().await;
    let client = rig.client().await;
    let mut header_too_long = frame_of(b"{}");
    header_too_long[7] = 3;
    let mut another_serialization = frame_of(b"    ");
    another_serialization[4] = 7;
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0, 0, 0, 3, 0],
        &[0x7f; 64],
        &another_serialization,
        &header_too_long,
        &frame_of(b""),
        &frame_of(b"hello"),
        &frame_of(b"[1]"),
        &frame_of(b"{\"code\":1,\"opaque\":7"),
        &frame_of(b"{\"code\":\"one\",\"opaque\":7}"),
        &frame_of(b"{\"code\":1,\"remark\":\"\xff\xfe\"}"),
        &frame_of(&[b'{'; 4096]),
    ] {
        let mut stream = TcpStream::connect(rig.listener.address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let said = stream.read(&mut [0; 16]).await.unwrap_or(0);
        assert_eq!(said, 0, "{}", String::from_utf8_lossy(bytes));
        let peer = stream.local_addr().unwrap().to_string();
        let lines = log.lines();
        let of_peer: Vec<_> = lines.iter().filter(|line| line.contains(&peer)).collect();
        assert!(
            matches!(&of_peer[..], [line] if line.contains("WARN") && line.contains("closed: ")),
            "{lines:?}"
        );
    }
    let mut slow = TcpStream::connect(rig.listener.address()).await.unwrap();
    let mut frame = BytesMut::new();
    request(1).with_body("byte by byte").encode(5, false, &mut frame);
    for byte in &frame {
        slow.write_u8(*byte).await.unwrap();
        slow.flush().await.unwrap();
    }
    let length = slow.read_u32().await.unwrap();
    let mut answer = BytesMut::new();
    answer.put_u32(length);
    answer.resize(4 + length as usize, 0);
    slow.read_exact(&mut answer[4..]).await.unwrap();
    assert_eq!(&Command::decode(answer).unwrap().body[..], b"byte by byte");
    assert_eq!(client.call(request(1), LIMIT).await.unwrap().code, 0);
}

/// A remark that would not fit into a header is cut, and says how long it was.
#[tokio::test]
async fn an_endless_remark() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let told = "\u{1}".repeat(3 << 20);
    let answer = client.call(request(8).with_body(told.clone()), LIMIT).await.unwrap();
    let remark = answer.remark.unwrap();
    assert_eq!(remark, format!("{}… (3145728 bytes)", &told[..32 * 1024]));
    assert_eq!(client.call(request(1), LIMIT).await.unwrap().code, 0);
}

/// A oneway request gets no answer, not even for an unknown code.
#[tokio::test]
async fn oneway_is_never_answered() {
    let rig = Rig::start().await;
    let mut stream = TcpStream::connect(rig.listener.address()).await.unwrap();
    let mut frames = BytesMut::new();
    request(99).encode(1, true, &mut frames);
    request(1).encode(2, true, &mut frames);
    request(1).encode(3, false, &mut frames);
    stream.write_all(&frames).await.unwrap();
    let mut first = [0; 8];
    stream.read_exact(&mut first).await.unwrap();
    let mut header = vec![0; u32::from_be_bytes(first[4..8].try_into().unwrap()) as usize];
    stream.read_exact(&mut header).await.unwrap();
    assert!(String::from_utf8(header).unwrap().contains("\"opaque\":3"));
}

/// What a peer says before it goes counts, though it hears no answers: its last offsets come one way.
#[tokio::test]
async fn last_words_are_heard() {
    let rig = Rig::start().await;
    let stream = TcpStream::connect(rig.listener.address()).await.unwrap();
    let mut frames = BytesMut::new();
    request(1).encode(1, false, &mut frames);
    assert_eq!(stream.try_write(&frames).unwrap(), frames.len());
    stream.readable().await.unwrap();
    for _ in 0..500 {
        request(6).encode(2, true, &mut frames);
    }
    // Nothing is awaited from here on: the server finds all of this, and a connection that was reset, because the
    // first answer was not read.
    assert_eq!(stream.try_write(&frames).unwrap(), frames.len());
    drop(stream);
    while rig.toy.gone.load(Ordering::Relaxed) == 0 {
        rig.toy.someone_left.notified().await;
    }
    assert_eq!(rig.toy.counted.load(Ordering::Relaxed), 500);
}

/// A peer that sends but never reads is stopped by its own backlog; it does not take the server's memory.
#[tokio::test]
async fn a_peer_that_reads_nothing() {
    let rig = Rig::start().await;
    let mut deaf = TcpStream::connect(rig.listener.address()).await.unwrap();
    let mut frame = BytesMut::new();
    request(1).with_body(vec![7; 1 << 20]).encode(1, false, &mut frame);
    let mut taken = 0;
    while tokio::time::timeout(Duration::from_secs(1), deaf.write_all(&frame)).await.is_ok() {
        taken += 1;
        assert!(taken < 128, "128 MiB were taken");
    }
    // Beside the four that may wait there are only those that the sockets themselves hold.
    assert!((4..48).contains(&rig.served(1)), "{} were served, {taken} taken", rig.served(1));
    let client = rig.client().await;
    assert_eq!(client.call(request(1), LIMIT).await.unwrap().code, 0);
    drop(deaf);
}

/// What finds no place among the waiting is refused before anything was done for it, so that it may come again; other
/// lanes go on, and a place that is given back is one again.
#[tokio::test]
async fn a_full_lane_does_nothing() {
    let rig = Rig::serving(routes().waiting_at_most(routes::Lane::Write, 3, 2)).await;
    let (first, second) = (rig.client().await, rig.client().await);
    let busy = |whose: &str| {
        let remark = "[OVERLOAD]system busy, start flow control for a while";
        (2, format!("{remark}: {whose} wait in the write lane, no more may"))
    };
    let told = |answer: Command| (answer.code, answer.remark.unwrap_or_default().to_string());
    let waiting = futures_util::future::join(
        futures_util::future::join(first.call(request(7), LIMIT), first.call(request(7), LIMIT)),
        second.call(request(7), LIMIT),
    );
    let others = async {
        let answer = first.call(request(7), LIMIT).await.unwrap();
        assert_eq!(told(answer), busy("2 requests of this connection"));
        // An answered echo: whatever was sent before it has been served.
        second.call(request(1), LIMIT).await.unwrap();
        assert_eq!(told(second.call(request(7), LIMIT).await.unwrap()), busy("3 requests"));
        assert_eq!(first.call(request(1), LIMIT).await.unwrap().code, 0);
        assert_eq!(rig.toy.counted.load(Ordering::Relaxed), 3, "only those that wait were begun");
        rig.toy.release.notify_waiters();
    };
    let (((one, two), three), ()) = tokio::join!(waiting, others);
    for answer in [one, two, three] {
        assert_eq!(answer.unwrap().code, 0);
    }
    rig.toy.release.notify_one();
    assert_eq!(first.call(request(7), LIMIT).await.unwrap().code, 0);
    assert!(rig.routes.waiting().all(|(_, count)| count == 0));
}

/// One connection cannot take the places of all: beyond its own many it is refused, and another still waits.
#[tokio::test]
async fn one_peer_cannot_take_every_place() {
    let rig = Rig::start().await;
    let mut greedy = TcpStream::connect(rig.listener.address()).await.unwrap();
    let mut frames = BytesMut::new();
    (0..20_001).for_each(|opaque| request(2).encode(opaque, false, &mut frames));
    greedy.write_all(&frames).await.unwrap();
    let length = tokio::time::timeout(LIMIT, greedy.read_u32()).await.expect("a refusal").unwrap();
    let mut refusal = vec![0; length as usize];
    greedy.read_exact(&mut refusal).await.unwrap();
    let refusal = String::from_utf8_lossy(&refusal);
    assert!(
        refusal.contains("20000 requests of this connection wait") && refusal.contains(":20000,"),
        "{refusal}"
    );
    let client = rig.client().await;
    let (waited, ()) = tokio::join!(client.call(request(2), LIMIT), async {
        client.call(request(1), LIMIT).await.unwrap();
        drop(greedy);
        while rig.toy.gone.load(Ordering::Relaxed) == 0 {
            rig.toy.someone_left.notified().await;
        }
        client.call(request(3), LIMIT).await.unwrap();
    });
    assert_eq!(waited.unwrap().remark.as_deref(), Some("released"));
}

/// Our own requests to a peer that reads nothing are refused once its outbox is full, by number or by bytes; those
/// that were taken all reach it when it reads again.
#[tokio::test]
async fn an_outbox_nobody_empties() {
    for (body_bytes, asked_max) in [(1 << 10, 1 << 15), (1 << 20, 64)] {
        let rig = Rig::start().await;
        let mut deaf = TcpStream::connect(rig.listener.address()).await.unwrap();
        let peer = loop {
            if let Some(peer) = rig.listener.peers.lock().unwrap().values().next() {
                break peer.clone();
            }
            tokio::task::yield_now().await;
        };
        let asked = request(1).with_body(vec![7; body_bytes]);
        let mut taken = 0;
        while peer.oneway(asked.clone()) {
            taken += 1;
            assert!(taken < asked_max, "{taken} requests of {body_bytes} bytes were taken");
            tokio::task::yield_now().await;
        }
        assert!(!peer.oneway(asked.clone()), "still full");
        for _ in 0..taken {
            let length = tokio::time::timeout(LIMIT, deaf.read_u32()).await.expect("a request").unwrap();
            deaf.read_exact(&mut vec![0; length as usize]).await.unwrap();
        }
        assert!(peer.oneway(asked), "there is room again");
        assert_eq!(deaf.read_u32().await.unwrap() as usize / body_bytes, 1);
    }
}

/// A role learns of every connection that ends, and a closed one fails its waiting calls.
#[tokio::test]
async fn the_end_of_a_connection() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let waiting = client.call(request(2), LIMIT);
    let closing = async {
        client.call(request(1), LIMIT).await.unwrap();
        client.close();
    };
    let (answer, ()) = tokio::join!(waiting, closing);
    assert_eq!(answer.unwrap_err(), connection::CallError::Unreachable);
    while rig.toy.gone.load(Ordering::Relaxed) < 2 {
        rig.toy.someone_left.notified().await;
    }
    assert_eq!(rig.listener.connections(), 0);
}

/// An idle connection is closed once its time is up; travel through time makes nobody idle.
#[tokio::test]
async fn idle_connections_are_closed() {
    let rig = Rig::start().await;
    let mut stream = TcpStream::connect(rig.listener.address()).await.unwrap();
    let client = rig.client().await;
    client.call(request(1), LIMIT).await.unwrap();
    let idle = IDLE + Duration::from_secs(20);
    rig.clock.travel_in_order(idle).await;
    assert_eq!(client.call(request(1), LIMIT).await.unwrap().code, 0);
    assert_eq!(rig.listener.connections(), 2);
    tokio::time::pause();
    tokio::time::advance(idle).await;
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
}

/// A server that stops still answers what was waiting and has become ready.
#[tokio::test]
async fn stopping_answers_first() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let (waiting, stopped) = tokio::join!(client.call(request(2), LIMIT), async {
        client.call(request(1), LIMIT).await.unwrap();
        rig.toy.release.notify_one();
        rig.life.stop(LIMIT).await
    });
    assert!(stopped);
    assert_eq!(waiting.unwrap().code, 0);
}

/// A frame that echoes `body`.
fn echo_frame(body: &'static str) -> BytesMut {
    let mut frame = BytesMut::new();
    request(1).with_body(body).encode(7, false, &mut frame);
    frame
}

/// A load balancer's header is taken off and names the peer, also when it comes in pieces; a broken one ends the
/// connection.
#[tokio::test]
async fn a_load_balancer_in_front() {
    let rig = Rig::start().await;
    let mut stream = TcpStream::connect(rig.listener.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in ["PRO", "XY TCP4 192.168.0.7 10.0.0.1 4660", " 10911\r\n"] {
        stream.write_all(piece.as_bytes()).await.unwrap();
    }
    stream.write_all(&echo_frame("hello")).await.unwrap();
    let mut answer = [0; 256];
    let count = stream.read(&mut answer).await.unwrap();
    assert!(answer[..count].ends_with(b"hello"));
    let named: Vec<_> = rig.listener.peers.lock().unwrap().values().map(|peer| peer.address()).collect();
    assert_eq!(named, ["192.168.0.7:4660".parse().unwrap()]);

    let mut broken = TcpStream::connect(rig.listener.address()).await.unwrap();
    broken.write_all(b"PROXY TCP4 nobody\r\n").await.unwrap();
    assert_eq!(broken.read(&mut answer).await.unwrap(), 0);
}

/// What begins like TLS and is none ends its connection with an alert, and others do not notice.
#[tokio::test]
async fn broken_tls() {
    let rig = Rig::start().await;
    for garbage in [&[0x16; 300][..], b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01\x00\x00"] {
        let mut stream = TcpStream::connect(rig.listener.address()).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        let _ = stream.shutdown().await;
        let mut said = Vec::new();
        // A reset says no more than an end here.
        let _ = stream.read_to_end(&mut said).await;
        assert!(said.len() < 64, "{said:?}");
    }
    assert_eq!(rig.client().await.call(request(1), LIMIT).await.unwrap().code, 0);
}
