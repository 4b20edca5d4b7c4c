//! A store with faults.

use std::sync::Arc;

use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::store::{
    Capabilities, Feed, Key, Page, Query, Record, Space, Store, Version, Watch, Write,
};
use crate::testkit::faulty::Faulty;

impl<S: Store> Store for Faulty<S> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn read<'a>(&'a self, space: &'a Space, key: &'a Key) -> BoxFuture<'a, Result<Option<Record>>> {
        Box::pin(async move {
            self.pass("read").await?;
            self.inner.read(space, key).await
        })
    }

    fn write<'a>(&'a self, space: &'a Space, write: Write) -> BoxFuture<'a, Result<Version>> {
        Box::pin(async move {
            self.pass("write").await?;
            self.inner.write(space, write).await
        })
    }

    fn delete<'a>(
        &'a self,
        space: &'a Space,
        key: &'a Key,
        version: Option<Version>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.pass("delete").await?;
            self.inner.delete(space, key, version).await
        })
    }

    fn list<'a>(&'a self, space: &'a Space, query: &'a Query) -> BoxFuture<'a, Result<Page>> {
        Box::pin(async move {
            self.pass("list").await?;
            self.inner.list(space, query).await
        })
    }

    fn watch<'a>(&'a self, space: &'a Space, prefix: &'a str) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(async move {
            let mut outages = self.script.outages.subscribe();
            self.pass("watch").await?;
            let mut inner = self.inner.watch(space, prefix).await?;
            let (feed, watch) = Feed::channel();
            let driver = async move {
                loop {
                    let event = tokio::select! {
                        biased;
                        _ = outages.changed() => return,
                        event = inner.next() => event,
                    };
                    if !event.is_some_and(|event| feed.send(event)) {
                        return;
                    }
                }
            };
            // Without the script nobody could say that the backend went away.
            Ok(watch.with_source(Arc::clone(&self.script)).with_driver(driver))
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.close()
    }
}
