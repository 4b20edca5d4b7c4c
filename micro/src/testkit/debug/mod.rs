//! What every recorder promises, as claims that a backend passes or fails by name.
//!
//! ```
//! # use std::sync::Arc;
//! # use micro::debug::Memory;
//! # use micro::testkit::debug::{Subject, conformance};
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?.block_on(async {
//! conformance(async || Subject::new(Arc::new(Memory::new()))).await
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod follows;
mod logs;
mod spans;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::core::clock;
use crate::core::error::Result as CallResult;
use crate::core::future::BoxFuture;
use crate::core::stream::Streaming;
use crate::debug::{LogQuery, Record, Recorder};

/// How a claim failed; `Ok` if it holds.
pub type Verdict = Result<(), String>;

/// A backend to be examined, empty, and to itself.
#[derive(Debug)]
pub struct Subject {
    /// The backend.
    pub recorder: Arc<dyn Recorder>,
    /// How long the backend may take at most until what it took is found, slow machines included.
    pub patience: Duration,
}

impl Subject {
    /// Makes a subject with a patience of ten seconds, as fits backends in virtual time.
    pub fn new(recorder: Arc<dyn Recorder>) -> Self {
        Self { recorder, patience: Duration::from_secs(10) }
    }

    fn log(&self, messages: &[&str]) {
        for message in messages {
            self.recorder.log(Record::new("test", *message));
        }
    }

    /// Fails unless what a query finds becomes `wanted`.
    async fn finds(&self, query: &LogQuery, wanted: &[&str]) -> Verdict {
        let deadline = clock::after(clock::now(), self.patience);
        loop {
            let records = must("logs", self.recorder.logs(query).await)?;
            let seen: Vec<_> = records.iter().map(|record| record.message.as_str()).collect();
            if seen == wanted {
                return Ok(());
            }
            if clock::now() >= deadline {
                return Err(format!("{query:?} should find {wanted:?} and finds {seen:?}"));
            }
            clock::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Fails unless the next records of a follower are `wanted`.
    async fn gives(&self, follow: &mut Streaming<Record>, wanted: &[&str]) -> Verdict {
        for wanted in wanted {
            let next = clock::timeout(self.patience, follow.next()).await;
            let seen = match next {
                Ok(Some(Ok(record))) => record.message,
                other => return Err(format!("`{wanted}` should follow and {other:?} does")),
            };
            ensure(seen == *wanted, || format!("`{wanted}` should follow and `{seen}` does"))?;
        }
        Ok(())
    }

    /// Fails if a follower has more to give.
    async fn gives_no_more(&self, follow: &mut Streaming<Record>) -> Verdict {
        match clock::timeout(Duration::from_millis(100), follow.next()).await {
            Err(_) => Ok(()),
            Ok(more) => Err(format!("nothing should follow and {more:?} does")),
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
    [logs::CLAIMS, follows::CLAIMS, spans::CLAIMS].into_iter().flatten()
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

/// Turns an error of the backend into a failure that says what was tried.
fn must<T>(what: &str, result: CallResult<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what} failed: {error}"))
}

/// Fails with `why` unless `holds`.
fn ensure(holds: bool, why: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(why()) }
}

#[cfg(test)]
mod broken;
#[cfg(test)]
mod tests;
