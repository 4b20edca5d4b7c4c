//! MessagePack, structs as maps.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::depth::{Tally, guarded};
use crate::codec::unpack::Unpack;
use crate::codec::{Codec, Visit};
use crate::core::content_type::ContentType;
use crate::core::error::{BoxError, Error, Result};

/// The MessagePack codec: structs travel as maps, enums by name.
///
/// [`Format::MsgPack`](crate::codec::Format::MsgPack) is the same format compiled for each message
/// type; this one is for decorators and for types that are not known.
#[derive(Clone, Copy, Debug, Default)]
pub struct MsgPack;

impl Codec for MsgPack {
    fn content_type(&self) -> ContentType {
        ContentType::MsgPack
    }

    fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()> {
        encode(value, out)
    }

    fn decode(&self, bytes: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        let mut unpack = unpack(bytes);
        guarded(&mut unpack, visit).map_err(undecodable)?;
        if unpack.is_empty() { Ok(()) } else { Err(trailing()) }
    }
}

#[inline]
fn unpack(bytes: &[u8]) -> Unpack<'_> {
    // An absent body is nil, so that an endpoint without a request takes one.
    Unpack::new(if bytes.is_empty() { &[0xc0] } else { bytes })
}

/// Decodes one value; compiled for each message type.
#[inline]
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let tally = Tally::new();
    let mut unpack = unpack(bytes);
    match T::deserialize(tally.guard(&mut unpack)) {
        Ok(_) if tally.is_failed() => Err(undecodable("an error inside")),
        Ok(_) if !unpack.is_empty() => Err(trailing()),
        Ok(value) => Ok(value),
        Err(error) => Err(undecodable(error)),
    }
}

#[cold]
fn trailing() -> Error {
    undecodable("trailing bytes")
}

/// Appends one value, its structs as maps; compiled for each message type.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    let mut serializer = rmp_serde::Serializer::new(out).with_struct_map();
    value.serialize(&mut serializer).map_err(|e| {
        let detail = format!("cannot encode as MessagePack: {e}");
        Error::internal("micro.codec", detail).with_source(e)
    })
}

#[cold]
fn undecodable(error: impl Into<BoxError>) -> Error {
    let error = error.into();
    Error::bad_request("micro.codec", format!("the body is not the MessagePack expected: {error}"))
        .with_source(error)
}
