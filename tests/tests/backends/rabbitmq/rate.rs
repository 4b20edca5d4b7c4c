//! Publishing until a handler has it, beside the bare client doing the same.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::options::QueueDeclareOptions;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions};
use lapin::options::{ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, SubscribeOptions};
use micro::core::clock;
use micro_tests::server::{RABBITMQ, Server, rabbitmq, trial};
use tokio::sync::Notify;

use super::{PATIENCE, Process, handler, message, topic, tracker};

/// Messages of one run.
const COUNT: usize = 10_000;
/// Those that publish at a time, and handlers.
const PUBLISHERS: usize = 64;
const CONCURRENCY: u16 = 64;
/// Runs of each, by turns; the best counts.
const RUNS: usize = 5;
const BODY: &[u8] = &[b'x'; 256];

pub(super) fn trials() -> Vec<Trial> {
    if std::env::var_os("MICRO_LONG").is_none_or(|value| value != "1") {
        return Vec::new();
    }
    vec![trial("rabbitmq::publishing_keeps_up_with_the_bare_client", &RABBITMQ, keeps_up)]
}

async fn keeps_up() {
    let server = rabbitmq();
    let (mut ours, mut theirs) = (f64::MAX, f64::MAX);
    for _ in 0..RUNS {
        theirs = theirs.min(bare(&server).await.as_secs_f64());
        ours = ours.min(micro(&server).await.as_secs_f64());
    }
    let rate = |seconds: f64| f64::from(u32::try_from(COUNT).unwrap()) / seconds;
    let ratio = theirs / ours;
    println!("micro {:.0}/s, lapin {:.0}/s, ratio {ratio:.2}", rate(ours), rate(theirs));
    assert!(ratio >= 0.8, "micro has {ratio:.2} of the bare client's rate");
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

async fn micro(server: &Server) -> Duration {
    let (process, topic, arrived) = (Process::of(server), topic(), Arc::new(Arrived::default()));
    let count = Arc::clone(&arrived);
    let take = handler(move |_| {
        count.one();
        Ack::Ack
    });
    let options = SubscribeOptions::default()
        .with_queue("q")
        .with_concurrency(NonZeroUsize::new(usize::from(CONCURRENCY)).unwrap());
    let _subscription = process.broker.subscribe(&topic, options, take).await.unwrap();
    process.broker.publish(message("warm", "")).await.unwrap();
    let (tracker, began) = (tracker(), Instant::now());
    let publishing: Vec<_> = (0..PUBLISHERS)
        .map(|n| {
            let (broker, topic) = (process.broker.clone(), topic.clone());
            tracker.spawn("publish", async move {
                for _ in (n..COUNT).step_by(PUBLISHERS) {
                    broker.publish(message(&topic, BODY)).await.unwrap();
                }
            })
        })
        .collect();
    clock::timeout(PATIENCE, arrived.1.notified()).await.unwrap();
    let took = began.elapsed();
    for one in publishing {
        one.await.unwrap();
    }
    took
}

async fn bare(server: &Server) -> Duration {
    let url = format!("amqp://guest:guest@{}/%2f", server.address());
    let connect = || Connection::connect(&url, ConnectionProperties::default());
    let (publishing, consuming) = (connect().await.unwrap(), connect().await.unwrap());
    let channel = publishing.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let consumer = consuming.create_channel().await.unwrap();
    let topic = topic();
    declare(&consumer, &topic).await;
    let (tracker, arrived) = (tracker(), Arc::new(Arrived::default()));
    let count = Arc::clone(&arrived);
    let queue = topic.as_str().into();
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut deliveries =
        consumer.basic_consume(queue, "".into(), options, arguments).await.unwrap();
    let taking = tracker.spawn("take", async move {
        while let Some(Ok(delivery)) = deliveries.next().await {
            count.one();
            delivery.ack(BasicAckOptions::default()).await.unwrap();
        }
    });
    let _taking = taking.abort_on_drop();
    let began = Instant::now();
    let publishing: Vec<_> = (0..PUBLISHERS)
        .map(|n| {
            let (channel, topic) = (channel.clone(), topic.clone());
            tracker.spawn("publish", async move {
                for _ in (n..COUNT).step_by(PUBLISHERS) {
                    let (exchange, key) = ("bare".into(), topic.as_str().into());
                    let properties = BasicProperties::default().with_delivery_mode(2);
                    let options = BasicPublishOptions::default();
                    let sent = channel.basic_publish(exchange, key, options, BODY, properties);
                    assert!(sent.await.unwrap().await.unwrap().is_ack());
                }
            })
        })
        .collect();
    clock::timeout(PATIENCE, arrived.1.notified()).await.unwrap();
    let took = began.elapsed();
    for one in publishing {
        one.await.unwrap();
    }
    took
}

/// Declares what the broker does: an exchange, and a quorum queue bound to it.
async fn declare(channel: &Channel, topic: &str) {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let nothing = FieldTable::default;
    channel.exchange_declare("bare".into(), ExchangeKind::Topic, options, nothing()).await.unwrap();
    let mut arguments = nothing();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(topic.into(), options, arguments).await.unwrap();
    let options = QueueBindOptions::default();
    channel
        .queue_bind(topic.into(), "bare".into(), topic.into(), options, nothing())
        .await
        .unwrap();
    channel.basic_qos(CONCURRENCY, BasicQosOptions::default()).await.unwrap();
}
