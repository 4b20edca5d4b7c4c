//! Publishing events.

use std::sync::Arc;

use serde::Serialize;

use crate::broker::{Broker, Message, Topic};
use crate::client::Client;
use crate::client::stub::encode_exactly;
use crate::codec::EncFn;
use crate::codec::glue::{EncodeSerde, Wire};
use crate::core::context::Context;
use crate::core::error::{Error, Result};
use crate::core::metadata::Metadata;

/// The metadata key under which an event carries its place in the trace.
const TRACE_KEY: &str = "traceparent";

/// A handle that publishes typed events; cheap to clone, and a field that can be wired.
#[derive(Clone, Debug)]
pub struct Publisher {
    broker: Arc<dyn Broker>,
    format: crate::codec::Format,
}

impl Publisher {
    /// Makes a handle over a broker; events travel as MessagePack.
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker, format: crate::codec::Format::default() }
    }

    /// Returns the broker.
    pub fn broker(&self) -> &Arc<dyn Broker> {
        &self.broker
    }

    /// Publishes an event and waits until the broker has it as safely as it ever will.
    ///
    /// Trace and persistent metadata of the running handler travel with it.
    ///
    /// # Errors
    /// `Retry::Safe` when no subscriber gets the event, `Retry::Unknown` when some may.
    pub async fn publish<T: Serialize + 'static>(&self, topic: &Topic<T>, event: &T) -> Result<()> {
        let encode: EncFn<T> = (&&Wire::<T>::new()).enc();
        let body = encode_exactly(|out| encode(&self.format, event, out))?;
        let message = Message::new(topic.name(), self.format.content_type(), body);
        self.broker.publish(message.with_metadata(inherited()?)).await
    }
}

/// What the running handler's context gives an event to carry on.
fn inherited() -> Result<Metadata> {
    let Some(context) = Context::try_current() else { return Ok(Metadata::new()) };
    let mut metadata = context.persistent().clone();
    if let Some(trace) = context.trace() {
        metadata.insert(TRACE_KEY, trace.to_string())?;
    }
    Ok(metadata)
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
