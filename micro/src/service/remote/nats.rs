//! Backends on a NATS server: `nats://host/bucket`.

use std::sync::Arc;

use crate::broker::{self, Broker};
use crate::config::Source;
use crate::core::error::{Error, Result};
use crate::core::limits::StoreLimits;
use crate::core::shutdown::TaskTracker;
use crate::driver::{Drivers, Nats, ServerUrl};
use crate::registry::Registry;
use crate::service::url::Url;
use crate::store::Store;
use crate::transport::{Scope, Transport};

fn shared(url: &ServerUrl, tasks: &TaskTracker, drivers: &Drivers) -> Result<Arc<Nats>> {
    drivers.share(url.server(), |server| Nats::open(server, tasks))
}

pub(super) fn registry(url: &Url, scope: &Scope, drivers: &Drivers) -> Result<Arc<dyn Registry>> {
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

pub(super) fn broker(url: &Url, scope: &Scope, drivers: &Drivers) -> Result<Arc<dyn Broker>> {
    let url = url.server(Nats::PORT)?;
    url.finish_without_path("broker")?;
    let nats = shared(&url, &scope.tasks, drivers)?;
    Ok(Arc::new(broker::Nats::new(&nats, &scope.limits, scope.tasks.clone())))
}

pub(super) fn jetstream(url: &Url, scope: &Scope, drivers: &Drivers) -> Result<Arc<dyn Broker>> {
    let mut url = url.server(Nats::PORT)?;
    let options = broker::JetStreamOptions::take(&mut url)?;
    url.finish_without_path("broker")?;
    let nats = shared(&url, &scope.tasks, drivers)?;
    let (limits, tasks) = (&scope.limits, scope.tasks.clone());
    Ok(Arc::new(broker::JetStream::new(&nats, options, limits, tasks)?))
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

pub(super) fn config(url: &Url, tasks: &TaskTracker, drivers: &Drivers) -> Result<Arc<dyn Source>> {
    let url = url.server(Nats::PORT)?;
    url.finish("config")?;
    let Some((bucket, key)) = url.path().split_once('/') else {
        let detail = "the config `nats` needs a bucket and a key: `nats://HOST/BUCKET/KEY.json`";
        return Err(Error::precondition_failed("micro.open", detail));
    };
    let nats = shared(&url, tasks, drivers)?;
    Ok(Arc::new(crate::config::Nats::new(nats, bucket, key)?))
}

pub(super) fn transport(
    url: &Url,
    tasks: &TaskTracker,
    drivers: &Drivers,
) -> Result<Arc<dyn Transport>> {
    let mut url = url.server(Nats::PORT)?;
    let is_local = url.take_as("local")?.unwrap_or(false);
    url.finish_without_path("transport")?;
    let nats = crate::transport::Nats::new(shared(&url, tasks, drivers)?);
    Ok(Arc::new(if is_local { nats.within_this_machine(url.server())? } else { nats }))
}
