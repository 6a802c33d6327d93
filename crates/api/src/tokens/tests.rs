//! Hostile tokens, and what the cache must not do.

use std::cell::Cell;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::FutureExt;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::*;
use crate::error::Code;

const ISSUER: &str = "https://convolog.example";

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn signer(seed: u8) -> Signer {
    Signer::from_seed([seed; 32]).unwrap()
}

fn tokens() -> Tokens {
    Tokens::new(ISSUER, KeySet::new(signer(1), []))
}

fn grant() -> Grant {
    Grant {
        user: UserId(Uuid::from_u128(1)),
        tenant: TenantId(Uuid::from_u128(2)),
        sign_in: Uuid::from_u128(3),
        role: Role::Admin,
    }
}

fn good_claims() -> Value {
    json!({
        "iss": ISSUER, "aud": ISSUER, "sub": Uuid::from_u128(1), "tid": Uuid::from_u128(2), "sid": Uuid::from_u128(3),
        "role": "admin", "iat": 1_800_000_000, "nbf": 1_800_000_000, "exp": 1_800_000_300, "jti": Uuid::from_u128(4),
    })
}

fn good_header() -> Value {
    json!({"alg": "EdDSA", "kid": signer(1).public_key().kid(), "typ": "at+jwt"})
}

/// A token with a true signature, whatever it says.
fn signed(header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), signer(1).key(), Algorithm::EdDSA).unwrap();
    format!("{message}.{signature}")
}

fn changed(mut value: Value, member: &str, to: Option<Value>) -> Value {
    let members = value.as_object_mut().unwrap();
    match to {
        Some(to) => members.insert(member.into(), to),
        None => members.remove(member),
    };
    value
}

fn with_header(member: &str, to: impl Into<Option<Value>>) -> Result<AccessToken, Refusal> {
    tokens().verify(&signed(&changed(good_header(), member, to.into()), &good_claims()), now())
}

fn with_claim(member: &str, to: impl Into<Option<Value>>) -> Result<AccessToken, Refusal> {
    tokens().verify(&signed(&good_header(), &changed(good_claims(), member, to.into())), now())
}

#[test]
fn a_token_says_what_it_was_issued_for() {
    let token = tokens().issue(grant(), Uuid::from_u128(4), now()).unwrap();
    let verified = tokens().verify(&token, now()).unwrap();
    assert_eq!((verified.grant, verified.id, verified.expires_at), (grant(), Uuid::from_u128(4), now() + LIFETIME));
    let part = |index: usize| -> Value {
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap()).unwrap()
    };
    assert_eq!((part(0), part(1)), (good_header(), good_claims()));
    assert!(token.len() < MAX_TOKEN / 2);
}

#[test]
fn the_helpers_of_these_tests_make_tokens_that_are_believed() {
    assert!(tokens().verify(&signed(&good_header(), &good_claims()), now()).is_ok());
}

#[test]
fn a_token_lives_five_minutes_and_five_seconds_at_the_most() {
    let token = tokens().issue(grant(), Uuid::nil(), now()).unwrap();
    let at = |seconds: i64| tokens().verify(&token, now() + TimeDelta::seconds(seconds));
    assert!(at(0).is_ok() && at(299).is_ok() && at(305).is_ok() && at(-5).is_ok());
    assert!(matches!(at(306), Err(Refusal::Expired)));
    assert!(matches!(at(-6), Err(Refusal::NotYetValid)));
}

#[test]
fn every_claim_is_required_and_has_one_type() {
    for claim in ["iss", "aud", "sub", "sid", "tid", "role", "iat", "nbf", "exp", "jti"] {
        assert!(matches!(with_claim(claim, None), Err(Refusal::Jwt(_))), "without {claim}");
        for wrong in [json!(null), json!(""), json!([]), json!({}), json!(1.5), json!("1800000300"), json!([ISSUER])] {
            assert!(matches!(with_claim(claim, wrong.clone()), Err(Refusal::Jwt(_))), "{claim} = {wrong}");
        }
    }
    assert!(matches!(with_claim("exp", json!(i64::MAX)), Err(Refusal::OutOfRange)));
    assert!(matches!(with_claim("exp", json!(u64::MAX)), Err(Refusal::Jwt(_))));
    assert!(with_claim("exp", json!(-1)).is_err());
    assert!(with_claim("nbf", json!(i64::MIN)).is_err());
}

#[test]
fn tokens_of_and_for_others_are_refused() {
    assert!(matches!(with_claim("iss", json!("https://evil.example")), Err(Refusal::Jwt(_))));
    assert!(matches!(with_claim("aud", json!("https://evil.example")), Err(Refusal::Jwt(_))));
    assert!(matches!(with_claim("role", json!("root")), Err(Refusal::Jwt(_))));
}

#[test]
fn only_access_tokens_are_access_tokens() {
    for typ in [None, Some(json!("JWT")), Some(json!("at+JWT")), Some(json!("")), Some(json!("refresh+jwt"))] {
        assert!(matches!(with_header("typ", typ.clone()), Err(Refusal::WrongType)), "{typ:?}");
    }
    assert!(matches!(with_header("crit", json!(["exp"])), Err(Refusal::WrongType)));
}

#[test]
fn only_our_keys_count_and_the_header_brings_none() {
    assert!(matches!(with_header("kid", None), Err(Refusal::UnknownKey)));
    assert!(matches!(with_header("kid", json!("../../dev/null")), Err(Refusal::UnknownKey)));
    let evil = Tokens::new(ISSUER, KeySet::new(signer(2), []));
    let token = evil.issue(grant(), Uuid::nil(), now()).unwrap();
    assert!(matches!(tokens().verify(&token, now()), Err(Refusal::UnknownKey)));
    // The same with our kid, and with the key that would verify it brought along.
    let jwk = serde_json::to_value(signer(2).public_key().jwk()).unwrap();
    for (member, value) in
        [("jwk", jwk), ("jku", json!("https://evil.example/jwks")), ("x5u", json!("https://evil.example"))]
    {
        let header = changed(good_header(), member, Some(value.clone()));
        let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(&header), encode(&good_claims()));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), signer(2).key(), Algorithm::EdDSA).unwrap();
        assert!(matches!(tokens().verify(&format!("{message}.{signature}"), now()), Err(Refusal::Jwt(_))), "{member}");
        assert!(with_header(member, value).is_ok(), "{member} is ignored, not believed");
    }
}

#[test]
fn the_algorithm_is_that_of_our_key() {
    let ours = tokens();
    let secret = EncodingKey::from_secret(&signer(1).public_key().bytes().unwrap());
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let mut header = Header::new(algorithm);
        header.typ = Some(TYP.into());
        header.kid = Some(signer(1).public_key().kid().into());
        let token = jsonwebtoken::encode(&header, &good_claims(), &secret).unwrap();
        assert!(matches!(ours.verify(&token, now()), Err(Refusal::Jwt(_))), "{algorithm:?}");
    }
    for alg in ["none", "None", "", "ES256", "RS256", "HS256", "EdDSA "] {
        let token = signed(&changed(good_header(), "alg", Some(json!(alg))), &good_claims());
        assert!(matches!(ours.verify(&token, now()), Err(Refusal::Jwt(_))), "{alg}");
        let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
        assert!(matches!(ours.verify(&unsigned, now()), Err(Refusal::Jwt(_))), "{alg} unsigned");
    }
}

#[test]
fn a_changed_letter_anywhere_is_noticed() {
    let token = tokens().issue(grant(), Uuid::nil(), now()).unwrap();
    for index in (0..token.len()).step_by(7) {
        let mut bytes = token.clone().into_bytes();
        bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
        assert!(tokens().verify(std::str::from_utf8(&bytes).unwrap(), now()).is_err(), "{index}");
    }
    let owner = signed(&good_header(), &changed(good_claims(), "role", Some(json!("owner"))));
    let (payload, signature) = (owner.split('.').nth(1).unwrap(), token.rsplit('.').next().unwrap());
    let forged = format!("{}.{payload}.{signature}", token.split('.').next().unwrap());
    assert!(matches!(tokens().verify(&forged, now()), Err(Refusal::Jwt(_))));
}

#[test]
fn garbage_and_giants_are_refused() {
    let token = tokens().issue(grant(), Uuid::nil(), now()).unwrap();
    for garbage in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "\u{0}",
        &token[1..],
        &format!("{token}."),
        &format!("{token}="),
        &format!(" {token}"),
    ] {
        assert!(tokens().verify(garbage, now()).is_err(), "{garbage}");
    }
    let giant = signed(&good_header(), &changed(good_claims(), "x", Some(json!("x".repeat(100_000)))));
    assert!(matches!(tokens().verify(&giant, now()), Err(Refusal::TooLong)));
    let outcome = tokens().authenticate(&giant, now(), async |_| Ok(Role::Owner)).now_or_never().unwrap();
    assert_eq!(outcome.unwrap_err().code(), Code::Unauthorized);
}

#[test]
fn after_a_rotation_tokens_of_both_keys_are_believed() {
    let tokens = tokens();
    let token = tokens.issue(grant(), Uuid::nil(), now()).unwrap();
    tokens.replace_keys(KeySet::new(signer(2), [signer(1).public_key().clone()]));
    assert!(tokens.verify(&token, now()).is_ok());
    let new = tokens.issue(grant(), Uuid::nil(), now()).unwrap();
    assert_eq!(jsonwebtoken::decode_header(&new).unwrap().kid.unwrap(), signer(2).public_key().kid());
    assert!(tokens.verify(&new, now()).is_ok());
    assert_eq!(tokens.keys().jwks().keys.len(), 2);
}

/// Authenticates, and tells whether the token had to be checked.
fn use_token(tokens: &Tokens, token: &str, now: DateTime<Utc>, meanwhile: impl Fn()) -> (Option<Code>, bool) {
    let asked = Cell::new(false);
    let outcome = tokens.authenticate(token, now, async |_| {
        asked.set(true);
        meanwhile();
        Ok(Role::Owner)
    });
    (outcome.now_or_never().unwrap().err().map(|error| error.code()), asked.get())
}

#[test]
fn a_token_is_checked_once_and_expires_all_the_same() {
    let tokens = tokens();
    let token = tokens.issue(grant(), Uuid::nil(), now()).unwrap();
    assert_eq!(use_token(&tokens, &token, now(), || ()), (None, true));
    assert_eq!(use_token(&tokens, &token, now(), || ()), (None, false));
    let late = now() + LIFETIME + LEEWAY + TimeDelta::seconds(1);
    assert_eq!(use_token(&tokens, &token, late, || ()), (Some(Code::Unauthorized), false));
    let mut other = token.clone();
    other.push('A');
    assert_eq!(use_token(&tokens, &other, now(), || ()), (Some(Code::Unauthorized), false));
}

#[test]
fn a_token_that_is_not_good_any_more_is_not_remembered() {
    let tokens = tokens();
    let token = tokens.issue(grant(), Uuid::nil(), now()).unwrap();
    let revoked = tokens.authenticate(&token, now(), async |_| Err(Error::unauthorized()));
    assert!(revoked.now_or_never().unwrap().is_err());
    assert_eq!(use_token(&tokens, &token, now(), || ()), (None, true));
}

#[test]
fn a_cookie_that_is_revoked_while_it_is_looked_up_is_not_remembered_and_no_token_passes_for_one() {
    let tokens = tokens();
    let asked = |cookie: &str, meanwhile: &dyn Fn()| {
        let mut asked = false;
        let look_up = async || {
            asked = true;
            meanwhile();
            Ok(AccessToken::of_sign_in(grant(), now() + LIFETIME))
        };
        tokens.by_cookie(cookie, now(), look_up).now_or_never().unwrap().unwrap();
        asked
    };
    let revoke = || tokens.forget(|known| known.grant.sign_in == grant().sign_in);
    assert!(asked("cvs_x", &revoke));
    assert!(asked("cvs_x", &|| ()), "remembered across a revocation");
    assert!(!asked("cvs_x", &|| ()));
    revoke();
    assert!(asked("cvs_x", &|| ()));
    // What is remembered as the one is not known as the other.
    assert_eq!(use_token(&tokens, "cvs_x", now(), || ()), (Some(Code::Unauthorized), false));
    let token = tokens.issue(grant(), Uuid::nil(), now()).unwrap();
    assert_eq!(use_token(&tokens, &token, now(), || ()), (None, true));
    assert!(asked(&token, &|| ()));
}

#[test]
fn a_revocation_is_felt_at_once_even_in_the_middle_of_a_check() {
    let tokens = tokens();
    let token = tokens.issue(grant(), Uuid::nil(), now()).unwrap();
    let revoke = || tokens.forget(|known| known.grant.sign_in == grant().sign_in);
    assert_eq!(use_token(&tokens, &token, now(), revoke), (None, true));
    assert_eq!(use_token(&tokens, &token, now(), || ()), (None, true), "remembered across a revocation");
    assert_eq!(use_token(&tokens, &token, now(), || ()), (None, false));
    revoke();
    assert_eq!(use_token(&tokens, &token, now(), || ()), (None, true));
    tokens.forget(|known| known.grant.sign_in == Uuid::nil());
    assert_eq!(use_token(&tokens, &token, now(), || ()), (None, false), "somebody else's revocation");
}

#[test]
fn a_token_of_a_retired_key_is_refused_though_it_was_believed_before() {
    let tokens = tokens();
    let both = || KeySet::new(signer(2), [signer(1).public_key().clone()]);
    let token = tokens.issue(grant(), Uuid::nil(), now()).unwrap();
    assert_eq!(use_token(&tokens, &token, now(), || ()), (None, true));
    tokens.replace_keys(both());
    assert_eq!(use_token(&tokens, &token, now(), || ()), (None, false), "nothing is retired yet");
    tokens.replace_keys(KeySet::new(signer(2), []));
    assert_eq!(use_token(&tokens, &token, now(), || ()), (Some(Code::Unauthorized), false));
    // Also when it was being checked at that moment.
    tokens.replace_keys(both());
    let retire = || tokens.replace_keys(KeySet::new(signer(2), []));
    assert_eq!(use_token(&tokens, &token, now(), retire), (None, true));
    assert_eq!(use_token(&tokens, &token, now(), || ()), (Some(Code::Unauthorized), false));
}
