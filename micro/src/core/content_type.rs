//! The media type of a message.

use std::fmt;
use std::sync::Arc;

/// The media type that says how a message is encoded.
///
/// The common ones are plain values, so that comparing and sending them costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ContentType {
    /// `application/msgpack`, the default between `micro` processes.
    #[default]
    MsgPack,
    /// `application/json`.
    Json,
    /// `application/protobuf`.
    Proto,
    /// `application/octet-stream`.
    Bytes,
    /// `text/plain`.
    Text,
    /// Any other, in lower case and without parameters.
    Other(Arc<str>),
}

impl ContentType {
    /// Reads a media type, ignoring its parameters and the case of its letters.
    pub fn parse(text: &str) -> Self {
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack" => {
                Self::MsgPack
            }
            "application/json" => Self::Json,
            "application/protobuf" | "application/x-protobuf" => Self::Proto,
            "application/octet-stream" => Self::Bytes,
            "text/plain" => Self::Text,
            _ => Self::Other(essence.into()),
        }
    }

    /// Returns the media type as text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::MsgPack => "application/msgpack",
            Self::Json => "application/json",
            Self::Proto => "application/protobuf",
            Self::Bytes => "application/octet-stream",
            Self::Text => "text/plain",
            Self::Other(text) => text,
        }
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_case_are_ignored() {
        assert_eq!(ContentType::parse("Application/JSON; charset=utf-8"), ContentType::Json);
        assert_eq!(ContentType::parse("application/x-Foo").as_str(), "application/x-foo");
    }
}
