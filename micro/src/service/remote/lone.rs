//! Registries that share a connection with nothing else.

use std::sync::Arc;

use crate::core::error::Result;
use crate::registry::Registry;
use crate::service::url::Url;
use crate::transport::Scope;

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
