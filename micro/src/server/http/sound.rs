//! Requests that two readers could take for different ones, refused before anybody looks at them.
//!
//! What stands before a server, such as a proxy, and the server itself have to agree on where a
//! request ends and for whom it is. The HTTP library sees to lengths and chunks; what it passes on
//! and what could still be read in two ways ends here.

use http::header::{HOST, TRANSFER_ENCODING};
use http::{Request, Version};

use crate::core::error::Error;

/// Returns what is ambiguous about a request, for which it is a 400.
pub(super) fn fault<B>(request: &Request<B>) -> Option<Error> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Some(refused("the request names several hosts"));
    }
    if host.is_none() && request.version() == Version::HTTP_11 {
        return Some(refused("the request names no host"));
    }
    if let (Some(host), Some(target)) = (host, request.uri().authority())
        && !host.as_bytes().eq_ignore_ascii_case(target.as_str().as_bytes())
    {
        return Some(refused("the target of the request and its host differ"));
    }
    let mut encodings = request.headers().get_all(TRANSFER_ENCODING).iter();
    match (encodings.next(), encodings.next()) {
        (None, _) => None,
        (Some(one), None) if one.as_bytes().eq_ignore_ascii_case(b"chunked") => None,
        _ => Some(refused("of the transfer encodings only `chunked` is served, and once")),
    }
}

#[cold]
fn refused(detail: &str) -> Error {
    Error::bad_request("micro.server", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(version: Version, uri: &str, headers: &[(&str, &str)]) -> u16 {
        let request = Request::builder().version(version).uri(uri);
        let request = headers.iter().fold(request, |request, (k, v)| request.header(*k, *v));
        fault(&request.body(()).unwrap()).map_or(200, |error| error.code())
    }

    #[test]
    fn whom_a_request_is_for_is_said_once() {
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        for (version, uri, headers, expected) in [
            (one, "/", &[("host", "a")][..], 200),
            (one, "/", &[], 400),
            (Version::HTTP_10, "/", &[], 200),
            (one, "/", &[("host", "a"), ("host", "a")], 400),
            (one, "http://a/", &[("host", "A")], 200),
            (one, "http://b/", &[("host", "a")], 400),
            (one, "http://a:80/", &[("host", "a")], 400),
            (one, "http://a@b/", &[("host", "a")], 400),
            (two, "http://a/", &[], 200),
            (two, "http://a/", &[("host", "a")], 200),
            (two, "http://a/", &[("host", "b")], 400),
            (two, "http://a/", &[("host", "a"), ("host", "a")], 400),
            (two, "/", &[], 200),
        ] {
            assert_eq!(code(version, uri, headers), expected, "{version:?} {uri} {headers:?}");
        }
    }

    #[test]
    fn a_body_is_encoded_in_one_way() {
        for (values, expected) in [
            (&["chunked"][..], 200),
            (&["Chunked"], 200),
            (&["gzip, chunked"], 400),
            (&["chunked, chunked"], 400),
            (&["chunked", "chunked"], 400),
            (&["identity", "chunked"], 400),
            (&[""], 400),
        ] {
            let headers: Vec<_> = values.iter().map(|v| ("transfer-encoding", *v)).collect();
            let headers = [&[("host", "a")], &headers[..]].concat();
            assert_eq!(code(Version::HTTP_11, "/", &headers), expected, "{values:?}");
        }
    }
}
