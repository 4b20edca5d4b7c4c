//! Backends on PostgreSQL: `postgres://user:password@host/database`.

use std::sync::Arc;

use crate::broker::{self, Broker};
use crate::core::error::Result;
use crate::core::limits::StoreLimits;
use crate::core::shutdown::TaskTracker;
use crate::driver::{Drivers, Postgres, Server};
use crate::service::url::Url;
use crate::store::{self, Store};
use crate::transport::Scope;

const PORT: u16 = 5432;

pub(super) fn broker(url: &Url, scope: &Scope, drivers: &Drivers) -> Result<Arc<dyn Broker>> {
    let mut url = url.server(PORT)?;
    let messages_max = url.take_as("messages_max")?;
    url.finish("broker")?;
    let (limits, tasks) = (&scope.limits, &scope.tasks);
    let postgres = drivers.share(url.server(), |server: &Server| Postgres::open(server, tasks))?;
    let database = url.path();
    Ok(Arc::new(match messages_max {
        Some(most) => {
            let limits = (&**limits, most);
            broker::Postgres::with_messages_max(&postgres, database, limits, tasks)?
        }
        None => broker::Postgres::new(&postgres, database, limits, tasks)?,
    }))
}

pub(super) fn store(
    url: &Url,
    limits: &StoreLimits,
    tasks: &TaskTracker,
    drivers: &Drivers,
) -> Result<Arc<dyn Store>> {
    let url = url.server(PORT)?;
    url.finish("store")?;
    let postgres = drivers.share(url.server(), |server: &Server| Postgres::open(server, tasks))?;
    Ok(Arc::new(store::Postgres::new(&postgres, url.path(), limits.clone(), tasks)?))
}
