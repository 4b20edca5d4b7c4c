//! `?` on the errors of other crates.

use std::borrow::Cow;

use crate::core::error::{BoxError, Error, Result};

/// Turns the error of any result into an [`Error`].
pub trait OrError<T> {
    /// Makes a 500 of the error, with its text; the error is kept as the source.
    ///
    /// `id` names the operation that failed; where it is empty a handler's error gets the id of its
    /// endpoint. An [`Error`] stays what it is, and gets the id if it has none.
    ///
    /// # Errors
    /// When the result is one.
    ///
    /// ```
    /// use micro::prelude::*;
    ///
    /// fn port(text: &str) -> Result<u16> {
    ///     text.parse().or_error("shop.port")
    /// }
    /// let error = port("many").unwrap_err();
    /// assert_eq!(error.to_string(), "shop.port: invalid digit found in string");
    /// ```
    fn or_error(self, id: impl Into<Cow<'static, str>>) -> Result<T>;
}

impl<T, E: Into<BoxError>> OrError<T> for Result<T, E> {
    fn or_error(self, id: impl Into<Cow<'static, str>>) -> Result<T> {
        self.map_err(|error| match error.into().downcast::<Error>() {
            Ok(error) if error.id().is_empty() => error.with_id(id),
            Ok(error) => *error,
            Err(source) => Error::internal(id, &source).with_source(source),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn any_error_becomes_one_of_ours_and_ours_stay_what_they_are() {
        let text: Result<(), &str> = Err("broken");
        assert_eq!(text.or_error("shop").unwrap_err().to_string(), "shop: broken");
        let boxed: Result<(), BoxError> = Err("boxed".into());
        assert_eq!(boxed.or_error("shop").unwrap_err().code(), 500);
        let parsed = "x".parse::<u8>().or_error("shop").unwrap_err();
        assert!(parsed.source().is_some_and(|s| s.is::<std::num::ParseIntError>()));
        let ours: Result<()> = Err(Error::conflict("", "taken"));
        let ours = ours.or_error("shop").unwrap_err();
        assert_eq!((ours.code(), ours.id()), (409, "shop"));
        let ours: Result<()> = Err(ours);
        assert_eq!(ours.or_error("other").unwrap_err().id(), "shop");
    }

    #[test]
    fn errors_of_the_system_pass_through_a_question_mark() {
        fn read() -> Result<Vec<u8>> {
            Ok(std::fs::read("/no/such/file")?)
        }
        let error = read().unwrap_err();
        assert_eq!((error.code(), error.id()), (500, ""));
        assert!(error.source().is_some_and(|source| source.is::<std::io::Error>()));
    }
}
