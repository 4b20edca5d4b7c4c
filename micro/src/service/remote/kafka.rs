//! Backends on Kafka: `kafka://host:9092,host2:9092`.

use std::sync::Arc;

use crate::broker::{Broker, Kafka, KafkaClient, KafkaConfig};
use crate::core::error::Result;
use crate::driver::Drivers;
use crate::service::url::Url;
use crate::transport::Scope;

pub(super) fn broker(url: &Url, scope: &Scope, drivers: &Drivers) -> Result<Arc<dyn Broker>> {
    let mut url = url.server(KafkaConfig::PORT)?;
    let config = KafkaConfig::take(&mut url)?;
    url.finish_without_path("broker")?;
    let (limits, tasks) = (&scope.limits, &scope.tasks);
    let open = |server: &_| KafkaClient::open(server, config, limits, tasks);
    let client = drivers.share(url.server(), open)?;
    Ok(Arc::new(Kafka::new(&client, limits, scope.tasks.clone())))
}
