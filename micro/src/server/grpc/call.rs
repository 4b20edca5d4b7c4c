//! One call of gRPC, from its headers to its response.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response};

use crate::codec::grpc::{
    ACCEPT_ENCODING, ACCEPTED, ENCODING, Encoding, framed, write_status, written_type,
};
use crate::core::clock;
use crate::core::content_type::ContentType;
use crate::core::error::{Error, Result};
use crate::core::exchange::{Inbound, Outgoing, Target};
use crate::server::grpc::frames::Frames;
use crate::server::grpc::head::{self, Head};
use crate::server::grpc::messages::Messages;
use crate::server::grpc::paths::Missing;
use crate::server::http::body::{Payload, too_large};
use crate::server::http::call::outcome;
use crate::server::http::reply::Reply;
use crate::server::http::{Peer, Site};
use crate::server::policy::Origin;
use crate::server::router::Arrival;

impl Site {
    /// Answers a call of gRPC.
    pub(in crate::server) async fn grpc<B: Payload>(
        &self,
        peer: &Peer,
        request: Request<B>,
    ) -> Response<Reply> {
        match self.try_grpc(peer, request).await {
            Ok(response) => response,
            Err(error) => failed(&error),
        }
    }

    async fn try_grpc<B: Payload>(
        &self,
        peer: &Peer,
        request: Request<B>,
    ) -> Result<Response<Reply>> {
        self.browser.check(request.headers(), request.uri(), peer)?;
        let router = &self.router;
        let target = self.target(peer, &request)?;
        let entry = router.entry(target)?;
        let (parts, body) = request.into_parts();
        let (now, limits) = (clock::now(), &router.limits);
        let mut head = head::read(&parts.headers, now, &limits.trace)?;
        let account = router.admit(entry, head.extra.as_deref(), peer.caller())?;
        router.claim(&peer.seat, account.as_deref())?;
        router.codecs.format(&head.content_type).map_err(|error| unknown(&error))?;
        let until = router.deadline(entry, now, head.deadline);
        let messages = Messages::new(body, head.encoding, &peer.seat, limits);
        let (body, messages) = if target.kind.streams_requests() {
            (Bytes::new(), Some(messages.stream()))
        } else {
            (messages.single(limits, now, until).await?, None)
        };
        let inbound = Inbound {
            target,
            now,
            deadline: head.deadline,
            content_type: head.content_type.clone(),
            extra: head.extra.take(),
            body,
            messages,
            remote: std::sync::Arc::clone(&peer.remote),
        };
        let arrival = Arrival {
            origin: peer.origin,
            proven: &peer.proven,
            account,
            request: None,
            response: None,
        };
        let running = router.run(inbound, arrival)?;
        let bytes_max = limits.message.bytes_max;
        let frames = match outcome(&self.router, running, target).await? {
            Outgoing::Message(bytes) if bytes.len() > bytes_max => {
                return Err(too_large(bytes_max).with_id(entry.id.clone()));
            }
            Outgoing::Message(bytes) => Frames::message(framed(&bytes, head.response)?),
            Outgoing::Stream(source) => {
                // To its callers a deadline is that of the whole call.
                let deadline = head.deadline.map(|_| until);
                Frames::stream(source, head.response, bytes_max, deadline)
            }
        };
        Ok(answer(frames, &head))
    }

    /// Finds the endpoint that a request means.
    fn target<B>(&self, peer: &Peer, request: &Request<B>) -> Result<Target> {
        if request.method() != Method::POST {
            return Err(Error::method_not_allowed("micro.grpc", "calls of gRPC are made by POST"));
        }
        let path = request.uri().path();
        self.paths.find(path).map_err(|missing| match missing {
            Missing::Ambiguous(services) if self.shows(peer) => ambiguous(path, &services),
            Missing::Unknown | Missing::Ambiguous(_) => {
                let detail = self.router.missing(path, peer.origin).detail().to_owned();
                Error::unimplemented("micro.grpc", detail)
            }
        })
    }

    /// Tells whether a peer may learn which services there are.
    fn shows(&self, peer: &Peer) -> bool {
        peer.origin == Origin::Local || self.router.rule.shows_all()
    }
}

/// Makes the error of a path that several services answer.
fn ambiguous(path: &str, services: &[String]) -> Error {
    let (_, name) = path.rsplit_once('.').unwrap_or(("", path.trim_matches('/')));
    let (name, of) = (name.escape_debug(), services.join(", "));
    let first = services.first().map_or("service", String::as_str);
    let detail = format!("{name} is served by {of}; name the service, as in /{first}.{name}");
    Error::unimplemented("micro.grpc", detail)
}

/// Makes the error of a content type that no codec is for.
fn unknown(error: &Error) -> Error {
    Error::unimplemented("micro.grpc", error.detail())
}

/// Makes the response of a call whose handler has answered.
fn answer(frames: Frames, head: &Head) -> Response<Reply> {
    let mut response = Response::new(Reply::grpc(frames));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, head.answered_in());
    if head.response == Encoding::Gzip {
        headers.insert(ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
    }
    response
}

/// Makes the response of a call without any message: its headers are its trailers.
fn failed(error: &Error) -> Response<Reply> {
    let mut response = Response::new(Reply::full(Bytes::new()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, written_type(&ContentType::Proto));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
    write_status(error, headers);
    response
}
