//! Publishing with confirmations.

use std::sync::Arc;
use std::time::Duration;

use lapin::Channel;
use lapin::Confirmation;
use lapin::options::BasicPublishOptions;
use lapin::options::ConfirmSelectOptions;
use tokio::sync::Mutex;
use tokio::sync::Semaphore;

use crate::broker::dead_letter::DeadLetter;
use crate::broker::message::Message;
use crate::core::clock;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::error::Retry;
use crate::driver::AmqpHost;
use crate::driver::amqp::answer;
use crate::driver::amqp::failed;

use super::ERROR_ID;
use super::names::Exchanges;
use super::names::short;
use super::topology;
use super::wire;

/// Messages that must reach a queue and are on their way at a time. Each has a channel of its own:
/// the client gives a message that the server returns to whichever is confirmed next on its channel.
const LANES: usize = 16;

/// How long the server may take to confirm, at least: one whose queue changes its leader hands a
/// message over again after ten seconds.
const CONFIRM_TIMEOUT_MIN: Duration = Duration::from_secs(15);

/// How long a message waits for the server and for a channel to it, in all.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// What publishes for a broker.
pub(super) struct Publisher {
    host: Arc<AmqpHost>,
    exchanges: Exchanges,
    /// How long the server may take to confirm.
    timeout: Duration,
    /// For messages that may find no queue, many at a time.
    wide: Lane,
    lanes: Vec<Lane>,
    /// Counts the lanes that nobody has.
    free: Semaphore,
}

/// A channel that is opened when it is first used, and again when it was lost.
type Lane = Mutex<Option<Channel>>;

/// What the server did with a message that it confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// A queue has it, or none where that was allowed.
    Kept,
    /// No queue is bound to its topic.
    Unrouted,
}

impl Publisher {
    pub(super) fn new(host: Arc<AmqpHost>, exchanges: Exchanges, timeout: Duration) -> Self {
        Self {
            host,
            exchanges,
            timeout: timeout.max(CONFIRM_TIMEOUT_MIN),
            wide: Lane::default(),
            lanes: (0..LANES).map(|_| Lane::default()).collect(),
            free: Semaphore::new(LANES),
        }
    }

    /// Publishes to whatever queues there are.
    pub(super) async fn anywhere(&self, message: &Message) -> Result<()> {
        let ready = async {
            self.up().await?;
            self.channel(&mut *self.wide.lock().await).await
        };
        let channel = in_time(ready).await?;
        self.send(&channel, message, BasicPublishOptions::default()).await.map(drop)
    }

    /// Publishes and says whether any queue has it.
    pub(super) async fn somewhere(&self, message: &Message) -> Result<Placed> {
        self.alone(|channel| async move {
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            self.send(&channel, message, options).await
        })
        .await
    }

    /// Publishes a dead letter to the queue that keeps those of its topic, which is made for it,
    /// and to whoever else wants them. Nothing is to be published for what was one already.
    pub(super) async fn dead(&self, letter: &DeadLetter) -> Result<()> {
        let Some(dead) = letter.to_message()? else { return Ok(()) };
        let dead = &dead;
        let placed = self.alone(|channel| async move {
            topology::dead(&channel, &self.exchanges, &letter.message.topic).await?;
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            self.send(&channel, dead, options).await
        });
        match placed.await? {
            Placed::Kept => Ok(()),
            Placed::Unrouted => Err(unrouted(&dead.topic)),
        }
    }

    /// Runs something with a channel that nobody else uses meanwhile.
    async fn alone<F: Future<Output = Result<Placed>>>(
        &self,
        work: impl FnOnce(Channel) -> F,
    ) -> Result<Placed> {
        let ready = async {
            self.up().await?;
            // The semaphore is never closed.
            let free = self.free.acquire().await;
            let Some(mut lane) = self.lanes.iter().find_map(|lane| lane.try_lock().ok()) else {
                return Err(Error::internal(ERROR_ID, "no lane is free"));
            };
            let channel = self.channel(&mut lane).await?;
            Ok((free, lane, channel))
        };
        let (_free, mut lane, channel) = in_time(ready).await?;
        // A channel that is given up in the middle of a message is not used again: its return
        // would be taken for that of the next message.
        let used = lane.take();
        let placed = work(channel).await;
        if placed.is_ok() {
            *lane = used;
        }
        placed
    }

    /// Waits for the server before anything is locked: those who wait do so side by side.
    async fn up(&self) -> Result<()> {
        if self.host.is_up() { Ok(()) } else { self.host.up().await }
    }

    async fn channel(&self, lane: &mut Option<Channel>) -> Result<Channel> {
        if self.host.is_blocked() {
            let text = "rabbitmq takes no messages: it is short of memory or disk";
            return Err(Error::too_many_requests(ERROR_ID, text).with_retry(Retry::Safe));
        }
        if let Some(channel) = lane.as_ref().filter(|channel| channel.status().connected()) {
            return Ok(channel.clone());
        }
        let opened = self.open().await.map_err(|error| match error.retry() {
            Retry::Unknown => error.with_retry(Retry::Safe),
            Retry::Safe | Retry::Never => error,
        })?;
        *lane = Some(opened.clone());
        Ok(opened)
    }

    async fn open(&self) -> Result<Channel> {
        let channel = self.host.channel().await?;
        let selected = channel.confirm_select(ConfirmSelectOptions::default());
        answer("ask for confirmations", selected).await?;
        topology::exchanges(&channel, &self.exchanges).await?;
        Ok(channel)
    }

    async fn send(
        &self,
        channel: &Channel,
        message: &Message,
        options: BasicPublishOptions,
    ) -> Result<Placed> {
        let topic = &message.topic;
        let properties = wire::properties(message)?;
        let (exchange, key) = (self.exchanges.of(topic), short("topic", topic.as_str())?);
        let what = || format!("publish to {topic}");
        // Only those that must reach a queue have a channel of their own.
        let is_alone = options.mandatory;
        let named = exchange.clone();
        let confirmed = async {
            let sent =
                channel.basic_publish(exchange, key, options, &message.body, properties).await?;
            sent.await
        };
        let confirmation = match clock::timeout(self.timeout, confirmed).await {
            Ok(confirmed) => confirmed.map_err(|error| {
                let error = failed(&what(), &error);
                let is_own = is_alone || is_about(error.detail(), topic, named.as_str());
                if error.code() == 403 && is_own { error } else { unconfirmed(&error) }
            })?,
            Err(_elapsed) => {
                let text = format!("{}: not confirmed within {:?}", what(), self.timeout);
                return Err(Error::timeout(ERROR_ID, text).with_retry(Retry::Unknown));
            }
        };
        match confirmation {
            Confirmation::Ack(None) => Ok(Placed::Kept),
            Confirmation::Ack(Some(_)) => Ok(Placed::Unrouted),
            Confirmation::Nack(_) => {
                // Other queues of the topic may have it.
                let text = format!("{}: rabbitmq refuses it, a queue is full or fails", what());
                Err(Error::too_many_requests(ERROR_ID, text).with_retry(Retry::Unknown))
            }
            Confirmation::NotRequested => {
                // Invariant: every channel here asked for confirmations.
                Err(Error::internal(ERROR_ID, format!("{}: never confirmed", what())))
            }
        }
    }
}

/// Waits for what comes before anything is sent.
async fn in_time<T>(ready: impl Future<Output = Result<T>>) -> Result<T> {
    clock::timeout(READY_TIMEOUT, ready).await.unwrap_or_else(|_elapsed| {
        let text = format!("rabbitmq has no channel to publish by within {READY_TIMEOUT:?}");
        Err(Error::unavailable(ERROR_ID, text).with_retry(Retry::Safe))
    })
}

/// Tells whether a refusal is about what a message is published to. A message that is refused ends
/// its channel, and the others on it have nothing to do with that: the server has them, or not.
fn is_about(said: &str, topic: &str, exchange: &str) -> bool {
    said.contains(&format!("access to topic '{topic}' in exchange '{exchange}' "))
        || said.contains(&format!("access to exchange '{exchange}' "))
}

fn unconfirmed(error: &Error) -> Error {
    Error::unavailable(ERROR_ID, error.detail()).with_retry(Retry::Unknown)
}

/// Returns the error of a message that no queue takes.
pub(super) fn unrouted(topic: &str) -> Error {
    let text = format!("publish to {topic}: nobody has subscribed to it yet");
    Error::unavailable(ERROR_ID, text).with_retry(Retry::Safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_that_of_the_messages_it_is_about() {
        let topic =
            "ACCESS_REFUSED - access to topic 'a.b' in exchange 'micro' in vhost '/' refused";
        let exchange = "ACCESS_REFUSED - write access to exchange 'micro' in vhost '/' refused";
        assert!(is_about(topic, "a.b", "micro") && !is_about(topic, "a.c", "micro"));
        assert!(is_about(exchange, "a.b", "micro") && !is_about(exchange, "a.dead", "micro.dead"));
    }
}
