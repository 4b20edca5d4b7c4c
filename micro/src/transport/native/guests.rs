//! How many peers a listener serves, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::core::limits::ConnectionLimits;

/// The peers of a listener.
#[derive(Debug, Default)]
pub(in crate::transport) struct Guests {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    strangers: HashMap<IpAddr, usize>,
}

/// The place of one peer, free again on drop.
#[derive(Debug)]
pub(in crate::transport) struct Guest {
    guests: Arc<Guests>,
    stranger: Option<IpAddr>,
}

impl Guests {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        // No code of others runs under the lock, so a poisoned one holds sound data.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a peer, counted by its address if it is on another host; `None` when there are too
    /// many.
    pub(in crate::transport) fn admit(
        self: &Arc<Self>,
        stranger: Option<IpAddr>,
        limits: &ConnectionLimits,
    ) -> Option<Guest> {
        let mut counts = self.lock();
        let from = stranger.and_then(|ip| counts.strangers.get(&ip)).copied().unwrap_or_default();
        if counts.total >= limits.total_max || from >= limits.per_ip_max {
            return None;
        }
        counts.total += 1;
        if let Some(ip) = stranger {
            counts.strangers.insert(ip, from + 1);
        }
        Some(Guest { guests: Arc::clone(self), stranger })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut counts = self.guests.lock();
        counts.total -= 1;
        if let Some(ip) = self.stranger {
            match counts.strangers.get_mut(&ip) {
                Some(from) if *from > 1 => *from -= 1,
                _ => drop(counts.strangers.remove(&ip)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_admitted_up_to_each_limit_and_again_when_others_have_left() {
        let mut limits = ConnectionLimits::default();
        (limits.total_max, limits.per_ip_max) = (3, 2);
        let guests = Arc::new(Guests::default());
        let [one, other] = [1, 2].map(|n| Some(IpAddr::from([10, 0, 0, n])));
        let first = guests.admit(one, &limits).unwrap();
        let _second = guests.admit(one, &limits).unwrap();
        assert!(guests.admit(one, &limits).is_none(), "too many from one address");
        let _third = guests.admit(other, &limits).unwrap();
        assert!(guests.admit(None, &limits).is_none(), "too many in all");
        drop(first);
        let fourth = guests.admit(one, &limits);
        assert!(fourth.is_some());
        drop(fourth);
        assert_eq!(guests.lock().total, 2);
        assert_eq!(guests.lock().strangers.len(), 2);
    }
}
