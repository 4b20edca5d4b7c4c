//! A registry with faults.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::registry::{Capabilities, Record, Registry, Watch};
use crate::testkit::faulty::Faulty;

/// Events between the backend's watch and its reader, who takes each as it comes.
const EVENTS_MAX: usize = 16;

impl<R: Registry> Registry for Faulty<R> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn register<'a>(&'a self, record: &'a Record, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.pass("register").await?;
            self.inner.register(record, ttl).await
        })
    }

    fn deregister<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.pass("deregister").await?;
            self.inner.deregister(record).await
        })
    }

    fn lookup<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<Option<Vec<Record>>>> {
        Box::pin(async move {
            self.pass("lookup").await?;
            self.inner.lookup(service).await
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async move {
            self.pass("list").await?;
            self.inner.list().await
        })
    }

    fn watch<'a>(&'a self, service: Option<&'a str>) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(async move {
            let mut outages = self.script.outages.subscribe();
            self.pass("watch").await?;
            let mut inner = self.inner.watch(service).await?;
            let (sender, events) = mpsc::channel(EVENTS_MAX);
            let driver = async move {
                loop {
                    let event = tokio::select! {
                        biased;
                        _ = outages.changed() => return,
                        event = inner.next() => event,
                    };
                    let Some(event) = event else { return };
                    if sender.send(event).await.is_err() {
                        return;
                    }
                }
            };
            // Without the script nobody could say that the backend went away.
            Ok(Watch::driven(events, Arc::clone(&self.script), driver))
        })
    }
}
