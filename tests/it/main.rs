//! Integration tests: a real server on port 0, driven by frames and by our own client.
#![allow(missing_docs, clippy::unwrap_used)] // helpers of tests are not marked as tests

mod assignment;
mod cli;
mod compatibility;
mod dlq;
mod first_sight;
mod fuzz_corpus;
mod golden;
mod ha;
mod ha_sim;
mod ha_slaves;
mod kill;
mod kit;
mod plain;
mod registration;
mod seats;
mod store;
mod tidy;
mod updates;
mod web;
