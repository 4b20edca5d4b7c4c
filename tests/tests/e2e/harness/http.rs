//! One HTTP/1.1 request on a connection of its own, byte by byte.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::PATIENCE;

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let pairs = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        pairs.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|pair| pair.1)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(crate) async fn get(address: &str, path: &str) -> Answer {
    request(address, &format!("GET {path}"), &[], b"").await.unwrap()
}

pub(crate) async fn post(
    address: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    request(address, &format!("POST {path}"), headers, body).await.unwrap()
}

/// Sends a request and reads the answer to the end of the connection.
pub(crate) async fn request(
    address: &str,
    what: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let mut out = format!("{what} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(key, _)| key.eq_ignore_ascii_case("host")) {
            out += &format!("host: {address}\r\n");
        }
        for (key, value) in headers {
            out += &format!("{key}: {value}\r\n");
        }
        out += &format!("content-length: {}\r\n\r\n", body.len());
        stream.write_all(&[out.as_bytes(), body].concat()).await?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await?;
        io::Result::Ok(all)
    };
    let all = tokio::time::timeout(PATIENCE, exchange).await.expect("no answer over HTTP")?;
    let split = all.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, String::from_utf8_lossy(&all).into_owned())
    })?;
    let head = String::from_utf8(all[..split].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Answer { status, head, body: all[split + 4..].to_vec() })
}
