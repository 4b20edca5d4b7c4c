//! BSON.

use std::fmt;

use bson::{RawDeserializer, RawDocument};
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserializer, Serialize, Serializer};

use crate::codec::depth::guarded_unknown;
use crate::codec::{Codec, Visit};
use crate::core::content_type::ContentType;
use crate::core::error::{BoxError, Error, Result};

/// The codec of `application/bson`: structs travel as documents, enums by name.
///
/// A message of BSON is a document. A value that is none, such as a number or a list, travels in
/// one as the only element, with the empty key: `{"": 7}`. So does a document that looks like that
/// itself.
///
/// BSON has no form for integers above 63 bits and for keys that contain the zero character: they
/// are errors when they are encoded. Its own types are seen as extended JSON writes them: an object
/// id is a map with the key `$oid`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bson;

/// An absent body is null, so that an endpoint without a request takes one.
const NULL: &[u8] = b"\x07\0\0\0\x0a\0\0";

/// Where the value begins in a document of one element whose key is empty: behind the length of
/// the document, the type of the element and the end of its key.
const VALUE_AT: usize = 6;

/// Where such a document says of which type its element is.
const TYPE_AT: usize = 4;

/// The type of an element that is a document.
const DOCUMENT: u8 = 3;

impl Codec for Bson {
    fn content_type(&self) -> ContentType {
        ContentType::Other("application/bson".into())
    }

    fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()> {
        let wrapped = bson::serialize_to_vec(&Only(value)).map_err(|e| {
            let detail = format!("cannot encode as BSON: {e}");
            Error::internal("micro.codec", detail).with_source(e)
        })?;
        let is_document = wrapped.get(TYPE_AT) == Some(&DOCUMENT);
        let inner = wrapped.get(VALUE_AT..wrapped.len().saturating_sub(1)).unwrap_or_default();
        let plain = is_document && !is_wrapped(inner);
        out.extend_from_slice(if plain { inner } else { &wrapped });
        Ok(())
    }

    fn decode(&self, bytes: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        let bytes = if bytes.is_empty() { NULL } else { bytes };
        let document = RawDeserializer::new(bytes).map_err(undecodable)?;
        if !is_wrapped(bytes) {
            return guarded_unknown(document, bytes.len(), visit).map_err(undecodable);
        }
        document.deserialize_map(Unwrap { visit, length: bytes.len() }).map_err(undecodable)
    }
}

/// Tells a document of one element whose key is empty.
fn is_wrapped(bytes: &[u8]) -> bool {
    let Ok(document) = RawDocument::from_bytes(bytes) else { return false };
    let mut elements = document.iter_elements();
    let first = elements.next();
    let empty = matches!(first, Some(Ok(element)) if element.key().as_str().is_empty());
    empty && elements.next().is_none()
}

/// A document of one element whose key is empty.
struct Only<'a>(&'a dyn erased_serde::Serialize);

impl Serialize for Only<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("", self.0)?;
        map.end()
    }
}

/// Hands the value out of such a document on.
struct Unwrap<'a, 'b> {
    visit: &'a mut Visit<'b>,
    length: usize,
}

impl<'de> Visitor<'de> for Unwrap<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a document")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let _empty: Option<IgnoredAny> = map.next_key()?;
        map.next_value_seed(self)
    }
}

impl<'de> DeserializeSeed<'de> for Unwrap<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        guarded_unknown(value, self.length, self.visit).map_err(D::Error::custom)
    }
}

#[cold]
fn undecodable(error: impl Into<BoxError>) -> Error {
    let error = error.into();
    Error::bad_request("micro.codec", format!("the body is not the BSON expected: {error}"))
        .with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde_json::{Value, json};

    use crate::codec::Format;
    use crate::codec::glue::{DecodeSerde, EncodeSerde, Wire};

    fn encode<T: Serialize + 'static>(value: &T) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        (&Wire::<T>::new()).enc()(&Format::Other(Arc::new(Bson)), value, &mut out)?;
        Ok(out)
    }

    fn decode(bytes: &[u8]) -> Result<Value> {
        let format = Format::Other(Arc::new(Bson));
        (&Wire::<Value>::new()).dec()(&format, &bytes::Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn a_document_travels_as_it_is_and_anything_else_in_one() {
        for (value, bytes) in [
            (json!({"hello": "world"}), &b"\x16\0\0\0\x02hello\0\x06\0\0\0world\0\0"[..]),
            (json!({}), b"\x05\0\0\0\0"),
            (json!(7), b"\x0f\0\0\0\x12\0\x07\0\0\0\0\0\0\0\0"),
            (json!(null), b"\x07\0\0\0\x0a\0\0"),
            (json!({"": true}), b"\x0f\0\0\0\x03\0\x08\0\0\0\x08\0\x01\0\0"),
            (json!({"": true, "a": null}), b"\x0b\0\0\0\x08\0\x01\x0aa\0\0"),
        ] {
            assert_eq!(encode(&value).unwrap(), bytes, "{value}");
            assert_eq!(decode(bytes).unwrap(), value);
        }
        assert_eq!(decode(b"").unwrap(), json!(null));
    }

    #[test]
    fn what_has_no_form_is_an_error_when_it_is_encoded() {
        assert_eq!(encode(&u64::MAX).unwrap_err().code(), 500);
        assert_eq!(encode(&BTreeMap::from([("a\0b", 1)])).unwrap_err().code(), 500);
        assert!(encode(&(u64::MAX >> 1)).is_ok());
    }

    #[test]
    fn types_of_its_own_are_seen_as_extended_json() {
        let id = b"\x15\0\0\0\x07i\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\0";
        let mut bytes = id.to_vec();
        bytes[0] = u8::try_from(bytes.len()).unwrap();
        assert_eq!(decode(&bytes).unwrap(), json!({"i": {"$oid": "0102030405060708090a0b0c"}}));
    }
}
