//! MessagePack, structs as maps.

use rmp_serde::config::DefaultConfig;
use rmp_serde::decode::Error as DecodeError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::depth::{Tally, guarded};
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
        let mut deserializer = deserializer(bytes);
        guarded(&mut deserializer, visit).map_err(undecodable)?;
        end(&mut deserializer)
    }
}

type Deserializer<'a> = rmp_serde::Deserializer<rmp_serde::decode::ReadRefReader<'a, [u8]>>;

fn deserializer(bytes: &[u8]) -> Deserializer<'_> {
    // An absent body is nil, so that an endpoint without a request takes one.
    let bytes = if bytes.is_empty() { &[0xc0] } else { bytes };
    rmp_serde::Deserializer::<_, DefaultConfig>::from_read_ref(bytes)
}

/// Decodes one value; compiled for each message type.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let tally = Tally::new();
    let mut deserializer = deserializer(bytes);
    let value = T::deserialize(tally.guard(&mut deserializer)).map_err(undecodable)?;
    if tally.is_failed() {
        return Err(undecodable("an error inside"));
    }
    end(&mut deserializer)?;
    Ok(value)
}

/// Checks that nothing follows the message; the decoder does not say how far it has read.
#[inline]
fn end(deserializer: &mut Deserializer<'_>) -> Result<()> {
    match bool::deserialize(deserializer) {
        Err(DecodeError::InvalidMarkerRead(_)) => Ok(()),
        Ok(_) | Err(_) => Err(undecodable("trailing bytes")),
    }
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
