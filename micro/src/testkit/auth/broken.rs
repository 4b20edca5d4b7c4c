//! Accounts in memory, with one flaw of choice or none.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::auth::{Auth, Capabilities, Credentials, Grant, Identity, NewAccount, Proof, refused};
use crate::core::account::Account;
use crate::core::error::{Error, Result};
use crate::core::future::BoxFuture;
use crate::core::secret::Secret;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    None,
    /// Every token is somebody.
    AcceptsAnything,
    /// Says what is wrong with a token.
    SaysWhy,
    /// Declares nothing and works.
    HidesWhatItDoes,
    /// Scopes are lost.
    ForgetsScopes,
    /// An account is replaced by one of the same id.
    ReplacesAccounts,
    /// Ids lose their case.
    LowersIds,
    /// Any secret does.
    IgnoresSecrets,
    /// The beginning of a secret does.
    ComparesHalves,
    /// Only the beginning of a token is looked at.
    ReadsHalf,
    /// Secrets are tokens too.
    TakesSecrets,
    /// A refresh token is good for ever.
    RefreshesForEver,
    /// A use of a refresh token takes a while.
    ChecksThenUses,
    /// Revoking a refresh token does nothing.
    KeepsRefresh,
    /// Revoking an account leaves its tokens.
    KeepsAccess,
    /// Revoking an account leaves its refresh tokens.
    KeepsRefreshOfRevoked,
    /// Revoking takes every account that begins so.
    RevokesByPrefix,
    /// Takes every id.
    TakesAnyId,
    /// Tokens never end.
    LivesForEver,
}

#[derive(Debug)]
pub(super) struct Broken {
    flaw: Flaw,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    accounts: HashMap<String, (Account, String)>,
    access: HashMap<String, Account>,
    refresh: HashMap<String, String>,
    gone: HashSet<String>,
}

impl State {
    fn text(&mut self) -> String {
        self.last += 1;
        // Spread over the text, so that each character counts.
        let text: String = (0..8).map(|n| format!("{:06x}", (self.last * 7919 + n) * 2)).collect();
        text.replace('0', "z")
    }
}

impl Broken {
    pub(super) fn new(flaw: Flaw) -> Self {
        Self { flaw, state: Mutex::default() }
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn id(&self, id: &str) -> String {
        if self.is(Flaw::LowersIds) { id.to_lowercase() } else { id.to_owned() }
    }

    fn expiry(&self) -> Duration {
        if self.is(Flaw::LivesForEver) { Duration::MAX } else { Duration::from_secs(900) }
    }

    fn issue(&self, account: Account) -> Grant {
        let mut state = self.state.lock().unwrap();
        let (access, refresh) = (state.text(), state.text());
        state.refresh.insert(refresh.clone(), account.id.clone());
        state.access.insert(access.clone(), account);
        Grant::new(Secret::new(access), Secret::new(refresh), Duration::ZERO, self.expiry())
    }

    fn by_secret(&self, id: &str, secret: &str) -> Result<Account> {
        let state = self.state.lock().unwrap();
        let (account, kept) = state.accounts.get(&self.id(id)).ok_or_else(refused)?;
        let same = match self.flaw {
            Flaw::IgnoresSecrets => true,
            Flaw::ComparesHalves => kept.contains(secret),
            _ => kept == secret,
        };
        if same { Ok(account.clone()) } else { Err(refused()) }
    }

    async fn by_refresh(&self, token: &str) -> Result<Account> {
        let id = self.state.lock().unwrap().refresh.get(token).cloned().ok_or_else(refused)?;
        if self.is(Flaw::ChecksThenUses) {
            tokio::task::yield_now().await;
        }
        let mut state = self.state.lock().unwrap();
        if !self.is(Flaw::RefreshesForEver) {
            let used = state.refresh.remove(token);
            if used.is_none() && !self.is(Flaw::ChecksThenUses) {
                return Err(refused());
            }
        }
        match state.accounts.get(&id) {
            Some((account, _)) => Ok(account.clone()),
            None if self.is(Flaw::KeepsRefreshOfRevoked) => Ok(Account::service(id, [])),
            None => Err(refused()),
        }
    }
}

impl Auth for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn capabilities(&self) -> Capabilities {
        match self.flaw {
            Flaw::HidesWhatItDoes => Capabilities::default(),
            _ => Capabilities::issuing(),
        }
    }

    fn inspect(&self, token: &str) -> Result<Identity> {
        let state = self.state.lock().unwrap();
        let half = |text: &str| text.get(..12).map(str::to_owned);
        let found = match self.flaw {
            Flaw::ReadsHalf if token.len() >= 12 => {
                state.access.iter().find(|(key, _)| half(key) == half(token)).map(|pair| pair.1)
            }
            Flaw::TakesSecrets => state.access.get(token).or_else(|| {
                state.accounts.values().find(|pair| pair.1 == token).map(|pair| &pair.0)
            }),
            _ => state.access.get(token),
        };
        match found.cloned() {
            Some(account) => {
                if state.gone.contains(&account.id) && !self.is(Flaw::KeepsAccess) {
                    return Err(refused());
                }
                Ok(Identity::new(Arc::new(account), self.expiry()))
            }
            None if self.is(Flaw::AcceptsAnything) => {
                Ok(Identity::new(Arc::new(Account::service("somebody", [])), self.expiry()))
            }
            None if self.is(Flaw::SaysWhy) => {
                Err(Error::unauthorized("micro.auth", format!("{} bytes are odd", token.len())))
            }
            None => Err(refused()),
        }
    }

    fn generate<'a>(&'a self, new: &'a NewAccount) -> BoxFuture<'a, Result<Credentials>> {
        Box::pin(async move {
            if !self.is(Flaw::TakesAnyId) {
                new.check()?;
            }
            let mut state = self.state.lock().unwrap();
            let id = self.id(&new.id);
            if state.accounts.contains_key(&id) && !self.is(Flaw::ReplacesAccounts) {
                return Err(Error::conflict("micro.auth", "there is one"));
            }
            let scopes = if self.is(Flaw::ForgetsScopes) { Vec::new() } else { new.scopes.clone() };
            let account = Account {
                id: id.clone(),
                kind: new.kind.clone(),
                scopes,
                metadata: new.metadata.clone(),
                ..Account::default()
            };
            let secret = state.text();
            state.accounts.insert(id, (account.clone(), secret.clone()));
            Ok(Credentials::new(account, Secret::new(secret)))
        })
    }

    fn token<'a>(&'a self, proof: &'a Proof) -> BoxFuture<'a, Result<Grant>> {
        Box::pin(async move {
            let account = match proof {
                Proof::Secret { id, secret } => self.by_secret(id, secret.expose())?,
                Proof::Refresh(token) => self.by_refresh(token.expose()).await?,
            };
            Ok(self.issue(account))
        })
    }

    fn revoke<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        let mut state = self.state.lock().unwrap();
        let ids: Vec<String> = state
            .accounts
            .keys()
            .filter(|key| *key == id || (self.is(Flaw::RevokesByPrefix) && key.starts_with(id)))
            .cloned()
            .collect();
        for id in ids {
            state.accounts.remove(&id);
            state.gone.insert(id);
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn revoke_token<'a>(&'a self, refresh: &'a str) -> BoxFuture<'a, Result<()>> {
        if !self.is(Flaw::KeepsRefresh) {
            self.state.lock().unwrap().refresh.remove(refresh);
        }
        Box::pin(std::future::ready(Ok(())))
    }
}
