//! Failure: one boxed error, since every error here ends the run and is only ever printed.

/// Why something failed, in words for the person who runs the benchmark.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Success or a [`Fault`].
pub(crate) type Outcome<T> = Result<T, Fault>;

/// Fails with `why` unless `holds`.
pub(crate) fn ensure(holds: bool, why: &str) -> Outcome<()> {
    if holds { Ok(()) } else { Err(why.into()) }
}
