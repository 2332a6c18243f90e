//! Who gets messages from which queue, and by pulling or by popping.
//!
//! Flows in: QUERY_ASSIGNMENT (400), SET_MESSAGE_REQUEST_MODE (401), GET_ALL_MESSAGE_REQUEST_MODE (402). The mode of a
//! group for a topic is kept in `config/messageRequestMode.json`; a change is told to the group's members, which then
//! ask for their queues at once. Queues are those of this broker, and those that the NameServer knows of on other brokers;
//! it is asked each time, where the reference remembers its answer for half a minute. Mirrors `QueryAssignmentProcessor`,
//! `MessageRequestModeManager`, `TopicRouteInfoManager` and the two strategies that the reference knows.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::broker::Broker;
use crate::broker::group::saved_as;
use crate::broker::name::RETRY_PREFIX;
use crate::broker::persist::{self, PersistError};
use crate::broker::topic::perm;
use crate::config::keys;
use crate::remoting::{Answer, Call, Outcome, Refusal};
use crate::wire::body;
use crate::wire::body::heartbeat::MessageModel;
use crate::wire::body::message_queue::MessageQueue;
use crate::wire::body::pop::{
    MessageQueueAssignment, MessageRequestMode, MessageRequestModeSerializeWrapper,
    QueryAssignmentRequestBody, QueryAssignmentResponseBody, SetMessageRequestModeRequestBody,
};
use crate::wire::body::route::QueueData;
use crate::wire::code::response;
use crate::wire::command::Reply;
use crate::wire::fastjson;
use crate::wire::fields::{NoHeader, shorten};

/// Most queues that a broker elsewhere is believed to have.
const QUEUES_ELSEWHERE_MAX: i32 = 65_535;

/// What administrators have said about modes.
///
/// Lock order: a leaf.
pub struct RequestModes {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    content: MessageRequestModeSerializeWrapper,
    changes: u64,
    saved: u64,
}

impl RequestModes {
    /// Reads the file.
    pub fn load(config_dir: &Path) -> Result<Self, PersistError> {
        let path = config_dir.join("messageRequestMode.json");
        let content = persist::load(&path)?.unwrap_or_default();
        Ok(Self { path, state: Mutex::new(State { content, ..State::default() }) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, topic: &str, group: &str) -> Option<SetMessageRequestModeRequestBody> {
        self.lock().content.message_request_mode_map.get(topic)?.get(group).cloned()
    }

    /// Returns the mode that was set for a group and topic.
    pub(super) fn explicit(&self, topic: &str, group: &str) -> Option<MessageRequestMode> {
        self.get(topic, group).map(|set| set.mode)
    }

    fn set(&self, set: SetMessageRequestModeRequestBody) {
        let mut state = self.lock();
        let of_topic = state.content.message_request_mode_map.entry(set.topic.clone()).or_default();
        of_topic.insert(set.consumer_group.clone(), set);
        state.changes += 1;
    }

    /// Takes over a master's modes; what they do not name stays.
    pub(in crate::broker) fn take_over(&self, masters: MessageRequestModeSerializeWrapper) {
        let mut state = self.lock();
        let mut map = state.content.message_request_mode_map.clone();
        map.extend(masters.message_request_mode_map);
        if map != state.content.message_request_mode_map {
            state.content.message_request_mode_map = map;
            state.changes += 1;
        }
    }

    /// Writes the file if it lacks a change; says whether it did. Blocks.
    pub fn save(&self) -> Result<bool, PersistError> {
        let state = self.lock();
        let (content, changes) = (state.content.clone(), state.changes);
        if changes == state.saved {
            return Ok(false);
        }
        drop(state);
        persist::save(&self.path, &content)?;
        self.lock().saved = changes;
        Ok(true)
    }
}

/// SET_MESSAGE_REQUEST_MODE (401): says how a group gets a topic's messages from now on.
pub(in crate::broker) fn set_message_request_mode(broker: &Arc<Broker>, call: Call<NoHeader>) -> Outcome {
    match set(broker, &call) {
        Ok(()) => saved_as(broker, Reply::success()),
        Err(refusal) => Outcome::Now(Err(refusal)),
    }
}

fn set(broker: &Arc<Broker>, call: &Call<NoHeader>) -> Result<(), Refusal> {
    let set: SetMessageRequestModeRequestBody = body::decode("a message request mode", &call.body)?;
    if set.topic.starts_with(RETRY_PREFIX) {
        return Err(Refusal::new(response::NO_PERMISSION, "retry topic is not allowed to set mode"));
    }
    if broker.topics.get(&set.topic).is_none() {
        let remark = format!("topic[{}] not exist", shorten(&set.topic));
        return Err(Refusal::new(response::TOPIC_NOT_EXIST, remark));
    }
    let group = set.consumer_group.clone();
    let allowed = broker.keys().auto_create_subscription_group;
    if broker.groups.get_or_create(&group, allowed).is_none() {
        let remark = "subscription group does not exist";
        return Err(Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    }
    tracing::info!(group, topic = set.topic, mode = ?set.mode, "message request mode set");
    let topic = set.topic.clone();
    broker.pop.modes.set(set);
    // A held pop would take a message that its client no longer waits for.
    broker.hold.wake_topic(&topic);
    broker.tell_all(&group);
    Ok(())
}

/// GET_ALL_MESSAGE_REQUEST_MODE (402): what a slave copies.
pub(in crate::broker) fn get_all_message_request_mode(broker: &Arc<Broker>, _: Call<NoHeader>) -> Answer {
    Ok(Reply::success().body(fastjson::to_string(&broker.pop.modes.lock().content)))
}

/// QUERY_ASSIGNMENT (400): the queues of a member, and how it gets their messages.
pub(in crate::broker) fn query_assignment(broker: &Arc<Broker>, call: Call<NoHeader>) -> Outcome {
    let asked = match body::decode::<QueryAssignmentRequestBody>("a question for an assignment", &call.body) {
        Ok(asked) => asked,
        Err(cause) => return Outcome::Now(Err(cause.into())),
    };
    let broker = broker.clone();
    Outcome::later(async move { answer(&broker, asked).await })
}

async fn answer(broker: &Broker, asked: QueryAssignmentRequestBody) -> Answer {
    let mode = broker.pop.modes.get(&asked.topic, &asked.consumer_group).unwrap_or_else(|| {
        let pops = !asked.topic.starts_with(RETRY_PREFIX)
            && broker.keys().default_message_request_mode == keys::MessageRequestMode::Pop;
        SetMessageRequestModeRequestBody {
            mode: if pops { MessageRequestMode::Pop } else { MessageRequestMode::Pull },
            pop_share_queue_num: broker.keys().default_pop_share_queue_num,
            ..SetMessageRequestModeRequestBody::default()
        }
    });
    let elsewhere = broker.registration.queues_of(&asked.topic).await;
    let queues = assign(broker, &asked, &mode, &elsewhere);
    let assignments = queues.map(|queues| {
        let assignment = |message_queue| MessageQueueAssignment { message_queue, mode: mode.mode };
        queues.into_iter().map(assignment).collect()
    });
    let body = QueryAssignmentResponseBody { message_queue_assignments: assignments };
    Ok(Reply::success().body(fastjson::to_string(&body)))
}

fn assign(
    broker: &Broker,
    asked: &QueryAssignmentRequestBody,
    mode: &SetMessageRequestModeRequestBody,
    elsewhere: &[QueueData],
) -> Option<BTreeSet<MessageQueue>> {
    let own_name = broker.name();
    let here = broker.topics.get(&asked.topic).filter(|topic| topic.perm & perm::READ != 0);
    let elsewhere = elsewhere.iter().filter(|it| it.perm & perm::READ != 0 && it.broker_name != own_name);
    let mut queues: Vec<MessageQueue> = here
        .iter()
        .map(|topic| (own_name.as_str(), topic.read_queue_nums))
        .chain(elsewhere.map(|it| (it.broker_name.as_str(), it.read_queue_nums.min(QUEUES_ELSEWHERE_MAX))))
        .flat_map(|(name, count)| (0..count).map(move |queue_id| (name, queue_id)))
        .map(|(name, queue_id)| MessageQueue::new(asked.topic.as_str(), name, queue_id))
        .collect();
    // Every broker hands them out in this order, so that all answer alike.
    queues.sort_unstable();
    if queues.is_empty() {
        return None;
    }
    if asked.message_model == MessageModel::Broadcasting || !broker.keys().server_load_balancer_enable {
        return Some(queues.into_iter().collect());
    }
    let group = broker.consumers.group(&asked.consumer_group)?;
    let clients: BTreeSet<String> = group.members.into_values().map(|member| member.client_id).collect();
    let clients: Vec<String> = clients.into_iter().collect();
    let strategy = strategy(&asked.strategy_name)?;
    let Some(at) = clients.iter().position(|client| *client == asked.client_id) else {
        return Some(BTreeSet::new());
    };
    let own = |at: usize| strategy(at, clients.len(), queues.len()).into_iter().map(|at| queues[at].clone());
    if mode.mode == MessageRequestMode::Pull {
        return Some(own(at).collect());
    }
    let share = usize::try_from(mode.pop_share_queue_num).unwrap_or_default();
    if share == 0 || share + 1 >= clients.len() {
        let any = |queue: &MessageQueue| MessageQueue { queue_id: -1, ..queue.clone() };
        return Some(queues.iter().map(any).collect());
    }
    if clients.len() > queues.len() {
        return Some(queues.get(at % queues.len().max(1)).cloned().into_iter().collect());
    }
    Some((at..=at + share).flat_map(|at| own(at % clients.len())).collect())
}

/// Returns the numbers of the queues that member `at` of so many gets of so many.
type Strategy = fn(usize, usize, usize) -> Vec<usize>;

fn strategy(name: &str) -> Option<Strategy> {
    match name {
        "AVG" => Some(|at, clients, queues| {
            let (each, more) = (queues / clients, queues % clients);
            let from = at * each + at.min(more);
            (from..from + each + usize::from(at < more)).collect()
        }),
        "AVG_BY_CIRCLE" => Some(|at, clients, queues| (at..queues).step_by(clients).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::kit::{Kit, refusal, text};
    use crate::wire::code::request;

    /// Every queue goes to one member, in both strategies.
    #[test]
    fn strategies() {
        let avg = strategy("AVG").unwrap();
        assert_eq!([avg(0, 3, 8), avg(1, 3, 8), avg(2, 3, 8)], [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]);
        assert_eq!((avg(0, 3, 2), avg(2, 3, 2)), (vec![0], vec![]));
        let circle = strategy("AVG_BY_CIRCLE").unwrap();
        assert_eq!([circle(0, 3, 8), circle(2, 3, 8), circle(2, 3, 1)], [vec![0, 3, 6], vec![2, 5], vec![]]);
        assert!(strategy("OTHER").is_none());
    }

    /// A group pulls until it is told to pop; the mode is in the file and in the answer to a slave.
    #[tokio::test]
    async fn modes() {
        let kit = Kit::start(&[]).await;
        let (mut one, mut two) = (kit.client().await, kit.client().await);
        kit.broker.topics.create_in_send("TBW102", "T", 2).unwrap();
        one.join("c1", "g", "T").await;
        two.join("c2", "g", "T").await;
        let ask = |client: &str, strategy: &str| {
            format!(
                r#"{{"clientId":"{client}","consumerGroup":"g","messageModel":"CLUSTERING","strategyName":"{strategy}","topic":"T"}}"#
            )
        };
        let answer = one.call(request::QUERY_ASSIGNMENT, &[], ask("c2", "AVG")).await;
        let queue = |id: i32, mode: &str| {
            format!(
                r#"{{"messageQueueAssignments":[{{"messageQueue":{{"brokerName":"b","queueId":{id},"topic":"T"}},"mode":"{mode}"}}]}}"#
            )
        };
        assert_eq!(text(&answer), queue(1, "PULL"));
        let answer = one.call(request::QUERY_ASSIGNMENT, &[], ask("c2", "X")).await;
        assert_eq!(text(&answer), "{}");
        let set = |topic: &str, share: i32| {
            format!(r#"{{"consumerGroup":"g","mode":"POP","popShareQueueNum":{share},"topic":"{topic}"}}"#)
        };
        let answer = one.call(request::SET_MESSAGE_REQUEST_MODE, &[], set("%RETRY%g", 0)).await;
        assert_eq!(refusal(&answer), (response::NO_PERMISSION, "retry topic is not allowed to set mode"));
        let answer = one.call(request::SET_MESSAGE_REQUEST_MODE, &[], set("None", 0)).await;
        assert_eq!(refusal(&answer), (response::TOPIC_NOT_EXIST, "topic[None] not exist"));
        assert_eq!(one.call(request::SET_MESSAGE_REQUEST_MODE, &[], set("T", 0)).await.code, 0);
        two.asked(request::NOTIFY_CONSUMER_IDS_CHANGED).await;
        let answer = one.call(request::QUERY_ASSIGNMENT, &[], ask("c1", "AVG")).await;
        assert_eq!(text(&answer), queue(-1, "POP"));
        let answer = one.call(request::GET_ALL_MESSAGE_REQUEST_MODE, &[], "").await;
        let modes = r#"{"messageRequestModeMap":{"T":{"g":{"consumerGroup":"g","mode":"POP","popShareQueueNum":0,"topic":"T"}}}}"#;
        assert_eq!(text(&answer), modes);
        let file = kit.config_file.with_file_name("store").join("config/messageRequestMode.json");
        let kept: String = std::fs::read_to_string(file).unwrap().split_whitespace().collect();
        assert_eq!(kept, modes);
    }
}
