//! The bearer token of an `authorization` header.

use crate::auth::TOKEN_BYTES_MAX;
use crate::auth::refused;
use crate::core::error::Result;

/// Reads the bearer token out of an `authorization` header; `None` for another scheme, which is
/// somebody else's.
///
/// # Errors
/// 401 for a bearer header that holds no single token of at most [`TOKEN_BYTES_MAX`] bytes.
pub fn bearer(header: &str) -> Result<Option<&str>> {
    let header = header.trim_matches(' ');
    let (scheme, rest) = header.split_once(' ').unwrap_or((header, ""));
    // Several headers arrive joined by commas: two credentials are none.
    let clean = |token: &str| token.bytes().all(|b| b.is_ascii_graphic() && b != b',');
    if !scheme.eq_ignore_ascii_case("bearer") {
        let hidden = header.split(',').skip(1).any(|part| {
            part.trim_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case("bearer"))
        });
        return if hidden { Err(refused()) } else { Ok(None) };
    }
    let token = rest.trim_matches(' ');
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !clean(token) {
        return Err(refused());
    }
    Ok(Some(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_token_of_the_own_scheme_is_read() {
        let longest = format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX));
        let too_long = format!("{longest}x");
        for (header, expected) in [
            ("Bearer abc", Ok(Some("abc"))),
            ("bearer  abc ", Ok(Some("abc"))),
            ("Basic dTpw", Ok(None)),
            ("", Ok(None)),
            ("Bearer", Err(())),
            ("Bearer ", Err(())),
            ("Bearer a b", Err(())),
            ("Bearer a, Bearer b", Err(())),
            ("Basic x, Bearer b", Err(())),
            ("Bearer a\u{7f}", Err(())),
            (&longest, Ok(longest.get(7..))),
            (&too_long, Err(())),
        ] {
            assert_eq!(bearer(header).map_err(drop), expected, "{header:.40}");
        }
    }
}
