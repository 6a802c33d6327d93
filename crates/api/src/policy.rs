//! Who may do what: one line per operation, and the only place where a role or a scope is compared with what is asked.
//!
//! What depends on whom it is done to (nobody grants their own level, the last owner stays) is decided by
//! [`domain::tenant`], on the members as they are in that moment.

use domain::tenant::Role;
use domain::user::Scope;

use crate::{
    api_keys::scopes::names,
    caller::Credential,
    error::{Code, Error},
};

/// Who may use an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody, signed in or not.
    Anyone,
    /// Whoever runs the service.
    Operator,
    /// People and keys of a tenant, for what is the tenant's.
    Tenant {
        /// The least role of people.
        people: Role,
        /// What opens it for a key: any one of these scopes.
        keys: &'static [Scope],
    },
}

const fn people(people: Role) -> Access {
    Access::Tenant { people, keys: &[] }
}

const fn all(keys: &'static [Scope]) -> Access {
    Access::Tenant { people: Role::Member, keys }
}

const READ: &[Scope] = &[Scope::Read];
const WRITE: &[Scope] = &[Scope::Write];
const READ_COSTS: &[Scope] = &[Scope::Read, Scope::CostsRead];
const WRITE_COSTS: &[Scope] = &[Scope::Write, Scope::CostsWrite];
const READ_LOG: Access = Access::Tenant { people: Role::Admin, keys: &[Scope::EventsRead] };

/// Every operation, by the name that the document gives it.
pub const POLICY: &[(&str, Access)] = &[
    ("register", Access::Anyone),
    ("logIn", Access::Anyone),
    ("refresh", Access::Anyone),
    ("setPassword", Access::Anyone),
    ("changePassword", people(Role::Member)),
    ("logOut", people(Role::Member)),
    ("logOutEverywhere", people(Role::Member)),
    ("whoAmI", people(Role::Member)),
    ("listSignIns", people(Role::Member)),
    ("endSignIn", people(Role::Member)),
    ("readTenant", people(Role::Member)),
    // Plan and Stripe's ids: owners alone.
    ("changeTenant", people(Role::Admin)),
    ("listUsers", people(Role::Member)),
    ("addUser", people(Role::Admin)),
    ("readUser", people(Role::Member)),
    // Of others: those above them.
    ("changeUser", people(Role::Member)),
    ("removeUser", people(Role::Member)),
    ("listApiKeys", people(Role::Admin)),
    ("createApiKey", people(Role::Admin)),
    ("revokeApiKey", people(Role::Admin)),
    ("listSessions", all(READ)),
    ("startSession", all(WRITE)),
    ("readSession", all(READ)),
    ("endSession", all(WRITE)),
    ("listMessages", all(READ)),
    ("postMessage", all(WRITE)),
    ("listCosts", all(READ_COSTS)),
    ("recordCost", all(WRITE_COSTS)),
    ("recordCosts", all(WRITE_COSTS)),
    ("summariseCosts", all(READ_COSTS)),
    ("listCostPeriods", all(READ_COSTS)),
    ("readCostPeriod", all(READ_COSTS)),
    ("readCost", all(READ_COSTS)),
    ("voidCost", all(WRITE_COSTS)),
    ("listEvents", READ_LOG),
    ("followEvents", READ_LOG),
    ("readMetrics", Access::Operator),
    ("readHealth", Access::Operator),
    ("readPublicKeys", Access::Anyone),
    ("isLive", Access::Anyone),
    ("isReady", Access::Anyone),
    ("readOpenApi", Access::Anyone),
    ("readDocs", Access::Anyone),
];

/// Who may use the operation of this name; an operation that is not in the table is nobody's.
pub fn access(operation: &str) -> Option<Access> {
    POLICY.iter().find(|(name, _)| *name == operation).map(|(_, access)| *access)
}

impl Access {
    /// 403 unless it is for the holder of this credential.
    pub(crate) fn admit(self, credential: &Credential) -> Result<(), Error> {
        let refused = |detail: String| Err(Error::new(Code::Forbidden, detail));
        match (self, credential) {
            (Self::Tenant { people, .. }, Credential::SignIn { role, .. }) if *role >= people => Ok(()),
            (Self::Tenant { people, .. }, Credential::SignIn { .. }) => {
                refused(format!("This needs the role {} or a higher one.", people.as_str()))
            }
            (Self::Tenant { keys, .. }, Credential::Key { scopes, .. }) if scopes.has_any(keys) => Ok(()),
            (Self::Tenant { keys: [], .. }, Credential::Key { .. }) => {
                refused("No API key may do this: log in.".to_owned())
            }
            (Self::Tenant { keys, .. }, Credential::Key { scopes, .. }) => {
                let (needed, has) = (names(keys.iter().copied(), " or "), names(scopes.iter(), ", "));
                refused(format!("This needs an API key with {needed}; this one has {has}."))
            }
            // Who asks anonymously or as the operator is not asked for a tenant's credential.
            (Self::Anyone | Self::Operator, _) => Err(Error::internal("a handler's caller contradicts its policy")),
        }
    }

    /// The sentence of the document about it.
    pub(crate) fn text(self) -> String {
        let Self::Tenant { people, keys } = self else { return String::new() };
        let people = match people {
            Role::Member => "members",
            Role::Admin => "admins and owners",
            Role::Owner => "owners",
        };
        let scopes = names(keys.iter().copied(), " or ");
        let keys = if scopes.is_empty() { String::new() } else { format!(", and keys with {scopes}") };
        format!("For {people}{keys}.")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_operation_has_one_line() {
        let names: BTreeSet<&str> = POLICY.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), POLICY.len());
    }

    #[test]
    fn no_key_administers() {
        for (name, access) in POLICY {
            if let Access::Tenant { people, keys } = access
                && *people > Role::Member
            {
                assert!(keys.iter().all(|scope| *scope == Scope::EventsRead), "{name}");
            }
        }
    }
}
