//! Events on a server of MQTT 5, among devices and programs of any language.
//!
//! The words of a topic are levels: `orders.created` is `orders/created` there, and a pattern the
//! filter that covers it. A queue is a shared subscription, `$share/<queue>/<filter>`. The body of
//! a message is the payload, its kind the content type, its id (`Micro-Message-Id`) and metadata
//! are user properties; what other programs publish is read as far as it goes. go-micro's plugin
//! wraps the body in JSON instead, which devices would have to undo: it is not spoken here.
//!
//! # Delivery
//! Messages are published and delivered with QoS 1. Publishing returns when the server confirms; a
//! message is acknowledged when its handler has succeeded, or its dead letter is confirmed. One
//! that is too long for the server is published without the metadata and most of the reason; one
//! that is refused all the same is an error in the log and tried again each minute. MQTT has no
//! word for another delivery: a message that a handler fails waits here, unacknowledged, and comes
//! again to this process after a growing pause (or what the handler asks for, at most five
//! minutes), five times in all. A subscription that ends gives what it has not settled to other
//! members of its group, in other processes too, by a topic of the group that begins with
//! `micro=return/`: what it had, and what the server had for it. For that it cuts its handlers a
//! fifth of the time, at most five seconds, before its deadline; what is not done by then, and what
//! has no deadline, is done in the background within thirty seconds. Where nobody is left, that
//! stays in the session. A connection that is lost and made again within the
//! [expiry](MqttOptions::expiry) of the session loses nothing; messages whose acknowledgement was
//! lost with it come twice. Messages of one publisher keep their order for a subscription that
//! handles one at a time; those that come again may fall behind.
//!
//! Another delivery after the loss of a process is declared with a
//! [client](MqttOptions::client): the sessions are then taken up by the process that has the name
//! next. Without, what a process that crashes had not acknowledged, and for half a minute its part
//! of what its groups get, is lost unless the server gives it to other members, which Mosquitto does
//! not. A subscription without a queue misses what is published while it is not there.
//!
//! # Durability
//! Not declared: what the server keeps, and when it writes that down, is its own affair. Mosquitto
//! with `persistence true` writes sessions and messages when it is stopped and every
//! `autosave_interval`; what came after that is lost when it is killed.
//!
//! # Limits
//! [`BrokerLimits`]: the server has `unacked_max` messages of a subscription under way at most,
//! those that wait for another delivery among them, so that many of these hold up the others. From
//! a server that sends more (Mosquitto 2.0.11 sends a backlog whole) no more is read, nor while
//! what a subscription has takes more than `pending_bytes_max`. What others publish with QoS 0
//! counts alike, is handled and fails like the rest, and is lost with its connection, its process
//! or its subscription; where too much of it waits, the server drops it. What else waits is on the
//! server, which drops what is more than it has room for (Mosquitto: `max_queued_messages`, 1,000)
//! and tells nobody. Publishers have up to 1,024 messages under way, or what the server allows
//! (Mosquitto: `max_inflight_messages`, 20); others wait. A packet longer than the server announces
//! to take (`max_packet_size`) is a 413, and so is a text of more than 65,535 bytes; one that is
//! longer than a message may be here is not delivered, and a server that sends it all the same, on
//! three connections one after the other, has the session cleared, with what else waits in it and a
//! warning in the log. A server's limit that is not announced (`message_size_limit`) costs the
//! connection. Texts with code points that are no characters are a 400: servers hang up on them.
//! Deliveries are counted by the process: a message that crashes its process comes again and again.
//! Each subscription is a connection of its own.
//!
//! # When the server fails
//! Connections are made again with growing pauses of at most two seconds. Publishing meanwhile
//! fails after two seconds, and subscribing after five, with a 503 that is safe to repeat, or with
//! a 401 or 403 where the server refuses the login; a message that was sent and is not confirmed
//! within ten seconds, or before the connection breaks, is a 503 whose outcome is unknown. A server
//! that is silent is given up after ten seconds. Handlers go on meanwhile. [`Mqtt::reconnects`]
//! tells of each subscription that was made again, [`Mqtt::gaps`] of those whose session the server
//! had lost: messages may have been missed.
//!
//! # Configuration
//! `mqtt://user:password@host:1883?client=mailer-1&expiry=10m`, several hosts of a cluster
//! separated by commas. See [`MqttOptions`]. The server has to allow the topics that begin with
//! `micro=return/`.
//!
//! # Not supported
//! TLS to the server; MQTT 3; QoS 2; retained messages, which a subscription does not get; another
//! [`Overflow`](super::Overflow) than `Block`; topics whose levels are no words of ours.
//!
//! # Tested against
//! Mosquitto 2.0.11.

mod gaps;
mod ids;
mod intake;
mod line;
mod names;
mod options;
mod publisher;
mod refusal;
mod requests;
mod seat;
mod wire;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;

use crate::core::clock::{self, Instant};
use crate::core::error::{Error, Result, Retry};
use crate::core::future::BoxFuture;
use crate::core::limits::BrokerLimits;
use crate::driver::{Link, Server};
use crate::transport::Scope;

use super::memory::{Buried, Bury, Counts, Memory, closed};
use super::message::Message;
use super::subscription::Subscription;
use super::topic::validate_pattern;
use super::{Broker, Capabilities, Handler, Overflow, SubscribeOptions};

use self::gaps::Gaps;
use self::ids::Ids;
use self::intake::Intake;
use self::line::{Line, Wanted};
use self::names::Names;
pub use self::options::MqttOptions;
use self::publisher::Publisher;
use self::seat::{END_PATIENCE, Kept, Seat, handling_end};
use self::wire::Letter;

const ERROR_ID: &str = "micro.broker";

/// The most bytes of a queue's name.
const QUEUE_BYTES_MAX: usize = 128;

/// Bytes of a packet beside the body, at most: metadata, and what else travels with it.
const ENVELOPE_BYTES_MAX: usize = 64 * 1024;

/// How long subscribing may take.
const SUBSCRIBE_PATIENCE: Duration = Duration::from_secs(5);

/// Room for messages of one subscription, in times of what the server may have under way: what
/// handlers still have of a session that was lost comes on top.
const ROOM_TIMES: usize = 4;

/// Requests of a subscription that wait to be sent, beside acknowledgements.
const OTHERS_MAX: usize = 64;

/// How long a message waits whose dead letter the server does not take: until its operator has made
/// room for such a letter.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// A broker on a server of MQTT 5; clones share it.
///
/// ```
/// use micro::broker::{Broker, Mqtt, MqttOptions};
/// use micro::driver::Server;
/// use micro::transport::Scope;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> micro::Result<()> {
/// let options = MqttOptions::default().with_client("mailer-1");
/// let broker = Mqtt::open(&Server::new("127.0.0.1", Mqtt::PORT), options, &Scope::default())?;
/// assert!(broker.capabilities().queue_groups);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Mqtt {
    inner: Arc<Inner>,
}

struct Inner {
    server: Server,
    options: MqttOptions,
    scope: Scope,
    /// Delivers to the handlers.
    engine: Memory,
    publisher: Arc<Publisher>,
    ids: Arc<Ids>,
    gaps: Gaps,
    /// Limit: the subscriptions that the engine admits, and those that are ending.
    seats: Mutex<Vec<Weak<Seat>>>,
}

impl Mqtt {
    /// The usual port of servers.
    pub const PORT: u16 = 1883;

    /// Makes a broker on a server, which it connects to in the background; its limits and tasks are
    /// those of `scope`.
    ///
    /// # Errors
    /// 412 for an option with a wrong value.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open(server: &Server, options: MqttOptions, scope: &Scope) -> Result<Self> {
        options.check()?;
        let mut limits = (*scope.limits).clone();
        // The window and the bytes of each subscription bound them: what is read has room.
        limits.broker.pending_messages_max = usize::from(window(&limits.broker)) * ROOM_TIMES;
        limits.broker.pending_bytes_max = usize::MAX;
        let ids = Ids::new(options.client.clone());
        let asked = (ids.fleeting(), packet_max(scope));
        let turn_patience = limits.call.default_timeout;
        let publisher = Publisher::start(server, asked, turn_patience, &scope.tasks);
        let inner = Arc::new(Inner {
            server: server.clone(),
            options,
            scope: scope.clone(),
            engine: Memory::with_limits(&limits, scope.tasks.clone()),
            publisher: Arc::new(publisher),
            ids,
            gaps: Gaps::default(),
            seats: Mutex::default(),
        });
        let undertaker: Weak<dyn Bury> = Arc::<Inner>::downgrade(&inner);
        inner.engine.bury_with(undertaker);
        Ok(Self { inner })
    }

    /// Returns what has become of the messages that the subscriptions here got.
    pub fn counts(&self) -> Counts {
        self.inner.engine.counts()
    }

    /// Counts how often a subscription was made again after its connection was lost.
    pub fn reconnects(&self) -> watch::Receiver<u64> {
        self.inner.gaps.reconnects()
    }

    /// Counts how often a subscription was made again whose session the server had lost: each time,
    /// messages may have been missed.
    pub fn gaps(&self) -> watch::Receiver<u64> {
        self.inner.gaps.gaps()
    }
}

impl Inner {
    async fn publish(&self, message: &Message) -> Result<()> {
        let letter = Letter::new(message)?;
        self.publisher.publish(&message.topic, letter).await.map(drop)
    }

    async fn subscribe(
        &self,
        topic: &str,
        options: SubscribeOptions,
        handler: &Handler,
    ) -> Result<Subscription> {
        validate_pattern(topic)?;
        check(topic, &options)?;
        let queue = options.queue.as_deref();
        let end = clock::after(clock::now(), SUBSCRIBE_PATIENCE);
        let Ok(id) = clock::timeout_at(end, self.ids.of(topic, queue)).await else {
            let text = format!("subscribe to {topic}: one that ends has its session still");
            return Err(Error::unavailable(ERROR_ID, text).with_retry(Retry::Safe));
        };
        let names = Names::new(topic, queue);
        let member = self.engine.subscribe_apart(topic, options, handler)?;
        let window = window(&self.scope.limits.broker);
        let group = Arc::clone(&member.group);
        let room = (window, self.scope.limits.broker.pending_bytes_max);
        let intake = Intake::new(names, group, self.gaps.clone(), room);
        let first = intake.first();
        let wanted = Wanted {
            client: id.name.clone(),
            expiry_secs: self.options.expiry_secs(),
            receive_max: window,
            requests_max: usize::from(window) * 2 + OTHERS_MAX,
            packet_max: packet_max(&self.scope),
        };
        let tasks = &self.scope.tasks;
        let line = Line::start(&self.server, wanted, Arc::<Intake>::clone(&intake), tasks);
        let publisher = Arc::clone(&self.publisher);
        let seat = Seat::new((intake, member), (line, id), publisher, tasks);
        {
            let mut seats = self.seats();
            seats.retain(|seat| seat.strong_count() > 0);
            seats.push(Arc::downgrade(&seat));
        }
        // Dropped, it ends.
        let subscription = Subscription::new(topic, Arc::new(Kept(seat)));
        match clock::timeout_at(end, first).await {
            Ok(Ok(made)) => made?,
            _ => {
                let text = format!("subscribe to {topic}: no answer from mqtt");
                return Err(Error::unavailable(ERROR_ID, text).with_retry(Retry::Safe));
            }
        }
        if self.engine.is_closed() {
            return Err(closed(topic));
        }
        Ok(subscription)
    }

    async fn close(&self, deadline: Instant) -> Result<()> {
        let seats: Vec<_> = self.seats().iter().filter_map(Weak::upgrade).collect();
        seats.iter().for_each(|seat| seat.leave());
        let end = deadline.min(clock::after(clock::now(), END_PATIENCE));
        for seat in &seats {
            let _away = seat.part(end).await;
        }
        let worked_off = self.engine.close(handling_end(deadline)).await;
        let mut late = Vec::new();
        for seat in seats {
            if !seat.give_back(deadline).await {
                late.push(seat);
            }
        }
        if late.is_empty() {
            self.publisher.end();
            return worked_off;
        }
        let publisher = Arc::clone(&self.publisher);
        let rest = async move {
            for seat in late {
                seat.end_alone().await;
            }
            publisher.end();
        };
        self.scope.tasks.spawn("broker.mqtt.end", rest).detach();
        worked_off
    }

    fn seats(&self) -> MutexGuard<'_, Vec<Weak<Seat>>> {
        // Every critical section leaves the list whole, so a poisoned lock is still sound.
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bury for Inner {
    fn bury(&self, dead: Message) -> BoxFuture<'_, Buried> {
        Box::pin(async move {
            let mut written = self.publish(&dead).await;
            if written.as_ref().is_err_and(|error| error.code() == 413)
                && let Some(short) = wire::short(&dead)
            {
                written = self.publish(&short).await;
            }
            match written {
                Ok(()) => Buried::Done,
                Err(error) if error.retry() == Retry::Never => {
                    let topic = &dead.topic;
                    tracing::error!(topic, %error, "dead letter is refused, will try on");
                    Buried::Again(Some(REFUSED_PAUSE))
                }
                Err(error) => {
                    tracing::debug!(topic = dead.topic, %error, "cannot bury yet");
                    Buried::Again(None)
                }
            }
        })
    }
}

impl Broker for Mqtt {
    fn name(&self) -> &'static str {
        "mqtt"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: false,
            ordered: true,
            queue_groups: true,
            redelivery: self.inner.options.client.is_some(),
            dead_letters: true,
            patterns: true,
            overflow: false,
        }
    }

    fn publish(&self, message: Message) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            message.validate(self.inner.scope.limits.message.bytes_max)?;
            if self.inner.engine.is_closed() {
                return Err(closed(&message.topic));
            }
            self.inner.publish(&message).await
        })
    }

    fn subscribe<'a>(
        &'a self,
        topic: &'a str,
        options: SubscribeOptions,
        handler: Handler,
    ) -> BoxFuture<'a, Result<Subscription>> {
        Box::pin(async move { self.inner.subscribe(topic, options, &handler).await })
    }

    fn close(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.inner.close(deadline))
    }
}

impl Link for Mqtt {
    fn vendor(&self) -> &'static str {
        "mqtt"
    }

    fn is_up(&self) -> bool {
        let seats = self.inner.seats();
        let stand = |seat: Arc<Seat>| seat.line.is_over() || *seat.intake.stands().borrow();
        self.inner.publisher.is_up() && seats.iter().filter_map(Weak::upgrade).all(stand)
    }
}

impl fmt::Debug for Mqtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mqtt")
            .field("server", &self.inner.server)
            .field("publisher", &self.inner.publisher)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

/// Refuses what the server does not do.
fn check(topic: &str, options: &SubscribeOptions) -> Result<()> {
    if options.overflow != Overflow::Block {
        let text = format!("subscribe to {topic}: mqtt keeps what is not handled yet");
        return Err(Error::unimplemented(ERROR_ID, text));
    }
    let is_named = |queue: &String| (1..=QUEUE_BYTES_MAX).contains(&queue.len());
    if !options.queue.as_ref().is_none_or(is_named) {
        let text = format!("a queue has a name of 1 to {QUEUE_BYTES_MAX} bytes");
        return Err(Error::bad_request(ERROR_ID, text));
    }
    Ok(())
}

/// Returns how many messages of a subscription the server may have under way.
fn window(limits: &BrokerLimits) -> u16 {
    u16::try_from(limits.unacked_max.max(1)).unwrap_or(u16::MAX)
}

/// Returns the bytes of the longest packet that is taken.
fn packet_max(scope: &Scope) -> u32 {
    let most = scope.limits.message.bytes_max.saturating_add(ENVELOPE_BYTES_MAX);
    u32::try_from(most).unwrap_or(u32::MAX)
}
