//! The policy of accounts, scopes and rules.

use std::sync::Arc;

use crate::auth::{Decision, Handle, Principal, Resource, bearer, pattern, refused};
use crate::core::account::Account;
use crate::core::error::{Error, Result};
use crate::server::policy::{Access, Policy};

const AUTHORIZATION: &str = "authorization";

/// Admits callers by their tokens and by rules.
///
/// In this order: a bearer token that is shown has to be good, even where none is needed; without
/// one the certificate of the connection says who calls. What is
/// `public` is open. Then the rules decide, if there are any: what none of them grants is refused,
/// for callers on this machine too. While there is no rule, callers from other hosts need an
/// account and those on this machine do not. At last the server compares the scopes of the
/// endpoint with those of the account, wherever the caller is.
///
/// Other schemes than `Bearer` are left to the routes of the user's own.
#[derive(Clone, Debug)]
pub struct Guard {
    auth: Handle,
    everywhere: bool,
}

impl Guard {
    /// Admits by these accounts and rules.
    pub fn new(auth: Handle) -> Self {
        Self { auth, everywhere: false }
    }

    /// Has callers on this machine prove who they are, too, while there is no rule.
    #[must_use]
    pub fn everywhere(mut self) -> Self {
        self.everywhere = true;
        self
    }

    fn account(&self, access: &Access<'_>) -> Result<Option<Arc<Account>>> {
        let Some(header) = access.headers.get(AUTHORIZATION) else {
            return proven(access);
        };
        match bearer(header)? {
            Some(token) => self.auth.inspect(token).map(|identity| Some(identity.account)),
            None => proven(access),
        }
    }

    fn decide(&self, access: &Access<'_>, account: Option<&Account>) -> Decision {
        if !self.auth.has_rules() {
            return Decision::NoRules;
        }
        let principal = Principal::of(account);
        let Some(spec) = access.spec else {
            // What a path of the process's own shows is asked for as the endpoint that shows it.
            if let Some((service, endpoint)) = access.endpoint.split_once('.') {
                return self.auth.decide(principal, &Resource::service(service, endpoint));
            }
            // A path that can be read in two ways might be granted in one and served in the other.
            return match (pattern::normalised(access.path), access.path) {
                (Ok(path), _) => self.auth.decide(principal, &Resource::route(path)),
                (Err(_), path) => match self.auth.decide(principal, &Resource::route(path)) {
                    Decision::NoRules => Decision::NoRules,
                    _ => Decision::Unmatched,
                },
            };
        };
        let service = access.endpoint.strip_suffix(spec.name).unwrap_or(access.endpoint);
        let service = service.strip_suffix('.').unwrap_or(service);
        self.auth.decide(principal, &Resource::service(service, spec.name))
    }
}

impl Policy for Guard {
    fn admit(&self, access: &Access<'_>) -> Result<Option<Arc<Account>>> {
        let account = self.account(access).map_err(|error| error.with_id(id(access)))?;
        if access.spec.is_some_and(|spec| spec.public) {
            return Ok(account);
        }
        match self.decide(access, account.as_deref()) {
            Decision::Granted => Ok(account),
            Decision::NoRules if account.is_some() => Ok(account),
            Decision::NoRules if !access.off_host && !self.everywhere => Ok(None),
            decision => Err(refusal(access, decision, account.as_deref())),
        }
    }
}

/// Returns the account that the connection proves; a token that is shown goes before it.
fn proven(access: &Access<'_>) -> Result<Option<Arc<Account>>> {
    access.proven.account().map_err(|_void| refused())
}

#[cold]
fn refusal(access: &Access<'_>, decision: Decision, account: Option<&Account>) -> Error {
    let caller = account.map_or("", Account::id).escape_debug();
    let (endpoint, path) = (access.endpoint, access.path.escape_debug());
    tracing::info!(%caller, endpoint, %path, ?decision, remote = access.remote, "not admitted");
    match account {
        None => Error::unauthorized(id(access), "the caller has to authenticate"),
        Some(_) => Error::forbidden(id(access), "no rule lets the account call this"),
    }
}

fn id(access: &Access<'_>) -> String {
    let id = if access.endpoint.is_empty() { "micro.server" } else { access.endpoint };
    id.to_owned()
}

#[cfg(test)]
mod tests;
