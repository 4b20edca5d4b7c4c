//! What is wrong with a setting, and which one it is.

use std::fmt;
use std::sync::Arc;

use serde::de::{Expected, Unexpected};

use crate::core::secret::without_passwords;

/// Parts of keys whose values are not shown.
const SECRET_PARTS: [&str; 9] =
    ["password", "passwd", "secret", "token", "key", "credential", "auth", "cookie", "private"];

/// Returns whether a key looks as if its value were a secret.
pub(super) fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_PARTS.iter().any(|part| key.contains(part))
}

/// A value that does not fit the type it is read as.
#[derive(Debug, Default)]
pub(super) struct Fault {
    /// The key, once the reader has said which.
    key: Option<String>,
    origin: Option<Arc<str>>,
    /// What is wrong.
    message: String,
    /// The value at fault, shown only if its key is no secret, and without passwords.
    found: Option<String>,
    /// The field that is not there.
    missing: Option<&'static str>,
    /// The struct that has the field.
    wanted_by: Option<&'static str>,
}

impl Fault {
    /// Says what is wrong and with which value.
    pub(super) fn new(message: impl Into<String>, found: Option<&str>) -> Self {
        let found = found.map(|text| format!("`{}`", text.escape_debug()));
        Self { message: message.into(), found, ..Self::default() }
    }

    /// Says which struct was being read, unless one further in has said so.
    pub(super) fn of_struct(mut self, name: &'static str) -> Self {
        self.wanted_by = self.wanted_by.or(Some(name));
        self
    }

    /// Says where it is, unless something further in has said so.
    pub(super) fn at(mut self, key: impl FnOnce() -> String, origin: &Arc<str>) -> Self {
        if self.key.is_none() {
            self.key = Some(key());
            self.origin = Some(Arc::clone(origin));
        }
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.as_deref().unwrap_or_default();
        let origin = self.origin.as_deref().unwrap_or("?");
        if let Some(field) = self.missing {
            let dot = if key.is_empty() { "" } else { "." };
            write!(f, "`{key}{dot}{field}` is missing")?;
            // The root is nowhere in particular.
            if !key.is_empty() {
                write!(f, " in `{key}` from {origin}")?;
            }
            return match self.wanted_by {
                Some(name) => write!(f, ", which is read as `{name}`"),
                None => Ok(()),
            };
        }
        write!(f, "`{key}` from {origin}: {}", without_passwords(&self.message))?;
        match &self.found {
            Some(found) if !is_secret(key) => write!(f, ", found {}", without_passwords(found)),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string(), None)
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = unexpected.to_string();
        Self { found: Some(found), ..Self::custom(format_args!("expected {expected}")) }
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn missing_field(field: &'static str) -> Self {
        Self { missing: Some(field), ..Self::default() }
    }
}
