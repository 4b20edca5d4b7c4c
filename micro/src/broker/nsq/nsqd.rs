//! The nsqds that a process publishes to.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot, watch};

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::{Error, Result, Retry};
use crate::core::shutdown::{TaskHandle, TaskTracker};
use crate::driver::{Link, Server};

use super::ERROR_ID;
use super::feed::{BATCH_MAX, Feed, Post, Posted};

/// How long a message waits for an nsqd to be there and to have room, in all.
const READY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long nsqd may take to answer: longer than it takes to notice that one hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of messages on their way to nsqds; further ones wait, and are a 429 after a while.
const OUTSTANDING_BYTES_MAX: u32 = 64 * 1024 * 1024;
/// Bytes that a message on its way counts at least.
const OUTSTANDING_BYTES_MIN: u32 = 1024;

/// An nsqd, or several that are published to by turns.
///
/// They are connected to by themselves, and again when they are lost.
///
/// ```
/// use micro::broker::Nsqd;
/// use micro::core::shutdown::TaskTracker;
/// use micro::driver::{Link, Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let nsqd = Nsqd::open(&Server::new("127.0.0.1", 4150), &TaskTracker::new());
/// assert!(!nsqd.is_up());
/// # }
/// ```
pub struct Nsqd {
    server: Server,
    hosts: Vec<Host>,
    turns: AtomicUsize,
    /// Bytes that may be on their way.
    room: Semaphore,
    /// Changes whenever one of them is there or gone.
    changes: watch::Receiver<bool>,
    _feeds: Vec<TaskHandle<()>>,
}

struct Host {
    posts: mpsc::Sender<Post>,
    is_up: watch::Receiver<bool>,
}

impl Nsqd {
    /// The port of an nsqd whose URL has none.
    pub(crate) const PORT: u16 = 4150;
    /// The port of an nsqlookupd that is named without one.
    pub(crate) const LOOKUP_PORT: u16 = 4161;

    /// Makes the connections by themselves, in tasks of `tasks`; nothing is awaited.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open(server: &Server, tasks: &TaskTracker) -> Self {
        let (changed, changes) = watch::channel(false);
        let (mut hosts, mut feeds) = (Vec::new(), Vec::new());
        for address in server.addresses() {
            let (posts, posted) = mpsc::channel(BATCH_MAX);
            let (up, is_up) = watch::channel(false);
            // nsqd sends no messages where none are asked for.
            let feed = Feed { address, body_bytes_max: 0, posts: posted, is_up: up };
            let tell = tell(is_up.clone(), changed.clone());
            let run = async move {
                tokio::join!(feed.run(), tell);
            };
            feeds.push(tasks.spawn("broker.nsq.feed", run).abort_on_drop());
            hosts.push(Host { posts, is_up });
        }
        let room = Semaphore::new(usize::try_from(OUTSTANDING_BYTES_MAX).unwrap_or(usize::MAX));
        let (server, turns) = (server.clone(), AtomicUsize::new(0));
        Self { server, hosts, turns, room, changes, _feeds: feeds }
    }

    /// Returns where they are.
    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Publishes a message, and returns when an nsqd has it.
    pub(super) async fn publish(&self, topic: &str, body: Bytes) -> Result<()> {
        let deadline = clock::after(clock::now(), READY_TIMEOUT);
        let topic: Arc<str> = topic.into();
        let _room = self.room(&topic, body.len(), deadline).await?;
        // Progress: each turn ends with an answer, or at the deadline.
        loop {
            let host = self.host_up(&topic, deadline).await?;
            let (reply, posted) = oneshot::channel();
            let post = Post { topic: Arc::clone(&topic), body: body.clone(), reply };
            // A queue whose feed has ended takes nothing.
            if !matches!(clock::timeout_at(deadline, host.posts.send(post)).await, Ok(Ok(()))) {
                return Err(busy(&topic));
            }
            match clock::timeout(ANSWER_TIMEOUT, posted).await {
                Ok(Ok(Posted::Done)) => return Ok(()),
                Ok(Ok(Posted::Refused(text))) => return Err(refused(&topic, &text)),
                // It was lost before the message was sent.
                Ok(Ok(Posted::Unsent)) => {}
                Ok(Ok(Posted::Lost) | Err(_)) => {
                    let text = format!("publish to {topic}: nsqd is lost, its answer too");
                    return Err(Error::unavailable(ERROR_ID, text).with_retry(Retry::Unknown));
                }
                Err(_elapsed) => {
                    let text = format!("publish to {topic}: no answer within {ANSWER_TIMEOUT:?}");
                    return Err(Error::timeout(ERROR_ID, text).with_retry(Retry::Unknown));
                }
            }
        }
    }

    /// Takes a message's share of the bytes that may be on their way.
    async fn room(
        &self,
        topic: &str,
        bytes: usize,
        deadline: Instant,
    ) -> Result<SemaphorePermit<'_>> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let share = bytes.clamp(OUTSTANDING_BYTES_MIN, OUTSTANDING_BYTES_MAX);
        match clock::timeout_at(deadline, self.room.acquire_many(share)).await {
            Ok(Ok(room)) => Ok(room),
            Ok(Err(_)) | Err(_) => Err(busy(topic)),
        }
    }

    /// Returns the next of those that are there, once one is.
    async fn host_up(&self, topic: &str, deadline: Instant) -> Result<&Host> {
        let mut changes = self.changes.clone();
        loop {
            changes.mark_unchanged();
            if let Some(host) = self.next_up() {
                return Ok(host);
            }
            if !matches!(clock::timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                let server = &self.server;
                let text = format!("publish to {topic}: no nsqd of {server} answers");
                return Err(Error::unavailable(ERROR_ID, text).with_retry(Retry::Safe));
            }
        }
    }

    fn next_up(&self) -> Option<&Host> {
        let turn = self.turns.fetch_add(1, Relaxed);
        let first = turn.checked_rem(self.hosts.len())?;
        let (before, from) = self.hosts.split_at_checked(first)?;
        from.iter().chain(before).find(|host| *host.is_up.borrow())
    }
}

/// Tells that a host is there or gone, until its feed ends.
async fn tell(mut is_up: watch::Receiver<bool>, changed: watch::Sender<bool>) {
    while is_up.changed().await.is_ok() {
        let is_up = *is_up.borrow_and_update();
        changed.send_replace(is_up);
    }
}

fn busy(topic: &str) -> Error {
    let text = format!("publish to {topic}: nsqd has no room within {READY_TIMEOUT:?}");
    Error::too_many_requests(ERROR_ID, text).with_retry(Retry::Safe)
}

/// Returns the error of a message that nsqd refuses.
fn refused(topic: &str, said: &str) -> Error {
    let text = format!("publish to {topic}: nsqd refuses it: {said}");
    match said.split(' ').next().unwrap_or_default() {
        "E_BAD_TOPIC" => Error::bad_request(ERROR_ID, text),
        "E_BAD_MESSAGE" => Error::too_large(ERROR_ID, text),
        "E_UNAUTHORIZED" | "E_AUTH_FAILED" | "E_AUTH_FIRST" => Error::forbidden(ERROR_ID, text),
        "E_PUB_FAILED" | "E_MPUB_FAILED" => {
            Error::unavailable(ERROR_ID, text).with_retry(Retry::Unknown)
        }
        _ => Error::internal(ERROR_ID, text),
    }
}

impl Link for Nsqd {
    fn vendor(&self) -> &'static str {
        "nsq"
    }

    fn is_up(&self) -> bool {
        self.hosts.iter().any(|host| *host.is_up.borrow())
    }
}

impl fmt::Debug for Nsqd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nsqd").field("server", &self.server).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        for (said, code, retry) in [
            ("E_BAD_TOPIC PUB topic name \"a\" is not valid", 400, Retry::Never),
            ("E_BAD_MESSAGE PUB message too big", 413, Retry::Never),
            ("E_UNAUTHORIZED", 403, Retry::Never),
            ("E_PUB_FAILED PUB failed exiting", 503, Retry::Unknown),
            ("E_INVALID", 500, Retry::Never),
        ] {
            let error = refused("t", said);
            assert_eq!((error.code(), error.retry()), (code, retry), "{said}");
        }
    }
}
