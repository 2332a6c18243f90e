//! For the handlers' tests: a whole broker in a temporary directory, on a socket of its own, and a client that
//! speaks frames.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::address::Address;
use super::filter::Filter;
use super::{Broker, BrokerOptions, routes, store_options};
use crate::clock::Clock;
use crate::config::keys::{BrokerKeys, Machine, Origin, Timings};
use crate::faults::Faults;
use crate::lifecycle::Lifecycle;
use crate::remoting::Listener;
use crate::store::{Disk, FileSystem, MessageStore, NewMessage, QueueOffset};
use crate::wire::command::{Command, FRAME_BYTES_MAX, Reply, Request, frame_length};
use crate::wire::fields::{FieldList, FieldText};

/// A broker and what keeps it running; dropped, it is gone.
pub(super) struct Kit {
    pub(super) broker: Arc<Broker>,
    pub(super) clock: Clock,
    pub(super) config_file: PathBuf,
    /// Failures of broker and store can be ordered here.
    pub(super) faults: Faults,
    listener: Listener,
    life: Lifecycle,
    settings: Vec<(String, String)>,
    folder: Arc<tempfile::TempDir>,
}

/// Time of the kit's clock at its start, in milliseconds.
pub(super) const START_MS: i64 = 1_700_000_000_000;

impl Kit {
    /// Starts a broker with Apache's defaults and these keys.
    pub(super) async fn start(settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), settings, Clock::starting_at(START_MS)).await
    }

    /// Stops the broker and starts it again on the same data and clock, with other settings if any are given.
    pub(super) async fn restart(self, settings: &[(&str, &str)]) -> Self {
        let clock = self.clock.clone();
        self.restart_with(settings, clock).await
    }

    /// Stops the broker and starts it again on the same data, with a clock that shows this time.
    pub(super) async fn restart_at(self, now_ms: i64) -> Self {
        self.restart_with(&[], Clock::starting_at(now_ms)).await
    }

    async fn restart_with(self, settings: &[(&str, &str)], clock: Clock) -> Self {
        let mut all = self.settings.clone();
        all.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let folder = self.stopped().await;
        Self::start_in(folder, all, clock).await
    }

    /// Stops the broker in order; returns its directory.
    pub(super) async fn stopped(self) -> Arc<tempfile::TempDir> {
        self.broker.stop(&self.life).await;
        assert!(self.life.stop(Duration::from_secs(30)).await, "every task ends");
        self.broker.stop_saving();
        self.broker.store.stop();
        self.life.join_threads();
        self.folder.clone()
    }

    /// Starts the broker again as after kill -9: its store was not stopped. Configuration files are written, the
    /// connections are gone, ordered failures are over.
    pub(super) async fn killed(self) -> Self {
        self.broker.stop_saving();
        assert!(self.life.stop(Duration::from_secs(30)).await, "every task ends");
        self.life.join_threads();
        std::fs::write(&self.broker.store.options().abort_file, "").unwrap();
        let (folder, settings, clock) = (self.folder.clone(), self.settings.clone(), self.clock.clone());
        drop(self);
        Self::start_in(folder, settings, clock).await
    }

    async fn start_in(folder: Arc<tempfile::TempDir>, settings: Vec<(String, String)>, clock: Clock) -> Self {
        Self::start_on(Arc::new(Disk), folder, settings, clock).await
    }

    /// Starts a broker whose store works on this file system, on the data of a directory.
    pub(super) async fn start_on(
        disk: Arc<dyn FileSystem>,
        folder: Arc<tempfile::TempDir>,
        settings: Vec<(String, String)>,
        clock: Clock,
    ) -> Self {
        let machine = Machine { home: None, data_home: None, host_name: "machine".to_owned(), cores: 2 };
        let mut keys = BrokerKeys::default_on(&machine, Timings::Apache);
        let root = folder.path().join("store");
        let root = root.to_str().unwrap();
        let own = [("storePathRootDir", root), ("brokerName", "b"), ("brokerClusterName", "C")];
        let small =
            [("mappedFileSizeCommitLog", "1048576"), ("maxHashSlotNum", "1000"), ("maxIndexNum", "4000")];
        let chosen = settings.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        for (key, value) in own.into_iter().chain(small).chain(chosen) {
            keys.set(key, value, Origin::Program).unwrap();
        }
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bound = socket.local_addr().unwrap();
        let faults = Faults::default();
        let store = MessageStore::open_on(disk, store_options(&keys, bound), clock.clone(), faults.clone());
        let store = store.unwrap();
        let config_file = folder.path().join("broker.conf");
        let options = BrokerOptions {
            config_dir: keys.config_dir(),
            keys,
            config_file: config_file.clone(),
            name_servers: Vec::new(),
            address: Address::new(Some("127.0.0.1".to_owned()), bound, bound.port()),
            ha_port: 0,
            strict_topics: false,
        };
        let broker = Broker::new(options, store, clock.clone(), faults.clone()).unwrap();
        let life = Lifecycle::new();
        broker.start(&life).unwrap();
        let routes = Arc::new(routes::routes().failing(faults.clone()));
        let listener =
            Listener::serve(socket, routes, broker.clone(), clock.clone(), Duration::from_secs(120), &life)
                .unwrap();
        Self { broker, clock, config_file, faults, listener, life, settings, folder }
    }

    /// Connects a client.
    pub(super) async fn client(&self) -> RawClient {
        let stream = TcpStream::connect(self.listener.address()).await.unwrap();
        RawClient { stream, read: BytesMut::new(), next_opaque: 1, asked: Vec::new() }
    }

    /// Waits until a queue has this many messages; returns the record of each.
    pub(super) async fn records(&self, topic: &str, queue_id: i32, count: usize) -> Vec<Bytes> {
        loop {
            let end = self.broker.store.max_offset_in_queue(topic, queue_id);
            if end.0 >= count as i64 {
                break;
            }
            let mut held = self.broker.hold.hold(topic, queue_id, end, Arc::new(Filter::ALL));
            if self.broker.store.max_offset_in_queue(topic, queue_id) == end {
                let woken = tokio::time::timeout(Duration::from_secs(30), held.woken()).await;
                woken.unwrap_or_else(|_| panic!("{topic}/{queue_id} has {end:?} messages, not {count}"));
            }
        }
        let entries = self.broker.store.queue_entries(topic, queue_id, QueueOffset(0), 1 << 20);
        let records = entries.iter().map(|entry| self.broker.store.read_record(entry.physical_offset));
        records.map(|record| record.unwrap().unwrap()).collect()
    }

    /// Stores messages directly.
    pub(super) fn put(&self, topic: &str, queue_id: i32, bodies: &[&str], properties: &str) {
        for body in bodies {
            let message = NewMessage {
                topic,
                queue_id,
                flag: 0,
                sys_flag: 0,
                born_timestamp: self.clock.now_ms(),
                born_host: self.listener.address(),
                store_host: self.listener.address(),
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body: body.as_bytes(),
                properties: &[properties],
                wait_store: false,
            };
            self.broker.put(&message, &self.broker.keys()).unwrap();
        }
    }
}

impl Drop for Kit {
    fn drop(&mut self) {
        self.broker.stop_saving();
        self.life.cancel();
    }
}

/// A client that writes and reads single frames.
pub(super) struct RawClient {
    stream: TcpStream,
    read: BytesMut,
    next_opaque: i32,
    /// Requests of the broker that came while an answer was awaited.
    asked: Vec<Command>,
}

impl RawClient {
    /// Calls and returns the answer.
    pub(super) async fn call(
        &mut self,
        code: i32,
        fields: &[(&'static str, &str)],
        body: impl Into<Bytes>,
    ) -> Command {
        let opaque = self.send(code, fields, body).await;
        self.answer(opaque).await
    }

    /// Sends a message to a topic, which is created if need be.
    pub(super) async fn send_message(
        &mut self,
        topic: &str,
        queue_id: i32,
        body: &str,
        properties: &str,
    ) -> Command {
        let queue_id = queue_id.to_string();
        let fields = [
            ("a", "pg"),
            ("b", topic),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", &queue_id),
            ("f", "0"),
            ("g", "5"),
            ("h", "0"),
            ("i", properties),
        ];
        self.call(crate::wire::code::request::SEND_MESSAGE_V2, &fields, body.to_owned()).await
    }

    /// Sends a request and returns its number.
    pub(super) async fn send(
        &mut self,
        code: i32,
        fields: &[(&'static str, &str)],
        body: impl Into<Bytes>,
    ) -> i32 {
        let mut list = FieldList::default();
        for (name, value) in fields {
            list.push(name, FieldText::from((*value).to_owned()));
        }
        let opaque = self.next_opaque;
        self.next_opaque += 1;
        let mut frame = BytesMut::new();
        Request { code, fields: list, body: body.into() }.encode(opaque, false, &mut frame);
        self.stream.write_all(&frame).await.unwrap();
        opaque
    }

    /// Returns the next answer, to whichever request.
    pub(super) async fn next_answer(&mut self) -> Command {
        loop {
            let command = self.frame().await;
            if command.is_response() {
                return command;
            }
            self.asked.push(command);
        }
    }

    /// Returns the answer to the request of this number.
    pub(super) async fn answer(&mut self, opaque: i32) -> Command {
        loop {
            let command = self.frame().await;
            if command.is_response() && command.opaque == opaque {
                return command;
            }
            self.asked.push(command);
        }
    }

    /// Returns the next request of the broker with this code.
    pub(super) async fn asked(&mut self, code: i32) -> Command {
        loop {
            if let Some(at) = self.asked.iter().position(|command| command.code == code) {
                return self.asked.remove(at);
            }
            let command = self.frame().await;
            self.asked.push(command);
        }
    }

    /// Answers a request of the broker.
    pub(super) async fn reply(&mut self, opaque: i32, reply: Reply) {
        let mut frame = BytesMut::new();
        reply.encode_head(opaque, &mut frame);
        self.stream.write_all(&frame).await.unwrap();
        if let crate::wire::command::Body::One(body) = reply.body {
            self.stream.write_all(&body).await.unwrap();
        }
    }

    /// Joins a consumer group with one subscription, by heartbeat.
    pub(super) async fn join(&mut self, client_id: &str, group: &str, topic: &str) {
        let body = format!(
            r#"{{"clientID":"{client_id}","consumerDataSet":[{{"groupName":"{group}","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","subscriptionDataSet":[{{"topic":"{topic}","subString":"*","subVersion":1}}]}}],"producerDataSet":[{{"groupName":"{group}_p"}}]}}"#
        );
        let answer = self.call(crate::wire::code::request::HEART_BEAT, &[], body).await;
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
    }

    async fn frame(&mut self) -> Command {
        let read = async {
            loop {
                let whole = frame_length(&self.read, FRAME_BYTES_MAX).unwrap();
                if let Some(length) = whole.filter(|length| self.read.len() >= *length) {
                    return Command::decode(self.read.split_to(length)).unwrap();
                }
                assert_ne!(self.stream.read_buf(&mut self.read).await.unwrap(), 0, "the broker closed");
            }
        };
        tokio::time::timeout(Duration::from_secs(30), read).await.expect("an answer")
    }
}

/// Returns a body as text.
pub(super) fn text(command: &Command) -> &str {
    std::str::from_utf8(&command.body).unwrap()
}

/// Returns code and remark of an answer.
pub(super) fn refusal(command: &Command) -> (i32, &str) {
    (command.code, command.remark.as_deref().unwrap_or_default())
}
