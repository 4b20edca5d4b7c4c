//! What becomes of events when the server fails.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, Delivery, Handler, SubscribeOptions};
use micro::core::error::{Error, Retry};
use micro::core::limits::Limits;
use micro_tests::server::{NATS, nats, trial};

use super::{
    collect, core, durable, is_long, is_quiet, message, next, number, queue, subscribe, within,
};

/// What is asked of a server that is away has failed by then: two seconds, and some for a machine
/// that is busy.
const FAILS_WITHIN: Duration = Duration::from_secs(8);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("nats::an_absent_server_is_used_once_it_is_there", &NATS, || absent(made_core)),
        trial("jetstream::an_absent_server_is_used_once_it_is_there", &NATS, || {
            absent(made_durable)
        }),
        trial("nats::subscriptions_come_back_with_the_server", &NATS, comes_back),
        trial("nats::a_paused_server_is_waited_for_and_then_given_up", &NATS, || paused(made_core)),
        trial("jetstream::a_paused_server_is_waited_for_and_then_given_up", &NATS, || {
            paused(made_durable)
        }),
        trial(
            "jetstream::nothing_acknowledged_is_lost_by_kills",
            &NATS,
            nothing_acknowledged_is_lost_by_kills,
        ),
    ]
}

fn made_core(port: u16) -> Arc<dyn Broker> {
    core(port, &Limits::DEFAULT)
}

fn made_durable(port: u16) -> Arc<dyn Broker> {
    let mut limits = Limits::DEFAULT;
    limits.broker.ack_timeout = Duration::from_secs(2);
    durable(port, &limits)
}

fn steady(port: u16) -> Arc<dyn Broker> {
    let mut limits = Limits::DEFAULT;
    // What is lost with a connection comes again after this.
    limits.broker.ack_timeout = Duration::from_secs(10);
    durable(port, &limits)
}

async fn absent(make: fn(u16) -> Arc<dyn Broker>) {
    let mut server = nats();
    server.kill();
    let broker = make(server.port());
    let began = Instant::now();
    let error = broker.publish(message("orders", 1)).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Safe), "{error}");
    assert!(began.elapsed() < FAILS_WITHIN, "{:?}", began.elapsed());
    let subscribing = {
        let broker = Arc::clone(&broker);
        tokio::spawn(async move { collect(&*broker, "orders", &queue("q", 1)).await })
    };
    server.start_again();
    let (_subscription, mut came) = within(subscribing).await.unwrap();
    publish(&*broker, 2).await;
    assert_eq!(number(&next(&mut came).await), 2);
    is_quiet(&mut came).await;
}

/// Publishes a message as often as it takes, which is safe.
async fn publish(broker: &dyn Broker, number: usize) {
    let message = message("orders", number);
    let published = async {
        while let Err(error) = broker.publish(message.clone()).await {
            assert_ne!(error.retry(), Retry::Never, "{error}");
        }
    };
    within(published).await;
}

/// Publishes without pause until told to stop, and returns which numbers were acknowledged and how
/// the others failed.
fn keep_publishing(
    broker: Arc<dyn Broker>,
    stop: &Arc<AtomicBool>,
) -> tokio::task::JoinHandle<(Vec<usize>, Vec<Error>)> {
    let stop = Arc::clone(stop);
    tokio::spawn(async move {
        let (mut taken, mut failed) = (Vec::new(), Vec::new());
        for number in 0.. {
            if stop.load(SeqCst) {
                break;
            }
            match broker.publish(message("orders", number)).await {
                Ok(()) => taken.push(number),
                Err(error) => failed.push(error),
            }
        }
        (taken, failed)
    })
}

async fn comes_back() {
    let mut server = nats();
    let (publisher, subscriber) =
        (core(server.port(), &Limits::DEFAULT), core(server.port(), &Limits::DEFAULT));
    let (_one, mut one) = collect(&*subscriber, "orders", &SubscribeOptions::default()).await;
    let (_group, mut group) = collect(&*subscriber, "orders", &queue("q", 1)).await;
    let (_other, mut other) = collect(&*publisher, "orders", &queue("q", 1)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = keep_publishing(Arc::<micro::broker::Nats>::clone(&publisher), &stop);
    for _ in 0..100 {
        next(&mut one).await;
    }
    let again = subscriber.reconnected();
    server.kill();
    server.start_again();
    within(again).await.unwrap();
    stop.store(true, SeqCst);
    let (taken, failed) = within(publishing).await.unwrap();
    for error in &failed {
        assert!(error.code() == 503 && error.retry() != Retry::Never, "{error}");
    }
    // Whoever is connected again has its subscriptions again.
    let mark = taken.last().unwrap() + 1_000_000;
    let both_are_there = async {
        loop {
            publish(&*publisher, mark).await;
            let came = tokio::time::timeout(Duration::from_millis(200), async {
                while number(&next(&mut one).await) != mark {}
            });
            if came.await.is_ok() {
                break;
            }
        }
    };
    within(both_are_there).await;
    // One member of the group gets each, once.
    let mut seen = HashMap::<usize, usize>::new();
    for came in [&mut group, &mut other] {
        while let Ok(Some(delivery)) =
            tokio::time::timeout(Duration::from_millis(500), came.recv()).await
        {
            *seen.entry(number(&delivery)).or_default() += 1;
        }
    }
    seen.remove(&mark);
    assert!(seen.values().all(|times| *times == 1), "a group gets a message twice");
    let missed = taken.iter().filter(|number| !seen.contains_key(number)).count();
    println!("core NATS: {} published, {} refused, {missed} missed", taken.len(), failed.len());
    drop(server);
}

async fn paused(make: fn(u16) -> Arc<dyn Broker>) {
    let server = nats();
    let broker = make(server.port());
    let (_subscription, mut came) = collect(&*broker, "orders", &queue("q", 1)).await;
    publish(&*broker, 1).await;
    assert_eq!(number(&next(&mut came).await), 1);
    server.pause();
    let pause = Duration::from_secs(if is_long() { 30 } else { 3 });
    let began = Instant::now();
    while began.elapsed() < pause {
        let asked = Instant::now();
        let outcome = broker.publish(message("orders", 2)).await;
        let error = outcome.expect_err("a paused server takes a message");
        assert!(error.code() == 503 && error.retry() != Retry::Never, "{error}");
        assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
    }
    server.resume();
    publish(&*broker, 3).await;
    let comes = async { while number(&next(&mut came).await) != 3 {} };
    within(comes).await;
}

async fn nothing_acknowledged_is_lost_by_kills() {
    let (count, pause, kills) = match is_long() {
        true => (100_000, Duration::from_secs(5), usize::MAX),
        false => (20_000, Duration::from_secs(1), 2),
    };
    let mut server = nats();
    let (publisher, subscriber) = (steady(server.port()), steady(server.port()));
    let (group, own) = (Seen::new(count), Seen::new(count));
    let (of_group, alone) = (queue("mailer", 8), SubscribeOptions::default());
    let _mailer = subscribe(&*subscriber, "orders", &of_group, &group.handler()).await;
    let _second = subscribe(&*publisher, "orders", &of_group, &group.handler()).await;
    let _own = subscribe(&*subscriber, "orders", &alone, &own.handler()).await;
    let began = Instant::now();
    let mut publishing = tokio::task::JoinSet::new();
    let share = count / 16;
    for part in 0..16 {
        let broker = Arc::clone(&publisher);
        publishing.spawn(async move {
            for number in part * share..(part + 1) * share {
                let message = message("orders", number);
                // Acknowledged in the end: the same message, so that it is taken once.
                while let Err(error) = broker.publish(message.clone()).await {
                    assert_ne!(error.retry(), Retry::Never, "{error}");
                }
            }
        });
    }
    let (mut killed, mut next_kill) = (0, Instant::now() + pause);
    loop {
        match tokio::time::timeout_at(next_kill.into(), publishing.join_next()).await {
            Ok(Some(done)) => done.unwrap(),
            Ok(None) => break,
            Err(_) => {
                // Here and not in another thread: the server ends with the thread that started it.
                if killed < kills {
                    server.kill();
                    server.start_again();
                    killed += 1;
                }
                next_kill = Instant::now() + pause;
            }
        }
    }
    let took = began.elapsed();
    let (group, own) = tokio::join!(group.account(), own.account());
    println!(
        "JetStream: {count} published in {took:?}, {killed} kills; lost 0; delivered twice: \
         {group} to a group, {own} to a subscription"
    );
    drop(server);
}

/// How often each number has come.
struct Seen(Vec<AtomicUsize>);

impl Seen {
    fn new(count: usize) -> Arc<Self> {
        Arc::new(Self((0..count).map(|_| AtomicUsize::new(0)).collect()))
    }

    fn handler(self: &Arc<Self>) -> Handler {
        let seen = Arc::clone(self);
        Arc::new(move |delivery: Delivery| {
            seen.0[number(&delivery)].fetch_add(1, SeqCst);
            Box::pin(std::future::ready(Ack::Ack))
        })
    }

    fn missing(&self) -> usize {
        self.0.iter().filter(|times| times.load(SeqCst) == 0).count()
    }

    /// Waits until every number has come, and returns how many deliveries were one too many.
    async fn account(&self) -> usize {
        let mut waited = 0;
        let mut missing = self.missing();
        while missing > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let left = self.missing();
            waited = if left < missing { 0 } else { waited + 1 };
            missing = left;
            assert!(waited < 900, "{missing} of {} are lost", self.0.len());
        }
        // What is under way at the end may come again.
        tokio::time::sleep(Duration::from_secs(3)).await;
        self.0.iter().map(|times| times.load(SeqCst) - 1).sum()
    }
}
