//! What a connection by itself proves of who calls on it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::core::account::Account;
use crate::core::clock;

/// Who is at the other end of a connection, as a certificate proves it.
///
/// A connection lives longer than its certificate, so every call asks [`Proven::account`] anew.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Proven {
    /// The peer showed nothing.
    #[default]
    Nobody,
    /// The peer showed what is not accepted: it is refused whatever it asks for.
    Refused,
    /// The peer is an account.
    Certified(Arc<Certified>),
}

impl Proven {
    /// Returns the account that calls, `None` where the peer showed nothing.
    ///
    /// # Errors
    /// [`Void`] for what was never accepted, is over, or was revoked; the reason is logged.
    pub fn account(&self) -> Result<Option<Arc<Account>>, Void> {
        match self {
            Self::Nobody => Ok(None),
            Self::Refused => Err(Void),
            Self::Certified(certified) => certified.account().map(Some),
        }
    }
}

/// What was shown proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Void;

/// An account, and how long its certificate stands for it.
#[derive(Debug)]
pub struct Certified {
    account: Arc<Account>,
    name: String,
    issued: Duration,
    until: Duration,
    revoked: Arc<Revoked>,
}

impl Certified {
    /// Joins an account with the name that is revoked where it is, and with the times of its
    /// certificate, since 1970.
    pub fn new(
        account: Account,
        name: impl Into<String>,
        (issued, until): (Duration, Duration),
        revoked: Arc<Revoked>,
    ) -> Self {
        Self { account: Arc::new(account), name: name.into(), issued, until, revoked }
    }

    /// Returns the name that is revoked where it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns when the certificate was issued, since 1970.
    pub fn issued(&self) -> Duration {
        self.issued
    }

    /// Returns when the certificate is over, since 1970.
    pub fn until(&self) -> Duration {
        self.until
    }

    /// Returns the account while the certificate stands for it.
    ///
    /// # Errors
    /// [`Void`] when it is over or revoked; the reason is logged.
    pub fn account(&self) -> Result<Arc<Account>, Void> {
        let reason = if clock::unix_now() >= self.until {
            "the certificate is over"
        } else if self.revoked.holds(&self.name, self.issued) {
            "the certificate was revoked"
        } else {
            return Ok(Arc::clone(&self.account));
        };
        tracing::info!(account = self.account.id(), reason, "refused credentials");
        Err(Void)
    }
}

/// The names whose certificates of before a moment are void, by name.
#[derive(Default)]
pub struct Revoked(ArcSwap<HashMap<String, u64>>);

impl Revoked {
    /// Replaces all entries: names, and the seconds since 1970 up to which certificates are void.
    pub fn replace(&self, names: HashMap<String, u64>) {
        self.0.store(Arc::new(names));
    }

    /// Returns whether a certificate of `name`, issued at a moment since 1970, is void.
    pub fn holds(&self, name: &str, issued: Duration) -> bool {
        let names = self.0.load();
        !names.is_empty() && names.get(name).is_some_and(|until| issued.as_secs() <= *until)
    }
}

impl fmt::Debug for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revoked").field("names", &self.0.load().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certified(until: Duration, revoked: &Arc<Revoked>) -> Proven {
        let account = Account::service("orders", []);
        let issued = clock::unix_now();
        let certified =
            Certified::new(account, "orders", (issued, issued + until), Arc::clone(revoked));
        Proven::Certified(Arc::new(certified))
    }

    #[test]
    fn an_account_ends_with_its_certificate_or_its_revocation() {
        let revoked = Arc::<Revoked>::default();
        let hour = Duration::from_secs(3600);
        let proven = certified(hour, &revoked);
        assert_eq!(proven.account().unwrap().unwrap().id(), "orders");
        assert_eq!(certified(Duration::ZERO, &revoked).account(), Err(Void));
        let now = clock::unix_now().as_secs();
        revoked.replace(HashMap::from([("orders".to_owned(), now - 60), ("mail".to_owned(), now)]));
        assert!(proven.account().is_ok(), "issued after the revocation");
        revoked.replace(HashMap::from([("orders".to_owned(), now + 1)]));
        assert_eq!(proven.account(), Err(Void));
        assert_eq!(Proven::Nobody.account(), Ok(None));
        assert_eq!(Proven::Refused.account(), Err(Void));
    }
}
