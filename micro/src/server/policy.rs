//! Who may call what, decided before anything is decoded.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::core::account::Account;
use crate::core::descriptor::EndpointSpec;
use crate::core::error::{Error, Result};
use crate::core::metadata::Metadata;
use crate::core::proven::Proven;

/// What a [`Policy`] knows of a request when it decides.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Access<'a> {
    /// The endpoint as `service.Type.Method`; empty for a route of the user's own HTTP router.
    pub endpoint: &'a str,
    /// What the endpoint declares; `None` for a route of the user's own HTTP router.
    pub spec: Option<&'static EndpointSpec>,
    /// The HTTP method of a request to a route of the user's own; empty for an endpoint.
    pub method: &'a str,
    /// The path of a request to a route of the user's own; empty for an endpoint. Whether there is
    /// such a route is not known yet.
    pub path: &'a str,
    /// Transport headers such as `authorization`.
    pub headers: &'a Metadata,
    /// Where the caller is, such as `127.0.0.1:40312`, `unix` or `memory`.
    pub remote: &'a str,
    /// Whether the caller is on another host.
    pub off_host: bool,
    /// Whom the connection itself proves the caller to be. One that is refused never reaches a
    /// policy.
    pub proven: &'a Proven,
}

/// Names the headers without their values, which may be credentials.
impl fmt::Debug for Access<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(key, _)| key).collect();
        f.debug_struct("Access")
            .field("endpoint", &self.endpoint)
            .field("method", &self.method)
            .field("path", &self.path)
            .field("headers", &headers)
            .field("remote", &self.remote)
            .field("off_host", &self.off_host)
            .field("proven", &self.proven)
            .finish_non_exhaustive()
    }
}

/// Says who a caller is and whether it may call.
///
/// Runs on the path of every call: synchronous, never blocking. The server itself compares the
/// account with the scopes of the endpoint afterwards.
pub trait Policy: fmt::Debug + Send + Sync + 'static {
    /// Returns the account of a caller that may go on, or `None` for an anonymous one.
    ///
    /// # Errors
    /// 401 when the caller has to prove who it is, 403 when it may not do this.
    fn admit(&self, access: &Access<'_>) -> Result<Option<Arc<Account>>>;
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// This machine.
    Local,
    /// Another host.
    OffHost,
}

impl Origin {
    /// Reads the origin from a remote address as contexts carry it; what it cannot read is
    /// another host.
    pub(super) fn of(remote: &str) -> Self {
        let local = matches!(remote, "memory" | "unix")
            || remote
                .parse::<std::net::SocketAddr>()
                .is_ok_and(|address| address.ip().to_canonical().is_loopback());
        if local { Self::Local } else { Self::OffHost }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller<'a> {
    /// Where the caller is, as contexts carry it.
    pub(super) remote: &'a str,
    pub(super) origin: Origin,
    pub(super) proven: &'a Proven,
}

/// The rule of one server.
#[derive(Clone, Debug, Default)]
pub(super) enum Rule {
    /// Other hosts reach only what is public.
    #[default]
    Closed,
    /// Other hosts reach everything that asks for no scope.
    Open,
    /// A policy decides.
    Asked(Arc<dyn Policy>),
}

impl Rule {
    /// Decides on one request.
    ///
    /// # Errors
    /// 401 or 403.
    pub(super) fn admit(&self, access: &Access<'_>) -> Result<Option<Arc<Account>>> {
        let public = access.spec.is_some_and(|spec| spec.public);
        let scopes = access.spec.and_then(|spec| spec.scopes).unwrap_or_default();
        // What is shown has to be good, even where nothing is asked for.
        let proven = access.proven.account().map_err(|_void| refused(access))?;
        match self {
            Self::Closed | Self::Open if proven.is_some() => {
                lets_in(proven.as_deref(), access, scopes).map(|()| proven)
            }
            Self::Closed if access.off_host && !public => Err(unauthorized(
                access,
                "callers from other hosts have to authenticate, and this server knows no accounts",
            )),
            Self::Open if access.off_host && !public && !scopes.is_empty() => {
                Err(unauthorized(access, "the endpoint asks for a scope"))
            }
            Self::Closed | Self::Open => Ok(None),
            Self::Asked(policy) => {
                let account = asked(policy.as_ref(), access)?;
                lets_in(account.as_deref(), access, scopes).map(|()| account)
            }
        }
    }

    /// Returns whether callers have to say who they are for something.
    pub(super) fn knows_accounts(&self) -> bool {
        matches!(self, Self::Asked(_))
    }

    /// Returns whether anonymous callers on other hosts may learn which endpoints there are.
    pub(super) fn shows_all(&self) -> bool {
        matches!(self, Self::Open)
    }
}

/// Asks a policy; its panic refuses this request and nothing else.
fn asked(policy: &dyn Policy, access: &Access<'_>) -> Result<Option<Arc<Account>>> {
    catch_unwind(AssertUnwindSafe(|| policy.admit(access))).unwrap_or_else(|_| {
        tracing::error!(endpoint = access.endpoint, "the policy panicked");
        Err(Error::internal(id(access), "the policy panicked"))
    })
}

/// Compares the scopes of an account with those that an endpoint asks for.
fn lets_in(account: Option<&Account>, access: &Access<'_>, scopes: &[&str]) -> Result<()> {
    match account {
        _ if scopes.is_empty() || access.spec.is_some_and(|spec| spec.public) => Ok(()),
        None => Err(unauthorized(access, "the endpoint asks for a scope")),
        Some(account) if account.has_any(scopes) => Ok(()),
        Some(_) => Err(lacking(access, scopes)),
    }
}

/// Makes the error of what a connection shows and what is not accepted, the same as that of a token.
fn refused(access: &Access<'_>) -> Error {
    crate::auth::refused().with_id(id(access))
}

fn unauthorized(access: &Access<'_>, detail: &str) -> Error {
    Error::unauthorized(id(access), detail)
}

fn lacking(access: &Access<'_>, scopes: &[&str]) -> Error {
    let detail = format!("the account has none of the scopes {}", scopes.join(", "));
    Error::forbidden(id(access), detail)
}

fn id(access: &Access<'_>) -> String {
    let id = if access.endpoint.is_empty() { "micro.server" } else { access.endpoint };
    id.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::testing::spec;

    #[derive(Debug)]
    struct Known(Option<&'static str>);

    impl Policy for Known {
        fn admit(&self, _: &Access<'_>) -> Result<Option<Arc<Account>>> {
            assert_ne!(self.0, Some("panic"), "on purpose");
            Ok(self.0.map(|scope| Arc::new(Account::service("a", [scope.to_owned()]))))
        }
    }

    fn code(rule: &Rule, spec: EndpointSpec, off_host: bool) -> u16 {
        let spec: &'static EndpointSpec = Box::leak(Box::new(spec));
        let headers = Metadata::new();
        let access = Access {
            endpoint: "shop.Orders.Read",
            spec: Some(spec),
            method: "",
            path: "",
            headers: &headers,
            remote: "",
            off_host,
            proven: &Proven::Nobody,
        };
        rule.admit(&access).map_or_else(|error| error.code(), |_| 200)
    }

    #[test]
    fn only_what_is_public_is_reachable_from_other_hosts_by_default() {
        let plain = spec("A.B");
        let public = EndpointSpec { public: true, ..plain };
        let scoped = EndpointSpec { scopes: Some(&["x"]), ..plain };
        for (rule, spec, off_host, expected) in [
            (Rule::Closed, plain, true, 401),
            (Rule::Closed, public, true, 200),
            (Rule::Closed, scoped, true, 401),
            (Rule::Closed, plain, false, 200),
            (Rule::Closed, scoped, false, 200),
            (Rule::Open, plain, true, 200),
            (Rule::Open, scoped, true, 401),
            (Rule::Open, scoped, false, 200),
        ] {
            assert_eq!(code(&rule, spec, off_host), expected, "{rule:?} {off_host} {spec:?}");
        }
    }

    #[test]
    fn accounts_are_held_against_scopes_wherever_they_come_from() {
        let scoped = EndpointSpec { scopes: Some(&["x", "y"]), ..spec("A.B") };
        for off_host in [true, false] {
            for (known, expected) in
                [(None, 401), (Some("y"), 200), (Some("z"), 403), (Some("panic"), 500)]
            {
                let rule = Rule::Asked(Arc::new(Known(known)));
                assert_eq!(code(&rule, scoped, off_host), expected, "{known:?}");
            }
        }
    }

    #[test]
    fn what_is_not_plainly_local_is_another_host() {
        for (remote, expected) in [
            ("127.0.0.1:1", Origin::Local),
            ("127.8.9.1:1", Origin::Local),
            ("[::1]:1", Origin::Local),
            ("[::ffff:127.0.0.1]:1", Origin::Local),
            ("unix", Origin::Local),
            ("memory", Origin::Local),
            ("10.0.0.1:1", Origin::OffHost),
            ("[::ffff:10.0.0.1]:1", Origin::OffHost),
            ("0.0.0.0:1", Origin::OffHost),
            ("localhost:1", Origin::OffHost),
            ("tcp", Origin::OffHost),
            ("", Origin::OffHost),
        ] {
            assert_eq!(Origin::of(remote), expected, "{remote}");
        }
    }
}
