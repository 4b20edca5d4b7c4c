//! The authority at work: signs for those who show a token or a certificate.

use std::collections::HashMap;
use std::sync::Arc;

use rcgen::PublicKey;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::auth::authority::members;
use crate::auth::authority::members::Facts;
use crate::auth::authority::members::Names;
use crate::auth::authority::members::reject;
use crate::auth::authority::root;
use crate::auth::authority::root::Root;
use crate::auth::authority::sign;
use crate::auth::authority::sign::Request;
use crate::auth::jwt::base64url;
use crate::auth::refused;
use crate::core::account::Account;
use crate::core::error::Result;
use crate::core::secret::Secret;
use crate::core::shutdown::TaskTracker;
use crate::store;
use crate::transport::tls::Identity;
use crate::transport::tls::Name;

/// Requests that are looked at at a time; further ones wait.
const REQUESTS_AT_A_TIME: usize = 4;

/// A certificate as it travels, with all that goes with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Signed {
    /// The certificate, in base64 with the alphabet of URLs, as the next one.
    pub certificate: String,
    /// That of the authority.
    pub root: String,
    /// The domain that the name is of.
    pub domain: String,
    /// The namespace that the name is of.
    pub namespace: String,
    /// The name of the service.
    pub service: String,
    /// The names whose certificates are void, with the seconds since 1970 up to which they are.
    pub revoked: HashMap<String, u64>,
}

impl Signed {
    /// Returns the name that the certificate is for.
    ///
    /// # Errors
    /// 400 when it is none.
    pub fn name(&self) -> Result<Name> {
        Name::new(&self.domain, &self.namespace, &self.service)
    }

    /// Returns the certificate and that of the authority.
    ///
    /// # Errors
    /// The 401 of all credentials, when they cannot be read.
    pub fn certificates(&self) -> Result<(Vec<u8>, Vec<u8>)> {
        let bytes = |text: &String| base64url::decode(text.as_bytes()).ok_or_else(refused);
        Ok((bytes(&self.certificate)?, bytes(&self.root)?))
    }
}

/// An authority, opened from its store.
#[derive(Debug)]
pub struct Authority {
    database: store::Handle,
    pub(super) root: Root,
    revoked: Arc<Names>,
    turns: Semaphore,
}

impl Authority {
    /// Opens the authority of a database.
    ///
    /// # Errors
    /// 412 when there is none, what the store fails with.
    pub async fn open(database: &store::Handle, tasks: &TaskTracker) -> Result<Self> {
        Ok(Self {
            root: root::read(database).await?,
            revoked: members::revoked(database, tasks).await?,
            database: database.clone(),
            turns: Semaphore::new(REQUESTS_AT_A_TIME),
        })
    }

    /// Returns the hash of the authority's certificate.
    pub fn hash(&self) -> String {
        self.root.hash()
    }

    /// Makes the identity of the process that holds the authority, without a certificate yet.
    ///
    /// # Errors
    /// 412 when the authority's certificate is unusable.
    pub fn identity(&self, handshakes_max: usize) -> Result<Identity> {
        let name = self.root.name(Identity::AUTHORITY)?;
        Identity::new(name, &self.root.certificate, handshakes_max)
    }

    /// Gives the process that holds the authority a certificate, in the place of the one it has.
    ///
    /// # Errors
    /// 500 when none can be made.
    pub fn certify(&self, identity: &Identity) -> Result<()> {
        let request = Request::new()?;
        let scopes = vec![format!("service:{}", Identity::AUTHORITY)];
        let facts = Facts { scopes, hosts: Vec::new() };
        let key = sign::requested(&request.text())?;
        let certificate = sign::certificate(&self.root, &key, identity.name(), &facts)?;
        identity.install(&certificate, &request.key)
    }

    /// Signs the request of whoever shows the secret of a join token, which is used up: for a
    /// minute the same request may be repeated, since the answer may be lost, and no other.
    ///
    /// # Errors
    /// The one 401 for a token or a request that is not good.
    pub async fn join(&self, secret: &Secret<String>, csr: &str) -> Result<Signed> {
        let _turn = self.turns.acquire().await.map_err(|_closed| refused())?;
        // A request that is none must not cost a token.
        let key = sign::requested(csr)?;
        let (service, facts) = members::join(&self.database, secret.expose(), csr).await?;
        self.sign(&service, &key, &facts)
    }

    /// Signs the request of a member, known by the account that its certificate yields.
    ///
    /// # Errors
    /// The one 401 for who is no member (any more), or a request that is not good.
    pub async fn renew(&self, account: &Account, csr: &str) -> Result<Signed> {
        let _turn = self.turns.acquire().await.map_err(|_closed| refused())?;
        let key = sign::requested(csr)?;
        let name = Name::parse(&account.id).filter(|name| account.issuer == name.issuer());
        let name = name.ok_or_else(|| reject("the account has no certificate"))?;
        if self.root.name(&name.service)? != name {
            return Err(reject("the account is of another domain or namespace"));
        }
        let facts = members::member(&self.database, &name.service).await?;
        self.sign(&name.service, &key, &facts)
    }

    fn sign(&self, service: &str, key: &PublicKey, facts: &Facts) -> Result<Signed> {
        let name = self.root.name(service)?;
        let certificate = sign::certificate(&self.root, key, &name, facts)?;
        tracing::info!(service, "signed a certificate");
        Ok(Signed {
            certificate: base64url::encode(&certificate),
            root: base64url::encode(&self.root.certificate),
            domain: name.domain,
            namespace: name.namespace,
            service: name.service,
            revoked: self.revoked(),
        })
    }

    /// Returns the names that were revoked, with the seconds since 1970 up to which their
    /// certificates are void.
    pub fn revoked(&self) -> HashMap<String, u64> {
        HashMap::clone(&self.revoked.value())
    }

    /// Makes a join token, as [`join_token`](crate::auth::authority::join_token) does.
    ///
    /// # Errors
    /// As that function.
    pub async fn join_token(&self, invitation: &members::Invitation) -> Result<Secret<String>> {
        members::invite(&self.database, invitation, &self.root).await
    }

    /// Revokes a service, as [`revoke`](crate::auth::authority::revoke) does.
    ///
    /// # Errors
    /// As that function.
    pub async fn revoke(&self, service: &str) -> Result<()> {
        members::revoke(&self.database, service).await?;
        self.revoked.reload().await
    }
}
