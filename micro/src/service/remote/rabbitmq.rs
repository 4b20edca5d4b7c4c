//! Backends on RabbitMQ: `rabbitmq://user:password@host/virtual-host`.

use std::sync::Arc;

use crate::broker::{self, Broker};
use crate::core::error::{Error, Result};
use crate::core::shutdown::TaskTracker;
use crate::driver::{AMQP_PORT, Amqp, Drivers};
use crate::service::url::Url;
use crate::transport::{self, Scope, Transport};

pub(super) fn broker(url: &Url, scope: &Scope, drivers: &Drivers) -> Result<Arc<dyn Broker>> {
    let mut url = url.server(AMQP_PORT)?;
    let mut config = broker::RabbitMqConfig::default();
    if !url.path().is_empty() {
        config = config.with_virtual_host(url.path());
    }
    if let Some(exchange) = url.take("exchange") {
        config = config.with_exchange(exchange);
    }
    match url.take("unrouted").as_deref() {
        None | Some("drop") => {}
        Some("refuse") => config = config.with_unrouted(broker::Unrouted::Refuse),
        Some(_) => {
            let text = "the broker `rabbitmq` has the option `unrouted`: `drop` or `refuse`";
            return Err(Error::precondition_failed("micro.open", text));
        }
    }
    url.finish("broker")?;
    let amqp = drivers.share(url.server(), |server| Amqp::open(server, &scope.tasks))?;
    Ok(Arc::new(broker::RabbitMq::new(&amqp, &config, scope)?))
}

pub(super) fn transport(
    url: &Url,
    tasks: &TaskTracker,
    drivers: &Drivers,
) -> Result<Arc<dyn Transport>> {
    let mut url = url.server(AMQP_PORT)?;
    let is_local = url.take_as("local")?.unwrap_or(false);
    url.finish("transport")?;
    let server = url.server();
    let amqp = drivers.share(server, |server| Amqp::open(server, tasks))?;
    let rabbitmq = transport::RabbitMq::new(amqp.host(url.path())?, server);
    Ok(Arc::new(if is_local { rabbitmq.within_this_machine(server)? } else { rabbitmq }))
}
