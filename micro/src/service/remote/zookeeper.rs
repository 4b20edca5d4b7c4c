//! The registry on ZooKeeper: `zookeeper://host/path`.

use std::sync::Arc;

use crate::core::error::Result;
use crate::driver::{Drivers, ZooKeeper};
use crate::registry::{self, Registry};
use crate::service::url::Url;
use crate::transport::Scope;

pub(super) fn registry(url: &Url, scope: &Scope, drivers: &Drivers) -> Result<Arc<dyn Registry>> {
    let url = url.server(ZooKeeper::PORT)?;
    url.finish("registry")?;
    let open = |server: &_| ZooKeeper::open(server, &scope.tasks);
    let zookeeper = drivers.share(url.server(), open)?;
    let registry = registry::ZooKeeper::new(zookeeper, scope.limits.registry.clone());
    Ok(Arc::new(registry.within(url.path())))
}
