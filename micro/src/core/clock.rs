//! The clock: every instant, wait and date of the crate comes from here.
//!
//! Instants are tokio's, so that tests pause and advance them. Dates ([`unix_now`]) are the
//! machine's and never drive a timer: they may jump.

use std::future::Future;
use std::time::Duration;
use std::time::SystemTime;

pub use tokio::time::Instant;
pub use tokio::time::Sleep;

/// Far enough away to mean "never" and near enough for every platform's clock: 30 years.
const FAR_FUTURE: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The deadline of [`timeout_at`] or [`timeout`] passed first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Elapsed;

impl std::fmt::Display for Elapsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("deadline has elapsed")
    }
}

impl std::error::Error for Elapsed {}

/// Returns the present instant of the monotonic clock.
#[inline]
pub fn now() -> Instant {
    Instant::now()
}

/// Returns the instant `delay` from `now`; a delay too long for the clock means 30 years.
#[inline]
pub fn after(now: Instant, delay: Duration) -> Instant {
    now.checked_add(delay).or_else(|| now.checked_add(FAR_FUTURE)).unwrap_or(now)
}

/// Returns the time left until `deadline`, zero once it has passed.
#[inline]
pub fn remaining(now: Instant, deadline: Instant) -> Duration {
    deadline.saturating_duration_since(now)
}

/// Returns the machine's date.
pub fn system_now() -> SystemTime {
    SystemTime::now()
}

/// Returns the time since 1970-01-01 UTC by the machine's date; zero if it is set before that.
pub fn unix_now() -> Duration {
    system_now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Waits for `delay`. Dropping the future cancels the wait.
pub fn sleep(delay: Duration) -> Sleep {
    tokio::time::sleep(delay)
}

/// Waits until `deadline`; at once if it has passed. Dropping the future cancels the wait.
pub fn sleep_until(deadline: Instant) -> Sleep {
    tokio::time::sleep_until(deadline)
}

/// Runs `future` until `deadline` and drops it then.
///
/// The future is polled before the deadline is looked at, so one that is ready wins even when the
/// deadline has passed.
///
/// # Errors
///
/// Returns [`Elapsed`] if the deadline passes first.
pub async fn timeout_at<F: Future>(deadline: Instant, future: F) -> Result<F::Output, Elapsed> {
    tokio::time::timeout_at(deadline, future).await.map_err(|_elapsed| Elapsed)
}

/// Runs `future` for at most `limit` and drops it then.
///
/// # Errors
///
/// Returns [`Elapsed`] if the limit passes first.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    tokio::time::timeout(limit, future).await.map_err(|_elapsed| Elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn paused_time_advances_the_clock() {
        let start = now();
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(now() - start, Duration::from_secs(3600));
    }

    #[tokio::test(start_paused = true)]
    async fn a_future_past_its_deadline_is_dropped_and_a_ready_one_is_not() {
        let deadline = after(now(), Duration::from_millis(5));
        assert_eq!(timeout_at(deadline, std::future::pending::<()>()).await, Err(Elapsed));
        assert_eq!(now(), deadline);
        assert_eq!(timeout_at(deadline, async { 7 }).await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_delay_is_capped_not_a_panic() {
        let start = now();
        assert!(after(start, Duration::MAX) >= after(start, Duration::from_secs(1)));
        assert_eq!(remaining(after(start, Duration::from_secs(1)), start), Duration::ZERO);
    }
}
