//! The connections to a Redis or Valkey server.
//!
//! One connection carries every command; answers come back in order and none blocks it. What waits
//! on the server, a blocking read, has a connection of its own, and so has what is heard by
//! publish and subscribe. Each is made again when it is lost.

mod ears;
mod failure;
mod line;
mod listener;
pub(crate) mod reply;
mod script;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::shutdown::{TaskHandle, TaskTracker};
use crate::driver::redis::listener::Listener;
use crate::driver::server_url::Server;
use crate::driver::shared::Link;

pub(crate) use self::ears::{Ear, Listening, Told};
pub(crate) use self::failure::is_no_group;
pub(crate) use self::line::Line;
pub(crate) use self::script::Script;

/// The port of a server whose URL names none.
pub(crate) const PORT: u16 = 6379;

/// The id of the errors of the driver.
const ERROR_ID: &str = "micro.redis";

/// Databases of one server that a process uses, at most.
const DATABASES_MAX: u16 = 16;

/// Commands that wait for their answers at a time; further ones wait for a place within
/// [`CONNECT_WAIT`], so that a slow server fills no memory here.
const COMMANDS_MAX: usize = 4096;

/// How long a command waits for a connection or a place before it fails, nothing sent.
const CONNECT_WAIT: Duration = Duration::from_secs(1);

/// How long an answer may take; then the command may have run.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause between two questions whether the server still answers.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// The longest first pause between two tries to connect; it doubles.
const BACKOFF_BASE: Duration = Duration::from_millis(20);

/// The longest pause between two tries to connect: a server that returns is used within it.
const BACKOFF_MAX: Duration = Duration::from_millis(250);

/// A Redis or Valkey server, 6.2 or later.
///
/// Connects by itself in the background, and again whenever the connection is lost, until it is
/// dropped. A command that is asked meanwhile waits for a connection at most a second and fails
/// with a 503, safe to repeat; one that was sent and has no answer after five seconds fails with a
/// 503 that leaves open whether it ran.
///
/// ```
/// use micro::core::shutdown::TaskTracker;
/// use micro::driver::{Redis, Server};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let redis = Redis::open(&Server::new("127.0.0.1", 6379), &TaskTracker::new())?;
/// let redis = std::sync::Arc::new(redis);
/// let other = redis.database(2)?; // On a connection of its own.
/// # Ok::<(), micro::Error>(())
/// # }).unwrap();
/// ```
pub struct Redis {
    origin: Arc<Origin>,
    commands: watch::Receiver<Option<MultiplexedConnection>>,
    /// Counts the connections so far.
    made: watch::Receiver<u64>,
    places: Semaphore,
    keeper: TaskHandle,
    listener: Mutex<Option<Arc<Listener>>>,
    /// The other databases of the server.
    others: Mutex<Vec<Arc<Self>>>,
}

/// Where connections lead, and who owns their tasks.
#[derive(Clone, Debug)]
struct Origin {
    server: Server,
    database: u16,
    tasks: TaskTracker,
}

impl Redis {
    /// Makes the connections to database 0 of a server; they are established in the background.
    ///
    /// Several hosts are tried in turn: the first that answers is taken, so all have to be the
    /// same server.
    ///
    /// # Errors
    /// None; a server that cannot be reached is tried until it can.
    pub fn open(server: &Server, tasks: &TaskTracker) -> Result<Self> {
        Ok(Self::at(Origin { server: server.clone(), database: 0, tasks: tasks.clone() }))
    }

    /// Returns another database of the same server, with connections of its own; the same each
    /// time.
    ///
    /// # Errors
    /// 412 from database 16 on: a server has so many unless it is told otherwise.
    pub fn database(self: &Arc<Self>, database: u16) -> Result<Arc<Self>> {
        if database == self.origin.database {
            return Ok(Arc::clone(self));
        }
        if database >= DATABASES_MAX {
            let detail = format!("database {database} is asked for, the last is 15");
            return Err(Error::precondition_failed(ERROR_ID, detail));
        }
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = others.iter().find(|other| other.origin.database == database) {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(Self::at(Origin { database, ..Origin::clone(&self.origin) }));
        others.push(Arc::clone(&made));
        Ok(made)
    }

    fn at(origin: Origin) -> Self {
        let origin = Arc::new(origin);
        let (told, commands) = watch::channel(None);
        let (count, made) = watch::channel(0);
        let keeper = keep(Arc::clone(&origin), told, count);
        let keeper = origin.tasks.spawn("driver.redis", keeper).abort_on_drop();
        let (listener, others) = (Mutex::default(), Mutex::default());
        let places = Semaphore::new(COMMANDS_MAX);
        Self { origin, commands, made, places, keeper, listener, others }
    }

    /// Returns the number of the database.
    pub(crate) fn number(&self) -> u16 {
        self.origin.database
    }

    /// Returns the owner of the tasks.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.origin.tasks
    }

    /// Returns a count that grows with each connection that was made.
    pub(crate) fn made(&self) -> watch::Receiver<u64> {
        self.made.clone()
    }

    /// Sends a command and waits for its answer; `what` names it in errors.
    pub(crate) async fn ask(&self, what: &str, command: &Cmd) -> Result<Value> {
        let _place = match self.places.try_acquire() {
            Ok(place) => place,
            Err(_full) => self.place(what).await?,
        };
        let up = self.commands.borrow().clone();
        let mut connection = match up {
            Some(connection) => connection,
            None => self.connection(what).await?,
        };
        let answer = clock::timeout(ANSWER_TIMEOUT, connection.send_packed_command(command));
        match answer.await {
            Ok(answer) => {
                answer.and_then(Value::extract_error).map_err(|error| failure::of(what, &error))
            }
            Err(_elapsed) => Err(failure::late(what, &self.origin.server, ANSWER_TIMEOUT)),
        }
    }

    /// Waits for a place among the commands that wait for answers.
    async fn place(&self, what: &str) -> Result<SemaphorePermit<'_>> {
        let place = clock::timeout(CONNECT_WAIT, self.places.acquire()).await;
        place.ok().and_then(std::result::Result::ok).ok_or_else(|| {
            let detail = format!("{what}: {COMMANDS_MAX} commands wait for answers");
            Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe)
        })
    }

    /// Waits for the connection.
    async fn connection(&self, what: &str) -> Result<MultiplexedConnection> {
        let mut commands = self.commands.clone();
        let up = clock::timeout(CONNECT_WAIT, commands.wait_for(Option::is_some)).await;
        let up = up.ok().and_then(std::result::Result::ok).and_then(|up| up.clone());
        up.ok_or_else(|| {
            let detail = format!("{what}: redis at {} cannot be reached", self.origin.server);
            Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe)
        })
    }

    /// Runs a script; `command` is [`Script::call`] with its arguments.
    pub(crate) async fn run(&self, what: &str, script: &Script, command: &Cmd) -> Result<Value> {
        match self.ask(what, command).await {
            // The server forgets scripts when it restarts.
            Err(error) if failure::is_no_script(&error) => {
                self.ask(what, &script.load()).await?;
                self.ask(what, command).await
            }
            answer => answer,
        }
    }

    /// Connects for blocking reads.
    pub(crate) async fn line(&self) -> Result<Line> {
        line::connect(&self.origin, None).await
    }

    /// Has `ear` told of what is published to a channel, or to the channels of a pattern.
    ///
    /// Returns once the server has the subscription; what is published from then on is told, and
    /// where something may have been missed [`Told::Gap`]. Ends when the handle is dropped.
    pub(crate) async fn listen(&self, name: &str, pattern: bool, ear: Ear) -> Result<Listening> {
        let listener = {
            let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
            let start = || Arc::new(Listener::start(&self.origin));
            Arc::clone(listener.get_or_insert_with(start))
        };
        listener.listen(name, pattern, ear).await
    }
}

impl Link for Redis {
    fn vendor(&self) -> &'static str {
        "redis"
    }

    fn is_up(&self) -> bool {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        self.commands.borrow().is_some() && others.iter().all(|other| other.is_up())
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("server", &self.origin.server)
            .field("database", &self.origin.database)
            .field("up", &self.commands.borrow().is_some())
            .field("ended", &self.keeper.is_finished())
            .finish_non_exhaustive()
    }
}

/// Keeps the connection for commands.
async fn keep(
    origin: Arc<Origin>,
    told: watch::Sender<Option<MultiplexedConnection>>,
    made: watch::Sender<u64>,
) {
    let mut backoff = Backoff::new(BACKOFF_BASE, BACKOFF_MAX);
    let mut silent = false;
    // Progress: each turn holds a connection until it is lost, or waits.
    loop {
        match line::connect(&origin, None).await {
            Ok(mut line) => {
                tracing::info!(server = %origin.server, "connected to redis");
                (backoff, silent) = (Backoff::new(BACKOFF_BASE, BACKOFF_MAX), false);
                told.send_replace(Some(line.connection()));
                made.send_modify(|made| *made = made.wrapping_add(1));
                let error = line.lost().await;
                told.send_replace(None);
                tracing::warn!(server = %origin.server, %error, "redis is lost");
            }
            Err(error) => {
                if !std::mem::replace(&mut silent, true) {
                    tracing::warn!(server = %origin.server, %error, "redis is away, trying on");
                }
                clock::sleep(backoff.next_delay()).await;
            }
        }
    }
}
