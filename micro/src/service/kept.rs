//! The store of a process: opened before it is wired, closed when nothing uses it any more.

use std::sync::Arc;

use crate::core::error::Result;
use crate::core::limits::StoreLimits;
use crate::core::shutdown::TaskTracker;
use crate::driver::Drivers;
use crate::service::open;
use crate::service::settings::Settings;
use crate::service::url::Url;
use crate::store::{Handle, Store};

/// The store, and whether it ends with this process's part in it.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    store: Arc<dyn Store>,
    is_owned: bool,
}

impl Kept {
    /// Opens the store that is configured, unless the program handed one over.
    pub(crate) async fn open(
        given: Option<Arc<dyn Store>>,
        settings: &Settings,
        service: &str,
        (limits, tasks, drivers): (&StoreLimits, &TaskTracker, &Drivers),
    ) -> Result<Self> {
        if let Some(store) = given {
            if settings.store.is_some() {
                let component = "store";
                tracing::warn!(component, "the program brings its own: the setting is ignored");
            }
            return Ok(Self { store, is_owned: false });
        }
        let name = settings.store.as_deref().unwrap_or("memory");
        let url = Url::join("store", name, settings.store_address.as_deref())?;
        let store = open::open_store(&url, service, limits, (tasks, drivers)).await?;
        Ok(Self { store, is_owned: true })
    }

    /// Returns the handle of a service: a database of its own.
    pub(crate) fn handle(&self, service: &str) -> Result<Handle> {
        Handle::shared(Arc::clone(&self.store)).database(service)
    }

    /// Gives up a store that this process opened.
    pub(crate) async fn close(&self) {
        if !self.is_owned {
            return;
        }
        if let Err(error) = self.store.close().await {
            tracing::warn!(%error, "the store did not close");
        }
    }
}
