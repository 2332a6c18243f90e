//! Calls of the command line to NameServers and brokers, Apache's or ours: routes, offsets, pulls, sends.
//!
//! Flows in: the address of a NameServer and typed requests. Flows out: typed answers; a refusal becomes an error
//! with the other side's own words. One connection per address, opened when first needed. Stands where a client
//! library's `MQClientAPIImpl` would.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;

use crate::broker::name::TOOLS_CONSUMER_GROUP;
use crate::clock::Clock;
use crate::lifecycle::Lifecycle;
use crate::remoting::client::Client;
use crate::wire::body::route::TopicRouteData;
use crate::wire::body::topic::TopicList;
use crate::wire::code::{request, response};
use crate::wire::command::{Command, Request};
use crate::wire::fastjson;
use crate::wire::fields::{Header, NoHeader};
use crate::wire::header::offset::{
    GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader, GetMinOffsetRequestHeader,
    QueryConsumerOffsetRequestHeader, QueryConsumerOffsetResponseHeader, UpdateConsumerOffsetRequestHeader,
};
use crate::wire::header::pull::{PullMessageRequestHeader, PullMessageResponseHeader};
use crate::wire::header::route::GetRouteInfoRequestHeader;

/// Limit of one call.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// Messages asked for in one pull.
const PULL_BATCH_MAX: i32 = 32;
/// Pull flag: the request brings its own subscription.
const FLAG_SUBSCRIPTION: i32 = 4;

/// The servers behind one NameServer.
pub(super) struct Cluster {
    name_servers: Vec<String>,
    clients: BTreeMap<String, Client>,
    clock: Clock,
    life: Lifecycle,
}

/// One queue of a topic, and the master that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Queue {
    pub(super) topic: String,
    pub(super) broker_name: String,
    pub(super) address: String,
    pub(super) queue_id: i32,
}

/// Messages of one pull, and where the next one begins.
pub(super) struct Pulled {
    pub(super) records: Bytes,
    pub(super) next_offset: i64,
}

impl Cluster {
    /// Means the cluster of these NameServers, `host:port` separated by `;`; connects later.
    pub(super) fn behind(name_servers: &str) -> Self {
        let name_servers = name_servers.split(';').map(str::trim).filter(|one| !one.is_empty());
        Self {
            name_servers: name_servers.map(str::to_owned).collect(),
            clients: BTreeMap::new(),
            clock: Clock::new(),
            life: Lifecycle::new(),
        }
    }

    async fn client(&mut self, address: &str) -> anyhow::Result<&Client> {
        if self.clients.get(address).is_none_or(Client::is_closed) {
            let client = Client::connect(address, &self.clock, &self.life).await;
            let client = client.with_context(|| format!("cannot connect to {address}"))?;
            self.clients.insert(address.to_owned(), client);
        }
        Ok(self.clients.get(address).expect("it was put there just now"))
    }

    /// Calls a server and returns its answer, whatever its code.
    pub(super) async fn call(&mut self, address: &str, request: Request) -> anyhow::Result<Command> {
        let client = self.client(address).await?;
        client.call(request, CALL_LIMIT).await.with_context(|| format!("no answer of {address}"))
    }

    /// Calls a server; any other code than success is an error.
    pub(super) async fn ask(&mut self, address: &str, request: Request) -> anyhow::Result<Command> {
        let answer = self.call(address, request).await?;
        if answer.code != response::SUCCESS {
            return Err(refused(address, &answer));
        }
        Ok(answer)
    }

    /// Asks the first NameServer that answers.
    async fn ask_name_server(&mut self, code: i32, header: &impl Header) -> anyhow::Result<Command> {
        let mut last = anyhow::anyhow!("no NameServer is named");
        for address in self.name_servers.clone() {
            match self.call(&address, Request::new(code, header)).await {
                Ok(answer) => return Ok(answer),
                Err(cause) => last = cause,
            }
        }
        Err(last.context("no NameServer answers; name one with -n"))
    }

    /// Tells every NameServer.
    pub(super) async fn tell_name_servers(&mut self, code: i32, header: &impl Header) -> anyhow::Result<()> {
        for address in self.name_servers.clone() {
            self.ask(&address, Request::new(code, header)).await?;
        }
        Ok(())
    }

    /// Returns the names of all topics.
    pub(super) async fn topics(&mut self) -> anyhow::Result<Vec<String>> {
        let answer = self.ask_name_server(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &NoHeader).await?;
        if answer.code != response::SUCCESS {
            bail!("the NameServer answers {}: {}", answer.code, answer.remark.as_deref().unwrap_or_default());
        }
        let list: TopicList =
            fastjson::from_slice(&answer.body).context("the NameServer's list cannot be read")?;
        Ok(list.topic_list.into_iter().collect())
    }

    /// Returns a topic's queues on every master; none when nobody knows the topic.
    pub(super) async fn queues(&mut self, topic: &str) -> anyhow::Result<Vec<Queue>> {
        let header = GetRouteInfoRequestHeader {
            topic: topic.into(),
            accept_standard_json_only: Some(true),
            zone_mode: None,
            zone_name: None,
        };
        let answer = self.ask_name_server(request::GET_ROUTEINFO_BY_TOPIC, &header).await?;
        match answer.code {
            response::SUCCESS => {}
            response::TOPIC_NOT_EXIST => return Ok(Vec::new()),
            code => bail!("the NameServer answers {code}: {}", answer.remark.as_deref().unwrap_or_default()),
        }
        let route: TopicRouteData =
            fastjson::from_slice(&answer.body).context("the NameServer's route cannot be read")?;
        let mut queues = Vec::new();
        for data in &route.queue_datas {
            let broker = route.broker_datas.iter().find(|broker| broker.broker_name == data.broker_name);
            let Some(address) = broker.and_then(|broker| broker.broker_addrs.get(&0)) else { continue };
            queues.extend((0..data.read_queue_nums.max(0)).map(|queue_id| Queue {
                topic: topic.to_owned(),
                broker_name: data.broker_name.clone(),
                address: address.clone(),
                queue_id,
            }));
        }
        queues.sort_by(|one, other| {
            (&one.broker_name, one.queue_id).cmp(&(&other.broker_name, other.queue_id))
        });
        Ok(queues)
    }

    /// Returns a queue's first offset and the one behind its last message.
    pub(super) async fn bounds(&mut self, queue: &Queue) -> anyhow::Result<(i64, i64)> {
        let (topic, queue_id) = (&queue.topic, queue.queue_id);
        let min = GetMinOffsetRequestHeader { topic: topic.as_str().into(), queue_id };
        let max = GetMaxOffsetRequestHeader { topic: topic.as_str().into(), queue_id, committed: true };
        let min = self.ask(&queue.address, Request::new(request::GET_MIN_OFFSET, &min)).await?;
        let max = self.ask(&queue.address, Request::new(request::GET_MAX_OFFSET, &max)).await?;
        Ok((offset_of(&min)?, offset_of(&max)?))
    }

    /// Returns how far the group of tools has come in a queue; `None` when it never said.
    pub(super) async fn mark(&mut self, queue: &Queue) -> anyhow::Result<Option<i64>> {
        let header = QueryConsumerOffsetRequestHeader {
            consumer_group: TOOLS_CONSUMER_GROUP.into(),
            topic: queue.topic.as_str().into(),
            queue_id: queue.queue_id,
            set_zero_if_not_found: Some(false),
        };
        let asked = Request::new(request::QUERY_CONSUMER_OFFSET, &header);
        let answer = self.call(&queue.address, asked).await?;
        match answer.code {
            response::SUCCESS => Ok(Some(QueryConsumerOffsetResponseHeader::decode(&answer.fields)?.offset)),
            response::QUERY_NOT_FOUND => Ok(None),
            _ => Err(refused(&queue.address, &answer)),
        }
    }

    /// Writes down how far the group of tools has come in a queue.
    pub(super) async fn set_mark(&mut self, queue: &Queue, offset: i64) -> anyhow::Result<()> {
        let header = UpdateConsumerOffsetRequestHeader {
            consumer_group: TOOLS_CONSUMER_GROUP.into(),
            topic: queue.topic.as_str().into(),
            queue_id: queue.queue_id,
            commit_offset: offset,
        };
        self.ask(&queue.address, Request::new(request::UPDATE_CONSUMER_OFFSET, &header)).await.map(drop)
    }

    /// Pulls messages from `offset` on; none at the end of the queue.
    pub(super) async fn pull(&mut self, queue: &Queue, offset: i64) -> anyhow::Result<Pulled> {
        let header = PullMessageRequestHeader {
            consumer_group: TOOLS_CONSUMER_GROUP.into(),
            topic: queue.topic.as_str().into(),
            queue_id: queue.queue_id,
            queue_offset: offset,
            max_msg_nums: PULL_BATCH_MAX,
            sys_flag: FLAG_SUBSCRIPTION,
            commit_offset: 0,
            suspend_timeout_millis: 0,
            subscription: Some("*".into()),
            sub_version: 0,
            expression_type: Some("TAG".into()),
            max_msg_bytes: None,
            request_source: None,
            proxy_froward_client_id: None,
        };
        let answer = self.call(&queue.address, Request::new(request::PULL_MESSAGE, &header)).await?;
        match answer.code {
            response::SUCCESS => {
                let next = PullMessageResponseHeader::decode(&answer.fields)?;
                Ok(Pulled { records: answer.body, next_offset: next.next_begin_offset })
            }
            response::PULL_NOT_FOUND | response::PULL_RETRY_IMMEDIATELY | response::PULL_OFFSET_MOVED => {
                let next = PullMessageResponseHeader::decode(&answer.fields)?;
                Ok(Pulled { records: Bytes::new(), next_offset: next.next_begin_offset })
            }
            _ => Err(refused(&queue.address, &answer)),
        }
    }
}

fn offset_of(answer: &Command) -> anyhow::Result<i64> {
    Ok(GetMaxOffsetResponseHeader::decode(&answer.fields)?.offset)
}

fn refused(address: &str, answer: &Command) -> anyhow::Error {
    anyhow::anyhow!("{address} answers {}: {}", answer.code, answer.remark.as_deref().unwrap_or_default())
}
