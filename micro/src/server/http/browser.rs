//! Keeps web pages from calling services that they can reach but should not.

use http::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use http::uri::Authority;
use http::{HeaderName, Uri};

use crate::core::error::{Error, Result};
use crate::server::http::cors::{Cors, Sharing};
use crate::server::http::face::Peer;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Allows any host.
const ANY: &str = "*";

/// Which pages may call, and by which names this server may be called.
#[derive(Clone, Debug, Default)]
pub(crate) struct Browser {
    pub(super) sharing: Sharing,
    hosts: Vec<String>,
}

impl Browser {
    /// Sets which pages of other origins may call.
    ///
    /// # Errors
    /// 400 when they cannot be allowed so.
    pub(crate) fn share_with(&mut self, cors: &Cors) -> Result<()> {
        self.sharing = Sharing::new(cors)?;
        Ok(())
    }

    /// Accepts a host name, without port; `*` accepts all.
    pub(crate) fn allow_host(&mut self, host: &str) {
        self.hosts.push(host.to_ascii_lowercase());
    }

    /// Checks a request; returns the foreign origin that is allowed to read the response.
    ///
    /// # Errors
    /// 403.
    pub(in crate::server) fn check(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        peer: &Peer,
    ) -> Result<Option<HeaderValue>> {
        let Asked { host: named, origin, cross_site } = Asked::of(headers);
        let host = named.map(text).unwrap_or_default();
        let authority = uri.authority().map_or("", Authority::as_str);
        self.check_name(authority, &peer.bound)?;
        if named.is_some() && named != peer.known.get() {
            self.check_name(host, &peer.bound)?;
            // Who calls again by the first name is not looked at again.
            if let Some(named) = named {
                peer.known.get_or_init(|| named.clone());
            }
        }
        let own = if host.is_empty() { authority } else { host };
        let Some(origin) = origin else { return self.check_site(cross_site).map(|()| None) };
        if is_same(text(origin), own) {
            return Ok(None);
        }
        if self.sharing.allows(text(origin)) {
            return Ok(Some(origin.clone()));
        }
        Err(forbidden(&format!(
            "pages of {} may not call this server; allow them with `allow_origin`",
            text(origin).escape_debug()
        )))
    }

    /// Refuses a name that is not one of this server's.
    fn check_name(&self, name: &str, bound: &str) -> Result<()> {
        if name.is_empty() || self.is_own_host(name, bound) {
            return Ok(());
        }
        let name = name.escape_debug();
        let detail = format!("`{name}` is not a name of this server; allow it with `allow_host`");
        Err(forbidden(&detail))
    }

    /// Checks a request without an origin, such as a link or an image.
    fn check_site(&self, cross_site: bool) -> Result<()> {
        if cross_site && !self.sharing.allows_all() {
            return Err(forbidden("pages of other sites may not call this server"));
        }
        Ok(())
    }

    fn is_own_host(&self, authority: &str, bound: &str) -> bool {
        let host = without_port(authority);
        let address = host.trim_start_matches('[').trim_end_matches(']');
        if address.parse::<std::net::IpAddr>().is_ok() {
            return true;
        }
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        host == "localhost"
            || host.ends_with(".localhost")
            || host == bound
            || self.hosts.iter().any(|known| known == ANY || *known == host)
    }
}

/// What a browser says of a request, or whoever sends it.
#[derive(Debug, Default)]
struct Asked<'a> {
    host: Option<&'a HeaderValue>,
    origin: Option<&'a HeaderValue>,
    cross_site: bool,
}

impl<'a> Asked<'a> {
    /// Reads the headers in one pass: looking each of them up costs more, and most are not there.
    fn of(headers: &'a HeaderMap) -> Self {
        let mut asked = Self::default();
        for (name, value) in headers {
            if name == HOST {
                asked.host.get_or_insert(value);
            } else if name == ORIGIN {
                asked.origin.get_or_insert(value);
            } else if name == SEC_FETCH_SITE {
                asked.cross_site |= value == "cross-site";
            }
        }
        asked
    }
}

fn text(value: &HeaderValue) -> &str {
    // What is no text is equal to nothing that is allowed.
    value.to_str().unwrap_or("\u{fffd}")
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Tells whether a page comes from this server itself.
fn is_same(origin: &str, own: &str) -> bool {
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    authority.is_some_and(|authority| !own.is_empty() && authority.eq_ignore_ascii_case(own))
}

fn forbidden(detail: &str) -> Error {
    Error::forbidden("micro.server", detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::limits::ConnectionLimits;
    use crate::core::proven::Proven;
    use crate::server::policy::Origin;
    use crate::server::roster::Roster;
    use std::sync::{Arc, OnceLock};

    fn code(browser: &Browser, headers: &[(&'static str, &'static str)]) -> u16 {
        let headers: HeaderMap = headers
            .iter()
            .map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v)))
            .collect();
        let uri = Uri::from_static("/");
        browser.check(&headers, &uri, &peer()).map_or_else(|e| e.code(), |_| 200)
    }

    fn peer() -> Peer {
        let roster = Arc::new(Roster::default());
        Peer {
            remote: "memory".into(),
            socket: None,
            origin: Origin::Local,
            proven: Proven::Nobody,
            bound: "bound.example".into(),
            known: OnceLock::new(),
            seat: Arc::clone(&roster.join(None, &ConnectionLimits::DEFAULT).unwrap().seat),
        }
    }

    #[test]
    fn a_name_that_was_good_once_makes_no_other_good() {
        let (browser, peer, uri) = (Browser::default(), peer(), Uri::from_static("/"));
        let check = |host: &'static str| {
            let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
            browser.check(&headers, &uri, &peer).is_ok()
        };
        assert!(!check("evil.example"));
        for _ in 0..2 {
            assert!(check("localhost:1"));
            assert!(!check("evil.example") && !check("localhost:1.evil.example"));
        }
    }

    #[test]
    fn foreign_pages_and_foreign_names_are_refused() {
        let browser = Browser::default();
        let own = ("host", "localhost:8080");
        for (headers, expected) in [
            (&[][..], 200),
            (&[own], 200),
            (&[("host", "127.0.0.1:8080")], 200),
            (&[("host", "10.1.2.3")], 200),
            (&[("host", "[::1]:80")], 200),
            (&[("host", "[::1]")], 200),
            (&[("host", "LOCALHOST.")], 200),
            (&[("host", "a.localhost:1")], 200),
            (&[("host", "bound.example:8080")], 200),
            (&[("host", "evil.example")], 403),
            (&[("host", "127.0.0.1.evil.example")], 403),
            (&[("host", "localhost.evil.example:8080")], 403),
            (&[("host", "127.0.0.1:80:evil")], 403),
            (&[own, ("origin", "http://localhost:8080")], 200),
            (&[own, ("origin", "http://localhost:3000")], 403),
            (&[own, ("origin", "https://evil.example")], 403),
            (&[own, ("origin", "null")], 403),
            (&[own, ("origin", "")], 403),
            (&[("origin", "http://")], 403),
            (&[own, ("sec-fetch-site", "cross-site")], 403),
            (&[own, ("sec-fetch-site", "same-origin")], 200),
            (&[own, ("sec-fetch-site", "same-site")], 200),
            (&[own, ("sec-fetch-site", "none")], 200),
            (&[own, ("origin", "http://localhost:8080"), ("sec-fetch-site", "same-origin")], 200),
        ] {
            assert_eq!(code(&browser, headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn what_is_allowed_passes_and_nothing_else() {
        let mut browser = Browser::default();
        browser.share_with(&Cors::new().origin("https://Shop.example/")).unwrap();
        browser.allow_host("API.example");
        let own = ("host", "api.example:80");
        for (headers, expected) in [
            (&[own][..], 200),
            (&[own, ("origin", "https://shop.example")], 200),
            (&[own, ("origin", "https://shop.example"), ("sec-fetch-site", "cross-site")], 200),
            (&[own, ("origin", "http://shop.example")], 403),
            (&[own, ("origin", "https://shop.example.evil")], 403),
            (&[own, ("sec-fetch-site", "cross-site")], 403),
            (&[("host", "other.example")], 403),
        ] {
            assert_eq!(code(&browser, headers), expected, "{headers:?}");
        }
        browser.share_with(&Cors::new().origin("*")).unwrap();
        browser.allow_host("*");
        for headers in [
            &[("host", "other.example"), ("origin", "null")][..],
            &[("host", "other.example"), ("sec-fetch-site", "cross-site")],
        ] {
            assert_eq!(code(&browser, headers), 200, "{headers:?}");
        }
    }

    #[test]
    fn the_authority_of_the_target_is_checked_too() {
        let uri = Uri::from_static("http://evil.example/greeter/Greeter.Hello");
        let check = Browser::default().check(&HeaderMap::new(), &uri, &peer());
        assert_eq!(check.unwrap_err().code(), 403);
    }
}
