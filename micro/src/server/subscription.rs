//! What a `#[subscriber]` writes for the server: its handler without its types.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::broker::{Ack, Delivery, Event, Handler, RawEvent, SubscribeOptions};
use crate::codec::{Codecs, DecFn};
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::context::{Callee, Context, Parts};
use crate::core::descriptor::SubscriptionSpec;
use crate::core::error::{Error, Result};
use crate::core::exchange::DONE;
use crate::core::future::BoxFuture;
use crate::core::shutdown::{Shutdown, TaskTracker};
use crate::core::trace::Trace;
use crate::debug::{Calls, Monitor, Outcome, SpanKind};
use crate::server::serve::IntoError;

/// Deliveries that a subscription handles at a time when it does not say.
const CONCURRENCY_DEFAULT: NonZeroUsize = NonZeroUsize::MIN;

/// One subscription of a service.
pub struct Subscription<S> {
    /// Makes the future of one delivery; nothing runs before it is polled.
    pub call: fn(Arc<S>, Context, RawEvent) -> BoxFuture<'static, Result<Ack>>,
}

impl<S> fmt::Debug for Subscription<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscription")
    }
}

/// A free function that is a subscription; `#[subscriber]` implements it for a type of its name.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a micro subscriber",
    label = "not a subscriber",
    note = "put `#[micro::subscriber(topic = \"...\")]` on the function"
)]
pub trait Subscriber: 'static {
    /// What the subscription declares.
    const SPEC: SubscriptionSpec;

    /// Makes the future of one delivery; nothing runs before it is polled.
    fn call(context: Context, event: RawEvent) -> BoxFuture<'static, Result<Ack>>;
}

/// Decodes the payload of an event.
///
/// # Errors
/// 400 or 415 when the payload is not a `T`.
pub fn event<T>(event: &RawEvent, decode: DecFn<T>) -> Result<T> {
    event.decode(decode)
}

/// Decodes the payload of an event and keeps its envelope.
///
/// # Errors
/// 400 or 415 when the payload is not a `T`.
pub fn envelope<T>(event: RawEvent, decode: DecFn<T>) -> Result<Event<T>> {
    event.envelope(decode)
}

/// Turns what a handler returned into the outcome of its delivery.
///
/// # Errors
/// The handler's error, which decides whether the event is delivered again.
pub fn acked<E: IntoError>(result: Result<(), E>) -> Result<Ack> {
    result.map(|()| Ack::Ack).map_err(IntoError::into_error)
}

/// What the handlers of a process work with.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// How payloads are decoded.
    pub codecs: Arc<Codecs>,
    /// The lifecycle of the process.
    pub shutdown: Shutdown,
    /// Owns the tasks that handlers spawn; a stop waits for them.
    pub tasks: TaskTracker,
    /// Counts events, and records those that are traced.
    pub monitor: Monitor,
}

/// Counts one event when it has been handled, or given up.
struct Handled {
    subscriber: Arc<Subscribing>,
    trace: Option<Trace>,
    began: Instant,
    code: u16,
}

/// What all events of a subscription are counted as.
struct Subscribing {
    monitor: Monitor,
    calls: Arc<Calls>,
    topic: &'static str,
}

impl Handled {
    fn begin(subscriber: Arc<Subscribing>, trace: Option<Trace>) -> Self {
        subscriber.calls.begin();
        Self { subscriber, trace, began: clock::now(), code: GIVEN_UP }
    }
}

impl Drop for Handled {
    fn drop(&mut self) {
        let (at, code) = (clock::now(), if std::thread::panicking() { 500 } else { self.code });
        let Subscribing { monitor, calls, topic } = self.subscriber.as_ref();
        calls.end(Outcome::of(code), at.saturating_duration_since(self.began));
        if let Some(trace) = self.trace {
            monitor.record(trace, (topic, SpanKind::Subscriber, code), self.began, at);
        }
    }
}

/// The code of an event whose handler was dropped.
const GIVEN_UP: u16 = 499;

/// A subscription that is ready to be made at a broker.
pub struct Subscribed {
    /// What it declares.
    pub spec: SubscriptionSpec,
    /// Runs the handler.
    pub handler: Handler,
}

impl Subscribed {
    /// Joins a free function with what it works with.
    pub fn free<F: Subscriber>(surroundings: Surroundings) -> Self {
        Self::from_call(F::SPEC, "", surroundings, F::call)
    }

    /// Joins a method with its value and what it works with.
    pub fn method<S: Send + Sync + 'static>(
        subscription: &Subscription<S>,
        service: &'static str,
        value: Arc<S>,
        (spec, surroundings): (SubscriptionSpec, Surroundings),
    ) -> Self {
        let call = subscription.call;
        let call = move |context, event| call(Arc::clone(&value), context, event);
        Self::from_call(spec, service, surroundings, call)
    }

    fn from_call(
        spec: SubscriptionSpec,
        service: &'static str,
        surroundings: Surroundings,
        call: impl Fn(Context, RawEvent) -> BoxFuture<'static, Result<Ack>> + Send + Sync + 'static,
    ) -> Self {
        let service: Option<Arc<str>> = (!service.is_empty()).then(|| service.into());
        let manual = spec.manual_ack;
        let monitor = surroundings.monitor.clone();
        let calls = monitor.calls(service.as_deref().unwrap_or_default(), spec.name);
        let subscribing = Arc::new(Subscribing { monitor, calls, topic: spec.topic });
        let handler: Handler = Arc::new(move |delivery| {
            let context = context(&delivery, service.clone(), &surroundings);
            let mut handled = Handled::begin(Arc::clone(&subscribing), context.trace());
            let (event, decision) = RawEvent::new(delivery, Arc::clone(&surroundings.codecs));
            let running = context.enter(|| call(context.clone(), event));
            let running = context.scope(running);
            Box::pin(async move {
                let outcome = running.await.map(|_| ());
                handled.code = outcome.as_ref().map_or_else(Error::code, |()| DONE);
                drop(handled);
                if manual { decision.manual(outcome).await } else { decision.automatic(outcome) }
            })
        });
        Self { spec, handler }
    }

    /// Returns how the broker is asked for it.
    pub fn options(&self) -> SubscribeOptions {
        let concurrency = NonZeroUsize::new(self.spec.concurrency).unwrap_or(CONCURRENCY_DEFAULT);
        let options = SubscribeOptions::default()
            .with_concurrency(concurrency)
            .with_overflow(self.spec.overflow);
        match self.spec.queue {
            Some(queue) => options.with_queue(queue),
            None => options,
        }
    }
}

impl fmt::Debug for Subscribed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribed").field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// Makes the context in which an event is handled: its trace and metadata, but no deadline.
fn context(delivery: &Delivery, service: Option<Arc<str>>, around: &Surroundings) -> Context {
    let callee = Callee {
        spec: None,
        service,
        shutdown: around.shutdown.clone(),
        tasks: around.tasks.clone(),
    };
    Context::from_parts(Parts { callee: Some(Arc::new(callee)), ..delivery.parts() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Overflow;

    #[test]
    fn what_is_declared_is_what_the_broker_is_asked_for() {
        let spec = SubscriptionSpec {
            name: "Mailer.OnMade",
            topic: "made",
            queue: Some("mailer"),
            concurrency: 3,
            overflow: Overflow::DropOldest,
            manual_ack: false,
            doc: "",
            description: "",
            metadata: &[],
        };
        let handler: Handler = Arc::new(|_| Box::pin(std::future::ready(Ack::Ack)));
        let wanted = SubscribeOptions::default()
            .with_queue("mailer")
            .with_concurrency(NonZeroUsize::new(3).unwrap())
            .with_overflow(Overflow::DropOldest);
        assert_eq!(Subscribed { spec, handler }.options(), wanted);
    }
}
