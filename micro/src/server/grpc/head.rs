//! What the headers of a gRPC call say.

use std::time::Duration;

use http::header::{HeaderMap, HeaderValue};

use crate::codec::grpc::{
    ACCEPT_ENCODING, ENCODING, Encoding, TIMEOUT, parse_timeout, read_type, written_type,
};
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::content_type::ContentType;
use crate::core::error::Result;
use crate::core::exchange::Extra;
use crate::core::limits::TraceLimits;
use crate::core::trace::{TRACE_KEY, Trace};
use crate::server::http::baggage;
use crate::server::http::head::{add, is_ignored, timeout};

/// Everything of a call but its target and its messages.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) deadline: Option<Instant>,
    pub(super) content_type: ContentType,
    /// How the caller's messages may be compressed.
    pub(super) encoding: Encoding,
    /// How its responses may be.
    pub(super) response: Encoding,
    pub(super) extra: Option<Box<Extra>>,
}

/// Reads the headers of a call.
///
/// A response is compressed for those who compress their requests, as far as they read it: others
/// would pay for it without having asked. Metadata whose name ends in `-bin` stays Base64.
///
/// # Errors
/// 400 for a bad timeout and for metadata past the limits, 501 for an unknown compression.
pub(super) fn read(headers: &HeaderMap, now: Instant, limits: &TraceLimits) -> Result<Head> {
    let mut head = Head {
        deadline: None,
        content_type: ContentType::Proto,
        encoding: Encoding::Identity,
        response: Encoding::Identity,
        extra: None,
    };
    let mut accepted = None;
    for (name, value) in headers {
        match name.as_str() {
            "content-type" => head.content_type = read_type(text(value)),
            TIMEOUT => head.within(now, parse_timeout(text(value))?),
            // go-micro sends its own beside gRPC's.
            "timeout" => head.within(now, timeout(value)?),
            ENCODING => head.encoding = Encoding::parse(value.as_bytes())?,
            ACCEPT_ENCODING => accepted = Some(value),
            TRACE_KEY => head.extra().trace = Trace::parse(text(value)),
            "baggage" => baggage::read(text(value), limits, &mut head.extra().persistent),
            "authorization" => add(&mut head.extra().headers, name, value)?,
            "x-content-type" => {}
            other if is_ignored(other) => {}
            _ => add(&mut head.extra().metadata, name, value)?,
        }
    }
    if accepted.is_none_or(accepts_gzip) {
        head.response = head.encoding;
    }
    Ok(head)
}

impl Head {
    /// Returns the content type of the response.
    pub(super) fn answered_in(&self) -> HeaderValue {
        written_type(&self.content_type)
    }

    fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_with(Box::default)
    }

    /// Shortens the time of the call.
    fn within(&mut self, now: Instant, timeout: Duration) {
        let at = clock::after(now, timeout);
        self.deadline = Some(self.deadline.map_or(at, |present| present.min(at)));
    }
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

fn accepts_gzip(value: &HeaderValue) -> bool {
    text(value).split(',').any(|name| name.trim() == "gzip")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::HeaderName;

    fn head(headers: &[(&'static str, &'static str)]) -> Result<Head> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        read(&map, clock::now(), &TraceLimits::default())
    }

    #[test]
    fn what_belongs_to_the_protocol_is_no_metadata() {
        let head = head(&[
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("user-agent", "grpc-python/1.80"),
            ("grpc-accept-encoding", "identity, deflate, gzip"),
            ("grpc-previous-rpc-attempts", "1"),
            ("x-content-type", "application/grpc+proto"),
        ]);
        assert!(head.unwrap().extra.is_none());
    }

    #[test]
    fn metadata_is_kept_and_bytes_stay_base64() {
        let head = head(&[("tenant", "acme"), ("key-bin", "AAEC"), ("authorization", "Bearer x")]);
        let extra = head.unwrap().extra.unwrap();
        let pairs: Vec<_> = extra.metadata.iter().collect();
        assert_eq!(pairs, [("key-bin", "AAEC"), ("tenant", "acme")]);
        assert_eq!(extra.headers.get("authorization"), Some("Bearer x"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_shorter_of_both_timeouts_holds() {
        for (headers, expected) in [
            (&[("grpc-timeout", "2S")][..], Some(2000)),
            (&[("timeout", "1000000000")], Some(1000)),
            (&[("grpc-timeout", "2S"), ("timeout", "3000000000")], Some(2000)),
            (&[("grpc-timeout", "2S"), ("timeout", "1000000000")], Some(1000)),
            (&[], None),
        ] {
            let deadline = head(headers).unwrap().deadline;
            let left = deadline.map(|at| (at - clock::now()).as_millis());
            assert_eq!(left, expected, "{headers:?}");
        }
        assert_eq!(head(&[("grpc-timeout", "soon")]).unwrap_err().code(), 400);
    }

    #[test]
    fn who_sends_gzip_gets_gzip_if_it_reads_it() {
        for (headers, expected) in [
            (&[("grpc-encoding", "gzip")][..], Encoding::Gzip),
            (&[("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip")], Encoding::Gzip),
            (
                &[("grpc-encoding", "gzip"), ("grpc-accept-encoding", "identity")],
                Encoding::Identity,
            ),
            (&[("grpc-accept-encoding", "gzip")], Encoding::Identity),
            (&[], Encoding::Identity),
        ] {
            assert_eq!(head(headers).unwrap().response, expected, "{headers:?}");
        }
        assert_eq!(head(&[("grpc-encoding", "br")]).unwrap_err().code(), 501);
    }
}
