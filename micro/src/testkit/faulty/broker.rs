//! A broker with faults. What is subscribed stays so while the broker is away.

use std::sync::Arc;

use crate::broker::{
    Broker, Capabilities, Counts, Handler, Inbox, Message, SubscribeOptions, Subscription,
};
use crate::core::clock::Instant;
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::testkit::faulty::Faulty;

impl<B: Broker> Broker for Faulty<B> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn publish(&self, message: Message) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.pass("publish").await?;
            self.inner.publish(message).await
        })
    }

    fn subscribe<'a>(
        &'a self,
        topic: &'a str,
        options: SubscribeOptions,
        handler: Handler,
    ) -> BoxFuture<'a, Result<Subscription>> {
        Box::pin(async move {
            self.pass("subscribe").await?;
            self.inner.subscribe(topic, options, handler).await
        })
    }

    fn close(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        self.inner.close(deadline)
    }

    fn counts(&self) -> Option<Counts> {
        self.inner.counts()
    }

    fn inbox(&self) -> Option<Arc<dyn Inbox>> {
        self.inner.inbox()
    }
}
