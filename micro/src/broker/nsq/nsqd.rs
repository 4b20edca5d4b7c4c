//! The nsqds that a process publishes to.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::{Error, Result, Retry};
use crate::core::shutdown::{TaskHandle, TaskTracker};
use crate::driver::{Link, Server};

use super::ERROR_ID;
use super::feed::{ANSWER_TIMEOUT, BATCH_MAX, Feed, Post, Posted, Waiter};

/// How long a message waits for an nsqd to be there and to have room, in all.
const READY_TIMEOUT: Duration = Duration::from_secs(5);
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
    room: Arc<Semaphore>,
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
        Self::of(server, hosts, changes, feeds)
    }

    fn of(
        server: &Server,
        hosts: Vec<Host>,
        changes: watch::Receiver<bool>,
        feeds: Vec<TaskHandle<()>>,
    ) -> Self {
        let room = usize::try_from(OUTSTANDING_BYTES_MAX).unwrap_or(usize::MAX);
        let (room, turns) = (Arc::new(Semaphore::new(room)), AtomicUsize::new(0));
        Self { server: server.clone(), hosts, turns, room, changes, _feeds: feeds }
    }

    /// Returns where they are.
    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Publishes a message, and returns when an nsqd has it.
    pub(super) async fn publish(&self, topic: &str, body: Bytes) -> Result<()> {
        let deadline = clock::after(clock::now(), READY_TIMEOUT);
        let topic: Arc<str> = topic.into();
        let room = Arc::new(self.room(&topic, body.len(), deadline).await?);
        // Progress: each turn ends with an answer, or at the deadline.
        loop {
            let host = self.host_up(&topic, deadline).await?;
            let (waiter, posted) = Waiter::new(&room);
            let post = Post { topic: Arc::clone(&topic), body: body.clone(), waiter };
            match clock::timeout_at(deadline, host.posts.send(post)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => {
                    let text = format!("publish to {topic}: the tasks of the process have ended");
                    return Err(Error::unavailable(ERROR_ID, text).with_retry(Retry::Safe));
                }
                Err(_elapsed) => return Err(busy(&topic)),
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
    ) -> Result<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let share = bytes.clamp(OUTSTANDING_BYTES_MIN, OUTSTANDING_BYTES_MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(share);
        match clock::timeout_at(deadline, room).await {
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

    /// Returns the next that is there; one that takes no more only if all are so.
    fn next_up(&self) -> Option<&Host> {
        let turn = self.turns.fetch_add(1, Relaxed);
        let first = turn.checked_rem(self.hosts.len())?;
        let (before, from) = self.hosts.split_at_checked(first)?;
        let up = || from.iter().chain(before).filter(|host| *host.is_up.borrow());
        up().find(|host| host.posts.capacity() > 0).or_else(|| up().next())
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
    use std::future::Future;
    use std::pin::pin;

    use super::*;

    /// The other end of what is posted to a host.
    type End = (mpsc::Receiver<Post>, watch::Sender<bool>);

    /// Makes hosts that are there, and where what is posted to them comes.
    fn hosts(count: usize) -> (Nsqd, Vec<End>) {
        let (mut hosts, mut ends) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let ((posts, posted), (up, is_up)) = (mpsc::channel(BATCH_MAX), watch::channel(true));
            hosts.push(Host { posts, is_up });
            ends.push((posted, up));
        }
        let (_, changes) = watch::channel(false);
        (Nsqd::of(&Server::new("127.0.0.1", 1), hosts, changes, Vec::new()), ends)
    }

    /// Lets something run until it waits.
    async fn begin(work: impl Future<Output = Result<()>>) {
        assert!(clock::timeout(Duration::from_millis(1), work).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_nobody_confirms_is_given_up_after_fifteen_seconds() {
        let (nsqd, ends) = hosts(1);
        let began = clock::now();
        let error = nsqd.publish("t", Bytes::from_static(b"1")).await.unwrap_err();
        assert_eq!((error.code(), error.retry()), (408, Retry::Unknown));
        assert_eq!(clock::now() - began, ANSWER_TIMEOUT);
        drop(ends);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_on_their_way_are_bounded_whether_anybody_waits_for_them_or_not() {
        let (nsqd, mut ends) = hosts(1);
        let most = usize::try_from(OUTSTANDING_BYTES_MAX).unwrap();
        let share = usize::try_from(OUTSTANDING_BYTES_MIN).unwrap();
        let half = Bytes::from(vec![7; most / 2]);
        begin(nsqd.publish("t", half.clone())).await;
        begin(nsqd.publish("t", half.slice(share..))).await;
        // Who published those is gone, and there is room for one more of the least.
        let mut last = pin!(nsqd.publish("t", Bytes::new()));
        begin(&mut last).await;
        for bytes in [1, most, most * 10] {
            let error = nsqd.publish("t", half.slice(..bytes.min(half.len()))).await.unwrap_err();
            assert_eq!((error.code(), error.retry()), (429, Retry::Safe), "{bytes}");
        }
        for _ in 0..3 {
            ends[0].0.recv().await.unwrap().waiter.tell(Posted::Done);
        }
        last.await.unwrap();
        assert_eq!(nsqd.room.available_permits(), most);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_no_more_is_passed_over() {
        let (nsqd, mut ends) = hosts(2);
        let message = || Bytes::from_static(b"1");
        for _ in 0..BATCH_MAX * 2 {
            begin(nsqd.publish("t", message())).await;
        }
        // One of both has room again.
        ends[1].0.recv().await.unwrap().waiter.tell(Posted::Lost);
        begin(nsqd.publish("t", message())).await;
        assert_eq!((ends[0].0.len(), ends[1].0.len()), (BATCH_MAX, BATCH_MAX));
        let error = nsqd.publish("t", message()).await.unwrap_err();
        assert_eq!((error.code(), error.retry()), (429, Retry::Safe));
    }

    #[tokio::test]
    async fn publishing_after_its_tasks_have_ended_is_a_503() {
        let (nsqd, ends) = hosts(1);
        drop(ends);
        let error = nsqd.publish("t", Bytes::new()).await.unwrap_err();
        assert_eq!((error.code(), error.retry()), (503, Retry::Safe), "{error}");
    }

    #[tokio::test]
    async fn a_feed_that_is_cut_is_not_up() {
        let ((up, is_up), (_posts, posts)) = (watch::channel(true), mpsc::channel(1));
        let feed = Feed { address: "127.0.0.1:1".into(), body_bytes_max: 0, posts, is_up: up };
        let tasks = TaskTracker::new();
        tasks.spawn("feed", feed.run()).detach();
        tasks.abort_all();
        assert_eq!(tasks.wait(clock::after(clock::now(), ANSWER_TIMEOUT)).await, 0);
        assert!(!*is_up.borrow());
    }

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
