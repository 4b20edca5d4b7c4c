//! Accounts that exist because a test says so.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::{
    Auth, Capabilities, Credentials, Grant, Identity, NewAccount, Proof, refused, unsupported,
};
use crate::client::Call;
use crate::core::account::Account;
use crate::core::clock;
use crate::core::error::Result;
use crate::core::future::BoxFuture;

/// How long a token is good for: longer than any test.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// Calls to a [`Service`](super::Service) of a test by an account.
pub trait AsAccount {
    /// Makes the call as a service of this id that has these scopes.
    ///
    /// Any other process refuses it with 401. The call fails with 400 if the names together are
    /// longer than some 4,000 bytes.
    #[must_use]
    fn account(
        self,
        id: impl Into<String>,
        scopes: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self;
}

impl<T, E> AsAccount for Call<T, E> {
    fn account(
        self,
        id: impl Into<String>,
        scopes: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let account = Account::service(id, scopes.into_iter().map(Into::into));
        self.bearer(token(&account))
    }
}

/// Believes whoever a token names. Tokens hold the account and no proof of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anybody;

impl Auth for Anybody {
    fn name(&self) -> &'static str {
        "anybody"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn inspect(&self, token: &str) -> Result<Identity> {
        let account = named(token).ok_or_else(refused)?;
        let expiry = clock::unix_now().saturating_add(TOKEN_LIFE);
        Ok(Identity::new(Arc::new(account), expiry))
    }

    fn generate<'a>(&'a self, _: &'a NewAccount) -> BoxFuture<'a, Result<Credentials>> {
        Box::pin(std::future::ready(Err(unsupported(self.name(), "make accounts"))))
    }

    fn token<'a>(&'a self, _: &'a Proof) -> BoxFuture<'a, Result<Grant>> {
        Box::pin(std::future::ready(Err(unsupported(self.name(), "hand out tokens"))))
    }

    fn revoke<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(std::future::ready(Err(unsupported(self.name(), "revoke"))))
    }

    fn revoke_token<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(std::future::ready(Err(unsupported(self.name(), "revoke"))))
    }
}

/// Writes an account as a token: its JSON, in hexadecimal digits.
fn token(account: &Account) -> String {
    // Strings and maps of them have a form in JSON.
    let json = serde_json::to_vec(account).unwrap_or_default();
    json.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads the account that a token names.
fn named(token: &str) -> Option<Account> {
    let pairs = token.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let json: Option<Vec<u8>> = pairs.map(byte).collect();
    serde_json::from_slice(&json?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_account_and_nothing_else_is_one() {
        let account = Account::service("ada", ["till:read".to_owned()]);
        let token = token(&account);
        assert_eq!(*Anybody.inspect(&token).unwrap().account, account);
        for wrong in ["", "7", "zz", "+7", &token[1..], &token[2..], "6e756c6c"] {
            assert_eq!(Anybody.inspect(wrong).unwrap_err().code(), 401, "{wrong}");
        }
    }
}
