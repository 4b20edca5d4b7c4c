//! Responses as they are sent.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
    SEC_WEBSOCKET_VERSION, WWW_AUTHENTICATE,
};
#[cfg(feature = "compression")]
use http::header::{CONTENT_ENCODING, VARY};
use http::{Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};

use crate::core::content_type::ContentType;
use crate::core::error::{BoxError, Error, Retry};
use crate::core::exchange::Slot;
use crate::core::status;
#[cfg(feature = "grpc")]
use crate::server::grpc::Frames;
use crate::server::http::coding;
use crate::server::http::coding::Coding;
#[cfg(feature = "compression")]
use crate::server::http::coding::{Packed, Source};
use crate::server::http::pump::Pump;
use crate::server::roster::Busy;

const MICRO_RETRY: HeaderName = HeaderName::from_static("micro-retry");

/// The body of a response.
#[derive(Debug)]
pub(in crate::server) struct Reply {
    kind: Kind,
    /// The request counts as served until its response is gone.
    busy: Option<Busy>,
    /// What a route of the user's occupies until its response is gone.
    slot: Option<Slot>,
}

#[derive(Debug)]
enum Kind {
    Full(Bytes),
    Pump(Box<Pump>),
    #[cfg(feature = "grpc")]
    Grpc(Frames),
    #[cfg(feature = "compression")]
    Packed(Box<Packed>),
    Other(axum::body::Body),
}

impl Reply {
    /// Makes the body of one piece.
    pub(in crate::server) fn full(bytes: Bytes) -> Self {
        Self { kind: Kind::Full(bytes), busy: None, slot: None }
    }

    /// Makes the body of a stream.
    pub(super) fn pump(pump: Pump) -> Self {
        Self { kind: Kind::Pump(Box::new(pump)), busy: None, slot: None }
    }

    /// Makes the body of a call of gRPC.
    #[cfg(feature = "grpc")]
    pub(in crate::server) fn grpc(frames: Frames) -> Self {
        Self { kind: Kind::Grpc(frames), busy: None, slot: None }
    }

    /// Wraps the body of somebody else's response.
    pub(super) fn other(body: axum::body::Body) -> Self {
        Self { kind: Kind::Other(body), busy: None, slot: None }
    }

    /// Counts the request as served until the body is dropped.
    pub(super) fn hold(&mut self, busy: Busy) {
        self.busy = Some(busy);
    }

    /// Keeps a slot until the body is dropped.
    pub(super) fn occupying(mut self, slot: Slot) -> Self {
        self.slot = Some(slot);
        self
    }

    /// Returns whether there are no bytes at all.
    pub(super) fn is_empty(&self) -> bool {
        match &self.kind {
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Pump(_) => false,
            #[cfg(feature = "grpc")]
            Kind::Grpc(_) => false,
            #[cfg(feature = "compression")]
            Kind::Packed(_) => false,
            Kind::Other(body) => body.size_hint().exact() == Some(0),
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.kind {
            Kind::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Pump(pump) => {
                pump.poll_chunk(task).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
            }
            #[cfg(feature = "compression")]
            Kind::Packed(packed) => {
                let piece = std::task::ready!(packed.poll_piece(task));
                Poll::Ready(piece.map(|piece| piece.map(Frame::data).map_err(Into::into)))
            }
            #[cfg(feature = "grpc")]
            Kind::Grpc(frames) => frames.poll_frame(task),
            Kind::Other(body) => {
                Pin::new(body).poll_frame(task).map(|frame| frame.map(|f| f.map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Pump(_) => false,
            #[cfg(feature = "grpc")]
            Kind::Grpc(_) => false,
            #[cfg(feature = "compression")]
            Kind::Packed(_) => false,
            Kind::Other(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(bytes) => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Kind::Pump(_) => SizeHint::default(),
            #[cfg(feature = "grpc")]
            Kind::Grpc(_) => SizeHint::default(),
            #[cfg(feature = "compression")]
            Kind::Packed(_) => SizeHint::default(),
            Kind::Other(body) => body.size_hint(),
        }
    }
}

/// Makes a 200 with one message.
pub(super) fn message(bytes: Bytes, content_type: &ContentType) -> Response<Reply> {
    let mut response = Response::new(Reply::full(bytes));
    response.headers_mut().insert(CONTENT_TYPE, header(content_type));
    response
}

fn header(content_type: &ContentType) -> HeaderValue {
    match content_type {
        ContentType::Json => HeaderValue::from_static("application/json"),
        ContentType::MsgPack => HeaderValue::from_static("application/msgpack"),
        other => HeaderValue::from_str(other.as_str())
            .unwrap_or(HeaderValue::from_static("application/octet-stream")),
    }
}

/// Makes the response of an error: go-micro's JSON with the status of its code.
pub(super) fn error(error: &Error) -> Response<Reply> {
    let mut response = Response::new(Reply::full(error.to_json().into()));
    let status = status::http_status(error.code());
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if error.retry() == Retry::Safe {
        headers.insert(MICRO_RETRY, HeaderValue::from_static("safe"));
    }
    if let Some(delay) = error.retry_after() {
        // Whole seconds, rounded up: HTTP knows no finer unit.
        let seconds = delay.as_millis().div_ceil(1000);
        if let Ok(value) = HeaderValue::try_from(seconds.to_string()) {
            headers.insert(RETRY_AFTER, value);
        }
    }
    if status == 415 {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(coding::ACCEPTED));
    }
    if status == 426 {
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    if status == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// The shortest response that is compressed: below it headers outweigh what is gained.
#[cfg(feature = "compression")]
const PACKED_BYTES_MIN: usize = 1024;

/// Compresses a response, if that is worth while and the client reads it.
#[cfg(feature = "compression")]
pub(super) fn packed(response: Response<Reply>, coding: Option<Coding>) -> Response<Reply> {
    let (mut parts, reply) = response.into_parts();
    let short = matches!(&reply.kind, Kind::Full(bytes) if bytes.len() < PACKED_BYTES_MIN);
    if short || matches!(reply.kind, Kind::Packed(_) | Kind::Other(_)) {
        return Response::from_parts(parts, reply);
    }
    parts.headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    let Some(coding) = coding else { return Response::from_parts(parts, reply) };
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    let pack = |source| Kind::Packed(Box::new(Packed::new(source, coding)));
    let kind = match reply.kind {
        Kind::Full(bytes) => {
            Packed::at_once(&bytes, coding).map_or_else(|| pack(Source::Full(bytes)), Kind::Full)
        }
        Kind::Pump(pump) => pack(Source::Pump(pump)),
        other => other,
    };
    Response::from_parts(parts, Reply { kind, ..reply })
}

/// Leaves a response as it is.
#[cfg(not(feature = "compression"))]
pub(super) fn packed(response: Response<Reply>, _: Option<Coding>) -> Response<Reply> {
    response
}

/// Takes the body off the response to a HEAD request, whose headers stay those of a GET.
pub(super) fn headless(response: Response<Reply>) -> Response<Reply> {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(parts, Reply::full(Bytes::new()))
}

/// Makes a response of plain text.
pub(super) fn text(status: StatusCode, text: &'static str) -> Response<Reply> {
    let mut response = Response::new(Reply::full(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn errors_are_go_micros_json_with_their_status() {
        let refused = Error::too_many_requests("a", "b")
            .with_retry(Retry::Safe)
            .with_retry_after(Duration::from_millis(1500));
        let response = error(&refused);
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.headers()["micro-retry"], "safe");
        assert_eq!(response.headers()["retry-after"], "2");
        for (code, status) in [(408, 504), (423, 409), (499, 499), (520, 500), (550, 500)] {
            let response = error(&Error::new("a", code, "b"));
            assert_eq!(response.status(), status, "{code}");
            assert!(!response.headers().contains_key("micro-retry"));
        }
    }
}
