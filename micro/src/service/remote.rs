//! Backends on servers: from a URL to the backend over the connection that the process shares.
//!
//! Each returns `None` for a URL of another backend.

use std::sync::Arc;

use crate::broker::Broker;
use crate::core::error::Result;
use crate::core::limits::StoreLimits;
use crate::core::shutdown::TaskTracker;
#[cfg(any(feature = "nats", feature = "rabbitmq"))]
use crate::driver;
use crate::driver::Drivers;
use crate::registry::Registry;
use crate::service::url::Url;
use crate::store::Store;
#[cfg(any(feature = "nats", feature = "rabbitmq"))]
use crate::transport;
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
    #[cfg(feature = "nats")]
    if url.scheme == "nats" {
        return Some(nats_transport(url, tasks, drivers));
    }
    #[cfg(feature = "rabbitmq")]
    if url.scheme == "rabbitmq" {
        return Some(rabbitmq_transport(url, tasks, drivers));
    }
    let _ = (url, tasks, drivers);
    None
}

#[cfg(feature = "nats")]
fn nats_transport(url: &Url, tasks: &TaskTracker, drivers: &Drivers) -> Result<Arc<dyn Transport>> {
    let url = url.server(driver::Nats::PORT)?;
    url.finish_without_path("transport")?;
    let nats = drivers.share(url.server(), |server| driver::Nats::open(server, tasks))?;
    Ok(Arc::new(transport::Nats::new(nats)))
}

#[cfg(feature = "rabbitmq")]
fn rabbitmq_transport(
    url: &Url,
    tasks: &TaskTracker,
    drivers: &Drivers,
) -> Result<Arc<dyn Transport>> {
    let url = url.server(driver::AMQP_PORT)?;
    url.finish("transport")?;
    let server = url.server();
    let amqp = drivers.share(server, |server| driver::Amqp::open(server, tasks))?;
    Ok(Arc::new(transport::RabbitMq::new(amqp.host(url.path())?, server)))
}
