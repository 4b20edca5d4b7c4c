//! A call as a request.

use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Uri};

use crate::codec::sequence::Row;
use crate::core::clock;
use crate::core::content_type::ContentType;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Extra, Head};
use crate::core::metadata::Metadata;
use crate::core::stream::BoxSource;
use crate::core::trace::TRACE_KEY;
use crate::transport::http::body::{Fault, Outflow};

/// Names that are HTTP's own, or those of other parts of a call: metadata under them would change
/// what the request says, or be lost.
const RESERVED: [&str; 18] = [
    "accept",
    "authorization",
    "baggage",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "timeout",
    TRACE_KEY,
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// What a request is made of beside the call.
#[derive(Debug)]
pub(super) struct Target {
    /// What URLs begin with: `http` or `https`.
    pub(super) scheme: &'static str,
    /// The node as `Host` names it.
    pub(super) authority: String,
    /// Whether the request names the node in its target, as HTTP/2 does.
    pub(super) absolute: bool,
    pub(super) message_bytes_max: usize,
}

/// A call that is about to be sent.
pub(super) struct Ask {
    pub(super) request: Request<Outflow>,
    pub(super) content_type: ContentType,
    /// How the responses are told apart, where they are a stream.
    pub(super) responses: Option<Row>,
    pub(super) fault: Fault,
}

impl Ask {
    /// Writes a call as a request.
    ///
    /// # Errors
    /// 400 for what has no form over HTTP, 415 for streams in a format that cannot stream; nothing
    /// was sent, and sending it again would fail again.
    pub(super) fn new(
        head: &Head<'_>,
        body: &Bytes,
        source: Option<BoxSource>,
        target: &Target,
    ) -> Result<Self> {
        let (kind, content_type) = (head.route.kind(), &head.content_type);
        let fault = Fault::default();
        let (outflow, named) = match source {
            Some(source) => {
                let row = row(content_type)?;
                let max = target.message_bytes_max;
                (Outflow::stream(source, row, max, fault.clone()), row.content_type())
            }
            None => (Outflow::Message(body.clone()), content_type.as_str()),
        };
        let responses = kind.streams_responses().then(|| row(content_type)).transpose()?;
        let mut request = Request::new(outflow);
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = uri(head, target)?;
        let headers = request.headers_mut();
        if !target.absolute {
            headers.insert(HOST, value("host", &target.authority)?);
        }
        headers.insert(CONTENT_TYPE, value("content-type", named)?);
        let accepted = responses.map_or(content_type.as_str(), |row| row.content_type());
        headers.insert(ACCEPT, value("accept", accepted)?);
        if let Some(deadline) = head.deadline {
            let left = clock::remaining(head.now, deadline);
            headers.insert("timeout", HeaderValue::from(nanos(left)));
        }
        if let Some(extra) = &head.extra {
            carry(extra, headers)?;
        }
        Ok(Self { request, content_type: content_type.clone(), responses, fault })
    }
}

/// Returns how the messages of a stream are told apart.
fn row(content_type: &ContentType) -> Result<Row> {
    Row::of(content_type).ok_or_else(|| {
        let name = content_type.as_str().escape_debug();
        let detail = format!("`{name}` does not stream over HTTP; JSON and MessagePack do");
        Error::new("micro.transport", 415, detail).with_retry(Retry::Never)
    })
}

fn uri(head: &Head<'_>, target: &Target) -> Result<Uri> {
    let (service, endpoint) = (head.route.service(), head.route.endpoint());
    let plain = |name: &str| !name.is_empty() && !name.contains(['/', '?', '#', ' ']);
    let text = match target.absolute {
        true => format!("{}://{}/{service}/{endpoint}", target.scheme, target.authority),
        false => format!("/{service}/{endpoint}"),
    };
    let uri = Uri::try_from(text).ok().filter(|_| plain(service) && plain(endpoint));
    uri.ok_or_else(|| {
        let (service, endpoint) = (service.escape_debug(), endpoint.escape_debug());
        unfit(&format!("`{service}` `{endpoint}` is no path"))
    })
}

fn nanos(left: Duration) -> u64 {
    u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)
}

/// Writes what a plain call does not have.
fn carry(extra: &Extra, headers: &mut HeaderMap) -> Result<()> {
    for (key, text) in &extra.metadata {
        if RESERVED.contains(&key) || key.starts_with("proxy-") {
            return Err(unfit(&format!("metadata cannot be called `{key}` over HTTP")));
        }
        headers.insert(name(key)?, value(key, text)?);
    }
    for (key, text) in &extra.headers {
        headers.insert(name(key)?, value(key, text)?);
    }
    if !extra.persistent.is_empty() {
        headers.insert("baggage", value("baggage", &baggage(&extra.persistent))?);
    }
    if let Some(trace) = extra.trace {
        headers.insert(TRACE_KEY, value(TRACE_KEY, &trace.to_string())?);
    }
    Ok(())
}

/// Writes persistent metadata as W3C's `baggage`.
fn baggage(metadata: &Metadata) -> String {
    let mut out = String::new();
    for (key, text) in metadata {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(key);
        out.push('=');
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~:/@!$&'()*+".contains(&byte) {
                out.push(char::from(byte));
            } else {
                // Writing into a string cannot fail.
                let _written = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

fn name(key: &str) -> Result<HeaderName> {
    HeaderName::try_from(key).map_err(|e| unfit(&format!("`{key}` names no header")).with_source(e))
}

fn value(key: &str, text: &str) -> Result<HeaderValue> {
    HeaderValue::try_from(text)
        .map_err(|e| unfit(&format!("the value of `{key}` has no form over HTTP")).with_source(e))
}

#[cold]
fn unfit(detail: &str) -> Error {
    Error::bad_request("micro.transport", detail).with_retry(Retry::Never)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::descriptor::CallKind;
    use crate::core::exchange::Route;
    use crate::core::trace::Trace;

    fn asked(change: impl FnOnce(&mut Head<'_>)) -> Result<Request<Outflow>> {
        let route = Route::new("shop", "Orders.Read", CallKind::Unary);
        let mut head = Head::new(&route, clock::now(), ContentType::Json);
        change(&mut head);
        let target = Target {
            scheme: "http",
            authority: "127.0.0.1:80".to_owned(),
            absolute: false,
            message_bytes_max: 1024,
        };
        Ask::new(&head, &Bytes::from_static(b"1"), None, &target).map(|ask| ask.request)
    }

    #[test]
    fn whatever_a_call_carries_has_its_header() {
        let trace =
            Trace::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        let mut extra = Extra::default();
        extra.metadata.insert("tenant", "acme \u{e9}").unwrap();
        extra.persistent.insert("user", "ada, \u{e9}=1").unwrap();
        extra.headers.insert("authorization", "Bearer t").unwrap();
        extra.trace = Some(trace);
        let request = asked(|head| {
            head.deadline = Some(clock::after(head.now, Duration::from_secs(2)));
            head.extra = Some(Box::new(extra));
        });
        let request = request.unwrap();
        assert_eq!(request.uri(), "/shop/Orders.Read");
        let headers = request.headers();
        for (name, text) in [
            ("host", "127.0.0.1:80"),
            ("content-type", "application/json"),
            ("accept", "application/json"),
            ("timeout", "2000000000"),
            ("tenant", "acme \u{e9}"),
            ("baggage", "user=ada%2C%20%C3%A9%3D1"),
            ("authorization", "Bearer t"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ] {
            assert_eq!(headers[name].as_bytes(), text.as_bytes(), "{name}");
        }
        assert_eq!(headers.len(), 8);
    }

    #[test]
    fn metadata_never_becomes_a_header_that_http_acts_on() {
        assert!(RESERVED.is_sorted());
        for key in RESERVED.into_iter().chain(["proxy-connection"]) {
            let mut extra = Extra::default();
            extra.metadata.insert(key, "1").unwrap();
            let error = asked(|head| head.extra = Some(Box::new(extra))).err().unwrap();
            assert_eq!((error.code(), error.retry()), (400, Retry::Never), "{key}");
        }
    }

    #[test]
    fn a_name_that_is_no_path_is_refused() {
        for (service, endpoint) in [("a/b", "C.D"), ("a", "C.D?x=1"), ("", "C.D"), ("a", "C D")] {
            let route = Route::new(service, endpoint, CallKind::Unary);
            let head = Head::new(&route, clock::now(), ContentType::Json);
            let target = Target {
                scheme: "http",
                authority: "a:1".to_owned(),
                absolute: true,
                message_bytes_max: 1,
            };
            let error = Ask::new(&head, &Bytes::new(), None, &target).err().unwrap();
            assert_eq!(error.code(), 400, "{service} {endpoint}");
        }
    }
}
