//! MessagePack, structs as maps.

use rmp_serde::config::DefaultConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{Codec, Visit};
use crate::core::content_type::ContentType;
use crate::core::error::{Error, Result};
use crate::core::limits::DecodeLimits;

/// The MessagePack codec, for use through the erased path.
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
        let erased = &mut <dyn erased_serde::Deserializer<'_>>::erase(&mut deserializer);
        visit(erased).map_err(undecodable)
    }
}

type Deserializer<'a> = rmp_serde::Deserializer<rmp_serde::decode::ReadRefReader<'a, [u8]>>;

fn deserializer(bytes: &[u8]) -> Deserializer<'_> {
    let mut deserializer = rmp_serde::Deserializer::<_, DefaultConfig>::from_read_ref(bytes);
    // Limit: the decoder recurses once a level, and a worker's stack is 2 MiB.
    deserializer.set_max_depth(DecodeLimits::DEFAULT.depth_max);
    deserializer
}


/// Decodes one value; compiled for each message type.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    T::deserialize(&mut deserializer(bytes)).map_err(undecodable)
}

/// Appends one value, its structs as maps; compiled for each message type.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    let mut serializer = rmp_serde::Serializer::new(out).with_struct_map();
    value.serialize(&mut serializer).map_err(|e| {
        Error::internal("micro.codec", format!("cannot encode as MessagePack: {e}"))
    })
}

fn undecodable(error: impl std::fmt::Display) -> Error {
    Error::bad_request("micro.codec", format!("the body is not the MessagePack expected: {error}"))
}
