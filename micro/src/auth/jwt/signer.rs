//! The keys that an issuer signs with, kept in its store and changed without a gap.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::Ed25519KeyPair;
use aws_lc_rs::signature::KeyPair;
use serde::Deserialize;
use serde::Serialize;

use crate::auth::ERROR_ID;
use crate::auth::jwt::LEEWAY;
use crate::auth::jwt::LIFE_MAX;
use crate::auth::jwt::SIGNING_DELAY;
use crate::auth::jwt::base64url;
use crate::auth::jwt::key::PublishedKey;
use crate::auth::jwt::random;
use crate::auth::mirror::Mirror;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::shutdown::TaskTracker;
use crate::store;
use crate::store::Record;

/// Keys that an issuer keeps at most; those that no token needs are removed at each change.
const KEPT_MAX: usize = 100;

/// Signs with the youngest key whose time has come.
#[derive(Debug)]
pub(super) struct Signer {
    private: Arc<Mirror<Vec<Signing>>>,
    public: store::Handle,
}

/// A key that signs.
struct Signing {
    kid: String,
    from: u64,
    pair: Ed25519KeyPair,
}

impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signing").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// A key as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// When it begins to sign, in seconds since 1970.
    from: u64,
    pkcs8: String,
}

fn signings(records: Vec<Record>) -> Result<Vec<Signing>> {
    records
        .into_iter()
        .map(|record| {
            let kept: Kept = record.decode()?;
            let der = base64url::decode(kept.pkcs8.as_bytes()).unwrap_or_default();
            let pair = Ed25519KeyPair::from_pkcs8(&der).map_err(|_error| broken())?;
            Ok(Signing { kid: record.key, from: kept.from, pair })
        })
        .collect()
}

fn broken() -> Error {
    Error::internal(ERROR_ID, "a signing key cannot be made or read")
}

impl Signer {
    /// Reads the keys of two tables, the second of which is what verifiers may read; makes the
    /// first key where there is none.
    pub(super) async fn open(
        private: store::Handle,
        public: store::Handle,
        now: u64,
        tasks: &TaskTracker,
    ) -> Result<Self> {
        let private = Mirror::open(private, KEPT_MAX, signings, tasks).await?;
        let signer = Self { private, public };
        if signer.private.value().is_empty() {
            signer.add(now).await?;
        }
        Ok(signer)
    }

    /// Makes a key that begins to sign once every verifier has had the time to fetch it, and
    /// removes keys that no living token was signed with.
    pub(super) async fn rotate(&self, now: u64) -> Result<()> {
        self.add(now.saturating_add(SIGNING_DELAY.as_secs())).await?;
        let settled = |from: u64, life: Duration| from.saturating_add(life.as_secs()) <= now;
        let starts: Vec<(String, u64)> =
            self.private.value().iter().map(|key| (key.kid.clone(), key.from)).collect();
        for (kid, from) in &starts {
            let successor = starts.iter().map(|other| other.1).filter(|other| other > from).min();
            if successor.is_some_and(|successor| settled(successor, LIFE_MAX + LEEWAY)) {
                self.private.handle().delete(kid).await?;
                self.public.delete(kid).await?;
            }
        }
        self.private.reload().await
    }

    async fn add(&self, from: u64) -> Result<()> {
        let pair = Ed25519KeyPair::generate().map_err(|_error| broken())?;
        let document = pair.to_pkcs8().map_err(|_error| broken())?;
        let kid = random::text()?;
        // Published first: a key that nobody knows must not sign.
        let published = PublishedKey::ed25519(&kid, pair.public_key().as_ref());
        self.public.put(&kid, &published).await?;
        let kept = Kept { from, pkcs8: base64url::encode(document.as_ref()) };
        self.private.handle().put(&kid, &kept).await?;
        self.private.reload().await
    }

    /// Signs a header with the key's id and the claims.
    pub(super) fn sign(&self, claims: &impl Serialize, now: u64) -> Result<String> {
        let keys = self.private.value();
        let ready = keys.iter().filter(|key| key.from <= now).max_by_key(|key| key.from);
        // A clock that was set back must not leave the issuer without a key.
        let key = ready.or_else(|| keys.iter().min_by_key(|key| key.from)).ok_or_else(broken)?;
        let part = |json: serde_json::Result<Vec<u8>>| {
            json.map(|json| base64url::encode(&json))
                .map_err(|error| Error::internal(ERROR_ID, "no token").with_source(error))
        };
        let header = Header { alg: "EdDSA", typ: "JWT", kid: &key.kid };
        let message =
            format!("{}.{}", part(serde_json::to_vec(&header))?, part(serde_json::to_vec(claims))?);
        let signature = base64url::encode(key.pair.sign(message.as_bytes()).as_ref());
        Ok(format!("{message}.{signature}"))
    }
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'static str,
    kid: &'a str,
}
