//! One subscription: what it reads, hands to handlers, settles and leaves.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};
use std::time::Duration;

use redis::Value;
use tokio::sync::{mpsc, watch};

use crate::broker::Handler;
use crate::broker::dead_letter::{DEAD_SUFFIX, is_dead};
use crate::broker::redis::Inner;
use crate::broker::redis::acks::{Acks, acknowledge};
use crate::broker::redis::entry::Entry;
use crate::broker::redis::held::{Counted, Holding};
use crate::broker::redis::reader;
use crate::broker::redis::scripts;
use crate::broker::redis::upkeep;
use crate::broker::redis::worker::{Item, Worker};
use crate::broker::subscription::Control;
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::{Error, Result};
use crate::core::future::BoxFuture;
use crate::core::shutdown::{Shutdown, TaskHandle};

/// How long a group of one subscription outlives its process: an interruption that is shorter loses
/// nothing.
pub(super) const LEASE: Duration = Duration::from_secs(300);

/// Tries to tell the server that a subscription ends; then the leases and the idle time do.
const LEAVE_TRIES: usize = 3;

/// How long acknowledgements may take after handlers are done or cut.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

/// A subscription.
pub(super) struct Member {
    pub(super) id: u64,
    pub(super) inner: Arc<Inner>,
    pub(super) topic: String,
    pub(super) stream: String,
    /// The queue, unless the group is of this subscription alone.
    pub(super) queue: Option<String>,
    pub(super) group: String,
    pub(super) consumer: String,
    pub(super) concurrency: usize,
    /// Draining: read nothing more. Closed: cut what runs.
    pub(super) life: Shutdown,
    pub(super) holding: Holding,
    /// Whether something was settled since the stream was trimmed.
    pub(super) settled: AtomicBool,
    /// How many handlers were cut, once all is over.
    ended: watch::Sender<Option<usize>>,
}

impl Member {
    pub(super) fn new(
        id: u64,
        inner: &Arc<Inner>,
        topic: &str,
        queue: Option<String>,
        concurrency: usize,
    ) -> Self {
        let consumer = format!("{:016x}", fastrand::u64(..));
        let group = match &queue {
            Some(queue) => format!("queue:{queue}"),
            None => format!("own:{consumer}"),
        };
        Self {
            id,
            inner: Arc::clone(inner),
            topic: topic.to_owned(),
            stream: inner.stream(topic),
            queue,
            group,
            consumer,
            concurrency,
            life: Shutdown::new(),
            holding: Holding::new(concurrency),
            settled: AtomicBool::new(false),
            ended: watch::Sender::new(None),
        }
    }

    /// Returns the lease of a group of one subscription; nothing for others.
    pub(super) fn lease(&self) -> String {
        match self.queue {
            Some(_) => String::new(),
            None => format!("{}{}", self.inner.leases(), self.group),
        }
    }

    /// Makes the group where it is missing, and renews the lease.
    pub(super) async fn join(&self, begin: &str) -> Result<()> {
        let mut call = scripts::JOIN.call(&[&self.stream]);
        call.arg(&self.group).arg(begin).arg(self.lease());
        call.arg(LEASE.as_millis().to_string());
        self.inner.redis.run("subscribe", &scripts::JOIN, &call).await.map(drop)
    }

    /// Returns where a group of this subscription begins: with what is published from then on, or,
    /// for a queue of dead letters, with those that wait for their first reader.
    pub(super) fn begin(&self) -> &'static str {
        if self.queue.is_some() && is_dead(&self.topic) { "0" } else { "$" }
    }

    /// Starts the work of the subscription.
    pub(super) fn start(self: &Arc<Self>, handler: &Handler) {
        let (queue, items) = mpsc::channel(self.inner.limits.unacked_max.max(1));
        let (acks, to_ack) = mpsc::channel(self.inner.limits.unacked_max.max(1));
        let worker = Worker {
            member: Arc::clone(self),
            handler: Arc::clone(handler),
            items: Arc::new(tokio::sync::Mutex::new(items)),
            queue: queue.downgrade(),
            acks,
        };
        let tasks = self.inner.redis.tasks();
        let start = |_| {
            let work = worker.clone().run();
            tasks.spawn("broker.redis.worker", work).abort_on_drop()
        };
        let workers = (0..self.concurrency).map(start).collect();
        drop(worker);
        tasks.spawn("broker.redis", Arc::clone(self).run(workers, queue, to_ack)).detach();
    }

    /// Notes that the subscription never began.
    pub(super) fn never_began(&self) {
        self.life.close();
        self.inner.forget(self.id);
        self.ended.send_replace(Some(0));
    }

    async fn run(
        self: Arc<Self>,
        workers: Vec<TaskHandle>,
        queue: mpsc::Sender<Item>,
        to_ack: Acks,
    ) {
        let settling = self
            .inner
            .redis
            .tasks()
            .spawn("broker.redis.acks", acknowledge(Arc::clone(&self), to_ack));
        let upkeep = async {
            tokio::select! {
                () = self.life.draining() => {}
                () = upkeep::run(&self, &queue) => {}
            }
        };
        // The reader ends by itself, so that the server holds none of its reads.
        tokio::join!(reader::run(&self, &queue), upkeep);
        let finished = async {
            // Progress: each turn, a handler has finished.
            loop {
                let less = self.holding.less.notified();
                tokio::pin!(less);
                // Enabled before the count is read, so that no ring falls in between.
                less.as_mut().enable();
                if self.holding.busy() == 0 {
                    return;
                }
                less.await;
            }
        };
        let cut = tokio::select! {
            biased;
            () = finished => 0,
            () = self.life.closed() => self.holding.busy(),
        };
        self.life.close();
        // Without workers nobody sends acknowledgements, and they end.
        drop((workers, queue));
        let _in_time = clock::timeout(FLUSH_WAIT, settling).await.is_ok();
        self.leave().await;
        self.inner.forget(self.id);
        self.ended.send_replace(Some(cut));
    }

    /// Leaves what is not settled to others.
    async fn leave(&self) {
        let counted = self.holding.ids(Counted::Decided);
        let mut call = scripts::LEAVE.call(&[&self.stream]);
        call.arg(&self.group).arg(&self.consumer).arg(self.lease()).arg(counted);
        for _ in 0..LEAVE_TRIES {
            match self.inner.redis.run("unsubscribe", &scripts::LEAVE, &call).await {
                Ok(_) => return,
                Err(error) => tracing::debug!(topic = self.topic, %error, "cannot leave yet"),
            }
        }
        tracing::warn!(topic = self.topic, "the server does not know that a subscription ended");
    }

    /// Hands entries to the handlers; those that are held already stay as they are.
    pub(super) async fn hand_over(&self, queue: &mpsc::Sender<Item>, entries: Vec<Entry>) {
        for entry in entries {
            if !self.holding.take(&entry.id) {
                continue;
            }
            // There is room for all that may be held; who closed the queue needs nothing.
            let _open = queue.send(Item::new(entry)).await.is_ok();
        }
    }

    /// Notes that entries are settled.
    pub(super) fn settle<'a>(&self, ids: impl IntoIterator<Item = &'a str>) {
        self.settled.store(true, Release);
        self.holding.drop_all(ids);
    }

    /// Removes what all groups have settled.
    pub(super) async fn trim(&self) -> Result<Value> {
        self.settled.swap(false, AcqRel);
        let mut call = scripts::TRIM.call(&[&self.stream]);
        call.arg(self.inner.leases()).arg(if is_dead(&self.topic) { "1" } else { "0" });
        self.inner.redis.run("trim", &scripts::TRIM, &call).await
    }

    /// Returns the stream of the dead letters.
    pub(super) fn dead_stream(&self) -> String {
        self.inner.stream(&format!("{}{DEAD_SUFFIX}", self.topic))
    }

    /// Returns how many further entries there is room for.
    pub(super) fn room(&self) -> usize {
        self.holding.room(self.inner.limits.unacked_max.max(1))
    }

    /// Tells whether something was settled since the stream was trimmed.
    pub(super) fn has_settled(&self) -> bool {
        self.settled.load(Relaxed)
    }

    /// Reads nothing more, waits for handlers until `deadline`, cuts the others, and returns how
    /// many were cut.
    pub(super) async fn finish(&self, deadline: Instant) -> usize {
        self.life.drain();
        let mut ended = self.ended.subscribe();
        let over = async {
            match ended.wait_for(Option::is_some).await {
                Ok(cut) => cut.unwrap_or_default(),
                Err(_gone) => 0,
            }
        };
        tokio::pin!(over);
        if let Ok(cut) = clock::timeout_at(deadline, &mut over).await {
            return cut;
        }
        self.life.close();
        let patience = self.inner.cancel_timeout.saturating_add(FLUSH_WAIT);
        match clock::timeout(patience, over).await {
            Ok(cut) => cut,
            Err(_elapsed) => {
                tracing::warn!(topic = self.topic, "a cut subscriber does not yield");
                self.holding.busy()
            }
        }
    }
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
        self.life.close();
    }

    fn is_active(&self) -> bool {
        !self.life.is_draining()
    }
}
