//! Events through tables of a PostgreSQL database, shared by all processes that use it.
//!
//! # Delivery
//! At least once to each group that was subscribed when the message was published: it is copied to
//! each, and removed when a handler has acknowledged it. A group with a queue stays when its members
//! end, and gets what is published meanwhile; a subscription without one has a group of its own,
//! which ends with it, or a minute after its process. Members take messages with
//! `FOR UPDATE SKIP LOCKED`; what one has is invisible to the others for 20 s, which are renewed
//! while it is handled, so what a killed process had is delivered again after them. Handlers that
//! fail get the message again, after a pause that grows, up to five times in all; then, or when they
//! reject it, it goes to `<topic>.dead` in the same transaction. A delivery that a process did not
//! survive counts, too. Dead letters that nobody is subscribed to wait for the first group with a
//! queue. Messages of one publisher keep their order for a group of one member that handles one at a
//! time; a retried one falls behind.
//!
//! Members look when a signal (`NOTIFY`) comes, and every two seconds.
//!
//! # Durability
//! A publication is as durable as a commit of the server: with `fsync` and `synchronous_commit` on,
//! as they are unless changed, it is on the server's disk when `publish` returns. Acknowledgements
//! do not wait for the disk: a crash of the server may forget those of the last second, and their
//! messages are delivered again.
//!
//! # Limits
//! A group holds a million messages, or as many as `messages_max` says: what is published to a full
//! one is a 429, safe to repeat, and no group gets it. The groups are counted every ten seconds, so
//! it is about so many. A group with a queue that has had no member for two weeks is removed with
//! what waits for it; so are dead letters that wait for a group, and all but the latest 10,000 of
//! them. [`BrokerLimits`] says how long handlers may take, how often a message is delivered, and how
//! many subscriptions, and groups of the database (`topics_max`), there may be; what waits to be
//! published is limited to `pending_bytes_max`.
//!
//! # When the server fails
//! What is published without a connection is a 503 after a second, safe to repeat; if the connection
//! breaks before the answer, or 12 s pass, whether it is published is unknown. Subscriptions stay:
//! they go on when the connection is made again, and what was handled and could not be acknowledged
//! meanwhile is acknowledged then, unless another process has it already.
//!
//! # Configuration
//! `postgres://user:password@host:5432/database?messages_max=1000000`; without a user it is
//! `postgres`, and without a database that of the user's name.
//!
//! # Not supported
//! Overflow other than waiting, TLS to the server, poolers that give each statement another
//! connection, and servers before PostgreSQL 13.
//!
//! # Tested against
//! PostgreSQL 15.18.

mod groups;
mod item;
mod join;
mod keeper;
mod member;
mod publisher;
mod statements;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::memory::closed;
use super::message::Message;
use super::subscription::Subscription;
use super::{Broker, Capabilities, Handler, SubscribeOptions};
use crate::core::clock::Instant;
use crate::core::error::{Error, Result, Retry};
use crate::core::future::BoxFuture;
use crate::core::limits::{BrokerLimits, Limits};
use crate::core::shutdown::{Shutdown, TaskHandle, TaskTracker};
use crate::driver::Postgres as Driver;
use crate::driver::postgres::{Database, Hear};

use self::groups::Wakes;
use self::member::{Member, Runner};
use self::publisher::Publisher;

const ERROR_ID: &str = "micro.broker";

/// Messages of one group, unless another number is asked for.
const MESSAGES_MAX: usize = 1_000_000;

/// A broker in a PostgreSQL database; clones share it.
#[derive(Clone)]
pub struct Postgres {
    inner: Arc<Inner>,
    keeper: Arc<TaskHandle>,
}

struct Inner {
    database: Arc<Database>,
    limits: BrokerLimits,
    body_bytes_max: usize,
    messages_max: i64,
    cancel_timeout: Duration,
    tasks: TaskTracker,
    publisher: Publisher,
    wakes: Arc<Wakes>,
    members: Mutex<Members>,
    /// Takes no more subscriptions.
    closing: AtomicBool,
    /// Takes no more messages either.
    closed: AtomicBool,
}

#[derive(Default)]
struct Members {
    next_id: u64,
    live: HashMap<u64, Weak<Member>>,
}

impl Postgres {
    /// Makes a broker in a database of the server; an empty name is that of the user. It connects in
    /// the background, and its tasks belong to `tasks`.
    ///
    /// ```
    /// use micro::broker::{Broker, Message, Postgres};
    /// use micro::core::content_type::ContentType;
    /// use micro::core::limits::Limits;
    /// use micro::core::shutdown::TaskTracker;
    /// use micro::driver::{self, Server};
    ///
    /// # async fn example() -> micro::Result<()> {
    /// let tasks = TaskTracker::new();
    /// let server = Server::new("127.0.0.1", 5432).with_user("ada", "secret");
    /// let driver = driver::Postgres::open(&server, &tasks)?;
    /// let broker = Postgres::new(&driver, "shop", &Limits::DEFAULT, &tasks)?;
    /// broker.publish(Message::new("orders.created", ContentType::Json, "{}".into())).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// 412 for a name that no database can have, or more than 16 databases of a server.
    ///
    /// # Panics
    /// Panics outside of a tokio runtime.
    pub fn new(
        driver: &Driver,
        database: &str,
        limits: &Limits,
        tasks: &TaskTracker,
    ) -> Result<Self> {
        Self::with_messages_max(driver, database, (limits, MESSAGES_MAX), tasks)
    }

    /// Makes a broker whose groups hold another number of messages.
    ///
    /// The processes that share a database should agree on it.
    ///
    /// # Errors
    /// Those of [`Self::new`].
    ///
    /// # Panics
    /// Panics outside of a tokio runtime.
    pub fn with_messages_max(
        driver: &Driver,
        database: &str,
        (limits, messages_max): (&Limits, usize),
        tasks: &TaskTracker,
    ) -> Result<Self> {
        let database = driver.database(database)?;
        let wakes: Arc<Wakes> = Arc::default();
        let publisher = Publisher::start(&database, &wakes, limits, tasks);
        let inner = Arc::new(Inner {
            database,
            limits: limits.broker.clone(),
            body_bytes_max: limits.message.bytes_max,
            messages_max: i64::try_from(messages_max).unwrap_or(i64::MAX).max(1),
            cancel_timeout: limits.shutdown.cancel_timeout,
            tasks: tasks.clone(),
            publisher,
            wakes,
            members: Mutex::default(),
            closing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        });
        let keeping = Arc::clone(&inner).keep();
        let keeper = Arc::new(tasks.spawn("broker.postgres", keeping).abort_on_drop());
        Ok(Self { inner, keeper })
    }
}

impl Inner {
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn live(&self) -> Vec<Arc<Member>> {
        self.members().live.values().filter_map(Weak::upgrade).collect()
    }

    /// Forgets a member that ends.
    fn forget(&self, member: &Member) {
        self.wakes.remove(member.group.load(Ordering::Acquire), member.id);
        self.members().live.remove(&member.id);
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Postgres {
    async fn join(
        &self,
        topic: &str,
        options: SubscribeOptions,
        handler: Handler,
    ) -> Result<Subscription> {
        let is_pattern = join::check(topic, &options)?;
        let inner = &self.inner;
        if inner.closing.load(Ordering::Acquire) {
            return Err(closed(topic));
        }
        let most = inner.limits.subscriptions_max;
        if inner.members().live.len() >= most {
            let detail = format!("subscribe to {topic}: subscriptions are limited to {most}");
            return Err(Error::too_many_requests(ERROR_ID, detail).with_retry(Retry::Safe));
        }
        let own = || format!("{:032x}", fastrand::u128(..));
        let group_name = options.queue.clone().unwrap_or_else(own);
        let temporary = options.queue.is_none();
        let group = join::group(inner, topic, (&group_name, temporary), is_pattern).await?;
        let wake = Arc::new(Notify::new());
        let id = {
            let mut members = inner.members();
            members.next_id = members.next_id.wrapping_add(1);
            members.next_id
        };
        let member = Arc::new(Member {
            id,
            topic: topic.to_owned(),
            queue: options.queue,
            group_name,
            group: AtomicI64::new(group),
            wake: Arc::clone(&wake),
            life: Shutdown::new(),
            inner: Arc::clone(inner),
            task: Mutex::default(),
            _keeper: Arc::clone(&self.keeper),
        });
        if id == 1 {
            let ear: Weak<dyn Hear> = Arc::<Wakes>::downgrade(&inner.wakes);
            inner.database.listen(ear);
        }
        inner.wakes.add(group, id, &wake);
        let is_open = {
            let mut members = inner.members();
            members.live.insert(id, Arc::downgrade(&member));
            // Looked at under the lock: whoever closes the broker ends the members it finds there.
            !inner.closing.load(Ordering::Acquire)
        };
        if !is_open {
            // It says goodbye to the server and takes nothing.
            member.life.close();
        }
        let concurrency = options.concurrency.get().min(inner.limits.unacked_max.max(1));
        let runner = Runner::new(Arc::clone(&member), handler, concurrency);
        let task = inner.tasks.spawn("broker.postgres.member", runner.run());
        *member.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        let subscription = Subscription::new(topic, member);
        if is_open { Ok(subscription) } else { Err(closed(topic)) }
    }

    async fn end(&self, deadline: Instant) -> Result<()> {
        self.inner.closing.store(true, Ordering::Release);
        let members = self.inner.live();
        let ends = members.iter().map(|member| member.finish(deadline));
        let ends = futures_util::future::join_all(ends).await;
        self.inner.closed.store(true, Ordering::Release);
        let cut: usize = ends.iter().map(|ended| ended.cut).sum();
        let left: usize = ends.iter().map(|ended| ended.left).sum();
        if cut == 0 && left == 0 {
            return Ok(());
        }
        let text = format!("close: {cut} subscribers cut, {left} messages without a queue dropped");
        Err(Error::timeout(ERROR_ID, text))
    }
}

impl Broker for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            ordered: true,
            queue_groups: true,
            redelivery: true,
            dead_letters: true,
            patterns: true,
            overflow: false,
        }
    }

    fn publish(&self, message: Message) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            message.validate(self.inner.body_bytes_max)?;
            if self.inner.is_closed() {
                return Err(closed(&message.topic));
            }
            self.inner.publisher.publish(message).await
        })
    }

    fn subscribe<'a>(
        &'a self,
        topic: &'a str,
        options: SubscribeOptions,
        handler: Handler,
    ) -> BoxFuture<'a, Result<Subscription>> {
        Box::pin(self.join(topic, options, handler))
    }

    fn close(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.end(deadline))
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("database", &self.inner.database).finish_non_exhaustive()
    }
}
