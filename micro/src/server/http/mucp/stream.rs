//! A stream of go-micro's: the connection carries nothing else from here on.
//!
//! Each message, either way, is an HTTP message of its own, and those of the two directions do not
//! answer each other. The first of the peer's has opened the stream; its body means nothing, and the
//! request of a call with a single one comes next. The end either way is the error `EOS`.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::core::exchange::{Inbound, Outgoing, Running};
use crate::core::stream::{BoxSource, RawStream, Sender, Streaming};
use crate::server::http::body::too_large;
use crate::server::http::call::outcome;
use crate::server::http::face::Peer;
use crate::server::http::mucp::Asked;
use crate::server::http::mucp::answer::{self, Failure};
use crate::server::http::mucp::call::{Admitted, Told, sealed};
use crate::server::http::paced::Paced;
use crate::server::listen::LINGER;
use crate::server::roster::Seat;
use crate::server::router::{Arrival, Router};
use crate::transport::mucp::headers::Headers;
use crate::transport::mucp::message::{Bounds, Reader, Side};
use crate::transport::mucp::response::END;
use crate::transport::mucp::write;

/// Requests that wait for the handler: one, so that the peer waits for it too.
const WAITING_MAX: usize = 1;

/// A stream whose caller was admitted.
pub(super) struct Opened {
    pub(super) router: Arc<Router>,
    pub(super) peer: Peer,
    pub(super) told: Told,
    pub(super) admitted: Admitted,
}

/// What the peer said next.
enum Came {
    Message(Bytes),
    /// No message follows.
    End,
    /// The peer's stream has failed.
    Failed(Error),
    /// The connection has ended.
    Gone,
}

/// What became of a message for the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handed {
    Taken,
    /// The handler does not read on.
    Unwanted,
    /// The peer is gone.
    Gone,
}

/// How a stream ended that nobody has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Served {
    Done,
    /// The peer has left: there is nobody to tell.
    Left,
}

impl Opened {
    /// Serves the stream to its end; `rest` was read of the connection already.
    pub(super) async fn run(self, headers: Headers, asked: Asked, io: Paced, rest: Bytes) {
        let seat = Arc::clone(&self.peer.seat);
        let _busy = seat.begin();
        let limits = Arc::clone(&self.router.limits);
        let (age, grace) = (limits.connection.age_max, limits.connection.age_grace);
        let old = clock::after(seat.since, age.saturating_add(grace));
        let (read_half, write_half) = tokio::io::split(io);
        let rest = BytesMut::from(rest);
        let reader = Reader::new(read_half, rest, Side::Requests, Bounds::of(&limits));
        let look_interval = limits.connection.header_read_timeout / 2;
        let looks = (Arc::clone(&seat), look_interval);
        let mut requests = Requests { reader, asked: asked.clone(), looks };
        let bytes_max = limits.message.bytes_max;
        let mut answers = Answers { io: write_half, headers, asked, bytes_max };
        let served = tokio::select! {
            biased;
            () = seat.cut() => return,
            served = self.serve(&mut requests, &mut answers) => served,
            () = clock::sleep_until(old) => Err(aged()),
        };
        let said = match served {
            Ok(Served::Done) => answers.end(None).await,
            Ok(Served::Left) => return,
            Err(error) => answers.end(Some(&error)).await,
        };
        if said.is_ok() {
            // What is still on its way would destroy what was said, were the connection closed.
            let _late = clock::timeout(LINGER, requests.reader.discard()).await;
        }
    }

    async fn serve<R, W>(
        self,
        requests: &mut Requests<R>,
        answers: &mut Answers<W>,
    ) -> Result<Served>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.admitted.target.kind.streams_requests() {
            self.serve_requests(requests, answers).await
        } else {
            self.serve_request(requests, answers).await
        }
    }

    /// Serves a call whose requests are a stream.
    async fn serve_requests<R, W>(
        self,
        requests: &mut Requests<R>,
        answers: &mut Answers<W>,
    ) -> Result<Served>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let (router, target) = (Arc::clone(&self.router), self.admitted.target);
        let (sender, messages) = Streaming::channel(WAITING_MAX);
        let call = self.call(&answers.asked, Bytes::new(), Some(messages))?;
        let mut answering =
            pin!(async { answers.all(outcome(&router, call, target).await?).await });
        let ended = tokio::select! {
            biased;
            answered = &mut answering => return answered,
            ended = requests.feed(sender) => ended?,
        };
        if !ended {
            return Ok(Served::Left);
        }
        // The peer has said everything and left; the handler may finish its work.
        let grace = router.limits.connection.age_grace;
        clock::timeout(grace, answering).await.unwrap_or(Ok(Served::Left))
    }

    /// Serves a call with one request, which is the first message after the one that opened it.
    async fn serve_request<R, W>(
        self,
        requests: &mut Requests<R>,
        answers: &mut Answers<W>,
    ) -> Result<Served>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let (router, target) = (Arc::clone(&self.router), self.admitted.target);
        let until = router.deadline(router.entry(target)?, self.told.now, self.told.deadline);
        let first = clock::timeout_at(until, requests.next()).await;
        let body = match first.map_err(|_elapsed| late())?? {
            Came::Message(body) => body,
            Came::End => Bytes::new(),
            Came::Failed(error) => return Err(error),
            Came::Gone => return Ok(Served::Left),
        };
        let call = self.call(&answers.asked, body, None)?;
        let answering = async { answers.all(outcome(&router, call, target).await?).await };
        tokio::select! {
            biased;
            answered = answering => answered,
            // A caller that says that its stream is over waits for no more.
            left = requests.left() => left.map(|()| Served::Left),
        }
    }

    fn call(self, asked: &Asked, body: Bytes, messages: Option<RawStream>) -> Result<Running> {
        let Self { router, peer, told, admitted } = self;
        let inbound = Inbound {
            target: admitted.target,
            now: told.now,
            deadline: told.deadline,
            content_type: asked.form.message.clone(),
            extra: told.extra,
            body,
            messages,
            remote: Arc::clone(&peer.remote),
        };
        let account = admitted.account;
        let arrival = Arrival {
            origin: peer.origin,
            proven: &peer.proven,
            account,
            request: None,
            response: None,
        };
        router.run(inbound, arrival)
    }
}

/// The messages of the peer.
struct Requests<R> {
    reader: Reader<R>,
    asked: Asked,
    /// How often it is looked whether the peer is there, while the handler reads nothing.
    looks: (Arc<Seat>, Duration),
}

impl<R: AsyncRead + Unpin> Requests<R> {
    async fn next(&mut self) -> Result<Came> {
        let Some(message) = self.reader.next().await? else { return Ok(Came::Gone) };
        match message.headers.micro("Micro-Error") {
            Some(END) => return Ok(Came::End),
            Some(text) => return Ok(Came::Failed(Error::parse(text))),
            None => {}
        }
        let stream = message.headers.micro("Micro-Stream");
        if stream.is_some() && stream != self.asked.stream.as_deref() {
            let detail = "a connection carries one stream, the one that it was opened for";
            return Err(Error::bad_request("micro.server", detail));
        }
        let (_label, body) = self.asked.form.open_request(&message.body)?;
        Ok(Came::Message(body))
    }

    /// Hands the messages to the handler as it takes them, until the peer has left; returns whether
    /// it had said the end before.
    async fn feed(&mut self, sender: Sender<Bytes>) -> Result<bool> {
        let mut sender = Some(sender);
        // Progress: each turn takes a message of the peer's.
        loop {
            match self.next().await? {
                Came::Message(body) => {
                    // A handler that does not read on still has the rest of its work to do.
                    let Some(open) = &sender else { continue };
                    match self.hand_on(open, body).await {
                        Handed::Taken => {}
                        Handed::Unwanted => sender = None,
                        Handed::Gone => return Ok(false),
                    }
                }
                Came::End => {
                    drop(sender.take());
                    self.left().await?;
                    return Ok(true);
                }
                Came::Failed(error) => {
                    if let Some(open) = sender.take() {
                        // A handler that does not read on does not learn why.
                        let _told = open.fail(error).await;
                    }
                }
                Came::Gone => return Ok(false),
            }
        }
    }

    /// Waits until the handler takes a message, or the peer turns out to be gone.
    async fn hand_on(&mut self, open: &Sender<Bytes>, body: Bytes) -> Handed {
        let mut sending = pin!(open.send(body));
        let (seat, interval) = &self.looks;
        // Progress: each turn takes the time of an interval.
        loop {
            tokio::select! {
                biased;
                sent = &mut sending => {
                    return if sent.is_ok() { Handed::Taken } else { Handed::Unwanted };
                }
                () = clock::sleep(*interval) => {}
            }
            seat.ask_to_probe();
            if self.reader.is_broken().await {
                return Handed::Gone;
            }
        }
    }

    /// Waits until the peer says the end or leaves; what it sends meanwhile means nothing.
    async fn left(&mut self) -> Result<()> {
        // Progress: each turn takes a message of the peer's.
        while matches!(self.next().await?, Came::Message(_)) {}
        Ok(())
    }
}

/// The answers to the peer.
struct Answers<W> {
    io: W,
    headers: Headers,
    asked: Asked,
    bytes_max: usize,
}

impl<W: AsyncWrite + Unpin> Answers<W> {
    /// Sends what a handler produced.
    async fn all(&mut self, outgoing: Outgoing) -> Result<Served> {
        let mut headers = self.headers.clone();
        answer::item(&mut headers, &self.asked);
        match outgoing {
            Outgoing::Message(bytes) => self.item(&headers, &bytes).await,
            Outgoing::Stream(source) => self.stream(&headers, source).await,
        }
    }

    async fn stream(&mut self, headers: &Headers, mut source: BoxSource) -> Result<Served> {
        let mut message = Vec::new();
        // Progress: each turn takes a message of the handler's stream.
        loop {
            message.clear();
            match poll_fn(|task| source.as_mut().poll_encode(task, &mut message)).await {
                None => return Ok(Served::Done),
                Some(encoded) => encoded?,
            }
            if self.item(headers, &message).await? == Served::Left {
                return Ok(Served::Left);
            }
        }
    }

    /// Sends one message.
    async fn item(&mut self, headers: &Headers, message: &[u8]) -> Result<Served> {
        if message.len() > self.bytes_max {
            return Err(too_large(self.bytes_max));
        }
        let body = sealed(&self.asked, None, message)?;
        let sent = self.send(headers, &body).await;
        Ok(sent.map_or(Served::Left, |()| Served::Done))
    }

    /// Says that no message follows, and why.
    async fn end(&mut self, error: Option<&Error>) -> io::Result<()> {
        let mut headers = self.headers.clone();
        match error {
            None => answer::ended(&mut headers, END),
            Some(error) => answer::failure(&mut headers, &self.asked, &Failure::from(error)),
        }
        self.send(&headers, &[]).await
    }

    async fn send(&mut self, headers: &Headers, body: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(body.len());
        write::response(headers, body, &mut bytes);
        self.io.write_all(&bytes).await?;
        self.io.flush().await
    }
}

fn late() -> Error {
    Error::timeout("micro.server", "the deadline of the call passed before its request came")
}

fn aged() -> Error {
    Error::unavailable("micro.server", "the connection is as old as it may become; call again")
}
