//! The one path that every codec but the compiled ones shares.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::depth::guarded_unknown;
use crate::codec::{Codec, Visit};
use crate::core::error::{Error, Result};

/// Decodes a value through any codec, with the guard in front of it.
pub(super) fn decode<T: DeserializeOwned>(codec: &dyn Codec, bytes: &[u8]) -> Result<T> {
    decode_with(codec, |visit| {
        codec.decode(bytes, &mut |inner| guarded_unknown(inner, bytes.len(), visit))
    })
}

/// Decodes a value through a codec that puts the guard in front by itself.
#[cfg(not(feature = "json-fast"))]
pub(super) fn decode_unguarded<T: DeserializeOwned>(codec: &dyn Codec, bytes: &[u8]) -> Result<T> {
    decode_with(codec, |visit| codec.decode(bytes, visit))
}

fn decode_with<T: DeserializeOwned>(
    codec: &dyn Codec,
    run: impl FnOnce(&mut Visit<'_>) -> Result<()>,
) -> Result<T> {
    let mut decoded = None;
    run(&mut |deserializer| {
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
    codec.encode(&value, out)
}
