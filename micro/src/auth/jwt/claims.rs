//! What a token says, and whether that is acceptable.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;

use crate::auth::jwt::CLAIMS_DEPTH_MAX;
use crate::auth::jwt::LEEWAY;
use crate::auth::jwt::LIFE_MAX;
use crate::core::account::Account;

/// Why a token is refused: for the log, never for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    TooLong,
    NoToken,
    BadHeader,
    CriticalHeader,
    NoKeys,
    UnknownKey,
    WrongAlgorithm,
    BadSignature,
    BadClaims,
    TooDeep,
    WrongIssuer,
    WrongAudience,
    NoSubject,
    Expired,
    NotYet,
    IssuedLater,
    TooLongLived,
    Revoked,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "it is too long",
            Self::NoToken => "it is no token",
            Self::BadHeader => "its header cannot be read or names no key",
            Self::CriticalHeader => "its header has critical parts",
            Self::NoKeys => "the keys could not be fetched for too long",
            Self::UnknownKey => "its key is unknown",
            Self::WrongAlgorithm => "its algorithm is not that of its key",
            Self::BadSignature => "its signature does not fit",
            Self::BadClaims => "its claims cannot be read",
            Self::TooDeep => "its claims are nested too deeply",
            Self::WrongIssuer => "it is of another issuer",
            Self::WrongAudience => "it is for another audience",
            Self::NoSubject => "it names no account",
            Self::Expired => "it is over",
            Self::NotYet => "it is not good yet",
            Self::IssuedLater => "it was issued in the future: are the clocks right?",
            Self::TooLongLived => "it lives longer than tokens may",
            Self::Revoked => "it was revoked",
        })
    }
}

/// The claims of a token; times are seconds since 1970 and nothing but whole numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) sub: String,
    pub(super) aud: Audience,
    pub(super) iat: u64,
    pub(super) exp: u64,
    #[serde(default, deserialize_with = "stated", skip_serializing_if = "Option::is_none")]
    pub(super) nbf: Option<u64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) jti: String,
    #[serde(rename = "type", default, skip_serializing_if = "String::is_empty")]
    pub(super) kind: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) scopes: Vec<String>,
    /// What OAuth 2 writes instead of `scopes`: one text, separated by spaces.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) scope: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metadata: BTreeMap<String, String>,
}

/// One audience or several.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn has(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Many(many) => many.iter().any(|one| one == audience),
        }
    }
}

/// Reads a value that is there: `null` is no number.
fn stated<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    u64::deserialize(deserializer).map(Some)
}

/// Reads the claims of a token whose signature holds.
pub(super) fn read(json: &[u8]) -> Result<Claims, Reason> {
    if depth(json) > CLAIMS_DEPTH_MAX {
        return Err(Reason::TooDeep);
    }
    serde_json::from_slice(json).map_err(|_error| Reason::BadClaims)
}

/// Counts how deep arrays and objects are nested, in what may be JSON.
fn depth(json: &[u8]) -> usize {
    let (mut open, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                open = open.saturating_add(1);
                deepest = deepest.max(open);
            }
            b']' | b'}' if !in_text => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

impl Claims {
    /// Checks everything that does not need a key, at `now` in seconds since 1970.
    pub(super) fn check(&self, issuer: &str, audience: &str, now: u64) -> Result<(), Reason> {
        let leeway = LEEWAY.as_secs();
        let rules = [
            (self.iss == issuer, Reason::WrongIssuer),
            (self.aud.has(audience), Reason::WrongAudience),
            (!self.sub.is_empty(), Reason::NoSubject),
            (now < self.exp.saturating_add(leeway), Reason::Expired),
            (self.iat <= now.saturating_add(leeway), Reason::IssuedLater),
            (self.nbf.unwrap_or_default() <= now.saturating_add(leeway), Reason::NotYet),
            (
                self.exp > self.iat && self.exp - self.iat <= LIFE_MAX.as_secs(),
                Reason::TooLongLived,
            ),
        ];
        rules.into_iter().find(|rule| !rule.0).map_or(Ok(()), |rule| Err(rule.1))
    }

    /// Returns whose the token is.
    pub(super) fn account(self) -> Account {
        let more = self.scope.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned);
        Account {
            id: self.sub,
            kind: self.kind,
            issuer: self.iss,
            scopes: self.scopes.into_iter().chain(more).collect(),
            metadata: self.metadata,
        }
    }
}
