//! Calls as go-micro's clients make them, against the bytes that its own server answered.

mod answers;
mod both;
mod events;
mod greeter;
mod streams;

use std::collections::BTreeMap;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;

use self::greeter::Greeter;
use super::*;
use crate::transport::mucp::message::{Bounds, Message, Reader, Side};

fn rig() -> Rig {
    Rig::new(|builder| builder.mount(Greeter::default()))
}

/// What the other end of a connection says.
fn reader(pipe: Pipe) -> Reader<Pipe> {
    let bounds = Bounds::of(&Limits::default());
    Reader::new(pipe, BytesMut::new(), Side::Responses, bounds)
}

/// Sends bytes in pieces on a connection of their own and reads the first answer.
async fn ask(rig: &Rig, pieces: &[&[u8]]) -> Message {
    let mut pipe = rig.dial();
    for piece in pieces {
        pipe.write_all(piece).await.unwrap();
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    }
    reader(pipe).next().await.unwrap().unwrap()
}

/// Makes a request of go-micro's.
fn post(headers: &str, body: &str) -> Vec<u8> {
    let lines = headers.replace('|', "\r\n");
    let length = body.len();
    format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{lines}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Lists headers by their names in lower case, without the date that hyper adds.
fn headers(message: &Message) -> BTreeMap<String, String> {
    let pairs = message.headers.iter();
    let lower = pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    lower.filter(|(name, _)| name != "date").collect()
}

fn error(message: &Message) -> crate::core::error::Error {
    assert_eq!(message.headers.get("Micro-Error"), message.headers.get("X-Micro-Error"));
    crate::core::error::Error::parse(message.headers.get("Micro-Error").unwrap())
}
