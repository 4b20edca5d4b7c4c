//! Who the caller is, as servers are told.
//!
//! Credentials travel as transport headers. The policy of the server sees them; they are never
//! metadata, reach no handler and are not passed on to further calls.

use crate::client::builder::Builder;
use crate::client::call::Call;
use crate::core::error::Result;
use crate::core::metadata::Metadata;
use crate::core::secret::Secret;

const AUTHORIZATION: &str = "authorization";

impl Builder {
    /// Proves with every call who calls, by a bearer token.
    ///
    /// The token goes to every node that is called, over whatever transport the client has. It
    /// stays as it is; tokens that end and are renewed come from a
    /// [`Session`](crate::auth::Session) by the layer [`Bearer`](crate::client::Bearer), which
    /// leaves calls alone that have a token by this.
    ///
    /// ```
    /// use micro::Client;
    ///
    /// # fn main() -> micro::Result<()> {
    /// let client = Client::builder().bearer("of-the-shop".to_owned())?.build();
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// 400 when the token has control characters or is longer than a metadata value may be.
    pub fn bearer(mut self, token: impl Into<Secret<String>>) -> Result<Self> {
        insert_bearer(&mut self.headers, &token.into())?;
        Ok(self)
    }
}

impl<T, E> Call<T, E> {
    /// Proves with this call who calls, by a bearer token in the place of the client's; the call
    /// fails with 400 if the token has control characters or is too long.
    pub fn bearer(self, token: impl Into<Secret<String>>) -> Self {
        let token = token.into();
        self.with_header(|headers| insert_bearer(headers, &token))
    }

    /// Sends a transport header, which the policy of the server sees and no handler; the call
    /// fails with 400 if the pair is not allowed in metadata.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.with_header(|headers| headers.insert(name, value).map(drop))
    }
}

/// Adds the header that shows a token.
pub(crate) fn insert_bearer(headers: &mut Metadata, token: &Secret<String>) -> Result<()> {
    headers.insert(AUTHORIZATION, format!("Bearer {}", token.expose())).map(drop)
}
