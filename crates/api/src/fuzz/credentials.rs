//! Cursors and tokens: only our own are taken, and a true signature alone is not enough.

use std::sync::LazyLock;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use domain::TenantId;
use jsonwebtoken::{Algorithm, crypto::sign};
use serde_json::Value;
use uuid::Uuid;

use crate::api_keys::ApiKey;
use crate::cursor::Scope;
use crate::tokens::{AccessToken, KeySet, LEEWAY, MAX_TOKEN, Signer, Tokens};

const LIST: Scope<'static> =
    Scope { route: "GET /v1/sessions", tenant: TenantId(Uuid::from_u128(1)), filters: "status=open", order: "desc" };

/// A cursor that is accepted is the one that is given out for its position, and good for no other list.
pub fn cursor(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    leads_back::<1>(&text);
    leads_back::<2>(&text);
}

fn leads_back<const N: usize>(text: &str) {
    let Ok(position) = LIST.decode::<N>(text) else { return };
    assert_eq!(LIST.encode(position), text);
    for other in [
        Scope { route: "GET /v1/users", ..LIST },
        Scope { tenant: TenantId(Uuid::from_u128(2)), ..LIST },
        Scope { filters: "status=", ..LIST },
        Scope { order: "asc", ..LIST },
    ] {
        assert!(other.decode::<N>(text).is_err(), "{other:?}");
    }
}

/// A key that is read has this one text.
pub fn api_key(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(key) = ApiKey::parse(&text) else { return };
    assert_eq!(key.text(), text);
    assert!(key.matches(&key.hash()));
}

const ISSUER: &str = "https://fuzz.example";

static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::from_seed([1; 32]).unwrap());
static BELIEVER: LazyLock<Tokens> =
    LazyLock::new(|| Tokens::new(ISSUER, KeySet::new(Signer::from_seed([1; 32]).unwrap(), [other_key()])));

/// A key of before the last rotation: also believed, but not the one that signs here.
fn other_key() -> crate::tokens::PublicKey {
    Signer::from_seed([2; 32]).unwrap().public_key().clone()
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn signature(message: &str) -> String {
    sign(message.as_bytes(), SIGNER.key(), Algorithm::EdDSA).unwrap()
}

/// A token that is believed carries the one signature that our key makes of it.
pub fn token(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(token) = BELIEVER.verify(&text, now()) else { return };
    let (message, signed) = text.rsplit_once('.').unwrap();
    assert_eq!(signed, signature(message));
    let (header, claims) = message.split_once('.').unwrap();
    let json = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
    assert_sound(token, &json(header), &json(claims));
}

/// A header and, behind a line feed, claims: truly signed, they are believed only if each says what ours say.
pub fn signed_token(bytes: &[u8]) {
    let feed = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (header, claims) = (&bytes[..feed], bytes.get(feed + 1..).unwrap_or_default());
    let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
    let message = format!("{}.{}", encode(header), encode(claims));
    let text = format!("{message}.{}", signature(&message));
    if let Ok(token) = BELIEVER.verify(&text, now()) {
        assert!(text.len() <= MAX_TOKEN);
        assert_sound(token, header, claims);
    }
}

fn assert_sound(token: AccessToken, header: &[u8], claims: &[u8]) {
    let [header, claims]: [Value; 2] = [header, claims].map(|json| serde_json::from_slice(json).unwrap());
    assert_eq!((&header["alg"], &header["typ"]), (&"EdDSA".into(), &"at+jwt".into()), "{header}");
    assert_eq!(header["kid"], SIGNER.public_key().kid());
    assert!(header["crit"].is_null(), "{header}");
    assert_eq!((&claims["iss"], &claims["aud"]), (&ISSUER.into(), &ISSUER.into()), "{claims}");
    let (now, leeway) = (now().timestamp(), LEEWAY.num_seconds());
    assert!(claims["exp"].as_i64().unwrap() + leeway >= now, "{claims}");
    assert!(claims["nbf"].as_i64().unwrap() <= now + leeway, "{claims}");
    assert!(claims["iat"].is_i64(), "{claims}");
    assert!(claims["role"] == token.grant.role.as_str(), "{claims}");
    let ids =
        [("sub", token.grant.user.0), ("tid", token.grant.tenant.0), ("sid", token.grant.sign_in), ("jti", token.id)];
    for (claim, id) in ids {
        assert_eq!(claims[claim].as_str().and_then(|text| text.parse().ok()), Some(id), "{claims}");
    }
}
