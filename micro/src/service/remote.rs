//! Backends on servers: from a URL to the backend over the connection that the process shares.
//!
//! Each returns `None` for a URL of another backend.

use std::sync::Arc;

#[cfg(feature = "postgres")]
use crate::broker;
use crate::broker::Broker;
use crate::core::error::Result;
use crate::core::limits::StoreLimits;
use crate::core::shutdown::TaskTracker;
use crate::driver::Drivers;
#[cfg(feature = "postgres")]
use crate::driver::Server;
use crate::registry::Registry;
use crate::service::url::Url;
#[cfg(feature = "postgres")]
use crate::store;
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
    #[cfg(feature = "postgres")]
    if url.scheme == "postgres" {
        return Some(postgres_broker(url, scope, drivers));
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
    #[cfg(feature = "postgres")]
    if url.scheme == "postgres" {
        return Some(postgres_store(url, limits, tasks, drivers));
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

#[cfg(feature = "postgres")]
const POSTGRES_PORT: u16 = 5432;

#[cfg(feature = "postgres")]
fn postgres_broker(url: &Url, scope: &Scope, drivers: &Drivers) -> Result<Arc<dyn Broker>> {
    let mut url = url.server(POSTGRES_PORT)?;
    let messages_max = url.take_as("messages_max")?;
    url.finish("broker")?;
    let (limits, tasks) = (&scope.limits, &scope.tasks);
    let open = |server: &Server| crate::driver::Postgres::open(server, tasks);
    let driver = drivers.share(url.server(), open)?;
    let broker = match messages_max {
        Some(most) => {
            broker::Postgres::with_messages_max(&driver, url.path(), (limits, most), tasks)?
        }
        None => broker::Postgres::new(&driver, url.path(), limits, tasks)?,
    };
    Ok(Arc::new(broker))
}

#[cfg(feature = "postgres")]
fn postgres_store(
    url: &Url,
    limits: &StoreLimits,
    tasks: &TaskTracker,
    drivers: &Drivers,
) -> Result<Arc<dyn Store>> {
    let url = url.server(POSTGRES_PORT)?;
    url.finish("store")?;
    let open = |server: &Server| crate::driver::Postgres::open(server, tasks);
    let driver = drivers.share(url.server(), open)?;
    let store = store::Postgres::new(&driver, url.path(), limits.clone(), tasks)?;
    Ok(Arc::new(store))
}
