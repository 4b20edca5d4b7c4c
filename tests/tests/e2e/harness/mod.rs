//! Processes under test, the place they share, and the load that is put on them.

pub(crate) mod heavy;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod place;
pub(crate) mod process;

use std::time::Duration;

pub(crate) use self::heavy::Heavy;
pub(crate) use self::place::Place;
pub(crate) use self::process::Process;

/// How long anything that must happen may take: no measure of speed, the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Tells whether the long rounds are asked for.
pub(crate) fn is_long() -> bool {
    std::env::var_os("MICRO_LONG").is_some_and(|value| value == "1")
}

/// Looks again and again until a condition holds.
///
/// # Panics
/// When it does not within [`PATIENCE`].
pub(crate) async fn until(what: &str, holds: impl AsyncFnMut() -> bool) {
    let held = tokio::time::timeout(PATIENCE, until_holds(holds)).await;
    assert!(held.is_ok(), "never happened: {what}");
}

/// Looks again and again until a condition holds, for ever.
pub(crate) async fn until_holds(mut holds: impl AsyncFnMut() -> bool) {
    while !holds().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
