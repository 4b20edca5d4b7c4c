//! The headers of a message as go-micro writes them: canonical names, in their order.

use std::collections::BTreeMap;
use std::fmt;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::core::metadata::title_case;

/// Headers by their canonical names, such as `Micro-Id`; names that come twice are joined.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Headers(BTreeMap<String, String>);

impl Headers {
    /// Sets a header; what would break the line becomes a space.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.0.insert(title_case(name), one_line(value));
    }

    /// Adds a header, joining it to one of the same name as HTTP does.
    pub(crate) fn add(&mut self, name: &str, value: &[u8]) {
        let value = one_line(&String::from_utf8_lossy(value));
        let joined = self.0.entry(title_case(name)).or_default();
        if !joined.is_empty() {
            joined.push_str(", ");
        }
        joined.push_str(&value);
    }

    /// Returns the value of a header by its canonical name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns the value of a header of go-micro's that may be there under two names, `Micro-Id`
    /// and `X-Micro-Id`; an empty one counts as none.
    pub(crate) fn micro(&self, name: &str) -> Option<&str> {
        let filled = |name: &str| self.get(name).filter(|value| !value.is_empty());
        filled(name).or_else(|| filled(&format!("X-{name}")))
    }

    /// Lists the headers in the order of their names.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Appends the lines of the headers.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        for (name, value) in &self.0 {
            for part in [name.as_str(), ": ", value.as_str(), "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
    }

    /// Appends the headers to a map; those that HTTP does not take are left out.
    pub(crate) fn append_to(&self, map: &mut HeaderMap) {
        for (name, value) in &self.0 {
            let name = HeaderName::try_from(name.as_str());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
                map.append(name, value);
            }
        }
    }
}

impl From<&HeaderMap> for Headers {
    fn from(map: &HeaderMap) -> Self {
        let mut headers = Self::default();
        for (name, value) in map {
            headers.add(name.as_str(), value.as_bytes());
        }
        headers
    }
}

/// Names the headers without their values, which may be credentials.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn one_line(value: &str) -> String {
    let harmless = |letter: char| if letter.is_control() { ' ' } else { letter };
    value.trim().chars().map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_go_writes_them() {
        for (name, expected) in [
            ("foo-bar", "Foo-Bar"),
            ("LOWER-CASE", "Lower-Case"),
            ("micro-id", "Micro-Id"),
            ("te", "Te"),
            ("x--y", "X--Y"),
            ("a_b", "A_b"),
        ] {
            assert_eq!(title_case(name), expected);
        }
    }

    #[test]
    fn no_value_breaks_out_of_its_line() {
        let mut headers = Headers::default();
        headers.set("micro-error", "a\r\nMicro-Id: 7\n\0b\u{7f}");
        let mut out = Vec::new();
        headers.write(&mut out);
        assert_eq!(out, b"Micro-Error: a  Micro-Id: 7  b \r\n");
        let mut map = HeaderMap::new();
        headers.append_to(&mut map);
        assert_eq!(map.len(), 1);
    }

    #[test]
    fn either_name_of_a_header_will_do() {
        let mut headers = Headers::default();
        headers.set("x-micro-error", "b");
        assert_eq!(headers.micro("Micro-Error"), Some("b"));
        headers.set("micro-error", "");
        assert_eq!(headers.micro("Micro-Error"), Some("b"));
        headers.set("micro-error", "a");
        assert_eq!(headers.micro("Micro-Error"), Some("a"));
    }

    #[test]
    fn debug_shows_no_value() {
        let mut headers = Headers::default();
        headers.set("authorization", "Bearer secret");
        assert_eq!(format!("{headers:?}"), "{\"Authorization\"}");
    }
}
