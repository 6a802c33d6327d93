//! Signing keys: an Ed25519 pair from its seed, named after its public half so that the name cannot be mistaken.

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, errors,
    jwk::{Jwk, PublicKeyUse, ThumbprintHash},
};

/// The only algorithm that is used, for signing and for verifying.
pub(super) const ALGORITHM: Algorithm = Algorithm::EdDSA;

/// PKCS #8 (RFC 8410) in front of the 32 bytes of an Ed25519 seed.
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The bytes are not a key.
#[derive(Debug, thiserror::Error)]
#[error("not an Ed25519 key")]
pub struct KeyError(#[from] errors::Error);

/// A key that signs; its debug output shows only the public half.
pub struct Signer {
    key: EncodingKey,
    public: PublicKey,
}

/// A key that verifies: our record of what belongs to a `kid`.
#[derive(Clone, Debug)]
pub struct PublicKey {
    jwk: Jwk,
    kid: String,
    key: DecodingKey,
}

impl Signer {
    /// The pair that belongs to a seed of 32 random bytes.
    pub fn from_seed(seed: [u8; 32]) -> Result<Self, KeyError> {
        let key = EncodingKey::from_ed_der(&[PKCS8.as_slice(), &seed].concat());
        let public = PublicKey::from_jwk(Jwk::from_encoding_key(&key, ALGORITHM)?)?;
        Ok(Self { key, public })
    }

    /// Its public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Itself.
    pub fn key(&self) -> &EncodingKey {
        &self.key
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Signer").field(&self.public.kid).finish_non_exhaustive()
    }
}

impl PublicKey {
    /// The key of these 32 bytes, as RFC 8032 encodes it.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, KeyError> {
        Self::from_jwk(Jwk::from_decoding_key(&DecodingKey::from_ed_der(&bytes), Some(ALGORITHM))?)
    }

    fn from_jwk(mut jwk: Jwk) -> Result<Self, KeyError> {
        let kid = jwk.thumbprint(ThumbprintHash::SHA256)?;
        jwk.common.key_id = Some(kid.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self { key: DecodingKey::from_jwk(&jwk)?, kid, jwk })
    }

    /// Its name in the header of tokens: the thumbprint of RFC 7638.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Its 32 bytes.
    pub fn bytes(&self) -> Result<[u8; 32], KeyError> {
        let bytes = self.key.try_get_as_bytes()?;
        bytes.try_into().map_err(|_longer| KeyError(errors::ErrorKind::InvalidKeyFormat.into()))
    }

    /// As it is published.
    pub(super) fn jwk(&self) -> Jwk {
        self.jwk.clone()
    }

    pub(super) fn key(&self) -> &DecodingKey {
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

    use super::*;

    #[test]
    fn a_seed_gives_the_key_pair_of_rfc_8037() {
        let seed = BASE64_URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let signer = Signer::from_seed(seed.try_into().unwrap()).unwrap();
        assert_eq!(signer.public_key().kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let jwk = serde_json::to_value(signer.public_key().jwk()).unwrap();
        assert_eq!(
            jwk,
            serde_json::json!({
                "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
                "alg": "EdDSA", "use": "sig", "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
            })
        );
        let bytes = signer.public_key().bytes().unwrap();
        assert_eq!(PublicKey::from_bytes(bytes).unwrap().kid(), signer.public_key().kid());
    }

    #[test]
    fn debug_output_shows_no_private_key() {
        let signer = Signer::from_seed([7; 32]).unwrap();
        assert_eq!(format!("{signer:?}"), format!("Signer({:?}, ..)", signer.public_key().kid()));
    }
}
