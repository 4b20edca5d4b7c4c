//! Signed tokens (JWT): checked with published keys, issued with keys kept in a store.
//!
//! Taken are EdDSA (Ed25519), ES256 and RS256 with keys of 2048 to 8192 bits, nothing else: no
//! `none`, no shared secrets. The key is found by its id and fixes the algorithm; a token without
//! a key id is refused. Issuer, audience, subject, `iat` and `exp` are required, `nbf` holds where
//! it is stated, times are whole seconds, no token lives longer than [`LIFE_MAX`], and clocks may
//! differ by [`LEEWAY`].
//!
//! # Keys
//!
//! A verifier fetches the set every [`REFRESH_INTERVAL`], and when a token names an unknown key,
//! then at most every [`REFETCH_INTERVAL_MIN`]. A set that could not be fetched for [`STALE_MAX`]
//! is worth nothing: every token is refused. A key that is no longer published is no longer taken
//! from the next look on.
//!
//! # Issuing
//!
//! [`Jwt::issuer`] keeps accounts, refresh tokens and signing keys in tables of a store handle. Of
//! secrets and refresh tokens it keeps hashes; signing keys are kept as they are, so whoever reads
//! the store can sign. [`Jwt::rotate`] publishes the next key [`SIGNING_DELAY`] before it signs,
//! and withdraws keys when the last token they signed is over.
//!
//! # Revocation
//!
//! A refresh token is good for one use and can be ended. An ended account's access tokens are
//! refused at once where the table of revocations is watched: at the issuer, and at verifiers made
//! with [`Jwt::verifier_at`]. Other verifiers take them to their end.

mod accounts;
pub(in crate::auth) mod base64url;
mod cache;
mod claims;
mod key;
pub(in crate::auth) mod random;
mod ring;
mod signer;
mod source;
#[cfg(test)]
mod tests;
#[cfg(feature = "jwks")]
mod url;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;

use self::accounts::{Accounts, Revoked};
use self::cache::{Cache, Epoch};
use self::claims::{Audience, Claims, Reason};
use self::ring::Ring;
use self::signer::Signer;
use self::source::KeyTable;
use crate::auth::Auth;
use crate::auth::Capabilities;
use crate::auth::Credentials;
use crate::auth::ERROR_ID;
use crate::auth::Grant;
use crate::auth::Identity;
use crate::auth::NewAccount;
use crate::auth::Proof;
use crate::auth::TOKEN_BYTES_MAX;
use crate::auth::refused;
use crate::auth::unsupported;
use crate::core::account::Account;
use crate::core::clock;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::core::secret::Secret;
use crate::core::shutdown::TaskTracker;
use crate::store;

pub use self::source::{KeyFile, KeySource, KeyText};
#[cfg(feature = "jwks")]
pub use self::url::KeyUrl;

/// How far clocks may differ.
pub const LEEWAY: Duration = Duration::from_secs(30);
/// The longest life of an access token; one that lives longer is refused.
pub const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Life of an access token unless the configuration says otherwise.
pub const ACCESS_LIFE_DEFAULT: Duration = Duration::from_secs(15 * 60);
/// Life of a refresh token unless the configuration says otherwise.
pub const REFRESH_LIFE_DEFAULT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Pause between looks at the published keys.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(300);
/// Pause between looks at the published keys when tokens name unknown ones.
pub const REFETCH_INTERVAL_MIN: Duration = Duration::from_secs(30);
/// Age of a set of keys past which no token is accepted.
pub const STALE_MAX: Duration = Duration::from_secs(3600);
/// Time from the publication of a key to its first signature.
pub const SIGNING_DELAY: Duration = Duration::from_secs(2 * 300);
/// Keys of one published set (L24); a set with more is refused.
pub const KEYS_MAX: usize = 100;
/// Bytes of a published set; a longer one is refused.
pub const KEYS_BYTES_MAX: usize = 256 * 1024;
/// Nesting of the claims of a token (L24); one that is nested deeper is refused.
pub const CLAIMS_DEPTH_MAX: usize = 4;
/// Accepted tokens that are remembered, each for a minute at most.
pub const CACHE_ENTRIES_MAX: usize = 10_000;

/// Distance of a token's time from this clock past which the log warns of the clocks.
const SKEW_LOUD: Duration = Duration::from_secs(300);

/// Whose tokens are taken, and for whom they have to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JwtConfig {
    /// The `iss` that every token has to state.
    pub issuer: String,
    /// The `aud` that every token has to state.
    pub audience: String,
    /// Life of the access tokens that are issued, at most [`LIFE_MAX`].
    pub access_life: Duration,
    /// Life of the refresh tokens that are issued.
    pub refresh_life: Duration,
}

impl JwtConfig {
    /// Names the issuer and the audience, without which no token is safe to take.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            access_life: ACCESS_LIFE_DEFAULT,
            refresh_life: REFRESH_LIFE_DEFAULT,
        }
    }

    /// Replaces the life of access tokens.
    #[must_use]
    pub fn with_access_life(mut self, life: Duration) -> Self {
        self.access_life = life;
        self
    }

    /// Replaces the life of refresh tokens.
    #[must_use]
    pub fn with_refresh_life(mut self, life: Duration) -> Self {
        self.refresh_life = life;
        self
    }

    fn check(&self) -> Result<()> {
        let named = !self.issuer.is_empty() && !self.audience.is_empty();
        let second = Duration::from_secs(1);
        let lives = (second..=LIFE_MAX).contains(&self.access_life) && self.refresh_life >= second;
        if named && lives {
            return Ok(());
        }
        let detail = "tokens need an issuer, an audience and lives of a second to a day";
        Err(Error::precondition_failed(ERROR_ID, detail))
    }
}

/// Checks signed tokens, and issues them where it has a store.
#[derive(Debug)]
pub struct Jwt {
    config: JwtConfig,
    ring: Arc<Ring>,
    revoked: Option<Arc<Revoked>>,
    issuing: Option<Issuing>,
    cache: Cache,
    /// Seconds by which a token of a good key was ahead of this clock, at most.
    ahead_max: AtomicU64,
    time: fn() -> Duration,
}

#[derive(Debug)]
struct Issuing {
    accounts: Accounts,
    signer: Signer,
}

/// The header of a token: what may be read of it before its key is known.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    /// Extensions that a reader has to understand: this one understands none.
    crit: Option<IgnoredAny>,
}

impl Jwt {
    /// Checks tokens with the keys of a source; follows it as a task of `tasks`.
    ///
    /// # Errors
    /// 412 for a configuration that is none and a set of keys that cannot be read; what the source
    /// fails with.
    pub async fn verifier(
        config: JwtConfig,
        keys: impl KeySource,
        tasks: &TaskTracker,
    ) -> Result<Self> {
        config.check()?;
        let ring = Ring::open(Arc::new(keys), tasks).await?;
        Ok(Self::made(config, ring))
    }

    /// Checks tokens with the keys and revocations that an issuer keeps in a database.
    ///
    /// # Errors
    /// As [`Jwt::verifier`]; what the store fails with.
    pub async fn verifier_at(
        config: JwtConfig,
        database: &store::Handle,
        tasks: &TaskTracker,
    ) -> Result<Self> {
        let mut jwt = Self::verifier(config, KeyTable(database.table("published")?), tasks).await?;
        jwt.revoked = Some(accounts::revoked(database.table("revoked")?, tasks).await?);
        Ok(jwt)
    }

    /// Issues tokens and checks them, with everything kept in a database; makes a signing key if
    /// there is none.
    ///
    /// # Errors
    /// As [`Jwt::verifier`]; 501 when the store has no conditions on writes.
    pub async fn issuer(
        config: JwtConfig,
        database: &store::Handle,
        tasks: &TaskTracker,
    ) -> Result<Self> {
        Self::issuer_in_time(config, database, tasks, clock::unix_now).await
    }

    async fn issuer_in_time(
        config: JwtConfig,
        database: &store::Handle,
        tasks: &TaskTracker,
        time: fn() -> Duration,
    ) -> Result<Self> {
        config.check()?;
        if !database.capabilities().cas {
            return Err(unsupported("jwt", "issue with a store that has no conditions"));
        }
        let (private, public) = (database.table("signing")?, database.table("published")?);
        let signer = Signer::open(private, public.clone(), time().as_secs(), tasks).await?;
        let ring = Ring::open(Arc::new(KeyTable(public)), tasks).await?;
        let revoked = accounts::revoked(database.table("revoked")?, tasks).await?;
        let tables = (database.table("accounts")?, database.table("refresh")?);
        let accounts = Accounts::new(tables.0, tables.1, Arc::clone(&revoked));
        Ok(Self {
            revoked: Some(revoked),
            issuing: Some(Issuing { accounts, signer }),
            time,
            ..Self::made(config, ring)
        })
    }

    fn made(config: JwtConfig, ring: Arc<Ring>) -> Self {
        let (revoked, issuing, cache) = (None, None, Cache::default());
        let ahead_max = AtomicU64::new(0);
        Self { config, ring, revoked, issuing, cache, ahead_max, time: clock::unix_now }
    }

    /// Publishes the key that signs next, and withdraws those that no living token needs.
    ///
    /// Call it every few weeks, and at once when a key may be known to others; then remove that
    /// key from the store too.
    ///
    /// # Errors
    /// 501 for a verifier; what the store fails with.
    pub async fn rotate(&self) -> Result<()> {
        self.issuing()?.signer.rotate(self.now()).await?;
        self.ring.fetch().await
    }

    /// Returns the set of public keys for verifiers elsewhere, as JSON (RFC 7517).
    ///
    /// # Errors
    /// 501 for a verifier; what the store fails with.
    pub async fn published(&self) -> Result<String> {
        self.issuing()?;
        self.ring.published().await
    }

    fn issuing(&self) -> Result<&Issuing> {
        self.issuing.as_ref().ok_or_else(|| unsupported("jwt", "issue: it only verifies"))
    }

    fn now(&self) -> u64 {
        (self.time)().as_secs()
    }

    fn epoch(&self) -> Epoch {
        (self.ring.epoch(), self.revoked.as_ref().map_or(0, |revoked| revoked.epoch()))
    }

    fn check(&self, token: &str, now: u64) -> Result<(Account, u64), Reason> {
        let (message, signature) = token.rsplit_once('.').ok_or(Reason::NoToken)?;
        let (header, claims) = message.split_once('.').ok_or(Reason::NoToken)?;
        let header = base64url::decode(header.as_bytes()).ok_or(Reason::NoToken)?;
        let header: Header = serde_json::from_slice(&header).map_err(|_error| Reason::BadHeader)?;
        if header.crit.is_some() {
            return Err(Reason::CriticalHeader);
        }
        let signature = base64url::decode(signature.as_bytes()).ok_or(Reason::NoToken)?;
        let named = (header.kid.as_str(), header.alg.as_str());
        self.ring.verify(named, message.as_bytes(), &signature)?;
        let claims = base64url::decode(claims.as_bytes()).ok_or(Reason::NoToken)?;
        let claims = claims::read(&claims)?;
        let ahead = claims.iat.saturating_sub(now);
        self.ahead_max.fetch_max(ahead, Ordering::Relaxed);
        if ahead > SKEW_LOUD.as_secs() {
            tracing::warn!(ahead, "a token of a known key is from the future: set the clocks");
        }
        claims.check(&self.config.issuer, &self.config.audience, now)?;
        let ended =
            self.revoked.as_ref().and_then(|revoked| revoked.value().get(&claims.sub).copied());
        if ended.is_some_and(|ended| claims.iat <= ended) {
            return Err(Reason::Revoked);
        }
        let expiry = claims.exp;
        Ok((claims.account(), expiry))
    }

    fn issue(
        &self,
        issuing: &Issuing,
        (account, refresh): (Account, Secret<String>),
        now: u64,
    ) -> Result<Grant> {
        let exp = now.saturating_add(self.config.access_life.as_secs());
        let claims = Claims {
            iss: self.config.issuer.clone(),
            sub: account.id,
            aud: Audience::One(self.config.audience.clone()),
            iat: now,
            exp,
            nbf: Some(now),
            jti: random::text()?,
            kind: account.kind,
            scopes: account.scopes,
            scope: String::new(),
            metadata: account.metadata,
        };
        let access = Secret::new(issuing.signer.sign(&claims, now)?);
        let seconds = Duration::from_secs;
        Ok(Grant::new(access, refresh, seconds(now), seconds(exp)))
    }
}

impl Auth for Jwt {
    fn name(&self) -> &'static str {
        "jwt"
    }

    fn capabilities(&self) -> Capabilities {
        if self.issuing.is_some() { Capabilities::issuing() } else { Capabilities::default() }
    }

    fn inspect(&self, token: &str) -> Result<Identity> {
        let refuse = |reason: Reason| {
            tracing::info!(%reason, "a token was refused");
            refused()
        };
        if token.len() > TOKEN_BYTES_MAX {
            return Err(refuse(Reason::TooLong));
        }
        let (digest, instant, now) = (random::hash(token), clock::now(), self.now());
        // Read before the token is checked: what changes meanwhile makes the note worthless.
        let epoch = self.epoch();
        if self.ring.is_stale() {
            return Err(refuse(Reason::NoKeys));
        }
        if let Some(identity) = self.cache.find(&digest, epoch, instant) {
            return Ok(identity);
        }
        let (account, expiry) = self.check(token, now).map_err(refuse)?;
        let left = Duration::from_secs(expiry.saturating_add(LEEWAY.as_secs()) - now);
        let identity = Identity::new(Arc::new(account), Duration::from_secs(expiry));
        self.cache.note(digest, (identity.clone(), left), epoch, instant);
        Ok(identity)
    }

    fn generate<'a>(&'a self, account: &'a NewAccount) -> BoxFuture<'a, Result<Credentials>> {
        Box::pin(async move {
            self.issuing()?.accounts.generate(account, &self.config.issuer, self.now()).await
        })
    }

    fn token<'a>(&'a self, proof: &'a Proof) -> BoxFuture<'a, Result<Grant>> {
        Box::pin(async move {
            // Before the account is read: what ends it later ends these tokens too.
            let (issuing, now) = (self.issuing()?, self.now());
            let (accounts, life) = (&issuing.accounts, self.config.refresh_life);
            let proven = match proof {
                Proof::Secret { id, secret } => {
                    match accounts.by_secret(id, secret.expose()).await {
                        Ok(account) => {
                            let refresh = accounts.refresh(&account.id, now, life).await;
                            refresh.map(|refresh| (account, refresh))
                        }
                        Err(error) => Err(error),
                    }
                }
                Proof::Refresh(token) => accounts.by_refresh(token.expose(), now, life).await,
            };
            let proven = proven.inspect_err(|error| {
                if error.code() == 401 {
                    tracing::info!("a proof of an account was refused");
                }
            })?;
            self.issue(issuing, proven, now)
        })
    }

    fn revoke<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.issuing()?.accounts.revoke(id, self.now()).await })
    }

    fn revoke_token<'a>(&'a self, refresh: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.issuing()?.accounts.revoke_token(refresh).await })
    }

    fn clock_ahead(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.ahead_max.load(Ordering::Relaxed)))
    }
}
