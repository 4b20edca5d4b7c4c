//! Chooses, for each message type, the functions that decode and encode it.
//!
//! Macro output calls `(&&&&Wire::<T>::new()).dec()` where `T` is concrete. Method resolution tries
//! one reference less at each step, so the first arm whose bound holds wins: `prost` and `serde`,
//! `prost`, `serde`, neither. The last arm has its bound on the method, so that a type that is
//! neither gets the message of [`Decode`] or [`Encode`] at its own span.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{Format, erased, json, msgpack};
use crate::core::body::Body;
use crate::core::error::{Error, Result};

/// Decodes a message of one type.
pub type DecFn<T> = fn(&Format, &Body<'_>) -> Result<T>;

/// Appends a message of one type to a buffer; an error leaves the buffer as it was.
pub type EncFn<T> = fn(&Format, &T, &mut Vec<u8>) -> Result<()>;

/// A message that knows its bytes in every format.
///
/// Implemented for [`crate::codec::Raw`]; other types derive `serde::Deserialize` or are
/// `prost::Message`s.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be received as a request",
    label = "not deserializable",
    note = "derive `serde::Deserialize` on `{Self}` (or use a `prost::Message`)"
)]
pub trait Decode: Sized {
    /// Decodes a message.
    ///
    /// # Errors
    /// 400 when the bytes are not a message of this type.
    fn decode(format: &Format, bytes: &Bytes) -> Result<Self>;
}

/// A message that gives its bytes in every format.
///
/// Implemented for [`crate::codec::Raw`]; other types derive `serde::Serialize` or are
/// `prost::Message`s.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as a response",
    label = "not serializable",
    note = "derive `serde::Serialize` on `{Self}` (or use a `prost::Message`)"
)]
pub trait Encode {
    /// Appends the message to `out`.
    ///
    /// # Errors
    /// 500 when the format has no form for the message.
    fn encode(&self, format: &Format, out: &mut Vec<u8>) -> Result<()>;
}

/// The type on which the arms are tried.
pub struct Wire<T>(PhantomData<fn() -> T>);

impl<T> Wire<T> {
    /// Makes the value on which `dec` and `enc` are called.
    #[expect(clippy::new_without_default, reason = "only macro output makes one, in const context")]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> fmt::Debug for Wire<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

macro_rules! arm {
    ($decode:ident, $encode:ident, $doc:literal) => {
        #[doc = $doc]
        pub trait $decode<T> {
            /// Returns the function that decodes `T`.
            fn dec(&self) -> DecFn<T>;
        }
        #[doc = $doc]
        pub trait $encode<T> {
            /// Returns the function that encodes `T`.
            fn enc(&self) -> EncFn<T>;
        }
    };
}

arm!(DecodeBoth, EncodeBoth, "The arm for types that are both `prost` and `serde` messages.");
arm!(DecodeProst, EncodeProst, "The arm for `prost` messages.");
arm!(DecodeSerde, EncodeSerde, "The arm for `serde` types.");

/// The arm for types that are neither.
pub trait DecodeNone<T> {
    /// Returns the function that decodes `T`.
    fn dec(&self) -> DecFn<T>
    where
        T: Decode;
}

/// The arm for types that are neither.
pub trait EncodeNone<T> {
    /// Returns the function that encodes `T`.
    fn enc(&self) -> EncFn<T>
    where
        T: Encode;
}

#[cfg(feature = "prost")]
impl<T: prost::Message + Default + DeserializeOwned + 'static> DecodeBoth<T> for &&&Wire<T> {
    fn dec(&self) -> DecFn<T> {
        |format, bytes| match format {
            Format::Proto => super::proto::decode(bytes),
            format => decode_serde(format, bytes),
        }
    }
}

#[cfg(feature = "prost")]
impl<T: prost::Message + Serialize + 'static> EncodeBoth<T> for &&&Wire<T> {
    fn enc(&self) -> EncFn<T> {
        |format, value, out| match format {
            Format::Proto => super::proto::encode(value, out),
            format => encode_serde(format, value, out),
        }
    }
}

#[cfg(feature = "prost")]
impl<T: prost::Message + Default + 'static> DecodeProst<T> for &&Wire<T> {
    fn dec(&self) -> DecFn<T> {
        |format, bytes| match format {
            Format::Proto => super::proto::decode(bytes),
            format => Err(only(format, "Protocol Buffers")),
        }
    }
}

#[cfg(feature = "prost")]
impl<T: prost::Message + 'static> EncodeProst<T> for &&Wire<T> {
    fn enc(&self) -> EncFn<T> {
        |format, value, out| match format {
            Format::Proto => super::proto::encode(value, out),
            format => Err(only(format, "Protocol Buffers")),
        }
    }
}

impl<T: DeserializeOwned + 'static> DecodeSerde<T> for &Wire<T> {
    fn dec(&self) -> DecFn<T> {
        decode_serde
    }
}

impl<T: Serialize + 'static> EncodeSerde<T> for &Wire<T> {
    fn enc(&self) -> EncFn<T> {
        encode_serde
    }
}

impl<T> DecodeNone<T> for Wire<T> {
    fn dec(&self) -> DecFn<T>
    where
        T: Decode,
    {
        |format, body| T::decode(format, &body.share())
    }
}

impl<T> EncodeNone<T> for Wire<T> {
    fn enc(&self) -> EncFn<T>
    where
        T: Encode,
    {
        |format, value, out| value.encode(format, out)
    }
}

fn decode_serde<T: DeserializeOwned>(format: &Format, bytes: &Body<'_>) -> Result<T> {
    match format {
        Format::MsgPack => msgpack::decode(bytes),
        Format::Json => json::decode(bytes),
        Format::Proto => Err(only(format, "serde formats")),
        Format::Other(codec) => erased::decode(codec.as_ref(), bytes),
    }
}

fn encode_serde<T: Serialize>(format: &Format, value: &T, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    let done = match format {
        Format::MsgPack => msgpack::encode(value, out),
        Format::Json => json::encode(value, out),
        Format::Proto => Err(only(format, "serde formats")),
        Format::Other(codec) => erased::encode(codec.as_ref(), value, out),
    };
    if done.is_err() {
        // What came before in the buffer is someone else's message.
        out.truncate(start);
    }
    done
}

fn only(format: &Format, what: &str) -> Error {
    let given = format.content_type();
    Error::new("micro.codec", 415, format!("the message has no form in {given}, only in {what}"))
}
