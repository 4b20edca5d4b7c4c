//! Where a record is: the database, the table and the key.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::core::error::Error;
use crate::core::error::Result;
use crate::store::ERROR_ID;

/// Bytes of a key, the prefixes of scopes included; a longer one is a 400.
///
/// With its space it stays below the longest index entry of PostgreSQL, even where each byte is
/// written as three.
pub const KEY_BYTES_MAX: usize = 512;

/// Bytes of the name of a database or a table; a longer one is a 400.
pub const NAME_BYTES_MAX: usize = 255;

/// The key of a record: 1 to [`KEY_BYTES_MAX`] bytes of text without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Checks a key.
    ///
    /// # Errors
    /// 400 when it is empty, too long or holds a control character.
    pub fn new(text: &str) -> Result<Self> {
        check("a key", text, KEY_BYTES_MAX)?;
        Ok(Self(text.into()))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Key {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A table of a database; the keys of one are not seen in another.
///
/// Names are 1 to [`NAME_BYTES_MAX`] bytes of text without control characters; they name no path,
/// so `..` is a name as any other.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Space {
    database: Arc<str>,
    table: Arc<str>,
}

impl Space {
    /// Checks the names.
    ///
    /// # Errors
    /// 400 when one is empty, too long or holds a control character.
    pub fn new(database: &str, table: &str) -> Result<Self> {
        check("the name of a database", database, NAME_BYTES_MAX)?;
        check("the name of a table", table, NAME_BYTES_MAX)?;
        Ok(Self { database: database.into(), table: table.into() })
    }

    /// Returns the space of handles that are bound to none: table `default` of database `micro`.
    pub fn unbound() -> Self {
        Self { database: "micro".into(), table: "default".into() }
    }

    /// Returns the name of the database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Returns the name of the table.
    pub fn table(&self) -> &str {
        &self.table
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.database, self.table)
    }
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:?}", self.database, self.table)
    }
}

pub(super) fn check(what: &str, text: &str, bytes_max: usize) -> Result<()> {
    let problem = if text.is_empty() {
        "is empty".to_owned()
    } else if text.len() > bytes_max {
        format!("has {} bytes, at most {bytes_max}", text.len())
    } else if text.chars().any(char::is_control) {
        "holds a control character".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::bad_request(ERROR_ID, format!("{what} {problem}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_hold_no_control_characters() {
        let longest = "x".repeat(KEY_BYTES_MAX);
        for text in ["a", "..", "%", "a/b", "*", "\u{1f980}", longest.as_str()] {
            assert_eq!(Key::new(text).unwrap().as_str(), text);
        }
        for text in ["", "a\0b", "a\nb", "\u{85}", &format!("{longest}x")] {
            assert_eq!(Key::new(text).unwrap_err().code(), 400, "{text:?}");
        }
        let longest = "x".repeat(NAME_BYTES_MAX);
        assert!(Space::new(&longest, &longest).is_ok());
        assert!(Space::new("a", &format!("{longest}x")).is_err());
        assert!(Space::new("", "a").is_err());
    }

    /// At the limit, above it and ten times above it; bytes count, not characters.
    #[test]
    fn l26_keys_and_names_are_as_long_as_they_may_be() {
        let wide = |bytes: usize| "\u{e9}".repeat(bytes / 2) + &"x".repeat(bytes % 2);
        for (max, is_key) in [(KEY_BYTES_MAX, true), (NAME_BYTES_MAX, false)] {
            for (bytes, fits) in [(max, true), (max + 1, false), (max * 10, false)] {
                for text in ["x".repeat(bytes), wide(bytes)] {
                    let outcomes = if is_key {
                        vec![Key::new(&text).map(drop)]
                    } else {
                        let (table, database) = (Space::new("a", &text), Space::new(&text, "a"));
                        vec![table.map(drop), database.map(drop)]
                    };
                    for outcome in outcomes {
                        let code = outcome.as_ref().map_or_else(Error::code, |()| 200);
                        assert_eq!(code, if fits { 200 } else { 400 }, "{bytes} of {max}");
                    }
                }
            }
        }
    }
}
