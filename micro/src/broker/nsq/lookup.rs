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
    let mut found = Found { is_all: true, ..Found::default() };
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
            Ok(addresses) => found.addresses.extend(addresses),
            Err(error) => {
                tracing::warn!(address, topic, %error, "nsqlookupd does not say where a topic is");
                found.is_all = false;
            }
        }
    }
    let mut number = 0;
    found.addresses.retain(|_| {
        number += 1;
        number <= FOUND_MAX
    });
    found
}

async fn ask(address: &str, topic: &str) -> Result<BTreeSet<String>> {
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

fn read(status: StatusCode, body: &[u8]) -> Result<BTreeSet<String>> {
    match status {
        StatusCode::OK => {}
        // Nobody has published to it, as far as this one knows.
        StatusCode::NOT_FOUND => return Ok(BTreeSet::new()),
        status => return Err(Error::unavailable(ERROR_ID, format!("it answers {status}"))),
    }
    let malformed = |error: &dyn std::fmt::Display| {
        Error::internal(ERROR_ID, format!("its answer is malformed: {error}"))
    };
    let answer: Answer = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    let Answer { data, producers } = answer;
    let producers = producers.or_else(|| data.and_then(|data| data.producers));
    let producers = producers.ok_or_else(|| malformed(&"it has no producers"))?;
    Ok(producers.into_iter().filter_map(Producer::address).take(FOUND_MAX).collect())
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
    use super::*;

    fn found(status: u16, body: &str) -> Result<Vec<String>> {
        let status = StatusCode::from_u16(status).unwrap();
        Ok(read(status, body.as_bytes())?.into_iter().collect())
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
        let many = [r#"{"broadcast_address":"h","tcp_port":1}"#; 10];
        let many = format!(r#"{{"producers":[{}]}}"#, many.join(","));
        assert_eq!(found(200, &many).unwrap().len(), 1);
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
