//! Values that never show up in logs.

use std::fmt;

use serde::Deserialize;
use serde::Deserializer;

/// A password, token or key: `Debug` prints `***`, and there is no `Display` and no `Serialize`.
///
/// Reading it takes a visible [`Secret::expose`]. What this does not do: wipe the memory when it
/// is dropped. That cannot be done soundly in safe code, where the compiler may leave out a write
/// that nobody reads and a move may leave a copy behind.
///
/// ```
/// use micro::core::secret::Secret;
///
/// let password = Secret::new("hunter2".to_owned());
/// assert_eq!(format!("{password:?}"), "***");
/// assert_eq!(password.expose(), "hunter2");
/// ```
#[derive(Clone, Default)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Hides a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Returns the value; the caller keeps it out of logs, errors and metrics.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// Returns the value and gives up its protection.
    pub fn into_exposed(self) -> T {
        self.0
    }
}

impl<T> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Reads the value itself, so that configuration may hold secrets.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Section {
        password: Secret<String>,
    }

    #[test]
    fn debug_of_whatever_holds_it_shows_nothing() {
        let section: Section = serde_json::from_str(r#"{"password":"hunter2"}"#).unwrap();
        assert!(!format!("{section:?} {section:#?}").contains("hunter2"));
        assert_eq!(section.password.expose(), "hunter2");
        assert_eq!(section.password.into_exposed(), "hunter2");
    }
}
