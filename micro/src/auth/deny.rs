//! Knows nobody.

use crate::auth::Auth;
use crate::auth::Capabilities;
use crate::auth::Credentials;
use crate::auth::Grant;
use crate::auth::Identity;
use crate::auth::NewAccount;
use crate::auth::Proof;
use crate::auth::refused;
use crate::auth::unsupported;
use crate::core::error::Result;
use crate::core::future::BoxFuture;

/// The default: has no accounts and accepts no token.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deny;

impl Auth for Deny {
    fn name(&self) -> &'static str {
        "deny"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn inspect(&self, _: &str) -> Result<Identity> {
        Err(refused())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a08_the_default_accepts_no_token() {
        for token in ["", "x", "eyJhbGciOiJub25lIn0.e30.", "deny"] {
            assert_eq!(Deny.inspect(token).unwrap_err().code(), 401);
        }
    }
}
