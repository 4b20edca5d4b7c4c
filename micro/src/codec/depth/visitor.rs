//! The guard around a visitor: what it is given to visit is guarded too.

use std::fmt;

use serde::Deserializer;
use serde::de::{EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::codec::depth::access::{Elements, Entries, Variants};
use crate::codec::depth::{Guard, Tally};

/// A visitor whose nested values are counted.
pub(super) struct Guarded<'t, V, const EXACT: bool> {
    visitor: V,
    tally: &'t Tally,
}

impl<'t, V, const EXACT: bool> Guarded<'t, V, EXACT> {
    pub(super) fn new(visitor: V, tally: &'t Tally) -> Self {
        Self { visitor, tally }
    }
}

macro_rules! plain {
    ($($method:ident: $kind:ty,)*) => {$(
        #[inline(always)]
        fn $method<E: Error>(self, value: $kind) -> Result<V::Value, E> {
            self.visitor.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>, const EXACT: bool> Visitor<'de> for Guarded<'_, V, EXACT> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    plain! {
        visit_bool: bool,
        visit_i8: i8, visit_i16: i16, visit_i32: i32, visit_i64: i64, visit_i128: i128,
        visit_u8: u8, visit_u16: u16, visit_u32: u32, visit_u64: u64, visit_u128: u128,
        visit_f32: f32, visit_f64: f64, visit_char: char,
        visit_str: &str, visit_borrowed_str: &'de str, visit_string: String,
        visit_bytes: &[u8], visit_borrowed_bytes: &'de [u8], visit_byte_buf: Vec<u8>,
    }

    #[inline(always)]
    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    #[inline(always)]
    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    #[inline(always)]
    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(Guard::<_, EXACT> { inner, tally: self.tally })
    }

    #[inline(always)]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_newtype_struct(Guard::<_, EXACT> { inner, tally: self.tally })
    }

    #[inline(always)]
    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let Self { visitor, tally } = self;
        if !EXACT {
            return tally.level(|| visitor.visit_seq(Elements::<_, EXACT> { inner, tally }));
        }
        tally.level(|| {
            let mut elements = Elements::<_, EXACT> { inner, tally };
            let value = visitor.visit_seq(&mut elements)?;
            match elements.next_element::<IgnoredAny>()? {
                None => Ok(value),
                Some(_) => Err(A::Error::custom("more elements than expected")),
            }
        })
    }

    #[inline(always)]
    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let Self { visitor, tally } = self;
        tally.level(|| visitor.visit_map(Entries::<_, EXACT> { inner, tally }))
    }

    #[inline(always)]
    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_enum(Variants::<_, EXACT> { inner, tally: self.tally })
    }
}
