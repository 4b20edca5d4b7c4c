//! One connection.

use std::time::Duration;

use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Cmd, ProtocolVersion, PushInfo, RedisConnectionInfo, RedisResult, Value,
};

use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::net::{Address, Stream};
use crate::core::shutdown::TaskHandle;
use crate::driver::redis::{ANSWER_TIMEOUT, ERROR_ID, Origin, PING_INTERVAL, failure};

/// How long connecting to one host may take, the first answer included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Commands that wait to be written.
const WRITES_MAX: usize = 256;

/// What takes what the server says unasked.
pub(super) type Push = Box<dyn Fn(PushInfo) + Send + Sync>;

struct Pushed(Push);

impl AsyncPushSender for Pushed {
    fn send(&self, info: PushInfo) -> std::result::Result<(), redis::aio::SendError> {
        (self.0)(info);
        Ok(())
    }
}

/// A connection of its own; it is closed when it is dropped.
pub(crate) struct Line {
    connection: MultiplexedConnection,
    driver: TaskHandle,
    host: String,
}

/// Connects to the first host that answers.
///
/// With `push` the connection hears what is published.
pub(super) async fn connect(origin: &Origin, push: Option<Push>) -> Result<Line> {
    let mut info = RedisConnectionInfo::default().set_db(i64::from(origin.database));
    if let Some(password) = origin.server.password() {
        // The usual user has no name: `redis://:password@host`.
        if let Some(user) = origin.server.user().filter(|user| !user.is_empty()) {
            info = info.set_username(user);
        }
        info = info.set_password(password.expose());
    }
    let mut config = AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_connection_timeout(None)
        .set_pipeline_buffer_size(WRITES_MAX);
    if let Some(push) = push {
        info = info.set_protocol(ProtocolVersion::RESP3);
        config = config.set_push_sender(Pushed(push));
    }
    let mut first = None;
    for host in origin.server.addresses() {
        let made = clock::timeout(CONNECT_TIMEOUT, one(origin, &host, &info, config.clone()));
        match made.await {
            Ok(Ok(line)) => return Ok(line),
            Ok(Err(error)) => first.get_or_insert(error),
            Err(_elapsed) => {
                first.get_or_insert(failure::late("connect", &origin.server, CONNECT_TIMEOUT))
            }
        };
    }
    let error = first.unwrap_or_else(|| Error::unavailable(ERROR_ID, "the server has no host"));
    Err(Error::unavailable(ERROR_ID, error.detail()).with_retry(Retry::Safe).with_source(error))
}

async fn one(
    origin: &Origin,
    host: &str,
    info: &RedisConnectionInfo,
    config: AsyncConnectionConfig,
) -> Result<Line> {
    let address = Address::Tcp(host.to_owned());
    let stream = Stream::connect(&address, CONNECT_TIMEOUT).await.map_err(|error| {
        Error::unavailable(ERROR_ID, format!("connect to redis at {host}: {error}"))
    })?;
    let made = MultiplexedConnection::new_with_config(info, stream, config).await;
    let (connection, driver) = made.map_err(|error| failure::of("connect", &error))?;
    let driver = origin.tasks.spawn("driver.redis.line", driver).abort_on_drop();
    let line = Line { connection, driver, host: host.to_owned() };
    // A server that still reads its file takes connections and no commands.
    line.ask("connect", &redis::cmd("PING"), CONNECT_TIMEOUT).await?;
    Ok(line)
}

impl Line {
    /// Returns the connection, to be shared; it ends with this line.
    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// Sends a command and waits for its answer at most `within`.
    pub(crate) async fn ask(&self, what: &str, command: &Cmd, within: Duration) -> Result<Value> {
        let mut connection = self.connection.clone();
        match clock::timeout(within, connection.send_packed_command(command)).await {
            Ok(answer) => {
                answer.and_then(Value::extract_error).map_err(|error| failure::of(what, &error))
            }
            Err(_elapsed) => {
                let detail = format!("{what}: no answer from redis at {} in {within:?}", self.host);
                Err(Error::unavailable(ERROR_ID, detail))
            }
        }
    }

    /// Returns the number that the server gave the connection.
    pub(crate) async fn number(&self) -> Result<i64> {
        let mut command = redis::cmd("CLIENT");
        command.arg("ID");
        let value = self.ask("connect", &command, ANSWER_TIMEOUT).await?;
        match value {
            Value::Int(number) => Ok(number),
            _ => Err(Error::internal(ERROR_ID, "redis numbers its connections by no number")),
        }
    }

    /// Waits until the connection is lost or the server answers no more, and returns why. Not for
    /// connections on which something blocks.
    pub(super) async fn lost(&mut self) -> Error {
        let ended = || Error::unavailable(ERROR_ID, "the connection was closed");
        // Progress: each turn waits for a pause.
        loop {
            tokio::select! {
                _ = &mut self.driver => return ended(),
                () = clock::sleep(PING_INTERVAL) => {}
            }
            if let Err(error) = self.ping().await {
                return error;
            }
        }
    }

    /// Asks whether the server still answers.
    pub(super) async fn ping(&mut self) -> Result<()> {
        self.ask("ping", &redis::cmd("PING"), ANSWER_TIMEOUT).await.map(drop)
    }

    /// Waits until the connection is lost.
    pub(super) async fn ended(&mut self) {
        // What the driver of a connection returns says nothing.
        let _ended = (&mut self.driver).await.is_ok();
    }

    /// Subscribes to channels or patterns; returns when the server has them.
    pub(super) async fn subscribe(&self, names: &[String], patterns: bool) -> Result<()> {
        let mut connection = self.connection.clone();
        let done = async {
            if patterns {
                connection.psubscribe(names).await
            } else {
                connection.subscribe(names).await
            }
        };
        settled("subscribe", clock::timeout(ANSWER_TIMEOUT, done).await)
    }

    /// Ends subscriptions.
    pub(super) async fn unsubscribe(&self, names: &[String], patterns: bool) -> Result<()> {
        let mut connection = self.connection.clone();
        let done = async {
            if patterns {
                connection.punsubscribe(names).await
            } else {
                connection.unsubscribe(names).await
            }
        };
        settled("unsubscribe", clock::timeout(ANSWER_TIMEOUT, done).await)
    }
}

fn settled(
    what: &str,
    outcome: std::result::Result<RedisResult<()>, clock::Elapsed>,
) -> Result<()> {
    match outcome {
        Ok(outcome) => outcome.map_err(|error| failure::of(what, &error)),
        Err(_elapsed) => {
            let detail = format!("{what}: no answer from redis in {ANSWER_TIMEOUT:?}");
            Err(Error::unavailable(ERROR_ID, detail))
        }
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("host", &self.host).finish_non_exhaustive()
    }
}
