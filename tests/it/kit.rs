//! A server on free ports and a client of our own, for the tests beside this file.

use std::io::Write as _;
use std::time::Duration;

use rmq_lite::clock::Clock;
use rmq_lite::config::Settings;
use rmq_lite::lifecycle::Lifecycle;
use rmq_lite::remoting::client::Client;
use rmq_lite::server::Server;
use rmq_lite::wire::code::request;
use rmq_lite::wire::command::{Command, Request};
use rmq_lite::wire::fields::{FieldList, FieldText};

/// Limit of one call; reached only when something is broken.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Says what a test leaves out, past the capture of what passing tests print; under STRICT=1 that is a failure.
pub fn left_out(reason: &str) {
    assert!(std::env::var_os("STRICT").is_none_or(|strict| strict != "1"), "{reason}");
    std::io::stderr().write_all(format!("skipped: {reason}\n").as_bytes()).unwrap();
}

/// A server and a connection to each of its ports.
pub struct Rig {
    pub server: Server,
    pub broker: Client,
    pub namesrv: Client,
    pub life: Lifecycle,
    pub clock: Clock,
}

impl Rig {
    /// Starts a throw-away server.
    pub async fn start() -> Self {
        Self::with(Settings::for_test()).await
    }

    /// Starts a server with these settings.
    pub async fn with(settings: Settings) -> Self {
        let server = Server::start(settings).await.unwrap();
        let (life, clock) = (Lifecycle::new(), server.clock().clone());
        let broker = server.endpoints().broker.clone().unwrap();
        let broker = Client::connect(&broker, &clock, &life).await.unwrap();
        let namesrv = Client::connect(server.namesrv(), &clock, &life).await.unwrap();
        Self { server, broker, namesrv, life, clock }
    }

    /// Opens a further connection to the broker.
    pub async fn client(&self) -> Client {
        let address = self.server.endpoints().broker.clone().unwrap();
        Client::connect(&address, &self.clock, &self.life).await.unwrap()
    }

    /// Asks the broker.
    pub async fn ask(&self, request: Request) -> Command {
        self.broker.call(request, LIMIT).await.unwrap()
    }

    /// Sends a message and returns the answer.
    pub async fn send(&self, topic: &str, queue_id: i32, body: &str, properties: &str) -> Command {
        self.ask(send_request(topic, queue_id, properties).with_body(body.to_owned())).await
    }
}

/// Makes a request from names and values.
pub fn request(code: i32, fields: &[(&'static str, &str)]) -> Request {
    let mut list = FieldList::default();
    for (name, value) in fields {
        list.push(name, FieldText::Shared((*value).into()));
    }
    Request { code, fields: list, ..Request::default() }
}

/// Makes a send as the Java client writes it.
pub fn send_request(topic: &str, queue_id: i32, properties: &str) -> Request {
    request(
        request::SEND_MESSAGE_V2,
        &[
            ("a", "producers"),
            ("b", topic),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", &queue_id.to_string()),
            ("f", "0"),
            ("g", "1700000000000"),
            ("h", "0"),
            ("i", properties),
            ("j", "0"),
            ("k", "false"),
            ("m", "false"),
        ],
    )
}

/// Makes a pull that carries its own subscription and may be held for `suspend_ms`.
pub fn pull_request(topic: &str, queue_id: i32, offset: i64, expression: &str, suspend_ms: i64) -> Request {
    let sys_flag = if suspend_ms > 0 { 4 | 2 } else { 4 };
    request(
        request::PULL_MESSAGE,
        &[
            ("consumerGroup", "pullers"),
            ("topic", topic),
            ("queueId", &queue_id.to_string()),
            ("queueOffset", &offset.to_string()),
            ("maxMsgNums", "32"),
            ("sysFlag", &sys_flag.to_string()),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", &suspend_ms.to_string()),
            ("subscription", expression),
            ("subVersion", "0"),
            ("expressionType", "TAG"),
        ],
    )
}
