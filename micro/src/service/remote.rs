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
    #[cfg(feature = "redis")]
    if url.scheme == "redis" {
        return Some(super::redis::registry(url, scope, drivers));
    }
    let _ = (url, scope, drivers);
    None
}

pub(crate) fn broker(
    url: &Url,
    scope: &Scope,
    drivers: &Drivers,
) -> Option<Result<Arc<dyn Broker>>> {
    #[cfg(feature = "redis")]
    if matches!(url.scheme.as_str(), "redis" | "redis-pubsub") {
        return Some(super::redis::broker(url, scope, drivers));
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
    #[cfg(feature = "redis")]
    if url.scheme == "redis" {
        return Some(super::redis::store(url, limits, tasks, drivers));
    }
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
