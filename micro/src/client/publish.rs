//! Publishing events, and subscribing to them.

use std::future::Future;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::broker::{
    Broker, Event, Handler, Message, RawEvent, SubscribeOptions, Subscription, Topic,
};
use crate::client::Client;
use crate::codec::glue::{DecodeSerde, EncodeSerde, Wire};
use crate::codec::scratch;
use crate::codec::{Codecs, DecFn, EncFn};
use crate::core::context::Context;
use crate::core::error::{Error, Result};
use crate::core::metadata::Metadata;
use crate::core::trace::TRACE_KEY;

/// A handle that publishes typed events and subscribes to them; cheap to clone, and a field that
/// can be wired.
#[derive(Clone, Debug)]
pub struct Publisher {
    broker: Arc<dyn Broker>,
    format: crate::codec::Format,
    /// How the events of others are decoded.
    codecs: Arc<Codecs>,
}

impl Publisher {
    /// Makes a handle over a broker; events travel as MessagePack.
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker, format: crate::codec::Format::default(), codecs: Arc::default() }
    }

    /// Makes a handle whose events travel in a format, and which knows these codecs.
    pub(super) fn in_format(
        broker: Arc<dyn Broker>,
        format: crate::codec::Format,
        codecs: Codecs,
    ) -> Self {
        Self { broker, format, codecs: Arc::new(codecs) }
    }

    /// Returns the broker.
    pub fn broker(&self) -> &Arc<dyn Broker> {
        &self.broker
    }

    /// Publishes an event and waits until the broker has it as safely as it ever will.
    ///
    /// Trace and persistent metadata of the running handler travel with it; persistent metadata
    /// that does not fit beside the trace is left out and logged. The wait is bounded by the
    /// broker, not by the deadline of the handler. Dropping the future leaves open whether the
    /// event was published.
    ///
    /// # Errors
    /// `Retry::Safe` when no subscriber gets the event, `Retry::Unknown` when some may.
    pub async fn publish<T: Serialize + 'static>(&self, topic: &Topic<T>, event: &T) -> Result<()> {
        let encode: EncFn<T> = (&&Wire::<T>::new()).enc();
        let body = scratch(|out| encode(&self.format, event, out))?;
        let message = Message::new(topic.name(), self.format.content_type(), body);
        self.broker.publish(message.with_metadata(inherited())).await
    }

    /// Subscribes to a topic at run time; `#[subscriber]` does for as long as a process serves.
    ///
    /// When it returns, events published from then on arrive. The handler runs in a context of its
    /// own, which holds the trace and the metadata of the event. What it returns settles the event,
    /// unless [`Event::ack`], [`Event::retry`] or [`Event::reject`] was called before; an event that
    /// is no `T` goes to the dead letters. No statistics are kept of it, and a task that it spawns
    /// from its context ends with the handle of that task. The subscription ends when the handle is
    /// drained, closed or dropped. Dropping the future subscribes to nothing.
    ///
    /// ```
    /// # use micro::Result;
    /// use std::sync::Arc;
    ///
    /// use micro::Broker;
    /// use micro::broker::{Event, Memory, Overflow, SubscribeOptions, Topic};
    ///
    /// const PLACED: Topic<String> = Topic::new("orders.placed");
    ///
    /// # async fn example() -> Result<()> {
    /// let broker = Broker::new(Arc::new(Memory::new()));
    /// let (tell, mut told) = tokio::sync::mpsc::channel(1);
    /// let options = SubscribeOptions::default().with_overflow(Overflow::DropOldest);
    /// let placed = broker
    ///     .subscribe(&PLACED, options, move |order: Event<String>| {
    ///         let tell = tell.clone();
    ///         async move {
    ///             drop(tell.send(order.to_uppercase()).await);
    ///             Ok(())
    ///         }
    ///     })
    ///     .await?;
    /// broker.publish(&PLACED, &"tea".to_owned()).await?;
    /// assert_eq!(told.recv().await.as_deref(), Some("TEA"));
    /// placed.close();
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// #     .block_on(example()).unwrap();
    /// ```
    ///
    /// # Errors
    /// What the broker says: a 400 for a topic that is none, a 501 for an overflow that the backend
    /// does not offer.
    pub async fn subscribe<T, F, R>(
        &self,
        topic: &Topic<T>,
        options: SubscribeOptions,
        handler: F,
    ) -> Result<Subscription>
    where
        T: DeserializeOwned + Send + 'static,
        F: Fn(Event<T>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        let decode: DecFn<T> = (&&Wire::<T>::new()).dec();
        let (handler, codecs) = (Arc::new(handler), Arc::clone(&self.codecs));
        let handler: Handler = Arc::new(move |delivery| {
            let context = Context::from_parts(delivery.parts());
            let (handler, codecs) = (Arc::clone(&handler), Arc::clone(&codecs));
            let handled = async move {
                let (event, decision) = RawEvent::new(delivery, codecs);
                let outcome = match event.envelope(decode) {
                    Ok(event) => handler(event).await,
                    Err(error) => Err(error),
                };
                decision.automatic(outcome)
            };
            Box::pin(context.scope(handled))
        });
        self.broker.subscribe(topic.name(), options, handler).await
    }
}

/// What the running handler's context gives an event to carry on.
fn inherited() -> Metadata {
    let Some(context) = Context::try_current() else { return Metadata::new() };
    let Some(trace) = context.trace() else { return context.persistent().clone() };
    let mut metadata = Metadata::new();
    // An empty map has room for it: the trace is short and of plain characters.
    let _fits = metadata.insert(TRACE_KEY, trace.to_string()).is_ok();
    let entries = context.persistent().iter();
    let entries = entries.filter(|(key, _)| !key.eq_ignore_ascii_case(TRACE_KEY));
    let left_out = entries.filter(|(key, value)| metadata.insert(*key, *value).is_err()).count();
    if left_out > 0 {
        tracing::warn!(left_out, "event has no room for all persistent metadata");
    }
    metadata
}

impl Client {
    /// Publishes an event; see [`Publisher::publish`].
    ///
    /// # Errors
    /// 412 when the client was made without a broker, else what the broker says.
    pub async fn publish<T: Serialize + 'static>(&self, topic: &Topic<T>, event: &T) -> Result<()> {
        match &self.inner.publisher {
            Some(publisher) => publisher.publish(topic, event).await,
            None => Err(Error::precondition_failed("micro.client", "the client has no broker")),
        }
    }

    /// Returns the handle that publishes, if the client has a broker.
    pub fn publisher(&self) -> Option<&Publisher> {
        self.inner.publisher.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::context::Parts;
    use crate::core::limits::METADATA_ENTRIES_MAX;
    use crate::core::trace::Trace;

    #[test]
    fn a_full_baggage_leaves_the_trace_its_place_and_fails_no_publish() {
        let mut persistent = Metadata::new();
        for n in 0..METADATA_ENTRIES_MAX {
            persistent.insert(format!("key-{n:02}"), "x").expect("fits");
        }
        let parts = Parts { persistent, trace: Some(Trace::root()), ..Parts::default() };
        let metadata = Context::from_parts(parts).enter(inherited);
        assert!(metadata.contains_key(TRACE_KEY));
        assert_eq!(metadata.len(), METADATA_ENTRIES_MAX);
    }
}
