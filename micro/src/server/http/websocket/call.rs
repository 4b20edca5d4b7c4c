//! One call on a connection of its own.

use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::core::account::Account;
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::{Error, Result};
use crate::core::exchange::{Inbound, Outgoing as Outcome, Target};
use crate::core::stream::BoxSource;
use crate::server::http::body::too_large;
use crate::server::http::call::outcome;
use crate::server::http::face::Peer;
use crate::server::http::head::Head;
use crate::server::http::websocket::old_at;
use crate::server::http::websocket::requests::{Part, Parts, queue, read, stream};
use crate::server::http::websocket::talk::{Ending, beating, end};
use crate::server::router::{Arrival, Router};
use crate::transport::websocket::{Beat, Message, Outgoing, Wire};

/// Messages in a row after which others get their turn.
const MESSAGES_AT_ONCE: usize = 128;

/// A call that was admitted.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) router: Arc<Router>,
    pub(super) peer: Peer,
    pub(super) target: Target,
    /// When the handshake came.
    pub(super) now: Instant,
    pub(super) head: Head,
    pub(super) account: Option<Arc<Account>>,
    /// Whether messages are text.
    pub(super) text: bool,
}

/// Runs a call to its end. A caller that leaves takes its handler along, unless that is detached.
pub(super) async fn serve(call: Call, upgrade: OnUpgrade) {
    // A client that is gone by now has seen nothing of the call.
    let Ok(upgraded) = upgrade.await else { return };
    let limits = Arc::clone(&call.router.limits);
    let wire = Wire::accepted(TokioIo::new(upgraded), &limits).await;
    let mut beat = wire.beat(&limits);
    let (mut outgoing, mut incoming) = wire.split();
    let (seat, old) = (Arc::clone(&call.peer.seat), old_at(&call.peer, &limits.connection));
    let (sender, parts) = queue();
    let (text, one) = (call.text, !call.target.kind.streams_requests());
    // Whichever comes first ends the call: the others are dropped, the handler among them.
    let ending = tokio::select! {
        biased;
        () = seat.cut() => Ending::Away,
        () = clock::sleep_until(old) => Ending::Away,
        ending = read(&mut incoming, sender, text, one) => ending,
        ending = answer(call, parts, &mut outgoing, &mut beat) => ending,
    };
    end(ending, outgoing, incoming).await;
}

/// Answers a call.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    call: Call,
    parts: Parts,
    outgoing: &mut Outgoing<S>,
    beat: &mut Beat,
) -> Ending {
    let (text, bytes_max) = (call.text, call.router.limits.message.bytes_max);
    let outcome = match beating(outgoing, beat, run(call, parts)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => return error.into(),
        Err(ended) => return ended.into(),
    };
    let sent = match outcome {
        Outcome::Message(bytes) if bytes.len() > bytes_max => return too_large(bytes_max).into(),
        Outcome::Message(bytes) => outgoing.feed(message(bytes, text)).await.map_err(Ending::from),
        Outcome::Stream(source) => pump(source, (text, bytes_max), outgoing, beat).await,
    };
    sent.err().unwrap_or(Ending::Done)
}

fn message(bytes: Bytes, text: bool) -> Message {
    if text { Message::Text(bytes) } else { Message::Binary(bytes) }
}

/// Runs the handler, once its request is here.
async fn run(call: Call, mut parts: Parts) -> Result<Outcome> {
    let Call { router, peer, target, now, head, account, .. } = call;
    let (body, messages) = if target.kind.streams_requests() {
        (Bytes::new(), Some(stream(parts)))
    } else {
        let until = router.deadline(router.entry(target)?, now, head.deadline);
        (request(&mut parts, until).await?, None)
    };
    let inbound = Inbound {
        target,
        now,
        deadline: head.deadline,
        content_type: head.content_type,
        extra: head.extra,
        body,
        messages,
        remote: Arc::clone(&peer.remote),
    };
    let arrival = Arrival {
        origin: peer.origin,
        proven: &peer.proven,
        account,
        request: None,
        response: None,
    };
    let running = router.run(inbound, arrival)?;
    outcome(&router, running, target).await
}

/// Waits for the only request.
async fn request(parts: &mut Parts, until: Instant) -> Result<Bytes> {
    match clock::timeout_at(until, parts.recv()).await {
        Ok(Some(Part::Request(request))) => Ok(request),
        Ok(Some(Part::End) | None) => Ok(Bytes::new()),
        Err(_) => {
            let detail = "the deadline of the call passed before its request came";
            Err(Error::timeout("micro.server", detail))
        }
    }
}

/// Sends a stream of responses as fast as the peer reads.
async fn pump<S: AsyncRead + AsyncWrite + Unpin>(
    mut source: BoxSource,
    (text, bytes_max): (bool, usize),
    outgoing: &mut Outgoing<S>,
    beat: &mut Beat,
) -> Result<(), Ending> {
    let mut in_a_row = 0;
    // Progress: each turn takes a message of the source.
    loop {
        let mut out = Vec::new();
        let ready =
            std::future::poll_fn(|task| Poll::Ready(source.as_mut().poll_encode(task, &mut out)));
        let next = match ready.await {
            Poll::Ready(next) => next,
            Poll::Pending => {
                in_a_row = 0;
                outgoing.flush().await?;
                let next = std::future::poll_fn(|task| source.as_mut().poll_encode(task, &mut out));
                beating(outgoing, beat, next).await?
            }
        };
        match next {
            None => return Ok(()),
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(())) if out.len() > bytes_max => return Err(too_large(bytes_max).into()),
            Some(Ok(())) => outgoing.feed(message(out.into(), text)).await?,
        }
        in_a_row += 1;
        if in_a_row >= MESSAGES_AT_ONCE {
            in_a_row = 0;
            tokio::task::yield_now().await;
        }
    }
}
