//! `/.well-known/jwks.json`: the public keys with which anybody can verify an access token (RFC 7517).

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jsonwebtoken::jwk::JwkSet;
use schemars::JsonSchema;
use serde_json::json;

use crate::openapi::{About, Answers, Operation, Tag};
use crate::signing_keys::KEY_RELOAD;
use crate::state::Api;

/// A public key of Ed25519 (RFC 8037).
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes jsonwebtoken's type")]
#[schemars(rename = "PublicKey")]
struct Key {
    #[schemars(extend("const" = "OKP"))]
    kty: String,
    #[schemars(extend("const" = "Ed25519"))]
    crv: String,
    /// The key, 32 bytes in base64url.
    #[schemars(regex(pattern = "^[A-Za-z0-9_-]{43}$"))]
    x: String,
    /// Its name in the header of tokens: its thumbprint (RFC 7638).
    #[schemars(regex(pattern = "^[A-Za-z0-9_-]{43}$"))]
    kid: String,
    #[schemars(extend("const" = "EdDSA"))]
    alg: String,
    #[schemars(rename = "use", extend("const" = "sig"))]
    usage: String,
}

/// The keys with which access tokens are signed, were signed lately, or will be.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes jsonwebtoken's type")]
#[schemars(rename = "PublicKeys", example = json!({"keys": [{
    "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", "alg": "EdDSA", "use": "sig",
}]}))]
struct Outline {
    keys: Vec<Key>,
}

/// What the document says of [`read`].
pub(crate) const READ: About = About {
    id: "readPublicKeys",
    tag: Tag::Service,
    summary: "The public keys of access tokens",
    text: "A JSON Web Key Set (RFC 7517): the key that signs, the next one, and former ones whose tokens may still be in use. \
           `Cache-Control` says for how long it may be kept.",
    codes: &[],
    links: &[],
};

/// The keys.
pub(crate) struct Keys(JwkSet);

/// All that are believed here.
pub(crate) async fn read(State(api): State<Api>) -> Keys {
    Keys(api.inner.tokens.keys().jwks())
}

impl IntoResponse for Keys {
    fn into_response(self) -> Response {
        // They are the same for everybody; who keeps them longer misses a new one.
        let kept = format!("public, max-age={}", KEY_RELOAD.as_secs());
        ([(header::CACHE_CONTROL, kept)], Json(self.0)).into_response()
    }
}

impl Answers for Keys {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<Outline>(200, "The keys.", &[]);
    }
}
