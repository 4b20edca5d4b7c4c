//! Google Cloud Pub/Sub: the broker against the emulator, and what is left of its promises when that
//! fails.

mod contract;
mod failing;
mod rate;
mod silent;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use google_cloud_auth::credentials::{Credentials, anonymous};
use libtest_mimic::Trial;
use micro::broker::{
    Ack, Broker, Delivery, Handler, Message, PubSub, PubSubConfig, PubSubEndpoint, Subscription,
};
use micro::broker::{DeadLetter, SubscribeOptions};
use micro::core::clock;
use micro::core::content_type::ContentType;
use micro::core::shutdown::TaskTracker;
use micro::driver::Link;
use micro::transport::Scope;
use micro_tests::server::{Server, pubsub};
use tokio::sync::mpsc;

/// What has to happen happens within this time; the server may have to start again meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);

/// The project of all tests.
const PROJECT: &str = "shop-1";

pub(crate) fn trials() -> Vec<Trial> {
    let trials = [contract::trials(), failing::trials(), rate::trials(), silent::trials()];
    trials.into_iter().flatten().collect()
}

/// The server of the tests that leave it running.
static SHARED: Mutex<Option<Arc<Server>>> = Mutex::new(None);

/// Returns a server that others use, too.
fn shared() -> Arc<Server> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(shared.get_or_insert_with(|| {
        // Started by a thread that lives as long as the process: the kernel kills a server with the
        // thread that started it.
        let (sender, started) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            sender.send(pubsub()).unwrap();
            loop {
                std::thread::park();
            }
        });
        Arc::new(started.recv().unwrap())
    }))
}

/// Ends the shared server.
pub(crate) fn end() {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner).take();
}

/// A broker as one process has it.
struct Process {
    scope: Scope,
    broker: PubSub,
}

impl Process {
    fn of(server: &Server) -> Self {
        Self::at(server.address())
    }

    fn at(address: String) -> Self {
        let scope = Scope::default();
        let emulator = PubSubEndpoint::Emulator(address);
        let config = PubSubConfig::new(PROJECT).with_endpoint(emulator);
        Self { broker: PubSub::new(&config, &scope).unwrap(), scope }
    }

    async fn up(&self) {
        let is_up = async {
            while !self.broker.is_up() {
                clock::sleep(Duration::from_millis(10)).await;
            }
        };
        clock::timeout(PATIENCE, is_up).await.expect("the server is not found");
    }

    /// Subscribes and acknowledges everything.
    async fn listen(&self, topic: &str, queue: Option<&str>) -> (Subscription, Came) {
        let (sender, came) = mpsc::channel(1_000);
        let take = handler(move |delivery| {
            sender.try_send(delivery.clone()).unwrap();
            Ack::Ack
        });
        let mut options = SubscribeOptions::default();
        options.queue = queue.map(Into::into);
        (self.broker.subscribe(topic, options, take).await.unwrap(), came)
    }

    async fn end(self) {
        self.broker.close(clock::after(clock::now(), PATIENCE)).await.unwrap();
        drop(self.broker);
        // Nothing is left to be cut.
        let left = self.scope.tasks.wait(clock::after(clock::now(), PATIENCE)).await;
        assert_eq!(left, 0, "{:?}", self.scope.tasks.names());
    }
}

type Came = mpsc::Receiver<Delivery>;

async fn next(came: &mut Came) -> Delivery {
    clock::timeout(PATIENCE, came.recv()).await.expect("nothing comes").unwrap()
}

async fn next_letter(came: &mut Came) -> DeadLetter {
    DeadLetter::from_message(&next(came).await.message).unwrap()
}

fn tracker() -> TaskTracker {
    TaskTracker::new()
}

/// As whom the emulator is asked by Google's client.
fn nobody() -> Credentials {
    anonymous::Builder::new().build()
}

fn url(server: &Server) -> String {
    format!("http://{}", server.address())
}

fn topic() -> String {
    format!("test-{:016x}", rand())
}

/// Returns a number that no other test has.
fn rand() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

fn message(topic: &str, body: impl Into<Bytes>) -> Message {
    Message::new(topic, ContentType::Json, body.into())
}

/// Makes a handler that decides at once.
fn handler(decide: impl Fn(&Delivery) -> Ack + Send + Sync + 'static) -> Handler {
    Arc::new(move |delivery| {
        let ack = decide(&delivery);
        Box::pin(async move { ack })
    })
}
