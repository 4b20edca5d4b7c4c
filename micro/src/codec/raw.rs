//! A message that is passed on as it came.

use bytes::Bytes;

use crate::codec::{Decode, Encode, Format};
use crate::core::content_type::ContentType;
use crate::core::error::Result;

/// The bytes of a message with their content type, neither decoded nor checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raw {
    /// How the bytes are encoded.
    pub content_type: ContentType,
    /// The bytes as they came.
    pub bytes: Bytes,
}

impl Decode for Raw {
    fn decode(format: &Format, bytes: &Bytes) -> Result<Self> {
        Ok(Self { content_type: format.content_type(), bytes: bytes.clone() })
    }
}

impl Encode for Raw {
    /// Appends the bytes; they must be in the format of the call.
    fn encode(&self, _: &Format, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&self.bytes);
        Ok(())
    }
}
