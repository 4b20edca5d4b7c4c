//! Accounts to be made, proofs of being one, and what they are exchanged for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::auth::ERROR_ID;
use crate::core::account::Account;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::secret::Secret;

/// Bytes of a token (L24); a longer one is refused before it is looked at.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Bytes of an account's id, of its type and of each of its scopes; more is a 400.
const NAME_BYTES_MAX: usize = 256;

/// Scopes of an account, and entries of its metadata; more are a 400.
const ENTRIES_MAX: usize = 64;

/// Bytes of all scopes and metadata of an account, so that its tokens stay below their bound; more
/// are a 400.
const FACTS_BYTES_MAX: usize = 4 * 1024;

/// An account to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewAccount {
    /// Unique among the accounts.
    pub id: String,
    /// `user` or `service`.
    pub kind: String,
    /// What the account may do.
    pub scopes: Vec<String>,
    /// Facts about the account.
    pub metadata: BTreeMap<String, String>,
}

impl NewAccount {
    /// Begins an account of type `service` without scopes.
    pub fn new(id: impl Into<String>) -> Self {
        let (scopes, metadata) = (Vec::new(), BTreeMap::new());
        Self { id: id.into(), kind: "service".to_owned(), scopes, metadata }
    }

    /// Replaces the type.
    #[must_use]
    pub fn with_kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = kind.into();
        self
    }

    /// Adds a scope.
    #[must_use]
    pub fn with_scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Checks that this can be an account.
    ///
    /// # Errors
    /// 400 for an empty id, names that are too long or hold control characters, and too many facts.
    pub fn check(&self) -> Result<()> {
        let fits =
            |text: &String| text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control);
        let names = [&self.id, &self.kind].into_iter().chain(&self.scopes);
        let pairs = self.metadata.iter().flat_map(|(key, value)| [key, value]);
        let bytes: usize = self.scopes.iter().chain(pairs).map(String::len).sum();
        let few = self.scopes.len() <= ENTRIES_MAX && self.metadata.len() <= ENTRIES_MAX;
        let mut names = names;
        if self.id.is_empty() || !names.all(fits) || !few || bytes > FACTS_BYTES_MAX {
            let detail = "an account needs an id; names are plain and short, facts few";
            return Err(Error::bad_request(ERROR_ID, detail));
        }
        Ok(())
    }
}

/// An account that was made, with what proves to be it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Credentials {
    /// The account.
    pub account: Account,
    /// What proves to be it; kept nowhere else.
    pub secret: Secret<String>,
}

impl Credentials {
    /// Joins an account and its secret.
    pub fn new(account: Account, secret: Secret<String>) -> Self {
        Self { account, secret }
    }

    /// Returns the proof of being the account.
    pub fn proof(&self) -> Proof {
        Proof::Secret { id: self.account.id.clone(), secret: self.secret.clone() }
    }
}

/// What somebody shows to get tokens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Proof {
    /// The secret of an account.
    Secret {
        /// The id of the account.
        id: String,
        /// Its secret.
        secret: Secret<String>,
    },
    /// A refresh token.
    Refresh(Secret<String>),
}

/// Tokens, with go-micro's fields.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Grant {
    /// What calls are made with.
    pub access: Secret<String>,
    /// What the next tokens are got with, once.
    pub refresh: Secret<String>,
    /// When they were issued, since 1970.
    pub created: Duration,
    /// When the access token is over, since 1970.
    pub expiry: Duration,
}

impl Grant {
    /// Joins tokens and their times.
    pub fn new(
        access: Secret<String>,
        refresh: Secret<String>,
        created: Duration,
        expiry: Duration,
    ) -> Self {
        Self { access, refresh, created, expiry }
    }

    /// Returns the proof that gets the next tokens.
    pub fn proof(&self) -> Proof {
        Proof::Refresh(self.refresh.clone())
    }

    /// Returns whether the access token is over at `now`, since 1970.
    pub fn is_over(&self, now: Duration) -> bool {
        now >= self.expiry
    }
}

/// Whose an accepted token is, and until when it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The account.
    pub account: Arc<Account>,
    /// When the token is over, since 1970.
    pub expiry: Duration,
}

impl Identity {
    /// Joins an account and the end of its token.
    pub fn new(account: Arc<Account>, expiry: Duration) -> Self {
        Self { account, expiry }
    }
}

/// Tokens as they travel, with the names that go-micro gives them.
#[derive(Serialize, Deserialize)]
struct Wire {
    access_token: String,
    refresh_token: String,
    created: u64,
    expiry: u64,
}

impl Grant {
    /// Writes the tokens as JSON with go-micro's names and times in seconds; they are in plain sight
    /// there.
    pub fn to_json(&self) -> String {
        let wire = Wire {
            access_token: self.access.expose().clone(),
            refresh_token: self.refresh.expose().clone(),
            created: self.created.as_secs(),
            expiry: self.expiry.as_secs(),
        };
        // Strings and numbers have a form in JSON.
        serde_json::to_string(&wire).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a19_no_secret_shows_up_in_debug() {
        let secret = || Secret::new("hunter2".to_owned());
        let credentials = Credentials::new(Account::service("a", []), secret());
        let grant = Grant::new(secret(), secret(), Duration::ZERO, Duration::ZERO);
        let shown =
            format!("{credentials:?} {:?} {grant:?} {:?}", credentials.proof(), grant.proof());
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn accounts_stay_small_enough_for_their_tokens() {
        assert!(NewAccount::new("a").with_scope("x").with_metadata("k", "v").check().is_ok());
        let many = (0..=ENTRIES_MAX).fold(NewAccount::new("a"), |a, n| a.with_scope(n.to_string()));
        for account in [
            NewAccount::new(""),
            NewAccount::new("a\nb"),
            NewAccount::new("x".repeat(NAME_BYTES_MAX + 1)),
            NewAccount::new("a").with_metadata("k", "v".repeat(FACTS_BYTES_MAX)),
            many,
        ] {
            assert_eq!(account.check().unwrap_err().code(), 400);
        }
    }
}
