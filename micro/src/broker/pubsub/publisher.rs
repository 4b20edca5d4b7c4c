//! Publishing: each message waits for its confirmation, and those that wait together go together.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::oneshot;

use crate::broker::message::Message;
use crate::core::clock;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::error::Retry;
use crate::core::shutdown::TaskTracker;

use super::ERROR_ID;
use super::calls::PUBLISH;
use super::link::Link;
use super::messages::PublishRequest;
use super::messages::PublishResponse;
use super::names::Names;
use super::topology;
use super::wire;

/// Messages of one process that wait for their confirmations; further ones wait for a place.
const PUBLISHING_MAX: usize = 1024;

/// The longest wait for a place.
const PLACE_WAIT: Duration = Duration::from_secs(5);

/// The longest from a place to the outcome: a request that is under way, then one's own, which may
/// find that there is no such topic.
const OUTCOME_WAIT: Duration = Duration::from_secs(60);

/// Requests for one topic that are under way at a time. What is published meanwhile goes with the
/// next one: nothing waits where few publish, and few requests carry much where many do.
const SENDING_MAX: usize = 4;

/// Messages in one request: the servers take 1,000.
const BATCH_MAX: usize = 1000;

/// Bytes in one request, unless it has one message: well below the 10 MB that the servers take.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Publishes messages.
pub(super) struct Publisher {
    link: Arc<Link>,
    names: Names,
    places: Arc<Semaphore>,
    lines: Mutex<HashMap<String, Line>>,
    tasks: TaskTracker,
}

/// The messages for one topic.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Item>,
    sending: usize,
}

struct Item {
    raw: Bytes,
    told: oneshot::Sender<Result<()>>,
    /// Held by the message, not by its publisher, who may leave before it does.
    place: OwnedSemaphorePermit,
}

impl Publisher {
    pub(super) fn new(link: Arc<Link>, names: Names, tasks: TaskTracker) -> Self {
        let places = Arc::new(Semaphore::new(PUBLISHING_MAX));
        Self { link, names, places, lines: Mutex::default(), tasks }
    }

    /// Publishes a message and returns when the servers have confirmed it. Dropped before it is
    /// sent, it is not published.
    pub(super) async fn publish(self: &Arc<Self>, message: &Message) -> Result<()> {
        let raw = wire::write(message)?;
        let place = clock::timeout(PLACE_WAIT, Arc::clone(&self.places).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            let text = format!("publish to {}: {PUBLISHING_MAX} messages wait", message.topic);
            return Err(Error::too_many_requests(ERROR_ID, text).with_retry(Retry::Safe));
        };
        let (told, outcome) = oneshot::channel();
        let topic = self.names.topic(&message.topic);
        self.queue(topic, Item { raw, told, place });
        match clock::timeout(OUTCOME_WAIT, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_cut)) => Err(unknown(message, "the process ends")),
            Err(_elapsed) => Err(unknown(message, "no confirmation within 60 s")),
        }
    }

    fn queue(self: &Arc<Self>, topic: String, item: Item) {
        let sends = {
            let mut lines = self.lines();
            let line = lines.entry(topic.clone()).or_default();
            line.waiting.push_back(item);
            let sends = line.sending < SENDING_MAX;
            line.sending += usize::from(sends);
            sends
        };
        if sends {
            let sender = Sender { publisher: Arc::clone(self), topic, has_left: false };
            self.tasks.spawn("broker.pubsub.publish", sender.run()).detach();
        }
    }

    /// Sends messages and tells what became of them.
    async fn send(&self, topic: &str, items: Vec<Item>) {
        let (messages, told): (Vec<_>, Vec<_>) =
            items.into_iter().map(|item| (item.raw, (item.told, item.place))).unzip();
        let outcome = self.post(topic, messages.clone()).await;
        let is_refused = outcome.as_ref().is_err_and(|error| error.retry() == Retry::Never);
        if is_refused && messages.len() > 1 {
            // One of them is at fault, and the others were not taken for it.
            for (message, (told, _place)) in messages.into_iter().zip(told) {
                // Who published it may have left.
                drop(told.send(self.post(topic, vec![message]).await));
            }
            return;
        }
        for (told, _place) in told {
            drop(told.send(outcome.clone()));
        }
    }

    /// Puts messages into a topic, which is made where there is none.
    async fn post(&self, topic: &str, messages: Vec<Bytes>) -> Result<()> {
        let request = PublishRequest { topic: topic.to_owned(), messages };
        let posted: Result<PublishResponse> = self.link.ask(&PUBLISH, topic, request.clone()).await;
        match posted {
            Ok(_) => return Ok(()),
            Err(error) if error.code() == 404 => {}
            Err(error) => return Err(error),
        }
        topology::topic(&self.link, topic).await?;
        self.link.ask(&PUBLISH, topic, request).await.map(|_: PublishResponse| ())
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<String, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends what waits for one topic until nothing does.
struct Sender {
    publisher: Arc<Publisher>,
    topic: String,
    /// It counts as sending no more.
    has_left: bool,
}

impl Sender {
    async fn run(mut self) {
        while let Some(items) = self.take() {
            self.publisher.send(&self.topic, items).await;
        }
    }

    /// Takes what is next, or leaves: whoever queues a message sees that it has.
    fn take(&mut self) -> Option<Vec<Item>> {
        let mut lines = self.publisher.lines();
        let items = lines.get_mut(&self.topic).map(|line| batch(&mut line.waiting));
        let items = items.filter(|items| !items.is_empty());
        if items.is_none() {
            self.has_left = true;
            leave(&mut lines, &self.topic);
        }
        items
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if !self.has_left {
            leave(&mut self.publisher.lines(), &self.topic);
        }
    }
}

/// Counts one sender less. What waits with nobody to send it was cut off, and its publishers see it.
fn leave(lines: &mut HashMap<String, Line>, topic: &str) {
    let Some(line) = lines.get_mut(topic) else { return };
    line.sending = line.sending.saturating_sub(1);
    if line.sending == 0 {
        lines.remove(topic);
    }
}

/// Takes what fits into one request, without what nobody waits for any more.
fn batch(waiting: &mut VecDeque<Item>) -> Vec<Item> {
    let (mut items, mut bytes) = (Vec::new(), 0);
    while let Some(next) = waiting.front() {
        if next.told.is_closed() {
            waiting.pop_front();
            continue;
        }
        bytes += next.raw.len();
        let is_full = items.len() >= BATCH_MAX || bytes > BATCH_BYTES_MAX;
        if is_full && !items.is_empty() {
            break;
        }
        items.extend(waiting.pop_front());
    }
    items
}

fn unknown(message: &Message, why: &str) -> Error {
    let text = format!("publish to {}: {why}, it may be published", message.topic);
    Error::unavailable(ERROR_ID, text).with_retry(Retry::Unknown)
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use crate::broker::pubsub::config::{PubSubConfig, PubSubEndpoint};
    use crate::core::content_type::ContentType;

    use super::*;

    fn item(bytes: usize) -> (Item, oneshot::Receiver<Result<()>>) {
        let (told, outcome) = oneshot::channel();
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        (Item { raw: vec![0; bytes].into(), told, place }, outcome)
    }

    #[test]
    fn a_request_has_as_many_messages_and_bytes_as_it_may() {
        for (count, first) in
            [(BATCH_MAX, BATCH_MAX), (BATCH_MAX + 1, BATCH_MAX), (BATCH_MAX * 10, BATCH_MAX)]
        {
            let (items, _outcomes): (VecDeque<_>, Vec<_>) = (0..count).map(|_| item(1)).unzip();
            let mut waiting = items;
            assert_eq!(batch(&mut waiting).len(), first, "{count}");
            assert_eq!(waiting.len(), count - first);
        }
        for (each, first) in
            [(BATCH_BYTES_MAX / 2, 2), (BATCH_BYTES_MAX / 2 + 1, 1), (BATCH_BYTES_MAX * 2, 1)]
        {
            let (mut waiting, _outcomes): (VecDeque<_>, Vec<_>) =
                (0..3).map(|_| item(each)).unzip();
            assert_eq!(batch(&mut waiting).len(), first, "{each}");
        }
    }

    #[test]
    fn what_nobody_waits_for_is_not_sent() {
        let (mut waiting, mut outcomes): (VecDeque<_>, Vec<_>) = (0..3).map(|_| item(1)).unzip();
        outcomes.remove(1);
        assert_eq!(batch(&mut waiting).len(), 2);
        assert!(waiting.is_empty() && batch(&mut waiting).is_empty());
    }

    #[tokio::test]
    async fn messages_whose_publishers_left_keep_their_places() {
        // Nothing is sent: no task runs before the test waits, and it never does.
        let emulator = PubSubEndpoint::Emulator("127.0.0.1:1".into());
        let config = PubSubConfig::new("shop-1").with_endpoint(emulator);
        let message = Message::new("orders", ContentType::Json, Bytes::from_static(b"1"));
        for tries in [PUBLISHING_MAX, PUBLISHING_MAX + 1, PUBLISHING_MAX * 10] {
            let names = Names::new("shop-1").unwrap();
            let link = Arc::new(Link::new(&config, &names).unwrap());
            let publisher = Arc::new(Publisher::new(link, names, TaskTracker::new()));
            for _ in 0..tries {
                // Without tokio's share of polls, which would make it wait where there is a place.
                let leaving = pin!(tokio::task::unconstrained(publisher.publish(&message)));
                let polled = leaving.poll(&mut Context::from_waker(Waker::noop()));
                assert!(polled.is_pending(), "{polled:?}");
            }
            let waiting: usize = publisher.lines().values().map(|line| line.waiting.len()).sum();
            assert_eq!(waiting, PUBLISHING_MAX, "{tries}");
            assert_eq!(publisher.places.available_permits(), 0);
        }
    }
}
