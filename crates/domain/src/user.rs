//! Who came in, by what, and when that ended: one stream per tenant, an account for the tenant to look at. It decides nothing.
//!
//! It names people, sign-ins and keys by their ids; from where somebody signed in is forgotten with the sign-in.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use crate::{DecodeError, EventData, EventType, TenantId, UserId};

/// What a user did, or what happened to their ways in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(strum::VariantNames), strum(serialize_all = "snake_case"))]
pub enum Event {
    /// Somebody has proven who they are.
    SignedIn(SignedIn),
    /// A sign-in is good no more.
    SessionRevoked(SessionRevoked),
    /// Somebody has another password.
    PasswordChanged(PasswordChanged),
    /// A program may come in.
    ApiKeyCreated(ApiKeyCreated),
    /// It may not any more.
    ApiKeyRevoked(ApiKeyRevoked),
}

/// A sign-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedIn {
    /// Whose.
    pub user_id: UserId,
    /// Its id, the claim `sid` of access tokens.
    pub session_id: Uuid,
    /// How they have proven it.
    pub method: Method,
}

/// How somebody proves who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// By their password, also when they chose it just now.
    Password,
}

impl Method {
    /// Its name in JSON and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
        }
    }
}

/// The end of a sign-in before its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRevoked {
    /// Whose.
    pub user_id: UserId,
    /// Its id.
    pub session_id: Uuid,
    /// Why.
    pub reason: RevokeReason,
}

/// Why a sign-in is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevokeReason {
    /// The user logged out there.
    LoggedOut,
    /// The user ended it from elsewhere, or by a further one where they had too many.
    Revoked,
    /// A refresh token was used again after its successor: one of the two users of it has stolen it.
    TokenReused,
    /// The password was changed elsewhere.
    PasswordChanged,
    /// The user is no member any more.
    UserRemoved,
}

/// Another password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordChanged {
    /// Whose.
    pub user_id: UserId,
}

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyCreated {
    /// Its id.
    pub key_id: Uuid,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it stops working.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// What an API key may do. It never administers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// Read what members read, but the log and who belongs to the tenant.
    #[serde(rename = "read")]
    Read,
    /// Work with sessions, and record costs.
    #[serde(rename = "write")]
    Write,
    /// Read costs.
    #[serde(rename = "costs:read")]
    CostsRead,
    /// Record and void costs.
    #[serde(rename = "costs:write")]
    CostsWrite,
    /// Read the tenant's log.
    #[serde(rename = "events:read")]
    EventsRead,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Read, Self::Write, Self::CostsRead, Self::CostsWrite, Self::EventsRead];

    /// Its name in JSON and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::CostsRead => "costs:read",
            Self::CostsWrite => "costs:write",
            Self::EventsRead => "events:read",
        }
    }

    /// The scope of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

/// The end of an API key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyRevoked {
    /// Its id.
    pub key_id: Uuid,
}

/// The id of the tenant's stream of these events.
pub fn stream(tenant: TenantId) -> Uuid {
    Uuid::new_v5(&tenant.0, b"access")
}

impl EventData for Event {
    fn event_type(&self) -> EventType {
        let name = match self {
            Self::SignedIn(_) => "signed_in",
            Self::SessionRevoked(_) => "session_revoked",
            Self::PasswordChanged(_) => "password_changed",
            Self::ApiKeyCreated(_) => "api_key_created",
            Self::ApiKeyRevoked(_) => "api_key_revoked",
        };
        EventType { name, schema: 1 }
    }

    fn encode(&self) -> Result<Box<RawValue>, serde_json::Error> {
        match self {
            Self::SignedIn(data) => to_raw_value(data),
            Self::SessionRevoked(data) => to_raw_value(data),
            Self::PasswordChanged(data) => to_raw_value(data),
            Self::ApiKeyCreated(data) => to_raw_value(data),
            Self::ApiKeyRevoked(data) => to_raw_value(data),
        }
    }

    fn decode(name: &str, schema: u16, data: &RawValue) -> Result<Self, DecodeError> {
        let data = data.get();
        let read = match (name, schema) {
            ("signed_in", 1) => serde_json::from_str(data).map(Self::SignedIn),
            ("session_revoked", 1) => serde_json::from_str(data).map(Self::SessionRevoked),
            ("password_changed", 1) => serde_json::from_str(data).map(Self::PasswordChanged),
            ("api_key_created", 1) => serde_json::from_str(data).map(Self::ApiKeyCreated),
            ("api_key_revoked", 1) => serde_json::from_str(data).map(Self::ApiKeyRevoked),
            _ => return Err(DecodeError::newer(name, schema)),
        };
        read.map_err(|source| DecodeError::malformed(name, schema, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_has_one_name() {
        for scope in Scope::ALL {
            assert_eq!(serde_json::to_string(&scope).unwrap(), format!("\"{}\"", scope.as_str()));
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
        }
    }
}
