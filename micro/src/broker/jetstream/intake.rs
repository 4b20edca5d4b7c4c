//! From a consumer on the server to the handlers of one subscription.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message as Raw, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};

use crate::broker::memory::{Flight, count};
use crate::broker::nats::queue::Queue;
use crate::broker::pause::{RETRY_BASE, RETRY_MAX};
use crate::core::backoff::Backoff;
use crate::core::clock::{self, Instant};
use crate::core::shutdown::Shutdown;
use crate::driver::Link;

use super::api::{self, Consumer};
use super::held::Held;
use super::pulled::{Came, Pulled};
use super::{ANSWER_PATIENCE, Inner, settle};

/// Messages that are taken from the client at a time, so that the lock is taken once for many.
const BATCH_MAX: usize = 256;

/// How long the server keeps a request that it has no messages for.
const REQUEST_EXPIRES: Duration = Duration::from_secs(30);

/// How often the server says that it still has a request.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Silence after which the server has forgotten a request.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// How often the intake looks after what nobody tells it.
const TICK: Duration = Duration::from_millis(500);

/// Fetches messages and keeps them from being delivered again while they wait here.
pub(super) struct Intake {
    pub(super) inner: Arc<Inner>,
    pub(super) topic: String,
    pub(super) consumer: Consumer,
    pub(super) queue: Arc<Queue<Pulled>>,
    pub(super) held: Arc<Held>,
    pub(super) life: Shutdown,
    pub(super) state: State,
}

/// What the intake knows of its requests.
#[derive(Debug)]
pub(super) struct State {
    /// What the subjects begin with that requests are answered to.
    inbox: String,
    /// Requests before the last reset are no longer counted.
    generation: u64,
    session: u64,
    /// When the server was heard last.
    heard: Instant,
    /// No request before this.
    pause_until: Instant,
    /// When what is held was last said to be worked on.
    renewed: Instant,
    /// The next message is longer than what fits: it is fetched alone.
    is_alone: bool,
    is_draining: bool,
    is_missing: bool,
    /// The last place in the stream that came.
    last: u64,
}

impl State {
    pub(super) fn new(inbox: String, session: u64) -> Self {
        let now = clock::now();
        Self {
            inbox,
            generation: 0,
            session,
            heard: now,
            pause_until: now,
            renewed: now,
            is_alone: false,
            is_draining: false,
            is_missing: false,
            last: 0,
        }
    }
}

impl Intake {
    pub(super) async fn run(mut self, mut subscriber: Subscriber) {
        let mut sessions = self.inner.replies.nats().sessions();
        let life = self.life.clone();
        let mut tick = clock::after(clock::now(), TICK);
        loop {
            if self.state.is_missing && !self.state.is_draining {
                // Cancel safety: making a consumer is safe to repeat, and this ends with the life.
                tokio::select! {
                    biased;
                    () = life.draining() => {}
                    () = self.make_again() => {}
                }
            }
            // Before anything else, since under load there is always something else.
            if clock::now() >= tick {
                tick = clock::after(clock::now(), TICK);
                self.look();
                self.renew().await;
            }
            self.ask().await;
            let is_lost = self.state.is_draining && !sessions.borrow().is_up;
            // Cancel safety: messages are moved as soon as they are taken from the client.
            let first = tokio::select! {
                biased;
                () = life.closed() => break,
                () = life.draining(), if !self.state.is_draining => {
                    self.state.is_draining = true;
                    // Whatever is on its way still comes, and the server forgets the requests;
                    // without a connection nothing does.
                    if sessions.borrow_and_update().is_up {
                        let drained = clock::timeout(ANSWER_PATIENCE, subscriber.drain()).await;
                        if !matches!(drained, Ok(Ok(()))) {
                            break;
                        }
                    }
                    continue;
                }
                first = subscriber.next() => first,
                () = std::future::ready(()), if is_lost => break,
                () = self.held.room.notified() => continue,
                changed = sessions.changed() => {
                    self.look();
                    match changed {
                        Ok(()) if !self.state.is_draining => continue,
                        Ok(()) | Err(_) => break,
                    }
                }
                () = clock::sleep_until(tick) => continue,
            };
            let Some(first) = first else { break };
            self.take(first, &mut subscriber);
        }
        self.finish(subscriber).await;
    }

    /// Moves what came to the queue.
    fn take(&mut self, first: Raw, subscriber: &mut Subscriber) {
        self.state.heard = clock::now();
        let more = std::iter::from_fn(|| subscriber.next().now_or_never().flatten());
        let raws: Vec<_> = std::iter::once(first).chain(more).take(BATCH_MAX).collect();
        let pulled: Vec<_> = raws.into_iter().filter_map(|raw| self.one(raw)).collect();
        if !pulled.is_empty() {
            // There is room: no more is fetched than the subscription may have.
            let dropped = self.queue.push_all(pulled.into_iter());
            self.inner.tally.drop_many(dropped);
        }
    }

    fn one(&mut self, raw: Raw) -> Option<Pulled> {
        match Came::read(&raw) {
            Came::Message(reply, facts) => {
                self.held.came(1);
                self.state.is_alone = false;
                self.state.last = self.state.last.max(facts.sequence);
                if !self.held.insert(facts.sequence, reply, raw.length) {
                    return None;
                }
                count(&self.inner.tally.routed);
                return Some(Pulled { raw, facts, _flight: Flight::new(&self.inner.tally) });
            }
            _ if !self.is_current(&raw) => {}
            Came::Unfilled(left) => self.held.came(left),
            Came::TooLong(left) => {
                self.held.came(left);
                self.state.is_alone = self.held.is_empty();
            }
            Came::NoConsumer => {
                self.reset();
                self.state.is_missing = true;
            }
            Came::Refused(said) => {
                tracing::warn!(topic = self.topic, said, "cannot fetch messages yet");
                self.reset();
                self.state.pause_until = clock::after(clock::now(), TICK);
            }
            Came::Nothing => {}
        }
        None
    }

    /// Tells whether a word of the server is about a request that still counts.
    fn is_current(&self, raw: &Raw) -> bool {
        let generation = raw.subject.strip_prefix(&*self.state.inbox);
        generation.and_then(|text| text.strip_prefix('.')?.parse().ok())
            == Some(self.state.generation)
    }

    /// Asks for messages, if there is room for them.
    async fn ask(&mut self) {
        let nats = self.inner.replies.nats();
        let state = &self.state;
        let rests = state.is_draining || state.is_missing || clock::now() < state.pause_until;
        if rests || !nats.is_up() {
            return;
        }
        let Some((messages, bytes)) = self.held.wanted() else { return };
        let (messages, limit) = match state.is_alone {
            true => (1, String::new()),
            false => (messages, format!(",\"max_bytes\":{bytes}")),
        };
        let request = format!(
            "{{\"batch\":{messages},\"expires\":{},\"idle_heartbeat\":{}{limit}}}",
            REQUEST_EXPIRES.as_nanos(),
            HEARTBEAT.as_nanos(),
        );
        let subject =
            format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.consumer.stream, self.consumer.name);
        let reply = format!("{}.{}", state.inbox, state.generation);
        let sent = nats.client_now().publish_with_reply(subject, reply, Bytes::from(request));
        if !self.held.expects() {
            self.state.heard = clock::now();
        }
        self.held.asked(messages);
        // What is not sent in time is missed by the next looks, which ask again.
        let _late = clock::timeout(ANSWER_PATIENCE, sent).await.is_err();
    }

    /// Forgets the requests that a lost connection or a silent server has.
    fn look(&mut self) {
        let session = self.inner.replies.session();
        let silent = clock::now().saturating_duration_since(self.state.heard) > SILENCE_MAX;
        if session != self.state.session || self.held.expects() && silent {
            self.state.session = session;
            self.reset();
        }
    }

    fn reset(&mut self) {
        self.state.generation += 1;
        self.state.heard = clock::now();
        self.held.none_comes();
    }

    /// Says of all messages here that they are worked on, so that they are not delivered again.
    async fn renew(&mut self) {
        let now = clock::now();
        if now.saturating_duration_since(self.state.renewed) < self.consumer.ack_wait / 3 {
            return;
        }
        self.state.renewed = now;
        for reply in self.held.replies() {
            self.inner.tell(reply, Bytes::from_static(settle::WORKING)).await;
        }
    }

    /// Makes a consumer again that the server does not have, and tries until it does.
    async fn make_again(&mut self) {
        let mut backoff = Backoff::new(RETRY_BASE, RETRY_MAX);
        let nats = self.inner.replies.nats();
        loop {
            let made = async {
                if api::has_consumer(nats, &self.consumer).await? {
                    return Ok(false);
                }
                api::make_streams(nats, &self.inner.places, &self.inner.options).await?;
                api::make_consumer(nats, &self.consumer, self.state.last).await?;
                Ok::<_, crate::core::error::Error>(true)
            };
            match made.await {
                Ok(is_new) => {
                    if is_new {
                        let (topic, consumer) = (&self.topic, &self.consumer.name);
                        tracing::warn!(topic, consumer, "was gone and is made again");
                    }
                    self.state.is_missing = false;
                    return;
                }
                Err(error) => tracing::debug!(topic = self.topic, %error, "no consumer yet"),
            }
            clock::sleep(backoff.next_delay()).await;
        }
    }

    /// Gives back what no handler has had, and waits until the server knows what was settled.
    async fn finish(mut self, mut subscriber: Subscriber) {
        self.queue.end();
        // A subscription that drains works off what it has; this waits for it.
        self.keep_until_closed().await;
        let late = std::iter::from_fn(|| subscriber.next().now_or_never().flatten());
        let late: Vec<_> = late.filter_map(|raw| self.one(raw)).collect();
        for pulled in self.queue.clear().into_iter().chain(late) {
            self.inner.give_back(&self.held, pulled.facts.sequence).await;
        }
        if !self.inner.replies.nats().is_up() {
            return;
        }
        let replies = &self.inner.replies;
        let _unknown = replies.echo(replies.session(), ANSWER_PATIENCE).await.is_err();
        if self.consumer.is_own {
            // One that stays is removed by the server, after some time.
            if let Err(error) = api::remove_consumer(replies.nats(), &self.consumer).await {
                tracing::debug!(topic = self.topic, %error, "consumer is left behind");
            }
        }
    }

    async fn keep_until_closed(&mut self) {
        let life = self.life.clone();
        loop {
            // Cancel safety: neither of the two holds anything.
            tokio::select! {
                biased;
                () = life.closed() => return,
                () = clock::sleep(TICK) => self.renew().await,
            }
        }
    }
}
