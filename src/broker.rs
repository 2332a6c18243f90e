//! One broker: topics, groups, messages in and out.

pub mod group;
pub mod name;
pub mod persist;
pub mod stats;
pub mod topic;
