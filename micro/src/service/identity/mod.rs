//! Who the process is to its peers, by certificate.
//!
//! | `MICRO_AUTH_IDENTITY` | |
//! |---|---|
//! | `authority?domain=..&namespace=..&life=1h` | holds the authority in database `micro.auth` of the store, makes it where there is none, and signs for others |
//! | `member` | joins the authority that the registry knows, by the token `MICRO_AUTH_JOIN` |
//! | `member://10.0.0.1:7000` | joins the authority at an address |
//!
//! Either way calls are made by mutual TLS only, and callers have to prove who they are, those on
//! this machine too. A member keeps its certificate in database `micro.auth` of its store, so that
//! it needs no other token when it is started again within the life of it. The token names the
//! process, and what it may serve beside its own name: members call nothing else there.

#[cfg(feature = "tls")]
mod authority;
#[cfg(feature = "tls")]
mod desk;
#[cfg(feature = "tls")]
mod member;

use crate::core::descriptor::ServiceDescriptor;
use crate::core::error::Result;
use crate::service::backends::Backends;
use crate::service::kept::Kept;
use crate::service::mount::Mount;
use crate::service::settings::Settings;
use crate::service::url::{Backend, Url};

const IDENTITIES: &[Backend] = &[
    Backend::behind("authority", "tls", cfg!(feature = "tls")),
    Backend::behind("member", "tls", cfg!(feature = "tls")),
];

/// Gives the process its identity, if one is configured; returns what it serves for it.
pub(super) async fn open(
    settings: &Settings,
    kept: &Kept,
    process: &str,
    backends: &mut Backends,
) -> Result<Option<Box<dyn Mount>>> {
    let Some(text) = settings.auth_identity.as_deref() else { return Ok(None) };
    let url = Url::parse(text)?;
    named(url, settings, (kept, process), backends).await
}

/// Gives a client by itself its identity.
///
/// # Errors
/// 412 where the settings name an authority, which is a service; as for a service.
#[cfg(feature = "tls")]
pub(super) async fn join(
    settings: &Settings,
    kept: (&Kept, &str),
    backends: &mut Backends,
) -> Result<()> {
    let url = Url::parse(settings.auth_identity.as_deref().unwrap_or_default())?;
    if url.scheme == "authority" {
        let detail = "a client by itself holds no authority: with `member` it joins one";
        return Err(crate::core::error::Error::precondition_failed("micro.auth", detail));
    }
    named(url, settings, kept, backends).await.map(drop)
}

#[cfg(not(feature = "tls"))]
async fn named(
    url: Url,
    _: &Settings,
    _: (&Kept, &str),
    _: &mut Backends,
) -> Result<Option<Box<dyn Mount>>> {
    url.check("identity", IDENTITIES).map(|()| None)
}

#[cfg(feature = "tls")]
async fn named(
    mut url: Url,
    settings: &Settings,
    (kept, process): (&Kept, &str),
    backends: &mut Backends,
) -> Result<Option<Box<dyn Mount>>> {
    use crate::core::error::Error;
    use crate::service::authenticate::DATABASE;
    use crate::transport::tls::Tls;
    use std::sync::Arc;

    if backends.transport.name() != "native" {
        let detail = "certificates need the native transport";
        return Err(Error::precondition_failed("micro.auth", detail));
    }
    let database = kept.handle(DATABASE)?;
    let mut desk = None;
    let identity = if url.scheme == "authority" {
        let config = authority::config(&mut url)?;
        url.check("identity", IDENTITIES)?;
        let (identity, mount) = authority::open(&config, &database, backends).await?;
        desk = Some(mount);
        identity
    } else {
        url.check("identity", IDENTITIES)?;
        let at = (!url.rest.is_empty()).then(|| url.rest.parse()).transpose()?;
        let join = settings.auth_join.as_ref();
        member::Member::new(at, &database, process, backends)?.join(join).await?
    };
    backends.transport = Arc::new(Tls::new(Arc::clone(&identity)));
    backends.identity = Some(identity);
    Ok(desk)
}

/// Checks that the certificate of the process lets it serve what is mounted: nobody would call it.
///
/// # Errors
/// 412 that names the service.
pub(super) fn check_served(backends: &Backends, services: &[&ServiceDescriptor]) -> Result<()> {
    #[cfg(feature = "tls")]
    if let Some(identity) = &backends.identity
        && let Some(other) = services.iter().find(|service| !identity.may_serve(service.name))
    {
        let (own, other) = (&identity.name().service, other.name);
        let detail = format!(
            "the certificate of `{own}` does not let it serve `{other}`: join by a token that \
             does, which `micro auth join-token {own} --serves {other}` makes"
        );
        return Err(crate::core::error::Error::precondition_failed("micro.auth", detail));
    }
    #[cfg(not(feature = "tls"))]
    let _no_certificates = (backends, services);
    Ok(())
}

/// Returns whether callers prove who they are by certificates.
pub(super) fn is_mutual(backends: &Backends) -> bool {
    #[cfg(feature = "tls")]
    let mutual = backends.identity.is_some();
    #[cfg(not(feature = "tls"))]
    let mutual = {
        let _no_certificates = backends;
        false
    };
    mutual
}
