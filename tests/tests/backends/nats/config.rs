//! Settings.

use std::sync::Arc;
use std::time::Duration;

use micro::Service;
use micro::config::{Config, Nats, Source};
use micro::core::clock;
use micro::core::future::BoxFuture;
use micro::registry::Memory;
use micro::store::{self, Key, Space, Store, Write};
use micro::testkit::config::{Place, Subject, conformance};
use serde_json::{Value, json};

use super::{Ground, tests, until};

tests! {
    it_conforms
    a_process_reads_and_follows_what_a_url_names
    a_process_waits_for_the_server_of_its_settings
    settings_are_followed_after_a_restart
    what_names_no_settings_is_refused
}

/// A document under the key `a.b.json`, which a store writes as record `json` of table `b`.
struct Kept {
    ground: Arc<Ground>,
    nats: Arc<micro::driver::Nats>,
    writer: store::Nats,
}

impl Kept {
    async fn start(document: Value) -> Self {
        let ground = Ground::start();
        let nats = ground.connect();
        let limits = micro::core::limits::StoreLimits::default();
        let writer = store::Nats::in_bucket(ground.connect(), "settings", 1, &limits).unwrap();
        let kept = Self { ground, nats, writer };
        kept.write(document.to_string()).await;
        kept
    }

    async fn write(&self, text: String) {
        let (space, key) = (Space::new("a", "b").unwrap(), Key::new("json").unwrap());
        let write = || Write::new(key.clone(), text.clone());
        until("it is written", async || self.writer.write(&space, write()).await.is_ok()).await;
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}/settings/a.b.json", self.ground.port())
    }
}

impl Place for Kept {
    fn source(&self) -> Arc<dyn Source> {
        Arc::new(Nats::new(Arc::clone(&self.nats), "settings", "a.b.json").unwrap())
    }

    fn put(&self, document: Value) -> BoxFuture<'_, ()> {
        Box::pin(self.write(document.to_string()))
    }

    fn spoil(&self) -> Option<BoxFuture<'_, ()>> {
        Some(Box::pin(self.write("{".to_owned())))
    }
}

async fn it_conforms() {
    let subject = Subject::changing(|document| {
        let made = || tokio::runtime::Handle::current().block_on(Kept::start(document));
        Box::new(tokio::task::block_in_place(made))
    });
    // In a task: the thread of the test may not wait for others.
    let examined = tokio::spawn(async move { conformance(&subject).await });
    examined.await.unwrap().unwrap_or_else(|failures| panic!("{failures}"));
}

fn shop(url: &str) -> Service {
    Service::new("shop").registry(Memory::new()).env([("MICRO_CONFIG", url)])
}

async fn a_process_reads_and_follows_what_a_url_names() {
    let kept = Kept::start(json!({"price": 7})).await;
    let running = shop(&kept.url()).start().await.unwrap();
    assert_eq!(running.config().get::<u32>("price").unwrap(), 7);
    let origin = running.config().origin("price").unwrap();
    assert_eq!(origin, format!("{}:1", kept.url()));
    kept.write(json!({"price": 8}).to_string()).await;
    let config = running.config();
    until("it is followed", async || config.get::<u32>("price").is_ok_and(|price| price == 8))
        .await;
    running.stop().await;
}

async fn a_process_waits_for_the_server_of_its_settings() {
    let kept = Kept::start(json!({"price": 7})).await;
    kept.ground.server().kill();
    let url = kept.url();
    let starting = kept.ground.tasks.spawn("start", async move { shop(&url).start().await });
    clock::sleep(Duration::from_millis(500)).await;
    assert!(!starting.is_finished());
    kept.ground.server().start_again();
    let running = starting.await.unwrap().unwrap();
    assert_eq!(running.config().get::<u32>("price").unwrap(), 7);
    running.stop().await;
}

async fn settings_are_followed_after_a_restart() {
    let kept = Kept::start(json!({"price": 7})).await;
    let config = Config::load(&[kept.source()]).await.unwrap();
    config.follow(&kept.ground.tasks).await;
    kept.ground.restart();
    assert_eq!(config.get::<u32>("price").unwrap(), 7);
    kept.write(json!({"price": 8}).to_string()).await;
    until("it is followed", async || config.get::<u32>("price").is_ok_and(|price| price == 8))
        .await;
}

async fn what_names_no_settings_is_refused() {
    let kept = Kept::start(json!({})).await;
    let port = kept.ground.port();
    for (path, part) in [
        ("", "needs a bucket and a key"),
        ("settings", "needs a bucket and a key"),
        ("settings/none.json", "no such key"),
        ("settings/a.b.jsn", "did you mean `.json`"),
        ("settings/a..json", "a key has parts"),
        ("set.tings/a.json", "a bucket of nats"),
        ("nowhere/a.json", "stream not found"),
        ("settings/a.b.json?ttl=5", "no option `ttl`"),
    ] {
        let url = format!("nats://127.0.0.1:{port}/{path}");
        let error = shop(&url).start().await.map(|_| ()).unwrap_err();
        assert!(error.detail().contains(part), "{path}: {error}");
    }
}
