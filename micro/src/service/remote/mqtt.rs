//! The broker on MQTT: `mqtt://user:password@host?client=name`.

use std::sync::Arc;

use crate::broker::{Broker, Mqtt, MqttOptions};
use crate::core::error::Result;
use crate::driver::Drivers;
use crate::service::url::Url;
use crate::transport::Scope;

pub(super) fn broker(url: &Url, scope: &Scope, drivers: &Drivers) -> Result<Arc<dyn Broker>> {
    let mut url = url.server(Mqtt::PORT)?;
    let options = MqttOptions::take(&mut url)?;
    url.finish_without_path("broker")?;
    let broker = drivers.share(url.server(), |server| Mqtt::open(server, options, scope))?;
    Ok(broker)
}
