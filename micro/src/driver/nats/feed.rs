//! Plain messages: told, listened to and asked for.

use bytes::Bytes;
use futures_util::StreamExt;

use super::{ERROR_ID, Fault, Nats};
use crate::core::error::Result;

/// A message as it came.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// What it says.
    pub(crate) body: Bytes,
    /// Where an answer goes, if one is wanted.
    pub(crate) reply: Option<String>,
    /// Whether the server sent it in place of an answer, since nobody listens to the question.
    pub(crate) is_unheard: bool,
}

/// The messages of a subject; dropping it ends the listening.
#[derive(Debug)]
pub(crate) struct Feed(async_nats::Subscriber);

impl Feed {
    /// Waits for the next message; `None` once the client has ended. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        let message = self.0.next().await?;
        let is_unheard = message.status == Some(async_nats::StatusCode::NO_RESPONDERS);
        let reply = message.reply.map(|reply| reply.to_string());
        Some(Told { body: message.payload, reply, is_unheard })
    }
}

impl Nats {
    /// Sends a message to whoever listens.
    pub(crate) async fn tell(&self, subject: &str, body: Bytes) -> Result<()> {
        let sent = self.client().await?.publish(subject.to_owned(), body).await;
        sent.map_err(|error| {
            let what = format_args!("nats at {}: telling `{subject}`", self.server());
            Fault::from(error.kind()).error(ERROR_ID, what, error)
        })
    }

    /// Listens to a subject, from the next connection on if there is none.
    pub(crate) async fn listen(&self, subject: &str) -> Result<Feed> {
        let listening = self.client_now().subscribe(subject.to_owned()).await;
        listening.map(Feed).map_err(|error| {
            let what = format_args!("nats at {}: listening to `{subject}`", self.server());
            Fault::Refused.error(ERROR_ID, what, error)
        })
    }

    /// Sends a question, whose answers come by the feed.
    pub(crate) async fn ask(&self, subject: &str, body: Bytes) -> Result<Feed> {
        let client = self.client().await?;
        let inbox = client.new_inbox();
        let feed = self.listen(&inbox).await?;
        let sent = client.publish_with_reply(subject.to_owned(), inbox, body).await;
        sent.map_err(|error| {
            let what = format_args!("nats at {}: asking `{subject}`", self.server());
            Fault::from(error.kind()).error(ERROR_ID, what, error)
        })?;
        Ok(feed)
    }
}
