//! Public keys, each good for one algorithm, and sets of them.

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature;
use aws_lc_rs::signature::UnparsedPublicKey;
use serde::Deserialize;
use serde::Serialize;

use crate::auth::ERROR_ID;
use crate::auth::jwt::KEYS_BYTES_MAX;
use crate::auth::jwt::KEYS_MAX;
use crate::auth::jwt::base64url;
use crate::core::error::Error;
use crate::core::error::Result;

/// Bytes of the modulus of the shortest RSA key that is taken: 2048 bits.
const MODULUS_BYTES_MIN: usize = 256;

/// Bytes of the modulus of the longest one: 8192 bits, so that no key makes checking slow.
const MODULUS_BYTES_MAX: usize = 1024;

/// Bytes of the longest public exponent: 33 bits hold every one in use.
const EXPONENT_BYTES_MAX: usize = 5;

/// Bytes of an Ed25519 public key, and of each coordinate on P-256.
const POINT_BYTES: usize = 32;

/// A public key. The variant is the algorithm: nothing that a token says chooses it.
pub(super) enum Key {
    EdDsa(Vec<u8>),
    Es256(Vec<u8>),
    Rs256(PublicKeyComponents<Vec<u8>>),
}

impl Key {
    /// Returns the algorithm as tokens name it.
    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Self::EdDsa(_) => "EdDSA",
            Self::Es256(_) => "ES256",
            Self::Rs256(_) => "RS256",
        }
    }

    /// Returns whether a signature of the message is this key's.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::EdDsa(point) => {
                UnparsedPublicKey::new(&signature::ED25519, point).verify(message, signature)
            }
            Self::Es256(point) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                    .verify(message, signature)
            }
            Self::Rs256(key) => {
                key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
        }
        .is_ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm())
    }
}

/// The keys of an issuer by their ids.
pub(super) type Keys = HashMap<String, Key>;

/// A set of keys as it is published (RFC 7517).
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Published {
    pub(super) keys: Vec<PublishedKey>,
}

/// One key as it is published.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct PublishedKey {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) kid: String,
    pub(super) kty: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) alg: String,
    #[serde(rename = "use", default, skip_serializing_if = "String::is_empty")]
    pub(super) purpose: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) crv: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) x: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) y: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) n: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) e: String,
}

impl PublishedKey {
    /// Describes an Ed25519 key.
    pub(super) fn ed25519(kid: &str, point: &[u8]) -> Self {
        Self {
            kid: kid.to_owned(),
            kty: "OKP".to_owned(),
            alg: "EdDSA".to_owned(),
            purpose: "sig".to_owned(),
            crv: "Ed25519".to_owned(),
            x: base64url::encode(point),
            ..Self::default()
        }
    }

    /// Makes the key; `None` for one of another kind or purpose, a short or a broken one.
    fn key(&self) -> Option<Key> {
        if !matches!(self.purpose.as_str(), "" | "sig") || self.kid.is_empty() {
            return None;
        }
        let point = |text: &str| {
            base64url::decode(text.as_bytes()).filter(|bytes| bytes.len() == POINT_BYTES)
        };
        match (self.kty.as_str(), self.crv.as_str(), self.alg.as_str()) {
            ("OKP", "Ed25519", "" | "EdDSA" | "Ed25519") => Some(Key::EdDsa(point(&self.x)?)),
            ("EC", "P-256", "" | "ES256") => {
                let (x, y) = (point(&self.x)?, point(&self.y)?);
                // Four says that both coordinates follow.
                Some(Key::Es256([&[4], x.as_slice(), y.as_slice()].concat()))
            }
            ("RSA", "", "" | "RS256") => {
                let (n, e) = (unsigned(&self.n)?, unsigned(&self.e)?);
                let fits = (MODULUS_BYTES_MIN..=MODULUS_BYTES_MAX).contains(&n.len());
                let odd = e.last().is_some_and(|byte| byte % 2 == 1) && e != [1];
                let fits = fits && odd && e.len() <= EXPONENT_BYTES_MAX;
                fits.then_some(Key::Rs256(PublicKeyComponents { n, e }))
            }
            _ => None,
        }
    }
}

/// Reads a number without leading zeros.
fn unsigned(text: &str) -> Option<Vec<u8>> {
    let bytes = base64url::decode(text.as_bytes())?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).map(<[u8]>::to_vec)
}

/// Reads a published set; keys that are of no use here are left out.
///
/// # Errors
/// 412 when it is no set, too long, or has two keys of one id.
pub(super) fn keys(json: &str) -> Result<Keys> {
    let wrong = |what: &str| Error::precondition_failed(ERROR_ID, what);
    if json.len() > KEYS_BYTES_MAX {
        return Err(wrong("the set of keys is too long"));
    }
    let published: Published = serde_json::from_str(json)
        .map_err(|error| wrong("this is no set of keys").with_source(error))?;
    if published.keys.len() > KEYS_MAX {
        return Err(wrong("the set has too many keys"));
    }
    let mut keys = Keys::new();
    for one in published.keys {
        match one.key() {
            Some(key) => {
                if keys.insert(one.kid, key).is_some() {
                    return Err(wrong("the set has two keys of one id"));
                }
            }
            None => tracing::debug!(kty = %one.kty.escape_debug(), "a key is of no use here"),
        }
    }
    Ok(keys)
}
