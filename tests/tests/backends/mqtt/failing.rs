//! What becomes of events when the server, the way to it or a process fails.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, Delivery, Handler, Mqtt, SubscribeOptions};
use micro::core::error::{Error, Retry};
use micro::driver::Link;
use micro_tests::server::{MOSQUITTO, mosquitto, trial};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::proxy::Proxy;

use super::{
    INBOX_MAX, broker, collect, is_long, is_quiet, message, named, next, number, publish, queue,
    subscribe, within,
};

/// What is asked of a server that is away has failed by then: two seconds, and some for a machine
/// that is busy.
const FAILS_WITHIN: Duration = Duration::from_secs(8);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("mqtt::an_absent_server_is_used_once_it_is_there", &MOSQUITTO, absent),
        trial("mqtt::subscriptions_come_back_with_the_server", &MOSQUITTO, comes_back),
        trial("mqtt::a_paused_server_is_waited_for_and_then_given_up", &MOSQUITTO, paused),
        trial("mqtt::a_lost_connection_loses_nothing", &MOSQUITTO, a_lost_connection_loses_nothing),
        trial("mqtt::what_waits_for_another_delivery_outlasts_its_connection", &MOSQUITTO, waiting),
        trial("mqtt::a_named_process_takes_up_what_it_had", &MOSQUITTO, taken_up),
        trial("mqtt::a_server_that_was_stopped_has_what_it_had", &MOSQUITTO, stopped),
        trial("mqtt::a_subscription_ends_although_its_server_is_away", &MOSQUITTO, ends),
    ]
}

async fn absent() {
    let mut server = mosquitto();
    server.kill();
    let broker = broker(server.port());
    let began = Instant::now();
    let error = broker.publish(message("orders", 1)).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Safe), "{error}");
    let handler: Handler = Arc::new(|_| Box::pin(async { Ack::Ack }));
    let refused = broker.subscribe("orders", SubscribeOptions::default(), handler).await;
    let error = refused.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Safe), "{error}");
    assert!(began.elapsed() < FAILS_WITHIN * 2, "{:?}", began.elapsed());
    assert!(!broker.is_up());
    let subscribing = {
        let broker = Arc::clone(&broker);
        tokio::spawn(async move { collect(&*broker, "orders", &queue("q", 1)).await })
    };
    server.start_again();
    let (_subscription, mut came) = within(subscribing).await.unwrap();
    publish(&*broker, 2).await;
    assert_eq!(number(&next(&mut came).await), 2);
    is_quiet(&mut came).await;
    assert_eq!(*broker.reconnects().borrow(), 0, "it was never lost");
}

/// Publishes without pause until told to stop, and returns which numbers were acknowledged and how
/// the others failed.
fn keep_publishing(
    broker: &Arc<Mqtt>,
    stop: &Arc<AtomicBool>,
) -> tokio::task::JoinHandle<(Vec<usize>, Vec<Error>)> {
    let (broker, stop) = (Arc::clone(broker), Arc::clone(stop));
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

/// How often each number has come.
fn count(came: &mut mpsc::Receiver<Delivery>, seen: &mut HashMap<usize, usize>) {
    while let Ok(delivery) = came.try_recv() {
        *seen.entry(number(&delivery)).or_default() += 1;
    }
}

fn are_passing(failed: &[Error]) {
    for error in failed {
        assert!(error.code() == 503 && error.retry() != Retry::Never, "{error}");
    }
}

async fn comes_back() {
    let mut server = mosquitto();
    let (publisher, subscriber) = (broker(server.port()), broker(server.port()));
    let (_one, mut one) = collect(&*subscriber, "orders", &SubscribeOptions::default()).await;
    let (_group, mut group) = collect(&*subscriber, "orders", &queue("q", 1)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = keep_publishing(&publisher, &stop);
    let mut reconnects = subscriber.reconnects();
    for round in 1..=3 {
        for _ in 0..100 {
            next(&mut one).await;
        }
        server.kill();
        server.start_again();
        let both = reconnects.wait_for(|count| *count >= round * 2);
        within(both).await.unwrap();
    }
    stop.store(true, SeqCst);
    let (taken, failed) = within(publishing).await.unwrap();
    are_passing(&failed);
    // What is reported is there: from now on nothing is missed.
    let mark = taken.last().unwrap() + 1_000_000;
    publish(&*publisher, mark).await;
    let mut seen = HashMap::<usize, usize>::new();
    for came in [&mut one, &mut group] {
        within(async {
            loop {
                let number = number(&next(came).await);
                *seen.entry(number).or_default() += 1;
                if number == mark {
                    break;
                }
            }
        })
        .await;
    }
    let missed = taken.iter().filter(|number| !seen.contains_key(number)).count();
    let gaps = *subscriber.gaps().borrow();
    assert!(missed == 0 || gaps > 0, "{missed} are missed and nobody says so");
    println!(
        "mqtt: {} published, {} refused, 3 kills, {missed} missed; {gaps} sessions lost of {}",
        taken.len(),
        failed.len(),
        *reconnects.borrow()
    );
}

async fn paused() {
    let server = mosquitto();
    let (publisher, subscriber) = (broker(server.port()), broker(server.port()));
    let (_group, mut came) = collect(&*subscriber, "orders", &queue("q", 1)).await;
    publish(&*publisher, 1_000_000).await;
    assert_eq!(number(&next(&mut came).await), 1_000_000);
    server.pause();
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = keep_publishing(&publisher, &stop);
    tokio::time::sleep(Duration::from_secs(if is_long() { 30 } else { 3 })).await;
    let was_up = publisher.is_up();
    let mut seen = HashMap::new();
    count(&mut came, &mut seen);
    server.resume();
    let began = Instant::now();
    seen.insert(number(&next(&mut came).await), 1);
    println!("mqtt: delivered {:?} after the server went on", began.elapsed());
    stop.store(true, SeqCst);
    let (taken, failed) = within(publishing).await.unwrap();
    are_passing(&failed);
    assert!(!is_long() || (!was_up && !failed.is_empty()), "a silent server is given up");
    let all = async {
        while !taken.iter().all(|number| seen.contains_key(number)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
            count(&mut came, &mut seen);
        }
    };
    within(all).await;
}

/// Cuts the connections of a process that subscribes, and waits until it is there again.
async fn break_once(proxy: &Proxy, reconnects: &mut watch::Receiver<u64>) {
    let before = *reconnects.borrow_and_update();
    proxy.cut();
    let again = reconnects.wait_for(|count| *count > before);
    tokio::pin!(again);
    // What the proxy has not noticed yet is cut before it is mended for good.
    let broken = async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            proxy.mend();
        }
    };
    within(async {
        tokio::select! {
            again = &mut again => drop(again.unwrap()),
            () = broken => {}
        }
    })
    .await;
}

async fn a_lost_connection_loses_nothing() {
    let (rounds, between) = if is_long() { (60, 500) } else { (5, 200) };
    let server = mosquitto();
    let proxy = Proxy::to(server.port()).await;
    let (publisher, subscriber) = (broker(server.port()), broker(proxy.port()));
    let (_group, mut group) = collect(&*subscriber, "orders", &queue("q", 4)).await;
    let (_own, mut own) = collect(&*subscriber, "orders", &SubscribeOptions::default()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = keep_publishing(&publisher, &stop);
    let mut reconnects = subscriber.reconnects();
    for _ in 0..rounds {
        tokio::time::sleep(Duration::from_millis(between)).await;
        break_once(&proxy, &mut reconnects).await;
    }
    stop.store(true, SeqCst);
    let (taken, failed) = within(publishing).await.unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    let mut all = [HashMap::new(), HashMap::new()];
    for (came, seen) in [&mut group, &mut own].into_iter().zip(&mut all) {
        let everything = async {
            while !taken.iter().all(|number| seen.contains_key(number)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
                count(came, seen);
            }
        };
        within(everything).await;
    }
    assert_eq!(*subscriber.gaps().borrow(), 0, "the server has lost a session");
    let twice = all.each_ref().map(|seen| seen.values().sum::<usize>() - seen.len());
    println!("mqtt: {} published, {rounds} cuts, 0 lost, {twice:?} came twice", taken.len());
}

async fn waiting() {
    let server = mosquitto();
    let proxy = Proxy::to(server.port()).await;
    let (publisher, subscriber) = (broker(server.port()), broker(proxy.port()));
    let (sender, mut came) = mpsc::channel(INBOX_MAX);
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let handler: Handler = Arc::new(move |delivery: Delivery| {
        let (held, attempt) = (Arc::clone(&held), delivery.attempt);
        sender.try_send(delivery).unwrap();
        Box::pin(async move {
            if attempt < 3 {
                return Ack::Retry { after: Some(Duration::from_secs(1)) };
            }
            // An acknowledgement that is lost would have it come once more.
            held.acquire().await.unwrap().forget();
            Ack::Ack
        })
    });
    let _group = subscribe(&*subscriber, "orders", &queue("q", 1), &handler).await;
    let mut reconnects = subscriber.reconnects();
    publisher.publish(message("orders", 1)).await.unwrap();
    for attempt in 1..=3 {
        // The server sends it again with each connection; it counts on all the same.
        assert_eq!(next(&mut came).await.attempt, attempt);
        if attempt < 3 {
            break_once(&proxy, &mut reconnects).await;
        }
    }
    gate.add_permits(1);
    is_quiet(&mut came).await;
}

async fn taken_up() {
    let server = mosquitto();
    let port = server.port();
    let (begun, mut begins) = mpsc::channel(1);
    // A process that ends in the middle of a message, and says nothing to anybody.
    let process = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let kept = runtime.block_on(async {
            let broker = named(port, "mailer-1");
            assert!(broker.capabilities().redelivery);
            let (started, mut starts) = mpsc::channel(1);
            let handler: Handler = Arc::new(move |_| {
                let _full = started.try_send(()).is_err();
                Box::pin(std::future::pending())
            });
            let subscription = subscribe(&*broker, "orders", &queue("q", 1), &handler).await;
            begun.send(()).await.unwrap();
            starts.recv().await.unwrap();
            (broker, subscription)
        });
        runtime.shutdown_background();
        std::mem::forget(kept);
    });
    begins.recv().await.unwrap();
    let publisher = broker(port);
    publisher.publish(message("orders", 1)).await.unwrap();
    within(async { tokio::task::spawn_blocking(|| process.join()).await }).await.unwrap().unwrap();
    // While it is away.
    publisher.publish(message("orders", 2)).await.unwrap();
    let next_life = named(port, "mailer-1");
    let (_subscription, mut came) = collect(&*next_life, "orders", &queue("q", 1)).await;
    assert_eq!(number(&next(&mut came).await), 1);
    assert_eq!(number(&next(&mut came).await), 2);
    is_quiet(&mut came).await;
}

async fn stopped() {
    let mut server = mosquitto();
    let (publisher, subscriber) = (broker(server.port()), broker(server.port()));
    let gate = Arc::new(Semaphore::new(0));
    let (sender, mut came) = mpsc::channel(INBOX_MAX);
    let held = Arc::clone(&gate);
    let handler: Handler = Arc::new(move |delivery: Delivery| {
        let (held, sender) = (Arc::clone(&held), sender.clone());
        Box::pin(async move {
            held.acquire().await.unwrap().forget();
            sender.try_send(delivery).unwrap();
            Ack::Ack
        })
    });
    let _group = subscribe(&*subscriber, "orders", &queue("q", 1), &handler).await;
    for number in 0..1000 {
        publisher.publish(message("orders", number)).await.unwrap();
    }
    let mut reconnects = subscriber.reconnects();
    server.stop();
    server.start_again();
    within(reconnects.wait_for(|count| *count >= 1)).await.unwrap();
    assert_eq!(*subscriber.gaps().borrow(), 0, "the server has lost the session");
    gate.add_permits(10_000);
    let mut seen = HashMap::new();
    let all = async {
        while seen.len() < 1000 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            count(&mut came, &mut seen);
        }
    };
    within(all).await;
}

async fn ends() {
    let mut server = mosquitto();
    let broker = broker(server.port());
    let (one, mut came) = collect(&*broker, "orders", &queue("q", 1)).await;
    let (two, _) = collect(&*broker, "orders", &queue("q", 1)).await;
    broker.publish(message("orders", 1)).await.unwrap();
    next(&mut came).await;
    server.kill();
    let began = Instant::now();
    two.close();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    one.drain(deadline).await.unwrap();
    broker.close(deadline).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(45), "{:?}", began.elapsed());
}
