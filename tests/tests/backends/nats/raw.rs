//! A client of NATS that was written from the description of its protocol alone: what is on the
//! server is seen as anybody else sees it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) subject: String,
    pub(super) reply: Option<String>,
    /// The header lines, after the first.
    pub(super) headers: Vec<String>,
    pub(super) body: String,
}

/// A connection, on which the caller waits in the thread of the test.
pub(super) struct Raw {
    reader: BufReader<TcpStream>,
    subjects: usize,
}

impl Raw {
    pub(super) fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut raw = Self { reader: BufReader::new(stream), subjects: 0 };
        assert!(raw.line().starts_with("INFO "));
        raw.send("CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n");
        raw
    }

    fn send(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Listens to a subject, and returns when the server knows.
    pub(super) fn subscribe(&mut self, subject: &str) {
        self.subjects += 1;
        let id = self.subjects;
        self.send(&format!("SUB {subject} {id}\r\nPING\r\n"));
        while self.line() != "PONG" {}
    }

    pub(super) fn publish(&mut self, subject: &str, reply: Option<&str>, body: &str) {
        let reply = reply.map(|reply| format!(" {reply}")).unwrap_or_default();
        self.send(&format!("PUB {subject}{reply} {}\r\n{body}\r\n", body.len()));
    }

    /// Asks, and returns the first answer.
    pub(super) fn request(&mut self, subject: &str, body: &str) -> Message {
        let inbox = format!("raw.inbox.{}", self.subjects);
        self.subscribe(&inbox);
        self.publish(subject, Some(&inbox), body);
        self.next()
    }

    /// Waits for the next message.
    pub(super) fn next(&mut self) -> Message {
        loop {
            let line = self.line();
            let mut words = line.split(' ');
            let verb = words.next().unwrap();
            if verb == "PING" {
                self.send("PONG\r\n");
            }
            if verb != "MSG" && verb != "HMSG" {
                assert!(!line.starts_with("-ERR"), "{line}");
                continue;
            }
            let words: Vec<_> = words.collect();
            let sizes = if verb == "MSG" { 1 } else { 2 };
            let (names, sizes) = words.split_at(words.len() - sizes);
            let sizes: Vec<usize> = sizes.iter().map(|size| size.parse().unwrap()).collect();
            let mut all = vec![0; sizes.last().unwrap() + 2];
            self.reader.read_exact(&mut all).unwrap();
            all.truncate(all.len() - 2);
            let head = if verb == "MSG" { 0 } else { sizes[0] };
            let body = String::from_utf8(all.split_off(head)).unwrap();
            let head = String::from_utf8(all).unwrap();
            let headers = head.lines().skip(1).filter(|line| !line.is_empty());
            return Message {
                subject: names[0].to_owned(),
                reply: names.get(2).map(|reply| (*reply).to_owned()),
                headers: headers.map(str::to_owned).collect(),
                body,
            };
        }
    }
}
