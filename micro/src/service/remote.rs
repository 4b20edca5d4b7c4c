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
    #[cfg(feature = "etcd")]
    if url.scheme == "etcd" {
        return Some(etcd(url, "registry", &scope.tasks, drivers).map(|(etcd, namespace)| {
            let registry = crate::registry::Etcd::new(etcd, scope.limits.registry.clone());
            let registry: Arc<dyn Registry> = Arc::new(registry.within(&namespace));
            registry
        }));
    }
    let _ = (url, scope, drivers);
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
    #[cfg(feature = "etcd")]
    if url.scheme == "etcd" {
        return Some(etcd(url, "store", tasks, drivers).map(|(etcd, namespace)| {
            let store = crate::store::Etcd::new(etcd, limits).within(&namespace);
            let store: Arc<dyn Store> = Arc::new(store);
            store
        }));
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

/// Shares the connection to etcd; the path is the namespace.
#[cfg(feature = "etcd")]
fn etcd(
    url: &Url,
    component: &str,
    tasks: &TaskTracker,
    drivers: &Drivers,
) -> Result<(Arc<crate::driver::Etcd>, String)> {
    let url = url.server(crate::driver::ETCD_PORT)?;
    url.finish(component)?;
    let etcd = drivers.share(url.server(), |server| crate::driver::Etcd::open(server, tasks))?;
    Ok((etcd, url.path().to_owned()))
}
