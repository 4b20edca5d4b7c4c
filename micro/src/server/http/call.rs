//! One call over HTTP, from its headers to its response.

use std::sync::atomic::Ordering;
use std::task::Poll;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, Version};

use crate::core::clock;
use crate::core::content_type::ContentType;
use crate::core::context::Context;
use crate::core::descriptor::CallKind;
use crate::core::error::{Error, Result};
use crate::core::exchange::{Inbound, Outgoing, Running, Target};
use crate::core::stream::BoxSource;
use crate::server::http::accept::{Accepted, EVENT_STREAM, NDJSON};
use crate::server::http::body::{Payload, Room, read, too_large};
use crate::server::http::face::{Peer, Site};
use crate::server::http::head::{self, Head};
use crate::server::http::lines::lines;
use crate::server::http::pump::{Framing, Pump};
use crate::server::http::reply::{self, Reply};
use crate::server::router::Arrival;

impl Site {
    /// Answers a call of an endpoint.
    pub(super) async fn call<B: Payload>(
        &self,
        peer: &Peer,
        target: Target,
        request: Request<B>,
    ) -> Response<Reply> {
        match self.try_call(peer, target, request).await {
            Ok(response) => response,
            Err(error) => reply::error(&error),
        }
    }

    async fn try_call<B: Payload>(
        &self,
        peer: &Peer,
        target: Target,
        request: Request<B>,
    ) -> Result<Response<Reply>> {
        let router = &self.router;
        let entry = router.entry(target)?;
        let (parts, mut body) = request.into_parts();
        let (now, limits) = (clock::now(), &router.limits);
        let mut head = head::read(&parts.headers, now, &router.codecs, &limits.trace)?;
        check_kind(target.kind, parts.version, &head)?;
        let extra = head.extra.as_deref();
        let account = router.admit(entry, extra, peer.caller())?;
        router.claim(&peer.seat, account.as_deref())?;
        let accepted = std::mem::take(&mut head.accepted);
        let response = accepted.format.clone().filter(|format| *format != head.content_type);
        let answered_in = response.clone().unwrap_or_else(|| head.content_type.clone());
        // Known before the handler runs: a response that has no form must cost nothing.
        let streams = target.kind.streams_responses();
        let form = streams.then(|| framing(&accepted, &answered_in)).transpose()?;
        let until = router.deadline(entry, now, head.deadline);
        let (body, messages) = if target.kind.streams_requests() {
            (Bytes::new(), Some(lines(body, limits.message.bytes_max)))
        } else {
            let room = Room::new(&*peer.seat, limits.message.reassembly_bytes_max);
            (read(&mut body, limits, (now, until), room).await?, None)
        };
        peer.seat.unread.store(messages.is_some(), Ordering::Relaxed);
        let inbound = Inbound {
            target,
            now,
            deadline: head.deadline,
            content_type: head.content_type,
            extra: head.extra,
            body,
            messages,
            remote: std::sync::Arc::clone(&peer.remote),
        };
        let running = router.run(
            inbound,
            Arrival { origin: peer.origin, proven: &peer.proven, account, response },
        )?;
        match self.outcome(running, target).await? {
            Outgoing::Message(bytes) if bytes.len() > limits.message.bytes_max => {
                Err(too_large(limits.message.bytes_max).with_id(entry.id.clone()))
            }
            Outgoing::Message(bytes) => Ok(reply::message(bytes, &answered_in)),
            Outgoing::Stream(source) => {
                let form = form.map_or_else(|| framing(&accepted, &answered_in), Ok)?;
                Ok(stream(source, form, limits.message.bytes_max))
            }
        }
    }

    /// Runs a call to its end or its deadline.
    pub(in crate::server) async fn outcome(
        &self,
        mut running: Running,
        target: Target,
    ) -> Result<Outgoing> {
        // Most handlers are done at once and need no timer.
        let first =
            std::future::poll_fn(|task| Poll::Ready(std::pin::Pin::new(&mut running).poll(task)));
        if let Poll::Ready(done) = first.await {
            return done;
        }
        let context = running.context();
        let Some(deadline) = context.deadline() else { return running.await };
        let done = if target.detached {
            let _left = Left(context.clone());
            let task = self.router.tasks.spawn("detached", running);
            clock::timeout_at(deadline, task).await.map(|done| done.and_then(|done| done))
        } else {
            clock::timeout_at(deadline, running).await
        };
        done.unwrap_or_else(|_| Err(late(&context)))
    }
}

/// Tells a detached handler that nobody waits for it any more.
struct Left(Context);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn late(context: &Context) -> Error {
    let service = context.service().unwrap_or("micro");
    let endpoint = context.spec().map_or("", |spec| spec.name);
    Error::timeout(
        format!("{service}.{endpoint}"),
        "the deadline of the call passed in the handler",
    )
}

/// Refuses calls that HTTP has no form for.
fn check_kind(kind: CallKind, version: Version, head: &Head) -> Result<()> {
    if kind == CallKind::Bidi && version != Version::HTTP_2 {
        let detail = "streams both ways at once need HTTP/2 here, or WebSocket or a micro client";
        return Err(Error::unimplemented("micro.server", detail));
    }
    if kind.streams_requests() && head.content_type != ContentType::Json {
        let given = head.content_type.as_str().escape_debug();
        let detail = format!("requests stream as {NDJSON}, not as {given}");
        return Err(Error::new("micro.server", 415, detail));
    }
    Ok(())
}

/// How a stream is written, and the content type that says so.
type Form = (Framing, &'static str);

/// Decides how a stream of responses is written.
///
/// # Errors
/// 406 when the format of the messages has no way to tell one from the next.
fn framing(accepted: &Accepted, content_type: &ContentType) -> Result<Form> {
    match content_type {
        ContentType::Json if accepted.events => Ok((Framing::Events, EVENT_STREAM)),
        ContentType::Json => Ok((Framing::Lines, NDJSON)),
        ContentType::MsgPack => Ok((Framing::Values, "application/msgpack")),
        other => {
            let other = other.as_str().escape_debug();
            let detail = format!("responses stream as {NDJSON} or {EVENT_STREAM}, not as {other}");
            Err(Error::new("micro.server", 406, detail))
        }
    }
}

/// Makes the response of a stream.
fn stream(source: BoxSource, (framing, name): Form, bytes_max: usize) -> Response<Reply> {
    let mut response = Response::new(Reply::pump(Pump::new(source, framing, bytes_max)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(name));
    // Proxies that collect a response before they pass it on would hold back a stream.
    headers.insert("cache-control", HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
