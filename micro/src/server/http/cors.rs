//! Which web pages of other origins may call, and what their browsers are told.

use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName,
    HeaderValue, VARY,
};
use http::{Method, Request};

use crate::core::error::{Error, Result};

/// Allows any origin.
const ANY: &str = "*";

/// How long a browser remembers what it was told, unless set: ten minutes, as Chromium would at
/// most for two hours and Firefox for a day.
const MAX_AGE: Duration = Duration::from_secs(600);

/// What a caller may always read of a response beside its content.
const EXPOSED: [&str; 2] = ["micro-retry", "retry-after"];

/// Which web pages of other origins may call, and what they may send and see; by default none.
///
/// A page that is not allowed gets 403, whether its browser asks first or not. Pages of the
/// server's own origin need no permission.
///
/// ```
/// use std::time::Duration;
/// use micro::server::{Cors, Server};
///
/// let cors = Cors::new()
///     .origin("https://shop.example")
///     .expose("x-total")
///     .max_age(Duration::from_secs(3600));
/// let server = Server::builder().cors(cors).build()?;
/// # drop(server);
/// # Ok::<(), micro::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Cors {
    origins: Vec<String>,
    headers: Vec<String>,
    exposed: Vec<String>,
    credentials: bool,
    max_age: Duration,
}

impl Default for Cors {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            headers: Vec::new(),
            exposed: Vec::new(),
            credentials: false,
            max_age: MAX_AGE,
        }
    }
}

impl Cors {
    /// Allows no page of another origin.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets pages of an origin call, such as `https://shop.example`; `*` lets all.
    pub fn origin(mut self, origin: &str) -> Self {
        self.origins.push(origin.trim_end_matches('/').to_ascii_lowercase());
        self
    }

    /// Lets pages send a header; while none is named they may send any.
    pub fn header(mut self, name: &str) -> Self {
        self.headers.push(name.to_ascii_lowercase());
        self
    }

    /// Lets pages read a header of responses, beside `micro-retry`, `retry-after` and those that
    /// browsers always show.
    pub fn expose(mut self, name: &str) -> Self {
        self.exposed.push(name.to_ascii_lowercase());
        self
    }

    /// Lets pages call with the cookies and certificates that the browser has for this server.
    ///
    /// The origins have to be named then: `*` does not go with it.
    pub fn credentials(mut self) -> Self {
        self.credentials = true;
        self
    }

    /// Sets how long a browser remembers what it may, in whole seconds; ten minutes by default.
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }
}

/// The headers that say what a [`Cors`] allows.
#[derive(Clone, Debug)]
pub(crate) struct Sharing {
    origins: Vec<String>,
    headers: Option<HeaderValue>,
    exposed: HeaderValue,
    credentials: bool,
    max_age: HeaderValue,
}

impl Default for Sharing {
    fn default() -> Self {
        let none = HeaderValue::from_static("");
        let (exposed, max_age) = (none.clone(), none);
        Self { origins: Vec::new(), headers: None, exposed, credentials: false, max_age }
    }
}

impl Sharing {
    /// Reads what is allowed.
    ///
    /// # Errors
    /// 400 for what is no origin or no name of a header, and for credentials with every origin.
    pub(crate) fn new(cors: &Cors) -> Result<Self> {
        for origin in &cors.origins {
            let has_host = origin.split_once("://").is_some_and(|(scheme, host)| {
                !scheme.is_empty() && !host.is_empty() && !host.contains('/')
            });
            if origin != ANY && origin != "null" && !has_host {
                let origin = origin.escape_debug();
                return Err(wrong(&format!(
                    "`{origin}` is not an origin; write https://shop.example"
                )));
            }
        }
        if cors.credentials && cors.origins.iter().any(|origin| origin == ANY) {
            return Err(wrong("pages of every origin cannot call with credentials; name origins"));
        }
        let headers = (!cors.headers.is_empty()).then(|| list(cors.headers.iter())).transpose()?;
        let exposed = EXPOSED.into_iter().chain(cors.exposed.iter().map(String::as_str));
        Ok(Self {
            origins: cors.origins.clone(),
            headers,
            exposed: list(exposed)?,
            credentials: cors.credentials,
            max_age: HeaderValue::from(cors.max_age.as_secs()),
        })
    }

    /// Returns whether any page of another origin may call.
    pub(super) fn is_on(&self) -> bool {
        !self.origins.is_empty()
    }

    /// Returns whether pages of an origin may call.
    pub(super) fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|known| known == ANY || known.eq_ignore_ascii_case(origin))
    }

    /// Returns whether pages of every origin may call.
    pub(super) fn allows_all(&self) -> bool {
        self.origins.iter().any(|origin| origin == ANY)
    }

    /// Lets the page of an allowed origin read a response; without one, says that the response
    /// would differ for it.
    pub(super) fn share(&self, headers: &mut HeaderMap, origin: Option<HeaderValue>) {
        if !self.is_on() {
            return;
        }
        headers.append(VARY, HeaderValue::from_static("origin"));
        let Some(origin) = origin else { return };
        // A route of the user's that has its own say keeps it.
        if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            return;
        }
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed.clone());
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }

    /// Says to a browser that asks whether it may call what it may.
    pub(super) fn permit<B>(&self, headers: &mut HeaderMap, asked: &Request<B>, methods: &Methods) {
        let asked = asked.headers();
        let methods = match methods {
            Methods::Of(methods) => Some(HeaderValue::from_static(methods)),
            Methods::Asked => asked.get(ACCESS_CONTROL_REQUEST_METHOD).cloned(),
        };
        if let Some(methods) = methods {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        let allowed = self.headers.as_ref().or(asked.get(ACCESS_CONTROL_REQUEST_HEADERS));
        if let Some(allowed) = allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed.clone());
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        let vary = "access-control-request-method, access-control-request-headers";
        headers.append(VARY, HeaderValue::from_static(vary));
    }
}

/// The methods that a page may use.
#[derive(Clone, Copy, Debug)]
pub(super) enum Methods {
    /// Those of an endpoint.
    Of(&'static str),
    /// The one that it asks for: what a route of the user's takes only that route knows.
    Asked,
}

/// Returns whether a browser asks by a request what it may, instead of calling.
pub(super) fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Joins names of headers.
fn list(names: impl Iterator<Item = impl AsRef<str>>) -> Result<HeaderValue> {
    let mut all = String::new();
    for name in names {
        let name = name.as_ref();
        let name = HeaderName::try_from(name).map_err(|e| {
            wrong(&format!("`{}` names no header", name.escape_debug())).with_source(e)
        })?;
        if !all.is_empty() {
            all.push_str(", ");
        }
        all.push_str(name.as_str());
    }
    HeaderValue::try_from(all).map_err(|e| wrong("no list of headers").with_source(e))
}

fn wrong(detail: &str) -> Error {
    Error::bad_request("micro.server", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_allowed_is_refused_when_the_server_is_made() {
        for cors in [
            Cors::new().origin("shop.example"),
            Cors::new().origin("https://shop.example/page"),
            Cors::new().origin("*").credentials(),
            Cors::new().header("no header"),
            Cors::new().expose("\n"),
        ] {
            assert_eq!(Sharing::new(&cors).unwrap_err().code(), 400, "{cors:?}");
        }
        for cors in [
            Cors::new(),
            Cors::new().origin("https://shop.example/").credentials(),
            Cors::new().origin("*").header("Content-Type").expose("X-Total"),
        ] {
            assert!(Sharing::new(&cors).is_ok(), "{cors:?}");
        }
    }

    #[test]
    fn a_response_varies_by_origin_wherever_any_is_allowed() {
        let (mut off, mut on) = (HeaderMap::new(), HeaderMap::new());
        Sharing::default().share(&mut off, None);
        assert!(off.is_empty());
        let sharing = Sharing::new(&Cors::new().origin("https://shop.example")).unwrap();
        sharing.share(&mut on, None);
        assert_eq!(on["vary"], "origin");
        assert!(!on.contains_key("access-control-allow-origin"));
    }
}
