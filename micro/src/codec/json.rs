//! JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(feature = "json-fast")]
use crate::codec::depth::Tally;
use crate::codec::depth::guarded;
#[cfg(not(feature = "json-fast"))]
use crate::codec::erased;
use crate::codec::{Codec, Visit};
use crate::core::content_type::ContentType;
use crate::core::error::{BoxError, Error, Result};

/// The JSON codec.
///
/// Floats that are not finite become `null`; byte strings become arrays of numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl Codec for Json {
    fn content_type(&self) -> ContentType {
        ContentType::Json
    }

    fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()> {
        encode_in_place(value, out)
    }

    fn decode(&self, bytes: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        let mut deserializer = serde_json::Deserializer::from_slice(or_null(bytes));
        guarded(&mut deserializer, visit).map_err(undecodable)?;
        deserializer.end().map_err(undecodable)
    }
}

/// An absent body is `null`, so that `curl -X POST` calls an endpoint without a request.
fn or_null(bytes: &[u8]) -> &[u8] {
    if bytes.is_empty() { b"null" } else { bytes }
}

fn encode_in_place<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    serde_json::to_writer(out, value).map_err(|e| {
        Error::internal("micro.codec", format!("cannot encode as JSON: {e}")).with_source(e)
    })
}

/// Decodes one value; compiled for each message type.
#[cfg(feature = "json-fast")]
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let tally = Tally::new();
    let mut deserializer = serde_json::Deserializer::from_slice(or_null(bytes));
    let value = T::deserialize(tally.guard(&mut deserializer)).map_err(undecodable)?;
    if tally.is_failed() {
        return Err(undecodable("an error inside"));
    }
    deserializer.end().map_err(undecodable)?;
    Ok(value)
}

/// Decodes one value.
#[cfg(not(feature = "json-fast"))]
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    erased::decode_unguarded(&Json, bytes)
}

/// Appends one value; compiled for each message type.
#[cfg(feature = "json-fast")]
pub(super) fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    encode_in_place(value, out)
}

/// Appends one value.
#[cfg(not(feature = "json-fast"))]
pub(super) fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    erased::encode(&Json, value, out)
}

#[cold]
fn undecodable(error: impl Into<BoxError>) -> Error {
    let error = error.into();
    Error::bad_request("micro.codec", format!("the body is not the JSON expected: {error}"))
        .with_source(error)
}
