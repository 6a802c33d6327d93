//! What a member may do.

use serde::{Deserialize, Serialize};

/// What a member may do, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Works with sessions.
    Member,
    /// Also reads the log and looks after members.
    Admin,
    /// Everything.
    Owner,
}

impl Role {
    /// Its name in JSON, tokens and the read tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// The role of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Member, Self::Admin, Self::Owner].into_iter().find(|role| role.as_str() == name)
    }
}
