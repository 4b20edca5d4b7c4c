//! What is left of the broker's promises when nsqd is away, dies or hangs.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, Nsq, NsqConfig, SubscribeOptions};
use micro::core::clock;
use micro::core::error::Retry;
use micro::core::shutdown::TaskTracker;
use micro::driver::Link;
use micro_tests::server::trial_alone;

use super::nsqd::{Nsqd, Options};
use super::{PATIENCE, Process, group, handler, inbox, message, next_body, server, until};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial_alone("nsq::a_server_that_comes_later_is_found", a_server_that_comes_later_is_found),
        trial_alone(
            "nsq::no_acknowledged_message_is_lost_when_the_server_dies",
            no_acknowledged_message_is_lost_when_the_server_dies,
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
    ]
}

fn is_long() -> bool {
    std::env::var_os("MICRO_LONG").is_some_and(|value| value == "1")
}

async fn a_server_that_comes_later_is_found() {
    let mut nsqd = Nsqd::start(Options::default()).await;
    nsqd.kill().await;
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
    nsqd.kill().await;
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
async fn no_acknowledged_message_is_lost_when_the_server_dies() {
    let count = if is_long() { 100_000 } else { 6_000 };
    run(count, "kills", move |mut nsqd, seen| async move {
        let mut kills = 0;
        // In the middle of the load; then every five seconds while it lasts.
        until("the load begins", || seen.published() >= count / 6).await;
        while kills < 2 || (is_long() && !seen.is_over.load(SeqCst)) {
            nsqd.kill().await;
            nsqd.start_again().await;
            kills += 1;
            let pause = Duration::from_secs(if is_long() { 5 } else { 0 });
            clock::sleep(pause).await;
            let more = seen.published() + count / 6;
            until("the load goes on", || {
                seen.is_over.load(SeqCst) || is_long() || seen.published() >= more
            })
            .await;
        }
        println!("kills: {kills}");
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
    one.kill().await;
    let process = Process::new(&server(&[one.port(), two.port()]), &NsqConfig::default());
    let (take, mut came) = inbox();
    let _group = process.broker.subscribe("t", group("q", 2), take).await.unwrap();
    process.publish("t", "1").await;
    assert_eq!(next_body(&mut came).await, "1");
    // The one that was away is joined, and stands in for the other.
    one.start_again().await;
    until("it is joined", || one.channels("t") == ["q"]).await;
    two.kill().await;
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
    let other =
        Nsqd::start(Options { msg_timeout: Duration::from_secs(3), ..Options::default() }).await;
    let lookup = super::lookupd::Lookupd::start().await;
    lookup.register(&other);
    let elsewhere = Process::of(&other);
    elsewhere.publish("t", "7").await;
    let config = NsqConfig::default().with_lookup(server(&[lookup.port()]));
    own.kill().await;
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
