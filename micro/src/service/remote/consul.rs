//! Backends on Consul: `consul://host`.

use std::sync::Arc;

use crate::config::{self, Source};
use crate::core::error::{Error, Result};
use crate::core::shutdown::TaskTracker;
use crate::driver::{Consul, Drivers, ServerUrl};
use crate::registry::{self, Registry};
use crate::service::url::Url;
use crate::transport::Scope;

fn shared(url: &ServerUrl, tasks: &TaskTracker, drivers: &Drivers) -> Result<Arc<Consul>> {
    drivers.share(url.server(), |server| Consul::open(server, tasks))
}

pub(super) fn registry(url: &Url, scope: &Scope, drivers: &Drivers) -> Result<Arc<dyn Registry>> {
    let url = url.server(Consul::PORT)?;
    url.finish_without_path("registry")?;
    let consul = shared(&url, &scope.tasks, drivers)?;
    let limits = scope.limits.registry.clone();
    Ok(Arc::new(registry::Consul::new(consul, limits, &scope.tasks)))
}

pub(super) fn config(url: &Url, tasks: &TaskTracker, drivers: &Drivers) -> Result<Arc<dyn Source>> {
    let url = url.server(Consul::PORT)?;
    url.finish("config")?;
    if url.path().is_empty() {
        let detail = "the config `consul` needs a key: `consul://HOST/shop/settings.json`";
        return Err(Error::precondition_failed("micro.open", detail));
    }
    let consul = shared(&url, tasks, drivers)?;
    Ok(Arc::new(config::Consul::new(consul, url.path())?))
}
