//! What every source of settings promises, as claims that one passes or fails by name.
//!
//! ```
//! # use std::sync::Arc;
//! # use micro::config::{Memory, Source};
//! # use micro::core::future::BoxFuture;
//! use micro::testkit::config::{Place, Subject, conformance};
//!
//! struct InMemory(Memory);
//!
//! impl Place for InMemory {
//!     fn source(&self) -> Arc<dyn Source> {
//!         Arc::new(self.0.clone())
//!     }
//!
//!     fn put(&self, document: serde_json::Value) -> BoxFuture<'_, ()> {
//!         self.0.set(document);
//!         Box::pin(std::future::ready(()))
//!     }
//! }
//!
//! # async fn example() -> Result<(), String> {
//! let subject = Subject::changing(|document| Box::new(InMemory(Memory::new("mine", document))));
//! conformance(&subject).await.map_err(|failures| failures.to_string())?;
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
//! #     .block_on(example()).unwrap();
//! ```

mod claims;

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::config::Source;
use crate::core::future::BoxFuture;

pub use self::claims::CLAIMS;

/// How a claim failed; `Ok` if it holds.
pub type Verdict = Result<(), String>;

/// Where a source reads its document.
pub trait Place: Send + Sync {
    /// Makes a source over the place; all of them read the same.
    fn source(&self) -> Arc<dyn Source>;

    /// Puts another document where the sources read it.
    fn put(&self, document: Value) -> BoxFuture<'_, ()>;

    /// Makes what is there unreadable until the next document; `None` where that cannot be.
    fn spoil(&self) -> Option<BoxFuture<'_, ()>> {
        None
    }
}

/// A backend under examination.
pub struct Subject {
    make: Box<dyn Fn(Value) -> Box<dyn Place> + Send + Sync>,
    is_fixed: bool,
}

impl Subject {
    /// Examines sources whose document may change; `make` makes a place that holds a document.
    pub fn changing(make: impl Fn(Value) -> Box<dyn Place> + Send + Sync + 'static) -> Self {
        Self { make: Box::new(make), is_fixed: false }
    }

    /// Examines sources whose document never changes.
    pub fn fixed(make: impl Fn(Value) -> Box<dyn Place> + Send + Sync + 'static) -> Self {
        Self { make: Box::new(make), is_fixed: true }
    }

    fn place(&self, document: Value) -> Box<dyn Place> {
        (self.make)(document)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("is_fixed", &self.is_fixed).finish_non_exhaustive()
    }
}

/// A named promise of a source.
pub struct Claim {
    /// The promise as a sentence without spaces.
    pub name: &'static str,
    check: for<'a> fn(&'a Subject) -> BoxFuture<'a, Verdict>,
}

impl Claim {
    /// Examines a backend.
    ///
    /// # Errors
    /// Says what was seen instead of what was promised.
    pub async fn examine(&self, subject: &Subject) -> Verdict {
        (self.check)(subject).await
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claim").field(&self.name).finish()
    }
}

/// The claims that a source failed, each with what was seen.
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

/// Examines all claims.
///
/// # Errors
/// Lists the claims that failed.
pub async fn conformance(subject: &Subject) -> Result<(), Failures> {
    let mut failures = Vec::new();
    for claim in CLAIMS {
        if let Err(why) = claim.examine(subject).await {
            failures.push((claim.name, why));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failures(failures)) }
}

/// Fails with `why` unless `holds`.
fn ensure(holds: bool, why: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(why()) }
}

#[cfg(test)]
mod broken;
#[cfg(test)]
mod tests;
