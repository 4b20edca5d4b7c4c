//! How often somebody may fail to prove to be an account.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::auth::ERROR_ID;
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::error::Retry;

/// Secrets that may be wrong for one account within [`ATTEMPTS_WINDOW`]: 10, far more than typing
/// needs and far less than guessing does. Further ones are not looked at, be they right or wrong.
pub const ATTEMPTS_MAX: u32 = 10;

/// How long wrong secrets are remembered, from the first one: a minute.
pub const ATTEMPTS_WINDOW: Duration = Duration::from_secs(60);

/// Accounts whose wrong secrets are remembered, whether there are such accounts or not; past it the
/// ones that began longest ago are forgotten.
const ACCOUNTS_MAX: usize = 10_000;

/// Bytes of an account's id that are remembered; ids that begin alike count as one.
const ID_BYTES_MAX: usize = 256;

/// Counts the wrong secrets of each account.
#[derive(Default)]
pub(super) struct Attempts {
    failed: Mutex<HashMap<String, Failed>>,
}

struct Failed {
    since: Instant,
    times: u32,
}

impl Attempts {
    /// Takes an attempt for an account, which counts as failed until it is [forgiven](Self::forgive):
    /// of many at once no more get through than one after the other.
    ///
    /// # Errors
    /// 429, safe to repeat after a while, when too many have failed.
    pub(super) fn begin(&self, id: &str) -> Result<()> {
        let (id, now) = (kept(id), clock::now());
        let mut failed = self.lock();
        if !failed.contains_key(id) && failed.len() >= ACCOUNTS_MAX {
            make_room(&mut failed, now);
        }
        let known = failed.entry(id.to_owned()).or_insert(Failed { since: now, times: 0 });
        let end = clock::after(known.since, ATTEMPTS_WINDOW);
        if now >= end {
            *known = Failed { since: now, times: 0 };
        }
        if known.times >= ATTEMPTS_MAX {
            let left = clock::remaining(now, end);
            drop(failed);
            tracing::warn!(account = %id.escape_debug(), "too many wrong secrets");
            let detail = "too many attempts to prove to be this account have failed";
            let error = Error::too_many_requests(ERROR_ID, detail);
            return Err(error.with_retry(Retry::Safe).with_retry_after(left));
        }
        known.times += 1;
        Ok(())
    }

    /// Takes back an attempt that did not fail: the ones that did still count.
    pub(super) fn forgive(&self, id: &str) {
        let (id, mut failed) = (kept(id), self.lock());
        let left = failed.get_mut(id).map(|known| {
            known.times = known.times.saturating_sub(1);
            known.times
        });
        if left == Some(0) {
            failed.remove(id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Failed>> {
        // Every critical section leaves the map whole, so a poisoned lock is still sound.
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the part of an id that is remembered.
fn kept(id: &str) -> &str {
    let end = (0..=ID_BYTES_MAX.min(id.len())).rev().find(|end| id.is_char_boundary(*end));
    id.get(..end.unwrap_or_default()).unwrap_or_default()
}

/// Forgets what is over; if all is young, the half that began first.
fn make_room(failed: &mut HashMap<String, Failed>, now: Instant) {
    failed.retain(|_, known| now < clock::after(known.since, ATTEMPTS_WINDOW));
    if failed.len() >= ACCOUNTS_MAX {
        let mut starts: Vec<Instant> = failed.values().map(|known| known.since).collect();
        let middle = starts.len() / 2;
        let (_, median, _) = starts.select_nth_unstable(middle);
        let median = *median;
        failed.retain(|_, known| known.since > median);
    }
}

impl fmt::Debug for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempts").field("accounts", &self.lock().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn at_the_limit_and_above_nothing_is_looked_at_until_the_window_is_over() {
        let attempts = Attempts::default();
        for _ in 0..ATTEMPTS_MAX {
            attempts.begin("ada").unwrap();
        }
        for _ in 0..10 * ATTEMPTS_MAX {
            let error = attempts.begin("ada").unwrap_err();
            assert_eq!((error.code(), error.retry()), (429, Retry::Safe));
            assert_eq!(error.retry_after(), Some(ATTEMPTS_WINDOW));
        }
        attempts.begin("bob").unwrap();
        clock::sleep(ATTEMPTS_WINDOW - Duration::from_millis(10)).await;
        assert!(attempts.begin("ada").is_err());
        clock::sleep(Duration::from_millis(10)).await;
        attempts.begin("ada").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_did_not_fail_does_not_count_and_forgives_nothing_else() {
        let attempts = Attempts::default();
        for _ in 0..100 {
            attempts.begin("ada").unwrap();
            attempts.forgive("ada");
        }
        assert!(attempts.lock().is_empty());
        for _ in 0..ATTEMPTS_MAX - 1 {
            attempts.begin("ada").unwrap();
        }
        attempts.begin("ada").unwrap();
        attempts.forgive("ada");
        attempts.begin("ada").unwrap();
        assert!(attempts.begin("ada").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn many_names_take_bounded_memory_and_the_latest_stay() {
        let attempts = Attempts::default();
        for n in 0..2 * ACCOUNTS_MAX {
            attempts.begin(&n.to_string()).unwrap();
            if n % 100 == 0 {
                clock::sleep(Duration::from_millis(1)).await;
            }
        }
        attempts.begin(&"\u{20ac}".repeat(100_000)).unwrap();
        assert!(attempts.lock().keys().all(|id| id.len() <= ID_BYTES_MAX));
        let last = (2 * ACCOUNTS_MAX - 1).to_string();
        assert!(attempts.lock().len() <= ACCOUNTS_MAX && attempts.lock().contains_key(&last));
    }
}
