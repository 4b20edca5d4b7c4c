//! Settings on etcd, and what URLs open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use micro::config::{self, Config, Source};
use micro::core::future::BoxFuture;
use micro::core::limits::Limits;
use micro::core::shutdown::{Shutdown, TaskTracker};
use micro::driver::{self, Drivers};
use micro::service::open;
use micro::testkit::config::{Place, Subject, conformance};
use micro::transport::Scope;
use serde_json::{Value, json};

use micro_tests::server::etcd;

use super::{Process, gateway, record, until};

/// A key of its own.
struct Key {
    etcd: Arc<driver::Etcd>,
    port: u16,
    key: String,
}

impl Key {
    async fn write(&self, text: &str) {
        gateway::put(self.port, &format!("/micro/config/{}", self.key), text).await;
    }
}

impl Place for Key {
    fn source(&self) -> Arc<dyn Source> {
        Arc::new(config::Etcd::new(Arc::clone(&self.etcd), &self.key).unwrap())
    }

    fn put(&self, document: Value) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.write(&document.to_string()).await })
    }

    fn spoil(&self) -> Option<BoxFuture<'_, ()>> {
        Some(Box::pin(self.write("{")))
    }
}

pub(super) async fn the_settings_conform() {
    let server = etcd();
    let process = Process::new(server.port());
    let (etcd, port) = (Arc::clone(&process.etcd), server.port());
    let next = AtomicUsize::new(0);
    let subject = Subject::changing(move |document| {
        let key = format!("n{}/shop.json", next.fetch_add(1, Ordering::Relaxed));
        let place = Key { etcd: Arc::clone(&etcd), port, key };
        // The suite makes places outside of futures.
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(place.put(document));
        });
        Box::new(place)
    });
    // Where blocking is possible: the thread that runs the test itself is no worker.
    let tasks = TaskTracker::new();
    let examined = tasks.spawn("suite", async move {
        conformance(&subject).await.map_err(|failures| failures.to_string())
    });
    examined.await.unwrap().unwrap_or_else(|failures| panic!("{failures}"));
}

pub(super) async fn a_key_that_is_not_there_is_said() {
    let server = etcd();
    let process = Process::new(server.port());
    let source = config::Etcd::new(Arc::clone(&process.etcd), "none.json").unwrap();
    let error = source.load().await.unwrap_err();
    assert_eq!(error.code(), 412);
    assert!(error.detail().contains("/none.json: there is no such key"), "{error}");
    let error = config::Etcd::new(Arc::clone(&process.etcd), "none.ini").unwrap_err();
    assert!(error.detail().contains(".ini"), "{error}");
}

pub(super) async fn a_watch_of_settings_goes_on_after_a_restart() {
    let mut server = etcd();
    let process = Process::new(server.port());
    let (etcd, port) = (Arc::clone(&process.etcd), server.port());
    let place = Key { etcd, port, key: "shop.json".into() };
    place.put(json!({"port": 1})).await;
    let config = Config::load(&[place.source()]).await.unwrap();
    config.follow(&process.tasks).await;
    server.kill();
    server.start_again();
    until("it answers", async || gateway::try_range(port, "/x").await.is_some()).await;
    place.put(json!({"port": 2})).await;
    until("the change is taken", async || config.get::<u16>("port").unwrap() == 2).await;
}

pub(super) async fn urls_open_what_is_on_one_connection() {
    let server = etcd();
    let (tasks, drivers) = (TaskTracker::new(), Drivers::default());
    let scope = Scope::new(Arc::new(Limits::default()), tasks.clone(), Shutdown::new());
    let url = format!("etcd://{}/staging", server.address());
    let registry = open::registry(&url, &scope, &drivers).unwrap();
    let store = open::store(&url, "shop", &scope, &drivers).await.unwrap();
    registry.register(&record("a", "1"), Duration::from_secs(15)).await.unwrap();
    let store = micro::Store::shared(store);
    store.put("k", &1).await.unwrap();
    let keys = gateway::range(server.port(), "/staging/micro/").await;
    let keys: Vec<&str> = keys.iter().map(|(key, ..)| key.as_str()).collect();
    let expected = ["/staging/micro/registry/a/1", "/staging/micro/store/micro/default/k"];
    assert_eq!(keys, expected);
    assert_eq!(format!("{drivers:?}").matches("etcd").count(), 1, "{drivers:?}");
    drivers.check().unwrap();
    let error = open::registry(&format!("{url}?ttl=5s"), &scope, &drivers).unwrap_err();
    assert_eq!(error.detail(), "the registry `etcd` has no option `ttl`");
    tasks.abort_all();
}
