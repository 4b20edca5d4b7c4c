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
    #[cfg(feature = "etcd")]
    if url.scheme == "etcd" {
        return Some(etcd::registry(url, scope, drivers));
    }
    #[cfg(feature = "nats")]
    if url.scheme == "nats" {
        return Some(nats::registry(url, scope, drivers));
    }
    #[cfg(feature = "nats")]
    if url.scheme == "nats-broadcast" {
        return Some(nats::registry_broadcast(url, scope, drivers));
    }
    #[cfg(feature = "zookeeper")]
    if url.scheme == "zookeeper" {
        return Some(zookeeper::registry(url, scope, drivers));
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
    #[cfg(feature = "etcd")]
    if url.scheme == "etcd" {
        return Some(etcd::config(url, tasks, drivers));
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
    #[cfg(feature = "etcd")]
    if url.scheme == "etcd" {
        return Some(etcd::store(url, limits, tasks, drivers));
    }
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

#[cfg(feature = "etcd")]
mod etcd {
    use super::*;
    use crate::config as settings;
    use crate::core::error::Error;
    use crate::driver::{Etcd, ServerUrl};
    use crate::registry as registries;
    use crate::store as stores;

    fn shared(url: &ServerUrl, tasks: &TaskTracker, drivers: &Drivers) -> Result<Arc<Etcd>> {
        drivers.share(url.server(), |server| Etcd::open(server, tasks))
    }

    pub(super) fn registry(
        url: &Url,
        scope: &Scope,
        drivers: &Drivers,
    ) -> Result<Arc<dyn Registry>> {
        let url = url.server(Etcd::PORT)?;
        url.finish("registry")?;
        let etcd = shared(&url, &scope.tasks, drivers)?;
        let registry = registries::Etcd::new(etcd, scope.limits.registry.clone());
        Ok(Arc::new(registry.within(url.path())))
    }

    pub(super) fn store(
        url: &Url,
        limits: &StoreLimits,
        tasks: &TaskTracker,
        drivers: &Drivers,
    ) -> Result<Arc<dyn Store>> {
        let url = url.server(Etcd::PORT)?;
        url.finish("store")?;
        let etcd = shared(&url, tasks, drivers)?;
        Ok(Arc::new(stores::Etcd::new(etcd, limits).within(url.path())))
    }

    pub(super) fn config(
        url: &Url,
        tasks: &TaskTracker,
        drivers: &Drivers,
    ) -> Result<Arc<dyn Source>> {
        let url = url.server(Etcd::PORT)?;
        url.finish("config")?;
        if url.path().is_empty() {
            let detail = "the config `etcd` needs a key: `etcd://HOST/KEY.json`";
            return Err(Error::precondition_failed("micro.open", detail));
        }
        let etcd = shared(&url, tasks, drivers)?;
        Ok(Arc::new(settings::Etcd::new(etcd, url.path())?))
    }
}

#[cfg(feature = "nats")]
mod nats {
    use super::*;
    use crate::core::error::Error;
    use crate::driver::{Nats, ServerUrl};

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
        Ok(Arc::new(crate::registry::Nats::in_bucket(nats, url.path(), replicas, limits)?))
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
        Ok(Arc::new(crate::registry::NatsBroadcast::with_limits(nats, &scope.tasks, limits)))
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
        Ok(Arc::new(crate::store::Nats::in_bucket(nats, url.path(), replicas, limits)?))
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
        Ok(Arc::new(crate::config::Nats::new(nats, bucket, key)?))
    }
}

#[cfg(feature = "zookeeper")]
mod zookeeper {
    use super::*;
    use crate::driver::ZooKeeper;
    use crate::registry as registries;

    pub(super) fn registry(
        url: &Url,
        scope: &Scope,
        drivers: &Drivers,
    ) -> Result<Arc<dyn Registry>> {
        let url = url.server(ZooKeeper::PORT)?;
        url.finish("registry")?;
        let open = |server: &_| ZooKeeper::open(server, &scope.tasks);
        let zookeeper = drivers.share(url.server(), open)?;
        let registry = registries::ZooKeeper::new(zookeeper, scope.limits.registry.clone());
        Ok(Arc::new(registry.within(url.path())))
    }
}
