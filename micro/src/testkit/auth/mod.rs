//! What every backend of accounts promises, as claims that it passes or fails by name.
//!
//! A backend that issues nothing is held to what is left: it accepts no token that nobody issued,
//! and says what it does not do.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::{Auth, Grant, Identity, NewAccount, Proof, refused};
use crate::core::clock;
use crate::core::error::Result as CallResult;
use crate::core::future::BoxFuture;
use crate::core::secret::Secret;

/// How a claim failed; `Ok` if it holds.
pub type Verdict = Result<(), String>;

/// How long a backend may take until a revocation holds in another process.
const PATIENCE: Duration = Duration::from_secs(60);

/// A backend to be examined, without accounts.
///
/// Two values stand for two processes that share their accounts; they may be one.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "there are two processes")]
pub struct Subject {
    /// The backend of the first process.
    pub one: Arc<dyn Auth>,
    /// The backend of the second process.
    pub two: Arc<dyn Auth>,
}

/// A promise: its name, whether only issuers give it, and how it is examined.
struct Claim {
    name: &'static str,
    check: for<'a> fn(&'a Subject) -> BoxFuture<'a, Verdict>,
}

/// The claims that a backend failed, each with what was seen.
#[derive(Debug)]
pub struct Failures(Vec<(&'static str, String)>);

impl Failures {
    /// Returns the names of the claims that failed.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.iter().map(|failure| failure.0)
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} claims fail", self.0.len(), FOR_ALL.len() + FOR_ISSUERS.len())?;
        self.0.iter().try_for_each(|(name, why)| write!(f, "\n  {name}: {why}"))
    }
}

impl std::error::Error for Failures {}

/// Examines all claims that apply, each on a subject of its own from `make`.
///
/// # Errors
///
/// Lists the claims that failed.
pub async fn conformance(make: impl AsyncFn() -> Subject) -> Result<(), Failures> {
    let mut failures = Vec::new();
    let issues = make().await.one.capabilities().issues;
    let more = if issues { FOR_ISSUERS } else { &[] };
    for claim in FOR_ALL.iter().chain(more) {
        if let Err(why) = (claim.check)(&make().await).await {
            failures.push((claim.name, why));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failures(failures)) }
}

impl Subject {
    /// Makes an account and gets its tokens.
    async fn login(&self, new: &NewAccount) -> Result<(Proof, Grant), String> {
        let made = must("generate", self.one.generate(new).await)?;
        let proof = made.proof();
        let grant = must("token", self.one.token(&proof).await)?;
        Ok((proof, grant))
    }

    /// Fails unless a token comes to be refused, at the first process at once.
    async fn ends(&self, token: &Secret<String>) -> Verdict {
        is_refused("an ended token", self.one.inspect(token.expose()))?;
        let deadline = clock::after(clock::now(), PATIENCE);
        while self.two.inspect(token.expose()).is_ok() {
            ensure(clock::now() < deadline, || "elsewhere the token never ends".to_owned())?;
            clock::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

fn must<T>(what: &str, result: CallResult<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error}"))
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(why()) }
}

/// Fails unless the outcome is the one refusal, word for word.
fn is_refused<T: fmt::Debug>(what: &str, outcome: CallResult<T>) -> Verdict {
    let wanted = refused();
    match outcome {
        Err(error) if error.to_json() == wanted.to_json() => Ok(()),
        other => Err(format!("{what} should be refused as all others are and is {other:?}")),
    }
}

fn ada() -> NewAccount {
    NewAccount::new("ada").with_kind("user").with_scope("staff").with_metadata("team", "a b")
}

fn changed(token: &str, at: usize) -> String {
    let change = |(n, c): (usize, char)| match (n == at, c) {
        (false, c) => c,
        (true, 'A') => 'B',
        (true, _) => 'A',
    };
    token.chars().enumerate().map(change).collect()
}

macro_rules! declare {
    ($list:ident: $(async fn $name:ident($subject:ident) $body:block)*) => {
        const $list: &[Claim] = &[$(Claim { name: stringify!($name), check: $name },)*];
        $(
            fn $name($subject: &Subject) -> BoxFuture<'_, Verdict> {
                Box::pin(async move $body)
            }
        )*
    };
}

declare! { FOR_ALL:
    async fn tokens_that_nobody_issued_are_refused_alike(subject) {
        let long = "x".repeat(1024 * 1024);
        let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.";
        for token in ["", " ", "x", "a.b.c", "..", "\0", "ada", "\u{20ac}", none, &long] {
            is_refused("what is no token", subject.one.inspect(token))?;
        }
        Ok(())
    }

    async fn what_is_not_declared_is_unsupported(subject) {
        let declared = subject.one.capabilities();
        ensure(declared == subject.one.capabilities(), || "capabilities change".to_owned())?;
        ensure(!subject.one.name().is_empty(), || "the backend has no name".to_owned())?;
        let codes = [
            subject.one.generate(&ada()).await.map(drop),
            subject.one.revoke("nobody").await,
            subject.one.revoke_token("nothing").await,
        ]
        .map(|outcome| outcome.map_or_else(|error| error.code(), |()| 200));
        let wanted = if declared.issues { 200 } else { 501 };
        ensure(codes == [wanted; 3], || format!("declared {declared:?}, answered {codes:?}"))
    }
}

declare! { FOR_ISSUERS:
    async fn a_token_is_its_account(subject) {
        let made = must("generate", subject.one.generate(&ada()).await)?;
        let grant = must("token", subject.one.token(&made.proof()).await)?;
        for auth in [&subject.one, &subject.two] {
            let Identity { account, expiry } = must("inspect", auth.inspect(grant.access.expose()))?;
            ensure(*account == made.account, || format!("made {:?}, read {account:?}", made.account))?;
            ensure(expiry == grant.expiry, || format!("{expiry:?} is not {:?}", grant.expiry))?;
        }
        let new = ada();
        let account = made.account;
        let same = account.id == new.id && account.kind == new.kind;
        let same = same && account.scopes == new.scopes && account.metadata == new.metadata;
        ensure(same, || format!("asked for {new:?} and got {account:?}"))
    }

    async fn an_id_is_given_once(subject) {
        must("generate", subject.one.generate(&ada()).await)?;
        let code = subject.two.generate(&NewAccount::new("ada")).await.map_err(|e| e.code());
        ensure(matches!(code, Err(409)), || format!("should be a 409 and is {code:?}"))?;
        let (_, grant) = subject.login(&NewAccount::new("Ada")).await?;
        let identity = must("inspect", subject.one.inspect(grant.access.expose()))?;
        ensure(identity.account.id == "Ada", || format!("another is {identity:?}"))
    }

    async fn only_the_secret_of_the_account_proves_it(subject) {
        let ada = must("generate", subject.one.generate(&ada()).await)?;
        let eve = must("generate", subject.one.generate(&NewAccount::new("eve")).await)?;
        let differ = ada.secret.expose() != eve.secret.expose();
        ensure(differ && ada.secret.expose().len() >= 32, || "secrets can be guessed".to_owned())?;
        let shorter = ada.secret.expose().get(1..).unwrap_or_default().to_owned();
        for secret in [eve.secret.clone(), Secret::new(String::new()), Secret::new(shorter)] {
            let proof = Proof::Secret { id: "ada".to_owned(), secret };
            is_refused("another secret", subject.one.token(&proof).await)?;
        }
        for id in ["bob", "", "a\n", "ADA"] {
            let proof = Proof::Secret { id: id.to_owned(), secret: ada.secret.clone() };
            is_refused("another account", subject.one.token(&proof).await)?;
        }
        must("token", subject.two.token(&ada.proof()).await).map(drop)
    }

    async fn a_changed_token_is_refused(subject) {
        let (_, grant) = subject.login(&ada()).await?;
        let token = grant.access.expose();
        must("inspect", subject.one.inspect(token))?;
        for at in (0..token.len()).step_by(7) {
            is_refused("a changed token", subject.one.inspect(&changed(token, at)))?;
        }
        let half = token.get(..token.len() / 2).unwrap_or_default();
        for token in [format!("{token}A"), half.to_owned(), format!(" {token}")] {
            is_refused("a changed token", subject.one.inspect(&token))?;
        }
        Ok(())
    }

    async fn secrets_and_refresh_tokens_are_no_access_tokens(subject) {
        let made = must("generate", subject.one.generate(&ada()).await)?;
        let grant = must("token", subject.one.token(&made.proof()).await)?;
        is_refused("a secret", subject.one.inspect(made.secret.expose()))?;
        is_refused("a refresh token", subject.one.inspect(grant.refresh.expose()))?;
        let proof = Proof::Refresh(grant.access.clone());
        is_refused("an access token", subject.one.token(&proof).await)
    }

    async fn a_refresh_token_is_good_for_one_use(subject) {
        let (_, first) = subject.login(&ada()).await?;
        let second = must("refresh", subject.two.token(&first.proof()).await)?;
        let identity = must("inspect", subject.one.inspect(second.access.expose()))?;
        ensure(identity.account.id == "ada", || format!("refreshed to {identity:?}"))?;
        must("refresh", subject.one.token(&second.proof()).await)?;
        is_refused("a used refresh token", subject.one.token(&first.proof()).await)
    }

    async fn of_uses_at_once_one_wins(subject) {
        let (_, grant) = subject.login(&ada()).await?;
        let proof = grant.proof();
        let (one, two, three) = tokio::join!(
            subject.one.token(&proof),
            subject.two.token(&proof),
            subject.one.token(&proof),
        );
        let won = [one, two, three].iter().filter(|outcome| outcome.is_ok()).count();
        ensure(won == 1, || format!("{won} uses of one refresh token won"))
    }

    async fn a_revoked_refresh_token_ends_alone(subject) {
        let (proof, grant) = subject.login(&ada()).await?;
        let other = must("token", subject.one.token(&proof).await)?;
        must("revoke", subject.one.revoke_token(grant.refresh.expose()).await)?;
        is_refused("a revoked refresh token", subject.two.token(&grant.proof()).await)?;
        must("revoke again", subject.one.revoke_token(grant.refresh.expose()).await)?;
        must("inspect", subject.one.inspect(grant.access.expose()))?;
        must("another refresh token", subject.one.token(&other.proof()).await).map(drop)
    }

    async fn a_revoked_account_ends_with_all_its_tokens_and_no_other(subject) {
        let (proof, grant) = subject.login(&ada()).await?;
        let (_, other) = subject.login(&NewAccount::new("ada2")).await?;
        // Seen everywhere first, so that nothing remembered outlives it.
        must("inspect", subject.one.inspect(grant.access.expose()))?;
        must("inspect", subject.two.inspect(grant.access.expose()))?;
        must("revoke", subject.one.revoke("ada").await)?;
        subject.ends(&grant.access).await?;
        is_refused("the secret of a revoked account", subject.two.token(&proof).await)?;
        is_refused("its refresh token", subject.two.token(&grant.proof()).await)?;
        must("revoke again", subject.one.revoke("ada").await)?;
        must("inspect", subject.one.inspect(other.access.expose()))?;
        must("refresh", subject.one.token(&other.proof()).await).map(drop)
    }

    async fn what_is_no_account_is_refused(subject) {
        for new in [NewAccount::new(""), NewAccount::new("a\nb"), NewAccount::new("x".repeat(300))] {
            let code = subject.one.generate(&new).await.map_err(|error| error.code());
            ensure(matches!(code, Err(400)), || format!("{new:?} should be a 400 and is {code:?}"))?;
        }
        Ok(())
    }

    async fn tokens_live_for_a_while_and_not_for_ever(subject) {
        let (_, grant) = subject.login(&ada()).await?;
        let life = grant.expiry.saturating_sub(grant.created);
        let day = Duration::from_secs(24 * 3600);
        ensure(!life.is_zero() && life <= day, || format!("a token lives {life:?}"))?;
        ensure(!grant.is_over(grant.created), || "a token is over when it is issued".to_owned())
    }
}

#[cfg(test)]
mod broken;
#[cfg(test)]
mod tests;
