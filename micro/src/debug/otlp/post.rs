//! One request to a collector, over a connection of its own.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::core::clock;
use crate::core::error::{BoxError, Error, Result};
use crate::debug::ERROR_ID;

/// Bytes of an answer that are read; a longer one counts as none.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where spans go when the address has no path.
const PATH: &str = "/v1/traces";

/// What a collector says to a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It has the batch but for this many spans.
    Taken { rejected: u64 },
    /// It may take the batch later.
    Later(Option<Duration>),
    /// It never takes the batch.
    Refused(StatusCode),
}

/// A collector that is reached without TLS.
#[derive(Debug)]
pub(super) struct Collector {
    authority: String,
    path: String,
    timeout: Duration,
}

impl Collector {
    pub(super) fn parse(url: &str, timeout: Duration) -> Result<Self> {
        let wrong = |detail: &str| Err(Error::precondition_failed(ERROR_ID, detail.to_owned()));
        if url.starts_with("https://") {
            return wrong(
                "spans are exported without TLS: send them to a collector on this machine",
            );
        }
        let Some(rest) = url.strip_prefix("http://") else {
            return wrong("the address of a collector begins with `http://`");
        };
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) if !path.is_empty() => (authority, format!("/{path}")),
            Some((authority, _)) => (authority, PATH.to_owned()),
            None => (rest, PATH.to_owned()),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        if authority.is_empty() || !authority.chars().all(plain) {
            return wrong("the address of a collector has a host and a port: `http://HOST:PORT`");
        }
        let port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = if port { authority.to_owned() } else { format!("{authority}:4318") };
        Ok(Self { authority, path, timeout })
    }

    /// Sends one batch.
    ///
    /// # Errors
    /// When the collector cannot be reached or does not answer in time.
    pub(super) async fn post(&self, body: Bytes) -> Result<Answer> {
        self.in_time(self.exchange(body)).await
    }

    /// Gives an exchange the time of one try.
    async fn in_time(
        &self,
        exchange: impl Future<Output = Result<Answer, BoxError>>,
    ) -> Result<Answer> {
        let Ok(answered) = clock::timeout(self.timeout, exchange).await else {
            return Err(Error::timeout(ERROR_ID, "the collector did not answer in time"));
        };
        answered.map_err(|error| {
            let detail = format!("the collector cannot be reached: {error}");
            Error::unavailable(ERROR_ID, detail)
        })
    }

    async fn exchange(&self, body: Bytes) -> Result<Answer, BoxError> {
        let stream = TcpStream::connect(&self.authority).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::post(&self.path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(CONNECTION, "close")
            .body(Full::new(body))?;
        // The sender goes with the exchange, so that the connection ends after it.
        let exchange = async move {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
            Ok::<_, BoxError>(answer(head.status, &head.headers, &body))
        };
        // An end of the connection that matters is one of the exchange, too.
        let (answer, _ended) = tokio::join!(exchange, connection);
        answer
    }
}

fn answer(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Answer {
    match status.as_u16() {
        200..=299 => Answer::Taken { rejected: rejected(body) },
        429 | 502..=504 => {
            let hint = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            Answer::Later(hint.and_then(|text| text.parse().ok()).map(Duration::from_secs))
        }
        _ => Answer::Refused(status),
    }
}

/// Reads how many spans a collector did not want of those it took.
fn rejected(body: &[u8]) -> u64 {
    let Ok(answer) = serde_json::from_slice::<serde_json::Value>(body) else { return 0 };
    let count = answer.pointer("/partialSuccess/rejectedSpans");
    let text = count.and_then(|count| count.as_str()).and_then(|text| text.parse().ok());
    text.or_else(|| count.and_then(serde_json::Value::as_u64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::limits::DebugLimits;

    #[test]
    fn an_address_may_leave_out_port_and_path() {
        for (url, authority, path) in [
            ("http://127.0.0.1", "127.0.0.1:4318", PATH),
            ("http://127.0.0.1:7/", "127.0.0.1:7", PATH),
            ("http://[::1]:7/x/y", "[::1]:7", "/x/y"),
            ("http://[::1]", "[::1]:4318", PATH),
        ] {
            let collector = Collector::parse(url, Duration::ZERO).unwrap();
            assert_eq!((collector.authority.as_str(), collector.path.as_str()), (authority, path));
        }
    }

    /// Just before the limit, just after it and far after it; the default and ten times as much.
    #[tokio::test(start_paused = true)]
    async fn a_try_has_its_time_and_no_more() {
        let default = DebugLimits::DEFAULT.export_timeout;
        for limit in [default, default * 10] {
            let collector = Collector::parse("http://127.0.0.1", limit).unwrap();
            let tick = Duration::from_millis(1);
            for needs in [limit - tick, limit + tick, limit * 10] {
                let exchange = async {
                    clock::sleep(needs).await;
                    Ok(Answer::Taken { rejected: 0 })
                };
                let began = clock::now();
                let answer = collector.in_time(exchange).await;
                assert_eq!(clock::now() - began, needs.min(limit));
                let code = answer.as_ref().map_or_else(Error::code, |_| 200);
                assert_eq!(code, if needs < limit { 200 } else { 408 }, "{answer:?}");
            }
        }
    }

    #[test]
    fn an_answer_is_read_for_what_it_says() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, http::HeaderValue::from_static("3"));
        let read = |status: u16, body: &[u8]| {
            answer(StatusCode::from_u16(status).unwrap(), &headers, body)
        };
        assert_eq!(read(200, b"{}"), Answer::Taken { rejected: 0 });
        let partial = br#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"x"}}"#;
        assert_eq!(read(200, partial), Answer::Taken { rejected: 2 });
        assert_eq!(read(503, b""), Answer::Later(Some(Duration::from_secs(3))));
        assert_eq!(read(400, b""), Answer::Refused(StatusCode::BAD_REQUEST));
    }
}
