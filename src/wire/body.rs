//! JSON bodies by family. Field names are the Java names, declared alphabetically as fastjson prints them.
//!
//! A type is named as its Java class, a field as its Java property; mirrors `remoting.protocol.{body,route,
//! heartbeat,admin,subscription}`. Absent and null fields get the class's default, unknown ones are ignored.
//! Tables are ordered maps, so that the same content always prints the same text. Time stamps are milliseconds.

pub mod admin;
pub mod auth;
pub mod connection;
pub mod data_version;
pub mod group;
pub mod heartbeat;
pub mod kv;
pub mod lock;
pub mod mapping;
pub mod message_queue;
pub mod offset;
pub mod pop;
pub mod register;
pub mod route;
pub mod running;
pub mod stats;
pub mod topic;

#[cfg(test)]
mod tests;

use serde::de::DeserializeOwned;

use super::{DecodeError, fastjson};

/// Reads a body; `expected` says what it should have been, for the refusal's text.
pub fn decode<T: DeserializeOwned>(expected: &'static str, bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Body { expected, problem: "it is missing".to_owned() });
    }
    fastjson::from_slice(bytes).map_err(|error| DecodeError::Body { expected, problem: error.to_string() })
}
