//! Headers of requests about users and access rules (3001 to 3010).
//!
//! Mirrors `CreateUserRequestHeader`, `CreateAclRequestHeader` and their neighbours. Nothing is required: a blank name
//! has its own refusal.

use super::super::fields::ByteString;
use crate::header;

header! {
    /// AUTH_CREATE_USER (3001).
    CreateUserRequestHeader {
        "username" => username: Option<ByteString>,
    }
}

header! {
    /// AUTH_UPDATE_USER (3002).
    UpdateUserRequestHeader {
        "username" => username: Option<ByteString>,
    }
}

header! {
    /// AUTH_DELETE_USER (3003).
    DeleteUserRequestHeader {
        "username" => username: Option<ByteString>,
    }
}

header! {
    /// AUTH_GET_USER (3004).
    GetUserRequestHeader {
        "username" => username: Option<ByteString>,
    }
}

header! {
    /// AUTH_LIST_USER (3005).
    ListUsersRequestHeader {
        "filter" => filter: Option<ByteString>,
    }
}

header! {
    /// AUTH_CREATE_ACL (3006).
    CreateAclRequestHeader {
        /// `User:name`.
        "subject" => subject: Option<ByteString>,
    }
}

header! {
    /// AUTH_UPDATE_ACL (3007).
    UpdateAclRequestHeader {
        /// `User:name`.
        "subject" => subject: Option<ByteString>,
    }
}

header! {
    /// AUTH_DELETE_ACL (3008).
    DeleteAclRequestHeader {
        /// `User:name`.
        "subject" => subject: Option<ByteString>,
        /// `Custom` or `Default`.
        "policyType" => policy_type: Option<ByteString>,
        "resource" => resource: Option<ByteString>,
    }
}

header! {
    /// AUTH_GET_ACL (3009).
    GetAclRequestHeader {
        /// `User:name`.
        "subject" => subject: Option<ByteString>,
    }
}

header! {
    /// AUTH_LIST_ACL (3010).
    ListAclsRequestHeader {
        "subjectFilter" => subject_filter: Option<ByteString>,
        "resourceFilter" => resource_filter: Option<ByteString>,
    }
}
