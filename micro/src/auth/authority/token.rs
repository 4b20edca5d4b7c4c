//! Join tokens as text.

use crate::auth::ERROR_ID;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::secret::Secret;

const PREFIX: &str = "micro-join";

/// Characters of the hash of a certificate, in hexadecimal.
const HASH_LENGTH: usize = 64;

/// Characters of the longest secret that is read.
const SECRET_LENGTH_MAX: usize = 128;

/// What a process joins with: `micro-join.SECRET.HASH`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JoinToken {
    /// What is shown to the authority, once.
    pub secret: Secret<String>,
    /// The hash of the certificate by which the authority is known.
    pub hash: String,
}

impl JoinToken {
    /// Reads a token.
    ///
    /// # Errors
    /// 400 for anything else; the text is not repeated.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parts = text.trim().split('.');
        let read = (parts.next(), parts.next(), parts.next(), parts.next());
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        match read {
            (Some(PREFIX), Some(secret), Some(hash), None)
                if (1..=SECRET_LENGTH_MAX).contains(&secret.len())
                    && hash.len() == HASH_LENGTH
                    && hash.bytes().all(hex) =>
            {
                Ok(Self { secret: Secret::new(secret.to_owned()), hash: hash.to_owned() })
            }
            _ => Err(Error::bad_request(ERROR_ID, "this is no join token of a micro authority")),
        }
    }

    /// Writes a token.
    pub(super) fn write(secret: &str, hash: &str) -> Secret<String> {
        Secret::new(format!("{PREFIX}.{secret}.{hash}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_nothing_else_is_one() {
        let hash = "0f".repeat(32);
        let token = JoinToken::write("abc", &hash);
        let read = JoinToken::parse(token.expose()).unwrap();
        assert_eq!((read.secret.expose().as_str(), &read.hash), ("abc", &hash));
        assert!(!format!("{read:?} {token:?}").contains("abc"));
        for text in [
            String::new(),
            "micro-join".to_owned(),
            format!("micro-join..{hash}"),
            format!("micro-join.abc.{hash}.x"),
            format!("other.abc.{hash}"),
            format!("micro-join.abc.{}", hash.to_uppercase()),
            format!("micro-join.abc.{}", &hash[1..]),
        ] {
            let error = JoinToken::parse(&text).unwrap_err();
            assert!(error.code() == 400 && !error.detail().contains("abc"), "{error}");
        }
    }
}
