//! Who calls and what they may do: accounts with tokens, and rules.
//!
//! Two traits: [`Auth`] makes accounts, hands out tokens and tells whose a token is; [`Rules`] says
//! what an account may call. A program holds both as a [`Handle`], which is `micro::Auth`.
//!
//! What a token is worth is decided on every call, so [`Auth::inspect`] and [`Rules::verify`] are
//! synchronous and answer from memory; what changes in a store is followed by watches.
//!
//! # Rules
//!
//! Of the rules that match the resource and whose scope the caller has, the ones of the highest
//! priority decide, and one that denies beats any that grants. While there is no rule at all, the
//! defaults of the server hold; once there is one, whatever no rule grants is refused.
//!
//! ```
//! use micro::Auth;
//! use micro::auth::{Deny, Resource, Rule, StoredRules};
//! use micro::core::account::Account;
//! use micro::core::shutdown::TaskTracker;
//! use micro::store::{Handle, Memory};
//!
//! # async fn example() -> micro::Result<()> {
//! let table = Handle::new(Memory::new()).database("shop")?.table("rules")?;
//! let rules = StoredRules::open(table, &TaskTracker::new()).await?;
//! let auth = Auth::new(Deny).with_rules(rules);
//!
//! auth.grant(Rule::grant("staff-reads", "staff", Resource::service("orders", "Orders.*"))).await?;
//! auth.grant(Rule::deny("nobody-purges", "*", Resource::service("orders", "Orders.Purge"))).await?;
//!
//! let ada = Account::service("ada", ["staff".to_owned()]);
//! assert!(auth.verify(Some(&ada), &Resource::service("orders", "Orders.Read")).is_ok());
//! assert_eq!(auth.verify(Some(&ada), &Resource::service("orders", "Orders.Purge")).unwrap_err().code(), 403);
//! assert_eq!(auth.verify(None, &Resource::service("orders", "Orders.Read")).unwrap_err().code(), 401);
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
//! ```

mod attempts;
#[cfg(feature = "tls")]
pub mod authority;
mod bearer;
mod deny;
mod handle;
#[cfg(feature = "jwt")]
mod jwt;
mod mirror;
pub(crate) mod pattern;
mod principal;
mod resource;
mod rule;
mod rules;
mod session;
mod token;

use std::fmt;
use std::time::Duration;

use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::future::BoxFuture;

pub use self::attempts::{ATTEMPTS_MAX, ATTEMPTS_WINDOW};
pub use self::bearer::bearer;
pub use self::deny::Deny;
pub use self::handle::Handle;
#[cfg(feature = "jwks")]
pub use self::jwt::KeyUrl;
#[cfg(feature = "jwt")]
pub use self::jwt::{
    ACCESS_LIFE_DEFAULT, CACHE_ENTRIES_MAX, CLAIMS_DEPTH_MAX, Jwt, JwtConfig, KEYS_BYTES_MAX,
    KEYS_MAX, KeyFile, KeySource, KeyText, LEEWAY, LIFE_MAX, REFETCH_INTERVAL_MIN,
    REFRESH_INTERVAL, REFRESH_LIFE_DEFAULT, SIGNING_DELAY, STALE_MAX,
};
pub use self::principal::Principal;
pub use self::resource::{RESOURCE_BYTES_MAX, Resource};
pub use self::rule::{Access, Decision, RULES_MAX, Rule, decide};
pub use self::rules::StoredRules;
pub use self::session::Session;
pub use self::token::{Credentials, Grant, Identity, NewAccount, Proof, TOKEN_BYTES_MAX};

/// The id of the errors of this component.
pub(crate) const ERROR_ID: &str = "micro.auth";

/// A backend that knows accounts.
pub trait Auth: fmt::Debug + Send + Sync + 'static {
    /// Returns the short name of the backend, such as `jwt`.
    fn name(&self) -> &'static str;

    /// Returns what the backend can do; the same at every call.
    fn capabilities(&self) -> Capabilities;

    /// Tells whose a token is: an access token that was issued, is not over and not revoked.
    ///
    /// On the path of every call: never blocks and does no I/O. Every token that is not accepted
    /// is [`refused`], whatever is wrong with it; the reason is logged and not told.
    ///
    /// # Errors
    /// [`refused`], which is a 401.
    fn inspect(&self, token: &str) -> Result<Identity>;

    /// Makes an account, with a secret that is shown this once.
    ///
    /// 409 when there is one of that id. Dropping the future leaves open whether it was made.
    fn generate<'a>(&'a self, account: &'a NewAccount) -> BoxFuture<'a, Result<Credentials>>;

    /// Hands out tokens to whoever proves to be an account.
    ///
    /// A refresh token is good for one use: it is replaced by the one that comes back. A proof that
    /// does not hold is [`refused`]; so is every further use of a refresh token, which may end those that came of it, too. Dropping the future
    /// may use a refresh token up.
    fn token<'a>(&'a self, proof: &'a Proof) -> BoxFuture<'a, Result<Grant>>;

    /// Ends an account with all its tokens; one that is absent is no error.
    ///
    /// Other processes follow as soon as their watches tell them. May be repeated.
    fn revoke<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Ends one refresh token, with those that came of it, and leaves the account; one that is absent is no error.
    fn revoke_token<'a>(&'a self, refresh: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Returns how far ahead of the clock here that of an issuer was at most, by the times in tokens
    /// of good keys, since the backend was made; `None` where tokens tell no time.
    fn clock_ahead(&self) -> Option<Duration> {
        None
    }
}

/// What an [`Auth`] backend can do; what is not declared returns `Unsupported` (501).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// [`Auth::generate`], [`Auth::token`] and the revocations work.
    pub issues: bool,
}

impl Capabilities {
    /// Declares that accounts are made and tokens handed out.
    #[must_use]
    pub const fn issuing() -> Self {
        Self { issues: true }
    }
}

/// A backend that keeps rules.
pub trait Rules: fmt::Debug + Send + Sync + 'static {
    /// Returns the short name of the backend, such as `store`.
    fn name(&self) -> &'static str;

    /// Decides by the rules there are; never blocks and does no I/O.
    fn verify(&self, principal: Principal<'_>, resource: &Resource) -> Decision;

    /// Adds a rule, in the place of one with the same id.
    ///
    /// It holds for this backend value when this returns, elsewhere as soon as watches tell. 400 for
    /// what [`Rule::check`] refuses, 429 past [`RULES_MAX`] rules.
    fn grant<'a>(&'a self, rule: &'a Rule) -> BoxFuture<'a, Result<()>>;

    /// Takes a rule away; one that is absent is no error.
    fn revoke<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Lists the rules in the order of their ids.
    fn list(&self) -> BoxFuture<'_, Result<Vec<Rule>>>;
}

/// Makes the one error of every token and every proof that is not accepted.
pub fn refused() -> Error {
    Error::unauthorized(ERROR_ID, "the credentials are not valid")
}

/// Makes the error of a power that a backend does not declare.
pub fn unsupported(auth: &str, what: &str) -> Error {
    Error::unimplemented(ERROR_ID, format!("the auth `{auth}` does not {what}"))
}
