//! The sending end of a link: the copies that one subscription of another process has of this one.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::task::Context as Task;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::broker::receipt::Settled;
use crate::core::clock;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::error::Retry;
use crate::core::exchange::Connection;
use crate::core::stream::MessageSource;

use super::Inner;
use super::give::Sending;
use super::sent::count;
use super::wire;
use super::wire::Answer;
use super::wire::Word;

/// A link without copies is given up after this time: it holds a call of its receiver.
const IDLE: Duration = Duration::from_secs(2);

/// What a subscription says to an offer.
#[derive(Debug)]
pub(super) enum Offered {
    /// It has the copy.
    Taken,
    /// It has no room.
    Full,
    /// It has ended.
    Gone,
    /// It cannot be reached, or was lost before it said anything; it may have the copy if `sent`.
    Failed {
        /// Why.
        error: Error,
        /// Whether the copy was on its way.
        sent: bool,
    },
}

/// The copies on their way to one subscription, or there and not settled.
pub(super) struct Link {
    pub(super) node: String,
    pub(super) address: String,
    /// A place for each copy that is not settled.
    pub(super) window: Arc<Semaphore>,
    state: Mutex<State>,
}

struct State {
    /// `None` once nothing more is sent.
    out: Option<mpsc::Sender<Bytes>>,
    connection: Option<Arc<dyn Connection>>,
    number: u64,
    pending: HashMap<u64, Pending>,
}

struct Pending {
    sending: Sending,
    /// Whoever offers the copy, until something is said.
    offer: Option<oneshot::Sender<Offered>>,
    _place: OwnedSemaphorePermit,
}

/// The copies as the transport asks for them.
struct Source(mpsc::Receiver<Bytes>);

impl MessageSource for Source {
    fn poll_encode(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Option<Result<()>>> {
        let next = std::task::ready!(self.0.poll_recv(task));
        Poll::Ready(next.map(|bytes| {
            out.extend_from_slice(&bytes);
            Ok(())
        }))
    }
}

impl Link {
    /// Makes a link with at most `window` unsettled copies, and what its task sends.
    pub(super) fn new(
        node: String,
        address: String,
        window: usize,
    ) -> (Arc<Self>, mpsc::Receiver<Bytes>) {
        let window = window.max(1);
        let (out, copies) = mpsc::channel(window);
        let pending = HashMap::new();
        let state = State { out: Some(out), connection: None, number: 0, pending };
        let (window, state) = (Arc::new(Semaphore::new(window)), Mutex::new(state));
        (Arc::new(Self { node, address, window, state }), copies)
    }

    /// Sends a copy; the receiver hears what is said of it. `None` if the link takes nothing more.
    pub(super) fn offer(
        &self,
        sending: &Sending,
        place: OwnedSemaphorePermit,
    ) -> Option<oneshot::Receiver<Offered>> {
        let mut state = self.lock();
        let number = state.number;
        let bytes = wire::copy(number, sending.attempts, &sending.message);
        // There is room for as many as there are places.
        state.out.as_ref()?.try_send(bytes).ok()?;
        state.number = number.wrapping_add(1);
        let (offer, said) = oneshot::channel();
        let pending = Pending { sending: sending.clone(), offer: Some(offer), _place: place };
        state.pending.insert(number, pending);
        Some(said)
    }

    /// Tells whether copies can still be sent: a connection whose peer says goodbye takes none.
    pub(super) fn is_open(&self) -> bool {
        let state = self.lock();
        state.out.is_some() && state.connection.as_ref().is_none_or(|it| it.is_open())
    }

    /// Returns how many copies are not settled.
    pub(super) fn load(&self) -> usize {
        self.lock().pending.len()
    }

    /// Sends nothing more; what was sent is still heard of.
    pub(super) fn retire(&self) {
        self.lock().out = None;
    }

    fn retire_if_idle(&self) -> bool {
        let mut state = self.lock();
        let idle = state.pending.is_empty();
        if idle {
            state.out = None;
        }
        idle
    }

    /// Runs the link to its end and passes on what it leaves behind.
    pub(super) async fn run(self: Arc<Self>, inner: Weak<Inner>, copies: mpsc::Receiver<Bytes>) {
        let mut opened = false;
        let ended = self.talk(&inner, copies, &mut opened).await;
        let pending = {
            let mut state = self.lock();
            state.out = None;
            std::mem::take(&mut state.pending)
        };
        let Some(inner) = inner.upgrade() else { return };
        inner.links.forget(&self);
        let mut returned = Vec::new();
        let mut pending: Vec<_> = pending.into_iter().collect();
        // Given again in their order.
        pending.sort_unstable_by_key(|(number, _)| *number);
        for (_, pending) in pending {
            match (pending.offer, &ended) {
                // A process that crashes over a message must not get it for ever.
                (None, _) => {
                    let mut sending = pending.sending;
                    sending.attempts = sending.attempts.saturating_add(1);
                    returned.push(sending);
                }
                (Some(offer), Ok(())) => drop(offer.send(Offered::Gone)),
                // The process is there and knows of no such subscription any more.
                (Some(offer), Err(error)) if error.code() == 404 => {
                    drop(offer.send(Offered::Gone));
                }
                (Some(offer), Err(error)) => {
                    let (error, sent) = (error.clone(), opened && error.retry() != Retry::Safe);
                    drop(offer.send(Offered::Failed { error, sent }));
                }
            }
        }
        if let Err(error) = ended {
            let (node, unsettled) = (&self.node, returned.len());
            tracing::debug!(node, unsettled, %error, "a subscription is out of reach");
        }
        inner.returned(returned);
    }

    /// Exchanges copies and answers until either side has no more.
    async fn talk(
        &self,
        inner: &Weak<Inner>,
        copies: mpsc::Receiver<Bytes>,
        opened: &mut bool,
    ) -> Result<()> {
        let Some(owner) = inner.upgrade() else { return Ok(()) };
        let connection = owner.links.connection(&self.address).await?;
        self.lock().connection = Some(Arc::clone(&connection));
        let source = Box::pin(Source(copies));
        let mut exchange = owner.links.exchange(connection, &self.node, source).await?;
        drop(owner);
        *opened = true;
        poll_fn(|task| exchange.poll_opened(task)).await?;
        let mut answers = exchange.into_stream();
        // Progress: each turn takes answers, waits, or ends the link when nothing is left.
        loop {
            let Ok(next) = clock::timeout(IDLE, answers.next()).await else {
                if self.retire_if_idle()
                    && let Some(inner) = inner.upgrade()
                {
                    inner.links.forget(self);
                }
                continue;
            };
            let Some(bytes) = next else { return Ok(()) };
            let Some(inner) = inner.upgrade() else { return Ok(()) };
            for answer in Answer::read(bytes?)? {
                self.hear(&inner, answer);
            }
        }
    }

    fn hear(&self, inner: &Arc<Inner>, answer: Answer) {
        let mut state = self.lock();
        match answer.word {
            Word::Taken => {
                let Some(pending) = state.pending.get_mut(&answer.number) else { return };
                if !pending.sending.again {
                    count(&inner.tally.copies);
                }
                // Whoever offered it may have given up; the copy is there all the same.
                if let Some(offer) = pending.offer.take() {
                    drop(offer.send(Offered::Taken));
                }
            }
            Word::Full | Word::Gone => {
                let Some(pending) = state.pending.remove(&answer.number) else { return };
                let full = answer.word == Word::Full;
                let said = if full { Offered::Full } else { Offered::Gone };
                drop(pending.offer.map(|offer| offer.send(said)));
            }
            Word::Settled(settled) => {
                let Some(pending) = state.pending.remove(&answer.number) else { return };
                drop(state);
                inner.settled(pending.sending, settled);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole, so a poisoned lock is still sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Notes what became of a copy that was taken.
    pub(super) fn settled(self: &Arc<Self>, mut sending: Sending, settled: Settled) {
        match settled {
            Settled::Acked => count(&self.tally.acked),
            Settled::Dead => count(&self.tally.dead),
            Settled::Dropped => count(&self.tally.dropped),
            Settled::Returned { attempts } => {
                sending.attempts = attempts.max(sending.attempts);
                self.returned(vec![sending]);
            }
        }
    }
}
