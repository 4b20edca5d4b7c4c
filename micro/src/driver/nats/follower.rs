//! What is in a bucket and what becomes of it, in the order of the writes.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, ReplayPolicy, pull};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;

use super::bucket::Bucket;
use super::entry::Entry;
use super::{ERROR_ID, Fault, NatsSession};
use crate::core::clock;
use crate::core::error::{Error, Result, Retry};

/// Entries that are asked for at once: fewer than wait for a subscriber at most, so none is lost.
const BATCH: usize = 256;

/// How long one request for entries stands.
const REQUEST_LIFE: Duration = Duration::from_secs(30);

/// How often the server says that it is there while there is nothing to tell; after twice as long
/// without a word the follower counts as lost.
const HEARTBEAT: Duration = Duration::from_secs(3);

/// How long the server remembers a follower that asks for nothing.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

/// Silence in the middle of the state after which the server is asked whether there is more.
const QUIET: Duration = Duration::from_secs(1);

/// How often it is asked: the state may shrink while it is read, and then less comes than was said.
const QUIET_MAX: usize = 5;

/// What the client hands over.
type Delivered = std::result::Result<async_nats::jetstream::Message, pull::MessagesError>;

/// Where a follower begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Begin {
    /// With what every key holds.
    State,
    /// With what every key holds, without the values.
    Keys,
    /// With the first write after it was made.
    Next,
}

/// Follows the keys of a bucket that match a pattern.
pub(crate) struct Follower {
    bucket: Arc<Bucket>,
    consumer: async_nats::jetstream::consumer::PullConsumer,
    stream: pull::Stream,
    /// What came before anybody waited.
    early: Option<Delivered>,
    sessions: watch::Receiver<NatsSession>,
    session: u64,
    /// What the server counts deliveries with: the last one that came.
    delivered: u64,
    /// Entries of the state that have not come.
    left: u64,
}

impl Follower {
    /// Begins; every write that is acknowledged after this returns is told.
    pub(crate) async fn begin(bucket: &Arc<Bucket>, pattern: &str, begin: Begin) -> Result<Self> {
        let nats = bucket.nats();
        bucket.there().await?;
        nats.connected().await?;
        let mut sessions = nats.sessions();
        let session = sessions.borrow_and_update().number;
        let what = format!("following `{pattern}` in the bucket `{}`", bucket.name());
        let config = pull::Config {
            deliver_policy: match begin {
                Begin::State | Begin::Keys => DeliverPolicy::LastPerSubject,
                Begin::Next => DeliverPolicy::New,
            },
            ack_policy: AckPolicy::None,
            replay_policy: ReplayPolicy::Instant,
            filter_subject: bucket.subject(pattern),
            headers_only: begin == Begin::Keys,
            inactive_threshold: FORGOTTEN_AFTER,
            num_replicas: 1,
            memory_storage: true,
            ..pull::Config::default()
        };
        let jetstream = nats.jetstream().await?;
        let made = jetstream.create_consumer_on_stream(config, bucket.stream()).await;
        let consumer = made.map_err(|error| {
            use async_nats::jetstream::stream::ConsumerErrorKind;
            match error.kind() {
                ConsumerErrorKind::JetStream(refused) => bucket.refused(&what, &refused),
                _ => bucket.failed(&what, Fault::NoAnswer, error).with_retry(Retry::Safe),
            }
        })?;
        let left = match begin {
            Begin::State | Begin::Keys => consumer.cached_info().num_pending,
            Begin::Next => 0,
        };
        let mut stream = consumer
            .stream()
            .max_messages_per_batch(BATCH)
            .expires(REQUEST_LIFE)
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(|error| {
                bucket.failed(&what, Fault::NoAnswer, error).with_retry(Retry::Safe)
            })?;
        // The client asks for entries when it is polled first: not only once somebody waits.
        let early = stream.next().now_or_never().flatten();
        let bucket = Arc::clone(bucket);
        Ok(Self { bucket, consumer, stream, early, sessions, session, delivered: 0, left })
    }

    /// Reads the state, at most `most` entries.
    ///
    /// # Errors
    /// 429 when there is more; otherwise as [`Self::next`].
    pub(crate) async fn state(&mut self, most: usize) -> Result<Vec<Entry>> {
        let (mut entries, mut quiet) = (Vec::new(), 0);
        while self.left > 0 {
            match clock::timeout(QUIET, self.next()).await {
                Ok(entry) => {
                    let entry = entry?;
                    // What was removed takes no place.
                    if entry.value.is_some() && entries.len() >= most {
                        let detail = format!(
                            "the bucket `{}` holds more than {most} entries",
                            self.bucket.name()
                        );
                        return Err(Error::too_many_requests(ERROR_ID, detail));
                    }
                    if entry.value.is_some() {
                        entries.push(entry);
                    }
                }
                Err(_) if quiet < QUIET_MAX => {
                    quiet += 1;
                    let left = self.consumer.info().await.map(|info| info.num_pending);
                    self.left = left.map_err(|error| self.lost(&error.to_string()))?;
                }
                Err(_) => return Err(self.lost("the state does not come")),
            }
        }
        Ok(entries)
    }

    /// Waits for the next entry. Cancel safe.
    ///
    /// # Errors
    /// 503 when something may have been missed: then another follower has to begin.
    pub(crate) async fn next(&mut self) -> Result<Entry> {
        let session = self.session;
        loop {
            let is_other = |now: &NatsSession| now.number != session || !now.is_up;
            let message = match self.early.take() {
                Some(early) => Some(early),
                None => tokio::select! {
                    message = self.stream.next() => message,
                    // An error is the end of the process.
                    _ = self.sessions.wait_for(is_other) => None,
                },
            };
            let message = match message {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(self.lost(&error.to_string())),
                None => return Err(self.lost("the connection ended")),
            };
            let Ok(info) = message.info() else { return Err(self.lost("a foreign message")) };
            if info.consumer_sequence != self.delivered.saturating_add(1) {
                return Err(self.lost("a gap"));
            }
            self.delivered = info.consumer_sequence;
            self.left = self.left.saturating_sub(1).min(info.pending);
            if let Some(entry) = Entry::of_delivered(self.bucket.name(), &message) {
                return Ok(entry);
            }
        }
    }

    /// Lets the server forget the follower at once.
    pub(crate) async fn end(self) {
        let name = self.consumer.cached_info().name.clone();
        let Ok(jetstream) = self.bucket.nats().jetstream().await else { return };
        // It forgets it by itself, too.
        let _late = jetstream.delete_consumer_from_stream(&name, self.bucket.stream()).await;
    }

    fn lost(&self, why: &str) -> Error {
        let (nats, bucket) = (self.bucket.nats().server(), self.bucket.name());
        let detail = format!("nats at {nats}: following the bucket `{bucket}`: {why}");
        Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe)
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}
