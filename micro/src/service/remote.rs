//! Backends on servers: from a URL to the backend over the connection that the process shares.
//!
//! Each returns `None` for a URL of another backend.

use std::sync::Arc;

use crate::broker::Broker;
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
        return Some(consul_registry(url, scope, drivers));
    }
    #[cfg(feature = "dns")]
    if url.scheme == "dns" {
        return Some(dns_registry(url, scope));
    }
    #[cfg(feature = "gossip")]
    if url.scheme == "gossip" {
        return Some(gossip_registry(url, scope));
    }
    #[cfg(feature = "kubernetes")]
    if url.scheme == "kubernetes" {
        return Some(kubernetes_registry(url, scope));
    }
    let _ = (url, scope, drivers);
    None
}

/// Returns whether a URL names no host: `dns:///services.example`.
#[cfg(any(feature = "dns", feature = "kubernetes"))]
fn names_no_host(url: &Url) -> bool {
    url.rest.is_empty() || url.rest.starts_with('/')
}

#[cfg(feature = "consul")]
fn consul_registry(url: &Url, scope: &Scope, drivers: &Drivers) -> Result<Arc<dyn Registry>> {
    use crate::{driver, registry};
    let server = url.server(driver::consul::PORT)?;
    server.finish_without_path("registry")?;
    let open = |server: &driver::Server| driver::Consul::open(server, &scope.tasks);
    let consul = drivers.share(server.server(), open)?;
    let limits = scope.limits.registry.clone();
    Ok(Arc::new(registry::Consul::new(consul, limits, &scope.tasks)))
}

#[cfg(feature = "dns")]
fn dns_registry(url: &Url, scope: &Scope) -> Result<Arc<dyn Registry>> {
    use crate::registry::{DNS_PORT, Dns, DnsConfig};
    let config = DnsConfig::of_url(url.server(DNS_PORT)?, names_no_host(url))?;
    Ok(Arc::new(Dns::new(config.with_limits(scope.limits.registry.clone()))?))
}

#[cfg(feature = "gossip")]
fn gossip_registry(url: &Url, scope: &Scope) -> Result<Arc<dyn Registry>> {
    use crate::registry::{GOSSIP_PORT, Gossip, GossipConfig};
    let config = GossipConfig::of_url(url.server(GOSSIP_PORT)?)?;
    let config = config.with_limits(scope.limits.registry.clone());
    Ok(Arc::new(Gossip::new(config, &scope.tasks)?))
}

#[cfg(feature = "kubernetes")]
fn kubernetes_registry(url: &Url, scope: &Scope) -> Result<Arc<dyn Registry>> {
    use crate::registry::{KUBERNETES_PORT, Kubernetes, KubernetesConfig};
    let config = KubernetesConfig::of_url(url.server(KUBERNETES_PORT)?, names_no_host(url))?;
    Ok(Arc::new(Kubernetes::new(config.with_limits(scope.limits.registry.clone()))?))
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
