//! What is left of the broker's promises when the server is away, dies or hangs.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, RabbitMq, SubscribeOptions};
use micro::core::clock;
use micro::core::error::Retry;
use micro::driver::Link;
use micro_tests::server::{RABBITMQ, Server, rabbitmq, trial};
use tokio::sync::mpsc;

use super::{PATIENCE, Process, handler, message, topic, tracker};

/// How long a queue is there before its server is killed. The server writes which queues it has
/// every half second, and one that it forgot is not to be used again.
const SETTLED: Duration = Duration::from_secs(2);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "rabbitmq::a_server_that_comes_later_is_found",
            &RABBITMQ,
            a_server_that_comes_later_is_found,
        ),
        trial(
            "rabbitmq::no_acknowledged_message_is_lost_when_the_server_dies",
            &RABBITMQ,
            no_acknowledged_message_is_lost_when_the_server_dies,
        ),
        trial(
            "rabbitmq::a_server_that_hangs_for_a_while_loses_nothing",
            &RABBITMQ,
            a_server_that_hangs_for_a_while_loses_nothing,
        ),
    ]
}

fn is_long() -> bool {
    std::env::var_os("MICRO_LONG").is_some_and(|value| value == "1")
}

async fn a_server_that_comes_later_is_found() {
    let mut server = rabbitmq();
    server.kill();
    let (process, topic) = (Process::of(&server), topic());
    assert!(!process.amqp.is_up());
    let began = clock::now();
    let refused = process.broker.publish(message(&topic, "1")).await.unwrap_err();
    assert_eq!((refused.code(), refused.retry()), (503, Retry::Safe), "{refused}");
    let options = SubscribeOptions::default().with_queue("q");
    let nothing = handler(|_| Ack::Ack);
    let refused = process.broker.subscribe(&topic, options.clone(), nothing).await.unwrap_err();
    assert_eq!((refused.code(), refused.retry()), (503, Retry::Safe), "{refused}");
    assert!(clock::now() - began < Duration::from_secs(20), "what is asked meanwhile hangs");

    server.start_again();
    process.up().await;
    let (sender, mut came) = mpsc::channel(10);
    let take = handler(move |delivery| {
        sender.try_send(delivery.message.body.clone()).unwrap();
        Ack::Ack
    });
    // A subscription without a queue is made again, too.
    let (alone, mut alone_came) = mpsc::channel(10);
    let alone = handler(move |delivery| {
        alone.try_send(delivery.message.body.clone()).unwrap();
        Ack::Ack
    });
    let _subscription = process.broker.subscribe(&topic, options, take).await.unwrap();
    let _alone =
        process.broker.subscribe(&topic, SubscribeOptions::default(), alone).await.unwrap();
    process.broker.publish(message(&topic, "2")).await.unwrap();
    for came in [&mut came, &mut alone_came] {
        assert_eq!(clock::timeout(PATIENCE, came.recv()).await.unwrap().unwrap(), "2");
    }

    clock::sleep(SETTLED).await;
    server.kill();
    server.start_again();
    process.up().await;
    // Published until it arrives: nobody says when the subscription is made again.
    let arrives = async {
        loop {
            let _away = process.broker.publish(message(&topic, "3")).await.is_err();
            if let Ok(Some(body)) =
                clock::timeout(Duration::from_millis(200), alone_came.recv()).await
            {
                return body;
            }
        }
    };
    assert_eq!(clock::timeout(PATIENCE, arrives).await.unwrap(), "3");
    process.end().await;
}

/// What one run saw.
#[derive(Default)]
struct Seen {
    /// How often each message came.
    came: Mutex<HashMap<usize, usize>>,
    /// Messages whose publishing was acknowledged.
    published: Mutex<Vec<usize>>,
    failed: Mutex<HashMap<(u16, String), usize>>,
    /// All is published.
    is_over: AtomicBool,
}

impl Seen {
    /// Blocks until so many messages are acknowledged.
    fn wait_for(&self, count: usize) {
        while self.published.lock().unwrap().len() < count {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn lost(&self) -> Vec<usize> {
        let came = self.came.lock().unwrap();
        let published = self.published.lock().unwrap();
        published.iter().copied().filter(|number| !came.contains_key(number)).collect()
    }

    fn print(&self, what: &str) {
        let came = self.came.lock().unwrap();
        let duplicates: usize = came.values().map(|count| count - 1).sum();
        let published = self.published.lock().unwrap().len();
        println!(
            "{what}: {published} acknowledged, {} arrived, {duplicates} duplicates, failures {:?}",
            came.len(),
            self.failed.lock().unwrap()
        );
    }
}

/// Publishes numbers until as many are acknowledged as asked for, each failure under a number of
/// its own.
async fn publish(
    broker: RabbitMq,
    topic: String,
    numbers: std::ops::Range<usize>,
    seen: Arc<Seen>,
) {
    for number in numbers {
        loop {
            let Err(error) = broker.publish(message(&topic, number.to_string())).await else {
                seen.published.lock().unwrap().push(number);
                break;
            };
            assert!(matches!(error.retry(), Retry::Safe | Retry::Unknown), "{error}");
            let kind = (error.code(), format!("{:?}", error.retry()));
            *seen.failed.lock().unwrap().entry(kind).or_default() += 1;
            clock::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Runs publishers and a group against a server that `disturb` works on, and checks that what was
/// acknowledged arrives.
async fn run(
    server: Server,
    count: usize,
    what: &str,
    disturb: impl FnOnce(Server, &Seen) -> Server + Send + 'static,
) {
    const PUBLISHERS: usize = 50;
    let (process, topic, seen) = (Process::of(&server), topic(), Arc::new(Seen::default()));
    let record = Arc::clone(&seen);
    let take = handler(move |delivery| {
        let number = std::str::from_utf8(&delivery.message.body).unwrap().parse().unwrap();
        *record.came.lock().unwrap().entry(number).or_default() += 1;
        Ack::Ack
    });
    let options = SubscribeOptions::default()
        .with_queue("q")
        .with_concurrency(NonZeroUsize::new(64).unwrap());
    process.up().await;
    let subscription = process.broker.subscribe(&topic, options, take).await.unwrap();
    clock::sleep(SETTLED).await;
    let disturbing = {
        let seen = Arc::clone(&seen);
        tokio::task::spawn_blocking(move || disturb(server, &seen))
    };
    let tracker = tracker();
    let each = count / PUBLISHERS;
    let publishing: Vec<_> = (0..PUBLISHERS)
        .map(|n| {
            let numbers = n * each..(n + 1) * each;
            let one = publish(process.broker.clone(), topic.clone(), numbers, Arc::clone(&seen));
            tracker.spawn("publish", one)
        })
        .collect();
    for one in publishing {
        one.await.unwrap();
    }
    seen.is_over.store(true, SeqCst);
    let server = disturbing.await.unwrap();
    let arrived = async {
        while !seen.lost().is_empty() {
            clock::sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = clock::timeout(PATIENCE * 2, arrived).await.is_ok();
    seen.print(what);
    assert!(in_time, "{} acknowledged messages are lost: {}", seen.lost().len(), server.said());
    assert_eq!(seen.published.lock().unwrap().len(), each * PUBLISHERS);
    subscription.drain(clock::after(clock::now(), PATIENCE)).await.unwrap();
    process.end().await;
}

/// Promise 3.
async fn no_acknowledged_message_is_lost_when_the_server_dies() {
    let count = if is_long() { 100_000 } else { 3_000 };
    run(rabbitmq(), count, "kills", move |mut server, seen| {
        // In the middle of the load; then every five seconds while it lasts.
        seen.wait_for(if is_long() { 1_000 } else { count / 3 });
        let mut kills = 0;
        while kills == 0 || (is_long() && !seen.is_over.load(SeqCst)) {
            server.kill();
            server.start_again();
            kills += 1;
            std::thread::sleep(Duration::from_secs(if is_long() { 5 } else { 0 }));
        }
        println!("kills: {kills}");
        server
    })
    .await;
}

async fn a_server_that_hangs_for_a_while_loses_nothing() {
    let (count, pause) = if is_long() { (20_000, 30) } else { (2_000, 3) };
    run(rabbitmq(), count, "pause", move |server, seen| {
        seen.wait_for(count / 3);
        server.pause();
        std::thread::sleep(Duration::from_secs(pause));
        server.resume();
        server
    })
    .await;
}
