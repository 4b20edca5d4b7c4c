//! Why bytes are not the MessagePack expected.

use std::fmt;

/// What is wrong with a message.
#[derive(Debug)]
pub(in crate::codec) struct Malformed(Box<str>);

impl Malformed {
    /// The message ends inside a value.
    #[cold]
    pub(super) fn cut() -> Self {
        Self("the message is cut short".into())
    }

    /// A value of another kind than those asked for.
    #[cold]
    pub(super) fn unexpected(marker: u8) -> Self {
        Self(format!("a value of another kind, marked {marker:#04x}, than expected").into())
    }

    /// An array or a map with more or fewer elements than its type takes.
    #[cold]
    pub(super) fn length(length: usize) -> Self {
        Self(format!("{length} elements, which is another number than expected").into())
    }

    /// A text that is none.
    #[cold]
    pub(super) fn text(error: std::str::Utf8Error) -> Self {
        Self(error.to_string().into())
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

impl serde::de::Error for Malformed {
    #[cold]
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self(what.to_string().into())
    }
}
