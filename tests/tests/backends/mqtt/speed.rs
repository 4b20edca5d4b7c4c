//! Publish to deliver, beside the bare client in the same run.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use bytes::Bytes;
use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, Handler, Message, Mqtt};
use micro::core::content_type::ContentType;
use micro_tests::server::{MOSQUITTO, mosquitto_with, trial};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, EventLoop};
use rumqttc::{NetworkOptions, Outgoing};
use tokio::sync::{Notify, Semaphore, oneshot};

use super::{broker, is_long, queue, subscribe, within};

/// Publishers at a time, in this process.
const PUBLISHERS: usize = 64;

/// Bytes of a body.
const BODY: usize = 256;

/// How much of the bare client's rate is reached at least, where it is measured.
const RATIO_MIN: f64 = 0.8;

/// Rounds of each, one after the other; the median counts.
const ROUNDS: usize = 5;

/// Messages that the server lets a client have under way.
const WINDOW: usize = 256;

pub(super) fn trials() -> Vec<Trial> {
    vec![trial("mqtt::publish_to_deliver_is_near_the_bare_client", &MOSQUITTO, speed)]
}

async fn speed() {
    let count = if is_long() { 40_960 } else { 2_560 };
    let server = mosquitto_with("allow_anonymous true\nmax_inflight_messages 256");
    let ours = Ours::new(server.port()).await;
    let bare = Bare::new(server.port()).await;
    let (mut own, mut raw) = (Vec::new(), Vec::new());
    ours.round(count / 4).await;
    bare.round(count / 4).await;
    for _ in 0..ROUNDS {
        raw.push(bare.round(count).await);
        own.push(ours.round(count).await);
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64()
    };
    let (own, raw) = (median(&mut own), median(&mut raw));
    let rate = |seconds: f64| f64::from(u32::try_from(count).unwrap()) / seconds;
    let ratio = raw / own;
    println!(
        "mqtt: publish to deliver {:.0}/s, bare client {:.0}/s, ratio {ratio:.2}",
        rate(own),
        rate(raw)
    );
    // Without optimization what is measured is the compiler.
    let is_measured = is_long() && !cfg!(debug_assertions);
    assert!(!is_measured || ratio >= RATIO_MIN, "{ratio:.2} of the bare client");
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

/// Publishes with so many at a time and waits for the last delivery.
async fn round<F: Future<Output = ()> + Send + 'static>(
    arrived: &Arrived,
    count: usize,
    publish: impl Fn() -> F + Clone + Send + 'static,
) -> Duration {
    arrived.expect(count / PUBLISHERS * PUBLISHERS);
    let began = Instant::now();
    let mut publishing = tokio::task::JoinSet::new();
    for _ in 0..PUBLISHERS {
        let publish = publish.clone();
        publishing.spawn(async move {
            for _ in 0..count / PUBLISHERS {
                publish().await;
            }
        });
    }
    while let Some(done) = publishing.join_next().await {
        done.unwrap();
    }
    within(arrived.all.notified()).await;
    began.elapsed()
}

struct Ours {
    publisher: Arc<Mqtt>,
    arrived: Arc<Arrived>,
    _subscription: micro::broker::Subscription,
}

impl Ours {
    async fn new(port: u16) -> Self {
        let arrived = Arc::<Arrived>::default();
        let arrives = Arc::clone(&arrived);
        let handler: Handler = Arc::new(move |_| {
            arrives.one();
            Box::pin(std::future::ready(Ack::Ack))
        });
        let subscription = subscribe(&*broker(port), "orders", &queue("q", 1), &handler).await;
        Self { publisher: broker(port), arrived, _subscription: subscription }
    }

    async fn round(&self, count: usize) -> Duration {
        let publisher = Arc::clone(&self.publisher);
        let publish = move || {
            let publisher = Arc::clone(&publisher);
            async move { publisher.publish(message()).await.unwrap() }
        };
        round(&self.arrived, count, publish).await
    }
}

/// What is under way: those who wait, in the order of the client's queue, and by packet.
#[derive(Default)]
struct Waiting {
    asked: std::collections::VecDeque<oneshot::Sender<()>>,
    sent: std::collections::HashMap<u16, oneshot::Sender<()>>,
}

/// The client alone, which confirms as ours does: with less nobody knows of a message.
struct Bare {
    publisher: AsyncClient,
    places: Arc<Semaphore>,
    waiting: Arc<Mutex<Waiting>>,
    arrived: Arc<Arrived>,
}

fn bare(port: u16, name: &str) -> (AsyncClient, EventLoop) {
    let mut options = rumqttc::v5::MqttOptions::new(name, "127.0.0.1", port);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network).set_manual_acks(true).set_receive_maximum(Some(256));
    options.set_outgoing_inflight_upper_limit(1024);
    AsyncClient::new(options, 2048)
}

impl Bare {
    async fn new(port: u16) -> Self {
        let arrived = Arc::<Arrived>::default();
        let arrives = Arc::clone(&arrived);
        let (subscriber, mut events) = bare(port, "bare-subscriber");
        subscriber.subscribe("$share/q/bare", QoS::AtLeastOnce).await.unwrap();
        let (ready, is_ready) = oneshot::channel();
        let mut ready = Some(ready);
        tokio::spawn(async move {
            while let Ok(event) = events.poll().await {
                match event {
                    Event::Incoming(Packet::Publish(publish)) => {
                        subscriber.try_ack(&publish).unwrap();
                        arrives.one();
                    }
                    Event::Incoming(Packet::SubAck(_)) => {
                        let _told = ready.take().map(|ready| ready.send(()));
                    }
                    _ => {}
                }
            }
        });
        within(is_ready).await.unwrap();
        let (publisher, mut events) = bare(port, "bare-publisher");
        let waiting = Arc::<Mutex<Waiting>>::default();
        let answered = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Ok(event) = events.poll().await {
                let mut waiting = answered.lock().unwrap();
                match event {
                    Event::Outgoing(Outgoing::Publish(number)) => {
                        let sender = waiting.asked.pop_front().unwrap();
                        waiting.sent.insert(number, sender);
                    }
                    Event::Incoming(Packet::PubAck(ack)) => {
                        waiting.sent.remove(&ack.pkid).unwrap().send(()).unwrap();
                    }
                    _ => {}
                }
            }
        });
        Self { publisher, places: Arc::new(Semaphore::new(WINDOW)), waiting, arrived }
    }

    async fn round(&self, count: usize) -> Duration {
        let (publisher, places) = (self.publisher.clone(), Arc::clone(&self.places));
        let waiting = Arc::clone(&self.waiting);
        let publish = move || {
            let (publisher, places) = (publisher.clone(), Arc::clone(&places));
            let waiting = Arc::clone(&waiting);
            async move {
                let _place = places.acquire().await.unwrap();
                let message = message();
                let properties = PublishProperties {
                    content_type: Some(message.content_type.as_str().to_owned()),
                    user_properties: vec![("Micro-Message-Id".to_owned(), message.id)],
                    ..PublishProperties::default()
                };
                let (sender, confirmed) = oneshot::channel();
                {
                    let mut waiting = waiting.lock().unwrap();
                    let (qos, body) = (QoS::AtLeastOnce, message.body);
                    publisher
                        .try_publish_with_properties("bare", qos, false, body, properties)
                        .unwrap();
                    waiting.asked.push_back(sender);
                }
                confirmed.await.unwrap();
            }
        };
        round(&self.arrived, count, publish).await
    }
}
