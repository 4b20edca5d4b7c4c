//! Publishing until a handler has it, beside Google's own client doing the same.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use google_cloud_pubsub::client::{Publisher, Subscriber, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::model::Message as Bare;
use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, SubscribeOptions};
use micro::core::clock;
use micro_tests::server::{Server, pubsub, pubsub_trial};
use tokio::sync::Notify;

use super::{PATIENCE, PROJECT, Process, handler, message, nobody, topic, tracker, url};

/// Messages of one run.
const COUNT: usize = 10_000;
/// Those that publish at a time, and handlers.
const PUBLISHERS: usize = 64;
const CONCURRENCY: usize = 64;
/// Runs of each, by turns; the best counts.
const RUNS: usize = 5;
const BODY: &[u8] = &[b'x'; 256];

pub(super) fn trials() -> Vec<Trial> {
    if std::env::var_os("MICRO_LONG").is_none_or(|value| value != "1") {
        return Vec::new();
    }
    vec![pubsub_trial("pubsub::publishing_keeps_up_with_the_bare_client", keeps_up)]
}

async fn keeps_up() {
    let server = pubsub();
    let (mut ours, mut theirs) = (f64::MAX, f64::MAX);
    for _ in 0..RUNS {
        theirs = theirs.min(bare(&server).await.as_secs_f64());
        ours = ours.min(micro(&server).await.as_secs_f64());
    }
    let rate = |seconds: f64| f64::from(u32::try_from(COUNT).unwrap()) / seconds;
    let ratio = theirs / ours;
    println!("micro {:.0}/s, Google's {:.0}/s, ratio {ratio:.2}", rate(ours), rate(theirs));
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
        .with_concurrency(NonZeroUsize::new(CONCURRENCY).unwrap());
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
    let name = format!("projects/{PROJECT}/topics/{}", topic());
    let subscription = name.replace("/topics/", "/subscriptions/");
    let topics = TopicAdmin::builder().with_endpoint(url(server)).with_credentials(nobody());
    topics.build().await.unwrap().create_topic().set_name(&name).send().await.unwrap();
    let admin = SubscriptionAdmin::builder().with_endpoint(url(server)).with_credentials(nobody());
    let create = admin.build().await.unwrap().create_subscription();
    create.set_name(&subscription).set_topic(&name).send().await.unwrap();
    let subscriber = Subscriber::builder().with_endpoint(url(server)).with_credentials(nobody());
    let mut stream = subscriber.build().await.unwrap().subscribe(subscription).build();
    // What is published is sent without waiting for more, as ours is: 64 publishers fill no batch of
    // theirs, and each would wait for its end.
    let publisher = Publisher::builder(name)
        .with_endpoint(url(server))
        .with_credentials(nobody())
        .set_delay_threshold(Duration::from_millis(1));
    let publisher = publisher.build().await.unwrap();
    let (tracker, arrived) = (tracker(), Arc::new(Arrived::default()));
    let count = Arc::clone(&arrived);
    let taking = tracker.spawn("take", async move {
        while let Some(Ok((_message, settle))) = stream.next().await {
            count.one();
            settle.ack();
        }
    });
    let _taking = taking.abort_on_drop();
    let began = Instant::now();
    let publishing: Vec<_> = (0..PUBLISHERS)
        .map(|n| {
            let publisher = publisher.clone();
            tracker.spawn("publish", async move {
                for _ in (n..COUNT).step_by(PUBLISHERS) {
                    publisher.publish(Bare::new().set_data(BODY)).await.unwrap();
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
