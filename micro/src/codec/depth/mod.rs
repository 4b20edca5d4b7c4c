//! The guard in front of every `serde` decoder: depth and number of values.
//!
//! Decoders recurse once a level, and a stack that overflows ends the process: no handler catches
//! it. Each decoder has a rule of its own, or none, and some count only a part of what recurses
//! (enum variants are free in MessagePack). So the guard sits between the type and the decoder
//! and counts what is really visited, whatever the bytes claim to be.
//!
//! For formats whose decoders it does not know it also refuses lists of which a type leaves some
//! elements, which decoders that know the end of each list pass over.
//!
//! Not counted are levels that exist in the type alone, `Some` and newtypes: a type that contains
//! itself only through these has no finite value and no decoder ends on it.

mod access;
mod visitor;

use std::cell::Cell;

use serde::Deserializer;
use serde::de::{Error as _, Visitor};

use crate::codec::Visit;
use crate::codec::depth::visitor::Guarded;
use crate::core::limits::{DECODE_DEPTH_MAX, DECODE_ELEMENTS_MAX};

/// What is left of the allowance of one message.
#[derive(Debug)]
pub(super) struct Tally {
    /// A level is an array, a map or an enum variant with content.
    levels: Cell<usize>,
    elements: Cell<usize>,
    /// An error came up inside a level. A type that swallows it would read on from the middle of
    /// a value, so nothing more is given out and the message is refused.
    failed: Cell<bool>,
}

impl Tally {
    /// Makes the allowance of one message.
    pub(super) const fn new() -> Self {
        Self::of(DECODE_ELEMENTS_MAX)
    }

    /// Makes the allowance of a message of so many bytes, whatever its elements are.
    ///
    /// One element for each byte is no amplification, and a list of bytes is not to be cut short.
    fn of_bytes(len: usize) -> Self {
        Self::of(DECODE_ELEMENTS_MAX.max(len))
    }

    const fn of(elements: usize) -> Self {
        Self {
            levels: Cell::new(DECODE_DEPTH_MAX),
            elements: Cell::new(elements),
            failed: Cell::new(false),
        }
    }

    /// Puts the guard in front of a deserializer.
    pub(super) fn guard<D>(&self, inner: D) -> Guard<'_, D, false> {
        Guard { inner, tally: self }
    }

    /// Tells whether the type has gone on after an error that makes the rest unreadable.
    pub(super) fn is_failed(&self) -> bool {
        self.failed.get()
    }

    /// Runs what decodes one level.
    #[inline(always)]
    fn level<T, E: serde::de::Error>(&self, run: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let Some(left) = self.levels.get().checked_sub(1) else {
            return Err(self.fail(format_args!("nested deeper than {DECODE_DEPTH_MAX} levels")));
        };
        self.levels.set(left);
        let done = run();
        self.levels.set(left.saturating_add(1));
        if done.is_err() {
            self.stop();
        }
        done
    }

    /// Takes one element of type `T` off the allowance.
    ///
    /// A `u8` is as long in memory as it is at least on the wire: lists of them cost nothing.
    #[inline(always)]
    fn element<T, E: serde::de::Error>(&self) -> Result<(), E> {
        if size_of::<T>() == 1 {
            return if self.failed.get() { Err(self.fail(format_args!(""))) } else { Ok(()) };
        }
        let Some(left) = self.elements.get().checked_sub(1) else {
            return Err(self.fail(format_args!("too many elements")));
        };
        self.elements.set(left);
        Ok(())
    }

    #[cold]
    fn fail<E: serde::de::Error>(&self, what: std::fmt::Arguments<'_>) -> E {
        let error = if self.is_failed() { E::custom("an error inside") } else { E::custom(what) };
        self.stop();
        error
    }

    #[cold]
    fn stop(&self) {
        self.failed.set(true);
        self.levels.set(0);
        self.elements.set(0);
    }
}

/// Hands the deserializer to `visit` with the guard in front.
pub(super) fn guarded<'de, D: Deserializer<'de>>(
    deserializer: D,
    visit: &mut Visit<'_>,
) -> Result<(), erased_serde::Error> {
    guarded_by::<D, false>(&Tally::new(), deserializer, visit)
}

/// Hands the deserializer of a message of `len` bytes, in a format unknown, to `visit`.
pub(super) fn guarded_unknown<'de, D: Deserializer<'de>>(
    deserializer: D,
    len: usize,
    visit: &mut Visit<'_>,
) -> Result<(), erased_serde::Error> {
    guarded_by::<D, true>(&Tally::of_bytes(len), deserializer, visit)
}

fn guarded_by<'de, D: Deserializer<'de>, const EXACT: bool>(
    tally: &Tally,
    deserializer: D,
    visit: &mut Visit<'_>,
) -> Result<(), erased_serde::Error> {
    let guard = Guard::<'_, D, EXACT> { inner: deserializer, tally };
    visit(&mut <dyn erased_serde::Deserializer<'_>>::erase(guard))?;
    if tally.is_failed() {
        return Err(erased_serde::Error::custom("an error inside"));
    }
    Ok(())
}

/// A deserializer whose levels and elements are counted; `EXACT` where lists have to be read to
/// their ends.
#[derive(Debug)]
pub(super) struct Guard<'t, D, const EXACT: bool> {
    inner: D,
    tally: &'t Tally,
}

/// Methods whose values are never nested: the visitor goes to the decoder as it is.
macro_rules! plain {
    ($($method:ident)*) => {$(
        #[inline(always)]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(visitor)
        }
    )*};
}

/// Methods on which a decoder may visit something nested.
macro_rules! nested {
    ($($method:ident($($arg:ident: $kind:ty),*))*) => {$(
        #[inline(always)]
        fn $method<V: Visitor<'de>>(
            self,
            $($arg: $kind,)*
            visitor: V,
        ) -> Result<V::Value, D::Error> {
            self.inner.$method($($arg,)* Guarded::<V, EXACT>::new(visitor, self.tally))
        }
    )*};
}

impl<'de, D: Deserializer<'de>, const EXACT: bool> Deserializer<'de> for Guard<'_, D, EXACT> {
    type Error = D::Error;

    plain! {
        deserialize_bool
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64
        deserialize_identifier
    }

    nested! {
        deserialize_any() deserialize_ignored_any()
        deserialize_char() deserialize_str() deserialize_string()
        deserialize_bytes() deserialize_byte_buf()
        deserialize_option() deserialize_unit() deserialize_seq() deserialize_map()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

#[cfg(test)]
mod tests;
