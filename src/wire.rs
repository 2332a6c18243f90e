//! The protocol as bytes: frames, headers, bodies and the message record.
//!
//! Everything here is a pure function over bytes: no I/O, no async, no clock. Mirrors the packages
//! `remoting.protocol` and `common.message` of the reference.

pub mod body;
pub mod code;
pub mod command;
pub mod fastjson;
pub mod fields;
pub mod header;
pub mod message;

/// Why bytes from a peer could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The frame's own lengths contradict each other or pass a limit; the connection must close.
    #[error("broken frame: {0}")]
    Frame(&'static str),
    /// The header is not what its serialization type says; the connection must close.
    #[error("broken header: {0}")]
    Header(String),
    /// A header field is missing or is not of its type; the request is answered with this text.
    #[error("the request's field {field} {problem}")]
    Field {
        /// Name of the field as on the wire.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A body is not what the request code says; the request is answered with this text.
    #[error("the request's body is not {expected}: {problem}")]
    Body {
        /// What the body should have been.
        expected: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}
