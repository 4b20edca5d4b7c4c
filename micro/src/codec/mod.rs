//! How messages become bytes: by content type, with a fast path for MessagePack.
//!
//! Structs travel as MessagePack maps, never positionally, so that fields can be added. A codec of
//! your own implements [`Codec`] and is registered with [`Codecs::register`]; every `serde` type
//! can then travel in it.
//!
//! Whatever the `serde` format, a message that nests deeper than 64 levels, has more than a million
//! elements, names a field twice or is followed by more bytes is a 400. In a map with free keys the
//! last of a key wins. An empty body is a unit, so that endpoints without a request need none.

#[cfg(feature = "bson")]
mod bson;
mod bytes;
#[cfg(feature = "cbor")]
mod cbor;
mod depth;
#[cfg(feature = "mucp")]
pub mod envelope;
mod erased;
#[cfg(feature = "grpc")]
#[cfg_attr(
    not(feature = "server"),
    allow(dead_code, unused_imports, reason = "a client reads what a server writes")
)]
pub(crate) mod grpc;
mod json;
mod msgpack;
#[cfg(feature = "prost")]
mod proto;
mod raw;
#[cfg(feature = "client")]
mod scratch;
#[cfg(any(feature = "http", feature = "server"))]
pub(crate) mod sequence;
mod single;
#[cfg(feature = "client")]
mod source;
mod text;
mod wire;

use std::fmt;
use std::sync::Arc;

use crate::core::content_type::ContentType;
use crate::core::error::{Error, Result};

/// The crate whose types the methods of [`Codec`] take, in the version they take them in.
pub use erased_serde;

#[cfg(feature = "bson")]
pub use self::bson::Bson;
pub use self::bytes::Bytes;
#[cfg(feature = "cbor")]
pub use self::cbor::Cbor;
pub use self::json::Json;
pub use self::msgpack::MsgPack;
pub use self::raw::Raw;
pub use self::text::Text;
pub use self::wire::{DecFn, Decode, EncFn, Encode};

#[cfg(feature = "client")]
#[cfg(all(test, feature = "server"))]
pub(crate) use self::scratch::SCRATCH_BYTES_MAX;
#[cfg(feature = "client")]
pub(crate) use self::scratch::scratch;
#[cfg(feature = "client")]
pub(crate) use self::source::{decoded, encoded};

/// Glue that macro output names.
pub mod glue {
    pub use super::wire::{
        DecodeBoth, DecodeNone, DecodeProst, DecodeSerde, EncodeBoth, EncodeNone, EncodeProst,
        EncodeSerde, Wire,
    };
}

/// What [`Codec::decode`] hands its deserializer to.
pub type Visit<'a> =
    dyn FnMut(&mut dyn erased_serde::Deserializer<'_>) -> Result<(), erased_serde::Error> + 'a;

/// A format in which any `serde` type travels.
///
/// Both methods are synchronous and run on the path of every call. What a peer sends is hostile:
/// `decode` neither panics nor allocates by a declared length, and whoever reads the message has
/// bounded its bytes. Between the type and the deserializer stands a guard that refuses messages
/// nested deeper than 64 levels and more elements than a million (or one for each byte), so a
/// codec needs limits of its own only for what it does before it calls `visit`.
///
/// What else a codec promises is what `micro::testkit::codec` examines, with the
/// feature `testkit`.
///
/// ```
/// use micro::codec::{Codec, Json, Visit, erased_serde};
/// use micro::core::content_type::ContentType;
///
/// /// JSON behind a byte order mark.
/// #[derive(Debug)]
/// struct Marked;
///
/// const MARK: &[u8] = b"\xef\xbb\xbf";
///
/// impl Codec for Marked {
///     fn content_type(&self) -> ContentType {
///         ContentType::parse("application/x-marked-json")
///     }
///
///     fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> micro::Result<()> {
///         out.extend_from_slice(MARK);
///         Json.encode(value, out)
///     }
///
///     fn decode(&self, bytes: &[u8], visit: &mut Visit<'_>) -> micro::Result<()> {
///         Json.decode(bytes.strip_prefix(MARK).unwrap_or(bytes), visit)
///     }
/// }
/// ```
pub trait Codec: fmt::Debug + Send + Sync + 'static {
    /// Returns the content type by which messages name the codec, in lower case and without
    /// parameters.
    fn content_type(&self) -> ContentType;

    /// Appends the encoded value to `out`; structs by the names of their fields.
    ///
    /// # Errors
    ///
    /// When the format has no form for the value. `out` may end in a part of the value then; whoever
    /// calls cuts it off.
    fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()>;

    /// Hands a deserializer over `bytes` to `visit`, once, and checks that nothing follows.
    ///
    /// # Errors
    ///
    /// 400 when the bytes are not well formed or `visit` returns an error.
    fn decode(&self, bytes: &[u8], visit: &mut Visit<'_>) -> Result<()>;
}

/// The codec of one message: a plain value for the fast ones, shared for the others.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Format {
    /// MessagePack, compiled for each message type.
    #[default]
    MsgPack,
    /// JSON.
    Json,
    /// Protocol Buffers, for messages that are `prost` types.
    Proto,
    /// Any other codec.
    Other(Arc<dyn Codec>),
}

impl Format {
    /// Returns the content type of the format.
    pub fn content_type(&self) -> ContentType {
        match self {
            Self::MsgPack => ContentType::MsgPack,
            Self::Json => ContentType::Json,
            Self::Proto => ContentType::Proto,
            Self::Other(codec) => codec.content_type(),
        }
    }
}

/// The codecs of a process, found by content type.
///
/// [`Bytes`] and [`Text`] are there from the start beside the built-in formats, and so are BSON and
/// CBOR where the features of these names are on.
#[derive(Clone, Debug)]
pub struct Codecs {
    others: Vec<Arc<dyn Codec>>,
}

impl Default for Codecs {
    fn default() -> Self {
        let others: Vec<Arc<dyn Codec>> = vec![
            Arc::new(Bytes),
            Arc::new(Text),
            #[cfg(feature = "bson")]
            Arc::new(Bson),
            #[cfg(feature = "cbor")]
            Arc::new(Cbor),
        ];
        Self { others }
    }
}

impl Codecs {
    /// Adds a codec; one registered later wins over an earlier one of the same content type.
    ///
    /// The built-in MessagePack, JSON and Protocol Buffers cannot be replaced.
    pub fn register(&mut self, codec: Arc<dyn Codec>) {
        self.others.push(codec);
    }

    /// Finds the format of a content type.
    ///
    /// # Errors
    /// 415 that lists the content types there are.
    pub fn format(&self, content_type: &ContentType) -> Result<Format> {
        match content_type {
            ContentType::MsgPack => Ok(Format::MsgPack),
            ContentType::Json => Ok(Format::Json),
            ContentType::Proto if cfg!(feature = "prost") => Ok(Format::Proto),
            other => self.other(other),
        }
    }

    fn other(&self, content_type: &ContentType) -> Result<Format> {
        let found = self.others.iter().rev().find(|codec| codec.content_type() == *content_type);
        found.map(|codec| Format::Other(Arc::clone(codec))).ok_or_else(|| {
            let name = content_type.as_str().escape_debug().to_string();
            let detail = format!("no codec for `{name}`; there are {}", self.names().join(", "));
            Error::new("micro.codec", 415, detail)
        })
    }

    /// Lists the content types, beside JSON, in which any message travels.
    #[cfg(feature = "server")]
    pub(crate) fn serde_types(&self) -> Vec<String> {
        let plain = [ContentType::Bytes, ContentType::Text];
        let others = self.others.iter().map(|codec| codec.content_type());
        let others = others.filter(|kind| !plain.contains(kind));
        std::iter::once(ContentType::MsgPack).chain(others).map(|kind| kind.to_string()).collect()
    }

    fn names(&self) -> Vec<String> {
        let mut names = vec![ContentType::MsgPack, ContentType::Json];
        if cfg!(feature = "prost") {
            names.push(ContentType::Proto);
        }
        names.extend(self.others.iter().map(|codec| codec.content_type()));
        names.iter().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests;
