//! What a key may do, as a set.

use domain::user::Scope;

/// Some of [`Scope::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

fn bit(scope: Scope) -> u8 {
    1 << (scope as u8)
}

impl Scopes {
    /// Whether any of these is among them.
    pub fn has_any(self, scopes: &[Scope]) -> bool {
        scopes.iter().any(|scope| self.0 & bit(*scope) != 0)
    }

    /// In the order of [`Scope::ALL`], each once.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has_any(&[*scope]))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        Self(scopes.into_iter().map(bit).fold(0, |all, one| all | one))
    }
}

/// Their names, for people.
pub(crate) fn names(scopes: impl IntoIterator<Item = Scope>, between: &str) -> String {
    let names: Vec<_> = scopes.into_iter().map(|scope| format!("`{}`", scope.as_str())).collect();
    names.join(between)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        for bits in 0..1_u8 << Scope::ALL.len() {
            let chosen: Vec<Scope> =
                (0..).zip(Scope::ALL).filter(|(n, _)| bits & (1 << n) != 0).map(|it| it.1).collect();
            let set: Scopes = chosen.iter().rev().chain(&chosen).copied().collect();
            assert_eq!(set.iter().collect::<Vec<_>>(), chosen);
            for scope in Scope::ALL {
                assert_eq!(set.has_any(&[scope]), chosen.contains(&scope));
            }
            assert_eq!(set.has_any(&Scope::ALL), !chosen.is_empty());
            assert!(!set.has_any(&[]));
        }
    }

    #[test]
    fn names_are_listed() {
        assert_eq!(names([Scope::Write, Scope::CostsWrite], " or "), "`write` or `costs:write`");
    }
}
