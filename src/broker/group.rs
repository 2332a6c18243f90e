//! Consumer groups: the table of them, and the requests that create, change, delete and list them.
//!
//! Flows in: UPDATE_AND_CREATE_SUBSCRIPTIONGROUP (200) and its list (225), GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201),
//! GET_SUBSCRIPTIONGROUP_CONFIG (352), DELETE_SUBSCRIPTIONGROUP (207), UPDATE_AND_GET_GROUP_FORBIDDEN (353). A
//! change is answered when it is on the disk. Mirrors these parts of `AdminBrokerProcessor`.

#![allow(clippy::unnecessary_wraps, reason = "every handler answers in one shape")]

use std::sync::Arc;

use super::Broker;
use super::topic::{refuse_on_slave, validate_topic};
use crate::remoting::{Answer, Call, Outcome, Refusal};
use crate::wire::body::group::{GroupForbidden, SubscriptionGroupConfig, SubscriptionGroupList};
use crate::wire::code::response;
use crate::wire::command::Reply;
use crate::wire::fields::{NoHeader, shorten};
use crate::wire::header::group::{
    DeleteSubscriptionGroupRequestHeader, GetAllSubscriptionGroupRequestHeader,
    GetSubscriptionGroupConfigRequestHeader, UpdateGroupForbiddenRequestHeader,
};
use crate::wire::{body, fastjson};

mod table;
#[cfg(test)]
mod tests;

pub use super::name::validate_group;
pub use table::{GROUPS_MAX, SubscriptionGroupTable};

/// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP (200).
pub(super) fn update_and_create_subscription_group(broker: &Arc<Broker>, call: Call<NoHeader>) -> Outcome {
    let wanted = body::decode::<SubscriptionGroupConfig>("a subscription group", &call.body);
    change(broker, wanted.map(|wanted| vec![wanted]).map_err(Refusal::from))
}

/// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST (225): all of them or none.
pub(super) fn update_and_create_subscription_group_list(
    broker: &Arc<Broker>,
    call: Call<NoHeader>,
) -> Outcome {
    let wanted = body::decode::<SubscriptionGroupList>("a list of subscription groups", &call.body);
    change(broker, wanted.map(|list| list.group_config_list).map_err(Refusal::from))
}

fn change(broker: &Arc<Broker>, wanted: Result<Vec<SubscriptionGroupConfig>, Refusal>) -> Outcome {
    let changed = refuse_on_slave(broker).and(wanted).and_then(|wanted| {
        broker.groups.update_all(wanted).map_err(|remark| Refusal::new(response::INVALID_PARAMETER, remark))
    });
    match changed {
        Ok(()) => saved(broker),
        Err(refusal) => Outcome::Now(Err(refusal)),
    }
}

/// Answers once every change so far is on the disk.
pub(super) fn saved(broker: &Arc<Broker>) -> Outcome {
    saved_as(broker, Reply::success())
}

/// As [`saved`], with an answer of one's own.
pub(super) fn saved_as(broker: &Arc<Broker>, reply: Reply) -> Outcome {
    let saved = broker.saving.now();
    Outcome::later(async move {
        saved.await;
        Ok(reply)
    })
}

/// GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201): the whole table, also for those who would take it in pieces.
pub(super) fn get_all_subscription_group_config(
    broker: &Arc<Broker>,
    _: Call<GetAllSubscriptionGroupRequestHeader>,
) -> Answer {
    let table = broker.groups.snapshot();
    let total = table.subscription_group_table.len() as i32;
    Ok(Reply::success().field("totalGroupNum", total).body(fastjson::to_string(&table)))
}

/// GET_SUBSCRIPTIONGROUP_CONFIG (352); creates the group where that is allowed, as the reference does.
pub(super) fn get_subscription_group_config(
    broker: &Arc<Broker>,
    call: Call<GetSubscriptionGroupConfigRequestHeader>,
) -> Answer {
    let allowed = broker.keys().auto_create_subscription_group;
    let config = broker
        .groups
        .get_or_create(&call.header.group, allowed)
        .ok_or_else(|| Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, "No group in this broker"))?;
    Ok(Reply::success().body(fastjson::to_string(&*config)))
}

/// DELETE_SUBSCRIPTIONGROUP (207): with its offsets where asked; succeeds for an unknown group too, and on a slave, which
/// copies it from its master.
pub(super) fn delete_subscription_group(
    broker: &Arc<Broker>,
    call: Call<DeleteSubscriptionGroupRequestHeader>,
) -> Outcome {
    if broker.is_slave() {
        return Outcome::Now(Ok(Reply::success()));
    }
    let group = &call.header.group_name;
    broker.groups.delete(group);
    if broker.keys().auto_delete_unused_stats {
        broker.stats.forget_group(group);
    }
    if call.header.clean_offset {
        broker.offsets.remove_group(group);
    }
    saved(broker)
}

/// UPDATE_AND_GET_GROUP_FORBIDDEN (353): whether a group may read a topic, after a change where one is asked for.
pub(super) fn update_and_get_group_forbidden(
    broker: &Arc<Broker>,
    call: Call<UpdateGroupForbiddenRequestHeader>,
) -> Outcome {
    let UpdateGroupForbiddenRequestHeader { group, topic, readable } = call.header;
    let illegal = |remark: String| Outcome::Now(Err(Refusal::new(response::INVALID_PARAMETER, remark)));
    if let Some(readable) = readable {
        // What is remembered must be names, and an unknown group's would never be forgotten.
        if let Err(remark) = validate_topic(&topic) {
            return illegal(remark);
        }
        if broker.groups.get(&group).is_none() {
            let remark = format!("Group {} does not exist", shorten(&group));
            return Outcome::Now(Err(Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark)));
        }
        if !broker.groups.set_forbidden(&group, &topic, !readable) {
            return illegal("too many topics are forbidden to this group".to_owned());
        }
    }
    let body = GroupForbidden {
        readable: Some(!broker.groups.is_forbidden(&group, &topic)),
        group: group.to_string(),
        topic: topic.to_string(),
    };
    let reply = Reply::success().remark("").body(fastjson::to_string(&body));
    if readable.is_some() { saved_as(broker, reply) } else { Outcome::Now(Ok(reply)) }
}
