//! Reads a message of CBOR.

use std::fmt::Display;

use ciborium_ll::{Decoder, Header, simple, tag};
use serde::Deserializer;
use serde::de::value::{Error, SeqDeserializer};
use serde::de::{
    DeserializeSeed, EnumAccess, Error as _, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

/// Bytes of a string that are taken at a time: a length that is declared allocates nothing.
const PART_BYTES: usize = 4 * 1024;

/// Bytes of the longest integer.
const INTEGER_BYTES_MAX: usize = 16;

/// Reads one item after the other; recursion is up to who visits.
pub(super) struct Reader<'a> {
    decoder: Decoder<&'a [u8]>,
    length: usize,
    /// The head of the next item, when somebody has looked at it.
    peeked: Option<Header>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { decoder: Decoder::from(bytes), length: bytes.len(), peeked: None }
    }

    /// Checks that nothing follows the message.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        let over = self.peeked.is_none() && self.decoder.offset() == self.length;
        if over { Ok(()) } else { Err(Error::custom("trailing bytes")) }
    }

    fn head(&mut self) -> Result<Header, Error> {
        match self.peeked.take() {
            Some(head) => Ok(head),
            None => self.decoder.pull().map_err(|e| broken(&e)),
        }
    }

    /// Returns the head of the next item behind its tags, those of large integers excepted.
    fn untagged(&mut self) -> Result<Header, Error> {
        // Progress: each turn reads a head.
        loop {
            match self.head()? {
                Header::Tag(number) if !matches!(number, tag::BIGPOS | tag::BIGNEG) => {}
                head => return Ok(head),
            }
        }
    }

    fn bytes(&mut self, length: Option<usize>) -> Result<Vec<u8>, Error> {
        let (mut whole, mut part) = (Vec::new(), [0; PART_BYTES]);
        let mut segments = self.decoder.bytes(length);
        while let Some(mut segment) = segments.pull().map_err(|e| broken(&e))? {
            while let Some(bytes) = segment.pull(&mut part).map_err(|e| broken(&e))? {
                whole.extend_from_slice(bytes);
            }
        }
        Ok(whole)
    }

    fn text(&mut self, length: Option<usize>) -> Result<String, Error> {
        let (mut whole, mut part) = (String::new(), [0; PART_BYTES]);
        let mut segments = self.decoder.text(length);
        while let Some(mut segment) = segments.pull().map_err(|e| broken(&e))? {
            while let Some(text) = segment.pull(&mut part).map_err(|e| broken(&e))? {
                whole.push_str(text);
            }
        }
        Ok(whole)
    }

    /// Reads the bytes behind the tag of a large integer.
    fn large(&mut self) -> Result<u128, Error> {
        let Header::Bytes(length) = self.head()? else {
            return Err(Error::custom("a large integer without bytes"));
        };
        let bytes = self.bytes(length)?;
        let start = bytes.iter().take_while(|byte| **byte == 0).count();
        let digits = bytes.get(start..).unwrap_or_default();
        if digits.len() > INTEGER_BYTES_MAX {
            return Err(Error::custom("an integer of more than 128 bits"));
        }
        Ok(digits.iter().fold(0, |number, byte| number << 8 | u128::from(*byte)))
    }

    fn visit<'de, V: Visitor<'de>>(&mut self, head: Header, visitor: V) -> Result<V::Value, Error> {
        match head {
            Header::Positive(number) => visitor.visit_u64(number),
            Header::Negative(number) => match i64::try_from(number) {
                Ok(number) => visitor.visit_i64(!number),
                Err(_) => visitor.visit_i128(!i128::from(number)),
            },
            Header::Float(number) => visitor.visit_f64(number),
            Header::Bytes(length) => visitor.visit_byte_buf(self.bytes(length)?),
            Header::Text(length) => visitor.visit_string(self.text(length)?),
            Header::Array(left) => self.items(left, |items| visitor.visit_seq(items)),
            Header::Map(left) => self.items(left, |items| visitor.visit_map(items)),
            Header::Simple(simple::FALSE) => visitor.visit_bool(false),
            Header::Simple(simple::TRUE) => visitor.visit_bool(true),
            Header::Simple(simple::NULL | simple::UNDEFINED) => visitor.visit_unit(),
            Header::Simple(number) => Err(unexpected(format_args!("simple value {number}"))),
            Header::Tag(tag::BIGPOS) => visitor.visit_u128(self.large()?),
            Header::Tag(_) => match i128::try_from(self.large()?) {
                Ok(number) => visitor.visit_i128(!number),
                Err(_) => Err(Error::custom("an integer of more than 128 bits")),
            },
            Header::Break => Err(unexpected("end")),
        }
    }

    /// Has items read, all of them.
    fn items<T>(
        &mut self,
        left: Option<usize>,
        read: impl FnOnce(&mut Items<'_, 'a>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut items = Items { reader: self, left, over: false };
        let value = read(&mut items)?;
        if items.is_over()? { Ok(value) } else { Err(Error::custom("more elements than expected")) }
    }
}

fn broken<E: std::fmt::Debug>(error: &ciborium_ll::Error<E>) -> Error {
    match error {
        ciborium_ll::Error::Io(_) => Error::custom("it ends too soon"),
        ciborium_ll::Error::Syntax(at) => Error::custom(format_args!("malformed at byte {at}")),
    }
}

fn unexpected(what: impl Display) -> Error {
    Error::custom(format_args!("unexpected {what}"))
}

impl<'de> Deserializer<'de> for &mut Reader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let head = self.untagged()?;
        self.visit(head, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let head = self.head()?;
        if let Header::Simple(simple::NULL | simple::UNDEFINED) = head {
            return visitor.visit_none();
        }
        self.peeked = Some(head);
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.untagged()? {
            Header::Bytes(length) => {
                let bytes = self.bytes(length)?;
                let mut list = SeqDeserializer::new(bytes.into_iter());
                let value = visitor.visit_seq(&mut list)?;
                list.end().map(|()| value)
            }
            head => self.visit(head, visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.untagged()? {
            Header::Text(length) => {
                let name = self.text(length)?;
                visitor.visit_enum(Unit(name))
            }
            Header::Map(left) => self.items(left, |items| {
                if items.is_over()? {
                    return Err(Error::custom("a variant without a name"));
                }
                items.count();
                visitor.visit_enum(Variant(items.reader))
            }),
            _ => Err(unexpected("item instead of a variant")),
        }
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

/// The items of an array, or the entries of a map.
struct Items<'r, 'a> {
    reader: &'r mut Reader<'a>,
    /// How many are left, where that was told in advance.
    left: Option<usize>,
    /// Whether the end of those was read whose number was not told.
    over: bool,
}

impl Items<'_, '_> {
    fn is_over(&mut self) -> Result<bool, Error> {
        if let Some(left) = self.left {
            return Ok(left == 0);
        }
        if !self.over {
            match self.reader.head()? {
                Header::Break => self.over = true,
                head => self.reader.peeked = Some(head),
            }
        }
        Ok(self.over)
    }

    /// Counts an item, or an entry, that is about to be read.
    fn count(&mut self) {
        self.left = self.left.map(|left| left.saturating_sub(1));
    }

    fn next<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if self.is_over()? {
            return Ok(None);
        }
        self.count();
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

impl<'de> SeqAccess<'de> for &mut Items<'_, '_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        self.next(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.left
    }
}

impl<'de> MapAccess<'de> for &mut Items<'_, '_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        self.next(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(&mut *self.reader)
    }

    fn size_hint(&self) -> Option<usize> {
        self.left
    }
}

/// A variant without content.
struct Unit(String);

impl<'de> EnumAccess<'de> for Unit {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let name = serde::de::value::StrDeserializer::<Error>::new(&self.0);
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Unit {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _: S) -> Result<S::Value, Error> {
        Err(Error::custom("a variant without its content"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("a variant without its content"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        Err(Error::custom("a variant without its content"))
    }
}

/// A variant with content: its name is next.
struct Variant<'r, 'a>(&'r mut Reader<'a>);

impl<'de> EnumAccess<'de> for Variant<'_, '_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        Ok((seed.deserialize(&mut *self.0)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, '_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Deserializer::deserialize_any(self.0, Nothing)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.0.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_map(visitor)
    }
}

/// Takes null.
struct Nothing;

impl Visitor<'_> for Nothing {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("null")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }
}
