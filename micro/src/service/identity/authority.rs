//! The process that holds the authority.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::auth::authority::{self, Authority, AuthorityConfig};
use crate::config::parse_duration;
use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::core::shutdown::Shutdown;
use crate::service::backends::Backends;
use crate::service::identity::desk::Desk;
use crate::service::identity::member::is_due;
use crate::service::mount::{Mount, Value};
use crate::service::url::Url;
use crate::store::Handle;
use crate::transport::tls::Identity;

/// Pause between looks at what was revoked by other processes, and at the own certificate.
const INTERVAL: Duration = Duration::from_secs(1);

/// The domain of an authority that is told none.
const DOMAIN: &str = "micro.local";

/// Takes the options of an authority out of its URL.
pub(super) fn config(url: &mut Url) -> Result<AuthorityConfig> {
    let mut config = AuthorityConfig::new(url.take("domain").unwrap_or_else(|| DOMAIN.to_owned()));
    if let Some(namespace) = url.take("namespace") {
        config = config.with_namespace(namespace);
    }
    if let Some(life) = url.take("life") {
        let bad = |what| {
            let detail = format!("the option `life` is a duration such as `1h`: {what}");
            Error::precondition_failed("micro.open", detail)
        };
        config = config.with_life(parse_duration(&life).map_err(bad)?);
    }
    if !url.rest.is_empty() {
        let detail = "the identity `authority` takes no address: it is this process";
        return Err(Error::precondition_failed("micro.open", detail));
    }
    Ok(config)
}

/// Opens the authority, makes it where there is none, and keeps its own certificate young.
pub(super) async fn open(
    config: &AuthorityConfig,
    database: &Handle,
    backends: &mut Backends,
) -> Result<(Arc<Identity>, Box<dyn Mount>)> {
    if !database.capabilities().durable {
        tracing::warn!("the authority is kept in memory and ends with this process");
    }
    let hash = authority::init(database, config).await?;
    let authority = Arc::new(Authority::open(database, &backends.tasks).await?);
    tracing::info!(hash, domain = config.domain, "this process is the authority");
    let handshakes = backends.limits.connection.tls_handshakes_max;
    let identity = Arc::new(authority.identity(handshakes)?);
    authority.certify(&identity)?;
    identity.revoked().replace(authority.revoked());
    let watched = (Arc::downgrade(&authority), Arc::clone(&identity));
    backends.tasks.spawn("authority", watch(watched, backends.shutdown.clone()));
    backends.authority = Some(Arc::clone(&authority));
    let desk: Box<dyn Mount> = Box::new(Value(Arc::new(Desk { authority })));
    Ok((identity, desk))
}

async fn watch((authority, identity): (Weak<Authority>, Arc<Identity>), shutdown: Shutdown) {
    // Progress: each turn waits for the interval.
    loop {
        tokio::select! {
            () = clock::sleep(INTERVAL) => {}
            () = shutdown.closed() => return,
        }
        let Some(authority) = authority.upgrade() else { return };
        identity.revoked().replace(authority.revoked());
        if is_due(&identity)
            && let Err(error) = authority.certify(&identity)
        {
            tracing::error!(%error, "the authority has no other certificate");
        }
    }
}
