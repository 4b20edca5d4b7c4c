//! Reads a message that is one string.

use std::cell::Cell;

use serde::Deserializer;
use serde::de::value::{Error, SeqDeserializer};
use serde::de::{Error as _, Visitor};

use crate::codec::single::Kind;

/// A string to be read as whatever type asks for one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'de, 'a> {
    kind: Kind,
    bytes: &'de [u8],
    /// Set when the type cannot travel at all, as opposed to a string that is not a valid one.
    refused: &'a Cell<bool>,
}

impl<'de, 'a> Source<'de, 'a> {
    pub(super) fn new(kind: Kind, bytes: &'de [u8], refused: &'a Cell<bool>) -> Self {
        Self { kind, bytes, refused }
    }

    fn refuse(self) -> Error {
        self.refused.set(true);
        Error::custom(self.kind.refusal())
    }

    fn text(self) -> Result<&'de str, Error> {
        std::str::from_utf8(self.bytes).map_err(Error::custom)
    }
}

/// Methods of types that are neither strings nor lists of bytes.
macro_rules! refuse {
    ($($method:ident($($arg:ident: $kind:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($arg: $kind,)* _: V) -> Result<V::Value, Error> {
            $(let _: $kind = $arg;)*
            Err(self.refuse())
        }
    )*};
}

/// Methods by which a list of bytes is asked for.
macro_rules! bytes {
    ($($method:ident($($arg:ident: $kind:ty),*) = $visit:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($arg: $kind,)* visitor: V) -> Result<V::Value, Error> {
            $(let _: $kind = $arg;)*
            match self.kind {
                Kind::Bytes => $visit(visitor, self.bytes),
                Kind::Text => Err(self.refuse()),
            }
        }
    )*};
}

/// Methods by which a string is asked for.
macro_rules! text {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.kind {
                Kind::Bytes => Err(self.refuse()),
                Kind::Text => visitor.visit_borrowed_str(self.text()?),
            }
        }
    )*};
}

fn as_bytes<'de, V: Visitor<'de>>(visitor: V, bytes: &'de [u8]) -> Result<V::Value, Error> {
    visitor.visit_borrowed_bytes(bytes)
}

fn as_list<'de, V: Visitor<'de>>(visitor: V, bytes: &'de [u8]) -> Result<V::Value, Error> {
    let mut list = SeqDeserializer::new(bytes.iter().copied());
    let value = visitor.visit_seq(&mut list)?;
    list.end()?;
    Ok(value)
}

impl<'de> Deserializer<'de> for Source<'de, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind {
            Kind::Bytes => visitor.visit_borrowed_bytes(self.bytes),
            Kind::Text => visitor.visit_borrowed_str(self.text()?),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.bytes.is_empty() { visitor.visit_unit() } else { Err(self.refuse()) }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    bytes! {
        deserialize_bytes() = as_bytes;
        deserialize_byte_buf() = as_bytes;
        deserialize_seq() = as_list;
        deserialize_tuple(len: usize) = as_list;
    }

    text! { deserialize_str deserialize_string }

    refuse! {
        deserialize_bool() deserialize_char() deserialize_identifier()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64()
        deserialize_option() deserialize_map()
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    fn is_human_readable(&self) -> bool {
        self.kind == Kind::Text
    }
}
