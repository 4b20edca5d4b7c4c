//! The brokers on NATS: core and JetStream.

mod core;
mod durable;
mod failing;
mod speed;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use libtest_mimic::Trial;
use micro::broker::{self, Ack, Broker, Delivery, Handler, JetStreamOptions, Message};
use micro::broker::{SubscribeOptions, Subscription};
use micro::core::content_type::ContentType;
use micro::core::future::BoxFuture;
use micro::core::limits::Limits;
use micro::core::shutdown::TaskTracker;
use micro::driver;
use micro::testkit;
use micro_tests::server::trial;
use micro_tests::server::{NATS, nats};
use tokio::sync::mpsc;

/// What has to happen happens within this time: no measure of speed, the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// What does not happen within this time after all else is not going to.
const QUIET: Duration = Duration::from_secs(1);

/// Deliveries that a test looks at, at most.
const INBOX_MAX: usize = 200_000;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("nats::the_broker_conforms", &NATS, || conforms(core_pair)),
        trial("jetstream::the_broker_conforms", &NATS, || conforms(durable_pair)),
    ];
    trials.extend(core::trials());
    trials.extend(durable::trials());
    trials.extend(failing::trials());
    trials.extend(speed::trials());
    trials
}

/// Runs the suite on a pair of processes' brokers at a server of its own.
async fn conforms(pair: fn(u16) -> Arc<dyn Broker>) {
    let server = nats();
    let port = server.port();
    let make =
        move || -> BoxFuture<'static, Arc<dyn Broker>> { Box::pin(async move { pair(port) }) };
    testkit::broker::conforms(&make).await;
}

fn core_pair(port: u16) -> Arc<dyn Broker> {
    let mut limits = Limits::DEFAULT;
    // The suite has a slow subscription that loses nothing: here that is one with room.
    limits.broker.pending_messages_max = 10_000;
    Arc::new(testkit::broker::Pair::new(core(port, &limits), core(port, &limits)))
}

fn durable_pair(port: u16) -> Arc<dyn Broker> {
    let limits = &Limits::DEFAULT;
    Arc::new(testkit::broker::Pair::new(durable(port, limits), durable(port, limits)))
}

fn link(port: u16, tasks: &TaskTracker) -> Arc<driver::Nats> {
    let server = driver::Server::new("127.0.0.1", port);
    Arc::new(driver::Nats::open(&server, tasks).unwrap())
}

fn core(port: u16, limits: &Limits) -> Arc<broker::Nats> {
    let tasks = TaskTracker::new();
    Arc::new(broker::Nats::new(&link(port, &tasks), limits, tasks))
}

fn durable(port: u16, limits: &Limits) -> Arc<broker::JetStream> {
    durable_with(port, limits, JetStreamOptions::default())
}

fn durable_with(port: u16, limits: &Limits, options: JetStreamOptions) -> Arc<broker::JetStream> {
    let tasks = TaskTracker::new();
    let nats = link(port, &tasks);
    Arc::new(broker::JetStream::new(&nats, options, limits, tasks).unwrap())
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
        sender.try_send(delivery).unwrap();
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
                Err(error) => assert_eq!(error.retry(), micro::core::error::Retry::Safe, "{error}"),
            }
        }
    };
    within(made).await
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
