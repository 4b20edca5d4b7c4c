//! Asking nsqlookupds where the messages of a topic are.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::core::shutdown::TaskTracker;
use crate::driver::Server;

use super::ERROR_ID;

/// An answer is there within this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of an answer; a longer one counts as none.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Nsqds of one topic, those of all answers together; further ones are passed over.
const FOUND_MAX: usize = 64;
/// The media type that has the answer come by itself, without what an old nsqlookupd wraps it in.
const BARE: &str = "application/vnd.nsq; version=1.0";

/// Where the messages of a topic are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// As `host:port`.
    pub(super) addresses: BTreeSet<String>,
    /// All that were asked have answered: there are no others.
    pub(super) is_all: bool,
}

impl Found {
    /// Leaves those that come first by their name: the same ones each time.
    fn cut(mut self) -> Self {
        while self.addresses.len() > FOUND_MAX {
            self.addresses.pop_last();
            self.is_all = false;
        }
        self
    }
}

#[derive(Deserialize)]
struct Answer {
    /// What an old nsqlookupd answers is in here.
    data: Option<Box<Self>>,
    producers: Option<Vec<Producer>>,
}

#[derive(Deserialize)]
struct Producer {
    broadcast_address: String,
    tcp_port: u16,
}

/// Asks every nsqlookupd at once, in tasks of `tasks`; each answers, or fails within two seconds.
pub(super) async fn find(lookup: &Server, topic: &str, tasks: &TaskTracker) -> Found {
    let mut all = Found { is_all: true, ..Found::default() };
    let asking = lookup.addresses().map(|address| {
        let (asked, topic) = (address.clone(), topic.to_owned());
        let ask = async move { clock::timeout(ANSWER_TIMEOUT, ask(&asked, &topic)).await };
        (address, tasks.spawn("broker.nsq.lookup", ask).abort_on_drop())
    });
    let asking: Vec<_> = asking.collect();
    for (address, asked) in asking {
        let answered = match asked.await {
            Ok(Ok(answered)) => answered,
            Ok(Err(_elapsed)) => {
                let text = format!("no answer within {ANSWER_TIMEOUT:?}");
                Err(Error::unavailable(ERROR_ID, text))
            }
            Err(error) => Err(error),
        };
        match answered {
            Ok(found) => {
                all.is_all &= found.is_all;
                all.addresses.extend(found.addresses);
            }
            Err(error) => {
                tracing::warn!(address, topic, %error, "nsqlookupd does not say where a topic is");
                all.is_all = false;
            }
        }
    }
    all.cut()
}

async fn ask(address: &str, topic: &str) -> Result<Found> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    // Invariant: a topic has no character that a query could not.
    let request = Request::get(format!("/lookup?topic={topic}"))
        .header(HOST, address)
        .header(ACCEPT, BARE)
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(&error))?;
    let answer = async {
        let (head, body) =
            sender.send_request(request).await.map_err(|error| failed(&error))?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| Error::unavailable(ERROR_ID, error))?;
        read(head.status, &body.to_bytes())
    };
    let (mut answer, mut connection) = (pin!(answer), pin!(connection));
    // Cancel safety: a connection that has ended leaves what came by it to be read.
    tokio::select! {
        biased;
        answered = &mut answer => answered,
        _ended = &mut connection => answer.await,
    }
}

fn read(status: StatusCode, body: &[u8]) -> Result<Found> {
    let mut found = Found { is_all: true, ..Found::default() };
    match status {
        StatusCode::OK => {}
        // Nobody has published to it, as far as this one knows.
        StatusCode::NOT_FOUND => return Ok(found),
        status => return Err(Error::unavailable(ERROR_ID, format!("it answers {status}"))),
    }
    let malformed = |error: &dyn std::fmt::Display| {
        Error::internal(ERROR_ID, format!("its answer is malformed: {error}"))
    };
    let answer: Answer = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    let Answer { data, producers } = answer;
    let producers = producers.or_else(|| data.and_then(|data| data.producers));
    let producers = producers.ok_or_else(|| malformed(&"it has no producers"))?;
    found.addresses = producers.into_iter().filter_map(Producer::address).collect();
    Ok(found.cut())
}

impl Producer {
    /// Returns the address, unless its host is neither a name nor an address.
    fn address(self) -> Option<String> {
        let host = self.broadcast_address;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || !host.chars().all(plain) {
            return None;
        }
        Server::new(host, self.tcp_port).addresses().next()
    }
}

fn failed(error: &dyn std::fmt::Display) -> Error {
    Error::unavailable(ERROR_ID, error)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn found(status: u16, body: &str) -> Result<Vec<String>> {
        let status = StatusCode::from_u16(status).unwrap();
        Ok(read(status, body.as_bytes())?.addresses.into_iter().collect())
    }

    #[test]
    fn an_answer_says_where_a_topic_is() {
        let bare = r#"{"channels":["a"],"producers":[
            {"remote_address":"10.0.0.7:51996","hostname":"one","broadcast_address":"one.lan",
             "tcp_port":4150,"http_port":4151,"version":"1.3.0"},
            {"broadcast_address":"::1","tcp_port":1},
            {"broadcast_address":"a b","tcp_port":2}]}"#;
        assert_eq!(found(200, bare).unwrap(), ["[::1]:1", "one.lan:4150"]);
        let wrapped = format!(r#"{{"status_code":200,"status_txt":"OK","data":{bare}}}"#);
        assert_eq!(found(200, &wrapped).unwrap(), ["[::1]:1", "one.lan:4150"]);
        assert!(found(404, r#"{"message":"TOPIC_NOT_FOUND"}"#).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_answer_is_a_failure() {
        for (status, body) in [(500, "{}"), (200, "{}"), (200, "["), (200, ""), (302, "{}")] {
            assert!(found(status, body).is_err(), "{status} {body}");
        }
    }

    #[test]
    fn nsqds_are_limited_to_those_that_come_first_and_that_is_said() {
        for (count, is_all) in [(FOUND_MAX, true), (FOUND_MAX + 1, false), (FOUND_MAX * 10, false)]
        {
            // In an order that is not theirs.
            let named = (0..count)
                .rev()
                .map(|number| format!(r#"{{"broadcast_address":"h{number:04}","tcp_port":1}}"#));
            let named: Vec<_> = named.collect();
            let body = format!(r#"{{"producers":[{}]}}"#, named.join(","));
            let found = read(StatusCode::OK, body.as_bytes()).unwrap();
            assert_eq!((found.addresses.len(), found.is_all), (FOUND_MAX, is_all), "{count}");
            assert_eq!(found.addresses.last().unwrap(), "h0063:1");
        }
    }

    /// Answers one question with JSON of so many bytes.
    async fn answer_of(bytes: usize) -> Result<Found> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            let mut said = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
            let json = r#"{"producers":[]}"#;
            said.push_str(json);
            said.push_str(&" ".repeat(bytes - json.len()));
            // One that is too long is not read to its end.
            let _ended = stream.write_all(said.as_bytes()).await.is_err();
        };
        tokio::join!(ask(&address, "t"), answering).0
    }

    #[tokio::test]
    async fn an_answer_is_as_long_as_its_limit_and_no_longer() {
        let most = ANSWER_BYTES_MAX;
        for (bytes, fits) in [(most, true), (most + 1, false), (most * 10, false)] {
            assert_eq!(answer_of(bytes).await.is_ok(), fits, "{bytes}");
        }
    }

    #[tokio::test]
    async fn a_nsqlookupd_that_is_not_there_leaves_the_answer_open() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let found = find(&Server::new("127.0.0.1", port), "t", &TaskTracker::new()).await;
        assert_eq!(found, Found::default());
    }
}
