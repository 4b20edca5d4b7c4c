//! Backends on servers: from a URL to the backend over the connection that the process shares.
//!
//! Each returns `None` for a URL of another backend.

use std::sync::Arc;

use crate::broker::Broker;
use crate::config::Source;
use crate::core::error::Result;
use crate::core::limits::StoreLimits;
use crate::core::shutdown::TaskTracker;
use crate::driver::Drivers;
use crate::registry::Registry;
use crate::service::url::Url;
use crate::store::Store;
use crate::transport::{Scope, Transport};

pub(crate) fn registry(
    url: &Url,
    scope: &Scope,
    drivers: &Drivers,
) -> Option<Result<Arc<dyn Registry>>> {
    #[cfg(feature = "consul")]
    if url.scheme == "consul" {
        return Some(consul::registry(url, scope, drivers));
    }
    #[cfg(feature = "dns")]
    if url.scheme == "dns" {
        return Some(lone::dns(url, scope));
    }
    #[cfg(feature = "gossip")]
    if url.scheme == "gossip" {
        return Some(lone::gossip(url, scope));
    }
    #[cfg(feature = "kubernetes")]
    if url.scheme == "kubernetes" {
        return Some(lone::kubernetes(url, scope));
    }
    #[cfg(feature = "nats")]
    if url.scheme == "nats" {
        return Some(nats::registry(url, scope, drivers));
    }
    #[cfg(feature = "nats")]
    if url.scheme == "nats-broadcast" {
        return Some(nats::registry_broadcast(url, scope, drivers));
    }
    let _ = (url, scope, drivers);
    None
}

/// Opens the source that a setting with a URL names, where another one names a file.
pub(crate) fn config(
    url: &Url,
    tasks: &TaskTracker,
    drivers: &Drivers,
) -> Option<Result<Arc<dyn Source>>> {
    #[cfg(feature = "consul")]
    if url.scheme == "consul" {
        return Some(consul::config(url, tasks, drivers));
    }
    #[cfg(feature = "nats")]
    if url.scheme == "nats" {
        return Some(nats::config(url, tasks, drivers));
    }
    let _ = (url, tasks, drivers);
    None
}

pub(crate) fn broker(
    url: &Url,
    scope: &Scope,
    drivers: &Drivers,
) -> Option<Result<Arc<dyn Broker>>> {
    let _ = (url, scope, drivers);
    None
}

pub(crate) fn store(
    url: &Url,
    limits: &StoreLimits,
    tasks: &TaskTracker,
    drivers: &Drivers,
) -> Option<Result<Arc<dyn Store>>> {
    #[cfg(feature = "nats")]
    if url.scheme == "nats" {
        return Some(nats::store(url, limits, tasks, drivers));
    }
    let _ = (url, limits, tasks, drivers);
    None
}

pub(crate) fn transport(
    url: &Url,
    tasks: &TaskTracker,
    drivers: &Drivers,
) -> Option<Result<Arc<dyn Transport>>> {
    let _ = (url, tasks, drivers);
    None
}

#[cfg(feature = "consul")]
mod consul {
    use super::*;
    use crate::config as settings;
    use crate::core::error::Error;
    use crate::driver::{Consul, ServerUrl};
    use crate::registry as registries;

    fn shared(url: &ServerUrl, tasks: &TaskTracker, drivers: &Drivers) -> Result<Arc<Consul>> {
        drivers.share(url.server(), |server| Consul::open(server, tasks))
    }

    pub(super) fn registry(
        url: &Url,
        scope: &Scope,
        drivers: &Drivers,
    ) -> Result<Arc<dyn Registry>> {
        let url = url.server(Consul::PORT)?;
        url.finish_without_path("registry")?;
        let consul = shared(&url, &scope.tasks, drivers)?;
        let limits = scope.limits.registry.clone();
        Ok(Arc::new(registries::Consul::new(consul, limits, &scope.tasks)))
    }

    pub(super) fn config(
        url: &Url,
        tasks: &TaskTracker,
        drivers: &Drivers,
    ) -> Result<Arc<dyn Source>> {
        let url = url.server(Consul::PORT)?;
        url.finish("config")?;
        if url.path().is_empty() {
            let detail = "the config `consul` needs a key: `consul://HOST/shop/settings.json`";
            return Err(Error::precondition_failed("micro.open", detail));
        }
        let consul = shared(&url, tasks, drivers)?;
        Ok(Arc::new(settings::Consul::new(consul, url.path())?))
    }
}

/// Registries that share a connection with nothing else.
#[cfg(any(feature = "dns", feature = "gossip", feature = "kubernetes"))]
mod lone {
    use super::*;

    /// Returns whether a URL names no host: `dns:///services.example`.
    #[cfg(any(feature = "dns", feature = "kubernetes"))]
    fn names_no_host(url: &Url) -> bool {
        url.rest.is_empty() || url.rest.starts_with('/')
    }

    #[cfg(feature = "dns")]
    pub(super) fn dns(url: &Url, scope: &Scope) -> Result<Arc<dyn Registry>> {
        use crate::registry::{Dns, DnsConfig};
        let config = DnsConfig::of_url(url.server(DnsConfig::PORT)?, names_no_host(url))?;
        Ok(Arc::new(Dns::new(config.with_limits(scope.limits.registry.clone()))?))
    }

    #[cfg(feature = "gossip")]
    pub(super) fn gossip(url: &Url, scope: &Scope) -> Result<Arc<dyn Registry>> {
        use crate::registry::{Gossip, GossipConfig};
        let config = GossipConfig::of_url(url.server(GossipConfig::PORT)?)?;
        let config = config.with_limits(scope.limits.registry.clone());
        Ok(Arc::new(Gossip::new(config, &scope.tasks)?))
    }

    #[cfg(feature = "kubernetes")]
    pub(super) fn kubernetes(url: &Url, scope: &Scope) -> Result<Arc<dyn Registry>> {
        use crate::registry::{Kubernetes, KubernetesConfig};
        let server = url.server(KubernetesConfig::PORT)?;
        let config = KubernetesConfig::of_url(server, names_no_host(url))?;
        Ok(Arc::new(Kubernetes::new(config.with_limits(scope.limits.registry.clone()))?))
    }
}

#[cfg(feature = "nats")]
mod nats {
    use super::*;
    use crate::config as settings;
    use crate::core::error::Error;
    use crate::driver::{Nats, ServerUrl};
    use crate::registry as registries;
    use crate::store as stores;

    fn shared(url: &ServerUrl, tasks: &TaskTracker, drivers: &Drivers) -> Result<Arc<Nats>> {
        drivers.share(url.server(), |server| Nats::open(server, tasks))
    }

    pub(super) fn registry(
        url: &Url,
        scope: &Scope,
        drivers: &Drivers,
    ) -> Result<Arc<dyn Registry>> {
        let mut url = url.server(Nats::PORT)?;
        let replicas = url.take_as("replicas")?.unwrap_or(1);
        url.finish("registry")?;
        let nats = shared(&url, &scope.tasks, drivers)?;
        let limits = scope.limits.registry.clone();
        Ok(Arc::new(registries::Nats::in_bucket(nats, url.path(), replicas, limits)?))
    }

    pub(super) fn registry_broadcast(
        url: &Url,
        scope: &Scope,
        drivers: &Drivers,
    ) -> Result<Arc<dyn Registry>> {
        let url = url.server(Nats::PORT)?;
        url.finish_without_path("registry")?;
        let nats = shared(&url, &scope.tasks, drivers)?;
        let limits = scope.limits.registry.clone();
        Ok(Arc::new(registries::NatsBroadcast::with_limits(nats, &scope.tasks, limits)))
    }

    pub(super) fn store(
        url: &Url,
        limits: &StoreLimits,
        tasks: &TaskTracker,
        drivers: &Drivers,
    ) -> Result<Arc<dyn Store>> {
        let mut url = url.server(Nats::PORT)?;
        let replicas = url.take_as("replicas")?.unwrap_or(1);
        url.finish("store")?;
        let nats = shared(&url, tasks, drivers)?;
        Ok(Arc::new(stores::Nats::in_bucket(nats, url.path(), replicas, limits)?))
    }

    pub(super) fn config(
        url: &Url,
        tasks: &TaskTracker,
        drivers: &Drivers,
    ) -> Result<Arc<dyn Source>> {
        let url = url.server(Nats::PORT)?;
        url.finish("config")?;
        let Some((bucket, key)) = url.path().split_once('/') else {
            let detail =
                "the config `nats` needs a bucket and a key: `nats://HOST/BUCKET/KEY.json`";
            return Err(Error::precondition_failed("micro.open", detail));
        };
        let nats = shared(&url, tasks, drivers)?;
        Ok(Arc::new(settings::Nats::new(nats, bucket, key)?))
    }
}
