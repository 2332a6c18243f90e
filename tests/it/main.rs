//! Integration tests: a real server on port 0, driven by frames and by our own client.
#![allow(missing_docs)]

mod kit;
mod plain;
mod tidy;
