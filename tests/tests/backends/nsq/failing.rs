//! What is left of the broker's promises when nsqd is away, dies or hangs.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, Handler, Nsq, NsqConfig, SubscribeOptions};
use micro::core::clock;
use micro::core::error::Retry;
use micro::core::shutdown::TaskTracker;
use micro::driver::Link;
use micro_tests::server::trial_alone;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::nsqd::{Nsqd, Options};
use super::{PATIENCE, Process, group, handler, inbox, message, next, next_body, server, until};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial_alone("nsq::a_server_that_comes_later_is_found", a_server_that_comes_later_is_found),
        trial_alone(
            "nsq::no_acknowledged_message_is_lost_when_the_server_ends_in_order",
            no_acknowledged_message_is_lost_when_the_server_ends_in_order,
        ),
        trial_alone(
            "nsq::a_server_that_hangs_for_a_while_loses_nothing",
            a_server_that_hangs_for_a_while_loses_nothing,
        ),
        trial_alone("nsq::one_of_several_servers_is_enough", one_of_several_servers_is_enough),
        trial_alone(
            "nsq::a_dead_letter_waits_for_a_server_that_takes_it",
            a_dead_letter_waits_for_a_server_that_takes_it,
        ),
        trial_alone(
            "nsq::a_crash_loses_what_is_in_memory_and_nothing_on_the_disk",
            a_crash_loses_what_is_in_memory,
        ),
        trial_alone(
            "nsq::what_waits_for_a_handler_ends_with_its_connection",
            what_waits_for_a_handler_ends_with_its_connection,
        ),
        trial_alone(
            "nsq::what_a_lost_connection_had_comes_again_once_its_time_is_over",
            what_a_lost_connection_had,
        ),
        trial_alone(
            "nsq::what_a_subscription_has_that_is_cut_goes_to_others_at_once",
            what_a_subscription_has_that_is_cut,
        ),
        trial_alone(
            "nsq::a_server_that_answers_no_publishing_is_given_up",
            a_server_that_answers_no_publishing_is_given_up,
        ),
    ]
}

fn is_long() -> bool {
    std::env::var_os("MICRO_LONG").is_some_and(|value| value == "1")
}

async fn a_server_that_comes_later_is_found() {
    let mut nsqd = Nsqd::start(Options::default()).await;
    nsqd.end().await;
    let process = Process::of(&nsqd);
    let began = clock::now();
    let refused = process.broker.publish(message("t", "1")).await.unwrap_err();
    assert_eq!((refused.code(), refused.retry()), (503, Retry::Safe), "{refused}");
    let nothing = handler(|_| Ack::Ack);
    let refused = process.broker.subscribe("t", group("q", 1), nothing).await;
    let refused = refused.map(drop).unwrap_err();
    assert_eq!((refused.code(), refused.retry()), (503, Retry::Safe), "{refused}");
    assert!(clock::now() - began < Duration::from_secs(12), "what is asked meanwhile hangs");
    assert!(!process.link.is_up());

    nsqd.start_again().await;
    // A message that waits for the server does so without being told.
    process.publish("t", "1").await;
    assert!(process.link.is_up());
    let ((take, mut came), (alone, mut alone_came)) = (inbox(), inbox());
    let _group = process.broker.subscribe("t", group("q", 1), take).await.unwrap();
    assert_eq!(next_body(&mut came).await, "1");
    // A subscription without a queue is made again, too.
    let _alone = process.broker.subscribe("t", SubscribeOptions::default(), alone).await.unwrap();
    process.publish("t", "2").await;
    assert_eq!(
        (next_body(&mut came).await, next_body(&mut alone_came).await),
        ("2".into(), "2".into())
    );
    let channels = nsqd.channels("t");
    until("all is finished", || channels.iter().all(|channel| nsqd.depth("t", channel) == 0)).await;
    nsqd.end().await;
    until("it is missed", || !process.link.is_up()).await;
    nsqd.start_again().await;
    until("both are back", || nsqd.channels("t") == channels).await;
    process.publish("t", "3").await;
    assert_eq!(
        (next_body(&mut came).await, next_body(&mut alone_came).await),
        ("3".into(), "3".into())
    );
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
    fn published(&self) -> usize {
        self.published.lock().unwrap().len()
    }

    fn lost(&self) -> usize {
        let came = self.came.lock().unwrap();
        self.published.lock().unwrap().iter().filter(|number| !came.contains_key(number)).count()
    }

    fn print(&self, what: &str) {
        let came = self.came.lock().unwrap();
        let duplicates: usize = came.values().map(|count| count - 1).sum();
        println!(
            "{what}: {} acknowledged, {} arrived, {duplicates} duplicates, failures {:?}",
            self.published(),
            came.len(),
            self.failed.lock().unwrap()
        );
    }
}

/// Publishes numbers until each is acknowledged.
async fn publish(broker: Nsq, numbers: Range<usize>, seen: Arc<Seen>) {
    for number in numbers {
        while let Err(error) = broker.publish(message("t", number.to_string())).await {
            assert!(matches!(error.retry(), Retry::Safe | Retry::Unknown), "{error}");
            let kind = (error.code(), format!("{:?}", error.retry()));
            *seen.failed.lock().unwrap().entry(kind).or_default() += 1;
            clock::sleep(Duration::from_millis(50)).await;
        }
        seen.published.lock().unwrap().push(number);
    }
}

/// Runs publishers and a group against a server that `disturb` works on, and checks that what was
/// acknowledged arrives.
async fn run<T: Future<Output = Nsqd> + Send + 'static>(
    count: usize,
    what: &str,
    disturb: impl FnOnce(Nsqd, Arc<Seen>) -> T,
) {
    const PUBLISHERS: usize = 50;
    let nsqd = Nsqd::start(Options::default()).await;
    let (process, seen) = (Process::of(&nsqd), Arc::new(Seen::default()));
    let record = Arc::clone(&seen);
    let take = handler(move |delivery| {
        let number = std::str::from_utf8(&delivery.message.body).unwrap().parse().unwrap();
        *record.came.lock().unwrap().entry(number).or_default() += 1;
        Ack::Ack
    });
    let subscription = process.broker.subscribe("t", group("q", 64), take).await.unwrap();
    process.up().await;
    let tasks = TaskTracker::new();
    let disturbing = tasks.spawn("disturb", disturb(nsqd, Arc::clone(&seen)));
    let each = count / PUBLISHERS;
    let publishing: Vec<_> = (0..PUBLISHERS)
        .map(|n| {
            let numbers = n * each..(n + 1) * each;
            tasks.spawn("publish", publish(process.broker.clone(), numbers, Arc::clone(&seen)))
        })
        .collect();
    for one in publishing {
        one.await.unwrap();
    }
    seen.is_over.store(true, SeqCst);
    let nsqd = disturbing.await.unwrap();
    until("every acknowledged message arrives", || seen.lost() == 0).await;
    seen.print(what);
    assert_eq!(seen.published(), each * PUBLISHERS);
    until("every message is finished", || nsqd.depth("t", "q") == 0).await;
    assert_eq!(nsqd.depth("t.dead", "none"), 0, "messages are given up");
    subscription.drain(clock::after(clock::now(), PATIENCE)).await.unwrap();
    process.end().await;
}

/// Promise 3.
async fn no_acknowledged_message_is_lost_when_the_server_ends_in_order() {
    let count = if is_long() { 100_000 } else { 6_000 };
    run(count, "ends", move |mut nsqd, seen| async move {
        let mut ends = 0;
        // In the middle of the load; then every five seconds while it lasts.
        until("the load begins", || seen.published() >= count / 6).await;
        while ends < 2 || (is_long() && !seen.is_over.load(SeqCst)) {
            nsqd.end().await;
            nsqd.start_again().await;
            ends += 1;
            let pause = Duration::from_secs(if is_long() { 5 } else { 0 });
            clock::sleep(pause).await;
            let more = seen.published() + count / 6;
            until("the load goes on", || {
                seen.is_over.load(SeqCst) || is_long() || seen.published() >= more
            })
            .await;
        }
        println!("ends: {ends}");
        nsqd
    })
    .await;
}

async fn a_server_that_hangs_for_a_while_loses_nothing() {
    let (count, pause) = if is_long() { (20_000, 30) } else { (5_000, 3) };
    run(count, "pause", move |nsqd, seen| async move {
        until("the load begins", || seen.published() >= count / 3).await;
        nsqd.pause();
        clock::sleep(Duration::from_secs(pause)).await;
        nsqd.resume();
        nsqd
    })
    .await;
}

async fn one_of_several_servers_is_enough() {
    let (mut one, mut two) =
        (Nsqd::start(Options::default()).await, Nsqd::start(Options::default()).await);
    one.end().await;
    let process = Process::new(&server(&[one.port(), two.port()]), &NsqConfig::default());
    let (take, mut came) = inbox();
    let _group = process.broker.subscribe("t", group("q", 2), take).await.unwrap();
    process.publish("t", "1").await;
    assert_eq!(next_body(&mut came).await, "1");
    // The one that was away is joined, and stands in for the other.
    one.start_again().await;
    until("it is joined", || one.channels("t") == ["q"]).await;
    two.end().await;
    let arrives = async {
        loop {
            let _away = process.broker.publish(message("t", "2")).await.is_err();
            if let Ok(Some(delivery)) =
                clock::timeout(Duration::from_millis(200), came.recv()).await
            {
                return delivery.message.body.clone();
            }
        }
    };
    assert_eq!(clock::timeout(PATIENCE, arrives).await.unwrap(), "2");
    two.start_again().await;
    until("it is joined again", || two.channels("t") == ["q"]).await;
    process.end().await;
}

/// A message is finished only once its dead letter is confirmed.
async fn a_dead_letter_waits_for_a_server_that_takes_it() {
    // Dead letters go to an nsqd that is away; messages come by another, which is found.
    let mut own = Nsqd::start(Options::default()).await;
    let other = Nsqd::start(Options {
        forced_msg_timeout: Some(Duration::from_secs(3)),
        ..Options::default()
    })
    .await;
    let lookup = super::lookupd::Lookupd::start().await;
    lookup.register(&other);
    let elsewhere = Process::of(&other);
    elsewhere.publish("t", "7").await;
    let config = NsqConfig::default().with_lookup(server(&[lookup.port()]));
    own.end().await;
    let process = Process::new(&server(&[own.port()]), &config);
    let refuse = handler(|_| Ack::reject("no such order"));
    let _group = process.broker.subscribe("t", group("q", 1), refuse).await.unwrap();
    until("it is kept meanwhile", || other.seen("TOUCH") >= 3).await;
    assert_eq!((other.depth("t", "q"), other.timeouts()), (1, 0));
    own.start_again().await;
    until("it is given up", || own.depth("t.dead", "none") == 1).await;
    until("it is finished after that", || other.depth("t", "q") == 0).await;
    assert_eq!(other.seen("FIN"), 1);
    elsewhere.end().await;
    process.end().await;
}

/// What durability means is the choice of whoever runs nsqd.
async fn a_crash_loses_what_is_in_memory() {
    for (mem_queue_size, left) in [(0, 100), (30, 70), (10_000, 0)] {
        let mut nsqd = Nsqd::start(Options { mem_queue_size, ..Options::default() }).await;
        let process = Process::of(&nsqd);
        let nothing = handler(|_| Ack::Ack);
        process.broker.subscribe("t", group("q", 1), nothing).await.unwrap().close();
        for number in 0..100 {
            process.publish("t", &number.to_string()).await;
        }
        assert!(!process.broker.capabilities().durable, "nobody vouches for that");
        nsqd.crash().await;
        until("it is missed", || !process.link.is_up()).await;
        nsqd.start_again().await;
        let (take, _came) = inbox();
        let _group = process.broker.subscribe("t", group("q", 1), take).await.unwrap();
        until("what is left is finished", || nsqd.depth("t", "q") == 0).await;
        assert_eq!(nsqd.seen("FIN"), left, "{mem_queue_size}");
        process.end().await;
    }
}

/// Makes a handler that waits until it may go on, and counts its runs.
fn blocked(go: &Arc<Semaphore>, runs: &Arc<AtomicUsize>) -> Handler {
    let (go, runs) = (Arc::clone(go), Arc::clone(runs));
    Arc::new(move |_| {
        runs.fetch_add(1, SeqCst);
        let go = Arc::clone(&go);
        Box::pin(async move {
            go.acquire().await.unwrap().forget();
            Ack::Ack
        })
    })
}

async fn what_waits_for_a_handler_ends_with_its_connection() {
    let mut nsqd = Nsqd::start(Options::default()).await;
    let process = Process::of(&nsqd);
    let (go, runs) = (Arc::new(Semaphore::new(0)), Arc::default());
    let slow = blocked(&go, &runs);
    let _group = process.broker.subscribe("t", group("q", 1), slow).await.unwrap();
    process.publish("t", "1").await;
    until("the handler runs", || runs.load(SeqCst) == 1).await;
    for times in 1..=5 {
        nsqd.end().await;
        nsqd.start_again().await;
        until("it comes again", || nsqd.deliveries() == times + 1).await;
    }
    // The handler's place was never free, and its deliveries are as many as there may be. All that
    // wait are let go on, if there are any.
    go.add_permits(10);
    until("it is given up", || nsqd.depth("t.dead", "none") == 1).await;
    until("it is finished", || nsqd.depth("t", "q") == 0).await;
    assert_eq!((runs.load(SeqCst), nsqd.seen("FIN")), (1, 1));
    process.end().await;
}

async fn what_a_lost_connection_had() {
    let forced_msg_timeout = Some(Duration::from_secs(2));
    let nsqd = Nsqd::start(Options { forced_msg_timeout, ..Options::default() }).await;
    let (process, (take, mut came)) = (Process::of(&nsqd), inbox());
    process.publish("t", "1").await;
    let mut other = TcpStream::connect(("127.0.0.1", nsqd.port())).await.unwrap();
    other.write_all(b"  V2SUB t q\nRDY 1\n").await.unwrap();
    until("another client has it", || nsqd.deliveries() == 1).await;
    let began = clock::now();
    other.read_exact(&mut [0; 10]).await.unwrap();
    drop(other);
    let _group = process.broker.subscribe("t", group("q", 1), take).await.unwrap();
    assert_eq!((next(&mut came).await.attempt, nsqd.timeouts()), (2, 1));
    assert!(clock::now() - began > Duration::from_secs(1), "it came at once");
    process.end().await;
}

async fn what_a_subscription_has_that_is_cut() {
    let nsqd = Nsqd::start(Options::default()).await;
    let (one, two) = (Process::of(&nsqd), Process::of(&nsqd));
    let (go, runs) = (Arc::new(Semaphore::new(0)), Arc::default());
    let slow = blocked(&go, &runs);
    let cut = one.broker.subscribe("t", group("q", 4), slow).await.unwrap();
    for number in 0..20 {
        one.publish("t", &number.to_string()).await;
    }
    until("four are handled", || runs.load(SeqCst) == 4).await;
    let (take, mut came) = inbox();
    cut.close();
    let _other = two.broker.subscribe("t", group("q", 1), take).await.unwrap();
    let mut again = 0;
    for _ in 0..20 {
        again += usize::from(next(&mut came).await.attempt == 2);
    }
    assert!(again >= 4, "{again}");
    until("all are finished", || nsqd.depth("t", "q") == 0).await;
    assert_eq!((nsqd.seen("FIN"), nsqd.timeouts(), nsqd.seen("E_REQ_FAILED")), (20, 0, 0));
    // Nothing is left of the one that was cut.
    until("it has ended", || !one.scope.tasks.names().contains_key("broker.nsq")).await;
    one.end().await;
    two.end().await;
}

async fn a_server_that_answers_no_publishing_is_given_up() {
    let (good, mute) =
        (Nsqd::start(Options::default()).await, Nsqd::start(Options::default()).await);
    let process = Process::new(&server(&[good.port(), mute.port()]), &NsqConfig::default());
    // By turns, until each had one.
    while good.seen("PUB") == 0 || mute.seen("PUB") == 0 {
        process.publish("before", "1").await;
    }
    let had = mute.seen("PUB");
    mute.mute(true);
    let began = clock::now();
    let tasks = TaskTracker::new();
    let publishing: Vec<_> = (0..20)
        .map(|number| {
            let broker = process.broker.clone();
            tasks.spawn(
                "publish",
                async move { broker.publish(message("t", number.to_string())).await },
            )
        })
        .collect();
    let mut failed = 0;
    for one in publishing {
        if let Err(error) = one.await.unwrap() {
            assert!(matches!(error.code(), 408 | 503), "{error}");
            assert_eq!(error.retry(), Retry::Unknown, "{error}");
            failed += 1;
        }
    }
    assert!(failed < 20 && mute.seen("PUB") + mute.seen("MPUB") > had, "{failed}");
    assert!(clock::now() - began < Duration::from_secs(25));
    // It is left alone for a while, and the other has it all.
    let before = good.depth("t", "none");
    for number in 0..20 {
        process.publish("t", &number.to_string()).await;
    }
    assert_eq!(good.depth("t", "none"), before + 20);
    // Once it answers again, it is published to again.
    mute.mute(false);
    let began = clock::now();
    while mute.depth("t", "none") == 0 {
        assert!(clock::now() - began < PATIENCE, "it is never published to again");
        process.publish("t", "7").await;
        clock::sleep(Duration::from_millis(50)).await;
    }
    process.end().await;
}
