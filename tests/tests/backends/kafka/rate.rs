//! Publishing until a handler has it, beside the bare client doing the same.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use bytes::Bytes;
use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, Handler, Message, SubscribeOptions};
use micro::core::content_type::ContentType;
use micro_tests::server::trial_alone;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::Notify;

use super::{Cluster, Process, cluster, subscribe, topic, within};

/// Messages of one run.
const COUNT: usize = 10_000;
/// Those that publish at a time, and handlers.
const PUBLISHERS: usize = 64;
/// Runs of each, by turns; the best counts.
const RUNS: usize = 5;
const BODY: &[u8] = &[b'x'; 256];

pub(super) fn trials() -> Vec<Trial> {
    if !super::is_long() {
        return Vec::new();
    }
    vec![trial_alone("kafka::publishing_keeps_up_with_the_bare_client", keeps_up)]
}

async fn keeps_up() {
    let cluster = cluster(1);
    let (mut ours, mut theirs) = (f64::MAX, f64::MAX);
    for _ in 0..RUNS {
        theirs = theirs.min(bare_client(&cluster).await.as_secs_f64());
        ours = ours.min(micro(&cluster).await.as_secs_f64());
    }
    let rate = |seconds: f64| f64::from(u32::try_from(COUNT).unwrap()) / seconds;
    let ratio = theirs / ours;
    println!("micro {:.0}/s, rdkafka {:.0}/s, ratio {ratio:.2}", rate(ours), rate(theirs));
    assert!(ratio >= 0.5, "micro has {ratio:.2} of the bare client's rate");
}

/// Counts what arrives.
#[derive(Default)]
struct Arrived(AtomicUsize, Notify);

impl Arrived {
    fn one(&self) {
        if self.0.fetch_add(1, SeqCst) + 1 == COUNT {
            self.1.notify_one();
        }
    }
}

async fn micro(cluster: &Cluster) -> Duration {
    let (process, topic, arrived) = (Process::of(cluster), topic(), Arc::new(Arrived::default()));
    let count = Arc::clone(&arrived);
    let handler: Handler = Arc::new(move |_| {
        count.one();
        Box::pin(async { Ack::Ack })
    });
    let concurrency = NonZeroUsize::new(PUBLISHERS).unwrap();
    let options = SubscribeOptions::default().with_queue("q").with_concurrency(concurrency);
    let _subscription = subscribe(&process.broker, &topic, &options, &handler).await;
    let began = Instant::now();
    let publish = |n| {
        let (broker, topic) = (Arc::clone(&process.broker), topic.clone());
        tokio::spawn(async move {
            for _ in (n..COUNT).step_by(PUBLISHERS) {
                let body = Bytes::from_static(BODY);
                broker.publish(Message::new(&topic, ContentType::Json, body)).await.unwrap();
            }
        })
    };
    let publishing: Vec<_> = (0..PUBLISHERS).map(publish).collect();
    within(arrived.1.notified()).await;
    let took = began.elapsed();
    for one in publishing {
        one.await.unwrap();
    }
    took
}

/// The client as its documentation shows it, with the same confirmations.
async fn bare_client(cluster: &Cluster) -> Duration {
    let topic = topic();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers());
    let producer: FutureProducer = config
        .clone()
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .create()
        .unwrap();
    let to = |topic| FutureRecord::<str, [u8]>::to(topic).payload(BODY);
    // Makes the topic, which the group begins behind.
    producer.send(to(&topic), Duration::from_secs(30)).await.unwrap();
    let consumer: StreamConsumer = config
        .set("group.id", format!("q:{topic}"))
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[&topic]).unwrap();
    within(consumer.recv()).await.unwrap();
    let arrived = Arc::new(Arrived::default());
    let taking = {
        let arrived = Arc::clone(&arrived);
        tokio::spawn(async move {
            while let Ok(record) = consumer.recv().await {
                drop(record);
                arrived.one();
            }
        })
    };
    let began = Instant::now();
    let publish = |n| {
        let (producer, topic) = (producer.clone(), topic.clone());
        tokio::spawn(async move {
            for _ in (n..COUNT).step_by(PUBLISHERS) {
                let record = FutureRecord::<str, [u8]>::to(&topic).payload(BODY);
                producer.send(record, Duration::from_secs(30)).await.unwrap();
            }
        })
    };
    let publishing: Vec<_> = (0..PUBLISHERS).map(publish).collect();
    within(arrived.1.notified()).await;
    let took = began.elapsed();
    for one in publishing {
        one.await.unwrap();
    }
    taking.abort();
    took
}
