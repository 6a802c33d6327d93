//! Staying signed in, and not: exchange a refresh token, log out here or everywhere.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::user::RevokeReason;
use domain::{Actor, ActorKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{CommandContext, TenantContext, Which, end_sign_ins};
use uuid::Uuid;

use super::entry::{SignedIn, answer};
use super::refresh_token::{MAX_TEXT, RefreshToken};
use super::{Identity, command};
use crate::{
    body::{JsonBody, NoFields},
    caller::Person,
    cookies::Jar,
    error::{Code, Error},
    openapi::{About, Answers, Header, Operation, Tag},
    secret::Secret,
    state::Api,
    trace_context::Origin,
};

/// The refresh token that came last.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({
    "refresh_token": "cvr_AaIEarAfczhyIfloqOlSBAGiBGqwH3AAgAAAAAAAAAIJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCfQ8cT0vM2G5r3s0mWTqk1E",
}))]
pub(crate) struct Refresh {
    #[schemars(with = "String", length(max = MAX_TEXT), extend("format" = "password"))]
    refresh_token: Secret,
}

/// What the document says of [`refresh`].
pub(crate) const REFRESH: About = About {
    id: "refresh",
    tag: Tag::Auth,
    summary: "Stay signed in",
    text: "Answers an access token and the refresh token that takes the place of this one. A token is exchanged once; for ten \
           seconds the same exchange is answered again. Whoever uses it later than that ends the sign-in: it has been stolen.",
    codes: &[Code::Unauthorized, Code::Overloaded, Code::OutcomeUnknown],
    links: &[],
};

pub(crate) async fn refresh(
    State(api): State<Api>,
    origin: Origin,
    JsonBody { value: body, .. }: JsonBody<Refresh>,
) -> Result<Json<SignedIn>, Error> {
    let refused = || Error::new(Code::Unauthorized, "Log in again.");
    let token = RefreshToken::parse(&body.refresh_token, &api.inner.refresh_key).ok_or_else(refused)?;
    // Whatever comes of it is caused by Convolog: who holds the token is known only when it is good.
    let nobody = Actor { kind: ActorKind::System, id: Uuid::nil() };
    #[expect(clippy::disallowed_methods, reason = "the token says where to look, and is judged by what is found there")]
    let caller = TenantContext::authenticated(token.tenant, nobody);
    let now = api.inner.now();
    let context = CommandContext::new(caller, origin.request.0, now);
    let (judged, key) = (token.clone(), api.inner.refresh_key.clone());
    let (database, on_commit) = (&api.inner.database, api.inner.on_commit.clone());
    let judge = move |chain: &store::Chain| judged.judge(&key, chain, now);
    let refreshed = store::refresh(database, on_commit, context, token.sign_in, judge).await?;
    let Some(member) = refreshed else {
        api.inner.tokens.forget(|known| known.grant.sign_in == token.sign_in);
        return Err(refused());
    };
    let identity = Identity::of(token.tenant, member);
    Ok(Json(answer(&api, identity, &token.successor(&api.inner.refresh_key))?))
}

/// What has ended.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(example = json!({"ended": 1, "seq": 7}))]
pub(crate) struct Ended {
    /// How many sign-ins.
    pub(super) ended: usize,
    /// Number of the last event in the tenant's log.
    #[schemars(range(min = 1))]
    pub(super) seq: u64,
}

/// The answer to who has logged out; a browser forgets its cookie.
pub(crate) struct Left(Ended);

impl IntoResponse for Left {
    fn into_response(self) -> Response {
        Json(self.0).into_response()
    }
}

impl Answers for Left {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<Ended>(200, "It is so.", &[Header::SetCookie]);
    }
}

/// What the document says of [`logout`].
pub(crate) const LOGOUT: About = About {
    id: "logOut",
    tag: Tag::Auth,
    summary: "Log out",
    text: "Ends the sign-in that the token comes from, with all its tokens: here at once, on other nodes within five seconds.",
    codes: &[Code::OutcomeUnknown],
    links: &[],
};

pub(crate) async fn logout(
    State(api): State<Api>,
    person: Person,
    origin: Origin,
    jar: Jar,
    JsonBody { value: NoFields {}, .. }: JsonBody<NoFields>,
) -> Result<Left, Error> {
    let ended = end(&api, &person, origin, Which::One(person.sign_in), RevokeReason::LoggedOut).await?;
    jar.clear()?;
    Ok(Left(ended))
}

/// What the document says of [`logout_all`].
pub(crate) const LOGOUT_ALL: About = About {
    id: "logOutEverywhere",
    tag: Tag::Auth,
    summary: "Log out everywhere",
    text: "Ends all sign-ins of the user in this tenant, this one too.",
    codes: &[Code::OutcomeUnknown],
    links: &[],
};

pub(crate) async fn logout_all(
    State(api): State<Api>,
    person: Person,
    origin: Origin,
    jar: Jar,
    JsonBody { value: NoFields {}, .. }: JsonBody<NoFields>,
) -> Result<Left, Error> {
    let ended = end(&api, &person, origin, Which::All, RevokeReason::LoggedOut).await?;
    jar.clear()?;
    Ok(Left(ended))
}

/// Ends sign-ins of the caller: in the database first, then what is remembered of their tokens here.
pub(super) async fn end(
    api: &Api,
    person: &Person,
    origin: Origin,
    which: Which,
    reason: RevokeReason,
) -> Result<Ended, Error> {
    let context = command(api, person.caller.context, origin);
    let (database, on_commit) = (&api.inner.database, api.inner.on_commit.clone());
    let ended = end_sign_ins(database, on_commit, context, (person.user, which), reason).await?;
    let (ids, seq) = ended.ok_or_else(Error::not_found)?;
    api.inner.tokens.forget(|known| ids.contains(&known.grant.sign_in));
    Ok(Ended { ended: ids.len(), seq })
}
