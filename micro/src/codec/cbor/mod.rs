//! CBOR.

mod read;
#[cfg(test)]
mod tests;

use crate::codec::cbor::read::Reader;
use crate::codec::depth::guarded_unknown;
use crate::codec::{Codec, Visit};
use crate::core::content_type::ContentType;
use crate::core::error::{BoxError, Error, Result};

/// The codec of `application/cbor` (RFC 8949): structs travel as maps, enums by name.
///
/// What others write is read leniently: integers and floats of any width, lengths that are not
/// told in advance, `undefined` as `null`, byte strings where a list of bytes is asked for. Tags are
/// passed over, those of large integers excepted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cbor;

/// An absent body is null, so that an endpoint without a request takes one.
const NULL: &[u8] = &[0xf6];

impl Codec for Cbor {
    fn content_type(&self) -> ContentType {
        ContentType::Other("application/cbor".into())
    }

    fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()> {
        ciborium::into_writer(value, out).map_err(|e| {
            let detail = format!("cannot encode as CBOR: {e}");
            Error::internal("micro.codec", detail).with_source(e)
        })
    }

    fn decode(&self, bytes: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        let mut reader = Reader::new(if bytes.is_empty() { NULL } else { bytes });
        guarded_unknown(&mut reader, bytes.len(), visit).map_err(undecodable)?;
        reader.end().map_err(undecodable)
    }
}

#[cold]
fn undecodable(error: impl Into<BoxError>) -> Error {
    let error = error.into();
    Error::bad_request("micro.codec", format!("the body is not the CBOR expected: {error}"))
        .with_source(error)
}
