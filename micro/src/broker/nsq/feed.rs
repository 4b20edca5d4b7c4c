//! The connection by which one nsqd is published to, made again whenever it is lost.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Error, Result};

use super::ERROR_ID;
use super::command;
use super::connection::{Connection, Reader};
use super::frame::Frame;

/// Messages that are sent together, and that wait for their turn.
pub(super) const BATCH_MAX: usize = 128;
/// Bytes of messages that are sent together, unless one alone has more: a fifth of what nsqd allows.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// The first and the longest pause before a connection that was lost is made again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A message to be published.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) topic: Arc<str>,
    pub(super) body: Bytes,
    pub(super) reply: oneshot::Sender<Posted>,
}

/// What became of a message.
#[derive(Clone, Debug)]
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
type Batch = Vec<oneshot::Sender<Posted>>;

/// Publishes to one nsqd for as long as anybody may post.
pub(super) struct Feed {
    pub(super) address: String,
    pub(super) body_bytes_max: usize,
    pub(super) posts: mpsc::Receiver<Post>,
    pub(super) is_up: watch::Sender<bool>,
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
            Some(post) = posts.recv() => answer(post.reply, Posted::Unsent),
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
    };
    waiting.batches().drain(..).flatten().for_each(|reply| answer(reply, Posted::Lost));
    ended
}

/// What both halves of a connection share.
#[derive(Debug, Default)]
struct Waiting {
    /// In the order in which they were sent, which is that of the answers. Limit: the bytes on
    /// their way, of which each message counts some.
    batches: Mutex<VecDeque<Batch>>,
    heartbeat: Notify,
}

impl Waiting {
    fn batches(&self) -> std::sync::MutexGuard<'_, VecDeque<Batch>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(reader: &mut Reader, waiting: &Waiting) -> Error {
    loop {
        let frame = match reader.next().await {
            Ok(frame) => frame,
            Err(error) => return error,
        };
        let batch = match frame {
            Frame::Heartbeat => {
                waiting.heartbeat.notify_one();
                continue;
            }
            Frame::Message(_) => {
                return Error::internal(ERROR_ID, "nsqd sends a message not asked for");
            }
            Frame::Answer(_) | Frame::Error(_) => waiting.batches().pop_front(),
        };
        let (frame, Some(mut batch)) = (frame, batch) else {
            return Error::internal(ERROR_ID, "nsqd answers what was not asked");
        };
        let Frame::Error(text) = frame else {
            batch.into_iter().for_each(|reply| answer(reply, Posted::Done));
            continue;
        };
        // Which of several is refused, and what became of the others, is not said.
        if let (Some(reply), true) = (batch.pop(), batch.is_empty()) {
            answer(reply, Posted::Refused(text.clone()));
        }
        batch.into_iter().for_each(|reply| answer(reply, Posted::Lost));
        // nsqd ends the connection; what follows was not looked at.
        return Error::unavailable(ERROR_ID, text);
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
    let mut posts = posts.filter(|post| !post.reply.is_closed()).peekable();
    while let Some(first) = posts.next() {
        let (topic, mut bytes) = (first.topic, first.body.len());
        let (mut bodies, mut replies) = (vec![first.body], vec![first.reply]);
        while let Some(next) = posts.next_if(|next| {
            next.topic == topic && bytes.saturating_add(next.body.len()) <= BATCH_BYTES_MAX
        }) {
            bytes += next.body.len();
            bodies.push(next.body);
            replies.push(next.reply);
        }
        let bodies: Vec<&[u8]> = bodies.iter().map(AsRef::as_ref).collect();
        command::publish(out, &topic, &bodies);
        batches.push_back(replies);
    }
}

fn answer(reply: oneshot::Sender<Posted>, posted: Posted) {
    // Whoever has given up takes no answer.
    let _gone = reply.send(posted).is_err();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(topic: &str, body: &[u8]) -> (Post, oneshot::Receiver<Posted>) {
        let (reply, posted) = oneshot::channel();
        let body = Bytes::copy_from_slice(body);
        (Post { topic: topic.into(), body, reply }, posted)
    }

    #[test]
    fn messages_that_follow_each_other_to_a_topic_go_together() {
        let (mut out, mut batches) = (Vec::new(), VecDeque::new());
        let posts = [post("a", b"1"), post("a", b"2"), post("b", b"3"), post("a", b"4")];
        let (posts, replies): (Vec<_>, Vec<_>) = posts.into_iter().unzip();
        put(&mut out, posts.into_iter(), &mut batches);
        let wanted = b"MPUB a\n\0\0\0\x0e\0\0\0\x02\0\0\0\x011\0\0\0\x012PUB b\n\0\0\0\x013PUB a\n\0\0\0\x014";
        assert_eq!(out, wanted);
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1]);
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
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
        drop(replies);
    }
}
