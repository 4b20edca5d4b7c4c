//! The key and the certificate of the authority, in its store.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::auth::ERROR_ID;
use crate::auth::authority::CERTIFICATE_LIFE_DEFAULT;
use crate::auth::authority::CERTIFICATE_LIFE_MAX;
use crate::auth::authority::sign;
use crate::auth::jwt::base64url;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::secret::Secret;
use crate::store;
use crate::store::is_conflict;
use crate::transport::tls::Identity;
use crate::transport::tls::Name;
use crate::transport::tls::fingerprint;

const TABLE: &str = "authority";
const KEY: &str = "root";

/// Whom an authority vouches for, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuthorityConfig {
    /// The domain of all names, such as `shop.example`.
    pub domain: String,
    /// The part of the domain.
    pub namespace: String,
    /// How long a certificate is good.
    pub life: Duration,
}

impl AuthorityConfig {
    /// Begins with the namespace `default` and [`CERTIFICATE_LIFE_DEFAULT`].
    pub fn new(domain: impl Into<String>) -> Self {
        let (domain, namespace) = (domain.into(), "default".to_owned());
        Self { domain, namespace, life: CERTIFICATE_LIFE_DEFAULT }
    }

    /// Replaces the namespace.
    #[must_use]
    pub fn with_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Replaces the life of certificates.
    #[must_use]
    pub fn with_life(mut self, life: Duration) -> Self {
        self.life = life;
        self
    }
}

/// The authority as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    domain: String,
    namespace: String,
    life_seconds: u64,
    certificate: String,
    pkcs8: String,
}

/// The authority of a database.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) config: AuthorityConfig,
    pub(super) certificate: Vec<u8>,
    pub(super) key: Secret<Vec<u8>>,
}

impl Root {
    pub(super) fn hash(&self) -> String {
        fingerprint(&self.certificate)
    }

    /// Makes the name of a service.
    pub(super) fn name(&self, service: &str) -> Result<Name> {
        Name::new(&self.config.domain, &self.config.namespace, service)
    }
}

pub(super) async fn init(database: &store::Handle, config: &AuthorityConfig) -> Result<String> {
    Name::new(&config.domain, &config.namespace, Identity::AUTHORITY)?;
    let seconds = config.life.as_secs();
    if !(1..=CERTIFICATE_LIFE_MAX.as_secs()).contains(&seconds) {
        let detail = format!("certificates live from 1 s to {CERTIFICATE_LIFE_MAX:?}");
        return Err(Error::bad_request(ERROR_ID, detail));
    }
    let (certificate, key) = sign::root(&config.domain)?;
    let kept = Kept {
        domain: config.domain.clone(),
        namespace: config.namespace.clone(),
        life_seconds: seconds,
        certificate: base64url::encode(&certificate),
        pkcs8: base64url::encode(key.expose()),
    };
    match database.table(TABLE)?.put(KEY, &kept).if_absent().await {
        Ok(_) => Ok(fingerprint(&certificate)),
        Err(error) if is_conflict(&error) => {
            let root = read(database).await?;
            let there = &root.config;
            if (&there.domain, &there.namespace) == (&config.domain, &config.namespace) {
                return Ok(root.hash());
            }
            let detail = format!(
                "the store holds the authority of {}/{} already",
                there.domain, there.namespace
            );
            Err(Error::conflict(ERROR_ID, detail))
        }
        Err(error) => Err(error),
    }
}

pub(super) async fn read(database: &store::Handle) -> Result<Root> {
    let kept: Option<Kept> = database.table(TABLE)?.get(KEY).await?;
    let absent = || Error::precondition_failed(ERROR_ID, "the store holds no authority: make one");
    let kept = kept.ok_or_else(absent)?;
    let broken = || Error::internal(ERROR_ID, "the authority in the store is unreadable");
    let bytes = |text: &str| base64url::decode(text.as_bytes()).ok_or_else(broken);
    Ok(Root {
        certificate: bytes(&kept.certificate)?,
        key: Secret::new(bytes(&kept.pkcs8)?),
        config: AuthorityConfig {
            domain: kept.domain,
            namespace: kept.namespace,
            life: Duration::from_secs(kept.life_seconds),
        },
    })
}
