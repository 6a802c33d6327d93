//! `/v1/auth/password`: choose another password, or the first one with an invitation.

use axum::Json;
use axum::extract::State;
use domain::{Actor, ActorKind, Email};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use store::{
    PasswordChange, PasswordChanged, TenantContext, change_password, invited, password_holder, take_up_invitation,
};

use super::entry::{Welcome, begin, welcome};
use super::invitation::{InvitationToken, MAX_TEXT};
use super::kept::Ended;
use super::{Identity, command};
use crate::{
    body::JsonBody,
    caller::Person,
    cookies::{CookieToken, Jar},
    error::{Code, Error},
    openapi::{About, Tag},
    origins::WebPage,
    passwords::{MAX_LENGTH, MIN_LENGTH, Password, Personal, RoomToHash, Verdict},
    rate_limits::Client,
    secret::Secret,
    state::Api,
    trace_context::Origin,
};

/// The password of today and that of tomorrow.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"current_password": "correct horse battery", "new_password": "incorrect zebra socket"}))]
pub(crate) struct ChangePassword {
    #[schemars(with = "String", extend("format" = "password"))]
    current_password: Secret,
    /// Not one of the first guesses: no common password, pattern, e-mail address or name of the tenant.
    #[schemars(with = "String", length(min = MIN_LENGTH, max = MAX_LENGTH), extend("format" = "password"))]
    new_password: Secret,
}

/// What the document says of [`change`].
pub(crate) const CHANGE: About = About {
    id: "changePassword",
    tag: Tag::Auth,
    summary: "Change one's password",
    text: "Ends all other sign-ins of the user: here at once, on other nodes within five seconds; this one stays, and a \
           browser gets another cookie for it. A wrong \
           `current_password` counts as a wrong password of the account, and changes nothing.",
    codes: &[Code::InvalidCredentials, Code::OutcomeUnknown],
    links: &[],
};

pub(crate) async fn change(
    State(api): State<Api>,
    _: RoomToHash,
    person: Person,
    origin: Origin,
    jar: Jar,
    JsonBody { value: body, .. }: JsonBody<ChangePassword>,
) -> Result<Json<Ended>, Error> {
    let wrong = || Error::new(Code::InvalidCredentials, "This is not the current password; nothing was changed.");
    let _place = api.inner.passwords.place()?;
    let (database, caller) = (&api.inner.database, person.caller.context);
    let holder = password_holder(database, &caller, person.user).await?.ok_or_else(Error::unauthorized)?;
    let email = kept_email(&holder.email)?;
    let guess = api.inner.rate_limits.guess(&email, Some(caller.tenant().0))?;
    let current = Password::presented(&body.current_password);
    let verdict = api.inner.passwords.verify(current, holder.password_hash.clone()).await?;
    let (Verdict::Right { .. }, Some(checked)) = (verdict, holder.password_hash) else {
        guess.was_wrong();
        return Err(wrong());
    };
    let personal = Personal { email: &email, tenant_name: &holder.tenant_name };
    let new = Password::chosen(&body.new_password, personal).map_err(|weakness| weakness.in_member("new_password"))?;
    let new = api.inner.passwords.hash(new).await?;
    let cookie = CookieToken::new(caller.tenant(), person.sign_in)?;
    let (user, sign_in, new_cookie) = (person.user, person.sign_in, cookie.hash());
    let change = PasswordChange { user, sign_in, checked, new, new_cookie };
    let context = command(&api, caller, origin);
    let _turn = api.inner.passwords.turn_to_store().await?;
    let changed = change_password(database, api.inner.on_commit.clone(), context, change).await?;
    // Somebody was faster: the password that was checked or the sign-in that asked is no more.
    let PasswordChanged { ended, cookie_until, seq } = changed.ok_or_else(wrong)?;
    api.inner.tokens.forget(|known| ended.contains(&known.grant.sign_in) || known.grant.sign_in == sign_in);
    if let Some(ends) = cookie_until {
        jar.put(cookie.set(ends - api.inner.now())?);
    }
    Ok(Json(Ended { ended: ended.len(), seq }))
}

/// An invitation, and the password that the invited person chooses.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({
    "token": "cvi_AaIEarAfczhyIfloqOlSBAGiBGqwH3AAgAAAAAAAAAIJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQ",
    "password": "correct horse battery",
}))]
pub(crate) struct SetPassword {
    #[schemars(with = "String", length(max = MAX_TEXT), extend("format" = "password"))]
    token: Secret,
    /// Not one of the first guesses: no common password, pattern, e-mail address or name of the tenant.
    #[schemars(with = "String", length(min = MIN_LENGTH, max = MAX_LENGTH), extend("format" = "password"))]
    password: Secret,
    /// Whether a browser is to be signed in: the answer sets a cookie and has no tokens.
    cookie: Option<bool>,
}

/// What the document says of [`set`].
pub(crate) const SET: About = About {
    id: "setPassword",
    tag: Tag::Auth,
    summary: "Take up an invitation",
    text: "Whoever was invited chooses a password and is signed in. An invitation is good once, for seven days, and as long as the \
           address is the user's that it was for; one that is good for nothing gets the answer of wrong credentials.",
    codes: &[Code::InvalidCredentials, Code::OutcomeUnknown],
    links: &[],
};

pub(crate) async fn set(
    State(api): State<Api>,
    _: RoomToHash,
    origin: Origin,
    client: Client,
    page: WebPage,
    JsonBody { value: body, .. }: JsonBody<SetPassword>,
) -> Result<Welcome, Error> {
    let keep = page.keeps(body.cookie.unwrap_or_default())?;
    let wrong = || Error::new(Code::InvalidCredentials, "This invitation is not good, or not any more.");
    api.inner.rate_limits.log_in(&client)?;
    let token = InvitationToken::parse(&body.token).ok_or_else(wrong)?;
    let _place = api.inner.passwords.place()?;
    let presented = token.presented();
    let actor = Actor { kind: ActorKind::User, id: presented.user.0 };
    #[expect(
        clippy::disallowed_methods,
        reason = "the token says where to look, and is good for nothing unless it is there"
    )]
    let caller = TenantContext::authenticated(token.tenant, actor);
    let (database, now) = (&api.inner.database, api.inner.now());
    // Before the dear hash; what counts is asked again when it is used up.
    let holder = invited(database, &caller, presented, now).await?.ok_or_else(wrong)?;
    let email = kept_email(&holder.email)?;
    let personal = Personal { email: &email, tenant_name: &holder.tenant_name };
    let chosen = Password::chosen(&body.password, personal).map_err(|weakness| weakness.in_member("password"))?;
    let hash = api.inner.passwords.hash(chosen).await?;
    let (new, pass) = begin(&api, token.tenant, presented.user, client, keep)?;
    let (on_commit, context) = (api.inner.on_commit.clone(), command(&api, caller, origin));
    let _turn = api.inner.passwords.turn_to_store().await?;
    let taken_up = take_up_invitation(database, on_commit, context, presented, (hash, new)).await?;
    let (member, ended) = taken_up.ok_or_else(wrong)?;
    api.inner.tokens.forget(|known| ended.contains(&known.grant.sign_in));
    welcome(&api, Identity::of(token.tenant, member), &pass)
}

fn kept_email(text: &str) -> Result<Email, Error> {
    Email::parse(text).map_err(Error::internal)
}
