//! One call over HTTP, from its headers to its response.

use std::sync::atomic::Ordering;
use std::task::Poll;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, Version};

use crate::codec::sequence::{NDJSON, Row};
use crate::core::clock;
use crate::core::content_type::ContentType;
use crate::core::context::Context;
use crate::core::descriptor::CallKind;
use crate::core::error::{Error, Result};
use crate::core::exchange::{Inbound, Outgoing, Running, Target};
use crate::core::stream::BoxSource;
use crate::server::http::accept::{Accepted, EVENT_STREAM};
use crate::server::http::body::{Payload, Room, read, too_large};
use crate::server::http::coding::Coding;
#[cfg(feature = "compression")]
use crate::server::http::coding::Unpacked;
use crate::server::http::face::{Peer, Site};
use crate::server::http::head::{self, Head};
use crate::server::http::lines::messages;
use crate::server::http::pump::{Framing, Pump};
use crate::server::http::query;
use crate::server::http::reply::{self, Reply};
use crate::server::router::{Arrival, Router};

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
        let (parts, body) = request.into_parts();
        let (now, limits) = (clock::now(), &router.limits);
        let mut head = head::read(&parts.headers, now, &router.codecs, &limits.trace)?;
        let asked = check_kind(target.kind, &parts, &head)?;
        let extra = head.extra.as_deref();
        let account = router.admit(entry, extra, peer.caller())?;
        router.claim(&peer.seat, account.as_deref())?;
        let accepted = std::mem::take(&mut head.accepted);
        let given =
            || if asked == Asked::Query { ContentType::Json } else { head.content_type.clone() };
        let answered_in = accepted.format.clone().unwrap_or_else(given);
        let differs = asked == Asked::Query || answered_in != head.content_type;
        // Known before the handler runs: a response that has no form must cost nothing.
        let streams = target.kind.streams_responses();
        let form = streams.then(|| framing(&accepted, &answered_in)).transpose()?;
        let until = router.deadline(entry, now, head.deadline);
        let (body, messages) = match asked {
            Asked::Query => (query_of(&parts), None),
            Asked::Stream(row) => {
                let body = unpacked(body, head.coding);
                (Bytes::new(), Some(messages(body, row, limits.message.bytes_max)))
            }
            Asked::Message => {
                let room = Room::new(&*peer.seat, limits.message.reassembly_bytes_max);
                let mut body = unpacked(body, head.coding);
                (read(&mut body, limits, (now, until), room).await?, None)
            }
        };
        if asked != Asked::Query {
            // The body that somebody sends with a query is never read.
            peer.seat.unread.store(messages.is_some(), Ordering::Relaxed);
        }
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
        let arrival = Arrival {
            origin: peer.origin,
            proven: &peer.proven,
            account,
            request: (asked == Asked::Query).then(query::format),
            response: differs.then(|| answered_in.clone()),
        };
        let running = router.run(inbound, arrival)?;
        let response = match outcome(router, running, target).await? {
            Outgoing::Message(bytes) if bytes.len() > limits.message.bytes_max => {
                return Err(too_large(limits.message.bytes_max).with_id(entry.id.clone()));
            }
            Outgoing::Message(bytes) => reply::message(bytes, &answered_in),
            Outgoing::Stream(source) => {
                let form = form.map_or_else(|| framing(&accepted, &answered_in), Ok)?;
                stream(source, form, limits.message.bytes_max)
            }
        };
        Ok(reply::packed(response, accepted.coding))
    }
}

/// Runs a call to its end or its deadline.
pub(in crate::server) async fn outcome(
    router: &Router,
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
        let task = router.tasks.spawn("detached", running);
        clock::timeout_at(deadline, task).await.map(|done| done.and_then(|done| done))
    } else {
        clock::timeout_at(deadline, running).await
    };
    done.unwrap_or_else(|_| Err(late(&context)))
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

/// Where the request of a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// In the query.
    Query,
    /// It is the body.
    Message,
    /// It is a stream in the body.
    Stream(Row),
}

/// Tells where the request of a call is, and refuses calls that HTTP has no form for.
fn check_kind(kind: CallKind, parts: &Parts, head: &Head) -> Result<Asked> {
    if parts.method != Method::POST {
        return Ok(Asked::Query);
    }
    if kind == CallKind::Bidi && parts.version != Version::HTTP_2 {
        let detail = "streams both ways at once need HTTP/2 here, or WebSocket or a micro client";
        return Err(Error::unimplemented("micro.server", detail));
    }
    if !kind.streams_requests() {
        return Ok(Asked::Message);
    }
    Row::of(&head.content_type).map(Asked::Stream).ok_or_else(|| {
        let given = head.content_type.as_str().escape_debug();
        let detail = format!("requests stream as {NDJSON} or application/msgpack, not as {given}");
        Error::new("micro.server", 415, detail)
    })
}

/// Returns the query of a request.
fn query_of(parts: &Parts) -> Bytes {
    Bytes::copy_from_slice(parts.uri.query().unwrap_or_default().as_bytes())
}

/// Reads a body through what decompresses it.
#[cfg(feature = "compression")]
pub(super) fn unpacked<B: Payload>(body: B, coding: Option<Coding>) -> Unpacked<B> {
    Unpacked::new(body, coding)
}

/// Reads a body as it comes: one that is compressed was refused before.
#[cfg(not(feature = "compression"))]
pub(super) fn unpacked<B: Payload>(body: B, _: Option<Coding>) -> B {
    body
}

/// How a stream is written, and the content type that says so.
type Form = (Framing, &'static str);

/// Decides how a stream of responses is written.
///
/// # Errors
/// 406 when the format of the messages has no way to tell one from the next.
fn framing(accepted: &Accepted, content_type: &ContentType) -> Result<Form> {
    if accepted.events && *content_type == ContentType::Json {
        return Ok((Framing::Events, EVENT_STREAM));
    }
    match Row::of(content_type) {
        Some(row) => Ok((Framing::Row(row), row.content_type())),
        None => {
            let other = content_type.as_str().escape_debug();
            let detail = format!(
                "responses stream as {NDJSON}, {EVENT_STREAM} or application/msgpack, not as {other}"
            );
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
