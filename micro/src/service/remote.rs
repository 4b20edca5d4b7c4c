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
    let _ = (url, scope, drivers);
    None
}

pub(crate) fn broker(
    url: &Url,
    scope: &Scope,
    drivers: &Drivers,
) -> Option<Result<Arc<dyn Broker>>> {
    #[cfg(feature = "nats")]
    if url.scheme == "nats" {
        return Some(nats_broker(url, scope, drivers));
    }
    #[cfg(feature = "nats")]
    if url.scheme == "jetstream" {
        return Some(jetstream_broker(url, scope, drivers));
    }
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

#[cfg(feature = "nats")]
fn nats_broker(url: &Url, scope: &Scope, drivers: &Drivers) -> Result<Arc<dyn Broker>> {
    let url = url.server(crate::driver::Nats::PORT)?;
    url.finish_without_path("broker")?;
    let tasks = &scope.tasks;
    let nats = drivers.share(url.server(), |server| crate::driver::Nats::open(server, tasks))?;
    Ok(Arc::new(crate::broker::Nats::new(nats, &scope.limits, tasks.clone())))
}

#[cfg(feature = "nats")]
fn jetstream_broker(url: &Url, scope: &Scope, drivers: &Drivers) -> Result<Arc<dyn Broker>> {
    let mut url = url.server(crate::driver::Nats::PORT)?;
    let options = crate::broker::JetStreamOptions::take(&mut url)?;
    url.finish_without_path("broker")?;
    let tasks = &scope.tasks;
    let nats = drivers.share(url.server(), |server| crate::driver::Nats::open(server, tasks))?;
    let broker = crate::broker::JetStream::new(nats, options, &scope.limits, tasks.clone())?;
    Ok(Arc::new(broker))
}
