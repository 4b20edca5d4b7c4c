//! Registry decorator that keeps what is asked for and serves it when the registry is down.
//!
//! Consistency: reads lag the registry by its propagation time. Durability: none.
//! Limits: as many views as a registry may hold services; beyond that unused ones go first.
//! Failure behaviour: the last snapshot is served for as long as the registry fails; a watch is
//! repeated with jittered backoff; a state that misses more than half of the nodes is doubted for
//! 5 s. Configuration: none.

mod feed;
mod guard;
mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::core::limits::RegistryLimits;
use crate::core::shutdown::TaskTracker;
use crate::registry::Capabilities;
use crate::registry::Registry;
use crate::registry::Watch;
use crate::registry::cache::feed::Feed;
use crate::registry::record::Record;

pub use self::view::{Loaded, View};

/// A registry whose lookups are answered from memory, each service fed by one shared watch.
///
/// Clones share the views. Clients read through [`Cached::view`]; [`Registry::lookup`] reads the
/// same views. Registrations, lists and watches go to the inner registry.
#[derive(Clone)]
pub struct Cached {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Arc<dyn Registry>,
    tracker: TaskTracker,
    /// Views kept at once; a further one is not shared and ends with its user.
    views_max: usize,
    views: Mutex<BTreeMap<String, Arc<View>>>,
    /// The last list, for when the registry fails.
    listed: Mutex<Option<Vec<String>>>,
}

impl Cached {
    /// Makes a cache over `inner`; its tasks belong to `tracker`.
    pub fn new(inner: Arc<dyn Registry>, tracker: TaskTracker) -> Self {
        Self::with_limits(inner, tracker, &RegistryLimits::DEFAULT)
    }

    /// Makes a cache that keeps at most `services_max` services.
    pub fn with_limits(
        inner: Arc<dyn Registry>,
        tracker: TaskTracker,
        limits: &RegistryLimits,
    ) -> Self {
        let (views, listed) = (Mutex::default(), Mutex::default());
        let views_max = limits.services_max;
        Self { shared: Arc::new(Shared { inner, tracker, views_max, views, listed }) }
    }

    /// Returns the registry below.
    pub fn inner(&self) -> &Arc<dyn Registry> {
        &self.shared.inner
    }

    /// Returns the view of a service, the same for all callers as long as anyone uses it.
    ///
    /// The first call for a service starts its watch, so it must run inside a tokio runtime. A
    /// view that nobody holds or asks for is dropped after 30 to 60 seconds.
    pub fn view(&self, service: &str) -> Arc<View> {
        let mut views = self.shared.views();
        if let Some(view) = views.get(service).filter(|view| !view.is_closed()) {
            view.touch();
            return Arc::clone(view);
        }
        let view = Arc::new(View::new(service));
        if views.len() >= self.shared.views_max {
            let unused = views.iter().find(|(_, view)| Arc::strong_count(view) == 1);
            if let Some(unused) = unused.map(|(name, _)| name.clone()) {
                views.remove(&unused);
            }
        }
        if views.len() < self.shared.views_max {
            views.insert(service.to_owned(), Arc::clone(&view));
        }
        drop(views);
        let feed = Feed::new(Arc::clone(self.inner()), &view, &Arc::downgrade(&self.shared));
        let task = self.shared.tracker.spawn("registry.view", feed.run());
        view.set_feed(task.abort_on_drop());
        view
    }
}

impl Shared {
    fn views(&self) -> MutexGuard<'_, BTreeMap<String, Arc<View>>> {
        // Every critical section leaves the map whole, so a poisoned lock is still sound.
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops a view that nobody holds and nobody asked for since this was last called.
    fn release_if_unused(&self, service: &str) {
        let mut views = self.views();
        let Some(view) = views.get(service) else { return };
        let touched = view.take_touched();
        // Views are handed out under this lock, so a count of one cannot grow meanwhile.
        if !touched && Arc::strong_count(view) == 1 {
            views.remove(service);
        }
    }

    async fn list(&self) -> Result<Vec<String>> {
        let listed = self.inner.list().await;
        let mut last = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        match listed {
            Ok(names) => {
                *last = Some(names.clone());
                Ok(names)
            }
            Err(error) => last.clone().ok_or(error),
        }
    }
}

impl Registry for Cached {
    fn name(&self) -> &'static str {
        "cached"
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.inner().capabilities();
        if !capabilities.watch {
            let poll = feed::POLL_INTERVAL.saturating_mul(100 + feed::POLL_JITTER_PERCENT) / 100;
            capabilities.propagation = capabilities.propagation.saturating_add(poll);
        }
        capabilities
    }

    fn register<'a>(&'a self, record: &'a Record, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        self.inner().register(record, ttl)
    }

    fn deregister<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<()>> {
        self.inner().deregister(record)
    }

    fn lookup<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<Option<Vec<Record>>>> {
        Box::pin(async move {
            let view = self.view(service);
            view.ready().await?;
            Ok(view.records())
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(self.shared.list())
    }

    fn watch<'a>(&'a self, service: Option<&'a str>) -> BoxFuture<'a, Result<Watch>> {
        self.inner().watch(service)
    }
}

impl fmt::Debug for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let views = self.shared.views().len();
        f.debug_struct("Cached").field("inner", self.inner()).field("views", &views).finish()
    }
}

#[cfg(test)]
mod tests;
