//! A bucket of keys and values: a stream of NATS that keeps the last message of each subject.
//!
//! Every read is answered by the leader of the stream, so it sees every write that was acknowledged
//! before. Whoever makes buckets needs a server of version 2.11 or later: an earlier one takes a
//! time to live and ignores it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{self, DiscardPolicy, RawMessage, StorageType};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::entry::{Entry, LIFE, NOTE, OPERATION, REMOVED};
use super::{ERROR_ID, Fault, Nats};
use crate::core::error::{Error, Result, Retry};
use crate::driver::shared::Link;

/// How long the place of a removed value is kept, so that those who follow hear of it late.
const PLACE_LIFE: Duration = Duration::from_secs(60);

/// The longest time to live: what is longer is not told apart from for ever.
const LIFE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Copies of a bucket in a cluster, at most: what NATS allows.
const REPLICAS_MAX: usize = 5;

/// The condition on the last write to a key did not hold, as servers say it.
const OUTDATED: [u64; 2] = [10071, 10164];

/// There is no message under a key.
const NOTHING: u64 = 10037;

/// The stream is full, or the streams of the account are.
const FULL: [u64; 2] = [10077, 10002];

/// The value is longer than the stream takes.
const TOO_LONG: u64 = 10054;

/// A bucket on a server.
pub(crate) struct Bucket {
    nats: Arc<Nats>,
    name: String,
    /// How often it is kept where it is made; `None` for one that others make.
    replicas: Option<usize>,
    /// Whether it was there last time.
    is_there: AtomicBool,
}

/// What is to be written.
#[derive(Debug)]
pub(crate) struct Put<'a> {
    /// The key, within the bucket.
    pub(crate) key: &'a str,
    /// The value.
    pub(crate) value: Bytes,
    /// What is said of it, in one line.
    pub(crate) note: Option<String>,
    /// How long it lives, rounded up to whole seconds.
    pub(crate) life: Option<Duration>,
    /// The revision of the last write to the key, zero for none; `None` for whatever it is.
    pub(crate) expected: Option<u64>,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// It happened, as this revision.
    Written(u64),
    /// Somebody else has written to the key.
    Outdated,
}

#[derive(Deserialize)]
struct Found {
    message: RawMessage,
}

#[derive(Deserialize)]
struct Ack {
    seq: u64,
}

/// A part of the names of the keys of a bucket.
#[derive(Deserialize)]
struct Listed {
    state: ListedState,
    #[serde(default)]
    total: usize,
}

#[derive(Deserialize)]
struct ListedState {
    /// Sorted.
    subjects: Option<std::collections::BTreeMap<String, u64>>,
}

impl Bucket {
    /// Names a bucket that is made when it is not there.
    ///
    /// # Errors
    /// 412 for a name that no bucket can have, or a number of copies other than 1 to 5.
    pub(crate) fn made(nats: Arc<Nats>, name: &str, replicas: usize) -> Result<Self> {
        if !(1..=REPLICAS_MAX).contains(&replicas) {
            let detail = format!("nats keeps 1 to {REPLICAS_MAX} replicas, not {replicas}");
            return Err(Error::precondition_failed(ERROR_ID, detail));
        }
        Self::new(nats, name, Some(replicas))
    }

    /// Names a bucket that others make.
    ///
    /// # Errors
    /// 412 for a name that no bucket can have.
    pub(crate) fn found(nats: Arc<Nats>, name: &str) -> Result<Self> {
        Self::new(nats, name, None)
    }

    fn new(nats: Arc<Nats>, name: &str, replicas: Option<usize>) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.is_empty() || !name.chars().all(plain) {
            let detail = format!(
                "a bucket of nats has a name of letters, digits, `-` and `_`, not `{}`",
                name.escape_debug()
            );
            return Err(Error::precondition_failed(ERROR_ID, detail));
        }
        let is_there = AtomicBool::new(replicas.is_none());
        Ok(Self { nats, name: name.to_owned(), replicas, is_there })
    }

    pub(super) fn nats(&self) -> &Arc<Nats> {
        &self.nats
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn stream(&self) -> String {
        format!("KV_{}", self.name)
    }

    /// Returns the subject of a key, or of several where wildcards stand in it.
    pub(super) fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.name)
    }

    /// Reads a key; an entry without a value where there was one not long ago.
    pub(crate) async fn read(&self, key: &str) -> Result<Option<Entry>> {
        self.there().await?;
        let what = self.about("reading", key);
        let body = json!({ "last_by_subj": self.subject(key) }).to_string();
        let subject = format!("$JS.API.STREAM.MSG.GET.{}", self.stream());
        let request = async_nats::Request::new().payload(body.into());
        let answer = self.nats.request(&what, subject, request).await.map_err(Error::of_a_read)?;
        let found = match self.parse::<Found>(&what, &answer.payload)? {
            Ok(found) => found.message,
            Err(refused) if refused.error_code().0 == NOTHING => return Ok(None),
            Err(refused) => return Err(self.refused(&what, &refused)),
        };
        let message = StreamMessage::try_from(found).map_err(|error| {
            let detail = format!("nats at {}: {what}: {error}", self.nats.server());
            Error::data_loss(ERROR_ID, detail)
        })?;
        Ok(Some(Entry::of_stored(&self.name, message)))
    }

    /// Writes to a key.
    pub(crate) async fn write(&self, put: Put<'_>) -> Result<Outcome> {
        let mut headers = HeaderMap::new();
        if let Some(note) = put.note {
            headers.insert(NOTE, note);
        }
        if let Some(life) = put.life {
            headers.insert(LIFE, seconds(life));
        }
        let what = self.about("writing", put.key);
        self.publish(&what, put.key, (put.value, headers), put.expected).await
    }

    /// Removes the value of a key, if the last write to it is `expected`; `None` for whatever it
    /// is.
    pub(crate) async fn remove(&self, key: &str, expected: Option<u64>) -> Result<Outcome> {
        let mut headers = HeaderMap::new();
        headers.insert(OPERATION, REMOVED);
        headers.insert("Nats-Rollup", "sub");
        headers.insert(LIFE, seconds(PLACE_LIFE));
        let what = self.about("deleting", key);
        self.publish(&what, key, (Bytes::new(), headers), expected).await
    }

    async fn publish(
        &self,
        what: &str,
        key: &str,
        (value, mut headers): (Bytes, HeaderMap),
        expected: Option<u64>,
    ) -> Result<Outcome> {
        if let Some(expected) = expected {
            headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
        }
        let mut is_again = false;
        loop {
            self.there().await?;
            let request =
                async_nats::Request::new().payload(value.clone()).headers(headers.clone());
            let answer = self.nats.request(what, self.subject(key), request).await;
            let answer = match answer {
                // Nobody listens to the subject: the bucket is gone, and nothing was written.
                Err(error) if error.retry() == Retry::Safe && self.nats.is_up() && !is_again => {
                    self.lost();
                    is_again = true;
                    continue;
                }
                answer => answer?,
            };
            return match self.parse::<Ack>(what, &answer.payload)? {
                Ok(ack) => Ok(Outcome::Written(ack.seq)),
                Err(refused) if OUTDATED.contains(&refused.error_code().0) => Ok(Outcome::Outdated),
                Err(refused) => Err(self.refused(what, &refused)),
            };
        }
    }

    /// Returns a part of the sorted names of the keys that match, those of removed values among
    /// them, and how many there are; `after` so many.
    pub(crate) async fn keys(&self, pattern: &str, after: usize) -> Result<(Vec<String>, usize)> {
        self.there().await?;
        let what = self.about("listing", pattern);
        let filter = self.subject(pattern);
        let body = json!({ "subjects_filter": filter, "offset": after }).to_string();
        let subject = format!("$JS.API.STREAM.INFO.{}", self.stream());
        let request = async_nats::Request::new().payload(body.into());
        let answer = self.nats.request(&what, subject, request).await.map_err(Error::of_a_read)?;
        let listed = self.parse::<Listed>(&what, &answer.payload)?;
        let listed = listed.map_err(|refused| self.refused(&what, &refused))?;
        let prefix = self.subject("");
        let subjects = listed.state.subjects.unwrap_or_default().into_keys();
        let keys: Vec<_> =
            subjects.filter_map(|s| s.strip_prefix(&prefix).map(str::to_owned)).collect();
        let total = listed.total.max(after.saturating_add(keys.len()));
        Ok((keys, total))
    }

    /// Makes the bucket unless it is there.
    pub(super) async fn there(&self) -> Result<()> {
        let Some(replicas) = self.replicas else { return Ok(()) };
        if self.is_there.load(Ordering::Acquire) {
            return Ok(());
        }
        let jetstream = self.nats.jetstream().await?;
        if !self.nats.is_at_least(2, 11) {
            let (major, minor, patch) = self.nats.version().unwrap_or_default();
            let detail = format!(
                "nats at {} is {major}.{minor}.{patch}, and times to live of single keys need \
                 2.11 or later",
                self.nats.server()
            );
            return Err(Error::precondition_failed(ERROR_ID, detail));
        }
        let what = format!("making the bucket `{}`", self.name);
        let made = jetstream.create_stream(self.config(replicas)).await;
        if let Err(error) = made {
            // One that is configured otherwise does if it has what is needed.
            let found = jetstream.get_stream(self.stream()).await;
            let found = found.map_err(|_none| {
                // Nothing of what is asked for was done.
                self.failed(&what, Fault::NoAnswer, error).with_retry(Retry::Safe)
            })?;
            let config = &found.cached_info().config;
            if !config.allow_message_ttl || config.subject_delete_marker_ttl.is_none() {
                let detail = format!(
                    "the bucket `{}` on nats at {} has no times to live of single keys: make it \
                     with `allow_msg_ttl` and `subject_delete_marker_ttl`, or name another",
                    self.name,
                    self.nats.server()
                );
                return Err(Error::precondition_failed(ERROR_ID, detail));
            }
        }
        self.is_there.store(true, Ordering::Release);
        Ok(())
    }

    /// Notes that the bucket is to be made again.
    pub(super) fn lost(&self) {
        self.is_there.store(self.replicas.is_none(), Ordering::Release);
    }

    fn config(&self, replicas: usize) -> stream::Config {
        stream::Config {
            name: self.stream(),
            subjects: vec![self.subject(">")],
            max_messages_per_subject: 1,
            discard: DiscardPolicy::New,
            storage: StorageType::File,
            num_replicas: replicas,
            max_message_size: -1,
            max_bytes: -1,
            max_messages: -1,
            max_consumers: -1,
            allow_rollup: true,
            deny_delete: true,
            allow_direct: true,
            allow_message_ttl: true,
            subject_delete_marker_ttl: Some(PLACE_LIFE),
            ..stream::Config::default()
        }
    }

    fn about(&self, doing: &str, key: &str) -> String {
        format!("{doing} `{key}` in the bucket `{}`", self.name)
    }

    /// Reads the answer to a request to JetStream.
    fn parse<T: DeserializeOwned>(
        &self,
        what: &str,
        answer: &[u8],
    ) -> Result<std::result::Result<T, async_nats::jetstream::Error>> {
        match serde_json::from_slice::<Response<T>>(answer) {
            Ok(Response::Ok(answer)) => Ok(Ok(answer)),
            Ok(Response::Err { error }) => Ok(Err(error)),
            Err(error) => Err(self.failed(&what, Fault::NoAnswer, error)),
        }
    }

    /// Makes the error of what JetStream refused.
    pub(super) fn refused(&self, what: &str, error: &async_nats::jetstream::Error) -> Error {
        let detail = format!("nats at {}: {what}: {error}", self.nats.server());
        let code = error.error_code();
        if code == ErrorCode::STREAM_NOT_FOUND {
            self.lost();
            return match self.replicas {
                Some(_) => Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe),
                None => Error::not_found(ERROR_ID, detail),
            };
        }
        if FULL.contains(&code.0) {
            return Error::too_many_requests(ERROR_ID, detail).with_retry(Retry::Safe);
        }
        if code.0 == TOO_LONG {
            return Error::too_large(ERROR_ID, detail);
        }
        match error.code() {
            503 => Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe),
            404 => Error::not_found(ERROR_ID, detail),
            _ => Error::internal(ERROR_ID, detail),
        }
    }

    pub(super) fn failed(
        &self,
        what: &dyn fmt::Display,
        fault: Fault,
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> Error {
        fault.error(ERROR_ID, format_args!("nats at {}: {what}", self.nats.server()), error)
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("name", &self.name).field("nats", &self.nats).finish()
    }
}

/// Writes a time to live as NATS takes it: whole seconds, one at least.
fn seconds(life: Duration) -> String {
    let rounded = life.saturating_add(Duration::from_nanos(999_999_999));
    rounded.min(LIFE_MAX).as_secs().max(1).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_to_live_are_rounded_up_and_bounded() {
        for (life, written) in [
            (Duration::from_nanos(1), "1"),
            (Duration::from_secs(1), "1"),
            (Duration::from_millis(1001), "2"),
            (Duration::MAX, "3153600000"),
        ] {
            assert_eq!(seconds(life), written, "{life:?}");
        }
        assert_eq!(seconds(LIFE_MAX), seconds(LIFE_MAX * 10));
    }
}
