//! Values that nobody can guess, and their hashes.

use aws_lc_rs::digest;
use aws_lc_rs::rand;

use crate::auth::ERROR_ID;
use crate::auth::jwt::base64url;
use crate::auth::jwt::cache::Digest;
use crate::core::error::Error;
use crate::core::error::Result;

/// Makes text of 256 random bits.
pub(in crate::auth) fn text() -> Result<String> {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes)
        .map_err(|_error| Error::internal(ERROR_ID, "the system gives no random numbers"))?;
    Ok(base64url::encode(&bytes))
}

/// Returns the SHA-256 hash of a text.
pub(super) fn hash(text: &str) -> Digest {
    let mut out = Digest::default();
    // Invariant: both are 32 bytes long.
    for (to, from) in out.iter_mut().zip(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
    {
        *to = *from;
    }
    out
}

/// Returns that hash as text, for stores: what is kept there proves nothing to anybody.
///
/// One round is enough since what is hashed has 256 random bits.
pub(in crate::auth) fn fingerprint(text: &str) -> String {
    base64url::encode(&hash(text))
}
