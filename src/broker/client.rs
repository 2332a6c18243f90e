//! Who is connected: consumers by group, producers by group, and what each group subscribes to.
//!
//! Heartbeats come in, membership and subscriptions are kept per connection, and a change is told to the
//! group's members at once. A connection that ends takes its memberships and its queue locks with it. Mirrors
//! `ClientManageProcessor`, `ConsumerManager`, `ConsumerGroupInfo`, `ProducerManager` and
//! `DefaultConsumerIdsChangeListener`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::Broker;
use super::filter::{Filter, FilterError, is_tag};
use super::refusal::{
    filter_not_supported, group_without_members, subscription_not_exist, subscription_parse_failed,
};
use crate::remoting::{Answer, Call, Peer, Refusal};
use crate::wire::body;
use crate::wire::body::heartbeat::{
    CheckClientRequestBody, ConsumeFromWhere, ConsumeType, ConsumerData, GetConsumerListByGroupResponseBody,
    HeartbeatData, MessageModel, SubscriptionData,
};
use crate::wire::code::{LanguageCode, request, response};
use crate::wire::command::{Reply, Request};
use crate::wire::fastjson;
use crate::wire::fields::{NoHeader, shown};
use crate::wire::header::client::{
    GetConsumerListByGroupRequestHeader, NotifyConsumerIdsChangedRequestHeader, UnregisterClientRequestHeader,
};

/// Groups in one heartbeat; a request's work is bounded.
const HEARTBEAT_GROUPS_MAX: usize = 2_000;

/// Silence after which a client's connection counts as dead (`channelExpiredTimeout`).
const PRODUCER_EXPIRED_MS: i64 = 120_000;

/// One connection of a client in one group.
#[derive(Clone, Debug)]
pub struct Member {
    /// The connection.
    pub peer: Arc<Peer>,
    /// The client's own name.
    pub client_id: String,
    /// Its language.
    pub language: LanguageCode,
    /// Its version, an ordinal of `MQVersion`.
    pub version: i32,
    /// When it was last heard of, milliseconds.
    pub last_update_ms: i64,
}

/// One topic that a group subscribes to.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// What the client said.
    pub data: SubscriptionData,
    /// Its compiled filter, or why there is none: a heartbeat with a bad expression is taken, a pull is not.
    pub filter: Result<Arc<Filter>, FilterError>,
}

/// The online side of one consumer group.
#[derive(Clone, Debug, Default)]
pub struct ConsumerGroup {
    /// Members by the number of their connection.
    pub members: BTreeMap<u64, Member>,
    /// Subscriptions by topic, as the latest heartbeat has them.
    pub subscriptions: HashMap<String, Subscription>,
    /// Push or pull.
    pub consume_type: ConsumeType,
    /// Shared among the members or sent to all.
    pub message_model: MessageModel,
    /// Where a new group begins.
    pub consume_from_where: ConsumeFromWhere,
}

/// Every consumer group that is online.
#[derive(Default)]
pub struct Consumers {
    groups: RwLock<HashMap<String, ConsumerGroup>>,
    heard: Notify,
}

impl Consumers {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, ConsumerGroup>> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<String, ConsumerGroup>> {
        self.groups.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves after the next heartbeat of any group.
    pub(crate) fn heard(&self) -> Notified<'_> {
        self.heard.notified()
    }

    /// Returns a copy of an online group.
    pub fn group(&self, group: &str) -> Option<ConsumerGroup> {
        self.read().get(group).cloned()
    }

    /// Returns the names of the online groups.
    pub fn names(&self) -> Vec<String> {
        self.read().keys().cloned().collect()
    }

    /// Returns the online groups that subscribe to a topic.
    pub fn groups_of_topic(&self, topic: &str) -> Vec<String> {
        let groups = self.read();
        let of_topic = groups.iter().filter(|(_, group)| group.subscriptions.contains_key(topic));
        of_topic.map(|(name, _)| name.clone()).collect()
    }

    /// Finds how a group filters a topic; refuses when the group is not online or does not subscribe to it.
    pub(crate) fn subscription(
        &self,
        group: &str,
        topic: &str,
    ) -> Result<(Subscription, MessageModel), Refusal> {
        self.with_subscription(group, topic, |found, message_model| (found.clone(), message_model))
    }

    /// Does the same for whoever needs no copy. `look` is called under a lock, which must be a leaf.
    pub(crate) fn with_subscription<R>(
        &self,
        group: &str,
        topic: &str,
        look: impl FnOnce(&Subscription, MessageModel) -> R,
    ) -> Result<R, Refusal> {
        let groups = self.read();
        let group = groups.get(group).ok_or_else(group_without_members)?;
        let found = group.subscriptions.get(topic).ok_or_else(subscription_not_exist)?;
        Ok(look(found, group.message_model))
    }

    /// Returns how a group filters a topic now, if it is online, subscribes to it and its expression can be read.
    pub(crate) fn filter(&self, group: &str, topic: &str) -> Option<Arc<Filter>> {
        let groups = self.read();
        groups.get(group)?.subscriptions.get(topic)?.filter.as_ref().ok().cloned()
    }

    /// Finds the member with this client id, the latest connection first.
    pub fn member(&self, group: &str, client_id: &str) -> Option<Member> {
        let groups = self.read();
        groups.get(group)?.members.values().rev().find(|member| member.client_id == client_id).cloned()
    }

    /// Applies one heartbeat; says whether the members must be told, and which topics are filtered otherwise now.
    fn heartbeat(&self, member: Member, data: ConsumerData) -> (bool, Vec<String>) {
        let mut groups = self.write();
        let group = groups.entry(data.group_name).or_default();
        group.consume_type = data.consume_type;
        group.message_model = data.message_model;
        group.consume_from_where = data.consume_from_where;
        let mut changed = group.members.insert(member.peer.id(), member).is_none();
        let before = std::mem::take(&mut group.subscriptions);
        let mut altered = Vec::new();
        for data in data.subscription_data_set {
            let former = before.get(&data.topic);
            // Apache tells the members only of new topics; a 4.x client that changes an expression then waits up
            // to 20 s for its own next look.
            changed |= former.is_none_or(|former| former.data.sub_string != data.sub_string);
            let kept = former.filter(|former| former.data.sub_version >= data.sub_version);
            let subscription = kept.cloned().unwrap_or_else(|| {
                // The version is new after every change of queues, the expression hardly ever.
                let same = former.filter(|former| {
                    former.data.sub_string == data.sub_string
                        && former.data.expression_type == data.expression_type
                });
                let filter = same.map_or_else(
                    || Filter::compile(&data.expression_type, &data.sub_string).map(Arc::new),
                    |former| former.filter.clone(),
                );
                if same.is_none() && former.is_some() {
                    altered.push(data.topic.clone());
                }
                Subscription { filter, data: data.clone() }
            });
            group.subscriptions.insert(data.topic, subscription);
        }
        let changed = changed | before.keys().any(|topic| !group.subscriptions.contains_key(topic));
        drop(groups);
        self.heard.notify_waiters();
        (changed, altered)
    }

    /// Takes a connection out of one group; returns its client id and the members that remain.
    fn leave(&self, group: &str, peer: u64) -> Option<(Member, ConsumerGroup)> {
        let mut groups = self.write();
        let found = groups.get_mut(group)?;
        let member = found.members.remove(&peer)?;
        let left = found.clone();
        if left.members.is_empty() {
            groups.remove(group);
        }
        Some((member, left))
    }

    fn groups_of_peer(&self, peer: u64) -> Vec<String> {
        let groups = self.read();
        let of_peer = groups.iter().filter(|(_, group)| group.members.contains_key(&peer));
        of_peer.map(|(name, _)| name.clone()).collect()
    }

    fn silent_since(&self, limit_ms: i64) -> Vec<Arc<Peer>> {
        let groups = self.read();
        let members = groups.values().flat_map(|group| group.members.values());
        members.filter(|member| member.last_update_ms < limit_ms).map(|member| member.peer.clone()).collect()
    }
}

/// Every producer group that is online.
#[derive(Default)]
pub struct Producers {
    groups: RwLock<HashMap<String, BTreeMap<u64, Member>>>,
}

impl Producers {
    fn write(&self) -> RwLockWriteGuard<'_, HashMap<String, BTreeMap<u64, Member>>> {
        self.groups.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a member; says whether it is a new one.
    fn join(&self, group: &str, member: Member) -> bool {
        let mut groups = self.write();
        if let Some(members) = groups.get_mut(group) {
            return members.insert(member.peer.id(), member).is_none();
        }
        groups.insert(group.to_owned(), BTreeMap::from([(member.peer.id(), member)]));
        true
    }

    fn leave(&self, group: &str, peer: u64) {
        let mut groups = self.write();
        if let Some(members) = groups.get_mut(group) {
            members.remove(&peer);
            if members.is_empty() {
                groups.remove(group);
            }
        }
    }

    fn disconnected(&self, peer: u64) {
        self.write().retain(|_, members| {
            members.remove(&peer);
            !members.is_empty()
        });
    }

    fn silent_since(&self, limit_ms: i64) -> Vec<Arc<Peer>> {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        let members = groups.values().flat_map(BTreeMap::values);
        members.filter(|member| member.last_update_ms < limit_ms).map(|member| member.peer.clone()).collect()
    }

    /// Finds the latest connection of a client, whatever its groups.
    pub fn peer_of_client(&self, client_id: &str) -> Option<Arc<Peer>> {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        let of_client = groups.values().flatten().filter(|(_, member)| member.client_id == client_id);
        let latest = of_client.filter(|(_, member)| !member.peer.is_closed()).max_by_key(|(id, _)| **id);
        latest.map(|(_, member)| member.peer.clone())
    }

    /// Returns the members of a group; empty when it is not online.
    pub fn members(&self, group: &str) -> Vec<Member> {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        groups.get(group).map(|members| members.values().cloned().collect()).unwrap_or_default()
    }

    /// Returns every online group with its members.
    pub fn all(&self) -> Vec<(String, Vec<Member>)> {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        groups.iter().map(|(name, members)| (name.clone(), members.values().cloned().collect())).collect()
    }
}

/// HEART_BEAT (34): keeps the caller's groups and subscriptions.
pub(super) fn heart_beat(broker: &Arc<Broker>, call: Call<NoHeader>) -> Answer {
    let data: HeartbeatData = body::decode("a heartbeat", &call.body)?;
    if data.client_id.is_empty() {
        return Err(Refusal::new(response::SYSTEM_ERROR, "the heartbeat has no clientID"));
    }
    let groups = data.consumer_data_set.len() + data.producer_data_set.len();
    if groups > HEARTBEAT_GROUPS_MAX {
        let remark =
            format!("the heartbeat names {groups} groups, at most {HEARTBEAT_GROUPS_MAX} are allowed");
        return Err(Refusal::new(response::INVALID_PARAMETER, remark));
    }
    let member = Member {
        peer: call.peer.clone(),
        client_id: data.client_id,
        language: call.language,
        version: call.version,
        last_update_ms: broker.clock.liveness_ms(),
    };
    let keys = broker.keys();
    for consumer in data.consumer_data_set {
        if keys.reject_pull_consumer_enable && consumer.consume_type == ConsumeType::ConsumeActively {
            continue;
        }
        consumer_heartbeat(broker, &member, consumer);
    }
    // As the reference: without transactions nobody asks a producer anything, and only then it need not be known.
    let known = keys.enable_register_producer || !keys.reject_transaction_message;
    for producer in data.producer_data_set.into_iter().filter(|_| known) {
        if broker.producers.join(&producer.group_name, member.clone()) {
            tracing::debug!(group = producer.group_name, client = member.client_id, "a producer has come");
            broker.producer_joined(&producer.group_name);
        }
    }
    // A connection cannot end while this runs, in its own task; it leaves these tables after its last request.
    // Version 2 of the heartbeat would have us remember subscriptions by hash; clients stay with version 1.
    Ok(Reply::success().field("IS_SUPPORT_HEART_BEAT_V2", false).field("IS_SUB_CHANGE", true))
}

fn consumer_heartbeat(broker: &Arc<Broker>, member: &Member, data: ConsumerData) {
    let group = data.group_name.clone();
    // An unknown group that may not be created is passed over without a word, as on the reference.
    let Some(config) = broker.groups.get_or_create(&group, broker.keys().auto_create_subscription_group)
    else {
        return;
    };
    broker.retry_topic(&group, config.retry_queue_nums);
    for subscription in &data.subscription_data_set {
        broker.topics.confirm(&subscription.topic);
    }
    let now_ms = broker.clock.now_ms();
    if broker.consumer_filters.heartbeat(&group, &data.subscription_data_set, now_ms) {
        broker.saving.soon();
    }
    let topics: Vec<String> = data.subscription_data_set.iter().map(|it| it.topic.clone()).collect();
    let (changed, altered) = broker.consumers.heartbeat(member.clone(), data);
    if changed {
        tracing::debug!(
            group,
            client = member.client_id,
            ?topics,
            "members or subscriptions of a group changed"
        );
    }
    // A client that gives up a topic does not unlock its queues; whoever has them next would wait for a minute.
    broker.locks.release_others(&group, &member.client_id, &topics);
    for topic in altered {
        // A pull that is held by the former expression would pass over what the new one wants.
        broker.hold.wake_topic(&topic);
    }
    if changed
        && config.notify_consumer_ids_changed_enable
        && let Some(group_now) = broker.consumers.group(&group)
    {
        notify_members(&group, &group_now);
    }
}

/// Tells the members of a group that its membership or subscriptions changed (NOTIFY_CONSUMER_IDS_CHANGED, 40).
fn notify_members(name: &str, group: &ConsumerGroup) {
    if group.message_model == MessageModel::Broadcasting {
        return;
    }
    let header = NotifyConsumerIdsChangedRequestHeader { consumer_group: name.into() };
    let request = Request::new(request::NOTIFY_CONSUMER_IDS_CHANGED, &header);
    for member in group.members.values() {
        member.peer.oneway(request.clone());
    }
}

/// UNREGISTER_CLIENT (35): takes the caller's connection out of its groups.
pub(super) fn unregister_client(broker: &Arc<Broker>, call: Call<UnregisterClientRequestHeader>) -> Answer {
    if let Some(group) = &call.header.producer_group {
        broker.producers.leave(group, call.peer.id());
        broker.producer_left(group, &call.peer);
    }
    if let Some(group) = &call.header.consumer_group {
        broker.consumer_left(group, &call.peer);
    }
    Ok(Reply::success())
}

/// GET_CONSUMER_LIST_BY_GROUP (38): the client ids among which members share the queues.
pub(super) fn get_consumer_list_by_group(
    broker: &Arc<Broker>,
    call: Call<GetConsumerListByGroupRequestHeader>,
) -> Answer {
    let group = &call.header.consumer_group;
    let ids: Vec<String> = broker
        .consumers
        .group(group)
        .map(|found| found.members.into_values().map(|member| member.client_id).collect())
        .unwrap_or_default();
    if ids.is_empty() {
        return Err(Refusal::new(
            response::SYSTEM_ERROR,
            format!("no consumer for this group, {}", shown(group)),
        ));
    }
    let body = GetConsumerListByGroupResponseBody { consumer_id_list: ids };
    Ok(Reply::success().body(fastjson::to_string(&body)))
}

/// CHECK_CLIENT_CONFIG (46): says before a consumer starts whether its expression can be served.
pub(super) fn check_client_config(broker: &Arc<Broker>, call: Call<NoHeader>) -> Answer {
    let body: CheckClientRequestBody = body::decode("a client configuration", &call.body)?;
    let SubscriptionData { expression_type, sub_string, .. } = body.subscription_data;
    if !is_tag(&expression_type) {
        if !broker.keys().enable_property_filter {
            return Err(filter_not_supported(&expression_type));
        }
        broker.filter_cache.compile(&expression_type, &sub_string).map_err(subscription_parse_failed)?;
    }
    Ok(Reply::success())
}

impl Broker {
    /// Takes an ended connection off every table.
    pub(super) fn client_gone(&self, peer: &Arc<Peer>) {
        self.producers.disconnected(peer.id());
        for group in self.consumers.groups_of_peer(peer.id()) {
            self.consumer_left(&group, peer);
        }
    }

    fn consumer_left(&self, group: &str, peer: &Arc<Peer>) {
        let Some((member, left)) = self.consumers.leave(group, peer.id()) else { return };
        let members = left.members.len();
        tracing::debug!(group, client = member.client_id, members, "a member has left its group");
        if left.members.is_empty() && self.consumer_filters.group_gone(group, self.clock.now_ms()) {
            self.saving.soon();
        }
        if !left.members.values().any(|other| other.client_id == member.client_id) {
            // Apache keeps a crashed consumer's locks for up to a minute; nobody else could hold its queues.
            self.locks.release_client(group, &member.client_id);
        }
        let tell = self.groups.get(group).is_none_or(|config| config.notify_consumer_ids_changed_enable);
        if tell {
            notify_members(group, &left);
        }
    }

    /// Makes the members of a group look at once which queues they have, and how they get messages.
    pub(super) fn tell_all(&self, group: &str) {
        if let Some(found) = self.consumers.group(group) {
            notify_members(group, &found);
        }
    }

    /// Makes the other members of a group look at once which queues they can have.
    pub(super) fn tell_others(&self, group: &str, but: &Arc<Peer>) {
        if let Some(mut found) = self.consumers.group(group) {
            found.members.remove(&but.id());
            notify_members(group, &found);
        }
    }

    /// Closes connections of clients that have not been heard of for too long.
    pub(super) fn close_silent_clients(&self) {
        let now_ms = self.clock.liveness_ms();
        let mut silent = self.consumers.silent_since(now_ms - self.keys().channel_expired_timeout);
        silent.extend(self.producers.silent_since(now_ms - PRODUCER_EXPIRED_MS));
        for peer in silent {
            tracing::info!(peer = %peer.address(), "closing the connection of a client without heartbeats");
            self.client_gone(&peer);
            peer.close();
        }
    }
}
