//! A dialed connection on which only those services are called that the node may serve.

use std::sync::Arc;

use bytes::Bytes;

use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Connection, Exchange, Head};
use crate::core::future::BoxFuture;
use crate::core::proven::Certified;
use crate::core::stream::BoxSource;
use crate::transport::tls::ERROR_ID;
use crate::transport::tls::identity::AUTHORITY;

/// What a scope begins with that lets its holder serve a name; `serve:*` stands for every name.
pub const SERVE_SCOPE: &str = "serve:";

/// What the names of the services begin with that every member has, such as the inbox of events.
const OWN_PREFIX: &str = "micro.";

/// Returns whether a certificate lets its holder serve a service: the one that it names, those of
/// its [scopes](SERVE_SCOPE), and what every process has. The authority may serve everything, and
/// nobody else may serve as the authority.
pub(super) fn may_serve(name: &str, scopes: &[String], service: &str) -> bool {
    if name == AUTHORITY || service == AUTHORITY {
        return name == AUTHORITY;
    }
    let lets = |scope: &String| {
        scope.strip_prefix(SERVE_SCOPE).is_some_and(|served| served == "*" || served == service)
    };
    name == service || service.starts_with(OWN_PREFIX) || scopes.iter().any(lets)
}

/// A connection to a node whose certificate is known.
///
/// A certificate that was revoked meanwhile, or is over, ends the calls: the connection drains.
#[derive(Debug)]
pub(super) struct Vouched {
    inner: Arc<dyn Connection>,
    address: String,
    certified: Certified,
}

impl Vouched {
    pub(super) fn new(inner: Arc<dyn Connection>, address: String, certified: Certified) -> Self {
        Self { inner, address, certified }
    }

    fn check(&self, service: &str) -> Result<()> {
        let Ok(account) = self.certified.account() else {
            self.inner.drain();
            let detail = format!("the certificate of {} does not stand any more", self.address);
            return Err(Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe));
        };
        let name = self.certified.name();
        if may_serve(name, &account.scopes, service) {
            return Ok(());
        }
        let detail = format!(
            "the certificate of {}, which is `{name}`, does not let it serve `{}`",
            self.address,
            service.escape_debug()
        );
        // Nothing was sent: another node may be the right one.
        Err(Error::forbidden(ERROR_ID, detail).with_retry(Retry::Safe))
    }
}

impl Connection for Vouched {
    fn start(
        self: Arc<Self>,
        head: &Head<'_>,
        body: &Bytes,
        source: Option<BoxSource>,
    ) -> Result<Exchange> {
        self.check(head.route.service())?;
        Arc::clone(&self.inner).start(head, body, source)
    }

    fn is_open(&self) -> bool {
        self.inner.is_open()
    }

    fn is_full(&self) -> bool {
        self.inner.is_full()
    }

    fn ready(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.ready()
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        self.inner.closed()
    }

    fn drain(&self) {
        self.inner.drain();
    }

    fn close(&self) {
        self.inner.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_names_what_its_holder_may_serve() {
        let scopes = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        for (name, held, service, may) in [
            ("orders", &[][..], "orders", true),
            ("orders", &[], "mail", false),
            ("orders", &["service:mail", "mail", "serve:mailer", "serve:"], "mail", false),
            ("orders", &["serve:stock", "serve:mail"], "mail", true),
            ("orders", &["serve:*"], "mail", true),
            ("orders", &[], "micro.http.broker", true),
            ("orders", &["serve:*", "serve:authority"], "authority", false),
            ("authority", &[], "authority", true),
            ("authority", &[], "mail", true),
        ] {
            assert_eq!(may_serve(name, &scopes(held), service), may, "{name} {held:?} {service}");
        }
    }
}
