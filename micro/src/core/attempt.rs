//! Which try of a call a request is, as its caller tells those that serve it.
//!
//! The first one says nothing. A process with no room refuses repeated calls before others. Each hop
//! counts its own tries, within its own budget: what a call is answered with never depends on how often
//! somebody before it was repeated.

use crate::core::metadata::Metadata;

/// The metadata of one hop that counts the tries of a call from 1.
const KEY: &str = "x-attempt";

/// Tells which try of its call a request is, whatever its metadata said; the first is not told.
pub(crate) fn tell(metadata: &mut Metadata, attempt: u32) {
    metadata.remove(KEY);
    if attempt > 1 {
        // Metadata at its limit has no room for it: then it passes for the first.
        let _fits = metadata.insert(KEY, attempt.to_string()).is_ok();
    }
}

/// Takes from the metadata of a request whether it was sent before: nobody else is to read it, or to
/// send it on.
#[cfg(any(feature = "server", test))]
pub(crate) fn take(metadata: &mut Metadata) -> bool {
    let attempt = metadata.remove(KEY).and_then(|attempt| attempt.parse().ok());
    attempt.is_some_and(|attempt: u32| attempt > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_and_nonsense_is_the_first_try() {
        for (attempt, repeated) in [(0, false), (1, false), (2, true), (u32::MAX, true)] {
            let mut metadata = Metadata::new();
            tell(&mut metadata, attempt);
            assert_eq!(take(&mut metadata), repeated, "{attempt}");
            assert!(metadata.is_empty());
        }
        for nonsense in ["", "x", "-2", "2, 3", "99999999999"] {
            let mut metadata = Metadata::new();
            metadata.insert(KEY, nonsense).unwrap();
            tell(&mut metadata, 1);
            assert!(metadata.is_empty(), "{nonsense}");
            metadata.insert(KEY, nonsense).unwrap();
            assert!(!take(&mut metadata), "{nonsense}");
            assert!(metadata.is_empty(), "{nonsense}");
        }
    }
}
