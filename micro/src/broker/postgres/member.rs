//! A subscription: it takes messages of its group, has them handled, and says what became of them.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use crate::broker::Handler;
use crate::broker::before_retry::before_retry;
use crate::broker::delivery::{Ack, Delivery, deliver};
use crate::broker::subscription::Control;
use crate::core::clock::{self, Instant};
use crate::core::error::{Error, Result};
use crate::core::future::BoxFuture;
use crate::core::shutdown::{Shutdown, TaskHandle};
use crate::driver::postgres::{column, params};

use super::item::{Buried, Item};
use super::statements as sql;
use super::{ERROR_ID, Inner};

/// A message that is handed out is invisible for so long: that of a process that was killed is
/// delivered to another one then.
const VISIBILITY: Duration = Duration::from_secs(20);

/// What is still handled is kept invisible so often: three tries may fail.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(5);

/// Between two looks for messages, whatever signals come.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Before another try after the server failed.
const FAILURE_PAUSE: Duration = Duration::from_millis(500);

/// Bytes of the messages that are taken at a time; the one that reaches it is among them.
const CLAIM_BYTES_MAX: i64 = 8 * 1024 * 1024;

/// A member of a group.
pub(super) struct Member {
    pub(super) id: u64,
    pub(super) topic: String,
    pub(super) queue: Option<String>,
    /// The name of the group, which is one of its own without a queue.
    pub(super) group_name: String,
    pub(super) group: AtomicI64,
    pub(super) wake: Arc<Notify>,
    /// Draining: take nothing more. Closed: cut what runs.
    pub(super) life: Shutdown,
    pub(super) inner: Arc<Inner>,
    pub(super) task: Mutex<Option<TaskHandle<Ended>>>,
    /// Keeps the group alive.
    pub(super) _keeper: Arc<TaskHandle>,
}

/// How a member ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ended {
    /// Handlers that were cut.
    pub(super) cut: usize,
    /// Messages of a group of its own that are gone with it.
    pub(super) left: usize,
}

impl Member {
    /// Takes no further messages, waits for what is handled until `deadline`, then ends.
    pub(super) async fn finish(&self, deadline: Instant) -> Ended {
        self.life.drain();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut task) = task else {
            self.life.close();
            return Ended::default();
        };
        let ended = match clock::timeout_at(deadline, &mut task).await {
            Ok(ended) => ended,
            Err(_elapsed) => {
                self.life.close();
                // It says goodbye to the server, within a time of its own.
                task.await
            }
        };
        self.life.close();
        ended.unwrap_or_default()
    }
}

impl Control for Member {
    fn drain(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            match self.finish(deadline).await.cut {
                0 => Ok(()),
                cut => {
                    let text = format!("drain of {}: {cut} subscribers cut", self.topic);
                    Err(Error::timeout(ERROR_ID, text))
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

/// What is to become of a message after a delivery.
#[derive(Clone, Copy)]
enum Verdict {
    /// It was acknowledged.
    Done,
    /// It is delivered again after a pause.
    Again(Duration),
    /// It is not in the group any more.
    Gone,
}

/// What a handler has decided about a message.
type Decided = (Item, Verdict);

/// A change to when a message is visible.
struct Deferral {
    item: Item,
    pause: Duration,
    /// 1 where the delivery does not count.
    undone: i32,
}

/// What a member does, in one task.
pub(super) struct Runner {
    member: Arc<Member>,
    handler: Handler,
    concurrency: usize,
    running: HashMap<(i64, i64), Running>,
    done: (mpsc::Sender<Decided>, mpsc::Receiver<Decided>),
    /// What the server has not been told yet; at most as many as were handed out.
    acked: Vec<Item>,
    deferred: Vec<Deferral>,
    /// Whether there may be messages.
    look: bool,
    next_look: Instant,
    next_renewal: Instant,
    /// Whether the server could not be told last time.
    failed: bool,
}

/// A message that is handled.
struct Running {
    item: Item,
    since: Instant,
    task: TaskHandle,
}

impl Runner {
    pub(super) fn new(member: Arc<Member>, handler: Handler, concurrency: usize) -> Self {
        let now = clock::now();
        Self {
            member,
            handler,
            concurrency,
            running: HashMap::new(),
            done: mpsc::channel(concurrency),
            acked: Vec::new(),
            deferred: Vec::new(),
            look: true,
            next_look: now,
            next_renewal: clock::after(now, RENEWAL_INTERVAL),
            failed: false,
        }
    }

    pub(super) async fn run(mut self) -> Ended {
        let member = Arc::clone(&self.member);
        let mut seen_draining = false;
        // Progress: each turn tells the server something, takes messages, or waits.
        while !member.life.is_closed() {
            let draining = member.life.is_draining();
            let idle = self.running.is_empty() && self.acked.is_empty() && self.deferred.is_empty();
            if draining && idle {
                break;
            }
            let wanted = if draining || !self.look { 0 } else { self.free() };
            let telling = !self.acked.is_empty() || !self.deferred.is_empty();
            if !self.failed && (telling || wanted > 0) {
                self.turn(wanted).await;
                self.collect();
                continue;
            }
            let next = self.next_look.min(self.next_renewal);
            // Cancel safety: nothing is taken by a wait that is dropped.
            tokio::select! {
                biased;
                () = member.life.closed() => break,
                () = member.life.draining(), if !seen_draining => seen_draining = true,
                Some((item, verdict)) = self.done.1.recv() => self.settle(item, verdict),
                () = member.wake.notified() => (self.look, self.failed) = (true, false),
                () = clock::sleep_until(next) => self.tick(),
            }
            self.collect();
        }
        self.end().await
    }

    /// Returns how many messages may be taken.
    fn free(&self) -> usize {
        self.concurrency.saturating_sub(self.running.len())
    }

    fn tick(&mut self) {
        let now = clock::now();
        if now >= self.next_look {
            (self.look, self.failed) = (true, false);
            self.next_look = clock::after(now, LOOK_INTERVAL);
        }
        if now < self.next_renewal {
            return;
        }
        self.next_renewal = clock::after(now, RENEWAL_INTERVAL);
        let old = |running: &&Running| {
            now.saturating_duration_since(running.since) >= RENEWAL_INTERVAL / 2
        };
        let renewed = self.running.values().filter(old).map(|running| Deferral {
            item: running.item.clone(),
            pause: VISIBILITY,
            undone: 0,
        });
        self.deferred.extend(renewed);
    }

    /// Takes what handlers have decided.
    fn collect(&mut self) {
        while let Ok((item, verdict)) = self.done.1.try_recv() {
            self.settle(item, verdict);
        }
    }

    fn settle(&mut self, item: Item, verdict: Verdict) {
        let key = (item.group, item.id);
        self.running.remove(&key);
        // A renewal that was not sent yet would come after this.
        self.deferred.retain(|deferral| (deferral.item.group, deferral.item.id) != key);
        match verdict {
            Verdict::Done => self.acked.push(item),
            Verdict::Gone => {}
            Verdict::Again(pause) => {
                let due = clock::after(clock::now(), pause);
                self.next_look = self.next_look.min(due);
                self.deferred.push(Deferral { item, pause, undone: 0 });
            }
        }
    }

    /// Tells the server what became of messages and takes up to `wanted` more, at once.
    async fn turn(&mut self, wanted: usize) {
        let member = Arc::clone(&self.member);
        let (told, taken) = {
            let telling = member.tell(&self.acked, &self.deferred);
            let mut asked = pin!(futures_util::future::join(telling, member.claim(wanted)));
            // Cancel safety: what was to be told stays, and what was taken unseen comes again.
            tokio::select! {
                answer = &mut asked => answer,
                () = member.life.closed() => {
                    self.running.values().for_each(|running| running.task.abort());
                    match clock::timeout(member.inner.cancel_timeout / 2, asked).await {
                        Ok(answer) => answer,
                        Err(_elapsed) => return,
                    }
                }
            }
        };
        match told {
            Ok(()) => {
                self.acked.clear();
                self.deferred.clear();
            }
            Err(error) => {
                tracing::debug!(topic = member.topic, %error, "cannot tell the server yet");
                // Renewals are made anew; what was decided is told again.
                let running = &self.running;
                self.deferred.retain(|one| !running.contains_key(&(one.item.group, one.item.id)));
                self.failed();
            }
        }
        match taken {
            Ok(taken) => {
                self.look = self.look && taken.more;
                for item in taken.items {
                    self.start(item);
                }
            }
            Err(error) => {
                tracing::debug!(topic = member.topic, %error, "cannot take messages yet");
                self.failed();
            }
        }
    }

    fn failed(&mut self) {
        self.failed = true;
        self.next_look = self.next_look.min(clock::after(clock::now(), FAILURE_PAUSE));
    }

    /// Has a message handled.
    fn start(&mut self, item: Item) {
        if self.member.life.is_draining() {
            self.deferred.push(Deferral { item, pause: Duration::ZERO, undone: 1 });
            return;
        }
        let (member, handler) = (Arc::clone(&self.member), Arc::clone(&self.handler));
        let (done, handled) = (self.done.0.clone(), item.clone());
        let handling = async move {
            let verdict = member.handle(&handler, &handled).await;
            // There is room for as many as are handled at a time.
            let _ended = done.send((handled, verdict)).await.is_err();
        };
        let task = self.member.inner.tasks.spawn("broker.postgres.handle", handling);
        let (since, task) = (clock::now(), task.abort_on_drop());
        self.running.insert((item.group, item.id), Running { item, since, task });
    }

    /// Gives back what was not decided and leaves the group.
    async fn end(mut self) -> Ended {
        let member = Arc::clone(&self.member);
        member.life.close();
        self.collect();
        let cut = self.running.len();
        let given_back = self.running.drain().map(|(_, running)| Deferral {
            item: running.item,
            pause: Duration::ZERO,
            undone: 1,
        });
        self.deferred.extend(given_back);
        let group = member.group.load(Ordering::Acquire);
        member.inner.forget(&member);
        let goodbye = async {
            if let Err(error) = member.tell(&self.acked, &self.deferred).await {
                tracing::debug!(topic = member.topic, %error, "what was handled may come again");
            }
            if cut > 0 {
                member.inner.wakes.tell_all(&member.inner.database, &[group]);
            }
            if member.queue.is_some() {
                return 0;
            }
            let left = member.inner.database.rows(sql::LEAVE, params![group]).await;
            let left = left.and_then(|rows| rows.first().map_or(Ok(0), |row| column(row, 0)));
            left.map_or(0, |count: i64| usize::try_from(count).unwrap_or_default())
        };
        let left = clock::timeout(member.inner.cancel_timeout, goodbye).await.unwrap_or_default();
        Ended { cut, left }
    }
}

/// Messages that were taken.
struct Taken {
    items: Vec<Item>,
    /// Whether there may be more.
    more: bool,
}

impl Member {
    /// Tells the server what became of messages.
    async fn tell(&self, acked: &[Item], deferred: &[Deferral]) -> Result<()> {
        let database = &self.inner.database;
        if !acked.is_empty() {
            let groups: Vec<i64> = acked.iter().map(|item| item.group).collect();
            let ids: Vec<i64> = acked.iter().map(|item| item.id).collect();
            let attempts: Vec<i32> = acked.iter().map(|item| item.attempts).collect();
            database.rows(sql::ACK, params![groups, ids, attempts]).await?;
        }
        if !deferred.is_empty() {
            let items = || deferred.iter().map(|deferral| &deferral.item);
            let groups: Vec<i64> = items().map(|item| item.group).collect();
            let ids: Vec<i64> = items().map(|item| item.id).collect();
            let attempts: Vec<i32> = items().map(|item| item.attempts).collect();
            let micros = |pause: Duration| i64::try_from(pause.as_micros()).unwrap_or(i64::MAX);
            let pauses: Vec<i64> = deferred.iter().map(|one| micros(one.pause)).collect();
            let undone: Vec<i32> = deferred.iter().map(|one| one.undone).collect();
            database.rows(sql::DEFER, params![groups, ids, attempts, pauses, undone]).await?;
        }
        Ok(())
    }

    /// Takes up to `wanted` messages.
    async fn claim(&self, wanted: usize) -> Result<Taken> {
        if wanted == 0 {
            return Ok(Taken { items: Vec::new(), more: true });
        }
        let group = self.group.load(Ordering::Acquire);
        let count = i64::try_from(wanted).unwrap_or(1);
        let visibility = i64::try_from(VISIBILITY.as_micros()).unwrap_or(1);
        let params = params![group, count, CLAIM_BYTES_MAX, visibility];
        let rows = self.inner.database.rows(sql::CLAIM, params).await?;
        let items = rows.iter().map(|row| Item::read(group, row)).collect::<Result<Vec<_>>>();
        let mut items = items?;
        items.sort_by_key(|item| item.id);
        let bytes: usize = items.iter().map(|item| item.message.body.len()).sum();
        let many = i64::try_from(bytes).unwrap_or(i64::MAX) >= CLAIM_BYTES_MAX;
        Ok(Taken { more: items.len() >= wanted || many, items })
    }

    async fn handle(&self, handler: &Handler, item: &Item) -> Verdict {
        let limits = &self.inner.limits;
        let (attempt, most) = (item.attempt(), limits.deliveries_max);
        let reason = if let Some(fault) = &item.fault {
            fault.clone()
        } else if attempt > most {
            // Those that had it ended without a word, or it could not be buried.
            format!("not settled in {most} deliveries")
        } else {
            let delivery = Delivery::new(Arc::clone(&item.message), attempt);
            match deliver(handler, delivery, limits.ack_timeout).await {
                Ack::Ack => return Verdict::Done,
                Ack::Retry { after } if attempt < most => {
                    return Verdict::Again(before_retry(item.attempt(), after));
                }
                Ack::Retry { .. } => format!("not handled in {attempt} deliveries"),
                Ack::Reject { reason } => reason,
            }
        };
        let places = (&*self.inner.database, &*self.inner.wakes);
        match item.bury(self.queue.as_deref(), &reason, places).await {
            Ok(Buried::Gone) => Verdict::Gone,
            Ok(Buried::NoRoom) => Verdict::Again(before_retry(item.attempt(), None)),
            Err(error) => {
                let (topic, id) = (&item.message.topic, &item.message.id);
                tracing::warn!(topic, id, %error, "cannot publish a dead letter yet");
                Verdict::Again(before_retry(item.attempt(), None))
            }
        }
    }
}
