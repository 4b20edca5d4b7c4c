//! Which try of a call a request is, as its caller tells those that serve it.
//!
//! The first one says nothing. A process with no room refuses repeated calls before others, and
//! repeats none of the calls that it makes for one: only whoever is at the edge repeats by itself.

use crate::core::metadata::Metadata;

/// The metadata of one hop that counts the tries of a call from 1.
const KEY: &str = "x-attempt";

/// Tells which try of its call a request is; the first is not told.
pub(crate) fn tell(metadata: &mut Metadata, attempt: u32) {
    if attempt > 1 {
        // Metadata at its limit has no room for it: then it passes for the first.
        let _fits = metadata.insert(KEY, attempt.to_string()).is_ok();
    }
}

/// Tells whether a request with this metadata was sent before.
pub(crate) fn is_repeated(metadata: &Metadata) -> bool {
    let attempt = metadata.get(KEY).and_then(|attempt| attempt.parse().ok());
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
            assert_eq!(is_repeated(&metadata), repeated, "{attempt}");
        }
        for nonsense in ["", "x", "-2", "2, 3", "99999999999"] {
            let mut metadata = Metadata::new();
            metadata.insert(KEY, nonsense).unwrap();
            assert!(!is_repeated(&metadata), "{nonsense}");
        }
    }
}
