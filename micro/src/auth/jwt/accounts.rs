//! The accounts and refresh tokens that an issuer keeps, and what it has revoked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time;
use serde::Deserialize;
use serde::Serialize;

use crate::auth::Credentials;
use crate::auth::ERROR_ID;
use crate::auth::NewAccount;
use crate::auth::TOKEN_BYTES_MAX;
use crate::auth::jwt::LEEWAY;
use crate::auth::jwt::LIFE_MAX;
use crate::auth::jwt::random;
use crate::auth::mirror::Mirror;
use crate::auth::refused;
use crate::core::account::Account;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::secret::Secret;
use crate::core::shutdown::TaskTracker;
use crate::store;
use crate::store::Put;
use crate::store::Record;
use crate::store::is_conflict;

/// Accounts revoked within the longest life of a token; more end no further one and are a 429.
const REVOKED_MAX: usize = 100_000;

/// Until when the tokens of revoked accounts are worth nothing, by account.
pub(super) type Revoked = Mirror<HashMap<String, u64>>;

/// Opens the table of revoked accounts.
pub(super) async fn revoked(table: store::Handle, tasks: &TaskTracker) -> Result<Arc<Revoked>> {
    fn build(records: Vec<Record>) -> Result<HashMap<String, u64>> {
        let pair = |record: Record| Ok((record.key.clone(), record.decode()?));
        records.into_iter().map(pair).collect()
    }
    Mirror::open(table, REVOKED_MAX, build, tasks).await
}

/// The tables of an issuer.
#[derive(Debug)]
pub(super) struct Accounts {
    accounts: store::Handle,
    refresh: store::Handle,
    revoked: Arc<Revoked>,
}

/// An account as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    account: Account,
    secret_hash: String,
    /// In seconds since 1970.
    created: u64,
}

/// What came of one proof of an account: refresh tokens of which the last is good, under the hash
/// of the part that they share.
#[derive(Serialize, Deserialize)]
struct Family {
    id: String,
    /// The hash of the token that is good.
    token_hash: String,
    /// In seconds since 1970.
    issued: u64,
    /// In seconds since 1970, for stores that end nothing by themselves.
    until: u64,
}

impl Accounts {
    pub(super) fn new(
        accounts: store::Handle,
        refresh: store::Handle,
        revoked: Arc<Revoked>,
    ) -> Self {
        Self { accounts, refresh, revoked }
    }

    pub(super) async fn generate(
        &self,
        new: &NewAccount,
        issuer: &str,
        now: u64,
    ) -> Result<Credentials> {
        new.check()?;
        if self.revoked.value().get(&new.id).is_some_and(|until| *until >= now) {
            let detail = "an account of this id was revoked a moment ago";
            return Err(Error::conflict(ERROR_ID, detail).with_retry_after(LEEWAY * 2));
        }
        let account = Account {
            id: new.id.clone(),
            kind: new.kind.clone(),
            issuer: issuer.to_owned(),
            scopes: new.scopes.clone(),
            metadata: new.metadata.clone(),
        };
        let secret = random::text()?;
        let secret_hash = random::fingerprint(&secret);
        let kept = Kept { account: account.clone(), secret_hash, created: now };
        match self.accounts.put(&new.id, &kept).if_absent().await {
            Ok(_) => Ok(Credentials::new(account, Secret::new(secret))),
            Err(error) if is_conflict(&error) => {
                Err(Error::conflict(ERROR_ID, "there is an account of this id"))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the account whose secret this is.
    pub(super) async fn by_secret(&self, id: &str, secret: &str) -> Result<Account> {
        if secret.len() > TOKEN_BYTES_MAX || id.is_empty() {
            return Err(refused());
        }
        // An id that no account may have is refused as any other.
        let found = self.accounts.get::<Kept>(id).await.or_else(not_found)?;
        let shown = random::fingerprint(secret);
        // An absent account takes as long as one with another secret.
        let kept = found.as_ref().map_or("", |kept| kept.secret_hash.as_str());
        let same = constant_time::verify_slices_are_equal(kept.as_bytes(), shown.as_bytes());
        match (found, same) {
            (Some(kept), Ok(())) => Ok(kept.account),
            _ => Err(refused()),
        }
    }

    /// Returns the account of a refresh token, which is used up, and the one that follows it.
    ///
    /// A token that was used already ends its family: one of the two who showed it is a thief.
    pub(super) async fn by_refresh(
        &self,
        token: &str,
        now: u64,
        life: Duration,
    ) -> Result<(Account, Secret<String>)> {
        let shared = shared(token).ok_or_else(refused)?;
        let key = random::fingerprint(shared);
        let record = self.refresh.read(&key).await?.ok_or_else(refused)?;
        let family: Family = record.decode()?;
        let shown = random::fingerprint(token);
        let (kept, given) = (family.token_hash.as_bytes(), shown.as_bytes());
        if constant_time::verify_slices_are_equal(kept, given).is_err() {
            self.refresh.delete(&key).await?;
            let account = family.id.escape_debug();
            tracing::warn!(%account, "a used refresh token was shown: those after it are void");
            return Err(refused());
        }
        let kept = self.accounts.get::<Kept>(&family.id).await?.ok_or_else(refused)?;
        let revoked = self.revoked.value().get(&family.id).copied().unwrap_or_default();
        let good = now < family.until && family.issued >= kept.created && family.issued > revoked;
        if !good {
            return Err(refused());
        }
        let (next, put) = self.family(&family.id, shared, (now, life))?;
        // Of several that show the token at once, one gets further.
        let put = put.if_version(record.version).await;
        put.map_err(|error| if is_conflict(&error) { refused() } else { error })?;
        Ok((kept.account, next))
    }

    /// Makes the first refresh token of a family.
    pub(super) async fn refresh(
        &self,
        id: &str,
        now: u64,
        life: Duration,
    ) -> Result<Secret<String>> {
        let (token, put) = self.family(id, &random::text()?, (now, life))?;
        put.await?;
        Ok(token)
    }

    /// Makes the next token of a family, and the write by which it is the good one.
    fn family(
        &self,
        id: &str,
        shared: &str,
        (issued, life): (u64, Duration),
    ) -> Result<(Secret<String>, Put)> {
        let token = format!("{shared}.{}", random::text()?);
        let until = issued.saturating_add(life.as_secs());
        let token_hash = random::fingerprint(&token);
        let family = Family { id: id.to_owned(), token_hash, issued, until };
        let put = self.refresh.put(&random::fingerprint(shared), &family);
        let put = if self.refresh.capabilities().ttl { put.ttl(life) } else { put };
        Ok((Secret::new(token), put))
    }

    pub(super) async fn revoke(&self, id: &str, now: u64) -> Result<()> {
        // The account first: nothing is issued to it any more when its tokens are ended.
        self.accounts.delete(id).await?;
        let until = now.saturating_add(LEEWAY.as_secs());
        let table = self.revoked.handle();
        let put = table.put(id, &until);
        let life = LIFE_MAX + LEEWAY * 3;
        let put = if table.capabilities().ttl { put.ttl(life) } else { put };
        put.await?;
        self.revoked.reload().await
    }

    pub(super) async fn revoke_token(&self, token: &str) -> Result<()> {
        match shared(token) {
            Some(shared) => self.refresh.delete(&random::fingerprint(shared)).await,
            None => Ok(()),
        }
    }
}

/// Returns the part of a refresh token that its family shares.
fn shared(token: &str) -> Option<&str> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    token.split_once('.').map(|(shared, _)| shared)
}

/// Takes an id that is no key of a store for one that is absent.
fn not_found<T>(error: Error) -> Result<Option<T>> {
    if error.code() == 400 { Ok(None) } else { Err(error) }
}
