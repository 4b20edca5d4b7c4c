//! One call of go-micro's, from its headers to its answer.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::HeaderMap;
use http::request::Parts;
use http::{Request, Response, Version};

use crate::codec::envelope::{Envelope, Id, Label};
use crate::core::account::Account;
use crate::core::clock::{self, Instant};
use crate::core::descriptor::CallKind;
use crate::core::error::{Error, Result};
use crate::core::exchange::{Extra, Inbound, Outgoing, Target};
use crate::server::http::body::{Payload, Room, read, too_large};
use crate::server::http::call::outcome;
use crate::server::http::face::{Peer, Site};
use crate::server::http::head;
use crate::server::http::mucp::answer::{self, Failure};
use crate::server::http::mucp::stream::Opened;
use crate::server::http::mucp::{Asked, TakeOver};
use crate::server::http::reply::Reply;
use crate::server::policy::Origin;
use crate::server::router::{Arrival, Router};
use crate::transport::mucp::headers::Headers;

/// What a call came to.
enum Done {
    Message(Bytes),
    /// The connection goes on as a stream.
    Stream(Box<Opened>),
}

/// What is known of a call before its body is.
pub(super) struct Told {
    pub(super) now: Instant,
    pub(super) deadline: Option<Instant>,
    pub(super) extra: Option<Box<Extra>>,
}

/// A call that may run.
pub(super) struct Admitted {
    pub(super) target: Target,
    pub(super) account: Option<Arc<Account>>,
}

impl Site {
    /// Answers a call of go-micro's.
    pub(in crate::server::http) async fn mucp<B: Payload>(
        &self,
        peer: &Peer,
        mut asked: Asked,
        request: Request<B>,
    ) -> Response<Reply> {
        let (parts, body) = request.into_parts();
        let mut headers = answer::repeated(&parts.headers);
        let done = self.try_mucp(peer, &mut asked, &parts, body).await;
        answer::label(&mut headers, &asked);
        let sealed = match done {
            Ok(Done::Stream(opened)) => {
                return TakeOver::response(move |io, rest| opened.run(headers, asked, io, rest));
            }
            Ok(Done::Message(message)) => {
                answer::success(&mut headers, &asked);
                sealed(&asked, None, &message).map_err(|error| Failure::from(&error))
            }
            Err(failure) => Err(failure),
        };
        let body = sealed.unwrap_or_else(|failure| {
            answer::failure(&mut headers, &asked, &failure);
            explained(&mut headers, &asked, &failure)
        });
        respond(&headers, body)
    }

    async fn try_mucp<B: Payload>(
        &self,
        peer: &Peer,
        asked: &mut Asked,
        parts: &Parts,
        mut body: B,
    ) -> Result<Done, Failure> {
        let (now, limits) = (clock::now(), &self.router.limits);
        let headers = timed(&parts.headers);
        let read_head = head::read(&headers, now, &self.router.codecs, &limits.trace);
        let head = read_head.map_err(|error| Failure::from(&error))?;
        let mut told = Told { now, deadline: head.deadline, extra: head.extra };
        let admitted = if asked.legacy { None } else { Some(self.enter(peer, asked, &told)?) };
        let until = match &admitted {
            Some(admitted) => {
                let entry = self.router.entry(admitted.target).map_err(|e| Failure::from(&e))?;
                self.router.deadline(entry, now, told.deadline)
            }
            None => clock::after(now, limits.call.default_timeout),
        };
        let room = Room::new(&*peer.seat, limits.message.reassembly_bytes_max);
        let whole = read(&mut body, limits, (now, until), room).await;
        let whole = whole.map_err(|error| Failure::from(&error))?;
        peer.seat.unread.store(false, Ordering::Relaxed);
        let opened = asked.form.open_request(&whole).map_err(|error| Failure::from(&error));
        let (said, message) = opened?;
        let admitted = match admitted {
            Some(admitted) => admitted,
            None => {
                asked.endpoint = said.endpoint;
                if asked.id.is_empty() {
                    asked.id = said.id.to_string();
                }
                self.enter(peer, asked, &told)?
            }
        };
        if asked.stream.is_some() && streams(admitted.target.kind) {
            return self.open(peer, (told, admitted), parts.version).map_err(|e| Failure::from(&e));
        }
        let inbound = Inbound {
            target: admitted.target,
            now,
            deadline: told.deadline,
            content_type: asked.form.message.clone(),
            extra: told.extra.take(),
            body: message,
            messages: None,
            remote: Arc::clone(&peer.remote),
        };
        let message = self.run_once(peer, inbound, admitted.account).await;
        message.map(Done::Message).map_err(|error| Failure::from(&error))
    }

    /// Finds the endpoint and decides whether the caller may go on.
    fn enter(&self, peer: &Peer, asked: &Asked, told: &Told) -> Result<Admitted, Failure> {
        let router = &*self.router;
        let target = find(router, asked, peer.origin)?;
        let admit = || {
            let entry = router.entry(target)?;
            let account = router.admit(entry, told.extra.as_deref(), peer.caller())?;
            router.claim(&peer.seat, account.as_deref())?;
            if streams(target.kind) && asked.stream.is_none() {
                let detail = "the endpoint has a stream, which a request opens with `Micro-Stream`";
                return Err(Error::unimplemented(entry.id.clone(), detail));
            }
            Ok(Admitted { target, account })
        };
        admit().map_err(|error: Error| Failure::from(&error))
    }

    async fn run_once(
        &self,
        peer: &Peer,
        inbound: Inbound,
        account: Option<Arc<Account>>,
    ) -> Result<Bytes> {
        let target = inbound.target;
        let arrival = Arrival {
            origin: peer.origin,
            proven: &peer.proven,
            account,
            request: None,
            response: None,
        };
        let max = self.router.limits.message.bytes_max;
        match outcome(&self.router, self.router.run(inbound, arrival)?, target).await? {
            Outgoing::Message(bytes) if bytes.len() > max => Err(too_large(max)),
            Outgoing::Message(bytes) => Ok(bytes),
            Outgoing::Stream(_) => {
                Err(Error::internal("micro.server", "the handler made a stream of one response"))
            }
        }
    }

    /// Makes what goes on with the connection of a stream.
    fn open(
        &self,
        peer: &Peer,
        (told, admitted): (Told, Admitted),
        version: Version,
    ) -> Result<Done> {
        if version != Version::HTTP_11 {
            let detail = "streams of go-micro need HTTP/1.1 and a connection of their own";
            return Err(Error::unimplemented("micro.server", detail));
        }
        let router = Arc::clone(&self.router);
        let opened = Opened { router, peer: peer.clone(), told, admitted };
        Ok(Done::Stream(Box::new(opened)))
    }
}

fn streams(kind: CallKind) -> bool {
    kind.streams_requests() || kind.streams_responses()
}

/// Leaves out a time of zero, which means none to go-micro.
fn timed(headers: &HeaderMap) -> Cow<'_, HeaderMap> {
    let none = headers.get("timeout").is_some_and(|value| {
        let value = value.as_bytes().trim_ascii();
        value.iter().all(|byte| *byte == b'0')
    });
    if !none {
        return Cow::Borrowed(headers);
    }
    let mut headers = headers.clone();
    headers.remove("timeout");
    Cow::Owned(headers)
}

/// Finds the endpoint of a call; what is missing is said in go-micro's words.
fn find(router: &Router, asked: &Asked, origin: Origin) -> Result<Target, Failure> {
    let endpoint = asked.endpoint.as_str();
    let path = format!("/{}/{endpoint}", asked.service);
    if let Some(target) = router.table.find(&path).or_else(|| router.table.only(endpoint)) {
        return Ok(target);
    }
    let words = match endpoint.split_once('.') {
        Some((kind, method)) if !kind.is_empty() && !method.is_empty() => {
            if router.table.has_type(kind) && origin == Origin::Local {
                format!("rpc: can't find method {method}")
            } else {
                format!("rpc: can't find service {kind}")
            }
        }
        _ => format!("rpc: service/endpoint request ill-formed: {endpoint}"),
    };
    Err(Failure::words(words, &Error::not_found("micro.server", "there is no such endpoint")))
}

/// Puts an answer into the envelope of its request.
pub(super) fn sealed(asked: &Asked, error: Option<&str>, message: &[u8]) -> Result<Vec<u8>> {
    let mut label = Label::new("", Id::of(&asked.id));
    label.error = error.map(str::to_owned);
    let mut out = Vec::with_capacity(message.len() + 1);
    asked.form.seal_response(&label, message, &mut out)?;
    Ok(out)
}

/// Makes the body of an answer that failed: envelopes say it once more, others are empty.
fn explained(headers: &mut Headers, asked: &Asked, failure: &Failure) -> Vec<u8> {
    if failure.code == 415 {
        // What go-micro itself says, for people; its clients read the header.
        headers.set("Content-Type", "text/plain");
        return format!("Unsupported Content-Type: {}", asked.content_type).into_bytes();
    }
    match asked.form.envelope {
        Envelope::Bare | Envelope::Grpc => Vec::new(),
        // The header says it anyway.
        _ => sealed(asked, Some(&failure.text), &[]).unwrap_or_default(),
    }
}

fn respond(headers: &Headers, body: Vec<u8>) -> Response<Reply> {
    let mut response = Response::new(Reply::full(body.into()));
    headers.append_to(response.headers_mut());
    response
}
