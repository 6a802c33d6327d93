//! Which passwords are taken: long enough, and not the first guesses. There are no rules about kinds of characters.

use domain::Email;
use unicode_normalization::UnicodeNormalization;

use super::common::is_common;
use crate::{
    error::{Code, Error},
    secret::Secret,
    violation::Violation,
};

/// Shortest password in code points after normalisation.
pub const MIN_LENGTH: usize = 12;

/// Longest password in code points after normalisation.
pub const MAX_LENGTH: usize = 128;

/// Code points that are looked at before normalisation: even if all of them compose, more than [`MAX_LENGTH`] remain.
const MAX_RAW: usize = 8 * MAX_LENGTH;

/// Longest unit whose mere repetition is no password.
const MAX_UNIT: usize = 6;

/// A password in normalisation form NFKC, so that it is the same on every keyboard.
#[derive(Clone, Debug)]
pub struct Password(Secret);

/// What others know about the person or read on the same page.
#[derive(Clone, Copy, Debug)]
pub struct Personal<'a> {
    /// Their e-mail address.
    pub email: &'a Email,
    /// The name of their tenant.
    pub tenant_name: &'a str,
}

/// Why a password is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Weakness {
    /// Shorter than [`MIN_LENGTH`].
    #[error("a password needs at least 12 characters")]
    TooShort,
    /// Longer than [`MAX_LENGTH`].
    #[error("a password may have at most 128 characters")]
    TooLong,
    /// One of the first guesses, or made of nothing else.
    #[error("this password is too common: several unrelated words are better")]
    Common,
    /// A repetition or a sequence.
    #[error("this password follows a simple pattern: several unrelated words are better")]
    Pattern,
    /// The e-mail address, its first part, or the tenant's name.
    #[error("a password must not be the e-mail address or the name of the tenant")]
    Personal,
}

impl Weakness {
    /// Its stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::TooShort => "password_too_short",
            Self::TooLong => "password_too_long",
            Self::Common => "password_too_common",
            Self::Pattern => "password_is_a_pattern",
            Self::Personal => "password_is_personal",
        }
    }

    /// 422 for the body's member of this name.
    pub fn in_member(self, member: &str) -> Error {
        let violation = Violation::in_body([member], self.code(), &self.to_string());
        Error::new(Code::ValidationFailed, self.to_string()).with_violations(vec![violation])
    }
}

impl Password {
    /// A password that somebody logs in with: normalised, and whatever is wrong with it, it simply won't fit.
    pub fn presented(secret: &Secret) -> Self {
        Self(Secret::new(secret.expose().chars().take(MAX_RAW).nfkc().collect::<String>()))
    }

    /// A password that somebody wants to use from now on.
    pub fn chosen(secret: &Secret, personal: Personal<'_>) -> Result<Self, Weakness> {
        let password = Self::presented(secret);
        let text = password.0.expose();
        match text.chars().count() {
            ..MIN_LENGTH => return Err(Weakness::TooShort),
            MIN_LENGTH..=MAX_LENGTH => {}
            _ => return Err(Weakness::TooLong),
        }
        let lower = text.to_lowercase();
        if is_personal(&lower, personal) {
            return Err(Weakness::Personal);
        }
        if is_pattern(&lower) {
            return Err(Weakness::Pattern);
        }
        if is_common(&lower) { Err(Weakness::Common) } else { Ok(password) }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.expose().as_bytes()
    }
}

fn is_personal(lower: &str, personal: Personal<'_>) -> bool {
    let email = personal.email.as_str();
    let local = email.rsplit_once('@').map_or(email, |(local, _)| local);
    let tenant: String = personal.tenant_name.nfkc().collect::<String>().to_lowercase();
    [email, local, &tenant].into_iter().any(|known| lower.trim() == known.trim())
}

/// A unit of up to [`MAX_UNIT`] characters over and over, or a run through digits or letters, forwards or backwards.
fn is_pattern(lower: &str) -> bool {
    let characters: Vec<char> = lower.chars().collect();
    let repeats = |unit: usize| characters.iter().skip(unit).eq(characters.iter().take(characters.len() - unit));
    let ascends = |pair: &[char]| successor(pair[0]) == Some(pair[1]);
    let descends = |pair: &[char]| successor(pair[1]) == Some(pair[0]);
    (1..=MAX_UNIT.min(characters.len() / 2)).any(repeats)
        || characters.windows(2).all(ascends)
        || characters.windows(2).all(descends)
}

/// The next letter or digit; 0 comes after 9 and a after z.
fn successor(character: char) -> Option<char> {
    match character {
        '9' => Some('0'),
        'z' => Some('a'),
        other => char::from_u32(u32::from(other) + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(text: &str) -> Result<Password, Weakness> {
        let email = Email::parse("ada.lovelace.1815@example.com").unwrap();
        Password::chosen(&Secret::new(text), Personal { email: &email, tenant_name: "Analytical Engines" })
    }

    #[test]
    fn the_length_is_counted_in_code_points_after_normalisation() {
        let words = "korrekt pferd batterie klammer ".repeat(5);
        let of = |length: usize| words.chars().take(length).collect::<String>();
        assert_eq!(choose(&of(11)).unwrap_err(), Weakness::TooShort);
        assert!(choose(&of(12)).is_ok() && choose(&of(128)).is_ok());
        assert_eq!(choose(&of(129)).unwrap_err(), Weakness::TooLong);
        assert_eq!(choose(&"u\u{308}n\u{303}".repeat(5)).unwrap_err(), Weakness::TooShort);
        assert!(choose("schlüssel ñö").is_ok());
        assert_eq!(choose(&"\u{fdfa}".repeat(12)).unwrap_err(), Weakness::TooLong);
        assert_eq!(choose(&"x".repeat(1_000_000)).unwrap_err(), Weakness::TooLong);
    }

    #[test]
    fn repetitions_and_sequences_are_refused() {
        for pattern in [
            "aaaaaaaaaaaa",
            "            ",
            "ababababababab",
            "123123123123",
            "qwe123qwe123",
            "123456123456",
            "123456789012",
            "098765432109",
            "abcdefghijkl",
            "ZYXWVUTSRQPON",
            "AbCdEfGhIjKlMn",
            "zabcdefghijkl",
        ] {
            assert_eq!(choose(pattern).unwrap_err(), Weakness::Pattern, "{pattern}");
        }
        for good in ["abcdefghijkx", "tr0ub4dor&3 x", "123456789013579"] {
            assert!(choose(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_is_known_about_somebody_is_no_password() {
        for known in ["ada.lovelace.1815@example.com", "Ada.Lovelace.1815", " analytical engines", "ANALYTICAL ENGINES"]
        {
            assert_eq!(choose(known).unwrap_err(), Weakness::Personal, "{known}");
        }
        assert!(choose("analytical engines of 1837").is_ok());
    }

    #[test]
    fn common_passwords_are_refused() {
        for common in ["passwordpassword", "Password1234!", "P@ssw0rd2026", "qwertyuiop[]", "1qaz2wsx3edc"] {
            assert_eq!(choose(common).unwrap_err(), Weakness::Common, "{common}");
        }
    }

    #[test]
    fn a_password_shows_up_nowhere() {
        let password = choose("korrekt pferd batterie").unwrap();
        assert_eq!(format!("{password:?}"), "Password([redacted])");
        let error = choose("hunter2").unwrap_err().in_member("password");
        assert!(!format!("{error:?}").contains("hunter2"));
        assert_eq!(error.violations()[0].pointer(), Some("/password"));
        assert_eq!(error.violations()[0].code(), "password_too_short");
    }
}
