//! Clients that do nothing but be there while others send: consumer groups by the thousand, and pulls that are held.
//!
//! In: how many of both. Out: connections that keep them alive until [`Crowd::leave`], which says how many of the
//! held pulls were answered after all. A member of a group sends one heartbeat, which lasts for two minutes, and a pull
//! is held for ten; nothing is sent while the load runs, so the crowd costs the load generator nothing.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::bail;

use super::connection::Connection;
use super::consumer::Queue;
use super::frame::{code, push_request};

/// Over how many connections a crowd comes, at most.
const CONNECTIONS_MAX: u32 = 100;
/// A server that has said nothing for this long has told everybody of everybody.
const QUIET: Duration = Duration::from_millis(500);
/// How often pulls that are answered at once are sent.
const ATTEMPTS_MAX: usize = 10;
/// How long a pull asks to be held.
const HOLD_MS: &str = "600000";
/// `PullSysFlag`: may be held (2), carries its subscription (4).
const PULL_HELD: &str = "6";

/// Who is to be there.
#[derive(Clone, Debug)]
pub(super) struct CrowdPlan {
    /// Consumer groups of the topic that is sent to, with one member each.
    pub(super) groups: u32,
    /// Held pulls …
    pub(super) held: u32,
    /// … on this topic.
    pub(super) held_topic: String,
}

/// Everybody who is there.
#[derive(Debug)]
pub(super) struct Crowd {
    connections: Vec<Connection>,
    /// Pulls that were answered, by their number.
    answered: Vec<u32>,
}

impl Crowd {
    /// Registers groups that subscribe to `topic`, and starts pulls behind the ends of `queues`, one queue after
    /// the other, each for a tag of its own.
    pub(super) fn gather(
        broker: SocketAddr,
        topic: &str,
        queues: &[Queue],
        plan: &CrowdPlan,
    ) -> anyhow::Result<Self> {
        let count = plan.groups.max(plan.held).clamp(1, CONNECTIONS_MAX);
        let mut connections = Vec::new();
        for index in 0..count {
            let mut connection = Connection::open(broker)?;
            let groups: Vec<_> = (index..plan.groups).step_by(count as usize).map(group_name).collect();
            if !groups.is_empty() {
                heartbeat(&mut connection, &format!("crowd-{index}"), &groups, &[topic])?;
            }
            connections.push(connection);
        }
        let mut crowd = Self { connections, answered: Vec::new() };
        crowd.answered = (0..plan.held).collect();
        // Apache answers some at once when many come together.
        for _ in 0..ATTEMPTS_MAX {
            for number in std::mem::take(&mut crowd.answered) {
                let queue = &queues[number as usize % queues.len()];
                let connection = &mut crowd.connections[(number % count) as usize];
                connection.write(&pull(number, queue))?;
            }
            // Each member of a group is told of it, too; nobody else reads that.
            crowd.listen(QUIET)?;
            if crowd.answered.is_empty() {
                return Ok(crowd);
            }
        }
        bail!("{} of {} pulls were answered, not held", crowd.answered.len(), plan.held)
    }

    /// Ends it; returns how many held pulls were answered.
    pub(super) fn leave(mut self) -> anyhow::Result<u64> {
        self.listen(Duration::ZERO)?;
        Ok(self.answered.len() as u64)
    }

    /// Reads until every connection was silent for `quiet`, and notes which pulls were answered.
    fn listen(&mut self, quiet: Duration) -> anyhow::Result<()> {
        loop {
            std::thread::sleep(quiet);
            let mut silent = true;
            for connection in &mut self.connections {
                while connection.readable_within(Duration::ZERO)? {
                    silent = false;
                    connection.read(|answer| self.answered.extend(answer.slot))?;
                }
            }
            if silent || quiet.is_zero() {
                return Ok(());
            }
        }
    }
}

/// A pull behind the end of a queue, for a tag of its own.
fn pull(number: u32, queue: &Queue) -> Vec<u8> {
    let group = group_name(number);
    let fields = [
        ("consumerGroup", group.as_str()),
        ("topic", &queue.topic),
        ("queueId", &queue.queue_id.to_string()),
        ("queueOffset", &queue.offset.to_string()),
        ("maxMsgNums", "32"),
        ("sysFlag", PULL_HELD),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", HOLD_MS),
        ("subscription", &format!("never-{number}")),
        ("subVersion", "0"),
        ("expressionType", "TAG"),
    ];
    let mut request = Vec::new();
    push_request(&mut request, code::PULL_MESSAGE, number, &fields, &[]);
    request
}

/// Says that a client is a member of these groups, each of which subscribes to everything of these topics.
pub(super) fn heartbeat(
    connection: &mut Connection,
    client_id: &str,
    groups: &[String],
    topics: &[&str],
) -> anyhow::Result<()> {
    let groups: Vec<_> = groups.iter().map(|group| consumer_data(group, topics)).collect();
    let body = format!(
        "{{\"clientID\":\"{client_id}\",\"consumerDataSet\":[{}],\"producerDataSet\":[]}}",
        groups.join(",")
    );
    let mut request = Vec::new();
    push_request(&mut request, code::HEART_BEAT, 0, &[], body.as_bytes());
    connection.call(&request, |answer| match answer.code {
        code::SUCCESS => Ok(()),
        _ => bail!("a heartbeat was refused: {}", answer.refusal()),
    })
}

fn consumer_data(group: &str, topics: &[&str]) -> String {
    let subscriptions = topics.iter().map(|topic| {
        format!(
            "{{\"classFilterMode\":false,\"codeSet\":[],\"expressionType\":\"TAG\",\"subString\":\"*\",\
             \"subVersion\":1,\"tagsSet\":[],\"topic\":\"{topic}\"}}"
        )
    });
    let subscriptions = subscriptions.collect::<Vec<_>>().join(",");
    format!(
        "{{\"consumeFromWhere\":\"CONSUME_FROM_FIRST_OFFSET\",\"consumeType\":\"CONSUME_PASSIVELY\",\
         \"groupName\":\"{group}\",\"messageModel\":\"CLUSTERING\",\
         \"subscriptionDataSet\":[{subscriptions}],\"unitMode\":false}}"
    )
}

fn group_name(number: u32) -> String {
    format!("bench-crowd-{number:05}")
}
