//! The broker on MQTT, against Mosquitto.

mod contract;
mod failing;
mod foreign;
mod speed;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, Delivery, Handler, Message, Mqtt, MqttOptions};
use micro::broker::{SubscribeOptions, Subscription};
use micro::core::content_type::ContentType;
use micro::core::error::Retry;
use micro::core::limits::Limits;
use micro::core::shutdown::{Shutdown, TaskTracker};
use micro::driver;
use micro::transport::Scope;
use tokio::sync::mpsc;

/// What has to happen happens within this time: no measure of speed, the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// What does not happen within this time after all else is not going to.
const QUIET: Duration = Duration::from_secs(1);

/// Deliveries that a test looks at, at most.
const INBOX_MAX: usize = 200_000;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = contract::trials();
    trials.extend(failing::trials());
    trials.extend(foreign::trials());
    trials.extend(speed::trials());
    trials
}

/// A broker as a process of its own would have it.
fn broker(port: u16) -> Arc<Mqtt> {
    broker_with(port, MqttOptions::default(), Limits::DEFAULT)
}

/// A broker of a process that has a name.
fn named(port: u16, client: &str) -> Arc<Mqtt> {
    broker_with(port, MqttOptions::default().with_client(client), Limits::DEFAULT)
}

fn broker_with(port: u16, options: MqttOptions, limits: Limits) -> Arc<Mqtt> {
    let scope = Scope::new(Arc::new(limits), TaskTracker::new(), Shutdown::new());
    let server = driver::Server::new("127.0.0.1", port);
    Arc::new(Mqtt::open(&server, options, &scope).unwrap())
}

/// A name that no other process has.
fn unique(name: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("{name}-{}", NEXT.fetch_add(1, Relaxed))
}

fn message(topic: &str, number: usize) -> Message {
    Message::new(topic, ContentType::Json, Bytes::from(number.to_string()))
}

fn number(delivery: &Delivery) -> usize {
    std::str::from_utf8(&delivery.message.body).unwrap().parse().unwrap()
}

fn queue(name: &str, concurrency: usize) -> SubscribeOptions {
    let concurrency = NonZeroUsize::new(concurrency).unwrap();
    SubscribeOptions::default().with_queue(name).with_concurrency(concurrency)
}

/// Subscribes, however long the server is away, and tells of each delivery before it is settled.
async fn collect(
    broker: &dyn Broker,
    topic: &str,
    options: &SubscribeOptions,
) -> (Subscription, mpsc::Receiver<Delivery>) {
    let (sender, came) = mpsc::channel(INBOX_MAX);
    let handler: Handler = Arc::new(move |delivery: Delivery| {
        // A test that is over looks at nothing any more.
        let _over = sender.try_send(delivery).is_err();
        Box::pin(async { Ack::Ack })
    });
    (subscribe(broker, topic, options, &handler).await, came)
}

async fn subscribe(
    broker: &dyn Broker,
    topic: &str,
    options: &SubscribeOptions,
    handler: &Handler,
) -> Subscription {
    let made = async {
        loop {
            match broker.subscribe(topic, options.clone(), Arc::clone(handler)).await {
                Ok(subscription) => return subscription,
                Err(error) => assert_eq!(error.retry(), Retry::Safe, "{error}"),
            }
        }
    };
    within(made).await
}

/// Publishes a message as often as it takes, which may deliver it twice.
async fn publish(broker: &dyn Broker, number: usize) {
    let message = message("orders", number);
    let published = async {
        while let Err(error) = broker.publish(message.clone()).await {
            assert_ne!(error.retry(), Retry::Never, "{error}");
        }
    };
    within(published).await;
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it does not happen")
}

async fn next(came: &mut mpsc::Receiver<Delivery>) -> Delivery {
    within(came.recv()).await.expect("the subscription has ended")
}

/// Asserts that nothing more comes.
async fn is_quiet(came: &mut mpsc::Receiver<Delivery>) {
    if let Ok(Some(more)) = tokio::time::timeout(QUIET, came.recv()).await {
        panic!("{more:?} comes and should not");
    }
}

fn is_long() -> bool {
    std::env::var_os("MICRO_LONG").is_some_and(|value| value == "1")
}
