//! The headers of a call.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri};

use crate::codec::grpc::{
    ACCEPT_ENCODING, ACCEPTED, ENCODING, Encoding, TIMEOUT, written_timeout, written_type,
};
use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::core::exchange::{Extra, Head, Route};
use crate::core::metadata::Metadata;
use crate::core::trace::TRACE_KEY;
use crate::transport::grpc::baggage;

/// What the URLs of requests begin with.
pub(super) type Base = (Scheme, Authority);

/// How this side names itself.
const USER_AGENT: &str = concat!("micro/", env!("CARGO_PKG_VERSION"));

/// Names that mean something to HTTP or to gRPC itself, and are no metadata.
const RESERVED: [&str; 12] = [
    "baggage",
    "connection",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "timeout",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Makes the request of a call, with its body.
///
/// # Errors
/// 400 when the name of the endpoint makes no path, or metadata no header.
pub(super) fn request<B>(
    head: &Head<'_>,
    base: &Base,
    encoding: Encoding,
    body: B,
) -> Result<Request<B>> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri(head.route, base)?;
    let headers = request.headers_mut();
    headers.insert("content-type", written_type(&head.content_type));
    headers.insert("te", HeaderValue::from_static("trailers"));
    headers.insert("user-agent", HeaderValue::from_static(USER_AGENT));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
    if encoding == Encoding::Gzip {
        headers.insert(ENCODING, HeaderValue::from_static("gzip"));
    }
    let bounded = head.deadline.filter(|_| !head.route.kind().streams_responses());
    if let Some(deadline) = bounded {
        wait(headers, clock::remaining(head.now, deadline));
    }
    if let Some(extra) = &head.extra {
        write(headers, extra)?;
    }
    Ok(request)
}

fn uri(route: &Route, (scheme, authority): &Base) -> Result<Uri> {
    let path = path(route.service(), route.endpoint());
    let unnamed = |error: http::Error| {
        let path = path.escape_debug();
        let detail = format!("`{path}` is no path: rename the service or the endpoint");
        Error::bad_request("micro.transport", detail).with_source(error)
    };
    let parsed = PathAndQuery::try_from(path.as_str()).map_err(|e| unnamed(e.into()))?;
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme.clone());
    parts.authority = Some(authority.clone());
    parts.path_and_query = Some(parsed);
    Uri::from_parts(parts).map_err(|e| unnamed(e.into()))
}

/// Returns the path of an endpoint.
fn path(service: &str, endpoint: &str) -> String {
    if endpoint.starts_with('/') {
        return endpoint.to_owned();
    }
    let (name, method) = endpoint.rsplit_once('.').unwrap_or(("", endpoint));
    match (service, name) {
        ("", name) | (name, "") => format!("/{name}/{method}"),
        _ => format!("/{service}.{name}/{method}"),
    }
}

/// Writes the time that is left, for gRPC and for go-micro.
fn wait(headers: &mut HeaderMap, left: Duration) {
    // Digits and a letter are a value of a header.
    if let Ok(value) = HeaderValue::try_from(written_timeout(left)) {
        headers.insert(TIMEOUT, value);
    }
    let nanos = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
    headers.insert("timeout", HeaderValue::from(nanos));
}

fn write(headers: &mut HeaderMap, extra: &Extra) -> Result<()> {
    write_all(headers, &extra.metadata)?;
    write_all(headers, &extra.headers)?;
    if !extra.persistent.is_empty() {
        headers.insert("baggage", value("baggage", &baggage::written(&extra.persistent))?);
    }
    if let Some(trace) = extra.trace {
        headers.insert(TRACE_KEY, value(TRACE_KEY, &trace.to_string())?);
    }
    Ok(())
}

fn write_all(headers: &mut HeaderMap, metadata: &Metadata) -> Result<()> {
    for (key, text) in metadata {
        if key.starts_with("grpc-") || RESERVED.binary_search(&key).is_ok() {
            continue;
        }
        let name = HeaderName::try_from(key).map_err(|e| unfit(key).with_source(e))?;
        headers.insert(name, value(key, text)?);
    }
    Ok(())
}

fn value(key: &str, text: &str) -> Result<HeaderValue> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|e| unfit(key).with_source(e))
}

fn unfit(key: &str) -> Error {
    let detail = format!("the metadata `{}` makes no header", key.escape_debug());
    Error::bad_request("micro.transport", detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::content_type::ContentType;
    use crate::core::descriptor::CallKind;
    use crate::core::trace::Trace;

    #[test]
    fn reserved_names_are_sorted() {
        assert!(RESERVED.is_sorted());
    }

    #[test]
    fn the_path_is_go_micro_s_and_a_package_is_a_service() {
        for (service, endpoint, expected) in [
            ("greeter", "Greeter.Hello", "/greeter.Greeter/Hello"),
            ("go.micro.srv.greeter", "Greeter.Hello", "/go.micro.srv.greeter.Greeter/Hello"),
            ("shop.v1", "Orders.Read", "/shop.v1.Orders/Read"),
            ("", "Orders.Read", "/Orders/Read"),
            ("", "shop.v1.Orders.Read", "/shop.v1.Orders/Read"),
            ("anything", "/shop.v1.Orders/Read", "/shop.v1.Orders/Read"),
            ("shop", "Read", "/shop/Read"),
        ] {
            assert_eq!(path(service, endpoint), expected);
        }
    }

    fn made(change: impl FnOnce(&mut Head<'_>), kind: CallKind) -> Request<()> {
        let route = Route::new("shop", "Orders.Read", kind);
        let mut head = Head::new(&route, clock::now(), ContentType::Json);
        change(&mut head);
        let base = (Scheme::HTTP, Authority::from_static("a:1"));
        request(&head, &base, Encoding::Identity, ()).unwrap()
    }

    #[test]
    fn headers_carry_what_the_call_has_and_nothing_that_breaks_it() {
        let mut extra = Extra { trace: Some(Trace::root()), ..Extra::default() };
        for key in ["tenant", "key-bin", "te", "grpc-status", "content-length", "timeout"] {
            extra.metadata.insert(key, "AAEC").unwrap();
        }
        extra.persistent.insert("region", "e u").unwrap();
        extra.headers.insert("authorization", "Bearer x").unwrap();
        let request = made(|head| head.extra = Some(Box::new(extra)), CallKind::Unary);
        let headers = request.headers();
        assert_eq!(request.uri(), "http://a:1/shop.Orders/Read");
        for (name, value) in [
            ("content-type", "application/grpc+json"),
            ("te", "trailers"),
            ("tenant", "AAEC"),
            ("key-bin", "AAEC"),
            ("baggage", "region=e%20u"),
            ("authorization", "Bearer x"),
        ] {
            assert_eq!(headers[name], value, "{name}");
        }
        for name in ["grpc-status", "content-length", "timeout", "grpc-timeout", "grpc-encoding"] {
            assert!(!headers.contains_key(name), "{name}");
        }
        assert!(headers.contains_key("traceparent"));
    }

    #[test]
    fn the_time_left_is_told_of_calls_and_not_of_streams() {
        let wait = |head: &mut Head<'_>| {
            head.deadline = Some(clock::after(head.now, Duration::from_millis(1500)));
        };
        let request = made(wait, CallKind::ClientStream);
        assert_eq!(request.headers()["grpc-timeout"], "1500000u");
        assert_eq!(request.headers()["timeout"], "1500000000");
        let request = made(wait, CallKind::ServerStream);
        assert!(!request.headers().contains_key("grpc-timeout"));
    }
}
