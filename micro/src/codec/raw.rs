//! A message that is passed on as it came.

use std::fmt;

use bytes::Bytes;

use crate::codec::{Decode, Encode, Format};
use crate::core::content_type::ContentType;
use crate::core::error::{Error, Result};

/// The bytes of a message with their content type, neither decoded nor checked.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Raw {
    /// How the bytes are encoded.
    pub content_type: ContentType,
    /// The bytes as they came.
    pub bytes: Bytes,
}

/// Shows the length of the message, which itself belongs in no log.
impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Raw");
        out.field("content_type", &self.content_type).field("bytes", &self.bytes.len()).finish()
    }
}

impl Decode for Raw {
    fn decode(format: &Format, bytes: &Bytes) -> Result<Self> {
        Ok(Self { content_type: format.content_type(), bytes: bytes.clone() })
    }
}

impl Encode for Raw {
    /// Appends the bytes as they are.
    ///
    /// # Errors
    /// 415 when they are not in the format of the call, which the peer would take them for.
    fn encode(&self, format: &Format, out: &mut Vec<u8>) -> Result<()> {
        let wanted = format.content_type();
        if self.content_type != wanted {
            let given = self.content_type.as_str().escape_debug();
            let detail = format!("the raw message is `{given}` and the call is in {wanted}");
            return Err(Error::new("micro.codec", 415, detail));
        }
        out.extend_from_slice(&self.bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_passed_on_as_it_came() {
        let bytes = Bytes::from_static(b"{not json");
        let raw = Raw::decode(&Format::Json, &bytes).unwrap();
        assert_eq!(raw, Raw { content_type: ContentType::Json, bytes });
        let mut out = b"head".to_vec();
        raw.encode(&Format::Json, &mut out).unwrap();
        assert_eq!(out, b"head{not json");
    }

    #[test]
    fn debug_shows_no_payload() {
        let raw = Raw { content_type: ContentType::Json, bytes: Bytes::from_static(b"secret") };
        assert_eq!(format!("{raw:?}"), "Raw { content_type: Json, bytes: 6 }");
    }

    #[test]
    fn it_never_travels_under_the_name_of_another_format() {
        let raw = Raw { content_type: ContentType::Json, bytes: Bytes::from_static(b"1") };
        let mut out = vec![];
        assert_eq!(raw.encode(&Format::MsgPack, &mut out).unwrap_err().code(), 415);
        assert!(out.is_empty());
    }
}
