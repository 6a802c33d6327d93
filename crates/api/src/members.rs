//! What changes of a tenant and of its members have in common: who asks, and the answers to a no.

use domain::tenant::{Command, MAX_MEMBERS, Rejection};
use serde::{Deserialize, Deserializer};
use store::{Beside, CommandContext, ExecuteError, MembersChange, Outcome, change_members};
use url::Url;
use uuid::Uuid;

use crate::{
    command::refused,
    conditions::mismatch,
    error::{Code, Error},
    json::at_most,
    state::Api,
    violation::Violation,
};

/// How such a command can fail, beside what every command can fail in.
pub(crate) const NO: &[Code] =
    &[Code::EmailTaken, Code::IdTaken, Code::LastOwner, Code::TooMany, Code::VersionMismatch];

/// Longest URL of a picture in characters.
pub(crate) const MAX_URL: usize = 2000;

/// Decides and stores a change; `id` is what it is about.
pub(crate) async fn change(
    api: &Api,
    context: CommandContext,
    command: Command,
    id: Uuid,
    beside: Beside,
) -> Result<Outcome<Uuid>, Error> {
    let change = MembersChange { context, command, id, beside };
    let changed = change_members(&api.inner.database, api.inner.on_commit.clone(), change).await;
    changed.map_err(|error: ExecuteError<Rejection>| refused(error, rejected))
}

fn rejected(rejection: Rejection) -> Error {
    match rejection {
        Rejection::AlreadyRegistered => Error::internal("a tenant was registered again"),
        Rejection::NotAMember => Error::unauthorized(),
        Rejection::Forbidden => {
            Error::new(Code::Forbidden, "Your role does not allow this: it would need a higher one than yours.")
        }
        Rejection::UnknownUser => Error::not_found(),
        Rejection::VersionMismatch { current } => mismatch(current),
        Rejection::EmailTaken => Error::new(Code::EmailTaken, "A member has this e-mail address."),
        Rejection::IdTaken => crate::command::id_taken(),
        Rejection::LastOwner => {
            Error::new(Code::LastOwner, "A tenant keeps at least one owner: make somebody else an owner first.")
        }
        Rejection::TooManyMembers => Error::new(Code::TooMany, format!("A tenant has at most {MAX_MEMBERS} members.")),
    }
}

/// Tells a member that is `null` from one that is not there.
pub(crate) fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// An absolute https URL of at most [`MAX_URL`] characters.
pub(crate) fn https_url(text: String, member: &str) -> Result<String, Error> {
    at_most(member, text.chars().count(), MAX_URL, "characters")?;
    let is_url = Url::parse(&text).is_ok_and(|url| url.scheme() == "https" && url.has_host());
    if is_url && !text.contains(char::is_whitespace) {
        return Ok(text);
    }
    Err(Error::invalid(Violation::in_body([member], "invalid_url", "must be an absolute https URL")))
}

/// 422 when a change changes nothing.
pub(crate) fn nothing_to_change() -> Error {
    Error::invalid(Violation::in_body([], "nothing_to_change", "say what to change"))
}
