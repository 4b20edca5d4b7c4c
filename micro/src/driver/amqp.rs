//! Connections to RabbitMQ, by AMQP 0-9-1: one for each virtual host.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::tcp::{AMQPUriTcpExt, AsyncTcpStream, OwnedTLSConfig};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind, Event};
use socket2::{SockRef, Socket};
use tokio::sync::watch;

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::shutdown::{TaskHandle, TaskTracker};
use crate::driver::server_url::Server;
use crate::driver::shared::Link;

const ERROR_ID: &str = "micro.driver";

/// The port of a server whose URL has none.
pub const AMQP_PORT: u16 = 5672;

/// Virtual hosts of one server, at most: each is a connection, or two where messages are published.
pub const VIRTUAL_HOSTS_MAX: usize = 16;

/// Bytes of the name of a virtual host, as the protocol has room for.
const VIRTUAL_HOST_BYTES_MAX: usize = 255;

/// Seconds between signs of life: a server that gives none for twice as long is given up.
const HEARTBEAT_SECONDS: u16 = 10;

/// How long connecting may take, to one of the hosts of a server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long what is asked of a server that is away waits for its return.
const UP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a server may take to answer what is asked of a channel: one whose queue has no leader
/// yet tries for ten seconds itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// The first pause between attempts to connect, at most.
const BACKOFF_BASE: Duration = Duration::from_millis(100);

/// The longest pause: a server that returns is noticed within it.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Between looks at a connection that reports no event: an event may come before anybody listens.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A RabbitMQ server: a connection for each of its virtual hosts that is used.
///
/// ```
/// use micro::core::shutdown::TaskTracker;
/// use micro::driver::{Amqp, Link, Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> micro::Result<()> {
/// let tasks = TaskTracker::new();
/// let amqp = Amqp::open(&Server::new("127.0.0.1", 1), &tasks)?;
/// let host = amqp.host("/")?;
/// assert_eq!(host.name(), "/");
/// assert!(!amqp.is_up());
/// # Ok(())
/// # }
/// ```
pub struct Amqp {
    server: Server,
    tasks: TaskTracker,
    hosts: Mutex<Vec<Arc<AmqpHost>>>,
}

impl Amqp {
    /// Makes the driver of a server. It connects to a virtual host once that is asked for; the
    /// tasks that keep the connections belong to `tasks`.
    ///
    /// # Errors
    /// None.
    pub fn open(server: &Server, tasks: &TaskTracker) -> Result<Self> {
        Ok(Self { server: server.clone(), tasks: tasks.clone(), hosts: Mutex::default() })
    }

    /// Returns the connection to a virtual host, and begins to connect if it is the first time.
    /// An empty name is that of the usual one, `/`.
    ///
    /// # Errors
    /// 412 for a name of more than 255 bytes, or more than [`VIRTUAL_HOSTS_MAX`] of them.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn host(&self, name: &str) -> Result<Arc<AmqpHost>> {
        self.find(name, Use::Any)
    }

    /// Returns a connection to a virtual host for what publishes and never consumes, as
    /// [`Self::host`] does. A server that is short of memory or disk reads nothing from those who
    /// publish: acknowledgements must not wait behind messages.
    ///
    /// # Errors
    /// Those of [`Self::host`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn publishing_host(&self, name: &str) -> Result<Arc<AmqpHost>> {
        self.find(name, Use::Publish)
    }

    fn find(&self, name: &str, purpose: Use) -> Result<Arc<AmqpHost>> {
        let name = if name.is_empty() { "/" } else { name };
        let mut hosts = self.hosts();
        let is_same = |host: &&Arc<AmqpHost>| host.purpose == purpose && host.shared.host == name;
        if let Some(host) = hosts.iter().find(is_same) {
            return Ok(Arc::clone(host));
        }
        let refuse = |why: String| Err(Error::precondition_failed(ERROR_ID, why));
        if name.len() > VIRTUAL_HOST_BYTES_MAX {
            return refuse(format!("a virtual host has at most {VIRTUAL_HOST_BYTES_MAX} bytes"));
        }
        if hosts.iter().filter(|host| host.purpose == purpose).count() >= VIRTUAL_HOSTS_MAX {
            return refuse(format!("a process uses at most {VIRTUAL_HOSTS_MAX} virtual hosts"));
        }
        let host = Arc::new(AmqpHost::open(&self.server, name, purpose, &self.tasks));
        hosts.push(Arc::clone(&host));
        Ok(host)
    }

    fn hosts(&self) -> MutexGuard<'_, Vec<Arc<AmqpHost>>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link for Amqp {
    fn vendor(&self) -> &'static str {
        "rabbitmq"
    }

    fn is_up(&self) -> bool {
        self.hosts().iter().all(|host| host.is_up())
    }
}

impl fmt::Debug for Amqp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Amqp({})", self.server)
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Any,
    Publish,
}

/// The connection to one virtual host; it is kept for as long as this is held.
pub struct AmqpHost {
    shared: Arc<Shared>,
    purpose: Use,
    _keeper: TaskHandle,
}

struct Shared {
    server: Server,
    host: String,
    current: watch::Sender<Option<Arc<Connection>>>,
}

impl AmqpHost {
    fn open(server: &Server, name: &str, purpose: Use, tasks: &TaskTracker) -> Self {
        let current = watch::Sender::new(None);
        let shared = Arc::new(Shared { server: server.clone(), host: name.to_owned(), current });
        let keeper = tasks.spawn("driver.amqp", keep(Arc::clone(&shared))).abort_on_drop();
        Self { shared, purpose, _keeper: keeper }
    }

    /// Returns the name of the virtual host.
    pub fn name(&self) -> &str {
        &self.shared.host
    }

    /// Returns whether the connection is there.
    pub fn is_up(&self) -> bool {
        let current = self.shared.current.borrow();
        current.as_ref().is_some_and(|connection| connection.status().connected())
    }

    /// Returns whether the server is short of memory or disk and reads nothing that is published.
    pub fn is_blocked(&self) -> bool {
        let current = self.shared.current.borrow();
        current.as_ref().is_some_and(|connection| connection.status().blocked())
    }

    /// Waits until the connection is there, five seconds at most. Cancel safe.
    ///
    /// # Errors
    /// 503, safe to repeat: the server is away.
    pub async fn up(&self) -> Result<()> {
        self.connection().await.map(drop)
    }

    /// Opens a channel; it ends with its connection, and then another has to be opened.
    ///
    /// # Errors
    /// 503, safe to repeat: the server is away or does not answer in time.
    pub(crate) async fn channel(&self) -> Result<Channel> {
        let connection = self.connection().await?;
        let channel = answer("open a channel", connection.create_channel()).await;
        channel.map_err(|error| error.with_retry(Retry::Safe))
    }

    async fn connection(&self) -> Result<Arc<Connection>> {
        let mut watcher = self.shared.current.subscribe();
        let is_up = |current: &Option<Arc<Connection>>| {
            current.as_ref().is_some_and(|connection| connection.status().connected())
        };
        let up = clock::timeout(UP_TIMEOUT, watcher.wait_for(is_up)).await;
        let connection = up.ok().and_then(|current| current.ok()?.clone());
        connection.ok_or_else(|| {
            let text = format!("rabbitmq at {} is away", self.shared.server);
            Error::unavailable(ERROR_ID, text).with_retry(Retry::Safe)
        })
    }
}

impl fmt::Debug for AmqpHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpHost")
            .field("server", &self.shared.server)
            .field("host", &self.shared.host)
            .field("up", &self.is_up())
            .finish_non_exhaustive()
    }
}

/// Waits for the server's answer to what `what` says, fifteen seconds at most.
///
/// # Errors
/// What the server refuses, mapped by [`failed`]; 503 with an unknown outcome without an answer.
pub(crate) async fn answer<T>(
    what: &str,
    asked: impl Future<Output = lapin::Result<T>>,
) -> Result<T> {
    match clock::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(failed(what, &error)),
        Err(_elapsed) => {
            let text = format!("{what}: rabbitmq does not answer within {ANSWER_TIMEOUT:?}");
            Err(Error::unavailable(ERROR_ID, text).with_retry(Retry::Unknown))
        }
    }
}

/// Maps an error of the client: a refusal of the server is a 403, 404, 409, or 412 that another
/// try does not change; all else is a 503 whose outcome is unknown.
pub(crate) fn failed(what: &str, error: &lapin::Error) -> Error {
    let text = format!("{what}: {error}");
    let ErrorKind::ProtocolError(refusal) = error.kind() else {
        return Error::unavailable(ERROR_ID, text).with_retry(Retry::Unknown);
    };
    match refusal.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED)
        | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => Error::forbidden(ERROR_ID, text),
        AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Error::not_found(ERROR_ID, text),
        AMQPErrorKind::Soft(AMQPSoftError::RESOURCELOCKED) => Error::conflict(ERROR_ID, text),
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => {
            Error::precondition_failed(ERROR_ID, text)
        }
        _ => Error::unavailable(ERROR_ID, text).with_retry(Retry::Unknown),
    }
}

/// Connects, waits until the connection is lost, and connects again, for as long as it runs.
async fn keep(shared: Arc<Shared>) {
    let mut backoff = Backoff::new(BACKOFF_BASE, BACKOFF_MAX);
    loop {
        match shared.connect().await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                let began = clock::now();
                tracing::info!(server = %shared.server, host = shared.host, "rabbitmq is there");
                shared.current.send_replace(Some(Arc::clone(&connection)));
                lost(&connection).await;
                shared.current.send_replace(None);
                tracing::warn!(server = %shared.server, host = shared.host, "rabbitmq is lost");
                // A server that takes connections and drops them is not asked more often.
                if clock::now().saturating_duration_since(began) > BACKOFF_MAX {
                    backoff.reset();
                }
            }
            Err(error) if backoff.tries() == 0 => {
                tracing::warn!(server = %shared.server, %error, "rabbitmq is away, will try on");
            }
            Err(error) => {
                tracing::debug!(server = %shared.server, %error, "rabbitmq is still away");
            }
        }
        clock::sleep(backoff.next_delay()).await;
    }
}

/// Returns when a connection has ended.
async fn lost(connection: &Connection) {
    let mut events = Box::pin(connection.events_listener());
    while connection.status().connected() {
        let event = clock::timeout(CHECK_INTERVAL, events.next()).await;
        match event {
            Ok(Some(Event::Error(_)) | None) => return,
            Ok(Some(Event::ConnectionBlocked(reason))) => {
                tracing::warn!(reason, "rabbitmq takes no messages");
            }
            Ok(Some(_)) | Err(_) => {}
        }
    }
}

impl Shared {
    /// Connects to the first host that lets it.
    async fn connect(&self) -> Result<Connection> {
        let mut last = None;
        for (host, port) in self.server.hosts() {
            match connect(self.uri(host, *port)).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::internal(ERROR_ID, "a server without hosts")))
    }

    fn uri(&self, host: &str, port: u16) -> AMQPUri {
        let password = self.server.password().map(|password| password.expose().clone());
        let userinfo = AMQPUserInfo {
            username: self.server.user().unwrap_or("guest").to_owned(),
            password: password.unwrap_or_else(|| "guest".to_owned()),
        };
        let heartbeat = Some(HEARTBEAT_SECONDS);
        AMQPUri {
            scheme: AMQPScheme::AMQP,
            authority: AMQPAuthority { userinfo, host: host.to_owned(), port },
            vhost: self.host.clone(),
            query: AMQPQueryString { heartbeat, ..AMQPQueryString::default() },
        }
    }
}

/// Connects within [`CONNECT_TIMEOUT`]; the socket of an attempt that fails is shut.
async fn connect(uri: AMQPUri) -> Result<Connection> {
    let attempt = Attempt::default();
    let socket = Arc::clone(&attempt.socket);
    let what = format!("connect to {}:{}", uri.authority.host, uri.authority.port);
    let runtime = lapin::runtime::default_runtime().map_err(|error| failed(&what, &error))?;
    let properties = ConnectionProperties::default().with_connection_name("micro".into());
    let connecting = Connection::connector(
        uri,
        runtime,
        async move |uri, runtime| {
            let tls = OwnedTLSConfig::default();
            let stream = uri.connect_with_config_async(tls.as_ref(), &runtime).await?;
            if let AsyncTcpStream::Plain(plain) = &stream {
                *lock(&socket) = Some(SockRef::from(plain.get_ref()).try_clone()?);
            }
            Ok(stream)
        },
        properties,
    );
    match clock::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => {
            attempt.keep();
            Ok(connection)
        }
        Ok(Err(error)) => Err(failed(&what, &error)),
        Err(_elapsed) => {
            let text = format!("{what}: no answer within {CONNECT_TIMEOUT:?}");
            Err(Error::unavailable(ERROR_ID, text).with_retry(Retry::Safe))
        }
    }
}

/// The socket of an attempt to connect. Shutting it ends the client's thread, which otherwise
/// waits for a server that never answers.
#[derive(Default)]
struct Attempt {
    socket: Arc<Mutex<Option<Socket>>>,
}

impl Attempt {
    /// Leaves the socket to the connection.
    fn keep(&self) {
        lock(&self.socket).take();
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(socket) = lock(&self.socket).take() {
            // One that the server has shut already cannot be shut again.
            let _shut = socket.shutdown(std::net::Shutdown::Both).is_err();
        }
    }
}

fn lock(socket: &Mutex<Option<Socket>>) -> MutexGuard<'_, Option<Socket>> {
    socket.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use lapin::protocol::AMQPError;

    use super::*;

    #[tokio::test]
    async fn a_server_has_one_connection_for_each_virtual_host_and_purpose() {
        let tasks = TaskTracker::new();
        let amqp = Amqp::open(&Server::new("127.0.0.1", 1), &tasks).unwrap();
        let first = amqp.host("").unwrap();
        assert!(Arc::ptr_eq(&first, &amqp.host("/").unwrap()));
        assert!(!Arc::ptr_eq(&first, &amqp.publishing_host("/").unwrap()));
        for n in 1..VIRTUAL_HOSTS_MAX {
            amqp.host(&n.to_string()).unwrap();
        }
        for n in [VIRTUAL_HOSTS_MAX, VIRTUAL_HOSTS_MAX * 10] {
            assert_eq!(amqp.host(&n.to_string()).unwrap_err().code(), 412);
        }
        assert!(amqp.host(&"x".repeat(VIRTUAL_HOST_BYTES_MAX + 1)).is_err());
        drop((amqp, first));
        assert_eq!(tasks.wait(clock::after(clock::now(), CONNECT_TIMEOUT)).await, 0);
    }

    #[tokio::test]
    async fn what_is_asked_of_a_server_that_is_away_is_safe_to_repeat() {
        let amqp = Amqp::open(&Server::new("127.0.0.1", 1), &TaskTracker::new()).unwrap();
        let host = amqp.host("/").unwrap();
        let began = clock::now();
        let error = host.channel().await.map(drop).unwrap_err();
        assert_eq!((error.code(), error.retry()), (503, Retry::Safe));
        assert!(clock::now() - began < UP_TIMEOUT * 2);
        assert!(!amqp.is_up() && !host.is_blocked());
    }

    #[test]
    fn a_refusal_is_told_from_a_loss() {
        let refused = |kind: AMQPErrorKind| {
            let kind = ErrorKind::ProtocolError(AMQPError::new(kind, "no".into()));
            let error = failed("declare", &lapin::Error::from(kind));
            (error.code(), error.retry())
        };
        for (kind, code) in [
            (AMQPSoftError::ACCESSREFUSED, 403),
            (AMQPSoftError::NOTFOUND, 404),
            (AMQPSoftError::RESOURCELOCKED, 409),
            (AMQPSoftError::PRECONDITIONFAILED, 412),
        ] {
            assert_eq!(refused(kind.into()), (code, Retry::Never));
        }
        assert_eq!(refused(AMQPHardError::CONNECTIONFORCED.into()), (503, Retry::Unknown));
        let lost = lapin::Error::from(ErrorKind::MissingHeartbeatError);
        assert_eq!(failed("publish", &lost).retry(), Retry::Unknown);
    }
}
