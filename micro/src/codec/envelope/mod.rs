//! The envelopes in which go-micro's peers put a message: the endpoint, a number, perhaps an error.
//!
//! A [`Form`] is what a content type says of a body: the envelope, and how the message in it is
//! encoded. Codecs write and read the message alone; a transport that speaks to go-micro seals and
//! opens the envelope, since it is the one that knows the endpoint.
//!
//! | content type | envelope | message |
//! |---|---|---|
//! | `application/json-rpc` | `{"method", "params": [..], "id"}`, `{"id", "result", "error"}` | JSON |
//! | `application/proto-rpc` | a length and a header message, a length and the message | Protocol Buffers |
//! | `application/msgpack-rpc` | `[0, id, method, [..]]`, `[1, id, error, result]` | MessagePack |
//! | `application/bson-rpc` | a header document, then the message | BSON |
//! | `application/grpc+proto`, `+json`, `+bytes` | a flag and a length | as named |
//! | any other | none | as named |
//!
//! Lengths are four bytes, big-endian. What a peer sends is hostile: no length is trusted, nothing
//! is allocated by one, and whoever reads the body has bounded its bytes.

mod bson_rpc;
mod form;
mod grpc;
mod json_rpc;
mod msgpack_rpc;
mod proto_rpc;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;

use crate::core::error::{Error, Result};

pub use self::form::Form;

/// What stands around a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Envelope {
    /// Nothing: headers say everything.
    #[default]
    Bare,
    /// JSON-RPC as go-micro writes it: parameters in a list, `result` and `error` both there.
    JsonRpc,
    /// Two messages of Protocol Buffers, each behind its length.
    ProtoRpc,
    /// MessagePack-RPC, parameters in a list.
    MsgPackRpc,
    /// Two BSON documents in a row.
    BsonRpc,
    /// The frame of gRPC, over HTTP/1.1 and without trailers.
    Grpc,
}

/// The number of a call within a connection, as the peer wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "JSON-RPC knows no other")]
pub enum Id {
    /// None was given.
    #[default]
    None,
    /// A number.
    Number(u64),
    /// Text.
    Text(String),
}

impl Id {
    /// Reads an id out of a header.
    pub fn of(text: &str) -> Self {
        if text.is_empty() { Self::None } else { Self::Text(text.to_owned()) }
    }

    /// Returns the id as a number; zero for what is none.
    fn number(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Number(number) => *number,
            Self::Text(text) => text.parse().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// What an envelope says of the message in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Label {
    /// The endpoint, such as `Greeter.Hello`; empty where the envelope has none.
    pub endpoint: String,
    /// The number of the call.
    pub id: Id,
    /// What went wrong, in a response.
    pub error: Option<String>,
}

impl Label {
    /// Makes the label of a request.
    pub fn new(endpoint: impl Into<String>, id: Id) -> Self {
        Self { endpoint: endpoint.into(), id, error: None }
    }

    /// Says what went wrong.
    #[must_use]
    pub fn with_error(mut self, error: impl Into<String>) -> Self {
        self.error = Some(error.into());
        self
    }
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Request,
    Response,
}

impl Envelope {
    fn seal(self, way: Way, label: &Label, body: &[u8], out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Bare => out.extend_from_slice(body),
            Self::JsonRpc => json_rpc::seal(way, label, body, out)?,
            Self::ProtoRpc => proto_rpc::seal(way, label, body, out)?,
            Self::MsgPackRpc => msgpack_rpc::seal(way, label, body, out)?,
            Self::BsonRpc => bson_rpc::seal(way, label, body, out)?,
            Self::Grpc => grpc::seal(body, out)?,
        }
        Ok(())
    }

    fn open(self, way: Way, bytes: &Bytes) -> Result<(Label, Bytes)> {
        match self {
            Self::Bare => Ok((Label::default(), bytes.clone())),
            Self::JsonRpc => json_rpc::open(way, bytes),
            Self::ProtoRpc => proto_rpc::open(bytes),
            Self::MsgPackRpc => msgpack_rpc::open(way, bytes),
            Self::BsonRpc => bson_rpc::open(bytes),
            Self::Grpc => grpc::open(bytes).map(|body| (Label::default(), body)),
        }
    }
}

fn malformed(envelope: &str, why: &str) -> Error {
    Error::bad_request("micro.codec", format!("the {envelope} envelope {why}"))
}

/// Writes the length of what follows as four bytes, big-endian.
fn length(bytes: usize, out: &mut Vec<u8>) -> Result<()> {
    let length = u32::try_from(bytes).map_err(|error| {
        let detail = format!("a message of {bytes} bytes does not fit an envelope");
        Error::too_large("micro.codec", detail).with_source(error)
    })?;
    out.extend_from_slice(&length.to_be_bytes());
    Ok(())
}

/// Takes a part behind its length; `None` when there is less than announced.
fn part(bytes: &mut Bytes) -> Option<Bytes> {
    let length = u32::from_be_bytes(bytes.first_chunk().copied()?);
    let length = usize::try_from(length).ok()?;
    if bytes.len() - 4 < length {
        return None;
    }
    let _length = bytes.split_to(4);
    Some(bytes.split_to(length))
}
