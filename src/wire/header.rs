//! Typed headers by family of request: what each request code carries in its `extFields`, and what its answer does.
//!
//! A type is named as its Java class, a field as its Java field; mirrors `remoting.protocol.header`. A field is
//! required if every known client sends it, whatever the Java annotation says; the rest is an `Option` or has
//! Java's default. Fields that only a larger installation uses (static topics, namespaces, units) are left out
//! and so ignored.

pub mod admin;
pub mod auth;
pub mod client;
pub mod group;
pub mod offset;
pub mod pop;
pub mod pull;
pub mod route;
pub mod send;
pub mod topic;
pub mod transaction;

#[cfg(test)]
mod tests;
