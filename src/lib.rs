//! rmq-lite: a whole Apache RocketMQ for one machine, as a library and one executable.
//!
//! The modules are listed in dependency order: a module uses only what stands above it. A message walks
//! through them once, from `remoting` (bytes in) over `broker` (rules) to `store` (the mapped file) and
//! back the same way; `docs/design.md` draws the path.

pub mod clock;
pub mod faults;
pub mod lifecycle;

pub mod config;

pub mod wire;

pub mod remoting;
pub mod store;

pub mod ha;

pub mod broker;
pub mod namesrv;

pub mod metrics;
pub mod web;

pub mod server;

pub mod cli;
