//! Variables of the environment.

use std::ffi::OsString;

use crate::config::document::Document;
use crate::config::{Flat, Source};
use crate::core::error::{Error, Result};
use crate::core::future::BoxFuture;

/// Settings from variables that share a prefix.
///
/// The rest of a variable's name, in lower case, is the key; `__` separates levels, so that
/// `MICRO_CONFIG_SMTP__FROM_ADDRESS` is `smtp.from_address`. Values are text that is read as the
/// type the program asks for: numbers, `true` or `false`, `5s` for durations, `a, b` for lists. A
/// value that begins with `{`, `[` or `"` is JSON. An empty value means none where the program
/// asks for an `Option`.
#[derive(Clone, Debug)]
pub struct Env {
    flat: Flat,
    /// A variable with the prefix that is not Unicode.
    broken: Option<String>,
}

impl Env {
    /// Takes the variables of this process as they are at this moment.
    pub fn new(prefix: &str) -> Self {
        Self::collect(prefix, std::env::vars_os())
    }

    /// Takes the given variables instead of those of the process.
    pub fn of<K, V>(prefix: &str, variables: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        Self::collect(prefix, variables.into_iter().map(|(key, value)| (key.into(), value.into())))
    }

    fn collect(prefix: &str, variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut this = Self { flat: Flat::new("environment"), broken: None };
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with(prefix)) else {
                continue;
            };
            let key = name.get(prefix.len()..).unwrap_or_default();
            if key.is_empty() {
                continue;
            }
            match value.into_string() {
                Ok(value) => {
                    this.flat.set(key.to_ascii_lowercase().replace("__", "."), value, name);
                }
                Err(_) => this.broken = Some(name.to_owned()),
            }
        }
        this
    }
}

impl Source for Env {
    fn name(&self) -> &str {
        self.flat.name()
    }

    fn load(&self) -> BoxFuture<'_, Result<Document>> {
        Box::pin(async {
            if let Some(name) = &self.broken {
                let detail = format!("the value of {name} is not Unicode");
                return Err(Error::bad_request("micro.config", detail));
            }
            self.flat.document()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_underscores_separate_levels_and_one_does_not() {
        let env = Env::of("P_", [("P_SMTP__FROM_ADDRESS", "a@b"), ("P_", "x"), ("Q_A", "y")]);
        let document = env.load().await.unwrap();
        assert_eq!(document.value, serde_json::json!({"smtp": {"from_address": "a@b"}}));
        assert_eq!(document.origin("smtp.from_address"), Some("P_SMTP__FROM_ADDRESS"));
    }

    #[tokio::test]
    async fn a_table_and_a_value_of_one_key_clash() {
        let env = Env::of("P_", [("P_A", "1"), ("P_A__B", "2")]);
        let error = env.load().await.unwrap_err();
        assert!(error.detail().contains("P_A__B"), "{error}");
    }

    #[tokio::test]
    async fn broken_json_names_the_variable_and_hides_the_value() {
        let env = Env::of("P_", [("P_A", "{hunter2")]);
        let error = env.load().await.unwrap_err();
        assert!(error.detail().contains("P_A"), "{error}");
        assert!(!error.detail().contains("hunter2"), "{error}");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_value_that_is_not_unicode_is_an_error() {
        use std::os::unix::ffi::OsStringExt;
        let env = Env::of("P_", [("P_A", OsString::from_vec(vec![0xff]))]);
        assert!(env.load().await.unwrap_err().detail().contains("P_A"));
    }
}
