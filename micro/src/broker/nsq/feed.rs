//! The connection by which one nsqd is published to, made again whenever it is lost.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot, watch};

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::{Error, Result};

use super::ERROR_ID;
use super::command;
use super::connection::{Connection, Reader};
use super::frame::Frame;

/// Messages that are sent together, and that wait for their turn.
pub(super) const BATCH_MAX: usize = 128;
/// Bytes of messages that are sent together, unless one alone has more: a fifth of what nsqd allows.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// How long nsqd may take to answer: longer than it takes to notice that one is silent.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long an nsqd that answers everything but what is published is left alone.
const ASIDE: Duration = Duration::from_secs(10);
/// The first and the longest pause before a connection that was lost is made again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A message to be published.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) topic: Arc<str>,
    pub(super) body: Bytes,
    pub(super) waiter: Waiter,
}

/// Who waits for what becomes of a message.
#[derive(Debug)]
pub(super) struct Waiter {
    reply: oneshot::Sender<Posted>,
    /// Its share of the bytes that may be on their way, as long as it is.
    _room: Arc<OwnedSemaphorePermit>,
}

impl Waiter {
    /// Makes one that takes up `room`, and where it is told.
    pub(super) fn new(room: &Arc<OwnedSemaphorePermit>) -> (Self, oneshot::Receiver<Posted>) {
        let (reply, posted) = oneshot::channel();
        (Self { reply, _room: Arc::clone(room) }, posted)
    }

    /// Says what became of the message.
    pub(super) fn tell(self, posted: Posted) {
        // Whoever has given up takes no answer.
        let _gone = self.reply.send(posted).is_err();
    }
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Posted {
    /// nsqd has it.
    Done,
    /// nsqd refuses it, in its words.
    Refused(String),
    /// It was sent, and nobody knows.
    Lost,
    /// It was not sent.
    Unsent,
}

/// What waits for one answer.
#[derive(Debug)]
struct Batch {
    since: Instant,
    waiters: Vec<Waiter>,
}

impl Batch {
    fn tell(self, posted: &Posted) {
        self.waiters.into_iter().for_each(|waiter| waiter.tell(posted.clone()));
    }
}

/// Publishes to one nsqd for as long as anybody may post.
pub(super) struct Feed {
    pub(super) address: String,
    pub(super) body_bytes_max: usize,
    pub(super) posts: mpsc::Receiver<Post>,
    pub(super) is_up: watch::Sender<bool>,
}

impl Drop for Feed {
    /// However it ended.
    fn drop(&mut self) {
        self.is_up.send_replace(false);
    }
}

impl Feed {
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let mut pause = Duration::ZERO;
        let mut is_said = false;
        // Progress: each turn waits for a connection, and for its end where it is made.
        loop {
            let (address, most) = (self.address.clone(), self.body_bytes_max);
            let opening = async {
                clock::sleep(pause).await;
                Connection::open(&address, most).await
            };
            match giving_back(&mut self.posts, opening).await {
                Ok(connection) => {
                    let began = clock::now();
                    is_said = false;
                    tracing::info!(address, "nsqd answers");
                    self.is_up.send_replace(true);
                    let ended = exchange(connection, &mut self.posts).await;
                    self.is_up.send_replace(false);
                    let Err(error) = ended else { return };
                    tracing::warn!(address, %error, "nsqd is lost");
                    if error.code() == 408 {
                        pause = ASIDE;
                        continue;
                    }
                    // One that ends connections at once is not asked again at once.
                    if clock::now() - began > BACKOFF.1 {
                        backoff.reset();
                    }
                }
                Err(error) if !is_said => {
                    is_said = true;
                    tracing::warn!(address, %error, "nsqd does not answer");
                }
                Err(error) => tracing::debug!(address, %error, "nsqd does not answer yet"),
            }
            pause = backoff.next_delay();
        }
    }
}

/// Does something, and meanwhile gives back what is posted.
async fn giving_back<T>(posts: &mut mpsc::Receiver<Post>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        // Cancel safety: what was not received stays where it is.
        tokio::select! {
            biased;
            done = &mut work => return done,
            Some(post) = posts.recv() => post.waiter.tell(Posted::Unsent),
        }
    }
}

/// Publishes over a connection until it is lost; ends without an error when nobody may post.
async fn exchange(connection: Connection, posts: &mut mpsc::Receiver<Post>) -> Result<()> {
    let Connection { mut reader, mut writer, .. } = connection;
    let waiting = Waiting::default();
    // Cancel safety: a connection of which one half has ended is not used again.
    let ended = tokio::select! {
        biased;
        error = read(&mut reader, &waiting) => Err(error),
        ended = write(&mut writer, posts, &waiting) => ended,
        error = overdue(&waiting) => Err(error),
    };
    waiting.batches().drain(..).for_each(|batch| batch.tell(&Posted::Lost));
    ended
}

/// What both halves of a connection share.
#[derive(Debug, Default)]
struct Waiting {
    /// In the order in which they were sent, which is that of the answers. Limit: the bytes that may
    /// be on their way; each message here keeps its share of them, though nobody may wait for it.
    batches: Mutex<VecDeque<Batch>>,
    heartbeat: Notify,
}

impl Waiting {
    fn batches(&self) -> std::sync::MutexGuard<'_, VecDeque<Batch>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on an answer.
    ///
    /// # Errors
    /// Those that end the connection.
    fn take(&self, frame: Frame) -> Result<()> {
        let refusal = match frame {
            Frame::Heartbeat => {
                self.heartbeat.notify_one();
                return Ok(());
            }
            Frame::Message(_) | Frame::TooLong { .. } => {
                return Err(Error::internal(ERROR_ID, "nsqd sends a message not asked for"));
            }
            Frame::Answer(_) => None,
            Frame::Error(text) => Some(text),
        };
        let Some(batch) = self.batches().pop_front() else {
            return Err(Error::internal(ERROR_ID, "nsqd answers what was not asked"));
        };
        let Some(text) = refusal else {
            batch.tell(&Posted::Done);
            return Ok(());
        };
        // Which of several is refused, and what became of the others, is not said.
        let is_alone = batch.waiters.len() == 1;
        let posted = if is_alone { Posted::Refused(text.clone()) } else { Posted::Lost };
        batch.tell(&posted);
        // nsqd ends the connection and does nothing of what follows.
        self.batches().drain(..).for_each(|batch| batch.tell(&Posted::Unsent));
        Err(Error::unavailable(ERROR_ID, text))
    }
}

async fn read(reader: &mut Reader, waiting: &Waiting) -> Error {
    loop {
        let frame = match reader.next().await {
            Ok(frame) => frame,
            Err(error) => return error,
        };
        if let Err(error) = waiting.take(frame) {
            return error;
        }
    }
}

/// Ends once an answer is overdue.
async fn overdue(waiting: &Waiting) -> Error {
    // Progress: each turn waits until the first of those that wait, or one that comes meanwhile, is
    // due at the earliest.
    loop {
        let now = clock::now();
        let since = waiting.batches().front().map_or(now, |first| first.since);
        let due = clock::after(since, ANSWER_TIMEOUT);
        if due <= now {
            let text = format!("nsqd does not answer what is published within {ANSWER_TIMEOUT:?}");
            return Error::timeout(ERROR_ID, text);
        }
        clock::sleep_until(due).await;
    }
}

async fn write(
    writer: &mut OwnedWriteHalf,
    posts: &mut mpsc::Receiver<Post>,
    waiting: &Waiting,
) -> Result<()> {
    let (mut taken, mut out) = (Vec::with_capacity(BATCH_MAX), Vec::new());
    loop {
        out.clear();
        // Cancel safety: what was not received stays where it is.
        tokio::select! {
            biased;
            () = waiting.heartbeat.notified() => out.extend_from_slice(command::NOTHING),
            count = posts.recv_many(&mut taken, BATCH_MAX) => {
                if count == 0 {
                    return Ok(());
                }
                put(&mut out, taken.drain(..), &mut waiting.batches());
            }
        }
        writer.write_all(&out).await?;
    }
}

/// Writes the commands that publish messages: those of one topic that follow each other together.
fn put(out: &mut Vec<u8>, posts: impl Iterator<Item = Post>, batches: &mut VecDeque<Batch>) {
    // Whoever has given up does not expect it to be published from here on.
    let mut posts = posts.filter(|post| !post.waiter.reply.is_closed()).peekable();
    while let Some(first) = posts.next() {
        let (topic, mut bytes) = (first.topic, first.body.len());
        let (mut bodies, mut waiters) = (vec![first.body], vec![first.waiter]);
        while let Some(next) = posts.next_if(|next| {
            next.topic == topic && bytes.saturating_add(next.body.len()) <= BATCH_BYTES_MAX
        }) {
            bytes += next.body.len();
            bodies.push(next.body);
            waiters.push(next.waiter);
        }
        let bodies: Vec<&[u8]> = bodies.iter().map(AsRef::as_ref).collect();
        command::publish(out, &topic, &bodies);
        batches.push_back(Batch { since: clock::now(), waiters });
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    fn post(topic: &str, body: &[u8]) -> (Post, oneshot::Receiver<Posted>) {
        let room = Arc::new(Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap());
        let (waiter, posted) = Waiter::new(&room);
        let body = Bytes::copy_from_slice(body);
        (Post { topic: topic.into(), body, waiter }, posted)
    }

    fn lengths(batches: &VecDeque<Batch>) -> Vec<usize> {
        batches.iter().map(|batch| batch.waiters.len()).collect()
    }

    /// Puts posts into what waits, each topic by itself.
    fn wait(waiting: &Waiting, topics: &[&str]) -> Vec<oneshot::Receiver<Posted>> {
        let (posts, replies): (Vec<_>, Vec<_>) =
            topics.iter().map(|topic| post(topic, b"1")).unzip();
        put(&mut Vec::new(), posts.into_iter(), &mut waiting.batches());
        replies
    }

    #[test]
    fn what_follows_a_refusal_was_not_sent() {
        let waiting = Waiting::default();
        let replies = wait(&waiting, &["a", "b", "c", "c", "d"]);
        waiting.take(Frame::Answer(Bytes::from_static(b"OK"))).unwrap();
        let error = waiting.take(Frame::Error("E_BAD_TOPIC".into())).unwrap_err();
        assert_eq!(error.code(), 503);
        let told: Vec<_> = replies.into_iter().map(|mut reply| reply.try_recv().unwrap()).collect();
        let (refused, unsent) = (Posted::Refused("E_BAD_TOPIC".into()), Posted::Unsent);
        assert_eq!(told, [Posted::Done, refused, unsent.clone(), unsent.clone(), unsent]);
        // Of several that are refused together nobody knows.
        let replies = wait(&waiting, &["a", "a", "b"]);
        waiting.take(Frame::Error("E_MPUB_FAILED".into())).unwrap_err();
        let told: Vec<_> = replies.into_iter().map(|mut reply| reply.try_recv().unwrap()).collect();
        assert_eq!(told, [Posted::Lost, Posted::Lost, Posted::Unsent]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_overdue_fifteen_seconds_after_its_message() {
        let (waiting, began) = (Waiting::default(), clock::now());
        let late = overdue(&waiting);
        let mut late = pin!(late);
        assert!(clock::timeout(Duration::from_secs(100), &mut late).await.is_err());
        let replies = wait(&waiting, &["a"]);
        assert!(clock::timeout(Duration::from_secs(10), &mut late).await.is_err());
        let more = wait(&waiting, &["b"]);
        assert!(clock::timeout(Duration::from_secs(4), &mut late).await.is_err());
        // One that is answered is not waited for.
        waiting.take(Frame::Answer(Bytes::from_static(b"OK"))).unwrap();
        assert_eq!((late.await.code(), (clock::now() - began).as_secs()), (408, 125));
        drop((replies, more));
    }

    #[test]
    fn messages_that_follow_each_other_to_a_topic_go_together() {
        let (mut out, mut batches) = (Vec::new(), VecDeque::new());
        let posts = [post("a", b"1"), post("a", b"2"), post("b", b"3"), post("a", b"4")];
        let (posts, replies): (Vec<_>, Vec<_>) = posts.into_iter().unzip();
        put(&mut out, posts.into_iter(), &mut batches);
        let wanted = b"MPUB a\n\0\0\0\x0e\0\0\0\x02\0\0\0\x011\0\0\0\x012PUB b\n\0\0\0\x013PUB a\n\0\0\0\x014";
        assert_eq!(out, wanted);
        assert_eq!(lengths(&batches), [2, 1, 1]);
        drop(replies);
    }

    #[test]
    fn a_message_nobody_waits_for_is_not_sent() {
        let (mut out, mut batches) = (Vec::new(), VecDeque::new());
        let (post, reply) = post("a", b"1");
        drop(reply);
        put(&mut out, std::iter::once(post), &mut batches);
        assert!(out.is_empty() && batches.is_empty());
    }

    #[test]
    fn what_is_sent_together_is_bounded() {
        let (mut out, mut batches) = (Vec::new(), VecDeque::new());
        let half = vec![7; BATCH_BYTES_MAX / 2];
        let posts: Vec<_> = (0..5).map(|_| post("a", &half)).collect();
        let (posts, replies): (Vec<_>, Vec<_>) = posts.into_iter().unzip();
        put(&mut out, posts.into_iter(), &mut batches);
        assert_eq!(lengths(&batches), [2, 2, 1]);
        drop(replies);
    }
}
