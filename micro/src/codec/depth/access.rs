//! The guard around the contents of arrays, maps and enum variants.

use serde::Deserializer;
use serde::de::{DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};

use crate::codec::depth::visitor::Guarded;
use crate::codec::depth::{Guard, Tally};

/// The elements of an array, each of them counted.
pub(super) struct Elements<'t, A, const EXACT: bool> {
    pub(super) inner: A,
    pub(super) tally: &'t Tally,
}

impl<'de, A: SeqAccess<'de>, const EXACT: bool> SeqAccess<'de> for Elements<'_, A, EXACT> {
    type Error = A::Error;

    #[inline(always)]
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let element = self.inner.next_element_seed(Seed::<_, EXACT> { seed, tally: self.tally })?;
        if element.is_some() {
            self.tally.element::<S::Value, _>()?;
        }
        Ok(element)
    }

    #[inline(always)]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

/// The entries of a map, each of them counted once.
pub(super) struct Entries<'t, A, const EXACT: bool> {
    pub(super) inner: A,
    pub(super) tally: &'t Tally,
}

impl<'de, A: MapAccess<'de>, const EXACT: bool> MapAccess<'de> for Entries<'_, A, EXACT> {
    type Error = A::Error;

    #[inline(always)]
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let key = self.inner.next_key_seed(Seed::<_, EXACT> { seed, tally: self.tally })?;
        if key.is_some() {
            self.tally.element::<S::Value, _>()?;
        }
        Ok(key)
    }

    #[inline(always)]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(Seed::<_, EXACT> { seed, tally: self.tally })
    }

    #[inline(always)]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

/// The variant of an enum; its content is a level, whether the format nests it or not.
pub(super) struct Variants<'t, A, const EXACT: bool> {
    pub(super) inner: A,
    pub(super) tally: &'t Tally,
}

impl<'de, 't, A, const EXACT: bool> EnumAccess<'de> for Variants<'t, A, EXACT>
where
    A: EnumAccess<'de>,
{
    type Error = A::Error;
    type Variant = Variants<'t, A::Variant, EXACT>;

    #[inline(always)]
    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let tally = self.tally;
        let (name, inner) = self.inner.variant_seed(Seed::<_, EXACT> { seed, tally })?;
        Ok((name, Variants { inner, tally }))
    }
}

impl<'de, A, const EXACT: bool> VariantAccess<'de> for Variants<'_, A, EXACT>
where
    A: VariantAccess<'de>,
{
    type Error = A::Error;

    #[inline(always)]
    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    #[inline(always)]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let Self { inner, tally } = self;
        tally.level(|| inner.newtype_variant_seed(Seed::<_, EXACT> { seed, tally }))
    }

    #[inline(always)]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let Self { inner, tally } = self;
        tally.level(|| inner.tuple_variant(len, Guarded::<_, EXACT>::new(visitor, tally)))
    }

    #[inline(always)]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let Self { inner, tally } = self;
        tally.level(|| inner.struct_variant(fields, Guarded::<_, EXACT>::new(visitor, tally)))
    }
}

/// A nested value about to be decoded.
struct Seed<'t, S, const EXACT: bool> {
    seed: S,
    tally: &'t Tally,
}

impl<'de, S, const EXACT: bool> DeserializeSeed<'de> for Seed<'_, S, EXACT>
where
    S: DeserializeSeed<'de>,
{
    type Value = S::Value;

    #[inline(always)]
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.seed.deserialize(Guard::<_, EXACT> { inner, tally: self.tally })
    }
}
