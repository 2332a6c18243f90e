//! Consumer groups: the table of them, and the requests that create, change, delete and list them.

mod table;
#[cfg(test)]
mod tests;

pub use super::name::validate_group;
pub use table::{GROUPS_MAX, SubscriptionGroupTable};
