//! Posting a message to a process of go-micro.

use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::broker::message::Message;
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Error;
use crate::registry::Instance;

use super::ERROR_ID;
use super::document;
use super::link::Offered;

/// Bytes of an answer that are read: its first line is all that matters.
const ANSWER_BYTES_MAX: usize = 64;

/// Posts a message on a connection of its own.
pub(super) async fn post(
    instance: &Arc<Instance>,
    message: &Message,
    deadline: Instant,
) -> Offered {
    let mut sent = false;
    let posted = clock::timeout_at(deadline, try_post(instance, message, &mut sent)).await;
    let text = match posted {
        Ok(Ok(200..=299)) => return Offered::Taken,
        Ok(Ok(429 | 503)) => return Offered::Full,
        Ok(Ok(404)) => return Offered::Gone,
        Ok(Ok(status)) => format!("{} answers {status}", instance.address),
        Ok(Err(error)) => format!("{}: {error}", instance.address),
        Err(_elapsed) => format!("{} does not answer", instance.address),
    };
    Offered::Failed { error: Error::unavailable(ERROR_ID, text), sent }
}

/// Posts a message and returns the status; `sent` once it may have arrived.
async fn try_post(instance: &Instance, message: &Message, sent: &mut bool) -> std::io::Result<u16> {
    let invalid = |error: Error| std::io::Error::other(error.to_string());
    let body = document::write(message).map_err(invalid)?;
    let secure = instance.metadata.get("secure").is_some_and(|value| value == "true");
    if secure {
        return Err(std::io::Error::other("it asks for TLS, which the http broker does not speak"));
    }
    let mut stream = TcpStream::connect(instance.address.as_str()).await?;
    let head = head(&instance.id, &instance.address, body.len());
    *sent = true;
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    let mut answer = Vec::with_capacity(ANSWER_BYTES_MAX);
    let mut limited = stream.take(ANSWER_BYTES_MAX.try_into().unwrap_or(u64::MAX));
    // Progress: each turn reads at least one byte of a bounded number.
    while !answer.contains(&b'\n') && limited.read_buf(&mut answer).await? > 0 {}
    status(&answer).ok_or_else(|| std::io::Error::other("it does not answer as HTTP does"))
}

/// Writes the head of a request as go-micro's publisher does.
fn head(id: &str, address: &str, bytes: usize) -> String {
    format!(
        "POST /?id={} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: Go-http-client/1.1\r\n\
         Content-Length: {bytes}\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n",
        escaped(id),
    )
}

/// Reads the status out of the first line of an answer.
fn status(answer: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(answer.split(|byte| *byte == b'\n').next()?).ok()?;
    let mut words = line.split_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

/// Escapes an id for a query; ids come from the registry and may hold anything.
fn escaped(id: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    id.bytes().fold(String::new(), |mut out, byte| {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_the_second_word_of_http() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\nDate: x"), Some(200));
        assert_eq!(status(b"HTTP/1.0 503\r\n"), Some(503));
        for bad in ["", "HTTP/1.1", "SSH-2.0 200", "HTTP/1.1 ok"] {
            assert_eq!(status(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn the_head_equals_what_go_micro_sends_byte_for_byte() {
        let head = head("events-8dadf8ac-d592-4910-973d-b531abda8766", "127.0.0.1:46181", 182);
        assert_eq!(
            head,
            "POST /?id=events-8dadf8ac-d592-4910-973d-b531abda8766 HTTP/1.1\r\n\
             Host: 127.0.0.1:46181\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 182\r\n\
             Content-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n"
        );
    }

    #[test]
    fn an_id_cannot_break_out_of_its_query() {
        assert_eq!(escaped("events-4b.c_~"), "events-4b.c_~");
        assert_eq!(escaped("a b&\r\n"), "a%20b%26%0D%0A");
    }
}
