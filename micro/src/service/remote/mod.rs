//! Backends on servers: from a URL to the backend over the connection that the process shares.
//!
//! Each function returns `None` for a URL of another backend.

#[cfg(feature = "consul")]
mod consul;
#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(any(feature = "dns", feature = "gossip", feature = "kubernetes"))]
mod lone;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "nsq")]
mod nsq;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "pubsub")]
mod pubsub;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "zookeeper")]
mod zookeeper;

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
    #[cfg(feature = "consul")]
    if url.scheme == "consul" {
        return Some(consul::registry(url, scope, drivers));
    }
    #[cfg(feature = "dns")]
    if url.scheme == "dns" {
        return Some(lone::dns(url, scope));
    }
    #[cfg(feature = "etcd")]
    if url.scheme == "etcd" {
        return Some(etcd::registry(url, scope, drivers));
    }
    #[cfg(feature = "gossip")]
    if url.scheme == "gossip" {
        return Some(lone::gossip(url, scope));
    }
    #[cfg(feature = "kubernetes")]
    if url.scheme == "kubernetes" {
        return Some(lone::kubernetes(url, scope));
    }
    #[cfg(feature = "nats")]
    if url.scheme == "nats" {
        return Some(nats::registry(url, scope, drivers));
    }
    #[cfg(feature = "nats")]
    if url.scheme == "nats-broadcast" {
        return Some(nats::registry_broadcast(url, scope, drivers));
    }
    #[cfg(feature = "redis")]
    if url.scheme == "redis" {
        return Some(redis::registry(url, scope, drivers));
    }
    #[cfg(feature = "zookeeper")]
    if url.scheme == "zookeeper" {
        return Some(zookeeper::registry(url, scope, drivers));
    }
    let _ = (url, scope, drivers);
    None
}

pub(crate) fn broker(
    url: &Url,
    scope: &Scope,
    drivers: &Drivers,
) -> Option<Result<Arc<dyn Broker>>> {
    #[cfg(feature = "nats")]
    if url.scheme == "jetstream" {
        return Some(nats::jetstream(url, scope, drivers));
    }
    #[cfg(feature = "kafka")]
    if url.scheme == "kafka" {
        return Some(kafka::broker(url, scope, drivers));
    }
    #[cfg(feature = "mqtt")]
    if url.scheme == "mqtt" {
        return Some(mqtt::broker(url, scope, drivers));
    }
    #[cfg(feature = "nats")]
    if url.scheme == "nats" {
        return Some(nats::broker(url, scope, drivers));
    }
    #[cfg(feature = "nsq")]
    if url.scheme == "nsq" {
        return Some(nsq::broker(url, scope, drivers));
    }
    #[cfg(feature = "postgres")]
    if url.scheme == "postgres" {
        return Some(postgres::broker(url, scope, drivers));
    }
    #[cfg(feature = "pubsub")]
    if url.scheme == "pubsub" {
        return Some(pubsub::broker(url, scope, drivers));
    }
    #[cfg(feature = "rabbitmq")]
    if url.scheme == "rabbitmq" {
        return Some(rabbitmq::broker(url, scope, drivers));
    }
    #[cfg(feature = "redis")]
    if matches!(url.scheme.as_str(), "redis" | "redis-pubsub") {
        return Some(redis::broker(url, scope, drivers));
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
    #[cfg(feature = "etcd")]
    if url.scheme == "etcd" {
        return Some(etcd::store(url, limits, tasks, drivers));
    }
    #[cfg(feature = "nats")]
    if url.scheme == "nats" {
        return Some(nats::store(url, limits, tasks, drivers));
    }
    #[cfg(feature = "postgres")]
    if url.scheme == "postgres" {
        return Some(postgres::store(url, limits, tasks, drivers));
    }
    #[cfg(feature = "redis")]
    if url.scheme == "redis" {
        return Some(redis::store(url, limits, tasks, drivers));
    }
    let _ = (url, limits, tasks, drivers);
    None
}

/// Opens the source that a setting with a URL names, where another one names a file.
pub(crate) fn config(
    url: &Url,
    tasks: &TaskTracker,
    drivers: &Drivers,
) -> Option<Result<Arc<dyn Source>>> {
    #[cfg(feature = "consul")]
    if url.scheme == "consul" {
        return Some(consul::config(url, tasks, drivers));
    }
    #[cfg(feature = "etcd")]
    if url.scheme == "etcd" {
        return Some(etcd::config(url, tasks, drivers));
    }
    #[cfg(feature = "nats")]
    if url.scheme == "nats" {
        return Some(nats::config(url, tasks, drivers));
    }
    let _ = (url, tasks, drivers);
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
        return Some(rabbitmq::transport(url, tasks, drivers));
    }
    let _ = (url, tasks, drivers);
    None
}
