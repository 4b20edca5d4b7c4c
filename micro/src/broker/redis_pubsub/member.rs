//! One subscription: its queue and its workers.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::broker::delivery::{Ack, Delivery, deliver};
use crate::broker::message::Message;
use crate::broker::redis_pubsub::Inner;
use crate::broker::subscription::Control;
use crate::broker::{Handler, memory::size_of};
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::{Error, Result};
use crate::core::future::BoxFuture;
use crate::core::shutdown::{Shutdown, TaskHandle};
use crate::driver::redis::Listening;

/// A subscription.
pub(super) struct Member {
    id: u64,
    inner: Arc<Inner>,
    topic: String,
    life: Shutdown,
    /// Deliveries that handlers have.
    running: AtomicUsize,
    pub(super) waiting: Arc<Waiting>,
    /// What keeps messages coming.
    listening: Mutex<Option<Listening>>,
    workers: Mutex<Vec<TaskHandle>>,
}

/// What waits for the handlers of a subscription.
pub(super) struct Waiting {
    /// `None` once nothing more is taken.
    queue: Mutex<Option<mpsc::Sender<Arc<Message>>>>,
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl Waiting {
    pub(super) fn new(inner: &Inner) -> (Arc<Self>, mpsc::Receiver<Arc<Message>>) {
        let (queue, messages) = mpsc::channel(inner.limits.pending_messages_max.max(1));
        let (bytes, bytes_max) = (AtomicUsize::new(0), inner.limits.pending_bytes_max);
        (Arc::new(Self { queue: Mutex::new(Some(queue)), bytes, bytes_max }), messages)
    }

    /// Adds a message; `false` if there is no room. Where nothing waits there is always room.
    pub(super) fn push(&self, message: Arc<Message>) -> bool {
        let size = size_of(&message);
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = &*queue else { return true };
        let before = self.bytes.fetch_add(size, AcqRel);
        let fits = before == 0 || before.saturating_add(size) <= self.bytes_max;
        if fits && queue.try_send(message).is_ok() {
            return true;
        }
        self.bytes.fetch_sub(size, AcqRel);
        false
    }

    fn taken(&self, message: &Message) {
        self.bytes.fetch_sub(size_of(message), AcqRel);
    }

    fn close(&self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        *queue = None;
    }
}

/// The messages of a subscription, shared by its workers.
type Messages = Arc<tokio::sync::Mutex<mpsc::Receiver<Arc<Message>>>>;

impl Member {
    pub(super) fn start(
        (id, inner): (u64, &Arc<Inner>),
        topic: &str,
        (waiting, messages): (Arc<Waiting>, mpsc::Receiver<Arc<Message>>),
        handler: &Handler,
        concurrency: usize,
    ) -> Arc<Self> {
        let member = Arc::new(Self {
            id,
            inner: Arc::clone(inner),
            topic: topic.to_owned(),
            life: Shutdown::new(),
            running: AtomicUsize::new(0),
            waiting,
            listening: Mutex::default(),
            workers: Mutex::default(),
        });
        let messages = Arc::new(tokio::sync::Mutex::new(messages));
        let start = |_| {
            let work = work(Arc::clone(&member), Arc::clone(handler), Arc::clone(&messages));
            inner.redis.tasks().spawn("broker.redis-pubsub", work)
        };
        let workers = (0..concurrency).map(start).collect();
        *member.workers.lock().unwrap_or_else(PoisonError::into_inner) = workers;
        member
    }

    pub(super) fn listens(&self, listening: Listening) {
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = Some(listening);
    }

    pub(super) fn stop_taking(&self) {
        self.life.drain();
        let listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Unlocked: dropping it may drop what it tells.
        drop(listening);
        self.waiting.close();
    }

    /// Takes nothing more, waits for the workers until `deadline`, cuts the others, and returns how
    /// many were cut.
    pub(super) async fn finish(&self, deadline: Instant) -> usize {
        self.stop_taking();
        let workers = {
            let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *workers)
        };
        let mut late = Vec::new();
        for mut worker in workers {
            if clock::timeout_at(deadline, &mut worker).await.is_err() {
                late.push(worker);
            }
        }
        let cut = self.running.load(SeqCst);
        self.stop();
        late.iter().for_each(TaskHandle::abort);
        let patience = clock::after(clock::now(), self.inner.cancel_timeout);
        for worker in late {
            if clock::timeout_at(patience, worker).await.is_err() {
                tracing::warn!(topic = self.topic, "a cut subscriber does not yield");
            }
        }
        cut
    }
}

async fn work(member: Arc<Member>, handler: Handler, messages: Messages) {
    // Progress: each turn takes a message; the end of the subscription aborts it. A message is
    // delivered at most once, cut or not.
    while let Some(message) = next(&messages).await {
        member.waiting.taken(&message);
        member.running.fetch_add(1, SeqCst);
        let delivery = Delivery::new(Arc::clone(&message), 1);
        let decision = deliver(&handler, delivery, member.inner.limits.ack_timeout).await;
        member.running.fetch_sub(1, SeqCst);
        if decision != Ack::Ack {
            let id = message.id.as_str();
            tracing::warn!(topic = member.topic, id, ?decision, "message is not delivered again");
        }
    }
}

async fn next(messages: &Messages) -> Option<Arc<Message>> {
    messages.lock().await.recv().await
}

impl Control for Member {
    fn drain(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            match self.finish(deadline).await {
                0 => Ok(()),
                cut => {
                    let text = format!("drain of {}: {cut} subscribers cut", self.topic);
                    Err(Error::timeout("micro.broker", text))
                }
            }
        })
    }

    fn stop(&self) {
        self.stop_taking();
        self.life.close();
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.iter().for_each(TaskHandle::abort);
        self.inner.forget(self.id);
    }

    fn is_active(&self) -> bool {
        !self.life.is_draining()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::broker::redis_pubsub::RedisPubSub;
    use crate::core::content_type::ContentType;
    use crate::core::limits::Limits;

    /// At the limit, above it and far above it.
    #[tokio::test]
    async fn what_waits_is_bounded_by_count_and_bytes() {
        let server = crate::driver::Server::new("127.0.0.1", 1);
        let tasks = crate::core::shutdown::TaskTracker::new();
        let redis = Arc::new(crate::driver::Redis::open(&server, &tasks).unwrap());
        let mut limits = Limits::default();
        limits.broker.pending_messages_max = 10;
        let message =
            |bytes| Arc::new(Message::new("a", ContentType::Json, Bytes::from(vec![0; bytes])));
        limits.broker.pending_bytes_max = 3 * size_of(&message(100));
        let broker = RedisPubSub::new(redis, "micro", &limits);
        let (waiting, _messages) = Waiting::new(&broker.inner);
        let fits = (0..30).filter(|_| waiting.push(message(100))).count();
        assert_eq!(fits, 3);
        let (waiting, mut messages) = Waiting::new(&broker.inner);
        assert!(waiting.push(message(10_000)), "where nothing waits there is room");
        assert!(!waiting.push(message(0)));
        waiting.taken(&messages.recv().await.unwrap());
        limits.broker.pending_bytes_max = usize::MAX;
        let broker = RedisPubSub::new(Arc::clone(&broker.inner.redis), "micro", &limits);
        let (waiting, _messages) = Waiting::new(&broker.inner);
        assert_eq!((0..100).filter(|_| waiting.push(message(0))).count(), 10);
    }
}
