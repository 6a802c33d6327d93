//! What the document says of an operation that the types of its handler don't.

use crate::error::Code;

/// Stands beside a handler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    /// Name of the method in generated clients.
    pub(crate) id: &'static str,
    /// Where it belongs.
    pub(crate) tag: Tag,
    /// A few words.
    pub(crate) summary: &'static str,
    /// What one needs to know; CommonMark.
    pub(crate) text: &'static str,
    /// How it can fail, beside what its arguments and its answer can fail in anyway.
    pub(crate) codes: &'static [Code],
    /// Operations that take the `id` of the answer as theirs.
    pub(crate) links: &'static [&'static str],
}

/// A chapter of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// The way in.
    Auth,
    /// The tenant and its members.
    Tenant,
    /// The way in for programs.
    ApiKeys,
    /// Conversations.
    Sessions,
    /// What is said in them.
    Messages,
    /// What it all costs.
    Costs,
    /// The log.
    Events,
    /// Of the service itself.
    Service,
}

impl Tag {
    pub(super) const ALL: [Self; 8] = [
        Self::Auth,
        Self::Tenant,
        Self::ApiKeys,
        Self::Sessions,
        Self::Messages,
        Self::Costs,
        Self::Events,
        Self::Service,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Auth => "Authentication",
            Self::Tenant => "Tenant and members",
            Self::ApiKeys => "API keys",
            Self::Sessions => "Sessions",
            Self::Messages => "Messages",
            Self::Costs => "Costs",
            Self::Events => "Events",
            Self::Service => "Service",
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Auth => "Found a tenant, log in, see who one is.",
            Self::Tenant => "What the tenant is, and who belongs to it with which role.",
            Self::ApiKeys => "Let programs in, each with its own scopes, and see when they came.",
            Self::Sessions => "AI conversations, from start to end.",
            Self::Messages => "What is said in a session.",
            Self::Costs => "Ledgers of what AI services cost, exact to twelve places.",
            Self::Events => "The tenant's own log, as CloudEvents in the order of their numbers.",
            Self::Service => "Whether the service works, and what it offers.",
        }
    }
}
