//! JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{Codec, Visit, erased};
use crate::core::content_type::ContentType;
use crate::core::error::{Error, Result};

/// The JSON codec.
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
        let erased = &mut <dyn erased_serde::Deserializer<'_>>::erase(&mut deserializer);
        visit(erased).map_err(undecodable)?;
        deserializer.end().map_err(undecodable)
    }
}

/// An absent body is `null`, so that `curl -X POST` calls an endpoint without a request.
fn or_null(bytes: &[u8]) -> &[u8] {
    if bytes.is_empty() { b"null" } else { bytes }
}

fn encode_in_place<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    serde_json::to_writer(out, value)
        .map_err(|e| Error::internal("micro.codec", format!("cannot encode as JSON: {e}")))
}

/// Decodes one value.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    if cfg!(feature = "json-fast") {
        return serde_json::from_slice(or_null(bytes)).map_err(undecodable);
    }
    erased::decode(&Json, bytes)
}

/// Appends one value.
pub(super) fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    if cfg!(feature = "json-fast") {
        return encode_in_place(value, out);
    }
    erased::encode(&Json, value, out)
}

fn undecodable(error: impl std::fmt::Display) -> Error {
    Error::bad_request("micro.codec", format!("the body is not the JSON expected: {error}"))
}
