//! Byte strings as they are.

use crate::codec::single::{self, Kind};
use crate::codec::{Codec, Visit};
use crate::core::content_type::ContentType;
use crate::core::error::Result;

/// The codec of `application/octet-stream`: a message is a byte string, with nothing around it.
///
/// What serialises as bytes, as a list of `u8` (`Vec<u8>`, `[u8; 32]`) or as a newtype around
/// either travels, and `()` as no bytes; anything else is a 415.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bytes;

impl Codec for Bytes {
    fn content_type(&self) -> ContentType {
        ContentType::Bytes
    }

    fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()> {
        single::encode(Kind::Bytes, value, out)
    }

    fn decode(&self, bytes: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        single::decode(Kind::Bytes, bytes, visit)
    }
}
