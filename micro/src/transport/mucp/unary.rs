//! A call with one request and one response.

use std::future::poll_fn;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Uri, Version};
use http_body_util::Full;
use hyper::body::{Body, Incoming};

use crate::core::error::{Error, Result, Retry};
use crate::transport::mucp::connection::Node;
use crate::transport::mucp::headers::Headers;
use crate::transport::mucp::pool::Lane;
use crate::transport::mucp::request::Request;
use crate::transport::mucp::response::{Said, may_follow, read};
use crate::transport::mucp::{ENVELOPE_BYTES_MAX, ID, too_large};

/// Runs a call on a connection of the node's pool; dropping the future closes the connection.
pub(super) async fn call(node: &Node, request: &Request, body: Vec<u8>) -> Result<Bytes> {
    let running = async {
        let bytes_max = node.scope.limits.message.bytes_max;
        let max = bytes_max.saturating_add(ENVELOPE_BYTES_MAX);
        let mut lane = node.lane().await?;
        let answer = exchange(&mut lane, &node.host(), request, (body, max)).await?;
        if answer.may_follow && lane.is_ready().await {
            node.pool.put(lane);
        }
        match answer.said {
            Said::Message(message) if message.len() > bytes_max => Err(too_large(bytes_max)),
            Said::Message(message) => Ok(message),
            Said::Failed(error) => Err(error),
            Said::End => Err(Error::internal(ID, "the node ended a stream that there is not")),
        }
    };
    tokio::select! {
        biased;
        () = node.cut() => Err(lost("it was closed")),
        answer = running => answer,
    }
}

/// What came back, and whether another request may follow it.
pub(super) struct Answer {
    pub(super) said: Said,
    may_follow: bool,
}

/// Sends a request and reads the answer, of which the body may have `max` bytes.
pub(super) async fn exchange(
    lane: &mut Lane,
    host: &str,
    request: &Request,
    (body, max): (Vec<u8>, usize),
) -> Result<Answer> {
    let message = message(host, request, body)?;
    let sent = lane.http.try_send_request(message);
    let response = lane.run(sent).await.map_err(|mut failed| {
        let retry = if failed.take_message().is_some() { Retry::Safe } else { Retry::Unknown };
        lost("before the answer").with_retry(retry).with_source(failed.into_error())
    })?;
    let (parts, mut incoming) = response.into_parts();
    let headers = Headers::from(&parts.headers);
    let body = whole(lane, &mut incoming, max).await?;
    let status = parts.status.as_u16();
    let may_follow = parts.version == Version::HTTP_11 && may_follow(status, &headers);
    Ok(Answer { said: read(status, &headers, &body, request), may_follow })
}

/// Writes the request, its headers in go-micro's order.
fn message(host: &str, request: &Request, body: Vec<u8>) -> Result<http::Request<Full<Bytes>>> {
    let mut headers = HeaderMap::new();
    let host = HeaderValue::try_from(host).map_err(|error| {
        let detail = format!("`{}` is no host", host.escape_debug());
        Error::bad_request(ID, detail).with_retry(Retry::Safe).with_source(error)
    })?;
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static(request.agent));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    request.headers.append_to(&mut headers);
    let mut message = http::Request::new(Full::new(Bytes::from(body)));
    *message.method_mut() = Method::POST;
    *message.uri_mut() = Uri::from_static("/");
    *message.headers_mut() = headers;
    Ok(message)
}

/// Reads a body within its limit.
async fn whole(lane: &mut Lane, body: &mut Incoming, max: usize) -> Result<Bytes> {
    let mut whole = BytesMut::new();
    // Progress: each turn takes a frame, or ends.
    loop {
        let frame = lane.run(poll_fn(|task| Pin::new(&mut *body).poll_frame(task))).await;
        let Some(frame) = frame else { return Ok(whole.freeze()) };
        let frame = frame.map_err(|error| lost("in an answer").with_source(error))?;
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > max.saturating_sub(whole.len()) {
            let detail = format!("an answer may have {max} bytes, this one has more");
            return Err(Error::too_large(ID, detail));
        }
        if whole.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        whole.extend_from_slice(&data);
    }
}

fn lost(when: &str) -> Error {
    Error::unavailable(ID, format!("the connection to the node was lost: {when}"))
        .with_retry(Retry::Unknown)
}
