//! Backends on a Redis or Valkey server, from their URL: `redis://user:password@host/database`.

use std::sync::Arc;

use crate::broker::{self, Broker};
use crate::core::error::{Error, Result};
use crate::core::limits::{Limits, StoreLimits};
use crate::core::shutdown::TaskTracker;
use crate::driver::redis::PORT;
use crate::driver::{self, Drivers, ServerUrl};
use crate::registry::{self, Registry};
use crate::service::url::Url;
use crate::store::{self, Store};
use crate::transport::Scope;

/// What the names of all keys begin with, unless the URL says otherwise.
const PREFIX: &str = "micro";

pub(super) fn registry(url: &Url, scope: &Scope, drivers: &Drivers) -> Result<Arc<dyn Registry>> {
    let (url, redis, prefix) = open(url, &scope.tasks, drivers)?;
    url.finish("registry")?;
    Ok(Arc::new(registry::Redis::new(redis, prefix, scope.limits.registry.clone())))
}

pub(super) fn broker(url: &Url, scope: &Scope, drivers: &Drivers) -> Result<Arc<dyn Broker>> {
    let (mut url, redis, prefix) = open(url, &scope.tasks, drivers)?;
    let limits: &Limits = &scope.limits;
    if url.scheme() == "redis-pubsub" {
        url.finish("broker")?;
        return Ok(Arc::new(broker::RedisPubSub::new(redis, prefix, limits)));
    }
    let entries = url.take_as("entries")?;
    url.finish("broker")?;
    let broker = broker::Redis::new(redis, prefix, limits);
    Ok(Arc::new(broker.holding(entries.unwrap_or(broker::STREAM_ENTRIES_MAX))))
}

pub(super) fn store(
    url: &Url,
    limits: &StoreLimits,
    tasks: &TaskTracker,
    drivers: &Drivers,
) -> Result<Arc<dyn Store>> {
    let (url, redis, prefix) = open(url, tasks, drivers)?;
    url.finish("store")?;
    Ok(Arc::new(store::Redis::new(redis, prefix, limits.clone())))
}

/// Reads the URL, and finds the connections to the database that it names.
fn open(
    url: &Url,
    tasks: &TaskTracker,
    drivers: &Drivers,
) -> Result<(ServerUrl, Arc<driver::Redis>, String)> {
    let mut url = url.server(PORT)?;
    let wrong = |why: &str| {
        let detail = format!("the URL of `{}` {why}", url.scheme());
        Error::precondition_failed("micro.open", detail)
    };
    let database = match url.path() {
        "" => 0,
        path => path.parse().map_err(|_no| wrong("has a path that is no number of a database"))?,
    };
    let prefix = url.take("prefix").unwrap_or_else(|| PREFIX.to_owned());
    if prefix.is_empty() || prefix.chars().any(char::is_control) {
        return Err(Error::precondition_failed("micro.open", "the option `prefix` is no name"));
    }
    let redis = drivers.share(url.server(), |server| driver::Redis::open(server, tasks))?;
    Ok((url, redis.database(database)?, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn components_on_one_server_share_its_connection_and_databases_do_not() {
        let (tasks, drivers) = (TaskTracker::new(), Drivers::default());
        let find = |text: &str| {
            let url = Url::parse(text).unwrap();
            open(&url, &tasks, &drivers).map(|(_, redis, prefix)| (redis, prefix))
        };
        let (one, prefix) = find("redis://:secret@127.0.0.1:1?prefix=shop").unwrap();
        assert_eq!(prefix, "shop");
        let (same, prefix) = find("redis-pubsub://:secret@127.0.0.1:1/0").unwrap();
        assert!(Arc::ptr_eq(&one, &same) && prefix == "micro");
        let (other, _) = find("redis://:secret@127.0.0.1:1/3").unwrap();
        assert!(!Arc::ptr_eq(&one, &other) && other.number() == 3);
        assert!(Arc::ptr_eq(&other, &find("redis://:secret@127.0.0.1:1/3").unwrap().0));
        for bad in ["redis://h/x", "redis://h/16", "redis://h/-1", "redis://h?prefix="] {
            assert_eq!(find(bad).map(drop).unwrap_err().code(), 412, "{bad}");
        }
        tasks.abort_all();
    }

    #[tokio::test]
    async fn options_are_those_of_the_component() {
        let (scope, drivers) = (Scope::default(), Drivers::default());
        let url = |text| Url::parse(text).unwrap();
        assert!(broker(&url("redis://h?entries=5"), &scope, &drivers).is_ok());
        for bad in ["redis://h?entries=x", "redis-pubsub://h?entries=5", "redis://h?more=1"] {
            assert_eq!(broker(&url(bad), &scope, &drivers).unwrap_err().code(), 412, "{bad}");
        }
        assert!(registry(&url("redis://h?entries=5"), &scope, &drivers).is_err());
        let limits = StoreLimits::default();
        assert!(store(&url("redis://h?entries=5"), &limits, &scope.tasks, &drivers).is_err());
    }
}
