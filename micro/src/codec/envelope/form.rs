//! What a content type says of a body.

use bytes::Bytes;

use crate::codec::envelope::{Envelope, Label, Way};
use crate::core::content_type::ContentType;
use crate::core::error::Result;

/// The content type of BSON.
const BSON: &str = "application/bson";

/// An envelope and how the message in it is encoded.
///
/// ```
/// use micro::codec::envelope::{Envelope, Form};
/// use micro::core::content_type::ContentType;
///
/// let form = Form::of(&ContentType::parse("application/proto-rpc"));
/// assert_eq!(form.envelope, Envelope::ProtoRpc);
/// assert_eq!(form.message, ContentType::Proto);
/// assert_eq!(form.content_type().as_str(), "application/proto-rpc");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Form {
    /// What stands around the message.
    pub envelope: Envelope,
    /// How the message is encoded.
    pub message: ContentType,
}

impl Form {
    /// Makes the form of a message in an envelope.
    pub fn new(envelope: Envelope, message: ContentType) -> Self {
        Self { envelope, message }
    }

    /// Reads a content type; one that names no envelope is that of the message itself.
    pub fn of(content_type: &ContentType) -> Self {
        let bson = || ContentType::Other(BSON.into());
        let (envelope, message) = match content_type.as_str() {
            "application/json-rpc" => (Envelope::JsonRpc, ContentType::Json),
            "application/proto-rpc" => (Envelope::ProtoRpc, ContentType::Proto),
            "application/msgpack-rpc" | "application/msgpackrpc" => {
                (Envelope::MsgPackRpc, ContentType::MsgPack)
            }
            "application/bson-rpc" | "application/bsonrpc" => (Envelope::BsonRpc, bson()),
            "application/grpc" => (Envelope::Grpc, ContentType::Proto),
            other => match other.strip_prefix("application/grpc+") {
                Some("proto" | "protobuf") => (Envelope::Grpc, ContentType::Proto),
                Some("bytes") => (Envelope::Grpc, ContentType::Bytes),
                Some(name) => (Envelope::Grpc, ContentType::parse(&format!("application/{name}"))),
                None => (Envelope::Bare, content_type.clone()),
            },
        };
        Self { envelope, message }
    }

    /// Reads a content type of a peer that names the endpoint in the envelope alone.
    ///
    /// Such a peer names the encoding of the message, and the envelope that goes with it is meant.
    pub fn legacy(content_type: &ContentType) -> Self {
        match content_type {
            ContentType::Json => Self::new(Envelope::JsonRpc, ContentType::Json),
            ContentType::Proto | ContentType::Bytes => {
                Self::new(Envelope::ProtoRpc, ContentType::Proto)
            }
            other => Self::of(other),
        }
    }

    /// Returns the content type that says so; that of the message where no name says more.
    pub fn content_type(&self) -> ContentType {
        let named = |name: &str| ContentType::Other(name.into());
        match (self.envelope, &self.message) {
            (Envelope::JsonRpc, ContentType::Json) => named("application/json-rpc"),
            (Envelope::ProtoRpc, ContentType::Proto) => named("application/proto-rpc"),
            (Envelope::MsgPackRpc, ContentType::MsgPack) => named("application/msgpack-rpc"),
            (Envelope::BsonRpc, ContentType::Other(name)) if &**name == BSON => {
                named("application/bson-rpc")
            }
            (Envelope::Grpc, ContentType::Proto) => named("application/grpc+proto"),
            (Envelope::Grpc, ContentType::Bytes) => named("application/grpc+bytes"),
            (Envelope::Grpc, message) => match message.as_str().strip_prefix("application/") {
                Some(name) => named(&format!("application/grpc+{name}")),
                None => message.clone(),
            },
            (_, message) => message.clone(),
        }
    }

    /// Returns the form in which a message of another encoding travels: in this envelope if there
    /// is a name for that, bare otherwise.
    #[must_use]
    pub fn around(&self, message: &ContentType) -> Self {
        let enveloped = Self::new(self.envelope, message.clone());
        if Self::of(&enveloped.content_type()) == enveloped {
            return enveloped;
        }
        Self::new(Envelope::Bare, message.clone())
    }

    /// Appends a request.
    ///
    /// # Errors
    /// 413 when the message is longer than an envelope can say, 500 when it is not what the
    /// envelope can hold.
    pub fn seal_request(&self, label: &Label, body: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.seal(Way::Request, label, body, out)
    }

    /// Appends a response, or the error that the label states.
    ///
    /// # Errors
    /// As [`Self::seal_request`].
    pub fn seal_response(&self, label: &Label, body: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.seal(Way::Response, label, body, out)
    }

    fn seal(&self, way: Way, label: &Label, body: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let begun = out.len();
        self.envelope.seal(way, label, body, out)?;
        let json = self.message == ContentType::Json && self.envelope != Envelope::Grpc;
        // Go's encoder ends every value with a line break.
        if json && out.len() > begun && out.last() != Some(&b'\n') {
            out.push(b'\n');
        }
        Ok(())
    }

    /// Reads a request: what the envelope says, and the message.
    ///
    /// # Errors
    /// 400 when the envelope is malformed.
    pub fn open_request(&self, bytes: &Bytes) -> Result<(Label, Bytes)> {
        self.envelope.open(Way::Request, bytes)
    }

    /// Reads a response: what the envelope says, and the message.
    ///
    /// # Errors
    /// 400 when the envelope is malformed.
    pub fn open_response(&self, bytes: &Bytes) -> Result<(Label, Bytes)> {
        self.envelope.open(Way::Response, bytes)
    }
}
