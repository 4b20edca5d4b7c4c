//! What the headers of a request say about the call.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::codec::Codecs;
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::content_type::ContentType;
use crate::core::error::{Error, Result};
use crate::core::exchange::Extra;
use crate::core::limits::TraceLimits;
use crate::core::metadata::Metadata;
use crate::core::trace::TRACE_KEY;
use crate::core::trace::Trace;
use crate::server::http::accept::{Accepted, accept, request_type};
use crate::server::http::baggage;
use crate::server::http::coding::{self, Coding};

/// Everything of a request but its target and its body.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) deadline: Option<Instant>,
    pub(super) content_type: ContentType,
    pub(super) accepted: Accepted,
    /// How the body is compressed.
    pub(super) coding: Option<Coding>,
    pub(super) extra: Option<Box<Extra>>,
}

/// Headers that belong to HTTP, to browsers or to proxies; sorted.
const IGNORED: [&str; 42] = [
    "age",
    "allow",
    "alt-used",
    "cache-control",
    "cdn-loop",
    "connection",
    "cookie",
    "date",
    "dnt",
    "early-data",
    "etag",
    "expect",
    "expires",
    "forwarded",
    "from",
    "host",
    "http2-settings",
    "keep-alive",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "priority",
    "range",
    "referer",
    "save-data",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "vary",
    "via",
    "warning",
    "x-real-ip",
    "x-request-start",
    "x-requested-with",
];

/// Beginnings of such headers.
const IGNORED_PREFIXES: [&str; 12] = [
    "accept",
    "access-control-",
    "cf-",
    "content-",
    "grpc-",
    "if-",
    "micro-",
    "proxy-",
    "sec-",
    "tracestate",
    "x-forwarded-",
    "x-micro-",
];

/// Reads the headers of a request.
///
/// # Errors
/// 400 for a bad `timeout` and for metadata past the limits, 415 for a body that is compressed in
/// a way that is not read.
pub(super) fn read(
    headers: &HeaderMap,
    now: Instant,
    codecs: &Codecs,
    limits: &TraceLimits,
) -> Result<Head> {
    let mut head = Head {
        deadline: None,
        content_type: ContentType::Json,
        accepted: Accepted::default(),
        coding: None,
        extra: None,
    };
    let mut content_type = None;
    for (name, value) in headers {
        match name.as_str() {
            "host" | "content-length" | "user-agent" => {}
            "content-type" => content_type = Some(value),
            "accept" => accept(value, codecs, &mut head.accepted),
            "accept-encoding" => head.accepted.coding = coding::for_response(value),
            "content-encoding" => head.coding = coding::of_request(value)?,
            "timeout" => head.deadline = Some(clock::after(now, timeout(value)?)),
            TRACE_KEY => {
                extra(&mut head).trace = value.to_str().ok().and_then(Trace::parse);
            }
            "baggage" => {
                let text = value.to_str().unwrap_or_default();
                baggage::read(text, limits, &mut extra(&mut head).persistent);
            }
            "authorization" => add(&mut extra(&mut head).headers, name, value)?,
            other if is_ignored(other) => {}
            _ => add(&mut extra(&mut head).metadata, name, value)?,
        }
    }
    head.content_type = request_type(content_type);
    Ok(head)
}

/// Reads the headers that a policy sees, for requests that are not calls.
pub(super) fn credentials(headers: &HeaderMap) -> Result<Extra> {
    let mut extra = Extra::default();
    for value in headers.get_all(http::header::AUTHORIZATION) {
        add(&mut extra.headers, &http::header::AUTHORIZATION, value)?;
    }
    Ok(extra)
}

fn extra(head: &mut Head) -> &mut Extra {
    head.extra.get_or_insert_with(Box::default)
}

/// Adds a header, joining it to one of the same name as HTTP does.
pub(in crate::server) fn add(
    metadata: &mut Metadata,
    name: &HeaderName,
    value: &HeaderValue,
) -> Result<()> {
    let text = std::str::from_utf8(value.as_bytes()).map_err(|e| {
        Error::bad_request("micro.server", format!("header {name} is not UTF-8")).with_source(e)
    })?;
    let joined = match metadata.get(name.as_str()) {
        Some(present) => format!("{present}, {text}"),
        None => text.to_owned(),
    };
    metadata.insert(name.as_str(), joined).map(|_| ())
}

pub(in crate::server) fn is_ignored(name: &str) -> bool {
    IGNORED.binary_search(&name).is_ok()
        || IGNORED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Reads a time: nanoseconds, or a number with a unit.
pub(in crate::server) fn timeout(value: &HeaderValue) -> Result<Duration> {
    let text = value.to_str().unwrap_or_default().trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let nanos: Option<u64> = match unit.trim() {
        "" | "ns" => Some(1),
        "us" => Some(1_000),
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        "m" => Some(60_000_000_000),
        _ => None,
    };
    let number = number.parse::<u64>().ok();
    let nanos = number.zip(nanos).map(|(number, nanos)| number.saturating_mul(nanos));
    nanos.map(Duration::from_nanos).ok_or_else(|| {
        let text = text.escape_debug();
        let detail = format!("`timeout: {text}` is no time; write nanoseconds or `500ms`, `2s`");
        Error::bad_request("micro.server", detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(headers: &[(&'static str, &'static str)]) -> Result<Head> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        read(&map, clock::now(), &Codecs::default(), &TraceLimits::default())
    }

    #[test]
    fn the_ignored_names_are_sorted() {
        assert!(IGNORED.is_sorted());
    }

    #[test]
    fn a_plain_request_has_nothing_extra() {
        let head = head(&[
            ("host", "localhost"),
            ("user-agent", "curl"),
            ("accept", "*/*"),
            ("content-length", "2"),
            ("content-type", "application/json"),
            ("accept-encoding", "gzip"),
            ("cookie", "session=secret"),
            ("sec-fetch-site", "same-origin"),
            ("x-forwarded-for", "10.0.0.1"),
            ("connection", "close"),
        ]);
        assert!(head.unwrap().extra.is_none());
    }

    #[test]
    fn other_headers_are_metadata_and_credentials_are_not() {
        let head = head(&[("tenant", "acme"), ("x-a", "1"), ("x-a", "2"), ("authorization", "s")]);
        let extra = head.unwrap().extra.unwrap();
        let pairs: Vec<_> = extra.metadata.iter().collect();
        assert_eq!(pairs, [("tenant", "acme"), ("x-a", "1, 2")]);
        assert_eq!(extra.headers.get("authorization"), Some("s"));
    }

    #[tokio::test(start_paused = true)]
    async fn timeouts_are_nanoseconds_or_have_a_unit() {
        for (text, expected) in [
            ("5000000000", Some(Duration::from_secs(5))),
            ("500ms", Some(Duration::from_millis(500))),
            ("2s", Some(Duration::from_secs(2))),
            ("1 m", Some(Duration::from_secs(60))),
            ("0", Some(Duration::ZERO)),
            ("99999999999999999999", None),
            ("18446744073709551615m", Some(Duration::from_nanos(u64::MAX))),
            ("-1", None),
            ("1h", None),
            ("", None),
            ("soon", None),
        ] {
            let head = head(&[("timeout", text)]);
            let left = head.map(|head| head.deadline.unwrap() - clock::now()).ok();
            assert_eq!(left, expected, "{text}");
        }
    }

    #[test]
    fn metadata_at_its_limit_passes_and_above_it_is_refused() {
        for (count, passes) in [(64, true), (65, false), (640, false)] {
            let mut map = HeaderMap::new();
            for n in 0..count {
                let name = HeaderName::try_from(format!("k{n}")).unwrap();
                map.append(name, HeaderValue::from_static("v"));
            }
            let read = read(&map, clock::now(), &Codecs::default(), &TraceLimits::default());
            assert_eq!(read.is_ok(), passes, "{count}");
            assert!(read.is_ok() || read.unwrap_err().code() == 400);
        }
    }
}
