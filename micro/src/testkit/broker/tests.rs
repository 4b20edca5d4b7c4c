//! The suite against the memory broker, and against brokers with one fault each.

use std::sync::Mutex;

use super::*;
use crate::broker::Control;
use crate::broker::Counts;
use crate::broker::Http;
use crate::broker::Memory;
use crate::broker::Overflow;
use crate::core::clock::Instant;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::limits::Limits;
use crate::registry;
use crate::transport;
use crate::transport::Scope;

#[tokio::test(start_paused = true)]
async fn memory_conforms() {
    conforms(&|| made(Memory::new())).await;
}

/// Two processes that share a registry and a network within this one.
fn http() -> Pair {
    let (registry, transport) = (registry::Memory::new(), transport::Memory::new());
    let one = || {
        let (registry, transport) = (Arc::new(registry.clone()), Arc::new(transport.clone()));
        let made: Arc<dyn Broker> = Arc::new(Http::new(registry, transport, Scope::default()));
        made
    };
    Pair::new(one(), one())
}

#[tokio::test(start_paused = true)]
async fn http_conforms() {
    conforms(&|| made(http())).await;
}

#[tokio::test(start_paused = true)]
async fn http_within_one_process_conforms() {
    conforms(&|| made(http().into_first())).await;
}

fn made(broker: impl Broker) -> BoxFuture<'static, Arc<dyn Broker>> {
    let broker: Arc<dyn Broker> = Arc::new(broker);
    Box::pin(std::future::ready(broker))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    AcksBeforeHandling,
    AcksFailures,
    AnswersAfterClose,
    BuriesNothing,
    ChangesIds,
    CountsNoAttempts,
    CutsOnDrain,
    DropsUnderLoad,
    EndsWhenSlow,
    ForgetsMetadata,
    ForgetsTheReason,
    HidesPatterns,
    IgnoresAfter,
    IgnoresConcurrency,
    IgnoresOverflow,
    IgnoresQueues,
    IgnoresTopics,
    LeaksSubscriptions,
    LosesTheFirst,
    MakesAllOneGroup,
    Miscounts,
    OneAtATime,
    PublishesTwice,
    RefusesWhenFull,
    RejectionsRetry,
    Reorders,
    RetriesAtOnce,
    RetriesForEver,
    TakesAnyTopic,
}

/// A memory broker with a fault.
#[derive(Debug)]
struct Broken {
    fault: Fault,
    memory: Memory,
    /// Subscriptions that never end.
    leaked: Mutex<Vec<Subscription>>,
    /// Topics of which a message was lost, and the message that waits to be overtaken.
    seen: Mutex<(Vec<String>, Option<Message>)>,
    tracker: TaskTracker,
}

struct Ends {
    fault: Fault,
    inner: Mutex<Option<Subscription>>,
}

impl Control for Ends {
    fn drain(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        let inner = self.inner.lock().unwrap().take();
        Box::pin(async move {
            match inner {
                Some(inner) if self.fault != Fault::CutsOnDrain => inner.drain(deadline).await,
                _ => Ok(()),
            }
        })
    }

    fn stop(&self) {
        self.inner.lock().unwrap().take();
    }

    fn is_active(&self) -> bool {
        self.inner.lock().unwrap().as_ref().is_some_and(Subscription::is_active)
    }
}

impl Broken {
    fn new(fault: Fault) -> Self {
        let mut limits = Limits::default();
        if fault == Fault::RetriesForEver {
            limits.broker.deliveries_max = 50;
        }
        let tracker = TaskTracker::new();
        let memory = Memory::with_limits(&limits, tracker.clone());
        Self { fault, memory, leaked: Mutex::default(), seen: Mutex::default(), tracker }
    }

    fn handler(&self, handler: Handler) -> Handler {
        let (fault, tracker) = (self.fault, self.tracker.clone());
        Arc::new(move |mut delivery: Delivery| {
            if fault == Fault::CountsNoAttempts {
                delivery.attempt = 1;
            }
            if fault == Fault::ForgetsTheReason {
                let mut message = (*delivery.message).clone();
                message.metadata.retain(|key, _| key != "micro-dead-reason");
                delivery.message = Arc::new(message);
            }
            let handler = Arc::clone(&handler);
            if fault == Fault::AcksBeforeHandling {
                tracker.spawn("early", async move { handler(delivery).await });
                return Box::pin(async { Ack::Ack });
            }
            Box::pin(async move {
                match (fault, handler(delivery).await) {
                    (Fault::AcksFailures, Ack::Retry { .. })
                    | (Fault::BuriesNothing, Ack::Reject { .. }) => Ack::Ack,
                    (Fault::RejectionsRetry, Ack::Reject { .. })
                    | (Fault::IgnoresAfter, Ack::Retry { .. }) => Ack::RETRY,
                    (Fault::RetriesAtOnce, Ack::Retry { after: None }) => {
                        Ack::Retry { after: Some(Duration::ZERO) }
                    }
                    (_, ack) => ack,
                }
            })
        })
    }

    fn options(&self, mut options: SubscribeOptions) -> SubscribeOptions {
        match self.fault {
            Fault::IgnoresQueues => options.queue = None,
            Fault::MakesAllOneGroup => options.queue = Some("all".into()),
            Fault::IgnoresConcurrency => options.concurrency = NonZeroUsize::new(8).unwrap(),
            Fault::OneAtATime => options.concurrency = NonZeroUsize::MIN,
            Fault::DropsUnderLoad => options.overflow = Overflow::DropOldest,
            Fault::EndsWhenSlow => options.overflow = Overflow::Disconnect,
            Fault::IgnoresOverflow => options.overflow = Overflow::Block,
            _ => {}
        }
        options
    }
}

impl Broker for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn capabilities(&self) -> Capabilities {
        let patterns = self.fault != Fault::HidesPatterns;
        Capabilities { patterns, ..self.memory.capabilities() }
    }

    fn publish(&self, mut message: Message) -> BoxFuture<'_, Result<()>> {
        let mut held = None;
        {
            let mut seen = self.seen.lock().unwrap();
            let first = !seen.0.contains(&message.topic);
            match self.fault {
                Fault::ForgetsMetadata => message.metadata.clear(),
                Fault::ChangesIds => message.id = "same".into(),
                Fault::LosesTheFirst if first => {
                    seen.0.push(message.topic.clone());
                    return Box::pin(async { Ok(()) });
                }
                Fault::PublishesTwice => held = Some(message.clone()),
                Fault::Reorders => {
                    held = seen.1.take();
                    if held.is_none() && &*message.body == b"0" {
                        seen.1 = Some(message);
                        return Box::pin(async { Ok(()) });
                    }
                }
                _ => {}
            }
        }
        Box::pin(async move {
            let publishing = self.memory.publish(message);
            let outcome = if self.fault == Fault::RefusesWhenFull {
                let given_up = Error::too_many_requests("broken", "it does not wait");
                let waited = clock::timeout(Duration::from_millis(1), publishing).await;
                waited.unwrap_or(Err(given_up))
            } else {
                publishing.await
            };
            if let Some(held) = held {
                self.memory.publish(held).await?;
            }
            match outcome {
                Err(error) if error.code() == 400 && self.fault == Fault::TakesAnyTopic => Ok(()),
                Err(error) if error.code() == 503 && self.fault == Fault::AnswersAfterClose => {
                    Ok(())
                }
                outcome => outcome,
            }
        })
    }

    fn subscribe<'a>(
        &'a self,
        topic: &'a str,
        options: SubscribeOptions,
        handler: Handler,
    ) -> BoxFuture<'a, Result<Subscription>> {
        Box::pin(async move {
            let wide = self.fault == Fault::IgnoresTopics;
            let taken = if wide { ">" } else { topic };
            let (options, handler) = (self.options(options), self.handler(handler));
            let inner = self.memory.subscribe(taken, options, handler).await?;
            if self.fault == Fault::LeaksSubscriptions {
                self.leaked.lock().unwrap().push(inner);
                let nothing = Ends { fault: self.fault, inner: Mutex::default() };
                return Ok(Subscription::new(topic, Arc::new(nothing)));
            }
            let ends = Ends { fault: self.fault, inner: Mutex::new(Some(inner)) };
            Ok(Subscription::new(topic, Arc::new(ends)))
        })
    }

    fn close(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        self.memory.close(deadline)
    }

    fn counts(&self) -> Option<Counts> {
        let counts = self.memory.counts();
        let acked = if self.fault == Fault::Miscounts { counts.acked + 1 } else { counts.acked };
        Some(Counts { acked, ..counts })
    }
}

/// Returns the checks that a broker with the fault fails.
async fn failed(fault: Fault) -> Vec<&'static str> {
    let mut failed = Vec::new();
    for check in CHECKS {
        if passes(check, &|| made(Broken::new(fault))).await.is_err() {
            failed.push(check.name);
        }
    }
    failed
}

#[tokio::test(start_paused = true)]
async fn each_broken_broker_fails_the_check_for_its_fault() {
    assert_eq!(failed(Fault::None).await, [""; 0], "the yardstick itself is sound");
    let faults = [
        (Fault::AcksBeforeHandling, "a_retry_is_delivered_again"),
        (Fault::AcksFailures, "a_retry_is_delivered_again"),
        (Fault::AnswersAfterClose, "a_closed_broker_refuses"),
        (Fault::BuriesNothing, "a_rejected_message_goes_to_the_dead_letters_at_once"),
        (Fault::ChangesIds, "a_message_arrives_unchanged"),
        (Fault::CountsNoAttempts, "a_retry_is_delivered_again"),
        (Fault::CutsOnDrain, "draining_lets_handlers_finish"),
        (Fault::DropsUnderLoad, "a_slow_subscription_loses_nothing"),
        (Fault::EndsWhenSlow, "the_oldest_gives_way_where_that_is_asked_for"),
        (Fault::ForgetsMetadata, "a_message_arrives_unchanged"),
        (Fault::ForgetsTheReason, "given_up_messages_go_to_the_dead_letters"),
        (Fault::HidesPatterns, "patterns_cover_what_they_say_or_are_refused"),
        (Fault::IgnoresAfter, "a_retry_is_delivered_again"),
        (Fault::IgnoresConcurrency, "concurrency_is_reached_and_not_exceeded"),
        (Fault::IgnoresOverflow, "a_slow_subscription_ends_where_that_is_asked_for"),
        (Fault::IgnoresQueues, "one_member_of_each_group_gets_a_message"),
        (Fault::IgnoresTopics, "only_the_topic_subscribed_to_arrives"),
        (Fault::LeaksSubscriptions, "a_closed_subscription_gets_nothing"),
        (Fault::LosesTheFirst, "a_message_published_right_after_subscribing_arrives"),
        (Fault::MakesAllOneGroup, "subscriptions_without_a_queue_each_get_every_message"),
        (Fault::Miscounts, "what_is_counted_adds_up"),
        (Fault::OneAtATime, "concurrency_is_reached_and_not_exceeded"),
        (Fault::PublishesTwice, "a_message_arrives_once"),
        (Fault::RefusesWhenFull, "a_full_subscription_makes_publishers_wait_and_loses_nothing"),
        (Fault::RejectionsRetry, "a_rejected_message_goes_to_the_dead_letters_at_once"),
        (Fault::Reorders, "messages_of_one_publisher_keep_their_order"),
        (Fault::RetriesAtOnce, "retries_pause_longer_and_longer"),
        (Fault::RetriesForEver, "a_poison_message_is_given_up_and_blocks_nobody"),
        (Fault::TakesAnyTopic, "invalid_topics_are_refused"),
    ];
    for (fault, check) in faults {
        let failed = failed(fault).await;
        assert!(failed.contains(&check), "{fault:?} fails {failed:?}");
    }
}
