//! A lane: one connection that is made again whenever it is lost.

use std::future::poll_fn;
use std::iter::Cycle;
use std::pin::pin;
use std::slice::Iter;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Socket};

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::driver::server_url::Server;

use super::ERROR_ID;
use super::ask::Lane;
use super::failure;
use super::live::Live;
use super::signals::Ears;

/// Making a connection, the greeting of the server included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Waiting for an answer: a little longer than a statement may run. Then the connection is given up.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);

/// What is asked without a connection waits so long for one.
const CONNECTION_WAIT: Duration = Duration::from_secs(1);

/// Between two looks whether the server still answers.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// The first and the longest pause between two tries to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A lane, and whether it is up.
pub(super) struct Keeping {
    server: Server,
    /// One for each host.
    configs: Vec<Config>,
    lane: Lane,
    live: watch::Sender<Option<Arc<Live>>>,
    /// Whether the last try failed, or the connection was lost.
    failed: AtomicBool,
    /// Why there is no connection.
    why: Mutex<String>,
    ears: Arc<Ears>,
}

impl Keeping {
    pub(super) fn new(server: &Server, database: &str, lane: Lane, ears: &Arc<Ears>) -> Self {
        let mut common = Config::new();
        common.user(server.user().unwrap_or("postgres")).dbname(database);
        if let Some(password) = server.password().map(|password| password.expose())
            && !password.is_empty()
        {
            common.password(password);
        }
        common.application_name("micro").connect_timeout(CONNECT_TIMEOUT);
        // Of the members of a cluster, the one that takes writes.
        common.target_session_attrs(TargetSessionAttrs::ReadWrite);
        let configs = server.hosts().iter().map(|(host, port)| {
            let mut config = common.clone();
            config.host(host).port(*port);
            config
        });
        let configs = configs.collect();
        let why = Mutex::new("it was not tried yet".to_owned());
        let live = watch::Sender::new(None);
        let (server, failed, ears) = (server.clone(), AtomicBool::new(false), Arc::clone(ears));
        Self { server, configs, lane, live, failed, why, ears }
    }

    pub(super) fn is_up(&self) -> bool {
        self.live.borrow().is_some()
    }

    /// Returns whether there is no connection, and not because it is the first that is being made.
    pub(super) fn is_down(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Returns the connection, for which it waits for a moment.
    pub(super) async fn live(&self) -> Result<Arc<Live>> {
        if let Some(live) = &*self.live.borrow() {
            return Ok(Arc::clone(live));
        }
        let mut changes = self.live.subscribe();
        let up = clock::timeout(CONNECTION_WAIT, changes.wait_for(Option::is_some)).await;
        if let Ok(Ok(live)) = &up
            && let Some(live) = &**live
        {
            return Ok(Arc::clone(live));
        }
        let why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        let detail = format!("no connection to PostgreSQL at {}: {why}", self.server);
        Err(Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe))
    }

    /// Connects, and again whenever the connection is lost.
    pub(super) async fn keep(&self) {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let mut hosts = self.configs.iter().cycle();
        // Progress: each turn waits for a connection to end, or pauses.
        for generation in 1_u64.. {
            let why = match self.connect(&mut hosts).await {
                Ok((client, connection)) => {
                    let live = Arc::new(Live::new(client, generation));
                    self.serve(live, connection, &mut backoff).await
                }
                Err(why) => why,
            };
            self.failed.store(true, Ordering::Release);
            {
                let mut last = self.why.lock().unwrap_or_else(PoisonError::into_inner);
                if *last == why {
                    tracing::debug!(server = %self.server, why, "no connection to PostgreSQL");
                } else {
                    tracing::warn!(server = %self.server, why, "no connection to PostgreSQL");
                }
                *last = why;
            }
            clock::sleep(backoff.next_delay()).await;
        }
    }

    /// Tries each host once, after the one that was tried last, and returns why the last of them
    /// cannot be used if none can. A silent host hides no other: each has a time of its own.
    async fn connect(
        &self,
        hosts: &mut Cycle<Iter<'_, Config>>,
    ) -> Result<(Client, Connection<Socket, NoTlsStream>), String> {
        let mut why = String::new();
        for config in hosts.take(self.configs.len()) {
            match clock::timeout(CONNECT_TIMEOUT * 2, config.connect(NoTls)).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => why = failure::text(&error),
                Err(_elapsed) => why = "it does not greet".to_owned(),
            }
        }
        Err(why)
    }

    /// Serves a connection until it ends and returns why.
    async fn serve(
        &self,
        live: Arc<Live>,
        mut connection: Connection<Socket, NoTlsStream>,
        backoff: &mut Backoff,
    ) -> String {
        let mut ended = pin!(poll_fn(|cx| {
            loop {
                match std::task::ready!(connection.poll_message(cx)) {
                    Some(Ok(AsyncMessage::Notification(told))) => {
                        self.ears.tell(told.channel(), Some(told.payload()));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Poll::Ready(failure::text(&error)),
                    None => return Poll::Ready("the server has ended it".to_owned()),
                }
            }
        }));
        // Cancel safety: whatever is dropped here belongs to a connection that is given up.
        tokio::select! {
            why = &mut ended => return why,
            done = clock::timeout(ANSWER_TIMEOUT, live.set_up(self.lane)) => match done {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return failure::text(&error),
                Err(_elapsed) => return "it does not answer".to_owned(),
            },
        }
        self.live.send_replace(Some(Arc::clone(&live)));
        self.failed.store(false, Ordering::Release);
        tracing::info!(server = %self.server, lane = ?self.lane, "connected to PostgreSQL");
        backoff.reset();
        if self.lane == Lane::Relaxed {
            self.ears.tell_of_gap();
        }
        let why = tokio::select! {
            why = &mut ended => why,
            () = live.broken.notified() => "it was given up".to_owned(),
            why = pings(&live) => why,
        };
        self.live.send_replace(None);
        why
    }
}

/// Asks again and again whether the server answers, and returns why it does not.
async fn pings(live: &Live) -> String {
    loop {
        clock::sleep(PING_INTERVAL).await;
        match clock::timeout(ANSWER_TIMEOUT, live.ping()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return failure::text(&error),
            Err(_elapsed) => return "it does not answer".to_owned(),
        }
    }
}
