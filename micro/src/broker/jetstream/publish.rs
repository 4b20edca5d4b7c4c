//! From a publisher into the stream, once.

use std::sync::atomic::Ordering::SeqCst;

use serde::Deserialize;

use crate::broker::dead_letter::is_dead;
use crate::broker::memory::count;
use crate::broker::message::Message;
use crate::broker::nats::replies::{Request, Unanswered};
use crate::broker::nats::wire;
use crate::broker::pause::{RETRY_BASE, RETRY_MAX};
use crate::core::backoff::Backoff;
use crate::core::clock::{self, Instant};
use crate::core::error::{Error, Result, Retry};

use super::{ANSWER_PATIENCE, ID, Inner, api};

/// What the server says where a stream that keeps its messages has no room.
const STORE_FAILED: u32 = 10_077;

/// What the server says where all streams of an account together have no room.
const ACCOUNT_FULL: u32 = 10_002;

/// What the server says of a message that is longer than the stream takes.
const MESSAGE_TOO_LONG: u32 = 10_054;

/// The answer of a stream.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    duplicate: bool,
    error: Option<Refusal>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    code: u16,
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

/// What became of one attempt.
enum Tried {
    Stored,
    /// The stream had it before.
    Duplicate,
    /// No stream takes the subject.
    NoStream,
    Unanswered(Unanswered),
    Refused(Error),
}

impl Inner {
    /// Publishes a message that is valid, and tries again until the deadline while it is unknown
    /// whether the stream has it: the stream takes it once.
    pub(super) async fn send(&self, message: &Message) -> Result<()> {
        let deadline = clock::after(clock::now(), self.publish_timeout);
        // One stream has all topics, and takes each publication once: an id is of its topic.
        let publication = format!("{}:{}", message.topic, message.id);
        let (stored, attempts) = self.store(message, &publication, deadline).await?;
        // A duplicate of an earlier attempt here is this message. One of another time may have gone
        // to the dead letters since and is published again on purpose: then it is another
        // publication, the same for all who repeat it.
        if stored || attempts > 1 || is_dead(&message.topic) {
            count(&self.tally.published);
            return Ok(());
        }
        let letter = self.places.dead_letter(&message.topic, &message.id);
        let last = api::last_of(self.replies.nats(), &self.places.dead, &letter).await?;
        if let Some(last) = last {
            self.store(message, &format!("{publication}:{last}"), deadline).await?;
        }
        count(&self.tally.published);
        Ok(())
    }

    /// Publishes a message as one `publication` of it, and returns whether the stream did not have
    /// it before, and how often it was sent.
    pub(super) async fn store(
        &self,
        message: &Message,
        publication: &str,
        deadline: Instant,
    ) -> Result<(bool, u32)> {
        let what = || format!("publish to {}", message.topic);
        let mut backoff = Backoff::new(RETRY_BASE, RETRY_MAX);
        let (mut sent, mut made) = (0, false);
        self.make_streams().await?;
        // Progress: each turn sends and ends, or waits, until the deadline.
        loop {
            let now = clock::now();
            let patience = clock::remaining(now, deadline).min(ANSWER_PATIENCE);
            match self.attempt(message, publication, patience).await? {
                Tried::Stored => return Ok((true, sent + 1)),
                Tried::Duplicate => return Ok((false, sent + 1)),
                // An earlier attempt may have arrived all the same.
                Tried::Refused(error) if sent > 0 => return Err(error.with_retry(Retry::Unknown)),
                Tried::Refused(error) => return Err(error),
                Tried::Unanswered(Unanswered::TooLarge) => {
                    let text = format!("{}: longer than the server takes", what());
                    return Err(Error::too_large(ID, text));
                }
                Tried::Unanswered(Unanswered::NotSent) if sent == 0 => {
                    let text = format!("{}: nats is away", what());
                    return Err(Error::unavailable(ID, text).with_retry(Retry::Safe));
                }
                Tried::NoStream if made && sent == 0 => {
                    let text = format!("{}: no stream takes it", what());
                    return Err(Error::unavailable(ID, text).with_retry(Retry::Safe));
                }
                Tried::NoStream => {
                    // It was removed, or the server is just starting.
                    self.are_made.store(false, SeqCst);
                    made = self.make_streams().await.is_ok();
                }
                Tried::Unanswered(Unanswered::NotSent) => {}
                Tried::Unanswered(Unanswered::Lost) => sent += 1,
            }
            let pause = backoff.next_delay();
            if clock::remaining(clock::now(), deadline) <= pause {
                let text = format!("{}: no answer after {} attempts", what(), sent.max(1));
                let retry = if sent == 0 { Retry::Safe } else { Retry::Unknown };
                return Err(Error::unavailable(ID, text).with_retry(retry));
            }
            clock::sleep(pause).await;
        }
    }

    async fn attempt(
        &self,
        message: &Message,
        publication: &str,
        patience: std::time::Duration,
    ) -> Result<Tried> {
        let request = Request {
            subject: self.places.subject(message),
            headers: Some(wire::headers(message, publication)?),
            body: message.body.clone(),
        };
        let answer = match self.replies.ask(request, patience).await {
            Ok(answer) => answer,
            Err(why) => return Ok(Tried::Unanswered(why)),
        };
        if answer.status.is_some_and(|status| status.as_u16() == 503) {
            return Ok(Tried::NoStream);
        }
        let topic = &message.topic;
        Ok(match serde_json::from_slice::<Answer>(&answer.payload) {
            Ok(Answer { error: Some(said), .. }) => Tried::Refused(said.error(topic)),
            Ok(Answer { duplicate: true, .. }) => Tried::Duplicate,
            Ok(_) => Tried::Stored,
            Err(error) => {
                let text = format!("publish to {topic}: the answer is none of a stream: {error}");
                Tried::Refused(Error::unavailable(ID, text))
            }
        })
    }

    /// Makes the streams unless they were made.
    pub(super) async fn make_streams(&self) -> Result<()> {
        if self.are_made.load(SeqCst) {
            return Ok(());
        }
        // Those who wait for the server do so side by side, and not one after the other.
        self.replies.nats().connected().await?;
        let making = async {
            let _turn = self.making.lock().await;
            if !self.are_made.load(SeqCst) {
                api::make_streams(self.replies.nats(), &self.places, &self.options).await?;
                self.are_made.store(true, SeqCst);
            }
            Ok::<_, Error>(())
        };
        clock::timeout(ANSWER_PATIENCE, making).await.unwrap_or_else(|_elapsed| {
            let text = format!("the stream {}: no answer", self.places.events);
            Err(Error::unavailable(ID, text).with_retry(Retry::Safe))
        })
    }
}

impl Refusal {
    fn error(&self, topic: &str) -> Error {
        let Self { code, err_code, description } = self;
        let text = format!("publish to {topic}: the stream says {description} ({err_code})");
        match (*err_code, *code) {
            (STORE_FAILED | ACCOUNT_FULL, _) => {
                Error::too_many_requests(ID, text).with_retry(Retry::Safe)
            }
            (MESSAGE_TOO_LONG, _) => Error::too_large(ID, text),
            (_, 500..) => Error::unavailable(ID, text),
            _ => Error::precondition_failed(ID, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(answer: &str) -> Error {
        let answer: Answer = serde_json::from_str(answer).unwrap();
        answer.error.unwrap().error("t")
    }

    #[test]
    fn a_full_stream_is_safe_to_ask_again() {
        let full = r#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"s","seq":0}"#;
        assert_eq!((error(full).code(), error(full).retry()), (429, Retry::Safe));
        let account = r#"{"error":{"code":400,"err_code":10002}}"#;
        assert_eq!((error(account).code(), error(account).retry()), (429, Retry::Safe));
        let long = r#"{"error":{"code":400,"err_code":10054,"description":"too long"}}"#;
        assert_eq!((error(long).code(), error(long).retry()), (413, Retry::Never));
        let busy = r#"{"error":{"code":503,"err_code":10008}}"#;
        assert_eq!((error(busy).code(), error(busy).retry()), (503, Retry::Unknown));
    }

    #[test]
    fn an_answer_says_whether_the_stream_had_it() {
        let read = |text| serde_json::from_str::<Answer>(text).unwrap();
        let stored = read(r#"{"stream":"s","seq":7}"#);
        assert!(!stored.duplicate && stored.error.is_none());
        assert!(read(r#"{"stream":"s","seq":7,"duplicate":true}"#).duplicate);
    }
}
