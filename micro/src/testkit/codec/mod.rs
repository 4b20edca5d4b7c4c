//! What every codec promises, as claims that one passes or fails by name.
//!
//! ```
//! # use std::sync::Arc;
//! # use micro::codec::{Format, Json};
//! # use micro::testkit::codec::conformance;
//! conformance(&Format::Other(Arc::new(Json)))
//! # .map_err(|failures| failures.to_string())?;
//! # Ok::<(), String>(())
//! ```
//!
//! A codec that overflows the stack ends the process, and with it the examination: that fails too.

mod claims;
mod hostile;
mod shapes;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::Format;
use crate::codec::glue::DecodeSerde;
use crate::codec::glue::EncodeSerde;
use crate::codec::glue::Wire;
use crate::core::error::Error;

pub use self::claims::CLAIMS;

/// How a claim failed; `Ok` if it holds.
pub type Verdict = Result<(), String>;

/// A named promise of a codec.
#[derive(Clone, Copy)]
pub struct Claim {
    /// The promise as a sentence without spaces.
    pub name: &'static str,
    check: fn(&Format) -> Verdict,
}

impl Claim {
    /// Examines a codec; a panic is a failure.
    ///
    /// # Errors
    ///
    /// Says what was seen instead of what was promised.
    pub fn examine(&self, format: &Format) -> Verdict {
        // What is behind the codec is not used after a panic but by the next claim.
        catch_unwind(AssertUnwindSafe(|| (self.check)(format)))
            .unwrap_or_else(|_| Err("the codec panics".to_owned()))
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claim").field(&self.name).finish()
    }
}

/// The claims that a codec failed, each with what was seen.
#[derive(Debug)]
pub struct Failures(Vec<(&'static str, String)>);

impl Failures {
    /// Returns the names of the claims that failed.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.iter().map(|failure| failure.0)
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} claims fail", self.0.len(), CLAIMS.len())?;
        for (name, why) in &self.0 {
            write!(f, "\n  {name}: {why}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failures {}

/// Examines all claims, on the calling thread and some of its own.
///
/// A codec under [`Format::Other`] must carry every `serde` type that it is given, at the top of
/// a message too.
///
/// # Errors
///
/// Lists the claims that failed.
pub fn conformance(format: &Format) -> Result<(), Failures> {
    conformance_but(format, &[])
}

/// Examines all claims of a codec whose format is known to have no form for some values.
///
/// `lacks` names the claims that cannot hold. They have to fail, so that none is excused that holds;
/// that such values are refused when they are encoded is the codec's own to show.
///
/// # Errors
///
/// Lists the claims that failed, those among `lacks` that held, and names that are no claims.
pub fn conformance_but(format: &Format, lacks: &[&'static str]) -> Result<(), Failures> {
    let mut failures = Vec::new();
    for claim in CLAIMS {
        match (lacks.contains(&claim.name), claim.examine(format)) {
            (false, Err(why)) => failures.push((claim.name, why)),
            (true, Ok(())) => failures.push((claim.name, "holds, and is said not to".to_owned())),
            _ => {}
        }
    }
    let unknown = lacks.iter().filter(|name| !CLAIMS.iter().any(|claim| claim.name == **name));
    failures.extend(unknown.map(|name| (*name, "is no claim".to_owned())));
    if failures.is_empty() { Ok(()) } else { Err(Failures(failures)) }
}

/// Encodes a value the way calls do.
fn encode<T: Serialize + 'static>(format: &Format, value: &T) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    (&Wire::<T>::new()).enc()(format, value, &mut out)?;
    Ok(out)
}

/// Decodes a value the way calls do.
fn decode<T: DeserializeOwned + 'static>(format: &Format, bytes: &[u8]) -> Result<T, Error> {
    (&Wire::<T>::new()).dec()(format, &Bytes::copy_from_slice(bytes))
}

/// Encodes what must have a form.
fn encoded<T: fmt::Debug + Serialize + 'static>(
    format: &Format,
    value: &T,
) -> Result<Vec<u8>, String> {
    encode(format, value).map_err(|error| format!("{} has no form: {error}", short(value)))
}

/// Sends a value there and back as another type.
fn sent<T, U>(format: &Format, value: &T) -> Result<U, String>
where
    T: fmt::Debug + Serialize + 'static,
    U: DeserializeOwned + 'static,
{
    let bytes = encoded(format, value)?;
    decode(format, &bytes).map_err(|error| format!("{} does not come back: {error}", short(value)))
}

/// Says what a value is in a few words.
fn short(value: &impl fmt::Debug) -> String {
    let mut text = format!("{value:?}");
    if let Some((end, _)) = text.char_indices().nth(80) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// Fails with `why` unless `holds`.
fn ensure(holds: bool, why: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(why()) }
}

#[cfg(test)]
mod broken;
#[cfg(test)]
mod tests;
