//! Which messages a consumer wants, decided on the broker.

pub mod tag;
