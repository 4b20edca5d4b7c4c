//! What a `#[service]` writes for the server: its endpoints as plain functions.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::codec::{DecFn, EncFn, Format, decoded, encoded, scratch};
use crate::core::context::Context;
use crate::core::descriptor::ServiceDescriptor;
use crate::core::error::{Error, Result};
use crate::core::exchange::Outgoing;
use crate::core::future::BoxFuture;
use crate::core::stream::{RawStream, Streaming};
use crate::server::recheck::Recheck;
use crate::server::subscription::Subscription;

/// A service that can be mounted on a server; `#[service]` implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a micro service",
    label = "not a service",
    note = "put `#[micro::service]` on an `impl` block of `{Self}`"
)]
pub trait Serve: Send + Sync + Sized + 'static {
    /// What the service declares.
    const DESCRIPTOR: &'static ServiceDescriptor;
    /// One function for each endpoint, in the order of the descriptor.
    const ENDPOINTS: &'static [Endpoint<Self>];
    /// One function for each subscription, in the order of the descriptor.
    const SUBSCRIPTIONS: &'static [Subscription<Self>];
}

/// A handler without its types: decodes, calls the user's method, encodes.
pub struct Endpoint<S> {
    /// Makes the future of one call; nothing runs before it is polled.
    pub call: fn(Arc<S>, Context, Incoming) -> BoxFuture<'static, Result<Outgoing>>,
}

impl<S> fmt::Debug for Endpoint<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Endpoint")
    }
}

/// A request that has not been decoded.
pub struct Incoming {
    request: Format,
    response: Option<Format>,
    body: Bytes,
    messages: Option<RawStream>,
    /// Whether the caller is still admitted, for streams.
    recheck: Option<Box<Recheck>>,
}

/// Shows the length of the request, which itself belongs in no log.
impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("format", &self.request)
            .field("body", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Incoming {
    /// Makes a request of its bytes, or of its stream of messages.
    pub fn new(format: Format, body: Bytes, messages: Option<RawStream>) -> Self {
        Self { request: format, response: None, body, messages, recheck: None }
    }

    /// Asks for the response in another format than that of the request.
    #[must_use]
    pub fn answered_in(mut self, format: Format) -> Self {
        self.response = Some(format);
        self
    }

    /// Has the call end when it is not admitted any more.
    pub(super) fn rechecked(mut self, recheck: Option<Box<Recheck>>) -> Self {
        self.recheck = recheck;
        self
    }

    pub(super) fn take_recheck(&mut self) -> Option<Box<Recheck>> {
        self.recheck.take()
    }

    /// Returns the format in which the response is encoded.
    pub fn format(&self) -> &Format {
        self.response.as_ref().unwrap_or(&self.request)
    }

    /// Returns the stream of requests as it arrives, if there is one.
    pub(super) fn into_messages(self) -> Option<RawStream> {
        self.messages
    }

    /// Returns the bytes of the request; empty when it is a stream.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

/// Decodes the request.
///
/// # Errors
/// 400 when the bytes are not a `T`.
pub fn decode<T>(incoming: &Incoming, decode: DecFn<T>) -> Result<T> {
    decode(&incoming.request, &incoming.body)
}

/// Turns the requests into a stream that decodes each as it is asked for.
///
/// A transport that brings a single body gives a stream of that one message.
pub fn inbound<T: Send + 'static>(incoming: Incoming, decode: DecFn<T>) -> Streaming<T> {
    let Incoming { request, body, messages, .. } = incoming;
    let messages =
        messages.unwrap_or_else(|| Streaming::from_iter((!body.is_empty()).then_some(body)));
    decoded(messages, request, decode)
}

/// Encodes what a handler returned.
///
/// # Errors
/// The handler's error, or 500 when the format has no form for the response.
pub fn respond<T, E: IntoError>(
    format: &Format,
    result: Result<T, E>,
    encode: EncFn<T>,
) -> Result<Outgoing> {
    match result {
        Ok(value) => scratch(|out| encode(format, &value, out)).map(Outgoing::Message),
        Err(error) => Err(failed(error)),
    }
}

/// Makes the stream that a handler returned ready to be sent.
///
/// # Errors
/// The handler's error.
pub fn respond_stream<T: Send + 'static, E: IntoError>(
    format: &Format,
    result: Result<Streaming<T>, E>,
    encode: EncFn<T>,
) -> Result<Outgoing> {
    match result {
        Ok(stream) => Ok(Outgoing::Stream(encoded(stream, format.clone(), encode))),
        Err(error) => Err(failed(error)),
    }
}

/// Converts a handler's error; one without an id gets that of the endpoint.
///
/// The handler ran, whatever the error says of a call it made itself: it must not tell the caller
/// that a repetition is safe.
#[cold]
fn failed(error: impl IntoError) -> Error {
    let error = error.into_error().after_running();
    if !error.id().is_empty() {
        return error;
    }
    let Some(context) = Context::try_current() else { return error };
    match (context.service(), context.spec()) {
        (Some(service), Some(spec)) => error.with_id(format!("{service}.{}", spec.name)),
        _ => error,
    }
}

/// An error that a handler may return: anything that becomes an [`Error`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot become a `micro::Error`",
    label = "returned by a handler",
    note = "write `impl From<{Self}> for micro::Error`"
)]
pub trait IntoError {
    /// Converts the error.
    fn into_error(self) -> Error;
}

#[diagnostic::do_not_recommend]
impl<E: Into<Error>> IntoError for E {
    fn into_error(self) -> Error {
        self.into()
    }
}

/// A value that a contract's server shares with the rest of the program.
#[derive(Debug)]
pub struct Shared<T>(pub Arc<T>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::SCRATCH_BYTES_MAX;
    use crate::core::error::Retry;

    fn plain(_: &Format, value: &String, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn sent(outgoing: Result<Outgoing>) -> Bytes {
        match outgoing.unwrap() {
            Outgoing::Message(bytes) => bytes,
            Outgoing::Stream(_) => panic!("a stream"),
        }
    }

    #[test]
    fn a_response_is_what_the_encoder_wrote_however_long() {
        for length in [0, 1, SCRATCH_BYTES_MAX, SCRATCH_BYTES_MAX + 1, SCRATCH_BYTES_MAX * 10] {
            let value = "x".repeat(length);
            let result: Result<String> = Ok(value.clone());
            assert_eq!(sent(respond(&Format::Json, result, plain)), value.as_bytes());
        }
    }

    #[test]
    fn nothing_of_a_failed_encoding_reaches_the_next_response() {
        fn half(_: &Format, _: &String, out: &mut Vec<u8>) -> Result<()> {
            out.extend_from_slice(b"half");
            Err(Error::internal("test", "encoder"))
        }
        let result: Result<String> = Ok("x".to_owned());
        assert_eq!(respond(&Format::Json, result, half).unwrap_err().code(), 500);
        let result: Result<String> = Ok("y".to_owned());
        assert_eq!(sent(respond(&Format::Json, result, plain)), b"y".as_slice());
    }

    #[test]
    fn an_encoder_that_encodes_through_the_same_space_is_fine() {
        fn nested(format: &Format, value: &String, out: &mut Vec<u8>) -> Result<()> {
            out.extend_from_slice(b"outer ");
            out.extend_from_slice(&scratch(|out| plain(format, value, out))?);
            Ok(())
        }
        let result: Result<String> = Ok("inner".to_owned());
        assert_eq!(sent(respond(&Format::Json, result, nested)), b"outer inner".as_slice());
    }

    #[test]
    fn a_handler_that_passes_on_a_refusal_does_not_claim_that_it_did_not_run() {
        let refused = Error::unavailable("downstream", "refused").with_retry(Retry::Safe);
        let result: Result<String> = Err(refused);
        let error = respond(&Format::Json, result, plain).unwrap_err();
        assert_eq!((error.code(), error.retry()), (503, Retry::Unknown));
    }

    #[test]
    fn the_error_of_a_handler_keeps_its_code() {
        struct Mine;
        impl From<Mine> for Error {
            fn from(_: Mine) -> Self {
                Self::conflict("", "mine")
            }
        }
        let error = respond::<String, Mine>(&Format::Json, Err(Mine), plain).unwrap_err();
        assert_eq!((error.code(), error.detail()), (409, "mine"));
    }

    #[test]
    fn debug_shows_no_payload() {
        let secret = Bytes::from_static(b"secret");
        let text = format!("{:?}", Incoming::new(Format::Json, secret, None));
        assert!(text.contains("body: 6") && !text.contains("secret"), "{text}");
    }
}
