//! Answers to what a broker sends, each to whoever waits for it.
//!
//! The client has requests of its own, which keep a place for an answer that never comes and notice
//! a lost connection only by the clock. Here whoever waits learns at once that the connection is
//! another one, and gives its place back.

use std::collections::HashMap;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::oneshot;

use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::shutdown::{Shutdown, TaskTracker};
use crate::driver::{Link, Nats};

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) enum Unanswered {
    /// What was to be sent has not left.
    NotSent,
    /// It may have arrived.
    Lost,
    /// It is longer than the server takes.
    TooLarge,
}

/// What is sent.
#[derive(Debug)]
pub(in crate::broker) struct Request {
    pub(in crate::broker) subject: String,
    pub(in crate::broker) headers: Option<HeaderMap>,
    pub(in crate::broker) body: Bytes,
}

/// The inbox of one broker; its task ends with `life` or the process.
#[derive(Debug)]
pub(in crate::broker) struct Replies {
    nats: Arc<Nats>,
    tasks: TaskTracker,
    life: Shutdown,
    /// What the subjects of answers begin with.
    prefix: String,
    listens: tokio::sync::Mutex<()>,
    is_listening: AtomicBool,
    next: AtomicU64,
    slots: Arc<Slots>,
}

#[derive(Debug, Default)]
struct Slots(Mutex<HashMap<u64, Slot>>);

/// Whoever waits for an answer.
#[derive(Debug)]
struct Slot {
    /// The connection by which it was asked for.
    session: u64,
    sender: oneshot::Sender<Message>,
}

/// A slot that is given back when this is dropped.
#[derive(Debug)]
struct Taken<'a> {
    slots: &'a Slots,
    number: u64,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.slots.lock().remove(&self.number);
    }
}

impl Replies {
    pub(in crate::broker) fn new(nats: Arc<Nats>, tasks: &TaskTracker, life: &Shutdown) -> Self {
        Self {
            tasks: tasks.clone(),
            life: life.clone(),
            prefix: nats.client_now().new_inbox(),
            nats,
            listens: tokio::sync::Mutex::default(),
            is_listening: AtomicBool::new(false),
            next: AtomicU64::new(0),
            slots: Arc::default(),
        }
    }

    /// Returns the client once it is connected and answers find their way.
    ///
    /// # Errors
    /// 503, safe to repeat, when the server is away.
    pub(in crate::broker) async fn client(&self) -> Result<&Client> {
        let client = self.nats.client().await?;
        if !self.is_listening.load(SeqCst) {
            self.listen(client).await?;
        }
        Ok(client)
    }

    async fn listen(&self, client: &Client) -> Result<()> {
        let _turn = self.listens.lock().await;
        if self.is_listening.load(SeqCst) {
            return Ok(());
        }
        let inbox = client.subscribe(format!("{}.*", self.prefix)).await.map_err(|error| {
            let detail = format!("nats at {}: {error}", self.nats.server());
            Error::unavailable("micro.broker", detail).with_retry(Retry::Safe)
        })?;
        let (nats, slots) = (Arc::clone(&self.nats), Arc::clone(&self.slots));
        let life = self.life.clone();
        self.tasks.spawn("broker.nats.replies", async move {
            route(&nats, inbox, &slots, &life).await;
            slots.lock().clear();
        });
        self.is_listening.store(true, SeqCst);
        Ok(())
    }

    /// Sends something and waits for the answer; cancel safe, what is sent stays sent.
    pub(in crate::broker) async fn ask(
        &self,
        request: Request,
        patience: Duration,
    ) -> std::result::Result<Message, Unanswered> {
        let client = self.client().await.map_err(|_away| Unanswered::NotSent)?;
        let (taken, answer) = self.take(client);
        let reply = format!("{}.{}", self.prefix, taken.number);
        let Request { subject, headers, body } = request;
        let until = clock::after(clock::now(), patience);
        let sent = async {
            match headers {
                Some(headers) => {
                    client.publish_with_reply_and_headers(subject, reply, headers, body).await
                }
                None => client.publish_with_reply(subject, reply, body).await,
            }
        };
        handed_over(clock::timeout_at(until, sent).await)?;
        match clock::timeout_at(until, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(Unanswered::Lost),
        }
    }

    /// Waits until the server has taken in all that was sent before, by the connection `session`.
    pub(in crate::broker) async fn echo(
        &self,
        session: u64,
        patience: Duration,
    ) -> std::result::Result<(), Unanswered> {
        let client = self.client().await.map_err(|_away| Unanswered::Lost)?;
        let (taken, answer) = self.take(client);
        let subject = format!("{}.{}", self.prefix, taken.number);
        let until = clock::after(clock::now(), patience);
        let sent = clock::timeout_at(until, client.publish(subject, Bytes::new())).await;
        handed_over(sent).map_err(|_away| Unanswered::Lost)?;
        match clock::timeout_at(until, answer).await {
            Ok(Ok(_)) if self.session() == session => Ok(()),
            _ => Err(Unanswered::Lost),
        }
    }

    /// Returns the number of the connection.
    pub(in crate::broker) fn session(&self) -> u64 {
        session(self.nats.client_now())
    }

    pub(in crate::broker) fn nats(&self) -> &Arc<Nats> {
        &self.nats
    }

    fn take(&self, client: &Client) -> (Taken<'_>, oneshot::Receiver<Message>) {
        let number = self.next.fetch_add(1, Relaxed);
        let (sender, answer) = oneshot::channel();
        // Limit: as many as publish at a time, each for a limited time.
        self.slots.lock().insert(number, Slot { session: session(client), sender });
        (Taken { slots: &self.slots, number }, answer)
    }
}

impl Slots {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Slot>> {
        // Every critical section leaves the state whole, so a poisoned lock is still sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn session(client: &Client) -> u64 {
    client.statistics().connects.load(SeqCst)
}

fn handed_over(
    sent: std::result::Result<
        std::result::Result<(), async_nats::client::PublishError>,
        clock::Elapsed,
    >,
) -> std::result::Result<(), Unanswered> {
    match sent {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => match error.kind() {
            async_nats::client::PublishErrorKind::MaxPayloadExceeded => Err(Unanswered::TooLarge),
            // The client is gone, or did not like the subject.
            _ => Err(Unanswered::NotSent),
        },
        // There was no room for it in the client.
        Err(_) => Err(Unanswered::NotSent),
    }
}

/// Hands out answers; forgets those that a lost connection was to bring.
async fn route(nats: &Nats, mut inbox: Subscriber, slots: &Slots, life: &Shutdown) {
    let mut sessions = nats.sessions();
    loop {
        // Cancel safety: a message is handed out as soon as it is taken from the inbox.
        let message = tokio::select! {
            biased;
            message = inbox.next() => message,
            changed = sessions.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = session(nats.client_now());
                let is_up = nats.is_up();
                slots.lock().retain(|_, slot| is_up && slot.session == now);
                continue;
            }
            () = life.closed() => return,
        };
        let Some(message) = message else { return };
        let number = message.subject.rsplit('.').next().and_then(|last| last.parse().ok());
        let slot = number.and_then(|number: u64| slots.lock().remove(&number));
        if let Some(slot) = slot {
            // Whoever asked may have left.
            let _left = slot.sender.send(message).is_err();
        }
    }
}
