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
    #[cfg(feature = "rabbitmq")]
    if url.scheme == "rabbitmq" {
        return Some(rabbitmq(url, scope, drivers));
    }
    let _ = (url, scope, drivers);
    None
}

#[cfg(feature = "rabbitmq")]
fn rabbitmq(url: &Url, scope: &Scope, drivers: &Drivers) -> Result<Arc<dyn Broker>> {
    use crate::broker::{RabbitMq, RabbitMqConfig, Unrouted};
    use crate::core::error::Error;
    use crate::driver::{AMQP_PORT, Amqp};

    let mut url = url.server(AMQP_PORT)?;
    let mut config = RabbitMqConfig::default();
    if !url.path().is_empty() {
        config = config.with_virtual_host(url.path());
    }
    if let Some(exchange) = url.take("exchange") {
        config = config.with_exchange(exchange);
    }
    match url.take("unrouted").as_deref() {
        None | Some("drop") => {}
        Some("refuse") => config = config.with_unrouted(Unrouted::Refuse),
        Some(_) => {
            let text = "the broker `rabbitmq` has the option `unrouted`: `drop` or `refuse`";
            return Err(Error::precondition_failed("micro.open", text));
        }
    }
    url.finish("broker")?;
    let amqp = drivers.share(url.server(), |server| Amqp::open(server, &scope.tasks))?;
    Ok(Arc::new(RabbitMq::new(&amqp, &config, scope)?))
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
    #[cfg(feature = "nats")]
    if url.scheme == "nats" {
        return Some(nats::transport(url, tasks, drivers));
    }
    #[cfg(feature = "rabbitmq")]
    if url.scheme == "rabbitmq" {
        return Some(rabbitmq_transport(url, tasks, drivers));
    }
    let _ = (url, tasks, drivers);
    None
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

    pub(super) fn transport(
        url: &Url,
        tasks: &TaskTracker,
        drivers: &Drivers,
    ) -> Result<Arc<dyn Transport>> {
        let url = url.server(Nats::PORT)?;
        url.finish_without_path("transport")?;
        Ok(Arc::new(crate::transport::Nats::new(shared(&url, tasks, drivers)?)))
    }
}

#[cfg(feature = "rabbitmq")]
fn rabbitmq_transport(
    url: &Url,
    tasks: &TaskTracker,
    drivers: &Drivers,
) -> Result<Arc<dyn Transport>> {
    use crate::driver::{AMQP_PORT, Amqp};
    use crate::transport::RabbitMq;

    let url = url.server(AMQP_PORT)?;
    url.finish("transport")?;
    let server = url.server();
    let amqp = drivers.share(server, |server| Amqp::open(server, tasks))?;
    Ok(Arc::new(RabbitMq::new(amqp.host(url.path())?, server)))
}
