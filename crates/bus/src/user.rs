//! Who connects to NATS: the users of `nats/users.conf` and where their passwords come from.

/// The server's users and their permissions, `nats/users.conf`: a part of a nats-server configuration.
///
/// Whoever starts the server adds `listen` and `jetstream { store_dir: … }` and sets [`User::password_variable`] for
/// [`User::ALL`]. A password consists of ASCII letters and digits and begins with a letter: the server parses the
/// variable's value as configuration and would read `9k` as a number.
pub const SERVER_CONFIG: &str = include_str!("../../../nats/users.conf");

/// A user of the NATS server, each with just the permissions that its process needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum User {
    /// Publishes events, looks after the stream, hears the doorbell.
    Relay,
    /// Receives events, tells how far the read tables are.
    Projector,
    /// Rings the doorbell, hears how far the read tables are, follows the events.
    Api,
    /// Sees the events of all tenants and can do nothing else.
    Viewer,
}

impl User {
    /// All users.
    pub const ALL: [Self; 4] = [Self::Relay, Self::Projector, Self::Api, Self::Viewer];

    /// Its log-in name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Projector => "projector",
            Self::Api => "api",
            Self::Viewer => "viewer",
        }
    }

    /// The environment variable in which the server looks for its password.
    pub fn password_variable(self) -> &'static str {
        match self {
            Self::Relay => "CONVOLOG_NATS_RELAY_PASSWORD",
            Self::Projector => "CONVOLOG_NATS_PROJECTOR_PASSWORD",
            Self::Api => "CONVOLOG_NATS_API_PASSWORD",
            Self::Viewer => "CONVOLOG_NATS_VIEWER_PASSWORD",
        }
    }

    /// First token of the subjects on which it gets replies.
    pub(crate) fn inbox_prefix(self) -> &'static str {
        match self {
            Self::Relay => "_INBOX_relay",
            Self::Projector => "_INBOX_projector",
            Self::Api => "_INBOX_api",
            Self::Viewer => "_INBOX_viewer",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The part of the configuration that speaks of one user.
    fn section(user: User) -> &'static str {
        let start = SERVER_CONFIG.find(&format!("user: {}\n", user.name())).unwrap();
        let rest = &SERVER_CONFIG[start..];
        rest.find("\n      }").map_or(rest, |end| &rest[..end])
    }

    #[test]
    fn each_user_has_a_password_from_its_own_variable() {
        for user in User::ALL {
            assert!(section(user).contains(&format!("password: ${}\n", user.password_variable())), "{user:?}");
            assert_eq!(SERVER_CONFIG.matches(&format!("user: {}\n", user.name())).count(), 1, "{user:?}");
        }
    }

    #[test]
    fn each_user_has_explicit_permissions_and_reads_no_inbox_but_its_own() {
        for user in User::ALL {
            let section = section(user);
            assert!(section.contains("publish:") && section.contains("subscribe:"), "{user:?}");
            for other in User::ALL.into_iter().filter(|other| *other != user) {
                assert!(!section.contains(other.inbox_prefix()), "{user:?} reads the inbox of {other:?}");
            }
        }
        for user in [User::Relay, User::Projector] {
            assert!(section(user).contains(&format!("\"{}.>\"", user.inbox_prefix())), "{user:?}");
        }
    }

    #[test]
    fn nobody_has_a_wildcard_over_the_api_or_all_inboxes() {
        for forbidden in ["\"$JS.API.>\"", "\"_INBOX.>\"", "\"$JS.>\"", "\"$SYS"] {
            assert!(!SERVER_CONFIG.contains(forbidden), "{forbidden}");
        }
        assert!(section(User::Viewer).contains("publish: { deny: \">\" }"));
    }
}
