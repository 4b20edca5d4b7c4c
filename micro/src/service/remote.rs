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
