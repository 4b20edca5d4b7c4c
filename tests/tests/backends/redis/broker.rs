//! The broker on streams, and what becomes of it when its server or a process fails.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use micro::broker::{
    Ack, Broker, Delivery, Handler, Message, Redis, SubscribeOptions, Subscription,
};
use micro::core::content_type::ContentType;
use micro::core::error::Retry;
use micro::core::limits::Limits;
use micro::core::shutdown::TaskTracker;
use micro_tests::server::{REDIS, Server, redis, trial};
use tokio::sync::mpsc;

use super::{connect, connect_with, is_long, pause, say, until};

const PATIENCE: Duration = Duration::from_secs(90);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("redis::acknowledged_messages_outlive_kills_of_the_server", &REDIS, outlive_kills),
        trial("redis::a_broker_works_once_its_server_is_there", &REDIS, works_once_there),
        trial("redis::a_subscription_outlasts_a_paused_server", &REDIS, paused),
        trial("redis::a_queue_keeps_messages_while_nobody_reads", &REDIS, kept),
        trial("redis::what_a_dead_process_had_is_delivered_to_another", &REDIS, dead_process),
        trial("redis::a_stream_is_bounded_and_settled_entries_go", &REDIS, bounded),
        trial("redis::an_orphaned_group_holds_nothing_up", &REDIS, orphaned),
        trial("redis::a_group_that_is_removed_is_made_again", &REDIS, removed),
        trial("redis::dead_letters_wait_for_their_first_reader", &REDIS, dead_letters_wait),
        trial("redis::a_subscription_leaves_nothing_behind", &REDIS, nothing_behind),
    ]
}

fn open(server: &Server) -> Redis {
    Redis::new(connect(server), "p", &Limits::default())
}

fn numbered(topic: &str, number: usize) -> Message {
    Message::new(topic, ContentType::Json, number.to_string().into())
}

fn number(delivery: &Delivery) -> usize {
    std::str::from_utf8(&delivery.message.body).unwrap().parse().unwrap()
}

fn queue(name: &str, concurrency: usize) -> SubscribeOptions {
    SubscribeOptions::default().with_queue(name).with_concurrency(concurrency.try_into().unwrap())
}

/// Subscribes and tells of every delivery, with the decision on it.
async fn listen(
    broker: &Redis,
    topic: &str,
    options: SubscribeOptions,
    decide: impl Fn(&Delivery) -> Ack + Send + Sync + 'static,
) -> (Subscription, mpsc::Receiver<Delivery>) {
    let (sender, came) = mpsc::channel(100_000);
    let handler: Handler = Arc::new(move |delivery: Delivery| {
        let ack = decide(&delivery);
        let _full = sender.try_send(delivery).is_err();
        Box::pin(async move { ack })
    });
    (broker.subscribe(topic, options, handler).await.unwrap(), came)
}

async fn next(came: &mut mpsc::Receiver<Delivery>) -> Delivery {
    tokio::time::timeout(PATIENCE, came.recv()).await.expect("a delivery").unwrap()
}

async fn outlive_kills() {
    let mut server = redis();
    let (wanted, kill_every) = if is_long() {
        (100_000, Duration::from_secs(5))
    } else {
        (4000, Duration::from_millis(800))
    };
    let (publisher, first, second) = (open(&server), open(&server), open(&server));
    let seen: Arc<Mutex<HashMap<usize, usize>>> = Arc::default();
    let mut subscriptions = Vec::new();
    // Two members of one queue, and a subscription of its own.
    let own: Arc<Mutex<HashSet<usize>>> = Arc::default();
    for broker in [&first, &second] {
        let seen = Arc::clone(&seen);
        let handler: Handler = Arc::new(move |delivery| {
            *seen.lock().unwrap().entry(number(&delivery)).or_default() += 1;
            Box::pin(async { Ack::Ack })
        });
        subscriptions.push(broker.subscribe("kills", queue("q", 16), handler).await.unwrap());
    }
    let alone = Arc::clone(&own);
    let handler: Handler = Arc::new(move |delivery| {
        alone.lock().unwrap().insert(number(&delivery));
        Box::pin(async { Ack::Ack })
    });
    let options = SubscribeOptions::default().with_concurrency(16.try_into().unwrap());
    subscriptions.push(first.subscribe("kills", options, handler).await.unwrap());

    let (counter, acknowledged) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let done = Arc::new(AtomicBool::new(false));
    let mut publishers = Vec::new();
    for _ in 0..16 {
        let (publisher, counter) = (publisher.clone(), Arc::clone(&counter));
        let (acknowledged, done) = (Arc::clone(&acknowledged), Arc::clone(&done));
        publishers.push(super::spawn(async move {
            while !done.load(SeqCst) {
                let number = counter.fetch_add(1, SeqCst);
                if publisher.publish(numbered("kills", number)).await.is_ok() {
                    acknowledged.lock().unwrap().push(number);
                }
            }
        }));
    }
    let mut kills = 0;
    while acknowledged.lock().unwrap().len() < wanted || kills < 2 {
        tokio::time::sleep(kill_every).await;
        server.kill();
        server.start_again();
        kills += 1;
    }
    done.store(true, SeqCst);
    for publisher in publishers {
        publisher.await.unwrap();
    }
    let acknowledged = acknowledged.lock().unwrap().clone();
    let lost = || {
        let (seen, own) = (seen.lock().unwrap(), own.lock().unwrap());
        let missing = |n: &&usize| !seen.contains_key(n) || !own.contains(n);
        acknowledged.iter().filter(missing).count()
    };
    let began = Instant::now();
    while lost() > 0 && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let duplicates: usize = seen.lock().unwrap().values().map(|count| count - 1).sum();
    println!(
        "{} acknowledged, {kills} kills: {} lost, {duplicates} delivered again",
        acknowledged.len(),
        lost()
    );
    assert_eq!(lost(), 0);
}

async fn works_once_there() {
    let mut server = redis();
    server.kill();
    let broker = open(&server);
    let began = Instant::now();
    let error = broker.publish(numbered("t", 1)).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Safe), "{error}");
    let handler: Handler = Arc::new(|_| Box::pin(async { Ack::Ack }));
    let error = broker.subscribe("t", queue("q", 1), handler).await.unwrap_err();
    assert!(error.code() == 503 && error.retry() != Retry::Never, "{error}");
    assert!(began.elapsed() < Duration::from_secs(4), "it failed after {:?}", began.elapsed());
    server.start_again();
    let publish = || async { broker.publish(numbered("t", 1)).await.ok() };
    until(PATIENCE, publish).await;
    let (_subscription, mut came) = listen(&broker, "t", queue("q", 1), |_| Ack::Ack).await;
    broker.publish(numbered("t", 2)).await.unwrap();
    assert_eq!(number(&next(&mut came).await), 2);
}

async fn paused() {
    let server = redis();
    let broker = open(&server);
    let (_subscription, mut came) = listen(&broker, "t", queue("q", 1), |_| Ack::Ack).await;
    broker.publish(numbered("t", 0)).await.unwrap();
    next(&mut came).await;
    server.pause();
    let then = Instant::now() + pause();
    while Instant::now() < then {
        // Whether it fails or waits for the server, it ends.
        let began = Instant::now();
        let _either = broker.publish(numbered("t", 1)).await.is_ok();
        assert!(began.elapsed() < Duration::from_secs(7));
        if began.elapsed() > Duration::from_secs(2) && !is_long() {
            break;
        }
    }
    server.resume();
    let publish = || async { broker.publish(numbered("t", 2)).await.ok() };
    let (_, took) = until(PATIENCE, publish).await;
    println!("published {took:?} after the server went on");
    while number(&next(&mut came).await) != 2 {}
}

async fn kept() {
    let server = redis();
    let broker = open(&server);
    let (subscription, mut came) = listen(&broker, "t", queue("q", 1), |_| Ack::Ack).await;
    broker.publish(numbered("t", 0)).await.unwrap();
    next(&mut came).await;
    subscription.drain(tokio::time::Instant::now() + PATIENCE).await.unwrap();
    for number in 1..50 {
        broker.publish(numbered("t", number)).await.unwrap();
    }
    let (_subscription, mut came) = listen(&broker, "t", queue("q", 1), |_| Ack::Ack).await;
    for wanted in 1..50 {
        assert_eq!(number(&next(&mut came).await), wanted);
    }
}

async fn dead_process() {
    let server = redis();
    let mut limits = Limits::default();
    limits.broker.ack_timeout = Duration::from_secs(2);
    let tasks = TaskTracker::new();
    let dying = Redis::new(connect_with(&server, &tasks), "p", &limits);
    let living = Redis::new(connect(&server), "p", &limits);
    let (sender, mut begun) = mpsc::channel(10);
    let handler: Handler = Arc::new(move |delivery| {
        let _full = sender.try_send(delivery).is_err();
        Box::pin(std::future::pending())
    });
    let subscription = dying.subscribe("t", queue("q", 1), handler).await.unwrap();
    living.publish(numbered("t", 7)).await.unwrap();
    assert_eq!(next(&mut begun).await.attempt, 1);
    // Nothing of it says a word any more.
    tasks.abort_all();
    let (_other, mut came) = listen(&living, "t", queue("q", 1), |_| Ack::Ack).await;
    let again = next(&mut came).await;
    assert_eq!((number(&again), again.attempt), (7, 2));
    drop(subscription);
}

async fn bounded() {
    let server = redis();
    let broker = Redis::new(connect(&server), "p", &Limits::default()).holding(10);
    // Without a group nobody is waited for.
    for number in 0..25 {
        broker.publish(numbered("nobody", number)).await.unwrap();
    }
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let held = Arc::clone(&gate);
    let handler: Handler = Arc::new(move |_| {
        let held = Arc::clone(&held);
        Box::pin(async move {
            held.acquire().await.unwrap().forget();
            Ack::Ack
        })
    });
    let subscription = broker.subscribe("t", queue("q", 1), handler).await.unwrap();
    for number in 0..10 {
        broker.publish(numbered("t", number)).await.unwrap();
    }
    for number in [10, 11, 100] {
        let full = broker.publish(numbered("t", number)).await.unwrap_err();
        assert_eq!((full.code(), full.retry()), (429, Retry::Safe), "{full}");
    }
    assert_eq!(say(&server, "XLEN p:stream:t"), ":10");
    gate.add_permits(1);
    let publish = || async { broker.publish(numbered("t", 10)).await.ok() };
    until(PATIENCE, publish).await;
    gate.add_permits(100);
    until(PATIENCE, || async { (say(&server, "XLEN p:stream:t") == ":0").then_some(()) }).await;
    subscription.close();
}

async fn orphaned() {
    let server = redis();
    let tasks = TaskTracker::new();
    let dying = Redis::new(connect_with(&server, &tasks), "p", &Limits::default());
    let options = SubscribeOptions::default();
    let (subscription, _came) = listen(&dying, "t", options, |_| Ack::Ack).await;
    tasks.abort_all();
    let broker = Redis::new(connect(&server), "p", &Limits::default()).holding(10);
    for number in 0..10 {
        broker.publish(numbered("t", number)).await.unwrap();
    }
    assert_eq!(broker.publish(numbered("t", 10)).await.unwrap_err().code(), 429);
    // Its lease ends.
    let gone = "EVAL \"for _, k in ipairs(redis.call('KEYS', 'p:lease:*')) do redis.call('DEL', k) \
                end return 1\" 0";
    assert_eq!(say(&server, gone), ":1");
    broker.publish(numbered("t", 10)).await.unwrap();
    assert_eq!(say(&server, "XLEN p:stream:t"), ":1");
    drop(subscription);
}

async fn removed() {
    let server = redis();
    let broker = open(&server);
    let (_one, mut came) = listen(&broker, "t", queue("q", 1), |_| Ack::Ack).await;
    let (_two, mut own) = listen(&broker, "t", SubscribeOptions::default(), |_| Ack::Ack).await;
    broker.publish(numbered("t", 1)).await.unwrap();
    assert_eq!(number(&next(&mut came).await), 1);
    assert_eq!(number(&next(&mut own).await), 1);
    assert_eq!(say(&server, "FLUSHALL"), "+OK");
    let made = || async {
        broker.publish(numbered("t", 2)).await.unwrap();
        (say(&server, "XINFO GROUPS p:stream:t") == "*2").then_some(())
    };
    until(PATIENCE, made).await;
    broker.publish(numbered("t", 3)).await.unwrap();
    while number(&next(&mut came).await) != 3 {}
    while number(&next(&mut own).await) != 3 {}
}

async fn dead_letters_wait() {
    let server = redis();
    let broker = open(&server);
    let (_failing, mut came) = listen(&broker, "t", queue("q", 1), |_| Ack::reject("no")).await;
    broker.publish(numbered("t", 7)).await.unwrap();
    next(&mut came).await;
    let waits = || async { (say(&server, "XLEN p:stream:t.dead") == ":1").then_some(()) };
    until(PATIENCE, waits).await;
    let (_reader, mut dead) = listen(&broker, "t.dead", queue("undertaker", 1), |_| Ack::Ack).await;
    assert_eq!(number(&next(&mut dead).await), 7);
    until(PATIENCE, || async { (say(&server, "XLEN p:stream:t.dead") == ":0").then_some(()) })
        .await;
}

async fn nothing_behind() {
    let server = redis();
    let broker = open(&server);
    for _ in 0..3 {
        let options = SubscribeOptions::default();
        let (own, _came) = listen(&broker, "t", options, |_| Ack::Ack).await;
        let (member, _came) = listen(&broker, "t", queue("q", 1), |_| Ack::Ack).await;
        own.close();
        drop(member);
    }
    until(PATIENCE, || async {
        let groups = say(&server, "XINFO GROUPS p:stream:t") == "*1";
        let consumers = say(&server, "XINFO CONSUMERS p:stream:t queue:q") == "*0";
        let leases = say(&server, "KEYS p:lease:*") == "*0";
        (groups && consumers && leases).then_some(())
    })
    .await;
    broker.close(tokio::time::Instant::now() + PATIENCE).await.unwrap();
}
