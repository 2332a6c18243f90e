//! Replication of the commit log between brokers, in Apache's own protocol; mirrors `store.ha`.
//!
//! [`frame`] is the bytes on the wire, [`master`] sends the log to slaves and learns what they have, [`slave`] takes a
//! master's log. Both work on the store alone: who is master of whom is the broker's business, and what a slave
//! copies beside the log (topics, offsets, …) goes over the remoting port (`broker/slave`). The protocol has no
//! version, no checksum and no identities; what can be checked is checked at the record.

pub mod frame;
pub mod master;
pub mod slave;
