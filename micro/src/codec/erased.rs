//! The one path that every codec but the compiled ones shares.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::Codec;
use crate::core::error::{Error, Result};

/// Decodes a value through a codec that does not know its type.
pub(super) fn decode<T: DeserializeOwned>(codec: &dyn Codec, bytes: &[u8]) -> Result<T> {
    let mut decoded = None;
    codec.decode(bytes, &mut |deserializer| {
        decoded = Some(erased_serde::deserialize(deserializer)?);
        Ok(())
    })?;
    decoded.ok_or_else(|| {
        let name = codec.content_type();
        Error::internal("micro.codec", format!("the codec {name} decoded nothing"))
    })
}

/// Encodes a value through a codec that does not know its type.
pub(super) fn encode<T: Serialize>(codec: &dyn Codec, value: &T, out: &mut Vec<u8>) -> Result<()> {
    codec.encode(&value as &dyn erased_serde::Serialize, out)
}
