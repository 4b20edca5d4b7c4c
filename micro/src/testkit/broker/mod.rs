//! What every broker backend must do. Checks of what a backend does not declare are left out, but
//! for the check that it says so.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;

use crate::broker::Ack;
use crate::broker::Broker;
use crate::broker::Capabilities;
use crate::broker::DeadLetter;
use crate::broker::Delivery;
use crate::broker::Handler;
use crate::broker::Message;
use crate::broker::SubscribeOptions;
use crate::broker::Subscription;
use crate::core::clock;
use crate::core::content_type::ContentType;
use crate::core::error::Retry;
use crate::core::future::BoxFuture;
use crate::core::limits::BrokerLimits;
use crate::core::metadata::Metadata;
use crate::core::shutdown::TaskTracker;

/// What has to happen happens within this time, retries with their pauses included.
const PATIENCE: Duration = Duration::from_secs(60);

/// What does not happen within this time after all else is not going to.
const QUIET: Duration = Duration::from_secs(1);

/// Deliveries that a check looks at, at most.
const INBOX_MAX: usize = 10_000;

/// Makes a broker for one check. Those of a remote backend may share a server.
pub type Make<'a> = &'a (dyn Fn() -> BoxFuture<'static, Arc<dyn Broker>> + Sync);

/// One demand: its name, what a backend has to declare for it to apply, and a future that panics
/// where the backend falls short.
struct Check {
    name: &'static str,
    applies: fn(&Capabilities) -> bool,
    run: fn(Arc<dyn Broker>) -> BoxFuture<'static, ()>,
}

macro_rules! checks {
    ($($name:ident if $applies:expr,)*) => {
        const CHECKS: &[Check] = &[$(Check {
            name: stringify!($name),
            applies: $applies,
            run: |broker| Box::pin($name(broker)),
        },)*];
    };
}

checks! {
    a_message_published_right_after_subscribing_arrives if |_| true,
    a_message_arrives_unchanged if |_| true,
    a_message_arrives_once if |_| true,
    only_the_topic_subscribed_to_arrives if |_| true,
    subscriptions_without_a_queue_each_get_every_message if |_| true,
    one_member_of_each_group_gets_a_message if |c| c.queue_groups,
    a_group_shares_the_work if |c| c.queue_groups,
    invalid_topics_are_refused if |_| true,
    patterns_cover_what_they_say_or_are_refused if |_| true,
    a_retry_is_delivered_again if |c| c.redelivery,
    a_panic_is_delivered_again if |c| c.redelivery,
    a_poison_message_is_given_up_and_blocks_nobody if |c| c.redelivery,
    given_up_messages_go_to_the_dead_letters if |c| c.redelivery && c.dead_letters,
    a_rejected_message_goes_to_the_dead_letters_at_once if |c| c.dead_letters,
    messages_of_one_publisher_keep_their_order if |c| c.ordered,
    concurrency_is_reached_and_not_exceeded if |_| true,
    a_slow_subscription_loses_nothing if |_| true,
    a_closed_subscription_gets_nothing if |_| true,
    draining_lets_handlers_finish if |_| true,
    what_a_cut_handler_had_goes_to_another_member if |c| c.redelivery && c.queue_groups,
    a_closed_broker_refuses if |_| true,
}

/// Runs the whole suite, each check with a broker of its own.
///
/// # Panics
///
/// Panics where the backend falls short; the text says in what.
pub async fn conforms(make: Make<'_>) {
    for check in CHECKS {
        if let Err(why) = passes(check, make).await {
            assert!(why.is_empty(), "{}: {why}", check.name);
        }
    }
}

/// Runs a check that applies, in a task of its own so that its panic ends it alone.
async fn passes(check: &Check, make: Make<'_>) -> Result<(), String> {
    let broker = make().await;
    if !(check.applies)(&broker.capabilities()) {
        return Ok(());
    }
    let tracker = TaskTracker::new();
    let task = tracker.spawn("testkit.broker", (check.run)(Arc::clone(&broker)));
    let outcome = clock::timeout(PATIENCE * 4, task).await;
    tracker.abort_all();
    // A check may leave work behind; what it says of the backend is decided.
    let _left = broker.close(clock::now()).await.is_err();
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_elapsed) => Err("it never ends".into()),
    }
}

/// Collects what a subscription gets.
struct Inbox {
    subscription: Subscription,
    deliveries: mpsc::Receiver<Delivery>,
}

impl Inbox {
    async fn next(&mut self) -> Delivery {
        let next = clock::timeout(PATIENCE, self.deliveries.recv()).await;
        let next = next.ok().flatten();
        assert!(next.is_some(), "{} gets no further message", self.subscription.topic());
        next.unwrap_or_else(|| Delivery::new(Arc::new(message("none")), 0))
    }

    async fn bodies(&mut self, count: usize) -> Vec<Bytes> {
        let mut bodies = Vec::new();
        for _ in 0..count {
            bodies.push(self.next().await.message.body.clone());
        }
        bodies
    }

    /// Asserts that nothing more arrives.
    async fn is_quiet(&mut self) {
        if let Ok(Some(more)) = clock::timeout(QUIET, self.deliveries.recv()).await {
            let (topic, attempt) = (&more.message.topic, more.attempt);
            assert!(attempt == 0, "{topic} arrives (delivery {attempt}) and should not");
        }
    }
}

/// Subscribes and acknowledges everything.
async fn listen(broker: &Arc<dyn Broker>, topic: &str, queue: Option<&str>) -> Inbox {
    let options = SubscribeOptions { queue: queue.map(Into::into), ..SubscribeOptions::default() };
    decide(broker, topic, options, |_| Ack::Ack).await
}

async fn decide(
    broker: &Arc<dyn Broker>,
    topic: &str,
    options: SubscribeOptions,
    decision: impl Fn(&Delivery) -> Ack + Send + Sync + 'static,
) -> Inbox {
    let (sender, deliveries) = mpsc::channel(INBOX_MAX);
    let handler: Handler = Arc::new(move |delivery: Delivery| {
        // More than an inbox holds is more than a check looks at.
        let _full = sender.try_send(delivery.clone()).is_err();
        let ack = decision(&delivery);
        Box::pin(async move { ack })
    });
    Inbox { subscription: subscribe(broker, topic, options, handler).await, deliveries }
}

async fn subscribe(
    broker: &Arc<dyn Broker>,
    topic: &str,
    options: SubscribeOptions,
    handler: Handler,
) -> Subscription {
    match broker.subscribe(topic, options, handler).await {
        Ok(subscription) => subscription,
        Err(error) => fail(&format!("subscribe to {topic} fails: {error}")),
    }
}

async fn publish(broker: &Arc<dyn Broker>, message: Message) {
    let topic = message.topic.clone();
    let outcome = broker.publish(message).await;
    assert!(outcome.is_ok(), "publish to {topic} fails: {outcome:?}");
}

#[allow(clippy::panic, reason = "the suite reports by panicking")]
fn fail(why: &str) -> ! {
    panic!("{why}")
}

/// Returns a topic that no other check uses.
fn topic() -> String {
    format!("check-{:08x}.created", fastrand::u32(..))
}

fn message(topic: &str) -> Message {
    Message::new(topic, ContentType::Json, Bytes::from_static(b"{}"))
}

fn numbered(topic: &str, number: usize) -> Message {
    Message { body: number.to_string().into(), ..message(topic) }
}

fn numbers(range: std::ops::Range<usize>) -> Vec<Bytes> {
    range.map(|number| number.to_string().into()).collect()
}

fn options(queue: &str, concurrency: usize) -> SubscribeOptions {
    let concurrency = NonZeroUsize::new(concurrency).unwrap_or(NonZeroUsize::MIN);
    SubscribeOptions::default().with_queue(queue).with_concurrency(concurrency)
}

/// K2.
async fn a_message_published_right_after_subscribing_arrives(broker: Arc<dyn Broker>) {
    for _ in 0..100 {
        let topic = topic();
        let mut inbox = listen(&broker, &topic, None).await;
        publish(&broker, message(&topic)).await;
        inbox.next().await;
    }
}

async fn a_message_arrives_unchanged(broker: Arc<dyn Broker>) {
    let topic = topic();
    let mut inbox = listen(&broker, &topic, None).await;
    let mut sent = message(&topic);
    let mut metadata = Metadata::new();
    let inserted = metadata.insert("Tenant", "acme & s\u{f6}hne");
    assert!(inserted.is_ok(), "{inserted:?}");
    sent.metadata = metadata;
    sent.content_type = ContentType::parse("application/x-own");
    sent.body = (0..=u8::MAX).collect::<Vec<u8>>().into();
    publish(&broker, sent.clone()).await;
    let came = inbox.next().await;
    assert_eq!(*came.message, sent, "the message is not what was sent");
    assert_eq!(came.attempt, 1, "the first delivery does not count as the first");
}

async fn a_message_arrives_once(broker: Arc<dyn Broker>) {
    let topic = topic();
    let mut inbox = listen(&broker, &topic, None).await;
    publish(&broker, message(&topic)).await;
    inbox.next().await;
    inbox.is_quiet().await;
    clock::sleep(BrokerLimits::DEFAULT.ack_timeout.min(PATIENCE)).await;
    inbox.is_quiet().await;
}

async fn only_the_topic_subscribed_to_arrives(broker: Arc<dyn Broker>) {
    let topic = topic();
    let mut inbox = listen(&broker, &topic, None).await;
    for other in [format!("{topic}.more"), format!("{topic}x"), "created".into()] {
        publish(&broker, message(&other)).await;
    }
    publish(&broker, numbered(&topic, 7)).await;
    assert_eq!(inbox.bodies(1).await, numbers(7..8), "another topic's message arrives");
    inbox.is_quiet().await;
}

async fn subscriptions_without_a_queue_each_get_every_message(broker: Arc<dyn Broker>) {
    let topic = topic();
    let mut first = listen(&broker, &topic, None).await;
    let mut second = listen(&broker, &topic, None).await;
    for number in 0..10 {
        publish(&broker, numbered(&topic, number)).await;
    }
    for inbox in [&mut first, &mut second] {
        let mut bodies = inbox.bodies(10).await;
        bodies.sort();
        assert_eq!(bodies, numbers(0..10), "not every message arrives at each");
        inbox.is_quiet().await;
    }
}

async fn one_member_of_each_group_gets_a_message(broker: Arc<dyn Broker>) {
    let topic = topic();
    let (sender, mut came) = mpsc::channel(INBOX_MAX);
    let mut subscriptions = Vec::new();
    for queue in ["mailer", "mailer", "ledger", "ledger", "ledger"] {
        let sender = sender.clone();
        let handler: Handler = Arc::new(move |delivery: Delivery| {
            let _full = sender.try_send((queue, delivery.message.body.clone())).is_err();
            Box::pin(async { Ack::Ack })
        });
        subscriptions.push(subscribe(&broker, &topic, options(queue, 1), handler).await);
    }
    for number in 0..20 {
        publish(&broker, numbered(&topic, number)).await;
    }
    let mut seen = Vec::new();
    while let Ok(Some(one)) = clock::timeout(QUIET, came.recv()).await {
        seen.push(one);
    }
    seen.sort();
    let mut wanted: Vec<_> = ["ledger", "mailer"]
        .into_iter()
        .flat_map(|queue| numbers(0..20).into_iter().map(move |body| (queue, body)))
        .collect();
    wanted.sort();
    assert_eq!(seen, wanted, "not each group gets each message exactly once");
}

async fn a_group_shares_the_work(broker: Arc<dyn Broker>) {
    let topic = topic();
    // Each member keeps the first message that it gets until both have one.
    let both = Arc::new(tokio::sync::Barrier::new(2));
    let mut subscriptions = Vec::new();
    let (sender, mut came) = mpsc::channel(INBOX_MAX);
    for _ in 0..2 {
        let (both, sender) = (Arc::clone(&both), sender.clone());
        let handler: Handler = Arc::new(move |_| {
            let (both, sender) = (Arc::clone(&both), sender.clone());
            Box::pin(async move {
                both.wait().await;
                let _full = sender.try_send(()).is_err();
                Ack::Ack
            })
        });
        subscriptions.push(subscribe(&broker, &topic, options("workers", 1), handler).await);
    }
    for number in 0..2 {
        publish(&broker, numbered(&topic, number)).await;
    }
    for _ in 0..2 {
        let one = clock::timeout(QUIET * 5, came.recv()).await;
        assert!(one.is_ok(), "one member gets all messages of the group");
    }
}

/// K12.
async fn invalid_topics_are_refused(broker: Arc<dyn Broker>) {
    let long = "x".repeat(1_000);
    for bad in ["", "a b", "a..b", "a\n", "a.*", ">", long.as_str()] {
        let outcome = broker.publish(message(bad)).await;
        let code = outcome.map_err(|error| error.code());
        assert_eq!(code, Err(400), "publish to {bad:?}");
    }
    for bad in ["", "a b", "a..b", "a\n", "a*", long.as_str()] {
        let handler: Handler = Arc::new(|_| Box::pin(async { Ack::Ack }));
        let outcome = broker.subscribe(bad, SubscribeOptions::default(), handler).await;
        let code = outcome.map(drop).map_err(|error| error.code());
        assert_eq!(code, Err(400), "subscribe to {bad:?}");
    }
}

async fn patterns_cover_what_they_say_or_are_refused(broker: Arc<dyn Broker>) {
    let topic = topic();
    let prefix = topic.trim_end_matches(".created");
    let star = format!("{prefix}.*");
    if !broker.capabilities().patterns {
        let handler: Handler = Arc::new(|_| Box::pin(async { Ack::Ack }));
        let outcome = broker.subscribe(&star, SubscribeOptions::default(), handler).await;
        let code = outcome.map(drop).map_err(|error| error.code());
        assert_eq!(code, Err(501), "a pattern on a backend that declares none");
        return;
    }
    let mut one = listen(&broker, &star, None).await;
    let mut any = listen(&broker, &format!("{prefix}.>"), None).await;
    for (number, name) in ["created", "paid", "paid.late", "paid.dead"].iter().enumerate() {
        publish(&broker, numbered(&format!("{prefix}.{name}"), number)).await;
    }
    assert_eq!(one.bodies(2).await, numbers(0..2), "`*` does not stand for one word");
    assert_eq!(any.bodies(3).await, numbers(0..3), "`>` does not stand for one word or more");
    one.is_quiet().await;
    any.is_quiet().await;
}

/// K1, K3.
async fn a_retry_is_delivered_again(broker: Arc<dyn Broker>) {
    let topic = topic();
    let mut inbox = decide(&broker, &topic, options("q", 1), |delivery| {
        if delivery.attempt < 3 { Ack::RETRY } else { Ack::Ack }
    })
    .await;
    let sent = message(&topic);
    publish(&broker, sent.clone()).await;
    for attempt in 1..=3 {
        let came = inbox.next().await;
        assert_eq!(came.attempt, attempt, "deliveries are not counted");
        assert_eq!(came.message.id, sent.id, "another delivery has another id");
    }
    inbox.is_quiet().await;
    let wish = Duration::from_secs(2);
    let mut waiting =
        decide(&broker, &format!("{topic}.later"), options("q", 1), move |delivery| {
            if delivery.attempt == 1 { Ack::Retry { after: Some(wish) } } else { Ack::Ack }
        })
        .await;
    publish(&broker, message(&format!("{topic}.later"))).await;
    waiting.next().await;
    let before = clock::now();
    waiting.next().await;
    let waited = clock::now() - before;
    assert!(waited >= wish - Duration::from_millis(50), "delivered {waited:?} after, not {wish:?}");
}

/// K3.
async fn a_panic_is_delivered_again(broker: Arc<dyn Broker>) {
    let topic = topic();
    let mut inbox = decide(&broker, &topic, options("q", 1), |delivery| {
        assert!(delivery.attempt > 1, "the first delivery panics on purpose");
        Ack::Ack
    })
    .await;
    publish(&broker, message(&topic)).await;
    assert_eq!(inbox.next().await.attempt, 1, "deliveries are not counted");
    assert_eq!(inbox.next().await.attempt, 2, "a panic is not another delivery");
    inbox.is_quiet().await;
}

/// K4, F37.
async fn a_poison_message_is_given_up_and_blocks_nobody(broker: Arc<dyn Broker>) {
    let topic = topic();
    let most = BrokerLimits::DEFAULT.deliveries_max;
    let is_poison = |delivery: &Delivery| &*delivery.message.body == b"poison";
    let mut inbox = decide(&broker, &topic, options("q", 1), move |delivery| {
        if is_poison(delivery) { Ack::RETRY } else { Ack::Ack }
    })
    .await;
    let poison = Message { body: Bytes::from_static(b"poison"), ..message(&topic) };
    publish(&broker, poison).await;
    for number in 0..50 {
        publish(&broker, numbered(&topic, number)).await;
    }
    let (mut tries, mut others, mut before_last) = (0, 0, 0);
    while let Ok(Some(came)) = clock::timeout(PATIENCE, inbox.deliveries.recv()).await {
        if is_poison(&came) {
            tries += 1;
            before_last = others;
        } else {
            others += 1;
        }
    }
    assert_eq!(tries, most, "deliveries of a message that always fails");
    assert_eq!((others, before_last), (50, 50), "a failing message holds up the others");
}

/// K4.
async fn given_up_messages_go_to_the_dead_letters(broker: Arc<dyn Broker>) {
    let topic = topic();
    let most = BrokerLimits::DEFAULT.deliveries_max;
    let mut dead = listen(&broker, &format!("{topic}.dead"), None).await;
    let _failing = decide(&broker, &topic, options("mailer", 1), |_| Ack::RETRY).await;
    let sent = numbered(&topic, 7);
    publish(&broker, sent.clone()).await;
    let letter = read(&dead.next().await);
    assert_eq!(*letter.message, sent, "the dead letter does not lead back to the message");
    assert_eq!(letter.attempts, most, "the dead letter's count of deliveries");
    assert_eq!(letter.queue.as_deref(), Some("mailer"), "the dead letter's group");
    assert!(!letter.reason.is_empty(), "the dead letter has no reason");
    assert!(letter.first <= letter.last && !letter.first.is_zero(), "the dead letter's times");
    dead.is_quiet().await;
}

async fn a_rejected_message_goes_to_the_dead_letters_at_once(broker: Arc<dyn Broker>) {
    let topic = topic();
    let mut dead = listen(&broker, &format!("{topic}.dead"), None).await;
    let mut inbox =
        decide(&broker, &topic, options("mailer", 1), |_| Ack::reject("no such order")).await;
    publish(&broker, message(&topic)).await;
    let letter = read(&dead.next().await);
    assert_eq!((letter.attempts, letter.reason.as_str()), (1, "no such order"), "the dead letter");
    inbox.next().await;
    inbox.is_quiet().await;
}

fn read(delivery: &Delivery) -> DeadLetter {
    match DeadLetter::from_message(&delivery.message) {
        Ok(letter) => letter,
        Err(error) => fail(&format!("no dead letter: {error}")),
    }
}

/// K5.
async fn messages_of_one_publisher_keep_their_order(broker: Arc<dyn Broker>) {
    let topic = topic();
    let mut inbox = listen(&broker, &topic, Some("q")).await;
    for number in 0..500 {
        publish(&broker, numbered(&topic, number)).await;
    }
    assert_eq!(inbox.bodies(500).await, numbers(0..500), "messages are out of order");
}

/// K6.
async fn concurrency_is_reached_and_not_exceeded(broker: Arc<dyn Broker>) {
    let topic = topic();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gate = Arc::new(Semaphore::new(0));
    let handler: Handler = {
        let (running, most, gate) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&gate));
        Arc::new(move |_| {
            let (running, most, gate) =
                (Arc::clone(&running), Arc::clone(&most), Arc::clone(&gate));
            Box::pin(async move {
                most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                let permit = gate.acquire().await;
                running.fetch_sub(1, SeqCst);
                permit.map_or(Ack::RETRY, |permit| {
                    permit.forget();
                    Ack::Ack
                })
            })
        })
    };
    let _subscription = subscribe(&broker, &topic, options("q", 3), handler).await;
    for number in 0..10 {
        publish(&broker, numbered(&topic, number)).await;
    }
    for _ in 0..2 {
        clock::sleep(QUIET).await;
        assert_eq!(running.load(SeqCst), 3, "handlers at a time");
        gate.add_permits(3);
    }
    gate.add_permits(10);
    clock::sleep(QUIET).await;
    assert_eq!(most.load(SeqCst), 3, "most handlers at a time");
}

/// F38.
async fn a_slow_subscription_loses_nothing(broker: Arc<dyn Broker>) {
    let topic = topic();
    let (sender, mut came) = mpsc::channel(INBOX_MAX);
    let handler: Handler = Arc::new(move |delivery: Delivery| {
        let sender = sender.clone();
        Box::pin(async move {
            clock::sleep(Duration::from_micros(10)).await;
            let _full = sender.try_send(delivery.message.body.clone()).is_err();
            Ack::Ack
        })
    });
    let _subscription = subscribe(&broker, &topic, options("q", 4), handler).await;
    let count = BrokerLimits::DEFAULT.pending_messages_max * 3;
    for number in 0..count {
        publish(&broker, numbered(&topic, number)).await;
    }
    let mut bodies = std::collections::HashSet::new();
    while bodies.len() < count {
        let next = clock::timeout(PATIENCE, came.recv()).await.ok().flatten();
        assert!(next.is_some(), "{} of {count} messages arrive", bodies.len());
        bodies.extend(next);
    }
}

async fn a_closed_subscription_gets_nothing(broker: Arc<dyn Broker>) {
    let topic = topic();
    let Inbox { subscription, mut deliveries } = listen(&broker, &topic, Some("q")).await;
    assert!(subscription.is_active(), "a subscription that was just made is not active");
    assert_eq!(subscription.topic(), topic, "the subscription's topic");
    publish(&broker, message(&topic)).await;
    let first = clock::timeout(PATIENCE, deliveries.recv()).await;
    assert!(matches!(first, Ok(Some(_))), "nothing arrives before the end");
    subscription.close();
    publish(&broker, message(&topic)).await;
    let more = clock::timeout(QUIET, deliveries.recv()).await;
    assert!(!matches!(more, Ok(Some(_))), "a closed subscription gets a message");
}

/// K11.
async fn draining_lets_handlers_finish(broker: Arc<dyn Broker>) {
    let topic = topic();
    let (begun, finished) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let handler: Handler = {
        let (begun, finished) = (Arc::clone(&begun), Arc::clone(&finished));
        Arc::new(move |_| {
            let (begun, finished) = (Arc::clone(&begun), Arc::clone(&finished));
            Box::pin(async move {
                begun.add_permits(1);
                clock::sleep(QUIET).await;
                finished.fetch_add(1, SeqCst);
                Ack::Ack
            })
        })
    };
    let subscription = subscribe(&broker, &topic, options("q", 2), handler).await;
    for number in 0..2 {
        publish(&broker, numbered(&topic, number)).await;
    }
    let both = clock::timeout(PATIENCE, begun.acquire_many(2)).await;
    assert!(both.is_ok(), "two handlers do not run at a time");
    let deadline = clock::after(clock::now(), PATIENCE);
    let outcome = subscription.drain(deadline).await;
    assert!(outcome.is_ok(), "drain fails: {outcome:?}");
    assert_eq!(finished.load(SeqCst), 2, "handlers that draining let finish");
}

/// F36.
async fn what_a_cut_handler_had_goes_to_another_member(broker: Arc<dyn Broker>) {
    let topic = topic();
    let begun = Arc::new(Semaphore::new(0));
    let signal = Arc::clone(&begun);
    let handler: Handler = Arc::new(move |_| {
        signal.add_permits(1);
        Box::pin(std::future::pending())
    });
    let hanging = subscribe(&broker, &topic, options("q", 1), handler).await;
    publish(&broker, numbered(&topic, 7)).await;
    let permit = clock::timeout(PATIENCE, begun.acquire()).await;
    assert!(permit.is_ok(), "the message does not arrive");
    let mut other = listen(&broker, &topic, Some("q")).await;
    hanging.close();
    assert_eq!(other.bodies(1).await, numbers(7..8), "the message of a cut handler is lost");
}

async fn a_closed_broker_refuses(broker: Arc<dyn Broker>) {
    let topic = topic();
    let mut inbox = listen(&broker, &topic, None).await;
    publish(&broker, message(&topic)).await;
    inbox.next().await;
    for _ in 0..2 {
        let outcome = broker.close(clock::after(clock::now(), PATIENCE)).await;
        assert!(outcome.is_ok(), "close fails: {outcome:?}");
    }
    let refused = broker.publish(message(&topic)).await.map_err(|e| (e.code(), e.retry()));
    assert_eq!(refused, Err((503, Retry::Safe)), "publish to a closed broker");
    let handler: Handler = Arc::new(|_| Box::pin(async { Ack::Ack }));
    let refused = broker.subscribe(&topic, SubscribeOptions::default(), handler).await;
    assert_eq!(refused.map(drop).map_err(|e| e.code()), Err(503), "subscribe to a closed broker");
    assert!(!inbox.subscription.is_active(), "a subscription outlives its broker");
    inbox.is_quiet().await;
}

#[cfg(test)]
mod tests;
