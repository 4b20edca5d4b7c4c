//! A certificate authority of one's own: who may join gets a short-lived certificate.
//!
//! [`init`] makes the authority, whose key stays in a store. [`join_token`] makes a token that is
//! good once, for one service: it holds a secret and the hash of the authority's certificate, so
//! that who joins knows whom to show it to. The process that holds the store opens an
//! [`Authority`], which signs the requests of those who show a token and, later, of those who
//! show the certificate that they got. What it signs is decided by the token alone; of a request
//! it takes the key and nothing else.
//!
//! Whoever reads the database can sign: keep it as the private key that it is.
//!
//! ```
//! use micro::auth::authority::{self, AuthorityConfig, Invitation};
//! use micro::store::{Handle, Memory};
//!
//! # async fn example() -> micro::Result<()> {
//! let database = Handle::new(Memory::new()).database("micro.auth")?;
//! let hash = authority::init(&database, &AuthorityConfig::new("shop.example")).await?;
//! let invitation = Invitation::new("orders").with_scope("stock:read");
//! let token = authority::join_token(&database, &invitation).await?;
//! assert!(token.expose().ends_with(&hash));
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
//! ```

mod issue;
mod members;
mod root;
mod sign;
#[cfg(test)]
mod tests;
mod token;

use std::time::Duration;

use crate::core::error::Result;
use crate::core::secret::Secret;
use crate::store;

pub use self::issue::{Authority, Signed};
pub use self::members::Invitation;
pub use self::root::AuthorityConfig;
pub use self::sign::Request;
pub use self::token::JoinToken;

/// How long a certificate is good unless the authority is configured otherwise.
pub const CERTIFICATE_LIFE_DEFAULT: Duration = Duration::from_secs(3600);

/// The longest that a certificate may be good: a day, since what was revoked a day ago is
/// forgotten.
pub const CERTIFICATE_LIFE_MAX: Duration = Duration::from_secs(24 * 3600);

/// How long a join token waits for its use unless it is told otherwise.
pub const JOIN_LIFE_DEFAULT: Duration = Duration::from_secs(3600);

/// Bytes of a signing request as it travels; a longer one is refused.
pub const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// Names revoked within the longest life of a certificate; more end no further one and are a 429.
pub const REVOKED_MAX: usize = 10_000;

/// How long the authority's own certificate is good: ten years.
pub const ROOT_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Makes the authority of a database and returns the hash of its certificate; one that is there
/// already stays as it is.
///
/// # Errors
/// 400 for a domain or namespace that is no name, 409 when the database holds the authority of
/// others, what the store fails with.
pub async fn init(database: &store::Handle, config: &AuthorityConfig) -> Result<String> {
    root::init(database, config).await
}

/// Makes a token that lets one process join as a service, once.
///
/// # Errors
/// 400 for what is no invitation, 412 when there is no authority, what the store fails with.
pub async fn join_token(
    database: &store::Handle,
    invitation: &Invitation,
) -> Result<Secret<String>> {
    let root = root::read(database).await?;
    members::invite(database, invitation, &root).await
}

/// Ends every certificate of a service and keeps it from being renewed; its processes join anew by
/// other tokens.
///
/// # Errors
/// 429 past [`REVOKED_MAX`], what the store fails with.
pub async fn revoke(database: &store::Handle, service: &str) -> Result<()> {
    members::revoke(database, service).await
}
