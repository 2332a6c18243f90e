//! Kill -9 of the real program at every step of a delay, a timer, a transaction, a pop and a retry: after the next start
//! on the same data each message is given out exactly as often as it must be.
//!
//! A case is a list of acts before the kill and one of acts after it, and what is in the queues in the end. All goes
//! over the wire, and time is moved by the console's port, so nothing here waits for a clock. What reaches the disk
//! only a moment later (the progress of delays, offsets of groups) is waited for by [`Act::Saved`] where the case
//! asks for "exactly once"; without it a message may come once more, and the case says so.

use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::sync::{Arc, Mutex};

use rmq_lite::clock::Clock;
use rmq_lite::lifecycle::Lifecycle;
use rmq_lite::remoting::client::Client;
use rmq_lite::remoting::routes::{Call, Lane, Outcome};
use rmq_lite::remoting::{Peer, Routes, Service};
use rmq_lite::wire::code::{request as code, response};
use rmq_lite::wire::command::{Command, Request};
use rmq_lite::wire::header::transaction::CheckTransactionStateRequestHeader;
use rmq_lite::wire::message::MessageRecord;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::kit::{LIMIT, request, send_request};

const TOPIC: &str = "T";
const RETRY: &str = "%RETRY%g";
const POP_RETRY: &str = "%RETRY%g_T";
const DLQ: &str = "%DLQ%g";
const COMMIT: i32 = 8;
const ROLLBACK: i32 = 12;

/// One thing that is done, or waited for.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Sends a message with these properties.
    Send(&'static str, &'static [(&'static str, &'static str)]),
    /// Sends a half message; the latest is the one that [`Act::End`] is about.
    Half(&'static str),
    /// Ends the transaction of the latest half message, and expects this code.
    End(i32, i32),
    /// Becomes a producer that is asked before so much time has passed, and answers in this way.
    AnswerCheck(&'static str, i32),
    /// Lets this much time pass.
    Advance(&'static str),
    /// Waits until a topic has so many messages.
    Await(&'static str, usize),
    /// Waits until everything is in the configuration files that is put there a moment later.
    Saved,
    /// Pops from the topic or its retries; expects one with this body and as many tries, which is remembered.
    Pop(&'static str, i32),
    /// Pops and expects nothing.
    PopNothing,
    /// Acknowledges the message popped last.
    Ack,
    /// Puts off the message popped last by so many milliseconds.
    PutOff(&'static str),
    /// Sends the latest message of a topic back with this level.
    SendBack(&'static str, &'static str),
}

use Act::{Ack, Advance, AnswerCheck, Await, End, Half, Pop, PopNothing, PutOff, Saved, Send, SendBack};

/// What must be true of one kill.
struct Case {
    name: &'static str,
    before: &'static [Act],
    after: &'static [Act],
    /// What topics hold in the end, after a day: each message with its number of tries.
    end: &'static [(&'static str, &'static [(&'static str, i32)])],
    /// Whether the only message may be there once more, because the kill came before its progress was on disk.
    or_twice: bool,
}

const fn case(
    name: &'static str,
    before: &'static [Act],
    after: &'static [Act],
    end: &'static [(&'static str, &'static [(&'static str, i32)])],
) -> Case {
    Case { name, before, after, end, or_twice: false }
}

const ONCE: &[(&str, &[(&str, i32)])] = &[(TOPIC, &[("m", 0)])];
const NEVER: &[(&str, &[(&str, i32)])] = &[(TOPIC, &[])];

const DELAYS: &[Case] = &[
    case(
        "delay: stored, not due",
        &[Send("m", &[("DELAY", "3")])],
        &[Await(TOPIC, 0), Advance("10s"), Await(TOPIC, 1)],
        ONCE,
    ),
    case(
        "delay: due while the server is down, or soon after",
        &[Send("m", &[("DELAY", "1")])],
        &[Await(TOPIC, 1)],
        ONCE,
    ),
    case(
        "delay: delivered",
        &[Send("m", &[("DELAY", "3")]), Advance("10s"), Await(TOPIC, 1), Saved],
        &[],
        ONCE,
    ),
    Case {
        or_twice: true,
        ..case(
            "delay: delivered a moment ago",
            &[Send("m", &[("DELAY", "3")]), Advance("10s"), Await(TOPIC, 1)],
            &[],
            ONCE,
        )
    },
    case(
        "timer: stored, not due",
        &[Send("m", &[("TIMER_DELAY_MS", "10000")])],
        &[Await(TOPIC, 0), Advance("10s"), Await(TOPIC, 1)],
        ONCE,
    ),
    case(
        "timer: due while the server is down, or soon after",
        &[Send("m", &[("TIMER_DELAY_MS", "700")])],
        &[Await(TOPIC, 1)],
        ONCE,
    ),
    case(
        "timer: delivered",
        &[Send("m", &[("TIMER_DELAY_MS", "10000")]), Advance("10s"), Await(TOPIC, 1), Saved],
        &[],
        ONCE,
    ),
];

const TRANSACTIONS: &[Case] = &[
    case(
        "transaction: half, then committed",
        &[Half("m")],
        &[Await(TOPIC, 0), End(COMMIT, response::SUCCESS), Await(TOPIC, 1)],
        ONCE,
    ),
    case(
        "transaction: half, then asked about and committed",
        &[Half("m")],
        &[AnswerCheck("1m", COMMIT), Await(TOPIC, 1)],
        ONCE,
    ),
    case(
        "transaction: half, then asked about and rolled back",
        &[Half("m")],
        &[AnswerCheck("1m", ROLLBACK)],
        NEVER,
    ),
    case(
        "transaction: asked about without an answer",
        &[Half("m"), AnswerCheck("5s", 0)],
        &[Await(TOPIC, 0), AnswerCheck("1m", COMMIT), Await(TOPIC, 1)],
        ONCE,
    ),
    case(
        "transaction: committed, and nobody is asked again",
        &[Half("m"), End(COMMIT, response::SUCCESS)],
        &[Await(TOPIC, 1), End(COMMIT, response::SYSTEM_ERROR), End(ROLLBACK, response::SYSTEM_ERROR)],
        ONCE,
    ),
    case(
        "transaction: rolled back, for good",
        &[Half("m"), End(ROLLBACK, response::SUCCESS)],
        &[End(COMMIT, response::SYSTEM_ERROR)],
        NEVER,
    ),
];

const POPS: &[Case] = &[
    case(
        "pop: not acknowledged",
        &[Send("m", &[]), Pop("m", 0), Saved],
        &[PopNothing, Advance("2m"), Pop("m", 1), Ack, Advance("2m"), PopNothing],
        &[(TOPIC, &[("m", 0)]), (POP_RETRY, &[("m", 1)])],
    ),
    case(
        "pop: acknowledged",
        &[Send("m", &[]), Pop("m", 0), Ack, Saved],
        &[PopNothing, Advance("2m"), PopNothing],
        &[(TOPIC, &[("m", 0)]), (POP_RETRY, &[])],
    ),
    case(
        "pop: put off",
        &[Send("m", &[]), Pop("m", 0), PutOff("600000"), Saved],
        &[Advance("2m"), PopNothing, Advance("10m"), Pop("m", 1), Ack],
        &[(TOPIC, &[("m", 0)]), (POP_RETRY, &[("m", 1)])],
    ),
    case(
        "pop: offered again, not popped yet",
        &[Send("m", &[]), Pop("m", 0), Advance("2m"), Await(POP_RETRY, 1), Saved],
        &[Pop("m", 1), Ack, Advance("2m"), PopNothing],
        &[(TOPIC, &[("m", 0)]), (POP_RETRY, &[("m", 1)])],
    ),
    case(
        "pop: offered again, and acknowledged then",
        &[Send("m", &[]), Pop("m", 0), Advance("2m"), Pop("m", 1), Ack, Saved],
        &[PopNothing, Advance("2m"), PopNothing],
        &[(TOPIC, &[("m", 0)]), (POP_RETRY, &[("m", 1)])],
    ),
];

const RETRIES: &[Case] = &[
    case(
        "retry: sent back, not due",
        &[Send("m", &[]), SendBack(TOPIC, "0")],
        &[Await(RETRY, 0), Advance("10s"), Await(RETRY, 1)],
        &[(TOPIC, &[("m", 0)]), (RETRY, &[("m", 1)]), (DLQ, &[])],
    ),
    case(
        "retry: due while the server is down, or soon after",
        &[Send("m", &[]), SendBack(TOPIC, "1")],
        &[Await(RETRY, 1)],
        &[(TOPIC, &[("m", 0)]), (RETRY, &[("m", 1)])],
    ),
    case(
        "retry: delivered, and failed again after the start",
        &[Send("m", &[]), SendBack(TOPIC, "0"), Advance("10s"), Await(RETRY, 1), Saved],
        &[
            Await(RETRY, 1),
            SendBack(RETRY, "0"),
            Advance("10s"),
            Await(RETRY, 1),
            Advance("20s"),
            Await(RETRY, 2),
        ],
        &[(TOPIC, &[("m", 0)]), (RETRY, &[("m", 1), ("m", 2)]), (DLQ, &[])],
    ),
    case(
        "retry: failed again, the second not due",
        &[Send("m", &[]), SendBack(TOPIC, "0"), Advance("10s"), Await(RETRY, 1), SendBack(RETRY, "0"), Saved],
        &[Advance("1m"), Await(RETRY, 2)],
        &[(TOPIC, &[("m", 0)]), (RETRY, &[("m", 1), ("m", 2)]), (DLQ, &[])],
    ),
    case(
        "retry: dead",
        &[Send("m", &[]), SendBack(TOPIC, "-1")],
        &[Await(DLQ, 1)],
        &[(TOPIC, &[("m", 0)]), (RETRY, &[]), (DLQ, &[("m", 1)])],
    ),
];

async fn run_all(cases: &[Case]) {
    for case in cases {
        let mut life = Life::start(case.name);
        life.play(case.before).await;
        life.kill();
        life.play(case.after).await;
        life.act(Advance("24h")).await;
        for (topic, wanted) in case.end {
            let mut found = life.messages(topic).await;
            if case.or_twice && found.len() == 2 {
                assert_eq!(found[0], found[1], "{}: {topic}", case.name);
                found.pop();
            }
            let wanted: Vec<_> = wanted.iter().map(|(body, tries)| ((*body).to_owned(), *tries)).collect();
            assert_eq!(found, wanted, "{}: {topic} in the end", case.name);
        }
    }
}

/// A delayed message comes when it is due, once.
#[tokio::test]
async fn delays() {
    run_all(DELAYS).await;
}

/// A message comes once when its transaction is committed, and never when it is rolled back.
#[tokio::test]
async fn transactions() {
    run_all(TRANSACTIONS).await;
}

/// A popped message comes again when it was not acknowledged, and not when it was.
#[tokio::test]
async fn pops() {
    run_all(POPS).await;
}

/// A message sent back comes after its delay, once, and a dead one stays where it is.
#[tokio::test]
async fn retries() {
    run_all(RETRIES).await;
}

/// The program on one data directory, killed with this.
struct Life {
    name: &'static str,
    folder: tempfile::TempDir,
    running: Option<Running>,
    /// Body of the answer to the latest half message: its queue offset and its place in the log.
    half: (String, String),
    /// What was popped last.
    popped: Popped,
}

#[derive(Default)]
struct Popped {
    topic: String,
    queue_id: String,
    offset: String,
    receipt: String,
}

struct Running {
    child: Child,
    web: String,
    client: Client,
    producer: Arc<Producer>,
    /// Keeps the connection.
    _life: Lifecycle,
}

/// What a producer is asked by its broker.
#[derive(Default)]
struct Producer {
    checks: Mutex<Vec<CheckTransactionStateRequestHeader>>,
    asked: tokio::sync::Notify,
}

impl Service for Producer {
    fn disconnected(&self, _: &Arc<Peer>) {}
}

fn check_transaction_state(
    producer: &Arc<Producer>,
    call: Call<CheckTransactionStateRequestHeader>,
) -> Outcome {
    producer.checks.lock().unwrap().push(call.header);
    producer.asked.notify_one();
    Outcome::Never
}

impl Drop for Life {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Life {
    fn start(name: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { name, folder, running: None, half: Default::default(), popped: Popped::default() }
    }

    /// Kills the program as `kill -9` does; the next act starts it again.
    fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.child.kill().unwrap();
            running.child.wait().unwrap();
        }
    }

    async fn play(&mut self, acts: &[Act]) {
        for act in acts {
            self.act(*act).await;
        }
    }

    async fn server(&mut self) -> &Running {
        if self.running.is_none() {
            self.running = Some(Running::start(self.folder.path()).await);
        }
        self.running.as_ref().unwrap()
    }

    async fn ask(&mut self, request: Request) -> Command {
        self.server().await.client.call(request, LIMIT).await.unwrap()
    }

    async fn well(&mut self, what: &str, request: Request) -> Command {
        let answer = self.ask(request).await;
        assert_eq!(answer.code, response::SUCCESS, "{}: {what}: {:?}", self.name, answer.remark);
        answer
    }

    async fn act(&mut self, act: Act) {
        match act {
            Send(body, properties) => {
                self.well("send", send_request(TOPIC, 0, &text_of(properties)).with_body(body)).await;
            }
            Half(body) => {
                let properties = [("TRAN_MSG", "true"), ("PGROUP", "producers"), ("UNIQ_KEY", "K1")];
                let half = send_request(TOPIC, 0, &text_of(&properties)).with_body(body);
                let answer = self.well("half", half).await;
                let field = |name: &str| answer.fields.get(name).unwrap().to_owned();
                let at = i64::from_str_radix(&field("msgId")[16..], 16).unwrap().to_string();
                self.half = (field("queueOffset"), at);
            }
            End(decision, wanted) => {
                let (queue_offset, at) = self.half.clone();
                let answer = self.ask(end_request(&queue_offset, &at, decision, false)).await;
                assert_eq!(answer.code, wanted, "{}: {:?}", self.name, answer.remark);
            }
            AnswerCheck(span, decision) => self.answer_check(span, decision).await,
            Advance(span) => self.server().await.advance(span).await,
            Await(topic, count) => {
                let found = self.await_messages(topic, count).await;
                assert_eq!(found, count, "{}: {topic}", self.name);
            }
            Saved => {
                let body = r#"{"groupName":"another","retryQueueNums":1,"retryMaxTimes":16}"#;
                let create = request(code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[]).with_body(body);
                self.well("save", create).await;
            }
            Pop(body, tries) => {
                let answer = self.pop("15000").await;
                assert_eq!(answer.code, response::SUCCESS, "{}: {:?}", self.name, answer.remark);
                self.popped = popped(&answer, body, tries, self.name);
            }
            PopNothing => {
                let answer = self.pop("0").await;
                assert_ne!(answer.code, response::SUCCESS, "{}: it was popped", self.name);
            }
            Ack => {
                let request = self.about_popped(code::ACK_MESSAGE, &[]);
                self.well("ack", request).await;
            }
            PutOff(invisible_ms) => {
                let request =
                    self.about_popped(code::CHANGE_MESSAGE_INVISIBLETIME, &[("invisibleTime", invisible_ms)]);
                self.well("put off", request).await;
            }
            SendBack(topic, level) => {
                let pulled = self.pull(topic).await;
                let last = MessageRecord::decode_all(&pulled.body).last().unwrap().unwrap();
                let offset = last.physical_offset.to_string();
                let fields = [("offset", offset.as_str()), ("group", "g"), ("delayLevel", level)];
                self.well("send back", request(code::CONSUMER_SEND_MSG_BACK, &fields)).await;
            }
        }
    }

    /// Becomes known as a producer by heartbeat, lets time pass, and answers what it is asked last.
    async fn answer_check(&mut self, span: &str, decision: i32) {
        let heartbeat =
            r#"{"clientID":"c@1","consumerDataSet":[],"producerDataSet":[{"groupName":"producers"}]}"#;
        self.well("heartbeat", request(code::HEART_BEAT, &[]).with_body(heartbeat)).await;
        let (at, name) = (self.half.1.clone(), self.name);
        let running = self.server().await;
        running.advance(span).await;
        let asked = tokio::time::timeout(LIMIT, running.producer.asked.notified()).await;
        asked.unwrap_or_else(|_| panic!("{name}: nobody asks about {at}"));
        let check = running.producer.checks.lock().unwrap().pop().unwrap();
        let (queue_offset, at) =
            (check.tran_state_table_offset.to_string(), check.commit_log_offset.to_string());
        let answer = end_request(&queue_offset, &at, decision, true);
        if decision == 0 {
            assert!(running.client.oneway(answer));
        } else {
            self.well("answer to a check", answer).await;
        }
    }

    async fn pop(&mut self, poll_ms: &str) -> Command {
        let fields = [
            ("consumerGroup", "g"),
            ("topic", TOPIC),
            ("queueId", "-1"),
            ("maxMsgNums", "1"),
            ("invisibleTime", "60000"),
            ("pollTime", poll_ms),
            ("bornTime", "0"),
            ("initMode", "0"),
        ];
        self.ask(request(code::POP_MESSAGE, &fields)).await
    }

    fn about_popped(&self, code: i32, more: &[(&'static str, &str)]) -> Request {
        let Popped { topic, queue_id, offset, receipt } = &self.popped;
        let fields = [
            ("consumerGroup", "g"),
            ("topic", topic),
            ("queueId", queue_id),
            ("extraInfo", receipt),
            ("offset", offset),
        ];
        request(code, &[&fields[..], more].concat())
    }

    async fn pull(&mut self, topic: &str) -> Command {
        self.ask(crate::kit::pull_request(topic, 0, 0, "*", 0)).await
    }

    /// Returns the messages of a topic in order, each with its tries.
    async fn messages(&mut self, topic: &str) -> Vec<(String, i32)> {
        let pulled = self.pull(topic).await;
        let records = MessageRecord::decode_all(&pulled.body).map(Result::unwrap);
        records.map(|it| (String::from_utf8(it.body.to_vec()).unwrap(), it.reconsume_times)).collect()
    }

    /// Waits by a held pull until a topic has at least so many messages, and returns how many it has.
    async fn await_messages(&mut self, topic: &str, count: usize) -> usize {
        let what = format!("{}: {topic} never has {count} messages", self.name);
        let enough = async {
            loop {
                let found = self.messages(topic).await.len();
                if found >= count {
                    return found;
                }
                self.ask(crate::kit::pull_request(topic, 0, found as i64, "*", 15_000)).await;
            }
        };
        tokio::time::timeout(LIMIT, enough).await.expect(&what)
    }
}

impl Running {
    async fn start(folder: &Path) -> Self {
        let ports: PathBuf = folder.join("ports.json");
        let _ = std::fs::remove_file(&ports);
        let mut command = Process::new(env!("CARGO_BIN_EXE_rmq-lite"));
        command.args(["start", "--json", "--namesrv-port", "0", "--broker-port", "0", "--web-port", "0"]);
        command.arg("--data-dir").arg(folder.join("data")).stderr(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // The one line says that it is ready, and where.
        let stdout = child.stdout.take().unwrap();
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
            line
        });
        let line = tokio::time::timeout(LIMIT, line).await.expect("it starts").unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).unwrap();
        let field = |name: &str| said[name].as_str().unwrap().to_owned();
        let (life, clock, producer) = (Lifecycle::new(), Clock::new(), Arc::new(Producer::default()));
        let routes = Routes::new().on(code::CHECK_TRANSACTION_STATE, Lane::Client, check_transaction_state);
        let broker = field("broker");
        let client = Client::connect_serving(&*broker, Arc::new(routes), producer.clone(), &clock, &life);
        let client = client.await.unwrap();
        let web = field("web").trim_start_matches("http://").to_owned();
        Self { child, web, client, producer, _life: life }
    }

    /// Lets time pass on the server; what is due by then has happened when this returns, or happens at once.
    async fn advance(&self, span: &str) {
        let body = format!("{{\"advance\":\"{span}\"}}");
        let ask = format!(
            "POST /api/v1/clock HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(&*self.web).await.unwrap();
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

fn text_of(properties: &[(&str, &str)]) -> String {
    properties.iter().flat_map(|(name, value)| [*name, "\u{1}", *value, "\u{2}"]).collect()
}

fn end_request(queue_offset: &str, at: &str, decision: i32, asked: bool) -> Request {
    let (decision, asked) = (decision.to_string(), asked.to_string());
    let fields = [
        ("producerGroup", "producers"),
        ("tranStateTableOffset", queue_offset),
        ("commitLogOffset", at),
        ("commitOrRollback", decision.as_str()),
        ("fromTransactionCheck", asked.as_str()),
        ("msgId", "K1"),
    ];
    request(code::END_TRANSACTION, &fields)
}

/// Checks the one message of a pop, and makes what a client brings back for it.
fn popped(answer: &Command, body: &str, tries: i32, name: &str) -> Popped {
    let record = MessageRecord::decode(&answer.body).unwrap();
    assert_eq!((record.body, record.reconsume_times), (body.as_bytes(), tries), "{name}: popped");
    let field = |name: &str| answer.fields.get(name).unwrap_or_default().to_owned();
    let (queue_id, offset) = (record.queue_id.to_string(), record.queue_offset.to_string());
    let made = || {
        let start = field("startOffsetInfo");
        let start = start.split(';').next().unwrap().rsplit(' ').next().unwrap();
        let (time, invisible, revive) = (field("popTime"), field("invisibleTime"), field("reviveQid"));
        format!("{start} {time} {invisible} {revive} 0 broker-a {queue_id} {offset}")
    };
    let receipt = record.property("POP_CK").map_or_else(made, str::to_owned);
    let retried = receipt.split(' ').nth(4) == Some("1");
    let topic = if retried { POP_RETRY } else { TOPIC }.to_owned();
    Popped { topic, queue_id, offset, receipt }
}
