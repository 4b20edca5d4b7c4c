//! Backends on etcd: `etcd://host/prefix`.

use std::sync::Arc;

use crate::config::{self, Source};
use crate::core::error::{Error, Result};
use crate::core::limits::StoreLimits;
use crate::core::shutdown::TaskTracker;
use crate::driver::{Drivers, Etcd, ServerUrl};
use crate::registry::{self, Registry};
use crate::service::url::Url;
use crate::store::{self, Store};
use crate::transport::Scope;

fn shared(url: &ServerUrl, tasks: &TaskTracker, drivers: &Drivers) -> Result<Arc<Etcd>> {
    drivers.share(url.server(), |server| Etcd::open(server, tasks))
}

pub(super) fn registry(url: &Url, scope: &Scope, drivers: &Drivers) -> Result<Arc<dyn Registry>> {
    let url = url.server(Etcd::PORT)?;
    url.finish("registry")?;
    let etcd = shared(&url, &scope.tasks, drivers)?;
    let registry = registry::Etcd::new(etcd, scope.limits.registry.clone());
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
    Ok(Arc::new(store::Etcd::new(etcd, limits).within(url.path())))
}

pub(super) fn config(url: &Url, tasks: &TaskTracker, drivers: &Drivers) -> Result<Arc<dyn Source>> {
    let url = url.server(Etcd::PORT)?;
    url.finish("config")?;
    if url.path().is_empty() {
        let detail = "the config `etcd` needs a key: `etcd://HOST/KEY.json`";
        return Err(Error::precondition_failed("micro.open", detail));
    }
    let etcd = shared(&url, tasks, drivers)?;
    Ok(Arc::new(config::Etcd::new(etcd, url.path())?))
}
