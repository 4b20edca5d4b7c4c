//! Reads MessagePack out of a slice, without limits: those are the guard's in front of it.
//!
//! What it takes for which type is what `rmp-serde`, which writes what is read here, takes too, so
//! that both read the messages of other programs alike.

mod access;
mod error;
#[cfg(test)]
mod tests;

use std::str;

use serde::Deserializer;
use serde::de::Visitor;
use serde::de::value::SeqDeserializer;
use serde::forward_to_deserialize_any;

use crate::codec::unpack::access::{Entry, Extension, Items, Name};

pub(super) use self::error::Malformed;

/// The name of a newtype struct that travels as an extension.
const EXTENSION: &str = "_ExtStruct";

/// The marker of nil.
const NIL: u8 = 0xc0;

/// The values of a message that are left.
#[derive(Debug)]
pub(super) struct Unpack<'de> {
    input: &'de [u8],
}

/// What byte strings are to a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Binary {
    Bytes,
    /// A list of numbers.
    List,
}

impl<'de> Unpack<'de> {
    pub(super) fn new(input: &'de [u8]) -> Self {
        Self { input }
    }

    /// Tells whether all was read.
    pub(super) fn is_empty(&self) -> bool {
        self.input.is_empty()
    }

    #[inline]
    fn peek(&self) -> Result<u8, Malformed> {
        self.input.first().copied().ok_or_else(Malformed::cut)
    }

    #[inline]
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (chunk, rest) = self.input.split_first_chunk().ok_or_else(Malformed::cut)?;
        self.input = rest;
        Ok(*chunk)
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Malformed> {
        self.chunk().map(|[byte]| byte)
    }

    #[inline]
    fn bytes(&mut self, length: usize) -> Result<&'de [u8], Malformed> {
        let (bytes, rest) = self.input.split_at_checked(length).ok_or_else(Malformed::cut)?;
        self.input = rest;
        Ok(bytes)
    }

    /// Takes a length of one, two or four bytes.
    #[inline]
    fn length<const N: usize>(&mut self) -> Result<usize, Malformed> {
        let bytes = self.chunk::<N>()?;
        Ok(bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte)))
    }

    /// Takes nil.
    fn nil(&mut self) -> Result<(), Malformed> {
        match self.byte()? {
            NIL => Ok(()),
            marker => Err(Malformed::unexpected(marker)),
        }
    }

    /// Takes a value of whatever kind.
    fn any<V: Visitor<'de>>(&mut self, visitor: V, binary: Binary) -> Result<V::Value, Malformed> {
        let length = match self.byte()? {
            marker @ 0x80..=0x8f => return self.map(usize::from(marker & 0x0f), visitor),
            marker @ 0x90..=0x9f => return self.seq(usize::from(marker & 0x0f), visitor),
            marker @ 0xa0..=0xbf => return self.text(usize::from(marker & 0x1f), visitor),
            marker @ (0xc4 | 0xc7 | 0xd9) => (marker, self.length::<1>()?),
            marker @ (0xc5 | 0xc8 | 0xda | 0xdc | 0xde) => (marker, self.length::<2>()?),
            marker @ (0xc6 | 0xc9 | 0xdb | 0xdd | 0xdf) => (marker, self.length::<4>()?),
            marker @ 0xd4..=0xd8 => (marker, 1 << (marker - 0xd4)),
            marker => return self.number(marker, visitor),
        };
        match length {
            (0xc4..=0xc6, length) => self.binary(length, visitor, binary),
            (0xd9..=0xdb, length) => self.text(length, visitor),
            (0xdc | 0xdd, length) => self.seq(length, visitor),
            (0xde | 0xdf, length) => self.map(length, visitor),
            (_, length) => visitor.visit_newtype_struct(self.extension(length)?),
        }
    }

    /// Takes what its marker says nearly all of: a number, a truth value or nil.
    #[inline]
    fn number<V: Visitor<'de>>(&mut self, marker: u8, visitor: V) -> Result<V::Value, Malformed> {
        match marker {
            0x00..=0x7f => visitor.visit_u8(marker),
            0xe0..=0xff => visitor.visit_i8(i8::from_be_bytes([marker])),
            NIL => visitor.visit_unit(),
            0xc2 | 0xc3 => visitor.visit_bool(marker == 0xc3),
            0xca => visitor.visit_f32(f32::from_be_bytes(self.chunk()?)),
            0xcb => visitor.visit_f64(f64::from_be_bytes(self.chunk()?)),
            0xcc => visitor.visit_u8(u8::from_be_bytes(self.chunk()?)),
            0xcd => visitor.visit_u16(u16::from_be_bytes(self.chunk()?)),
            0xce => visitor.visit_u32(u32::from_be_bytes(self.chunk()?)),
            0xcf => visitor.visit_u64(u64::from_be_bytes(self.chunk()?)),
            0xd0 => visitor.visit_i8(i8::from_be_bytes(self.chunk()?)),
            0xd1 => visitor.visit_i16(i16::from_be_bytes(self.chunk()?)),
            0xd2 => visitor.visit_i32(i32::from_be_bytes(self.chunk()?)),
            0xd3 => visitor.visit_i64(i64::from_be_bytes(self.chunk()?)),
            _ => Err(Malformed::unexpected(marker)),
        }
    }

    /// Takes a whole number, or sixteen bytes that are one.
    fn wide(&mut self) -> Result<i128, Malformed> {
        Ok(match self.byte()? {
            marker @ 0x00..=0x7f => marker.into(),
            marker @ 0xe0..=0xff => i8::from_be_bytes([marker]).into(),
            0xc4 => match self.byte()? {
                16 => i128::from_be_bytes(self.chunk()?),
                length => return Err(Malformed::length(length.into())),
            },
            0xcc => u8::from_be_bytes(self.chunk()?).into(),
            0xcd => u16::from_be_bytes(self.chunk()?).into(),
            0xce => u32::from_be_bytes(self.chunk()?).into(),
            0xcf => u64::from_be_bytes(self.chunk()?).into(),
            0xd0 => i8::from_be_bytes(self.chunk()?).into(),
            0xd1 => i16::from_be_bytes(self.chunk()?).into(),
            0xd2 => i32::from_be_bytes(self.chunk()?).into(),
            0xd3 => i64::from_be_bytes(self.chunk()?).into(),
            marker => return Err(Malformed::unexpected(marker)),
        })
    }

    #[inline]
    fn text<V: Visitor<'de>>(&mut self, length: usize, visitor: V) -> Result<V::Value, Malformed> {
        let bytes = self.bytes(length)?;
        match str::from_utf8(bytes) {
            Ok(text) => visitor.visit_borrowed_str(text),
            // Older programs have no type of their own for bytes.
            Err(error) => visitor
                .visit_borrowed_bytes::<Malformed>(bytes)
                .map_err(|_mismatch| Malformed::text(error)),
        }
    }

    fn binary<V: Visitor<'de>>(
        &mut self,
        length: usize,
        visitor: V,
        binary: Binary,
    ) -> Result<V::Value, Malformed> {
        let bytes = self.bytes(length)?;
        match binary {
            Binary::Bytes => visitor.visit_borrowed_bytes(bytes),
            Binary::List => visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied())),
        }
    }

    #[inline]
    fn seq<V: Visitor<'de>>(&mut self, length: usize, visitor: V) -> Result<V::Value, Malformed> {
        let mut items = Items { from: self, left: length };
        let done = visitor.visit_seq(&mut items);
        if items.left > 0 && done.is_ok() {
            return Err(Malformed::length(length));
        }
        done
    }

    #[inline]
    fn map<V: Visitor<'de>>(&mut self, length: usize, visitor: V) -> Result<V::Value, Malformed> {
        let mut items = Items { from: self, left: length };
        let done = visitor.visit_map(&mut items);
        if items.left > 0 && done.is_ok() {
            return Err(Malformed::length(length));
        }
        done
    }

    fn extension(&mut self, length: usize) -> Result<Extension<'de>, Malformed> {
        let tag = i8::from_be_bytes(self.chunk()?);
        Ok(Extension { tag, bytes: self.bytes(length)? })
    }

    /// Takes a text, which most often is a short one.
    #[inline]
    fn texts<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Malformed> {
        match self.input.split_first() {
            Some((&marker @ 0xa0..=0xbf, rest)) => {
                self.input = rest;
                self.text(usize::from(marker & 0x1f), visitor)
            }
            _ => self.any(visitor, Binary::Bytes),
        }
    }
}

/// Methods of types that are one number.
macro_rules! numbers {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
            let marker = self.byte()?;
            self.number(marker, visitor)
        }
    )*};
}

/// Methods of types that are most often a text.
macro_rules! texts {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
            self.texts(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Unpack<'de> {
    type Error = Malformed;

    numbers! {
        deserialize_bool deserialize_f32 deserialize_f64
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    texts! { deserialize_str deserialize_string deserialize_identifier }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        self.any(visitor, Binary::Bytes)
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        visitor.visit_i128(self.wide()?)
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        visitor.visit_u128(u128::from_be_bytes(self.wide()?.to_be_bytes()))
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        if self.peek()? != NIL {
            return visitor.visit_some(self);
        }
        self.nil()?;
        visitor.visit_none()
    }

    /// A unit struct travels as an empty array.
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Malformed> {
        if self.peek()? == 0x90 {
            self.byte()?;
            return visitor.visit_unit();
        }
        self.any(visitor, Binary::Bytes)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Malformed> {
        if name != EXTENSION {
            return visitor.visit_newtype_struct(self);
        }
        let length = match self.byte()? {
            marker @ 0xd4..=0xd8 => 1 << (marker - 0xd4),
            0xc7 => self.length::<1>()?,
            0xc8 => self.length::<2>()?,
            0xc9 => self.length::<4>()?,
            marker => return Err(Malformed::unexpected(marker)),
        };
        visitor.visit_newtype_struct(self.extension(length)?)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        match self.input.split_first() {
            Some((&marker @ 0x90..=0x9f, rest)) => {
                self.input = rest;
                self.seq(usize::from(marker & 0x0f), visitor)
            }
            _ => self.any(visitor, Binary::List),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Malformed> {
        self.any(visitor, Binary::List)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Malformed> {
        self.any(visitor, Binary::List)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Malformed> {
        match self.input.split_first() {
            Some((&marker @ 0x80..=0x8f, rest)) => {
                self.input = rest;
                self.map(usize::from(marker & 0x0f), visitor)
            }
            _ => self.any(visitor, Binary::List),
        }
    }

    /// An enum is the name of a variant, or a map of one entry: the name with what it holds.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Malformed> {
        let marker = self.peek()?;
        if !matches!(marker, 0x80..=0x8f | 0xde | 0xdf) {
            return visitor.visit_enum(Name(self));
        }
        self.byte()?;
        let length = match marker {
            0xde => self.length::<2>()?,
            0xdf => self.length::<4>()?,
            marker => usize::from(marker & 0x0f),
        };
        if length != 1 {
            return Err(Malformed::length(length));
        }
        visitor.visit_enum(Entry(self))
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    forward_to_deserialize_any! { char bytes byte_buf unit map ignored_any }
}
