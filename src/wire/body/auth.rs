//! Users and access rules, as admin tools see them.
//!
//! Mirrors `UserInfo` and `AclInfo`. Types, states, actions and decisions are texts here, because an unknown one
//! has its own refusal.

#![allow(missing_docs)] // fields are just the Java names

use serde::{Deserialize, Serialize};

/// Body of AUTH_CREATE_USER (3001) and AUTH_UPDATE_USER (3002), answer to AUTH_GET_USER (3004).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UserInfo {
    pub password: Option<String>,
    /// `enable` or `disable`.
    pub user_status: Option<String>,
    /// `Super` or `Normal`.
    pub user_type: Option<String>,
    pub username: Option<String>,
}

/// Body of AUTH_CREATE_ACL (3006) and AUTH_UPDATE_ACL (3007), answer to AUTH_GET_ACL (3009).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AclInfo {
    pub policies: Vec<PolicyInfo>,
    /// `User:name`.
    pub subject: Option<String>,
}

/// A set of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyInfo {
    pub entries: Vec<PolicyEntryInfo>,
    /// `Custom` or `Default`.
    pub policy_type: Option<String>,
}

/// A rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyEntryInfo {
    pub actions: Vec<String>,
    /// `Allow` or `Deny`.
    pub decision: Option<String>,
    /// For example `Topic:T*`.
    pub resource: Option<String>,
    pub source_ips: Vec<String>,
}
