//! A peer that speaks bytes: either end of an in-memory stream, the other end being a real one.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use crate::core::clock;
use crate::core::exchange::{Connection, Dispatch};
use crate::core::limits::Limits;
use crate::core::net::{Pipe, Socket};
use crate::transport::Scope;
use crate::transport::native::frame::{self, FLAG_BODY, FLAG_END, HEADER_BYTES, Header, Kind};
use crate::transport::native::hello::Hello;
use crate::transport::native::link::Link;
use crate::transport::native::tests::lab::Lab;
use crate::transport::native::varint;
use crate::transport::native::{Session, follow, greet, greeted_by, link};

/// The end of a stream on which a test writes bytes of its own.
pub(super) struct Raw {
    pub(super) socket: Arc<dyn Socket>,
    buffer: BytesMut,
}

/// The real end: what the peer's bytes do to it can be looked at.
pub(super) struct Real {
    pub(super) link: Arc<Link>,
    pub(super) scope: Scope,
    pub(super) lab: Arc<Lab>,
}

pub(super) fn scope(limits: &Limits) -> Scope {
    Scope { limits: Arc::new(limits.clone()), ..Scope::default() }
}

/// A real server, and a raw client that has said nothing.
pub(super) fn server(limits: &Limits) -> (Raw, Real) {
    server_over(limits, Arc::new(Lab::default()))
}

pub(super) fn server_over(limits: &Limits, lab: Arc<Lab>) -> (Raw, Real) {
    let (ours, theirs) = Pipe::pair();
    let scope = scope(limits);
    let link = link(Arc::new(theirs), "memory".into(), &scope, false);
    let (serving, dispatch, of_task) = (link.clone(), lab.clone(), scope.clone());
    scope.tasks.spawn("raw", async move {
        let dispatch: Arc<dyn Dispatch> = dispatch;
        let by = greeted_by(&of_task);
        Session::of(&serving).serve(BytesMut::new(), dispatch, by, &of_task).await;
    });
    (Raw::new(Arc::new(ours)), Real { link, scope, lab })
}

/// A real client, and a raw server that has said nothing.
pub(super) fn client(limits: &Limits) -> (Raw, Real) {
    let (ours, theirs) = Pipe::pair();
    let scope = scope(limits);
    let link = link(Arc::new(theirs), "memory".into(), &scope, true);
    greet(&link);
    scope.tasks.spawn("raw", follow(link.clone(), scope.shutdown.clone()));
    (Raw::new(Arc::new(ours)), Real { link, scope, lab: Arc::default() })
}

impl Real {
    pub(super) fn connection(&self) -> Arc<dyn Connection> {
        self.link.clone()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.link.lock().closed.is_some()
    }

    /// The bytes that the connection holds for its peer and of its peer.
    pub(super) fn held(&self) -> usize {
        let mut state = self.link.lock();
        let queued = state.queued_bytes();
        let unfinished: usize = state.streams.iter_mut().map(|(_, s)| s.partial.capacity()).sum();
        let flows = |s: &crate::transport::native::streams::Stream| {
            let Some(flow) = &s.flow else { return 0 };
            let wholes: usize = flow.inbox.wholes().map(|whole| whole.len() + 40).sum();
            wholes + flow.inbox.len() * 16
        };
        let unread: usize = state.streams.iter_mut().map(|(_, s)| flows(s)).sum();
        queued + unfinished + unread
    }
}

impl Raw {
    pub(super) fn new(socket: Arc<dyn Socket>) -> Self {
        Self { socket, buffer: BytesMut::new() }
    }

    /// Writes all of it; `false` when the other end has closed, or reads no more.
    pub(super) async fn send(&self, bytes: &[u8]) -> bool {
        clock::timeout(Duration::from_secs(60), self.write(bytes)).await.unwrap_or(false)
    }

    async fn write(&self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.socket.try_write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    let ready = std::future::poll_fn(|task| self.socket.poll_write_ready(task));
                    if ready.await.is_err() {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
        true
    }

    /// Sends preface and hello as the real client does, and takes the server's hello.
    pub(super) async fn greet(&mut self) {
        let mut out = frame::PREFACE.to_vec();
        out.extend(hello(&Limits::default()));
        assert!(self.send(&out).await);
        assert_eq!(Header::read(&self.frame().await.unwrap()).unwrap().kind, Kind::Hello);
    }

    /// Takes the real client's preface and hello, and answers with one.
    pub(super) async fn welcome(&mut self) {
        assert_eq!(self.bytes(frame::PREFACE.len()).await.unwrap(), frame::PREFACE);
        assert_eq!(Header::read(&self.frame().await.unwrap()).unwrap().kind, Kind::Hello);
        assert!(self.send(&hello(&Limits::default())).await);
    }

    /// Waits for so many bytes; `None` at the end of the stream.
    pub(super) async fn bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count {
            self.buffer.reserve(64 * 1024);
            std::future::poll_fn(|task| self.socket.poll_read_ready(task)).await.ok()?;
            match self.socket.try_read(&mut self.buffer) {
                Ok(0) => return None,
                Err(e) if e.kind() != std::io::ErrorKind::WouldBlock => return None,
                _ => {}
            }
        }
        Some(self.buffer.split_to(count).to_vec())
    }

    /// Waits for a whole frame, header included; `None` at the end of the stream.
    pub(super) async fn frame(&mut self) -> Option<Vec<u8>> {
        let mut whole = self.bytes(HEADER_BYTES).await?;
        let length = Header::read(&whole).unwrap().length;
        whole.extend(self.bytes(length).await?);
        Some(whole)
    }

    /// Waits for a frame of a kind, passing over others.
    pub(super) async fn frame_of(&mut self, kind: Kind) -> Option<Vec<u8>> {
        loop {
            let whole = self.frame().await?;
            if Header::read(&whole).unwrap().kind == kind {
                return Some(whole);
            }
        }
    }

    /// Reads to the end of the stream and returns the kinds of the frames; panics when the end
    /// takes longer than any timer that closes a connection.
    pub(super) async fn kinds_to_end(&mut self) -> Vec<Kind> {
        let mut kinds = Vec::new();
        let reading = async {
            while let Some(whole) = self.frame().await {
                kinds.push(Header::read(&whole).unwrap().kind);
            }
        };
        clock::timeout(Duration::from_secs(3600), reading).await.expect("the connection ends");
        kinds
    }

    /// Ends what this side writes.
    pub(super) fn end(&self) {
        self.socket.shutdown().unwrap();
    }
}

pub(super) fn hello(limits: &Limits) -> Vec<u8> {
    let mut payload = Vec::new();
    Hello::of(limits).put(&mut payload);
    whole(Kind::Hello, 0, 0, &payload)
}

pub(super) fn whole(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put(&mut out, kind, flags, stream, payload);
    out
}

/// A head without deadline and extras, its names in full.
pub(super) fn head(endpoint: &str) -> Vec<u8> {
    let mut out = vec![0];
    varint::put_str(&mut out, "lab");
    varint::put_str(&mut out, endpoint);
    out.extend([0, 1]);
    out
}

/// The open frame of a call with one message.
pub(super) fn open(stream: u32, endpoint: &str, body: &[u8]) -> Vec<u8> {
    open_with(stream, endpoint, FLAG_BODY | FLAG_END, body)
}

pub(super) fn open_with(stream: u32, endpoint: &str, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut payload = head(endpoint);
    payload.extend_from_slice(body);
    whole(Kind::Open, flags, stream, &payload)
}
