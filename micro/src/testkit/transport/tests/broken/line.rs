//! The dialing side.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll};

use bytes::Bytes;
use futures_core::Stream;

use super::Flaw;
use super::streams::Kept;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Answer, Connection, Driver, Exchange, Head, Inbox, Reset};
use crate::core::future::BoxFuture;
use crate::core::shutdown::TaskTracker;
use crate::core::stream::{BoxSource, RawStream};

/// The dialing side.
pub(super) struct Line {
    pub(super) flaw: Flaw,
    pub(super) inner: Arc<dyn Connection>,
    pub(super) tasks: TaskTracker,
    pub(super) kept: Mutex<Vec<Arc<Mutex<BoxSource>>>>,
    /// The answer before.
    pub(super) last: Arc<Mutex<Option<Bytes>>>,
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
        batch: &mut Inbox,
        task: &mut Task<'_>,
    ) -> Poll<Option<Result<()>>> {
        let mut stream = self.stream.lock().unwrap();
        match std::task::ready!(Pin::new(stream.as_mut().unwrap()).poll_next(task)) {
            Some(Ok(message)) => {
                batch.push(message);
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
