//! Text as it is.

use crate::codec::single::{self, Kind};
use crate::codec::{Codec, Visit};
use crate::core::content_type::ContentType;
use crate::core::error::Result;

/// The codec of `text/plain`: a message is a string in UTF-8, with nothing around it.
///
/// Strings and newtypes around them travel, and `()` as no text; anything else is a 415, and text
/// that is not UTF-8 a 400.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text;

impl Codec for Text {
    fn content_type(&self) -> ContentType {
        ContentType::Text
    }

    fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()> {
        single::encode(Kind::Text, value, out)
    }

    fn decode(&self, bytes: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        single::decode(Kind::Text, bytes, visit)
    }
}
