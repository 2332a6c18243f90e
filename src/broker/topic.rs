//! Topics: the table of them, and the requests that create, change, delete and list them.

mod attributes;
mod table;
#[cfg(test)]
mod tests;

pub use super::name::{is_sending_forbidden, validate_topic};
pub use attributes::{Attributes, parse_changes};
pub use table::{Change, QUEUES_MAX, TOPICS_MAX, TopicOptions, TopicTable, perm};
