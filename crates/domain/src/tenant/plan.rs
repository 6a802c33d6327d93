//! What a tenant pays for.

use serde::{Deserialize, Serialize};

/// What a tenant pays for, from least to most; the default is what it begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// For trying it out.
    #[default]
    Starter,
    /// For a small team.
    Growth,
    /// For a company.
    Business,
    /// By contract.
    Enterprise,
}

impl Plan {
    /// Its name in JSON and in the read tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starter => "starter",
            Self::Growth => "growth",
            Self::Business => "business",
            Self::Enterprise => "enterprise",
        }
    }

    /// The plan of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Starter, Self::Growth, Self::Business, Self::Enterprise].into_iter().find(|plan| plan.as_str() == name)
    }
}
