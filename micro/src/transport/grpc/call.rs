//! One call, from its request to its status.

use std::sync::PoisonError;

use bytes::Bytes;
use hyper::Request;
use hyper::client::conn::http2::SendRequest;

use crate::codec::grpc::{Encoding, framed};
use crate::core::descriptor::CallKind;
use crate::core::error::{Error, Result};
use crate::core::exchange::Line;
use crate::transport::grpc::fault;
use crate::transport::grpc::requests::{Failure, Requests};
use crate::transport::grpc::responses::Responses;

/// What a call needs to run. Dropping the future of [`Call::run`] resets the stream.
pub(super) struct Call {
    pub(super) sender: SendRequest<Requests>,
    pub(super) kind: CallKind,
    pub(super) bytes_max: usize,
    pub(super) failure: Failure,
    /// What errors are of that do not say so.
    pub(super) id: String,
}

impl Call {
    /// Runs the call to its end.
    pub(super) async fn run(self, request: Request<Requests>, mut line: Line) {
        if !self.kind.streams_responses() {
            let done = match self.begin(request).await {
                Ok(responses) => responses.single().await,
                Err(error) => Err(error),
            };
            return line.reply(done.map_err(|error| self.told(error)));
        }
        if self.kind.streams_requests() {
            // Many servers say nothing before their first message, and that may be the answer to a
            // request which the caller sends once the stream is open.
            line.open();
        }
        match self.begin(request).await {
            Ok(responses) => self.relay(responses, line).await,
            Err(error) if self.kind.streams_requests() => line.end(Err(self.told(error))),
            Err(error) => line.reply(Err(self.told(error))),
        }
    }

    /// Sends the request and waits for the head of the response.
    async fn begin(&self, request: Request<Requests>) -> Result<Responses> {
        let mut sender = self.sender.clone();
        let response = match sender.try_send_request(request).await {
            Ok(response) => response,
            Err(mut error) => {
                // A request that comes back has not left.
                let is_back = error.take_message().is_some();
                let error = error.into_error();
                return Err(if is_back { fault::unsent(error) } else { fault::broken(error) });
            }
        };
        Responses::new(response, self.bytes_max)
    }

    /// Hands on the stream of responses, no faster than it is read.
    async fn relay(&self, mut responses: Responses, mut line: Line) {
        line.open();
        // Progress: each turn hands on a message, or ends.
        let ended = loop {
            match responses.next().await {
                Ok(Some(message)) => {
                    if line.push(message).await.is_err() {
                        // Nobody is there to be told; the drop of the body resets the stream.
                        return;
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(self.told(error).after_running()),
            }
        };
        line.end(ended);
    }

    /// Returns why a call failed: for a stream of requests that broke off, because of that.
    fn told(&self, error: Error) -> Error {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        let error = failure.unwrap_or(error);
        if error.id().is_empty() { error.with_id(self.id.clone()) } else { error }
    }
}

/// Frames the one request of a call.
///
/// # Errors
/// 413 past the limit of a message.
pub(super) fn one(body: &Bytes, encoding: Encoding, bytes_max: usize) -> Result<Requests> {
    if body.len() > bytes_max {
        let detail =
            format!("a message may have {bytes_max} bytes, the request has {}", body.len());
        return Err(Error::too_large("micro.transport", detail));
    }
    framed(body, encoding).map(Requests::One)
}
