//! The pause before a delivery, where the backend counts deliveries and nothing else is kept.

use std::time::Duration;

use crate::broker::pause::{RETRY_BASE, RETRY_HINT_MAX, RETRY_MAX};
use crate::core::backoff::Backoff;

/// Deliveries after which the ceiling has stopped growing.
const GROWING_MAX: u32 = 16;

/// Returns the pause after so many deliveries: what the handler asks for, within its limit, or drawn
/// from a range that doubles with each.
pub(super) fn before_retry(deliveries: u32, wish: Option<Duration>) -> Duration {
    wish.map_or_else(|| growing(deliveries), |wish| wish.min(RETRY_HINT_MAX))
}

fn growing(deliveries: u32) -> Duration {
    let mut backoff = Backoff::new(RETRY_BASE, RETRY_MAX);
    for _ in 1..deliveries.min(GROWING_MAX) {
        backoff.next_delay();
    }
    backoff.next_delay()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_a_wish_is_honoured_up_to_its_own() {
        for (deliveries, most) in
            [(0, RETRY_BASE), (1, RETRY_BASE), (2, RETRY_BASE * 2), (100, RETRY_MAX)]
        {
            let longest = (0..200).map(|_| before_retry(deliveries, None)).max().unwrap();
            assert!(longest <= most && longest > most / 2, "{deliveries}: {longest:?}");
        }
        assert!(before_retry(u32::MAX, None) <= RETRY_MAX);
        for (wish, pause) in [
            (Duration::from_secs(7), Duration::from_secs(7)),
            (RETRY_HINT_MAX, RETRY_HINT_MAX),
            (RETRY_HINT_MAX + Duration::from_secs(1), RETRY_HINT_MAX),
            (RETRY_HINT_MAX * 10, RETRY_HINT_MAX),
        ] {
            assert_eq!(before_retry(1, Some(wish)), pause);
        }
    }
}
