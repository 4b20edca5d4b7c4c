//! The broker as it is while the server is well.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use libtest_mimic::Trial;
use micro::broker::{
    Ack, Broker, DeadLetter, Delivery, Handler, Message, SubscribeOptions, Subscription,
};
use micro::core::clock;
use micro::core::content_type::ContentType;
use micro::core::error::Retry;
use micro::testkit::broker::{Pair, conforms};
use tokio::sync::mpsc;

use super::{Lab, PATIENCE, Process, eventually, tests};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        the_broker_conforms_between_processes,
        a_group_gets_what_was_published_while_it_had_no_member,
        dead_letters_wait_for_the_first_group,
        what_a_killed_process_had_is_delivered_again,
        nothing_is_left_of_what_was_acknowledged,
        a_full_group_refuses_further_messages_until_it_has_room,
        a_subscription_whose_group_was_removed_makes_it_again,
    ]
}

async fn the_broker_conforms_between_processes() {
    let lab = Lab::new();
    let url = lab.url(&lab.database().await);
    let processes = Arc::new([Process::new(), Process::new()]);
    let used = Arc::clone(&processes);
    conforms(&move || {
        let (processes, url) = (Arc::clone(&used), url.clone());
        Box::pin(async move {
            let [one, two] = &*processes;
            let broker: Arc<dyn Broker> = Arc::new(Pair::new(one.broker(&url), two.broker(&url)));
            broker
        })
    })
    .await;
}

pub(super) fn message(topic: &str, number: usize) -> Message {
    Message::new(topic, ContentType::Text, Bytes::from(number.to_string()))
}

pub(super) fn number(delivery: &Delivery) -> usize {
    std::str::from_utf8(&delivery.message.body).unwrap().parse().unwrap()
}

/// Subscribes, once there is a connection, and passes deliveries on.
pub(super) async fn listen(
    broker: &Arc<dyn Broker>,
    topic: &str,
    options: SubscribeOptions,
    decide: impl Fn(&Delivery) -> Ack + Send + Sync + 'static,
) -> (Subscription, mpsc::Receiver<Delivery>) {
    let (sender, deliveries) = mpsc::channel(200_000);
    let handler: Handler = Arc::new(move |delivery: Delivery| {
        let ack = decide(&delivery);
        sender.try_send(delivery).unwrap();
        Box::pin(async { ack })
    });
    let subscription = eventually(async || {
        broker.subscribe(topic, options.clone(), Arc::clone(&handler)).await.ok()
    });
    (subscription.await, deliveries)
}

pub(super) fn queue(name: &str, concurrency: usize) -> SubscribeOptions {
    let concurrency = NonZeroUsize::new(concurrency).unwrap();
    SubscribeOptions::default().with_queue(name).with_concurrency(concurrency)
}

async fn next(deliveries: &mut mpsc::Receiver<Delivery>) -> Delivery {
    clock::timeout(PATIENCE, deliveries.recv()).await.unwrap().unwrap()
}

async fn a_group_gets_what_was_published_while_it_had_no_member() {
    let lab = Lab::new();
    let url = lab.url(&lab.database().await);
    let (one, two) = (Process::new(), Process::new());
    let broker = one.broker(&url);
    let (first, _deliveries) = listen(&broker, "orders", queue("mailer", 1), |_| Ack::Ack).await;
    first.drain(clock::after(clock::now(), PATIENCE)).await.unwrap();
    for n in 0..10 {
        broker.publish(message("orders", n)).await.unwrap();
    }
    broker.close(clock::after(clock::now(), PATIENCE)).await.unwrap();
    let broker = two.broker(&url);
    let (_second, mut came) = listen(&broker, "orders", queue("mailer", 1), |_| Ack::Ack).await;
    for n in 0..10 {
        assert_eq!(number(&next(&mut came).await), n);
    }
}

async fn dead_letters_wait_for_the_first_group() {
    let lab = Lab::new();
    let process = Process::new();
    let broker = process.broker(&lab.url(&lab.database().await));
    let reject = |_: &Delivery| Ack::reject("no such order");
    let (_mailer, mut came) = listen(&broker, "orders", queue("mailer", 1), reject).await;
    broker.publish(message("orders", 7)).await.unwrap();
    next(&mut came).await;
    let (_reader, mut dead) =
        listen(&broker, "orders.dead", queue("reader", 1), |_| Ack::Ack).await;
    let letter = DeadLetter::from_message(&next(&mut dead).await.message).unwrap();
    assert_eq!((letter.queue.as_deref(), &*letter.reason), (Some("mailer"), "no such order"));
}

async fn what_a_killed_process_had_is_delivered_again() {
    let lab = Lab::new();
    let url = lab.url(&lab.database().await);
    let (one, two) = (Process::new(), Process::new());
    let (sender, mut begun) = mpsc::channel(1);
    let hangs: Handler = Arc::new(move |_| {
        sender.try_send(()).unwrap();
        Box::pin(std::future::pending())
    });
    let broker = one.broker(&url);
    let _hanging = eventually(async || {
        broker.subscribe("orders", queue("mailer", 1), Arc::clone(&hangs)).await.ok()
    })
    .await;
    broker.publish(message("orders", 7)).await.unwrap();
    begun.recv().await.unwrap();
    one.kill();
    let other = two.broker(&url);
    let (_other, mut came) = listen(&other, "orders", queue("mailer", 1), |_| Ack::Ack).await;
    let again = next(&mut came).await;
    assert_eq!((number(&again), again.attempt), (7, 2));
}

async fn nothing_is_left_of_what_was_acknowledged() {
    let lab = Lab::new();
    let name = lab.database().await;
    let process = Process::new();
    let broker = process.broker(&lab.url(&name));
    let (all, mut alone) =
        listen(&broker, "orders", SubscribeOptions::default(), |_| Ack::Ack).await;
    let (_mailer, mut mailer) = listen(&broker, "orders", queue("mailer", 8), |_| Ack::Ack).await;
    for n in 0..100 {
        broker.publish(message("orders", n)).await.unwrap();
        broker.publish(message("nobody", n)).await.unwrap();
    }
    for _ in 0..100 {
        next(&mut alone).await;
        next(&mut mailer).await;
    }
    let bare = lab.bare(&name).await;
    let count = async |table: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM micro.{table}");
        bare.query_one(&sql, &[]).await.unwrap().get(0)
    };
    eventually(async || (count("broker_message").await == 0).then_some(())).await;
    all.close();
    eventually(async || (count("broker_group").await == 1).then_some(())).await;
}

async fn a_full_group_refuses_further_messages_until_it_has_room() {
    let lab = Lab::new();
    let process = Process::new();
    let url = format!("{}?messages_max=10", lab.url(&lab.database().await));
    let broker = process.broker(&url);
    let (first, _none) = listen(&broker, "orders", queue("mailer", 1), |_| Ack::Ack).await;
    first.drain(clock::after(clock::now(), PATIENCE)).await.unwrap();
    let published = std::sync::atomic::AtomicUsize::new(0);
    let refused = eventually(async || {
        let n = published.load(std::sync::atomic::Ordering::SeqCst);
        match broker.publish(message("orders", n)).await {
            Ok(()) => {
                published.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                clock::sleep(Duration::from_millis(100)).await;
                None
            }
            Err(error) => Some(error),
        }
    })
    .await;
    assert_eq!((refused.code(), refused.retry()), (429, Retry::Safe));
    broker.publish(message("others", 0)).await.unwrap();
    let published = published.into_inner();
    assert!(published >= 10, "{published}");
    let (_second, mut came) = listen(&broker, "orders", queue("mailer", 1), |_| Ack::Ack).await;
    for n in 0..published {
        assert_eq!(number(&next(&mut came).await), n);
    }
    eventually(async || broker.publish(message("orders", 0)).await.ok()).await;
}

/// As after a time without a connection that is longer than the server's patience.
async fn a_subscription_whose_group_was_removed_makes_it_again() {
    let lab = Lab::new();
    let name = lab.database().await;
    let process = Process::new();
    let broker = process.broker(&lab.url(&name));
    let (_all, mut came) =
        listen(&broker, "orders", SubscribeOptions::default(), |_| Ack::Ack).await;
    let bare = lab.bare(&name).await;
    assert_eq!(bare.execute("DELETE FROM micro.broker_group", &[]).await.unwrap(), 1);
    eventually(async || {
        let rows = bare.query("SELECT FROM micro.broker_group", &[]).await.unwrap();
        (rows.len() == 1).then_some(())
    })
    .await;
    broker.publish(message("orders", 7)).await.unwrap();
    assert_eq!(number(&next(&mut came).await), 7);
}
