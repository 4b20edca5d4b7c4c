//! The handle through which a program works with accounts and rules: `micro::Auth`.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::Auth;
use crate::auth::Capabilities;
use crate::auth::Credentials;
use crate::auth::Decision;
use crate::auth::Deny;
use crate::auth::ERROR_ID;
use crate::auth::Grant;
use crate::auth::Identity;
use crate::auth::NewAccount;
use crate::auth::Principal;
use crate::auth::Proof;
use crate::auth::Resource;
use crate::auth::Rule;
use crate::auth::Rules;
use crate::auth::attempts::Attempts;
use crate::core::account::Account;
use crate::core::error::Error;
use crate::core::error::Result;

/// Accounts, and rules if there are any; a clone is the same.
#[derive(Clone, Debug)]
pub struct Handle {
    auth: Arc<dyn Auth>,
    attempts: Arc<Attempts>,
    rules: Option<Arc<dyn Rules>>,
}

impl Handle {
    /// Takes a backend of accounts, without rules.
    pub fn new(auth: impl Auth) -> Self {
        Self::shared(Arc::new(auth))
    }

    /// Takes a backend of accounts that others use too, without rules.
    pub fn shared(auth: Arc<dyn Auth>) -> Self {
        Self { auth, attempts: Arc::default(), rules: None }
    }

    /// Adds rules.
    #[must_use]
    pub fn with_rules(self, rules: impl Rules) -> Self {
        self.with_shared_rules(Arc::new(rules))
    }

    /// Adds rules that others use too.
    #[must_use]
    pub fn with_shared_rules(mut self, rules: Arc<dyn Rules>) -> Self {
        self.rules = Some(rules);
        self
    }

    /// Returns the name of the backend of accounts.
    pub fn backend(&self) -> &'static str {
        self.auth.name()
    }

    /// Returns what the backend of accounts can do.
    pub fn capabilities(&self) -> Capabilities {
        self.auth.capabilities()
    }

    /// Returns how far ahead of the clock here that of an issuer of tokens was at most; see
    /// [`Auth::clock_ahead`].
    pub fn clock_ahead(&self) -> Option<Duration> {
        self.auth.clock_ahead()
    }

    /// Tells whose a token is.
    ///
    /// # Errors
    /// 401 for every token that is not accepted.
    pub fn inspect(&self, token: &str) -> Result<Identity> {
        self.auth.inspect(token)
    }

    /// Makes an account, with a secret that is shown this once.
    ///
    /// # Errors
    /// 400 for what is no account, 409 when there is one of that id, 501 when the backend makes
    /// none.
    pub async fn generate(&self, account: &NewAccount) -> Result<Credentials> {
        account.check()?;
        self.auth.generate(account).await
    }

    /// Exchanges a proof for tokens.
    ///
    /// After [`ATTEMPTS_MAX`](crate::auth::ATTEMPTS_MAX) wrong secrets of an account within
    /// [`ATTEMPTS_WINDOW`](crate::auth::ATTEMPTS_WINDOW) this handle and its clones look at no
    /// further one until the window is over. One that is given up halfway counts as wrong.
    ///
    /// # Errors
    /// 401 when the proof does not hold, 429 when too many before it did not, 501 when the backend
    /// hands out none.
    pub async fn token(&self, proof: &Proof) -> Result<Grant> {
        let Proof::Secret { id, .. } = proof else { return self.auth.token(proof).await };
        self.attempts.begin(id)?;
        let granted = self.auth.token(proof).await;
        if !granted.as_ref().is_err_and(|error| error.code() == 401) {
            self.attempts.forgive(id);
        }
        granted
    }

    /// Ends an account with all its tokens.
    ///
    /// # Errors
    /// 501 when the backend has no accounts of its own; what it fails with.
    pub async fn revoke_account(&self, id: &str) -> Result<()> {
        self.auth.revoke(id).await
    }

    /// Ends one refresh token.
    ///
    /// # Errors
    /// As [`Handle::revoke_account`].
    pub async fn revoke_token(&self, refresh: &str) -> Result<()> {
        self.auth.revoke_token(refresh).await
    }

    /// Adds a rule, in the place of one with the same id.
    ///
    /// # Errors
    /// 400 for what is no rule, 429 past their limit, 501 when no rules are kept.
    pub async fn grant(&self, rule: Rule) -> Result<()> {
        rule.check()?;
        self.kept()?.grant(&rule).await
    }

    /// Takes a rule away.
    ///
    /// # Errors
    /// 501 when no rules are kept; what the backend fails with.
    pub async fn revoke(&self, id: &str) -> Result<()> {
        self.kept()?.revoke(id).await
    }

    /// Lists the rules in the order of their ids.
    ///
    /// # Errors
    /// What the backend fails with.
    pub async fn list(&self) -> Result<Vec<Rule>> {
        match &self.rules {
            Some(rules) => rules.list().await,
            None => Ok(Vec::new()),
        }
    }

    /// Returns whether rules are kept, be there any or none.
    pub fn has_rules(&self) -> bool {
        self.rules.is_some()
    }

    /// Decides by the rules alone, without the defaults of a server.
    pub fn decide(&self, principal: Principal<'_>, resource: &Resource) -> Decision {
        self.rules.as_ref().map_or(Decision::NoRules, |rules| rules.verify(principal, resource))
    }

    /// Returns whether the rules let an account call something; without rules nothing is granted.
    ///
    /// # Errors
    /// 401 for nobody in particular, 403 for an account.
    pub fn verify(&self, account: Option<&Account>, resource: &Resource) -> Result<()> {
        match (self.decide(Principal::of(account), resource), account) {
            (Decision::Granted, _) => Ok(()),
            (_, None) => Err(Error::unauthorized(ERROR_ID, "the caller is not authenticated")),
            (_, Some(_)) => Err(Error::forbidden(ERROR_ID, "no rule lets the account call this")),
        }
    }

    fn kept(&self) -> Result<&Arc<dyn Rules>> {
        self.rules.as_ref().ok_or_else(|| Error::unimplemented(ERROR_ID, "no rules are kept"))
    }
}

impl Default for Handle {
    fn default() -> Self {
        Self::new(Deny)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::ATTEMPTS_MAX;
    use crate::auth::ATTEMPTS_WINDOW;
    use crate::core::clock;
    use crate::core::future::BoxFuture;
    use crate::core::secret::Secret;

    /// Has one account, whose secret is `right`.
    #[derive(Debug)]
    struct One;

    impl Auth for One {
        fn name(&self) -> &'static str {
            "one"
        }

        fn capabilities(&self) -> Capabilities {
            Capabilities::issuing()
        }

        fn inspect(&self, _: &str) -> Result<Identity> {
            Err(crate::auth::refused())
        }

        fn generate<'a>(&'a self, _: &'a NewAccount) -> BoxFuture<'a, Result<Credentials>> {
            Box::pin(std::future::ready(Err(crate::auth::refused())))
        }

        fn token<'a>(&'a self, proof: &'a Proof) -> BoxFuture<'a, Result<Grant>> {
            let right = matches!(proof, Proof::Secret { secret, .. } if secret.expose() == "right");
            let secret = || Secret::new("token".to_owned());
            let times = Duration::ZERO;
            let granted = Grant::new(secret(), secret(), times, times);
            let granted = if right { Ok(granted) } else { Err(crate::auth::refused()) };
            Box::pin(std::future::ready(granted))
        }

        fn revoke<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<()>> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn revoke_token<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<()>> {
            Box::pin(std::future::ready(Ok(())))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_many_wrong_secrets_the_right_one_has_to_wait() {
        let auth = Handle::new(One);
        let try_with = async |secret: &str| {
            let (id, secret) = ("ada".to_owned(), Secret::new(secret.to_owned()));
            auth.clone().token(&Proof::Secret { id, secret }).await
        };
        for _ in 0..3 * ATTEMPTS_MAX {
            try_with("right").await.unwrap();
        }
        for _ in 0..ATTEMPTS_MAX {
            assert_eq!(try_with("wrong").await.unwrap_err().code(), 401);
        }
        assert_eq!(try_with("wrong").await.unwrap_err().code(), 429);
        assert_eq!(try_with("right").await.unwrap_err().code(), 429);
        clock::sleep(ATTEMPTS_WINDOW).await;
        try_with("right").await.unwrap();
    }
}
