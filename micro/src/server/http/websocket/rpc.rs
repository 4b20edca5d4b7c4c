//! JSON-RPC, a document in each message.

use std::sync::Arc;

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::shutdown::TaskHandle;
use crate::server::http::rpc::{Caller, PARALLEL_MAX, answer};
use crate::server::http::websocket::old_at;
use crate::server::http::websocket::talk::{Ending, end};
use crate::server::roster::Order;
use crate::transport::websocket::{Beat, Ended, Incoming, Message, Outgoing, Pulse, Wire, code};

/// Answers that wait to be sent.
const ANSWERS_WAITING: usize = 1;

/// Serves a connection until its peer leaves, is gone or idle, or the server drains.
pub(super) async fn serve(caller: Arc<Caller>, upgrade: OnUpgrade) {
    let Ok(upgraded) = upgrade.await else { return };
    let limits = Arc::clone(&caller.router.limits);
    let wire = Wire::accepted(TokioIo::new(upgraded), &limits).await;
    let mut beat = wire.beat(&limits);
    let (mut outgoing, mut incoming) = wire.split();
    let (seat, old) = (Arc::clone(&caller.peer.seat), old_at(&caller.peer, &limits.connection));
    let ending = tokio::select! {
        biased;
        () = seat.cut() => Ending::Away,
        () = clock::sleep_until(old) => Ending::Away,
        ending = converse(&caller, &mut outgoing, &mut incoming, &mut beat) => ending,
    };
    end(ending, outgoing, incoming).await;
}

/// Answers documents, several at a time and in the order in which they are done.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    caller: &Arc<Caller>,
    outgoing: &mut Outgoing<S>,
    incoming: &mut Incoming<S>,
    beat: &mut Beat,
) -> Ending {
    let places = Arc::new(Semaphore::new(PARALLEL_MAX));
    let (sender, mut answers) = mpsc::channel::<String>(ANSWERS_WAITING);
    let mut running: Vec<TaskHandle> = Vec::new();
    let seat = &caller.peer.seat;
    let idle = caller.router.limits.connection.server_idle_timeout;
    let mut idle_at = clock::after(clock::now(), idle);
    let (mut drains, mut held) = (false, None);
    // Progress: each turn waits for an event.
    loop {
        drains = drains || seat.order() != Order::Serve;
        incoming.pause(held.is_some());
        let event = tokio::select! {
            biased;
            Some(answer) = answers.recv() => Event::Answer(answer),
            () = done(&places, drains && held.is_none()) => Event::Over,
            () = seat.told(), if !drains => Event::Told,
            read = next(incoming, idle_at), if held.is_none() => read,
            Ok(place) = Arc::clone(&places).acquire_owned(), if held.is_some() => {
                Event::Place(place)
            }
            pulse = beat.next() => Event::Pulse(pulse),
        };
        match event {
            Event::Answer(answer) => {
                let sent = outgoing.feed(Message::Text(answer.into())).await;
                if let Err(ended) = flushed(sent, outgoing).await {
                    return ended.into();
                }
            }
            // Read ahead of its turn, so that a peer that leaves meanwhile is noticed.
            Event::Document(document) => {
                idle_at = clock::after(clock::now(), idle);
                held = Some(document);
            }
            Event::Place(place) => {
                running.retain(|task| !task.is_finished());
                let document = held.take().unwrap_or_default();
                running.push(spawn(caller, document, place, &sender));
            }
            Event::Told => {}
            // A peer that has nothing to ask makes room for others, unless it waits for answers.
            Event::Idle if places.available_permits() < PARALLEL_MAX => {
                idle_at = clock::after(clock::now(), idle);
            }
            Event::Idle => return Ending::Away,
            Event::Over => return Ending::Away,
            Event::Ended(ended) => return ended.into(),
            Event::Pulse(Pulse::Ask) => {
                if let Err(ended) = outgoing.ping().await {
                    return ended.into();
                }
            }
            Event::Pulse(Pulse::Dead) => return Ended::Gone.into(),
        }
    }
}

enum Event {
    Answer(String),
    Document(Bytes),
    /// The document at hand has its turn.
    Place(OwnedSemaphorePermit),
    Pulse(Pulse),
    /// An order came.
    Told,
    /// Nothing was asked for a long time.
    Idle,
    /// Nothing runs and the server drains.
    Over,
    Ended(Ended),
}

async fn flushed<S: AsyncRead + AsyncWrite + Unpin>(
    fed: Result<(), Ended>,
    outgoing: &mut Outgoing<S>,
) -> Result<(), Ended> {
    fed?;
    outgoing.flush().await
}

/// Waits until nothing runs, if the connection is to end then.
async fn done(places: &Semaphore, drains: bool) {
    if !drains {
        return std::future::pending().await;
    }
    // Never closed; whoever holds a place gives it back once its answer is queued.
    let all = u32::try_from(PARALLEL_MAX).unwrap_or(u32::MAX);
    let _all = places.acquire_many(all).await;
}

/// Waits for a document. Cancel safe.
async fn next<S: AsyncRead + AsyncWrite + Unpin>(
    incoming: &mut Incoming<S>,
    idle_at: Instant,
) -> Event {
    match clock::timeout_at(idle_at, incoming.next()).await {
        Err(_) => Event::Idle,
        Ok(Ok(Message::Text(text))) => Event::Document(text),
        Ok(Ok(Message::Binary(_))) => Event::Ended(Ended::Broke(code::UNSUPPORTED)),
        Ok(Err(ended)) => Event::Ended(ended),
    }
}

/// Answers a document in a task of its own, which ends with the connection.
fn spawn(
    caller: &Arc<Caller>,
    document: Bytes,
    place: OwnedSemaphorePermit,
    sender: &mpsc::Sender<String>,
) -> TaskHandle {
    let (caller, sender) = (Arc::clone(caller), sender.clone());
    let tasks = caller.router.tasks.clone();
    let task = async move {
        let _place = place;
        if let Some(answer) = answer(&caller, &document).await {
            // The connection may be gone, and with it whoever waits.
            let _sent = sender.send(answer).await;
        }
    };
    tasks.spawn("rpc", task).abort_on_drop()
}
