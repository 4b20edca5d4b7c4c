//! The service by which an authority signs for others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use micro_macros::{handler, service};
use serde::{Deserialize, Serialize};

use crate::auth::authority::{Authority, Invitation, Signed};
use crate::core::context::Context;
use crate::core::error::Result;
use crate::core::secret::Secret;

/// Signs for those who show a join token or a certificate.
///
/// What is `public` here is so because rules must not keep a member from its certificate; who
/// calls is checked by the authority itself.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) authority: Arc<Authority>,
}

/// A join token with a signing request.
#[derive(Serialize, Deserialize)]
pub(super) struct Joining {
    pub(super) secret: String,
    pub(super) request: String,
}

/// Who is to join.
#[derive(Serialize, Deserialize)]
pub(super) struct Invite {
    service: String,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    serves: Vec<String>,
    #[serde(default)]
    hosts: Vec<String>,
    life_seconds: Option<u64>,
}

/// Signs certificates.
#[service(name = "authority", crate = crate)]
impl Desk {
    /// Signs the request of a process with a join token.
    #[handler(public)]
    pub(super) async fn join(&self, joining: Joining) -> Result<Signed> {
        self.authority.join(&Secret::new(joining.secret), &joining.request).await
    }

    /// Signs the request of a process with a certificate.
    #[handler(public)]
    pub(super) async fn renew(&self, ctx: &Context, request: String) -> Result<Signed> {
        self.authority.renew(ctx.account()?, &request).await
    }

    /// Tells members whose certificates are void.
    #[handler(public)]
    pub(super) async fn revoked(&self, ctx: &Context) -> Result<HashMap<String, u64>> {
        ctx.account()?;
        Ok(self.authority.revoked())
    }

    /// Makes a join token.
    #[handler(scope = "authority:invite")]
    pub(super) async fn invite(&self, invite: Invite) -> Result<String> {
        let mut invitation = Invitation::new(invite.service);
        invitation.scopes = invite.scopes;
        invitation.serves = invite.serves;
        invitation.hosts = invite.hosts;
        if let Some(seconds) = invite.life_seconds {
            invitation.life = Duration::from_secs(seconds);
        }
        self.authority.join_token(&invitation).await.map(Secret::into_exposed)
    }

    /// Ends the certificates of a service.
    #[handler(scope = "authority:revoke")]
    pub(super) async fn revoke(&self, service: String) -> Result<()> {
        self.authority.revoke(&service).await
    }
}
