//! A backend that knows nothing but what is public, and passes the suite.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use micro::core::clock::{self, Instant};
use micro::core::error::Result;
use micro::core::future::BoxFuture;
use micro::store::{
    Capabilities, Condition, Event, Feed, Key, Page, Query, Record, Space, Store, Version, Watch,
    Write,
};
use micro::testkit::store::{Subject, conformance};

#[tokio::test(start_paused = true)]
async fn a_backend_from_outside_conforms() {
    let make = async || {
        let store = Arc::new(Outside::default());
        Subject::new(store.clone(), store)
    };
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
}

/// Records in a map, with times to live, versions and watches, but no events of expiry.
#[derive(Debug, Default)]
struct Outside(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<(Space, Key), (Record, Option<Instant>)>,
    watchers: Vec<(Space, String, Feed)>,
    last: u64,
}

impl State {
    fn find(&self, space: &Space, key: &Key) -> Option<Record> {
        let (record, ends) = self.records.get(&(space.clone(), key.clone()))?;
        let expiry = ends.map(|ends| clock::remaining(clock::now(), ends));
        let over = expiry.is_some_and(|left| left.is_zero());
        (!over).then(|| record.clone().with_expiry(expiry))
    }

    fn tell(&self, space: &Space, event: &Event) {
        for (watched, prefix, feed) in &self.watchers {
            if watched == space && event.key().is_some_and(|key| key.starts_with(prefix)) {
                feed.send(event.clone());
            }
        }
    }
}

impl Store for Outside {
    fn name(&self) -> &'static str {
        "outside"
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none(1024 * 1024);
        (capabilities.linearizable, capabilities.ttl) = (true, true);
        (capabilities.cas, capabilities.watch) = (true, true);
        capabilities
    }

    fn read<'a>(&'a self, space: &'a Space, key: &'a Key) -> BoxFuture<'a, Result<Option<Record>>> {
        Box::pin(async move { Ok(self.0.lock().unwrap().find(space, key)) })
    }

    fn write<'a>(&'a self, space: &'a Space, write: Write) -> BoxFuture<'a, Result<Version>> {
        Box::pin(async move {
            write.check(self.name(), &self.capabilities())?;
            let mut state = self.0.lock().unwrap();
            let found = state.find(space, &write.key).map(|record| record.version);
            write.condition.check(&write.key, found)?;
            state.last += 1;
            let version = Version::new(state.last);
            let ends = write.ttl.map(|ttl| clock::after(clock::now(), ttl));
            let record = Record::new(write.key.as_str(), write.value, version)
                .with_metadata(write.metadata)
                .with_expiry(write.ttl);
            state.tell(space, &Event::Put(record.clone()));
            state.records.insert((space.clone(), write.key), (record, ends));
            Ok(version)
        })
    }

    fn delete<'a>(
        &'a self,
        space: &'a Space,
        key: &'a Key,
        version: Option<Version>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut state = self.0.lock().unwrap();
            let found = state.find(space, key).map(|record| record.version);
            if let Some(version) = version {
                Condition::Version(version).check(key, found)?;
            }
            if state.records.remove(&(space.clone(), key.clone())).is_some() {
                state.tell(space, &Event::deleted(key.as_str()));
            }
            Ok(())
        })
    }

    fn list<'a>(&'a self, space: &'a Space, query: &'a Query) -> BoxFuture<'a, Result<Page>> {
        Box::pin(async move {
            let state = self.0.lock().unwrap();
            let after = query.after.as_deref().unwrap_or_default();
            let keys = state.records.keys().filter(|(held, _)| held == space);
            let mut found: Vec<Record> = keys
                .filter(|(_, key)| key.as_str() > after && query.matches(key))
                .filter_map(|(_, key)| state.find(space, key))
                .collect();
            let next = found.get(query.page_records()).is_some();
            found.truncate(query.page_records());
            if query.keys_only {
                let bare = |record: &Record| Record::new(record.key.as_str(), "", record.version);
                found = found.iter().map(bare).collect();
            }
            let next = found.last().filter(|_| next).map(|record| record.key.clone());
            Ok(Page::new(found, next))
        })
    }

    fn watch<'a>(&'a self, space: &'a Space, prefix: &'a str) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(async move {
            let (feed, watch) = Feed::channel();
            let mut state = self.0.lock().unwrap();
            state.watchers.push((space.clone(), prefix.to_owned(), feed));
            Ok(watch)
        })
    }
}
