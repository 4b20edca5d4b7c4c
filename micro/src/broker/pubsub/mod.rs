//! Events on Google Cloud Pub/Sub.
//!
//! A topic is a topic of the same name, a group the subscription `<topic>~<queue>`, and a subscription
//! without a queue has one of its own for as long as it lasts. All are made where they are missing.
//! A client of its own over `tonic`, whose messages are written here as far as they are used: that of
//! Google keeps what it sends and settles in queues without limits and tasks without owners, and
//! notices a server that is silent only when TCP does.
//!
//! # Delivery
//! At least once to each group, from its first subscription on, whether its members run or not; to a
//! subscription without a queue while it lasts. A message that a handler fails comes again after a
//! growing pause (or what the handler asks for, at most five minutes), to any member of the group,
//! five times in all; the servers count, across processes. Then, or when it is rejected, it goes to
//! `<topic>.dead`, and is acknowledged once it is there. Dead letters wait in the group `dead` of that
//! topic: subscribe to `<topic>.dead` with the queue `dead` to take what has waited. A message that
//! is never settled, because it ends its processes, is given up after fifteen deliveries, and what is
//! taken but not begun when a process ends counts as one. There is no order. A process handles as
//! many messages of a subscription as its concurrency says and takes no more than its handlers do in
//! 50 ms; those that are not settled are kept from others for 20 s, again and again, so that those
//! of a process that dies come again after that.
//!
//! # Durability
//! Publishing returns when the servers confirm. They keep a message for a group for seven days,
//! then it is lost; the subscription of a group never ends by itself. A message that waits for
//! another delivery stays unacknowledged and is never copied. What is published to a topic without a
//! subscription is dropped. A subscription without a queue is deleted when it ends; where its process
//! dies, the servers delete it after a day.
//!
//! # Limits
//! [`BrokerLimits`]. A message has 10 MB (413). Names have 255 bytes; those of topic and queue
//! together are a 400 when they are longer. A topic whose name the servers do not take, because it is
//! shorter than three characters or begins with another character than a letter or with `goog`, is
//! `t~<topic>` there, and characters of a queue other than letters, digits, `-`, `.` and `_` are
//! written as `%` and two digits. Metadata is attributes of the same name; what they have no room for,
//! values of more than 1,024 bytes and keys that begin with `goog` or `micro-more-` among them,
//! travels in `micro-more-0` and those that follow it, so that nothing is refused. Of one process,
//! 1,024 messages wait for their confirmation at a time. Messages that wait here for another
//! delivery are 256 for each subscription; with more, their handlers count as busy; pauses of more
//! than ten seconds are in whole seconds, and the servers wait. More than 100 deliveries of a
//! message cannot be asked for: the servers themselves then move it to `<topic>.dead`, without what
//! is known of its failure. Quotas of the project apply: what is over one is a 429, safe to repeat.
//!
//! # When the server fails
//! The connection is made again with growing pauses of at most two seconds, and subscriptions ask
//! again, having made again what is missing. Publishing meanwhile is a 503 within three seconds, safe to
//! repeat; a message that was sent and not confirmed, within fifteen seconds where the server is
//! silent and a minute where others wait before it, is a 503 whose outcome is unknown. A server that
//! is silent is given up after ten seconds, and a connection on which subscriptions wait, where that
//! alone is dead, after 40 s. Handlers go on; what they decide is told for fifteen seconds more, and
//! comes again where that was in vain. Closing waits no longer than its deadline.
//!
//! # Configuration
//! `pubsub://project`, to Google's servers, over TLS and with the Application Default Credentials of the
//! process; `?endpoint=https://host` chooses others of theirs, such as those of one region, and
//! `?endpoint=host:port` an emulator, without TLS and credentials, as `PUBSUB_EMULATOR_HOST` does
//! where there is no such option. The process needs the right to publish, to subscribe, and to create
//! topics and subscriptions, or these have to be there: then with a dead letter policy, without which
//! deliveries are counted by each process alone, and an acknowledgement deadline of ten seconds or
//! more. For the servers to move a message after 100 deliveries, their own account needs rights too.
//! See [`PubSubConfig`].
//!
//! # Not supported
//! Order (ordering keys), exactly-once subscriptions, filters, schemas, push; patterns; another
//! [`Overflow`] than `Block`; TLS to an emulator; ids of projects with a colon in a URL. A topic that
//! was deleted leaves subscriptions behind that get nothing: delete these too.
//!
//! # Tested against
//! Google's emulator 0.8.20, which keeps nothing when it ends: that messages outlast the servers is
//! Google's word, and what was tested is that topics and subscriptions are made again. Credentials,
//! TLS, quotas and missing rights were not tested against Google.

mod calls;
mod came;
mod config;
mod counts;
mod desk;
mod fault;
mod held;
mod intake;
mod link;
mod member;
mod messages;
mod names;
mod publisher;
mod running;
mod session;
mod topology;
mod wire;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::error::Retry;
use crate::core::future::BoxFuture;
use crate::core::limits::BrokerLimits;
use crate::core::shutdown::Shutdown;
use crate::core::shutdown::TaskHandle;
use crate::core::shutdown::TaskTracker;
use crate::transport::Scope;

use super::Broker;
use super::Capabilities;
use super::Handler;
use super::Overflow;
use super::SubscribeOptions;
use super::dead_letter::DEAD_SUFFIX;
use super::dead_letter::is_dead;
use super::memory::closed;
use super::message::Message;
use super::subscription::Subscription;
use super::topic::validate_pattern;

pub use self::config::{PubSubConfig, PubSubEndpoint};
use self::counts::Counts;
use self::desk::Desk;
use self::desk::Teller;
use self::held::Held;
use self::link::Link;
use self::member::Member;
use self::member::PAUSED_MAX;
use self::member::Place;
use self::member::Subscribed;
use self::names::Names;
use self::publisher::Publisher;
use self::running::Running;
use self::topology::Lasting;

const ERROR_ID: &str = "micro.broker";

/// The group of a topic's dead letters that keeps them until somebody subscribes with it.
const DEAD_QUEUE: &str = "dead";

/// A broker on Google Cloud Pub/Sub; clones share it.
///
/// It connects by itself, and its connections end when it is closed, with its last clone and
/// subscription, or with the tasks of its scope.
///
/// ```
/// use micro::broker::{Broker, PubSub, PubSubConfig, PubSubEndpoint};
/// use micro::transport::Scope;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> micro::Result<()> {
/// let emulator = PubSubEndpoint::Emulator("127.0.0.1:8085".into());
/// let config = PubSubConfig::new("shop-1").with_endpoint(emulator);
/// let broker = PubSub::new(&config, &Scope::default())?;
/// assert!(broker.capabilities().durable);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PubSub {
    inner: Arc<Inner>,
}

struct Inner {
    link: Arc<Link>,
    names: Names,
    publisher: Arc<Publisher>,
    limits: BrokerLimits,
    body_bytes_max: usize,
    cancel_timeout: Duration,
    tasks: TaskTracker,
    members: Mutex<Members>,
    running: Running,
    /// No further subscriptions.
    closing: AtomicBool,
    /// No further messages.
    closed: AtomicBool,
    keeper: Arc<TaskHandle>,
}

#[derive(Default)]
struct Members {
    next_id: u64,
    live: HashMap<u64, Weak<Member>>,
}

impl PubSub {
    /// Makes a broker without waiting for its servers; its limits and tasks are those of `scope`.
    ///
    /// # Errors
    /// 412 for what is no project or no address, and for credentials that cannot be read.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(config: &PubSubConfig, scope: &Scope) -> Result<Self> {
        let limits = &scope.limits;
        let names = Names::new(&config.project)?;
        let link = Arc::new(Link::new(config, &names)?);
        let keeper = scope.tasks.spawn("broker.pubsub.link", Arc::clone(&link).keep());
        let publisher = Publisher::new(Arc::clone(&link), names.clone(), scope.tasks.clone());
        let inner = Inner {
            link,
            names,
            publisher: Arc::new(publisher),
            limits: limits.broker.clone(),
            body_bytes_max: limits.message.bytes_max,
            cancel_timeout: limits.shutdown.cancel_timeout,
            tasks: scope.tasks.clone(),
            members: Mutex::default(),
            running: Running::default(),
            closing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            keeper: Arc::new(keeper.abort_on_drop()),
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl Broker for PubSub {
    fn name(&self) -> &'static str {
        "pubsub"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            ordered: false,
            queue_groups: true,
            redelivery: true,
            dead_letters: true,
            patterns: false,
            overflow: false,
        }
    }

    fn publish(&self, message: Message) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            message.validate(self.inner.body_bytes_max)?;
            if self.inner.closed.load(SeqCst) {
                return Err(closed(&message.topic));
            }
            self.inner.publisher.publish(&message).await
        })
    }

    fn subscribe<'a>(
        &'a self,
        topic: &'a str,
        options: SubscribeOptions,
        handler: Handler,
    ) -> BoxFuture<'a, Result<Subscription>> {
        Box::pin(async move {
            check(topic, &options)?;
            let id = self.inner.admit(topic)?;
            let left = Left { inner: Arc::downgrade(&self.inner), id };
            let (subscribed, teller) = self.inner.subscribed(topic, options, handler, id)?;
            subscribed.place().await?;
            let leave = Box::new(move || left.leave());
            let owner = (&self.inner.tasks, self.inner.running.one());
            let member = Member::start(&Arc::new(subscribed), teller, owner, leave);
            let is_open = self.inner.join(id, &member);
            // Dropped, it ends.
            let subscription = Subscription::new(topic, member);
            if is_open { Ok(subscription) } else { Err(closed(topic)) }
        })
    }

    fn close(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.inner.close(deadline))
    }
}

impl crate::driver::Link for PubSub {
    fn vendor(&self) -> &'static str {
        "pubsub"
    }

    fn is_up(&self) -> bool {
        self.inner.link.is_up()
    }
}

impl fmt::Debug for PubSub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PubSub")
            .field("link", &format_args!("{}", self.inner.link))
            .field("names", &self.inner.names)
            .finish_non_exhaustive()
    }
}

fn check(topic: &str, options: &SubscribeOptions) -> Result<()> {
    if validate_pattern(topic)? {
        let text = format!("subscribe to {topic}: pubsub has no patterns");
        return Err(Error::unimplemented(ERROR_ID, text));
    }
    if options.overflow != Overflow::Block {
        let text = format!("subscribe to {topic}: pubsub keeps what is not handled yet");
        return Err(Error::unimplemented(ERROR_ID, text));
    }
    Ok(())
}

/// A place among the subscriptions, given back when it is left or dropped.
struct Left {
    inner: Weak<Inner>,
    id: u64,
}

impl Left {
    fn leave(&self) {
        if let Some(inner) = self.inner.upgrade() {
            inner.members().live.remove(&self.id);
        }
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Inner {
    fn subscribed(
        &self,
        topic: &str,
        options: SubscribeOptions,
        handler: Handler,
        number: u64,
    ) -> Result<(Subscribed, Teller)> {
        let limits = &self.limits;
        let most = limits.unacked_max.max(1);
        let concurrency = options.concurrency.get().min(most);
        let place = self.placed(topic, options.queue.as_deref())?;
        let (life, subscription) = (Shutdown::new(), place.subscription.clone());
        let (desk, teller) = Desk::new(Arc::clone(&self.link), subscription.clone(), life.clone());
        let subscribed = Subscribed {
            link: Arc::clone(&self.link),
            publisher: Arc::clone(&self.publisher),
            desk,
            topic: topic.to_owned(),
            queue: options.queue,
            handler,
            limits: limits.clone(),
            subscription,
            place,
            number,
            life,
            tasks: TaskTracker::new(),
            free: Arc::new(Semaphore::new(concurrency)),
            paused: Semaphore::new(PAUSED_MAX),
            held: Held::new(concurrency, most, limits.pending_bytes_max),
            counts: Counts::default(),
            cancel_timeout: self.cancel_timeout,
            _keeper: Arc::clone(&self.keeper),
        };
        Ok((subscribed, teller))
    }

    fn placed(&self, topic: &str, queue: Option<&str>) -> Result<Place> {
        let names = &self.names;
        let (subscription, lasting) = match queue {
            Some(queue) => (names.group(topic, queue)?, Lasting::Forever),
            None => (names.own(topic), Lasting::Passing),
        };
        let dead = match is_dead(topic) {
            // Dead letters that fail have nowhere to go.
            true => None,
            false => {
                let dead = format!("{topic}{DEAD_SUFFIX}");
                Some((names.topic(&dead), names.group(&dead, DEAD_QUEUE)?))
            }
        };
        Ok(Place { topic: names.topic(topic), subscription, dead, lasting })
    }

    /// Takes a place for a subscription.
    fn admit(&self, topic: &str) -> Result<u64> {
        let mut members = self.members();
        if self.closing.load(SeqCst) {
            return Err(closed(topic));
        }
        let most = self.limits.subscriptions_max;
        if members.live.len() >= most {
            let text = format!("subscribe to {topic}: subscriptions are limited to {most}");
            return Err(Error::too_many_requests(ERROR_ID, text).with_retry(Retry::Safe));
        }
        members.next_id = members.next_id.wrapping_add(1);
        let id = members.next_id;
        members.live.insert(id, Weak::new());
        Ok(id)
    }

    /// Puts a subscription into its place; `false` if the broker closes.
    fn join(&self, id: u64, member: &Arc<Member>) -> bool {
        let mut members = self.members();
        members.live.insert(id, Arc::downgrade(member));
        !self.closing.load(SeqCst)
    }

    async fn close(&self, deadline: Instant) -> Result<()> {
        let members: Vec<_> = {
            let members = self.members();
            self.closing.store(true, SeqCst);
            members.live.values().filter_map(Weak::upgrade).collect()
        };
        for member in &members {
            member.stop_fetching();
        }
        let mut cut = 0;
        // Those that were dropped before are telling what became of their messages.
        if !self.running.wait(deadline).await {
            cut = members.iter().map(|member| member.busy()).sum();
        }
        for member in &members {
            member.end();
        }
        let patience = clock::after(clock::now(), self.cancel_timeout);
        if !self.running.wait(patience).await {
            tracing::warn!("subscriptions are left that could not tell what became of messages");
        }
        // Handlers that were still running could publish until here.
        self.closed.store(true, SeqCst);
        self.keeper.abort();
        if cut == 0 {
            return Ok(());
        }
        Err(Error::timeout(ERROR_ID, format!("close: {cut} subscribers cut")))
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
