//! What every store promises, as claims that a backend passes or fails by name.
//!
//! ```
//! # use std::sync::Arc;
//! # use micro::store::Memory;
//! # use micro::testkit::store::{Subject, conformance};
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?.block_on(async {
//! conformance(async || {
//!     let store = Memory::new();
//!     Subject::new(Arc::new(store.clone()), Arc::new(store))
//! })
//! .await
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod basics;
mod conditions;
mod lists;
mod lives;
mod watches;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::core::clock;
use crate::core::error::Result as CallResult;
use crate::core::future::BoxFuture;
use crate::store::Key;
use crate::store::Query;
use crate::store::Record;
use crate::store::Space;
use crate::store::Store;
use crate::store::Version;
use crate::store::Write;

/// How a claim failed; `Ok` if it holds.
pub type Verdict = Result<(), String>;

/// A backend to be examined, empty, and to itself.
///
/// Two handles stand for two processes that share a store.
#[derive(Debug)]
pub struct Subject {
    /// The handle of the first process.
    pub one: Arc<dyn Store>,
    /// The handle of the second process; may be a clone of the first.
    pub two: Arc<dyn Store>,
    /// A time to live that the backend can keep, as short as it is still reliable.
    pub ttl: Duration,
    /// How long the backend may take at most until a change is visible everywhere, slow machines
    /// included: what is not seen by then fails.
    pub patience: Duration,
    /// Whatever the backend needs as long as it is examined, such as a directory or a server.
    pub keep: Option<Box<dyn Guard>>,
}

/// Anything that lives as long as a [`Subject`].
pub trait Guard: Any + fmt::Debug + Send + Sync {}

impl<T: Any + fmt::Debug + Send + Sync> Guard for T {}

impl Subject {
    /// Makes a subject with a time to live of 15 s and a patience of a minute, as fits backends in
    /// virtual time.
    pub fn new(one: Arc<dyn Store>, two: Arc<dyn Store>) -> Self {
        let (ttl, patience) = (Duration::from_secs(15), Duration::from_secs(60));
        Self { one, two, ttl, patience, keep: None }
    }

    /// Replaces the time to live.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Keeps something alive as long as the subject.
    #[must_use]
    pub fn with_guard(mut self, guard: impl Guard) -> Self {
        self.keep = Some(Box::new(guard));
        self
    }

    /// Writes text under a key of the usual space.
    async fn put(&self, name: &str, value: &str) -> Result<Version, String> {
        let write = Write::new(key(name)?, value.to_owned());
        must("write", self.one.write(&space(), write).await)
    }

    /// Reads the text under a key, at the other handle.
    async fn value(&self, name: &str) -> Result<Option<String>, String> {
        let record = must("read", self.two.read(&space(), &key(name)?).await)?;
        Ok(record.map(|record| String::from_utf8_lossy(&record.value).into_owned()))
    }

    /// Asks for the text under a key until it is what it should be.
    async fn becomes(&self, name: &str, wanted: Option<&str>) -> Verdict {
        let deadline = clock::after(clock::now(), self.patience);
        loop {
            let seen = self.value(name).await?;
            if seen.as_deref() == wanted {
                return Ok(());
            }
            // A store that is linearizable has no second chance.
            if self.two.capabilities().linearizable || clock::now() >= deadline {
                return Err(format!("`{name}` should be {wanted:?} and is {seen:?}"));
            }
            clock::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Lists all pages.
    async fn all(&self, query: &Query) -> Result<Vec<Record>, String> {
        let (mut query, mut records) = (query.clone(), Vec::new());
        loop {
            let page = must("list", self.two.list(&space(), &query).await)?;
            let (got, most) = (page.records.len(), query.page_records());
            ensure(got <= most, || format!("a page of at most {most} has {got} records"))?;
            records.extend(page.records);
            let Some(next) = page.next else { return Ok(records) };
            let ahead = query.after.as_ref().is_none_or(|after| *after < next);
            ensure(ahead, || format!("the page after {:?} ends at `{next}`", query.after))?;
            query.after = Some(next);
        }
    }

    /// Fails unless the keys that a query lists become `wanted`.
    async fn lists(&self, query: &Query, wanted: &[&str]) -> Verdict {
        let deadline = clock::after(clock::now(), self.patience);
        loop {
            let records = self.all(query).await?;
            let seen = keys(&records);
            if seen == wanted {
                return Ok(());
            }
            if self.two.capabilities().linearizable || clock::now() >= deadline {
                return Err(format!("{query:?} should list {wanted:?} and lists {seen:?}"));
            }
            clock::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A named promise of the trait.
#[derive(Clone, Copy)]
pub struct Claim {
    /// The promise as a sentence without spaces.
    pub name: &'static str,
    check: for<'a> fn(&'a Subject) -> BoxFuture<'a, Verdict>,
}

impl Claim {
    /// Examines a fresh subject; a backend passes unseen what needs a power that it does not
    /// declare.
    ///
    /// # Errors
    ///
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

/// All claims, in the order in which they are examined.
pub fn claims() -> impl Iterator<Item = &'static Claim> {
    let groups =
        [basics::CLAIMS, lists::CLAIMS, conditions::CLAIMS, lives::CLAIMS, watches::CLAIMS];
    groups.into_iter().flatten()
}

/// The claims that a backend failed, each with what was seen.
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
        write!(f, "{} of {} claims fail", self.0.len(), claims().count())?;
        for (name, why) in &self.0 {
            write!(f, "\n  {name}: {why}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failures {}

/// Examines all claims, each on a subject of its own from `make`.
///
/// # Errors
///
/// Lists the claims that failed.
pub async fn conformance(make: impl AsyncFn() -> Subject) -> Result<(), Failures> {
    let mut failures = Vec::new();
    for claim in claims() {
        if let Err(why) = claim.examine(&make().await).await {
            failures.push((claim.name, why));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failures(failures)) }
}

/// Declares the claims of a group.
macro_rules! declare {
    ($($(#[$doc:meta])* async fn $name:ident($subject:ident) $body:block)*) => {
        pub(super) const CLAIMS: &[Claim] =
            &[$(Claim { name: stringify!($name), check: $name },)*];
        $(
            $(#[$doc])*
            fn $name($subject: &Subject) -> BoxFuture<'_, Verdict> {
                Box::pin(async move $body)
            }
        )*
    };
}
use declare;

/// Returns the space that most claims use.
fn space() -> Space {
    Space::unbound()
}

fn key(text: &str) -> Result<Key, String> {
    must("a key", Key::new(text))
}

fn keys(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.key.as_str()).collect()
}

/// Turns an error of the backend into a failure that says what was tried.
fn must<T>(what: &str, result: CallResult<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what} failed: {error}"))
}

/// Fails with `why` unless `holds`.
fn ensure(holds: bool, why: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(why()) }
}

/// Fails unless the outcome is an error with this code.
fn refused<T: fmt::Debug>(what: &str, code: u16, outcome: CallResult<T>) -> Verdict {
    match outcome {
        Err(error) if error.code() == code => Ok(()),
        other => Err(format!("{what} should be a {code} and is {other:?}")),
    }
}

#[cfg(test)]
mod broken;
#[cfg(test)]
mod tests;
