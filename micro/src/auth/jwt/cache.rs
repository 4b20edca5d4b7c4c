//! Tokens that were found good, so that the signature of each is checked once.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use crate::auth::Identity;
use crate::auth::jwt::CACHE_ENTRIES_MAX;
use crate::core::clock;
use crate::core::clock::Instant;

/// How long a token is taken for good without another look.
const LIFE: Duration = Duration::from_secs(60);

/// The hash of a whole token, its signature included.
pub(super) type Digest = [u8; 32];

/// What the answer depends on beside the token: keys and revocations.
pub(super) type Epoch = (u64, u64);

/// Accepted tokens; nothing is kept that was refused.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: Mutex<HashMap<Digest, Entry>>,
}

#[derive(Debug)]
struct Entry {
    identity: Identity,
    until: Instant,
    epoch: Epoch,
}

impl Cache {
    /// Returns whose a token is if it was accepted a short while ago under the same epoch.
    pub(super) fn find(&self, digest: &Digest, epoch: Epoch, now: Instant) -> Option<Identity> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(digest)?;
        (entry.epoch == epoch && now < entry.until).then(|| entry.identity.clone())
    }

    /// Notes an accepted token, which is over in `left`.
    pub(super) fn note(
        &self,
        digest: Digest,
        (identity, left): (Identity, Duration),
        epoch: Epoch,
        now: Instant,
    ) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= CACHE_ENTRIES_MAX {
            entries.retain(|_, entry| entry.epoch == epoch && now < entry.until);
        }
        if entries.len() >= CACHE_ENTRIES_MAX {
            // All are young: to begin again costs one check for each, to keep order costs every call.
            entries.clear();
        }
        let until = clock::after(now, left.min(LIFE));
        entries.insert(digest, Entry { identity, until, epoch });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.lock().unwrap().len()
    }
}
