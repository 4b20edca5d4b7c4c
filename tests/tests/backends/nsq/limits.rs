//! What is too long, too much, or comes too late.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, Handler, NsqConfig, SubscribeOptions};
use micro::core::clock;
use micro::core::shutdown::TaskTracker;
use micro_tests::server::trial_alone;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::contract::{publish_raw, slow};
use super::nsqd::{Nsqd, Options};
use super::{PATIENCE, Process, group, inbox, next_body, server, until};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial_alone(
            "nsq::a_message_too_long_for_this_program_holds_up_nothing",
            a_message_too_long_for_this_program,
        ),
        trial_alone(
            "nsq::a_subscription_without_a_queue_gets_what_the_memory_holds",
            a_subscription_without_a_queue_gets_what_the_memory_holds,
        ),
        trial_alone(
            "nsq::a_subscription_that_comes_while_closing_handles_nothing",
            a_subscription_that_comes_while_closing,
        ),
    ]
}

async fn a_message_too_long_for_this_program() {
    let nsqd = Nsqd::start(Options::default()).await;
    let config = NsqConfig::default().with_message_bytes_max(20_000);
    let (process, (take, mut came)) = (Process::new(&server(&[nsqd.port()]), &config), inbox());
    let _group = process.broker.subscribe("t", group("q", 1), take).await.unwrap();
    publish_raw(&nsqd, "t", &vec![b'x'; 900_000]).await;
    for number in 0..20 {
        process.publish("t", &number.to_string()).await;
        assert_eq!(next_body(&mut came).await, number.to_string());
    }
    until("others are finished", || nsqd.seen("FIN") == 20).await;
    // It waits, by the connection that there was.
    assert_eq!((nsqd.seen("REQ"), nsqd.depth("t", "q"), nsqd.seen("SUB")), (1, 1, 1));
    assert!(nsqd.shared().producer("t.dead").is_none(), "a dead letter is there");
    process.end().await;
}

async fn a_subscription_without_a_queue_gets_what_the_memory_holds() {
    const MEMORY: usize = 10;
    let nsqd = Nsqd::start(Options { mem_queue_size: MEMORY, ..Options::default() }).await;
    let process = Process::of(&nsqd);
    let (go, runs) = (Arc::new(Semaphore::new(0)), Arc::<AtomicUsize>::default());
    let slow: Handler = {
        let (go, runs) = (Arc::clone(&go), Arc::clone(&runs));
        Arc::new(move |_| {
            runs.fetch_add(1, SeqCst);
            let go = Arc::clone(&go);
            Box::pin(async move {
                drop(go.acquire().await.unwrap());
                Ack::Ack
            })
        })
    };
    let one = SubscribeOptions::default().with_concurrency(std::num::NonZeroUsize::MIN);
    let _alone = process.broker.subscribe("t", one, slow.clone()).await.unwrap();
    let _group = process.broker.subscribe("t", group("q", 1), slow).await.unwrap();
    for number in 0..100 {
        process.publish("t", &number.to_string()).await;
    }
    go.add_permits(1);
    let channels = nsqd.channels("t");
    until("all is finished", || channels.iter().all(|channel| nsqd.depth("t", channel) == 0)).await;
    // One is with the handler, and at most another waits here for it.
    let alone = runs.load(SeqCst) - 100;
    assert!((MEMORY..=MEMORY + 2).contains(&alone), "{alone}");
    process.end().await;
}

async fn a_subscription_that_comes_while_closing() {
    let nsqd = Nsqd::start(Options::default()).await;
    // A lookup that takes a question and does not answer.
    let lookup = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = NsqConfig::default().with_lookup(server(&[lookup.local_addr().unwrap().port()]));
    let process = Process::new(&server(&[nsqd.port()]), &config);
    process.publish("t", "1").await;
    let runs = Arc::<AtomicUsize>::default();
    let (broker, count) = (process.broker.clone(), slow(Duration::ZERO, &runs));
    let tasks = TaskTracker::new();
    let subscribing = tasks.spawn("subscribe", async move {
        broker.subscribe("t", group("q", 1), count).await.map(drop)
    });
    let (_asked, _) = lookup.accept().await.unwrap();
    process.broker.close(clock::after(clock::now(), PATIENCE)).await.unwrap();
    let refused = subscribing.await.unwrap().unwrap_err();
    assert!(refused.detail().contains("closed"), "{refused}");
    until("nothing is left of it", || {
        !process.scope.tasks.names().keys().any(|name| *name != "broker.nsq.feed")
    })
    .await;
    assert_eq!((runs.load(SeqCst), nsqd.deliveries()), (0, 0));
    process.end().await;
}
