//! What every broker backend must do. Checks of what a backend does not declare are left out, but
//! for the check that it says so.
//!
//! A backend between processes is examined as a [`Pair`] of them.
//!
//! # The rules of delivery
//!
//! Each has a test of its name in `broker/tests.rs`, for every embedded backend but K10, which within
//! one process has no connection to lose, beside the checks here that every backend has to pass.
//!
//! | rule | demand | here |
//! |---|---|---|
//! | K1 | acknowledged only by a handler that succeeded | `a_retry_is_delivered_again` |
//! | K2 | a subscription that was made misses nothing | `a_message_published_right_after_subscribing_arrives` |
//! | K3 | ack, retry or reject; an error by its class, a panic is a retry | `a_panic_is_delivered_again` |
//! | K4 | what always fails is given up, with reason, attempts and times; it can be published again | `given_up_messages_go_to_the_dead_letters`, `a_dead_letter_can_be_published_again` |
//! | K5 | order only where it is declared | `messages_of_one_publisher_keep_their_order` |
//! | K6 | what waits is bounded by count and bytes, concurrency is said | `concurrency_is_reached_and_not_exceeded`, `a_full_subscription_makes_publishers_wait_and_loses_nothing` |
//! | K7 | every message has an id, the same in each delivery | `a_message_arrives_unchanged`, `a_retry_is_delivered_again` |
//! | K8 | an outcome of publishing is success, safe to repeat, or unknown | `a_closed_broker_refuses` |
//! | K9 | nothing is buffered for those out of reach unless it is bounded and visible | not for all: needs a peer to lose |
//! | K10 | a lost connection is made again, subscriptions and groups stay | not for all: needs a connection to cut |
//! | K11 | draining fetches nothing more and finishes what runs | `draining_lets_handlers_finish`, `a_member_that_drains_loses_nothing` |
//! | K12 | names are checked, patterns only where declared | `invalid_topics_are_refused`, `patterns_cover_what_they_say_or_are_refused` |
//! | K13 | what cannot be decoded goes to the dead letters | `a_rejected_message_goes_to_the_dead_letters_at_once` |
//! | K14 | counts add up | `what_is_counted_adds_up`, where the backend counts |
//!
//! Names of topics are not divided by environment (K12): processes of two environments share
//! neither a registry nor a server.

mod flow;
mod overflow;
mod pair;
mod routing;
mod settling;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::broker::Ack;
use crate::broker::Broker;
use crate::broker::Capabilities;
use crate::broker::Delivery;
use crate::broker::Handler;
use crate::broker::Message;
use crate::broker::SubscribeOptions;
use crate::broker::Subscription;
use crate::core::clock;
use crate::core::content_type::ContentType;
use crate::core::future::BoxFuture;
use crate::core::shutdown::TaskTracker;

pub use self::pair::Pair;

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
    ($($part:ident::$name:ident if $applies:expr,)*) => {
        const CHECKS: &[Check] = &[$(Check {
            name: stringify!($name),
            applies: $applies,
            run: |broker| Box::pin($part::$name(broker)),
        },)*];
    };
}

checks! {
    routing::a_message_published_right_after_subscribing_arrives if |_| true,
    routing::a_message_arrives_unchanged if |_| true,
    routing::a_message_arrives_once if |_| true,
    routing::only_the_topic_subscribed_to_arrives if |_| true,
    routing::subscriptions_without_a_queue_each_get_every_message if |_| true,
    routing::one_member_of_each_group_gets_a_message if |c| c.queue_groups,
    routing::a_group_shares_the_work if |c| c.queue_groups,
    routing::invalid_topics_are_refused if |_| true,
    routing::patterns_cover_what_they_say_or_are_refused if |_| true,
    settling::a_retry_is_delivered_again if |c| c.redelivery,
    settling::a_panic_is_delivered_again if |c| c.redelivery,
    settling::a_poison_message_is_given_up_and_blocks_nobody if |c| c.redelivery,
    settling::given_up_messages_go_to_the_dead_letters if |c| c.redelivery && c.dead_letters,
    settling::a_rejected_message_goes_to_the_dead_letters_at_once if |c| c.dead_letters,
    settling::retries_pause_longer_and_longer if |c| c.redelivery,
    settling::a_dead_letter_can_be_published_again if |c| c.dead_letters,
    settling::each_group_settles_for_itself if |c| c.redelivery && c.queue_groups,
    settling::what_is_counted_adds_up if |_| true,
    overflow::a_full_subscription_makes_publishers_wait_and_loses_nothing if |c| c.overflow,
    overflow::the_oldest_gives_way_where_that_is_asked_for if |c| c.overflow,
    overflow::a_slow_subscription_ends_where_that_is_asked_for if |c| c.overflow,
    overflow::an_overflow_that_is_not_declared_is_refused if |c| !c.overflow,
    flow::messages_of_one_publisher_keep_their_order if |c| c.ordered,
    flow::concurrency_is_reached_and_not_exceeded if |_| true,
    flow::a_slow_subscription_loses_nothing if |c| c.redelivery,
    flow::a_closed_subscription_gets_nothing if |_| true,
    flow::draining_lets_handlers_finish if |_| true,
    flow::a_member_that_drains_loses_nothing if |c| c.redelivery && c.queue_groups,
    flow::what_a_cut_handler_had_goes_to_another_member if |c| c.redelivery && c.queue_groups,
    flow::a_closed_broker_refuses if |_| true,
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
    mut options: SubscribeOptions,
    handler: Handler,
) -> Subscription {
    // What needs a group applies to backends that have them; all else is as well without.
    if !broker.capabilities().queue_groups {
        options.queue = None;
    }
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

#[cfg(test)]
mod tests;
