//! The broker on Kafka, against the mock cluster that its client library brings: servers in this
//! process that speak Kafka's protocol on loopback, go down and come back, and fail on demand.

mod contract;
mod failing;
mod groups;
mod member;
mod rate;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, Delivery, Handler, Kafka, KafkaClient, KafkaConfig, Message};
use micro::broker::{SubscribeOptions, Subscription};
use micro::core::clock;
use micro::core::content_type::ContentType;
use micro::core::error::Retry;
use micro::core::limits::Limits;
use micro::core::shutdown::TaskTracker;
use micro::driver::{Link, ServerUrl};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tokio::sync::mpsc;

/// What has to happen happens within this time: no measure of speed, the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// What does not happen within this time after all else is not going to.
const QUIET: Duration = Duration::from_secs(1);

/// Deliveries that a test looks at, at most.
const INBOX_MAX: usize = 300_000;

pub(crate) fn trials() -> Vec<Trial> {
    let trials =
        [contract::trials(), groups::trials(), failing::trials(), member::trials(), rate::trials()];
    trials.into_iter().flatten().collect()
}

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// Starts servers that end with the test.
fn cluster(servers: i32) -> Cluster {
    MockCluster::new(servers).unwrap()
}

/// A broker as one process has it.
struct Process {
    tasks: TaskTracker,
    client: Arc<KafkaClient>,
    broker: Arc<Kafka>,
}

impl Process {
    fn new(addresses: &str, config: KafkaConfig, limits: &Limits) -> Self {
        let url = ServerUrl::parse(&format!("kafka://{addresses}"), KafkaConfig::PORT).unwrap();
        let tasks = TaskTracker::new();
        let client = KafkaClient::open(url.server(), config, limits, &tasks).unwrap();
        let client = Arc::new(client);
        let broker = Arc::new(Kafka::new(&client, limits, tasks.clone()));
        Self { tasks, client, broker }
    }

    fn of(cluster: &Cluster) -> Self {
        Self::with(cluster, KafkaConfig::default())
    }

    fn with(cluster: &Cluster, config: KafkaConfig) -> Self {
        Self::new(&cluster.bootstrap_servers(), config, &Limits::DEFAULT)
    }

    async fn is_up(&self, wanted: bool) {
        let changes = async {
            while self.client.is_up() != wanted {
                clock::sleep(Duration::from_millis(10)).await;
            }
        };
        within(changes).await;
    }

    async fn end(self) {
        self.broker.close(clock::after(clock::now(), PATIENCE)).await.unwrap();
        drop((self.broker, self.client));
        let left = self.tasks.wait(clock::after(clock::now(), PATIENCE)).await;
        assert_eq!(left, 0, "tasks outlive their broker: {:?}", self.tasks.names());
    }
}

fn topic() -> String {
    // Two are never the same: ids are unique.
    format!("test-{}", Message::new("t", ContentType::Json, Bytes::new()).id)
}

fn message(topic: &str, number: usize) -> Message {
    Message::new(topic, ContentType::Json, Bytes::from(number.to_string()))
}

/// A message of the key `one`, where the key is the metadata `key`.
fn keyed(topic: &str, number: usize) -> Message {
    let mut message = message(topic, number);
    message.metadata.insert("key", "one").unwrap();
    message
}

fn number(delivery: &Delivery) -> usize {
    std::str::from_utf8(&delivery.message.body).unwrap().parse().unwrap()
}

fn queue(name: &str, concurrency: usize) -> SubscribeOptions {
    let concurrency = NonZeroUsize::new(concurrency).unwrap();
    SubscribeOptions::default().with_queue(name).with_concurrency(concurrency)
}

/// Subscribes, however long the servers are away, and tells of each delivery before it is settled.
async fn collect(
    broker: &Kafka,
    topic: &str,
    options: &SubscribeOptions,
) -> (Subscription, mpsc::Receiver<Delivery>) {
    let (sender, came) = mpsc::channel(INBOX_MAX);
    let handler: Handler = Arc::new(move |delivery: Delivery| {
        // The test may have seen enough.
        let _gone = sender.try_send(delivery).is_err();
        Box::pin(async { Ack::Ack })
    });
    (subscribe(broker, topic, options, &handler).await, came)
}

async fn subscribe(
    broker: &Kafka,
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

async fn drain(subscription: Subscription) {
    subscription.drain(clock::after(clock::now(), PATIENCE)).await.unwrap();
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
