//! The messages of a response, and how the server says that they are all.

use std::pin::Pin;

use bytes::Bytes;
use hyper::Response;
use hyper::body::{Body, Incoming};

use crate::codec::grpc::{Decoder, ENCODING, Encoding, is_grpc, read_status};
use crate::core::error::{Error, Result};
use crate::transport::grpc::fault;

/// Reads messages as they are asked for: the server waits for the reader.
#[derive(Debug)]
pub(super) struct Responses {
    body: Incoming,
    decoder: Decoder,
    /// How the call ended, once that is known.
    ended: Option<Result<()>>,
}

impl Responses {
    /// Takes a response, whose headers may be its trailers.
    ///
    /// # Errors
    /// What the server answers without any message, and what is no response of gRPC.
    pub(super) fn new(response: Response<Incoming>, bytes_max: usize) -> Result<Self> {
        let (parts, body) = response.into_parts();
        let ended = read_status(&parts.headers);
        if let Some(Err(error)) = ended {
            return Err(error);
        }
        let grpc = parts.headers.get("content-type").is_some_and(|value| is_grpc(value.as_bytes()));
        if !grpc || parts.status != 200 {
            return Err(fault::status(parts.status));
        }
        let encoding = parts.headers.get(ENCODING).map_or(&b""[..], |value| value.as_bytes());
        // What cannot be read is the server's fault: it was told what can be.
        let encoding = Encoding::parse(encoding)
            .map_err(|error| Error::internal("micro.transport", error.detail()))?;
        Ok(Self { body, decoder: Decoder::new(bytes_max, encoding), ended })
    }

    /// Reads the one message of a call that has one.
    ///
    /// # Errors
    /// What [`Self::next`] fails with; 501 when there is none, or more than one, as gRPC asks for.
    pub(super) async fn single(mut self) -> Result<Bytes> {
        let one = |found| {
            let detail = format!("the node answered with {found} where one message was expected");
            Error::unimplemented("micro.transport", detail)
        };
        let message = self.next().await?.ok_or_else(|| one("none"))?;
        match self.next().await? {
            None => Ok(message),
            Some(_) => Err(one("more")),
        }
    }

    /// Waits for the next message; `None` at the end of a call that went well.
    ///
    /// # Errors
    /// The status of the call, and whatever breaks it off.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        // Progress: each turn takes a message or a frame of the body, or ends.
        loop {
            if let Some(message) = self.decoder.take()? {
                return Ok(Some(message));
            }
            let body = &mut self.body;
            let frame = std::future::poll_fn(|task| Pin::new(&mut *body).poll_frame(task)).await;
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.decoder.push(data),
                    Err(frame) => {
                        let ended = frame.trailers_ref().and_then(read_status);
                        self.ended = ended.or(self.ended.take());
                    }
                },
                Some(Err(error)) => return Err(fault::broken(error)),
                None => {
                    let silent = || {
                        let detail = "the node ended the call without a status";
                        Err(Error::unknown("micro.transport", detail))
                    };
                    self.ended.take().unwrap_or_else(silent)?;
                    self.decoder.end()?;
                    return Ok(None);
                }
            }
        }
    }
}
