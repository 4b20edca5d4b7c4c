//! Responses as they are sent.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};

use crate::core::content_type::ContentType;
use crate::core::error::{BoxError, Error, Retry};
use crate::core::exchange::Slot;
use crate::core::status;
#[cfg(feature = "grpc")]
use crate::server::grpc::Frames;
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
                let chunk = std::task::ready!(pump.poll_chunk(task));
                Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data).map_err(Into::into)))
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
    if status == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
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
