//! The rules of delivery, each by its name, for the brokers of this crate.
//!
//! K10 has no subject within a process: there is no connection to lose.

mod within;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;

use super::*;
use crate::codec::Codecs;
use crate::codec::Decode;
use crate::codec::Raw;
use crate::core::clock;
use crate::core::content_type::ContentType;
use crate::core::error::Error;
use crate::core::error::Retry;
use crate::core::exchange::Connection;
use crate::core::exchange::Dispatch;
use crate::core::limits::Limits;
use crate::core::net::Address;
use crate::core::shutdown::Shutdown;
use crate::core::shutdown::TaskTracker;
use crate::registry;
use crate::registry::Node;
use crate::registry::Record;
use crate::registry::Registry;
use crate::transport;
use crate::transport::Scope;
use crate::transport::Transport;

/// A network within this process whose connections can be cut.
#[derive(Clone, Debug, Default)]
pub(super) struct Net {
    inner: transport::Memory,
    dialed: Arc<Mutex<Vec<Arc<dyn Connection>>>>,
    /// How often somebody dialed, with success or without.
    pub(super) dials: Arc<AtomicUsize>,
}

impl Net {
    pub(super) fn cut(&self) {
        self.dialed.lock().unwrap().drain(..).for_each(|connection| connection.close());
    }
}

impl Transport for Net {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn dial<'a>(
        &'a self,
        address: &'a Address,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>>> {
        Box::pin(async move {
            self.dials.fetch_add(1, SeqCst);
            let connection = self.inner.dial(address, scope).await?;
            self.dialed.lock().unwrap().push(Arc::clone(&connection));
            Ok(connection)
        })
    }

    fn listen<'a>(
        &'a self,
        address: &'a Address,
        dispatch: Arc<dyn Dispatch>,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Address>> {
        self.inner.listen(address, dispatch, scope)
    }
}

/// Processes that share a registry and a network.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) registry: registry::Memory,
    pub(super) net: Net,
    limits: Arc<Limits>,
}

impl World {
    pub(super) fn process(&self) -> Http {
        let scope = Scope::new(Arc::clone(&self.limits), TaskTracker::new(), Shutdown::new());
        Http::new(Arc::new(self.registry.clone()), Arc::new(self.net.clone()), scope)
    }

    pub(super) fn pair(&self) -> (Http, Http) {
        (self.process(), self.process())
    }

    /// Registers a subscription that nobody can reach.
    async fn ghost(&self, topic: &str) {
        self.ghost_at((topic, "ff.http.broadcast"), "memory:nowhere").await;
    }

    /// Registers a subscription that the process at an address does not have.
    pub(super) async fn ghost_at(&self, (topic, queue): (&str, &str), address: &str) {
        let facts = [("broker", "http"), ("topic", topic), ("link", "1")];
        let metadata = facts.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let node = Node { id: "ghost".into(), address: address.into(), metadata };
        let record = Record {
            name: INBOX_SERVICE.into(),
            version: queue.into(),
            nodes: vec![node],
            ..Record::default()
        };
        self.registry.register(&record, Duration::from_secs(3600)).await.unwrap();
    }
}

pub(super) fn message(topic: &str) -> Message {
    Message::new(topic, ContentType::Json, Bytes::from_static(b"{}"))
}

pub(super) fn numbered(topic: &str, number: usize) -> Message {
    Message { body: number.to_string().into(), ..message(topic) }
}

pub(super) fn queue(name: &str, concurrency: usize) -> SubscribeOptions {
    let concurrency = NonZeroUsize::new(concurrency).unwrap();
    SubscribeOptions::default().with_queue(name).with_concurrency(concurrency)
}

pub(super) fn later(seconds: u64) -> Instant {
    clock::after(clock::now(), Duration::from_secs(seconds))
}

/// Waits until a condition holds.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = later(300);
    while !holds() {
        assert!(clock::now() < end, "never happened: {what}");
        clock::sleep(Duration::from_millis(1)).await;
    }
}

/// A handler that tells of its deliveries and decides about them.
pub(super) fn decide(
    decision: impl Fn(&Delivery) -> Ack + Send + Sync + 'static,
) -> (Handler, mpsc::Receiver<Delivery>) {
    let (sender, came) = mpsc::channel(200_000);
    let handler: Handler = Arc::new(move |delivery: Delivery| {
        sender.try_send(delivery.clone()).unwrap();
        let ack = decision(&delivery);
        Box::pin(async move { ack })
    });
    (handler, came)
}

/// A handler that never ends, and tells of its deliveries.
pub(super) fn hang() -> (Handler, mpsc::Receiver<Delivery>) {
    let (sender, came) = mpsc::channel(200_000);
    let handler: Handler = Arc::new(move |delivery: Delivery| {
        sender.try_send(delivery).unwrap();
        Box::pin(std::future::pending())
    });
    (handler, came)
}

/// The brokers of this crate, each as its publisher and its subscriber.
fn each() -> [(Arc<dyn Broker>, Arc<dyn Broker>); 2] {
    let memory: Arc<dyn Broker> = Arc::new(Memory::new());
    let (here, there) = World::default().pair();
    [(Arc::clone(&memory), memory), (Arc::new(here), Arc::new(there))]
}

#[tokio::test(start_paused = true)]
async fn k1_a_message_is_acknowledged_by_its_handler_and_not_before() {
    let (here, there) = World::default().pair();
    let gate = Arc::new(Semaphore::new(0));
    let waits = Arc::clone(&gate);
    let handler: Handler = Arc::new(move |_| {
        let waits = Arc::clone(&waits);
        Box::pin(async move {
            waits.acquire().await.unwrap().forget();
            Ack::Ack
        })
    });
    let _subscription = there.subscribe("a", queue("q", 1), handler).await.unwrap();
    here.publish(message("a")).await.unwrap();
    clock::sleep(Duration::from_secs(1)).await;
    assert_eq!((here.sent().acked, here.sent().unsettled), (0, 1));
    gate.add_permits(1);
    until("the word comes back", || here.sent().acked == 1).await;
    assert_eq!(here.sent().unsettled, 0);
}

#[tokio::test(start_paused = true)]
async fn k2_nothing_that_is_published_after_subscribing_is_lost() {
    for ((publisher, subscriber), count) in each().into_iter().zip([100_000, 5_000]) {
        let (handler, mut came) = decide(|_| Ack::Ack);
        let _subscription = subscriber.subscribe("a", queue("q", 4), handler).await.unwrap();
        for number in 0..count {
            publisher.publish(numbered("a", number)).await.unwrap();
        }
        let mut bodies = HashSet::new();
        while bodies.len() < count {
            let next = clock::timeout(Duration::from_secs(60), came.recv()).await;
            bodies.insert(next.expect("all arrive").unwrap().message.body.clone());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn k3_errors_and_panics_are_retried_and_refusals_are_not() {
    let (here, there) = World::default().pair();
    let (handler, _came) = decide(|delivery| match (&*delivery.message.body, delivery.attempt) {
        (b"1", 1) => panic!("on purpose"),
        (b"2", 1) => Err(Error::unavailable("shop", "busy")).into(),
        (b"3", _) => Err(Error::bad_request("shop", "no such order")).into(),
        _ => Ok(()).into(),
    });
    let _subscription = there.subscribe("a", queue("q", 1), handler).await.unwrap();
    for number in 1..=3 {
        here.publish(numbered("a", number)).await.unwrap();
    }
    until("all is settled", || here.sent().unsettled == 0).await;
    assert_eq!((here.sent().acked, here.sent().dead), (2, 1));
    assert_eq!(there.counts().retried, 2);
}

/// A message whose receivers are lost over it again and again.
#[tokio::test(start_paused = true)]
async fn k4_what_takes_its_receivers_down_is_given_up_and_can_be_replayed() {
    let world = World::default();
    let (here, there) = world.pair();
    let (grave, mut dead) = decide(|_| Ack::Ack);
    let _graves = here.subscribe("a.dead", queue("graves", 1), grave).await.unwrap();
    let (handler, mut came) = hang();
    let subscription = there.subscribe("a", queue("q", 8), handler).await.unwrap();
    let sent = numbered("a", 7);
    here.publish(sent.clone()).await.unwrap();
    let most = Limits::DEFAULT.broker.deliveries_max;
    for attempt in 1..=most {
        assert_eq!(came.recv().await.unwrap().attempt, attempt);
        world.net.cut();
    }
    let letter = DeadLetter::from_message(&dead.recv().await.unwrap().message).unwrap();
    assert_eq!((letter.attempts, letter.queue.as_deref()), (most, Some("q")));
    assert!(letter.reason.contains("lost"), "{}", letter.reason);
    assert_eq!(*letter.message, sent);
    subscription.close();
    let (handler, mut came) = decide(|_| Ack::Ack);
    let _subscription = there.subscribe("a", queue("q", 1), handler).await.unwrap();
    here.publish((*letter.message).clone()).await.unwrap();
    assert_eq!(*came.recv().await.unwrap().message, sent);
}

/// Nobody is lost over a message within a process: what fails there is its handler.
#[tokio::test(start_paused = true)]
async fn k5_order_holds_for_one_publisher_and_one_at_a_time() {
    for (publisher, subscriber) in each() {
        assert!(publisher.capabilities().ordered);
        let (handler, mut came) = decide(|_| Ack::Ack);
        let _subscription = subscriber.subscribe("a", queue("q", 1), handler).await.unwrap();
        for number in 0..2_000 {
            publisher.publish(numbered("a", number)).await.unwrap();
        }
        for number in 0..2_000 {
            let body = came.recv().await.unwrap().message.body.clone();
            assert_eq!(body, number.to_string(), "{}", publisher.name());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn k6_what_waits_is_bounded_by_count_and_by_bytes() {
    let limits = &Limits::DEFAULT.broker;
    for (bytes, most) in
        [(1, limits.pending_messages_max), (1 << 20, limits.pending_bytes_max >> 20)]
    {
        for (publisher, subscriber) in each() {
            let (handler, _came) = hang();
            let _subscription = subscriber.subscribe("a", queue("q", 1), handler).await.unwrap();
            let body = Bytes::from(vec![0; bytes]);
            let mut taken = 0;
            let refused = loop {
                let message = Message { body: body.clone(), ..message("a") };
                match publisher.publish(message).await {
                    Ok(()) => taken += 1,
                    Err(error) => break error,
                }
            };
            assert_eq!((refused.code(), refused.retry()), (429, Retry::Safe), "{refused}");
            assert!(taken <= most && taken + 1 >= most, "{}: {taken}", publisher.name());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn k7_an_id_tells_a_message_that_came_before() {
    for (publisher, subscriber) in each() {
        let dedupe = Arc::new(Dedupe::new(100, Duration::from_secs(3600)));
        let acts = Arc::new(Semaphore::new(0));
        let (seen, counted) = (Arc::clone(&dedupe), Arc::clone(&acts));
        let (handler, mut came) = decide(move |delivery| {
            if let Ok(Some(first)) = seen.first(&delivery.message.id) {
                counted.add_permits(1);
                first.done();
            }
            // The word that it was done is lost the first time.
            if counted.available_permits() == 1 && delivery.attempt == 1 {
                Ack::RETRY
            } else {
                Ack::Ack
            }
        });
        let _subscription = subscriber.subscribe("a", queue("q", 1), handler).await.unwrap();
        let sent = message("a");
        assert!(!sent.id.is_empty());
        publisher.publish(sent.clone()).await.unwrap();
        for _ in 0..2 {
            assert_eq!(came.recv().await.unwrap().message.id, sent.id);
        }
        assert_eq!(acts.available_permits(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn k8_publishing_succeeds_or_is_safe_to_repeat_or_unknown() {
    let world = World::default();
    let (here, there) = world.pair();
    here.publish(message("a")).await.unwrap();
    assert_eq!(here.sent().unrouted, 1);
    world.ghost("a").await;
    clock::sleep(Duration::from_secs(1)).await;
    let alone = here.publish(message("a")).await.unwrap_err();
    assert_eq!((alone.code(), alone.retry()), (503, Retry::Safe), "{alone}");
    let (handler, mut came) = decide(|_| Ack::Ack);
    let _subscription = there.subscribe("a", queue("q", 1), handler).await.unwrap();
    let among = here.publish(message("a")).await.unwrap_err();
    assert_eq!((among.code(), among.retry()), (503, Retry::Unknown), "{among}");
    assert!(came.recv().await.is_some(), "the other one gets it");
    assert_eq!(here.sent().refused, 2);
}

#[tokio::test(start_paused = true)]
async fn k9_nothing_is_kept_for_those_out_of_reach_beyond_a_bound_that_shows() {
    let mut limits = Limits::DEFAULT;
    limits.broker.pending_messages_max = 10;
    let world = World { limits: Arc::new(limits), ..World::default() };
    let (here, there) = world.pair();
    world.ghost("b").await;
    let _unknown_yet = here.publish(message("b")).await;
    clock::sleep(Duration::from_secs(1)).await;
    here.publish(message("b")).await.unwrap_err();
    assert_eq!((here.sent().copies, here.sent().unsettled), (0, 0), "no buffer by default");

    let (handler, _came) = hang();
    let subscriptions = [
        there.subscribe("a", queue("q", 1), Arc::clone(&handler)).await.unwrap(),
        there.subscribe("a", queue("q", 1), handler).await.unwrap(),
    ];
    for number in 0..20 {
        here.publish(numbered("a", number)).await.unwrap();
    }
    subscriptions.into_iter().for_each(Subscription::close);
    until("what has no place is lost and counted", || here.sent().lost == 9).await;
    assert_eq!(here.sent().unsettled, 11, "what looks for a place shows");
    until("it does not look for ever", || here.sent().lost == 20).await;
    assert_eq!(here.sent().unsettled, 0);
}

#[tokio::test(start_paused = true)]
async fn k10_a_lost_connection_is_made_again_and_groups_stay() {
    let world = World::default();
    let (here, there) = world.pair();
    let (handler, mut came) = decide(|_| Ack::Ack);
    let subscription = there.subscribe("a", queue("q", 1), handler).await.unwrap();
    let before = world.registry.lookup(INBOX_SERVICE).await.unwrap();
    for number in 0..10 {
        here.publish(numbered("a", number)).await.unwrap();
        assert_eq!(came.recv().await.unwrap().message.body, number.to_string());
        until("it is settled", || here.sent().unsettled == 0).await;
        world.net.cut();
        clock::sleep(Duration::from_millis(1)).await;
    }
    assert!(subscription.is_active());
    assert_eq!(world.registry.lookup(INBOX_SERVICE).await.unwrap(), before);
    assert_eq!((here.sent().acked, here.sent().refused), (10, 0));
}

#[tokio::test(start_paused = true)]
async fn k11_draining_finishes_what_runs_and_gives_back_what_waits() {
    let (here, there) = World::default().pair();
    let wait = Ack::Retry { after: Some(Duration::from_secs(200)) };
    let (handler, mut came) = decide(move |_| wait.clone());
    let first = there.subscribe("a", queue("q", 1), handler).await.unwrap();
    here.publish(message("a")).await.unwrap();
    assert_eq!(came.recv().await.unwrap().attempt, 1);
    let (handler, mut came) = decide(|_| Ack::Ack);
    let _second = there.subscribe("a", queue("q", 1), handler).await.unwrap();
    let began = clock::now();
    first.drain(later(30)).await.unwrap();
    assert_eq!(came.recv().await.unwrap().attempt, 2, "deliveries go on counting");
    assert!(clock::now() - began < Duration::from_secs(10), "nobody waits for the retry");
    until("the word comes back", || here.sent().acked == 1).await;
    assert_eq!((here.sent().given_again, here.sent().lost), (1, 0));
    assert_eq!(there.counts().returned, 1);
}

#[tokio::test(start_paused = true)]
async fn k11_a_process_that_stops_gives_what_it_has_to_others() {
    let (here, there) = World::default().pair();
    let (handler, mut hung) = hang();
    let _first = there.subscribe("a", queue("q", 1), handler).await.unwrap();
    for number in 0..50 {
        here.publish(numbered("a", number)).await.unwrap();
    }
    hung.recv().await.unwrap();
    let (handler, mut came) = decide(|_| Ack::Ack);
    let _second = here.subscribe("a", queue("q", 1), handler).await.unwrap();
    assert_eq!(there.close(later(1)).await.unwrap_err().code(), 408);
    let mut bodies = HashSet::new();
    while bodies.len() < 50 {
        bodies.insert(came.recv().await.unwrap().message.body.clone());
    }
    until("all is settled", || here.sent().unsettled == 0).await;
    assert_eq!((here.sent().acked, here.sent().lost), (50, 0));
}

#[tokio::test(start_paused = true)]
async fn k12_names_are_checked_and_patterns_refused_where_there_are_none() {
    for (publisher, subscriber) in each() {
        for bad in ["", "a b", "a..b", "a\n", "a.*", &"x".repeat(300)] {
            assert_eq!(publisher.publish(message(bad)).await.unwrap_err().code(), 400, "{bad}");
        }
        let (handler, _came) = decide(|_| Ack::Ack);
        let pattern = subscriber.subscribe("a.*", SubscribeOptions::default(), handler).await;
        let wanted = if subscriber.capabilities().patterns { None } else { Some(501) };
        assert_eq!(pattern.err().map(|error| error.code()), wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn k13_what_cannot_be_decoded_goes_to_the_dead_letters() {
    for (publisher, subscriber) in each() {
        let handler: Handler = Arc::new(|delivery| {
            let (raw, decision) = RawEvent::new(delivery, Arc::<Codecs>::default());
            let outcome = raw.decode(|format, body| Raw::decode(format, &body.share())).map(drop);
            Box::pin(std::future::ready(decision.automatic(outcome)))
        });
        let _subscription = subscriber.subscribe("a", queue("q", 1), handler).await.unwrap();
        let (grave, mut dead) = decide(|_| Ack::Ack);
        let _graves = publisher.subscribe("a.dead", queue("graves", 1), grave).await.unwrap();
        let content_type = ContentType::parse("application/x-unheard-of");
        let sent = Message { content_type, ..message("a") };
        publisher.publish(sent.clone()).await.unwrap();
        let letter = DeadLetter::from_message(&dead.recv().await.unwrap().message).unwrap();
        assert_eq!((&*letter.message, letter.attempts), (&sent, 1));
        assert!(letter.reason.contains("x-unheard-of"), "{}", letter.reason);
    }
}

#[tokio::test(start_paused = true)]
async fn k14_every_copy_is_accounted_for_on_both_sides() {
    let world = World::default();
    let (here, there) = world.pair();
    let alive = Arc::new(AtomicBool::new(true));
    let mut subscriptions = Vec::new();
    for name in ["one", "one", "two"] {
        let alive = Arc::clone(&alive);
        let (handler, _came) = decide(move |delivery| {
            let number = delivery.message.body.iter().map(|byte| usize::from(*byte)).sum::<usize>();
            match (number + usize::try_from(delivery.attempt).unwrap()) % 7 {
                0 if alive.load(SeqCst) => Ack::reject("seven"),
                1 => Ack::RETRY,
                2 => panic!("on purpose"),
                _ => Ack::Ack,
            }
        });
        subscriptions.push(there.subscribe("a", queue(name, 2), handler).await.unwrap());
    }
    for number in 0..500 {
        here.publish(numbered("a", number)).await.unwrap();
        if number % 100 == 99 {
            world.net.cut();
        }
        if number == 250 {
            drop(subscriptions.remove(0));
        }
    }
    until("all is settled", || here.sent().unsettled == 0 && there.counts().in_flight == 0).await;
    let (sent, counts) = (here.sent(), there.counts());
    assert_eq!((sent.published, sent.unrouted, sent.refused), (500, 0, 0), "{sent:?}");
    assert_eq!(sent.copies, 1000, "{sent:?}");
    assert_eq!(sent.copies, sent.acked + sent.dead + sent.dropped + sent.lost, "{sent:?}");
    assert_eq!(sent.lost + sent.dropped, 0, "{sent:?}");
    let ends = counts.acked + counts.dead + counts.dropped + counts.returned;
    assert_eq!(counts.routed, ends, "{counts:?}");
    assert!(counts.acked >= sent.acked, "what was given again was handled more than once");
}
