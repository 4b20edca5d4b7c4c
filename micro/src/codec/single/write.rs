//! Writes a message that is one string.

use serde::ser::{Error as _, Impossible, SerializeSeq, SerializeTuple};
use serde::{Serialize, Serializer};

use crate::codec::single::Kind;

type Error = serde::de::value::Error;
type Nothing = Impossible<(), Error>;

/// The end of a message to which one string is appended.
#[derive(Debug)]
pub(super) struct Sink<'a> {
    kind: Kind,
    /// Whether one element of a list of bytes is wanted, instead of a whole message.
    element: bool,
    out: &'a mut Vec<u8>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(kind: Kind, out: &'a mut Vec<u8>) -> Self {
        Self { kind, element: false, out }
    }

    fn refuse<T>(self) -> Result<T, Error> {
        Err(Error::custom(self.kind.refusal()))
    }

    fn append(self, kind: Kind, bytes: &[u8]) -> Result<(), Error> {
        if self.element || self.kind != kind {
            return self.refuse();
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn list(self) -> Result<Self, Error> {
        if self.element || self.kind != Kind::Bytes {
            return self.refuse();
        }
        Ok(Self { element: true, ..self })
    }

    fn push<T: Serialize + ?Sized>(&mut self, element: &T) -> Result<(), Error> {
        element.serialize(Sink { kind: self.kind, element: true, out: self.out })
    }
}

macro_rules! refuse {
    ($($method:ident: $kind:ty,)*) => {$(
        fn $method(self, _: $kind) -> Result<(), Error> {
            self.refuse()
        }
    )*};
}

impl Serializer for Sink<'_> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Nothing;
    type SerializeTupleVariant = Nothing;
    type SerializeMap = Nothing;
    type SerializeStruct = Nothing;
    type SerializeStructVariant = Nothing;

    refuse! {
        serialize_bool: bool, serialize_char: char,
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128,
        serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128,
        serialize_f32: f32, serialize_f64: f64,
    }

    fn serialize_u8(self, byte: u8) -> Result<(), Error> {
        if !self.element {
            return self.refuse();
        }
        self.out.push(byte);
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Error> {
        self.append(Kind::Bytes, bytes)
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        self.append(Kind::Text, text.as_bytes())
    }

    fn serialize_unit(self) -> Result<(), Error> {
        let kind = self.kind;
        self.append(kind, &[])
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Error> {
        self.list()
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Error> {
        self.list()
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.refuse()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), Error> {
        self.refuse()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), Error> {
        self.refuse()
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        self.refuse()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Nothing, Error> {
        self.refuse()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Nothing, Error> {
        self.refuse()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Nothing, Error> {
        self.refuse()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Nothing, Error> {
        self.refuse()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Nothing, Error> {
        self.refuse()
    }

    fn is_human_readable(&self) -> bool {
        self.kind == Kind::Text
    }
}

impl SerializeSeq for Sink<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, element: &T) -> Result<(), Error> {
        self.push(element)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

impl SerializeTuple for Sink<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, element: &T) -> Result<(), Error> {
        self.push(element)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}
