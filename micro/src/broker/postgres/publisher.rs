//! Messages on their way to the server: what waits together is written together.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::broker::message::Message;
use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::limits::Limits;
use crate::core::shutdown::{TaskHandle, TaskTracker};
use crate::driver::postgres::{Blob, Database, column, params};

use super::ERROR_ID;
use super::groups::Wakes;
use super::statements as sql;

/// Messages that wait for the server.
const WAITING_MAX: usize = 1024;

/// Messages of one statement.
const BATCH_MAX: usize = 256;

/// Bytes of the messages of one statement; the one that reaches it is among them.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Takes messages and writes them in turn, as many as wait in one statement.
pub(super) struct Publisher {
    waiting: mpsc::Sender<Waiting>,
    /// Room for the bytes of what waits.
    room: Arc<Semaphore>,
    room_max: u32,
    patience: Duration,
    _writer: TaskHandle,
}

/// A message that waits, and who waits for what becomes of it.
struct Waiting {
    message: Message,
    done: oneshot::Sender<Result<()>>,
    _room: OwnedSemaphorePermit,
}

impl Publisher {
    pub(super) fn start(
        database: &Arc<Database>,
        wakes: &Arc<Wakes>,
        limits: &Limits,
        tasks: &TaskTracker,
    ) -> Self {
        let (waiting, queue) = mpsc::channel(WAITING_MAX);
        let (database, wakes) = (Arc::clone(database), Arc::clone(wakes));
        let writing = write(database, wakes, queue);
        let room_max = u32::try_from(limits.broker.pending_bytes_max).unwrap_or(u32::MAX).max(1);
        Self {
            waiting,
            room: Arc::new(Semaphore::new(usize::try_from(room_max).unwrap_or(1))),
            room_max,
            patience: limits.call.default_timeout,
            _writer: tasks.spawn("broker.postgres.publish", writing).abort_on_drop(),
        }
    }

    /// Hands a message over and waits until it is written.
    pub(super) async fn publish(&self, message: Message) -> Result<()> {
        let topic = message.topic.clone();
        let bytes = u32::try_from(size_of(&message)).unwrap_or(u32::MAX).min(self.room_max);
        let (done, written) = oneshot::channel();
        let handing = async {
            let room = Arc::clone(&self.room).acquire_many_owned(bytes).await.ok()?;
            self.waiting.send(Waiting { message, done, _room: room }).await.ok()
        };
        match clock::timeout(self.patience, handing).await {
            Ok(Some(())) => {}
            Ok(None) => return Err(ended(&topic, Retry::Safe)),
            Err(_elapsed) => {
                let detail = format!("publish to {topic}: too much waits for the server");
                return Err(Error::too_many_requests(ERROR_ID, detail).with_retry(Retry::Safe));
            }
        }
        // The writer answers within the time of a statement.
        written.await.unwrap_or_else(|_dropped| Err(ended(&topic, Retry::Unknown)))
    }
}

fn ended(topic: &str, retry: Retry) -> Error {
    let detail = format!("publish to {topic}: the broker has ended");
    Error::unavailable(ERROR_ID, detail).with_retry(retry)
}

fn size_of(message: &Message) -> usize {
    message.body.len() + message.metadata.bytes() + message.topic.len() + message.id.len()
}

async fn write(database: Arc<Database>, wakes: Arc<Wakes>, mut queue: mpsc::Receiver<Waiting>) {
    // Progress: each turn waits for a message and writes it with those that wait beside it.
    while let Some(first) = queue.recv().await {
        let mut bytes = size_of(&first.message);
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && bytes < BATCH_BYTES_MAX
            && let Ok(next) = queue.try_recv()
        {
            bytes += size_of(&next.message);
            batch.push(next);
        }
        let (messages, waiters): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|one| (one.message, (one.done, one._room))).unzip();
        match put(&database, &wakes, messages).await {
            Ok(refused) => {
                for (n, (done, _room)) in (1_i64..).zip(waiters) {
                    let outcome = if refused.contains(&n) { Err(full()) } else { Ok(()) };
                    let _gone = done.send(outcome).is_err();
                }
            }
            Err(error) => {
                for (done, _room) in waiters {
                    let _gone = done.send(Err(alike(&error))).is_err();
                }
            }
        }
    }
}

fn full() -> Error {
    let detail = "a group of the topic has no room for further messages";
    Error::too_many_requests(ERROR_ID, detail).with_retry(Retry::Safe)
}

/// Errors are not cloned: each message of a statement gets one that says the same.
fn alike(error: &Error) -> Error {
    Error::new(error.id().to_owned(), error.code(), error.detail()).with_retry(error.retry())
}

/// Writes messages and returns the numbers, from 1, of those that a full group refuses.
async fn put(database: &Database, wakes: &Wakes, messages: Vec<Message>) -> Result<Vec<i64>> {
    let (mut topics, mut ids, mut types) = (Vec::new(), Vec::new(), Vec::new());
    let (mut metadata, mut bodies) = (Vec::new(), Vec::new());
    for message in messages {
        metadata.push(super::item::metadata(&message)?);
        topics.push(message.topic);
        ids.push(message.id);
        types.push(message.content_type.as_str().to_owned());
        bodies.push(Blob(message.body));
    }
    let rows = database.rows(sql::PUBLISH, params![topics, ids, types, metadata, bodies]).await?;
    let Some(row) = rows.first() else { return Ok(Vec::new()) };
    let groups: Option<Vec<i64>> = column(row, 1)?;
    wakes.tell_all(database, &groups.unwrap_or_default());
    Ok(column::<Option<Vec<i64>>>(row, 0)?.unwrap_or_default())
}
