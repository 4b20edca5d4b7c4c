//! A subscription on one channel: what the server delivers, handed to handlers.
//!
//! The server delivers as many messages as there are handlers. One that waits for its next delivery
//! stays with the server unacknowledged, so that it cannot be lost; meanwhile a consumer of one
//! message more stands in for it, so that it holds up no other.

use std::sync::Arc;

use futures_util::StreamExt;
use lapin::Channel;
use lapin::Consumer;
use lapin::message::Delivery;
use lapin::options::BasicCancelOptions;
use lapin::options::BasicConsumeOptions;
use lapin::options::BasicQosOptions;
use lapin::types::FieldTable;
use lapin::types::ShortString;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Result;
use crate::driver::amqp::answer;

use super::held::Held;
use super::member::PAUSED_MAX;
use super::member::Subscribed;
use super::topology;

/// What the code of a channel that is closed says: success.
const CLOSED: u16 = 200;

/// A message as it came, and how often this process delivered it before without giving it back.
pub(super) struct Came {
    pub(super) delivery: Delivery,
    pub(super) repeats: u32,
}

impl From<Delivery> for Came {
    fn from(delivery: Delivery) -> Self {
        Self { delivery, repeats: 0 }
    }
}

/// What handlers share of a session.
pub(super) struct Line {
    pub(super) channel: Channel,
    pub(super) subscribed: Arc<Subscribed>,
    queue: ShortString,
}

/// A subscription on one channel.
pub(super) struct Session {
    line: Arc<Line>,
    consumer: Consumer,
    /// What comes beside the consumer. Limit: a stand-in has one message at a time.
    beside: mpsc::Receiver<Came>,
    sender: mpsc::Sender<Came>,
}

impl Session {
    /// Opens a channel, declares what is needed and consumes. Dropping the future leaves nothing.
    pub(super) async fn open(subscribed: &Arc<Subscribed>) -> Result<Self> {
        let Subscribed { exchanges, topic, concurrency, .. } = &**subscribed;
        let channel = subscribed.host.channel().await?;
        topology::exchanges(&channel, exchanges).await?;
        let queue = match &subscribed.queue {
            Some(queue) => topology::durable(&channel, exchanges, topic, queue).await?,
            None => topology::passing(&channel, exchanges, topic).await?,
        };
        let prefetch = u16::try_from(concurrency.get()).unwrap_or(u16::MAX);
        let line = Line { channel, subscribed: Arc::clone(subscribed), queue };
        line.prefetch(prefetch).await?;
        let consumer = line.consume().await?;
        // From here on for those that stand in.
        line.prefetch(1).await?;
        let (sender, beside) = mpsc::channel(PAUSED_MAX);
        Ok(Self { line: Arc::new(line), consumer, beside, sender })
    }

    /// Hands over what comes until the channel is lost, or all is done after draining began.
    pub(super) async fn run(self) {
        let line = Arc::clone(&self.line);
        // Cancel safety: what is cut here goes back to its queue with the channel.
        tokio::select! {
            biased;
            () = line.subscribed.life.closed() => {}
            () = self.work() => {}
        }
        // What is not acknowledged goes back to its queue. One that is lost is closed already.
        let closing = line.channel.close(CLOSED, "".into());
        let _lost = answer("close a channel", closing).await.is_err();
    }

    async fn work(mut self) {
        if !self.feed().await {
            self.finish().await;
        }
    }

    /// Returns whether the channel is lost; otherwise draining began.
    async fn feed(&mut self) -> bool {
        let subscribed = Arc::clone(&self.line.subscribed);
        loop {
            let Some(free) = subscribed.free().await else { return false };
            // Cancel safety: what was not received stays where it is.
            tokio::select! {
                biased;
                () = subscribed.life.draining() => return false,
                Some(came) = self.beside.recv() => self.hand_over(came, free),
                came = self.consumer.next() => match came {
                    Some(Ok(delivery)) => self.hand_over(delivery.into(), free),
                    Some(Err(error)) => {
                        tracing::warn!(topic = subscribed.topic, %error, "subscription is lost");
                        return true;
                    }
                    None => {
                        tracing::warn!(topic = subscribed.topic, "the server ends a subscription");
                        return true;
                    }
                },
            }
        }
    }

    /// Takes nothing more and works off what the server has delivered.
    async fn finish(mut self) {
        let line = Arc::clone(&self.line);
        let tag = self.consumer.tag();
        let cancelled = line.channel.basic_cancel(tag, BasicCancelOptions::default());
        if let Err(error) = answer("cancel a consumer", cancelled).await {
            tracing::warn!(topic = line.subscribed.topic, %error, "cannot drain a subscription");
        }
        while let Some(Ok(delivery)) = self.consumer.next().await {
            let Ok(free) = Arc::clone(&line.subscribed.free).acquire_owned().await else { return };
            self.hand_over(delivery.into(), free);
        }
        // Handlers have the other senders: nothing comes once all of them are done.
        let Self { mut beside, sender, line, .. } = self;
        let weak = sender.downgrade();
        drop(sender);
        while let Some(came) = beside.recv().await {
            let Some(sender) = weak.upgrade() else { return };
            let Ok(free) = Arc::clone(&line.subscribed.free).acquire_owned().await else { return };
            spawn(&line, sender, came, free);
        }
    }

    fn hand_over(&self, came: Came, free: OwnedSemaphorePermit) {
        spawn(&self.line, self.sender.clone(), came, free);
    }
}

fn spawn(line: &Arc<Line>, sender: mpsc::Sender<Came>, came: Came, free: OwnedSemaphorePermit) {
    let held = Held::new(Arc::clone(line), sender, came);
    line.subscribed.tasks.spawn("broker.rabbitmq.handler", held.handle(free)).detach();
}

impl Subscribed {
    /// Waits for a handler that is not busy; `None` once draining began. Cancel safe.
    async fn free(&self) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            () = self.life.draining() => None,
            free = Arc::clone(&self.free).acquire_owned() => free.ok(),
        }
    }
}

impl Line {
    /// Limits the messages that consumers which begin from now on have at a time.
    async fn prefetch(&self, count: u16) -> Result<()> {
        let limited = self.channel.basic_qos(count, BasicQosOptions::default());
        answer("limit a consumer", limited).await
    }

    async fn consume(&self) -> Result<Consumer> {
        let options = BasicConsumeOptions::default();
        let consumed =
            self.channel.basic_consume(self.queue.clone(), "".into(), options, nothing());
        answer(&format!("consume from `{}`", self.queue), consumed).await
    }

    /// Waits until `due`, or draining begins, and meanwhile lets another message take the place.
    ///
    /// # Errors
    /// Those of the server: the channel is lost.
    pub(super) async fn stand_in(&self, due: Instant, sender: &mpsc::Sender<Came>) -> Result<()> {
        let life = &self.subscribed.life;
        if life.is_draining() {
            return Ok(());
        }
        let mut consumer = self.consume().await?;
        let pausing = async {
            while let Some(Ok(delivery)) = consumer.next().await {
                // Fails when the session is over: the message goes back with its channel.
                let _over = sender.send(delivery.into()).await.is_err();
            }
        };
        // Cancel safety: a message that was received and not sent is one of a channel that is lost,
        // for there is room for all.
        tokio::select! {
            biased;
            () = life.draining() => {}
            () = clock::sleep_until(due) => {}
            () = pausing => {}
        }
        let tag = consumer.tag();
        let cancelled = self.channel.basic_cancel(tag, BasicCancelOptions::default());
        answer("cancel a consumer", cancelled).await?;
        while let Some(Ok(delivery)) = consumer.next().await {
            let _over = sender.send(delivery.into()).await.is_err();
        }
        Ok(())
    }
}

fn nothing() -> FieldTable {
    FieldTable::default()
}
