//! A delivery as subscribers see it: the decoded payload in its envelope.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::codec::Codecs;
use crate::codec::DecFn;
use crate::core::error::Result;
use crate::core::metadata::Metadata;

use super::delivery::Ack;
use super::delivery::Delivery;
use super::message::Message;

/// An event with what is known of its delivery; it dereferences to the payload.
///
/// With `ack = manual` the delivery is settled by [`ack`](Self::ack), [`retry`](Self::retry) or
/// [`reject`](Self::reject), whichever comes first, also from another task after the handler has
/// returned. An event that is dropped unsettled is delivered again; one whose handler fails before
/// settling it is settled by its error, as [`Ack::from_error`] says. Without `ack = manual` what the handler returns settles it, unless one
/// of the three was called before.
pub struct Event<T> {
    payload: T,
    delivery: Delivery,
    settle: Settle,
}

impl<T> Event<T> {
    /// Returns the topic that the event was published to.
    pub fn topic(&self) -> &str {
        &self.delivery.message.topic
    }

    /// Returns the id of the message, the same in each delivery of it.
    pub fn id(&self) -> &str {
        &self.delivery.message.id
    }

    /// Returns the facts that travelled with the event.
    pub fn metadata(&self) -> &Metadata {
        &self.delivery.message.metadata
    }

    /// Returns the message as it was published.
    pub fn message(&self) -> &Arc<Message> {
        &self.delivery.message
    }

    /// Counts the deliveries of this event to this group, from 1.
    pub fn attempt(&self) -> u32 {
        self.delivery.attempt
    }

    /// Settles the delivery as done.
    pub fn ack(&self) {
        self.settle.with(Ack::Ack);
    }

    /// Asks for another delivery: after some time, or when the broker sees fit.
    pub fn retry(&self, after: Option<Duration>) {
        self.settle.with(Ack::Retry { after });
    }

    /// Gives the event up; it goes to the dead letters.
    pub fn reject(&self, reason: impl Into<String>) {
        self.settle.with(Ack::reject(reason));
    }

    /// Returns the payload. With `ack = manual` settle the event before: this drops it.
    pub fn into_inner(self) -> T {
        self.payload
    }
}

impl<T> Deref for Event<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.payload
    }
}

impl<T: fmt::Debug> fmt::Debug for Event<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("topic", &self.topic())
            .field("id", &self.id())
            .field("attempt", &self.attempt())
            .field("payload", &self.payload)
            .finish()
    }
}

/// A delivery that has not been decoded.
#[derive(Debug)]
pub struct RawEvent {
    delivery: Delivery,
    codecs: Arc<Codecs>,
    settle: Settle,
}

impl RawEvent {
    /// Wraps a delivery; the other value tells how it is settled.
    pub fn new(delivery: Delivery, codecs: Arc<Codecs>) -> (Self, Decision) {
        let (sender, receiver) = oneshot::channel();
        let settle = Settle(Mutex::new(Some(sender)));
        (Self { delivery, codecs, settle }, Decision(receiver))
    }

    /// Returns the delivery.
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// Decodes the payload.
    ///
    /// # Errors
    ///
    /// An unknown content type (415) and a malformed payload (400) are never worth a retry: they
    /// lead to the dead letters.
    pub fn decode<T>(&self, decode: DecFn<T>) -> Result<T> {
        let message = &self.delivery.message;
        decode(&self.codecs.format(&message.content_type)?, &(&message.body).into())
    }

    /// Decodes the payload and keeps it in its envelope.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode).
    pub fn envelope<T>(self, decode: DecFn<T>) -> Result<Event<T>> {
        let payload = self.decode(decode)?;
        Ok(Event { payload, delivery: self.delivery, settle: self.settle })
    }
}

/// How a delivery is settled; the broker's side of an [`Event`].
#[derive(Debug)]
pub struct Decision(oneshot::Receiver<Ack>);

impl Decision {
    /// Decides by what the handler returned, unless the event was settled.
    pub fn automatic(mut self, outcome: Result<()>) -> Ack {
        self.0.try_recv().unwrap_or_else(|_| outcome.into())
    }

    /// Waits until the event is settled or dropped; one that is dropped is retried. A handler that
    /// failed without settling it decides by its error.
    ///
    /// The wait is bounded by the broker's time to acknowledge. Dropping the future changes
    /// nothing.
    pub async fn manual(mut self, outcome: Result<()>) -> Ack {
        match outcome {
            Ok(()) => self.0.await.unwrap_or(Ack::RETRY),
            Err(error) => self.0.try_recv().unwrap_or_else(|_| Ack::from_error(&error)),
        }
    }
}

/// The subscriber's end of a [`Decision`]; the first word counts.
struct Settle(Mutex<Option<oneshot::Sender<Ack>>>);

impl Settle {
    fn with(&self, ack: Ack) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Nobody listens once the broker has given up waiting: it delivers again.
        let _unheard = sender.map(|sender| sender.send(ack));
    }
}

impl fmt::Debug for Settle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settle")
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::codec::Decode;
    use crate::codec::Raw;
    use crate::core::content_type::ContentType;
    use crate::core::error::Error;

    fn event(content_type: ContentType) -> (RawEvent, Decision) {
        let message = Message::new("orders.created", content_type, Bytes::from_static(b"7"));
        RawEvent::new(Delivery::new(Arc::new(message), 2), Arc::default())
    }

    fn raw() -> (Event<Raw>, Decision) {
        let (raw, decision) = event(ContentType::Json);
        (raw.envelope(|format, body| Raw::decode(format, &body.share())).expect("raw"), decision)
    }

    #[test]
    fn the_envelope_tells_of_the_delivery() {
        let (event, _decision) = raw();
        assert_eq!((event.topic(), event.attempt()), ("orders.created", 2));
        assert_eq!(event.id(), event.message().id);
        assert_eq!(&event.bytes[..], b"7");
        assert_eq!(event.into_inner().content_type, ContentType::Json);
    }

    #[test]
    fn what_the_handler_returns_settles_it_unless_it_was_settled_before() {
        assert_eq!(raw().1.automatic(Ok(())), Ack::Ack);
        let busy = Error::unavailable("shop", "no");
        assert_eq!(raw().1.automatic(Err(busy)), Ack::RETRY);
        let (event, decision) = raw();
        event.reject("old");
        event.ack();
        assert_eq!(decision.automatic(Ok(())), Ack::reject("old"), "the first word counts");
    }

    /// K1.
    #[tokio::test]
    async fn a_manual_event_that_is_dropped_is_never_acknowledged() {
        let (event, decision) = raw();
        drop(event);
        assert_eq!(decision.manual(Ok(())).await, Ack::RETRY);
        let (event, decision) = raw();
        let failed = decision.manual(Err(Error::bad_request("shop", "no"))).await;
        assert_eq!(failed, Ack::reject("shop: no"));
        drop(event);
    }

    #[tokio::test]
    async fn a_manual_event_may_be_settled_after_the_handler_returned() {
        let (event, decision) = raw();
        let (settled, ()) = tokio::join!(decision.manual(Ok(())), async {
            tokio::task::yield_now().await;
            event.ack();
        });
        assert_eq!(settled, Ack::Ack);
    }

    /// K13.
    #[test]
    fn an_unknown_content_type_is_rejected_not_dropped() {
        let unknown = ContentType::parse("application/x-unheard-of");
        let (raw, decision) = event(unknown);
        let error =
            raw.decode(|format, body| Raw::decode(format, &body.share())).expect_err("no codec");
        assert!(matches!(decision.automatic(Err(error)), Ack::Reject { .. }));
    }
}
