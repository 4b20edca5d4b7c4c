//! A transport with one flaw of choice, around the one in memory.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll};

use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::Semaphore;

use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{
    Answer, Connection, Dispatch, Driver, Exchange, Head, Inbound, Outgoing, Reset, Running, Target,
};
use crate::core::future::BoxFuture;
use crate::core::limits::Limits;
use crate::core::metadata::Metadata;
use crate::core::net::Address;
use crate::core::shutdown::{Shutdown, TaskTracker};
use crate::core::stream::{BoxSource, MessageSource, RawStream, Streaming};
use crate::transport::{Memory, Scope, Transport};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Nothing: the decorator alone does no harm.
    None,
    /// Whoever cannot be reached may have run the call.
    BlursDialing,
    /// An address that is taken is taken again, without a word.
    ListensTwice,
    /// The deadline does not reach the handler.
    ForgetsDeadlines,
    /// The caller waits on after the deadline.
    WaitsOn,
    DropsMetadata,
    DropsPersistent,
    DropsTraces,
    /// A transport header becomes metadata.
    ShowsCredentials,
    /// Whatever is not ASCII is replaced.
    SpeaksAsciiOnly,
    CutsLongMessages,
    /// White space around a message goes.
    TrimsMessages,
    /// The server has limits of its own.
    IgnoresLimits,
    /// One call runs at a time.
    RunsOneAtATime,
    /// A call gets the answer of the one before.
    MixesAnswers,
    /// A handler gets its requests when all are there.
    GathersRequests,
    /// A reader gets the messages when all are there.
    GathersResponses,
    /// Requests that fail end.
    EndsFailedRequests,
    /// A stream that fails ends.
    EndsFailedStreams,
    /// A stream that is cut ends.
    EndsCutStreams,
    LosesTheLast,
    Reorders,
    /// A stream is read whether anybody reads it or not.
    Hoards,
    BlursCodes,
    DropsDetails,
    /// What does not exist is the fault of the server.
    BlursTheUnknown,
    /// A refusal may have run.
    BlursRefusals,
    /// Whatever failed did not run.
    SwearsNothingRan,
    /// A handler runs on without its caller.
    RunsOn,
    /// The requests of a call outlive it.
    KeepsRequests,
    /// A server that drains takes calls.
    ServesOn,
    /// A connection that drains cuts its calls.
    CutsOnDrain,
    /// A connection that drains takes calls.
    NeverDrains,
    /// A connection that closes leaves its calls waiting.
    NeverCloses,
    /// The end of a connection is never told.
    NeverSaysClosed,
    /// A connection says that it takes calls, whatever happens.
    SaysOpen,
    /// Each call leaves a task.
    LeavesTasks,
}

#[derive(Debug)]
pub(super) struct Broken {
    flaw: Flaw,
    memory: Memory,
}

impl Broken {
    pub(super) fn new(flaw: Flaw) -> Self {
        Self { flaw, memory: Memory::new() }
    }
}

impl Transport for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn dial<'a>(
        &'a self,
        address: &'a Address,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>>> {
        Box::pin(async move {
            match self.memory.dial(address, scope).await {
                Err(error) if self.flaw == Flaw::BlursDialing => {
                    Err(error.with_retry(Retry::Unknown))
                }
                Err(error) => Err(error),
                Ok(inner) => {
                    let (tasks, kept, last) =
                        (scope.tasks.clone(), Mutex::default(), Arc::default());
                    Ok(Arc::new(Line { flaw: self.flaw, inner, tasks, kept, last }) as _)
                }
            }
        })
    }

    fn listen<'a>(
        &'a self,
        address: &'a Address,
        dispatch: Arc<dyn Dispatch>,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Address>> {
        Box::pin(async move {
            let mut own = scope.clone();
            if self.flaw == Flaw::IgnoresLimits {
                own.limits = Arc::new(Limits::default());
            }
            if self.flaw == Flaw::ServesOn {
                own.shutdown = Shutdown::new();
                let (outer, inner) = (scope.shutdown.clone(), own.shutdown.clone());
                scope.tasks.spawn("serves on", async move {
                    outer.closed().await;
                    inner.close();
                });
            }
            let (tasks, turn) = (scope.tasks.clone(), Arc::new(Semaphore::new(1)));
            let desk = Desk { flaw: self.flaw, inner: dispatch, tasks, turn };
            match self.memory.listen(address, Arc::new(desk), &own).await {
                Err(_) if self.flaw == Flaw::ListensTwice => Ok(address.clone()),
                outcome => outcome,
            }
        })
    }
}

/// The serving side.
#[derive(Debug)]
struct Desk {
    flaw: Flaw,
    inner: Arc<dyn Dispatch>,
    tasks: TaskTracker,
    turn: Arc<Semaphore>,
}

impl Desk {
    fn spoil(&self, call: &mut Inbound) {
        match self.flaw {
            Flaw::ForgetsDeadlines => call.deadline = None,
            Flaw::CutsLongMessages => call.body.truncate(64 * 1024),
            Flaw::TrimsMessages => call.body = Bytes::copy_from_slice(call.body.trim_ascii()),
            Flaw::GathersRequests => {
                call.messages = call.messages.take().map(gathered);
            }
            Flaw::EndsFailedRequests => {
                call.messages = call
                    .messages
                    .take()
                    .map(|messages| Streaming::from_stream(EndsFailures(Some(messages))));
            }
            _ => {}
        }
        let Some(extra) = &mut call.extra else { return };
        match self.flaw {
            Flaw::DropsMetadata => extra.metadata = Metadata::new(),
            Flaw::DropsPersistent => extra.persistent = Metadata::new(),
            Flaw::DropsTraces => extra.trace = None,
            Flaw::ShowsCredentials => {
                let shown = extra.headers.get("authorization").unwrap_or_default().to_owned();
                extra.metadata.insert("authorization", shown).unwrap();
            }
            Flaw::SpeaksAsciiOnly => {
                let ascii = |(key, value): (&str, &str)| {
                    (key.to_owned(), value.replace(|c: char| !c.is_ascii(), "?"))
                };
                let entries: Vec<_> = extra.metadata.iter().map(ascii).collect();
                for (key, value) in entries {
                    extra.metadata.insert(key, value).unwrap();
                }
            }
            _ => {}
        }
    }
}

impl Dispatch for Desk {
    fn resolve(&self, service: &str, endpoint: &str) -> Result<Target> {
        self.inner.resolve(service, endpoint).map_err(|error| match self.flaw {
            Flaw::BlursTheUnknown => Error::internal("broken", "something is wrong"),
            _ => error,
        })
    }

    fn dispatch(&self, mut call: Inbound) -> Result<Running> {
        self.spoil(&mut call);
        let running = match self.inner.dispatch(call) {
            Err(error) if self.flaw == Flaw::BlursRefusals => {
                return Err(error.with_retry(Retry::Unknown));
            }
            outcome => outcome?,
        };
        let (flaw, turn, tasks) = (self.flaw, Arc::clone(&self.turn), self.tasks.clone());
        let spoiled = Running::new(
            running.context(),
            Box::pin(async move {
                let outcome = match flaw {
                    Flaw::RunsOn => tasks.spawn("runs on", running).await.and_then(|inner| inner),
                    Flaw::RunsOneAtATime => {
                        let _turn = turn.acquire_owned().await.unwrap();
                        running.await
                    }
                    _ => running.await,
                };
                match outcome {
                    Ok(Outgoing::Stream(source)) => {
                        Ok(Outgoing::Stream(replayed(flaw, source, &tasks)))
                    }
                    outcome => outcome.map_err(|error| blurred(flaw, error)),
                }
            }),
        );
        Ok(spoiled)
    }
}

fn blurred(flaw: Flaw, error: Error) -> Error {
    match flaw {
        Flaw::BlursCodes => Error::internal(error.id().to_owned(), error.detail()),
        Flaw::DropsDetails => Error::new(error.id().to_owned(), error.code(), error.detail()),
        _ => error,
    }
}

/// Messages that a gatherer holds.
const GATHERED_MAX: usize = 20_000;

/// Messages that a hoarder holds: more than may be held.
const HOARD: usize = 40_000;

/// Passes the messages of a source on, with its flaw.
fn replayed(flaw: Flaw, source: BoxSource, tasks: &TaskTracker) -> BoxSource {
    let mut messages: RawStream = Streaming::from_stream(Encoded(source));
    let spoiled = match flaw {
        Flaw::GathersResponses => gathered(messages),
        Flaw::EndsFailedStreams => Streaming::from_stream(EndsFailures(Some(messages))),
        Flaw::LosesTheLast => losing(messages),
        Flaw::Reorders => reordered(messages),
        Flaw::Hoards => {
            let (sender, hoard) = Streaming::channel(HOARD);
            tasks.spawn("hoards", async move {
                while let Some(Ok(message)) = messages.next().await {
                    sender.send(message).await.unwrap();
                }
            });
            hoard
        }
        _ => messages,
    };
    Box::pin(Replayed(spoiled))
}

/// Hands messages over when all are there.
fn gathered(messages: RawStream) -> RawStream {
    let start = (Some(messages), VecDeque::new());
    Streaming::unfold(start, |(messages, mut all): (Option<RawStream>, VecDeque<Bytes>)| async {
        if let Some(mut messages) = messages {
            while let Some(next) = messages.next().await {
                match next {
                    Ok(message) => all.push_back(message),
                    Err(error) => return Some((Err(error), (None, VecDeque::new()))),
                }
                if all.len() == GATHERED_MAX {
                    std::future::pending::<()>().await;
                }
            }
        }
        all.pop_front().map(|message| (Ok(message), (None, all)))
    })
}

fn losing(messages: RawStream) -> RawStream {
    Streaming::unfold((messages, None), |(mut messages, mut held)| async {
        loop {
            let message = match messages.next().await? {
                Ok(message) => message,
                Err(error) => return Some((Err(error), (messages, None))),
            };
            if let Some(before) = held.replace(message) {
                return Some((Ok(before), (messages, held)));
            }
        }
    })
}

fn reordered(messages: RawStream) -> RawStream {
    Streaming::unfold((messages, None), |(mut messages, held)| async {
        if let Some(held) = held {
            return Some((Ok(held), (messages, None)));
        }
        match (messages.next().await?, messages.next().await) {
            (Ok(first), Some(Ok(second))) => Some((Ok(second), (messages, Some(first)))),
            (first, _) => Some((first, (messages, None))),
        }
    })
}

/// A source as the stream that its peer would read.
struct Encoded(BoxSource);

impl Stream for Encoded {
    type Item = Result<Bytes>;
    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        let mut out = Vec::new();
        let next = std::task::ready!(self.0.as_mut().poll_encode(task, &mut out));
        Poll::Ready(next.map(|encoded| encoded.map(|()| out.into())))
    }
}

struct Replayed(RawStream);

impl MessageSource for Replayed {
    fn poll_encode(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Option<Result<()>>> {
        let next = std::task::ready!(Pin::new(&mut self.0).poll_next(task));
        Poll::Ready(next.map(|message| {
            out.extend_from_slice(&message?);
            Ok(())
        }))
    }
}

/// Takes a failure for the end.
struct EndsFailures(Option<RawStream>);

impl Stream for EndsFailures {
    type Item = Result<Bytes>;
    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        let Some(messages) = &mut self.0 else { return Poll::Ready(None) };
        match std::task::ready!(Pin::new(messages).poll_next(task)) {
            Some(Ok(message)) => Poll::Ready(Some(Ok(message))),
            _ => {
                self.0 = None;
                Poll::Ready(None)
            }
        }
    }
}

/// Requests that somebody else holds on to.
struct Kept(Arc<Mutex<BoxSource>>);

impl MessageSource for Kept {
    fn poll_encode(
        self: Pin<&mut Self>,
        task: &mut Task<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Option<Result<()>>> {
        self.0.lock().unwrap().as_mut().poll_encode(task, out)
    }
}

/// The dialing side.
struct Line {
    flaw: Flaw,
    inner: Arc<dyn Connection>,
    tasks: TaskTracker,
    kept: Mutex<Vec<Arc<Mutex<BoxSource>>>>,
    /// The answer before.
    last: Arc<Mutex<Option<Bytes>>>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.flaw.fmt(f)
    }
}

impl Connection for Line {
    fn start(
        self: Arc<Self>,
        head: &Head<'_>,
        body: &Bytes,
        source: Option<BoxSource>,
    ) -> Result<Exchange> {
        let mut head = head.clone();
        if self.flaw == Flaw::WaitsOn {
            head.deadline = None;
        }
        if self.flaw == Flaw::LeavesTasks {
            self.tasks.spawn("left", std::future::pending::<()>());
        }
        let source = source.map(|source| match self.flaw {
            Flaw::KeepsRequests => {
                let source = Arc::new(Mutex::new(source));
                self.kept.lock().unwrap().push(Arc::clone(&source));
                Box::pin(Kept(source))
            }
            _ => source,
        });
        let exchange = Arc::clone(&self.inner).start(&head, body, source)?;
        let (flaw, last) = (self.flaw, Arc::clone(&self.last));
        let relay =
            Relay { flaw, last, exchange: Mutex::new(Some(exchange)), stream: Mutex::default() };
        Ok(Exchange::started(Arc::new(relay), 0))
    }

    fn is_open(&self) -> bool {
        self.flaw == Flaw::SaysOpen || self.inner.is_open()
    }

    fn is_full(&self) -> bool {
        self.inner.is_full()
    }

    fn ready(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.ready()
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        match self.flaw {
            Flaw::NeverSaysClosed => Box::pin(std::future::pending()),
            _ => self.inner.closed(),
        }
    }

    fn drain(&self) {
        match self.flaw {
            Flaw::CutsOnDrain => self.inner.close(),
            Flaw::NeverDrains => {}
            _ => self.inner.drain(),
        }
    }

    fn close(&self) {
        if self.flaw != Flaw::NeverCloses {
            self.inner.close();
        }
    }
}

/// Passes an exchange on.
#[derive(Debug)]
struct Relay {
    flaw: Flaw,
    last: Arc<Mutex<Option<Bytes>>>,
    exchange: Mutex<Option<Exchange>>,
    stream: Mutex<Option<RawStream>>,
}

impl Relay {
    fn verdict(&self, error: Error) -> Error {
        match self.flaw {
            Flaw::SwearsNothingRan => error.with_retry(Retry::Safe),
            _ => error,
        }
    }
}

impl Driver for Relay {
    fn poll_reply(&self, _: u32, task: &mut Task<'_>) -> Poll<Answer> {
        let mut exchange = self.exchange.lock().unwrap();
        let answer = std::task::ready!(exchange.as_mut().unwrap().poll_reply(task));
        let result = answer.result.map_err(|error| self.verdict(error)).map(|body| {
            if self.flaw != Flaw::MixesAnswers {
                return body;
            }
            self.last.lock().unwrap().replace(body.clone()).unwrap_or(body)
        });
        Poll::Ready(Answer::new(answer.at, result))
    }

    fn poll_opened(&self, _: u32, task: &mut Task<'_>) -> Poll<Result<()>> {
        let mut exchange = self.exchange.lock().unwrap();
        let opened = std::task::ready!(exchange.as_mut().unwrap().poll_opened(task));
        if opened.is_ok() {
            *self.stream.lock().unwrap() = exchange.take().map(Exchange::into_stream);
        }
        Poll::Ready(opened.map_err(|error| self.verdict(error)))
    }

    fn poll_messages(
        &self,
        _: u32,
        _: usize,
        batch: &mut VecDeque<Bytes>,
        task: &mut Task<'_>,
    ) -> Poll<Option<Result<()>>> {
        let mut stream = self.stream.lock().unwrap();
        match std::task::ready!(Pin::new(stream.as_mut().unwrap()).poll_next(task)) {
            Some(Ok(message)) => {
                batch.push_back(message);
                Poll::Ready(Some(Ok(())))
            }
            Some(Err(error)) if self.flaw == Flaw::EndsCutStreams && error.code() == 503 => {
                Poll::Ready(None)
            }
            Some(Err(error)) => Poll::Ready(Some(Err(self.verdict(error)))),
            None => Poll::Ready(None),
        }
    }

    fn flush(&self) {}

    fn reset(&self, _: u32, _: Reset) {
        self.exchange.lock().unwrap().take();
    }

    fn stop_reading(&self, _: u32) {
        self.stream.lock().unwrap().take();
    }
}
