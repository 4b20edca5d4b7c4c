//! Publish to deliver, beside the bare client in the same run.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures_util::StreamExt;
use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, Handler, Message};
use micro::core::content_type::ContentType;
use micro::core::limits::Limits;
use micro_tests::server::NATS;
use micro_tests::server::{Server, trial, words};
use tokio::sync::Notify;

use super::{core, durable, is_long, queue, subscribe, within};

/// Publishers at a time, in this process.
const PUBLISHERS: usize = 256;

/// Bytes of a body.
const BODY: usize = 256;

/// How much of the bare client's rate is reached at least, where it is measured.
const RATIO_MIN: f64 = 0.8;

/// Messages of a client that does not wait: it loses them where its subscription has no room.
const UNSURE: usize = 2_560;

/// Rounds of each, one after the other; the median counts.
const ROUNDS: usize = 5;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("nats::publish_to_deliver_is_near_the_bare_client", &NATS, core_speed),
        trial("jetstream::publish_to_deliver_is_near_the_bare_client", &NATS, durable_speed),
    ]
}

/// Starts a server that writes as it does by default: with each write synced it is the disk that is
/// measured.
fn server() -> Server {
    Server::start(NATS, |place| {
        let (port, data) = (place.port.to_string(), place.folder.join("data"));
        words(place, &["-a", "127.0.0.1", "-p", &port, "-js", "-sd", &data.to_string_lossy()])
    })
}

async fn core_speed() {
    let count = if is_long() { 40_960 } else { 2_560 };
    let server = server();
    let mut limits = Limits::DEFAULT;
    limits.broker.pending_messages_max = 65_536;
    limits.broker.pending_bytes_max = 1 << 30;
    let (publisher, subscriber) = (core(server.port(), &limits), core(server.port(), &limits));
    let ours = Ours::new(publisher, &*subscriber).await;
    let bare = BareCore::new(&server).await;
    let (mut own, mut raw, mut unsure) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        unsure.push(bare.round(UNSURE, false).await);
        raw.push(bare.round(count, true).await);
        own.push(ours.round(count).await);
    }
    compare("core NATS, a client that does not wait", UNSURE, &own, &unsure);
    hold("core NATS", compare("core NATS", count, &own, &raw));
}

async fn durable_speed() {
    let count = if is_long() { 20_480 } else { 1_280 };
    let server = server();
    let limits = &Limits::DEFAULT;
    let ours = Ours::new(durable(server.port(), limits), &*durable(server.port(), limits)).await;
    let bare = BareDurable::new(&server).await;
    let (mut own, mut raw) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        raw.push(bare.round(count).await);
        own.push(ours.round(count).await);
    }
    hold("JetStream", compare("JetStream", count, &own, &raw));
}

fn compare(what: &str, count: usize, own: &[Duration], raw: &[Duration]) -> f64 {
    let median = |all: &[Duration]| {
        let mut all = all.to_vec();
        all.sort();
        all[all.len() / 2].as_secs_f64()
    };
    let (own, raw) = (median(own), median(raw));
    let ratio = raw / own;
    let rate = |seconds: f64| f64::from(u32::try_from(count).unwrap()) / seconds;
    println!(
        "{what}: publish to deliver {:.0}/s, bare client {:.0}/s, ratio {ratio:.2}",
        rate(own),
        rate(raw)
    );
    ratio
}

fn hold(what: &str, ratio: f64) {
    assert!(!is_long() || ratio >= RATIO_MIN, "{what}: {ratio:.2} of the bare client");
}

/// Counts what arrives.
#[derive(Default)]
struct Arrived {
    count: AtomicUsize,
    wanted: AtomicUsize,
    all: Notify,
}

impl Arrived {
    fn one(&self) {
        if self.count.fetch_add(1, SeqCst) + 1 == self.wanted.load(Relaxed) {
            self.all.notify_one();
        }
    }

    fn expect(&self, count: usize) {
        self.count.store(0, SeqCst);
        self.wanted.store(count, SeqCst);
    }
}

fn message() -> Message {
    Message::new("orders", ContentType::Json, Bytes::from_static(&[b'x'; BODY]))
}

struct Ours<B> {
    publisher: Arc<B>,
    arrived: Arc<Arrived>,
    _subscription: micro::broker::Subscription,
}

impl<B: Broker> Ours<B> {
    async fn new(publisher: Arc<B>, subscriber: &dyn Broker) -> Self {
        let arrived = Arc::<Arrived>::default();
        let arrives = Arc::clone(&arrived);
        let handler: Handler = Arc::new(move |_| {
            arrives.one();
            Box::pin(std::future::ready(Ack::Ack))
        });
        let subscription = subscribe(subscriber, "orders", &queue("q", 1), &handler).await;
        Self { publisher, arrived, _subscription: subscription }
    }

    async fn round(&self, count: usize) -> Duration {
        self.arrived.expect(count);
        let began = Instant::now();
        let mut publishing = tokio::task::JoinSet::new();
        for _ in 0..PUBLISHERS {
            let publisher = Arc::clone(&self.publisher);
            publishing.spawn(async move {
                for _ in 0..count / PUBLISHERS {
                    publisher.publish(message()).await.unwrap();
                }
            });
        }
        while let Some(done) = publishing.join_next().await {
            done.unwrap();
        }
        within(self.arrived.all.notified()).await;
        began.elapsed()
    }
}

/// The headers that a message of ours has.
fn headers(message: &Message) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", message.id.as_str());
    headers.insert("Content-Type", message.content_type.as_str());
    headers
}

struct BareCore {
    publisher: Client,
    arrived: Arc<Arrived>,
}

impl BareCore {
    async fn new(server: &Server) -> Self {
        let publisher = async_nats::connect(server.address()).await.unwrap();
        let subscriber = async_nats::connect(server.address()).await.unwrap();
        let mut subscription = subscriber.queue_subscribe("bare", "q".to_owned()).await.unwrap();
        subscriber.flush().await.unwrap();
        let arrived = Arc::<Arrived>::default();
        let arrives = Arc::clone(&arrived);
        tokio::spawn(async move {
            while subscription.next().await.is_some() {
                arrives.one();
            }
        });
        Self { publisher, arrived }
    }

    /// Publishes and, if each is `flushed`, waits until each has left: the nearest that the client
    /// has to the server's word, for which our broker waits.
    async fn round(&self, count: usize, flushed: bool) -> Duration {
        self.arrived.expect(count);
        let began = Instant::now();
        let mut publishing = tokio::task::JoinSet::new();
        for _ in 0..PUBLISHERS {
            let publisher = self.publisher.clone();
            publishing.spawn(async move {
                for _ in 0..count / PUBLISHERS {
                    let message = message();
                    let headers = headers(&message);
                    publisher.publish_with_headers("bare", headers, message.body).await.unwrap();
                    if flushed {
                        publisher.flush().await.unwrap();
                    }
                }
            });
        }
        while let Some(done) = publishing.join_next().await {
            done.unwrap();
        }
        self.publisher.flush().await.unwrap();
        within(self.arrived.all.notified()).await;
        began.elapsed()
    }
}

struct BareDurable {
    publisher: async_nats::jetstream::Context,
    arrived: Arc<Arrived>,
}

impl BareDurable {
    async fn new(server: &Server) -> Self {
        let connect = || async { async_nats::connect(server.address()).await.unwrap() };
        let publisher = async_nats::jetstream::new(connect().await);
        let subscriber = async_nats::jetstream::new(connect().await);
        let stream = Config {
            name: "bare".to_owned(),
            subjects: vec!["bare.>".to_owned()],
            retention: RetentionPolicy::Interest,
            discard: DiscardPolicy::New,
            max_bytes: 1 << 30,
            ..Config::default()
        };
        let stream = subscriber.create_stream(stream).await.unwrap();
        let consumer = pull::Config {
            durable_name: Some("q".to_owned()),
            deliver_policy: DeliverPolicy::New,
            ack_policy: AckPolicy::Explicit,
            filter_subject: "bare.orders".to_owned(),
            max_ack_pending: 65_536,
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(consumer).await.unwrap();
        let mut messages = consumer.stream().max_messages_per_batch(256).messages().await.unwrap();
        let arrived = Arc::<Arrived>::default();
        let arrives = Arc::clone(&arrived);
        tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                arrives.one();
                message.unwrap().ack().await.unwrap();
            }
        });
        Self { publisher, arrived }
    }

    async fn round(&self, count: usize) -> Duration {
        self.arrived.expect(count);
        let began = Instant::now();
        let mut publishing = tokio::task::JoinSet::new();
        for _ in 0..PUBLISHERS {
            let publisher = self.publisher.clone();
            publishing.spawn(async move {
                for _ in 0..count / PUBLISHERS {
                    let message = message();
                    let headers = headers(&message);
                    let ack =
                        publisher.publish_with_headers("bare.orders", headers, message.body).await;
                    ack.unwrap().await.unwrap();
                }
            });
        }
        while let Some(done) = publishing.join_next().await {
            done.unwrap();
        }
        within(self.arrived.all.notified()).await;
        began.elapsed()
    }
}
