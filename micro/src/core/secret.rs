//! Values that never show up in logs.

use std::fmt;

use serde::Deserialize;
use serde::Deserializer;

use crate::core::metadata::is_secret;

/// What stands where a secret is.
const MASK: &str = "***";

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
        f.write_str(MASK)
    }
}

/// Reads the value itself, so that configuration may hold secrets.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self)
    }
}

/// Hides the passwords in the URLs and addresses of a text: `nats://ada:***@10.0.0.1`.
///
/// Options whose names look secret are hidden too. People forget to encode what a password may
/// not hold, so everything from the first `:` of an address to its last `@` counts as one: rather
/// too much is hidden than too little.
pub(crate) fn without_passwords(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    let mut is_prose = true;
    loop {
        let end = next_scheme(rest).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        if is_prose {
            // What comes before the first scheme is prose, or an address that has none.
            out.extend(part.split_inclusive(char::is_whitespace).map(without_password));
        } else {
            out.push_str(&without_password(part));
        }
        let Some(after) = after.strip_prefix("://") else { return out };
        out.push_str("://");
        (rest, is_prose) = (after, false);
    }
}

/// Finds the `://` of the next URL: what is before it is a scheme, and not a part of a password.
fn next_scheme(text: &str) -> Option<usize> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    text.match_indices("://").map(|(at, _)| at).find(|&at| {
        let before = text.get(..at).unwrap_or_default().trim_end_matches(is_part);
        !before.ends_with([':', '@', '/', '?', '#', '&', '%'])
    })
}

/// Whether the value of an option is not shown.
fn is_hidden(option: &str) -> bool {
    let name = option.to_ascii_lowercase().replace('_', "-");
    is_secret(&name)
        || ["key", "auth", "pass", "private", "pwd"].iter().any(|part| name.contains(part))
}

fn without_password(address: &str) -> String {
    let shown = address.rsplit_once('@').and_then(|(user, host)| {
        let (user, _) = user.split_once(':')?;
        Some(format!("{user}:{MASK}@{host}"))
    });
    let shown = shown.unwrap_or_else(|| address.to_owned());
    let Some((base, options)) = shown.split_once('?') else { return shown };
    let option = |option: &str| match option.split_once('=') {
        Some((name, _)) if is_hidden(name) => format!("{name}={MASK}"),
        _ => option.to_owned(),
    };
    format!("{base}?{}", options.split('&').map(option).collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_hidden_and_nothing_else_is() {
        for (text, shown) in [
            ("nats://u:hunter2@h:4222/a", "nats://u:***@h:4222/a"),
            ("nats://u:hunter2@h,redis://v:hunter2@g", "nats://u:***@h,redis://v:***@g"),
            ("nats://u:hunter2@h,v:hunter2@g", "nats://u:***@g"),
            ("nats://u:hun@ter2/hunter2@h", "nats://u:***@h"),
            ("nats://u:12?hunter2@h", "nats://u:***@h"),
            ("nats://:hunter2@h", "nats://:***@h"),
            ("redis:u:hunter2@h", "redis:***@h"),
            ("u:hunter2@h:1 v:hunter2@g", "u:***@h:1 v:***@g"),
            ("consul://h?token=hunter2&ttl=5s", "consul://h?token=***&ttl=5s"),
            ("consul?Api-Token=hunter2", "consul?Api-Token=***"),
            ("consul://h?api_key=hunter2&pass=hunter2", "consul://h?api_key=***&pass=***"),
            ("nats://u:a://b@h", "nats://u:***@h"),
            ("nats://u:hunter2@h redis://v:a://hunter2@g", "nats://u:***@h redis://v:***@g"),
        ] {
            assert_eq!(without_passwords(text), shown);
        }
        for text in ["nats://ada@h:1", "local", "git@h:a/b", "http://[::1]:80/a?b=c", "a: b@c", ""]
        {
            assert_eq!(without_passwords(text), text);
        }
    }

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
