//! Tells the brokers of a group that its least id is another one now (`notifyMinBrokerIdChanged`).
//!
//! A oneway request to the address that each broker registered, on a connection of its own: brokers serve it
//! at their port, not on the connection that they register on. Mirrors
//! `RouteInfoManager.notifyMinBrokerIdChanged`. A broker that cannot be reached is not told; it learns of the
//! change when it looks itself.

use bytestring::ByteString;

use crate::clock::Clock;
use crate::header;
use crate::lifecycle::Lifecycle;
use crate::remoting::client::Client;
use crate::wire::code::request;
use crate::wire::command::Request;

use super::route_table::MinBrokerChange;

header! {
    /// NOTIFY_MIN_BROKER_ID_CHANGE (905).
    NotifyMinBrokerIdChangeRequestHeader {
        "minBrokerId" => min_broker_id: Option<i64>,
        "brokerName" => broker_name: Option<ByteString>,
        "minBrokerAddr" => min_broker_addr: Option<ByteString>,
        "offlineBrokerAddr" => offline_broker_addr: Option<ByteString>,
        "haBrokerAddr" => ha_broker_addr: Option<ByteString>,
    }
}

/// Sends the news, in a task per broker.
pub(super) fn min_broker_id_changed(change: MinBrokerChange, clock: &Clock, life: &Lifecycle) {
    let header = NotifyMinBrokerIdChangeRequestHeader {
        min_broker_id: Some(change.min_broker_id),
        broker_name: Some(change.broker_name.into()),
        min_broker_addr: Some(change.min_broker_addr.into()),
        offline_broker_addr: change.offline_broker_addr.map(Into::into),
        ha_broker_addr: change.ha_broker_addr.map(Into::into),
    };
    for addr in change.notify {
        let request = Request::new(request::NOTIFY_MIN_BROKER_ID_CHANGE, &header);
        let (clock, own) = (clock.clone(), life.clone());
        life.spawn_until_cancelled("notify min broker id", async move {
            match Client::connect(&addr, &clock, &own).await {
                Ok(client) => {
                    client.oneway(request);
                }
                Err(cause) => tracing::warn!(addr, %cause, "a broker was not told of its group's least id"),
            }
        });
    }
}
