//! Configuration: RocketMQ's keys ([`keys`]) and the text they are written in ([`properties`]).

pub mod keys;
pub mod properties;
